"""Points cut into tiles of equal count, and a tree of tight boxes over the tiles: numba, for `spatial`.

A k-d tree cut into slices: a node's points are split at equal counts along the longest side of their tight box, in up to `SLICES` parts at once
(counting sort, then selection inside the few bins that hold a cut), until a part is one tile. Any density, any d: a far outlier costs one level.
Nodes are numbered in preorder: node i of the tiles [a, b) has the children i + 1 (tiles [a, m)) and i + 2 (m - a) (tiles [m, b)), m in the middle,
at a multiple of `GROUP` if b - a > GROUP: so many tiles in a row lie close together too.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

SLICES = 8  # a power of two: the cuts are midpoints of midpoints, as the tree's nodes are
BINS = 1024
GROUP = 4  # a power of two


@njit(cache=True, nogil=True, inline="always")
def _middle(a, b):
    m = (a + b) // 2
    return m if b - a <= GROUP else (m + GROUP - 1) // GROUP * GROUP


@njit(cache=True, nogil=True)
def _select(points, order, axis, lowest, highest, k):
    """Rearrange rows lowest..highest (inclusive): none before row k is larger along `axis` than any from k on. Quickselect."""
    while highest > lowest:
        a, b, c = points[lowest, axis], points[(lowest + highest) >> 1, axis], points[highest, axis]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = lowest, highest
        while i <= j:
            while points[i, axis] < pivot:
                i += 1
            while points[j, axis] > pivot:
                j -= 1
            if i <= j:
                for axis_ in range(points.shape[1]):
                    points[i, axis_], points[j, axis_] = points[j, axis_], points[i, axis_]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if k <= j:
            highest = j
        elif k >= i:
            lowest = i
        else:
            return


@njit(cache=True, nogil=True)
def _sides(points, lowest, highest, base, length):
    """Lower corner (d,) and sides (d,) of the box around rows lowest..highest (exclusive), into base and length; returns the longest side's axis."""
    axis = 0
    for k in range(points.shape[1]):
        low = high = points[lowest, k]
        for i in range(lowest + 1, highest):
            low, high = min(low, points[i, k]), max(high, points[i, k])
        base[k], length[k] = low, np.float64(high) - np.float64(low)
        if length[k] > length[axis]:
            axis = k
    return axis


@njit(cache=True, nogil=True)
def _slices(length, axis, tiles):
    """How many slices make the tiles cubes, if the points are even: a power of two up to SLICES, at least 2 where there are 2 tiles."""
    parts = 1
    while parts < SLICES and 2 * parts <= tiles:
        parts *= 2
        cubes = 1.0
        for k in range(len(length)):
            cubes *= max(1.0, parts * (length[k] / length[axis]))
        if cubes >= tiles:
            break
    return parts


@njit(cache=True, nogil=True)
def _binned(points, order, spare, spare_order, bins, ends, count, lowest, highest, axis, base, scale):
    """Counting sort of rows lowest..highest (exclusive) into `count` bins along `axis`; ends[c]: where bin c ends, from lowest on."""
    ends[:count] = 0
    for i in range(lowest, highest):
        # unsigned indices spare numba's test for negative ones; min before the cast: the last point lies at `count`
        c = np.uint64(min((np.float64(points[i, axis]) - base) * scale, count - 1.0))
        bins[i] = c
        ends[c] += 1
    total = 0
    for c in range(count):
        total, ends[c] = total + ends[c], total
    for i in range(lowest, highest):
        c = np.uint64(bins[i])
        to = np.uint64(lowest + ends[c])
        ends[c] += 1
        for k in range(points.shape[1]):
            spare[to, k] = points[i, k]
        spare_order[to] = order[i]
    points[lowest:highest] = spare[lowest:highest]
    order[lowest:highest] = spare_order[lowest:highest]


