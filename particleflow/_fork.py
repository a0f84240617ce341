"""Forked processes: torch is set to one thread there, and a warning says so.

A fork does not copy the parent's threads. A library that waits for them waits for ever.
"""

from __future__ import annotations

import os
import sys

import torch

from particleflow import _checks

# The number of threads that torch had in the parent; 0 in the parent and once `tell` has warned.
_lost = 0


def _in_child() -> None:
    """Set torch to one thread, before its OpenMP waits for threads that are gone."""
    global _lost
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
        _lost = before


def tell() -> None:
    """Warn once, in a forked child that computes in one thread."""
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
