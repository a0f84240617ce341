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
    r"""The Gaussian kernel, also called RBF or squared exponential.

    .. math::

        k(z, y) = \exp\left( -\frac{|z - y|^2}{2 \ell^2} \right) ,
        \qquad
        \nabla_z k = -\frac{z - y}{\ell^2}\, k ,

    .. math::

        \hat k(\omega) = (2 \pi)^{d/2}\, \ell^d\,
        \exp\left( -\tfrac12 \ell^2 \left| \omega \right|^2 \right) .

    :math:`\ell` is the bandwidth. The kernel is smooth everywhere, and positive definite in every
    dimension. The force is largest at one bandwidth, where it is :math:`e^{-1/2} / \ell`. At three
    bandwidths k is 1 %, and the force is 5 % of its largest value: a cloud that starts farther away
    may stall. Every backend sums it. The literature has other units of length, which
    `from_denominator`, `from_variance` and `from_gamma` convert.

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

    Source: Rasmussen and Williams (2006), equation 4.9.

    >>> kernel = pf.kernels.Gaussian(0.5)
    >>> kernel.profile(torch.tensor([0.0, 0.5, 1.0]) ** 2)  # 1, e^-1/2, e^-2
    tensor([1.0000, 0.6065, 0.1353])
    >>> round(pf.kernels.Gaussian.from_denominator(0.1).bandwidth ** 2, 12)
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
        """The kernel exp(-|z - y|^2 / sigma), so that bandwidth = sqrt(sigma / 2).

        Parameters
        ----------
        sigma : float
            The denominator, a squared length, > 0. The published KALE code has this unit.

        Raises
        ------
        TypeError
            `sigma` is no number.
        ValueError
            `sigma` is not positive and finite.
        """
        return cls(math.sqrt(_checks.positive(sigma, "sigma") / 2))

    @classmethod
    def from_variance(cls, variance: float) -> Gaussian:
        """The kernel exp(-|z - y|^2 / (2 variance)), so that bandwidth = sqrt(variance).

        Parameters
        ----------
        variance : float
            A squared length, > 0.

        Raises
        ------
        TypeError
            `variance` is no number.
        ValueError
            `variance` is not positive and finite.
        """
        return cls(math.sqrt(_checks.positive(variance, "variance")))

    @classmethod
    def from_gamma(cls, gamma: float) -> Gaussian:
        """The kernel exp(-gamma |z - y|^2), so that bandwidth = 1 / sqrt(2 gamma).

        Parameters
        ----------
        gamma : float
            An inverse squared length, > 0, as in scikit-learn.

        Raises
        ------
        TypeError
            `gamma` is no number.
        ValueError
            `gamma` is not positive and finite.
        """
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
        r"""The Fourier transform of k.

        .. math::

            \int k(x)\, e^{-i \omega \cdot x}\, dx
            = (2 \pi)^{d/2}\, \ell^d\, \exp\left( -\tfrac12 \ell^2 \left| \omega \right|^2 \right)

        Parameters
        ----------
        omega2 : tensor
            :math:`|\omega|^2`, of any shape, in units of 1 / bandwidth^2.
        d : int
            The number of coordinates.

        Returns
        -------
        tensor like omega2
            The transform, elementwise.
        """
        return (
            (2 * math.pi) ** (d / 2)
            * self.bandwidth**d
            * torch.exp(-0.5 * self.bandwidth**2 * omega2)
        )

    def smoothed(self, beta: float, d: int) -> tuple[float, Gaussian]:
        r"""The mean of the kernel over Gaussian noise on one side: a factor and a wider kernel.

        .. math::

            \mathbb{E}_u\, k(z + \beta u, y)
            = \left( \frac{\ell^2}{\ell^2 + \beta^2} \right)^{d/2}
            \exp\left( -\frac{|z - y|^2}{2 (\ell^2 + \beta^2)} \right) ,
            \qquad u \sim \mathcal{N}(0, I_d) .

        Noise injection has this mean effect on the witness (Arbel et al. 2019; theory page,
        equation 5).

        Parameters
        ----------
        beta : float
            The standard deviation of the noise, in units of the coordinates.
        d : int
            The number of coordinates.

        Returns
        -------
        factor : float
            What the kernel is multiplied by, at most 1.
        kernel : Gaussian
            The kernel with the bandwidth :math:`\sqrt{\ell^2 + \beta^2}`.

        >>> factor, wider = pf.kernels.Gaussian(3.0).smoothed(4.0, 2)
        >>> factor, wider.bandwidth
        (0.36, 5.0)
        """
        total = self.bandwidth**2 + beta**2
        return (self.bandwidth**2 / total) ** (d / 2), Gaussian(math.sqrt(total))
