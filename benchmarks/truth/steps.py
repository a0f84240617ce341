"""Statements about suggested time steps: within a factor of four of the largest stable one."""

from __future__ import annotations

from functools import partial

from ..dt import KERNELS, drawn, is_stable, ratio
from .statement import Statement

SOURCE = "choosing page, dt; theory page, the step"
# The tasks of ratios: a thin target, a spread one, and d = 1. A seed takes two of them, in turn.
TASKS = ("rings", "gaussian", "line")
# Why the ratio of a smooth kernel is not the same at each draw.
NOTE = (
    "Two thirds of the inverse of the fastest rate is a third of Euler's limit. The search goes in"
    " factors of sqrt 2, and a flow may leave its stiffest state before errors grow: the ratio is"
    " 3, up to such a factor."
)
# The kernels with a kink.
KINKED = ("Laplace", "Energy")
# The random problems of a seed: a hundred in ten seeds.
PROBLEMS = 10
# Steps of a run of a random problem, ten times the inverse of the fastest rate: errors of an
# unstable step have grown by then.
STEPS = 100


def stable_share(seed: int) -> float:
    """The share of random problems at which the suggested step is stable."""
    problems = range(PROBLEMS * seed, PROBLEMS * (seed + 1))
    return sum(is_stable(drawn(number), STEPS) for number in problems) / PROBLEMS


def mean_ratio(flow: str, kernel: str, seed: int) -> float:
    """The largest stable step over the suggested one, the geometric mean of two tasks."""
    left_out = TASKS[seed % len(TASKS)]
    return ratio(flow, kernel, [task for task in TASKS if task != left_out], seed)


STATEMENTS = (
    *(
        Statement(
            name=f"dt-{flow}-{kernel.lower()}",
            words=f"The dt suggested for {what} with the kernel {kernel} is stable, and within a"
            " factor of four of the largest stable one.",
            source=SOURCE,
            number="largest stable dt / suggested dt, geometric mean of two tasks",
            low=1.0,
            high=4.0,
            measure=partial(mean_ratio, flow, kernel),
            seconds=seconds,
            note=note,
        )
        for flow, what, kernel, seconds, note in (
            *(
                ("mmd", "MMD flow", kernel, 0.75, "" if kernel in KINKED else NOTE)
                for kernel in KERNELS
            ),
            ("kde", "MonoFlow on KDE", "Laplace", 1.0, ""),
            ("kale-0.1", "KALE flow at lam = 0.1", "Laplace", 2.6, ""),
        )
    ),
    Statement(
        name="dt-random",
        words="The suggested dt is stable on random problems: kernels and flows of all kinds, units"
        " from 0.001 to 1000, d = 1 to 5.",
        source=SOURCE,
        number="share of 10 random problems",
        low=1.0,
        high=1.0,
        measure=stable_share,
        seconds=1.9,
    ),
)
