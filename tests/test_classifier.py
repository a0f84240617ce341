"""Classifier: the exact log ratio on problems where it is known, resumed runs bit for bit, and a
caller's module left alone.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import particleflow as pf
from particleflow import losses, metrics
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import Classifier
from particleflow.estimators.trained.batches import Batch, Batches
from particleflow.estimators.trained.network import CHUNK, Network, built
from tests import problems

LOSSES = [
    losses.BCE(),
    losses.LSGAN(),
    losses.LSGAN(1, -1),
    losses.KLIEP(),
    losses.NWJ(),
    losses.DonskerVaradhan(),
    losses.ULSIF(),
    losses.Pearson(),
    losses.Exponential(),
    losses.SquaredHellinger(),
    losses.ReverseKL(),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)
P, Q = problems.normal(0.0, 1.0), problems.normal(1.0, 1.44)
SHORT = {"first_steps": 8, "steps": 3}
SMALL = {"width": 8, "depth": 1, **SHORT}


class Quadratic(nn.Module):
    """c0 + c1 z + c2 z^2: holds the log ratio of two Gaussians on the line."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.zeros(3))

    def forward(self, z: Tensor) -> Tensor:
        return self.c[0] + self.c[1] * z[:, 0] + self.c[2] * z[:, 0] ** 2


class Straight(nn.Module):
    """c0 + c1 feature(z)."""

    def __init__(self, feature) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.zeros(2))
        self.feature = feature

    def forward(self, z: Tensor) -> Tensor:
        return self.c[0] + self.c[1] * self.feature(z)


def inverse_softplus(d: Tensor) -> Tensor:
    return d + torch.log(-torch.expm1(-d))


def quadrature(law: problems.Normal, *, nodes: int, dtype: torch.dtype = torch.float64) -> Cloud:
    """The law itself, as a cloud: the trapezoidal rule converges faster than any power."""
    z, step = np.linspace(-9.0, 9.0, nodes, retstep=True)
    return Cloud(
        torch.from_numpy(z[:, None]).to(dtype),
        log_mass=torch.from_numpy(law.log_density(z[:, None]) + math.log(step)).to(dtype),
    )


def truth(z: Tensor) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(P.log_density(z.numpy()) - Q.log_density(z.numpy())), torch.from_numpy(
        P.score(z.numpy()) - Q.score(z.numpy())
    )


def normal(
    n: int, d: int, seed: int, shift: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, d]).standard_normal((n, d)) + shift).to(
        dtype
    )


Z = torch.linspace(-3, 4, 9, dtype=torch.float64)[:, None]


@each_loss
def test_each_loss_finds_the_log_ratio_and_its_optimum(unchecked, loss) -> None:
    fit = pf.fit(
        Classifier(Quadratic(), loss, first_steps=200, learning_rate=0.1),
        quadrature(Q, nodes=61),
        quadrature(P, nodes=91),
    )
    value, grad = fit.witness.value_and_grad(Z)
    log_r, slope = truth(Z)
    assert float((value - log_r).abs().max()) < 1e-3
    assert float((grad - slope).abs().max()) < 1e-3
    divergence = {
        losses.BCE: problems.skewed_js(P, Q),
        losses.KLIEP: problems.kl(P, Q),
        losses.NWJ: problems.kl(P, Q),
        losses.DonskerVaradhan: problems.kl(P, Q),
        losses.ULSIF: problems.chi2(P, Q),
        losses.Pearson: problems.chi2(P, Q),
        losses.Exponential: problems.hellinger2(P, Q),
        losses.SquaredHellinger: problems.hellinger2(P, Q),
        losses.ReverseKL: problems.kl(Q, P),
        losses.LSGAN: problems.overlap(P, Q),
    }
    assert fit.value == pytest.approx(loss.optimum(divergence[type(loss)]), abs=1e-6)
    assert fit.report["objective"] == fit.value
    assert "converged" not in fit.report


