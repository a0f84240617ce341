"""Euler steps whose length follows the change of the velocity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Memory
from particleflow.clouds import Cloud, Target
from particleflow.estimators.base import smoothness_of
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State
from particleflow.integrators.last import LastSlope
from particleflow.integrators.runge_kutta import Euler, LengthsOf, advance, stage_clock

# The largest ratio of a step's length to that of the step before.
GROWTH = 1.5
# The share of the fastest rate that is left a step later, so that those of about the last twenty
# steps count. With 0.9 a length that had just been too large is tried again too soon: without steps
# that are taken back the energies of seven MMD flows rose in 12 of 2800 steps, with this in one.
KEPT = 0.95
# The relative change of the velocity from which a step is taken back, in units of `change`. A
# conservative energy falls in shorter steps, up to terms of third order.
REJECTED = 1.5
# The least factor by which it is shortened, and how often in a row: of the first step, whose length
# was given, and of the others.
SHRINKAGE = 0.05
FIRST_TRIES = 20
TRIES = 3
# The least length in units of the last place of the time: shorter steps would not move it.
PLACES = 8


@dataclass(frozen=True)
class Paced(LengthsOf):
    r"""Euler's method with steps as long as the change of the velocity allows, order 1.

    .. math::

        x_{n+1} = x_n + h_n v_n , \qquad
        r_n = \frac{\lVert v_{n+1} - v_n \rVert}{h_n \lVert v_n \rVert} ,

    .. math::

        R_n = \max(r_n,\; 0.95 R_{n-1}) , \qquad
        h_{n+1} = \min(\text{change} / R_n ,\; 1.5\, h_n) .

    The change of the velocity over the last step gives a rate r, and the fastest of the recent
    rates gives the next length. So the velocity changes by about the share `change` in a step, and
    h_0 = dt, which `Flow.suggest_dt` finds, need only suit the start. A step over which it changes
    by more than 1.5 `change` is taken back and shortened, at most three times in a row (the first
    step 20 times): where kernels with a kink let particles hop, no step is short enough.

    A conservative energy falls, up to terms of the order h^3, while the velocity changes by less
    than its own size. Euler's method is stable up to h R = 2, and its local error is h change |v| /
    2. At a fixed time the error does not vanish with dt; it does with `change`. It is the default
    where the flow's bandwidth changes and dt is left out (`Continuation`, `auto_flow`).

    Flows with noise, and witnesses whose gradient jumps or is trained, are refused: their velocity
    changes from step to step however short these are. `path.report["controller"]` tells `last_dt`
    and `rejected`.

    Parameters
    ----------
    change : float
        The relative change of the velocity in a step, > 0 and < 2. Less follows the exact flow more
        closely.

    Raises
    ------
    ValueError
        `change` is out of its range; or, at the start of a run, the flow has noise, diffusion or no
        smooth witness.
    TypeError
        `change` is no number.

    Cost: one fit a step, and one more for each step that is taken back.
    Source: ours; the control of a step by the local error of Euler's method, as in Soderlind
    (2003), Digital filters in adaptive time-stepping, ACM Transactions on Mathematical Software 29.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x, a rate of 1
    >>> paced = pf.integrators.Paced(change=0.5)
    >>> path = pf.simulate(drift, [[1.0]], steps=6, dt=0.1, integrator=paced)
    >>> [round(h, 4) for h in path.times.diff().tolist()]  # up to change / rate
    [0.1, 0.15, 0.225, 0.3375, 0.5, 0.5]
    """

    change: float = 0.5
    _last: LastSlope = field(default_factory=LastSlope, init=False, repr=False, compare=False)
    order: ClassVar[float] = 1.0
    stages: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        remedy = "take 0.5; less follows the exact flow more closely"
        object.__setattr__(self, "change", _checks.positive(self.change, "change", remedy=remedy))
        if self.change >= 2:
            raise RefusedValueError("change", "must be less than 2", f"{self.change:g}", remedy)

    @property
    def scheme(self) -> Euler:
        return Euler()

    def check(self, flow: Flow, target: Target) -> None:
        if flow.noise is not None or flow.diffusion is not None:
            raise ValueError(
                "`integrator` Paced() needs a flow without noise, got"
                f" noise={flow.noise}, diffusion={flow.diffusion}: at random, a velocity changes"
                " from step to step however short these are; use pf.Euler() or pf.EulerMaruyama()"
            )
        if smoothness_of(flow.estimator) is False:
            name = type(flow.estimator).__name__
            raise ValueError(
                f"`integrator` Paced() needs a smooth witness, got that of {name}, whose velocity"
                " turns round however short a step is; use pf.Euler()"
            )

    def told(self, stepper: Memory) -> Mapping[str, float]:
        pace = stepper.get("pace")
        return {} if pace is None else {"last_dt": float(pace[0]), "rejected": float(pace[2])}

    @property
    def remedy(self) -> str:
        return f"integrator=pf.integrators.Paced(change={self.change / 4:g})"

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        slope = self._last.of(state.fit) or flow.velocity(state.x, state.fit, state.clock)
        pace = state.stepper.get("pace")
        fastest, rejected = (0.0, 0.0) if pace is None else map(float, pace[1:])
        most = FIRST_TRIES if pace is None else TRIES
        length, tries, least = dt, 0, PLACES * math.ulp(state.clock.t)
        while True:
            x = advance(state.x, [slope], (1.0,), length)
            fit = refit.ahead(x, length)
            ahead = flow.velocity(x, fit, stage_clock(state.clock, length))
            change = _change(slope[0], ahead[0])
            if change <= REJECTED * self.change or tries == most or length <= least:
                break
            length = max(least, length * max(SHRINKAGE, self.change / change))
            tries += 1
        self._last.keep(fit, ahead)
        fastest = max(change / length, KEPT * fastest)
        wanted = GROWTH * length
        if fastest > 0:
            wanted = min(wanted, max(self.change / fastest, least))
        numbers = [length, fastest, rejected + tries]
        return (
            x,
            length,
            {
                **state.stepper,
                "pace": torch.tensor(numbers, dtype=torch.float64, device="cpu"),
                "dt": torch.tensor(wanted, dtype=torch.float64, device="cpu"),
            },
        )


def _change(before: Tensor, after: Tensor) -> float:
    """The relative change of the velocity; 0 where there was none, or where it is not finite."""
    size = float(before.norm())
    change = float((after - before).norm()) / size if size > 0 else 0.0
    return change if math.isfinite(change) else 0.0
