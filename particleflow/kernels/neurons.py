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
    r"""The rectifier, an activation of `Neurons`.

    .. math::

        s(u) = \max(u, 0) , \qquad s'(u) = 1 \text{ for } u > 0, \text{ else } 0 .

    It is unbounded, and so is the kernel of its neurons. The slope at 0 is 0.

    Cost: O(1) an element.

    Source: Nair and Hinton (2010).

    >>> pf.kernels.ReLU().value(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def value(self, u: Tensor) -> Tensor:
        return u.clamp_min(0)

    def slope(self, u: Tensor) -> Tensor:
        return (u > 0).to(u.dtype)


@dataclass(frozen=True)
class Tanh:
    r"""The hyperbolic tangent, a bounded activation of `Neurons`.

    .. math::

        s(u) = \tanh u , \qquad s'(u) = 1 - \tanh^2 u .

    Without output weights the kernel of its neurons is bounded by 1.

    Cost: O(1) an element.

    Source: LeCun, Bottou, Orr and Mueller (1998).

    >>> pf.kernels.Tanh().slope(torch.tensor([0.0]))
    tensor([1.])
    """

    def value(self, u: Tensor) -> Tensor:
        return u.tanh()

    def slope(self, u: Tensor) -> Tensor:
        return 1 - u.tanh() ** 2


@dataclass(frozen=True)
class Erf:
    r"""The error function, a bounded activation of `Neurons`.

    .. math::

        s(u) = \operatorname{erf} u , \qquad s'(u) = \frac{2}{\sqrt{\pi}}\, e^{-u^2} .

    Its means over Gaussian data are known in closed form.

    Cost: O(1) an element.

    Source: Williams (1998).

    >>> pf.kernels.Erf().slope(torch.tensor([0.0]))  # 2 / sqrt(pi)
    tensor([1.1284])
    """

    def value(self, u: Tensor) -> Tensor:
        return torch.erf(u)

    def slope(self, u: Tensor) -> Tensor:
        return 2 / math.sqrt(math.pi) * torch.exp(-(u**2))


@dataclass(frozen=True, init=False, eq=False)
class Neurons:
    r"""The features of neurons over data, with which an MMD flow trains a two-layer network.

    .. math::

        \varphi_j(\theta) = \frac{1}{\sqrt{n}}\, \phi(\theta, s_j) ,
        \qquad
        \phi(\theta, s) = a\, \sigma(w \cdot s + b) ,
        \qquad
        \theta = (w, b, a) ,

    over data :math:`s_1 \ldots s_n` in :math:`\mathbb{R}^p`; :math:`\sigma` is the activation, and
    a neuron :math:`\theta` a point of :math:`\mathbb{R}^{p+2}`. A cloud of neurons with masses m is
    the network :math:`f(s) = \sum_i m_i\, \phi(\theta_i, s)`.

    The kernel is :math:`k(\theta, \theta') = \mathbb{E}_s[\phi(\theta, s)\, \phi(\theta', s)]`. The
    mean square over the data of student minus teacher equals MMD^2 between their clouds, for any
    numbers of neurons. The MMD flow of the student's neurons is gradient descent of half of this
    risk, N times faster: :math:`v = -N\, \partial (\text{risk} / 2) / \partial \theta_i`. The same
    kernel over other data gives the validation risk,
    ``pf.metrics.MMD2(FeatureKernel(Neurons(other)))``.

    Parameters
    ----------
    data : (n, p) array or tensor
        The inputs :math:`s_j`. A copy is kept, in its dtype; numbers that are no floats become
        float64.
    activation : Activation
        `ReLU`, `Tanh` or `Erf`, or any object with `value` and `slope`.
    output_weight : bool
        False: a = 1 and :math:`\theta = (w, b)` in :math:`\mathbb{R}^{p+1}`. With a bounded
        activation the kernel is then bounded, and plain flow stalls as it does with a Gaussian
        kernel.

    Raises
    ------
    TypeError
        `data` is no array of numbers, `activation` is a class or lacks a method, or `output_weight`
        is no bool.
    ValueError
        `data` is not two-dimensional, empty or not finite. Later: neurons have other than `dim`
        coordinates.

    Cost: O(Q n p) for Q neurons.

    Source: Arbel, Korba, Salim and Gretton (2019).

    >>> neurons = pf.kernels.Neurons([[1.0], [2.0]])
    >>> neurons.dim
    3
    >>> neurons.features(torch.tensor([[1.0, 0.0, 1.0]]))  # (1, 2) / sqrt(2)
    tensor([[0.7071, 1.4142]])
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
        """The number of parameters of a neuron, p + 2, or p + 1 without an output weight."""
        return self.data.shape[1] + 1 + self.output_weight

    def features(self, z: Queries) -> Float[Tensor, "Q n"]:
        r"""The features (Q, n) of neurons z: :math:`a\, \sigma(w \cdot s_j + b) / \sqrt n`."""
        sent = self.activation.value(self._fed(z))
        return (z[:, -1:] * sent if self.output_weight else sent) / math.sqrt(len(self.data))

    def gradient(self, z: Queries, c: Float[Tensor, "n"]) -> Gradients:
        """The gradient of features(z) @ c in z = (w, b, a), (Q, dim), for c (n,)."""
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
