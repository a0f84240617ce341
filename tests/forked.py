"""Run scripts one after the other, each in a process of its own, with the imports made once.

A process imports the libraries and then forks for each script. `Reader` starts it and asks it.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Seconds after which a script is ended.
LONGEST = 300


class Reader:
    """Runs scripts as `python FILE` in the file's own folder would."""

    def __init__(self) -> None:
        more = {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: Path) -> tuple[int, str]:
        """The exit status of a script, and what it wrote to its standard error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{script}\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return status, script.with_suffix(".stderr").read_text(encoding="utf-8")

    def close(self) -> None:
        self.process.communicate()


def serve() -> None:
    """Answer each line of the standard input, a script, by a line with its exit status."""
    import particleflow as pf

    importlib.import_module("matplotlib.pyplot")
    for name in pf.__all__:
        getattr(pf, name)
    for line in sys.stdin:
        script = Path(line.rstrip("\n"))
        child = os.fork()
        if child == 0:
            _run(script)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(script: Path) -> None:
    """In the forked process, which ends here."""
    signal.alarm(LONGEST)
    os.chdir(script.parent)
    error = os.open(script.with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDWR)
    for made, stream in ((nothing, 0), (nothing, 1), (error, 2)):
        os.dup2(made, stream)
    sys.argv, sys.path[0] = [str(script)], str(script.parent)
    status = 1
    try:
        runpy.run_path(str(script), run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
