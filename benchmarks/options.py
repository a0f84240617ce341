"""Command-line options that the suites share, and the check of their values."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

# In a checkout this is `benchmarks`, and README.md can be written; in the installed package it is
# `particleflow.benchmarks`.
CHECKOUT = __package__ == "benchmarks"
# What the program is called.
PROGRAM = "python -m benchmarks" if CHECKOUT else "particleflow benchmark"
# The default folder of the files.
RESULTS = Path(__file__).parent / "results" if CHECKOUT else Path("out") / "benchmarks"


def parser(
    suite: str, description: str | None, *, record: bool = True, jobs: int | None = None
) -> argparse.ArgumentParser:
    """A suite's parser with --out, with --record where README.md has its section, and with --jobs.

    `description` is the docstring of the suite: its first line is shown.
    """
    made = argparse.ArgumentParser(
        prog=f"{PROGRAM} {suite}".rstrip(),
        description=(description or "").partition("\n")[0],
    )
    made.add_argument(
        "--out",
        type=folder,
        default=RESULTS,
        help=f"folder of the files (default: {shown(RESULTS)})",
    )
    made.set_defaults(record=False)
    if record and CHECKOUT:
        made.add_argument(
            "--record", action="store_true", help="also put the tables into benchmarks/README.md"
        )
    if jobs is not None:
        made.add_argument(
            "--jobs",
            type=positive,
            default=jobs,
            help="processes at a time, of one thread each (default: %(default)s)",
        )
    return made


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got '{text}'")
    return int(text)


def whole(text: str) -> int:
    """Read a whole number, 0 among them."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number >= 0, got '{text}'")
    return int(text)


def shown(path: Path) -> str:
    """A path as seen from the current folder."""
    return os.path.relpath(path)


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return a reader of "a,b": each name once, all of them known."""

    def read(text: str) -> list[str]:
        chosen = list(dict.fromkeys(text.split(",")))
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(known)}, got '{unknown[0]}'")
        return chosen

    return read


def folder(text: str) -> Path:
    """Return a folder that can be written to; this is tried before anything is measured."""
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
