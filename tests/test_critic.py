"""Critics: Lipschitz where they claim it, W1 where it is known, and flows on fresh batches."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import particleflow as pf
from particleflow import metrics
from particleflow.clouds import Cloud
from particleflow.estimators import GradientPenaltyCritic, LipschitzCritic, WeightClippingCritic
from particleflow.estimators.trained.batches import Batch
from particleflow.estimators.trained.network import GroupSort, cut, shortened
from particleflow.samplers import Gaussian, Minibatch, Rings

SMALL = {"width": 8, "depth": 1, "first_steps": 8, "steps": 3}
CRITICS = {
    "clipping": WeightClippingCritic(**SMALL),
    "penalty": GradientPenaltyCritic(**SMALL),
    "one-sided": GradientPenaltyCritic(one_sided=True, **SMALL),
    "lipschitz": LipschitzCritic(**SMALL),
}
each_critic = pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)


def normal(
    n: int, d: int, seed: int, shift: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, d]).standard_normal((n, d)) + shift).to(
        dtype
    )


def linear(d: int) -> nn.Module:
    """w = a . z, its first a drawn from the run's seed."""
    return nn.Linear(d, 1, bias=False)


X, Y = normal(12, 2, 0), normal(17, 2, 1, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("depth", [1, 3])
def test_the_lipschitz_critic_is_1_lipschitz_with_a_certificate(
    unchecked, dtype, depth: int
) -> None:
    """Whatever the units of the data are, and also where it was trained hard."""
    critic = LipschitzCritic(width=12, depth=depth, first_steps=40, learning_rate=0.1)
    for unit in (1e-3, 50.0):
        x, y = unit * normal(12, 3, 0, dtype=dtype), unit * normal(17, 3, 1, 1.0, dtype=dtype)
        fit = pf.fit(critic, x, y)
        assert 0.5 < fit.report["lipschitz"] <= 1
        a, b = (
            3 * unit * normal(4000, 3, 2, dtype=dtype),
            3 * unit * normal(4000, 3, 3, dtype=dtype),
        )
        b[2000:] = a[2000:] + 1e-3 * b[2000:]
        (u, grad), (v, _) = fit.witness.value_and_grad(a), fit.witness.value_and_grad(b)
        assert u.dtype == grad.dtype == dtype
        rounding = 100 * unit * torch.finfo(dtype).eps
        assert float(((u - v).abs() - (a - b).norm(dim=1)).max()) <= rounding
        assert float(grad.norm(dim=1).max()) <= 1 + 20 * torch.finfo(dtype).eps
        assert fit.value <= metrics.W1()(x, y) * (1 + 1e-6)


def test_a_cut_matrix_is_the_nearest_of_norm_one() -> None:
    for rows, columns in ((5, 3), (3, 5), (1, 6)):
        matrix = 2 * normal(rows, columns, 4)
        left, singular, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
        assert singular.max() > 1
        assert np.allclose(
            cut(matrix).numpy(), (left * np.minimum(singular, 1)) @ right, rtol=0, atol=1e-12
        )
        left, singular, right = np.linalg.svd((matrix / 4).numpy(), full_matrices=False)
        assert np.allclose(
            shortened(matrix / 4).numpy(),
            (left * (1.5 * singular - 0.5 * singular**3)) @ right,
            rtol=0,
            atol=1e-12,
        )
    inside = 0.1 * normal(4, 4, 5)
    assert torch.allclose(cut(inside), inside, rtol=0, atol=1e-13)


def test_group_sort_permutes() -> None:
    z = normal(6, 8, 0)
    out = GroupSort()(z)
    assert torch.equal(out.sort(1).values, z.sort(1).values)
    assert bool((out[:, :4] >= out[:, 4:]).all())


SHIFT = torch.tensor([3.0, 4.0], dtype=torch.float64)


def test_a_translation_is_measured_and_climbed_at_unit_speed(unchecked) -> None:
    """W1(x, x + shift) = |shift|; the potential is linear, and its slope 1 points to the target."""
    x = 0.3 * normal(20, 2, 0)
    critic = LipschitzCritic(width=16, first_steps=150, learning_rate=0.01)
    fit = pf.fit(critic, x, torch.cat([x, x]) + SHIFT)
    assert fit.value == pytest.approx(5.0, rel=1e-6)
    assert float((fit.witness.value_and_grad(x)[1] - SHIFT / 5).norm(dim=1).max()) < 1e-4
    x1 = pf.simulate(pf.wgan_flow(critic), x, x + SHIFT, steps=1, dt=1.0).particles[-1]
    assert float((x1 - x - SHIFT / 5).norm(dim=1).max()) < 1e-4


def test_the_gradient_penalty_overestimates_a_translation_by_as_much_as_it_should(
    unchecked,
) -> None:
    """A linear w of slope a gains a W1 - weight s (a - 1)^2, which is most at a = 1 + W1 / (2
    weight s).
    """
    x = 0.3 * normal(20, 2, 0)
    for weight in (5.0, 20.0):
        critic = GradientPenaltyCritic(linear, first_steps=250, learning_rate=0.03, weight=weight)
        fit = pf.fit(critic, x, torch.cat([x, x]) + SHIFT)
        slope = 1 + 5 / (2 * weight * float(fit.memory["scale"][0]))
        assert fit.value == pytest.approx(5 * slope, rel=1e-4)
        assert (
            float((fit.witness.value_and_grad(x)[1] - slope * SHIFT / 5).norm(dim=1).max()) < 1e-3
        )


def test_on_the_line_the_penalised_critic_points_to_the_target(unchecked) -> None:
    """Whatever its first weights are. With a penalty of both sides the first seed stays on the
    wrong side, of negative estimate.
    """
    x, y = 1.2 * normal(60, 1, 0, 0.6), normal(50, 1, 1)
    short = {"width": 16, "first_steps": 200, "learning_rate": 0.01}
    found = [
        pf.fit(GradientPenaltyCritic(**short), x, y, seed=seed).value / metrics.W1()(x, y)
        for seed in range(3)
    ]
    assert min(found) > 0.8
    assert max(found) < 1.3
    assert pf.fit(GradientPenaltyCritic(one_sided=False, **short), x, y, seed=0).value < 0


def test_the_flow_of_a_lipschitz_critic_lowers_w1_at_unit_rate(unchecked) -> None:
    x = 0.3 * normal(20, 2, 0)
    y = 0.3 * normal(25, 2, 1) + 3.0
    critic = LipschitzCritic(width=16, first_steps=150, steps=5, learning_rate=0.01)
    path = pf.simulate(
        pf.wgan_flow(critic),
        x,
        y,
        steps=10,
        dt=0.2,
        metrics={"W1": metrics.W1()},
        save=pf.SaveAt(every=10),
    )
    first, last = (float(value) for value in path.metrics["W1"])
    assert (first - last) / 2.0 == pytest.approx(1.0, abs=0.03)


def test_a_run_that_leaves_its_critic_behind_says_so(unchecked) -> None:
    """One step carries the particles past the target, and one step of Adam does not turn the
    critic.
    """
    x = 0.3 * normal(20, 2, 0)
    critic = LipschitzCritic(width=16, first_steps=100, steps=1, learning_rate=0.01)
    ahead, past = (
        pf.simulate(pf.wgan_flow(critic), x, x + SHIFT, steps=1, dt=dt) for dt in (2.0, 8.0)
    )
    assert ahead.message == ""
    assert past.energy[-1] < 0
    assert re.match(
        r"the critic's estimate of W1 ended at -\d.*: raise its steps = 1, or lower dt = 8",
        past.message,
    )


@pytest.mark.parametrize("clip", [0.02, 0.3])
def test_clipped_weights(unchecked, clip: float) -> None:
    fit = pf.fit(
        WeightClippingCritic(clip=clip, width=8, depth=1, first_steps=50, learning_rate=0.05), X, Y
    )
    assert float(fit.memory["weights"].abs().max()) == clip
    assert fit.value > 0


def test_a_larger_clip_estimates_more(unchecked) -> None:
    """K is unknown, and the estimate is K W1."""
    small, large = (
        pf.fit(
            WeightClippingCritic(clip=c, width=8, depth=1, first_steps=100, learning_rate=0.05),
            X,
            Y,
        ).value
        for c in (0.05, 0.5)
    )
    assert large > 5 * small


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_penalty_and_its_gradient_in_the_weights_by_differences(
    unchecked, one_sided: bool
) -> None:
    critic = GradientPenaltyCritic(weight=3.0, one_sided=one_sided, width=6)
    network = critic._build(2, 5)
    weights = 1.9 * network.weights(X)
    z = 2 * normal(9, 2, 4)
    batch = Batch(X[:5], X.new_full((5,), 0.4), Y[:6], Y.new_full((6,), 0.1), z)
    slope = network.slopes(weights, {}, z)
    assert bool((slope > 1).any())
    assert bool((slope < 1).any())
    excess = torch.relu(slope - 1) if one_sided else slope - 1
    want = (
        network(weights, {}, X[:5]).mean()
        - network(weights, {}, Y[:6]).mean()
        + 3 * (excess**2).mean()
    )
    assert float(critic._loss(network, weights, {}, batch).detach()) == pytest.approx(
        float(want.detach()), rel=1e-12
    )
    leaf = weights.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic._loss(network, leaf, {}, batch), leaf)
    direction, h = normal(1, len(weights), 9)[0], 1e-6
    ends = [
        float(critic._loss(network, weights + sign * h * direction, {}, batch).detach())
        for sign in (1, -1)
    ]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(float(gradient @ direction), rel=1e-6)


