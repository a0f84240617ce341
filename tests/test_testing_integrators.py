"""`check_integrator`: the built-in ones pass, and one with a broken clause is refused, with that
clause in the message.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from refusals import refused
from torch import Tensor

import particleflow as pf
from particleflow.testing import check_integrator

pytestmark = pytest.mark.usefixtures("unchecked")


STEPPERS = pf.integrators


@pytest.mark.parametrize(
    "integrator",
    [
        pf.Euler(),
        pf.Heun(),
        pf.RK4(),
        pf.EulerMaruyama(),
        STEPPERS.BogackiShampine(),
        STEPPERS.DormandPrince(),
        STEPPERS.Adaptive(),
        STEPPERS.Adaptive(STEPPERS.BogackiShampine(), rtol=1e-5),
        STEPPERS.Descent(),
        STEPPERS.Descent(pf.Heun()),
        STEPPERS.Momentum(),
        STEPPERS.Momentum(0.8, nesterov=True),
        STEPPERS.Adam(),
    ],
    ids=repr,
)
def test_integrators(integrator: Any) -> None:
    check_integrator(integrator)


def moved(x: pf.Cloud, dt: float, velocity: Tensor, rate: Tensor | None) -> pf.Cloud:
    return pf.Cloud(
        x.points + dt * velocity, log_mass=x.log_mass if rate is None else x.mass.log() + dt * rate
    )


@dataclass(frozen=True)
class Midpoint:
    """A whole integrator of order 2, whose parts are changed below."""

    order: ClassVar[Any] = 2.0
    stages: ClassVar[Any] = 2
    stochastic: ClassVar[Any] = False

    def step(self, flow: pf.Flow, refit: Any, state: pf.State, dt: float) -> Any:
        middle = self.middle(state.x, dt, *flow.velocity(state.x, state.fit, state.clock))
        clock = self.clock(state.clock, dt)
        return (
            self.end(
                state.x, dt, *flow.velocity(middle, self.fit(refit, middle, clock, state), clock)
            ),
            dt,
            {},
        )

    def fit(self, refit: Any, x: pf.Cloud, clock: pf.Clock, state: pf.State) -> pf.Fit:
        return refit(x, clock)

    def clock(self, clock: pf.Clock, dt: float) -> pf.Clock:
        return replace(clock, t=clock.t + dt / 2)

    def middle(self, x: pf.Cloud, dt: float, velocity: Tensor, rate: Tensor | None) -> pf.Cloud:
        return moved(x, dt / 2, velocity, rate)

    def end(self, x: pf.Cloud, dt: float, velocity: Tensor, rate: Tensor | None) -> pf.Cloud:
        return moved(x, dt, velocity, rate)


def integrator(base: type = Midpoint, **changed: Any) -> Any:
    return type("Own", (base,), changed)()


def _result(k: int, answer: Any) -> Callable[..., Any]:
    """Midpoint's step with its k-th result replaced."""

    def step(self: Any, flow: pf.Flow, refit: Any, state: pf.State, dt: float) -> Any:
        whole = list(Midpoint.step(self, flow, refit, state, dt))
        whole[k] = answer(whole[k], state) if callable(answer) else answer
        return tuple(whole)

    return step


def _hidden(self: Any, x: pf.Cloud, dt: float, velocity: Tensor, rate: Tensor | None) -> pf.Cloud:
    """Momentum kept in the object, where no state knows of it."""
    before = vars(self).get("before", 0.0)
    object.__setattr__(self, "before", velocity)
    return moved(x, dt, velocity + 1e-3 * before, rate)


def _wishing(longer: Callable[[float, float], float]) -> Callable[..., Any]:
    """Midpoint's step with a wish for the next one."""

    def step(self: Any, flow: pf.Flow, refit: Any, state: pf.State, dt: float) -> Any:
        x, used, _ = Midpoint.step(self, flow, refit, state, dt)
        wish = longer(float(state.stepper.get("dt", dt)), dt)
        return x, used, {"dt": torch.tensor(wish, dtype=torch.float64)}

    return step


