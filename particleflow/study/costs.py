"""What runs cost: a few steps of each contender tell the seconds of all its runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from particleflow.clouds import Cloud
from particleflow.study.cell import RECORDS, Cell, Metrics, measure
from particleflow.study.contender import Contender
from particleflow.study.task import Task
from particleflow.study.tuning import FIRST_SEED

# The first seed of runs that measure costs; they choose nothing.
COSTING_SEED = 2 * FIRST_SEED


@dataclass(frozen=True)
class Cost:
    """Seconds of a run with default settings, without its records, and those of a record."""

    run: float
    record: float

    def of(self, role: str) -> float:
        """A run's seconds; of a trial the start and the end are recorded."""
        return self.run + (2 if role == "trial" else RECORDS + 2) * self.record


Costs = Mapping[tuple[str, str], Cost]
"""By the names of task and contender."""


def costs_of(tasks: Sequence[Task], contenders: Sequence[Contender], metrics: Metrics) -> Costs:
    """Roughly the seconds of a run of each contender on each task.

    Each contender takes a few steps on the first task, twice: the first time imports and compiles.
    That a contender cannot be built is found here, before any run.
    """
    first, costs = tasks[0], dict[tuple[str, str], Cost]()
    record = _record(first, metrics)
    for contender in contenders:
        try:
            for seed in (COSTING_SEED, COSTING_SEED + 1):
                began = time.process_time()
                few = Cell(first, contender, "cost", seed, contender.default)
                row = measure(few, metrics, Path())
                spent = time.process_time() - began
        except Exception as error:
            error.add_note(f"(contender {contender.name!r} on task {first.name!r})")
            raise
        seconds, steps = row["curve"]["seconds"], row["curve"]["steps"]
        step = (seconds[-1] - seconds[0]) / max(1, steps[-1])
        # draws, a suggested dt and the like; the floor takes as long as a record
        before = max(0.0, spent - row["building"] - seconds[-1] - (len(seconds) + 1) * record)
        for task in tasks:
            more = _pairs(task) / _pairs(first)
            whole = row["building"] + before + seconds[0] + task.steps * step
            costs[task.name, contender.name] = Cost(more * whole, more * record)
    return costs


def _record(task: Task, metrics: Metrics) -> float:
    """Seconds of a record: each metric to the points seen and to those held out."""
    problem = task.draw(COSTING_SEED)
    for _ in range(2):  # the first time imports
        began = time.process_time()
        for metric in metrics.values():
            for points in (problem.target, problem.held_out):
                metric(Cloud(problem.x0), Cloud(points))
        spent = time.process_time() - began
    return spent


def _pairs(task: Task) -> int:
    """The number of pairs that a sum over both clouds has."""
    return task.particles * (task.particles + task.targets)
