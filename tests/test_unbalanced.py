"""Flows whose masses change with their total kept, resampling, and help for stragglers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, Fit
from particleflow.integrators import RK4, Euler, Heun, RungeKutta
from particleflow.kernels import IMQ, Energy, Gaussian, Laplace, Neurons
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.reactions import FisherRao, ForceTransport, best_masses, longest_dt
from particleflow.renewals import Rebirth, Resampling, effective

SCHEMES = [Euler(), Heun(), RK4()]
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def shares(n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(n)))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


K = Gaussian(0.9)
X, Y = 0.6 * normal(13, 2, 0, 0.9), normal(17, 2, 1)
M0 = shares(13, 2)


@dataclass(frozen=True)
class AtomRatio:
    """log(p_i / m_i) on atoms at rest: KL between masses, whose Fisher-Rao flow is known."""

    p: Tensor
    deterministic: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = True
    needs_target: ClassVar[bool] = False
    energy_slope: ClassVar[None] = None

    def fit(self, x, y, clock, memory):
        return Fit(_Values(self.p.log() - x.log_mass, x.points))


@dataclass(frozen=True)
class _Values:
    values: Tensor
    points: Tensor
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z):
        assert torch.equal(z, self.points)
        return self.values, torch.zeros_like(z)


# ---- birth and death
# --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@each_scheme
def test_birth_and_death_on_atoms_follow_the_closed_form(scheme: RungeKutta) -> None:
    """m(t) ~ p^(1 - E) m(0)^E, E = exp(-rate t), for KL; the error falls with the order."""
    p, rate, t1 = shares(13, 3), 1.7, 0.8
    flow = pf.unbalanced(pf.mono_flow(AtomRatio(p)), rate, resample=None)
    decay = math.exp(-rate * t1)
    wanted = ((1 - decay) * p.log() + decay * M0.log()).softmax(0)
    steps, errors = (6, 12, 24), []
    for n in steps:
        end = pf.simulate(flow, Cloud(X, mass=M0), t1=t1, dt=t1 / n, integrator=scheme).state.x
        assert torch.equal(end.points, X)
        errors.append(relative(end.mass, wanted))
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(scheme.order, abs=0.15)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("scheme", "steps"),
    [
        pytest.param(RK4(), (6, 9, 14), id="RK4"),
        pytest.param(Euler(), (32, 64, 128), id="Euler", marks=pytest.mark.slow),
        pytest.param(Heun(), (16, 32, 64), id="Heun", marks=pytest.mark.slow),
    ],
)
def test_the_order_with_masses_that_are_projected(
    scheme: RungeKutta, steps: tuple[int, ...]
) -> None:
    """Positions and masses together, against many steps of RK4, for MMD."""
    flow, t1 = pf.unbalanced(pf.mmd_flow(K), 2.0, resample=None), 3.0

    def end(n: int, by: RungeKutta) -> Cloud:
        start = Cloud(X, mass=M0)
        return pf.simulate(flow, start, Y, t1=t1, dt=t1 / n, integrator=by).state.x

    exact = end(48, RK4())
    found = [end(n, scheme) for n in steps]
    for errors in (
        [relative(cloud.points, exact.points) for cloud in found],
        [relative(cloud.mass, exact.mass) for cloud in found],
    ):
        order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
        assert order == pytest.approx(scheme.order, abs=0.25)


FLOWS = {
    "mmd": pf.mmd_flow(K),
    "noise": pf.mmd_flow(K, noise=0.3),
    "kale": pf.kale_flow(K, lam=0.5),
    "kde": pf.mono_flow(KDE(K), pf.mobilities.Vanilla()),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("scheme", "steps"),
    [
        pytest.param(Heun(), 60, id="Heun"),
        *(
            pytest.param(each, 1000, id=f"{type(each).__name__}-1000", marks=pytest.mark.slow)
            for each in SCHEMES
        ),
    ],
)
def test_the_total_mass_stays(scheme: RungeKutta, steps: int) -> None:
    start = Cloud(X, mass=3.7 * M0)
    flow = pf.unbalanced(FLOWS["mmd"], 3.0, resample=0.95)
    aim = Cloud(Y, mass=3.7 * shares(17, 6))
    path = pf.simulate(flow, start, aim, steps=steps, dt=0.05, integrator=scheme)
    assert path.status == "completed"
    assert path.report["renewals"]["resampled"]["times"] >= 1
    assert float((path.log_mass.exp().sum(1) / 3.7 - 1).abs().max()) < 1e-12


@pytest.mark.parametrize("name", FLOWS)
def test_birth_and_death_join_any_flow(name: str) -> None:
    flow = pf.unbalanced(FLOWS[name], 0.7)
    path = pf.simulate(flow, X, Y, steps=5, dt=0.05)
    assert path.status == "completed"
    assert float((path.log_mass.exp().sum(1) - 1).abs().max()) < 1e-13
    # one step of Euler by hand, at the particles themselves, without noise
    fit = pf.fit(flow.estimator, X, Y)
    force = FLOWS[name].mobility.h(fit.witness.value_and_grad(X)[0])
    wanted = (0.05 * 0.7 * (force - force.mean())).softmax(0)
    torch.testing.assert_close(path.log_mass[1].exp(), wanted, rtol=1e-6, atol=0)


def test_the_energy_falls_at_the_rate_of_both_metrics() -> None:
    """dE/dt = -sum m |v|^2 - rate sum m (F - mean F)^2, by a central difference."""
    rate, dt = 1.3, 1e-4
    flow, start = pf.unbalanced(pf.mmd_flow(K), rate, resample=None), Cloud(X, mass=M0)
    fit = pf.fit(flow.estimator, start, Y)
    force, v = fit.witness.value_and_grad(X)
    wanted = -M0 @ v.square().sum(1) - rate * M0 @ (force - M0 @ force) ** 2
    path = pf.simulate(flow, start, Y, steps=2, dt=dt, integrator=Heun())
    a, b, c = path.energy.tolist()
    # a one-sided difference of second order at t = 0
    assert (4 * b - 3 * a - c) / (2 * dt) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_an_unbalanced_run_goes_on_from_a_file_bit_for_bit(tmp_path) -> None:
    flow = pf.unbalanced(pf.mmd_flow(Gaussian(0.5), noise=0.1), 20.0, resample=0.9)
    whole = pf.simulate(flow, X - 2, Y, steps=24, dt=0.1, seed=3)
    part = pf.simulate(flow, X - 2, Y, steps=9, dt=0.1, seed=3)
    part.save(tmp_path / "run.npz")
    both = pf.simulate(flow, pf.Trajectory.load(tmp_path / "run.npz"), steps=15)
    assert whole.report["renewals"]["resampled"]["times"] >= 2
    for name in ("particles", "log_mass", "anew", "energy"):
        assert torch.equal(getattr(both, name), getattr(whole, name)), name
    assert torch.equal(both.state.x.mass, whole.state.x.mass)


@pytest.mark.usefixtures("unchecked")
def test_a_suggested_step_heeds_the_masses() -> None:
    """For MMD masses contract at most at `rate` times the largest value of k."""
    rates = (0.1, 100.0)
    flows = [pf.unbalanced(pf.mmd_flow(K), rate, resample=None) for rate in rates]
    slow, fast = (flow.suggest_dt(X, Y) for flow in flows)
    assert slow == pf.mmd_flow(K).suggest_dt(X, Y)
    assert fast >= 0.5 / 100
    path = pf.simulate(flows[1], X, Y, steps=30, dt=fast)
    assert bool((path.energy.diff() < 0).all())
    assert bool((pf.simulate(flows[1], X, Y, steps=30, dt=8 * fast).energy.diff() > 0).any())
    still = lambda x, fit: torch.zeros(len(x), dtype=torch.float64)
    assert longest_dt(MMD(K), still, Cloud(X), Cloud(Y)) == math.inf


def test_where_no_rates_are_measured_masses_change_by_an_e_fold_at_most(unchecked) -> None:
    """A network in training has none: what a step changes at the start decides."""
    critic = pf.estimators.WeightClippingCritic(width=4, depth=1, first_steps=3)
    flow = pf.wgan_flow(critic)
    slow, fast = (pf.unbalanced(flow, rate).suggest_dt(X, Y) for rate in (1e-3, 1e3))
    assert slow == flow.suggest_dt(X, Y)
    fit = pf.fit(critic, X, Y)
    change = fast * flow.force(Cloud(X), fit)
    assert float((1e3 * (change - change.mean())).square().mean().sqrt()) <= 1


def test_totals_that_differ_are_told() -> None:
    with pytest.warns(RuntimeWarning, match="total mass of 2 and `target` of 1, and .* constant"):
        pf.simulate(pf.unbalanced(pf.mmd_flow(K)), Cloud(X, mass=2 * M0), Y, steps=1, dt=0.1)


def test_birth_and_death_without_values_are_refused_at_the_first_step() -> None:
    flow = pf.Flow(ClosedForm(lambda z: -z), reaction=FisherRao())
    with pytest.raises(ValueError, match="`estimator` must have a witness with values"):
        pf.simulate(flow, X, steps=1, dt=0.1)


# ---- force transport
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [K, Energy(), Laplace(0.5)], ids=lambda k: type(k).__name__)
def test_the_best_masses_are_optimal(kernel) -> None:
    """No mass where the gradient is above its least value, and the gap bounds the rest."""
    start = Cloud(X, mass=M0)
    witness = pf.fit(MMD(kernel), start, Y).witness
    force, matrix = witness.value_and_grad(X)[0], kernel_matrix(kernel, X, X)
    best = best_masses(matrix, M0, force)
    assert float(best.min()) >= 0
    assert float(best.sum()) == pytest.approx(1, abs=1e-13)
    metric = pf.metrics.MMD2(kernel)
    before, after = metric(start, Y), metric(Cloud(X, mass=best), Y)
    pull = force - matrix @ (best - M0)
    gap = float(pull.max() - best @ pull)
    assert 0 <= gap <= 1e-3 * (before - after) / 2
    for seed in range(20):  # no other masses are better than the gap allows
        assert metric(Cloud(X, mass=shares(13, seed)), Y) >= after - 2 * gap


@pytest.mark.usefixtures("unchecked")
def test_force_transport_solves_its_equation_on_the_atoms_of_the_target() -> None:
    """There m* are the target's masses: m(t) = m* + exp(-rate t) (m(0) - m*)."""
    aim, rate, dt = shares(13, 5), 0.8, 0.3
    reaction, start = ForceTransport(K, rate), Cloud(X, mass=M0)
    witness = pf.fit(MMD(K), start, Cloud(X, mass=aim)).witness
    moved = Cloud(X + 1.0, log_mass=M0.log())
    end = reaction.settled(moved, start, lambda: witness.value_and_grad(X)[0], dt)
    assert end.points is moved.points
    wanted = aim + math.exp(-rate * dt) * (M0 - aim)
    metric = pf.metrics.MMD(K)
    assert metric(Cloud(X, mass=end.mass), Cloud(X, mass=wanted)) <= 0.04 * metric(
        start, Cloud(X, mass=aim)
    )
    assert float(end.mass.sum()) == pytest.approx(1, abs=1e-14)


