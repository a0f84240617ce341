"""Vectors of a processor, written as formulas: `Vector` and `Emit` over llvmlite's IRBuilder.

A loop in Python emits the whole body of an inner loop, on values that stay in registers:

    e = Emit(builder, "float32", lanes=8)
    dx = e.load(z, i) - e.broadcast(x, j)             # llvm <8 x float>; z, x: pointers to float32, i, j: 64-bit indices (plain ints will do)
    total = fma(dx, dx, total)

Nothing is checked: an index out of bounds reads or corrupts memory. Loads and stores need only the
alignment of an element. No fast-math: a NaN stays a NaN. `fma` is fused where the processor can
(llvm.fmuladd), so that processors without FMA stay right, and rounds once or twice. Any number of
lanes is right on any processor; `lanes_for` tells how many fill a register.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

INDEX = ir.IntType(64)
# Format by element: bits of the mantissa, the exponent's bias, and the degree whose exp2 is right
# to the last digits.
FORMATS = {"float32": (23, 127, 5), "float64": (52, 1023, 10)}


class Vector:
    """A vector in a register, with the arithmetic of its lanes. A plain number stands for that
    number in all lanes.
    """

    def __init__(self, emit: Emit, value: Any) -> None:
        self.emit, self.value = emit, value

    def __add__(self, other: Vector | float) -> Vector:
        return self._binary("fadd", self, other)

    def __radd__(self, other: float) -> Vector:
        return self._binary("fadd", other, self)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._binary("fsub", self, other)

    def __rsub__(self, other: float) -> Vector:
        return self._binary("fsub", other, self)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._binary("fmul", self, other)

    def __rmul__(self, other: float) -> Vector:
        return self._binary("fmul", other, self)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._binary("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Vector:
        return self._binary("fdiv", other, self)

    def __neg__(self) -> Vector:
        return Vector(self.emit, self.emit.builder.fneg(self.value))

    def where(
        self, comparison: str, bound: Vector | float, then: Vector | float, other: Vector | float
    ) -> Vector:
        """Lanes of `then` where self <comparison> bound, of `other` elsewhere and where self or
        bound is NaN.
        """
        e = self.emit
        mask = e.builder.fcmp_ordered(comparison, self.value, e.lift(bound))
        return Vector(e, e.builder.select(mask, e.lift(then), e.lift(other)))

    def at_least(self, bound: Vector | float) -> Vector:
        """max(self, bound); a NaN in self stays."""
        return self.where("<", bound, bound, self)

    def at_most(self, bound: Vector | float) -> Vector:
        """min(self, bound); a NaN in self stays."""
        return self.where(">", bound, bound, self)

    def sqrt(self) -> Vector:
        return self.emit.call("llvm.sqrt", self)

    def rsqrt(self) -> Vector:
        """1 / sqrt(self) for self > 0, to the last digits."""
        if self.emit.rsqrt_estimate is None:
            return 1.0 / self.sqrt()
        y = self._estimated_rsqrt(*self.emit.rsqrt_estimate)
        # y has 11 bits: h = 1 - self y^2 is below 2^-10, and 1 / sqrt(1 - h) = 1 + h/2 + 3 h^2/8 +
        # ...
        h = fma(-(self * y), y, 1.0)
        return fma(y * h, fma(h, 0.375, 0.5), y)

    def root(self, least: float) -> Vector:
        """sqrt(self) to the last digits; less than `least` counts as self / sqrt(least)."""
        return (
            self.sqrt() if self.emit.rsqrt_estimate is None else self * self.at_least(least).rsqrt()
        )

    def floor(self) -> Vector:
        return self.emit.call("llvm.floor", self)

    def polynomial(self, coefficients: Sequence[float]) -> Vector:
        """sum_k coefficients[k] self^k, by Horner's rule."""
        *lower, highest = (self.emit.splat(float(c)) for c in coefficients)
        for c in reversed(lower):
            highest = fma(highest, self, c)
        return highest

    def exp2_minus(self) -> Vector:
        """2^-self for self >= 0, to the last digits: exactly 1 at 0, exactly 0 from 127 on (1023 in
        float64). NaNs are lost.

        2^n 2^-f: n = -round(self) by adding 1.5 2^23, f in [-1/2, 1/2] by a polynomial, and n added
        to the bits of the exponent.
        """
        e, b = self.emit, self.emit.builder
        mantissa, bias, degree = FORMATS[e.element]
        q = self.at_most(float(bias))
        magic = 1.5 * 2.0**mantissa
        rounded = magic - q
        p = (q + (rounded - magic)).polynomial(
            [c * (-1) ** k for k, c in enumerate(exp2_polynomial(degree))]
        )
        shifted = b.shl(
            b.bitcast(rounded.value, e.integers), ir.Constant(e.integers, [mantissa] * e.lanes)
        )
        return Vector(e, b.bitcast(b.add(b.bitcast(p.value, e.integers), shifted), e.type))

    def lane(self, k: int) -> Any:
        """The scalar in lane k."""
        return self.emit.builder.extract_element(self.value, ir.Constant(ir.IntType(32), k))

    def permuted(self, lanes: Sequence[int], other: Vector | None = None) -> Vector:
        """The given lanes of self and (counted on from self's last) of other: as many as asked for,
        or a part of them.
        """
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
        return Vector(
            self.emit, self.emit.builder.shuffle_vector(self.value, (other or self).value, mask)
        )

    def total(self) -> Any:
        """The sum of the lanes, a scalar, by halves: always in the same order."""
        v, half = self, self.emit.lanes // 2
        while half:
            v = v + v.permuted([(k + half) % self.emit.lanes for k in range(self.emit.lanes)])
            half //= 2
        return v.lane(0)

    def _estimated_rsqrt(self, intrinsic: str, width: int) -> Vector:
        """An intrinsic of `width` lanes, applied to parts."""
        e = self.emit
        part = Emit(e.builder, e.element, width)
        parts = [
            part.call(intrinsic, Vector(part, self.permuted(range(k, k + width)).value))
            for k in range(0, e.lanes, width)
        ]
        while len(parts) > 1:
            parts = [
                Vector(e, a.permuted(range(2 * width), b).value)
                for a, b in zip(parts[::2], parts[1::2], strict=True)
            ]
            width *= 2
        return Vector(e, parts[0].value)

    def _binary(self, operation: str, left: Vector | float, right: Vector | float) -> Vector:
        e = self.emit
        return Vector(e, getattr(e.builder, operation)(e.lift(left), e.lift(right)))


