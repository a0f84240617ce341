"""Velocities: gradients of energies, symmetries, injected noise, laws in one dimension, and the
suggested time step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import problems
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow import divergences as D
from particleflow.clouds import Clock, Cloud, Draws, Replay
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, DrMMD, Estimator, Moments, Moreau
from particleflow.flows import EnergySlope
from particleflow.kernels import (
    IMQ,
    Energy,
    FeatureKernel,
    Gaussian,
    Laplace,
    Matern32,
    Matern52,
    Neurons,
    Radial,
    Tanh,
)
from particleflow.mobilities import Arcsinh, Exponential, Linear, NonSaturating, Unit, Vanilla

MOBILITIES = [
    Unit(),
    Linear(2.5),
    Exponential(1.0),
    Exponential(2.0),
    Exponential(0.5),
    Vanilla(),
    Vanilla(3.0),
    NonSaturating(),
    Arcsinh(),
]
KERNELS = [
    Gaussian(0.8),
    Laplace(0.8),
    Matern32(0.8),
    Matern52(0.8),
    IMQ(0.8),
    Energy(),
    Radial(lambda s: (1 + s) ** -2),
]


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def weighted(points: Tensor, seed: int) -> Cloud:
    return Cloud(
        points,
        log_mass=torch.from_numpy(
            np.random.default_rng(seed).dirichlet(2 * np.ones(len(points)))
        ).log(),
    )


def velocity(
    flow: pf.Flow, x: Cloud | Tensor, y: Cloud | Tensor | None, clock: Clock = Clock()
) -> Tensor:
    x = x if isinstance(x, Cloud) else Cloud(x)
    y = Cloud(y) if isinstance(y, Tensor) else y
    return flow.velocity(x, flow.estimator.fit(x, y, clock, {}), clock)[0]


# ---- conservative flows
# --------------------------------------------------------------------------------------------------

GAUSSIAN = pf.samplers.Gaussian(mean=[0.3, -0.2], cov=[[1.0, 0.8], [0.8, 0.89]])
# Entropies without a finite recession constant: no mass leaves the target's points.
INFINITE = [
    D.KL(),
    D.ChiSquare(),
    D.ChiSquare(nonnegative=False),
    D.Jeffreys(),
    D.Tsallis(1.5),
    D.Tsallis(2.0),
    D.Tsallis(3.0),
]
# ... and with one: their flows descend the value where no mass has left, which each fit tells.
FINITE = [D.JensenShannon(), D.ReverseKL(), D.Tsallis(0.5), D.TotalVariation()]

CONSERVATIVE = {
    **{f"MMD {type(k).__name__}": pf.mmd_flow(k) for k in KERNELS},
    **{f"KALE {lam:g}": pf.kale_flow(Gaussian(0.8), lam=lam) for lam in (1e-2, 1e-1, 1.0, 1e2)},
    "KALE Laplace": pf.kale_flow(Laplace(0.8), lam=0.1),
    "KALE of its own bandwidth": pf.Flow(KALE(lam=0.1), mobility=EnergySlope()),
    "MMD Neurons": pf.mmd_flow(
        FeatureKernel(Neurons(normal(11, 1, 4), activation=Tanh(), output_weight=False))
    ),
    "MMD through Dense": pf.mmd_flow(Gaussian(0.8), pairwise=pf.pairwise.Dense()),
    **{
        f"DrMMD {lam:g}": pf.Flow(DrMMD(Gaussian(0.8), lam=lam), mobility=Linear(1 + lam))
        for lam in (1e-2, 1.0)
    },
    **{
        f"Moreau {f} {lam:g}": pf.Flow(Moreau(Gaussian(0.8), divergence=f, lam=lam))
        for f in INFINITE
        for lam in (0.03, 1.0)
    },
    "Gaussian": pf.Flow(ClosedForm(GAUSSIAN)),
    "mixture": pf.Flow(ClosedForm(pf.samplers.Mixture.four_gaussians())),
    "own log density": pf.Flow(ClosedForm(lambda z: -(z**4).sum(1))),
}


@pytest.mark.parametrize("masses", ["equal", "weighted"])
@pytest.mark.parametrize("name", CONSERVATIVE)
def test_the_velocity_is_minus_the_gradient_of_the_energy_over_the_mass(
    name: str, masses: str
) -> None:
    """v_i = -(1 / m_i) dE / dx_i, by central differences; m_i = 1 / N gives -N dE / dx_i."""
    flow = CONSERVATIVE[name]
    assert flow.conservative
    x, y = 0.6 * normal(5, 2, 0, 0.4), normal(7, 2, 1)
    x_cloud, y_cloud = (
        (Cloud(x), Cloud(y)) if masses == "equal" else (weighted(x, 2), weighted(y, 3))
    )

    def energy(points: Tensor) -> float:
        cloud = Cloud(points, log_mass=x_cloud.log_mass)
        return flow.energy(flow.estimator.fit(cloud, y_cloud, Clock(), {}), cloud)

    h = 1e-5
    gradient = torch.zeros_like(x)
    for i in range(5):
        for k in range(2):
            step = torch.zeros_like(x)
            step[i, k] = h
            gradient[i, k] = (energy(x + step) - energy(x - step)) / (2 * h)
    expected = -gradient / x_cloud.mass[:, None]
    assert torch.allclose(
        velocity(flow, x_cloud, y_cloud),
        expected,
        rtol=1e-6,
        atol=1e-8 * float(expected.abs().max()) * 10,
    )


@pytest.mark.parametrize("lam", [0.03, 10.0])
@pytest.mark.parametrize("divergence", FINITE, ids=repr)
def test_an_energy_slope_is_told_where_the_value_falls_along_the_velocity_only(
    divergence: D.Divergence, lam: float
) -> None:
    """Singular mass sits on particles where h meets the recession constant, and moves along: there
    v is not -N dE/dx.
    """
    flow = pf.Flow(Moreau(Gaussian(0.8), divergence=divergence, lam=lam))
    assert not flow.conservative
    x, y = 0.6 * normal(6, 1, 0, 1.5), normal(9, 1, 1)
    fit = pf.fit(flow.estimator, x, y)
    h, slopes = 1e-6, torch.zeros_like(x)
    for i in range(len(x)):
        step = torch.zeros_like(x)
        step[i, 0] = h
        slopes[i, 0] = (
            pf.fit(flow.estimator, x + step, y).value - pf.fit(flow.estimator, x - step, y).value
        ) / (2 * h)
    agrees = torch.allclose(
        velocity(flow, Cloud(x), Cloud(y)), -len(x) * slopes, rtol=1e-4, atol=1e-6
    )
    assert agrees == (fit.energy_slope is not None)


@pytest.mark.parametrize(
    "flow",
    [
        pf.mmd_flow(Gaussian(0.8), noise=0.1),
        pf.Flow(MMD(Gaussian(0.8)), diffusion=0.1),
        pf.Flow(MMD(Gaussian(0.8)), reaction=lambda w: w),
        pf.Flow(MMD(Gaussian(0.8)), mobility=Linear(2.0)),
        pf.Flow(KALE(Gaussian(0.8), lam=0.1)),
        pf.Flow(KALE(Gaussian(0.8), lam=0.1), mobility=Vanilla()),
        pf.kale_flow(Gaussian(0.8), lam=0.1, noise=0.1),
        pf.mono_flow(KDE(Gaussian(0.8))),
        pf.mono_flow(ClosedForm(GAUSSIAN, current=Moments())),
        pf.Flow(ClosedForm(GAUSSIAN, clip=5.0)),
        pf.Flow(Moreau(Gaussian(0.8), divergence=D.JensenShannon(), lam=0.03)),
        pf.langevin(GAUSSIAN),
    ],
    ids=lambda flow: repr(flow)[:70],
)
def test_what_has_no_energy_says_so(flow: pf.Flow) -> None:
    assert not flow.conservative
    x, y = Cloud(normal(5, 2, 0)), Cloud(normal(7, 2, 1))
    fit = flow.estimator.fit(x, y, Clock(), {})
    with pytest.raises(
        ValueError,
        match=(
            r"`flow` must be conservative to have an energy, got .*: read fit\.value, which need"
            r" not decrease"
        ),
    ):
        flow.energy(fit, x)


def test_a_score_alone_has_no_value() -> None:
    flow, x = pf.Flow(ClosedForm(lambda z: -z)), Cloud(normal(5, 2, 0))
    with pytest.raises(
        ValueError,
        match=(
            r"`fit` must have a value to have an energy, got None from ClosedForm: .* pass a log"
            r" density"
        ),
    ):
        flow.energy(flow.estimator.fit(x, None, Clock(), {}), x)


def test_a_descent_without_an_energy_names_another_mobility() -> None:
    x, y = normal(5, 2, 0, 3.0), normal(7, 2, 1)
    flow = pf.Flow(
        Moreau(Gaussian(0.8), divergence=D.JensenShannon(), lam=0.03), mobility=EnergySlope()
    )
    with pytest.raises(
        ValueError,
        match=(
            r"`mobility` EnergySlope\(\) needs a fit with an energy slope, got None: .* name a"
            r" mobility, such as Unit\(\)"
        ),
    ):
        velocity(flow, x, y)


def test_the_plug_in_kl_of_densities_is_no_energy_of_its_flow() -> None:
    """The velocity of a KDE ratio is not the gradient of `Fit.value`: by how much shows that the
    flag matters.
    """
    flow, x, y = pf.mono_flow(KDE(Gaussian(0.8))), normal(5, 2, 0), normal(7, 2, 1)
    step = torch.zeros_like(x)
    step[0, 0] = 1e-5
    slope = (
        pf.fit(flow.estimator, x + step, y).value - pf.fit(flow.estimator, x - step, y).value
    ) / 2e-5
    assert abs(-5 * slope - float(velocity(flow, x, y)[0, 0])) > 0.05 * abs(5 * slope)


@pytest.mark.parametrize(
    "mobility",
    [Vanilla(), Exponential(), NonSaturating(), Arcsinh()],
    ids=lambda m: type(m).__name__,
)
def test_a_rescaling_of_a_potential_is_refused(mobility: Vanilla) -> None:
    for estimator in (MMD(Gaussian(0.8)), ClosedForm(GAUSSIAN)):
        message = (
            r"`mobility` must be Unit\(\) or Linear\(\) for (MMD|ClosedForm), got .*: its witness"
            r" is a potential, not a log ratio"
        )
        with pytest.raises(ValueError, match=message):
            pf.Flow(estimator, mobility=mobility)


# ---- symmetries
# --------------------------------------------------------------------------------------------------

ROTATION = torch.linalg.qr(normal(3, 3, 9))[0]
SHIFT = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)


def law(mean: Tensor, covariance: Tensor) -> pf.samplers.Gaussian:
    return pf.samplers.Gaussian(mean=mean.numpy(), cov=((covariance + covariance.T) / 2).numpy())


def estimators(mean: Tensor, covariance: Tensor) -> dict[str, Estimator]:
    """One of each kind; those that know a density get the one given."""
    return {
        "MMD": MMD(Gaussian(1.1)),
        "MMD Energy": MMD(Energy()),
        "KALE": KALE(Gaussian(1.1), lam=0.1),
        "KDE": KDE(Gaussian(1.1)),
        "KDE IMQ": KDE(IMQ(1.1)),
        "ClosedForm": ClosedForm(law(mean, covariance)),
        "Moments": ClosedForm(law(mean, covariance), current=Moments()),
    }


CASES = [
    (name, m)
    for name, e in estimators(torch.zeros(3), torch.eye(3)).items()
    for m in MOBILITIES
    if e.log_ratio or isinstance(m, Linear)
]


@pytest.mark.parametrize(
    ("name", "mobility"), CASES, ids=lambda value: value if isinstance(value, str) else repr(value)
)
def test_a_rigid_motion_of_everything_moves_the_velocity_with_it(name: str, mobility: Unit) -> None:
    x, y = 0.7 * normal(9, 3, 0, 0.3), normal(11, 3, 1)
    mean, root = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64), normal(3, 3, 4)
    covariance = root @ root.T + torch.eye(3, dtype=torch.float64)
    here = velocity(pf.Flow(estimators(mean, covariance)[name], mobility), x, y)
    moved = estimators(ROTATION @ mean + SHIFT, ROTATION @ covariance @ ROTATION.T)[name]
    there = velocity(pf.Flow(moved, mobility), x @ ROTATION.T + SHIFT, y @ ROTATION.T + SHIFT)
    assert torch.allclose(there, here @ ROTATION.T, rtol=1e-9, atol=1e-10 * float(here.abs().max()))
    assert float(here.abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("name", "mobility"), CASES, ids=lambda value: value if isinstance(value, str) else repr(value)
)
def test_the_order_of_the_points_means_nothing(name: str, mobility: Unit) -> None:
    x, y = weighted(0.7 * normal(9, 3, 0, 0.3), 2), weighted(normal(11, 3, 1), 3)
    flow = pf.Flow(
        estimators(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))[name],
        mobility,
    )
    here = velocity(flow, x, y)
    i, j = (torch.from_numpy(np.random.default_rng(5).permutation(n)) for n in (9, 11))
    there = velocity(
        flow, Cloud(x.points[i], log_mass=x.log_mass[i]), Cloud(y.points[j], log_mass=y.log_mass[j])
    )
    assert torch.allclose(there, here[i], rtol=1e-10, atol=1e-12 * float(here.abs().max()))


def test_a_mobility_multiplies_the_gradient_by_its_slope_at_the_ratio() -> None:
    x, y = normal(9, 2, 0), normal(11, 2, 1)
    for estimator in (KDE(Gaussian(0.8)), KALE(Gaussian(0.8), lam=0.1)):
        value, grad = pf.fit(estimator, x, y).witness.value_and_grad(x)
        for mobility in MOBILITIES:
            found = velocity(pf.Flow(estimator, mobility), x, y)
            assert torch.allclose(found, mobility.slope(value)[:, None] * grad, rtol=1e-13, atol=0)


# ---- noise injection
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flow",
    [pf.mmd_flow(Gaussian(0.8), noise=0.7), pf.kale_flow(Gaussian(0.8), lam=0.1, noise=0.7)],
    ids=["MMD", "KALE"],
)
def test_the_clean_witness_is_queried_at_the_noisy_points(flow: pf.Flow) -> None:
    x, y, u = normal(9, 2, 0), normal(11, 2, 1), normal(9, 2, 2)
    grad = pf.fit(flow.estimator, x, y).witness.value_and_grad(x + 0.7 * u)[1]
    found = velocity(flow, x, y, Clock(draws=Replay({"noise": u[None]})))
    assert torch.equal(found, flow.mobility.slope(x[:, 0])[:, None] * grad)


@pytest.mark.usefixtures("unchecked")
def test_on_average_injected_noise_is_the_smoothed_kernel_s_flow() -> None:
    """Mean over 4000 draws against factor * grad w of the wide kernel: 5 standard errors of each of
    10 numbers (6e-6 in all).
    """
    beta, x, y = 0.6, normal(5, 2, 0), normal(7, 2, 1)
    flow = pf.mmd_flow(Gaussian(0.8), noise=beta)
    fit = pf.fit(flow.estimator, x, y)
    copies = Cloud(x.repeat(800, 1))
    many = torch.cat(
        [
            flow.velocity(copies, fit, Clock(step=n, draws=Draws(7)))[0].reshape(800, 5, 2)
            for n in range(5)
        ]
    )
    factor, wide = Gaussian(0.8).smoothed(beta, 2)
    expected = factor * velocity(pf.mmd_flow(wide), x, y)
    error = many.std(0) / math.sqrt(4000)
    assert bool(((many.mean(0) - expected).abs() <= 5 * error).all())
    assert bool(((many.mean(0) - expected / factor).abs() > 5 * error).any()), (
        "the test could not see the prefactor"
    )


def test_no_noise_level_is_no_noise() -> None:
    x, y = normal(9, 2, 0), normal(11, 2, 1)
    assert torch.equal(
        velocity(pf.mmd_flow(Gaussian(0.8), noise=0.0), x, y),
        velocity(pf.mmd_flow(Gaussian(0.8)), x, y),
    )


def test_a_noise_schedule_may_look_at_the_fit() -> None:
    x, y, u = normal(9, 2, 0), normal(11, 2, 1), normal(9, 2, 2)
    flow = pf.mmd_flow(Gaussian(0.8), noise=lambda clock, fit: 2.0 * fit.value)
    fit = pf.fit(flow.estimator, x, y)
    found = velocity(flow, x, y, Clock(draws=Replay({"noise": u[None]})))
    assert torch.equal(found, fit.witness.value_and_grad(x + 2.0 * fit.value * u)[1])


# ---- closed forms in one dimension, the stall
# ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_the_energy_kernel_spreads_a_point_as_its_quantiles_say() -> None:
    """From delta_{-1} to delta_0: Q(s, t) = min(-1 + 2 s t, 0); before arrival exactly, after it
    within a step of dt.
    """
    n, dt = 40, 1e-3
    x0 = (-1 + 1e-9 * torch.arange(n, dtype=torch.float64))[:, None]
    path = pf.simulate(
        pf.mmd_flow(Energy()),
        x0,
        [[0.0]],
        steps=1000,
        dt=dt,
        save=pf.SaveAt(steps=[250, 500, 1000]),
    )
    assert path.particles.dtype == torch.float64
    s = (np.arange(n) + 0.5) / n
    for k, t in enumerate((0.25, 0.5, 1.0), start=1):
        assert path.particles[k, :, 0].numpy() == pytest.approx(
            problems.energy_quantiles(s, t), abs=1e-7 if t <= 0.5 else 2 * dt
        )
        # the midpoint rule over n quantiles misses O(1 / n^2) of the integral
        assert float((path.particles[k] ** 2).mean()) == pytest.approx(
            problems.energy_w2_squared(t), abs=2 * dt + 1 / n**2
        )


def test_coincident_particles_never_part_under_the_energy_kernel() -> None:
    path = pf.simulate(
        pf.mmd_flow(Energy()),
        torch.full((6, 1), -1.0, dtype=torch.float64),
        [[0.0]],
        steps=50,
        dt=0.01,
    )
    assert torch.allclose(
        path.particles[-1], torch.full((6, 1), -0.5, dtype=torch.float64), rtol=0, atol=1e-14
    )


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("seed", [0, 1])
def test_far_away_the_mmd_flow_stalls_and_noise_helps(seed: int) -> None:
    """W2 rises while MMD^2 falls; with noise halved every 500 steps both end lower. The direction
    is tested, not the digits of one seed.
    """
    x0 = pf.samplers.Gaussian(dim=2, mean=(5.0, 0.0), std=0.5).sample(150, seed=seed)
    target = pf.samplers.Gaussian(dim=2).sample(149, seed=seed + 10)
    metrics = {"W2": pf.metrics.W2()}
    ends = []
    for noise in (None, pf.schedules.Geometric(3.0, ratio=0.5, every=500)):
        flow = pf.mmd_flow(Gaussian(1.0), noise=noise)
        path = pf.simulate(
            flow,
            x0,
            target,
            steps=3000,
            dt=1.0,
            metrics=metrics,
            save=pf.SaveAt(steps=[0]),
            seed=seed,
        )
        ends.append((path.metrics["W2"], path.energy))
    (w2, energy), (noisy_w2, noisy_energy) = ends
    assert w2[-1] > w2[0]
    assert energy[-1] < 0.05 * energy[0]
    assert noisy_w2[-1] < 0.7 * w2[0]
    assert noisy_energy[-1] < energy[-1]


# ---- suggested steps
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    x: Tensor
    y: Tensor
    bandwidth: float


def rings() -> Problem:
    return Problem(
        pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.01).sample(80, seed=1),
        pf.samplers.Rings().sample(90, seed=0),
        0.22,
    )


def squares() -> Problem:
    x = pf.samplers.Gaussian(dim=2, mean=-0.18, std=0.2).sample(80, seed=1)
    return Problem(x, pf.samplers.Mixture.four_gaussians().sample(90, seed=0), 0.5)


def suggested_flows(bandwidth: float) -> dict[str, pf.Flow]:
    kernel = Gaussian(bandwidth)
    return {
        "MMD": pf.mmd_flow(kernel),
        "KALE 1e-2": pf.kale_flow(kernel, lam=1e-2),
        "KALE 1": pf.kale_flow(kernel, lam=1.0),
        "KDE": pf.mono_flow(KDE(kernel)),
        "KDE vanilla": pf.mono_flow(KDE(kernel), Vanilla()),
    }


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "task", [rings, pytest.param(squares, marks=pytest.mark.slow)], ids=["rings", "four Gaussians"]
)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "KALE 1" else ())
        for name in suggested_flows(1.0)
    ],
)
def test_the_suggested_step_is_stable(task, name: str) -> None:
    """The energy of a conservative flow only falls; the others stay near and come nearer; and the
    step is one number for one problem.
    """
    problem = task()
    flow = suggested_flows(problem.bandwidth)[name]
    dt = flow.suggest_dt(problem.x, problem.y)
    assert dt == flow.suggest_dt(problem.x, problem.y)
    path = pf.simulate(
        flow,
        problem.x,
        problem.y,
        steps=150,
        save=pf.SaveAt(every=1),
        metrics={"W2": pf.metrics.SlicedW2(projections=20)},
    )
    assert path.report["dt"] == dt
    assert path.report["dt_suggested"]
    assert (path.status, path.message) == ("completed", "")
    if flow.conservative:
        assert float(path.energy.diff().max()) <= 1e-12 * float(path.energy[0])
    assert path.energy[-1] < 0.9 * path.energy[0]
    assert path.metrics["W2"][-1] < path.metrics["W2"][0]


def test_the_suggested_step_follows_the_units() -> None:
    """Lengths times c divide the MMD flow's rates by c^2 (k has no unit): dt grows like c^2."""
    problem = squares()
    base = pf.mmd_flow(Gaussian(0.5)).suggest_dt(problem.x, problem.y)
    assert pf.mmd_flow(Gaussian(50.0)).suggest_dt(
        100 * problem.x, 100 * problem.y
    ) == pytest.approx(1e4 * base, rel=1e-6)
    assert pf.mmd_flow(Gaussian(0.005)).suggest_dt(
        problem.x / 100, problem.y / 100
    ) == pytest.approx(1e-4 * base, rel=1e-6)


