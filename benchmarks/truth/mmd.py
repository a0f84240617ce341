"""Statements about MMD and its witness: closed forms, smoothing by noise, the target's signal."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize_scalar

import particleflow as pf

from .laws import LINE, PLANE, gap, hermite, moments, normals
from .statement import Statement

ARBEL = "Arbel, Korba, Salim and Gretton 2019"


def mmd2_of_gaussians(pair: str, seed: int) -> float:
    """MMD^2 of two Gaussians at bandwidth 1, each a weighted cloud of quadrature nodes."""
    p, q = {"line": LINE, "plane": PLANE}[pair]
    nodes = {"line": (70, 80), "plane": (45, 38)}[pair]
    metric = pf.metrics.MMD2(pf.kernels.Gaussian(1.0), pairwise=pf.pairwise.Compiled())
    return metric(hermite(q, nodes[1]), hermite(p, nodes[0]))


def embedding_gradient(seed: int) -> float:
    """Error of the witness's gradient between quadrature clouds, beside the closed form."""
    z = normals(20, 2, seed, "queries")
    expected = []
    for law in PLANE:
        mean, cov = (torch.tensor(part) for part in moments(law))
        total = cov + torch.eye(2, dtype=torch.float64)
        solved = torch.linalg.solve(total, (z - mean).T).T
        value = torch.exp(-0.5 * (solved * (z - mean)).sum(1)) / torch.det(total).sqrt()
        expected.append(-value[:, None] * solved)
    estimator = pf.estimators.MMD(pf.kernels.Gaussian(1.0), pairwise=pf.pairwise.Compiled())
    fit = pf.fit(estimator, hermite(PLANE[1], 38), hermite(PLANE[0], 45))
    return gap(fit.witness.value_and_grad(z)[1], expected[0] - expected[1])


def velocity_is_the_gradient(seed: int) -> float:
    """Error of v = -N d(MMD^2/2)/dx_i, by central differences."""
    x, y = normals(12, 2, seed, "x", mean=0.5), normals(17, 2, seed, "y")
    estimator, h = pf.estimators.MMD(pf.kernels.Gaussian(0.8)), 1e-4
    v = pf.fit(estimator, x, y).witness.value_and_grad(x)[1]
    metric, found = pf.metrics.MMD2(estimator.kernel), torch.empty_like(x)
    for i in range(len(x)):
        for k in range(2):
            step = torch.zeros_like(x)
            step[i, k] = h
            found[i, k] = -len(x) * (metric(x + step, y) - metric(x - step, y)) / (4 * h)
    return gap(found, v)


def smoothing(dim: int, seed: int) -> float:
    """Error of E_u w(z + beta u), value and gradient, beside the kernel of the larger width."""
    nodes = {1: 100, 2: 100, 5: 16}[dim]
    x, y = normals(6, dim, seed, "x", mean=0.5), normals(8, dim, seed, "y")
    z, kernel, beta = normals(1, dim, seed, "z"), pf.kernels.Gaussian(1.0), 0.5
    factor, wide = kernel.smoothed(beta, dim)
    sharp, smooth = (
        pf.fit(pf.estimators.MMD(k, pairwise=pf.pairwise.Compiled()), x, y).witness
        for k in (kernel, wide)
    )
    u = hermite(pf.samplers.Gaussian(dim=dim), nodes)
    value, slope = sharp.value_and_grad(z + beta * u.points)
    expected, gradient = smooth.value_and_grad(z)
    of_value = abs(float(u.mass @ value) - factor * float(expected))
    return max(of_value, float((u.mass @ slope - factor * gradient[0]).abs().max()))


def _signal(rho: float, width: float) -> float:
    """S = |grad w(y)|^2 of one particle and one target point at the distance rho."""
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), rho, dtype=torch.float64)
    witness = pf.fit(pf.estimators.MMD(pf.kernels.Gaussian(width)), x, y).witness
    return float(witness.value_and_grad(y)[1].square().sum())


