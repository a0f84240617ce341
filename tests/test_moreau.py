"""Regularised f-divergences: values solved independently, certificates from the definitions,
velocities, limits, mass that leaves the target.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud, FixedTarget
from particleflow.divergences import (
    KL,
    ChiSquare,
    Divergence,
    Jeffreys,
    JensenShannon,
    ReverseKL,
    TotalVariation,
    Tsallis,
)
from particleflow.estimators import KALE, MMD, DrMMD, Moreau
from particleflow.estimators.envelope.linear import Direct
from particleflow.flows import Flow
from particleflow.kernels import IMQ, Gaussian, Laplace
from particleflow.mobilities import Exponential, Linear
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.schedules import Decreasing

DATA = Path(__file__).parent / "data"
SMOOTH = [KL(), Jeffreys(), Tsallis(1.5), Tsallis(3.0), ChiSquare(), ChiSquare(nonnegative=False)]
FINITE = [JensenShannon(), ReverseKL(), Tsallis(0.5), TotalVariation()]


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def relative(found: Tensor, expected: Tensor | np.ndarray) -> float:
    expected = torch.as_tensor(expected)
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("name", "divergence", "tolerance"),
    [("kl", KL(), 1e-7), ("tsa2", ChiSquare(), 1e-10), ("tsa2", Tsallis(2.0), 1e-10)],
)
def test_weights_velocity_and_objective_are_the_reference(
    name: str, divergence: Divergence, tolerance: float
) -> None:
    """Their kernel is ours over s^{1/2}; KL's reference has a residual of 4e-9."""
    with np.load(DATA / f"fdiv_exact_{name}_t0.npz") as file:
        r = {key: file[key] for key in file.files}
    length = float(r["s"]) ** 0.5
    x, y = torch.from_numpy(r["X"]), torch.from_numpy(r["Y"])
    fit = pf.fit(Moreau(IMQ(length), divergence=divergence, lam=float(r["lam"]) * length), x, y)
    assert fit.report["converged"]
    assert fit.value == pytest.approx(float(r["obj"]), rel=tolerance)
    assert relative(divergence.ratio(fit.memory["u"]), r["q"]) <= tolerance
    assert relative(fit.witness.value_and_grad(x)[1], r["v"]) <= tolerance
    if name == "tsa2":
        assert int((divergence.ratio(fit.memory["u"]) == 0).sum()) == 178


# ---- the certificate, from the definitions


