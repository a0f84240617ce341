"""Entropies of logarithms: KL in both directions, their sum, and Jensen-Shannon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from particleflow.divergences.series import NEAR, below, burg, kl

# Newton steps from a bound that is at most 0.28 off. Each error is below 0.4 times the square of
# the last: four suffice, the fifth is for safety.
NEWTON = 5


@dataclass(frozen=True)
class KL:
    r"""The entropy of the Kullback-Leibler divergence of current from target.

    .. math::

        f(g) = g \log g - g + 1 , \qquad f^*(s) = e^s - 1 , \qquad g = e^s ,

    with :math:`g = q / p`, so that :math:`D = \mathrm{KL}(q \,\|\, p)`. Particles where the target
    has no mass cost infinitely much (the recession constant is infinite); target points without
    particles cost their mass. It is the entropy of KALE.

    Cost: O(1) a number.

    Source: Kullback and Leibler (1951); the conjugate as in Glaser, Arbel and Gretton (2021).

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.KL().f(g).mean()  # log(1/2) / 4 + 3 log(3/2) / 4
    tensor(0.1308)
    """

    recession: ClassVar[float] = math.inf
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        return kl(g - 1)

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
    constant).

    Cost: O(1) a number.

    Source: Kullback and Leibler (1951); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> g = torch.tensor([0.5, 1.5])  # q = (1/4, 3/4) against p = (1/2, 1/2)
    >>> pf.divergences.ReverseKL().f(g).mean()  # -(log(1/2) + log(3/2)) / 2
    tensor(0.1438)
    """

    recession: ClassVar[float] = 1.0
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        return burg(g)

    def slope(self, g: Tensor) -> Tensor:
        return torch.where(g < 2, (g - 1) / g, 1 - 1 / g)

    def curvature(self, g: Tensor) -> Tensor:
        return (1 / g) ** 2

    def conjugate(self, s: Tensor) -> Tensor:
        return below(s, self.recession, -torch.log1p(-s))

    def ratio(self, s: Tensor) -> Tensor:
        return below(s, self.recession, 1 / (1 - s))

    def ratio_slope(self, s: Tensor) -> Tensor:
        return below(s, self.recession, (1 / (1 - s)) ** 2)


@dataclass(frozen=True)
class Jeffreys:
    r"""The entropy of Jeffreys' divergence, the sum of both Kullback-Leibler divergences.

    .. math::

        f(g) = (g - 1) \log g ,
        \qquad
        f^*(s) = g - 1 + \log g , \qquad g = \frac{1}{W(e^{1 - s})} ,

    with :math:`g = q / p` and Lambert's function W, so that
    :math:`D = \mathrm{KL}(q \,\|\, p) + \mathrm{KL}(p \,\|\, q)`. The recession constant is
    infinite. :math:`l = \log g` solves :math:`l + 1 - e^{-l} = s`. The left side is concave and
    increases, so that Newton's method climbs to l from a lower bound.

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
class JensenShannon:
    r"""The entropy of the Jensen-Shannon divergence.

    .. math::

        f(g) = \tfrac12 \left( g \log g - (1 + g) \log \frac{1 + g}{2} \right) ,

    .. math::

        f^*(s) = -\tfrac12 \log(2 - e^{2 s}) , \qquad g = \frac{e^{2 s}}{2 - e^{2 s}} ,
        \qquad s < \tfrac12 \log 2 ,

    with :math:`g = q / p`. The divergence is
    :math:`\frac12 \mathrm{KL}(q \,\|\, m) + \frac12 \mathrm{KL}(p \,\|\, m)` with
    :math:`m = (p + q) / 2`, and at most :math:`\log 2`: far clouds hardly pull each other. The
    recession constant is :math:`\frac12 \log 2`.

    Cost: O(1) a number.

    Source: Lin (1991); Neumayer, Stein, Steidl and Rux (2024) for the conjugate.

    >>> pf.divergences.JensenShannon().f(torch.tensor([0.0, 1.0]))  # log(2) / 2, 0
    tensor([0.3466, 0.0000])
    """

    recession: ClassVar[float] = math.log(2) / 2
    nonnegative: ClassVar[bool] = True

    def f(self, g: Tensor) -> Tensor:
        e, middle = g - 1, 0.5 + 0.5 * g
        near = (kl(e) - 2 * kl(e / 2)) / 2
        far = (torch.xlogy(g, g / middle) - torch.log(middle)) / 2
        return torch.where(e.abs() <= NEAR, near, far)

    def slope(self, g: Tensor) -> Tensor:
        middle = 0.5 + 0.5 * g
        return torch.where(g > 0.5, torch.log1p((g - 1) / 2 / middle), torch.log(g / middle)) / 2

    def curvature(self, g: Tensor) -> Tensor:
        return 0.5 / g / (1 + g)

    def conjugate(self, s: Tensor) -> Tensor:
        return below(s, self.recession, -torch.log1p(-torch.expm1(2 * s)) / 2)

    def ratio(self, s: Tensor) -> Tensor:
        return below(s, self.recession, torch.exp(2 * s) / (1 - torch.expm1(2 * s)))

    def ratio_slope(self, s: Tensor) -> Tensor:
        return below(s, self.recession, 4 * torch.exp(2 * s) / (1 - torch.expm1(2 * s)) ** 2)
