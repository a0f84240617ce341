"""Spreads particles on a mesh and interpolates from it, by the compiled code of `loops.py`.

The work is divided among threads. The bits of a result do not depend on their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from particleflow.pairwise.mesh import loops
from particleflow.pairwise.mesh.stencil import BINS, BLOCK, GROUP, Layout
from particleflow.pairwise.mesh.window import Window
from particleflow.pairwise.threads import together

Array: TypeAlias = np.ndarray
# Arguments of a loop by name.
Values: TypeAlias = dict[str, Array | float | None]

# Queries that are worth a thread of their own: tens of microseconds of work.
ROWS_PER_THREAD = 4096
# Memory in bytes for the meshes of all threads; larger meshes are spread by fewer threads.
THREAD_BYTES = 2**28
# Bytes of a node while particles are spread: an integer of 64 bits and a float of 32.
BYTES_PER_NODE = 12
# Weights are scaled so that their sum is at most 2^49, and added as integers. Rounding to integers
# is right below 2^51; a window may exceed 1.
INTEGER_BITS = 49


def _run(
    values: Values,
    shape: Sequence[int],
    origin: Sequence[float],
    function: Callable[..., None],
    layout: Layout,
    *plain: object,
) -> None:
    """A loop of `loops.py` with its arguments by name. Arrays are passed by address: `values` owns
    them for a task that may outlive its caller, whom an interrupt stops.
    """
    named = (values[name] for name in loops.arguments(function))
    passed = (one.ctypes.data if isinstance(one, Array) else one for one in named)
    loops.loop(function, layout, *plain)(*passed, *map(int, shape), *map(float, origin))


def _shares(count: int, threads: int, unit: int) -> list[tuple[int, int]]:
    """0 ... count in at most `threads` ranges, each of whole units but the last."""
    units = -(-count // unit)
    threads = max(1, min(threads, units))
    edges = [min(count, unit * (units * k // threads)) for k in range(threads + 1)]
    return list(pairwise(edges))


@dataclass(frozen=True, eq=False)
class Stencil:
    """A window as the compiled code reads it: `table` holds its coefficients.

    It is made for one dtype of the particles, and for a mesh of `cells_per_length` = 1 / spacing.
    """

    layout: Layout
    cells_per_length: float
    table: Array

    @classmethod
    def of(
        cls, window: Window, element: str, d: int, particles: str, cells_per_length: float
    ) -> Stencil:
        layout = Layout(element, window.taps, window.terms, d, particles)
        return cls(layout, cells_per_length, layout.table(window, cells_per_length))


def extremes(points: Array) -> tuple[Array, Array]:
    """Least and largest of each coordinate, (d,) each. NaNs are left out.

    Cost O(N), at the speed of memory.
    """
    n, d = points.shape
    whole = n - n % GROUP
    lowest, highest = (
        np.full((2 * GROUP, d), np.inf, points.dtype),
        np.full((2 * GROUP, d), -np.inf, points.dtype),
    )
    lowest[: n - whole], highest[: n - whole] = points[whole:], points[whole:]
    if whole:
        values: Values = {
            "points": points,
            "lowest": lowest[GROUP:],
            "highest": highest[GROUP:],
            "count": whole,
        }
        _run(values, (), (), loops.extremes, Layout("float32", 4, 2, d, points.dtype.name))
    return np.fmin.reduce(lowest), np.fmax.reduce(highest)


def spread(
    stencil: Stencil,
    points: Array,
    weights: Array,
    origin: Sequence[int],
    shape: Sequence[int],
    *,
    mass: float,
    chunk: int,
    threads: int,
) -> tuple[Array, int]:
    """sum_i w_i phi(x_i / h - origin - m) on the nodes m of a mesh of `shape`, in float64.

    The second answer is the number of points that lie outside of the mesh. points (N, d) are
    C-contiguous, weights (N,) finite and in the mesh's element, mass = sum |weights|. `chunk`
    points are added in that element, then their sums as integers.
    """
    fixed = 2.0 ** math.floor(INTEGER_BITS - math.log2(mass)) if mass > 0 else 1.0
    cells = math.prod(shape)
    threads = max(1, min(threads, THREAD_BYTES // (BYTES_PER_NODE * cells)))
    values: Values = {
        "points": points,
        "weights": weights,
        "chunk": chunk,
        "scale": stencil.cells_per_length,
        "fixed": fixed,
    }
    shares = _shares(len(points), threads, chunk)
    parts = together(
        [partial(_spread_share, stencil, values, origin, shape, share) for share in shares]
    )
    total = parts[0][0]
    for part, _ in parts[1:]:
        total += part
    return (total[:cells] * (1 / fixed)).reshape(*shape), sum(missed for _, missed in parts)


def _spread_share(
    stencil: Stencil,
    values: Values,
    origin: Sequence[int],
    shape: Sequence[int],
    share: tuple[int, int],
) -> tuple[Array, int]:
    layout = stencil.layout
    room = math.prod(shape) + layout.slack + GROUP
    grid, total = np.zeros(room, layout.element), np.zeros(room, np.int64)
    missed = np.zeros(1, np.int64)
    mine: Values = {
        "coefficients": stencil.table,
        "grid": grid,
        "total": total,
        "missed": missed,
        "start": share[0],
        "stop": share[1],
    }
    _run(values | mine, shape, origin, loops.spread, layout)
    return total, int(missed[0])


def room(stencil: Stencil, shape: Sequence[int]) -> Array:
    """An empty flat mesh for `interpolate`, with zeros beyond its last node for the vectors."""
    cells = math.prod(shape)
    mesh = np.empty(cells + stencil.layout.slack, stencil.layout.element)
    mesh[cells:] = 0
    return mesh


def interpolate(
    stencil: Stencil,
    what: str,
    points: Array,
    order: Array | None,
    mesh: Array,
    origin: Sequence[int],
    shape: Sequence[int],
    out: Array,
    *,
    outside: float,
    threads: int,
) -> None:
    """Interpolate the mesh (from `room`) at point i, and write it to out[i].

    `what` is "value" (1 component), "grad" (d), "both" (1 + d) or "slope" (1 + d: the value, and
    gradient / value). Where points are sorted, point i is written to out[order[i]]. A point outside
    of the mesh gets `outside`, one that is not finite NaN. out is (N, components), its last axis
    contiguous, in the points' dtype.
    """
    values: Values = {
        "points": points,
        "coefficients": stencil.table,
        "order": order,
        "grid": mesh,
        "out": out,
        "row": out.strides[0] // out.itemsize,
        "scale": stencil.cells_per_length,
        "outside": outside,
    }
    chosen = shape, origin, loops.interpolate, stencil.layout, what, order is not None
    shares = _shares(len(points), threads, max(BLOCK, ROWS_PER_THREAD))
    together([partial(_run, values | {"start": a, "stop": b}, *chosen) for a, b in shares])


def sort(
    stencil: Stencil, points: Array, origin: Sequence[int], shape: Sequence[int]
) -> tuple[Array, Array]:
    """Points (N, d), d = 2 or 3, sorted by bins of nodes, and their row numbers before.

    Neighbours in memory then meet the same nodes. Points outside of the mesh come last.
    """
    n, layout = len(points), stencil.layout
    rows, columns = ((size >> shift) + 1 for size, shift in zip(shape, BINS[layout.d]))
    keys, order, ordered = (
        np.empty(n + GROUP, np.int32),
        np.empty(n, np.int32),
        np.empty_like(points),
    )
    counts = np.zeros(rows * columns + 1, np.int64)
    values: Values = {
        "points": points,
        "keys": keys,
        "counts": counts,
        "bins": rows * columns,
        "order": order,
        "sorted": ordered,
        "count": n,
        "scale": stencil.cells_per_length,
        "coefficients": stencil.table,
    }
    _run(values, shape, origin, loops.sort, layout)
    return ordered, order