@pytest.mark.usefixtures("unchecked")
def test_force_transport_keeps_the_total_for_every_step_length() -> None:
    for dt in (0.05, 50.0):
        path = pf.simulate(
            pf.ift_flow(K, 2.0),
            Cloud(X, mass=2 * M0),
            Cloud(Y, mass=2 * shares(17, 1)),
            steps=8,
            dt=dt,
        )
        assert float((path.log_mass.exp().sum(1) / 2 - 1).abs().max()) < 1e-13
        assert bool((path.log_mass.exp() >= 0).all())


@pytest.mark.usefixtures("unchecked")
def test_force_transport_lowers_mmd_as_fast_as_its_rate() -> None:
    """Without motion MMD^2/2 - min falls at least as exp(-rate t); motion lowers it further."""
    flow = pf.ift_flow(K, 1.0, resample=None)
    path = pf.simulate(flow, X, Y, steps=12, dt=0.1)
    plain = pf.simulate(pf.mmd_flow(K), X, Y, steps=12, dt=0.1)
    assert bool((path.energy.diff() < 0).all())
    assert float(path.energy[-1]) < float(plain.energy[-1])


def test_neurons_may_have_masses_that_transport() -> None:
    kernel = pf.kernels.FeatureKernel(Neurons(normal(40, 1, 3)))
    x, y = normal(11, 3, 1), normal(12, 3, 2)
    path = pf.simulate(pf.ift_flow(kernel), x, y, steps=4, dt=0.05)
    assert path.status == "completed"
    assert float(path.energy[-1]) < float(path.energy[0])


