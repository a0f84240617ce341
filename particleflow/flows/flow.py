"""Flows: an estimator's witness, a mobility, and the noise, diffusion and reaction beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow._typing import Memory, Points, Values
from particleflow.adaptive import NoiseRule
from particleflow.clouds import Clock, Cloud, as_cloud, as_clouds
from particleflow.estimators import Annealed, Estimator, Fit
from particleflow.estimators.base import (
    ByRow,
    CurvedWitness,
    FlowDefaults,
    GradWitness,
    SameBandwidth,
    Wrapping,
    check_estimator,
    missing_target,
)
from particleflow.flows.slopes import EnergySlope, constant_slope
from particleflow.mobilities import Mobility, Unit
from particleflow.mobilities.base import check_increasing
from particleflow.reactions import Reaction, longest_dt
from particleflow.renewals import Renewal, Renewed, check_renewals
from particleflow.schedules import Schedule, as_schedule
from particleflow.stiffness import SHARE, SHARE_WITH_DIFFUSION, suggested_dt

Noise: TypeAlias = Schedule | float | NoiseRule | None


@dataclass(frozen=True)
class Flow:
    r"""Join an estimator's witness with a mobility, noise, diffusion, a reaction and renewals.

    .. math::

        dx = h'(w(z))\, \nabla w(z)\, dt + \sigma\, dW, \qquad
        z = x + \beta u, \quad u \sim \mathcal{N}(0, I)

    The particles x climb the witness w, which the estimator makes anew from (particles, target) as
    they move. :math:`\beta` is noise injection: it moves the point at which w is queried, not the
    particle. :math:`\sigma` is Brownian motion: it moves the particle. Both are standard
    deviations, :math:`\sigma` in unit time. dt and all rates have the unit of time that v implies:
    with w in units of U and coordinates in units of L, time has the unit L^2 / U.

    The constructors `mmd_flow`, `kale_flow`, `mono_flow`, `wgan_flow`, `langevin` and `auto_flow`
    make the usual flows. Use this class for an estimator or a mobility of your own.

    Parameters
    ----------
    estimator : Estimator
        Gives w. An estimator with `in_flow` is replaced by it: `KDE()` then takes
        `default_bandwidth`.
    mobility : Mobility or EnergySlope
        h, with the slope h' > 0. The h of a class of your own is checked for |w| <= 80, unless the
        class has `allow_nonmonotone = True`. Where w is a potential, only a constant slope is
        meaningful: that of `Unit` or `Linear`, or each fit's own with `EnergySlope`.
    noise : float, schedule, callable (clock) or (clock, fit) -> float, or NoiseRule, optional
        beta >= 0, in units of the coordinates. The rules of `particleflow.adaptive` choose it from
        the particles.
    diffusion : float, schedule or callable (clock) -> float, optional
        sigma >= 0. Needs `EulerMaruyama`.
    reaction : Reaction or callable (Q,) -> (Q,), optional
        How masses change (unbalanced flows): a `Reaction` keeps the total, `unbalanced` gives one.
        A callable is d log mass / dt from the witness's values, and the total drifts.
    renewals : tuple of Renewal
        What places particles anew after a step, in this order.

    Raises
    ------
    TypeError
        A part is of another type, or the rule `noise` has no meaning for the estimator.
    ValueError
        `mobility` is not constant where w is a potential, or its h does not increase; `noise` or
        `diffusion` is negative; `reaction` is `ForceTransport` without its own MMD; a `reaction`,
        `renewals` or rule for `noise` stands beside `Labelled`.

    Cost: nothing here. A step of a scheme with s stages costs s fits and s N queries.

    Source: Arbel, Korba, Salim and Gretton (2019) for noise injection, Yi, Zhu and Liu (2023) for
    the mobility; theory page, equations 2-4.

    >>> mmd = pf.estimators.MMD(pf.kernels.Gaussian(1.0))
    >>> flow = pf.Flow(mmd, mobility=pf.mobilities.Linear(2.0))
    >>> x, y = torch.tensor([[0.0]]), torch.tensor([[1.0], [1.0]])
    >>> flow.velocity(pf.Cloud(x), pf.fit(mmd, x, y), pf.Clock())[0]  # 2 exp(-1/2)
    tensor([[1.2131]])
    >>> flow.conservative, pf.Flow(mmd).conservative  # the energy's own slope is 1
    (False, True)
    """

    estimator: Estimator
    mobility: Mobility | EnergySlope = Unit()
    noise: Noise = None
    diffusion: Schedule | float | None = None
    reaction: Reaction | Callable[[Tensor], Tensor] | None = None
    renewals: tuple[Renewal, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.noise, type) or not isinstance(self.noise, NoiseRule):
            object.__setattr__(self, "noise", as_schedule(self.noise, "noise"))
        object.__setattr__(self, "diffusion", as_schedule(self.diffusion, "diffusion"))
        if self.reaction is not None and not isinstance(self.reaction, Reaction):
            _checks.function(
                self.reaction,
                "reaction",
                remedy="pass a function of the witness's values (Q,), e.g. lambda w: 0.1 * w",
            )
        check_renewals(self.renewals)
        check_estimator(self.estimator)
        if isinstance(self.estimator, FlowDefaults):
            object.__setattr__(self, "estimator", self.estimator.in_flow())
            check_estimator(self.estimator)
        if isinstance(self.noise, NoiseRule):
            self.noise.check(self.estimator)
        if isinstance(self.estimator, ByRow):
            self._check_rows()
        if isinstance(self.mobility, type) or not isinstance(self.mobility, Mobility | EnergySlope):
            raise TypeError(
                "`mobility` must have h, slope and curvature, got"
                f" {_checks.came(self.mobility)}: e.g. pf.mobilities.Vanilla()"
            )
        if isinstance(self.mobility, Mobility):
            check_increasing(self.mobility)
        if (
            not self.estimator.log_ratio
            and not isinstance(self.mobility, EnergySlope)
            and constant_slope(self.mobility) is None
        ):
            raise ValueError(
                f"`mobility` must be Unit() or Linear() for {type(self.estimator).__name__}, got"
                f" {self.mobility}: its witness is a potential, not a log ratio, so there is no log"
                " r to rescale: use an estimator of a ratio (KDE, KALE, ClosedForm with current=)"
            )
        if isinstance(self.reaction, Reaction):
            self.reaction.check(self.estimator)

    def _check_rows(self) -> None:
        """Refuse what does not leave each particle in its row, or looks at some rows only."""
        rule = self.noise if isinstance(self.noise, NoiseRule) else None
        parts: dict[str, object] = {
            "reaction": self.reaction,
            "renewals": self.renewals or None,
            "noise": rule,
        }
        for name, part in parts.items():
            if part is not None:
                raise ValueError(
                    f"`{name}` cannot act beside {type(self.estimator).__name__}, got"
                    f" {part!r:.80}: masses and rows belong to classes; leave it out"
                )

    @property
    def conservative(self) -> bool:
        """True where v = -N dE/dx for one energy E = `energy(fit, x)`.

        Small steps can then only lower E. It is False with noise, diffusion, a reaction or
        renewals, where lam or the bandwidth changes, and for a mobility other than c d of the
        estimator's `energy_slope` c.
        """
        free = self.noise is None and self.diffusion is None and self.reaction is None
        slope = self.estimator.energy_slope
        descends = isinstance(self.mobility, EnergySlope) or constant_slope(self.mobility) == slope
        return free and not self.renewals and slope is not None and descends

    @property
    def annealed(self) -> bool:
        """True where the kernel's bandwidth changes in a run, and the longest stable dt with it."""
        return isinstance(_watched(self.estimator), Annealed)

    def unfinished(self, clock: Clock, memory: Memory) -> str:
        """What is left to do of a bandwidth that changes, at the fit that left this memory.

        Parameters
        ----------
        clock : Clock
            That of the fit.
        memory : mapping of tensors
            `fit.memory`.

        Returns
        -------
        str
            One sentence with the remedy; empty where nothing is left, or where no bandwidth
            changes.
        """
        outer, estimator = self.estimator, _watched(self.estimator)
        if not isinstance(estimator, Annealed):
            return ""
        memories = outer.memories(memory) if isinstance(outer, ByRow) else [memory]
        return next(filter(None, (estimator.unfinished(clock, each) for each in memories)), "")

    def energy(self, fit: Fit, x: Cloud) -> float:
        """The energy E that the flow lowers, at the particles that `fit` was made on.

        Parameters
        ----------
        fit : Fit
            Of this flow's estimator.
        x : Cloud
            The particles of that fit.

        Returns
        -------
        float
            `fit.value`, such as MMD^2 / 2 or KALE.

        Raises
        ------
        ValueError
            The flow is not conservative, or the fit has no value (a score alone).
        """
        if not self.conservative:
            raise ValueError(
                f"`flow` must be conservative to have an energy, got {self}: read fit.value, which"
                " need not decrease"
            )
        if fit.value is None:
            name = type(self.estimator).__name__
            raise ValueError(
                f"`fit` must have a value to have an energy, got None from {name}: a score alone"
                " gives none, pass a log density"
            )
        return fit.value

    def velocity(self, x: Cloud, fit: Fit, clock: Clock) -> tuple[Points, Values | None]:
        """v(x_i) = h'(w(z_i)) grad w(z_i), z = x + beta u, and the rate of the masses.

        Parameters
        ----------
        x : Cloud
            The particles, N points. They may differ from those of the fit.
        fit : Fit
            Gives w.
        clock : Clock
            Its time sets beta; its draws and step fix u.

        Returns
        -------
        v : (N, d) tensor
            In units of the coordinates over time, in the dtype of x.
        rate : (N,) tensor or None
            d log mass / dt. None without a reaction, and for one that acts after the step.

        Raises
        ------
        ValueError
            The witness, the mobility or the reaction returns another shape, or the noise is not
            finite.
        """
        z = x.points
        beta = self.beta(x, fit, clock)
        if beta:
            with Supplied("draws", clock.draws):
                z = z + beta * clock.draws.normal("noise", clock.step, z)
        mobility = self._mobility(fit)
        factor = constant_slope(mobility)
        reaction = self.reaction
        if isinstance(reaction, Reaction) and not reaction.advances:
            reaction = None
        if factor is not None and reaction is None and isinstance(fit.witness, GradWitness):
            grad = fit.witness.grad(z)
            return (grad if factor == 1 else factor * grad), None
        value, grad = self._evaluated(fit, z)
        with Supplied("mobility", mobility):
            slope = mobility.slope(value)
        _same_shape(
            (slope,),
            (value.shape,),
            "mobility",
            mobility,
            "must have a slope that maps (Q,) to (Q,)",
        )
        if reaction is None:
            return slope[:, None] * grad, None
        if isinstance(reaction, Reaction):
            at_rest = value if z is x.points else None
            return slope[:, None] * grad, reaction.rates(self.force(x, fit, at_rest), x)
        with Supplied("reaction", reaction):
            rate = reaction(value)
        _same_shape((rate,), (value.shape,), "reaction", reaction, "must map (Q,) to (Q,)")
        return slope[:, None] * grad, rate

    def jacobian(self, z: Points, fit: Fit) -> Float[Tensor, "Q d d"]:
        r"""The derivative of the velocity, without noise, at points z.

        .. math::

            Dv = h'(w)\, \nabla^2 w + h''(w)\, \nabla w \, \nabla w^T

        Parameters
        ----------
        z : (Q, d) tensor
            Any points.
        fit : Fit
            Gives w.

        Returns
        -------
        (Q, d, d) tensor
            float64, in 1 / time.

        Raises
        ------
        TypeError
            The witness has no Hessian (`CurvedWitness`).
        """
        if not isinstance(fit.witness, CurvedWitness):
            raise TypeError(
                f"`flow` must have a witness with a Hessian, got that of {self.estimator}: it has"
                " none in closed form; take MMD, KALE, Moreau, KDE, ULSIF, KLIEP or ClosedForm"
            )
        curved = fit.witness.hessian(z)
        mobility = self._mobility(fit)
        factor = constant_slope(mobility)
        if factor is not None:
            return factor * curved
        value, grad = (part.double() for part in self._evaluated(fit, z))
        with Supplied("mobility", mobility):
            slope, bend = mobility.slope(value), mobility.curvature(value)
        outer = grad[:, :, None] * grad[:, None, :]
        return slope[:, None, None] * curved + bend[:, None, None] * outer

    def force(self, x: Cloud, fit: Fit, value: Values | None = None) -> Values:
        """F = h(w) at the particles themselves, without noise: v = grad F.

        Parameters
        ----------
        x : Cloud
            N points.
        fit : Fit
            Gives w.
        value : (N,) tensor, optional
            w at the particles, where it is known: one evaluation less.

        Returns
        -------
        (N,) tensor
            The F of each particle; NaN where the witness has a gradient but no value.
        """
        value = self.witness(fit, x.points) if value is None else value
        mobility = self._mobility(fit)
        with Supplied("mobility", mobility):
            force = mobility.h(value)
        _same_shape(
            (force,), (value.shape,), "mobility", mobility, "must have an h that maps (Q,) to (Q,)"
        )
        return force

    def settled(
        self, cloud: Cloud, before: Cloud, fit: Fit, y: Cloud | None, clock: Clock, dt: float
    ) -> tuple[Cloud, Mapping[str, Renewed]]:
        """The cloud after a step of `dt`, its total mass kept, and particles renewed.

        Parameters
        ----------
        cloud, before : Cloud
            The particles after the integrator's step, and before it.
        fit, y, clock : Fit, Cloud or None, Clock
            Those at `before`.
        dt : float
            The length of the step.

        Returns
        -------
        cloud : Cloud
            The very cloud where the flow has neither reaction nor renewals.
        anew : mapping of (N,) bool tensors
            The rows that each renewal placed anew, by the renewal's name.
        """
        if isinstance(self.reaction, Reaction):
            cloud = self.reaction.settled(cloud, before, partial(self.force, before, fit), dt)
        anew: dict[str, Renewed] = {}
        for renewal in self.renewals:
            found = renewal.renewed(cloud, y, clock)
            if found is not None:
                cloud, anew[renewal.name] = found
        return cloud, anew

    def witness(self, fit: Fit, z: Points) -> Values:
        """The witness w (Q,) of a fit at points z (Q, d); NaN where it has a gradient but no
        value.
        """
        return self._evaluated(fit, z)[0]

    def _evaluated(self, fit: Fit, z: Points) -> tuple[Values, Points]:
        """The witness and its gradient at z, of the right shapes."""
        with Supplied("estimator", self.estimator):
            value, grad = fit.witness.value_and_grad(z)
        _same_shape(
            (value, grad),
            (z.shape[:1], z.shape),
            "estimator",
            self.estimator,
            "has a witness with value (Q,) and gradient (Q, d)",
        )
        return value, grad

    def beta(self, x: Cloud, fit: Fit, clock: Clock) -> float:
        """The standard deviation of the injected noise at the particles x, in units of the
        coordinates.

        It is 0 without noise. ValueError or TypeError where a schedule or rule gives no finite
        number.
        """
        if isinstance(self.noise, NoiseRule):
            return _number(self.noise.at, "noise", x, fit, clock, self.estimator)
        return _number(self.noise, "noise", clock, fit) if callable(self.noise) else 0.0

    def sigma(self, clock: Clock) -> float:
        """The standard deviation of the Brownian motion in unit time at a clock; 0 without
        diffusion.
        """
        return _number(self.diffusion, "diffusion", clock) if callable(self.diffusion) else 0.0

    def _mobility(self, fit: Fit) -> Mobility:
        if not isinstance(self.mobility, EnergySlope):
            return self.mobility
        constant = self.estimator.energy_slope
        return self.mobility.at(fit.energy_slope if constant is None else constant)

    def suggest_dt(
        self, x: Any, y: Any = None, *, clock: Clock | None = None, memory: Memory | None = None
    ) -> float:
        r"""A time step for explicit schemes, from the fastest contraction of the linearised flow.

        .. math::

            dt = \frac{2}{3 \rho}, \qquad
            -\rho = \text{the most negative eigenvalue of } \partial V / \partial X

        Euler's method is stable up to :math:`2 / \rho`. With diffusion, whose bias grows with
        :math:`\rho\, dt`, the step is :math:`1 / (10 \rho)`. A `Reaction` lowers the step where
        masses change faster. The step moves no particle by more than a quarter of the extent, and
        is rounded down to two digits. Where the kernel has a kink, the rate is measured over a
        quarter of the target's spacing. A lam that changes during a run is taken as at the start:
        pass a `dt` that fits its least value. A bandwidth that changes is taken as at `clock`, by
        default the start. `particleflow.stiffness` tells how the rate is found, and what is done
        without one.

        Parameters
        ----------
        x, y : (N, d), (M, d) points or Cloud
            y is None where the flow has no target.
        clock, memory : Clock, mapping of tensors
            Those of a state within a run, `state.clock` and `state.memory`: the bandwidth of
            `Annealed` is then that of this state.

        Returns
        -------
        float
            dt > 0, in the flow's unit of time.

        Raises
        ------
        TypeError
            `x` or `y` holds no numbers.
        ValueError
            `y` is missing, or `x` and `y` have other shapes or are not finite.

        Cost: about 100 fits of at most 200 points of each cloud.

        The rate is 1 here, and the flow diffuses:

        >>> flow = pf.langevin(pf.samplers.Gaussian(1))
        >>> flow.suggest_dt(torch.tensor([[2.0], [-1.0]]))
        0.099
        """
        if y is None and self.estimator.needs_target:
            raise missing_target(self.estimator, "y")
        cloud, aim = (as_cloud(x, "x"), None) if y is None else as_clouds(x, y)
        estimator = self.estimator
        if isinstance(estimator, ByRow):
            memories = estimator.memories(memory or {})
            return min(
                replace(self, estimator=part).suggest_dt(one, other, clock=clock, memory=kept)
                for (part, one, other), kept in zip(
                    estimator.parts(cloud, aim), memories, strict=True
                )
            )
        if isinstance(estimator, Wrapping):
            estimator = estimator.held(cloud, aim, clock or Clock(), memory or {})
        bare = replace(self, estimator=estimator, noise=None, reaction=None, renewals=())
        share = SHARE if self.diffusion is None else SHARE_WITH_DIFFUSION
        dt = suggested_dt(estimator, lambda *at: bare.velocity(*at)[0], cloud, aim, share=share)
        reaction = self.reaction
        if not isinstance(reaction, Reaction) or not reaction.advances:
            return dt
        rates = lambda x, fit: reaction.rates(bare.force(x, fit), x)
        return min(dt, longest_dt(estimator, rates, cloud, aim))


def _watched(estimator: Estimator) -> Estimator:
    """The estimator that chooses the bandwidth: this one, or the innermost that it declares."""
    while isinstance(estimator, SameBandwidth):
        estimator = estimator.estimator
    return estimator


def _number(schedule: Schedule, name: str, *moment: Any) -> float:
    """The value of a schedule at a moment; refused if it is not a finite number."""
    with Supplied(name, schedule):
        value = schedule(*moment)
        return _checks.real(value, name, remedy="return one number for each clock")


def _same_shape(
    given: Sequence[Any], wanted: Sequence[torch.Size], name: str, part: Any, told: str
) -> None:
    """Refuse shapes that would be broadcast to a wrong velocity in silence."""
    for value, shape in zip(given, wanted, strict=True):
        if not isinstance(value, Tensor) or value.shape != shape:
            with Supplied(name, part):
                what = (
                    f"{tuple(value.shape)} for {tuple(shape)}"
                    if isinstance(value, Tensor)
                    else f"{type(value).__name__} for a tensor"
                )
                raise ValueError(
                    f"`{name}` {type(part).__name__} {told}, got {what}: mend its shape"
                )
