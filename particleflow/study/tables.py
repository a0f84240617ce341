"""Tables as text: aligned for a terminal, Markdown, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def aligned(
    headings: Sequence[str], rows: Sequence[Sequence[Any]], *, markdown: bool = False
) -> str:
    """Return a table with aligned columns, in Markdown where it is asked for."""
    cells = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(headings))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    if not markdown:
        return "\n".join("  ".join(row).rstrip() for row in padded)
    lines = [f"| {' | '.join(row)} |" for row in padded]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; the columns are all keys, in order of their first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()
