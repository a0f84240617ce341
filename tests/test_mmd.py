"""The MMD estimator against sums written out, Gaussian closed forms and smoothed kernels."""

from __future__ import annotations

import numpy as np
import problems
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import MMD
from particleflow.kernels import IMQ, Energy, Gaussian, Kernel, Laplace, Matern32, Matern52, Radial
from particleflow.pairwise import Dense
from particleflow.pairwise.exact.dense import kernel_matrix

KERNELS = [
    Gaussian(0.7),
    Laplace(0.7),
    Matern32(0.7),
    Matern52(0.7),
    IMQ(0.7),
    Energy(),
    Radial(lambda s: (1 + s) ** -2),
]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def weighted(n: int, d: int, seed: int) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)), generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


def quadrature(law: problems.Normal, nodes: int) -> Cloud:
    """A Gaussian as a weighted cloud that integrates smooth functions to rounding."""
    points, shares = problems.gauss_hermite(law, nodes)
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


@each_kernel
def test_value_and_witness_are_the_sums_written_out(kernel: Kernel) -> None:
    x, y, z = weighted(7, 3, 0), weighted(9, 3, 1), normal(5, 3, 2)
    fit = pf.fit(MMD(kernel), x, y)
    p, q = y.mass, x.mass
    xx, yy, xy = (kernel_matrix(kernel, a.points, b.points) for a, b in ((x, x), (y, y), (x, y)))
    assert fit.value == pytest.approx(
        0.5 * float(q @ xx @ q + p @ yy @ p - 2 * q @ xy @ p), rel=1e-12
    )
    leaf = z.clone().requires_grad_(True)
    value = kernel_matrix(kernel, leaf, y.points) @ p - kernel_matrix(kernel, leaf, x.points) @ q
    (grad,) = torch.autograd.grad(value.sum(), leaf)
    found, slope = fit.witness.value_and_grad(z)
    assert torch.allclose(found, value.detach(), rtol=1e-12, atol=1e-14)
    assert torch.allclose(slope, grad, rtol=1e-11, atol=1e-13)
    assert not fit.witness.log_ratio


