"""The modes of a smooth kernel on a periodic box: how many, of what transform tolerance, and bounds
of what they err by.

    k(z - x) = sum_m c_m e^{i omega_m . (z - x)},  omega_m = 2 pi m / L,  |m_j| <= half_j,        for |z_j - x_j| <= extent_j.

Gaussian: c_m = spectrum / V, the images lie a reach beyond the extent. All other kernels, and the
far parts of those with a kink (`periodic/split.py`), are sampled, their distance bent where it does
not matter: L = extent + reach where the kernel decays within the extent, else 2 (extent + bend)
(Potts, Steidl and Nestler 2004, with the step of `periodic/split.py`).

With B the root mean square of |sum_n w_n e^{-i omega x_n}| at the highest modes (sqrt(sum w^2) for
scattered sources, sum |w| for a heap), sums err by

    modes left out:     a kernel of sup T_inf = sum |c|, root mean square T_2 = sqrt(sum c^2), over the modes left out,
    transforms, type 1: the same over the modes kept, times the window's error,        type 2: window's error times sum |c F|,

each at most sum|w| T_inf, and where sources are many and scattered about B (T_inf + C T_2), C^2 = 2
log(rows).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import is_gaussian
from particleflow.pairwise.fourier import nufft
from particleflow.pairwise.periodic.modes import bent_square, reach, scale
from particleflow.pairwise.periodic.split import Split, rounded
from particleflow.pairwise.promise import peaks

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# How the tolerance is shared: modes left out, the transforms (both types), images or bends.
TAIL, TRANSFORMS, PERIOD = 0.45, 0.45, 0.002
# Modes are computed up to this many times those that are kept, to see the tail.
MARGIN = 1.3


@dataclass(frozen=True)
class Demand:
    """What modes are asked for: a kernel (`radius` > 0: its far part), the box's extents, the
    tolerance, and whether of the laplacian too.
    """

    kernel: Kernel
    extents: tuple[float, ...]
    tol: float
    laplacian: bool = False
    radius: float = 0.0
    float32: bool = False
    most: int = 2**23

    @property
    def split(self) -> Split | None:
        # The window's spectrum, 2 beta e^{-beta}; derivatives raise what is beyond.
        beta = math.log(1 / self.tol) + (6 if self.laplacian else 4)
        return (
            Split(self.kernel, self.radius, rounded(beta + math.log(beta))) if self.radius else None
        )


@dataclass(frozen=True)
class Sums:
    """Over a set of modes: sum |c| |omega|^n for n = 0, 1, 2 and sqrt(sum c^2 |omega|^2n) for n =
    0, 1.
    """

    sup: tuple[float, float, float]
    rms: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Modes:
    """Coefficients c (2 half_j + 1, ...) of the modes, centred, and what is known of their errors.

    `left_out`, `kept`: sums over modes; `window`: the relative error of e^{i m x}, `rounding`: per
    unit of |omega|; `stray`: images and bends, relative to max |k| and max |grad k|; `unit`: max
    |k| / max |grad k|.
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
    stray: tuple[float, float]
    unit: float

    def omega(self, axis: int) -> Tensor:
        """(..., 2 half + 1, ...), to be broadcast."""
        shape = [1] * len(self.half)
        shape[axis] = -1
        m = torch.arange(
            -self.half[axis], self.half[axis] + 1, dtype=self.c.dtype, device=self.c.device
        )
        return (2 * math.pi / self.lengths[axis] * m).reshape(shape)


@lru_cache(maxsize=6)
def modes(demand: Demand) -> Modes | None:
    """The fewest modes, and the cheapest transform, that keep the demand's tolerance; None where
    `demand.most` do not, or double precision.
    """
    top, steepest = peaks(demand.kernel, math.hypot(*demand.extents))
    bounds = [demand.tol * top, demand.tol * steepest]
    if demand.laplacian:
        bounds.append(demand.tol * _most_bent(demand))
    unit = top / steepest
    found = _fewest(demand, unit, [TAIL * bound for bound in bounds])
    if found is None:
        return None
    lengths, half, c, left_out, kept = found
    d = len(half)
    for double in (False, True) if demand.float32 else (True,):
        rounding = nufft.rounding(double) * math.sqrt(d) * max(lengths) / (2 * math.pi)
        for tol in nufft.tolerances(double):
            window = 1.1 * d * nufft.window_error(tol, double)
            errors = [
                window * low + rounding * high
                for low, high in zip(kept.sup, kept.sup[1:], strict=False)
            ]
            # type 1, then type 2 of value and gradient packed together
            worst = (
                (2 * errors[0] + unit * errors[1]) / bounds[0],
                (2 * errors[1] + errors[0] / unit) / bounds[1],
            )
            if max(worst) <= TRANSFORMS:
                coefficients = torch.from_numpy(_mirrored(c)).to(
                    torch.float64 if double else torch.float32
                )
                stray = (PERIOD * demand.tol, PERIOD * demand.tol)
                return Modes(
                    demand,
                    lengths,
                    half,
                    coefficients,
                    tol,
                    double,
                    left_out,
                    kept,
                    window,
                    rounding,
                    stray,
                    unit,
                )
    return None


