"""Flows between Gaussians, by the log ratio of the cloud's own moments: closed forms, orders, and
which h reach the target.
"""

from __future__ import annotations

import math

import numpy as np
import problems
import pytest
import torch
from torch import Tensor

import particleflow as pf
from benchmarks.mobilities import flows as mobility_flows
from benchmarks.mobilities.flows import CASES, final_mean
from particleflow.clouds import Cloud
from particleflow.estimators import ClosedForm, Moments
from particleflow.integrators import RK4, Euler, Heun, RungeKutta
from particleflow.mobilities import Arcsinh, NonSaturating, Unit, Vanilla

pytestmark = pytest.mark.usefixtures("unchecked")

P, Q = problems.PLANE


def law(normal: problems.Normal) -> pf.samplers.Gaussian:
    return pf.samplers.Gaussian(mean=normal.mean, cov=normal.cov)


def reverse_kl(target: problems.Normal) -> pf.Flow:
    return pf.mono_flow(ClosedForm(law(target), current=Moments()))


def moments(points: Tensor) -> tuple[np.ndarray, np.ndarray]:
    mean, covariance = Cloud(points).moments()
    return mean.numpy(), covariance.numpy()


def two_points(mean: float, std: float) -> Tensor:
    """The smallest cloud with these moments."""
    return torch.tensor([[mean - std], [mean + std]], dtype=torch.float64)


