"""Cut points into tiles of equal count, and grow a tree of tight boxes over the tiles.

The loops are machine code, for `tiled`. The tree is a k-d tree cut into slices. A node's points are
split at equal counts along the longest side of their tight box, in up to `SLICES` parts at once. A
counting sort comes first, then a selection inside the few bins that hold a cut. The splits end when
a part is one tile. Any density and any d are allowed: a far outlier costs one level.

Nodes are numbered in preorder. Node i of the tiles [a, b) has the children i + 1 (tiles [a, m)) and
i + 2 (m - a) (tiles [m, b)). The cut m lies in the middle, at a multiple of `GROUP` if b - a >
GROUP: each group of `GROUP` tiles in a row lies close together too.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from particleflow.pairwise.codegen.arrays import Array, memory
from particleflow.pairwise.codegen.entry import Elements
from particleflow.pairwise.codegen.staging import staged

Floats = Annotated[np.ndarray, Elements("float64", 1)]
Points = Annotated[np.ndarray, Elements("float64", 2)]
Integers = Annotated[np.ndarray, Elements("int64", 1)]
IntegerRows = Annotated[np.ndarray, Elements("int64", 2)]
Order = Annotated[np.ndarray, Elements("int32", 1)]
Bins = Annotated[np.ndarray, Elements("uint16", 1)]
Flags = Annotated[np.ndarray, Elements("bool", 1)]

# Points of a tile.
TILE = 16
# Parts of one split, a power of two: the cuts are midpoints of midpoints, as the tree's nodes are.
SLICES = 8
# Bins of the counting sort, at most.
BINS = 1024
# Tiles in a row that lie close together, a power of two.
GROUP = 4
# Room for waiting nodes: SLICES - 1 wait at each of about log2(tiles) levels.
STACK = 512
# Bins per length, at most: a denormal length gives more.
LARGEST = 1e300


@staged
def _middle(a: int, b: int) -> int:
    m = (a + b) // 2
    return m if b - a <= GROUP else (m + GROUP - 1) // GROUP * GROUP


@staged
def _select(points: Points, order: Order, axis: int, lowest: int, highest: int, k: int) -> None:
    """Rearrange rows lowest..highest (inclusive) around row k by quickselect.

    No row before k is then larger along `axis` than a row from k on.
    """
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
                for m in range(points.shape[1]):
                    points[i, m], points[j, m] = points[j, m], points[i, m]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if k <= j:
            highest = j
        elif k >= i:
            lowest = i
        else:
            return


@staged
def _enclose(points: Points, first: int, last: int, lowest: Floats, highest: Floats) -> None:
    """Write the corners (d,) of the tight box around rows first..last (exclusive)."""
    for k in range(points.shape[1]):
        low = high = points[first, k]
        for i in range(first + 1, last):
            low, high = min(low, points[i, k]), max(high, points[i, k])
        lowest[k], highest[k] = low, high


@staged
def _sides(points: Points, lowest: int, highest: int, base: Floats, length: Floats) -> int:
    """Write the tight box around rows lowest..highest (exclusive), return its longest side's axis.

    The lower corner (d,) goes into base, the sides (d,) go into length.
    """
    _enclose(points, lowest, highest, base, length)
    axis = 0
    for k in range(len(base)):
        length[k] -= base[k]
        if length[k] > length[axis]:
            axis = k
    return axis


@staged
def _slices(length: Floats, axis: int, tiles: int) -> int:
    """The number of slices that makes the tiles cubes, if the points are even.

    It is a power of two up to SLICES, and at least 2 where there are 2 tiles.
    """
    parts = 1
    while parts < SLICES and 2 * parts <= tiles:
        parts *= 2
        cubes = 1.0
        for k in range(len(length)):
            cubes *= max(1.0, parts * (length[k] / length[axis]))
        if cubes >= tiles:
            break
    return parts


@staged
def _binned(
    points: Points,
    order: Order,
    spare: Points,
    spare_order: Order,
    bins: Bins,
    ends: Array,
    count: int,
    lowest: int,
    highest: int,
    axis: int,
    base: float,
    scale: float,
) -> None:
    """Counting sort of rows lowest..highest (exclusive) into `count` bins along `axis`.

    Bin c ends at row lowest + ends[c].
    """
    for c in range(count):
        ends[c] = 0
    for i in range(lowest, highest):
        # The minimum comes before the cast: the last point lies at `count`.
        here = int(min((points[i, axis] - base) * scale, count - 1.0))
        bins[i] = here
        ends[here] += 1
    total = 0
    for c in range(count):
        start = total
        total += ends[c]
        ends[c] = start
    for i in range(lowest, highest):
        here = bins[i]
        to = lowest + ends[here]
        ends[here] += 1
        for k in range(points.shape[1]):
            spare[to, k] = points[i, k]
        spare_order[to] = order[i]
    for i in range(lowest, highest):
        for k in range(points.shape[1]):
            points[i, k] = spare[i, k]
        order[i] = spare_order[i]


@staged
def cut(
    points: Points, order: Order, spare: Points, spare_order: Order, bins: Bins, box: Points
) -> None:
    """Rearrange the rows of points (N, d), all finite, and of order (N,) in place, into tiles.

    Rows j TILE .. (j + 1) TILE are then a tile. The scratch arrays are spare (N, d),
    spare_order (N,), bins (N,) and box (2, d).
    """
    ends, todo = memory("int64", BINS + SLICES + 1), memory("int64", 2 * STACK).shaped(STACK, 2)
    n, base, length, cuts = len(points), box[0], box[1], ends[BINS:]
    todo[0, 0], todo[0, 1] = 0, (n + TILE - 1) // TILE
    waiting = 1
    while waiting:
        waiting -= 1
        a, b = todo[waiting, 0], todo[waiting, 1]
        lowest, highest = a * TILE, min(n, b * TILE)
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
        if scale > LARGEST:  # The length is denormal.
            scale = 0.0
        _binned(
            points,
            order,
            spare,
            spare_order,
            bins,
            ends,
            count,
            lowest,
            highest,
            axis,
            base[axis],
            scale,
        )
        settled, c = lowest, 0
        for j in range(1, parts):
            here = cuts[j] * TILE
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


class Boxes(NamedTuple):
    """Boxes by their lower and upper corners (n, d)."""

    low: Points
    high: Points


class Tree(NamedTuple):
    """The nodes' boxes, and spans (nodes, 3): tiles [first, last) and right child (0: none)."""

    spans: IntegerRows
    boxes: Boxes


