"""Parts that a user has supplied: an exception that one of them raises says which part it was, and
where.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any

from particleflow._checks import said

# How the note begins that an exception carries.
RAISED = "raised in "
# Where Python's own modules are, and the others that are installed.
LIBRARY, SITE = sysconfig.get_paths()["stdlib"], "site-packages"


class Supplied:
    """`with Supplied("mobility", mobility):` adds a note to an exception within, unless it has one
    of a part inside this part.

    A class of its own, not a generator: a step enters some.
    """

    __slots__ = ("name", "part")

    def __init__(self, name: str, part: Any) -> None:
        self.name, self.part = name, part

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not origin(error):
            part = f" '{self.part}'" if isinstance(self.part, str) else _name(self.part)
            error.add_note(f"{RAISED}`{self.name}`{part}{_place(trace)}")


def origin(error: BaseException) -> str:
    """The note of an exception that one of the parts has raised, else nothing."""
    notes = [
        note
        for note in getattr(error, "__notes__", ())
        if isinstance(note, str) and note.startswith(RAISED)
    ]  # Python adds it on demand
    return notes[0] if notes else ""


def in_short(error: BaseException) -> str:
    """For a message: the exception, and the part that raised it."""
    note = origin(error)
    return f"{said(error, most=300)}{note and ', ' + note}"


def _name(part: Any) -> str:
    """Without its repr, which may be long, or raise. Nothing of our own wrappers, whose place tells
    more.
    """
    name = part.__qualname__ if isinstance(part, FunctionType) else type(part).__name__
    return "" if name.startswith("_") else f" {name}"


def _place(trace: TracebackType | None) -> str:
    """Function, file and line of the outermost frame that is neither this package's nor a
    library's.
    """
    package = __name__.partition(".")[0]
    while trace is not None:
        frame = trace.tb_frame
        file = frame.f_code.co_filename
        if (
            str(frame.f_globals.get("__name__")).partition(".")[0] != package
            and not file.startswith((LIBRARY, "<frozen"))
            and SITE not in file
        ):
            return f" ({frame.f_code.co_name}, {Path(file).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return ""