@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if any(map(math.isfinite, loss.domain))], ids=repr
)
def test_the_constrained_output_finds_it_too(unchecked, loss) -> None:
    """The feature is the u whose d = constrain(u) has the true link: the optimum is c = (0, 1)."""

    def feature(z: Tensor) -> Tensor:
        d = loss.inverse(-0.5 * z[:, 0] ** 2 + 0.5 * ((z[:, 0] - 1) / 1.2) ** 2 + math.log(1.2))
        low, high = loss.domain
        if math.isfinite(low) and math.isfinite(high):
            return torch.logit((d - loss.fake) / (loss.real - loss.fake))
        return inverse_softplus(d - low) if math.isfinite(low) else -inverse_softplus(high - d)

    estimator = Classifier(
        Straight(feature),
        loss,
        first_steps=200,
        learning_rate=0.1,
        log_output=False,
        standardise=False,
    )
    fit = pf.fit(estimator, quadrature(Q, nodes=61), quadrature(P, nodes=91))
    value, grad = fit.witness.value_and_grad(Z)
    log_r, slope = truth(Z)
    assert float((value - log_r).abs().max()) < 1e-3
    assert float((grad - slope).abs().max()) < 1e-3


def test_the_accuracy_is_that_of_the_best_rule(unchecked) -> None:
    x, y = quadrature(Q, nodes=401), quadrature(P, nodes=301)
    fit = pf.fit(Classifier(Quadratic(), first_steps=200, learning_rate=0.1, batch=401), x, y)
    right = [
        float((cloud.mass * (sign * truth(cloud.points)[0] > 0)).sum())
        for cloud, sign in ((x, -1), (y, 1))
    ]
    assert fit.report["accuracy"] == pytest.approx(sum(right) / 2, abs=1e-6)


def test_masses_count_as_repeated_points_would(unchecked) -> None:
    x, y = normal(6, 2, 0), normal(9, 2, 1, 0.5)
    times = torch.tensor([1, 2, 3, 1, 2, 1])
    weighted = Cloud(x, log_mass=torch.log(times.double() / times.sum()))
    z = normal(5, 2, 3)
    a, b = (
        pf.fit(Classifier(**SMALL), cloud, y).witness.value_and_grad(z)
        for cloud in (weighted, x.repeat_interleave(times, 0))
    )
    assert torch.allclose(a[0], b[0], rtol=0, atol=1e-10)
    assert torch.allclose(a[1], b[1], rtol=0, atol=1e-10)


def test_a_heavier_target_raises_the_ratio_by_its_mass(unchecked) -> None:
    x, y = quadrature(Q, nodes=61), quadrature(P, nodes=91)
    heavy = Cloud(y.points, log_mass=y.log_mass + math.log(3.0))
    values = [
        pf.fit(
            Classifier(Quadratic(), first_steps=200, learning_rate=0.1), x, t
        ).witness.value_and_grad(Z)[0]
        for t in (y, heavy)
    ]
    assert float((values[1] - values[0] - math.log(3.0)).abs().max()) < 1e-3


@pytest.mark.parametrize("weighted", [False, True])
def test_minibatches_are_drawn_by_mass(unchecked, weighted: bool) -> None:
    """With a batch smaller than the clouds the fit still finds the whole clouds' optimum, up to the
    draws' noise.
    """
    x, y = normal(400, 1, 0), normal(500, 1, 1)
    log_mass = None
    if weighted:
        log_mass = (x[:, 0] - 0.5 - math.log(400)).clone()  # tilts N(0, 1) to N(1, 1)
    fit = pf.fit(
        Classifier(Quadratic(), first_steps=300, learning_rate=0.03, batch=100),
        Cloud(x, log_mass=log_mass),
        Cloud(y),
    )
    whole = pf.fit(
        Classifier(Quadratic(), first_steps=200, learning_rate=0.1, batch=1000),
        Cloud(x, log_mass=log_mass),
        Cloud(y),
    )
    z = torch.linspace(-1, 2, 5, dtype=torch.float64)[:, None]
    a, b = fit.witness.value_and_grad(z)[0], whole.witness.value_and_grad(z)[0]
    assert float((a - b).abs().max()) < 0.25
    assert not torch.equal(a, b)
    if weighted:
        assert float((b - (0.5 - z[:, 0])).abs().max()) < 0.5


