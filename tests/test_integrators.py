"""Orders of convergence, what the stages see, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws, Replay
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, Fit
from particleflow.integrators import (
    RK4,
    BogackiShampine,
    DormandPrince,
    Embedded,
    Euler,
    EulerMaruyama,
    Heun,
    Integrator,
    RungeKutta,
)
from particleflow.kernels import Gaussian
from particleflow.mobilities import NonSaturating
from particleflow.schedules import by_time

SCHEMES = [Euler(), Heun(), RK4()]
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


X, Y = 0.6 * normal(13, 2, 0, 0.9), normal(17, 2, 1)
FLOWS = {
    "MMD": (pf.mmd_flow(Gaussian(0.9)), 4.0),
    "KALE": (pf.kale_flow(Gaussian(0.9), lam=0.3), 0.8),
    "KDE": (pf.mono_flow(KDE(Gaussian(0.9)), NonSaturating()), 0.8),
}


@dataclass(frozen=True)
class Moving:
    """A target that drifts: y + t c. Its clouds depend on the clock alone."""

    points: Tensor
    drift: Tensor

    def at(self, clock: Clock) -> Cloud:
        return Cloud(self.points + clock.t**2 * self.drift)


def end(
    flow: pf.Flow, target: Tensor | Moving | None, t1: float, steps: int, scheme: Integrator
) -> Tensor:
    path = pf.simulate(
        flow, X, target, t1=t1, dt=t1 / steps, integrator=scheme, save=pf.SaveAt(steps=[0])
    )
    assert path.status == "completed"
    assert path.steps.tolist() == [0, steps]
    return path.particles[-1]


@cache
def reference(name: str, drift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """The end that the schemes converge to, by more steps of RK4 than any of them takes."""
    flow, t1 = FLOWS[name]
    return end(
        flow,
        Moving(Y, torch.tensor(drift, dtype=torch.float64)) if any(drift) else Y,
        t1,
        128,
        RK4(),
    )


def fitted_order(errors: list[float], steps: list[int]) -> float:
    assert errors[-1] > 1e-13, "the errors reached rounding: the fit means nothing"
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


STEPS = {
    "Euler": [32, 64, 128],
    "Heun": [16, 32, 64],
    "RK4": [8, 16, 32],
}
EMBEDDED = [BogackiShampine(), DormandPrince()]


@pytest.mark.usefixtures("unchecked")
@each_scheme
@pytest.mark.parametrize("name", FLOWS)
def test_order_by_self_convergence(name: str, scheme: RungeKutta) -> None:
    flow, t1 = FLOWS[name]
    steps = STEPS[type(scheme).__name__]
    errors = [float((end(flow, Y, t1, n, scheme) - reference(name)).abs().max()) for n in steps]
    assert fitted_order(errors, steps) == pytest.approx(scheme.order, abs=0.15)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("scheme", EMBEDDED, ids=lambda scheme: type(scheme).__name__)
@pytest.mark.parametrize("name", FLOWS)
def test_order_of_the_embedded_schemes(name: str, scheme: RungeKutta) -> None:
    flow, t1 = FLOWS[name]
    t1 = 3.2 if name == "KDE" else t1  # the errors of the shorter time are rounding
    steps = {"BogackiShampine": [16, 32, 64], "DormandPrince": [36, 48, 72]}[type(scheme).__name__]
    exact = end(flow, Y, t1, 240, DormandPrince())
    errors = [float((end(flow, Y, t1, n, scheme) - exact).norm()) for n in steps]
    assert fitted_order(errors, steps) == pytest.approx(scheme.order, abs=0.15)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("scheme", EMBEDDED, ids=lambda scheme: type(scheme).__name__)
def test_an_embedded_scheme_and_its_error_on_a_closed_form(scheme: Embedded) -> None:
    """v = x A has x = x0 exp(t A), and the error is of the lower scheme's order."""
    a = torch.tensor([[-0.3, 1.0], [-1.0, -0.3]], dtype=torch.float64)
    flow, exact, steps = pf.Flow(ClosedForm(lambda z: z @ a)), X @ torch.matrix_exp(a), [5, 10, 20]
    errors = [float((end(flow, None, 1.0, n, scheme) - exact).abs().max()) for n in steps]
    assert fitted_order(errors, steps) == pytest.approx(scheme.order, abs=0.15)
    found = []
    for n in steps:
        slopes = [X @ a]
        for row in (*scheme.a[1:], scheme.b):
            slopes.append((X + sum((w * v for w, v in zip(row, slopes)), 0 * X) / n) @ a)
        weighted = [w * v for w, v in zip(scheme.b_error, slopes, strict=True)]
        found.append(float(sum(weighted, 0 * X).abs().max()) / n)
    assert fitted_order(found, steps) == pytest.approx(scheme.lower + 1, abs=0.15)


