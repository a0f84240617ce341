"""Define `Periodic`, a kernel whose distances wrap around a box."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow._typing import Gradients, Queries
from particleflow.kernels.contract import Kernel, KnownSpectrum
from particleflow.kernels.declared import bandwidth_of, has_spectrum
from particleflow.kernels.explicit import FeatureKernel, FeatureMap
from particleflow.memo import Memo

# Modes are left out whose sum is below this share of k(0), about.
TOLERANCE = 1e-14
# Most modes that are kept: a step with more takes longer than sums over pairs of some thousands.
MOST = 8192
# The frequencies that are tried for the end of a spectrum, in units of 1 / bandwidth.
FREQUENCIES = tuple(2.0**k for k in range(8))


@dataclass(frozen=True, eq=False)
class Modes:
    """The waves of a periodic kernel in d dimensions.

    k(z, y) = sum_m c_m cos(omega_m . (z - y)) over a half of all modes: of m and -m one is kept.
    """

    omega: Float[Tensor, "F d"]
    size: Float[Tensor, "F"]

    def features(self, z: Queries) -> Float[Tensor, "Q D"]:
        angle, root = z @ self.omega.T, self.size.sqrt()
        return torch.cat([root * angle.cos(), root * angle.sin()], 1)

    def gradient(self, z: Queries, c: Float[Tensor, "D"]) -> Gradients:
        angle, root, half = z @ self.omega.T, self.size.sqrt(), len(self.omega)
        return (angle.cos() * (root * c[half:]) - angle.sin() * (root * c[:half])) @ self.omega


@dataclass(frozen=True)
class Waves:
    """The feature map of `Periodic`: the modes of as many dimensions as the points have."""

    kernel: Kernel
    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    _modes: Memo[Modes] = field(
        default_factory=partial(Memo, 4), init=False, repr=False, compare=False
    )

    def features(self, z: Queries) -> Float[Tensor, "Q D"]:
        return self._at(z).features(z)

    def gradient(self, z: Queries, c: Float[Tensor, "D"]) -> Gradients:
        return self._at(z).gradient(z, c)

    def _at(self, z: Queries) -> Modes:
        """The modes for points like z."""
        d, dtype, device = z.shape[1], z.dtype, z.device

        def make() -> Modes:
            modes = _modes(self.kernel, _sides(self.low, self.high, d))
            return Modes(modes.omega.to(z), modes.size.to(z))

        return self._modes.get((d, dtype, device), make)


@dataclass(frozen=True, init=False)
class Periodic(FeatureKernel):
    r"""The kernel of a torus: k summed over all images of a point in a box.

    .. math::

        k_L(z, y) = \sum_{n \in \mathbb{Z}^d} k(z - y + n L)
        = \sum_{m \in \mathbb{Z}^d} c_m \cos\left( \omega_m \cdot (z - y) \right) ,

    .. math::

        \omega_m = \frac{2 \pi m}{L} ,
        \qquad
        c_m = \frac{\hat k(\omega_m)}{L_1 \cdots L_d} ,

    by Poisson's formula; :math:`L_i` are the sides of the box. Modes are left out whose sum is
    below 1e-14 of k(0). The kernel serves where sums go over explicit features: `pf.mmd_flow`,
    `MMD` and the metrics of that name. The kernel alone is periodic: particles are kept in the box
    by `pf.integrators.Periodic`.

    Parameters
    ----------
    kernel : Kernel
        A built-in kernel whose spectrum falls fast: `Gaussian`.
    low : float or sequence
        The lower ends of the box, one number for all axes or one for each, finite.
    high : float or sequence
        The upper ends, above `low`.

    Raises
    ------
    TypeError
        `kernel` states no spectrum, or `low` or `high` is no number.
    ValueError
        `low` is not below `high` or one is infinite; they have different lengths; the spectrum
        needs more than 8192 modes or does not fall fast.

    Cost: O((N + M) D) a step for D features, about (2.7 L / bandwidth)^d for a Gaussian.

    Source: Stein and Weiss (1971), chapter VII, for Poisson's formula.

    >>> torus = pf.kernels.Periodic(pf.kernels.Gaussian(0.1), 0.0, 1.0)
    >>> near = torus.map.features(torch.tensor([[0.05], [0.95]]))  # 0.1 apart
    >>> near @ near.T  # 1 and e^-1/2
    tensor([[1.0000, 0.6065],
            [0.6065, 1.0000]])
    """

    kernel: Kernel
    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    map: FeatureMap = field(init=False)
    in_space: ClassVar[bool] = True

    def __init__(
        self, kernel: Kernel, low: float | Sequence[float], high: float | Sequence[float]
    ) -> None:
        if not has_spectrum(kernel):
            raise RefusedTypeError(
                "kernel",
                "must state its spectrum to be made periodic",
                repr(kernel),
                "use pf.kernels.Gaussian(...)",
            )
        start, end = ends(low, high)
        _modes(kernel, _sides(start, end, 1 if isinstance(start, float) else len(start)))
        for name, value in (("kernel", kernel), ("low", start), ("high", end)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "map", cast("FeatureMap", Waves(kernel, start, end)))

    def __repr__(self) -> str:
        return f"Periodic({self.kernel!r}, {self.low}, {self.high})"


def ends(low: Any, high: Any) -> tuple[Any, Any]:
    """The ends of a box: two floats, or two tuples of as many."""
    first, second = _end(low, "low"), _end(high, "high")
    if len(first) == 1 or len(second) == 1:
        longest = max(len(first), len(second))
        first, second = (end * longest if len(end) == 1 else end for end in (first, second))
    if len(first) != len(second):
        raise RefusedValueError(
            "high",
            "must have as many numbers as `low`",
            f"{len(second)} for {len(first)}",
            "pass one for each axis",
        )
    if not all(a < b for a, b in zip(first, second, strict=True)):
        raise RefusedValueError(
            "low", "must be below `high` along each axis", f"{low} and {high}", "swap them"
        )
    one = not any(isinstance(end, Iterable) for end in (low, high))
    return (first[0], second[0]) if one else (first, second)


def _end(value: Any, name: str) -> tuple[float, ...]:
    """One end of a box as numbers: one, or one for each axis."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),)
    remedy = "pass one number for all axes, or a list with one for each"
    numbers = _checks.several(value, name, remedy=remedy)
    try:
        return tuple(float(number) for number in numbers)
    except (TypeError, ValueError):
        raise RefusedTypeError(name, "must be numbers", _checks.said(value), remedy) from None


