"""Densities that meet bounds: finite recession constants, total variation, steep powers; against a
general optimiser with bounds, and certified.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
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

# Many solves; test_moreau.py checks the shapes.
pytestmark = pytest.mark.usefixtures("unchecked")
KERNEL = pf.kernels.Laplace(1.0)
FINITE = [JensenShannon(), ReverseKL(), Tsallis(0.5), TotalVariation()]
finite = pytest.mark.parametrize(
    "divergence", FINITE, ids=lambda divergence: type(divergence).__name__
)
X, Y = (
    torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 1))) + shift
    for seed, n, shift in ((0, 12, 1.0), (1, 9, 0.0))
)


def gram(a: Tensor, b: Tensor) -> np.ndarray:
    return KERNEL.profile((a[:, None] - b).square().sum(-1)).numpy()


def least(divergence: Any, lam: float, x: Tensor, y: Tensor) -> float:
    """min over g, b >= 0 of sum f(g_j) / M + c sum b_i + |mu_x - sum g_j k(y_j, .) / M - sum b_i
    k(x_i, .)|^2 / (2 lam) by L-BFGS-B.

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
            return (
                value + z[: 2 * m].mean(),
                np.concatenate([0.5 + pull[:m], 0.5 - pull[:m], m * (c + pull[m:])]) / m,
            )
        density = torch.from_numpy(g.copy())
        return value + float(divergence.f(density).mean()), np.concatenate(
            [(divergence.slope(density).numpy() + pull[:m]) / m, c + pull[m:]]
        )

    bounds = [(0.0, None)] * m + [(0.0, 1.0)] * m if split else [(1e-12, None)] * m
    z = np.full(len(bounds) + n, 0.5 / m)
    for _ in range(20):
        z = minimize(
            objective,
            z,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds + [(0.0, None)] * n,
            options={"maxcor": 50, "ftol": 1e-16},
        ).x
    return objective(z)[0]


def fitted(divergence: Any, lam: float, x: Tensor, y: Tensor) -> Fit:
    return pf.fit(pf.estimators.Moreau(KERNEL, divergence=divergence, lam=lam), x, y)


@finite
@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_the_value_is_the_least(divergence: Any, lam: float) -> None:
    fit = fitted(divergence, lam, X, Y)
    assert fit.report["converged"]
    assert fit.value == pytest.approx(least(divergence, lam, X, Y), rel=1e-7)


@pytest.mark.parametrize(
    "divergence", FINITE[:1] + FINITE[2:], ids=lambda divergence: type(divergence).__name__
)
def test_far_clouds_cost_no_more_than_all_their_mass(divergence: Any) -> None:
    """f(0) + recession, what the divergence is between laws that share nothing, and the value's
    limit there.
    """
    cap = float(divergence.f(torch.zeros(1, dtype=torch.float64))) + divergence.recession
    values = [fitted(divergence, lam, X + 50, Y).value for lam in (1e-2, 1e-3)]
    assert values[0] < values[1] <= cap * (1 + 1e-6)
    assert values[1] > 0.9 * cap


# ---- certificates


def plane(n: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 2))) + shift


CLOUDS = {
    "near": (plane(25, 0, 0.6), plane(20, 1)),
    "far": (plane(25, 0, 1e3), plane(20, 1)),
    "one particle": (plane(1, 2), plane(20, 1)),
    "one target": (plane(25, 0), plane(1, 2)),
    "duplicates": (plane(5, 3).repeat(6, 1), plane(3, 4).repeat(8, 1)),
    "the same": (plane(20, 1), plane(20, 1)),
}
QUICK = {"near", "duplicates"}


