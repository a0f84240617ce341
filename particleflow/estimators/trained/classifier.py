"""The log ratio from a network trained on any of the ratio losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit
from particleflow.estimators.trained.batches import Batch
from particleflow.estimators.trained.network import Network, Weights, value_and_grad, values
from particleflow.estimators.trained.training import FromModule, Learned
from particleflow.losses import BCE, Loss


@dataclass(frozen=True)
class ClassifierWitness:
    """log r of a trained network u, with its gradient by automatic differentiation.

    Where `loss` is None, log r = u + offset, which cannot saturate. Else d = loss.constrain(u), and
    log r = loss.log_ratio(d).
    """

    learned: Learned
    loss: Loss | None
    offset: float
    log_ratio: ClassVar[bool] = True

    def __call__(self, z: Queries) -> Values:
        u = self.learned(z)
        return u + self.offset if self.loss is None else self.loss.log_ratio(self.loss.constrain(u))

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        return value_and_grad(self, z)


@dataclass(frozen=True)
class Classifier(FromModule):
    r"""Train a network to give log r, on any of the losses of density ratios.

    .. math::

        \max_u\; J = \sum_j b_j\, \phi(d(y_j)) + \sum_i a_i\, \psi(d(x_i)), \qquad
        w = \log r

    Adam maximises J. phi and psi are those of the loss, a and b the shares of the clouds' masses.
    The network's output u is log r itself, and d = loss.inverse(u). With `log_output=False`, d =
    loss.constrain(u) and w = log r(d): w then overflows later and saturates sooner.
    Donsker-Varadhan's J leaves a constant of log r open, which the whole current cloud fixes.

    `Fit.value` is J on the whole clouds, for `BCE` at most 2 JS - 2 log 2; the velocity is not its
    gradient. The report has J as `objective` and the steps of Adam so far as `iterations`. Its
    `accuracy` is the share of a cloud's mass on its own side of r = 1, averaged over both clouds.
    It is 1/2 where nothing tells them apart. `converged` is False where the weights are no longer
    finite, else it is absent: that training has gone far enough is not checked. Clouds of any size
    serve.

    Where a curve separates the clouds, log r grows for as long as it is trained. A penalty holds it
    back, at points z_b between x and y, in standardised units:

    .. math::

        \gamma \operatorname{mean}_b \bigl( \lVert \nabla u(z_b) \rVert - c \bigr)^2

    gamma is `gradient_penalty`, c is `penalty_centre`. The centre 0, the default, agrees with r = 1
    (Thanh-Tung, Tran and Venkatesh 2019). The centre 1 gives the penalty of Gulrajani et al.
    (2017).

    A loss with exponentials of u (ULSIF, Pearson, Exponential, ReverseKL) overflows on clouds that
    are far apart, where its divergence is infinite. Take BCE, `log_output=False` or a penalty
    there.

    Parameters
    ----------
    module : torch.nn.Module, callable (d) -> module, or None
        Maps (Q, d) to (Q,) or (Q, 1), each row for itself. None: a smooth perceptron. See
        `FromModule`.
    loss : Loss
        Of `particleflow.losses`. `BCE()` is logistic regression.
    gradient_penalty : float
        The weight of the penalty, >= 0.
    penalty_centre : float
        The slope that costs nothing, in standardised units; refused without a penalty.
    log_output : bool
        Whether the network's output is log r.
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
        False: the network gets the points as they are.

    Raises
    ------
    TypeError
        `module` is neither a module nor a callable, `loss` is no loss, or an argument is of another
        type.
    ValueError
        `width` or `depth` is given beside a `module`; `penalty_centre` without a penalty; `betas`
        are not in [0, 1); a number is out of its range; the module has nothing to train, or another
        shape.

    Cost: a step of Adam is a forward and a backward pass of `batch` points of each cloud, three of
    each with a penalty. A fit adds a forward pass, and queries a forward and a backward pass.

    Source: Sugiyama, Suzuki and Kanamori (2012), chapter 4, for BCE; Kingma and Ba (2015) for Adam.

    A linear module on 3 of 4 particles at 0, and half of the target there. The largest J is
    -1.3187 = 2 JS - 2 log 2, JS of the masses (0.75, 0.25) and (0.5, 0.5):

    >>> classifier = pf.estimators.Classifier(
    ...     lambda d: torch.nn.Linear(d, 1), first_steps=100, learning_rate=0.1
    ... )
    >>> fit = pf.fit(classifier, [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]])
    >>> round(fit.value, 2)
    -1.32
    >>> fit.report["accuracy"]
    0.625
    """

    loss: Loss = BCE()
    gradient_penalty: float = field(default=0.0, kw_only=True)
    penalty_centre: float = field(default=0.0, kw_only=True)
    log_output: bool = field(default=True, kw_only=True)
    log_ratio: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.loss, type) or not isinstance(self.loss, Loss):
            raise TypeError(
                f"`loss` must be a loss of density ratios, got {_checks.came(self.loss)}: e.g."
                " pf.losses.BCE()"
            )
        _checks.non_negative(self.gradient_penalty, "gradient_penalty")
        if _checks.non_negative(self.penalty_centre, "penalty_centre") > 0 and not self._penalised:
            raise ValueError(
                "`penalty_centre` needs a penalty to be the centre of, got"
                f" {self.penalty_centre:g}: pass gradient_penalty= too"
            )
        _checks.flag(self.log_output, "log_output")

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        learned, state, report = self._train(x, y, clock, memory)
        d_x, d_y = (self._d(values(learned, cloud.points)) for cloud in (x, y))
        loss = self.loss.normalised(d_x, weights=x.mass)
        zero = self.loss.inverse(d_x.new_zeros(1))
        witness = ClassifierWitness(
            learned, None if self.log_output else loss, float(loss.log_ratio(zero))
        )
        right = [
            cloud.mean(side) / cloud.mass.sum()
            for cloud, side in ((x, _side(-loss.log_ratio(d_x))), (y, _side(loss.log_ratio(d_y))))
        ]
        value = float(loss.objective(d_y, d_x, target_weights=y.mass, current_weights=x.mass))
        return Fit(
            witness,
            state,
            report | {"objective": value, "accuracy": float(sum(right)) / 2},
            objective=lambda: value,
        )

    @property
    def _penalised(self) -> bool:
        return self.gradient_penalty > 0

    def _d(self, u: Tensor) -> Tensor:
        return self.loss.inverse(u) if self.log_output else self.loss.constrain(u)

    def _loss(self, network: Network, weights: Weights, fixed: Memory, batch: Batch) -> Tensor:
        d = self._d(network(weights, fixed, torch.cat([batch.x, batch.y])))
        d_x, d_y = d.split([len(batch.x), len(batch.y)])
        cost = -self.loss.objective(
            d_y, d_x, target_weights=batch.y_weights, current_weights=batch.x_weights
        )
        if batch.between is None:
            return cost
        excess = network.slopes(weights, fixed, batch.between) - self.penalty_centre
        return cost + self.gradient_penalty * (excess**2).mean()


def _side(log_ratio: Tensor) -> Tensor:
    """1 where positive, 1/2 where 0, 0 where negative."""
    return (torch.sign(log_ratio) + 1) / 2
