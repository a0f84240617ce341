"""Integrators that choose the lengths of their steps: what the engine, records and reports make of
the `dt` in their memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.estimators import KALE
from particleflow.integrators import Euler
from particleflow.kernels import Gaussian


def normal(n: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 2)) + shift)


X, Y = 0.6 * normal(13, 0, 0.9), normal(17, 1)
FLOW = pf.mmd_flow(Gaussian(0.9))


@dataclass(frozen=True)
class Growing:
    """Euler's method with steps that grow by a factor, and never use more than `most`."""

    factor: float = 1.5
    most: float = math.inf
    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def step(self, flow, refit, state, dt):
        used = min(dt, self.most)
        x, _, _ = Euler().step(flow, refit, state, used)
        wish = max(float(state.stepper.get("dt", 0.0)), self.factor * used)
        return x, used, {"dt": torch.tensor(wish, dtype=torch.float64)}


def run(**options) -> pf.Trajectory:
    given = {"integrator": Growing(), "dt": 0.01, **options}
    return pf.simulate(FLOW, options.pop("x0", X), Y, **given)


@pytest.mark.parametrize("t1", [0.3, 1.0, math.pi])
def test_the_end_is_reached_exactly(t1: float) -> None:
    path = run(t1=t1)
    assert path.status == "completed"
    assert float(path.times[-1]) == path.state.clock.t == t1
    used = path.times.diff()
    assert int(path.steps[-1]) == len(used)
    assert torch.allclose(used[1:-1], 1.5 * used[:-2])


def test_a_last_step_that_is_most_of_the_run_ends_there_exactly() -> None:
    """t + (t1 - t) differs from t1 in the last place for these."""
    for t1, part in ((0.21, 3), (0.11, 5), (0.23, 5)):
        path = run(t1=t1, dt=t1 / part, integrator=Growing(1e3))
        first = float(path.times[1])
        assert first + (t1 - first) != float(path.times[-1]) == t1


def test_a_remainder_of_rounding_is_no_step_of_its_own() -> None:
    """1 + 2 = 3 hundredths: the third step would have a length of 1e-12 of a hundredth."""
    for t1 in (0.03 - 1e-14, 0.03, 0.03 + 2e-14):
        path = run(t1=t1, integrator=Growing(2.0))
        assert (int(path.steps[-1]), float(path.times[-1])) == (2, t1)


def test_steps_counts_accepted_steps_and_the_report_tells_their_lengths() -> None:
    path = run(steps=6)
    assert int(path.steps[-1]) == 6
    first = float(path.report["dt"])
    assert path.report["lengths"] == pytest.approx([first, first * 1.5**5])
    assert f"of dt = {first:g} to {first * 1.5**5:.3g} to t =" in str(path.summary())
    assert "lengths" not in pf.simulate(FLOW, X, Y, steps=3, dt=0.1).report


def test_a_run_goes_on_with_the_chosen_length_bit_for_bit() -> None:
    whole, half = run(steps=6), run(steps=3)
    for given in (None, 0.01):
        rest = pf.simulate(FLOW, half, Y, steps=3, integrator=Growing(), dt=given)
        assert torch.equal(rest.particles[-1], whole.particles[-1])
        assert rest.times.tolist() == whole.times.tolist()
    longer = pf.simulate(FLOW, half, Y, steps=1, integrator=Growing(), dt=0.02)
    assert float(longer.times.diff()[-1]) == pytest.approx(0.02)


def test_another_integrator_does_not_take_over_the_memory() -> None:
    half = run(steps=3)
    rest = pf.simulate(FLOW, half, Y, steps=2, integrator=Euler(), dt=0.01)
    assert torch.allclose(rest.times.diff()[-2:], torch.tensor(0.01, dtype=torch.float64))
    assert set(rest.state.stepper) == {"origin"}


@pytest.mark.parametrize(("most", "count"), [(math.inf, 15), (0.001, 1000)])
def test_about_a_hundred_states_are_recorded_whatever_the_number_of_steps(most, count) -> None:
    path = run(t1=1.0, integrator=Growing(1.3, most))
    steps = path.steps.tolist()
    assert steps[-1] > count - 3
    assert len(path) == len(set(steps)) <= 200
    assert float(path.times.diff().max()) <= max(0.0101, float(path.report["lengths"][1]))
    assert run(t1=0.3, save=pf.SaveAt(every=4)).steps.tolist()[:3] == [0, 4, 7]


@dataclass(frozen=True)
class Ahead(Growing):
    """Euler's method that asks for the next state's fit."""

    def step(self, flow, refit, state, dt):
        x, used, memory = super().step(flow, refit, state, dt)
        refit.ahead(pf.Cloud(x.points + 1), used)
        refit.ahead(x, used)
        return x, used, memory


def test_a_fit_made_ahead_is_the_fit_of_the_next_state() -> None:
    fits = []

    @dataclass(frozen=True)
    class Counted(KALE):
        def fit(self, x, y, clock, memory):
            fits.append((clock.t, clock.step))
            return super().fit(x, y, clock, memory)

    flow = pf.mono_flow(Counted(Gaussian(0.9), lam=0.3))
    given = {"steps": 4, "dt": 0.05, "save": pf.SaveAt(every=1)}
    plain = pf.simulate(flow, X, Y, integrator=Growing(), **given)
    seen, fits[:] = list(fits), []
    ahead = pf.simulate(flow, X, Y, integrator=Ahead(), **given)
    assert len(fits) == 1 + 2 * 4
    assert [fits[0], *fits[2::2]] == seen
    assert torch.equal(ahead.particles, plain.particles)
    assert torch.equal(ahead.state.memory["u"], plain.state.memory["u"])


def test_a_length_that_is_none_is_refused() -> None:
    path = run(steps=3, integrator=Growing(-1.0))
    assert path.status == "failed"
    assert "`integrator` must keep as `dt` of its memory a length > 0, got 0 from" in path.message
