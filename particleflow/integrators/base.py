"""The contract of an integrator, and the state that it advances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import Fit
from particleflow.flows import Flow


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a run needs to go on, bit for bit.

    It holds the clock, the particles, and the memories that go INTO the fit at these particles and
    into the step from there.
    """

    clock: Clock
    x: Cloud
    memory: Memory = field(default_factory=dict)
    stepper: Memory = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State(Snapshot):
    """A snapshot with its fit, and the target's cloud that the fit was made with.

    `status` is "running", or "unstable" after an instability was found: the run goes on. At the end
    of a run that could not go on it is "diverged" or "not converged". `message` says the remedy and
    the cause. `renewed` has the rows (N,) that the last step placed anew, by what happened to them,
    such as "resampled".
    """

    fit: Fit
    target: Cloud | None = None
    status: str = "running"
    message: str = ""
    renewed: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Is this the last state of a run that could not go on?"""
        return self.status in ("diverged", "not converged")


# Fits at a trial stage, always from the memory of the accepted state; trial fits are discarded.
Refit: TypeAlias = Callable[[Cloud, Clock], Fit]


@runtime_checkable
class Integrator(Protocol):
    """Advances a state by one step of `dt`.

    Attributes
    ----------
    order : float
        The error at a fixed time is O(dt^order).
    stages : int
        Fits and velocities per step; more than one needs a deterministic estimator.
    stochastic : bool
        Whether it adds the flow's diffusion.
    """

    @property
    def order(self) -> float: ...
    @property
    def stages(self) -> int: ...
    @property
    def stochastic(self) -> bool: ...

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        """The new cloud, the dt used, and the stepper's memory."""
        ...
