"""Loops over arrays, written in a small part of Python, as machine code: the function's syntax tree
becomes LLVM's IR, which `processor` compiles.

    @translated
    def total(points: Annotated[np.ndarray, Elements("float64", 2)], k: int) -> float: ...

Types: int (64 bits), float (double), bool; C-ordered arrays `Elements` of the dtypes in `STORED`;
tuples and NamedTuples of these. A variable keeps the type of its first assignment. Statements:
assignments (also of tuples, and +=, -=, *=), if, while, for over range, break, continue, return.
Expressions: + - * / // (by 0: the number itself) >>, comparisons, and, or, not, a if c else b, a[i,
j], a[i] (a row), a[i:], a.shape, len, min and max of two, abs, int, math.sqrt, math.log1p,
constants of the module, and calls of other translated functions. As in Python, NaN included, except
that integers wrap around, int() of NaN is 0 and of what is too large the largest, x / 0 and sqrt of
negative numbers are inf or NaN, and INDICES ARE NOT CHECKED: none may be negative or too large.
Anything else is refused with its file and line when the function is first called. Arguments are
checked at each call.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import struct
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir

from particleflow.memo import cached_property
from particleflow.pairwise.codegen import processor
from particleflow.pairwise.codegen.translation import Body
from particleflow.pairwise.codegen.types import (
    F64,
    I1,
    I64,
    SCALARS,
    STORED,
    Elements,
    Fields,
    Routine,
    flat,
)


def translated(python: Callable[..., Any]) -> Translated:
    return Translated(python)


class Translated(Routine):
    """`python`, compiled at its first call for the processor at hand. Calls release the GIL; they
    cost some microseconds each.
    """

    def __init__(self, python: Callable[..., Any]) -> None:
        self.python = python
        self.name = f"{python.__module__}.{python.__qualname__}"
        self.__doc__ = python.__doc__

    def __call__(self, *arguments: Any) -> Any:
        names, types, result, call, packed = self._code
        if len(arguments) != len(types):
            raise TypeError(f"{self.name} takes {len(types)} arguments, got {len(arguments)}")
        slots: list[Any] = []
        for name, kind, argument in zip(names, types, arguments, strict=True):
            _pack(name, kind, argument, slots)
        block = bytearray(packed.size)
        packed.pack_into(block, 0, *slots, *[0] * len(flat(result)))
        call((ctypes.c_char * len(block)).from_buffer(block))
        return _unpack(result, iter(packed.unpack(block)[len(slots) :]))

    @cached_property
    def signature(self) -> tuple[list[str], list[Any], Any]:
        """Names and types of the parameters, and the type of the result."""
        hints = typing.get_type_hints(self.python, include_extras=True)
        where = self.python.__code__
        missing = [
            name
            for name in [*inspect.signature(self.python).parameters, "return"]
            if name not in hints
        ]
        if missing:
            raise TypeError(
                f"{where.co_filename}:{where.co_firstlineno}: {missing} need annotations"
            )
        types = {
            name: _type(hint, f"{where.co_filename}:{where.co_firstlineno}")
            for name, hint in hints.items()
        }
        result = types.pop("return")
        return list(types), list(types.values()), result

    def declared(self, module: ir.Module) -> ir.Function:
        if self.name in module.globals:
            return module.globals[self.name]
        _, types, result = self.signature
        answer = flat(result)
        returned = (
            ir.VoidType()
            if not answer
            else answer[0]
            if len(answer) == 1
            else ir.LiteralStructType(answer)
        )
        made = ir.Function(
            module,
            ir.FunctionType(returned, [part for kind in types for part in flat(kind)]),
            self.name,
        )
        made.linkage = "internal"
        Body(self, made).write()
        return made

    @cached_property
    def _code(self) -> tuple[list[str], list[Any], Any, Callable[..., None], struct.Struct]:
        names, types, result = self.signature
        _symbols()
        module = ir.Module(self.name)
        inner = self.declared(module)
        outer = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64.as_pointer()]), "call")
        b = ir.IRBuilder(outer.append_basic_block())
        slots = [slot for kind in types for slot in flat(kind)]
        arguments = []
        for k, kind in enumerate(slots):
            here = b.load(b.gep(outer.args[0], [I64(k)]))
            convert = {I64: b.add, F64: b.bitcast, I1: b.trunc}.get(kind, b.inttoptr)
            arguments.append(here if kind is I64 else convert(here, kind))
        answer = b.call(inner, arguments)
        for k, kind in enumerate(flat(result)):
            part = b.extract_value(answer, k) if len(flat(result)) > 1 else answer
            part = (
                part if kind is I64 else b.bitcast(part, I64) if kind is F64 else b.zext(part, I64)
            )
            b.store(part, b.gep(outer.args[0], [I64(len(slots) + k)]))
        b.ret_void()
        packed = struct.Struct(
            "".join("d" if kind is F64 else "q" for kind in [*slots, *flat(result)])
        )
        # the innermost loops here run over two or three coordinates: vectors would only cost time
        return (
            names,
            types,
            result,
            processor.compiled(
                module, "call", processor.Processor.here(), pointers=1, integers=0, vectors=False
            ),
            packed,
        )


@functools.lru_cache
def _symbols() -> None:
    library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    binding.add_symbol("log1p", ctypes.cast(library.log1p, ctypes.c_void_p).value)


def _type(hint: Any, where: str) -> Any:
    """Of an annotation."""
    if hint in SCALARS or hint is type(None):
        return hint
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Elements) and extra.dtype in STORED:
            return extra
    if typing.get_origin(hint) is tuple:
        return Fields(tuple(_type(one, where) for one in typing.get_args(hint)))
    if inspect.isclass(hint) and issubclass(hint, tuple):
        fields = typing.get_type_hints(hint, include_extras=True)
        return Fields(tuple(_type(one, where) for one in fields.values()), tuple(fields))
    raise TypeError(f"{where}: cannot translate the annotation {hint}")


def _pack(name: str, kind: Any, argument: Any, slots: list[Any]) -> None:
    """Append an argument's parts, after a look at what it is."""
    if isinstance(kind, Elements):
        if not (
            isinstance(argument, np.ndarray) and argument.dtype == kind.dtype and argument.ndim == kind.rank
            and argument.flags.c_contiguous and argument.flags.aligned
        ):  # fmt: skip
            got = (
                f"{argument.dtype} {argument.shape}, strides {argument.strides}"
                if isinstance(argument, np.ndarray)
                else repr(argument)
            )
            raise TypeError(
                f"`{name}` must be a C-contiguous {kind.dtype} array with {kind.rank} axes, got"
                f" {got}"
            )
        slots += [argument.ctypes.data, *argument.shape]
    elif isinstance(kind, Fields):
        if not isinstance(argument, tuple) or len(argument) != len(kind.types):
            raise TypeError(f"`{name}` must be a tuple of {len(kind.types)}, got {argument!r}")
        for k, (one, part) in enumerate(zip(kind.types, argument, strict=True)):
            _pack(f"{name}.{kind.names[k] if kind.names else k}", one, part, slots)
    else:
        accepted = {
            int: (int, np.integer),
            float: (int, float, np.integer, np.floating),
            bool: (bool, np.bool_),
        }[kind]
        if not isinstance(argument, accepted) or (
            kind is not bool and isinstance(argument, (bool, np.bool_))
        ):
            raise TypeError(f"`{name}` must be {kind.__name__}, got {argument!r}")
        slots.append(kind(argument))


def _unpack(kind: Any, slots: Any) -> Any:
    if isinstance(kind, Fields):
        return tuple(_unpack(one, slots) for one in kind.types)
    return None if kind is type(None) else kind(next(slots))
