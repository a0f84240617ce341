"""The density that a flow carries: closed forms, quadrature, calibration, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import problems
import pytest
import torch
from scipy import stats
from torch import Tensor

import particleflow as pf
from benchmarks.truth import laws
from particleflow.estimators import KALE, KDE, ULSIF, ClosedForm, CTransformCritic, Moments
from particleflow.integrators import (
    RK4,
    Adaptive,
    BogackiShampine,
    Euler,
    Heun,
    Momentum,
    Paced,
    RungeKutta,
)
from particleflow.mobilities import Vanilla
from particleflow.transport import Divergence, KernelDensity
from particleflow.transport.points import on

pytestmark = pytest.mark.usefixtures("unchecked")

P, Q = problems.PLANE
TARGET, START = (pf.samplers.Gaussian(mean=law.mean, cov=law.cov) for law in (P, Q))
REVERSE_KL = pf.mono_flow(ClosedForm(TARGET, current=Moments()))
# A weighted cloud with the moments of the start, which follow the closed form.
NODES = laws.hermite(START, 4)
Z = START.sample(9, seed=3)
KERNEL = pf.kernels.Gaussian(0.6)


def gaussian(path: pf.Trajectory, integrator: str) -> pf.samplers.Gaussian:
    """The closed form at the end: of the flow, or of Euler's steps on its moments."""
    t, n = float(path.times[-1]), int(path.steps[-1])
    if integrator != "Euler":
        end = problems.reverse_kl_flow(P, Q, t)
        return pf.samplers.Gaussian(mean=end.mean, cov=end.cov)
    mean, cov, inverse = Q.mean, Q.cov, np.linalg.inv(P.cov)
    for _ in range(n):
        a = np.eye(2) + t / n * (np.linalg.inv(cov) - inverse)
        mean, cov = mean + t / n * inverse @ (P.mean - mean), a @ cov @ a.T
    return pf.samplers.Gaussian(mean=mean, cov=(cov + cov.T) / 2)


@pytest.mark.parametrize(
    ("integrator", "error"), [(Euler(), 1e-12), (RK4(), 1e-4)], ids=["Euler", "RK4"]
)
def test_the_gaussian_flow_of_reverse_kl(integrator: RungeKutta, error: float) -> None:
    path = pf.simulate(REVERSE_KL, NODES, steps=10, dt=0.02, integrator=integrator)
    end = gaussian(path, type(integrator).__name__)
    z = end.sample(11, seed=5)
    found = path.log_density(z, start=START)
    assert float((found - end.log_density(z)).abs().max()) < error
    assert float((found - START.log_density(z)).abs().max()) > 0.1


SCHEMES = {"Euler": Euler(), "Heun": Heun(), "RK4": RK4(), "Adaptive": Adaptive(BogackiShampine())}


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize(
    "flow",
    [pf.mono_flow(KDE(KERNEL), Vanilla()), pf.kale_flow(KERNEL, lam=0.5)],
    ids=["KDE", "KALE"],
)
def test_the_derivative_of_a_step(flow: pf.Flow, name: str) -> None:
    """Against central differences of the step itself, with all its stages."""
    y, x = TARGET.sample(13, seed=1), START.sample(8, seed=2)
    path = pf.simulate(flow, x, y, steps=1, dt=0.2, integrator=SCHEMES[name])
    (step, _), h = next(on(path, -1, Z)), 1e-5
    moved = lambda z: step.moved(z, {})[0]
    columns = [
        (moved(Z + h * unit) - moved(Z - h * unit)) / (2 * h) for unit in torch.eye(2).double()
    ]
    expected = torch.linalg.slogdet(torch.stack(columns, dim=2))[1]
    assert float(expected.abs().max()) > 1e-2
    assert float((step.log_det(Z) - expected).abs().max()) < 1e-8


def square(side: float, nodes: int, middle: tuple[float, float]) -> tuple[Tensor, float]:
    axes = [torch.linspace(m - side, m + side, nodes).double() for m in middle]
    return torch.cartesian_prod(*axes), (2 * side / (nodes - 1)) ** 2


@pytest.mark.parametrize(
    ("flow", "integrator"),
    [
        (pf.mono_flow(KDE(KERNEL), Vanilla()), Euler()),
        (pf.mmd_flow(pf.kernels.Matern52(0.6)), Heun()),
    ],
    ids=["KDE", "MMD"],
)
def test_a_density_integrates_to_one(flow: pf.Flow, integrator: RungeKutta) -> None:
    start = pf.samplers.Gaussian(mean=(0.5, 0.5), std=0.5)
    y, x = TARGET.sample(40, seed=1), start.sample(30, seed=2)
    path = pf.simulate(flow, x, y, steps=5, dt=0.15, integrator=integrator)
    z, cell = square(3.2, 41, (0.5, 0.5))
    density = path.log_density(z, start=start).exp()
    assert cell * float(density.sum()) == pytest.approx(1, abs=2e-3)
    assert cell * float((density - start.log_density(z).exp()).abs().sum()) > 0.05


