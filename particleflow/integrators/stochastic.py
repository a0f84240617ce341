"""Integrators for flows with diffusion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State
from particleflow.integrators.runge_kutta import Euler


@dataclass(frozen=True)
class EulerMaruyama:
    r"""The Euler-Maruyama method, for flows with diffusion: weak order 1, one fit per step.

    .. math::

        x_{n+1} = x_n + \Delta t\, v(x_n) + \sigma(t_n) \sqrt{\Delta t}\; \xi_n , \qquad
        \xi_n \sim \mathcal{N}(0, I) .

    It is the default for a flow with diffusion, and Euler's method without. On a Langevin flow it
    is the unadjusted Langevin algorithm (ULA), whose stationary distribution is biased by O(dt): on
    N(0, 1) the variance is 1 / (1 - dt/2). The drift is stable for dt rho < 2, with rho its fastest
    rate of contraction; `Flow.suggest_dt` takes 0.1 / rho. The random numbers are a function of the
    seed and the step: a run repeats.

    Cost: one fit, one velocity and N d random numbers per step.
    Source: Maruyama (1955); Kloeden and Platen, Numerical Solution of Stochastic Differential
    Equations, sections 10.2 and 14.1; Roberts and Tweedie (1996), Bernoulli 2, for ULA.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> x0 = normal.sample(5000, seed=1)
    >>> path = pf.simulate(pf.langevin(normal), x0, steps=20, dt=0.5)
    >>> print(f"{float(path.particles[-1].var()):.1f}")  # 1 / (1 - dt / 2)
    1.3
    """

    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        x, dt, stepper = Euler().step(flow, refit, state, dt)
        if not callable(flow.diffusion):
            return x, dt, stepper
        sigma = flow.sigma(state.clock)
        xi = state.clock.draws.normal("brownian", state.clock.step, x.points)
        return (
            Cloud(torch.add(x.points, xi, alpha=sigma * math.sqrt(dt)), log_mass=x.log_mass),
            dt,
            stepper,
        )
