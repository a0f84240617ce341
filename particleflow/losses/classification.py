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
    """phi = log sig(d), psi = log sig(-d): binary cross entropy with the logit d = log r.

    It is the loss of the first GAN. Largest J: 2 JS - 2 log 2, JS = (KL(p || m) + KL(q || m)) / 2,
    m = (p + q) / 2.

    Source: Goodfellow et al. (2014).
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
    """phi = -(d - b)^2 / 2, psi = -(d - a)^2 / 2: least squares with labels a = fake, b = real.

    r = (d - a) / (b - d) between the labels, and the optimum is d = (a + b r) / (1 + r). Largest J:
    -(b - a)^2 / 2 int pq / (p + q). `constrain` and `inverse` are the same map, a + (b - a) sig(u).

    Source: Mao et al. (2017).
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
        """The largest J, from overlap = int pq / (p + q), which is 1/2 where p = q."""
        return -0.5 * (self.real - self.fake) ** 2 * overlap


@dataclass(frozen=True)
class Exponential(Pair):
    """phi = -e^{-d}, psi = -e^d: boosting's loss. log r = 2 d.

    Largest J: 2 H^2 - 2 = -2 int sqrt(pq).
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
