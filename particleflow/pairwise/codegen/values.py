"""Write arithmetic on numbers and vectors in a processor's registers.

    lanes = Kind("float32", 8)
    u = x.load(i, 8) - lanes(x[0])          # x: an `arrays.Array`; i: a Value or a plain int
    y.store(i, fma(u, u, 1.0).rsqrt())

Each operation appends instructions to the code that is being written (`writer`). A plain number
stands for that number in all lanes. No fast-math: a NaN stays a NaN. Integers wrap around.
x / 0 is inf or NaN, and the square root of a negative number is NaN.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import TypeAlias

import numpy as np

from particleflow.pairwise.codegen.llvm import ir
from particleflow.pairwise.codegen.writer import writer

Number: TypeAlias = "Value | float"
Integer: TypeAlias = "Value | int"

# Bytes of each element in memory.
BYTES = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "uint16": 2, "bool": 1}
# Bits of the mantissa, the exponent's bias, and the degree of an exp2 right to the last digits.
FORMATS = {"float32": (23, 127, 5), "float64": (52, 1023, 10)}


@cache
def register(element: str) -> ir.Type:
    """LLVM's type of an element in a register."""
    if element in FORMATS:
        return ir.FloatType() if element == "float32" else ir.DoubleType()
    return ir.IntType(1 if element == "bool" else 8 * BYTES[element])


@dataclass(frozen=True)
class Kind:
    """The kind of a value: its element, and a vector's number of lanes (0: a single number).

    A call makes a value of this kind from a number, or converts a value.
    """

    element: str
    lanes: int = 0

    @cached_property
    def type(self) -> ir.Type:
        element = register(self.element)
        return ir.VectorType(element, self.lanes) if self.lanes else element

    @property
    def floating(self) -> bool:
        return self.element.startswith("float")

    @property
    def bits(self) -> Kind:
        """The kind of integers as long as this float."""
        return Kind("int32" if self.element == "float32" else "int64", self.lanes)

    def __call__(self, x: Number) -> Value:
        if not isinstance(x, Value):
            return self._constant(x)
        if x.kind == self:
            return x
        if x.kind.lanes == self.lanes:
            return Value(self, self._converted(x))
        if x.kind != Kind(self.element):
            raise TypeError(f"cannot make {self} of {x.kind}: convert its element first")
        b, undefined = writer().builder, ir.Constant(self.type, ir.Undefined)
        first = b.insert_element(undefined, x.llvm, ir.Constant(ir.IntType(32), 0))
        return Value(self, b.shuffle_vector(first, undefined, _mask([0] * self.lanes)))

    def of(self, numbers: Sequence[float]) -> Value:
        """A vector of known lanes."""
        return Value(self, ir.Constant(self.type, list(numbers)))

    def _constant(self, number: float) -> Value:
        table = writer().table
        if table and table.kind == self:
            return Value(self, table.load(number))
        plain = float(number) if self.floating else int(number)
        return Value(self, ir.Constant(self.type, [plain] * self.lanes if self.lanes else plain))

    def _converted(self, x: Value) -> ir.Value:
        b, old = writer().builder, x.kind
        longer = BYTES[self.element] > BYTES[old.element]
        if old.floating and self.floating:
            convert = b.fpext if longer else b.fptrunc
        elif old.floating:
            convert = b.fptosi
        elif old.element in ("bool", "uint16"):
            convert = b.uitofp if self.floating else b.zext
        else:
            convert = b.sitofp if self.floating else b.sext if longer else b.trunc
        return convert(x.llvm, self.type)


# The kind of Python's int.
WHOLE = Kind("int64")
# The kind of Python's float.
REAL = Kind("float64")
# The kind of Python's bool.
TRUTH = Kind("bool")


def _arithmetic(name: str, *, reflected: bool = False) -> Callable[[Value, Number], Value]:
    def operation(self: Value, other: Number) -> Value:
        a, b = common(other, self) if reflected else common(self, other)
        write = getattr(writer().builder, f"f{name}" if a.kind.floating else name)
        return Value(a.kind, write(a.llvm, b.llvm))

    return operation


def _quotient(*, reflected: bool = False) -> Callable[[Value, Number], Value]:
    def operation(self: Value, other: Number) -> Value:
        a, b = common(other, self) if reflected else common(self, other)
        a, b = (a, b) if a.kind.floating else (REAL(a), REAL(b))
        return Value(a.kind, writer().builder.fdiv(a.llvm, b.llvm))

    return operation


def _comparison(sign: str) -> Callable[[Value, Number], Value]:
    """A comparison by `sign`: NaN is unequal to all numbers, and neither smaller nor larger."""

    def compare(self: Value, other: Number) -> Value:
        a, b = common(self, other)
        builder = writer().builder
        if a.kind.floating:
            write = builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered
        else:
            write = builder.icmp_signed
        return Value(Kind("bool", a.kind.lanes), write(sign, a.llvm, b.llvm))

    return compare


