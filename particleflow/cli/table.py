"""The table at the end of a run: one line a flow, its verdict first, then what to try."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from particleflow.advice import Change
from particleflow.cli.options import BY_NAME
from particleflow.cli.report import Outcome, measured_names
from particleflow.cli.task import Task
from particleflow.streams import Style
from particleflow.summary import Summary

# The marks of outcomes, which read without colour: it is there, it is not, it went wrong.
THERE, NOT_YET, WRONG = "v", "o", "x"
# The styles of the marks on a terminal.
STYLES = {THERE: Style.GREEN, NOT_YET: Style.YELLOW, WRONG: Style.RED}
# The marks of verdicts; every other verdict is WRONG.
MARKS = {
    "arrived": THERE,
    **dict.fromkeys(("on its way", "stalled", "completed", "interrupted", "not run"), NOT_YET),
}
# Statuses whose cause and remedy the advice tells: their messages would repeat it.
ADVISED = ("completed", "unstable", "diverged")
# Spaces before advice that does not fit beside its row.
INDENT = "      "

# Text in pieces, each with its style.
Styled = Iterator[tuple[str, Style]]


def table(task: Task, outcome: Outcome, width: int | None = None) -> Styled:
    """The table, then the other metrics and messages, a line each.

    A row tells how the flow ended, W2 to the target at its start and end beside the floor, dt, time
    and what to try. Advice that does not fit a line of `width` characters stands below its row.
    """
    told = {name: path.summary() for name, path in outcome.paths.items()}
    rows = [["flow", "ended", _heading([*told.values()]), "dt", "time"]]
    rows += [_cells(name, task, outcome, told.get(name)) for name in task.plans]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{most}}" for cell, most in zip(row, widths, strict=True)) for row in rows
    ]
    yield f"    {lines[0].rstrip()}\n", Style.BOLD
    for name, line in zip(task.plans, lines[1:], strict=True):
        summary = told.get(name)
        verdict = _ended_without_path(name, outcome) if summary is None else summary.verdict
        mark = MARKS.get(verdict, WRONG)
        yield f"  {mark} ", STYLES[mark]
        advice = "" if summary is None else _advice(name, summary)
        yield f"{beside(f'    {line}', advice, width)[4:]}\n", Style.PLAIN
    for line in [*_measured(task, outcome, told), *_messages(outcome)]:
        yield f"{' '.join(line.split())}\n", Style.PLAIN


def _ended_without_path(name: str, outcome: Outcome) -> str:
    return "failed" if name in outcome.failures else "not run"


def _heading(told: Sequence[Summary]) -> str:
    """The name of W2's column, with the floor that all flows share."""
    drawn = next((f" of {one.drawn} drawn" for one in told if one.drawn), "")
    floor = next((f" ({one.floor_said})" for one in told if one.floor is not None), "")
    return f"W2{drawn}{floor}"


def _cells(name: str, task: Task, outcome: Outcome, told: Summary | None) -> list[str]:
    dt = f"{task.plans[name].dt:g}"
    if told is None:
        return [name, _ended_without_path(name, outcome), "", dt, ""]
    if told.lengths is not None:
        dt = f"{told.lengths[0]:.2g} to {told.lengths[1]:.2g}"
    ended, seconds = told.verdict, "" if told.seconds is None else f"{told.seconds:.1f} s"
    if ended == "unstable":
        ended = f"UNSTABLE from step {told.unstable_from}"
    elif ended == "diverged":
        ended = f"diverged at step {told.steps + 1}"
    return [name, ended, _distances(told), dt, seconds]


def _distances(told: Summary) -> str:
    if told.w2_start is None or told.w2_end is None:
        return "-"
    rose = told.w2_end > told.w2_start and told.verdict == "unstable"
    return f"{told.w2_start:.3g} -> {told.w2_end:.3g}{' farther' if rose else ''}"


def _advice(name: str, told: Summary) -> str:
    """What to try, in flags."""

    def flag(change: Change) -> str:
        if change.name == "noise":
            return "--flow mmd-noise" if name == "mmd" else ""
        if change.name == "integrator":  # its numbers have no flags
            return ""
        if change.name == "flow":
            return "" if change.value == name else f"--flow {change.value}"
        assert isinstance(change.value, float | int)
        return f"{BY_NAME[change.name].flag} {change.value:g}"

    return "; ".join(advice.said(flag) for advice in told.advice)


def beside(line: str, advice: str, width: int | None) -> str:
    """The line with advice beside it, or below it where that is too long."""
    if not advice:
        return line.rstrip()
    if width is None or len(line) + 2 + len(advice) <= width:
        return f"{line}  {advice}"
    below = textwrap.fill(advice, max(width, 40), initial_indent=INDENT, subsequent_indent=INDENT)
    return f"{line.rstrip()}\n{below}"


def _measured(task: Task, outcome: Outcome, told: dict[str, Summary]) -> Iterator[str]:
    """The other metrics, the sums over pairs, stragglers and renewals of all flows: a line each."""
    drawn = any(one.drawn for one in told.values())
    names = list(task.metrics)
    for name, label in zip(names, measured_names(names, outcome.paths), strict=True):
        if label == "W2" and told and not drawn:
            continue  # the table has it
        ends = []
        for flow, path in outcome.paths.items():
            v = path.metrics[name]
            known = v[v.isfinite()].tolist() or [math.nan]
            ends.append(f"{flow} {known[0]:.3g} -> {known[-1]:.3g}")
        if ends:
            yield f"{label}: {', '.join(ends)}"
    sums: dict[str, list[str]] = {}
    for flow, path in outcome.paths.items():
        sums.setdefault("+".join(path.report.get("backends", {})), []).append(flow)
    which = {way: f" ({', '.join(flows)})" if len(sums) > 1 else "" for way, flows in sums.items()}
    ways = [f"{way}{flows}" for way, flows in which.items() if way]
    if ways:
        yield f"sums: {', '.join(ways)}"
    yield from (f"{flow}: {note}" for flow, one in told.items() for note in one.notes)


def _messages(outcome: Outcome) -> Iterator[str]:
    for name, path in outcome.paths.items():
        if path.status not in ADVISED and path.message:
            yield f"{name}: {path.message}"
    yield from (f"{name}: {message}" for name, message in outcome.failures.items())
    yield from outcome.notes
