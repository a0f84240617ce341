"""The features of a neuron: its response to each data point.

Two-layer regression is an MMD flow with the kernel of these features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Points, Queries


@runtime_checkable
class Activation(Protocol):
    """An activation s: `value` is s(u) and `slope` is s'(u), elementwise."""

    def value(self, u: Tensor) -> Tensor: ...
    def slope(self, u: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ReLU:
    """The activation max(u, 0), with slope 0 at 0."""

    def value(self, u: Tensor) -> Tensor:
        return u.clamp_min(0)

    def slope(self, u: Tensor) -> Tensor:
        return (u > 0).to(u.dtype)


@dataclass(frozen=True)
class Tanh:
    """The activation tanh u."""

    def value(self, u: Tensor) -> Tensor:
        return u.tanh()

    def slope(self, u: Tensor) -> Tensor:
        return 1 - u.tanh() ** 2


@dataclass(frozen=True)
class Erf:
    """The activation erf u."""

    def value(self, u: Tensor) -> Tensor:
        return torch.erf(u)

    def slope(self, u: Tensor) -> Tensor:
        return 2 / math.sqrt(math.pi) * torch.exp(-(u**2))


@dataclass(frozen=True, init=False, eq=False)
class Neurons:
    """The features of a neuron th over data x_1..x_n in R^p.

        features_j(th) = phi(th, x_j) / sqrt(n),    phi(th, x) = a s(w . x + b),

    with th = (w, b, a) in R^{p + 2}.

    A cloud of neurons th_1..th_N with masses m is the network f(x) = sum_i m_i phi(th_i, x). The
    kernel is k(th, th') = E_x[phi(th, x) phi(th', x)]. The mean square over the data of student
    minus teacher equals MMD^2 between their clouds, for any numbers of neurons. MMD flow of the
    student's neurons is gradient descent of half of this risk, N times faster: v = -N d(risk / 2) /
    dth_i (Arbel, Korba, Salim and Gretton 2019).

    The same kernel over other data gives the validation risk,
    `pf.metrics.MMD2(FeatureKernel(Neurons(other)))`. Cost O(Q n p).

    Parameters
    ----------
    data : (n, p) points
    activation : Activation
        `ReLU`, `Tanh` or `Erf`, or any object with `value` and `slope`.
    output_weight : bool
        False: a = 1 and th = (w, b) in R^{p + 1}. With a bounded activation the kernel is then
        bounded, and plain flow stalls as it does with a Gaussian kernel.
    """

    data: Points
    activation: Activation
    output_weight: bool

    def __init__(
        self, data: Any, *, activation: Activation = ReLU(), output_weight: bool = True
    ) -> None:
        object.__setattr__(self, "data", _checks.as_points(data, "data"))
        if isinstance(activation, type) or not isinstance(activation, Activation):
            raise TypeError(
                f"`activation` must have value(u) and slope(u), got {activation!r}: e.g."
                " pf.kernels.Tanh()"
            )
        object.__setattr__(self, "activation", activation)
        object.__setattr__(self, "output_weight", _checks.flag(output_weight, "output_weight"))

    def __repr__(self) -> str:
        shape = f"{len(self.data)} data of {self.data.shape[1]} inputs"
        return f"Neurons({shape}, activation={self.activation}, output_weight={self.output_weight})"

    @property
    def dim(self) -> int:
        """The number of parameters of a neuron: p + 2, or p + 1 without an output weight."""
        return self.data.shape[1] + 1 + self.output_weight

    def features(self, z: Queries) -> Float[Tensor, "Q n"]:
        """Return the features (Q, n) of z (Q, dim)."""
        sent = self.activation.value(self._fed(z))
        return (z[:, -1:] * sent if self.output_weight else sent) / math.sqrt(len(self.data))

    def gradient(self, z: Queries, c: Float[Tensor, "n"]) -> Gradients:
        """Return the gradient of features(z) @ c in (w, b, a), (Q, dim)."""
        c = c / math.sqrt(len(self.data))
        fed = self._fed(z)
        back = self.activation.slope(fed) * c
        if self.output_weight:
            back = z[:, -1:] * back
        parts = [back @ self.data.to(z), back.sum(1, keepdim=True)]
        return torch.cat(
            [*parts, (self.activation.value(fed) @ c)[:, None]] if self.output_weight else parts,
            dim=1,
        )

    def _fed(self, z: Tensor) -> Tensor:
        """Return w . x_j + b, (Q, n)."""
        if z.shape[1] != self.dim:
            parameters = "input weights, bias" + ", output weight" * self.output_weight
            raise ValueError(
                f"`z` must be (Q, {self.dim}), the {parameters} of each neuron, got"
                f" {tuple(z.shape)}"
            )
        p = self.data.shape[1]
        return torch.addmm(z[:, p : p + 1], z[:, :p], self.data.to(z).T)
