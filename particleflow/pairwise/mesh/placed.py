"""Points as a particle mesh meets them, and what depends on them and a plan alone: kept with the
points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

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

# Particles are spread in the mesh's element so many at a time, or as many as there are nodes; fewer
# where many of them share a cell.
CHUNK, SAMPLE, CROWD = 4096, 4096, 64
# Sorting pays where the mesh does not fit the processor's second-level cache, and for that many
# particles.
SORTED_CELLS, SORTED_POINTS = 2**18, 2**14
# Shares of the points that may be left out of the mesh and summed exactly; nodes, per point and at
# least, that are no reason to; and the costs, in seconds, that decide: of a node, of a pair.
OUTLIERS = (1e-3, 1e-2, 5e-2)
NODES_PER_POINT, FEW_NODES = 64, 2**17
PER_NODE, PER_PAIR = 1e-7, 1e-9


@dataclass(frozen=True, eq=False)
class Core:
    """The box of the nodes around all points but those of `outside`; None: around all."""

    box: Box
    outside: Array | None


@dataclass(frozen=True, eq=False)
class Placed:
    points: Tensor
    made: Memo[Any] = field(default_factory=Memo)

    @cached_property
    def array(self) -> Array:
        return np.ascontiguousarray(self.points.detach().numpy())

    def look(self, name: str) -> None:
        """Refuse points, by their name, that are too large to be summed."""
        if self.points.dtype == torch.float64 and len(self.array):
            lowest, highest = self._ends
            refuse_far(self.points, name, float(lowest.min()), float(highest.max()))

    @cached_property
    def finite(self) -> Array:
        """(N,) bool."""
        return (
            np.ones(len(self.array), bool)
            if all_finite(self.points)
            else np.isfinite(self.array).all(1)
        )

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """Least and largest of each coordinate; NaN where one is."""
        return gridding.extremes(self.array)

    @cached_property
    def corners(self) -> tuple[Array, Array] | None:
        """Of the finite points; None where there are none."""
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
        """The points that a mesh of at most so many nodes holds at the least cost; None if there is
        no such mesh.
        """
        found: Core | None = self.made.get(("core", plan, most), lambda: self._core(plan, most))
        return found

    def _core(self, plan: Plan, most: int) -> Core | None:
        if self.corners is None:
            return None
        n, whole = len(self.points), Core(around(plan, *self.corners), None)
        nodes = math.prod(periodic_shape(plan, whole.box))
        choices = [(nodes * PER_NODE, whole)] if nodes <= most else []
        if nodes > NODES_PER_POINT * n + FEW_NODES:
            finite = self.array[self.finite]
            for share in OUTLIERS:
                tails = ranked(finite, share / 2 / plan.d, 1 - share / 2 / plan.d)
                outside = ~((self.array >= tails[0]) & (self.array <= tails[1])).all(1)
                core = Core(around(plan, *tails), outside)
                nodes = math.prod(periodic_shape(plan, core.box))
                if nodes <= most and not outside.all():
                    choices.append((nodes * PER_NODE + n * float(outside.sum()) * PER_PAIR, core))
        return min(choices, key=lambda choice: choice[0])[1] if choices else None

    def in_order(self, plan: Plan, most: int, cells: int) -> tuple[Array, Array | None]:
        """Points in the order of the nodes, and their numbers before, where that pays for a mesh of
        so many cells; else as they are, and None.
        """
        core = (
            self.core(plan, most)
            if plan.d > 1 and cells >= SORTED_CELLS and len(self.points) >= SORTED_POINTS
            else None
        )
        if core is None:
            return self.array, None
        box = core.box
        points, order = self.made.get(
            ("order", plan, most),
            lambda: gridding.sort(
                stencil(plan, self.array.dtype.name), self.array, box.origin, box.shape
            ),
        )
        return points, order

    def spread(self, plan: Plan, most: int, weights: Array, threads: int) -> tuple[Box, Array]:
        """The nodes around the core, and its weights (N,) spread on them; NaN if a weight or a
        point is not finite, as in an exact sum.
        """
        core = self.core(plan, most)
        assert core is not None
        weights = np.ascontiguousarray(weights, plan.element)
        if core.outside is not None:
            weights = np.where(core.outside, weights.dtype.type(0), weights)
        # one pass: a sum of finite weights is finite
        mass = float(np.abs(weights).sum(dtype=np.float64))
        if not math.isfinite(mass):
            return core.box, np.full(core.box.shape, math.nan)
        cells = math.prod(core.box.shape)
        points, order = self.in_order(plan, most, cells)
        if order is not None:
            weights = weights[order]
        tools, ordered = stencil(plan, points.dtype.name), order is not None
        chunk = self.made.get(
            ("chunk", plan, cells, ordered), lambda: self._chunk(plan, cells, ordered)
        )
        mesh, missed = gridding.spread(
            tools,
            points,
            weights,
            core.box.origin,
            core.box.shape,
            mass=mass,
            chunk=chunk,
            threads=threads,
        )
        return core.box, mesh if core.outside is not None or not missed else np.full(
            core.box.shape, math.nan
        )

    def _chunk(self, plan: Plan, cells: int, ordered: bool) -> int:
        """Particles that are spread in float32 before they are added up: fewer where many share a
        cell, whose sum would lose digits.
        """
        n, chunk = len(self.points), max(CHUNK, cells)
        sample = np.nan_to_num(
            self.array[some_rows(n, SAMPLE)].astype(np.float64), posinf=0.0, neginf=0.0
        )
        # cells as numbers that hardly ever meet
        keys = np.floor(sample / plan.spacing) @ np.array([1.0, 7.31e4, 5.77e8])[: plan.d]
        crowd = float(np.unique(keys, return_counts=True)[1].max()) / len(keys)
        if ordered:
            return (
                chunk
                if min(n, chunk) * crowd**2 <= CROWD
                else max(CROWD, min(chunk, int(CROWD / crowd)))
            )
        return max(CROWD, min(chunk, int(CROWD / crowd**2)))

    def density(self, mass: Array, inside: Array, length: float) -> Density:
        """sum of `mass` (N,) in blocks, of the points `inside`."""
        every = bool(inside.all())
        return density(
            self.array if every else self.array[inside], mass if every else mass[inside], length
        )


def stencil(plan: Plan, particles: str) -> gridding.Stencil:
    """The code's tables for particles of this dtype, kept with the plan."""
    made: gridding.Stencil = plan.stencils.get(
        particles,
        lambda: gridding.Stencil.of(plan.window, plan.element, plan.d, particles, 1 / plan.spacing),
    )
    return made
