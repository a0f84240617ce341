"""The equations of the page on KALE and its relatives, for every entropy: both ends of lam, the
error bound, nasty clouds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.divergences import (
    KL,
    ChiSquare,
    Jeffreys,
    JensenShannon,
    ReverseKL,
    TotalVariation,
    Tsallis,
)
from particleflow.estimators import Fit

# Many solves; shapes are checked in test_kale.py and test_moreau.py.
pytestmark = pytest.mark.usefixtures("unchecked")
# f''(1) of each
SMOOTH: dict[str, tuple[Any, float]] = {
    "kl": (KL(), 1.0),
    "reverse": (ReverseKL(), 1.0),
    "jeffreys": (Jeffreys(), 2.0),
    "tsallis0.5": (Tsallis(0.5), 0.5),
    "tsallis1.5": (Tsallis(1.5), 1.5),
    "tsallis2": (Tsallis(2), 2.0),
    "chi2": (ChiSquare(), 2.0),
    "signed": (ChiSquare(nonnegative=False), 2.0),
    "js": (JensenShannon(), 0.25),
}
smooth = pytest.mark.parametrize("name", SMOOTH)
# Those whose dual has no constraint h <= recession at the particles.
steep = pytest.mark.parametrize(
    "name", [name for name, (divergence, _) in SMOOTH.items() if divergence.recession == math.inf]
)
KERNEL = pf.kernels.Gaussian(0.7)
LAPLACE = pf.kernels.Laplace(1.0)


def sample(n: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


X, Y = sample(40, 2, 0) + 0.6, sample(30, 2, 1)


def envelope(divergence: Any, lam: float, x: Any = X, y: Any = Y, kernel: Any = KERNEL) -> Fit:
    fit = pf.fit(pf.estimators.Moreau(kernel, divergence=divergence, lam=lam), x, y)
    assert fit.report["converged"], fit.report
    return fit


def gram(a: Tensor, b: Tensor, kernel: Any = KERNEL) -> Tensor:
    return kernel.profile((a[:, None] - b).square().sum(-1))


def worth(fit: Fit) -> float:
    assert fit.value is not None
    return fit.value


@smooth
def test_large_lam(name: str) -> None:
    """lam D = MMD^2 / 2 - E_p phi^2 / (2 f''(1) lam) + O(lam^-2): the coefficient to a third of a
    per cent.
    """
    divergence, curvature = SMOOTH[name]
    half = worth(pf.fit(pf.estimators.MMD(KERNEL), X, Y))
    phi = gram(Y, X).mean(1) - gram(Y, Y).mean(1)
    lam = 200 / curvature
    coefficient = (lam * worth(envelope(divergence, lam)) - half) * lam
    assert coefficient == pytest.approx(-float(phi.square().mean()) / (2 * curvature), rel=3e-3)


@smooth
def test_small_lam_on_shared_atoms(name: str) -> None:
    """D_f - lam / 2 |h_0|^2, h_0 the least function with h_0 = f'(q / p) on the atoms."""
    divergence, _ = SMOOTH[name]
    atoms = torch.linspace(-2, 2, 12, dtype=torch.float64)[:, None]
    rng = np.random.default_rng(3)
    q, p = (torch.from_numpy(rng.dirichlet(np.full(12, 8.0))) for _ in range(2))
    slope = divergence.slope(q / p)
    penalty = float(slope @ torch.linalg.solve(gram(atoms, atoms, LAPLACE), slope)) / 2
    limit = float((p * divergence.f(q / p)).sum())
    lam = 1e-6
    value = worth(
        envelope(
            divergence, lam, Cloud(atoms, log_mass=q.log()), Cloud(atoms, log_mass=p.log()), LAPLACE
        )
    )
    assert (value - limit) / lam == pytest.approx(-penalty, rel=1e-2)


@steep
def test_two_samples_diverge(name: str) -> None:
    """lam D -> D / 2, D = min over a >= 0 (of any sign without that constraint) of |mu_q - sum_j
    a_j k(y_j, .)|^2.
    """
    divergence, _ = SMOOTH[name]
    x, y = sample(25, 1, 4) + 1.0, sample(20, 1, 5)
    root = np.linalg.cholesky(gram(y, y, LAPLACE).numpy())
    image = np.linalg.solve(root, gram(y, x, LAPLACE).mean(1).numpy())
    best = nnls(root.T, image)[1] ** 2 if divergence.nonnegative else 0.0
    distance = float(gram(x, x, LAPLACE).mean()) - float(image @ image) + best
    lam = 1e-6
    assert lam * worth(envelope(divergence, lam, x, y, LAPLACE)) == pytest.approx(
        distance / 2, rel=1e-2
    )


def test_total_variation_is_mmd_where_the_clouds_are_close() -> None:
    """|phi| <= lam / 2 everywhere: g = 1 and the envelope is MMD^2 / (2 lam)."""
    half = worth(pf.fit(pf.estimators.MMD(KERNEL), X, Y))
    assert worth(envelope(TotalVariation(), 3.0)) == pytest.approx(half / 3.0, rel=1e-12)


