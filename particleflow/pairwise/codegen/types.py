"""What the translated part of Python (`scalar`) computes with: its types, its values, and its
functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

I1, I64, F64 = ir.IntType(1), ir.IntType(64), ir.DoubleType()
SCALARS: dict[Any, Any] = {int: I64, float: F64, bool: I1}
STORED: dict[str, Any] = {
    "float64": F64,
    "int64": I64,
    "int32": ir.IntType(32),
    "uint16": ir.IntType(16),
    "bool": ir.IntType(8),
}


@dataclass(frozen=True)
class Elements:
    """An array's dtype and number of axes: its type here."""

    dtype: str
    rank: int

    @property
    def scalar(self) -> type:
        return {"f": float, "b": bool}.get(self.dtype[0], int)


@dataclass(frozen=True)
class Fields:
    """A tuple's type; `names` are empty unless it is a NamedTuple."""

    types: tuple[Any, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Value:
    """Its type and its parts: one of a scalar, pointer and shape of an array, those of its fields
    in turn for a tuple.
    """

    type: Any
    parts: list[Any]


def flat(kind: Any) -> list[Any]:
    """LLVM's types of a value's parts."""
    if isinstance(kind, Elements):
        return [STORED[kind.dtype].as_pointer(), *[I64] * kind.rank]
    if isinstance(kind, Fields):
        return [part for one in kind.types for part in flat(one)]
    return [] if kind is type(None) else [SCALARS[kind]]


class Routine(ABC):
    """A function of that part, `python`, which others may call by name."""

    python: Callable[..., Any]
    name: str

    @property
    @abstractmethod
    def signature(self) -> tuple[list[str], list[Any], Any]:
        """Names and types of the parameters, and the type of the result."""

    @abstractmethod
    def declared(self, module: ir.Module) -> ir.Function:
        """The function in a module, with all that it calls."""