class Value:
    """A number or a vector that is known when the code runs."""

    __slots__ = ("kind", "llvm")

    def __init__(self, kind: Kind, llvm: ir.Value) -> None:
        self.kind, self.llvm = kind, llvm

    __add__, __radd__ = _arithmetic("add"), _arithmetic("add", reflected=True)
    __sub__, __rsub__ = _arithmetic("sub"), _arithmetic("sub", reflected=True)
    __mul__, __rmul__ = _arithmetic("mul"), _arithmetic("mul", reflected=True)
    __truediv__, __rtruediv__ = _quotient(), _quotient(reflected=True)
    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison(">"), _comparison(">=")
    # object's own return a bool; these return the value of the comparison
    __eq__ = _comparison("==")  # type: ignore[assignment]
    __ne__ = _comparison("!=")  # type: ignore[assignment]

    def __floordiv__(self, other: Number) -> Value:
        """The quotient of integers, rounded down. Division by 0 gives the number itself."""
        a, b = common(self, other)
        divisor = select(b == 0, 1, b)
        towards_zero = Value(a.kind, writer().builder.sdiv(a.llvm, divisor.llvm))
        rest = a - towards_zero * divisor
        signs = Value(a.kind, writer().builder.xor(rest.llvm, divisor.llvm))
        return towards_zero - a.kind((rest != 0) & (signs < 0))

    def __rshift__(self, bits: int) -> Value:
        return Value(self.kind, writer().builder.ashr(self.llvm, self.kind(bits).llvm))

    def __and__(self, other: Number) -> Value:
        a, b = common(self, other)
        return Value(a.kind, writer().builder.and_(a.llvm, b.llvm))

    def __invert__(self) -> Value:
        return Value(self.kind, writer().builder.not_(self.llvm))

    def __neg__(self) -> Value:
        b = writer().builder
        return Value(self.kind, b.fneg(self.llvm) if self.kind.floating else b.neg(self.llvm))

    def __abs__(self) -> Value:
        return intrinsic("llvm.fabs", self)

    def __bool__(self) -> bool:
        raise TypeError(
            "a condition that is known when the code runs belongs in a @staged function"
        )

    def __index__(self) -> int:
        raise TypeError("a number that is known when the code runs cannot steer how it is written")

    def at_least(self, bound: Number) -> Value:
        """max(self, bound). A NaN in self stays."""
        return select(self < bound, bound, self)

    def at_most(self, bound: Number) -> Value:
        """min(self, bound). A NaN in self stays."""
        return select(self > bound, bound, self)

    def where(self, relation: str, bound: Number, then: Number, otherwise: Number) -> Value:
        """`then` where self `relation` bound ("<" or ">"), else `otherwise`."""
        held = self > bound if relation == ">" else self < bound
        return select(held, self.kind(then), otherwise)

    def sqrt(self) -> Value:
        return intrinsic("llvm.sqrt", self)

    def rsqrt(self) -> Value:
        """1 / sqrt(self) for self > 0, to the last digits."""
        estimate = self._estimate
        if estimate is None:
            return 1.0 / self.sqrt()
        y = self._estimated_rsqrt(*estimate)
        # y has 11 bits, so h = 1 - self y^2 < 2^-10. 1 / sqrt(1 - h) = 1 + h/2 + 3 h^2/8 + ...
        h = fma(-(self * y), y, 1.0)
        return fma(y * h, fma(h, 0.375, 0.5), y)

    def root(self, least: float) -> Value:
        """sqrt(self) to the last digits, but self / sqrt(least) for self < least."""
        return self.sqrt() if self._estimate is None else self * self.at_least(least).rsqrt()

    def floor(self) -> Value:
        return intrinsic("llvm.floor", self)

    def polynomial(self, coefficients: Sequence[float]) -> Value:
        """sum_k coefficients[k] self^k, by Horner's rule."""
        *lower, highest = (self.kind(float(c)) for c in coefficients)
        for c in reversed(lower):
            highest = fma(highest, self, c)
        return highest

    def exp2_minus(self) -> Value:
        """2^-self for self >= 0, to the last digits. NaNs are lost.

        The result is exactly 1 at 0, and exactly 0 from 127 on (1023 in float64). It is 2^n 2^-f.
        Adding 1.5 2^23 (1.5 2^52 in float64) rounds self to -n. A polynomial gives 2^-f for f in
        [-1/2, 1/2]. n is added to the bits of the exponent.
        """
        b, kind = writer().builder, self.kind
        mantissa, bias, degree = FORMATS[kind.element]
        q = self.at_most(float(bias))
        magic = 1.5 * 2.0**mantissa
        rounded = magic - q
        signed = [c * (-1) ** k for k, c in enumerate(exp2_polynomial(degree))]
        p = (q + (rounded - magic)).polynomial(signed)
        shifted = Value(kind.bits, b.shl(rounded.bits().llvm, kind.bits(mantissa).llvm))
        return Value(kind, b.bitcast((p.bits() + shifted).llvm, kind.type))

    def lane(self, k: int) -> Value:
        """The number in lane k."""
        number = writer().builder.extract_element(self.llvm, ir.Constant(ir.IntType(32), k))
        return Value(Kind(self.kind.element), number)

    def permuted(self, lanes: Sequence[int], other: Value | None = None) -> Value:
        """A vector of the given lanes of self and other: other's count on from self's last."""
        both = self.llvm, (self if other is None else other).llvm
        moved = writer().builder.shuffle_vector(*both, _mask(lanes))
        return Value(Kind(self.kind.element, len(lanes)), moved)

    def folded(self, combine: Callable[[Value, Value], Value] = operator.add) -> Value:
        """A number: the lanes combined one after the other."""
        total, *others = (self.lane(k) for k in range(self.kind.lanes))
        for lane in others:
            total = combine(total, lane)
        return total

    def bits(self) -> Value:
        """The bits of floats, as integers of the same length."""
        kind = self.kind.bits
        return Value(kind, writer().builder.bitcast(self.llvm, kind.type))

    def any(self) -> Value:
        """Whether a lane of truths is true."""
        whole = ir.IntType(self.kind.lanes)
        b = writer().builder
        return Value(TRUTH, b.icmp_unsigned("!=", b.bitcast(self.llvm, whole), whole(0)))

    @property
    def _estimate(self) -> tuple[str, int] | None:
        """The processor's instruction for 1 / sqrt of this kind, and its lanes, or None."""
        found = writer().processor.rsqrt_estimate
        fits = self.kind.element == "float32" and found and self.kind.lanes % found[1] == 0
        return found if fits else None

    def _estimated_rsqrt(self, name: str, width: int) -> Value:
        """1 / sqrt by the processor's instruction `name`, applied to parts of `width` lanes."""
        starts = range(0, self.kind.lanes, width)
        parts = [intrinsic(name, self.permuted(range(k, k + width))) for k in starts]
        while len(parts) > 1:
            width *= 2
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [a.permuted(range(width), b) for a, b in pairs]
        return parts[0]


