"""Write the machine code for exact sums over pairs.

`function(plan)` is a function of addresses, then of integers:

    tile(z, x, w, ptr, starts, stops, out, lowest, scratch, first, last, block, Q, d, K)

z (d, Q), x (N, d) and w (N, K) are float32 or float64. Points are scaled as `kernels.facts.Profile`
says. The queries are cut into blocks of `block` rows. Block b meets the sources
starts[r] <= j < stops[r] of its ranges r = ptr[b] ... ptr[b + 1] - 1 (int64). All pairs are one
range a block; a backend that leaves pairs out lists the ranges that are left. The call works on the
blocks first <= b < last, each by itself: threads share the blocks, and the bits do not depend on
the number of threads. Q and `block` are multiples of the plan's `lanes`.

Sums: the call adds to out (K * C, Q), float64. For each weight vector it holds the value or the
laplacian, the d coordinates of the gradient, or the value and these. `lowest` is not read.

Logarithms (K = 1): w holds log2 w. out (1 + d, Q) holds the value and the coordinates of the
gradient relative to 2^-lowest. lowest (Q,), in the element's type, starts at its largest finite
number, and out starts at 0. `scratch` has as many bytes as the plan says, and belongs to the call.

A tile is a vector of queries that meets one source at a time. The vector is several registers wide,
so that the chains of operations fill each other's gaps. With one weight vector and d <= 3, all
numbers stay in registers. Otherwise a chunk of sources goes through a scratch in the first-level
cache: squared distances, then the kernel's factors, then one weight vector and coordinate after the
other. Sums run over a chunk in the element's precision, then in float64. The code checks no index
and may lose NaNs: the caller checks both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from particleflow.kernels.declared import profile_of
from particleflow.kernels.facts import Formula, Pair, Profile
from particleflow.memo import cached_property
from particleflow.pairwise.codegen.arrays import Array, NumbersInMemory
from particleflow.pairwise.codegen.entry import machine_code
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.codegen.values import BYTES, Kind, Value, fma, squared_norm
from particleflow.pairwise.terms import What

# Sources of a chunk in registers, summed in the element's precision.
CHUNK = 256
# Sources of a chunk in the scratch, which fits the first-level cache.
SCRATCH = 64
# Most coordinates whose differences stay in registers.
UNROLLED = 3


@dataclass(frozen=True)
class Plan:
    """The choices that determine one compiled function.

    `d` is 0 where the number of coordinates comes at run time. `weights` is "one" (all equal to 1),
    "column" (N, 1) or "columns" (N, K).
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
        return self.processor.lanes(self.element)

    @cached_property
    def scratch(self) -> int:
        """Size of the scratch in bytes.

        Each source of a chunk has up to three vectors, or two and the differences.
        """
        vectors = 0 if self.at_once else max(3, 2 + self.d)
        return vectors * SCRATCH * self.lanes * BYTES[self.element]

    @property
    def profile(self) -> Profile:
        return profile_of(self.kernel)

    @property
    def formulas(self) -> tuple[Formula | None, Formula | None]:
        """The factor of a weight, and the factor of a weight times a difference."""
        value, slope = self.profile.value, self.profile.slope
        scalar = {What.GRAD: None, What.LAPLACIAN: self.profile.laplacian}.get(self.what, value)
        return scalar, slope if self.what in (What.GRAD, What.BOTH) else None


@cache
def function(plan: Plan) -> Callable[..., None]:
    """Return `tile` for this plan. Calls release the GIL."""
    data = plan.element
    addresses = [data, data, data, "int64", "int64", "int64", "float64", data, data]
    return machine_code(partial(_tile, plan), [*addresses, *[int] * 6], plan.processor)


