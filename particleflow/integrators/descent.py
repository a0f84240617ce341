"""`Descent`: steps of a conservative flow, each as long as the energy allows, which never rises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Memory
from particleflow.clouds import Cloud, FixedTarget, Target
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State, UnconvergedError
from particleflow.integrators.runge_kutta import (
    Euler,
    LengthsOf,
    RungeKutta,
    advance,
    slopes_of,
)

# The share of the fall dt |v|^2 that a step must bring. With it no step is much longer than the one
# that leads to the least energy along v; 0.1 needs as many steps, 0.5 more trials.
SHARE = 0.3
# A step is at most this many times as long as the one before: the curvature along one step tells
# little of the energy farther away.
GROWTH = 10.0
# The least factor by which a refused step is shortened: the parabola is not trusted beyond.
LEAST = 0.1
# The largest factor by which a refused step is shortened.
MOST = 0.5
# The shortest step, in units of the first accepted one: below it no step lowers the energy.
SHORTEST = 1e-6
# The relative rounding of an energy, a sum of many terms, in machine epsilons.
EPSILONS = 500


@dataclass(frozen=True)
class Descent(LengthsOf):
    r"""Steps of a conservative flow, each as long as the energy allows, which never rises.

    .. math::

        E(x_{n+1}) \le E(x_n) - 0.3\, \Delta t \sum_i m_i |v_i|^2 , \qquad
        x_{n+1} = x_n + \Delta t\, v(x_n) ,

    with the energy E of the fits and the masses m_i (1/N each by default): a step is accepted if
    the energy falls by this share of its first-order fall (Armijo). Otherwise it is taken again, at
    the least point of the parabola through what is known, between a tenth and a half of its length.
    The first length tried is that of Barzilai and Borwein,

    .. math::

        \Delta t = \frac{\langle s, g \rangle}{\langle g, g \rangle} , \qquad
        s = x_n - x_{n-1} , \quad g = v_{n-1} - v_n ,

    with products weighted by masses: the inverse of the curvature that the last step has met. It is
    often many times the longest dt that is stable for ever, and no shorter than the first step,
    which tries the run's dt. So few steps bring a low energy, and t is only roughly a time of the
    flow: steps are as long as the energy allows, not as the flow's path does.

    What is compared are the values of the fits, without a margin. They are exact up to their own
    errors: the gaps of inner solvers, twice the promises of fast sums, and rounding. Where dt |v|^2
    is below these errors, no step can be seen to lower the energy: the particles rest.
    `path.report["controller"]` tells `accepted` steps, `backtracks` (trials that were refused),
    `rests`, and `largest_increase`, the largest rise of the values over a step beyond these errors:
    0.

    Conservative flows only: no noise, diffusion, reaction, changing lam or moving target, and a
    mobility that makes v the gradient of the energy. Where a kernel has a kink (Laplace, Energy),
    particles that meet may leave no step that lowers the energy. The run then ends as "not
    converged". With a smooth kernel, or `Euler`, it does not.

    Parameters
    ----------
    scheme : RungeKutta
        The scheme of the steps; one of higher order needs as many fits more for each trial.

    Raises
    ------
    TypeError
        `scheme` is no Runge-Kutta scheme.
    ValueError
        At the start of a run: the flow is not conservative, or its target moves.

    Cost: a fit, its value and its velocity for each trial; the accepted one serves as the next
    state's. Memory O(N d).
    Source: Armijo (1966), Pacific Journal of Mathematics 16; Barzilai and Borwein (1988), IMA
    Journal of Numerical Analysis 8.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # E = x^2 / 2 + const
    >>> descent = pf.integrators.Descent()
    >>> path = pf.simulate(drift, [[1.0]], steps=2, dt=0.1, integrator=descent)
    >>> path.particles.flatten().tolist()  # the second step knows the curvature
    [1.0, 0.9, 0.0]
    """

    scheme: RungeKutta = Euler()

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, RungeKutta):
            raise TypeError(
                f"`scheme` must be a Runge-Kutta scheme, got {_checks.came(self.scheme)}: e.g."
                " pf.Euler()"
            )

    @property
    def order(self) -> float:
        return self.scheme.order

    @property
    def stages(self) -> int:
        return self.scheme.stages

    @property
    def stochastic(self) -> bool:
        return False

    @property
    def remedy(self) -> str:
        return "Euler() with a fixed dt"

    def check(self, flow: Flow, target: Target) -> None:
        reason = _not_conservative(flow, target)
        if reason:
            raise RefusedValueError(
                "integrator",
                "must not be Descent() here: it lowers the energy of a conservative flow, and"
                f" {reason}",
                remedy="use pf.integrators.Adaptive() or pf.Euler()",
            )

    def told(self, stepper: Memory) -> Mapping[str, float]:
        names = ("accepted", "backtracks", "rests", "largest_increase")
        return {name: float(stepper[name]) for name in names if name in stepper}

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        held = {name: float(value) for name, value in state.stepper.items() if value.ndim == 0}
        energy, wish = flow.energy(state.fit, state.x), held.get("dt", dt)
        v, _ = flow.velocity(state.x, state.fit, state.clock)
        steepness, start = _product(state.x, v, v), held.get("start", math.inf)
        found, refused = None, 0
        if steepness and not held.get("resting"):
            trial = min(dt, max(_curved(state, v), held.get("start", 0.0)))
            least = SHORTEST * min(start, trial)
            found, refused = self._searched(flow, refit, state, v, (trial, least), energy)
            if found is None and steepness * min(start, trial) > _errors(state):
                raise UnconvergedError(_failed(state, energy))
        x, used = found or (state.x, min(dt, held.get("length", dt)))
        rise = flow.energy(refit.ahead(x, used), x) - energy if found is None else 0.0
        start = used if math.isinf(start) else start
        longer = max(GROWTH * used, start) if found else wish
        numbers = {
            # a step that the engine has shortened is no reason for short ones
            "dt": max(longer, wish) if dt < wish else longer,
            "length": used,
            "start": start,
            "resting": float(found is None),
            "accepted": held.get("accepted", 0.0) + 1,
            "backtracks": held.get("backtracks", 0.0) + refused,
            "rests": held.get("rests", 0.0) + (found is None),
            "largest_increase": max(
                held.get("largest_increase", 0.0), rise - _errors(state) if rise > 0 else 0.0
            ),
        }
        memory = {n: torch.tensor(value, dtype=torch.float64) for n, value in numbers.items()}
        return x, used, memory | {"move": x.points - state.x.points, "velocity": v}

    def _searched(
        self,
        flow: Flow,
        refit: Refit,
        state: State,
        v: Tensor,
        lengths: tuple[float, float],
        energy: float,
    ) -> tuple[tuple[Cloud, float] | None, int]:
        """The end and the length of a step that lowers the energy, and the trials before it.

        `lengths` are the first and the least one tried. There is no step where the fall would be
        lost in the rounding of the energy.
        """
        (trial, least), steepness, refused = lengths, _product(state.x, v, v), 0
        lost = torch.finfo(v.dtype).eps * abs(energy)
        while trial >= least and trial * steepness > lost:
            now = math.inf
            try:
                slopes = slopes_of(self.scheme.a, flow, refit, state, trial, (v, None))
                x = advance(state.x, slopes, self.scheme.b, trial)
                if _checks.all_finite(x.points):
                    now = flow.energy(refit.ahead(x, trial), x)
                if now <= energy - SHARE * trial * steepness:
                    return (x, trial), refused
            except (_checks.OutOfRangeError, UnconvergedError):
                pass
            refused += 1
            # E(dt) is about E - steepness dt + rise (dt / trial)^2
            rise = now - energy + trial * steepness
            lowest = trial * steepness / (2 * rise) if 0 < rise < math.inf else LEAST
            trial *= min(MOST, max(LEAST, lowest))
        return None, refused


def _curved(state: State, v: Tensor) -> float:
    """The length of Barzilai and Borwein; infinite where the energy has no curvature."""
    move, before = state.stepper.get("move"), state.stepper.get("velocity")
    if move is None or before is None or move.shape != v.shape:
        return math.inf
    change = before - v
    along, square = _product(state.x, move, change), _product(state.x, change, change)
    return along / square if along > 0 else math.inf


def _product(x: Cloud, a: Tensor, b: Tensor) -> float:
    """sum_i m_i a_i . b_i."""
    return float(x.double().mean((a.double() * b.double()).sum(1)))


def _errors(state: State) -> float:
    """How far apart the values of two fits like this one may be that stand for equal energies."""
    fit = state.fit
    rounding = EPSILONS * torch.finfo(state.x.points.dtype).eps * max(1.0, abs(fit.value or 0.0))
    promised = 0.0 if fit.promise is None else 4 * fit.promise.value
    return rounding + 2 * (fit.reported("gap") or 0.0) + promised


def _failed(state: State, energy: float) -> str:
    return (
        f"no step from t = {state.clock.t:g} lowers the energy, {energy:.4g}, however short: where"
        " the kernel has a kink, particles that meet stop it; take a smooth kernel, or pf.Euler()"
    )


def _not_conservative(flow: Flow, target: Target) -> str:
    """Why a flow has no energy that its steps can lower; empty where it has one."""
    estimator = type(flow.estimator).__name__
    parts = {"noise": flow.noise, "diffusion": flow.diffusion, "reaction": flow.reaction}
    for name, part in parts.items():
        if part is not None:
            return f"this one has {name}"
    if not isinstance(target, FixedTarget):
        return "this one has a moving target"
    if flow.estimator.energy_slope is None:
        return f"the velocity of {estimator} is no gradient of a fixed energy (or lam changes)"
    if not flow.estimator.deterministic:
        return f"each fit of {estimator} differs, on the same clouds"
    return "" if flow.conservative else "its mobility rescales the gradient of the energy"
