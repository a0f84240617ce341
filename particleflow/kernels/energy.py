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
    r"""The kernel of the energy distance, which has no bandwidth.

    .. math::

        k(z, y) = -\left| z - y \right| ,
        \qquad
        \nabla_z k = -\frac{z - y}{|z - y|} ,
        \qquad
        \hat k(\omega) = \frac{(2 \pi)^d\, \Gamma\left( \frac{d+1}{2} \right)}
        {\pi^{(d+1)/2}\, \left| \omega \right|^{d+1}} \quad (\omega \ne 0) ,

    .. math::

        \mathrm{MMD}^2 = 2\, \mathbb{E} \left| X - Y \right|
        - \mathbb{E} \left| X - X' \right| - \mathbb{E} \left| Y - Y' \right| ,

    the energy distance. The kernel is conditionally positive definite: MMD is a distance between
    clouds of equal mass only. The force of a pair has size one at any distance, so that a flow
    arrives from everywhere, with no length to choose. k has a kink at :math:`z = y`: the force
    jumps there. Particles that coincide feel no force from each other and never separate: start
    them distinct.

    The logarithm of its sums does not exist, since k is negative: it serves no density estimate.

    Cost: O(d) a pair, O(Q N d) for exact sums; O((N + Q) log N) on the line, where points are
    sorted.

    Source: Szekely and Rizzo (2013); as an MMD: Sejdinovic, Sriperumbudur, Gretton and Fukumizu
    (2013).

    >>> energy = pf.metrics.MMD2(pf.kernels.Energy())
    >>> x, y = torch.tensor([[0.0]]), torch.tensor([[1.0], [3.0]])
    >>> energy(x, y)  # 2 (1 + 3) / 2 - 0 - (2 + 2) / 4
    3.0
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
