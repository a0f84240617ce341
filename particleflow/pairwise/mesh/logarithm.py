"""The logarithm of a sum on a particle mesh, and its gradient, in the tails too.

The error of log S is the relative error of the sum S, which may lie far below the largest sum.

- Rounding is relative to the sums nearby, in float32 too: it does little harm.
- The mesh's error is relative to the weights within the kernel's reach. So the mesh is made fine
  enough for most rows to lie far above it.
- The other rows are summed anew: of a Gaussian on meshes with small relative errors (`tails.py`),
  else exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from particleflow._libraries import Later
from particleflow.kernels.declared import is_gaussian
from particleflow.pairwise.base import Queries
from particleflow.pairwise.exact.fallback import exact_sum
from particleflow.pairwise.inputs import points_of
from particleflow.pairwise.mesh import spacing
from particleflow.pairwise.mesh.pair_errors import FARTHEST, errors_beyond
from particleflow.pairwise.mesh.placed import Placed
from particleflow.pairwise.mesh.records import Coverage
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.mesh.sums import MeshSums
from particleflow.pairwise.mesh.tails import LIGHTEST, at_rows, plans, seconds
from particleflow.pairwise.periodic.modes import length_scale
from particleflow.pairwise.promise import peaks
from particleflow.pairwise.terms import What

ndimage = Later("scipy.ndimage")

# The Gaussian: errors of the mesh relative to the tolerance. The first whose mesh has few nodes is
# taken, else the last.
FINER = (1e-6, 1e-5, 1e-4, 1e-3)
# A mesh has few nodes if it has one for so many points, and so many besides: these cost less than
# the points do.
POINTS_PER_NODE = 2
NODES_BESIDES = 2**16
# Other kernels: errors relative to the tolerance. The first that a mesh keeps is taken.
TIGHTER = (1e-5, 1e-3, 1.0)
# The least error that is asked for, relative to the largest sum: sums in float64 keep it.
TIGHTEST = 1e-10
# Side, in length scales, of the blocks in which the weights around a row are looked up.
BLOCK = 2.0
# Seconds for a pair of points of an exact sum.
PER_PAIR = 1.6e-9
# Seconds for spreading a point on the mesh of a tail.
PER_POINT = 1.5e-7
# Queries that the exact sum takes together: fewer cost as much.
TOGETHER = 64


@dataclass(frozen=True, eq=False)
class LogSum:
    """z -> log of the sum with the weights of one `column` of `sums`."""

    sums: MeshSums
    column: int

    def at(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """The logarithm (Q,) at z, and its gradient (Q, d)."""
        sums, column = self.sums, self.column
        placed, points, tol = sums.placed(z), points_of(z), sums.mesh.absolute
        plan, coverage = self._finest(placed)
        if plan is None or coverage.why:
            neighbours = sums.neighbour_sum(tol, z)
            if neighbours is None:
                return sums.exactly(coverage.why, len(points), column).log(points)
            return neighbours.log_column(column, points)
        largest = sums.mass(column) * peaks(sums.kernel, 0.0)[0]
        value, slope = sums.log_slopes(plan, coverage, placed, column)
        if largest == 0:
            return value.where(value.isnan(), -math.inf), slope.where(value.isnan()[:, None], 0.0)
        bound = largest * max(plan.value_error, plan.grad_error) / tol
        # numpy's search is far faster than torch's where few of many rows are found
        poor = torch.from_numpy(np.flatnonzero((value <= bound).numpy()))
        if len(poor) and plan.pair_errors is not None:
            errors = self._errors_around(plan, points[poor], largest)
            poor = poor[torch.from_numpy(value[poor].double().numpy() <= errors / tol)]
        log = value.log()
        if len(poor):
            own = any(sources.points is points for sources, _ in sums.parts)
            log[poor], slope[poor] = self._tail(points[poor], own=own)
        return log, slope

    def _finest(self, placed: Placed) -> tuple[Plan | None, Coverage]:
        """The most accurate mesh that has few nodes, else the cheapest that is accurate enough."""
        sums, kernel = self.sums, self.sums.kernel
        tol, d = sums.mesh.absolute, placed.points.shape[1]
        few = (len(placed.points) + sums.count) / POINTS_PER_NODE + NODES_BESIDES
        found: tuple[Plan, Coverage] | None = None
        # float32 will do for the Gaussian alone. The gradient of IMQ is small far away, beside
        # rounding; derivatives raise the last modes of Matern's
        for finer in FINER if is_gaussian(kernel) else ():
            plan = spacing.logarithm_plan(kernel, d, finer * tol, tol)
            if plan is None:
                continue
            coverage = sums.coverage(plan, placed)
            if not coverage.why:
                found = plan, coverage
                if sum(math.prod(mesh.shape) for mesh in coverage.meshes) <= few:
                    break
        if found is not None:
            return found
        for tighter in TIGHTER:
            planned = sums.planned(max(tighter * tol, TIGHTEST), placed)
            if planned[0] is not None and not planned[1].why:
                break
        return planned

    def _errors_around(self, plan: Plan, points: Tensor, largest: float) -> np.ndarray:
        """The mesh's error (Q,) at points (Q, d), by the weights within the kernel's reach.

        `largest`: the largest sum that there could be.
        """
        assert plan.pair_errors is not None
        size = max(1, round(BLOCK * plan.unit / plan.spacing))
        width = size * plan.spacing
        # in blocks, from a row to weights beyond the reach, with the windows of both
        far = math.ceil((FARTHEST * plan.unit + plan.window.taps / 2 * plan.spacing) / width)
        place = np.floor(points.double().numpy() / width)
        mass = np.zeros(len(points))
        for part, facts in enumerate(self.sums.facts):
            origin, around = facts.around.get(
                (plan, self.column), partial(self._mass_around, plan, part, size, far)
            )
            index = (place - origin).clip(-1, around.shape)
            inside = ((index >= 0) & (index < around.shape)).all(1)
            mass[inside] += around[tuple(index[inside].astype(np.int64).T)]
        beyond = max(errors_beyond(plan.pair_errors, plan.d))
        return mass * max(plan.value_error, plan.grad_error) + largest * (
            beyond + max(plan.images[:2]) + spacing.TRANSFORMED
        )

    def _mass_around(
        self, plan: Plan, part: int, size: int, far: int
    ) -> tuple[np.ndarray, np.ndarray]:
        box, nodes = self.sums.spread(plan, part, self.column)
        return _block_sums(np.abs(nodes), box.origin, size, far)

    def _tail(self, points: Tensor, *, own: bool) -> tuple[Tensor, Tensor]:
        """The logarithm and its gradient for rows whose sums are far below the peak.

        `own`: the rows are sources. These move, so that nothing made of them serves again.
        """
        log, slope = points.new_empty(len(points)), torch.empty_like(points)
        left = torch.arange(len(points), device="cpu")
        for rows, value, pull in self._on_finer_meshes(points, own=own):
            log[rows], slope[rows] = value, pull
            still = torch.ones(len(points), dtype=torch.bool, device="cpu")
            still[rows] = False
            left = left[still[left]]
        if len(left):
            log[left], slope[left] = (found.to(log.dtype) for found in self._exact(points[left]))
        return log, slope

    def _on_finer_meshes(
        self, points: Tensor, *, own: bool
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows that the plans of `tails.py` sum, with logarithm and gradient, while that pays."""
        sums, column, sources = self.sums, self.column, self.sums.count
        if not is_gaussian(sums.kernel):
            return
        most_pairs = sums.mesh.max_pairs
        cheap = max(len(points), TOGETHER) * PER_PAIR < PER_POINT
        if own and cheap and len(points) * sources <= most_pairs:
            return
        whole = sums.mass(column)
        if not sums.lightest(column) > LIGHTEST * whole:
            return
        left = torch.arange(len(points), device="cpu")
        for least, plan in plans(sums.kernel, points.shape[1], sums.mesh.absolute):
            exact = PER_PAIR * max(len(left), TOGETHER) * sources
            worth = exact if len(left) * sources <= most_pairs else math.inf
            both = self._tried(plan, points[left].double(), worth)
            if both is None:
                return
            log = both[:, 0].log()
            right = log >= math.log(whole) + least
            yield (
                left[right],
                log[right].to(points.dtype),
                (both[right, 1:] / both[right, :1]).to(points.dtype),
            )
            left = left[~right]
            if not len(left):
                return

    def _tried(self, plan: Plan, points: Tensor, worth: float) -> Tensor | None:
        """Value and gradient (Q, 1 + d) by a plan of `tails.py`, in the faster of its two ways.

        None where no mesh holds the points, or where it takes longer than `worth` seconds.
        """
        sums, queries = self.sums, Placed(points)
        cores, coverage = sums.cores(plan), sums.coverage(plan, queries)
        if coverage.why or any(core is None or core.outside is not None for core in cores):
            return None
        boxes = [core.box for core in cores if core is not None]
        shapes = [mesh.shape for mesh in coverage.meshes]
        by_rows, by_nodes = seconds(plan, queries.array, boxes, shapes)
        if min(by_nodes, by_rows) > worth:
            return None
        if by_rows < by_nodes:
            weights = [sums.spread(plan, part, self.column) for part in range(len(cores))]
            return torch.from_numpy(at_rows(plan, queries.array, weights))
        return sums.at(plan, coverage, What.BOTH, queries, [self.column])[:, 0]

    def _exact(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """By log-sum-exp over all pairs, in float64 where the points lie far apart."""
        exact = self.sums.exactly("", len(points), self.column)
        if not self._wide(points):
            return exact.log(points)
        # the sources are frozen dataclasses, which their protocol cannot say
        double = [
            (replace(sources, points=sources.points.double()), w.double())  # type: ignore[type-var]
            for sources, w in self.sums.column(self.column)
        ]
        return exact_sum(double).log(points.double())

    def _wide(self, points: Tensor) -> bool:
        """Whether rounding of coordinates to float32 costs more than the tolerance."""
        placed = [*(sources.placed for sources, _ in self.sums.parts), Placed(points)]
        corners = np.array(
            [each.corners for each in placed if each.corners is not None], np.float64
        ).reshape(-1, 2, points.shape[1])
        if points.dtype != torch.float32 or not len(corners):
            return False
        digits = torch.finfo(points.dtype).eps
        largest = 0.5 * self.sums.mesh.absolute / digits * length_scale(self.sums.kernel)
        return bool(np.linalg.norm(corners[:, 1].max(0) - corners[:, 0].min(0)) > largest)


def _block_sums(
    nodes: np.ndarray, origin: tuple[int, ...], size: int, far: int
) -> tuple[np.ndarray, np.ndarray]:
    """The number of the first block, and for each block the sum over blocks at most `far` away.

    A block has `size` nodes on each axis, and `origin` is the number of the first node. The blocks
    are those for which the sum is not empty.
    """
    first = np.array([o // size for o in origin])
    for axis, o in enumerate(origin):
        before = [(0, 0)] * nodes.ndim
        before[axis] = o - size * int(first[axis]), 0
        nodes = np.pad(nodes, before)
        nodes = np.add.reduceat(nodes, np.arange(0, nodes.shape[axis], size), axis)
    total = np.pad(nodes, far)
    for axis in range(nodes.ndim):
        total = ndimage.convolve1d(total, np.ones(2 * far + 1), axis, mode="constant")
    return first - far, total
