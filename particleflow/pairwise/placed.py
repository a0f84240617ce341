"""Points as a particle mesh meets them: where they lie, which of them a mesh can hold, in which order they are best spread."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from particleflow.pairwise.lattice import Box
    from particleflow.pairwise.spacing import Plan

# Particles are spread in the mesh's element so many at a time, or as many as there are nodes; fewer where many of them share a place.
CHUNK, SAMPLE, CROWD = 4096, 4096, 64
# Sorting pays where the mesh does not fit the processor's second-level cache, and for that many particles.
SORTED_CELLS, SORTED_POINTS = 2**18, 2**14
# Shares of the points that may be left out of the mesh and summed exactly, and the costs in seconds that decide: of a node, of a pair.
OUTLIERS = (1e-3, 1e-2, 5e-2)
PER_NODE, PER_PAIR = 1e-7, 1e-9


@dataclass(frozen=True, eq=False)
class Placed:
    """Points as the mesh's code wants them, and what depends on them and a plan: kept."""

    points: Tensor
    made: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def array(self) -> np.ndarray:
        return np.ascontiguousarray(self.points.detach().numpy())

    @cached_property
    def corners(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of the finite points; None where there are none."""
        from particleflow.pairwise.gridding import extremes

        lowest, highest = extremes(self.array)
        if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
            finite = self.array[np.isfinite(self.array).all(1)]
            if not len(finite):
                return None
            lowest, highest = extremes(finite)
        return lowest, highest

    def core(self, plan: Plan, most: int) -> Core | None:
        """The points that a mesh of at most so many nodes can hold, and the box of their nodes."""
        key = "core", plan, most
        if key not in self.made:
            self.made[key] = self._core(plan, most)
        found: Core | None = self.made[key]
        return found

    def _core(self, plan: Plan, most: int) -> Core | None:
        from particleflow.pairwise.lattice import around, periodic_shape

        if self.corners is None:
            return None
        whole = Core(around(plan, *self.corners), None)
        nodes, n = math.prod(periodic_shape(plan, whole.box)), len(self.points)
        choices = [(nodes * PER_NODE, whole)] if nodes <= most else []
        if nodes > max(64 * n, 2**17):
            sample = self.array[:: max(1, n // 2**14)]
            sample = sample[np.isfinite(sample).all(1)]
            for share in OUTLIERS:
                tails = np.quantile(sample, [share / 2 / plan.d, 1 - share / 2 / plan.d], axis=0, method="nearest")
                outside = ~((self.array >= tails[0]) & (self.array <= tails[1])).all(1)
                core = Core(around(plan, *tails), outside)
                nodes = math.prod(periodic_shape(plan, core.box))
                if nodes <= most:
                    choices.append((nodes * PER_NODE + n * float(outside.sum()) * PER_PAIR, core))
        return min(choices, key=lambda choice: choice[0])[1] if choices else None


@dataclass(frozen=True, eq=False)
class Core:
    """The box of the nodes around all points but those of `outside`; None: around all."""

    box: Box
    outside: np.ndarray | None


def stencil_of(plan: Plan, particles: str) -> Any:
    from particleflow.pairwise.gridding import Stencil

    made = plan.stencils
    if particles not in made:
        made[particles] = Stencil.of(plan.window, plan.element, plan.d, particles, 1 / plan.spacing)
    return made[particles]


def in_order_of_nodes(plan: Plan, placed: Placed, cells: int, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Points in the order of the nodes, and their numbers before, where that pays."""
    from particleflow.pairwise.gridding import sort

    core = placed.core(plan, most) if plan.d > 1 and cells >= SORTED_CELLS and len(placed.points) >= SORTED_POINTS else None
    if core is None:
        return None
    if ("sorted", plan) not in placed.made:
        placed.made["sorted", plan] = sort(stencil_of(plan, placed.array.dtype.name), placed.array, core.box.origin, core.box.shape)
    found: tuple[np.ndarray, np.ndarray] = placed.made["sorted", plan]
    return found


def spread_at_once(plan: Plan, placed: Placed, cells: int, in_order: bool) -> int:
    """Particles that are spread in float32 before they are added up: fewer where many share a place, whose sum would lose digits."""
    n = len(placed.points)
    sample = placed.array[:: -(-n // SAMPLE)].astype(np.float64)
    keys = np.floor(np.nan_to_num(sample) / plan.spacing) @ np.array([1.0, 7.31e4, 5.77e8])[: plan.d]
    crowd = float(np.unique(keys, return_counts=True)[1].max()) / len(keys)
    chunk = max(CHUNK, cells)
    if in_order:
        return chunk if min(n, chunk) * crowd**2 <= CROWD else max(CROWD, min(chunk, int(CROWD / crowd)))
    return max(CROWD, min(chunk, int(CROWD / crowd**2)))
