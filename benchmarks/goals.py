"""Measurements of a suite, and the goals for their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measurement: a function that runs in its own process, at full or quick size."""

    run: Callable[..., dict[str, Any]]
    full: Mapping[str, Any]
    quick: Mapping[str, Any]
    threads: int = 1


@dataclass(frozen=True)
class Goal:
    """A line of the table: a number of a row, and the least or most that it should be."""

    row: str
    number: str
    what: str
    form: str
    least: float | None = None
    most: float | None = None

    @property
    def text(self) -> str:
        if self.least is not None:
            # At least 35 times as fast is at most 1/35 of the time.
            return f"{'<=' if self.form.startswith('1/') else '>='} {self.form.format(self.least)}"
        return f"<= {self.form.format(self.most)}" if self.most is not None else "reported"

    def reached(self, value: float | None) -> bool | None:
        if value is None or (self.least is None and self.most is None):
            return None
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


# A format such as {:.3g}; "1/..." is a share of the other's time, kept as its inverse.
