"""The signals that ask a process to stop: SIGINT, SIGTERM and SIGHUP.

SIGINT is Ctrl-C, SIGTERM comes from schedulers, SIGHUP from a terminal that is gone. The command
line and the benchmarks listen to them; the library never does. It only lets them wait while a
picture is drawn.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

# The signals that ask to stop; Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals wait within the block; their handlers are called after it.

    A handler that raises within the C++ of matplotlib is lost there: it converts an argument by
    calling Python, takes any exception for an argument of another kind, and raises a ValueError of
    its own. Signals that end the process, or are ignored, still do so within the block. In other
    threads than the main one this does nothing. Cost: some microseconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    over = False

    def wait(number: int, _: FrameType | None) -> None:
        if not over:
            came.append(number)
        else:  # an exception of another handler left this one in its place
            signal.signal(number, before[number])
            signal.raise_signal(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    mine = [number for number, handler in before.items() if callable(handler)]
    try:
        for number in mine:
            signal.signal(number, wait)
        yield
    finally:
        over = True
        try:
            for number in mine:
                signal.signal(number, before[number])
        finally:
            _raised(came)


def _raised(numbers: Sequence[int]) -> None:
    """Send the signals to this process, each one though the handler of another raises."""
    with ExitStack() as sent:  # it goes backwards
        for number in reversed(numbers):
            sent.callback(signal.raise_signal, number)


class Stop:
    """The first signal raises KeyboardInterrupt, or waits while it is `held`; the second one kills.

    A signal that the process ignored stays ignored: Ctrl-C of a process that a shell started in the
    background, SIGHUP under nohup.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._held = False
        self._terminals: list[int] = []

    @property
    def code(self) -> int:
        """The exit code of a process that was asked to stop, by the custom of shells."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def said(self) -> str:
        """The name of the signal that came."""
        return "Ctrl-C" if self.signal in (0, signal.SIGINT) else signal.Signals(self.signal).name

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle the signals within the block.

        Python lets only the main thread handle signals; in other threads this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        mine = [
            number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)
        ]
        self._terminals = [file for file in (1, 2) if os.isatty(file)]
        for number in mine:
            signal.signal(number, self._came)
        try:
            yield self
        finally:
            for number in mine:
                signal.signal(number, before[number])

    @contextmanager
    def held(self, *, yes: bool = True) -> Iterator[None]:
        """Let a signal wait within the block: it does not raise, and `signal` tells afterwards.

        `yes=False` lets signals raise again within a held block.
        """
        before, self._held = self._held, yes
        try:
            yield
        finally:
            self._held = before

    def _came(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        for other in SIGNALS:
            if signal.getsignal(other) == self._came:
                signal.signal(other, signal.SIG_DFL)
        if (
            number != signal.SIGINT and number != signal.SIGTERM
        ):  # SIGHUP: the terminal is gone, and printing there would fail
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for file in self._terminals:
                os.dup2(nowhere, file)
            os.close(nowhere)
        if not self._held:
            raise KeyboardInterrupt(self.said)
