"""A run made again: its steps in order, or, by segments, in reverse.

Random numbers are functions of (seed, stream, step), so that a replay has the bits of the run.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

from particleflow import _checks
from particleflow._inputs import integrator_of, prepare, same_target, target_named
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.clouds import Cloud, FixedTarget, extent
from particleflow.flows import Flow
from particleflow.integrators import Integrator, Snapshot, State
from particleflow.recipe import Leg, Recipe
from particleflow.stepping import Move, states
from particleflow.trajectory import Trajectory
from particleflow.watch import Watch

# The difference between replay and run, in units of the cloud's extent, that is refused: rounding
# on another processor or with other threads stays below it, another flow does not.
APART = 1e-6


class _Blind(Watch):
    """A watch that looks at nothing: the run has been watched."""

    def begin(self, start: State) -> None:
        pass

    def trouble(self, state: State, cloud: Cloud, used: float) -> str:
        return ""

    def overflow(self, state: State) -> str:
        return "numbers overflow"

    def fitted(self, state: State) -> State:
        return state


def forward(path: Trajectory, record: int) -> Iterator[tuple[Leg, Move]]:
    """The steps from the start of a run to a record, each with its leg."""
    end: Snapshot | None = None
    for leg, last in _legs(path, record):
        replayed = _moves(leg, leg.start, last)
        while True:
            try:
                move = next(replayed)
            except StopIteration as stop:
                end = stop.value
                break
            yield leg, move
    if end is not None:
        _same_end(path, record, end)


def backward(path: Trajectory, record: int) -> Iterator[tuple[Leg, Move]]:
    """The steps from a record back to the start, in reverse order.

    A first pass keeps sqrt(steps) snapshots. From each of them the steps up to the next one are
    made again: two replays in all, and memory for about 2 sqrt(steps) states.
    """
    legs = _legs(path, record)
    stride = math.ceil(math.sqrt(max(1, sum(last - leg.start.clock.step for leg, last in legs))))
    kept: list[tuple[Leg, Snapshot, int]] = []
    for leg, move in forward(path, record):
        state, (before, _, last) = move.state, kept[-1] if kept else (None, None, -1)
        if leg is not before or state.clock.step == last:
            ends = next(end for other, end in legs if other is leg)
            until = min(ends, state.clock.step + stride)
            kept.append((leg, _snapshot(state), until))
    while kept:
        leg, start, last = kept.pop()
        for move in reversed(list(_moves(leg, start, last))):
            yield leg, move


def recipe_of(path: Trajectory) -> Recipe:
    """The recipe of a trajectory; refused where it has none."""
    if path.recipe is None:
        raise RefusedValueError(
            "path",
            "must hold the flow that made it, and one from a file, another process or a run that"
            " went on from a file does not",
            remedy="path.with_flow(flow, target, integrator=...) gives a loaded one its flow",
        )
    return path.recipe


def with_flow(
    path: Trajectory, flow: Flow, target: Any, integrator: Integrator | None
) -> Trajectory:
    """The trajectory with a recipe of one leg, of parts that its report confirms."""
    if not isinstance(flow, Flow):
        raise RefusedTypeError(
            "flow",
            "must be the Flow of the run",
            _checks.came(flow),
            "pass what simulate was given",
        )
    report = path.report
    if int(path.steps[0]) != 0:
        raise RefusedValueError(
            "path",
            "must begin at step 0, where a run remembers nothing",
            f"a first record at step {int(path.steps[0])}",
            "join the parts again: simulate(flow, earlier, target, ...) of the first one",
        )
    if integrator is None:
        integrator = next(
            (
                default
                for free in (False, True)
                if repr(default := integrator_of(flow, None, free=free)) == report["integrator"]
            ),
            None,
        )
    if integrator is None:
        raise RefusedValueError(
            "integrator", "must be given", None, f"the run used {report['integrator']}"
        )
    _told("flow", flow, report)
    _told("integrator", integrator, report)
    clock = replace(path.state.clock, t=float(path.times[0]), step=0)
    begun = Snapshot(clock=clock, x=path.cloud(0))
    if target is None and path.target is not None:
        target = Cloud(path.target, log_mass=path.target_log_mass)
    start, aim, _, integrator = prepare(flow, begun, target, integrator, None, None)
    if not same_target(path, aim):
        kind = "a cloud" if isinstance(aim, FixedTarget) else target_named(aim) or "another one"
        was = report.get("target") or ("none" if path.target is None else "the cloud that it holds")
        raise RefusedValueError(
            "target", f"must be that of the run, {was}", f"{kind} that differs", "pass the same"
        )
    leg = Leg(flow, aim, integrator, float(report["dt"]), path.state.clock.t, start)
    return replace(path, recipe=Recipe((leg,)))


def _told(name: str, part: Any, report: Mapping[str, Any]) -> None:
    """Refuse a part whose repr differs from the one in the report."""
    was, now = (re.sub(r" at 0x[0-9a-fA-F]+", "", told) for told in (report[name], repr(part)))
    if was != now:
        before, after = _differing(was, now)
        raise RefusedValueError(
            name, f"must be that of the run, with {before}", after, f"the run had {was}"
        )


def _differing(one: str, other: str) -> tuple[str, str]:
    """Where two reprs differ: the first field that does, such as bandwidth=0.4 and 0.5."""
    pairs = enumerate(zip(one, other, strict=False))
    start = next((k for k, (a, b) in pairs if a != b), min(len(one), len(other)))
    while start and one[start - 1] not in "(, ":
        start -= 1
    ends = (re.split(r"[,)]", text[start:], maxsplit=1)[0] for text in (one, other))
    first, second = ends
    return first or "nothing", second or "nothing"


def _legs(path: Trajectory, record: int) -> list[tuple[Leg, int]]:
    """The legs up to a record, each with the step at which it ends."""
    if not -len(path) <= _checks.count(record, "record", least=-sys.maxsize) < len(path):
        raise IndexError(
            f"`record` must be between {-len(path)} and {len(path) - 1}, got {record}: the run has"
            f" {len(path)} records"
        )
    last, legs = int(path.steps[record]), recipe_of(path).legs
    starts = [leg.start.clock.step for leg in legs]
    ends = [*starts[1:], int(path.state.clock.step)]
    return [
        (leg, min(end, last))
        for leg, start, end in zip(legs, starts, ends, strict=True)
        if start < last
    ]


def _moves(leg: Leg, start: Snapshot, last: int) -> Generator[Move, None, Snapshot]:
    """The steps of a leg from a snapshot within it to the step `last`; returns the state there."""
    taken: list[Move] = []
    watch = _Blind(leg.flow, leg.target, leg.dt, leg.integrator)
    first = leg.target.at(start.clock)
    for state in states(start, first, leg.integrator, watch, leg.end, taken=taken.append):
        yield from taken
        taken.clear()
        if state.ended:
            raise RefusedValueError(
                "path", f"cannot be made again, for its replay ends {state.status}", state.message
            )
        if state.clock.step >= last:
            return _snapshot(state)
    raise AssertionError("a run has no last state")


def _snapshot(state: State) -> Snapshot:
    return Snapshot(clock=state.clock, x=state.x, memory=state.memory, stepper=state.stepper)


def _same_end(path: Trajectory, record: int, end: Snapshot) -> None:
    """Refuse a replay that does not lead to the particles that were recorded."""
    recorded = path.particles[record].to(end.x.points)
    apart = float((end.x.points - recorded).abs().max())
    if not apart <= APART * extent(path.particles[0].to(recorded), recorded):
        raise RefusedValueError(
            "path",
            "must come again to its own records",
            f"particles {apart:.2g} away at step {end.clock.step}",
            "a part of the flow is random by itself, or the run went on from another one, or was"
            " made on another machine and is chaotic",
        )
