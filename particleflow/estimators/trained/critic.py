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
from particleflow.estimators.trained.training import FromModule, Learned, Trained, slopes


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
    """w maximises E_p w - E_q w over a class of functions.

    Over all 1-Lipschitz functions the maximum is W1(p, q), and particles climb w at unit speed.
    `Fit.value` = sum_j b_j w(y_j) - sum_i a_i w(x_i) on the whole clouds, with normalised masses,
    is the estimate of W1. `metrics.W1` tells how good it is. w(z) = s u((z - shift) / s) with one
    scale s for all coordinates, so that w is a length and has the slopes of u.

    A fresh batch of the target at every step comes from `simulate(flow, x0,
    pf.samplers.Minibatch(sampler, 256), ...)`.
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
            slopes(network, weights, fixed, batch.between), dim=batch.between.shape[1]
        )

    def _penalty(self, slope: Values, *, dim: int) -> Tensor:
        """The penalty of slopes |grad w| (B,) at points between the clouds in R^dim."""
        return torch.zeros_like(slope[0])


@dataclass(frozen=True)
class WeightClippingCritic(FromModule, Critic):
    """WGAN: every weight is cut to [-clip, clip] after each step of Adam.

    That bounds the Lipschitz constant by some K, which is unknown and grows with width and depth.
    `Fit.value` estimates K W1, and particles move at a speed up to K.

    Parameters
    ----------
    module, width, depth, steps, first_steps, learning_rate, betas, batch, standardise
        See `Trained`.
    clip : float
        > 0, in units of the weights.

    Source: Arjovsky, Chintala and Bottou (2017).
    """

    clip: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.positive(self.clip, "clip")

    def _project(self, network: Network, weights: Weights) -> Weights:
        return weights.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class GradientPenaltyCritic(FromModule, Critic):
    """WGAN-GP: w maximises E_p w - E_q w - weight s E (|grad w| - 1)^2, s the scale of the data.

    The last mean is over points between x and y. The bound is soft: for a cloud and its translate
    the best linear w has the slope 1 + W1 / (2 weight s), and the estimate is too large by the same
    factor. In d = 1 a slope can only change its sign through 0, where the two-sided penalty is
    high. A w that begins with the wrong sign would keep it.

    Parameters
    ----------
    module, width, depth, steps, first_steps, learning_rate, betas, batch, standardise
        See `Trained`.
    weight : float
        The weight of the penalty, lambda in the paper.
    one_sided : bool, optional
        True: only slopes above 1 cost, max(0, |grad w| - 1)^2 (Petzka, Fischer and Lukovnikov
        2018). None: True in d = 1, else False.

    Source: Gulrajani et al. (2017).

    >>> flow = pf.wgan_flow(pf.estimators.GradientPenaltyCritic())         # doctest: +SKIP
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
    """A network that is 1-Lipschitz, as no layer's matrix has a singular value above 1.

    The layers are `network.ShortLinear`, with `GroupSort` between them. Such networks come as close
    as wanted to any 1-Lipschitz function. A smooth activation would flatten them. w is piecewise
    linear, and `Fit.value` <= W1 up to rounding. The report's `lipschitz` is the certificate, the
    product of the layers' spectral norms. Each step of Adam also costs an eigenvalue problem of
    width x width for each layer.

    Parameters
    ----------
    width, depth, steps, first_steps, learning_rate, betas, batch, standardise
        See `Trained`. `width` is even.

    Source: Anil, Lucas and Grosse (2019).
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
