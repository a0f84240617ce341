"""What is wrong with pykeops, its compiler or its cache is told with a remedy; nothing kills or
hangs the calling process.

Each fault is made, and met in a process of its own. One folder with the trial's formula, compiled
once, is copied into each.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from particleflow.pairwise.exact import keops_probe
from particleflow.pairwise.exact.keops_probe import building

pytestmark = pytest.mark.keops

# The probe alone, without torch, which takes seconds to import.
PROBE = f"""
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("keops_probe", {keops_probe.__file__!r})
probe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(probe)
"""
UNAVAILABLE = PROBE + "print(probe.trouble(False, 100.0), 'pykeops' in sys.modules)"
USABLE = (0, "False", "")

FALSE = shutil.which("false") or "false"


def started(code: str, **env: str) -> subprocess.Popen[str]:
    """`code` in a new interpreter; an empty value removes a variable."""
    whole = {
        name: value
        for name, value in {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            **env,
        }.items()
        if value
    }
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=whole,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=300)
    return process.returncode, output.strip(), errors.strip()


def run(code: str, **env: str) -> tuple[int, str, str]:
    return finished(started(code, **env))


def inside(home: Path) -> Path:
    """Our folder in a cache directory."""
    (folder,) = (home / "particleflow").iterdir()
    return folder


def library(home: Path) -> Path:
    (path,) = inside(home).rglob("*.so")
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory in which the trial's formula is compiled: one for all test processes."""
    own = tmp_path_factory.getbasetemp()
    home = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "keops"
    assert run(UNAVAILABLE, XDG_CACHE_HOME=str(home)) == USABLE
    return home


@pytest.fixture
def cache(compiled: Path, tmp_path: Path) -> Path:
    """A cache directory of the test's own, in which the trial's formula is compiled."""
    return Path(shutil.copytree(compiled, tmp_path / "cache"))


@pytest.mark.slow
def test_two_processes_compile_one_after_the_other(tmp_path: Path) -> None:
    home = tmp_path / "home"
    processes = [started(UNAVAILABLE, XDG_CACHE_HOME=str(home)) for _ in range(2)]
    assert [finished(process) for process in processes] == [USABLE] * 2
    assert library(home).stat().st_size > 1000
    assert {path.name for path in inside(home).iterdir() if path.is_file()} == {
        "lock",
        "index.json",
    }


@pytest.mark.slow
def test_the_folder_is_private(cache: Path) -> None:
    for folder in (cache / "particleflow", inside(cache)):
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)
    assert run(UNAVAILABLE, XDG_CACHE_HOME=str(cache)) == USABLE
    assert inside(cache).stat().st_mode & 0o777 == 0o700
    assert (cache / "particleflow").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_the_program_is_left_as_it_was(cache: Path, tmp_path: Path) -> None:
    """Nothing printed, the environment as before, nothing in ~/.cache/keops, denormal numbers not
    flushed, no tables written at exit.
    """
    code = (
        PROBE
        + """
import numpy as np
before = dict(os.environ)
folder = probe.cache_folder()
probe.load(folder, 60)
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
from pykeops.numpy import Genred
with probe.building(folder, 60):
    Genred("w*Exp(-SqDist(z,x))", ["z = Vi(1)", "x = Vj(1)", "w = Vj(1)"], axis=1)(
        *np.ones((3, 5, 1), np.float32), backend="CPU"
    )
assert dict(os.environ) == before
assert (np.full(3, 1e-40, np.float32) * np.float32(1)).all()
"""
    )
    home = tmp_path / "home"
    home.mkdir()
    assert run(code, XDG_CACHE_HOME=str(cache), HOME=str(home)) == (0, "", "")
    assert not list(home.iterdir())
    assert len(list(inside(cache).rglob("*.so"))) == 1
    assert not list(inside(cache).rglob("*.pkl"))


def test_a_compiler_that_fails_is_told(tmp_path: Path) -> None:
    failing = tmp_path / "failing-compiler"
    failing.write_text("#!/bin/sh\necho 'fatal error: no room on the device' >&2\nexit 1\n")
    failing.chmod(0o700)
    status, output, errors = run(UNAVAILABLE, CXX=str(failing), XDG_CACHE_HOME=str(tmp_path))
    assert status == 0, errors
    assert f"a trial of pykeops failed, even with an empty cache in {tmp_path}" in output
    assert "fatal error: no room on the device" in output
    assert output.endswith("reinstall pykeops and the compiler, or use another backend False")


def cut(path: Path) -> None:
    """What an interrupted copy leaves: the header promises more than there is."""
    os.truncate(path, 8192)


def believe(folder: Path) -> None:
    """An index that takes every file for finished."""
    (folder / "index.json").write_text(
        json.dumps(
            {
                str(path.relative_to(folder)): keops_probe._sum(path)
                for path in keops_probe._files(folder)
            }
        )
    )


