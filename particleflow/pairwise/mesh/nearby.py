"""Sharpens the error bound of a mesh by where the particles are.

The bound of `spacing.py` takes every particle at the worst difference from a query. Here

    |error at z| <= sum_i |w_i| E(z - x_i) + images,

where E(r) is the largest error of a pair at the difference r (`pair_errors.py`). Weights are summed
in cubic blocks of nodes, E is taken at its largest between two blocks, and the sum over blocks is a
convolution, by fast Fourier transforms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from particleflow._libraries import Later
from particleflow.pairwise.mesh.gridding import extremes
from particleflow.pairwise.mesh.pair_errors import FARTHEST, errors_beyond, line_errors
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.periodic.modes import at_unit_bandwidth

fft = Later("scipy.fft")

Array: TypeAlias = np.ndarray

# Blocks at most, whatever the number of nodes: their transforms then take milliseconds.
BLOCKS = 2**17
# Blocks at most, by d, between a block and the farthest for which errors are computed.
BLOCKS_ASIDE = {1: 4096, 2: 128, 3: 24}
# Points that are put into blocks together: their arrays fit the processor's second-level cache.
POINTS_TOGETHER = 2**14


@dataclass(frozen=True, eq=False)
class Density:
    """`mass`: sum |w| in each block; `origin`: the number of the first block on each axis."""

    origin: tuple[int, ...]
    mass: Array


def block_size(plan: Plan, nodes: int) -> int:
    """Nodes of a block along each axis."""
    d = plan.d
    return max(
        1,
        math.ceil((nodes / BLOCKS) ** (1 / d)),
        math.ceil(FARTHEST * plan.unit / (BLOCKS_ASIDE[d] * plan.spacing)),
    )


def density(points: Array, mass: Array, length: float) -> Density:
    """The mass in blocks of side `length`, at multiples of it. Points (N, d) finite, mass (N,)."""
    origin, last = (np.floor(end.astype(np.float64) / length) for end in extremes(points))
    shape = tuple(int(n) for n in last - origin + 1)
    flat = np.empty(len(points), np.int64)
    for first in range(0, len(points), POINTS_TOGETHER):
        rows = slice(first, first + POINTS_TOGETHER)
        index = np.zeros(len(points[rows]))
        for k, count in enumerate(shape):
            index *= count
            index += np.floor(points[rows, k].astype(np.float64) / length) - origin[k]
        flat[rows] = index
    return Density(
        tuple(int(o) for o in origin), np.bincount(flat, mass, math.prod(shape)).reshape(shape)
    )


def local_errors(plan: Plan, parts: Sequence[Density], size: int) -> tuple[float, float]:
    """Bounds of the errors of value and gradient at any query, for blocks of `size` nodes.

    Relative to max |k| and max |grad k|.
    """
    d, h = plan.d, plan.spacing / plan.unit
    width = size * h
    # rounded: plans of all bandwidths then share one table of errors
    errors = plan.pair_errors or line_errors(
        at_unit_bandwidth(plan.kernel)[0], round(h, 9), plan.window
    )
    far = math.ceil(FARTHEST / width) + 1
    apart = np.abs(np.arange(-far, far + 1))
    nearest, farthest = np.maximum(apart - 1, 0) * width, (apart + 1) * width
    # rounding is relative to the potential at the nodes that a query reads
    level = errors.levels(np.maximum(nearest - 2 * h, 0), d)
    total = _on_one_array(parts, 2 * far)
    everything = float(total.sum())
    spectrum = fft.rfftn(total)

    def largest(table: Array, rounding: float, images: float, beyond: float) -> float:
        around = fft.irfftn(
            spectrum * fft.rfftn(table + rounding * level, total.shape), total.shape
        )
        return float(around.max()) + (images + beyond) * everything

    value, grad = map(
        largest,
        errors.at(nearest, farthest, d),
        plan.rounding,
        plan.images[:2],
        errors_beyond(errors, d),
    )
    return value, grad


def _on_one_array(parts: Sequence[Density], margin: int) -> Array:
    """The parts' mass in all blocks, with at least `margin` empty blocks beyond, on each axis."""
    d = len(parts[0].origin)
    origin = [min(part.origin[j] for part in parts) for j in range(d)]
    end = [max(part.origin[j] + part.mass.shape[j] for part in parts) for j in range(d)]
    total = np.zeros(
        [fft.next_fast_len(e - o + margin, real=True) for o, e in zip(origin, end, strict=True)]
    )
    for part in parts:
        here = zip(part.origin, origin, part.mass.shape, strict=True)
        total[tuple(slice(p - o, p - o + n) for p, o, n in here)] += part.mass
    return total
