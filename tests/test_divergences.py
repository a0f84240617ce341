"""Entropies: each function against high precision, the definition of the conjugate, and divergences
with known values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from problems import (
    DATA,
    PAIRS,
    Normal,
    chi2,
    grid,
    hellinger2,
    kl,
    normal,
    power_integral,
    skewed_js,
)
from torch import Tensor

import particleflow as pf
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

SMOOTH: dict[str, Any] = {
    "kl": KL(),
    "reverse": ReverseKL(),
    "jeffreys": Jeffreys(),
    "chi2": ChiSquare(),
    "js": JensenShannon(),
    **{
        f"tsallis{alpha}": Tsallis(alpha)
        for alpha in (1e-3, 0.1, 0.5, 0.9, 1 - 1e-9, 1.0, 1 + 1e-9, 1.5, 2.0, 3.0, 20.0)
    },
}
ALL: dict[str, Any] = {**SMOOTH, "tv": TotalVariation()}
smooth = pytest.mark.parametrize("name", SMOOTH)
each = pytest.mark.parametrize("name", ALL)

RATIOS = [
    1e-30,
    1e-9,
    1e-3,
    0.1,
    0.3,
    0.49,
    0.51,
    0.75,
    0.9,
    1 - 1e-4,
    1 - 1e-9,
    1 + 1e-9,
    1 + 1e-4,
    1.1,
    1.3,
    1.49,
    1.51,
    2.0,
    3.0,
    20.0,
    1e4,
    1e12,
]
# Of the recession constant where that is finite, else as they are.
SLOPES = [
    -1e30,
    -1e6,
    -700.0,
    -40.0,
    -5.0,
    -2.5,
    -1.5,
    -0.6,
    -0.4,
    -0.1,
    -1e-4,
    -1e-9,
    1e-9,
    1e-4,
    0.1,
    0.4,
    0.6,
    0.99,
]
LARGE_SLOPES = [1.5, 3.0, 40.0, 600.0]


@pytest.fixture(autouse=True)
def _digits() -> Any:
    with mp.workdps(60):
        yield


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def entropy(divergence: Any, g: Any) -> Any:
    """f as the literature writes it, c (g - 1) added, in 60 digits."""
    g = mpf(g)
    match divergence:
        case KL():
            return g * mp.log(g) - g + 1
        case ReverseKL():
            return g - 1 - mp.log(g)
        case Jeffreys():
            return (g - 1) * mp.log(g)
        case Tsallis(alpha=1.0):
            return g * mp.log(g) - g + 1
        case Tsallis(alpha=alpha):
            return (g ** mpf(alpha) - mpf(alpha) * g + mpf(alpha) - 1) / (mpf(alpha) - 1)
        case ChiSquare():
            return (g - 1) ** 2
        case JensenShannon():
            m = (g + 1) / 2
            return (g * mp.log(g / m) - mp.log(m)) / 2
    return abs(g - 1) / 2


def slopes(divergence: Any) -> list[float]:
    limit = divergence.recession
    return (
        [s for s in SLOPES if s <= -1]
        + [s * min(1.0, limit) for s in SLOPES if s > -1]
        + (LARGE_SLOPES if limit == math.inf else [])
    )


def maximiser(divergence: Any, s: float) -> Any:
    """sup over g >= 0 of s g - f(g): the root of s - f' in log g, bracketed, in 60 digits."""
    if (
        isinstance(divergence, Tsallis)
        and divergence.alpha > 1
        and s <= -divergence.alpha / (mpf(divergence.alpha) - 1)
    ):
        return mpf(0)
    if isinstance(divergence, ChiSquare) and s <= -2:
        return mpf(0)
    low, high = mpf(-1e5), mpf(1e5)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(divergence, mp.exp(middle)) < s else (low, middle)
    for _ in range(3):  # Newton doubles the digits
        g = mp.exp(low)
        low -= (derivative(divergence, g) - s) * one_over_curvature(divergence, g) / g
    return mp.exp(low)


