"""Points sorted in space: tiles of equal count with tight boxes, a tree over them, and batches of blocks with the sources near to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

TILE = 16  # points
ROOM = 2**16  # sources gathered at a time, d numbers each: they stay in the second-level cache
WHOLE = 0.125  # a node whose diagonal is below this share of the reach is not taken apart


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes in preorder: their tiles [first, last) and right child `spans` (nodes, 3), and their corners (nodes, d)."""

    spans: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @cached_property
    def diagonals(self) -> np.ndarray:
        return np.sqrt(((self.high - self.low) ** 2).sum(1))

    def masses(self, weights: np.ndarray) -> np.ndarray:
        """sum |w| (nodes,) for weights (N,) in the order of the tiles."""
        from particleflow.pairwise import cells

        return cells.masses(self.spans, weights, TILE)


@dataclass(frozen=True, eq=False)
class Tiled:
    """Points (n, d) sorted so that rows j TILE .. (j + 1) TILE lie close together, and where each came from, `order` (n,)."""

    points: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> Tiled:
        """Of finite points (n, d), which are copied. Cost O(n log n)."""
        from particleflow.pairwise import cells

        points, order = np.array(points, order="C"), np.arange(len(points), dtype=np.int32)
        cells.cut(points, order, TILE)
        return cls(points, order)

    @cached_property
    def _boxes(self) -> tuple[np.ndarray, np.ndarray]:
        from particleflow.pairwise import cells

        return cells.tile_boxes(self.points, TILE)

    @cached_property
    def tree(self) -> Tree:
        from particleflow.pairwise import cells

        return Tree(*cells.tree(*self._boxes))

    def boxes(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Corners (blocks, d), in float64, of the boxes around blocks of so many points, a multiple of TILE."""
        low, high = self._boxes
        firsts = np.arange(0, self.tiles, block // TILE)
        return np.minimum.reduceat(low, firsts), np.maximum.reduceat(high, firsts)

    @property
    def tiles(self) -> int:
        return -(-len(self.points) // TILE)


@dataclass(frozen=True)
class Batch:
    """Blocks of queries (rows `first` to `last`) and, one block after the other, the sources near to them, about each block's centre.

    z (last - first, d), x (n, d) and w (n, K); block b has the sources up to ends[b].
    """

    first: int
    last: int
    z: np.ndarray
    x: np.ndarray
    w: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True, eq=False)
class Blocks:
    """Queries in blocks of `block`, each with a reach (blocks,): NaN leaves a block without sources. Differences are taken in `dtype`."""

    queries: Tiled
    block: int
    reach: np.ndarray
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.reach)

    def near(self, sources: Tiled, w: np.ndarray, unit: float, first: int, last: int) -> Iterator[Batch]:
        """Blocks first to last, in batches of about ROOM sources; all sources nearer than its reach are with a block. Lengths are times `unit`.

        Coordinates are rounded relative to the extent of what is near, not to that of the cloud, nor to where it lies.
        """
        from particleflow.pairwise import reaches

        tree, points = sources.tree, sources.points
        low, high = self._boxes
        whole = (tree.diagonals < WHOLE * np.nanmin(self.reach, initial=np.inf)) | (tree.spans[:, 2] == 0)
        ptr, ends = np.empty(last - first + 1, np.int64), np.empty(last - first, np.int64)
        starts, stops = np.empty((2, max(64 * (last - first), sources.tiles // 2 + 1)), np.int64)
        scale, w = self.dtype.type(unit), w.astype(self.dtype)
        while first < last:
            end = reaches.near(
                tree.spans, tree.low, tree.high, TILE, len(points), low, high, self.reach, whole, first, last, ROOM, ptr, starts, stops
            )
            used = int(ptr[end - first])
            count = int((stops[:used] - starts[:used]).sum())
            centres = (0.5 * (low[first:end] + high[first:end])).astype(self.dtype)
            x, weights = np.empty((count, points.shape[1]), self.dtype), np.empty((count, w.shape[1]), self.dtype)
            reaches.gather(points, w, TILE, ptr[: end - first + 1], starts, stops, centres, scale, x, weights, ends)
            z = self.queries.points[first * self.block : end * self.block]
            z = (z - centres.repeat(self.block, axis=0)[: len(z)]) * scale
            yield Batch(first * self.block, first * self.block + len(z), z, x, weights, ends[: end - first].copy())
            first = end

    @cached_property
    def _boxes(self) -> tuple[np.ndarray, np.ndarray]:
        return self.queries.boxes(self.block)
