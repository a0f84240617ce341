"""Particles to mesh and back: what the compiled loops of `loops.py` have in common.

The mesh has nodes at integers; a particle at x
lies at u_j = x_j / h - origin_j and meets the W nodes around it on each axis. Particles whose nodes
are not all inside the mesh, and NaNs, are left out: an index out of bounds corrupts memory.

GROUP particles are worked on together, one a lane: their nodes, and the weights of their taps on
the outer axes (all but the last), which pass through memory and are broadcast from there. The
weights on the last axis, where the mesh is contiguous, are computed one a lane where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from particleflow.pairwise.codegen.arrays import Array, memory
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.codegen.values import REAL, Kind, Value, fma, select
from particleflow.pairwise.mesh.window import Window

# Particles whose windows are computed together, one a lane.
GROUP = 8
# Particles whose windows are computed before any of them is used: a processor does not look ahead
# that far.
BLOCK = 64
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


class Block:
    """The code common to all loops, for a block of at most BLOCK particles.

    What is known of them is kept in `scratch`, in this order: place in the last axis's cell;
    weight, or whether it counts; what its sum becomes where it does not; weights of the taps on the
    outer axes, and their slopes. Their first nodes are in `nodes`.
    """

    def __init__(
        self, layout: Layout, points: Array, coefficients: Array, scale: Any, mesh: Sequence[Any]
    ) -> None:
        """`mesh`: its d sizes, then its d origins."""
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
        self.strides: list[Any] = [1]
        for n in reversed(sizes[1:]):
            self.strides.insert(0, self.strides[0] * n)
        # from the node below a particle back to its first
        self.before = sum(stride * self.margin for stride in self.strides)

    def same(self, integer: Any) -> Value:
        """A 64-bit integer in all lanes, as 32 bits."""
        return self.integers(Kind("int32")(integer))

    @staged
    def taken(self, source: Array, pad: Array, i: int, end: int, each: int) -> Value:
        """`each` elements of particles i ... i + GROUP - 1; what is at or beyond `end` is not read,
        and junk.
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
        """Of particles i ... i + GROUP - 1: x and u on each axis; whether they are before `end`;
        and have all nodes in the mesh (false for NaN).

        Where not, u is some place inside.
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

    def windows(self, k: Any, u: list[Value], slopes: bool) -> Value:
        """Keep what is known of particles k ... k + GROUP - 1 of the block; returns their cells on
        axis 0.
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
        """Weights (derivative 0) or slopes (1) of a tap and of the mirrored one."""
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
        """Horner's rule; coefficients from memory: one in all lanes, or one a lane and the next
        `step` later.
        """
        read = self.coefficients.load if step else self.coefficients.all_lanes
        total = read(start + (terms - 1) * (step or 1), t.kind.lanes)
        for k in reversed(range(terms - 1)):
            total = fma(total, t, read(start + k * (step or 1), t.kind.lanes))
        return total

    def weight_at(self, group: Any, derivative: int, axis: int, tap: Any) -> Any:
        """Where the weights on an outer axis are kept, of the group that begins at particle `group`
        of the block.
        """
        layout = self.layout
        start = 3 * BLOCK + (derivative * layout.outer + axis) * layout.taps * GROUP
        return group * (2 * layout.outer * layout.taps) + start + tap * GROUP

    def taps(self, k: Any, derivative: int) -> Taps:
        """The weights (derivative 0) of particle k of the block, or their slopes (1)."""
        layout = self.layout
        lane = k & (GROUP - 1)
        t = self.scratch.all_lanes(k, layout.lanes)
        width = layout.pieces * layout.lanes
        start, terms = derivative * 2 * layout.terms * width, 2 * layout.terms - derivative
        starts = range(start, start + width, layout.lanes)
        row = [self._polynomial(t, terms, first, width) for first in starts]
        return Taps(self, row, k - lane, lane, derivative)

    def first(self, k: Any) -> Any:
        """The index of the first node of particle k of the block."""
        return self.nodes[k]

    def rows(self, index: Any, count: int) -> list[list[Any]]:
        """The indices of the pieces of `count` rows, from that at `index` on, along the axis before
        the last.
        """
        starts = [index]
        while len(starts) < count:
            starts.append(starts[-1] + self.strides[-2])
        pieces = range(0, self.layout.pieces * self.layout.lanes, self.layout.lanes)
        return [[start + piece for piece in pieces] for start in starts]


@dataclass(frozen=True)
class Taps:
    """The weights of a particle's taps, or their slopes: those of a row in registers, those of the
    outer axes in memory.
    """

    block: Block
    row: list[Value]
    group: Any
    lane: Any
    derivative: int

    def everywhere(self, axis: int, tap: Any) -> Value:
        """The weight of one tap in all lanes of a row's piece."""
        place = self.block.weight_at(self.group, self.derivative, axis, tap) + self.lane
        return self.block.scratch.all_lanes(place, self.block.layout.lanes)
