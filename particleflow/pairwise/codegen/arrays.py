"""Read and write arrays in memory from compiled code.

Nothing is checked when the code runs: an index out of bounds reads or corrupts memory. Loads and
stores need only the alignment of an element.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from particleflow.pairwise.codegen.llvm import ir
from particleflow.pairwise.codegen.values import (
    BYTES,
    TRUTH,
    WHOLE,
    Integer,
    Kind,
    Number,
    Value,
    register,
)
from particleflow.pairwise.codegen.writer import writer

# The place of an element: its index on each axis.
Place: TypeAlias = "Integer | tuple[Integer, ...]"


def stored(element: str) -> ir.Type:
    """LLVM's type of an element in memory."""
    return ir.IntType(8) if element == "bool" else register(element)


@dataclass(frozen=True)
class Address(Kind):
    """The kind of an array's pointer to elements in memory."""

    @cached_property
    def type(self) -> ir.Type:
        return stored(self.element).as_pointer()


@dataclass(frozen=True, eq=False)
class Array:
    """Numbers in memory, in C's order. A flat array that is only indexed needs no `shape`."""

    pointer: ir.Value
    element: str
    shape: tuple[Integer | None, ...] = (None,)

    # any: a staged function treats what it reads as a Python number, or as a row
    def __getitem__(self, index: slice | Place) -> Any:
        """The number a[i, j], the row a[i] or the slice a[i:]. Integers come as 64 bits."""
        if isinstance(index, slice):
            if index.start is None or index.stop is not None or index.step is not None:
                raise TypeError("of slices only a[i:] can be compiled")
            rest = self.shape[0]
            left = None if rest is None else WHOLE(rest - index.start).at_least(0)
            return Array(self.at(index.start), self.element, (left, *self.shape[1:]))
        indices = _each(index)
        if len(indices) < len(self.shape):
            return Array(self.at(*indices), self.element, self.shape[len(indices) :])
        b = writer().builder
        number = b.load(self.at(*indices), align=BYTES[self.element])
        if self.element == "bool":
            return Value(TRUTH, b.icmp_unsigned("!=", number, number.type(0)))
        read = Value(Kind(self.element), number)
        return read if read.kind.floating else WHOLE(read)

    def __setitem__(self, index: Place, number: Number) -> None:
        b, indices = writer().builder, _each(index)
        if len(indices) < len(self.shape):
            raise TypeError("only single elements can be assigned")
        part = Kind(self.element)(number).llvm
        if self.element == "bool":
            part = b.zext(part, stored("bool"))
        b.store(part, self.at(*indices), align=BYTES[self.element])

    def shaped(self, *shape: Integer | None) -> Array:
        """The same memory with these axes. The first length may be None."""
        return Array(self.pointer, self.element, shape)

    def load(self, index: Place, lanes: int) -> Value:
        """The `lanes` elements from a[index] on."""
        kind = Kind(self.element, lanes)
        place = writer().builder.bitcast(self.at(*_each(index)), kind.type.as_pointer())
        return Value(kind, writer().builder.load(place, align=BYTES[self.element]))

    def store(self, index: Place, vector: Value) -> None:
        place = writer().builder.bitcast(self.at(*_each(index)), vector.kind.type.as_pointer())
        writer().builder.store(vector.llvm, place, align=BYTES[self.element])

    def all_lanes(self, index: Place, lanes: int) -> Value:
        """Element `index` in all lanes."""
        return Kind(self.element, lanes)(self[index])

    def at(self, *indices: Number) -> ir.Value:
        """The address of an element. Indices left out count as 0."""
        b = writer().builder
        offset = WHOLE(indices[0]).llvm
        for k, length in enumerate(self.shape[1:], 1):
            assert length is not None
            offset = b.mul(offset, WHOLE(length).llvm, flags=["nsw"])
            if k < len(indices):
                offset = b.add(offset, WHOLE(indices[k]).llvm, flags=["nsw"])
        return b.gep(self.pointer, [offset])


def _each(index: Place) -> tuple[Integer, ...]:
    return index if isinstance(index, tuple) else (index,)


def memory(element: str, count: int) -> Array:
    """A flat array on the running function's stack, aligned for vectors of up to 32 bytes."""
    b = writer().builder
    with b.goto_entry_block():
        place = b.alloca(ir.ArrayType(stored(element), count))
        place.align = 32
        return Array(b.bitcast(place, stored(element).as_pointer()), element)


class NumbersInMemory:
    """Constants in memory, each repeated `width` times, behind an address hidden from LLVM.

    LLVM then reads a constant where it is used. There are too few registers: constants in them
    would push out the values that change.
    """

    # Largest number of constants, more than any formula has.
    ROOM = 32

    def __init__(self, kind: Kind, width: int) -> None:
        """`kind` is the kind of the vectors that use the constants."""
        self.kind, self._row = kind, Kind(kind.element, width)
        self._numbers: list[float] = []
        self._rows = [ir.Constant(self._row.type, None)] * self.ROOM  # They are zeros.
        block = ir.ArrayType(self._row.type, self.ROOM)
        self._global = ir.GlobalVariable(writer().builder.module, block, "numbers")
        self._global.linkage = "internal"
        self._global.global_constant = True
        self._global.align = width * BYTES[kind.element]
        self._array = Array(None, kind.element)

    @contextmanager
    def read(self) -> Iterator[None]:
        """Take plain numbers from memory within one iteration of a loop."""
        b, pointer = writer().builder, register(self.kind.element).as_pointer()
        place = b.bitcast(self._global, pointer)
        hidden = b.asm(ir.FunctionType(pointer, [pointer]), "", "=r,0", [place], True)
        self._array = Array(hidden, self.kind.element)
        writer().table = self
        yield
        writer().table = None

    def load(self, number: float) -> ir.Value:
        width = self._row.lanes
        if number not in self._numbers:
            self._rows[len(self._numbers)] = self._row.of([float(number)] * width).llvm
            self._numbers.append(number)
            self._global.initializer = ir.Constant(self._global.value_type, self._rows)
        row = self._array.load(self._numbers.index(number) * width, width)
        return row.permuted([k % width for k in range(self.kind.lanes)]).llvm
