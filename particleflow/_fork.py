"""Processes that were forked: the threads of the parent are not in them, and a library that waits
for these waits for ever.
"""

from __future__ import annotations

import os
import sys

import torch

from particleflow import _checks

# Threads that torch had in the parent, until the child has been told.
_lost = 0


def _in_child() -> None:
    """One thread for torch, before its OpenMP waits for those that are gone."""
    global _lost
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
        _lost = before


def tell() -> None:
    """Once in a forked child, where it goes on with one thread."""
    global _lost
    if _lost and torch.get_num_threads() == 1:
        threads, _lost = _lost, 0
        _checks.warn(
            f"this process was forked from one with {threads} threads for torch, which a fork does"
            " not copy: it computes in one thread. For more threads start workers with"
            " multiprocessing.get_context('spawn') or 'forkserver', or joblib's 'loky'; to silence"
            " this set OMP_NUM_THREADS=1 or call torch.set_num_threads(1) before the fork"
        )


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_in_child)
