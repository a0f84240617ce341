"""Sums over pairs on a particle mesh: the fast path for smooth kernels, d = 1, 2, 3."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.pairwise.base import Domain, Queries
from particleflow.pairwise.field import SumField, What, checked_weights, points_of
from particleflow.pairwise.placed import Placed, in_order_of_nodes, spread_at_once, stencil_of
from particleflow.pairwise.promise import Promise, scales

if TYPE_CHECKING:
    from particleflow.pairwise.lattice import Box
    from particleflow.pairwise.spacing import Plan

# The logarithm needs sums far below their peak: they are made this much more accurate than asked for, as far as float64 goes.
LOG_TIGHTER, TIGHTEST = 1e-5, 1e-10


@dataclass(frozen=True)
class Mesh:
    """Sums on a mesh: each particle is spread to the W^d nodes around it, the mesh is convolved by fast Fourier transforms, and the sum and its
    gradient are interpolated from the W^d nodes around each query (particle-particle particle-mesh without a near part; Hockney and Eastwood 1988).

    Cost O((N + Q) W^d) and the transforms of (extent / h)^d nodes: the spacing h is about half a bandwidth of the Gaussian at rtol = 1e-5.
    For kernels that are smooth at zero: Gaussian; IMQ; Matern52 and Matern32, whose spacing is far smaller; a smooth `Radial`.

    h and W are chosen such that every row keeps |error of value| <= rtol |value| + atol sum|w| max|k|, |error of grad| <= rtol |grad| + atol
    sum|w| max|grad k| (`spacing.py`; `field.promise(z)`). Particles far from all others are left out of the mesh and summed exactly. `log` makes
    the mesh more accurate, and sums exactly the rows that are not well above its error. Where no mesh keeps the promise within `max_cells`, sums
    are exact, with one warning.

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
    max_cells: int = field(default=2**23, kw_only=True)
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

    def sources(self, kernel: Kernel, points: Tensor, domain: Domain | None = None) -> MeshSources:
        from particleflow.pairwise.modes import require_smooth

        require_smooth(kernel, "Mesh")
        if points.shape[1] > 3:
            raise ValueError(f"`points` must have 1, 2 or 3 coordinates for Mesh, got {points.shape[1]}: use Compiled, which is exact, or Nystroem")
        if points.device.type != "cpu":
            raise ValueError(f"`points` must be on the CPU for Mesh, got {points.device}: use KeOps, or Fourier, or move them with points.cpu()")
        return MeshSources(kernel, points, self)

    def plan(self, kernel: Kernel, d: int, atol: float) -> Plan | None:
        from particleflow.pairwise import spacing

        shape: Any = kernel
        return spacing.plan(shape, d, atol)


@dataclass(frozen=True, eq=False)
class MeshQueries:
    """Query points, and what the mesh needs of them."""

    points: Tensor
    placed: Placed


@dataclass(frozen=True, eq=False)
class MeshSources:
    kernel: Kernel
    points: Tensor
    mesh: Mesh

    @cached_property
    def placed(self) -> Placed:
        return Placed(self.points)

    def field(self, w: Tensor) -> MeshField:
        return MeshField(((self, checked_weights(w, self.points)),), ({},))

    def prepare(self, z: Tensor) -> MeshQueries:
        return MeshQueries(z, self.placed if z is self.points else Placed(z))


