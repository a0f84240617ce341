"""Define the Cauchy kernel, a rational quadratic of exponent 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from particleflow.kernels.facts import Facts, KeOpsFormula, PowerLaw, Profile
from particleflow.kernels.scaled import Scaled


@dataclass(frozen=True)
class Cauchy(Scaled):
    """k = 1 / (1 + |z - y|^2 / bandwidth^2), the rational quadratic of exponent 1.

    t-SNE uses this similarity. The tails are lighter than those of `IMQ` and heavier than any
    exponential. The kernel is a mixture of Gaussians whose 1 / bandwidth^2 is exponentially
    distributed (Rasmussen and Williams 2006, equation 4.19 with alpha = 1, bandwidth^2 =
    2 alpha l^2). It is therefore positive definite in every dimension.
    """

    facts: ClassVar[Facts] = Facts(
        kinked=False,
        tail=PowerLaw(),
        cost=0.85,
        freedom=None,
        profile=Profile(
            1.0,
            None,
            lambda p: p.multiquadric * p.multiquadric,
            lambda p: (p.multiquadric * p.multiquadric) * (p.multiquadric * p.multiquadric),
            lambda p: (
                (p.multiquadric * p.multiquadric)
                * (p.multiquadric * p.multiquadric)
                * (p.multiquadric * p.multiquadric)
                * (p.q * 4.0 - (p.q + 1.0) * p.d)
            ),
            (1.0, 2.0, 2.0),
        ),
        keops=KeOpsFormula(
            1,
            "Inv(1+{s})",
            "IntCst(1)",
            "(2*Inv(1+{s}))",
            "(8*{s}*Inv(1+{s})-2*{d})*Inv(1+{s})",
            "(-Log(1+{s}))",
            "(2*Inv(1+{s}))",
        ),
    )

    def profile(self, s: Tensor) -> Tensor:
        return 1 / self._q(s)

    def slope(self, s: Tensor) -> Tensor:
        return -1 / self.bandwidth**2 * self._q(s) ** -2.0

    def curvature(self, s: Tensor) -> Tensor:
        return 2 / self.bandwidth**4 * self._q(s) ** -3.0

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        q = self._q(s)
        return (8 - 2 * d - 8 / q) * q**-2.0 / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        return -torch.log1p(s / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return -1 / (self.bandwidth**2 * self._q(s))

    def _q(self, s: Tensor) -> Tensor:
        return 1 + s / self.bandwidth**2
