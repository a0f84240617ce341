"""The error of a particle mesh for one pair of points, as a function of their difference z - x.

A mesh replaces k(z - x) by another function of z and x, which depends also on the places of both
points within their cells. The errors here are the largest over all these places. They are relative
to the kernel's peaks: max |k| for the value, max |grad k| for the gradient (2-norm).

Gaussian (`GaussianErrors`): kernel and mesh are products over axes. Let g be the Gaussian on one
axis, and e, e' the errors of the mesh for g and g' there. Then the errors are

    value:                   prod_j (|g_j| + e_j) - prod_j |g_j|
    gradient, component i:   (|g'_i| + e'_i) P_i - |g'_i| prod_{j != i} |g_j|,
    with                     P_i = prod_{j != i} (|g_j| + e_j).

All other kernels (`LineErrors`): let M_j be what a mesh does on axis j (sample or truncate, spread,
interpolate). Then k~ - k = sum_j M_1 ... M_{j-1} (M_j - 1) k. To first order, the error at a
difference r is a sum over axes of errors on a line, at r_j along the line and
rho_j = sqrt(|r|^2 - r_j^2) beside it:

    value:                   sum_j V(r_j, rho_j)
    gradient, component i:   S(r_i, rho_i) + |r_i| sum_{j != i} Q(r_j, rho_j),

where V is the error for the function s -> k(sqrt(s^2 + rho^2)), S the error for its derivative, and
Q the error for s -> (dk/dr) / r, r^2 = s^2 + rho^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from particleflow.kernels import Kernel
from particleflow.kernels.declared import has_spectrum
from particleflow.memo import cached
from particleflow.pairwise.mesh.window import Window
from particleflow.pairwise.periodic import modes
from particleflow.pairwise.periodic.modes import on_axis, outer_product, outer_sum

Array: TypeAlias = np.ndarray
# On one axis: |g|, its error e, |g'|, its error e'.
AxisErrors: TypeAlias = tuple[Array, Array, Array, Array]

# The largest distance at which errors are computed, in the kernel's length scale: beyond, they are
# at most as large as there.
FARTHEST = 6.0
# Distances between 0.97 FARTHEST and FARTHEST stand for all distances beyond.
LAST = 0.97
# Gaussian: bins of distance between 0 and FARTHEST, each of an eighth of a bandwidth.
BINS = 48
# Gaussian: the images are at least this many bandwidths beyond FARTHEST, and below 1e-15.
IMAGES = 9
# Gaussian: places of a point within its cell.
GAUSSIAN_PLACES = 17
# Other kernels: half the length of the periodic line, in length scales.
HALF_LINE = 18.0
# Other kernels: places of a point within its cell.
PLACES = 9
# Other kernels: distances up to this number of cells are looked at one after the other.
NEXT_CELLS = 12
# From there on, each distance is larger than the last by this factor.
WIDENING = 1.25
# Samples of a truncated line in each cell: aliases in its coefficients are then small.
SAMPLES_PER_CELL = 16


@runtime_checkable
class PairErrors(Protocol):
    """Errors of pairs, distances in length scales; `nearest`, `farthest` (B,): bins of distance."""

    def at(self, nearest: Array, farthest: Array, d: int) -> tuple[Array, Array]:
        """Errors of value and gradient, relative to the kernel's peaks: (B, ..., B) each.

        Entry (i, j, ...) is for differences between nearest[i] and farthest[i] on the first axis,
        between nearest[j] and farthest[j] on the second, and so on.
        """
        ...

    def levels(self, nearest: Array, d: int) -> Array:
        """max |k| / peak at differences of at least nearest[i], nearest[j], ...: (B, ..., B)."""
        ...


def errors_beyond(errors: PairErrors, d: int) -> tuple[float, float]:
    """The errors of value and gradient of a pair at distances beyond `FARTHEST`."""
    last = errors.at(np.array([0.0, LAST * FARTHEST]), np.full(2, FARTHEST), d)
    value, grad = (float(table[(1,) + (0,) * (d - 1)]) for table in last)
    return value, grad


# The Gaussian


@dataclass(frozen=True, eq=False)
class GaussianErrors:
    """For bandwidth 1, on one axis: `value` = e and `slope` = e', the largest in each bin.

    Bin b holds the distances between edges[b] and edges[b + 1].
    """

    edges: Array
    value: Array
    slope: Array

    def at(self, nearest: Array, farthest: Array, d: int) -> tuple[Array, Array]:
        return _product_errors(self._within(nearest, farthest), d)

    def levels(self, nearest: Array, d: int) -> Array:
        return outer_product([np.exp(-0.5 * nearest**2)] * d)

    def worst(self, d: int) -> tuple[float, float]:
        """The errors of value and gradient at the worst difference."""
        value, grad = self.at(self.edges[:-1], self.edges[1:], d)
        return float(value.max()), float(grad.max())

    def _within(self, nearest: Array, farthest: Array) -> AxisErrors:
        """The largest |g|, e, |g'| and e' between `nearest` and `farthest`."""
        steep = np.clip(1.0, nearest, farthest)  # |g'| is largest at 1
        first = np.searchsorted(self.edges, nearest, side="right") - 1
        last = np.searchsorted(self.edges, farthest, side="left")
        value, slope = (
            np.array([e[a:b].max(initial=0.0) for a, b in zip(first, last, strict=True)])
            for e in (self.value, self.slope)
        )
        return np.exp(-0.5 * nearest**2), value, steep * np.exp(-0.5 * steep**2), slope


def gaussian_errors(h: float, window: Window) -> GaussianErrors:
    """The errors on one axis of a mesh of spacing h, for the Gaussian of bandwidth 1.

    The mesh's kernel is sum_m c_m Z_m(z) X_m(x)*, where X_m and Z_m are what the window makes of
    the wave e^{i omega_m x}. It is computed at all pairs of places in cells, for all distances.
    """
    n = 2 * math.ceil((FARTHEST + IMAGES) / h / 2)
    kappa = 2 * math.pi / n * np.arange(-(n // 2) + 1, n // 2)
    c = math.sqrt(2 * math.pi) / (n * h) * np.exp(-0.5 * (kappa / h) ** 2)
    t = np.linspace(-0.5, 0.5, GAUSSIAN_PLACES)
    x, dx = _interpolated_waves(h, window, kappa, np.abs(kappa), t)
    cells = np.arange(math.ceil(FARTHEST / h) + 1)
    # axes: distance in cells, place of z, place of x
    shifts = c * np.exp(1j * np.outer(cells, kappa))
    pairs = (x.T[:, None] * x.T.conj()[None]).reshape(len(t) ** 2, n - 1)
    sloped = (dx.T[:, None] * x.T.conj()[None]).reshape(len(t) ** 2, n - 1)
    value, slope = (
        (shifts @ waves.T).real.reshape(len(cells), len(t), len(t)) for waves in (pairs, sloped)
    )
    r = h * (cells[:, None, None] + t[:, None] - t[None, :])
    g = np.exp(-0.5 * r**2)
    edges = np.linspace(0, FARTHEST, BINS + 1)
    bins = np.clip(np.searchsorted(edges, np.abs(r).ravel(), side="right") - 1, 0, BINS - 1)
    e, e_slope = np.zeros(BINS), np.zeros(BINS)
    np.maximum.at(e, bins, np.abs(value - g).ravel())
    np.maximum.at(e_slope, bins, np.abs(slope + r * g).ravel())
    return GaussianErrors(edges, e, e_slope)


def _product_errors(axis: AxisErrors, d: int) -> tuple[Array, Array]:
    """The errors of the file's head, for all combinations of bins, one an axis: (B, ..., B)."""
    axes = [[on_axis(numbers, j, d) for numbers in axis] for j in range(d)]
    right = _product(g for g, _, _, _ in axes)
    wrong = _product(g + e for g, e, _, _ in axes)
    squares = np.zeros(())
    for i, (_, _, slope, e_slope) in enumerate(axes):
        others = axes[:i] + axes[i + 1 :]
        plain = _product(g for g, _, _, _ in others)
        off = _product(g + e for g, e, _, _ in others)
        squares = squares + ((slope + e_slope) * off - slope * plain) ** 2
    # max |g'| = e^{-1/2}
    return np.asarray(wrong - right), np.asarray(np.sqrt(squares) * math.exp(0.5))


