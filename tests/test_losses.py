"""Losses: derivatives, the link against an independent maximisation, the largest values between
Gaussians, finite numbers at the ends.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from problems import NEAR, PLANE, chi2, grid, hellinger2, kl, normal, overlap, skewed_js
from scipy.optimize import minimize_scalar

from particleflow.losses import (
    BCE,
    KLIEP,
    LSGAN,
    NWJ,
    ULSIF,
    DonskerVaradhan,
    Exponential,
    Loss,
    Pearson,
    ReverseKL,
    SquaredHellinger,
)

ALL: dict[str, Any] = {
    "bce": BCE(),
    "lsgan": LSGAN(),
    "lsgan(-1,1)": LSGAN(-1, 1),
    "lsgan(1,0)": LSGAN(1, 0),
    "kliep": KLIEP(),
    "nwj": NWJ(),
    "dv": DonskerVaradhan(),
    "dv(0.7)": DonskerVaradhan(0.7),
    "ulsif": ULSIF(),
    "pearson": Pearson(),
    "exponential": Exponential(),
    "hellinger": SquaredHellinger(),
    "reverse_kl": ReverseKL(),
}
each = pytest.mark.parametrize("name", ALL)
LOG_R = torch.linspace(-6, 6, 25, dtype=torch.float64)


def derivative(value: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    (grad,) = torch.autograd.grad(value.sum(), leaf)
    return grad


@each
def test_slopes_are_derivatives(name: str) -> None:
    """phi', psi' and (log r)' by autograd, and by central differences."""
    loss = ALL[name]
    d = loss.inverse(LOG_R)
    for function, slope in (
        (loss.phi, loss.phi_slope),
        (loss.psi, loss.psi_slope),
        (loss.log_ratio, loss.log_ratio_slope),
    ):
        leaf = d.clone().requires_grad_(True)
        want = derivative(function(leaf), leaf)
        torch.testing.assert_close(slope(d), want, rtol=1e-13, atol=1e-300)
        room = torch.minimum(d - loss.domain[0], loss.domain[1] - d).clamp(max=1)
        h = 1e-5 * room
        torch.testing.assert_close(
            (function(d + h) - function(d - h)) / (2 * h), want, rtol=1e-6, atol=1e-7
        )


@each
def test_the_link_is_minus_psi_slope_over_phi_slope(name: str) -> None:
    loss = ALL[name]
    assert isinstance(loss, Loss)
    d = loss.inverse(LOG_R)
    assert (d > loss.domain[0]).all()
    assert (d < loss.domain[1]).all()
    torch.testing.assert_close(
        loss.ratio(d), -loss.psi_slope(d) / loss.phi_slope(d), rtol=1e-13, atol=0
    )
    torch.testing.assert_close(loss.log_ratio(d), LOG_R, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.ratio(d), LOG_R.exp(), rtol=1e-12, atol=0)


@each
@pytest.mark.parametrize(("p", "q"), [(0.3, 0.3), (0.9, 0.02), (0.004, 0.6), (2.0, 1.0)])
def test_the_link_is_where_the_objective_is_largest(name: str, p: float, q: float) -> None:
    """max over d of p phi(d) + q psi(d) by Brent's method, which knows no derivative: at the
    inverse link of p / q, of value q f(p / q).
    """
    loss = ALL[name]

    def objective(u: float) -> float:
        d = loss.constrain(torch.tensor([u], dtype=torch.float64))
        return -float(p * loss.phi(d) + q * loss.psi(d))

    found = minimize_scalar(objective, bracket=(-1, 1), method="brent", tol=1e-10)
    r = torch.tensor([p / q], dtype=torch.float64)
    best = loss.inverse(r.log())
    assert float(loss.constrain(torch.tensor([found.x], dtype=torch.float64))) == pytest.approx(
        best.item(), rel=1e-6, abs=1e-7
    )
    assert -found.fun == pytest.approx(q * loss.f(r).item(), rel=1e-12, abs=1e-13)


OPTIMA: dict[str, Any] = {
    "bce": lambda p, q: 2 * skewed_js(p, q) - 2 * math.log(2),
    "lsgan": lambda p, q: -overlap(p, q) / 2,
    "lsgan(-1,1)": lambda p, q: -2 * overlap(p, q),
    "lsgan(1,0)": lambda p, q: -overlap(p, q) / 2,
    "kliep": lambda p, q: kl(p, q) - 1,
    "nwj": kl,
    "dv": kl,
    "dv(0.7)": kl,
    "ulsif": lambda p, q: (chi2(p, q) + 1) / 2,
    "pearson": chi2,
    "exponential": lambda p, q: 2 * hellinger2(p, q) - 2,
    "hellinger": lambda p, q: 2 * hellinger2(p, q),
    "reverse_kl": lambda p, q: kl(q, p),
}
STATED: dict[type, Any] = {
    BCE: skewed_js,
    LSGAN: overlap,
    KLIEP: kl,
    NWJ: kl,
    DonskerVaradhan: kl,
    ULSIF: chi2,
    Pearson: chi2,
    Exponential: hellinger2,
    SquaredHellinger: hellinger2,
    ReverseKL: lambda p, q: kl(q, p),
}


