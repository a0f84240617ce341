"""Define the inverse multiquadric kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from particleflow.kernels.facts import Facts, KeOpsFormula, Pair, PowerLaw, Profile
from particleflow.kernels.scaled import Scaled


def _laplacian(p: Pair) -> Any:
    y = p.multiquadric
    return y * y * (y * y) * y * (p.q * 3.0 - (p.q + 1.0) * p.d)


@dataclass(frozen=True)
class IMQ(Scaled):
    """The inverse multiquadric kernel k = (1 + |z - y|^2 / bandwidth^2)^{-1/2}.

    The kernel has heavy tails: it pulls over long distances.
    """

    facts: ClassVar[Facts] = Facts(
        kinked=False,
        tail=PowerLaw(),
        cost=0.85,
        freedom=None,
        profile=Profile(
            1.0,
            None,
            lambda p: p.multiquadric,
            lambda p: p.multiquadric * p.multiquadric * p.multiquadric,
            _laplacian,
            (1.0, 1.0, 1.0),
        ),
        keops=KeOpsFormula(
            1,
            "Rsqrt(1+{s})",
            "IntCst(1)",
            "Inv(1+{s})",
            "(3*{s}*Inv(1+{s})-{d})*Inv(1+{s})",
            "(-Log(1+{s})*IntInv(2))",
            "Inv(1+{s})",
        ),
    )

    def profile(self, s: Tensor) -> Tensor:
        return self._q(s).rsqrt()

    def slope(self, s: Tensor) -> Tensor:
        return -0.5 / self.bandwidth**2 * self._q(s) ** -1.5

    def curvature(self, s: Tensor) -> Tensor:
        return 0.75 / self.bandwidth**4 * self._q(s) ** -2.5

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        q = self._q(s)
        return (3 - d - 3 / q) * q**-1.5 / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        return -0.5 * torch.log1p(s / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return -0.5 / (self.bandwidth**2 * self._q(s))

    def _q(self, s: Tensor) -> Tensor:
        return 1 + s / self.bandwidth**2