def fma(a: Vector, b: Vector | float, c: Vector | float) -> Vector:
    """a b + c."""
    return a.emit.call("llvm.fmuladd", a, b, c)


class Variable:
    """What a loop carries: a place in the entry block that LLVM turns into a register."""

    def __init__(self, builder: ir.IRBuilder, initial: Any, wrap: Any = None) -> None:
        self._builder, self._wrap = builder, wrap
        with builder.goto_entry_block():
            self._place = builder.alloca(initial.type)
        builder.store(initial, self._place)

    def get(self) -> Any:
        value = self._builder.load(self._place)
        return self._wrap(value) if self._wrap else value

    def set(self, value: Any) -> None:
        self._builder.store(value.value if isinstance(value, Vector) else value, self._place)


class Emit:
    """Makes vectors of `lanes` elements ("float32" or "float64") at the builder's position.

    `rsqrt_estimate`: LLVM's name of an instruction with 11 good bits and its lanes, for processors
    that have one; None divides.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        element: str,
        lanes: int,
        *,
        rsqrt_estimate: tuple[str, int] | None = None,
    ) -> None:
        self.builder, self.element, self.lanes = builder, element, lanes
        self.rsqrt_estimate = (
            rsqrt_estimate if rsqrt_estimate and lanes % rsqrt_estimate[1] == 0 else None
        )
        self._table: ConstantTable | None = None
        self.scalar = ir.FloatType() if element == "float32" else ir.DoubleType()
        self.type = ir.VectorType(self.scalar, lanes)
        self.integers = ir.VectorType(ir.IntType(32 if element == "float32" else 64), lanes)
        self.bytes = 4 if element == "float32" else 8

    def like(self, element: str) -> Emit:
        """The same lanes of another element."""
        return Emit(self.builder, element, self.lanes)

    def lift(self, value: Vector | float) -> Any:
        """LLVM's value of a vector, or of a number in all lanes."""
        if isinstance(value, Vector):
            return value.value
        return (
            self._table.load(value)
            if self._table
            else ir.Constant(self.type, [float(value)] * self.lanes)
        )

    @contextmanager
    def numbers_from_memory(self, table: ConstantTable) -> Iterator[None]:
        """Within one iteration of a loop, numbers are read from `table`: LLVM would keep them in
        registers, of which there are too few, and spill what changes instead.
        """
        table.renew()
        self._table = table
        yield
        self._table = None

    def index(self, value: Any) -> Any:
        return ir.Constant(INDEX, value) if isinstance(value, int) else value

    def splat(self, value: Any) -> Vector:
        """A number or a scalar of LLVM in all lanes."""
        if isinstance(value, int | float):
            return Vector(self, self.lift(value))
        first = self.builder.insert_element(
            ir.Constant(self.type, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return Vector(
            self, self.builder.shuffle_vector(first, ir.Constant(self.type, ir.Undefined), mask)
        )

    def pack(self, scalars: Sequence[Any]) -> Vector:
        """A vector of `lanes` scalars."""
        value = ir.Constant(self.type, ir.Undefined)
        for k, scalar in enumerate(scalars):
            value = self.builder.insert_element(value, scalar, ir.Constant(ir.IntType(32), k))
        return Vector(self, value)

    def at(self, pointer: Any, index: Any) -> Any:
        """The address of element `index` of an array of this element at `pointer`."""
        return self.builder.gep(
            self.builder.bitcast(pointer, self.scalar.as_pointer()), [self.index(index)]
        )

    def load(self, pointer: Any, index: Any) -> Vector:
        """Elements index ... index + lanes - 1."""
        return Vector(self, self.builder.load(self._vector_at(pointer, index), align=self.bytes))

    def store(self, vector: Vector, pointer: Any, index: Any) -> None:
        self.builder.store(vector.value, self._vector_at(pointer, index), align=self.bytes)

    def load_scalar(self, pointer: Any, index: Any) -> Any:
        return self.builder.load(self.at(pointer, index), align=self.bytes)

    def store_scalar(self, scalar: Any, pointer: Any, index: Any) -> None:
        self.builder.store(scalar, self.at(pointer, index), align=self.bytes)

    def broadcast(self, pointer: Any, index: Any) -> Vector:
        """Element `index` in all lanes."""
        return self.splat(self.load_scalar(pointer, index))

    def variable(self, initial: Vector | float) -> Variable:
        """A vector that changes along a loop."""
        return Variable(self.builder, self.lift(initial), lambda value: Vector(self, value))

    def widened(self, vector: Vector) -> Vector:
        """float32 as float64, lane by lane; float64 as it is."""
        if vector.emit.element == "float64":
            return vector
        wide = self if self.element == "float64" else self.like("float64")
        return Vector(wide, self.builder.fpext(vector.value, wide.type))

    @contextmanager
    def loop(self, begin: Any, end: Any, step: Any = 1) -> Iterator[Any]:
        """for i in range(begin, end, step), i a 64-bit index."""
        b = self.builder
        i = Variable(b, self.index(begin))
        head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(b.icmp_signed("<", i.get(), self.index(end)), body, after)
        b.position_at_end(body)
        here = i.get()
        yield here
        i.set(b.add(here, self.index(step)))
        b.branch(head)
        b.position_at_end(after)

    def _vector_at(self, pointer: Any, index: Any) -> Any:
        return self.builder.bitcast(self.at(pointer, index), self.type.as_pointer())

    def call(self, intrinsic: str, *arguments: Vector | float) -> Vector:
        """An LLVM intrinsic of vectors like this one; those of a processor (llvm.x86. ...) have no
        type in their name.
        """
        values = [self.lift(a) for a in arguments]
        name = (
            intrinsic
            if intrinsic.startswith("llvm.x86.")
            else f"{intrinsic}.v{self.lanes}{self.scalar.intrinsic_name}"
        )
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.type, [self.type] * len(values)), name=name
        )
        return Vector(self, self.builder.call(function, values))


