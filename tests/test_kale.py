"""KALE against values solved independently, its certificate, its limits, its symmetries."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import KALE, MMD, Fit
from particleflow.kernels import Gaussian, Laplace
from particleflow.pairwise.exact import fallback
from particleflow.pairwise.exact.dense import kernel_matrix

REFERENCE = np.load(Path(__file__).parent / "data" / "kale_function_values.npz")
TAGS = [
    f"d{d}_{size}" for d in (1, 2, 5) for size in ("M50_N60", "M300_N300")
]  # M particles, N target points


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def weighted(n: int, d: int, seed: int) -> Cloud:
    generator = np.random.default_rng(seed)
    points, shares = generator.standard_normal((n, d)), generator.dirichlet(np.ones(n))
    return Cloud(torch.from_numpy(points), log_mass=torch.from_numpy(shares).log())


def relative(found: Tensor, expected: Tensor | np.ndarray) -> float:
    """max |found - expected| / max |expected|."""
    expected = torch.as_tensor(expected)
    return float((found - expected).abs().max() / expected.abs().max())


def refit(estimator: KALE, x: Cloud, y: Cloud, memory: dict[str, Tensor]) -> Fit:
    return estimator.fit(x, y, Clock(), memory)


@pytest.mark.parametrize(
    ("tag", "lam"), [(tag, lam) for tag in TAGS for lam in REFERENCE[f"{tag}_lam"].tolist()]
)
def test_value_weights_witness_and_velocity_are_the_reference(tag: str, lam: float) -> None:
    x, y = torch.from_numpy(REFERENCE[f"{tag}_X"]), torch.from_numpy(REFERENCE[f"{tag}_Y"])
    column = REFERENCE[f"{tag}_lam"].tolist().index(lam)
    for i, sigma in enumerate(REFERENCE["sigma"].tolist()):
        h_x, h_y, velocity, kale = (
            REFERENCE[f"{tag}_{name}"][i, column] for name in ("h_X", "h_Y", "velocity", "kale")
        )
        fit = pf.fit(KALE(Gaussian.from_denominator(sigma), lam=lam), x, y)
        at_x, grad = fit.witness.value_and_grad(x)
        assert fit.report["converged"]
        assert fit.value == pytest.approx(
            float(kale), rel=1e-9
        )  # the reference's own rounding is 5e-10 at lam = 1e4
        assert (
            relative(fit.memory["u"].exp(), np.exp(h_y)) <= 1e-10
        )  # at the optimum M a_j = e^{h(y_j)}
        assert relative(-at_x, h_x) <= 1e-10
        assert relative(-fit.witness.value_and_grad(y)[0], h_y) <= 1e-10
        assert relative((1 + lam) * grad, velocity) <= 1e-10


MORE = np.load(Path(__file__).parent / "data" / "kale_more_values.npz")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "key", sorted(name.removesuffix("_kale") for name in MORE.files if name.endswith("_kale"))
)
def test_value_and_velocity_at_every_other_lam_are_the_reference(key: str) -> None:
    tag, rest = key.split("_s")
    sigma, lam = map(float, rest.split("_l"))
    x, y = torch.from_numpy(REFERENCE[f"{tag}_X"]), torch.from_numpy(REFERENCE[f"{tag}_Y"])
    fit = pf.fit(KALE(Gaussian.from_denominator(sigma), lam=lam), x, y)
    assert fit.report["converged"]
    assert fit.value == pytest.approx(float(MORE[f"{key}_kale"]), rel=1e-9)
    assert relative((1 + lam) * fit.witness.value_and_grad(x)[1], MORE[f"{key}_velocity"]) <= 1e-10


@pytest.mark.parametrize("lam", [1e-2, 1.0, 1e4, 1e7])
def test_value_is_exact_to_rounding_also_where_the_factor_amplifies_it(lam: float) -> None:
    """Against 40 digits: Newton's method on the dual, in multiprecision."""
    x, y = normal(7, 2, 0, 0.5), normal(5, 2, 1)
    with mpmath.workdps(40):

        def k(a: list[float], b: list[float]) -> mpmath.mpf:
            return mpmath.exp(
                -mpmath.fsum(
                    (mpmath.mpf(p) - mpmath.mpf(q)) ** 2 for p, q in zip(a, b, strict=True)
                )
                / mpmath.mpf("0.98")
            )

        X, Y, L = x.tolist(), y.tolist(), mpmath.mpf(lam)
        K = mpmath.matrix([[k(a, b) for b in Y] for a in Y])
        mu = mpmath.matrix([mpmath.fsum(k(a, b) for a in X) / 7 for b in Y])
        u = mpmath.matrix(
            [
                float(v)
                for v in pf.fit(KALE(Gaussian.from_denominator(0.98), lam=lam), x, y).memory["u"]
            ]
        )
        for _ in range(4):
            a = mpmath.matrix([mpmath.exp(v) / 5 for v in u])
            jacobian = mpmath.eye(5) + K * mpmath.diag(list(a)) / L
            u -= mpmath.lu_solve(jacobian, u - (mu - K * a) / L)
        a = mpmath.matrix([mpmath.exp(v) / 5 for v in u])
        residual = (
            mpmath.fsum(k(p, q) for p in X for q in X) / 49 + (a.T * K * a)[0] - 2 * (a.T * mu)[0]
        )
        entropy = mpmath.fsum(a[j] * u[j] - a[j] + mpmath.mpf(1) / 5 for j in range(5))
        expected = float((1 + L) * (entropy + residual / (2 * L)))
    assert pf.fit(KALE(Gaussian.from_denominator(0.98), lam=lam), x, y).value == pytest.approx(
        expected, rel=1e-13
    )


