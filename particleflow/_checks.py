"""Checks of arguments: each refuses bad input with what was expected, what came and the remedy."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from particleflow._refusals import Argument, Notice, RefusedTypeError, RefusedValueError
from particleflow.memo import Turn

# The dtypes of points: those that sums over pairs are written for.
FLOATS = (torch.float32, torch.float64)
# The remedy for an empty array.
EMPTY = "look for a selection that left nothing"
# The lock of Python's warning filters, which all threads share.
_filters = Turn()


@runtime_checkable
class Drawn(Protocol):
    """A sampler, as messages recognise it: anything with a `sample` method."""

    def sample(self, n: int, *, seed: int = 0) -> Tensor: ...


def points(value: Any, name: str) -> Tensor:
    """`value` itself, if it is an (n, d) tensor of floats with n, d >= 1.

    Sums over pairs use this check: they take the tensor as it is. Its numbers are not read.
    """
    if not isinstance(value, Tensor):
        raise RefusedTypeError(
            name,
            "must be an (n, d) tensor",
            type(value).__name__,
            f"convert it with torch.as_tensor({name})",
        )
    if value.dtype not in FLOATS:
        raise RefusedTypeError(
            name,
            "must be float32 or float64",
            value.dtype,
            f"convert it with {name}.float() or {name}.double()",
        )
    _held(value, name)
    if value.ndim != 2:
        raise RefusedValueError(
            name,
            "must be (n, d), one row a point",
            f"shape {tuple(value.shape)}",
            _two_dimensional(value, name),
        )
    if 0 in value.shape:
        raise RefusedValueError(
            name,
            "must hold at least one point of at least one coordinate",
            f"shape {tuple(value.shape)}",
            EMPTY,
        )
    return value


def _two_dimensional(tensor: Tensor, name: str) -> str:
    """The remedy for a tensor that is not two-dimensional: how to make points of it."""
    if tensor.ndim == 1:
        return f"one coordinate per point is {name}[:, None]"
    return (
        f"its rows are {name}.reshape(-1, {tensor.shape[-1]})"
        if tensor.ndim
        else "pass rows, e.g. [[0.0, 1.0], [2.0, 3.0]]"
    )


def _held(value: Tensor, name: str) -> None:
    """Refuse a tensor that is not dense."""
    if value.layout != torch.strided:
        raise RefusedTypeError(
            name,
            "must be a dense tensor",
            f"one of layout {value.layout}",
            f"pass its numbers, e.g. {name}.to_dense()",
        )


def as_points(
    value: Any,
    name: str,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """A detached copy of `value` as an (n, d) tensor of finite floats.

    A float32 or float64 tensor keeps its dtype and device unless `dtype` or `device` is given.
    Lists, numpy arrays of any numeric type, integer and boolean tensors become float64 unless
    `dtype` is given.

    Raises
    ------
    TypeError
        `value` is not numeric, or has a float type other than float32 and float64.
    ValueError
        `value` is not two-dimensional, is empty, or is not finite; the message names the first bad
        row.
    """
    if dtype is not None and dtype not in FLOATS:
        raise RefusedTypeError(
            "dtype",
            "must be torch.float32 or torch.float64",
            said(dtype),
            "pass one of them, or leave it out",
        )
    if isinstance(value, Tensor):
        _held(value, name)
        if value.device.type == "meta":
            raise RefusedTypeError(
                name, "must hold numbers", "a tensor on the meta device", "pass one that does"
            )
        tensor = value.detach()
        if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in FLOATS):
            raise RefusedTypeError(
                name,
                "must be float32 or float64",
                tensor.dtype,
                f"convert it with {name}.float() or {name}.double()",
            )
        target = dtype or (tensor.dtype if tensor.is_floating_point() else torch.float64)
    else:
        if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "fiub":
            value = np.ma.filled(value.astype(np.float64), np.nan)  # a masked entry is no number
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise RefusedTypeError(
                name, "must be an (n, d) array of numbers", "rows of different lengths", f"{error}"
            ) from None
        if array.dtype == np.float16:
            raise RefusedTypeError(
                name,
                "must be float32 or float64",
                "float16",
                f"convert it with {name}.astype('float64')",
            )
        if array.dtype.kind not in "fiub":
            raise RefusedTypeError(
                name, "must be an (n, d) array of real numbers", _unlike_points(value, array.dtype)
            )
        tensor = torch.from_numpy(np.array(array, dtype=np.float64, order="C"))
        target = dtype or torch.float64
    if tensor.ndim != 2:
        raise RefusedValueError(
            name,
            "must be (n, d), one row a point",
            f"shape {tuple(tensor.shape)}",
            _two_dimensional(tensor, name),
        )
    if 0 in tensor.shape:
        raise RefusedValueError(
            name,
            "must hold at least one point of at least one coordinate",
            f"shape {tuple(tensor.shape)}",
            EMPTY,
        )
    tensor = tensor.to(dtype=target, device=device, copy=True).contiguous()
    if not all_finite(tensor):
        bad = ~torch.isfinite(tensor).all(dim=1)
        row = int(bad.nonzero()[0, 0])
        raise RefusedValueError(
            name,
            "must be finite",
            f"{tensor[row].tolist()} in row {row} ({int(bad.sum())} bad rows of {len(bad)})",
            f"drop them with {name}[np.isfinite({name}).all(1)]",
        )
    return tensor


def _unlike_points(value: Any, dtype: np.dtype) -> str:
    """For a message: what came instead of points, and the remedy where it is plain."""
    if isinstance(value, type):
        return f"the class {value.__name__}: pass points"
    if isinstance(value, Drawn):
        made = f"{type(value).__name__}(...)"
        return f"the sampler {made}: draw some, {made}.sample(300, seed=0)"
    return (
        f"{type(value).__name__} with entries of type {dtype}: pass an array of numbers, one row a"
        " point"
    )


class OutOfRangeError(ValueError):
    """Coordinates are too large for sums over pairs: a run that meets them has diverged."""


def all_finite(points: Tensor) -> bool:
    """Are all numbers finite? One pass is enough: a NaN shows in both extremes."""
    return all(math.isfinite(end) for end in points.aminmax())


def same_space(x: Tensor, y: Tensor, x_name: str = "x", y_name: str = "y") -> None:
    """Refuse two clouds of different dimension, dtype or device."""
    both = Argument(x_name), " and ", Argument(y_name)
    if x.shape[1] != y.shape[1]:
        raise RefusedValueError(
            y_name,
            (Argument(y_name), f" must be (M, {x.shape[1]}) like ", Argument(x_name)),
            tuple(y.shape),
            "pass the same coordinates, or project with sklearn.decomposition.PCA",
        )
    if x.dtype != y.dtype:
        remedy = f"convert one, e.g. {y_name}.to({x_name}.dtype)"
        raise RefusedTypeError(
            x_name, (*both, " must have one dtype"), f"{x.dtype} and {y.dtype}", remedy
        )
    if x.device != y.device:
        remedy = f"move one, e.g. {y_name}.to({x_name}.device)"
        raise RefusedValueError(
            x_name, (*both, " must be on one device"), f"{x.device} and {y.device}", remedy
        )


def flag(value: Any, name: str, *, of: str = "", remedy: str = "") -> bool:
    """True or False. A method, an array or a number is refused."""
    if not isinstance(value, bool | np.bool_):
        where = f" for {of}" if of else ""
        raise RefusedTypeError(
            name,
            f"must be True or False{where}",
            said(value),
            remedy or f"write {name}=True or {name}=False",
        )
    return bool(value)


def text(value: Any, name: str, *, remedy: str) -> str:
    """A str."""
    if not isinstance(value, str):
        raise RefusedTypeError(name, "must be text", said(value), remedy)
    return value


def function(value: Any, name: str, *, remedy: str) -> Any:
    """A callable that is not a class."""
    if isinstance(value, type) or not callable(value):
        raise RefusedTypeError(name, "must be a function", said(value), remedy)
    return value


def several(value: Any, name: str, *, remedy: str) -> list[Any]:
    """The members of an iterable, as a list. A str and a mapping are refused."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise RefusedTypeError(name, "must be several", said(value), remedy)
    return list(value)


