"""Flows and their parts as JSON and tensors, and back.

`encoded` writes what `vocabulary` lists, numbers, strings, None, tuples, lists, mappings, tensors,
arrays, dtypes and devices. A JSON object with one tag stands for everything that JSON has not:

    {"part": "kernels.Gaussian", "fields": {"bandwidth": 0.2}}    {"texts": ["left", "right"]}
    {"tensor": "0"}    {"tuple": [...]}    {"dict": [[key, value], ...]}    {"dtype": "float32"}

`decoded` calls the constructors of the listed classes with what it reads, so that every value is
checked. It imports nothing and calls nothing else: a name that is not listed is refused.

>>> import particleflow as pf
>>> form, tensors = encoded(pf.kernels.Gaussian(bandwidth=0.2))
>>> form
{'part': 'kernels.Gaussian', 'fields': {'bandwidth': 0.2}}
>>> decoded(form, tensors)
Gaussian(bandwidth=0.2)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow.checkpoint.arrays import KINDS
from particleflow.checkpoint.vocabulary import fields_of, functions, parts

# Most levels of parts within parts; a flow has about five.
DEPTH = 50


class EncodingError(TypeError):
    """A part is not one that can be written to a file; the message names it."""


class DecodingError(ValueError):
    """What was read does not stand for a part of this version."""


def encoded(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """What JSON holds, and tensors, from which `decoded` makes an equal object.

    Raises
    ------
    EncodingError
        A part is the user's own (a function, a network, another class), or reads a file.
    """
    tensors: dict[str, Tensor] = {}
    return _Encoder(tensors).form(value, type(value).__name__, 0), tensors


def decoded(form: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The object that `encoded` was given.

    Raises
    ------
    DecodingError
        A name is not listed, a constructor refuses its fields, or a device is missing.
    """
    return _Decoder(tensors).value(form, 0)


class _Encoder:
    """Turns values into forms; the tensors that it meets go into `tensors`, each once."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []
        self._parts = {cls: name for name, cls in parts().items()}
        self._functions = {function: name for name, function in functions().items()}

    def form(self, value: Any, place: str, depth: int) -> Any:
        """The form of a value; `place` tells where in the whole it stands."""
        if depth > DEPTH:
            raise EncodingError(f"{place} has more than {DEPTH} levels of parts")
        within: Callable[[Any, object], Any] = lambda one, step: self.form(
            one, f"{place}{step}", depth + 1
        )
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is list:
            return [within(one, f"[{k}]") for k, one in enumerate(value)]
        if kind is tuple:
            return {"tuple": [within(one, f"[{k}]") for k, one in enumerate(value)]}
        if isinstance(value, Tensor):
            return self._tensor(value, "tensor", value.detach())
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in KINDS:
            with suppress(TypeError, ValueError):  # a dtype that torch has not, or another order
                tensor = torch.from_numpy(np.array(value))
                tag = "array" if isinstance(value, np.ndarray) else "number"
                return self._tensor(value, tag, tensor)
        if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.ndim == 1:
            return {"texts": value.tolist()}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"device": str(value)}
        if isinstance(value, Mapping):
            return {
                "dict": [
                    [within(key, f" key {key!r:.40}"), within(one, f"[{key!r:.40}]")]
                    for key, one in value.items()
                ]
            }
        if kind in self._parts:
            fields = {name: within(getattr(value, name), f".{name}") for name in fields_of(kind)}
            return {"part": self._parts[kind], "fields": fields}
        with suppress(KeyError, TypeError):  # no function of the list, or not hashable
            return {"function": self._functions[value]}
        if dataclasses.is_dataclass(value) and kind.__module__.startswith("particleflow."):
            for name in fields_of(kind):  # the user's function within it is what is to be named
                one = getattr(value, name)
                if callable(one) or dataclasses.is_dataclass(one):
                    within(one, f".{name}")
        raise EncodingError(f"{place} is {_told(value)}, which no file can stand for")

    def _tensor(self, value: Any, tag: str, tensor: Tensor) -> Any:
        if id(value) not in self._names:
            name = self._names[id(value)] = str(len(self.tensors))
            self._kept.append(value)  # an id is given again once its object is gone
            self.tensors[name] = tensor
        form = {tag: self._names[id(value)]}
        return form if tensor.device.type == "cpu" else form | {"on": str(tensor.device)}


class _Decoder:
    """Turns forms into values."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def value(self, form: Any, depth: int) -> Any:
        if depth > DEPTH:
            raise DecodingError(f"a part has more than {DEPTH} levels of parts within it")
        if form is None or isinstance(form, bool | int | float | str):
            return form
        if isinstance(form, list):
            return [self.value(one, depth + 1) for one in form]
        match form:
            case {"part": str(name), "fields": dict(fields)} if len(form) == 2:
                return self._part(name, fields, depth)
            case {"tuple": list(items)} if len(form) == 1:
                return tuple(self.value(one, depth + 1) for one in items)
            case {"dict": list(pairs)} if len(form) == 1:
                return dict(self._pair(pair, depth) for pair in pairs)
            case {"tensor": str(name)} if form.keys() <= {"tensor", "on"}:
                tensor = self._found(name)
                return tensor.to(_device(form["on"])) if "on" in form else tensor
            case {"array": str(name)} if len(form) == 1:
                return self._found(name).numpy()
            case {"number": str(name)} if len(form) == 1 and not self._found(name).ndim:
                return self._found(name).numpy()[()]
            case {"texts": list(texts)} if len(form) == 1 and all(type(t) is str for t in texts):
                return np.array(texts, dtype=np.str_)
            case {"function": str(name)} if len(form) == 1 and name in functions():
                return functions()[name]
            case {"dtype": str(name)} if len(form) == 1 and name in DTYPES:
                return DTYPES[name]
            case {"device": str(name)} if len(form) == 1:
                return _device(name)
        raise DecodingError(f"{str(form)[:200]} stands for nothing")

    def _pair(self, pair: Any, depth: int) -> tuple[Any, Any]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DecodingError("a mapping must be pairs of keys and values")
        key, value = (self.value(one, depth + 1) for one in pair)
        try:
            hash(key)
        except TypeError:
            raise DecodingError(f"{type(key).__name__} is no key of a mapping") from None
        return key, value

    def _found(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise DecodingError(f"there is no tensor {name[:40]!r}")
        return self.tensors[name]

    def _part(self, name: str, fields: dict[str, Any], depth: int) -> Any:
        if name not in parts():
            raise DecodingError(f"{name[:80]!r} is no part that files may name")
        cls = parts()[name]
        if not fields.keys() <= set(fields_of(cls)):
            raise DecodingError(f"{name} has no fields {str(list(fields))[:80]}")
        values = {key: self.value(one, depth + 1) for key, one in fields.items()}
        try:
            return cls(**values)
        except (ValueError, TypeError, ArithmeticError, RuntimeError, OSError) as error:
            raise DecodingError(f"{name} cannot be made as it was: {error}") from error


# The dtypes of torch that a part may hold.
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16,
        torch.float32,
        torch.float64,
        torch.int32,
        torch.int64,
        torch.uint8,
        torch.bool,
    )
}


def _device(name: Any) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        return device
    except (RuntimeError, TypeError, AssertionError) as error:
        raise DecodingError(f"the device {str(name)[:40]!r} is not here: {error}") from None


def _told(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = getattr(value, "__name__", None)
    if name is not None:
        return f"the function {name}"
    kind = type(value)
    return f"an object of {kind.__module__}.{kind.__qualname__}"