# ---- renewals
# --------------------------------------------------------------------------------------------------


def degenerate(n: int = 40, seed: int = 0) -> Cloud:
    return Cloud(normal(n, 2, seed), mass=2.5 * shares(n, seed + 1) ** 3)


def test_resampling_keeps_rows_number_and_mass() -> None:
    x = degenerate()
    found = Resampling(0.9, jitter=0.1).renewed(x, None, Clock(step=4))
    assert found is not None
    cloud, anew = found
    assert 0 < int(anew.sum()) < 40
    assert torch.equal(cloud.points[~anew], x.points[~anew])
    torch.testing.assert_close(
        cloud.mass, torch.full((40,), 2.5 / 40 * float(x.mass.sum() / 2.5), dtype=torch.float64)
    )
    # copies: floor or ceil of N m / sum m each, close to their source and apart from it
    source = torch.cdist(cloud.points[anew], x.points).min(1)
    assert float(source.values.min()) > 0
    expected = 40 * x.mass / x.mass.sum()
    exact = Resampling(0.9, jitter=0.0).renewed(x, None, Clock(step=4))
    assert exact is not None
    counts = torch.tensor([int((exact[0].points == p).all(1).sum()) for p in x.points])
    assert bool(((counts >= expected.floor()) & (counts <= expected.ceil())).all())
    assert int(counts.sum()) == 40
    assert torch.equal(exact[1], anew)


