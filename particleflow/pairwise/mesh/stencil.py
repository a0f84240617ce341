"""Compute the nodes and weights of particles, for the compiled loops of `loops.py`.

The mesh has nodes at integers. A particle at x lies at u_j = x_j / h - origin_j. It meets the W
nodes around u_j on each axis. Particles whose nodes are not all inside the mesh, and NaNs, are left
out: an index out of bounds corrupts memory.

GROUP particles are worked on together, one a lane. Their nodes, and the weights of their taps on
the outer axes (all but the last), pass through memory and are broadcast from there. The mesh is
contiguous on the last axis. The weights on that axis are computed one tap a lane, where they are
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from particleflow.pairwise.codegen.arrays import Array, memory
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.codegen.values import REAL, Integer, Kind, Number, Value, fma, select
from particleflow.pairwise.mesh.window import Window

# Particles whose windows are computed together, one a lane.
GROUP = 8
# Particles whose windows are computed before one is used: more than a processor looks ahead.
BLOCK = 64
# Log2 of the nodes in a bin of the sort, on the first two axes, for each d.
BINS = {2: (3, 5), 3: (2, 2)}


@dataclass(frozen=True)
class Layout:
    """The facts that the code depends on.

    They are the element of the mesh, the window's taps W and terms, d, and the element of the
    particles.
    """

    element: str
    taps: int
    terms: int
    d: int
    particles: str

    @property
    def lanes(self) -> int:
        """Lanes in a piece of a row of nodes."""
        return min(8 if self.element == "float32" else 4, 4 * -(-self.taps // 4))

    @property
    def pieces(self) -> int:
        return -(-self.taps // self.lanes)

    @property
    def outer(self) -> int:
        return self.d - 1

    @property
    def slack(self) -> int:
        """Elements beyond a mesh that its last particle's row may touch."""
        return max(GROUP, self.lanes * self.pieces - self.taps)

    def table(self, window: Window, cells_per_length: float) -> np.ndarray:
        """The window's coefficients as the code loads them, with slopes per length.

        Value and slope in powers of t come first, for the taps of a row. Even, odd, push and pull
        in powers of t^2 follow, for half of the taps of the other axes.
        """
        value, slopes = window.all_powers, cells_per_length * window.slopes
        slope = cells_per_length * value[:, 1:] * np.arange(1, value.shape[1])
        row = np.concatenate([value.T, slope.T])
        row = np.pad(row, ((0, 0), (0, self.lanes * self.pieces - self.taps)))
        halves = (window.powers[:, 0::2], window.powers[:, 1::2], slopes[:, 0::2], slopes[:, 1::2])
        return np.concatenate([row.ravel(), *(half.ravel() for half in halves)]).astype(
            self.element
        )


