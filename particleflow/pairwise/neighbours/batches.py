"""Hand batches of blocks, and a kernel's facts, to compiled code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from particleflow.kernels import Kernel, ScaledKernel
from particleflow.kernels.declared import profile_of, stated
from particleflow.kernels.facts import ExponentialTail
from particleflow.pairwise.exact.ranges import Ranges, query_rows, range_logs, range_sums
from particleflow.pairwise.neighbours import search
from particleflow.pairwise.neighbours.tiled import Batch
from particleflow.pairwise.terms import What


@dataclass(frozen=True)
class SumJob:
    """Adds batches of blocks to total (Q, K, components), queries in the order of tiles."""

    kernel: Kernel
    what: What
    block: int
    total: np.ndarray

    def __call__(self, part: Iterator[Batch]) -> None:
        for batch in part:
            if len(batch.x):
                sums = range_sums(
                    self.kernel,
                    self.what,
                    torch.from_numpy(batch.w),
                    batch.x,
                    query_rows(batch.z),
                    ranges_of(batch, self.block),
                )
                self.total[batch.first : batch.last] += sums[: len(batch.z)]


@dataclass(frozen=True)
class LogJob:
    """Writes logarithms to logs (Q,) and their gradients to grads (Q, d).

    Blocks without sources are left as they are.
    """

    kernel: Kernel
    block: int
    logs: np.ndarray
    grads: np.ndarray

    def __call__(self, part: Iterator[Batch]) -> None:
        for batch in part:
            if len(batch.x):
                ranges = ranges_of(batch, self.block)
                logs, grads = range_logs(
                    self.kernel,
                    torch.from_numpy(batch.w)[:, 0],
                    batch.x,
                    query_rows(batch.z),
                    ranges,
                )
                met = (ranges.stops > ranges.starts).repeat(self.block)[: len(batch.z)].nonzero()[0]
                self.logs[batch.first + met], self.grads[batch.first + met] = logs[met], grads[met]


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
