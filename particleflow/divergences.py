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

__getattr__ = _words.suggesting(__name__)

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
    r"""An entropy f of an f-divergence, and its conjugate, elementwise.

    .. math::

        D_f(q \,\|\, p) = \mathbb{E}_p\, f(g) , \qquad g = \frac{q}{p} \ge 0 ,
        \qquad
        f^*(s) = \sup_{g \ge 0}\, s g - f(g) .

    `f`, `slope` (:math:`f'`) and `curvature` (:math:`f''`) take g >= 0; `conjugate`, `ratio` (the
    maximiser :math:`g = (f^*)'(s)`) and `ratio_slope` (:math:`(f^*)''`) take any s. f is convex
    with :math:`f(1) = f'(1) = 0`. `slope` and `ratio` are inverse to each other, and :math:`f(g) +
    f^*(f'(g)) = g f'(g)`. Where nothing is attained, `conjugate` and `ratio` are inf.

    Attributes
    ----------
    recession : float
        lim f(g) / g for g -> infinity: the price of mass where the target has none.
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
    r"""A mark of entropies with a kink, which Newton's method cannot solve.

    .. math::

        f(g) = c\, |g - 1| , \qquad c = \lim_{g \to \infty} \frac{f(g)}{g} .

    An entropy declares it by inheriting. :math:`f'` jumps at g = 1, so that estimators take an
    interior-point method in its place.

    >>> isinstance(pf.divergences.TotalVariation(), pf.divergences.PiecewiseLinear)
    True
    """


@dataclass(frozen=True)
class KL:
    r"""The entropy of the Kullback-Leibler divergence of current from target.

    .. math::

        f(g) = g \log g - g + 1 , \qquad f^*(s) = e^s - 1 , \qquad g = e^s ,

    with :math:`g = q / p`, so that :math:`D = \mathrm{KL}(q \,\|\, p)`. Particles where the target
    has no mass cost infinitely much (the recession constant is infinite); target points without
    particles cost 1 each. It is the entropy of KALE.

    Cost: O(1) a number.

    Source: Kullback and Leibler (1951); the conjugate as in Glaser, Arbel and Gretton (2021).

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.KL().f(g).mean()  # log(1/2) / 4 + 3 log(3/2) / 4
    tensor(0.1308)
    """

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
    r"""The entropy of the reverse Kullback-Leibler divergence, also called Burg's.

    .. math::

        f(g) = g - 1 - \log g , \qquad f^*(s) = -\log(1 - s) , \qquad g = \frac{1}{1 - s} ,
        \qquad s < 1 ,

    with :math:`g = q / p`, so that :math:`D = \mathrm{KL}(p \,\|\, q)`. Target points without
    particles cost infinitely much; mass where the target has none costs 1 per unit (the recession
    constant), so that the divergence of two samples is finite.

    Cost: O(1) a number.

    Source: Kullback and Leibler (1951); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.ReverseKL().f(g).mean()  # -(log(1/2) + log(3/2)) / 2
    tensor(0.1438)
    """

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
    r"""The entropy of Jeffreys' divergence, the sum of both Kullback-Leibler divergences.

    .. math::

        f(g) = (g - 1) \log g ,
        \qquad
        f^*(s) = g - 1 + \log g , \qquad g = \frac{1}{W(e^{1 - s})} ,

    with :math:`g = q / p` and Lambert's function W, so that :math:`D = \mathrm{KL}(q \,\|\, p) +
    \mathrm{KL}(p \,\|\, q)`. The recession constant is infinite. :math:`l = \log g` solves :math:`l
    + 1 - e^{-l} = s`. The left side is concave and increases, so that Newton's method climbs to l
    from a lower bound.

    Cost: O(1) a number; five steps of Newton's method for the conjugate.

    Source: Jeffreys (1946); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.Jeffreys().f(g).mean()  # log(3) / 4
    tensor(0.2747)
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
        """log g at the maximiser of the conjugate, elementwise in s."""
        largest = torch.finfo(s.dtype).max / 4
        finite = s.clamp(-largest, largest)
        below = -torch.minimum(torch.log1p(-finite.clamp(max=0)), -finite / 2)
        log = torch.where(finite < 0, below, torch.maximum(finite / 2, finite - 1))
        for _ in range(NEWTON):
            log = log - (log - torch.expm1(-log) - finite) / (1 + torch.exp(-log))
        return torch.where(s.isinf(), s, log)


@dataclass(frozen=True)
class Tsallis:
    r"""The entropies of powers of the ratio, with KL and chi^2 among them.

    .. math::

        f(g) = \frac{g^{\alpha} - 1 - \alpha (g - 1)}{\alpha - 1} ,
        \qquad
        f^*(s) = g^{\alpha} - 1 ,
        \qquad
        g = \left( 1 + \frac{\alpha - 1}{\alpha}\, s \right)_+^{1 / (\alpha - 1)} ,

    with :math:`g = q / p`. :math:`\alpha \to 1` is KL, and :math:`\alpha = 1` is taken as KL.
    :math:`\alpha = 2` is :math:`\chi^2` with :math:`g \ge 0`. :math:`\alpha = \frac12` is
    :math:`(\sqrt{g} - 1)^2`, twice the squared Hellinger distance. For :math:`\alpha > 1` the
    maximiser is exactly 0 below :math:`s = -\alpha / (\alpha - 1)`: target points may get no mass
    at all. For :math:`\alpha < 1` the recession constant is :math:`\alpha / (1 - \alpha)`.
    :math:`f''(1) = \alpha`.

    Parameters
    ----------
    alpha : float
        :math:`\alpha > 0`. Below 0 f is concave, and at 0 it vanishes.

    Raises
    ------
    TypeError
        `alpha` is no number.
    ValueError
        `alpha` is not positive and finite.

    Cost: O(1) a number.

    Source: Tsallis (1988); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.Tsallis(2).f(g).mean()  # chi^2 = 1/4
    tensor(0.2500)
    """

    alpha: float
    nonnegative: ClassVar[bool] = True

    def __post_init__(self) -> None:
        remedy = "f is not convex below 0 and vanishes at 0; KL(target || current) is ReverseKL()"
        object.__setattr__(self, "alpha", _checks.positive(self.alpha, "alpha", remedy=remedy))

    @property
    def excess(self) -> float:
        """alpha - 1, the exponent of f'."""
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
    r"""The entropy of Pearson's chi^2.

    .. math::

        f(g) = (g - 1)^2 ,
        \qquad
        f^*(s) = s + \frac{s^2}{4} , \qquad g = 1 + \frac{s}{2} \qquad (s \ge -2) ,

    with :math:`g = q / p`, so that :math:`D = \chi^2(q \,\|\, p)`. Below s = -2 the conjugate is -1
    and g is 0. The recession constant is infinite.

    Parameters
    ----------
    nonnegative : bool
        False drops the constraint g >= 0. Then the formulas hold for every s, and g has any sign.
        The regularised problem is linear, and its solution is that of the de-regularised MMD.

    Raises
    ------
    TypeError
        `nonnegative` is no bool.

    Cost: O(1) a number.

    Source: Pearson (1900); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.ChiSquare().f(g).mean()  # 1/4
    tensor(0.2500)
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
    r"""The entropy of the Jensen-Shannon divergence.

    .. math::

        f(g) = \tfrac12 \left( g \log g - (1 + g) \log \frac{1 + g}{2} \right) ,

    .. math::

        f^*(s) = -\tfrac12 \log(2 - e^{2 s}) , \qquad g = \frac{e^{2 s}}{2 - e^{2 s}} ,
        \qquad s < \tfrac12 \log 2 ,

    with :math:`g = q / p`. The divergence is :math:`\frac12 \mathrm{KL}(q \,\|\, m) + \frac12
    \mathrm{KL}(p \,\|\, m)` with :math:`m = (p + q) / 2`, and at most :math:`\log 2`: far clouds
    hardly pull each other. The recession constant is :math:`\frac12 \log 2`.

    Cost: O(1) a number.

    Source: Lin (1991); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> pf.divergences.JensenShannon().f(torch.tensor([0.0, 1.0]))  # log(2) / 2, 0
    tensor([0.3466, 0.0000])
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
    r"""The entropy of the total variation distance, which is not smooth.

    .. math::

        f(g) = \tfrac12 |g - 1| ,
        \qquad
        f^*(s) = \max\left( s, -\tfrac12 \right) , \qquad s \le \tfrac12 ,

    with :math:`g = q / p`; the distance lies in [0, 1]. At g = 1 any number of [-1/2, 1/2] is a
    subgradient, and `slope` is 0. `ratio` is 1 on [-1/2, 1/2] and 0 below. Curvatures vanish, so
    that no mobility can be made of it. The recession constant is 1/2.

    Cost: O(1) a number.

    Source: Csiszar (1967); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.TotalVariation().f(g).mean()  # 1/4
    tensor(0.2500)
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
