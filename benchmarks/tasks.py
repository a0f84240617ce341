"""Tasks on which the flows are measured: a start, a target, a bandwidth.

Nothing is drawn, and torch is not imported, before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import particleflow as pf

if TYPE_CHECKING:
    from torch import Tensor

    from particleflow.samplers.base import Sampler

# Number of particles.
PARTICLES = 240
# Number of points of a target sample; it differs from that of particles.
TARGETS = 300


@dataclass(frozen=True)
class Problem:
    """One draw of a task.

    It has the start (N, d), the target sample that the flow sees (M, d), and another target sample
    that the flow never sees (M, d).
    """

    x0: Tensor
    target: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Task:
    """The distributions of start and target, and the kernel's bandwidth, the same for every flow.

    `start`, `law` and `width` are functions without arguments. `width` may look at the data.
    """

    name: str
    title: str
    start: Callable[[], Sampler]
    law: Callable[[], Sampler]
    width: Callable[[], float]

    @cached_property
    def bandwidth(self) -> float:
        return self.width()

    def draw(self, seed: int) -> Problem:
        """Draw the problem as a pure function of the seed.

        The two target samples are independent. A row of a data set is in at most one of them.
        """
        streams = pf.Draws(seed)
        both = self.law().sample(2 * TARGETS, seed=streams.child_seed("target", 0))
        x0 = self.start().sample(PARTICLES, seed=streams.child_seed("start", 0))
        return Problem(x0, both[:TARGETS].clone(), both[TARGETS:].clone())


TASKS = {
    task.name: task
    for task in (
        Task(
            "rings",
            "three rings (Glaser, Arbel and Gretton 2021), start N((0, -0.3), 0.01^2), k = exp(-d^2"
            " / 0.1)",
            start=lambda: pf.samplers.Gaussian(dim=2, mean=(0.0, -0.3), std=0.01),
            law=lambda: pf.samplers.Rings(),
            width=lambda: pf.kernels.Gaussian.from_denominator(0.1).bandwidth,
        ),
        Task(
            "gaussians",
            "four Gaussians (same authors), start N(-0.18, 0.2^2), k = exp(-d^2 / 0.5)",
            start=lambda: pf.samplers.Gaussian(dim=2, mean=-0.18, std=0.2),
            law=lambda: pf.samplers.Mixture.four_gaussians(),
            width=lambda: pf.kernels.Gaussian.from_denominator(0.5).bandwidth,
        ),
        Task(
            "digits",
            "handwritten digits in their first two principal components, start N(0, 0.1^2),"
            " bandwidth: `default_bandwidth` of the data",
            start=lambda: pf.samplers.Gaussian(dim=2, std=0.1),
            law=lambda: pf.samplers.Digits(pca=2),
            width=lambda: pf.kernels.default_bandwidth(pf.samplers.Digits(pca=2).points),
        ),
    )
}