def fma(a: Value, b: Number, c: Number) -> Value:
    """a b + c, rounded once where the processor can fuse it, else rounded twice."""
    return intrinsic("llvm.fmuladd", a, a.kind(b), a.kind(c))


def squared_norm(u: list[Value]) -> Value:
    q = u[0] * u[0]
    for u_k in u[1:]:
        q = fma(u_k, u_k, q)
    return q


def select(mask: Value, then: Number, otherwise: Number) -> Value:
    """`then` where the mask is true, else `otherwise`, lane by lane. Both are computed."""
    a, b = common(then, otherwise)
    return Value(a.kind, writer().builder.select(mask.llvm, a.llvm, b.llvm))


def intrinsic(name: str, *values: Value) -> Value:
    """LLVM's function of this name for the values' kind.

    The functions of a processor (llvm.x86. ...) have no kind in their name.
    """
    kind = values[0].kind
    suffix = f".{f'v{kind.lanes}' if kind.lanes else ''}{register(kind.element).intrinsic_name}"
    full = name if name.startswith("llvm.x86.") else name + suffix
    return external(full, kind, *values)


def external(name: str, kind: Kind, *values: Value) -> Value:
    """A call of a function that LLVM knows by name."""
    module = writer().builder.module
    signature = ir.FunctionType(kind.type, [value.kind.type for value in values])
    function = module.globals.get(name) or ir.Function(module, signature, name=name)
    return Value(kind, writer().builder.call(function, [value.llvm for value in values]))


def common(a: Number, b: Number) -> tuple[Value, Value]:
    """Both as one kind: plain numbers take the other's, integers turn to floats or fill lanes."""
    kinds = [_kind_beside(x, other) for x, other in ((a, b), (b, a))]
    kind = max(kinds, key=lambda k: (k.lanes, k.floating))
    for one in kinds:
        if one not in (kind, Kind(kind.element)) and (kind.lanes or one != WHOLE):
            raise TypeError(f"{kinds[0]} and {kinds[1]} do not mix: convert one of them")
    return kind(a), kind(b)


def kind_of(x: Number) -> Kind:
    """The kind of a value, or of the value that a plain number becomes."""
    if isinstance(x, Value):
        return x.kind
    return TRUTH if isinstance(x, bool) else WHOLE if isinstance(x, int) else REAL


def _kind_beside(x: Number, other: Number) -> Kind:
    if isinstance(x, Value) or not isinstance(other, Value):
        return kind_of(x)
    return other.kind if other.kind.floating or not isinstance(x, float) else REAL


def _mask(lanes: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))


@lru_cache
def exp2_polynomial(degree: int) -> tuple[float, ...]:
    """Coefficients of 1 + c_1 f + ... + c_degree f^degree, close to 2^f on [-1/2, 1/2].

    They interpolate (2^f - 1) / f in Chebyshev's points.
    """
    f = np.cos(np.pi * (np.arange(degree) + 0.5) / degree) / 2
    slope = [math.expm1(v * math.log(2)) / v if v else math.log(2) for v in f]
    # The fit uses Chebyshev's basis, which is well conditioned, and is then put in powers of f.
    fit = np.polynomial.chebyshev.Chebyshev.fit(f, slope, degree - 1, domain=[-0.5, 0.5])
    return (1.0, *(float(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef))
