"""lam that changes during a run: of the clock, or of the fits so far."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.divergences import Jeffreys
from particleflow.estimators import KALE, DrMMD, Estimator, Moreau
from particleflow.flows import EnergySlope
from particleflow.kernels import Gaussian
from particleflow.mobilities import Exponential, Linear
from particleflow.schedules import Constant, Decreasing, Geometric, Piecewise, Power, by_time

# Runs of many steps; shapes are checked in test_kale.py and test_moreau.py.
pytestmark = pytest.mark.usefixtures("unchecked")
KERNEL = Gaussian(0.7)
X = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 2)))
Y = torch.from_numpy(np.random.default_rng(1).standard_normal((23, 2)) + 0.8)
MAKE: dict[str, Callable[[object], Estimator]] = {
    "KALE": lambda lam: KALE(KERNEL, lam=lam),
    "Moreau": lambda lam: Moreau(KERNEL, divergence=Jeffreys(), lam=lam),
    "DrMMD": lambda lam: DrMMD(KERNEL, lam=lam),
}


def falling(clock: Clock) -> float:
    return 0.5 / (1 + 3 * clock.t)


def steady(clock: Clock) -> float:
    return 0.1


def slope_of(name: str, lam: float) -> float:
    return 1.0 if name == "Moreau" else 1 + lam


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize(
    "lam", [Constant(0.1), steady, Piecewise([], [0.1]), Power(0.1, exponent=0.0)]
)
def test_a_constant_schedule_gives_the_bits_of_the_number(name: str, lam: object) -> None:
    number = pf.Flow(MAKE[name](0.1), mobility=Linear(slope_of(name, 0.1)))
    path = pf.simulate(
        pf.Flow(MAKE[name](lam), mobility=EnergySlope()),
        X,
        Y,
        steps=5,
        dt=0.01,
        integrator=pf.Heun(),
    )
    expected = pf.simulate(number, X, Y, steps=5, dt=0.01, integrator=pf.Heun())
    assert torch.equal(path.state.x.points, expected.state.x.points)
    assert torch.equal(path.energy, expected.energy)


@pytest.mark.parametrize("lam", [Constant(0.1), steady])
def test_kale_flow_takes_a_schedule(lam: object) -> None:
    path = pf.simulate(pf.kale_flow(KERNEL, lam=lam), X, Y, steps=5, dt=0.01)
    assert torch.equal(
        path.state.x.points,
        pf.simulate(pf.kale_flow(KERNEL, lam=0.1), X, Y, steps=5, dt=0.01).state.x.points,
    )


@pytest.mark.parametrize("name", MAKE)
def test_the_velocity_is_the_slope_of_the_moment_times_grad_w(name: str) -> None:
    flow, clock = pf.Flow(MAKE[name](falling), mobility=EnergySlope()), Clock(t=1.5, step=3)
    lam = falling(clock)
    fit = flow.estimator.fit(Cloud(X), Cloud(Y), clock, {})
    grad = pf.fit(MAKE[name](lam), X, Y).witness.value_and_grad(X)[1]
    assert fit.value == pf.fit(MAKE[name](lam), X, Y).value
    torch.testing.assert_close(
        flow.velocity(Cloud(X), fit, clock)[0], slope_of(name, lam) * grad, rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("integrator", [pf.Heun(), pf.RK4()])
def test_every_stage_has_its_own_lam(integrator: pf.integrators.Integrator) -> None:
    """One step by hand: fits of plain KALE at lam(t_n + c_s dt)."""
    dt, slopes = 0.02, []
    for row in integrator.a:
        moved = X + dt * sum(a * slope for a, slope in zip(row, slopes, strict=False)) if row else X
        lam = falling(Clock(t=dt * sum(row)))
        slopes.append(
            (1 + lam) * pf.fit(KALE(KERNEL, lam=lam), moved, Y).witness.value_and_grad(moved)[1]
        )
    expected = X + dt * sum(b * slope for b, slope in zip(integrator.b, slopes, strict=True))
    found = pf.simulate(
        pf.kale_flow(KERNEL, lam=falling), X, Y, steps=1, dt=dt, integrator=integrator
    ).state.x.points
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_warm_starts_go_on_over_a_changing_lam() -> None:
    flow = pf.kale_flow(KERNEL, lam=Geometric(0.1, ratio=0.1, every=0.05, smooth=True, of=by_time))
    iterations = []
    for state in pf.iterate(flow, X, Y, dt=0.001):
        iterations.append(state.fit.report["iterations"])
        if state.clock.step == 8:
            break
    assert max(iterations[1:]) <= 5
    assert iterations[0] > min(iterations[1:])


@pytest.mark.parametrize("name", MAKE)
def test_decreasing_follows_the_values(name: str) -> None:
    """lam_{n+1} = lam_0 sqrt(D_n / D_0), and fits at those lam by hand have the same values."""
    rule, values = Decreasing(0.3, least=1e-3), []
    lams = [0.3]
    for state in pf.iterate(pf.Flow(MAKE[name](rule), mobility=EnergySlope()), X, Y, dt=0.05):
        values.append(state.fit.value)
        assert state.fit.value == pytest.approx(
            pf.fit(MAKE[name](lams[-1]), state.x, Y).value, rel=1e-9
        )
        assert state.fit.energy_slope == slope_of(name, lams[-1])
        lams.append(min(0.3, max(1e-3, 0.3 * math.sqrt(values[-1] / values[0]))))
        if state.clock.step == 4:
            break
    assert lams[-1] < 0.95 * lams[0]


@pytest.mark.parametrize("integrator", [pf.Euler(), pf.RK4()])
def test_decreasing_resumes_bit_for_bit_through_a_file(
    tmp_path: Path, integrator: pf.integrators.Integrator
) -> None:
    flow = pf.kale_flow(KERNEL, lam=Decreasing(0.3, least=1e-3))
    whole = pf.simulate(flow, X, Y, steps=8, dt=0.05, integrator=integrator)
    pf.simulate(flow, X, Y, steps=3, dt=0.05, integrator=integrator).save(tmp_path / "part.npz")
    resumed = pf.simulate(
        flow, pf.Trajectory.load(tmp_path / "part.npz"), steps=5, integrator=integrator
    )
    assert torch.equal(resumed.state.x.points, whole.state.x.points)
    assert torch.equal(resumed.energy, whole.energy)
    fixed = pf.simulate(
        pf.kale_flow(KERNEL, lam=0.3), X, Y, steps=8, dt=0.05, integrator=integrator
    )
    assert not torch.equal(whole.state.x.points, fixed.state.x.points)


def test_a_value_that_rises_because_lam_falls_is_no_fault_of_dt() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = pf.simulate(
            pf.kale_flow(KERNEL, lam=Geometric(1.0, ratio=0.5)), X, Y, steps=5, dt=1e-3
        )
    assert float(path.energy[-1]) > float(path.energy[0])
    assert (path.status, path.message) == ("completed", "")


def test_only_one_lam_has_one_energy() -> None:
    assert pf.kale_flow(KERNEL, lam=0.1).conservative
    assert pf.kale_flow(KERNEL, lam=Constant(0.1)).conservative
    assert pf.Flow(MAKE["Moreau"](0.1), mobility=EnergySlope()).conservative
    for name in MAKE:
        assert not pf.Flow(MAKE[name](falling), mobility=EnergySlope()).conservative
        assert not pf.Flow(MAKE[name](Decreasing(0.1))).conservative


def test_descent_asks_any_estimator_with_a_slope() -> None:
    path = pf.simulate(
        pf.Flow(pf.estimators.MMD(KERNEL), mobility=EnergySlope()), X, Y, steps=3, dt=0.1
    )
    assert torch.equal(
        path.state.x.points, pf.simulate(pf.mmd_flow(KERNEL), X, Y, steps=3, dt=0.1).state.x.points
    )


def test_other_mobilities_take_the_witness_of_the_moment() -> None:
    flow, clock = pf.mono_flow(KALE(KERNEL, lam=falling), Exponential()), Clock(t=2.0)
    value, grad = pf.fit(KALE(KERNEL, lam=falling(clock)), X, Y).witness.value_and_grad(X)
    velocity: Tensor = flow.velocity(
        Cloud(X), flow.estimator.fit(Cloud(X), Cloud(Y), clock, {}), clock
    )[0]
    torch.testing.assert_close(velocity, value.exp()[:, None] * grad, rtol=1e-12, atol=0)


def test_suggest_dt_and_reprs_take_them() -> None:
    assert pf.kale_flow(KERNEL, lam=steady).suggest_dt(X, Y) == pf.kale_flow(
        KERNEL, lam=0.1
    ).suggest_dt(X, Y)
    assert "lam=Decreasing(start=0.3, least=0.0)" in repr(pf.kale_flow(KERNEL, lam=Decreasing(0.3)))
    assert "mobility=EnergySlope()" in repr(pf.kale_flow(KERNEL, lam=Decreasing(0.3)))


@dataclass(frozen=True)
class Then:
    """0.1, and `value` from step 2 on."""

    value: float

    def __call__(self, clock: Clock) -> float:
        return 0.1 if clock.step < 2 else self.value


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize(
    ("value", "said"), [(-1.0, "> 0, got -1"), (0.0, "> 0, got 0"), (math.nan, "finite, got nan")]
)
def test_a_bad_lam_is_told_with_its_step(name: str, value: float, said: str) -> None:
    lam = Then(value)
    with pytest.raises(
        ValueError,
        match=f"`lam` must be {said}: Then.* gave it at step 7, t = 0.7; keep it above 0 there",
    ):
        MAKE[name](lam).fit(Cloud(X), Cloud(Y), Clock(t=0.7, step=7), {})
    flow = pf.Flow(MAKE[name](lam), mobility=EnergySlope())
    with pytest.warns(RuntimeWarning, match="`lam` must be .* at step 2"):
        path = pf.simulate(flow, X, Y, steps=4, dt=0.01)
    assert (path.status, path.state.clock.step) == ("failed", 1)


@pytest.mark.parametrize("name", MAKE)
def test_what_is_no_lam_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="`lam` must be > 0, got -1"):
        MAKE[name](Constant(-1.0))
    with pytest.raises(
        TypeError,
        match=(
            "`lam` must be a number, a schedule or a callable of the clock, got the class Geometric"
        ),
    ):
        MAKE[name](Geometric)


def test_descent_needs_a_slope() -> None:
    with pytest.raises(
        ValueError, match="`mobility` EnergySlope\\(\\) needs a fit with an energy slope, got None"
    ):
        pf.simulate(
            pf.mono_flow(KALE(KERNEL, lam=steady, reverse=True), EnergySlope()),
            X,
            Y,
            steps=1,
            dt=0.01,
        )
