"""The window of a particle mesh: W taps, polynomials in the particle's place within its cell.

A particle at u (in cells) with t = u - floor(u) - 1/2 in [-1/2, 1/2) meets the nodes floor(u) - W/2 + 1 + j, j = 0 ... W - 1, with weights

    phi(a_j + t),  a_j = (W - 1)/2 - j > 0 for j < W/2,   and   phi(a_j - t) for the mirrored tap W - 1 - j:

one pair of polynomials, phi(a_j + t) = E_j(t^2) + t O_j(t^2), serves both. phi is close to the exponential of a semicircle (Barnett, Magland and
af Klinteberg 2019); transforms and errors are those of the polynomials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

# Places within a cell where the error of a window is looked at, and frequencies in [0, pi] where it is tabulated.
PLACES, FREQUENCIES = 33, 129


@dataclass(frozen=True, eq=False)
class Window:
    """`even`, `odd`: coefficients (W/2, n) in powers of t^2 of E_j and O_j; `pull`, `push`: of phi'(a_j + t) = push_j(t^2) + t pull_j(t^2)."""

    taps: int
    even: Array
    odd: Array

    @cached_property
    def pull(self) -> Array:
        return 2 * _differentiated(self.even)

    @cached_property
    def push(self) -> Array:
        # d/dt of t O(t^2) is O + 2 t^2 O'
        return self.odd * (1 + 2 * np.arange(self.odd.shape[1]))

    @property
    def powers(self) -> Array:
        """Coefficients (W, 2 n) of all taps in powers of t."""
        lower = np.stack([self.even, self.odd], axis=-1).reshape(len(self.even), -1)
        upper = np.stack([self.even, -self.odd], axis=-1).reshape(len(self.even), -1)
        return np.concatenate([lower, upper[::-1]])

    def weights(self, t: Array) -> tuple[Array, Array]:
        """The taps' weights and their derivatives in t, (..., W)."""
        s = t[..., None] ** 2
        even, odd = _evaluated(self.even, s), t[..., None] * _evaluated(self.odd, s)
        push, pull = _evaluated(self.push, s), t[..., None] * _evaluated(self.pull, s)
        value = np.concatenate([even + odd, (even - odd)[..., ::-1]], axis=-1)
        return value, np.concatenate([push + pull, (pull - push)[..., ::-1]], axis=-1)

    def transform(self, kappa: Array) -> Array:
        """int phi(t) cos(kappa t) dt, kappa in radians per cell."""
        nodes, weights = np.polynomial.legendre.leggauss(24)
        t = nodes / 2
        lower = _evaluated(self.even, t[:, None] ** 2) + t[:, None] * _evaluated(self.odd, t[:, None] ** 2)
        offsets = (self.taps - 1) / 2 - np.arange(self.taps // 2)
        places = (offsets[None, :] + t[:, None]).ravel()
        return np.asarray(np.cos(np.multiply.outer(kappa, places)) @ (weights[:, None] * lower).ravel())

    @cached_property
    def defects(self) -> tuple[Array, Array, Array]:
        """kappa, alpha, alpha': how far interpolation is from e^{i kappa u} / phi_hat and from its derivative, at the worst place in a cell.

        sup_u |sum_m phi(u - m) e^{i kappa m} / phi_hat(kappa) - e^{i kappa u}|: all aliases kappa + 2 pi n at once. For the derivative, per cell.
        """
        kappa = np.linspace(0, math.pi, FREQUENCIES)
        t = np.linspace(-0.5, 0.5, PLACES)
        value, slope = self.weights(t)
        offsets = np.arange(self.taps) - (self.taps - 1) / 2
        # e^{i kappa (m - u)}: nodes lie at offsets - t from the particle
        wave = np.exp(1j * kappa[:, None, None] * (offsets - t[:, None]))
        hat = self.transform(kappa)[:, None]
        alpha = np.abs((wave * value).sum(-1) / hat - 1).max(1)
        alpha_slope = np.abs((wave * slope).sum(-1) / hat - 1j * kappa[:, None]).max(1)
        return kappa, alpha, alpha_slope


@lru_cache(maxsize=256)
def window(taps: int, beta: float, terms: int) -> Window:
    """exp(beta taps (sqrt(1 - (2 t / taps)^2) - 1)) as polynomials of `terms` even and `terms` odd powers, by least squares in Chebyshev's points."""
    t = 0.5 * np.cos(np.pi * (np.arange(8 * terms) + 0.5) / (8 * terms))
    offsets = (taps - 1) / 2 - np.arange(taps // 2)
    target = _semicircle(offsets + t[:, None], taps, beta)
    mirrored = _semicircle(offsets - t[:, None], taps, beta)
    even = _fitted(t**2, (target + mirrored) / 2, np.ones_like(t), terms)
    odd = _fitted(t**2, (target - mirrored) / 2, t, terms)
    return Window(taps, even, odd)


def _semicircle(t: Array, taps: int, beta: float) -> Array:
    return np.asarray(np.exp(beta * taps * (np.sqrt(np.maximum(1 - (2 * t / taps) ** 2, 0)) - 1)))


def _fitted(s: Array, target: Array, factor: Array, terms: int) -> Array:
    """Coefficients (W/2, terms) of polynomials p_j in s with factor p_j close to target (n, W/2); s in [0, 1/4]."""
    basis = np.polynomial.chebyshev.chebvander(8 * s - 1, terms - 1)
    coefficients = np.linalg.lstsq(factor[:, None] * basis, target, rcond=None)[0]
    powers = [np.polynomial.chebyshev.Chebyshev(c, domain=[0, 0.25]).convert(kind=np.polynomial.Polynomial).coef for c in coefficients.T]
    return np.stack([np.pad(p, (0, terms - len(p))) for p in powers])


def _evaluated(coefficients: Array, s: Array) -> Array:
    """Polynomials (W/2, n) at s (..., 1): (..., W/2)."""
    total = np.zeros(np.broadcast_shapes(s.shape, (len(coefficients),)))
    for c in coefficients.T[::-1]:
        total = total * s + c
    return total


def _differentiated(coefficients: Array) -> Array:
    return coefficients[:, 1:] * np.arange(1, coefficients.shape[1])