def _most_bent(demand: Demand) -> float:
    """max |laplacian k|, where there is a kink beyond the radius."""
    unit = demand.radius or scale(demand.kernel)
    s = (unit * torch.logspace(-3, 2, 2000, dtype=torch.float64, device="cpu")) ** 2
    if demand.radius:
        s = s[s >= demand.radius**2]
    k, d = demand.kernel, len(demand.extents)
    return float((4 * s * k.curvature(s) + 2 * d * k.slope(s)).abs().max())


def _fewest(demand: Demand, unit: float, bounds: list[float]) -> Any:
    """Lengths of the box, the fewest modes whose tails are within bounds, their coefficients, and
    sums over those left out and kept; or None.
    """
    kernel, extents = demand.kernel, demand.extents
    far = reach(kernel, PERIOD * demand.tol)
    if is_gaussian(kernel):
        lengths = tuple(e + far for e in extents)
        return _chosen(
            demand,
            lengths,
            math.sqrt(2 * math.log(100 / (TAIL * demand.tol))) / kernel.bandwidth,
            None,
            bounds,
        )
    cut = demand.split.beta / demand.radius if demand.split else 8 / scale(kernel)
    for attempt in range(40):
        # The step's spectrum ends where that of the kernel may. It is as high as the kernel there;
        # its gradient, cut times that.
        beta = rounded(
            math.log(1 / demand.tol) + math.log(max(1.0, cut * unit)) + 3 + min(attempt, 12)
        )
        bend = 2 * beta / cut
        lengths = tuple(e + far if e >= far + 2 * bend else 2 * (e + bend) for e in extents)
        if math.prod(cut * length / math.pi for length in lengths) > 2 * demand.most:
            return None
        needed = _end_of_line(demand, max(lengths), cut, (bend, beta), bounds)
        if needed <= cut:
            found = _chosen(demand, lengths, cut, (bend, beta), bounds)
            if found is not None:
                return found
        cut *= min(max(1.1, needed / cut), 2.0)
    return None


def _chosen(
    demand: Demand,
    lengths: tuple[float, ...],
    cut: float,
    bent: tuple[float, float] | None,
    bounds: list[float],
) -> Any:
    """The fewest modes of a box whose tail is within bounds, up to frequency `cut`; None where that
    does not do.
    """
    half = [math.ceil(cut * length / (2 * math.pi)) for length in lengths]
    if math.prod(2 * h + 1 for h in half) > 2 * demand.most:
        return None
    sizes = [max(h + 2, math.ceil(MARGIN * h)) for h in half]
    c = _sampled(demand, lengths, sizes, bent) if bent else _closed(demand, lengths, sizes)
    norm2, highest, count = np.zeros(()), np.zeros(()), np.ones(())
    for length, n in zip(lengths, sizes, strict=True):
        omega = 2 * math.pi / length * np.arange(n)
        norm2 = norm2[..., None] + omega**2
        highest = np.maximum(highest[..., None], omega)
        count = count[..., None] * np.where(omega > 0, 2.0, 1.0)
    size = np.abs(c) * count
    # shells of the largest |omega_j|, one a mode of the longest axis
    unit = 2 * math.pi / max(lengths)
    shell = np.ceil(highest / unit - 1e-9).astype(np.int64).ravel()
    tails = []
    for order in range(len(bounds)):
        inside = np.bincount(shell, (size * norm2 ** (order / 2)).ravel())
        tails.append(np.append(np.cumsum(inside[::-1])[::-1], 0.0))
    good = np.flatnonzero(
        np.all([tail <= bound for tail, bound in zip(tails, bounds, strict=True)], axis=0)
    )
    last = int(good[0]) - 1
    if bent and last * unit > cut:
        return None
    half = [
        _filled(math.ceil(last * unit * length / (2 * math.pi)), n - 2)
        for length, n in zip(lengths, sizes, strict=True)
    ]
    within = np.ones((), dtype=bool)
    for h, n in zip(half, sizes, strict=True):
        within = within[..., None] & (np.arange(n) <= h)
    kept, out = _sums(size, c**2 * count, norm2, within), _sums(size, c**2 * count, norm2, ~within)
    return (
        None
        if math.prod(2 * h + 1 for h in half) > demand.most
        else (lengths, tuple(half), c[tuple(slice(h + 1) for h in half)], out, kept)
    )


