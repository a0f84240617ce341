"""Sums over neighbours closer than a radius, in numba: sources in cells of half the radius, found by binary search among sorted cell numbers.

So there is no grid in memory, whatever the extent: a far outlier costs nothing. Used where a kernel has a kink (split.py) and where its bandwidth is
far below the extent.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numba import njit

from particleflow.pairwise.field import What
from particleflow.pairwise.split import Near

# Cells along one coordinate, at most: three numbers make one of 63 bits.
MOST_CELLS = 2**20
AXIS = np.int64(2**21)
# Queries of one task.
BLOCK = 4096


@njit(cache=True, nogil=True)
def _first(keys, key):
    """The number of sorted `keys` below `key`."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_block(z, x, w, keys, corner, size, steps, table, radius, coincident, d, with_value, with_grad, with_laplacian, out):
    """out (n, components) for queries z (n, 3): sources x (N, 3) of weights w (N,) in the order of their cells' keys."""
    rows = (2 * steps[0] + 1) * (2 * steps[1] + 1)
    starts, ends = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    last = np.full(3, -1, np.int64)
    cell = np.zeros(3, np.int64)
    scale = len(table) / radius
    top = len(table) - 1
    for q in range(len(z)):
        moved = False
        for axis in range(3):
            cell[axis] = np.int64(math.floor((z[q, axis] - corner[axis]) / size))
            moved = moved or cell[axis] != last[axis]
        if moved:
            row = 0
            for i in range(cell[0] - steps[0], cell[0] + steps[0] + 1):
                for j in range(cell[1] - steps[1], cell[1] + steps[1] + 1):
                    starts[row] = ends[row] = 0
                    if 0 <= i < AXIS and 0 <= j < AXIS:
                        key = (i * AXIS + j) * AXIS
                        starts[row] = _first(keys, key + min(max(cell[2] - steps[2], 0), AXIS - 1))
                        ends[row] = _first(keys, key + min(max(cell[2] + steps[2] + 1, 0), AXIS - 1))
                    row += 1
            last[:] = cell
        z0, z1, z2 = z[q, 0], z[q, 1], z[q, 2]
        value, pull0, pull1, pull2, laplacian = 0.0, 0.0, 0.0, 0.0, 0.0
        for row in range(rows):
            for n in range(starts[row], ends[row]):
                d0, d1, d2 = z0 - x[n, 0], z1 - x[n, 1], z2 - x[n, 2]
                s = d0 * d0 + d1 * d1 + d2 * d2
                if s < radius * radius:
                    r = math.sqrt(s)
                    t = r * scale
                    piece = min(int(t), top)
                    u = t - piece
                    if with_value:
                        c = table[piece, 0]
                        value += w[n] * (((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5])
                    if with_grad or with_laplacian:
                        c = table[piece, 1]
                        slope = ((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5]
                        if s > 0.0:
                            force = w[n] * slope / r
                            pull0 += force * d0
                            pull1 += force * d1
                            pull2 += force * d2
                            if with_laplacian:
                                c = table[piece, 2]
                                bend = ((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5]
                                laplacian += w[n] * bend + (d - 1) * force
                        else:
                            laplacian += w[n] * d * coincident
        column = 0
        if with_value:
            out[q, 0] = value
            column = 1
        if with_grad:
            if d == 3:
                out[q, column] = pull0
                column += 1
            if d >= 2:
                out[q, column] = pull1
                column += 1
            out[q, column] = pull2
        if with_laplacian:
            out[q, 0] = laplacian


@dataclass(frozen=True, eq=False)
class Cells:
    """Sources x (N, d), d <= 3, in cells of half of a radius."""

    d: int
    corner: np.ndarray
    size: float
    steps: np.ndarray
    order: np.ndarray
    keys: np.ndarray
    x: np.ndarray
    radius: float = field(default=0.0)

    def sums(self, near: Near, what: What, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        """sum over |z - x_n| < near.radius of w_n near, or its derivatives: w (N, K), z (Q, d), both float64; (Q, K, components). Finite z only."""
        padded = _padded(z)
        order = np.argsort(self._keys(padded), kind="stable")
        padded = padded[order]
        sums = np.empty((w.shape[1], len(z), what.components(self.d)))
        tasks = [(k, w[self.order, k], a, b) for k in range(w.shape[1]) for a, b in pairwise([*range(0, len(z), BLOCK), len(z)])]
        threads = torch.get_num_threads()
        if threads == 1 or len(tasks) == 1:
            for task in tasks:
                self._block(near, what, padded, sums, *task)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda task: self._block(near, what, padded, sums, *task), tasks))
        out = np.empty((len(z), w.shape[1], sums.shape[2]))
        out[order] = sums.swapaxes(0, 1)
        return out

    def _block(self, near: Near, what: What, z: np.ndarray, sums: np.ndarray, k: int, w: np.ndarray, a: int, b: int) -> None:
        wanted = what in (What.VALUE, What.BOTH), what in (What.GRAD, What.BOTH), what is What.LAPLACIAN
        args = (self.corner, self.size, self.steps, near.table, near.radius, near.coincident, self.d, *wanted, sums[k, a:b])
        _sum_block(z[a:b], self.x, w, self.keys, *args)

    def _keys(self, padded: np.ndarray) -> np.ndarray:
        cell = np.clip(np.floor((padded - self.corner) / self.size), -1, AXIS - 1).astype(np.int64)
        return np.asarray((cell[:, 0] * AXIS + cell[:, 1]) * AXIS + cell[:, 2])


def cells(x: np.ndarray, radius: float) -> Cells:
    """Cost O(N log N)."""
    d, padded = x.shape[1], _padded(x)
    corner = padded.min(0)
    size = max(radius / 2, float((padded.max(0) - corner).max()) / MOST_CELLS)
    steps = np.where(np.arange(3) < 3 - d, 0, math.ceil(radius / size))
    made = Cells(d, corner, size, steps, np.empty(0), np.empty(0), padded)
    keys = made._keys(padded)
    order = np.argsort(keys, kind="stable")
    return Cells(d, corner, size, steps, order, keys[order], np.ascontiguousarray(padded[order]))


def _padded(x: np.ndarray) -> np.ndarray:
    """(n, 3), zeros first: a row of cells runs along the last coordinate."""
    out = np.zeros((len(x), 3))
    out[:, 3 - x.shape[1] :] = x
    return out
