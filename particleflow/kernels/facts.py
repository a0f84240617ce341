"""Define `Facts`, the record in a built-in kernel's class body that backends read.

Backends know no kernel by name. A subclass does not inherit the facts, because the subclass may
have changed anything that its parent states (see `declared.facts_of`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from particleflow.kernels.contract import COINCIDENT
from particleflow.memo import cached_property

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
# ln 2, no unit: compiled code computes e^{-t} as 2^{-t / LN2}.
LN2 = math.log(2)


@dataclass(frozen=True)
class GaussianTail:
    """k = e^{-s / (2 bandwidth^2)}, the one radial kernel that is a product over the axes."""


@dataclass(frozen=True)
class ExponentialTail:
    """k = P(t) e^{-decay t}, t = rate r / bandwidth.

    P(t) = sum_p coefficients_p t^p has degree 2 at most.

    `odd(c, r)`, c = rate / bandwidth, gives (k(r) - k(-r)) / 2 and its first two derivatives in r.
    Without decay, the kernel is P(t), as for -r. Such a kernel has no reach.
    """

    rate: float
    coefficients: tuple[float, ...]
    odd: Callable[[float, Array], tuple[Array, Array, Array]]
    decay: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.coefficients) <= 3:
            raise ValueError(
                f"`coefficients` must be one to three numbers, got {self.coefficients}: leave the"
                " tail a PowerLaw() where P has a higher degree"
            )


@dataclass(frozen=True)
class PowerLaw:
    """k falls as a power of the distance, so that no pair may be left out, however far away."""


Tail: TypeAlias = GaussianTail | ExponentialTail | PowerLaw


class Pair:
    """A vector of pairs in compiled code: q = |u_z - u_x|^2, and functions of q for formulas.

    The compiler chooses the type of a vector. A vector has +, -, *, /, root(least) = sqrt(max(self,
    least)), at_least(bound), rsqrt() and where(relation, bound, true, false). The number of
    coordinates `d` is a number or a vector. Each attribute is computed once.
    """

    def __init__(self, q: Any, d: Any, length: float, decay: Any = None) -> None:
        self.q, self.d = q, d
        # Points nearer than this count as coincident at a kink, as in `kernels.contract`.
        self.cut = (COINCIDENT * length) ** 2
        self._decay = decay

    @cached_property
    def r(self) -> Any:
        """sqrt(q)."""
        return self.q.root(self.cut)

    @cached_property
    def inverse(self) -> Any:
        """1 / r, finite at r = 0, where the force is 0 times this number."""
        return self.q.at_least(self.cut).rsqrt()

    @cached_property
    def a(self) -> Any:
        """r ln 2, the argument of a Matern kernel's exponential."""
        return self.r * LN2

    @cached_property
    def multiquadric(self) -> Any:
        """1 / sqrt(1 + q)."""
        return (self.q + 1.0).rsqrt()

    @property
    def decay(self) -> Any:
        """2^-exponent from the caller, who may have shifted the exponent."""
        assert self._decay is not None
        return self._decay


Formula: TypeAlias = Callable[[Pair], Any]


@dataclass(frozen=True)
class Profile:
    """A kernel's formulas for compiled sums.

    Points are scaled to u = length x / bandwidth, and

        k = units[0] value(q),    grad_z k = units[1] slope(q) (u_x - u_z) / bandwidth,
        laplacian_z k = units[2] laplacian(q) / bandwidth^2.

    A kernel with an exponential decays as 2^-exponent(q). `exponent` is None for other kernels.
    """

    length: float
    exponent: Formula | None
    value: Formula
    slope: Formula
    laplacian: Formula
    units: tuple[float, float, float]


@dataclass(frozen=True)
class KeOpsFormula:
    """A kernel's formulas in KeOps' language, with {s}, {r}, {i} = 1 / r and {d}.

    Lengths are in units of `unit` bandwidths, and

        k = common * profile,      grad_z k = common * pull (x - z) / unit,
        laplacian_z k = common * bend / unit^2,
        log k = log,               grad_z log k = log_pull (x - z) / unit.

    KeOps rounds a / 3 and IntInv(3) to float32, but not a*Inv(IntCst(3)).
    """

    unit: float
    common: str
    profile: str
    pull: str
    bend: str
    log: str = ""
    log_pull: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of a built-in kernel that sums need.

    No fact has a default: a forgotten fact raises a TypeError with its name when the kernel's file
    is imported.

    Parameters
    ----------
    kinked : bool
        Has k a kink where two points meet?
    tail : Tail
        How k falls with the distance.
    cost : float
        The time for a pair in a compiled sum, relative to the Gaussian's.
    freedom : float or None
        Degrees of freedom of Student's distribution: the frequencies of the kernel's spectrum have
        this distribution, times 1 / bandwidth. inf is a normal distribution, None is any other
        distribution.
    profile : Profile
        The formulas for compiled sums.
    keops : KeOpsFormula
        The formulas for KeOps.
    """

    kinked: bool
    tail: Tail
    cost: float
    freedom: float | None
    profile: Profile
    keops: KeOpsFormula