@dataclass(frozen=True, eq=False)
class Extent:
    """How a sum goes: parts that share a mesh, its box and its periodic shape; queries that are summed exactly; `why` all is exact, if it is."""

    meshes: tuple[tuple[tuple[int, ...], Box, tuple[int, ...]], ...] = ()
    exact_rows: np.ndarray | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class MeshField(SumField):
    """`kept`: of each part, the meshes of its weights, which outlive a step with a target's field. `potentials`: those evaluated last."""

    kept: tuple[dict[Any, Any], ...] = ()
    potentials: dict[Any, Any] = field(default_factory=dict)

    def __add__(self, other: SumField) -> MeshField:
        assert isinstance(other, MeshField)
        return MeshField(self.parts + other.parts, self.kept + other.kept)

    def promise(self, z: Tensor | Queries) -> Promise | None:
        plan = self._plan(self._mesh.absolute)
        if plan is None or self._extent(plan, self._placed(z)).why:
            return None
        value, grad = scales(self, _finite(points_of(z)))
        how = f"{plan.window.taps} taps, spacing {plan.spacing:.3g}"
        how += f", in {plan.element}: at most {plan.value_error:.1e} and {plan.grad_error:.1e} of them"
        return Promise(plan.value_error * value, plan.grad_error * grad, how)

    def explain(self, z: Tensor | Queries) -> Mapping[str, Any]:
        plan = self._plan(self._mesh.absolute)
        extent = Extent(why=self._rough) if plan is None else self._extent(plan, self._placed(z))
        if plan is None or extent.why:
            return {"backend": type(_exact_backend()).__name__, "why": extent.why}
        sizes = " and ".join(" x ".join(map(str, shape)) for _, _, shape in extent.meshes)
        return {**super().explain(z), "why": f"{sizes} nodes, {plan.spacing / plan.unit:.2g} of the kernel's length apart, {plan.window.taps} taps"}

    @property
    def _mesh(self) -> Mesh:
        mesh: Mesh = self.parts[0][0].mesh
        return mesh

    @property
    def _kernel(self) -> Kernel:
        kernel: Kernel = self.parts[0][0].kernel
        return kernel

    @property
    def _rough(self) -> str:
        return f"no mesh resolves {self._kernel} to atol = {self._mesh.absolute:.1g}"

    def _plan(self, atol: float) -> Plan | None:
        return self._mesh.plan(self._kernel, self.parts[0][0].points.shape[1], atol)

    def _placed(self, z: Tensor | Queries) -> Placed:
        if isinstance(z, MeshQueries):
            return z.placed
        points = points_of(z)
        return next((sources.placed for sources, _ in self.parts if sources.points is points), None) or Placed(points)

    def _all_columns(self, what: What, z: Tensor | Queries) -> Tensor:
        plan = self._plan(self._mesh.absolute)
        placed = self._placed(z)
        extent = Extent(why=self._rough) if plan is None else self._extent(plan, placed)
        if plan is None or extent.why:
            return self._exactly(extent.why, len(placed.points))._all_columns(what, placed.points)
        return self._at(plan, extent, what, placed, range(self._columns))

    def _extent(self, plan: Plan, placed: Placed) -> Extent:
        from particleflow.pairwise.lattice import around, periodic_shape, union, with_queries

        most = self._mesh.max_cells
        cores = [sources.placed.core(plan, most) for sources, _ in self.parts]
        sources_boxes = [core.box for core in cores if core is not None]
        rows = None
        if len(sources_boxes) < len(cores):
            return Extent(why=self._too_large)
        if math.isfinite(plan.periodic.reach):
            queries = None if placed.corners is None else around(plan, *placed.corners)
        else:
            core = placed.core(plan, most)
            queries, rows = (None, None) if core is None else (core.box, core.outside)
        everything = tuple(range(len(cores)))
        whole = with_queries(plan, union(sources_boxes), queries)
        shape = periodic_shape(plan, whole)
        if math.prod(shape) <= most:
            return Extent(((everything, whole, shape),), rows)
        # parts too far from each other for one mesh: one each
        meshes = []
        for part, own in enumerate(sources_boxes):
            box = with_queries(plan, own, queries)
            shape = periodic_shape(plan, box)
            if math.isinf(plan.periodic.reach) or math.prod(shape) > most:
                return Extent(why=self._too_large)
            meshes.append(((part,), box, shape))
        return Extent(tuple(meshes), rows)

    @property
    def _too_large(self) -> str:
        return f"the points extend over too many of its lengths for `max_cells` = {self._mesh.max_cells} nodes"

    def _at(self, plan: Plan, extent: Extent, what: What, placed: Placed, columns: Sequence[int]) -> Tensor:
        """(Q, columns, components): from the meshes, and from what is left out of them."""
        points = placed.points
        total = points.new_zeros((len(points), len(columns), what.components(plan.d)))
        for number, (parts, box, shape) in enumerate(extent.meshes):
            here = total if number == 0 else torch.empty_like(total)
            self._interpolate(plan, parts, box, shape, what, placed, columns, here.numpy())
            if number:
                total += here
        for (sources, w), core in zip(self.parts, [s.placed.core(plan, self._mesh.max_cells) for s, _ in self.parts], strict=True):
            if core.outside is not None:
                chosen = torch.from_numpy(core.outside)
                total += _exact_columns([(sources.kernel, sources.points[chosen], _matrix(w)[chosen])], what, points, columns)
        if extent.exact_rows is not None:
            chosen = torch.from_numpy(extent.exact_rows)
            total[chosen] = _exact_columns([(s.kernel, s.points, _matrix(w)) for s, w in self.parts], what, points[chosen], columns)
        return total

    def _interpolate(
        self, plan: Plan, parts: tuple[int, ...], box: Box, shape: tuple[int, ...], what: What, placed: Placed, columns: Sequence[int], out: Any
    ) -> None:
        from particleflow.pairwise import gridding

        stencil = stencil_of(plan, placed.array.dtype.name)
        points, order = in_order_of_nodes(plan, placed, math.prod(shape), self._mesh.max_cells) or (placed.array, None)
        name = {What.GRAD: "grad", What.BOTH: "both"}.get(what, "value")
        for k, column in enumerate(columns):
            mesh = self._potential(plan, parts, box, shape, what is What.LAPLACIAN, column)
            gridding.interpolate(
                stencil, name, points, order, mesh, box.origin, shape, out[:, k], outside=0.0, threads=torch.get_num_threads()
            )

    def _potential(self, plan: Plan, parts: tuple[int, ...], box: Box, shape: tuple[int, ...], laplacian: bool, column: int) -> np.ndarray:
        from particleflow.pairwise import gridding, lattice

        key = plan, parts, box, shape, laplacian, column
        if key not in self.potentials:
            meshes = [self._spread(plan, part, column) for part in parts]
            nodes = lattice.potential(plan, box, shape, meshes, laplacian, torch.get_num_threads())
            mesh = gridding.room(stencil_of(plan, "float64"), shape)
            mesh[: nodes.size] = nodes.ravel()
            while len(self.potentials) >= max(2, self._columns):
                del self.potentials[next(iter(self.potentials))]
            self.potentials[key] = mesh
        found: np.ndarray = self.potentials[key]
        return found

    def _spread(self, plan: Plan, part: int, column: int) -> tuple[Box, np.ndarray]:
        """The nodes of a part, and its weights spread on them."""
        from particleflow.pairwise import gridding

        kept = self.kept[part]
        if (plan, column) not in kept:
            sources, w = self.parts[part]
            placed: Placed = sources.placed
            core = placed.core(plan, self._mesh.max_cells)
            assert core is not None
            weights = _matrix(w)[:, column].detach().numpy().astype(plan.element)
            if core.outside is not None:
                weights[core.outside] = 0.0
            cells = math.prod(core.box.shape)
            points, order = in_order_of_nodes(plan, placed, cells, self._mesh.max_cells) or (placed.array, None)
            if order is not None:
                weights = weights[order]
            if np.isfinite(weights).all():
                stencil, chunk = stencil_of(plan, points.dtype.name), spread_at_once(plan, placed, cells, order is not None)
                mesh, missed = gridding.spread(
                    stencil, points, weights, core.box.origin, core.box.shape, chunk=chunk, threads=torch.get_num_threads()
                )
            # a point that is not finite spoils every row, as it does in an exact sum
            if not np.isfinite(weights).all() or (missed and core.outside is None):
                mesh = np.full(core.box.shape, math.nan)
            kept[plan, column] = core.box, mesh
        found: tuple[Box, np.ndarray] = kept[plan, column]
        return found

    def _log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        placed, points = self._placed(z), points_of(z)
        tol = self._mesh.absolute
        plan = self._plan(max(LOG_TIGHTER * tol, TIGHTEST))
        extent = Extent(why=self._rough) if plan is None else self._extent(plan, placed)
        column = [(sources, _matrix(w)[:, k]) for sources, w in self.parts]
        if plan is None or extent.why:
            return self._exactly(extent.why, len(points), column).log(points)
        both = self._at(plan, extent, What.BOTH, placed, [k])[:, 0]
        value, grad = both[:, 0], both[:, 1:]
        top, _ = scales(SumField(tuple(column)), _finite(points))
        poor = value <= top * max(plan.value_error, plan.grad_error) / tol
        log, slope = value.log(), grad / value[:, None]
        if bool(poor.any()):
            log[poor], slope[poor] = self._exactly("", int(poor.sum()), column).log(points[poor])
        return log, slope

    def _exactly(self, why: str, queries: int, parts: Sequence[tuple[Any, Tensor]] = ()) -> SumField:
        """All parts by exact sums, with one warning; refused where they are too many."""
        mesh, parts = self._mesh, parts or self.parts
        pairs = float(queries) * sum(len(sources.points) for sources, _ in parts)
        if pairs > mesh.max_pairs:
            raise ValueError(
                f"Mesh(rtol={mesh.rtol:g}) cannot sum {self._kernel}: {why or f'{queries} rows of the log are below its error'}; and exact sums "
                f"take {pairs:.1e} pairs of points, more than `max_pairs` = {mesh.max_pairs:.1e}: raise `rtol`, `max_cells` or `max_pairs`, or "
                "the bandwidth, or use Culled or Auto"
            )
        if why:
            _warn(f"Mesh(rtol={mesh.rtol:g}) sums {self._kernel} exactly: {why}. Raise `rtol` or `max_cells`, or ask for Compiled() or Auto()")
        return _exact_field([(sources.kernel, sources.points, w) for sources, w in parts])