# ---- the certificate


def primal_and_dual(
    x: Tensor, y: Tensor, kernel: Gaussian, lam: float, u: Tensor
) -> tuple[float, float]:
    """Both objectives at the weights a = e^u / M and their witness, from the definitions alone."""
    n, m = len(x), len(y)
    a = u.exp() / m
    xx, yy, yx = (
        kernel_matrix(kernel, x, x),
        kernel_matrix(kernel, y, y),
        kernel_matrix(kernel, y, x),
    )
    h_x = (xx.mean(1) - yx.T @ a) / lam
    h_y = (yx.mean(1) - yy @ a) / lam
    c = torch.cat([x.new_full((n,), 1 / n), -a]) / lam
    gram = kernel_matrix(kernel, torch.cat([x, y]), torch.cat([x, y]))
    norm2 = float(c @ gram @ c)
    primal = 1 + float(h_x.mean()) - float(h_y.exp().mean()) - lam / 2 * norm2
    dual = 1 + float((a * (m * a).log() - a).sum()) + lam / 2 * norm2
    return (1 + lam) * primal, (1 + lam) * dual


@pytest.mark.parametrize("lam", [1e-2, 1e-1, 1.0])
def test_gap_is_the_difference_of_primal_and_dual(lam: float) -> None:
    x, y, kernel = normal(13, 2, 0, 1.0), normal(17, 2, 1), Gaussian(0.7)
    fit = pf.fit(KALE(kernel, lam=lam, max_iterations=1), x, y)
    primal, dual = primal_and_dual(x, y, kernel, lam, fit.memory["u"])
    assert fit.value == pytest.approx(dual, rel=1e-12)
    assert fit.report["gap"] == pytest.approx(dual - primal, abs=1e-13 * abs(dual) / lam)
    assert fit.report["gap"] > 1e-8
    assert not fit.report["converged"]


@pytest.mark.parametrize("lam", [1e-3, 1e-1, 1e2])
def test_a_converged_fit_has_no_gap(lam: float) -> None:
    x, y = normal(13, 2, 0, 1.0), normal(17, 2, 1)
    fit = pf.fit(KALE(Gaussian(0.7), lam=lam), x, y)
    primal, dual = primal_and_dual(x, y, Gaussian(0.7), lam, fit.memory["u"])
    assert fit.report["converged"]
    assert 0 <= fit.report["gap"] <= 1e-14 * fit.value
    assert primal == pytest.approx(dual, rel=1e-11)


