"""Losses that teach a function d the density ratio r = p / q = target / current (the r of
`mobilities`): maximise over d

    J(d) = E_p phi(d) + E_q psi(d)                   p the target, q the current law

p phi(d) + q psi(d) is largest where r = -psi'(d) / phi'(d), the link, an increasing or decreasing
function of d. Elementwise, in the dtype of d:

    phi, psi, phi_slope phi', psi_slope psi'         -inf where a logarithm or a pole ends them
    ratio r(d)                                       the formula, of any sign
    log_ratio log r(d), log_ratio_slope              on the open interval `domain`, where 0 < r < inf; log_ratio is NaN elsewhere
    inverse d(l)                                     the optimal d where log r = l
    f(r) = r phi(d) + psi(d)                         at the optimal d: the largest J is int q f(p / q), and `optimum` its closed form

A network's output u may be any number. `constrain(u)` maps it onto the domain, log r increasing in
u and d growing like u (the identity where the domain is the line); with `inverse(u)` for d instead,
u is log r itself, at the price of exponentials. grad log r = log_ratio_slope(d) grad d.

Sources: Goodfellow et al. 2014 (BCE), Mao et al. 2017 (LSGAN), Sugiyama et al. 2008 (KLIEP),
Nguyen, Wainwright and Jordan 2010 (NWJ), Belghazi et al. 2018 (Donsker-Varadhan), Kanamori, Hido
and Sugiyama 2009 (uLSIF), Nowozin, Cseke and Tomioka 2016 (Pearson, squared Hellinger, reverse KL).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from particleflow import _checks, _words

__getattr__ = _words.suggesting(__name__)
Weights: TypeAlias = Tensor | None
Pair = TypeVar("Pair", bound="_Pair")


@runtime_checkable
class Loss(Protocol):
    """phi, psi and their link, elementwise; `objective` is J on samples."""

    @property
    def domain(self) -> tuple[float, float]: ...
    def phi(self, d: Tensor) -> Tensor: ...
    def phi_slope(self, d: Tensor) -> Tensor: ...
    def psi(self, d: Tensor) -> Tensor: ...
    def psi_slope(self, d: Tensor) -> Tensor: ...
    def ratio(self, d: Tensor) -> Tensor: ...
    def log_ratio(self, d: Tensor) -> Tensor: ...
    def log_ratio_slope(self, d: Tensor) -> Tensor: ...
    def inverse(self, log_ratio: Tensor) -> Tensor: ...
    def constrain(self, u: Tensor) -> Tensor: ...
    def objective(
        self,
        target: Tensor,
        current: Tensor,
        *,
        target_weights: Weights = None,
        current_weights: Weights = None,
    ) -> Tensor: ...
    def normalised(self, current: Tensor, *, weights: Weights = None) -> Loss: ...


class _Pair(ABC):
    """phi = d and log r = d, where nothing else is said, and what follows from phi, psi, log r and
    the domain.
    """

    domain: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    largest: ClassVar[tuple[float, float]] = (1.0, 0.0)

    def phi(self, d: Tensor) -> Tensor:
        return d

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.ones_like(d)

    @abstractmethod
    def psi(self, d: Tensor) -> Tensor: ...

    def ratio(self, d: Tensor) -> Tensor:
        return torch.exp(self.log_ratio(d))

    def log_ratio(self, d: Tensor) -> Tensor:
        return d

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return torch.ones_like(d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return log_ratio

    def constrain(self, u: Tensor) -> Tensor:
        """R onto the domain: d = u; lower + softplus(u); upper - softplus(-u). Held one rounding
        inside, where its gradient is then 0.
        """
        lower, upper = self.domain
        if math.isfinite(lower):
            return _inside(lower - logsigmoid(-u), self.domain)
        return _inside(upper + logsigmoid(u), self.domain) if math.isfinite(upper) else u

    def objective(
        self,
        target: Tensor,
        current: Tensor,
        *,
        target_weights: Weights = None,
        current_weights: Weights = None,
    ) -> Tensor:
        """sum_j b_j phi(d(y_j)) + sum_i a_i psi(d(x_i)), a scalar, of target = d(y) (M,), current =
        d(x) (N,), weights (None: 1 / M, 1 / N).
        """
        return _mean(self.phi(target), target_weights) + _mean(self.psi(current), current_weights)

    def normalised(self: Pair, current: Tensor, *, weights: Weights = None) -> Pair:
        """The loss whose link holds, given d (N,) on the whole current cloud: this one, but for
        `DonskerVaradhan`.
        """
        return self

    def optimum(self, divergence: float) -> float:
        """The largest J, from the value of the divergence in which the class states it: a D + b,
        (a, b) = largest.
        """
        return self.largest[0] * divergence + self.largest[1]

    def f(self, r: Tensor) -> Tensor:
        """r phi(d) + psi(d) at the optimal d: convex in r; f(1) and f'(1) as they come."""
        d = self.inverse(torch.log(r))
        return r * self.phi(d) + self.psi(d)