@pytest.mark.usefixtures("unchecked")
@each_scheme
def test_order_with_a_target_that_moves(scheme: RungeKutta) -> None:
    """Only if every stage is fitted to the target of its own time."""
    (flow, t1), drift = FLOWS["MMD"], (0.03, -0.02)
    target = Moving(Y, torch.tensor(drift, dtype=torch.float64))
    steps = STEPS[type(scheme).__name__]
    errors = [
        float((end(flow, target, t1, n, scheme) - reference("MMD", drift)).abs().max())
        for n in steps
    ]
    assert fitted_order(errors, steps) == pytest.approx(scheme.order, abs=0.15)


@dataclass(frozen=True)
class FittedOnce:
    """The mistake: a scheme whose later stages use the fit of the first."""

    scheme: RungeKutta
    order: float = 1.0
    stages: int = 1
    stochastic: bool = False

    def step(self, flow, refit, state, dt):
        return self.scheme.step(flow, lambda x, clock: state.fit, state, dt)


@pytest.mark.usefixtures("unchecked")
def test_fitting_once_a_step_would_be_seen_as_order_one() -> None:
    flow, t1 = FLOWS["MMD"]
    errors = [
        float((end(flow, Y, t1, n, FittedOnce(RK4())) - reference("MMD")).abs().max())
        for n in (32, 64, 128)
    ]
    assert fitted_order(errors, [32, 64, 128]) == pytest.approx(1, abs=0.15)


# ---- what the stages see
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "offsets"),
    [(Euler(), [0.0]), (Heun(), [0.0, 1.0]), (RK4(), [0.0, 0.5, 0.5, 1.0])],
    ids=["Euler", "Heun", "RK4"],
)
def test_schedules_and_targets_are_asked_at_the_times_of_the_stages(
    scheme: RungeKutta, offsets: list[float]
) -> None:
    asked: list[tuple[float, int]] = []

    def silent(clock: Clock, fit: Fit) -> float:
        asked.append((clock.t, clock.step))
        return 0.0

    dt = 0.125
    pf.simulate(pf.mmd_flow(Gaussian(0.9), noise=silent), X, Y, steps=3, dt=dt, integrator=scheme)
    assert asked == [((n + c) * dt, n) for n in range(3) for c in offsets]
    assert scheme.stages == len(offsets)


@dataclass(frozen=True)
class Listening:
    """Draws that remember what was asked of them."""

    source: Draws = Draws(3)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def normal(self, stream: str, step: int, like: Tensor) -> Tensor:
        self.asked.append((stream, step))
        return self.source.normal(stream, step, like)

    def child_seed(self, stream: str, step: int) -> int:
        return self.source.child_seed(stream, step)


@pytest.mark.parametrize("scheme", [Heun(), RK4()], ids=["Heun", "RK4"])
def test_the_stages_of_a_step_see_the_same_noise(scheme: RungeKutta) -> None:
    draws = Listening()
    pf.simulate(
        pf.mmd_flow(Gaussian(0.9), noise=0.3), X, Y, steps=2, dt=0.1, integrator=scheme, draws=draws
    )
    assert draws.asked == [("noise", n) for n in range(2) for _ in range(scheme.stages)]