def test_a_run_that_went_on_and_a_record_of_it() -> None:
    """Two legs are one run; at a record in the middle the density is that of the first."""
    y, x = TARGET.sample(13, seed=1), START.sample(8, seed=2)
    flow = pf.mmd_flow(KERNEL)
    short = pf.simulate(flow, x, y, steps=3, dt=0.2)
    both, whole = pf.simulate(flow, short, steps=3), pf.simulate(flow, x, y, steps=6, dt=0.2)
    found = both.log_density(Z, start=START)
    assert float((found - whole.log_density(Z, start=START)).abs().max()) < 1e-12
    middle = both.log_density(Z, start=START, record=3)
    assert torch.equal(middle, short.log_density(Z, start=START))
    assert torch.equal(both.log_density(Z, start=START, record=0), START.log_density(Z))


def test_there_and_back_are_one_density() -> None:
    """A point carried forward has the log density that is found from its end."""
    y, x = TARGET.sample(13, seed=1), START.sample(8, seed=2)
    path = pf.simulate(pf.mmd_flow(KERNEL), x, y, steps=4, dt=0.1, integrator=Paced())
    log_q, before = START.log_density(Z), Z
    for step, z in on(path, -1, Z):
        log_q, before = log_q - step.log_det(before), z
    assert float((path.log_density(before, start=START) - log_q).abs().max()) < 1e-10


def levels(path: pf.Trajectory, start: pf.samplers.Gaussian, n: int) -> Tensor:
    """q(z) over its largest value at fresh points, uniform on (0, 1) for a Gaussian in 2-d."""
    z = path.transport(START.sample(n, seed=7))
    end = gaussian(path, "RK4")
    top = float(end.log_density(torch.tensor([end.mean], dtype=torch.float64)))
    return (path.log_density(z, start=start) - top).exp()


def test_fresh_samples_are_calibrated() -> None:
    """P(q(Z) < c max q) = c for a Gaussian of the plane: the levels of fresh points are uniform.

    Those of a start that is a tenth too wide are not.
    """
    path = pf.simulate(REVERSE_KL, NODES, steps=6, dt=0.1, integrator=RK4())
    assert stats.kstest(levels(path, START, 1000).numpy(), "uniform").pvalue > 0.05
    wider = pf.samplers.Gaussian(mean=Q.mean, cov=1.21 * Q.cov)
    assert stats.kstest(levels(path, wider, 1000).numpy(), "uniform").pvalue < 1e-3


def test_kl_against_its_closed_form() -> None:
    path = pf.simulate(REVERSE_KL, NODES, steps=6, dt=0.1, integrator=RK4())
    for record in (0, -1):
        t = float(path.times[record])
        expected = problems.kl(problems.reverse_kl_flow(P, Q, t), P)
        found = path.kl(TARGET, start=START, n=1500, record=record)
        assert abs(found.value - expected) < 3 * found.error < 0.3 * expected
    shifted = path.kl(lambda z: TARGET.log_density(z) + 2, start=START, n=1500)
    assert float(shifted) == pytest.approx(float(found) - 2, abs=1e-12)
    assert str(Divergence(0.5, 0.01, 9)) == "0.5 +- 0.01"


def test_a_start_of_unknown_density() -> None:
    x = pf.Cloud(START.sample(12, seed=2), mass=torch.arange(1.0, 13.0).double())
    density = KernelDensity(x, 0.4)
    z, cell = square(6, 61, (1, 1))
    q = density.log_density(z).exp()
    assert cell * float(q.sum()) == pytest.approx(1, abs=1e-6)
    drawn = pf.Cloud(density.sample(4000, seed=1))
    mean, covariance = pf.Cloud(x.points, mass=x.mass / x.mass.sum()).moments()
    assert drawn.moments()[0].numpy() == pytest.approx(mean.numpy(), abs=0.06)
    wider = covariance + 0.16 * torch.eye(2)
    assert drawn.moments()[1].numpy() == pytest.approx(wider.numpy(), abs=0.1)
    path = pf.simulate(REVERSE_KL, x.points, steps=1, dt=0.1)
    assert path.log_density(Z, start=density).shape == (9,)