def _product(factors: Iterable[Array]) -> Array:
    return math.prod(factors, start=np.ones(()))


# All other kernels


@dataclass(frozen=True, eq=False)
class LineErrors:
    """V (`value`), S (`slope`) and Q (`pull`) of the file's head, (A, B) each.

    Entry (i, j) is the largest at distances of at least along[i] on the line and across[j] beside
    it. V is relative to max |k|, S to max |grad k|, Q to max |grad k| / length scale. level[i] is
    the largest |k| / max |k| at distances of at least radii[i]. Distances are in length scales.
    """

    along: Array
    across: Array
    value: Array
    slope: Array
    pull: Array
    radii: Array
    level: Array

    def at(self, nearest: Array, farthest: Array, d: int) -> tuple[Array, Array]:
        low = [on_axis(nearest, j, d) for j in range(d)]
        high = [on_axis(farthest, j, d) for j in range(d)]
        whole = _sum(r**2 for r in low)
        entries = [
            (
                np.searchsorted(self.along, r, side="right") - 1,
                np.searchsorted(self.across, np.sqrt(whole - r**2), side="right") - 1,
            )
            for r in low
        ]
        value = _sum(self.value[entry] for entry in entries)
        squares = np.zeros(())
        for i, entry in enumerate(entries):
            pull = _sum(self.pull[other] for j, other in enumerate(entries) if j != i)
            squares = squares + (self.slope[entry] + high[i] * pull) ** 2
        return value, np.sqrt(squares)

    def levels(self, nearest: Array, d: int) -> Array:
        distance = np.sqrt(outer_sum([nearest**2] * d))
        return np.asarray(self.level[np.searchsorted(self.radii, distance, side="right") - 1])


