"""The figures of a study: the metric over its floor, a panel a task; trials; speeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from particleflow import _checks
from particleflow.plotting.figures.multiples import Dots, Line, Multiple, multiples
from particleflow.study.cell import held_out
from particleflow.study.readings import band
from particleflow.study.rows import Rows
from particleflow.study.statistics import medians

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The name of the line at 1.
FLOOR = "floor: two fresh samples"
# What abscissas are called.
ALONG = {
    "steps": "steps",
    "time": "time of the flow",
    "seconds": "seconds of the processor",
    "fits": "fits",
}
# Most groups of trials whose medians are joined by a line.
GROUPS = 6


def curves(
    result: Rows, file: str | Path | None, against: str, tasks: Sequence[str] | None, role: str
) -> Figure:
    """Draw the median and a band for each contender."""
    return multiples(
        panels(result, against, chosen(result, tasks), role),
        result.contenders,
        file,
        label=f"{result.metric} / floor",
        level=FLOOR,
    )


def chosen(result: Rows, tasks: Sequence[str] | None) -> list[str]:
    """The tasks to be drawn: all by default.

    Raises
    ------
    ValueError
        There is no such task, or none at all.
    """
    if tasks is None:
        return result.tasks
    names = _checks.several(tasks, "tasks", remedy=f"e.g. {result.tasks[:2]}")
    if not names or (unknown := [name for name in names if name not in result.tasks]):
        came = repr(unknown[0]) if names else "[]"
        raise ValueError(
            f"`tasks` must be of {', '.join(result.tasks)}, got {came}: choose some of them"
        )
    return names


def panels(result: Rows, against: str, tasks: Sequence[str], role: str) -> list[Multiple]:
    """A panel for each task: the metric to points never seen, over its floor."""
    return [
        Multiple(
            title=task,
            along=ALONG[against],
            lines=[*_lines(result, against, task, role)],
            level=1.0,
            log=(against in ("seconds", "time"), True),
        )
        for task in tasks
    ]


def _lines(result: Rows, against: str, task: str, role: str) -> list[Line]:
    floor, found = result.floor(task) or 1.0, []
    for k, name in enumerate(result.contenders):
        seeds = band(result.of(task, name, role), held_out(result.metric), against)
        if seeds is not None:
            parts = seeds.middle / floor, seeds.low / floor, seeds.high / floor
            found.append(Line(k, seeds.places, *parts))
    return found


def sensitivity(result: Rows, contender: str, name: str, part: Mapping[str, Any]) -> Multiple:
    """The trials of all tasks against one parameter, with medians of groups of values.

    `part` is the description of the parameter: a range or a choice.
    """
    trials = [
        (settings[name], value)
        for task in result.tasks
        for settings, value in result.trials(task, contender)
        if name in settings
    ]
    y = np.array([value for _, value in trials])
    if part["kind"] == "choice":
        places = [part["values"].index(value) for value, _ in trials]
        default = part["values"].index(part["default"])
        groups = [np.flatnonzero(np.equal(places, k)) for k in range(len(part["values"]))]
        words, log = [str(value) for value in part["values"]], False
        # so that equal places do not hide each other
        x = np.array(places) + np.linspace(-0.2, 0.2, len(places))
    else:
        x = np.array([value for value, _ in trials], dtype=np.float64)
        default, words, log = part["default"], [], not part["linear"]
        # all tasks have the same trials: equal values belong to one group
        several = np.array_split(np.unique(x), GROUPS)
        groups = [np.flatnonzero(np.isin(x, some)) for some in several]
    groups = [group for group in groups if len(group)]
    middle = np.array([medians(y[None, group])[0] for group in groups])
    at = np.array([np.median(np.round(x[group]) if words else x[group]) for group in groups])
    return Multiple(
        title=name,
        along=name,
        lines=[Line(1, at, middle, marker="o" if words else "")],
        dots=[Dots(x, y)],
        level=1.0,
        mark=float(default),
        log=(log, True),
        words=words,
    )


def speeds(rows: Sequence[Mapping[str, Any]], backends: Sequence[str]) -> list[Multiple]:
    """Milliseconds of a step against N, both logarithmic: a panel for each d, a line a backend."""
    found = []
    for d in sorted({row["d"] for row in rows}):
        lines = []
        for k, backend in enumerate(backends):
            points = sorted(
                (row["N"], row["ms"]) for row in rows if (row["d"], row["backend"]) == (d, backend)
            )
            if points:
                x, y = np.array(points, dtype=np.float64).T
                lines.append(Line(k, x, y, marker="o"))
        found.append(Multiple(title=f"d = {d}", along="N", lines=lines, log=(True, True)))
    return found
