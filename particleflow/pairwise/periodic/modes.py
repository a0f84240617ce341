"""The Fourier coefficients of a radial kernel on a periodic box, and the error of finitely many.

    k(z - x) = sum_m c_m e^{i omega_m . (z - x)},   omega_m = 2 pi m / L,

for |z_j - x_j| <= extent_j. Here L_j are the sides of the box and m runs over all integer vectors.
The box must be long enough for one of two ways to make k periodic (`Periodic`):

- images: a kernel that vanishes beyond its reach R is added to its periodic images. Then
  L = extent + R, and c_m is the kernel's spectrum at omega_m divided by the volume of the box.
- a bend: any other kernel keeps its values inside the extent. Outside, the distance is bent
  smoothly until its slope is zero at L / 2 (Potts, Steidl and Nieslony 2004). Then
  L = 2 extent + bend, and c_m comes from samples by a fast Fourier transform (FFT).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.polynomial import Chebyshev

from particleflow._libraries import Later
from particleflow.kernels import Kernel, ScaledKernel
from particleflow.kernels.declared import bandwidth_of, has_kink, has_spectrum
from particleflow.memo import cached
from particleflow.pairwise.periodic.split import rounded_up, step

fft = Later("scipy.fft")

Array: TypeAlias = np.ndarray

# The shortest distance at which the reach of a kernel is looked for, in its length scale.
SHORTEST = 1e-3
# The longest such distance. A kernel that is not small there has no reach.
LONGEST = 1e3
# Distances that are looked at between these: neighbours differ by 0.23 %.
DISTANCES = 6000
# Half the length of the line on which a spectrum is summed, in length scales, at least.
HALF_LINE = 16.0
# Samples of that line: they resolve frequencies up to about 1e3 / length scale.
SAMPLES = 2**15
# Coefficients of the line below this part of the largest are rounding, and count as zero.
ROUNDING = 1e-15
# beta of the bend of that line: the step's spectrum is below e^{-32} = 1e-14, near rounding.
LINE_BETA = 32.0


def require_smooth(kernel: Kernel, backend: str) -> None:
    """Refuse kernels with a kink at zero: their spectrum decays too slowly for any mesh."""
    if has_kink(kernel):
        raise TypeError(
            f"`kernel` must be smooth at zero for {backend}, got {kernel}: use Fourier, which"
            " corrects the near field, or Compiled, which is exact"
        )


def values(function: Callable[[torch.Tensor], torch.Tensor], s: Array) -> Array:
    """A kernel's `profile`, `slope` or `curvature` at an array of s = r^2, in float64."""
    return np.asarray(function(torch.from_numpy(np.ascontiguousarray(s))).numpy(), dtype=np.float64)


# Lengths of a kernel


def length_scale(kernel: Kernel) -> float:
    """The kernel's unit of length.

    Its bandwidth; without one, the distance over which k changes by 0.4 of its peak.
    """
    return bandwidth_of(kernel) or _falling_distance(kernel)


@cached(256)
def _falling_distance(kernel: Kernel) -> float:
    r = np.concatenate([[0.0], np.logspace(-8, 8, 16001)])
    k = values(kernel.profile, r**2)
    fallen = np.abs(k - k[0]) >= 0.4 * np.abs(k).max()
    return float(r[fallen.argmax()]) if fallen.any() else 1.0


def at_unit_bandwidth(kernel: Kernel) -> tuple[Kernel, float]:
    """The kernel of the same family with bandwidth 1, and the bandwidth of `kernel`.

    A kernel without a bandwidth is returned as it is, with 1. What is computed for bandwidth 1
    serves all bandwidths: distances scale with it.
    """
    bandwidth = bandwidth_of(kernel)
    if bandwidth is None:
        return kernel, 1.0
    return cast("ScaledKernel", kernel).with_bandwidth(1.0), bandwidth


def reach(kernel: Kernel, tol: float) -> float:
    """The distance beyond which |k| <= tol max |k| and |grad k| <= tol max |grad k|.

    Infinite for kernels with a long range, such as IMQ.
    """
    unit, bandwidth = at_unit_bandwidth(kernel)
    return bandwidth * _reach(unit, tol)


