"""The sum on a mesh: which meshes hold the points, the potentials on them, and their values.

`Mesh` sums by particles and meshes alone. Three cases are summed otherwise: particles far from all
others, and queries far from all others (exactly, beside the meshes), and problems for which no mesh
is small and accurate enough (over the sources within the kernel's reach, or exactly).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, falls_fast
from particleflow.memo import Memo
from particleflow.pairwise.base import Queries
from particleflow.pairwise.exact.fallback import exact_sum, exact_values, usable, warn_once
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import as_matrix, points_of
from particleflow.pairwise.mesh import gridding, lattice, spacing
from particleflow.pairwise.mesh.lattice import around, periodic_shape, union, with_queries
from particleflow.pairwise.mesh.nearby import Density, block_size, local_errors
from particleflow.pairwise.mesh.placed import Core, Placed, stencil
from particleflow.pairwise.mesh.records import (
    Coverage,
    MeshOptions,
    MeshQueries,
    OnNodes,
    PartFacts,
    PlacedSources,
    SharedMesh,
)
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.neighbours.backend import near_sum
from particleflow.pairwise.neighbours.reach import reach_of, sampled_distances, share_within
from particleflow.pairwise.terms import What

# Nodes that a mesh may have for each point: with more, exact sums are faster whatever the points.
NODES_PER_POINT = 4096
# Nodes that a mesh may have besides, so that few points may lie far apart.
NODES_BESIDES = 2**21
# The share of pairs within the kernel's reach up to which it pays to look for these pairs.
NEIGHBOURS = 0.25
# Relative rounding of the exact sums in float32 that stand beside a mesh.
EXACT_ROUNDING = 1e-6
# What the compiled code interpolates, by what is summed. The laplacian has a potential of its own.
INTERPOLATED = {
    What.VALUE: "value",
    What.GRAD: "grad",
    What.BOTH: "both",
    What.LAPLACIAN: "value",
}


@dataclass(frozen=True, eq=False)
class MeshSums(SumField):
    """A field that sums on meshes.

    `kept`: each part's weights on nodes, by plan and column; those of a target's field outlive a
    step. `facts`: what else is known of each part. `potentials`: those that were evaluated last.
    """

    parts: tuple[tuple[PlacedSources, Tensor], ...]
    kept: tuple[Memo[OnNodes], ...] = ()
    facts: tuple[PartFacts, ...] = ()
    potentials: Memo[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "potentials", Memo(max(2, self._columns)))

    def __add__(self, other: SumField) -> MeshSums:
        assert isinstance(other, MeshSums)
        return type(self)(
            self.parts + other.parts, self.kept + other.kept, self.facts + other.facts
        )

    @property
    def mesh(self) -> MeshOptions:
        return self.parts[0][0].mesh

    @property
    def kernel(self) -> Kernel:
        return self.parts[0][0].kernel

    @property
    def count(self) -> int:
        """Sources in all parts."""
        return sum(len(sources.points) for sources, _ in self.parts)

    def column(self, k: int) -> list[tuple[PlacedSources, Tensor]]:
        """The sources of each part, and their k-th weights (N,)."""
        return [(sources, as_matrix(w)[:, k]) for sources, w in self.parts]

    # The choice of meshes

    def _ranged(self, z: Tensor) -> Tensor:
        return z  # `placed` refuses what is too large

    def placed(self, z: Tensor | Queries) -> Placed:
        """The queries as the mesh meets them: those of a part where z are its points."""
        if isinstance(z, MeshQueries):
            return z.placed
        points = points_of(z)
        own = next((sources.placed for sources, _ in self.parts if sources.points is points), None)
        if own is not None:
            return own
        placed = Placed(points)
        placed.look("z")
        return placed

    def planned(
        self, atol: float, placed: Placed, laplacian: bool = False
    ) -> tuple[Plan | None, Coverage]:
        """The plan that keeps atol, and the meshes for these queries; else a reason `why`."""
        plan = spacing.plan(self.kernel, self.parts[0][0].points.shape[1], atol, laplacian)
        if plan is None:
            return None, Coverage(why=f"no mesh resolves {self.kernel} to atol = {atol:.1g}")
        return plan, self.coverage(plan, placed)

    def cores(self, plan: Plan) -> list[Core | None]:
        """Of each part, the particles that a mesh holds; None where there is no such mesh."""
        return [sources.placed.core(plan, self.mesh.max_cells) for sources, _ in self.parts]

    def coverage(self, plan: Plan, placed: Placed) -> Coverage:
        """One mesh for all parts and queries if it is small enough, else one mesh for each part."""
        most, rows = self.mesh.max_cells, None
        too_large = Coverage(
            why=(
                f"the points extend over too many of its lengths for `max_cells` = {most} nodes (or"
                f" {NODES_PER_POINT} a point)"
            )
        )
        most = min(most, NODES_PER_POINT * (len(placed.points) + self.count) + NODES_BESIDES)
        boxes = [core.box for core in self.cores(plan) if core is not None]
        if len(boxes) < len(self.parts):
            return too_large
        decays = math.isfinite(plan.periodic.reach)
        if decays:
            queries = None if placed.corners is None else around(plan, *placed.corners)
        else:
            core = placed.core(plan, self.mesh.max_cells)
            if core is None and placed.corners is not None:
                return too_large
            queries, rows = (None, None) if core is None else (core.box, core.outside)
        whole = with_queries(plan, union(boxes), queries)
        shape = periodic_shape(plan, whole)
        if math.prod(shape) <= most:
            return Coverage((SharedMesh(tuple(range(len(boxes))), whole, shape),), rows)
        alone = []
        for part, own in enumerate(boxes):
            box = with_queries(plan, own, queries)
            alone.append(SharedMesh((part,), box, periodic_shape(plan, box)))
        if not decays or any(math.prod(mesh.shape) > most for mesh in alone):
            return too_large
        return Coverage(tuple(alone))

    # Sums

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        placed, tol = self.placed(z), self.mesh.absolute
        plan, coverage = self.planned(tol, placed, what is What.LAPLACIAN)
        if plan is None or coverage.why:
            instead = self.neighbour_sum(tol, z) or self.exactly(coverage.why, len(placed.points))
            return instead.sums(what, placed.points)
        return self.at(plan, coverage, what, placed, range(self._columns))

    def at(
        self, plan: Plan, coverage: Coverage, what: What, placed: Placed, columns: Sequence[int]
    ) -> Tensor:
        """(Q, columns, components): from the meshes, and from what is left out of them."""
        points = placed.points
        total = points.new_empty((len(points), len(columns), what.components(plan.d)))
        for number, mesh in enumerate(coverage.meshes):
            here = total if number == 0 else torch.empty_like(total)
            for k, column in enumerate(columns):
                self._interpolate(plan, mesh, what, placed, column, here[:, k])
            if number:
                total += here
        self._add_far_particles(plan, what, points, columns, total)
        if coverage.exact_rows is not None:
            rows = torch.from_numpy(coverage.exact_rows)
            self._check_pairs(float(rows.sum()) * self.count, "queries far from the others")
            parts = [(sources, as_matrix(w)[:, list(columns)]) for sources, w in self.parts]
            total[rows] = exact_sum(parts).sums(what, points[rows])
        return total

    def _add_far_particles(
        self, plan: Plan, what: What, points: Tensor, columns: Sequence[int], total: Tensor
    ) -> None:
        """Add exact sums over the particles that lie outside of the meshes.

        In float64: in float32 their coordinates would take digits of those of the queries.
        """
        for (sources, w), core in zip(self.parts, self.cores(plan), strict=True):
            if core is not None and core.outside is not None:
                far = torch.from_numpy(core.outside)
                pairs = len(points) * float(far.sum())
                self._check_pairs(pairs, "particles far from the others")
                weights = as_matrix(w)[far][:, list(columns)]
                total += exact_values(sources.kernel, sources.points[far], weights, what, points)

    def log_slopes(
        self, plan: Plan, coverage: Coverage, placed: Placed, column: int
    ) -> tuple[Tensor, Tensor]:
        """Value (Q,) and gradient / value (Q, d)."""
        whole = all(core is None or core.outside is None for core in self.cores(plan))
        if len(coverage.meshes) == 1 and coverage.exact_rows is None and whole:
            both = placed.points.new_empty((len(placed.points), 1 + plan.d))
            self._interpolate(plan, coverage.meshes[0], "slope", placed, column, both)
        else:
            both = self.at(plan, coverage, What.BOTH, placed, [column])[:, 0]
            both[:, 1:] /= both[:, :1]
        return both[:, 0], both[:, 1:]

    def _interpolate(
        self,
        plan: Plan,
        mesh: SharedMesh,
        what: What | str,
        placed: Placed,
        column: int,
        out: Tensor,
    ) -> None:
        """Write what a mesh gives at the queries to out (Q, components)."""
        points, order = placed.in_order(plan, self.mesh.max_cells, math.prod(mesh.shape))
        gridding.interpolate(
            stencil(plan, points.dtype.name),
            INTERPOLATED[what] if isinstance(what, What) else what,
            points,
            order,
            self._potential(plan, mesh, what is What.LAPLACIAN, column),
            mesh.box.origin,
            mesh.shape,
            out.numpy(),
            outside=0.0,
            threads=torch.get_num_threads(),
        )

    def _potential(self, plan: Plan, mesh: SharedMesh, laplacian: bool, column: int) -> np.ndarray:
        """The sum of the k-th weights on the nodes of a mesh, or its laplacian."""

        def make() -> np.ndarray:
            spreads = [self.spread(plan, part, column) for part in mesh.parts]
            nodes = lattice.potential(
                plan, mesh.box, mesh.shape, spreads, laplacian, torch.get_num_threads()
            )
            made = gridding.room(stencil(plan, "float64"), mesh.shape)
            made[: nodes.size] = nodes.ravel()
            return made

        return self.potentials.get((plan, mesh, laplacian, column), make)

    def spread(self, plan: Plan, part: int, column: int) -> OnNodes:
        """The nodes of a part, and its weights spread on them."""

        def make() -> OnNodes:
            sources, w = self.parts[part]
            weights = as_matrix(w)[:, column].detach().numpy()
            most, threads = self.mesh.max_cells, torch.get_num_threads()
            return sources.placed.spread(plan, most, weights, threads)

        return self.kept[part].get((plan, column), make)

    # What is known of the weights

    def mass(self, k: int) -> float:
        """The sum of the k-th weights."""
        return sum(
            facts.mass.get(k, partial(_sum_of, w))
            for facts, (_, w) in zip(self.facts, self.column(k), strict=True)
        )

    def lightest(self, k: int) -> float:
        """The least of the k-th weights above 0; infinite if there is none."""
        return min(
            facts.lightest.get(k, partial(_least_above_zero, w))
            for facts, (_, w) in zip(self.facts, self.column(k), strict=True)
        )

    def _local_errors(self, plan: Plan, mass: float) -> tuple[float, float]:
        """Errors of value and gradient by the particles near any one place (`nearby.py`).

        Relative to `mass` = sum |w|, times the kernel's peaks.
        """
        cores = [core for core in self.cores(plan) if core is not None]
        size = max(block_size(plan, math.prod(core.box.shape)) for core in cores)
        densities, left_out = [], 0.0
        for (sources, w), facts, core in zip(self.parts, self.facts, cores, strict=True):
            here, outside = facts.densities.get(
                (plan, size), partial(_density, sources.placed, w, core, size * plan.spacing)
            )
            densities.append(here)
            left_out += outside
        value, grad = local_errors(plan, densities, size)
        value, grad = ((error + EXACT_ROUNDING * left_out) / mass for error in (value, grad))
        return min(value, plan.value_error), min(grad, plan.grad_error)

    # Sums without a mesh

    def neighbour_sum(self, tol: float, z: Tensor | Queries) -> SumField | None:
        """The sum over the sources within the kernel's reach, if these are a small part of all.

        None if they are not, if the kernel has no reach, or if a source is not finite.
        """
        kernel = self.kernel
        if not (falls_fast(type(kernel)) and usable("llvmlite.binding")):
            return None
        clouds, queries = [sources.points for sources, _ in self.parts], points_of(z)
        if not all(bool(points.isfinite().all()) for points in clouds):
            return None
        radius = reach_of(type(kernel), tol, queries.shape[1]).near * (bandwidth_of(kernel) or 1.0)
        if not share_within(sampled_distances(clouds, queries), radius) < NEIGHBOURS:
            return None
        return near_sum(self.parts, [facts.neighbours for facts in self.facts], tol)

    def exactly(self, why: str, queries: int, column: int | None = None) -> SumField:
        """All parts by exact sums, of one column if it is given.

        With one warning if there is a reason `why`. Refused where the pairs are too many.
        """
        reason = why or f"{queries} rows of a logarithm below its error"
        self._check_pairs(float(queries) * self.count, reason)
        if why:
            rtol = self.mesh.rtol
            warn_once(
                f"Mesh(rtol={rtol:g}) sums {self.kernel} exactly: {why}. Raise `rtol` or"
                " `max_cells`, or ask for Compiled() or Auto()"
            )
        return exact_sum(self.parts if column is None else self.column(column))

    def _check_pairs(self, pairs: float, why: str) -> None:
        mesh = self.mesh
        if pairs > mesh.max_pairs:
            raise ValueError(
                f"Mesh(rtol={mesh.rtol:g}) cannot sum {self.kernel} alone: {why}; and exact sums"
                f" take {pairs:.1e} pairs of points, more than `max_pairs` = {mesh.max_pairs:.1e}:"
                " raise `rtol`, `max_cells`, `max_pairs` or the bandwidth, or use Culled or Auto"
            )


def _density(placed: Placed, w: Tensor, core: Core, length: float) -> tuple[Density, float]:
    """sum |w| in blocks of the particles in the core, and sum |w| of the particles outside."""
    weights = as_matrix(w).detach().abs().amax(1).double().numpy()
    inside = placed.finite if core.outside is None else ~core.outside
    return placed.density(weights, inside, length), float(weights[~inside].sum())


def _sum_of(w: Tensor) -> float:
    return float(w.sum(dtype=torch.float64))


def _least_above_zero(w: Tensor) -> float:
    least = float(w.min())
    return least if least > 0 else float(w[w > 0].amin()) if bool((w > 0).any()) else math.inf
