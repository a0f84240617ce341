"""Runs that are killed at random and go on: is a committed state lost, are the bits the same?"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import particleflow as pf
from particleflow.checkpoint import Store

# A Gaussian kernel about as wide as a ring of the target.
KERNEL = pf.kernels.Gaussian(0.4)
# The flow of each estimator.
FLOWS: dict[str, Callable[[], pf.Flow]] = {
    "KALE": lambda: pf.kale_flow(KERNEL, lam=0.1),
    "KDE": lambda: pf.mono_flow(pf.estimators.KDE(KERNEL)),
    "Classifier": lambda: pf.mono_flow(pf.estimators.Classifier(first_steps=50, steps=5, width=16)),
    "uLSIF": lambda: pf.mono_flow(pf.estimators.ULSIF(KERNEL)),
}
# The names of a report that tell of the machine, not of the run.
NOT_COMPARED = ("seconds", "resumed")
# Kills come up to this share of a run's time after its start; some runs end before.
LATEST = 1.1


@dataclass
class Killed:
    """What became of the kills of one estimator's runs."""

    kills: int = 0
    lost: int = 0
    resumed: int = 0
    equal: int = 0


def run(name: str, folder: Path | None, steps: int) -> pf.Trajectory:
    """The run of an estimator; with a folder its state is written as often as can be."""
    return pf.simulate(
        FLOWS[name](),
        pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.2).sample(60, seed=1),
        pf.samplers.Rings().sample(80, seed=0),
        steps=steps,
        dt=0.02,
        save=pf.SaveAt(every=3, velocity=True),
        metrics={"W1": pf.metrics.W1()},
        checkpoint=None if folder is None else pf.Checkpoint(folder, every=2, seconds=0),
    )


def digest(path: pf.Trajectory) -> str:
    """The SHA-256 of all that a run leaves, besides its time."""
    found = hashlib.sha256()
    tensors = {**path.numpy(), **path.state.memory, **path.state.stepper, "x": path.state.x.points}
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(torch.as_tensor(tensors[name]).contiguous().numpy().tobytes())
    report = {name: v for name, v in path.report.items() if name not in NOT_COMPARED}
    found.update(json.dumps([path.status, path.message, report], sort_keys=True).encode())
    return found.hexdigest()


def killed(name: str, kills: int, steps: int, place: Path, seed: int = 0) -> Killed:
    """Kill the run of an estimator so many times, and go on after each kill in two ways.

    The killed run goes on in its folder, to be killed again. A copy of the folder goes on to the
    end, where it is compared with the run that was never stopped.
    """
    wanted, chance, result = digest(run(name, None, steps)), random.Random(seed), Killed()
    began = time.perf_counter()
    run(name, place / "first", steps)
    length = time.perf_counter() - began
    folder, copy = place / "run", place / "copy"
    while result.kills < kills:
        committed = _killed_after(name, folder, steps, chance.uniform(0, LATEST * length))
        if committed is None:
            shutil.rmtree(folder)
            continue
        result.kills += 1
        result.lost += _last(folder) < committed
        shutil.rmtree(copy, ignore_errors=True)
        if folder.exists():
            shutil.copytree(folder, copy)
        path = pf.resume(copy) if _last(folder) >= 0 else run(name, copy, steps)
        result.resumed += "resumed" in path.report
        result.equal += digest(path) == wanted
    return result


def _killed_after(name: str, folder: Path, steps: int, seconds: float) -> int | None:
    """The last step that was committed when the run was killed; None if it had ended before."""
    child = os.fork()
    if not child:
        try:
            run(name, folder, steps)
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(seconds)
    committed = _written(folder)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return committed
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"the run of {name} has failed: look at what it printed")
    return None


def _written(folder: Path) -> int:
    """The step of the last manifest in a folder; -1 without one."""
    manifests = sorted((folder / "segments").glob("[0-9]*.json"))
    return int(_document(manifests[-1])["step"]) if manifests else -1


def _document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _last(folder: Path) -> int:
    """The step from which the run in a folder goes on; -1 if it begins anew."""
    if not Store.exists(folder):
        return -1
    last = Store.open(folder, write=False).last
    return -1 if last is None else last.step
