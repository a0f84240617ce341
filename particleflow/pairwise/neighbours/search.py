"""Find the tiles of sources within reach of a block of queries, and bound the sum beyond.

The loops are machine code, for `backend`. Trees are as in `box_tree`. A block's box stands for its
queries, and the box of a tile or node stands for its sources. The distance of two boxes is a lower
bound of the distances between their points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from particleflow.pairwise.codegen.arrays import memory
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.neighbours.box_tree import (
    TILE,
    Boxes,
    Flags,
    Floats,
    IntegerRows,
    Integers,
    Points,
    Tree,
)

# Width of a block, in reaches, beyond which each of its queries gets its own bound.
WIDE = 2.0
# Room for waiting nodes, one at each level of a tree.
STACK = 64


class Shape(NamedTuple):
    """The fall of a kernel: k = (1 + first t + t^2 / over) e^{-t}, t = rate r / bandwidth.

    Rate 0 stands for the Gaussian.
    """

    rate: float
    first: float
    over: float


@staged
def _gap2(a: Boxes, i: int, b: Boxes, j: int) -> float:
    """Squared distance of box i of a from box j of b."""
    s = 0.0
    for k in range(a.low.shape[1]):
        gap = max(max(a.low[i, k] - b.high[j, k], b.low[j, k] - a.high[i, k]), 0.0)
        s += gap * gap
    return s


@staged
def _span2(a: Boxes, i: int, b: Boxes, j: int) -> float:
    """Largest squared distance of a point of box i of a from a point of box j of b."""
    s = 0.0
    for k in range(a.low.shape[1]):
        span = max(a.high[i, k] - b.low[j, k], b.high[j, k] - a.low[i, k])
        s += span * span
    return s


@staged
def near(
    tree: Tree,
    n: int,
    blocks: Boxes,
    reach: Floats,
    whole: Flags,
    begin: int,
    end: int,
    room: int,
    ptr: Integers,
    ranges: IntegerRows,
) -> int:
    """Find the ranges of rows that hold all of the n sources nearer than reach[b] to block b.

    They are ranges[:, ptr[b - begin]:ptr[b - begin + 1]], rising. Blocks are taken from `begin` up
    to `end`, until they have more than `room` sources in all or the ranges are full. The function
    returns the first block left out. A node with whole[node] is taken whole. Ranges that touch are
    joined. One block needs at most tiles / 2 + 1 ranges. A reach of NaN takes no sources.
    """
    boxes, stack = tree.boxes, memory("int64", STACK)
    starts, stops = ranges[0], ranges[1]
    used = 0
    ptr[0] = 0
    for block in range(begin, end):
        reach2 = reach[block] * reach[block]
        stack[0] = 0
        waiting = 1
        joined = -1
        first = used
        while waiting:
            waiting -= 1
            i = stack[waiting]
            if not _gap2(boxes, i, blocks, block) <= reach2:
                continue
            if not whole[i]:
                stack[waiting] = tree.spans[i, 2]
                stack[waiting + 1] = i + 1
                waiting += 2
                continue
            a, b = tree.spans[i, 0], tree.spans[i, 1]
            if joined != a:
                if used == len(starts):
                    return block
                starts[used] = a * TILE
                used += 1
            stops[used - 1] = min(n, b * TILE)
            joined = b
        for r in range(first, used):
            room -= stops[r] - starts[r]
        if room < 0 and block > begin:
            return block
        ptr[block - begin + 1] = used
    return end


@staged
def gather(
    points: Points,
    weights: Points,
    ptr: Integers,
    ranges: IntegerRows,
    centres: Points,
    unit: float,
    to: Points,
    to_weights: Points,
    ends: Integers,
) -> None:
    """Write the sources of each block's ranges, block after block: to = (points - centre) unit.

    Block b ends at ends[b].
    """
    d, columns = points.shape[1], weights.shape[1]
    used = 0
    for block in range(len(centres)):
        for r in range(ptr[block], ptr[block + 1]):
            for j in range(ranges[0, r], ranges[1, r]):
                for k in range(d):
                    to[used, k] = (points[j, k] - centres[block, k]) * unit
                for k in range(columns):
                    to_weights[used, k] = weights[j, k]
                used += 1
        ends[block] = used


@staged
def _log_kernel(shape: Shape, r: float) -> float:
    """log k at r bandwidths, which falls with r."""
    if shape.rate == 0.0:
        return -0.5 * r * r
    t = shape.rate * r
    return math.log1p(shape.first * t + t * t / shape.over) - t


@staged
def _distance(shape: Shape, log: float) -> float:
    """The distance r, or a little more, in bandwidths, where log k = `log` <= 0."""
    if shape.rate == 0.0:
        return math.sqrt(-2 * log)
    if shape.first == 0.0:
        return -log / shape.rate
    # Newton's iteration in t starts above and stays above: t - log(1 + t ..) is convex and rises.
    t = 10 - 2 * log
    for _ in range(20):
        q = shape.first * t + t * t / shape.over
        slope = 1 - (shape.first + 2 * t / shape.over) / (1 + q)
        t -= (t - math.log1p(q) + log) / slope
    return t / shape.rate


@staged
def log_reach(
    tree: Tree,
    log_mass: Floats,
    shape: Shape,
    bandwidth: float,
    log_tolerance: float,
    blocks: Boxes,
    reach: Floats,
) -> None:
    """Write into reach (blocks,) the distance beyond which little of each query's sum lies.

    For every query z of a block, the sources beyond its reach give at most the share
    exp(log_tolerance) of sum_i w_i k(z, x_i). log_mass (nodes,) holds the logarithms of the
    weights' sums, -inf where a sum is zero. The reach is NaN where all weights are zero.

    The sum is at least the best node's mass times k at its farthest corner. Branch and bound finds
    that node, nearer children first. All sources beyond r give at most the whole mass times k(r).
    """
    boxes, stack = tree.boxes, memory("int64", STACK)
    for block in range(len(reach)):
        best = -np.inf
        stack[0] = 0
        waiting = 1
        while waiting:
            waiting -= 1
            i = stack[waiting]
            if (
                not log_mass[i]
                + _log_kernel(shape, math.sqrt(_gap2(boxes, i, blocks, block)) / bandwidth)
                > best
            ):
                continue
            best = max(
                best,
                log_mass[i]
                + _log_kernel(shape, math.sqrt(_span2(boxes, i, blocks, block)) / bandwidth),
            )
            if tree.spans[i, 2]:
                left, right = i + 1, tree.spans[i, 2]
                if _span2(boxes, left, blocks, block) < _span2(boxes, right, blocks, block):
                    left, right = right, left
                stack[waiting], stack[waiting + 1] = left, right
                waiting += 2
        log = best - log_mass[0] + log_tolerance
        # The logarithm is lowered a little: far away, log k has an absolute error of its own.
        reach[block] = (
            bandwidth * _distance(shape, min(0.0, log - 1e-9 * abs(log)))
            if best > -np.inf
            else np.nan
        )


class Limits(NamedTuple):
    """Distances and bounds of a kernel, for `bounds`.

    Row i < n of table (n, 3) bounds |k|, |grad k| and |grad grad k| at all distances of at least
    sqrt(i / scale).
    """

    reach: float
    band: float
    far: float
    table: Points
    scale: float


@staged
def _bound(
    tree: Tree,
    points: Points,
    weights: Floats,
    mass: Floats,
    blocks: Boxes,
    block: int,
    queries: Boxes,
    query: int,
    limits: Limits,
    rounding: float,
    moved: float,
) -> tuple[float, float]:
    """The bounds of `bounds` for one box of queries in a block."""
    boxes, table, scale = tree.boxes, limits.table, limits.scale
    stack = memory("int64", STACK)
    single, n, last = Boxes(points, points), len(points), len(table) - 1.0
    reach2, band2, far2 = (
        limits.reach * limits.reach,
        limits.band * limits.band,
        limits.far * limits.far,
    )
    value = steep = bend = lost_value = lost_steep = rest = 0.0
    stack[0] = 0
    waiting = 1
    while waiting:
        waiting -= 1
        i = stack[waiting]
        s = _gap2(boxes, i, queries, query)
        if s > far2:
            rest += mass[i]
        elif tree.spans[i, 2]:
            stack[waiting] = tree.spans[i, 2]
            stack[waiting + 1] = i + 1
            waiting += 2
        elif s > band2 and 4 * _span2(boxes, i, boxes, i) < band2:
            row = int(min(s * scale, last))
            lost_value += mass[i] * table[row, 0]
            lost_steep += mass[i] * table[row, 1]
        else:
            lost = s > reach2 and _gap2(boxes, i, blocks, block) > reach2
            for j in range(tree.spans[i, 0] * TILE, min(n, tree.spans[i, 1] * TILE)):
                row = int(min(_gap2(single, j, queries, query) * scale, last))
                if lost:
                    lost_value += weights[j] * table[row, 0]
                    lost_steep += weights[j] * table[row, 1]
                else:
                    value += weights[j] * table[row, 0]
                    steep += weights[j] * table[row, 1]
                    bend += weights[j] * table[row, 2]
    row = int(min(far2 * scale, last))
    return (
        lost_value + rest * table[row, 0] + rounding * value + moved * steep,
        lost_steep + rest * table[row, 1] + rounding * steep + moved * bend,
    )


@staged
def bounds(
    tree: Tree,
    points: Points,
    weights: Floats,
    mass: Floats,
    queries: Boxes,
    size: int,
    blocks: Boxes,
    limits: Limits,
    rounding: float,
    shift: Floats,
) -> tuple[float, float]:
    """The largest error bounds of value and gradient over blocks of `size` queries.

    The errors come from sources beyond reach and from rounding. A source is taken at its own
    distance from the block, or from each query of a wide block. Beyond `band` a small tile is taken
    at the tile's distance. Beyond `far` a source is taken at `far`. The weights (N,) are >= 0, and
    mass (nodes,) holds their sums. Rounding changes a term of the sum by `rounding` times itself.
    It also shifts the term's point by shift[block] times the extent of the near points.
    """
    value = grad = 0.0
    for b in range(len(shift)):
        extent = math.sqrt(_span2(blocks, b, blocks, b))
        moved = shift[b] * (limits.reach + extent)
        wide = extent > WIDE * limits.reach
        own = queries if wide else blocks
        first, last = (b * size, min(len(queries.low), (b + 1) * size)) if wide else (b, b + 1)
        for q in range(first, last):
            more = _bound(tree, points, weights, mass, blocks, b, own, q, limits, rounding, moved)
            value, grad = max(value, more[0]), max(grad, more[1])
    return value, grad