@each_critic
def test_the_value_is_the_difference_of_means_and_masses_are_shares(unchecked, critic) -> None:
    log_mass = torch.log(torch.linspace(1, 3, len(Y), dtype=torch.float64))
    heavy = Cloud(Y, log_mass=log_mass)
    fit = pf.fit(critic, X, heavy)
    w_y, w_x = (fit.witness.value_and_grad(points)[0] for points in (Y, X))
    share = torch.softmax(log_mass, 0)
    assert fit.value == pytest.approx(float(share @ w_y - w_x.mean()), rel=1e-9)
    again = pf.fit(critic, X, Cloud(Y, log_mass=torch.log(share)))
    assert fit.value == pytest.approx(again.value, rel=1e-9)
    assert not fit.witness.log_ratio


@each_critic
def test_a_run_on_fresh_batches_goes_on_bit_for_bit(critic) -> None:
    """Points of the dtype of the particles, new at every step, the same when the run is repeated or
    resumed.
    """
    target = Minibatch(Rings(), 9)
    x = 0.1 * normal(8, 2, 0, dtype=torch.float32)
    whole = pf.simulate(pf.wgan_flow(critic), x, target, steps=4, dt=0.05, seed=7)
    assert whole.status == "completed"
    assert whole.particles.dtype == torch.float32
    first = pf.simulate(pf.wgan_flow(critic), x, target, steps=2, dt=0.05, seed=7)
    rest = pf.simulate(pf.wgan_flow(critic), first, target, steps=2)
    assert torch.equal(whole.particles[-1], rest.particles[-1])
    fixed = target.at(pf.Clock(draws=pf.Draws(7))).points.float()
    other = pf.simulate(pf.wgan_flow(critic), x, fixed, steps=4, dt=0.05, seed=7)
    assert torch.equal(whole.particles[1], other.particles[1])
    assert not torch.equal(whole.particles[-1], other.particles[-1])


