"""The trained c-transform critic: exact with a table, a lower bound always, and its two flows."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import particleflow as pf
from particleflow import metrics
from particleflow.clouds import Cloud
from particleflow.estimators import TrainedCTransformCritic
from particleflow.estimators.trained.batches import Batch

SMALL = {"width": 8, "depth": 1, "first_steps": 8, "steps": 3}
CRITICS = {
    "sharp": TrainedCTransformCritic(**SMALL),
    "soft": TrainedCTransformCritic(smoothing=0.1, **SMALL),
    "order 2": TrainedCTransformCritic(order=2, **SMALL),
    "order 2, soft": TrainedCTransformCritic(order=2, smoothing=0.1, **SMALL),
}
each_critic = pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
each_order = pytest.mark.parametrize("order", [1, 2])
SHIFT = torch.tensor([3.0, 4.0], dtype=torch.float64)


class Table(nn.Module):
    """phi as a list of numbers, one for each place: the nearest place's."""

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.numbers = nn.Parameter(places.new_zeros(len(places)))

    def forward(self, z: Tensor) -> Tensor:
        return self.numbers[torch.cdist(z, self.places).argmin(1)]


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, d]).standard_normal((n, d)) + shift)


def optimal(x: Tensor | Cloud, y: Tensor | Cloud, order: int) -> float:
    """W1, or W2^2 / 2."""
    return metrics.W1()(x, y) if order == 1 else metrics.W2()(x, y) ** 2 / 2


X, Y = normal(12, 2, 0), normal(17, 2, 1, 1.0)


@each_order
@pytest.mark.parametrize("seed", [1, 2])
def test_with_a_table_the_dual_is_the_exact_cost(unchecked, order: int, seed: int) -> None:
    """The minimum runs over the target's points, so that any phi there is feasible. Each of the six
    gets the mass of two particles: many tables solve the dual, and Adam comes to rest in one.
    """
    x, y = normal(12, 2, seed, 1.0), normal(6, 2, seed + 10)
    critic = TrainedCTransformCritic(
        Table(y), order=order, standardise=False, learning_rate=0.02, first_steps=400
    )
    assert pf.fit(critic, x, y).value == pytest.approx(optimal(x, y, order), rel=1e-9)


@each_order
def test_the_value_is_the_dual_and_never_above_the_cost(unchecked, order: int) -> None:
    """Also where the training is smooth, or hardly begun, and with masses of any total."""
    mass = torch.linspace(1, 3, len(Y), dtype=torch.float64)
    heavy = Cloud(Y, mass=mass)
    for smoothing in (0.0, 0.3):
        for steps in (1, 60):
            critic = TrainedCTransformCritic(
                order=order, smoothing=smoothing, width=8, first_steps=steps, learning_rate=0.01
            )
            value = pf.fit(critic, X, heavy).value
            assert value <= optimal(X, heavy, order) * (1 + 1e-12)
    assert value > 0.5 * optimal(X, heavy, order)


def test_points_without_mass_hold_nothing_back(unchecked) -> None:
    mass = torch.ones(len(Y), dtype=torch.float64)
    mass[3:] = 0
    for critic in CRITICS.values():
        some, alone = pf.fit(critic, X, Cloud(Y, mass=mass)), pf.fit(critic, X, Y[:3])
        assert len(some.witness.v) == 3
        assert some.value == pytest.approx(alone.value, rel=0.05)


def test_two_points_are_as_far_apart_as_they_are(unchecked) -> None:
    """phi cancels where all of the target is in one place: with any weights."""
    x, y = torch.zeros(3, 2, dtype=torch.float64), SHIFT.repeat(2, 1)
    for order, cost in ((1, 5.0), (2, 12.5)):
        fit = pf.fit(TrainedCTransformCritic(order=order, **SMALL), x, y)
        assert fit.value == pytest.approx(cost, rel=1e-12)
        way = SHIFT / 5 if order == 1 else SHIFT
        assert torch.allclose(fit.witness.value_and_grad(x)[1], way.expand(3, 2))


@each_order
def test_a_translation_is_measured_and_travelled(unchecked, order: int) -> None:
    """At unit speed with the order 1; with the order 2 by dt of the way that is left."""
    x = 0.3 * normal(20, 2, 0)
    critic = TrainedCTransformCritic(width=16, first_steps=150, learning_rate=0.01, order=order)
    y = torch.cat([x, x]) + SHIFT
    assert pf.fit(critic, x, y).value == pytest.approx(5.0 if order == 1 else 12.5, rel=1e-3)
    path = pf.simulate(pf.wgan_flow(critic), x, y, steps=5, dt=0.2)
    moved = (path.particles[-1] - x).mean(0)
    way = SHIFT / 5 if order == 1 else (1 - 0.8**5) * SHIFT
    assert float((moved - way).norm()) < 0.03 * float(way.norm())
    assert (path.energy[0] - path.energy[-1]) == pytest.approx(
        1.0 if order == 1 else 12.5 * (1 - 0.8**10), rel=0.02
    )


