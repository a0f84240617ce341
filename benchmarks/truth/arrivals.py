"""Statements about `auto_flow`: with no number given it arrives on the tasks of the comparison."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache, partial

from torch import Tensor

import particleflow as pf
from particleflow.automatic import KINDS

from .. import tasks
from .laws import draw, normals
from .statement import Statement

PAGE = "page on a flow that arrives"
# W2 of a run that has arrived, in floors.
ARRIVED = 1.1
# The same from afar, where one draw decides more.
ARRIVED_FROM_AFAR = 1.2
# Fresh samples that a floor is the mean of.
FRESH = 4
# The least number of tasks, of 13, on which each kind should arrive.
LEAST = {"auto": 12, "mmd": 10, "kale": 10, "mono": 10}
# Why a cloud may be farther from other points at a seed.
UNSEEN = (
    "The particles follow the points that they see. How far these are from other points depends on"
    " the draw: all four kinds of flow are farther at the same seeds."
)
# Seconds of the runs of all kinds on all tasks, which share their floors.
COST = 15.0
# The tasks whose runs are timed: the nearest one, many dimensions, and those of the most steps.
TIMED = ("rings", "digits10", "outliers", "tails")
# The most seconds of the processor to arrive.
SECONDS = 5.0
# Particles and target points of the timed runs.
TIMED_SIZES = 300, 400


@dataclass(frozen=True)
class Run:
    """What a run with no number given has come to.

    `start` and `end` are W2 to the target points that the flow sees, over the floor; `unseen` is W2
    at the end to other points. The floor is the mean of W2 between fresh samples and these points.
    `strays` are those that the summary tells, `counted` those farther than its distance.
    """

    start: float
    end: float
    unseen: float
    strays: int
    counted: int
    seconds: float


@cache
def drawn(
    name: str, seed: int, particles: int, targets: int
) -> tuple[Tensor, Tensor, Tensor, tuple[float, float]]:
    """Start, target and other points of a task, and W2 of fresh samples to the latter two."""
    task, w2 = tasks.task(name), pf.metrics.W2()
    x = draw(task.start, particles, seed, "start")
    points = draw(task.target, 2 * targets + FRESH * particles, seed, "target")
    y, other, *fresh = points.split([targets, targets, *[particles] * FRESH])
    seen, unseen = (sum(w2(each, to) for each in fresh) / FRESH for to in (y, other))
    return x, y, other, (seen, unseen)


def run(name: str, kind: str, seed: int, *, particles: int, targets: int) -> Run:
    """A run of `auto_flow` on a task: its clouds are the only input."""
    x, y, other, (floor, floor_unseen) = drawn(name, seed, particles, targets)
    w2 = pf.metrics.W2()
    began = time.process_time()
    path = pf.simulate(pf.auto_flow(x, y, kind), x, y, save=pf.SaveAt(steps=[0]))
    seconds = time.process_time() - began
    end = path.particles[-1]
    told = path.summary() if kind == "auto" else None
    strays = counted = 0
    if told is not None and told.strays is not None and told.stray_distance is not None:
        strays = told.strays
        counted = round(particles * pf.metrics.LeftBehind(told.stray_distance)(end, y))
    return Run(
        w2(x, y) / floor,
        w2(end, y) / floor,
        w2(end, other) / floor_unseen,
        strays,
        counted,
        seconds,
    )


@cache
def _all(kind: str, seed: int) -> tuple[Run, ...]:
    """The runs on all tasks, of the sizes of the comparison."""
    sizes = {"particles": tasks.PARTICLES, "targets": tasks.TARGETS}
    return tuple(run(name, kind, seed, **sizes) for name in tasks.TASKS)


def arrived(kind: str, seed: int) -> float:
    """Tasks on which the flow ends within 1.1 floors."""
    return sum(each.end <= ARRIVED for each in _all(kind, seed))


def farther(kind: str, seed: int) -> float:
    """Tasks on which the flow ends farther away than it began."""
    return sum(each.end > each.start for each in _all(kind, seed))


def unseen(kind: str, seed: int) -> float:
    """The median over the tasks of W2 to points that the flow never saw, in floors."""
    found = sorted(each.unseen for each in _all(kind, seed))
    return found[len(found) // 2]


def untold(seed: int) -> float:
    """Strays of all tasks that the summaries do not tell, or tell too many."""
    return sum(abs(each.strays - each.counted) for each in _all("auto", seed))


def from_afar(seed: int) -> float:
    """W2 over its floor at the end of a run from N((5, 0), I / 4) to N(0, I)."""
    x = draw(pf.samplers.Gaussian(mean=(5.0, 0.0), std=0.5), 150, seed, "start")
    y, w2 = normals(170, 2, seed, "target"), pf.metrics.W2()
    fresh = normals(150 * FRESH, 2, seed, "fresh").split(150)
    end = pf.simulate(pf.auto_flow(x, y), x, y, save=pf.SaveAt(steps=[0])).particles[-1]
    return FRESH * w2(end, y) / sum(w2(each, y) for each in fresh)


def seconds(kind: str, seed: int) -> float:
    """The most seconds of the processor that a run takes on one core."""
    particles, targets = TIMED_SIZES
    return max(
        run(name, kind, seed, particles=particles, targets=targets).seconds for name in TIMED
    )


STATEMENTS = (
    Statement(
        name="auto-from-afar",
        words="With no number given auto_flow arrives from five standard deviations away, where"
        " plain MMD flow ends farther than it began.",
        source=PAGE,
        number="W2 at the end / floor, 150 points from N((5, 0), I / 4) to N(0, I)",
        low=0.0,
        high=ARRIVED_FROM_AFAR,
        measure=from_afar,
        seconds=0.3,
    ),
    *(
        Statement(
            name=f"auto-tasks-{kind}",
            words=f"With no number given the flow '{kind}' arrives on at least {least} of the 13"
            " tasks of the comparison.",
            source=PAGE,
            number=f"tasks that end at W2 <= {ARRIVED:g} floors, of 13",
            low=least,
            measure=partial(arrived, kind),
            seconds=COST,
            group="auto-tasks",
        )
        for kind, least in LEAST.items()
    ),
    *(
        Statement(
            name=f"auto-farther-{kind}",
            words=f"On none of these tasks the flow '{kind}' ends farther away than it began.",
            source=PAGE,
            number="tasks whose W2 rises, of 13",
            low=0.0,
            high=0.0,
            measure=partial(farther, kind),
            seconds=COST,
            group="auto-tasks",
        )
        for kind in KINDS
    ),
    *(
        Statement(
            name=f"auto-unseen-{kind}",
            words=f"The flow '{kind}' is as near to points that it never saw as a fresh sample is.",
            source=PAGE,
            number="median over 13 tasks of W2 to points never seen / floor",
            low=0.0,
            high=ARRIVED,
            measure=partial(unseen, kind),
            note=UNSEEN,
            seconds=COST,
            group="auto-tasks",
        )
        for kind in KINDS
    ),
    Statement(
        name="auto-strays-told",
        words="The summary of a run tells each particle that is left far from the target.",
        source=PAGE,
        number="strays that are not told, 13 tasks",
        low=0.0,
        high=0.0,
        measure=untold,
        seconds=COST,
        group="auto-tasks",
    ),
    *(
        Statement(
            name=f"auto-seconds-{kind}",
            words=f"300 particles of the flow '{kind}' arrive in {SECONDS:g} seconds on one core.",
            source=PAGE,
            number="most seconds of the processor, 4 tasks",
            low=0.0,
            high=SECONDS,
            measure=partial(seconds, kind),
            random=False,
            seconds=5.5 if kind == "kale" else 2.1,
        )
        for kind in KINDS
    ),
)
