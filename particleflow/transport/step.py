"""One step of a run for other points: the same fits, the same length, the same stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow._refusals import RefusedValueError
from particleflow._typing import Array, Memory, Points, Values
from particleflow.clouds import Clock, Cloud, Randomness
from particleflow.estimators import Fit
from particleflow.flows import Flow
from particleflow.integrators import (
    Controller,
    Integrator,
    LengthsOf,
    Periodic,
    RungeKutta,
    State,
)
from particleflow.integrators.boxes import Boxed
from particleflow.integrators.runge_kutta import advance, stage_clock
from particleflow.recipe import Leg
from particleflow.stepping import Move, Trial
from particleflow.transport.inverse import inverted


def scheme_of(integrator: Integrator) -> Integrator:
    """The scheme of the steps of an integrator whose lengths are known, in its box."""
    if isinstance(integrator, Boxed):
        return replace(integrator, integrator=scheme_of(integrator.integrator))
    if isinstance(integrator, LengthsOf):
        return integrator.scheme
    if isinstance(integrator, Controller):
        raise RefusedValueError(
            "integrator",
            "must take the steps of a known scheme to move other points",
            f"{integrator}, which chooses lengths and names no scheme",
            "let it inherit from particleflow.integrators.LengthsOf",
        )
    return integrator


def _without_boxes(integrator: Integrator) -> Integrator:
    return _without_boxes(integrator.integrator) if isinstance(integrator, Boxed) else integrator


def _unrolled(scheme: Integrator) -> Integrator:
    """The scheme with walls alone: its points do not jump from one side to the other."""
    if not isinstance(scheme, Boxed):
        return scheme
    inner = _unrolled(scheme.integrator)
    return inner if isinstance(scheme, Periodic) else replace(scheme, integrator=inner)


class _Recorded:
    """The fits of a step, in the order in which they were asked for."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._left: Iterator[Trial] = iter(trials)

    def __call__(self, x: Cloud, clock: Clock) -> Fit:
        return self._next()

    def ahead(self, x: Cloud, dt: float) -> Fit:
        return self._next()

    def _next(self) -> Fit:
        trial = next(self._left, None)
        if trial is None:
            raise RefusedValueError(
                "integrator",
                "must ask for as many fits with other points as it did in the run",
                "a step that asks for more",
                "take a Runge-Kutta scheme",
            )
        return trial.fit


class _Anew:
    """Random numbers of other points: streams of their own, one for each chunk of rows."""

    def __init__(self, draws: Randomness, chunk: int) -> None:
        self._draws, self._chunk = draws, chunk

    def normal(self, stream: str, step: int, like: Array) -> Array:
        return self._draws.normal(f"{stream} of other points {self._chunk}", step, like)

    def child_seed(self, stream: str, step: int) -> int:
        return self._draws.child_seed(stream, step)


class Step:
    """z -> z + dt sum_s b_s v_s(z_s) of one step of a run, v_s = slope of the fit at stage s.

    Points see the fits and the noise level beta of the run. Masses and renewals do not move them.
    """

    def __init__(self, leg: Leg, move: Move) -> None:
        self.move, self.scheme = move, scheme_of(leg.integrator)
        self.trials = move.trials
        if isinstance(_without_boxes(leg.integrator), LengthsOf):
            self.trials = _accepted(move.trials, self.scheme.stages)
        flow, state = leg.flow, move.state
        if flow.noise is not None:
            seen = [(state.x, state.fit, state.clock)]
            seen += [(trial.x, trial.fit, trial.clock) for trial in self.trials]
            self._betas = {id(fit): flow.beta(x, fit, clock) for x, fit, clock in seen}
        self.flow = Flow(
            flow.estimator,
            mobility=flow.mobility,
            noise=None if flow.noise is None else self._beta,
            diffusion=flow.diffusion,
        )

    def _beta(self, clock: Clock, fit: Fit) -> float:
        return self._betas[id(fit)]

    @property
    def rests(self) -> bool:
        """Did the run move no particle, such as where no step lowers an energy?"""
        return self.move.cloud is self.move.state.x

    def moved(self, z: Points, memory: Memory, chunk: int = 0) -> tuple[Points, Memory]:
        """The points after the step, and the integrator's memory of them."""
        return self._moved(self.scheme, z, memory, chunk)

    def origins(self, y: Points) -> tuple[Points, Bool[Tensor, "Q"]]:
        """z with T(z) = y, and the rows where none was found."""
        scheme = _unrolled(self.scheme)
        z, lost = inverted(lambda z: self._moved(scheme, z, {}, 0)[0], y)
        box = self.scheme
        while isinstance(box, Boxed):
            inside = box.wrapped(z)
            if isinstance(box, Periodic):
                z = inside
            else:  # no particle comes from behind a wall
                lost = lost | (inside != z).any(1)
            box = box.integrator
        return z, lost

    def _moved(
        self, scheme: Integrator, z: Points, memory: Memory, chunk: int
    ) -> tuple[Points, Memory]:
        if self.rests:
            return z, memory
        state = self.move.state
        clock, own = state.clock, z.shape == state.x.points.shape
        draws = clock.draws if own else _Anew(clock.draws, chunk)
        begun = State(
            clock=Clock(clock.t, clock.step, draws),
            x=Cloud(z),
            stepper=memory,
            fit=state.fit,
            target=state.target,
        )
        cloud, _, later = scheme.step(self.flow, _Recorded(self.trials), begun, self.move.used)
        return cloud.points, later

    def log_det(self, z: Points) -> Values:
        """log det dT (Q,) of the step T at z, in float64; NaN where det dT <= 0.

        With the derivatives J_s (d, d) of the velocities at the stages z_s,

            K_s = J_s (I + dt sum_r a_sr K_r),    dT = I + dt sum_s b_s K_s.
        """
        if self.rests:
            return z.new_zeros(len(z), dtype=torch.float64)
        scheme, state, dt = self.scheme, self.move.state, self.move.used
        assert isinstance(scheme, RungeKutta)
        fits = [state.fit, *(trial.fit for trial in self.trials)]
        unit = torch.eye(z.shape[1], dtype=torch.float64, device=z.device)
        slopes: list[tuple[Tensor, None]] = []
        bends: list[Float[Tensor, "Q d d"]] = []
        for fit, row in zip(fits, scheme.a, strict=True):
            x = advance(Cloud(z), slopes, row, dt)
            clock = stage_clock(state.clock, sum(row) * dt)
            slopes.append((self.flow.velocity(x, fit, clock)[0], None))
            within = unit + dt * _weighted(row, bends) if bends else unit
            bends.append(self.flow.jacobian(x.points, fit) @ within)
        sign, log = torch.linalg.slogdet(unit + dt * _weighted(scheme.b, bends))
        return torch.where(sign > 0, log, torch.nan)


def _accepted(trials: Sequence[Trial], stages: int) -> tuple[Trial, ...]:
    """The fits of the accepted step's stages: those before the last one made ahead."""
    last = max((k for k, trial in enumerate(trials) if trial.ahead), default=0)
    return tuple(trials[last - (stages - 1) : last])


def _weighted(weights: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    return sum(
        (weight * part for weight, part in zip(weights, parts, strict=False) if weight),
        torch.zeros_like(parts[0]),
    )