def _matrix(w: Tensor) -> Tensor:
    return w if w.ndim == 2 else w[:, None]


def _finite(points: Tensor) -> Tensor:
    finite = points.isfinite().all(1)
    return points if bool(finite.all()) else points[finite]


def _exact_backend() -> Any:
    try:
        from particleflow.pairwise.compiled import Compiled

        return Compiled()
    except ImportError:
        from particleflow.pairwise.dense import Dense

        return Dense()


def _exact_field(parts: Sequence[tuple[Kernel, Tensor, Tensor]]) -> SumField:
    """The sum of parts (kernel, points, weights), exactly: compiled where that kernel is."""
    from particleflow.pairwise.dense import Dense

    backend = _exact_backend()
    try:
        fields = [backend.sources(kernel, points).field(w) for kernel, points, w in parts]
    except TypeError:
        fields = [Dense().sources(kernel, points).field(w) for kernel, points, w in parts]
    total: SumField = fields[0]
    for other in fields[1:]:
        total = total + other
    return total


def _exact_columns(parts: Sequence[tuple[Kernel, Tensor, Tensor]], what: What, z: Tensor, columns: Sequence[int]) -> Tensor:
    return _exact_field([(kernel, points, w[:, list(columns)]) for kernel, points, w in parts])._all_columns(what, z)


_warned: set[str] = set()


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