def derivative(divergence: Any, g: Any) -> Any:
    """f' as the literature has it."""
    g = mpf(g)
    match divergence:
        case KL() | Tsallis(alpha=1.0):
            return mp.log(g)
        case ReverseKL():
            return 1 - 1 / g
        case Jeffreys():
            return mp.log(g) + 1 - 1 / g
        case Tsallis(alpha=alpha):
            return mpf(alpha) * (g ** (mpf(alpha) - 1) - 1) / (mpf(alpha) - 1)
        case ChiSquare():
            return 2 * (g - 1)
    return mp.log(2 * g / (1 + g)) / 2


def relative(ours: Tensor, exact: list[Any]) -> list[float]:
    """Errors relative to each value; equal infinities and zeros count as none. Values outside of
    what float64 holds are left out.
    """
    errors = []
    for a, b in zip(ours.tolist(), exact, strict=True):
        if abs(b) > 1e300 or 0 < abs(b) < 1e-300:
            continue
        errors.append(float(abs(mpf(a) - b) / abs(b)) if b else abs(a))
    return errors


@smooth
def test_the_entropy_and_its_derivatives(name: str) -> None:
    """f against the formula in 60 digits, f' and f'' against differences of it: 1e-14 relative,
    close to g = 1 too.
    """
    divergence = ALL[name]
    g = column(RATIOS)
    assert max(relative(divergence.f(g), [entropy(divergence, a) for a in RATIOS])) < 1e-14
    assert max(relative(divergence.slope(g), [derivative(divergence, a) for a in RATIOS])) < 1e-14
    with mp.workdps(300):
        step = mpf(10) ** -25
        first = [
            (entropy(divergence, a * (1 + step)) - entropy(divergence, a * (1 - step)))
            / (2 * step * mpf(a))
            for a in RATIOS
        ]
        second = [
            (derivative(divergence, a * (1 + step)) - derivative(divergence, a * (1 - step)))
            / (2 * step * mpf(a))
            for a in RATIOS
        ]
    assert max(relative(divergence.slope(g), first)) < 1e-13
    assert max(relative(divergence.curvature(g), second)) < 1e-13


@smooth
def test_the_conjugate_and_its_derivatives(name: str) -> None:
    """f*(s) = sup s g - f(g), its maximiser found in 60 digits; (f*)'' = 1 / f''. Errors in units
    of what rounding s makes of the value.
    """
    divergence = ALL[name]
    points = slopes(divergence)
    s = column(points)
    best = [maximiser(divergence, a) for a in points]
    value = [
        mpf(a) * g - (entropy(divergence, g) if g else 1) for a, g in zip(points, best, strict=True)
    ]
    bend = [one_over_curvature(divergence, g) for g in best]
    for ours, exact, change in (
        (divergence.conjugate(s), value, best),
        (divergence.ratio(s), best, bend),
    ):
        worst = [
            e / (1 + float(min(abs(c * a / v), mpf(1e6)) if v else 0))
            for e, c, a, v in kept(ours, exact, change, points)
        ]
        assert max(worst) < 1e-14, (name, worst)
    finite = [i for i, b in enumerate(bend) if 1e-290 < b < 1e290 or b == 0]
    errors = relative(divergence.ratio_slope(s)[finite], [bend[i] for i in finite])
    condition = [
        1 + float(abs(mpf(points[i])) * (bend[i] / best[i] if best[i] else 0)) for i in finite
    ]
    assert max(e / c for e, c in zip(errors, condition, strict=True)) < 1e-13


def kept(
    ours: Tensor, exact: list[Any], change: list[Any], points: list[float]
) -> list[tuple[float, Any, float, Any]]:
    rows = []
    for a, b, c, s in zip(ours.tolist(), exact, change, points, strict=True):
        if 1e-300 < abs(b) < 1e300 or b == 0:
            rows.append((float(abs(mpf(a) - b) / abs(b)) if b else abs(a), c, s, b))
    return rows


def one_over_curvature(divergence: Any, g: Any) -> Any:
    if not g:
        return mpf(0)
    match divergence:
        case KL() | Tsallis(alpha=1.0):
            return g
        case ReverseKL():
            return g * g
        case Jeffreys():
            return g * g / (1 + g)
        case Tsallis(alpha=alpha):
            return g ** (2 - mpf(alpha)) / mpf(alpha)
        case ChiSquare():
            return mpf(1) / 2
    return 2 * g * (1 + g)


