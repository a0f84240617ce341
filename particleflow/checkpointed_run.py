"""A run that is kept in a folder while it is made, and that goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

from particleflow import _checks
from particleflow.checkpoint import CheckpointError, Store
from particleflow.clouds import Cloud
from particleflow.disk_recording import Streamed
from particleflow.fit_statistics import Statistics
from particleflow.integrators import State
from particleflow.memo import cached_property
from particleflow.memories import (
    Remembered,
    Remembering,
    cloud_from,
    cloud_told,
    snapshot_told,
    under,
    within,
)
from particleflow.run_folder import Place
from particleflow.running import Run
from particleflow.saving import Wanted
from particleflow.stopping import undisturbed
from particleflow.trajectory import Trajectory
from particleflow.watch import Watch

Part = TypeVar("Part")

# What a part without a memory remembers.
NOTHING = Remembered({}, {})


class Moment(NamedTuple):
    """A run between two steps. It is noted after each step, and costs microseconds.

    Parts are copied by `still`. A stop may be a user's own: it tells what it remembers.
    """

    state: State
    watch: Watch
    recorder: Streamed
    wanted: Wanted
    statistics: Statistics
    stop: Remembered
    ended: tuple[str, str, str]
    seconds: float

    def told(self, *, compared: bool) -> Remembered:
        """All of it, by names that say whose it is.

        `compared`: the watch has looked at the next step and has found nothing. It will not ask for
        the state before this one again, which is left out.
        """
        parts = {
            "watch": self.watch.remembered(previous=not compared),
            "recorder": self.recorder.remembered(),
            "wanted": self.wanted.remembered(),
            "statistics": self.statistics.remembered(),
            "stop": self.stop,
        }
        tensors, moment = snapshot_told(self.state)
        tensors = dict(tensors)
        for name, part in parts.items():
            tensors |= under(name, part.tensors)
        facts = {
            **{name: part.facts for name, part in parts.items()},
            "state": moment,
            "ended": list(self.ended),
            "seconds": self.seconds,
            "summary": self.statistics.summary(),
            "devices": {k: str(v.device) for k, v in tensors.items() if v.device.type != "cpu"},
        }
        return Remembered(tensors, facts)


def still(part: Part) -> Part:
    """A copy of a part as it is now: parts replace what they hold, and never change it."""
    copy = object.__new__(type(part))
    vars(copy).update(vars(part))
    return copy


@dataclass(kw_only=True)
class KeptRun(Run):
    """A run whose records and states go to a folder.

    What is committed is the run between two steps: after a state was looked at, before the next
    one is made. A run that is stopped within a step goes on from before it. A state is committed
    once the next one is there: the watch has then compared its energy, and the state before it is
    needed no more.
    """

    place: Place
    recorder: Streamed
    wanted: Wanted
    _latest: Moment | None = None  # after the last state that was looked at
    _step: int | None = None  # that of the last commit
    _kept: Moment | None = None  # what was committed last
    _rows: int = 0  # the records up to there
    _at: float = 0.0  # when it was made
    _known: bool = False  # is the next state one that was looked at before?
    _went_on: dict[str, Any] | None = None
    _lost: CheckpointError | None = None
    _finished: Trajectory | None = None

    @classmethod
    def of(cls, run: Run, place: Place, first: Cloud | None) -> KeptRun:
        """The run in its folder, from its start or from where the folder stands.

        `first` is the target's cloud at the start.
        """
        earlier = run.recorder.earlier
        recorder = Streamed.of(run.recorder, run.start, place.store)
        given = {name.name: getattr(run, name.name) for name in fields(Run)}
        kept = cls(**{**given, "recorder": recorder}, place=place)
        if place.goes_on:
            run.watch.recall(run.start, first, within("watch", place.tensors), place.facts["watch"])
            kept.recall()
        elif earlier is not None:
            recorder.take_over(earlier)
        return kept

    @property
    def store(self) -> Store:
        return self.place.store

    @cached_property
    def _remembering(self) -> Remembering | None:
        """The rule that ends the run, if it remembers something."""
        return self.stop if isinstance(self.stop, Remembering) else None

    def recall(self) -> None:
        """Go on from the last commit in the folder; the watch knows what it has seen already."""
        facts, tensors = self.place.facts, self.place.tensors
        self.statistics.recall({}, facts["statistics"])
        self.recorder.recall(within("recorder", tensors), facts["recorder"])
        self.wanted.recall({}, facts["wanted"])
        if self._remembering is not None:
            self._remembering.recall(within("stop", tensors), facts["stop"])
        self.seconds, self._known = facts["seconds"], True
        self.status, self.message, self.why = facts["ended"]
        last = self.place.last
        self._step, self._rows = last.step, last.records
        told = {"folder": str(self.store.folder), "step": last.step}
        over = facts["ending"] is not None
        self._went_on = told | {"over": over, "notes": self.place.notes()}
        if over:
            self._finished = Trajectory.load(self.store.folder)

    def go(self) -> None:
        if self._finished is None:
            self._at = time.monotonic()
            super().go()

    def _take(self, state: State) -> None:
        if self._known:
            self.state, self._known = state, False
            self._latest = self._kept = self._moment(state)
            self.recorder.look()
            return
        if self._latest is not None and self._due(self._latest.state):
            with undisturbed():
                self._commit_latest(compared=not self.watch.message)
                self._at = time.monotonic()
        super()._take(state)
        self.seconds = time.perf_counter() - self._began
        if self._step is not None and not self.recorder.waits:
            self._latest = self._moment(state)
            return
        with undisturbed():  # an interrupt must not part the records from the state
            self.recorder.send()
            self._latest = self._moment(state)
            if self._step is None:  # a folder that cannot be written to is refused before a step
                self._commit_latest()
                self._at = time.monotonic()
                self.store.flush()

    def _moment(self, state: State) -> Moment:
        """What the parts of the run remember after they have looked at a state."""
        rule = self._remembering
        return Moment(
            state,
            still(self.watch),
            still(self.recorder),
            still(self.wanted),
            still(self.statistics),
            NOTHING if rule is None else Remembered(*rule.remembered()),
            (self.status, self.message, self.why),
            self.seconds,
        )

    def stopped(self, error: BaseException) -> None:
        if self.moved and self._latest is not None:
            self.state = self._latest.state
        if self.moved and isinstance(error, CheckpointError):
            self._lose(error)
        else:
            super().stopped(error)

    def trajectory(self) -> Trajectory:
        """The records so far, with the status of the run; the folder is given back."""
        if self._finished is not None:
            path = replace(self._finished, recipe=self.recipe)
        else:
            self._settled(self._commit_latest)
            self._come_home()
            path = super().trajectory()
            if self.status not in ("interrupted", "failed"):
                ending = {"status": path.status, "message": path.message, "report": path.report}
                self._settled(lambda: self._commit_latest(ending))
                if self._lost is not None:
                    path = replace(path, status=self.status, message=self.message)
        with suppress(CheckpointError):  # what failed is told by the status
            self.store.close()
        if path.recipe is not None and path.recipe.begins != int(path.steps[0]):
            path = replace(path, recipe=None)  # the records of an earlier run come first
        if self._went_on is None:
            return path
        return replace(path, report={**path.report, "resumed": self._went_on})

    def _come_home(self) -> None:
        """Bring the end of the run to the CPU, where its records are."""
        assert self.state is not None
        if self.state.x.points.device.type == "cpu":
            return
        on_cpu = lambda memory: {name: tensor.cpu() for name, tensor in memory.items()}
        y = self.state.target
        self.state = replace(
            self.state,
            x=_cpu(self.state.x),
            target=None if y is None else _cpu(y),
            memory=on_cpu(self.state.memory),
            stepper=on_cpu(self.state.stepper),
        )
        self.start = replace(self.start, x=_cpu(self.start.x))
        self.fixed = None if self.fixed is None else _cpu(self.fixed)

    def _due(self, state: State) -> bool:
        """Is a commit due at a state?"""
        if self._step is None:
            return False
        settings = self.place.settings
        far = state.clock.step - self._step >= settings.every
        return far and time.monotonic() - self._at >= settings.seconds

    def _commit_latest(
        self, ending: dict[str, Any] | None = None, *, compared: bool = False
    ) -> None:
        """Commit the last state, unless that was done; `ending` is how the run has ended."""
        if self._latest is None or (self._latest is self._kept and ending is None):
            return
        rows, step = self.recorder.scalars(self._rows), self._latest.state.clock.step
        tensors, facts = self._latest.told(compared=compared)
        self.store.commit(step, tensors, {**facts, "ending": ending}, rows)
        self._step, self._rows, self._kept = step, self._rows + len(rows), self._latest

    def _settled(self, work: Callable[[], None]) -> None:
        """Do the last work on the folder and wait for it; the run failed where that fails."""
        if self._lost is not None:
            return
        try:
            work()
            self.store.flush()
        except CheckpointError as error:
            self._lose(error)

    def _lose(self, error: CheckpointError) -> None:
        assert self.state is not None
        self._lost, self.status = error, "failed"
        self.message = f"after step {self.state.clock.step}: {error}"
        with suppress(RuntimeWarning):  # warnings may be errors; the trajectory says the same
            _checks.warn(f"the run failed {self.message}; the trajectory up to there is kept")


def _cpu(x: Cloud) -> Cloud:
    """The cloud on the CPU."""
    return cloud_from({name: tensor.cpu() for name, tensor in cloud_told(x).items()})
