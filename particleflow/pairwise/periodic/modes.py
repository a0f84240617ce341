"""Fourier coefficients of a radial kernel on a periodic box, and bounds of what a finite number of
modes leaves out.

    k(z - x) = sum_m c_m e^{i omega_m . (z - x)},   omega_m = 2 pi m / L,   for |z_j - x_j| <= extent_j,

where the box is long enough. A kernel that vanishes beyond its reach R is made periodic by adding
its images: L = extent + R, c_m = spectrum / V. Any other keeps its values inside the extent and is
bent smoothly outside (Potts, Steidl and Nestler 2004): L = 2 extent + bend, c_m from samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.polynomial import Chebyshev

from particleflow._libraries import Later
from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, has_kink, has_spectrum
from particleflow.pairwise.periodic.split import rounded, step

fft = Later("scipy.fft")

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Distances, in units of the kernel's scale, between which a kernel is looked at: beyond, it counts
# as long-ranged.
SHORTEST, LONGEST, DISTANCES = 1e-3, 1e3, 6000
# A line of the kernel, in scales: half its length at least, and the number of samples. They resolve
# frequencies up to about 1e3 / scale.
HALF_LINE, SAMPLES = 16.0, 2**15
# What is below it, relative to the largest coefficient of a line, is rounding.
ROUNDING = 1e-15


def require_smooth(kernel: Kernel, backend: str) -> None:
    """Refuse kernels with a kink at zero: their spectrum decays too slowly for any mesh."""
    if has_kink(kernel):
        raise TypeError(
            f"`kernel` must be smooth at zero for {backend}, got {kernel}: use Fourier, which"
            " corrects the near field, or Compiled, which is exact"
        )


def scale(kernel: Any) -> float:
    """The kernel's unit of length: its bandwidth, or else the distance over which it loses two
    fifths of its peak.
    """
    return bandwidth_of(kernel) or _falling_distance(kernel)


@lru_cache(maxsize=256)
def _falling_distance(kernel: Any) -> float:
    r = np.concatenate([[0.0], np.logspace(-8, 8, 16001)])
    k = values(kernel.profile, r**2)
    fallen = np.abs(k - k[0]) >= 0.4 * np.abs(k).max()
    return float(r[fallen.argmax()]) if fallen.any() else 1.0


def unscaled(kernel: Any) -> tuple[Any, float]:
    """A kernel of bandwidth 1 and the bandwidth; what has none stays, with factor 1. Plans of one
    shape of kernel are made once.
    """
    bandwidth = bandwidth_of(kernel)
    return (kernel, 1.0) if bandwidth is None else (kernel.with_bandwidth(1.0), bandwidth)


def reach(kernel: Kernel, tol: float) -> float:
    """The distance beyond which |k| <= tol max |k| and |grad k| <= tol max |grad k|; inf for
    long-ranged kernels (IMQ).
    """
    unit, factor = unscaled(kernel)
    return factor * _reach(unit, tol)


@lru_cache(maxsize=256)
def _reach(kernel: Any, tol: float) -> float:
    r = scale(kernel) * np.logspace(math.log10(SHORTEST), math.log10(LONGEST), DISTANCES)
    k, dk = np.abs(values(kernel.profile, r**2)), np.abs(2 * r * values(kernel.slope, r**2))
    inside = np.flatnonzero(~((k <= tol * k.max()) & (dk <= tol * dk.max())))
    last = int(inside[-1]) if len(inside) else -1
    return math.inf if last == len(r) - 1 else float(r[last + 1])


@dataclass(frozen=True)
class Periodic:
    """How a kernel is made periodic: for differences |z_j - x_j| <= extents_j, in a box of
    `lengths` >= `least(extents)`.

    `reach` is finite where images are added; elsewhere the kernel is bent over a distance `bend`
    beyond the extent, by steps whose unresolved frequencies are below e^{-beta}.
    """

    kernel: Kernel
    reach: float
    bend: float
    beta: float

    def least(self, extents: Sequence[float]) -> tuple[float, ...]:
        """The shortest box: extent + reach, or 2 extent + bend."""
        if self.bent:
            return tuple(2 * max(e, self.bend) + self.bend for e in extents)
        return tuple(e + self.reach for e in extents)

    @property
    def bent(self) -> bool:
        return not math.isfinite(self.reach)

    def coefficients(
        self, lengths: Sequence[float], shape: Sequence[int], *, half: bool = True
    ) -> Array:
        """c_m for the modes of an FFT of `shape`, its last axis halved as rfftn does (`half`) or in
        full. Cost O(cells), log cells where bent.
        """
        if self.bent:
            return self._sampled(lengths, shape, half)
        omega2 = np.zeros(())
        for axis, (length, n) in enumerate(zip(lengths, shape, strict=True)):
            last = axis == len(shape) - 1
            m = np.arange(n // 2 + 1) if half and last else np.fft.fftfreq(n, 1 / n)
            omega2 = omega2[..., None] + (2 * math.pi / length * m) ** 2
        spectrum = self.kernel.spectrum  # type: ignore[attr-defined]
        return np.asarray(spectrum(torch.from_numpy(omega2), len(shape)).numpy()) / math.prod(
            lengths
        )

    def _sampled(self, lengths: Sequence[float], shape: Sequence[int], half: bool) -> Array:
        s = np.zeros(())
        for length, n in zip(lengths, shape, strict=True):
            s = s[..., None] + bent_square(
                np.fft.fftfreq(n, 1 / n) * (length / n), length, self.bend / 2, self.beta
            )
        samples = values(self.kernel.profile, s)
        c = fft.rfftn(samples).real if half else np.fft.fftn(samples).real
        return np.asarray(c) / samples.size


def periodic(kernel: Kernel, spacing: float, tol: float) -> Periodic:
    """The way to make `kernel` periodic where frequencies up to pi / spacing are kept.

    Images or the bend add errors of about tol, relative to the peaks of the kernel and of its
    gradient.
    """
    far = reach(kernel, tol) if has_spectrum(kernel) else math.inf
    # The gradient multiplies the highest frequencies of the step, the kernel of a bent distance
    # makes higher ones.
    beta = rounded(math.log(1e4 / tol))
    return Periodic(kernel, far, 4 / math.pi * spacing * beta, beta)


def bent_square(r: Array, length: float, bend: float, beta: float) -> Array:
    """r^2 for |r| <= length / 2 - bend, and on to length / 2 a function with a slope of zero there:
    even, smooth and of period `length`.

    Its derivative is 2 r times a step from 1 to 0 whose spectrum is below e^{-beta} beyond 2 beta /
    bend.
    """
    half = bend / 2
    middle = length / 2 - half
    s = r**2
    late = np.abs(r) > middle - half
    y = np.minimum((np.abs(r[late]) - middle) / half, 1.0)
    first, second = _passed(beta)
    s[late] -= half * (middle * first(y) + half * second(y))
    return s


@lru_cache(maxsize=32)
def _passed(beta: float) -> tuple[Chebyshev, Chebyshev]:
    """int_{-1}^y (1 + g) and int_{-1}^y u (1 + g(u)) du."""
    passed = 2 - step(beta)[0]
    return passed.integ(lbnd=-1), (passed * Chebyshev([0, 1])).integ(lbnd=-1)


@dataclass(frozen=True, eq=False)
class Line:
    """Moments of |c| over all frequencies but the first, at |omega_1| = `omega` (both signs
    together), for a kernel in any dimension:

    `mass` = sum |c|, `bend` = sum |c| omega_2^2, relative to the largest |k|; what divides by the
    largest |grad k| to `steepest`. They are transforms of the kernel, and of its second derivative
    across, along a line.
    """

    omega: Array
    mass: Array
    bend: Array
    steepest: float

    def moments(self, d: int) -> tuple[Array, Array, Array]:
        """sum |c|, at least sum |c| |omega|, and sum |c| |omega|^2, at each |omega_1|: of value,
        gradient and laplacian.
        """
        across = math.sqrt(d - 1) * np.sqrt(self.mass * self.bend)
        return (
            self.mass,
            (self.omega * self.mass + across) / self.steepest,
            self.omega**2 * self.mass + (d - 1) * self.bend,
        )

    def tail(self, d: int, cut: float) -> tuple[float, float, float]:
        """Bounds of the errors of value, gradient and laplacian, relative to their largest, without
        the modes that have some |omega_j| > cut.
        """
        beyond = self.omega > cut
        value, grad, laplacian = self.moments(d)
        return (
            d * float(value[beyond].sum()),
            d * float(grad[beyond].sum()),
            d * float(laplacian[beyond].sum() / laplacian.sum()),
        )


def line(kernel: Kernel) -> tuple[Line, float]:
    """The moments of the kernel of bandwidth 1, and the bandwidth: frequencies are in units of 1 /
    bandwidth.
    """
    unit, factor = unscaled(kernel)
    return _line(unit), factor


@lru_cache(maxsize=64)
def _line(kernel: Any) -> Line:
    unit = scale(kernel)
    far = _reach(kernel, 1e-16)
    length = 2 * (min(far, 4 * HALF_LINE * unit) if math.isfinite(far) else HALF_LINE * unit)
    r = length * np.fft.fftfreq(SAMPLES)
    bent = math.isinf(far) or 2 * far > length
    s = bent_square(r, length, length / 8, 32.0) if bent else r**2
    k, pull = values(kernel.profile, s), -2 * values(kernel.slope, s)
    mass, bend = np.abs(fft.rfft(k).real) / SAMPLES, np.abs(fft.rfft(pull).real) / SAMPLES
    mass[1:] *= 2
    bend[1:] *= 2
    rounded = mass < ROUNDING * mass.max()
    mass[rounded], bend[rounded] = 0.0, 0.0
    top, steepest = (
        np.abs(k).max(),
        np.abs(r * pull)[r**2 == s].max() if not bent else np.abs(np.sqrt(s) * pull).max(),
    )
    last = int(np.flatnonzero(mass)[-1]) + 1
    omega = 2 * math.pi / length * np.arange(last)
    return Line(omega, mass[:last] / top, bend[:last] / top, float(steepest / top))


def tail(kernel: Kernel, d: int, cut: float) -> tuple[float, float]:
    """Bounds of the error of value and gradient, relative to max |k| and max |grad k|, where modes
    with some |omega_j| > cut are left out.
    """
    moments, factor = line(kernel)
    return moments.tail(d, cut * factor)[:2]


def values(function: Callable[[torch.Tensor], torch.Tensor], s: Array) -> Array:
    return np.asarray(function(torch.from_numpy(np.ascontiguousarray(s))).numpy(), dtype=np.float64)
