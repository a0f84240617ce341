"""A batch of blocks, and the facts of a kernel, as compiled code takes them."""

from __future__ import annotations

import math

import numpy as np

from particleflow.kernels import ScaledKernel
from particleflow.kernels.declared import profile_of, stated
from particleflow.kernels.facts import ExponentialTail
from particleflow.pairwise.exact.ranges import Ranges
from particleflow.pairwise.neighbours import search
from particleflow.pairwise.neighbours.tiled import Batch


def ranges_of(batch: Batch, block: int) -> Ranges:
    return Ranges(
        np.arange(len(batch.ends) + 1), np.concatenate([[0], batch.ends[:-1]]), batch.ends, block
    )


def unit_of(kernel: ScaledKernel) -> float:
    """The factor of coordinates for the compiled sums."""
    return float(profile_of(type(kernel)).length / kernel.bandwidth)


def shape_of(kernel: ScaledKernel) -> search.Shape:
    """The fall of the kernel, for compiled code."""
    facts = stated(type(kernel))
    assert facts is not None
    if not isinstance(facts.tail, ExponentialTail):
        return search.Shape(0.0, 0.0, math.inf)
    _, first, second = (*facts.tail.coefficients, 0.0, 0.0)[:3]
    return search.Shape(facts.tail.rate, first, 1 / second if second else math.inf)