@pytest.mark.parametrize(
    ("pair", "nodes", "expected"),
    [("far", (70, 80), 0.9473572753481838), ("plane", (45, 38), 0.20894480077385524)],
    ids=["1-D", "2-D"],
)
def test_between_gaussians_value_and_gradient_are_the_closed_form(
    pair: str, nodes: tuple[int, int], expected: float
) -> None:
    p, q = problems.PAIRS[pair]
    fit = pf.fit(
        MMD(Gaussian(1.0), pairwise=pf.pairwise.Compiled()),
        quadrature(q, nodes[1]),
        quadrature(p, nodes[0]),
    )
    assert 2 * fit.value == pytest.approx(expected, rel=1e-11)
    z = np.random.default_rng(0).standard_normal((6, p.dim))
    (to_p, grad_p), (to_q, grad_q) = (problems.embedding(law, 1.0, z) for law in (p, q))
    found, slope = fit.witness.value_and_grad(torch.from_numpy(z))
    assert found.numpy() == pytest.approx(to_p - to_q, rel=0, abs=1e-12)
    assert slope.numpy() == pytest.approx(grad_p - grad_q, rel=0, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("beta", [0.3, 1.5])
def test_noise_injection_is_a_one_sided_smoothing_of_the_kernel(d: int, beta: float) -> None:
    """E_u w(z + beta u) and its gradient are factor times those of the kernel of width sqrt(l^2 +
    beta^2), the factor included.
    """
    x, y, z = normal(6, d, 0, 0.5), normal(8, d, 1), normal(4, d, 2)
    kernel = Gaussian(0.8)
    factor, wide = kernel.smoothed(beta, d)
    assert factor == pytest.approx((0.64 / (0.64 + beta**2)) ** (d / 2), rel=1e-14)
    u = quadrature(problems.normal(np.zeros(d), np.eye(d)), 100)
    sharp, smooth = pf.fit(MMD(kernel), x, y).witness, pf.fit(MMD(wide), x, y).witness
    values, grads = zip(
        *(sharp.value_and_grad(point + beta * u.points) for point in z), strict=True
    )
    expected, slope = smooth.value_and_grad(z)
    assert torch.allclose(
        torch.stack([u.mean(v) for v in values]), factor * expected, rtol=0, atol=1e-12
    )
    assert torch.allclose(
        torch.stack([u.mean(g) for g in grads]), factor * slope, rtol=0, atol=1e-12
    )


@each_kernel
def test_a_doubled_point_is_a_double_mass(kernel: Kernel) -> None:
    x, y, z = normal(7, 2, 0), normal(9, 2, 1), normal(5, 2, 2)
    masses = [
        torch.tensor([2.0, *[1.0] * (len(c) - 1)], dtype=torch.float64) / (len(c) + 1)
        for c in (x, y)
    ]
    doubled = pf.fit(MMD(kernel), torch.cat([x, x[:1]]), torch.cat([y, y[:1]]))
    heavy = pf.fit(
        MMD(kernel), Cloud(x, log_mass=masses[0].log()), Cloud(y, log_mass=masses[1].log())
    )
    assert heavy.value == pytest.approx(doubled.value, rel=1e-12)
    for found, expected in zip(
        heavy.witness.value_and_grad(z), doubled.witness.value_and_grad(z), strict=True
    ):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_the_cloud_against_itself_is_at_rest() -> None:
    x = normal(12, 2, 0)
    fit = pf.fit(MMD(Gaussian(0.5)), x, x.clone())
    assert abs(fit.value) <= 1e-15
    assert float(fit.witness.value_and_grad(x)[1].abs().max()) <= 1e-15


def test_the_laplacian_is_the_trace_of_the_hessian() -> None:
    witness = pf.fit(MMD(Gaussian(0.7)), normal(7, 2, 0), normal(9, 2, 1)).witness
    z, h = normal(5, 2, 2), 1e-4
    trace = sum(
        (witness.value_and_grad(z + h * e)[1] - witness.value_and_grad(z - h * e)[1]) @ e / (2 * h)
        for e in torch.eye(2, dtype=torch.float64)
    )
    assert torch.allclose(witness.laplacian(z), trace, rtol=1e-6, atol=1e-8)


def test_tiles_do_not_change_the_fit() -> None:
    x, y = normal(41, 2, 0), normal(53, 2, 1)
    whole, tiled = (
        pf.fit(MMD(Gaussian(0.7), pairwise=Dense(max_bytes=b)), x, y) for b in (2**24, 2000)
    )
    assert whole.value == pytest.approx(tiled.value, rel=1e-12)
    assert torch.allclose(
        whole.witness.value_and_grad(x)[1],
        tiled.witness.value_and_grad(x)[1],
        rtol=1e-11,
        atol=1e-14,
    )


def test_the_target_term_is_kept_only_while_the_target_stays() -> None:
    estimator, x, y = MMD(Gaussian(0.7)), Cloud(normal(7, 2, 0)), normal(9, 2, 1)
    first = estimator.fit(x, Cloud(y), Clock(), {}).value
    assert estimator.fit(x, Cloud(y), Clock(), {}).value == first
    y *= 2
    changed = estimator.fit(x, Cloud(y), Clock(), {}).value
    assert changed == MMD(Gaussian(0.7)).fit(x, Cloud(y.clone()), Clock(), {}).value
    assert changed != first


def test_the_target_term_depends_on_the_masses_too() -> None:
    """One tensor of points with two sets of masses are two targets."""
    estimator, x, y = MMD(Gaussian(0.7)), Cloud(normal(7, 2, 0)), weighted(9, 2, 1)
    estimator.fit(x, Cloud(y.points), Clock(), {}).value  # noqa: B018
    assert estimator.fit(x, y, Clock(), {}).value == MMD(Gaussian(0.7)).fit(x, y, Clock(), {}).value


def test_a_plain_callable_of_the_squared_distance_is_a_kernel() -> None:
    x, y = normal(7, 2, 0), normal(9, 2, 1)
    own = pf.fit(pf.mmd_flow(lambda s: torch.exp(-s / 0.98)).estimator, x, y)
    assert own.value == pytest.approx(pf.fit(MMD(Gaussian(0.7)), x, y).value, rel=1e-13)
