"""Check a part against a clause of its contract, and hold the clauses that contracts share.

The shared clauses concern bits, tensors, memory, random state and threads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from particleflow._typing import Memory

Part = TypeVar("Part")
Answer = TypeVar("Answer")

THREADS = 4


@dataclass(frozen=True)
class Contract:
    """The contract of a `kind` of part, and one `part` that is checked against it.

    Every check of this package goes through `require`.
    """

    kind: str
    part: Any

    def require(self, held: bool, clause: str, got: str, remedy: str) -> None:
        """Raise an AssertionError unless the clause is held.

        The message names the clause, what came and the remedy.
        """
        if not held:
            raise AssertionError(
                f"{self._named} breaks the contract of {self.kind}: {clause}, got {got}: {remedy}"
            )

    def call(
        self, function: Callable[..., Answer], *arguments: Any, clause: str, remedy: str
    ) -> Answer:
        """Return what the part's function returns; an exception breaks the clause."""
        try:
            return function(*arguments)
        except AssertionError:
            raise
        except Exception as error:
            message = (
                f"{self._named} breaks the contract of {self.kind}: {clause}, got"
                f" {type(error).__name__}: {error}: {remedy}"
            )
            raise AssertionError(message) from error

    def refuses(
        self,
        function: Callable[[], Any],
        errors: tuple[type[Exception], ...],
        clause: str,
        remedy: str,
        naming: str = "",
    ) -> None:
        """Require that `function` raises one of `errors` with `naming` in its message."""
        names = " or ".join(error.__name__ for error in errors)
        try:
            answer = function()
        except errors as error:
            self.require(
                naming in str(error),
                clause,
                f"a message that does not name {naming}: {error!s:.100}",
                remedy,
            )
        except Exception as error:
            self.require(
                False,
                clause,
                f"{type(error).__name__} where {names} is due: {error!s:.100}",
                remedy,
            )
        else:
            self.require(False, clause, f"no {names} but {type(answer).__name__}", remedy)

    def tensor(self, answer: Any, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> None:
        """Require a tensor of that shape and dtype, outside of autograd's graph."""
        found = type(answer).__name__
        self.require(
            isinstance(answer, Tensor),
            f"{what} must be a tensor of shape {shape}",
            found,
            "return a torch tensor",
        )
        found = f"shape {tuple(answer.shape)}"
        self.require(
            tuple(answer.shape) == shape,
            f"{what} must have the shape {shape}",
            found,
            "one row for each point, no further axes",
        )
        remedy = (
            "compute in the dtype of the input: a number made by torch.tensor or numpy brings"
            " its own"
        )
        self.require(
            answer.dtype == dtype,
            f"{what} must have the dtype {dtype} of its input",
            str(answer.dtype),
            remedy,
        )
        remedy = "call .detach() on it, or compute it under torch.no_grad()"
        self.require(
            not answer.requires_grad,
            f"{what} must be outside of autograd's graph",
            "requires_grad = True",
            remedy,
        )

    def finite(self, answer: Tensor, what: str, remedy: str) -> None:
        lost = ~torch.isfinite(answer)
        found = f"{answer[lost][:1].tolist()} among {answer.numel()} numbers"
        self.require(not bool(lost.any()), f"{what} must be finite", found, remedy)

    def memory(self, memory: Any, what: str) -> None:
        """Require a flat mapping of names to plain tensors, which an .npz holds without pickle."""
        remedy = (
            "flatten it, numbers as torch.tensor(number): it is written to an .npz file without"
            " pickle"
        )
        clause = f"{what} must be a flat mapping of names to tensors"
        self.require(isinstance(memory, Mapping), clause, type(memory).__name__, remedy)
        for name, value in memory.items():
            self.require(isinstance(name, str), clause, f"the name {name!r}", remedy)
            plain = isinstance(value, Tensor) and value.layout == torch.strided
            self.require(plain, clause, f"{type(value).__name__} under {name!r}", remedy)
            self.require(
                not value.requires_grad,
                f"{what} must be outside of autograd's graph",
                f"{name!r} with a graph",
                "keep value.detach()",
            )

    @contextmanager
    def unchanged(self, what: str, **tensors: Tensor | None) -> Iterator[None]:
        """Require that the tensors hold the same bits afterwards."""
        before = {name: None if value is None else value.clone() for name, value in tensors.items()}
        yield
        for name, value in tensors.items():
            kept = value is None or same_bits(value, before[name])
            self.require(
                kept,
                f"{what} must not change its input",
                f"another `{name}` than before",
                "work on a copy, e.g. points.clone()",
            )

    @contextmanager
    def own_randomness(self, what: str) -> Iterator[None]:
        """Require that the global random states of torch and numpy are left alone."""
        before = _global_states()
        yield
        moved = [name for name, state in _global_states().items() if state != before[name]]
        remedy = (
            "draw from the seed or clock that was given: numpy.random.default_rng(seed),"
            " clock.draws.normal(...)"
        )
        self.require(
            not moved,
            f"{what} must leave global random states alone",
            f"a changed state of {' and '.join(moved)}",
            remedy,
        )

    @property
    def _named(self) -> str:
        return f"{self.part!r:.100}"


# A part may still use numpy's global random state: hence the old functions below.


def _global_states() -> dict[str, bytes]:
    numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": numpy_state["key"].tobytes() + str(numpy_state["pos"]).encode(),
    }


@contextmanager
def other_global_seed(seed: int) -> Iterator[None]:
    """Seed the global random states of torch and numpy, and restore the caller's at the end."""
    states = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def same_bits(a: Any, b: Any) -> bool:
    """Tell whether shape, dtype and numbers are the same; NaN equals NaN.

    Tuples, mappings and numbers are compared in the same way.
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_bits(a[name], b[name]) for name in a)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same_bits, a, b))
    return a == b or (
        isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    )


def reloaded(memory: Memory) -> dict[str, Tensor]:
    """Return the memory as read from a file: new tensors of the same numbers."""
    return {
        name: torch.from_numpy(value.detach().cpu().numpy().copy())
        for name, value in memory.items()
    }


def fresh(part: Part) -> Part:
    """Return a copy with empty caches, as in another process; the part itself if it has no copy."""
    try:
        return copy.deepcopy(part)
    except Exception:
        return part


def in_threads(work: Callable[[int], Answer], count: int) -> list[Answer]:
    """Return work(0), work(1), ..., computed at the same time."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(count)))


def normals(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return (n, d) standard normal numbers."""
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)