def _sums(size: Array, squares: Array, norm2: Array, mask: np.ndarray) -> Sums:
    size, squares, norm2 = size[mask], squares[mask], norm2[mask]
    sup = float(size.sum()), float((size * np.sqrt(norm2)).sum()), float((size * norm2).sum())
    return Sums(sup, (math.sqrt(float(squares.sum())), math.sqrt(float((squares * norm2).sum()))))


def _closed(demand: Demand, lengths: tuple[float, ...], sizes: list[int]) -> Array:
    """Of the modes 0 ... sizes_j - 1: spectrum / V, a product."""
    kernel = demand.kernel
    assert is_gaussian(kernel)
    c = np.ones(())
    for length, n in zip(lengths, sizes, strict=True):
        omega2 = torch.from_numpy((2 * math.pi / length * np.arange(n)) ** 2)
        c = c[..., None] * (kernel.spectrum(omega2, 1).numpy() / length)
    return np.asarray(c)


def _sampled(
    demand: Demand, lengths: tuple[float, ...], sizes: list[int], bent: tuple[float, float]
) -> Array:
    """Of the modes 0 ... sizes_j - 1, by the cosine transform of samples at n L / (2 sizes_j)."""
    s = np.zeros(())
    for length, n in zip(lengths, sizes, strict=True):
        s = s[..., None] + bent_square(_places(length, n), length, *bent)
    c = dctn(_far(demand, s), type=1) / math.prod(2 * n for n in sizes)
    return np.asarray(c[tuple(slice(n) for n in sizes)])


def _end_of_line(
    demand: Demand, length: float, cut: float, bent: tuple[float, float], bounds: list[float]
) -> float:
    """The frequency beyond which the tails of a line are within bounds, up to 4 `cut`; inf where
    they are not.

    The modes of the kernel along a line are its modes' sums over all other frequencies: cheap, and
    nearly enough.
    """
    n = 4 * math.ceil(cut * length / (2 * math.pi)) + 8
    c = np.abs(dctn(_far(demand, bent_square(_places(length, n), length, *bent)), type=1)) / n
    omega = 2 * math.pi / length * np.arange(n + 1)
    needed = 0.0
    for order, bound in enumerate(bounds):
        # all axes; within a factor of two
        beyond = len(demand.extents) * np.cumsum((c * omega**order)[::-1])[::-1]
        late = np.flatnonzero(beyond > 2 * bound)
        if len(late) == n + 1:
            return math.inf
        needed = max(needed, float(omega[late[-1] + 1]) if len(late) else 0.0)
    return needed


def _places(length: float, n: int) -> Array:
    """n + 1 places from 0 to length / 2."""
    return np.linspace(0.0, length / 2, n + 1)


def _far(demand: Demand, s: Array) -> Array:
    if demand.split is not None:
        return demand.split.far(np.ascontiguousarray(s))
    return np.asarray(demand.kernel.profile(torch.from_numpy(np.ascontiguousarray(s))).numpy())


def _filled(half: int, most: int) -> int:
    """At least `half` modes on each side: as many as the fine grid of the transform takes, a
    product of 2, 3 and 5, at no cost.
    """
    fine = nufft.UPSAMPLING * (2 * half + 1)
    while not _smooth(fine):
        fine += 1
    return max(half, min(most, (fine // nufft.UPSAMPLING - 1) // 2))


def _smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def _mirrored(c: Array) -> Array:
    """Modes 0 ... half to -half ... half, on every axis."""
    for axis, n in enumerate(c.shape):
        c = np.take(c, np.abs(np.arange(1 - n, n)), axis=axis)
    return np.ascontiguousarray(c)