@staged
def tile_boxes(points: Points, boxes: Boxes) -> None:
    """Write the tight boxes around the tiles of points (N, d) into boxes."""
    for t in range(len(boxes.low)):
        last = min(len(points), (t + 1) * TILE)
        _enclose(points, t * TILE, last, boxes.low[t], boxes.high[t])


@staged
def grow(tiles: Boxes, tree: Tree) -> None:
    """Write the tree over the tiles, of 2 tiles - 1 nodes, into tree."""
    spans, low, high = tree.spans, tree.boxes.low, tree.boxes.high
    spans[0, 0], spans[0, 1] = 0, len(tiles.low)
    for i in range(len(spans)):
        a, b = spans[i, 0], spans[i, 1]
        spans[i, 2] = 0
        if b - a > 1:
            m = _middle(a, b)
            right = i + 2 * (m - a)
            spans[i, 2] = right
            spans[i + 1, 0], spans[i + 1, 1] = a, m
            spans[right, 0], spans[right, 1] = m, b
    for i in range(len(spans) - 1, -1, -1):
        a, right = spans[i, 0], spans[i, 2]
        for k in range(low.shape[1]):
            if right == 0:
                low[i, k], high[i, k] = tiles.low[a, k], tiles.high[a, k]
            else:
                low[i, k], high[i, k] = (
                    min(low[i + 1, k], low[right, k]),
                    max(high[i + 1, k], high[right, k]),
                )


@staged
def masses(spans: IntegerRows, weights: Floats, total: Floats) -> None:
    """Write sum |w| over each node's points into total (nodes,).

    The weights (N,) are in the order of the tiles.
    """
    for i in range(len(spans) - 1, -1, -1):
        a, b, right = spans[i, 0], spans[i, 1], spans[i, 2]
        total[i] = 0.0
        if right:
            total[i] = total[i + 1] + total[right]
        else:
            for j in range(a * TILE, min(len(weights), b * TILE)):
                total[i] += abs(weights[j])