@cached(64)
def line_errors(kernel: Kernel, h: float, window: Window) -> LineErrors:
    """The errors of a kernel on a mesh of spacing h, in its length scale.

    Cost O(cells places^2 / h) for each distance beside the line.
    """
    unit = modes.length_scale(kernel)
    n = 2 * math.ceil(HALF_LINE / h)
    cells = _widening(FARTHEST / h)
    across = h * np.concatenate([np.arange(0, 4, 0.5), _widening(FARTHEST / h, first=4.0)])
    t = np.linspace(-0.5, 0.5, PLACES)
    waves, sloped_waves = _pair_waves(h, window, n, cells, t)
    r = h * (cells[:, None, None] + t[:, None] - t).reshape(len(cells), -1)
    # a kernel with a known spectrum is truncated by the mesh, any other is sampled on its nodes
    samples = SAMPLES_PER_CELL if has_spectrum(kernel) else 1
    line = np.arange(n * samples // 2 + 1) * (h / samples)
    bent = modes.bent_square(line, n * h, n * h / 8, modes.LINE_BETA)
    radii = np.concatenate([[0.0], np.geomspace(1e-3, 2 * FARTHEST, 2000)])
    k, force = np.abs(_profile(kernel, radii, unit)), np.abs(radii * _pull(kernel, radii, unit))
    top, steepest = float(k.max()), float(force.max())
    tables = np.zeros((3, len(cells), len(across)))
    for j, rho in enumerate(across):
        s, exact = np.sqrt(bent + rho**2), np.sqrt(r**2 + rho**2)
        c = _line_coefficients(_profile(kernel, s, unit), n)
        c_pull = _line_coefficients(_pull(kernel, s, unit), n)
        pull = _pull(kernel, exact, unit)
        errors = (
            (c @ waves).reshape(r.shape) - _profile(kernel, exact, unit),
            (c @ sloped_waves).reshape(r.shape) - r * pull,
            (c_pull @ waves).reshape(r.shape) - pull,
        )
        tables[:, :, j] = [np.abs(error).max(1) for error in errors]
    # the largest at least so far, along and across
    from_far = np.maximum.accumulate(tables[:, ::-1, ::-1], axis=1)
    tables = np.maximum.accumulate(from_far, axis=2)[:, ::-1, ::-1]
    level = np.maximum.accumulate(k[::-1])[::-1] / top
    return LineErrors(
        h * cells, across, tables[0] / top, tables[1] / steepest, tables[2] / steepest, radii, level
    )


def _sum(terms: Iterable[Array]) -> Array:
    return np.asarray(sum(terms, np.zeros(())))


def _widening(last: float, first: float = 0.0) -> Array:
    """Distances in cells from `first` to `last` at least: see NEXT_CELLS."""
    found = list(np.arange(first, NEXT_CELLS))
    while found[-1] < last:
        found.append(float(math.ceil(found[-1] * WIDENING)))
    return np.array(found)


def _interpolated_waves(
    h: float, window: Window, kappa: Array, positive: Array, t: Array
) -> tuple[Array, Array]:
    """What the window makes of e^{i kappa u}, and of its derivative in x = h u: (kappa, places t).

    `positive`: |kappa|, radians per cell. Nodes count from the middle of the cell.
    """
    weights, slopes = window.weights(t)
    nodes = np.arange(window.taps) - (window.taps - 1) / 2
    waves = np.exp(1j * np.outer(kappa, nodes)) / window.transform(positive)[:, None]
    return waves @ weights.T, waves @ slopes.T / h


def _pair_waves(h: float, window: Window, n: int, cells: Array, t: Array) -> tuple[Array, Array]:
    """Re Z_m(z) X_m(x)* and its derivative in z, for the modes m = 0 ... n / 2 of n cells.

    (modes, cells * places of z * places of x) each.
    """
    kappa = 2 * math.pi / n * np.arange(n // 2 + 1)
    z, dz = _interpolated_waves(h, window, kappa, kappa, t)
    shifts = np.exp(1j * np.outer(kappa, cells))[:, :, None, None]
    pairs, sloped = (
        (shifts * (f[:, None, :, None] * z.conj()[:, None, None, :])).real.reshape(len(kappa), -1)
        for f in (z, dz)
    )
    return pairs, sloped


def _line_coefficients(samples: Array, n: int) -> Array:
    """Fourier coefficients of an even function, for the modes m = 0 ... n / 2, both signs together.

    `samples`: the function on half of its period, both ends included.
    """
    count = 2 * (len(samples) - 1)
    c = np.fft.hfft(samples, count)[: n // 2 + 1] / count
    c[1 : n // 2] *= 2
    return np.asarray(c)


def _profile(kernel: Kernel, r: Array, unit: float) -> Array:
    """k at distances r, in length scales `unit`."""
    return modes.values(kernel.profile, (unit * r) ** 2)


def _pull(kernel: Kernel, r: Array, unit: float) -> Array:
    """(dk/dr) / r at distances r, both in length scales `unit`."""
    return 2 * unit**2 * modes.values(kernel.slope, (unit * r) ** 2)
