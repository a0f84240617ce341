"""record() folds the states of a loop of one's own into a trajectory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from particleflow import _checks
from particleflow._inputs import (
    Metrics,
    checked_metrics,
    comparable,
    parts_told,
    target_named,
)
from particleflow._supplied import in_short
from particleflow.clouds import Draws, FixedTarget, Replay
from particleflow.integrators import State
from particleflow.metrics import label_of
from particleflow.recording import Recorder
from particleflow.running import Run, Stop, StopRule, stopping
from particleflow.saving import SaveAt
from particleflow.trajectory import Trajectory
from particleflow.watch import Watch

# Records for which there is room at first: their number is not known, and the room doubles.
EXPECTED = 16
# The number of steps for which every step is recorded where `save` names none.
EVERY_STEP = 1


def record(
    states: Iterable[State],
    *,
    save: SaveAt | None = None,
    metrics: Metrics | None = None,
    stop: StopRule | Stop | None = None,
) -> Trajectory:
    """Fold the states of `iterate` into a Trajectory, as `simulate` does.

    The states may have gone through a loop of your own, which looks at them, leaves some out, or
    ends early. `record(iterate(flow, x0, y, dt=dt), stop=stop)` has the records, the status and the
    message of `simulate(flow, x0, y, dt=dt, steps=..., stop=stop)`, bit for bit. What the loop
    raises before its second state passes through. After it nothing raises: the records stay, and
    `status` is "failed", or "interrupted" after Ctrl-C.

    Parameters
    ----------
    states : iterable of State
        In the order of their steps. `iterate` has no end of its own: end the states, or pass
        `stop`. Where states of another run follow, with as many particles, the run goes on as one
        of `simulate` does that is given a Trajectory.
    save : SaveAt
        Which states to record. Left out, every state that comes. The first and the last always are.
    metrics : mapping of name to metric
        Each is called with (particles, target) clouds at each record.
    stop : callable (State) -> bool or str, or a rule such as Arrived
        Asked after each state but the first; ends the run.

    Returns
    -------
    Trajectory
        "completed" where the states are over or `stop` ends them, "diverged" or "not converged"
        where the run could not go on. The report's counts of fits and iterations are those of the
        states that came.

    Raises
    ------
    ValueError
        No state came; a state was made by no run; or `metrics` compare with a target that is None.
    TypeError
        An argument has a wrong type; a member of `states` is no State.

    Cost: a copy of the particles and each metric for each record; the states cost what `iterate`
    says.

    >>> import itertools
    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> states = pf.iterate(drift, [[8.0]], dt=0.5)
    >>> path = pf.record(itertools.islice(states, 0, 5, 2))  # every second state
    >>> path.steps.tolist(), path.particles.flatten().tolist()
    ([0, 2, 4], [8.0, 2.0, 0.5])
    """
    if isinstance(states, Trajectory | State) or not isinstance(states, Iterable):
        raise TypeError(
            f"`states` must be an iterable of states, got {_checks.said(states)}: pass"
            " pf.iterate(flow, x0, target, dt=...), or a generator of its states"
        )
    if save is not None and not isinstance(save, SaveAt):
        raise TypeError(f"`save` must be a SaveAt, got {save!r}: e.g. pf.SaveAt(every=10)")
    metrics = checked_metrics(metrics)
    if stop is not None:
        stopping(stop)
    coming = iter(states)
    state = next(coming, None)
    if state is None:
        raise ValueError("`states` must hold one state at least, got none: begin with the start")
    part = _Part(state, coming)
    path = _taken(_run(part, save or SaveAt(), metrics, stop, None))
    while part.following is not None:
        part = _Part(part.following, coming)
        try:
            path = _taken(_run(part, save or SaveAt(), metrics, stop, path))
        except (Exception, KeyboardInterrupt) as error:  # before the first step of this part
            told = f"after step {part.first.clock.step}: {in_short(error)}"
            return replace(path, status="failed", message=told)
    return path


def _taken(run: Run) -> Trajectory:
    """The trajectory of a run whose states are taken now."""
    run.go()
    try:
        return run.trajectory()
    except KeyboardInterrupt:  # all states were taken: the rest is short
        return run.trajectory()


class _Part:
    """The states of one run, from `first` on; `following` is the first state of another one."""

    def __init__(self, first: State, coming: Iterator[State]) -> None:
        self.first, self.coming = first, coming
        self.watch = _watch_of(first, 0)
        self.following: State | None = None

    def __iter__(self) -> Iterator[State]:
        last = self.first
        yield last
        for number, state in zip(count(1), self.coming):
            watch = _watch_of(state, number)
            if state.x.points.shape != last.x.points.shape:
                raise ValueError(
                    f"`states` must have as many particles all along, {tuple(last.x.points.shape)},"
                    f" got {tuple(state.x.points.shape)}: record each run by itself"
                )
            if state.clock.step < last.clock.step:
                raise ValueError(
                    "`states` must come in the order of their steps, got step"
                    f" {state.clock.step} after step {last.clock.step}: record each run by itself"
                )
            if watch is not self.watch:
                self.following = state
                return
            yield state
            last = state


def _watch_of(state: Any, number: int) -> Watch:
    """The run that made a state, the one of this number among those that came."""
    if not isinstance(state, State):
        raise TypeError(
            f"`states` must be those of pf.iterate, got {_checks.said(state)} as number {number}:"
            " yield the states themselves"
        )
    if not isinstance(state.course, Watch):
        raise ValueError(
            f"`states` must be those of pf.iterate, got one that no run made as number {number}:"
            " keep its `course`, as dataclasses.replace does"
        )
    return state.course


def _run(
    part: _Part,
    save: SaveAt,
    metrics: Metrics,
    stop: StopRule | Stop | None,
    earlier: Trajectory | None,
) -> Run:
    """The run that the states of one part make."""
    first, course = part.first, part.watch
    comparable(metrics, first.target)
    fixed = first.target if isinstance(course.target, FixedTarget) else None
    draws = first.clock.draws
    grid = save.grid(first.x, first.target) if earlier is None else None
    facts = {
        "dt": course.dt,
        "dt_suggested": False,
        "target": target_named(course.target),
        **parts_told(course.flow, course.integrator, metrics, first.x.dim),
        "seed": draws.seed if isinstance(draws, Draws | Replay) else None,
        "labels": {
            name: label_of(metric, name, first.x, first.target)
            for name, metric in metrics.items()
            if first.target is not None
        },
    }
    return Run(
        flow=course.flow,
        start=first,
        fixed=fixed,
        states=iter(part),
        watch=course,
        recorder=Recorder(course.flow, metrics, save.velocity, EXPECTED, grid, earlier),
        wanted=save.wanted(EVERY_STEP),
        is_last=lambda state: False,
        facts=facts,
        stop=None if stop is None else stopping(stop),
    )
