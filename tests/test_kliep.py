"""KLIEP: against direct solves of the primal and of its dual, the certificate, the ratio against
the truth, and in a flow.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import NEAR, kl
from scipy.optimize import minimize, root
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KLIEP
from particleflow.estimators.ratio.mixture import mixture_weights
from particleflow.kernels import IMQ, Gaussian, Laplace, Matern32, Matern52
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.subsets import places

each_kernel = pytest.mark.parametrize(
    "kernel",
    [Gaussian(0.7), Laplace(0.7), Matern32(0.7), Matern52(0.7), IMQ(0.7)],
    ids=lambda kernel: type(kernel).__name__,
)


def weighted(n: int, d: int, seed: int, shift: float = 0.0) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)) + shift, generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


def ratio(fit: pf.Fit, z: Tensor) -> np.ndarray:
    return fit.witness.value_and_grad(z)[0].exp().numpy()


@each_kernel
def test_the_ratio_is_that_of_the_dual_programme(kernel: Gaussian) -> None:
    """min over s > 0 of -sum_j b_j log s_j, sum_j b_j s_j A_jl <= 1, A_jl = k(y_j, c_l) / sum_i a_i
    k(x_i, c_l), is solved at s = 1 / r(y).

    By scipy: SLSQP finds s to some 1e-7 and which constraints are tight, Powell's hybrid method the
    multipliers alpha, s = 1 / A alpha, that make them so.
    """
    x, y = weighted(40, 2, 0), weighted(13, 2, 1, 0.4)
    b = y.mass.numpy()
    values = (
        kernel_matrix(kernel, y.points, y.points).numpy()
        / (x.mass @ kernel_matrix(kernel, x.points, y.points)).numpy()
    )
    rows = (b[:, None] * values).T
    found = minimize(
        lambda s: -(b @ np.log(s)),
        np.full(13, 0.5 / rows.sum(1).max()),
        jac=lambda s: -b / s,
        bounds=[(1e-9, None)] * 13,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda s: 1 - rows @ s, "jac": lambda s: -rows},
        options={"ftol": 1e-18, "maxiter": 1000},
    )
    tight = rows @ found.x > 1 - 1e-5
    guess = np.linalg.lstsq(values[:, tight], 1 / found.x, rcond=None)[0]
    solved = root(
        lambda alpha: rows[tight] @ (1 / (values[:, tight] @ alpha)) - 1, guess, tol=1e-13
    )
    expected = values[:, tight] @ solved.x
    assert np.abs(expected * found.x - 1).max() <= 1e-6
    assert solved.x.min() >= 0
    assert (rows @ (1 / expected)).max() <= 1 + 1e-10
    fit = pf.fit(KLIEP(kernel), x, y)
    assert fit.report["converged"]
    assert np.abs(ratio(fit, y.points) / expected - 1).max() <= 1e-8


@each_kernel
def test_it_is_the_most_likely_ratio_of_mean_one(kernel: Gaussian) -> None:
    """Karush, Kuhn and Tucker, from the definition: mean one over x, and no centre whose weight
    would raise the likelihood.
    """
    x, y = weighted(60, 2, 0), weighted(41, 2, 1, 0.4)
    fit = pf.fit(KLIEP(kernel), x, y)
    at_x, at_y = ratio(fit, x.points), ratio(fit, y.points)
    assert x.mass.numpy() @ at_x == pytest.approx(1.0, rel=1e-12)
    raised = kernel_matrix(kernel, y.points, y.points).numpy().T @ (y.mass.numpy() / at_y)
    assert (
        raised / (kernel_matrix(kernel, x.points, y.points).numpy().T @ x.mass.numpy())
    ).max() <= 1 + 1e-10
    assert fit.value == pytest.approx(y.mass.numpy() @ np.log(at_y), rel=1e-12)
    largest = pf.losses.KLIEP().objective(
        *map(torch.from_numpy, (at_y, at_x)), target_weights=y.mass, current_weights=x.mass
    )
    assert pf.losses.KLIEP().optimum(fit.value) == pytest.approx(float(largest), rel=1e-12)


def test_the_gap_bounds_what_is_missing() -> None:
    """Stopped early: not converged, and the likelihood is at most `gap` below the best."""
    rng = np.random.default_rng(0)
    values = torch.from_numpy(
        np.exp(-0.5 * (rng.standard_normal((80, 1)) * 2 - np.linspace(-4, 4, 30)) ** 2)
    )
    values, share = (
        values / values.amax(1, keepdim=True),
        torch.from_numpy(rng.dirichlet(np.ones(80))),
    )
    best = mixture_weights(values, share, start=None, max_iterations=100)
    assert best.converged
    top = float(share @ (values @ best.alpha).log())
    for iterations in (0, 1, 2):
        early = mixture_weights(values, share, start=None, max_iterations=iterations)
        missing = top - float(share @ (values @ early.alpha).log())
        assert 0 < missing <= early.gap
        assert not early.converged
        assert early.iterations == iterations
    assert best.iterations <= 20
    x, y = weighted(60, 2, 0), weighted(41, 2, 1, 0.4)
    assert not pf.fit(KLIEP(Gaussian(0.7), max_iterations=1), x, y).report["converged"]


def test_a_warm_start_ends_at_the_same_ratio() -> None:
    x, y, z = weighted(60, 2, 0), weighted(41, 2, 1, 0.4), weighted(9, 2, 2).points
    estimator = KLIEP(Gaussian(0.7))
    cold = pf.fit(estimator, x, y)
    moved = Cloud(x.points + 0.01, log_mass=x.log_mass)
    warm = estimator.fit(moved, y, Clock(), cold.memory)
    assert warm.report["iterations"] < cold.report["iterations"]
    assert np.allclose(ratio(warm, z), ratio(pf.fit(estimator, moved, y), z), rtol=1e-8)


def test_the_bandwidth_is_chosen_once_and_reported() -> None:
    x, y, z = weighted(80, 2, 0), weighted(61, 2, 1, 0.4), weighted(9, 2, 2).points
    first = pf.fit(KLIEP(), x, y)
    bandwidth = first.report["bandwidth"]
    assert np.allclose(
        ratio(pf.fit(KLIEP(Gaussian(bandwidth)), x, y), z), ratio(first, z), rtol=1e-10
    )
    later = KLIEP().fit(weighted(70, 2, 5, 3.0), y, Clock(), first.memory)
    assert later.report["bandwidth"] == bandwidth
    assert "score" in first.report
    assert "score" not in later.report


def test_the_score_is_that_of_the_held_out_fifths(unchecked: None) -> None:
    """E_p log r - E_q r + 1, a lower bound of KL(p || q) for any r."""
    from particleflow.estimators.ratio.kernel_ratio import FACTORS

    x, y = weighted(33, 2, 0), weighted(26, 2, 1, 0.4)
    fit = pf.fit(KLIEP(centres=26), x, y)
    scale = pf.kernels.median_distance(y)
    # the folds are every fifth place in the places' own order
    x, y = (Cloud(points, mass=share) for points, share in (places(x), places(y)))
    scores = []
    for factor in FACTORS:
        kernel, score = Gaussian(scale * factor), 0.0
        for fold in range(5):
            kept_x, kept_y = (torch.arange(len(cloud)) % 5 != fold for cloud in (x, y))
            theta = _weights(
                kernel,
                *(
                    Cloud(c.points[kept], log_mass=c.log_mass[kept])
                    for c, kept in ((x, kept_x), (y, kept_y))
                ),
                y.points,
            )
            r_x, r_y = (
                kernel_matrix(kernel, c.points[~kept], y.points).numpy() @ theta
                for c, kept in ((x, kept_x), (y, kept_y))
            )
            a, b = (
                c.mass[~kept].numpy() / float(c.mass[~kept].sum())
                for c, kept in ((x, kept_x), (y, kept_y))
            )
            score += (b @ np.log(r_y) - a @ r_x + 1) / 5
        scores.append(score)
    assert fit.report["score"] == pytest.approx(max(scores), rel=1e-6)
    assert fit.report["bandwidth"] == pytest.approx(
        FACTORS[int(np.argmax(scores))] * scale, rel=1e-12
    )


def _weights(kernel: Gaussian, x: Cloud, y: Cloud, centres: Tensor) -> np.ndarray:
    """theta, of clouds of any mass."""
    means = (x.mass / x.mass.sum() @ kernel_matrix(kernel, x.points, centres)).numpy()
    values = kernel_matrix(kernel, y.points, centres) / torch.from_numpy(means)
    values = values / values.amax(1, keepdim=True)
    return (
        mixture_weights(values, y.mass / y.mass.sum(), start=None, max_iterations=100).alpha.numpy()
        / means
    )


def test_masses_scale_the_ratio_and_doubled_points_are_double_masses() -> None:
    x, y, z = weighted(30, 2, 0), weighted(21, 2, 1), weighted(9, 2, 2).points
    estimator = KLIEP(Gaussian(0.7))
    plain, grad = pf.fit(estimator, x, y).witness.value_and_grad(z)
    heavy, same = pf.fit(
        estimator,
        Cloud(x.points, log_mass=x.log_mass + 1.0),
        Cloud(y.points, log_mass=y.log_mass - 2.0),
    ).witness.value_and_grad(z)
    assert torch.allclose(heavy, plain - 3.0, rtol=0, atol=1e-9)
    assert torch.allclose(same, grad, rtol=0, atol=1e-9)
    doubled = Cloud(
        torch.cat([x.points, x.points]), log_mass=torch.cat([x.log_mass, x.log_mass]) - math.log(2)
    )
    assert torch.allclose(
        pf.fit(estimator, doubled, y).witness.value_and_grad(z)[0], plain, rtol=0, atol=1e-9
    )
    twice = Cloud(
        torch.cat([y.points, y.points]), log_mass=torch.cat([y.log_mass, y.log_mass]) - math.log(2)
    )
    assert torch.allclose(
        pf.fit(estimator, x, twice).witness.value_and_grad(z)[0], plain, rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [30.0, 3000.0])
def test_far_apart_the_ratio_is_finite_and_points_home(distance: float, dtype: torch.dtype) -> None:
    """Where every k(x_i, c_l) is 0 in numbers, the ratio still has mean one over x."""
    x, y = weighted(60, 2, 0).points.to(dtype) + distance, weighted(41, 2, 1).points.to(dtype)
    fit = pf.fit(KLIEP(Gaussian(0.5)), x, y)
    value, grad = fit.witness.value_and_grad(x)
    assert fit.report["converged"]
    assert value.dtype == grad.dtype == dtype
    assert bool(torch.isfinite(grad).all())
    assert float(torch.logsumexp(value.double(), 0)) == pytest.approx(
        math.log(60), abs=1e-2 if dtype == torch.float32 else 1e-5
    )
    assert bool((grad.sum(1) < 0).all())
    assert fit.value == pytest.approx(distance**2 / 0.25, rel=0.3)


def test_errors_fall_with_the_number_of_samples(unchecked: None) -> None:
    """Gaussians of a known ratio: the root mean square error of log r under p, 5 seeds each, falls
    from n = 100 to 3000 by half at least.
    """
    p, q = NEAR
    errors = {}
    for n in (100, 3000):
        missed = []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            x, y = (
                torch.from_numpy(rng.multivariate_normal(law.mean, law.cov, n + more))
                for law, more in ((q, 0), (p, 7))
            )
            z = rng.multivariate_normal(p.mean, p.cov, 1000)
            fit = pf.fit(KLIEP(Gaussian(1.0)), x, y)
            missed.append(
                np.mean(
                    (
                        fit.witness.value_and_grad(torch.from_numpy(z))[0].numpy()
                        - p.log_density(z)
                        + q.log_density(z)
                    )
                    ** 2
                )
            )
        errors[n] = math.sqrt(np.mean(missed))
    assert errors[3000] <= 0.5 * errors[100]
    assert fit.value == pytest.approx(kl(p, q), rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flow_comes_near_its_target_and_resumes_bit_for_bit(
    dtype: torch.dtype, tmp_path: Path, unchecked: None
) -> None:
    y = weighted(101, 2, 1).points.to(dtype)
    x0 = 0.6 * weighted(120, 2, 0).points.to(dtype) + 2.0
    flow = pf.mono_flow(KLIEP(Gaussian(1.0)))
    whole = pf.simulate(flow, x0, y, steps=30, dt=0.1, metrics={"W2": pf.metrics.W2()})
    assert float(whole.metrics["W2"][-1]) <= 0.2 * float(whole.metrics["W2"][0])
    assert whole.state.x.points.dtype == dtype
    pf.simulate(flow, x0, y, steps=12, dt=0.1).save(tmp_path / "part.npz")
    resumed = pf.simulate(flow, pf.Trajectory.load(tmp_path / "part.npz"), y, steps=18, dt=0.1)
    assert torch.equal(resumed.state.x.points, whole.state.x.points)


def test_refusals_say_what_to_do(unchecked: None) -> None:
    x, y = weighted(30, 2, 0), weighted(21, 2, 1)
    with pytest.raises(TypeError, match="`kernel` must be positive to model a ratio"):
        KLIEP(pf.kernels.Energy())
    with pytest.raises(ValueError, match="`folds` must be >= 2, got 1"):
        KLIEP(folds=1)
    with pytest.raises(
        ValueError,
        match=r"`y` must not be a constant cloud for a bandwidth to be chosen.*pass kernel=",
    ):
        pf.fit(KLIEP(), x, torch.ones(5, 2, dtype=torch.float64))
    with pytest.raises(
        ValueError, match="`x` must hold two places with mass, one to be held out, got 1"
    ):
        pf.fit(KLIEP(), x.points[:1], y)
