"""The ratio of two kernel density estimates: against the definition where it can be evaluated,
against asymptotics where it cannot.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KDE
from particleflow.kernels import (
    IMQ,
    Bandwidth,
    CrossValidated,
    Gaussian,
    Laplace,
    Matern32,
    Matern52,
    Median,
    Scott,
)
from particleflow.pairwise.exact.dense import kernel_matrix

KERNELS = [Gaussian(0.7), Laplace(0.7), Matern32(0.7), Matern52(0.7), IMQ(0.7)]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def weighted(n: int, d: int, seed: int) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)), generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


@each_kernel
def test_witness_is_the_log_of_target_over_current(kernel: Gaussian) -> None:
    x, y, z = weighted(7, 3, 0), weighted(9, 3, 1), normal(5, 3, 2)
    leaf = z.clone().requires_grad_(True)
    value = (kernel_matrix(kernel, leaf, y.points) @ y.mass).log() - (
        kernel_matrix(kernel, leaf, x.points) @ x.mass
    ).log()
    (grad,) = torch.autograd.grad(value.sum(), leaf)
    fit = pf.fit(KDE(kernel), x, y)
    found, slope = fit.witness.value_and_grad(z)
    assert fit.witness.log_ratio
    assert torch.allclose(found, value.detach(), rtol=1e-12, atol=1e-13)
    assert torch.allclose(slope, grad, rtol=1e-11, atol=1e-12)


@each_kernel
def test_value_is_the_plug_in_kl_of_current_and_target(kernel: Gaussian) -> None:
    x, y = weighted(7, 2, 0), weighted(9, 2, 1)
    p, q = (
        kernel_matrix(kernel, x.points, y.points) @ y.mass,
        kernel_matrix(kernel, x.points, x.points) @ x.mass,
    )
    assert pf.fit(KDE(kernel), x, y).value == pytest.approx(
        float((x.mass * (q / p).log()).sum()), rel=1e-12
    )


def test_the_ratio_is_that_of_the_smoothed_laws() -> None:
    """Large samples of N(m, s^2) give the density N(m, s^2 + l^2): 5 standard errors of the
    pointwise estimates, d = 1.
    """
    n, l = 40_000, 0.5
    x, y = normal(n, 1, 0, 1.0), 0.8 * normal(n + 100, 1, 1)
    z = torch.linspace(-1.0, 2.0, 7, dtype=torch.float64)[:, None]
    found = pf.fit(KDE(Gaussian(l)), x, y).witness.value_and_grad(z)[0]

    def law(mean: float, variance: float) -> tuple[Tensor, Tensor]:
        """log density of the smoothed law, and the relative standard error of its estimate."""
        total = variance + l**2
        density = torch.exp(-((z[:, 0] - mean) ** 2) / (2 * total)) / math.sqrt(2 * math.pi * total)
        narrow = variance + l**2 / 2
        second = (
            torch.exp(-((z[:, 0] - mean) ** 2) / (2 * narrow))
            / math.sqrt(2 * math.pi * narrow)
            / (2 * l * math.sqrt(math.pi))
        )
        return density.log(), ((second / density**2 - 1) / n).sqrt()

    (log_p, error_p), (log_q, error_q) = law(0.0, 0.64), law(1.0, 1.0)
    assert bool(((found - (log_p - log_q)).abs() <= 5 * (error_p**2 + error_q**2).sqrt()).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bandwidths", [50.0, 1000.0])
@each_kernel
def test_far_away_the_ratio_is_finite(
    kernel: Gaussian, bandwidths: float, dtype: torch.dtype
) -> None:
    """Where the plain sums are 0/0. For a Gaussian the nearest points take over: w -> (|z - x*|^2 -
    |z - y*|^2) / (2 l^2).
    """
    x, y = (
        0.3 * normal(11, 2, 0),
        0.3 * normal(13, 2, 1) + torch.tensor([0.0, 4.0], dtype=torch.float64),
    )
    z = torch.tensor([[bandwidths * 0.7, -3.0], [-bandwidths * 0.7, 5.0]], dtype=torch.float64)
    value, grad = pf.fit(KDE(kernel), x.to(dtype), y.to(dtype)).witness.value_and_grad(z.to(dtype))
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(grad).all())
    assert value.dtype == grad.dtype == dtype
    if isinstance(kernel, Gaussian) and bandwidths == 1000.0:
        near_x, near_y = (c[torch.cdist(z, c).argmin(1)] for c in (x, y))
        expected = ((z - near_x).square().sum(1) - (z - near_y).square().sum(1)) / (2 * 0.7**2)
        assert torch.allclose(
            value.double(), expected, rtol=0, atol=6.0 if dtype == torch.float64 else 60.0
        )
        assert torch.allclose(
            grad.double(),
            (near_y - near_x) / 0.7**2,
            rtol=0,
            atol=1e-3 if dtype == torch.float64 else 2e-3,
        )


@each_kernel
def test_a_doubled_point_is_a_double_mass(kernel: Gaussian) -> None:
    x, y, z = normal(7, 2, 0), normal(9, 2, 1), normal(5, 2, 2)
    masses = [
        torch.tensor([2.0, *[1.0] * (len(c) - 1)], dtype=torch.float64) / (len(c) + 1)
        for c in (x, y)
    ]
    doubled = pf.fit(
        KDE(kernel), torch.cat([x, x[:1]]), torch.cat([y, y[:1]])
    ).witness.value_and_grad(z)
    heavy = pf.fit(
        KDE(kernel), Cloud(x, log_mass=masses[0].log()), Cloud(y, log_mass=masses[1].log())
    ).witness.value_and_grad(z)
    for found, expected in zip(heavy, doubled, strict=True):
        assert torch.allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_points_without_mass_are_not_there() -> None:
    x, y, z = normal(7, 2, 0), normal(9, 2, 1), normal(5, 2, 2)
    shadows = Cloud(
        torch.cat([y, 100 + y]),
        log_mass=torch.tensor([-math.log(9)] * 9 + [-math.inf] * 9, dtype=torch.float64),
    )
    for found, expected in zip(
        *(
            pf.fit(KDE(Gaussian(0.7)), x, target).witness.value_and_grad(z)
            for target in (shadows, y)
        ),
        strict=True,
    ):
        assert torch.allclose(found, expected, rtol=1e-13, atol=1e-14)


def densities(cloud: Cloud, z: Tensor, bandwidth: float) -> Tensor:
    d = z.shape[1]
    return (
        kernel_matrix(Gaussian(bandwidth), z, cloud.points)
        @ cloud.mass
        / (2 * math.pi * bandwidth**2) ** (d / 2)
    )


@pytest.mark.parametrize(
    "rule", [CrossValidated(), Scott(), Median(0.3)], ids=lambda rule: type(rule).__name__
)
def test_with_a_rule_each_cloud_has_its_own_bandwidth_and_constant(rule: Bandwidth) -> None:
    x, y, z = weighted(40, 3, 0), weighted(60, 3, 1), normal(5, 3, 2)
    x = Cloud(0.1 * x.points, log_mass=x.log_mass)
    fit = pf.fit(KDE(rule), x, y)
    l_x, l_y = rule.of(x), rule.of(y)
    assert (fit.report["bandwidth"], fit.report["target_bandwidth"]) == (l_x, l_y)
    assert l_x < 0.5 * l_y
    near = 0.1 * z
    expected = (densities(y, near, l_y) / densities(x, near, l_x)).log()
    assert torch.allclose(fit.witness.value_and_grad(near)[0], expected, rtol=1e-11, atol=1e-11)
    assert bool(
        torch.isfinite(
            torch.cat([part.flatten() for part in fit.witness.value_and_grad(1e3 * z)])
        ).all()
    )


def test_the_default_is_one_bandwidth_of_the_target_that_is_kept() -> None:
    x, y = 0.1 * normal(40, 2, 0), normal(60, 2, 1)
    estimator = KDE()
    first = pf.fit(estimator, x, y)
    width = CrossValidated().of(Cloud(y))
    assert first.report["bandwidth"] == first.report["target_bandwidth"] == width
    for found, expected in zip(
        first.witness.value_and_grad(x),
        pf.fit(KDE(Gaussian(width)), x, y).witness.value_and_grad(x),
        strict=True,
    ):
        assert torch.equal(found, expected)
    again = estimator.fit(Cloud(x), Cloud(3 * y), Clock(), first.memory)
    assert again.report["bandwidth"] == width
    other = {
        "bandwidth": torch.tensor(0.5, dtype=torch.float64)
    }  # the same target with another run's memory
    found = estimator.fit(Cloud(x), Cloud(3 * y), Clock(), other).witness.value_and_grad(x)[0]
    assert torch.equal(found, pf.fit(KDE(Gaussian(0.5)), x, 3 * y).witness.value_and_grad(x)[0])


def test_a_flow_with_bandwidths_from_the_data_arrives_and_goes_on_bit_for_bit() -> None:
    x, y = normal(60, 2, 0, 2.0).float(), normal(80, 2, 1).float()
    for estimator in (KDE(), KDE(Scott())):
        flow = pf.mono_flow(estimator)
        whole = pf.simulate(flow, x, y, steps=40, dt=0.05)
        assert float((whole.particles[-1].mean(0) - y.mean(0)).norm()) < 0.2 * float(
            (x.mean(0) - y.mean(0)).norm()
        )
        half = pf.simulate(flow, x, y, steps=20, dt=0.05)
        rest = pf.simulate(pf.mono_flow(type(estimator)(estimator.kernel)), half, steps=20)
        assert torch.equal(rest.particles[-1], whole.particles[-1])
