"""The report of a run: the choices before it, and how each flow ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from particleflow._words import called, number, shown
from particleflow.cli.task import Task
from particleflow.trajectory import Trajectory

# The exit code where all flows completed and all results were written.
COMPLETED = 0
# The exit code where a flow did not complete or a result could not be written.
ENDED_BADLY = 1
# The exit code after Ctrl-C, by the custom of shells: 128 + SIGINT.
INTERRUPTED = 130
# The most coordinates of a mean that the heading shows; more would not fit a line.
SHOWN = 4


@dataclass
class Outcome:
    """The result of a task: trajectories, written files, failures with their reasons, and warnings.

    A flow that took no step has no trajectory.
    """

    paths: dict[str, Trajectory] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 1 after a failure, else 0.

        A failure is a flow that did not complete, or a result that could not be written.
        """
        if self.interrupted:
            return INTERRUPTED
        return (
            ENDED_BADLY
            if self.failures or any(path.status != "completed" for path in self.paths.values())
            else COMPLETED
        )


def heading(task: Task) -> str:
    """The choices of a run, before it begins."""
    facts = shared(task)
    for name in task.plans:
        facts[name] = _told(task.settings[name], task.settings)
    return listed(facts, task.notes)


def _told(own: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """The settings of a flow: its kernel where it differs from that of all, and its bandwidths."""
    told = {key: f"{value:g}" if isinstance(value, float) else value for key, value in own.items()}
    start, last = (told.pop(key, None) for key in ("start_bandwidth", "bandwidth"))
    if start is not None:
        told["bandwidth"] = f"{start} to {last}"
    elif last is not None and own["bandwidth"] != shared.get("bandwidth"):
        told["bandwidth"] = last
    if own.get("kernel") == shared["kernel"]:
        del told["kernel"]
    return ", ".join(f"{key} {value}" for key, value in told.items())


def shared(task: Task) -> dict[str, str]:
    """The choices that all flows of a run share."""
    s = task.settings
    start = (
        f"N(({_few(s['start_mean'])}), {s['start_std']:g}^2)"
        if s["start"] == "gaussian"
        else shown(s["start"])
    )
    bandwidth = f", bandwidth {s['bandwidth']:g}" if "bandwidth" in s else ""
    of, d = f" of {task.rows}" if task.rows else "", task.y.shape[1]
    return {
        "target": f"{shown(s['target'])}: {len(task.y)}{of} points in {d} dimension{'s' * (d > 1)}",
        "start": f"{number(len(task.x0), 'particle')}, {start}",
        "kernel": s["kernel"] + bandwidth,
        "seed": str(task.seed),
    }


def listed(facts: Mapping[str, str], notes: Sequence[str]) -> str:
    """Facts in two columns, and notes below."""
    width = max(map(len, facts))
    return "\n".join([*(f"{key:<{width}}  {value}" for key, value in facts.items()), *notes])


def _few(values: Sequence[float]) -> str:
    """The numbers; the first ones of many."""
    more = [f"... ({len(values)} in all)"] if len(values) > SHOWN else []
    return ", ".join(
        [*(f"{value:.15g}" for value in (values[: SHOWN - 1] if more else values)), *more]
    )


def measured_names(names: Iterable[str], paths: Mapping[str, Trajectory]) -> list[str]:
    """The names of metrics, with the number of points drawn where not all are compared."""
    labels = {
        name: label
        for path in paths.values()
        for name, label in path.report.get("labels", {}).items()
    }
    return [called(name, {"labels": labels}) for name in names]
