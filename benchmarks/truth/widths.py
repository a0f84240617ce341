"""Statements about the bandwidth that falls in a run, beside the best fixed one of a grid."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

from torch import Tensor

import particleflow as pf
from particleflow.kernels import Gaussian, default_bandwidth

from .statement import Statement

# Steps of a run, and steps between two suggestions of dt.
STEPS, EVERY = 400, 20
# Fixed bandwidths in units of the target's default.
FIXED = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# Particles, and points of the target.
SIZES = (150, 200)
# The means of the four Gaussians.
CORNERS = list(itertools.product((-2.0, 2.0), repeat=2))
# Start and target of each task.
TASKS = {
    "far": (pf.samplers.Gaussian(mean=(5.0, 0.0), std=0.5), pf.samplers.Gaussian(dim=2)),
    "rings": (pf.samplers.Gaussian(mean=(0.0, -0.3), std=0.1), pf.samplers.Rings()),
    "gaussians": (
        pf.samplers.Gaussian(dim=2, std=0.1),
        pf.samplers.Mixture([pf.samplers.Gaussian(mean=mean, std=0.3) for mean in CORNERS]),
    ),
    "digits": (pf.samplers.Gaussian(dim=2, std=0.1), pf.samplers.Digits(pca=2)),
}


def over_the_best(task: str, seed: int) -> float:
    """W2 of `Continuation` over the least W2 of the fixed bandwidths, both after `STEPS` steps."""
    start, law = TASKS[task]
    draws = pf.Draws(seed)
    x = start.sample(SIZES[0], seed=draws.child_seed("start", 0))
    y = law.sample(SIZES[1], seed=draws.child_seed("target", 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = min(_fixed(x, y, factor * default_bandwidth(y)) for factor in FIXED)
        return _falling(x, y) / best


def _fixed(x: Tensor, y: Tensor, bandwidth: float) -> float:
    last = pf.SaveAt(steps=[0, STEPS])
    path = pf.simulate(pf.mmd_flow(Gaussian(bandwidth)), x, y, steps=STEPS, save=last)
    return float(pf.metrics.W2()(path.particles[-1], y))


def _falling(x: Tensor, y: Tensor) -> float:
    flow = pf.mmd_flow(Gaussian(1.0), bandwidth=pf.Continuation(STEPS))
    state = next(pf.iterate(flow, x, y, dt=1.0))
    for _ in range(STEPS // EVERY):
        dt = flow.suggest_dt(state.x, y, clock=state.clock, memory=state.memory)
        *_, state = itertools.islice(pf.iterate(flow, state, y, dt=dt), EVERY + 1)
    return float(pf.metrics.W2()(state.x.points, y))


STATEMENTS = tuple(
    Statement(
        name=f"continuation-{task}",
        words="MMD flow whose bandwidth falls by Continuation ends within a tenth of the best of"
        f" six fixed bandwidths: {what}.",
        source="adaptive page, what was measured",
        number=f"W2 after {STEPS} steps / that of the best fixed bandwidth",
        low=0.0,
        high=1.1,
        measure=partial(over_the_best, task),
        seconds=1.5,
    )
    for task, what in (
        ("far", "a cloud five deviations away"),
        ("rings", "three rings"),
        ("gaussians", "four Gaussians"),
        ("digits", "digits in two principal components"),
    )
)