def test_resampling_is_right_on_average_and_depends_on_seed_and_step_alone() -> None:
    x, rule = degenerate(), Resampling(0.9, jitter=0.0)
    drawn = [rule.renewed(x, None, Clock(step=step, draws=Draws(7))) for step in range(200)]
    means = torch.stack([found[0].mean(found[0].points) for found in drawn if found is not None])
    wanted = x.mass @ x.points
    error = means.std(0) / math.sqrt(200)
    assert bool(((means.mean(0) - wanted).abs() < 4 * error).all())
    again = rule.renewed(x, None, Clock(t=9.0, step=5, draws=Draws(7)))
    assert again is not None
    assert drawn[5] is not None
    assert torch.equal(again[0].points, drawn[5][0].points)
    assert len({tuple(found[1].tolist()) for found in drawn if found is not None}) > 20


def test_resampling_waits_for_its_threshold() -> None:
    x = degenerate()
    number = effective(x)
    assert number == pytest.approx(float(x.mass.sum() ** 2 / (x.mass**2).sum()))
    assert Resampling(0.99 * number / 40).renewed(x, None, Clock()) is None
    assert Resampling(min(0.999, 1.01 * number / 40)).renewed(x, None, Clock()) is not None
    assert Resampling().renewed(Cloud(X), None, Clock()) is None


def test_points_without_mass_are_no_sources() -> None:
    mass = torch.zeros(13, dtype=torch.float64)
    mass[[2, 5]] = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found = Resampling(jitter=0.0).renewed(Cloud(X, mass=mass), None, Clock())
    assert found is not None
    assert found[1].tolist() == [k not in (2, 5) for k in range(13)]
    places = {tuple(p) for p in found[0].points.tolist()}
    assert places == {tuple(p) for p in X[[2, 5]].tolist()}


