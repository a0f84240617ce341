"""What the particles near a query can be wrong by: a sharper bound of a mesh's error than that of all of them at the worst distance.

    |error at z| <= sum_i |w_i| E(z - x_i) + images,

E the largest error of a pair at that difference (`spacing.Envelope`). Weights are gathered in blocks of nodes, and E is the largest between blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.fft

from particleflow.pairwise.spacing import FARTHEST, Plan, product_errors

Array: TypeAlias = np.ndarray

# Blocks at most, whatever the number of nodes.
BLOCKS = 2**17


@dataclass(frozen=True, eq=False)
class Density:
    """sum |w| in each block; `origin`: the first block's number on each axis."""

    origin: tuple[int, ...]
    mass: Array


def block_size(nodes: int, d: int) -> int:
    """Nodes of a block along each axis."""
    return max(1, math.ceil((nodes / BLOCKS) ** (1 / d)))


def density(points: Array, mass: Array, length: float) -> Density:
    """Blocks of `length`, at multiples of it. Points (N, d) finite, mass (N,) >= 0."""
    blocks = np.floor(points * (1 / length)).astype(np.int64)
    origin = blocks.min(0)
    shape = tuple(int(n) for n in blocks.max(0) - origin + 1)
    flat = np.ravel_multi_index(tuple((blocks - origin).T), shape)
    return Density(tuple(int(o) for o in origin), np.bincount(flat, mass, math.prod(shape)).reshape(shape))


def local_errors(plan: Plan, parts: Sequence[Density], size: int) -> tuple[float, float]:
    """Bounds of the errors of value and gradient anywhere, relative to max |k| and max |grad k|, for blocks of `size` nodes."""
    assert plan.envelope is not None
    d, width = plan.d, size * plan.spacing / plan.unit
    far = math.ceil(FARTHEST / width) + 1
    distance = np.abs(np.arange(-far, far + 1))
    nearest, farthest = np.maximum(distance - 1, 0) * width, (distance + 1) * width
    tables = product_errors([plan.envelope.within(nearest, farthest)] * d)
    # rounding errs by a part of the potential at the nodes that count
    level = np.exp(-0.5 * np.maximum(nearest - 2 * width / size, 0) ** 2)
    level = math.prod((level.reshape([-1 if k == j else 1 for k in range(d)]) for j in range(d)), start=np.ones(()))
    origin = [min(part.origin[j] for part in parts) for j in range(d)]
    end = [max(part.origin[j] + part.mass.shape[j] for part in parts) for j in range(d)]
    shape = [scipy.fft.next_fast_len(e - o + 2 * far, real=True) for o, e in zip(origin, end, strict=True)]
    total = np.zeros(shape)
    for part in parts:
        total[tuple(slice(p - o, p - o + n) for p, o, n in zip(part.origin, origin, part.mass.shape, strict=True))] += part.mass
    everything = float(total.sum())
    spectrum = scipy.fft.rfftn(total)
    errors = []
    for table, rounding in zip(tables, plan.rounding, strict=True):
        smeared = scipy.fft.irfftn(spectrum * scipy.fft.rfftn(table + rounding * level, shape), shape)
        errors.append(float(smeared.max()) + plan.images * everything)
    return errors[0], errors[1]
