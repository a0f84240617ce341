"""Two runs at once in one folder, and signals from outside at a given moment: real processes, real
signals.
"""

from __future__ import annotations

import re
import signal
import time
from contextlib import contextmanager

import pytest

from particleflow import Trajectory
from particleflow.cli import main

SMALL = [
    "run",
    "--flow",
    "mmd",
    "--n",
    "6",
    "--m",
    "9",
    "--steps",
    "2",
    "--dt",
    "1e-3",
    "--metrics",
    "mmd2",
    "--film",
    "none",
]
LONG = [
    "-m",
    "particleflow",
    "run",
    "--flow",
    "mmd",
    "--n",
    "6",
    "--m",
    "9",
    "--steps",
    "1000000",
    "--dt",
    "1e-3",
    "--film",
    "none",
]
RESULTS = {
    "config.toml",
    "metrics.csv",
    "metrics.png",
    "player.html",
    "snapshots.png",
    "trajectory.npz",
}


@contextmanager
def started(python, call, **options):
    """A process that is there meanwhile, and not after."""
    with python.start(*call, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def waiting_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_a_folder_takes_one_run_at_a_time_and_what_stopped_it_is_named(tmp_path, python, capsys):
    with started(python, [*LONG, "--out", str(tmp_path / "o")]) as first:
        waiting_for(tmp_path / "o" / "config.toml")
        settings = (tmp_path / "o" / "config.toml").read_bytes()
        assert main([*SMALL, "--out", str(tmp_path / "o")]) == 2
        told = capsys.readouterr().err
        assert told.startswith(
            "particleflow: error: --out must be a folder of one run, and another one writes to "
        )
        assert told.endswith(f"{tmp_path}/o: wait for it, or choose another\n")
        assert (tmp_path / "o" / "config.toml").read_bytes() == settings
        time.sleep(1)
        first.send_signal(signal.SIGTERM)
        printed, wrong = first.communicate(timeout=60)
    assert first.returncode == 143, wrong
    path = Trajectory.load(tmp_path / "o" / "trajectory.npz")
    assert path.status == "interrupted"
    assert "mmd   interrupted" in printed
    assert re.search(r"mmd: stopped by SIGTERM after step \d+", printed)
    assert path.message.startswith("stopped by SIGTERM after step ")
    assert main([*SMALL, "--out", str(tmp_path / "o")]) == 0
    assert {file.name for file in (tmp_path / "o").iterdir()} == RESULTS


# Says by a file that all steps are made, or that the trajectory is being put together, and goes on
# when the signal has come.
AFTER = """
import pathlib, sys, time
import particleflow.cli
from particleflow import recording, running
from particleflow.stopping import Stop

stops = []
made = Stop.__init__


def kept(stop):
    made(stop)
    stops.append(stop)


Stop.__init__ = kept
owner, name = {
    "steps": (running.Run, "go"),
    "verdict": (running, "judged"),
    "records": (recording.Recorder, "trajectory"),
}[sys.argv[1]]
real = getattr(owner, name)


def watched(*arguments, **named):
    result = real(*arguments, **named)
    pathlib.Path(sys.argv[2]).touch()
    while not stops[0].signal:
        time.sleep(0.01)
    return result


setattr(owner, name, watched)
sys.exit(particleflow.cli.main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("steps", marks=pytest.mark.slow),
        pytest.param("verdict", marks=pytest.mark.slow),
        "records",
    ],
)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_after_the_last_step_waits_for_the_trajectory(tmp_path, python, where, number):
    call = [
        "-c",
        AFTER,
        where,
        str(tmp_path / "now"),
        *SMALL,
        "--out",
        str(tmp_path / "o"),
    ]

    hearing = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with started(python, call, before=hearing) as run:
        waiting_for(tmp_path / "now")
        run.send_signal(number)
        printed, wrong = run.communicate(timeout=60)
    assert run.returncode == 128 + number, wrong
    path = Trajectory.load(tmp_path / "o" / "trajectory.npz")
    assert (path.status, int(path.steps[-1])) == ("completed", 2)
    assert "trajectory.npz" in printed
    assert (tmp_path / "o" / "metrics.csv").exists()
