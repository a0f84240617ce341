"""Sum over near pairs only, for kernels whose bandwidth is small against the cloud."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from particleflow._libraries import library
from particleflow.kernels import Kernel, ScaledKernel
from particleflow.kernels.declared import falls_fast, has_kink, names_of
from particleflow.kernels.scaled import Scaled
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.base import Promise, Queries
from particleflow.pairwise.exact.ranges import plan_of, query_rows, range_logs, range_sums
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import (
    checked_points,
    checked_weights,
    kept_queries,
    points_of,
    require_cpu,
    require_finite,
)
from particleflow.pairwise.neighbours import search
from particleflow.pairwise.neighbours.batches import ranges_of, shape_of, unit_of
from particleflow.pairwise.neighbours.box_tree import TILE, Boxes
from particleflow.pairwise.neighbours.reach import Reach, reach_of
from particleflow.pairwise.neighbours.tiled import Batch, Neighbours, Tiled
from particleflow.pairwise.promise import KernelSources, Tolerances
from particleflow.pairwise.terms import What
from particleflow.pairwise.threads import together

# Blocks of queries in one job of a thread.
JOB = 512
# Scaled lengths beyond this leave float32's range once squared and put into a kernel.
FAR = 1e9
# Up to this many blocks take one pass in float64 rather than one in each precision.
FEW = 128
# Natural logarithm of the factor by which `log` leaves out less than atol.
LOG_MARGIN = 2.0
# Tolerance, relative to the sum's scale, below which float32 input is summed in float64.
FINEST_FLOAT32 = 5e-6


@dataclass(frozen=True)
class Culled(Tolerances):
    r"""Exact sums over the sources within the kernel's reach, on the CPU and in any d.

    .. math::

        S(z) \approx \sum_{|z - x_i| \le R} w_i\, k(z, x_i) ,
        \qquad
        k(R) \le \mathrm{atol} \max k ,
        \quad \left| \nabla k(R) \right| \le \mathrm{atol} \max \left| \nabla k \right| .

    It serves kernels whose bandwidth is small against the cloud, and falls exponentially: Gaussian,
    Laplace and Matern. Sources and queries are sorted into tiles of 16. A tree of boxes finds the
    tiles nearer than R to a block of queries. Any density, duplicates and far outliers are allowed.
    For d > 3 few pairs are left out, and `Auto` does not take this backend there.

    The errors are at most atol times the sum's scale (``field.promise(z)`` bounds them more
    sharply). Relative to a row's own sum they are about as small, since far pairs are left out in
    every row. The bits are the same for any number of threads. float32 sums are taken in float64 in
    three cases: for atol < 5e-6, in blocks of queries that lie very far from each other, and for
    Laplace, whose force between close points would lose its digits. `log` leaves out sources that
    change a row by less than atol, wherever the row is.

    Parameters
    ----------
    rtol : float
        Tolerance relative to the sum. It is also relative to the scale, unless `atol` is given.
    atol : float, optional
        Tolerance relative to the sum's scale, sum|w| max|k|.

    Raises
    ------
    TypeError
        A tolerance is no number. Later, from `sources`: the kernel has a long or an unknown reach.
    ValueError
        A tolerance is not positive and finite. Later, from `sources`: the points are not finite, or
        not on the CPU.
    ImportError
        From `sources`: llvmlite is missing or broken.

    Cost: O(N log N) once for the sources, O(Q log Q) for other queries, and O(Q n d) for n ~ N (R /
    extent)^d sources near a query.

    >>> x = torch.arange(-200, 201)[:, None] / 20  # 401 points, 0.05 apart
    >>> sources = pf.pairwise.Culled().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.full((401,), 0.05))
    >>> field.value(torch.zeros(1, 1))  # the integral of k: sqrt(2 pi)
    tensor([2.5066])
    """

    rtol: float = 1e-5
    atol: float | None = None

    def __post_init__(self) -> None:
        self.check_tolerances()

    def sources(self, kernel: Kernel, points: Tensor) -> CulledSources:
        points = checked_points(points, kernel)
        if not (falls_fast(type(kernel)) and isinstance(kernel, Scaled)):
            raise TypeError(
                f"`kernel` must be {names_of(falls_fast)} for Culled(), got"
                f" {kernel}: its reach is long or unknown; sum with Compiled(), or with Dense() for"
                " a kernel of your own"
            )
        require_cpu(points, "Culled()")
        require_finite(points, "Culled()")
        library("llvmlite.binding", "Culled")
        double = points.dtype == torch.float64 or self.absolute < FINEST_FLOAT32 or has_kink(kernel)
        element = np.dtype(np.float64 if double else np.float32)
        return CulledSources(kernel, points, self.absolute, element, Tiled.of(points.numpy()))


def near_sum(
    parts: Iterable[tuple[KernelSources, Tensor]], kept: Iterable[Memo[CulledField]], tol: float
) -> SumField:
    """The sum of the parts (sources, weights) over neighbours alone.

    The tolerance `tol` is relative to the scales. `kept` holds each part's field.
    """
    fields = [
        memory.get(
            (Culled, tol), functools.partial(_culled, sources.kernel, sources.points, w, tol)
        )
        for (sources, w), memory in zip(parts, kept, strict=True)
    ]
    return functools.reduce(operator.add, fields)


def _culled(kernel: Kernel, points: Tensor, w: Tensor, tol: float) -> CulledField:
    return Culled(rtol=tol).sources(kernel, points).field(w)


@dataclass(frozen=True, eq=False)
class CulledQueries:
    """Query points, and their finite rows `finite` sorted into tiles."""

    points: Tensor
    finite: np.ndarray
    tiled: Tiled


@dataclass(frozen=True, eq=False)
class CulledSources:
    kernel: ScaledKernel
    points: Tensor
    tolerance: float
    element: np.dtype
    tiled: Tiled

    def field(self, w: Tensor) -> CulledField:
        return CulledField(((self, checked_weights(w, self.points)),))

    def prepare(self, z: Tensor) -> CulledQueries:
        z = kept_queries(z, self.points)
        points = z.to(self.points.dtype).numpy()
        finite = np.isfinite(points)
        rows = np.arange(len(points)) if finite.all() else finite.all(1).nonzero()[0]
        return CulledQueries(
            z,
            rows,
            (
                self.tiled
                if z is self.points
                else Tiled.of(points if len(rows) == len(points) else points[rows])
            ),
        )

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        queries = self._queries(z)
        total = np.zeros(
            (len(queries.tiled.points), w.shape[1], what.components(self.points.shape[1]))
        )
        block = self._block(what, w.shape[1], log=False)
        near = Neighbours(
            self.tiled,
            queries.tiled,
            block,
            np.full(-(-len(total) // block), self._reach.of(what) * self._length),
        )

        def add(batch: Batch) -> None:
            weights, ranges = torch.from_numpy(batch.w), ranges_of(batch, block)
            sums = range_sums(self.kernel, what, weights, batch.x, query_rows(batch.z), ranges)
            total[batch.first : batch.last] += sums[: len(batch.z)]

        self._run(add, w, near)
        return self._answer(total, w, queries)

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        queries = self._queries(z)
        logs, grads = (
            np.full(len(queries.tiled.points), -np.inf),
            np.zeros_like(queries.tiled.points),
        )
        block = self._block(What.BOTH, 1, log=True)
        reach, boxes = np.empty(-(-len(logs) // block)), queries.tiled.boxes(block)
        with np.errstate(divide="ignore"):
            log_mass = np.log(self.tiled.masses(self._weights(w)))
        log_tolerance = math.log(self.tolerance) - LOG_MARGIN
        search.log_reach(
            self.tiled.tree,
            log_mass,
            shape_of(self.kernel),
            self._length,
            log_tolerance,
            boxes,
            reach,
        )

        def write(batch: Batch) -> None:
            weights, ranges = torch.from_numpy(batch.w)[:, 0], ranges_of(batch, block)
            log, grad = range_logs(self.kernel, weights, batch.x, query_rows(batch.z), ranges)
            # A block without sources keeps its empty sum.
            met = (ranges.stops > ranges.starts).repeat(block)[: len(batch.z)].nonzero()[0]
            logs[batch.first + met], grads[batch.first + met] = log[met], grad[met]

        self._run(write, w[:, None], Neighbours(self.tiled, queries.tiled, block, reach))
        return self._answer(logs, w, queries), self._answer(grads, w, queries)

    def bounds(self, w: Tensor, z: Tensor | Queries) -> tuple[float, float]:
        """The largest errors of value and gradient at z over the weight vectors w (N, K)."""
        queries, tiled, length = self._queries(z).tiled, self.tiled, self._length
        near, band, far = (
            length * r for r in (self._reach.near, self._reach.band, self._reach.far)
        )
        limits = search.Limits(
            near,
            band,
            far,
            self._reach.table / length ** np.arange(3.0),
            self._reach.scale / length**2,
        )
        block = self._block(What.BOTH, w.shape[1], log=False)
        boxes, element = queries.boxes(block), float(np.finfo(self.element).eps)
        shift = np.where(self._wide(boxes), np.finfo(np.float64).eps, element)
        rounding = 8 * element + torch.finfo(self.points.dtype).eps
        worst = 0.0, 0.0
        for column in np.abs(self._weights(w)).T:
            weights = np.ascontiguousarray(column)
            found = search.bounds(
                tiled.tree,
                tiled.points,
                weights,
                tiled.masses(weights),
                Boxes(queries.points, queries.points),
                block,
                boxes,
                limits,
                rounding,
                shift,
            )
            worst = max(worst[0], found[0]), max(worst[1], found[1])
        return worst

    def _block(self, what: What, columns: int, *, log: bool) -> int:
        """The number of queries that share a list of sources.

        It is the fewest that fill the compiled code's vectors and whole tiles.
        """
        weights = "column" if columns == 1 else "columns"
        plan = plan_of(
            type(self.kernel),
            what,
            self.points.shape[1],
            self.element,
            weights,
            log=log,
            portable=False,
        )
        return math.lcm(TILE, plan.lanes)

    def _wide(self, boxes: Boxes) -> np.ndarray:
        """Whether each block is too large for float32, (blocks,).

        Rounding its coordinates to float32 would cost more than the tolerance.
        """
        largest = 0.5 * self.tolerance / np.finfo(np.float32).eps * self._length
        return (self.element == np.float32) & (
            np.linalg.norm(boxes.high - boxes.low, axis=1) > largest
        )

    def _run(self, job: Callable[[Batch], None], w: Tensor, near: Neighbours) -> None:
        """Do `job` for all batches, in PyTorch's number of threads.

        One thread sums a block, over its sources in one order.
        """
        weights, unit, wide = (
            self._weights(w),
            unit_of(self.kernel),
            self._wide(near.queries.boxes(near.block)),
        )
        wide |= (self.element == np.float32) & (near.reach * unit > FAR)
        tasks: list[Callable[[], None]] = []
        if len(near) <= FEW and wide.any():
            wide[:] = True
        for chosen, dtype in ((~wide, self.element), (wide, np.dtype(np.float64))):
            if chosen.any():
                some = (
                    near
                    if chosen.all()
                    else replace(near, reach=np.where(chosen, near.reach, np.nan))
                )
                tasks += some.tasks(job, weights, unit, dtype, JOB)
        together(tasks)

    @property
    def _length(self) -> float:
        return float(self.kernel.bandwidth)

    @cached_property
    def _reach(self) -> Reach:
        return reach_of(type(self.kernel), self.tolerance, self.points.shape[1])

    def _weights(self, w: Tensor) -> np.ndarray:
        """The weights (N, K) in the order of the tiles."""
        return w.detach().double().numpy()[self.tiled.order]

    def _queries(self, z: Tensor | Queries) -> CulledQueries:
        return z if isinstance(z, CulledQueries) else self.prepare(points_of(z))

    def _answer(self, rows: np.ndarray, w: Tensor, queries: CulledQueries) -> Tensor:
        """The rows in the queries' order and the points' dtype.

        A query that is not finite gives NaN. A weight that is not finite gives NaN everywhere.
        """
        answer = np.full(
            (len(queries.points), *rows.shape[1:]), np.nan, self.points.detach().numpy().dtype
        )
        if np.isfinite(w.detach().numpy()).all():
            with np.errstate(over="ignore"):
                answer[queries.finite[queries.tiled.order]] = rows
        return torch.from_numpy(answer)


@dataclass(frozen=True, eq=False)
class CulledField(SumField):
    """A field that leaves out far pairs and sorts queries once for all parts."""

    parts: tuple[tuple[CulledSources, Tensor], ...]

    def promise(self, z: Tensor | Queries) -> Promise:
        z = self._seen(z)
        queries = self._prepared(z)
        bounds = [
            sources.bounds(w if w.ndim == 2 else w[:, None], queries) for sources, w in self.parts
        ]
        return Promise(
            sum(value for value, _ in bounds),
            sum(grad for _, grad in bounds),
            "what lies beyond the kernel's reach, and rounding",
        )

    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        z = self._seen(z)
        return super().log(self._prepared(z))

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        return super().sums(what, self._prepared(z))

    def _prepared(self, z: Tensor | Queries) -> CulledQueries:
        if isinstance(z, CulledQueries):
            return z
        points = points_of(z)
        own = [sources for sources, _ in self.parts if torch.equal(sources.points, points)]
        return (own or [self.parts[0][0]])[0].prepare(points)
