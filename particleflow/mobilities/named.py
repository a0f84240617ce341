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
    """h(d) = factor d: the flow of factor KL(current || target). f(r) = -factor log r.

    factor = 1 is the "logit" trick of GANs.
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


@dataclass(frozen=True, init=False)
class Unit(Linear):
    """h(d) = d: on a log ratio the reverse KL flow ("logit"); on a potential, plain ascent."""

    def __init__(self) -> None:
        super().__init__(1.0)


@dataclass(frozen=True)
class Exponential:
    """h(d) = e^{alpha d}, alpha > 0.

    alpha = 1 is maximum likelihood, KL(target || current). alpha = 2 is chi^2(target || current).
    alpha = 1/2 is twice the squared Hellinger distance.
    f(r) = (r^alpha - 1 - alpha (r - 1)) / (alpha - 1), and r log r for alpha = 1.
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
    """h(d) = softplus(d + shift): the vanilla GAN loss.

    shift > 0 keeps the slope alive far away. shift = 0 belongs to 2 JS. With c = e^shift the
    divergence is 1 + c times the skewed Jensen-Shannon divergence of weight c / (1 + c), and
    f(r) = c r log r - (1 + c r) log((1 + c r) / (1 + c)).
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
    """h(d) = log sigmoid(d): the non-saturating GAN loss, KL(current || target) - 2 JS.

    f(r) = -log r - r log r + (1 + r) log((1 + r) / 2).
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
    """h(d) = arcsinh d, which tames large ratios on both sides; no standard divergence.

    f(r) = r int_0^{log r} arcsinh(u) e^{-u} du, by Gauss-Legendre quadrature of 64 nodes. Its error
    is 1e-14 for |log r| <= 5.
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
    """h(d) = -(D - c)^2 / 2, D = (a + b r) / (1 + r): least squares, a = fake, b = real, c = aim.

    D is the best least-squares critic of the labels a and b, and a generator wants the label c.
    h' = (c - D) (b - a) r / (1 + r)^2 is positive everywhere unless c lies on a's side of b. In the
    coding (a, b, c) = (0, 1, 1) it is r / (1 + r)^3: h increases, but slowly. In the coding
    (-1, 1, 0) its sign flips at r = 1, which is no MonoFlow.

    Raises
    ------
    ValueError
        `fake` equals `real`. Or h does not increase; `allow_nonmonotone=True` makes a warning of
        it.
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
        """f(1) = f'(1) = 0."""
        width, short = self.real - self.fake, self.aim - self.real
        log, rest = r * torch.log((1 + r) / (2 * r)), r - 1
        # r int_1^r h(s) / s^2 ds of the powers of 1 / (1 + s) in h, less h(1) (r - 1)
        first, second = rest + log, rest + 2 * log + r * rest / (2 * (1 + r))
        return 0.5 * (width * short * (rest - 2 * first) + width**2 * (rest / 4 - second))

    def _missing(self, d: Tensor) -> Tensor:
        """c - D, from the nearer of the two labels."""
        width = self.real - self.fake
        return (self.aim - self.real) + width * torch.sigmoid(-d)
