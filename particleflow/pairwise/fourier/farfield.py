"""The Fourier modes of a smooth kernel on a periodic box: how many are needed, and their errors.

    k(z - x) = sum_m c_m e^{i omega_m . (z - x)},   omega_m = 2 pi m / L,   |m_j| <= half_j,

for |z_j - x_j| <= extent_j. Gaussian: c_m is its spectrum divided by the volume of the box, and
L = extent + reach. All other kernels, and the far parts of kernels with a kink
(`periodic/split.py`), are sampled after their distance has been bent where no pair of points lies:
L = extent + reach where the kernel decays within the extent, else L = 2 (extent + bend) (Potts,
Steidl and Nieslony 2004, with the step of `periodic/split.py`).

Let B be the root mean square of |sum_n w_n e^{-i omega x_n}| at the highest modes. It is
sqrt(sum w^2) for scattered sources and sum |w| for sources in one heap. A sum errs by

    modes left out        T over the modes left out,
    transform of type 1   T over the modes kept, times the window's error,
    transform of type 2   sum |c F| times the window's error,   F_m = sum_n w_n e^{-i omega_m x_n},

where T = sum|w| T_1 at most, with T_1 = sum |c|. Where sources are many and scattered, T is about
B (T_1 + C T_2), with T_2 = sqrt(sum c^2) and C^2 = 2 log(rows).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from particleflow._libraries import Later
from particleflow.kernels import Kernel
from particleflow.kernels.declared import is_gaussian
from particleflow.pairwise.fourier import nufft
from particleflow.pairwise.periodic.modes import (
    bent_square,
    length_scale,
    outer_product,
    outer_sum,
    reach,
    values,
)
from particleflow.pairwise.periodic.split import Split, rounded_up
from particleflow.pairwise.promise import peaks

fft = Later("scipy.fft")

Array: TypeAlias = np.ndarray

# Share of the tolerance of the modes left out.
TAIL = 0.45
# Share of the tolerance of the transforms, of both types together.
TRANSFORMS = 0.45
# Share of the tolerance of images and bends, of value and gradient each: they fall so fast that a
# small share costs little.
PERIOD = 0.002
# Modes are computed up to this many times those that are kept, on each axis, to sum the tail.
MARGIN = 1.3
# Factor on the measured error of a transform's window: it depends a little on the mode.
WINDOW_SAFETY = 1.1
# The most boxes that are tried: each is of a higher frequency, or of a longer bend.
ATTEMPTS = 40


@dataclass(frozen=True)
class Demand:
    """What is asked of the modes of a kernel.

    `radius` > 0: they are of its far part. `extents` of the box; `tol`, relative to max |k| and
    max |grad k|, and to the largest laplacian with `laplacian`. `most`: the largest number of
    modes.
    """

    kernel: Kernel
    extents: tuple[float, ...]
    tol: float
    laplacian: bool
    radius: float
    most: int

    @property
    def split(self) -> Split | None:
        """The kernel's near and far part; None where the kernel is summed as a whole."""
        if not self.radius:
            return None
        # the step's spectrum is 2 beta e^{-beta}; derivatives make what is left out larger
        beta = math.log(1 / self.tol) + (6 if self.laplacian else 4)
        return Split(self.kernel, self.radius, rounded_up(beta + math.log(beta)))


@dataclass(frozen=True)
class Sums:
    """Over a set of modes: `sup[n]` = sum |c| |omega|^n, `rms[n]` = sqrt(sum c^2 |omega|^2n)."""

    sup: tuple[float, float, float]
    rms: tuple[float, float]


@dataclass(frozen=True)
class Bend:
    """The distance is bent over this length, by a step with this beta (`modes.bent_square`)."""

    length: float
    beta: float


@dataclass(frozen=True, eq=False)
class Coefficients:
    """A box of sides `lengths`, and c of the modes 0 ... half_j: (half_j + 1, ...).

    `left_out`, `kept`: sums over these modes, of all signs.
    """

    lengths: tuple[float, ...]
    half: tuple[int, ...]
    c: Array
    left_out: Sums
    kept: Sums


@dataclass(frozen=True, eq=False)
class Modes:
    """The coefficients c (2 half_j + 1, ...) of the modes -half_j ... half_j, and their errors.

    `tol`, `double`: tolerance and precision of the transforms. `left_out`, `kept`: sums over modes.
    `window`: the relative error of e^{i m x} in a transform; `rounding`: the same per unit of
    |omega|. `unit`: max |k| / max |grad k|.
    """

    demand: Demand
    lengths: tuple[float, ...]
    half: tuple[int, ...]
    c: Tensor
    tol: float
    double: bool
    left_out: Sums
    kept: Sums
    window: float
    rounding: float
    unit: float

    def omega(self, axis: int) -> Tensor:
        """omega on one axis, of shape (..., 2 half + 1, ...), to be broadcast."""
        shape = [1] * len(self.half)
        shape[axis] = -1
        m = torch.arange(
            -self.half[axis], self.half[axis] + 1, dtype=self.c.dtype, device=self.c.device
        )
        return (2 * math.pi / self.lengths[axis] * m).reshape(shape)

    @property
    def omega2(self) -> Tensor:
        """|omega|^2 of each mode."""
        axes = (self.omega(axis) ** 2 for axis in range(len(self.half)))
        return functools.reduce(operator.add, axes)


