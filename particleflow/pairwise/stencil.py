"""Particles to mesh and back, as code: loops over particles whose body is written out as a processor's vectors (`vector.py`).

Needs llvmlite: import it inside functions only. The mesh has nodes at integers; a particle at x lies at u_j = x_j / h - origin_j and meets the W
nodes around it on each axis. Particles whose nodes are not all inside the mesh, and NaNs, are left out: an index out of bounds corrupts memory.

GROUP particles are worked on together, one a lane: their nodes, and the weights of their taps on the outer axes (all but the last), which pass through
memory and are broadcast from there. The weights on the last axis, where the mesh is contiguous, are computed one a lane where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from particleflow.pairwise.vector import INDEX, Emit, Variable, Vector, fma, keep_stack_aligned
from particleflow.pairwise.window import Window

INT32 = ir.IntType(32)
# Particles whose windows are computed together, and before any of them is used: a processor does not look ahead that far.
GROUP, BLOCK = 8, 64
# Nodes of the first two axes that share a bin when particles are sorted, as powers of two.
BINS = {2: (3, 5), 3: (2, 2)}


@dataclass(frozen=True)
class Layout:
    """What the code depends on: the element of the mesh, the window's taps W and terms, d, and the element of the particles."""

    element: str
    taps: int
    terms: int
    d: int
    particles: str

    @property
    def lanes(self) -> int:
        """Of a piece of a row of nodes."""
        return min(8 if self.element == "float32" else 4, 4 * -(-self.taps // 4))

    @property
    def pieces(self) -> int:
        return -(-self.taps // self.lanes)

    @property
    def outer(self) -> int:
        return self.d - 1

    @property
    def slack(self) -> int:
        """Elements beyond a mesh that the row of its last particle may touch."""
        return max(GROUP, self.lanes * self.pieces - self.taps)

    def table(self, window: Window, cells_per_length: float) -> np.ndarray[Any, Any]:
        """The window's coefficients as the code loads them, slopes per length.

        First, for the taps of a row, in powers of t: value and slope. Then, for half of the taps of the other axes, in powers of t^2: even, odd,
        push, pull.
        """
        value = window.powers
        slope = cells_per_length * value[:, 1:] * np.arange(1, value.shape[1])
        row = np.concatenate([value.T, slope.T])
        row = np.pad(row, ((0, 0), (0, self.lanes * self.pieces - self.taps)))
        halves = (window.even, window.odd, cells_per_length * window.push, cells_per_length * window.pull)
        return np.concatenate([row.ravel(), *(half.ravel() for half in halves)]).astype(self.element)


# What a job is told, in this order: addresses and integers (then the mesh's d sizes), and numbers (then the mesh's d origins).
INTEGERS = {
    "spread": ("points", "coefficients", "weights", "grid", "total", "start", "stop", "chunk", "missed"),
    "interpolate": ("points", "coefficients", "order", "grid", "out", "row", "start", "stop"),
    "sort": ("points", "coefficients", "keys", "counts", "bins", "order", "sorted", "count"),
    "extremes": ("points", "lowest", "highest", "count"),
}
NUMBERS = {"spread": ("scale", "fixed"), "interpolate": ("scale", "outside"), "sort": ("scale",), "extremes": ()}


class Told:
    """The values of INTEGERS and NUMBERS, by name; addresses as pointers."""

    def __init__(self, builder: ir.IRBuilder, job: str, layout: Layout, integers: Any, numbers: Any) -> None:
        self._builder, self._integers = builder, integers
        self._names, others = INTEGERS[job], NUMBERS[job]
        self._values = {name: self._loaded(integers, k) for k, name in enumerate(self._names)}
        self._values |= {name: self._loaded(numbers, k) for k, name in enumerate(others)}
        axes = 0 if job == "extremes" else layout.d
        self.sizes = [self._loaded(integers, len(self._names) + axis) for axis in range(axes)]
        self.origin = [self._loaded(numbers, len(others) + axis) for axis in range(axes)]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def pointer(self, name: str, element: ir.Type) -> Any:
        return self._builder.inttoptr(self._values[name], element.as_pointer())

    def answer(self, name: str, value: Any) -> None:
        self._builder.store(value, self._builder.gep(self._integers, [ir.Constant(INDEX, self._names.index(name))]))

    def _loaded(self, pointer: Any, k: int) -> Any:
        return self._builder.load(self._builder.gep(pointer, [ir.Constant(INDEX, k)]))


class Block:
    """The code common to all jobs, for a block of at most BLOCK particles.

    What is known of them is kept in `scratch`, in this order: place in the last axis's cell; weight, or whether it counts; what its sum becomes
    where it does not; weights of the taps on the outer axes, and their slopes. Their first nodes are in `places`.
    """

    def __init__(self, builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
        self.builder, self.layout, self.told = builder, layout, told
        self.mesh = Emit(builder, layout.element, GROUP)
        self.wide = Emit(builder, "float64", GROUP)
        self.row = Emit(builder, layout.element, layout.lanes)
        self.place_type = Emit(builder, layout.particles, GROUP * layout.d)
        self.points, self.coefficients = told.pointer("points", self.place_type.scalar), told.pointer("coefficients", self.mesh.scalar)
        self.integers = ir.VectorType(INT32, GROUP)
        self.scratch = self._memory(self.mesh.scalar, BLOCK * (3 + 2 * layout.outer * layout.taps))
        self.pad, self.weight_pad = self._memory(self.place_type.scalar, GROUP * layout.d), self._memory(self.mesh.scalar, GROUP)
        self.places = self._memory(INT32, BLOCK)
        margin = layout.taps // 2 - 1
        self.margin = ir.Constant(INDEX, margin)
        self.scale, self.lowest = self.wide.splat(told["scale"]), self.wide.splat(float(margin))
        self.origin = [-self.wide.splat(o) for o in told.origin]
        double = ir.DoubleType()
        self.beyond = [self.wide.splat(builder.sitofp(builder.sub(n, ir.Constant(INDEX, margin + 1)), double)) for n in told.sizes]
        self.strides: list[Any] = [ir.Constant(INDEX, 1)]
        for n in reversed(told.sizes[1:]):
            self.strides.insert(0, builder.mul(self.strides[0], n))
        # from the node below a particle back to its first
        self.before: Any = ir.Constant(INDEX, 0)
        for stride in self.strides:
            self.before = builder.add(self.before, builder.mul(stride, self.margin))

    def _memory(self, element: ir.Type, count: int) -> Any:
        with self.builder.goto_entry_block():
            place = self.builder.alloca(ir.ArrayType(element, count))
            place.align = 32
            return self.builder.bitcast(place, element.as_pointer())

    def plus(self, index: Any, constant: int) -> Any:
        return self.builder.add(index, ir.Constant(INDEX, constant))

    def smaller(self, value: Any, bound: Any) -> Any:
        limit = self.row.index(bound)
        return self.builder.select(self.builder.icmp_signed("<", value, limit), value, limit)

    def same(self, integer: Any) -> Any:
        """A 64-bit integer in all lanes, as 32 bits."""
        b = self.builder
        first = b.insert_element(ir.Constant(self.integers, ir.Undefined), b.trunc(integer, INT32), ir.Constant(INT32, 0))
        return b.shuffle_vector(first, first, ir.Constant(self.integers, [0] * GROUP))

    def reduced(self, lanes: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """The lanes' integers combined, 64 bits."""
        total, *others = (self.builder.extract_element(lanes, ir.Constant(INT32, k)) for k in range(GROUP))
        for lane in others:
            total = combine(total, lane)
        return self.builder.sext(total, INDEX)

    def taken(self, e: Emit, source: Any, pad: Any, i: Any, end: Any, each: int) -> Vector:
        """`each` elements of particles i ... i + GROUP - 1; what is at or beyond `end` is not read, and junk."""
        b = self.builder
        left = b.sub(end, i)
        whole = b.icmp_signed(">=", left, ir.Constant(INDEX, GROUP))
        start = e.at(source, b.mul(i, ir.Constant(INDEX, each)))
        with b.if_then(b.not_(whole), likely=False), e.loop(0, b.mul(left, ir.Constant(INDEX, each))) as k:
            e.store_scalar(e.load_scalar(start, k), pad, k)
        return e.load(b.select(whole, start, pad), 0)

    def inside(self, i: Any, end: Any) -> tuple[list[Vector], list[Vector], Any, Any]:
        """Of particles i ... i + GROUP - 1: x and u on each axis; whether they are before `end`; and have all nodes in the mesh (false for NaN).

        Where not, u is some place inside.
        """
        b, d = self.builder, self.layout.d
        together = self.taken(self.place_type, self.points, self.pad, i, end, d)
        x = [shuffled(together, together, range(axis, GROUP * d, d)) for axis in range(d)]
        real = b.icmp_signed("<", ir.Constant(self.integers, list(range(GROUP))), self.same(self.smaller(b.sub(end, i), GROUP)))
        u = [fma(self.wide.widened(x_j), self.scale, o) for x_j, o in zip(x, self.origin, strict=True)]
        inside = real
        for u_j, beyond in zip(u, self.beyond, strict=True):
            inside = b.and_(inside, b.fcmp_ordered(">=", u_j.value, self.lowest.value))
            inside = b.and_(inside, b.fcmp_ordered("<", u_j.value, beyond.value))
        return x, [Vector(self.wide, b.select(inside, u_j.value, self.lowest.value)) for u_j in u], real, inside

    def windows(self, k: Any, u: list[Vector], slopes: bool) -> Any:
        """Keep what is known of particles k ... k + GROUP - 1 of the block; returns their cells on axis 0."""
        b, taps = self.builder, self.layout.taps
        cells = [u_j.floor() for u_j in u]
        nodes = [b.fptosi(cell.value, self.integers) for cell in cells]
        index = nodes[-1]
        for node, stride in zip(nodes[:-1], self.strides, strict=False):
            index = b.add(index, b.mul(node, self.same(stride)))
        b.store(b.sub(index, self.same(self.before)), b.bitcast(b.gep(self.places, [k]), self.integers.as_pointer()), align=4)
        t = [converted(u_j - cell - 0.5, self.mesh) for u_j, cell in zip(u, cells, strict=True)]
        self.mesh.store(t[-1], self.scratch, k)
        for axis in range(self.layout.outer):
            s = t[axis] * t[axis]
            for kind in range(1 + slopes):
                for tap in range(taps // 2):
                    here, mirrored = self._halves(kind, tap, t[axis], s)
                    self.mesh.store(here, self.scratch, self.weight_at(k, kind, axis, tap))
                    self.mesh.store(mirrored, self.scratch, self.weight_at(k, kind, axis, taps - 1 - tap))
        return nodes[0]

    def _halves(self, kind: int, tap: int, t: Vector, s: Vector) -> tuple[Vector, Vector]:
        """Weights (kind 0) or slopes (1) of a tap and of the mirrored one."""
        layout, n, half = self.layout, self.layout.terms, self.layout.taps // 2
        start = (4 * n - 1) * layout.pieces * layout.lanes
        if kind == 0:
            even, odd = self._polynomial(s, n, start + tap * n), self._polynomial(s, n, start + (half + tap) * n) * t
            return even + odd, even - odd
        push = self._polynomial(s, n, start + (2 * half + tap) * n)
        pull = self._polynomial(s, n - 1, start + 3 * half * n + tap * (n - 1)) * t
        return push + pull, pull - push

    def _polynomial(self, t: Vector, terms: int, start: int, step: int = 0) -> Vector:
        """Horner's rule; coefficients from memory: one in all lanes, or one a lane and the next `step` later."""
        load = t.emit.load if step else t.emit.broadcast
        total = load(self.coefficients, start + (terms - 1) * (step or 1))
        for k in reversed(range(terms - 1)):
            total = fma(total, t, load(self.coefficients, start + k * (step or 1)))
        return total

    def weight_at(self, group: Any, kind: int, axis: int, tap: Any) -> Any:
        """Where the weights on an outer axis are kept, of the group that begins at particle `group` of the block."""
        b, layout = self.builder, self.layout
        index = self.plus(b.mul(group, ir.Constant(INDEX, 2 * layout.outer * layout.taps)), 3 * BLOCK + (kind * layout.outer + axis) * layout.taps * GROUP)
        return self.plus(index, tap * GROUP) if isinstance(tap, int) else b.add(index, b.mul(tap, ir.Constant(INDEX, GROUP)))

    def taps(self, k: Any, kind: int) -> Taps:
        """The weights (kind 0) of particle k of the block, or their slopes (1)."""
        b, layout = self.builder, self.layout
        lane = b.and_(k, ir.Constant(INDEX, GROUP - 1))
        t = self.row.broadcast(self.scratch, k)
        width = layout.pieces * layout.lanes
        start, terms = kind * 2 * layout.terms * width, 2 * layout.terms - kind
        row = [self._polynomial(t, terms, start + p * layout.lanes, width) for p in range(layout.pieces)]
        return Taps(self, row, b.sub(k, lane), lane, kind)

    def first(self, k: Any) -> Any:
        """The index of the first node of particle k of the block."""
        return self.builder.sext(self.builder.load(self.builder.gep(self.places, [k])), INDEX)

    def rows(self, index: Any, count: int) -> list[list[Any]]:
        """The indices of the pieces of `count` rows, from that at `index` on, along the axis before the last."""
        starts = [index]
        while len(starts) < count:
            starts.append(self.builder.add(starts[-1], self.strides[-2]))
        return [[self.plus(start, p * self.layout.lanes) for p in range(self.layout.pieces)] for start in starts]


@dataclass(frozen=True)
class Taps:
    """The weights of a particle's taps, or their slopes: those of a row in registers, those of the outer axes in memory."""

    block: Block
    row: list[Vector]
    group: Any
    lane: Any
    kind: int

    def everywhere(self, axis: int, tap: Any) -> Vector:
        """The weight of one tap in all lanes of a row's piece."""
        block = self.block
        return block.row.broadcast(block.scratch, block.builder.add(block.weight_at(self.group, self.kind, axis, tap), self.lane))


def shuffled(a: Vector, b: Vector, lanes: Sequence[int]) -> Vector:
    e = a.emit if a.emit.lanes == len(lanes) else Emit(a.emit.builder, a.emit.element, len(lanes))
    return Vector(e, a.permuted(lanes, b).value)


def converted(vector: Vector, to: Emit) -> Vector:
    if vector.emit.element == to.element:
        return vector
    return to.widened(vector) if to.element == "float64" else Vector(to, to.builder.fptrunc(vector.value, to.type))


def spread(builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
    """total += round(fixed * sum of weight * window), as integers: added in any order they give the same bits. `missed`: how many are left out.

    `chunk` particles go to `grid`, which is zero before and after, in the mesh's element; then it is added to `total`.
    """
    b, block, e = builder, Block(builder, layout, told), Emit(builder, layout.element, GROUP)
    grid, weights, total = told.pointer("grid", e.scalar), told.pointer("weights", e.scalar), told.pointer("total", INDEX)
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
                lowest.set(b.select(b.and_(inside, b.icmp_signed("<", cells, lowest.get())), cells, lowest.get()))
                highest.set(b.select(b.and_(inside, b.icmp_signed(">", cells, highest.get())), cells, highest.get()))
                missed.set(b.add(missed.get(), b.zext(b.and_(real, b.not_(inside)), block.integers)))
                w = block.taken(e, weights, block.weight_pad, first, end, 1)
                e.store(Vector(e, b.select(inside, w.value, e.lift(0.0))), block.scratch, block.plus(k, BLOCK))
            with e.loop(0, count) as k:
                _spread_one(block, grid, k)
        rows = [
            block.reduced(variable.get(), lambda one, other, c=comparison: b.select(b.icmp_signed(c, one, other), one, other))
            for variable, comparison in ((lowest, "<"), (highest, ">"))
        ]
        bounds = [b.mul(b.add(b.sub(row, block.margin), ir.Constant(INDEX, more)), block.strides[0]) for row, more in zip(rows, (0, layout.taps))]
        _flush(e, grid, total, told["fixed"], *bounds)
    told.answer("missed", block.reduced(missed.get(), b.add))


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
        _spread_rows(block, grid, b.add(first, b.mul(plane, block.strides[0])), across, [piece * factor for piece in row])


def _spread_rows(block: Block, grid: Any, first: Any, factors: list[Vector], row: list[Vector]) -> None:
    e = block.row
    for factor, indices in zip(factors, block.rows(first, len(factors)), strict=True):
        for index, piece in zip(indices, row, strict=True):
            e.store(fma(factor, piece, e.load(grid, index)), grid, index)


def _flush(e: Emit, grid: Any, total: Any, fixed: Any, start: Any, stop: Any) -> None:
    """total += round(fixed * grid), grid = 0, for nodes start ... stop - 1 and up to GROUP - 1 more.

    |fixed * grid| < 2^51: with 1.5 2^52 added, the low bits of a double are that integer.
    """
    b, wide = e.builder, e.like("float64")
    factor, magic = wide.splat(fixed), 1.5 * 2.0**52
    integers = ir.VectorType(INDEX, GROUP)
    with e.loop(start, stop, GROUP) as i:
        rounded = b.bitcast(fma(wide.widened(e.load(grid, i)), factor, magic).value, integers)
        place = b.bitcast(b.gep(total, [i]), integers.as_pointer())
        fixed_point = b.sub(rounded, ir.Constant(integers, [int(np.float64(magic).view(np.int64))] * GROUP))
        b.store(b.add(b.load(place, align=8), fixed_point), place, align=8)
        e.store(e.splat(0.0), grid, i)


def interpolate(builder: ir.IRBuilder, layout: Layout, told: Told, what: str, ordered: bool) -> None:
    """out[row * order[i] ...] = value, gradient, or both, of the mesh at particle i; `outside` outside the mesh, NaN where x is not finite."""
    b, block, e = builder, Block(builder, layout, told), Emit(builder, layout.element, GROUP)
    to = Emit(builder, layout.particles, {"value": 1, "grad": layout.d, "both": 1 + layout.d}[what])
    grid, order, out = told.pointer("grid", e.scalar), told.pointer("order", INT32), told.pointer("out", to.scalar)
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
            e.store(Vector(e, b.select(inside, e.lift(1.0), e.lift(0.0))), block.scratch, block.plus(k, BLOCK))
            e.store(Vector(e, b.select(inside, e.lift(0.0), bad.value)), block.scratch, block.plus(k, 2 * BLOCK))
        with e.loop(0, count) as k:
            sums = _lane_sums(_interpolated(block, grid, what, k))
            kept, bad = (sums.emit.broadcast(block.scratch, block.plus(k, slot * BLOCK)) for slot in (1, 2))
            target = b.add(i, k)
            if ordered:
                target = b.sext(b.load(b.gep(order, [target])), INDEX)
            to.store(converted(fma(sums, kept, bad), to), out, b.mul(target, told["row"]))


def _interpolated(block: Block, grid: Any, what: str, k: Any) -> list[list[Vector]]:
    """The components (value, gradient) at particle k of the block, before the sum over lanes, each in pieces."""
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
            plain, *sloped = _weighted_rows(block, grid, b.add(first, b.mul(plane, block.strides[0])), taps, pulls)
            factor = taps.everywhere(0, plane)
            # plain, with the slope on axis 0, with that on axis 1
            terms = [(factor, plain)] if pulls is None else [(factor, plain), (pulls.everywhere(0, plane), plain), (factor, *sloped)]
            for total, (weight, row) in zip(totals, terms, strict=True):
                for variable, piece in zip(total, row, strict=True):
                    variable.set(fma(weight, piece, variable.get()))
        sums = [[variable.get() for variable in total] for total in totals]
    components = [[s * w for s, w in zip(total, taps.row, strict=True)] for total in sums]
    if pulls is not None:
        components.append([s * w for s, w in zip(sums[0], pulls.row, strict=True)])
    return components[1:] if what == "grad" else components


def _weighted_rows(block: Block, grid: Any, first: Any, taps: Taps, pulls: Taps | None) -> list[list[Vector]]:
    """sum_a k_a row_a over the axis before the last, and sum_a k'_a row_a."""
    axis = block.layout.outer - 1
    sums: list[list[Vector]] = []
    for tap, indices in enumerate(block.rows(first, block.layout.taps)):
        row = [block.row.load(grid, index) for index in indices]
        factors = [weights.everywhere(axis, tap) for weights in (taps, pulls) if weights is not None]
        if tap == 0:
            sums = [[factor * piece for piece in row] for factor in factors]
        else:
            sums = [[fma(factor, piece, s) for piece, s in zip(row, total, strict=True)] for factor, total in zip(factors, sums, strict=True)]
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
    pairs = [shuffled(a, b, [0, 2, 4, 6]) + shuffled(a, b, [1, 3, 5, 7]) for a, b in ((one, two), (three, four))[: 1 + (len(folded) > 2)]]
    sums = shuffled(pairs[0], pairs[-1], [0, 2, 4, 6]) + shuffled(pairs[0], pairs[-1], [1, 3, 5, 7])
    return shuffled(sums, sums, range(len(components)))


def sort(builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
    """A stable sort of the particles by bins of nodes, those outside last: `sorted` points, and their numbers, `order`.

    `keys` has room for GROUP more than the particles; `counts`, of `bins` + 1 integers, is zero.
    """
    b, block, e = builder, Block(builder, layout, told), Emit(builder, layout.particles, layout.d)
    keys, order, counts = told.pointer("keys", INT32), told.pointer("order", INT32), told.pointer("counts", INDEX)
    target, one = told.pointer("sorted", e.scalar), ir.Constant(INDEX, 1)
    across = b.add(b.ashr(told.sizes[1], ir.Constant(INDEX, BINS[layout.d][1])), one)
    with e.loop(0, told["count"], GROUP) as i:
        _, u, _, inside = block.inside(i, told["count"])
        rows, columns = (
            b.ashr(b.fptosi(u_j.value, block.integers), ir.Constant(block.integers, [shift] * GROUP)) for u_j, shift in zip(u, BINS[layout.d])
        )
        key = b.add(b.mul(rows, block.same(across)), columns)
        b.store(b.select(inside, key, block.same(told["bins"])), b.bitcast(b.gep(keys, [i]), block.integers.as_pointer()), align=4)
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
    """Least and largest of each coordinate of each GROUP-th particle, NaNs left out: (GROUP, d). `count`: a multiple of GROUP."""
    e = Emit(builder, layout.particles, GROUP * layout.d)
    points, lowest, highest = (told.pointer(name, e.scalar) for name in ("points", "lowest", "highest"))
    least, largest = e.variable(np.inf), e.variable(-np.inf)
    with e.loop(0, builder.mul(told["count"], ir.Constant(INDEX, layout.d)), e.lanes) as i:
        x = e.load(points, i)
        least.set(x.where("<", least.get(), x, least.get()))
        largest.set(x.where(">", largest.get(), x, largest.get()))
    e.store(least.get(), lowest, 0)
    e.store(largest.get(), highest, 0)


def module(job: str, layout: Layout) -> ir.Module:
    """The function `job(integers, numbers)` of "spread", "sort", "extremes", or "interpolate" followed by what, and " ordered" where `order` is used."""
    unit = ir.Module("stencil")
    function = ir.Function(unit, ir.FunctionType(ir.VoidType(), [INDEX.as_pointer(), ir.DoubleType().as_pointer()]), "job")
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