def test_heun_with_noise_is_the_scheme_written_out() -> None:
    """k_0 = v(x + beta(t) u), k_1 = v_1(x + dt k_0 + beta(t + dt) u) with the fit at x + dt k_0 and
    the same u.
    """
    u, dt, kernel = normal(13, 2, 5), 0.1, Gaussian(0.9)
    flow = pf.mmd_flow(kernel, noise=lambda clock, fit: 0.5 + by_time(clock))
    path = pf.simulate(
        flow, X, Y, steps=1, dt=dt, integrator=Heun(), draws=Replay({"noise": u[None]})
    )
    k0 = pf.fit(MMD(kernel), X, Y).witness.value_and_grad(X + 0.5 * u)[1]
    stage = X + dt * k0
    k1 = pf.fit(MMD(kernel), stage, Y).witness.value_and_grad(stage + 0.6 * u)[1]
    assert torch.allclose(path.particles[-1], X + dt / 2 * (k0 + k1), rtol=0, atol=1e-15)


def test_trial_fits_start_from_the_accepted_memory_and_are_forgotten() -> None:
    starts: list[Tensor | None] = []

    @dataclass(frozen=True)
    class Watched(KALE):
        def fit(self, x, y, clock, memory):
            starts.append(memory.get("u"))
            return super().fit(x, y, clock, memory)

    estimator = Watched(Gaussian(0.9), lam=0.3)
    states = pf.iterate(pf.mono_flow(estimator), X, Y, dt=0.05, integrator=RK4())
    first, second = next(states), next(states)
    assert starts[0] is None
    assert starts[1:4] == [
        None,
        None,
        None,
    ]  # what went INTO the fit at x_0, whose stages these are
    assert starts[4] is first.fit.memory["u"]
    assert second.memory is first.fit.memory


# ---- Euler-Maruyama and refusals
# --------------------------------------------------------------------------------------------------


def test_euler_maruyama_is_the_formula() -> None:
    xi, dt = normal(13, 2, 5), 0.04
    flow = pf.Flow(MMD(Gaussian(0.9)), diffusion=lambda clock: 2.0)
    path = pf.simulate(flow, X, Y, steps=1, dt=dt, draws=Replay({"brownian": xi[None]}))
    drift = pf.fit(MMD(Gaussian(0.9)), X, Y).witness.value_and_grad(X)[1]
    assert torch.allclose(path.particles[-1], X + dt * drift + 2.0 * 0.2 * xi, rtol=0, atol=1e-15)


def test_without_diffusion_euler_maruyama_is_euler() -> None:
    flow = FLOWS["MMD"][0]
    a, b = (
        pf.simulate(flow, X, Y, steps=5, dt=0.1, integrator=scheme).particles
        for scheme in (Euler(), EulerMaruyama())
    )
    assert torch.equal(a, b)


@dataclass(frozen=True)
class Coin(MMD):
    """An estimator whose fit is not a function of the clouds."""

    deterministic = False


@pytest.mark.parametrize("scheme", [Heun(), RK4()], ids=["Heun", "RK4"])
def test_several_stages_are_refused_where_the_fit_is_not_deterministic(scheme: RungeKutta) -> None:
    with pytest.raises(
        ValueError,
        match=r"`integrator` must have one stage for Coin, got (Heun|RK4): .*use pf\.Euler\(\)",
    ):
        pf.simulate(pf.Flow(Coin(Gaussian(0.9))), X, Y, steps=1, dt=0.1, integrator=scheme)
    assert pf.simulate(pf.Flow(Coin(Gaussian(0.9))), X, Y, steps=1, dt=0.1).status == "completed"


def test_diffusion_needs_a_scheme_that_adds_it() -> None:
    flow = pf.langevin(pf.samplers.Gaussian(dim=2))
    with pytest.raises(
        ValueError,
        match=r"`integrator` must add the flow's diffusion, got Heun: use pf\.EulerMaruyama\(\)",
    ):
        pf.simulate(flow, X, steps=1, dt=0.1, integrator=Heun())


def test_a_class_in_place_of_a_scheme_is_explained() -> None:
    with pytest.raises(
        TypeError,
        match=(
            r"`integrator` must be an integrator, got <class .*Heun'>: e\.g\. pf\.Heun\(\) \(with"
            r" its parentheses\)"
        ),
    ):
        pf.simulate(FLOWS["MMD"][0], X, Y, steps=1, dt=0.1, integrator=Heun)