@pytest.mark.parametrize(
    "case",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CLOUDS],
)
@pytest.mark.parametrize("divergence", FINITE + [Tsallis(2.0), Tsallis(3.0)], ids=str)
def test_values_are_certified_however_small_lam_is(divergence: Any, case: str) -> None:
    """The gap relative to the value: 1e-9 and, as h = (mu_x - K a) / lam has an error of some eps /
    lam, no less than that.
    """
    for lam in (1e-2, 1e-4, 1e-6):
        fit = pf.fit(
            pf.estimators.Moreau(pf.kernels.Gaussian(0.7), divergence=divergence, lam=lam),
            *CLOUDS[case],
        )
        assert fit.report["gap"] <= max(1e-9, 1e-14 / lam) * fit.value
        if lam >= 1e-4:
            assert fit.report["converged"], fit.report


def test_close_clouds_have_the_exact_total_variation() -> None:
    """|h| <= 1/2 at g = 1 everywhere: nothing is solved, and nothing is left to start from."""
    fit = fitted(TotalVariation(), 10.0, X, Y)
    assert (fit.report["error"], fit.report["iterations"], set(fit.memory)) == (0.0, 0, {"u"})


@pytest.mark.parametrize("divergence", FINITE + [Tsallis(3.0)], ids=str)
def test_a_warm_start_takes_fewer_iterations(divergence: Any) -> None:
    x, y = Cloud(plane(60, 0, 1.5)), Cloud(plane(50, 1))
    estimator = pf.estimators.Moreau(pf.kernels.Gaussian(0.5), divergence=divergence, lam=1e-3)
    first = estimator.fit(x, y, Clock(), {})
    moved = Cloud(x.points + 3e-4 * first.witness.value_and_grad(x.points)[1])
    cold, warm = (
        estimator.fit(moved, y, Clock(), {}),
        estimator.fit(moved, y, Clock(), first.memory),
    )
    assert warm.report["iterations"] <= 0.7 * cold.report["iterations"]
    assert warm.value == pytest.approx(cold.value, rel=1e-9)
    other = estimator.fit(
        Cloud(plane(41, 0, 1.5)), y, Clock(), first.memory
    )  # another number of particles: from nothing
    assert other.report["converged"]


@pytest.mark.parametrize(
    ("divergence", "n", "m"), [(TotalVariation(), 300, 400), (JensenShannon(), 350, 300)], ids=str
)
def test_hundreds_of_points_by_a_factor_of_the_kernel(divergence: Any, n: int, m: int) -> None:
    """Beyond 512 points the linear systems take a partial factor: primal and dual from the
    definitions.
    """
    x, y, kernel, lam, c = (
        0.5 * plane(n, 0, 2.0),
        plane(m, 1),
        pf.kernels.Gaussian(0.5),
        1e-2,
        divergence.recession,
    )
    fit = pf.fit(pf.estimators.Moreau(kernel, divergence=divergence, lam=lam), x, y)
    assert fit.report["converged"]
    (_, at_y), (_, at_x) = fit.witness.field.parts
    a, b = lam * at_y, lam * at_x + 1 / n
    h_y, h_x = (-fit.witness.value_and_grad(z)[0] for z in (y, x))
    assert float(b.sum()) > 0.01
    assert max(float(h_x.max()), float(h_y.max())) <= c * (1 + 1e-8)
    norm2 = float((1 / n - b) @ h_x - a @ h_y) / lam
    dual = float(divergence.f(a * m).mean()) + c * float(b.sum()) + lam / 2 * norm2
    primal = (
        float(h_x.mean())
        - float(divergence.conjugate(h_y.clamp(max=c * (1 - 1e-15))).mean())
        - lam / 2 * norm2
    )
    assert fit.value == pytest.approx(dual, rel=1e-9)
    assert primal == pytest.approx(dual, rel=1e-8)


# ---- runs


