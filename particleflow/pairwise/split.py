"""A kernel as a smooth far part and a near part that vanishes beyond a radius a.

With the kernel's odd part in r (its kink: k(r) = even(r) + odd(r), e.g. e^{-r} = cosh r - sinh r) and a window phi on [-a, a],

    near(r) = odd(r) (1 - g(r)),   far(r) = even(r) + odd(r) g(r),   g(r) = int_0^r phi / int_0^a phi:

g is odd and 1 beyond a, so far is even and smooth, and near is zero beyond a, exactly. phi is the Kaiser-Bessel window
I_0(beta sqrt(1 - (r/a)^2)), whose spectrum is below 2 beta e^{-beta} beyond beta / a: nearly as narrow as a window on [-a, a] can have it
(Ewald's splitting with erf in the place of g takes a frequency 1.7 times as high).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.polynomial import Chebyshev

from particleflow.kernels import Energy, Kernel, Laplace, Matern32, Matern52

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
# The near part is held in pieces of equal length in r, each a polynomial with this many coefficients: its error is about 1e-13 of the kernel.
PIECES, COEFFICIENTS = 256, 6
# The radius in units of the kernel's own length (1 / rate), at most: cosh of it is the size of the even part.
WIDEST = 4.0


def rate(kernel: Kernel) -> float:
    """k is a polynomial times e^{-rate r}; 0 for Energy."""
    match kernel:
        case Laplace():
            return 1 / kernel.bandwidth
        case Matern32():
            return math.sqrt(3) / kernel.bandwidth
        case Matern52():
            return math.sqrt(5) / kernel.bandwidth
    return 0.0


def kinked(kernel: Kernel) -> bool:
    """Is there an odd part, and do we know it?"""
    return isinstance(kernel, (Energy, Laplace, Matern32, Matern52))


def odd_part(kernel: Kernel, r: Array) -> tuple[Array, Array, Array]:
    """(k(r) - k(-r)) / 2 and its first two derivatives in r."""
    if isinstance(kernel, Energy):
        return -r, -np.ones_like(r), np.zeros_like(r)
    c = rate(kernel)
    t = c * r
    sinh, cosh = np.sinh(t), np.cosh(t)
    if isinstance(kernel, Laplace):
        return -sinh, -c * cosh, -(c**2) * sinh
    if isinstance(kernel, Matern32):
        return t * cosh - sinh, c * t * sinh, c**2 * (sinh + t * cosh)
    assert isinstance(kernel, Matern52)
    third = (t * cosh - (1 + t**2 / 3) * sinh, t * sinh - t**2 * cosh, (1 - t**2) * sinh - t * cosh)
    return third[0], c / 3 * third[1], c**2 / 3 * third[2]


def rounded(beta: float) -> float:
    """Up to a half, so that windows are made once."""
    return 0.5 * math.ceil(2 * beta)


@lru_cache(maxsize=32)
def step(beta: float) -> tuple[Chebyshev, Chebyshev, Chebyshev]:
    """1 - g on [-1, 1] and its first two derivatives."""
    phi = Chebyshev.interpolate(lambda y: np.i0(beta * np.sqrt(np.maximum(1 - y**2, 0))) / np.i0(beta), 8 * math.ceil(beta / 4) + 32)
    phi.coef[1::2] = 0.0
    integral = phi.integ(lbnd=0)
    rest = 1 - integral / integral(1.0)
    return rest, rest.deriv(1), rest.deriv(2)


@dataclass(frozen=True)
class Split:
    """`kernel` cut at `radius`, the window's spectrum at e^{-beta}."""

    kernel: Kernel
    radius: float
    beta: float

    def far(self, s: Array) -> Array:
        """The far part at s = r^2."""
        k = np.asarray(self.kernel.profile(torch.from_numpy(np.ascontiguousarray(s))).numpy())
        within = s < self.radius**2
        k[within] -= self._near(np.sqrt(s[within]))[0]
        return k

    def _near(self, r: Array) -> tuple[Array, Array, Array]:
        odd, odd1, odd2 = odd_part(self.kernel, r)
        x = r / self.radius
        rest, rest1, rest2 = (part(x) / self.radius**order for order, part in enumerate(step(self.beta)))
        return odd * rest, odd1 * rest + odd * rest1, odd2 * rest + 2 * odd1 * rest1 + odd * rest2

    @cached_property
    def near(self) -> Near:
        # Only a kink's curvature is singular: that of the other odd parts, O(r^3), vanishes where points coincide.
        singular = isinstance(self.kernel, (Energy, Laplace))
        return tabulated(self._near, self.radius, _slope_at_zero(self.kernel) if singular else 0.0)


@dataclass(frozen=True, eq=False)
class Near:
    """A radial function that vanishes beyond `radius`: value, first and second derivative in r as polynomials on pieces of equal length.

    `table` (PIECES, 3, COEFFICIENTS): of u = r PIECES / radius - piece, the highest power first. `coincident`: 1/r times the first derivative, by
    the convention of kernels/radial.py, where points coincide.
    """

    radius: float
    table: Array
    coincident: float


def tabulated(function: Callable[[Array], tuple[Array, Array, Array]], radius: float, coincident: float) -> Near:
    """A function of r >= 0, and its first two derivatives, on [0, radius]."""
    nodes = 0.5 - 0.5 * np.cos(np.pi * (np.arange(COEFFICIENTS) + 0.5) / COEFFICIENTS)
    r = (np.arange(PIECES)[:, None] + nodes) * (radius / PIECES)
    samples = np.stack(function(r), axis=1)
    return Near(radius, np.ascontiguousarray(samples @ np.linalg.inv(np.vander(nodes)).T), coincident)


def whole(kernel: Kernel, radius: float) -> Near:
    """All of a kernel, cut off at `radius`."""
    return tabulated(partial(_derivatives, kernel), radius, _slope_at_zero(kernel))


def _derivatives(kernel: Kernel, r: Array) -> tuple[Array, Array, Array]:
    s = torch.from_numpy(r**2)
    slope = kernel.slope(s).numpy()
    return kernel.profile(s).numpy(), 2 * r * slope, 4 * r**2 * kernel.curvature(s).numpy() + 2 * slope


def _slope_at_zero(kernel: Kernel) -> float:
    return float(2 * kernel.slope(torch.zeros(1, dtype=torch.float64)))
