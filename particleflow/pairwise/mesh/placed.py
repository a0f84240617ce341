"""Points as a particle mesh meets them: their box, outliers and order, and their weights on nodes.

What depends on the points and on a plan alone is computed once and kept with the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from particleflow._checks import all_finite
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.inputs import refuse_far
from particleflow.pairwise.mesh import gridding
from particleflow.pairwise.mesh.lattice import Box, around, periodic_shape
from particleflow.pairwise.mesh.nearby import Density, density
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.subsets import ranked, some_rows

Array: TypeAlias = np.ndarray

# Particles that are added in the mesh's element before they go into integers, at least; or as many
# as there are nodes, so that emptying the mesh takes little time.
ADDED_TOGETHER = 4096
# Particles of one cell among these, at most: their sum in float32 loses six of 24 bits.
CROWD = 64
# Points by which the share of particles in the fullest cell is estimated.
SAMPLE = 4096
# Sorting pays from so many nodes on: the mesh then exceeds the processor's second-level cache.
SORTED_NODES = 2**18
# Sorting pays from so many points on.
SORTED_POINTS = 2**14
# Shares of the points that may be left out of the mesh and summed exactly, tried in this order.
OUTLIERS = (1e-3, 1e-2, 5e-2)
# Nodes for each point that are no reason to leave points out.
NODES_PER_POINT = 64
# Nodes besides these that are no reason either: their transforms take milliseconds.
NODES_BESIDES = 2**17
# Seconds for a node of a mesh. With the next, it decides how many points are left out.
PER_NODE = 1e-7
# Seconds for a pair of points of an exact sum.
PER_PAIR = 1e-9


@dataclass(frozen=True, eq=False)
class Core:
    """The box of nodes around all points but those `outside` (N,) bool; None: around all."""

    box: Box
    outside: Array | None


@dataclass(frozen=True, eq=False)
class Placed:
    """Points (N, d), and what is kept with them.

    `cores`: by plan and number of nodes. `ordered`: points and row numbers, likewise. `together`:
    particles that are added together, by plan, number of nodes and whether the points are sorted.
    """

    points: Tensor
    cores: Memo[Core | None] = field(default_factory=Memo)
    ordered: Memo[tuple[Array, Array]] = field(default_factory=Memo)
    together: Memo[int] = field(default_factory=Memo)

    @cached_property
    def array(self) -> Array:
        return np.ascontiguousarray(self.points.detach().numpy())

    def look(self, name: str) -> None:
        """Refuse points, called `name`, with a coordinate that is too large to be summed."""
        if self.points.dtype == torch.float64 and len(self.array):
            lowest, highest = self._ends
            refuse_far(self.points, name, float(lowest.min()), float(highest.max()))

    @cached_property
    def finite(self) -> Array:
        """(N,) bool: the rows without NaN or infinity."""
        return (
            np.ones(len(self.array), bool)
            if all_finite(self.points)
            else np.isfinite(self.array).all(1)
        )

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """Least and largest of each coordinate, (d,) each."""
        return gridding.extremes(self.array)

    @cached_property
    def corners(self) -> tuple[Array, Array] | None:
        """Least and largest of each coordinate of the finite points; None if no point is finite."""
        if not len(self.array):
            return None
        lowest, highest = self._ends
        if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
            finite = self.array[self.finite]
            if not len(finite):
                return None
            lowest, highest = finite.min(0), finite.max(0)
        return lowest, highest

    def core(self, plan: Plan, most: int) -> Core | None:
        """The points that a mesh of at most `most` nodes holds, at the least cost of all sums.

        None if there is no such mesh.
        """
        return self.cores.get((plan, most), lambda: self._core(plan, most))

    def _core(self, plan: Plan, most: int) -> Core | None:
        if self.corners is None:
            return None
        n, whole = len(self.points), Core(around(plan, *self.corners), None)
        nodes = math.prod(periodic_shape(plan, whole.box))
        choices = [(nodes * PER_NODE, whole)] if nodes <= most else []
        if nodes > NODES_PER_POINT * n + NODES_BESIDES:
            finite = self.array[self.finite]
            for share in OUTLIERS:
                tails = ranked(finite, share / 2 / plan.d, 1 - share / 2 / plan.d)
                outside = ~((self.array >= tails[0]) & (self.array <= tails[1])).all(1)
                core = Core(around(plan, *tails), outside)
                nodes = math.prod(periodic_shape(plan, core.box))
                if nodes <= most and not outside.all():
                    choices.append((nodes * PER_NODE + n * float(outside.sum()) * PER_PAIR, core))
        return min(choices, key=lambda choice: choice[0])[1] if choices else None

    def in_order(self, plan: Plan, most: int, nodes: int) -> tuple[Array, Array | None]:
        """Points sorted by the nodes that they meet, and the row numbers that sort them.

        As they are, and None, where sorting does not pay for a mesh of `nodes` nodes.
        """
        core = (
            self.core(plan, most)
            if plan.d > 1 and nodes >= SORTED_NODES and len(self.points) >= SORTED_POINTS
            else None
        )
        if core is None:
            return self.array, None
        box = core.box
        return self.ordered.get(
            (plan, most),
            lambda: gridding.sort(
                stencil(plan, self.array.dtype.name), self.array, box.origin, box.shape
            ),
        )

    def spread(self, plan: Plan, most: int, weights: Array, threads: int) -> tuple[Box, Array]:
        """The nodes around the core, and the weights (N,) of its points spread on them.

        All NaN if a weight or a point is not finite, as an exact sum would be.
        """
        core = self.core(plan, most)
        assert core is not None
        weights = np.ascontiguousarray(weights, plan.element)
        if core.outside is not None:
            weights = np.where(core.outside, weights.dtype.type(0), weights)
        # one look at the weights: their sum is finite if each is
        mass = float(np.abs(weights).sum(dtype=np.float64))
        if not math.isfinite(mass):
            return core.box, np.full(core.box.shape, math.nan)
        nodes = math.prod(core.box.shape)
        points, order = self.in_order(plan, most, nodes)
        if order is not None:
            weights = weights[order]
        tools, ordered = stencil(plan, points.dtype.name), order is not None
        together = self.together.get(
            (plan, nodes, ordered), lambda: self._added_together(plan, nodes, ordered)
        )
        mesh, missed = gridding.spread(
            tools,
            points,
            weights,
            core.box.origin,
            core.box.shape,
            mass=mass,
            chunk=together,
            threads=threads,
        )
        if missed and core.outside is None:
            mesh = np.full(core.box.shape, math.nan)
        return core.box, mesh

    def _added_together(self, plan: Plan, nodes: int, ordered: bool) -> int:
        """Particles that are added in the mesh's element before they go into integers.

        Fewer where many share a cell, since their sum in float32 would lose digits.
        """
        n, most = len(self.points), max(ADDED_TOGETHER, nodes)
        sample = np.nan_to_num(
            self.array[some_rows(n, SAMPLE)].astype(np.float64), posinf=0.0, neginf=0.0
        )
        # one number for each cell; two cells hardly ever have the same
        cells = np.floor(sample / plan.spacing) @ np.array([1.0, 7.31e4, 5.77e8])[: plan.d]
        crowd = float(np.unique(cells, return_counts=True)[1].max()) / len(cells)
        if not ordered:
            return max(CROWD, min(most, int(CROWD / crowd**2)))
        if min(n, most) * crowd**2 <= CROWD:
            return most
        return max(CROWD, min(most, int(CROWD / crowd)))

    def density(self, mass: Array, inside: Array, length: float) -> Density:
        """The sums of `mass` (N,) of the points `inside`, in blocks of side `length`."""
        every = bool(inside.all())
        return density(
            self.array if every else self.array[inside], mass if every else mass[inside], length
        )


def stencil(plan: Plan, particles: str) -> gridding.Stencil:
    """The tables of the compiled code for particles of this dtype, kept with the plan."""
    return plan.stencils.get(
        particles,
        lambda: gridding.Stencil.of(plan.window, plan.element, plan.d, particles, 1 / plan.spacing),
    )
