"""The critic of the (q, p)-Wasserstein GAN: a network, and its c-transform over the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit, Witness
from particleflow.estimators.c_transform import (
    CTransformWitness,
    Order,
    SoftTransportWitness,
    costs,
    heavy,
)
from particleflow.estimators.trained.batches import Batch
from particleflow.estimators.trained.critic import Critic
from particleflow.estimators.trained.network import Network, Weights, values
from particleflow.estimators.trained.training import FromModule


@dataclass(frozen=True)
class TrainedCTransformCritic(FromModule, Critic):
    r"""Train a network phi at the target, whose c-transform is the potential at the particles.

    .. math::

        \max_\varphi\; \mathbb{E}_p \varphi + \mathbb{E}_q \varphi^c, \qquad
        \varphi^c(x) = \min_j \bigl( c(x, y_j) - \varphi(y_j) \bigr)

    p is the target, q the particles, and the cost is :math:`c(x, y) = \lVert x - y \rVert^n / n`
    with the `order` n. The minimum runs over a batch in training, and over all y_j afterwards.
    Whatever phi is, phi(y) + phi^c(x) is at most c(x, y): nothing need be constrained. So
    `Fit.value`, the objective on the whole clouds, is at most the optimal cost: W1, and W2^2 / 2
    with the order 2. It is equal to it where phi solves the dual problem, as `CTransformCritic`
    does without a network.

    Particles climb the witness w = -phi^c, w(z) = max_j (phi(y_j) - c(z, y_j)):

    - order 1: at unit speed to the y_j that wins. With a perfect phi that descends W1.
    - order 2: with the velocity y_j - z, to the y_j that wins. With a perfect phi that descends
      W2^2 / 2, and particles approach their matches as exp(-t).

    The witness asks phi at the target's points only, and the gradient of phi nowhere. With a fresh
    batch at each step it has the false minima of `CTransformCritic`. Clouds of any size serve.

    Parameters
    ----------
    module : torch.nn.Module, callable (d) -> module, or None
        Maps (Q, d) to (Q,) or (Q, 1), each row for itself. Nothing asks that it be smooth. None: a
        perceptron. See `FromModule`.
    order : 1 or 2
        n of the cost.
    smoothing : float
        epsilon >= 0 of the (c, epsilon)-transform, in units of s^order, s the scale of the data
        (1 without `standardise`). Minima become -epsilon log sum_j b_j exp(-(.) / epsilon), and w
        becomes smooth. `Fit.value` has the minimum all the same, and stays a lower bound.
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
        `order` is not 1 or 2, `smoothing` is negative, another number is out of its range, or
        `width` or `depth` is given beside a `module`.

    Cost: a step of Adam is a forward and a backward pass of `batch` points, and batch^2 d for the
    distances. A fit costs M passes, a velocity O(N M d).

    Source: Mallasto, Frellsen, Boomsma and Feragen (2019); Mallasto, Montufar and Gerolin (2019).

    A network that is hardly trained bounds W1 = 2 from below. A target in one place leaves no
    freedom:

    >>> critic = pf.estimators.TrainedCTransformCritic(first_steps=5)
    >>> x = [[0.0], [0.0], [0.0]]
    >>> pf.fit(critic, x, [[1.0], [3.0]]).value < 2
    True
    >>> round(pf.fit(critic, x, [[2.0], [2.0]]).value, 6)
    2.0
    """

    order: Order = field(default=1, kw_only=True)
    smoothing: float = field(default=0.0, kw_only=True)
    smooth_witness: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if _checks.count(self.order, "order") > 2:
            raise ValueError(
                f"`order` must be 1 or 2, got {self.order}: 1 for the flow of W1, 2 for that of"
                " W2^2 / 2"
            )
        _checks.non_negative(self.smoothing, "smoothing")

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        learned, state, report = self._train(x, y, clock, memory)
        target, unit = heavy(y), learned.scale[0] ** self.order
        phi = (unit * values(learned, target.points.to(state["weights"]))).double()
        sharp = CTransformWitness(target.points, phi, self.order)
        witness: Witness = sharp
        if self.smoothing:
            log_b, smoothing = target.mass.log(), self.smoothing * float(unit)
            witness = SoftTransportWitness(target.points, phi, log_b, smoothing, self.order)
        estimate = partial(_dual, sharp, heavy(x), target)
        return Fit(
            witness, state, report, objective=estimate, advice=partial(self._advice, estimate)
        )

    @property
    def _cost(self) -> str:
        return "W1" if self.order == 1 else "W2^2 / 2"

    def _loss(self, network: Network, weights: Weights, fixed: Memory, batch: Batch) -> Tensor:
        phi = network(weights, fixed, batch.y)
        a, b = (mass / mass.sum() for mass in (batch.x_weights, batch.y_weights))
        excess = phi - costs(batch.x, batch.y, self.order)
        if self.smoothing:
            w = self.smoothing * (excess / self.smoothing + b.log()).logsumexp(1)
        else:
            w = excess.masked_fill(b == 0, -torch.inf).amax(1)
        return a @ w - b @ phi


def _dual(witness: CTransformWitness, x: Cloud, y: Cloud) -> float:
    """E_p phi + E_q phi^c."""
    return float(y.mean(witness.v) - x.mean(witness.value_and_grad(x.points)[0]))