@each
@pytest.mark.parametrize("pair", [NEAR, PLANE], ids=["line", "plane"])
def test_the_largest_value_between_gaussians(name: str, pair: Any) -> None:
    """J at the optimal d on a grid of nodes with the two densities as weights, against the table's
    closed forms.
    """
    loss = ALL[name]
    p, q = pair
    want = OPTIMA[name](p, q)
    assert loss.optimum(STATED[type(loss)](p, q)) == pytest.approx(want, rel=1e-12)
    tilted = np.linalg.inv(
        2 * np.linalg.inv(p.cov) - np.linalg.inv(q.cov)
    )  # the covariance of p^2 / q
    z, cell = grid(normal(p.mean, 3 * tilted), q)
    a, b = p.log_density(z), q.log_density(z)
    kept = abs(a - b) < 350  # beyond, r^2 overflows against a mass that underflows
    a, b = a[kept], b[kept]
    d = loss.inverse(torch.from_numpy(a - b))
    got = loss.objective(
        d,
        d,
        target_weights=torch.from_numpy(cell * np.exp(a)),
        current_weights=torch.from_numpy(cell * np.exp(b)),
    )
    assert got.item() == pytest.approx(want, rel=1e-7)


def test_the_closed_forms_of_the_plane() -> None:
    """p = N(0, [[1, .8], [.8, .89]]), q = N((1, 1), I)."""
    p, q = PLANE
    assert NWJ().optimum(kl(p, q)) == pytest.approx(1.63814718, abs=1e-8)
    assert KLIEP().optimum(kl(p, q)) == pytest.approx(0.63814718, abs=1e-8)
    assert ReverseKL().optimum(kl(q, p)) == pytest.approx(2.66685282, abs=1e-8)
    assert SquaredHellinger().optimum(hellinger2(p, q)) == pytest.approx(0.66985956, abs=1e-8)
    assert Exponential().optimum(hellinger2(p, q)) == pytest.approx(0.66985956 - 2, abs=1e-8)
    assert BCE().optimum(skewed_js(p, q)) == pytest.approx(
        2 * 0.27781972 - 2 * math.log(2), abs=2e-8
    )
    assert BCE().optimum(0.0) == pytest.approx(-math.log(4), abs=1e-15)


@each
def test_discrete_laws(name: str) -> None:
    """Seven atoms: no other d does better than the link, and the value is int q f(p / q)."""
    rng = np.random.default_rng(3)
    p, q = (torch.from_numpy(rng.dirichlet(np.ones(7))) for _ in range(2))
    loss = ALL[name]
    d = loss.inverse(torch.log(p / q))
    best = loss.objective(d, d, target_weights=p, current_weights=q)
    torch.testing.assert_close(best, (q * loss.f(p / q)).sum(), rtol=1e-13, atol=1e-14)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(20):
            other = loss.inverse(torch.log(p / q) + size * torch.from_numpy(rng.standard_normal(7)))
            assert loss.objective(other, other, target_weights=p, current_weights=q) < best + 1e-15


@each
def test_the_objective_of_samples(name: str) -> None:
    """Means over M targets and N particles; equal weights are the default."""
    loss = ALL[name]
    target, current = (
        loss.constrain(torch.linspace(-1, 2, 5, dtype=torch.float64)),
        loss.constrain(torch.linspace(-2, 1, 3, dtype=torch.float64)),
    )
    plain = loss.objective(target, current)
    even = {
        "target_weights": torch.full((5,), 0.2, dtype=torch.float64),
        "current_weights": torch.full((3,), 1 / 3, dtype=torch.float64),
    }
    assert plain.item() == pytest.approx(loss.objective(target, current, **even).item(), rel=1e-14)
    if not isinstance(loss, DonskerVaradhan):
        assert plain.item() == pytest.approx(
            (loss.phi(target).sum() / 5 + loss.psi(current).sum() / 3).item(), rel=1e-14
        )
        assert loss.normalised(current) == loss


