"""Define the Gaussian kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels.facts import LN2, Facts, GaussianTail, KeOpsFormula, Profile
from particleflow.kernels.scaled import Scaled

# Scaled points are u = _LENGTH x / bandwidth, no unit: then s / (2 bandwidth^2) = q ln 2.
_LENGTH = math.sqrt(0.5 / LN2)


@dataclass(frozen=True)
class Gaussian(Scaled):
    """k = exp(-|z - y|^2 / (2 bandwidth^2)), also called RBF or squared exponential.

    `from_denominator`, `from_variance` and `from_gamma` convert the literature's other units.

    >>> round(Gaussian.from_denominator(0.1).bandwidth ** 2, 12)
    0.05
    """

    facts: ClassVar[Facts] = Facts(
        kinked=False,
        tail=GaussianTail(),
        cost=1.0,
        freedom=math.inf,
        profile=Profile(
            _LENGTH,
            lambda p: p.q,
            lambda p: p.decay,
            lambda p: p.decay,
            lambda p: p.decay * (p.q * (2 * LN2) - p.d),
            (1.0, 1 / _LENGTH, 1.0),
        ),
        keops=KeOpsFormula(
            1,
            "Exp(-{s}*IntInv(2))",
            "IntCst(1)",
            "IntCst(1)",
            "({s}-{d})",
            "(-{s}*IntInv(2))",
            "IntCst(1)",
        ),
    )

    @classmethod
    def from_denominator(cls, sigma: float) -> Gaussian:
        """Return exp(-|z - y|^2 / sigma): bandwidth = sqrt(sigma / 2)."""
        return cls(math.sqrt(_checks.positive(sigma, "sigma") / 2))

    @classmethod
    def from_variance(cls, variance: float) -> Gaussian:
        """Return exp(-|z - y|^2 / (2 variance)): bandwidth = sqrt(variance)."""
        return cls(math.sqrt(_checks.positive(variance, "variance")))

    @classmethod
    def from_gamma(cls, gamma: float) -> Gaussian:
        """Return exp(-gamma |z - y|^2), scikit-learn's unit: bandwidth = 1 / sqrt(2 gamma)."""
        return cls(1 / math.sqrt(2 * _checks.positive(gamma, "gamma")))

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp_()

    def slope(self, s: Tensor) -> Tensor:
        return self.profile(s).mul_(-0.5 / self.bandwidth**2)

    def curvature(self, s: Tensor) -> Tensor:
        return self.profile(s).mul_(0.25 / self.bandwidth**4)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        q = self._squared(s)
        return torch.exp(-0.5 * q) * (q - d) / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        return s * (-0.5 / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return torch.full_like(s, -0.5 / self.bandwidth**2)

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        """int k(x) e^{-i omega x} dx = (2 pi)^{d/2} bandwidth^d exp(-bandwidth^2 omega^2 / 2)."""
        return (
            (2 * math.pi) ** (d / 2)
            * self.bandwidth**d
            * torch.exp(-0.5 * self.bandwidth**2 * omega2)
        )

    def smoothed(self, beta: float, d: int) -> tuple[float, Gaussian]:
        """Return (factor, kernel) of E k(z + beta u, y) = factor * kernel, u ~ N(0, I_d).

        The factor is (l^2 / (l^2 + beta^2))^{d/2}, the new bandwidth sqrt(l^2 + beta^2). Noise
        injection has this mean effect on the witness (Arbel et al. 2019).
        """
        total = self.bandwidth**2 + beta**2
        return (self.bandwidth**2 / total) ** (d / 2), Gaussian(math.sqrt(total))
