"""The inner solver of KALE: one dual weight in closed form, derivatives, failures that are said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import lambertw
from torch import Tensor

from particleflow.estimators.newton import Dual, Solution, solve
from particleflow.kernels import Gaussian
from particleflow.pairwise.dense import kernel_matrix


def problem(n: int = 13, m: int = 17, seed: int = 0) -> Dual:
    rng = np.random.default_rng(seed)
    x, y = torch.from_numpy(rng.standard_normal((n, 2)) + 1), torch.from_numpy(rng.standard_normal((m, 2)))
    kernel = Gaussian(0.7)
    mass = torch.from_numpy(rng.dirichlet(np.ones(m)))
    return Dual(kernel_matrix(kernel, y, y), kernel_matrix(kernel, y, x).mean(1), mass, energy=float(kernel_matrix(kernel, x, x).mean()))


def solved(dual: Dual, lam: float, *, start: Tensor | None = None, rtol: float = 1e-8, max_iterations: int = 50) -> Solution:
    return solve(dual, lam, start=start, rtol=rtol, max_iterations=max_iterations)


@pytest.mark.parametrize("lam", [1e-3, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("mu", [0.02, 0.5, 0.97])
def test_one_dual_weight_is_lamberts_function(lam: float, mu: float) -> None:
    """log a = (mu - a) / lam has the solution a = lam W(e^{mu / lam} / lam)."""
    one = torch.ones(1, dtype=torch.float64)
    found = solved(Dual(one[:, None], mu * one, one, energy=1.0), lam)
    log_argument = mu / lam - math.log(lam)
    # For large arguments W(e^c) solves w + log w = c; the library function overflows there.
    w = float(lambertw(math.exp(log_argument)).real) if log_argument < 700 else log_argument - math.log(log_argument)
    for _ in range(4):
        w -= (w + math.log(w) - log_argument) / (1 + 1 / w)
    assert found.converged
    assert float(found.u.exp()) == pytest.approx(lam * w, rel=1e-12)


@pytest.mark.parametrize("lam", [1e-4, 1e-2, 1.0, 1e4])
def test_the_solution_is_stationary(lam: float) -> None:
    """u = h(u), to the rounding of a fixed point whose data are divided by lam."""
    dual = problem()
    found = solved(dual, lam)
    assert found.converged
    assert float((dual.witness(found.u, lam) - found.u).abs().max()) <= 1e-14 * max(1.0, 1 / lam)


def test_the_witness_is_the_gradient_of_the_dual() -> None:
    """dD/du_j = a_j (u_j - h_j), by central differences."""
    dual, lam = problem(), 0.05
    u = torch.from_numpy(np.random.default_rng(1).standard_normal(17)) / 2
    gradient = dual.mass * u.exp() * (u - dual.witness(u, lam))
    for j in range(17):
        step = torch.zeros(17, dtype=torch.float64)
        step[j] = 1e-5
        slope = (dual.value(u + step, lam) - dual.value(u - step, lam)) / 2e-5
        assert slope == pytest.approx(float(gradient[j]), rel=1e-6, abs=1e-9)


def test_the_gap_bounds_the_distance_to_the_optimum_from_above() -> None:
    dual, lam = problem(), 0.05
    best = solved(dual, lam)
    for seed in range(5):
        u = best.u + torch.from_numpy(np.random.default_rng(seed).standard_normal(17)) * 10.0 ** -seed
        excess = dual.value(u, lam) - best.value
        assert 0 <= excess <= dual.gap(u, lam) + 1e-14
    assert 0 <= best.gap <= 1e-20


def test_no_point_nearby_is_better() -> None:
    dual = problem()
    for lam in (1e-3, 1e-1, 10.0):
        best = solved(dual, lam)
        for seed in range(20):
            u = best.u + 1e-3 * torch.from_numpy(np.random.default_rng(seed).standard_normal(17))
            assert dual.value(u, lam) > best.value


def test_too_few_iterations_are_admitted_and_the_gap_shrinks_with_more() -> None:
    dual, start = problem(), torch.zeros(17, dtype=torch.float64)
    runs = [solved(dual, 1e-3, start=start, max_iterations=k) for k in (1, 3, 6, 50)]
    assert [run.iterations for run in runs[:3]] == [1, 3, 6]
    assert [run.converged for run in runs] == [False, False, False, True]
    gaps = [run.gap for run in runs]
    assert gaps == sorted(gaps, reverse=True)
    assert all(gap >= 0 for gap in gaps)
    assert gaps[2] > 1e-12 > gaps[3]


def test_convergence_is_quadratic() -> None:
    """The relative correction squares itself at each of the last iterations."""
    dual, lam = problem(), 0.1
    errors = []
    best = solved(dual, lam)
    for k in range(1, 6):
        u = solved(dual, lam, start=torch.zeros(17, dtype=torch.float64), max_iterations=k).u
        errors.append(float((u - best.u).abs().max()))
    last = [e for e in errors if e > 1e-13]
    assert len(last) >= 3
    assert math.log(last[-1]) <= 1.6 * math.log(last[-2])


def test_a_useless_start_is_left_for_the_cold_one() -> None:
    dual = problem()
    cold = solved(dual, 1e-2)
    for start in (torch.full((17,), 60.0, dtype=torch.float64), torch.full((17,), 1e4, dtype=torch.float64), cold.u * math.nan):
        assert torch.equal(solved(dual, 1e-2, start=start).u, cold.u)


def test_a_matrix_that_is_none_does_not_converge() -> None:
    dual = problem()
    broken = Dual(dual.matrix * math.nan, dual.mu, dual.mass, dual.energy)
    assert not solved(broken, 1e-2).converged


def test_iterations_hardly_depend_on_the_number_of_points() -> None:
    small, large = solved(problem(20, 25), 1e-2), solved(problem(160, 200), 1e-2)
    assert large.iterations <= 1.5 * small.iterations
