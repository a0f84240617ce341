"""The loop over steps: from one state to the next, until a run cannot go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow.clouds import Clock, Cloud, Target
from particleflow.estimators import Estimator, Fit
from particleflow.estimators.base import fitted
from particleflow.integrators import (
    Course,
    Integrator,
    Optimiser,
    Snapshot,
    State,
    UnconvergedError,
)
from particleflow.integrators.base import chain_of
from particleflow.watch import Watch

# The share of dt up to which a remainder of time is rounding, and not a step of its own.
NEARLY = 1e-6
# The distance from the end of a run, in units of the last place, that is rounding.
PLACES = 4


@dataclass(frozen=True)
class Trial:
    """A fit that an integrator asked for within a step, `ahead` or not, and where."""

    x: Cloud
    clock: Clock
    fit: Fit
    ahead: bool


@dataclass(frozen=True)
class Move:
    """A step that a run has taken: its state, the length used, its trials, and its end."""

    state: State
    used: float
    trials: tuple[Trial, ...]
    cloud: Cloud


def states(
    start: Snapshot,
    first: Cloud | None,
    integrator: Integrator,
    watch: Watch,
    end: float = math.inf,
    *,
    taken: Callable[[Move], None] | None = None,
) -> Iterator[State]:
    """The states of a run. The last step is shortened to end at the time `end`.

    `first` is the target's cloud at the start. The target is asked once for each further fit.
    `taken` is called with each step that was taken, before the next state is fitted.
    """
    flow, target, dt = watch.flow, watch.target, watch.dt
    snapshot = _begun(start, dt, watch)
    try:
        fit = fitted(flow.estimator, snapshot.x, first, snapshot.clock, snapshot.memory)
        state = _state(snapshot, first, _converged(fit), watch)
    except UnconvergedError as error:
        raise ValueError(f"`flow` cannot start: {error}; no step was taken") from None
    if not watch.begun:  # that of a run which goes on from a checkpoint has begun
        watch.begin(state)
    innermost = chain_of(integrator)[-1]
    while True:
        yield state

        trials: list[Trial] | None = None if taken is None else []
        fits = _Fits(flow.estimator, target, state, dt, end, trials)
        step, left = state.clock.step + 1, end - state.clock.t
        given = _given(state, dt, left, integrator)
        try:
            with Supplied("integrator", integrator):
                cloud, used, stepper = integrator.step(flow, fits, state, given)
            _check_used(used, left, state.clock.t, integrator)
            trouble = watch.trouble(state, cloud, used)
            if trouble:
                message = (
                    f"step {step} with dt = {used:g}: {trouble}; everything up to step"
                    f" {state.clock.step} is kept"
                )
                yield replace(state, status="diverged", message=message)
                return
            if taken is not None:
                taken(Move(state, used, tuple(trials or ()), cloud))
            clock, origin = _after(state, used, dt, end)
            stepper = {**stepper, "origin": origin}
            if stepper.keys() - {"origin"}:
                stepper |= {"integrator": _named(integrator), "flow": watch.mark}
            cloud, renewed = flow.settled(
                cloud, state.x, state.fit, state.target, state.clock, used
            )
            if isinstance(innermost, Optimiser):
                for rows in renewed.values():
                    stepper = innermost.renewed(stepper, rows)
            snapshot = Snapshot(clock=clock, x=cloud, memory=state.fit.memory, stepper=stepper)
            made = state.fits
            state = _state(snapshot, *fits.of(cloud, used), watch)
            state = replace(state, renewed=renewed, fits=made + fits.count)
            state = watch.fitted(state)
        except _checks.OutOfRangeError:
            message = (
                f"step {step} with dt = {given:g}: {watch.overflow(state)}; everything up to step"
                f" {state.clock.step} is kept"
            )
            yield replace(state, status="diverged", message=message)
            return
        except UnconvergedError as error:
            message = f"step {step}: {error}; everything up to step {state.clock.step} is kept"
            yield replace(state, status="not converged", message=message)
            return


def over(state: State, dt: float, end: float) -> bool:
    """Has a run with the time step `dt` come to its time `end`?

    The times of chosen lengths end there exactly. n dt ends there up to rounding.
    """
    nearly = 0.0 if chosen(state) is not None else max(NEARLY * dt, PLACES * math.ulp(end))
    return state.clock.t >= end - nearly


def chosen(state: Snapshot) -> float | None:
    """The length that the integrator wants for its next step; None where it is the run's dt."""
    wish = state.stepper.get("dt")
    return None if wish is None else float(wish)


def with_dt(start: Snapshot, dt: float) -> Snapshot:
    """The start of a run that is given `dt`: one that differs from before replaces a chosen one."""
    origin = start.stepper.get("origin")
    if chosen(start) is None or (origin is not None and float(origin[2]) == dt):
        return start
    kept = {name: value for name, value in start.stepper.items() if name != "dt"}
    return replace(start, stepper=kept)


