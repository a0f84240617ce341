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
    r"""Bounds of a sum's errors that are known before it is taken.

    .. math::

        \max_q \left| \text{error of } S(z_q) \right| \le \text{value} ,
        \qquad
        \max_q \left| \text{error of } \nabla S(z_q) \right| \le \text{grad}

    over the queries, and over weight vectors. ``field.promise(z)`` gives it.

    Attributes
    ----------
    value : float
        The bound of the values' absolute error, in units of the sum.
    grad : float
        The bound of the gradients' absolute error (2-norm), in units of the sum / length.
    how : str
        What the bounds consist of.
    """

    value: float
    grad: float
    how: str = ""


@dataclass(frozen=True)
class Audit:
    r"""The largest errors found at random rows, beside the promise and the scales.

    .. math::

        S_0 = \sum_i \left| w_i \right| \max \left| k \right| ,
        \qquad
        S_1 = \sum_i \left| w_i \right| \max \left| \nabla k \right| .

    ``field.audit(z)`` compares a sum with exact sums in float64, at O(rows N d).

    Attributes
    ----------
    rows : int
        The number of queries that were compared.
    value_error : float
        The largest absolute error of a value.
    grad_error : float
        The largest absolute error of a gradient (2-norm).
    value_scale : float
        :math:`S_0`, to which `atol` is relative.
    grad_scale : float
        :math:`S_1`.
    promise : Promise or None
        What the field had promised; None for exact sums.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sources = pf.pairwise.Dense().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.ones(2))
    >>> audit = field.audit(torch.zeros(1, 1))
    >>> audit.value_scale, audit.value_error < 1e-6, audit.kept
    (2.0, True, None)
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
    r"""A weighted sum as a function of the query: values, gradients, laplacians and logarithms.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) .

    z is a tensor (Q, d), or `Queries`. For weights (N,), `value` is (Q,), `grad` is
    :math:`\nabla S` (Q, d), `value_and_grad` both in one pass, and `laplacian` is :math:`\Delta S`
    (Q,). For weights (N, K) they are (Q, K), (Q, K, d) and (Q, K). Fields of one kernel and one
    backend add. A query that is not finite has NaN as its answer.
    """

    def value(self, z: Tensor | Queries) -> Tensor:
        """S (Q,), or (Q, K) for weights (N, K)."""

    def grad(self, z: Tensor | Queries) -> Tensor:
        """The gradient of S (Q, d), or (Q, K, d)."""

    def value_and_grad(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Value and gradient of S in one pass."""

    def laplacian(self, z: Tensor | Queries) -> Tensor:
        """The Laplacian of S (Q,), or (Q, K)."""

    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        r"""The logarithm of the sum, and its gradient.

        .. math::

            \log S(z) , \qquad \nabla \log S(z) .

        Needs w >= 0 (ValueError) and a positive kernel (TypeError). It is finite wherever the sum's
        logarithm is, also where the sum underflows. An empty sum has -inf, and the gradient 0.
        """
        ...

    def reduce(self) -> Field:
        """The sum over all machines, where particles are sharded over several; the only collective.

        On one machine it is the field itself.
        """
        ...

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        """`backend`, the name of the backend that sums at z, and `why`."""
        ...

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """The bound of the errors at z. None: exact up to rounding."""
        ...

    def __add__(self: Own, other: Own) -> Field: ...


@runtime_checkable
class Sources(Protocol):
    r"""A set of points made ready for one kernel.

    `points` is their own copy (N, d). `field` takes weights (N,) or (N, K) of any sign, and gives
    :math:`S(z) = \sum_i w_i\, k(z, x_i)`. `prepare` takes queries (Q, d) that will come again.
    """

    @property
    def points(self) -> Tensor:
        """The points (N, d): a copy of their own."""

    def field(self, w: Tensor) -> Field:
        """The sum with weights w (N,) or (N, K), of any sign."""

    def prepare(self, z: Tensor) -> Queries:
        """Queries z (Q, d) that will come again."""


@runtime_checkable
class PairwiseSum(Protocol):
    r"""A backend: a way to take sums over pairs.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) .

    `sources` takes a kernel and points (N, d), float32 or float64, and does what depends on them
    alone. ``pf.testing.check_backend`` tries a backend of your own.
    """

    def sources(self, kernel: Kernel, points: Tensor) -> Sources: ...


def check_backend(value: object) -> None:
    """Refuse an argument `pairwise` that is not a backend."""
    if isinstance(value, type) or not isinstance(value, PairwiseSum):
        what = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
        raise TypeError(
            "`pairwise` must be a backend such as pf.pairwise.Auto() or pf.pairwise.Compiled(),"
            f" got {what}: leave it out for Auto()"
        )