def _sides(low: Any, high: Any, d: int) -> tuple[float, ...]:
    """The lengths of a box in d dimensions."""
    lows, highs = ((end,) * d if isinstance(end, float) else end for end in (low, high))
    if len(lows) != d:
        raise RefusedValueError(
            "low", f"must have one number for each of {d} axes", str(len(lows)), "pass as many"
        )
    sides = tuple(b - a for a, b in zip(lows, highs, strict=True))
    if not all(math.isfinite(side) for side in sides):
        raise RefusedValueError(
            "low", "and `high` must be finite for a kernel", f"{low} and {high}", "close the box"
        )
    return sides


def _modes(kernel: Kernel, sides: tuple[float, ...]) -> Modes:
    """The modes of a kernel on a box with these sides, in float64."""
    d, cut = len(sides), _cut(kernel, len(sides))
    most = [math.floor(cut * side / (2 * math.pi)) for side in sides]
    count = math.prod(2 * m + 1 for m in most)
    if count > 2 * MOST:
        raise RefusedValueError(
            "kernel",
            f"must have at most {MOST} modes in the box",
            f"{(count + 1) // 2} of {kernel}",
            "raise the bandwidth, take a smaller box or fewer dimensions",
        )
    axes = [torch.arange(-m, m + 1, dtype=torch.float64, device="cpu") for m in most]
    every = torch.cartesian_prod(*axes).view(-1, d)
    # of m and -m the later one in this order, and 0, which is in the middle
    numbers = every[len(every) // 2 :]
    omega = 2 * math.pi * numbers / torch.tensor(sides, dtype=torch.float64, device="cpu")
    spectrum = cast("KnownSpectrum", kernel).spectrum(omega.square().sum(1), d)
    size = 2 * spectrum / math.prod(sides)
    size[0] /= 2
    kept = size > TOLERANCE * size.max() / len(size)
    return Modes(omega[kept], size[kept])


def _cut(kernel: Kernel, d: int) -> float:
    """The frequency beyond which a spectrum is small in d dimensions, also as a sum of modes."""
    unit = bandwidth_of(kernel) or 1.0
    steps = [(a, b) for a, b in itertools.pairwise(FREQUENCIES)]

    def small(x: float) -> bool:
        at = torch.tensor([0.0, (x / unit) ** 2], dtype=torch.float64, device="cpu")
        zero, value = cast("KnownSpectrum", kernel).spectrum(at, d).tolist()
        return abs(value) * max(1.0, x) ** (d + 1) <= TOLERANCE * abs(zero)

    for low, high in steps:
        if small(high):
            for _ in range(20):
                middle = (low + high) / 2
                low, high = (low, middle) if small(middle) else (middle, high)
            return high / unit
    raise RefusedValueError(
        "kernel",
        "must have a spectrum that falls fast to be made periodic",
        repr(kernel),
        "use pf.kernels.Gaussian(...)",
    )