class Block:
    """The code common to all loops, for a block of at most BLOCK particles.

    `scratch` holds, in this order: each particle's place in the last axis's cell; its weight, or
    whether it counts; its answer where it does not count; the weights of its taps on the outer
    axes, and their slopes. `nodes` holds each particle's first node.
    """

    def __init__(
        self,
        layout: Layout,
        points: Array,
        coefficients: Array,
        scale: Number,
        mesh: Sequence[Value],
    ) -> None:
        """`mesh` holds the d sizes of the mesh, then its d origins."""
        self.layout, self.points, self.coefficients = layout, points, coefficients
        sizes, origin = mesh[: layout.d], mesh[layout.d :]
        self.mesh, self.wide = Kind(layout.element, GROUP), Kind("float64", GROUP)
        self.integers = Kind("int32", GROUP)
        room = BLOCK * (3 + 2 * layout.outer * layout.taps)
        self.scratch, self.nodes = memory(layout.element, room), memory("int32", BLOCK)
        self.pad = memory(layout.particles, GROUP * layout.d)
        self.weight_pad = memory(layout.element, GROUP)
        self.margin = layout.taps // 2 - 1
        self.scale, self.lowest = self.wide(scale), self.wide(float(self.margin))
        self.origin = [-self.wide(o) for o in origin]
        self.beyond = [self.wide(REAL(n - (self.margin + 1))) for n in sizes]
        self.strides: list[Integer] = [1]
        for n in reversed(sizes[1:]):
            self.strides.insert(0, self.strides[0] * n)
        # The step back from the node below a particle to the particle's first node.
        self.before = sum(stride * self.margin for stride in self.strides)

    def same(self, integer: Integer) -> Value:
        """A 64-bit integer in all lanes, as 32 bits."""
        return self.integers(Kind("int32")(integer))

    @staged
    def taken(self, source: Array, pad: Array, i: int, end: int, each: int) -> Value:
        """`each` elements of particles i ... i + GROUP - 1.

        Particles at or beyond `end` are not read: their elements are junk.
        """
        left = end - i
        start = source[i * each :]
        if left < GROUP:
            for k in range(left * each):
                pad[k] = start[k]
        there = start if left >= GROUP else pad
        return there.load(0, GROUP * each)

    @staged
    def inside(self, i: int, end: int) -> tuple[list[Value], list[Value], Value, Value]:
        """x and u on each axis of particles i ... i + GROUP - 1, and two masks.

        The first mask tells which particles are before `end`. The second tells which of them have
        all nodes in the mesh (false for NaN). u is a place inside the mesh where it is false.
        """
        d = self.layout.d
        together = self.taken(self.points, self.pad, i, end, d)
        x = [together.permuted(range(axis, GROUP * d, d)) for axis in range(d)]
        real = self.integers.of(range(GROUP)) < self.same(min(end - i, GROUP))
        u = [fma(self.wide(x_j), self.scale, o) for x_j, o in zip(x, self.origin, strict=True)]
        inside = real
        for u_j, beyond in zip(u, self.beyond, strict=True):
            inside = inside & (u_j >= self.lowest) & (u_j < beyond)
        return x, [select(inside, u_j, self.lowest) for u_j in u], real, inside

    def windows(self, k: Integer, u: list[Value], slopes: bool) -> Value:
        """Keep nodes and weights of the block's particles k ... k + GROUP - 1.

        Returns their cells on axis 0.
        """
        taps = self.layout.taps
        cells = [u_j.floor() for u_j in u]
        nodes = [self.integers(cell) for cell in cells]
        index = nodes[-1]
        for node, stride in zip(nodes[:-1], self.strides, strict=False):
            index = index + node * self.same(stride)
        self.nodes.store(k, index - self.same(self.before))
        t = [self.mesh(u_j - cell - 0.5) for u_j, cell in zip(u, cells, strict=True)]
        self.scratch.store(k, t[-1])
        for axis in range(self.layout.outer):
            s = t[axis] * t[axis]
            for derivative in range(1 + slopes):
                for tap in range(taps // 2):
                    here, mirrored = self._halves(derivative, tap, t[axis], s)
                    self.scratch.store(self.weight_at(k, derivative, axis, tap), here)
                    self.scratch.store(
                        self.weight_at(k, derivative, axis, taps - 1 - tap), mirrored
                    )
        return nodes[0]

    def _halves(self, derivative: int, tap: int, t: Value, s: Value) -> tuple[Value, Value]:
        """Weights (derivative 0) or slopes (1) of a tap and of its mirror image."""
        layout, n, half = self.layout, self.layout.terms, self.layout.taps // 2
        start = (4 * n - 1) * layout.pieces * layout.lanes
        if derivative == 0:
            even = self._polynomial(s, n, start + tap * n)
            odd = self._polynomial(s, n, start + (half + tap) * n) * t
            return even + odd, even - odd
        push = self._polynomial(s, n, start + (2 * half + tap) * n)
        pull = self._polynomial(s, n - 1, start + 3 * half * n + tap * (n - 1)) * t
        return push + pull, pull - push

    def _polynomial(self, t: Value, terms: int, start: int, step: int = 0) -> Value:
        """A polynomial by Horner's rule, with coefficients from memory.

        Without `step` one coefficient fills all lanes. With `step` each lane has its own, and the
        next power's coefficients lie `step` later.
        """
        read = self.coefficients.load if step else self.coefficients.all_lanes
        total = read(start + (terms - 1) * (step or 1), t.kind.lanes)
        for k in reversed(range(terms - 1)):
            total = fma(total, t, read(start + k * (step or 1), t.kind.lanes))
        return total

    def weight_at(self, group: Integer, derivative: int, axis: int, tap: Integer) -> Integer:
        """The index in `scratch` of a tap's weights on an outer axis.

        The group begins at particle `group` of the block.
        """
        layout = self.layout
        start = 3 * BLOCK + (derivative * layout.outer + axis) * layout.taps * GROUP
        return group * (2 * layout.outer * layout.taps) + start + tap * GROUP

    def taps(self, k: Integer, derivative: int) -> Taps:
        """The weights (derivative 0) or slopes (1) of particle k of the block."""
        layout = self.layout
        lane = k & (GROUP - 1)
        t = self.scratch.all_lanes(k, layout.lanes)
        width = layout.pieces * layout.lanes
        start, terms = derivative * 2 * layout.terms * width, 2 * layout.terms - derivative
        starts = range(start, start + width, layout.lanes)
        row = [self._polynomial(t, terms, first, width) for first in starts]
        return Taps(self, row, k - lane, lane, derivative)

    def rows(self, index: Integer, count: int) -> list[list[Integer]]:
        """The indices of the pieces of `count` rows, from the row at `index` on.

        The rows follow each other along the axis before the last.
        """
        starts = [index]
        while len(starts) < count:
            starts.append(starts[-1] + self.strides[-2])
        pieces = range(0, self.layout.pieces * self.layout.lanes, self.layout.lanes)
        return [[start + piece for piece in pieces] for start in starts]


@dataclass(frozen=True)
class Taps:
    """The weights of a particle's taps, or their slopes.

    A row's weights are in registers. The weights of the outer axes are in memory.
    """

    block: Block
    row: list[Value]
    group: Integer
    lane: Integer
    derivative: int

    def everywhere(self, axis: int, tap: Integer) -> Value:
        """The weight of one tap in all lanes of a row's piece."""
        place = self.block.weight_at(self.group, self.derivative, axis, tap) + self.lane
        return self.block.scratch.all_lanes(place, self.block.layout.lanes)
