"""Kernel logistic regression: against scikit-learn on the same features, closed forms, and its own
certificate.
"""

from __future__ import annotations

import math

import numpy as np
import problems
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import KernelLogistic
from particleflow.estimators.ratio.logistic import regression
from particleflow.estimators.ratio.logistic_solver import minimise
from particleflow.kernels import IMQ, Gaussian, Landmarks, Laplace, Matern32, Matern52, RandomWaves
from particleflow.subsets import lasting_order

P, Q = problems.NEAR


def drawn(law: problems.Normal, n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).multivariate_normal(law.mean, law.cov, n))


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


X, Y, Z = normal(60, 2, 0, 0.7), normal(90, 2, 1), normal(7, 2, 2)
FEATURES = {"landmarks": Landmarks(20), "waves": RandomWaves(15)}


@pytest.mark.parametrize("lam", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("name", FEATURES)
def test_scikit_learn_finds_the_same(name: str, lam: float) -> None:
    counts = np.random.default_rng(3).integers(1, 4, len(Y))
    heavy = Cloud(Y, log_mass=torch.from_numpy(counts / counts.sum()).log())
    kernel = Gaussian(0.9)
    fit = pf.fit(KernelLogistic(kernel, lam=lam, features=FEATURES[name]), X, heavy)
    features = FEATURES[name].map(kernel, X[lasting_order(Cloud(X), None)], Y, Draws(0))
    rows = features.features(torch.cat([X, Y])).numpy()
    labels = np.repeat([0, 1], [len(X), len(Y)])
    weights = 0.5 * np.concatenate([np.full(len(X), 1 / len(X)), counts / counts.sum()])
    model = LogisticRegression(C=1 / lam, tol=1e-14, max_iter=10_000, solver="newton-cholesky").fit(
        rows, labels, sample_weight=weights
    )
    assert fit.report["converged"]
    assert fit.report["gap"] < 1e-13
    assert fit.witness.value_and_grad(Z)[0].numpy() == pytest.approx(
        model.decision_function(features.features(Z).numpy()), abs=1e-8
    )


@pytest.mark.parametrize("kernel", [Gaussian(0.9), None], ids=str)
def test_a_penalty_too_small_for_float64_is_raised_and_reported(kernel: Gaussian | None) -> None:
    """With more waves than points Newton's matrix is the penalty alone in most directions."""
    x, y = 10 * X[:15], Y[:20]
    estimator = [
        KernelLogistic(kernel, lam=lam, features=RandomWaves(40)) for lam in (1e-30, 5e-324, 1e-13)
    ]
    raised, least, enough = (pf.fit(each, x, y) for each in estimator)
    assert raised.report["converged"]
    assert raised.report["lam"] == pytest.approx(2**-45, rel=1e-9)  # of sum_i s_i |phi_i|^2 = 1
    assert torch.equal(raised.witness.value_and_grad(Z)[0], least.witness.value_and_grad(Z)[0])
    assert enough.report["lam"] == 1e-13


@pytest.mark.parametrize("name", FEATURES)
def test_the_gap_bounds_the_error(name: str) -> None:
    """Far from the minimum and near it: 0 <= J - min J <= gap, |w - w*|^2 <= 2 gap / lam."""
    lam = 1e-2
    problem = regression(FEATURES[name].map(Gaussian(0.9), X, Y, Draws(0)), Cloud(X), Cloud(Y))
    start = problem.features.new_zeros(problem.features.shape[1] + 1)
    best = minimise(problem, lam, start, 1e-12, 50)
    for size in (3.0, 0.1, 1e-3):
        u = best.u + size * torch.from_numpy(np.random.default_rng(0).standard_normal(len(start)))
        gap = problem.gap(u, lam)
        assert 0 < problem.value(u, lam) - problem.value(best.u, lam) <= gap
        assert float((u - best.u)[:-1].square().sum()) <= 2 * gap / lam
    assert abs(problem.gap(best.u, lam)) < 1e-14
    assert minimise(problem, lam, best.u, 1e-10, 50).iterations == 0


@pytest.mark.parametrize(
    "kernel",
    [Gaussian(0.9), Laplace(0.9), Matern32(0.9), Matern52(0.9), IMQ(0.9)],
    ids=lambda kernel: type(kernel).__name__,
)
def test_landmarks_give_the_kernel_at_the_landmarks(kernel: Gaussian) -> None:
    features = Landmarks(20).map(kernel, X, Y, Draws(0))
    assert tuple(features.landmarks.shape) == (20, 2)
    near = features.features(features.landmarks)
    assert torch.allclose(
        near @ near.T,
        kernel.profile(torch.cdist(features.landmarks, features.landmarks).square()),
        rtol=0,
        atol=2e-8,
    )


@pytest.mark.parametrize(
    "kernel",
    [Gaussian(0.9), Laplace(0.9), Matern32(0.9), Matern52(0.9)],
    ids=lambda kernel: type(kernel).__name__,
)
def test_waves_give_the_kernel_on_average(kernel: Gaussian) -> None:
    """The mean of 20000 cosines: 5 standard errors, of at most sqrt(1 / 2 / 20000) each."""
    features = RandomWaves(20_000).map(kernel, X, Y, Draws(0)).features(X)
    assert float(
        (features @ features.T - kernel.profile(torch.cdist(X, X).square())).abs().max()
    ) <= 5 * math.sqrt(0.5 / 20_000)


@pytest.mark.parametrize(
    "kernel", [Gaussian(0.9), Matern32(0.9), IMQ(0.9)], ids=lambda kernel: type(kernel).__name__
)
@pytest.mark.parametrize("name", FEATURES)
def test_the_gradient_is_that_of_the_features(name: str, kernel: Gaussian) -> None:
    if name == "waves" and isinstance(kernel, IMQ):
        with pytest.raises(
            TypeError,
            match=(
                r"`kernel` must be Gaussian, Laplace, Matern32 or Matern52 for RandomWaves, got"
                r" IMQ.*: use Landmarks"
            ),
        ):
            FEATURES[name].map(kernel, X, Y, Draws(0))
        return
    features = FEATURES[name].map(kernel, X, Y, Draws(0))
    leaf = Z.clone().requires_grad_(True)
    c = normal(features.features(Z).shape[1], 1, 5)[:, 0]
    (grad,) = torch.autograd.grad((features.features(leaf) @ c).sum(), leaf)
    assert torch.allclose(
        features.gradient(Z, c), grad, rtol=1e-9, atol=1e-9 * float(grad.abs().max())
    )


def test_masses_and_repetitions() -> None:
    """Thrice the target is the same law; total masses add the logarithm of their ratio; points
    without mass are not there.
    """
    estimator = KernelLogistic(Gaussian(0.9), lam=1e-3, features=RandomWaves(15))
    value, grad = pf.fit(estimator, X, Y).witness.value_and_grad(Z)
    thrice = pf.fit(estimator, X, torch.cat([Y, Y, Y])).witness.value_and_grad(Z)
    shadows = Cloud(
        torch.cat([Y, 9 + Y]),
        log_mass=torch.tensor([0.0] * 90 + [-math.inf] * 90, dtype=torch.float64),
    )
    ghosts = pf.fit(estimator, X, shadows).witness.value_and_grad(Z)
    assert torch.allclose(thrice[0], value, rtol=0, atol=1e-9)
    assert torch.allclose(ghosts[0], value + math.log(90), rtol=0, atol=1e-9)
    assert torch.allclose(thrice[1], grad, rtol=0, atol=1e-8)
    assert torch.allclose(ghosts[1], grad, rtol=0, atol=1e-8)


def test_swapping_the_clouds_changes_the_sign() -> None:
    estimator = KernelLogistic(Gaussian(0.9), lam=1e-3, features=RandomWaves(15))
    there, back = (
        pf.fit(estimator, *clouds).witness.value_and_grad(Z)[0] for clouds in ((X, Y), (Y, X))
    )
    assert torch.allclose(there, -back, rtol=0, atol=1e-9)


def test_the_ratio_of_gaussians_is_found_and_better_with_more_points() -> None:
    z = drawn(Q, 500, 9)
    truth = torch.from_numpy(P.log_density(z.numpy()) - Q.log_density(z.numpy()))
    errors = [
        float(
            (
                pf.fit(
                    KernelLogistic(), drawn(Q, n, 0), drawn(P, n + 20, 1)
                ).witness.value_and_grad(z)[0]
                - truth
            )
            .square()
            .mean()
            .sqrt()
        )
        for n in (100, 2000)
    ]
    assert errors[1] < 0.4
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_away_the_ratio_is_finite(dtype: torch.dtype) -> None:
    fit = pf.fit(KernelLogistic(Gaussian(0.5), lam=1e-6), X.to(dtype), (Y + 8).to(dtype))
    for part in fit.witness.value_and_grad(1e4 * Z.to(dtype)):
        assert bool(torch.isfinite(part).all())
        assert part.dtype == dtype


def test_what_is_chosen_is_kept_and_reported() -> None:
    estimator = KernelLogistic()
    first = pf.fit(estimator, X, Y)
    assert set(first.memory) == {"lam", "bandwidth", "weights", "order"}
    assert first.report["lam"] == float(first.memory["lam"])
    assert first.report["kernel"] == repr(Gaussian(float(first.memory["bandwidth"])))
    again = estimator.fit(Cloud(X + 0.01), Cloud(3 * Y), Clock(), first.memory)
    assert (again.report["lam"], again.report["kernel"]) == (
        first.report["lam"],
        first.report["kernel"],
    )
    with pytest.raises(
        ValueError,
        match=(
            r"`lam` and `kernel` are chosen from two places of each cloud or more, got 1 and 90:"
            r" pass both"
        ),
    ):
        pf.fit(estimator, X[:1], Y)
    assert pf.fit(KernelLogistic(Gaussian(1.0), lam=0.1), X[:1], Y).report["converged"]


def test_a_flow_arrives_and_goes_on_bit_for_bit() -> None:
    x, y = normal(60, 2, 0, 2.0).float(), normal(80, 2, 1).float()
    flow = pf.mono_flow(KernelLogistic(features=Landmarks(30)))
    whole = pf.simulate(flow, x, y, steps=40, dt=0.5)
    assert float((whole.particles[-1].mean(0) - y.mean(0)).norm()) < 0.2 * float(
        (x.mean(0) - y.mean(0)).norm()
    )
    half = pf.simulate(flow, x, y, steps=20, dt=0.5)
    rest = pf.simulate(pf.mono_flow(KernelLogistic(features=Landmarks(30))), half, steps=20)
    assert torch.equal(rest.particles[-1], whole.particles[-1])