def test_a_minibatch_has_its_cloud_s_mass_and_each_step_its_own() -> None:
    x, y = (
        Cloud(normal(9, 2, 0), log_mass=torch.full((9,), math.log(2.0), dtype=torch.float64)),
        Cloud(normal(7, 2, 1)),
    )
    batch = Batches(
        x, y, torch.arange(9), torch.arange(7), 4, True, torch.Generator().manual_seed(1)
    ).draw()
    assert float(batch.x_weights.sum()) == pytest.approx(18.0)
    assert float(batch.y_weights.sum()) == pytest.approx(1.0)
    assert len(batch.x) == len(batch.y) == len(batch.between) == 4
    low, high = torch.cat([x.points, y.points]).aminmax(dim=0)
    assert bool(((batch.between >= low) & (batch.between <= high)).all())
    estimator = Classifier(batch=4, **SMALL)
    memory = estimator.fit(x, y, Clock(), {}).memory
    first, second = (
        estimator.fit(x, y, Clock(0.1 * n, n), memory).memory["weights"] for n in (1, 2)
    )
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_the_error_falls_like_the_root_of_the_number_of_points(unchecked) -> None:
    z = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None]
    errors = []
    for n in (400, 6400):
        square = 0.0
        for seed in range(16):
            x, y = normal(n, 1, 2 * seed) * 1.2 + 1.0, normal(n + 50, 1, 2 * seed + 1)
            estimator = Classifier(Quadratic(), first_steps=200, learning_rate=0.05, batch=10000)
            square += float(
                ((pf.fit(estimator, x, y).witness.value_and_grad(z)[0] - truth(z)[0]) ** 2).mean()
            )
        errors.append(math.sqrt(square / 16))
    assert 2.6 < errors[0] / errors[1] < 6.2, errors


@pytest.mark.slow
def test_adam_is_torchs(unchecked) -> None:
    module = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    x, y = normal(6, 2, 0), normal(9, 2, 1, 0.5)
    estimator = Classifier(
        module, first_steps=7, learning_rate=0.03, betas=(0.8, 0.95), standardise=False
    )
    memory = pf.fit(estimator, x, y).memory
    optimiser = torch.optim.Adam(module.parameters(), lr=0.03, betas=(0.8, 0.95))
    for _ in range(7):
        optimiser.zero_grad()
        (-losses.BCE().objective(module(y)[:, 0], module(x)[:, 0])).backward()
        optimiser.step()
    assert torch.allclose(
        memory["weights"],
        torch.cat([value.detach().flatten() for value in module.parameters()]),
        rtol=0,
        atol=1e-12,
    )
    assert int(memory["adam_count"]) == 7


