"""The window of a particle mesh: W taps, polynomials in the particle's place within its cell, made
for one kernel and spacing.

A particle at u (in cells) with t = u - floor(u) - 1/2 in [-1/2, 1/2) meets the nodes floor(u) - W/2
+ 1 + j, j = 0 ... W - 1, with weights

    phi(a_j + t),  a_j = (W - 1)/2 - j > 0 for j < W/2,   and   phi(a_j - t) for the mirrored tap W - 1 - j:

one pair of polynomials, phi(a_j + t) = E_j(t^2) + t O_j(t^2), serves both. Interpolation is exact
for e^{i kappa u} where

    sum_m phi(u - m) e^{i kappa m} = phi_hat(kappa) e^{i kappa u} for all u,   phi_hat(kappa) = int phi(t) cos(kappa t) dt,

and its derivative alike. Both sides are linear in the coefficients: they minimise the mean square
of the derivative's defect relative to phi_hat, weighted with the kernel's spectrum, under
phi_hat(0) = const. The error is several times below that of an exponential of a semicircle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.polynomial import Chebyshev

from particleflow.memo import cached_property

Array: TypeAlias = np.ndarray

# Places within a cell and frequencies in [0, pi] where a window is fitted, and where its error is
# looked at: edges of cells among them, where pieces of the window meet.
FIT_PLACES, FIT_FREQUENCIES = 17, 33
PLACES, FREQUENCIES = 33, 129
LEAST_WEIGHT = 1e-14
# Frequencies whose transforms take too long one by one; how many are read off a polynomial at a
# time, and its degree.
MANY, CHUNK, DEGREE = 2**16, 2**14, 48


@dataclass(frozen=True, eq=False)
class Window:
    """`powers` (W/2, 2 n): coefficients of phi(a_j + t) in powers of t."""

    taps: int
    powers: Array

    @property
    def terms(self) -> int:
        return self.powers.shape[1] // 2

    @property
    def all_powers(self) -> Array:
        """(W, 2 n), the mirrored taps too."""
        return np.concatenate(
            [self.powers, (self.powers * (-1.0) ** np.arange(self.powers.shape[1]))[::-1]]
        )

    @property
    def slopes(self) -> Array:
        """phi'(a_j + t): (W/2, 2 n - 1)."""
        return self.powers[:, 1:] * np.arange(1, self.powers.shape[1])

    def weights(self, t: Array) -> tuple[Array, Array]:
        """The taps' weights and their derivatives in t, (..., W)."""
        powers = t[..., None] ** np.arange(2 * self.terms)
        every = self.all_powers
        return powers @ every.T, powers[..., :-1] @ (every[:, 1:] * np.arange(1, 2 * self.terms)).T

    def transform(self, kappa: Array) -> Array:
        """int phi(t) cos(kappa t) dt, kappa in [0, pi], in radians per cell. Those of a long line
        are read off a polynomial.
        """
        if len(kappa) > MANY:
            return np.concatenate(
                [self._polynomial(kappa[k : k + CHUNK]) for k in range(0, len(kappa), CHUNK)]
            )
        return np.asarray(_transforms(self.taps, 2 * self.terms, kappa) @ self.powers.ravel())

    @cached_property
    def _polynomial(self) -> Chebyshev:
        """The transform, whose frequencies end at W / 2: as accurate as the sums that give it."""
        return Chebyshev.interpolate(self.transform, DEGREE, domain=[0, math.pi])

    @cached_property
    def defects(self) -> tuple[Array, Array, Array]:
        """kappa, alpha, alpha': how far interpolation is from e^{i kappa u} and from its
        derivative, per cell, at the worst place in a cell.

        sup_u |sum_m phi(u - m) e^{i kappa m} / phi_hat(kappa) - e^{i kappa u}|: all aliases kappa +
        2 pi n at once.
        """
        kappa, t = np.linspace(0, math.pi, FREQUENCIES), np.linspace(-0.5, 0.5, PLACES)
        value, slope = self.weights(t)
        wave = _waves(self.taps, kappa, t)
        hat = self.transform(kappa)[:, None]
        alpha = np.abs((wave * value).sum(-1) / hat - 1).max(1)
        alpha_slope = np.abs((wave * slope).sum(-1) / hat - 1j * kappa[:, None]).max(1)
        return kappa, alpha, alpha_slope


