"""A kernel as a smooth far part and a near part that vanishes beyond a radius a.

With the kernel's odd part in r (its kink: k(r) = even(r) + odd(r), e.g. e^{-r} = cosh r - sinh r)
and a window phi on [-a, a],

    near(r) = odd(r) (1 - g(r)),   far(r) = even(r) + odd(r) g(r),   g(r) = int_0^r phi / int_0^a phi:

g is odd and 1 beyond a, so far is even and smooth, and near is zero beyond a, exactly. phi is the
Kaiser-Bessel window I_0(beta sqrt(1 - (r/a)^2)), whose spectrum is below 2 beta e^{-beta} beyond
beta / a: nearly as narrow as a window on [-a, a] can have it (Ewald's splitting with erf in the
place of g takes a frequency 1.7 times as high).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.polynomial import Chebyshev, Polynomial

from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, exponential_tail, has_kink
from particleflow.kernels.facts import Array

# Coefficients of the near part's polynomials, at most and at least: rounded up to a multiple of
# four, so that little code is made.
MOST_TERMS, LEAST_TERMS = 40, 12
# The radius in units of the kernel's own length (1 / rate), at most: cosh of it is the size of the
# even part.
WIDEST = 4.0


def rate(kernel: Kernel) -> float:
    """k is a polynomial times e^{-rate r}; 0 for a polynomial alone."""
    tail = exponential_tail(kernel)
    return 0.0 if tail is None or not tail.decay else tail.rate / (bandwidth_of(kernel) or 1.0)


def kinked(kernel: Kernel) -> bool:
    """Is there an odd part, and do we know it?"""
    return exponential_tail(kernel) is not None


def odd_part(kernel: Kernel, r: Array) -> tuple[Array, Array, Array]:
    """(k(r) - k(-r)) / 2 and its first two derivatives in r."""
    tail = exponential_tail(kernel)
    assert tail is not None
    return tail.odd(rate(kernel), r)


def rounded(beta: float) -> float:
    """Up to a half, so that windows are made once."""
    return 0.5 * math.ceil(2 * beta)


@lru_cache(maxsize=32)
def step(beta: float) -> tuple[Chebyshev, Chebyshev, Chebyshev]:
    """1 - g on [-1, 1] and its first two derivatives."""
    phi = Chebyshev.interpolate(
        lambda y: np.i0(beta * np.sqrt(np.maximum(1 - y**2, 0))) / np.i0(beta),
        2 * math.ceil(beta / 2) + 26,
    )
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
        k[within] -= self._near(0, np.sqrt(s[within]))
        return k

    def _near(self, order: int, r: Array) -> Array:
        """A derivative of the near part, by Leibniz's rule."""
        odd, x = odd_part(self.kernel, r), r / self.radius
        terms = [
            math.comb(order, k) * odd[order - k] * step(self.beta)[k](x) / self.radius**k
            for k in range(order + 1)
        ]
        return np.asarray(sum(terms[1:], terms[0]))

    @property
    def unit(self) -> float:
        """The length that the cut-off of kernels/contract.py is relative to."""
        return bandwidth_of(self.kernel) or 1.0

    @property
    def near_at_zero(self) -> float:
        """The near part's first derivative over r where points coincide, by the convention of
        kernels/contract.py; 0 where there is no kink.
        """
        singular = has_kink(self.kernel)
        return (
            float(2 * self.kernel.slope(torch.zeros(1, dtype=torch.float64, device="cpu")))
            if singular
            else 0.0
        )

    @lru_cache(maxsize=64)  # noqa: B019 of equal splits, which are values
    def near(self, tol: float, across: int = 0) -> tuple[Array, Array, Array]:
        """The near part and its first two derivatives in r, as polynomials of one length in y = 2 r
        / radius - 1, lowest power first.

        To `tol`, relative to the largest value of each (and to 1e-14). The last is near'' + across
        near' / r: where the slope ends at r = 0 its quotient is smooth, which the quotient of a
        polynomial that only nearly ends there is not.
        """

        def bend(r: Array) -> Array:
            return self._near(2, r) + across * self._near(1, r) / r if across else self._near(2, r)

        fits = [
            Chebyshev.interpolate(part, MOST_TERMS, domain=[0, self.radius])
            for part in (partial(self._near, 0), partial(self._near, 1), bend)
        ]
        terms = LEAST_TERMS
        for fit in fits:
            size = np.abs(fit.coef)
            needed = np.flatnonzero(np.cumsum(size[::-1])[::-1] > max(tol, 1e-14) * size.max())
            terms = max(terms, 4 * math.ceil((int(needed[-1]) + 1) / 4))
        kept = [
            fit.truncate(terms).convert(kind=Polynomial, domain=fit.domain, window=[-1, 1]).coef
            for fit in fits
        ]
        first, second, third = (
            np.pad(np.asarray(c, dtype=np.float64), (0, terms - len(c))) for c in kept
        )
        return first, second, third
