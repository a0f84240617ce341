"""The contract of a loss, and what follows from its phi, psi, log r and domain."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Weights: TypeAlias = Tensor | None
Own = TypeVar("Own", bound="Pair")


@runtime_checkable
class Loss(Protocol):
    r"""A pair of functions whose maximum teaches a function d the density ratio.

    .. math::

        J(d) = \mathbb{E}_p\, \varphi(d) + \mathbb{E}_q\, \psi(d) ,
        \qquad
        r = \frac{p}{q} = -\frac{\psi'(d)}{\varphi'(d)} \text{ at the maximum.}

    All but `objective` and `normalised` map a tensor elementwise, in its dtype. `phi_slope` and
    `psi_slope` are the derivatives. `ratio` is r(d), `log_ratio` its logarithm on the open interval
    `domain`, `log_ratio_slope` the derivative, and `inverse` the d of a given log r. `constrain`
    maps any number onto the domain, with log r increasing. `objective` is J, a scalar, from d at
    the target's points (M,) and at the current ones (N,). `normalised` gives the loss whose link
    holds for a learned d.
    """

    @property
    def domain(self) -> tuple[float, float]:
        r"""The open interval of the d that have a log ratio: :math:`0 < r(d) < \infty`."""

    def phi(self, d: Tensor) -> Tensor:
        r""":math:`\varphi(d)`, elementwise."""

    def phi_slope(self, d: Tensor) -> Tensor:
        r""":math:`\varphi'(d)`, elementwise."""

    def psi(self, d: Tensor) -> Tensor:
        r""":math:`\psi(d)`, elementwise."""

    def psi_slope(self, d: Tensor) -> Tensor:
        r""":math:`\psi'(d)`, elementwise."""

    def ratio(self, d: Tensor) -> Tensor:
        """The ratio r(d) = target / current, elementwise."""

    def log_ratio(self, d: Tensor) -> Tensor:
        r""":math:`\log r(d)`, elementwise on the open interval `domain`."""

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        """The derivative of the log ratio in d, elementwise."""

    def inverse(self, log_ratio: Tensor) -> Tensor:
        """The d of a given log ratio, elementwise."""

    def constrain(self, u: Tensor) -> Tensor:
        """Map any number u into the domain, with the log ratio increasing in u."""

    def objective(
        self,
        target: Tensor,
        current: Tensor,
        *,
        target_weights: Weights = None,
        current_weights: Weights = None,
    ) -> Tensor:
        """J, a scalar, from d at the target (M,) and at the current points (N,)."""

    def normalised(self, current: Tensor, *, weights: Weights = None) -> Loss:
        """The loss whose link holds for a learned d, given at all current points (N,)."""


class Pair(ABC):
    """A loss by its phi, psi, log r and domain. Unless a subclass says otherwise phi = log r = d.

    `largest`: (a, b), where a D + b is the largest J and D the divergence that the class states.
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
        r"""Any number on the domain, with log r increasing in it.

        .. math::

            u , \qquad \text{lower} + \log(1 + e^u)
            \qquad \text{or} \qquad \text{upper} - \log(1 + e^{-u}) .

        It is held one rounding inside the domain. Its gradient is 0 where it is held.
        """
        lower, upper = self.domain
        if math.isfinite(lower):
            return inside(lower - logsigmoid(-u), self.domain)
        return inside(upper + logsigmoid(u), self.domain) if math.isfinite(upper) else u

    def objective(
        self,
        target: Tensor,
        current: Tensor,
        *,
        target_weights: Weights = None,
        current_weights: Weights = None,
    ) -> Tensor:
        r"""J on samples.

        .. math::

            J = \sum_j b_j\, \varphi(d(y_j)) + \sum_i a_i\, \psi(d(x_i))

        Parameters
        ----------
        target, current : tensor
            d at the target's points (M,) and at the current ones (N,).
        target_weights, current_weights : tensor, optional
            b (M,) and a (N,), each of sum 1. None: 1 / M and 1 / N.

        Returns
        -------
        tensor
            A scalar, to be maximised.
        """
        return mean(self.phi(target), target_weights) + mean(self.psi(current), current_weights)

    def normalised(self: Own, current: Tensor, *, weights: Weights = None) -> Own:
        """The loss whose link holds: this one itself, except for `DonskerVaradhan`.

        Parameters
        ----------
        current : tensor
            d at all current points, (N,).
        weights : tensor, optional
            Their weights (N,), of sum 1. None: 1 / N.

        Returns
        -------
        Loss
        """
        return self

    def optimum(self, divergence: float) -> float:
        """The largest J, from the divergence in which the class states it.

        Parameters
        ----------
        divergence : float
            JS, KL(p || q), chi^2(p || q), H^2 or KL(q || p), as the class says.

        Returns
        -------
        float
            The largest J.
        """
        return self.largest[0] * divergence + self.largest[1]

    def f(self, r: Tensor) -> Tensor:
        """r phi(d) + psi(d) at the optimal d, convex in r > 0; f(1) and f'(1) need not be 0."""
        d = self.inverse(torch.log(r))
        return r * self.phi(d) + self.psi(d)


class Direct(Pair):
    """r = d, d > 0."""

    domain: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def ratio(self, d: Tensor) -> Tensor:
        return d

    def log_ratio(self, d: Tensor) -> Tensor:
        return torch.log(d)

    def log_ratio_slope(self, d: Tensor) -> Tensor:
        return 1 / d

    def inverse(self, log_ratio: Tensor) -> Tensor:
        numbers = torch.finfo(log_ratio.dtype)
        # held before exp: beyond, exp's infinite slope times the clamp's 0 would be NaN
        held = log_ratio.clamp(math.log(numbers.tiny), math.log(numbers.max) - 1e-3)
        return inside(torch.exp(held), self.domain)


def mean(values: Tensor, weights: Weights) -> Tensor:
    """The mean by weights; None: equal ones."""
    return values.mean() if weights is None else weights @ values


def inside(d: Tensor, domain: tuple[float, float]) -> Tensor:
    """d held one rounding inside an open interval, so that log r and 1 / r stay finite.

    Beside 0 it is held at the smallest normal number.
    """
    lower, upper = (torch.tensor(end, dtype=d.dtype, device=d.device) for end in domain)
    tiny = torch.finfo(d.dtype).tiny
    return d.clamp(
        float(torch.nextafter(lower, upper)) if lower else tiny,
        float(torch.nextafter(upper, lower)) if upper else -tiny,
    )
