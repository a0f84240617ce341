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
    """phi, psi and their link, elementwise in d; `objective` is J on samples."""

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
        """R onto the domain: u, lower + softplus(u), or upper - softplus(-u).

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
        """J = sum_j b_j phi(d(y_j)) + sum_i a_i psi(d(x_i)), a scalar.

        target = d(y) (M,) with the weights b, current = d(x) (N,) with the weights a. None: 1 / M
        and 1 / N.
        """
        return mean(self.phi(target), target_weights) + mean(self.psi(current), current_weights)

    def normalised(self: Own, current: Tensor, *, weights: Weights = None) -> Own:
        """The loss whose link holds, given d (N,) on the whole current cloud.

        That is this loss itself, except for `DonskerVaradhan`.
        """
        return self

    def optimum(self, divergence: float) -> float:
        """The largest J, from the value of the divergence in which the class states it."""
        return self.largest[0] * divergence + self.largest[1]

    def f(self, r: Tensor) -> Tensor:
        """r phi(d) + psi(d) at the optimal d, convex in r. f(1) and f'(1) need not be 0."""
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
