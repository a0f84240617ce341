"""Spread, interpolate and sort particles on a mesh, and find extremes: the compiled loops.

Each loop is made of the pieces in `stencil.py`. `mesh` holds the mesh's d sizes and d origins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Annotated, TypeAlias, get_args, get_type_hints

import numpy as np

from particleflow.pairwise.codegen.arrays import Array
from particleflow.pairwise.codegen.entry import machine_code
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.codegen.values import WHOLE, Integer, Kind, Value, fma, select
from particleflow.pairwise.mesh.stencil import BINS, BLOCK, GROUP, Block, Layout, Taps

# Arrays of the particles' element, of the mesh's element, and of integers.
OfParticles: TypeAlias = Annotated[Array, "particles"]
OfMesh: TypeAlias = Annotated[Array, "mesh"]
Int32: TypeAlias = Annotated[Array, "int32"]
Int64: TypeAlias = Annotated[Array, "int64"]


@cache
def arguments(function: Callable[..., None]) -> dict[str, str | type]:
    """What a loop is called with before the mesh: an array's element, or a number's type."""
    hints = get_type_hints(function, include_extras=True).items()
    passed = ((name, hint) for name, hint in hints if hint in (int, float) or get_args(hint))
    return {name: get_args(hint)[1] if get_args(hint) else hint for name, hint in passed}


@cache
def loop(function: Callable[..., None], layout: Layout, *plain: object) -> Callable[..., None]:
    """The machine code of one of the loops below for a layout, and for its `plain` arguments."""
    elements: dict[object, str] = {"mesh": layout.element, "particles": layout.particles}
    kinds = [elements.get(kind, kind) for kind in arguments(function).values()]
    if function is not extremes:
        kinds += [int] * layout.d + [float] * layout.d
    return machine_code(partial(function, layout, *plain), kinds, Processor.here())


@staged
def spread(
    layout: Layout,
    points: OfParticles,
    coefficients: OfMesh,
    weights: OfMesh,
    grid: OfMesh,
    total: Int64,
    missed: Int64,
    start: int,
    stop: int,
    chunk: int,
    scale: float,
    fixed: float,
    *mesh: Value,
) -> None:
    """total += round(fixed * sum of weight * window), as integers.

    Integers added in any order give the same bits. `missed` gets the number of particles left out.
    `chunk` particles at a time go to `grid`, in the mesh's element, and `grid` is then added to
    `total`. `grid` is zero before and after.
    """
    block = Block(layout, points, coefficients, scale, mesh)
    outside = block.integers(0)
    for begin in range(start, stop, chunk):
        end = min(begin + chunk, stop)
        lowest = block.integers(2**30)
        highest = block.integers(-1)
        for i in range(begin, end, BLOCK):
            count = min(end - i, BLOCK)
            for k in range(0, count, GROUP):
                _x, u, real, inside = block.inside(i + k, end)
                cells = block.windows(k, u, slopes=False)
                lowest = select(inside & (cells < lowest), cells, lowest)
                highest = select(inside & (cells > highest), cells, highest)
                outside = outside + block.integers(real & ~inside)
                w = block.taken(weights, block.weight_pad, i + k, end, 1)
                block.scratch.store(k + BLOCK, select(inside, w, 0.0))
            for k in range(count):
                _spread_one(block, grid, k)
        first = WHOLE(lowest.folded(min)) - block.margin
        last = WHOLE(highest.folded(max)) - block.margin + layout.taps
        _flush(grid, total, fixed, first * block.strides[0], last * block.strides[0])
    missed[0] = WHOLE(outside.folded())


@staged
def _spread_one(block: Block, grid: Array, k: int) -> None:
    """grid += weight * window, row by row, for particle k of the block."""
    layout = block.layout
    taps = block.taps(k, 0)
    weight = block.scratch.all_lanes(k + BLOCK, layout.lanes)
    row = [piece * weight for piece in taps.row]
    first = block.nodes[k]
    if layout.d == 1:
        _add_rows(block, grid, first, [None], row)
    else:
        across = [taps.everywhere(layout.outer - 1, tap) for tap in range(layout.taps)]
        if layout.d == 2:
            _add_rows(block, grid, first, across, row)
        else:
            for plane in range(WHOLE(layout.taps)):
                factor = taps.everywhere(0, plane)
                pieces = [piece * factor for piece in row]
                _add_rows(block, grid, first + plane * block.strides[0], across, pieces)


def _add_rows(
    block: Block, grid: Array, first: Integer, factors: Sequence[Value | None], row: list[Value]
) -> None:
    """grid += factor * row, each factor one row further on."""
    for factor, indices in zip(factors, block.rows(first, len(factors)), strict=True):
        for index, piece in zip(indices, row, strict=True):
            before = grid.load(index, block.layout.lanes)
            grid.store(index, before + piece if factor is None else fma(factor, piece, before))


@staged
def _flush(grid: Array, total: Array, fixed: float, start: Integer, stop: Integer) -> None:
    """total += round(fixed * grid), then grid = 0, for nodes start ... stop - 1.

    Up to GROUP - 1 more nodes are included. |fixed * grid| < 2^51: with 1.5 2^52 added, the low
    bits of a double are the rounded integer.
    """
    wide, integers = Kind("float64", GROUP), Kind("int64", GROUP)
    factor = wide(fixed)
    magic = 1.5 * 2.0**52
    for i in range(start, stop, GROUP):
        rounded = fma(wide(grid.load(i, GROUP)), factor, magic).bits()
        fixed_point = rounded - integers.of([int(np.float64(magic).view(np.int64))] * GROUP)
        total.store(i, total.load(i, GROUP) + fixed_point)
        grid.store(i, Kind(grid.element, GROUP)(0.0))


@staged
def interpolate(
    layout: Layout,
    what: str,
    ordered: bool,
    points: OfParticles,
    coefficients: OfMesh,
    order: Int32,
    grid: OfMesh,
    out: OfParticles,
    row: int,
    start: int,
    stop: int,
    scale: float,
    outside: float,
    *mesh: Value,
) -> None:
    """out[row * order[i] ...] = the mesh's value, gradient or both at particle i.

    "slope" gives the value, and the gradient over the value. A particle outside the mesh gets
    `outside`. A particle whose x is not finite gets NaN.
    """
    block = Block(layout, points, coefficients, scale, mesh)
    mark = block.mesh(block.wide(outside))
    for i in range(start, stop, BLOCK):
        count = min(stop - i, BLOCK)
        for k in range(0, count, GROUP):
            x, u, _real, inside = block.inside(i + k, stop)
            block.windows(k, u, what != "value")
            # Outside, the answer is 0 times the sum, plus mark, plus 0 x (NaN if x is not finite).
            bad = sum((block.mesh(x_j * 0.0) for x_j in x), mark)
            block.scratch.store(k + BLOCK, select(inside, block.mesh(1.0), 0.0))
            block.scratch.store(k + 2 * BLOCK, select(inside, 0.0, bad))
        for k in range(count):
            sums = _lane_sums(_interpolated(block, grid, what, k))
            lanes = sums.kind.lanes
            kept = (block.scratch.all_lanes(k + slot * BLOCK, lanes) for slot in (1, 2))
            found = fma(sums, *kept)
            target = order[i + k] if ordered else i + k
            if what == "slope":
                # The value is divided by 1, the gradient by the value.
                over = found.permuted([lanes, *[0] * layout.d], found.kind(1.0))
                out.store(target * row, Kind(layout.particles, lanes)(found / over))
            else:
                out.store(target * row, Kind(layout.particles, lanes)(found))


@staged
def _interpolated(block: Block, grid: Array, what: str, k: int) -> list[list[Value]]:
    """The components (value, gradient) at particle k of the block, each in pieces.

    The sum over lanes is still to be taken.
    """
    layout = block.layout
    taps = block.taps(k, 0)
    pulls = None if what == "value" else block.taps(k, 1)
    first = block.nodes[k]
    if layout.d == 1:
        sums = [[grid.load(index, layout.lanes) for index in block.rows(first, 1)[0]]]
    elif layout.d == 2:
        sums = _weighted_rows(block, grid, first, taps, pulls)
    else:
        zero = Kind(layout.element, layout.lanes)(0.0)
        sums = [[zero] * layout.pieces for _ in range(1 if pulls is None else 3)]
        for plane in range(WHOLE(layout.taps)):
            start = first + plane * block.strides[0]
            plain, *sloped = _weighted_rows(block, grid, start, taps, pulls)
            factor = taps.everywhere(0, plane)
            # The terms are plain, with the slope on axis 0, and with the slope on axis 1.
            terms: list[tuple[Value, list[Value]]] = [(factor, plain)]
            if pulls is not None:
                terms.extend([(pulls.everywhere(0, plane), plain), (factor, sloped[0])])
            sums = [
                [fma(weight, piece, s) for piece, s in zip(pieces, total, strict=True)]
                for (weight, pieces), total in zip(terms, sums, strict=True)
            ]
    components = [[s * w for s, w in zip(total, taps.row, strict=True)] for total in sums]
    last = [] if pulls is None else [[s * w for s, w in zip(sums[0], pulls.row, strict=True)]]
    return [*components[what == "grad" :], *last]


def _weighted_rows(
    block: Block, grid: Array, first: Integer, taps: Taps, pulls: Taps | None
) -> list[list[Value]]:
    """The sums of k_a row_a and of k'_a row_a over the axis before the last."""
    axis = block.layout.outer - 1
    sums: list[list[Value]] = []
    for tap, indices in enumerate(block.rows(first, block.layout.taps)):
        row = [grid.load(index, block.layout.lanes) for index in indices]
        kinds = [weights for weights in (taps, pulls) if weights is not None]
        factors = [weights.everywhere(axis, tap) for weights in kinds]
        if tap == 0:
            sums = [[factor * piece for piece in row] for factor in factors]
        else:
            sums = [
                [fma(factor, piece, s) for piece, s in zip(row, total, strict=True)]
                for factor, total in zip(factors, sums, strict=True)
            ]
    return sums


