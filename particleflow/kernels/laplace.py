"""Define the Laplace kernel, which is the Matern kernel of order 1/2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels.contract import COINCIDENT
from particleflow.kernels.facts import LN2, Array, ExponentialTail, Facts, KeOpsFormula, Profile
from particleflow.kernels.matern import matern_spectrum
from particleflow.kernels.scaled import Scaled


def _odd(c: float, r: Array) -> tuple[Array, Array, Array]:
    t = c * r
    sinh, cosh = np.sinh(t), np.cosh(t)
    return -sinh, -c * cosh, -(c**2) * sinh


@dataclass(frozen=True)
class Laplace(Scaled):
    """k = exp(-|z - y| / bandwidth)."""

    facts: ClassVar[Facts] = Facts(
        kinked=True,
        tail=ExponentialTail(1.0, (1.0,), _odd),
        cost=1.6,
        freedom=1,
        profile=Profile(
            1 / LN2,
            lambda p: p.r,
            lambda p: p.decay,
            lambda p: p.decay * p.inverse,
            # The laplacian of coincident points is 2 d slope, without the curvature.
            lambda p: (
                p.decay
                * p.q.where(
                    ">",
                    p.cut,
                    1.0 - (p.inverse * (1 / LN2)) * (p.d - 1.0),
                    p.inverse * (-1 / LN2) * p.d,
                )
            ),
            (1.0, 1.0, 1.0),
        ),
        keops=KeOpsFormula(
            1, "Exp(-{r})", "IntCst(1)", "{i}", "({s}*{i}*{i}*(1+{r})-{d})*{i}", "(-{r})", "{i}"
        ),
    )

    def profile(self, s: Tensor) -> Tensor:
        return torch.exp(-self._distance(s))

    def slope(self, s: Tensor) -> Tensor:
        return self.profile(s) * self.log_slope(s)

    def curvature(self, s: Tensor) -> Tensor:
        r = self._distance(s)
        bend = torch.exp(-r) * (1 + r) / (4 * self.bandwidth**4 * r**3)
        return bend.masked_fill(s <= (COINCIDENT * self.bandwidth) ** 2, 0.0)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        r = self._distance(s)
        apart = 1 - (d - 1) / r
        return (
            torch.exp(-r)
            * apart.where(s > (COINCIDENT * self.bandwidth) ** 2, -d / r)
            / self.bandwidth**2
        )

    def log_profile(self, s: Tensor) -> Tensor:
        return -self._distance(s)

    def log_slope(self, s: Tensor) -> Tensor:
        return -0.5 / (self.bandwidth**2 * self._distance(s))

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        return matern_spectrum(0.5, self.bandwidth, omega2, d)
