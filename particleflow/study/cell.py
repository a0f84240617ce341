"""One run of one contender on one draw of a task, measured: a row of the results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.clouds import Cloud
from particleflow.engine import begin, iterate
from particleflow.integrators import State
from particleflow.study.contender import Contender, Settings
from particleflow.study.task import Problem, Task
from particleflow.trajectory import Trajectory

Metrics = Mapping[str, Callable[[Cloud, Cloud], float]]

# Number of records after the start at which the metrics are taken. Each is at twice the steps of
# the one before, the last at the end: W2 falls fast at first, and at more records it takes as long
# as the steps of a quick flow.
RECORDS = 6
# Most values of metrics that a process remembers, a few KB each: 300 seeds have three each.
REMEMBERED = 1000
# Steps of a run that measures what a step costs.
COSTING = 15
# Most multiples of the task's steps that a run may take to use its seconds.
MOST_STEPS = 20
# Contenders and dimensions that have taken a step in this process.
WARM: set[tuple[str, int]] = set()
# Values between clouds that several runs of a process ask for, by metric and points.
KNOWN: dict[tuple[Callable[..., float], bytes, bytes], float] = {}
# Records that the trajectory of a player holds, in about: ten for each of 5 s. The player draws
# positions between them.
FRAMES = 50


@dataclass(frozen=True)
class Cell:
    """A run to be made: a contender with its settings, on the draw of a task that a seed makes.

    `role` is "default", "trial" (it chooses settings), "tuned" or "cost" (its first steps measure
    what a run takes). `seconds` are those of the
    processor that the run may use beyond the task's steps. `keep`: its trajectory is kept for
    players.
    """

    task: Task
    contender: Contender
    role: str
    seed: int
    settings: Settings
    trial: int | None = None
    seconds: float | None = None
    keep: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What the cell is called within its study."""
        number = () if self.trial is None else (f"trial {self.trial}",)
        return (self.task.name, self.contender.name, self.role, *number, f"seed {self.seed}")

    @property
    def facts(self) -> dict[str, Any]:
        """The begin of its row."""
        return {
            "task": self.task.name,
            "contender": self.contender.name,
            "role": self.role,
            "trial": self.trial,
            "seed": self.seed,
            "settings": dict(self.settings),
        }


class Stopwatch:
    """Yields the states of a run, and takes the processor's seconds and the fits of each step.

    What is done between the states (metrics, records) does not count.
    """

    def __init__(self, states: Iterator[State]) -> None:
        self.states = states
        self.seconds = 0.0
        self.at: dict[int, float] = {}
        self.fits: dict[int, int] = {}

    def __iter__(self) -> Iterator[State]:
        return self

    def __next__(self) -> State:
        began = time.process_time()
        state = next(self.states)
        self.seconds += time.process_time() - began
        self.at[state.clock.step] = self.seconds
        # a state that ends a run repeats the step before
        self.fits[state.clock.step] = state.fits
        return state


def measure(cell: Cell, metrics: Metrics, trajectory: Path) -> dict[str, Any]:
    """The row of a cell; its trajectory goes to the file `trajectory` if it is kept.

    Warnings of the run are a part of the row.
    """
    with _checks.warnings_caught("always") as caught:
        row = _measured(cell, metrics, trajectory)
    told = dict.fromkeys(str(one.message) for one in caught)
    return {**row, "warnings": list(told)}