def test_the_reborn_take_the_places_of_others_and_keep_their_masses() -> None:
    x = torch.cat([X, X[:4] + 15])
    mass = shares(17, 4)
    found = Rebirth(6.0, jitter=0.1).renewed(Cloud(x, mass=mass), Cloud(Y), Clock())
    assert found is not None
    cloud, anew = found
    assert anew.tolist() == [False] * 13 + [True] * 4
    assert torch.equal(cloud.mass, mass.log().exp())
    assert torch.equal(cloud.points[:13], X)
    assert float(torch.cdist(cloud.points[13:], X).amin(1).max()) < 1
    assert len(cloud.points.unique(dim=0)) == 17
    # none is far, or all are
    assert Rebirth(6.0).renewed(Cloud(X), Cloud(Y), Clock()) is None
    assert Rebirth(6.0).renewed(Cloud(X + 15), Cloud(Y), Clock()) is None
    # equal masses stay equal, and are not made explicit
    plain = Rebirth(6.0).renewed(Cloud(x), Cloud(Y), Clock())
    assert plain is not None
    assert plain[0].log_mass is None


def test_a_plain_flow_is_untouched() -> None:
    flow, x = pf.mmd_flow(K), Cloud(X)
    cloud, anew = flow.settled(x, x, pf.fit(flow.estimator, X, Y), Cloud(Y), Clock(), 0.1)
    assert cloud is x
    assert anew == {}


# ---- pictures of particles that were placed anew
# --------------------------------------------------------------------------------------------------


@cache
def jumping() -> pf.Trajectory:
    flow = pf.unbalanced(pf.mmd_flow(Gaussian(0.5)), 20.0, resample=0.9)
    path = pf.simulate(flow, X - 2, Y, steps=12, dt=0.1, save=pf.SaveAt(every=3))
    assert path.anew is not None
    assert path.anew.shape == (5, 13)
    assert bool(path.anew.any())
    return path


def test_pictures_do_not_let_them_travel() -> None:
    from particleflow.plotting.scenes.scene import Scene

    path = jumping()
    scene = Scene.of({"": path}, steps=path.steps.tolist(), between=frozenset({""}))
    k = int(path.anew.any(1).nonzero()[0, 0])
    jumped = path.anew[k].numpy()
    between = float(path.steps[k]) - 0.5
    assert (scene.cloud("", between)[jumped] == path.particles[k - 1].numpy()[jumped]).all()
    assert (scene.cloud("", between)[~jumped] != path.particles[k - 1].numpy()[~jumped]).any()
    trail = scene.trail("", float(path.steps[k]), 1.0)
    assert (trail[jumped] == trail[jumped][:, -1:]).all()
    assert (scene.velocities("", float(path.steps[k - 1]))[jumped] == 0).all()


def test_pages_and_lines_know_them(tmp_path) -> None:
    from particleflow.plotting.web.facts import _anew

    path = jumping()
    lists = _anew(path.anew, slice(None), [0, 2, 4])
    assert lists[0] == []
    assert lists[2] == (path.anew[3] | path.anew[4]).nonzero()[:, 0].tolist()
    path.play(tmp_path / "run.html")
    flow = pf.unbalanced(pf.mmd_flow(Gaussian(0.5)), 20.0, resample=0.9)
    line = pf.simulate(flow, X[:, :1] - 2, Y[:, :1], steps=12, dt=0.1)
    assert line.anew is not None
    for color in ("flow", "speed"):
        line.plot(tmp_path / "line.png", color=color)


# ---- stragglers
# --------------------------------------------------------------------------------------------------

FAR = torch.cat([X, X[:4] + 15])


def test_stragglers_are_told_without_any_change() -> None:
    flow = pf.mmd_flow(K)
    told = pf.simulate(pf.stragglers(flow), FAR, Y, steps=6, dt=0.1)
    plain = pf.simulate(flow, FAR, Y, steps=6, dt=0.1)
    assert torch.equal(told.particles, plain.particles)
    assert torch.equal(told.energy, plain.energy)
    assert told.report["stragglers"] == {"first": 4, "last": 4, "most": 4}
    assert "beyond reach: 4 particles at the start, 4 at the end" in str(told.summary())
    assert pf.stragglers(flow).conservative


