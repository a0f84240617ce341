"""particleflow.study: what is compared, what is chosen, and what is left on the disk."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from forked import Process, Python

import particleflow as pf
from particleflow.integrators import Adaptive, Descent, Paced
from particleflow.study import Choice, Contender, Range, Result, Setup, Study, Task
from particleflow.study.cell import held_out
from particleflow.study.readings import read
from particleflow.study.statistics import interval, paired
from particleflow.study.store import Store, filename
from particleflow.study.tuning import FIRST_SEED, best, trials
from particleflow.study.work import DIED, Work, perform

HERE = Path(__file__).parent


def line(name: str = "line", **sizes: Any) -> Task:
    """From one Gaussian on the line to another."""
    given = {"particles": 30, "targets": 40, "steps": 20, **sizes}
    start, target = pf.samplers.Gaussian(dim=1, mean=(-1.0,), std=0.5), pf.samplers.Gaussian(dim=1)
    return Task(name, start, target, **given)


def kernel(problem: Any) -> pf.kernels.Kernel:
    return pf.kernels.Gaussian(problem.bandwidth)


def mmd() -> Contender:
    return Contender("mmd", lambda problem: pf.mmd_flow(kernel(problem)))


def wide() -> Contender:
    """MMD flow with a bandwidth that can be tuned."""

    def make(problem: Any, width: float) -> pf.Flow:
        return pf.mmd_flow(pf.kernels.Gaussian(width * problem.bandwidth))

    return Contender("wide", make, {"width": Range(0.5, 4.0, default=2.0)})


def test_costs_are_measured_once_in_the_one_thread_that_runs_have() -> None:
    threads: list[int] = []

    def make(problem: Any) -> pf.Flow:
        threads.append(torch.get_num_threads())
        return pf.mmd_flow(kernel(problem))

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        study = Study([line()], [Contender("mmd", make)], seeds=2)
        assert study.expected() == study.expected() > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads
    assert set(threads) == {1}
    asked = len(threads)
    study.expected()
    assert len(threads) == asked


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    study = Study([line(), line("more", particles=25)], [mmd(), wide()], seeds=3, tuning=2)
    return study.run(folder=tmp_path_factory.mktemp("study"), progress=False)


def test_every_run_is_a_row(result: Result) -> None:
    kinds = {
        (row["task"], row["contender"], row["role"], row["trial"], row["seed"])
        for row in result.rows
    }
    assert len(kinds) == len(result.rows)
    for task in ("line", "more"):
        for name in ("mmd", "wide"):
            assert [row["seed"] for row in result.of(task, name, "default")] == [0, 1, 2]
            assert [row["seed"] for row in result.of(task, name, "tuned")] == [0, 1, 2]
            # the default is tried, too, on a seed that is used for nothing else
            tried = result.of(task, name, "trial")
            assert [row["trial"] for row in tried] == [-1, 0, 1]
            assert {row["seed"] for row in tried} == {FIRST_SEED}


def test_a_run_counts_once_where_the_default_was_the_best_trial(result: Result) -> None:
    assert result.folder is not None
    files = list((result.folder / "rows").glob("*.json"))
    assert len(result.made) == len(files) < len(result.rows)
    copied = [row for row in result.rows if row not in result.made]
    assert {(row["role"], row["trial"]) for row in copied} == {("tuned", -1)}
    each = [json.loads(file.read_text()) for file in files]
    assert result.spent == pytest.approx(sum(row["cpu_seconds"] for row in each), rel=1e-12)


def test_a_row_is_the_run_that_simulate_makes(result: Result) -> None:
    task = line()
    problem = task.draw(2)
    assert problem.bandwidth == pf.kernels.default_bandwidth(problem.target)
    path = pf.simulate(
        pf.mmd_flow(pf.kernels.Gaussian(2 * problem.bandwidth)),
        problem.x0,
        problem.target,
        steps=20,
        seed=2,
    )
    row = result.of("line", "wide", "default")[2]
    assert row["dt"] == path.report["dt"]
    w2 = pf.metrics.W2()
    seen, unseen = w2(path.state.x, problem.target), w2(path.state.x, problem.held_out)
    assert row["curve"]["W2"][-1] == pytest.approx(seen, rel=1e-5)
    assert row["curve"]["W2 held out"][-1] == pytest.approx(unseen, rel=1e-5)
    assert row["curve"]["time"][-1] == pytest.approx(20 * path.report["dt"], rel=1e-5)
    assert row["curve"]["energy"][-1] == pytest.approx(float(path.energy[-1]), rel=1e-5)
    assert row["floor"]["W2"] == pytest.approx(
        [w2(problem.fresh, problem.target), w2(problem.fresh, problem.held_out)], rel=1e-5
    )


def test_equal_seeds_draw_equal_points_for_all_and_other_seeds_others() -> None:
    task = line()
    one, same, other = task.draw(1), task.draw(1), task.draw(2)
    for name in ("x0", "target", "held_out", "fresh"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    parts = torch.cat([one.target, one.held_out, one.fresh]).flatten()
    assert len(parts.unique()) == 40 + 40 + 30


def test_a_row_of_a_data_set_is_in_one_sample_at_most() -> None:
    points = torch.arange(100.0, dtype=torch.float64)[:, None]
    task = Task(
        "rows",
        pf.samplers.Gaussian(dim=1),
        pf.samplers.FromArray(points),
        particles=20,
        targets=40,
    )
    problem = task.draw(0)
    parts = torch.cat([problem.target, problem.held_out, problem.fresh]).flatten()
    assert len(parts.unique()) == 100


def test_too_few_rows_of_a_data_set_are_refused_with_their_number() -> None:
    points = torch.arange(50.0, dtype=torch.float64)[:, None]
    with pytest.raises(ValueError, match=r"`targets`.*50 rows.*100"):
        Task(
            "rows",
            pf.samplers.Gaussian(dim=1),
            pf.samplers.FromArray(points),
            particles=20,
            targets=40,
        ).draw(0)


def test_fits_count_the_stages() -> None:
    heun = Contender("heun", lambda p: Setup(pf.mmd_flow(kernel(p)), dt=0.1, integrator=pf.Heun()))
    found = Study([line(steps=6)], [heun, mmd()], seeds=1).run(progress=False)
    assert [row["curve"]["fits"][-1] for row in found.rows] == [1 + 2 * 6, 1 + 6]
    assert found.rows[0]["dt"] == 0.1
    assert found.equal("line", "fits") == 7


@dataclass(frozen=True)
class Counted(pf.estimators.MMD):
    """An estimator that counts its fits."""

    made: ClassVar[list[int]] = [0]

    def fit(self, x: Any, y: Any, clock: Any, memory: Any) -> pf.Fit:
        self.made[0] += 1
        return super().fit(x, y, clock, memory)


@pytest.mark.parametrize(
    "integrator",
    [pf.Euler(), pf.RK4(), Adaptive(rtol=1e-4), Descent(), Paced()],
    ids=lambda one: type(one).__name__,
)
def test_fits_count_refused_steps(integrator: pf.integrators.Integrator) -> None:
    refuses = isinstance(integrator, Adaptive | Descent | Paced)

    def make(problem: Any) -> Setup:
        Counted.made[0] = 0
        dt = 20.0 if refuses else 0.1
        return Setup(pf.Flow(Counted(kernel(problem))), dt=dt, integrator=integrator)

    (row,) = Study([line(steps=6)], [Contender("counted", make)], seeds=1).run(progress=False).rows
    assert row["curve"]["fits"][-1] == Counted.made[0]
    fits = np.array(row["curve"]["fits"])
    assert (fits >= 1 + np.array(row["curve"]["steps"])).all()
    assert (fits[-1] > 1 + integrator.stages * 6) == refuses


def test_seconds_are_of_the_steps_and_grow(result: Result) -> None:
    for row in result.rows:
        seconds = row["curve"]["seconds"]
        assert seconds == sorted(seconds)
        assert 0 < seconds[-1] < row["cpu_seconds"]


def test_a_run_goes_on_until_its_seconds_are_used() -> None:
    found = Study([line(steps=10)], [mmd()], seeds=1, seconds=0.5).run(progress=False)
    curve = found.rows[0]["curve"]
    assert curve["steps"][-1] > 10
    assert curve["seconds"][-1] >= 0.5 or curve["steps"][-1] == 200
    # what stands at the task's steps is still that
    short = Study([line(steps=10)], [mmd()], seeds=1).run(progress=False)
    assert found.values("line", "mmd", "default") == pytest.approx(
        short.values("line", "mmd", "default"), rel=1e-5
    )


# tuning


def test_trials_fill_the_ranges_and_continue_when_there_are_more() -> None:
    contender = Contender(
        "one",
        lambda problem, lam, way: None,
        {"lam": Range(1e-4, 1.0, default=1e-2), "way": Choice(["a", "b"], "a")},
        stepping=Range(0.5, 2.0, 1.0, linear=True),
    )
    many = trials(contender, 64)
    assert trials(contender, 10) == many[:10]
    decades = [math.floor(math.log10(trial["lam"])) for trial in many]
    assert {decade: decades.count(decade) for decade in range(-4, 0)} == dict.fromkeys(
        range(-4, 0), 16
    )
    assert [trial["way"] for trial in many].count("a") == 32
    assert statistics.fmean(trial["dt"] for trial in many) == pytest.approx(1.25, abs=0.02)


def test_the_best_trial_ended_nearest_to_points_never_seen() -> None:
    def row(trial: int, seen: float, unseen: float, status: str = "completed") -> dict[str, Any]:
        curve = {"W2": [9.0, seen], held_out("W2"): [9.0, unseen]}
        return {"trial": trial, "status": status, "curve": curve}

    assert best([row(-1, 1.0, 3.0), row(0, 2.0, 1.0), row(1, 0.5, 2.0)], "W2") == 0
    assert best([row(-1, 1, 3.0), row(0, 1, 1.0, "unstable"), row(1, 1, 2.0)], "W2") == 1
    # of several seeds the median counts, and all must be sound
    rows = [row(0, 1, 1.0), row(0, 1, 9.0), row(0, 1, 1.0), row(1, 1, 2.0)]
    assert best(rows, "W2") == 0
    assert best([*rows, row(0, 1, 1.0, "diverged")], "W2") == 1
    assert best([row(0, 1, 1, "failed")], "W2") is None


def test_tuned_settings_are_those_of_the_best_trial(result: Result) -> None:
    for task in result.tasks:
        for name in result.contenders:
            number = best(result.of(task, name, "trial"), "W2")
            chosen = {
                json.dumps(row["settings"])
                for row in result.of(task, name, "trial")
                if row["trial"] == number
            }
            assert {json.dumps(row["settings"]) for row in result.of(task, name, "tuned")} == chosen


def test_settings_reach_the_flow_and_dt_is_a_multiple_of_the_suggested() -> None:
    task = line()
    problem = task.draw(0)
    setup = wide().build(problem, {"width": 3.0, "dt": 0.5})
    flow = pf.mmd_flow(pf.kernels.Gaussian(3.0 * problem.bandwidth))
    assert repr(setup.flow) == repr(flow)
    assert setup.dt == 0.5 * flow.suggest_dt(problem.x0, problem.target)


def test_other_defaults_have_a_name_that_tells_them() -> None:
    other = wide().at({"width": 0.5})
    assert other.name == "wide width=0.5"
    assert other.default == {"width": 0.5, "dt": 1.0}
    assert wide().at({"dt": 2.0}).default == {"width": 2.0, "dt": 2.0}
    with pytest.raises(
        ValueError, match=r"`with` must be a parameter of wide, which are width, dt"
    ):
        wide().at({"with": 1.0})


# what is read off the rows


def test_values_are_in_floors(result: Result) -> None:
    rows = result.of("line", "mmd", "default")
    floors = [v for row in rows for v in row["floor"]["W2"]]
    floor = statistics.fmean(floors)
    assert result.floor("line") == pytest.approx(floor, rel=1e-12)
    unseen = {row["seed"]: row["curve"]["W2 held out"][-1] / floor for row in rows}
    seen = {row["seed"]: row["curve"]["W2"][-1] / floor for row in rows}
    assert result.values("line", "mmd", "default") == pytest.approx(unseen)
    assert result.values("line", "mmd", "default", seen=True) == pytest.approx(seen)


def test_a_task_that_the_study_does_not_have_is_refused_with_those_it_has(result: Result) -> None:
    with pytest.raises(ValueError, match=f"`task` must be one of {result.tasks[0]}.*'nowhere'"):
        result.values("nowhere", result.contenders[0], "default")


def test_a_curve_is_read_between_its_records_and_stays_after_its_end() -> None:
    curve = {"seconds": [0.0, 1.0, 3.0], "W2": [4.0, 2.0, 1.0]}
    assert read(curve, "W2", "seconds", 2.0) == 1.5
    assert read(curve, "W2", "seconds", 9.0) == 1.0
    assert read({"seconds": [0.0, 1.0], "W2": [4.0, None]}, "W2", "seconds", 1.0) == 4.0


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = [
        found.low <= 0.0 <= found.high
        for found in (interval(rng.standard_normal(10).tolist()) for _ in range(300))
    ]
    assert 0.89 < statistics.fmean(covered) < 0.96


def test_a_failed_run_is_worse_than_all_others() -> None:
    assert interval([1.0, 2.0, math.inf]).median == 2.0
    assert interval([1.0, math.inf, math.inf]).median == math.inf
    assert interval([1.0, math.inf]).median == math.inf
    assert interval([]).count == 0
    assert str(interval([])) == "-"
    # its order does not matter
    assert interval([3.0, 1.0, 2.0]) == interval([1.0, 2.0, 3.0])


def test_pairs_take_away_what_a_draw_does_to_both() -> None:
    draws = np.random.default_rng(1).standard_normal(12) * 10
    one = {k: float(v) + 0.1 for k, v in enumerate(draws)}
    other = {k: float(v) for k, v in enumerate(draws)}
    found = paired(one, {**other, 99: 7.0})
    assert (found.median, found.low, found.count) == (pytest.approx(0.1), pytest.approx(0.1), 12)
    both = paired({0: math.inf, 1: 1.0}, {0: math.inf, 1: 3.0})
    assert both.median == -1.0


def test_the_best_and_those_that_cannot_be_told_from_it() -> None:
    def contender(name: str, end: list[float]) -> list[dict[str, Any]]:
        return [
            {
                "task": "line",
                "contender": name,
                "role": "default",
                "trial": None,
                "seed": seed,
                "status": "completed",
                "floor": {"W2": [1.0, 1.0]},
                "settings": {},
                "curve": {"steps": [0, 20], "W2": [9.0, v], held_out("W2"): [9.0, v]},
            }
            for seed, v in enumerate(end)
        ]

    draws = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    rows = contender("a", draws)
    rows += contender("b", [v + d for v, d in zip(draws, [0.1, -0.1] * 3, strict=True)])
    rows += contender("c", [v + 0.5 for v in draws])
    study = {
        "tasks": [{"name": "line", "steps": 20}],
        "contenders": [{"name": name} for name in "abc"],
        "seeds": 6,
        "metrics": ["W2"],
    }
    made = Result(study=study, environment={}, rows=rows)
    assert made.best("line") == ["a", "b"]
    assert made.difference("line", "c", "a").median == pytest.approx(0.5)


def test_results_are_read_back(result: Result, tmp_path: Path) -> None:
    files = result.save(tmp_path)
    assert [file.name for file in files] == ["results.json", "results.csv", "results.md"]
    again = Result.load(files[0])
    assert again.table() == result.table()
    assert len(files[1].read_text().splitlines()) == 1 + len(result.rows)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"`file` must be a results\.json"):
        Result.load(tmp_path / "other.json")


def test_the_trajectories_of_the_first_seed_are_kept_for_players(
    result: Result, tmp_path: Path
) -> None:
    kept = result.trajectories("more", "default")
    assert list(kept) == ["mmd", "wide"]
    assert kept["wide"].particles.shape[1:] == (25, 1)
    assert [file.name for file in result.players(tmp_path)] == ["line.html", "more.html"]


def test_without_a_folder_the_trajectories_last_as_long_as_the_result() -> None:
    found = Study([line()], [mmd()], seeds=1).run(progress=False)
    place = found.folder
    assert place is not None
    assert list(found.trajectories("line")) == ["mmd"]
    del found
    assert not place.exists()


# failures


def failing(message: str, seed: int = 1) -> Contender:
    def make(problem: Any) -> pf.Flow:
        if problem.seed == seed:
            raise RuntimeError(message)
        return pf.mmd_flow(kernel(problem))

    return Contender("failing", make)


def test_a_run_that_fails_is_a_row_and_not_an_end() -> None:
    found = Study([line()], [failing("no luck"), mmd()], seeds=3).run(progress=False)
    rows = found.of("line", "failing", "default")
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    assert rows[1]["message"] == "RuntimeError: no luck"
    assert "no luck" in rows[1]["traceback"]
    assert found.values("line", "failing", "default")[1] == math.inf
    assert "1 failed" in repr(found)
    assert len(found.of("line", "mmd", "default")) == 3


def test_a_contender_that_cannot_be_built_is_found_before_any_run(tmp_path: Path) -> None:
    broken = Contender("broken", lambda problem: pf.mmd_flow(problem.kernel))
    with pytest.raises(AttributeError) as caught:
        Study([line()], [mmd(), broken], seeds=1).run(folder=tmp_path, progress=False)
    assert "contender 'broken' on task 'line'" in caught.value.__notes__[0]
    assert not list((tmp_path / "rows").iterdir())


def test_warnings_of_a_run_are_in_its_row_and_not_on_the_screen(
    recwarn: pytest.WarningsRecorder,
) -> None:
    def make(problem: Any) -> pf.Flow:
        warnings.warn("a narrow kernel", stacklevel=1)
        return pf.mmd_flow(kernel(problem))

    found = Study([line(steps=3)], [Contender("narrow", make)], seeds=1).run(progress=False)
    assert found.rows[0]["warnings"] == ["a narrow kernel"]
    assert not recwarn.list


def die() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def live(k: int) -> dict[str, Any]:
    time.sleep(0.05)
    return {"status": "completed", "k": k}


def test_work_that_kills_its_process_is_a_row_and_the_rest_is_done(tmp_path: Path) -> None:
    works = [Work((f"work {k}",), lambda k=k: live(k), {"number": k}) for k in range(8)]
    works[3:3] = [Work(("killer",), die, {"number": -1})]
    done = perform(works, Store(tmp_path), jobs=2)
    assert not done.interrupted
    assert done.rows[("killer",)]["message"] == DIED
    assert done.rows[("killer",)]["number"] == -1
    assert sorted(row["k"] for row in done.rows.values() if "k" in row) == list(range(8))


# the folder


def made(folder: Path) -> dict[str, tuple[int, int]]:
    """The rows of a folder; one that is made again is another file."""
    files = {file.name: file.stat() for file in (folder / "rows").glob("*.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in files.items()}


def test_a_study_may_grow_and_runs_nothing_twice(tmp_path: Path) -> None:
    Study([line(steps=5)], [mmd()], seeds=1).run(folder=tmp_path, progress=False)
    before = made(tmp_path)
    grown = Study([line(steps=5), line("more", steps=5)], [mmd(), wide()], seeds=2, tuning=1)
    found = grown.run(folder=tmp_path, progress=False)
    after = made(tmp_path)
    assert {name: after[name] for name in before} == before
    whole = grown.run(progress=False)
    assert found.table() == whole.table()


@pytest.mark.parametrize(
    ("task", "contender", "kind"),
    [
        (line(steps=21), mmd(), "task 'line'"),
        (
            line(),
            Contender("mmd", lambda p: pf.mmd_flow(pf.kernels.Laplace(1.0))),
            "contender 'mmd'",
        ),
    ],
)
def test_rows_of_another_study_are_refused(
    task: Task, contender: Contender, kind: str, tmp_path: Path
) -> None:
    Study([line()], [mmd()], seeds=1).run(folder=tmp_path, progress=False)
    before = made(tmp_path)
    with pytest.raises(ValueError, match=rf"`folder`.*the {kind} was another one"):
        Study([task], [contender], seeds=1).run(folder=tmp_path, progress=False)
    assert made(tmp_path) == before


def test_a_contender_is_told_from_another_by_what_it_closes_over(tmp_path: Path) -> None:
    def noisy(noise: float) -> Contender:
        return Contender("noisy", lambda p: pf.mmd_flow(kernel(p), noise=noise))

    Study([line()], [noisy(0.1)], seeds=1).run(folder=tmp_path, progress=False)
    Study([line()], [noisy(0.1)], seeds=1).run(folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="contender 'noisy' was another one"):
        Study([line()], [noisy(0.2)], seeds=1).run(folder=tmp_path, progress=False)


def test_other_data_of_the_same_shape_is_another_task(tmp_path: Path) -> None:
    def task(seed: int) -> Task:
        rows = pf.samplers.FromArray(torch.from_numpy(np.random.default_rng(seed).random((200, 2))))
        return Task("data", pf.samplers.Gaussian(dim=2), rows, particles=20, targets=30, steps=2)

    Study([task(0)], [mmd()], seeds=1).run(folder=tmp_path, progress=False)
    Study([task(0)], [mmd()], seeds=1).run(folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="task 'data' was another one"):
        Study([task(1)], [mmd()], seeds=1).run(folder=tmp_path, progress=False)


def test_a_damaged_row_is_made_again(tmp_path: Path) -> None:
    study = Study([line()], [mmd()], seeds=2)
    whole = study.run(folder=tmp_path, progress=False).table()
    next((tmp_path / "rows").glob("*.json")).write_text('{"task": "li')
    assert study.run(folder=tmp_path, progress=False).table() == whole


def test_names_of_files_are_safe_and_differ(tmp_path: Path) -> None:
    names = ["a/b", "a b", "../a", "ä" * 300, "", "a--b"]
    files = [filename([name]) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        (tmp_path / file).touch()
        assert (tmp_path / file).parent == tmp_path


def test_equal_results_for_any_number_of_processes(tmp_path: Path) -> None:
    study = Study([line()], [mmd(), wide()], seeds=2, tuning=2)
    one, two = (
        study.run(jobs=jobs, folder=tmp_path / str(jobs), progress=False) for jobs in (1, 2)
    )

    def numbers(result: Result) -> list[Any]:
        return [
            (row["settings"], row["status"], row["curve"]["W2"], row["curve"]["energy"])
            for row in result.rows
        ]

    assert numbers(one) == numbers(two)


PROGRAM = HERE / "study_program.py"


def started(python: Python, folder: Path, jobs: int = 2) -> Process:
    return python.start(str(PROGRAM), str(folder), str(jobs), before="import os; os.setsid()")


def killed_and_repeated(python: Python, folder: Path, kills: int, seed: int) -> None:
    """Kill a study at random moments; no row that was finished is lost or made again."""
    rng = np.random.default_rng(seed)
    known: dict[str, tuple[int, int]] = {}
    for _ in range(kills):
        process = started(python, folder)
        begin, wait = time.monotonic(), rng.uniform(0.0, 1.5)
        # the moment is counted from the first new row, so that there is something to lose
        while process.poll() is None and len(made(folder)) <= len(known):
            time.sleep(0.01)
            assert time.monotonic() - begin < 120
        time.sleep(wait)
        process.kill()
        process.communicate()
        time.sleep(0.5)  # the workers of a killed study end with the work that they have begun
        now = made(folder)
        assert {name: now[name] for name in known} == known
        known = now
    process = started(python, folder)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    now = made(folder)
    assert {name: now[name] for name in known} == known
    assert json.loads(out) == list(range(24))


@pytest.mark.slow
def test_a_study_killed_twenty_times_goes_on(tmp_path: Path, python: Python) -> None:
    for k in range(7):
        killed_and_repeated(python, tmp_path / f"study {k}", 3, seed=k)


def wait_for(process: Process, folder: Path, rows: int) -> None:
    begin = time.monotonic()
    while len(made(folder)) < rows:
        time.sleep(0.01)
        assert process.poll() is None
        assert time.monotonic() - begin < 120


@pytest.mark.slow
def test_a_study_that_is_killed_or_stopped_goes_on(tmp_path: Path, python: Python) -> None:
    """No row that was finished is lost or made again. Meanwhile no other study may write there."""
    process = started(python, tmp_path)
    wait_for(process, tmp_path, 1)
    with pytest.raises(ValueError, match="`folder` must be a folder of one run"):
        Study([line()], [mmd()], seeds=1).run(folder=tmp_path, progress=False)
    process.kill()
    process.communicate()
    time.sleep(0.5)  # the workers of a killed study end with the work that they have begun
    known = made(tmp_path)
    assert 1 <= len(known) < 20
    process = started(python, tmp_path)
    wait_for(process, tmp_path, len(known) + 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "Traceback" not in error
    finished = json.loads(out)
    now = made(tmp_path)
    assert len(known) + 2 <= len(finished) < 24
    assert len(now) >= len(finished)
    assert {name: now[name] for name in known} == known
    out, error = started(python, tmp_path, jobs=1).communicate(timeout=120)
    assert json.loads(out) == list(range(24)), error
    last = made(tmp_path)
    assert {name: last[name] for name in now} == now


# bad input

# What is written, and what is answered. A process without the suite's checks of types evaluates it.
MISTAKES = {
    "Study([], [mmd()])": r"`tasks` must not be empty, got \[\]",
    "Study([line()], [])": r"`contenders` must not be empty",
    "Study(line(), [mmd()])": r"`tasks` must be several",
    "Study([line(), line()], [mmd()])": r"`tasks` must have different names.*'line' twice",
    "Study([line()], [mmd(), mmd()])": r"`contenders` must have different names",
    "Study([mmd()], [mmd()])": r"`tasks` must hold a Task each, got Contender",
    "Study([line()], [pf.mmd_flow])": r"`contenders` must hold a Contender each",
    "Study([line()], [mmd()], seeds=0)": r"`seeds` must be >= 1",
    "Study([line()], [mmd()], seeds=range(3))": r"`seeds` must be an integer",
    "Study([line()], [mmd()], tuning=-1)": r"`tuning` must be >= 0",
    "Study([line()], [mmd()], seconds=0.0)": r"`seconds` must be > 0",
    "Study([line()], [mmd()], metrics=pf.metrics.W2())": r"`metrics` must map names",
    "Task('a', pf.samplers.Gaussian, pf.samplers.Rings())": r"`start` must be a sampler, got the",
    "Task('a', torch.zeros(5, 2), pf.samplers.Rings())": r"`start` must be a sampler.*FromArray",
    "Task('a', pf.samplers.Gaussian(dim=3), pf.samplers.Rings())": r"got d = 3 and d = 2",
    "line(steps=0)": r"`steps` must be >= 1",
    "line(bandwidth=-1.0)": r"`bandwidth` must be > 0",
    "Contender('a', pf.Flow)": r"`make` must be a function",
    "Contender('a', mmd, {'lam': 0.1})": r"`parameters` must hold ranges.*'lam'",
    "Contender('a', mmd, [Range(1, 2, 1)])": r"`parameters` must be a mapping",
    "Contender('a', mmd, {'dt': Range(1, 2, 1)})": r"`parameters` cannot hold 'dt'",
    "Range(1.0, 0.5, 0.7)": r"`low` must be less than `high`, got 1 and 0.5",
    "Range(0.0, 1.0, 0.5)": r"`low` must be positive on a logarithmic scale, got 0",
    "Range('1', 2.0, 1.0)": r"`low` must be a number",
    "Choice(['a'], 'b')": r"`default` must be one of \['a'\], got 'b'",
    "Study([line()], [Contender('a', kernel)]).run(progress=False)": r"`make` must return a flow",
    "Study([line()], [mmd()]).run(jobs=0)": r"`jobs` must be >= 1",
    "Study([line()], [mmd()]).run(folder=str(PROGRAM))": r"`folder` must be a folder that can be",
    "Study([line()], [mmd()]).run(folder=3)": r"`folder` must be the path",
    "Study([line()], [mmd()]).run(progress=1)": r"`progress` must be True or False",
}


@pytest.fixture(scope="module")
def answers(python: Python) -> dict[str, str]:
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from test_study import *; told = {}\n"
        "for mistake in json.load(sys.stdin):\n"
        "    try: told[mistake] = f'nothing was refused: {eval(mistake)!r}'\n"
        "    except (ValueError, TypeError) as error: told[mistake] = str(error)\n"
        "print(json.dumps(told))"
    )
    ran = python.run("-c", code, given=json.dumps(list(MISTAKES)))
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_is_refused_with_its_name(mistake: str, answers: dict[str, str]) -> None:
    assert re.search(MISTAKES[mistake], answers[mistake]), answers[mistake]


# a table of pandas


def test_a_frame_has_a_line_a_run(result: Result) -> None:
    pandas = pytest.importorskip("pandas")
    frame = result.frame()
    assert isinstance(frame, pandas.DataFrame)
    records = result.records()
    assert len(frame) == len(records) == len(result.rows)
    assert list(frame) == list(dict.fromkeys(name for record in records for name in record))
    kinds = {name: frame[name].dtype.kind for name in ("seed", "steps", "fits", "seconds", "W2")}
    assert kinds == {"seed": "i", "steps": "i", "fits": "i", "seconds": "f", "W2": "f"}
    # a setting that a contender does not have, and the trial of a run that is none
    assert frame["setting width"].dtype == frame["trial"].dtype == "float64"
    assert frame["setting width"].isna().tolist() == [row["contender"] == "mmd" for row in records]
    for name in {name for record in records for name in record}:
        said = [record.get(name) for record in records]
        assert frame[name].isna().tolist() == [value is None for value in said]
        assert frame[name].dropna().tolist() == [value for value in said if value is not None]


def test_a_frame_without_pandas_is_refused_with_its_name(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"`frame` needs pandas: pip install pandas, or take"):
        result.frame()