def _measured(cell: Cell, metrics: Metrics, trajectory: Path) -> dict[str, Any]:
    problem, steps = cell.task.draw(cell.seed), cell.task.steps
    _warm(cell, problem)

    def unseen(metric: Callable[..., float]) -> Callable[[Cloud, Cloud], float]:
        """A metric to the points held out; at the frames of a player it is not taken."""
        apart = _apart(metric, problem)

        def taken(x: Cloud, y: Cloud) -> float:
            assert run.state is not None
            step, over = run.state.clock.step, run.state.ended or run.is_last(run.state)
            return apart(x, y) if over or is_read(cell, step) else math.nan

        return taken

    began = time.process_time()
    setup = cell.contender.build(problem, cell.settings)
    building = time.process_time() - began
    run = begin(
        setup.flow,
        problem.x0,
        problem.target,
        steps=steps,
        dt=setup.dt,
        integrator=setup.integrator,
        save=None,
        metrics={**metrics, **{held_out(m): unseen(metrics[m]) for m in metrics}},
        seed=problem.seed,
        progress=False,
    )
    watch = Stopwatch(run.states)
    run.states = watch
    frame = max(1, steps // FRAMES)
    run.wanted = lambda state: (
        is_read(cell, state.clock.step) or (cell.keep and state.clock.step % frame == 0)
    )
    if cell.role == "cost":
        run.is_last = lambda state: state.clock.step >= min(steps, COSTING)
    elif cell.seconds is not None:
        allowed = cell.seconds
        run.is_last = lambda state: (
            state.clock.step >= steps
            and (watch.seconds >= allowed or state.clock.step >= MOST_STEPS * steps)
        )
    run.go()
    if run.status == "interrupted":  # half a run is no row
        raise KeyboardInterrupt(run.message)
    path = run.trajectory()
    if cell.keep:
        replace(path, metrics={name: path.metrics[name] for name in metrics}).save(trajectory)
    return {
        "status": path.status,
        "message": path.message,
        "dt": setup.dt,
        "building": building,
        "floor": {name: _floor(metric, problem) for name, metric in metrics.items()},
        "curve": _curve(path, watch, cell),
        "trajectory": trajectory.name if cell.keep else None,
    }


def is_read(cell: Cell, step: int) -> bool:
    """Are the metrics of a run read at a step?

    At the start, and at steps / 2^k for k = 5, ..., 0, rounded up; beyond the task's steps at their
    multiples. Of a trial only the end counts.
    """
    steps = cell.task.steps
    if cell.role in ("trial", "cost") or step >= steps:
        return step % (COSTING if cell.role == "cost" else steps) == 0
    return step == 0 or any(step == -(-steps // 2**k) for k in range(RECORDS))


def held_out(metric: str) -> str:
    """The name of a metric to the target points that the flow never sees."""
    return f"{metric} held out"


def _apart(metric: Callable[..., float], problem: Problem) -> Callable[[Cloud, Cloud], float]:
    def apart(x: Cloud, _: Cloud) -> float:
        if x.log_mass is None and torch.equal(x.points, problem.x0):
            return _once(metric, problem.x0, problem.held_out)
        return metric(x, problem.held_out)

    return apart


def _floor(metric: Callable[..., float], problem: Problem) -> list[float | None]:
    """The metric between fresh target points and either target sample."""
    return [
        _finite(_once(metric, problem.fresh, points))
        for points in (problem.target, problem.held_out)
    ]


def _once(metric: Callable[..., float], x: Tensor, y: Tensor) -> float:
    """metric(x, y), computed once in a process: all contenders share a seed's start and floor."""
    key = (metric, x.numpy().tobytes(), y.numpy().tobytes())
    try:
        known = KNOWN.get(key)
    except TypeError:  # a metric without a hash
        return float(metric(x, y))
    if known is None:
        if len(KNOWN) >= REMEMBERED:
            KNOWN.clear()
        known = KNOWN[key] = float(metric(x, y))
    return known


def _warm(cell: Cell, problem: Problem) -> None:
    """Take a step of a contender's first run in this process.

    Imports and compiled code then do not count as the run's time.
    """
    key = (cell.contender.name, problem.x0.shape[1])
    if key not in WARM:
        WARM.add(key)
        setup = cell.contender.build(problem, cell.settings)
        states = iterate(
            setup.flow, problem.x0, problem.target, dt=setup.dt or 1.0, integrator=setup.integrator
        )
        for _ in range(2):
            next(states)


def _curve(path: Trajectory, watch: Stopwatch, cell: Cell) -> dict[str, list[float | None]]:
    """The metrics against steps, time, seconds of the processor and fits, where they are read.

    All fits count: that of the start, those of stages, and those of steps that were refused.
    """
    steps = path.steps.tolist()
    kept = [k for k, step in enumerate(steps) if is_read(cell, step) or k == len(steps) - 1]
    columns = {
        "steps": steps,
        "time": path.times.tolist(),
        "seconds": [watch.at.get(step, watch.seconds) for step in steps],
        "fits": [watch.fits[step] for step in steps],
        "energy": path.energy.tolist(),
        **{name: values.tolist() for name, values in path.metrics.items()},
    }
    return {name: [_finite(values[k]) for k in kept] for name, values in columns.items()}


def _finite(value: float) -> float | None:
    """The number to 6 digits, or None where JSON has none."""
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
