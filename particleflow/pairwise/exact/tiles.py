"""Exact sums over pairs as machine code, which every exact row of this package goes through:
`function(plan)` is

    tile(z, x, w, ptr, starts, stops, out, lowest, scratch, first, last, block, Q, d, K)

of addresses, then integers. z (d, Q), x (N, d) and w (N, K) are float32 or float64, scaled as
`kernels.facts.Profile` says; rows of queries are cut into blocks of `block`, and block b meets the sources starts[r]
<= j < stops[r] of its ranges r = ptr[b] ... ptr[b + 1] - 1 (int64): all pairs are one range a
block, and a backend that leaves pairs out lists the others. Blocks first <= b < last are worked on,
each by itself, so that threads share the blocks and the bits are the same whatever the number of
threads. Q and block are multiples of the plan's `lanes`.

Sums: out (K * C, Q) float64 is added to: for each weight vector the value or the laplacian, the
gradient's d coordinates, or the value and these. `lowest` is not read. Logarithms (K = 1): w holds
log2 w, out (1 + d, Q) the value and the gradient's coordinates relative to 2^-lowest; lowest (Q,),
in the element's type, starts at its largest finite number, out at 0. `scratch`, the plan's many
bytes, belongs to the call.

How: a tile is a vector of queries that meets one source at a time, several registers wide so that
the chains of operations fill each other's gaps. With one weight vector and d <= 3 all is kept in
registers. Else a chunk of sources goes through a scratch in the first-level cache: squared
distances, then the kernel's factors, then one weight vector and coordinate after the other. Sums
run over a chunk in the element's precision, then in float64. Nothing is checked: no index is, and
NaNs may be lost (the caller's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import ir

from particleflow.kernels.declared import profile_of
from particleflow.kernels.facts import Formula, Pair, Profile
from particleflow.memo import cached_property
from particleflow.pairwise.codegen.processor import Processor, compiled
from particleflow.pairwise.codegen.vector import (
    INDEX,
    ConstantTable,
    Emit,
    Vector,
    fma,
    keep_stack_aligned,
    lanes_for,
)
from particleflow.pairwise.terms import What

CHUNK = 256  # sources
SCRATCH = 64  # of them where they go through the scratch
UNROLLED = 3  # coordinates


@dataclass(frozen=True)
class Plan:
    """One compiled function. `d` is 0 where it comes at run time. `weights`: "one" all equal to 1,
    "column" (N, 1), "columns" (N, K).
    """

    kernel: type
    what: What
    d: int
    element: str
    weights: str
    log: bool
    processor: Processor

    @property
    def at_once(self) -> bool:
        return bool(self.d) and self.weights != "columns" and not self.log

    @cached_property
    def lanes(self) -> int:
        return (2 if self.log else 4) * self.register

    @property
    def register(self) -> int:
        return lanes_for(self.element, self.processor.features)

    @cached_property
    def scratch(self) -> int:
        """Bytes: up to three vectors for each source of a chunk, or two and the differences."""
        return (
            0
            if self.at_once
            else max(3, 2 + self.d) * SCRATCH * self.lanes * (4 if self.element == "float32" else 8)
        )

    @property
    def profile(self) -> Profile:
        return profile_of(self.kernel)


@cache
def function(plan: Plan) -> Callable[..., None]:
    """`tile` for this plan; calls release the GIL."""
    tile = _Log(plan) if plan.log else _Sum(plan)
    tile.write()
    return compiled(tile.module, "tile", plan.processor, pointers=9, integers=6)


def squared_norm(u: list[Vector]) -> Vector:
    q = u[0] * u[0]
    for u_k in u[1:]:
        q = fma(u_k, u_k, q)
    return q


class _Tile:
    """The loops over blocks, ranges, chunks and tiles around a body."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.profile = plan, plan.profile
        self.module = ir.Module("tiles")
        scalar = ir.FloatType() if plan.element == "float32" else ir.DoubleType()
        data, index, wide = scalar.as_pointer(), INDEX.as_pointer(), ir.DoubleType().as_pointer()
        types = [data, data, data, index, index, index, wide, data, data, *[INDEX] * 6]
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), "tile")
        keep_stack_aligned(function)
        (
            self.z,
            self.x,
            self.w,
            self.ptr,
            self.starts,
            self.stops,
            self.out,
            self.lowest,
            self.scratch,
            *integers,
        ) = function.args
        self.first, self.last, self.block, self.Q, self.d, self.K = integers
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        estimate = plan.processor.rsqrt_estimate if plan.element == "float32" else None
        self.e = Emit(self.builder, plan.element, plan.lanes, rsqrt_estimate=estimate)
        self.wide = self.e.like("float64")
        self.numbers = ConstantTable(self.e, plan.register)
        self.d_vector: Vector | float = float(plan.d)

    def write(self) -> None:
        b = self.builder
        start = b.append_basic_block("start")
        b.branch(start)
        b.position_at_end(start)
        if not self.plan.d:
            self.d_vector = self.e.splat(b.sitofp(self.d, self.e.scalar))
        with self._tiles() as (begin, count, row):
            self.body(begin, count, row)
        b.ret_void()

    def body(self, begin: Any, count: Any, row: Any) -> None:
        raise NotImplementedError

    @contextmanager
    def _tiles(self) -> Iterator[tuple[Any, Any, Any]]:
        """First source and number of sources of a chunk, first row of a tile."""
        e, b = self.e, self.builder
        chunk = CHUNK if self.plan.at_once else SCRATCH
        with e.loop(self.first, self.last) as block:
            low = b.mul(block, self.block)
            high = self._least(b.add(low, self.block), self.Q)
            with e.loop(
                self._integer(self.ptr, block), self._integer(self.ptr, self.plus(block, 1))
            ) as r:
                stop = self._integer(self.stops, r)
                with e.loop(self._integer(self.starts, r), stop, chunk) as begin:
                    count = b.sub(self._least(self.plus(begin, chunk), stop), begin)
                    with e.loop(low, high, self.plan.lanes) as row:
                        yield begin, count, row

    def distances(
        self, begin: Any, count: Any, row: Any, then: Callable[[Any, Vector, list[Vector]], None]
    ) -> None:
        """q of every source i of the chunk, given to `then` with the differences, which are []
        where d comes at run time.
        """
        e, d = self.e, self.plan.d
        z = [self.query(k, row) for k in range(d)]
        with e.loop(0, count) as i:
            if d:
                u = [self.source(begin, i, k) - z[k] for k in range(d)]
                then(i, squared_norm(u), u)
            else:
                total = e.variable(0.0)
                with e.loop(0, self.d) as k:
                    u_k = self.source(begin, i, k) - self.query(k, row)
                    total.set(fma(u_k, u_k, total.get()))
                then(i, total.get(), [])

    def query(self, k: Any, row: Any) -> Vector:
        return self.e.load(self.z, self.builder.add(self.times(k, self.Q), row))

    def source(self, begin: Any, i: Any, k: Any) -> Vector:
        j = self.builder.add(begin, i)
        return self.e.broadcast(
            self.x, self.builder.add(self.times(j, self.plan.d or self.d), self.e.index(k))
        )

    def keep(self, vector: Vector, slot: int, i: Any) -> None:
        """In the scratch, for source i of the chunk."""
        self.e.store(vector, self.scratch, self._slot(slot, i))

    def kept(self, slot: int, i: Any) -> Vector:
        return self.e.load(self.scratch, self._slot(slot, i))

    def _slot(self, slot: int, i: Any) -> Any:
        return self.plus(self.times(i, self.e.lanes), slot * SCRATCH * self.e.lanes)

    def forces(
        self,
        begin: Any,
        count: Any,
        row: Any,
        d: Any,
        component: Any,
        slot: int,
        scale: Vector | None = None,
    ) -> None:
        """Components `component` ... `component` + d - 1: the kept slopes times the differences,
        one coordinate after the other.
        """
        e = self.e
        with e.loop(0, d) as k:
            z, total = self.query(k, row), e.variable(0.0)
            with e.loop(0, count) as i:
                total.set(fma(self.kept(slot, i), self.source(begin, i, k) - z, total.get()))
            self.add(total.get(), self.plus(component, k), row, scale)

    def pair(self, q: Vector, decay: Vector | None) -> Pair:
        return Pair(q, self.d_vector, self.profile.length, decay)

    def add(self, total: Vector, component: Any, row: Any, scale: Vector | None = None) -> None:
        """out[component] += total, where out is multiplied by `scale` first."""
        place = self.builder.add(self.times(component, self.Q), row)
        before = self.wide.load(self.out, place)
        self.wide.store(
            self.wide.widened(total)
            + (before if scale is None else before * self.wide.widened(scale)),
            self.out,
            place,
        )

    def plus(self, a: Any, b: Any) -> Any:
        return self.builder.add(self.e.index(a), self.e.index(b))

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.mul(self.e.index(a), self.e.index(b))

    def _least(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def _integer(self, pointer: Any, i: Any) -> Any:
        return self.builder.load(self.builder.gep(pointer, [i]))


class _Sum(_Tile):
    """Scratch 0: q, then the scalar factor (value or laplacian); 1: the slope; 2: the slope times a
    weight.
    """

    def body(self, begin: Any, count: Any, row: Any) -> None:
        what, profile = self.plan.what, self.profile
        scalar = {
            What.VALUE: profile.value,
            What.BOTH: profile.value,
            What.LAPLACIAN: profile.laplacian,
        }.get(what)
        slope = profile.slope if what in (What.GRAD, What.BOTH) else None
        if self.plan.at_once:
            self._at_once(begin, count, row, scalar, slope)
        else:
            self._by_columns(begin, count, row, scalar, slope)

    def _at_once(
        self, begin: Any, count: Any, row: Any, scalar: Formula | None, slope: Formula | None
    ) -> None:
        """One weight vector and few coordinates: everything in registers."""
        e, d = self.e, self.plan.d
        z = [self.query(k, row) for k in range(d)]
        value, force = e.variable(0.0), [e.variable(0.0) for _ in range(d)]
        with e.loop(0, count) as i, e.numbers_from_memory(self.numbers):
            u = [self.source(begin, i, k) - z[k] for k in range(d)]
            pair = self._pair(squared_norm(u))
            weight = (
                e.broadcast(self.w, self.plus(begin, i)) if self.plan.weights == "column" else None
            )
            if scalar:
                factor = scalar(pair)
                value.set(fma(factor, weight, value.get()) if weight else value.get() + factor)
            if slope:
                factor = slope(pair) * weight if weight else slope(pair)
                for k in range(d):
                    force[k].set(fma(factor, u[k], force[k].get()))
        for component, total in enumerate([value] * bool(scalar) + force * bool(slope)):
            self.add(total.get(), component, row)

    def _by_columns(
        self, begin: Any, count: Any, row: Any, scalar: Formula | None, slope: Formula | None
    ) -> None:
        """Any number of weight vectors and coordinates, one after the other: each pair's factors
        are computed once.
        """
        e, b = self.e, self.builder
        self.distances(begin, count, row, lambda i, q, u: self.keep(q, 0, i))
        with e.loop(0, count) as i, e.numbers_from_memory(self.numbers):
            pair = self._pair(self.kept(0, i))
            for place, formula in ((0, scalar), (1, slope)):
                if formula:
                    self.keep(formula(pair), place, i)
        d = e.index(self.plan.d or self.d)
        components = self.plus(self.times(d, int(slope is not None)), int(scalar is not None))
        with e.loop(0, self.K) as column:
            component = b.mul(column, components)
            total = e.variable(0.0)
            with e.loop(0, count) as i:
                weight = e.broadcast(self.w, b.add(b.mul(b.add(begin, i), self.K), column))
                if scalar:
                    total.set(fma(self.kept(0, i), weight, total.get()))
                if slope:
                    self.keep(self.kept(1, i) * weight, 2, i)
            if scalar:
                self.add(total.get(), component, row)
                component = self.plus(component, 1)
            if slope:
                self.forces(begin, count, row, d, component, 2)

    def _pair(self, q: Vector) -> Pair:
        exponent = self.profile.exponent
        return self.pair(q, exponent(self.pair(q, None)).exp2_minus() if exponent else None)


class _Log(_Tile):
    """Scratch 0: q; 1: the exponent less log2 w; then the differences, or the slope. The lowest
    exponent so far is the unit of the sums.
    """

    def body(self, begin: Any, count: Any, row: Any) -> None:
        e, profile = self.e, self.profile
        before = e.load(self.lowest, row)
        lowest = e.variable(before)

        def keep(i: Any, q: Vector, u: list[Vector]) -> None:
            assert profile.exponent
            cost = profile.exponent(self.pair(q, None)) - e.broadcast(self.w, self.plus(begin, i))
            for slot, vector in enumerate([q, cost, *u]):
                self.keep(vector, slot, i)
            lowest.set(lowest.get().at_most(cost))

        self.distances(begin, count, row, keep)
        now = lowest.get()
        e.store(now, self.lowest, row)
        scale = (before - now).exp2_minus()
        value, force = e.variable(0.0), [e.variable(0.0) for _ in range(self.plan.d)]
        with e.loop(0, count) as i, e.numbers_from_memory(self.numbers):
            pair = self.pair(self.kept(0, i), (self.kept(1, i) - now).exp2_minus())
            value.set(value.get() + profile.value(pair))
            slope = profile.slope(pair)
            for k, total in enumerate(force):
                total.set(fma(slope, self.kept(2 + k, i), total.get()))
            if not force:
                self.keep(slope, 2, i)
        for component, total in enumerate([value, *force]):
            self.add(total.get(), component, row, scale)
        if not force:
            self.forces(begin, count, row, self.d, e.index(1), 2, scale)
