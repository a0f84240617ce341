"""Advice on a run: what was seen, and what to change, in the words of Python or of another tongue.

The command line says the same sentences with its flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from particleflow._refusals import Argument


@dataclass(frozen=True)
class Change(Argument):
    """One change to a run: a setting, its new value, and the Python code that makes the change.

    Attributes
    ----------
    name : str
        The argument or setting, such as "dt".
    value : float, str or None
        Its new value.
    code : str
        The change in Python, such as "dt=0.1"; `str(change)` gives it.
    """

    value: float | str | None
    code: str

    def __str__(self) -> str:
        return self.code


@dataclass(frozen=True)
class Advice:
    """One sentence: what was seen, then the changes to try, the most promising one first.

    A run keeps it in `path.report["advice"]`, and `path.summary().advice` gives it.

    Attributes
    ----------
    seen : str
        What was seen, in words.
    changes : tuple of Change
        What to change, one or the other; empty where nothing is known to help.

    >>> smaller = pf.advice.Change("dt", 0.1, "dt=0.1")
    >>> str(pf.advice.Advice("the energy rose", (smaller,)))
    'the energy rose: try dt=0.1'
    >>> found = pf.advice.Advice("the energy rose", (smaller,))
    >>> found.said(lambda change: f"--{change.name} {change.value}")
    'the energy rose: try --dt 0.1'
    """

    seen: str
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        return self.said()

    def said(self, word: Callable[[Change], str] = str) -> str:
        """The sentence in words of your own.

        Parameters
        ----------
        word : callable (Change) -> str
            Turns a change into words, or leaves it out by returning ''. By default Python's code.

        Returns
        -------
        str
            "SEEN: try CHANGE or CHANGE", or what was seen alone.
        """
        words = list(dict.fromkeys(filter(None, map(word, self.changes))))
        return f"{self.seen}: try {' or '.join(words)}" if words else self.seen

    def kept(self) -> dict[str, Any]:
        """The advice as plain data, which a trajectory's report can hold."""
        return {"seen": self.seen, "changes": [asdict(change) for change in self.changes]}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Advice:
        """The inverse of `kept`.

        Parameters
        ----------
        kept : mapping
            What `kept` gave.

        Returns
        -------
        Advice
            An equal one.
        """
        return cls(kept["seen"], tuple(Change(**change) for change in kept["changes"]))


def advised(report: Mapping[str, Any]) -> tuple[Advice, ...]:
    """The advice that a trajectory's report holds."""
    held: Iterable[Mapping[str, Any]] = report.get("advice", ())
    return tuple(map(Advice.of, held))
