"""The command line on real runs in a temporary folder; help and imports in a process of its own."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from particleflow import Trajectory, engine, plotting
from particleflow._refusals import RefusedValueError
from particleflow._threads import processors
from particleflow.cli import main, names, options, parts, toml
from particleflow.cli.records import Metric

SMALL = ["--n", "12", "--m", "17", "--steps", "6"]
RESULTS = {
    "config.toml",
    "flow.gif",
    "metrics.csv",
    "metrics.png",
    "player.html",
    "snapshots.png",
    "trajectory.npz",
}


def run(*arguments, out=None):
    return main([*arguments, *(["--out", str(out)] if out is not None else [])])


def took_all_steps(flow, printed):
    """Does the table say so of a flow? By where it led: arrived, on its way, stalled, farther."""
    led = rf"^  [vox] {flow} +(arrived|on its way|stalled|farther) "
    return re.search(led, printed, re.MULTILINE) is not None


# ------------------------------------------------------------------ help


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["compare", "--help"],
        ["list"],
        ["--version"],
        [],
        ["run", "--floww", "kale"],
    ],
)
def test_help_and_list_import_only_the_standard_library(arguments):
    code = """
import sys
from particleflow.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "jaxtyping", "ot", "pykeops"}
heavy &= set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr


def test_the_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "particleflow", "rnu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr
        == "particleflow: error: the command must be one of run, compare, live, benchmark, list,"
        " got 'rnu'; did you mean 'run'?\n"
    )


