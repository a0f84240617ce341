"""What holds for every problem: laws of kernels and flows, on problems that hypothesis draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import problems
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Problem
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.kernels import IMQ, Energy, Gaussian, Laplace, Matern32, Matern52

pytestmark = pytest.mark.usefixtures("unchecked")

FIXED = {"derandomize": True, "print_blob": True, "database": None, "deadline": None}
some = settings(max_examples=5, **FIXED)
many = settings(max_examples=300, **FIXED)

SCALED = (Gaussian, Laplace, Matern32, Matern52, IMQ)
KERNELS: dict[str, Callable[[float], Any]] = {kind.__name__: kind for kind in SCALED}
KERNELS["Energy"] = lambda bandwidth: Energy()
# Each makes a flow from a bandwidth; the velocity scales like length^power with all lengths.
FLOWS: dict[str, tuple[Callable[[float], pf.Flow], int]] = {
    **{f"MMD {kind.__name__}": (lambda l, k=kind: pf.mmd_flow(k(l)), -1) for kind in SCALED},
    "MMD Energy": (lambda l: pf.mmd_flow(Energy()), 0),
    "KALE": (lambda l: pf.kale_flow(Gaussian(l), lam=0.3), -1),
    "KDE": (lambda l: pf.mono_flow(pf.estimators.KDE(Gaussian(l)), pf.mobilities.Unit()), -1),
    "W1": (lambda l: pf.wgan_flow(pf.estimators.CTransformCritic()), 0),
}
# Of a flow's conservative energies, those that are smooth enough for a bound on dt.
SMOOTH = ["MMD Gaussian", "MMD Matern52", "MMD IMQ", "KALE"]


def tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def of(problem: Problem) -> tuple[Cloud, Cloud]:
    return (
        Cloud(tensor(problem.x), mass=tensor(problem.x_mass)),
        Cloud(tensor(problem.y), mass=tensor(problem.y_mass)),
    )


def velocity(flow: pf.Flow, x: Cloud, y: Cloud) -> Tensor:
    return flow.velocity(x, flow.estimator.fit(x, y, Clock(), {}), Clock())[0]


def close(found: Tensor, wanted: Tensor, rtol: float = 1e-6) -> None:
    error, size = float((found - wanted).abs().max()), float(wanted.abs().max())
    assert error <= rtol * size + 1e-9, f"an error of {error:.3g} where numbers are {size:.3g}"


# ---------------------------------------------------------------- flows


def moves_with_the_clouds(name: str, problem: Problem) -> None:
    """Rotations and translations of both clouds rotate v; other orders of rows reorder it."""
    flow = FLOWS[name][0](problem.bandwidth)
    x, y = of(problem)
    plain = velocity(flow, x, y)
    turn, shift = tensor(problem.rotation()), tensor(problem.shift())
    moved = (replaced(cloud, cloud.points @ turn.T + shift) for cloud in (x, y))
    close(velocity(flow, *moved), plain @ turn.T)
    i, j = tensor(problem.order(len(x))), tensor(problem.order(len(y)))
    shuffled = (Cloud(c.points[k], mass=c.mass[k]) for c, k in ((x, i), (y, j)))
    close(velocity(flow, *shuffled), plain[i])


def replaced(cloud: Cloud, points: Tensor) -> Cloud:
    return Cloud(points, mass=cloud.mass)


def scales_with_all_lengths(name: str, problem: Problem) -> None:
    """v scales like a power of the length where clouds and bandwidth are scaled together."""
    made, power = FLOWS[name]
    x, y = of(problem)
    plain = velocity(made(problem.bandwidth), x, y)
    for length in (0.01, 30.0):
        scaled = (replaced(cloud, length * cloud.points) for cloud in (x, y))
        close(
            velocity(made(length * problem.bandwidth), *scaled) * length**-power, plain, rtol=1e-5
        )


@pytest.mark.parametrize("name", FLOWS)
@some
@given(problem=problems.problems())
def test_a_velocity_moves_with_the_clouds(name: str, problem: Problem) -> None:
    moves_with_the_clouds(name, problem)


@pytest.mark.parametrize("name", FLOWS)
@some
@given(problem=problems.problems())
def test_a_velocity_scales_with_all_lengths(name: str, problem: Problem) -> None:
    scales_with_all_lengths(name, problem)


@pytest.mark.slow
@pytest.mark.parametrize("law", [moves_with_the_clouds, scales_with_all_lengths])
@pytest.mark.parametrize("name", FLOWS)
@many
@given(problem=problems.problems(most=30))
def test_a_velocity_keeps_its_symmetries(law: Any, name: str, problem: Problem) -> None:
    law(name, problem)


@pytest.mark.parametrize("name", SMOOTH)
@some
@given(problem=problems.problems())
def test_small_steps_lower_the_energy(name: str, problem: Problem) -> None:
    """E(x + dt v) <= E(x) - dt sum m |v|^2 / 2, with dt small against the inverse rates."""
    flow = FLOWS[name][0](problem.bandwidth)
    x, y = of(problem)
    fit = flow.estimator.fit(x, y, Clock(), {})
    v = flow.velocity(x, fit, Clock())[0]
    dt = 1e-3 * problem.bandwidth**2
    moved = replaced(x, x.points + dt * v)
    after = flow.energy(flow.estimator.fit(moved, y, Clock(), {}), moved)
    fall = dt * float((x.mass * (v**2).sum(1)).sum())
    assert after <= flow.energy(fit, x) - 0.5 * fall + 1e-13


@pytest.mark.parametrize("name", FLOWS)
@settings(max_examples=2, **FIXED)
@given(problem=problems.problems(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_a_run_keeps_masses_and_goes_on_bit_for_bit(
    name: str, problem: Problem, dtype: torch.dtype, tmp_path_factory: Any
) -> None:
    x, y = (Cloud(c.points.to(dtype), mass=c.mass.to(dtype)) for c in of(problem))
    flow = FLOWS[name][0](problem.bandwidth)
    straight = pf.simulate(flow, x, y, steps=6, dt=1e-2)
    assert straight.particles.dtype == dtype
    close(straight.cloud(-1).mass, x.mass)
    first = pf.simulate(flow, x, y, steps=3, dt=1e-2)
    kept = first.save(tmp_path_factory.mktemp("run") / "first.npz")
    resumed = pf.simulate(flow, pf.Trajectory.load(kept), y, steps=3, dt=1e-2)
    assert torch.equal(resumed.particles[-1], straight.particles[-1])


# ---------------------------------------------------------------- kernels and metrics


@pytest.mark.parametrize("name", KERNELS)
@some
@given(problem=problems.problems())
def test_mmd2_is_no_less_than_zero_and_zero_of_a_cloud_and_itself(
    name: str, problem: Problem
) -> None:
    metric = pf.metrics.MMD2(KERNELS[name](problem.bandwidth))
    x, y = of(problem)
    assert metric(x, y) > 0
    assert metric(x, y) == pytest.approx(metric(y, x), rel=1e-9, abs=1e-14)
    order = tensor(problem.order(len(x)))
    assert abs(metric(x, Cloud(x.points[order], mass=x.mass[order]))) <= 1e-13


@some
@given(problem=problems.problems())
def test_w2_and_w1_of_a_shifted_cloud_are_the_length_of_the_shift(problem: Problem) -> None:
    """The best plan of a translation is the translation: Peyre and Cuturi (2019), remark 2.19."""
    x, _ = of(problem)
    shift = tensor(problem.shift())
    for metric in (pf.metrics.W1(), pf.metrics.W2()):
        assert metric(x, replaced(x, x.points + shift)) == pytest.approx(float(shift.norm()))


@some
@given(
    pair=st.integers(1, 2).flatmap(lambda d: st.tuples(*[problems.gaussians(d)] * 2)),
    bandwidth=st.floats(0.5, 2),
)
def test_the_witness_between_gaussians_is_the_closed_form(
    pair: tuple[problems.Normal, problems.Normal], bandwidth: float
) -> None:
    """In place of samples the nodes of a quadrature, N != M: the large-sample limit itself."""
    p, q = pair
    y, x = (
        Cloud(tensor(points), mass=tensor(mass))
        for points, mass in (problems.gauss_hermite(p, 44), problems.gauss_hermite(q, 40))
    )
    z = np.random.default_rng(0).standard_normal((7, p.dim))
    fit = pf.fit(pf.estimators.MMD(Gaussian(bandwidth)), x, y)
    value, grad = fit.witness.value_and_grad(tensor(z))
    to_p, to_q = (problems.embedding(each, bandwidth, z) for each in (p, q))
    close(value, tensor(to_p[0] - to_q[0]))
    close(grad, tensor(to_p[1] - to_q[1]))
    assert fit.value == pytest.approx(0.5 * problems.mmd2(p, q, bandwidth), rel=1e-5, abs=1e-9)


# ---------------------------------------------------------------- ratios


@some
@given(problem=problems.problems())
def test_the_kde_of_one_point_is_its_kernel(problem: Problem) -> None:
    """log r = (|z - x|^2 - |z - y|^2) / (2 l^2): a linear function of z."""
    l, z = problem.bandwidth, tensor(problem.x)
    x, y = z[:1], tensor(problem.y[:1])
    value, grad = pf.fit(pf.estimators.KDE(Gaussian(l)), x, y).witness.value_and_grad(z)
    wanted = (((z - x) ** 2).sum(1) - ((z - y) ** 2).sum(1)) / (2 * l**2)
    close(value, wanted, rtol=1e-9)
    close(grad, ((y - x) / l**2).expand_as(z), rtol=1e-9)


@some
@given(problem=problems.problems())
def test_the_kde_s_log_ratio_is_antisymmetric(problem: Problem) -> None:
    x, y = of(problem)
    kde = pf.estimators.KDE(Gaussian(problem.bandwidth))
    there, back = (pf.fit(kde, *pair).witness.value_and_grad(y.points) for pair in ((x, y), (y, x)))
    for forth, reverse in zip(there, back, strict=True):
        close(forth, -reverse, rtol=1e-9)


@some
@given(problem=problems.problems(), lam=st.sampled_from([1e-2, 0.3, 10.0]))
def test_kale_is_between_zero_and_its_certificate(problem: Problem, lam: float) -> None:
    """0 <= KALE <= (1 + lam) MMD^2 / (2 lam): h = 0, and the dual at equal weights.

    The gap closes.
    """
    x, y = of(problem)
    kernel = Gaussian(problem.bandwidth)
    fit = pf.fit(pf.estimators.KALE(kernel, lam=lam), x, y)
    bound = (1 + lam) * pf.metrics.MMD2(kernel)(x, y) / (2 * lam)
    assert fit.report["converged"]
    assert abs(fit.report["gap"]) <= 1e-8 * bound
    assert 0 <= fit.value <= bound * (1 + 1e-9)
