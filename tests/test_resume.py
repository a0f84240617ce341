"""Runs with a checkpoint: interrupted anywhere, they end bit for bit as if they never had been."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import particleflow as pf
from particleflow import Checkpoint, Trajectory, resume, simulate
from particleflow.checkpointed_run import KeptRun
from particleflow.clouds import Cloud
from particleflow.engine import begin
from particleflow.estimators import (
    KALE,
    KDE,
    ULSIF,
    Annealed,
    Classifier,
    GradientPenaltyCritic,
)
from particleflow.integrators import Adam, Adaptive, Descent, Momentum
from particleflow.run_folder import opened

X = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.2).sample(19, seed=1)
Y = pf.samplers.Rings().sample(27, seed=0)
GAUSS = pf.kernels.Gaussian(0.4)


@dataclass(frozen=True)
class Breaking:
    """A metric that is interrupted at some of its calls, as by Ctrl-C; its value is plain."""

    at: frozenset[int] = frozenset()

    def __call__(self, x: Cloud, y: Cloud) -> float:
        calls[0] += 1
        if calls[0] in self.at:
            raise KeyboardInterrupt
        return float(x.points.abs().sum())

    def __repr__(self) -> str:
        return "Breaking()"


calls = [0]


def classifier() -> pf.Flow:
    made = Classifier(first_steps=6, steps=2, width=5, depth=1)
    return pf.mono_flow(made)


RUNS: dict[str, Callable[[], tuple[pf.Flow, Any, dict[str, Any]]]] = {
    "kale": lambda: (pf.kale_flow(GAUSS, lam=0.1), Y, {"dt": 0.05}),
    "kde": lambda: (pf.mono_flow(KDE(GAUSS)), Y, {"dt": 0.05}),
    "ulsif": lambda: (pf.mono_flow(ULSIF(GAUSS)), Y, {"dt": 0.05}),
    "classifier": lambda: (classifier(), Y, {"dt": 0.05}),
    "critic": lambda: (
        pf.wgan_flow(GradientPenaltyCritic(first_steps=4, steps=2, width=5, depth=1)),
        Y,
        {"dt": 0.05},
    ),
    "kink": lambda: (pf.mmd_flow(pf.kernels.Laplace(0.5)), Y, {"dt": 0.5}),
    "unstable": lambda: (pf.mmd_flow(GAUSS), Y, {"dt": 9.0}),
    "noise": lambda: (pf.mmd_flow(GAUSS, noise=pf.Arbel()), Y, {"dt": 0.2}),
    "annealed": lambda: (
        pf.Flow(Annealed(KALE(GAUSS, lam=0.1), pf.schedules.Geometric(1.0, ratio=0.8, every=3))),
        Y,
        {"dt": 0.05},
    ),
    "auto": lambda: (pf.auto_flow(X, Y, steps=10), Y, {"steps": None}),
    "adaptive": lambda: (
        pf.mmd_flow(GAUSS),
        Y,
        {"steps": None, "t1": 30.0, "integrator": Adaptive()},
    ),
    "descent": lambda: (pf.mmd_flow(GAUSS), Y, {"dt": 0.2, "integrator": Descent()}),
    "adam": lambda: (pf.kale_flow(GAUSS, lam=0.1), Y, {"dt": 0.01, "integrator": Adam()}),
    "momentum": lambda: (pf.mmd_flow(GAUSS), Y, {"dt": 0.05, "integrator": Momentum()}),
    "minibatch": lambda: (
        pf.mmd_flow(GAUSS),
        pf.samplers.Minibatch(pf.samplers.Rings(), 23),
        {"dt": 0.2},
    ),
    "unbalanced": lambda: (pf.unbalanced(pf.mmd_flow(GAUSS), resample=0.9999), Y, {"dt": 0.2}),
    "weighted": lambda: (
        pf.mmd_flow(GAUSS),
        Cloud(Y, mass=torch.linspace(1, 2, 27) / 40.5),
        {"dt": 0.2},
    ),
    "langevin": lambda: (pf.langevin(pf.samplers.Gaussian(dim=2)), None, {"dt": 0.1}),
}


def report_of(path: Trajectory) -> dict[str, Any]:
    return {k: v for k, v in path.report.items() if k not in ("seconds", "resumed", "traceback")}


def assert_same(a: Trajectory, b: Trajectory) -> None:
    """Bit for bit, with NaN equal to NaN."""
    tensors, others = (
        {
            **path.numpy(),
            **path.state.memory,
            **path.state.stepper,
            "end": path.state.x.points,
            "mass": path.state.x.mass,
        }
        for path in (a, b)
    )
    assert tensors.keys() == others.keys()
    for name in tensors:
        one, two = (torch.as_tensor(t[name]) for t in (tensors, others))
        assert one.dtype == two.dtype, name
        torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True, msg=name)
    assert (a.status, a.message, a.state.clock) == (b.status, b.message, b.state.clock)
    assert report_of(a) == report_of(b)


# Those of the default suite: a network and its optimiser, a falling bandwidth with chosen steps and
# a rule that ends the run, and a run in which the watch has seen something.
QUICK = ("classifier", "auto", "unstable")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in RUNS],
)
def test_an_interrupted_run_ends_as_if_it_never_had_been(name: str, tmp_path: Path) -> None:
    flow, y, options = RUNS[name]()
    options = {
        "steps": 13,
        "save": pf.SaveAt(every=2, velocity=True),
        "metrics": {} if y is None else {"m": Breaking()},
        **options,
    }
    calls[0] = 0
    whole = simulate(flow, X, y, **options)
    place = Checkpoint(tmp_path / "run", every=3, seconds=0)
    if y is not None:
        options["metrics"] = {"m": Breaking(frozenset({3, 7}))}
    calls[0], metrics = 0, options["metrics"]
    path = simulate(flow, X, y, checkpoint=place, **options)
    if y is not None:
        assert path.status == "interrupted"
        assert path.message.startswith("stopped by Ctrl-C after step ")
        assert resume(place, metrics=metrics).status == "interrupted"
        flow, y, parts = RUNS[name]()
        path = simulate(flow, X, y, checkpoint=place, **{**options, **parts})
        assert 0 < path.report["resumed"]["step"] < int(path.steps[-1])
    assert_same(whole, path)
    assert_same(path, Trajectory.load(tmp_path / "run"))
    assert_same(path, resume(place, metrics=metrics))


def test_only_the_end_holds_the_state_before(tmp_path: Path) -> None:
    """Within the run the energy of a state is compared by the time at which it is committed. The
    last state is committed twice, the second time with the ending.
    """
    flow, y, options = RUNS["kink"]()
    place = Checkpoint(tmp_path / "run", every=3, seconds=0)
    simulate(flow, X, y, steps=10, checkpoint=place, **options)
    held = {}
    for path in sorted((tmp_path / "run" / "segments").glob("0*.json")):
        names = json.loads(path.read_text())["inline"]
        held[int(path.stem)] = any(name.startswith("watch/before") for name in names)
    assert len(held) > 3
    assert [number for number, before in held.items() if before] == sorted(held)[-2:]


PARTS = ("watch", "recorder", "wanted", "statistics", "stop")
# What a watch takes from the flow, the start and the state before, each of which is compared alone.
TAKEN = ("flow", "target", "integrator", "start", "first", "_previous", "_box", "advice", "mark")


def plain(value: Any) -> Any:
    """Tensors as lists, also within tuples and mappings."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", ["kink", "unstable", "adaptive", "unbalanced"])
