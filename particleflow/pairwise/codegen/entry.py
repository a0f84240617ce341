"""Make a function that Python calls from a function that writes code."""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np

from particleflow.memo import cached_property
from particleflow.pairwise.codegen.arrays import Address, Array
from particleflow.pairwise.codegen.control import as_kind, parts
from particleflow.pairwise.codegen.llvm import binding, ir
from particleflow.pairwise.codegen.processor import Argument, Processor, function_of
from particleflow.pairwise.codegen.values import BYTES, REAL, WHOLE, Kind, Value
from particleflow.pairwise.codegen.writer import writer, writing

# The argument types that a call accepts for each of Python's number types.
ACCEPTED: dict[object, tuple[type, ...]] = {
    int: (int, np.integer),
    float: (int, float, np.integer, np.floating),
    bool: (bool, np.bool_),
}

# An annotation: a type, or a form of `typing`.
Hint: TypeAlias = Callable[..., object]
# A function that checks an argument and appends the numbers and addresses passed for it.
Append: TypeAlias = Callable[[object, list[object]], None]


def machine_code(
    body: Callable[..., None],
    parameters: Sequence[str | type],
    processor: Processor,
    *,
    vectors: bool = True,
) -> Callable[..., None]:
    """The compiled function that `body` writes, for the given parameters.

    An element's name as parameter stands for an address of such elements, an `arrays.Array` in the
    body. int or float stands for a number. A call checks nothing and releases the GIL. `vectors`
    allows LLVM to vectorise loops.
    """
    _symbols()
    module = ir.Module("code")
    numbers: dict[object, tuple[Kind, Argument]] = {
        int: (WHOLE, ctypes.c_int64),
        float: (REAL, ctypes.c_double),
    }
    kinds = [numbers[one][0] if one in numbers else Address(str(one)) for one in parameters]
    passed = [numbers[one][1] if one in numbers else ctypes.c_void_p for one in parameters]
    signature = ir.FunctionType(ir.VoidType(), [kind.type for kind in kinds])
    code = ir.Function(module, signature, "code")
    # Spilled vectors need a stack aligned to 32 bytes; code made at run time has 16 by default.
    # llvmlite drops the alignment of functions that may unwind.
    code.attributes.add("nounwind")
    code.attributes.alignstack = 32
    builder = ir.IRBuilder(code.append_basic_block("entry"))
    with writing(builder, processor):
        writer().go(code.append_basic_block("start"))
        values = map(Value, kinds, code.args)
        body(*(Array(v.llvm, v.kind.element) if v.kind not in (WHOLE, REAL) else v for v in values))
        builder.ret_void()
    return function_of(module, "code", processor, passed, vectors=vectors)


@functools.lru_cache
def _symbols() -> None:
    library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    binding.add_symbol("log1p", ctypes.cast(library.log1p, ctypes.c_void_p).value)


@dataclass(frozen=True)
class Elements:
    """An array's dtype and number of axes, in an annotation."""

    dtype: str
    rank: int


class Entry:
    """A staged function with annotations, compiled at its first call for the processor at hand.

    The types are int (64 bits), float (double), bool, C-ordered arrays Annotated[np.ndarray,
    Elements], and tuples and NamedTuples of these. A call costs some microseconds.
    """

    def __init__(self, python: Callable[..., object], written: Callable[..., object]) -> None:
        self._name = f"{python.__module__}.{python.__qualname__}"
        self._python, self._written = python, written

    def __call__(self, *arguments: object) -> object:
        if len(arguments) != len(self._passing):
            count = len(self._passing)
            raise TypeError(f"{self._name} takes {count} arguments, got {len(arguments)}")
        passed: list[object] = []
        for append, argument in zip(self._passing, arguments, strict=True):
            append(argument, passed)
        answer = np.empty(self._room, np.int64)
        self._code(*passed, answer.__array_interface__["data"][0])
        return _unpacked(self._types[1], iter(answer)) if len(answer) else None

    @cached_property
    def _passing(self) -> list[Append]:
        return [_passing(name, kind) for name, kind in self._types[0].items()]

    @cached_property
    def _room(self) -> int:
        return len(_leaves(self._types[1]))

    @cached_property
    def _types(self) -> tuple[dict[str, Hint], Hint]:
        """The types of the parameters, and the type of the result."""
        hints = typing.get_type_hints(self._python, include_extras=True)
        needed = [*inspect.signature(self._python).parameters, "return"]
        if missing := [name for name in needed if name not in hints]:
            raise TypeError(f"{self._name}: {missing} need annotations")
        return hints, hints.pop("return")

    @cached_property
    def _code(self) -> Callable[..., None]:
        types, _ = self._types
        leaves = [leaf for kind in types.values() for leaf in _leaves(kind)]
        # The innermost loops run over two or three coordinates: vectors would only cost time.
        return machine_code(self._write, [*leaves, "int64"], Processor.here(), vectors=False)

    def _write(self, *values: Array | Value) -> None:
        types, result = self._types
        answer, left = cast("Array", values[-1]), iter(values[:-1])
        made = parts(self._written(*(_argument(kind, left) for kind in types.values())))
        for place, (leaf, part) in enumerate(zip(_leaves(result), made, strict=True)):
            answer[place] = as_kind(REAL, part).bits() if leaf is float else WHOLE(part)


