"""The loops of a particle mesh: spread, interpolate, sort, extremes, each a function of its own
made of the pieces in `stencil.py`.

Needs llvmlite: import it inside functions only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from particleflow.pairwise.codegen.vector import (
    INDEX,
    Emit,
    Variable,
    Vector,
    fma,
    keep_stack_aligned,
)
from particleflow.pairwise.mesh.stencil import (
    BINS,
    BLOCK,
    GROUP,
    INT32,
    Block,
    Layout,
    Taps,
    Told,
    converted,
    shuffled,
)


def spread(builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
    """total += round(fixed * sum of weight * window), as integers: added in any order they give the
    same bits. `missed`: how many are left out.

    `chunk` particles go to `grid`, which is zero before and after, in the mesh's element; then it
    is added to `total`.
    """
    b, block, e = builder, Block(builder, layout, told), Emit(builder, layout.element, GROUP)
    grid, weights, total = (
        told.pointer("grid", e.scalar),
        told.pointer("weights", e.scalar),
        told.pointer("total", INDEX),
    )
    none = ir.Constant(block.integers, [0] * GROUP)
    missed, lowest, highest = (Variable(b, none) for _ in range(3))
    with e.loop(told["start"], told["stop"], told["chunk"]) as begin:
        end = block.smaller(b.add(begin, told["chunk"]), told["stop"])
        lowest.set(ir.Constant(block.integers, [2**30] * GROUP))
        highest.set(ir.Constant(block.integers, [-1] * GROUP))
        with e.loop(begin, end, BLOCK) as i:
            count = block.smaller(b.sub(end, i), BLOCK)
            with e.loop(0, count, GROUP) as k:
                first = b.add(i, k)
                _, u, real, inside = block.inside(first, end)
                cells = block.windows(k, u, slopes=False)
                lowest.set(
                    b.select(
                        b.and_(inside, b.icmp_signed("<", cells, lowest.get())), cells, lowest.get()
                    )
                )
                highest.set(
                    b.select(
                        b.and_(inside, b.icmp_signed(">", cells, highest.get())),
                        cells,
                        highest.get(),
                    )
                )
                missed.set(
                    b.add(missed.get(), b.zext(b.and_(real, b.not_(inside)), block.integers))
                )
                w = block.taken(e, weights, block.weight_pad, first, end, 1)
                e.store(
                    Vector(e, b.select(inside, w.value, e.lift(0.0))),
                    block.scratch,
                    block.plus(k, BLOCK),
                )
            with e.loop(0, count) as k:
                _spread_one(block, grid, k)
        rows = [
            block.reduced(variable.get(), partial(_outer, b, comparison))
            for variable, comparison in ((lowest, "<"), (highest, ">"))
        ]
        bounds = [
            b.mul(b.add(b.sub(row, block.margin), ir.Constant(INDEX, more)), block.strides[0])
            for row, more in zip(rows, (0, layout.taps))
        ]
        _flush(e, grid, total, told["fixed"], *bounds)
    told.answer("missed", block.reduced(missed.get(), b.add))


def _outer(b: ir.IRBuilder, comparison: str, one: Any, other: Any) -> Any:
    return b.select(b.icmp_signed(comparison, one, other), one, other)


def _spread_one(block: Block, grid: Any, k: Any) -> None:
    """grid += weight * window of particle k of the block, row by row."""
    layout, b, e = block.layout, block.builder, block.row
    taps = block.taps(k, 0)
    weight = e.broadcast(block.scratch, block.plus(k, BLOCK))
    row = [piece * weight for piece in taps.row]
    first = block.first(k)
    if layout.d == 1:
        for index, piece in zip(block.rows(first, 1)[0], row, strict=True):
            e.store(e.load(grid, index) + piece, grid, index)
        return
    across = [taps.everywhere(layout.outer - 1, tap) for tap in range(layout.taps)]
    if layout.d == 2:
        _spread_rows(block, grid, first, across, row)
        return
    with e.loop(0, layout.taps) as plane:
        factor = taps.everywhere(0, plane)
        _spread_rows(
            block,
            grid,
            b.add(first, b.mul(plane, block.strides[0])),
            across,
            [piece * factor for piece in row],
        )


def _spread_rows(
    block: Block, grid: Any, first: Any, factors: list[Vector], row: list[Vector]
) -> None:
    e = block.row
    for factor, indices in zip(factors, block.rows(first, len(factors)), strict=True):
        for index, piece in zip(indices, row, strict=True):
            e.store(fma(factor, piece, e.load(grid, index)), grid, index)


def _flush(e: Emit, grid: Any, total: Any, fixed: Any, start: Any, stop: Any) -> None:
    """total += round(fixed * grid), grid = 0, for nodes start ... stop - 1 and up to GROUP - 1
    more.

    |fixed * grid| < 2^51: with 1.5 2^52 added, the low bits of a double are that integer.
    """
    b, wide = e.builder, e.like("float64")
    factor, magic = wide.splat(fixed), 1.5 * 2.0**52
    integers = ir.VectorType(INDEX, GROUP)
    with e.loop(start, stop, GROUP) as i:
        rounded = b.bitcast(fma(wide.widened(e.load(grid, i)), factor, magic).value, integers)
        place = b.bitcast(b.gep(total, [i]), integers.as_pointer())
        fixed_point = b.sub(
            rounded, ir.Constant(integers, [int(np.float64(magic).view(np.int64))] * GROUP)
        )
        b.store(b.add(b.load(place, align=8), fixed_point), place, align=8)
        e.store(e.splat(0.0), grid, i)


def interpolate(
    builder: ir.IRBuilder, layout: Layout, told: Told, what: str, ordered: bool
) -> None:
    """out[row * order[i] ...] = value, gradient, both, or value and gradient over value ("slope"),
    of the mesh at particle i.

    `outside` outside the mesh, NaN where x is not finite.
    """
    b, block, e = builder, Block(builder, layout, told), Emit(builder, layout.element, GROUP)
    to = Emit(
        builder,
        layout.particles,
        {"value": 1, "grad": layout.d, "both": 1 + layout.d, "slope": 1 + layout.d}[what],
    )
    grid, order, out = (
        told.pointer("grid", e.scalar),
        told.pointer("order", INT32),
        told.pointer("out", to.scalar),
    )
    mark = converted(block.wide.splat(told["outside"]), e)
    with e.loop(told["start"], told["stop"], BLOCK) as i:
        count = block.smaller(b.sub(told["stop"], i), BLOCK)
        with e.loop(0, count, GROUP) as k:
            x, u, _, inside = block.inside(b.add(i, k), told["stop"])
            block.windows(k, u, what != "value")
            # outside: 0 times the sum, plus the mark, plus 0 x, which is NaN for NaN and infinity
            bad = mark
            for x_j in x:
                bad = bad + converted(x_j * 0.0, e)
            e.store(
                Vector(e, b.select(inside, e.lift(1.0), e.lift(0.0))),
                block.scratch,
                block.plus(k, BLOCK),
            )
            e.store(
                Vector(e, b.select(inside, e.lift(0.0), bad.value)),
                block.scratch,
                block.plus(k, 2 * BLOCK),
            )
        with e.loop(0, count) as k:
            sums = _lane_sums(_interpolated(block, grid, what, k))
            kept, bad = (
                sums.emit.broadcast(block.scratch, block.plus(k, slot * BLOCK)) for slot in (1, 2)
            )
            target = b.add(i, k)
            if ordered:
                target = b.sext(b.load(b.gep(order, [target])), INDEX)
            sums = fma(sums, kept, bad)
            if what == "slope":
                # the value over 1
                over = shuffled(sums, sums.emit.splat(1.0), [1 + layout.d, *[0] * layout.d])
                sums = sums / over
            to.store(converted(sums, to), out, b.mul(target, told["row"]))


def _interpolated(block: Block, grid: Any, what: str, k: Any) -> list[list[Vector]]:
    """The components (value, gradient) at particle k of the block, before the sum over lanes, each
    in pieces.
    """
    layout, b, e = block.layout, block.builder, block.row
    taps = block.taps(k, 0)
    pulls = None if what == "value" else block.taps(k, 1)
    first = block.first(k)
    if layout.d == 1:
        sums = [[e.load(grid, index) for index in block.rows(first, 1)[0]]]
    elif layout.d == 2:
        sums = _weighted_rows(block, grid, first, taps, pulls)
    else:
        count = 1 if pulls is None else 3
        totals = [[e.variable(0.0) for _ in range(layout.pieces)] for _ in range(count)]
        with e.loop(0, layout.taps) as plane:
            plain, *sloped = _weighted_rows(
                block, grid, b.add(first, b.mul(plane, block.strides[0])), taps, pulls
            )
            factor = taps.everywhere(0, plane)
            # plain, with the slope on axis 0, with that on axis 1
            terms: list[Any] = (
                [(factor, plain)]
                if pulls is None
                else [(factor, plain), (pulls.everywhere(0, plane), plain), (factor, *sloped)]
            )
            for total, (weight, row) in zip(totals, terms, strict=True):
                for variable, piece in zip(total, row, strict=True):
                    variable.set(fma(weight, piece, variable.get()))
        sums = [[variable.get() for variable in total] for total in totals]
    components = [[s * w for s, w in zip(total, taps.row, strict=True)] for total in sums]
    if pulls is not None:
        components.append([s * w for s, w in zip(sums[0], pulls.row, strict=True)])
    return components[1:] if what == "grad" else components


def _weighted_rows(
    block: Block, grid: Any, first: Any, taps: Taps, pulls: Taps | None
) -> list[list[Vector]]:
    """sum_a k_a row_a over the axis before the last, and sum_a k'_a row_a."""
    axis = block.layout.outer - 1
    sums: list[list[Vector]] = []
    for tap, indices in enumerate(block.rows(first, block.layout.taps)):
        row = [block.row.load(grid, index) for index in indices]
        factors = [
            weights.everywhere(axis, tap) for weights in (taps, pulls) if weights is not None
        ]
        if tap == 0:
            sums = [[factor * piece for piece in row] for factor in factors]
        else:
            sums = [
                [fma(factor, piece, s) for piece, s in zip(row, total, strict=True)]
                for factor, total in zip(factors, sums, strict=True)
            ]
    return sums


