"""Splits a kernel with a kink: a smooth part for Fourier modes, a short part for neighbours.

The Fourier transform of a kernel k(r), r = |z - x|, decays slowly if k has a kink at r = 0. The
kink lies in the odd part of k as a function of r:

    k(r) = even(r) + odd(r),   odd(r) = (k(r) - k(-r)) / 2,   e.g. e^{-r} = cosh r - sinh r.

An odd, smooth step g with g(r) = 1 for r >= a takes the kink away within a radius a:

    far(r)  = even(r) + odd(r) g(r)      smooth everywhere: summed over Fourier modes,
    near(r) = odd(r) (1 - g(r))          zero for r >= a, exactly: summed over neighbours,
    g(r)    = int_0^r phi / int_0^a phi,     phi(r) = I_0(beta sqrt(1 - (r/a)^2)).

phi is the Kaiser-Bessel window. Beyond the frequency beta / a its spectrum is below
2 beta e^{-beta} of the value at 0. No window on [-a, a] reaches that at a much lower frequency.
(Ewald's splitting, with erf in the place of g, takes a frequency 1.7 times as high.)
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

# Degree of the Chebyshev interpolants that the polynomials are truncated from.
MOST_TERMS = 40
# Coefficients of a polynomial, at least. Their number is a multiple of four: each other number is
# another function to be compiled.
LEAST_TERMS = 12
# The largest radius, in units of 1 / rate. The even part is cosh(rate r): at 4 it is 27 times the
# kernel's peak, and loses as much to rounding.
WIDEST = 4.0
# The least relative error that a polynomial in double precision is asked for.
LEAST_TOLERANCE = 1e-14


def rate(kernel: Kernel) -> float:
    """The rate of decay: k(r) is a polynomial in r times e^{-rate r}. 0 for a polynomial alone."""
    tail = exponential_tail(kernel)
    return 0.0 if tail is None or not tail.decay else tail.rate / (bandwidth_of(kernel) or 1.0)


def kinked(kernel: Kernel) -> bool:
    """Whether `odd_part` knows the kernel's odd part."""
    return exponential_tail(kernel) is not None


def odd_part(kernel: Kernel, r: Array) -> tuple[Array, Array, Array]:
    """(k(r) - k(-r)) / 2 and its first two derivatives in r."""
    tail = exponential_tail(kernel)
    assert tail is not None
    return tail.odd(rate(kernel), r)


def rounded_up(beta: float) -> float:
    """`beta`, rounded up to a multiple of 1/2: steps of few different betas are made, and kept."""
    return 0.5 * math.ceil(2 * beta)


@lru_cache(maxsize=32)
def step(beta: float) -> tuple[Chebyshev, Chebyshev, Chebyshev]:
    """1 - g and its first two derivatives, as polynomials on [-1, 1] (radius a = 1)."""
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
    """The two parts of `kernel`: near and far of the file's head, with a = `radius`."""

    kernel: Kernel
    radius: float
    beta: float

    def far(self, s: Array) -> Array:
        """far(r) at s = r^2, any shape."""
        k = np.asarray(self.kernel.profile(torch.from_numpy(np.ascontiguousarray(s))).numpy())
        within = s < self.radius**2
        k[within] -= self._near(0, np.sqrt(s[within]))
        return k

    def _near(self, order: int, r: Array) -> Array:
        """The derivative of near(r) of this order (0, 1 or 2), by Leibniz's rule."""
        odd, x = odd_part(self.kernel, r), r / self.radius
        terms = [
            math.comb(order, k) * odd[order - k] * step(self.beta)[k](x) / self.radius**k
            for k in range(order + 1)
        ]
        return np.asarray(sum(terms[1:], terms[0]))

    @property
    def unit(self) -> float:
        """The unit of length of kernels/contract.py: its slopes end at 1e-15 of this unit."""
        return bandwidth_of(self.kernel) or 1.0

    @property
    def near_at_zero(self) -> float:
        """near'(r) / r where points coincide, as kernels/contract.py has it for a kink; else 0."""
        singular = has_kink(self.kernel)
        return (
            float(2 * self.kernel.slope(torch.zeros(1, dtype=torch.float64, device="cpu")))
            if singular
            else 0.0
        )

    @lru_cache(maxsize=64)  # noqa: B019 of equal splits, which are values
    def near(self, tol: float, across: int = 0) -> tuple[Array, Array, Array]:
        """Polynomials of near, near' and near'' + across near' / r, each to `tol` of its peak.

        The variable is y = 2 r / radius - 1. All three have the same number of coefficients, the
        lowest power first. In d dimensions the third is the laplacian if across = d - 1. It is
        fitted as a whole where near'(0) = 0: the quotient near' / r is then smooth, but the
        quotient of a polynomial that is only nearly 0 at r = 0 is not.
        """

        def second(r: Array) -> Array:
            return self._near(2, r) + across * self._near(1, r) / r if across else self._near(2, r)

        fits = [
            Chebyshev.interpolate(part, MOST_TERMS, domain=[0, self.radius])
            for part in (partial(self._near, 0), partial(self._near, 1), second)
        ]
        terms = LEAST_TERMS
        for fit in fits:
            size = np.abs(fit.coef)
            beyond = np.cumsum(size[::-1])[::-1]
            needed = np.flatnonzero(beyond > max(tol, LEAST_TOLERANCE) * size.max())
            terms = max(terms, 4 * math.ceil((int(needed[-1]) + 1) / 4))
        kept = [
            fit.truncate(terms).convert(kind=Polynomial, domain=fit.domain, window=[-1, 1]).coef
            for fit in fits
        ]
        near, slope, bending = (
            np.pad(np.asarray(c, dtype=np.float64), (0, terms - len(c))) for c in kept
        )
        return near, slope, bending