def refused() -> dict[str, tuple[pf.Flow, dict[str, Any], str]]:
    mmd = pf.mmd_flow(KERNEL)
    return {
        "noise": (pf.mmd_flow(KERNEL, noise=0.1), {}, "must not be random"),
        "diffusion": (pf.langevin(TARGET), {}, "must not be random"),
        "masses": (pf.unbalanced(mmd), {}, "must keep the mass of each particle"),
        "kink": (pf.mmd_flow(pf.kernels.Laplace(0.6)), {}, "`kernel` must be smooth"),
        "kink of a ratio": (
            pf.mono_flow(ULSIF(pf.kernels.Laplace(0.6))),
            {},
            "`kernel` must be smooth",
        ),
        "critic": (pf.wgan_flow(CTransformCritic()), {"dt": 0.1}, "must have a smooth witness"),
        "optimiser": (mmd, {"integrator": Momentum(0.5)}, "must have no memory"),
        "clip": (
            pf.mono_flow(ClosedForm(TARGET, current=Moments(), clip=5.0)),
            {},
            "`clip` must be infinite",
        ),
        "features": (
            pf.mmd_flow(pf.kernels.FeatureKernel(pf.kernels.Neurons([[0.5]], output_weight=False))),
            {"dt": 0.1},
            "must have sums over pairs",
        ),
    }


@pytest.mark.parametrize("name", refused())
def test_what_carries_no_density(name: str) -> None:
    flow, options, told = refused()[name]
    y, x = TARGET.sample(13, seed=1), START.sample(8, seed=2)
    path = pf.simulate(flow, x, y, **({"steps": 1} | options))
    with pytest.raises((ValueError, TypeError), match=told):
        path.log_density(Z, start=START)


def test_a_step_that_folds_space() -> None:
    """x + dt (-x^3): 1 - 3 dt x^2 < 0 beyond |x| = 1 / sqrt(3 dt), with log q = NaN there."""
    cube = pf.mono_flow(ClosedForm(lambda z: -(z**3)))
    law = pf.samplers.Gaussian(dim=1, std=0.5)
    path = pf.simulate(cube, law.sample(8, seed=2), steps=1, dt=0.5)
    z = torch.tensor([[0.2], [-20.0]], dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match="fold space: 1 of 2 points are NaN"):
        found = path.log_density(z, start=law)
    origin = path.transport(z[:1], backward=True)
    expected = law.log_density(origin) - (1 - 1.5 * origin[:, 0] ** 2).log()
    assert float(found[0]) == pytest.approx(float(expected), abs=1e-12)
    assert bool(found[1].isnan())
    with pytest.raises(ValueError, match=r"must fold no space .*det dT <= 0 in the steps of \d+"):
        path.kl(law, start=law, n=100)


def test_a_start_is_needed() -> None:
    path = pf.simulate(REVERSE_KL, NODES, steps=1, dt=0.1)
    with pytest.raises(ValueError, match=r"`start` must be the density .*KernelDensity"):
        path.log_density(Z)
    with pytest.raises(TypeError, match="`start` must have a log_density"):
        path.log_density(Z, start=3)
    with pytest.raises(TypeError, match=r"`start` must map z \(9, 2\) to log densities \(9,\)"):
        path.log_density(Z, start=lambda z: z)
    with pytest.raises(TypeError, match="`start` must draw points"):
        path.kl(TARGET, start=START.log_density)
    with pytest.raises(TypeError, match="`target` must have a log_density"):
        path.kl(None, start=START)


def test_float32_and_the_line() -> None:
    """One Euler step on the line: z + dt (1 / s^2 - 1) z, so that q widens by the factor 1.3."""
    x = torch.tensor([[-0.5], [0.5]])
    law, start = pf.samplers.Gaussian(dim=1), pf.samplers.Gaussian(dim=1, std=0.5)
    flow = pf.mono_flow(ClosedForm(law, current=Moments()))
    path = pf.simulate(flow, x, steps=1, dt=0.1)
    z = torch.tensor([[1.0], [-0.2], [0.3]])
    found = path.log_density(z, start=start)
    assert found.dtype == torch.float32
    expected = pf.samplers.Gaussian(dim=1, std=0.65).log_density(z)
    assert float((found - expected).abs().max()) < 1e-5
    assert math.isfinite(float(path.kl(law, start=start, n=5)))


def test_kale_is_among_those_with_a_density() -> None:
    y, x = TARGET.sample(13, seed=1), START.sample(8, seed=2)
    path = pf.simulate(pf.Flow(KALE(KERNEL, lam=0.5)), x, y, steps=2, dt=0.2)
    assert bool(path.log_density(Z, start=START).isfinite().all())
