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
    r"""Velocities that add up: heavy ball, or Nesterov's momentum.

    .. math::

        \begin{aligned}
        u_{n+1} &= \mu\, u_n + v(x_n) , \\
        x_{n+1} &= x_n + \Delta t\, u_{n+1} \quad \text{(heavy ball)} \\
        x_{n+1} &= x_n + \Delta t\, (v(x_n) + \mu\, u_{n+1}) \quad \text{(Nesterov)}
        \end{aligned}

    with u_0 = 0 and :math:`\mu` the `decay`. At 0.9 a steady velocity acts ten times over. Along a
    stiff flow's slow directions this needs far fewer steps than Euler's method at the same dt.
    Where forces fade with the distance (MMD, KALE), particles fly past the target and are lost:
    lower the decay to 0.5 or less. On a quadratic energy with the fastest rate rho the heavy ball
    is stable for dt rho < 2 (1 + decay).

    It is no Wasserstein gradient flow: the particles do not follow the flow's path, t is no time of
    the flow, and the energy may rise, for a particle that arrives goes on and turns back. Where a
    run ends is where the flow could end, not where this flow would. Nesterov's x_n are the points
    at which the velocity is taken. Log masses follow Euler's method. The stepper's memory holds
    u (N, d), which is 0 for particles that were just placed anew.

    Parameters
    ----------
    decay : float
        From 0 (Euler's method) to below 1.
    nesterov : bool
        The third line of the formula in the place of the second.

    Raises
    ------
    ValueError
        `decay` is not from 0 to below 1.
    TypeError
        `decay` is no number, or `nesterov` is not True or False.

    Cost: one fit and one velocity per step; memory O(N d).
    Source: Polyak (1964), USSR Computational Mathematics 4; Nesterov (1983); in this form
    Sutskever, Martens, Dahl and Hinton (2013), equations 1 to 4.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> heavy = pf.integrators.Momentum(decay=0.5)
    >>> path = pf.simulate(drift, [[8.0]], steps=3, dt=0.5, integrator=heavy)
    >>> path.particles.flatten().tolist()  # Euler's method: 8, 4, 2, 1
    [8.0, 4.0, 0.0, -2.0]
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
    r"""Adam: each coordinate of each particle moves by about dt, in the direction of its velocity.

    .. math::

        \begin{aligned}
        m_n &= \beta_1 m_{n-1} + (1 - \beta_1)\, v , \\
        s_n &= \beta_2 s_{n-1} + (1 - \beta_2)\, v^2 , \\
        x_{n+1} &= x_n + \Delta t\, \frac{m_n / (1 - \beta_1^n)}
        {\sqrt{s_n / (1 - \beta_2^n)} + \epsilon} ,
        \end{aligned}

    coordinate by coordinate, n counted from 1, with :math:`\beta_1` the argument `first` and
    :math:`\beta_2` the argument `second`. dt is a length in units of the coordinates, not a time.
    Left out, it is a hundredth of the clouds' extent. Particles with a weak velocity move as far as
    the others, which reaches far targets. At the end particles hop about by dt: lower it in a
    further run.

    It is no Wasserstein gradient flow: each coordinate has a scale of its own, so that the result
    depends on the axes. t counts lengths, the energy may rise, and where a run ends is not where
    the flow would end. Log masses follow Euler's method. The stepper's memory holds m, s (N, d) and
    n. They are 0 for particles that were just placed anew, and n is then one number for each
    particle, (N,).

    Parameters
    ----------
    first : float
        The decay of the average of velocities, from 0 to below 1.
    second : float
        The decay of the average of their squares, from 0 to below 1.
    eps : float
        > 0, a velocity: far smaller ones move a particle less than dt.

    Raises
    ------
    ValueError
        `first` or `second` is not from 0 to below 1, or `eps` not > 0.
    TypeError
        One of them is no number.

    Cost: one fit and one velocity per step; memory O(N d).
    Source: Kingma and Ba (2015), algorithm 1.

    >>> normal = pf.samplers.Gaussian(dim=2)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> adam = pf.integrators.Adam()
    >>> path = pf.simulate(drift, [[1.0, -100.0]], steps=1, dt=0.5, integrator=adam)
    >>> [round(c, 4) for c in path.particles[-1, 0].tolist()]  # both by dt
    [0.5, -99.5]
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