@cached(256)
def _reach(kernel: Kernel, tol: float) -> float:
    distances = np.logspace(math.log10(SHORTEST), math.log10(LONGEST), DISTANCES)
    r = length_scale(kernel) * distances
    k, dk = np.abs(values(kernel.profile, r**2)), np.abs(2 * r * values(kernel.slope, r**2))
    inside = np.flatnonzero(~((k <= tol * k.max()) & (dk <= tol * dk.max())))
    last = int(inside[-1]) if len(inside) else -1
    return math.inf if last == len(r) - 1 else float(r[last + 1])


# Arrays over the modes of a box


def mode_numbers(n: int, *, half: bool = False) -> Array:
    """m of an FFT of n points in its own order; `half`: 0 ... n / 2, as a real FFT keeps them."""
    return np.arange(n // 2 + 1) if half else np.fft.fftfreq(n, 1 / n)


def on_axis(numbers: Array, axis: int, d: int) -> Array:
    """One-dimensional `numbers` as an array of d dimensions, to be broadcast along `axis`."""
    return numbers.reshape([-1 if k == axis else 1 for k in range(d)])


def outer_sum(axes: Iterable[Array]) -> Array:
    """a_0[m_0] + a_1[m_1] + ..., of shape (len(a_0), len(a_1), ...)."""
    total = np.zeros(())
    for numbers in axes:
        total = total[..., None] + numbers
    return total


def outer_product(axes: Iterable[Array]) -> Array:
    """a_0[m_0] a_1[m_1] ..., of shape (len(a_0), len(a_1), ...)."""
    total = np.ones(())
    for numbers in axes:
        total = total[..., None] * numbers
    return total


def squared_frequencies(lengths: Sequence[float], shape: Sequence[int]) -> Array:
    """|omega_m|^2 of the modes of a real FFT of `shape`."""
    last = len(shape) - 1
    return outer_sum(
        (2 * math.pi / length * mode_numbers(n, half=axis == last)) ** 2
        for axis, (length, n) in enumerate(zip(lengths, shape, strict=True))
    )


# A kernel made periodic


@dataclass(frozen=True)
class Periodic:
    """A periodic kernel that equals `kernel` for |z_j - x_j| <= extent_j.

    The sides of its box are at least `least(extents)`. Where `reach` is finite, images are added.
    Elsewhere the distance is bent over a length `bend` beyond the extent; the spectrum of the step
    in that bend is below e^{-beta} where the box has no modes.
    """

    kernel: Kernel
    reach: float
    bend: float
    beta: float

    def least(self, extents: Sequence[float]) -> tuple[float, ...]:
        """The shortest sides of the box, for these extents."""
        if self.bent:
            return tuple(2 * max(e, self.bend) + self.bend for e in extents)
        return tuple(e + self.reach for e in extents)

    @property
    def bent(self) -> bool:
        return not math.isfinite(self.reach)

    def coefficients(self, lengths: Sequence[float], shape: Sequence[int]) -> Array:
        """c_m on a box of sides `lengths`, for the modes of a real FFT of `shape`.

        Cost O(modes), times their logarithm where the kernel is bent.
        """
        if self.bent:
            return self._sampled(lengths, shape)
        omega2 = torch.from_numpy(squared_frequencies(lengths, shape))
        # a kernel without a spectrum is bent
        spectrum = self.kernel.spectrum  # type: ignore[attr-defined]
        return np.asarray(spectrum(omega2, len(shape)).numpy()) / math.prod(lengths)

    def _sampled(self, lengths: Sequence[float], shape: Sequence[int]) -> Array:
        s = outer_sum(
            bent_square(mode_numbers(n) * (length / n), length, self.bend / 2, self.beta)
            for length, n in zip(lengths, shape, strict=True)
        )
        samples = values(self.kernel.profile, s)
        return np.asarray(fft.rfftn(samples).real) / samples.size


def periodic(kernel: Kernel, spacing: float, tol: float) -> Periodic:
    """The way to make `kernel` periodic for a mesh, which keeps frequencies up to pi / spacing.

    Images, or the bend, add errors of about tol, relative to max |k| and to max |grad k|.
    """
    far = reach(kernel, tol) if has_spectrum(kernel) else math.inf
    # 1e4: the gradient multiplies the step's highest frequencies, and a kernel of a bent distance
    # has frequencies above those of the step
    beta = rounded_up(math.log(1e4 / tol))
    return Periodic(kernel, far, 4 / math.pi * spacing * beta, beta)


def bent_square(r: Array, length: float, bend: float, beta: float) -> Array:
    """The square of a bent distance: r^2 for |r| <= length / 2 - bend, smooth, of period `length`.

    Its derivative is 2 r times a step that falls from 1 to 0 within `bend` before length / 2. The
    spectrum of that step is below e^{-beta} at frequencies above 2 beta / bend.
    """
    half = bend / 2
    middle = length / 2 - half
    s = r**2
    late = np.abs(r) > middle - half
    y = np.minimum((np.abs(r[late]) - middle) / half, 1.0)
    first, second = _step_integrals(beta)
    s[late] -= half * (middle * first(y) + half * second(y))
    return s


@lru_cache(maxsize=32)
def _step_integrals(beta: float) -> tuple[Chebyshev, Chebyshev]:
    """int_{-1}^y (1 + g(u)) du and int_{-1}^y u (1 + g(u)) du, g as in `split.py`."""
    risen = 2 - step(beta)[0]
    return risen.integ(lbnd=-1), (risen * Chebyshev([0, 1])).integ(lbnd=-1)


# The error of leaving modes out


@dataclass(frozen=True, eq=False)
class SpectrumLine:
    """Sums of |c_m| over all components of omega_m but the first, for a kernel in any dimension.

    At |omega_1| = `omega[i]`, both signs together and relative to max |k|:
    `size[i]` = sum |c_m|, `across[i]` = sum |c_m| omega_2^2.
    They are the Fourier transforms of the kernel along a line, and of its second derivative across
    that line. `steepest` is max |grad k| / max |k|. Lengths are in units of the bandwidth.
    """

    omega: Array
    size: Array
    across: Array
    steepest: float

    def moments(self, d: int) -> tuple[Array, Array, Array]:
        """What value, gradient and laplacian lose with the modes at each |omega_1|.

        sum |c|, a bound of sum |c| |omega| / steepest, and sum |c| |omega|^2.
        """
        # sum |c| |omega'| <= sqrt(sum |c| sum |c| |omega'|^2), omega' = (omega_2, ..., omega_d)
        other_axes = math.sqrt(d - 1) * np.sqrt(self.size * self.across)
        return (
            self.size,
            (self.omega * self.size + other_axes) / self.steepest,
            self.omega**2 * self.size + (d - 1) * self.across,
        )

    def tail(self, d: int, cut: float) -> tuple[float, float, float]:
        """Bounds of the errors without the modes that have some |omega_j| > cut.

        Of value, gradient and laplacian, each relative to its largest size.
        """
        beyond = self.omega > cut
        value, grad, laplacian = self.moments(d)
        return (
            d * float(value[beyond].sum()),
            d * float(grad[beyond].sum()),
            d * float(laplacian[beyond].sum() / laplacian.sum()),
        )


def spectrum_line(kernel: Kernel) -> tuple[SpectrumLine, float]:
    """The line of the kernel at bandwidth 1, and the bandwidth of `kernel`."""
    unit, bandwidth = at_unit_bandwidth(kernel)
    return _spectrum_line(unit), bandwidth


@cached(64)
def _spectrum_line(kernel: Kernel) -> SpectrumLine:
    unit = length_scale(kernel)
    far = _reach(kernel, 1e-16)
    length = 2 * (min(far, 4 * HALF_LINE * unit) if math.isfinite(far) else HALF_LINE * unit)
    r = length * np.fft.fftfreq(SAMPLES)
    bent = math.isinf(far) or 2 * far > length
    s = bent_square(r, length, length / 8, LINE_BETA) if bent else r**2
    # -k'(r) / r: across the line, the second derivative of k
    k, pull = values(kernel.profile, s), -2 * values(kernel.slope, s)
    size, across = np.abs(fft.rfft(k).real) / SAMPLES, np.abs(fft.rfft(pull).real) / SAMPLES
    size[1:] *= 2
    across[1:] *= 2
    rounding = size < ROUNDING * size.max()
    size[rounding], across[rounding] = 0.0, 0.0
    top = np.abs(k).max()
    steepest = np.abs((np.sqrt(s) if bent else r) * pull).max()
    last = int(np.flatnonzero(size)[-1]) + 1
    omega = 2 * math.pi / length * np.arange(last)
    return SpectrumLine(omega, size[:last] / top, across[:last] / top, float(steepest / top))