def test_the_batch_of_a_step_is_what_the_critic_sees(unchecked) -> None:
    """A linear critic that is free to move knows of the target nothing but its mean: it turns to
    each batch's.
    """
    target = Minibatch(Gaussian(dim=2, std=3.0), 2)
    critic = WeightClippingCritic(
        linear, clip=1.0, first_steps=50, steps=50, learning_rate=0.2, standardise=False
    )
    x = torch.zeros(3, 2, dtype=torch.float64)
    for state in pf.iterate(pf.wgan_flow(critic), x, target, dt=1e-9):
        batch = target.at(state.clock).points
        assert torch.equal(state.fit.memory["weights"].sign(), batch.mean(0).sign())
        if state.clock.step == 4:
            break


def test_the_default_flow_is_wgan_gp() -> None:
    assert pf.wgan_flow() == pf.Flow(GradientPenaltyCritic())
    assert not pf.wgan_flow().conservative


REFUSED = {
    "WeightClippingCritic(clip=0)": "`clip` must be > 0, got 0",
    "GradientPenaltyCritic(weight=-2)": "`weight` must be > 0, got -2",
    "GradientPenaltyCritic(one_sided='no')": "`one_sided` must be True, False or None, got 'no'",
    "LipschitzCritic(width=7)": "`width` must be even, for pairs to be sorted, got 7: take 8",
    "LipschitzCritic(depth=0)": "`depth` must be >= 1, got 0",
    "GradientPenaltyCritic('net')": (
        "`module` must be a torch module or make one from the dimension, got str"
    ),
    "WeightClippingCritic(learning_rate=float('inf'))": "`learning_rate` must be finite, got inf",
    "pf.wgan_flow(pf.estimators.Classifier())": (
        "`critic` must estimate a potential, got Classifier, an estimator of log r: use"
        " pf.mono_flow"
    ),
    "pf.wgan_flow(GradientPenaltyCritic)": (
        "`critic` must be an estimator, got the class GradientPenaltyCritic without its parentheses"
    ),
    "pf.mono_flow(LipschitzCritic(), pf.mobilities.Vanilla())": (
        "`mobility` must be Unit() or Linear() for LipschitzCritic"
    ),
    "pf.simulate(pf.wgan_flow(), X, Rings(), steps=1)": (
        "or a fresh batch at every step, target=Minibatch(Rings(...), 300)"
    ),
    "pf.fit(LipschitzCritic(), X)": "`y` must be (M, d) points for LipschitzCritic, got None",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused(unchecked, code: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(REFUSED[code])):
        eval(code)
