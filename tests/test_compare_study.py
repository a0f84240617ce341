"""`particleflow compare` with many seeds, tuning and sweeps: on real runs in a temporary folder."""

from __future__ import annotations

import csv
import json
import re
import signal
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from particleflow.cli import main, options, studies
from particleflow.study import Range, Result

SMALL = ["--n", "12", "--m", "17", "--steps", "6", "--jobs", "1"]
# The same with a dt for all flows, whose choice takes longer than the steps.
GIVEN = [*SMALL, "--dt", "0.01"]
LANGEVIN = ["--flows", "langevin", "--target", "gaussian"]
# What a study leaves.
LEFT = {
    "config.toml",
    "curves.png",
    "player.html",
    "report.html",
    "results.csv",
    "results.json",
    "results.md",
    "study",
}

pytestmark = pytest.mark.usefixtures("unchecked")


def compare(*arguments: str, out: Path) -> int:
    return main(["compare", *arguments, "--out", str(out)])


def result(out: Path) -> Result:
    return Result.load(out / "results.json")


def rows(out: Path, **wanted: Any) -> list[dict[str, Any]]:
    found = json.loads((out / "results.json").read_text())["rows"]
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def ends(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a run led to; the seconds of the processor differ from run to run."""
    curve = {name: values for name, values in row["curve"].items() if name != "seconds"}
    return row["settings"], row["status"], row["dt"], row["floor"], curve


def plain_ends(out: Path) -> dict[str, tuple[str, str]]:
    """W2 and MMD^2 at the end of each flow of a plain comparison, to the digits of results.json."""
    with (out / "metrics.csv").open() as file:
        last = {row["flow"]: row for row in csv.DictReader(file)}
    return {
        flow: (f"{float(row['W2']):.6g}", f"{float(row['MMD^2']):.6g}")
        for flow, row in last.items()
    }


def made(out: Path) -> dict[str, tuple[int, int]]:
    """The rows on the disk; one that is made again is another file."""
    files = {file.name: file.stat() for file in (out / "study" / "rows").glob("*.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in files.items()}


# ------------------------------------------------------------------ seeds


def test_each_seed_is_the_plain_comparison_with_that_seed(tmp_path):
    flows = ["--flows", "mmd,mmd-noise", *SMALL[:-2], "--seed", "3"]
    assert compare(*flows, "--seeds", "2", "--jobs", "1", out=tmp_path / "s") == 0
    assert {file.name for file in (tmp_path / "s").iterdir()} == LEFT
    assert compare(*flows, "--film", "none", out=tmp_path / "3") == 0
    repeat = ["--config", str(tmp_path / "s" / "config.toml"), "--seeds", "1", "--film", "none"]
    assert compare(*repeat, "--seed", "4", out=tmp_path / "4") == 0
    for seed, name in enumerate(("3", "4")):
        for flow, found in plain_ends(tmp_path / name).items():
            (row,) = rows(tmp_path / "s", contender=flow, seed=seed)
            last = [f"{row['curve'][metric][-1]:.6g}" for metric in ("W2", "MMD^2")]
            assert tuple(last) == found


@pytest.mark.slow
def test_the_written_config_repeats_a_study(tmp_path, capsys):
    asked = ["--flows", "mmd-noise,kale", *SMALL, "--seeds", "2", "--sweep", "lam=0.05,0.5"]
    assert compare(*asked, out=tmp_path / "a") == 0
    printed = capsys.readouterr().out
    assert compare("--config", str(tmp_path / "a" / "config.toml"), out=tmp_path / "b") == 0
    assert list(map(ends, rows(tmp_path / "a"))) == list(map(ends, rows(tmp_path / "b")))
    assert (tmp_path / "a" / "config.toml").read_text() == (
        tmp_path / "b" / "config.toml"
    ).read_text()
    before = made(tmp_path / "a")
    grown = ["--config", str(tmp_path / "a" / "config.toml"), "--seeds", "3"]
    assert compare(*grown, out=tmp_path / "a") == 0
    after = made(tmp_path / "a")
    assert len(after) == 9
    assert {name: after[name] for name in before} == before
    settings = tomllib.loads((tmp_path / "b" / "config.toml").read_text())
    assert settings["sweep"] == ["lam=0.05,0.5"]
    assert (settings["seeds"], settings["jobs"], settings["steps"]) == (2, 1, 6)
    for name in LEFT - {"study"}:
        assert name in printed


@pytest.mark.slow
def test_two_processes_make_the_same_rows_as_one(tmp_path):
    asked = ["--flows", "mmd", "--seeds", "2", *SMALL[:-2], "--dt", "0.01"]
    assert compare(*asked, "--jobs", "1", out=tmp_path / "1") == 0
    assert compare(*asked, "--jobs", "2", out=tmp_path / "2") == 0
    assert list(map(ends, rows(tmp_path / "1"))) == list(map(ends, rows(tmp_path / "2")))


# ------------------------------------------------------------------ tuning


def test_tuning_tries_the_declared_ranges_and_goes_on_from_what_there_is(tmp_path, capsys):
    asked = ["--flows", "mmd-noise,kale,w1", "--seeds", "2", *SMALL]
    assert compare(*asked, out=tmp_path) == 0
    capsys.readouterr()
    before = made(tmp_path)
    assert compare(*asked, "--tune", "2", out=tmp_path) == 0
    after = made(tmp_path)
    assert {name: after[name] for name in before} == before
    assert "untuned" in capsys.readouterr().out
    trials = rows(tmp_path, role="trial", contender="kale")
    assert sorted(row["trial"] for row in trials) == [-1, 0, 1]
    lam, dt = (options.BY_NAME[name].tuned for name in ("lam", "dt"))
    width = options.BY_NAME["bandwidth"].tuned
    chosen = tomllib.loads((tmp_path / "config.toml").read_text())["bandwidth"]
    for row in trials:
        assert {*row["settings"]} == {"lam", "bandwidth"}, "the first of paced steps is not tuned"
        assert lam.low <= row["settings"]["lam"] <= lam.high
        assert width.low <= row["settings"]["bandwidth"] / chosen <= width.high
    for row in rows(tmp_path, role="trial", contender="mmd-noise"):
        assert dt.low <= row["settings"]["dt"] <= dt.high
    assert {*rows(tmp_path, contender="w1")[0]["settings"]} == {"dt"}
    for name in ("mmd-noise", "kale", "w1"):
        assert [row["seed"] for row in rows(tmp_path, contender=name, role="tuned")] == [0, 1]


def test_what_is_tuned_changes_the_flow(tmp_path):
    asked = ["--flows", "mmd-noise", "--tune", "2", *SMALL]
    assert compare(*asked, out=tmp_path) == 0
    (row,) = (row for row in rows(tmp_path, role="trial") if row["trial"] == 0)
    flags = {name: str(row["settings"][name]) for name in ("beta", "beta_half", "bandwidth")}
    # the same settings by hand, on the seed of the trial
    by_hand = [
        *(
            "--flows",
            "mmd-noise",
            "--film",
            "none",
            "--dt",
            repr(row["dt"]),
            "--seed",
            str(row["seed"]),
        ),
        *(word for name, value in flags.items() for word in (options.BY_NAME[name].flag, value)),
    ]
    config = ["--config", str(tmp_path / "config.toml"), "--seeds", "1", "--tune", "0"]
    assert compare(*config, *by_hand, out=tmp_path / "plain") == 0
    w2, _ = plain_ends(tmp_path / "plain")["mmd-noise"]
    assert f"{row['curve']['W2'][-1]:.6g}" == w2


def test_a_tuned_range_holds_the_default_of_its_option():
    tuned = {option.name: option for option in options.OPTIONS if option.tuned}
    assert {*tuned} == {"bandwidth", "dt", "lam", "beta", "beta_half", "shift", "first_steps"}
    for option in tuned.values():
        least, most = option.tuned.low, option.tuned.high
        usual = 1.0 if option.tuned.relative else option.default
        assert least <= usual <= most
        Range(least, most, usual, option.tuned.linear)
        for bound in (option.above, option.least):
            assert bound is None or option.tuned.relative or least >= bound


# ------------------------------------------------------------------ sweeps


@pytest.mark.slow
def test_a_flow_that_does_not_take_the_option_appears_once(tmp_path):
    sweep = ["--sweep", "lam=0.01,1", "--sweep", "ratio=kde,kale"]
    assert compare("--flows", "mmd,kale,mono", *sweep, *SMALL, out=tmp_path) == 0
    assert result(tmp_path).contenders == [
        "mmd",
        "kale lam=0.01",
        "kale lam=1",
        "mono ratio=kde",
        "mono ratio=kale lam=0.01",
        "mono ratio=kale lam=1",
    ]
    # each value is the flow that has it in a plain comparison
    plain = [
        "--flows",
        "kale,mono",
        *SMALL[:-2],
        "--film",
        "none",
        "--ratio",
        "kale",
        "--lam",
        "0.01",
    ]
    assert compare(*plain, out=tmp_path / "plain") == 0
    found = plain_ends(tmp_path / "plain")
    for flow, name in (("kale", "kale lam=0.01"), ("mono", "mono ratio=kale lam=0.01")):
        (row,) = rows(tmp_path, contender=name)
        assert f"{row['curve']['W2'][-1]:.6g}" == found[flow][0]


@pytest.mark.parametrize(
    ("flow", "option", "values"),
    [
        pytest.param(*("mmd", "dt", "0.01,0.02"), marks=pytest.mark.slow),
        ("mmd", "bandwidth", "0.1,0.4"),
        pytest.param(*("mmd", "kernel", "gaussian,energy"), marks=pytest.mark.slow),
        pytest.param(*("mmd-noise", "beta", "0,0.3"), marks=pytest.mark.slow),
        pytest.param(*("mmd", "integrator", "euler,heun"), marks=pytest.mark.slow),
        ("mono", "mobility", "logit,mle"),
        pytest.param(*("kale", "rtol", "1e-8,1e-3"), marks=pytest.mark.slow),
    ],
)
def test_every_swept_value_is_the_plain_flow_with_it(tmp_path, flow, option, values):
    asked = ["--flows", flow, *SMALL[:-2]]
    assert compare(*asked, "--sweep", f"{option}={values}", "--jobs", "1", out=tmp_path) == 0
    flag = options.BY_NAME[option].flag
    for value in values.split(","):
        out = tmp_path / value
        assert compare(*asked, flag, value, "--film", "none", "--metrics", "w2", out=out) == 0
        with (out / "metrics.csv").open() as file:
            last = float([*csv.DictReader(file)][-1]["W2"])
        (row,) = rows(tmp_path, contender=f"{flow} {option}={float_or_word(value)}")
        assert row["curve"]["W2"][-1] == pytest.approx(last, rel=1e-5)


def float_or_word(value: str) -> str:
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def test_swept_numbers_of_points_are_tasks(tmp_path, capsys):
    sweep = ["--sweep", "n=9,14", "--sweep", "m=11,17"]
    assert compare("--flows", "mmd", *sweep, *GIVEN[4:], out=tmp_path) == 0
    found = json.loads((tmp_path / "results.json").read_text())["study"]["tasks"]
    assert [(one["name"], one["particles"], one["targets"]) for one in found] == [
        ("rings n=9 m=11", 9, 11),
        ("rings n=9 m=17", 9, 17),
        ("rings n=14 m=11", 14, 11),
        ("rings n=14 m=17", 14, 17),
    ]
    printed = capsys.readouterr().out
    assert all(one["name"] in printed for one in found)


def test_each_swept_number_of_points_has_a_player(tmp_path):
    sweep = ["--sweep", "n=9,14"]
    assert compare("--flows", "mmd", *sweep, *GIVEN[2:], out=tmp_path) == 0
    report, names = (tmp_path / "report.html").read_text(), {"player-n=9.html", "player-n=14.html"}
    assert names == {file.name for file in tmp_path.glob("player*")}
    assert "<title>Flows on rings</title>" in report
    for number in (9, 14):
        assert f"rings n={number}, seed 0" in (tmp_path / f"player-n={number}.html").read_text()
        assert f'<a href="player-n={number}.html">rings n={number}</a>' in report
    # another study in the folder replaces them
    assert compare("--flows", "mmd", "--seeds", "2", *GIVEN, out=tmp_path) == 0
    assert {file.name for file in tmp_path.glob("player*")} == {"player.html"}


# ------------------------------------------------------------------ points never seen


def test_rows_of_a_file_that_the_flow_sees_are_not_those_that_it_does_not(tmp_path):
    points = np.random.default_rng(0).normal(size=(61, 2))
    np.savetxt(tmp_path / "p.csv", points, delimiter=",")
    settings = {"target": str(tmp_path / "p.csv"), "n": 15, "steps": 4, "seeds": 2}
    planned = studies.comparison(settings, ["mmd"])
    (task,) = planned.study.tasks
    assert task.targets == 20
    kept = {tuple(row) for row in np.loadtxt(tmp_path / "p.csv", delimiter=",").tolist()}
    for seed in range(2):
        problem = task.draw(seed)
        parts = [
            [tuple(row) for row in part.tolist()]
            for part in (problem.target, problem.held_out, problem.fresh)
        ]
        assert [len(part) for part in parts] == [20, 20, 15]
        together = [row for part in parts for row in part]
        assert len({*together}) == 55
        assert {*together} <= kept
        assert torch.equal(problem.target, planned.task.problem.law.sample(20, seed=seed))


def test_a_sampler_draws_points_that_the_flow_does_not_see():
    settings = {"target": "moons", "n": 15, "m": 19, "steps": 4, "seeds": 2, "seed": 5}
    (task,) = studies.comparison(settings, ["mmd"]).study.tasks
    one, other = task.draw(0), task.draw(1)
    assert one.seed == 5
    assert (len(one.held_out), len(one.fresh), len(one.x0)) == (19, 15, 15)
    clouds = [cloud for p in (one, other) for cloud in (p.target, p.held_out, p.fresh)]
    together = torch.cat(clouds)
    assert len(together.unique(dim=0)) == len(together)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seeds", "0"], "--seeds must be >= 1, got 0: 10 tell most flows apart"),
        (["--tune", "-1"], "--tune must be >= 0, got -1"),
        (["--sweep", "lam"], "--sweep must be NAME=V1,V2,..., got 'lam': write it as in lam=0.01"),
        (["--sweep", "lamb=1,2"], "got 'lamb'; did you mean 'lam'?"),
        (["--sweep", "lambda=1,2"], "got 'lambda'; did you mean 'lam'?"),
        (["--sweep", "xyz=1,2"], "got 'xyz': known are n, m, kernel, bandwidth, anneal, "),
        (["--sweep", "target=rings,moons"], "got target: run a comparison for each target"),
        (["--sweep", "steps=5,6"], "got steps: run a comparison for each steps"),
        (["--sweep", "lam=0.1,-1"], "lam in --sweep must be > 0, got -1"),
        (["--sweep", "lam=0.1,x"], "lam in --sweep must be a number, got 'x'"),
        (["--sweep", "ratio=kde,kdee"], "ratio in --sweep must be one of kde, kale, "),
        (["--sweep", "lam=0.1,1e-1"], "--sweep must give each value of lam once"),
        (["--sweep", "lam=1,2", "--sweep", "lam=3"], "--sweep must name lam once"),
        (["--sweep", "lam=1,2", "--lam", "3"], "--lam cannot be given beside the sweep of lam"),
        (["--sweep", "lam=1,2", "--tune", "4"], "--sweep cannot be over lam, which --tune chooses"),
        (["--sweep", "beta=1,2"], "in one of the flows kale, mono, got beta: leave it out"),
        (["--flows", "mono", "--sweep", "lam=1,2"], "flows mono, got lam: leave it out"),
        (["--flows", "w1", "--sweep", "bandwidth=1,2"], "flows w1, got bandwidth: leave it out"),
        (["--seeds", "2", "--threads", "1"], "--sweep: take --jobs"),
        (["--seeds", "2", "--film", "gif"], "--film has no meaning with --seeds, --tune or --sw"),
        (["--seeds", "2", "--record", "velocity"], "--record has no meaning with --seeds"),
        (
            ["--jobs", "2"],
            "--jobs is for many runs, and this is one of each flow: leave it out, or",
        ),
        (["--seeds", "2", "--flows", "langevin"], "--target must have a known density for langevi"),
        (["--seeds", "2", "--target", "iris", "--m", "51"], "got 51 of 150 rows: take at most 50"),
        (["--sweep", "kernel=energy,laplace"], "--kernel energy is not positive, which kale needs"),
        ([*LANGEVIN, "--sweep", "integrator=heun,euler"], "must be euler-maruyama for langevin"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_any_work(tmp_path, capsys, arguments, told):
    flows = [] if "--flows" in arguments else ["--flows", "kale,mono"]
    assert compare(*flows, *arguments, out=tmp_path / "o") == 2
    said = capsys.readouterr().err
    assert said.startswith("particleflow: error: ")
    assert said.count("\n") == 1
    assert told in said
    assert not (tmp_path / "o" / "config.toml").exists()


@pytest.mark.parametrize("flag", ["--seeds", "--tune", "--sweep"])
def test_run_has_one_run_and_says_what_has_many(tmp_path, capsys, flag):
    call = ["run", "--flow", "kale", flag, "3", "--out", str(tmp_path)]
    assert main(call) == 2
    assert f"use `particleflow compare`, which takes {flag}" in capsys.readouterr().err
    value = '["lam=1,2"]' if flag == "--sweep" else "3"
    (tmp_path / "c.toml").write_text(f"{flag[2:]} = {value}\n")
    assert main([*call[:3], "--config", str(tmp_path / "c.toml")]) == 2
    assert "belongs to `particleflow compare`: use that command" in capsys.readouterr().err


def test_steps_of_one_flow_alone_are_refused(tmp_path, capsys):
    (tmp_path / "c.toml").write_text("seeds = 2\n[kale]\nsteps = 3\n")
    call = ["--config", str(tmp_path / "c.toml"), "--flows", "mmd,kale", "--n", "9", "--m", "11"]
    assert compare(*call, out=tmp_path / "o") == 2
    told = capsys.readouterr().err
    assert "must be the same for all flows" in told
    assert "got mmd 400, kale 3" in told


def test_the_folder_of_another_study_is_refused_and_left_as_it_was(tmp_path, capsys):
    assert compare("--flows", "mmd", "--seeds", "2", *GIVEN, out=tmp_path) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    capsys.readouterr()
    again = ["--flows", "mmd", "--seeds", "2", *GIVEN, "--bandwidth", "0.7"]
    assert compare(*again, out=tmp_path) == 2
    told = capsys.readouterr().err
    assert told.startswith("particleflow: error: --out must hold the results of this study")
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before


def test_a_plain_comparison_makes_place_and_keeps_finished_runs(tmp_path):
    assert compare("--flows", "mmd", "--seeds", "2", *GIVEN, out=tmp_path) == 0
    rows_before = made(tmp_path)
    assert compare("--flows", "mmd", *SMALL[:-2], "--film", "none", out=tmp_path) == 0
    left = {file.name for file in tmp_path.iterdir()}
    assert not left & {"results.json", "results.csv", "results.md", "curves.png", "report.html"}
    assert "metrics.csv" in left
    assert compare("--flows", "mmd", "--seeds", "2", *GIVEN, out=tmp_path) == 0
    assert made(tmp_path) == rows_before
    assert {file.name for file in tmp_path.iterdir()} == LEFT


# ------------------------------------------------------------------ how it ends


def test_a_run_that_does_not_complete_is_told_and_ends_with_1(tmp_path, capsys):
    asked = ["--flows", "mmd", "--sweep", "dt=0.01,300", *SMALL, "--seeds", "2"]
    assert compare(*asked, out=tmp_path) == 1
    printed = capsys.readouterr().out
    assert re.search(r"^  v mmd dt=0.01 +best ", printed, re.MULTILINE)
    assert re.search(r"^  x mmd dt=300 +worse .*2 of 2 (unstable|diverged)", printed, re.MULTILINE)


def test_a_trial_that_fails_is_no_failure(tmp_path):
    # a dt of 8 times this one is too large
    asked = ["--flows", "mmd", "--dt", "2", "--bandwidth", "1", "--tune", "4", *SMALL]
    assert compare(*asked, out=tmp_path) == 0
    assert any(row["status"] != "completed" for row in rows(tmp_path, role="trial"))


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path, python, jobs):
    asked = ["compare", "--flows", "mmd", "--n", "12", "--m", "17", "--steps", "60", "--dt", "0.01"]
    call = [*asked, "--seeds", "14", "--jobs", jobs, "--out", str(tmp_path)]
    with python.start("-m", "particleflow", *call) as process:
        try:
            while process.poll() is None and len(made(tmp_path)) < 2:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            printed, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, told
    assert "stopped by Ctrl-C: the same command goes on" in printed
    # the first seed, whose player it is, need not be among the finished ones
    assert {file.name for file in tmp_path.iterdir()} | {"player.html"} == LEFT
    finished = made(tmp_path)
    assert 2 <= len(finished) < 14
    assert result(tmp_path).interrupted
    assert {row["status"] for row in rows(tmp_path)} == {"completed"}
    assert main([*asked, "--seeds", "14", "--jobs", "1", "--out", str(tmp_path)]) == 0
    after = made(tmp_path)
    assert len(after) == 14
    assert {name: after[name] for name in finished} == finished
