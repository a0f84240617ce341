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
    r"""The Laplace kernel, which is the Matern kernel of order 1/2.

    .. math::

        k(z, y) = \exp\left( -\frac{|z - y|}{\ell} \right) ,
        \qquad
        \nabla_z k = -\frac{1}{\ell}\, \frac{z - y}{|z - y|}\, k ,

    .. math::

        \hat k(\omega) = 2^d \pi^{(d-1)/2}\, \Gamma\left( \tfrac{d+1}{2} \right)
        \frac{1}{\ell} \left( \frac{1}{\ell^2} + \left| \omega \right|^2 \right)^{-(d+1)/2} .

    :math:`\ell` is the bandwidth. k has a kink at :math:`z = y`: the force jumps there from
    :math:`1 / \ell` to its opposite, and is zero between points that coincide. A particle that
    meets a point of the target hops over it, to and fro. The kernel resolves finer detail than
    `Gaussian`, since its spectrum falls as a power. `Mesh` and `Nystroem` refuse it.

    Parameters
    ----------
    bandwidth : float
        The length :math:`\ell`, in units of the coordinates, > 0. There is no default:
        `default_bandwidth` chooses one from the target.

    Raises
    ------
    TypeError
        `bandwidth` is missing or is no number.
    ValueError
        `bandwidth` is not positive and finite, or its square leaves float64 (below 1e-100 or above
        1e100).

    Cost: O(d) a pair, O(Q N d) for exact sums; O((N + Q) log N) on the line, where points are
    sorted.

    Source: Rasmussen and Williams (2006), section 4.2.1.

    >>> kernel = pf.kernels.Laplace(2.0)
    >>> kernel.profile(torch.tensor([0.0, 2.0, 4.0]) ** 2)  # 1, e^-1, e^-2
    tensor([1.0000, 0.3679, 0.1353])
    """

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
        """The Fourier transform of k at |omega|^2 = omega2 in R^d, elementwise."""
        return matern_spectrum(0.5, self.bandwidth, omega2, d)
