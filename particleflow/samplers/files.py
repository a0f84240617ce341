"""Points out of a user's own file: .npy, .npz, or numbers in columns of text."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import numpy as np
import torch

from particleflow import _checks
from particleflow._typing import Points
from particleflow._words import nearest, nearest_file
from particleflow.samplers.data import Rows

TEXT = (".csv", ".tsv", ".txt")
POINTS = (".npy", ".npz", *TEXT)


@dataclass(frozen=True)
class FromFile(Rows):
    """The rows of a file, read once, when the object is made.

    Text files hold one point a line, columns separated by semicolons, tabs, commas or blanks (the first of these that the first line
    contains), at most one line of column names, and comments after #.

    Parameters
    ----------
    path : str or Path
        .npy, .npz, .csv, .tsv or .txt
    key : str, optional
        Which array of an .npz file that holds several.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        No such file, another suffix, not readable, not numeric (with line and column), ragged, empty, or not finite.
    """

    path: str | Path
    _: KW_ONLY
    key: str | None = None
    points: Points = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = existing(self.path, POINTS, "pass the path of a .npy, .npz or .csv file")
        suffix = path.suffix.lower()
        if suffix not in POINTS:
            raise ValueError(f"`path` must end in .npy, .npz, .csv, .tsv or .txt, got {path}: use numpy.save, or FromImage for a picture")
        if self.key is not None and suffix != ".npz":
            raise ValueError(f"`key` chooses an array of an .npz file, got `path` = {path}: leave it out")
        try:
            rows = _read_text(path) if suffix in TEXT else _read_numpy(path, self.key)
            points = _checks.as_points(rows, "points", dtype=torch.float64)
        except TypeError as error:
            raise TypeError(f"{path}: {error}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: expected UTF-8 text, got {error}: export it again as a .csv file") from None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None
        object.__setattr__(self, "points", points)


def existing(path: str | Path, suffixes: tuple[str, ...], remedy: str) -> Path:
    """`path` as the Path of a file that is there; else an error that names its nearest neighbour among the files with one of these suffixes."""
    found = Path(path).expanduser()
    if found.is_dir():
        raise ValueError(f"`path` must be a file, got the folder {found}: {remedy}")
    if not found.exists():
        beside = found.parent.iterdir() if found.parent.is_dir() else ()
        names = [other.name for other in beside if other.suffix.lower() in suffixes and other.is_file()]
        raise FileNotFoundError(f"`path` must be a file that exists, got {found}{nearest_file(found.name, names) or ': ' + remedy}")
    return found


def _read_numpy(path: Path, key: str | None) -> np.ndarray:
    """The one array of an .npy or .npz file, or the one called `key`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"expected plain numbers as numpy.save and numpy.savez write them, got {error}") from None
    if key is None and len(arrays) != 1:
        raise ValueError(f"`key` must say which array holds the points, one of {list(arrays)}")
    if key is not None and key not in arrays:
        raise ValueError(f"`key` must be one of {list(arrays)}, got {key!r}{nearest(key, arrays)}")
    return next(iter(arrays.values())) if key is None else arrays[key]


def _read_text(path: Path) -> np.ndarray:
    """Columns of numbers as an (M, d) array."""
    rows: list[list[float]] = []
    separator: str | None = None
    first = True
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.split("#", 1)[0].strip(" \r\n")
            if not text.strip():
                continue
            if first:
                separator = next((mark for mark in (";", "\t", ",") if mark in text), None)
            fields = [part.strip().strip("\"'") for part in text.split(separator)]
            if first and not fields[0]:
                raise ValueError(f"line {number}: the first column is empty: if it counts the rows, leave it out (pandas: index=False)")
            names = first and not any(map(_is_number, fields))
            first = False
            if names:
                continue
            rows.append([_number(part, f"line {number}, column {k}", separator) for k, part in enumerate(fields, start=1)])
            if len(fields) != len(rows[0]):
                raise ValueError(f"line {number}: expected {len(rows[0])} numbers as in the line before, got {len(fields)}: {_short(text)}")
    if not rows:
        raise ValueError("expected at least one line of numbers, got none")
    return np.array(rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, where: str, separator: str | None) -> float:
    """The finite number that `text` is."""
    if not text:
        raise ValueError(f"{where}: expected a number, got nothing: fill the gap or leave out the line")
    if not _is_number(text):
        remedy = "keep only columns of numbers, and at most one line of names, the first"
        if separator != "," and re.fullmatch(r"[-+]?\d+,\d+", text):
            remedy = "write decimals with a point, not a comma"
        raise ValueError(f"{where}: expected a number, got {_short(text)}: {remedy}")
    if not math.isfinite(float(text)):
        raise ValueError(f"{where}: expected a finite number, got {_short(text)}: leave out the line")
    return float(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