def test_a_looser_tolerance_is_honest_about_the_velocity() -> None:
    """rtol bounds the last correction; what remains after it is of the order of rtol^2, so the
    velocity is within rtol.
    """
    x, y = normal(23, 2, 0, 1.0), normal(29, 2, 1)
    exact = pf.fit(KALE(Gaussian(0.7), lam=1e-2), x, y).witness.value_and_grad(x)[1]
    errors = []
    for rtol in (1e-1, 1e-2, 1e-4):
        fit = pf.fit(KALE(Gaussian(0.7), lam=1e-2, rtol=rtol), x, y)
        assert fit.report["converged"]
        errors.append(relative(fit.witness.value_and_grad(x)[1], exact))
        assert errors[-1] <= rtol
    assert errors[0] > errors[1] >= errors[2]


@pytest.mark.parametrize("lam", [1e-3, 1e-1, 1e3])
def test_two_starts_agree(lam: float) -> None:
    x, y, estimator = (
        Cloud(normal(19, 2, 0, 0.8)),
        Cloud(normal(23, 2, 1)),
        KALE(Gaussian(0.7), lam=lam),
    )
    cold = refit(estimator, x, y, {})
    for seed in range(3):
        start = cold.memory["u"] + torch.from_numpy(np.random.default_rng(seed).standard_normal(23))
        warm = refit(estimator, x, y, {"u": start})
        assert warm.value == pytest.approx(cold.value, rel=1e-13)
        assert relative(
            warm.witness.value_and_grad(x.points)[1], cold.witness.value_and_grad(x.points)[1]
        ) <= 2e-13 * max(1.0, 1e-2 / lam)


def test_a_warm_start_is_faster_and_gives_the_same() -> None:
    x, y, estimator = normal(40, 2, 0, 0.8), Cloud(normal(50, 2, 1)), KALE(Gaussian(0.5), lam=1e-3)
    before = refit(estimator, Cloud(x), y, {})
    moved = Cloud(x + 1e-3 * normal(40, 2, 2))
    cold, warm = refit(estimator, moved, y, {}), refit(estimator, moved, y, dict(before.memory))
    assert warm.report["iterations"] <= 5 < cold.report["iterations"]
    assert warm.value == pytest.approx(cold.value, rel=1e-13)
    assert relative(warm.memory["u"], cold.memory["u"]) <= 1e-12


def test_memory_of_another_target_size_is_a_cold_start() -> None:
    x, y, estimator = Cloud(normal(9, 2, 0)), Cloud(normal(11, 2, 1)), KALE(Gaussian(0.7), lam=0.1)
    cold, other = (
        refit(estimator, x, y, {}),
        refit(estimator, x, y, {"u": torch.zeros(5, dtype=torch.float64)}),
    )
    assert torch.equal(cold.memory["u"], other.memory["u"])


def test_a_target_changed_in_place_is_noticed() -> None:
    """The kept kernel matrix belongs to the tensor's contents, not to its name."""
    x, y, estimator = Cloud(normal(9, 2, 0)), normal(11, 2, 1), KALE(Gaussian(0.7), lam=0.1)
    refit(estimator, x, Cloud(y), {})
    y += 1.0
    assert (
        refit(estimator, x, Cloud(y), {}).value
        == refit(KALE(Gaussian(0.7), lam=0.1), x, Cloud(y.clone()), {}).value
    )


# ---- limits


def test_large_lam_is_mmd_with_its_first_correction() -> None:
    """KALE = MMD^2/2 + (MMD^2/2 - E_p f^2 / 2) / lam + O(lam^-2), f = mu_q - mu_p; the velocity's
    gap is O(1/lam).
    """
    x, y, kernel = normal(31, 2, 0, 0.6), normal(37, 2, 1), Gaussian(0.8)
    mmd = pf.fit(MMD(kernel), x, y)
    assert mmd.value is not None
    f, _ = mmd.witness.value_and_grad(y)
    first = mmd.value - float((f**2).mean()) / 2
    rests, gaps = [], []
    for lam in (1e2, 1e3, 1e4):
        kale = pf.fit(KALE(kernel, lam=lam), x, y)
        rests.append(lam * (kale.value - mmd.value - first / lam))
        gaps.append(
            relative(
                (1 + lam) * kale.witness.value_and_grad(x)[1], mmd.witness.value_and_grad(x)[1]
            )
        )
    assert abs(rests[0]) > abs(first) * 1e-4
    assert rests[0] / rests[1] == pytest.approx(10, rel=0.1)
    assert rests[1] / rests[2] == pytest.approx(10, rel=0.02)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.02)
    assert 1e-6 < gaps[2] < 1e-3


