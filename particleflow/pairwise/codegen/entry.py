"""From a function that writes code to a function that Python calls."""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import struct
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import binding, ir

from particleflow.memo import cached_property
from particleflow.pairwise.codegen.arrays import STORED, Array
from particleflow.pairwise.codegen.control import as_kind, parts
from particleflow.pairwise.codegen.processor import Processor, function_of
from particleflow.pairwise.codegen.values import REAL, TRUTH, WHOLE, Kind, Value
from particleflow.pairwise.codegen.writer import writer, writing

# Python's number types: the kind of a value, and how the call hands it over.
NUMBERS: dict[Any, tuple[Kind, str]] = {int: (WHOLE, "q"), float: (REAL, "d"), bool: (TRUTH, "q")}
ACCEPTED: dict[Any, tuple[type, ...]] = {
    int: (int, np.integer),
    float: (int, float, np.integer, np.floating),
    bool: (bool, np.bool_),
}


def machine_code(
    body: Callable[..., None],
    parameters: Sequence[str | type],
    processor: Processor,
    *,
    vectors: bool = True,
) -> Callable[..., None]:
    """The function that `body` writes, for the parameters named: an element's name for the address
    of such numbers, an `arrays.Array` in the body; int or float for a number. Nothing is checked
    when it is called. Calls release the GIL. vectors: may LLVM make some of loops.
    """
    _symbols()
    module = ir.Module("code")
    kinds = [
        STORED[one].as_pointer() if isinstance(one, str) else NUMBERS[one][0].type
        for one in parameters
    ]
    code = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "code")
    # Vectors are spilled, and the stack of code made at run time is aligned to 16 bytes otherwise;
    # llvmlite drops the alignment of functions that may unwind.
    code.attributes.add("nounwind")
    code.attributes.alignstack = 32
    builder = ir.IRBuilder(code.append_basic_block("entry"))
    with writing(builder, processor):
        writer().go(code.append_basic_block("start"))
        body(
            *(
                Array(argument, one) if isinstance(one, str) else Value(NUMBERS[one][0], argument)
                for one, argument in zip(parameters, code.args, strict=True)
            )
        )
        builder.ret_void()
    passed = [
        ctypes.c_void_p
        if isinstance(one, str)
        else ctypes.c_double
        if one is float
        else ctypes.c_int64
        for one in parameters
    ]
    return function_of(module, "code", processor, passed, vectors=vectors)


@functools.lru_cache
def _symbols() -> None:
    library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    binding.add_symbol("log1p", ctypes.cast(library.log1p, ctypes.c_void_p).value)


@dataclass(frozen=True)
class Elements:
    """In an annotation: an array's dtype and number of axes."""

    dtype: str
    rank: int


class Entry:
    """A staged function with annotations, compiled at its first call for the processor at hand.

    Types: int (64 bits), float (double), bool; C-ordered arrays, Annotated[np.ndarray, Elements];
    tuples and NamedTuples of these. Calls cost some microseconds each.
    """

    def __init__(self, python: Callable[..., Any], written: Callable[..., Any]) -> None:
        self._name = f"{python.__module__}.{python.__qualname__}"
        self._python, self._written = python, written

    def __call__(self, *arguments: Any) -> Any:
        if len(arguments) != len(self._types):
            raise TypeError(
                f"{self._name} takes {len(self._types)} arguments, got {len(arguments)}"
            )
        slots: list[Any] = []
        for (name, kind), argument in zip(self._types.items(), arguments, strict=True):
            _pack(name, kind, argument, slots)
        block = bytearray(self._slots.size)
        self._slots.pack_into(block, 0, *slots, *self._blank)
        self._code((ctypes.c_char * len(block)).from_buffer(block))
        answer = self._slots.unpack(block)
        return _unpacked(self._result, iter(answer[len(slots) :]))

    @cached_property
    def _types(self) -> dict[str, Any]:
        """Of the parameters."""
        hints = typing.get_type_hints(self._python, include_extras=True)
        needed = [*inspect.signature(self._python).parameters, "return"]
        if missing := [name for name in needed if name not in hints]:
            raise TypeError(f"{self._name}: {missing} need annotations")
        for name, hint in hints.items():
            if name != "return" or hint is not type(None):
                _format(hint, f"{self._name}: `{name}`")
        return {name: hint for name, hint in hints.items() if name != "return"}

    @cached_property
    def _result(self) -> Any:
        return typing.get_type_hints(self._python, include_extras=True)["return"]

    @cached_property
    def _blank(self) -> list[int]:
        return [0] * len(_format(self._result, self._name))

    @cached_property
    def _slots(self) -> struct.Struct:
        """Of 8 bytes each: the arguments, then the result."""
        kinds = [*self._types.values(), self._result]
        return struct.Struct("".join(_format(kind, self._name) for kind in kinds))

    @cached_property
    def _code(self) -> Callable[..., None]:
        # the innermost loops run over two or three coordinates: vectors would only cost time
        return machine_code(self._write, ["int64"], Processor.here(), vectors=False)

    def _write(self, slots: Array) -> None:
        places = iter(range(len(self._slots.format)))
        arguments = [_argument(kind, slots, places) for kind in self._types.values()]
        made = parts(self._written(*arguments))
        formats = _format(self._result, self._name)
        if len(made) != len(formats):
            raise TypeError(f"{self._name} returns {len(made)} numbers, not {len(formats)}")
        for part, code in zip(made, formats, strict=True):
            number = as_kind(REAL if code == "d" else part.kind, part)
            (_doubles(slots) if code == "d" else slots)[next(places)] = number