@staged
def _tile(
    plan: Plan,
    z: Array,
    x: Array,
    w: Array,
    ptr: Array,
    starts: Array,
    stops: Array,
    out: Array,
    lowest: Array,
    scratch: Array,
    first: int,
    last: int,
    block: int,
    Q: int,
    d: int,
    K: int,
) -> None:
    axes = plan.d or d
    arrays = z.shaped(axes, Q), x.shaped(None, axes), w.shaped(None, K), out.shaped(None, Q)
    stored = lowest, scratch.shaped(None, SCRATCH, plan.lanes)
    tile = (_Log if plan.log else _Sum if plan.at_once else _Columns)(
        plan, axes, K, *arrays, *stored
    )
    chunk = CHUNK if plan.at_once else SCRATCH
    for b in range(first, last):
        low = b * block
        high = min(low + block, Q)
        for r in range(ptr[b], ptr[b + 1]):
            stop = stops[r]
            for begin in range(starts[r], stop, chunk):
                end = min(begin + chunk, stop)
                for row in range(low, high, plan.lanes):
                    tile.write(begin, end, row)


class _Tile(ABC):
    """The sums of queries row ... row + lanes - 1 over the sources begin <= j < end."""

    def __init__(
        self,
        plan: Plan,
        d: int,
        columns: int,
        z: Array,
        x: Array,
        w: Array,
        out: Array,
        lowest: Array,
        scratch: Array,
    ) -> None:
        self.plan, self.profile, self.d, self.columns = plan, plan.profile, d, columns
        self.z, self.x, self.w, self.out, self.lowest, self.scratch = z, x, w, out, lowest, scratch
        self.lanes = Kind(plan.element, plan.lanes)
        self.numbers = NumbersInMemory(self.lanes, plan.register)
        axes = float(plan.d) if plan.d else Kind(plan.element)(d)
        self.d_vector = axes if plan.d else self.lanes(axes)

    @abstractmethod
    def write(self, begin: int, end: int, row: int) -> None:
        """Write the code that adds the sources begin <= j < end to the queries from `row` on."""

    def query(self, k: int, row: int) -> Value:
        return self.z.load((k, row), self.plan.lanes)

    def source(self, j: int, k: int) -> Value:
        return self.x.all_lanes((j, k), self.plan.lanes)

    def queries(self, row: int) -> list[Value]:
        return [self.query(k, row) for k in range(self.plan.d)]

    def keep(self, vector: Value, slot: int, i: int) -> None:
        """Store a vector in the scratch, for source i of the chunk."""
        self.scratch.store((slot, i, 0), vector)

    def kept(self, slot: int, i: int) -> Value:
        return self.scratch.load((slot, i, 0), self.plan.lanes)

    def apart(self, z: list[Value], j: int, row: int) -> tuple[Value, list[Value]]:
        """Return q of source j and the differences, which are [] where d comes at run time."""
        if not self.plan.d:
            return self._far(j, row), []
        u = [self.source(j, k) - z_k for k, z_k in enumerate(z)]
        return squared_norm(u), u

    @staged
    def _far(self, j: int, row: int) -> Value:
        q = self.lanes(0.0)
        for k in range(self.d):
            u_k = self.source(j, k) - self.query(k, row)
            q = fma(u_k, u_k, q)
        return q

    @staged
    def forces(
        self, begin: int, end: int, row: int, component: int, slot: int, scale: Value | None = None
    ) -> None:
        """Add the kept slopes times the differences, one coordinate after the other.

        The sums go to the components `component` ... `component` + d - 1.
        """
        for k in range(self.d):
            z = self.query(k, row)
            total = self.lanes(0.0)
            for i in range(end - begin):
                total = fma(self.kept(slot, i), self.source(begin + i, k) - z, total)
            self.add(total, component + k, row, scale)

    def pair(self, q: Value, decay: Value | None) -> Pair:
        return Pair(q, self.d_vector, self.profile.length, decay)

    def exponent(self, q: Value) -> Value:
        assert self.profile.exponent
        return self.profile.exponent(self.pair(q, None))

    def decayed(self, q: Value) -> Pair:
        return self.pair(q, self.exponent(q).exp2_minus() if self.profile.exponent else None)

    def add(self, total: Value, component: int, row: int, scale: Value | None = None) -> None:
        """Multiply out[component] by `scale`, and add `total`."""
        wide = Kind("float64", self.plan.lanes)
        before = self.out.load((component, row), self.plan.lanes)
        moved = before if scale is None else before * wide(scale)
        self.out.store((component, row), wide(total) + moved)


