"""The tasks of the suite: where flows start, where they should arrive.

Each task is a function that makes it, since some read data sets. Its docstring is its title.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import particleflow as pf

if TYPE_CHECKING:
    from particleflow.samplers import Sampler
    from particleflow.study import Task

# Number of particles. It differs from the number of target points, so that formulas that mix them
# up are seen. Both are multiples of 20, since each 20th point of the task "outliers" is one.
PARTICLES = 120
# Number of target points.
TARGETS = 160
# Number of steps of a run.
STEPS = 200
# The sizes of other suites' clouds, N and M: those of the published runs, with M != N.
LARGER = {"particles": 240, "targets": 300}

Ends = tuple["Sampler", "Sampler", float | None]
"""Start, target, and the kernel's bandwidth; None: `default_bandwidth` of each target sample."""


def rings() -> Ends:
    """Three rings (Glaser, Arbel and Gretton 2021) from N((0, -0.3), 1e-4 I), k = exp(-d^2 / .1)"""
    start = pf.samplers.Gaussian(dim=2, mean=(0.0, -0.3), std=0.01)
    return start, pf.samplers.Rings(), pf.kernels.Gaussian.from_denominator(0.1).bandwidth


def gaussians() -> Ends:
    """Four Gaussians (the same authors) from N(-0.18, 0.04 I), k = exp(-d^2 / .5)"""
    start = pf.samplers.Gaussian(dim=2, mean=-0.18, std=0.2)
    target = pf.samplers.Mixture.four_gaussians()
    return start, target, pf.kernels.Gaussian.from_denominator(0.5).bandwidth


def unequal() -> Ends:
    """Eight Gaussians of weights 1 to 8 on a circle of radius 1.5, from N(0, 0.01 I)"""
    angles = [k * math.pi / 4 for k in range(8)]
    parts = [
        pf.samplers.Gaussian(mean=(1.5 * math.cos(a), 1.5 * math.sin(a)), std=0.1) for a in angles
    ]
    target = pf.samplers.Mixture(parts, weights=[k + 1 for k in range(8)])
    return pf.samplers.Gaussian(dim=2, std=0.1), target, None


def far() -> Ends:
    """N(0, I) from far away: N((5, 0), 0.25 I)"""
    return pf.samplers.Gaussian(mean=(5.0, 0.0), std=0.5), pf.samplers.Gaussian(dim=2), None


def moons() -> Ends:
    """Two moons from N(0, 0.04 I)"""
    return pf.samplers.Gaussian(dim=2, std=0.2), pf.samplers.Moons(noise=0.05), None


def spiral() -> Ends:
    """A spiral of two arms and one and a half turns from N(0, 0.01 I)"""
    target = pf.samplers.Spiral(turns=1.5, noise=0.02)
    return pf.samplers.Gaussian(dim=2, std=0.1), target, None


def heart() -> Ends:
    """Between two pictures: a heart to a spiral of one arm"""
    from .distributions import Heart

    return Heart(), pf.samplers.Spiral(arms=1, turns=2, noise=0.03), None


def digits() -> Ends:
    """Handwritten digits in their first 2 principal components, from N(0, 0.01 I)"""
    return pf.samplers.Gaussian(dim=2, std=0.1), pf.samplers.Digits(pca=2), None


def digits10() -> Ends:
    """Handwritten digits in their first 10 principal components, from N(0, 0.01 I)"""
    return pf.samplers.Gaussian(dim=10, std=0.1), pf.samplers.Digits(pca=10), None


def outliers() -> Ends:
    """N(0, I) with 5 % of its points at distance 30, from N(0, 0.25 I)"""
    from .distributions import Outliers

    return pf.samplers.Gaussian(dim=2, std=0.5), Outliers(distance=30.0), None


def tails() -> Ends:
    """Heavy tails: Student's t of 2 degrees of freedom in the plane, from N(0, 0.25 I)"""
    from .distributions import StudentT

    return pf.samplers.Gaussian(dim=2, std=0.5), StudentT(dim=2, freedom=2.0), None


def mixture10() -> Ends:
    """Five Gaussians in 10 dimensions, N(3 e_k, 0.25 I), from N(0, 0.25 I)"""
    means = [[3.0 * (row == k) for row in range(10)] for k in range(5)]
    target = pf.samplers.Mixture([pf.samplers.Gaussian(mean=mean, std=0.5) for mean in means])
    return pf.samplers.Gaussian(dim=10, std=0.5), target, None


def modes() -> Ends:
    """Two modes on the line, N(-3, 0.09) and N(3, 0.09), from the left one"""
    left, right = (pf.samplers.Gaussian(dim=1, mean=mean, std=0.3) for mean in (-3.0, 3.0))
    return left, pf.samplers.Mixture([left, right]), None


TASKS: dict[str, Callable[[], Ends]] = {
    make.__name__: make
    for make in (
        rings,
        gaussians,
        unequal,
        far,
        moons,
        spiral,
        heart,
        digits,
        digits10,
        outliers,
        tails,
        mixture10,
        modes,
    )
}


def title(name: str) -> str:
    """The title of a task."""
    return TASKS[name].__doc__ or name


def task(
    name: str, *, particles: int = PARTICLES, targets: int = TARGETS, steps: int = STEPS
) -> Task:
    """Make a task by its name."""
    from particleflow.study import Task

    start, target, bandwidth = TASKS[name]()
    return Task(
        name,
        start,
        target,
        title=title(name),
        particles=particles,
        targets=targets,
        bandwidth=bandwidth,
        steps=steps,
    )
