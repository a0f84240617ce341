"""Particles to mesh and back: the code of `loops.py`, compiled when first used, shared among
threads. The bits do not depend on their number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from particleflow.pairwise.mesh.loops import ARGUMENTS, loop
from particleflow.pairwise.mesh.stencil import BINS, BLOCK, GROUP, Layout
from particleflow.pairwise.mesh.window import Window

Array: TypeAlias = np.ndarray

# Rows that are worth a thread of their own.
ROWS_PER_THREAD = 4096
# Memory for the meshes of all threads.
THREAD_BYTES = 2**28


def _run(
    job: str,
    layout: Layout,
    values: dict[str, Any],
    shape: Sequence[int] = (),
    origin: Sequence[float] = (),
) -> None:
    """A loop with its arguments by name. Arrays are passed by address: `values` owns them for a
    task that may outlive its caller, whom an interrupt stops.
    """
    arguments = [
        values[name] if kind in (int, float) else _address(values[name])
        for name, kind in ARGUMENTS[job.split()[0]].items()
    ]
    loop(job, layout)(*arguments, *map(int, shape), *map(float, origin))


def _address(array: Array | None) -> int | None:
    return None if array is None else array.ctypes.data


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Of one process: a forked child has the object, and none of its threads."""
    return ThreadPoolExecutor(threads)


def _together(tasks: list[Callable[[], Any]]) -> list[Any]:
    if len(tasks) == 1:
        return [tasks[0]()]
    pool = _pool(len(tasks), os.getpid())
    return [future.result() for future in [pool.submit(task) for task in tasks]]


def _shares(count: int, threads: int, unit: int) -> list[tuple[int, int]]:
    """0 ... count in at most `threads` ranges of whole units."""
    units = -(-count // unit)
    threads = max(1, min(threads, units))
    edges = [min(count, unit * (units * k // threads)) for k in range(threads + 1)]
    return list(pairwise(edges))


@dataclass(frozen=True, eq=False)
class Stencil:
    """A window on a mesh of `cells_per_length`, for particles of one dtype; `table`: its
    coefficients.
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
    """Least and largest of each coordinate, (d,) each, NaNs left out. Cost O(N), at the speed of
    memory.
    """
    n, d = points.shape
    whole = n - n % GROUP
    lowest, highest = (
        np.full((2 * GROUP, d), np.inf, points.dtype),
        np.full((2 * GROUP, d), -np.inf, points.dtype),
    )
    lowest[: n - whole], highest[: n - whole] = points[whole:], points[whole:]
    if whole:
        values = {
            "points": points,
            "lowest": lowest[GROUP:],
            "highest": highest[GROUP:],
            "count": whole,
        }
        _run("extremes", Layout("float32", 4, 2, d, points.dtype.name), values)
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
    """sum_i w_i phi(x_i / h - origin - m) on the nodes m of a mesh of `shape`, float64; and how
    many points are not inside.

    points (N, d) C-contiguous, weights (N,) finite, in the mesh's element, mass = sum |weights|.
    They are added in that element `chunk` at a time, then as integers.
    """
    # |fixed * mesh| < 2^51, for windows that exceed 1 by rounding
    fixed = 2.0 ** math.floor(49 - math.log2(mass)) if mass > 0 else 1.0
    cells = math.prod(shape)
    threads = max(1, min(threads, THREAD_BYTES // (12 * cells)))
    values = {
        "points": points,
        "weights": weights,
        "chunk": chunk,
        "scale": stencil.cells_per_length,
        "fixed": fixed,
    }
    shares = _shares(len(points), threads, chunk)
    parts = _together(
        [partial(_spread_share, stencil, values, origin, shape, share) for share in shares]
    )
    total = parts[0][0]
    for part, _ in parts[1:]:
        total += part
    return (total[:cells] * (1 / fixed)).reshape(*shape), sum(missed for _, missed in parts)


def _spread_share(
    stencil: Stencil,
    values: dict[str, Any],
    origin: Sequence[int],
    shape: Sequence[int],
    share: tuple[int, int],
) -> tuple[Array, int]:
    layout = stencil.layout
    room = math.prod(shape) + layout.slack + GROUP
    grid, total = np.zeros(room, layout.element), np.zeros(room, np.int64)
    missed = np.zeros(1, np.int64)
    mine = {
        "coefficients": stencil.table,
        "grid": grid,
        "total": total,
        "missed": missed,
        "start": share[0],
        "stop": share[1],
    }
    _run("spread", layout, values | mine, shape, origin)
    return total, int(missed[0])


def room(stencil: Stencil, shape: Sequence[int]) -> Array:
    """An empty mesh that `interpolate` may read, flat: with room beyond its last node."""
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
    """out[i] = "value" (1), "grad" (d), "both" (1 + d components) or "slope" (value, and gradient
    over value) of the mesh at point i.

    `mesh` is from `room`; where points are sorted, it is out[order[i]]. `outside` where a point is
    not inside; NaN where it is not finite. out (N, components), its last axis contiguous, in the
    points' dtype.
    """
    job = f"interpolate {what}" + (" ordered" if order is not None else "")
    values = {
        "points": points,
        "coefficients": stencil.table,
        "order": order,
        "grid": mesh,
        "row": out.strides[0] // out.itemsize,
        "scale": stencil.cells_per_length,
        "outside": outside,
    }
    tasks: list[Callable[[], Any]] = []
    for start, stop in _shares(len(points), threads, max(BLOCK, ROWS_PER_THREAD)):
        mine = values | {"start": start, "stop": stop, "out": out}
        tasks.append(partial(_run, job, stencil.layout, mine, shape, origin))
    _together(tasks)


def sort(
    stencil: Stencil, points: Array, origin: Sequence[int], shape: Sequence[int]
) -> tuple[Array, Array]:
    """Points by bins of nodes, those outside last, and their numbers before: neighbours in memory
    meet the same nodes. d = 2 or 3.
    """
    n, layout = len(points), stencil.layout
    rows, columns = ((size >> shift) + 1 for size, shift in zip(shape, BINS[layout.d]))
    keys, order, ordered = (
        np.empty(n + GROUP, np.int32),
        np.empty(n, np.int32),
        np.empty_like(points),
    )
    counts = np.zeros(rows * columns + 1, np.int64)
    values = {
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
    _run("sort", layout, values, shape, origin)
    return ordered, order