def shared_atoms() -> tuple[Cloud, Cloud]:
    """Two laws on the same 20 atoms: what moves, and the target."""
    atoms = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
    rng = np.random.default_rng(0)
    moving, target = (torch.from_numpy(rng.dirichlet(3 * np.ones(20))).log() for _ in range(2))
    return Cloud(atoms, log_mass=moving), Cloud(atoms.clone(), log_mass=target)


def test_shared_atoms_go_from_mmd_to_kl() -> None:
    x, y = shared_atoms()
    kernel = Laplace(1.0)
    half_mmd2, kl = pf.fit(MMD(kernel), x, y).value, float((x.mass * (x.mass / y.mass).log()).sum())
    assert (round(half_mmd2, 6), round(kl, 6)) == (0.004891, 0.247121)
    assert round(pf.fit(KALE(kernel, lam=1e4), x, y).value, 6) == 0.004892
    assert round(pf.fit(KALE(kernel, lam=1e-6), x, y).value, 6) == 0.247090


def test_small_lam_on_shared_atoms_is_kl_with_its_first_correction() -> None:
    """KALE = KL + lam (KL - |log q/p|_H^2 / 2) + o(lam)."""
    x, y = shared_atoms()
    log_ratio = (x.mass / y.mass).log()
    kl = float(x.mass @ log_ratio)
    norm2 = float(
        log_ratio @ torch.linalg.solve(kernel_matrix(Laplace(1.0), x.points, x.points), log_ratio)
    )
    rests = [
        (pf.fit(KALE(Laplace(1.0), lam=lam), x, y).value - kl) / lam / (kl - norm2 / 2) - 1
        for lam in (1e-5, 1e-6, 1e-7)
    ]
    assert abs(rests[2]) < 1e-3
    assert rests[0] / rests[1] == pytest.approx(10, rel=0.1)


def test_small_lam_on_different_samples_diverges_like_the_distance_to_the_cone() -> None:
    """Not KL: KALE ~ D / (2 lam), D = min_{a >= 0} |mu_x - sum_j a_j k(y_j, .)|^2, a non-negative
    least-squares problem.
    """
    x, y, kernel = normal(6, 1, 0, 1.0), normal(5, 1, 1), Gaussian(0.5)
    gram = kernel_matrix(kernel, torch.cat([x, y]), torch.cat([x, y])).numpy()
    root = np.linalg.cholesky(gram + 1e-14 * np.eye(11)).T
    _, distance = nnls(root[:, 6:], root[:, :6].mean(1))
    rests = [
        2 * lam * pf.fit(KALE(kernel, lam=lam), x, y).value / distance**2 - 1
        for lam in (1e-3, 1e-4, 1e-5)
    ]
    assert rests[0] > rests[1] > rests[2] > 0
    assert rests[2] < 1e-2