@each
def test_the_supremum_on_a_grid(name: str) -> None:
    """No g does better than f*(s), and `ratio` does as well: independent of any formula of
    derivatives.
    """
    divergence = ALL[name]
    g = torch.cat(
        [
            torch.zeros(1, dtype=torch.float64),
            torch.logspace(-6, 4, 4001, dtype=torch.float64),
            column([1.0]),
        ]
    )
    s = column([a for a in slopes(divergence) if -100 < a < 5])
    gains = s[:, None] * g - divergence.f(g)
    best = gains.max(1).values
    conjugate, ratio = divergence.conjugate(s), divergence.ratio(s)
    assert (best <= conjugate + 1e-12 * (1 + conjugate.abs())).all()
    attained = s * ratio - divergence.f(ratio)
    assert ((attained - conjugate).abs() <= 1e-12 * (1 + conjugate.abs() + (s * ratio).abs())).all()


@each
def test_fenchel_and_young_meet(name: str) -> None:
    """f(g) + f*(f'(g)) = g f'(g), and `ratio` inverts `slope`."""
    divergence = ALL[name]
    g = torch.linspace(0.05, 4, 80, dtype=torch.float64)
    s = divergence.slope(g)
    torch.testing.assert_close(
        divergence.f(g) + divergence.conjugate(s), g * s, rtol=1e-12, atol=1e-12
    )
    if name != "tv":
        g = g[
            divergence.curvature(g) * g > 0.1 * s.abs()
        ]  # where f' still tells one g from the next
        s = divergence.slope(g)
        torch.testing.assert_close(divergence.ratio(s), g, rtol=1e-12, atol=0)
        torch.testing.assert_close(
            divergence.ratio_slope(s) * divergence.curvature(g),
            torch.ones_like(g),
            rtol=1e-12,
            atol=0,
        )


@each
def test_normalised_at_one(name: str) -> None:
    divergence = ALL[name]
    assert isinstance(divergence, Divergence)
    one, zero = column([1.0]), column([0.0])
    assert (
        divergence.f(one).item()
        == divergence.slope(one).item()
        == divergence.conjugate(zero).item()
        == 0
    )
    assert divergence.ratio(zero).item() == 1


@each
def test_the_recession_constant(name: str) -> None:
    """lim f(g) / g, beyond which the conjugate is infinite."""
    divergence = ALL[name]
    limit = divergence.recession
    if limit == math.inf:
        g = column([1e10, 1e12])
        growth = divergence.f(g) / g
        assert growth[1] > growth[0] * 1.1
        assert torch.isfinite(divergence.conjugate(column([10.0]))).all()
        return
    g = column([1e60, 1e80])
    growth = divergence.f(g) / g
    share = abs(growth[1].item() / limit - 1)
    assert share < 1e-7 or share == pytest.approx(
        1e80 ** (divergence.alpha - 1), rel=1e-6
    )  # Tsallis tends to it like g^(alpha - 1)
    above = column([limit * 1.001, limit + 1, math.inf])
    assert divergence.conjugate(above).eq(math.inf).all()
    assert divergence.ratio(above).eq(math.inf).all()
    assert torch.isfinite(divergence.conjugate(column([min(limit * (1 - 1e-9), 600.0)]))).all()


@each
def test_at_no_mass_and_at_the_end(name: str) -> None:
    """g = 0 and s -> -inf: f*(-inf) = -f(0), no NaN anywhere."""
    divergence = ALL[name]
    at_zero = (
        math.inf
        if name in ("reverse", "jeffreys")
        else {"tv": 0.5, "js": math.log(2) / 2}.get(name, 1.0)
    )
    zero, end = column([0.0]), column([-math.inf])
    assert divergence.f(zero).item() == pytest.approx(at_zero, rel=1e-15)
    assert divergence.conjugate(end).item() == pytest.approx(-at_zero, rel=1e-15)
    assert divergence.ratio(end).item() == divergence.ratio_slope(end).item() == 0
    assert not any(v.isnan().any() for v in (divergence.slope(zero), divergence.curvature(zero)))
    wide = torch.cat(
        [column([-math.inf, math.inf]), torch.linspace(-1000, 1000, 2001, dtype=torch.float64)]
    )
    assert not any(
        v.isnan().any()
        for v in (divergence.conjugate(wide), divergence.ratio(wide), divergence.ratio_slope(wide))
    )