@pytest.mark.parametrize("cloud", ["Gaussian", "no Gaussian", "weighted"])
def test_the_moments_of_any_cloud_follow_the_closed_form(cloud: str) -> None:
    """v = -P^-1 (x - mu) + S^-1 (x - m) is affine in x, so m' = -P^-1 (m - mu) and S' = -P^-1 S - S
    P^-1 + 2 I whatever the cloud is.
    """
    rng = np.random.default_rng(0)
    x = torch.from_numpy(
        rng.standard_normal((23, 2)) + 1
        if cloud == "Gaussian"
        else rng.exponential(size=(23, 2)) ** 2
    )
    start = Cloud(
        x,
        log_mass=(
            torch.from_numpy(rng.dirichlet(np.ones(23))).log() if cloud == "weighted" else None
        ),
    )
    mean, covariance = start.moments()
    path = pf.simulate(reverse_kl(P), start, t1=0.7, dt=0.7 / 100, integrator=RK4())
    end = problems.reverse_kl_flow(P, problems.normal(mean.numpy(), covariance.numpy()), 0.7)
    found = Cloud(path.particles[-1], log_mass=start.log_mass).moments()
    assert found[0].numpy() == pytest.approx(end.mean, rel=1e-7)
    assert found[1].numpy() == pytest.approx(end.cov, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize(
    ("scheme", "steps"),
    [(Euler(), [80, 160, 320]), (Heun(), [40, 80, 160]), (RK4(), [40, 80, 160])],
    ids=["Euler", "Heun", "RK4"],
)
def test_orders_against_the_closed_form(scheme: RungeKutta, steps: list[int]) -> None:
    x = 0.7 * torch.from_numpy(np.random.default_rng(1).standard_normal((12, 2))) + 1
    end = problems.reverse_kl_flow(P, problems.normal(*moments(x)), 1.0)
    errors = []
    for n in steps:
        path = pf.simulate(
            reverse_kl(P), x, steps=n, dt=1.0 / n, integrator=scheme, save=pf.SaveAt(steps=[0])
        )
        mean, covariance = moments(path.particles[-1])
        errors.append([np.abs(mean - end.mean).max(), np.abs(covariance - end.cov).max()])
    assert np.min(errors) > 1e-13
    mean_order, covariance_order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert mean_order == pytest.approx(scheme.order, abs=0.15)
    assert covariance_order == pytest.approx(scheme.order, abs=0.15)


def test_the_one_dimensional_example() -> None:
    """N(-2, 0.25) moves towards N(1, 2.25) until t = 1.

    RK4 is exact. Euler at dt = 0.01 follows its own recursion.
    """
    p, _ = problems.FAR
    start = two_points(-2.0, 0.5)
    path = pf.simulate(reverse_kl(p), start, t1=1.0, dt=0.01, integrator=RK4())
    mean, covariance = moments(path.particles[-1])
    assert float(mean[0]) == pytest.approx(-0.9235411652898637, abs=1e-10)
    assert math.sqrt(covariance[0, 0]) == pytest.approx(1.1948955682341553, abs=1e-9)
    assert problems.kl(problems.normal(mean, covariance), p) == pytest.approx(
        0.8669143245981292, abs=1e-8
    )
    assert path.energy[-1] == pytest.approx(0.8669143245981292, abs=1e-8)
    assert path.energy[0] == pytest.approx(2.6541678442236654, abs=1e-9)

    euler = pf.simulate(reverse_kl(p), start, steps=100, dt=0.01)
    mean, covariance = moments(euler.particles[-1])
    assert math.sqrt(covariance[0, 0]) == pytest.approx(1.1976067228286504, rel=1e-12)
    assert float(mean[0]) == pytest.approx(1 - 3 * (1 - 0.01 / 2.25) ** 100, rel=1e-12)
    assert euler.times[-1] == 1.0


def test_single_particles_follow_the_oracle() -> None:
    """Where the particles are at t, not only their moments: x -> m(t) + (s(t) / s0) (x - m0), at
    the digits of an independent computation.
    """
    table = {
        "0.5": (-1.402212208750424, 0.9836865471988985),
        "2": (-0.23333687152156246, 1.3827412517126505),
    }
    p, _ = problems.FAR
    for t, (mean, std) in table.items():
        path = pf.simulate(
            reverse_kl(p), two_points(-2.0, 0.5), t1=float(t), dt=0.01, integrator=RK4()
        )
        assert path.particles[-1, :, 0].numpy() == pytest.approx([mean - std, mean + std], abs=2e-9)


def test_the_value_is_the_kl_of_the_moments_up_to_the_clouds_fourth_order() -> None:
    """E_x[log q - log p] with q the Gaussian of the cloud's own moments: quadratic in x, hence
    exactly KL(q || p).
    """
    x = torch.from_numpy(np.random.default_rng(2).exponential(size=(9, 2)))
    fit = pf.fit(ClosedForm(law(P), current=Moments()), x)
    assert fit.value == pytest.approx(problems.kl(problems.normal(*moments(x)), P), rel=1e-12)


def test_a_known_current_density_gives_the_ratio() -> None:
    z = np.random.default_rng(3).standard_normal((8, 2))
    value, grad = pf.fit(
        ClosedForm(law(P), current=law(Q)), torch.from_numpy(z)
    ).witness.value_and_grad(torch.from_numpy(z))
    assert value.numpy() == pytest.approx(P.log_density(z) - Q.log_density(z), rel=1e-12, abs=1e-12)
    assert grad.numpy() == pytest.approx(P.score(z) - Q.score(z), rel=1e-12, abs=1e-12)


def test_clip_cuts_the_ratio_and_not_its_gradient() -> None:
    z = torch.tensor([[30.0, -30.0], [0.1, 0.1]], dtype=torch.float64)
    clipped, plain = (
        pf.fit(ClosedForm(law(P), current=law(Q), clip=c), z).witness.value_and_grad(z)
        for c in (40.0, math.inf)
    )
    assert clipped[0][0] == -40.0
    assert plain[0][0] < -40.0
    assert clipped[0][1] == plain[0][1]
    assert torch.equal(clipped[1], plain[1])


def test_moments_of_a_flat_cloud_are_refused_and_jitter_helps() -> None:
    flat = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], dtype=torch.float64)
    with pytest.raises(
        ValueError,
        match=(
            r"`x` must span all 2 dimensions, got 3 points with a singular covariance:"
            r" .*Moments\(jitter=1e-9\)"
        ),
    ):
        pf.fit(ClosedForm(law(P), current=Moments()), flat)
    assert math.isfinite(pf.fit(ClosedForm(law(P), current=Moments(jitter=1e-9)), flat).value)