def _lane_sums(components: list[list[Vector]]) -> Vector:
    """The sums over lanes and pieces of 1, 2, 3 or 4 components, as a vector of as many lanes."""
    folded = []
    for total, *pieces in components:
        for piece in pieces:
            total = total + piece
        if total.emit.lanes > 4:
            total = shuffled(total, total, range(4)) + shuffled(total, total, range(4, 8))
        folded.append(total)
    one, two, three, four = (folded[min(k, len(folded) - 1)] for k in range(4))
    pairs = [
        shuffled(a, b, [0, 2, 4, 6]) + shuffled(a, b, [1, 3, 5, 7])
        for a, b in ((one, two), (three, four))[: 1 + (len(folded) > 2)]
    ]
    sums = shuffled(pairs[0], pairs[-1], [0, 2, 4, 6]) + shuffled(pairs[0], pairs[-1], [1, 3, 5, 7])
    return shuffled(sums, sums, range(len(components)))


def sort(builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
    """A stable sort of the particles by bins of nodes, those outside last: `sorted` points, and
    their numbers, `order`.

    `keys` has room for GROUP more than the particles; `counts`, of `bins` + 1 integers, is zero.
    """
    b, block, e = builder, Block(builder, layout, told), Emit(builder, layout.particles, layout.d)
    keys, order, counts = (
        told.pointer("keys", INT32),
        told.pointer("order", INT32),
        told.pointer("counts", INDEX),
    )
    target, one = told.pointer("sorted", e.scalar), ir.Constant(INDEX, 1)
    across = b.add(b.ashr(told.sizes[1], ir.Constant(INDEX, BINS[layout.d][1])), one)
    with e.loop(0, told["count"], GROUP) as i:
        _, u, _, inside = block.inside(i, told["count"])
        rows, columns = (
            b.ashr(
                b.fptosi(u_j.value, block.integers), ir.Constant(block.integers, [shift] * GROUP)
            )
            for u_j, shift in zip(u, BINS[layout.d])
        )
        key = b.add(b.mul(rows, block.same(across)), columns)
        b.store(
            b.select(inside, key, block.same(told["bins"])),
            b.bitcast(b.gep(keys, [i]), block.integers.as_pointer()),
            align=4,
        )
    with e.loop(0, told["count"]) as i:
        place = b.gep(counts, [b.sext(b.load(b.gep(keys, [i])), INDEX)])
        b.store(b.add(b.load(place), one), place)
    before = Variable(b, ir.Constant(INDEX, 0))
    with e.loop(0, b.add(told["bins"], one)) as k:
        place, start = b.gep(counts, [k]), before.get()
        before.set(b.add(start, b.load(place)))
        b.store(start, place)
    with e.loop(0, told["count"]) as i:
        place = b.gep(counts, [b.sext(b.load(b.gep(keys, [i])), INDEX)])
        position = b.load(place)
        b.store(b.add(position, one), place)
        b.store(b.trunc(i, INT32), b.gep(order, [position]))
        width = ir.Constant(INDEX, layout.d)
        e.store(e.load(block.points, b.mul(i, width)), target, b.mul(position, width))


def extremes(builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
    """Least and largest of each coordinate of each GROUP-th particle, NaNs left out: (GROUP, d).
    `count`: a multiple of GROUP.
    """
    e = Emit(builder, layout.particles, GROUP * layout.d)
    points, lowest, highest = (
        told.pointer(name, e.scalar) for name in ("points", "lowest", "highest")
    )
    least, largest = e.variable(np.inf), e.variable(-np.inf)
    with e.loop(0, builder.mul(told["count"], ir.Constant(INDEX, layout.d)), e.lanes) as i:
        x = e.load(points, i)
        least.set(x.where("<", least.get(), x, least.get()))
        largest.set(x.where(">", largest.get(), x, largest.get()))
    e.store(least.get(), lowest, 0)
    e.store(largest.get(), highest, 0)


def module(job: str, layout: Layout) -> ir.Module:
    """The function `job(integers, numbers)` of "spread", "sort", "extremes", or "interpolate" and
    what, and " ordered" where `order` is used.
    """
    unit = ir.Module("stencil")
    function = ir.Function(
        unit,
        ir.FunctionType(ir.VoidType(), [INDEX.as_pointer(), ir.DoubleType().as_pointer()]),
        "job",
    )
    keep_stack_aligned(function)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    start = builder.append_basic_block("start")
    builder.branch(start)
    builder.position_at_end(start)
    name, *options = job.split()
    told = Told(builder, name, layout, *function.args)
    if name == "interpolate":
        interpolate(builder, layout, told, options[0], "ordered" in options)
    else:
        {"spread": spread, "sort": sort, "extremes": extremes}[name](builder, layout, told)
    builder.ret_void()
    return unit
