"""Mobilities: derivatives, the f-divergence of each, velocities between Gaussians."""

from __future__ import annotations

import csv
import math
from typing import Any

import numpy as np
import pytest
import torch
from problems import DATA, NEAR, PAIRS, PLANE, Normal, chi2, grid, hellinger2, kl, normal, oracles, power_integral, skewed_js
from scipy.integrate import quad

from particleflow.clouds import Clock, Cloud
from particleflow.estimators import ClosedForm
from particleflow.flows import Flow
from particleflow.mobilities import Arcsinh, Exponential, Linear, Mobility, NonSaturating, Unit, Vanilla
from particleflow.samplers import Gaussian

ALL: dict[str, Any] = {
    "logit": Unit(),
    "mle_exp": Exponential(),
    "vanilla": Vanilla(),
    "nonsat": NonSaturating(),
    "exp1.5": Exponential(1.5),
    "chi2": Exponential(2.0),
    "hellinger": Exponential(0.5),
    "vanilla_C1": Vanilla(1.0),
    "vanilla_C3": Vanilla(3.0),
    "vanilla_C5": Vanilla(5.0),
    "arcsinh": Arcsinh(),
    "linear": Linear(2.5),
    "vanilla_C-2": Vanilla(-2.0),
}
PUBLISHED = [name for name in ALL if name not in ("linear", "vanilla_C-2")]
each = pytest.mark.parametrize("name", ALL)
published = pytest.mark.parametrize("name", PUBLISHED)


