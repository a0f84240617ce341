"""Read columns of numbers from a text file.

The module decides which line has names, which columns were asked for, and which columns look like
no coordinates.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from particleflow._refusals import Keyword, RefusedValueError, Row, Words
from particleflow._words import nearest

# Lower-case names that people give to a column that is no coordinate.
NAMED = (
    "id",
    "ids",
    "index",
    "idx",
    "key",
    "row",
    "no",
    "nr",
    "class",
    "classes",
    "label",
    "labels",
    "target",
    "category",
    "cluster",
    "group",
    "species",
    "unnamed: 0",
)
# Most values of a column of whole numbers that looks like a class: data sets have few classes.
CLASSES = 20
# Least mean number of rows for each value in such a column: a class repeats its values.
ROWS_A_CLASS = 5
# Number of lines after the first that are read to tell column names from points.
LOOKED_AT = 200


def read_text(
    path: Path, columns: Sequence[int | str] | None, header: bool | None
) -> tuple[np.ndarray, list[str], Row]:
    """Return the numbers (M, d), the names of their columns, and a remark about the first line."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    filled = (
        (number, text)
        for number, line in enumerate(lines, start=1)
        if (text := _content(line)).strip()
    )
    first, text = next(filled, (0, ""))
    if not first:
        raise ValueError("expected at least one line of numbers, got none")
    separator = next((mark for mark in (";", "\t", ",") if mark in text), None)
    fields = _split(text, separator)
    following = [line for _, (_, line) in zip(range(LOOKED_AT), filled, strict=False)]
    named, told = (
        _is_header(fields, [_split(line, separator) for line in following])
        if header is None
        else (header, ())
    )
    width = len(_split(following[0], separator)) if named and following else len(fields)
    names = fields if named else [str(k) for k in range(len(fields))]
    if named and len(names) == width - 1:
        names = ["", *names]  # R writes no name above the names of the rows
    index = (
        named and len(names) > 1 and not names[0]
    )  # pandas and R number the rows in a first column without a name
    offset = int(index)
    wanted = [offset + k for k in chosen(names[offset:], columns, named)]
    rows = _fast(lines[first if named else first - 1 :], separator, wanted, len(names))
    if rows is None:
        rows = _slow(lines, first if named else first - 1, separator, wanted, len(names))
    if not len(rows):
        raise ValueError("expected at least one line of numbers, got none")
    return rows, [names[k] for k in wanted], told and (f"line {first} ", *told)


def chosen(names: Sequence[str], columns: Sequence[int | str] | None, named: bool) -> list[int]:
    """Return the numbers of the columns asked for by name or by number; without any, of all."""
    if columns is None:
        return list(range(len(names)))
    found: list[int] = []
    for column in columns:
        if isinstance(column, str) and column in names:
            if list(names).count(column) > 1:
                raise RefusedValueError(
                    "columns",
                    f"names {column!r}, and {list(names).count(column)} columns are called so",
                    "",
                    "pass numbers, the first is 0",
                )
            found.append(list(names).index(column))
            continue
        if isinstance(column, str) and not re.fullmatch(r"-?\d+", column):
            known = (
                f"of the names {', '.join(names)}"
                if named
                else "numbers (the first is 0), since the file has no line of names"
            )
            raise RefusedValueError(
                "columns",
                f"must be {known}",
                f"{column!r}",
                nearest(column, names) or "name others",
            )
        number = int(column)
        if not -len(names) <= number < len(names):
            raise RefusedValueError(
                "columns",
                f"must be numbers below {len(names)}, the first is 0",
                number,
                "there are no more",
            )
        found.append(number % len(names))
    if len(set(found)) < len(found):
        raise RefusedValueError(
            "columns", "must name each column once", list(columns), "leave out the repeats"
        )
    return found


def suspicious(rows: np.ndarray, names: Sequence[str]) -> str:
    """Say why the first suspicious column may be no coordinate; return "" if none is."""
    n, d = rows.shape
    if d < 2 or n < 3:
        return ""
    whole = [bool((column == np.floor(column)).all()) for column in rows.T]
    for name, column, integers in zip(names, rows.T, whole, strict=True):
        if not integers:
            continue
        step = np.diff(column)
        if name.lower() in NAMED:
            return f"column {name!r} has the name of no coordinate"
        if n >= 10 and (step == 1).all() and column[0] in (0, 1):
            return f"column {name!r} counts the rows"
        if n >= 10 and not all(whole):
            if (step > 0).all():
                return f"column {name!r} holds whole numbers that rise from row to row, like an id"
            values = len(np.unique(column))
            if 2 <= values <= min(CLASSES, n / ROWS_A_CLASS):
                return f"column {name!r} holds {values} different whole numbers, like a class"
    return ""


