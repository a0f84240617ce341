"""The thread that writes: jobs are done in order, and a bounded amount of memory waits for it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

# Bytes that may wait to be written, beyond one job: some records of a large run.
ROOM = 64 * 2**20


class Writer:
    """Does jobs one after another in a thread of its own, until one fails."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.process = os.getpid()
        self._jobs: deque[tuple[Callable[[], None], int, bool]] = deque()
        self._changed = threading.Condition()
        self._bytes = self._single = 0
        self._ends = False
        self._thread: threading.Thread | None = None

    def put(self, job: Callable[[], None], size: int, *, single: bool = False) -> None:
        """Queue a job that holds `size` bytes.

        The call waits while more than `ROOM` bytes are queued. Of jobs that are `single` only one
        is queued or done at a time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.failure is not None or self._has_room(size, single))
            if self.failure is not None:
                return
            self._jobs.append((job, size, single))
            self._bytes += size
            self._single += single
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="particleflow checkpoint", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _has_room(self, size: int, single: bool) -> bool:
        if single and self._single:
            return False
        return not self._bytes or self._bytes + size <= ROOM

    def wait(self) -> None:
        """Wait until all jobs are done, or one has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.failure is not None or not self._jobs)

    def stop(self) -> None:
        """Do what is queued, and end the thread."""
        if os.getpid() != self.process:  # a fork copies no threads
            return
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ends)
                if not self._jobs:
                    return
                job, size, single = self._jobs[0]
            try:
                job()
            except BaseException as error:
                with self._changed:
                    self.failure = error
                    self._jobs.clear()
                    self._changed.notify_all()
                return
            del job
            with self._changed:
                self._jobs.popleft()
                self._bytes -= size
                self._single -= single
                self._changed.notify_all()
