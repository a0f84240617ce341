"""Mobilities with a name: closed forms of h, h', h'' and f."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from particleflow import _checks
from particleflow.mobilities.base import refuse_or_warn


@dataclass(frozen=True)
class Linear:
    r"""The mobility of a multiple of the reverse KL divergence: a constant slope.

    .. math::

        h(d) = c\, d , \qquad h'(d) = c , \qquad f(r) = -c \log r , \qquad
        D = c\, \mathrm{KL}(q \,\|\, p) .

    :math:`d = \log r` is the log ratio of target p and current q, and :math:`h' = r^2 f''`. The
    flow is that of `Unit` with the time scaled by c. It is the one shape that serves on a potential
    (MMD, Langevin), where the size of the witness means nothing.

    Parameters
    ----------
    factor : float
        c > 0, by which all velocities are multiplied.

    Raises
    ------
    TypeError
        `factor` is no number.
    ValueError
        `factor` is not positive and finite.

    Cost: O(1) a particle.

    Source: Yi, Zhu and Liu (2023).

    >>> d = torch.tensor([-1.0, 2.0])
    >>> pf.mobilities.Linear(3.0).h(d), pf.mobilities.Linear(3.0).slope(d)
    (tensor([-3.,  6.]), tensor([3., 3.]))
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _checks.positive(self.factor, "factor"))

    def h(self, d: Tensor) -> Tensor:
        return self.factor * d

    def slope(self, d: Tensor) -> Tensor:
        return torch.full_like(d, self.factor)

    def curvature(self, d: Tensor) -> Tensor:
        return torch.zeros_like(d)

    def f(self, r: Tensor) -> Tensor:
        return -self.factor * torch.log(r)


@dataclass(frozen=True)
class Unit(Linear):
    r"""The mobility of the reverse KL divergence; on a potential, plain ascent.

    .. math::

        h(d) = d , \qquad h'(d) = 1 , \qquad f(r) = -\log r , \qquad
        D = \mathrm{KL}(q \,\|\, p) .

    :math:`d = \log r` is the log ratio of target p and current q. On a log ratio the velocity is
    :math:`\nabla \log r`, and the particles have at each time the distribution of Langevin
    dynamics. In GANs it is the "logit" loss of the generator. It is the default of `pf.mono_flow`,
    and what the flows on a potential take.

    Cost: O(1) a particle.

    Source: Yi, Zhu and Liu (2023).

    >>> pf.mobilities.Unit().slope(torch.tensor([-40.0, 0.0, 40.0]))
    tensor([1., 1., 1.])
    """

    factor: float = field(default=1.0, init=False)


