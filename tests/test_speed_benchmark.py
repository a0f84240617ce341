"""The speed benchmark at tiny sizes: every row runs, measures what its goals name, and says what it
could not measure. No time is judged.
"""

from __future__ import annotations

import csv
import json
import math
import mmap
import platform
import tempfile
import time
from pathlib import Path

import pytest
import torch

import particleflow as pf
from benchmarks import environment, timing
from benchmarks.__main__ import main
from benchmarks.goals import Goal, Row
from benchmarks.speed import films as speed_films
from benchmarks.speed import grid as speed_grid
from benchmarks.speed import process as speed_process
from benchmarks.speed import rows as speed_rows
from benchmarks.speed import suite as speed
from benchmarks.speed.problem import draw, relative_error, step
from particleflow.pairwise import Dense

ROOT = Path(__file__).parents[1]

TINY = {
    "exact": {"n": 300, "rounds": 1},
    "mesh": {"n": 2000, "reference": 300, "rounds": 1},
    "tenfold": {"n": 500, "rounds": 1},
    "space": {"n": 2000, "reference": 300, "rounds": 1},
    "mono": {"n": 2000, "rounds": 1},
    "small": {"n": 2000, "rounds": 1},
    "nystroem": {"n": 1500, "queries": 200, "rounds": 1},
    "auto": {"sizes": [100, 900], "dims": [2, 5], "bandwidths": [0.5], "cap": 1.0, "rounds": 1},
    "threads": {"n_exact": 500, "n_mesh": 2000, "rounds": 1},
    "promise": {"count": 2, "most": 400},
    "flow": {"n": 2000, "steps": 3},
    "films": {"n": 30, "frames": 3},
}
COMPILES = [pytest.mark.keops, pytest.mark.slow]  # pykeops takes half a minute for its formulas
MARKS = {"exact": COMPILES, "mesh": COMPILES, "space": COMPILES, "small": pytest.mark.slow}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in TINY])
def test_every_row_measures_what_its_goals_name(name, monkeypatch):
    monkeypatch.setattr(speed_films, "RECORDS", 4)
    measured = speed.ROWS[name].run(**TINY[name])
    wanted = {goal.number for goal in speed.GOALS if goal.row == name}
    assert wanted <= set(measured["numbers"])
    assert measured["note"]
    for value in measured["numbers"].values():
        assert value is None or (math.isfinite(value) and value >= 0)
    json.dumps(measured)


def test_every_row_has_a_goal_and_sizes_that_its_function_takes():
    # the lines of the report have no goal
    assert {goal.row for goal in speed.GOALS} == set(speed.ROWS) - {"lines"}
    for name, row in speed.ROWS.items():
        assert set(row.quick) >= set(row.full), name
        assert set(TINY.get(name, row.quick)) <= set(
            row.run.__code__.co_varnames[: row.run.__code__.co_argcount]
        ), name
        assert set(row.quick) <= set(
            row.run.__code__.co_varnames[: row.run.__code__.co_argcount]
        ), name


