"""A scene: the particles, steps, plane and axes that are shown; this module draws nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from particleflow.plotting.scenes import framing
from particleflow.plotting.scenes.jumps import jumped
from particleflow.plotting.scenes.known import LogDensity
from particleflow.plotting.scenes.records import crowded, place, record_at, travelled
from particleflow.plotting.scenes.views import Perspective, Plane, View, inside
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

Array = Float[np.ndarray, "..."]
# Most particles with trails: more trails hide the points.
TAILED = 2000
# Most steps whose speeds make a scale of speeds.
TIMED = 50
# Number of bins of a histogram: least, most, and most for a crowd.
BINS = (16, 80, 200)
# Properties that are computed once for all steps and do not depend on the view.
KEPT = ("fastest", "travelled")


@dataclass(frozen=True)
class Scene:
    """Several runs on common axes, at common steps.

    Attributes
    ----------
    paths : mapping of name to Trajectory
    steps : increasing
        The steps shown. A run without a record at a step shows its last one before.
    view : View
        Where points are seen. By default, d = 3: in perspective; d > 3: the plane of the first two
        principal axes of the target.
    low, high : (1,) or (2,)
        The common limits.
    labels : names of the axes.
    level : float
        The density of a crowd in the plane that is shown in the middle tone: that of the targets
        (of the last particles where there is none).
    between : names
        The runs that are shown on the straight line between two records at a step between them.
    density : callable or None
        The log density, up to a constant, of a target that is known.
    """

    paths: Mapping[str, Trajectory]
    steps: Sequence[float]
    view: View
    low: Float[np.ndarray, "e"]
    high: Float[np.ndarray, "e"]
    labels: tuple[str, str]
    level: float
    between: frozenset[str] = frozenset()
    density: LogDensity | None = None

    @classmethod
    def of(
        cls,
        paths: Mapping[str, Trajectory],
        steps: Sequence[float],
        *,
        axes: tuple[int, int] | None = None,
        xlim: tuple[float, float] | None = None,
        ylim: tuple[float, float] | None = None,
        orbit: float = 0.0,
        between: frozenset[str] = frozenset(),
        density: LogDensity | None = None,
    ) -> Scene:
        """Return the scene whose view and limits hold every point shown.

        `axes` are two coordinates. `xlim` and `ylim` replace the limits. `orbit`: the limits hold
        the view in perspective while the eye goes round by so many degrees.
        """
        runs = list(paths.values())
        d = runs[0].particles.shape[2]
        view: View
        view, labels = (Plane(), ("", "")) if d == 3 and axes is None else framing.plane(runs, axes)
        targets = [run.target for run in runs if run.target is not None]
        clouds = [
            run.particles[k] for run in runs for k in {record_at(run, step) for step in steps}
        ]
        low, high = framing.limits(runs, steps, view)
        if len(low) == 3:
            view = Perspective(low, high)
            held = [
                corners
                for turned in view.orbit(orbit)
                for corners in (
                    turned.ends,
                    *(
                        framing.ends(cloud, Plane(), (low, high), turned)
                        for cloud in (*targets, *clouds)
                    ),
                )
            ]
            low, high = framing.widened(*framing.box(held))
        for k, sides in enumerate((xlim, ylim)):
            if sides is not None and k < len(low):
                low[k], high[k] = sides
        level = math.nan
        if len(low) == 2 and any(crowded(len(cloud)) for cloud in (*targets, *clouds)):
            aims = [(run.target, run.target_log_mass) for run in runs if run.target is not None]
            shown = aims or [(run.particles[-1], None) for run in runs]
            weighted = [
                (
                    framing.seen(cloud, view),
                    None if log_mass is None else framing.over_mean(log_mass),
                )
                for cloud, log_mass in shown
            ]
            level = framing.level(weighted, low, high)
        return cls(
            paths,
            steps,
            view,
            low,
            high,
            framing.labels(labels, low, high),
            level,
            between,
            density,
        )

    def turned(self, degrees: float) -> Scene:
        """Return the scene seen by an eye that went round by so many degrees (d = 3)."""
        assert isinstance(self.view, Perspective)
        other = replace(self, view=self.view.turned(degrees))
        vars(other).update({key: vars(self)[key] for key in KEPT if key in vars(self)})
        return other

    @property
    def flat(self) -> bool:
        """Tell whether the points lie in a plane rather than on a line (d = 1)."""
        return len(self.low) == 2

    @property
    def aspect(self) -> float:
        """Height over width of a panel."""
        width, *height = self.high - self.low
        return float(height[0] / width) if self.flat else 0.7

    @property
    def edges(self) -> Float[np.ndarray, "B"]:
        """The edges of the bins (d = 1), the same for all runs."""
        most = max(
            max(run.particles.shape[1], 0 if run.target is None else len(run.target))
            for run in self.paths.values()
        )
        least, few, many = BINS
        return np.linspace(
            self.low[0],
            self.high[0],
            int(np.clip(3 * most ** (1 / 3), least, many if crowded(most) else few)) + 1,
        )

    def target(self, name: str) -> Float[np.ndarray, "M e"] | None:
        """Return the target's points as shown, or None."""
        target = self.paths[name].target
        return None if target is None else framing.seen(target, self.view)

    def _at(self, name: str, step: float, values: Float[Tensor, "T ..."]) -> Float[Tensor, "..."]:
        """Return what a run has recorded at a step, or between two records.

        Particles that jump before the next record stay until then.
        """
        k, share = place(self.paths[name], step)
        if not share or name not in self.between:
            return values[k]
        found, anew = torch.lerp(values[k], values[k + 1], share), self.jumps[name]
        if anew is not None and found.shape[:1] == anew.shape[1:]:
            found[anew[k + 1]] = values[k][anew[k + 1]]
        return found

    def particles(self, name: str, step: float) -> Float[np.ndarray, "N e"]:
        """Return the particles as shown at a step."""
        return framing.seen(self._at(name, step, self.paths[name].particles), self.view)

    def start(self, name: str) -> Float[np.ndarray, "N e"]:
        """Return the particles as shown at the first record."""
        return framing.seen(self.paths[name].particles[0], self.view)

    def weights(self, name: str, step: float) -> Float[np.ndarray, "N"] | None:
        """Return the particles' masses over their mean; None where all are equal."""
        run = self.paths[name]
        return (
            None if run.log_mass is None else framing.over_mean(self._at(name, step, run.log_mass))
        )

    def target_depth(self, name: str) -> Float[np.ndarray, "M"] | None:
        """Return how far each point of the target is from the eye; None in a plane."""
        target = self.paths[name].target
        return None if target is None else self.view.depth(target.detach().cpu().numpy())

    def target_weights(self, name: str) -> Float[np.ndarray, "M"] | None:
        """Return the target's masses over their mean; None if all are equal."""
        log_mass = self.paths[name].target_log_mass
        return None if log_mass is None else framing.over_mean(log_mass)

    def cloud(self, name: str, step: float) -> Float[np.ndarray, "N d"]:
        """Return the particles in space at a step."""
        return self._at(name, step, self.paths[name].particles).detach().cpu().double().numpy()

    def depth(self, name: str, step: float) -> Float[np.ndarray, "N"] | None:
        """Return how far each particle is from the eye, 0 ... 1; None in a plane."""
        return self.view.depth(self.cloud(name, step))

    def trail(self, name: str, step: float, share: float) -> Float[np.ndarray, "n T e"]:
        """Return the places of particles over the last share of the run's path.

        The path of a particle that jumped begins there. Of more than TAILED particles, a
        random subset that is the same each time.
        """
        run, rows = self.paths[name], self.tailed(name)
        gone, steps = self.travelled[name], run.steps.cpu().numpy()
        if name in self.between:
            start = float(np.interp(step, steps, gone)) - share
            begin = float(np.interp(start, gone, steps)) if start > 0 else float(steps[0])
        else:
            last = record_at(run, step)
            first = int(np.searchsorted(gone[:last], gone[last] - share))
            begin, step = float(steps[first]), float(steps[last])
        inside = np.flatnonzero((steps > begin) & (steps < step))
        clouds = [
            self._at(name, begin, run.particles)[rows],
            *(run.particles[k][rows] for k in inside.tolist()),
            self._at(name, step, run.particles)[rows],
        ]
        jumps = self.jumps[name]
        if jumps is not None:
            for j, record in enumerate([*inside, *np.flatnonzero(steps == step)], 1):
                new = jumps[record][rows]
                for earlier in range(j):
                    clouds[earlier] = torch.where(new[:, None], clouds[j], clouds[earlier])
        return np.stack([framing.seen(cloud, self.view) for cloud in clouds], axis=1)

    @cached_property
    def jumps(self) -> Mapping[str, Bool[Tensor, "T N"] | None]:
        """The particles of each run that did not travel to each record; None where all did."""
        return {name: jumped(run) for name, run in self.paths.items()}

    @cached_property
    def travelled(self) -> Mapping[str, Float[np.ndarray, "T"]]:
        """The share of its path that each run has gone at each record."""
        return {name: travelled(run) for name, run in self.paths.items()}

    def tailed(self, name: str) -> slice | Int[np.ndarray, "n"]:
        """Select the particles that have trails."""
        return some_rows(self.paths[name].particles.shape[1], TAILED)

    def velocities(self, name: str, step: float) -> Float[np.ndarray, "N d"]:
        """Return the recorded velocities, or else the moves to the next record over its time.

        At the last record the move from the one before. Zeros where there is one record.
        """
        run = self.paths[name]
        k = record_at(run, step)
        if run.velocity is not None:
            return self._at(name, step, run.velocity).detach().cpu().double().numpy()
        j = max(0, min(k, len(run) - 2))
        some = run.particles[[j, min(j + 1, len(run) - 1)]].detach().cpu().double().numpy()
        times = run.times[[j, min(j + 1, len(run) - 1)]].tolist()
        jumps = self.jumps[name]
        if jumps is not None and len(run) > 1:  # these did not travel
            new = jumps[j + 1].cpu().numpy()
            some[1][new] = some[0][new]
        return (some[1] - some[0]) / ((times[1] - times[0]) or 1.0)

    def along(self, name: str, step: float) -> Float[np.ndarray, "N e"]:
        """Return the velocities as they are seen."""
        points = self.cloud(name, step)
        short = 1e-3 * float((self.high - self.low).max()) / self.fastest[name]
        moved = self.view.seen(points + short * self.velocities(name, step))
        return (moved - self.view.seen(points)) / short

    @cached_property
    def fastest(self) -> Mapping[str, float]:
        """The speed that 1 % of each run's particles exceed at the steps shown.

        Runs have time units of their own, so that their speeds are not compared.
        """
        found = {}
        for name in self.paths:
            some = self.steps[:: -(-len(self.steps) // TIMED)]
            speeds = [np.linalg.norm(self.velocities(name, step), axis=1) for step in some]
            finite = np.concatenate(speeds)
            finite = finite[np.isfinite(finite)]
            found[name] = (float(np.quantile(finite, 0.99)) if len(finite) else 0.0) or 1.0
        return found

    def moment(self, name: str, step: float) -> str:
        """Return `step 120 · t = 0.12`."""
        run = self.paths[name]
        at = round(float(self._at(name, step, run.steps.double())))
        # the time of the step that is written
        t = float(np.interp(at, run.steps.cpu().numpy(), run.times.cpu().numpy()))
        # three digits, and 1110 in the place of 1.11e+03
        return f"step {at} · t = {float(f'{t:.3g}'):g}"

    def remarks(self, name: str, step: float) -> str:
        """Say how a run ended early and how many particles are out of sight.

        The end is named from the last record on. A crowd's particles out of sight are named only
        where they exceed the shares trimmed on purpose.
        """
        run = self.paths[name]
        points = framing.measured(self._at(name, step, run.particles), self.view)
        outside = int((~inside(points, self.low, self.high)).sum())
        ended = run.status != "completed" and record_at(run, step) == len(run) - 1
        if crowded(run.particles.shape[1]):
            share = outside / len(points)
            return "\n".join(
                [run.status] * ended
                + [f"{100 * share:.2g} % outside"] * (share > 2 * framing.TRIM * len(self.low))
            )
        return "\n".join(
            [run.status] * ended + [f"{outside} of {len(points)} outside"] * bool(outside)
        )
