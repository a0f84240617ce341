"""Choosing the runs and records to draw, and checking and writing the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from particleflow import _checks
from particleflow._files import not_written, refuse_unless_writable, replace_bytes
from particleflow.clouds import Cloud
from particleflow.integrators import State
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

Kind = TypeVar("Kind")

# Least number of points of a crowd, which is shown as a density and measured by this many points.
CROWD = 20_000
# Number of points from which principal axes and path lengths are computed: enough for a picture.
MEASURED = 4_000


def named(paths: Trajectory | Mapping[str, Trajectory]) -> dict[str, Trajectory]:
    """Return one run, or several by name, as a mapping of runs that can be drawn together."""
    if isinstance(paths, Trajectory):
        paths = {"": paths}
    kinds = (
        {type(run).__name__ for run in paths.values()}
        if isinstance(paths, Mapping)
        else {type(paths).__name__}
    )
    if not isinstance(paths, Mapping) or kinds - {Trajectory.__name__}:
        raise TypeError(
            f"`paths` must be a Trajectory or a mapping of names to them, got"
            f" {', '.join(sorted(kinds))}: e.g. {{'MMD': path}}"
        )
    if not paths or not all(len(run) for run in paths.values()):
        raise ValueError(
            f"`paths` must hold at least one run with at least one record each, got {dict(paths)}:"
            " simulate one first"
        )
    dims = {str(name): run.particles.shape[2] for name, run in paths.items()}
    if len(set(dims.values())) > 1:
        raise ValueError(
            f"`paths` must live in one space to share axes, got dimensions {dims}: draw them one"
            " by one"
        )
    return in_lines(paths)


def in_lines(paths: Mapping[Any, Kind]) -> dict[str, Kind]:
    """Return the mapping with each name in one line, where no two names become one."""
    names = [in_one_line(str(name)) for name in paths]
    if len(set(names)) < len(names):
        names = [str(name) for name in paths]
    return dict(zip(names, paths.values(), strict=True))


def in_one_line(text: str) -> str:
    """Return the text with spaces in the place of line breaks."""
    return " ".join(text.splitlines())


def writable(file: str | Path, suffixes: Sequence[str], remedy: str) -> Path:
    """Return the path of a file to be written; refuse one that cannot be written."""
    path = _checks.path(file, "file", f"flow{suffixes[0]}")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"`file` must end in {' '.join(suffixes)}, got '{path}': {remedy}")
    if not path.parent.exists():
        raise FileNotFoundError(
            f"`file` '{path}' could not be written, its folder does not exist: make it, or choose"
            " another"
        )
    refuse_unless_writable(path, "file")
    return path


def write(file: Path, picture: bytes) -> None:
    """Write a file in one go.

    Raises
    ------
    OSError
        It cannot be written.
    """
    try:
        replace_bytes(file, picture)
    except OSError as error:
        raise unwritable(file, error.strerror or error) from error


def unwritable(file: Path, why: object) -> OSError:
    """Return the error of a file that cannot be written."""
    return not_written(file, "file", why)


def recorded(paths: Mapping[str, Trajectory]) -> list[int]:
    """Return every step at which some run has a record."""
    return sorted({step for run in paths.values() for step in run.steps.tolist()})


def record_at(run: Trajectory, step: float) -> int:
    """Return the index of the last record at or before a step."""
    return max(0, int(np.searchsorted(run.steps.cpu().numpy(), step, side="right")) - 1)


def place(run: Trajectory, step: float) -> tuple[int, float]:
    """Return the last record at or before a step, and the share of the way to the next one."""
    k = record_at(run, step)
    if k == len(run) - 1:
        return k, 0.0
    here, there = run.steps[k : k + 2].tolist()
    return k, max(0.0, (step - here) / (there - here))


def one_record(state: State, target: Cloud | None) -> Trajectory:
    """Return a trajectory that holds this state alone."""
    if target is not None and target.dim != state.x.dim:
        raise ValueError(
            f"`target` must have the dimension of the states, {state.x.dim}, got {target.dim}: pass"
            " the target of their flow"
        )
    clock, log_mass = state.clock, state.x.log_mass
    return Trajectory(
        particles=state.x.points[None],
        times=torch.tensor([clock.t], dtype=torch.float64, device="cpu"),
        steps=torch.tensor([clock.step], device="cpu"),
        energy=torch.tensor([math.nan], dtype=torch.float64, device="cpu"),
        metrics={},
        status="completed" if state.status == "running" else state.status,
        message=state.message,
        report={},
        state=state,
        target=None if target is None else target.points,
        target_log_mass=None if target is None else target.log_mass,
        log_mass=None if log_mass is None else log_mass[None],
    )


def travelled(run: Trajectory) -> Float[np.ndarray, "T"]:
    """Return the share of their path that the particles have gone at each record, 0 ... 1.

    All zeros for particles that stay where they are.
    """
    some = run.particles[:, some_rows(run.particles.shape[1], MEASURED)].detach().cpu().double()
    moved = np.linalg.norm(np.diff(some.numpy(), axis=0), axis=2).mean(1)
    length = np.concatenate([[0.0], np.cumsum(moved)])
    return length / (length[-1] or 1.0)


def advance(
    paths: Mapping[str, Trajectory], steps: Sequence[int], pace: str = "path"
) -> Float[np.ndarray, "S"]:
    """Return how far the runs have come at some of their steps, from 0 at the first to 1.

    `pace` says what is measured: the mean over runs of the share of their "path" or of their
    "time", or the "steps". Where nothing moves, the steps count.
    """
    gone = np.zeros(len(steps))
    for run in paths.values():
        share = travelled(run) if pace == "path" else run.times.cpu().numpy() - float(run.times[0])
        if pace != "steps" and share[-1] > 0:
            gone += np.interp(steps, run.steps.cpu().numpy(), share / share[-1])
    gone -= gone[0]
    if not gone[-1] > 0:
        gone = np.asarray(steps, dtype=float) - steps[0]
    return gone / (gone[-1] or 1.0)


def telling(paths: Mapping[str, Trajectory], count: int, pace: str = "path") -> list[int]:
    """Return steps between which the runs come equally far, the first and last included.

    `advance` says how far that is: by default along the particles' paths.
    """
    steps = recorded(paths)
    if len(steps) <= count:
        return steps
    if count == 1:
        return steps[:1]
    gone = advance(paths, steps, pace)
    found = np.abs(gone - np.linspace(0, 1, count)[:, None]).argmin(1)
    for k in range(count):
        found[k] = np.clip(max(found[k], found[k - 1] + 1 if k else 0), 0, len(steps) - count + k)
    found[-1] = len(steps) - 1
    return [steps[k] for k in found]


def crowded(count: int) -> bool:
    """Tell whether a cloud of `count` points is shown as a density."""
    return count > CROWD


@lru_cache(maxsize=8)
def few(count: int) -> slice | Int[np.ndarray, "n"]:
    """Select all of `count` points, or of a crowd a random subset that is the same each time."""
    if not crowded(count):
        return slice(None)
    return np.sort(np.random.default_rng(0).choice(count, CROWD, replace=False))