def test_a_value_that_is_no_kl_any_more_is_told_once() -> None:
    fallback.warn_once.cache_clear()
    x, y = normal(60, 2, 0, 1.0), normal(50, 2, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for lam in (1e-1, 1e2):
            pf.fit(KALE(Gaussian(0.2), lam=lam), x, y)
        assert not caught
        for lam in (1e-4, 1e-4):
            pf.fit(KALE(Gaussian(0.2), lam=lam), x, y)
    assert len(caught) == 1
    assert "no longer approximates KL" in str(caught[0].message)


# ---- clouds


def test_a_doubled_point_is_a_double_mass() -> None:
    x, y, estimator = normal(9, 2, 0, 0.5), normal(11, 2, 1), KALE(Gaussian(0.7), lam=0.05)
    twice = [torch.cat([cloud, cloud[:1]]) for cloud in (x, y)]
    masses = [
        torch.tensor([2.0, *[1.0] * (len(cloud) - 1)], dtype=torch.float64) / (len(cloud) + 1)
        for cloud in (x, y)
    ]
    doubled, heavy = (
        pf.fit(estimator, *twice),
        pf.fit(
            estimator, *(Cloud(c, log_mass=m.log()) for c, m in zip((x, y), masses, strict=True))
        ),
    )
    assert heavy.value == pytest.approx(doubled.value, rel=1e-13)
    for found, expected in zip(
        heavy.witness.value_and_grad(x), doubled.witness.value_and_grad(x), strict=True
    ):
        assert relative(found, expected) <= 1e-12


def test_the_same_cloud_has_no_divergence() -> None:
    x = normal(12, 2, 0)
    fit = pf.fit(KALE(Gaussian(0.7), lam=0.1), x, x.clone())
    assert fit.report["converged"]
    assert 0 <= fit.value <= 1e-14
    assert float(fit.witness.value_and_grad(x)[1].abs().max()) <= 1e-13


def test_the_value_is_positive_and_at_most_its_dual_at_equal_weights() -> None:
    """u = 0 is feasible in the dual: KALE <= (1 + lam) MMD^2 / (2 lam)."""
    x, y = weighted(14, 2, 0), weighted(15, 2, 1)
    half_mmd2 = pf.fit(MMD(Gaussian(0.7)), x, y).value
    for lam in (1e-3, 1e-1, 1e2):
        assert 0 < pf.fit(KALE(Gaussian(0.7), lam=lam), x, y).value < (1 + lam) * half_mmd2 / lam


def test_float32_particles_are_solved_in_float64() -> None:
    x, y = normal(13, 2, 0, 0.5).float(), normal(17, 2, 1).float()
    estimator = KALE(Gaussian(0.7), lam=1e-2)
    single, double = pf.fit(estimator, x, y), pf.fit(estimator, x.double(), y.double())
    value, grad = single.witness.value_and_grad(x)
    assert value.dtype == grad.dtype == torch.float32
    assert single.memory["u"].dtype == torch.float64
    assert single.value == pytest.approx(double.value, rel=1e-13)
    assert relative(grad.double(), double.witness.value_and_grad(x.double())[1]) <= 1e-4
    assert math.isfinite(float(value.abs().max()))


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_lam_where_the_published_code_aborts() -> None:
    """lam = 1e-4 on the three rings, 1000 steps: every step certified."""
    x0 = pf.samplers.Gaussian(dim=2, mean=(0.0, -0.3), std=0.01).sample(240, seed=0)
    flow = pf.kale_flow(Gaussian.from_denominator(0.1), lam=1e-4)
    path = pf.simulate(
        flow,
        x0,
        pf.samplers.Rings().sample(240, seed=1),
        steps=1000,
        dt=1e-5,
        save=pf.SaveAt(every=100),
    )
    assert path.status == "completed", path.message
    assert path.report["worst_gap"] <= 1e-9 * float(path.energy[-1])
    assert not (path.energy.diff() > 0).any()


def test_by_default_the_bandwidth_comes_from_the_first_target_and_stays() -> None:
    x, y = normal(40, 2, 0), normal(51, 2, 1, 1.0)
    chosen = pf.kernels.default_bandwidth(y)
    first, given = pf.fit(KALE(), x, y), pf.fit(KALE(Gaussian(chosen), lam=1e-2), x, y)
    assert first.report["bandwidth"] == chosen
    assert first.value == given.value
    later = refit(KALE(), Cloud(x), Cloud(2 * y), dict(first.memory))
    assert later.report["bandwidth"] == chosen != pf.kernels.default_bandwidth(2 * y)


def test_a_fit_that_rounding_stops_counts_as_solved() -> None:
    """Wide kernels, and clouds that have nearly met: h is a small difference of large sums."""
    rng = np.random.default_rng(5)
    y = np.repeat(rng.normal(size=(40, 2)), 6, axis=0)
    x0 = 0.35 * rng.normal(size=(230, 2)) + [0.6, 0.0]
    path = pf.simulate(pf.auto_flow(x0, y, "kale", steps=400), x0, y, steps=60)
    assert path.status == "completed"
    assert path.report["worst_gap"] < 1e-20


def test_a_target_of_one_place_is_solved_to_the_rounding_of_its_many_equal_terms() -> None:
    """Sums of many equal terms round by more than one term does, and no step does better."""
    x = np.random.default_rng(0).normal(size=(20, 2))
    y = np.repeat([[0.3, 0.1]], 80, axis=0)
    path = pf.simulate(pf.kale_flow(Gaussian(2.0), lam=0.01), x, y, steps=150)
    assert path.status == "completed"
    assert path.report["worst_gap"] < 1e-20
