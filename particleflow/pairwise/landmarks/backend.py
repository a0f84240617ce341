"""Sums over landmarks instead of points: for smooth kernels in more dimensions than grids and tiles
can follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.kernels.declared import names_of, positive_kind, stated
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.base import Promise, Queries
from particleflow.pairwise.exact.fallback import exact_backend, exact_sources, warn_once
from particleflow.pairwise.field import SumField, merged_logs
from particleflow.pairwise.inputs import checked_weights, held_points, kept_queries, points_of
from particleflow.pairwise.landmarks.pivots import Landmarks
from particleflow.pairwise.landmarks.projection import MARGIN, Embedding, Projection, Sum, drawn
from particleflow.pairwise.terms import What

FEWEST, MOST = 64, 2048  # landmarks: the rank is doubled from one to the other
# up to so many sources, all of them are the landmarks where fewer do not suffice: the exact sum
EVERY_POINT = 8192
LOG_MARGIN = 10.0
WORTHWHILE = (
    1024,
    32,
)  # rank, and sources for each landmark, up to which more landmarks are taken for the sake of rtol
CANCELLED = (
    4.0  # a flow's velocity is the difference of two sums, and so much smaller than they are
)
UNEQUAL = 8.0  # weights so many times as large as their mean have a say in the choice of landmarks


def has_landmarks(kind: type) -> bool:
    """Are kernels of this class summed over landmarks: built in, positive and without a kink?"""
    facts = stated(kind)
    return facts is not None and not facts.kinked and positive_kind(kind)


@dataclass(frozen=True)
class Nystroem:
    """sum_i w_i k(z, x_i) ~ sum_j c_j k(z, L_j), c = K_LL^-1 K_Lx w, over landmarks L drawn from
    the sources (`Landmarks`). Any d.

    Cost O(m N d) once for the weights (in float64), O(m Q d) for the queries, and O(4096 m^2 + m^3)
    for m landmarks.

    The promise is statistical: four times the largest error met at probes (module `projection`),
    which are 256 queries drawn at random, and the 64 sources, with a place one bandwidth off each,
    whose loss |w_i| r(x_i) is largest (r as in `Landmarks`); of up to 1024 queries all are probed.
    With confidence 95 % fewer than 1.2 % of the queries err by more than the largest error met;
    that none errs by more than four times as much is not proved. The exact sums at probes cost
    O(400 N d).

    Gaussian, Matern and IMQ. The forces of Laplace and Energy jump at a source, which no sum over
    landmarks elsewhere does. `log` takes the rows whose sum is 1 / (10 rtol) times its bound or
    more from value and gradient, all others exactly. Same input, same bits, for a fixed number of
    threads.

    Parameters
    ----------
    rank : int, optional
        Number of landmarks for each set of sources. Given, it stands, and the promise is what it
        is. None: doubled until the promise, with sources in place of queries, meets atol; and on,
        up to 1024 and N / 32, while gradients err by more than rtol / 4 of themselves in the mean
        square. Where 2048 do not suffice, the sum is exact: silently up to 8192 sources, above that
        with a warning.
    rtol : float
        Of the sum, and (unless `atol` is given) of its scale.
    atol : float, optional
        Refused beside `rank`.
    max_pairs : float
        A sum that turns out exact is refused (ValueError) if it takes more pairs of points than
        this.
    """

    rank: int | None = None
    rtol: float = 1e-2
    atol: float | None = None
    max_pairs: float = 5e10

    def __post_init__(self) -> None:
        if self.rank is not None:
            _checks.count(self.rank, "rank")
        _checks.positive(self.rtol, "rtol")
        if self.atol is not None:
            _checks.positive(self.atol, "atol")
            if self.rank is not None:
                raise ValueError(
                    f"`atol` chooses the number of landmarks, got {self.atol:g} and"
                    f" rank={self.rank}: leave one of them out"
                )
        _checks.positive(self.max_pairs, "max_pairs")

    @property
    def tolerance(self) -> float:
        return self.rtol if self.atol is None else self.atol

    def sources(self, kernel: Kernel, points: Tensor) -> NystroemSources:
        points = held_points(points, kernel)
        if not has_landmarks(type(kernel)):
            raise TypeError(
                f"`kernel` must be {names_of(has_landmarks)} for landmarks, got {kernel}:"
                " the gradient of a kernel with a kink, or of one that may not be positive"
                " definite, has no bound; sum exactly with pairwise=Compiled() or Dense()"
            )
        if not bool(points.isfinite().all()):
            raise ValueError(
                "`points` must be finite for landmarks, got NaN or infinite coordinates: drop those"
                " rows"
            )
        return NystroemSources(kernel, points, self)


@dataclass(frozen=True, eq=False)
class NystroemQueries:
    """Query points, and what the exact sums over landmarks made of them."""

    points: Tensor
    made: Memo[Queries] = field(default_factory=Memo)

    def through(self, exact: Any) -> Queries:
        return self.made.get(exact, lambda: exact.prepare(self.points))


@dataclass(frozen=True, eq=False)
class NystroemSources:
    kernel: Kernel
    points: Tensor
    backend: Nystroem

    def field(self, w: Tensor) -> NystroemField:
        w = checked_weights(w, self.points)
        return NystroemField(((Projected(self, w if w.ndim == 2 else w[:, None]), w),))

    def prepare(self, z: Tensor) -> NystroemQueries:
        return NystroemQueries(kept_queries(z, self.points))

    @cached_property
    def _alike(self) -> Landmarks:
        return Landmarks(self.kernel, self.points, None)

    def landmarks(self, w: Tensor) -> Landmarks:
        """For weights (N, K): the same for all that are nearly equal."""
        size = (w.abs() / w.abs().sum(0).clamp_min(torch.finfo(torch.float64).tiny)).sum(1)
        return (
            Landmarks(self.kernel, self.points, size)
            if float(size.max()) > UNEQUAL * float(size.mean())
            else self._alike
        )

    @cached_property
    def exact(self) -> Any:
        return exact_sources(self.kernel, self.points)

    @cached_property
    def exact64(self) -> Any:
        return exact_sources(self.kernel, self.points.double())

    def over(self, landmarks: Tensor) -> Any:
        """Exact sums over landmarks (m, d), in the dtype of the points."""
        return exact_sources(self.kernel, landmarks.to(self.points.dtype))


@dataclass(frozen=True, eq=False)
class Projected:
    """One set of sources with one set of weights (N, K): projected, or found to need an exact sum,
    when first used.
    """

    sources: NystroemSources
    w: Tensor

    @property
    def kernel(self) -> Kernel:
        return self.sources.kernel

    @property
    def points(self) -> Tensor:
        return self.sources.points

    def prepare(self, z: Tensor) -> NystroemQueries:
        return self.sources.prepare(z)

    def field(self, w: Tensor) -> NystroemField:
        return self.sources.field(w)

    @cached_property
    def embedding(self) -> Embedding:
        w = self.w.double()
        return Embedding(
            self.kernel, self.points, w, self.sources.landmarks(w), self.sources.exact64
        )

    @cached_property
    def projection(self) -> Projection | None:
        """None: the sum is exact."""
        backend, embedding = self.sources.backend, self.embedding
        if backend.rank is not None:
            return embedding.projected(backend.rank)
        top, steepest = (backend.tolerance * embedding.mass * peak for peak in embedding.peaks)
        most, rank = min(MOST, len(self.points) // 2), FEWEST
        projection: Projection | None = None
        while rank <= most:
            projection = embedding.projected(rank, projection)
            met = embedding.common(self._sum(projection))
            if bool(((MARGIN * met.value <= top) & (MARGIN * met.grad <= steepest)).all()):
                value, grad = self._bounds(projection)
                enough = rank >= min(WORTHWHILE[0], len(self.points) // WORTHWHILE[1])
                fine = enough or bool(
                    (CANCELLED * met.mean_error <= backend.rtol * met.mean_grad).all()
                )
                if fine and bool(((value <= top) & (grad <= steepest)).all()):
                    return projection
            if len(projection.landmarks) < rank:
                break
            rank *= 2
        return None

    def _sum(self, projection: Projection) -> Sum:
        return partial(
            self.sources.over(projection.landmarks).sums,
            What.BOTH,
            projection.c.to(self.points.dtype),
        )

    def _bounds(self, projection: Projection, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of the errors of value and gradient, (K,) each, at z (Q, d), or where the sources are."""
        embedding, over = self.embedding, self._sum(projection)
        rows = None if z is None else drawn(z)
        many = embedding.common(over) if rows is None else embedding.errors(over, rows)
        if z is not None and rows is z:
            value, grad = many.value, many.grad
        else:
            one = embedding.single(over, len(projection.landmarks))
            value, grad = (
                MARGIN * torch.maximum(many.value, one.value),
                MARGIN * torch.maximum(many.grad, one.grad),
            )
            value, grad = (
                t + embedding.unseen * embedding.mass * peak
                for t, peak in zip((value, grad), embedding.peaks, strict=True)
            )
        # the exact sums' own rounding, which two orders of summation do not share
        last = 64 * torch.finfo(torch.float64).eps * embedding.mass
        return value + last * embedding.peaks[0], grad + last * embedding.peaks[1]

    @cached_property
    def _everywhere(self) -> tuple[Tensor, Tensor]:
        assert self.projection is not None
        return self._bounds(self.projection)

    def bounds(self, z: Tensor) -> tuple[float, float]:
        """Of the errors of value and gradient at z, the largest over weight vectors."""
        if self.projection is None:
            rounding = 8 * torch.finfo(self.points.dtype).eps * float(self.embedding.mass.max())
            return rounding * self.embedding.peaks[0], rounding * self.embedding.peaks[1]
        value, grad = self._bounds(self.projection, z)
        return float(value.max()), float(grad.max())

    @cached_property
    def _over(self) -> Any:
        assert self.projection is not None
        return self.sources.over(self.projection.landmarks)

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        if self.projection is None:
            return self._exact(len(points_of(z))).sums(what, self.w, points_of(z))
        over = self._over
        return over.sums(
            what,
            self.projection.c.to(self.points.dtype),
            z.through(over) if isinstance(z, NystroemQueries) else z,
        )

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        return Projected(self.sources, w[:, None]).log_column(0, z)

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        points = points_of(z)
        if self.projection is None:
            return self._exact(len(points)).log_sum(self.w[:, k], points)
        both = self.sums(What.BOTH, self.w, z)[:, k]
        value, grad = both[:, 0], both[:, 1:]
        bound = float(self._everywhere[0][k])
        unsure = ~((value > 0) & (value >= bound / (LOG_MARGIN * self.sources.backend.tolerance)))
        log, slope = value.log(), grad / value[:, None]
        if bool(unsure.any()):
            log[unsure], slope[unsure] = self._exact(int(unsure.sum())).log_sum(
                self.w[:, k], points[unsure]
            )
        return log, slope

    def _exact(self, queries: int) -> Any:
        """The exact sums, refused where they would take too long."""
        pairs, backend = len(self.points) * queries, self.sources.backend
        cause = f"{MOST} landmarks do not keep atol = {backend.tolerance:.3g} for {self.kernel}"
        remedy = "raise rtol, widen the bandwidth, or give rank= and look at the promise"
        if pairs > backend.max_pairs:
            raise ValueError(
                f"`max_pairs` is {backend.max_pairs:.3g}, but the sum is exact and takes"
                f" {pairs:.3g} pairs, since {cause}: {remedy}"
            )
        if len(self.points) > EVERY_POINT:
            warn_once(f"Nystroem sums exactly, since {cause}: {remedy}")
        return self.sources.exact