def test_every_part_of_a_run_recalls_all_that_it_remembered(name: str, tmp_path: Path) -> None:
    place = Checkpoint(tmp_path / "run", every=3, seconds=0)

    def begun() -> KeptRun:
        flow, y, options = RUNS[name]()
        asked = {"steps": 30, "dt": 0.2, "t1": None, "integrator": None, **options}
        save = None if asked["t1"] else pf.SaveAt(every=100)
        rule = pf.Arrived(every=2, patience=9)
        with opened(place) as folder:
            made = begin(
                flow, X, y, stop=rule, save=save, metrics=None, seed=0, progress=False,
                place=folder, **asked,
            )  # fmt: skip
        assert isinstance(made, KeptRun)
        return made

    first = begun()
    for state in first.states:
        first._take(state)
        if state.clock.step == 7:
            break
    first.stopped(KeyboardInterrupt())
    first.trajectory()
    second, moment = begun(), first._latest
    assert moment is not None
    for part in PARTS:
        noted = getattr(moment, part)
        noted = noted if part == "stop" else noted.remembered()
        assert plain(getattr(second, part).remembered()) == plain(noted), part
    watches = [
        {k: v for k, v in vars(run.watch).items() if k not in TAKEN} for run in (first, second)
    ]
    assert plain(watches[0]) == plain(watches[1])
    assert torch.equal(first.watch.mark, second.watch.mark)
    before, after = first.watch._previous, second.watch._previous
    assert (before is None or first.watch.message != "") == (after is None)
    if before is not None and after is not None:
        assert (before.fit.value, before.clock) == (after.fit.value, after.clock)
    assert first.watch.advice == second.watch.advice
    statistics = vars(first.statistics)
    assert statistics == vars(second.statistics)
    told = {
        "kink": first.watch._hop,
        "unstable": first.watch.message,
        "adaptive": first.statistics.lengths,
        "unbalanced": first.recorder._anew is not None,
    }
    assert told[name], "the run has something to remember"
    assert second.stop.remembered().facts["idle"] is not None
    second.place.close()
