"""Integrators that choose their lengths, and optimisers: errors, energies, refusals, memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, DrMMD, Moreau
from particleflow.flows import EnergySlope
from particleflow.integrators import (
    Adam,
    Adaptive,
    BogackiShampine,
    Descent,
    DormandPrince,
    Momentum,
)
from particleflow.kernels import IMQ, Energy, Gaussian, Laplace
from particleflow.renewals import Rebirth

pytestmark = pytest.mark.usefixtures("unchecked")


def normal(n: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 2)) + shift)


X, Y = 0.6 * normal(13, 0, 0.9), normal(17, 1)
KERNEL = Gaussian(0.9)
FLOWS = {
    "MMD": (pf.mmd_flow(KERNEL), 4.0),
    "KALE": (pf.kale_flow(KERNEL, lam=0.3), 0.8),
    "KDE": (pf.mono_flow(KDE(KERNEL)), 0.8),
}
STEPPERS = [
    Adaptive(),
    Adaptive(BogackiShampine(), rtol=1e-2),
    Descent(),
    Momentum(),
    Momentum(0.5, nesterov=True),
    Adam(),
]


# ---- adaptive: errors
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [BogackiShampine(), DormandPrince()], ids=repr)
def test_the_error_is_in_proportion_to_the_tolerance(scheme) -> None:
    """v = -x^3 beside x = x0 / sqrt(1 + 2 x0^2 t), in units of the start's spread."""
    flow, exact = pf.Flow(ClosedForm(lambda z: -(z**3))), X / (1 + 2 * X**2 * 5).sqrt()
    spread = float((X - X.mean(0)).square().mean().sqrt())
    for rtol in (1e-3, 1e-6):
        path = pf.simulate(flow, X, t1=5.0, dt=0.5, integrator=Adaptive(scheme, rtol=rtol))
        assert float(path.times[-1]) == 5.0
        off = float((path.particles[-1] - exact).square().mean().sqrt())
        assert 1e-3 * rtol * spread < off <= rtol * spread


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
def test_the_error_of_a_flow_of_particles_is_within_the_tolerance(name: str) -> None:
    flow, t1 = FLOWS[name]
    tight = pf.simulate(flow, X, Y, t1=t1, dt=t1 / 128, integrator=DormandPrince()).particles[-1]
    both = torch.cat([X, Y])
    spread = float((both - both.mean(0)).square().mean().sqrt())
    for rtol in (1e-3, 1e-5):
        path = pf.simulate(flow, X, Y, t1=t1, dt=0.05, integrator=Adaptive(rtol=rtol))
        off = float((path.particles[-1] - tight).square().mean().sqrt())
        assert off <= rtol * spread


def test_the_lengths_do_not_depend_on_unit_and_origin() -> None:
    flow = pf.mmd_flow(KERNEL)
    here = pf.simulate(flow, X, Y, steps=8, dt=0.1, integrator=Adaptive())
    wide = pf.mmd_flow(Gaussian(900.0))
    there = pf.simulate(
        wide, 1e3 * X + 1e5, 1e3 * Y + 1e5, steps=8, dt=0.1 * 1e6, integrator=Adaptive()
    )
    assert torch.allclose(there.times, 1e6 * here.times, rtol=1e-6)


def test_log_masses_are_held_to_the_tolerance() -> None:
    """v = -x^3 and d log m / dt = w = -sum x^4 / 4."""

    flow = pf.Flow(ClosedForm(lambda z: -0.25 * (z**4).sum(1)), reaction=lambda w: 40 * (w + 0.1))
    start = Cloud(X[:5])
    tight = pf.simulate(flow, start, t1=0.5, dt=0.002, integrator=DormandPrince())
    path = pf.simulate(flow, start, t1=0.5, dt=0.5, integrator=Adaptive(rtol=1e-5))
    assert path.log_mass is not None
    assert tight.log_mass is not None
    assert path.report["controller"]["rejected"] > 0
    assert torch.allclose(path.log_mass[-1], tight.log_mass[-1], rtol=0, atol=1e-4)


def test_rejected_steps_see_the_noise_and_the_memory_of_the_accepted_state() -> None:
    """The first dt is far too long. What comes of it is what a short first dt gives."""
    asked: list[tuple[str, int]] = []

    @dataclass(frozen=True)
    class Listening(pf.Draws):
        def normal(self, stream, step, like):
            asked.append((stream, step))
            return super().normal(stream, step, like)

    flow, scheme = pf.kale_flow(KERNEL, lam=0.3, noise=0.2), Adaptive(BogackiShampine(), rtol=1e-2)
    path = pf.simulate(flow, X, Y, steps=1, dt=20.0, integrator=scheme, draws=Listening(3))
    assert path.report["controller"] == {"accepted": 1.0, "rejected": pytest.approx(3, abs=2)}
    assert set(asked) == {("noise", 0)}
    used = float(path.times[-1])
    plain = pf.simulate(flow, X, Y, steps=1, dt=used, integrator=BogackiShampine(), seed=3)
    assert torch.equal(plain.particles[-1], path.particles[-1])
    assert torch.equal(plain.state.memory["u"], path.state.memory["u"])


