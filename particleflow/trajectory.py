"""The result of a run: the recorded clouds and numbers, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow import _checks, archive, folder_trajectory
from particleflow._refusals import RefusedValueError
from particleflow._words import called, last_known, number, unknown_attribute
from particleflow.advice import Advice, advised
from particleflow.clouds import Cloud, Draws
from particleflow.integrators import Snapshot
from particleflow.memories import snapshot_from, snapshot_told, under, within
from particleflow.nearness import Nearness, nearness_of_run
from particleflow.recipe import Recipe, Replayed
from particleflow.remedies import Ended, Traits
from particleflow.spaces import WITHIN, Space
from particleflow.strays import Strays
from particleflow.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from particleflow.samplers.base import Density

# The tensors that not every trajectory has.
OPTIONAL = ("target", "target_log_mass", "velocity", "log_mass", "witness", "witness_axes", "anew")


@dataclass(frozen=True)
class Trajectory(Replayed):
    """The record of a run: T recorded clouds of N particles in d dimensions, and how the run ended.

    `simulate`, `record`, `resume` and `Trajectory.load` give it. `simulate(flow, path, steps=...)`
    goes on from its end, bit for bit. `len(path)` is T.

    Attributes
    ----------
    particles : (T, N, d) tensor
        The cloud at each recorded time, in the dtype and on the device of the run.
    times : (T,) float64 tensor
        The flow's time t at each record. For `integrators.Adam` it is a length.
    steps : (T,) int64 tensor
        The step number of each record.
    energy : (T,) float64 tensor
        The divergence that the flow's own fit estimates (MMD^2/2, KALE, a plug-in KL ...); NaN
        where there is none. It is not comparable between flows of different kinds.
    metrics : mapping of name to (T,) float64 tensor
        The values of the metrics that were asked for, at each record.
    status : str
        How the steps ended. All steps were taken in a run that is "completed" or "unstable". A run
        is "unstable" if the energy of a conservative flow rose, or if most particles left the box
        around start and target; `report["unstable_from"]` is the first such step. A run that is
        "diverged", "not converged", "interrupted" or "failed" ended early; it keeps its records up
        to the end.
    message : str
        The remedy and the cause of what went wrong. It tells a stalled run too. Empty otherwise.
    report : mapping
        Plain facts. Always: `dt`, `dt_suggested` (whether it was left out), the reprs `flow` and
        `integrator`, `metrics` (name to repr), `labels` (name to label), `target` (that of a
        minibatch), `seed`, `seconds` of the steps, `fits`, `traits`. Where there is something to
        tell: `lengths` (the least and the largest step), `controller`, `iterations` and `worst_gap`
        of an inner solver, `backends` and `promise` of fast sums, `unstable_from`, `stopped` (why
        `stop` ended it), `advice`, `nearness`, `strays`, `renewals`, `stragglers`, `resumed`,
        `periods` of a box, `compared` (W2 within classes or around the box), `comparable` (False
        where no W2 to the target makes sense), `traceback` of a run that failed.
    state : Snapshot
        The end of the run: clock, particles and memories.
    target : (M, d) tensor or None
        A fixed target; None for one that changes, and for flows without.
    target_log_mass : (M,) tensor or None
        For a weighted target.
    velocity : (T, N, d) tensor or None
        With `SaveAt(velocity=True)`.
    log_mass : (T, N) tensor or None
        For unbalanced flows and weighted clouds.
    witness : (T, G) or (T, G, G) tensor or None
        With `SaveAt(witness=True)`, in d = 1 or 2: the witness of each recorded fit at the points
        (witness_axes[i, 0], witness_axes[j, 1]) of a grid. NaN where the fit has no value.
    witness_axes : (G, d) tensor or None
        The coordinates of that grid along each axis.
    anew : (T, N) bool tensor or None
        Particles that were resampled or reborn since the record before, for flows with these.
    recipe : Recipe or None
        What makes the run again: no file and no other process has it (`with_flow`).

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(drift, [[8.0], [4.0]], steps=2, dt=0.5)
    >>> path.particles.shape, path.times.tolist(), path.status
    (torch.Size([3, 2, 1]), [0.0, 0.5, 1.0], 'completed')
    >>> path.particles[-1].flatten().tolist()  # the last cloud
    [2.0, 1.0]
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

        At most 300 points of each cloud are compared; classes of `labelled` each with its own part
        of the target, and on a torus around its edges. None too where a comparison makes no sense
        (features of a model), where POT is missing, and where a run with classes ended early and
        was read from its folder: `with_flow` gives it its classes. Cost: about 0.2 s once, then it
        is kept.
        """
        if "nearness" in self.report:
            return Nearness(**self.report["nearness"])
        if self.target is None or not self.report.get("comparable", True):
            return None
        if self.recipe is None and WITHIN in self.report.get("compared", ""):
            return None
        target = Cloud(self.target, log_mass=self.target_log_mass)
        random = bool(self.report.get("traits", {}).get("random"))
        try:
            return nearness_of_run(self.cloud, self.times, target, random=random, space=self._space)
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

        Returns
        -------
        Summary
            `print(path.summary())` shows it.

        >>> normal = pf.samplers.Gaussian(dim=1)
        >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))
        >>> print(pf.simulate(drift, [[8.0], [4.0]], steps=2, dt=0.5).summary())
        completed: 2 steps of dt = 0.5 to t = 1 in ... s
        W2 to the target is not known: there are no target points to compare
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
        return self._space.strays(self.cloud(-1), target, self.nearness.floor)

    @property
    def _distances(self) -> dict[str, Any]:
        """What only a trajectory that knows its classes can compute: for a file, which does not."""
        if WITHIN not in self.report.get("compared", ""):
            return {}
        found = {"nearness": self.nearness, "strays": self._strays}
        return {name: asdict(part) for name, part in found.items() if part is not None}

    @cached_property
    def _space(self) -> Space:
        """The space in which distances are taken; without a recipe its classes are not known."""
        if self.recipe is None or not self.recipe.legs:
            return Space.around(self.report.get("periods", ()))
        last = self.recipe.legs[-1]
        return Space.of(last.flow, last.integrator, self.particles.shape[2])

    def _advice(self, near: Nearness, far: Strays | None) -> tuple[Advice, ...]:
        """What to try after a completed run that did not arrive."""
        if near.verdict == "arrived":
            return ()
        steps = int(self.steps[-1])
        ended = Ended.of(near, far, self.particles, self.target, self.report, steps)
        return (ended.advice(Traits(**self.report.get("traits", {}))),)

    def cloud(self, index: int) -> Cloud:
        """The cloud of one record, with its masses.

        Parameters
        ----------
        index : int
            The number of the record, from 0 on; negative ones count from the end.

        Returns
        -------
        Cloud
            N points in d dimensions. They are the records themselves, not a copy.

        Raises
        ------
        IndexError
            There is no such record.
        TypeError
            `index` is no integer.
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

        Velocities, masses, the witness and the target are among them where the run has them.

        Returns
        -------
        dict of str to array
            By the names of the attributes, and of the metrics. On the CPU the arrays share the
            memory of the tensors.
        """
        arrays = {name: tensor.cpu().numpy() for name, tensor in self._tensors().items()}
        return arrays | {name: tensor.cpu().numpy() for name, tensor in self.metrics.items()}

    def save(self, path: str | Path) -> Path:
        """Write one compressed .npz without pickle, readable by numpy alone.

        The flow is not in it: a loaded trajectory goes on with `simulate(flow, path, ...)`, and
        takes its flow again by `with_flow`. The file is written whole or not at all.

        Parameters
        ----------
        path : str or Path
            The file, which must end in .npz. A file of that name is replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            `path` has another suffix.
        TypeError
            `path` is no str or path.
        OSError
            The file cannot be written, or `path` is a folder.

        >>> normal = pf.samplers.Gaussian(dim=1)
        >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))
        >>> path = pf.simulate(drift, [[8.0], [4.0]], steps=2, dt=0.5)
        >>> pf.Trajectory.load(path.save("run.npz"))
        Trajectory(completed at step 2, t = 1; 3 records of 2 particles in 1-d)
        """
        path = archive.writable(path)
        draws, end = self.state.clock.draws, snapshot_told(self.state)
        facts = {
            "status": self.status,
            "message": self.message,
            "report": {**self.report, **self._distances},
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

        Parameters
        ----------
        path : str or Path
            The .npz file or the folder.

        Returns
        -------
        Trajectory
            Without a recipe: `with_flow` gives it its flow.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file was not written by `save`; or the folder holds a run before its start.
        TypeError
            `path` is no str or path.
        OSError
            The folder is damaged from the first commit on, or cannot be read.
        """
        if isinstance(path, str | Path) and folder_trajectory.is_run(path):
            return folder_trajectory.read(path, cls._restored)
        if isinstance(path, str | Path) and Path(path).is_dir():
            raise RefusedValueError(
                "path",
                f"must be a file written by Trajectory.save, and '{path}' is not: it is a folder,"
                " and holds no run",
                remedy="pass what save has returned, or the checkpoint that simulate was given",
            )
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
        """Draw snapshots of the flow side by side: see `particleflow.plotting.snapshots`.

        Parameters
        ----------
        path : str or Path, optional
            The file to write, .png .pdf .svg ...; without it nothing is written.
        records : sequence of int, optional
            The records to show. Left out: five, equally far apart along the particles' paths.
        ax, title, color, trails, arrows, axes, xlim, ylim, density, as_images, dark, size, dpi
            As for `plotting.snapshots`.

        Returns
        -------
        Figure
            That of matplotlib.

        Raises
        ------
        ValueError, TypeError
            An option has a wrong value, or does not act on this run.
        OSError
            The file cannot be written.
        """
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
        """Make a film of the flow, a GIF or an MP4: see `particleflow.plotting.animate`.

        Parameters
        ----------
        path : str or Path
            The file to write; ends in .gif or .mp4.
        fps : int
            Frames a second, at most 50 for a GIF and 120 for an MP4.
        seconds : float
            The length of the film.
        pace : str
            What the frames are even in: "path" (the distance travelled), "steps" or "time".
        title, color, trails, arrows, inset, dark, transparent
            As for `plotting.animate`.
        axes, xlim, ylim, density, as_images, orbit, size, dpi
            As for `plotting.animate`.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError, TypeError
            An option has a wrong value, or does not act on this run.
        ImportError
            The file ends in .mp4 and imageio-ffmpeg is missing.
        OSError
            The file cannot be written.
        """
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
        """Write a page that plays the flow in a browser, offline: see `plotting.player`.

        Parameters
        ----------
        path : str or Path
            The file to write; ends in .html.
        title, as_images, labels, python
            As for `plotting.player`.

        Returns
        -------
        Path
            The file. A notebook shows the page where the call is the last line of a cell.

        Raises
        ------
        ValueError, TypeError
            An option has a wrong value, or does not act on this run.
        OSError
            The file cannot be written.
        """
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
