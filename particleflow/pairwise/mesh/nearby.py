"""What the particles near a query can be wrong by: a sharper bound of a mesh's error than that of
all of them at the worst distance.

    |error at z| <= sum_i |w_i| E(z - x_i) + images,

E the largest error of a pair at that difference (`pair_errors.py`). Weights are gathered in blocks
of nodes, and E is the largest between blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from particleflow._libraries import Later
from particleflow.pairwise.mesh.gridding import extremes
from particleflow.pairwise.mesh.pair_errors import FARTHEST, pair_errors
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.periodic.modes import unscaled

fft = Later("scipy.fft")

Array: TypeAlias = np.ndarray

# Blocks at most, whatever the number of nodes; and to either side, as far as errors are looked at.
BLOCKS, REACHED = 2**17, {1: 4096, 2: 128, 3: 24}
# Points at a time, in the second-level cache.
CHUNK = 2**14


@dataclass(frozen=True, eq=False)
class Density:
    """sum |w| in each block; `origin`: the first block's number on each axis."""

    origin: tuple[int, ...]
    mass: Array


def block_size(plan: Plan, nodes: int) -> int:
    """Nodes of a block along each axis."""
    d = plan.d
    return max(
        1,
        math.ceil((nodes / BLOCKS) ** (1 / d)),
        math.ceil(FARTHEST * plan.unit / (REACHED[d] * plan.spacing)),
    )


def density(points: Array, mass: Array, length: float) -> Density:
    """Blocks of `length`, at multiples of it. Points (N, d) finite, mass (N,) >= 0."""
    origin, last = (np.floor(end.astype(np.float64) / length) for end in extremes(points))
    shape = tuple(int(n) for n in last - origin + 1)
    flat = np.empty(len(points), np.int64)
    for first in range(0, len(points), CHUNK):
        rows = slice(first, first + CHUNK)
        index = np.zeros(len(points[rows]))
        for k, count in enumerate(shape):
            index *= count
            index += np.floor(points[rows, k].astype(np.float64) / length) - origin[k]
        flat[rows] = index
    return Density(
        tuple(int(o) for o in origin), np.bincount(flat, mass, math.prod(shape)).reshape(shape)
    )


def local_errors(plan: Plan, parts: Sequence[Density], size: int) -> tuple[float, float]:
    """Bounds of the errors of value and gradient anywhere, relative to max |k| and max |grad k|,
    for blocks of `size` nodes.
    """
    d, h = plan.d, plan.spacing / plan.unit
    width = size * h
    # equal spacings, whatever the bandwidth
    made = plan.envelope or pair_errors(unscaled(plan.kernel)[0], round(h, 9), plan.window)
    far = math.ceil(FARTHEST / width) + 1
    distance = np.abs(np.arange(-far, far + 1))
    nearest, farthest = np.maximum(distance - 1, 0) * width, (distance + 1) * width
    tables = made.at(nearest, farthest, d)
    beyond = [
        float(table[(1,) + (0,) * (d - 1)])
        for table in made.at(np.array([0.0, 0.97 * FARTHEST]), np.full(2, FARTHEST), d)
    ]

    # rounding errs by a part of the potential at the nodes that count
    level = made.levels(np.maximum(nearest - 2 * h, 0), d)
    origin = [min(part.origin[j] for part in parts) for j in range(d)]
    end = [max(part.origin[j] + part.mass.shape[j] for part in parts) for j in range(d)]
    shape = [
        fft.next_fast_len(e - o + 2 * far, real=True) for o, e in zip(origin, end, strict=True)
    ]
    total = np.zeros(shape)
    for part in parts:
        total[
            tuple(
                slice(p - o, p - o + n)
                for p, o, n in zip(part.origin, origin, part.mass.shape, strict=True)
            )
        ] += part.mass
    everything = float(total.sum())
    spectrum = fft.rfftn(total)
    errors = []
    for table, rounding, images, away in zip(
        tables, plan.rounding, plan.images, beyond, strict=False
    ):
        smeared = fft.irfftn(spectrum * fft.rfftn(table + rounding * level, shape), shape)
        errors.append(float(smeared.max()) + (images + away) * everything)
    return errors[0], errors[1]
