"""The streams a command prints to: one that is closed, full or without a reader stops no work.

The command line and the benchmarks print through it; the library never prints.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any

from particleflow._words import shown

# The exit code of a command that went well but could not print everything.
UNPRINTED = 1
# The file numbers of standard input, output and error.
STANDARD = (0, 1, 2)


class Style(Enum):
    """How text looks on a terminal; the values are the codes of ECMA-48."""

    PLAIN = ""
    BOLD = "1"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"


class Output(io.TextIOBase):
    """A stream to write to; after its first failure nothing is written.

    Control characters other than those in `keep` are escaped.
    """

    def __init__(self, stream: Any, *, keep: str) -> None:
        self._stream, self._keep = stream, keep  # None: Python found it closed
        # why something could not be printed; empty for a reader who has left, as `| head` does
        self.trouble = "" if stream is not None else "the stream is closed"

    @property
    def works(self) -> bool:
        return self._stream is not None

    # typeshed declares an attribute; here it cannot be set
    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._stream.fileno())

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._put(shown(text, self._keep))
        return len(text)

    def styled(self, pieces: Iterable[tuple[str, Style]]) -> None:
        """Write pieces of text, with colours on a terminal that has them.

        NO_COLOR in the environment, or TERM=dumb, leaves colours out (https://no-color.org).
        """
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        colours = self.isatty() and not plain
        for text, style in pieces:
            safe = shown(text, self._keep)
            self._put(f"\x1b[{style.value}m{safe}\x1b[0m" if colours and style.value else safe)

    def _put(self, text: str) -> None:
        """Write text in which control characters are escaped."""
        if self._stream is not None:
            try:  # the stream's encoding may lack characters of a file's name
                self._stream.write(
                    text.encode(self.encoding, "backslashreplace").decode(self.encoding)
                )
                self._stream.flush()
            except BrokenPipeError:
                self._leave()
            except (OSError, ValueError) as error:  # ValueError: the stream was closed elsewhere
                self.trouble = (error.strerror if isinstance(error, OSError) else None) or str(
                    error
                )
                self._leave()

    def _leave(self) -> None:
        """Print no more, and drop what waits in the stream.

        Python would otherwise try it again at its end, and complain.
        """
        with suppress(OSError, ValueError):
            file = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, file)
            os.close(nowhere)
        self._stream = None


class Printed:
    """The two streams of a command called `name`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.out, self.err = Output(sys.stdout, keep="\n\t"), Output(sys.stderr, keep="\n\t\r")
        self.results = ""  # the folder of the results, once it is written

    def tell(self, text: str) -> None:
        """Print one line about what went wrong, on the stream that works."""
        line = f"{self.name}: {' '.join(text.split())}\n"
        self.err.write(line)
        if not self.err.works:
            self.out.write(line)

    def code(self, code: int) -> int:
        """The exit code of a command that ends with `code`; warns of what was not printed."""
        if not self.out.trouble:
            return code
        self.tell(
            "warning: not all could be printed:"
            f" {self.out.trouble}{self.results and f'; the results are in {self.results}'}"
        )
        return code or UNPRINTED


@contextmanager
def printed(name: str) -> Iterator[Printed]:
    """Replace the standard streams by safe ones within the block.

    A standard stream that is closed is opened on the null device: a file opened later would take
    its number.
    """
    for file in STANDARD:
        try:
            os.fstat(file)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    mine = Printed(name)
    sys.stdout, sys.stderr = mine.out, mine.err
    try:
        yield mine
    finally:
        sys.stdout, sys.stderr = before
