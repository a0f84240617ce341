"""Losses whose largest value is an f-divergence of target and current: variational bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.losses.base import Direct, Pair, Weights, inside, mean


@dataclass(frozen=True)
class KLIEP(Direct):
    """phi = log d, psi = -d, d > 0. r = d. Largest J: KL(p || q) - 1.

    Source: Sugiyama et al. (2008).
    """

    largest: ClassVar[tuple[float, float]] = (1.0, -1.0)

    def phi(self, d: Tensor) -> Tensor:
        return torch.where(d > 0, torch.log(d), -math.inf)

    def phi_slope(self, d: Tensor) -> Tensor:
        return 1 / d

    def psi(self, d: Tensor) -> Tensor:
        return -d

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.ones_like(d)


@dataclass(frozen=True)
class NWJ(Pair):
    """phi = d, psi = -e^{d-1}. log r = d - 1. Largest J: KL(p || q).

    Source: Nguyen, Wainwright and Jordan (2010).
    """

    def psi(self, d: Tensor) -> Tensor:
        return -torch.exp(d - 1)

    def psi_slope(self, d: Tensor) -> Tensor:
        return self.psi(d)

    def log_ratio(self, d: Tensor) -> Tensor:
        return d - 1

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return 1 + log_ratio


@dataclass(frozen=True)
class DonskerVaradhan(Pair):
    """J = E_p d - log E_q e^d, which is no mean of a psi. log r = d - c, c = log E_q e^d.

    J is the maximum over numbers c of E_p [d - c] + E_q [1 - e^{d-c}]. So phi = d - c and
    psi = 1 - e^{d-c} are a pair for every c, with the gradient of J at c = log E_q e^d. J does not
    change when a number is added to d, so that a learned d alone does not tell r.

    `objective` is J itself, whatever c = `normaliser` is. `normalised` gives the loss with the c of
    a learned d, whose link then holds. Largest J: KL(p || q). The logarithm of a minibatch's mean
    is too small on average, and J too large.

    Source: Belghazi et al. (2018).
    """

    normaliser: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "normaliser", _checks.real(self.normaliser, "normaliser"))

    def phi(self, d: Tensor) -> Tensor:
        return d - self.normaliser

    def psi(self, d: Tensor) -> Tensor:
        return -torch.expm1(d - self.normaliser)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.exp(d - self.normaliser)

    def log_ratio(self, d: Tensor) -> Tensor:
        return d - self.normaliser

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return log_ratio + self.normaliser

    def objective(
        self,
        target: Tensor,
        current: Tensor,
        *,
        target_weights: Weights = None,
        current_weights: Weights = None,
    ) -> Tensor:
        """J = sum_j b_j d(y_j) - log sum_i a_i e^{d(x_i)}, a scalar."""
        return mean(target, target_weights) - _log_mean_exp(current, current_weights)

    def normalised(self, current: Tensor, *, weights: Weights = None) -> DonskerVaradhan:
        """The loss with c = log sum_i a_i e^{d(x_i)}, so that r has the mean 1 over the cloud."""
        return replace(self, normaliser=float(_log_mean_exp(current.detach(), weights)))


@dataclass(frozen=True)
class ULSIF(Direct):
    """phi = d, psi = -d^2 / 2: least squares of the ratio. r = d, where d > 0.

    Largest J: (chi^2(p || q) + 1) / 2.

    Source: Kanamori, Hido and Sugiyama (2009).
    """

    largest: ClassVar[tuple[float, float]] = (0.5, 0.5)

    def psi(self, d: Tensor) -> Tensor:
        return -0.5 * d**2

    def psi_slope(self, d: Tensor) -> Tensor:
        return -d


@dataclass(frozen=True)
class Pearson(Pair):
    """phi = d, psi = -(d^2 / 4 + d). r = 1 + d / 2, where d > -2. Largest J: chi^2(p || q).

    Source: Nowozin, Cseke and Tomioka (2016).
    """

    domain: ClassVar[tuple[float, float]] = (-2.0, math.inf)

    def psi(self, d: Tensor) -> Tensor:
        return -d * (1 + d / 4)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -(1 + d / 2)

    def ratio(self, d: Tensor) -> Tensor:
        return 1 + d / 2

    def log_ratio(self, d: Tensor) -> Tensor:
        return torch.log1p(d / 2)

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 1 / (2 + d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return inside(2 * torch.expm1(log_ratio), self.domain)


@dataclass(frozen=True)
class SquaredHellinger(Pair):
    """phi = d, psi = -d / (1 - d), d < 1. r = (1 - d)^-2.

    Largest J: 2 H^2, H^2 = 1 - int sqrt(pq).

    Source: Nowozin, Cseke and Tomioka (2016).
    """

    domain: ClassVar[tuple[float, float]] = (-math.inf, 1.0)
    largest: ClassVar[tuple[float, float]] = (2.0, 0.0)

    def psi(self, d: Tensor) -> Tensor:
        return torch.where(d < 1, -d / (1 - d), -math.inf)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -((1 / (1 - d)) ** 2)

    def ratio(self, d: Tensor) -> Tensor:
        return (1 / (1 - d)) ** 2

    def log_ratio(self, d: Tensor) -> Tensor:
        return -2 * torch.log1p(-d)

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 2 / (1 - d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return inside(-torch.expm1(-log_ratio / 2), self.domain)


@dataclass(frozen=True)
class ReverseKL(Pair):
    """phi = -e^{-d}, psi = 1 - d. log r = d. Largest J: KL(q || p).

    Source: Nowozin, Cseke and Tomioka (2016).
    """

    def phi(self, d: Tensor) -> Tensor:
        return -torch.exp(-d)

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.exp(-d)

    def psi(self, d: Tensor) -> Tensor:
        return 1 - d

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.ones_like(d)


def _log_mean_exp(d: Tensor, weights: Weights) -> Tensor:
    return (
        torch.logsumexp(d, 0) - math.log(len(d))
        if weights is None
        else torch.logsumexp(d + torch.log(weights), 0)
    )
