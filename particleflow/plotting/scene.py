"""What is shown: which particles, at which steps, in which plane, within which axes. No drawing here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from particleflow.trajectory import Trajectory

Array = Float[np.ndarray, "..."]

# A larger cloud is shown by this many of its points, and principal axes are those of this many target points.
DRAWN = 20_000
MEASURED = 4_000
# Particles this many extents of (target and starts) away from them are counted, not followed.
REACH = 1.0
# Bins of a histogram.
BINS = (16, 80)


@dataclass(frozen=True)
class Scene:
    """Several runs on common axes, at common steps.

    Attributes
    ----------
    paths : mapping of name to Trajectory
    steps : increasing
        The steps shown. A run without a record at a step shows its last one before.
    axes : (d, 2) or None
        The plane of a cloud in d > 2: the first two principal axes of the target.
    low, high : (1,) or (2,)
        The common limits.
    labels : names of the axes.
    """

    paths: Mapping[str, Trajectory]
    steps: Sequence[int]
    axes: Float[np.ndarray, "d 2"] | None
    low: Float[np.ndarray, "e"]
    high: Float[np.ndarray, "e"]
    labels: tuple[str, str]

    @classmethod
    def of(cls, paths: Mapping[str, Trajectory], steps: Sequence[int]) -> Scene:
        """The plane and the limits that hold every point shown."""
        runs = list(paths.values())
        axes, labels = _plane(runs)
        targets = [_flat(run.target, axes) for run in runs if run.target is not None]
        starts = [_flat(run.particles[0], axes) for run in runs]
        clouds = [_flat(run.particles[k], axes) for run in runs for k in {record_at(run, step) for step in steps}]
        low, high = _box([*targets, *starts])
        if targets and float((high - low).max()) > 0:
            reach = REACH * float((high - low).max())
            every = np.concatenate([*targets, *clouds])
            near = every[((every >= low - reach) & (every <= high + reach)).all(1)]
            low, high = _box([near])
        else:
            low, high = _box(clouds)
        extent = float((high - low).max()) or max(1.0, 0.1 * float(np.abs(high).max()))
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, extent / 3)
        return cls(paths, steps, axes, middle - 1.08 * half, middle + 1.08 * half, labels)

    @property
    def flat(self) -> bool:
        """Is there a plane, rather than a line (d = 1)?"""
        return len(self.low) == 2

    @property
    def aspect(self) -> float:
        """Height over width of a panel."""
        width, *height = self.high - self.low
        return float(height[0] / width) if self.flat else 0.7

    @property
    def edges(self) -> Float[np.ndarray, "B"]:
        """The bins (d = 1), the same for all."""
        most = max(max(run.particles.shape[1], 0 if run.target is None else len(run.target)) for run in self.paths.values())
        return np.linspace(self.low[0], self.high[0], int(np.clip(3 * most ** (1 / 3), *BINS)) + 1)

    def target(self, name: str) -> Float[np.ndarray, "M e"] | None:
        """The target's points as shown, or None."""
        target = self.paths[name].target
        return None if target is None else _flat(target, self.axes)

    def particles(self, name: str, step: int) -> Float[np.ndarray, "N e"]:
        """The particles as shown at a step."""
        run = self.paths[name]
        return _flat(run.particles[record_at(run, step)], self.axes)

    def weights(self, name: str, step: int) -> Float[np.ndarray, "N"] | None:
        """Mass of the particles shown over their mean mass; None where all are equal."""
        run = self.paths[name]
        if run.log_mass is None:
            return None
        mass = run.log_mass[record_at(run, step)].detach().cpu().double().exp().numpy()[drawn(run.particles.shape[1])]
        return mass / (mass.mean() or 1.0)

    def smooth(self, name: str) -> bool:
        """Do the particles go on, mostly, in the direction they came from? False for a Brownian motion."""
        moves = np.diff(np.stack([self.particles(name, step) for step in self.steps]), axis=0)
        lengths = np.linalg.norm(moves, axis=2)
        return bool((moves[1:] * moves[:-1]).sum() >= 0.3 * (lengths[1:] * lengths[:-1]).sum())

    def moment(self, name: str, step: int) -> str:
        """`step 120 · t = 0.12`"""
        run = self.paths[name]
        k = record_at(run, step)
        return f"step {int(run.steps[k])} · t = {float(run.times[k]):.3g}"

    def remarks(self, name: str, step: int) -> str:
        """How a run that is over by then ended early, and how many particles are out of sight."""
        run, points = self.paths[name], self.particles(name, step)
        outside = int((~((points >= self.low) & (points <= self.high)).all(1)).sum())
        ended = run.status != "completed" and record_at(run, step) == len(run) - 1
        return "\n".join([run.status] * ended + [f"{outside} of {len(points)} outside"] * bool(outside))