# ---- experiment E: any h' > 0 works, naive descent of f does not (Yi, Zhu and Liu 2023)
# ---------------------------------------------------


STATED = [name for name, case in CASES.items() if case.low is not None]


@pytest.mark.parametrize("name", STATED)
def test_experiment_e(name: str) -> None:
    """With dt = .067 or, for the naive ones, .04; the published one, below, changes the final means
    by a hundredth of themselves.
    """
    assert (
        CASES[name].low
        <= final_mean(name, 0, 300 if CASES[name].climbs else 500)
        <= CASES[name].high
    )


@pytest.mark.parametrize("name", [name for name in CASES if name not in STATED])
def test_flows_of_experiment_e_without_a_stated_end_arrive_too(name: str) -> None:
    """From |mean| = 1.4; where the naive descents end is above .7."""
    assert CASES[name].climbs
    assert final_mean(name, 0, 300) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("name", STATED)
def test_experiment_e_as_published(name: str) -> None:
    """The median of five seeds: the mean of a start of 1000 points is off by .03, which moves one
    in eight ends out of the stated range.
    """
    assert (
        CASES[name].low
        <= float(np.median([final_mean(name, seed, 2000) for seed in range(5)]))
        <= CASES[name].high
    )


def test_what_the_experiment_runs_is_what_its_names_say() -> None:
    """The flow is that of int (p - q)^2 / (p + q): h' = r^2 f'', f = (r - 1)^2 / (1 + r)."""
    for found, stated in ((mobility_flows.TARGET, P), (mobility_flows.START, Q)):
        z = torch.tensor([[0.3, -0.2], [1.0, 2.0]], dtype=torch.float64)
        assert found.log_density(z).numpy() == pytest.approx(
            stated.log_density(z.numpy()), rel=1e-12
        )
    r = torch.linspace(0.1, 5, 50, dtype=torch.float64)
    mobility = CASES["h' = 8 r^2 / (1 + r)^3"].make()
    assert torch.allclose(mobility.slope(torch.log(r)), 8 * r**2 / (1 + r) ** 3, rtol=1e-13)
    with pytest.raises(ValueError, match="`aim` must be >= 1"):
        pf.mobilities.LSGAN(-1, 1, 0)


def test_a_velocity_is_capped() -> None:
    flow = reverse_kl(P)
    x0 = 5 * law(Q).sample(20, seed=0)
    v, _ = flow.velocity(Cloud(x0), pf.fit(flow.estimator, x0), pf.Clock())
    cap = float(v.norm(dim=1).median())
    path = pf.simulate(flow, x0, steps=1, dt=0.1, integrator=mobility_flows.Capped(cap))
    moved = (path.particles[-1] - x0) / 0.1
    assert torch.allclose(moved.norm(dim=1), v.norm(dim=1).clamp_max(cap), rtol=1e-10)
    assert torch.allclose(
        moved / moved.norm(dim=1, keepdim=True), v / v.norm(dim=1, keepdim=True), rtol=1e-10
    )


def test_the_shift_trick_is_faster_far_away() -> None:
    """N(4, 1) to N(0, 1): speed at the cloud's mean for shifts 0, 1, 3, 5."""
    current, target = pf.samplers.Gaussian(dim=1, mean=4.0), pf.samplers.Gaussian(dim=1)
    x = torch.tensor([[4.0]], dtype=torch.float64)
    speeds = []
    for mobility in (
        *(Vanilla(shift=c) for c in (0.0, 1.0, 3.0, 5.0)),
        NonSaturating(),
        Unit(),
        Arcsinh(),
    ):
        flow = pf.mono_flow(ClosedForm(target, current=current), mobility)
        velocity, _ = flow.velocity(Cloud(x), pf.fit(flow.estimator, x), pf.Clock())
        speeds.append(-float(velocity))
    assert speeds == pytest.approx([1.34e-3, 3.64e-3, 2.68e-2, 0.190, 3.999, 4.0, 0.496], rel=3e-3)
