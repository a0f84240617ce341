"""Keep KeOps' failures from the caller, by a private cache and a trial in another process.

KeOps compiles a formula at its first use, and loads the compiled file into the process. A truncated
file kills that process (SIGBUS). Two processes that compile at the same time can leave a truncated
file. A missing compiler shows only at this point. Five measures keep such failures away:

- Compiled files lie in our own folder (mode 0700).
- Only one process at a time compiles.
- An index holds the size and the check sum of each finished file.
- Every other file is removed before anything is loaded.
- Before its first use in a process, KeOps is tried in another process, with a time-out.

The trial runs this file as a program, without torch. So this file imports only the standard library
at its head.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import cast

# Whether -march=native is a flag of this machine's compiler.
NATIVE = sys.platform.startswith("linux") and platform.machine() in ("x86_64", "aarch64")
# Flags for speed. KeOps calls exp(double) for floats, which is not vectorised. math.h brings an
# exp(float). __FAST_MATH__ makes glibc declare its vector forms. The other flags let gcc use these
# in a sum over j. -ffast-math is not among them: with it gcc drops NaN, and links code that flushes
# the denormal numbers of the whole process to zero.
FLAGS = (
    "-march=native "
    * NATIVE
    + "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -D__FAST_MATH__"
    " -include math.h"
)

# The message where pykeops is missing.
NOT_INSTALLED = "pykeops is not installed: pip install 'particleflow-sim[keops]'"
# Exit status of the trial where pykeops sees no CUDA device.
NO_CUDA = 3


def compiler() -> str | None:
    """Return the C++ compiler that pykeops will call, or None."""
    chosen = os.environ.get("CXX", "")
    names = [chosen, "clang++", "g++"] if sys.platform == "darwin" else [chosen, "g++"]
    return next((name for name in names if name and shutil.which(name)), None)


@lru_cache
def cache_folder() -> Path:
    """Return our folder for compiled formulas: in the user's cache, else in the temporary folder.

    The folder has mode 0700. Its name holds the versions and the machine on which the files depend.
    Raises an OSError where neither place can be written.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    machine = hashlib.sha256(
        f"{sys.version}{platform.machine()}{_processor()}".encode()
    ).hexdigest()[:8]
    name = f"keops-{version('pykeops')}-{machine}"
    refused = []
    for parent in (
        Path(base, "particleflow"),
        Path(tempfile.gettempdir(), f"particleflow-{os.getuid()}"),
    ):
        try:
            return _private(_private(parent) / name)
        except OSError as error:
            refused.append(str(error))
    raise OSError("; ".join(refused))


