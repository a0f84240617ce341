"""The ratio of two kernel density estimates: against the definition where it can be evaluated, against asymptotics where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.estimators import KDE
from particleflow.kernels import IMQ, Gaussian, Laplace, Matern32, Matern52
from particleflow.pairwise.dense import kernel_matrix

KERNELS = [Gaussian(0.7), Laplace(0.7), Matern32(0.7), Matern52(0.7), IMQ(0.7)]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def weighted(n: int, d: int, seed: int) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)), generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), torch.from_numpy(shares).log())


@each_kernel
def test_witness_is_the_log_of_target_over_current(kernel: Gaussian) -> None:
    x, y, z = weighted(7, 3, 0), weighted(9, 3, 1), normal(5, 3, 2)
    leaf = z.clone().requires_grad_(True)
    value = (kernel_matrix(kernel, leaf, y.points) @ y.mass).log() - (kernel_matrix(kernel, leaf, x.points) @ x.mass).log()
    (grad,) = torch.autograd.grad(value.sum(), leaf)
    fit = pf.fit(KDE(kernel), x, y)
    found, slope = fit.witness.value_and_grad(z)
    assert fit.witness.log_ratio
    assert torch.allclose(found, value.detach(), rtol=1e-12, atol=1e-13)
    assert torch.allclose(slope, grad, rtol=1e-11, atol=1e-12)


@each_kernel
def test_value_is_the_plug_in_kl_of_current_and_target(kernel: Gaussian) -> None:
    x, y = weighted(7, 2, 0), weighted(9, 2, 1)
    p, q = kernel_matrix(kernel, x.points, y.points) @ y.mass, kernel_matrix(kernel, x.points, x.points) @ x.mass
    assert pf.fit(KDE(kernel), x, y).value == pytest.approx(float((x.mass * (q / p).log()).sum()), rel=1e-12)


def test_the_ratio_is_that_of_the_smoothed_laws() -> None:
    """Large samples of N(m, s^2) give the density N(m, s^2 + l^2): 5 standard errors of the pointwise estimates, d = 1."""
    n, l = 40_000, 0.5
    x, y = normal(n, 1, 0, 1.0), 0.8 * normal(n + 100, 1, 1)
    z = torch.linspace(-1.0, 2.0, 7, dtype=torch.float64)[:, None]
    found = pf.fit(KDE(Gaussian(l)), x, y).witness.value_and_grad(z)[0]

    def law(mean: float, variance: float) -> tuple[Tensor, Tensor]:
        """log density of the smoothed law, and the relative standard error of its estimate."""
        total = variance + l**2
        density = torch.exp(-((z[:, 0] - mean) ** 2) / (2 * total)) / math.sqrt(2 * math.pi * total)
        narrow = variance + l**2 / 2
        second = torch.exp(-((z[:, 0] - mean) ** 2) / (2 * narrow)) / math.sqrt(2 * math.pi * narrow) / (2 * l * math.sqrt(math.pi))
        return density.log(), ((second / density**2 - 1) / n).sqrt()

    (log_p, error_p), (log_q, error_q) = law(0.0, 0.64), law(1.0, 1.0)
    assert bool(((found - (log_p - log_q)).abs() <= 5 * (error_p**2 + error_q**2).sqrt()).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bandwidths", [50.0, 1000.0])
@each_kernel
def test_far_away_the_ratio_is_finite(kernel: Gaussian, bandwidths: float, dtype: torch.dtype) -> None:
    """Where the plain sums are 0/0. For a Gaussian the nearest points take over: w -> (|z - x*|^2 - |z - y*|^2) / (2 l^2)."""
    x, y = 0.3 * normal(11, 2, 0), 0.3 * normal(13, 2, 1) + torch.tensor([0.0, 4.0], dtype=torch.float64)
    z = torch.tensor([[bandwidths * 0.7, -3.0], [-bandwidths * 0.7, 5.0]], dtype=torch.float64)
    value, grad = pf.fit(KDE(kernel), x.to(dtype), y.to(dtype)).witness.value_and_grad(z.to(dtype))
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(grad).all())
    assert value.dtype == grad.dtype == dtype
    if isinstance(kernel, Gaussian) and bandwidths == 1000.0:
        near_x, near_y = (c[torch.cdist(z, c).argmin(1)] for c in (x, y))
        expected = ((z - near_x).square().sum(1) - (z - near_y).square().sum(1)) / (2 * 0.7**2)
        assert torch.allclose(value.double(), expected, rtol=0, atol=6.0 if dtype == torch.float64 else 60.0)
        assert torch.allclose(grad.double(), (near_y - near_x) / 0.7**2, rtol=0, atol=1e-3 if dtype == torch.float64 else 2e-3)


@each_kernel
def test_a_doubled_point_is_a_double_mass(kernel: Gaussian) -> None:
    x, y, z = normal(7, 2, 0), normal(9, 2, 1), normal(5, 2, 2)
    masses = [torch.tensor([2.0, *[1.0] * (len(c) - 1)], dtype=torch.float64) / (len(c) + 1) for c in (x, y)]
    doubled = pf.fit(KDE(kernel), torch.cat([x, x[:1]]), torch.cat([y, y[:1]])).witness.value_and_grad(z)
    heavy = pf.fit(KDE(kernel), Cloud(x, masses[0].log()), Cloud(y, masses[1].log())).witness.value_and_grad(z)
    for found, expected in zip(heavy, doubled, strict=True):
        assert torch.allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_points_without_mass_are_not_there() -> None:
    x, y, z = normal(7, 2, 0), normal(9, 2, 1), normal(5, 2, 2)
    shadows = Cloud(torch.cat([y, 100 + y]), torch.tensor([-math.log(9)] * 9 + [-math.inf] * 9, dtype=torch.float64))
    for found, expected in zip(*(pf.fit(KDE(Gaussian(0.7)), x, target).witness.value_and_grad(z) for target in (shadows, y)), strict=True):
        assert torch.allclose(found, expected, rtol=1e-13, atol=1e-14)
