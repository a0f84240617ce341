"""The table at the end of a study: one line a contender, its verdict first."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from particleflow.cli.sweeps import short
from particleflow.cli.table import NOT_YET, STYLES, THERE, WRONG, Styled, beside
from particleflow.streams import Style
from particleflow.study import Result
from particleflow.study.contender import DT
from particleflow.study.readings import UNSOUND

# Text without a style.
PLAIN = Style.PLAIN
# The most messages of failed runs that are shown; results.json has all of them.
MESSAGES = 3


def standings(result: Result, width: int | None = None) -> Styled:
    """For each task a line a contender, then what the numbers are.

    A line tells whether a contender is the best, the metric over its floor at the end (to points
    never seen, and to those seen), the same at equal seconds, the settings and the failures. Those
    that do not fit a line of `width` characters stand below it.
    """
    for task in result.tasks:
        yield from _of_task(result, task, width)
    median = "medians of all seeds, with bootstrap intervals of 95 %"
    numbers = median if result.study["seeds"] > 1 else "of one seed"
    yield f"numbers: distances to points never seen, in floors; {numbers}\n", PLAIN
    yield "best: the least, and those whose paired difference from it may be 0\n", PLAIN
    for line in _messages(result):
        yield f"{line}\n", PLAIN


def _of_task(result: Result, task: str, width: int | None) -> Styled:
    role, floor = result.role, result.floor(task)
    best, seconds = result.best(task, role), result.equal(task, "seconds", role)
    name = result.metric
    heads = [
        task,
        "",
        f"{name} / floor{'' if floor is None else f' {floor:.3g}'}",
        "to points seen",
        f"after {seconds:.2g} s",
        *(["untuned"] if role == "tuned" else []),
    ]
    rows, tails, marks = [heads], [""], [""]
    for one in result.contenders:
        found = result.of(task, one, role)
        bad = Counter(row["status"] for row in found if row["status"] in UNSOUND)
        led = "best" if one in best else "worse" if found else "not run"
        columns: list[Mapping[str, Any]] = [{}, {"seen": True}, {"at": ("seconds", seconds)}]
        cells = [str(result.interval(task, one, role, **how)) for how in columns]
        if role == "tuned":
            cells.append(str(result.interval(task, one, "default")))
        rows.append([one, led, *cells])
        failures = [f"{number} of {len(found)} {status}" for status, number in bad.items()]
        tails.append("; ".join([*failures, *_settings(found)]))
        marks.append(WRONG if bad else THERE if one in best else NOT_YET)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{most}}" for cell, most in zip(row, widths, strict=True)) for row in rows
    ]
    yield f"    {lines[0].rstrip()}\n", Style.BOLD
    for mark, line, tail in zip(marks[1:], lines[1:], tails[1:], strict=True):
        yield f"  {mark} ", STYLES[mark]
        yield f"{beside(f'    {line}', tail, width)[4:]}\n", PLAIN


def _settings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of a contender's runs, with the median of their dt."""
    if not rows:
        return []
    told = [f"{name} {short(value)}" for name, value in rows[0]["settings"].items() if name != DT]
    steps = [row["dt"] for row in rows if row.get("dt") is not None]
    return [", ".join([*told, *([f"dt {statistics.median(steps):.3g}"] if steps else [])])]


def _messages(result: Result) -> list[str]:
    """What failed runs say; those of trials are no news."""
    told = dict.fromkeys(
        f"{row['contender']}: {row['message']}"
        for row in result.rows
        if row["role"] != "trial" and row["status"] in UNSOUND and row.get("message")
    )
    more = [f"{len(told) - MESSAGES} more messages are in results.json"]
    return [*list(told)[:MESSAGES], *(more if len(told) > MESSAGES else [])]
