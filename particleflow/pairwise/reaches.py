"""Which tiles of sources lie within reach of a block of queries, and what lies beyond: numba, for `culled`. Trees as in `cells`.

A block's box stands for its queries, a tile's or a node's for its sources: their distance is a lower bound of all distances between them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

GAUSSIAN, LAPLACE, MATERN32, MATERN52 = range(4)
WIDE = 2.0  # blocks beyond so many reaches: a bound for each query


@njit(cache=True, nogil=True, inline="always")
def _gap2(low, high, node, block_low, block_high, block):
    """Squared distance of two boxes."""
    s = 0.0
    for k in range(np.uint64(low.shape[1])):
        gap = max(low[node, k] - block_high[block, k], block_low[block, k] - high[node, k], 0.0)
        s += gap * gap
    return s


@njit(cache=True, nogil=True, inline="always")
def _span2(low, high, node, block_low, block_high, block):
    """Largest squared distance of a point of one box from a point of the other."""
    s = 0.0
    for k in range(np.uint64(low.shape[1])):
        span = max(high[node, k] - block_low[block, k], block_high[block, k] - low[node, k])
        s += span * span
    return s


@njit(cache=True, nogil=True, inline="always")
def _side2(low, high, box):
    """Squared diagonal of a box."""
    s = 0.0
    for k in range(np.uint64(low.shape[1])):
        s += (high[box, k] - low[box, k]) ** 2
    return s


@njit(cache=True, nogil=True)
def near(spans, low, high, tile, n, block_low, block_high, reach, whole, begin, end, room, ptr, starts, stops):
    """Ranges of rows that hold all sources nearer than reach[b] to block b: starts, stops [ptr[b - begin]:ptr[b - begin + 1]], rising.

    Blocks begin, begin + 1 .. up to end, or until they have more than `room` sources in all, or starts and stops are full; returns the first
    block left out. A node with whole[node] is taken whole. Ranges that touch are joined. One block needs at most half as many ranges as there
    are tiles, and one more. A reach that is NaN takes nothing.
    """
    one, two = np.uint64(1), np.uint64(2)  # unsigned indices spare numba's test for negative ones: half of the time here
    stack = np.empty(128, np.uint64)
    used = np.uint64(0)
    ptr[0] = 0
    for block in range(np.uint64(begin), np.uint64(end)):
        reach2 = reach[block] * reach[block]
        stack[0] = 0
        waiting = one
        joined = -1
        first = used
        while waiting:
            waiting -= one
            i = stack[waiting]
            if not _gap2(low, high, i, block_low, block_high, block) <= reach2:
                continue
            a, b = spans[i, 0], spans[i, 1]
            if not whole[i]:
                stack[waiting] = spans[i, 2]
                stack[waiting + one] = i + one
                waiting += two
                continue
            if joined != a:
                if used == np.uint64(len(starts)):
                    return np.int64(block)
                starts[used] = a * tile
                used += one
            stops[used - one] = min(n, b * tile)
            joined = b
        for r in range(first, used):
            room -= stops[r] - starts[r]
        if room < 0 and block > np.uint64(begin):
            return np.int64(block)
        ptr[block - np.uint64(begin) + one] = used
    return end


@njit(cache=True, nogil=True)
def gather(points, weights, tile, ptr, starts, stops, centres, unit, to, to_weights, ends):
    """The sources of each block's ranges, one block after the other, about its centre: to = (points - centre) unit; block b ends at ends[b]."""
    d, flat, out = points.shape[1], points.ravel(), to.ravel()
    columns = weights.shape[1]
    centre = np.empty(tile * d, to.dtype)
    used = 0
    for block in range(len(centres)):
        for i in range(tile * d):
            centre[i] = centres[block, i % d]
        for r in range(ptr[block], ptr[block + 1]):
            # tile by tile: a loop without a remainder in it, over flat arrays, becomes vector code
            for first in range(starts[r], stops[r], tile):
                count = min(stops[r] - first, tile)
                for i in range(count * d):
                    out[used * d + i] = (flat[first * d + i] - centre[i]) * unit
                for i in range(count):
                    for k in range(columns):
                        to_weights[used + i, k] = weights[first + i, k]
                used += count
        ends[block] = used


@njit(cache=True, nogil=True)
def _log_kernel(kernel, r):
    """log k at r bandwidths: falls."""
    if kernel == GAUSSIAN:
        return -0.5 * r * r
    if kernel == LAPLACE:
        return -r
    a = math.sqrt(3.0 if kernel == MATERN32 else 5.0) * r
    return math.log1p(a if kernel == MATERN32 else a + a * a / 3) - a


@njit(cache=True, nogil=True)
def _distance(kernel, log):
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