@dataclass(frozen=True)
class Exponential:
    r"""The mobilities of a power of the ratio, with maximum likelihood and chi^2 among them.

    .. math::

        h(d) = e^{\alpha d} = r^{\alpha} , \qquad h'(d) = \alpha\, e^{\alpha d} ,

    .. math::

        f(r) = \frac{r^{\alpha} - 1 - \alpha (r - 1)}{\alpha - 1} ,
        \qquad f(r) = r \log r \text{ for } \alpha = 1 .

    :math:`d = \log r` is the log ratio of target p and current q. :math:`\alpha = 1` is maximum
    likelihood, :math:`D = \mathrm{KL}(p \,\|\, q)`; :math:`\alpha = 2` is
    :math:`\chi^2(p \,\|\, q)`; :math:`\alpha = \frac12` is twice the squared Hellinger distance.
    The speed is that of `Unit` times :math:`\alpha r^{\alpha}`: particles move fast where the
    target is dense and they are few, and hardly at all far from the target. Expect small steps for
    a large :math:`\alpha`.

    Parameters
    ----------
    alpha : float
        :math:`\alpha > 0`. For :math:`\alpha \to 0` take `Unit`.

    Raises
    ------
    TypeError
        `alpha` is no number.
    ValueError
        `alpha` is not positive and finite.

    Cost: O(1) a particle.

    Source: Yi, Zhu and Liu (2023).

    >>> d = torch.log(torch.tensor([0.5, 1.0, 2.0]))
    >>> pf.mobilities.Exponential(2).h(d)  # r^2
    tensor([0.2500, 1.0000, 4.0000])
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        remedy = "a monotone h needs alpha > 0; for alpha -> 0 use Unit()"
        object.__setattr__(self, "alpha", _checks.positive(self.alpha, "alpha", remedy=remedy))

    def h(self, d: Tensor) -> Tensor:
        return torch.exp(self.alpha * d)

    def slope(self, d: Tensor) -> Tensor:
        return self.alpha * torch.exp(self.alpha * d)

    def curvature(self, d: Tensor) -> Tensor:
        return self.alpha**2 * torch.exp(self.alpha * d)

    def f(self, r: Tensor) -> Tensor:
        if self.alpha == 1:
            return torch.xlogy(r, r)
        return (r**self.alpha - 1 - self.alpha * (r - 1)) / (self.alpha - 1)


@dataclass(frozen=True)
class Vanilla:
    r"""The mobility of the vanilla GAN loss, with a shift that keeps it alive far away.

    .. math::

        h(d) = \log(1 + e^{d + C}) , \qquad h'(d) = \sigma(d + C) ,

    .. math::

        f(r) = c\, r \log r - (1 + c r) \log \frac{1 + c r}{1 + c} , \qquad c = e^C .

    :math:`d = \log r` is the log ratio of target p and current q, :math:`\sigma` the logistic
    function and C the shift. Without a shift :math:`D = 2\, \mathrm{JS}`; else it is :math:`1 + c`
    times the skewed Jensen-Shannon divergence of weight :math:`c / (1 + c)`. Far from the target,
    where :math:`d \ll -C`, the slope vanishes as :math:`e^{d + C}`: the vanishing gradient of GANs.
    From N(4, 1) to N(0, 1) the cloud's mean starts with the speed 0.0013, and with 0.19 for C = 5.

    Parameters
    ----------
    shift : float
        C, finite. 0 is the loss of the first GAN.

    Raises
    ------
    TypeError
        `shift` is no number.
    ValueError
        `shift` is infinite or NaN.

    Cost: O(1) a particle.

    Source: Goodfellow et al. (2014); as a flow, and the shift: Yi, Zhu and Liu (2023).

    >>> d = torch.tensor([-5.0, 0.0])
    >>> pf.mobilities.Vanilla().slope(d), pf.mobilities.Vanilla(5).slope(d)
    (tensor([0.0067, 0.5000]), tensor([0.5000, 0.9933]))
    """

    shift: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", _checks.real(self.shift, "shift"))

    def h(self, d: Tensor) -> Tensor:
        return -logsigmoid(-d - self.shift)  # torch's softplus drops e^-d beyond 20

    def slope(self, d: Tensor) -> Tensor:
        return torch.sigmoid(d + self.shift)

    def curvature(self, d: Tensor) -> Tensor:
        return torch.sigmoid(d + self.shift) * torch.sigmoid(-d - self.shift)

    def f(self, r: Tensor) -> Tensor:
        c = math.exp(self.shift)
        return c * torch.xlogy(r, r) - (1 + c * r) * torch.log((1 + c * r) / (1 + c))


@dataclass(frozen=True)
class NonSaturating:
    r"""The mobility of the non-saturating GAN loss.

    .. math::

        h(d) = \log \sigma(d) , \qquad h'(d) = \sigma(-d) ,

    .. math::

        f(r) = -\log r - r \log r + (1 + r) \log \frac{1 + r}{2} ,
        \qquad
        D = \mathrm{KL}(q \,\|\, p) - 2\, \mathrm{JS} .

    :math:`d = \log r` is the log ratio of target p and current q, and :math:`\sigma` the logistic
    function. Far from the target the slope is 1, as that of `Unit`. Where the target is denser than
    the particles it falls as 1 / r, so that they settle slowly there.

    Cost: O(1) a particle.

    Source: Goodfellow et al. (2014); as a flow: Yi, Zhu and Liu (2023).

    >>> pf.mobilities.NonSaturating().slope(torch.tensor([-40.0, 0.0]))
    tensor([1.0000, 0.5000])
    """

    def h(self, d: Tensor) -> Tensor:
        return logsigmoid(d)

    def slope(self, d: Tensor) -> Tensor:
        return torch.sigmoid(-d)

    def curvature(self, d: Tensor) -> Tensor:
        return -torch.sigmoid(d) * torch.sigmoid(-d)

    def f(self, r: Tensor) -> Tensor:
        return -torch.log(r) - torch.xlogy(r, r) + (1 + r) * torch.log((1 + r) / 2)


@dataclass(frozen=True)
class Arcsinh:
    r"""The mobility of arcsinh, which tames large ratios on both sides.

    .. math::

        h(d) = \operatorname{arcsinh} d , \qquad h'(d) = \frac{1}{\sqrt{1 + d^2}} ,
        \qquad
        f(r) = r \int_0^{\log r} \operatorname{arcsinh}(u)\, e^{-u}\, du .

    :math:`d = \log r` is the log ratio of target p and current q. The divergence is no standard
    one. The slope falls as :math:`1 / |d|`, where that of `Vanilla` falls exponentially: errors of
    a large log ratio count little, and far particles still move. `f` takes a Gauss-Legendre
    quadrature of 64 nodes, whose error is 1e-14 for :math:`|\log r| \le 5`.

    Cost: O(1) a particle; 64 times that for `f`.

    Source: Yi, Zhu and Liu (2023), who admit any increasing h.

    >>> pf.mobilities.Arcsinh().slope(torch.tensor([0.0, 0.75]))  # 1, 1 / 1.25
    tensor([1.0000, 0.8000])
    """

    def h(self, d: Tensor) -> Tensor:
        return torch.asinh(d)

    def slope(self, d: Tensor) -> Tensor:
        return torch.rsqrt(1 + d**2)

    def curvature(self, d: Tensor) -> Tensor:
        return -d * (1 + d**2) ** -1.5

    def f(self, r: Tensor) -> Tensor:
        nodes, weights = (
            torch.as_tensor(a, dtype=r.dtype, device=r.device)
            for a in np.polynomial.legendre.leggauss(64)
        )
        half = 0.5 * torch.log(r)[..., None]
        u = half * (1 + nodes)
        return r * (half * weights * torch.asinh(u) * torch.exp(-u)).sum(-1)


@dataclass(frozen=True)
class LSGAN:
    r"""The mobility of a least-squares GAN.

    .. math::

        h(d) = -\tfrac12 (D - c)^2 , \qquad D = \frac{a + b\, r}{1 + r} ,
        \qquad
        h'(d) = \frac{(c - D)(b - a)\, r}{(1 + r)^2} .

    D is the best least-squares critic of the labels a (fake) and b (real), a generator wants the
    label c, and :math:`r = e^d` is the ratio of target and current. `f` gives the divergence's f
    with :math:`f(1) = f'(1) = 0`. :math:`h'` is positive everywhere unless c lies on a's side of b.
    In the coding (a, b, c) = (0, 1, 1) it is :math:`r / (1 + r)^3`: h increases, but slowly, on
    both sides. In the coding (-1, 1, 0) its sign flips at :math:`r = 1`, which is no MonoFlow and
    is refused.

    Parameters
    ----------
    fake : float
        a, the label of current points.
    real : float
        b, the label of target points, other than a.
    aim : float
        c, the label that particles want: b, or beyond b as seen from a.
    allow_nonmonotone : bool
        True: an h that does not increase is run with a warning, to show what goes wrong.

    Raises
    ------
    TypeError
        A label is no number, or `allow_nonmonotone` no bool.
    ValueError
        `fake` equals `real`, a label is infinite or NaN, or h does not increase.

    Cost: O(1) a particle.

    Source: Mao et al. (2017).

    >>> pf.mobilities.LSGAN(0, 1, 1).slope(torch.tensor([0.0]))  # 1 / 2^3
    tensor([0.1250])
    """

    fake: float = 0.0
    real: float = 1.0
    aim: float = 1.0
    allow_nonmonotone: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("fake", "real", "aim"):
            object.__setattr__(self, name, _checks.real(getattr(self, name), name))
        _checks.flag(self.allow_nonmonotone, "allow_nonmonotone")
        a, b, c = self.fake, self.real, self.aim
        if a == b:
            raise ValueError(
                f"`fake` and `real` must differ, got {a:g} twice: equal labels tell nothing apart;"
                " take LSGAN(0, 1, 1)"
            )
        if (c - b) * (b - a) < 0:
            inside = (c - a) * (b - a) > 0
            where = (
                f"h' < 0 for d > {math.log((c - a) / (b - c)):.3g}"
                if inside
                else "h' < 0 for every d"
            )
            refuse_or_warn(
                f"`aim` must be {'>=' if b > a else '<='} {b:g}, the label `real`, got {c:g}:"
                f" {where}",
                self.allow_nonmonotone,
            )

    def h(self, d: Tensor) -> Tensor:
        return -0.5 * self._missing(d) ** 2

    def slope(self, d: Tensor) -> Tensor:
        return (self.real - self.fake) * self._missing(d) * torch.sigmoid(d) * torch.sigmoid(-d)

    def curvature(self, d: Tensor) -> Tensor:
        up, down, width = torch.sigmoid(d), torch.sigmoid(-d), self.real - self.fake
        return width * up * down * ((down - up) * self._missing(d) - width * up * down)

    def f(self, r: Tensor) -> Tensor:
        """The f of the divergence, with f(1) = f'(1) = 0, elementwise in r > 0."""
        width, short = self.real - self.fake, self.aim - self.real
        log, rest = r * torch.log((1 + r) / (2 * r)), r - 1
        # r int_1^r h(s) / s^2 ds of the powers of 1 / (1 + s) in h, less h(1) (r - 1)
        first, second = rest + log, rest + 2 * log + r * rest / (2 * (1 + r))
        return 0.5 * (width * short * (rest - 2 * first) + width**2 * (rest / 4 - second))

    def _missing(self, d: Tensor) -> Tensor:
        """c - D, from the nearer of the two labels."""
        width = self.real - self.fake
        return (self.aim - self.real) + width * torch.sigmoid(-d)