def test_the_last_fit_of_a_step_is_that_of_the_next_state() -> None:
    fits = []

    @dataclass(frozen=True)
    class Counted(KALE):
        def fit(self, x, y, clock, memory):
            fits.append(clock.step)
            return super().fit(x, y, clock, memory)

    flow = pf.mono_flow(Counted(KERNEL, lam=0.3))
    for scheme, stages in ((BogackiShampine(), 3), (DormandPrince(), 6)):
        fits.clear()
        path = pf.simulate(flow, X, Y, steps=4, dt=0.02, integrator=Adaptive(scheme))
        assert path.report["controller"]["rejected"] == 0
        assert len(fits) == 1 + 4 * stages


@dataclass(frozen=True)
class Drawn:
    """A target of other points at every step."""

    def at(self, clock: Clock) -> Cloud:
        return Cloud(normal(17, clock.step))


def test_a_target_that_jumps_from_step_to_step_costs_fits_and_no_steps() -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), X, Drawn(), steps=6, dt=0.3, integrator=Adaptive())
    assert path.status == "completed"
    assert path.report["controller"]["rejected"] == 0
    assert path.report["lengths"][0] >= 0.25


def test_a_step_that_overflows_is_refused_and_the_run_goes_on() -> None:
    flow = pf.Flow(ClosedForm(lambda z: -(z**5)))
    path = pf.simulate(flow, 50 * X, t1=1e-6, dt=1e3, integrator=Adaptive())
    assert path.status == "completed"
    assert float(path.times[-1]) == 1e-6


def test_a_tolerance_that_no_step_meets_ends_the_run_with_its_records() -> None:
    """v = -1/x has x = sqrt(x0^2 - 2t), and no end beyond the time at which a particle is at 0."""
    flow, start = pf.Flow(ClosedForm(lambda z: -1 / z)), torch.arange(1, 4).double()[:, None]
    path = pf.simulate(flow, start, t1=1.0, dt=0.05, integrator=Adaptive(rtol=1e-8))
    assert path.status == "not converged"
    told = r"no step from t = 0\.5 stays within rtol = 1e-08: .*; raise rtol"
    assert re.search(told, path.message)
    assert float(path.times[-1]) == pytest.approx(0.5, abs=1e-6)
    assert torch.allclose(path.particles[-1][1:], (start[1:] ** 2 - 1).sqrt(), atol=1e-6)


# ---- descent
# --------------------------------------------------------------------------------------------------

CONSERVATIVE: dict[str, Callable[[], pf.Flow]] = {
    "MMD": lambda: pf.mmd_flow(KERNEL),
    "MMD Laplace": lambda: pf.mmd_flow(Laplace(0.9)),
    "MMD energy": lambda: pf.mmd_flow(Energy()),
    "KALE": lambda: pf.kale_flow(KERNEL, lam=0.1),
    "DrMMD": lambda: pf.Flow(DrMMD(KERNEL, lam=0.1), mobility=EnergySlope()),
    "Moreau": lambda: pf.Flow(
        Moreau(KERNEL, divergence=pf.divergences.Tsallis(2.0), lam=0.1), mobility=EnergySlope()
    ),
}


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_descent_never_raises_the_energy(name: str) -> None:
    flow = CONSERVATIVE[name]()
    assert flow.conservative
    path = pf.simulate(flow, X, Y, steps=60, dt=0.05, integrator=Descent(), save=pf.SaveAt(every=1))
    assert path.status in ("completed", "not converged")
    assert float(path.energy.diff().max()) <= 0
    assert path.report["controller"]["largest_increase"] == 0
    assert path.report["controller"]["accepted"] == int(path.steps[-1])


def test_descent_takes_far_fewer_steps_than_a_fixed_dt() -> None:
    flow = pf.mmd_flow(Gaussian(0.5))
    dt = flow.suggest_dt(X, Y)
    fixed = pf.simulate(flow, X, Y, steps=150, dt=dt)
    path = pf.simulate(flow, X, Y, steps=50, dt=dt, integrator=Descent())
    assert float(path.energy[-1]) < float(fixed.energy[-1])


