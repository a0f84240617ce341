"""Writing the tables of a comparison in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from .. import report
from .measure import GRID, status


def render(record: dict[str, Any]) -> str:
    """Return the tables in Markdown."""
    where, runs = record["environment"], record["runs"]
    pairs = [(task, flow) for task in record["tasks"] for flow in record["flows"]]
    groups = {pair: [run for run in runs if (run["task"], run["flow"]) == pair] for pair in pairs}
    busy = statistics.median(
        [run["ms_per_step"] / run["cpu_ms_per_step"] for run in runs if run["ms_per_step"]]
        or [math.nan]
    )
    first, seeds = runs[0], len({run["seed"] for run in runs})
    lines = [
        (
            f"`{record['command']}`, {where['date']}: {where['seconds']:.0f} s, of which"
            f" {where['cpu_seconds'] / where['jobs']:.0f} s of work."
        ),
        (
            f"{where['processor']}, {where['processors']} processors, {where['jobs']} runs at a"
            f" time of {where['threads']} thread(s) each;"
        ),
        (
            f"Python {where['python']}, particleflow {where['particleflow']}, torch"
            f" {where['torch']}, POT {where['POT']}. dt: {record['dt']}."
        ),
        (
            f"N = {first['particles']}, M = {first['targets']}, {seeds} seed(s): the median, and"
            " the range in brackets."
        ),
    ]
    if busy > 1.25:
        lines += [
            f"Other programs ran on these processors: a step took {busy:.1f} times its work."
            " Compare the CPU times."
        ]
    lines += ["", report.table(_TASK_HEADINGS, [_task_row(name, runs) for name in record["tasks"]])]
    lines += [
        "",
        report.table(_HEADINGS, [_row(task, flow, rows) for (task, flow), rows in groups.items()]),
    ]
    if record["grid"]:
        lines += [
            "",
            (
                "W2 at the end with multiples of the suggested dt (! where an energy rose, and how"
                " a run ended early):"
            ),
            "",
        ]
        lines += [
            report.table(
                ["task", "flow", "suggested", *(f"x {factor:g}" for factor in GRID)],
                _grid_rows(record["grid"]),
            )
        ]
    if record["published"]:
        lines += [
            "",
            (
                "Public numbers (official notebooks; three rings, N = M = 240, the published start)"
                " beside ours:"
            ),
            "",
        ]
        lines += [
            report.table(
                ["run", "dt", "step", "published", "ours", "difference"],
                [_public_row(row) for row in record["published"]],
            )
        ]
    return "\n".join(lines)


_TASK_HEADINGS = (
    "task",
    "bandwidth",
    "W2 at the start",
    "MMD^2 at the start",
    "W2 target to held-out",
    "MMD^2 target to held-out",
)
_HEADINGS = (
    "task",
    "flow",
    "W2",
    "W2 held-out",
    "MMD^2",
    "MMD^2 held-out",
    "ms/step",
    "CPU ms/step",
    "steps",
    "dt",
    "t",
    "status",
)


def _task_row(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    once = list({run["seed"]: run for run in runs if run["task"] == name}.values())
    columns = ("W2_start", "MMD2_start", "W2_target_held_out", "MMD2_target_held_out")
    return [
        name,
        f"{once[0]['bandwidth']:.3g}",
        *(report.spread([run[column] for run in once]) for column in columns),
    ]


def _row(task: str, flow: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    def of(column: str, digits: int = 3) -> str:
        values = [row[column] for row in rows if row[column] is not None]
        return report.spread(values, digits) if values else "-"

    numbers = [of(column) for column in ("W2", "W2_held_out", "MMD2", "MMD2_held_out")]
    times = [of("ms_per_step"), of("cpu_ms_per_step"), of("steps", 6), of("dt"), of("t")]
    return [task, flow, *numbers, *times, ", ".join(dict.fromkeys(status(row) for row in rows))]


def _grid_rows(grid: Sequence[dict[str, Any]]) -> list[list[str]]:
    pairs = dict.fromkeys((row["task"], row["flow"]) for row in grid)
    rows = []
    for pair in pairs:
        mine = [row for row in grid if (row["task"], row["flow"]) == pair]
        cells = [
            (
                f"{row['W2']:.3g}{'!' if row['energy_rose'] else ''}"
                if row["status"] == "completed"
                else row["status"]
            )
            for row in mine
        ]
        rows.append([*pair, f"{mine[0]['dt'] / mine[0]['factor']:.3g}", *cells])
    return rows


def _public_row(row: dict[str, Any]) -> list[str]:
    ours, theirs = row["ours"], row["published"]
    facts = [
        f"{row['flow']}: {row['quantity']}",
        f"{row['dt']:g}",
        str(row["step"]),
        f"{theirs:.3g}",
    ]
    return (
        [*facts, row["status"], "-"]
        if ours is None
        else [*facts, f"{ours:.4g}", f"{round(100 * (ours / theirs - 1), 1) + 0:+.1f} %"]
    )
