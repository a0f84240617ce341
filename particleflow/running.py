"""A run in progress: it takes the steps, and can give a trajectory at any time."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from particleflow import _checks
from particleflow._supplied import in_short
from particleflow.advice import Advice
from particleflow.clouds import Cloud, extent
from particleflow.flows import Flow
from particleflow.integrators import Snapshot, State
from particleflow.pairwise.base import Promise
from particleflow.recording import Recorder
from particleflow.trajectory import Trajectory
from particleflow.verdicts import judged, traits
from particleflow.watch import Watch, narrow, noted


class Statistics:
    """Sums and largest values over the fits of a run."""

    def __init__(self) -> None:
        self.fits = self.iterations = 0
        self.gap: float | None = None
        self.backends: dict[str, str] = {}
        self.promise = Promise(0.0, 0.0)
        self.renewals: dict[str, dict[str, int]] = {}
        self.stragglers: dict[str, int] = {}

    def add(self, state: State) -> None:
        self.fits += 1
        for name, rows in state.renewed.items():
            count = self.renewals.setdefault(name, {"times": 0, "particles": 0})
            count["times"] += 1
            count["particles"] += int(rows.sum())
        far = state.fit.reported("stragglers")
        if far is not None:
            self.stragglers.setdefault("first", int(far))
            self.stragglers["last"] = int(far)
            self.stragglers["most"] = max(int(far), self.stragglers.get("most", 0))
        self.iterations += int(state.fit.reported("iterations") or 0)
        gap = state.fit.reported("gap")
        if gap is not None:
            self.gap = max(self.gap or 0.0, gap)
        if "backend" in state.fit.report:
            self.backends.setdefault(
                str(state.fit.report["backend"]), str(state.fit.report.get("why", ""))
            )

    def promised(self, state: State, *, ended: bool) -> None:
        """Keep the largest error bound of the first and last states and of steps 1, 16, 256 ...

        Each bound costs about as much as a step.
        """
        step = state.clock.step
        if step and not ended and 16 ** round(math.log(step, 16)) != step:
            return
        made = state.fit.promise
        if made is not None:
            self.promise = Promise(
                max(self.promise.value, made.value), max(self.promise.grad, made.grad)
            )

    def summary(self) -> dict[str, Any]:
        solver = {} if self.gap is None else {"iterations": self.iterations, "worst_gap": self.gap}
        sums = (
            {
                "backends": self.backends,
                "promise": {"value": self.promise.value, "grad": self.promise.grad},
            }
            if self.backends
            else {}
        )
        renewals = {"renewals": self.renewals} if self.renewals else {}
        stragglers = {"stragglers": self.stragglers} if self.stragglers else {}
        return {"fits": self.fits} | solver | sums | renewals | stragglers


@dataclass
class Run:
    """A run in progress; what it has recorded makes a trajectory, however its steps ended."""

    flow: Flow
    start: Snapshot
    fixed: Cloud | None
    states: Iterator[State]
    watch: Watch
    recorder: Recorder
    wanted: Callable[[int], bool]
    is_last: Callable[[State], bool]
    facts: Mapping[str, Any]
    state: State | None = None
    status: str = ""
    message: str = ""
    traceback: str = ""
    seconds: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def moved(self) -> bool:
        """Has a step been taken?"""
        return self.state is not None and self.state.clock.step != self.start.clock.step

    def go(self) -> None:
        """Take the steps. After the first one nothing raises: the records stay."""
        began = time.perf_counter()
        try:
            for state in self.states:
                self.state = state
                self._take(state)
                if self.status:
                    break
        except (Exception, KeyboardInterrupt) as error:
            self.stopped(error)
        self.seconds = time.perf_counter() - began

    def _take(self, state: State) -> None:
        self.statistics.add(state)
        self.recorder.follow(state)
        ended = state.ended or self.is_last(state)
        if ended or self.wanted(state.clock.step) or not self.moved:
            self.recorder.add(state, state.target)
            self.statistics.promised(state, ended=ended)
        if state.ended:
            self.status, self.message = state.status, state.message
        elif ended:
            self.watch.compare(state)
            self.status, self.message = (
                ("unstable" if self.watch.message else "completed"),
                self.watch.message,
            )

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
        unstable = {"unstable_from": self.watch.step} if self.watch.message else {}
        raised = {"traceback": self.traceback} if self.traceback else {}
        report = {
            **self.facts,
            "seconds": self.seconds,
            "traits": asdict(traits(self.flow, state, fixed=self.fixed is not None)),
            **unstable,
            **raised,
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
        if self.status != "completed":
            return path
        note = _note(path, state, self.start, self.fixed)
        if note is not None:
            report = {**path.report, "advice": [note.kept()]}
            path = replace(path, message=noted(note), report=report)
        return judged(path, self.flow, state.target, fixed=self.fixed is not None)


def _note(path: Trajectory, end: State, start: Snapshot, y: Cloud | None) -> Advice | None:
    """A remark on a completed run on a fixed target.

    It says that the bandwidth is too small, that no particle has moved, or the last fit's remark.
    """
    if y is None:
        return None
    x = start.x
    lost = narrow(end.fit, y)
    if lost is not None:
        return lost
    if float((path.state.x.points - x.points).abs().max()) <= 1e-9 * extent(x.points, y.points):
        return Advice(
            "no particle has moved: the clouds are equal already, or too far apart for the kernel"
            " (raise the bandwidth, or inject noise)"
        )
    remark = end.fit.remark
    return Advice(f"{remark}, or lower dt = {path.report['dt']:g}") if remark else None
