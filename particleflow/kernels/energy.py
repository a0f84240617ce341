"""Define the kernel of the energy distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels.contract import COINCIDENT
from particleflow.kernels.facts import Array, ExponentialTail, Facts, KeOpsFormula, Profile


def _odd(c: float, r: Array) -> tuple[Array, Array, Array]:
    return -r, -np.ones_like(r), np.zeros_like(r)


@dataclass(frozen=True)
class Energy:
    """k = -|z - y|, the kernel of the energy distance, without a bandwidth.

    The kernel is conditionally positive definite. Its MMD^2 is the energy distance
    2 E|X-Y| - E|X-X'| - E|Y-Y'|. Particles that coincide feel no force from each other and never
    separate: start them distinct.
    """

    facts: ClassVar[Facts] = Facts(
        kinked=True,
        tail=ExponentialTail(1.0, (0.0, -1.0), _odd, decay=False),
        cost=0.85,
        freedom=None,
        profile=Profile(
            1.0,
            None,
            lambda p: p.r,
            lambda p: p.inverse,
            lambda p: p.inverse * p.q.where(">", p.cut, p.d - 1.0, p.d),
            (-1.0, 1.0, -1.0),
        ),
        keops=KeOpsFormula(1, "IntCst(1)", "(-{r})", "{i}", "({s}*{i}*{i}-{d})*{i}"),
    )

    def profile(self, s: Tensor) -> Tensor:
        return -s.sqrt()

    def slope(self, s: Tensor) -> Tensor:
        return -0.5 * s.clamp_min(COINCIDENT**2).rsqrt()

    def curvature(self, s: Tensor) -> Tensor:
        return (0.25 * s.clamp_min(COINCIDENT**2) ** -1.5).masked_fill(s <= COINCIDENT**2, 0.0)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        inverse = s.clamp_min(COINCIDENT**2).rsqrt()
        return inverse * torch.where(s > COINCIDENT**2, 1.0 - d, -1.0 * d)
