"""`particleflow run --checkpoint` and `--resume`: real runs, real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_resume import assert_same

from particleflow import Trajectory
from particleflow.cli import main

RUN = ["run", "--flow", "mmd", "--n", "12", "--m", "17", "--dt", "0.01", "--film", "none"]


def started(out: Path, *call: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "particleflow", *call, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_resume_takes_a_folder_with_a_checkpoint_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--resume", str(tmp_path)]) == 2
    told = "--resume must be the folder of a run with --checkpoint, and "
    assert f"{told}{tmp_path} is none: begin one with" in capsys.readouterr().err
    assert main([*RUN, "--resume", str(tmp_path)]) == 2
    told = "--resume goes on with a run as it was, got --flow --n --m --dt --film: leave that out"
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_has_ended_is_given_back_and_another_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*RUN, "--steps", "4", "--metrics", "mmd2", "--checkpoint", "--out", str(tmp_path)]
    assert main(call) == 0
    path = Trajectory.load(tmp_path / "checkpoint")
    assert_same(path, Trajectory.load(tmp_path / "trajectory.npz"))
    assert main(["run", "--resume", str(tmp_path)]) == 0
    assert "mmd: had ended at step 4" in capsys.readouterr().out
    assert_same(path, Trajectory.load(tmp_path / "trajectory.npz"))
    for more, told in {
        ("--dt", "0.02"): f"{tmp_path}, whose checkpoint is of a run with mmd.dt 0.01, not 0.02:",
        ("--no-checkpoint",): "of a run with checkpoint True, not None",
    }.items():
        assert main([*call, *more]) == 2
        assert told in capsys.readouterr().err
    assert_same(path, Trajectory.load(tmp_path / "trajectory.npz"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, number: int, code: int) -> None:
    call = [*RUN, "--steps", "1500", "--metrics", "mmd2"]
    assert main([*call, "--out", str(tmp_path / "whole")]) == 0
    with started(tmp_path / "run", *call, "--checkpoint") as process:
        while not list((tmp_path / "run" / "checkpoint").glob("segments/000001.json")):
            assert process.poll() is None, "the run has ended"
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code
    part = Trajectory.load(tmp_path / "run" / "checkpoint")
    assert 0 < part.state.clock.step < 1500
    assert main(["run", "--resume", str(tmp_path / "run")]) == 0
    whole, path = (Trajectory.load(tmp_path / name / "trajectory.npz") for name in ("whole", "run"))
    assert path.report["resumed"]["step"] == part.state.clock.step
    assert_same(whole, path)
