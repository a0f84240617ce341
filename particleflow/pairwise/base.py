"""The contract of a sum over pairs: prepared once per points and once per weights, summed anywhere.

    backend.sources(kernel, points)  ->  .field(w)  ->  .value(z), .grad(z), .log(z) ...

Shapes. Points (N, d), weights w (N,) or (N, K) of any sign, queries z (Q, d), in float32 or
float64. Values are (Q,) or (Q, K), gradients (Q, d) or (Q, K, d).

Queries that are not finite. Every answer there is NaN, whatever the kernel's limit. The answers at
the other queries do not change.

Copies. Inputs are detached. Autograd does not go through a sum: ask for the gradient. A tensor of
up to 131072 numbers is copied. A larger one is not: if torch changes it in place, the field refuses
to sum (RuntimeError). Changes that numpy makes in its memory are looked for at 512 numbers spread
over the tensor: a cloud that moved is refused, a single point that moved is not. Pass x.clone()
where this may happen.

Size. Coordinates lie between -1e150 and 1e150 (ValueError), since larger ones have no square. The
slopes of Laplace and Energy are cut off at a distance of 1e-15 bandwidths (Energy: 1e-15). So sums
of their gradients refuse clouds in which no coordinate is as large as 1e-9 of that unit. Weights
may have any size: each column is brought near 1 by a power of two, so that no intermediate result
overflows. A sum that overflows itself is infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from particleflow.kernels import Kernel


@dataclass(frozen=True)
class Promise:
    """Bounds of the errors that are known before a sum is taken; `how` says what they consist of.

    `value` and `grad` bound the largest absolute error over rows (and weight vectors).
    """

    value: float
    grad: float
    how: str = ""


@dataclass(frozen=True)
class Audit:
    """The largest absolute errors at `rows` random rows, beside the promise and the scales.

    Module `promise` defines the scales S_0 and S_1.
    """

    rows: int
    value_error: float
    grad_error: float
    value_scale: float
    grad_scale: float
    promise: Promise | None

    @property
    def kept(self) -> bool | None:
        """Whether the errors are within the promise. None: exact sums make no promise."""
        if self.promise is None:
            return None
        return self.value_error <= self.promise.value and self.grad_error <= self.promise.grad


@runtime_checkable
class Queries(Protocol):
    """Query points, and what depends on them alone: for solvers that return to the same points."""

    @property
    def points(self) -> Tensor: ...


# A class of fields. Each backend adds fields of its own class only.
Own = TypeVar("Own")


@runtime_checkable
class Field(Protocol):
    """z -> sum_i w_i k(z, x_i), for z a tensor or prepared. Fields of one kernel add."""

    def value(self, z: Tensor | Queries) -> Tensor: ...
    def grad(self, z: Tensor | Queries) -> Tensor: ...
    def value_and_grad(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]: ...
    def laplacian(self, z: Tensor | Queries) -> Tensor: ...
    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """The logarithm of the sum, and its gradient. Needs w >= 0 and a positive kernel."""
        ...

    def reduce(self) -> Field:
        """The sum over all machines, where particles are sharded over several; the only collective.

        On one machine it is the field itself.
        """
        ...

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        """`backend` and `why`."""
        ...

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """The bound of the errors at z. None: exact up to rounding."""
        ...

    def __add__(self: Own, other: Own) -> Field: ...


@runtime_checkable
class Sources(Protocol):
    """A set of points made ready for one kernel."""

    @property
    def points(self) -> Tensor: ...

    def field(self, w: Tensor) -> Field: ...
    def prepare(self, z: Tensor) -> Queries: ...


@runtime_checkable
class PairwiseSum(Protocol):
    """A backend: a way to take sums over pairs."""

    def sources(self, kernel: Kernel, points: Tensor) -> Sources: ...


def check_backend(value: object) -> None:
    """Refuse an argument `pairwise` that is not a backend."""
    if isinstance(value, type) or not isinstance(value, PairwiseSum):
        what = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
        raise TypeError(
            "`pairwise` must be a backend such as pf.pairwise.Auto() or pf.pairwise.Compiled(),"
            f" got {what}: leave it out for Auto()"
        )
