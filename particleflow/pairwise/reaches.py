"""Which tiles of sources lie within reach of a block of queries, and what lies beyond: numba, for `culled`. Trees as in `cells`.

A block's box stands for its queries, a tile's or a node's for its sources: their distance is a lower bound of all distances between them.
`stack` (64,) holds nodes that wait, one at each level of a tree. Unsigned indices spare numba's test for negative ones, half of the time here.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from particleflow.pairwise.cells import Array, Boxes, Tree

compiled: Any = functools.partial(njit, cache=True, nogil=True, error_model="numpy")
GAUSSIAN, LAPLACE, MATERN32, MATERN52 = range(4)
WIDE = 2.0  # a block beyond so many reaches: a bound for each query
ZERO, ONE, TWO = np.uint64(0), np.uint64(1), np.uint64(2)


def stack() -> Array:
    return np.empty(64, np.uint64)


@compiled
def _gap2(a: Boxes, i: int, b: Boxes, j: int) -> float:
    """Squared distance of box i of a from box j of b."""
    s = 0.0
    for k in range(np.uint64(a.low.shape[1])):
        gap = max(max(a.low[i, k] - b.high[j, k], b.low[j, k] - a.high[i, k]), 0.0)
        s += gap * gap
    return s


@compiled
def _span2(a: Boxes, i: int, b: Boxes, j: int) -> float:
    """Largest squared distance of a point of one box from a point of the other."""
    s = 0.0
    for k in range(np.uint64(a.low.shape[1])):
        span = max(a.high[i, k] - b.low[j, k], b.high[j, k] - a.low[i, k])
        s += span * span
    return s


@compiled
def near(
    tree: Tree, tile: int, n: int, blocks: Boxes, reach: Array, whole: Array, begin: int, end: int, room: int,
    ptr: Array, ranges: Array, stack: Array,
) -> int | np.int64:  # fmt: skip
    """Ranges of rows that hold all of the n sources nearer than reach[b] to block b: ranges[:, ptr[b - begin]:ptr[b - begin + 1]], rising.

    Blocks begin, begin + 1 .. up to end, or until they have more than `room` sources in all, or the ranges are full; returns the first block left
    out. A node with whole[node] is taken whole. Ranges that touch are joined. One block needs at most half as many ranges as there are tiles, and
    one more. A reach that is NaN takes nothing.
    """
    boxes = tree.boxes
    starts, stops = ranges[0], ranges[1]
    used = ZERO
    ptr[0] = 0
    for block in range(np.uint64(begin), np.uint64(end)):
        reach2 = reach[block] * reach[block]
        stack[0] = 0
        waiting = ONE
        joined = -1
        first = used
        while waiting:
            waiting -= ONE
            i = stack[waiting]
            if not _gap2(boxes, i, blocks, block) <= reach2:
                continue
            if not whole[i]:
                stack[waiting] = tree.spans[i, TWO]
                stack[waiting + ONE] = i + ONE
                waiting += TWO
                continue
            a, b = tree.spans[i, ZERO], tree.spans[i, ONE]
            if joined != a:
                if used == np.uint64(len(starts)):
                    return np.int64(block)
                starts[used] = a * tile
                used += ONE
            stops[used - ONE] = min(n, b * tile)
            joined = b
        for r in range(first, used):
            room -= stops[r] - starts[r]
        if room < 0 and block > np.uint64(begin):
            return np.int64(block)
        ptr[block - np.uint64(begin) + ONE] = used
    return end


@compiled
def gather(points: Array, weights: Array, ptr: Array, ranges: Array, centres: Array, unit: float, to: Array, to_weights: Array, ends: Array) -> None:
    """The sources of each block's ranges, one block after the other, about its centre: to = (points - centre) unit; block b ends at ends[b]."""
    d, columns = np.uint64(points.shape[1]), np.uint64(weights.shape[1])
    used = ZERO
    for block in range(np.uint64(len(centres))):
        for r in range(np.uint64(ptr[block]), np.uint64(ptr[block + ONE])):
            for j in range(np.uint64(ranges[ZERO, r]), np.uint64(ranges[ONE, r])):
                for k in range(d):
                    to[used, k] = (points[j, k] - centres[block, k]) * unit
                for k in range(columns):
                    to_weights[used, k] = weights[j, k]
                used += ONE
        ends[block] = used


@compiled
def _log_kernel(kernel: int, r: float) -> float:
    """log k at r bandwidths: falls."""
    if kernel == GAUSSIAN:
        return -0.5 * r * r
    if kernel == LAPLACE:
        return -r
    a = math.sqrt(3.0 if kernel == MATERN32 else 5.0) * r
    return math.log1p(a if kernel == MATERN32 else a + a * a / 3) - a


@compiled
def _distance(kernel: int, log: float) -> float:
    """r or a little more, in bandwidths, where log k = `log` <= 0."""
    if kernel == GAUSSIAN:
        return math.sqrt(-2 * log)
    if kernel == LAPLACE:
        return -log
    # Newton's iteration in a, from above: a - log(1 + a ..) is convex and rises, so that it stays above
    a = 10 - 2 * log
    for _ in range(20):
        q = a if kernel == MATERN32 else a + a * a / 3
        slope = 1 - (1 if kernel == MATERN32 else 1 + 2 * a / 3) / (1 + q)
        a -= (a - math.log1p(q) + log) / slope
    return a / math.sqrt(3.0 if kernel == MATERN32 else 5.0)