class _Fits:
    """The fits of the step from one state, as `Refit` asks."""

    def __init__(
        self,
        estimator: Estimator,
        target: Target,
        state: State,
        dt: float,
        end: float,
        trials: list[Trial] | None,
    ) -> None:
        self.estimator, self.target, self.state = estimator, target, state
        self.count = 0
        self._times, self._trials = (dt, end), trials
        self._made: tuple[Cloud, float, Cloud | None, Fit] | None = None

    def __call__(self, x: Cloud, clock: Clock) -> Fit:
        self.count += 1
        y = self.target.at(clock)
        fit = _converged(fitted(self.estimator, x, y, clock, self.state.memory))
        return self._noted(x, clock, fit, ahead=False)

    def ahead(self, x: Cloud, dt: float) -> Fit:
        self._made = (x, dt, *self._next(x, dt))
        clock, _ = _after(self.state, dt, *self._times)
        return self._noted(x, clock, self._made[3], ahead=True)

    def _noted(self, x: Cloud, clock: Clock, fit: Fit, *, ahead: bool) -> Fit:
        if self._trials is not None:
            self._trials.append(Trial(x, clock, fit, ahead))
        return fit

    def of(self, x: Cloud, dt: float) -> tuple[Cloud | None, Fit]:
        """The target and the fit of the next state, made ahead or now."""
        made = self._made
        return made[2:] if made and made[0] is x and made[1] == dt else self._next(x, dt)

    def _next(self, x: Cloud, dt: float) -> tuple[Cloud | None, Fit]:
        self.count += 1
        clock, _ = _after(self.state, dt, *self._times)
        y = self.target.at(clock)
        return y, _converged(fitted(self.estimator, x, y, clock, self.state.fit.memory))


def _given(state: State, dt: float, left: float, integrator: Integrator) -> float:
    """The length of the next step: the integrator's or the run's, or the time that is left."""
    wish = chosen(state)
    if wish is None:
        return dt if left > dt * (1 - NEARLY) else left
    if not 0 < wish < math.inf:
        raise ValueError(
            f"`integrator` must keep as `dt` of its memory a length > 0, got {wish:g} from"
            f" {integrator}: keep the length of its next step"
        )
    return wish if left > wish * (1 + NEARLY) else left


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


def _state(snapshot: Snapshot, y: Cloud | None, fit: Fit, course: Course) -> State:
    return State(
        clock=snapshot.clock,
        x=snapshot.x,
        memory=snapshot.memory,
        stepper=snapshot.stepper,
        fit=fit,
        target=y,
        course=course,
    )


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
        raise UnconvergedError(
            f"the estimator did not converge ({facts}):"
            f" {fit.report.get('remedy', 'loosen its tolerance')}"
        )
    return fit


def _begun(start: Snapshot, dt: float, course: Course) -> Snapshot:
    """The start with the origin (t0, n0) of t = t0 + (n - n0) dt in the stepper's memory.

    Steps of the run's dt do not accumulate their time. The origin moves where a run goes on with
    another dt, and after each step of another length. The memory of another integrator is dropped.
    So is that of a run with another flow or target, whose lengths, velocities and rests it holds.
    """
    stepper: dict[str, Any] = dict(start.stepper)
    kind, mark = stepper.get("integrator"), stepper.get("flow")
    if (kind is not None and not torch.equal(kind, _named(course.integrator))) or (
        mark is not None and not torch.equal(mark, course.mark)
    ):
        stepper = {name: value for name, value in stepper.items() if name == "origin"}
    origin = stepper.get("origin")
    if origin is None or float(origin[2]) != dt:
        stepper["origin"] = _origin(start.clock.t, start.clock.step, dt)
    return replace(start, stepper=stepper)


def _after(state: State, used: float, dt: float, end: float) -> tuple[Clock, Tensor]:
    """The clock and the origin after a step of the length `used` from `state`."""
    origin, step = state.stepper["origin"], state.clock.step + 1
    if used == dt:
        t0, n0 = (float(v) for v in origin[:2])
        t = t0 + (step - n0) * dt
    else:
        t = state.clock.t + used
    if chosen(state) is not None and math.isfinite(end) and abs(end - t) <= PLACES * math.ulp(end):
        t = end
    if used != dt:
        origin = _origin(t, step, dt)
    return Clock(t, step, state.clock.draws), origin


def _origin(t: float, step: float, dt: float) -> Tensor:
    return torch.tensor([t, step, dt], dtype=torch.float64, device="cpu")


def _named(integrator: Integrator) -> Tensor:
    """The name of an integrator's class as a memory holds it: the memory belongs to this class.

    The classes whose steps it corrects follow.
    """
    kinds = [type(each) for each in chain_of(integrator)]
    name = " ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    return torch.tensor(list(name.encode()), dtype=torch.uint8)
