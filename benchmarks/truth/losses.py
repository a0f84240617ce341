"""Statements about the losses that teach a density ratio: optimum, link, and the learned ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

import particleflow as pf
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

from .. import ratios
from .laws import PLANE, draw, grid
from .mono import divergences
from .statement import Statement

PAGE = "MonoFlow page, the ratio"
CLASSIFIER = "MonoFlow page, which estimator"


@cache
def _overlap() -> float:
    """int pq / (p + q) of the pair in the plane."""
    g = grid(*PLANE)
    return g.integral(torch.exp(g.log_p + g.log_q - torch.logaddexp(g.log_p, g.log_q)))


def _optimum(name: str) -> float:
    """The largest J as the table states it."""
    value = divergences
    return {
        "bce": lambda: value("2 JS") - 2 * math.log(2),
        "lsgan": lambda: -0.5 * (1 - (-1)) ** 2 * _overlap(),
        "kliep": lambda: value("KL(p||q)") - 1,
        "nwj": lambda: value("KL(p||q)"),
        "donsker-varadhan": lambda: value("KL(p||q)"),
        "ulsif": lambda: 0.5 * (value("chi^2(p||q)") + 1),
        "pearson": lambda: value("chi^2(p||q)"),
        "exponential": lambda: value("2 Hellinger^2") - 2,
        "squared-hellinger": lambda: value("2 Hellinger^2"),
        "reverse-kl": lambda: value("KL(q||p)"),
    }[name]()


# The loss, its link r(d) as written, and the optimum in words.
LOSSES: dict[str, tuple[Loss, Callable[[Tensor], Tensor], str]] = {
    "bce": (BCE(), torch.exp, "2 JS - 2 log 2"),
    "lsgan": (LSGAN(-1, 1), lambda d: (d + 1) / (1 - d), "-(b - a)^2 / 2 int pq / (p + q)"),
    "kliep": (KLIEP(), lambda d: d, "KL(p||q) - 1"),
    "nwj": (NWJ(), lambda d: torch.exp(d - 1), "KL(p||q)"),
    "donsker-varadhan": (DonskerVaradhan(), torch.exp, "KL(p||q)"),
    "ulsif": (ULSIF(), lambda d: d, "(chi^2(p||q) + 1) / 2"),
    "pearson": (Pearson(), lambda d: 1 + d / 2, "chi^2(p||q)"),
    "exponential": (Exponential(), lambda d: torch.exp(2 * d), "2 Hellinger^2 - 2"),
    "squared-hellinger": (SquaredHellinger(), lambda d: (1 - d) ** -2.0, "2 Hellinger^2"),
    "reverse-kl": (ReverseKL(), torch.exp, "KL(q||p)"),
}


def optimum(name: str, seed: int) -> float:
    """J of the critic that knows the ratio, two Gaussians by quadrature, over the divergence."""
    loss, g = LOSSES[name][0], grid(*PLANE)
    inside = (g.log_p > -300) & (g.log_q > -300)
    log_p, log_q = g.log_p[inside], g.log_q[inside]
    d = loss.inverse(log_p - log_q)
    p, q = (g.cell * torch.exp(log) for log in (log_p, log_q))
    return float(loss.objective(d, d, target_weights=p, current_weights=q)) / _optimum(name)


def link(name: str, seed: int) -> float:
    """Error of the ratio at a critic's value, beside the table's formula and -psi' / phi'."""
    loss, formula, _ = LOSSES[name]
    log_r = torch.from_numpy(np.random.default_rng(seed).uniform(-4.0, 4.0, 60))
    d, r = loss.inverse(log_r), torch.exp(log_r)
    quotient = -loss.psi_slope(d) / loss.phi_slope(d)
    found = (loss.ratio(d), formula(d), quotient)
    return max(float((each / r - 1).abs().max()) for each in found)


def learned(name: str, seed: int) -> float:
    """Error of log r that maximises J on 20 atoms with random masses, from log r = 0."""
    loss, rng = LOSSES[name][0], np.random.default_rng(seed)
    p, q = (torch.from_numpy(rng.dirichlet(np.full(20, 3.0))) for _ in range(2))
    log_r = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [log_r],
        max_iter=2000,
        tolerance_grad=1e-12,
        tolerance_change=0,
        history_size=30,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        d = loss.inverse(log_r)
        minus = -loss.objective(d, d, target_weights=p, current_weights=q)
        minus.backward()
        return minus

    search.step(closure)
    found = log_r.detach()
    if isinstance(loss, DonskerVaradhan):
        found = found - torch.logsumexp(found + q.log(), 0)  # its r is e^d / E_q e^d
    return float((found - (p / q).log()).abs().max())


def rate(seed: int) -> float:
    """a of error = c n^-a for the closed form with fitted moments, mean of 32 draws a size."""
    sizes = (100, 1000, 10_000)
    errors = [
        sum(
            ratios.error("plane", "known p and fitted q", n, 32 * seed + k)["all"]
            for k in range(32)
        )
        for n in sizes
    ]
    return ratios.rate(sizes, errors)


def any_pair(seed: int) -> float:
    """The largest W2 at the end over W2 at the start, of two ratios with two mobilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    x, y = draw(PLANE[1], 200, seed, "start"), draw(PLANE[0], 300, seed, "target")
    quadratic = make_pipeline(PolynomialFeatures(2), LogisticRegression())
    estimators = (
        pf.estimators.KDE(pf.kernels.Gaussian(0.4)),
        pf.estimators.SklearnClassifier(quadratic),
    )
    found, w2 = [], pf.metrics.W2()
    for estimator in estimators:
        for mobility in (pf.mobilities.Unit(), pf.mobilities.Vanilla(shift=5.0)):
            flow = pf.mono_flow(estimator, mobility)
            path = pf.simulate(flow, x, y, steps=60, dt=0.05, save=pf.SaveAt(steps=[0]))
            found.append(w2(path.particles[-1], y) / w2(x, y))
    return max(found)


