"""`Adaptive`: a Runge-Kutta scheme whose steps are as long as an error tolerance allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Cloud, Target
from particleflow.estimators import Fit
from particleflow.flows import Flow
from particleflow.integrators.base import Refit, State, UnconvergedError
from particleflow.integrators.last import LastSlope
from particleflow.integrators.runge_kutta import (
    DormandPrince,
    Embedded,
    LengthsOf,
    Slope,
    advance,
    slopes_of,
    stage_clock,
)

# The share of the length that would just meet the tolerance (Hairer, Norsett and Wanner, II.4).
SAFETY = 0.9
# A step is at most this many times as long as the one before (Hairer, Norsett and Wanner, II.4).
GROWTH = 5.0
# A step that was refused is tried again with at least this share of its length.
SHRINK = 0.1
# The power of this error in the choice of the next length, over the order of the error (Soderlind
# 2003, the controller PI.3.4).
INTEGRAL = 0.7
# The power of the error before that one, in the same units.
PROPORTIONAL = 0.4
# The least error, in tolerances, that enters the choice of the next length: below it a velocity
# that happens to vanish would hold the following steps back.
SMALL = 1e-4
# The shortest step, in units of the first accepted one: the tolerance cannot be met.
SHORTEST = 1e-10
# The longest step, in units of the first accepted one: the flow is at rest.
LONGEST = 1e6


@dataclass(frozen=True)
class Adaptive(LengthsOf):
    r"""Runge-Kutta steps as long as the error of an embedded scheme stays within a tolerance.

    .. math::

        \varepsilon = \left\lVert \frac{e}{\text{atol} + \text{rtol}\, s} \right\rVert
        \le 1 , \qquad \lVert e \rVert^2 = \frac{1}{N d} \sum_i |e_i|^2 ,

    with the scheme's estimate e (N, d) of the error of a step, and s the root mean square distance
    of particles and target points, over all coordinates, from their common mean: the tolerance does
    not depend on the origin or the unit of length. Log masses count with |e| / rtol. A step that is
    not accepted is taken again, shorter, from the same state and its memory. A trial stage that
    diverges or whose fit does not converge is such a step. The next length is

    .. math::

        h_{n+1} = 0.9\, h_n\, \varepsilon_n^{-0.7 / p}\, \varepsilon_{n-1}^{\,0.4 / p} ,

    p - 1 the order of the error, with 0.2 to 5 times the last length (PI control). All stages and
    all trials of a step see the random numbers of that step.

    The errors of single steps add up: the error at a fixed time is in proportion to the tolerance,
    and not bounded by it. Where trajectories come together, as in most flows, it is about as large.
    A tolerance below the errors of the fits (an inner solver, sums over pairs) is of no use. As in
    every explicit scheme, stiffness limits the lengths: near the end of a flow, steps are about as
    long as its fastest rate allows. It needs a deterministic estimator, and takes no diffusion.

    The first step has the run's dt, or less. A run whose steps fall below 1e-10 of the first one
    ends as "not converged". `path.report["controller"]` tells the `accepted` and the `rejected`
    steps.

    Parameters
    ----------
    scheme : BogackiShampine, DormandPrince or another Embedded scheme
        The first is cheaper for rtol from about 1e-3 on.
    rtol : float
        > 0, relative to the extent s of the clouds.
    atol : float
        >= 0, in units of the coordinates.

    Raises
    ------
    ValueError
        `rtol` is not > 0, or `atol` < 0.
    TypeError
        `scheme` is no `Embedded` scheme; `rtol` or `atol` is no number.

    Cost: `scheme.stages` fits per trial; the last fit serves as the next state's.
    Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section II.4;
    Soderlind (2003), ACM Transactions on Mathematical Software 29.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> adaptive = pf.integrators.Adaptive(rtol=1e-7)
    >>> path = pf.simulate(drift, [[1.0], [-1.0]], t1=1.0, integrator=adaptive)
    >>> print(f"{float(path.particles[-1, 0]):.6f}")  # exact: exp(-1) = 0.367879
    0.367879
    """

    scheme: Embedded = DormandPrince()
    rtol: float = field(default=1e-3, kw_only=True)
    atol: float = field(default=0.0, kw_only=True)
    _last: LastSlope = field(default_factory=LastSlope, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, Embedded):
            raise TypeError(
                "`scheme` must be a scheme with an error of its own, got"
                f" {_checks.came(self.scheme)}: e.g. pf.integrators.DormandPrince()"
            )
        _checks.positive(self.rtol, "rtol", remedy="the relative error of a step, e.g. 1e-3")
        _checks.non_negative(self.atol, "atol")

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
        scheme = "" if self.scheme == DormandPrince() else f"{self.scheme}, "
        return f"Adaptive({scheme}rtol={self.rtol / 10:.2g})"

    def check(self, flow: Flow, target: Target) -> None:
        """Takes every flow whose fit is deterministic."""

    def told(self, stepper: Memory) -> Mapping[str, float]:
        return {name: float(stepper[name]) for name in ("accepted", "rejected") if name in stepper}

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        held = {name: float(value) for name, value in state.stepper.items() if value.ndim == 0}
        wish, given, power = held.get("dt", dt), dt, 1 / (self.scheme.lower + 1)
        first = self._last.of(state.fit) or flow.velocity(state.x, state.fit, state.clock)
        rejected = 0
        while True:
            error, x, fit, last = self._tried(flow, refit, state, dt, first)
            if error <= 1:
                break
            rejected += 1
            shrink = max(SHRINK, SAFETY * error**-power) if math.isfinite(error) else SHRINK
            if dt * shrink < SHORTEST * held.get("start", given):
                raise UnconvergedError(self._failed(state, dt, error))
            dt *= shrink
        error = max(error, SMALL)
        before = held.get("error", error ** ((INTEGRAL - 1) / PROPORTIONAL))
        factor = SAFETY * error ** (-INTEGRAL * power) * before ** (PROPORTIONAL * power)
        start = held.get("start", dt)
        longer = dt * min(GROWTH if not rejected else 1.0, max(1 / GROWTH, factor))
        if given < wish and not rejected:  # the engine has shortened this step
            longer, error = max(longer, wish), held.get("error", error)
        if flow.noise is None:
            self._last.keep(fit, last)
        numbers = {
            "dt": min(longer, LONGEST * start),
            "error": error,
            "start": start,
            "accepted": held.get("accepted", 0.0) + 1,
            "rejected": held.get("rejected", 0.0) + rejected,
        }
        return x, dt, {name: _number(value) for name, value in numbers.items()}

    def _tried(
        self, flow: Flow, refit: Refit, state: State, dt: float, first: Slope
    ) -> tuple[float, Cloud, Fit, Slope]:
        """The error of a step in tolerances, its end, and the fit and the velocity there.

        The fit at the end is that of the next state. It may differ from that of a stage: of another
        minibatch, of a lam that changes from step to step. Where it tells too large an error, the
        fit of a stage decides.
        """
        x, fit, last, error = state.x, state.fit, first, math.inf
        try:
            slopes = slopes_of(self.scheme.a, flow, refit, state, dt, first)
            x = advance(state.x, slopes, self.scheme.b, dt)
            if not _checks.all_finite(x.points):
                return math.inf, x, fit, last
            clock, fit = stage_clock(state.clock, dt), refit.ahead(x, dt)
            last = flow.velocity(x, fit, clock)
            error = self._error(state, [*slopes, last], dt)
            if not error <= 1:
                again = flow.velocity(x, refit(x, clock), clock)
                error = self._error(state, [*slopes, again], dt)
            error = error if math.isfinite(error) else math.inf
        except (_checks.OutOfRangeError, UnconvergedError):
            return math.inf, x, fit, last
        return error, x, fit, last

    def _error(self, state: State, slopes: list[Slope], dt: float) -> float:
        """The root mean square of the errors of all coordinates and log masses, in tolerances."""
        pairs = list(zip(self.scheme.b_error, slopes, strict=True))
        moved = sum((weight * v for weight, (v, _) in pairs if weight), torch.zeros(()))
        assert isinstance(moved, Tensor)
        errors = dt * moved.double().view(-1) / self._tolerance(state)
        rates = [(weight, rate) for weight, (_, rate) in pairs if weight and rate is not None]
        if rates:
            of_mass = sum((weight * rate for weight, rate in rates), torch.zeros(()))
            assert isinstance(of_mass, Tensor)
            errors = torch.cat([errors, dt * of_mass.double() / self.rtol])
        found = float(errors.square().mean().sqrt())
        return 0.0 if not bool(moved.any()) and not rates else found

    def _tolerance(self, state: State) -> float:
        clouds = [state.x] if state.target is None else [state.x, state.target]
        points = torch.cat([cloud.points.double() for cloud in clouds])
        spread = float((points - points.mean(0)).square().mean().sqrt())
        return self.atol + self.rtol * spread

    def _failed(self, state: State, dt: float, error: float) -> str:
        seen = f"was {error:.2g} tolerances off" if math.isfinite(error) else "had no finite end"
        return (
            f"no step from t = {state.clock.t:g} stays within rtol = {self.rtol:g}: that of dt ="
            f" {dt:.2g} {seen}; raise rtol or atol, or look at the kernel, mobility or noise"
        )


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device="cpu")
