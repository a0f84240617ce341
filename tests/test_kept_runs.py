"""The folder of a run: what is refused, what a full or vanished disk leaves, what is told."""

from __future__ import annotations

import ast
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import GAUSS, X, Y, assert_same

import particleflow as pf
from particleflow import Checkpoint, Trajectory, resume, simulate
from particleflow.integrators import State

FLOW = pf.mmd_flow(GAUSS)
EVERY = pf.SaveAt(every=2)


def kept(folder: Path, **options: Any) -> Trajectory:
    asked = {"steps": 12, "dt": 0.2, "save": EVERY, **options}
    flow, x, y = (asked.pop(name, one) for name, one in [("flow", FLOW), ("x", X), ("y", Y)])
    return simulate(flow, x, y, checkpoint=Checkpoint(folder, every=4, seconds=0), **asked)


def at_step(step: int, act: Callable[[], object]) -> Callable[[State], None]:
    """A `stop` that acts after a step, and ends nothing."""

    def acts(state: State) -> None:
        if state.clock.step == step:
            act()

    return acts


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run that was interrupted after its seventh step."""
    path = kept(tmp_path / "run", stop=at_step(8, interrupt))
    assert (path.status, path.state.clock.step) == ("interrupted", 7)
    return tmp_path / "run"


def test_records_are_those_of_a_run_in_memory_and_end_at_the_last_one(begun: Path) -> None:
    whole = simulate(FLOW, X, Y, steps=12, dt=0.2, save=EVERY)
    part = Trajectory.load(begun)
    assert part.status == "interrupted"
    assert "pf.resume(" in part.message
    assert part.steps.tolist() == [0, 2, 4, 6]
    assert part.state.clock.step == 7
    assert torch.equal(part.particles, whole.particles[:4])
    assert part.target is not None
    assert torch.equal(part.target, Y)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"flow": pf.mmd_flow(pf.kernels.Gaussian(0.5))}, "`flow` is bandwidth=0.4 there and"),
        ({"dt": 0.1}, "`dt` is 0.2 there and 0.1 here"),
        ({"steps": 13}, "`steps` is 12 there and 13 here"),
        ({"seed": 3}, "`draws` is "),
        ({"x": X + 1}, "`x0` has other numbers there than here"),
        ({"y": Y + 1}, "`target` has other numbers there than here"),
        ({"integrator": pf.Heun()}, "`integrator` is Euler there and Heun here"),
        ({"save": pf.SaveAt(every=3)}, "`save` is every=2 there and every=3 here"),
        ({"metrics": {"W2": pf.metrics.W2()}}, "`metrics` is nothing there and 'W2': 'W2("),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_run_is_refused_by_its_difference(
    begun: Path, changed: dict[str, Any], told: str
) -> None:
    asked = {"stop": at_step(8, interrupt), **changed}
    with pytest.raises(ValueError, match="`checkpoint` must be a new folder") as refused:
        kept(begun, **asked)
    assert told in str(refused.value)
    assert "; " not in str(refused.value).partition("whose run differs")[2], "one thing differs"
    assert f"pf.resume('{begun}')" in str(refused.value)
    assert kept(begun, stop=at_step(99, interrupt)).status == "completed", "nothing was changed"


def test_a_part_that_no_file_can_hold_is_asked_for_by_name(begun: Path) -> None:
    with pytest.raises(ValueError, match="`stop` must be given, for a folder cannot hold it") as no:
        resume(begun)
    assert "acts" in str(no.value)
    assert f"pf.resume('{begun}', stop=...)" in str(no.value)
    with pytest.raises(ValueError, match=r"`folder` must .*`flow` is bandwidth=0\.4 there.*leave"):
        resume(begun, stop=at_step(99, interrupt), flow=pf.mmd_flow(pf.kernels.Gaussian(0.5)))
    path = resume(begun, stop=at_step(99, interrupt))
    assert path.report["resumed"]["step"] == 7
    assert f"went on from step 7, kept in {begun}" in str(path.summary())


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"target": Y + 1}, "`target` has other numbers"),
        ({"integrator": pf.Heun()}, "`integrator` is Euler there and Heun here"),
        ({"draws": pf.Draws(3)}, "`draws` is seed=0 there and seed=3 here"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_given_part_is_compared(begun: Path, part: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="`folder` must be that of a run") as refused:
        resume(begun, stop=at_step(99, interrupt), **part)
    assert told in str(refused.value)


@pytest.mark.parametrize(("every", "seconds", "commits"), [(4, 0, 5), (6, 0, 4), (4, 99, 3)])
def test_the_state_is_written_as_often_as_is_asked(
    tmp_path: Path, every: int, seconds: float, commits: int
) -> None:
    """At the start, as often as is asked, and with the verdict at the end."""
    simulate(FLOW, X, Y, steps=12, dt=0.2, checkpoint=Checkpoint(tmp_path, every, seconds))
    assert len(list(tmp_path.glob("segments/0*.json"))) == commits


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`folder` must hold a run"):
        resume(tmp_path)
    with pytest.raises(ValueError, match=r"`path` must be a file written by Trajectory\.save"):
        Trajectory.load(tmp_path)
    with pytest.raises(TypeError, match="`checkpoint` must be a folder, got 3"):
        Checkpoint.of(3)
    with pytest.raises(TypeError, match="`checkpoint` must be a folder, got ''"):
        simulate(FLOW, X, Y, steps=1, checkpoint="")
    for nothing in (None, ""):
        with pytest.raises(TypeError, match=f"`folder` must be a folder, got {nothing!r}: pass"):
            Checkpoint.of(nothing, "folder")
    with pytest.raises(TypeError, match="`folder` must be a folder, got ''"):
        resume("")
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match=r"`checkpoint` must be a folder, got .*is a file: p"):
            kept(place)
    with pytest.raises(ValueError, match="`every` must be"):
        Checkpoint(tmp_path, every=0)


@dataclass(frozen=True)
class Third:
    """A rule that ends a run at the third look at a state, counted over the whole run."""

    keeps: bool = True

    def begin(self) -> Any:
        return Looks() if self.keeps else Forgetful()


class Forgetful:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, state: State) -> bool:
        self.count += state.clock.step % 3 == 0
        return self.count >= 3


class Looks(Forgetful):
    def remembered(self) -> Any:
        return {"count": torch.tensor(self.count)}, {"kind": "looks"}

    def recall(self, tensors: Any, facts: Any) -> None:
        assert facts == {"kind": "looks"}
        self.count = int(tensors["count"])


def test_a_rule_of_ones_own_keeps_its_memory_or_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"`stop` must have remembered\(\) and recall"):
        kept(tmp_path / "run", stop=Third(keeps=False))
    assert not (tmp_path / "run").exists()
    metrics = {"m": Once(8)}
    assert kept(tmp_path / "run", stop=Third(), metrics=metrics).status == "interrupted"
    path = resume(tmp_path / "run", stop=Third(), metrics=metrics)
    assert (path.status, path.steps[-1], path.report["stopped"]) == (
        "completed",
        9,
        "`stop` was True",
    )


class Once:
    """A metric that is interrupted once."""

    def __init__(self, step: int) -> None:
        self.left = step // 2 + 1

    def __call__(self, x: Any, y: Any) -> float:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return 1.0

    def __repr__(self) -> str:
        return "Once()"


def test_a_run_that_continues_another_keeps_both_parts(tmp_path: Path) -> None:
    first = kept(tmp_path / "a", flow=pf.unbalanced(FLOW))
    options = {"x": first, "y": None, "metrics": {"W1": pf.metrics.W1()}}
    wanted = simulate(FLOW, first, steps=12, dt=0.2, save=EVERY, metrics=options["metrics"])
    path = kept(tmp_path / "b", **options)
    assert_same(wanted, path)
    assert "resumed" not in path.report
    assert_same(wanted, resume(tmp_path / "b"))


def test_a_run_that_cannot_begin_leaves_its_folder_free(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a flow without diffusion"):
        kept(tmp_path, flow=pf.langevin(lambda z: -z), y=None, stop=pf.AtRest())
    with pytest.raises(FileNotFoundError, match="`folder` must hold a run"):
        resume(tmp_path)
    assert kept(tmp_path).status == "completed"
    with pytest.raises(ValueError, match="`steps` is 12 there and 9 here"):
        kept(tmp_path, steps=9)
    assert resume(tmp_path).status == "completed", "a run with records stays"


def test_a_run_that_went_on_moves_new_points_or_says_that_it_cannot(tmp_path: Path) -> None:
    path = kept(tmp_path / "a")
    for again in (kept(tmp_path / "a"), resume(tmp_path / "a")):
        assert torch.equal(again.transport(X[:5]), path.transport(X[:5])), "one that has ended"
    both = kept(tmp_path / "b", x=path, y=None)
    assert torch.equal(kept(tmp_path / "b", x=path, y=None).transport(X), both.transport(X))
    with pytest.raises(ValueError, match="`path` must hold the flow"):  # the first leg is unknown
        resume(tmp_path / "b").transport(X)


@contextmanager
def small_files(size: int) -> Any:
    """No file may grow beyond this size: as on a full disk, but for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_so_far(tmp_path: Path) -> None:
    steps = {"steps": 40, "save": pf.SaveAt(every=1, velocity=True)}
    wanted = kept(tmp_path / "wanted", **steps)
    # room for the records up to step 19
    with small_files(20 * X.nbytes), pytest.warns(RuntimeWarning, match="the run failed"):
        path = kept(tmp_path / "run", **steps)
    assert path.status == "failed"
    assert "ulimit" in path.message
    assert "the commit at step 16 is whole" in path.message
    assert path.steps.tolist() == [*range(17)]
    assert torch.equal(path.particles, wanted.particles[:17])
    assert path.state.clock.step >= 19
    assert torch.equal(Trajectory.load(tmp_path / "run").particles, path.particles)
    assert_same(wanted, resume(tmp_path / "run"))
    with small_files(1000), pytest.raises(OSError, match="could not be written"):
        kept(tmp_path / "none")


