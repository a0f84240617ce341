"""SIGTERM, SIGHUP and Ctrl-C stop a run in whatever phase it is; what is finished is written. Real
signals to real processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from particleflow import Trajectory, kernels, mmd_flow, simulate
from particleflow.stopping import SIGNALS, Stop, undisturbed

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORDS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
SMALL = ["--n", "12", "--m", "17", "--dt", "0.001"]

# Sends itself a signal when a function is called for the so-many-th time; `start` is what a shell
# does to SIGINT of what it puts in the background.
PRELUDE = """
import os, signal, sys, time
import particleflow.cli
from particleflow import metrics, plotting, running
from particleflow.cli import outputs, report, task
from particleflow.trajectory import Trajectory

where, after, number, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
owner, name = {
    "metrics": (metrics.W2, "between"),
    "steps": (running.Statistics, "add"),
    "trajectory": (Trajectory, "save"),
    "table": (outputs, "_table"),
    "curves": (plotting, "curves"),
    "film": (plotting, "animate"),
    "build": (task, "task"),
    "summary": (report, "summary"),
}[where]
real, calls = getattr(owner, name), []


def watched(*arguments, **named):
    calls.append(1)
    if len(calls) == after:
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.05)
    return real(*arguments, **named)


setattr(owner, name, watched)
sys.exit(particleflow.cli.main(sys.argv[5:]))
"""


def stopped(python, out, where, after, number, *call, times=1, deaf=False):
    handler = "SIG_IGN" if deaf else "default_int_handler"
    arguments = [
        "-c",
        PRELUDE,
        where,
        str(after),
        str(int(number)),
        str(times),
        *call,
        *SMALL,
        "--out",
        str(out),
    ]
    heard = f"import signal; signal.signal(signal.SIGINT, signal.{handler})"
    return python.run(*arguments, before=heard)


ALL = {
    "config.toml",
    "metrics.csv",
    "metrics.png",
    "player.html",
    "snapshots.png",
    "trajectory.npz",
}
RUN = ["run", "--flow", "mmd", "--steps", "40", "--film", "none"]


@pytest.mark.parametrize(
    ("where", "after", "number", "left"),
    [
        pytest.param("build", 1, signal.SIGTERM, set(), marks=pytest.mark.slow),
        pytest.param("steps", 1, signal.SIGTERM, {"config.toml"}, marks=pytest.mark.slow),
        ("metrics", 9, signal.SIGHUP, ALL),
        pytest.param("trajectory", 1, signal.SIGTERM, ALL, marks=pytest.mark.slow),
        pytest.param(
            "table",
            1,
            signal.SIGTERM,
            {"config.toml", "metrics.csv", "trajectory.npz"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "curves",
            1,
            signal.SIGINT,
            {"config.toml", "metrics.csv", "trajectory.npz"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_finished_is_written_in_whatever_phase(
    tmp_path, python, where, after, number, left
):
    done = stopped(python, tmp_path, where, after, number, *RUN, deaf=number != signal.SIGINT)
    assert done.returncode == CODES[number], done.stderr
    assert "Traceback" not in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == left
    if where == "metrics":
        assert Trajectory.load(tmp_path / "trajectory.npz").status == "interrupted"
    if where == "trajectory":
        assert Trajectory.load(tmp_path / "trajectory.npz").status == "completed"


@pytest.mark.slow
def test_a_comparison_leaves_out_the_later_flows(tmp_path, python):
    done = stopped(
        python,
        tmp_path,
        "steps",
        55,
        signal.SIGTERM,
        "compare",
        "--flows",
        "mmd,kale,mono",
        "--steps",
        "40",
        "--film",
        "none",
    )
    assert done.returncode == 143
    assert "kale  interrupted" in done.stdout
    assert "mono  not run" in done.stdout
    assert {"mmd.npz", "kale.npz", "metrics.csv", "snapshots.png"} <= {
        file.name for file in tmp_path.iterdir()
    }


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path, python):
    done = stopped(python, tmp_path, "table", 1, signal.SIGTERM, *RUN, times=2)
    assert done.returncode in (-signal.SIGTERM, 143)  # what a shell calls 143
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.slow
def test_a_signal_from_outside_while_steps_are_made(tmp_path):
    call = [
        sys.executable,
        "-m",
        "particleflow",
        "run",
        "--flow",
        "mmd",
        "--steps",
        "1000000",
        "--records",
        "20",
        "--film",
        "none",
        *SMALL,
    ]
    with subprocess.Popen(
        [*call, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as made:
        deadline = time.monotonic() + 60
        while not (tmp_path / "config.toml").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        made.send_signal(signal.SIGTERM)
        printed, wrong = made.communicate(timeout=60)
    assert made.returncode == 143, wrong
    assert "mmd   interrupted" in printed
    assert Trajectory.load(tmp_path / "trajectory.npz").status == "interrupted"


def test_a_library_call_handles_no_signal():
    import torch

    before = [signal.getsignal(number) for number in SIGNALS]
    simulate(
        mmd_flow(kernels.Gaussian(0.5)), torch.randn(5, 2), torch.randn(7, 2), steps=2, dt=0.01
    )
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_handlers_are_given_back_and_what_is_ignored_stays_ignored():
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        before = [signal.getsignal(number) for number in SIGNALS]
        stop = Stop()
        with stop.listening():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) not in before
            with stop.held():
                os.kill(os.getpid(), signal.SIGTERM)
            assert stop.code == 143
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_signals_wait_until_a_picture_is_drawn():
    """One raises afterwards; the handler of the command line kills at the second one."""
    came = []
    earlier = {
        number: signal.signal(number, lambda number, _: came.append(number)) for number in SIGNALS
    }
    mine = [signal.getsignal(number) for number in SIGNALS]
    try:
        with undisturbed():
            for number in SIGNALS:
                signal.raise_signal(number)
            assert came == []
        assert came == list(SIGNALS)
        assert [signal.getsignal(number) for number in SIGNALS] == mine
        stop, kept = Stop(), []

        def drawn():
            with undisturbed():
                signal.raise_signal(signal.SIGTERM)
                kept.append(stop.signal)

        with stop.listening(), pytest.raises(KeyboardInterrupt):
            drawn()
        assert kept == [0]
        assert stop.code == 143
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with undisturbed():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@pytest.mark.skipif(os.name != "posix", reason="asks for the signal that ended a process")
def test_a_second_signal_within_a_picture_kills(python):
    code = """
