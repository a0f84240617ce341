"""The result of a run: the recorded clouds and numbers, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow import _checks, archive, folder_trajectory
from particleflow._words import called, last_known, number, unknown_attribute
from particleflow.advice import Advice, advised
from particleflow.arrival import Nearness, nearness_of_run
from particleflow.clouds import Cloud, Draws
from particleflow.integrators import Snapshot
from particleflow.memories import snapshot_from, snapshot_told, under, within
from particleflow.recipe import Recipe, Replayed
from particleflow.remedies import Ended, Traits
from particleflow.strays import Strays, strays
from particleflow.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from particleflow.samplers.base import Density

# The tensors that not every trajectory has.
OPTIONAL = ("target", "target_log_mass", "velocity", "log_mass", "witness", "witness_axes", "anew")


@dataclass(frozen=True)
class Trajectory(Replayed):
    """A recorded run.

    Attributes
    ----------
    particles : (T, N, d) tensor
        The cloud at each recorded time.
    times : (T,) tensor
        The flow's time.
    steps : (T,) tensor
        The step number.
    energy : (T,) tensor
        The divergence that the flow's own fit estimates (MMD^2/2, KALE, a plug-in KL ...); NaN
        where there is none.
    metrics : mapping of name to (T,) tensor
    status : str
        How the steps ended. All steps were taken in a run that is "completed" or "unstable". A run
        is "unstable" if the energy of a conservative flow rose, or if most particles left the box
        around start and target; `report["unstable_from"]` is the first such step. A run that is
        "diverged", "not converged", "interrupted" or "failed" ended early; it keeps its records up
        to the end.
    message : str
        The remedy and the cause of what went wrong. It tells a stalled run too.
    report : mapping
        dt, integrator, flow, seed, labels of the metrics, solver statistics ...
    target : (M, d) tensor or None
    target_log_mass : (M,) tensor or None
        For a weighted target.
    velocity : (T, N, d) tensor or None
        With `SaveAt(velocity=True)`.
    log_mass : (T, N) tensor or None
        For unbalanced flows and weighted clouds.
    anew : (T, N) bool tensor or None
        Particles that were resampled or reborn since the record before, for flows with these.
    witness : (T, G) or (T, G, G) tensor or None
        With `SaveAt(witness=True)`, in d = 1 or 2: the witness of each recorded fit at the points
        (witness_axes[i, 0], witness_axes[j, 1]) of a grid. NaN where the fit has no value.
    witness_axes : (G, d) tensor or None
        The coordinates of that grid along each axis.
    state : Snapshot
        The end of the run: `simulate(flow, trajectory, target, steps=...)` goes on from it, bit for
        bit.
    recipe : Recipe or None
        What makes the run again: no file and no other process has it (`with_flow`).
    """

    particles: Float[Tensor, "T N d"]
    times: Float[Tensor, "T"]
    steps: Tensor
    energy: Float[Tensor, "T"]
    metrics: Mapping[str, Float[Tensor, "T"]]
    status: str
    message: str
    report: Mapping[str, Any]
    state: Snapshot
    target: Float[Tensor, "M d"] | None = None
    target_log_mass: Float[Tensor, "M"] | None = None
    velocity: Float[Tensor, "T N d"] | None = None
    log_mass: Float[Tensor, "T N"] | None = None
    witness: Float[Tensor, "T *grid"] | None = None
    witness_axes: Float[Tensor, "G d"] | None = None
    anew: Bool[Tensor, "T N"] | None = None
    recipe: Recipe | None = field(default=None, repr=False, compare=False)

    if not TYPE_CHECKING:  # to mypy any name would be an attribute
        __getattr__ = unknown_attribute

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        t, n, d = self.particles.shape
        ends = "".join(
            f", {called(name, self.report)} {float(v[0]):.4g} -> {last_known(v.tolist()):.4g}"
            for name, v in self.metrics.items()
            if len(v)
        )
        ended = self.status if self.verdict == self.status else f"{self.status}, {self.verdict}"
        return (
            f"Trajectory({ended} at step {int(self.steps[-1])}, t = {float(self.times[-1]):g}; "
            f"{number(t, 'record')} of {number(n, 'particle')} in {d}-d{ends})"
        )

    @cached_property
    def nearness(self) -> Nearness | None:
        """W2 to the target at the first and the last record, and its floor; None without a target.

        At most 300 points of each cloud are compared.
        """
        if "nearness" in self.report:
            return Nearness(**self.report["nearness"])
        if self.target is None or not self.report.get("comparable", True):
            return None
        target = Cloud(self.target, log_mass=self.target_log_mass)
        random = bool(self.report.get("traits", {}).get("random"))
        try:
            return nearness_of_run(self.cloud, self.times, target, random=random)
        except ImportError:  # POT is missing
            return None

    @property
    def verdict(self) -> str:
        """The outcome in a word or two: "arrived", "on its way", "stalled" or "farther".

        `Summary` defines them. The `status` is given for a run that did not complete, that became
        unstable, or that has no target to compare with.
        """
        found = self.nearness if self.status == "completed" else None
        return self.status if found is None else found.verdict

    def summary(self) -> Summary:
        """The run in a few numbers; as text a few lines: verdict, distances, strays, what to try.

        The first call costs about 0.2 s (300 points are compared), and up to 2 s for strays (5000).
        """
        return self._summary

    @cached_property
    def _summary(self) -> Summary:
        near, far, done = self.nearness, self._strays, self.status == "completed"
        return Summary.of(
            self.verdict,
            near,
            far,
            sizes=(self.particles.shape[1], 0 if self.target is None else len(self.target)),
            end=(int(self.steps[-1]), float(self.times[-1])),
            report=self.report,
            metrics=self.metrics,
            message="" if done else self.message,
            advice=advised(self.report) or (self._advice(near, far) if done and near else ()),
        )

    @cached_property
    def _strays(self) -> Strays | None:
        if "strays" in self.report:
            return Strays(**self.report["strays"])
        if self.target is None or self.nearness is None:
            return None
        target = Cloud(self.target, log_mass=self.target_log_mass)
        return strays(self.cloud(-1), target, self.nearness.floor)

    def _advice(self, near: Nearness, far: Strays | None) -> tuple[Advice, ...]:
        """What to try after a completed run that did not arrive."""
        if near.verdict == "arrived":
            return ()
        steps = int(self.steps[-1])
        ended = Ended.of(near, far, self.particles, self.target, self.report, steps)
        return (ended.advice(Traits(**self.report.get("traits", {}))),)

    def cloud(self, index: int) -> Cloud:
        """The cloud of one record.

        Raises
        ------
        IndexError
            There is no such record.
        """
        _checks.count(
            index,
            "index",
            least=-sys.maxsize,
            remedy="pass the number of a record, e.g. -1 for the last",
        )
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"`index` must be between {-len(self)} and {len(self) - 1}, got {index}: the run"
                f" has {len(self)} records"
            )
        return Cloud(
            self.particles[index], log_mass=None if self.log_mass is None else self.log_mass[index]
        )

    def numpy(self) -> dict[str, Any]:
        """All records as numpy arrays: particles, times, steps, energy and each metric.

        Velocities, masses and the target are among them where the run has them.
        """
        arrays = {name: tensor.cpu().numpy() for name, tensor in self._tensors().items()}
        return arrays | {name: tensor.cpu().numpy() for name, tensor in self.metrics.items()}

    def save(self, path: str | Path) -> Path:
        """Write one compressed .npz without pickle, readable by numpy alone; returns its path."""
        path = archive.writable(path)
        draws, end = self.state.clock.draws, snapshot_told(self.state)
        facts = {
            "status": self.status,
            "message": self.message,
            "report": self.report,
            **end.facts,
            "seed": draws.seed if isinstance(draws, Draws) else None,
        }
        tensors = self._tensors() | under("metrics", self.metrics)
        return archive.write(path, tensors | dict(end.tensors), facts)

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read a file written by `save`, or the folder of a run (`Checkpoint`).

        Tensors come back on the CPU with their dtype. The records in a folder are memory maps,
        which are read where they are looked at. A run that has not ended is "interrupted".
        """
        if isinstance(path, str | Path) and folder_trajectory.is_run(path):
            return folder_trajectory.read(path, cls._restored)
        return archive.read(path, cls._restored)

    @classmethod
    def _restored(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Trajectory:
        """The trajectory of the tensors and facts of a file or folder: the inverse of `save`."""

        optional: dict[str, Any] = {name: tensors.get(name) for name in OPTIONAL}
        seed = facts["seed"]
        draws = archive.Gone() if seed is None else Draws(seed)
        return cls(
            particles=tensors["particles"],
            times=tensors["times"],
            steps=tensors["steps"],
            energy=tensors["energy"],
            **optional,
            metrics=within("metrics", tensors),
            status=facts["status"],
            message=facts["message"],
            report=facts["report"],
            state=snapshot_from(tensors, facts, draws),
        )

    def plot(
        self,
        path: str | Path | None = None,
        *,
        records: Sequence[int] | None = None,
        ax: Axes | Sequence[Axes] | np.ndarray | None = None,
        title: str = "",
        color: Any = "flow",
        trails: float | bool = False,
        arrows: bool = False,
        axes: tuple[int, int] | None = None,
        xlim: tuple[float, float] | None = None,
        ylim: tuple[float, float] | None = None,
        density: Density | Callable[[Tensor], Tensor] | None = None,
        as_images: tuple[int, int] | None = None,
        dark: bool = False,
        size: float | None = None,
        dpi: int = 160,
    ) -> Figure:
        """Snapshots of the flow side by side, on `path`. See `particleflow.plotting.snapshots`."""
        from particleflow.plotting import snapshots

        return snapshots(
            self,
            path,
            records=records,
            ax=ax,
            title=title,
            color=color,
            trails=trails,
            arrows=arrows,
            axes=axes,
            xlim=xlim,
            ylim=ylim,
            density=density,
            as_images=as_images,
            dark=dark,
            size=size,
            dpi=dpi,
        )

    def animate(
        self,
        path: str | Path,
        *,
        fps: int = 20,
        seconds: float = 5.0,
        pace: str = "path",
        title: str = "",
        color: Any = "flow",
        trails: float | bool | None = None,
        arrows: bool = False,
        inset: bool = True,
        dark: bool = False,
        transparent: bool = False,
        axes: tuple[int, int] | None = None,
        xlim: tuple[float, float] | None = None,
        ylim: tuple[float, float] | None = None,
        density: Density | Callable[[Tensor], Tensor] | None = None,
        as_images: tuple[int, int] | None = None,
        orbit: float | None = None,
        size: float | tuple[float, float] | None = None,
        dpi: int = 200,
    ) -> Path:
        """A film of the flow, a GIF or an MP4. See `particleflow.plotting.animate`."""
        from particleflow.plotting import animate

        return animate(
            self,
            path,
            fps=fps,
            seconds=seconds,
            pace=pace,
            title=title,
            color=color,
            trails=trails,
            arrows=arrows,
            inset=inset,
            dark=dark,
            transparent=transparent,
            axes=axes,
            xlim=xlim,
            ylim=ylim,
            density=density,
            as_images=as_images,
            orbit=orbit,
            size=size,
            dpi=dpi,
        )

    def play(
        self,
        path: str | Path,
        *,
        title: str = "",
        as_images: tuple[int, int] | None = None,
        labels: Any = None,
        python: str = "",
    ) -> Path:
        """A page that plays the flow in a browser, offline. See `particleflow.plotting.player`."""
        from particleflow.plotting import player

        return player(self, path, title=title, as_images=as_images, labels=labels, python=python)

    def _repr_html_(self) -> str:
        """The player, as a notebook shows it."""
        from particleflow.plotting.web import player

        return player(self)._repr_html_()

    def _tensors(self) -> dict[str, Tensor]:
        named = {
            "particles": self.particles,
            "times": self.times,
            "steps": self.steps,
            "energy": self.energy,
        }
        optional = {name: getattr(self, name) for name in OPTIONAL}
        return named | {name: tensor for name, tensor in optional.items() if tensor is not None}