@each
def test_single_precision(name: str) -> None:
    """float32 in, float32 out, and the same numbers to float32's digits."""
    divergence = ALL[name]
    g = torch.cat([torch.linspace(0.05, 4, 50), torch.tensor([1.001, 0.999, 30.0])])
    s = torch.linspace(-6, 0.9, 50) * min(1.0, divergence.recession)
    for function, argument in [
        (divergence.f, g),
        (divergence.slope, g),
        (divergence.curvature, g),
    ] + [
        (function, s)
        for function in (divergence.conjugate, divergence.ratio, divergence.ratio_slope)
    ]:
        single, double = function(argument), function(argument.double())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=2e-5, atol=1e-12)


def test_chi_square_of_any_sign() -> None:
    """Without g >= 0 the conjugate is s + s^2 / 4 everywhere; with it, Tsallis of 2."""
    s = torch.linspace(-9, 9, 37, dtype=torch.float64)
    free = ChiSquare(nonnegative=False)
    torch.testing.assert_close(free.conjugate(s), s + s**2 / 4, rtol=1e-15, atol=0)
    torch.testing.assert_close(free.ratio(s), 1 + s / 2, rtol=1e-15, atol=0)
    assert free.ratio_slope(s).eq(0.5).all()
    for name in ("conjugate", "ratio", "ratio_slope"):
        torch.testing.assert_close(
            getattr(ChiSquare(), name)(s), getattr(Tsallis(2), name)(s), rtol=1e-14, atol=1e-15
        )


def test_tsallis_near_one_is_kl() -> None:
    """f_alpha - f_1 = (alpha - 1) g log^2 g / 2 + ..., to first order and without rounding."""
    g = torch.linspace(0.1, 5, 40, dtype=torch.float64)
    for alpha in (1 + 1e-6, 1 - 1e-6):
        change = (Tsallis(alpha).f(g) - KL().f(g)) / (alpha - 1)
        torch.testing.assert_close(change, g * g.log() ** 2 / 2, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("alpha", "words"),
    [
        (0.0, "> 0, got 0.*ReverseKL"),
        (-1.0, "not convex below 0"),
        (math.nan, "finite"),
        (math.inf, "finite"),
    ],
)
def test_bad_alphas_are_refused(alpha: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"`alpha` must be.*{words}"):
        Tsallis(alpha)


# ---------------------------------------------------------------- divergences with known values


def between(divergence: Any, current: Normal, target: Normal) -> float:
    """E_p f(q / p) by quadrature."""
    z, cell = grid(target, current)
    log_p, log_q = target.log_density(z), current.log_density(z)
    counts = np.maximum(log_p, log_q) > -60
    log_p, log_q = log_p[counts], log_q[counts]
    return float(
        cell * (np.exp(log_p) * divergence.f(torch.from_numpy(np.exp(log_q - log_p))).numpy()).sum()
    )


@pytest.mark.parametrize("pair", ["near", "plane"])
def test_divergences_between_gaussians(pair: str) -> None:
    """The closed forms of tests/problems.py: here the ratio is current / target."""
    p, q = PAIRS[pair]
    assert between(KL(), q, p) == pytest.approx(kl(q, p), rel=1e-9)
    assert between(ReverseKL(), q, p) == pytest.approx(kl(p, q), rel=1e-9)
    assert between(Jeffreys(), q, p) == pytest.approx(kl(p, q) + kl(q, p), rel=1e-9)
    assert between(JensenShannon(), q, p) == pytest.approx(skewed_js(p, q), rel=1e-9)
    assert between(Tsallis(0.5), q, p) == pytest.approx(2 * hellinger2(p, q), rel=1e-9)
    for alpha in (0.3, 0.8):
        expected = (power_integral(q, p, alpha) - 1) / (alpha - 1)
        assert between(Tsallis(alpha), q, p) == pytest.approx(expected, rel=1e-9)


