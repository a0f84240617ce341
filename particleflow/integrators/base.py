"""The contract of an integrator, and the state that it advances."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud, FixedTarget, Target, as_cloud, as_clouds
from particleflow.estimators import Fit
from particleflow.flows import Flow
from particleflow.memo import cached_property
from particleflow.renewals import Renewed

# Where an object lies in memory, as a repr says it.
PLACE = re.compile(r" at 0x[0-9a-fA-F]+")


class Course:
    """What all states of one run have in common: flow, target, time step and integrator.

    `state.course` gives it, for rules such as `AtRest` that need the flow. Users read it.

    Attributes
    ----------
    flow : Flow
        What moves the particles.
    target : Target
        Where they go: `target.at(clock)` is its cloud.
    dt : float
        The run's time step.
    integrator : Integrator
        What makes the steps.
    mark : (16,) uint8 tensor
        A digest of flow and target, for the memory of an integrator.
    """

    def __init__(self, flow: Flow, target: Target, dt: float, integrator: Integrator) -> None:
        self.flow, self.target, self.dt, self.integrator = flow, target, dt, integrator

    @cached_property
    def mark(self) -> Tensor:
        """A mark (16,) uint8 of flow and target, for the memory of an integrator.

        It is a digest of the flow's repr and of the fixed target's numbers. Places in memory, which
        differ from process to process, do not count.
        """
        digest = hashlib.blake2b(PLACE.sub("", repr(self.flow)).encode(), digest_size=16)
        cloud = self.target.cloud if isinstance(self.target, FixedTarget) else None
        if cloud is None:
            digest.update(PLACE.sub("", repr(self.target)).encode())
        else:
            for numbers in (cloud.points, cloud.mass):
                digest.update(numbers.cpu().contiguous().numpy().data)
        return torch.tensor(list(digest.digest()), dtype=torch.uint8, device="cpu")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a run needs to go on, bit for bit: `simulate(flow, snapshot, target, steps=...)`.

    It holds the clock, the particles, and the memories that go INTO the fit at these particles and
    into the step from there. `Trajectory.state` is one.

    Attributes
    ----------
    clock : Clock
        Time, step and source of random numbers.
    x : Cloud
        The particles, (N, d).
    memory : mapping of name to tensor
        Where the fit starts from: a warm start, an optimiser's state.
    stepper : mapping of name to tensor
        What the integrator remembers, such as the length of its next step, `dt`.
    """

    clock: Clock
    x: Cloud
    memory: Memory = field(default_factory=dict)
    stepper: Memory = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State(Snapshot):
    """A snapshot with its fit, and the target's cloud that the fit was made with.

    `iterate` yields states, and a `stop` is asked with them.

    Attributes
    ----------
    clock : Clock
        `clock.t` is the time, `clock.step` the step number, `clock.draws` the random numbers.
    x : Cloud
        The particles: `x.points` (N, d), `x.mass` (N,).
    memory : mapping of name to tensor
        What went into the fit.
    stepper : mapping of name to tensor
        What the integrator remembers.
    fit : Fit
        The estimator's fit at x: `fit.value`, `fit.witness`, `fit.report`.
    target : Cloud or None
        The target's points (M, d) of this fit.
    status : str
        "running", or "unstable" after an instability was found: the run goes on. At the end of a
        run that could not go on it is "diverged" or "not converged".
    message : str
        The remedy and the cause; empty in a run that is well.
    renewed : mapping of name to (N,) bool tensor
        The rows that the last step placed anew, by what happened to them, such as "resampled".
    fits : int
        The number of fits since `iterate` began, trials included.
    course : Course or None
        The flow, target, dt and integrator of the run that made the state; None for a state that no
        run made.
    ended : bool
        Is this the last state of a run that could not go on?

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> path = pf.simulate(
    ...     drift, [[8.0]], steps=100, dt=0.5, stop=lambda state: state.x.points.max() < 1.5
    ... )
    >>> path.state.clock.step
    3
    """

    fit: Fit
    target: Cloud | None = None
    status: str = "running"
    message: str = ""
    renewed: Mapping[str, Tensor] = field(default_factory=dict)
    fits: int = 1
    course: Course | None = field(default=None, repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """Is this the last state of a run that could not go on?"""
        return self.status in ("diverged", "not converged")


class UnconvergedError(Exception):
    """A fit did not converge, perhaps at a trial stage, or a controller found no step.

    An integrator of your own may raise it. The run ends at the last accepted state, with the status
    "not converged" and the words of this exception, which name the cause and the remedy.
    """


@runtime_checkable
class Refit(Protocol):
    """The fits of one step, which the engine makes as the integrator asks for them.

    An integrator's `step` is given one as `refit`. The fit of the state itself is `state.fit`.
    """

    def __call__(self, x: Cloud, clock: Clock) -> Fit:
        """The fit at a trial stage, from the memory of the accepted state. It is discarded.

        Parameters
        ----------
        x : Cloud
            The particles of the stage, (N, d).
        clock : Clock
            The stage's time; the step and the draws of the state.

        Returns
        -------
        Fit
            At these particles.

        Raises
        ------
        particleflow.integrators.UnconvergedError
            The estimator did not converge. Let it pass, or try a shorter step.
        """
        ...

    def ahead(self, x: Cloud, dt: float) -> Fit:
        """The fit of the next state, should the step end at the cloud `x` after the time `dt`.

        It starts from the memory that the accepted state's fit has left, at the clock of the next
        state. If the step returns this very cloud and dt, the engine takes the last such fit as it
        is, and makes no other.

        Parameters
        ----------
        x : Cloud
            The particles at the end of the step, (N, d).
        dt : float
            Its length.

        Returns
        -------
        Fit
            At these particles.

        Raises
        ------
        particleflow.integrators.UnconvergedError
            The estimator did not converge. Let it pass, or try a shorter step.
        """
        ...


@runtime_checkable
class Integrator(Protocol):
    r"""Advances a state by one step of `dt`.

    .. math::

        (x_n, t_n) \;\to\; (x_{n+1}, t_n + \Delta t) .

    Attributes
    ----------
    order : float
        The error at a fixed time is O(dt^order).
    stages : int
        Fits and velocities per step, the fit of the state among them; more than one needs a
        deterministic estimator. Fits that were made `ahead` do not count.
    stochastic : bool
        Whether it adds the flow's diffusion.

    Step lengths
    ------------
    An integrator that chooses the lengths of its steps keeps in its memory an entry `dt`, a float64
    number: the length that it wants for its NEXT step. Without this entry it wants the run's dt,
    which is so the length of a first step. The engine passes that length, or the time that is left
    until `t1` if this is less. (A remainder of a millionth of a step is put to the last one.)
    The integrator may use less than it was given, and returns what it used. A last step that was
    shortened by the engine is no reason to want short steps. Facts that say more than this entry
    are optional: `Controller`, `Optimiser`.
    """

    @property
    def order(self) -> float:
        """The error at a fixed time is O(dt^order)."""

    @property
    def stages(self) -> int:
        """Fits and velocities per step."""

    @property
    def stochastic(self) -> bool:
        """Whether it adds the flow's diffusion."""

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        """Make one step from a state.

        Parameters
        ----------
        flow : Flow
            `flow.velocity(x, fit, clock)` gives v (N, d), and d log mass / dt (N,) or None.
        refit : Refit
            Makes the fits of further stages.
        state : State
            The particles `state.x`, their fit, the clock, and `state.stepper`, this integrator's
            memory.
        dt : float
            The length of the step, > 0.

        Returns
        -------
        (Cloud, float, mapping of name to tensor)
            The new cloud, the dt used (0 < used <= dt), and the stepper's memory: flat, tensors
            only.
        """
        ...


class Controller(ABC):
    """An integrator that chooses the lengths of its steps, and has words for it.

    Declared by inheriting. The contract of the lengths is that of `Integrator`: its step, and the
    entry `dt` of its memory. What is added here is what a run says of it.
    """

    @abstractmethod
    def check(self, flow: Flow, target: Target) -> None:
        """Refuse a run that it cannot make, before its first step.

        Parameters
        ----------
        flow : Flow
            That of the run.
        target : Target
            That of the run.

        Raises
        ------
        ValueError
            Says what the run must have, and what to take instead.
        """

    @abstractmethod
    def told(self, stepper: Memory) -> Mapping[str, float]:
        """What the trajectory's report says of the steps (`report["controller"]`), plain numbers.

        Parameters
        ----------
        stepper : mapping of name to tensor
            What the integrator remembers at the end of the run.

        Returns
        -------
        mapping of name to float
            Such as the numbers of accepted and rejected steps.
        """

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What to try where a run became unstable, as Python code."""


class Optimiser:
    """An integrator that goes to the end of the flow, not along it. Declared by inheriting.

    Its particles are no approximation of the flow's at any time, so that t counts dt, and is no
    time of the flow. The energy of a conservative flow may rise in its steps, and no step is called
    unstable for that. `Momentum` and `Adam` are optimisers. A class of your own has the `step` and
    the facts of an `Integrator` besides; the class takes no arguments of its own.

    >>> class Signs(pf.integrators.Optimiser):
    ...     order, stages, stochastic = 1.0, 1, False
    ...     def step(self, flow, refit, state, dt):
    ...         v, _ = flow.velocity(state.x, state.fit, state.clock)
    ...         return pf.Cloud(state.x.points + dt * v.sign()), dt, {}
    >>> drift = pf.Flow(pf.estimators.ClosedForm(pf.samplers.Gaussian(dim=1)))
    >>> path = pf.simulate(drift, [[8.0]], steps=3, dt=2.0, integrator=Signs())
    >>> path.particles.flatten().tolist()
    [8.0, 6.0, 4.0, 2.0]
    """

    def suggest_dt(self, flow: Flow, x: Cloud, y: Cloud | None) -> float:
        """The dt of a run that is given none: the flow's own, unless dt means something else.

        Parameters
        ----------
        flow : Flow
            That of the run.
        x : Cloud
            The particles at the start.
        y : Cloud or None
            The target.

        Returns
        -------
        float
            dt > 0.
        """
        return flow.suggest_dt(x, y)

    def renewed(self, stepper: Memory, rows: Renewed) -> Memory:
        """The memory that a step has left, where the flow then placed rows anew.

        What it holds of these rows belongs to particles that are no more.

        Parameters
        ----------
        stepper : mapping of name to tensor
            What the step returned.
        rows : (N,) bool tensor
            The particles that were placed anew.

        Returns
        -------
        mapping of name to tensor
            As it is, unless the optimiser remembers something of each particle.
        """
        return stepper


class Corrected(ABC):
    """An integrator that takes the steps of another one and corrects their ends.

    Declared by inheriting. A run reads the facts of a `Controller` off `integrator`.

    Attributes
    ----------
    integrator : Integrator
        The other one.
    keeps_energy : bool
        False where a correction may raise the energy of a conservative flow.
    """

    integrator: Integrator
    keeps_energy: ClassVar[bool]

    @abstractmethod
    def check(self, flow: Flow, start: Cloud, target: Target) -> None:
        """Refuse a run that it cannot make, before its first step.

        Parameters
        ----------
        flow : Flow
            That of the run.
        start : Cloud
            The particles at the start.
        target : Target
            That of the run.

        Raises
        ------
        ValueError
            Says what the run must have, and what to take instead.
        """

    def periods(self, d: int) -> list[list[float] | None]:
        """The two ends of the period of each of d axes; None for an axis without one.

        Parameters
        ----------
        d : int
            The dimension of the particles.

        Returns
        -------
        list of [low, high] or None
            One for each axis.
        """
        return [None] * d


def chain_of(integrator: Integrator) -> list[Integrator]:
    """The integrator and those whose steps it corrects, the outermost first."""
    found = [integrator]
    while isinstance(found[-1], Corrected):
        found.append(found[-1].integrator)
    return found


def periods(integrator: Integrator, d: int) -> list[list[float] | None]:
    """The two ends of the period of each of d axes; None for an axis without one."""
    chain = [each.periods(d) for each in chain_of(integrator) if isinstance(each, Corrected)]
    return [next(filter(None, axis), None) for axis in zip(*chain, strict=True)] or [None] * d


def controller_of(integrator: Integrator) -> Controller | None:
    """The integrator, or the one whose steps it corrects, if it chooses the lengths of steps."""
    innermost = chain_of(integrator)[-1]
    return innermost if isinstance(innermost, Controller) else None


def suggested_dt(integrator: Integrator, flow: Flow, x: Any, y: Any = None) -> float:
    r"""The dt of a run with this integrator that is given none.

    .. math::

        \Delta t = \frac{2}{3 \rho} ,

    with rho the fastest rate at which the flow contracts, and less where masses or particles move
    fast: `Flow.suggest_dt` has the details. Euler's method is stable up to :math:`2 / \rho`. With
    diffusion it is :math:`0.1 / \rho`. For `Adam`, whose dt is a length, it is a hundredth of the
    extent of the clouds.

    Parameters
    ----------
    integrator : Integrator
        That of the run. Only an `Optimiser` has a dt of its own.
    flow : Flow
        The flow of the run.
    x : (N, d) points or Cloud
        The particles at the start.
    y : (M, d) points, Cloud or None
        The target; None where the flow needs none.

    Returns
    -------
    float
        dt > 0, rounded down to two digits; rounded to two digits for `Adam`.

    Raises
    ------
    ValueError
        `x` or `y` is not (N, d) or not finite, or `y` is None for a flow that needs it.
    TypeError
        `x` or `y` is not numeric.

    Cost: about 100 fits of at most 200 points of each cloud; for `Adam` the extent of the clouds.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> x = [[-1.0], [1.0]]
    >>> pf.integrators.suggested_dt(pf.Euler(), drift, x)  # the largest leap
    0.5
    >>> pf.integrators.suggested_dt(pf.integrators.Adam(), drift, x)  # a length
    0.02
    """
    if not isinstance(integrator, Optimiser):
        return flow.suggest_dt(x, y)
    clouds = (as_cloud(x, "x"), None) if y is None else as_clouds(x, y)
    return integrator.suggest_dt(flow, *clouds)
