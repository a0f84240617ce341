"""The backend `Mesh`: sums on a particle mesh, for smooth kernels in d = 1, 2, 3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._libraries import library
from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, has_facts
from particleflow.memo import Memo, cached_property
from particleflow.pairwise.base import Promise, Queries, Sources
from particleflow.pairwise.exact.fallback import exact_backend, undeclared
from particleflow.pairwise.inputs import (
    checked_points,
    checked_weights,
    kept_queries,
    points_of,
    require_few_coordinates,
)
from particleflow.pairwise.mesh.logarithm import LogSum
from particleflow.pairwise.mesh.placed import Placed
from particleflow.pairwise.mesh.records import MeshQueries, PartFacts
from particleflow.pairwise.mesh.sums import MeshSums
from particleflow.pairwise.periodic.modes import require_smooth
from particleflow.pairwise.promise import Tolerances, scales


@dataclass(frozen=True)
class Mesh(Tolerances):
    r"""Sums on a particle mesh, the fastest for large clouds and smooth kernels in d = 1, 2, 3.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i)
        \approx \sum_{m} B_m(z) \sum_{n} \tilde k_{m - n} \sum_{i} B_n(x_i)\, w_i .

    Each particle is spread to the W^d nodes around it by the window B, the mesh is convolved with
    the kernel by fast Fourier transforms, and the sum and its gradient are interpolated from the
    W^d nodes around each query. The spacing h and W are chosen so that every row keeps

    .. math::

        \left| \text{error of } S(z) \right| \le \mathrm{rtol}\, \left| S(z) \right|
        + \mathrm{atol} \sum_i \left| w_i \right| \max \left| k \right| ,

    .. math::

        \left| \text{error of } \nabla S(z) \right| \le \mathrm{rtol}\, \left| \nabla S(z) \right|
        + \mathrm{atol} \sum_i \left| w_i \right| \max \left| \nabla k \right| .

    ``field.promise(z)`` bounds both. Kernels must be smooth at zero: Gaussian; IMQ and Cauchy;
    Matern52 and Matern32, whose spacing is far smaller; a smooth `Radial` with a bandwidth.
    Particles far from all others are left out of the mesh and summed exactly. Where no mesh of at
    most `max_cells` nodes keeps the promise, a kernel that decays is summed over the sources within
    its reach, as by `Culled`; any other is summed exactly, with one warning.

    `log` is right to rtol, and its gradient to rtol (max|grad k| / max|k| + |gradient|), in the
    tails too. Rows far below the sums around are summed anew: of a Gaussian from nodes (down to
    e^-512 of sum|w|), else exactly. There is no state: the same input gives the same bits, for any
    number of threads. A field keeps its weights on nodes, and its potential.

    Parameters
    ----------
    rtol : float
        Tolerance, relative to each row. The mesh is in float32 for about 1e-6 and above, whatever
        the dtype of the points, and in float64 below.
    atol : float, optional
        Tolerance, relative to the largest sum that there could be; `rtol` unless given.
    max_cells : int
        The largest number of nodes. Memory: about 30 bytes each.
    max_pairs : float
        The largest number of pairs of points that are summed exactly.

    Raises
    ------
    TypeError
        An argument is no number. Later, from `sources`: the kernel has a kink at zero (Laplace,
        Energy).
    ValueError
        An argument is not positive and finite. Later: d > 3; points that are not on the CPU; exact
        sums needed, over more than `max_pairs` pairs.
    ImportError
        From `sources`: llvmlite is missing or broken.

    Cost: O((N + Q) W^d), and Fourier transforms of (extent / h)^d nodes; h is about half a
    bandwidth of the Gaussian at rtol = 1e-5.

    Source: Hockney and Eastwood (1988), without a near part.

    >>> x = torch.arange(-200, 201)[:, None] / 20  # 401 points, 0.05 apart
    >>> sources = pf.pairwise.Mesh().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.full((401,), 0.05))
    >>> field.value(torch.zeros(1, 1))  # the integral of k: sqrt(2 pi)
    tensor([2.5066])
    """

    rtol: float = 1e-5
    atol: float | None = field(default=None, kw_only=True)
    max_cells: int = field(default=2**24, kw_only=True)
    max_pairs: float = field(default=2e10, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tolerances()
        _checks.count(self.max_cells, "max_cells")
        _checks.positive(self.max_pairs, "max_pairs")

    def sources(self, kernel: Kernel, points: Tensor) -> Sources:
        points = checked_points(points, kernel, ranged=False)
        require_smooth(kernel, "Mesh")
        require_few_coordinates(points, "Mesh")
        if points.device.type != "cpu":
            raise ValueError(
                f"`points` must be on the CPU for Mesh, got {points.device}: use KeOps, or Fourier,"
                " or move them with points.cpu()"
            )
        library("llvmlite.binding", "Mesh")
        if not has_facts(kernel):
            return undeclared("Mesh()", kernel, points)
        made = MeshSources(kernel, points, self)
        made.placed.look("points")
        return made


@dataclass(frozen=True, eq=False)
class MeshSources:
    """Points made ready for one kernel."""

    kernel: Kernel
    points: Tensor
    mesh: Mesh

    @cached_property
    def placed(self) -> Placed:
        return Placed(self.points)

    def field(self, w: Tensor) -> MeshField:
        return MeshField(((self, checked_weights(w, self.points)),), (Memo(),), (PartFacts(),))

    def prepare(self, z: Tensor) -> MeshQueries:
        z = kept_queries(z, self.points)
        return MeshQueries(z, self.placed if z is self.points else Placed(z))


@dataclass(frozen=True, eq=False)
class MeshField(MeshSums):
    """Sums on meshes, what is promised of them, and their logarithm."""

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """Bounds of the errors at z, by the weights around any one place (`nearby.py`)."""
        z = self._seen(z)
        plan, coverage = self.planned(self.mesh.absolute, self.placed(z))
        if plan is None or coverage.why:
            neighbours = self.neighbour_sum(self.mesh.absolute, z)
            return None if neighbours is None else neighbours.promise(z)
        top, steepest = scales(self, _finite(points_of(z), self.kernel))
        errors = plan.value_error, plan.grad_error
        if math.isfinite(top) and top > 0:
            errors = self._local_errors(plan, top)
        # the answer is rounded to the dtype of the points
        value, grad = (error + 0.5 * torch.finfo(points_of(z).dtype).eps for error in errors)
        how = (
            f"at most {value:.1e} and {grad:.1e} of sum |w| times the kernel's peaks:"
            f" {plan.window.taps} taps, in {plan.element}"
        )
        return Promise(value * top, grad * steepest, how)

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        z = self._seen(z)
        plan, coverage = self.planned(self.mesh.absolute, self.placed(z))
        if plan is None or coverage.why:
            device = points_of(z).device
            by_neighbours = self.neighbour_sum(self.mesh.absolute, z) is not None
            exact = type(exact_backend(self.kernel, device)).__name__
            return {"backend": "Culled" if by_neighbours else exact, "why": coverage.why}
        sizes = " and ".join(" x ".join(map(str, mesh.shape)) for mesh in coverage.meshes)
        why = (
            f"{sizes} nodes, {plan.spacing / plan.unit:.2g} of the kernel's length apart,"
            f" {plan.window.taps} taps"
        )
        return {**super().explain(z), "why": why}

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        return LogSum(self, k).at(z)


def _finite(points: Tensor, kernel: Kernel) -> Tensor:
    """The points by which the kernel's peaks are looked for: all, if it has a bandwidth."""
    return points if bandwidth_of(kernel) is not None else points[points.isfinite().all(1)]