def _sensitivity(rho: float, width: float) -> float:
    h = 1e-4 * rho
    return abs(_signal(rho + h, width) - _signal(rho - h, width)) / (2 * h)


def target_signal(what: str, seed: int) -> float:
    """The width that makes the target's signal most sensitive, by a search over all widths."""
    rho = float(np.random.default_rng(seed).uniform(0.5, 3.0))
    spans = {"first": (0.3, 0.8), "second": (1.05, 2.0)}
    peaks = {
        name: minimize_scalar(
            lambda ratio: -_sensitivity(rho, ratio * rho),
            bounds=span,
            method="bounded",
            options={"xatol": 1e-8},
        )
        for name, span in spans.items()
    }
    return float(peaks["second"].fun / peaks["first"].fun if what == "height" else peaks[what].x)


def strongest_pull(seed: int) -> float:
    """The width over rho at which |grad w| itself is largest."""
    rho = float(np.random.default_rng(seed).uniform(0.5, 3.0))
    found = minimize_scalar(
        lambda ratio: -_signal(rho, ratio * rho),
        bounds=(0.2, 3.0),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(found.x)


def other_units(seed: int) -> float:
    """Error of kernels made from the literature's units, beside the formulas as written."""
    rng = np.random.default_rng(seed)
    s, unit = torch.from_numpy(rng.exponential(size=50)), float(rng.uniform(0.2, 3.0))
    gaussian = pf.kernels.Gaussian
    pairs = [
        (gaussian.from_denominator(unit), torch.exp(-s / unit)),
        (gaussian.from_variance(unit), torch.exp(-s / (2 * unit))),
        (gaussian.from_gamma(unit), torch.exp(-unit * s)),
        (gaussian(unit), torch.exp(-s / (2 * unit**2))),
    ]
    return max(gap(kernel.profile(s), formula) for kernel, formula in pairs)


def energy_distance_on_the_line(seed: int) -> float:
    """Error of the energy distance beside 2 int (F - G)^2."""
    from scipy.stats import energy_distance

    x, y = normals(30, 1, seed, "x", mean=1.0), normals(41, 1, seed, "y")
    expected = energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    return abs(pf.metrics.EnergyDistance()(x, y) / expected - 1)


def half_mmd2(seed: int) -> float:
    """MMD^2 / 2 of two clouds that are a hundred bandwidths apart, each in one place."""
    x = normals(20, 3, seed, "x") * 1e-9
    return 0.5 * pf.metrics.MMD2(pf.kernels.Gaussian(1.0))(x + 100, x)


def doubled_point(seed: int) -> float:
    """Error of the MMD witness of a cloud with a doubled point, beside a double mass."""
    x, y = normals(9, 2, seed, "x", mean=0.5), normals(14, 2, seed, "y")
    mass = torch.full((9,), 0.1, dtype=torch.float64)
    mass[0] = 0.2
    estimator = pf.estimators.MMD(pf.kernels.Gaussian(0.7))
    double, heavy = (
        pf.fit(estimator, cloud, y).witness.value_and_grad(y)[1]
        for cloud in (torch.cat([x, x[:1]]), pf.Cloud(x, mass=mass))
    )
    return gap(double, heavy)


STATEMENTS = (
    *(
        Statement(
            name=f"mmd-gaussians-{pair}",
            words=f"MMD^2 between {between} at bandwidth 1 is {value:.10g}.",
            source="closed form of Gaussian kernels of Gaussians, Song et al. 2008",
            number="MMD^2 of quadrature clouds",
            low=value - 1e-11,
            high=value + 1e-11,
            measure=partial(mmd2_of_gaussians, pair),
            random=False,
            seconds=0.2,
        )
        for pair, between, value in (
            ("line", "N(-2, 0.5^2) and N(1, 1.5^2)", 0.9473572753481838),
            ("plane", "N((1, 1), I) and N(0, [[1, 0.8], [0.8, 0.89]])", 0.20894480077385524),
        )
    ),
    Statement(
        name="mmd-embedding-gradient",
        words="The gradient of a Gaussian's embedding is -mu(z) S^-1 (z - m), S = P + l^2 I.",
        source="closed form, Song et al. 2008",
        number="largest relative error of grad w",
        low=0.0,
        high=1e-11,
        measure=embedding_gradient,
        seconds=0.05,
    ),
    Statement(
        name="mmd-velocity",
        words="MMD flow is the gradient flow of MMD^2 / 2: v = -N d(MMD^2 / 2)/dx_i, no factor 2.",
        source="theory page, equations gradient-flow and mmd-witness",
        number="largest relative error, finite differences",
        low=0.0,
        high=1e-6,
        measure=velocity_is_the_gradient,
        seconds=0.05,
    ),
    *(
        Statement(
            name=f"noise-smooths-{dim}d",
            words=f"In {dim} dimension(s) noise injection sees, on average, the kernel of width"
            " sqrt(l^2 + beta^2), times (l^2 / (l^2 + beta^2))^(d/2).",
            source=f"{ARBEL}, section 4; theory page, equation smoothed",
            number="largest error of value and gradient, both of order 1",
            low=0.0,
            high=1e-14,
            measure=partial(smoothing, dim),
            seconds=0.4 if dim == 5 else 0.01,
        )
        for dim in (1, 2, 5)
    ),
    *(
        Statement(
            name=f"target-signal-{what}",
            words=words,
            source="sensitivity of S = |grad w(y)|^2 of two Diracs at distance rho",
            number=number,
            low=low,
            high=high,
            measure=partial(target_signal, what),
            seconds=0.1,
        )
        for what, words, number, low, high in (
            (
                "first",
                "The target's signal is most sensitive at the bandwidth 0.5412 rho.",
                "best bandwidth / rho",
                0.541191,
                0.541201,
            ),
            (
                "second",
                "The sensitivity of the target's signal has a second maximum at 1.307 rho.",
                "second best bandwidth / rho",
                1.3065,
                1.3075,
            ),
            (
                "height",
                "The second maximum is 8.5 % as high as the first: search globally.",
                "second maximum / first",
                0.0845,
                0.0855,
            ),
        )
    ),
    Statement(
        name="strongest-pull",
        words="The pull |grad w| of a point at distance rho is largest at bandwidth 0.7071 rho.",
        source="calculus: 1 / sqrt 2",
        number="best bandwidth / rho",
        low=0.707102,
        high=0.707112,
        measure=strongest_pull,
        seconds=0.05,
    ),
    Statement(
        name="kernel-units",
        words="Gaussian kernels in the literature's three other units are those of the formulas.",
        source="theory page, units of the bandwidth",
        number="largest relative error",
        low=0.0,
        high=1e-14,
        measure=other_units,
        seconds=0.01,
    ),
    Statement(
        name="energy-distance-line",
        words="On the line the energy distance (squared) is 2 int (F - G)^2.",
        source="Szekely and Rizzo 2013",
        number="relative error",
        low=0.0,
        high=1e-11,
        measure=energy_distance_on_the_line,
        seconds=0.01,
    ),
    Statement(
        name="mmd-bounded",
        words="MMD^2 / 2 with a Gaussian kernel is at most 1, however far apart the clouds are.",
        source="theory page, what a value of a divergence means",
        number="MMD^2 / 2 at a hundred bandwidths",
        low=1 - 1e-12,
        high=1 + 1e-12,
        measure=half_mmd2,
        seconds=0.01,
    ),
    Statement(
        name="doubled-point",
        words="A point that is there twice acts like one of twice the mass.",
        source="weights page",
        number="largest relative error of grad w",
        low=0.0,
        high=1e-13,
        measure=doubled_point,
        seconds=0.01,
    ),
)
