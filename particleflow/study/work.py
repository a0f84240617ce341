"""Independent pieces of work in several processes, each finished piece on the disk at once."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from particleflow._threads import threads as threads_of
from particleflow.study.progress import Progress
from particleflow.study.store import Store

# How often a piece of work may kill its process: the second time it stands alone.
TRIES = 2
# Seconds between two looks at whether the parent process is still there.
WATCHED = 0.2
# The message of a row whose process died so often.
DIED = "its process died twice: it may lack memory"


@dataclass(frozen=True)
class Work:
    """A piece of work: `run()` returns a row, a dict that JSON can hold.

    `key` names it within its folder. `facts` begin its row, whether it fails or not. `seconds` is
    what it costs, roughly: long pieces start first.
    """

    key: tuple[str, ...]
    run: Callable[[], dict[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 1.0


@dataclass
class Done:
    """What `perform` leaves: the rows by key, and whether it was stopped."""

    rows: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    interrupted: bool = False


def perform(
    works: Sequence[Work],
    store: Store,
    *,
    jobs: int = 1,
    threads: int = 1,
    progress: bool = False,
) -> Done:
    """Do the work that the store has no rows of, in `jobs` processes of `threads` threads each.

    Each row is in the store as soon as it is made. On Ctrl-C what is finished is returned. A piece
    of work whose process dies is tried once more, alone; if that dies too, its row says so. With
    one job all work is done in this process.
    """
    done = Done({work.key: row for work in works if (row := store.read(work.key)) is not None})
    left = sorted(
        (work for work in works if work.key not in done.rows), key=lambda work: -work.seconds
    )
    bar = Progress(len(works), len(done.rows), sum(work.seconds for work in left), shown=progress)
    try:
        with bar:
            for work, row in _rows(left, store, jobs, threads):
                done.rows[work.key] = row
                bar.add(work.key, work.seconds)
    except KeyboardInterrupt:
        done.interrupted = True
        # other processes may have finished some that have not been handed over
        for work in left:
            if work.key not in done.rows and (row := store.read(work.key)) is not None:
                done.rows[work.key] = row
    return done


def _rows(
    left: list[Work], store: Store, jobs: int, threads: int
) -> Iterator[tuple[Work, dict[str, Any]]]:
    """The rows of all work, in the order in which they are finished."""
    if jobs == 1:
        with threads_of(threads):
            for work in left:
                yield work, _done(work, store, os.getpid())
        return
    died: dict[tuple[str, ...], int] = {}
    waiting = {work.key: work for work in left}
    groups = [left]
    while groups:
        group = [work for work in groups.pop(0) if work.key in waiting]
        try:
            for key, row in _in_processes(group, store, jobs, threads):
                yield waiting.pop(key), row
        except _broken():
            suspects = [work for work in group if store.mark(work.key).exists()]
            for work in suspects:
                store.mark(work.key).unlink(missing_ok=True)
                died[work.key] = died.get(work.key, 0) + 1
                if died[work.key] >= TRIES and store.read(work.key) is None:
                    store.write(work.key, {**work.facts, "status": "failed", "message": DIED})
            # some were finished when another process died
            for work in [work for work in group if work.key in waiting]:
                known = store.read(work.key)
                if known is not None:
                    yield waiting.pop(work.key), known
            alone = [[work] for work in suspects if work.key in waiting]
            groups = [*alone, [work for work in group if work not in suspects], *groups]


def _in_processes(
    group: Sequence[Work], store: Store, jobs: int, threads: int
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    from joblib import Parallel, delayed, parallel_config

    if not group:
        return
    mine = os.getpid()
    with parallel_config(backend="loky", inner_max_num_threads=threads):
        pool = Parallel(
            n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs"
        )
        yield from pool(delayed(_apart)(work, store, threads, mine) for work in group)


def _broken() -> type[BaseException]:
    """What joblib raises where a process died."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    broken: type[BaseException] = BrokenProcessPool
    return broken


def _apart(
    work: Work, store: Store, threads: int, parent: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Do a piece of work in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone decides about Ctrl-C
    _end_with(parent)
    with threads_of(threads):
        return work.key, _done(work, store, parent)


@lru_cache(maxsize=1)
def _end_with(parent: int) -> None:
    """End this process soon after its parent.

    A killed parent cannot end its processes; they would wait for further work.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCHED)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _done(work: Work, store: Store, parent: int) -> dict[str, Any]:
    """The row of a piece of work, written unless the process that asked for it is gone.

    Work that raises has a row, too, whose status is "failed".
    """
    mark = store.mark(work.key)
    mark.touch()
    began = time.process_time()
    try:
        found = work.run()
    except Exception as error:  # a piece that fails must not end the others
        found = {
            "status": "failed",
            "message": f"{type(error).__name__}: {error}",
            "traceback": "".join(traceback.format_exception(error)),
        }
    row = {**work.facts, **found, "cpu_seconds": time.process_time() - began}
    if parent in (os.getpid(), os.getppid()):
        store.write(work.key, row)
        mark.unlink(missing_ok=True)
    return row
