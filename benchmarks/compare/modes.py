"""Mass between far modes: which flows find a second mode, and how many particles go there.

The target has two Gaussians of equal weights. All particles start at one of them. Half of them
should go to the other one. Flows of KL and of MMD are known to leave wrong masses where modes are
several bandwidths apart (the settings of Cao et al. 2026 and Gretton et al. 2026; the numbers here
are our own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import particleflow as pf
from particleflow.clouds import Cloud, as_cloud
from particleflow.study import Contender, Result, Study, Task
from particleflow.study.tables import aligned

from ..tasks import PARTICLES, TARGETS

# Distances between the modes, in standard deviations of a mode.
DISTANCES = (4, 8, 16)
# Number of steps of a run.
STEPS = 1000
# Standard deviations from a mode within which a particle has reached it.
REACH = 4.0
# The name of the metric.
SHARE = "share in the far mode"


@dataclass(frozen=True)
class Share:
    """The share of mass within 4 standard deviations of the mode at `place` on the first axis.

    The standard deviation is 1. Where modes are nearer than that, mass beyond their middle counts.
    """

    place: float

    def __call__(self, x: Cloud, y: Cloud) -> float:
        cloud = as_cloud(x, "x")
        away = cloud.points.clone()
        away[:, 0] -= self.place
        reached = (away.norm(dim=1) < REACH) & (cloud.points[:, 0] > 0)
        return float(reached.double().mean())


def task(distance: int) -> Task:
    """Two modes, so many standard deviations apart, from the left one."""
    left, right = (
        pf.samplers.Gaussian(mean=(place, 0.0), std=1.0) for place in (-distance / 2, distance / 2)
    )
    return Task(
        f"modes-{distance}",
        left,
        pf.samplers.Mixture([left, right]),
        title=f"Two Gaussians, {distance} standard deviations apart, from one of them",
        particles=PARTICLES,
        targets=TARGETS,
        bandwidth=1.0,
        steps=STEPS,
    )


def studies(contenders: Sequence[Contender], seeds: int) -> dict[str, Study]:
    """A study for each distance, by the name of its task: the metric depends on the distance."""
    made = {}
    for distance in DISTANCES:
        one = task(distance)
        metrics = {SHARE: Share(distance / 2)}
        made[one.name] = Study([one], contenders, seeds=seeds, metrics=metrics, players=False)
    return made


def shares(result: Result) -> dict[str, list[float]]:
    """The final shares in the far mode, by contender: a number for each seed that completed."""
    found: dict[str, list[float]] = {}
    for row in result.rows:
        if row["status"] == "completed":
            found.setdefault(row["contender"], []).append(row["curve"][SHARE][-1])
    return found


def table(results: Sequence[Result]) -> str:
    """A line a contender, a column a distance: the median share over seeds; .5 is right."""
    from particleflow.study.statistics import interval

    columns = [shares(result) for result in results]
    heads = ["flow", *(f"{distance} deviations" for distance in DISTANCES[: len(results)])]
    lines = [
        [name, *(str(interval(column.get(name, []))) for column in columns)]
        for name in results[0].contenders
    ]
    return aligned(heads, lines, markdown=True)
