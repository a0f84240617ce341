"""A sampler of the points in a user's file: .npy, .npz, or columns of numbers in a text file."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from particleflow import _checks
from particleflow._files import at_home, misread
from particleflow._refusals import (
    Keyword,
    Notice,
    Refusal,
    RefusedFileError,
    RefusedTypeError,
    RefusedValueError,
)
from particleflow._typing import Points
from particleflow._words import nearest, nearest_file
from particleflow.samplers.data import Rows
from particleflow.samplers.tables import chosen, read_text, suspicious

# Suffixes of text files.
TEXT = (".csv", ".tsv", ".txt")
POINTS = (".npy", ".npz", *TEXT)
REMEDY = "pass the path of a .npy, .npz or .csv file"


@dataclass(frozen=True)
class FromFile(Rows):
    r"""The rows of a user's file, as a distribution; the object reads the file once, when it is
    made.

    It is the empirical distribution of the M rows. A sample of n rows is in random order and holds
    every row :math:`\lfloor n / M \rfloor` or :math:`\lceil n / M \rceil` times, as in `FromArray`.

    A text file holds one point a line. Semicolons, tabs, commas or blanks separate the columns: the
    first of these that the first line contains. The file may start with one line of column names.
    Comments start with #. A first line 0,1,...,d-1 counts as names, as pandas writes them. A first
    column without a name numbers the rows (pandas, R) and is left out. Other columns of whole
    numbers that look like an id or a class get a warning.

    Parameters
    ----------
    path : str or Path
        A .npy, .npz, .csv, .tsv or .txt file.
    key : str, optional
        Which array of an .npz file that holds several.
    columns : sequence of str and int, optional
        The coordinates: names of the first line (or of a structured array), or numbers from 0 on.
        The other columns may hold anything. Left out, all columns are coordinates.
    header : bool, optional
        Whether the first line of a text file holds names. Left out, it is recognised.
    wide : bool
        Accept more coordinates than points (and more than 3). Otherwise such an array is refused,
        since most of them are transposed.

    Raises
    ------
    FileNotFoundError
        There is no such file; the message names the most similar one.
    ValueError
        `path` has another suffix, is a folder or a pipe, or cannot be read. Or its content is not
        finite, is ragged or empty, or is not numeric (the message tells line and column). Or `key`,
        `columns`, `header` or `wide` does not suit it.
    TypeError
        `path`, `columns`, `header` or `wide` has another type, or a numpy file holds no real
        numbers.

    Cost: O(M d) once, O((n + M) d) a sample.

    >>> from pathlib import Path
    >>> _ = Path("points.csv").write_text("x,y,name\n0.5,1.5,a\n2.5,3.5,b\n")
    >>> pf.samplers.FromFile("points.csv", columns=["x", "y"]).points.tolist()
    [[0.5, 1.5], [2.5, 3.5]]
    """

    path: str | Path
    _: KW_ONLY
    key: str | None = None
    columns: Sequence[str | int] | None = None
    header: bool | None = None
    wide: bool = False
    points: Points = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = existing(self.path, POINTS, REMEDY)
        suffix = path.suffix.lower()
        if suffix not in POINTS:
            raise RefusedValueError(
                "path",
                "must end in .npy, .npz, .csv, .tsv or .txt",
                path,
                "use numpy.save, or FromImage for a picture",
            )
        if self.key is not None and suffix != ".npz":
            raise RefusedValueError(
                "key", "chooses an array of an .npz file", f"`path` = {path}", "leave it out"
            )
        if self.columns is not None:
            object.__setattr__(self, "columns", _as_columns(self.columns))
        _checks.flag(self.wide, "wide")
        if self.header is not None:
            _checks.flag(self.header, "header")
        if self.header is not None and suffix not in TEXT:
            raise RefusedValueError(
                "header", "is for text files", f"`path` = {path}", "leave it out"
            )
        try:
            if suffix in TEXT:
                rows, names, told = read_text(path, self.columns, self.header)
            else:
                rows, names, told = *_chosen(_read_numpy(path, self.key), self.columns), ()
            points = _checks.as_points(rows, "points", dtype=torch.float64)
            n, d = points.shape
            if d > max(n, 3) and not self.wide:
                raise RefusedValueError(
                    "wide",
                    ("expected more points than coordinates",),
                    f"{n} rows of {d} columns",
                    (
                        "transpose it, ",
                        Keyword("wide", True, "FromArray(array.T), or pass "),
                        " if each row is a point",
                    ),
                )
        except Refusal as error:
            raise error.within(f"{path}: ") from None
        except TypeError as error:
            raise TypeError(f"{path}: {error}") from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: expected UTF-8 text, got {error}: export it again as a .csv file"
            ) from None
        except OSError as error:
            raise ValueError(
                f"{path}: cannot be read: {error.strerror or error}: {REMEDY}"
            ) from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        object.__setattr__(self, "points", points)
        if told:
            _checks.warn(Notice(f"{path}: ", *told))
        odd = suspicious(points.numpy(), names) if self.columns is None else ""
        if odd:
            others = [name for name in names if repr(name) != odd.split(" ", 2)[1]]
            _checks.warn(
                Notice(
                    f"{path}: {odd}, and was taken for a coordinate: choose the coordinates, e.g. ",
                    Keyword("columns", others[:4]),
                    ", or name it there too",
                )
            )


def _as_columns(columns: Any) -> tuple[str | int, ...]:
    """Return the columns as a tuple of names and numbers; a single one becomes one column."""
    several = (
        (columns,)
        if isinstance(columns, (str, Integral))
        else tuple(columns)
        if isinstance(columns, Iterable)
        else (None,)
    )
    if not all(
        isinstance(column, (str, Integral)) and not isinstance(column, bool) for column in several
    ):
        raise RefusedTypeError(
            "columns",
            "must be names or numbers of columns",
            f"{columns!r}",
            ("e.g. ", Keyword("columns", ("x", "y")), " or (0, 1)"),
        )
    if not several:
        raise RefusedValueError(
            "columns",
            "must hold one name or number at least",
            "none",
            "leave it out for all columns",
        )
    return several


def _chosen(array: np.ndarray, columns: Sequence[str | int] | None) -> tuple[np.ndarray, list[str]]:
    """Return the wanted columns of an array, structured or (M, d), and their names."""
    if array.dtype.names:
        names = list(array.dtype.names)
        wanted = [names[k] for k in chosen(names, columns, True)]
        words = [
            name for name in wanted if array[name].dtype.kind not in "fiub" or array[name].ndim != 1
        ]
        if words:
            raise RefusedTypeError(
                "columns",
                (f"column {words[0]!r} must hold numbers",),
                array[words[0]].dtype,
                ("choose others, ", Keyword("columns"), f", of {names}"),
            )
        return np.stack([array[name].astype(np.float64) for name in wanted], axis=1), wanted
    names = [str(k) for k in range(array.shape[1])] if array.ndim == 2 else []
    if columns is None or array.ndim != 2:
        return array, names
    which = chosen(names, columns, False)
    return array[:, which], [names[k] for k in which]


def existing(path: str | Path, suffixes: tuple[str, ...], remedy: str) -> Path:
    """Return `path` as the Path of an existing file.

    The error for a missing file names the most similar file name with one of these suffixes.
    """
    found = at_home(_checks.path(path, "path", "points.csv"))
    if os.path.isdir(found):  # pathlib raises for a name that is too long
        raise RefusedValueError("path", "must be a file", f"the folder {found}", remedy)
    if not os.path.exists(found):
        beside = found.parent.iterdir() if os.path.isdir(found.parent) else ()
        names = [
            other.name for other in beside if other.suffix.lower() in suffixes and other.is_file()
        ]
        raise RefusedFileError(
            "path",
            "must be a file that exists",
            found,
            nearest_file(found.name, names) or remedy,
        )
    if not found.is_file():
        raise RefusedValueError(
            "path",
            "must be a file that can be read again",
            f"the pipe or device {found}",
            "save what it gives, and pass that",
        )
    return found


def _read_numpy(path: Path, key: str | None) -> np.ndarray:
    """Return the only array of an .npy or .npz file, or the array called `key`."""
    with _in_words(path):
        loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        names = loaded.files
        if not names:
            raise ValueError(
                "expected an array, got an archive that holds none: save one with numpy.savez"
            )
        if key is None and len(names) != 1:
            raise RefusedValueError("key", f"must say which array holds the points, one of {names}")
        if key is not None and key not in names:
            raise RefusedValueError(
                "key", f"must be one of {names}", f"{key!r}", nearest(key, names)
            )
        name = names[0] if key is None else key
        with _in_words(path):
            array = loaded[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"expected an array, got something else in the archive, {name!r}: save one with"
            " numpy.savez"
        )
    return array


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Replace numpy's errors about a file, which advise to trust the file, by plain ones."""
    try:
        yield
    # DamageError files raise these errors: a cut .npy or an object (EOFError, ValueError), a header
    # that asks for too much memory (MemoryError), and an archive that is cut, encrypted or
    # compressed by another method (BadZipFile, zlib.error, NotImplementedError, RuntimeError).
    except (
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            "expected plain numbers as numpy.save and numpy.savez write them, got"
            f" {misread(path, error)}"
        ) from None