@each_critic
def test_the_witness_is_minus_the_c_transform_with_its_gradient(unchecked, critic) -> None:
    witness = pf.fit(critic, X, Y).witness
    z = normal(9, 2, 5)
    cost = (z[:, None] - Y).norm(dim=2) ** critic.order / critic.order
    want = (witness.v - cost).amax(1)
    if critic.smoothing:
        eps = witness.regularisation
        want = eps * ((witness.v - cost) / eps - np.log(len(Y))).logsumexp(1)
    value, grad = witness.value_and_grad(z)
    assert torch.allclose(value, want, rtol=1e-12, atol=0)
    h = 1e-6
    for k in range(2):
        step = h * torch.eye(2, dtype=torch.float64)[k]
        ends = [witness.value_and_grad(z + sign * step)[0] for sign in (1, -1)]
        assert torch.allclose((ends[0] - ends[1]) / (2 * h), grad[:, k], rtol=0, atol=1e-6)
    if critic.order == 1:
        assert float(grad.norm(dim=1).max()) <= 1 + 1e-12


@each_critic
def test_the_loss_of_a_batch_is_minus_its_dual(unchecked, critic) -> None:
    network = critic._build(2, 5)
    weights = 1.9 * network.weights(X)
    b = torch.linspace(0, 1, 6, dtype=torch.float64)
    batch = Batch(X[:5], X.new_full((5,), 0.4), Y[:6], b, None)
    phi = network(weights, {}, Y[1:6])
    inside = phi - (X[:5, None] - Y[1:6]).norm(dim=2) ** critic.order / critic.order
    share, eps = b[1:] / b.sum(), critic.smoothing
    w = eps * ((inside / eps).exp() @ share).log() if eps else inside.amax(1)
    assert float(critic._loss(network, weights, {}, batch).detach()) == pytest.approx(
        float((w.mean() - share @ phi).detach()), rel=1e-12
    )


@each_critic
def test_a_run_on_fresh_batches_goes_on_bit_for_bit(critic) -> None:
    target = pf.samplers.Minibatch(pf.samplers.Rings(), 9)
    x = 0.1 * normal(8, 2, 0).float()
    flow = pf.wgan_flow(critic)
    whole = pf.simulate(flow, x, target, steps=4, dt=0.05, seed=7)
    assert whole.status == "completed"
    assert whole.particles.dtype == torch.float32
    first = pf.simulate(flow, x, target, steps=2, dt=0.05, seed=7)
    rest = pf.simulate(flow, first, target, steps=2)
    assert torch.equal(whole.particles[-1], rest.particles[-1])


def test_units_do_not_matter(unchecked) -> None:
    """The smoothing is in units of the data's scale."""
    for critic in CRITICS.values():
        small, large = (pf.fit(critic, unit * X, unit * Y) for unit in (1.0, 1024.0))
        factor = 1024.0**critic.order
        assert large.value == pytest.approx(factor * small.value, rel=1e-9)
        if critic.smoothing:
            assert large.witness.regularisation == pytest.approx(
                factor * small.witness.regularisation, rel=1e-9
            )


REFUSED = {
    "TrainedCTransformCritic(order=3)": "`order` must be 1 or 2, got 3",
    "TrainedCTransformCritic(order=0)": "`order` must be >= 1, got 0",
    "TrainedCTransformCritic(smoothing=-1.0)": "`smoothing` must be >= 0, got -1",
    "TrainedCTransformCritic('net')": "`module` must be a torch module",
    "pf.fit(TrainedCTransformCritic(), X)": (
        "`y` must be (M, d) points for TrainedCTransformCritic, got None"
    ),
    "pf.mono_flow(TrainedCTransformCritic(), pf.mobilities.Vanilla())": (
        "`mobility` must be Unit() or Linear() for TrainedCTransformCritic"
    ),
    "pf.simulate(pf.wgan_flow(TrainedCTransformCritic()), X, Y, steps=1, dt=0.1,"
    " integrator=pf.integrators.Heun())": "Heun",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused(unchecked, code: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(REFUSED[code])):
        eval(code)