@pytest.mark.slow
def test_rows_are_measured_again_beside_those_of_an_earlier_run(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["speed", "--rows", "gpu", "--again", "--out", str(tmp_path)])
    assert "goes on from a full run" in capsys.readouterr().err
    rows = {
        "gpu": {"failed": "failed: before"},
        "flow": {"numbers": {"share": 0.1, "seconds": 2.0}, "note": "as it was"},
    }
    (tmp_path / "speed.json").write_text(
        json.dumps({"command": "the earlier command", "rows": rows})
    )
    assert main(["speed", "--rows", "gpu", "--again", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "load of the machine at the start" in printed
    record = json.loads((tmp_path / "speed.json").read_text())
    assert [line["row"] for line in record["table"]] == ["flow", "gpu"]
    assert record["environment"]["threads"] == 1
    with (tmp_path / "speed.csv").open() as file:
        assert [line["row"] for line in csv.DictReader(file)] == ["flow", "gpu"]
    again = record["rows"]["gpu"]
    assert "failed" not in again
    text = (tmp_path / "speed.md").read_text()
    assert "The other rows are of `the earlier command`." in text
    assert "as it was" in text
    everything = "".join(path.read_text() for path in tmp_path.iterdir())
    for private in (str(tmp_path), str(ROOT), str(Path.home()), platform.node()):
        assert len(private) < 3 or private not in everything
    if torch.cuda.is_available():
        assert again["numbers"]
    else:  # what cannot be measured says why
        assert "not measured (no CUDA device)" in printed
        assert "not measured" in again["missing"]


@pytest.mark.slow
def test_quick_results_are_written_beside_full_ones(tmp_path, capsys):
    assert main(["speed", "--quick", "--rows", "gpu", "--out", str(tmp_path)]) == 0
    assert "Quick" in capsys.readouterr().out
    record = json.loads((tmp_path / "speed-quick.json").read_text())
    assert [line["row"] for line in record["table"]] == ["gpu"]
    with (tmp_path / "speed-quick.csv").open() as file:
        assert [line["row"] for line in csv.DictReader(file)] == ["gpu"]


def test_a_row_that_fails_is_told_and_loses_no_other(monkeypatch):
    monkeypatch.setitem(
        speed.ROWS,
        "flow",
        Row(speed_process.flow, {"n": -1, "steps": 1}, {"n": -1, "steps": 1}),
    )
    row = speed.measure("flow", quick=True)
    (goal,) = [goal for goal in speed.GOALS if goal.row == "flow"]
    assert row["failed"].startswith("failed: ValueError")
    line = speed._line(goal, row)
    assert line["obtained"] == "failed"
    assert line["reached"] is None


def test_unknown_rows_are_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["speed", "--rows", "exact,mehs"])
    assert "'mehs'" in capsys.readouterr().err


def test_the_list_names_the_rows(capsys):
    assert main(["speed", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in speed.ROWS)


def test_a_goal_reads_as_it_judges():
    faster = Goal("exact", "x", "", "{:.0f}x", least=150)
    share = Goal("exact", "x", "", "1/{:.0f}", least=35)
    error = Goal("exact", "x", "", "{:.0e}", most=2e-6)
    bare = Goal("exact", "x", "", "{:.0f}")
    assert [goal.text for goal in (faster, share, error, bare)] == [
        ">= 150x",
        "<= 1/35",
        "<= 2e-06",
        "reported",
    ]
    assert [faster.reached(v) for v in (149.0, 150.0, None)] == [False, True, None]
    assert [share.reached(v) for v in (34.0, 36.0)] == [False, True]
    assert [error.reached(v) for v in (2e-6, 3e-6)] == [True, False]
    assert bare.reached(1.0) is None


def test_quick_results_are_labelled_and_do_not_claim_a_goal():
    where = {
        "date": "d",
        "seconds": 1.0,
        "processor": "p",
        "processors": 2,
        "load_before": 0.1,
        "python": "3",
        "particleflow": "0",
        "torch": "2",
    }
    where |= dict.fromkeys(speed.LIBRARIES, "1")
    rows = {"flow": {"numbers": {"share": 0.1}, "note": "n"}}
    table = [speed._line(goal, rows["flow"]) for goal in speed.GOALS if goal.row == "flow"]
    record = {"command": "c", "environment": where, "table": table, "rows": rows}
    full, quick = (speed.render({**record, "quick": quick}) for quick in (False, True))
    assert "| yes " in full
    assert "Quick" not in full
    assert "| (yes) " in quick
    assert "Quick" in quick


def test_trials_are_interleaved_and_never_get_the_same_input_twice():
    calls: list[tuple[str, int]] = []

    def slow(k: int) -> None:
        calls.append(("slow", k))
        time.sleep(0.02)

    trials = {
        "slow": timing.Trial(lambda k: (k,), slow),
        "quick": timing.Trial(lambda k: (k,), lambda k: calls.append(("quick", k)), warm=(-1,)),
    }
    times = timing.interleaved(trials, rounds=3, slot=0.01, most=4)
    assert calls[:2] == [("slow", 0), ("quick", -1)]
    assert [call for call in calls if call[0] == "slow"] == [("slow", k) for k in range(4)]
    assert [call for call in calls if call[0] == "quick"] == [
        ("quick", k) for k in (-1, *range(1, 13))
    ]
    assert [name for name, _ in calls[2:]] == (["slow"] + 4 * ["quick"]) * 3
    assert times["slow"].waited >= 0.02 > times["slow"].work


def test_the_truth_knows_an_error_of_one_per_cent():
    problem = draw(400, bandwidth=0.3).to(torch.float64)
    ours, x = step(Dense(), problem), problem.particles(3)
    velocity = ours(x)
    assert relative_error(velocity, problem, x) < 1e-13
    assert relative_error(1.01 * velocity, problem, x, rows=50) == pytest.approx(0.01, rel=1e-6)
    assert torch.allclose(ours.fresh(x, problem.target), velocity, rtol=1e-12, atol=1e-15)


def test_exact_sums_are_not_timed_in_the_name_of_a_fast_backend():
    from particleflow.pairwise.mesh.backend import Mesh

    problem = draw(300, bandwidth=0.2)
    assert speed_rows.fast(step(Mesh(rtol=1e-4), problem)).backend == Mesh(rtol=1e-4)
    # two cells can resolve nothing
    with pytest.raises(RuntimeError, match="Mesh summed by Culled"):
        speed_rows.fast(step(Mesh(rtol=1e-4, max_cells=2), problem))


def test_particles_are_elsewhere_at_every_repetition_but_only_a_little():
    problem = draw(50, 3, bandwidth=0.3)
    one, other = problem.particles(1), problem.particles(2)
    assert not (one == other).any()
    assert (one - other).abs().max() < 0.01
    assert not (problem.fresh_inputs(1)[1] == problem.fresh_inputs(2)[1]).any()


def test_a_watched_backend_changes_nothing_and_counts_the_time():
    problem = draw(300, bandwidth=0.3)
    watched = speed_process.TimedSum(Dense())
    flows = [pf.mmd_flow(problem.kernel, pairwise=pairwise) for pairwise in (Dense(), watched)]
    paths = [
        pf.simulate(flow, problem.start, problem.target[:200], steps=4, dt=0.1) for flow in flows
    ]
    assert torch.equal(paths[0].particles, paths[1].particles)
    assert torch.equal(paths[0].energy, paths[1].energy)
    assert watched.watch.seconds > 0
    measured = speed_process.flow(2000, 3, Dense())
    assert 0 < measured["numbers"]["share"] < 1


def test_memory_that_was_used_and_given_back_is_seen():
    timing.forget_peak()
    rest = timing.resident()
    # memory of its own: an allocator may have some left that is resident already
    with mmap.mmap(-1, 40_000_000) as used:
        used.write(bytes(40_000_000))
    assert timing.peak_resident() - rest > 35e6
    assert timing.resident() <= timing.peak_resident()
    timing.forget_peak()
    assert timing.peak_resident() - rest < 35e6


@pytest.mark.slow
def test_the_growth_of_a_step_holds_its_clouds():
    clouds = 3 * 300_000 * 2 * 4
    with environment.workers(1, 1) as pool:  # a heap with room left by other tests does not grow
        assert (
            pool.submit(speed_process.growth, speed_process.LARGE[0], 300_000).result() > clouds / 2
        )


@pytest.mark.slow
def test_a_first_use_takes_time_and_keeps_nothing():
    (culled,) = [case for case in speed_process.COMPILED if case[0] == "Culled"]
    with (
        tempfile.TemporaryDirectory() as folder,
        speed_process._environment({"XDG_CACHE_HOME": folder}),
    ):
        with environment.workers(1, 1) as pool:
            assert pool.submit(speed_process.first_over_second, culled, 300).result() > 0
        assert not any(Path(folder).iterdir())


def test_a_candidate_is_left_out_only_where_its_growth_says_so():
    def cell(n: int, seconds: dict[str, float]) -> speed_grid.Cell:
        return speed_grid.Cell(n, 2, 0.1, "Mesh", "", seconds, "Mesh")

    history = [
        cell(100, {"Mesh": 0.1, "Culled": 1e-4}),
        cell(1000, {"Mesh": 0.1, "Culled": 1e-2}),
        cell(10_000, {"Mesh": 0.2}),
    ]
    assert speed_grid.expected_seconds("Fourier", 10**5, history) == 0
    assert speed_grid.expected_seconds("Mesh", 10**5, history) == pytest.approx(0.4)
    assert speed_grid.expected_seconds("Culled", 10**5, history) == pytest.approx(1e-2 * 1e4)
    assert speed_grid.expected_seconds("Mesh", 1000, history[:1]) == 0.1


def test_tables_have_marks_of_their_own():
    page = (ROOT / "benchmarks" / "README.md").read_text()
    assert all(page.count(mark) == 1 for mark in speed.MARKS)
    assert speed_rows.measured({"a": 1.0}, "note") == {
        "numbers": {"a": 1.0},
        "note": "note",
        "times": {},
    }
