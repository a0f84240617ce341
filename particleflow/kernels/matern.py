"""Define the Matern kernels of orders 3/2 and 5/2, and the spectrum of every order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels.facts import LN2, Array, ExponentialTail, Facts, KeOpsFormula, Profile
from particleflow.kernels.scaled import Scaled


def _odd_32(c: float, r: Array) -> tuple[Array, Array, Array]:
    t = c * r
    sinh, cosh = np.sinh(t), np.cosh(t)
    return t * cosh - sinh, c * t * sinh, c**2 * (sinh + t * cosh)


def _odd_52(c: float, r: Array) -> tuple[Array, Array, Array]:
    t = c * r
    sinh, cosh = np.sinh(t), np.cosh(t)
    third = (t * cosh - (1 + t**2 / 3) * sinh, t * sinh - t**2 * cosh, (1 - t**2) * sinh - t * cosh)
    return third[0], c / 3 * third[1], c**2 / 3 * third[2]


@dataclass(frozen=True)
class Matern32(Scaled):
    r"""The Matern kernel of order 3/2.

    .. math::

        k(z, y) = (1 + a)\, e^{-a} ,
        \qquad
        a = \frac{\sqrt{3}\, \left| z - y \right|}{\ell} ,
        \qquad
        \nabla_z k = -\frac{3}{\ell^2}\, (z - y)\, e^{-a} ,

    .. math::

        \hat k(\omega) \propto
        \left( \frac{3}{\ell^2} + \left| \omega \right|^2 \right)^{-(d+3)/2} .

    :math:`\ell` is the bandwidth. k has two continuous derivatives and no kink; its third
    derivative jumps at :math:`z = y`. It lies between `Laplace`, which has a kink, and `Matern52`,
    which is smoother: more detail than a Gaussian kernel, without hops of the particles.

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

    Source: Rasmussen and Williams (2006), equation 4.17; the spectrum, equation 4.15.

    >>> kernel = pf.kernels.Matern32(3**0.5)  # a is the distance
    >>> kernel.profile(torch.tensor([0.0, 1.0, 2.0]) ** 2)  # 1, 2/e, 3/e^2
    tensor([1.0000, 0.7358, 0.4060])
    """

    facts: ClassVar[Facts] = Facts(
        kinked=False,
        tail=ExponentialTail(math.sqrt(3), (1.0, 1.0), _odd_32),
        cost=1.4,
        freedom=3,
        profile=Profile(
            math.sqrt(3) * (1 / LN2),
            lambda p: p.r,
            lambda p: p.decay * (p.a + 1.0),
            lambda p: p.decay,
            lambda p: p.decay * (p.a - p.d),
            (1.0, math.sqrt(3) * LN2, 3.0),
        ),
        keops=KeOpsFormula(
            3**-0.5,
            "Exp(-{r})",
            "(1+{r})",
            "IntCst(1)",
            "({r}-{d})",
            "(Log(1+{r})-{r})",
            "Inv(1+{r})",
        ),
    )

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp()

    def slope(self, s: Tensor) -> Tensor:
        return -1.5 / self.bandwidth**2 * torch.exp(-self._a(s))

    def curvature(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return 2.25 / self.bandwidth**4 * torch.exp(-a) / a

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        a = self._a(s)
        return 3 * torch.exp(-a) * (a - d) / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return torch.log1p(a) - a

    def log_slope(self, s: Tensor) -> Tensor:
        return -1.5 / (self.bandwidth**2 * (1 + self._a(s)))

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        """The Fourier transform of k at |omega|^2 = omega2 in R^d, elementwise."""
        return matern_spectrum(1.5, self.bandwidth, omega2, d)

    def _a(self, s: Tensor) -> Tensor:
        return math.sqrt(3) * self._distance(s)


@dataclass(frozen=True)
class Matern52(Scaled):
    r"""The Matern kernel of order 5/2.

    .. math::

        k(z, y) = \left( 1 + a + \frac{a^2}{3} \right) e^{-a} ,
        \qquad
        a = \frac{\sqrt{5}\, \left| z - y \right|}{\ell} ,

    .. math::

        \nabla_z k = -\frac{5}{3 \ell^2}\, (z - y)\, (1 + a)\, e^{-a} ,
        \qquad
        \hat k(\omega) \propto
        \left( \frac{5}{\ell^2} + \left| \omega \right|^2 \right)^{-(d+5)/2} .

    :math:`\ell` is the bandwidth. k has four continuous derivatives and no kink. Its tail falls as
    :math:`a^2 e^{-a}`, more slowly than a Gaussian's, so that it pulls from farther away.

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

    Source: Rasmussen and Williams (2006), equation 4.17; the spectrum, equation 4.15.

    >>> kernel = pf.kernels.Matern52(5**0.5)  # a is the distance
    >>> kernel.profile(torch.tensor([0.0, 1.0, 3.0]) ** 2)  # 1, (7/3)/e, 7/e^3
    tensor([1.0000, 0.8584, 0.3485])
    """

    facts: ClassVar[Facts] = Facts(
        kinked=False,
        tail=ExponentialTail(math.sqrt(5), (1.0, 1.0, 1 / 3), _odd_52),
        cost=1.6,
        freedom=5,
        profile=Profile(
            math.sqrt(5) * (1 / LN2),
            lambda p: p.r,
            lambda p: p.decay * (p.a * (p.a * (1 / 3) + 1.0) + 1.0),
            lambda p: p.decay * (p.a + 1.0),
            lambda p: p.decay * (p.a * p.a - (p.a + 1.0) * p.d),
            (1.0, math.sqrt(5) * LN2 / 3, 5 / 3),
        ),
        keops=KeOpsFormula(
            5**-0.5,
            "Exp(-{r})",
            "(1+{r}+{s}*Inv(IntCst(3)))",
            "((1+{r})*Inv(IntCst(3)))",
            "(({s}-{d}*(1+{r}))*Inv(IntCst(3)))",
            "(Log(1+{r}+{s}*Inv(IntCst(3)))-{r})",
            "(1+{r})*Inv(3+3*{r}+{s})",
        ),
    )

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp()

    def slope(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return -5 / (6 * self.bandwidth**2) * (1 + a) * torch.exp(-a)

    def curvature(self, s: Tensor) -> Tensor:
        return 25 / (12 * self.bandwidth**4) * torch.exp(-self._a(s))

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        a = self._a(s)
        return 5 / 3 * torch.exp(-a) * (a**2 - d * (1 + a)) / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return torch.log1p(a + a**2 / 3) - a

    def log_slope(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return -5 / (6 * self.bandwidth**2) * (1 + a) / (1 + a + a**2 / 3)

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        """The Fourier transform of k at |omega|^2 = omega2 in R^d, elementwise."""
        return matern_spectrum(2.5, self.bandwidth, omega2, d)

    def _a(self, s: Tensor) -> Tensor:
        return math.sqrt(5) * self._distance(s)


def matern_spectrum(nu: float, bandwidth: float, omega2: Tensor, d: int) -> Tensor:
    r"""The spectrum of the Matern kernel of order nu in d dimensions.

    .. math::

        \hat k(\omega) = \frac{2^d \pi^{d/2}\, \Gamma(\nu + d/2)}{\Gamma(\nu)}
        \left( \frac{2 \nu}{\ell^2} \right)^{\nu}
        \left( \frac{2 \nu}{\ell^2} + \left| \omega \right|^2 \right)^{-(\nu + d/2)}

    Source: Rasmussen and Williams (2006), equation 4.15.
    """
    a = 2 * nu / bandwidth**2
    log_constant = (
        d * math.log(2)
        + 0.5 * d * math.log(math.pi)
        + math.lgamma(nu + d / 2)
        - math.lgamma(nu)
        + nu * math.log(a)
    )
    return math.exp(log_constant) * (a + omega2) ** -(nu + d / 2)
