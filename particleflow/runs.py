"""Runs a task, writes what it leaves into a folder, and says in a few lines what happened."""

from __future__ import annotations

import csv
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from particleflow import _checks, config, plotting
from particleflow.build import Plan, Task
from particleflow.engine import simulate
from particleflow.trajectory import Trajectory

COMPLETED, ENDED_BADLY, INTERRUPTED = 0, 1, 130


@dataclass
class Outcome:
    """The trajectories of the flows that took a step; why others took none; the warnings on the way."""

    paths: dict[str, Trajectory] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 1 where a flow did not complete, else 0."""
        if self.interrupted:
            return INTERRUPTED
        return ENDED_BADLY if self.failures or any(path.status != "completed" for path in self.paths.values()) else COMPLETED


def folder(path: str) -> Path:
    """`path` as a folder that exists and can be written to.

    Raises
    ------
    SettingError
        It is a file, or cannot be made or written to.
    """
    out = Path(path).expanduser()
    if out.exists() and not out.is_dir():
        raise config.SettingError(f"`out` must be a folder, and there is a file {out}: choose another name")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise config.SettingError(f"`out` must be a folder that can be written to, got {out}: {error.strerror}: choose another") from None
    return out


@contextmanager
def threads(settings: config.Settings) -> Iterator[None]:
    """The number of threads that torch uses meanwhile; one that was left open is entered in `settings`."""
    before = torch.get_num_threads()
    if settings.get("threads") is None:
        large = max(settings.get("n") or 0, settings.get("m") or 0) > config.ONE_THREAD
        settings["threads"] = (os.cpu_count() or 1) if large else 1
    torch.set_num_threads(_checks.count(settings["threads"], "threads"))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(task: Task, out: Path, *, single: bool, progress: bool, say: Callable[[str], None]) -> Outcome:
    """Run every flow of the task, one failing without the others, and write each trajectory as soon as there is one.

    `say` is told which flow begins. Ctrl-C ends the flow that runs and leaves out the later ones; what there is is kept.
    """
    outcome = Outcome()
    for k, (name, plan) in enumerate(task.plans.items(), start=1):
        say(f"{name} ({k} of {len(task.plans)}): {plan.steps} steps of {plan.dt:g}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                path = _simulate(task, plan, progress)
                outcome.paths[name] = path
                path.save(out / ("trajectory.npz" if single else f"{name}.npz"))
            except KeyboardInterrupt:
                outcome.interrupted = True
                outcome.failures[name] = "stopped by the user"
                break
            except Exception as error:  # whatever a flow dies of, the others go on
                outcome.failures[name] = f"{type(error).__name__}: {error}"
                continue
            finally:
                outcome.notes += [f"{name}: {w.message}" for w in caught if "the trajectory up to there is kept" not in str(w.message)]
        if path.status == "interrupted":
            outcome.interrupted = True
            break
    outcome.notes = list(dict.fromkeys(outcome.notes))
    return outcome


def _simulate(task: Task, plan: Plan, progress: bool) -> Trajectory:
    return simulate(
        plan.flow,
        task.x0,
        task.y,
        steps=plan.steps,
        dt=plan.dt,
        integrator=plan.integrator,
        save=task.save_at(plan),
        metrics=task.metrics,
        seed=task.seed,
        progress=progress,
    )


def write(paths: Mapping[str, Trajectory], out: Path, *, single: bool, gif: bool) -> list[Path]:
    """Table, curves, snapshots and film of the runs; returns the files, trajectories and config included."""
    files = [out / "config.toml", *(out / ("trajectory.npz" if single else f"{name}.npz") for name in paths)]
    if paths:
        files += [_table(paths, out / "metrics.csv"), out / "metrics.png", out / "snapshots.png"]
        plotting.curves(paths, files[-2])
        plotting.snapshots(paths, files[-1])
        if gif:
            files.append(plotting.animate(paths, out / ("flow.gif" if single else "flows.gif")))
    return files


def _table(paths: Mapping[str, Trajectory], file: Path) -> Path:
    """One line for each record of each flow: flow, step, time, the metrics, the flow's own energy. Numbers read back exactly."""
    names = list(dict.fromkeys(name for path in paths.values() for name in path.metrics))
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["flow", "step", "time", *names, "energy"])
        for flow, path in paths.items():
            columns = [path.steps, path.times, *(path.metrics[name] for name in names), path.energy]
            table.writerows([flow, *row] for row in zip(*(column.tolist() for column in columns), strict=True))
    return file


def heading(task: Task) -> str:
    """What was chosen, before anything runs."""
    s = task.settings
    start = f"N(({', '.join(f'{v:g}' for v in s['start_mean'])}), {s['start_std']:g}^2)" if s["start"] == "gaussian" else s["start"]
    bandwidth = f", bandwidth {s['bandwidth']:g}" if "bandwidth" in s else ""
    facts = {
        "target": f"{s['target']}: {len(task.y)}{f' of {task.rows}' if task.rows else ''} points in {task.y.shape[1]} dimensions",
        "start": f"{len(task.x0)} particles, {start}",
        "kernel": s["kernel"] + bandwidth,
        "seed": str(task.seed),
    }
    for name in task.plans:
        facts[name] = ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in s[name].items())
    width = max(map(len, facts))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in facts.items())


def summary(task: Task, outcome: Outcome) -> str:
    """One line for each flow: how it ended, its first and last numbers, its time; then what there is to be said."""
    rows = [["flow", "status", "dt", "steps", *task.metrics, "seconds"]]
    notes: list[str] = []
    for name, plan in task.plans.items():
        path = outcome.paths.get(name)
        if path is None:
            status = "failed" if name in outcome.failures else "not run"
            rows.append([name, status, f"{plan.dt:g}", "0", *("" for _ in task.metrics), ""])
            continue
        measured = {metric: v[v.isfinite()].tolist() or [math.nan] for metric, v in path.metrics.items()}
        ends = [f"{v[0]:.3g} -> {v[-1]:.3g}" for v in measured.values()]
        flat = [metric for metric, v in measured.items() if path.status == "completed" and v[-1] >= v[0] > 0]
        if flat and not path.message:
            notes.append(f"{name}: {' and '.join(flat)} did not fall: the clouds may be too far apart for the bandwidth, or dt too large")
        rows.append([name, path.status, f"{plan.dt:g}", str(int(path.steps[-1])), *ends, f"{path.report['seconds']:.1f}"])
    said = [f"{name}: {path.message}" for name, path in outcome.paths.items() if path.message]
    said += [f"{name}: {message}" for name, message in outcome.failures.items()]
    return "\n".join([_aligned(rows), *(" ".join(line.split()) for line in [*said, *notes, *outcome.notes])])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
