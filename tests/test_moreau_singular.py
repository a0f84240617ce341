"""Divergences with a finite recession constant, against a general optimiser with bounds; the cap that singular mass puts on their value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

import particleflow as pf
from particleflow.divergences import JensenShannon, ReverseKL, TotalVariation, Tsallis
from particleflow.estimators import Fit

KERNEL = pf.kernels.Laplace(1.0)
FINITE = [JensenShannon(), ReverseKL(), Tsallis(0.5), TotalVariation()]
finite = pytest.mark.parametrize("divergence", FINITE, ids=lambda divergence: type(divergence).__name__)
X, Y = (torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 1))) + shift for seed, n, shift in ((0, 12, 1.0), (1, 9, 0.0)))


def gram(a: Tensor, b: Tensor) -> np.ndarray:
    return KERNEL.profile((a[:, None] - b).square().sum(-1)).numpy()


def least(divergence: Any, lam: float, x: Tensor, y: Tensor) -> float:
    """min over g, b >= 0 of sum f(g_j) / M + c sum b_i + |mu_x - sum g_j k(y_j, .) / M - sum b_i k(x_i, .)|^2 / (2 lam) by L-BFGS-B.

    Total variation: g = 1 + up - down, at the cost (up + down) / 2, so that nothing is unsmooth.
    """
    n, m, c = len(x), len(y), divergence.recession
    points = torch.cat([y, x])
    matrix, mu, energy = gram(points, points), gram(points, x).mean(1), float(gram(x, x).mean())
    split = isinstance(divergence, TotalVariation)

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        g, b = (1 + z[:m] - z[m : 2 * m] if split else z[:m]), z[-n:]
        weights = np.concatenate([g / m, b])
        pull = (matrix @ weights - mu) / lam
        value = c * b.sum() + (energy + weights @ (matrix @ weights) - 2 * weights @ mu) / (2 * lam)
        if split:
            return value + z[: 2 * m].mean(), np.concatenate([0.5 + pull[:m], 0.5 - pull[:m], m * (c + pull[m:])]) / m
        density = torch.from_numpy(g.copy())
        return value + float(divergence.f(density).mean()), np.concatenate([(divergence.slope(density).numpy() + pull[:m]) / m, c + pull[m:]])

    bounds = [(0.0, None)] * m + [(0.0, 1.0)] * m if split else [(1e-12, None)] * m
    z = np.full(len(bounds) + n, 0.5 / m)
    for _ in range(20):
        z = minimize(objective, z, jac=True, method="L-BFGS-B", bounds=bounds + [(0.0, None)] * n, options={"maxcor": 50, "ftol": 1e-16}).x
    return objective(z)[0]


def fitted(divergence: Any, lam: float, x: Tensor, y: Tensor) -> Fit:
    return pf.fit(pf.estimators.Moreau(KERNEL, divergence=divergence, lam=lam), x, y)


@finite
@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_the_value_is_the_least(divergence: Any, lam: float) -> None:
    fit = fitted(divergence, lam, X, Y)
    assert fit.report["converged"]
    assert fit.value == pytest.approx(least(divergence, lam, X, Y), rel=1e-7)


@pytest.mark.parametrize("divergence", FINITE[:1] + FINITE[2:], ids=lambda divergence: type(divergence).__name__)
def test_far_clouds_cost_no_more_than_all_their_mass(divergence: Any) -> None:
    """f(0) + recession, what the divergence is between laws that share nothing, and the value's limit there."""
    cap = float(divergence.f(torch.zeros(1, dtype=torch.float64))) + divergence.recession
    values = [fitted(divergence, lam, X + 50, Y).value for lam in (1e-2, 1e-3)]
    assert values[0] < values[1] <= cap * (1 + 1e-6)
    assert values[1] > 0.9 * cap
