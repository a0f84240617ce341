"""Statements about rules that choose bandwidth and noise: the target's signal, and descent."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import torch

import particleflow as pf

from .laws import normals
from .statement import Statement

ARBEL = "Arbel, Korba, Salim and Gretton 2019, Proposition 8"
# The time step in units of 1 / L; the theorem asks for less than a third.
STEP = 0.25
# Draws of the noise at one state whose mean stands for the expectation.
DRAWS = 40
# Runs whose mean stands for the expectation, and their steps.
RUNS, STEPS = 8, 40


def two_points(noise: int, seed: int) -> float:
    """The chosen length over the distance of one particle and one target point.

    `noise` is 0 for the bandwidth, else the dimension in which noise is chosen.
    """
    rho, dim = float(np.random.default_rng(seed).uniform(0.5, 3.0)), noise or 2
    x, y = torch.zeros(2, 1, dim, dtype=torch.float64)
    y[0, 0] = rho
    if not noise:
        rule = pf.TargetSignal()
        return rule.at(pf.Cloud(x), pf.Cloud(y), pf.Clock(), {})[0] / rho
    narrow = 0.01 * rho
    flow = pf.mmd_flow(pf.kernels.Gaussian(narrow), noise=pf.adaptive.SignalNoise(y))
    beta = flow.beta(pf.Cloud(x), pf.fit(flow.estimator, x, y), pf.Clock())
    return math.hypot(narrow, beta) / rho


@cache
def _state(seed: int) -> tuple[pf.Flow, pf.Cloud, torch.Tensor, float]:
    """A flow with Arbel's noise, two clouds a bandwidth apart, and the noise there."""
    x, y = pf.Cloud(0.6 * normals(40, 2, seed, "x", mean=1.5)), normals(50, 2, seed, "y")
    flow = pf.mmd_flow(pf.kernels.Gaussian(1.0), noise=pf.Arbel())
    return flow, x, y, flow.beta(x, pf.fit(flow.estimator, x, y), pf.Clock())


def _half_mmd2(x: torch.Tensor, y: torch.Tensor) -> float:
    return 0.5 * pf.metrics.MMD2(pf.kernels.Gaussian(1.0))(x, y)


def fall(seed: int) -> float:
    """The mean fall of MMD^2 / 2 in a step, over what the theorem guarantees."""
    flow, x, y, _ = _state(seed)
    fit = pf.fit(flow.estimator, x, y)
    falls, speeds = [], []
    for draw in range(DRAWS):
        velocity, _ = flow.velocity(x, fit, pf.Clock(draws=pf.Draws(draw)))
        falls.append(_half_mmd2(x.points, y) - _half_mmd2(x.points + STEP * velocity, y))
        speeds.append(float(velocity.square().sum(1).mean()))
    return sum(falls) / (0.5 * STEP * (1 - 3 * STEP) * sum(speeds))


def rises(seed: int) -> float:
    """The steps of a run in which the mean of MMD^2 over several draws of the noise rose."""
    flow, x, y, _ = _state(seed)
    runs = [pf.simulate(flow, x, y, steps=STEPS, dt=STEP, seed=draw) for draw in range(RUNS)]
    values = [[_half_mmd2(points, y) for points in run.particles] for run in runs]
    mean = torch.tensor(values, dtype=torch.float64).mean(0)
    return float((mean.diff() >= 0).sum())


def over_the_bound(level: float, seed: int) -> float:
    """8 kappa^2 d beta^2 F / D_beta at `level` times the chosen noise, on particles all drawn."""
    flow, x, y, beta = _state(seed)
    fit = pf.fit(flow.estimator, x, y)
    beta = level * beta
    speeds = []
    for draw in range(DRAWS):
        z = x.points + beta * pf.Draws(draw).normal("check", 0, x.points)
        speeds.append(float(fit.witness.value_and_grad(z)[1].square().sum(1).mean()))
    assert fit.value is not None
    return 8 * 3 * 2 * beta**2 * fit.value / (sum(speeds) / DRAWS)


def _noise_over_rho(dim: int) -> float:
    return 1 / math.sqrt((4 + dim + math.sqrt((4 + dim) ** 2 - 4 * (2 + dim))) / 2)


STATEMENTS = (
    Statement(
        name="signal-rule",
        words="TargetSignal, which searches over all bandwidths, takes 0.5412 times the distance of"
        " one particle and one target point.",
        source="calculus: 1 / sqrt(2 + sqrt 2)",
        number="bandwidth / rho",
        low=0.541196 - 1e-3,
        high=0.541196 + 1e-3,
        measure=partial(two_points, 0),
        seconds=0.02,
    ),
    *(
        Statement(
            name=f"signal-noise-{dim}d",
            words=f"In {dim} dimension(s) SignalNoise takes the noise that widens the kernel to"
            f" {_noise_over_rho(dim):.4g} distances: the factor (l / L)^d counts.",
            source="calculus; theory page, equation smoothed",
            number="sqrt(l^2 + beta^2) / rho",
            low=_noise_over_rho(dim) - 1e-3,
            high=_noise_over_rho(dim) + 1e-3,
            measure=partial(two_points, dim),
            seconds=0.02,
        )
        for dim in (1, 5)
    ),
    Statement(
        name="arbel-fall",
        words="With Arbel's noise the expected MMD^2 falls in a step by at least what the theorem"
        " says.",
        source=ARBEL,
        number="mean fall / (dt / 2) (1 - 3 L dt) D",
        low=1.0,
        measure=fall,
        seconds=0.4,
    ),
    Statement(
        name="arbel-descent",
        words=f"Over {STEPS} steps with Arbel's noise the mean MMD^2 of {RUNS} runs falls at every"
        " step.",
        source=ARBEL,
        number="steps at which the mean rose",
        low=0.0,
        high=0.0,
        measure=rises,
        seconds=0.9,
    ),
    Statement(
        name="arbel-bound",
        words="Arbel's noise is the largest one that keeps the theorem's condition: with other"
        " draws of u the condition is met within a tenth.",
        source=ARBEL,
        number="8 kappa^2 d beta^2 F / D at the chosen noise",
        low=0.9,
        high=1.1,
        measure=partial(over_the_bound, 1.0),
        seconds=0.1,
    ),
    *(
        Statement(
            name=f"arbel-{name.replace(' ', '-')}",
            words=f"Noise {name} as large breaks the theorem's condition.",
            source=ARBEL,
            number="8 kappa^2 d beta^2 F / D",
            low=1.0,
            measure=partial(over_the_bound, level),
            seconds=0.1,
        )
        for name, level in (("twice", 2.0), ("four times", 4.0))
    ),
)