def _lane_sums(components: list[list[Value]]) -> Value:
    """The sums over lanes and pieces of 1 to 4 components, one in each lane of a vector."""
    folded = []
    for total, *pieces in components:
        for piece in pieces:
            total = total + piece
        if total.kind.lanes > 4:
            total = total.permuted(range(4)) + total.permuted(range(4, 8))
        folded.append(total)
    one, two, three, four = (folded[min(k, len(folded) - 1)] for k in range(4))
    first = _interleaved(one, two)
    second = _interleaved(three, four) if len(folded) > 2 else first
    return _interleaved(first, second).permuted(range(len(components)))


def _interleaved(a: Value, b: Value) -> Value:
    """The vector a_0 + a_1, a_2 + a_3, b_0 + b_1, b_2 + b_3."""
    return a.permuted([0, 2, 4, 6], b) + a.permuted([1, 3, 5, 7], b)


@staged
def sort(
    layout: Layout,
    points: OfParticles,
    coefficients: OfMesh,
    keys: Int32,
    counts: Int64,
    order: Int32,
    sorted: OfParticles,
    bins: int,
    count: int,
    scale: float,
    *mesh: Value,
) -> None:
    """Sort the particles stably by bins of nodes, particles outside the mesh last.

    `sorted` gets the points, `order` gets their numbers. `keys` has room for GROUP more than the
    particles. `counts`, of `bins` + 1 integers, is zero before.
    """
    block = Block(layout, points, coefficients, scale, mesh)
    shifts = BINS[layout.d]
    across = (mesh[1] >> shifts[1]) + 1
    for i in range(0, count, GROUP):
        _x, u, _real, inside = block.inside(i, count)
        row, column = (block.integers(u_j) >> shift for u_j, shift in zip(u, shifts))
        keys.store(i, select(inside, row * block.same(across) + column, block.same(bins)))
    for i in range(count):
        counts[keys[i]] += 1
    start = 0
    for k in range(bins + 1):
        here = counts[k]
        counts[k] = start
        start += here
    for i in range(count):
        key = keys[i]
        place = counts[key]
        counts[key] = place + 1
        order[place] = i
        sorted.store(place * layout.d, points.load(i * layout.d, layout.d))


@staged
def extremes(
    layout: Layout,
    points: OfParticles,
    lowest: OfParticles,
    highest: OfParticles,
    count: int,
) -> None:
    """The least and largest coordinates of each GROUP-th particle, (GROUP, d), without NaNs.

    `count` is a multiple of GROUP.
    """
    lanes = Kind(layout.particles, GROUP * layout.d)
    least = lanes(np.inf)
    largest = lanes(-np.inf)
    for i in range(0, count * layout.d, lanes.lanes):
        x = points.load(i, lanes.lanes)
        least = select(x < least, x, least)
        largest = select(x > largest, x, largest)
    lowest.store(0, least)
    highest.store(0, largest)
