"""The lock of a folder: one process writes to it, and others are told which.

The operating system holds the lock, and frees it when the process ends in whatever way. The file
says who holds it. It is emptied when the lock is given back, so that words in a free lock are those
of a process that died.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path

from particleflow._files import locked
from particleflow._refusals import RefusedValueError
from particleflow.checkpoint.documents import regular
from particleflow.checkpoint.errors import CheckpointError, DamageError

# Most bytes of what a lock says.
MOST = 1000


class Lock:
    """The lock file, held from here to `release`; `note` says from whom it was taken over.

    Raises
    ------
    RefusedValueError
        Another process holds it, or this one does already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = os.getpid()
        with suppress(FileExistsError):
            path.open("xb").close()
        try:
            self._file = regular(path, write=True)
        except DamageError as error:
            raise CheckpointError(f"'{path}' {error}: remove it") from None
        taken = locked(self._file.fileno())
        told = _told(self._file.read(MOST))
        if taken is False:
            self._file.close()
            raise RefusedValueError(
                "folder",
                f"must be a folder that no other run writes to, and {told or 'another process'}"
                f" writes to '{path.parent}'",
                remedy="wait for it to end, or choose another folder",
            )
        self.notes: list[str] = []
        if taken is None:
            self.notes.append("the file system has no locks: start no second run in the folder")
        elif told:
            self.notes.append(f"took over the lock of {told}, which is gone")
        self._say({"pid": self.process, "host": socket.gethostname(), "since": _now()})
        _held.add(self)

    def _say(self, words: dict[str, object] | None) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(b"" if words is None else json.dumps(words).encode() + b"\n")

    @property
    def is_mine(self) -> bool:
        """Does this process hold the lock, and no parent of it?"""
        return self.process == os.getpid()

    def check(self) -> None:
        """Refuse to go on where the folder is another one by now, or its lock was removed."""
        mine = os.fstat(self._file.fileno())
        found = self.path.stat()
        if (mine.st_dev, mine.st_ino) != (found.st_dev, found.st_ino):
            raise CheckpointError(f"another folder stands in the place of '{self.path.parent}'")

    def release(self) -> None:
        """Give the lock back; in a forked child, only let go of the file."""
        if self._file.closed:
            return
        if self.is_mine:
            with suppress(OSError):  # words that stay are taken for those of a dead process
                self._say(None)
        self._file.close()


# Locks of this process.
_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _in_child() -> None:
    """Let go of the locks that a fork has copied: a worker must not hold them after its parent."""
    for lock in list(_held):
        lock.release()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_in_child)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _told(data: bytes) -> str:
    """Who holds a lock, in words; empty where the file says nothing."""
    try:
        words = json.loads(data)
        pid, host, since = int(words["pid"]), str(words["host"])[:80], str(words["since"])[:40]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "an unknown process" if data else ""
    if (pid, host) == (os.getpid(), socket.gethostname()):
        return "this process"
    return f"process {pid} on {host} (since {since})"
