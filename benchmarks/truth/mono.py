"""Statements about MonoFlow's table: h, f, the divergence of each mobility, LSGAN's codings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

import particleflow as pf
from particleflow.mobilities import (
    LSGAN,
    Arcsinh,
    Exponential,
    NonSaturating,
    Unit,
    Vanilla,
    custom,
)

from .laws import PLANE, Grid, grid
from .statement import Statement

YI = "Yi, Zhu and Liu 2023"
TABLE = f"{YI}; theory page, the table of mobilities"
# The shift of the row of the shifted vanilla loss, and c = e^C.
SHIFT = 2.0
C = math.exp(SHIFT)


def _middle(r: Tensor) -> Tensor:
    return (1 + r) * torch.log((1 + r) / 2)


# The rows of the table as they are written: the mobility, h'(d), f(r), the name of the divergence.
ROWS: dict[str, tuple[Any, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], str]] = {
    "logit": (Unit(), torch.ones_like, lambda r: -r.log(), "KL(q||p)"),
    "mle": (Exponential(1.0), torch.exp, lambda r: r * r.log(), "KL(p||q)"),
    "vanilla": (Vanilla(), torch.sigmoid, lambda r: r * r.log() - _middle(r), "2 JS"),
    "shifted": (
        Vanilla(shift=SHIFT),
        lambda d: torch.sigmoid(d + SHIFT),
        lambda r: C * r * r.log() - (1 + C * r) * torch.log((1 + C * r) / (1 + C)),
        "(1 + c) skewed JS",
    ),
    "non-saturating": (
        NonSaturating(),
        lambda d: torch.sigmoid(-d),
        lambda r: -r.log() - r * r.log() + _middle(r),
        "KL(q||p) - 2 JS",
    ),
    "chi2": (
        Exponential(2.0),
        lambda d: 2 * torch.exp(2 * d),
        lambda r: (r - 1) ** 2,
        "chi^2(p||q)",
    ),
    "hellinger": (
        Exponential(0.5),
        lambda d: 0.5 * torch.exp(0.5 * d),
        lambda r: (r.sqrt() - 1) ** 2,
        "2 Hellinger^2",
    ),
}


def _random_d(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-4.0, 4.0, 60))


def _error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected) / expected).abs().max())


def slope(name: str, seed: int) -> float:
    """Error of h' as written, and of r^2 f'' of the f as written, at random log ratios."""
    mobility, formula, f, _ = ROWS[name]
    d = _random_d(seed)
    r = torch.exp(d).requires_grad_(True)
    (first,) = torch.autograd.grad(f(r).sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    found = mobility.slope(d)
    return max(_error(found, formula(d)), _error(r.detach() ** 2 * second, found))


def arcsinh(seed: int) -> float:
    """Error of h = r f' - f + const of f = r int_0^{log r} asinh(u) e^{-u} du, by quadrature."""
    d = _random_d(seed)
    h = Arcsinh().h(d)
    expected = []
    for one in d.tolist():
        inner = quad(lambda u: math.asinh(u) * math.exp(-u), 0, one, epsabs=1e-13)[0]
        slope_of_f = inner + math.asinh(one) * math.exp(-one)  # d/dr of r int = int + asinh / r
        expected.append(math.exp(one) * (slope_of_f - inner))
    return float((h - torch.tensor(expected, dtype=d.dtype)).abs().max())


@cache
def _plane() -> Grid:
    return grid(*PLANE)


def divergences(name: str) -> float:
    """The divergences of the plane's pair, from the two densities by the trapezoidal rule."""
    g = _plane()
    p, q = g.log_p.exp(), g.log_q.exp()
    share = C / (1 + C)

    def skewed(share: float) -> float:
        log_m = torch.logaddexp(math.log(share) + g.log_p, math.log(1 - share) + g.log_q)
        return g.integral(share * p * (g.log_p - log_m) + (1 - share) * q * (g.log_q - log_m))

    return {
        "KL(q||p)": lambda: g.integral(q * (g.log_q - g.log_p)),
        "KL(p||q)": lambda: g.integral(p * (g.log_p - g.log_q)),
        "2 JS": lambda: 2 * skewed(0.5),
        "(1 + c) skewed JS": lambda: (1 + C) * skewed(share),
        "KL(q||p) - 2 JS": lambda: g.integral(q * (g.log_q - g.log_p)) - 2 * skewed(0.5),
        "chi^2(p||q)": lambda: g.integral(torch.exp(2 * g.log_p - g.log_q)) - 1,
        "2 Hellinger^2": lambda: 2 - 2 * g.integral(torch.exp(0.5 * (g.log_p + g.log_q))),
    }[name]()


def _integral_of_f(name: str) -> float:
    """int q f(p/q) over the plane's pair, with the mobility's own f."""
    g = _plane()
    inside = (g.log_p > -600) & (g.log_q > -600)
    r = torch.exp((g.log_p - g.log_q)[inside])
    f = ROWS[name][0].f(r)
    return g.integral(torch.exp(g.log_q[inside]) * f)


def divergence(name: str, seed: int) -> float:
    """int q f(p/q) over the divergence that the table names."""
    return _integral_of_f(name) / divergences(ROWS[name][3])


def lsgan_slope(seed: int) -> float:
    """Error of the slope of LSGAN(0, 1, 1), r / (1 + r)^3."""
    d = _random_d(seed)
    r = torch.exp(d)
    return _error(LSGAN(0, 1, 1).slope(d), r / (1 + r) ** 3)


def refused(seed: int) -> float:
    """1 if LSGAN(-1, 1, 0) is refused with the place where h' < 0."""
    try:
        LSGAN(-1, 1, 0)
    except ValueError as reason:
        return float("h' < 0 for d > 0" in str(reason))
    return 0.0


def sign_flip(seed: int) -> float:
    """The ratio r at which the slope of LSGAN(-1, 1, 0) changes its sign."""
    from scipy.optimize import brentq

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mobility = LSGAN(-1, 1, 0, allow_nonmonotone=True)
    at = lambda d: float(mobility.slope(torch.tensor([d], dtype=torch.float64)))
    return math.exp(brentq(at, -3.0, 2.0))


def decreasing_refused(seed: int) -> float:
    """1 if a custom h that decreases somewhere is refused."""
    where = float(np.random.default_rng(seed).uniform(-5.0, 5.0))
    try:
        custom(lambda d: -((d - where) ** 2))
    except ValueError:
        return 1.0
    return 0.0


def pearson_slope(seed: int) -> float:
    """Error of the slope of h = 4 sig(d)^2, 8 r^2 / (1 + r)^3."""
    d = _random_d(seed)
    r = torch.exp(d)
    return _error(custom(lambda d: 4 * torch.sigmoid(d) ** 2).slope(d), 8 * r**2 / (1 + r) ** 3)


def induced(seed: int) -> float:
    """Error of h' of from_divergence(e), h' = g e''(g) with g = 1 / r, for two entropies."""
    d = _random_d(seed)
    g, made = torch.exp(-d), pf.mobilities.from_divergence
    return max(
        _error(made(entropy).slope(d), g * entropy.curvature(g))
        for entropy in (pf.divergences.KL(), pf.divergences.JensenShannon())
    )


# Divergences of the pair in the plane: words, the mobility whose f gives it, its factor, digits.
CLOSED = {
    "kl-forward": ("KL(p||q)", "mle", 1.0, 1.63814718),
    "kl-reverse": ("KL(q||p)", "logit", 1.0, 2.66685282),
    "hellinger": ("Hellinger^2", "hellinger", 0.5, 0.33492978),
    "js": ("JS", "vanilla", 0.5, 0.27781972),
}


def closed_form(name: str, seed: int) -> float:
    """A divergence of the plane's pair, int q f(p/q) with a mobility's f."""
    _, mobility, factor, _ = CLOSED[name]
    return factor * _integral_of_f(mobility)


STATEMENTS = (
    *(
        Statement(
            name=f"mobility-{name}",
            words=f"The mobility '{name}' has the h' of the table, and r^2 f'' = h'.",
            source=TABLE,
            number="largest relative error, 60 random log ratios",
            low=0.0,
            high=1e-10,
            measure=partial(slope, name),
            seconds=0.01,
        )
        for name in ROWS
    ),
    Statement(
        name="mobility-arcsinh",
        words="arcsinh d is r f' - f of f = r int_0^log r asinh(u) e^-u du.",
        source=TABLE,
        number="largest error of h, 60 random log ratios",
        low=0.0,
        high=1e-10,
        measure=arcsinh,
        seconds=0.05,
    ),
    *(
        Statement(
            name=f"divergence-{name}",
            words=f"The f of the mobility '{name}' gives the divergence {row[3]}.",
            source=TABLE,
            number="int q f(p/q) / the divergence, two Gaussians in the plane",
            low=1 - 1e-8,
            high=1 + 1e-8,
            measure=partial(divergence, name),
            random=False,
            seconds=0.05,
        )
        for name, row in ROWS.items()
    ),
    *(
        Statement(
            name=f"closed-{name}",
            words=f"{what} between N((1, 1), I) and N(0, [[1, 0.8], [0.8, 0.89]]) is {value:.9g}.",
            source="closed forms; JS by quadrature",
            number=what,
            low=value - 5e-9,
            high=value + 5e-9,
            measure=partial(closed_form, name),
            random=False,
            seconds=0.05,
        )
        for name, (what, _, _, value) in CLOSED.items()
    ),
    Statement(
        name="lsgan-slow",
        words="LSGAN in the coding (0, 1, 1) is a MonoFlow of slope r / (1 + r)^3.",
        source="MonoFlow page, what does not work",
        number="largest relative error of h'",
        low=0.0,
        high=1e-12,
        measure=lsgan_slope,
        seconds=0.01,
    ),
    Statement(
        name="lsgan-refused",
        words="LSGAN in the coding (-1, 1, 0) is no MonoFlow, and is refused.",
        source="MonoFlow page, what does not work",
        number="1 if refused with the place where h' < 0",
        low=1.0,
        high=1.0,
        measure=refused,
        random=False,
        seconds=0.01,
    ),
    Statement(
        name="lsgan-sign",
        words="Its slope changes its sign at r = 1.",
        source="theory page, MonoFlow",
        number="r at the change of sign",
        low=1 - 1e-10,
        high=1 + 1e-10,
        measure=sign_flip,
        random=False,
        seconds=0.01,
    ),
    Statement(
        name="custom-refused",
        words="A mobility of one's own that does not increase everywhere is refused.",
        source="theory page, MonoFlow",
        number="1 if refused",
        low=1.0,
        high=1.0,
        measure=decreasing_refused,
        seconds=0.01,
    ),
    Statement(
        name="pearson-slope",
        words="The divergence that this LSGAN's critic estimates has the flow h = 4 sig(d)^2,"
        " h' = 8 r^2 / (1 + r)^3.",
        source="MonoFlow page, what does not work",
        number="largest relative error of h'",
        low=0.0,
        high=1e-12,
        measure=pearson_slope,
        seconds=0.01,
    ),
    Statement(
        name="mobility-of-entropy",
        words="from_divergence(e) has h' = g e''(g), g = 1 / r.",
        source="theory page, MonoFlow",
        number="largest relative error of h', two entropies",
        low=0.0,
        high=1e-10,
        measure=induced,
        seconds=0.01,
    ),
)
