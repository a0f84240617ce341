"""A run in progress: it takes the steps, and can give a trajectory at any time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedTypeError
from particleflow._supplied import Supplied, in_short
from particleflow.advice import Advice
from particleflow.clouds import Cloud, extent
from particleflow.fit_statistics import Statistics
from particleflow.flows import Flow
from particleflow.integrators import Snapshot, State
from particleflow.integrators.base import controller_of
from particleflow.memories import Remembering
from particleflow.recipe import Recipe
from particleflow.recording import Recorder
from particleflow.remedies import AUTO
from particleflow.spaces import Space
from particleflow.stops import Beginning
from particleflow.trajectory import Trajectory
from particleflow.verdicts import judged, traits
from particleflow.watch import Watch, narrow, noted

# The types of one truth value in an array.
BOOLS = (np.dtype(bool), torch.bool)

Stop: TypeAlias = Callable[[State], bool | str | None]
"""Asked after each step; a run ends where it returns True, or the reason in words."""


@runtime_checkable
class StopRule(Protocol):
    """Makes the `Stop` of each run, which may remember the run's earlier states.

    `begin()` is called once for each run, and gives a callable (State) -> bool, str or None: the
    run ends where it returns True, or the reason in words. In a run with a checkpoint this callable
    must be `Remembering` too, which a function is not: its methods `remembered() -> (tensors,
    facts)` and `recall(tensors, facts)` save and restore what it remembers, as tensors by name and
    as what JSON holds. `AtRest`, `EnergyBelow`, `NoProgress` and `Arrived` are such rules.
    """

    def begin(self) -> Stop: ...


def stopping(stop: Any, *, kept: bool = False) -> Stop:
    """The `Stop` of one run, from a rule or a callable; `kept`: the run has a checkpoint."""
    if isinstance(stop, StopRule) and not isinstance(stop, type):
        made = stop.begin()
        if kept and not isinstance(made, Remembering):
            raise RefusedTypeError(
                "stop",
                "must have remembered() and recall(tensors, facts) in a run with a checkpoint",
                f"{type(made).__name__} from {type(stop).__name__}.begin",
                "add them, or pass a function of the state alone",
            )
        return made
    remedy = (
        f"add the parentheses, {stop.__name__}()"
        if isinstance(stop, type) and hasattr(stop, "begin")
        else "pass pf.Arrived(), or a function of the state, e.g. lambda state: state.clock.t > 2"
    )
    found: Stop = _checks.function(stop, "stop", remedy=remedy)
    return found


@dataclass
class Run:
    """A run in progress; what it has recorded makes a trajectory, however its steps ended."""

    flow: Flow
    start: Snapshot
    fixed: Cloud | None
    states: Iterator[State]
    watch: Watch
    recorder: Recorder
    wanted: Callable[[State], bool]
    is_last: Callable[[State], bool]
    facts: Mapping[str, Any]
    stop: Stop | None = None
    recipe: Recipe | None = None
    state: State | None = None
    status: str = ""
    message: str = ""
    why: str = ""
    traceback: str = ""
    seconds: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)
    _began: float = 0.0

    @property
    def moved(self) -> bool:
        """Has a step been taken?"""
        return self.state is not None and self.state.clock.step != self.start.clock.step

    def go(self) -> None:
        """Take the steps. After the first one nothing raises: the records stay."""
        self._began = time.perf_counter() - self.seconds
        if isinstance(self.stop, Beginning):
            self.stop.space = self._space
        try:
            for state in self.states:
                self._take(state)
                if self.status:
                    break
            else:
                self._end()
        except (Exception, KeyboardInterrupt) as error:
            self.stopped(error)
        self.seconds = time.perf_counter() - self._began

    def _take(self, state: State) -> None:
        self.state = state
        if not self.moved and isinstance(self.stop, Beginning):
            self.stop.begin_at(state)
        self.statistics.add(state)
        self.recorder.follow(state)
        ended = state.ended or self.is_last(state)
        if self.moved and not ended and self.stop is not None:
            self.why = _reason(self.stop, state)
            ended = bool(self.why)
        if self.wanted(state) or ended or not self.moved:
            self.recorder.add(state, state.target)
            self.statistics.promised(state, ended=ended)
        if state.ended:
            self.status, self.message = state.status, state.message
        elif ended:
            self._judge(state)

    def _end(self) -> None:
        """Record the last state of states that are over by themselves."""
        state = self.state
        assert state is not None
        self.recorder.add(state, state.target)
        self.statistics.promised(state, ended=True)
        self._judge(state)

    def _judge(self, state: State) -> None:
        """Set the status of a run that ends well at `state`."""
        self.watch.compare(state)
        self.status, self.message = (
            ("unstable", self.watch.message) if self._unstable else ("completed", "")
        )

    @property
    def _unstable(self) -> bool:
        """Was a step unstable? The watch may have seen states beyond the last one taken."""
        assert self.state is not None
        return bool(self.watch.message) and self.watch.step <= self.state.clock.step

    def stopped(self, error: BaseException) -> None:
        """End the run because of `error`, or raise it if no step has been taken.

        A run that has ended stays as it is.
        """
        if not self.moved:
            raise error
        if self.status:
            return
        assert self.state is not None
        step = self.state.clock.step
        interrupted = isinstance(error, KeyboardInterrupt)
        self.recorder.add(self.state, None, bare=True)
        self.message = (
            f"stopped by {error if error.args else 'Ctrl-C'} after step {step}"
            if interrupted
            else f"after step {step}: {in_short(error)}"
        )
        self.status = "interrupted" if interrupted else "failed"
        if not interrupted:
            self.traceback = "".join(traceback.format_exception(error))
            with suppress(RuntimeWarning):  # warnings may be errors; the trajectory says the same
                _checks.warn(
                    f"the run {self.status} {self.message}; the trajectory up to there is kept"
                )

    def trajectory(self) -> Trajectory:
        """The records so far, with the status of the run."""
        assert self.state is not None
        state = self.state
        unstable = {"unstable_from": self.watch.step} if self._unstable else {}
        raised = {"traceback": self.traceback} if self.traceback else {}
        stopped = {"stopped": self.why} if self.why else {}
        controller = controller_of(self.watch.integrator)
        told = {} if controller is None else {"controller": dict(controller.told(state.stepper))}
        report = {
            **self.facts,
            "seconds": self.seconds,
            "traits": asdict(traits(self.flow, state, fixed=self.fixed is not None)),
            **unstable,
            **raised,
            **stopped,
            **told,
            **self.statistics.summary(),
        }
        if self.status in ("unstable", "diverged") and self.watch.advice is not None:
            report["advice"] = [self.watch.advice.kept()]
        snapshot = Snapshot(
            clock=state.clock, x=state.x, memory=state.memory, stepper=state.stepper
        )
        path = self.recorder.trajectory(
            snapshot, status=self.status, message=self.message, report=report, target=self.fixed
        )
        path = replace(path, recipe=self.recipe)
        if self.status != "completed":
            return path
        note = _note(path, self.flow, state, self.start, self.fixed)
        if note is not None:
            report = {**path.report, "advice": [note.kept()]}
            path = replace(path, message=noted(note), report=report)
        return judged(
            path, self.flow, state.target, fixed=self.fixed is not None, space=self._space
        )

    @cached_property
    def _space(self) -> Space:
        """The space in which the particles are compared with the target."""
        return Space.of(self.flow, self.watch.integrator, self.start.x.dim)


def _reason(stop: Stop, state: State) -> str:
    """Why a run ends at a state, in the words of its rule; empty where it goes on."""
    with Supplied("stop", stop):
        found: Any = stop(state)
        if isinstance(found, np.bool_ | Tensor) and found.shape == () and found.dtype in BOOLS:
            found = bool(found)
        if found is None or found is False or (isinstance(found, str) and not found):
            return ""
        if found is True:
            return "`stop` was True"
        if not isinstance(found, str):
            raise TypeError(
                f"`stop` must return True, False, a sentence or None, got {_checks.said(found)}:"
                " return the reason as words"
            )
        return found


def _note(
    path: Trajectory, flow: Flow, end: State, start: Snapshot, y: Cloud | None
) -> Advice | None:
    """A remark on a completed run on a fixed target.

    It says that the bandwidth is too small or has not come down to its end, that no particle has
    moved, or the last fit's remark.
    """
    if y is None:
        return None
    x = start.x
    lost = narrow(end.fit, y)
    if lost is not None:
        return lost
    if float((path.state.x.points - x.points).abs().max()) <= 1e-9 * extent(x.points, y.points):
        return Advice(
            "no particle has moved: the clouds are equal already, or too far apart for the kernel",
            () if flow.annealed else (AUTO,),
        )
    left = flow.unfinished(end.clock, end.fit.memory)
    if left:
        return Advice(left)
    remark = end.fit.remark
    return Advice(f"{remark}, or lower dt = {path.report['dt']:g}") if remark else None