def _leaves(kind: Hint) -> list[str | type]:
    """The leaves of a type: an element's name for an address, int or float for a number."""
    if kind in ACCEPTED:
        return [float if kind is float else int]
    if elements := _elements(kind):
        return [elements.dtype, *[int] * elements.rank]
    return [leaf for one in _fields(kind).values() for leaf in _leaves(one)]


def _elements(kind: Hint) -> Elements | None:
    found = [one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Elements)]
    return found[0] if found and found[0].dtype in BYTES else None


def _fields(kind: Hint) -> dict[str, Hint]:
    """The fields of a tuple or a NamedTuple, by name."""
    if typing.get_origin(kind) is tuple:
        return {str(k): one for k, one in enumerate(typing.get_args(kind))}
    if inspect.isclass(kind) and issubclass(kind, tuple):
        return typing.get_type_hints(kind, include_extras=True)
    if kind is type(None):
        return {}
    raise TypeError(f"cannot compile for the annotation {kind}")


def _argument(kind: Hint, values: Iterator[Array | Value]) -> object:
    """The argument that the code sees, made from the values passed to it."""
    if elements := _elements(kind):
        address, *lengths = (next(values) for _ in range(1 + elements.rank))
        return cast("Array", address).shaped(*cast("list[Value]", lengths))
    if kind in ACCEPTED:
        return next(values) != 0 if kind is bool else next(values)
    made = [_argument(one, values) for one in _fields(kind).values()]
    return tuple(made) if typing.get_origin(kind) is tuple else kind(*made)


def _passing(name: str, kind: Hint) -> Append:
    """A function that checks an argument and appends the values passed for it."""

    def number(argument: object, passed: list[object]) -> None:
        wrong = kind is not bool and isinstance(argument, bool | np.bool_)
        if wrong or not isinstance(argument, ACCEPTED[kind]):
            raise TypeError(f"`{name}` must be {kind.__name__}, got {argument!r}")
        passed.append(kind(argument))

    def array(argument: object, passed: list[object]) -> None:
        if not (
            isinstance(argument, np.ndarray)
            and argument.dtype == dtype
            and argument.ndim == rank
            and argument.flags.c_contiguous
            and argument.flags.aligned
        ):
            got = repr(argument)
            if isinstance(argument, np.ndarray):
                got = f"{argument.dtype} {argument.shape}, strides {argument.strides}"
            wanted = f"a C-contiguous {dtype} array with {rank} axes"
            raise TypeError(f"`{name}` must be {wanted}, got {got}")
        passed += [argument.__array_interface__["data"][0], *argument.shape]

    def several(argument: object, passed: list[object]) -> None:
        if not isinstance(argument, tuple) or len(argument) != len(parts_of_it):
            raise TypeError(f"`{name}` must be a tuple of {len(parts_of_it)}, got {argument!r}")
        for append, part in zip(parts_of_it, argument, strict=True):
            append(part, passed)

    if kind in ACCEPTED:
        return number
    if elements := _elements(kind):
        dtype, rank = np.dtype(elements.dtype), elements.rank
        return array
    parts_of_it = [_passing(f"{name}.{field}", one) for field, one in _fields(kind).items()]
    return several


def _unpacked(kind: Hint, answer: Iterator[np.int64]) -> object:
    if kind in ACCEPTED:
        number = next(answer)
        return float(number.view(np.float64)) if kind is float else kind(number)
    return tuple(_unpacked(one, answer) for one in _fields(kind).values())