def prior(seed: int) -> float:
    """Root mean square change of log r when the target has four times as many points."""
    from sklearn.linear_model import LogisticRegression

    p, q = pf.samplers.Gaussian(dim=2), pf.samplers.Gaussian(dim=2, mean=0.5)
    x, z = draw(q, 2000, seed, "x"), draw(p, 300, seed, "queries")
    estimator = pf.estimators.SklearnClassifier(LogisticRegression())
    few, many = (
        pf.fit(estimator, x, draw(p, n, seed, f"{n}")).witness.value_and_grad(z)[0]
        for n in (1500, 6000)
    )
    return float((many - few).square().mean().sqrt()) / math.log(4)


STATEMENTS = (
    *(
        Statement(
            name=f"loss-{name}-optimum",
            words=f"The largest J of the loss '{name}' is {stated}.",
            source=PAGE,
            number="J of the critic that knows the ratio / the divergence, Gaussians in the plane",
            low=1 - 1e-8,
            high=1 + 1e-8,
            measure=partial(optimum, name),
            random=False,
            seconds=0.1,
        )
        for name, (_, _, stated) in LOSSES.items()
    ),
    *(
        Statement(
            name=f"loss-{name}-link",
            words=f"The loss '{name}' has the link of the table, r(d) = -psi' / phi'.",
            source=PAGE,
            number="largest relative error of r, 60 random ratios",
            low=0.0,
            high=1e-10,
            measure=partial(link, name),
            seconds=0.01,
        )
        for name in LOSSES
    ),
    *(
        Statement(
            name=f"loss-{name}-learned",
            words=f"A critic that maximises the loss '{name}' learns the density ratio.",
            source=PAGE,
            number="largest error of log r, 20 atoms with random masses",
            low=0.0,
            high=1e-4,
            measure=partial(learned, name),
            seconds=0.1,
        )
        for name in LOSSES
    ),
    Statement(
        name="ratio-rate",
        words="The error of a closed-form ratio with fitted moments falls like n^-1/2.",
        source="benchmarks/README.md, ratios",
        number="rate a of error = c n^-a, n = 100 to 10 000",
        low=0.4,
        high=0.6,
        measure=rate,
        seconds=0.15,
    ),
    Statement(
        name="ratio-any-pair",
        words="Any estimator of the ratio goes with any mobility: all of two times two arrive.",
        source="MonoFlow page, the example",
        number="largest W2 at the end / at the start, t = 3",
        high=0.4,
        measure=any_pair,
        seconds=0.8,
    ),
    Statement(
        name="ratio-prior",
        words="A classifier's ratio does not depend on how many points each cloud has.",
        source=CLASSIFIER + ", the prior",
        number="change of log r for four times the target points / log 4",
        low=0.0,
        high=0.1,
        measure=prior,
        seconds=0.1,
    ),
)