def test_the_list_names_everything(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for table in (
        value
        for module in (names, parts)
        for value in vars(module).values()
        if isinstance(value, dict) and "__name__" not in value
    ):
        for name, record in table.items():
            assert f"  {name} " in printed
            assert record.line in printed


@pytest.mark.parametrize("command", ["run", "compare", "live"])
def test_the_help_has_every_option_its_default_and_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for option in options.options_of(command):
        assert option.flag in printed
        assert option.name in ("flow", "key") or "default: " in option.help
    assert f"particleflow {command} --" in printed
    assert "Exit codes: 0" in printed


# ------------------------------------------------------------------ run and compare


class Watched:
    """A metric that does something when it is asked."""

    label = "watched"

    def __init__(self, action):
        self.action = action

    def __call__(self, x, y):
        self.action()
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Given(Metric):
    """The record of a metric that is there already."""

    metric: Watched

    def make(self, give=None):
        return self.metric


def measure_w2_by(metric, monkeypatch):
    record = Given(name="w2", line="", label="watched", metric=metric)
    monkeypatch.setitem(parts.METRICS, "w2", record)


def rows_of(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.usefixtures("unchecked")
def test_a_run_on_a_users_own_file_with_no_other_flag(tmp_path, capsys):
    points = np.random.default_rng(0).standard_normal((31, 2)) * 40 + 1000
    np.savetxt(tmp_path / "points.csv", points, delimiter=",")
    out = tmp_path / "deep" / "out"
    assert (
        run(
            "run",
            "--target",
            str(tmp_path / "points.csv"),
            "--flow",
            "kale",
            "--steps",
            "20",
            out=out,
        )
        == 0
    )
    assert {f.name for f in out.iterdir()} == RESULTS
    path = Trajectory.load(out / "trajectory.npz")
    np.testing.assert_array_equal(path.target, points)
    assert path.metrics["W2"][-1] < path.metrics["W2"][0]

    settings = toml.read(str(out / "config.toml"), "run")
    printed, errors = capsys.readouterr()
    assert errors == ""
    for value in (
        settings["bandwidth"],
        settings["start_std"],
        *settings["start_mean"],
        settings["kale"]["lam"],
        settings["kale"]["dt"],
    ):
        assert f"{value:g}" in printed
    assert "31 of 31 points in 2 dimensions" in printed
    assert took_all_steps("kale", printed)
    assert str(out) in printed

    rows = rows_of(out / "metrics.csv")
    assert list(rows[0]) == ["flow", "step", "time", "W2", "MMD^2", "energy"]
    assert {row["flow"] for row in rows} == {"kale"}
    arrays = path.numpy()
    for column, name in (
        ("step", "steps"),
        ("time", "times"),
        ("W2", "W2"),
        ("MMD^2", "MMD^2"),
        ("energy", "energy"),
    ):
        np.testing.assert_array_equal([float(row[column]) for row in rows], arrays[name])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("flow", "extra"),
    [
        ("mmd-noise", ["--start-mean", "-1,0.5", "--beta", "0.3"]),
        ("kale", ["--lam", "0.3", "--target", "digits", "--integrator", "heun", "--dt", "0.01"]),
        (
            "mono",
            [
                "--mobility",
                "vanilla",
                "--shift",
                "1.5",
                "--kernel",
                "imq",
                "--target",
                "iris",
                "--pca",
                "3",
                "--dt",
                "0.1",
            ],
        ),
        pytest.param(
            "mono", ["--ratio", "classifier", "--first-steps", "5"], marks=pytest.mark.slow
        ),
        ("auto", []),
        ("kale", ["--anneal", "0.4", "--start-bandwidth", "1.7", "--bandwidth", "0.31"]),
        pytest.param("w1", ["--critic", "lipschitz", "--first-steps", "5"], marks=pytest.mark.slow),
        (
            "langevin",
            [
                "--target",
                "four-gaussians",
                "--temperature",
                "0.5",
                "--metrics",
                "sliced,energy",
                "--dt",
                "0.01",
            ],
        ),
    ],
)
def test_the_written_config_repeats_a_run_bit_for_bit(tmp_path, flow, extra):
    assert (
        run(
            "run",
            "--flow",
            flow,
            *SMALL,
            "--seed",
            "5",
            "--film",
            "none",
            *extra,
            out=tmp_path / "a",
        )
        == 0
    )
    assert run("run", "--config", str(tmp_path / "a" / "config.toml"), out=tmp_path / "b") == 0
    first, second = (Trajectory.load(tmp_path / name / "trajectory.npz").numpy() for name in "ab")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert (tmp_path / "a" / "config.toml").read_text() == (
        tmp_path / "b" / "config.toml"
    ).read_text()
    assert (tmp_path / "a" / "metrics.csv").read_text() == (
        tmp_path / "b" / "metrics.csv"
    ).read_text()

    assert (
        run(
            "run",
            "--config",
            str(tmp_path / "a" / "config.toml"),
            "--seed",
            "6",
            out=tmp_path / "c",
        )
        == 0
    )
    assert toml.read(str(tmp_path / "a" / "config.toml"), "run")["threads"] == 1
    assert not np.array_equal(
        Trajectory.load(tmp_path / "c" / "trajectory.npz").numpy()["particles"], first["particles"]
    )


@pytest.mark.usefixtures("unchecked")
def test_a_comparison_leaves_its_files_and_repeats(tmp_path, capsys):
    flows = ["auto", "mmd", "mmd-noise", "kale", "mono"]
    steps = zip(flows, (0.03, 0.02, 0.02, 0.005, 0.01), strict=True)
    (tmp_path / "c.toml").write_text("".join(f"[{name}]\ndt = {dt}\n" for name, dt in steps))
    assert run("compare", "--config", str(tmp_path / "c.toml"), *SMALL, out=tmp_path / "a") == 0
    left = {f.name for f in (tmp_path / "a").iterdir()}
    assert left == {
        "config.toml",
        "flows.gif",
        "metrics.csv",
        "metrics.png",
        "player.html",
        "snapshots.png",
        *(f"{name}.npz" for name in flows),
    }
    printed = capsys.readouterr().out
    assert all(name in printed for name in left)
    paths = {name: Trajectory.load(tmp_path / "a" / f"{name}.npz") for name in flows}
    assert len({path.report["dt"] for path in paths.values()}) > 1
    for name, path in paths.items():
        row = next(line for line in printed.splitlines() if took_all_steps(name, line))
        assert f"{path.metrics['W2'][0]:.3g} -> {path.metrics['W2'][-1]:.3g}" in row
        assert f"{path.report['dt']:g}" in row
    rows = rows_of(tmp_path / "a" / "metrics.csv")
    assert [row["flow"] for row in rows] == [
        name for name in flows for _ in range(len(paths[name]))
    ]

    assert (
        run(
            "compare",
            "--config",
            str(tmp_path / "a" / "config.toml"),
            "--film",
            "none",
            out=tmp_path / "b",
        )
        == 0
    )
    assert (tmp_path / "b" / "metrics.csv").read_text() == (
        tmp_path / "a" / "metrics.csv"
    ).read_text()
    assert not (tmp_path / "b" / "flows.gif").exists()


def test_the_number_of_threads_holds_during_the_run_only(tmp_path, monkeypatch):
    torch.set_num_threads(3)
    seen = []

    def look() -> None:
        pools = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        seen.append({torch.get_num_threads(), *pools})

    measure_w2_by(Watched(look), monkeypatch)
    every = processors()
    try:
        for flags, expected in (
            ([], 1),
            (["--threads", str(every)], every),
            (["--m", "1001", "--threads", "1"], 1),
        ):
            assert (
                run(
                    "run",
                    "--flow",
                    "mmd",
                    *SMALL,
                    "--dt",
                    "1e-3",
                    "--metrics",
                    "w2",
                    "--film",
                    "none",
                    *flags,
                    out=tmp_path,
                )
                == 0
            )
            assert seen[1:] == [{expected}] * 7  # before them what metrics import is imported
            assert toml.read(str(tmp_path / "config.toml"), "run")["threads"] == expected
            seen.clear()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_flows_take_their_own_table_of_a_file(tmp_path):
    (tmp_path / "c.toml").write_text(
        "target = 'moons'\nflows = ['mmd', 'kale']\nn = 9\nm = 13\nsteps = 4\nfilm = 'none'\nout ="
        " 'res'\n[kale]\nlam = 1\nsteps = 3\ndt = 0.001\n"
    )
    assert main(["compare", "--config", str(tmp_path / "c.toml"), "--m", "14"]) == 0
    settings = toml.read(str(tmp_path / "res" / "config.toml"), "compare")
    assert (settings["n"], settings["m"]) == (9, 14)
    assert settings["mmd"]["steps"] == 4
    assert settings["kale"] == {
        "steps": 3,
        "dt": 0.001,
        "integrator": "euler",
        "rtol": 1e-10,
        "lam": 1.0,
        "kernel": "gaussian",
        "bandwidth": settings["bandwidth"],
        "anneal": 0.0,
    }


# ------------------------------------------------------------------ what goes wrong


def error_of(capsys, *arguments):
    assert main(list(arguments)) == 2
    printed, errors = capsys.readouterr()
    assert errors.startswith("particleflow: error: ")
    assert errors.count("\n") == 1
    assert printed == ""
    return errors.removeprefix("particleflow: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run"], "--flow is missing: one of auto, mmd, mmd-noise, kale, mono, w1, ift, langevin"),
        (["--debugg"], "unknown argument '--debugg'"),
        (
            ["run", "--flow", "kael"],
            (
                "--flow must be one of auto, mmd, mmd-noise, kale, mono, w1, ift, langevin, got"
                " 'kael'; did you mean 'kale'?"
            ),
        ),
        (
            ["compare", "--flows", "mmd,kael"],
            (
                "--flows must be one of auto, mmd, mmd-noise, kale, mono, w1, ift, langevin, got"
                " 'kael'; did you mean"
            ),
        ),
        (["compare", "--flows", "mmd,mmd"], "--flows must name each once, got mmd,mmd"),
        (
            ["run", "--flow", "mmd", "--bandwith", "3"],
            "unknown argument '--bandwith'; did you mean '--bandwidth'?",
        ),
        (["run", "--flow", "mmd", "--n", "many"], "--n must be a whole number, got 'many'"),
        (["run", "--flow", "mmd", "--dt", "small"], "--dt must be a number, got 'small'"),
        (
            ["run", "--flow", "mmd", "--start-mean", "0,a"],
            "--start-mean must be a number or a list of numbers, got 'a'",
        ),
        (
            ["run", "--flow", "mmd", "--kernel", "gausian"],
            "got 'gausian'; did you mean 'gaussian'?",
        ),
        (
            ["run", "--flow", "mmd", "--lam", "1"],
            "--lam is an option of kale, mono, got the flows mmd: leave it out",
        ),
        (
            ["run", "--flow", "mmd", "--target", "digit"],
            "(.csv .tsv .txt .npy .npz .png .jpg .jpeg), got 'digit'; did you mean 'digits'?",
        ),
        (["run", "--flow", "mmd", "--threads", "0"], "--threads must be >= 1, got 0"),
        (["run", "--flow", "mmd", "--threads", "1000"], "--threads must be <= "),
        (
            ["run", "--flow", "mmd", "--threads", "1000"],
            f", got 1000: this machine has {processors()} processors",
        ),
        (["run", "kale"], "unknown argument 'kale'; did you mean '--flow kale'?"),
        (
            ["kale"],
            (
                "the command must be one of run, compare, live, benchmark, list, got 'kale'; did"
                " you mean 'run --flow kale'?"
            ),
        ),
        (["compare", "mmd,kale"], "unknown argument 'mmd,kale'; did you mean '--flows mmd,kale'?"),
        (
            ["run", "--flow", "kale", "moons"],
            "unknown argument 'moons'; did you mean '--target moons'?",
        ),
        (
            ["run", "--flow", "kale", "my.csv"],
            "unknown argument 'my.csv'; did you mean '--target my.csv'?",
        ),
        (["run", "my.toml"], "unknown argument 'my.toml'; did you mean '--config my.toml'?"),
        (
            ["run", "--flow", "kale", "7"],
            "unknown argument '7': every value follows its option, as in --target rings",
        ),
        (["list", "kale"], "unknown argument 'kale'"),
        (["run", "--flow"], "expected one argument"),
        (
            ["run", "--flow", "kale", "--target", "nowhere.csv"],
            "--target must be a file that exists, got nowhere.csv: pass the path of",
        ),
        (
            ["run", "--flow", "kale", "--start", "nowhere.csv"],
            "--start must be a file that exists, got nowhere.csv: pass the path of",
        ),
        (
            ["run", "--flow", "kale", "--target", "nowhere.png"],
            "--target must be a file that exists, got nowhere.png: pass the path of",
        ),
        (
            ["run", "--flow", "kale", "--bandwidth", "-1"],
            "--bandwidth must be > 0, got -1: leave it out to have one chosen",
        ),
        (
            ["run", "--flow", "kale", "--dt", "nan"],
            "--dt must be finite, got nan: leave it out to have one chosen",
        ),
        (["run", "--flow", "mmd", "--rtol", "0"], "--rtol must be > 0, got 0"),
        (["run", "--flow", "mmd", "--rtol", "1"], "--rtol must be <= 0.1, got 1"),
        (
            ["run", "--flow", "kale", "--n", "1e14"],
            "--n must be <= 10000000000000, got 100000000000000",
        ),
        (
            ["run", "--flow", "kale", "--n", "9e12"],
            "Unable to allocate 131. TiB for an array with shape (9000000000000, 2)",
        ),
        (
            ["run", "--flow", "mmd", "--steps", "1e14"],
            f"--steps must be <= {engine.MOST_STEPS}, got 100000000000000: raise --dt",
        ),
        (["run", "--flow", "kale", "--n", "1e-3"], "--n must be a whole number, got 0.001"),
        (
            ["run", "--flow", "mmd", "--bright"],
            "--bright is for pictures (.png .jpg .jpeg), and the target is rings: leave it out",
        ),
        (
            ["run", "--flow", "mmd", "--start-mean", "1,2,3"],
            "--start-mean must be one number or 2, one for each coordinate of the target",
        ),
        (
            ["run", "--flow", "mmd", "--target", "digits", "--pca", "65"],
            "--pca must be at most 64, the number of columns of Digits, got 65",
        ),
        (
            ["run", "--flow", "mmd", "--n", "5001", "--metrics", "mmd2,w2"],
            "--metrics w2 is exact, for at most 5000 points, got 5001: use sliced",
        ),
        (
            ["run", "--config", "nowhere.toml"],
            "--config nowhere.toml cannot be read: No such file or directory",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    assert text in error_of(capsys, *arguments)


def test_a_file_with_a_bad_line_names_it(tmp_path, capsys):
    (tmp_path / "p.csv").write_text("x,y\n1,2\n3,oops\n")
    error = error_of(
        capsys,
        "run",
        "--flow",
        "mmd",
        "--target",
        str(tmp_path / "p.csv"),
        "--out",
        str(tmp_path / "o"),
    )
    assert "line 3, column 2" in error
    assert "'oops'" in error


def test_a_picture_and_points_that_cannot_be_used(tmp_path, capsys):
    from PIL import Image

    blank, same, two = (str(tmp_path / name) for name in ("blank.png", "same.npy", "two.npz"))
    Image.new("L", (4, 4), 255).save(blank)
    np.save(same, np.ones((9, 2)))
    np.savez(two, a=np.ones((3, 2)), b=np.eye(2))
    flow = ["run", "--flow", "mmd", "--out", str(tmp_path / "o"), "--target"]
    assert f"{blank} has hardly any contrast, its darkness is 0 to 0 of 1" in error_of(
        capsys, *flow, blank
    )
    Image.effect_noise((4, 4), 3).point(lambda grey: 245 + grey % 10).save(blank)
    assert error_of(capsys, *flow, blank) == f"--target {blank} has no dark pixel: add --bright"
    assert (
        "--bandwidth cannot be chosen from the target, most of whose points coincide: give a length"
        in error_of(capsys, *flow, same)
    )
    np.save(same, np.ones((1, 2)))
    assert "--key must say which array holds the points, one of ['a', 'b']" in error_of(
        capsys, *flow, two
    )
    np.save(same, np.array([[1.0, np.nan]]))
    assert f"{same}: its array must be finite, got [1.0, nan] in row 0" in error_of(
        capsys, *flow, same
    )
    Path(blank).write_text("no picture")
    assert f"{blank} cannot be read as a picture" in error_of(capsys, *flow, blank)


def test_what_a_file_gave_is_blamed_on_the_file(tmp_path, capsys):
    file = tmp_path / "c.toml"
    file.write_text("flow = 'mono'\nbright = true\n[mono]\nshift = 1\nmobility = 'mle'")
    call = ["run", "--config", str(file), "--out", str(tmp_path / "o")]
    assert error_of(capsys, *call).startswith(f"`bright` in {file} is for pictures")
    assert error_of(capsys, *call, "--no-bright").startswith(
        f"`shift` in [mono] of {file} is for the mobility vanilla"
    )
    assert error_of(capsys, *call, "--no-bright", "--shift", "2").startswith(
        "--shift is for the mobility vanilla"
    )


def test_a_library_that_is_missing_is_missed_before_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ot", None)
    error = error_of(
        capsys, "run", "--flow", "mmd", *SMALL, "--dt", "0.001", "--out", str(tmp_path / "o")
    )
    assert error.startswith("--metrics cannot hold W2, whose library is missing: ")
    assert list((tmp_path / "o").iterdir()) == []


def test_the_output_folder_is_refused_before_any_work(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert "--out must be a folder, and there is a file" in error_of(
        capsys, "compare", "--out", str(taken)
    )
    assert "--out must be a folder that can be written to" in error_of(
        capsys, "compare", "--out", str(taken / "below")
    )
    assert taken.read_text() == "mine"


def test_debug_shows_where_an_error_comes_from(tmp_path):
    with pytest.raises(RefusedValueError):
        main(["run", "--flow", "kael", "--debug"])


def test_a_run_that_diverges_keeps_what_there_is(tmp_path, capsys):
    code = run(
        "run",
        "--flow",
        "mono",
        "--target",
        "gaussian",
        *SMALL,
        "--dt",
        "1e12",
        "--film",
        "none",
        out=tmp_path,
    )
    assert code == 1
    path = Trajectory.load(tmp_path / "trajectory.npz")
    assert path.status == "diverged"
    printed = capsys.readouterr().out
    dt = re.search(r"try dt = (\S+);", path.message)[1]
    assert re.search(rf"  x mono  diverged at step 1 .*: try --dt {dt}\n", printed)
    assert len(rows_of(tmp_path / "metrics.csv")) == len(path)
    assert (tmp_path / "snapshots.png").exists()


def test_one_flow_that_fails_does_not_lose_the_others(tmp_path, capsys):
    (tmp_path / "c.toml").write_text("[mono]\ndt = 1e12")
    code = run(
        "compare",
        "--config",
        str(tmp_path / "c.toml"),
        "--flows",
        "mono,mmd",
        "--target",
        "gaussian",
        *SMALL,
        out=tmp_path / "out",
    )
    assert code == 1
    printed = capsys.readouterr().out
    assert "mono  diverged" in printed
    assert took_all_steps("mmd", printed)
    assert Trajectory.load(tmp_path / "out" / "mmd.npz").status == "completed"
    assert (tmp_path / "out" / "flows.gif").exists()


def test_results_that_cannot_be_written_leave_the_trajectories(tmp_path, capsys):
    (tmp_path / "metrics.csv").mkdir()
    assert run("run", "--flow", "mmd", *SMALL, "--dt", "0.001", out=tmp_path) == 1
    assert "metrics.csv: could not be written: Is a directory" in capsys.readouterr().out
    assert Trajectory.load(tmp_path / "trajectory.npz").status == "completed"
    assert {f.name for f in tmp_path.iterdir()} == RESULTS


def test_a_picture_that_fails_does_not_lose_the_others(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise MemoryError("no room for a picture")

    monkeypatch.setattr(plotting, "snapshots", fails)
    assert run("run", "--flow", "mmd", *SMALL, "--dt", "0.001", out=tmp_path) == 1
    printed, errors = capsys.readouterr()
    assert "snapshots.png: could not be written: MemoryError: no room for a picture" in printed
    assert took_all_steps("mmd", printed)
    assert errors == ""
    assert {f.name for f in tmp_path.iterdir()} == RESULTS - {"snapshots.png"}


def test_a_trajectory_that_cannot_be_saved_does_not_stop_the_others(tmp_path, capsys):
    (tmp_path / "kale.npz").mkdir()
    flags = ["--flows", "kale,mmd", "--dt", "0.001", "--film", "none", *SMALL]
    assert run("compare", *flags, out=tmp_path) == 1
    printed = capsys.readouterr().out
    assert "kale.npz: could not be written: Is a directory" in printed
    assert Trajectory.load(tmp_path / "mmd.npz").status == "completed"
    assert {row["flow"] for row in rows_of(tmp_path / "metrics.csv")} == {"kale", "mmd"}


def test_what_a_record_dies_of_is_said_once(tmp_path, monkeypatch, capsys):
    made = []

    def fails_late():
        made.append(1)
        if len(made) == 5:
            raise ArithmeticError("the fifth is too much")

    measure_w2_by(Watched(fails_late), monkeypatch)
    assert (
        run(
            "run",
            "--flow",
            "mmd",
            *SMALL,
            "--dt",
            "0.001",
            "--metrics",
            "w2",
            "--film",
            "none",
            out=tmp_path,
        )
        == 1
    )
    printed = capsys.readouterr().out
    assert "mmd   failed" in printed
    assert printed.count("the fifth is too much") == 1


def test_a_reader_who_leaves_stops_nothing(tmp_path, python):
    for call, first in (
        (["list"], "flows (--flow, --flows)\n"),
        (["run", "--help"], "usage: particleflow run [options]\n"),
        (
            [
                "run",
                "--flow",
                "mmd",
                *SMALL,
                "--dt",
                "0.001",
                "--film",
                "none",
                "--out",
                str(tmp_path),
            ],
            "target  rings: 17 points in 2 dimensions\n",
        ),
    ):
        with python.start("-m", "particleflow", *call) as made:
            assert made.stdout.readline() == first
            made.stdout.close()
            assert made.stderr.read() == ""
            assert made.wait() == 0
    assert {f.name for f in tmp_path.iterdir()} == RESULTS - {"flow.gif"}


def test_a_flow_without_a_first_step_is_reported_too(tmp_path, capsys):
    (tmp_path / "c.toml").write_text("[kale]\nlam = 1e-300")
    flags = ["--flows", "kale,mmd", "--dt", "0.001", "--film", "none", *SMALL]
    assert run("compare", "--config", str(tmp_path / "c.toml"), *flags, out=tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert "kale  failed" in printed
    assert "kale: ValueError: `flow` cannot start: the estimator did not converge" in printed
    assert took_all_steps("mmd", printed)
    assert not (tmp_path / "out" / "kale.npz").exists()


@pytest.fixture(autouse=True)
def _hears_ctrl_c():
    """A shell starts what runs in its background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(calls, monkeypatch):
    """Somebody presses Ctrl-C while the metric is computed for the given time."""
    made = []

    def press():
        made.append(1)
        if len(made) == calls:
            os.kill(os.getpid(), signal.SIGINT)

    measure_w2_by(Watched(press), monkeypatch)


@pytest.mark.parametrize("command", ["run", "compare"])
def test_ctrl_c_writes_what_there_is(tmp_path, monkeypatch, capsys, command):
    flows = ["--flow", "kale"] if command == "run" else ["--flows", "mmd,kale,mono"]
    interrupting(4 if command == "run" else 11, monkeypatch)  # one before the run, 7 records a flow
    assert (
        run(
            command,
            *flows,
            *SMALL,
            "--dt",
            "0.001",
            "--metrics",
            "w2",
            "--film",
            "none",
            out=tmp_path,
        )
        == 130
    )
    printed = capsys.readouterr().out
    assert "kale  interrupted  " in printed
    path = Trajectory.load(tmp_path / ("trajectory.npz" if command == "run" else "kale.npz"))
    assert path.status == "interrupted"
    assert path.message in printed
    if command == "compare":
        assert Trajectory.load(tmp_path / "mmd.npz").status == "completed"
        assert "mono  not run" in printed
        assert not (tmp_path / "mono.npz").exists()
    assert {row["flow"] for row in rows_of(tmp_path / "metrics.csv")} == (
        {"kale"} if command == "run" else {"mmd", "kale"}
    )
    assert (tmp_path / "snapshots.png").exists()


def test_ctrl_c_before_the_first_step_ends_quietly(tmp_path, monkeypatch, capsys):
    interrupting(2, monkeypatch)  # the first is before the run
    assert (
        run(
            "compare",
            "--flows",
            "mmd,kale",
            *SMALL,
            "--dt",
            "0.001",
            "--metrics",
            "w2",
            out=tmp_path,
        )
        == 130
    )
    printed = capsys.readouterr().out
    assert "mmd: stopped by Ctrl-C" in printed
    assert {f.name for f in tmp_path.iterdir()} == {"config.toml"}


def test_ctrl_c_while_drawing_keeps_what_is_complete(tmp_path, monkeypatch, capsys):
    def stopped_halfway(_, file):
        file.with_name(file.name + ".part").write_bytes(b"half a film")
        file.write_bytes(b"half a film")
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(plotting, "animate", stopped_halfway)
    assert run("run", "--flow", "mmd", *SMALL, "--dt", "0.001", out=tmp_path) == 130
    printed = capsys.readouterr().out
    assert took_all_steps("mmd", printed)
    assert "flow.gif: stopped by Ctrl-C" in printed
    assert {f.name for f in tmp_path.iterdir()} == RESULTS - {"flow.gif"}


# ------------------------------------------------------------------ the folder


def test_what_an_earlier_run_left_makes_place(tmp_path):
    mine = {"notes.txt", "kale.npz", "plan.toml"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    assert run("run", "--flow", "mmd", *SMALL, "--dt", "0.001", out=tmp_path) == 0
    assert {f.name for f in tmp_path.iterdir()} == RESULTS | mine
    assert (
        run(
            "compare",
            "--flows",
            "mmd,mono",
            *SMALL,
            "--dt",
            "0.001",
            "--film",
            "none",
            out=tmp_path,
        )
        == 0
    )
    left = RESULTS - {"flow.gif", "trajectory.npz"} | {"mmd.npz", "mono.npz"}
    assert {f.name for f in tmp_path.iterdir()} == left | mine
    assert run("run", "--flow", "mmd", *SMALL, "--dt", "0.001", "--film", "none", out=tmp_path) == 0
    assert {f.name for f in tmp_path.iterdir()} == RESULTS - {"flow.gif"} | mine
    assert (tmp_path / "kale.npz").read_text() == "mine"


def test_files_that_no_config_of_ours_tells_of_are_kept(tmp_path):
    (tmp_path / "config.toml").write_text("flows = ['kale']")
    (tmp_path / "kale.npz").write_text("mine")
    assert run("run", "--flow", "mmd", *SMALL, "--dt", "0.001", "--film", "none", out=tmp_path) == 0
    assert (tmp_path / "kale.npz").read_text() == "mine"


def test_a_refused_run_and_a_run_that_reads_there_remove_nothing(tmp_path, capsys):
    assert (
        run("compare", "--flows", "mmd", *SMALL, "--dt", "0.001", "--film", "none", out=tmp_path)
        == 0
    )
    assert run("run", "--flow", "mmd", "--bandwidth", "-1", out=tmp_path) == 2
    assert Trajectory.load(tmp_path / "mmd.npz").status == "completed"
    start = str(tmp_path / "mmd.npz")
    with np.load(start) as file:
        np.savez(start, points=file["particles"][-1])
    assert (
        run(
            "run",
            "--flow",
            "kale",
            "--start",
            start,
            "--m",
            "17",
            "--steps",
            "2",
            "--dt",
            "1e-4",
            "--film",
            "none",
            out=tmp_path,
        )
        == 0
    )
    assert (tmp_path / "mmd.npz").exists()
    assert run("run", "--config", str(tmp_path / "config.toml"), out=tmp_path) == 0


# ------------------------------------------------------------------ large clouds


def test_clouds_too_large_for_exact_transport_are_measured_by_the_sliced_one(tmp_path, capsys):
    flags = [
        "--flow",
        "mmd",
        "--n",
        "2001",
        "--m",
        "2.1e3",
        "--steps",
        "1",
        "--dt",
        "0.01",
        "--film",
        "none",
    ]
    assert run("run", *flags, out=tmp_path) == 0
    printed = capsys.readouterr().out
    assert "metrics: sliced W2 and not W2, which takes long beyond 2000 points" in printed
    assert list(rows_of(tmp_path / "metrics.csv")[0]) == [
        "flow",
        "step",
        "time",
        "sliced W2",
        "MMD^2",
        "energy",
    ]
    assert toml.read(str(tmp_path / "config.toml"), "run")["metrics"] == ["sliced", "mmd2"]


@pytest.mark.slow
def test_kale_runs_with_more_targets_than_any_matrix_holds(tmp_path):
    """M^2 numbers of 10,001 targets would take 800 MB."""
    arguments = [
        "run",
        "--flow",
        "kale",
        "--n",
        "30",
        "--m",
        "10001",
        "--steps",
        "2",
        "--metrics",
        "sliced",
        "--film",
        "none",
    ]
    assert run(*arguments, out=tmp_path) == 0
    path = Trajectory.load(tmp_path / "trajectory.npz")
    assert (path.status, int(path.steps[-1]), path.state.memory["u"].shape) == (
        "completed",
        2,
        (10001,),
    )
    assert float(path.energy[-1]) < float(path.energy[0])


def test_sums_over_pairs_are_as_accurate_as_asked_and_named(tmp_path, capsys):
    ends, promised = [], []
    for rtol in ("1e-3", "1e-12"):
        flags = [
            "--n",
            "1300",
            "--m",
            "1200",
            "--steps",
            "2",
            "--dt",
            "0.05",
            "--metrics",
            "mmd2",
            "--film",
            "none",
            "--rtol",
            rtol,
        ]
        assert run("run", "--flow", "mmd", *flags, out=tmp_path) == 0
        sums = next(
            line for line in capsys.readouterr().out.splitlines() if line.startswith("sums: ")
        )
        path = Trajectory.load(tmp_path / "trajectory.npz")
        assert path.report["backends"]
        assert sums == f"sums: {'+'.join(path.report['backends'])}"
        assert toml.read(str(tmp_path / "config.toml"), "run")["mmd"]["rtol"] == float(rtol)
        ends.append(path.particles[-1])
        promised.append(path.report["promise"]["grad"])
    assert promised[1] < 1e-8 < promised[0]
    assert (
        0 < float((ends[0] - ends[1]).norm(dim=1).max()) <= 2 * 0.05 * sum(promised) * 1.5
    )  # the first step's error grows in the second


def test_metrics_import_what_they_need_before_the_run(tmp_path, monkeypatch, capsys):
    heard = []
    metric = Watched(lambda: heard.append(capsys.readouterr().out))
    measure_w2_by(metric, monkeypatch)
    assert (
        run(
            "run",
            "--flow",
            "mmd",
            *SMALL,
            "--dt",
            "0.001",
            "--metrics",
            "w2",
            "--film",
            "none",
            out=tmp_path,
        )
        == 0
    )
    assert [len(out) > 0 for out in heard] == [False, True] + [
        False
    ] * 6  # the heading is printed between the first two


@pytest.mark.parametrize(("flow", "dt"), [("mmd", "20"), ("kale", "10")])
def test_a_blow_up_is_said_and_ends_with_1(tmp_path, capsys, flow, dt):
    code = main(
        [
            "run",
            "--target",
            "rings",
            "--flow",
            flow,
            "--dt",
            dt,
            "--steps",
            "20",
            "--film",
            "none",
            "--out",
            str(tmp_path),
        ]
    )
    printed = capsys.readouterr().out
    assert code == 1
    assert f"{flow}" in printed
    assert re.search(rf"  x {flow} +UNSTABLE from step 1 .*: try --dt [0-9.e-]+\n", printed)
    assert Trajectory.load(tmp_path / "trajectory.npz").status == "unstable"
