"""Records that go to a folder as they are made: a run then needs memory for a few states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.checkpoint import CheckpointError, Store
from particleflow.clouds import Cloud
from particleflow.integrators import Snapshot, State
from particleflow.memories import Remembered
from particleflow.recording import Recorder
from particleflow.trajectory import Trajectory

# What a record may have for each particle or grid point, besides the particles.
BESIDE = ("velocity", "log_mass", "witness", "anew")


@dataclass
class Streamed(Recorder):
    """A recorder that hands each row to a `Store`, where it is a row of one file a column.

    A row is kept here until `send` is called. `beside` are the columns besides the particles, which
    all rows have: a file has no gaps. The records of an earlier trajectory are the first rows.
    """

    store: Store = field(kw_only=True)
    beside: tuple[str, ...] = field(kw_only=True)
    known: tuple[str, ...] = ()  # the metrics of an earlier trajectory
    _sent: int = 0
    _maps: Mapping[str, Tensor] = field(default_factory=dict)
    _placed: bool = False  # was any particle placed anew?

    @classmethod
    def of(cls, plain: Recorder, start: Snapshot, store: Store) -> Streamed:
        """A recorder that does in the folder what `plain` would do in memory."""
        old, flow = plain.earlier, plain.flow
        has = {
            "velocity": plain.velocity or (old is not None and old.velocity is not None),
            "witness": plain.axes is not None,
            "log_mass": start.x.log_mass is not None
            or flow.reaction is not None
            or bool(flow.renewals)
            or (old is not None and old.log_mass is not None),
            "anew": bool(flow.renewals) or (old is not None and old.anew is not None),
        }
        beside = tuple(name for name in BESIDE if has[name])
        return cls(flow, plain.metrics, plain.velocity, 0, plain.grid, store=store, beside=beside)

    def take_over(self, earlier: Trajectory) -> None:
        """Send the records of an earlier trajectory."""
        self.known = tuple(earlier.metrics)
        self._placed = earlier.anew is not None
        for k in range(len(earlier)):
            row = {
                "t": float(earlier.times[k]),
                "step": int(earlier.steps[k]),
                "energy": float(earlier.energy[k]),
                "metrics": {name: float(v[k]) for name, v in earlier.metrics.items()},
                "particles": earlier.particles[k],
            }
            for name in self.beside:
                column = getattr(earlier, name)
                row[name] = None if column is None else column[k]
            self._rows.append(row)
            self.send()

    def add(self, state: State, target: Cloud | None, *, bare: bool = False) -> None:
        """Record a state; nothing where a run failed, which goes on from its last checkpoint."""
        if not bare:
            super().add(state, target)

    @property
    def waits(self) -> bool:
        """Is there a row that was not sent?"""
        return self._sent < len(self._rows)

    def send(self) -> None:
        """Hand the new rows over; what stays of them are numbers."""
        for row in self._rows[self._sent :]:
            points = row["particles"]
            found = {name: row.pop(name, None) for name in ("particles", *BESIDE)}
            more = [name for name, value in found.items() if value is not None]
            if not {*more} <= {"particles", *self.beside}:
                raise ValueError(
                    f"`checkpoint` needs records alike, got {sorted(more)} after records of"
                    f" particles, {', '.join(self.beside) or 'no more'}: give the start what later"
                    " states have, e.g. masses"
                )
            self._placed |= found["anew"] is not None
            filled = {
                name: self._unknown(name, points) if found[name] is None else found[name]
                for name in self.beside
            }
            self.store.append({"particles": points, **filled})
            self._sent += 1

    def _unknown(self, name: str, points: Tensor) -> Tensor:
        """The entry of a row in a column that this row does not have."""
        if name == "log_mass":
            return points.new_full(points.shape[:1], -math.log(len(points)))
        if name == "anew":
            return torch.zeros(len(points), dtype=torch.bool)
        shape = points.shape
        if name == "witness":
            assert self.axes is not None
            shape = torch.Size([len(self.axes)] * self.axes.shape[1])
        return points.new_full(shape, float("nan"))

    def scalars(self, since: int) -> list[dict[str, Any]]:
        """The numbers of the rows from `since` on that were sent."""
        names = ("t", "step", "energy", "metrics")
        return [{name: row[name] for name in names} for row in self._rows[since : self._sent]]

    def remembered(self) -> Remembered:
        tensors = {} if self._anew is None else {"anew": self._anew}
        facts = {"known": list(self.known), "beside": list(self.beside), "placed": self._placed}
        return Remembered(tensors, facts)

    def recall(self, tensors: Memory, facts: Mapping[str, Any]) -> None:
        self.known, self.beside = tuple(facts["known"]), tuple(facts["beside"])
        self._placed, self._anew = facts["placed"], tensors.get("anew")
        self._rows = self.store.scalars()
        self._sent = len(self._rows)

    @property
    def axes(self) -> Tensor | None:
        return self.store.tensors.get("axes")

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.known, *self.metrics]))

    def look(self) -> None:
        """Map the records that are committed by now; they stay, whatever becomes of the folder."""
        with suppress(CheckpointError):
            self._maps = self.store.columns()

    def trajectory(self, state: Snapshot, **ending: Any) -> Trajectory:
        """All records in the folder, as memory maps."""
        self.look()
        del self._rows[len(self._maps["particles"]) :]
        return super().trajectory(state, **ending)

    def _hold(self, row: dict[str, Any], points: Tensor) -> None:
        row["particles"] = points

    def _tensors(self, state: Snapshot) -> dict[str, Any]:
        maps = {name: self._maps.get(name) for name in ("particles", *BESIDE)}
        unused = {"log_mass": state.x.log_mass is None, "anew": not self._placed}
        return {name: None if unused.get(name) else column for name, column in maps.items()}