def named(paths: Trajectory | Mapping[str, Trajectory]) -> dict[str, Trajectory]:
    """One run, or several by name, that can be drawn together."""
    if isinstance(paths, Trajectory):
        paths = {"": paths}
    kinds = {type(run).__name__ for run in paths.values()} if isinstance(paths, Mapping) else {type(paths).__name__}
    if not isinstance(paths, Mapping) or kinds - {Trajectory.__name__}:
        raise TypeError(f"`paths` must be a Trajectory or a mapping of names to them, got {sorted(kinds)}: e.g. {{'MMD': path}}")
    if not paths or not all(len(run) for run in paths.values()):
        raise ValueError(f"`paths` must hold at least one run with at least one record each, got {dict(paths)}")
    dims = {str(name): run.particles.shape[2] for name, run in paths.items()}
    if len(set(dims.values())) > 1:
        raise ValueError(f"`paths` must live in one space to share axes, got dimensions {dims}: draw them one by one")
    return {str(name): run for name, run in paths.items()}


def writable(file: str | Path, suffixes: Sequence[str], remedy: str) -> Path:
    """The path of a file about to be written, refused before any work if it cannot be."""
    path = Path(file)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"`file` must end in {' '.join(suffixes)}, got '{path}': {remedy}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`file` '{path}' could not be written, its folder does not exist: make it, or choose another")
    return path


def unwritable(file: Path, error: OSError) -> OSError:
    """What to raise when writing failed."""
    return OSError(f"`file` '{file}' could not be written: {error.strerror or error}: choose a folder that is writable")


def recorded(paths: Mapping[str, Trajectory]) -> list[int]:
    """Every step at which some run has a record."""
    return sorted({step for run in paths.values() for step in run.steps.tolist()})


def record_at(run: Trajectory, step: int) -> int:
    """The last record at or before a step."""
    return max(0, int(np.searchsorted(run.steps.cpu().numpy(), step, side="right")) - 1)


def telling(paths: Mapping[str, Trajectory], count: int) -> list[int]:
    """Steps, the first and last among them, between which the particles travel equally far (in shares of each run's path length)."""
    steps = recorded(paths)
    if len(steps) <= count:
        return steps
    travelled = np.zeros(len(steps))
    for run in paths.values():
        some = run.particles[:, :: math.ceil(run.particles.shape[1] / MEASURED)].detach().cpu().double().numpy()
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(some, axis=0), axis=2).mean(1))])
        if length[-1] > 0:
            travelled += np.interp(steps, run.steps.cpu().numpy(), length / length[-1])
    if travelled[-1] == 0:
        travelled = np.asarray(steps, dtype=float)
    found = np.abs(travelled - np.linspace(travelled[0], travelled[-1], count)[:, None]).argmin(1)
    for k in range(count):
        found[k] = np.clip(max(found[k], found[k - 1] + 1 if k else 0), 0, len(steps) - count + k)
    found[-1] = len(steps) - 1
    return [steps[k] for k in found]


def drawn(count: int) -> slice | Int[np.ndarray, "n"]:
    """Which of `count` points are drawn: all, or a random subset that is the same each time."""
    if count <= DRAWN:
        return slice(None)
    return np.sort(np.random.default_rng(0).choice(count, DRAWN, replace=False))


def _flat(points: Float[Tensor, "N d"], axes: Float[np.ndarray, "d 2"] | None) -> Float[np.ndarray, "n e"]:
    some = points.detach()[drawn(len(points))].cpu().double().numpy()
    return some if axes is None else some @ axes


def _box(clouds: Sequence[Float[np.ndarray, "_ e"]]) -> tuple[Float[np.ndarray, "e"], Float[np.ndarray, "e"]]:
    return np.min([c.min(0) for c in clouds], axis=0), np.max([c.max(0) for c in clouds], axis=0)


def _plane(runs: Sequence[Trajectory]) -> tuple[Float[np.ndarray, "d 2"] | None, tuple[str, str]]:
    """Principal axes of the targets (of the last particles where there is none), largest entry positive, and what to call them."""
    d = runs[0].particles.shape[2]
    if d <= 2:
        return None, ("x", "density") if d == 1 else ("", "")
    targets = [run.target for run in runs if run.target is not None]
    whose = "target" if targets else "final particles"
    clouds = targets or [run.particles[-1] for run in runs]
    some = np.concatenate([c[:: math.ceil(len(c) / MEASURED)].detach().cpu().double().numpy() for c in clouds])
    centred = np.concatenate([some - some.mean(0), np.zeros((2, d))])  # at least two rows
    _, spread, rows = np.linalg.svd(centred, full_matrices=False)
    axes = rows[:2] * np.sign(rows[:2][[0, 1], np.abs(rows[:2]).argmax(1)])[:, None]
    share = 100 * spread**2 / ((spread**2).sum() or 1.0)
    return axes.T, (f"PC 1 of the {whose} ({share[0]:.0f} %)", f"PC 2 ({share[1]:.0f} %)")
