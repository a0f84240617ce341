"""Euler steps whose length follows the change of the velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State
from particleflow.integrators.runge_kutta import advanced

# The largest ratio of a step's length to that of the step before.
GROWTH = 1.5
# The share of the fastest rate that is left a step later. The rates of about the last ten steps
# count: particles that swing across a minimum change their velocity at every other step alone.
KEPT = 0.9
# The least length in units of the first one: a witness whose gradient jumps turns velocities round
# however short a step is.
LEAST = 1e-6


@dataclass(frozen=True)
class Paced:
    """Euler's method, x_{n+1} = x_n + h_n v_n, with steps as long as the velocity allows.

    The change of the velocity over the last step gives a rate, and the fastest of the recent rates
    gives the next length:

        r_n = |v_n - v_{n-1}| / (h_{n-1} |v_{n-1}|),    R_n = max(r_n, 0.9 R_{n-1}),
        h_n = min(change / R_n, 1.5 h_{n-1}).

    The velocity then changes by the share `change` in a step, and h_0 = dt, which
    `Flow.suggest_dt` finds, need only suit the start. Euler's method is stable up to h R = 2, and
    its local error is h change |v| / 2. A conservative energy falls in a step over which the
    velocity changes by less than its own size (to the order h^2); nothing is rejected, so a rare
    rise may be seen. Order 1, one fit a step, O(N d) beyond Euler's method. At a fixed time the
    error does not vanish with dt; it does with `change`.

    Flows with noise injection are refused: their velocity changes at random from step to step.

    Parameters
    ----------
    change : float
        The relative change of the velocity in a step, > 0 and < 2.

    Source: a step-size control of Euler's method by its local error without rejections, as in
    Soederlind (2003), Digital filters in adaptive time-stepping.
    """

    change: float = 0.5
    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        remedy = "take 0.5; less follows the exact flow more closely"
        object.__setattr__(self, "change", _checks.positive(self.change, "change", remedy=remedy))
        if self.change >= 2:
            raise RefusedValueError("change", "must be less than 2", f"{self.change:g}", remedy)

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        velocity, rate = flow.velocity(state.x, state.fit, state.clock)
        memory = state.stepper
        before = memory.get("velocity")
        if before is None:
            length = first = dt
            fastest = self.change / dt
        else:
            last, fastest, first = (float(number) for number in memory["pace"])
            fastest = max(_rate(velocity, before, last), KEPT * fastest)
            length = min(dt, max(self.change / fastest, LEAST * first))
        cloud = advanced(state.x, [(velocity, rate)], (1.0,), length)
        return (
            cloud,
            length,
            {
                **memory,
                "velocity": velocity,
                "pace": torch.tensor([length, fastest, first], dtype=torch.float64, device="cpu"),
                "dt": torch.tensor(GROWTH * length, dtype=torch.float64, device="cpu"),
            },
        )


def _rate(velocity: Tensor, before: Tensor, length: float) -> float:
    """The relative change of the velocity per time; 0 where there is none to speak of."""
    size = float(before.norm())
    rate = float((velocity - before).norm()) / (length * size) if size > 0 else 0.0
    return rate if math.isfinite(rate) else 0.0
