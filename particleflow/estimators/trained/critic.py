"""Critics of the Wasserstein GAN, without a generator.

They are networks w that are kept 1-Lipschitz, or nearly so. E_p w - E_q w then estimates W1(p, q).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit
from particleflow.estimators.trained.batches import Batch
from particleflow.estimators.trained.network import (
    Network,
    Weights,
    built,
    cut,
    shortened,
    sorting_mlp,
    value_and_grad,
    values,
)
from particleflow.estimators.trained.training import FromModule, Learned, Trained


@dataclass(frozen=True)
class CriticWitness:
    """w(z) = s u((z - shift) / s), a length in the units of z, with the slope of u."""

    learned: Learned
    log_ratio: ClassVar[bool] = False

    def __call__(self, z: Queries) -> Values:
        return self.learned.scale[0] * self.learned(z)

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        return value_and_grad(self, z)


@dataclass(frozen=True)
class Critic(Trained):
    r"""Learn a critic w that maximises E_p w - E_q w over a class of functions.

    .. math::

        w = \operatorname{argmax}_w\; \frac1M \sum_j w(y_j) - \frac1N \sum_i w(x_i), \qquad
        w(z) = s\, u((z - \text{shift}) / s)

    Over all 1-Lipschitz functions the maximum is W1(p, q), and particles climb w at unit speed.
    `Fit.value` is the difference of means on the whole clouds, with normalised masses: the estimate
    of W1, a length. `metrics.W1` tells how good it is. One scale s serves all coordinates, so that
    w is a length and has the slopes of the network u. Clouds of any size serve.

    A subclass gives the network and what keeps its slope near 1. A fresh batch of the target at
    every step comes from `simulate(flow, x0, pf.samplers.Minibatch(sampler, 256), ...)`.

    Source: Arjovsky, Chintala and Bottou (2017).
    """

    log_ratio: ClassVar[bool] = False
    _isotropic: ClassVar[bool] = True

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        learned, state, report = self._train(x, y, clock, memory)
        witness = CriticWitness(learned)
        estimate = partial(_estimate, witness, x, y)
        return Fit(
            witness,
            state,
            report | self._certificate(learned),
            objective=estimate,
            advice=partial(self._advice, estimate),
        )

    def _advice(self, estimate: Callable[[], float]) -> str:
        """The remedy where the estimate of W1 is negative, below the estimate of a constant w."""
        value = estimate()
        if value >= 0:
            return ""
        cost = self._cost
        return (
            f"the critic's estimate of {cost} ended at {value:.3g}, below that of a constant: it is"
            f" behind the particles, or what is left of {cost} is the noise of the samples: raise"
            f" its steps = {self.steps}"
        )

    @property
    def _cost(self) -> str:
        """What the critic estimates."""
        return "W1"

    def _certificate(self, learned: Learned) -> dict[str, object]:
        """The report's further entries about the network."""
        return {}

    def _loss(self, network: Network, weights: Weights, fixed: Memory, batch: Batch) -> Tensor:
        u_x, u_y = network(weights, fixed, torch.cat([batch.x, batch.y])).split(
            [len(batch.x), len(batch.y)]
        )
        cost = (batch.x_weights @ u_x) / batch.x_weights.sum() - (
            batch.y_weights @ u_y
        ) / batch.y_weights.sum()
        if batch.between is None:
            return cost
        return cost + self._penalty(
            network.slopes(weights, fixed, batch.between), dim=batch.between.shape[1]
        )

    def _penalty(self, slope: Values, *, dim: int) -> Tensor:
        """The penalty of slopes |grad w| (B,) at points between the clouds in R^dim."""
        return torch.zeros_like(slope[0])


