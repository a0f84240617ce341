"""Entropies f of f-divergences D_f(q || p) = E_p f(g), g = q / p = current / target >= 0.

g is the inverse of the ratio r of `mobilities`. Every f is convex with f(1) = f'(1) = 0. Where the
usual form lacks that, a multiple of g - 1 is added. It changes no divergence of probabilities, and
is needed where the mass of g p is free. Elementwise, in the dtype of the argument:

- f(g), slope f'(g), curvature f''(g), for g >= 0.
- conjugate f*(s) = sup_{g >= 0} s g - f(g): inf where s is above the recession constant,
  lim f(g) / g.
- ratio (f*)'(s), the maximiser g, and ratio_slope (f*)''(s).

So f' and ratio are inverse to each other, and f(g) + f*(f'(g)) = g f'(g). Values keep their
relative precision near g = 1 and s = 0.

>>> KL().ratio(torch.zeros(1, dtype=torch.float64))
tensor([1.], dtype=torch.float64)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks, _words

__all__ = [
    "KL",
    "ChiSquare",
    "Divergence",
    "Jeffreys",
    "JensenShannon",
    "PiecewiseLinear",
    "ReverseKL",
    "TotalVariation",
    "Tsallis",
]

__getattr__, __dir__ = _words.suggesting(__name__)

# The |g - 1| up to which log g is a series: log(1 + e) = 2 artanh t, t = e / (2 + e), t^2 <= 1/9.
NEAR = 0.5
# Terms of that series that reach 1e-17.
ARTANH_TERMS = 17
# Terms of the series of e^x - 1 - x for |x| <= 1 that reach 1e-17.
EXP_TERMS = 18
# Newton steps from a bound that is at most 0.28 off. Each error is below 0.4 times the square of
# the last: four suffice, the fifth is for safety.
NEWTON = 5


@runtime_checkable
class Divergence(Protocol):
    """An entropy f and its conjugate, elementwise.

    Attributes
    ----------
    recession : float
        lim f(g) / g for g -> infinity.
    nonnegative : bool
        Whether the supremum of the conjugate is over g >= 0.
    """

    @property
    def recession(self) -> float: ...
    @property
    def nonnegative(self) -> bool: ...
    def f(self, g: Tensor) -> Tensor: ...
    def slope(self, g: Tensor) -> Tensor: ...
    def curvature(self, g: Tensor) -> Tensor: ...
    def conjugate(self, s: Tensor) -> Tensor: ...
    def ratio(self, s: Tensor) -> Tensor: ...
    def ratio_slope(self, s: Tensor) -> Tensor: ...


class PiecewiseLinear:
    """An entropy f(g) = c |g - 1|, c its recession constant. Declared by inheriting.

    f' jumps at g = 1, so that Newton's method in f'(g) cannot solve for g.
    """


@dataclass(frozen=True)
class KL:
    """f(g) = g log g - g + 1: KL(q || p). f*(s) = e^s - 1."""

    recession: ClassVar[float] = math.inf
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        return _kl(g - 1)

    def slope(self, g: Tensor) -> Tensor:
        return torch.log(g)

    def curvature(self, g: Tensor) -> Tensor:
        return 1 / g

    def conjugate(self, s: Tensor) -> Tensor:
        return torch.expm1(s)

    def ratio(self, s: Tensor) -> Tensor:
        return torch.exp(s)

    def ratio_slope(self, s: Tensor) -> Tensor:
        return torch.exp(s)


@dataclass(frozen=True)
class ReverseKL:
    """f(g) = g - 1 - log g: KL(p || q), the Burg entropy. f*(s) = -log(1 - s), s < 1."""

    recession: ClassVar[float] = 1.0
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        return _burg(g)

    def slope(self, g: Tensor) -> Tensor:
        return torch.where(g < 2, (g - 1) / g, 1 - 1 / g)

    def curvature(self, g: Tensor) -> Tensor:
        return (1 / g) ** 2

    def conjugate(self, s: Tensor) -> Tensor:
        return _below(s, self.recession, -torch.log1p(-s))

    def ratio(self, s: Tensor) -> Tensor:
        return _below(s, self.recession, 1 / (1 - s))

    def ratio_slope(self, s: Tensor) -> Tensor:
        return _below(s, self.recession, (1 / (1 - s)) ** 2)


@dataclass(frozen=True)
class Jeffreys:
    """f(g) = (g - 1) log g: KL(q || p) + KL(p || q).

    f*(s) = g - 1 + log g at the maximiser g = 1 / W(e^{1-s}), W Lambert's function. l = log g
    solves l + 1 - e^{-l} = s. The left side is concave and increases, so that Newton's method
    climbs to l from a lower bound.
    """

    recession: ClassVar[float] = math.inf
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        return (g - 1) * torch.log(g)

    def slope(self, g: Tensor) -> Tensor:
        log = torch.log(g)
        return log - torch.expm1(-log)

    def curvature(self, g: Tensor) -> Tensor:
        return (1 + 1 / g) / g

    def conjugate(self, s: Tensor) -> Tensor:
        log = self.log_ratio(s)
        return torch.expm1(log) + log

    def ratio(self, s: Tensor) -> Tensor:
        log = self.log_ratio(s)
        # 1 / g = 1 - s + log g keeps the digits that e^l loses where l is large
        return torch.where((s < 0) & s.isfinite(), 1 / (1 - s + log), torch.exp(log))

    def ratio_slope(self, s: Tensor) -> Tensor:
        g = self.ratio(s)
        return g / (1 + 1 / g)

    def log_ratio(self, s: Tensor) -> Tensor:
        """log g at the maximiser."""
        largest = torch.finfo(s.dtype).max / 4
        finite = s.clamp(-largest, largest)
        below = -torch.minimum(torch.log1p(-finite.clamp(max=0)), -finite / 2)
        log = torch.where(finite < 0, below, torch.maximum(finite / 2, finite - 1))
        for _ in range(NEWTON):
            log = log - (log - torch.expm1(-log) - finite) / (1 + torch.exp(-log))
        return torch.where(s.isinf(), s, log)


@dataclass(frozen=True)
class Tsallis:
    """f(g) = (g^alpha - 1 - alpha (g - 1)) / (alpha - 1), alpha > 0. f''(1) = alpha.

    alpha -> 1 is KL, and alpha = 1 is taken as KL. alpha = 2 is chi^2 with g >= 0. alpha = 1/2 is
    (sqrt g - 1)^2, twice the squared Hellinger distance.

    With b = 1 + (alpha - 1) s / alpha, g = b_+^{1 / (alpha - 1)} and f*(s) = g^alpha - 1. alpha > 1
    has g = 0 and f* = -1 where b <= 0. alpha < 1 has the recession constant alpha / (1 - alpha).
    alpha <= 0 is refused: alpha < 0 makes f concave, alpha = 0 makes it vanish.
    """

    alpha: float
    nonnegative: ClassVar[bool] = True

    def __post_init__(self) -> None:
        remedy = "f is not convex below 0 and vanishes at 0; KL(target || current) is ReverseKL()"
        object.__setattr__(self, "alpha", _checks.positive(self.alpha, "alpha", remedy=remedy))

    @property
    def excess(self) -> float:
        """alpha - 1."""
        return self.alpha - 1

    @property
    def recession(self) -> float:
        return self.alpha / (1 - self.alpha) if self.alpha < 1 else math.inf

    def f(self, g: Tensor) -> Tensor:
        a, c = self.alpha, self.excess
        if c == 0:
            return _kl(g - 1)
        log = torch.log(g)
        if a >= 0.5:
            near = _kl(g - 1) + g * _exp_minus(c * log) / c
            far = g * _power(g, log, c) / c - (g - 1)
        else:
            near = -a / c * (_burg(g) - _exp_minus(a * log) / a)
            far = -a / c * (g - 1 - _power(g, log, a) / a)
        return torch.where(g == 0, 1.0, torch.where(log.abs() <= 1 / max(1.0, a), near, far))

    def slope(self, g: Tensor) -> Tensor:
        log = torch.log(g)
        return self.alpha * _power(g, log, self.excess) / self.excess if self.excess else log

    def curvature(self, g: Tensor) -> Tensor:
        return self.alpha * g ** (self.alpha - 2)

    def conjugate(self, s: Tensor) -> Tensor:
        if self.excess == 0:
            return torch.expm1(s)
        z = self.excess / self.alpha * s
        exponent = self.alpha / self.excess
        log = torch.log1p(z)
        small = (z.abs() <= NEAR) | ((exponent * log).abs() < 1)
        value = torch.where(small, torch.expm1(exponent * log), (1 + z) ** exponent - 1)
        return self._outside(s, z, value, -1.0)

    def ratio(self, s: Tensor) -> Tensor:
        return self._outside(s, self.excess / self.alpha * s, self._ratio_to_the(1.0, s), 0.0)

    def ratio_slope(self, s: Tensor) -> Tensor:
        return self._outside(
            s, self.excess / self.alpha * s, self._ratio_to_the(2 - self.alpha, s) / self.alpha, 0.0
        )

    def _ratio_to_the(self, exponent: float, s: Tensor) -> Tensor:
        """g^exponent where b = 1 + z > 0.

        Near b = 1 by its logarithm, as 1 + z would lose the digits of z; elsewhere by a power.
        """
        if self.excess == 0:
            return torch.exp(exponent * s)
        z = self.excess / self.alpha * s
        exponent = exponent / self.excess
        return torch.where(
            z.abs() <= NEAR, torch.exp(exponent * torch.log1p(z)), (1 + z) ** exponent
        )

    def _outside(self, s: Tensor, z: Tensor, value: Tensor, clipped: float) -> Tensor:
        """value where b > 0; elsewhere g = 0 (alpha > 1), or nothing is attained (alpha < 1)."""
        return (
            torch.where(z > -1, value, clipped if self.alpha > 1 else math.inf)
            if self.excess
            else value
        )


@dataclass(frozen=True)
class ChiSquare:
    """f(g) = (g - 1)^2: chi^2(q || p). f*(s) = s + s^2 / 4 from s = -2 on, -1 below.

    `nonnegative=False` drops the constraint g >= 0. Then f* = s + s^2 / 4 everywhere, and
    g = 1 + s / 2 of any sign. The regularised problem is linear, and its solution is that of the
    de-regularised MMD.
    """

    nonnegative: bool = field(default=True, kw_only=True)
    recession: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        _checks.flag(self.nonnegative, "nonnegative")

    def f(self, g: Tensor) -> Tensor:
        return (g - 1) ** 2

    def slope(self, g: Tensor) -> Tensor:
        return 2 * (g - 1)

    def curvature(self, g: Tensor) -> Tensor:
        return torch.full_like(g, 2.0)

    def conjugate(self, s: Tensor) -> Tensor:
        s = s.clamp(min=-2) if self.nonnegative else s
        return s * (1 + s / 4)

    def ratio(self, s: Tensor) -> Tensor:
        s = s.clamp(min=-2) if self.nonnegative else s
        return 1 + s / 2

    def ratio_slope(self, s: Tensor) -> Tensor:
        half = torch.full_like(s, 0.5)
        return torch.where(s > -2, half, 0.0) if self.nonnegative else half


@dataclass(frozen=True)
class JensenShannon:
    """f(g) = (g log g - (1 + g) log((1 + g) / 2)) / 2: the Jensen-Shannon divergence.

    JS = KL(q || m) / 2 + KL(p || m) / 2 with m = (p + q) / 2 is at most log 2.
    f*(s) = -log(2 - e^{2s}) / 2, g = e^{2s} / (2 - e^{2s}), s < (log 2) / 2.
    """

    recession: ClassVar[float] = math.log(2) / 2
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        e, middle = g - 1, 0.5 + 0.5 * g
        near = (_kl(e) - 2 * _kl(e / 2)) / 2
        far = (torch.xlogy(g, g / middle) - torch.log(middle)) / 2
        return torch.where(e.abs() <= NEAR, near, far)

    def slope(self, g: Tensor) -> Tensor:
        middle = 0.5 + 0.5 * g
        return torch.where(g > 0.5, torch.log1p((g - 1) / 2 / middle), torch.log(g / middle)) / 2

    def curvature(self, g: Tensor) -> Tensor:
        return 0.5 / g / (1 + g)

    def conjugate(self, s: Tensor) -> Tensor:
        return _below(s, self.recession, -torch.log1p(-torch.expm1(2 * s)) / 2)

    def ratio(self, s: Tensor) -> Tensor:
        return _below(s, self.recession, torch.exp(2 * s) / (1 - torch.expm1(2 * s)))

    def ratio_slope(self, s: Tensor) -> Tensor:
        return _below(s, self.recession, 4 * torch.exp(2 * s) / (1 - torch.expm1(2 * s)) ** 2)


@dataclass(frozen=True)
class TotalVariation(PiecewiseLinear):
    """f(g) = |g - 1| / 2: the total variation distance, in [0, 1]. f*(s) = max(s, -1/2), s <= 1/2.

    It is not smooth. At g = 1 any number of [-1/2, 1/2] is a subgradient, and slope is 0. ratio is
    1 on [-1/2, 1/2] and 0 below. Curvatures vanish.
    """

    recession: ClassVar[float] = 0.5
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        return (g - 1).abs() / 2

    def slope(self, g: Tensor) -> Tensor:
        return torch.sign(g - 1) / 2

    def curvature(self, g: Tensor) -> Tensor:
        return torch.zeros_like(g)

    def conjugate(self, s: Tensor) -> Tensor:
        return torch.where(s <= self.recession, s.clamp(min=-0.5), math.inf)

    def ratio(self, s: Tensor) -> Tensor:
        return torch.where(s <= self.recession, (s >= -0.5).to(s.dtype), math.inf)

    def ratio_slope(self, s: Tensor) -> Tensor:
        return torch.zeros_like(s)


def _below(s: Tensor, recession: float, value: Tensor) -> Tensor:
    """value where s < recession, inf elsewhere."""
    return torch.where(s < recession, value, math.inf)


def _log1p_minus(e: Tensor) -> Tensor:
    """log(1 + e) - e = 2 t^3 (1/3 + t^2/5 + ...) - t e, t = e / (2 + e), for |e| <= 1/2."""
    t = e / (2 + e)
    square = t * t
    series = torch.zeros_like(e)
    for k in range(ARTANH_TERMS, 0, -1):
        series = series * square + 1 / (2 * k + 1)
    return 2 * t * square * series - t * e


def _burg(g: Tensor) -> Tensor:
    """g - 1 - log g."""
    e = g - 1
    return torch.where(e.abs() <= NEAR, -_log1p_minus(e), e - torch.log(g))


def _kl(e: Tensor) -> Tensor:
    """g log g - g + 1, g = 1 + e."""
    return torch.where(
        e.abs() <= NEAR, e * torch.log1p(e) + _log1p_minus(e), torch.xlogy(1 + e, 1 + e) - e
    )


def _exp_minus(x: Tensor) -> Tensor:
    """e^x - 1 - x for |x| <= 1."""
    series = torch.zeros_like(x)
    for k in range(EXP_TERMS, 1, -1):
        series = 1 + series * x / (k + 1)
    return series * x * x / 2


def _power(g: Tensor, log: Tensor, exponent: float) -> Tensor:
    """g^exponent - 1, given log g."""
    return torch.where((exponent * log).abs() < 1, torch.expm1(exponent * log), g**exponent - 1)
