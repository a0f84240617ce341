"""Runs that an attentive user tries to break: nothing computed is lost, and no message accuses the
wrong thing.
"""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import particleflow as pf

KERNEL = pf.kernels.Gaussian(0.5)
FLOW = pf.mmd_flow(KERNEL)
X = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 2)))
Y = torch.from_numpy(np.random.default_rng(1).standard_normal((11, 2))) + 1


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_any_type_can_be_saved(tmp_path: Any) -> None:
    path = pf.simulate(FLOW, X, Y, steps=2, dt=np.float64(0.1), seed=np.int64(3))
    assert pf.Trajectory.load(path.save(tmp_path / "run.npz")).report["dt"] == 0.1
    assert len(pickle.dumps(path)) > 0


def test_a_velocity_that_cannot_be_recorded_loses_nothing() -> None:
    replay = pf.Replay({"noise": np.zeros((3, 7, 2))})
    flow = pf.mmd_flow(KERNEL, noise=0.1)
    with pytest.warns(RuntimeWarning, match="holds 3 steps"):
        path = pf.simulate(
            flow, X, Y, steps=3, dt=0.1, save=pf.SaveAt(every=1, velocity=True), draws=replay
        )
    assert path.status == "failed"
    assert path.steps.tolist() == [0, 1, 2, 3]
    assert torch.equal(path.particles[-1], pf.simulate(FLOW, X, Y, steps=3, dt=0.1).particles[-1])


@pytest.mark.usefixtures("unchecked")
def test_masses_that_appear_later_leave_the_earlier_records_balanced() -> None:
    balanced = pf.simulate(FLOW, X, Y, steps=3, dt=0.1)
    path = pf.simulate(
        pf.Flow(pf.estimators.KDE(KERNEL), reaction=lambda w: w - w.mean()), balanced, steps=3
    )
    assert path.log_mass is not None
    assert path.log_mass.shape == path.particles.shape[:2]
    torch.testing.assert_close(
        path.log_mass[:4], torch.full((4, 7), -math.log(7), dtype=torch.float64)
    )


@pytest.mark.usefixtures("unchecked")
def test_only_a_rise_on_a_fixed_target_within_one_run_is_the_step_s_fault() -> None:
    batches = pf.samplers.Minibatch(pf.samplers.Gaussian(dim=2), 16)
    assert pf.simulate(FLOW, X, batches, steps=30, dt=0.1).message == ""
    path = pf.simulate(FLOW, X, Y, steps=3, dt=0.1)
    assert pf.simulate(pf.kale_flow(KERNEL, lam=0.1), path, steps=3, dt=1e-3).message == ""
    assert (
        "the energy rose"
        in pf.simulate(pf.kale_flow(KERNEL, lam=0.1), X, Y, steps=30, dt=0.3).message
    )


@pytest.mark.usefixtures("unchecked")
def test_a_tight_start_without_a_target_has_not_flown_away() -> None:
    path = pf.simulate(
        pf.langevin(pf.samplers.Gaussian(dim=2, mean=100.0)), 1e-8 * X, steps=50, dt=0.1
    )
    assert path.status == "completed"


@pytest.mark.usefixtures("unchecked")
def test_a_run_in_which_nothing_moves_says_so() -> None:
    assert (
        "no particle has moved"
        in pf.simulate(pf.mmd_flow(pf.kernels.Gaussian(1e-4)), X, Y, steps=5).message
    )
    assert pf.simulate(FLOW, X, Y, steps=5).message == ""


def test_a_velocity_that_is_no_number_is_not_blamed_on_dt() -> None:
    unknown = pf.estimators.ClosedForm(lambda z: -z, current=pf.estimators.Moments())
    message = pf.simulate(
        pf.mono_flow(unknown, pf.mobilities.Vanilla()), X, steps=5, dt=0.1
    ).message
    assert "the velocity is not finite at 7 of them already" in message
    assert "try dt" not in message


def test_a_metric_cannot_move_the_particles() -> None:
    def spoil(x: pf.Cloud, y: pf.Cloud) -> float:
        x.points.mul_(0)
        y.points.mul_(0)
        return 1.0

    spoilt = pf.simulate(FLOW, X, Y, steps=3, dt=0.1, metrics={"spoil": spoil})
    assert torch.equal(spoilt.particles, pf.simulate(FLOW, X, Y, steps=3, dt=0.1).particles)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"integrator": None}, r"`integrator` must be given to go on: the run used Heun\(\)"),
        (
            {"metrics": {"energy": pf.metrics.W2()}},
            "`metrics` must have names that a trajectory has no other use for, got 'energy'",
        ),
        ({"metrics": {"W2": pf.metrics.W2}}, "`metrics` must map names to metrics"),
        ({"target": pf.samplers.Rings}, "`target` must be points, got the class Rings"),
    ],
)
def test_slips_are_named(change: dict[str, Any], message: str) -> None:
    path = pf.simulate(FLOW, X, Y, steps=3, dt=0.1, integrator=pf.Heun())
    with pytest.raises((ValueError, TypeError), match=message):
        pf.simulate(FLOW, path, **{"steps": 2, "integrator": pf.Heun(), **change})


def test_a_class_is_no_kernel() -> None:
    with pytest.raises(TypeError, match=r"`kernel` must be a kernel .* got the class Gaussian"):
        pf.kernels.as_kernel(pf.kernels.Gaussian)


def test_a_target_that_overflows_in_float32_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`target` must be finite, got \[inf, inf\] in row 0"):
        pf.simulate(FLOW, X.float(), 1e300 * (1 + Y.abs().numpy()), steps=1)


def test_an_integrator_that_uses_another_step_sets_the_clock() -> None:
    class Half(pf.Euler):
        def step(self, flow: Any, refit: Any, state: Any, dt: float) -> Any:
            return super().step(flow, refit, state, dt / 2)

    path = pf.simulate(FLOW, X, Y, steps=4, dt=0.25, integrator=Half(), save=pf.SaveAt(every=1))
    assert path.times.tolist() == [0, 0.125, 0.25, 0.375, 0.5]
