"""The one way to refuse bad input, or to warn: what was expected, what arrived, the remedy."""

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

from particleflow.memo import Turn

FLOATS = (torch.float32, torch.float64)
EMPTY = "look for a selection that left nothing"

_filters = Turn()  # at Python's filters of warnings


@runtime_checkable
class Drawn(Protocol):
    """What points can be drawn from: the method of a sampler that tells it from points."""

    def sample(self, n: int, *, seed: int = 0) -> Tensor: ...


def points(value: Any, name: str) -> Tensor:
    """`value` itself, if it is an (n, d) tensor of floats with n, d >= 1; its numbers are not
    looked at. For sums, which take it as it is.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"`{name}` must be an (n, d) tensor, got {type(value).__name__}: convert it with"
            f" torch.as_tensor({name})"
        )
    if value.dtype not in FLOATS:
        raise TypeError(
            f"`{name}` must be float32 or float64, got {value.dtype}: convert it with"
            f" {name}.float() or {name}.double()"
        )
    _held(value, name)
    if value.ndim != 2:
        raise ValueError(
            f"`{name}` must be (n, d), one row a point, got shape {tuple(value.shape)}:"
            f" {_two_dimensional(value, name)}"
        )
    if 0 in value.shape:
        raise ValueError(
            f"`{name}` must hold at least one point of at least one coordinate, got shape"
            f" {tuple(value.shape)}: {EMPTY}"
        )
    return value


def _two_dimensional(tensor: Tensor, name: str) -> str:
    """How to make points of a tensor that is not two-dimensional."""
    if tensor.ndim == 1:
        return f"one coordinate per point is {name}[:, None]"
    return (
        f"its rows are {name}.reshape(-1, {tensor.shape[-1]})"
        if tensor.ndim
        else "pass rows, e.g. [[0.0, 1.0], [2.0, 3.0]]"
    )


def _held(value: Tensor, name: str) -> None:
    """Refuse a tensor that does not hold a number at each place."""
    if value.layout != torch.strided:
        raise TypeError(
            f"`{name}` must be a dense tensor, got one of layout {value.layout}: pass its numbers,"
            f" e.g. {name}.to_dense()"
        )


def as_points(
    value: Any,
    name: str,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """A detached copy of `value` as an (n, d) tensor of finite floats.

    A float32 or float64 tensor keeps its dtype and device unless told otherwise. Everything else
    (lists, numpy arrays of any numeric type, integer and boolean tensors) is converted, to float64
    unless `dtype` is given.

    Raises
    ------
    TypeError
        Not numeric, or a float type other than float32 and float64.
    ValueError
        Not two-dimensional, empty, or not finite; the message names the first bad row.
    """
    if dtype is not None and dtype not in FLOATS:
        raise TypeError(
            f"`dtype` must be torch.float32 or torch.float64, got {said(dtype)}: pass one of them,"
            " or leave it out"
        )
    if isinstance(value, Tensor):
        _held(value, name)
        if value.device.type == "meta":
            raise TypeError(
                f"`{name}` must hold numbers, got a tensor on the meta device: pass one that does"
            )
        tensor = value.detach()
        if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in FLOATS):
            raise TypeError(
                f"`{name}` must be float32 or float64, got {tensor.dtype}: convert it with"
                f" {name}.float() or {name}.double()"
            )
        target = dtype or (tensor.dtype if tensor.is_floating_point() else torch.float64)
    else:
        if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "fiub":
            value = np.ma.filled(
                value.astype(np.float64), np.nan
            )  # what is masked is no number, whatever lies under the mask
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise TypeError(
                f"`{name}` must be an (n, d) array of numbers, got rows of different lengths:"
                f" {error}"
            ) from None
        if array.dtype == np.float16:
            raise TypeError(
                f"`{name}` must be float32 or float64, got float16: convert it with"
                f" {name}.astype('float64')"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"`{name}` must be an (n, d) array of real numbers, got"
                f" {_unlike_points(value, array.dtype)}"
            )
        tensor = torch.from_numpy(np.array(array, dtype=np.float64, order="C"))
        target = dtype or torch.float64
    if tensor.ndim != 2:
        raise ValueError(
            f"`{name}` must be (n, d), one row a point, got shape {tuple(tensor.shape)}:"
            f" {_two_dimensional(tensor, name)}"
        )
    if 0 in tensor.shape:
        raise ValueError(
            f"`{name}` must hold at least one point of at least one coordinate, got shape"
            f" {tuple(tensor.shape)}: {EMPTY}"
        )
    tensor = tensor.to(dtype=target, device=device, copy=True).contiguous()
    if not all_finite(tensor):
        bad = ~torch.isfinite(tensor).all(dim=1)
        row = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"`{name}` must be finite, got {tensor[row].tolist()} in row {row} ({int(bad.sum())}"
            f" bad rows of {len(bad)}): drop them with {name}[np.isfinite({name}).all(1)]"
        )
    return tensor


def _unlike_points(value: Any, dtype: np.dtype) -> str:
    """For a message: what came in the place of points, with the remedy where it is plain."""
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
    """Coordinates too large to be computed with: in the middle of a run it has diverged."""


def all_finite(points: Tensor) -> bool:
    """One pass: a NaN passes through both ends."""
    return all(math.isfinite(end) for end in points.aminmax())


def same_space(x: Tensor, y: Tensor, x_name: str = "x", y_name: str = "y") -> None:
    """Refuse two clouds that cannot meet: other dimension, dtype or device."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"`{y_name}` must be (M, {x.shape[1]}) like `{x_name}`, got {tuple(y.shape)}: pass the"
            " same coordinates, or project with sklearn.decomposition.PCA"
        )
    if x.dtype != y.dtype:
        remedy = f"convert one, e.g. {y_name}.to({x_name}.dtype)"
        raise TypeError(
            f"`{x_name}` and `{y_name}` must have one dtype, got {x.dtype} and {y.dtype}: {remedy}"
        )
    if x.device != y.device:
        remedy = f"move one, e.g. {y_name}.to({x_name}.device)"
        raise ValueError(
            f"`{x_name}` and `{y_name}` must be on one device, got {x.device} and {y.device}:"
            f" {remedy}"
        )


