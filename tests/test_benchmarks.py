"""The benchmarks themselves, at a tiny size: they run, they say what happened, and what they write
can be read by others.
"""

from __future__ import annotations

import csv
import json
import math
import platform
from pathlib import Path

import pytest
import torch
from benchmarks.compare.measure import status
from benchmarks.compare.methods import METHODS

import particleflow as pf
from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.compare import published
from benchmarks.compare import suite as compare
from benchmarks.tasks import TASKS

ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def _one_thread():
    """As the benchmarks run: two threads on clouds this small only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_command_writes_a_table_that_others_can_read(tmp_path, capsys):
    flows = ["mmd", "mono"]
    sizes = ["--quick", "--steps", "4", "--seeds", "2", "--jobs", "1"]
    argv = [*sizes, "--tasks", "rings", "--flows", ",".join(flows), "--out", str(tmp_path)]
    assert main(argv) == 0

    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "compare-quick.json").read_text())
    with (tmp_path / "compare-quick.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(run["flow"], run["seed"]) for run in record["runs"]] == [
        (flow, seed) for flow in flows for seed in (0, 1)
    ]
    assert [(line["flow"], int(line["seed"])) for line in lines] == [
        (run["flow"], run["seed"]) for run in record["runs"]
    ]
    for run, line in zip(record["runs"], lines, strict=True):
        assert run["status"] == line["status"] == "completed"
        assert run["steps"] == run["curve"][-1]["step"] == 4
        for column in ("W2", "W2_held_out", "MMD2", "ms_per_step", "dt"):
            assert math.isfinite(run[column])
            assert run[column] > 0
            assert float(line[column]) == run[column]
    assert record["environment"]["threads"] == 1
    assert {row["step"] for row in record["published"]} == {0}
    assert (tmp_path / "compare-quick.md").read_text().strip() in printed
    everything = "".join(path.read_text() for path in tmp_path.iterdir())
    for private in (str(tmp_path), str(ROOT), str(Path.home()), platform.node()):
        assert len(private) < 3 or private not in everything


def test_the_list_names_suites_tasks_and_flows(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("compare", *TASKS, *METHODS))


@pytest.mark.parametrize(
    ("argv", "named"),
    [(["--flows", "mdm"], "mdm"), (["--tasks", "rings,ring"], "'ring'"), (["--steps", "0"], "'0'")],
)
def test_bad_options_are_refused_by_name(argv, named, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert named in capsys.readouterr().err


def test_an_unknown_suite_is_answered_with_the_nearest(capsys):
    assert main(["comapre"]) == 2
    assert "did you mean 'compare'" in capsys.readouterr().err


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_function_of_its_seed(name):
    one, same, other = (TASKS[name].draw(seed) for seed in (3, 3, 4))
    assert len(one.x0) != len(one.target)
    assert torch.equal(one.x0, same.x0)
    assert torch.equal(one.target, same.target)
    assert torch.equal(one.held_out, same.held_out)
    assert not torch.equal(one.x0, other.x0)
    assert not torch.equal(one.target, other.target)


def test_held_out_points_are_other_points_than_the_flow_saw():
    problem = TASKS["digits"].draw(0)
    rows = {tuple(row) for row in pf.samplers.Digits(pca=2).points.tolist()}
    seen, unseen = (
        {tuple(row) for row in cloud.tolist()} for cloud in (problem.target, problem.held_out)
    )
    assert seen <= rows
    assert unseen <= rows
    assert not seen & unseen


@pytest.mark.parametrize("flow", METHODS)
def test_every_flow_comes_nearer_in_a_few_steps(flow):
    row = compare.measure(compare.Job("digits", flow, seed=0, steps=8))
    assert row["status"] == "completed"
    assert not row["energy_rose"]
    assert row["t"] == pytest.approx(8 * row["dt"])
    assert row["MMD2"] < row["MMD2_start"]


def test_a_step_that_is_too_long_is_reported_not_hidden():
    rows = [
        compare.measure(compare.Job("rings", "mono", seed=0, steps=6, dt=dt)) for dt in (1e-3, 1e12)
    ]
    assert [row["status"] for row in rows] == ["completed", "diverged"]
    assert math.isfinite(rows[1]["W2"])
    assert rows[1]["curve"][-1]["step"] < 6
    assert "seed 0 diverged" in status(rows[1])
    assert compare.tune(rows) is rows[0]

    rising = compare.measure(compare.Job("rings", "mmd", seed=0, steps=6, dt=20.0))
    assert rising["energy_rose"]
    assert "energy rose" in status(rising)


def test_the_best_of_a_grid_is_the_nearest_sound_one():
    common = {"flow": "kale", "task": "rings", "seed": 7, "curve": [{"step": 3}]}
    cases = (
        ("completed", 0.3, False),
        ("diverged", 0.1, False),
        ("completed", 0.2, False),
        ("completed", 0.15, True),
    )
    rows = [
        {**common, "status": status, "W2": w2, "energy_rose": rose} for status, w2, rose in cases
    ]
    assert compare.tune(rows) is rows[2]
    with pytest.raises(
        RuntimeError,
        match="no dt of the grid suits kale on rings: seed 7 diverged at step 3, completed, but",
    ):
        compare.tune([rows[1], rows[3]])


@pytest.mark.parametrize("flow", published.RUNS)
def test_the_published_start_has_the_published_value(flow):
    (row,) = published.measure(flow, 0)
    # to the three digits that were printed
    assert row["ours"] == pytest.approx(row["published"], rel=2e-3)


def test_results_go_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\nold\n".join(report.MARKS) + "\nafter\n")
    report.insert("new", path=page)
    report.insert("newer", path=page)
    assert page.read_text() == "before\n" + "\nnewer\n".join(report.MARKS) + "\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md"):
        report.insert("new", path=page)


def test_the_median_is_given_with_its_range():
    assert report.spread([0.3, 0.1, 0.2]) == "0.2 (0.1-0.3)"
    assert report.spread([5, 5]) == "5"
