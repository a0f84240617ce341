"""Sums of Gaussians far below their peak, as accurate as each is itself: for the tails of a
logarithm.

On one axis, exp(-(z - x)^2 / 2 l^2) is interpolated, in x and in z, from the 12 nodes around,
multiples of h, by Lagrange's polynomials. The error is relative to the kernel where it is, not to
its peak: at most 2e-8 of it for |z - x| <= R, h R = l^2 / 2, and of its value at R beyond; the
slope's 1e-7 times 1 / l + |z - x| / l^2. The nodes are convolved by products of matrices: by
Fourier transforms all would be as wrong as the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np

from particleflow.kernels import ScaledKernel
from particleflow.pairwise.mesh.lattice import Box
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.mesh.window import Window
from particleflow.pairwise.periodic.modes import Periodic

Array: TypeAlias = np.ndarray

TAPS = 12
# R in bandwidths: a row is right if its sum is above sum |w| exp(-R^2 / 2). And h R / l^2, for
# tolerances down to 1e-6 and below.
REACHES, STEP, FINER = (8.0, 16.0, 32.0), 0.5, 0.25
# A mesh is a sum of integers: of weights that differ by more than this, the least lose digits.
LIGHTEST = 1e-7
# Beyond sqrt(R^2 + BEYOND) bandwidths of a row, all weights together are less than rounding to it.
BEYOND = 40.0
# Rows that share their nodes lie in blocks of so many bandwidths.
BLOCK = 4.0
# Seconds of a product, of a node that is read.
PER_PRODUCT, PER_NODE = 1.5e-10, 1e-9


@lru_cache(maxsize=64)
def plans(kernel: Any, d: int, tol: float) -> list[tuple[float, Plan]]:
    """Finer and finer meshes, and the logarithm of the part of sum |w| down to which each is right."""
    step = STEP if tol >= 1e-6 else FINER
    return [
        (
            -0.5 * reach**2,
            _plan(kernel, d, reach * kernel.bandwidth, step / reach * kernel.bandwidth),
        )
        for reach in REACHES
    ]


def _plan(kernel: ScaledKernel, d: int, reach: float, spacing: float) -> Plan:
    none = 0.0, 0.0, 0.0
    made = Plan(
        kernel,
        d,
        lagrange(),
        "float64",
        spacing,
        Periodic(kernel, reach, 0.0, 0.0),
        none,
        (0.0, 0.0),
        none,
        None,
    )
    return replace(made, convolve=partial(convolved, kernel, spacing, _far(made)))


@lru_cache(maxsize=1)
def lagrange() -> Window:
    """Polynomials in the place within the middle cell that are 1 at their own node and 0 at the
    others.
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
    """sum_m k(n, m) w_m at all nodes n of the box, from weights w on the nodes of other boxes, up
    to `far` nodes away on each axis.
    """
    total = np.zeros(box.shape)
    for inner, weights in parts:
        made = weights
        for first, count, start, length in zip(
            box.origin, box.shape, inner.origin, inner.shape, strict=True
        ):
            # the axis that is summed comes first, and leaves last: after all axes, their order is
            # as before
            out = np.zeros((*made.shape[1:], count))
            for here in range(0, count, far):
                some = np.arange(first + here, first + min(here + far, count))
                low, high = (
                    max(int(some[0]) - far, start),
                    min(int(some[-1]) + far + 1, start + length),
                )
                if low < high:
                    away = (some[:, None] - np.arange(low, high)) * (spacing / kernel.bandwidth)
                    part = np.tensordot(
                        made[low - start : high - start], np.exp(-0.5 * away * away), (0, 1)
                    )
                    out[..., some[0] - first : some[-1] + 1 - first] = part
            made = out
        total += made
    return total


def at_rows(plan: Plan, z: Array, parts: Sequence[tuple[Box, Array]]) -> Array:
    """Value and gradient (Q, 1 + d) at z (Q, d) itself, without nodes in between: for few rows."""
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
            near = weights[
                tuple(slice(a - o, b - o) for a, b, o in zip(low, high, box.origin, strict=True))
            ]
            away = [
                (plan.spacing * np.arange(a, b) - z[rows, axis, None]) / plan.unit
                for axis, (a, b) in enumerate(zip(low, high, strict=True))
            ]
            factors = [np.exp(-0.5 * r * r) for r in away]
            first, *others = zip(
                factors,
                (f * r / plan.unit for f, r in zip(factors, away, strict=True)),
                strict=True,
            )
            # value and, one more with each axis, the gradient's components; the nodes are read once
            sums = np.split(np.concatenate(first) @ near.reshape(len(near), -1), 2)
            for factor, pulled in others:
                shape = *factor.shape, -1
                sums = [
                    *(_summed(factor, each.reshape(shape)) for each in sums),
                    _summed(pulled, sums[0].reshape(shape)),
                ]
            total[rows] += np.concatenate(sums, 1)
    return total


def seconds(
    plan: Plan, z: Array, boxes: Sequence[Box], meshes: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """What `at_rows` takes, with weights in these boxes, and what `convolved` does on meshes of
    these shapes.
    """
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
    """Nodes from a row to those that do not matter."""
    return math.ceil(
        math.hypot(plan.periodic.reach / plan.unit, math.sqrt(BEYOND)) * plan.unit / plan.spacing
    )


def _blocks(plan: Plan, z: Array) -> list[Array]:
    """The rows in each block."""
    blocks = np.floor(z / (BLOCK * plan.unit))
    blocks -= blocks.min(0)
    _, number = np.unique(
        blocks @ np.cumprod([1.0, *(blocks.max(0) + 1)])[: plan.d], return_inverse=True
    )
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def _summed(factor: Array, nodes: Array) -> Array:
    """Over axis 1 of nodes (rows, n, m): (rows, m)."""
    return np.asarray(np.einsum("qn,qnm->qm", factor, nodes))
