"""Tables, as text and in files."""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from particleflow._files import replace_text

MARKS = ("<!-- results: begin -->", "<!-- results: end -->")


def names(text: str, known: Collection[str]) -> list[str]:
    """Of the command line's "a,b": each once, all of them known."""
    chosen = list(dict.fromkeys(text.split(",")))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(known)}, got '{unknown[0]}'")
    return chosen


def folder(text: str) -> Path:
    """Of the command line's --out: a folder that can be written to, known before anything is
    measured.
    """
    out = Path(text)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b" ")
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be a folder that can be written to, got {text!r}: {error.strerror}: choose"
            " another"
        ) from None
    return out


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, and the range where there is one: 0.0421 (0.0402-0.0455)."""
    middle, low, high = (
        f"{value:.{digits}g}" for value in (statistics.median(values), min(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, its columns aligned so that it also reads well on a terminal."""
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
    """<name>.json (everything), <name>.md (the tables), <name>.csv (one line a run); returns their
    paths.
    """
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
    return paths


def insert(path: Path, text: str, *, marks: tuple[str, str] = MARKS) -> None:
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
