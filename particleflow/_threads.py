"""Threads: how many the machine can run, and how many a block of code may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Use so many threads within the block, of torch and of the libraries of numpy and scipy.

    The last bits of a sum depend on the number of threads.
    """
    # imported here: the help of the command line takes `processors` alone, and needs no torch
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(number):
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