def line(n: int, m: int, seed: int) -> tuple[Tensor, Tensor]:
    """N(1.5, 0.6^2) and N(0, 1)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(1.5 + 0.6 * rng.normal(size=(n, 1))), torch.from_numpy(
        rng.normal(size=(m, 1))
    )


@pytest.mark.parametrize(
    ("divergence", "lam", "seed", "dt", "steps"),
    [
        (JensenShannon(), 0.3, 1, 0.59, 160),
        (TotalVariation(), 0.3, 0, 0.05, 60),
        (Tsallis(8.0), 0.03, 1, 0.04, 10),
        pytest.param(JensenShannon(), 1.0, 1, None, 400, marks=pytest.mark.slow),
        pytest.param(Tsallis(0.5), 0.03, 1, None, 400, marks=pytest.mark.slow),
        pytest.param(ReverseKL(), 0.3, 1, None, 400, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_on_which_bounds_become_inactive_converges_at_each_step(
    divergence: Any, lam: float, seed: int, dt: float | None, steps: int
) -> None:
    """What has not been met for long may not be pressed towards 0 from fit to fit, and rounding at
    a kink is no failure.
    """
    x, y = line(40, 50, seed)
    flow = pf.Flow(pf.estimators.Moreau(pf.kernels.Gaussian(0.8), divergence=divergence, lam=lam))
    path = pf.simulate(flow, x, y, steps=steps, dt=dt)
    assert int(path.steps[-1]) == steps, path.message


def test_where_no_bound_is_met_any_more_newtons_method_goes_on() -> None:
    """Beside the target the solution is one of u; from the memory of a far cloud the next fits find
    that out, and forget the bounds.
    """
    x, y = line(40, 50, 0)
    estimator = pf.estimators.Moreau(pf.kernels.Gaussian(0.8), divergence=JensenShannon(), lam=0.3)
    far = estimator.fit(Cloud(x + 6), Cloud(y), Clock(), {})
    assert "interior" in far.memory
    near = estimator.fit(Cloud(x - 1.4), Cloud(y), Clock(), far.memory)
    assert near.report["converged"]
    assert set(near.memory) == {"u"}
    assert near.value == pytest.approx(
        estimator.fit(Cloud(x - 1.4), Cloud(y), Clock(), {}).value, rel=1e-11
    )


@pytest.mark.parametrize("divergence", FINITE, ids=lambda divergence: type(divergence).__name__)
@pytest.mark.parametrize("memory", ["at 0", "nan", "swapped"])
def test_a_spoilt_memory_does_not_end_a_run(divergence: Any, memory: str) -> None:
    """A start on the wrong face, or none at all, is lifted or left for the cold one."""
    x, y = line(40, 50, 0)
    estimator = pf.estimators.Moreau(pf.kernels.Gaussian(0.8), divergence=divergence, lam=0.03)
    cold = estimator.fit(Cloud(x + 2), Cloud(y), Clock(), {})
    start = cold.memory["interior"].clone()
    g, _, z, _ = start
    if memory == "at 0":
        start[0] = torch.where(g < z, 1e-300, g)
    elif memory == "nan":
        start[:] = torch.nan
    else:
        start[0], start[2] = z.clamp(max=0.9), g
    warm = estimator.fit(
        Cloud(x + 2), Cloud(y), Clock(), {"u": cold.memory["u"], "interior": start}
    )
    assert warm.report["converged"], warm.report
    assert warm.value == pytest.approx(cold.value, rel=1e-9)


@pytest.mark.parametrize("divergence", [KL(), Tsallis(1.5)], ids=str)
def test_a_failing_start_of_newtons_method_is_left_for_the_cold_one(divergence: Any) -> None:
    """Better than u = 0, yet so far off that the iterations allowed do not suffice: the fit is then
    what it is without a memory.
    """
    x, y = line(40, 50, 0)
    estimator = pf.estimators.Moreau(
        pf.kernels.Gaussian(0.8), divergence=divergence, lam=1e-3, max_iterations=7
    )
    cold = estimator.fit(Cloud(x), Cloud(y), Clock(), {})
    assert cold.report["converged"]
    warm = estimator.fit(Cloud(x), Cloud(y), Clock(), {"u": 0.1 * cold.memory["u"]})
    assert warm.report["converged"]
    assert warm.value == cold.value


# ---- a cross-section of problems

ENTROPIES = {
    **{
        type(divergence).__name__: divergence
        for divergence in (
            KL(),
            ReverseKL(),
            Jeffreys(),
            JensenShannon(),
            TotalVariation(),
            ChiSquare(),
        )
    },
    **{f"Tsallis({power})": Tsallis(power) for power in (0.2, 0.5, 0.9, 1.5, 2.0, 3.0, 8.0)},
}


def problem(
    d: int, distance: float, dtype: torch.dtype, weighted: bool, repeated: bool, seed: int
) -> tuple[Cloud, Cloud]:
    """30 particles and 50 targets, `distance` from each other, with uneven masses (some are 0) and
    repeats if wanted.
    """
    rng = np.random.default_rng(100 + seed)
    x, y = 0.6 * rng.normal(size=(30, d)), rng.normal(size=(50, d))
    x[:, 0] += distance
    if repeated:
        x[15:], y[30:] = x[:15], y[:20]
    mass: dict[int, Any] = dict.fromkeys((30, 50))
    if weighted:
        for n in mass:
            drawn = rng.gamma(0.3, size=n)
            drawn[[1, n // 3]] = 0.0
            mass[n] = torch.from_numpy(drawn / drawn.sum()).to(dtype)
    clouds = [(torch.from_numpy(points).to(dtype), mass[len(points)]) for points in (x, y)]
    return tuple(
        Cloud(points) if weights is None else Cloud(points, mass=weights)
        for points, weights in clouds
    )


def gap_of(divergence: Any, lam: float, kernel: Any, x: Cloud, y: Cloud, fit: Fit) -> float:
    """(D - P) / D from the witness's weights alone, by the definitions, in double precision."""
    x, y, c = x.double(), y.double(), divergence.recession
    left, kept = x.mass > 0, y.mass > 0
    (_, at_y), (_, at_x) = fit.witness.field.parts
    m, q = x.mass[left], y.mass[kept]
    a, b = lam * at_y.double(), (lam * at_x.double() + m).clamp(min=0)
    points = torch.cat([y.points[kept], x.points[left]])
    weights = torch.cat([-a, m - b])
    image = kernel.profile((points[:, None] - points).square().sum(-1)) @ weights
    h_y, h_x, norm2 = image[: len(q)] / lam, image[len(q) :] / lam, float(weights @ image) / lam**2
    value, theta = float(q @ divergence.f((a / q).clamp(min=0))) + lam / 2 * norm2, 1.0
    if c < float("inf"):
        value += c * float(b.sum())
        theta = min(1.0, c * (1 - 1e-12) / max(float(h_x.max()), float(h_y.max()), c / 2))
    below = (
        theta * float(m @ h_x)
        - float(q @ divergence.conjugate(theta * h_y))
        - lam / 2 * theta**2 * norm2
    )
    return (value - below) / value