def test_pulled_stragglers_move_like_the_companion() -> None:
    for flow in (
        pf.mmd_flow(K),
        pf.kale_flow(K, lam=0.5),
        pf.kale_flow(K, lam=pf.schedules.Constant(0.5)),
    ):
        pulled = pf.stragglers(flow, pull=Energy())
        fits = [pf.fit(each.estimator, FAR, Y) for each in (flow, pulled)]
        own, v = (
            each.velocity(Cloud(FAR), fit, Clock())[0]
            for each, fit in zip((flow, pulled), fits, strict=True)
        )
        far = pf.fit(MMD(Energy()), FAR[13:], Y).witness.value_and_grad(FAR[13:])[1]
        torch.testing.assert_close(v[13:], far, rtol=1e-12, atol=0)
        assert torch.equal(v[:13], own[:13])
        assert not pulled.conservative


def test_a_pull_takes_queries_of_another_dtype() -> None:
    far = FAR.float().double()
    fit = pf.fit(pf.stragglers(pf.mmd_flow(K), pull=Energy()).estimator, far, Y)
    exact, found = (fit.witness.value_and_grad(z)[1] for z in (far, far.float()))
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_pulled_and_reborn_stragglers_arrive() -> None:
    flow, metric = pf.mmd_flow(K), pf.metrics.W2()
    left = metric(pf.simulate(flow, FAR, Y, steps=160, dt=0.3).particles[-1], Y)
    for help_ in ({"pull": Energy(), "beyond": 1.5}, {"reborn": True}):
        path = pf.simulate(pf.stragglers(flow, **help_), FAR, Y, steps=160, dt=0.3)
        assert path.report["stragglers"]["last"] == 0
        assert metric(path.particles[-1], Y) < left / 5
        assert path.log_mass is None
    assert path.report["renewals"]["reborn"]["particles"] >= 4
    assert re.search(r"^reborn: \d+ times?, \d+ particles$", str(path.summary()), re.M)


def test_the_reach_is_that_of_the_kernel() -> None:
    for kernel, reach in ((Gaussian(0.4), 1.2), (Laplace(0.4), 1.8)):
        assert pf.stragglers(pf.mmd_flow(kernel)).estimator.beyond == pytest.approx(reach)
    assert pf.stragglers(pf.mmd_flow(Energy()), beyond=3.0).estimator.beyond == 3.0
    assert pf.stragglers(pf.kale_flow(K, lam=0.5), reborn=True).renewals == (Rebirth(2.7),)


def test_birth_death_and_stragglers_join() -> None:
    flow = pf.stragglers(pf.unbalanced(pf.mmd_flow(K)), reborn=True)
    assert [type(each) for each in flow.renewals] == [Rebirth, Resampling]
    path = pf.simulate(flow, FAR, Y, steps=6, dt=0.2)
    assert float((path.log_mass.exp().sum(1) - 1).abs().max()) < 1e-13
    assert path.report["stragglers"]["last"] == 0


