"""The logarithm of a sum on a particle mesh, which asks for sums far below their peak.

Its error is the relative one of the sum. Rounding does little: it is relative to the sums nearby,
in float32 too. But what a mesh errs by is relative to the weights around: it is made so fine that
most rows are far above that. The others are summed anew, by `tails` (Gaussian), or exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.ndimage import convolve1d
from torch import Tensor

from particleflow.kernels.declared import is_gaussian
from particleflow.pairwise.base import Queries
from particleflow.pairwise.exact.fallback import exact_sum
from particleflow.pairwise.inputs import points_of
from particleflow.pairwise.mesh import spacing
from particleflow.pairwise.mesh.pair_errors import FARTHEST
from particleflow.pairwise.mesh.placed import Placed
from particleflow.pairwise.mesh.sums import Extent, MeshSums
from particleflow.pairwise.mesh.tails import LIGHTEST, at_rows, plans, seconds
from particleflow.pairwise.periodic import modes
from particleflow.pairwise.promise import peaks
from particleflow.pairwise.terms import What

# Errors of the mesh relative to the tolerance, the first whose mesh has few nodes; and those in
# float64, where rounding in float32 does harm.
FINER, TIGHTER, TIGHTEST = (1e-6, 1e-5, 1e-4, 1e-3), (1e-5, 1e-3, 1.0), 1e-10
POINTS_PER_NODE, FEW_NODES = 2, 2**16
# Blocks in which weights around a row are looked up, in the kernel's units of length.
BLOCK = 2.0
# Seconds of a pair of points and of a point that is spread for tails; queries that are summed
# exactly together.
PER_PAIR, PER_POINT, TOGETHER = 1.6e-9, 1.5e-7, 64


def log_column(field: MeshSums, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
    """The logarithm (Q,) of the sum with the k-th weights, and its gradient (Q, d)."""
    placed, points, tol = field.placed(z), points_of(z), field.mesh.absolute
    plan, extent = finest(field, placed)
    if plan is None or extent.why:
        near = field.near(tol, z)
        return (
            field.exactly(extent.why, len(points), k).log(points)
            if near is None
            else near.log_column(k, points)
        )
    top = mass(field, k) * peaks(field.kernel, 0.0)[0]
    value, slope = field.slopes(plan, extent, placed, k)
    if top == 0:
        return value.where(value.isnan(), -math.inf), slope.where(value.isnan()[:, None], 0.0)
    # far faster than torch's search, of few among many
    poor = torch.from_numpy(
        np.flatnonzero((value <= top * max(plan.value_error, plan.grad_error) / tol).numpy())
    )
    if len(poor) and plan.envelope is not None:
        around = errors_around(field, plan, k, points[poor], top)
        poor = poor[torch.from_numpy(value[poor].double().numpy() <= around / tol)]
    log = value.log()
    if len(poor):
        log[poor], slope[poor] = tail(
            field, k, points[poor], own=any(sources.points is points for sources, _ in field.parts)
        )
    return log, slope


def finest(field: MeshSums, placed: Placed) -> tuple[spacing.Plan | None, Extent]:
    """The finest mesh that has few nodes beside the points, or else the widest of those that are
    accurate enough.
    """
    kernel: Any = field.kernel
    tol, d = field.mesh.absolute, placed.points.shape[1]
    few = (
        len(placed.points) + sum(len(sources.points) for sources, _ in field.parts)
    ) / POINTS_PER_NODE + FEW_NODES
    found: tuple[spacing.Plan | None, Any] | None = None
    # of others: far away, a long-ranged one's slope is small beside rounding in float32; Matern's
    # last mode is raised beyond it
    for finer in FINER if is_gaussian(kernel) else ():
        plan = spacing.fine_plan(kernel, d, finer * tol, tol)
        extent = None if plan is None else field.extent(plan, placed)
        if extent is not None and not extent.why:
            found = plan, extent
            if sum(math.prod(mesh.shape) for mesh in extent.meshes) <= few:
                break
    if found is not None:
        return found
    for tighter in TIGHTER:
        planned = field.planned(max(tighter * tol, TIGHTEST), placed)
        if planned[0] is not None and not planned[1].why:
            break
    return planned


def errors_around(
    field: MeshSums, plan: spacing.Plan, k: int, points: Tensor, top: float
) -> np.ndarray:
    """Of rows at points (Q, d), by the weights within the kernel's reach rather than by all."""
    assert plan.envelope is not None
    size = max(1, round(BLOCK * plan.unit / plan.spacing))
    width = size * plan.spacing
    # to blocks that are nowhere within reach of a row's own, windows included
    far = math.ceil((FARTHEST * plan.unit + plan.window.taps / 2 * plan.spacing) / width)
    place = np.floor(points.double().numpy() / width)
    mass = np.zeros(len(points))
    for part, (_, kept) in enumerate(zip(field.parts, field.kept, strict=True)):
        origin, blocks = kept.get(
            ("around", plan, k), partial(_around, field, plan, part, k, size, far)
        )
        index = (place - origin).clip(-1, blocks.shape)
        inside = ((index >= 0) & (index < blocks.shape)).all(1)
        mass[inside] += blocks[tuple(index[inside].astype(np.int64).T)]
    beyond = [
        float(table[(1,) + (0,) * (plan.d - 1)])
        for table in plan.envelope.at(
            np.array([0.0, 0.97 * FARTHEST]), np.full(2, FARTHEST), plan.d
        )
    ]
    return mass * max(plan.value_error, plan.grad_error) + top * (
        max(beyond) + max(plan.images[:2]) + spacing.TRANSFORMED
    )


