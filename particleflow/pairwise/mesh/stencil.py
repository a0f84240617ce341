"""Particles to mesh and back, as code: loops over particles whose body is written out as a
processor's vectors (`codegen/vector.py`).

Needs llvmlite: import it inside functions only. The mesh has nodes at integers; a particle at x
lies at u_j = x_j / h - origin_j and meets the W nodes around it on each axis. Particles whose nodes
are not all inside the mesh, and NaNs, are left out: an index out of bounds corrupts memory.

GROUP particles are worked on together, one a lane: their nodes, and the weights of their taps on
the outer axes (all but the last), which pass through memory and are broadcast from there. The
weights on the last axis, where the mesh is contiguous, are computed one a lane where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from particleflow.pairwise.codegen.vector import INDEX, Emit, Vector, fma
from particleflow.pairwise.mesh.window import Window

INT32 = ir.IntType(32)
# Particles whose windows are computed together, and before any of them is used: a processor does
# not look ahead that far.
GROUP, BLOCK = 8, 64
# Nodes of the first two axes that share a bin when particles are sorted, as powers of two.
BINS = {2: (3, 5), 3: (2, 2)}


@dataclass(frozen=True)
class Layout:
    """What the code depends on: the element of the mesh, the window's taps W and terms, d, and the
    element of the particles.
    """

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

    def table(self, window: Window, cells_per_length: float) -> np.ndarray:
        """The window's coefficients as the code loads them, slopes per length.

        First, for the taps of a row, in powers of t: value and slope. Then, for half of the taps of
        the other axes, in powers of t^2: even, odd, push, pull.
        """
        value, slopes = window.all_powers, cells_per_length * window.slopes
        slope = cells_per_length * value[:, 1:] * np.arange(1, value.shape[1])
        row = np.concatenate([value.T, slope.T])
        row = np.pad(row, ((0, 0), (0, self.lanes * self.pieces - self.taps)))
        halves = (window.powers[:, 0::2], window.powers[:, 1::2], slopes[:, 0::2], slopes[:, 1::2])
        return np.concatenate([row.ravel(), *(half.ravel() for half in halves)]).astype(
            self.element
        )


# What a job is told, in this order: addresses and integers (then the mesh's d sizes), and numbers
# (then the mesh's d origins).
INTEGERS = {
    "spread": (
        "points",
        "coefficients",
        "weights",
        "grid",
        "total",
        "start",
        "stop",
        "chunk",
        "missed",
    ),
    "interpolate": ("points", "coefficients", "order", "grid", "out", "row", "start", "stop"),
    "sort": ("points", "coefficients", "keys", "counts", "bins", "order", "sorted", "count"),
    "extremes": ("points", "lowest", "highest", "count"),
}
NUMBERS = {
    "spread": ("scale", "fixed"),
    "interpolate": ("scale", "outside"),
    "sort": ("scale",),
    "extremes": (),
}


class Told:
    """The values of INTEGERS and NUMBERS, by name; addresses as pointers."""

    def __init__(
        self, builder: ir.IRBuilder, job: str, layout: Layout, integers: Any, numbers: Any
    ) -> None:
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
        self._builder.store(
            value, self._builder.gep(self._integers, [ir.Constant(INDEX, self._names.index(name))])
        )

    def _loaded(self, pointer: Any, k: int) -> Any:
        return self._builder.load(self._builder.gep(pointer, [ir.Constant(INDEX, k)]))


class Block:
    """The code common to all jobs, for a block of at most BLOCK particles.

    What is known of them is kept in `scratch`, in this order: place in the last axis's cell;
    weight, or whether it counts; what its sum becomes where it does not; weights of the taps on the
    outer axes, and their slopes. Their first nodes are in `places`.
    """

    def __init__(self, builder: ir.IRBuilder, layout: Layout, told: Told) -> None:
        self.builder, self.layout, self.told = builder, layout, told
        self.mesh = Emit(builder, layout.element, GROUP)
        self.wide = Emit(builder, "float64", GROUP)
        self.row = Emit(builder, layout.element, layout.lanes)
        self.place_type = Emit(builder, layout.particles, GROUP * layout.d)
        self.points, self.coefficients = (
            told.pointer("points", self.place_type.scalar),
            told.pointer("coefficients", self.mesh.scalar),
        )
        self.integers = ir.VectorType(INT32, GROUP)
        self.scratch = self._memory(self.mesh.scalar, BLOCK * (3 + 2 * layout.outer * layout.taps))
        self.pad, self.weight_pad = (
            self._memory(self.place_type.scalar, GROUP * layout.d),
            self._memory(self.mesh.scalar, GROUP),
        )
        self.places = self._memory(INT32, BLOCK)
        margin = layout.taps // 2 - 1
        self.margin = ir.Constant(INDEX, margin)
        self.scale, self.lowest = self.wide.splat(told["scale"]), self.wide.splat(float(margin))
        self.origin = [-self.wide.splat(o) for o in told.origin]
        double = ir.DoubleType()
        self.beyond = [
            self.wide.splat(builder.sitofp(builder.sub(n, ir.Constant(INDEX, margin + 1)), double))
            for n in told.sizes
        ]
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
        first = b.insert_element(
            ir.Constant(self.integers, ir.Undefined), b.trunc(integer, INT32), ir.Constant(INT32, 0)
        )
        return b.shuffle_vector(first, first, ir.Constant(self.integers, [0] * GROUP))

    def reduced(self, lanes: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """The lanes' integers combined, 64 bits."""
        total, *others = (
            self.builder.extract_element(lanes, ir.Constant(INT32, k)) for k in range(GROUP)
        )
        for lane in others:
            total = combine(total, lane)
        return self.builder.sext(total, INDEX)

    def taken(self, e: Emit, source: Any, pad: Any, i: Any, end: Any, each: int) -> Vector:
        """`each` elements of particles i ... i + GROUP - 1; what is at or beyond `end` is not read,
        and junk.
        """
        b = self.builder
        left = b.sub(end, i)
        whole = b.icmp_signed(">=", left, ir.Constant(INDEX, GROUP))
        start = e.at(source, b.mul(i, ir.Constant(INDEX, each)))
        with (
            b.if_then(b.not_(whole), likely=False),
            e.loop(0, b.mul(left, ir.Constant(INDEX, each))) as k,
        ):
            e.store_scalar(e.load_scalar(start, k), pad, k)
        return e.load(b.select(whole, start, pad), 0)

    def inside(self, i: Any, end: Any) -> tuple[list[Vector], list[Vector], Any, Any]:
        """Of particles i ... i + GROUP - 1: x and u on each axis; whether they are before `end`;
        and have all nodes in the mesh (false for NaN).

        Where not, u is some place inside.
        """
        b, d = self.builder, self.layout.d
        together = self.taken(self.place_type, self.points, self.pad, i, end, d)
        x = [shuffled(together, together, range(axis, GROUP * d, d)) for axis in range(d)]
        real = b.icmp_signed(
            "<",
            ir.Constant(self.integers, list(range(GROUP))),
            self.same(self.smaller(b.sub(end, i), GROUP)),
        )
        u = [
            fma(self.wide.widened(x_j), self.scale, o)
            for x_j, o in zip(x, self.origin, strict=True)
        ]
        inside = real
        for u_j, beyond in zip(u, self.beyond, strict=True):
            inside = b.and_(inside, b.fcmp_ordered(">=", u_j.value, self.lowest.value))
            inside = b.and_(inside, b.fcmp_ordered("<", u_j.value, beyond.value))
        return (
            x,
            [Vector(self.wide, b.select(inside, u_j.value, self.lowest.value)) for u_j in u],
            real,
            inside,
        )

    def windows(self, k: Any, u: list[Vector], slopes: bool) -> Any:
        """Keep what is known of particles k ... k + GROUP - 1 of the block; returns their cells on
        axis 0.
        """
        b, taps = self.builder, self.layout.taps
        cells = [u_j.floor() for u_j in u]
        nodes = [b.fptosi(cell.value, self.integers) for cell in cells]
        index = nodes[-1]
        for node, stride in zip(nodes[:-1], self.strides, strict=False):
            index = b.add(index, b.mul(node, self.same(stride)))
        b.store(
            b.sub(index, self.same(self.before)),
            b.bitcast(b.gep(self.places, [k]), self.integers.as_pointer()),
            align=4,
        )
        t = [converted(u_j - cell - 0.5, self.mesh) for u_j, cell in zip(u, cells, strict=True)]
        self.mesh.store(t[-1], self.scratch, k)
        for axis in range(self.layout.outer):
            s = t[axis] * t[axis]
            for kind in range(1 + slopes):
                for tap in range(taps // 2):
                    here, mirrored = self._halves(kind, tap, t[axis], s)
                    self.mesh.store(here, self.scratch, self.weight_at(k, kind, axis, tap))
                    self.mesh.store(
                        mirrored, self.scratch, self.weight_at(k, kind, axis, taps - 1 - tap)
                    )
        return nodes[0]

    def _halves(self, kind: int, tap: int, t: Vector, s: Vector) -> tuple[Vector, Vector]:
        """Weights (kind 0) or slopes (1) of a tap and of the mirrored one."""
        layout, n, half = self.layout, self.layout.terms, self.layout.taps // 2
        start = (4 * n - 1) * layout.pieces * layout.lanes
        if kind == 0:
            even, odd = (
                self._polynomial(s, n, start + tap * n),
                self._polynomial(s, n, start + (half + tap) * n) * t,
            )
            return even + odd, even - odd
        push = self._polynomial(s, n, start + (2 * half + tap) * n)
        pull = self._polynomial(s, n - 1, start + 3 * half * n + tap * (n - 1)) * t
        return push + pull, pull - push

    def _polynomial(self, t: Vector, terms: int, start: int, step: int = 0) -> Vector:
        """Horner's rule; coefficients from memory: one in all lanes, or one a lane and the next
        `step` later.
        """
        load = t.emit.load if step else t.emit.broadcast
        total = load(self.coefficients, start + (terms - 1) * (step or 1))
        for k in reversed(range(terms - 1)):
            total = fma(total, t, load(self.coefficients, start + k * (step or 1)))
        return total

    def weight_at(self, group: Any, kind: int, axis: int, tap: Any) -> Any:
        """Where the weights on an outer axis are kept, of the group that begins at particle `group`
        of the block.
        """
        b, layout = self.builder, self.layout
        start = 3 * BLOCK + (kind * layout.outer + axis) * layout.taps * GROUP
        index = self.plus(b.mul(group, ir.Constant(INDEX, 2 * layout.outer * layout.taps)), start)
        return (
            self.plus(index, tap * GROUP)
            if isinstance(tap, int)
            else b.add(index, b.mul(tap, ir.Constant(INDEX, GROUP)))
        )

    def taps(self, k: Any, kind: int) -> Taps:
        """The weights (kind 0) of particle k of the block, or their slopes (1)."""
        b, layout = self.builder, self.layout
        lane = b.and_(k, ir.Constant(INDEX, GROUP - 1))
        t = self.row.broadcast(self.scratch, k)
        width = layout.pieces * layout.lanes
        start, terms = kind * 2 * layout.terms * width, 2 * layout.terms - kind
        row = [
            self._polynomial(t, terms, start + p * layout.lanes, width)
            for p in range(layout.pieces)
        ]
        return Taps(self, row, b.sub(k, lane), lane, kind)

    def first(self, k: Any) -> Any:
        """The index of the first node of particle k of the block."""
        return self.builder.sext(self.builder.load(self.builder.gep(self.places, [k])), INDEX)

    def rows(self, index: Any, count: int) -> list[list[Any]]:
        """The indices of the pieces of `count` rows, from that at `index` on, along the axis before
        the last.
        """
        starts = [index]
        while len(starts) < count:
            starts.append(self.builder.add(starts[-1], self.strides[-2]))
        return [
            [self.plus(start, p * self.layout.lanes) for p in range(self.layout.pieces)]
            for start in starts
        ]


@dataclass(frozen=True)
class Taps:
    """The weights of a particle's taps, or their slopes: those of a row in registers, those of the
    outer axes in memory.
    """

    block: Block
    row: list[Vector]
    group: Any
    lane: Any
    kind: int

    def everywhere(self, axis: int, tap: Any) -> Vector:
        """The weight of one tap in all lanes of a row's piece."""
        block = self.block
        return block.row.broadcast(
            block.scratch,
            block.builder.add(block.weight_at(self.group, self.kind, axis, tap), self.lane),
        )


def shuffled(a: Vector, b: Vector, lanes: Sequence[int]) -> Vector:
    e = a.emit if a.emit.lanes == len(lanes) else Emit(a.emit.builder, a.emit.element, len(lanes))
    return Vector(e, a.permuted(lanes, b).value)


def converted(vector: Vector, to: Emit) -> Vector:
    if vector.emit.element == to.element:
        return vector
    return (
        to.widened(vector)
        if to.element == "float64"
        else Vector(to, to.builder.fptrunc(vector.value, to.type))
    )
