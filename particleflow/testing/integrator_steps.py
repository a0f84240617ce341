"""One step of an integrator that is checked: made as the engine makes it, its result looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit
from particleflow.flows import Flow
from particleflow.integrators.base import Integrator, State
from particleflow.testing.contract import Contract


@dataclass(frozen=True)
class TrialFits:
    """The fits of one step, as the engine makes them."""

    flow: Flow
    state: State
    trials: list[Clock] = field(default_factory=list)

    def __call__(self, x: Cloud, clock: Clock) -> Fit:
        self.trials.append(clock)
        return self.flow.estimator.fit(x, None, clock, self.state.memory)

    def ahead(self, x: Cloud, dt: float) -> Fit:
        clock = later(self.state.clock, dt)
        return self.flow.estimator.fit(x, None, clock, self.state.fit.memory)


def later(clock: Clock, dt: float) -> Clock:
    return Clock(clock.t + dt, clock.step + 1, clock.draws)


def started(flow: Flow, x: Cloud, clock: Clock | None = None) -> State:
    clock = clock or Clock()
    return State(clock=clock, x=x, fit=flow.estimator.fit(x, None, clock, {}))


def stepped(
    contract: Contract,
    integrator: Integrator,
    flow: Flow,
    state: State,
    dt: float,
    refit: TrialFits | None = None,
) -> tuple[Cloud, float, Memory]:
    """The result of one step, with its parts checked."""
    refit = refit or TrialFits(flow, state)
    answer: Any = contract.call(
        partial(integrator.step, flow, refit, state, dt),
        clause="step must work",
        remedy="step(flow, refit, state, dt)",
    )
    triple = isinstance(answer, tuple) and len(answer) == 3
    contract.require(
        triple,
        "step must return (cloud, dt used, memory)",
        type(answer).__name__,
        "return Cloud(...), dt, {}",
    )
    cloud, used, memory = answer
    contract.require(
        isinstance(cloud, Cloud),
        "step must return a Cloud first",
        type(cloud).__name__,
        "return Cloud(points, log_mass=...)",
    )
    contract.tensor(
        cloud.points, tuple(state.x.points.shape), state.x.points.dtype, "the new points"
    )
    held = (
        isinstance(used, float | int) and not isinstance(used, bool) and 0 < used <= dt * (1 + 1e-9)
    )
    contract.require(
        held,
        "step must return the dt used, 0 < used <= dt",
        repr(used),
        "return the time by which the cloud was moved",
    )
    contract.memory(memory, "the stepper's memory")
    wish = memory.get("dt")
    held = wish is None or (wish.dtype == torch.float64 and 0 < float(wish) < math.inf)
    contract.require(
        held,
        "the entry dt of the stepper's memory must be a float64 number > 0",
        repr(wish),
        "keep the length of the next step, torch.tensor(length, dtype=torch.float64)",
    )
    return cloud, float(used), memory


def advanced(
    contract: Contract, integrator: Integrator, flow: Flow, state: State, dt: float
) -> tuple[State, float]:
    """Advance the state by one step, as the engine does."""
    cloud, used, stepper = stepped(contract, integrator, flow, state, dt)
    clock = later(state.clock, used)
    fit = flow.estimator.fit(cloud, None, clock, state.fit.memory)
    return State(clock=clock, x=cloud, memory=state.fit.memory, stepper=stepper, fit=fit), used