def test_the_penalty_in_weights_and_the_slopes_in_points_by_differences(unchecked) -> None:
    estimator = Classifier(gradient_penalty=0.7, penalty_centre=0.4, width=6, depth=2)
    network = estimator._build(2, 5)
    weights = network.weights(Z)
    z = normal(7, 2, 4)
    batch = Batch(
        normal(5, 2, 0), Z.new_full((5,), 0.2), normal(6, 2, 1), Z.new_full((6,), 1 / 6), z
    )
    leaf = weights.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(estimator._loss(network, leaf, {}, batch), leaf)
    direction, h = normal(1, len(weights), 9)[0], 1e-5
    ends = [
        float(estimator._loss(network, weights + sign * h * direction, {}, batch).detach())
        for sign in (1, -1)
    ]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(float(gradient @ direction), rel=1e-7)
    steps = h * torch.eye(2, dtype=torch.float64)
    columns = [
        (network(weights, {}, z + step) - network(weights, {}, z - step)) / (2 * h)
        for step in steps
    ]
    assert torch.allclose(
        network.slopes(weights, {}, z), torch.stack(columns, 1).norm(dim=1), rtol=1e-7
    )
    bare = (
        Classifier()
        ._loss(
            network, weights, {}, Batch(batch.x, batch.x_weights, batch.y, batch.y_weights, None)
        )
        .detach()
    )
    penalty = float(((network.slopes(weights, {}, z) - 0.4) ** 2).mean().detach())
    assert float(estimator._loss(network, weights, {}, batch).detach()) == pytest.approx(
        float(bare) + 0.7 * penalty, rel=1e-12
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_written_gradient_of_the_own_network_is_that_of_torch(unchecked, depth) -> None:
    """In the points, and its derivative in the weights, by automatic differentiation."""
    own = Classifier(width=6, depth=depth)._build(2, 5)
    plain = Network(own.module)
    z, leaf = normal(7, 2, 4), own.weights(Z).requires_grad_(True)
    assert torch.allclose(own(leaf, {}, z), plain(leaf, {}, z), rtol=1e-13, atol=1e-15)
    ours, theirs = (network.gradients(leaf, {}, z) for network in (own, plain))
    assert ours.shape == (7, 2)
    assert torch.allclose(ours, theirs, rtol=1e-13, atol=1e-16)
    slopes = [
        torch.autograd.grad((network.slopes(leaf, {}, z) ** 3).sum(), leaf, allow_unused=True)[0]
        for network in (own, plain)
    ]
    assert torch.allclose(*slopes, rtol=1e-12, atol=1e-17)
    assert float(slopes[0].norm()) > 1e-4


def test_a_factory_is_asked_twice_in_a_run_of_any_length(unchecked) -> None:
    """For the first weights, and for a network that later fits fill with theirs."""
    seen: list[int] = []

    def factory(d: int) -> nn.Module:
        seen.append(d)
        return nn.Linear(d, 1)

    flow = pf.mono_flow(Classifier(factory, **SHORT))
    pf.simulate(flow, normal(5, 2, 0), normal(6, 2, 1), steps=4, dt=0.1)
    assert seen == [2, 2]


@each_loss
def test_the_penalty_flattens_the_ratio_of_separate_clouds(unchecked, loss) -> None:
    """Whatever the loss: one as strong as this leaves next to nothing of the slope."""
    x, y = normal(30, 2, 0) * 0.1, normal(40, 2, 1) * 0.1 + 0.4
    fits = [
        pf.fit(
            Classifier(
                loss=loss, gradient_penalty=weight, width=16, first_steps=80, learning_rate=0.02
            ),
            x,
            y,
        )
        for weight in (0.0, 1e3)
    ]
    slopes = [float(fit.witness.value_and_grad(x)[1].norm(dim=1).mean()) for fit in fits]
    assert slopes[1] < 1e-3 * slopes[0]


class Mixed(nn.Module):
    """Dropout, a buffer, frozen weights and an integer, beside the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.drop(torch.tanh(self.norm(self.frozen(self.first(z))))))


def test_the_module_and_the_global_state_are_left_alone() -> None:
    torch.manual_seed(3)
    module = Mixed()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    fit = pf.fit(Classifier(module, first_steps=5), normal(6, 2, 0), normal(9, 2, 1))
    pf.fit(
        Classifier(lambda d: nn.Sequential(nn.Linear(d, 3), nn.Tanh(), nn.Linear(3, 1)), **SHORT),
        normal(6, 2, 0),
        normal(9, 2, 1),
    )
    pf.fit(Classifier(**SMALL), normal(6, 2, 0), normal(9, 2, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training
    assert all(value.grad is None for value in module.parameters())
    assert next(module.parameters()).dtype == torch.float32
    assert fit.memory["weights"].dtype == torch.float64
    z = normal(4, 2, 2)
    assert torch.equal(fit.witness.value_and_grad(z)[0], fit.witness.value_and_grad(z)[0]), (
        "dropout is switched off"
    )
    assert torch.equal(fit.memory["fixed.frozen.weight"], module.frozen.weight.double())


def test_later_changes_of_the_callers_module_do_not_matter() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    estimator = Classifier(module, first_steps=3)
    x, y, z = normal(6, 2, 0), normal(9, 2, 1), normal(4, 2, 2)
    first = pf.fit(estimator, x, y).witness.value_and_grad(z)[0]
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(first, pf.fit(estimator, x, y).witness.value_and_grad(z)[0])


@pytest.mark.parametrize(
    "module", [None, Mixed, lambda d: nn.Linear(d, 1)], ids=["default", "module", "factory"]
)
def test_a_run_goes_on_bit_for_bit(module, tmp_path) -> None:
    if module is Mixed:
        torch.manual_seed(0)
        module = Mixed()
    flow = pf.mono_flow(
        Classifier(module, gradient_penalty=0.1, batch=5, **(SHORT if module else SMALL)),
        pf.mobilities.Vanilla(),
    )
    x, y = normal(8, 2, 0), normal(11, 2, 1, 0.5)
    whole = pf.simulate(flow, x, y, steps=5, dt=0.1, seed=4)
    pf.simulate(flow, x, y, steps=3, dt=0.1, seed=4).save(tmp_path / "run.npz")
    again = pf.simulate(flow, pf.Trajectory.load(tmp_path / "run.npz"), steps=2)
    assert torch.equal(whole.particles[-1], again.particles[-1])
    assert all(
        torch.equal(value, again.state.memory[name]) for name, value in whole.state.memory.items()
    )
    assert not torch.equal(
        whole.particles[-1], pf.simulate(flow, x, y, steps=5, dt=0.1, seed=5).particles[-1]
    )


def test_a_fit_changes_nothing_that_it_was_given() -> None:
    x, y = Cloud(normal(6, 2, 0)), Cloud(normal(9, 2, 1))
    estimator = Classifier(**SMALL)
    memory = estimator.fit(x, y, Clock(), {}).memory
    kept = {name: value.clone() for name, value in memory.items()}
    a, b = (estimator.fit(x, y, Clock(0.1, 1), memory).memory for _ in range(2))
    assert all(torch.equal(value, kept[name]) for name, value in memory.items())
    assert not any(value.requires_grad for value in a.values())
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert int(a["adam_count"]) == 11
    assert torch.equal(a["shift"], kept["shift"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("log_output", [True, False])
@each_loss
def test_it_is_finite_everywhere_in_the_particles_dtype(
    unchecked, dtype, log_output: bool, loss
) -> None:
    estimator = Classifier(loss=loss, log_output=log_output, width=8, depth=1, first_steps=3)
    fit = pf.fit(estimator, normal(6, 3, 0, dtype=dtype), normal(9, 3, 1, dtype=dtype))
    z = torch.cat(
        [
            normal(4, 3, 2, dtype=dtype),
            torch.full((1, 3), 1e6, dtype=dtype),
            torch.full((1, 3), -1e6, dtype=dtype),
        ]
    )
    value, grad = fit.witness.value_and_grad(z)
    assert value.dtype == grad.dtype == dtype
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(grad).all())
    assert all(
        tensor.dtype == dtype
        for name, tensor in fit.memory.items()
        if name not in ("adam_count", "order_x", "order_y")
    )


def test_many_queries_are_answered_as_few_are() -> None:
    witness = pf.fit(Classifier(**SMALL), normal(6, 2, 0), normal(9, 2, 1)).witness
    z = normal(CHUNK + 5, 2, 2)
    value, grad = witness.value_and_grad(z)
    few = witness.value_and_grad(z[CHUNK - 2 :])
    assert torch.allclose(value[CHUNK - 2 :], few[0], rtol=0, atol=1e-12)
    assert torch.allclose(grad[CHUNK - 2 :], few[1], rtol=0, atol=1e-12)


def test_its_flow_is_that_of_the_reverse_kl_between_gaussians(unchecked) -> None:
    """N(-1, 0.5^2) to N(0, 1): mean -e^-t, variance 1 + e^-2t (0.5^2 - 1). Particles at quantiles,
    the target by quadrature.
    """
    level = (torch.arange(60, dtype=torch.float64)[:, None] + 0.5) / 60
    x0 = -1 + 0.5 * torch.special.ndtri(level)
    target = quadrature(P, nodes=61)
    flow = pf.mono_flow(Classifier(Quadratic(), first_steps=200, steps=10, learning_rate=0.1))
    path = pf.simulate(flow, x0, target, steps=20, dt=0.05, save=pf.SaveAt(every=20))
    end = path.particles[-1]
    assert float(end.mean()) == pytest.approx(-math.exp(-1), abs=0.03)
    assert float(end.std()) == pytest.approx(math.sqrt(1 - 0.75 * math.exp(-2)), abs=0.03)


def test_its_flow_brings_particles_to_the_rings(unchecked) -> None:
    """From a spot beside them, in float32: W2 to the sample that it sees falls to less than a
    third, at every look.
    """
    x0 = pf.samplers.Gaussian(dim=2, mean=(0.0, -0.3), std=0.01).sample(
        70, seed=0, dtype=torch.float32
    )
    y = pf.samplers.Rings().sample(90, seed=5, dtype=torch.float32)
    flow = pf.mono_flow(
        Classifier(gradient_penalty=0.1, width=32, steps=5, first_steps=100, learning_rate=5e-3)
    )
    path = pf.simulate(
        flow, x0, y, steps=60, dt=0.02, save=pf.SaveAt(every=20), metrics={"W2": metrics.W2()}
    )
    assert path.status == "completed"
    assert bool((path.metrics["W2"].diff() < 0).all())
    assert float(path.metrics["W2"][-1]) < 0.3 * float(path.metrics["W2"][0])


def test_a_step_is_suggested(unchecked) -> None:
    flow = pf.mono_flow(Classifier(**SMALL))
    assert 0 < flow.suggest_dt(normal(8, 2, 0), normal(11, 2, 1, 0.5)) < math.inf


def test_training_that_breaks_down_ends_the_run_with_a_remedy() -> None:
    flow = pf.mono_flow(
        Classifier(loss=losses.NWJ(), learning_rate=1e3, width=8, depth=1, first_steps=1, steps=4)
    )
    path = pf.simulate(flow, normal(8, 2, 0), normal(11, 2, 1, 0.5), steps=3, dt=0.1)
    assert path.status == "not converged"
    assert "lower learning_rate = 1000" in path.message
    assert bool(torch.isfinite(path.particles[-1]).all())


def raising(d: int) -> nn.Module:
    return torch.tanh


REFUSED = {
    "Classifier(3)": "`module` must be a torch module or make one from the dimension, got int",
    "Classifier(torch.nn.Tanh())": (
        "`module` must have parameters that need a gradient, got Tanh with none: there is nothing"
        " to train"
    ),
    "Classifier(torch.nn.Linear(2, 1, dtype=torch.complex64))": (
        "`module` must have real parameters, got Linear with complex ones"
    ),
    "Classifier(loss=losses.BCE)": (
        "`loss` must be a loss of density ratios, got the class BCE without its parentheses"
    ),
    "Classifier(loss='bce')": "`loss` must be a loss of density ratios, got str",
    "Classifier(steps=0)": "`steps` must be >= 1, got 0",
    "Classifier(first_steps=1.5)": "`first_steps` must be an integer, got 1.5",
    "Classifier(batch=True)": "`batch` must be an integer, got True",
    "Classifier(learning_rate=0)": "`learning_rate` must be > 0, got 0",
    "Classifier(gradient_penalty=-1)": "`gradient_penalty` must be >= 0, got -1",
    "Classifier(penalty_centre=math.nan)": "`penalty_centre` must be finite, got nan",
    "Classifier(betas=(0.9, 1.0))": "`betas` must be two numbers in [0, 1), got (0.9, 1.0)",
    "Classifier(betas=0.9)": "`betas` must be two numbers in [0, 1), got 0.9",
    "Classifier(standardise='no')": "`standardise` must be True or False, got 'no'",
    "Classifier(log_output=1)": "`log_output` must be True or False, got 1",
    "Classifier(width=0)": "`width` must be >= 1, got 0",
    "pf.fit(Classifier(torch.nn.Linear(2, 3)), X, Y)": (
        "`module` must map (Q, d) to (Q,) or (Q, 1), got (15, 3) for (15, 2)"
    ),
    "pf.fit(Classifier(raising), X, Y)": (
        "`module` must make a torch module from the dimension, got"
    ),
    "pf.fit(Classifier(), X)": "`y` must be (M, d) points for Classifier, got None",
    "Classifier(width=5).fit(Cloud(X), Cloud(Y), Clock(), kept())": (
        "weights that the run began with, got"
    ),
    "pf.simulate(pf.mono_flow(Classifier(**SMALL)), X, Y, steps=1, dt=0.1, integrator=pf.Heun())": (
        "must have one stage for Classifier, got Heun"
    ),
}
X, Y = normal(6, 2, 0), normal(9, 2, 1)


def kept() -> Memory:
    """What a small network leaves for the next fit."""
    return pf.fit(Classifier(**SMALL), X, Y).memory


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused(unchecked, code: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(REFUSED[code])):
        eval(code)


def test_a_factory_draws_its_weights_from_the_seed() -> None:
    one, same, other = (built(lambda d: nn.Linear(d, 1), 3, seed).weights(Z) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert Network(nn.Linear(3, 1)).size == 4
    assert not built(lambda d: Mixed(), 2, 1).module.training
