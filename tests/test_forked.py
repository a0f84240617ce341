"""Processes that fork from a prepared one (forked.py) do what new interpreters do."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Python

SHOWN = "import os, sys; print(sys.argv, __name__, os.getcwd(), sys.path[0], sys.stdin.read())"
ENDS = {
    "pass": 0,
    "raise SystemExit": 0,
    "raise SystemExit(3)": 3,
    "raise SystemExit('why')": 1,
    "1 / 0": 1,
    "raise KeyboardInterrupt": -signal.SIGINT,
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": -signal.SIGTERM,
    "import atexit; atexit.register(print, 'at the end')": 0,
}


@pytest.mark.parametrize("code", ENDS)
def test_it_ends_as_python_does(python: Python, code: str) -> None:
    done = python.run("-c", code)
    assert done.returncode == ENDS[code]
    assert ("Traceback" in done.stderr) == ("/ 0" in code or "Keyboard" in code)
    assert ("why\n" in done.stderr) == ("why" in code)
    assert done.stdout == ("at the end\n" if "atexit" in code else "")


def test_it_starts_as_python_does(python: Python, tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SHOWN)
    for arguments in (("-c", SHOWN), ("shown.py",), ("-m", "shown")):
        call = [*arguments, "one", "two words"]
        new = subprocess.run(
            [sys.executable, *call],
            cwd=tmp_path,
            input="given",
            capture_output=True,
            text=True,
            check=True,
        )
        forked = python.run(*call, cwd=tmp_path, given="given")
        assert forked.stdout == new.stdout, forked.stderr


def test_it_is_heard_and_ended_while_it_runs(python: Python) -> None:
    with python.start("-c", "print('here', flush=True); import time; time.sleep(60)") as made:
        assert made.stdout.readline() == "here\n"
        assert made.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            made.wait(0.01)
        made.kill()
        assert made.communicate(timeout=20) == ("", "")
        assert made.returncode == -signal.SIGKILL