def weights_of(fit: pf.estimators.Fit, x: Tensor, y: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """Those at y and, beyond -mu_x, at x, read off the witness w = (sum_j a_j k(y_j, .) + sum_i b_i
    k(x_i, .) - mu_x) / lam.
    """
    (_, at_y), (_, at_x) = fit.witness.field.parts
    return lam * at_y, lam * at_x + 1 / len(x)


@pytest.mark.parametrize("lam", [1e-2, 1e-1, 1.0])
@pytest.mark.parametrize("divergence", SMOOTH + FINITE, ids=str)
def test_primal_and_dual_meet(divergence: Divergence, lam: float) -> None:
    """D at the weights and P at theta h, theta <= 1 such that theta h <= c: whatever lies between
    is the gap.
    """
    x, y, kernel = 0.7 * normal(21, 2, 0, 0.8), normal(27, 2, 1), Gaussian(0.5)
    fit = pf.fit(Moreau(kernel, divergence=divergence, lam=lam), x, y)
    assert fit.report["converged"]
    a, b = weights_of(fit, x, y, lam)
    both = torch.cat([y, x])
    gram = kernel_matrix(kernel, both, both)
    rest = torch.cat([-a, 1 / len(x) - b])
    h, norm2 = gram @ rest / lam, float(rest @ gram @ rest) / lam**2
    if divergence.nonnegative:
        assert float(a.min()) >= 0
    assert float(b.min()) >= -1e-16
    singular = divergence.recession * float(b.clamp(min=0).sum()) if float(b.max()) > 1e-15 else 0.0
    dual = float(divergence.f(a * len(y)).mean()) + singular + lam / 2 * norm2
    theta = min(1.0, divergence.recession / float(h.max())) if float(h.max()) > 0 else 1.0
    primal = (
        theta * float(h[len(y) :].mean())
        - float(divergence.conjugate(theta * h[: len(y)] * (1 - 1e-15)).mean())
        - lam / 2 * theta**2 * norm2
    )
    assert fit.value == pytest.approx(dual, rel=1e-12)
    # an error of 1e-5 is a gap of lam / 2 (1e-5 |h|)^2
    tolerance = 1e-8 * lam / 2 * norm2 if divergence in FINITE else 1e-13 * dual / lam
    assert -1e-14 / lam <= dual - primal <= tolerance + 1e-14 / lam
    assert float(h.max()) <= divergence.recession * (1 + 1e-8)


@pytest.mark.usefixtures("unchecked")
def test_mass_leaves_the_target_where_that_is_cheaper() -> None:
    """Far particles: h would exceed the recession constant; the weights on the particles hold it
    there.
    """
    x, y = normal(12, 2, 0, 4.0), normal(17, 2, 1)
    for divergence in FINITE:
        fit = pf.fit(Moreau(Gaussian(0.5), divergence=divergence, lam=1e-2), x, y)
        _, b = weights_of(fit, x, y, 1e-2)
        h = -fit.witness.value_and_grad(x)[0]
        assert 0.5 < float(b.sum()) < 1
        assert float(h.max()) == pytest.approx(divergence.recession, rel=1e-6)
        assert fit.value is not None
        assert (
            fit.value
            < 1.01 * float(divergence.f(torch.zeros(1, dtype=torch.float64))) + divergence.recession
        )


# ---- the velocity


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "divergence",
    [Jeffreys(), ChiSquare(), Tsallis(3.0), JensenShannon(), TotalVariation()],
    ids=str,
)
def test_the_velocity_is_minus_the_gradient_of_the_value(divergence: Divergence) -> None:
    """Singular mass b_i moves with its particle: the derivative of the value found is 1 - N b_i
    times that of the law's.
    """
    x, y, estimator = (
        normal(7, 2, 0, 0.8),
        normal(9, 2, 1),
        Moreau(Gaussian(0.7), divergence=divergence, lam=2e-2),
    )
    fit = pf.fit(estimator, x, y)
    velocity = fit.witness.value_and_grad(x)[1] * (1 - 7 * weights_of(fit, x, y, 2e-2)[1])[:, None]
    for i, k in ((0, 0), (3, 1)):
        step = torch.zeros_like(x)
        step[i, k] = 1e-3
        up, down = (pf.fit(estimator, x + s * step, y).value for s in (1, -1))
        assert up is not None
        assert down is not None
        assert -7 * (up - down) / 2e-3 == pytest.approx(float(velocity[i, k]), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("lam", [1e-2, 1.0])
def test_reverse_kale_exchanges_the_clouds(lam: float) -> None:
    """KALE(p || q): the same value, the other sign of the witness; its flow is v = (1 + lam) e^w
    grad w.
    """
    x, y, kernel = normal(11, 2, 0, 0.5), normal(15, 2, 1), Gaussian(0.7)
    reverse, forward = (
        pf.fit(KALE(kernel, lam=lam, reverse=True), x, y),
        pf.fit(KALE(kernel, lam=lam), y, x),
    )
    assert reverse.value == pytest.approx(forward.value, rel=1e-13)
    assert (
        relative(reverse.witness.value_and_grad(y)[0], -forward.witness.value_and_grad(y)[0])
        <= 1e-12
    )
    flow = Flow(KALE(kernel, lam=lam, reverse=True), mobility=Exponential())
    assert not flow.conservative
    velocity = (1 + lam) * flow.velocity(Cloud(x), reverse, Clock())[0]
    step = torch.zeros_like(x)
    step[2, 0] = 1e-4
    up, down = (pf.fit(KALE(kernel, lam=lam, reverse=True), x + s * step, y).value for s in (1, -1))
    assert up is not None
    assert down is not None
    assert -11 * (up - down) / 2e-4 == pytest.approx(float(velocity[2, 0]), rel=1e-5)


# ---- relatives and limits


def test_kale_is_the_envelope_of_kl() -> None:
    x, y, lam = normal(13, 2, 0, 0.5), normal(17, 2, 1), 0.03
    envelope, kale = (
        pf.fit(Moreau(Gaussian(0.7), divergence=KL(), lam=lam), x, y),
        pf.fit(KALE(Gaussian(0.7), lam=lam), x, y),
    )
    assert kale.value == pytest.approx((1 + lam) * envelope.value, rel=1e-14)
    assert (
        relative(kale.witness.value_and_grad(x)[1], envelope.witness.value_and_grad(x)[1]) <= 1e-13
    )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("size", [40, pytest.param(700, marks=pytest.mark.slow)])
@pytest.mark.parametrize("lam", [1e-2, 1.0])
def test_drmmd_is_one_linear_system(lam: float, size: int) -> None:
    """(2 I + K / (M l)) g = 2 + mu_x / l, l = lam / 2, by elimination."""
    x, y, kernel = normal(31, 2, 0, 0.5), normal(size, 2, 1), Gaussian(0.7)
    fit = pf.fit(DrMMD(kernel, lam=lam), x, y)
    half = lam / 2
    gram, mu = kernel_matrix(kernel, y, y), kernel_matrix(kernel, y, x).mean(1)
    g = torch.linalg.solve(
        2 * torch.eye(size, dtype=torch.float64) + gram / (size * half), 2 + mu / half
    )
    rest = float(kernel_matrix(kernel, x, x).mean() + (g / size) @ (gram @ g / size - 2 * mu))
    assert fit.value == pytest.approx(
        (1 + lam) * float(((g - 1) ** 2).mean() + rest / (2 * half)), rel=1e-11
    )
    assert relative(1 + fit.memory["u"] / 2, g) <= 1e-10
    flow = Flow(DrMMD(kernel, lam=lam), mobility=Linear(1 + lam))
    assert flow.conservative
    path = pf.simulate(flow, x, y, steps=5, dt=1e-3 * lam)
    assert path.status == "completed"
    assert not (path.energy.diff() > 0).any()


def test_a_run_of_drmmd_factors_its_system_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As precise as conjugate gradients, and the same in a run that goes on."""
    x, y, kernel = normal(31, 2, 0, 0.5), normal(90, 2, 1), Gaussian(0.7)
    of, made = Direct.of, []

    def counted(matrix: Tensor, w: Tensor, lam: float) -> Direct | None:
        made.append(lam)
        return of(matrix, w, lam)

    monkeypatch.setattr(Direct, "of", counted)

    def flow(lam: float = 0.1) -> Flow:
        return Flow(DrMMD(kernel, lam=lam), mobility=Linear(1 + lam))

    whole = pf.simulate(flow(), x, y, steps=12, dt=1e-3)
    assert made == [0.05]
    part = pf.simulate(flow(), x, y, steps=5, dt=1e-3)
    rest = pf.simulate(flow(), part, y, steps=7, dt=1e-3)
    assert torch.equal(rest.state.x.points, whole.state.x.points)
    made.clear()
    moved, fixed = whole.cloud(-1), FixedTarget(Cloud(y)).cloud
    by_products, by_factor = (
        DrMMD(kernel, lam=0.1).fit(moved, target, Clock(), {}) for target in (Cloud(y), fixed)
    )
    assert made == [0.05]
    assert by_factor.value == pytest.approx(by_products.value, rel=1e-12)
    assert relative(1 + by_factor.memory["u"] / 2, 1 + by_products.memory["u"] / 2) <= 1e-10


def test_another_target_has_another_factor_and_a_lam_that_may_change_has_none() -> None:
    x, kernel = Cloud(normal(31, 2, 0, 0.5)), Gaussian(0.7)
    targets = [FixedTarget(Cloud(normal(size, 2, seed))).cloud for size, seed in ((70, 1), (80, 2))]
    estimator = DrMMD(kernel, lam=0.1)
    for y in (*targets, targets[0]):
        fit, fresh = (each.fit(x, y, Clock(), {}) for each in (estimator, DrMMD(kernel, lam=0.1)))
        assert torch.equal(fit.memory["u"], fresh.memory["u"])
    lams = [
        pf.simulate(
            pf.Flow(DrMMD(kernel, lam=lam), mobility=pf.flows.EnergySlope()),
            x,
            targets[0],
            steps=3,
            dt=1e-3,
        ).energy[-1]
        for lam in (0.1, lambda clock: 0.1)
    ]
    assert float(lams[0]) == pytest.approx(float(lams[1]), rel=1e-10)


@pytest.mark.parametrize("divergence", SMOOTH + FINITE, ids=str)
def test_large_lam_is_mmd(divergence: Divergence) -> None:
    """lam times the value tends to MMD^2 / 2 from below."""
    x, y, kernel = normal(31, 2, 0, 0.6), normal(37, 2, 1), Gaussian(0.8)
    half_mmd2 = pf.fit(MMD(kernel), x, y).value
    assert half_mmd2 is not None
    rests = [
        1 - lam * pf.fit(Moreau(kernel, divergence=divergence, lam=lam), x, y).value / half_mmd2
        for lam in (1e2, 1e3)
    ]
    if isinstance(
        divergence, TotalVariation
    ):  # h is within (-1/2, 1/2): nothing moves, and the value is exact
        assert max(map(abs, rests)) <= 1e-4
    else:
        assert 0 < rests[1] < rests[0] < 0.02
        assert rests[0] / rests[1] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize(
    "divergence",
    [KL(), Jeffreys(), Tsallis(1.5), ChiSquare(), JensenShannon(), ReverseKL(), Tsallis(0.5)],
    ids=str,
)
def test_small_lam_on_shared_atoms_is_the_divergence(divergence: Divergence) -> None:
    """Value = D_f - lam |f'(q / p)|^2 / 2 + o(lam): the slope to 1 %."""
    atoms = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
    rng = np.random.default_rng(0)
    q, p = (torch.from_numpy(rng.dirichlet(3 * np.ones(20))) for _ in range(2))
    exact = float((p * divergence.f(q / p)).sum())
    h = divergence.slope(q / p)
    slope = -float(h @ torch.linalg.solve(kernel_matrix(Laplace(1.0), atoms, atoms), h)) / 2
    lam = 1e-7
    value = pf.fit(
        Moreau(Laplace(1.0), divergence=divergence, lam=lam),
        Cloud(atoms, log_mass=q.log()),
        Cloud(atoms, log_mass=p.log()),
    ).value
    assert value == pytest.approx(exact, rel=1e-4)
    assert (value - exact) / lam == pytest.approx(slope, rel=1e-2)


def test_a_warm_start_needs_less() -> None:
    x, y, estimator = (
        normal(40, 2, 0, 0.8),
        Cloud(normal(50, 2, 1)),
        Moreau(Gaussian(0.5), divergence=Jeffreys(), lam=1e-3),
    )
    before = estimator.fit(Cloud(x), y, Clock(), {})
    moved = Cloud(x + 1e-3 * normal(40, 2, 2))
    cold, warm = (
        estimator.fit(moved, y, Clock(), {}),
        estimator.fit(moved, y, Clock(), before.memory),
    )
    assert warm.report["iterations"] < cold.report["iterations"]
    assert warm.value == pytest.approx(cold.value, rel=1e-12)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: KALE(Gaussian(0.5), lam=0.0), ValueError, r"`lam` must be > 0, got 0"),
        (
            lambda: KALE(Gaussian(0.5), lam=float("nan")),
            ValueError,
            r"`lam` must be finite, got nan",
        ),
        (lambda: KALE(Gaussian(0.5), lam="0.1"), TypeError, r"`lam` must be"),
        (lambda: KALE(Gaussian(0.5), lam=0.1, rtol=0.0), ValueError, r"`rtol` must be > 0, got 0"),
        (
            lambda: KALE(Gaussian(0.5), lam=0.1, max_iterations=0),
            ValueError,
            r"`max_iterations` must be",
        ),
        (lambda: KALE("gaussian", lam=0.1), TypeError, r"`kernel` must be"),
        (
            lambda: Moreau(Gaussian(0.5), divergence="kl", lam=0.1),
            TypeError,
            r"`divergence` must be an entropy such as .*, got str",
        ),
        (
            lambda: Moreau(Gaussian(0.5), divergence=KL(), lam=0.1, pairwise="fourier"),
            TypeError,
            r"`pairwise` must be",
        ),
        (
            lambda: Moreau(Gaussian(0.5), divergence=Tsallis(-1.0), lam=0.1),
            ValueError,
            r"`alpha` must be > 0, got -1",
        ),
        (
            lambda: Moreau(Gaussian(0.5), divergence=KL(), lam=0.1, max_iterations=2.5),
            TypeError,
            r"`max_iterations` must be",
        ),
        (
            lambda: DrMMD(Gaussian(0.5), lam=float("inf")),
            ValueError,
            r"`lam` must be finite, got inf",
        ),
        (
            lambda: DrMMD(Gaussian(0.5), lam=0.1, rtol=float("nan")),
            ValueError,
            r"`rtol` must be finite, got nan",
        ),
        (lambda: Decreasing(-0.1), ValueError, r"`start` must be > 0, got -0.1"),
        (lambda: Decreasing(0.1, least=-1.0), ValueError, r"`least` must be"),
    ],
)
def test_bad_input_is_refused_when_it_is_made(
    make: Callable[[], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make()


def test_what_is_no_divergence_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=(
            r"`divergence` must be an entropy such as pf\.divergences\.Jeffreys\(\), got the"
            r" class KL"
        ),
    ):
        Moreau(Gaussian(0.5), divergence=KL, lam=1.0)
    with pytest.raises(ValueError, match=r"`lam` must be > 0, got -1"):
        DrMMD(Gaussian(0.5), lam=-1)
