"""Estimate the cost of a sum through each backend, and choose the cheapest backend for `Auto`.

Times are seconds on one core. Only their ratios matter for the choice. They do not affect the
values of the sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import (
    bandwidth_of,
    exponential_tail,
    facts_of,
    falls_fast,
    has_facts,
    is_gaussian,
    tail_of,
)
from particleflow.kernels.facts import PowerLaw
from particleflow.memo import cached_property
from particleflow.pairwise.base import PairwiseSum
from particleflow.pairwise.exact.dense import Dense
from particleflow.pairwise.exact.fallback import exact_backend, usable
from particleflow.pairwise.exact.sorted import form_of
from particleflow.pairwise.fourier.backend import Fourier
from particleflow.pairwise.landmarks.backend import Nystroem, has_landmarks
from particleflow.pairwise.mesh.backend import Mesh
from particleflow.pairwise.mesh.gridding import extremes
from particleflow.pairwise.mesh.lattice import around, periodic_shape
from particleflow.pairwise.mesh.spacing import plan
from particleflow.pairwise.neighbours.backend import Culled
from particleflow.pairwise.neighbours.reach import reach_of, sampled_distances, share_within
from particleflow.pairwise.periodic.modes import require_smooth
from particleflow.pairwise.promise import Tolerances

# Most pairs times coordinates that torch sums before another backend has begun.
TINY = 1e4
# Most pairs that are summed exactly without a comparison of costs.
SMALL = 4e5
# Time of a Gaussian pair in a compiled sum, in seconds: for d = 1, 2, 3 and each further
# coordinate.
PAIR = {
    torch.float32: (1.0e-9, 1.35e-9, 1.6e-9, 0.33e-9),
    torch.float64: (3.1e-9, 3.7e-9, 5.2e-9, 0.45e-9),
}
# Time of a pair and coordinate in a dense sum, in seconds.
DENSE_PAIR = 12e-9
# Time to spread a source onto a mesh, in seconds, for d = 1, 2, 3; twice for a mesh in float64.
SPREAD = (12e-9, 25e-9, 90e-9)
# Time to interpolate a query on a mesh, in seconds, for d = 1, 2, 3; twice for a mesh in float64.
INTERPOLATE = (15e-9, 30e-9, 110e-9)
# Time to transform a mesh cell, over log2 of the number of cells, in seconds, for d = 1, 2, 3.
CELL = (0.7e-9, 0.7e-9, 1.4e-9)
# Time of a point in a Fourier transform, in seconds, for d = 1, 2, 3.
TRANSFORM = (60e-9, 140e-9, 500e-9)
# Time of a mode of a Fourier sum, in seconds, for d = 1, 2, 3.
MODE = (60e-9, 60e-9, 1e-6)
# Time to sort a point into tiles, in seconds.
SORT = 250e-9
# Number of queries that meet the same sources in a culled sum.
BLOCK = 64
# Finest tolerance of a Fourier sum, relative: finer sums of float64 lose to rounding.
FINEST_FOURIER = 1e-11
# Number of places at which landmarks are compared with exact sums.
PROBES = 400
# Time of a call with nothing to sum, in seconds, by backend.
CALL = {"Compiled": 4e-4, "Mesh": 1.5e-3, "Fourier": 4e-3, "Culled": 2e-3, "Nystroem": 2e-2}


@dataclass(frozen=True)
class Choice:
    """A backend and the reason for its choice."""

    backend: PairwiseSum
    why: str


@dataclass(frozen=True, eq=False)
class Spanned:
    """Points (n, d) and the ends of their coordinates."""

    points: Tensor

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each coordinate, (d,) each."""
        here = np.ascontiguousarray(self.points.detach().numpy())
        if usable("llvmlite.binding"):
            return extremes(here)
        return here.min(0), here.max(0)