def _around(
    field: MeshSums, plan: spacing.Plan, part: int, k: int, size: int, far: int
) -> tuple[np.ndarray, np.ndarray]:
    box, nodes = field.spread(plan, part, k)
    return _blocks(np.abs(nodes), box.origin, size, far)


def _blocks(
    nodes: np.ndarray, origin: tuple[int, ...], size: int, far: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over nodes up to `far` blocks of `size` nodes away on each axis, for the blocks that
    have any, and the first block's number.
    """
    first = np.array([o // size for o in origin])
    for axis, o in enumerate(origin):
        before = [(0, 0)] * nodes.ndim
        before[axis] = o - size * int(first[axis]), 0
        nodes = np.pad(nodes, before)
        nodes = np.add.reduceat(nodes, np.arange(0, nodes.shape[axis], size), axis)
    total = np.pad(nodes, far)
    for axis in range(nodes.ndim):
        total = convolve1d(total, np.ones(2 * far + 1), axis, mode="constant")
    return first - far, total


def tail(field: MeshSums, k: int, points: Tensor, *, own: bool) -> tuple[Tensor, Tensor]:
    """Rows whose sums are far below their peak. `own`: the sources move with the rows, and nothing
    that is made of them serves again.
    """
    log, slope = points.new_empty(len(points)), torch.empty_like(points)
    left, sources = (
        torch.arange(len(points), device="cpu"),
        sum(len(sources.points) for sources, _ in field.parts),
    )
    few = (
        own
        and max(len(points), TOGETHER) * PER_PAIR < PER_POINT
        and len(points) * sources <= field.mesh.max_pairs
    )
    if is_gaussian(field.kernel) and not few and lightest(field, k) > LIGHTEST * mass(field, k):
        whole = math.log(mass(field, k))
        for least, plan in plans(field.kernel, points.shape[1], field.mesh.absolute):
            worth = (
                PER_PAIR * max(len(left), TOGETHER) * sources
                if len(left) * sources <= field.mesh.max_pairs
                else math.inf
            )
            both = tried(field, plan, k, points[left].double(), worth)
            if both is None:
                break
            found = both[:, 0].log()
            right = found >= whole + least
            rows = left[right]
            log[rows], slope[rows] = (
                found[right].to(log.dtype),
                (both[right, 1:] / both[right, :1]).to(log.dtype),
            )
            left = left[~right]
            if not len(left):
                return log, slope
    rows, exact = points[left], field.exactly("", len(left), k)
    if wide(field, rows):
        exact, rows = (
            exact_sum(
                (replace(sources, points=sources.points.double()), w.double())
                for sources, w in field.column(k)
            ),
            rows.double(),
        )
    log[left], slope[left] = (found.to(log.dtype) for found in exact.log(rows))
    return log, slope


def wide(field: MeshSums, points: Tensor) -> bool:
    """Do coordinates in float32 cost more than the tolerance?"""
    placed = [*(sources.placed for sources, _ in field.parts), Placed(points)]
    corners = np.array(
        [each.corners for each in placed if each.corners is not None], np.float64
    ).reshape(-1, 2, points.shape[1])
    if points.dtype != torch.float32 or not len(corners):
        return False
    largest = 0.5 * field.mesh.absolute / torch.finfo(points.dtype).eps * modes.scale(field.kernel)
    return bool(np.linalg.norm(corners[:, 1].max(0) - corners[:, 0].min(0)) > largest)


def tried(
    field: MeshSums, plan: spacing.Plan, k: int, points: Tensor, worth: float
) -> Tensor | None:
    """Value and gradient (Q, 1 + d) on a mesh for tails, in the faster of two ways; None where
    there is none, or neither is worth it (seconds).
    """
    cores, queries = field.cores(plan), Placed(points)
    extent = field.extent(plan, queries)
    if extent.why or any(core is None or core.outside is not None for core in cores):
        return None
    boxes = [core.box for core in cores if core is not None]
    by_rows, by_nodes = seconds(plan, queries.array, boxes, [mesh.shape for mesh in extent.meshes])
    if min(by_nodes, by_rows) > worth:
        return None
    if by_rows < by_nodes:
        return torch.from_numpy(
            at_rows(
                plan, queries.array, [field.spread(plan, part, k) for part in range(len(cores))]
            )
        )
    return field.at(plan, extent, What.BOTH, queries, [k])[:, 0]


def mass(field: MeshSums, k: int) -> float:
    """sum of the k-th weights."""
    return sum(
        _kept(field, part, ("mass", k), lambda w: float(w.sum(dtype=torch.float64)))
        for part in range(len(field.parts))
    )


def lightest(field: MeshSums, k: int) -> float:
    """The least of the k-th weights above 0; infinite if there is none."""
    return min(_kept(field, part, ("lightest", k), _least) for part in range(len(field.parts)))


def _least(w: Tensor) -> float:
    least = float(w.min())
    return least if least > 0 else float(w[w > 0].amin()) if bool((w > 0).any()) else math.inf


def _kept(
    field: MeshSums, part: int, key: tuple[str, int], made: Callable[[Tensor], float]
) -> float:
    found: float = field.kept[part].get(key, lambda: made(field.column(key[1])[part][1]))
    return found