@njit(cache=True, nogil=True)
def log_reach(spans, low, high, log_mass, kernel, bandwidth, log_tolerance, block_low, block_high, reach):
    """Into reach (blocks,): beyond it lies at most a share exp(log_tolerance) of sum_i w_i k(z, x_i), for every query z of the block.

    log_mass (nodes,): of the weights, -inf where a node has none; NaN reach where all are zero. The sum is at least the best node's mass times k
    at its farthest corner: branch and bound, nearer children first. All sources beyond r come to at most the whole mass times k(r).
    """
    one, two = np.uint64(1), np.uint64(2)
    stack = np.empty(128, np.uint64)
    for block in range(np.uint64(len(block_low))):
        best = -np.inf
        stack[0] = 0
        waiting = one
        while waiting:
            waiting -= one
            i = stack[waiting]
            gap = math.sqrt(_gap2(low, high, i, block_low, block_high, block)) / bandwidth
            if not log_mass[i] + _log_kernel(kernel, gap) > best:
                continue
            corner = math.sqrt(_span2(low, high, i, block_low, block_high, block)) / bandwidth
            best = max(best, log_mass[i] + _log_kernel(kernel, corner))
            if spans[i, 2]:
                left, right = i + one, np.uint64(spans[i, 2])
                if _span2(low, high, left, block_low, block_high, block) < _span2(low, high, right, block_low, block_high, block):
                    left, right = right, left
                stack[waiting], stack[waiting + one] = left, right
                waiting += two
        log = best - log_mass[0] + log_tolerance
        # a little lower: far away, log k has an absolute error of its own
        reach[block] = bandwidth * _distance(kernel, min(0.0, log - 1e-9 * abs(log))) if best > -np.inf else np.nan


@njit(cache=True, nogil=True)
def _bound(spans, low, high, tile, points, weights, mass, block, box_low, box_high, box, reach, band, far, table, scale, rounding, moved):
    """For one box of queries of a block, see `bounds`; block: (low, high, number)."""
    one, two, zero = np.uint64(1), np.uint64(2), np.uint64(0)
    d, n, last = np.uint64(points.shape[1]), len(points), np.float64(len(table) - 1)
    reach2, band2, far2 = reach * reach, band * band, far * far
    value = steep = bend = lost_value = lost_steep = rest = 0.0
    stack = np.empty(128, np.uint64)
    stack[0] = 0
    waiting = one
    while waiting:
        waiting -= one
        i = stack[waiting]
        s = _gap2(low, high, i, box_low, box_high, box)
        if s > far2:
            rest += mass[i]
        elif spans[i, 2]:
            stack[waiting] = spans[i, 2]
            stack[waiting + one] = i + one
            waiting += two
        elif s > band2 and 4 * _side2(low, high, i) < band2:
            row = np.uint64(min(s * scale, last))
            lost_value += mass[i] * table[row, zero]
            lost_steep += mass[i] * table[row, one]
        else:
            lost = s > reach2 and _gap2(low, high, i, block[0], block[1], block[2]) > reach2
            for j in range(np.uint64(spans[i, 0] * tile), np.uint64(min(n, spans[i, 1] * tile))):
                own = 0.0
                for k in range(d):
                    gap = max(points[j, k] - box_high[box, k], box_low[box, k] - points[j, k], 0.0)
                    own += gap * gap
                row = np.uint64(min(own * scale, last))
                if lost:
                    lost_value += weights[j] * table[row, zero]
                    lost_steep += weights[j] * table[row, one]
                else:
                    value += weights[j] * table[row, zero]
                    steep += weights[j] * table[row, one]
                    bend += weights[j] * table[row, two]
    row = np.uint64(min(far2 * scale, last))
    return (
        lost_value + rest * table[row, zero] + rounding * value + moved * steep,
        lost_steep + rest * table[row, one] + rounding * steep + moved * bend,
    )


@njit(cache=True, nogil=True)
def bounds(spans, low, high, tile, points, weights, mass, queries, size, block_low, block_high, reach, band, far, table, scale, rounding, shift):
    """The largest over blocks of `size` queries of bounds of the errors of value and gradient, from what lies beyond reach and from rounding.

    table (n, 3): bounds of |k|, |grad k| and |grad grad k| at all distances of at least sqrt(i / scale), i < n. A source is taken at its own
    distance from the block (where the block is wide, from each of its queries), beyond `band` at its tile's if that is small, beyond `far` at
    that. weights (N,) >= 0, mass (nodes,) theirs. A term of the sum is off by `rounding` times itself, and by a shift of its point,
    shift[block] times the extent of what is near.
    """
    value = grad = 0.0
    for b in range(len(block_low)):
        extent = math.sqrt(_side2(block_low, block_high, b))
        moved = shift[b] * (reach + extent)
        block = (block_low, block_high, b)
        if extent <= WIDE * reach:
            more = _bound(
                spans, low, high, tile, points, weights, mass, block, block_low, block_high, b, reach, band, far, table, scale, rounding, moved
            )
            value, grad = max(value, more[0]), max(grad, more[1])
        else:
            for q in range(b * size, min(len(queries), (b + 1) * size)):
                more = _bound(
                    spans, low, high, tile, points, weights, mass, block, queries, queries, q, reach, band, far, table, scale, rounding, moved
                )
                value, grad = max(value, more[0]), max(grad, more[1])
    return value, grad
