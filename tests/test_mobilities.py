"""Mobilities: derivatives, the f-divergence of each, velocities between Gaussians."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from problems import (
    DATA,
    NEAR,
    PAIRS,
    PLANE,
    Normal,
    chi2,
    grid,
    hellinger2,
    kl,
    normal,
    oracles,
    power_integral,
    skewed_js,
)
from scipy.integrate import quad

from particleflow import kernels
from particleflow.clouds import Clock, Cloud
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
from particleflow.estimators import KDE, ClosedForm, Moments
from particleflow.flows import Flow
from particleflow.mobilities import (
    LSGAN,
    Arcsinh,
    Custom,
    Exponential,
    Induced,
    Linear,
    Mobility,
    NonSaturating,
    Unit,
    Vanilla,
    custom,
    from_divergence,
)
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
    "lsgan(0,1,1)": LSGAN(0, 1, 1),
    "lsgan(-1,1,2)": LSGAN(-1, 1, 2),
    "lsgan(1,0,-.5)": LSGAN(1, 0, -0.5),
}
PUBLISHED = [
    name for name in ALL if name not in ("linear", "vanilla_C-2") and not name.startswith("lsgan")
]
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
    d = torch.tensor(
        [-40.0, -25.0, -8.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 8.0, 25.0, 40.0],
        dtype=torch.float64,
        requires_grad=True,
    )
    leaf = d.detach()
    lost = 1e-15 if isinstance(mobility, LSGAN) else 0.0  # the oracle's s (1 - s), see below
    np.testing.assert_allclose(
        mobility.slope(leaf).numpy(),
        derivative(mobility.h(d), d).detach().numpy(),
        rtol=1e-13,
        atol=lost,
    )
    # e^-d against the rounding of a difference from one: sigmoid's own derivative s (1 - s) loses
    # digits where s is near one
    scale = mobility.slope(leaf).abs().numpy()
    error = np.abs((mobility.curvature(leaf) - derivative(mobility.slope(d), d).detach()).numpy())
    assert (error <= 1e-13 * np.abs(mobility.curvature(leaf).numpy()) + 2e-16 * scale).all()


@each
def test_mobilities_are_positive(name: str) -> None:
    assert isinstance(ALL[name], Mobility)
    assert (ALL[name].slope(torch.linspace(-30, 30, 200, dtype=torch.float64)) > 0).all()


@each
def test_the_divergence_of_each(name: str) -> None:
    """h = r f' - f + const, r^2 f'' = h', f(1) = 0, by autograd on f. Rounding is that of f's
    terms, of the size of r e^shift + 1.
    """
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
    scale = (
        ((r * f_r).abs() + f.abs()).detach()
        + abs(constant)
        + (1 + r.detach()) * math.exp(max(0.0, getattr(mobility, "shift", 0.0)))
    )
    assert ((h - mobility.h(d)).abs() <= 1e-14 * scale).all()
    assert (
        ((r**2 * f_rr).detach() - mobility.slope(d))
        .abs()
        .le(1e-14 * scale + 1e-12 * mobility.slope(d))
        .all()
    )


def test_the_constants_of_the_identity() -> None:
    """h - (r f' - f) as stored: -1 for logit, -log 2 for vanilla, ..."""
    for name, want in {
        "logit": 1.0,
        "mle_exp": 0.0,
        "vanilla": math.log(2),
        "chi2": 1.0,
        "hellinger": 1.0,
    }.items():
        one = torch.ones(1, dtype=torch.float64, requires_grad=True)
        constant = ALL[name].h(torch.zeros(1, dtype=torch.float64)) - derivative(
            ALL[name].f(one), one
        )
        assert constant.item() == pytest.approx(want, abs=1e-14)


def law(p: Normal) -> Gaussian:
    return Gaussian(mean=p.mean, cov=p.cov)


def velocity(
    mobility: Any, p: Normal, q: Normal, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
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
    np.testing.assert_allclose(
        got[:, 0], [float(row[f"v_{name}"]) for row in rows], rtol=1e-12, atol=0
    )


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
    kept = (
        log_q > -600
    )  # beyond, q f(p/q) is not representable, and nothing of p is left there either
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


@pytest.mark.parametrize(
    ("pair", "key"),
    [
        ("far", "1d p=N(1,2.25) q=N(-2,.25)"),
        ("near", "1d p=N(0,1) q=N(1,1.44)"),
        ("plane", "2d notebook"),
    ],
)
def test_closed_forms_against_the_stored_digits(pair: str, key: str) -> None:
    """The closed forms that this suite uses (problems.py) are themselves checked."""
    p, q = PAIRS[pair]
    stored = oracles()["divergences"][key]
    closed = {
        "KL_pq": kl(p, q),
        "KL_qp": kl(q, p),
        "chi2_pq": chi2(p, q),
        "H2": hellinger2(p, q),
        "I1p5": power_integral(p, q, 1.5),
    }
    for name, value in closed.items():
        assert value == pytest.approx(stored["closed"][name], rel=1e-11), name
    assert skewed_js(p, q) == pytest.approx(stored["numeric"]["JS"], rel=1e-9)


def test_the_divergence_of_arcsinh_is_its_integral() -> None:
    for log_r in (-4.0, -0.3, 0.7, 4.5):
        integral, _ = quad(
            lambda u: math.asinh(u) * math.exp(-u), 0, log_r, epsabs=1e-14, epsrel=1e-13
        )
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
    with pytest.raises(
        ValueError,
        match=(
            r"`alpha` must be > 0, got 0: a monotone h needs alpha > 0; for alpha -> 0 use Unit\(\)"
        ),
    ):
        Exponential(0.0)
    with pytest.raises(ValueError, match="`factor` must be > 0, got -1"):
        Linear(-1.0)
    with pytest.raises(ValueError, match="`shift` must be finite, got inf"):
        Vanilla(math.inf)
    assert Unit() == Unit()
    assert isinstance(Unit(), Linear)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("made", [partial(custom, torch.atan), partial(Induced, KL())])
def test_a_flag_is_refused_where_h_increases_too(made: Callable[..., Mobility]) -> None:
    with pytest.raises(TypeError, match="`allow_nonmonotone` must be True or False, got 3"):
        made(allow_nonmonotone=3)


D = torch.tensor(
    [-40.0, -12.0, -3.0, -1.0, -1e-6, 0.0, 1e-6, 0.3, 2.0, 7.0, 20.0, 40.0], dtype=torch.float64
)

# An entropy in g = q / p, the mobility that it must induce, and the factor between the two.
INDUCED: dict[str, tuple[Divergence, Mobility, float]] = {
    "KL": (KL(), Unit(), 1.0),
    "ReverseKL": (ReverseKL(), Exponential(1.0), 1.0),
    "Tsallis(1)": (Tsallis(1.0), Unit(), 1.0),
    "Tsallis(1/2)": (Tsallis(0.5), Exponential(0.5), 1.0),
    "Tsallis(1/4)": (Tsallis(0.25), Exponential(0.75), 1 / 3),
    "JensenShannon": (JensenShannon(), Vanilla(), 0.5),
}
RATIOS = torch.exp(torch.linspace(-5, 5, 41, dtype=torch.float64))


def assert_curvature(mobility: Induced, want: torch.Tensor) -> None:
    """Up to the rounding of the slope, of which it is made."""
    assert (
        (mobility.curvature(D) - want).abs() <= 1e-13 * want.abs() + 5e-16 * mobility.slope(D)
    ).all()


@pytest.mark.parametrize("name", INDUCED)
def test_a_divergence_induces_the_mobility_of_its_flow(name: str) -> None:
    """The divergences are written in the inverse ratio g = 1 / r: h' = r^2 f''(r) of f(r) = r e(1 /
    r).
    """
    divergence, known, factor = INDUCED[name]
    mobility = from_divergence(divergence)
    torch.testing.assert_close(mobility.slope(D), factor * known.slope(D), rtol=1e-13, atol=0)
    assert_curvature(mobility, factor * known.curvature(D))
    moved = mobility.h(D) - factor * known.h(D)
    torch.testing.assert_close(
        moved,
        torch.full_like(D, moved[D == 0].item()),
        rtol=0,
        atol=1e-13 * max(1.0, float(known.h(D).max())),
    )
    one = torch.ones(1, dtype=torch.float64, requires_grad=True)
    tilt = derivative(known.f(one), one).detach()
    torch.testing.assert_close(
        mobility.f(RATIOS), factor * (known.f(RATIOS) - tilt * (RATIOS - 1)), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize(
    ("divergence", "slope"),
    [
        (ChiSquare(), lambda d: 2 * torch.exp(-d)),
        (Jeffreys(), lambda d: 1 + torch.exp(d)),
        (Tsallis(3.0), lambda d: 3 * torch.exp(-2 * d)),
    ],
    ids=["chi2(q||p)", "Jeffreys", "Tsallis(3)"],
)
def test_divergences_without_a_mobility_of_their_own(divergence: Divergence, slope: Any) -> None:
    mobility = from_divergence(divergence)
    torch.testing.assert_close(mobility.slope(D), slope(D), rtol=1e-13, atol=0)
    leaf = D.clone().requires_grad_(True)
    torch.testing.assert_close(
        mobility.slope(D), derivative(mobility.h(leaf), leaf).detach(), rtol=1e-12, atol=0
    )
    leaf = D.clone().requires_grad_(True)
    assert_curvature(mobility, derivative(slope(leaf), leaf).detach())


def test_an_induced_mobility_between_gaussians() -> None:
    """int q f(p / q) is the divergence itself: Jeffreys is the sum of both KL."""
    p, q = NEAR
    assert f_divergence(from_divergence(Jeffreys()), p, q) == pytest.approx(
        kl(p, q) + kl(q, p), rel=1e-10
    )
    assert f_divergence(from_divergence(JensenShannon()), p, q) == pytest.approx(
        skewed_js(p, q), rel=1e-10
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    "divergence",
    [KL(), ReverseKL(), Jeffreys(), Tsallis(0.5), Tsallis(3.0), ChiSquare(), JensenShannon()],
    ids=str,
)
def test_induced_mobilities_of_huge_ratios(divergence: Divergence, dtype: torch.dtype) -> None:
    mobility = from_divergence(divergence)
    d = torch.tensor([-1e6, -800.0, -301.0, -299.0, 0.0, 299.0, 301.0, 800.0, 1e6], dtype=dtype)
    for method in (mobility.h, mobility.slope, mobility.curvature):
        assert method(d).dtype == dtype
        assert not method(d).isnan().any()
    h = mobility.h(d)
    assert (h[1:] >= h[:-1]).all()
    if divergence == KL():
        torch.testing.assert_close(h, d, rtol=1e-14 if dtype == torch.float64 else 1e-6, atol=0)


@pytest.mark.parametrize("coding", [(-1, 1, 0), (1, -1, 0), (0, 1, 0.25), (-1, 1, 0.9)])
def test_lsgan_codings_that_turn_back_are_refused(coding: tuple[float, float, float]) -> None:
    """h' changes its sign where D = c: at r = (c - a) / (b - c), r = 1 for (-1, 1, 0)."""
    a, b, c = coding
    turn = math.log((c - a) / (b - c))
    with pytest.raises(
        ValueError,
        match=(
            rf"`aim` must be .. {b}, the label `real`, got {c:g}: h' < 0 for d > {turn:.3g}\. .*"
            r" away from the target"
        ),
    ):
        LSGAN(a, b, c)
    with pytest.warns(UserWarning, match=rf"h' < 0 for d > {turn:.3g}: the flow need not approach"):
        mobility = LSGAN(a, b, c, allow_nonmonotone=True)
    around = mobility.slope(torch.tensor([turn - 0.01, turn + 0.01], dtype=torch.float64))
    assert around[0] > 0 > around[1]


def test_lsgan_codings() -> None:
    """The slope of math: (c - D)(b - a) r / (1 + r)^2; (0, 1, 1) is r / (1 + r)^3. An aim on the
    far side of `fake` turns every particle away.
    """
    r = D[1:-1].exp()
    torch.testing.assert_close(LSGAN(0, 1, 1).slope(D[1:-1]), r / (1 + r) ** 3, rtol=1e-13, atol=0)
    a, b, c = -1.0, 1.0, 2.0
    torch.testing.assert_close(
        LSGAN(a, b, c).slope(D[1:-1]),
        (c - (a + b * r) / (1 + r)) * (b - a) * r / (1 + r) ** 2,
        rtol=1e-12,
        atol=0,
    )
    for coding in ((0, 1, 0), (0, 1, -3), (1, 0, 2)):
        with pytest.raises(ValueError, match="h' < 0 for every d"):
            LSGAN(*coding)
    with pytest.raises(ValueError, match="`fake` and `real` must differ, got 2 twice"):
        LSGAN(2, 2, 3)
    assert LSGAN() == LSGAN(0, 1, 1)


def test_a_divergence_that_is_not_strictly_convex_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"`divergence` TotalVariation\(\) must have h'\(d\) > 0 for every log ratio d, got h' ="
            r" 0 at d ="
        ),
    ):
        from_divergence(TotalVariation())
    with pytest.raises(TypeError, match="`divergence` must be an entropy, got the class KL"):
        from_divergence(KL)
    with pytest.warns(UserWarning, match="the flow need not approach the target"):
        assert isinstance(from_divergence(TotalVariation(), allow_nonmonotone=True), Induced)


def test_a_custom_mobility_by_automatic_differentiation() -> None:
    mobility = custom(lambda d: d + torch.tanh(d) / 2)
    assert isinstance(mobility, Custom)
    assert isinstance(mobility, Mobility)
    torch.testing.assert_close(mobility.h(D), D + torch.tanh(D) / 2, rtol=0, atol=0)
    torch.testing.assert_close(mobility.slope(D), 1 + torch.cosh(D) ** -2 / 2, rtol=1e-14, atol=0)
    torch.testing.assert_close(
        mobility.curvature(D), -torch.tanh(D) * torch.cosh(D) ** -2, rtol=1e-12, atol=1e-15
    )
    line = custom(lambda d: 3 * d)
    assert (line.slope(D) == 3).all()
    assert (line.curvature(D) == 0).all()
    assert line.slope(D.float()).dtype == torch.float32
    with torch.no_grad():  # runs need not record gradients
        assert (line.slope(D) == 3).all()


def test_a_custom_mobility_by_differences() -> None:
    """numpy's functions carry no gradient: central differences."""
    mobility = custom(lambda d: np.arctan(d.numpy()))
    near = D[2:-3]
    torch.testing.assert_close(mobility.slope(near), 1 / (1 + near**2), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        mobility.curvature(near), -2 * near / (1 + near**2) ** 2, rtol=0, atol=1e-7
    )
    assert mobility.h(near.float()).dtype == torch.float32
    torch.testing.assert_close(
        mobility.slope(near.float()), 1 / (1 + near.float() ** 2), rtol=1e-6, atol=0
    )


def test_a_custom_mobility_with_its_derivatives() -> None:
    """Those that are given are used; the curvature follows from the slope."""
    half = custom(torch.asinh, slope=lambda d: torch.rsqrt(1 + d**2))
    whole = custom(
        torch.asinh,
        slope=lambda d: torch.rsqrt(1 + d**2),
        curvature=lambda d: torch.full_like(d, 7.0),
    )
    known = Arcsinh()
    torch.testing.assert_close(half.slope(D), known.slope(D), rtol=1e-15, atol=0)
    torch.testing.assert_close(half.curvature(D), known.curvature(D), rtol=1e-13, atol=1e-20)
    assert (whole.curvature(D) == 7).all()


@pytest.mark.parametrize(
    ("h", "slope", "message"),
    [
        (
            lambda d: -d,
            None,
            r"got h' = -1 at d = -80, .* 16201 of 16201 values of d looked at, between -80 and 80",
        ),
        (lambda d: d**3, None, r"got h' = 0 at d = 0, .* at 1 of 16201 .* between 0 and 0"),
        (lambda d: d.clamp(-5, 5), None, r"got h' = 0 at d = -10, .* between -10 and 10"),
        (
            lambda d: d - 3 * torch.exp(-((d - 2) ** 2)),
            None,
            r"got h' = -1.57 at d = 1.29, .* between 0\.\d+ and 1\.\d+",
        ),
        (torch.sqrt, None, r"got h' = nan at d = -80, .* between -80 and -"),
        (lambda d: np.sin(d.numpy()), None, "got h' = -1 at d ="),
        (lambda d: torch.ones_like(d), None, "got h' = 0 at d = -10"),
        (lambda d: d, torch.sin, "got h' = -1 at d ="),
    ],
    ids=["down", "flat point", "clipped", "dip", "nan", "by differences", "constant", "slope"],
)
def test_a_custom_h_that_does_not_increase_is_refused(h: Any, slope: Any, message: str) -> None:
    with pytest.raises(
        ValueError, match=rf"`h` must have h'\(d\) > 0 for every log ratio d, {message}"
    ):
        custom(h, slope=slope)
    with pytest.warns(UserWarning, match=message):
        custom(h, slope=slope, allow_nonmonotone=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "h",
    [
        torch.tanh,
        torch.sigmoid,
        torch.erf,
        lambda d: np.tanh(d.numpy()),
        lambda d: torch.log(1 + torch.exp(d)),
    ],
)
def test_an_h_that_saturates_passes(h: Any) -> None:
    """Its slope is rounded to 0 far away."""
    custom(h)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_mobility_is_refused() -> None:
    with pytest.raises(TypeError, match="`h` must be a callable of the log ratio d, got int"):
        custom(3)
    with pytest.raises(TypeError, match="`slope` must be a callable of the log ratio d, got float"):
        custom(torch.atan, slope=1.0)
    with pytest.raises(
        ValueError,
        match=(
            r"`h` must map log ratios \(16201,\) to as many values, got \(\): make it elementwise"
        ),
    ):
        custom(lambda d: 2.0)


class Sine:
    """h = sin d: particles beyond a quarter turn move away from the target."""

    def h(self, d: torch.Tensor) -> torch.Tensor:
        return d.sin()

    def slope(self, d: torch.Tensor) -> torch.Tensor:
        return d.cos()

    def curvature(self, d: torch.Tensor) -> torch.Tensor:
        return -d.sin()


def test_a_flow_looks_at_a_mobility_of_ones_own() -> None:
    class Climbing(Sine):
        def slope(self, d: torch.Tensor) -> torch.Tensor:
            return 1.5 + d.cos()

    class Bold(Sine):
        allow_nonmonotone = True

    class Total(Sine):
        def slope(self, d: torch.Tensor) -> torch.Tensor:
            return d.cos().sum()

    estimator = KDE(kernels.Gaussian(0.5))
    with pytest.raises(
        ValueError, match=r"`mobility` Sine must have h'\(d\) > 0 .* have it as an attribute\)"
    ):
        Flow(estimator, Sine())
    with pytest.raises(
        ValueError, match=r"`slope` must map log ratios \(16201,\) to as many values, got \(\)"
    ):
        Flow(estimator, Total())
    Flow(estimator, Climbing())
    Flow(estimator, Bold())


def naive(mobility: Any) -> Custom:
    """The slope -r f'(r), that of h = -f(r): each particle descends f(r) by itself, which is not
    the flow of D_f.
    """
    with pytest.warns(UserWarning, match="the flow need not approach the target"):
        return custom(lambda d: -mobility.f(torch.exp(d)), allow_nonmonotone=True)


def turning(fake: float, real: float, aim: float) -> LSGAN:
    with pytest.warns(UserWarning, match="the flow need not approach the target"):
        return LSGAN(fake, real, aim, allow_nonmonotone=True)


# The mobility, and the least and largest |mean| at the end; seeds 0, 1 and 2 are all inside.
RUNS: dict[str, tuple[Any, float, float]] = {
    "logit": (Unit, 0, 0.001),
    "vanilla, C = 5": (lambda: Vanilla(5.0), 0, 0.001),
    "arcsinh": (Arcsinh, 0, 0.001),
    "non-saturating": (NonSaturating, 0.004, 0.005),
    "vanilla": (Vanilla, 0.005, 0.04),
    "Pearson": (lambda: custom(lambda d: 4 * torch.sigmoid(d) ** 2), 0.004, 0.06),
    "LSGAN (0, 1, 1)": (LSGAN, 0.52, 0.63),
    "LSGAN (-1, 1, 0)": (lambda: turning(-1, 1, 0), 1.12, 1.21),
    "naive KL": (lambda: naive(Exponential(1.0)), 1.37, 1.50),
    "naive chi2": (lambda: naive(Exponential(2.0)), 1.12, 1.25),
    "naive Hellinger": (lambda: naive(Exponential(0.5)), 0.73, 0.82),
    "naive JS": (lambda: naive(Vanilla()), 0.97, 1.12),
}


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", RUNS)
def test_an_increasing_h_arrives_and_naive_descent_does_not(name: str) -> None:
    """Experiment E: 1000 particles from N((1, 1), I), p = N(0, [[1, .8], [.8, .89]]), q the
    Gaussian of the cloud's own moments, log r clipped to 40, 2000 steps of 0.01, speeds capped at
    20.
    """
    mobility, least, most = RUNS[name]
    p, q = PLANE
    flow = Flow(ClosedForm(law(p), Moments(jitter=1e-9), clip=40.0), mobility=mobility())
    x = Cloud(law(q).sample(1000, seed=0))
    for _ in range(2000):
        velocity, _rate = flow.velocity(x, flow.estimator.fit(x, None, Clock(), {}), Clock())
        speed = velocity.norm(dim=1, keepdim=True)
        x = Cloud(x.points + 0.01 * velocity * (20 / speed.clamp(min=20)))
    assert least <= float(x.points.mean(0).norm()) <= most
