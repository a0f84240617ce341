"""The backend `Fourier`: sums by non-uniform Fourier transforms, in d = 1, 2, 3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.kernels.declared import has_facts
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.base import Promise, Queries, Sources
from particleflow.pairwise.exact.fallback import exact_sum, undeclared, usable, warn_once
from particleflow.pairwise.exact.sorted import Sorted, form_of
from particleflow.pairwise.field import SumField
from particleflow.pairwise.fourier.nufft import finufft
from particleflow.pairwise.fourier.route import COINCIDENT, Layout, Wanted, layout
from particleflow.pairwise.fourier.spectral import FourierQueries, Kept, Spectral, Tiles
from particleflow.pairwise.inputs import (
    checked_weights,
    held_points,
    kept_queries,
    points_of,
    require_few_coordinates,
)
from particleflow.pairwise.neighbours.backend import CulledField, near_sum
from particleflow.pairwise.promise import Tolerances, peaks
from particleflow.pairwise.terms import What

# Tolerances of the sums of a logarithm, relative to the field's: values far below the peak count.
# The first that modes keep is taken.
LOG_TIGHTER = (1e-6, 1e-3)
# The least tolerance that is asked for: near the rounding of float64.
TIGHTEST = 1e-12
# Layouts that a field keeps: for values, for the laplacian, for the logarithm.
KEPT = 3


@dataclass(frozen=True)
class Fourier(Tolerances):
    r"""Sums over the Fourier modes of a periodic box, to any accuracy of float64, in d = 1, 2, 3.

    .. math::

        S(z) = \sum_{n=1}^{N} w_n\, k(z, x_n) = \sum_m c_m F_m\, e^{i \omega_m \cdot z} ,
        \qquad
        F_m = \sum_{n=1}^{N} w_n\, e^{-i \omega_m \cdot x_n} .

    finufft takes both transforms. The number of modes depends on extent / bandwidth and on the
    tolerance alone. Every row keeps

    .. math::

        \left| \text{error of } S(z) \right| \le \mathrm{rtol}\, \left| S(z) \right|
        + \mathrm{atol} \sum_i \left| w_i \right| \max \left| k \right| ,

    .. math::

        \left| \text{error of } \nabla S(z) \right| \le \mathrm{rtol}\, \left| \nabla S(z) \right|
        + \mathrm{atol} \sum_i \left| w_i \right| \max \left| \nabla k \right| .

    The laplacian is bounded likewise, by the largest laplacian of the kernel (outside of the near
    field). ``field.promise(z)`` bounds the errors by the modes that are taken. `log` sums exactly
    the rows that are not well above their error.

    - Kernels with a kink (Laplace, Energy, Matern) are split into a smooth far part and a near
      part, which is summed over neighbours. In d = 1 they are summed by sorting, exactly.
    - Points far from all others are summed exactly.
    - Where the modes are too many, a kernel that decays is summed over the neighbours within its
      reach, any other exactly.

    The points set the box: there is no state. On the CPU the same input gives the same bits, for a
    fixed number of threads. Smooth kernels on CUDA tensors are summed by cufinufft; the last bits
    may then differ from run to run. A target's field keeps its modes while the box stays the same;
    dropping them changes nothing.

    Parameters
    ----------
    rtol : float
        Tolerance, relative to each row.
    atol : float, optional
        Tolerance, relative to the largest sum that there could be; `rtol` unless given.
    max_modes : int
        The largest number of modes. Memory: about 100 bytes each in d = 2, 200 in d = 3.
    max_pairs : float
        The largest number of pairs of points that are summed exactly, with one warning, where the
        tolerance cannot be kept otherwise.

    Raises
    ------
    TypeError
        An argument is no number.
    ValueError
        An argument is not positive and finite. Later: d > 3; exact sums needed, over more than
        `max_pairs` pairs.
    ImportError
        From `sources`: finufft is not installed.

    Cost: O(N + Q), and a fast Fourier transform of the modes; O((N + Q) log N) on the line, sorted.

    Source: Barnett, Magland and af Klinteberg (2019); periodic kernels: Potts, Steidl and Nieslony
    (2004).

    >>> x = torch.arange(-200, 201)[:, None] / 20  # 401 points, 0.05 apart
    >>> sources = pf.pairwise.Fourier().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.full((401,), 0.05))
    >>> field.value(torch.zeros(1, 1))  # the integral of k: sqrt(2 pi)
    tensor([2.5066])
    """

    rtol: float = 1e-6
    atol: float | None = field(default=None, kw_only=True)
    max_modes: int = field(default=2**23, kw_only=True)
    max_pairs: float = field(default=2e10, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tolerances()
        _checks.count(self.max_modes, "max_modes")
        _checks.positive(self.max_pairs, "max_pairs")

    def sources(self, kernel: Kernel, points: Tensor) -> Sources:
        points = held_points(points, kernel)
        require_few_coordinates(points, "Fourier")
        if not has_facts(kernel):
            return undeclared("Fourier()", kernel, points)
        if points.shape[1] == 1 and form_of(kernel) is not None:
            return Sorted().sources(kernel, points)
        finufft(points.device.type)
        return FourierSources(kernel, points, self)


@dataclass(frozen=True, eq=False)
class FourierSources:
    """Points made ready for one kernel; `tiles`: for a near field, by box."""

    kernel: Kernel
    points: Tensor
    fourier: Fourier
    tiles: Memo[Tiles] = field(default_factory=lambda: Memo(1))

    def field(self, w: Tensor) -> FourierField:
        return FourierField(((self, checked_weights(w, self.points)),), (Memo(KEPT),))

    def prepare(self, z: Tensor) -> FourierQueries:
        return FourierQueries(kept_queries(z, self.points))

    @cached_property
    def double(self) -> Tensor:
        """The points in float64."""
        return self.points.double()


@dataclass(frozen=True, eq=False)
class FourierField(SumField):
    """A field that sums over modes.

    `kept`: of each part, its modes on the last boxes, or its field over neighbours alone. Those of
    a target's field outlive the step. `layouts`: by tolerance and whether the laplacian is wanted,
    the last queries and their layout.
    """

    parts: tuple[tuple[FourierSources, Tensor], ...]
    kept: tuple[Memo[Kept], ...] = ()
    layouts: dict[tuple[float, bool], tuple[Tensor, Layout]] = field(default_factory=dict)

    def __add__(self, other: SumField) -> FourierField:
        assert isinstance(other, FourierField)
        return FourierField(self.parts + other.parts, self.kept + other.kept)

    def promise(self, z: Tensor | Queries) -> Promise | None:
        z = self._seen(z)
        queries = _finite(points_of(z))
        if not len(queries):
            return None
        layout = self._layout(queries, self._fourier.absolute)
        if layout.culled:
            return self._neighbour_sum(self._fourier.absolute).promise(queries)
        return None if layout.modes is None else self._spectral(layout).promise(queries)

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        z = self._seen(z)
        queries = _finite(points_of(z))
        if not len(queries):
            return super().explain(z)
        layout = self._layout(queries, self._fourier.absolute)
        if layout.modes is None and not layout.culled:
            return {**exact_sum(self.parts).explain(z), "why": layout.why}
        why = f"asked for; neighbours alone: {layout.why}" if layout.culled else "asked for"
        return {"backend": "Fourier", "why": why}

    @property
    def _fourier(self) -> Fourier:
        return self.parts[0][0].fourier

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        return self._at(what, z, self._fourier.absolute)

    def _at(self, what: What, z: Tensor | Queries, tol: float) -> Tensor:
        """(Q, K, components), with errors of at most `tol` relative to the scales S_0, S_1."""
        points = points_of(z)
        queries = _finite(points)
        if len(queries) < len(points):
            out = points.new_full(
                (len(points), self._columns, what.components(points.shape[1])), math.nan
            )
            out[torch.isfinite(points).all(1)] = (
                self._at(what, queries, tol) if len(queries) else 0.0
            )
            return out
        layout = self._layout(queries, tol, what is What.LAPLACIAN)
        if layout.culled:
            return self._neighbour_sum(tol).sums(what, points)
        if layout.modes is None:
            return self._exactly(layout.why, len(points)).sums(what, points)
        return self._spectral(layout).at(what, z).to(points.dtype)

    def _neighbour_sum(self, tol: float) -> SumField:
        """All parts over the neighbours within the kernel's reach."""
        # `near_sum` finds these fields under keys of its own
        kept = cast("tuple[Memo[CulledField], ...]", self.kept)
        return near_sum(self.parts, kept, tol)

    def _layout(self, z: Tensor, tol: float, laplacian: bool = False) -> Layout:
        """The layout for queries z; the last one again if these are the same."""
        key = tol, laplacian
        known = self.layouts.get(key)
        if known is None or not _equal(z, known[0]):
            sources, fourier = self.parts[0][0], self._fourier
            near = z.device.type == "cpu" and usable("llvmlite.binding")
            wanted = Wanted(sources.kernel, tol, laplacian, fourier.max_modes, near)
            own = any(z is part.points for part, _ in self.parts)
            known = (
                z if own else z.clone(),
                layout(wanted, [part.double for part, _ in self.parts], z.double()),
            )
            # each line is one operation on the dictionary, which no other thread can divide
            self.layouts[key] = known
            for old in list(self.layouts)[:-KEPT]:
                self.layouts.pop(old, None)
        return known[1]

    def _spectral(self, layout: Layout) -> Spectral:
        return Spectral(self.parts, self.kept, layout)

    def _exactly(self, why: str, queries: int) -> SumField:
        """All parts by exact sums, with one warning. Refused where the pairs are too many."""
        fourier, kernel = self._fourier, self.parts[0][0].kernel
        pairs = float(queries) * sum(len(sources.points) for sources, _ in self.parts)
        if pairs > fourier.max_pairs:
            raise ValueError(
                f"Fourier(rtol={fourier.rtol:g}) cannot sum {kernel}: {why}; and exact sums take"
                f" {pairs:.1e} pairs of points, more than `max_pairs` = {fourier.max_pairs:.1e}:"
                " raise `rtol`, `max_modes` or `max_pairs`, or the bandwidth"
            )
        if why != COINCIDENT:
            warn_once(
                f"Fourier(rtol={fourier.rtol:g}) sums {kernel} exactly: {why}. Raise `rtol` or"
                " `max_modes`, or ask for Compiled()"
            )
        return exact_sum(self.parts)

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """By values and gradients to a tight tolerance, or by log-sum-exp over all pairs.

        The latter for rows that are not well above their error.
        """
        points = points_of(z)
        if self._columns > 1:
            one = FourierField(
                tuple((sources, w[:, k].contiguous()) for sources, w in self.parts),
                tuple(Memo(KEPT) for _ in self.parts),
            )
            return one.log_column(0, points)
        queries = _finite(points)
        log, grad = points.new_full((len(points),), math.nan), torch.full_like(points, math.nan)
        if not len(queries):
            return log, grad
        if self._layout(queries, self._fourier.absolute).culled:
            return self._neighbour_sum(self._fourier.absolute).log_column(0, points)
        good = torch.isfinite(points).all(1)
        value, pull, certain = self._certain(queries)
        rows = torch.where(good, good.cumsum(0) - 1, 0)
        log[good], grad[good] = value.log(), pull / value[:, None]
        doubtful = good & ~certain[rows]
        if bool(doubtful.any()):
            rest = points[doubtful]
            pairs = float(len(rest)) * sum(len(sources.points) for sources, _ in self.parts)
            if pairs > self._fourier.max_pairs:
                raise ValueError(
                    f"the logarithm of {len(rest)} of {len(points)} rows, where the sum is below"
                    f" its own error, takes {pairs:.1e} exact pairs of points, more than"
                    f" `max_pairs` = {self._fourier.max_pairs:.1e}: raise the bandwidth or"
                    " `max_pairs`"
                )
            log[doubtful], grad[doubtful] = exact_sum(self.parts).log_column(0, rest)
        return log, grad

    def _certain(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (Q,), gradients (Q, d), and the rows (Q,) whose logarithms err by rtol at most."""
        rtol = self._fourier.rtol
        for tighter in LOG_TIGHTER:
            tol = max(tighter * self._fourier.absolute, TIGHTEST)
            layout = self._layout(z, tol)
            if layout.modes is None:
                continue
            spectral = self._spectral(layout)
            both, promise = spectral.at(What.BOTH, z)[:, 0], spectral.promise(z)
            top, steepest = peaks(self.parts[0][0].kernel, 1.0)
            certain = both[:, 0] * rtol > max(promise.value, promise.grad * top / steepest)
            return both[:, 0].to(z.dtype), both[:, 1:].to(z.dtype), certain
        return (
            z.new_ones(len(z)),
            torch.zeros_like(z),
            torch.zeros(len(z), dtype=torch.bool, device=z.device),
        )


def _equal(z: Tensor, known: Tensor) -> bool:
    return z is known or (z.shape == known.shape and torch.equal(z, known))


def _finite(points: Tensor) -> Tensor:
    """The rows without NaN or inf; the same tensor where these are all."""
    good = torch.isfinite(points)
    return points if bool(good.all()) else points[good.all(1)]
