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
    r"""The Cauchy kernel, the rational quadratic of exponent 1, which t-SNE uses as similarity.

    .. math::

        k(z, y) = \left( 1 + \frac{|z - y|^2}{\ell^2} \right)^{-1} ,
        \qquad
        \nabla_z k = -\frac{2 (z - y)}{\ell^2}\, k^2 .

    :math:`\ell` is the bandwidth. The kernel is smooth everywhere. It is a mixture of Gaussians
    whose 1 / bandwidth^2 is exponentially distributed, hence positive definite in every dimension.
    Far away :math:`k \approx \ell^2 / |z - y|^2`: the tail is lighter than that of `IMQ` and
    heavier than any exponential.

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

    Cost: O(d) a pair, O(Q N d) for exact sums; `pf.pairwise` sums many points in O(Q + N).

    Source: Rasmussen and Williams (2006), equation 4.19 with alpha = 1 and bandwidth^2 = 2 alpha
    l^2.

    >>> kernel = pf.kernels.Cauchy(1.0)
    >>> kernel.profile(torch.tensor([0.0, 1.0, 9.0]))  # of the squared distance s
    tensor([1.0000, 0.5000, 0.1000])
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
