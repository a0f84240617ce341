"""Tables of tasks and contenders whose cells are coloured by their value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from particleflow.plotting.style import DIVERGING, DIVERGING_DARK, contrast, toned
from particleflow.study.rows import Rows
from particleflow.study.statistics import Interval

# Number of tones of cells.
TONES = 13
# The ratio to the floor from which all cells have the last tone; 1 has the first.
WORST = 10.0
# Decimal places of differences, in floors: smaller ones mean nothing.
PLACES = 3


def tones(dark: bool) -> list[tuple[str, str]]:
    """The grounds of cells from the best to the worst, and the colours of their text."""
    stops = tuple(reversed(DIVERGING)) if not dark else tuple(reversed(DIVERGING_DARK))
    rows = toned(np.linspace(1, 0, TONES), stops)
    grounds = ["#" + "".join(f"{round(255 * part):02x}" for part in row) for row in rows]
    # one of the two has a contrast of at least 4.58 on any ground
    return [(one, max("#000000", "#ffffff", key=lambda c: contrast(c, one))) for one in grounds]


def at_equal(result: Rows, against: str) -> dict[str, Any]:
    """A line a task, at equal amounts of steps, seconds or fits."""
    lines = []
    for task in result.tasks:
        amount = result.equal(task, against) if against != "steps" else result.steps(task)
        at = (against, amount)
        if math.isnan(amount):
            lines.append(
                {"task": task, "beside": "-", "cells": [_cell(None, False)] * many(result)}
            )
            continue
        lines.append(
            {
                "task": task,
                "beside": f"{amount:.3g}" if against == "seconds" else f"{amount:.0f}",
                "cells": cells(result, task, result.role, at=at),
            }
        )
    return {"beside": against, "lines": lines}


def compared(
    result: Rows, kinds: Sequence[tuple[str, str, bool]], tasks: Sequence[str]
) -> dict[str, Any]:
    """Lines of a task below each other: (what is beside, role, to the points seen)."""
    return {
        "beside": "",
        "lines": [
            {
                "task": task if not k else "",
                "span": len(kinds),
                "beside": said,
                "cells": cells(result, task, role, seen=seen),
            }
            for task in tasks
            for k, (said, role, seen) in enumerate(kinds)
        ],
    }


def cells(result: Rows, task: str, role: str, **how: Any) -> list[dict[str, Any]]:
    """The cells of a task, a contender each."""
    best = result.best(task, role, **how)
    return [
        _cell(result.interval(task, name, role, **how), name in best) for name in result.contenders
    ]


def differences(result: Rows) -> dict[str, Any]:
    """The paired differences of all contenders to the best of each task."""
    lines = []
    for task in result.tasks:
        best = result.best(task)
        found = []
        for name in result.contenders:
            if not best:
                found.append({"text": "-", "span": "", "kind": ""})
            elif name == best[0]:
                found.append({"text": "best", "span": "", "kind": "first"})
            else:
                gap = result.difference(task, name, best[0])
                found.append(cell_of_difference(gap, best=name in best))
        lines.append({"task": task, "cells": found})
    return {"lines": lines}


def cell_of_difference(gap: Interval, *, best: bool) -> dict[str, str]:
    """The cell of a paired difference to the best, to a thousandth; `best`: it may be 0."""
    middle, low, high = (round(value, PLACES) + 0.0 for value in (gap.median, gap.low, gap.high))
    span = "failed" if middle == math.inf else _span(Interval(middle, low, high, gap.count), 2)
    return {"text": _short(middle, sign="+"), "span": span, "kind": "same" if best else "worse"}


def wins(result: Rows) -> dict[str, int]:
    """The number of tasks on which each flow is best or cannot be told from the best."""
    best = [result.best(task) for task in result.tasks]
    counts = {name: sum(name in found for found in best) for name in result.contenders}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def sentence(result: Rows) -> str:
    """Whether a single flow is best, or cannot be told from the best, on all tasks."""
    counts = wins(result)
    total, most = len(result.tasks), max(counts.values())
    if not most:
        return "No flow has a sound run."
    leading = [name for name, count in counts.items() if count == most]
    verb = "is" if len(leading) == 1 else "are"
    if most == total:
        where = {1: "the task", 2: "both tasks"}.get(total, f"all {total} tasks")
        return f"{_and(leading)} {verb} best, or equal to the best, on {where}."
    each = "" if len(leading) == 1 else " each"
    return (
        f"No single flow is best on all tasks. {_and(leading)} {verb} most often best, or equal to"
        f" the best: on {most} of {total} tasks{each}."
    )


def many(result: Rows) -> int:
    """The number of contenders."""
    return len(result.contenders)


def _cell(found: Interval | None, best: bool) -> dict[str, Any]:
    """A cell: its number, its interval, its tone and a title."""
    if found is None or not found.count:
        return {"text": "-", "span": "", "tone": "none", "best": False, "title": "no run"}
    if math.isinf(found.median):
        title = f"at least half of {found.count} runs failed"
        return {"text": "∞", "span": "failed", "tone": "none", "best": False, "title": title}
    share = math.log(max(found.median, 1.0)) / math.log(WORST)
    return {
        "text": _short(found.median),
        "span": _span(found),
        "tone": min(round(share * (TONES - 1)), TONES - 1),
        "best": best,
        "title": f"{found}, {found.count} seeds",
    }


def _span(found: Interval, digits: int = 3) -> str:
    ends = (_short(end, digits) for end in (found.low, found.high))
    return " to ".join(ends) if found.count > 1 else ""


def _short(value: float, digits: int = 3, sign: str = "") -> str:
    text = f"{value:{sign}.{digits}g}"
    return text.replace("inf", "∞").replace("-", "\N{MINUS SIGN}")


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
