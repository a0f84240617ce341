"""Workers of a parent that has used threads, however they are started: the numbers are the
parent's, and none hangs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("worker.py")
# Seconds after which the script and its worker say where they are, and end.
LIMIT = 240
SOME = ["compiled", "culled", "mesh", "kale"]
ALL = [
    *SOME,
    "fourier",
    "nystroem",
    "drmmd",
    "moreau",
    "kde",
    "ulsif",
    "kliep",
    "logistic",
    "transport",
    "classifier",
    "sklearn",
]
OTHERS = ["multiprocessing", "threading", "loky", "spawn", "forkserver"]


def run(how: str, kinds: list[str]) -> None:
    command = [sys.executable, str(SCRIPT), how, str(LIMIT), *kinds]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            told, _ = process.communicate(timeout=LIMIT + 30)
        finally:
            with contextlib.suppress(ProcessLookupError):  # with its workers, which may outlive it
                os.killpg(process.pid, signal.SIGKILL)
    assert told.strip().endswith("done"), told[-4000:]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        ("fork", SOME),
        *(pytest.param(how, ALL, marks=pytest.mark.slow) for how in ["fork", *OTHERS]),
    ],
)
def test_a_worker_of_a_parent_with_threads(how: str, kinds: list[str]) -> None:
    run(how, kinds)
