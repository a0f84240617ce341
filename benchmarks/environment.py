"""Where numbers were measured: threads, processors, versions. No names of machines or paths."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
from collections.abc import Iterator, Sized
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "POT")


def processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(jobs: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """`jobs` fresh processes of `threads` threads each. Thread pools read their variables when they
    are loaded, hence processes.
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
    """End the work of a pool where it stands."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        process.terminate()


class Until:
    """Whether what was to be measured has been stopped."""

    stopped = False


@contextmanager
def until_stopped(finished: Sized) -> Iterator[Until]:
    """Let a signal end what is done here where something is finished, which is then written; else
    let the signal end it all.
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
    )  # of the terminal's Ctrl-C the parent alone decides
    import torch

    torch.set_num_threads(threads)


def describe() -> dict[str, Any]:
    """To be asked of a worker."""
    import torch

    import particleflow as pf

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": processors(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "particleflow": pf.__version__,
        **{name: version(name) for name in PACKAGES},
    }


def load() -> float | None:
    """Processes that wanted to run in the last minute, where the system says."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    """The model's name, where the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        "unknown",
    )