def test_donsker_varadhan_is_a_pair_once_it_is_normalised() -> None:
    """J = max over c of E_p phi + E_q psi, at c = log E_q e^d, with J's gradient; a constant added
    to d changes neither J nor r.
    """
    rng = np.random.default_rng(0)
    target, current = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=8))
    masses = torch.from_numpy(rng.dirichlet(np.ones(8)))
    value = DonskerVaradhan(9.0).objective(target, current, current_weights=masses).item()
    assert value == pytest.approx(
        (target.mean() - torch.log((masses * current.exp()).sum())).item(), rel=1e-13
    )
    normalised = DonskerVaradhan().normalised(current, weights=masses)
    assert normalised.normaliser == pytest.approx(
        math.log(float((masses * current.exp()).sum())), rel=1e-13
    )
    assert (masses * normalised.ratio(current)).sum().item() == pytest.approx(1, abs=1e-14)

    def as_pair(c: float) -> float:
        loss = DonskerVaradhan(c)
        return (loss.phi(target).mean() + (masses * loss.psi(current)).sum()).item()

    assert as_pair(normalised.normaliser) == pytest.approx(value, rel=1e-13)
    assert as_pair(normalised.normaliser + 0.1) < value > as_pair(normalised.normaliser - 0.1)

    leaf = current.clone().requires_grad_(True)
    gradient = derivative(DonskerVaradhan().objective(target, leaf, current_weights=masses), leaf)
    torch.testing.assert_close(gradient, masses * normalised.psi_slope(current), rtol=1e-13, atol=0)

    moved = DonskerVaradhan().normalised(current + 50, weights=masses)
    assert DonskerVaradhan().objective(
        target + 50, current + 50, current_weights=masses
    ).item() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(
        moved.log_ratio(current + 50), normalised.log_ratio(current), rtol=0, atol=1e-13
    )
    far = DonskerVaradhan().objective(target + 5000, current + 5000, current_weights=masses)
    assert far.item() == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (1, 0), (-3, 7)])
def test_lsgan_for_any_labels(labels: tuple[float, float]) -> None:
    """The optimum is d = (a + b r) / (1 + r), which lies half way where r = 1."""
    a, b = labels
    loss = LSGAN(a, b)
    r = LOG_R.exp()
    torch.testing.assert_close(loss.inverse(LOG_R), (a + b * r) / (1 + r), rtol=1e-13, atol=1e-14)
    assert loss.inverse(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(
        (a + b) / 2, abs=1e-15
    )
    assert loss.optimum(0.5) == -((b - a) ** 2) / 4
    assert (loss.log_ratio(torch.tensor([min(labels) - 0.1, max(labels) + 0.1])).isnan()).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@each
def test_any_output_lies_inside_the_domain(name: str, dtype: torch.dtype) -> None:
    """constrain: increasing in log r, inside for outputs of any size, with a finite log ratio and
    no NaN anywhere.
    """
    loss = ALL[name]
    u = torch.tensor([-1e6, -1000, -80, -20, -3, 0, 3, 20, 80, 1000, 1e6], dtype=dtype)
    for d in (loss.constrain(u), loss.inverse(u)):
        assert d.dtype == dtype
        assert (d > loss.domain[0]).all()
        assert (d < loss.domain[1]).all()
        log_ratio = loss.log_ratio(d)
        assert log_ratio.isfinite().all()
        assert (log_ratio.diff() >= 0).all()
        assert (log_ratio[3:7].diff() > 0).all()
        for function in (
            loss.phi,
            loss.phi_slope,
            loss.psi,
            loss.psi_slope,
            loss.ratio,
            loss.log_ratio_slope,
        ):
            assert not function(d).isnan().any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_ratio_beyond_all_numbers_trains_no_further(dtype: torch.dtype) -> None:
    """KLIEP of d = e^u, in u: slope 1 of log d as long as d is a number, then 0, never NaN."""
    u = torch.tensor([-1000.0, -80.0, 80.0, 1000.0], dtype=dtype, requires_grad=True)
    slope = derivative(KLIEP().phi(KLIEP().inverse(u)), u)
    torch.testing.assert_close(
        slope, torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=dtype), rtol=1e-5, atol=0
    )


@each
def test_the_gradient_of_the_witness(name: str) -> None:
    """grad log r = log_ratio_slope(d) grad d, through constrain, by differences in the output u."""
    loss = ALL[name]
    u = torch.linspace(-8, 8, 33, dtype=torch.float64).requires_grad_(True)
    d = loss.constrain(u)
    got = loss.log_ratio_slope(d.detach()) * derivative(d, u)
    h = 1e-5
    with torch.no_grad():
        want = (loss.log_ratio(loss.constrain(u + h)) - loss.log_ratio(loss.constrain(u - h))) / (
            2 * h
        )
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)
    assert (got > 0).all()


