"""Statements about new points along a finished flow, and the densities that flows carry."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

import particleflow as pf
from particleflow.estimators import KDE, ClosedForm, Moments
from particleflow.integrators import RK4, Adaptive, Euler, Heun
from particleflow.mobilities import Vanilla

from .laws import PLANE, draw, flow_moments, hermite, moments
from .statement import Statement

PAGE = "page on densities along a flow"
TARGET, START = PLANE
# The end of the Gaussian flows, in units of time: their mean has gone half of its way.
END = 1.0
KERNEL = pf.kernels.Gaussian(0.6)
# Standard errors within which ten seeds stay but for one in 1500: 4 of a normal distribution.
SIGMAS = 4.0
# The statistic of Kolmogorov and Smirnov times sqrt n at a probability of one in a thousand.
KOLMOGOROV = 1.95


@cache
def gaussian_flow() -> pf.Trajectory:
    """The flow of KL(. || p) between Gaussians, on a cloud with the moments of the start."""
    flow = pf.mono_flow(ClosedForm(TARGET, current=Moments()))
    return pf.simulate(flow, hermite(START, 4), t1=END, dt=0.02, integrator=RK4())


@cache
def end() -> pf.samplers.Gaussian:
    """The closed form at the end of that flow."""
    mean, cov = flow_moments(TARGET, *moments(START), END)
    return pf.samplers.Gaussian(mean=mean, cov=cov)


def closed_form(seed: int) -> float:
    """The largest error of log q at 50 points of the end."""
    z = draw(end(), 50, seed, "points")
    found = gaussian_flow().log_density(z, start=START)
    return float((found - end().log_density(z)).abs().max())


def round_trip(seed: int) -> float:
    """The largest distance of 50 points from where they were, after the way there and back."""
    z, path = draw(START, 50, seed, "points"), gaussian_flow()
    return float((path.transport(path.transport(z), backward=True) - z).abs().max())


def training_points(name: str, seed: int) -> float:
    """The largest distance of the transported start from the particles of the run."""
    x, y = draw(START, 40, seed, "x"), draw(TARGET, 50, seed, "y")
    flow, integrator = {
        "mmd": (pf.mmd_flow(KERNEL, noise=0.2), Heun()),
        "kale": (pf.kale_flow(KERNEL, lam=0.1), Adaptive()),
        "mono": (pf.mono_flow(KDE(KERNEL), Vanilla()), RK4()),
    }[name]
    path = pf.simulate(flow, x, y, steps=8, integrator=integrator, seed=seed)
    return float((path.transport(x) - path.particles[-1]).abs().max())


def missing_mass(name: str, seed: int) -> float:
    """|int q - 1| of a flow of 60 particles, on a grid of 121 x 121 points."""
    start = pf.samplers.Gaussian(mean=(0.5, 0.5), std=0.5)
    x, y = draw(start, 60, seed, "x"), draw(TARGET, 50, seed, "y")
    flow = pf.mono_flow(KDE(KERNEL), Vanilla()) if name == "mono" else pf.mmd_flow(KERNEL)
    path = pf.simulate(flow, x, y, steps=10, dt=0.05, integrator=Euler())
    axis = torch.linspace(-8.0, 9.0, 121, dtype=torch.float64)
    q = path.log_density(torch.cartesian_prod(axis, axis), start=start).exp()
    return abs(float(q.sum()) * float(axis[1] - axis[0]) ** 2 - 1)


def kl_error(seed: int) -> float:
    """The error of an estimate of KL from 500 points, in its own standard errors."""
    found = gaussian_flow().kl(TARGET, start=START, n=500, seed=seed)
    (mean_q, q), (mean_p, p) = moments(end()), moments(TARGET)
    inverse, shift = np.linalg.inv(p), mean_p - mean_q
    exact = 0.5 * (
        np.trace(inverse @ q)
        + shift @ inverse @ shift
        - 2
        + np.linalg.slogdet(p)[1]
        - np.linalg.slogdet(q)[1]
    )
    return abs(found.value - float(exact)) / found.error


def levels(z: Tensor) -> Tensor:
    """q(z) / max q, whose distribution is uniform where z is a sample of q, a Gaussian in 2-d."""
    top = end().log_density(torch.tensor([end().mean], dtype=torch.float64))
    return (gaussian_flow().log_density(z, start=START) - top).exp()


def calibration(seed: int) -> float:
    """sqrt(n) times the statistic of Kolmogorov and Smirnov of the levels of 400 fresh points."""
    from scipy import stats

    z = gaussian_flow().transport(draw(START, 400, seed, "points"))
    return math.sqrt(len(z)) * float(stats.kstest(levels(z).numpy(), "uniform").statistic)


STATEMENTS = (
    Statement(
        name="density-closed-form",
        words="The log density along the Gaussian flow of reverse KL is that of its closed form.",
        source=PAGE,
        number="largest error of log q at 50 points, RK4 with dt = 0.02 to t = 1",
        high=1e-3,
        measure=closed_form,
        seconds=0.5,
    ),
    Statement(
        name="density-round-trip",
        words="Points that go along that flow and back are where they were.",
        source=PAGE,
        number="largest distance of 50 points, RK4",
        high=1e-6,
        measure=round_trip,
        seconds=0.5,
    ),
    *(
        Statement(
            name=f"density-training-points-{name}",
            words=f"The start of a run, moved along its {title}, comes to its particles.",
            source=PAGE,
            number="largest distance, 8 steps",
            high=1e-10,
            measure=partial(training_points, name),
            seconds=seconds,
        )
        for name, title, seconds in (
            ("mmd", "MMD flow with noise, by Heun's method", 0.1),
            ("kale", "KALE flow, with adaptive steps", 0.3),
            ("mono", "MonoFlow of a KDE ratio, by RK4", 0.1),
        )
    ),
    *(
        Statement(
            name=f"density-integral-{name}",
            words=f"The density along {title} with Euler's steps of 0.05 integrates to one.",
            source=PAGE,
            number="error of the integral over a grid of 121 x 121 points",
            high=1e-2,
            measure=partial(missing_mass, name),
            seconds=0.5,
        )
        for name, title in (("mmd", "MMD flow"), ("mono", "MonoFlow of a KDE ratio"))
    ),
    Statement(
        name="density-kl",
        words="The estimate of KL from 500 fresh points is right within its standard error.",
        source=PAGE,
        number="error of KL, standard errors",
        high=SIGMAS,
        measure=kl_error,
        seconds=0.3,
    ),
    Statement(
        name="density-calibrated",
        words="Fresh points of the start, moved along the flow, are a sample of its density.",
        source=PAGE,
        number="sqrt(n) times the statistic of Kolmogorov and Smirnov of their levels, n = 400",
        high=KOLMOGOROV,
        measure=calibration,
        seconds=0.7,
    ),
)
