"""Parts that a user supplied: an exception from one says which part raised it, and where."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any

from particleflow._checks import said

# The beginning of the note that an exception carries.
RAISED = "raised in "
# The folder of Python's own modules.
LIBRARY = sysconfig.get_paths()["stdlib"]
# The folder of installed modules.
SITE = "site-packages"


class Supplied:
    """`with Supplied("mobility", mobility):` notes the part in an exception raised within.

    An exception that already carries such a note keeps it: the inner part raised it. This is a
    class and not a generator because every step enters several, and a class is faster.
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
    """The note that names the part which raised an exception; empty without one."""
    notes = [
        note
        for note in getattr(error, "__notes__", ())
        if isinstance(note, str) and note.startswith(RAISED)
    ]  # `__notes__` exists after the first note
    return notes[0] if notes else ""


def in_short(error: BaseException) -> str:
    """For a message: the exception, and the part that raised it."""
    note = origin(error)
    return f"{said(error, most=300)}{note and ', ' + note}"


def _name(part: Any) -> str:
    """The name of a part; empty for this package's own wrappers, whose place tells more.

    A part's repr may be long, or raise, and is not used.
    """
    name = part.__qualname__ if isinstance(part, FunctionType) else type(part).__name__
    return "" if name.startswith("_") else f" {name}"


def _place(trace: TracebackType | None) -> str:
    """Function, file and line of the outermost frame of the user's own code."""
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
