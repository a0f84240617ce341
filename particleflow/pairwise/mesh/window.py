"""The window of a particle mesh: the weights of a particle on the W^d nodes around it.

Coordinates u are in cells, and nodes are the integers. On each axis a particle at u, with
t = u - floor(u) - 1/2 in [-1/2, 1/2), meets the nodes floor(u) - W/2 + 1 + j, j = 0 ... W - 1, the
taps. A particle's weight on a node is a product over axes of phi(node - u), which is

    phi(a_j + t)  for the taps j < W/2,  a_j = (W - 1)/2 - j > 0,
    phi(a_j - t)  for the mirrored tap W - 1 - j,

where phi is even and, within each cell, a polynomial in t: phi(a_j + t) = E_j(t^2) + t O_j(t^2).
One pair of polynomials E_j, O_j serves both taps.

A plane wave e^{i kappa u} is interpolated from the nodes exactly if

    sum_m phi(u - m) e^{i kappa m} = phi_hat(kappa) e^{i kappa u}  for all u,
    phi_hat(kappa) = int phi(t) cos(kappa t) dt,

and its derivative in u likewise. The difference of the two sides over phi_hat(kappa) is the
window's defect. Both sides are linear in the coefficients of the polynomials. The coefficients
minimise the mean square of the derivative's defect, weighted with the kernel's spectrum, at fixed
phi_hat(0). So each window is made for one kernel and one spacing. Its error is several times
smaller than the error of the exponential of a semicircle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.polynomial import Chebyshev

from particleflow.memo import cached_property

Array: TypeAlias = np.ndarray

# Places within a cell where a window is fitted. The edges of the cell, where pieces of the window
# meet, are among them.
FIT_PLACES = 17
# Frequencies in [0, pi] where a window is fitted.
FIT_FREQUENCIES = 33
# Places within a cell where the defects of a window are computed: between those of the fit, too.
PLACES = 33
# Frequencies in [0, pi] where the defects of a window are computed.
FREQUENCIES = 129
# The least weight of a frequency in the fit, relative to the largest: it decides among windows that
# differ only at frequencies which the kernel does not have.
LEAST_WEIGHT = 1e-14
# Repetitions of the fit, each with phi_hat of the one before in the denominator: three converge.
FITS = 3
# Nodes of the Gauss-Legendre rule on a cell: exact for a polynomial times a cosine, up to rounding.
QUADRATURE = 24
# Above this number of frequencies the transform is read off a polynomial: sums take too long.
MANY = 2**16
# Frequencies that are read off the polynomial together: their arrays fit the processor's cache.
READ_TOGETHER = 2**14
# Degree of that polynomial: it is as accurate as the sums that it interpolates.
DEGREE = 48


@dataclass(frozen=True, eq=False)
class Window:
    """W = `taps`; `powers` (W/2, 2 n): row j holds phi(a_j + t) as coefficients of t^0, t^1, ..."""

    taps: int
    powers: Array

    @property
    def terms(self) -> int:
        return self.powers.shape[1] // 2

    @property
    def all_powers(self) -> Array:
        """(W, 2 n): the coefficients of all taps, the mirrored ones too."""
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
        """phi_hat(kappa) = int phi(t) cos(kappa t) dt, kappa (F,) in [0, pi], radians per cell."""
        if len(kappa) > MANY:
            return np.concatenate(
                [
                    self._polynomial(kappa[k : k + READ_TOGETHER])
                    for k in range(0, len(kappa), READ_TOGETHER)
                ]
            )
        return np.asarray(_transforms(self.taps, 2 * self.terms, kappa) @ self.powers.ravel())

    @cached_property
    def _polynomial(self) -> Chebyshev:
        """phi_hat on [0, pi]: smooth, as phi is zero beyond W / 2."""
        return Chebyshev.interpolate(self.transform, DEGREE, domain=[0, math.pi])

    @cached_property
    def defects(self) -> tuple[Array, Array, Array]:
        """kappa (F,), and the errors alpha, alpha' (F,) of interpolating e^{i kappa u}.

        alpha(kappa) = sup_u |sum_m phi(u - m) e^{i kappa m} / phi_hat(kappa) - e^{i kappa u}|, and
        alpha' likewise for the derivative in u. They hold all aliases kappa + 2 pi n at once.
        """
        kappa, t = np.linspace(0, math.pi, FREQUENCIES), np.linspace(-0.5, 0.5, PLACES)
        value, slope = self.weights(t)
        wave = _waves(self.taps, kappa, t)
        hat = self.transform(kappa)[:, None]
        alpha = np.abs((wave * value).sum(-1) / hat - 1).max(1)
        alpha_slope = np.abs((wave * slope).sum(-1) / hat - 1j * kappa[:, None]).max(1)
        return kappa, alpha, alpha_slope


def fitted(taps: int, terms: int, kappa: Array, spectrum: Array) -> Window:
    """The window of `taps` taps, with `terms` even and as many odd powers of t, for one kernel.

    The kernel is given by its `spectrum` >= 0, in any unit, at `kappa`, in radians per cell.
    """
    frequencies, slopes = _slope_forms(taps, 2 * terms)
    weights = np.interp(frequencies, kappa, spectrum)
    weights = np.maximum(weights, LEAST_WEIGHT * weights.max())
    hats = _transforms(taps, 2 * terms, frequencies)
    defects = slopes - 1j * frequencies[:, None, None] * hats[:, None, :]
    # the denominator phi_hat, to begin with: that of a Gaussian
    hat = np.exp(-0.5 * frequencies**2 * taps / 10)
    powers = np.zeros(0)
    for _ in range(FITS):
        rows = (defects * (weights / np.abs(hat))[:, None, None]).reshape(-1, defects.shape[-1])
        both = np.concatenate([rows.real, rows.imag])
        triangle = np.asarray(np.linalg.qr(both, mode="r"))
        # minimise |triangle p|^2 under hats[0] p = const
        powers = np.linalg.solve(triangle, np.linalg.solve(triangle.T, hats[0]))
        hat = hats @ powers / (hats[0] @ powers)
    found = powers.reshape(taps // 2, 2 * terms)
    # scaled to phi(0) = 1
    return Window(taps, found / (found[-1] @ (-0.5) ** np.arange(2 * terms)))


def _waves(taps: int, kappa: Array, t: Array) -> Array:
    """e^{i kappa (m - u)} for the W nodes m around u: (kappa, t, W)."""
    return np.asarray(
        np.exp(1j * kappa[:, None, None] * (np.arange(taps) - (taps - 1) / 2 - t[:, None]))
    )


@lru_cache(maxsize=16)
def _slope_forms(taps: int, powers: int) -> tuple[Array, Array]:
    """kappa, and sum_m phi'(u - m) e^{i kappa (m - u)} as a linear form of the coefficients.

    The form is an array (kappa, places of u, W/2 * powers).
    """
    kappa, t, q = (
        np.linspace(0, math.pi, FIT_FREQUENCIES),
        np.linspace(-0.5, 0.5, FIT_PLACES),
        np.arange(powers),
    )
    slope = (q * np.where(q > 0, t[:, None] ** np.maximum(q - 1, 0), 0.0))[:, None]
    wave = _waves(taps, kappa, t)[..., None]
    mirrored = wave[:, :, ::-1] * (-1.0) ** q
    half = taps // 2
    form = wave[:, :, :half] * slope + mirrored[:, :, :half] * slope
    return kappa, form.reshape(len(kappa), len(t), -1)


def _transforms(taps: int, powers: int, kappa: Array) -> Array:
    """phi_hat(kappa) as a linear form of the coefficients: (kappa, W/2 * powers)."""
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE)
    moments = (weights * (nodes / 2) ** np.arange(powers)[:, None]).T
    offsets = (taps - 1) / 2 - np.arange(taps // 2)
    cosines = np.cos(kappa[:, None, None] * (offsets[:, None] + nodes / 2))
    return np.asarray((cosines @ moments).reshape(len(kappa), -1))