def test_a_folder_that_vanishes_leaves_the_run_so_far(tmp_path: Path) -> None:

    def gone(state: State) -> None:
        if state.clock.step == 6:
            time.sleep(0.3)  # the commit at step 4 is on the disk
        if state.clock.step == 7:
            shutil.rmtree(tmp_path / "run")

    with pytest.warns(RuntimeWarning, match="the run failed"):
        path = kept(tmp_path / "run", steps=40, stop=gone)
    assert path.status == "failed"
    assert "could not be written" in path.message
    assert path.steps.tolist() == [0, 2, 4]
    assert torch.equal(path.particles[0], X)
    further = simulate(FLOW, path, steps=2)
    assert further.status == "completed"
    assert int(further.steps[-1]) > 9


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    told = []

    def second() -> None:
        with pytest.raises(
            ValueError, match="`checkpoint` must be a folder that no other run"
        ) as refused:
            kept(tmp_path / "run")
        told.append(refused)

    assert kept(tmp_path / "run", stop=at_step(5, second)).status == "completed"
    assert len(told) == 1


def test_damage_is_told_and_gone_round(begun: Path) -> None:
    last = max(begun.glob("segments/*.json"))
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    path = resume(begun, stop=at_step(99, interrupt))
    assert path.report["resumed"]["step"] == 4
    assert "is damaged" in str(path.summary())
    assert_same(simulate(FLOW, X, Y, steps=12, dt=0.2, save=EVERY), path)


@pytest.mark.slow
def test_records_of_a_kept_run_take_no_memory() -> None:
    """In a process of its own, whose largest memory is that of the run."""
    code = "from benchmarks.checkpoint.size import memory; print(memory(300_000, 200, 1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = ast.literal_eval(done.stdout)
    assert found["records"] > 0.48
    assert found["peak"] < 0.24