def test_a_noisy_or_diffusing_flow_has_a_suggestion_too() -> None:
    problem = squares()
    assert pf.mmd_flow(Gaussian(0.5), noise=0.3).suggest_dt(problem.x, problem.y) == pf.mmd_flow(
        Gaussian(0.5)
    ).suggest_dt(problem.x, problem.y)
    law = pf.samplers.Gaussian(dim=2, std=0.1)
    dt = pf.langevin(law).suggest_dt(problem.x)
    assert 1e-4 < dt <= 1e-3  # a tenth of 1 / rate, the rate being 1 / std^2 = 100
    assert pf.langevin(law).suggest_dt(Cloud(problem.x)) == dt


def test_a_suggestion_for_one_particle_and_for_a_cloud_at_rest() -> None:
    flow = pf.mmd_flow(Gaussian(0.5))
    one = torch.zeros(1, 2, dtype=torch.float64)
    for x, y in ((one, one), (one, one + 1), (torch.zeros(5, 2), torch.zeros(7, 2))):
        assert 0 < flow.suggest_dt(x, y) < math.inf


@pytest.mark.parametrize(
    "estimator",
    [pf.estimators.Classifier(width=8, first_steps=20), pf.estimators.CTransformCritic()],
    ids=repr,
)
def test_where_velocities_have_no_rates_a_step_is_a_hundredth_of_the_extent(
    estimator: Estimator,
) -> None:
    """Of a network in training, or of a potential with kinks."""
    x, y = normal(30, 2, 0), normal(41, 2, 1, 1.0)
    velocity = pf.fit(estimator, x, y).witness.value_and_grad(x)[1]
    both = torch.cat([x, y])
    span = float((both.amax(0) - both.amin(0)).max())
    moved = pf.Flow(estimator).suggest_dt(x, y) * float(velocity.norm()) / math.sqrt(30)
    assert 0.009 * span < moved <= 0.01 * span