@dataclass(frozen=True, eq=False)
class NystroemField(SumField):
    """A field over landmarks; those of each part lie among its own sources."""

    def promise(self, z: Tensor | Queries) -> Promise | None:
        z = self._seen(z)
        if all(part.projection is None for part, _ in self.parts):
            return None
        bounds = [part.bounds(points_of(z)) for part, _ in self.parts]
        how = (
            f"what {self._ranks} landmarks do not span, by exact sums at random queries and at the"
            " sources that are spanned worst"
        )
        return Promise(sum(value for value, _ in bounds), sum(grad for _, grad in bounds), how)

    def explain(self, z: Tensor | Queries) -> Mapping[str, Any]:
        told = dict(super().explain(z))
        exact = [part for part, _ in self.parts if part.projection is None]
        large = [part for part in exact if len(part.points) > EVERY_POINT]
        if large:
            name = type(exact_backend(large[0].sources.kernel, large[0].points.device)).__name__
            return told | {
                "backend": name,
                "why": (
                    f"{MOST} landmarks do not keep atol = {large[0].sources.backend.tolerance:.3g}"
                ),
            }
        return told | {"backend": "Nystroem", "why": f"asked for; {self._ranks} landmarks"}

    @property
    def _ranks(self) -> str:
        ranks = [
            "all" if part.projection is None else str(len(part.projection.landmarks))
            for part, _ in self.parts
        ]
        return " + ".join(ranks)

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        return merged_logs([part.log_column(k, z) for part, _ in self.parts])
