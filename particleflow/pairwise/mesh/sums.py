"""The sum of a mesh itself: which meshes hold which parts, their potentials, and what is summed
without a mesh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import falls_fast
from particleflow.memo import Memo
from particleflow.pairwise.base import Queries
from particleflow.pairwise.exact.fallback import exact_sources, exact_sum, usable, warn_once
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import points_of
from particleflow.pairwise.neighbours.reach import reach_of, sampled_distances
from particleflow.pairwise.terms import What

if TYPE_CHECKING:
    from particleflow.pairwise.mesh.lattice import Box
    from particleflow.pairwise.mesh.nearby import Density
    from particleflow.pairwise.mesh.placed import Core, Placed
    from particleflow.pairwise.mesh.spacing import Plan

# Nodes for each point, and at least, that a mesh may have: with more, sums go without it, whatever
# they are.
NODES_PER_POINT, FEW_NODES = 4096, 2**21
# The share of pairs up to which it pays to look for those within reach.
NEAR = 0.25


@runtime_checkable
class Asked(Protocol):
    """What a mesh was asked to keep: see `Mesh`."""

    @property
    def rtol(self) -> float: ...
    @property
    def absolute(self) -> float: ...
    @property
    def max_cells(self) -> int: ...
    @property
    def max_pairs(self) -> float: ...


@dataclass(frozen=True, eq=False)
class MeshQueries:
    """Query points, and what the mesh makes of them."""

    points: Tensor
    placed: Placed


@dataclass(frozen=True)
class Shared:
    """A mesh: its box and its periodic shape, and the parts that it holds."""

    parts: tuple[int, ...]
    box: Box
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Extent:
    """How a sum goes: on which meshes; queries that are summed exactly; `why` all is exact, if it
    is.
    """

    meshes: tuple[Shared, ...] = ()
    exact_rows: np.ndarray | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class MeshSums(SumField):
    """`kept`: of each part, the meshes of its weights, which outlive a step with a target's field.
    `potentials`: those evaluated last.
    """

    kept: tuple[Memo[Any], ...] = ()
    potentials: Memo[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "potentials", Memo(max(2, self._columns)))

    def __add__(self, other: SumField) -> MeshSums:
        assert isinstance(other, MeshSums)
        return type(self)(self.parts + other.parts, self.kept + other.kept)

    @property
    def mesh(self) -> Asked:
        mesh: Asked = self.parts[0][0].mesh
        return mesh

    @property
    def kernel(self) -> Kernel:
        kernel: Kernel = self.parts[0][0].kernel
        return kernel

    def _ranged(self, z: Tensor) -> Tensor:
        return z  # by `placed`

    def placed(self, z: Tensor | Queries) -> Placed:
        from particleflow.pairwise.mesh.placed import Placed

        if isinstance(z, MeshQueries):
            return z.placed
        points = points_of(z)
        own = next((sources.placed for sources, _ in self.parts if sources.points is points), None)
        if own is not None:
            return own
        placed = Placed(points)
        placed.look("z")
        return placed

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        placed = self.placed(z)
        plan, extent = self.planned(self.mesh.absolute, placed, what is What.LAPLACIAN)
        if plan is None or extent.why:
            near = self.near(self.mesh.absolute, z)
            return (near or self.exactly(extent.why, len(placed.points))).sums(what, placed.points)
        return self.at(plan, extent, what, placed, range(self._columns))

    def planned(
        self, atol: float, placed: Placed, laplacian: bool = False
    ) -> tuple[Plan | None, Extent]:
        from particleflow.pairwise.mesh import spacing

        kernel: Any = self.kernel
        plan = spacing.plan(kernel, self.parts[0][0].points.shape[1], atol, laplacian)
        if plan is None:
            return None, Extent(why=f"no mesh resolves {kernel} to atol = {atol:.1g}")
        return plan, self.extent(plan, placed)

    def cores(self, plan: Plan) -> list[Core | None]:
        return [sources.placed.core(plan, self.mesh.max_cells) for sources, _ in self.parts]

    def extent(self, plan: Plan, placed: Placed) -> Extent:
        from particleflow.pairwise.mesh.lattice import around, periodic_shape, union, with_queries

        most, rows = self.mesh.max_cells, None
        too_large = Extent(
            why=(
                f"the points extend over too many of its lengths for `max_cells` = {most} nodes (or"
                f" {NODES_PER_POINT} a point)"
            )
        )
        most = min(
            most,
            NODES_PER_POINT
            * (len(placed.points) + sum(len(sources.points) for sources, _ in self.parts))
            + FEW_NODES,
        )
        boxes = [core.box for core in self.cores(plan) if core is not None]
        if len(boxes) < len(self.parts):
            return too_large
        local = math.isfinite(plan.periodic.reach)
        if local:
            queries = None if placed.corners is None else around(plan, *placed.corners)
        else:
            core = placed.core(plan, self.mesh.max_cells)
            if core is None and placed.corners is not None:
                return too_large
            queries, rows = (None, None) if core is None else (core.box, core.outside)
        whole = with_queries(plan, union(boxes), queries)
        shape = periodic_shape(plan, whole)
        if math.prod(shape) <= most:
            return Extent((Shared(tuple(range(len(boxes))), whole, shape),), rows)
        # parts too far from each other for one mesh: one each
        each = [with_queries(plan, own, queries) for own in boxes]
        shapes = [periodic_shape(plan, box) for box in each]
        if not local or any(math.prod(shape) > most for shape in shapes):
            return too_large
        return Extent(
            tuple(
                Shared((part,), box, shape)
                for part, (box, shape) in enumerate(zip(each, shapes, strict=True))
            )
        )

    def slopes(
        self, plan: Plan, extent: Extent, placed: Placed, column: int
    ) -> tuple[Tensor, Tensor]:
        """Value (Q,) and gradient over value (Q, d)."""
        if (
            len(extent.meshes) == 1
            and extent.exact_rows is None
            and all(core is None or core.outside is None for core in self.cores(plan))
        ):
            both = placed.points.new_empty((len(placed.points), 1, 1 + plan.d))
            self._interpolate(plan, extent.meshes[0], "slope", placed, [column], both.numpy())
        else:
            both = self.at(plan, extent, What.BOTH, placed, [column])
            both[..., 1:] /= both[..., :1]
        return both[:, 0, 0], both[:, 0, 1:]

    def at(
        self, plan: Plan, extent: Extent, what: What, placed: Placed, columns: Sequence[int]
    ) -> Tensor:
        """(Q, columns, components): from the meshes, and from what is left out of them."""
        points, name = (
            placed.points,
            {What.GRAD: "grad", What.BOTH: "both", What.LAPLACIAN: "laplacian"}.get(what, "value"),
        )
        total = points.new_empty((len(points), len(columns), what.components(plan.d)))
        for number, mesh in enumerate(extent.meshes):
            here = total if number == 0 else torch.empty_like(total)
            self._interpolate(plan, mesh, name, placed, columns, here.numpy())
            if number:
                total += here
        for (sources, w), core in zip(self.parts, self.cores(plan), strict=True):
            if core is not None and core.outside is not None:
                chosen = torch.from_numpy(core.outside)
                self._check_pairs(
                    len(points) * float(chosen.sum()), "particles far from the others"
                )
                # in float32 far particles would take the digits of others' coordinates
                outside: Any = exact_sources(sources.kernel, sources.points[chosen].double())
                total += outside.sums(
                    what, _matrix(w)[chosen][:, list(columns)].double(), points.double()
                )
        if extent.exact_rows is not None:
            chosen = torch.from_numpy(extent.exact_rows)
            parts = [(sources, _matrix(w)[:, list(columns)]) for sources, w in self.parts]
            self._check_pairs(
                float(chosen.sum()) * sum(len(sources.points) for sources, _ in parts),
                "queries far from the others",
            )
            total[chosen] = exact_sum(parts).sums(what, points[chosen])
        return total

    def _interpolate(
        self,
        plan: Plan,
        mesh: Shared,
        name: str,
        placed: Placed,
        columns: Sequence[int],
        out: np.ndarray,
    ) -> None:
        from particleflow.pairwise.mesh import gridding
        from particleflow.pairwise.mesh.placed import stencil

        points, order = placed.in_order(plan, self.mesh.max_cells, math.prod(mesh.shape))
        tools, threads = stencil(plan, points.dtype.name), torch.get_num_threads()
        for k, column in enumerate(columns):
            potential = self._potential(plan, mesh, name == "laplacian", column)
            asked = "value" if name == "laplacian" else name
            where = potential, mesh.box.origin, mesh.shape, out[:, k]
            gridding.interpolate(tools, asked, points, order, *where, outside=0.0, threads=threads)

    def _potential(self, plan: Plan, mesh: Shared, laplacian: bool, column: int) -> np.ndarray:
        from particleflow.pairwise.mesh import gridding, lattice
        from particleflow.pairwise.mesh.placed import stencil

        def make() -> np.ndarray:
            spreads = [self.spread(plan, part, column) for part in mesh.parts]
            nodes = lattice.potential(
                plan, mesh.box, mesh.shape, spreads, laplacian, torch.get_num_threads()
            )
            made = gridding.room(stencil(plan, "float64"), mesh.shape)
            made[: nodes.size] = nodes.ravel()
            return made

        return self.potentials.get((plan, mesh, laplacian, column), make)

    def spread(self, plan: Plan, part: int, column: int) -> tuple[Box, np.ndarray]:
        """The nodes of a part, and its weights spread on them."""

        def make() -> tuple[Box, np.ndarray]:
            sources, w = self.parts[part]
            weights = _matrix(w)[:, column].detach().numpy()
            spread: tuple[Box, np.ndarray] = sources.placed.spread(
                plan, self.mesh.max_cells, weights, torch.get_num_threads()
            )
            return spread

        found: tuple[Box, np.ndarray] = self.kept[part].get((plan, column), make)
        return found

    def _local_errors(self, plan: Plan, mass: float) -> tuple[float, float]:
        """Relative to sum |w| times the kernel's peaks: by the particles near any one place, rather
        than all of them.
        """
        from particleflow.pairwise.mesh.nearby import block_size, local_errors

        cores = [core for core in self.cores(plan) if core is not None]
        size = max(block_size(plan, math.prod(core.box.shape)) for core in cores)
        densities, left_out = [], 0.0
        for (sources, w), kept, core in zip(self.parts, self.kept, cores, strict=True):
            here, away = kept.get(
                ("density", plan, size),
                partial(_density, sources.placed, w, core, size * plan.spacing),
            )
            densities.append(here)
            left_out += away
        value, grad = local_errors(plan, densities, size)
        # exact sums round
        value, grad = ((error + 1e-6 * left_out) / mass for error in (value, grad))
        return min(value, plan.value_error), min(grad, plan.grad_error)

    def column(self, k: int) -> list[tuple[Any, Tensor]]:
        """The sources of each part, and their k-th weights (N,)."""
        return [(sources, _matrix(w)[:, k]) for sources, w in self.parts]

    def near(self, tol: float, z: Tensor | Queries) -> SumField | None:
        """Where no mesh sums: of the sources within reach, if these are a small part. None where
        they are not, or a point is not finite.
        """
        from particleflow.pairwise.neighbours.backend import near_sum

        kernel: Any = self.kernel
        if not (falls_fast(type(kernel)) and usable("llvmlite.binding")):
            return None
        clouds, queries = [sources.points for sources, _ in self.parts], points_of(z)
        if not all(bool(points.isfinite().all()) for points in clouds):
            return None
        kind: Any = type(kernel)
        reach = reach_of(kind, tol, queries.shape[1]).near * kernel.bandwidth
        small = bool((sampled_distances(clouds, queries) < reach).double().mean() < NEAR)
        return near_sum(self.parts, self.kept, tol) if small else None

    def exactly(self, why: str, queries: int, column: int | None = None) -> SumField:
        """All parts by exact sums, of one column if it is given, with one warning if there is a
        reason; refused where they are too many.
        """
        parts = self.parts if column is None else self.column(column)
        self._check_pairs(
            float(queries) * sum(len(sources.points) for sources, _ in parts),
            why or f"{queries} rows of a logarithm below its error",
        )
        if why:
            rtol = self.mesh.rtol
            warn_once(
                f"Mesh(rtol={rtol:g}) sums {self.kernel} exactly: {why}. Raise `rtol` or"
                " `max_cells`, or ask for Compiled() or Auto()"
            )
        return exact_sum(parts)

    def _check_pairs(self, pairs: float, why: str) -> None:
        mesh = self.mesh
        if pairs > mesh.max_pairs:
            raise ValueError(
                f"Mesh(rtol={mesh.rtol:g}) cannot sum {self.kernel} alone: {why}; and exact sums"
                f" take {pairs:.1e} pairs of points, more than `max_pairs` = {mesh.max_pairs:.1e}:"
                " raise `rtol`, `max_cells`, `max_pairs` or the bandwidth, or use Culled or Auto"
            )


def _density(placed: Placed, w: Tensor, core: Core, length: float) -> tuple[Density, float]:
    """sum |w| in blocks, of the points in the core; and of those outside."""
    weights = _matrix(w).detach().abs().amax(1).double().numpy()
    inside = placed.finite if core.outside is None else ~core.outside
    return placed.density(weights, inside, length), float(weights[~inside].sum())


def _matrix(w: Tensor) -> Tensor:
    return w if w.ndim == 2 else w[:, None]
