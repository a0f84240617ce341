"""The loop over steps: from one state to the next, until a run cannot go on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud, Target
from particleflow.estimators import Estimator, Fit
from particleflow.estimators.base import fitted
from particleflow.flows import Flow
from particleflow.integrators import Integrator, Snapshot, State
from particleflow.watch import Watch

# The share of dt up to which a remainder of time is rounding, and not a step of its own.
NEARLY = 1e-6


def states(
    start: Snapshot,
    first: Cloud | None,
    integrator: Integrator,
    watch: Watch,
    end: float = math.inf,
) -> Iterator[State]:
    """The states of a run. The last step is shortened to end at the time `end`.

    `first` is the target's cloud at the start. The target is asked once for each further fit.
    """
    flow, target, dt = watch.flow, watch.target, watch.dt
    snapshot = replace(start, stepper=_with_origin(start, dt))
    try:
        state = _fitted(flow, snapshot, first)
    except _UnconvergedError as error:
        raise ValueError(f"`flow` cannot start: {error}; no step was taken") from None
    origin = snapshot.stepper["origin"]
    t0, n0 = (float(v) for v in origin[:2])
    watch.begin(state)
    while True:
        yield state

        refit = partial(_refit, flow.estimator, target, state.memory)
        step, left = state.clock.step + 1, end - state.clock.t
        try:
            with Supplied("integrator", integrator):
                cloud, used, stepper = integrator.step(
                    flow, refit, state, dt if left > dt * (1 - NEARLY) else left
                )
            _check_used(used, left, state.clock.t, integrator)
            trouble = watch.trouble(state, cloud, used)
            if trouble:
                message = (
                    f"step {step} with dt = {dt:g}: {trouble}; everything up to step"
                    f" {state.clock.step} is kept"
                )
                yield replace(state, status="diverged", message=message)
                return
            if used != dt:
                t0, n0 = state.clock.t + used - dt, float(state.clock.step)
                origin = _origin(t0, n0, dt)
            clock = Clock(t0 + (step - n0) * dt, step, state.clock.draws)
            stepper = {**stepper, "origin": origin}
            cloud, renewed = flow.settled(
                cloud, state.x, state.fit, state.target, state.clock, used
            )
            snapshot = Snapshot(clock=clock, x=cloud, memory=state.fit.memory, stepper=stepper)
            state = _fitted(flow, snapshot, target.at(clock))
            state = watch.fitted(replace(state, renewed=renewed) if renewed else state)
        except _checks.OutOfRangeError:
            message = (
                f"step {step} with dt = {dt:g}: {watch.overflow(state)}; everything up to step"
                f" {state.clock.step} is kept"
            )
            yield replace(state, status="diverged", message=message)
            return
        except _UnconvergedError as error:
            message = f"step {step}: {error}; everything up to step {state.clock.step} is kept"
            yield replace(state, status="not converged", message=message)
            return


def _check_used(used: float, left: float, t: float, integrator: Integrator) -> None:
    if not (t + used > t and used <= left + NEARLY * used):
        bounds = (
            "> 0 and large enough to move t"
            if math.isinf(left)
            else f"> 0 and at most {left:g}, the time that was left"
        )
        raise ValueError(
            f"`integrator` must return a dt that is {bounds}, got {used:g} at t = {t:g} from"
            f" {integrator}"
        )


def _refit(estimator: Estimator, target: Target, memory: Memory, x: Cloud, clock: Clock) -> Fit:
    """The fit at a trial stage, from the memory of the accepted state."""
    return _converged(fitted(estimator, x, target.at(clock), clock, memory))


def _fitted(flow: Flow, snapshot: Snapshot, y: Cloud | None) -> State:
    fit = fitted(flow.estimator, snapshot.x, y, snapshot.clock, snapshot.memory)
    return State(
        clock=snapshot.clock,
        x=snapshot.x,
        memory=snapshot.memory,
        stepper=snapshot.stepper,
        fit=_converged(fit),
        target=y,
    )


class _UnconvergedError(Exception):
    """A fit did not converge, perhaps at a trial stage: the run ends at the last accepted state."""


def _converged(fit: Fit) -> Fit:
    if not _checks.flag(
        fit.report.get("converged", True),
        "converged",
        of="a fit's report",
        remedy="leave it out where nothing converges",
    ):
        numbers = {name: fit.reported(name) for name in ("iterations", "gap")}
        facts = ", ".join(
            f"{name} {value:.3g}" for name, value in numbers.items() if value is not None
        )
        raise _UnconvergedError(
            f"the estimator did not converge ({facts}):"
            f" {fit.report.get('remedy', 'loosen its tolerance')}"
        )
    return fit


def _with_origin(start: Snapshot, dt: float) -> Mapping[str, Tensor]:
    """The stepper's memory with the origin (t0, n0) of t = t0 + (n - n0) dt.

    The time is never accumulated. The origin moves only where a run goes on with another dt.
    """
    origin = start.stepper.get("origin")
    if origin is not None and float(origin[2]) == dt:
        return start.stepper
    return {**start.stepper, "origin": _origin(start.clock.t, start.clock.step, dt)}


def _origin(t: float, step: float, dt: float) -> Tensor:
    return torch.tensor([t, step, dt], dtype=torch.float64, device="cpu")
