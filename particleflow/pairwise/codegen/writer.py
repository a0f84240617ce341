"""Hold the code that is being written: each operation of a `values.Value` appends to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from particleflow.pairwise.codegen.llvm import ir
from particleflow.pairwise.codegen.processor import Processor


class Table(Protocol):
    """Numbers in memory, for vectors of one kind."""

    @property
    def kind(self) -> object: ...
    def load(self, number: float) -> ir.Value: ...


@dataclass
class Writer:
    """The place of the next instruction, and the processor that it is for.

    `loops` holds the targets of `continue` and `break`, None for an unrolled loop. `branches`
    counts the open loops and conditions of the code. Plain numbers are read from `table`, if any.
    """

    builder: ir.IRBuilder
    processor: Processor
    loops: list[tuple[ir.Block, ir.Block] | None] = field(default_factory=list)
    branches: int = 0
    table: Table | None = None

    def blocks(self, *names: str) -> list[ir.Block]:
        return [self.builder.append_basic_block(name) for name in names]

    def go(self, block: ir.Block, then: ir.Block | None = None) -> None:
        """Jump to `block`, then write on in `then`, by default in `block`."""
        self.builder.branch(block)
        self.builder.position_at_end(then or block)

    def place(self, kind: ir.Type) -> ir.Value:
        """Room for one value in the function's entry, 0 at first. LLVM makes it a register."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(kind)
            self.builder.store(ir.Constant(kind, None), place)
        return place


_writer: ContextVar[Writer | None] = ContextVar("writer", default=None)


def writer() -> Writer:
    """The writer of this thread."""
    now = _writer.get()
    if now is None:
        raise RuntimeError("no code is being written: call this from a @staged function")
    return now


def is_writing() -> bool:
    return _writer.get() is not None


@contextmanager
def writing(builder: ir.IRBuilder, processor: Processor) -> Iterator[None]:
    token = _writer.set(Writer(builder, processor))
    try:
        yield
    finally:
        _writer.reset(token)