def check_run(name: str, lam: float, made: tuple[Any, ...], steps: int) -> None:
    """Every fit of an explicit run converges, and the last one is a solution."""
    (x, y), kernel, divergence = problem(*made), pf.kernels.Gaussian(0.8), ENTROPIES[name]
    estimator, memory = pf.estimators.Moreau(kernel, divergence=divergence, lam=lam), {}
    for step in range(steps):
        fit = estimator.fit(x, y, Clock(), memory)
        assert fit.report["converged"], (step, fit.report)
        if step < steps - 1:
            memory, slope = fit.memory, fit.witness.value_and_grad(x.points)[1]
            x = Cloud(x.points + 0.3 * lam * slope, log_mass=x.log_mass)
    # weights in single precision have an error of 1e-7
    assert abs(gap_of(divergence, lam, kernel, x, y, fit)) < (
        1e-7 if made[2] == torch.float64 else 1e-3
    )


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("name", ENTROPIES)
def test_a_cross_section(name: str, far: bool) -> None:
    for k, lam in enumerate((0.01, 0.1, 1.0)):
        case = sum(map(ord, name)) + k + far
        dtype = (torch.float64, torch.float32)[case % 2]
        check_run(
            name,
            lam,
            ((1, 2, 5)[case % 3], 8.0 if far else 1.5, dtype, case % 4 < 2, case % 5 < 2, case % 3),
            6,
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lam", [0.01, 0.03, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("name", ENTROPIES)
def test_a_wide_section(name: str, lam: float, seed: int) -> None:
    for d, distance in itertools.product((1, 2, 5), (1.5, 8.0)):
        for case in range(2):
            dtype = (torch.float64, torch.float32)[(d + case) % 2]
            check_run(name, lam, (d, distance, dtype, bool(case), (seed + case) % 2 == 0, seed), 60)


@pytest.mark.parametrize(
    ("name", "lam", "made"),
    [
        ("Tsallis(0.5)", 0.03, (2, 8.0, torch.float32, True, False, 1)),
        ("Tsallis(8.0)", 0.01, (1, 8.0, torch.float32, True, True, 2)),
    ],
)
def test_where_long_steps_go_in_circles_careful_ones_arrive(
    name: str, lam: float, made: tuple[Any, ...]
) -> None:
    check_run(name, lam, made, 2)


@pytest.mark.parametrize(
    ("lam", "made"),
    [
        (0.1, (1, 8.0, torch.float64, True, True, 1)),
        (0.03, (2, 8.0, torch.float32, True, False, 2)),
        (0.01, (1, 8.0, torch.float64, True, False, 0)),
    ],
)
def test_densities_near_0_are_certified_beyond_the_rounding_of_f(
    lam: float, made: tuple[Any, ...]
) -> None:
    """Far clouds: half of the densities are 0, and f(0) + f*(h) has an error of some eps."""
    check_run("Tsallis(8.0)", lam, made, 1)


@pytest.mark.parametrize(("power", "lam"), [(16.0, 0.1), (30.0, 0.03), (30.0, 0.1)])
def test_steep_powers_do_not_overshoot(power: float, lam: float) -> None:
    """f'' is 0 at small densities. The linear model sends them to 100 and more, where f' is 1e14
    and more; the way back would take hundreds of steps.
    """
    (x, y), kernel = problem(2, 20.0, torch.float64, True, False, 1), pf.kernels.Gaussian(0.8)
    estimator = pf.estimators.Moreau(kernel, divergence=Tsallis(power), lam=lam)
    fit = estimator.fit(x, y, Clock(), {})
    assert fit.report["converged"], fit.report
    assert fit.report["iterations"] < 60
    assert abs(gap_of(Tsallis(power), lam, kernel, x, y, fit)) < 1e-7


def test_flat_powers_stay_with_the_interior_point_method() -> None:
    """Newton's method in u fails where f'' is nearly 0 at small densities: it is tried once."""
    x, y = problem(5, 1.5, torch.float64, True, True, 2)
    estimator = pf.estimators.Moreau(pf.kernels.Gaussian(0.8), divergence=Tsallis(8.0), lam=0.01)
    assert "interior" in estimator.fit(x, y, Clock(), {}).memory


@pytest.mark.parametrize("lam", [1e-6, 1e-7, 1e-8, 1e-9])
@pytest.mark.parametrize("weighted", [False, True])
def test_kale_on_the_line_at_tiny_lam(weighted: bool, lam: float) -> None:
    """Solutions far from u = 0: hundreds of damped steps."""
    x, y = problem(1, 1.5, torch.float64, weighted, weighted, 0)
    report = pf.estimators.KALE(pf.kernels.Gaussian(0.8), lam=lam).fit(x, y, Clock(), {}).report
    assert report["converged"], report
