"""The benchmarks themselves, at a tiny size: they run, they say what happened, and what they write
can be read by others.
"""

from __future__ import annotations

import csv
import math
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import particleflow
import particleflow as pf
from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.compare import modes, published, tables
from benchmarks.contenders import CONTENDERS, Following
from benchmarks.distributions import Heart, Outliers, StudentT
from benchmarks.tasks import TASKS, task, title
from particleflow.cli import main as command_line
from particleflow.clouds import Clock
from particleflow.study import Result
from particleflow.study.cell import Cell, measure

ROOT = Path(__file__).parents[1]

# A user's file of a flow and a target: 15 lines.
MINE = """\
from dataclasses import dataclass

import particleflow as pf
from particleflow.study import Contender, Range, Task

@dataclass(frozen=True)
class Ring(pf.samplers.base.Seeded):
    dim: int = 2
    def draw(self, n, rng):
        z = rng.standard_normal((n, 2))
        return z / (z**2).sum(1, keepdims=True) ** 0.5
def mine(problem, lam):
    return pf.kale_flow(pf.kernels.Gaussian(2 * problem.bandwidth), lam=lam)
contenders = [Contender("mine", mine, {"lam": Range(1e-3, 1.0, default=0.1)})]
tasks = [Task("ring", pf.samplers.Gaussian(dim=2), Ring(), particles=20, targets=30, steps=3)]
"""

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def _one_thread():
    """As the benchmarks run: two threads on clouds this small only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ------------------------------------------------------------------ the program


def test_the_command_writes_tables_that_others_can_read(tmp_path, capsys):
    names = ["mmd", "kde-mono"]
    sizes = ["--quick", "--seeds", "2", "--tune", "1", "--jobs", "1"]
    argv = [*sizes, "--tasks", "rings", "--contenders", ",".join(names), "--out", str(tmp_path)]
    assert main(argv) == 0

    printed, said = capsys.readouterr()
    assert "8 runs: 2 contenders on 1 tasks, 2 seeds, 2 trials each; about" in said
    result = Result.load(tmp_path / "results.json")
    runs = [(row["contender"], row["seed"]) for row in result.rows if row["role"] == "default"]
    assert runs == [(name, seed) for name in names for seed in (0, 1)]
    assert {row["role"] for row in result.rows} == {"default", "tuned", "trial"}
    assert all(row["status"] == "completed" for row in result.rows if row["role"] == "default")
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["W2"]) for line in lines] == [row["curve"]["W2"][-1] for row in result.rows]
    text = (tmp_path / "results.md").read_text()
    assert text.strip() in printed
    fits = result.equal("rings", "fits")
    assert fits > 61  # paced steps that were refused
    told = f"at {fits:.3g} fits"
    for word in ("default", "tuned, seen", "seconds", told, "floor", "(default settings"):
        assert word in text
    assert (tmp_path / "players" / "rings.html").exists()
    assert 'href="players/rings.html"' in (tmp_path / "report.html").read_text()
    everything = "".join(path.read_text() for path in tmp_path.glob("re*.*"))
    for private in (str(tmp_path), str(ROOT), str(Path.home()), platform.node()):
        assert len(private) < 3 or private not in everything

    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "study" / "rows").iterdir()}
    assert main(argv) == 0
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert len(list((tmp_path / "study" / "rows").iterdir())) == len(made)


def test_the_list_names_suites_tasks_and_contenders(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("compare", *TASKS, *CONTENDERS))


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--contenders", "mdm"], "'mdm'"),
        (["--tasks", "rings,ring"], "'ring'"),
        (["--seeds", "0"], "'0'"),
        (["--tune", "some"], "'some'"),
        (["--quick", "--full"], "not allowed with"),
    ],
)
def test_bad_options_are_refused_by_name(argv, named, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert named in capsys.readouterr().err


def test_an_unknown_suite_is_answered_with_the_nearest(capsys):
    assert main(["comapre"]) == 2
    assert "did you mean 'compare'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_comparison_writes_what_is_finished_and_goes_on(tmp_path, number, code):
    call = [sys.executable, "-m", "benchmarks", "--tasks", "rings", "--contenders", "mmd"]
    call += ["--seeds", "400", "--tune", "0", "--out", str(tmp_path)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as made:
        deadline = time.monotonic() + 120
        rows = tmp_path / "study" / "rows"
        while len(list(rows.glob("*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        made.send_signal(number)
        printed, said = made.communicate(timeout=60)
    assert made.returncode == code, printed + said
    assert "Traceback" not in said
    assert "goes on from there" in printed
    finished = Result.load(tmp_path / "results.json")
    assert finished.interrupted
    assert 3 <= len(finished.rows) <= 399


# ------------------------------------------------------------------ a user's file


def test_a_users_flow_and_target_stand_beside_the_suites(tmp_path, capsys):
    assert len(MINE.splitlines()) <= 15
    file = tmp_path / "my_flow.py"
    file.write_text(MINE)
    sources = {path: path.read_bytes() for path in (ROOT / "benchmarks").rglob("*.py")}
    argv = ["--with", str(file), "--tasks", "ring", "--contenders", "mine,exact-w1", "--seeds", "2"]
    argv += ["--tune", "1", "--jobs", "2", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    result = Result.load(tmp_path / "out" / "results.json")
    assert result.contenders == ["mine", "exact-w1"]
    assert result.tasks == ["ring"]
    assert {(row["contender"], row["status"]) for row in result.rows} >= {("mine", "completed")}
    assert all("curve" in row for row in result.rows)
    assert "--with my_flow.py" in printed
    assert all(path.read_bytes() == text for path, text in sources.items())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "which is no file"),
        ("import this_is_not_there", "ModuleNotFoundError in line 1 of"),
        ("\n\nraise SystemExit(3)", "SystemExit in line 3 of"),
        ("x = 1\ny = (", "SyntaxError in line 2 of"),
        ("x = 1", "must define a list `tasks` or `contenders`"),
        ("tasks = ['rings']", "must have a Task of particleflow.study in each place of `tasks`"),
        ("contenders = 3", "must have a Contender of particleflow.study in each place"),
        (MINE.replace('"mine"', '"kale"'), "got a contender 'kale', which the suite has"),
        (MINE.replace('"ring"', '"rings"'), "got a task 'rings', which the suite has"),
    ],
)
def test_a_users_file_is_refused_with_the_reason(tmp_path, capsys, text, told):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["--with", str(file), "--list"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "argument --with: " in said
    assert told in said


# ------------------------------------------------------------------ the installed command


def test_the_command_line_hands_over_to_the_installed_benchmarks(tmp_path, monkeypatch, capsys):
    """A wheel has the folder benchmarks/ as particleflow.benchmarks."""
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.setattr(particleflow, "__path__", [*particleflow.__path__, str(tmp_path)])
    before = set(sys.modules)
    try:
        assert command_line(["benchmark", "--list"]) == 0
        printed = capsys.readouterr().out
        assert all(name in printed for name in ("suite compare", *TASKS))
        with pytest.raises(SystemExit):
            command_line(["benchmark", "--help"])
        assert "usage: particleflow benchmark " in capsys.readouterr().out
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]
        vars(particleflow).pop("benchmarks", None)


def test_the_command_line_says_where_benchmarks_are_missing(python):
    code = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)];"
        f" sys.path.insert(0, {str(ROOT)!r}); from particleflow.cli import main;"
        " sys.exit(main(['benchmark', '--quick']))"
    )
    done = python.run("-c", code)
    assert done.returncode == 2
    assert "the benchmarks are not installed here: install particleflow again" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_folder_of_the_benchmarks_is_a_package():
    """`find_packages` in setup.py leaves out other folders."""
    folders = {path.parent for path in (ROOT / "benchmarks").rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)


# ------------------------------------------------------------------ tasks and contenders


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_function_of_its_seed(name):
    made = task(name, particles=20, targets=40)
    one, same, other = (made.draw(seed) for seed in (3, 3, 4))
    assert title(name) != name
    assert one.x0.shape == (20, made.target.dim)
    assert one.target.shape == one.held_out.shape == (40, made.target.dim)
    assert torch.equal(one.x0, same.x0)
    assert torch.equal(one.target, same.target)
    assert torch.equal(one.held_out, same.held_out)
    assert not torch.equal(one.target, one.held_out)
    assert not torch.equal(one.x0, other.x0)
    assert not torch.equal(one.target, other.target)


def test_held_out_points_are_other_points_than_the_flow_saw():
    problem = task("digits").draw(0)
    rows = {tuple(row) for row in pf.samplers.Digits(pca=2).points.tolist()}
    seen, unseen = (
        {tuple(row) for row in cloud.tolist()} for cloud in (problem.target, problem.held_out)
    )
    assert seen <= rows
    assert unseen <= rows
    assert not seen & unseen


def test_each_sample_of_the_outliers_has_their_share():
    problem = task("outliers").draw(5)
    for cloud in (problem.target, problem.held_out, problem.fresh):
        assert (cloud[:, 0] > 15).double().mean() == pytest.approx(0.05)
    assert Outliers(distance=7.0).sample(20, seed=1)[-1, 0] > 3


def test_the_distributions_are_what_they_are_called():
    x, y = Heart().sample(3000, seed=2).T
    assert ((x**2 + y**2 - 1) ** 3 <= x**2 * y**3).all()
    assert abs(float(x.mean())) < 0.05
    # P(|t| > 2) = 1 - 2 / sqrt(6) with 2 degrees of freedom
    t = StudentT(dim=2, freedom=2.0).sample(20_000, seed=3)
    shares = (t.abs() > 2).double().mean(0)
    assert shares.tolist() == pytest.approx([1 - 2 / 6**0.5] * 2, abs=0.01)


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_comes_nearer_in_a_few_short_steps(name):
    few = task("digits", particles=30, targets=40, steps=25)
    one = CONTENDERS[name]
    settings = one.default | {"dt": 0.25}
    row = measure(Cell(few, one, "default", 1, settings), {"W2": pf.metrics.W2()}, Path())
    assert row["status"] == "completed"
    assert row["curve"]["W2"][-1] < row["curve"]["W2"][0]
    for parameter in one.tunable.values():
        assert parameter.at(0.0) <= parameter.default <= parameter.at(1.0)


def test_adaptive_noise_follows_the_root_of_the_energy():
    problem = task("rings", particles=30, targets=40).draw(0)
    flow = CONTENDERS["mmd-adaptive"].build(problem, {"width": 1.0, "noise": 2.0, "dt": 1.0}).flow
    state = next(iter(pf.iterate(flow, problem.x0, problem.target, dt=0.1)))
    assert flow.noise(Clock(), state.fit) == pytest.approx(2 * problem.spread, rel=1e-12)

    class Quarter:
        value = 0.25 * state.fit.value

    assert flow.noise(Clock(), Quarter) == pytest.approx(problem.spread, rel=1e-12)
    assert Following(1.0, 1.0)(Clock(), type("Rounded", (), {"value": -1e-18})) == 0


# ------------------------------------------------------------------ published numbers, far modes


@pytest.mark.parametrize("name", published.RUNS)
def test_the_published_start_has_the_published_value(name):
    (row,) = published.measure(name, 0)
    # to the three digits that were printed
    assert row["ours"] == pytest.approx(row["published"], rel=2e-3)
    assert f"{row['published']:.3g}" in tables.published([row])


def test_the_share_in_the_far_mode_is_counted():
    problem = modes.task(8).draw(0)
    share = modes.Share(4.0)
    assert share(problem.x0, problem.target) == 0
    assert share(problem.target, problem.target) == pytest.approx(0.5, abs=0.15)
    point = torch.tensor([[4.0, 0.0], [4.0, 3.9], [4.0, 4.1], [-0.1, 0.0]], dtype=torch.float64)
    assert share(point, point) == 0.5


def test_half_of_the_particles_get_to_the_far_mode_by_exact_transport():
    (study, *_) = modes.studies([CONTENDERS["exact-w1"], CONTENDERS["mmd-fixed"]], 1).values()
    short = replace(study, tasks=[replace(study.tasks[0], steps=60)])
    result = short.run(progress=False)
    found = modes.shares(result)
    assert found["exact-w1"][0] == pytest.approx(0.5, abs=0.1)
    assert found["mmd-fixed"][0] < found["exact-w1"][0]
    assert "exact-w1" in modes.table([result])


# ------------------------------------------------------------------ what the numbers say


def made_up(ends: Mapping[str, Mapping[str, list[float]]]) -> Result:
    """A result whose runs end at these W2, task by task, contender by contender, seed by seed."""
    rows: list[dict[str, Any]] = [
        {
            "task": task,
            "contender": name,
            "role": "default",
            "trial": None,
            "seed": seed,
            "settings": {"dt": 1.0},
            "status": "completed" if math.isfinite(end) else "diverged",
            "cpu_seconds": 1.0,
            "floor": {"W2": [1.0, 1.0]},
            "curve": {
                "steps": [0, 10],
                "seconds": [0.0, 1.0],
                "fits": [1, 11],
                "W2": [9.0, end],
                "W2 held out": [9.0, end],
            },
        }
        for task, named in ends.items()
        for name, values in named.items()
        for seed, end in enumerate(values)
    ]
    first = next(iter(ends.values()))
    study = {
        "tasks": [
            {"name": task, "title": "", "steps": 10, "particles": 3, "targets": 4} for task in ends
        ],
        "contenders": [{"name": name} for name in first],
        "seeds": len(next(iter(first.values()))),
        "tuning": 0,
        "metrics": ["W2"],
    }
    where = dict.fromkeys(("date", "processor", "processors", "python", "particleflow"), "")
    return Result(study=study, environment={**where, "torch": "", "POT": ""}, rows=rows)


def test_no_contender_is_called_the_best_where_each_is_beaten():
    near, far = [1.0, 1.1, 1.2, 1.05], [3.0, 3.2, 3.1, 3.3]
    result = made_up({"one": {"a": near, "b": far}, "two": {"a": far, "b": near}})
    told = tables.verdict(result)
    assert "No single loss consistently outperforms the others (default settings, 2 tasks" in told
    assert "- a: 1 of 2; farthest behind on two: 2.05 (1.9 to 2.25) floors behind b" in told


def test_the_contender_that_is_never_beaten_is_named():
    near, far, gone = [1.0, 1.1, 1.2, 1.05], [3.0, 3.2, 3.1, 3.3], [math.inf] * 4
    result = made_up({"one": {"a": near, "b": far}, "two": {"a": near, "b": gone}})
    assert (
        "does not hold here (default settings, 2 tasks, 4 seeds): a is among the best on every"
        " task, and alone in front on 2." in tables.verdict(result)
    )
    assert "One seed" in tables.verdict(made_up({"one": {"a": [1.0], "b": [3.0]}}))
    even = made_up({"one": {"a": near, "b": far}, "two": {"a": near, "b": near[::-1]}})
    assert "is not shown here" in tables.verdict(even)
    text = tables.render(result, "benchmarks")
    assert "no sound end" in text
    assert "b on two, default: diverged (4 seeds)" in text


# ------------------------------------------------------------------ reports of the other suites


def test_results_go_between_their_marks(tmp_path):
    page, marks = tmp_path / "page.md", ("<!-- speed: begin -->", "<!-- speed: end -->")
    page.write_text("before\n" + "\nold\n".join(marks) + "\nafter\n")
    report.insert("new", marks=marks, path=page)
    report.insert("newer", marks=marks, path=page)
    assert page.read_text() == "before\n" + "\nnewer\n".join(marks) + "\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md"):
        report.insert("new", marks=marks, path=page)


def test_the_median_is_given_with_its_range():
    assert report.spread([0.3, 0.1, 0.2]) == "0.2 (0.1-0.3)"
    assert report.spread([5, 5]) == "5"
