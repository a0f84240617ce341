"""The radial kernels as a processor computes them: what `tiles` does to one vector of squared
distances.

Points are scaled, u = length x / bandwidth, so that kernels decay as 2^-exponent; q = |u_z -
u_x|^2. A profile gives

    k = value-unit V(q),    grad_z k = grad-unit S(q) (u_x - u_z) / bandwidth,
    laplacian k = laplacian-unit L(q) / bandwidth^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from particleflow import kernels
from particleflow.kernels.radial import COINCIDENT
from particleflow.memo import cached_property
from particleflow.pairwise.codegen.values import Value, select

LN2 = math.log(2)


class Pair:
    """A vector of pairs: q, and what several formulas need of it. `d` is a number or a vector."""

    def __init__(
        self, q: Value, d: Value | float, length: float, decay: Value | None = None
    ) -> None:
        self.q, self.d = q, d
        self.cut = (
            COINCIDENT * length
        ) ** 2  # as in kernels.radial: nearer counts as here, where there is a kink
        self._decay = decay

    @cached_property
    def r(self) -> Value:
        return self.q.root(self.cut)

    @cached_property
    def inverse(self) -> Value:
        """1 / r, finite at r = 0: the force there is 0 times this."""
        return self.q.at_least(self.cut).rsqrt()

    @cached_property
    def a(self) -> Value:
        """The argument of a Matern kernel's exponential."""
        return self.r * LN2

    @cached_property
    def multiquadric(self) -> Value:
        return (self.q + 1.0).rsqrt()

    @property
    def decay(self) -> Value:
        """2^-exponent, given by the caller, who may have shifted the exponent."""
        assert self._decay is not None
        return self._decay


Formula = Callable[[Pair], Value]


@dataclass(frozen=True)
class Profile:
    """Formulas and units; `exponent` is None for a kernel without an exponential."""

    length: float
    exponent: Formula | None
    value: Formula
    slope: Formula
    laplacian: Formula
    units: tuple[float, float, float]


def _kinked(pair: Pair, coincident: Value | float, apart: Value | float) -> Value:
    """The laplacian where there is a kink: without the curvature at s = 0, as in kernels.radial."""
    return select(pair.q > pair.cut, pair.q.kind(apart), coincident)


def _fifth(y: Value) -> Value:
    return y * y * (y * y) * y


_MATERN = 1 / LN2
_GAUSSIAN = math.sqrt(0.5 / LN2)

PROFILES: dict[type, Profile] = {
    kernels.Gaussian: Profile(
        _GAUSSIAN,
        lambda p: p.q,
        lambda p: p.decay,
        lambda p: p.decay,
        lambda p: p.decay * (p.q * (2 * LN2) - p.d),
        (1.0, 1 / _GAUSSIAN, 1.0),
    ),
    kernels.Laplace: Profile(
        _MATERN,
        lambda p: p.r,
        lambda p: p.decay,
        lambda p: p.decay * p.inverse,
        lambda p: (
            p.decay
            * _kinked(p, p.inverse * (-1 / LN2) * p.d, 1.0 - (p.inverse * (1 / LN2)) * (p.d - 1.0))
        ),
        (1.0, 1.0, 1.0),
    ),
    kernels.Matern32: Profile(
        math.sqrt(3) * _MATERN,
        lambda p: p.r,
        lambda p: p.decay * (p.a + 1.0),
        lambda p: p.decay,
        lambda p: p.decay * (p.a - p.d),
        (1.0, math.sqrt(3) * LN2, 3.0),
    ),
    kernels.Matern52: Profile(
        math.sqrt(5) * _MATERN,
        lambda p: p.r,
        lambda p: p.decay * (p.a * (p.a * (1 / 3) + 1.0) + 1.0),
        lambda p: p.decay * (p.a + 1.0),
        lambda p: p.decay * (p.a * p.a - (p.a + 1.0) * p.d),
        (1.0, math.sqrt(5) * LN2 / 3, 5 / 3),
    ),
    kernels.IMQ: Profile(
        1.0,
        None,
        lambda p: p.multiquadric,
        lambda p: p.multiquadric * p.multiquadric * p.multiquadric,
        lambda p: _fifth(p.multiquadric) * (p.q * 3.0 - (p.q + 1.0) * p.d),
        (1.0, 1.0, 1.0),
    ),
    kernels.Energy: Profile(
        1.0,
        None,
        lambda p: p.r,
        lambda p: p.inverse,
        lambda p: p.inverse * _kinked(p, p.d, p.d - 1.0),
        (-1.0, 1.0, -1.0),
    ),
}