def path(value: Any, name: str, example: str) -> Path:
    """A str or a path, as a Path."""
    if not isinstance(value, str | PathLike):
        raise RefusedTypeError(
            name, "must be the path of a file", said(value), f"pass e.g. '{example}'"
        )
    return Path(value)


def kind(value: Any) -> str:
    """For a message: a class with its name, or the name of the value's type."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def came(value: Any) -> str:
    """For a message: as `kind`, and a class is said to lack its parentheses."""
    return kind(value) + " without its parentheses" * isinstance(value, type)


def said(value: Any, *, most: int = 80) -> str:
    """For a message: a value in short, by its type where it has many parts or no words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    try:
        words = repr(value)
        return words if len(words) <= most else f"{words[: most - 4]}...{words[-1]}"
    except Exception:  # a user's repr that raises must not hide the message
        return type(value).__name__


def positive(value: Any, name: str, *, remedy: str = "") -> float:
    """A finite float > 0."""
    number = real(value, name, remedy=remedy)
    if number <= 0:
        raise RefusedValueError(name, "must be > 0", f"{number:g}", remedy or "pass a number > 0")
    return number


def non_negative(value: Any, name: str, *, remedy: str = "") -> float:
    """A finite float >= 0."""
    number = real(value, name, remedy=remedy)
    if number < 0:
        raise RefusedValueError(name, "must be >= 0", f"{number:g}", remedy or "pass 0 or more")
    return number


def real(value: Any, name: str, *, remedy: str = "") -> float:
    """A finite float."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RefusedTypeError(
            name, "must be a number", type(value).__name__, remedy or "pass one number, e.g. 1.0"
        )
    number = float(value)
    if not math.isfinite(number):
        raise RefusedValueError(
            name,
            "must be finite",
            number,
            remedy or "pass a number that is neither infinite nor NaN",
        )
    return number


def count(value: Any, name: str, *, least: int = 1, remedy: str = "") -> int:
    """An integer >= `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        whole = (
            f"pass {int(value)}"
            if isinstance(value, float) and value.is_integer() and value >= least
            else "pass a whole number"
        )
        raise RefusedTypeError(name, "must be an integer", said(value), remedy or whole)
    number = int(value)
    if number < least:
        raise RefusedValueError(
            name, f"must be >= {least}", number, remedy or f"pass {least} or more"
        )
    return number


@contextmanager
def warnings_caught(action: Literal["ignore", "always"]) -> Iterator[list[warnings.WarningMessage]]:
    """Catch the warnings that a library gives, in one thread at a time.

    Python's filters belong to the process: two threads that change them leave them changed.
    """
    with _filters, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        yield caught


def warn(message: str | Notice, category: type[Warning] = RuntimeWarning) -> None:
    """Warn at the user's line: the line that called into this package."""
    package, depth, within = __name__.partition(".")[0], 0, 1
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        depth += 1
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            within = depth
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=within + 1)
