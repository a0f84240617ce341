"""Steppers that go to the end of a flow, not along it: `Momentum` and `Adam`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud, extent
from particleflow.flows import Flow
from particleflow.integrators.base import Optimiser, Refit, State
from particleflow.renewals import Renewed

# Adam's step for data of unit extent: a hundred steps cross it.
ADAM_STEP = 0.01


@dataclass(frozen=True)
class Momentum(Optimiser):
    """Velocities that add up: heavy ball, or Nesterov's momentum.

        u_{n+1} = decay u_n + v(x_n)
        x_{n+1} = x_n + dt u_{n+1}                      heavy ball (Polyak)
        x_{n+1} = x_n + dt (v(x_n) + decay u_{n+1})     nesterov=True

    At decay = 0.9 a steady velocity acts ten times over. Along a stiff flow's slow directions this
    needs far fewer steps than Euler's method at the same dt. Where forces fade with the distance
    (MMD, KALE), particles fly past the target and are lost: lower the decay to 0.5 or less.

    It is no Wasserstein gradient flow: the particles do not follow the flow's path, t is no time of
    the flow, and the energy may rise, for a particle that arrives goes on and turns back. Where a
    run ends is where the flow could end, not where this flow would. Nesterov's x_n are the points
    at which the velocity is taken. Log masses follow Euler's method. One fit per step. The
    stepper's memory holds u (N, d), which is 0 for particles that were just placed anew.

    Parameters
    ----------
    decay : float
        From 0 (Euler's method) to below 1.
    nesterov : bool

    Source: Polyak (1964), USSR Computational Mathematics 4; Nesterov (1983); in this form
    Sutskever, Martens, Dahl and Hinton (2013), equations 1 to 4.
    """

    decay: float = 0.9
    nesterov: bool = field(default=False, kw_only=True)
    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share(self.decay, "decay")
        _checks.flag(self.nesterov, "nesterov")

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        v, rate = flow.velocity(state.x, state.fit, state.clock)
        before = state.stepper.get("momentum")
        u = v if before is None else torch.add(v, before, alpha=self.decay)
        move = torch.add(v, u, alpha=self.decay) if self.nesterov else u
        return _moved(state.x, move, rate, dt), dt, {"momentum": u}

    def renewed(self, stepper: Memory, rows: Renewed) -> Memory:
        return {**stepper, "momentum": _without(stepper["momentum"], rows)}


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam: each coordinate of each particle moves by about dt, in the direction of its velocity.

        m = first m + (1 - first) v,    s = second s + (1 - second) v^2
        x_{n+1} = x_n + dt m' / (sqrt s' + eps),
        m' = m / (1 - first^n),    s' = s / (1 - second^n)

    dt is a length in units of the coordinates, not a time. Left out, it is a hundredth of the
    clouds' extent. Particles with a weak velocity move as far as the others, which reaches far
    targets. At the end particles hop about by dt: lower it in a further run.

    It is no Wasserstein gradient flow: each coordinate has a scale of its own, so that the result
    depends on the axes. t counts lengths, the energy may rise, and where a run ends is not where
    the flow would end. Log masses follow Euler's method. One fit per step; the stepper's memory
    holds m, s (N, d) and n. They are 0 for particles that were just placed anew, and n is then one
    number for each particle, (N,).

    Parameters
    ----------
    first, second : float
        The decay of the two averages, from 0 to below 1.
    eps : float
        > 0, a velocity: far smaller ones move a particle less than dt.

    Source: Kingma and Ba (2015), algorithm 1.
    """

    first: float = field(default=0.9, kw_only=True)
    second: float = field(default=0.999, kw_only=True)
    eps: float = field(default=1e-8, kw_only=True)
    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share(self.first, "first")
        _share(self.second, "second")
        _checks.positive(self.eps, "eps", remedy="a small velocity, e.g. 1e-8")

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        v, rate = flow.velocity(state.x, state.fit, state.clock)
        held, nothing = state.stepper, torch.zeros_like(v)
        count = held.get("count", torch.zeros((), dtype=torch.float64)) + 1
        mean = torch.lerp(v, held.get("mean", nothing), self.first)
        square = torch.lerp(v * v, held.get("square", nothing), self.second)
        scale = (square / _weight(self.second, count, v)).sqrt() + self.eps
        move = mean / _weight(self.first, count, v) / scale
        return _moved(state.x, move, rate, dt), dt, {"mean": mean, "square": square, "count": count}

    def renewed(self, stepper: Memory, rows: Renewed) -> Memory:
        count = stepper["count"].to(rows.device).expand(len(rows))
        held = {"mean": stepper["mean"], "square": stepper["square"], "count": count}
        return {**stepper, **{name: _without(part, rows) for name, part in held.items()}}

    def suggest_dt(self, flow: Flow, x: Cloud, y: Cloud | None) -> float:
        sides = extent(x.points, *([] if y is None else [y.points]))
        return float(f"{ADAM_STEP * sides:.1e}") or ADAM_STEP


def _moved(x: Cloud, move: Tensor, rate: Tensor | None, dt: float) -> Cloud:
    log_mass = x.log_mass if rate is None else x.mass.log() + dt * rate
    return Cloud(torch.add(x.points, move, alpha=dt), log_mass=log_mass)


def _without(memory: Tensor, rows: Renewed) -> Tensor:
    """The memory (N, ...), none of it in `rows`."""
    kept = memory.clone()
    kept[rows] = 0
    return kept


def _weight(decay: float, count: Tensor, like: Tensor) -> float | Tensor:
    """1 - decay^n, the weight of n velocities in their average; (N, 1) for a count of each row."""
    if count.ndim == 0:
        return 1 - decay ** float(count)
    return (1 - decay ** count[:, None]).to(like)


def _share(value: float, name: str) -> None:
    if not 0 <= _checks.real(value, name) < 1:
        raise ValueError(f"`{name}` must be from 0 to below 1, got {value}: e.g. 0.9")