def test_descent_rests_where_the_energy_cannot_fall() -> None:
    flow = pf.mmd_flow(KERNEL)
    path = pf.simulate(flow, Y, Y, steps=5, dt=0.1, integrator=Descent())
    assert path.report["controller"]["rests"] == 5
    assert path.times.tolist() == pytest.approx([0.1 * n for n in range(6)])
    assert torch.equal(path.particles[-1], Y)
    single = pf.simulate(pf.mmd_flow(KERNEL), X[:1], Y[:1], steps=60, dt=0.1, integrator=Descent())
    assert single.status == "completed"
    assert single.report["controller"]["rests"] > 0
    assert torch.allclose(single.particles[-1], Y[:1], atol=1e-7)


REFUSED = {
    "noise": (lambda: pf.mmd_flow(KERNEL, noise=0.1), "this one has noise"),
    "reaction": (lambda: pf.Flow(MMD(KERNEL), reaction=lambda w: w), "this one has reaction"),
    "ratio": (lambda: pf.mono_flow(KDE(KERNEL)), "the velocity of KDE is no gradient"),
    "changing lam": (
        lambda: pf.kale_flow(KERNEL, lam=pf.schedules.Decreasing(0.3)),
        r"the velocity of KALE is no gradient of a fixed energy \(or lam changes\)",
    ),
    "mobility": (
        lambda: pf.Flow(KALE(KERNEL, lam=0.3), mobility=pf.mobilities.Vanilla()),
        "its mobility rescales",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_descent_refuses_flows_without_an_energy(name: str) -> None:
    made, reason = REFUSED[name]
    with pytest.raises(
        ValueError, match=rf"`integrator` must not be Descent\(\) here: .* and {reason}.*: use pf"
    ):
        pf.simulate(made(), X, Y, steps=1, dt=0.1, integrator=Descent())


def test_descent_refuses_a_moving_target_and_diffusion() -> None:
    with pytest.raises(ValueError, match="this one has a moving target: use pf"):
        next(pf.iterate(pf.mmd_flow(KERNEL), X, Drawn(), dt=0.1, integrator=Descent()))
    for integrator in (Descent(), Adaptive()):
        with pytest.raises(ValueError, match=r"`integrator` must add the flow's diffusion"):
            pf.simulate(pf.langevin(lambda z: -z), X, steps=1, dt=0.1, integrator=integrator)


def test_a_scheme_of_the_wrong_kind_is_refused() -> None:
    for kind, scheme in ((Adaptive, pf.Heun()), (Descent, Adaptive()), (Descent, pf.Euler)):
        with pytest.raises(TypeError, match=r"`scheme` must be a .*scheme.*, got .*: e\.g\. pf\."):
            kind(scheme)


# ---- optimisers, and memory
# --------------------------------------------------------------------------------------------------


def test_momentum_is_the_formula() -> None:
    v = [pf.fit(MMD(KERNEL), X, Y).witness.value_and_grad(X)[1]]
    for nesterov in (False, True):
        ends = [X, X + 0.1 * (v[0] + nesterov * 0.9 * v[0])]
        v = [v[0], pf.fit(MMD(KERNEL), ends[1], Y).witness.value_and_grad(ends[1])[1]]
        u = v[1] + 0.9 * v[0]
        ends.append(ends[1] + 0.1 * (v[1] + 0.9 * u if nesterov else u))
        path = pf.simulate(
            pf.mmd_flow(KERNEL), X, Y, steps=2, dt=0.1, integrator=Momentum(nesterov=nesterov)
        )
        assert torch.allclose(path.particles, torch.stack(ends), rtol=0, atol=1e-14)


def test_adam_is_the_formula() -> None:
    flow = pf.Flow(ClosedForm(lambda z: -(z**3) - 1))
    path = pf.simulate(flow, X, steps=5, dt=0.1, integrator=Adam(), save=pf.SaveAt(every=1))
    x, m, s = X, 0 * X, 0 * X
    for n, end in enumerate(path.particles[1:], 1):
        v = -(x**3) - 1
        m, s = 0.9 * m + 0.1 * v, 0.999 * s + 0.001 * v**2
        x = x + 0.1 * (m / (1 - 0.9**n)) / ((s / (1 - 0.999**n)).sqrt() + 1e-8)
        assert torch.allclose(end, x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("integrator", [Momentum(), Adam()], ids=["momentum", "adam"])
def test_an_optimiser_remembers_nothing_of_particles_that_were_placed_anew(
    integrator: Momentum | Adam,
) -> None:
    """Two far particles are reborn in step 1: step 2 is a first step for them, not for others."""
    x, step = torch.cat([X, X[:2] + 20]), {"dt": 0.05, "integrator": integrator}
    flow = pf.Flow(MMD(IMQ(0.9)), renewals=(Rebirth(9.0),))
    before, after = list(islice(pf.iterate(flow, x, Y, **step), 1, 3))
    anew = before.renewed["reborn"]
    assert anew.tolist() == [False] * 13 + [True] * 2
    close = {"rtol": 1e-12, "atol": 1e-14}
    fresh = pf.simulate(flow, before.x, Y, steps=1, **step).particles[-1]
    assert torch.allclose(after.x.points[anew], fresh[anew], **close)
    assert not torch.allclose(after.x.points[~anew], fresh[~anew], rtol=1e-3)
    again = pf.simulate(flow, before, Y, steps=1, **step).particles[-1]
    assert torch.equal(after.x.points, again)


def test_the_dt_of_adam_is_a_length() -> None:
    flow = pf.mmd_flow(KERNEL)
    path = pf.simulate(flow, X, Y, steps=1, integrator=Adam())
    sides = torch.cat([X, Y])
    assert path.report["dt"] == pytest.approx(
        0.01 * float((sides.amax(0) - sides.amin(0)).max()), rel=0.05
    )
    after = pf.simulate(flow, pf.simulate(flow, X, Y, steps=1), steps=1, integrator=Adam())
    assert after.report["dt"] == pytest.approx(path.report["dt"], rel=0.1)
    there = pf.simulate(flow, X, Y, steps=1, integrator=Momentum()).report["dt"]
    assert there == flow.suggest_dt(X, Y)


def test_a_rise_of_the_energy_is_no_instability_of_an_optimiser() -> None:
    flow = pf.kale_flow(KERNEL, lam=0.3)
    path = pf.simulate(
        flow, X, Y, steps=60, dt=0.1, integrator=Momentum(0.95), save=pf.SaveAt(every=1)
    )
    assert float(path.energy.diff().max()) > 1e-3 * float(path.energy[0])
    assert path.status == "completed"


def test_an_adaptive_run_that_becomes_unstable_is_told_to_lower_rtol() -> None:
    flow = pf.mmd_flow(Gaussian(0.3))
    path = pf.simulate(flow, X, Y, steps=60, integrator=Adaptive(rtol=0.3))
    assert path.status == "unstable"
    assert path.message.startswith("try Adaptive(rtol=0.03); the energy rose")
    (change,) = path.summary().advice[0].changes
    assert (change.name, change.code) == ("integrator", "Adaptive(rtol=0.03)")


@pytest.mark.parametrize("stepper", STEPPERS, ids=repr)
def test_a_run_goes_on_bit_for_bit(stepper: Any, tmp_path: Any) -> None:
    flow = pf.kale_flow(KERNEL, lam=0.3)
    given: Any = {"integrator": stepper, "dt": 0.03}
    whole = pf.simulate(flow, X, Y, steps=7, **given)
    half = pf.simulate(flow, X, Y, steps=4, **given).save(tmp_path / "half.npz")
    rest = pf.simulate(flow, pf.Trajectory.load(half), Y, steps=3, **given)
    assert torch.equal(rest.particles[-1], whole.particles[-1])
    assert rest.state.clock.t == whole.state.clock.t
    assert set(rest.state.stepper) == set(whole.state.stepper) > {"origin"}
    for name, value in whole.state.stepper.items():
        assert torch.equal(rest.state.stepper[name], value), name


@pytest.mark.parametrize("stepper", STEPPERS, ids=repr)
def test_a_stepper_works_in_float32(stepper: Any) -> None:
    path = pf.simulate(
        pf.mmd_flow(KERNEL), X.float(), Y.float(), steps=3, dt=0.1, integrator=stepper
    )
    assert path.status == "completed"
    assert path.particles.dtype == torch.float32


@pytest.mark.parametrize("integrator", ["Adaptive", "Descent", "Paced", "Momentum", "Adam"])
@pytest.mark.parametrize("other", ["flow", "target"])
def test_a_run_with_another_flow_or_target_begins_as_a_new_one(integrator, other) -> None:
    """Lengths, momenta and the rest of a descent belong to the flow before."""
    made = getattr(pf.integrators, integrator)()
    x = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None]
    y = torch.tensor([[0.0], [0.7]], dtype=torch.float64)
    first, second = pf.mmd_flow(Gaussian(3.0)), pf.mmd_flow(Gaussian(0.5))
    flow, aim = (second, y) if other == "flow" else (first, y + 2)
    path = pf.simulate(first, x, y, steps=60, integrator=made)
    on = pf.simulate(flow, path, aim, steps=4, integrator=made)
    new = pf.simulate(flow, path.state.x, aim, steps=4, integrator=made)
    assert on.report["dt"] == new.report["dt"]
    assert torch.allclose(on.particles[-1], new.particles[-1], rtol=0, atol=1e-12)
    assert not torch.equal(on.particles[-1], path.particles[-1])