@dataclass(frozen=True)
class WeightClippingCritic(FromModule, Critic):
    r"""Train the critic of the first Wasserstein GAN, whose weights are cut.

    .. math::

        \max_{\lvert \theta_k \rvert \le \text{clip}}\;
            \frac1M \sum_j w_\theta(y_j) - \frac1N \sum_i w_\theta(x_i)

    Each weight is cut to [-clip, clip] after each step of Adam. That bounds the Lipschitz constant
    by some K, which is unknown and grows with width and depth. `Fit.value` estimates K W1, and
    particles move at a speed up to K; it is no energy of theirs. Prefer `GradientPenaltyCritic` or
    `LipschitzCritic`. Clouds of any size serve. Nothing tells whether the training went far enough;
    a run that ends with a negative value says so.

    Parameters
    ----------
    module : torch.nn.Module, callable (d) -> module, or None
        Maps (Q, d) to (Q,) or (Q, 1), each row for itself. None: a smooth perceptron. See
        `FromModule`.
    clip : float
        > 0, in units of the weights.
    width, depth : int
        The estimator's own network has `depth` hidden layers of `width`. Refused beside a `module`.
    steps, first_steps : int
        Steps of Adam at each later fit, and at the first one.
    learning_rate : float
        Adam's, in units of the weights.
    betas : (float, float)
        Adam's decay rates, of the gradient's mean and of the mean of its square.
    batch : int
        Points of each cloud in a step of Adam.
    standardise : bool
        False: the network gets the points as they are, and s = 1.

    Raises
    ------
    TypeError
        `module` is neither a module nor a callable, or an argument is of another type.
    ValueError
        `clip` or another number is out of its range, or `width` or `depth` is given beside a
        `module`.

    Cost: a step of Adam is a forward and a backward pass of `batch` points of each cloud; queries
    are one of each.

    Source: Arjovsky, Chintala and Bottou (2017).

    A linear critic ends at the slope `clip`, so that its value is clip W1 = 0.1 x 2:

    >>> critic = pf.estimators.WeightClippingCritic(
    ...     lambda d: torch.nn.Linear(d, 1), first_steps=20, learning_rate=0.1
    ... )
    >>> fit = pf.fit(critic, [[0.0], [0.0], [0.0]], [[2.0], [2.0]])
    >>> round(fit.value, 4)
    0.2
    """

    clip: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.positive(self.clip, "clip")

    def _project(self, network: Network, weights: Weights) -> Weights:
        return weights.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class GradientPenaltyCritic(FromModule, Critic):
    r"""Train the critic of WGAN-GP, whose slopes are kept near 1 by a penalty.

    .. math::

        \max_w\; \mathbb{E}_p w - \mathbb{E}_q w
            - \lambda s\, \mathbb{E}_b \bigl( \lVert \nabla w(z_b) \rVert - 1 \bigr)^2

    s is the scale of the data, and the z_b are uniform between points of x and y. The bound is
    soft: for a cloud and its translate the best linear w has the slope 1 + W1 / (2 lambda s), and
    `Fit.value`, the estimate of W1, is too large by the same factor. Particles move at about unit
    speed. In d = 1 a slope can only change its sign through 0, where the two-sided penalty is high.
    A w that begins with the wrong sign would keep it. Clouds of any size serve. Nothing tells
    whether the training went far enough; a run that ends with a negative value says so.

    Parameters
    ----------
    module : torch.nn.Module, callable (d) -> module, or None
        Maps (Q, d) to (Q,) or (Q, 1), each row for itself. None: a smooth perceptron. See
        `FromModule`.
    weight : float
        The weight of the penalty, lambda > 0. 10 is that of the paper.
    one_sided : bool, optional
        True: only slopes above 1 cost, max(0, |grad w| - 1)^2 (Petzka, Fischer and Lukovnikov
        2018). None: True in d = 1, else False.
    width, depth : int
        The estimator's own network has `depth` hidden layers of `width`. Refused beside a `module`.
    steps, first_steps : int
        Steps of Adam at each later fit, and at the first one.
    learning_rate : float
        Adam's, in units of the weights.
    betas : (float, float)
        Adam's decay rates, of the gradient's mean and of the mean of its square.
    batch : int
        Points of each cloud in a step of Adam.
    standardise : bool
        False: the network gets the points as they are, and s = 1.

    Raises
    ------
    TypeError
        `module` is neither a module nor a callable, `one_sided` no bool, or an argument is of
        another type.
    ValueError
        `weight` or another number is out of its range, or `width` or `depth` is given beside a
        `module`.

    Cost: a step of Adam is three forward and backward passes of `batch` points of each cloud;
    queries are one of each.

    Source: Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017).

    A linear critic of two places at the distance W1 = 2, where s = 1: the value is W1 (1 + W1 / 20)

    >>> critic = pf.estimators.GradientPenaltyCritic(
    ...     lambda d: torch.nn.Linear(d, 1), first_steps=60, learning_rate=0.2
    ... )
    >>> fit = pf.fit(critic, [[0.0], [0.0], [0.0]], [[2.0], [2.0]])
    >>> round(fit.value, 1)
    2.2
    """

    weight: float = field(default=10.0, kw_only=True)
    one_sided: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.positive(self.weight, "weight")
        if not any(self.one_sided is each for each in (None, True, False)):
            raise TypeError(
                f"`one_sided` must be True, False or None, got {_checks.said(self.one_sided)}:"
                " leave it out for the usual choice"
            )

    @property
    def _penalised(self) -> bool:
        return True

    def _penalty(self, slope: Values, *, dim: int) -> Tensor:
        excess = slope - 1
        one_sided = dim == 1 if self.one_sided is None else self.one_sided
        return self.weight * ((excess.clamp_min(0) if one_sided else excess) ** 2).mean()


