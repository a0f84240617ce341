"""Statements with a stated range and a value for each seed: their words, and a strip of dots."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from particleflow import _checks

# The verdict of a statement that the simulator confirms.
HOLDS = "holds"
# Marks of verdicts, which read without colour: confirmed, refuted, anything else.
MARKS = ("✓", "✗", "○")
# What a statement may leave out, and what is meant then.
OPTIONAL = {
    "section": "",
    "words": "",
    "source": "",
    "number": "",
    "seeds": None,
    "note": "",
    "command": "",
}
# Width and height of a strip, and the height at which its range begins and ends.
WIDTH, HEIGHT = 240.0, 40.0
TOP, BOTTOM = 3.0, 25.0
# Share of the strip on either side of a range with two ends.
BESIDE = 0.25
# Share of the strip that is free beside the outermost value where an end is open.
FREE = 0.08
# Ratio of the ends from which the scale is logarithmic.
DECADE = 10.0
# Heights of dots in turn, so that equal values do not hide each other.
LEVELS = (14.0, 9.0, 19.0)
# Most of a strip that the number at an end of the range takes, on either side.
LABEL = 26.0


def statements(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The statements as the page shows them.

    Raises
    ------
    TypeError, ValueError
        A statement is no mapping, or lacks its name, range, values or verdict.
    """
    found: list[dict[str, Any]] = []
    example = "{'name': ..., 'low': 0.1, 'high': 0.2, 'values': [...], 'verdict': 'holds'}"
    for row in _checks.several(rows, "truth", remedy=f"e.g. [{example}]"):
        if not isinstance(row, Mapping):
            raise TypeError(f"`truth` must hold mappings, got {_checks.said(row)}: e.g. {example}")
        for name in ("name", "low", "high", "values", "verdict"):
            if name not in row:
                raise ValueError(
                    f"`truth` must have {name!r} in each statement, got {', '.join(row)}: e.g."
                    f" {example}"
                )
        values = [_number(value) for value in row["values"]]
        within = sum(_inside(value, row["low"], row["high"]) for value in values)
        verdict = str(row["verdict"])
        good = verdict == HOLDS
        refuted = not good and verdict.startswith("fail")
        found.append(
            {
                **OPTIONAL,
                **row,
                "id": f"statement-{len(found) + 1}",
                "good": good,
                "kind": "good" if good else "bad" if refuted else "open",
                "mark": MARKS[0 if good else 1 if refuted else 2],
                "verdict": verdict,
                "measured": _measured(values),
                "within": f"{within} of {len(values)} within" if values else "no values",
                "range": said_range(row["low"], row["high"]),
                "strip": strip(values, _end(row["low"]), _end(row["high"])),
            }
        )
    return found


def sections(found: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The statements by their sections, in order of their first appearance."""
    names = dict.fromkeys(one["section"] for one in found)
    return [(name, [one for one in found if one["section"] == name]) for name in names]


def strip(values: Sequence[float], low: float | None, high: float | None) -> dict[str, Any]:
    """Where the range, the dots and the numbers lie in a strip of `WIDTH` x `HEIGHT`.

    The scale is logarithmic where the range spans a decade and everything is positive. Values
    beyond the strip are arrows at its ends.
    """
    finite = [value for value in values if math.isfinite(value)]
    ends = [end for end in (low, high) if end is not None]
    known = [*ends, *finite] or [0.0]
    span = ends if len(ends) == 2 else known
    log = min(known) > 0 and max(span) / min(span) >= DECADE
    scale = math.log if log else float
    at = [scale(value) for value in known]
    if len(ends) == 2 and low != high:
        first, last = scale(ends[0]), scale(ends[1])
        beside = BESIDE / (1 - 2 * BESIDE) * (last - first)
        left, right = first - beside, last + beside
    else:
        wide = max(at) - min(at) or abs(at[0]) or 1.0
        if len(ends) == 2:  # a single number, in the middle
            wide = max(abs(each - at[0]) for each in at) or wide
            left, right = at[0] - wide * (1 + FREE), at[0] + wide * (1 + FREE)
        else:
            left, right = min(at) - FREE * wide, max(at) + FREE * wide

    def place(value: float) -> float:
        return WIDTH * (scale(value) - left) / (right - left)

    x0 = 0.0 if low is None else place(low)
    x1 = WIDTH if high is None else place(high)
    dots, over = [], [0, 0]
    for k, value in enumerate(values):
        x = place(value) if math.isfinite(value) else math.copysign(math.inf, value)
        if 0 <= x <= WIDTH:
            inside = _inside(value, low, high)
            dots.append({"x": round(x, 1), "y": LEVELS[k % len(LEVELS)], "inside": inside})
        elif not math.isnan(value):
            over[x > 0] += 1
    labels = {end: place(end) for end in ends}
    return {
        "x": round(x0, 1),
        "wide": round(max(x1 - x0, 1.5), 1),
        "dots": dots,
        "under": over[0],
        "over": over[1],
        "log": log,
        "labels": [
            {"x": round(min(max(x, LABEL), WIDTH - LABEL), 1), "text": f"{end:.3g}"}
            for end, x in labels.items()
        ],
    }


def said_range(low: Any, high: Any) -> str:
    """The stated range in words."""
    first, last = _end(low), _end(high)
    if first is None or last is None:
        ends = [("at least", first), ("at most", last)]
        return " ".join(f"{word} {end:.4g}" for word, end in ends if end is not None) or "any"
    return f"{first:.4g}" if first == last else f"{first:.4g} to {last:.4g}"


def _measured(values: Sequence[float]) -> str:
    """The median, and the least and the largest value."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    middle, low, high = (
        f"{value:.3g}".replace("inf", "∞")
        for value in (statistics.median(known), min(known), max(known))
    )
    return middle if len(known) == 1 else f"{middle} ({low} to {high})"


def _inside(value: float, low: Any, high: Any) -> bool:
    first, last = _end(low), _end(high)
    return (first is None or value >= first) and (last is None or value <= last)


def _end(value: Any) -> float | None:
    """An end of a range; None where it is open."""
    return None if value is None or math.isinf(value) else float(value)


def _number(value: Any) -> float:
    """A value; what was not measured is not a number."""
    return math.nan if value is None else float(value)
