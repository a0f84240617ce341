"""Entropies of powers: Tsallis and chi^2; and total variation, which is piecewise linear."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.divergences.base import PiecewiseLinear
from particleflow.divergences.series import NEAR, burg, exp_minus, kl, power


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
            return kl(g - 1)
        log = torch.log(g)
        if a >= 0.5:
            near = kl(g - 1) + g * exp_minus(c * log) / c
            far = g * power(g, log, c) / c - (g - 1)
        else:
            near = -a / c * (burg(g) - exp_minus(a * log) / a)
            far = -a / c * (g - 1 - power(g, log, a) / a)
        return torch.where(g == 0, 1.0, torch.where(log.abs() <= 1 / max(1.0, a), near, far))

    def slope(self, g: Tensor) -> Tensor:
        log = torch.log(g)
        return self.alpha * power(g, log, self.excess) / self.excess if self.excess else log

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
class TotalVariation(PiecewiseLinear):
    r"""The entropy of the total variation distance, which is not smooth.

    .. math::

        f(g) = \tfrac12 \left| g - 1 \right| ,
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
