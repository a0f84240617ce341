"""Sort points in space into tiles, and gather the sources near to blocks of queries.

The tiles have equal counts and tight boxes, with a tree over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from particleflow.memo import cached_property
from particleflow.pairwise.neighbours import box_tree, search
from particleflow.pairwise.neighbours.box_tree import TILE, Boxes, Tree

# Sources gathered at a time: they stay in the second-level cache.
ROOM = 2**16
# Units of length: a block whose box extends further loses digits about the box's middle.
STRETCHED = 1e6
# A node whose diagonal is below this share of the reach is not taken apart.
WHOLE = 0.125


@dataclass(frozen=True, eq=False)
class Tiled:
    """Points (n, d) in float64, sorted so that rows j TILE .. (j + 1) TILE lie close together.

    order (n,) holds each point's row before sorting.
    """

    points: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> Tiled:
        """Sort a copy of finite points (n, d) at a cost of O(n log n)."""
        points, order = (
            np.array(points, np.float64, order="C"),
            np.arange(len(points), dtype=np.int32),
        )
        n, d = points.shape
        scratch = np.empty_like(points), np.empty_like(order), np.empty(n, np.uint16)
        box_tree.cut(points, order, *scratch, np.empty((2, d)))
        return cls(points, order)

    @property
    def tiles(self) -> int:
        return -(-len(self.points) // TILE)

    @cached_property
    def tree(self) -> Tree:
        tree = box_tree.Tree(
            np.empty((2 * self.tiles - 1, 3), np.int64), self._corners(2 * self.tiles - 1)
        )
        box_tree.grow(self._boxes, tree)
        return tree

    def boxes(self, block: int) -> Boxes:
        """The boxes around blocks of `block` points, a multiple of TILE."""
        firsts = np.arange(0, self.tiles, block // TILE)
        return box_tree.Boxes(
            np.minimum.reduceat(self._boxes.low, firsts),
            np.maximum.reduceat(self._boxes.high, firsts),
        )

    def masses(self, weights: np.ndarray) -> np.ndarray:
        """The sum of |w| over each node, (nodes,), for weights (n,) in the order of the tiles."""
        total = np.empty(len(self.tree.spans))
        box_tree.masses(self.tree.spans, weights, total)
        return total

    @cached_property
    def _boxes(self) -> Boxes:
        boxes = self._corners(self.tiles)
        box_tree.tile_boxes(self.points, boxes)
        return boxes

    def _corners(self, count: int) -> Boxes:
        return box_tree.Boxes(*np.empty((2, count, self.points.shape[1])))


@dataclass(frozen=True)
class Batch:
    """Blocks of queries (rows `first` to `last`) and, block after block, the sources near to them.

    Queries z (last - first, d) and sources x (n, d), with weights w (n, K), are relative to each
    block's centre. The sources of block b end at ends[b].
    """

    first: int
    last: int
    z: np.ndarray
    x: np.ndarray
    w: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Blocks of `block` queries among sources, each block with its own reach (blocks,).

    A block whose reach is NaN gets no sources.
    """

    sources: Tiled
    queries: Tiled
    block: int
    reach: np.ndarray

    def __len__(self) -> int:
        return len(self.reach)

    def tasks(
        self, job: Callable[[Batch], None], w: np.ndarray, unit: float, dtype: np.dtype, size: int
    ) -> list[Callable[[], None]]:
        """Tasks that do `job` for all batches with sources, each of up to `size` blocks."""

        def task(first: int) -> None:
            for batch in self.batches(w, unit, dtype, first, min(first + size, len(self))):
                if len(batch.x):
                    job(batch)

        return [partial(task, first) for first in range(0, len(self), size)]

    def batches(
        self, w: np.ndarray, unit: float, dtype: np.dtype, first: int, last: int
    ) -> Iterator[Batch]:
        """Blocks `first` to `last`, in batches of about ROOM sources.

        A block gets all sources nearer than its reach. Lengths are multiplied by `unit`. Weights w
        (N, K) are in the order of the sources' tiles. Rounding of coordinates to `dtype` is
        relative to the extent of the near points, whatever the cloud's extent and place.
        """
        tree, points = self.sources.tree, self.sources.points
        ptr, ends = np.empty(last - first + 1, np.int64), np.empty(last - first, np.int64)
        ranges = np.empty((2, max(64 * (last - first), self.sources.tiles // 2 + 1)), np.int64)
        while first < last:
            end = search.near(
                tree,
                len(points),
                self._boxes,
                self.reach,
                self._whole,
                first,
                last,
                ROOM,
                ptr,
                ranges,
            )
            used = int(ptr[end - first])
            count = int((ranges[1, :used] - ranges[0, :used]).sum())
            centres = self._centres(first, end, unit)
            x, weights = np.empty((count, points.shape[1])), np.empty((count, w.shape[1]))
            search.gather(points, w, ptr, ranges, centres, unit, x, weights, ends)
            z = self.queries.points[first * self.block : end * self.block]
            z = (z - centres.repeat(self.block, axis=0)[: len(z)]) * unit
            row = first * self.block
            yield Batch(
                row,
                row + len(z),
                z.astype(dtype),
                x.astype(dtype),
                weights.astype(dtype),
                ends[: end - first].copy(),
            )
            first = end

    def _centres(self, first: int, end: int, unit: float) -> np.ndarray:
        """The middle of each block's box, (blocks, d).

        In a stretched box the coordinates next to zero stand in, since they cost no digits.
        """
        low, high = self._boxes.low[first:end], self._boxes.high[first:end]
        centres = 0.5 * (low + high)
        far = np.flatnonzero((high - low).max(1) * unit > STRETCHED)
        if len(far):
            numbers = ((first + far) * self.block)[:, None] + np.arange(self.block)
            rows = self.queries.points[numbers.clip(max=len(self.queries.points) - 1)]
            centres[far] = np.take_along_axis(rows, np.abs(rows).argmin(1)[:, None], 1)[:, 0]
        return centres

    @cached_property
    def _boxes(self) -> Boxes:
        return self.queries.boxes(self.block)

    @cached_property
    def _whole(self) -> np.ndarray:
        spans, (low, high) = self.sources.tree
        return (
            np.linalg.norm(high - low, axis=1) < WHOLE * np.nanmin(self.reach, initial=np.inf)
        ) | (spans[:, 2] == 0)
