"""Exact sums at the speed of the processor: machine code for its vectors, written by `tiles`, in as
many threads as torch has.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._libraries import library
from particleflow.kernels import Kernel
from particleflow.kernels.built_in import BUILT_IN
from particleflow.kernels.declared import bandwidth_of, profile_of, stated
from particleflow.memo import cached_property
from particleflow.pairwise.base import Queries
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.exact.dense import ARRAYS_PER_TILE, kernel_matrix
from particleflow.pairwise.exact.tiles import UNROLLED, Plan, function
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import (
    at_numbers,
    checked_points,
    checked_weights,
    kept_queries,
    points_of,
)
from particleflow.pairwise.terms import What
from particleflow.subsets import ranked

BLOCK = 256  # rows of queries that a thread takes, a multiple of every number of lanes
THREAD_PAIRS = 2**20  # fewer pairs than this are not worth a thread of their own
CALL_PAIRS = 2**28
CACHE_LINE = 64
# scaled coordinates beyond which float32 has no room for their squares and for the kernel's
# derivatives there
FAR = 1e9
MATRIX_BYTES = 8 * 2**20  # working memory of a prepared kernel matrix


@dataclass(frozen=True)
class Compiled:
    """Exact sums on the CPU in machine code made at run time (by llvmlite: no compiler is needed).
    Cost O(Q N d), memory O(Q d K + N d).

    Every radial kernel of `particleflow.kernels` but `Radial`. Errors: rounding of the coordinates
    (relative to the sources' centre) and of the terms, 1e-6 relative to the sum of the terms'
    absolute values in float32, 1e-14 in float64. Same input, same bits, for any number of threads
    (`torch.get_num_threads()`). The first use of a kernel, sum and dtype takes 0.1 s for its code.

    Parameters
    ----------
    portable : bool
        Code that any processor of this architecture runs (no AVX, no FMA), in place of this one's:
        the same bits on all of them, at a third of the speed.

    Raises
    ------
    ImportError
        llvmlite is missing or broken.
    """

    portable: bool = False

    def __post_init__(self) -> None:
        library("llvmlite.binding", "Compiled")
        _checks.flag(self.portable, "portable")

    def sources(self, kernel: Kernel, points: Tensor) -> CompiledSources:
        points = checked_points(points, kernel)
        check_kernel(kernel)
        if points.device.type != "cpu":
            raise ValueError(
                f"`points` must be on the CPU for Compiled(), got {points.device}: use KeOps() or"
                " Dense()"
            )
        return CompiledSources(kernel, points, self.portable)


@dataclass(frozen=True)
class Ranges:
    """The sources that each block of `block` query rows meets: block b those of the ranges
    starts[r] <= j < stops[r], ptr[b] <= r < ptr[b + 1].

    `block` is a multiple of 64.
    """

    ptr: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    block: int = BLOCK
    known: bool = False  # to list nothing that is not there: made by `all_pairs`

    def __post_init__(self) -> None:
        for name in ("ptr", "starts", "stops"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.int64))

    @classmethod
    @lru_cache(maxsize=64)
    def all_pairs(cls, queries: int, sources: int) -> Ranges:
        blocks = -(-queries // BLOCK)
        return cls(
            np.arange(blocks + 1, dtype=np.int64),
            np.zeros(blocks, np.int64),
            np.full(blocks, sources, np.int64),
            known=True,
        )

    @cached_property
    def pairs(self) -> int:
        return int(self.stops.sum() - self.starts.sum()) * self.block

    @cached_property
    def addresses(self) -> list[int]:
        return [_address(array) for array in (self.ptr, self.starts, self.stops)]

    def within(self, sources: int) -> bool:
        """Nothing outside 0 <= j < sources is listed, so that nothing outside memory is read."""
        listed = self.starts[self.ptr[0] : self.ptr[-1]], self.stops[self.ptr[0] : self.ptr[-1]]
        inside = not len(listed[0]) or (listed[0].min() >= 0 and listed[1].max() <= sources)
        return bool(
            inside
            and self.ptr[0] >= 0
            and self.ptr[-1] <= len(self.starts)
            and (np.diff(self.ptr) >= 0).all()
        )


@dataclass(frozen=True)
class CompiledQueries:
    """Query points as the code for one set of sources wants them, and, where it is small, their
    kernel matrix (Q, N).
    """

    points: Tensor
    sources: CompiledSources
    rows: np.ndarray
    matrix: Tensor | None


@dataclass(frozen=True, eq=False)
class CompiledSources:
    kernel: Kernel
    points: Tensor
    portable: bool

    def field(self, w: Tensor) -> SumField:
        return SumField(((self, checked_weights(w, self.points)),))

    def prepare(self, z: Tensor) -> CompiledQueries:
        z = kept_queries(z, self.points)
        small = len(z) * len(self.points) * z.element_size() * ARRAYS_PER_TILE <= MATRIX_BYTES
        return CompiledQueries(
            z, self, self._rows(z), kernel_matrix(self.kernel, z, self.points) if small else None
        )

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        if (
            what is What.VALUE
            and isinstance(z, CompiledQueries)
            and z.sources is self
            and z.matrix is not None
        ):
            return at_numbers((z.matrix @ w)[..., None], z.points)
        rows, count = self._rows(z), points_of(z).shape[0]
        if self._extreme(rows):
            return self._double.sums(what, w.double(), points_of(z).double()).to(self.points.dtype)
        ranges = Ranges.all_pairs(count, self.points.shape[0])
        total = range_sums(self.kernel, what, w, self._scaled, rows, ranges, portable=self.portable)
        return self._answer(total[:count], w, points_of(z))

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        rows, count = self._rows(z), len(points_of(z))
        if self._extreme(rows):
            fine = self._double.log_sum(w.double(), points_of(z).double())
            return fine[0].to(self.points.dtype), fine[1].to(self.points.dtype)
        ranges = Ranges.all_pairs(count, len(self.points))
        log, grad = range_logs(self.kernel, w, self._scaled, rows, ranges, portable=self.portable)
        return self._answer(log[:count], w, points_of(z)), self._answer(
            grad[:count], w, points_of(z)
        )

    @cached_property
    def _centre(self) -> np.ndarray:
        """Subtracted in float64 first: float32 keeps its digits for a cloud far from the origin, or
        with some points far from the others.
        """
        return ranked(self.points.detach().numpy(), 0.5)[0].astype(np.float64)

    @cached_property
    def _scaled(self) -> np.ndarray:
        return scaled(self.kernel, self.points, self._centre)

    @cached_property
    def _finite(self) -> bool:
        return math.isfinite(self._farthest)

    @cached_property
    def _double(self) -> CompiledSources:
        return CompiledSources(self.kernel, self.points.double(), self.portable)

    @cached_property
    def _farthest(self) -> float:
        low, high = torch.from_numpy(self._scaled).aminmax()
        return max(float(high), -float(low))

    def _extreme(self, rows: np.ndarray) -> bool:
        """Whether squares of scaled coordinates leave the numbers of float32."""
        if rows.dtype != np.float32:
            return False
        low, high = torch.from_numpy(rows).aminmax()
        # a NaN hides what is beside it: it answers True, which costs time only
        return not max(float(high), -float(low), self._farthest) <= FAR

    def _rows(self, z: Tensor | Queries) -> np.ndarray:
        if isinstance(z, CompiledQueries) and z.sources is self:
            return z.rows
        if z is self.points:
            return query_rows(self._scaled)
        return query_rows(scaled(self.kernel, points_of(z).to(self.points.dtype), self._centre))

    def _answer(self, rows: np.ndarray, w: Tensor, z: Tensor) -> Tensor:
        """In the dtype of the points. The code loses NaNs: a source or weight that is not finite
        makes all rows NaN.
        """
        answer = rows.astype(self._scaled.dtype, order="C")
        if not (self._finite and np.isfinite(w.detach().numpy()).all()):
            answer.fill(np.nan)
        return at_numbers(torch.from_numpy(answer), z)


def has_code(kind: type[Kernel]) -> bool:
    """Is there machine code for kernels of this class?"""
    return stated(kind) is not None


def check_kernel(kernel: Kernel) -> None:
    """Refuse what has no machine code."""
    if not has_code(type(kernel)):
        names = ", ".join(known.__name__ for known in BUILT_IN)
        raise TypeError(
            f"`kernel` must be one of {names} for Compiled(), got {kernel}: sum with Dense()"
        )


def scaled(kernel: Kernel, points: Tensor, centre: Tensor | np.ndarray) -> np.ndarray:
    """Points (n, d) about `centre` (d,) in the kernel's unit of length, in their dtype."""
    here = points.detach().numpy()
    with np.errstate(invalid="ignore"):  # infinities, which the caller answers with NaNs
        moved: np.ndarray = np.subtract(here, np.asarray(centre), dtype=np.float64, order="C")
    moved *= profile_of(type(kernel)).length / _bandwidth(kernel)
    return moved.astype(here.dtype, copy=False)


def query_rows(points: np.ndarray) -> np.ndarray:
    """Scaled points (Q, d) as coordinates (d, Q) with zeros up to a multiple of 64."""
    rows = np.zeros((points.shape[1], -(-len(points) // 64) * 64), points.dtype)
    rows[:, : len(points)] = points.T
    return rows


def range_sums(
    kernel: Kernel,
    what: What,
    w: Tensor,
    x: np.ndarray,
    z: np.ndarray,
    ranges: Ranges,
    *,
    portable: bool = False,
) -> np.ndarray:
    """Sums over each block's ranges, (Q, K, what.components(d)) in float64.

    w (N, K) of any sign, x (N, d) from `scaled`, z (d, Q) from `query_rows` of `scaled`, Q padded
    to a multiple of 64; all finite.
    """

    weight, columns = np.ascontiguousarray(w.detach().numpy(), dtype=x.dtype), w.shape[1]
    alike = columns == 1 and len(z) <= 3 and bool((weight == weight[0, 0]).all())
    weights = "one" if alike else "column" if columns == 1 else "columns"
    plan = plan_of(type(kernel), what, len(z), x.dtype, weights, log=False, portable=portable)
    out = np.zeros((columns, what.components(len(z)), z.shape[1]))
    _run(plan, z, x, weight, out, out, ranges, columns)
    value, grad, laplacian = plan.profile.units
    length = _bandwidth(kernel)
    units = [value] * (what in (What.VALUE, What.BOTH)) + [grad / length] * len(z) * (
        what in (What.GRAD, What.BOTH)
    )
    out *= (np.array(units or [laplacian / length**2]) * (weight[0, 0] if alike else 1.0))[:, None]
    return out.transpose(2, 0, 1)


def range_logs(
    kernel: Kernel,
    w: Tensor,
    x: np.ndarray,
    z: np.ndarray,
    ranges: Ranges,
    *,
    portable: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms (Q,) of the sums over each block's ranges and their gradients (Q, d), in float64;
    w (N,) >= 0, the rest as in `range_sums`.

    -inf and 0 where nothing is summed.
    """
    profile = profile_of(type(kernel))
    top = float(w.max()) or 1.0
    if profile.exponent is None:
        both = range_sums(
            kernel, What.BOTH, (w.double() / top)[:, None], x, z, ranges, portable=portable
        )[:, 0]
        total, force, log_unit = both[:, 0], both[:, 1:], np.zeros(len(both))
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            log_w = np.log2(w.detach().double().numpy() / top).astype(x.dtype)
        out = np.zeros((1 + len(z), z.shape[1]))
        lowest = np.full(z.shape[1], np.finfo(x.dtype).max, x.dtype)
        plan = plan_of(
            type(kernel), What.BOTH, len(z), x.dtype, "column", log=True, portable=portable
        )
        _run(plan, z, x, log_w, out, lowest, ranges, 1)
        total, force, log_unit = (
            out[0],
            out[1:].T * (profile.units[1] / _bandwidth(kernel)),
            -np.log(2) * lowest.astype(float),
        )
    empty = total == 0
    safe = np.where(empty, 1.0, total)
    with np.errstate(invalid="ignore"):  # rows of NaN
        return (
            np.where(empty, -np.inf, np.log(safe) + log_unit + np.log(top)),
            force / safe[:, None],
        )


@lru_cache(maxsize=1024)
def plan_of(
    kind: type[Kernel],
    what: What,
    d: int,
    dtype: np.dtype,
    weights: str,
    *,
    log: bool,
    portable: bool,
) -> Plan:
    """The code for a sum of this kind."""
    processor = Processor("", "") if portable else Processor.here()
    return Plan(kind, what, d if d <= UNROLLED else 0, dtype.name, weights, log, processor)


def _bandwidth(kernel: Kernel) -> float:
    return bandwidth_of(kernel) or 1.0


def _run(
    plan: Plan,
    z: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    out: np.ndarray,
    lowest: np.ndarray,
    ranges: Ranges,
    columns: int,
) -> None:
    """All blocks, shared by the threads as they come."""
    before, after = (z, x, w), (out, lowest)
    assert all(array.flags.c_contiguous for array in (*before, *after))
    assert ranges.known or ranges.within(len(x))
    assert ranges.block % plan.lanes == z.shape[1] % plan.lanes == 0
    blocks, pairs = len(ranges.ptr) - 1, ranges.pairs
    threads = max(1, min(torch.get_num_threads(), blocks, pairs // THREAD_PAIRS))
    # Small shares keep the threads equally long at work, and a call short enough to be interrupted.
    share = max(1, min(blocks // (8 * threads), CALL_PAIRS * blocks // (pairs + 1)))
    addresses = [*map(_address, before), *ranges.addresses, *map(_address, after)]
    scratch = np.empty((threads + 1, -(-plan.scratch // CACHE_LINE) * CACHE_LINE), np.uint8)
    # a second interrupt may end this call before its threads: they own what they read and write
    owners = (*before, ranges, *after, scratch)
    job = _Job(
        function(plan),
        addresses,
        (ranges.block, z.shape[1], len(z), columns),
        blocks,
        share,
        owners,
    )
    aligned = -(-_address(scratch) // CACHE_LINE) * CACHE_LINE
    if threads == 1:
        job.work(aligned)
        return
    others = [
        threading.Thread(target=job.work, args=(aligned + k * scratch.shape[1],))
        for k in range(1, threads)
    ]
    try:
        for thread in others:
            thread.start()
        job.work(aligned)
    except BaseException:
        job.stopped = True
        raise
    finally:
        for thread in others:
            if thread.ident is not None:
                thread.join()


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class _Job:
    """Shares of blocks, which each thread takes from one counter until none is left."""

    def __init__(
        self,
        run: Callable[..., None],
        addresses: list[int],
        sizes: tuple[int, ...],
        blocks: int,
        share: int,
        owners: Any,
    ) -> None:
        self.run, self.addresses, self.sizes, self.blocks, self.share, self.owners = (
            run,
            addresses,
            sizes,
            blocks,
            share,
            owners,
        )
        self.firsts = itertools.count(0, share)
        self.stopped = False

    def work(self, scratch: int) -> None:
        for first in self.firsts:
            if first >= self.blocks or self.stopped:
                return
            self.run(
                *self.addresses, scratch, first, min(first + self.share, self.blocks), *self.sizes
            )