def fitted(taps: int, terms: int, kappa: Array, spectrum: Array) -> Window:
    """The window for a kernel with this spectrum >= 0, in any unit, at frequencies kappa in radians
    per cell; `terms` even and as many odd powers.
    """
    frequencies, _, _, slopes = _defect_forms(taps, 2 * terms)
    weights = np.interp(frequencies, kappa, spectrum)
    # frequencies that the kernel does not have, a little: else there are windows enough for the
    # others
    weights = np.maximum(weights, LEAST_WEIGHT * weights.max())
    hats = _transforms(taps, 2 * terms, frequencies)
    defects = slopes - 1j * frequencies[:, None, None] * hats[:, None, :]
    # phi_hat in the denominator: that of the last fit; to begin with, a Gaussian's
    hat = np.exp(-0.5 * frequencies**2 * taps / 10)
    powers = np.zeros(0)
    for _ in range(3):
        rows = (defects * (weights / np.abs(hat))[:, None, None]).reshape(-1, defects.shape[-1])
        triangle: Any = np.linalg.qr(np.concatenate([rows.real, rows.imag]), mode="r")
        # minimise |triangle p|^2 under hats[0] p = const
        powers = np.linalg.solve(triangle, np.linalg.solve(triangle.T, hats[0]))
        hat = hats @ powers / (hats[0] @ powers)
    found = powers.reshape(taps // 2, 2 * terms)
    # 1 in the middle
    return Window(taps, found / (found[-1] @ (-0.5) ** np.arange(2 * terms)))


def _waves(taps: int, kappa: Array, t: Array) -> Array:
    """e^{i kappa (m - u)}, (kappa, t, W): the nodes m lie at (W - 1)/2 - j - t before a particle."""
    return np.asarray(
        np.exp(1j * kappa[:, None, None] * (np.arange(taps) - (taps - 1) / 2 - t[:, None]))
    )


@lru_cache(maxsize=16)
def _defect_forms(taps: int, powers: int) -> tuple[Array, Array, Array, Array]:
    """Frequencies and places; sum_m phi(u - m) e^{i kappa (m - u)} and its derivative's, as linear
    forms (kappa, t, W/2 powers) of coefficients.
    """
    kappa, t, q = (
        np.linspace(0, math.pi, FIT_FREQUENCIES),
        np.linspace(-0.5, 0.5, FIT_PLACES),
        np.arange(powers),
    )
    value = t[:, None] ** q
    slope = q * np.where(q > 0, t[:, None] ** np.maximum(q - 1, 0), 0.0)
    wave = _waves(taps, kappa, t)[..., None]
    mirrored = wave[:, :, ::-1] * (-1.0) ** q
    half = taps // 2
    forms = [
        (wave[:, :, :half] * f[:, None] + mirrored[:, :, :half] * f[:, None]).reshape(
            len(kappa), len(t), -1
        )
        for f in (value, slope)
    ]
    return kappa, t, forms[0], forms[1]


def _transforms(taps: int, powers: int, kappa: Array) -> Array:
    """phi_hat as linear forms (kappa, W/2 * powers) of the coefficients."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    moments = (weights * (nodes / 2) ** np.arange(powers)[:, None]).T
    offsets = (taps - 1) / 2 - np.arange(taps // 2)
    cosines = np.cos(kappa[:, None, None] * (offsets[:, None] + nodes / 2))
    return np.asarray((cosines @ moments).reshape(len(kappa), -1))