class _Sum(_Tile):
    """A tile of one weight vector and few coordinates, all in registers."""

    @staged
    def write(self, begin: int, end: int, row: int) -> None:
        scalar, slope = self.plan.formulas
        z = self.queries(row)
        value = self.lanes(0.0)
        force = [self.lanes(0.0) for _ in z]
        for j in range(begin, end):
            with self.numbers.read():
                q, u = self.apart(z, j, row)
                pair = self.decayed(q)
                one = self.plan.weights == "one"
                weight = None if one else self.w.all_lanes((j, 0), self.plan.lanes)
                if scalar:
                    factor = scalar(pair)
                    value = value + factor if weight is None else fma(factor, weight, value)
                if slope:
                    pull = slope(pair) if weight is None else slope(pair) * weight
                    force = [fma(pull, u_k, total) for u_k, total in zip(u, force, strict=True)]
        for component, total in enumerate([value] * bool(scalar) + force * bool(slope)):
            self.add(total, component, row)


class _Columns(_Tile):
    """A tile of any number of weight vectors and coordinates, one after the other.

    Each pair's factors are computed once. Scratch 0 holds q, then the scalar factor (value or
    laplacian). Scratch 1 holds the slope, and scratch 2 the slope times a weight.
    """

    @staged
    def write(self, begin: int, end: int, row: int) -> None:
        scalar, slope = self.plan.formulas
        z = self.queries(row)
        for i in range(end - begin):
            self.keep(self.apart(z, begin + i, row)[0], 0, i)
        for i in range(end - begin):
            with self.numbers.read():
                pair = self.decayed(self.kept(0, i))
                for slot, formula in ((0, scalar), (1, slope)):
                    if formula:
                        self.keep(formula(pair), slot, i)
        components = bool(scalar) + self.d * bool(slope)
        for column in range(self.columns):
            total = self.lanes(0.0)
            for i in range(end - begin):
                weight = self.w.all_lanes((begin + i, column), self.plan.lanes)
                if scalar:
                    total = fma(self.kept(0, i), weight, total)
                if slope:
                    self.keep(self.kept(1, i) * weight, 2, i)
            if scalar:
                self.add(total, column * components, row)
            if slope:
                self.forces(begin, end, row, column * components + bool(scalar), 2)


class _Log(_Tile):
    """A tile of a logarithm, whose sums are relative to the lowest exponent so far.

    Scratch 0 holds q, and scratch 1 the exponent less log2 w. The differences, or the slope, come
    next.
    """

    @staged
    def write(self, begin: int, end: int, row: int) -> None:
        profile = self.profile
        z = self.queries(row)
        before = self.lowest.load(row, self.plan.lanes)
        lowest = before
        for i in range(end - begin):
            q, u = self.apart(z, begin + i, row)
            weight = self.w.all_lanes((begin + i, 0), self.plan.lanes)
            cost = self.exponent(q) - weight
            for slot, vector in enumerate([q, cost, *u]):
                self.keep(vector, slot, i)
            lowest = lowest.at_most(cost)
        now = lowest
        self.lowest.store(row, now)
        scale = (before - now).exp2_minus()
        value = self.lanes(0.0)
        force = [self.lanes(0.0) for _ in z]
        for i in range(end - begin):
            with self.numbers.read():
                pair = self.pair(self.kept(0, i), (self.kept(1, i) - now).exp2_minus())
                value = value + profile.value(pair)
                slope = profile.slope(pair)
                apart = [self.kept(2 + k, i) for k in range(self.plan.d)]
                force = [fma(slope, u_k, total) for u_k, total in zip(apart, force, strict=True)]
                if not self.plan.d:
                    self.keep(slope, 2, i)
        for component, total in enumerate([value, *force]):
            self.add(total, component, row, scale)
        if not self.plan.d:
            self.forces(begin, end, row, 1, 2, scale)