def _growing(cloud: Any, state: pf.State) -> Any:
    count = dict(state.stepper).setdefault("count", torch.zeros(2))
    return {"count": count.add_(1.0)}


def _in_place(self: Any, x: pf.Cloud, dt: float, velocity: Tensor, rate: Tensor | None) -> pf.Cloud:
    x.points.add_(velocity, alpha=dt)
    return x


def _walking(noise: Callable[[pf.State], Tensor], spread: float = 1.0) -> Callable[..., Any]:
    def step(self: Any, flow: pf.Flow, refit: Any, state: pf.State, dt: float) -> Any:
        x, dt, memory = pf.Euler().step(flow, refit, state, dt)
        if not callable(flow.diffusion):
            return x, dt, memory
        return (
            pf.Cloud(
                x.points + spread * flow.diffusion(state.clock) * math.sqrt(dt) * noise(state),
                log_mass=x.log_mass,
            ),
            dt,
            memory,
        )

    return step


def _drawn(state: pf.State) -> Tensor:
    return state.clock.draws.normal("brownian", state.clock.step, state.x.points)


WALK = {"order": 1.0, "stages": 1, "stochastic": True}
BROKEN_INTEGRATORS: dict[str, tuple[str, Callable[[], Any]]] = {
    "a class": ("an integrator must have step, order, stages and stochastic", lambda: Midpoint),
    "nothing declared": (
        "an integrator must have step, order, stages and stochastic",
        lambda: type("Own", (), {"step": Midpoint.step})(),
    ),
    "an order of None": ("order must be a number > 0", lambda: integrator(order=None)),
    "stages 2.0": ("stages must be an integer >= 1", lambda: integrator(stages=2.0)),
    "stochastic None": ("stochastic must be True or False", lambda: integrator(stochastic=None)),
    "other arguments": (
        "step must work, got TypeError",
        lambda: integrator(step=lambda self, flow, x: x),
    ),
    "the cloud alone": (
        r"step must return \(cloud, dt used, memory\)",
        lambda: integrator(step=lambda self, flow, refit, state, dt: state.x),
    ),
    "points": (
        "step must return a Cloud first",
        lambda: integrator(step=_result(0, lambda cloud, state: cloud.points)),
    ),
    "float64 always": (
        "the new points must have the dtype torch.float32",
        lambda: integrator(step=_result(0, lambda cloud, state: cloud.double())),
    ),
    "no dt": ("step must return the dt used", lambda: integrator(step=_result(1, 0.0))),
    "a longer dt": ("step must return the dt used", lambda: integrator(step=_result(1, 0.2))),
    "a memory of numbers": (
        "the stepper's memory must be a flat mapping of names to tensors",
        lambda: integrator(step=_result(2, {"a": 1.0})),
    ),
    "a wish of a wrong type": (
        "the entry dt of the stepper's memory must be a float64 number > 0",
        lambda: integrator(step=_result(2, {"dt": torch.tensor(1.0)})),
    ),
    "a wish that dies away": (
        "steps of the lengths asked for must come to the time 1",
        lambda: integrator(step=_wishing(lambda wish, dt: max(0.5 * dt, 1e-6))),
    ),
    "a wish that a cut shortens": (
        "a step that the engine has shortened must not halve the length asked for",
        lambda: integrator(step=_wishing(lambda wish, dt: 1.2 * dt)),
    ),
    "an optimiser that walks on": (
        "the particles of an optimiser must come to the end of v = -x",
        lambda: integrator(
            type("Off", (Midpoint, STEPPERS.Optimiser), {}),
            end=lambda self, x, dt, v, rate: moved(x, dt, v + 1, rate),
        ),
    ),
    "one stage declared": ("a step must take stages = 1 fits", lambda: integrator(stages=1)),
    "no refit": (
        "a step must take stages = 2 fits",
        lambda: integrator(fit=lambda self, refit, x, clock, state: state.fit),
    ),
    "another step": (
        "the clock of a stage must keep step and draws",
        lambda: integrator(clock=lambda self, clock, dt: pf.Clock(clock.t + dt / 2)),
    ),
    "a later time": (
        "the clock of a stage must lie within the step",
        lambda: integrator(clock=lambda self, clock, dt: replace(clock, t=clock.t + 2 * dt)),
    ),
    "masses dropped": (
        "masses must be carried on",
        lambda: integrator(end=lambda self, x, dt, v, rate: pf.Cloud(x.points + dt * v)),
    ),
    "in place": ("step must not change its input", lambda: integrator(end=_in_place)),
    "a global state": (
        "step must leave global random states alone",
        lambda: integrator(
            end=lambda self, x, dt, v, rate: moved(
                x, dt, v + 1e-9 * torch.randn(v.shape, dtype=v.dtype), rate
            )
        ),
    ),
    "hidden momentum": ("the same state must give the same step", lambda: integrator(end=_hidden)),
    "a memory in place": (
        "step must not change the stepper's memory",
        lambda: integrator(step=_result(2, _growing)),
    ),
    "a lower order": (
        r"the error at a fixed time must be O\(dt\^2\)",
        lambda: integrator(middle=lambda self, x, dt, v, rate: moved(x, dt / 3, v, rate)),
    ),
    "stages at one time": (
        r"must be O\(dt\^2\) on v = sin t",
        lambda: integrator(clock=lambda self, clock, dt: clock),
    ),
    "an order declared": (r"must be O\(dt\^3\)", lambda: integrator(order=3.0)),
    "no reaction": (
        r"must be O\(dt\^2\) on v = -x\^3 with a reaction",
        lambda: integrator(end=lambda self, x, dt, v, rate: moved(x, dt, v, None)),
    ),
    "no diffusion": (
        "two seeds must give two runs",
        lambda: integrator(**WALK | {"step": pf.Euler.step, "a": pf.Euler.a, "b": pf.Euler.b}),
    ),
    "another diffusion": (
        "a stochastic integrator must add the flow's diffusion",
        lambda: integrator(**WALK, step=_walking(_drawn, 2**-0.5)),
    ),
    "one draw for all steps": (
        "a stochastic integrator must add the flow's diffusion",
        lambda: integrator(
            **WALK,
            step=_walking(lambda state: state.clock.draws.normal("brownian", 0, state.x.points)),
        ),
    ),
    "global noise": (
        "equal seeds must give equal bits",
        lambda: integrator(
            **WALK,
            step=_walking(lambda state: torch.randn(state.x.points.shape, dtype=torch.float64)),
        ),
    ),
}


