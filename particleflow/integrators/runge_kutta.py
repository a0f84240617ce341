"""Explicit Runge-Kutta schemes. Each scheme is given by its tableau."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Controller, Refit, State

# v (N, d) at a stage, and d log mass / dt (N,) where the flow has a reaction.
Slope: TypeAlias = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class RungeKutta:
    """x_{n+1} = x_n + dt sum_s b_s k_s, k_s = v(x_n + dt sum_{r<s} a_sr k_r, t_n + c_s dt).

    c_s = sum_r a_sr.

    The estimator is refitted at every stage: one fit per step makes every scheme of order one.
    Stage 0 uses the state's own fit. All stages of a step see the same random numbers. Log masses,
    where a flow has a reaction, are advanced by the same scheme.
    """

    a: ClassVar[tuple[tuple[float, ...], ...]]
    b: ClassVar[tuple[float, ...]]
    order: ClassVar[float]
    stochastic: ClassVar[bool] = False

    @property
    def stages(self) -> int:
        return len(self.b)

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        slopes = slopes_of(self.a, flow, refit, state, dt)
        return advance(state.x, slopes, self.b, dt), dt, state.stepper


class LengthsOf(Controller):
    """A controller whose step, once its length is chosen, is that of `scheme`.

    Declared by inheriting. The fits of the accepted trial are those that were asked for last before
    the last one made ahead.
    """

    @property
    @abstractmethod
    def scheme(self) -> RungeKutta: ...


class Euler(RungeKutta):
    """Forward Euler, order 1, one fit per step: the scheme of the published codes."""

    a = ((),)
    b = (1.0,)
    order = 1.0


class Heun(RungeKutta):
    """Heun's method (explicit trapezoid, RK2), order 2, two fits per step."""

    a = ((), (1.0,))
    b = (0.5, 0.5)
    order = 2.0


class RK4(RungeKutta):
    """The classical Runge-Kutta method, order 4, four fits per step."""

    a = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    order = 4.0


@dataclass(frozen=True)
class Embedded(RungeKutta):
    """A Runge-Kutta scheme with a second one of a lower order, which tells its error.

    `b_error` are the differences of the two schemes' weights. The last one belongs to the velocity
    at the new particles: the first stage of the next step ("first same as last"). By itself such a
    scheme takes steps of the given length, of its own order. `Adaptive` uses the error.
    """

    b_error: ClassVar[tuple[float, ...]]
    lower: ClassVar[float]


class BogackiShampine(Embedded):
    """The scheme of Bogacki and Shampine, order 3 with an error of order 2, three fits per step.

    Also called BS3(2), RK23, ode23.

    Source: Bogacki and Shampine (1989), Applied Mathematics Letters 2, equation 5.
    """

    a = ((), (1 / 2,), (0.0, 3 / 4))
    b = (2 / 9, 1 / 3, 4 / 9)
    b_error = (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8)
    order = 3.0
    lower = 2.0


class DormandPrince(Embedded):
    """The scheme of Dormand and Prince, order 5 with an error of order 4, six fits per step.

    Also called DOPRI5, DP5(4), RK45, ode45.

    Source: Dormand and Prince (1980), Journal of Computational and Applied Mathematics 6, table 2;
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, table II.5.2.
    """

    a = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
    b_error = (
        35 / 384 - 5179 / 57600,
        0.0,
        500 / 1113 - 7571 / 16695,
        125 / 192 - 393 / 640,
        -2187 / 6784 + 92097 / 339200,
        11 / 84 - 187 / 2100,
        -1 / 40,
    )
    order = 5.0
    lower = 4.0


def stage_clock(clock: Clock, dt: float) -> Clock:
    return replace(clock, t=clock.t + dt)


def slopes_of(
    a: tuple[tuple[float, ...], ...],
    flow: Flow,
    refit: Refit,
    state: State,
    dt: float,
    first: Slope | None = None,
) -> list[Slope]:
    """Velocities, and rates of the log masses, at all stages; `first` is that of stage 0."""
    slopes = [first or flow.velocity(state.x, state.fit, state.clock)]
    for row in a[1:]:
        x = advance(state.x, slopes, row, dt)
        clock = stage_clock(state.clock, sum(row) * dt)
        slopes.append(flow.velocity(x, refit(x, clock), clock))
    return slopes


def advance(x: Cloud, slopes: Sequence[Slope], weights: tuple[float, ...], dt: float) -> Cloud:
    """The cloud x + dt sum_s w_s k_s, log masses likewise."""
    points, log_mass = x.points, x.log_mass
    for weight, (velocity, rate) in zip(weights, slopes, strict=True):
        if weight:
            points = torch.add(points, velocity, alpha=dt * weight)
            if rate is not None:
                log_mass = (x.mass.log() if log_mass is None else log_mass) + (dt * weight) * rate
    return Cloud(points, log_mass=log_mass)