@njit(cache=True, nogil=True)
def cut(points, order, tile):
    """Rearrange the rows of points (N, d), all finite, and order (N,), in place: rows j tile .. (j + 1) tile are a tile."""
    n = len(points)
    spare, spare_order, bins = np.empty_like(points), np.empty_like(order), np.empty(n, np.uint16)
    ends, cuts, todo = np.empty(BINS, np.int64), np.empty(SLICES + 1, np.int64), np.empty((512, 2), np.int64)
    base, length = np.empty(points.shape[1]), np.empty(points.shape[1])
    todo[0, 0], todo[0, 1] = 0, (n + tile - 1) // tile
    waiting = 1
    while waiting:
        waiting -= 1
        a, b = todo[waiting, 0], todo[waiting, 1]
        lowest, highest = a * tile, min(n, b * tile)
        axis = _sides(points, lowest, highest, base, length)
        if b - a == 1 or not length[axis] > 0:
            continue
        parts, made = _slices(length, axis, b - a), 1
        cuts[0], cuts[1] = a, b
        while made < parts:
            for j in range(made, 0, -1):
                cuts[2 * j] = cuts[j]
            for j in range(made):
                cuts[2 * j + 1] = _middle(cuts[2 * j], cuts[2 * j + 2])
            made *= 2
        count = min(BINS, max(2 * parts, (highest - lowest) // 4))
        scale = count / length[axis]
        if not math.isfinite(scale):  # a denormal length
            scale = 0.0
        _binned(points, order, spare, spare_order, bins, ends, count, lowest, highest, axis, base[axis], scale)
        settled, c = lowest, 0
        for j in range(1, parts):
            here = cuts[j] * tile
            while lowest + ends[c] <= here:
                c += 1
            start = max(settled, lowest + (ends[c - 1] if c else 0))
            if start < here:
                _select(points, order, axis, start, lowest + ends[c] - 1, here)
            settled = here
        for j in range(parts):
            if cuts[j + 1] - cuts[j] > 1:
                todo[waiting, 0], todo[waiting, 1] = cuts[j], cuts[j + 1]
                waiting += 1


@njit(cache=True, nogil=True)
def tile_boxes(points, tile):
    """Lower and upper corners (tiles, d) of the tight boxes around the tiles of points (N, d)."""
    n, d = points.shape
    tiles = (n + tile - 1) // tile
    low, high = np.empty((tiles, d)), np.empty((tiles, d))
    for t in range(tiles):
        for k in range(d):
            least = most = points[t * tile, k]
            for i in range(t * tile + 1, min(n, (t + 1) * tile)):
                least, most = min(least, points[i, k]), max(most, points[i, k])
            low[t, k], high[t, k] = least, most
    return low, high


@njit(cache=True, nogil=True)
def tree(low, high):
    """Tiles [first, last) and right child (0: none) of the nodes over tiles with corners low, high (tiles, d), and the nodes' corners (nodes, d)."""
    tiles, d = low.shape
    nodes = 2 * tiles - 1
    spans, node_low, node_high = np.zeros((nodes, 3), np.int64), np.empty((nodes, d)), np.empty((nodes, d))
    spans[0, 1] = tiles
    for i in range(nodes):
        a, b = spans[i, 0], spans[i, 1]
        if b - a > 1:
            m = _middle(a, b)
            right = i + 2 * (m - a)
            spans[i, 2] = right
            spans[i + 1, 0], spans[i + 1, 1] = a, m
            spans[right, 0], spans[right, 1] = m, b
    for i in range(nodes - 1, -1, -1):
        a, right = spans[i, 0], spans[i, 2]
        for k in range(d):
            if right == 0:
                node_low[i, k], node_high[i, k] = low[a, k], high[a, k]
            else:
                node_low[i, k] = min(node_low[i + 1, k], node_low[right, k])
                node_high[i, k] = max(node_high[i + 1, k], node_high[right, k])
    return spans, node_low, node_high


@njit(cache=True, nogil=True)
def masses(spans, weights, tile):
    """sum |w| (nodes,) over the points of each node; weights (N,) in the order of the tiles."""
    total = np.zeros(len(spans))
    for i in range(len(spans) - 1, -1, -1):
        a, b, right = spans[i, 0], spans[i, 1], spans[i, 2]
        if right:
            total[i] = total[i + 1] + total[right]
        else:
            for j in range(a * tile, min(len(weights), b * tile)):
                total[i] += abs(weights[j])
    return total