@lru_cache(maxsize=6)
def fewest_modes(demand: Demand) -> Modes | None:
    """The fewest modes, and the cheapest transform, that keep the demand's tolerance.

    None if they are more than `demand.most`, or if double precision does not keep it.
    """
    top, steepest = peaks(demand.kernel, math.hypot(*demand.extents))
    bounds = [demand.tol * top, demand.tol * steepest]
    if demand.laplacian:
        bounds.append(demand.tol * _largest_laplacian(demand))
    unit = top / steepest
    found = _fewest(demand, unit, [TAIL * bound for bound in bounds])
    if found is None:
        return None
    d, kept = len(found.half), found.kept
    for double in (False, True):
        rounding = nufft.rounding(double) * math.sqrt(d) * max(found.lengths) / (2 * math.pi)
        for tol in nufft.tolerances(double):
            window = WINDOW_SAFETY * d * nufft.window_error(tol, double)
            value, grad = (
                window * low + rounding * high
                for low, high in zip(kept.sup, kept.sup[1:], strict=False)
            )
            # type 1, and type 2 of value and gradient together in one complex transform
            worst = (2 * value + unit * grad) / bounds[0], (2 * grad + value / unit) / bounds[1]
            if max(worst) <= TRANSFORMS:
                dtype = torch.float64 if double else torch.float32
                return Modes(
                    demand,
                    found.lengths,
                    found.half,
                    torch.from_numpy(_mirrored(found.c)).to(dtype),
                    tol,
                    double,
                    found.left_out,
                    kept,
                    window,
                    rounding,
                    unit,
                )
    return None


def _largest_laplacian(demand: Demand) -> float:
    """max |laplacian k|; beyond the radius, where there is one: a kink has no laplacian."""
    unit = demand.radius or length_scale(demand.kernel)
    s = (unit * torch.logspace(-3, 2, 2000, dtype=torch.float64, device="cpu")) ** 2
    if demand.radius:
        s = s[s >= demand.radius**2]
    k, d = demand.kernel, len(demand.extents)
    return float((4 * s * k.curvature(s) + 2 * d * k.slope(s)).abs().max())


def _fewest(demand: Demand, unit: float, bounds: list[float]) -> Coefficients | None:
    """The fewest modes whose tails (value, gradient, laplacian) are within `bounds`, on any box."""
    kernel, extents = demand.kernel, demand.extents
    far = reach(kernel, PERIOD * demand.tol)
    if is_gaussian(kernel):
        lengths = tuple(e + far for e in extents)
        cut = math.sqrt(2 * math.log(100 / (TAIL * demand.tol))) / kernel.bandwidth
        return _on_box(demand, lengths, cut, None, bounds)
    cut = demand.split.beta / demand.radius if demand.split else 8 / length_scale(kernel)
    for attempt in range(ATTEMPTS):
        # The step's spectrum ends at the frequency `cut`, as the kernel's may. There the step is
        # e^{-beta} of the kernel; its gradient, cut times that.
        beta = rounded_up(
            math.log(1 / demand.tol) + math.log(max(1.0, cut * unit)) + 3 + min(attempt, 12)
        )
        bend = Bend(2 * beta / cut, beta)
        lengths = tuple(
            e + far if e >= far + 2 * bend.length else 2 * (e + bend.length) for e in extents
        )
        if math.prod(cut * length / math.pi for length in lengths) > 2 * demand.most:
            return None
        needed = _end_of_line(demand, max(lengths), cut, bend, bounds)
        if needed <= cut:
            found = _on_box(demand, lengths, cut, bend, bounds)
            if found is not None:
                return found
        cut *= min(max(1.1, needed / cut), 2.0)
    return None


def _on_box(
    demand: Demand, lengths: tuple[float, ...], cut: float, bend: Bend | None, bounds: list[float]
) -> Coefficients | None:
    """The fewest modes on one box whose tails are within bounds, up to the frequency `cut`."""
    half = [math.ceil(cut * length / (2 * math.pi)) for length in lengths]
    if math.prod(2 * h + 1 for h in half) > 2 * demand.most:
        return None
    sizes = [max(h + 2, math.ceil(MARGIN * h)) for h in half]
    c = _sampled(demand, lengths, sizes, bend) if bend else _spectrum(demand, lengths, sizes)
    axes = [2 * math.pi / length * np.arange(n) for length, n in zip(lengths, sizes, strict=True)]
    norm2 = outer_sum(omega**2 for omega in axes)
    signs = outer_product(np.where(omega > 0, 2.0, 1.0) for omega in axes)
    size = np.abs(c) * signs
    unit = 2 * math.pi / max(lengths)
    last = _last_shell(size, norm2, axes, unit, bounds)
    if bend and last * unit > cut:
        return None
    half = [
        _filled(math.ceil(last * unit * length / (2 * math.pi)), n - 2)
        for length, n in zip(lengths, sizes, strict=True)
    ]
    if math.prod(2 * h + 1 for h in half) > demand.most:
        return None
    within = np.ones((), dtype=bool)
    for h, n in zip(half, sizes, strict=True):
        within = within[..., None] & (np.arange(n) <= h)
    squares = c**2 * signs
    return Coefficients(
        lengths,
        tuple(half),
        c[tuple(slice(h + 1) for h in half)],
        left_out=_sums(size, squares, norm2, ~within),
        kept=_sums(size, squares, norm2, within),
    )