@pytest.mark.parametrize("lam", [1e-3, 0.1, 10.0])
def test_the_de_regularised_mmd(lam: float) -> None:
    """(1 + L) <phi, (C + L)^-1 phi> solved among the sections k(x_i, .), k(y_j, .), and (1 + L)
    times the envelope at L / 2.
    """
    n, m = len(X), len(Y)
    points = torch.cat([X, Y])
    phi = torch.cat(
        [
            torch.full((n,), 1 / n, dtype=torch.float64),
            torch.full((m,), -1 / m, dtype=torch.float64),
        ]
    )
    matrix = gram(points, points)
    at_targets = torch.diag(
        torch.cat(
            [torch.zeros(n, dtype=torch.float64), torch.full((m,), 1 / m, dtype=torch.float64)]
        )
    )
    solution = torch.linalg.solve(
        at_targets @ matrix + lam * torch.eye(n + m, dtype=torch.float64), phi
    )
    expected = (1 + lam) * float(phi @ matrix @ solution)
    fit = pf.fit(pf.estimators.DrMMD(KERNEL, lam=lam), X, Y)
    assert worth(fit) == pytest.approx(expected, rel=1e-9)
    assert worth(fit) == pytest.approx(
        (1 + lam) * worth(envelope(ChiSquare(nonnegative=False), lam / 2)), rel=1e-9
    )


@steep
@pytest.mark.parametrize("lam", [1e-2, 1.0])
def test_the_gap_bounds_the_velocity(name: str, lam: float) -> None:
    """|grad h - grad h*| <= sqrt(2 gap / lam) / bandwidth at every point, after each number of
    iterations.
    """
    divergence, _ = SMOOTH[name]
    z = torch.cat([X, sample(50, 2, 6) * 2])
    exact = envelope(divergence, lam)
    _, best = exact.witness.value_and_grad(z)
    seen = 0
    for iterations in (1, 2, 3):
        rough = pf.estimators.Moreau(
            KERNEL, divergence=divergence, lam=lam, max_iterations=iterations
        ).fit(*clouds(), Clock(), {})
        if not rough.report["gap"] > 1e-14:
            continue
        seen += 1
        error = (rough.witness.value_and_grad(z)[1] - best).norm(dim=1).max()
        assert float(error) <= math.sqrt(2 * rough.report["gap"] / lam) / KERNEL.bandwidth
        assert worth(rough) - rough.report["gap"] <= worth(exact) + 1e-12 <= worth(rough) + 2e-12
    assert seen or name in ("signed", "chi2", "tsallis2")  # quadratic: Newton is there at once


def clouds() -> tuple[Cloud, Cloud]:
    return Cloud(X), Cloud(Y)


ONE = sample(1, 2, 7)
NASTY: dict[str, tuple[Tensor, Tensor]] = {
    "one particle": (ONE, Y),
    "one target": (X, ONE),
    "one each": (ONE, ONE + 0.3),
    "the same cloud": (Y.clone(), Y),
    "duplicates": (sample(5, 2, 8).repeat(8, 1), sample(3, 2, 9).repeat(10, 1)),
    "far": (X + 1e3, Y),
    "vast": (X * 1e6, Y),
    "offset": (X + 1e6, Y + 1e6),
    "fifty dimensions": (sample(20, 50, 10), sample(30, 50, 11)),
    "single precision": (X.float(), Y.float()),
}


@pytest.mark.parametrize("lam", [1e-8, pytest.param(1e-4, marks=pytest.mark.slow), 1.0, 1e8])
@pytest.mark.parametrize("case", NASTY)
def test_nasty_clouds(case: str, lam: float) -> None:
    """Solved and certified, finite, within [0, MMD^2 / (2 lam)]."""
    x, y = NASTY[case]
    for divergence in (KL(), Jeffreys(), Tsallis(2)):
        fit = envelope(divergence, lam, x, y)
        value, grad = fit.witness.value_and_grad(x)
        assert torch.isfinite(value).all()
        assert torch.isfinite(grad).all()
        above = worth(pf.fit(pf.estimators.MMD(KERNEL), x.double(), y.double())) / lam
        assert -1e-14 / lam <= worth(fit) <= above * (1 + 1e-9) + 1e-14 / lam


@smooth
@pytest.mark.parametrize("of", ["x", "y"])
def test_points_whose_mass_underflows_are_left_out(name: str, of: str) -> None:
    generator = np.random.default_rng(5)
    x, y = (
        torch.from_numpy(generator.standard_normal((20, 2))),
        torch.from_numpy(generator.standard_normal((15, 2)) + 0.5),
    )
    clouds = {"x": Cloud(x), "y": Cloud(y)}
    points = clouds[of].points
    log_mass = points.new_full((len(points),), -math.log(len(points) - 3))
    log_mass[[2, 5, 9]] = -800.0
    left = log_mass > -800
    without = {**clouds, of: Cloud(points[left], log_mass=log_mass[left])}
    clouds[of] = Cloud(points, log_mass=log_mass)
    found, expected = (
        envelope(SMOOTH[name][0], 1e-2, **clouds),
        envelope(SMOOTH[name][0], 1e-2, **without),
    )
    assert found.report["converged"]
    assert math.isfinite(found.report["gap"])
    assert found.value == expected.value
    assert torch.equal(
        found.witness.value_and_grad(points)[1], expected.witness.value_and_grad(points)[1]
    )
