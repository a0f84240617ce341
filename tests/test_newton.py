"""The inner solver: one dual weight in closed form, derivatives, the certificate, its linear
systems, failures that are said.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import lambertw
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.divergences import (
    KL,
    ChiSquare,
    Divergence,
    Jeffreys,
    JensenShannon,
    ReverseKL,
    Tsallis,
)
from particleflow.estimators.envelope.dual import Dual
from particleflow.estimators.envelope.gram import SummedGram, WholeGram, gram_of
from particleflow.estimators.envelope.linear import solve_system
from particleflow.estimators.envelope.newton import Solution, solve
from particleflow.kernels import Gaussian
from particleflow.pairwise import Auto, Compiled
from particleflow.pairwise.exact.dense import kernel_matrix


def dual_of(
    matrix: Tensor, mu: Tensor, mass: Tensor, energy: float, divergence: Divergence = KL()
) -> Dual:
    """With a kernel matrix at hand, wherever its points may be."""
    return Dual(
        divergence,
        WholeGram(
            matrix, Cloud(torch.zeros(len(mass), 1, dtype=torch.float64), log_mass=mass.log())
        ),
        mu,
        energy,
    )


def problem(n: int = 13, m: int = 17, seed: int = 0) -> Dual:
    rng = np.random.default_rng(seed)
    x, y = (
        torch.from_numpy(rng.standard_normal((n, 2)) + 1),
        torch.from_numpy(rng.standard_normal((m, 2))),
    )
    kernel = Gaussian(0.7)
    mass = torch.from_numpy(rng.dirichlet(np.ones(m)))
    return dual_of(
        kernel_matrix(kernel, y, y),
        kernel_matrix(kernel, y, x).mean(1),
        mass,
        float(kernel_matrix(kernel, x, x).mean()),
    )


def solved(
    dual: Dual,
    lam: float,
    *,
    start: Tensor | None = None,
    rtol: float = 1e-15,
    max_iterations: int = 50,
) -> Solution:
    return solve(dual, lam, start=start, rtol=rtol, max_iterations=max_iterations)


@pytest.mark.parametrize("lam", [1e-3, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("mu", [0.02, 0.5, 0.97])
def test_one_dual_weight_is_lamberts_function(lam: float, mu: float) -> None:
    """log a = (mu - a) / lam has the solution a = lam W(e^{mu / lam} / lam)."""
    one = torch.ones(1, dtype=torch.float64)
    found = solved(dual_of(one[:, None], mu * one, one, 1.0), lam)
    log_argument = mu / lam - math.log(lam)
    # For large arguments W(e^c) solves w + log w = c; the library function overflows there.
    w = (
        float(lambertw(math.exp(log_argument)).real)
        if log_argument < 700
        else log_argument - math.log(log_argument)
    )
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
    assert float(dual.at(found.u, lam).residual.abs().max()) <= 1e-14 * max(1.0, 1 / lam)


def test_the_witness_is_the_gradient_of_the_dual() -> None:
    """dD/du_j = a_j (u_j - h_j), by central differences."""
    dual, lam = problem(), 0.05
    u = torch.from_numpy(np.random.default_rng(1).standard_normal(17)) / 2
    gradient = -dual.mass * u.exp() * dual.at(u, lam).residual
    for j in range(17):
        step = torch.zeros(17, dtype=torch.float64)
        step[j] = 1e-5
        slope = (dual.at(u + step, lam).value - dual.at(u - step, lam).value) / 2e-5
        assert slope == pytest.approx(float(gradient[j]), rel=1e-6, abs=1e-9)


def test_the_gap_bounds_the_distance_to_the_optimum_from_above() -> None:
    dual, lam = problem(), 0.05
    best = solved(dual, lam)
    for seed in range(5):
        u = best.u + torch.from_numpy(np.random.default_rng(seed).standard_normal(17)) * 10.0**-seed
        excess = dual.at(u, lam).value - best.value
        assert 0 <= excess <= dual.at(u, lam).gap + 1e-14
    assert 0 <= best.gap <= 1e-20


def gap_at(divergence: Divergence, u: Tensor, t: Tensor) -> tuple[float, Tensor]:
    """The certified gap of points with the residuals t at u, lam = 1, and their masses."""
    plain = problem(m=len(u))
    matrix, mass = plain.gram.matrix, plain.gram.cloud.mass
    assert matrix is not None
    dual = dual_of(matrix, u + t + matrix @ (mass * divergence.ratio(u)), mass, 9.0, divergence)
    return dual.certified(dual.at(u, 1.0)).gap, mass


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    "divergence",
    [KL(), Jeffreys(), ReverseKL(), JensenShannon(), Tsallis(0.5), Tsallis(1.5), Tsallis(3.0)],
    ids=repr,
)
def test_the_gap_of_small_residuals_bounds_the_true_one(
    divergence: Divergence, sign: float
) -> None:
    """It exceeds int_0^t ((f*)'(u + s) - (f*)'(u)) ds by little."""
    u = torch.linspace(-0.9, 0.3, 17, dtype=torch.float64)
    t = sign * torch.linspace(3e-5, 9e-5, 17, dtype=torch.float64)
    gap, mass = gap_at(divergence, u, t)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    true = 0.0
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        true += weight * float((mass * t) @ (divergence.ratio(u + node * t) - divergence.ratio(u)))
    assert true < gap < (1 + 1e-3) * true


@pytest.mark.parametrize("divergence", [ChiSquare(), Tsallis(3.0)], ids=repr)
def test_the_gap_of_densities_that_reach_zero_bounds_the_true_one(divergence: Divergence) -> None:
    """Where the residual crosses the place below which g = 0, (f*)'' is not monotone."""
    edge = -2.0 if isinstance(divergence, ChiSquare) else -1.5
    t = 9e-5
    for share in (0.1, 0.3, 0.5, 0.6, 0.7, 0.9):
        for start, step in ((edge - share * t, t), (edge + share * t, -t)):
            u = torch.tensor([start, 0.0], dtype=torch.float64)
            gap, mass = gap_at(divergence, u, torch.tensor([step, 0.0], dtype=torch.float64))
            f = divergence.conjugate(u[:1] + torch.tensor([0.0, step], dtype=torch.float64))
            true = float(mass[0] * (f[1] - f[0] - divergence.ratio(u)[0] * step))
            assert gap >= (1 - 1e-5) * true > 0


def test_no_point_nearby_is_better() -> None:
    dual = problem()
    for lam in (1e-3, 1e-1, 10.0):
        best = solved(dual, lam)
        for seed in range(20):
            u = best.u + 1e-3 * torch.from_numpy(np.random.default_rng(seed).standard_normal(17))
            assert dual.at(u, lam).value > best.value


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
    for start in (
        torch.full((17,), 60.0, dtype=torch.float64),
        torch.full((17,), 1e4, dtype=torch.float64),
        cold.u * math.nan,
    ):
        assert torch.equal(solved(dual, 1e-2, start=start).u, cold.u)


def test_a_matrix_that_is_none_does_not_converge() -> None:
    dual = problem()
    broken = dual_of(dual.gram.matrix * math.nan, dual.mu, dual.mass, dual.energy)
    found = solved(broken, 1e-2)
    assert not found.converged
    assert found.trouble == "the dual is not finite"


def test_iterations_hardly_depend_on_the_number_of_points() -> None:
    small, large = solved(problem(20, 25), 1e-2), solved(problem(160, 200), 1e-2)
    assert large.iterations <= 1.5 * small.iterations


# ---- linear systems


def test_conjugate_gradients_and_cholesky_agree_with_the_inverse() -> None:
    """(I + K W / lam) s = t, also where weights vanish or are far below all others."""
    dual = problem(40, 150)
    rng = np.random.default_rng(2)
    t, w = torch.from_numpy(rng.standard_normal(150)), torch.from_numpy(rng.dirichlet(np.ones(150)))
    w[:20], w[20:40] = 0.0, 1e-30
    matrix = dual.gram.matrix
    for lam in (0.1, 1.0):
        expected = torch.linalg.solve(torch.eye(150, dtype=torch.float64) + matrix * w / lam, t)
        for direct in (False, True):
            found = solve_system(
                dual.gram, w, lam, t, tolerance=1e-10, exact=True, direct=direct, repeats=False
            )
            assert found.done
            assert found.direct == direct
            assert float((found.step - expected).abs().max()) <= 1e-8
        rough = solve_system(
            dual.gram, w, lam, t, tolerance=0.1, exact=True, direct=False, repeats=False
        )
        rest = t - rough.step - matrix @ (w * rough.step) / lam
        assert 1e-6 < float((w * rest) @ rest) ** 0.5 <= 0.1
        assert rough.products < found.products + 20


def test_too_many_conjugate_gradients_are_left_for_a_factor() -> None:
    """Where a kernel is far narrower than the cloud every eigenvalue counts at a small lam."""
    y = torch.from_numpy(np.random.default_rng(0).standard_normal((300, 2)))
    gram = WholeGram(kernel_matrix(Gaussian(0.05), y, y), Cloud(y))
    t = torch.from_numpy(np.random.default_rng(1).standard_normal(300))
    found = solve_system(
        gram, gram.cloud.mass, 1e-8, t, tolerance=1e-13, exact=True, direct=False, repeats=False
    )
    assert found.direct
    rest = t - found.step - gram.matrix @ (gram.cloud.mass * found.step) / 1e-8
    assert float(rest.abs().max()) <= 1e-7


# ---- without a matrix


def clouds(n: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((n, 2)) + 0.5), torch.from_numpy(
        rng.standard_normal((m, 2))
    )


def through_sums(x: Tensor, y: Tensor, kernel: Gaussian, backend: Auto | Compiled) -> Dual:
    sources = backend.sources(kernel, y)
    queries = sources.prepare(y)
    promise = sources.field(y.new_ones(len(y)) / len(y)).promise(queries)
    gram = SummedGram(kernel, Cloud(y), backend, sources, queries, promise, lasting=True)
    field = backend.sources(kernel, x).field(x.new_ones(len(x)) / len(x))
    return Dual(KL(), gram, field.value(queries), float(field.value(x).mean()))


@pytest.mark.parametrize("lam", [1e-2, 1.0])
def test_sums_and_the_matrix_give_the_same(lam: float) -> None:
    """Rough products in float32 inside, the residual in float64: the solution is that of the
    matrix.
    """
    (x, y), kernel = clouds(700, 900), Gaussian(0.5)
    mass, energy = y.new_ones(900) / 900, float(kernel_matrix(kernel, x, x).mean())
    whole = dual_of(kernel_matrix(kernel, y, y), kernel_matrix(kernel, y, x).mean(1), mass, energy)
    expected, found = solved(whole, lam), solved(through_sums(x, y, kernel, Compiled()), lam)
    assert found.converged
    assert found.error <= 1e-12
    assert found.products <= 100
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert float((found.u - expected.u).abs().max()) <= 1e-10


def test_approximate_sums_converge_to_what_they_promise() -> None:
    """The solver stops where the promised error of the sums is what is left, and the result is as
    near to the truth as that.
    """
    (x, y), kernel, lam = clouds(3000, 4000), Gaussian(0.5), 1e-1
    exact = solved(through_sums(x, y, kernel, Compiled()), lam)
    found = solved(through_sums(x, y, kernel, Auto(rtol=1e-5)), lam)
    assert found.converged
    assert 1e-13 < found.error <= 1e-3
    assert float((found.u - exact.u).abs().max()) <= 2e-5 / lam
    assert found.value == pytest.approx(exact.value, rel=1e-4)


def test_a_matrix_is_kept_where_it_is_quicker() -> None:
    _, y = clouds(1, 600)
    assert gram_of(Gaussian(0.5), Cloud(y[:512]), Auto(rtol=1e-3)).matrix is not None
    assert gram_of(Gaussian(0.5), Cloud(y), Compiled()).matrix is not None
    far = torch.cat([y] * 8)[:4097]
    assert gram_of(Gaussian(0.5), Cloud(far), Compiled()).matrix is None