@dataclass(frozen=True, eq=False)
class Problem(Tolerances):
    """A sum whose cost is estimated: its points, and the tolerances of `Auto`."""

    kernel: Kernel
    sources: Sequence[Spanned]
    queries: Tensor
    columns: int
    rtol: float
    atol: float | None
    max_pairs: float

    @property
    def d(self) -> int:
        return self.queries.shape[1]

    @cached_property
    def n(self) -> int:
        return sum(cloud.points.shape[0] for cloud in self.sources)

    @cached_property
    def pairs(self) -> float:
        return float(self.queries.shape[0]) * self.n

    @cached_property
    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each coordinate over all points, (d,) each."""
        known = any(cloud.points is self.queries for cloud in self.sources)
        clouds = self.sources if known else (*self.sources, Spanned(self.queries))
        lowest, highest = (
            np.array(ends, np.float64)
            for ends in zip(*(cloud.ends for cloud in clouds), strict=True)
        )
        return lowest.min(0), highest.max(0)

    @cached_property
    def extents(self) -> tuple[float, ...]:
        """The side lengths of the box around all points; inf where a point is not finite."""
        lowest, highest = self.corners
        return tuple(
            span if math.isfinite(span) else math.inf for span in (highest - lowest).tolist()
        )

    def near(self, radius: float) -> float:
        """Estimate the number of pairs closer than a radius from a sample."""
        return self.pairs * share_within(self._distances, radius)

    @cached_property
    def _distances(self) -> Tensor:
        return sampled_distances([cloud.points for cloud in self.sources], self.queries)


def choose(problem: Problem) -> Choice:
    """Return the cheapest backend that can keep the promise.

    Raises
    ------
    ValueError
        Only an exact sum keeps the promise, and it takes more pairs than `max_pairs`.
    """
    device = problem.queries.device
    if device.type != "cpu":
        return Choice(exact_backend(problem.kernel, device), f"exact sums on {device}")
    few = problem.pairs <= problem.max_pairs
    if few and problem.pairs * problem.d <= TINY:
        return Choice(Dense(), f"{problem.pairs:.1g} pairs: too few for anything else to begin")
    if few and problem.pairs <= SMALL:
        return Choice(
            exact_backend(problem.kernel, device),
            f"{problem.pairs:.1g} pairs: exact sums are quick",
        )
    exact, seconds = _exact(problem)
    name = type(exact).__name__
    best, least = exact, seconds
    rivals = []
    for backend, cost in _fast(problem, seconds):
        rivals.append(f"{type(backend).__name__} {_shown(cost)}")
        if cost < least:
            best, least = backend, cost
    if best is exact and not few:
        raise ValueError(
            f"no fast sum of {problem.kernel} over {problem.n} sources in d = {problem.d} keeps"
            f" rtol = {problem.rtol:g}, and `max_pairs` = {problem.max_pairs:.0e} is less than the"
            f" {problem.pairs:.0e} pairs of an exact sum ({_shown(seconds)} on one core): raise"
            " `rtol` (1e-2: Nystroem in any d), the bandwidth or `max_pairs`, or take fewer points"
        )
    others = ", ".join([*rivals, *([f"{name} {_shown(seconds)}"] if best is not exact else [])])
    return Choice(best, f"about {_shown(least)} on one core" + (f"; {others}" if others else ""))


def _exact(problem: Problem) -> tuple[PairwiseSum, float]:
    backend = exact_backend(problem.kernel, problem.queries.device)
    if isinstance(backend, Dense):
        return backend, problem.pairs * DENSE_PAIR * problem.d
    *first, further = PAIR[problem.queries.dtype]
    pair = first[min(problem.d, 3) - 1] + further * max(0, problem.d - 3)
    facts = facts_of(problem.kernel)
    assert facts is not None
    return backend, CALL["Compiled"] + problem.pairs * pair * facts.cost * (
        1 + 0.25 * (problem.columns - 1)
    )


def _fast(problem: Problem, least: float) -> Iterator[tuple[PairwiseSum, float]]:
    """Yield the backends that keep the promise, with their times in seconds.

    Backends that cannot be faster than `least` or the mesh are left out, because the estimate takes
    time, too.
    """
    if not has_facts(problem.kernel):
        return
    rtol, atol, absolute = problem.rtol, problem.atol, problem.absolute
    if problem.d <= 3 and usable("llvmlite.binding"):
        cost = _mesh(problem, absolute)
        if cost is not None:
            yield Mesh(rtol=rtol, atol=atol), cost
            least = min(least, cost)
        if falls_fast(type(problem.kernel)) and 2 * _sorted_seconds(problem) < least:
            yield Culled(rtol=rtol, atol=atol), _culled(problem, absolute)
    if problem.d <= 3 and CALL["Fourier"] < least and usable("finufft"):
        cost = _fourier(problem, absolute)
        if cost is not None:
            yield Fourier(rtol=rtol, atol=atol), cost
    if problem.d > 3 and absolute >= 1e-4 and has_landmarks(type(problem.kernel)):
        yield Nystroem(rtol=rtol, atol=atol), _nystroem(problem, absolute)


def _mesh(problem: Problem, atol: float) -> float | None:
    try:
        require_smooth(problem.kernel, "Mesh")
    except TypeError:
        return None
    planned = plan(problem.kernel, problem.d, atol)
    if planned is None:
        return None
    # The shape takes a search in whole numbers: it is computed only where it may be small enough.
    if (
        not math.prod(
            length / planned.spacing for length in planned.periodic.least(problem.extents)
        )
        <= Mesh().max_cells
    ):
        return None
    cells = math.prod(periodic_shape(planned, around(planned, *problem.corners)))
    if cells > Mesh().max_cells:
        return None
    wide = 2.0 if planned.element == "float64" else 1.0
    points = problem.n * SPREAD[problem.d - 1] + len(problem.queries) * INTERPOLATE[problem.d - 1]
    return CALL["Mesh"] + problem.columns * (
        wide * points + cells * CELL[problem.d - 1] * math.log2(cells)
    )


def _culled(problem: Problem, atol: float) -> float:
    kernel = problem.kernel
    radius = reach_of(type(kernel), atol, problem.d).near * (bandwidth_of(kernel) or 1.0)
    seconds = _exact(problem)[1] - CALL["Compiled"]
    # The ball around a block of queries is as wide as the block and the reach together.
    wide = (problem.near(radius) / problem.pairs) ** (1 / problem.d) + (BLOCK / problem.n) ** (
        1 / problem.d
    )
    near = min(1.0, wide**problem.d)
    return _sorted_seconds(problem) + near * seconds


def _sorted_seconds(problem: Problem) -> float:
    return CALL["Culled"] + (problem.n + len(problem.queries)) * SORT


def _fourier(problem: Problem, atol: float) -> float | None:
    """Estimate a Fourier sum's seconds, or return None where it cannot keep the promise.

    For exponential tails, the near field's radius balances modes and near pairs.
    """
    kernel, d, points = problem.kernel, problem.d, problem.n + len(problem.queries)
    if d == 1 and form_of(kernel) is not None:
        return CALL["Fourier"] + 3e-7 * points * problem.columns
    if atol < FINEST_FOURIER or not math.isfinite(max(problem.extents)):
        return None
    digits, bandwidth = math.log(1 / atol), bandwidth_of(kernel) or math.inf
    seconds = CALL["Fourier"] + problem.columns * points * TRANSFORM[d - 1] * (1 + (d > 1))
    if is_gaussian(kernel):
        counts = [
            (
                math.prod(
                    math.sqrt(2 * digits + 9) / math.pi * (e / bandwidth + 6)
                    for e in problem.extents
                ),
                0.0,
            )
        ]
    elif isinstance(tail_of(kernel), PowerLaw):
        counts = [
            (
                math.prod(
                    2 * (digits + 4) / math.pi * (e / bandwidth + 2) for e in problem.extents
                ),
                0.0,
            )
        ]
    elif exponential_tail(kernel) is not None and usable("llvmlite.binding"):
        widest = min(max(problem.extents), bandwidth)
        radii = [widest * 2 ** (-k / 2) for k in range(2, 24)]
        counts = [
            (math.prod(2.5 * e * (digits + 8) / (math.pi * r) + 8 for e in problem.extents), r)
            for r in radii
        ]
    else:
        return None
    costs = [
        2 * MODE[d - 1] * modes + (12e-9 * problem.near(r) if r else 0.0)
        for modes, r in counts
        if modes < Fourier().max_modes
    ]
    return seconds + min(costs) if costs else None


def _nystroem(problem: Problem, atol: float) -> float:
    """Estimate a landmark sum's seconds, with the exact sums at its probes.

    The rank is a guess for bandwidths near the median distance.
    """
    rank = min(2048.0, 100 * atol**-0.5)
    *first, further = PAIR[torch.float64]
    pair = first[2] + further * (problem.d - 3)
    return (
        CALL["Nystroem"]
        + pair * (rank * (problem.n + len(problem.queries)) + PROBES * problem.n)
        + 4096 * rank**2 * 2e-10
    )


def _shown(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1e3 * seconds:.2g} ms"
