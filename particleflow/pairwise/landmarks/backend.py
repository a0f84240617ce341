"""Define `Nystroem`, the backend that sums over landmarks instead of points.

The backend is for smooth kernels in more dimensions than grids and tiles can follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.kernels.declared import names_of, positive_kind, stated
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.base import Promise, Queries
from particleflow.pairwise.exact.fallback import (
    ExactSources,
    exact_backend,
    exact_sources,
    warn_once,
)
from particleflow.pairwise.field import SumField, merged_logs
from particleflow.pairwise.inputs import (
    checked_weights,
    held_points,
    kept_queries,
    points_of,
    require_finite,
)
from particleflow.pairwise.landmarks.pivots import Landmarks
from particleflow.pairwise.landmarks.projection import MARGIN, Embedding, Projection, Sum, drawn
from particleflow.pairwise.promise import Tolerances
from particleflow.pairwise.terms import What

# Least number of landmarks: the rank is doubled from here.
FEWEST = 64
# Largest number of landmarks: the doubling ends here.
MOST = 2048
# Most sources that are summed exactly without a warning where landmarks do not suffice.
EVERY_POINT = 8192
# Divisor of a sum's bound over the tolerance: smaller sums have exact logarithms.
LOG_MARGIN = 10.0
# Rank, and sources per landmark, up to which more landmarks are taken for the sake of rtol.
WORTHWHILE = (1024, 32)
# Factor on the gradient's error against rtol: a flow's velocity is a difference of two sums, and
# smaller than they are.
CANCELLED = 4.0
# Ratio of the largest weight to the mean, above which weights influence the choice of landmarks.
UNEQUAL = 8.0


def has_landmarks(kind: type) -> bool:
    """Can landmarks sum kernels of this class: built in, positive and without a kink?"""
    facts = stated(kind)
    return facts is not None and not facts.kinked and positive_kind(kind)


@dataclass(frozen=True)
class Nystroem(Tolerances):
    r"""Sums over a few landmarks instead of all points, for smooth kernels in many dimensions.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) \approx \sum_{j=1}^{m} c_j\, k(z, L_j) ,
        \qquad
        c = K_{LL}^{-1} K_{Lx}\, w .

    The landmarks L are drawn from the sources. Landmarks sum Gaussian, Matern, IMQ and Cauchy. The
    forces of Laplace and Energy jump at a source, and no sum over other landmarks jumps there.

    The promise is statistical: it is four times the largest error at probes. The probes are 256
    queries drawn at random, the 64 sources that a landmark sum misses most, and a place one
    bandwidth off each of these. Up to 1024 queries are all probed. With confidence 95 %, fewer than
    1.2 % of the queries err by more than the largest error at the probes. The factor of four is not
    proved to cover every query.

    `log` uses value and gradient for rows whose sum is at least 1 / (10 rtol) times its bound, and
    exact sums for other rows. The same input gives the same bits for a fixed number of threads.

    Parameters
    ----------
    rank : int, optional
        Number of landmarks for each set of sources. A given number is kept, whatever the promise.
        None doubles the number until the promise, with sources in place of queries, meets atol. The
        doubling goes on up to 1024 and N / 32 while the gradients' relative root mean square error
        exceeds rtol / 4. Where 2048 landmarks do not suffice, the sum is exact, with a warning
        above 8192 sources.
    rtol : float
        Tolerance relative to the sum and, without `atol`, to its scale.
    atol : float, optional
        Tolerance relative to the sum's scale. It is refused beside `rank`.
    max_pairs : float
        Most pairs of points of an exact sum. A larger exact sum is refused.

    Raises
    ------
    TypeError
        An argument is no number, or `rank` no integer. Later, from `sources`: the kernel has a
        kink, or is not built in.
    ValueError
        An argument is not positive and finite, or both `rank` and `atol` are given. Later: the
        points are not finite; an exact sum needs more than `max_pairs` pairs.

    Cost: for m landmarks O(m N d) once for the weights (in float64), O(400 N d) for the probes,
    O(4096 m^2 + m^3) for the landmarks and O(m Q d) for the queries.

    Source: Chen, Epperly, Tropp and Webber (2023) for the landmarks; Epperly, Tropp and Webber
    (2024) for drawing many at a time.

    >>> x = torch.arange(-200, 201)[:, None] / 20  # 401 points, 0.05 apart
    >>> sources = pf.pairwise.Nystroem(40).sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.full((401,), 0.05))
    >>> field.value(torch.zeros(1, 1))  # the integral of k: sqrt(2 pi)
    tensor([2.5066])
    """

    rank: int | None = None
    rtol: float = 1e-2
    atol: float | None = None
    max_pairs: float = 5e10

    def __post_init__(self) -> None:
        if self.rank is not None:
            _checks.count(self.rank, "rank")
        self.check_tolerances()
        if self.atol is not None and self.rank is not None:
            raise ValueError(
                f"`atol` chooses the number of landmarks, got {self.atol:g} and rank={self.rank}:"
                " leave one of them out"
            )
        _checks.positive(self.max_pairs, "max_pairs")

    def sources(self, kernel: Kernel, points: Tensor) -> NystroemSources:
        points = held_points(points, kernel)
        if not has_landmarks(type(kernel)):
            raise TypeError(
                f"`kernel` must be {names_of(has_landmarks)} for landmarks, got {kernel}:"
                " the gradient of a kernel with a kink, or of one that may not be positive"
                " definite, has no bound; sum exactly with pairwise=Compiled() or Dense()"
            )
        require_finite(points, "landmarks")
        return NystroemSources(kernel, points, self)


@dataclass(frozen=True, eq=False)
class NystroemQueries:
    """Query points, and their preparations for the exact sums over landmarks."""

    points: Tensor
    made: Memo[Queries] = field(default_factory=Memo)

    def through(self, exact: ExactSources) -> Queries:
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
        """Return landmarks for weights (N, K). Nearly equal weights share one set."""
        size = (w.abs() / w.abs().sum(0).clamp_min(torch.finfo(torch.float64).tiny)).sum(1)
        return (
            Landmarks(self.kernel, self.points, size)
            if float(size.max()) > UNEQUAL * float(size.mean())
            else self._alike
        )

    @cached_property
    def exact(self) -> ExactSources:
        return exact_sources(self.kernel, self.points)

    @cached_property
    def exact64(self) -> ExactSources:
        return exact_sources(self.kernel, self.points.double())

    def over(self, landmarks: Tensor) -> ExactSources:
        """Return exact sources at landmarks (m, d), in the dtype of the points."""
        return exact_sources(self.kernel, landmarks.to(self.points.dtype))


@dataclass(frozen=True, eq=False)
class Projected:
    """Sources with weights (N, K), projected onto landmarks or summed exactly.

    The first use decides between the two.
    """

    sources: NystroemSources
    w: Tensor

    @property
    def kernel(self) -> Kernel:
        return self.sources.kernel

    @property
    def points(self) -> Tensor:
        return self.sources.points

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
        """The projection onto landmarks, or None for an exact sum."""
        backend, embedding = self.sources.backend, self.embedding
        if backend.rank is not None:
            return embedding.projected(backend.rank)
        top, steepest = (backend.absolute * embedding.mass * peak for peak in embedding.peaks)
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
        """Bound the errors of value and gradient, (K,) each, at z (Q, d) or at the sources."""
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
        # This is the exact sums' own rounding, which differs between two orders of summation.
        last = 64 * torch.finfo(torch.float64).eps * embedding.mass
        return value + last * embedding.peaks[0], grad + last * embedding.peaks[1]

    @cached_property
    def _everywhere(self) -> tuple[Tensor, Tensor]:
        assert self.projection is not None
        return self._bounds(self.projection)

    def bounds(self, z: Tensor) -> tuple[float, float]:
        """Bound the errors of value and gradient at z, the largest over weight vectors."""
        if self.projection is None:
            rounding = 8 * torch.finfo(self.points.dtype).eps * float(self.embedding.mass.max())
            return rounding * self.embedding.peaks[0], rounding * self.embedding.peaks[1]
        value, grad = self._bounds(self.projection, z)
        return float(value.max()), float(grad.max())

    @cached_property
    def _over(self) -> ExactSources:
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
        unsure = ~((value > 0) & (value >= bound / (LOG_MARGIN * self.sources.backend.absolute)))
        log, slope = value.log(), grad / value[:, None]
        if bool(unsure.any()):
            log[unsure], slope[unsure] = self._exact(int(unsure.sum())).log_sum(
                self.w[:, k], points[unsure]
            )
        return log, slope

    def _exact(self, queries: int) -> ExactSources:
        """Return the exact sources, and refuse more pairs than `max_pairs`."""
        pairs, backend = len(self.points) * queries, self.sources.backend
        cause = f"{MOST} landmarks do not keep atol = {backend.absolute:.3g} for {self.kernel}"
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
    """A field over landmarks. The landmarks of each part lie among the part's sources."""

    parts: tuple[tuple[Projected, Tensor], ...]

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

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        told = dict(super().explain(z))
        exact = [part for part, _ in self.parts if part.projection is None]
        large = [part for part in exact if len(part.points) > EVERY_POINT]
        if large:
            name = type(exact_backend(large[0].sources.kernel, large[0].points.device)).__name__
            return told | {
                "backend": name,
                "why": (
                    f"{MOST} landmarks do not keep atol = {large[0].sources.backend.absolute:.3g}"
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