def _format(kind: Any, where: str) -> str:
    """Of a type's parts in a call: "q" or "d" each."""
    if kind is type(None):
        return ""
    if kind in NUMBERS:
        return NUMBERS[kind][1]
    if elements := _elements(kind):
        return "q" * (1 + elements.rank)
    if fields := _fields(kind):
        return "".join(_format(one, where) for one in fields.values())
    raise TypeError(f"{where}: cannot compile for the annotation {kind}")


def _elements(kind: Any) -> Elements | None:
    found = [one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Elements)]
    return found[0] if found and found[0].dtype in STORED else None


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    """Of a tuple or a NamedTuple."""
    if typing.get_origin(kind) is tuple:
        return {str(k): one for k, one in enumerate(typing.get_args(kind))}
    if inspect.isclass(kind) and issubclass(kind, tuple):
        return typing.get_type_hints(kind, include_extras=True)
    return {}


def _doubles(slots: Array) -> Array:
    pointer = writer().builder.bitcast(slots.pointer, STORED["float64"].as_pointer())
    return Array(pointer, "float64")


def _argument(kind: Any, slots: Array, places: Iterator[int]) -> Any:
    """What the code reads from the slots."""
    if elements := _elements(kind):
        address = slots[next(places)]
        pointer = STORED[elements.dtype].as_pointer()
        shape = tuple(slots[next(places)] for _ in range(elements.rank))
        return Array(writer().builder.inttoptr(address.llvm, pointer), elements.dtype, shape)
    if kind in NUMBERS:
        place = next(places)
        return _doubles(slots)[place] if kind is float else NUMBERS[kind][0](slots[place])
    made = [_argument(one, slots, places) for one in _fields(kind).values()]
    return tuple(made) if typing.get_origin(kind) is tuple else kind(*made)


def _pack(name: str, kind: Any, argument: Any, slots: list[Any]) -> None:
    """Append an argument's parts, after a look at what it is."""
    if kind in NUMBERS:
        wrong = kind is not bool and isinstance(argument, bool | np.bool_)
        if wrong or not isinstance(argument, ACCEPTED[kind]):
            raise TypeError(f"`{name}` must be {kind.__name__}, got {argument!r}")
        slots.append(kind(argument))
    elif elements := _elements(kind):
        if not (
            isinstance(argument, np.ndarray)
            and argument.dtype == elements.dtype
            and argument.ndim == elements.rank
            and argument.flags.c_contiguous
            and argument.flags.aligned
        ):
            raise TypeError(
                f"`{name}` must be a C-contiguous {elements.dtype} array with {elements.rank} axes, "
                f"got {_described(argument)}"
            )
        slots += [argument.ctypes.data, *argument.shape]
    else:
        fields = _fields(kind)
        if not isinstance(argument, tuple) or len(argument) != len(fields):
            raise TypeError(f"`{name}` must be a tuple of {len(fields)}, got {argument!r}")
        for (field, one), part in zip(fields.items(), argument, strict=True):
            _pack(f"{name}.{field}", one, part, slots)


def _described(argument: Any) -> str:
    if not isinstance(argument, np.ndarray):
        return repr(argument)
    return f"{argument.dtype} {argument.shape}, strides {argument.strides}"


def _unpacked(kind: Any, slots: Iterator[Any]) -> Any:
    if kind is type(None):
        return None
    if kind in NUMBERS:
        return kind(next(slots))
    return tuple(_unpacked(one, slots) for one in _fields(kind).values())
