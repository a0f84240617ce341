"""Runs that are killed by SIGKILL at random moments go on bit for bit: real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.checkpoint import kills

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "count"),
    [("uLSIF", 3), *(pytest.param(name, 50, marks=pytest.mark.slow) for name in kills.FLOWS)],
)
def test_no_committed_state_is_lost_and_the_bits_are_the_same(
    name: str, count: int, tmp_path: Path
) -> None:
    found = kills.killed(name, count, 40 if count > 3 else 10, tmp_path)
    assert (found.kills, found.lost, found.equal) == (count, 0, count)
