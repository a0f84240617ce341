"""What a study says while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from particleflow._progress import bar, in_notebook

# Seconds between two lines where there is no terminal.
EVERY = 10.0


class Progress:
    """The time that is left: a bar on a terminal or in a notebook, else a line now and then."""

    def __init__(self, total: int, known: int, seconds: float, *, shown: bool) -> None:
        self.total, self.count, self.known = total, known, known
        self.left, self.whole, self.shown = seconds, seconds, shown
        self.began = self.said = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if self.shown and (sys.stderr.isatty() or in_notebook()):
            self.bar = bar(total=self.total, initial=self.known, unit="run")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def add(self, key: Sequence[str], seconds: float) -> None:
        """A piece of work is finished, of so many expected seconds."""
        self.count, self.left = self.count + 1, self.left - seconds
        now = time.monotonic()
        rest = (now - self.began) * self.left / max(self.whole - self.left, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"{duration(rest)} left, {', '.join(key)}", refresh=False)
            self.bar.update()
        elif self.shown and (now - self.said > EVERY or self.count == self.total):
            self.said = now
            say(f"[{self.count}/{self.total}] {duration(now - self.began)}, {duration(rest)} left")


def say(line: str) -> None:
    """Write a line on stderr; in a notebook on stdout, where it is not shown as an error."""
    stream = sys.stdout if in_notebook() else sys.stderr
    stream.write(f"{line}\n")
    stream.flush()


def duration(seconds: float) -> str:
    """Seconds in words: "40 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