def _processor() -> str:
    """Return the processor's features, on which files depend: machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _private(path: Path) -> Path:
    """Return `path` as a writable folder that nobody else can put code into."""
    if not path.is_absolute():
        raise FileNotFoundError(f"no home folder: {path}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {path.lstat().st_uid, path.stat().st_uid} != {os.getuid()}:
        raise PermissionError(f"{path} belongs to somebody else")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)
    with tempfile.TemporaryFile(dir=path):
        return path


@contextmanager
def building(folder: Path, timeout: float) -> Iterator[None]:
    """Lock `folder` (or raise TimeoutError), and drop its unfinished files.

    Files made within the context count as finished unless the context raises.
    """
    import fcntl

    with open(folder / "lock", "w") as lock:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"another process has kept {folder} locked for {timeout:g} s"
                    ) from None
                time.sleep(0.05)
        _drop_unfinished(folder)
        yield
        index = folder / "index.json"
        finished = {str(path.relative_to(folder)): _sum(path) for path in _files(folder)}
        index.with_suffix(".new").write_text(json.dumps(finished))
        os.replace(index.with_suffix(".new"), index)


def _drop_unfinished(folder: Path) -> None:
    """Unlink unfinished files, never truncate them: other processes may have them loaded."""
    try:
        finished = json.loads((folder / "index.json").read_text())
    except (OSError, ValueError):
        finished = {}
    for path in _files(folder):
        if finished.get(str(path.relative_to(folder))) != _sum(path):
            path.unlink()


def _empty(folder: Path, timeout: float) -> None:
    try:
        with building(folder, timeout):
            for path in _files(folder):
                path.unlink()
    except TimeoutError:
        pass  # the next trial says so


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.parent != folder]


def _sum(path: Path) -> list[int]:
    content = path.read_bytes()
    return [len(content), zlib.crc32(content)]


def load(folder: Path, timeout: float) -> None:
    """Import pykeops silently with our folder and flags, and restore the environment.

    Nothing happens where the program has already imported pykeops.
    """
    if "pykeops" in sys.modules:
        return
    ours = {
        "KEOPS_CACHE_FOLDER": str(folder),
        "CXXFLAGS": f"{FLAGS} {os.environ.get('CXXFLAGS', '')}".strip(),
        "KEOPS_VERBOSE": "0",
        "PYKEOPS_VERBOSE": "0",
    }
    before = {name: os.environ.get(name) for name in ours}
    with building(folder, timeout):
        os.environ.update(ours)
        try:
            import pykeops  # noqa: F401
            from pykeops.common.keops_io import keops_binder
            from pykeops.common.keops_io.LoadKeOps import get_keops_dll
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
    # pykeops would write pickled tables of the compiled formulas at exit, without a lock, and read
    # them without a check. The compiled files alone are enough.
    for table in (get_keops_dll, *keops_binder.values()):
        atexit.unregister(table.save_cache)


@lru_cache
def trouble(gpu: bool, timeout: float) -> str:
    """Tell why pykeops cannot be used, with the remedy, or return an empty string.

    Each process makes one trial, and a second one where the first one fails.
    """
    if importlib.util.find_spec("pykeops") is None:
        return NOT_INSTALLED
    if compiler() is None:
        return (
            "pykeops needs a C++ compiler and there is no g++ on PATH: install it (Debian, Ubuntu:"
            " apt install g++), or name another one in CXX"
        )
    try:
        folder = cache_folder()
    except OSError as error:
        return (
            f"pykeops has no folder to compile in ({error}): set XDG_CACHE_HOME to a folder that"
            " you can write to"
        )
    code, words = _trial(folder, gpu, timeout)
    if code not in (0, None, NO_CUDA):
        # A damaged file could be the cause: the second trial starts from an empty folder.
        _empty(folder, timeout)
        code, words = _trial(folder, gpu, timeout)
    if code is None:
        return (
            f"a trial of pykeops did not finish in {timeout:g} s (compiler {compiler()}, cache"
            f" {folder}): allow more with KeOps(timeout=...)"
        )
    if code == NO_CUDA:
        return (
            "pykeops finds no CUDA device: install the CUDA toolkit with NVRTC and its headers, and"
            " set CUDA_PATH and LD_LIBRARY_PATH to it"
        )
    if code == 0:
        return ""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "failed"
    return (
        f"a trial of pykeops {how}, even with an empty cache in {folder} ({words}): reinstall"
        " pykeops and the compiler, or use another backend"
    )


def _trial(folder: Path, gpu: bool, timeout: float) -> tuple[int | None, str]:
    """Run this file as a program; return the exit status (None: time-out) and the last errors."""
    command = [sys.executable, "-P", __file__, str(folder), "gpu" if gpu else "cpu", str(timeout)]
    # A session of its own, so that the compiler dies with it.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, ""
    lines = [line.strip() for line in output.splitlines() if "error" in line.lower()]
    return process.returncode, " | ".join(lines[-3:]) or "it said nothing"


def _try_it(folder: Path, gpu: bool, timeout: float) -> int:
    """Compile or load one formula, evaluate it, and compare the sums with numpy's."""
    sys.modules["torch"] = cast(ModuleType, None)  # takes seconds to import, and is not needed here
    load(folder, timeout)
    import numpy as np
    import pykeops

    if gpu and not pykeops.config.gpu_available:
        return NO_CUDA
    pykeops.set_verbose(True)  # what the compiler says is the cause
    from pykeops.numpy import Genred

    routine = Genred(
        "w*Exp(-SqDist(z,x))", ["z = Vi(1)", "x = Vj(1)", "w = Vj(1)"], reduction_op="Sum", axis=1
    )
    z, x = (
        np.linspace(0, 1, 3, dtype=np.float32)[:, None],
        np.linspace(0, 2, 5, dtype=np.float32)[:, None],
    )
    with building(folder, timeout):
        got = routine(z, x, 1 + x, backend="GPU_1D" if gpu else "CPU")
    want = np.exp(-((z - x.T) ** 2)) @ (1 + x)
    if not np.allclose(got, want, rtol=1e-5):
        raise SystemExit(f"error: wrong sums, {got.ravel()} for {want.ravel()}")
    return 0


if __name__ == "__main__":
    sys.exit(_try_it(Path(sys.argv[1]), sys.argv[2] == "gpu", float(sys.argv[3])))