def _last_shell(
    size: Array, norm2: Array, axes: Sequence[Array], unit: float, bounds: list[float]
) -> int:
    """The last shell that is needed for the tails sum |c| |omega|^n to be within bounds.

    Shell l holds the modes with max_j |omega_j| in ((l - 1) unit, l unit].
    """
    highest = np.zeros(())
    for omega in axes:
        highest = np.maximum(highest[..., None], omega)
    shell = np.ceil(highest / unit - 1e-9).astype(np.int64).ravel()
    good = []
    for order, bound in enumerate(bounds):
        inside = np.bincount(shell, (size * norm2 ** (order / 2)).ravel())
        good.append(np.append(np.cumsum(inside[::-1])[::-1], 0.0) <= bound)
    return int(np.flatnonzero(np.all(good, axis=0))[0]) - 1


def _sums(size: Array, squares: Array, norm2: Array, mask: Array) -> Sums:
    size, squares, norm2 = size[mask], squares[mask], norm2[mask]
    sup = float(size.sum()), float((size * np.sqrt(norm2)).sum()), float((size * norm2).sum())
    return Sums(sup, (math.sqrt(float(squares.sum())), math.sqrt(float((squares * norm2).sum()))))


def _spectrum(demand: Demand, lengths: tuple[float, ...], sizes: list[int]) -> Array:
    """c of the modes 0 ... sizes_j - 1 of a Gaussian: spectrum / volume, a product over axes."""
    kernel = demand.kernel
    assert is_gaussian(kernel)

    def on_axis(length: float, n: int) -> Array:
        omega2 = torch.from_numpy((2 * math.pi / length * np.arange(n)) ** 2)
        return np.asarray(kernel.spectrum(omega2, 1).numpy() / length)

    return outer_product(map(on_axis, lengths, sizes))


def _sampled(demand: Demand, lengths: tuple[float, ...], sizes: list[int], bend: Bend) -> Array:
    """c of the modes 0 ... sizes_j - 1, by the cosine transform of samples of the kernel."""
    s = outer_sum(_bent_samples(length, n, bend) for length, n in zip(lengths, sizes, strict=True))
    c = fft.dctn(_profile(demand, s), type=1) / math.prod(2 * n for n in sizes)
    return np.asarray(c[tuple(slice(n) for n in sizes)])


def _end_of_line(
    demand: Demand, length: float, cut: float, bend: Bend, bounds: list[float]
) -> float:
    """The frequency beyond which the tails along one axis are within bounds, up to 4 `cut`.

    Infinite if they are not. The coefficients of the kernel along a line are the sums of c over all
    other frequencies: a cheap estimate, within a factor of two.
    """
    n = 4 * math.ceil(cut * length / (2 * math.pi)) + 8
    c = np.abs(fft.dctn(_profile(demand, _bent_samples(length, n, bend)), type=1)) / n
    omega = 2 * math.pi / length * np.arange(n + 1)
    needed = 0.0
    for order, bound in enumerate(bounds):
        beyond = len(demand.extents) * np.cumsum((c * omega**order)[::-1])[::-1]
        late = np.flatnonzero(beyond > 2 * bound)
        if len(late) == n + 1:
            return math.inf
        needed = max(needed, float(omega[late[-1] + 1]) if len(late) else 0.0)
    return needed


def _bent_samples(length: float, n: int, bend: Bend) -> Array:
    """The bent squared distance at n + 1 places from 0 to length / 2."""
    return bent_square(np.linspace(0.0, length / 2, n + 1), length, bend.length, bend.beta)


def _profile(demand: Demand, s: Array) -> Array:
    """The kernel, or its far part, at s = r^2."""
    if demand.split is not None:
        return demand.split.far(np.ascontiguousarray(s))
    return values(demand.kernel.profile, s)


def _filled(half: int, most: int) -> int:
    """At least `half` modes on each side: as many as the fine grid of the transform holds.

    The fine grid has a product of 2, 3 and 5 points, which may be more than `half` modes need.
    """
    fine = fft.next_fast_len(nufft.UPSAMPLING * (2 * half + 1), real=True)
    return max(half, min(most, (fine // nufft.UPSAMPLING - 1) // 2))


def _mirrored(c: Array) -> Array:
    """Modes 0 ... half as modes -half ... half, on every axis."""
    for axis, n in enumerate(c.shape):
        c = np.take(c, np.abs(np.arange(1 - n, n)), axis=axis)
    return np.ascontiguousarray(c)