def _is_header(fields: Sequence[str], following: Sequence[Sequence[str]]) -> tuple[bool, Row]:
    """Tell whether the fields are column names.

    The second value is a remark for the user where numbers were taken for names.
    """
    words = [field for field in fields if not _is_number(field)]
    numbers = [field for field in fields if _is_number(field)]
    counted = bool(numbers) and numbers == [str(k) for k in range(len(numbers))]
    if len(words) == len(fields):
        return True, ()
    if words:  # pandas writes `,0,1` or `id,0,1`
        return counted and fields.index(numbers[0]) == len(words), ()
    if not counted or not following:
        return False, ()
    if all(re.search(r"[.eEdD]|nan|inf", field) for row in following for field in row):
        return True, ()
    if len(fields) == 1:
        return False, ()
    return (
        True,
        (
            f"reads {','.join(fields)} and was taken for column names, as pandas writes them: if it"
            " is a point, ",
            Keyword("header", False, "pass "),
        ),
    )


def _content(line: str) -> str:
    return line.split("#", 1)[0].strip(" \r")


def _split(text: str, separator: str | None) -> list[str]:
    fields = (
        text.split()
        if separator is None
        else next(csv.reader([text], delimiter=separator, skipinitialspace=True))
    )
    return [field.strip().strip("\"'") for field in fields]


def _width(text: str, separator: str | None) -> int:
    return (
        len(_split(text, separator))
        if separator is None or '"' in text
        else text.count(separator) + 1
    )


def _fast(
    lines: Sequence[str], separator: str | None, wanted: Sequence[int], width: int
) -> np.ndarray | None:
    """Read all rows with numpy; return None where a line is malformed and must be found."""
    if len(wanted) < width and any(
        _width(text, separator) != width for text in map(_content, lines) if text.strip()
    ):
        return None  # numpy looks at the wanted columns alone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy warns of a file without rows
        try:
            usecols = wanted if len(wanted) < width else None
            rows = np.loadtxt(
                lines, delimiter=separator, comments="#", quotechar='"', ndmin=2, usecols=usecols
            )
        except ValueError:
            return None
    if not rows.size or rows.shape[1] != len(wanted) or not np.isfinite(rows).all():
        return None
    return rows if usecols is not None else rows[:, wanted]


def _slow(
    lines: Sequence[str], skipped: int, separator: str | None, wanted: Sequence[int], width: int
) -> np.ndarray:
    rows: list[list[float]] = []
    for number, line in enumerate(lines[skipped:], start=skipped + 1):
        text = _content(line)
        if not text.strip():
            continue
        fields = _split(text, separator)
        if len(fields) != width:
            raise ValueError(
                f"line {number}: expected {width} fields as in the lines before, got {len(fields)}:"
                f" {_short(text)}"
            )
        rows.append(
            [_number(fields[k], f"line {number}, column {k + 1}", separator) for k in wanted]
        )
    return np.array(rows, dtype=np.float64).reshape(-1, len(wanted))


def _is_number(text: str) -> bool:
    try:
        float(_plain(text))
    except ValueError:
        return False
    return True


def _plain(text: str) -> str:
    """Write Fortran's 1D+2 as 1E+2."""
    return re.sub(r"(?<=[\d.])[dD](?=[-+]?\d)", "e", text)


def _number(text: str, where: str, separator: str | None) -> float:
    """Return the finite number that `text` holds."""
    if not text:
        raise RefusedValueError(
            "columns",
            (f"{where}: expected a number",),
            "nothing",
            ("fill the gap, leave out the line, or choose other columns, ", Keyword("columns")),
        )
    if not _is_number(text):
        remedy: Words = (
            "choose columns of numbers, ",
            Keyword("columns"),
            " by name or number; only the first line may hold names",
        )
        if separator != "," and re.fullmatch(r"[-+]?\d+,\d+", text):
            remedy = "write decimals with a point, not a comma"
        raise RefusedValueError("columns", (f"{where}: expected a number",), _short(text), remedy)
    number = float(_plain(text))
    if not math.isfinite(number):
        raise ValueError(
            f"{where}: expected a finite number, got {_short(text)}: leave out the line"
        )
    return number


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
