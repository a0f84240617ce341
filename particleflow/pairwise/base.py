"""The contract of a sum over pairs: prepared once per set of points, once per weights, evaluated
anywhere.

    backend.sources(kernel, points)  ->  .field(w)  ->  .value(z), .grad(z), .log(z) ...

Shapes: points (N, d), w (N,) or (N, K) of any sign, z (Q, d), float32 or float64. Values are (Q,)
or (Q, K), gradients (Q, d) or (Q, K, d). At a query that is not finite everything is NaN, whatever
the kernel's limit, and at the others what it is without it. Inputs are detached copies, and
autograd does not go through a sum: ask for the gradient. Tensors of more than 131072 numbers are
not copied: a field refuses (RuntimeError) to sum what torch has changed in place since. What numpy
writes into their memory it sees by 512 numbers spread over each: a cloud that was moved is refused,
a single point that was is not. Pass x.clone() where that may happen. Coordinates lie between -1e150
and 1e150 (ValueError): beyond, squares are no numbers. The slopes of Laplace and Energy end at a
distance of 1e-15 bandwidths (Energy: of 1e-15): sums of their gradients refuse clouds that are
nowhere 1e-9 of that unit away from the origin. Weights may have any size: columns are brought near
1 by powers of two, so that no intermediate result leaves the numbers of the dtype. A sum that does
is infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from particleflow.kernels import Kernel


@dataclass(frozen=True)
class Promise:
    """A-priori bounds of the largest absolute error over rows (and weight vectors) of value and
    gradient, and what they are made of.
    """

    value: float
    grad: float
    how: str = ""


@dataclass(frozen=True)
class Audit:
    """The largest absolute errors met on `rows` random rows, beside what was promised and the
    scales S_0, S_1.
    """

    rows: int
    value_error: float
    grad_error: float
    value_scale: float
    grad_scale: float
    promise: Promise | None

    @property
    def kept(self) -> bool | None:
        """Whether the errors met are within the promise; None where there is none: the sum was
        exact up to rounding.
        """
        if self.promise is None:
            return None
        return self.value_error <= self.promise.value and self.grad_error <= self.promise.grad


@runtime_checkable
class Queries(Protocol):
    """What depends on the query points alone, computed once: for iterations that evaluate the same
    points dozens of times.
    """

    @property
    def points(self) -> Tensor: ...


@runtime_checkable
class Field(Protocol):
    """z -> sum_i w_i k(z, x_i); z a tensor or prepared. Fields of one kernel add."""

    def value(self, z: Tensor | Queries) -> Tensor: ...
    def grad(self, z: Tensor | Queries) -> Tensor: ...
    def value_and_grad(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]: ...
    def laplacian(self, z: Tensor | Queries) -> Tensor: ...
    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Logarithm of the sum and its gradient, by log-sum-exp. Needs w >= 0 and a positive
        kernel.
        """
        ...

    def reduce(self) -> Field:
        """The only collective, when the particles are sharded over machines; on one machine the
        field itself.
        """
        ...

    def explain(self, z: Tensor | Queries) -> Mapping[str, Any]:
        """`backend` and `why`."""
        ...

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """The a-priori bound of the errors at z. None: exact up to rounding."""
        ...

    def __add__(self, other: Any) -> Field: ...


@runtime_checkable
class Sources(Protocol):
    """A set of points made ready for one kernel."""

    @property
    def points(self) -> Tensor: ...

    def field(self, w: Tensor) -> Field: ...
    def prepare(self, z: Tensor) -> Queries: ...


@runtime_checkable
class PairwiseSum(Protocol):
    """A backend."""

    def sources(self, kernel: Kernel, points: Tensor) -> Sources: ...


def check_backend(value: Any) -> None:
    """Refuse what is no backend as the argument `pairwise`."""
    if isinstance(value, type) or not isinstance(value, PairwiseSum):
        what = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
        raise TypeError(
            "`pairwise` must be a backend such as pf.pairwise.Auto() or pf.pairwise.Compiled(),"
            f" got {what}: leave it out for Auto()"
        )