@dataclass(frozen=True)
class LipschitzCritic(Critic):
    r"""Train a critic that is 1-Lipschitz by its architecture, so that its value never exceeds W1.

    .. math::

        \max_w\; \frac1M \sum_j w(y_j) - \frac1N \sum_i w(x_i), \qquad
        \lVert S_k \rVert_2 \le 1 \text{ in each layer } k

    No layer's matrix S has a singular value above 1. The layers are `network.ShortLinear`, with
    `GroupSort` between them. Such networks come as close as wanted to any 1-Lipschitz function. A
    smooth activation would flatten them. w is piecewise linear, and `Fit.value` <= W1 up to
    rounding. The report's `lipschitz` is the certificate, the product of the layers' spectral
    norms. Particles move at a speed of at most 1. Clouds of any size serve.

    Parameters
    ----------
    width, depth : int
        `depth` hidden layers of `width`, which is even.
    steps, first_steps : int
        Steps of Adam at each later fit, and at the first one.
    learning_rate : float
        Adam's, in units of the weights.
    betas : (float, float)
        Adam's decay rates, of the gradient's mean and of the mean of its square.
    batch : int
        Points of each cloud in a step of Adam.
    standardise : bool
        False: the network gets the points as they are, and s = 1.

    Raises
    ------
    TypeError
        An argument is of another type.
    ValueError
        `width` is odd, or a number is out of its range.

    Cost: a step of Adam is a forward and a backward pass of `batch` points of each cloud, and an
    eigenvalue problem of width x width for each layer.

    Source: Anil, Lucas and Grosse (2019).

    Two places at the distance W1 = 2:

    >>> critic = pf.estimators.LipschitzCritic(
    ...     width=4, first_steps=20, learning_rate=0.1
    ... )
    >>> fit = pf.fit(critic, [[0.0], [0.0], [0.0]], [[2.0], [2.0]])
    >>> 1.9 < fit.value <= 2, fit.report["lipschitz"] <= 1
    (True, True)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 2:
            raise ValueError(
                f"`width` must be even, for pairs to be sorted, got {self.width}: take"
                f" {self.width + 1}"
            )

    def _build(self, dim: int, seed: int) -> Network:
        return built(partial(sorting_mlp, width=self.width, depth=self.depth), dim, seed)

    def _project(self, network: Network, weights: Weights) -> Weights:
        return torch.cat(
            [
                (cut(part) if part.ndim == 2 else part).flatten()
                for part in network.parts(weights).values()
            ]
        )

    def _certificate(self, learned: Learned) -> dict[str, object]:
        matrices = [
            shortened(part)
            for part in learned.network.parts(learned.weights).values()
            if part.ndim == 2
        ]
        return {
            "lipschitz": math.prod(
                float(torch.linalg.matrix_norm(matrix.double(), 2)) for matrix in matrices
            )
        }


def _estimate(witness: CriticWitness, x: Cloud, y: Cloud) -> float:
    """E_p w - E_q w."""
    target, current = (
        cloud.mean(values(witness, cloud.points)) / cloud.mass.sum() for cloud in (y, x)
    )
    return float(target - current)