def derivative(value: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (grad,) = torch.autograd.grad(value.sum(), leaf, create_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if grad is None else grad


@each
def test_slope_and_curvature_are_derivatives(name: str) -> None:
    mobility = ALL[name]
    d = torch.tensor([-40.0, -25.0, -8.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 8.0, 25.0, 40.0], dtype=torch.float64, requires_grad=True)
    leaf = d.detach()
    np.testing.assert_allclose(mobility.slope(leaf).numpy(), derivative(mobility.h(d), d).detach().numpy(), rtol=1e-13, atol=0)
    # e^-d against the rounding of a difference from one: sigmoid's own derivative s (1 - s) loses digits where s is near one
    scale = mobility.slope(leaf).abs().numpy()
    error = np.abs((mobility.curvature(leaf) - derivative(mobility.slope(d), d).detach()).numpy())
    assert (error <= 1e-13 * np.abs(mobility.curvature(leaf).numpy()) + 2e-16 * scale).all()


@each
def test_mobilities_are_positive(name: str) -> None:
    assert isinstance(ALL[name], Mobility)
    assert (ALL[name].slope(torch.linspace(-30, 30, 200, dtype=torch.float64)) > 0).all()


@each
def test_the_divergence_of_each(name: str) -> None:
    """h = r f' - f + const, r^2 f'' = h', f(1) = 0, by autograd on f. Rounding is that of f's terms, of the size of r e^shift + 1."""
    mobility = ALL[name]
    r = torch.exp(torch.linspace(-5, 5, 41, dtype=torch.float64)).requires_grad_(True)
    d = r.detach().log()
    f = mobility.f(r)
    f_r = derivative(f, r)
    f_rr = derivative(f_r, r)
    one = torch.ones(1, dtype=torch.float64, requires_grad=True)
    at_one = mobility.f(one)
    assert abs(at_one.item()) < 1e-15
    constant = (mobility.h(torch.zeros(1, dtype=torch.float64)) - derivative(at_one, one)).item()
    h = (r * f_r - f).detach() + constant
    scale = ((r * f_r).abs() + f.abs()).detach() + abs(constant) + (1 + r.detach()) * math.exp(max(0.0, getattr(mobility, "shift", 0.0)))
    assert ((h - mobility.h(d)).abs() <= 1e-14 * scale).all()
    assert ((r**2 * f_rr).detach() - mobility.slope(d)).abs().le(1e-14 * scale + 1e-12 * mobility.slope(d)).all()


def test_the_constants_of_the_identity() -> None:
    """h - (r f' - f) as stored: -1 for logit, -log 2 for vanilla, ..."""
    for name, want in {"logit": 1.0, "mle_exp": 0.0, "vanilla": math.log(2), "chi2": 1.0, "hellinger": 1.0}.items():
        one = torch.ones(1, dtype=torch.float64, requires_grad=True)
        constant = ALL[name].h(torch.zeros(1, dtype=torch.float64)) - derivative(ALL[name].f(one), one)
        assert constant.item() == pytest.approx(want, abs=1e-14)


def law(p: Normal) -> Gaussian:
    return Gaussian(mean=p.mean, cov=p.cov)


def velocity(mobility: Any, p: Normal, q: Normal, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity and log ratio of a MonoFlow with both densities known: what the package runs."""
    x = Cloud(torch.from_numpy(points))
    flow = Flow(ClosedForm(law(p), law(q)), mobility=mobility)
    fit = flow.estimator.fit(x, None, Clock(), {})
    moved, mass_rate = flow.velocity(x, fit, Clock())
    assert mass_rate is None
    return moved.numpy(), fit.witness.value_and_grad(x.points)[0].numpy()


@published
def test_velocities_on_the_line(name: str) -> None:
    """monoflow_velocity_1d.csv: p = N(1, 1.5^2), q = N(-2, .5^2), values up to 1e61."""
    with (DATA / "monoflow_velocity_1d.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = np.array([[float(row["x"])] for row in rows])
    got, log_r = velocity(ALL[name], normal(1, 1.5**2), normal(-2, 0.5**2), points)
    np.testing.assert_allclose(log_r, [float(row["logr"]) for row in rows], rtol=1e-13)
    np.testing.assert_allclose(got[:, 0], [float(row[f"v_{name}"]) for row in rows], rtol=1e-12, atol=0)


@published
def test_velocities_in_the_plane(name: str) -> None:
    with np.load(DATA / "monoflow_velocity_2d.npz") as file:
        stored = {key: file[key] for key in file.files}
    p, q = Normal(stored["mu_p"], stored["Sp"]), Normal(stored["mu_q"], stored["Sq"])
    got, log_r = velocity(ALL[name], p, q, stored["grid"])
    np.testing.assert_allclose(log_r, stored["logr"], rtol=1e-12)
    speed = np.linalg.norm(stored[f"v_{name}"], axis=1, keepdims=True)
    assert (np.abs(got - stored[f"v_{name}"]) <= 1e-12 * speed).all()
    slopes = ALL[name].slope(torch.from_numpy(log_r)).numpy()
    np.testing.assert_allclose(slopes, stored[f"hp_{name}"], rtol=1e-12)


@pytest.mark.parametrize(
    ("mobility", "speed"),
    [
        (Vanilla(), 1.34e-3),
        (Vanilla(1.0), 3.64e-3),
        (Vanilla(3.0), 2.68e-2),
        (Vanilla(5.0), 0.190),
        (NonSaturating(), 3.999),
        (Unit(), 4.0),
        (Arcsinh(), 0.496),
    ],
    ids=str,
)
def test_the_shift_trick_keeps_the_speed_up(mobility: Any, speed: float) -> None:
    """N(4, 1) -> N(0, 1), the speed at the cloud's mean (Yi, Zhu and Liu 2023)."""
    got, _ = velocity(mobility, normal(0, 1), normal(4, 1), np.array([[4.0]]))
    assert abs(got.item()) == pytest.approx(speed, rel=0.01)
    assert got.item() < 0, "towards the target"


def f_divergence(mobility: Any, p: Normal, q: Normal) -> float:
    """int q f(p / q) by quadrature."""
    z, cell = grid(p, q)
    log_p, log_q = p.log_density(z), q.log_density(z)
    kept = log_q > -600  # beyond, q f(p/q) is not representable, and nothing of p is left there either
    f = mobility.f(torch.from_numpy(np.exp(np.clip(log_p - log_q, -600, 600))[kept])).numpy()
    return float(cell * (np.exp(log_q[kept]) * f).sum())


def mixed(pi: float) -> Any:
    return lambda p, q: skewed_js(p, q, pi) / (1 - pi)


DIVERGENCES: dict[str, Any] = {
    "logit": lambda p, q: kl(q, p),
    "mle_exp": lambda p, q: kl(p, q),
    "vanilla": lambda p, q: 2 * skewed_js(p, q),
    "nonsat": lambda p, q: kl(q, p) - 2 * skewed_js(p, q),
    "chi2": chi2,
    "hellinger": lambda p, q: 2 * hellinger2(p, q),
    "exp1.5": lambda p, q: 2 * (power_integral(p, q, 1.5) - 1),
    "linear": lambda p, q: 2.5 * kl(q, p),
    "vanilla_C1": mixed(math.e / (1 + math.e)),
    "vanilla_C3": mixed(math.exp(3) / (1 + math.exp(3))),
    "vanilla_C-2": mixed(math.exp(-2) / (1 + math.exp(-2))),
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_divergence_between_gaussians(name: str) -> None:
    p, q = NEAR
    assert f_divergence(ALL[name], p, q) == pytest.approx(DIVERGENCES[name](p, q), rel=1e-10)


@pytest.mark.parametrize("name", ["logit", "vanilla", "nonsat", "hellinger"])
def test_the_divergence_in_the_plane(name: str) -> None:
    p, q = PLANE
    assert f_divergence(ALL[name], p, q) == pytest.approx(DIVERGENCES[name](p, q), rel=1e-9)


@pytest.mark.parametrize(("pair", "key"), [("far", "1d p=N(1,2.25) q=N(-2,.25)"), ("near", "1d p=N(0,1) q=N(1,1.44)"), ("plane", "2d notebook")])
def test_closed_forms_against_the_stored_digits(pair: str, key: str) -> None:
    """The closed forms that this suite uses (problems.py) are themselves checked."""
    p, q = PAIRS[pair]
    stored = oracles()["divergences"][key]
    closed = {"KL_pq": kl(p, q), "KL_qp": kl(q, p), "chi2_pq": chi2(p, q), "H2": hellinger2(p, q), "I1p5": power_integral(p, q, 1.5)}
    for name, value in closed.items():
        assert value == pytest.approx(stored["closed"][name], rel=1e-11), name
    assert skewed_js(p, q) == pytest.approx(stored["numeric"]["JS"], rel=1e-9)


def test_the_divergence_of_arcsinh_is_its_integral() -> None:
    for log_r in (-4.0, -0.3, 0.7, 4.5):
        integral, _ = quad(lambda u: math.asinh(u) * math.exp(-u), 0, log_r, epsabs=1e-14, epsrel=1e-13)
        got = float(Arcsinh().f(torch.tensor([math.exp(log_r)], dtype=torch.float64)))
        assert got == pytest.approx(math.exp(log_r) * integral, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@each
def test_huge_ratios_give_no_nan(name: str, dtype: torch.dtype) -> None:
    d = torch.tensor([-800.0, 800.0, -1e6, 1e6], dtype=dtype)
    for method in (ALL[name].h, ALL[name].slope, ALL[name].curvature):
        assert not method(d).isnan().any()
    if not isinstance(ALL[name], Exponential):
        assert torch.isfinite(ALL[name].h(d)).all()
        assert torch.isfinite(ALL[name].slope(d)).all()


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`alpha` must be > 0, got 0: a monotone h needs alpha > 0; for alpha -> 0 use Unit\(\)"):
        Exponential(0.0)
    with pytest.raises(ValueError, match="`factor` must be > 0, got -1"):
        Linear(-1.0)
    with pytest.raises(ValueError, match="`shift` must be finite, got inf"):
        Vanilla(math.inf)
    assert Unit() == Unit()
    assert isinstance(Unit(), Linear)