class _Direct(_Pair):
    """r = d, d > 0."""

    domain: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def ratio(self, d: Tensor) -> Tensor:
        return d

    def log_ratio(self, d: Tensor) -> Tensor:
        return torch.log(d)

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 1 / d

    def inverse(self, log_ratio: Tensor) -> Tensor:
        numbers = torch.finfo(
            log_ratio.dtype
        )  # held before exp: beyond, exp's infinite slope times the clamp's 0 would be NaN
        return _inside(
            torch.exp(log_ratio.clamp(math.log(numbers.tiny), math.log(numbers.max) - 1e-3)),
            self.domain,
        )


@dataclass(frozen=True)
class BCE(_Pair):
    """phi = log sig(d), psi = log sig(-d): binary cross entropy with logit d, the vanilla GAN. log
    r = d.

    Largest J: 2 JS - 2 log 2, JS = (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2.
    """

    largest: ClassVar[tuple[float, float]] = (2.0, -2 * math.log(2))

    def phi(self, d: Tensor) -> Tensor:
        return logsigmoid(d)

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.sigmoid(-d)

    def psi(self, d: Tensor) -> Tensor:
        return logsigmoid(-d)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.sigmoid(d)


@dataclass(frozen=True)
class LSGAN(_Pair):
    """phi = -(d - real)^2 / 2, psi = -(d - fake)^2 / 2: least squares, with labels a = fake and b =
    real.

    r = (d - a) / (b - d), between the labels; the optimum is d = (a + b r) / (1 + r). Largest J:
    -(b - a)^2 / 2 int pq / (p + q). `constrain` and `inverse` are the same map, a + (b - a) sig(u).
    """

    fake: float = 0.0
    real: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fake", "real"):
            object.__setattr__(self, name, _checks.real(getattr(self, name), name))
        if self.fake == self.real:
            raise ValueError(
                f"`fake` and `real` must differ, got {self.fake:g} twice: equal labels tell nothing"
                " apart; take LSGAN(0, 1)"
            )

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        return min(self.fake, self.real), max(self.fake, self.real)

    def phi(self, d: Tensor) -> Tensor:
        return -0.5 * (d - self.real) ** 2

    def phi_slope(self, d: Tensor) -> Tensor:
        return self.real - d

    def psi(self, d: Tensor) -> Tensor:
        return -0.5 * (d - self.fake) ** 2

    def psi_slope(self, d: Tensor) -> Tensor:
        return self.fake - d

    def ratio(self, d: Tensor) -> Tensor:
        return (d - self.fake) / (self.real - d)

    def log_ratio(self, d: Tensor) -> Tensor:
        return torch.log(self.ratio(d))

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 1 / (d - self.fake) + 1 / (self.real - d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        width = self.real - self.fake
        d = torch.where(
            log_ratio < 0,
            self.fake + width * torch.sigmoid(log_ratio),
            self.real - width * torch.sigmoid(-log_ratio),
        )
        return _inside(d, self.domain)

    def constrain(self, u: Tensor) -> Tensor:
        return self.inverse(u)

    def optimum(self, overlap: float) -> float:
        """-(b - a)^2 / 2 int pq / (p + q), from overlap = int pq / (p + q), which is 1/2 where p =
        q.
        """
        return -0.5 * (self.real - self.fake) ** 2 * overlap


@dataclass(frozen=True)
class KLIEP(_Direct):
    """phi = log d, psi = -d, d > 0. r = d. Largest J: KL(p || q) - 1."""

    largest: ClassVar[tuple[float, float]] = (1.0, -1.0)

    def phi(self, d: Tensor) -> Tensor:
        return torch.where(d > 0, torch.log(d), -math.inf)

    def phi_slope(self, d: Tensor) -> Tensor:
        return 1 / d

    def psi(self, d: Tensor) -> Tensor:
        return -d

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.ones_like(d)


@dataclass(frozen=True)
class NWJ(_Pair):
    """phi = d, psi = -e^{d-1}: the bound of Nguyen, Wainwright and Jordan. log r = d - 1. Largest
    J: KL(p || q).
    """

    def psi(self, d: Tensor) -> Tensor:
        return -torch.exp(d - 1)

    def psi_slope(self, d: Tensor) -> Tensor:
        return self.psi(d)

    def log_ratio(self, d: Tensor) -> Tensor:
        return d - 1

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return 1 + log_ratio


@dataclass(frozen=True)
class DonskerVaradhan(_Pair):
    """J = E_p d - log E_q e^d, no mean of a psi: it is the maximum over numbers c of E_p [d - c] +
    E_q [1 - e^{d-c}], at c = log E_q e^d.

    So phi = d - c, psi = 1 - e^{d-c} (NWJ moved by c) are a pair for every c, with J's own gradient
    where c = log E_q e^d. And as J does not change when a number is added to d, a learned d alone
    does not tell r: log r = d - c. `objective` is J itself, whatever c = `normaliser` is;
    `normalised` gives the loss with the c of a learned d, whose link then holds. Largest J: KL(p ||
    q). The logarithm of a minibatch's mean is too small on average, and J too large.
    """

    normaliser: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "normaliser", _checks.real(self.normaliser, "normaliser"))

    def phi(self, d: Tensor) -> Tensor:
        return d - self.normaliser

    def psi(self, d: Tensor) -> Tensor:
        return -torch.expm1(d - self.normaliser)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.exp(d - self.normaliser)

    def log_ratio(self, d: Tensor) -> Tensor:
        return d - self.normaliser

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return log_ratio + self.normaliser

    def objective(
        self,
        target: Tensor,
        current: Tensor,
        *,
        target_weights: Weights = None,
        current_weights: Weights = None,
    ) -> Tensor:
        """sum_j b_j d(y_j) - log sum_i a_i e^{d(x_i)}, a scalar; its gradient is that of J, the
        normaliser included.
        """
        return _mean(target, target_weights) - _log_mean_exp(current, current_weights)

    def normalised(self, current: Tensor, *, weights: Weights = None) -> DonskerVaradhan:
        """c = log sum_i a_i e^{d(x_i)}, from d (N,) on the whole current cloud: r has mean one over
        it.
        """
        return replace(self, normaliser=float(_log_mean_exp(current.detach(), weights)))


