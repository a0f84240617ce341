"""Sums of Gaussians far below their peak, with small relative errors: for the tails of a logarithm.

On one axis, exp(-(z - x)^2 / (2 l^2)) is interpolated in x and in z by Lagrange polynomials, each
from the 12 nodes around, which are multiples of a spacing h. The error is relative to the kernel at
that difference, not to its peak. With a reach R such that h R = l^2 / 2 it is

- at most 2e-8 of the kernel for |z - x| <= R, and 2e-8 of its value at R beyond;
- for the slope, at most 1e-7 of (1 / l + |z - x| / l^2) times the same.

Weights are carried from nodes to nodes by products of matrices, one axis after the other. Fourier
transforms would not do: their rounding is relative to the largest sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np

from particleflow.kernels import ScaledKernel
from particleflow.pairwise.mesh.lattice import Box
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.mesh.window import Window
from particleflow.pairwise.periodic.modes import Periodic

Array: TypeAlias = np.ndarray

# Nodes of a polynomial: with 12 the errors above hold.
TAPS = 12
# The reaches R of the plans, in bandwidths. A row is right if its sum is above
# sum |w| exp(-R^2 / 2).
REACHES = (8.0, 16.0, 32.0)
# h R / l^2 for tolerances of `LOOSE` and above: the errors above hold.
STEP = 0.5
# h R / l^2 for smaller tolerances.
FINER_STEP = 0.25
# The tolerance below which the finer step is taken.
LOOSE = 1e-6
# The least weight, relative to sum |w|, that a mesh resolves: it adds weights as integers.
LIGHTEST = 1e-7
# Beyond sqrt(R^2 + BEYOND) bandwidths all weights together are below e^{-20} of a right row.
BEYOND = 40.0
# Side of the blocks, in bandwidths, whose rows read the same nodes.
BLOCK = 4.0
# Seconds for a multiplication in a matrix product.
PER_PRODUCT = 1.5e-10
# Seconds for reading a node.
PER_NODE = 1e-9


@lru_cache(maxsize=64)
def plans(kernel: ScaledKernel, d: int, tol: float) -> list[tuple[float, Plan]]:
    """Plans of larger and larger reach, with log(sum / sum |w|) of the least row that is right."""
    step = STEP if tol >= LOOSE else FINER_STEP
    return [
        (
            -0.5 * reach**2,
            _plan(kernel, d, reach * kernel.bandwidth, step / reach * kernel.bandwidth),
        )
        for reach in REACHES
    ]


def _plan(kernel: ScaledKernel, d: int, reach: float, spacing: float) -> Plan:
    made = Plan(
        kernel,
        d,
        lagrange(),
        "float64",
        spacing,
        Periodic(kernel, reach, 0.0, 0.0),
        errors=(0.0, 0.0, 0.0),
        rounding=(0.0, 0.0),
        images=(0.0, 0.0, 0.0),
        pair_errors=None,
    )
    return replace(made, convolve=partial(convolved, kernel, spacing, _far(made)))


@lru_cache(maxsize=1)
def lagrange() -> Window:
    """The window of Lagrange interpolation: tap j is 1 at node j and 0 at the other nodes.

    It is a polynomial in the place of a point within the cell between the two middle nodes.
    """
    nodes = np.arange(TAPS) - (TAPS - 1) / 2
    powers = []
    for own in nodes[: TAPS // 2]:
        others = nodes[nodes != own]
        powers.append(np.polynomial.polynomial.polyfromroots(others) / np.prod(own - others))
    return Window(TAPS, np.array(powers))


def convolved(
    kernel: ScaledKernel, spacing: float, far: int, box: Box, parts: Sequence[tuple[Box, Array]]
) -> Array:
    """sum_m k(n, m) w_m at all nodes n of `box`; `parts`: boxes, and the weights w on their nodes.

    Nodes more than `far` nodes apart on an axis are left out.
    """
    total = np.zeros(box.shape)
    for inner, weights in parts:
        carried = weights
        for axis in range(len(box.shape)):
            sides = box.origin[axis], box.shape[axis], inner.origin[axis], inner.shape[axis]
            carried = _along_first_axis(carried, spacing / kernel.bandwidth, far, *sides)
        total += carried
    return total


def _along_first_axis(
    weights: Array, h: float, far: int, first: int, count: int, start: int, length: int
) -> Array:
    """sum_m exp(-(h (n - m))^2 / 2) weights[m - start], n = first ... first + count - 1.

    m = start ... start + length - 1. The axis n becomes the last one of the answer: after all axes
    they are in their order again.
    """
    out = np.zeros((*weights.shape[1:], count))
    for begin in range(0, count, far):
        nodes = np.arange(first + begin, first + min(begin + far, count))
        low = max(int(nodes[0]) - far, start)
        high = min(int(nodes[-1]) + far + 1, start + length)
        if low < high:
            r = (nodes[:, None] - np.arange(low, high)) * h
            sums = np.tensordot(weights[low - start : high - start], np.exp(-0.5 * r * r), (0, 1))
            out[..., begin : begin + len(nodes)] = sums
    return out


def at_rows(plan: Plan, z: Array, parts: Sequence[tuple[Box, Array]]) -> Array:
    """Value and gradient (Q, 1 + d) at z (Q, d), without interpolation in z: for few rows."""
    total, far = np.zeros((len(z), 1 + plan.d)), _far(plan)
    for rows in _blocks(plan, z):
        for box, weights in parts:
            low = np.clip(
                np.floor(z[rows].min(0) / plan.spacing) - far, box.origin, box.end
            ).astype(np.int64)
            high = np.clip(
                np.ceil(z[rows].max(0) / plan.spacing) + far + 1, box.origin, box.end
            ).astype(np.int64)
            if (low >= high).any():
                continue
            nodes = weights[box.slices(Box.between(low.tolist(), high.tolist()))]
            axes = []
            for axis, (a, b) in enumerate(zip(low, high, strict=True)):
                r = (plan.spacing * np.arange(a, b) - z[rows, axis, None]) / plan.unit
                g = np.exp(-0.5 * r * r)
                axes.append((g, g * r / plan.unit))
            # sums over the first axis: with g for the value, with its derivative for the gradient's
            # first component; each further axis adds another component
            sums = np.split(np.concatenate(axes[0]) @ nodes.reshape(len(nodes), -1), 2)
            for g, slope in axes[1:]:
                shape = *g.shape, -1
                value = sums[0].reshape(shape)
                sums = [
                    *(_sum_over_nodes(g, each.reshape(shape)) for each in sums),
                    _sum_over_nodes(slope, value),
                ]
            total[rows] += np.concatenate(sums, 1)
    return total


def seconds(
    plan: Plan, z: Array, boxes: Sequence[Box], meshes: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """Seconds of `at_rows`, for weights in these boxes, and of `convolved`, on `meshes`' shapes."""
    far = _far(plan)
    width = 2 * far + math.ceil(BLOCK * plan.unit / plan.spacing)
    nodes = sum(math.prod(min(n, width) for n in box.shape) for box in boxes)
    blocks = math.prod(np.ptp(np.floor(z / (BLOCK * plan.unit)), axis=0) + 1)
    by_rows = nodes * (PER_PRODUCT * 2 * len(z) + PER_NODE * min(len(z), blocks))
    by_nodes = sum(
        PER_PRODUCT * math.prod(shape) * sum(min(n, 3 * far) for n in shape) for shape in meshes
    )
    return by_rows, by_nodes


def _far(plan: Plan) -> int:
    """The number of nodes between a row and the nearest weights that do not count."""
    return math.ceil(
        math.hypot(plan.periodic.reach / plan.unit, math.sqrt(BEYOND)) * plan.unit / plan.spacing
    )


def _blocks(plan: Plan, z: Array) -> list[Array]:
    """The row numbers in each block."""
    blocks = np.floor(z / (BLOCK * plan.unit))
    blocks -= blocks.min(0)
    _, number = np.unique(
        blocks @ np.cumprod([1.0, *(blocks.max(0) + 1)])[: plan.d], return_inverse=True
    )
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def _sum_over_nodes(factor: Array, nodes: Array) -> Array:
    """sum_n factor[q, n] nodes[q, n, m]: (rows, m)."""
    return np.asarray(np.einsum("qn,qnm->qm", factor, nodes))
