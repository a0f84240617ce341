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
    r"""The loss whose function is the ratio itself, by a bound of KL from below.

    .. math::

        \max_{d > 0}\; \mathbb{E}_p \log d - \mathbb{E}_q\, d
        = \mathrm{KL}(p \,\|\, q) - 1 ,
        \qquad
        r = d ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. d must be
    positive: :math:`\varphi = -\infty` elsewhere, and `constrain` maps a network's output there.
    Large ratios on few current points make the second mean noisy.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Sugiyama et al. (2008).

    >>> loss = pf.losses.KLIEP()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # KL(p || q) - 1
    tensor(-0.8692)
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
    r"""The bound of KL whose function is the log ratio plus one.

    .. math::

        \max_d\; \mathbb{E}_p\, d - \mathbb{E}_q\, e^{d - 1}
        = \mathrm{KL}(p \,\|\, q) ,
        \qquad
        \log r = d - 1 ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. Any d gives a
    lower bound of KL, and its mean over minibatches is J itself, unlike that of `DonskerVaradhan`.
    It is `KLIEP` in the logarithm of its function: d may be any number.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Nguyen, Wainwright and Jordan (2010).

    >>> loss = pf.losses.NWJ()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # KL(p || q)
    tensor(0.1308)
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
    r"""The bound of KL that does not see a constant in its function.

    .. math::

        \max_d\; \mathbb{E}_p\, d - \log \mathbb{E}_q\, e^d
        = \mathrm{KL}(p \,\|\, q) ,
        \qquad
        \log r = d - c , \quad c = \log \mathbb{E}_q\, e^d ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. J is no mean of a
    :math:`\psi`. It is the maximum over numbers c of
    :math:`\mathbb{E}_p [d - c] + \mathbb{E}_q [1 - e^{d - c}]`. So :math:`\varphi = d - c` and
    :math:`\psi = 1 - e^{d - c}` are a pair for every c, with the gradient of J at that c. J does
    not change when a number is added to d, so that a learned d alone does not tell r.

    `objective` is J itself, whatever c is. `normalised` gives the loss with the c of a learned d,
    whose link then holds. For each d the bound is at least that of `NWJ`. But the logarithm of a
    minibatch's mean is too small on average, and J too large.

    Parameters
    ----------
    normaliser : float
        c, finite.

    Raises
    ------
    TypeError
        `normaliser` is no number.
    ValueError
        `normaliser` is infinite or NaN.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Belghazi et al. (2018).

    >>> loss = pf.losses.DonskerVaradhan()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = r.log() + 7
    >>> loss.objective(d, d, target_weights=r / 2)  # KL(p || q)
    tensor(0.1308)
    >>> loss.normalised(d).ratio(d)
    tensor([0.5000, 1.5000])
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
        r"""J on samples, whatever `normaliser` is.

        .. math::

            J = \sum_j b_j\, d(y_j) - \log \sum_i a_i\, e^{d(x_i)}

        Parameters
        ----------
        target, current : tensor
            d at the target's points (M,) and at the current ones (N,).
        target_weights, current_weights : tensor, optional
            b (M,) and a (N,), each of sum 1. None: 1 / M and 1 / N.

        Returns
        -------
        tensor
            A scalar, to be maximised.
        """
        return mean(target, target_weights) - _log_mean_exp(current, current_weights)

    def normalised(self, current: Tensor, *, weights: Weights = None) -> DonskerVaradhan:
        r"""The loss with the c of a learned d, so that r has the mean 1 over the current cloud.

        .. math::

            c = \log \sum_i a_i\, e^{d(x_i)}

        Parameters
        ----------
        current : tensor
            d at all current points, (N,).
        weights : tensor, optional
            a (N,), of sum 1. None: 1 / N.

        Returns
        -------
        DonskerVaradhan
        """
        return replace(self, normaliser=float(_log_mean_exp(current.detach(), weights)))


@dataclass(frozen=True)
class ULSIF(Direct):
    r"""Least squares of the ratio itself.

    .. math::

        \max_d\; \mathbb{E}_p\, d - \tfrac12\, \mathbb{E}_q\, d^2
        = \tfrac12 \left( \chi^2(p \,\|\, q) + 1 \right) ,
        \qquad
        r = d ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. J is quadratic in
    d: a linear model is fitted by one linear solve. It holds for d of any sign, and :math:`\log r`
    exists where :math:`d > 0`. Large ratios dominate the fit: small ones, far from the target, are
    known badly.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Kanamori, Hido and Sugiyama (2009).

    >>> loss = pf.losses.ULSIF()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # (1/4 + 1) / 2
    tensor(0.6250)
    """

    largest: ClassVar[tuple[float, float]] = (0.5, 0.5)

    def psi(self, d: Tensor) -> Tensor:
        return -0.5 * d**2

    def psi_slope(self, d: Tensor) -> Tensor:
        return -d


@dataclass(frozen=True)
class Pearson(Pair):
    r"""The bound of chi^2, which is least squares of the ratio in another coding.

    .. math::

        \max_d\; \mathbb{E}_p\, d - \mathbb{E}_q \left( \frac{d^2}{4} + d \right)
        = \chi^2(p \,\|\, q) ,
        \qquad
        r = 1 + \frac{d}{2} \quad (d > -2) ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. It is
    :math:`2 J - 1` of `ULSIF`. d = 0 means equal distributions, so that small weights start well.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Nowozin, Cseke and Tomioka (2016).

    >>> loss = pf.losses.Pearson()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # chi^2 = 1/4
    tensor(0.2500)
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
    r"""The bound of the squared Hellinger distance.

    .. math::

        \max_{d < 1}\; \mathbb{E}_p\, d - \mathbb{E}_q\, \frac{d}{1 - d}
        = 2 H^2 = 2 - 2 \int \sqrt{p\, q} ,
        \qquad
        r = \frac{1}{(1 - d)^2} ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. The divergence is
    at most 2 and finite for any p and q, where KL may be infinite. :math:`\psi = -\infty` for
    :math:`d \ge 1`, and `constrain` maps a network's output below.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Nowozin, Cseke and Tomioka (2016).

    >>> loss = pf.losses.SquaredHellinger()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # 2 H^2
    tensor(0.0681)
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
    r"""The bound of the reverse KL divergence, whose function is the log ratio.

    .. math::

        \max_d\; -\mathbb{E}_p\, e^{-d} + \mathbb{E}_q\, (1 - d)
        = \mathrm{KL}(q \,\|\, p) ,
        \qquad
        \log r = d ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. It is the
    divergence that the MonoFlow of `Unit` descends. A target point where d is very negative weighs
    :math:`e^{-d}`: outliers of the target make J noisy.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Nowozin, Cseke and Tomioka (2016).

    >>> loss = pf.losses.ReverseKL()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # KL(q || p)
    tensor(0.1438)
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
