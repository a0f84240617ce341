"""Runs: time, continuing bit for bit, randomness, what is saved, and the ways in which a run can
end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws, Replay
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, Fit
from particleflow.integrators import RK4, Euler, Heun, Integrator, Snapshot
from particleflow.kernels import Gaussian, Radial
from particleflow.metrics import W2, SlicedW2
from particleflow.mobilities import Vanilla
from particleflow.samplers import Minibatch
from particleflow.schedules import Geometric

KERNEL = Gaussian(0.8)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


X, Y = 0.6 * normal(13, 2, 0, 0.9), normal(17, 2, 1)
MMD_FLOW = pf.mmd_flow(KERNEL)

# flow, target, dt, integrator
RUNS: dict[str, tuple[pf.Flow, object, float, Integrator | None]] = {
    "MMD with noise": (pf.mmd_flow(KERNEL, noise=Geometric(0.5, ratio=0.9)), Y, 0.1, None),
    "MMD, RK4, noise of time": (
        pf.mmd_flow(KERNEL, noise=lambda clock, fit: 0.3 / (1 + clock.t)),
        Y,
        0.1,
        RK4(),
    ),
    "KALE, warm": (pf.kale_flow(KERNEL, lam=0.01), Y, 0.005, None),
    "KALE, Heun": (pf.kale_flow(KERNEL, lam=0.01), Y, 0.005, Heun()),
    "KDE": (pf.mono_flow(KDE(KERNEL), Vanilla(2.0)), Y, 0.05, None),
    "Langevin": (pf.langevin(pf.samplers.Gaussian(dim=2)), None, 0.05, None),
    "minibatches": (pf.mmd_flow(KERNEL), Minibatch(pf.samplers.Gaussian(dim=2), 19), 0.1, None),
    "reaction": (pf.Flow(MMD(KERNEL), reaction=lambda w: 2 * w), Y, 0.1, Heun()),
}
each_run = pytest.mark.parametrize("name", RUNS)


def same(a: pf.Trajectory, b: pf.Trajectory) -> bool:
    """Bit for bit, with NaN equal to NaN."""
    first, second = a.numpy(), b.numpy()
    return first.keys() == second.keys() and all(
        np.array_equal(first[k], second[k], equal_nan=first[k].dtype.kind == "f") for k in first
    )


# ---- going on
# --------------------------------------------------------------------------------------------------


@cache
def run_and_its_beginning(name: str) -> tuple[pf.Trajectory, pf.Trajectory]:
    """12 steps, and the first five of them."""
    flow, target, dt, scheme = RUNS[name]
    save = pf.SaveAt(every=1, velocity=True)
    whole, half = (
        pf.simulate(flow, X, target, steps=steps, dt=dt, integrator=scheme, save=save, seed=5)
        for steps in (12, 5)
    )
    return whole, half


@each_run
@pytest.mark.parametrize("through", ["memory", "file", "snapshot", "iterate"])
def test_stopping_and_going_on_is_running_through(name: str, through: str, tmp_path: Path) -> None:
    flow, target, dt, scheme = RUNS[name]
    save = pf.SaveAt(every=1, velocity=True)
    whole, half = run_and_its_beginning(name)
    assert whole.status == "completed"
    match through:
        case "memory":
            assert same(
                pf.simulate(flow, half, target, steps=7, integrator=scheme, save=save), whole
            )
        case "file":
            half.save(tmp_path / "half.npz")
            assert same(
                pf.simulate(
                    flow,
                    pf.Trajectory.load(tmp_path / "half.npz"),
                    target,
                    steps=7,
                    integrator=scheme,
                    save=save,
                ),
                whole,
            )
        case "snapshot":
            rest = pf.simulate(
                flow, half.state, target, steps=7, dt=dt, integrator=scheme, save=save
            )
            assert torch.equal(rest.particles, whole.particles[5:])
            assert torch.equal(rest.times, whole.times[5:])
            assert rest.steps.tolist() == list(range(5, 13))
        case "iterate":
            states = list(islice(pf.iterate(flow, X, target, dt=dt, integrator=scheme, seed=5), 6))
            later = list(islice(pf.iterate(flow, states[-1], target, dt=dt, integrator=scheme), 8))
            assert torch.equal(
                torch.stack([s.x.points for s in [*states[:5], *later]]), whole.particles
            )
            assert [s.clock.t for s in [*states[:5], *later]] == whole.times.tolist()


def test_the_earlier_run_is_left_as_it_was_and_its_target_and_dt_are_kept() -> None:
    half = pf.simulate(MMD_FLOW, X, Y, steps=5, dt=0.07, seed=5)
    before = {k: v.copy() for k, v in half.numpy().items()}
    whole = pf.simulate(MMD_FLOW, half, steps=5)
    assert whole.report["dt"] == 0.07
    assert not whole.report["dt_suggested"]
    assert whole.target is not None
    assert torch.equal(whole.target, Y)
    assert all(np.array_equal(half.numpy()[k], before[k]) for k in before)
    assert whole.times.tolist() == [n * 0.07 for n in range(11)]


def test_going_on_with_another_step_keeps_the_time() -> None:
    half = pf.simulate(MMD_FLOW, X, Y, steps=10, dt=0.1)
    rest = pf.simulate(MMD_FLOW, half, steps=4, dt=0.025)
    assert rest.times[:11].tolist() == [n * 0.1 for n in range(11)]
    assert rest.times[11:].tolist() == [1.0 + n * 0.025 for n in range(1, 5)]
    assert rest.steps.tolist() == list(range(15))
    third = pf.simulate(MMD_FLOW, rest, t1=1.2)
    assert third.times[-1] == pytest.approx(1.2, abs=1e-15)


def test_metrics_that_begin_late_are_measured_before_and_those_left_out_are_told() -> None:
    half = pf.simulate(MMD_FLOW, X, Y, steps=3, dt=0.1, metrics={"a": lambda x, y: 1.0})
    with pytest.warns(
        RuntimeWarning, match=r"`metrics` \['a'\] of the run that goes on were not passed again"
    ):
        rest = pf.simulate(
            MMD_FLOW, half, steps=2, metrics={"b": lambda x, y: float(x.points[0, 0])}
        )
    nan = pytest.approx([math.nan] * 2, nan_ok=True)
    assert rest.metrics["a"].tolist()[:4] == [1.0] * 4
    assert rest.metrics["a"].tolist()[4:] == nan
    assert rest.metrics["b"].tolist() == rest.particles[:, 0, 0].tolist()


def test_a_run_that_goes_on_measures_the_metrics_that_its_report_tells() -> None:
    own = {"W2": W2(), "sliced": SlicedW2(), "rough": SlicedW2(projections=7)}
    whole = pf.simulate(MMD_FLOW, X, Y, steps=5, dt=0.1, metrics=own)
    half = pf.simulate(MMD_FLOW, X, Y, steps=3, dt=0.1, metrics=own)
    with pytest.warns(RuntimeWarning, match=r"\['rough'\] .*; pass metrics= to go on with them"):
        rest = pf.simulate(MMD_FLOW, half, steps=2)
    for name in ("W2", "sliced"):
        assert rest.metrics[name].tolist() == whole.metrics[name].tolist()
    assert rest.metrics["rough"][4:].isnan().all()
    with pytest.warns(RuntimeWarning, match="rough"):
        none = pf.simulate(MMD_FLOW, half, steps=2, metrics={})
    assert none.metrics["W2"][4:].isnan().all()
    # words about a run use the last value that is known
    assert f"W2 {float(half.metrics['W2'][0]):.4g} -> {float(half.metrics['W2'][3]):.4g}" in repr(
        none
    )
    assert "nan" not in str(none.summary())


def test_metrics_that_begin_late_against_another_target_are_told() -> None:
    half = pf.simulate(MMD_FLOW, X, Y, steps=3, dt=0.1)
    with pytest.warns(
        RuntimeWarning,
        match=r"`metrics` \['b'\] are NaN up to step 3: the run that goes on had another target",
    ):
        rest = pf.simulate(MMD_FLOW, half, Y + 1, steps=2, metrics={"b": lambda x, y: 2.0})
    assert rest.metrics["b"].tolist()[4:] == [2.0] * 2
    assert bool(rest.metrics["b"][:4].isnan().all())


def test_a_warm_start_is_part_of_the_state() -> None:
    """Without the memory the bits would differ: the solver stops at its tolerance, from where it
    starts.
    """
    flow, target, dt, _ = RUNS["KALE, warm"]
    half = pf.simulate(flow, X, target, steps=5, dt=dt)
    assert set(half.state.memory) == {"u"}
    forgotten = Snapshot(clock=half.state.clock, x=half.state.x, stepper=half.state.stepper)
    warm, cold = (
        pf.simulate(flow, s, target, steps=7, dt=dt, save=pf.SaveAt(every=1)).particles
        for s in (half.state, forgotten)
    )
    assert not torch.equal(warm, cold)
    assert torch.allclose(warm, cold, rtol=0, atol=1e-10)


# ---- time
# --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_time_is_a_multiple_of_dt_and_not_a_sum() -> None:
    path = pf.simulate(
        pf.Flow(ClosedForm(lambda z: -z)), X, steps=1000, dt=0.1, save=pf.SaveAt(every=1)
    )
    assert path.times.tolist() == [n * 0.1 for n in range(1001)]
    assert sum([0.1] * 1000) != 1000 * 0.1


@pytest.mark.parametrize(
    ("t1", "dt", "steps"),
    [(1.0, 0.1, 10), (0.7, 0.1, 7), (1.0, 0.3, 4), (0.05, 0.3, 1), (1.2, 0.4, 3)],
)
def test_t1_is_reached_with_a_whole_number_of_steps(t1: float, dt: float, steps: int) -> None:
    path = pf.simulate(MMD_FLOW, X, Y, t1=t1, dt=dt)
    assert int(path.steps[-1]) == steps
    assert float(path.times[-1]) == pytest.approx(t1, rel=1e-15)
    assert path.report["dt"] <= dt * (1 + 1e-15)
    assert path.report["dt"] == t1 / steps


def test_without_dt_the_flow_s_own_suggestion_is_taken_and_recorded() -> None:
    path = pf.simulate(MMD_FLOW, X, Y, steps=3)
    assert path.report["dt"] == MMD_FLOW.suggest_dt(X, Y)
    assert path.report["dt_suggested"] is True
    assert pf.simulate(MMD_FLOW, X, Y, steps=3, dt=0.1).report["dt_suggested"] is False
    assert float(path.times[-1]) == 3 * path.report["dt"]


def test_the_report_tells_what_ran() -> None:
    path = pf.simulate(
        pf.kale_flow(KERNEL, lam=0.1), X, Y, steps=4, dt=0.01, integrator=Heun(), seed=9
    )
    assert path.report["integrator"] == "Heun()"
    assert "KALE(kernel=Gaussian(bandwidth=0.8), lam=0.1" in path.report["flow"]
    assert path.report["seed"] == 9
    assert path.report["fits"] == 5
    assert path.report["iterations"] >= 5
    assert 0 <= path.report["worst_gap"] < 1e-12


# ---- randomness
# --------------------------------------------------------------------------------------------------


def test_noise_is_a_function_of_seed_stream_and_step() -> None:
    draws = Draws(5)
    recorded = {"noise": torch.stack([draws.normal("noise", n, X) for n in range(6)])}
    flow = pf.mmd_flow(KERNEL, noise=0.4)
    a = pf.simulate(flow, X, Y, steps=6, dt=0.1, seed=5)
    b = pf.simulate(flow, X, Y, steps=6, dt=0.1, draws=Replay(recorded))
    assert same(a, b)
    assert not same(a, pf.simulate(flow, X, Y, steps=6, dt=0.1, seed=6))
    for stream, step in (("noise", 1), ("brownian", 0)):
        assert not torch.equal(draws.normal("noise", 0, X), draws.normal(stream, step, X))


def test_no_global_randomness_is_read_or_changed() -> None:
    flow = pf.mmd_flow(KERNEL, noise=0.4)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    state, old = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a = pf.simulate(flow, X, Minibatch(pf.samplers.Rings(), 19), steps=3, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], old)  # noqa: NPY002
    torch.manual_seed(2)
    assert same(a, pf.simulate(flow, X, Minibatch(pf.samplers.Rings(), 19), steps=3, seed=4))


def test_a_minibatch_is_fresh_at_every_step_and_the_same_at_its_stages() -> None:
    seen: list[tuple[int, Tensor]] = []

    @dataclass(frozen=True)
    class Watched(MMD):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
            assert y is not None
            seen.append((clock.step, y.points))
            return super().fit(x, y, clock, memory)

    batch = Minibatch(pf.samplers.Gaussian(dim=2), 19)
    path = pf.simulate(
        pf.Flow(Watched(KERNEL)),
        X,
        batch,
        steps=3,
        dt=0.1,
        integrator=RK4(),
        seed=5,
        metrics={"n": lambda x, y: float(len(y))},
    )
    assert path.target is None
    assert path.metrics["n"].tolist() == [19.0] * 4
    for step, points in seen:
        assert torch.equal(points, batch.at(Clock(step=step, draws=Draws(5))).points)
    assert not torch.equal(seen[0][1], seen[-1][1])
    assert [step for step, _ in seen] == [0] * 4 + [1] * 4 + [2] * 4 + [3]


# ---- what is recorded
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save", "steps", "expected"),
    [
        (pf.SaveAt(every=4), 10, [0, 4, 8, 10]),
        (pf.SaveAt(every=5), 10, [0, 5, 10]),
        (pf.SaveAt(every=100), 10, [0, 10]),
        (pf.SaveAt(steps=[3, 7]), 10, [0, 3, 7, 10]),
        (pf.SaveAt(steps=[0, 99]), 10, [0, 10]),
        (pf.SaveAt(), 10, list(range(11))),
        (None, 10, list(range(11))),
        (None, 1, [0, 1]),
    ],
    ids=repr,
)
def test_the_steps_that_are_recorded(
    save: pf.SaveAt | None, steps: int, expected: list[int]
) -> None:
    path = pf.simulate(MMD_FLOW, X, Y, steps=steps, dt=0.1, save=save)
    assert path.steps.tolist() == expected
    assert path.times.tolist() == [n * 0.1 for n in expected]
    assert path.particles.shape == (len(expected), 13, 2)
    assert path.velocity is None
    every = pf.simulate(MMD_FLOW, X, Y, steps=steps, dt=0.1, save=pf.SaveAt(every=1))
    assert torch.equal(path.particles, every.particles[expected])
    assert torch.equal(path.energy, every.energy[expected])


@pytest.mark.usefixtures("unchecked")
def test_a_long_run_is_recorded_about_a_hundred_times() -> None:
    path = pf.simulate(MMD_FLOW, X, Y, steps=1234, dt=0.01)
    assert 90 <= len(path) <= 102
    assert path.steps[[0, -1]].tolist() == [0, 1234]


def test_recorded_velocities_move_the_particles() -> None:
    path = pf.simulate(MMD_FLOW, X, Y, steps=6, dt=0.1, save=pf.SaveAt(every=1, velocity=True))
    assert path.velocity is not None
    torch.testing.assert_close(
        path.particles[1:], path.particles[:-1] + 0.1 * path.velocity[:-1], rtol=1e-15, atol=1e-16
    )
    noisy = pf.simulate(
        pf.mmd_flow(KERNEL, noise=0.5),
        X,
        Y,
        steps=6,
        dt=0.1,
        save=pf.SaveAt(every=1, velocity=True),
    )
    assert noisy.velocity is not None
    torch.testing.assert_close(
        noisy.particles[1:],
        noisy.particles[:-1] + 0.1 * noisy.velocity[:-1],
        rtol=1e-15,
        atol=1e-16,
    )


def test_metrics_see_the_recorded_clouds() -> None:
    path = pf.simulate(
        MMD_FLOW,
        X,
        Y,
        steps=6,
        dt=0.1,
        save=pf.SaveAt(every=2),
        metrics={"MMD2": pf.metrics.MMD2(KERNEL), "W2": pf.metrics.W2()},
    )
    assert list(path.metrics) == ["MMD2", "W2"]
    assert path.metrics["MMD2"].numpy() == pytest.approx(2 * path.energy.numpy(), rel=1e-12)
    for k in range(len(path)):
        assert path.metrics["W2"][k] == pf.metrics.W2()(path.particles[k], Y)


def test_iterate_gives_the_states_of_simulate() -> None:
    path = pf.simulate(MMD_FLOW, X, Y, steps=6, dt=0.1)
    states = list(islice(pf.iterate(MMD_FLOW, X, Y, dt=0.1), 7))
    assert torch.equal(torch.stack([s.x.points for s in states]), path.particles)
    assert [s.clock.step for s in states] == list(range(7))
    assert [s.fit.value for s in states] == path.energy.tolist()
    assert {s.status for s in states} == {"running"}


# ---- what goes in
# --------------------------------------------------------------------------------------------------


def test_inputs_are_copied_and_never_changed() -> None:
    x, y = X.clone().requires_grad_(True), Y.clone()
    path = pf.simulate(pf.mmd_flow(KERNEL, noise=0.2), x, y, steps=4, dt=0.1)
    assert torch.equal(x.detach(), X)
    assert torch.equal(y, Y)
    assert not path.particles.requires_grad
    y += 100
    x.data += 100
    assert torch.equal(path.particles[0], X)
    assert path.target is not None
    assert torch.equal(path.target, Y)
    array = X.numpy().copy()
    path = pf.simulate(MMD_FLOW, array, Y, steps=1, dt=0.1)
    array += 7
    assert torch.equal(path.particles[0], X)


def test_a_recorded_run_does_not_share_memory_with_the_one_that_goes_on() -> None:
    half = pf.simulate(MMD_FLOW, X, Y, steps=3, dt=0.1)
    rest = pf.simulate(MMD_FLOW, half, steps=2)
    rest.particles.zero_()
    assert torch.equal(half.particles[0], X)


@pytest.mark.parametrize(
    ("x_type", "y_type"),
    [
        ("float32", "list"),
        ("float32", "array"),
        ("list", "float32"),
        ("float64", "int"),
        ("list", "list"),
    ],
)
def test_what_is_converted_follows_what_is_a_tensor(x_type: str, y_type: str) -> None:
    made = {
        "float32": lambda t: t.float(),
        "float64": lambda t: t,
        "list": lambda t: t.tolist(),
        "array": lambda t: t.numpy(),
        "int": lambda t: (10 * t).long(),
    }
    path = pf.simulate(MMD_FLOW, made[x_type](X), made[y_type](Y), steps=2, dt=0.1)
    assert path.particles.dtype == (
        torch.float32 if "float32" in (x_type, y_type) else torch.float64
    )
    assert path.target is not None
    assert path.target.dtype == path.particles.dtype


@each_run
def test_float32_runs(name: str) -> None:
    flow, target, dt, scheme = RUNS[name]
    if target is Y:
        target = Y.float()
    elif isinstance(target, Minibatch):
        target = Minibatch(target.sampler, target.size, dtype=torch.float32)
    path = pf.simulate(flow, X.float(), target, steps=5, dt=dt, integrator=scheme)
    assert path.status == "completed"
    assert path.particles.dtype == torch.float32
    assert path.times.dtype == path.energy.dtype == torch.float64
    assert path.report["dt"] == dt


@pytest.mark.parametrize(
    "estimator", [MMD(KERNEL), KALE(KERNEL, lam=0.1), KDE(KERNEL)], ids=lambda e: type(e).__name__
)
def test_a_heavy_particle_is_several_light_ones(estimator: MMD) -> None:
    """A point of mass 2/N moves as two that coincide, and so does everything else."""
    twice, masses = (
        torch.cat([X, X[:1]]),
        torch.tensor([2.0] + [1.0] * 12, dtype=torch.float64) / 14,
    )
    light = pf.simulate(pf.Flow(estimator), twice, Y, steps=5, dt=0.02)
    heavy = pf.simulate(pf.Flow(estimator), Cloud(X, log_mass=masses.log()), Y, steps=5, dt=0.02)
    assert torch.allclose(heavy.particles, light.particles[:, :13], rtol=0, atol=1e-13)
    assert torch.allclose(heavy.energy, light.energy, rtol=1e-11)
    assert heavy.log_mass is not None
    assert torch.allclose(heavy.log_mass.exp(), masses.expand(6, 13), rtol=1e-14)
    assert torch.allclose(heavy.cloud(-1).mass, masses, rtol=1e-14)
    assert light.log_mass is None


@pytest.mark.parametrize("scheme", [Euler(), Heun(), RK4()], ids=lambda s: type(s).__name__)
def test_a_constant_reaction_is_exponential_growth(scheme: Integrator) -> None:
    """log m grows like t, exactly, in every scheme; the particles of a flow that sees normalised
    ratios move on as before.
    """
    flow = pf.Flow(MMD(KERNEL), reaction=torch.ones_like)
    path = pf.simulate(flow, X, Y, steps=10, dt=0.1, integrator=scheme)
    assert path.log_mass is not None
    expected = path.times[:, None] - math.log(13)
    assert torch.allclose(path.log_mass, expected.expand(11, 13), rtol=0, atol=1e-14)
    assert float(path.cloud(-1).mass.sum()) == pytest.approx(math.e, rel=1e-13)


def test_fit_alone_makes_one_fit() -> None:
    fit = pf.fit(KDE(KERNEL), X.tolist(), Y)
    value, grad = fit.witness.value_and_grad(Y)
    assert value.shape == (17,)
    assert grad.shape == (17, 2)
    assert fit.value is not None
    with pytest.raises(
        ValueError,
        match=r"`y` must be \(M, d\) points for KDE, got None: pass samples of the target dis",
    ):
        pf.fit(KDE(KERNEL), X)


# ---- how a run ends
# --------------------------------------------------------------------------------------------------


def suggested(message: str) -> float:
    return float(message.split("try dt = ")[1].split(";")[0])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("flow", "dt"),
    [
        (pf.kale_flow(KERNEL, lam=1e-2), 1e9),
        (pf.mono_flow(KDE(KERNEL)), 50.0),
        (pf.Flow(ClosedForm(lambda z: -(z**3))), 2.0),
    ],
    ids=["KALE", "KDE", "score"],
)
def test_a_step_too_large_ends_with_its_cause_and_a_step_that_works(
    flow: pf.Flow, dt: float
) -> None:
    target = None if isinstance(flow.estimator, ClosedForm) else Y
    path = pf.simulate(flow, X, target, steps=1000, dt=dt, save=pf.SaveAt(every=1000))
    assert path.status == "diverged"
    last = int(path.steps[-1])
    assert path.message.startswith(f"step {last + 1} with dt = {dt:g}: ")
    assert path.message.endswith(f"everything up to step {last} is kept")
    assert bool(torch.isfinite(path.particles).all())
    assert path.state.clock.step == last
    better = suggested(path.message)
    assert 0 < better < dt
    again = pf.simulate(flow, X, target, steps=100, dt=better)
    assert (again.status, again.message) == ("completed", "")
    assert torch.equal(path.particles[0], X)


@pytest.mark.usefixtures("unchecked")
def test_every_finite_state_before_the_divergence_is_there() -> None:
    flow = pf.Flow(ClosedForm(lambda z: -(z**3)))
    path = pf.simulate(flow, X, steps=3000, dt=2.0, save=pf.SaveAt(every=1))
    states = []
    for state in pf.iterate(flow, X, dt=2.0):
        if state.status != "running":
            break
        states.append(state)
    assert path.steps.tolist() == list(range(len(states)))
    assert torch.equal(path.particles, torch.stack([s.x.points for s in states]))
    assert state.status == "diverged"
    assert state.message == path.message
    assert torch.equal(state.x.points, states[-1].x.points)


def test_iterate_ends_after_the_last_good_state() -> None:
    states = list(islice(pf.iterate(pf.Flow(ClosedForm(lambda z: -(z**3))), X, dt=2.0), 3000))
    assert [s.status for s in states] == ["running"] * (len(states) - 1) + ["diverged"]


def test_a_kernel_that_returns_nan_is_divergence() -> None:
    """It breaks down at distances that no trial of it has met."""
    kernel = Radial(lambda s: torch.exp(-s / 2) + 0 * ((s - 32) * (s - 56)).sqrt())
    path = pf.simulate(pf.mmd_flow(kernel), X + 4.0, Y, steps=20, dt=0.5)
    assert path.status == "diverged"
    start = (
        "step 1 with dt = 0.5: 13 of 13 particles are no longer finite: the velocity is not finite"
        " at 13 of them already, so look at"
    )
    assert path.message.startswith(start)
    assert path.steps.tolist() == [0]
    assert torch.equal(path.particles[0], X + 4.0)


def test_one_coordinate_that_is_lost_is_divergence() -> None:
    flow = pf.Flow(
        ClosedForm(lambda z: torch.where((z > 1.4) & (torch.arange(2) == 1), math.nan, 1.0))
    )
    path = pf.simulate(flow, X, steps=20, dt=0.1)
    lost = int((path.particles[-1, :, 1] > 1.4).sum())
    assert path.status == "diverged"
    assert 1 <= lost < 13
    assert f": {lost} of 13 particles are no longer finite: " in path.message
    assert bool(torch.isfinite(path.particles).all())


def test_masses_that_explode_are_divergence() -> None:
    path = pf.simulate(pf.Flow(MMD(KERNEL), reaction=lambda w: w * math.inf), X, Y, steps=5, dt=0.1)
    assert path.status == "diverged"
    assert "masses are no longer finite" in path.message
    assert path.steps.tolist() == [0]


@pytest.mark.usefixtures("unchecked")
def test_particles_that_escape_are_divergence() -> None:
    path = pf.simulate(pf.Flow(ClosedForm(lambda z: 9.0 * z)), X, steps=500, dt=1.0)
    assert path.status == "diverged"
    assert "particles are 1e+06 times the start's extent away" in path.message
    assert bool(torch.isfinite(path.particles).all())


def test_an_inner_solver_that_stops_short_ends_the_run() -> None:
    flow = pf.Flow(KALE(KERNEL, lam=1e-2, max_iterations=1))
    message = (
        r"`flow` cannot start: the estimator did not converge \(iterations \d+, gap .*\):"
        r" .*max_iterations.*no step was taken"
    )
    with pytest.raises(ValueError, match=message):
        pf.simulate(flow, X, Y, steps=5, dt=0.01)
    path = pf.simulate(
        pf.Flow(Failing(KERNEL, after=3)), X, Y, steps=9, dt=0.01, save=pf.SaveAt(every=2)
    )
    assert path.status == "not converged"
    assert (
        path.message
        == "step 4: the estimator did not converge (iterations 7, gap 0.5): raise the roof;"
        " everything up to step 3 is kept"
    )
    assert path.steps.tolist() == [0, 2, 3]
    staged = pf.simulate(
        pf.Flow(Failing(KERNEL, after=3)), X, Y, steps=9, dt=0.01, integrator=RK4()
    )
    assert staged.status == "not converged"


@dataclass(frozen=True)
class Failing(MMD):
    """Does not converge after some steps."""

    after: int = 0

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
        fit = super().fit(x, y, clock, memory)
        if clock.step <= self.after:
            return fit
        return Fit(
            fit.witness,
            report={"converged": False, "iterations": 7, "gap": 0.5, "remedy": "raise the roof"},
        )


def test_a_metric_that_fails_keeps_the_run_up_to_there() -> None:
    def fragile(x: Cloud, y: Cloud) -> float:
        calls.append(1)
        if len(calls) > 30:
            raise RuntimeError("no more")
        return 1.0

    calls: list[int] = []
    where = (
        r"RuntimeError\('no more'\), raised in `metrics` 'fragile' \(fragile, test_engine\.py:\d+\)"
    )
    with pytest.warns(
        RuntimeWarning,
        match=rf"the run failed after step 30: {where}; the trajectory up to there is kept",
    ):
        path = pf.simulate(
            MMD_FLOW, X, Y, steps=40, dt=0.01, metrics={"fragile": fragile}, save=pf.SaveAt(every=1)
        )
    assert path.status == "failed"
    assert re.fullmatch(f"after step 30: {where}", path.message)
    assert path.steps.tolist() == list(range(31))
    assert path.metrics["fragile"].tolist() == pytest.approx([1.0] * 30 + [math.nan], nan_ok=True)
    calls.clear()
    whole = pf.simulate(MMD_FLOW, X, Y, steps=40, dt=0.01)
    assert torch.equal(pf.simulate(MMD_FLOW, path, steps=10).particles[-1], whole.particles[-1])


def test_a_metric_that_fails_at_once_is_an_error() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        pf.simulate(MMD_FLOW, X, Y, steps=4, dt=0.01, metrics={"bad": lambda x, y: 1 / 0})
    assert any(
        "raised in `metrics` 'bad' (<lambda>, test_engine.py:" in note
        for note in caught.value.__notes__
    )


def test_an_interrupt_keeps_the_run_up_to_there() -> None:
    def stop(x: Cloud, y: Cloud) -> float:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return 1.0

    calls: list[int] = []
    path = pf.simulate(MMD_FLOW, X, Y, steps=10, dt=0.01, metrics={"stop": stop})
    assert path.status == "interrupted"
    assert path.message == "stopped by Ctrl-C after step 3"
    assert path.steps.tolist() == [0, 1, 2, 3]


def test_an_estimator_that_raises_in_the_middle_keeps_the_run() -> None:
    @dataclass(frozen=True)
    class Broken(MMD):
        def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Mapping[str, Tensor]) -> Fit:
            if clock.step == 3:
                raise ArithmeticError("out of numbers")
            return super().fit(x, y, clock, memory)

    with pytest.warns(RuntimeWarning, match=r"the run failed after step 2"):
        path = pf.simulate(
            pf.Flow(Broken(KERNEL)), X, Y, steps=9, dt=0.01, save=pf.SaveAt(every=100)
        )
    assert path.status == "failed"
    assert path.steps.tolist() == [0, 2]


def test_energy_that_rises_is_told() -> None:
    """A conservative flow cannot do that: dt is too large, though nothing is infinite."""
    path = pf.simulate(MMD_FLOW, X, Y, steps=30, dt=5.0)
    assert path.status == "unstable"
    assert "the energy rose from " in path.message
    assert path.message.startswith("try dt = ")
    assert path.message.endswith("dt = 5 is too large")
    assert pf.simulate(MMD_FLOW, X, Y, steps=30, dt=0.05).message == ""


def test_a_progress_bar_is_silent_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    a = pf.simulate(MMD_FLOW, X, Y, steps=5, dt=0.1, progress=True)
    b = pf.simulate(MMD_FLOW, X, Y, steps=5, dt=0.1)
    assert same(a, b)
    assert capfd.readouterr() == ("", "")


def test_runs_that_nobody_sees_the_end_of_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`t1` must be at most 1e\+10 steps away, got 1e\+300 with dt = 0.01"
    ):
        pf.simulate(MMD_FLOW, X, Y, t1=1e300, dt=0.01)
    with pytest.raises(ValueError, match=r"`steps` must be at most 1e\+10, got 1.0e\+30: raise dt"):
        pf.simulate(MMD_FLOW, X, Y, steps=10**30, dt=0.01)


@pytest.mark.parametrize(
    ("wrong", "what"), [(MMD_FLOW, "Flow"), (MMD, "the class MMD without its parentheses")]
)
def test_a_fit_of_what_is_no_estimator_is_refused(wrong: Any, what: str) -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(
            TypeError, match=f"`estimator` must be an estimator, got {what}: e.g. pf.estimators"
        ):
            pf.fit(wrong, X, Y)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_step_chosen_for_one_target_is_chosen_anew_for_another() -> None:
    """And kept where the user gave it, or where the target is the same."""
    far = Cloud(40 * torch.as_tensor(Y) + 100)
    for target, other in (
        (Y, far),
        (Y, pf.samplers.Minibatch(pf.samplers.Rings(), 50)),
        (pf.samplers.Minibatch(pf.samplers.Rings(), 50), Y),
    ):
        first = pf.simulate(MMD_FLOW, X, target, steps=2)
        same = pf.simulate(MMD_FLOW, first, target, steps=2)
        assert same.report["dt"] == first.report["dt"]
        on = pf.simulate(MMD_FLOW, same, other, steps=2)
        assert on.report["dt_suggested"] is True
        assert on.report["dt"] == MMD_FLOW.suggest_dt(
            same.state.x, other if not hasattr(other, "at") else other.at(same.state.clock)
        )
        given = pf.simulate(MMD_FLOW, X, target, steps=2, dt=0.01)
        assert pf.simulate(MMD_FLOW, given, other, steps=2).report["dt"] == 0.01