@compiled
def log_reach(tree: Tree, log_mass: Array, kernel: int, bandwidth: float, log_tolerance: float, blocks: Boxes, reach: Array, stack: Array) -> None:
    """Into reach (blocks,): beyond it lies at most a share exp(log_tolerance) of sum_i w_i k(z, x_i), for every query z of the block.

    log_mass (nodes,): of the weights, -inf where a node has none; NaN reach where all are zero. The sum is at least the best node's mass times k
    at its farthest corner: branch and bound, nearer children first. All sources beyond r come to at most the whole mass times k(r).
    """
    boxes = tree.boxes
    for block in range(np.uint64(len(reach))):
        best = -np.inf
        stack[0] = 0
        waiting = ONE
        while waiting:
            waiting -= ONE
            i = stack[waiting]
            if not log_mass[i] + _log_kernel(kernel, math.sqrt(_gap2(boxes, i, blocks, block)) / bandwidth) > best:
                continue
            best = max(best, log_mass[i] + _log_kernel(kernel, math.sqrt(_span2(boxes, i, blocks, block)) / bandwidth))
            if tree.spans[i, TWO]:
                left, right = i + ONE, np.uint64(tree.spans[i, TWO])
                if _span2(boxes, left, blocks, block) < _span2(boxes, right, blocks, block):
                    left, right = right, left
                stack[waiting], stack[waiting + ONE] = left, right
                waiting += TWO
        log = best - log_mass[0] + log_tolerance
        # a little lower: far away, log k has an absolute error of its own
        reach[block] = bandwidth * _distance(kernel, min(0.0, log - 1e-9 * abs(log))) if best > -np.inf else np.nan


class Limits(NamedTuple):
    """For `bounds`. table (n, 3): bounds of |k|, |grad k| and |grad grad k| at all distances of at least sqrt(i / scale), i < n."""

    reach: float
    band: float
    far: float
    table: Array
    scale: float


@compiled
def _bound(
    tree: Tree, tile: int, points: Array, weights: Array, mass: Array, blocks: Boxes, block: int, queries: Boxes, query: int,
    limits: Limits, rounding: float, moved: float, stack: Array,
) -> tuple[float, float]:  # fmt: skip
    """For one box of queries in a block, see `bounds`."""
    boxes, table, scale = tree.boxes, limits.table, limits.scale
    d, n, last = np.uint64(points.shape[1]), len(points), np.float64(len(table) - 1)
    reach2, band2, far2 = limits.reach * limits.reach, limits.band * limits.band, limits.far * limits.far
    value = steep = bend = lost_value = lost_steep = rest = 0.0
    stack[0] = 0
    waiting = ONE
    while waiting:
        waiting -= ONE
        i = stack[waiting]
        s = _gap2(boxes, i, queries, query)
        if s > far2:
            rest += mass[i]
        elif tree.spans[i, TWO]:
            stack[waiting] = tree.spans[i, TWO]
            stack[waiting + ONE] = i + ONE
            waiting += TWO
        elif s > band2 and 4 * _span2(boxes, i, boxes, i) < band2:
            row = np.uint64(min(s * scale, last))
            lost_value += mass[i] * table[row, ZERO]
            lost_steep += mass[i] * table[row, ONE]
        else:
            lost = s > reach2 and _gap2(boxes, i, blocks, block) > reach2
            for j in range(np.uint64(tree.spans[i, ZERO] * tile), np.uint64(min(n, tree.spans[i, ONE] * tile))):
                own = 0.0
                for k in range(d):
                    gap = max(max(points[j, k] - queries.high[query, k], queries.low[query, k] - points[j, k]), 0.0)
                    own += gap * gap
                row = np.uint64(min(own * scale, last))
                if lost:
                    lost_value += weights[j] * table[row, ZERO]
                    lost_steep += weights[j] * table[row, ONE]
                else:
                    value += weights[j] * table[row, ZERO]
                    steep += weights[j] * table[row, ONE]
                    bend += weights[j] * table[row, TWO]
    row = np.uint64(min(far2 * scale, last))
    return (
        lost_value + rest * table[row, ZERO] + rounding * value + moved * steep,
        lost_steep + rest * table[row, ONE] + rounding * steep + moved * bend,
    )


@compiled
def bounds(
    tree: Tree, tile: int, points: Array, weights: Array, mass: Array, queries: Boxes, size: int, blocks: Boxes, limits: Limits,
    rounding: float, shift: Array, stack: Array,
) -> tuple[float, float]:  # fmt: skip
    """The largest over blocks of `size` queries of bounds of the errors of value and gradient, from what lies beyond reach and from rounding.

    A source is taken at its own distance from the block (where the block is wide, from each of its queries), beyond `band` at its tile's if that
    is small, beyond `far` at that. weights (N,) >= 0, mass (nodes,) theirs. A term of the sum is off by `rounding` times itself, and by a shift of
    its point, shift[block] times the extent of what is near.
    """
    value = grad = 0.0
    for b in range(len(shift)):
        extent = math.sqrt(_span2(blocks, b, blocks, b))
        moved = shift[b] * (limits.reach + extent)
        wide = extent > WIDE * limits.reach
        own = queries if wide else blocks
        first, last = (b * size, min(len(queries.low), (b + 1) * size)) if wide else (b, b + 1)
        for q in range(first, last):
            more = _bound(tree, tile, points, weights, mass, blocks, b, own, q, limits, rounding, moved, stack)
            value, grad = max(value, more[0]), max(grad, more[1])
    return value, grad