REFUSED = {
    "flow": (lambda: pf.unbalanced(MMD(K)), "`flow` must be a Flow"),
    "twice": (
        lambda: pf.unbalanced(pf.unbalanced(pf.mmd_flow(K))),
        "`flow` must have no reaction",
    ),
    "log p": (
        lambda: pf.unbalanced(pf.langevin(pf.samplers.Gaussian(dim=2))),
        "`flow` must have a log ratio .* diffusion",
    ),
    "rate": (lambda: pf.unbalanced(pf.mmd_flow(K), 0.0), "`rate` must be .*> 0"),
    "ift rate": (lambda: pf.ift_flow(K, -1.0), "`rate` must be .*> 0"),
    "resample": (lambda: pf.unbalanced(pf.mmd_flow(K), resample=1.0), "`resample` must be a share"),
    "jitter": (lambda: pf.unbalanced(pf.mmd_flow(K), jitter=-1.0), "`jitter` must be"),
    "renewals": (lambda: pf.Flow(MMD(K), renewals=[Resampling()]), "`renewals` must be a tuple"),
    "other kernel": (
        lambda: pf.Flow(MMD(K), reaction=ForceTransport(Gaussian(2.0))),
        "`reaction` ForceTransport needs the estimator MMD",
    ),
    "force and KALE": (
        lambda: pf.Flow(KALE(K, lam=0.1), reaction=ForceTransport(K)),
        "`reaction` ForceTransport needs the estimator MMD",
    ),
    "no flow": (lambda: pf.stragglers(K), "`flow` must be a Flow"),
    "both": (
        lambda: pf.stragglers(pf.mmd_flow(K), pull=Energy(), reborn=True),
        "`pull` and `reborn` act on the same particles",
    ),
    "again": (
        lambda: pf.stragglers(pf.stragglers(pf.mmd_flow(K))),
        "`flow` must be without stragglers",
    ),
    "no target": (
        lambda: pf.stragglers(pf.langevin(pf.samplers.Gaussian(dim=2))),
        "`flow` must have a target",
    ),
    "features": (
        lambda: pf.stragglers(pf.mmd_flow(pf.kernels.FeatureKernel(Neurons(normal(9, 2, 0))))),
        "`flow` must have particles in the space of the target",
    ),
    "no reach": (lambda: pf.stragglers(pf.mmd_flow(IMQ(0.5))), "`beyond` must be given"),
    "critic": (lambda: pf.stragglers(pf.wgan_flow()), "`beyond` must be given"),
    "beyond": (lambda: pf.stragglers(pf.mmd_flow(K), beyond=0.0), "`beyond` must be"),
    "short pull": (
        lambda: pf.stragglers(pf.mmd_flow(K), pull=Gaussian(0.5)),
        "`pull` must reach farther than 2.7",
    ),
    "mobility": (
        lambda: pf.stragglers(
            pf.mono_flow(KDE(K), pf.mobilities.Vanilla()), pull=Energy(), beyond=3.0
        ),
        "`pull` needs a flow whose mobility has a constant slope",
    ),
    "pull and force": (
        lambda: pf.stragglers(pf.ift_flow(K), pull=Energy()),
        "`pull` is of no use beside force transport",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    made, words = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=words):
        made()


def test_a_kernel_that_is_none_and_too_many_particles_are_refused() -> None:
    flow = pf.ift_flow(lambda s: torch.cos(s) * torch.exp(-0.01 * s))
    with pytest.raises(ValueError, match="`kernel` must be positive definite"):
        pf.simulate(flow, X, Y, steps=1, dt=0.1)
    many = normal(5001, 1, 0)
    with pytest.raises(ValueError, match="`x0` must have at most 5000"):
        pf.simulate(pf.ift_flow(K), many, many[:9], steps=1, dt=0.1)


# ---- four wells from one
# --------------------------------------------------------------------------------------------------


def wells(seed: int, n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    y = 0.2 * normal(m, 2, seed) + corners[torch.arange(m) % 4]
    return 0.2 * normal(n, 2, seed + 100) + corners[0], y, corners


def off(flow: pf.Flow, seed: int, sizes: tuple[int, int], steps: int) -> float:
    """The largest difference of a well's share of mass from a quarter."""
    x, y, corners = wells(seed, *sizes)
    end = pf.simulate(flow, x, y, steps=steps, dt=0.5, seed=seed).state.x
    near = torch.cdist(end.points, corners).argmin(1)
    return max(abs(float(end.mass[near == j].sum()) - 0.25) for j in range(4))


@pytest.mark.usefixtures("unchecked")
def test_mass_reaches_four_wells_from_one() -> None:
    assert off(pf.unbalanced(pf.mmd_flow(Gaussian(0.5)), 5.0), 0, (48, 60), 90) < 0.03


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("seed", range(10))
def test_four_wells_get_their_quarters(seed: int) -> None:
    """25 +- 3 points each, where plain MMD flow leaves too much behind."""
    flow = pf.mmd_flow(Gaussian(0.5))
    assert off(pf.unbalanced(flow), seed, (200, 240), 1000) < 0.03
    assert off(flow, seed, (200, 240), 1000) > 0.03
