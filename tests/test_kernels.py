"""Kernels: derivatives, spectra, units, smoothing by noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conformance import KERNELS, POSITIVE, formulas
from problems import gauss_hermite, normal, oracles, smoothed_kernel
from scipy.special import j0

from particleflow import kernels
from particleflow.kernels.contract import PositiveKernel
from particleflow.pairwise import Dense

USER = kernels.Radial(lambda s: 1 / (1 + s) ** 2)


def squares() -> torch.Tensor:
    return torch.from_numpy(np.geomspace(1e-8, 30.0, 60)).requires_grad_(True)


def derivative(value: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value.sum(), leaf, create_graph=True)[0]


@pytest.mark.parametrize("kernel", [*KERNELS, USER], ids=lambda kernel: type(kernel).__name__)
def test_slope_and_curvature_are_the_derivatives_in_s(kernel: kernels.Kernel) -> None:
    """Autograd on the profile, twice; its own second derivative of (1 + a) e^-a cancels near zero,
    where differences of the slope stand in.
    """
    s = squares()
    slope = derivative(kernel.profile(s), s)
    curvature = derivative(slope, s).detach().numpy()
    s, away = s.detach(), s.detach().numpy() > 1e-3
    np.testing.assert_allclose(kernel.slope(s).numpy(), slope.detach().numpy(), rtol=1e-11)
    np.testing.assert_allclose(kernel.curvature(s).numpy()[away], curvature[away], rtol=1e-10)
    h = 1e-3
    near = torch.from_numpy(np.geomspace(1e-6, 1e-3, 9))
    differences = (kernel.slope(near * (1 + h)) - kernel.slope(near * (1 - h))) / (2 * h * near)
    np.testing.assert_allclose(kernel.curvature(near).numpy(), differences.numpy(), rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_the_profile_is_the_formula_in_r(kernel: kernels.Kernel) -> None:
    s = squares().detach()
    np.testing.assert_allclose(
        kernel.profile(s).numpy(), formulas(kernel)[0](np.sqrt(s.numpy())), rtol=1e-13
    )


@pytest.mark.parametrize("kernel", POSITIVE, ids=lambda kernel: type(kernel).__name__)
def test_the_logarithm_of_the_profile_and_its_slope(kernel: PositiveKernel) -> None:
    s = squares()
    log_slope = derivative(kernel.log_profile(s), s).detach()
    np.testing.assert_allclose(
        kernel.log_profile(s).detach().exp().numpy(), kernel.profile(s.detach()).numpy(), rtol=1e-13
    )
    # log1p(a) - a cancels near zero, so autograd's slope carries rounding of the size of 1 / a
    np.testing.assert_allclose(kernel.log_slope(s.detach()).numpy(), log_slope.numpy(), rtol=1e-10)
    far = torch.tensor([1e8], dtype=torch.float64)
    assert torch.isfinite(kernel.log_profile(far)).all(), (
        "the logarithm must survive where the profile is 0"
    )


def test_the_energy_kernel_is_not_positive() -> None:
    assert not isinstance(kernels.Energy(), PositiveKernel)
    assert all(isinstance(kernel, PositiveKernel) for kernel in POSITIVE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kernel", [*KERNELS, USER], ids=lambda kernel: type(kernel).__name__)
def test_gradients_against_autograd_through_points(
    kernel: kernels.Kernel, d: int, dtype: torch.dtype
) -> None:
    """Coincident pairs included, where autograd itself has no NaN (the square root of the energy
    kernel has).
    """
    rng = np.random.default_rng(d)
    x = torch.from_numpy(rng.standard_normal((17, d))).to(dtype)
    z = torch.from_numpy(rng.standard_normal((9, d))).to(dtype)
    if not isinstance(kernel, kernels.Energy):
        z = torch.cat([z, x[:3]])
    w = torch.from_numpy(rng.standard_normal(17)).to(dtype)
    leaf = z.clone().requires_grad_(True)
    s = sum((leaf[:, k, None] - x[None, :, k]) ** 2 for k in range(d))
    (want,) = torch.autograd.grad((kernel.profile(s) @ w).sum(), leaf)
    got = Dense().sources(kernel, x).field(w).grad(z)
    assert not got.isnan().any()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    assert float((got - want).abs().max()) <= tolerance * float(want.abs().max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kernel", [*KERNELS, USER], ids=lambda kernel: type(kernel).__name__)
def test_coincident_points_exert_no_force(kernel: kernels.Kernel, dtype: torch.dtype) -> None:
    point = torch.tensor([[0.3, -1.7, 1e3]], dtype=dtype)
    field = (
        Dense()
        .sources(kernel, point.repeat(4, 1))
        .field(torch.tensor([1.0, -3.0, 2.0, 0.5], dtype=dtype))
    )
    assert torch.equal(field.grad(point), torch.zeros_like(point))
    zero = torch.zeros(1, dtype=dtype)
    assert float(kernel.profile(zero)) == pytest.approx(
        0.0 if isinstance(kernel, kernels.Energy) else 1.0, abs=1e-14
    )
    assert torch.isfinite(kernel.slope(zero)).all()
    assert not (zero * kernel.curvature(zero)).isnan().any()


def radial_transform(kernel: kernels.Kernel, omega: float, d: int) -> float:
    """int k(x) e^{-i omega x} dx of a radial function by Gauss-Legendre panels; d = 2 is a Hankel
    transform. Bracewell (2000), chapter 13.
    """
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(0, 50 * kernel.bandwidth, 401)
    half = np.diff(edges)[:, None] / 2
    r = (edges[:-1, None] + half * (1 + nodes)).ravel()
    dr = (half * weights).ravel()
    wave = {
        1: lambda: 2 * np.cos(omega * r),
        2: lambda: 2 * np.pi * r * j0(omega * r),
        3: lambda: 4 * np.pi * r * np.sin(omega * r) / omega,
    }
    return float((dr * formulas(kernel)[0](r) * wave[d]()).sum())


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(
    "kernel",
    [k for k in KERNELS if hasattr(k, "spectrum")],
    ids=lambda kernel: type(kernel).__name__,
)
def test_the_spectrum_is_the_fourier_transform(kernel: Any, d: int) -> None:
    for omega in (0.3, 1.0, 3.0, 6.0):
        got = float(kernel.spectrum(torch.tensor([omega**2], dtype=torch.float64), d))
        zero = float(kernel.spectrum(torch.tensor([0.0], dtype=torch.float64), d))
        assert got == pytest.approx(radial_transform(kernel, omega, d), rel=1e-9, abs=1e-12 * zero)


def test_which_kernels_have_a_spectrum() -> None:
    assert {type(k).__name__ for k in KERNELS if hasattr(k, "spectrum")} == {
        "Gaussian",
        "Laplace",
        "Matern32",
        "Matern52",
    }


@pytest.mark.parametrize(
    ("made", "formula"),
    [
        (kernels.Gaussian.from_denominator(0.3), lambda s: np.exp(-s / 0.3)),
        (kernels.Gaussian.from_variance(0.3), lambda s: np.exp(-s / (2 * 0.3))),
        (kernels.Gaussian.from_gamma(0.3), lambda s: np.exp(-0.3 * s)),
        (kernels.Gaussian(0.3), lambda s: np.exp(-s / (2 * 0.3**2))),
    ],
    ids=["denominator", "variance", "gamma", "bandwidth"],
)
def test_units_of_the_literature(
    made: kernels.Gaussian, formula: Callable[[np.ndarray], np.ndarray]
) -> None:
    s = np.linspace(0, 4, 23)
    np.testing.assert_allclose(made.profile(torch.from_numpy(s)).numpy(), formula(s), rtol=1e-13)


@pytest.mark.parametrize(
    "make",
    [
        kernels.Gaussian.from_denominator,
        kernels.Gaussian.from_variance,
        kernels.Gaussian.from_gamma,
    ],
)
def test_units_refuse_what_is_not_positive(make: Callable[[float], kernels.Gaussian]) -> None:
    with pytest.raises(ValueError, match=r"must be > 0, got -1"):
        make(-1.0)


@pytest.mark.parametrize("bandwidth", [0.0, -0.2])
@pytest.mark.parametrize(
    "make", [kernels.Gaussian, kernels.Laplace, kernels.Matern32, kernels.Matern52, kernels.IMQ]
)
def test_a_bandwidth_that_is_not_positive_is_refused(
    make: Callable[[float], kernels.Kernel], bandwidth: float
) -> None:
    text = (
        rf"`bandwidth` must be > 0, got {bandwidth:g}: pass a length, e.g."
        r" particleflow.kernels.default_bandwidth\(target\)"
    )
    with pytest.raises(ValueError, match=text):
        make(bandwidth)
    with pytest.raises(ValueError, match="`bandwidth` must be finite, got nan"):
        make(math.nan)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize(("bandwidth", "beta"), [(1, 0.5), (0.5, 1), (2, 3)])
def test_noise_injection_is_a_smoothed_kernel(d: int, bandwidth: float, beta: float) -> None:
    """E k(z + beta u, y) = factor k_smoothed(z, y), value and gradient, prefactor included:
    Gauss-Hermite quadrature, and the stored digits.

    z and y are drawn as in the reference: default_rng(2), first one and then the other. The
    quadrature is a product of one-dimensional ones, with 200 nodes each: exp(-a u^2) of a = beta^2
    / (2 l^2) <= 2 is then exact to rounding.
    """
    rng = np.random.default_rng(2)
    z, y = rng.standard_normal(d), rng.standard_normal(d)
    factor, smooth = kernels.Gaussian(float(bandwidth)).smoothed(float(beta), d)
    field = (
        Dense()
        .sources(smooth, torch.from_numpy(y[None]))
        .field(torch.tensor([factor], dtype=torch.float64))
    )
    value, gradient = field.value_and_grad(torch.from_numpy(z[None]))
    u, share = gauss_hermite(normal(0, 1), 200)
    moved = z[None] + beta * u - y[None]
    each_value = np.exp(-(moved**2) / (2 * bandwidth**2))
    along = share @ each_value
    slope = share @ (-moved / bandwidth**2 * each_value)
    quadrature = np.array([slope[k] * np.prod(np.delete(along, k)) for k in range(d)])
    np.testing.assert_allclose(value.item(), np.prod(along), rtol=1e-14 * (1 + d))
    np.testing.assert_allclose(
        gradient[0].numpy(), quadrature, rtol=1e-14 * (1 + d), atol=1e-14 * np.abs(quadrature).max()
    )
    np.testing.assert_allclose(
        value.item(),
        oracles()["noise_injection_smoothing"][f"d{d}_l{bandwidth:g}_beta{beta:g}"],
        rtol=1e-14,
    )
    closed, closed_gradient = smoothed_kernel(z, y, bandwidth, beta)
    np.testing.assert_allclose(value.item(), closed, rtol=1e-14)
    np.testing.assert_allclose(gradient[0].numpy(), closed_gradient, rtol=1e-13)


def test_radial_takes_constants_and_refuses_what_is_no_kernel() -> None:
    constant, line = kernels.Radial(torch.ones_like), kernels.Radial(lambda s: 3 * s)
    s = torch.linspace(0, 1, 4, dtype=torch.float64)
    assert torch.equal(constant.slope(s), torch.zeros_like(s))
    assert torch.equal(line.slope(s), 3 * torch.ones_like(s))
    assert torch.equal(line.curvature(s), torch.zeros_like(s))
    assert not s.requires_grad


def test_a_radial_kernel_works_where_autograd_is_off() -> None:
    s = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with torch.no_grad():
        assert USER.slope(s).tolist() == [-2.0, -0.25]
        assert USER.curvature(s).tolist() == [6.0, 6 / 16]


def test_as_kernel() -> None:
    gaussian = kernels.Gaussian(0.2)
    assert kernels.as_kernel(gaussian) is gaussian
    assert isinstance(kernels.as_kernel(lambda s: torch.exp(-s)), kernels.Radial)
    assert kernels.Gaussian(1.0) == kernels.Gaussian(1.0) != kernels.Laplace(1.0)