@pytest.mark.parametrize("name", BROKEN_INTEGRATORS)
def test_broken_integrators_are_refused(name: str) -> None:
    clause, made = BROKEN_INTEGRATORS[name]
    refused(check_integrator, made(), clause)


def test_a_run_that_cannot_go_on_is_refused() -> None:
    """An object that does not come back from a copy as it was: its steps depend on what it did
    before, though not on the last call.
    """

    @dataclass(frozen=True)
    class Counting(Midpoint):
        def end(self, x: pf.Cloud, dt: float, velocity: Tensor, rate: Tensor | None) -> pf.Cloud:
            return moved(x, dt, velocity * self.factor, rate)

        factor: float = 1.0

        def __deepcopy__(self, memo: Any) -> Any:
            return replace(self, factor=0.99)

    refused(
        check_integrator,
        Counting(),
        "a run must go on from its state, read from a file, with the same bits",
    )


def test_the_integrators_that_are_broken_above_are_whole() -> None:
    check_integrator(Midpoint())
    check_integrator(integrator(**WALK, step=_walking(_drawn)))


@dataclass(frozen=True)
class Shortened:
    """Of steps above 0.04 it takes a part: an integrator with an error control of its own."""

    order: ClassVar[float] = 2.0
    stages: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False

    def step(self, flow: pf.Flow, refit: Any, state: pf.State, dt: float) -> Any:
        return Midpoint().step(flow, refit, state, min(dt, 0.04))


def test_an_integrator_may_shorten_its_steps() -> None:
    check_integrator(Shortened())
