"""Sums of Gaussians far below their peak, as accurate as each is itself: for the tails of a logarithm.

On one axis, exp(-(z - x)^2 / 2 l^2) is interpolated, in x and in z, from the 12 nodes around, multiples of h, by Lagrange's polynomials. The error
is relative to the kernel where it is, not to its peak: at most 2e-8 of it for |z - x| <= R, h R = l^2 / 2, and of its value at R beyond; the slope's
1e-7 times 1 / l + |z - x| / l^2. The nodes are convolved by products of matrices: by Fourier transforms all would be as wrong as the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np

from particleflow.kernels import Gaussian
from particleflow.pairwise.lattice import Box
from particleflow.pairwise.modes import Periodic
from particleflow.pairwise.spacing import Plan
from particleflow.pairwise.window import Window

Array: TypeAlias = np.ndarray

TAPS = 12
# R in bandwidths: a row is right if its sum is above sum |w| exp(-R^2 / 2). And h R / l^2, for tolerances down to 1e-6 and below.
REACHES, STEP, FINER = (8.0, 16.0, 32.0), 0.5, 0.25
# A mesh is a sum of integers: of weights that differ by more than this, the least lose digits.
LIGHTEST = 1e-7
# The least entry of a matrix: products of smaller ones are no numbers.
SMALLEST = 1e-250


@lru_cache(maxsize=64)
def plans(kernel: Gaussian, d: int, tol: float) -> list[tuple[float, Plan]]:
    """Finer and finer meshes, and the logarithm of the part of sum |w| down to which each is right."""
    step = STEP if tol >= 1e-6 else FINER
    return [(-0.5 * reach**2, _plan(kernel, d, reach * kernel.bandwidth, step / reach * kernel.bandwidth)) for reach in REACHES]


def _plan(kernel: Gaussian, d: int, reach: float, spacing: float) -> Plan:
    none = 0.0, 0.0, 0.0
    plain = Periodic(kernel, reach, 0.0, 0.0)
    return Plan(kernel, d, lagrange(), "float64", spacing, plain, none, (0.0, 0.0), none, None, convolve=partial(convolved, kernel, spacing))


@lru_cache(maxsize=1)
def lagrange() -> Window:
    """Polynomials in the place within the middle cell that are 1 at their own node and 0 at the others."""
    nodes = np.arange(TAPS) - (TAPS - 1) / 2
    powers = []
    for own in nodes[: TAPS // 2]:
        others = nodes[nodes != own]
        powers.append(np.polynomial.polynomial.polyfromroots(others) / np.prod(own - others))
    return Window(TAPS, np.array(powers))


def convolved(kernel: Gaussian, spacing: float, box: Box, parts: Sequence[tuple[Box, Array]]) -> Array:
    """sum_m k(n, m) w_m at all nodes n of the box, from weights w on the nodes of other boxes. Cost O(nodes of a box x nodes along an axis)."""
    total = np.zeros(box.shape)
    for inner, weights in parts:
        made = weights
        for first, count, start, length in zip(box.origin, box.shape, inner.origin, inner.shape, strict=True):
            away = (np.arange(first, first + count)[:, None] - np.arange(start, start + length)) * (spacing / kernel.bandwidth)
            factor = np.exp(-0.5 * away * away)
            factor[factor < SMALLEST] = 0.0
            # the axis that is summed comes first, and leaves last: after all axes, their order is as before
            made = np.moveaxis(np.tensordot(factor, made, (1, 0)), 0, -1)
        total += made
    return total


def at_rows(plan: Plan, z: Array, parts: Sequence[tuple[Box, Array]]) -> Array:
    """Value and gradient (Q, 1 + d) at z (Q, d) itself, without nodes in between: for few rows. Cost O(Q nodes)."""
    total = np.zeros((len(z), 1 + plan.d))
    for box, weights in parts:
        away = [
            (plan.spacing * np.arange(first, first + count) - z[:, axis, None]) / plan.unit
            for axis, (first, count) in enumerate(zip(box.origin, box.shape, strict=True))
        ]
        factors = [np.exp(-0.5 * r * r) for r in away]
        total[:, 0] += _product(factors, weights)
        for axis in range(plan.d):
            pulled = [f * r if k == axis else f for k, (f, r) in enumerate(zip(factors, away, strict=True))]
            total[:, 1 + axis] += _product(pulled, weights) / plan.unit
    return total


def _product(factors: Sequence[Array], weights: Array) -> Array:
    total = factors[0] @ weights.reshape(len(weights), -1)
    for factor in factors[1:]:
        total = np.einsum("qn,qnm->qm", factor, total.reshape(*factor.shape, -1))
    return total[:, 0]
