"""Sums over pairs on a particle mesh: the fast path for smooth kernels, d = 1, 2, 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, has_facts
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.base import Queries, Sources
from particleflow.pairwise.exact import exact_backend, exact_sources, exact_sum, undeclared, usable, warn_once
from particleflow.pairwise.field import SumField, What, checked_points, checked_weights, kept_queries, points_of
from particleflow.pairwise.libraries import library
from particleflow.pairwise.promise import Promise, scales
from particleflow.pairwise.reach import reach_of, sampled_distances

if TYPE_CHECKING:
    from particleflow.pairwise.lattice import Box
    from particleflow.pairwise.nearby import Density
    from particleflow.pairwise.placed import Core, Placed
    from particleflow.pairwise.spacing import Plan

# Nodes for each point, and at least, that a mesh may have: with more, sums go without it, whatever they are.
NODES_PER_POINT, FEW_NODES = 4096, 2**21
# The share of pairs up to which it pays to look for those within reach.
NEAR = 0.25


@dataclass(frozen=True)
class Mesh:
    """Sums on a mesh: each particle is spread to the W^d nodes around it, the mesh is convolved by fast Fourier transforms, and the sum and its
    gradient are interpolated from the W^d nodes around each query (particle-particle particle-mesh without a near part; Hockney and Eastwood 1988).

    Cost O((N + Q) W^d) and the transforms of (extent / h)^d nodes: the spacing h is about half a bandwidth of the Gaussian at rtol = 1e-5.
    For kernels that are smooth at zero: Gaussian; IMQ; Matern52 and Matern32, whose spacing is far smaller; a smooth `Radial`.

    h and W are chosen such that every row keeps |error of value| <= rtol |value| + atol sum|w| max|k|, |error of grad| <= rtol |grad| + atol
    sum|w| max|grad k| (`spacing.py`; `field.promise(z)`). Particles far from all others are left out of the mesh and summed exactly. Where no
    mesh keeps the promise within `max_cells`, the sources within reach are summed as `Culled` does, or, of a kernel that does not decay, all, with
    one warning. `log` is right to rtol, and its gradient to rtol max|grad k| / max|k| + rtol |gradient|, in the tails too: rows far below the
    sums around are summed anew, of a Gaussian from nodes (down to e^-512 of sum|w|), else exactly (`logarithm.py`).

    There is no state: the same input gives the same bits, for any number of threads. A field keeps the mesh of its parts, and the potential.

    Parameters
    ----------
    rtol : float
        Tolerance, relative to each row. 1e-6 and above in float32, whatever the dtype of the points; below in float64.
    atol : float, optional
        Tolerance relative to the largest sum there could be; `rtol` unless given.
    max_cells : int
        Nodes at most (memory: about 30 bytes each).
    max_pairs : float
        Exact sums are refused beyond this many pairs of points.

    Raises
    ------
    TypeError
        A kernel with a kink at zero (Laplace, Energy).
    ValueError
        d > 3; points that are not on the CPU; exact sums needed, over more than `max_pairs` pairs.
    """

    rtol: float = 1e-5
    atol: float | None = field(default=None, kw_only=True)
    max_cells: int = field(default=2**24, kw_only=True)
    max_pairs: float = field(default=2e10, kw_only=True)

    def __post_init__(self) -> None:
        _checks.positive(self.rtol, "rtol")
        if self.atol is not None:
            _checks.positive(self.atol, "atol")
        _checks.count(self.max_cells, "max_cells")
        _checks.positive(self.max_pairs, "max_pairs")

    @property
    def absolute(self) -> float:
        return self.rtol if self.atol is None else self.atol

    def sources(self, kernel: Kernel, points: Tensor) -> Sources:
        points = checked_points(points, kernel)
        from particleflow.pairwise.modes import require_smooth

        require_smooth(kernel, "Mesh")
        if points.shape[1] > 3:
            raise ValueError(f"`points` must have 1, 2 or 3 coordinates for Mesh, got {points.shape[1]}: use Compiled, which is exact, or Nystroem")
        if points.device.type != "cpu":
            raise ValueError(f"`points` must be on the CPU for Mesh, got {points.device}: use KeOps, or Fourier, or move them with points.cpu()")
        library("llvmlite.binding", "Mesh")
        if not has_facts(kernel):
            return undeclared("Mesh()", kernel, points)
        return MeshSources(kernel, points, self)


@dataclass(frozen=True, eq=False)
class MeshQueries:
    """Query points, and what the mesh makes of them."""

    points: Tensor
    placed: Placed


@dataclass(frozen=True, eq=False)
class MeshSources:
    kernel: Kernel
    points: Tensor
    mesh: Mesh

    @cached_property
    def placed(self) -> Placed:
        from particleflow.pairwise.placed import Placed

        return Placed(self.points)

    def field(self, w: Tensor) -> MeshField:
        return MeshField(((self, checked_weights(w, self.points)),), (Memo(),))

    def prepare(self, z: Tensor) -> MeshQueries:
        from particleflow.pairwise.placed import Placed

        z = kept_queries(z, self.points)
        return MeshQueries(z, self.placed if z is self.points else Placed(z))


@dataclass(frozen=True)
class Shared:
    """A mesh: its box and its periodic shape, and the parts that it holds."""

    parts: tuple[int, ...]
    box: Box
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Extent:
    """How a sum goes: on which meshes; queries that are summed exactly; `why` all is exact, if it is."""

    meshes: tuple[Shared, ...] = ()
    exact_rows: np.ndarray | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class MeshField(SumField):
    """`kept`: of each part, the meshes of its weights, which outlive a step with a target's field. `potentials`: those evaluated last."""

    kept: tuple[Memo[Any], ...] = ()
    potentials: Memo[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "potentials", Memo(max(2, self._columns)))

    def __add__(self, other: SumField) -> MeshField:
        assert isinstance(other, MeshField)
        return MeshField(self.parts + other.parts, self.kept + other.kept)

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """Of the weights around any one place, each at the worst difference and place."""
        z = self._seen(z)
        plan, extent = self.planned(self.mesh.absolute, self.placed(z))
        if plan is None or extent.why:
            near = self.near(self.mesh.absolute, z)
            return None if near is None else near.promise(z)
        top, steepest = scales(self, _finite(points_of(z), self.kernel))
        errors = plan.value_error, plan.grad_error
        if math.isfinite(top) and top > 0:
            errors = self._local_errors(plan, top)
        # what is handed over is rounded to the points' dtype
        value, grad = (error + 0.5 * torch.finfo(points_of(z).dtype).eps for error in errors)
        how = f"at most {value:.1e} and {grad:.1e} of sum |w| times the kernel's peaks: {plan.window.taps} taps, in {plan.element}"
        return Promise(value * top, grad * steepest, how)

    def explain(self, z: Tensor | Queries) -> Mapping[str, Any]:
        z = self._seen(z)
        plan, extent = self.planned(self.mesh.absolute, self.placed(z))
        if plan is None or extent.why:
            near = self.near(self.mesh.absolute, z)
            name = "Culled" if near is not None else type(exact_backend(self.kernel, points_of(z).device)).__name__
            return {"backend": name, "why": extent.why}
        sizes = " and ".join(" x ".join(map(str, mesh.shape)) for mesh in extent.meshes)
        return {**super().explain(z), "why": f"{sizes} nodes, {plan.spacing / plan.unit:.2g} of the kernel's length apart, {plan.window.taps} taps"}

    @property
    def mesh(self) -> Mesh:
        mesh: Mesh = self.parts[0][0].mesh
        return mesh

    @property
    def kernel(self) -> Kernel:
        kernel: Kernel = self.parts[0][0].kernel
        return kernel

    def placed(self, z: Tensor | Queries) -> Placed:
        from particleflow.pairwise.placed import Placed

        if isinstance(z, MeshQueries):
            return z.placed
        points = points_of(z)
        return next((sources.placed for sources, _ in self.parts if sources.points is points), None) or Placed(points)

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        placed = self.placed(z)
        plan, extent = self.planned(self.mesh.absolute, placed, what is What.LAPLACIAN)
        if plan is None or extent.why:
            near = self.near(self.mesh.absolute, z)
            return (near or self.exactly(extent.why, len(placed.points))).sums(what, placed.points)
        return self.at(plan, extent, what, placed, range(self._columns))

    def planned(self, atol: float, placed: Placed, laplacian: bool = False) -> tuple[Plan | None, Extent]:
        from particleflow.pairwise import spacing

        kernel: Any = self.kernel
        plan = spacing.plan(kernel, self.parts[0][0].points.shape[1], atol, laplacian)
        if plan is None:
            return None, Extent(why=f"no mesh resolves {kernel} to atol = {atol:.1g}")
        return plan, self.extent(plan, placed)

    def cores(self, plan: Plan) -> list[Core | None]:
        return [sources.placed.core(plan, self.mesh.max_cells) for sources, _ in self.parts]

    def extent(self, plan: Plan, placed: Placed) -> Extent:
        from particleflow.pairwise.lattice import around, periodic_shape, union, with_queries

        most, rows = self.mesh.max_cells, None
        too_large = Extent(why=f"the points extend over too many of its lengths for `max_cells` = {most} nodes (or {NODES_PER_POINT} a point)")
        most = min(most, NODES_PER_POINT * (len(placed.points) + sum(len(sources.points) for sources, _ in self.parts)) + FEW_NODES)
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
        return Extent(tuple(Shared((part,), box, shape) for part, (box, shape) in enumerate(zip(each, shapes, strict=True))))

    def slopes(self, plan: Plan, extent: Extent, placed: Placed, column: int) -> tuple[Tensor, Tensor]:
        """Value (Q,) and gradient over value (Q, d)."""
        if len(extent.meshes) == 1 and extent.exact_rows is None and all(core is None or core.outside is None for core in self.cores(plan)):
            both = placed.points.new_empty((len(placed.points), 1, 1 + plan.d))
            self._interpolate(plan, extent.meshes[0], "slope", placed, [column], both.numpy())
        else:
            both = self.at(plan, extent, What.BOTH, placed, [column])
            both[..., 1:] /= both[..., :1]
        return both[:, 0, 0], both[:, 0, 1:]

    def at(self, plan: Plan, extent: Extent, what: What, placed: Placed, columns: Sequence[int]) -> Tensor:
        """(Q, columns, components): from the meshes, and from what is left out of them."""
        points, name = placed.points, {What.GRAD: "grad", What.BOTH: "both", What.LAPLACIAN: "laplacian"}.get(what, "value")
        total = points.new_empty((len(points), len(columns), what.components(plan.d)))
        for number, mesh in enumerate(extent.meshes):
            here = total if number == 0 else torch.empty_like(total)
            self._interpolate(plan, mesh, name, placed, columns, here.numpy())
            if number:
                total += here
        for (sources, w), core in zip(self.parts, self.cores(plan), strict=True):
            if core is not None and core.outside is not None:
                chosen = torch.from_numpy(core.outside)
                self._check_pairs(len(points) * float(chosen.sum()), "particles far from the others")
                # in float32 far particles would take the digits of others' coordinates
                outside: Any = exact_sources(sources.kernel, sources.points[chosen].double())
                total += outside.sums(what, _matrix(w)[chosen][:, list(columns)].double(), points.double())
        if extent.exact_rows is not None:
            chosen = torch.from_numpy(extent.exact_rows)
            parts = [(sources, _matrix(w)[:, list(columns)]) for sources, w in self.parts]
            self._check_pairs(float(chosen.sum()) * sum(len(sources.points) for sources, _ in parts), "queries far from the others")
            total[chosen] = exact_sum(parts).sums(what, points[chosen])
        return total

    def _interpolate(self, plan: Plan, mesh: Shared, name: str, placed: Placed, columns: Sequence[int], out: np.ndarray) -> None:
        from particleflow.pairwise import gridding
        from particleflow.pairwise.placed import stencil

        points, order = placed.in_order(plan, self.mesh.max_cells, math.prod(mesh.shape))
        tools, threads = stencil(plan, points.dtype.name), torch.get_num_threads()
        for k, column in enumerate(columns):
            potential = self._potential(plan, mesh, name == "laplacian", column)
            asked = "value" if name == "laplacian" else name
            where = potential, mesh.box.origin, mesh.shape, out[:, k]
            gridding.interpolate(tools, asked, points, order, *where, outside=0.0, threads=threads)

    def _potential(self, plan: Plan, mesh: Shared, laplacian: bool, column: int) -> np.ndarray:
        from particleflow.pairwise import gridding, lattice
        from particleflow.pairwise.placed import stencil

        def make() -> np.ndarray:
            spreads = [self.spread(plan, part, column) for part in mesh.parts]
            nodes = lattice.potential(plan, mesh.box, mesh.shape, spreads, laplacian, torch.get_num_threads())
            made = gridding.room(stencil(plan, "float64"), mesh.shape)
            made[: nodes.size] = nodes.ravel()
            return made

        return self.potentials.get((plan, mesh, laplacian, column), make)

    def spread(self, plan: Plan, part: int, column: int) -> tuple[Box, np.ndarray]:
        """The nodes of a part, and its weights spread on them."""

        def make() -> tuple[Box, np.ndarray]:
            sources, w = self.parts[part]
            weights = _matrix(w)[:, column].detach().numpy()
            spread: tuple[Box, np.ndarray] = sources.placed.spread(plan, self.mesh.max_cells, weights, torch.get_num_threads())
            return spread

        found: tuple[Box, np.ndarray] = self.kept[part].get((plan, column), make)
        return found

    def _local_errors(self, plan: Plan, mass: float) -> tuple[float, float]:
        """Relative to sum |w| times the kernel's peaks: by the particles near any one place, rather than all of them."""
        from particleflow.pairwise.nearby import block_size, local_errors

        cores = [core for core in self.cores(plan) if core is not None]
        size = max(block_size(plan, math.prod(core.box.shape)) for core in cores)
        densities, left_out = [], 0.0
        for (sources, w), kept, core in zip(self.parts, self.kept, cores, strict=True):
            here, away = kept.get(("density", plan, size), partial(_density, sources.placed, w, core, size * plan.spacing))
            densities.append(here)
            left_out += away
        value, grad = local_errors(plan, densities, size)
        # exact sums round
        value, grad = ((error + 1e-6 * left_out) / mass for error in (value, grad))
        return min(value, plan.value_error), min(grad, plan.grad_error)

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        from particleflow.pairwise.logarithm import log_column

        return log_column(self, k, z)

    def column(self, k: int) -> list[tuple[Any, Tensor]]:
        """The sources of each part, and their k-th weights (N,)."""
        return [(sources, _matrix(w)[:, k]) for sources, w in self.parts]

    def near(self, tol: float, z: Tensor | Queries) -> SumField | None:
        """Where no mesh sums: of the sources within reach, if these are a small part. None where they are not, or a point is not finite."""
        from particleflow.pairwise.culled import Short, near_sum

        kernel: Any = self.kernel
        if not (isinstance(kernel, Short) and usable("llvmlite.binding")):
            return None
        clouds, queries = [sources.points for sources, _ in self.parts], points_of(z)
        if not all(bool(points.isfinite().all()) for points in clouds):
            return None
        kind: Any = type(kernel)
        reach = reach_of(kind, tol, queries.shape[1]).near * kernel.bandwidth
        small = bool((sampled_distances(clouds, queries) < reach).double().mean() < NEAR)
        return near_sum(self.parts, self.kept, tol) if small else None

    def exactly(self, why: str, queries: int, column: int | None = None) -> SumField:
        """All parts by exact sums, of one column if it is given, with one warning if there is a reason; refused where they are too many."""
        parts = self.parts if column is None else self.column(column)
        self._check_pairs(float(queries) * sum(len(sources.points) for sources, _ in parts), why or f"{queries} rows of a logarithm below its error")
        if why:
            rtol = self.mesh.rtol
            warn_once(f"Mesh(rtol={rtol:g}) sums {self.kernel} exactly: {why}. Raise `rtol` or `max_cells`, or ask for Compiled() or Auto()")
        return exact_sum(parts)

    def _check_pairs(self, pairs: float, why: str) -> None:
        mesh = self.mesh
        if pairs > mesh.max_pairs:
            raise ValueError(
                f"Mesh(rtol={mesh.rtol:g}) cannot sum {self.kernel} alone: {why}; and exact sums take {pairs:.1e} pairs of points, more than "
                f"`max_pairs` = {mesh.max_pairs:.1e}: raise `rtol`, `max_cells`, `max_pairs` or the bandwidth, or use Culled or Auto"
            )


def _density(placed: Placed, w: Tensor, core: Core, length: float) -> tuple[Density, float]:
    """sum |w| in blocks, of the points in the core; and of those outside."""
    weights = _matrix(w).detach().abs().amax(1).double().numpy()
    inside = placed.finite if core.outside is None else ~core.outside
    return placed.density(weights, inside, length), float(weights[~inside].sum())


def _matrix(w: Tensor) -> Tensor:
    return w if w.ndim == 2 else w[:, None]


def _finite(points: Tensor, kernel: Kernel) -> Tensor:
    """The rows that tell the extent, where that matters to the kernel's peaks."""
    return points if bandwidth_of(kernel) is not None else points[points.isfinite().all(1)]