def flag(value: Any, name: str, *, of: str = "", remedy: str = "") -> bool:
    """True or False: not what counts as one of them, such as a method or an array."""
    if not isinstance(value, bool | np.bool_):
        where = f" for {of}" if of else ""
        raise TypeError(
            f"`{name}` must be True or False{where}, got {said(value)}:"
            f" {remedy or f'write {name}=True or {name}=False'}"
        )
    return bool(value)


def function(value: Any, name: str, *, remedy: str) -> Any:
    """A callable that is no class."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"`{name}` must be a function, got {said(value)}: {remedy}")
    return value


def several(value: Any, name: str, *, remedy: str) -> list[Any]:
    """The members of a list, or of anything else that has some; a word and a mapping have none that
    are meant.
    """
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"`{name}` must be several, got {said(value)}: {remedy}")
    return list(value)


def path(value: Any, name: str, example: str) -> Path:
    """A str or a Path, as a Path."""
    if not isinstance(value, str | PathLike):
        raise TypeError(
            f"`{name}` must be the path of a file, got {said(value)}: pass e.g. '{example}'"
        )
    return Path(value)


def kind(value: Any) -> str:
    """For a message: what a value is, a class or its type's name."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def came(value: Any) -> str:
    """For a message: a class that stands in the place of its instance, or the type's name."""
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
    except Exception:  # whatever a user's repr raises, the message is what matters
        return type(value).__name__


def positive(value: Any, name: str, *, remedy: str = "") -> float:
    """A finite float > 0."""
    number = real(value, name, remedy=remedy)
    if number <= 0:
        raise ValueError(f"`{name}` must be > 0, got {number:g}: {remedy or 'pass a number > 0'}")
    return number


def non_negative(value: Any, name: str, *, remedy: str = "") -> float:
    """A finite float >= 0."""
    number = real(value, name, remedy=remedy)
    if number < 0:
        raise ValueError(f"`{name}` must be >= 0, got {number:g}: {remedy or 'pass 0 or more'}")
    return number


def real(value: Any, name: str, *, remedy: str = "") -> float:
    """A finite float."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"`{name}` must be a number, got {type(value).__name__}:"
            f" {remedy or 'pass one number, e.g. 1.0'}"
        )
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(
            f"`{name}` must be finite, got {number}:"
            f" {remedy or 'pass a number that is neither infinite nor NaN'}"
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
        raise TypeError(f"`{name}` must be an integer, got {said(value)}: {remedy or whole}")
    number = int(value)
    if number < least:
        raise ValueError(
            f"`{name}` must be >= {least}, got {number}: {remedy or f'pass {least} or more'}"
        )
    return number


@contextmanager
def warnings_caught(action: Literal["ignore", "always"]) -> Iterator[list[warnings.WarningMessage]]:
    """Those of a library, caught by one thread at a time: Python's filters belong to the process,
    and two that change them leave them changed.
    """
    with _filters, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        yield caught


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """A warning that points at the user's line: the one that called into this package, however deep
    inside it the cause lies.
    """
    package, depth, within = __name__.partition(".")[0], 0, 1
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        depth += 1
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            within = depth
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=within + 1)
