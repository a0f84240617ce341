"""Losses of classifiers that tell the target from the current points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from particleflow import _checks
from particleflow.losses.base import Pair, inside


@dataclass(frozen=True)
class BCE(Pair):
    r"""Binary cross entropy, the loss of a classifier whose logit is the log ratio.

    .. math::

        \max_d\; \mathbb{E}_p \log \sigma(d) + \mathbb{E}_q \log \sigma(-d)
        = 2\, \mathrm{JS} - 2 \log 2 ,
        \qquad
        \log r = d ,

    with the target p, the current distribution q, the ratio :math:`r = p / q` and the logistic
    function :math:`\sigma`; JS is half of :math:`\mathrm{KL}(p \,\|\, m) + \mathrm{KL}(q \,\|\, m)`
    with :math:`m = (p + q) / 2`. It is the loss of the first GAN and of logistic regression. A
    point on the wrong side costs about |d|, so that outliers do little harm: take it unless there
    is a reason against it. d may be any number.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Goodfellow et al. (2014).

    >>> pf.losses.BCE().objective(torch.zeros(3), torch.zeros(2))  # p = q: -2 log 2
    tensor(-1.3863)
    """

    largest: ClassVar[tuple[float, float]] = (2.0, -2 * math.log(2))

    def phi(self, d: Tensor) -> Tensor:
        return logsigmoid(d)

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.sigmoid(-d)

    def psi(self, d: Tensor) -> Tensor:
        return logsigmoid(-d)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.sigmoid(d)


@dataclass(frozen=True)
class LSGAN(Pair):
    r"""Least squares of a classifier with the labels a (fake) and b (real).

    .. math::

        \max_d\; -\tfrac12\, \mathbb{E}_p (d - b)^2 - \tfrac12\, \mathbb{E}_q (d - a)^2
        = -\frac{(b - a)^2}{2} \int \frac{p\, q}{p + q} ,

    .. math::

        r = \frac{d - a}{b - d} ,
        \qquad
        d = \frac{a + b\, r}{1 + r} ,

    with the target p, the current distribution q and the ratio :math:`r = p / q`. The ratio is
    known where d lies between the labels, and its logarithm is steep beside them: a d that is wrong
    by :math:`\varepsilon` there tells nothing of r. `constrain` and `inverse` are the same map,
    :math:`u \mapsto a + (b - a)\, \sigma(u)`.

    Parameters
    ----------
    fake : float
        a, the label of current points.
    real : float
        b, the label of target points, other than a.

    Raises
    ------
    TypeError
        A label is no number.
    ValueError
        The labels are equal, or one is infinite or NaN.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Mao et al. (2017).

    >>> half = pf.losses.LSGAN().inverse(torch.zeros(3))  # log r = 0
    >>> half
    tensor([0.5000, 0.5000, 0.5000])
    >>> pf.losses.LSGAN().objective(half, half[:2])  # p = q: -1/4
    tensor(-0.2500)
    """

    fake: float = 0.0
    real: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fake", "real"):
            object.__setattr__(self, name, _checks.real(getattr(self, name), name))
        if self.fake == self.real:
            raise ValueError(
                f"`fake` and `real` must differ, got {self.fake:g} twice: equal labels tell nothing"
                " apart; take LSGAN(0, 1)"
            )

    # computed from the labels, where the other losses have a constant
    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        """The open interval between the labels, where 0 < r < inf."""
        return min(self.fake, self.real), max(self.fake, self.real)

    def phi(self, d: Tensor) -> Tensor:
        return -0.5 * (d - self.real) ** 2

    def phi_slope(self, d: Tensor) -> Tensor:
        return self.real - d

    def psi(self, d: Tensor) -> Tensor:
        return -0.5 * (d - self.fake) ** 2

    def psi_slope(self, d: Tensor) -> Tensor:
        return self.fake - d

    def ratio(self, d: Tensor) -> Tensor:
        return (d - self.fake) / (self.real - d)

    def log_ratio(self, d: Tensor) -> Tensor:
        return torch.log(self.ratio(d))

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 1 / (d - self.fake) + 1 / (self.real - d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        width = self.real - self.fake
        d = torch.where(
            log_ratio < 0,
            self.fake + width * torch.sigmoid(log_ratio),
            self.real - width * torch.sigmoid(-log_ratio),
        )
        return inside(d, self.domain)

    def constrain(self, u: Tensor) -> Tensor:
        return self.inverse(u)

    def optimum(self, overlap: float) -> float:
        r"""The largest J, from the overlap of target and current.

        Parameters
        ----------
        overlap : float
            :math:`\int p q / (p + q)`, between 0 and 1/2, which is its value where p = q.

        Returns
        -------
        float
            :math:`-\frac12 (b - a)^2` times the overlap.
        """
        return -0.5 * (self.real - self.fake) ** 2 * overlap


@dataclass(frozen=True)
class Exponential(Pair):
    r"""The loss of boosting, whose classifier is half of the log ratio.

    .. math::

        \max_d\; -\mathbb{E}_p\, e^{-d} - \mathbb{E}_q\, e^d
        = -2 \int \sqrt{p\, q} = 2 H^2 - 2 ,
        \qquad
        \log r = 2 d ,

    with the target p, the current distribution q, the ratio :math:`r = p / q` and the squared
    Hellinger distance :math:`H^2`. A point on the wrong side counts exponentially: outliers weigh
    more than with `BCE`.

    Cost: O(1) a number; O(N + M) for `objective`.

    Source: Friedman, Hastie and Tibshirani (2000).

    >>> loss = pf.losses.Exponential()
    >>> r = torch.tensor([0.5, 1.5])  # p = (1/4, 3/4) and q = (1/2, 1/2)
    >>> d = loss.inverse(r.log())
    >>> loss.objective(d, d, target_weights=r / 2)  # 2 H^2 - 2
    tensor(-1.9319)
    """

    largest: ClassVar[tuple[float, float]] = (2.0, -2.0)

    def phi(self, d: Tensor) -> Tensor:
        return -torch.exp(-d)

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.exp(-d)

    def psi(self, d: Tensor) -> Tensor:
        return -torch.exp(d)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.exp(d)

    def log_ratio(self, d: Tensor) -> Tensor:
        return 2 * d

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return torch.full_like(d, 2.0)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return log_ratio / 2