def test_chi_square_between_gaussians() -> None:
    """chi^2(N(m, 1) || N(0, 1)) = e^{m^2} - 1; Tsallis: (e^{alpha (alpha - 1) m^2 / 2} - 1) /
    (alpha - 1).
    """
    p, q = normal(0.0, 1.0), normal(0.7, 1.0)
    assert between(ChiSquare(), q, p) == pytest.approx(math.expm1(0.49), rel=1e-9)
    assert between(ChiSquare(), q, p) == pytest.approx(chi2(q, p), rel=1e-9)
    assert between(Tsallis(3), q, p) == pytest.approx(math.expm1(3 * 0.49) / 2, rel=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.7), (0.5, 0.5), (0.0, 1.0)])
def test_total_variation_of_two_coins(a: float, b: float) -> None:
    """|a - b|, also where an atom has no mass: there the recession constant takes its place."""
    q, p = column([a, 1 - a]), column([b, 1 - b])
    assert on_atoms(TotalVariation(), q, p) == pytest.approx(abs(a - b), abs=1e-15)


def on_atoms(divergence: Any, q: Tensor, p: Tensor) -> float:
    """sum p f(q / p) + recession (mass of q where p has none)."""
    shared = p > 0
    alone = float(q[~shared].sum())
    return float((p[shared] * divergence.f(q[shared] / p[shared])).sum()) + (
        divergence.recession * alone if alone else 0.0
    )


def test_bounded_divergences_saturate() -> None:
    """Disjoint laws: f(0) + recession, log 2 for Jensen-Shannon, 1 for total variation; never more
    for other laws.
    """
    q, p = column([0.3, 0.7, 0.0, 0.0]), column([0.0, 0.0, 0.6, 0.4])
    assert on_atoms(JensenShannon(), q, p) == pytest.approx(math.log(2), rel=1e-15)
    assert on_atoms(TotalVariation(), q, p) == pytest.approx(1, rel=1e-15)
    rng = np.random.default_rng(0)
    for _ in range(50):
        q, p = (torch.from_numpy(rng.dirichlet(np.full(7, 0.1))) for _ in range(2))
        assert 0 <= on_atoms(JensenShannon(), q, p) <= math.log(2)
        assert 0 <= on_atoms(TotalVariation(), q, p) <= 1
        assert on_atoms(TotalVariation(), q, p) == pytest.approx(
            float((q - p).abs().sum()) / 2, rel=1e-12
        )
        assert on_atoms(JensenShannon(), q, p) == pytest.approx(
            on_atoms(JensenShannon(), p, q), rel=1e-10
        )


@pytest.mark.parametrize(
    ("name", "divergence"), [("kl", KL()), ("tsa2", Tsallis(2)), ("tsa2", ChiSquare())]
)
def test_published_objectives(name: str, divergence: Any) -> None:
    """The exact solutions of tests/data: (1/M) sum f(g_j) + |mu_x - (1/M) sum g_j k(y_j, .)|^2 / (2
    lam) is their objective.
    """
    with np.load(DATA / f"fdiv_exact_{name}_t0.npz") as file:
        x, y, q = (torch.from_numpy(file[key]) for key in ("X", "Y", "q"))
        lam, s, objective, v = float(file["lam"]), float(file["s"]), float(file["obj"]), file["v"]
    kernel = pf.kernels.IMQ(math.sqrt(s))
    weights = torch.cat([torch.full((len(x),), 1 / len(x), dtype=torch.float64), -q / len(y)])
    points = torch.cat([x, y])
    field = pf.pairwise.Dense().sources(kernel, points).field(weights)
    lam = lam * math.sqrt(s)  # their kernel is ours without the numerator
    gap2 = float(weights @ field.value(points))
    assert float(divergence.f(q).mean()) + gap2 / (2 * lam) == pytest.approx(objective, rel=1e-7)
    # stationarity: q is the ratio of its own witness, and minus the witness's gradient the velocity
    torch.testing.assert_close(
        divergence.ratio(field.value(y) / lam), q, rtol=0, atol=1e-5 * float(q.max())
    )
    np.testing.assert_allclose(-field.grad(x).numpy() / lam, v, rtol=0, atol=1e-6 * np.abs(v).max())