@dataclass(frozen=True)
class ULSIF(_Direct):
    """phi = d, psi = -d^2 / 2: least squares of the ratio. r = d, which is a ratio where d > 0.
    Largest J: (chi^2(p || q) + 1) / 2.
    """

    largest: ClassVar[tuple[float, float]] = (0.5, 0.5)

    def psi(self, d: Tensor) -> Tensor:
        return -0.5 * d**2

    def psi_slope(self, d: Tensor) -> Tensor:
        return -d


@dataclass(frozen=True)
class Pearson(_Pair):
    """phi = d, psi = -(d^2 / 4 + d). r = 1 + d / 2, which is a ratio where d > -2. Largest J:
    chi^2(p || q).
    """

    domain: ClassVar[tuple[float, float]] = (-2.0, math.inf)

    def psi(self, d: Tensor) -> Tensor:
        return -d * (1 + d / 4)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -(1 + d / 2)

    def ratio(self, d: Tensor) -> Tensor:
        return 1 + d / 2

    def log_ratio(self, d: Tensor) -> Tensor:
        return torch.log1p(d / 2)

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 1 / (2 + d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return _inside(2 * torch.expm1(log_ratio), self.domain)


@dataclass(frozen=True)
class Exponential(_Pair):
    """phi = -e^{-d}, psi = -e^d: boosting's loss. log r = 2 d. Largest J: 2 H^2 - 2 = -2 int
    sqrt(pq).
    """

    largest: ClassVar[tuple[float, float]] = (2.0, -2.0)

    def phi(self, d: Tensor) -> Tensor:
        return -torch.exp(-d)

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.exp(-d)

    def psi(self, d: Tensor) -> Tensor:
        return -torch.exp(d)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.exp(d)

    def log_ratio(self, d: Tensor) -> Tensor:
        return 2 * d

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return torch.full_like(d, 2.0)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return log_ratio / 2


@dataclass(frozen=True)
class SquaredHellinger(_Pair):
    """phi = d, psi = -d / (1 - d), d < 1. r = (1 - d)^-2. Largest J: 2 H^2, H^2 = 1 - int sqrt(pq)."""

    domain: ClassVar[tuple[float, float]] = (-math.inf, 1.0)
    largest: ClassVar[tuple[float, float]] = (2.0, 0.0)

    def psi(self, d: Tensor) -> Tensor:
        return torch.where(d < 1, -d / (1 - d), -math.inf)

    def psi_slope(self, d: Tensor) -> Tensor:
        return -((1 / (1 - d)) ** 2)

    def ratio(self, d: Tensor) -> Tensor:
        return (1 / (1 - d)) ** 2

    def log_ratio(self, d: Tensor) -> Tensor:
        return -2 * torch.log1p(-d)

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 2 / (1 - d)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return _inside(-torch.expm1(-log_ratio / 2), self.domain)


@dataclass(frozen=True)
class ReverseKL(_Pair):
    """phi = -e^{-d}, psi = 1 - d. log r = d. Largest J: KL(q || p)."""

    def phi(self, d: Tensor) -> Tensor:
        return -torch.exp(-d)

    def phi_slope(self, d: Tensor) -> Tensor:
        return torch.exp(-d)

    def psi(self, d: Tensor) -> Tensor:
        return 1 - d

    def psi_slope(self, d: Tensor) -> Tensor:
        return -torch.ones_like(d)


def _mean(values: Tensor, weights: Weights) -> Tensor:
    return values.mean() if weights is None else weights @ values


def _log_mean_exp(d: Tensor, weights: Weights) -> Tensor:
    return (
        torch.logsumexp(d, 0) - math.log(len(d))
        if weights is None
        else torch.logsumexp(d + torch.log(weights), 0)
    )


def _inside(d: Tensor, domain: tuple[float, float]) -> Tensor:
    """d held one rounding inside an open interval (away from 0: the smallest normal number), so
    that log r and 1 / r stay finite.
    """
    (lower, upper), tiny = (
        (torch.tensor(end, dtype=d.dtype, device=d.device) for end in domain),
        torch.finfo(d.dtype).tiny,
    )
    return d.clamp(
        float(torch.nextafter(lower, upper)) if lower else tiny,
        float(torch.nextafter(upper, lower)) if upper else -tiny,
    )
