"""Writing tables, as text and in files."""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from particleflow._files import replace_text
from particleflow.study.environment import describe

from .goals import Goal

RECORD = Path(__file__).parent / "README.md"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the median, and the range if there is one: 0.0421 (0.0402-0.0455)."""
    middle, low, high = (
        f"{value:.{digits}g}" for value in (statistics.median(values), min(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown, aligned so that it also reads well on a terminal."""
    cells = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return "\n".join(
        [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
    )


def save(
    folder: Path, name: str, record: Mapping[str, Any], text: str, rows: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Write <name>.json (everything), .md (the tables) and .csv (a line a run), and print where."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{end}" for end in ("json", "md", "csv")]
    replace_text(paths[0], json.dumps(record, indent=1) + "\n")
    replace_text(paths[1], text + "\n")
    columns = list(
        dict.fromkeys(
            key for row in rows for key, value in row.items() if not isinstance(value, (list, dict))
        )
    )
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_text(paths[2], lines.getvalue())
    print("\nwritten: " + ", ".join(os.path.relpath(path) for path in paths))
    return paths


def insert(text: str, *, marks: tuple[str, str], path: Path = RECORD) -> None:
    """Put text between the two marks of a file, in place of what was there."""
    begin, end = marks
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(
            f"`{path.name}` must hold the lines {begin} and {end}: put them where the results"
            " belong"
        )
    replace_text(path, f"{before}{begin}\n{text}\n{end}{after}")


def against(goals: Sequence[Goal], rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of goals beside what the rows measured."""
    found = [(goal, rows[goal.row].get(goal.number)) for goal in goals]
    return table(
        ["what", "goal", "measured", "reached"],
        [
            [
                goal.what,
                goal.text,
                "-" if value is None else goal.form.format(value),
                {True: "yes", False: "no", None: "-"}[goal.reached(value)],
            ]
            for goal, value in found
        ],
    )


def finish(
    args: Namespace, suite: str, text: str, rows: Mapping[str, Mapping[str, float]], **more: Any
) -> None:
    """Write the files of a suite of rows; with --record, put its table into README.md."""
    print(f"\n{text}")
    record = {"suite": suite, "rows": rows, "environment": describe(), **more}
    lines = [{"row": name, **row} for name, row in rows.items()]
    save(args.out, f"{suite}-quick" if args.quick else suite, record, text, lines)
    if args.record:
        insert(text, marks=(f"<!-- {suite}: begin -->", f"<!-- {suite}: end -->"))
