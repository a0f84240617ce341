"""uLSIF and RuLSIF: against a direct solve, the score against refits, the ratio against the truth,
and in a flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import NEAR, chi2
from scipy.optimize import nnls
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KLIEP, ULSIF, RuLSIF
from particleflow.estimators.ratio.kernel_ratio import FACTORS, Aim
from particleflow.estimators.ratio.least_squares import leave_one_out, ridges
from particleflow.estimators.ratio.nonnegative import nonnegative_minimum
from particleflow.kernels import IMQ, Gaussian, Laplace, Matern32, Matern52
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.subsets import places

Estimator = ULSIF | RuLSIF
both = pytest.mark.parametrize("make", [ULSIF, RuLSIF])


def weighted(n: int, d: int, seed: int, shift: float = 0.0) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)) + shift, generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


def system(
    kernel: Gaussian, x: Cloud, y: Cloud, centres: Tensor, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """h and H from their definitions, in numpy."""
    at_x, at_y = (kernel_matrix(kernel, cloud.points, centres).numpy() for cloud in (x, y))
    a, b = x.mass.numpy(), y.mass.numpy()
    return at_y.T @ b, alpha * (at_y.T * b) @ at_y + (1 - alpha) * (at_x.T * a) @ at_x


@pytest.mark.parametrize(
    "kernel",
    [Gaussian(0.7), Laplace(0.7), Matern32(0.7), Matern52(0.7), IMQ(0.7)],
    ids=lambda k: type(k).__name__,
)
@pytest.mark.parametrize("lam", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_ratio_is_that_of_a_direct_solve(kernel: Gaussian, lam: float, alpha: float) -> None:
    """Non-negative least squares of [R; lam^1/2] theta = [R^-T h; 0], R'R = H from a QR of the
    samples: another method (scipy's), another form.
    """
    x, y, z = weighted(60, 2, 0), weighted(41, 2, 1, 0.4), weighted(9, 2, 2).points
    h, _ = system(kernel, x, y, y.points, alpha)
    weights = ((x, (1 - alpha) * x.mass.numpy()), (y, alpha * y.mass.numpy()))
    rows = [
        np.sqrt(w)[:, None] * kernel_matrix(kernel, cloud.points, y.points).numpy()
        for cloud, w in weights
    ]
    root = np.linalg.qr(np.vstack([*rows, math.sqrt(lam) * np.eye(41)]), mode="r")
    theta, _ = nnls(root, np.linalg.solve(root.T, h), maxiter=10_000)
    expected = kernel_matrix(kernel, z, y.points).numpy() @ theta
    fit = pf.fit(RuLSIF(kernel, lam=lam, alpha=alpha, ceiling=1 - 1e-12), x, y)
    found = fit.witness.relative.value_and_grad(z)[0].exp().numpy()
    assert fit.report["converged"]
    assert np.abs(found / expected - 1).max() <= 1e-8
    if alpha == 0:
        plain = pf.fit(ULSIF(kernel, lam=lam), x, y).witness.value_and_grad(z)[0].exp().numpy()
        assert np.abs(plain / expected - 1).max() <= 1e-8


def test_a_start_elsewhere_ends_at_the_same_minimum() -> None:
    x, y, z = weighted(60, 2, 0), weighted(41, 2, 1, 0.4), weighted(9, 2, 2).points
    estimator = ULSIF(Gaussian(0.7), lam=1e-4)
    cold = pf.fit(estimator, x, y)
    for start in (
        torch.zeros(41, dtype=torch.float64),
        torch.rand(41, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    ):
        warm = estimator.fit(x, y, Clock(), {**cold.memory, "theta": start})
        assert warm.report["converged"]
        assert torch.allclose(
            warm.witness.value_and_grad(z)[0], cold.witness.value_and_grad(z)[0], rtol=0, atol=1e-9
        )


def test_the_minimum_satisfies_karush_kuhn_and_tucker() -> None:
    x, y = weighted(60, 2, 0), weighted(41, 2, 1, 0.4)
    h, matrix = (torch.from_numpy(part) for part in system(Gaussian(0.7), x, y, y.points, 0.0))
    ridged = matrix + 1e-2 * torch.eye(41, dtype=torch.float64)
    best = nonnegative_minimum(ridged, h, start=torch.zeros_like(h))
    assert float(best.theta.min()) == 0 < float(best.theta.max())
    assert float((ridged @ best.theta - h).min()) >= -1e-13
    assert float(((ridged @ best.theta - h) * best.theta).abs().max()) <= 1e-13


def test_rounded_is_the_published_rule() -> None:
    x, y, z = weighted(60, 2, 0), weighted(41, 2, 1, 0.4), weighted(9, 2, 2).points
    h, matrix = system(Gaussian(0.7), x, y, y.points, 0.0)
    theta = np.maximum(np.linalg.solve(matrix + 0.1 * np.eye(41), h), 0)
    assert 0 < (theta == 0).sum() < 41
    fit = pf.fit(ULSIF(Gaussian(0.7), lam=0.1, rounded=True), x, y)
    assert np.allclose(
        fit.witness.value_and_grad(z)[0].exp().numpy(),
        kernel_matrix(Gaussian(0.7), z, y.points).numpy() @ theta,
        rtol=1e-10,
    )
    assert "converged" not in fit.report


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_score_is_that_of_refits_without_each_point(alpha: float) -> None:
    x, y, kernel, lam = weighted(12, 2, 0), weighted(9, 2, 1, 0.4), Gaussian(0.7), 0.05
    centres = y.points
    at_x, at_y = (kernel_matrix(kernel, cloud.points, centres) for cloud in (x, y))
    h, matrix = (torch.from_numpy(part) for part in system(kernel, x, y, centres, alpha))
    expected = 0.0
    for which, values in enumerate((at_x, at_y)):
        for i, k in enumerate(values.numpy()):
            a, b = x.mass.numpy().copy(), y.mass.numpy().copy()
            share = (a, b)[which][i]
            in_m = np.concatenate([(1 - alpha) * a, alpha * b])
            in_m[i + 12 * which] = 0
            if which:
                b[i] = 0
            everything = torch.cat([at_x, at_y]).numpy()
            others = (everything.T * in_m) @ everything / in_m.sum() + lam * np.eye(9)
            r = k @ np.maximum(np.linalg.solve(others, at_y.numpy().T @ b / b.sum()), 0)
            expected += share * ((1 - alpha, alpha)[which] * r**2 / 2 - which * r)
    assert leave_one_out((h, matrix), (at_x, x.mass), (at_y, y.mass), alpha, lam) == pytest.approx(
        expected, rel=1e-10
    )


@both
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("kernel", [None, Gaussian(0.7), Gaussian(1e5), Laplace(0.7)], ids=str)
def test_a_ridge_too_small_for_float64_is_raised_and_reported(
    make: type[Estimator], rounded: bool, kernel: Gaussian | None
) -> None:
    """Of a singular H, each of 9 centres ten times but for rounding: lam is as much of its largest
    sum of a row as numbers need.
    """
    x, y, z = (
        weighted(60, 2, 0),
        weighted(9, 2, 1, 0.4).points.repeat(10, 1) + 1e-12 * weighted(90, 2, 3).points,
        weighted(9, 2, 2).points,
    )
    y = Cloud(y)
    fits = [pf.fit(make(kernel, lam=lam, rounded=rounded), x, y) for lam in (1e-14, 1e-300, 5e-324)]
    _, matrix = system(
        Gaussian(fits[0].report["bandwidth"]) if kernel is None else kernel,
        x,
        y,
        y.points,
        0.1 if make is RuLSIF else 0.0,
    )
    for fit in fits:
        assert fit.report.get("converged", rounded)
        assert fit.report["lam"] == pytest.approx(2**-43 * matrix.sum(1).max(), rel=1e-12)
        assert torch.equal(fit.witness.value_and_grad(z)[0], fits[0].witness.value_and_grad(z)[0])
        assert bool(torch.isfinite(fit.witness.value_and_grad(z)[1]).all())
    assert pf.fit(make(kernel, lam=1e-10, rounded=rounded), x, y).report["lam"] == 1e-10


@both
@pytest.mark.parametrize("rounded", [False, True])
def test_a_ridge_of_nothing_where_all_kernels_are_nothing(
    make: type[Estimator], rounded: bool
) -> None:
    x, y = weighted(60, 2, 0).points + 1e3, weighted(41, 2, 1).points
    fit = pf.fit(make(Gaussian(0.5), lam=5e-324, rounded=rounded), x, y)
    value, grad = fit.witness.value_and_grad(x)
    assert fit.report.get("converged", rounded)
    assert bool(torch.isfinite(value).all() and torch.isfinite(grad).all())
    assert math.isfinite(fit.value)


@both
@pytest.mark.parametrize("rounded", [False, True])
def test_what_is_not_given_is_chosen_once_and_reported(
    make: type[Estimator], rounded: bool
) -> None:
    x, y = weighted(80, 2, 0), weighted(61, 2, 1, 0.4)
    estimator = make(rounded=rounded)
    first = pf.fit(estimator, x, y)
    bandwidth, lam = first.report["bandwidth"], first.report["lam"]
    asked = pf.fit(make(Gaussian(bandwidth), lam=lam, rounded=rounded), x, y)
    z = weighted(9, 2, 2).points
    assert torch.allclose(
        asked.witness.value_and_grad(z)[0], first.witness.value_and_grad(z)[0], rtol=0, atol=1e-12
    )
    later = estimator.fit(weighted(70, 2, 5, 3.0), y, Clock(), first.memory)
    assert (later.report["bandwidth"], later.report["lam"]) == (bandwidth, lam)
    assert "score" in first.report
    assert "score" not in later.report
    worse = [
        pf.fit(make(Gaussian(bandwidth), rounded=rounded), x, y),
        pf.fit(make(lam=lam, rounded=rounded), x, y),
    ]
    assert [fit.report["score"] for fit in worse] == pytest.approx(
        [first.report["score"]] * 2, rel=1e-10
    )


@both
def test_the_search_finds_the_least_score_of_the_whole_grid(make: type[Estimator]) -> None:
    """Bandwidths and lam down to 1 / n, each pair scored; N != M, and masses."""
    x, y = weighted(160, 2, 0), weighted(121, 2, 1, 0.4)
    alpha = 0.1 if make is RuLSIF else 0.0
    scores = {}
    for factor in FACTORS:
        kernel = Gaussian(factor * pf.kernels.median_distance(y))
        centres = places(y, 100)[0]
        h, matrix = (torch.from_numpy(part) for part in system(kernel, x, y, centres, alpha))
        at_x, at_y = (kernel_matrix(kernel, cloud.points, centres) for cloud in (x, y))
        for lam in ridges(x.mass, y.mass):
            used = (
                nonnegative_minimum(
                    matrix + lam * torch.eye(len(h)), h, start=torch.ones_like(h)
                ).theta
                > 0
            )
            parts = (
                (h[used], matrix[used][:, used]),
                (at_x[:, used], x.mass),
                (at_y[:, used], y.mass),
            )
            scores[kernel.bandwidth, lam] = leave_one_out(*parts, alpha, lam)
    fit = pf.fit(make(), x, y)
    least = min(scores, key=scores.__getitem__)
    assert fit.report["score"] == pytest.approx(scores[least], rel=1e-8)
    assert (fit.report["bandwidth"], fit.report["lam"]) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2])
def test_the_nonnegative_minimum_takes_few_solves(ridge: float) -> None:
    """From a start without and with all entries; scipy's minimum is by joining one at a time."""
    generator = torch.Generator().manual_seed(0)
    rows, b = torch.randn(400, 301, dtype=torch.float64, generator=generator).split([300, 1], 1)
    matrix = rows.T @ rows + ridge * torch.eye(300, dtype=torch.float64)
    q = (rows.T @ b)[:, 0]
    root = torch.linalg.cholesky(matrix)
    aim = torch.linalg.solve_triangular(root, q[:, None], upper=False)[:, 0]
    theirs = torch.from_numpy(nnls(root.T.numpy(), aim.numpy(), maxiter=3000)[0])
    least = float(theirs @ matrix @ theirs / 2 - q @ theirs)
    for start in (torch.zeros_like(q), torch.ones_like(q)):
        best = nonnegative_minimum(matrix, q, start=start)
        theta = best.theta
        assert bool((theta >= 0).all())
        assert 100 < int((theta > 0).sum()) < 200
        assert float(theta @ matrix @ theta / 2 - q @ theta) == pytest.approx(least, rel=1e-9)
        assert float(best.slope.abs().max()) < 1e-6
        assert best.iterations <= 20


def test_the_nonnegative_minimum_may_be_zero() -> None:
    q = -torch.ones(4, dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    for start in (torch.zeros_like(q), torch.ones_like(q)):
        assert torch.equal(nonnegative_minimum(matrix, q, start=start).theta, torch.zeros_like(q))


def test_ridges_go_down_to_one_over_the_number_of_points() -> None:
    """The smaller cloud's, and of unequal masses the number of equal ones with the same sum of
    squares.
    """
    even = torch.full((1000,), 1e-3, dtype=torch.float64)
    half = torch.cat(
        [torch.full((100,), 1e-2, dtype=torch.float64), torch.zeros(900, dtype=torch.float64)]
    )
    assert ridges(even, even) == pytest.approx([10.0 ** (k / 2) for k in range(2, -7, -1)])
    assert (
        ridges(even, half)
        == ridges(half, even)
        == pytest.approx([10.0 ** (k / 2) for k in range(2, -5, -1)])
    )


@both
def test_the_value_is_that_of_the_loss(make: type[Estimator]) -> None:
    """2 J - 1 of the normalised clouds; J of `losses.ULSIF` at the fitted ratio."""
    x, y = weighted(50, 2, 0), weighted(41, 2, 1, 0.4)
    fit = pf.fit(make(Gaussian(0.7), lam=1e-2), x, y)
    if isinstance(fit.witness, type(pf.fit(ULSIF(Gaussian(0.7), lam=1e-2), x, y).witness)):
        at_x, at_y = (fit.witness.value_and_grad(cloud.points)[0].exp() for cloud in (x, y))
        current, weights = at_x, x.mass
    else:
        at_x, at_y = (
            fit.witness.relative.value_and_grad(cloud.points)[0].exp() for cloud in (x, y)
        )
        current, weights = torch.cat([at_y, at_x]), torch.cat([0.1 * y.mass, 0.9 * x.mass])
    loss = pf.losses.ULSIF()
    largest = loss.objective(at_y, current, target_weights=y.mass, current_weights=weights)
    assert loss.optimum(fit.value) == pytest.approx(float(largest), rel=1e-10)


@both
def test_masses_scale_the_ratio_and_doubled_points_are_double_masses(make: type[Estimator]) -> None:
    x, y, z = weighted(30, 2, 0), weighted(21, 2, 1), weighted(9, 2, 2).points
    estimator = make(Gaussian(0.7), lam=1e-2)
    plain, grad = pf.fit(estimator, x, y).witness.value_and_grad(z)
    heavy, same = pf.fit(
        estimator,
        Cloud(x.points, log_mass=x.log_mass + 1.0),
        Cloud(y.points, log_mass=y.log_mass - 2.0),
    ).witness.value_and_grad(z)
    assert torch.allclose(heavy, plain - 3.0, rtol=0, atol=1e-11)
    assert torch.allclose(same, grad, rtol=0, atol=1e-11)
    doubled = Cloud(
        torch.cat([x.points, x.points]), log_mass=torch.cat([x.log_mass, x.log_mass]) - math.log(2)
    )
    assert torch.allclose(
        pf.fit(estimator, doubled, y).witness.value_and_grad(z)[0], plain, rtol=0, atol=1e-11
    )
    shadows = Cloud(
        torch.cat([y.points, 9 + y.points]),
        log_mass=torch.cat([y.log_mass, torch.full((21,), -math.inf, dtype=torch.float64)]),
    )
    assert torch.allclose(
        pf.fit(estimator, x, shadows).witness.value_and_grad(z)[0], plain, rtol=0, atol=1e-11
    )


def test_relative_ratio_is_the_ratio_then_its_tangent() -> None:
    """log r = log (1 - alpha) r_a / (1 - alpha r_a) up to the ceiling; beyond it finite,
    increasing, and its gradient that of its values.
    """
    x, y = weighted(60, 1, 0), weighted(41, 1, 1, 2.5)
    fit = pf.fit(RuLSIF(Gaussian(0.5), lam=1e-3, alpha=0.5, ceiling=0.8), x, y)
    z = torch.linspace(-6.0, 9.0, 4001, dtype=torch.float64)[:, None]
    s = fit.witness.relative.value_and_grad(z)[0]
    value, grad = fit.witness.value_and_grad(z)
    inside = 0.5 * s.exp() <= 0.8
    assert 0 < int(inside.sum()) < len(z)
    assert bool((0.5 * s.exp() > 1.0).any())  # where r_a is no relative ratio
    assert torch.allclose(
        value[inside], torch.log(0.5 * s.exp() / (1 - 0.5 * s.exp()))[inside], rtol=0, atol=1e-12
    )
    assert torch.allclose(
        value[~inside], math.log(4.0) + (s[~inside] - math.log(1.6)) / 0.2, rtol=0, atol=1e-12
    )
    step = float(z[1] - z[0])
    assert torch.allclose(
        (value[2:] - value[:-2]) / (2 * step),
        grad[1:-1, 0],
        rtol=0,
        atol=1e-2 * float(grad.abs().max()),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [30.0, 3000.0])
@both
def test_far_away_the_ratio_is_finite_and_points_home(
    make: type[Estimator], distance: float, dtype: torch.dtype
) -> None:
    """Particles at a distance, where all kernels are 0: log r ~ -|z - c|^2 / (2 l^2) of the nearest
    centre.
    """
    y = weighted(41, 2, 1).points.to(dtype)
    x = weighted(60, 2, 0).points.to(dtype) + distance
    value, grad = pf.fit(make(Gaussian(0.5), lam=1e-2), x, y).witness.value_and_grad(x)
    assert value.dtype == grad.dtype == dtype
    assert bool(torch.isfinite(value).all() and torch.isfinite(grad).all())
    assert bool((grad.sum(1) < 0).all())
    assert torch.allclose(grad.norm(dim=1) * 0.25, torch.cdist(x, y).amin(1), rtol=0.2)


@both
def test_errors_fall_with_the_number_of_samples(make: type[Estimator], unchecked: None) -> None:
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
            fit = pf.fit(make(Gaussian(1.0)), x, y)
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
    if make is ULSIF:
        assert fit.value == pytest.approx(chi2(p, q), rel=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@both
def test_a_flow_comes_near_its_target_and_resumes_bit_for_bit(
    make: type[Estimator], dtype: torch.dtype, tmp_path: Path, unchecked: None
) -> None:
    y = weighted(101, 2, 1).points.to(dtype)
    x0 = 0.6 * weighted(120, 2, 0).points.to(dtype) + 2.0
    flow = pf.mono_flow(make(Gaussian(1.0), lam=1e-2))
    metric = {"W2": pf.metrics.W2()}
    whole = pf.simulate(flow, x0, y, steps=30, dt=0.1, metrics=metric)
    assert float(whole.metrics["W2"][-1]) <= 0.15 * float(whole.metrics["W2"][0])
    assert whole.state.x.points.dtype == dtype
    pf.simulate(flow, x0, y, steps=12, dt=0.1).save(tmp_path / "part.npz")
    resumed = pf.simulate(flow, pf.Trajectory.load(tmp_path / "part.npz"), y, steps=18, dt=0.1)
    assert torch.equal(resumed.state.x.points, whole.state.x.points)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ULSIF(Gaussian(1.0), lam=1e-2, centres=30),
        lambda: RuLSIF(Gaussian(1.0), lam=1e-2, centres=30, alpha=0.2),
        lambda: KLIEP(Gaussian(1.0), centres=30),
    ],
    ids=["ULSIF", "RuLSIF", "KLIEP"],
)
def test_the_targets_part_is_made_once_and_for_each_target(
    make: Callable[[], Estimator | KLIEP], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    of = Aim.of
    monkeypatch.setattr(Aim, "of", lambda cloud, most: made.append(cloud) or of(cloud, most))
    x, moved = weighted(120, 2, 0), weighted(120, 2, 3, 0.2)
    y, other = (weighted(101, 2, seed, 1.0) for seed in (1, 2))
    estimator = make()
    for current, target in ((x, y), (moved, y), (moved, other), (x, y)):
        kept, fresh = (each.fit(current, target, Clock(), {}) for each in (estimator, make()))
        assert kept.value == fresh.value
        assert torch.equal(
            kept.witness.value_and_grad(x.points)[1], fresh.witness.value_and_grad(x.points)[1]
        )
    assert len(made) == 3 + 4
    y.points.add_(0.5)  # written to: another target
    assert estimator.fit(x, y, Clock(), {}).value == make().fit(x, y, Clock(), {}).value


def test_another_kernel_of_a_rule_has_a_system_of_its_own() -> None:
    """Memory of another run may bring another bandwidth."""
    x, y, estimator = weighted(120, 2, 0), weighted(101, 2, 1, 1.0), ULSIF(lam=1e-2)
    for bandwidth in (0.7, 1.4):
        memory = {"bandwidth": torch.tensor(bandwidth, dtype=torch.float64)}
        kept = estimator.fit(x, y, Clock(), memory)
        assert kept.value == ULSIF(Gaussian(bandwidth), lam=1e-2).fit(x, y, Clock(), {}).value


def test_what_was_chosen_resumes_too(tmp_path: Path, unchecked: None) -> None:
    y, x0 = weighted(61, 2, 1).points, weighted(70, 2, 0).points + 1.0
    flow = pf.mono_flow(ULSIF())
    whole = pf.simulate(flow, x0, y, steps=4, dt=0.05)
    pf.simulate(flow, x0, y, steps=2, dt=0.05).save(tmp_path / "part.npz")
    resumed = pf.simulate(flow, pf.Trajectory.load(tmp_path / "part.npz"), y, steps=2, dt=0.05)
    assert torch.equal(resumed.state.x.points, whole.state.x.points)


def test_refusals_say_what_to_do(unchecked: None) -> None:
    x, y = weighted(30, 2, 0), weighted(21, 2, 1)
    with pytest.raises(TypeError, match="`kernel` must be positive to model a ratio"):
        ULSIF(pf.kernels.Energy())
    with pytest.raises(
        ValueError, match="`lam` must be > 0, got 0: it is the ridge; None chooses it"
    ):
        ULSIF(lam=0.0)
    with pytest.raises(ValueError, match="`centres` must be >= 1"):
        RuLSIF(centres=0)
    with pytest.raises(TypeError, match="`rounded` must be True or False, got 1"):
        ULSIF(rounded=1)
    with pytest.raises(ValueError, match="`alpha` must be < 1, got 1"):
        RuLSIF(alpha=1.0)
    with pytest.raises(ValueError, match="`ceiling` must be < 1"):
        RuLSIF(ceiling=1.0)
    with pytest.raises(
        ValueError,
        match=r"`y` must not be a constant cloud for a bandwidth to be chosen.*pass kernel=",
    ):
        pf.fit(ULSIF(), x, torch.ones(5, 2, dtype=torch.float64))
    with pytest.raises(
        ValueError, match="`x` must hold two places with mass, one to be left out, got 1"
    ):
        pf.fit(ULSIF(), x.points[:1], y)