import signal
from particleflow.stopping import Stop, undisturbed
with Stop().listening(), undisturbed():
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
"""
    assert python.run("-c", code).returncode == -signal.SIGTERM


@pytest.mark.slow
def test_a_terminal_that_is_gone_loses_nothing(tmp_path):
    import pty

    leader, follower = pty.openpty()
    call = [
        sys.executable,
        "-c",
        PRELUDE,
        "metrics",
        "9",
        str(int(signal.SIGTERM)),
        "0",
        *RUN[:-3],
        "100000",
        "--film",
        "none",
        *SMALL,
    ]
    with subprocess.Popen(
        [*call, "--out", str(tmp_path)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    ) as made:
        os.close(follower)
        deadline = time.monotonic() + 60
        while not (tmp_path / "config.toml").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.close(leader)
        made.send_signal(signal.SIGHUP)
        made.wait(60)
    assert made.returncode == 129
    assert (tmp_path / "config.toml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("suite", "options", "first"),
    [
        ("mobilities", ["--steps", "400", "--seeds", "1", "--jobs", "1"], "("),
    ],
)
def test_a_benchmark_writes_what_is_finished(tmp_path, suite, options, first, number):
    call = [sys.executable, "-u", "-m", "benchmarks", suite, *options, "--out", str(tmp_path)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as made:
        said = ""
        for line in made.stdout:
            said += line
            if first in line:
                break
        made.send_signal(number)
        began = time.monotonic()
        rest, wrong = made.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert made.returncode == CODES[number], said + rest + wrong
    assert "Traceback" not in wrong
    assert f"stopped by {WORDS[number]}: what is finished is written" in rest
    assert (tmp_path / f"{suite}.json").exists()
    assert len((tmp_path / f"{suite}.csv").read_text().splitlines()) >= 2


@pytest.mark.slow
def test_a_benchmark_without_anything_finished_stops_without_a_traceback(tmp_path):
    call = [
        sys.executable,
        "-u",
        "-m",
        "benchmarks",
        "mobilities",
        "--steps",
        "100000",
        "--out",
        str(tmp_path),
    ]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as made:
        time.sleep(8)
        made.send_signal(signal.SIGTERM)
        _, wrong = made.communicate(timeout=60)
    assert made.returncode == 143
    assert wrong == "benchmarks: stopped by SIGTERM\n"
    assert not list(tmp_path.iterdir())
