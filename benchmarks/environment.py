"""Processes of a measurement: their threads, how they end, and how busy the machine is.

`particleflow.study.environment` says where a measurement ran.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sized
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def workers(jobs: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Start `jobs` fresh processes of `threads` threads each.

    Processes are needed since thread pools read their variables when they are loaded.
    """
    before = {name: os.environ.get(name) for name in POOLS}
    os.environ.update(dict.fromkeys(POOLS, str(threads)))
    try:
        with ProcessPoolExecutor(
            jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_pin,
            initargs=(threads,),
        ) as pool:
            try:
                yield pool
            except KeyboardInterrupt:
                end(pool)
                raise
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end(pool: ProcessPoolExecutor) -> None:
    """End the work of a pool at once."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        process.terminate()


class Until:
    """A flag: the measurement has been stopped."""

    stopped = False


@contextmanager
def until_stopped(finished: Sized) -> Iterator[Until]:
    """Let a signal stop the measurement where something is finished, which is then written.

    Where nothing is finished, the signal ends the program.
    """
    until = Until()
    try:
        yield until
    except KeyboardInterrupt as stop:
        if not finished:
            raise
        until.stopped = True
        print(f"stopped by {stop}: what is finished is written", flush=True)


def _pin(threads: int) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the parent alone decides about the terminal's Ctrl-C
    import torch

    torch.set_num_threads(threads)


def load() -> float | None:
    """Return the mean number of runnable processes in the last minute, if the system tells it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
