"""The error of a pair of points on a particle mesh, by their difference: computed along lines, at
all places of both in their cells.

With P_j what a mesh does on axis j (sample or truncate, spread, interpolate), k~ - k = sum_j P_1
... P_{j-1} (P_j - 1) k. To first order, then, the error of a pair at difference r is a sum over
axes of errors on a line, at r_j along it and rho_j = sqrt(|r|^2 - r_j^2) beside it:

    value:                   sum_j V(r_j, rho_j)                                  V of the function s -> k(sqrt(s^2 + rho^2))
    gradient, component i:   S(r_i, rho_i) + |r_i| sum_{j != i} Q(r_j, rho_j)     S of its derivative, Q of s -> 2 dk/ds in the place of k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from particleflow.kernels.declared import has_spectrum
from particleflow.pairwise.mesh.window import Window
from particleflow.pairwise.periodic import modes

Array: TypeAlias = np.ndarray

# Distances that are looked at, in the kernel's units of length: beyond them an error is at most as
# large as there. Half of the line.
FARTHEST, HALF_LINE = 6.0, 18.0
# Cells, one after the other, that are looked at; from there on, they are further apart by this
# factor.
NEAR_CELLS, WIDENING = 12, 1.25
# A truncated line is sampled so much more finely than the mesh.
FINER = 16
PLACES = 9


@dataclass(frozen=True, eq=False)
class PairErrors:
    """V, S and Q relative to max |k|, max |grad k| and the latter over the unit of length: the
    largest at distances of at least `along[i]` on the line, `across[j]` beside it. Distances in
    units. `level[i]`: max |k| at distances of at least `radii[i]`, relative to max |k|.
    """

    along: Array
    across: Array
    value: Array
    slope: Array
    pull: Array
    radii: Array
    level: Array

    def at(self, nearest: Array, farthest: Array, d: int) -> tuple[Array, Array]:
        """Errors of value and gradient, relative to the kernel's peaks, at differences in (nearest,
        farthest) on each axis: (B, ..., B) each.
        """
        low = [nearest.reshape([-1 if k == j else 1 for k in range(d)]) for j in range(d)]
        high = [farthest.reshape([-1 if k == j else 1 for k in range(d)]) for j in range(d)]
        whole = np.asarray(sum((r**2 for r in low), np.zeros(())))
        places = [
            (
                np.searchsorted(self.along, r, side="right") - 1,
                np.searchsorted(self.across, np.sqrt(whole - r**2), side="right") - 1,
            )
            for r in low
        ]
        value = sum((self.value[place] for place in places), np.zeros(()))
        squares = np.zeros(())
        for i, place in enumerate(places):
            beside = sum(
                (self.pull[other] for j, other in enumerate(places) if j != i), np.zeros(())
            )
            squares = squares + (self.slope[place] + high[i] * beside) ** 2
        return np.asarray(value), np.sqrt(squares)

    def levels(self, nearest: Array, d: int) -> Array:
        """max |k| at differences of at least `nearest` on each axis."""
        squares = sum(
            ((nearest**2).reshape([-1 if k == j else 1 for k in range(d)]) for j in range(d)),
            np.zeros(()),
        )
        return np.asarray(
            self.level[np.searchsorted(self.radii, np.sqrt(squares), side="right") - 1]
        )


@lru_cache(maxsize=64)
def pair_errors(kernel: Any, h: float, chosen: Window) -> PairErrors:
    """Of a kernel in its own unit, on a mesh of spacing h units. Cost O(cells places^2 / h) for
    each distance beside the line.
    """
    unit = modes.scale(kernel)
    n = 2 * math.ceil(HALF_LINE / h)
    cells = _spread_out(FARTHEST / h)
    across = h * np.concatenate([np.arange(0, 4, 0.5), _spread_out(FARTHEST / h, first=4.0)])
    t = np.linspace(-0.5, 0.5, PLACES)
    left, sloped = _interpolated(h, chosen, n, cells, t)
    r = h * (cells[:, None, None] + t[:, None] - t).reshape(len(cells), -1)
    truncated = has_spectrum(kernel)
    finer = FINER if truncated else 1
    line = np.arange(n * finer // 2 + 1) * (h / finer)
    bent = modes.bent_square(line, n * h, n * h / 8, 32.0)
    radii = np.concatenate([[0.0], np.geomspace(1e-3, 2 * FARTHEST, 2000)])
    k, force = np.abs(_profile(kernel, radii, unit)), np.abs(radii * _pull(kernel, radii, unit))
    top, steepest = float(k.max()), float(force.max())
    tables = np.zeros((3, len(cells), len(across)))
    for j, rho in enumerate(across):
        s, exact = np.sqrt(bent + rho**2), np.sqrt(r**2 + rho**2)
        c, c_pull = (_coefficients(f(kernel, s, unit), n) for f in (_profile, _pull))
        pull = _pull(kernel, exact, unit)
        errors = (
            (c @ left).reshape(r.shape) - _profile(kernel, exact, unit),
            (c @ sloped).reshape(r.shape) - r * pull,
            (c_pull @ left).reshape(r.shape) - pull,
        )
        tables[:, :, j] = [np.abs(error).max(1) for error in errors]
    # at least as far, along and across
    tables = np.maximum.accumulate(np.maximum.accumulate(tables[:, ::-1, ::-1], axis=1), axis=2)[
        :, ::-1, ::-1
    ]
    level = np.maximum.accumulate(k[::-1])[::-1] / top
    return PairErrors(
        h * cells, across, tables[0] / top, tables[1] / steepest, tables[2] / steepest, radii, level
    )


def _spread_out(last: float, first: float = 0.0) -> Array:
    """Numbers of cells: each of the first, then further apart."""
    found = list(np.arange(first, NEAR_CELLS))
    while found[-1] < last:
        found.append(float(math.ceil(found[-1] * WIDENING)))
    return np.array(found)


def _interpolated(h: float, chosen: Window, n: int, cells: Array, t: Array) -> tuple[Array, Array]:
    """Re Z_m(z) X_m(x)* and its derivative in z, of the modes m = 0 ... n / 2 of a line: (modes,
    cells * places of z * places of x).
    """
    kappa = 2 * math.pi / n * np.arange(n // 2 + 1)
    weights, slopes = chosen.weights(t)
    nodes = np.arange(chosen.taps) - (chosen.taps - 1) / 2
    waves = np.exp(1j * np.outer(kappa, nodes)) / chosen.transform(kappa)[:, None]
    z, dz = waves @ weights.T, waves @ slopes.T / h
    shifts = np.exp(1j * np.outer(kappa, cells))[:, :, None, None]
    left, sloped = (
        (shifts * (f[:, None, :, None] * z.conj()[:, None, None, :])).real.reshape(len(kappa), -1)
        for f in (z, dz)
    )
    return left, sloped


def _coefficients(samples: Array, n: int) -> Array:
    """Of the modes 0 ... n / 2, both signs together, of an even function from its samples on half
    of a period.
    """
    c = np.fft.hfft(samples, 2 * (len(samples) - 1))[: n // 2 + 1] / (2 * (len(samples) - 1))
    c[1 : n // 2] *= 2
    return np.asarray(c)


def _profile(kernel: Any, r: Array, unit: float) -> Array:
    return modes.values(kernel.profile, (unit * r) ** 2)


def _pull(kernel: Any, r: Array, unit: float) -> Array:
    """(d/dr k) / r, in units."""
    return 2 * unit**2 * modes.values(kernel.slope, (unit * r) ** 2)
