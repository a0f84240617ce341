"""Run compiled sums in threads, each block of queries over its ranges of sources."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, profile_of
from particleflow.memo import cached, cached_property
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.exact.tiles import UNROLLED, Plan, function
from particleflow.pairwise.terms import What

# Least number of pairs that is worth a thread.
THREAD_PAIRS = 2**20
# Most pairs of one call of compiled code, which Ctrl-C cannot interrupt: about 0.3 s.
CALL_PAIRS = 2**28
# Alignment of a thread's scratch memory, in bytes: two threads share no line of the cache.
CACHE_LINE = 64
# Query rows of a block: a multiple of every number of lanes.
BLOCK = 256


@dataclass(frozen=True)
class Ranges:
    """The sources that each block of `block` query rows meets.

    Block b meets the sources starts[r] <= j < stops[r] of the ranges ptr[b] <= r < ptr[b + 1].
    `block` is a multiple of 64.
    """

    ptr: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    block: int = BLOCK
    known: bool = False  # True: `all_pairs` made the ranges, and every index exists

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
        """Are all ranges inside 0 <= j < sources, so that no other memory is read?"""
        listed = self.starts[self.ptr[0] : self.ptr[-1]], self.stops[self.ptr[0] : self.ptr[-1]]
        inside = not len(listed[0]) or (listed[0].min() >= 0 and listed[1].max() <= sources)
        return bool(
            inside
            and self.ptr[0] >= 0
            and self.ptr[-1] <= len(self.starts)
            and (np.diff(self.ptr) >= 0).all()
        )


def scaled(kernel: Kernel, points: Tensor, centre: Tensor | np.ndarray) -> np.ndarray:
    """Return points (n, d) about `centre` (d,) in the kernel's unit of length, in their dtype."""
    here = points.detach().numpy()
    with np.errstate(invalid="ignore"):  # infinities, which the caller answers with NaNs
        moved: np.ndarray = np.subtract(here, np.asarray(centre), dtype=np.float64, order="C")
    moved *= profile_of(type(kernel)).length / _bandwidth(kernel)
    return moved.astype(here.dtype, copy=False)


def query_rows(points: np.ndarray) -> np.ndarray:
    """Return scaled points (Q, d) as coordinates (d, Q), with zeros up to a multiple of 64."""
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
    """Return the sums over each block's ranges, (Q, K, what.components(d)) in float64.

    w (N, K) may have any sign. x (N, d) comes from `scaled`, and z (d, Q) from `query_rows` of
    `scaled`, with Q padded to a multiple of 64. All numbers are finite.
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
    """Return the logarithms (Q,) of sums over each block's ranges, and their gradients (Q, d).

    The answers are float64. w (N,) is >= 0, and the other arguments are those of `range_sums`. An
    empty sum has the logarithm -inf and the gradient 0.
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


@cached(1024)
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
    """Return the plan of the code for a sum of this kind."""
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
    """Run the code on all blocks, in threads that take the next share when they are free."""
    before, after = (z, x, w), (out, lowest)
    assert all(array.flags.c_contiguous for array in (*before, *after))
    assert ranges.known or ranges.within(len(x))
    assert ranges.block % plan.lanes == z.shape[1] % plan.lanes == 0
    blocks, pairs = len(ranges.ptr) - 1, ranges.pairs
    threads = max(1, min(torch.get_num_threads(), blocks, pairs // THREAD_PAIRS))
    # Small shares keep the threads equally busy, and a call short enough to be interrupted.
    share = max(1, min(blocks // (8 * threads), CALL_PAIRS * blocks // (pairs + 1)))
    addresses = [*map(_address, before), *ranges.addresses, *map(_address, after)]
    scratch = np.empty((threads + 1, -(-plan.scratch // CACHE_LINE) * CACHE_LINE), np.uint8)
    aligned = -(-_address(scratch) // CACHE_LINE) * CACHE_LINE
    run, sizes = function(plan), (ranges.block, z.shape[1], len(z), columns)
    # Each thread takes shares of blocks from one counter until none is left.
    firsts, stopped = itertools.count(0, share), False

    def work(thread: int, owners: tuple[object, ...]) -> None:
        place = aligned + thread * scratch.shape[1]
        for first in firsts:
            if first >= blocks or stopped:
                return
            run(*addresses, place, first, min(first + share, blocks), *sizes)

    # A second interrupt may end this call before its threads: they keep their arrays alive.
    owners = (*before, ranges, *after, scratch)
    others = [threading.Thread(target=work, args=(k, owners)) for k in range(1, threads)]
    try:
        for thread in others:
            thread.start()
        work(0, owners)
    except BaseException:
        stopped = True
        raise
    finally:
        for thread in others:
            if thread.ident is not None:
                thread.join()


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
