"""Run independent pieces of a sum together, in as many threads as torch has.

The pieces release the GIL: their work is done by compiled code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

Answer = TypeVar("Answer")


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """The pool of one process: a forked child has the object of its parent, but not its threads."""
    return ThreadPoolExecutor(threads)


def together(tasks: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """The answers of the tasks, in their order. A task may not wait for another one.

    A task owns what it works on: it may outlive its caller, whom an interrupt stops.
    """
    threads = torch.get_num_threads()
    if min(threads, len(tasks)) <= 1:
        return [task() for task in tasks]
    futures = [_pool(threads, os.getpid()).submit(task) for task in tasks]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
