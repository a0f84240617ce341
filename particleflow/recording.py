"""The records of a run: clouds, energies and metrics, one row per recorded state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow._supplied import Supplied
from particleflow.clouds import Cloud
from particleflow.estimators.base import ByRow
from particleflow.flows import Flow
from particleflow.integrators import Snapshot, State
from particleflow.metrics.base import value_between
from particleflow.saving import Grid
from particleflow.trajectory import Trajectory


def value_of(metric: Callable[[Cloud, Cloud], Any], name: str, x: Cloud, y: Cloud) -> float:
    """A metric's value between two clouds; refused if it is not one number."""
    with Supplied("metrics", name):
        value = value_between(metric, x, y)
    try:
        return float(value)
    except (TypeError, ValueError):
        what = (
            f"{type(value).__name__} of shape {tuple(value.shape)}"
            if isinstance(value, (np.ndarray, Tensor))
            else type(value).__name__
        )
        raise TypeError(
            f"`metrics` '{name}' must return one number, got {what}: pass e.g. lambda x, y:"
            " float(values(x, y).mean())"
        ) from None


@dataclass
class Recorder:
    """Collects about `expected` records of a run.

    The records of an earlier trajectory come first, if there is one.
    """

    flow: Flow
    metrics: Mapping[str, Callable[[Cloud, Cloud], float]]
    velocity: bool
    expected: int
    grid: Grid | None = None
    earlier: Trajectory | None = None
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _particles: Tensor | None = None
    _anew: Tensor | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and isinstance(self.flow.estimator, ByRow):
            raise ValueError(
                "`save` cannot record the witness of particles with classes, got witness=True: each"
                " class has a witness of its own; leave it out"
            )

    @property
    def _last(self) -> int | None:
        if self._rows:
            return int(self._rows[-1]["step"])
        return None if self.earlier is None else int(self.earlier.steps[-1])

    def follow(self, state: State) -> None:
        """Note the rows that were placed anew since the last record; called at every state."""
        for rows in state.renewed.values():
            self._anew = rows if self._anew is None else self._anew | rows

    def add(self, state: State, target: Cloud | None, *, bare: bool = False) -> None:
        """Record a state, at most once per step; its metrics only where there is a target.

        With `bare`, for a run that failed, nothing is evaluated.
        """
        if state.clock.step == self._last:
            return
        row: dict[str, Any] = {
            "t": state.clock.t,
            "step": state.clock.step,
            "energy": float("nan"),
            "log_mass": state.x.log_mass,
            "metrics": {},
        }
        if self._anew is not None:
            row["anew"], self._anew = self._anew, None
        self._hold(row, state.x.points)
        if self.velocity:
            row["velocity"] = torch.full_like(state.x.points, float("nan"))
        if self.grid is not None:
            row["witness"] = state.x.points.new_full(self.grid.shape, float("nan"))
        # the row counts from here on: an exception below keeps what is computed before it
        self._rows.append(row)
        if bare:
            return
        row["energy"] = float("nan") if state.fit.value is None else float(state.fit.value)
        if self.velocity:
            row["velocity"] = self.flow.velocity(state.x, state.fit, state.clock)[0]
        if self.grid is not None:
            row["witness"] = self.flow.witness(state.fit, self.grid.points).view(self.grid.shape)
        if target is not None:
            for name, metric in self.metrics.items():
                row["metrics"][name] = value_of(metric, name, state.x, target)

    def _hold(self, row: dict[str, Any], points: Tensor) -> None:
        """Keep the particles of the next row."""
        if self._particles is None:
            self._particles = self._room(points)
        elif len(self._rows) == len(self._particles):
            # the integrator took more steps than expected: twice the room copies seldom
            self.expected = len(self._particles)
            self._particles = torch.cat([self._particles, self._room(points)])
        self._particles[len(self._rows)] = points

    def _room(self, points: Tensor) -> Tensor:
        """Memory for all records, made before the first step.

        A run that lacks the memory must fail now, not at its end.
        """
        shape = (self.expected, *points.shape)
        try:
            return points.new_empty(shape)
        except RuntimeError as error:
            size = math.prod(shape) * points.element_size() / 1e9
            told = (
                f"`save` asks for {self.expected} records of {len(points)} particles, {size:.3g}"
                " GB, more than there is"
            )
            raise MemoryError(f"{told}: record fewer, as with save=SaveAt(every=...)") from error

    def trajectory(
        self,
        state: Snapshot,
        *,
        status: str,
        message: str,
        report: Mapping[str, Any],
        target: Cloud | None,
    ) -> Trajectory:
        """All records, the earlier ones first."""
        rows, old = self._rows, self.earlier
        nothing = float("nan")

        def column(past: Tensor | None, values: Iterable[float]) -> Tensor:
            now = torch.tensor(list(values), dtype=torch.float64, device="cpu")
            return (
                now
                if old is None
                else torch.cat([now.new_full((len(old),), nothing) if past is None else past, now])
            )

        steps = torch.tensor([row["step"] for row in rows], dtype=torch.int64, device="cpu")
        return Trajectory(
            times=column(old.times if old else None, (row["t"] for row in rows)),
            steps=steps if old is None else torch.cat([old.steps, steps]),
            energy=column(old.energy if old else None, (row["energy"] for row in rows)),
            metrics={
                name: column(
                    old.metrics.get(name) if old else None,
                    (row["metrics"].get(name, nothing) for row in rows),
                )
                for name in self.names
            },
            status=status,
            message=message,
            report=report,
            state=state,
            target=None if target is None else target.points,
            target_log_mass=None if target is None else target.log_mass,
            witness_axes=self.axes,
            **self._tensors(state),
        )

    @property
    def names(self) -> list[str]:
        """The metrics of all records."""
        return list(dict.fromkeys([*(self.earlier.metrics if self.earlier else ()), *self.metrics]))

    @property
    def axes(self) -> Tensor | None:
        """The coordinates of the grid of the witness; None where it is not recorded."""
        if self.grid is not None:
            return self.grid.axes
        return None if self.earlier is None else self.earlier.witness_axes

    def _tensors(self, state: Snapshot) -> dict[str, Any]:
        """What has an entry for each particle or grid point, of all records."""
        rows, old = self._rows, self.earlier
        nothing = float("nan")

        def stack(past: Tensor | None, tensors: list[Tensor]) -> Tensor:
            parts = [
                *([] if past is None else [past]),
                *([torch.stack(tensors)] if tensors else []),
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        masses: Tensor | None = None
        if state.x.log_mass is not None:
            past = None if old is None else old.log_mass
            if old is not None and past is None:
                past = old.particles.new_full(
                    old.particles.shape[:2], -math.log(old.particles.shape[1])
                )
            equal = state.x.points.new_full((len(state.x),), -math.log(len(state.x)))
            masses = stack(
                past, [equal if row["log_mass"] is None else row["log_mass"] for row in rows]
            )

        def optional(name: str, past: Tensor | None, unknown: Tensor) -> Tensor:
            """Records that not every part of the run has; NaN where there is none."""
            missing = unknown.fill_(nothing)
            before = (
                None
                if old is None
                else (missing.expand(len(old), *missing.shape) if past is None else past)
            )
            return stack(before, [row.get(name, missing) for row in rows])

        velocities: Tensor | None = None
        past = None if old is None else old.velocity
        if self.velocity or past is not None:
            velocities = optional("velocity", past, torch.empty_like(state.x.points))
        witness = None if old is None else old.witness
        if self.axes is not None:
            shape = Grid(self.axes).shape
            witness = optional("witness", witness, state.x.points.new_empty(shape))
        return {
            "particles": self._recorded(),
            "velocity": velocities,
            "log_mass": masses,
            "anew": self._placed_anew(state.x.points),
            "witness": witness,
        }

    def _placed_anew(self, x: Tensor) -> Tensor | None:
        """The rows placed anew before each record, (T, N); None where that never happened."""
        old = self.earlier
        before = None if old is None else old.anew
        if before is None and not any("anew" in row for row in self._rows):
            return None
        n = len(x)
        none = torch.zeros(n, dtype=torch.bool, device=x.device)
        parts = [] if old is None else list(none.expand(len(old), n) if before is None else before)
        return torch.stack([*parts, *(row.get("anew", none) for row in self._rows)])

    def _recorded(self) -> Tensor:
        """The particles of all records, (T, N, d)."""
        parts = [] if self.earlier is None else [self.earlier.particles]
        if self._particles is not None:
            parts.append(self._particles[: len(self._rows)])
        # torch.cat copies: memory that was not needed is given back
        whole = self._particles is None or len(self._rows) == len(self._particles)
        return parts[0] if len(parts) == 1 and whole else torch.cat(parts)
