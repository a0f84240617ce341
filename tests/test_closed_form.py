"""Witnesses of known densities, and the oracles that Gaussians give to the other estimators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from problems import (
    FAR,
    PAIRS,
    PLANE,
    Normal,
    embedding,
    energy_quantiles,
    energy_w2_squared,
    gauss_hermite,
    kl,
    mean_kernel,
    mmd2,
    oracles,
    random_normal,
    reverse_kl_flow,
    ula_variance,
    w2,
)

from particleflow.clouds import Clock, Cloud
from particleflow.engine import fit
from particleflow.estimators import MMD, ClosedForm, Moments
from particleflow.kernels import Gaussian as GaussianKernel
from particleflow.pairwise import Compiled
from particleflow.samplers import Gaussian


def law(p: Normal) -> Gaussian:
    return Gaussian(mean=p.mean, cov=p.cov)


def tensor(array: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float64))


def quadrature(p: Normal, nodes: int) -> Cloud:
    """The cloud whose integrals are those of p."""
    points, shares = gauss_hermite(p, nodes)
    return Cloud(tensor(points), log_mass=tensor(np.log(shares)))


QUERIES = np.random.default_rng(5).standard_normal((11, 2))


def witness(
    estimator: ClosedForm, x: Any = None, z: np.ndarray = QUERIES
) -> tuple[np.ndarray, np.ndarray]:
    found = fit(estimator, QUERIES if x is None else x).witness
    value, grad = found.value_and_grad(tensor(z))
    return value.numpy(), grad.numpy()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_log_ratio_of_two_densities(d: int) -> None:
    p, q = random_normal(d, 0), random_normal(d, 1)
    z = np.random.default_rng(d).standard_normal((7, d))
    value, grad = witness(ClosedForm(law(p), law(q)), z, z)
    np.testing.assert_allclose(value, p.log_density(z) - q.log_density(z), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grad, p.score(z) - q.score(z), rtol=1e-11, atol=1e-11)


def test_a_density_alone_is_a_potential() -> None:
    p, _ = PLANE
    estimator = ClosedForm(law(p))
    assert (
        estimator.log_ratio,
        estimator.energy_slope,
        estimator.needs_target,
        estimator.deterministic,
    ) == (False, 1.0, False, True)
    assert ClosedForm(law(p), law(p)).log_ratio
    assert ClosedForm(law(p), law(p)).energy_slope is None
    value, grad = witness(estimator)
    np.testing.assert_allclose(value, p.log_density(QUERIES), rtol=1e-12)
    np.testing.assert_allclose(grad, p.score(QUERIES), rtol=1e-12)


def test_a_callable_log_density_is_differentiated() -> None:
    p, _ = PLANE
    precision = tensor(np.linalg.inv(p.cov))
    value, grad = witness(ClosedForm(lambda z: -0.5 * ((z @ precision) * z).sum(1)))
    np.testing.assert_allclose(
        value, p.log_density(QUERIES) - p.log_density(np.zeros((1, 2))), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(grad, p.score(QUERIES), rtol=1e-12, atol=1e-13)


def test_a_callable_score_has_no_value() -> None:
    p, _ = PLANE
    precision = tensor(np.linalg.inv(p.cov))
    found = fit(ClosedForm(lambda z: -z @ precision), QUERIES)
    value, grad = found.witness.value_and_grad(tensor(QUERIES))
    assert value.isnan().all()
    assert found.value is None
    np.testing.assert_allclose(grad.numpy(), p.score(QUERIES), rtol=1e-12, atol=1e-13)


def test_a_callable_works_where_autograd_is_off_and_leaves_z_alone() -> None:
    z = tensor(QUERIES)
    with torch.no_grad():
        value, grad = fit(ClosedForm(lambda z: -(z**4).sum(1)), QUERIES).witness.value_and_grad(z)
    np.testing.assert_allclose(grad.numpy(), -4 * QUERIES**3, rtol=1e-13)
    assert not value.requires_grad
    assert not grad.requires_grad
    assert not z.requires_grad


def test_in_one_dimension_rank_tells_a_score_from_a_density() -> None:
    z = np.linspace(-1, 1, 5)[:, None]
    value, grad = witness(ClosedForm(lambda z: -z), z, z)
    assert np.isnan(value).all()
    np.testing.assert_array_equal(grad, -z)
    value, grad = witness(ClosedForm(lambda z: -(z[:, 0] ** 2) / 2), z, z)
    np.testing.assert_allclose(value, -(z[:, 0] ** 2) / 2)
    np.testing.assert_allclose(grad, -z)


def test_the_current_law_may_be_the_cloud_s_own_gaussian() -> None:
    """`Moments` on a quadrature cloud of q is q itself."""
    p, q = PLANE
    value, grad = witness(ClosedForm(law(p), Moments()), quadrature(q, 5))
    np.testing.assert_allclose(
        value, p.log_density(QUERIES) - q.log_density(QUERIES), rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(grad, p.score(QUERIES) - q.score(QUERIES), rtol=1e-11, atol=1e-12)


def test_jitter_is_added_to_the_covariance() -> None:
    p, q = PLANE
    wider = Normal(q.mean, q.cov + 0.3 * np.eye(2))
    value, _ = witness(ClosedForm(law(p), Moments(jitter=0.3)), quadrature(q, 5))
    np.testing.assert_allclose(
        value, p.log_density(QUERIES) - wider.log_density(QUERIES), rtol=1e-11, atol=1e-12
    )


def test_a_flat_cloud_has_no_gaussian() -> None:
    flat = np.stack([np.linspace(0, 1, 9), np.zeros(9)], 1)
    text = (
        r"`x` must span all 2 dimensions, got 9 points with a singular covariance: .* or pass"
        r" Moments\(jitter=1e-9\)"
    )
    with pytest.raises(ValueError, match=text):
        fit(ClosedForm(law(PLANE[0]), Moments()), flat)
    assert np.isfinite(witness(ClosedForm(law(PLANE[0]), Moments(jitter=1e-9)), flat)[0]).all()


def test_clip_cuts_the_value_and_keeps_the_gradient() -> None:
    p, q = FAR
    z = np.linspace(-8, 8, 33)[:, None]
    free, grad = witness(ClosedForm(law(p), law(q)), z, z)
    cut, same = witness(ClosedForm(law(p), law(q), clip=4.0), z, z)
    assert np.abs(free).max() > 40
    np.testing.assert_array_equal(cut, np.clip(free, -4.0, 4.0))
    np.testing.assert_array_equal(same, grad)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_value_is_the_divergence_over_the_cloud(pair: str) -> None:
    """E_q [log q - log p] = KL(q || p), exactly, on a quadrature cloud of q; -E_q log p where
    nothing is known of q.
    """
    p, q = PAIRS[pair]
    x = quadrature(q, 4)
    assert fit(ClosedForm(law(p), law(q)), x).value == pytest.approx(kl(q, p), rel=1e-12)
    assert fit(ClosedForm(law(p), Moments()), x).value == pytest.approx(kl(q, p), rel=1e-11)
    cross = kl(q, p) + 0.5 * (q.dim * (1 + math.log(2 * math.pi)) + np.linalg.slogdet(q.cov)[1])
    assert fit(ClosedForm(law(p)), x).value == pytest.approx(cross, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: ClosedForm(law(PLANE[0]), clip=0.0), ValueError, "`clip` must be > 0, got 0.0"),
        (
            lambda: ClosedForm(law(PLANE[0]), clip=math.nan),
            ValueError,
            "`clip` must be > 0, got nan",
        ),
        (lambda: Moments(jitter=-1.0), ValueError, "`jitter` must be >= 0, got -1"),
        (
            lambda: witness(ClosedForm(lambda z: z.sum())),
            ValueError,
            r"`target` must map z \(Q, d\) to a log density \(Q,\) or a score",
        ),
    ],
)
def test_bad_densities_are_refused(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


# ---------------------------------------------------------------- MMD between Gaussians


@pytest.mark.parametrize("bandwidth", [1.0, 2.0])
@pytest.mark.parametrize(("pair", "d", "nodes"), [("far", 1, 80), ("plane", 2, 40)])
def test_mmd_between_gaussians(pair: str, d: int, nodes: int, bandwidth: float) -> None:
    """MMD^2/2, witness and velocity on Gauss-Hermite clouds: closed forms and stored digits. (At
    bandwidth 1/2 the quadrature is not converged.)
    """
    p, q = PAIRS[pair]
    x, y = quadrature(q, nodes), quadrature(p, nodes + 1)
    found = fit(MMD(GaussianKernel(bandwidth), pairwise=Compiled()), x, y)
    stored = oracles()["mmd2_gauss"][f"d{d}_l{bandwidth:g}"]
    tolerance = 1e-9 if (d, bandwidth) == (2, 1.0) else 1e-12
    assert 2 * found.value == pytest.approx(mmd2(p, q, bandwidth), rel=tolerance)
    assert mmd2(p, q, bandwidth) == pytest.approx(stored["mmd2"], rel=1e-13)
    z = np.full((1, d), 0.3)
    value, grad = found.witness.value_and_grad(tensor(z))
    (of_p, grad_p), (of_q, grad_q) = embedding(p, bandwidth, z), embedding(q, bandwidth, z)
    np.testing.assert_allclose(value.numpy(), of_p - of_q, rtol=max(tolerance, 1e-11) * 10)
    np.testing.assert_allclose(grad.numpy(), grad_p - grad_q, rtol=max(tolerance, 1e-11) * 10)


@pytest.mark.parametrize("key", ["d1_l0.5", "d1_l1", "d1_l2", "d2_l0.5", "d2_l1", "d2_l2"])
def test_the_embeddings_against_the_stored_digits(key: str) -> None:
    """problems.py itself. The stored witness is E_q k - E_p k at 0.3, the particles' law first, in
    the reference's sign.
    """
    stored = oracles()["mmd2_gauss"][key]
    p, q = FAR if key.startswith("d1") else PLANE
    bandwidth = float(key.split("_l")[1])
    z = np.full((1, p.dim), 0.3)
    (of_p, grad_p), (of_q, grad_q) = embedding(p, bandwidth, z), embedding(q, bandwidth, z)
    assert mmd2(p, q, bandwidth) == pytest.approx(stored["mmd2"], rel=1e-12)
    assert abs(of_p - of_q).item() == pytest.approx(abs(stored["witness_at_0p3"]), rel=1e-12)
    sign = np.sign(stored["witness_at_0p3"]) * np.sign((of_p - of_q).item())
    np.testing.assert_allclose(sign * (grad_p - grad_q)[0], stored["grad_witness"], rtol=1e-11)


def test_the_mean_kernel_is_symmetric_and_bounded() -> None:
    p, q = random_normal(3, 0), random_normal(3, 1)
    assert mean_kernel(p, q, 0.7) == pytest.approx(mean_kernel(q, p, 0.7), rel=1e-13)
    assert 0 < mean_kernel(p, q, 0.7) < 1


# ---------------------------------------------------------------- the flows' closed forms,
# themselves checked


@pytest.mark.parametrize("t", ["0", "0.1", "0.5", "1", "2", "5"])
def test_reverse_kl_flow_against_the_stored_digits(t: str) -> None:
    p, start = FAR
    stored = oracles()["reverse_KL_flow"]["table"][t]
    now = reverse_kl_flow(p, start, float(t))
    assert now.mean.item() == pytest.approx(stored["mean"], rel=1e-12)
    assert math.sqrt(now.cov.item()) == pytest.approx(stored["std"], rel=1e-12)
    assert kl(now, p) == pytest.approx(stored["KL_q_p"], rel=1e-11)
    assert w2(now, p) == pytest.approx(stored["W2_q_p"], rel=1e-11)


def test_reverse_kl_flow_in_the_plane_against_the_stored_digits() -> None:
    p, start = PLANE
    stored = oracles()["reverse_KL_flow"]["2d_t1"]
    now = reverse_kl_flow(p, start, 1.0)
    np.testing.assert_allclose(now.mean, stored["mean"], rtol=1e-12)
    np.testing.assert_allclose(now.cov, stored["cov"], rtol=1e-12)


def test_reverse_kl_flow_solves_its_equation() -> None:
    """d/dt of mean and covariance is E v and E [v (x-m)' + (x-m) v'] of the package's own velocity
    on a quadrature cloud.
    """
    p, start = PLANE
    now, h = reverse_kl_flow(p, start, 0.4), 1e-5
    later, earlier = reverse_kl_flow(p, start, 0.4 + h), reverse_kl_flow(p, start, 0.4 - h)
    x = quadrature(now, 4)
    _, velocity = fit(ClosedForm(law(p), Moments()), x).witness.value_and_grad(x.points)
    mean = x.mean(velocity)
    centred = x.points - x.mean(x.points)
    spread = torch.einsum("n,na,nb->ab", x.mass, velocity, centred)
    np.testing.assert_allclose(mean.numpy(), (later.mean - earlier.mean) / (2 * h), rtol=1e-8)
    np.testing.assert_allclose(
        (spread + spread.T).numpy(), (later.cov - earlier.cov) / (2 * h), rtol=1e-7, atol=1e-9
    )


def test_energy_quantiles_have_the_stated_distance() -> None:
    s = (np.arange(200_000) + 0.5) / 200_000
    for t in (0.0, 0.2, 0.5, 1.0, 4.0):
        assert (energy_quantiles(s, t) ** 2).mean() == pytest.approx(energy_w2_squared(t), rel=1e-6)


def test_the_variance_of_the_unadjusted_scheme() -> None:
    tau, variance = 0.3, 1.0
    for _ in range(200):
        variance = (1 - tau) ** 2 * variance + 2 * tau
    assert variance == pytest.approx(ula_variance(tau), rel=1e-14)


def test_a_closed_form_needs_no_target() -> None:
    found = ClosedForm(law(PLANE[0])).fit(Cloud(tensor(QUERIES)), None, Clock(), {})
    assert dict(found.memory) == {}
    assert dict(found.report) == {}
