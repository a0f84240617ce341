"""Python processes that start at once: each forks from one that has made the imports.

The imports take two seconds of a core, a fork a hundredth. A test of what happens while Python
starts, or of what is imported, starts a process with `subprocess` instead.
"""

from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
# Seconds after which a process is ended.
LONGEST = 300
# Bytes of a request that are read at once.
REQUEST = 1 << 16
# Libraries that the package imports when they are used.
LIBRARIES = (
    "joblib",
    "matplotlib.pyplot",
    "ot",
    "sklearn.linear_model",
    "threadpoolctl",
    "tomli_w",
    "tqdm",
)


class Process:
    """A started process: what the tests need of `subprocess.Popen`."""

    def __init__(self, arguments: tuple[str, ...], out: int, err: int, told: int) -> None:
        self.args = arguments
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self._told = os.fdopen(told)
        self.pid = int(self._told.readline())
        self.returncode: int | None = None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()
        self._told.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._told.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it writes until it ends: to the standard output, to the standard error."""
        said = ["", ""]

        def read(place: int) -> None:
            with (self.stdout, self.stderr)[place] as stream:
                said[place] = stream.read()

        readers = [threading.Thread(target=read, args=(k,), daemon=True) for k in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        return said[0], said[1]


class Python:
    """Starts processes as `python FILE ...`, `python -c CODE ...` and `python -m MODULE ...` do."""

    def __init__(self) -> None:
        more = {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.asks, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=os.environ | more,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(
        self, *arguments: str, cwd: Path | None = None, before: str = "", given: str = ""
    ) -> Process:
        """Start one; `before` is source code that it runs first, `given` its standard input."""
        out, err, told = os.pipe(), os.pipe(), os.pipe()
        request = {
            "arguments": arguments,
            "cwd": str(cwd or os.getcwd()),
            "before": before,
            "given": given,
        }
        line = f"{json.dumps(request)}\n".encode()
        socket.send_fds(self.asks, [line[:1]], [out[1], err[1], told[1]])
        self.asks.sendall(line[1:])
        for end in (out[1], err[1], told[1]):
            os.close(end)
        return Process(arguments, out[0], err[0], told[0])

    def run(
        self, *arguments: str, cwd: Path | None = None, before: str = "", given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Start one, and wait for its end."""
        with self.start(*arguments, cwd=cwd, before=before, given=given) as made:
            out, err = made.communicate()
            return subprocess.CompletedProcess(list(arguments), made.wait(), out, err)

    def close(self) -> None:
        self.asks.close()
        self.process.wait()


def prepare() -> None:
    """Import the whole package, and what it imports later."""
    import particleflow

    for module in pkgutil.walk_packages(particleflow.__path__, "particleflow."):
        if not module.name.endswith("__main__") and "benchmarks" not in module.name:
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)


def serve(asked: socket.socket) -> dict[str, Any]:
    """Answer each request by a fork, and return it in the forked process alone.

    The process that answers never returns. A process between both tells the pid and the end.
    """
    while True:
        request, streams, *_ = socket.recv_fds(asked, 1, 3)
        if not request:
            os._exit(0)
        while not request.endswith(b"\n"):
            request += asked.recv(REQUEST)
        guard = os.fork()
        if guard == 0:
            break
        for stream in streams:
            os.close(stream)
        _reap()
    asked.close()
    out, err, told = streams
    child = os.fork()
    if child == 0:
        for made, stream in ((out, 1), (err, 2)):
            os.dup2(made, stream)
        for made in streams:
            os.close(made)
        signal.alarm(LONGEST)
        return dict(json.loads(request))
    os.close(out)
    os.close(err)
    os.write(told, f"{child}\n".encode())
    os.write(told, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    os._exit(0)


def _reap() -> None:
    """Forget the guards that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def obey(arguments: list[str], cwd: str, before: str, given: str) -> None:
    """Do in this process what the arguments of python ask for."""
    os.chdir(cwd)
    sys.stdin = io.StringIO(given)
    exec(before, {})
    kind, *rest = arguments
    if kind == "-c":
        code, *more = rest
        sys.argv, sys.path[0] = ["-c", *more], ""
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(code, main.__dict__)
    elif kind == "-m":
        sys.argv, sys.path[0] = rest, cwd
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name="__main__")


def end(error: BaseException | None) -> NoReturn:
    """End this process as Python does, but take nothing apart: that takes a second."""
    threading._shutdown()
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error.code, int | None):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    prepare()
    wanted = serve(channel)
    caught: BaseException | None = None
    try:
        obey(**wanted)
    except BaseException as error:
        caught = error
    end(caught)
