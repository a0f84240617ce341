"""One run of one flow on one draw of a task, timed step by step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import particleflow as pf

from ..tasks import TASKS
from .methods import METHODS

if TYPE_CHECKING:
    from particleflow.integrators import State

# Number of records of a run.
RECORDS = 20

# Multiples of `flow.suggest_dt` that --dt-grid tries.
GRID = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Job:
    """One run to be made, with `dt` or with `factor` times the suggested dt."""

    task: str
    flow: str
    seed: int
    steps: int
    factor: float = 1.0
    dt: float | None = None


def measure(job: Job) -> dict[str, Any]:
    """Run one flow on one draw of a task; metrics are computed while the clock stands."""
    task = TASKS[job.task]
    problem = task.draw(job.seed)
    kernel = pf.kernels.Gaussian(task.bandwidth)
    flow = METHODS[job.flow].make(task.bandwidth, job.steps)
    began = time.process_time()
    dt = job.dt if job.dt is not None else job.factor * flow.suggest_dt(problem.x0, problem.target)
    suggesting = time.process_time() - began

    w2, mmd2 = pf.metrics.W2(), pf.metrics.MMD2(kernel)
    every = max(1, job.steps // RECORDS)
    curve: list[dict[str, Any]] = []
    walls: list[float] = []
    cpus: list[float] = []
    status, message = "completed", ""
    for state, wall, cpu in timed(
        pf.iterate(flow, problem.x0, problem.target, dt=dt, seed=job.seed)
    ):
        if state.status != "running":
            status, message = state.status, state.message
        if not state.ended:
            walls.append(wall)
            cpus.append(cpu)
        ended = state.ended or state.clock.step >= job.steps
        if ended or state.clock.step % every == 0:
            distances = {"W2": w2(state.x, problem.target), "MMD2": mmd2(state.x, problem.target)}
            curve.append({"step": state.clock.step, **distances, "energy": state.fit.value})
        if ended:
            break
    return {
        **asdict(job),
        "status": status,
        "message": message,
        "energy_rose": flow.conservative and rose([row["energy"] for row in curve]),
        "dt": dt,
        "suggest_seconds": suggesting if job.dt is None else None,
        "t": state.clock.t,
        "W2_start": curve[0]["W2"],
        "W2": curve[-1]["W2"],
        "W2_held_out": w2(state.x, problem.held_out),
        "W2_target_held_out": w2(problem.target, problem.held_out),
        "MMD2_start": curve[0]["MMD2"],
        "MMD2": curve[-1]["MMD2"],
        "MMD2_held_out": mmd2(state.x, problem.held_out),
        "MMD2_target_held_out": mmd2(problem.target, problem.held_out),
        "ms_per_step": 1e3 * statistics.median(walls[1:]) if walls[1:] else None,
        "cpu_ms_per_step": 1e3 * statistics.median(cpus[1:]) if cpus[1:] else None,
        "cpu_seconds": time.process_time() - began,
        "bandwidth": task.bandwidth,
        "particles": len(problem.x0),
        "targets": len(problem.target),
        "curve": curve,
    }


def timed(states: Iterator[State]) -> Iterator[tuple[State, float, float]]:
    """Yield each state with the seconds it took on the clock and in this process.

    The first state is the fit at the start, not a step.
    """
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        state = next(states)
        yield state, time.perf_counter() - wall, time.process_time() - cpu


def rose(energies: Sequence[float]) -> bool:
    """Tell whether an energy that can only fall rose by more than rounding between two records.

    If so, dt is too large.
    """
    slack = 1e-9 * max(abs(energy) for energy in energies)
    return any(after > before + slack for before, after in pairwise(energies))


def status(row: dict[str, Any]) -> str:
    """Say how a run ended."""
    if row["status"] == "unstable":
        return (
            "completed, but the energy rose"
            if row["energy_rose"]
            else "completed, but most particles left"
        )
    if row["status"] != "completed":
        return f"seed {row['seed']} {row['status']} at step {row['curve'][-1]['step']}"
    return "completed, but the energy rose" if row["energy_rose"] else "completed"