def test_outside_of_the_domain() -> None:
    """No NaN in phi and psi; minus infinity where nothing is attained; a ratio that is not positive
    has no logarithm.
    """
    at = torch.tensor([-3.0, 1.0], dtype=torch.float64)
    assert KLIEP().phi(at).tolist() == [-math.inf, 0.0]
    assert SquaredHellinger().psi(at).tolist() == [0.75, -math.inf]
    assert ULSIF().ratio(at).tolist() == [-3.0, 1.0]
    for loss in (KLIEP(), ULSIF(), Pearson()):
        assert loss.log_ratio(at).isnan().tolist() == [True, False]
    assert SquaredHellinger().log_ratio(torch.tensor([2.0])).isnan().all()


def test_bad_labels_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"`fake` and `real` must differ, got 1 twice: equal labels tell nothing apart; take"
            r" LSGAN\(0, 1\)"
        ),
    ):
        LSGAN(1, 1)
    with pytest.raises(ValueError, match="`real` must be finite, got nan"):
        LSGAN(0, math.nan)
    with pytest.raises(ValueError, match="`normaliser` must be finite, got inf"):
        DonskerVaradhan(math.inf)


def on_samples(loss: Any, target: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    """J of d (S, M), (S, N) on S pairs of samples, (S,): `objective`, row by row."""
    if isinstance(loss, DonskerVaradhan):
        return target.mean(1) - torch.logsumexp(current, 1) + math.log(current.shape[1])
    return loss.phi(target).mean(1) + loss.psi(current).mean(1)


def learned(
    loss: Any, y: torch.Tensor, x: torch.Tensor, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """By Newton's method the u = (u0, u1) (S, 2) for which d = inverse(u0 + u1 z) makes J of S
    pairs of samples, z at y (S, M) and at x (S, N), largest, and J there.

    Where J is not concave the Hessian's eigenvalues lose their signs. Donsker-Varadhan's J does not
    know u0, which stays.
    """
    u = start.clone()
    for _ in range(20):
        leaf = u.requires_grad_(True)
        value = on_samples(loss, *(loss.inverse(leaf[:, :1] + leaf[:, 1:] * z) for z in (y, x)))
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        hessian = torch.stack(
            [torch.autograd.grad(slope[:, k].sum(), leaf, retain_graph=True)[0] for k in (0, 1)], 1
        )
        slope = slope.detach()
        if float(slope.abs().max()) < 1e-12:
            break
        eigenvalues, basis = torch.linalg.eigh(hessian)
        size = eigenvalues.abs()[:, :, None]
        step = basis @ torch.where(size > 1e-9, basis.mT @ slope[:, :, None] / size, 0.0)
        u = leaf.detach() + step[:, :, 0].clamp(-0.2, 0.2)
    assert float(slope.abs().max()) < 1e-10
    assert float(torch.linalg.eigvalsh(hessian).max()) < 1e-9
    return u.detach(), value.detach()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "name", [name for name in ALL if name not in ("lsgan(1,0)", "lsgan(-1,1)", "dv(0.7)")]
)
def test_the_error_of_the_learned_ratio_falls_like_the_root_of_the_number_of_points(
    name: str,
) -> None:
    """p = N(0, 1), q = N(.2, 1.21), d = inverse(u0 + u1 log r): 16 times the points, a quarter of
    the error. The quotient of two root mean squares over 100 pairs of samples has a deviation of 8
    %: 25 % are three. J tends to the table's optimum, from above: it is a maximum on its own
    sample.
    """
    loss = ALL[name]
    p, q = normal(0.0, 1.0), normal(0.2, 1.21)

    def log_r(z: torch.Tensor) -> torch.Tensor:
        return -0.5 * z**2 + (z - 0.2) ** 2 / 2.42 + math.log(1.1)

    rng = np.random.default_rng(5)
    truth = log_r(torch.linspace(-1.5, 2, 9, dtype=torch.float64))
    errors = []
    for n in (150, 2400):
        y, x = (
            log_r(torch.from_numpy(rng.standard_normal((100, n + more)) * std + mean))
            for more, std, mean in ((50, 1.0, 0.0), (0, 1.1, 0.2))
        )
        start, _ = learned(BCE(), y, x, torch.zeros(100, 2, dtype=torch.float64))
        u, value = learned(loss, y, x, start)
        d, at_z = (loss.inverse(u[:, :1] + u[:, 1:] * z) for z in (x, truth))
        assert float(value[0]) == pytest.approx(
            loss.objective(loss.inverse(u[0, 0] + u[0, 1] * y[0]), d[0]).item(), rel=1e-9
        )
        found = torch.stack(
            [loss.normalised(current).log_ratio(row) for current, row in zip(d, at_z, strict=True)]
        )
        errors.append(float((found - truth).square().mean().sqrt()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] < 0.07
    noise = 4 * float(value.std()) / math.sqrt(100)
    assert OPTIMA[name](p, q) - noise < float(value.mean()) < OPTIMA[name](p, q) + noise + 2 / 2400
