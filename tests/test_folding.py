"""A loop of one's own as a trajectory (`record`), the rules that end a run, and the time step of a
run that goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.estimators import ClosedForm
from particleflow.integrators import Paced
from particleflow.kernels import Gaussian, Laplace
from particleflow.samplers import Minibatch

RNG = np.random.default_rng(0)
X = torch.from_numpy(0.6 * RNG.standard_normal((13, 2)) + 0.9)
Y = torch.from_numpy(RNG.standard_normal((17, 2)))
FLOW = pf.mmd_flow(Gaussian(0.8))
W2 = {"W2": pf.metrics.W2()}

# flow, target, dt, integrator
RUNS: dict[str, tuple[pf.Flow, Any, float, Any]] = {
    "MMD": (FLOW, Y, 0.1, None),
    "weights": (FLOW, Cloud(Y, mass=np.arange(1.0, 18.0) / 153), 0.1, pf.Heun()),
    "noise": (pf.mmd_flow(Gaussian(0.8), noise=0.3), Y, 0.1, None),
    "KALE": (pf.kale_flow(Gaussian(0.8), lam=0.01), Y, 0.005, None),
    "Langevin": (pf.langevin(pf.samplers.Gaussian(dim=2)), None, 0.05, None),
    "minibatches": (FLOW, Minibatch(pf.samplers.Gaussian(dim=2), 19), 0.1, None),
    "lengths": (FLOW, Y, 0.1, Paced()),
    "masses": (pf.unbalanced(FLOW, resample=0.9), Y, 0.1, None),
    "unstable": (FLOW, Y, 12.0, None),
    "diverged": (pf.Flow(ClosedForm(lambda z: -z * z * z)), None, 9.0, None),
    "kink": (pf.mmd_flow(Laplace(0.8)), Y, 0.1, None),
}


def told(path: pf.Trajectory) -> dict[str, Any]:
    """All that a trajectory tells, but for the seconds and what both are told to differ in."""
    report = {k: v for k, v in path.report.items() if k not in ("seconds", "dt_suggested")}
    return {"report": report, "status": path.status, "message": path.message}


def same(a: pf.Trajectory, b: pf.Trajectory) -> None:
    first, second = a.numpy(), b.numpy()
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert told(a) == told(b)
    assert a.state.clock == b.state.clock
    for one, other in ((a.state.memory, b.state.memory), (a.state.stepper, b.state.stepper)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("MMD", "lengths", "unstable") else pytest.param(n, marks=pytest.mark.slow)
        for n in RUNS
    ],
)
def test_a_recorded_loop_is_the_run_of_simulate(name: str) -> None:
    flow, y, dt, integrator = RUNS[name]
    metrics = {} if y is None else W2
    save = pf.SaveAt(every=3, velocity=True, witness=name != "diverged")
    run = pf.simulate(
        flow, X, y, steps=10, dt=dt, integrator=integrator, save=save, metrics=metrics, seed=3
    )
    states = pf.iterate(flow, X, y, dt=dt, integrator=integrator, seed=3)
    same(pf.record(islice(states, 11), save=save, metrics=metrics), run)
    assert run.status == {"unstable": "unstable", "diverged": "diverged"}.get(name, "completed")


@pytest.mark.parametrize(
    "stop", [pf.Arrived(every=2, patience=3), lambda s: s.clock.t > 1.45], ids=["Arrived", "a time"]
)
def test_a_stop_ends_states_without_an_end(stop: Any) -> None:
    save = pf.SaveAt(every=4)
    run = pf.simulate(FLOW, X, Y, steps=10_000, dt=0.1, stop=stop, save=save, metrics=W2)
    path = pf.record(pf.iterate(FLOW, X, Y, dt=0.1), stop=stop, save=save, metrics=W2)
    same(path, run)
    assert path.report["stopped"]


def test_every_state_that_comes_is_recorded_unless_save_says_otherwise() -> None:
    every = pf.record(islice(pf.iterate(FLOW, X, Y, dt=0.1), 0, 41, 4))
    assert every.steps.tolist() == list(range(0, 41, 4))
    chosen = pf.record(islice(pf.iterate(FLOW, X, Y, dt=0.1), 38), save=pf.SaveAt(steps=[2, 30]))
    assert chosen.steps.tolist() == [0, 2, 30, 37]
    lengths = pf.record(islice(pf.iterate(FLOW, X, Y, dt=0.1, integrator=Paced()), 0, 9, 2))
    assert "lengths" not in lengths.report


def test_a_generator_of_one_s_own_ends_a_run() -> None:
    def above() -> Iterator[pf.State]:
        for state in pf.iterate(FLOW, X, Y, dt=0.1):
            yield state
            if state.fit.value < 0.02:
                return

    path = pf.record(above())
    assert path.status == "completed"
    assert "stopped" not in path.report
    assert path.energy[-1] < 0.02 <= path.energy[-2]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("lost"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_a_loop_that_raises_keeps_its_records(error: BaseException, status: str) -> None:
    def broken(at: int) -> Iterator[pf.State]:
        for state in pf.iterate(FLOW, X, Y, dt=0.1):
            if state.clock.step == at:
                raise error
            yield state

    if status == "failed":
        with pytest.warns(RuntimeWarning, match="the run failed after step 4"):
            path = pf.record(broken(5))
    else:
        path = pf.record(broken(5))
    assert path.status == status
    assert "after step 4" in path.message
    assert len(path) == 5
    for at in (0, 1):
        with pytest.raises(type(error)):
            pf.record(broken(at))


def test_states_that_were_kept_are_judged_by_what_they_are() -> None:
    """The run went on to an unstable step, beyond the states that are recorded."""
    states = list(islice(pf.iterate(FLOW, X, Y, dt=12.0), 12))
    first = next(s.clock.step for s in states if s.status == "unstable")
    assert pf.record(states).status == "unstable"
    run = pf.simulate(FLOW, X, Y, dt=12.0, steps=first, save=pf.SaveAt(every=1))
    for end in range(1, first):
        part = pf.record(states[: end + 1])
        assert part.status == ("unstable" if end >= run.report["unstable_from"] else "completed")
    calm = list(islice(pf.iterate(FLOW, X, Y, dt=0.1), 9))
    assert pf.record(calm[:5]).status == "completed"  # its energy is above that of later states


def test_another_run_that_follows_goes_on_as_in_simulate() -> None:
    other = pf.mmd_flow(Gaussian(0.4))
    first = list(islice(pf.iterate(FLOW, X, Y, dt=0.1), 6))
    second = islice(pf.iterate(other, first[-1], Y, dt=0.03), 5)
    path = pf.record(chain(first, second), metrics=W2)
    save = pf.SaveAt(every=1)
    half = pf.simulate(FLOW, X, Y, steps=5, dt=0.1, save=save, metrics=W2)
    same(path, pf.simulate(other, half, steps=4, dt=0.03, save=save, metrics=W2))


def test_states_that_do_not_follow_keep_what_came_before() -> None:
    run = list(islice(pf.iterate(FLOW, X, Y, dt=0.1), 6))
    fewer = pf.iterate(FLOW, X[:9], Y, dt=0.1)
    for following, told in ((fewer, "as many particles"), (run[2:], "order of their steps")):
        with pytest.warns(RuntimeWarning):
            path = pf.record(chain(run, islice(following, 3)))
        assert path.status == "failed"
        assert told in path.message
        assert len(path) == 6
    langevin = pf.iterate(pf.langevin(pf.samplers.Gaussian(dim=2)), run[-1], dt=0.1)
    path = pf.record(chain(run, islice(langevin, 3)), metrics=W2)
    assert path.status == "failed"
    assert "`metrics`" in path.message


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users call, without the suite's checks of types."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("states", "kind", "words"),
    [
        (3, TypeError, "iterable of states"),
        (pf.simulate(FLOW, X, Y, steps=1, dt=0.1), TypeError, "iterable of states"),
        ([], ValueError, "got none"),
        ([X], TypeError, "as number 0"),
        (
            [replace(next(pf.iterate(FLOW, X, Y, dt=0.1)), course=None)],
            ValueError,
            "no run made",
        ),
    ],
    ids=["number", "trajectory", "none", "points", "made by hand"],
)
def test_what_are_no_states_is_refused(states: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        pf.record(states)


@pytest.mark.usefixtures("unchecked")
def test_the_other_arguments_are_those_of_simulate() -> None:
    states = pf.iterate(FLOW, X, Y, dt=0.1)
    for name in ("save", "stop", "metrics"):
        wrong: dict[str, Any] = {name: 3}
        with pytest.raises(TypeError, match=f"`{name}`"):
            pf.record(states, **wrong)
    four = torch.cat([X, X], 1)
    with pytest.raises(ValueError, match="in d = 1 or 2"):
        pf.record(pf.iterate(FLOW, four, four[:9], dt=0.1), save=pf.SaveAt(witness=True))


# ---- rules that end a run


def test_at_rest_ends_where_the_velocity_is_small() -> None:
    """Of v = -z the speed is e^-t times that at the start."""
    flow = pf.Flow(ClosedForm(lambda z: -z))
    path = pf.simulate(flow, X, steps=5000, dt=0.01, stop=pf.AtRest(rtol=0.05, every=1))
    assert path.state.clock.step == np.ceil(np.log(0.05) / np.log(0.99))
    assert path.status == "completed"
    assert "velocity" in path.report["stopped"]
    slow = pf.simulate(flow, X, steps=5000, dt=0.01, stop=pf.AtRest(rtol=0, atol=0.1, every=7))
    assert slow.state.clock.step % 7 == 0
    speed = (slow.state.x.points**2).sum(1).mean() ** 0.5
    assert 0.1 * 0.99**7 < speed <= 0.1


def test_energy_below_ends_at_the_energy() -> None:
    stop = pf.EnergyBelow(rtol=0.1, every=1)
    path = pf.simulate(FLOW, X, Y, steps=5000, dt=0.1, stop=stop, save=pf.SaveAt(every=1))
    assert path.energy[-1] <= 0.1 * path.energy[0] < path.energy[-2]
    assert "energy" in path.report["stopped"]


@pytest.mark.slow
def test_no_progress_ends_where_the_energy_stays() -> None:
    far = X + 20
    path = pf.simulate(FLOW, far, Y, steps=9999, dt=0.1, stop=pf.NoProgress(rtol=0.05, every=5))
    assert path.state.clock.step < 5000
    assert "has not fallen by 0.05" in path.report["stopped"]
    alive = pf.simulate(FLOW, X, Y, steps=60, dt=0.05, stop=pf.NoProgress(every=5, patience=2))
    assert "stopped" not in alive.report


@pytest.mark.parametrize(
    ("stop", "flow", "y", "words"),
    [
        (pf.AtRest(), pf.langevin(pf.samplers.Gaussian(dim=2)), None, "without diffusion"),
        (pf.EnergyBelow(), pf.Flow(ClosedForm(lambda z: -z)), None, "with a value"),
        (pf.NoProgress(), pf.auto_flow(X, Y), Y, "one bandwidth"),
        (pf.Arrived(), pf.langevin(pf.samplers.Gaussian(dim=2)), None, "needs a target"),
    ],
    ids=["AtRest", "EnergyBelow", "NoProgress", "Arrived"],
)
def test_a_rule_that_cannot_serve_is_refused_before_the_first_step(
    stop: Any, flow: pf.Flow, y: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        pf.simulate(flow, X, y, steps=9, dt=0.1, stop=stop)
    with pytest.raises(ValueError, match=words):
        pf.record(pf.iterate(flow, X, y, dt=0.1), stop=stop)


def test_a_rule_without_its_parentheses_is_refused() -> None:
    with pytest.raises(TypeError, match=r"got the class AtRest: add the parentheses, AtRest\(\)"):
        pf.simulate(FLOW, X, Y, steps=9, dt=0.1, stop=pf.AtRest)


@pytest.mark.parametrize("rule", [pf.AtRest, pf.EnergyBelow], ids=["AtRest", "EnergyBelow"])
def test_tolerances_are_checked(rule: Any) -> None:
    for wrong in ({"rtol": -1.0}, {"rtol": 0.0}, {"every": 0}):
        with pytest.raises(ValueError, match="`"):
            rule(**wrong)
    with pytest.raises(ValueError, match="`rtol`"):
        pf.NoProgress(rtol=0.0)


# ---- the time step of a run that goes on

OTHER = pf.Flow(FLOW.estimator, mobility=pf.mobilities.Linear(100.0))
PACED = Paced()


def begun(kind: str, dt: float | None) -> Any:
    """A run of 30 steps with lengths of its own, as something to go on from."""
    if kind == "state":
        return next(islice(pf.iterate(FLOW, X, Y, dt=dt or 0.5, integrator=PACED), 30, None))
    path = pf.simulate(FLOW, X, Y, steps=30, dt=dt, integrator=PACED)
    return path if kind == "trajectory" else path.state


@pytest.mark.parametrize("given", [pytest.param(None, marks=pytest.mark.slow), 0.3])
@pytest.mark.parametrize("kind", ["trajectory", "snapshot", "state"])
def test_another_flow_or_target_does_not_take_over_a_length(kind: str, given: float | None) -> None:
    start = begun(kind, given)
    chosen = float((start.state if kind == "trajectory" else start).stepper["dt"])
    assert chosen > 2
    for flow, y, keeps in ((FLOW, Y, True), (FLOW, Y + 1, False), (OTHER, Y, False)):
        path = pf.simulate(flow, start, y, steps=1, dt=given, integrator=PACED)
        used = float(path.times[-1] - path.times[-2])
        dt = path.report["dt"]
        assert path.status == "completed"
        assert used == pytest.approx(chosen, rel=1e-12) if keeps else used <= dt * (1 + 1e-12)
        dt = given or 0.25  # without `given`, another one than before
        first, second = islice(pf.iterate(flow, start, y, dt=dt, integrator=PACED), 2)
        used = second.clock.t - first.clock.t
        if keeps and given is not None:
            assert used == pytest.approx(chosen, rel=1e-12)
        else:
            assert used <= dt * (1 + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trajectory", "snapshot", "state"])
@pytest.mark.parametrize("given", [None, 0.3])
def test_a_run_under_another_flow_has_a_dt_of_its_own(kind: str, given: float | None) -> None:
    """Euler's steps: only a Trajectory knows whether its dt was given."""
    start: Any = pf.simulate(FLOW, X, Y, steps=8, dt=given)
    if kind == "state":
        start = next(islice(pf.iterate(FLOW, X, Y, dt=given or 0.5), 8, None))
    elif kind == "snapshot":
        start = start.state
    same, other = (pf.simulate(flow, start, Y, steps=1) for flow in (FLOW, OTHER))
    if kind == "trajectory" and given is not None:
        assert same.report["dt"] == given
        assert not same.report["dt_suggested"]
    else:
        assert same.report["dt_suggested"]
    assert other.report["dt_suggested"]
    assert other.report["dt"] < 0.05 * same.report["dt"]
