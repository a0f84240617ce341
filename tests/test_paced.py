"""Paced steps: their lengths against closed forms, what they keep, and what is refused."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.integrators import Paced
from particleflow.kernels import Energy, Gaussian


def normal(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) * scale + shift)


X, Y = normal(23, 2, 0, 0.5, 1.0), normal(31, 2, 1)


def linear(rate: float) -> pf.Flow:
    """dx = -rate x dt."""
    return pf.Flow(pf.estimators.ClosedForm(lambda z: -0.5 * rate * z.square().sum(1)))


@pytest.mark.parametrize("rate", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("change", [0.5, 0.1])
def test_lengths_become_the_share_of_the_rate_in_any_unit_of_time(rate, change) -> None:
    first = 1e-3 / rate
    path = pf.simulate(
        linear(rate), X, steps=40, dt=first, integrator=Paced(change), save=pf.SaveAt(every=1)
    )
    lengths = path.times.diff()
    assert float(lengths[0]) == pytest.approx(first, rel=1e-12)
    assert torch.allclose(lengths[1:5] / lengths[:4], torch.tensor(1.5, dtype=torch.float64))
    assert torch.allclose(lengths[-5:], torch.full((5,), change / rate, dtype=torch.float64))
    exact = X * (1 - rate * lengths).prod()
    assert torch.allclose(path.particles[-1], exact, rtol=1e-9, atol=0)


def test_a_first_step_that_is_far_too_long_is_taken_back() -> None:
    flow = pf.mmd_flow(Gaussian(0.7))
    path = pf.simulate(flow, X, Y, steps=60, dt=1e4, integrator=Paced(), metrics={})
    assert path.status == "completed"
    assert path.report["controller"]["rejected"] >= 2
    assert float(path.times[1]) < 100
    fixed = pf.simulate(flow, X, Y, steps=60, dt=1e4, metrics={})
    assert fixed.status != "completed"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kernel", [Gaussian(0.4), pf.kernels.IMQ(0.4), pf.kernels.Matern52(0.5)])
def test_energies_fall_and_steps_are_saved(kernel) -> None:
    flow = pf.mmd_flow(kernel)
    dt = flow.suggest_dt(X, Y)
    states = list(itertools.islice(pf.iterate(flow, X, Y, dt=dt, integrator=Paced()), 121))
    values = np.array([state.fit.value for state in states])
    assert (np.diff(values) <= 1e-12).all()
    # the same energy takes Euler's method with the suggested dt several times as many steps
    *_, euler = itertools.islice(pf.iterate(flow, X, Y, dt=dt), 241)
    assert values[-1] < euler.fit.value


@pytest.mark.usefixtures("unchecked")
def test_a_kernel_with_a_kink_is_followed_too() -> None:
    flow = pf.mmd_flow(Energy())
    path = pf.simulate(flow, X, Y, steps=150, integrator=Paced(), metrics={})
    assert path.status == "completed"
    assert path.verdict == "arrived"


def test_the_time_at_the_end_is_reached_and_small_changes_follow_the_flow() -> None:
    flow = pf.mmd_flow(Gaussian(0.7))
    exact = pf.simulate(flow, X, Y, t1=2.0, dt=0.05, integrator=pf.RK4()).particles[-1]
    errors = []
    for change in (0.2, 0.1, 0.05):
        path = pf.simulate(flow, X, Y, t1=2.0, dt=0.01, integrator=Paced(change))
        assert float(path.times[-1]) == 2.0
        errors.append(float((path.particles[-1] - exact).abs().max()))
    orders = -np.diff(np.log2(errors))
    assert orders == pytest.approx(1.0, abs=0.25)


def test_going_on_is_running_through(tmp_path) -> None:
    flow = pf.mmd_flow(Gaussian(0.7))
    whole = pf.simulate(flow, X, Y, steps=12, dt=0.3, integrator=Paced())
    part = pf.simulate(flow, X, Y, steps=5, dt=0.3, integrator=Paced())
    part.save(tmp_path / "part.npz")
    part = pf.Trajectory.load(tmp_path / "part.npz")
    both = pf.simulate(flow, part, steps=7, dt=0.3, integrator=Paced())
    assert torch.equal(both.state.x.points, whole.state.x.points)
    assert both.state.clock.t == whole.state.clock.t


def test_one_integrator_serves_several_runs_at_once() -> None:
    """A velocity that is kept belongs to one fit of one flow."""
    shared, alone = Paced(), [Paced(), Paced()]
    flows = [pf.mmd_flow(Gaussian(0.7)), pf.mmd_flow(Gaussian(0.3))]
    mixed = [pf.iterate(flow, X, Y, dt=0.3, integrator=shared) for flow in flows]
    plain = [
        pf.iterate(flow, X, Y, dt=0.3, integrator=own)
        for flow, own in zip(flows, alone, strict=True)
    ]
    for _ in range(5):
        for run, other in zip(mixed, plain, strict=True):
            assert torch.equal(next(run).x.points, next(other).x.points)


def test_a_used_one_can_be_copied_and_pickled() -> None:
    paced = Paced(0.3)
    pf.simulate(pf.mmd_flow(Gaussian(0.7)), X, Y, steps=2, integrator=paced)
    assert pickle.loads(pickle.dumps(paced)) == copy.deepcopy(paced) == Paced(0.3)


def test_what_it_cannot_follow_is_refused() -> None:
    kernel = Gaussian(0.7)
    with pytest.raises(ValueError, match=r"without noise, got noise=Constant\(value=0.1\)"):
        pf.simulate(pf.mmd_flow(kernel, noise=0.1), X, Y, steps=3, integrator=Paced())
    with pytest.raises(ValueError, match=r"smooth witness, got that of CTransformCritic"):
        pf.simulate(
            pf.wgan_flow(pf.estimators.CTransformCritic()), X, Y, steps=3, integrator=Paced()
        )
    for change in (0.0, -1.0, 2.0, float("nan")):
        with pytest.raises(ValueError, match="`change` must be"):
            Paced(change)


@pytest.mark.usefixtures("unchecked")
def test_a_change_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="`change` must be"):
        Paced("fast")


def test_a_velocity_that_another_thread_keeps_meanwhile_is_not_taken() -> None:
    """The entry is replaced between the look at its fit and the look at its velocity."""
    flow, paced = linear(1.0), Paced()
    last = paced._last

    class Replaced(tuple):
        def __getitem__(self, key):
            last._entry = (lambda: None, (torch.zeros_like(X), None))
            return super().__getitem__(key)

    states = pf.iterate(flow, X, dt=0.1, integrator=paced)
    next(states), next(states)
    last._entry = Replaced(last._entry)
    found = next(states).x.points
    alone = pf.simulate(flow, X, steps=2, dt=0.1, integrator=Paced())
    assert torch.equal(found, alone.particles[-1])
