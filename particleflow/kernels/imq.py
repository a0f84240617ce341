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
    r"""The inverse multiquadric kernel, whose heavy tail pulls over long distances.

    .. math::

        k(z, y) = \left( 1 + \frac{|z - y|^2}{\ell^2} \right)^{-1/2} ,
        \qquad
        \nabla_z k = -\frac{z - y}{\ell^2}\, k^3 .

    :math:`\ell` is the bandwidth. The kernel is smooth everywhere, and positive definite in every
    dimension. Far away :math:`k \approx \ell / |z - y|` and the force falls as
    :math:`\ell / |z - y|^2`, where that of a Gaussian vanishes: a cloud that starts many bandwidths
    away still feels the target. The price is less detail near the target. No pair may be left out,
    so that `Culled` refuses it.

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

    Source: Gorham and Mackey (2017), with the exponent -1/2.

    >>> kernel = pf.kernels.IMQ(1.0)
    >>> kernel.profile(torch.tensor([0.0, 3.0, 99.0]))  # of the squared distance s
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