def test_a_truncated_file_is_not_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It differs from the index and goes before anything is loaded: the trial finds no compiler
    that works, but is not killed.
    """
    cut(library(cache))
    monkeypatch.setenv("CXX", FALSE)
    status, words = keops_probe._trial(inside(cache), gpu=False, timeout=60)
    assert status == 1
    assert "Error: No module named 'pykeops_cpp_" in words
    assert not list(inside(cache).rglob("*.so"))


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="what a truncated library does to its process is the system's own",
)
def test_a_trial_that_dies_takes_nobody_along(cache: Path) -> None:
    """A truncated file that the index agrees with: the trial is killed, the cache is emptied, and
    the second trial meets the (broken) compiler.
    """
    cut(library(cache))
    believe(inside(cache))
    status, words = keops_probe._trial(inside(cache), gpu=False, timeout=60)
    assert status == -signal.SIGBUS, words
    status, output, errors = run(UNAVAILABLE, XDG_CACHE_HOME=str(cache), CXX=FALSE)
    assert status == 0, errors
    assert "a trial of pykeops failed, even with an empty cache in " + str(inside(cache)) in output


@pytest.mark.slow
@pytest.mark.parametrize("believed", [False, True])
def test_a_truncated_cache_is_made_anew(cache: Path, believed: bool) -> None:
    path = library(cache)
    whole = path.stat().st_size
    cut(path)
    if believed:
        believe(inside(cache))
    assert run(UNAVAILABLE, XDG_CACHE_HOME=str(cache)) == USABLE
    assert path.stat().st_size == whole


def test_an_unwritable_home_sends_the_cache_to_the_temporary_folder(
    cache: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    shutil.copytree(cache / "particleflow", temporary / f"particleflow-{os.getuid()}")
    code = UNAVAILABLE + "\nprint(probe.cache_folder().parent)"
    status, output, errors = run(code, HOME=os.devnull, XDG_CACHE_HOME="", TMPDIR=str(temporary))
    assert (status, output) == (0, f"False\n{temporary}/particleflow-{os.getuid()}"), errors


def test_no_writable_folder_at_all_is_told(tmp_path: Path) -> None:
    (tmp_path / f"particleflow-{os.getuid()}").write_text("a file where the folder should be")
    status, output, errors = run(
        UNAVAILABLE, HOME="/", XDG_CACHE_HOME=os.devnull, TMPDIR=str(tmp_path)
    )
    assert status == 0, errors
    assert output.startswith("pykeops has no folder to compile in (")
    assert "set XDG_CACHE_HOME to a folder that you can write to" in output
    assert str(tmp_path) in output
    assert os.devnull in output


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(cache: Path, tmp_path: Path) -> None:
    os.chown(cache / "particleflow", 12345, 12345)
    status, output, errors = run(
        UNAVAILABLE, XDG_CACHE_HOME=str(cache), TMPDIR=str(tmp_path), CXX=FALSE
    )
    assert status == 0, errors
    assert str(tmp_path / "particleflow-0") in output


@pytest.mark.slow
def test_a_hanging_compiler_dies_with_the_trial(tmp_path: Path) -> None:
    hanging = tmp_path / "hanging-compiler"
    hanging.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\nexec sleep 1000\n")
    hanging.chmod(0o700)
    code = PROBE + "print(probe.trouble(False, 4.0))"
    status, output, errors = run(code, CXX=str(hanging), XDG_CACHE_HOME=str(tmp_path))
    assert status == 0, errors
    assert output.startswith("a trial of pykeops did not finish in 4 s")
    time.sleep(0.2)
    for pid in (tmp_path / "pids").read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z", (
            "the compiler is still running"
        )


def test_a_second_builder_waits(tmp_path: Path) -> None:
    with (
        building(tmp_path, 1),
        pytest.raises(TimeoutError, match=r"another process has kept .* locked for 0.2 s"),
        building(tmp_path, 0.2),
    ):
        pass
    with building(tmp_path, 0.2):
        pass


def test_what_a_dead_builder_left_is_thrown_away(tmp_path: Path) -> None:
    made = tmp_path / "formulas"
    made.mkdir()
    with building(tmp_path, 1):
        (made / "good.so").write_text("whole")
    code = (
        PROBE
        + f"""
with probe.building(probe.Path({str(tmp_path)!r}), 1):
    probe.Path({str(made)!r}, "half.so").write_text("ha")
    os._exit(7)
"""
    )
    assert run(code)[0] == 7
    with building(tmp_path, 1):
        assert {path.name for path in made.iterdir()} == {"good.so"}
    with contextlib.suppress(KeyError), building(tmp_path, 1):
        (made / "unfinished.so").write_text("un")
        raise KeyError
    assert (made / "unfinished.so").exists()
    with building(tmp_path, 1):
        assert {path.name for path in made.iterdir()} == {"good.so"}
    (tmp_path / "index.json").write_text('{"formulas/good.so": [5,')
    with building(tmp_path, 1):
        assert not list(made.iterdir()), "an index that cannot be read vouches for nothing"