class ConstantTable:
    """Numbers in memory, each `width` times, behind an address that LLVM cannot see through: it
    reads them where they are used.
    """

    ROOM = 32

    def __init__(self, emit: Emit, width: int) -> None:
        self._emit, self._part = emit, Emit(emit.builder, emit.element, width)
        self._numbers: list[float] = []
        self._rows = [ir.Constant(self._part.type, None)] * self.ROOM  # zeros
        self._global = ir.GlobalVariable(
            emit.builder.module, ir.ArrayType(self._part.type, self.ROOM), "numbers"
        )
        self._global.linkage = "internal"
        self._global.global_constant = True
        self._global.align = width * self._part.bytes
        self._address: Any = None

    def renew(self) -> None:
        pointer = self._emit.scalar.as_pointer()
        address = self._emit.builder.bitcast(self._global, pointer)
        self._address = self._emit.builder.asm(
            ir.FunctionType(pointer, [pointer]), "", "=r,0", [address], True
        )

    def load(self, number: float) -> Any:
        """In all lanes of the emitter's vectors."""
        if number not in self._numbers:
            self._rows[len(self._numbers)] = ir.Constant(
                self._part.type, [float(number)] * self._part.lanes
            )
            self._numbers.append(number)
            self._global.initializer = ir.Constant(self._global.value_type, self._rows)
        part = self._part.load(self._address, self._numbers.index(number) * self._part.lanes)
        return part.permuted([k % self._part.lanes for k in range(self._emit.lanes)]).value


def lanes_for(element: str, features: str) -> int:
    """Lanes that fill a register, from LLVM's features ("+avx2,+fma,..."): 8 float32 with AVX, else
    4 (SSE2, NEON); half as many float64.
    """
    lanes = 8 if "+avx" in features.split(",") else 4
    return lanes if element == "float32" else lanes // 2


def keep_stack_aligned(function: ir.Function) -> None:
    """Let vectors be spilled: the stack of a function compiled at run time is otherwise aligned to
    16 bytes only.

    llvmlite drops the alignment of functions that may unwind.
    """
    function.attributes.add("nounwind")
    function.attributes.alignstack = 32


@lru_cache
def exp2_polynomial(degree: int) -> tuple[float, ...]:
    """1 + c_1 f + ... + c_degree f^degree close to 2^f on [-1/2, 1/2], by interpolating (2^f - 1) /
    f in Chebyshev's points.
    """
    f = np.cos(np.pi * (np.arange(degree) + 0.5) / degree) / 2
    slope = [math.expm1(v * math.log(2)) / v if v else math.log(2) for v in f]
    # In the basis of Chebyshev, for its condition; then in powers of f.
    chebyshev = np.polynomial.chebyshev.Chebyshev.fit(f, slope, degree - 1, domain=[-0.5, 0.5])
    return (1.0, *(float(c) for c in chebyshev.convert(kind=np.polynomial.Polynomial).coef))
