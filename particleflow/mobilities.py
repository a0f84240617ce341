"""Rescalings h of the log density ratio d = log r, r = target / current.

A MonoFlow moves particles with v = h'(d) grad d. Each h belongs to an f-divergence D_f = int q f(p/q), with

    h = r f' - f + const,        r^2 f'' = h'                                      (Yi, Zhu and Liu 2023)

so that the Wasserstein gradient flow of D_f is the MonoFlow of h. Here `h` is h, `slope` h', `curvature` h'' (of d) and `f` is f (of r).

On a witness that is a potential, not a log ratio (MMD, Langevin), only a constant slope has a meaning: `Unit` and `Linear`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from particleflow import _checks


@runtime_checkable
class Mobility(Protocol):
    """h and its derivatives, elementwise in d = log r."""

    def h(self, d: Tensor) -> Tensor: ...
    def slope(self, d: Tensor) -> Tensor: ...
    def curvature(self, d: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Linear:
    """h(d) = factor d: the flow of factor KL(current || target), factor = 1 being the "logit" trick of GANs.

    f(r) = -factor log r.
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
    """h(d) = e^{alpha d}: alpha = 1 maximum likelihood (KL(target || current)), 2 chi^2(target || current), 1/2 twice the squared Hellinger distance.

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
    """h(d) = softplus(d + shift): the vanilla GAN loss; shift > 0 is the shift trick that keeps the slope alive far away.

    shift = 0 is 2 JS; with c = e^shift the divergence is (1 + c) times the skewed Jensen-Shannon divergence of weight c / (1 + c):
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
    """h(d) = arcsinh d: tames large ratios on both sides; no standard divergence.

    f(r) = r int_0^{log r} arcsinh(u) e^{-u} du, here by Gauss-Legendre quadrature of 64 nodes (1e-14 for |log r| <= 5).
    """

    def h(self, d: Tensor) -> Tensor:
        return torch.asinh(d)

    def slope(self, d: Tensor) -> Tensor:
        return torch.rsqrt(1 + d**2)

    def curvature(self, d: Tensor) -> Tensor:
        return -d * (1 + d**2) ** -1.5

    def f(self, r: Tensor) -> Tensor:
        nodes, weights = (torch.as_tensor(a, dtype=r.dtype, device=r.device) for a in np.polynomial.legendre.leggauss(64))
        half = 0.5 * torch.log(r)[..., None]
        u = half * (1 + nodes)
        return r * (half * weights * torch.asinh(u) * torch.exp(-u)).sum(-1)
