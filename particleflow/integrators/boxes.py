"""Boxes that particles do not leave: walls that reflect them, or sides that are glued together."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Memory, Points
from particleflow.clouds import Clock, Cloud, FixedTarget, Target
from particleflow.estimators import Fit
from particleflow.estimators.base import KernelWitness, inner_of
from particleflow.flows import Flow
from particleflow.integrators.base import Corrected, Integrator, Optimiser, Refit, State
from particleflow.kernels.periodic import Periodic as PeriodicKernel
from particleflow.kernels.periodic import ends

# One number for all axes, or one for each.
End: TypeAlias = float | Sequence[float]


@dataclass(frozen=True)
class Boxed(Corrected):
    """An integrator whose particles a box brings back after each step."""

    integrator: Integrator
    low: End
    high: End
    keeps_energy: ClassVar[bool]

    def __post_init__(self) -> None:
        if isinstance(self.integrator, type) or not isinstance(self.integrator, Integrator):
            raise TypeError(
                f"`integrator` must be an integrator, got {_checks.came(self.integrator)}: e.g."
                " pf.EulerMaruyama()"
            )
        if isinstance(self.integrator, Optimiser):
            raise RefusedValueError(
                "integrator",
                "must follow the flow in a box",
                type(self.integrator).__name__,
                "use pf.Euler(): what an optimiser remembers points through the walls",
            )
        low, high = ends(self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def order(self) -> float:
        return self.integrator.order

    @property
    def stages(self) -> int:
        return self.integrator.stages

    @property
    def stochastic(self) -> bool:
        return self.integrator.stochastic

    def step(
        self, flow: Flow, refit: Refit, state: State, dt: float
    ) -> tuple[Cloud, float, Memory]:
        fits = _Fits(self, refit)
        cloud, used, memory = self.integrator.step(flow, fits, state, dt)
        return fits.inside(cloud), used, memory

    def check(self, flow: Flow, start: Cloud, target: Target) -> None:
        if isinstance(self.integrator, Corrected):
            self.integrator.check(flow, start, target)
        aim = target.cloud if isinstance(target, FixedTarget) else None
        for cloud, name in ((start, "x0"), (aim, "target")):
            if cloud is not None:
                self.check_inside(cloud.points, name)

    def wrapped(self, points: Tensor | np.ndarray) -> Float[Tensor, "... d"]:
        """Bring points that are outside into the box.

        Parameters
        ----------
        points : (..., d) tensor or array
            Such as a target that does not fit into the box.

        Returns
        -------
        (..., d) tensor
            Points inside stay as they are, bit for bit.
        """
        points = torch.as_tensor(points)
        low, high = self._sides(points)
        outside = (points < low) | (points > high)
        return torch.where(outside, self._back(points, low, high), points)

    @abstractmethod
    def _back(self, points: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Points that may lie outside, brought into the box."""

    def _sides(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the box (d,) or (), like the points."""
        return points.new_tensor(self.low), points.new_tensor(self.high)

    def check_inside(self, points: Points, name: str) -> None:
        """Refuse points of the argument `name` outside the box."""
        low, high = self._sides(points)
        if low.ndim and len(low) != points.shape[1]:
            raise ValueError(
                f"`low` and `high` must have one number for each axis of `{name}`,"
                f" {points.shape[1]}, got {len(low)}: pass as many, or one number for all axes"
            )
        outside = ((points < low) | (points > high)).any(1)
        if bool(outside.any()):
            raise ValueError(
                f"`{name}` must lie in the box from {self.low} to {self.high}, got"
                f" {int(outside.sum())} of {len(points)} points outside: leave them out, or pass"
                f" {type(self).__name__}(...).wrapped({name})"
            )


@dataclass(frozen=True)
class Reflecting(Boxed):
    r"""The steps of an integrator, with walls: what a step carries beyond one is put back as far.

    .. math::

        x \;\to\; 2 a - x \qquad \text{for a wall at } a ,

    along each axis, as often as needed. Brownian motion is then reflected exactly, and its uniform
    distribution in the box stays uniform. A drift is followed to order one at the walls, and its
    particles there tremble by dt |v|. So the energy of a flow that presses on a wall may rise a
    little in a step, and no step is called unstable for that.

    The kernel's sums know no walls: particles see the others at their plain distances.

    Parameters
    ----------
    integrator : Integrator
        Makes the steps; no optimiser. It may be another box.
    low : float, or one for each axis
        The lower walls. -inf: there is none.
    high : float, or one for each axis
        The upper walls, > `low`. inf: there is none.

    Raises
    ------
    ValueError
        `low` >= `high`; `integrator` is an optimiser. At the start of a run: particles start
        outside the box, a fixed target has points there, or the box has another dimension than
        they.
    TypeError
        `integrator` is no integrator, such as a class without its parentheses; a wall is no number.

    Cost: that of the integrator, and O(N d) per step.
    Source: for diffusions, Bossy, Gobet and Talay (2004), A symmetrized Euler scheme for an
    efficient approximation of reflected diffusions, Journal of Applied Probability 41.

    >>> box = pf.integrators.Reflecting(pf.Euler(), 0.0, 1.0)
    >>> box.wrapped(torch.tensor([[-0.25], [0.5], [2.25]])).flatten().tolist()
    [0.25, 0.5, 0.25]
    """

    keeps_energy: ClassVar[bool] = False

    @property
    def order(self) -> float:
        return min(1.0, self.integrator.order)

    def _back(self, points: Tensor, low: Tensor, high: Tensor) -> Tensor:
        both = torch.isfinite(low) & torch.isfinite(high)
        side = torch.where(both, high - low, 1.0)
        start = torch.where(both, low, 0.0)
        along = torch.remainder(points - start, 2 * side)
        folded = start + torch.where(along > side, 2 * side - along, along)
        one = torch.where(points < low, 2 * low - points, 2 * high - points)
        return torch.where(both, folded, one).clamp(low, high)


@dataclass(frozen=True)
class Periodic(Boxed):
    r"""The steps of an integrator on a torus: what leaves on one side enters on the other.

    .. math::

        x \;\to\; \text{low} + (x - \text{low}) \bmod (\text{high} - \text{low})

    along each axis. Distances must wrap too, so that a particle's velocity does not jump as it
    enters. A flow with a kernel needs `pf.kernels.Periodic` with the same box. A density or a score
    in closed form must be periodic itself. Other flows are refused.

    Verdicts, strays and `Arrived` measure around the sides. `metrics.W2(periods=...)` and `W1` do
    so too; to all other metrics two sides of the box are far apart.

    Parameters
    ----------
    integrator : Integrator
        Makes the steps; no optimiser. The order of its errors is kept.
    low : float, or one for each axis
        The lower sides of the box. -inf: this axis has no period.
    high : float, or one for each axis
        The upper sides, > `low`. inf where `low` is -inf.

    Raises
    ------
    ValueError
        `low` >= `high`, or only one of them is finite; `integrator` is an optimiser. At the start
        of a run: particles start outside the box, a fixed target has points there, or the flow's
        witness does not wrap.
    TypeError
        `integrator` is no integrator, such as a class without its parentheses; a side is no number.

    Cost: that of the integrator, and O(N d) per step.

    >>> torus = pf.kernels.Periodic(pf.kernels.Gaussian(0.2), 0.0, 1.0)
    >>> box = pf.integrators.Periodic(pf.Euler(), 0.0, 1.0)
    >>> x0, y = [[0.1], [0.2]], [[0.9], [0.9], [0.9]]  # the short way is across 0
    >>> flow = pf.mmd_flow(torus)
    >>> path = pf.simulate(flow, x0, y, steps=12, dt=0.05, integrator=box)
    >>> bool((path.particles[-1] > 0.8).all())
    True
    """

    keeps_energy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = zip(_listed(self.low), _listed(self.high), strict=True)
        if any(math.isfinite(a) != math.isfinite(b) for a, b in pairs):
            raise RefusedValueError(
                "low",
                "must be finite along the axes where `high` is",
                f"{self.low} and {self.high}",
                "pass both sides of a period, or -inf and inf",
            )

    def check(self, flow: Flow, start: Cloud, target: Target) -> None:
        super().check(flow, start, target)
        estimator = inner_of(flow.estimator)
        kernel = estimator.kernel if isinstance(estimator, KernelWitness) else None
        same = isinstance(kernel, PeriodicKernel) and (kernel.low, kernel.high) == (
            self.low,
            self.high,
        )
        if same or not estimator.needs_target:
            return
        seen = type(estimator).__name__ if kernel is None else repr(kernel)
        raise RefusedValueError(
            "integrator",
            "must not be Periodic() here: the witness does not wrap, so that a particle's velocity"
            " jumps as it enters the box",
            seen,
            f"use pf.mmd_flow(pf.kernels.Periodic(pf.kernels.Gaussian(...), {self.low},"
            f" {self.high}))",
        )

    def periods(self, d: int) -> list[list[float] | None]:
        """The two sides along each axis; None where there is no period."""
        sides = zip(_listed(self.low), _listed(self.high), strict=True)
        found = [[a, b] if math.isfinite(a) else None for a, b in sides]
        return found if len(found) > 1 else found * d

    def _back(self, points: Tensor, low: Tensor, high: Tensor) -> Tensor:
        finite = torch.isfinite(low)
        start = torch.where(finite, low, 0.0)
        side = torch.where(finite, high - low, 1.0)
        inside = start + torch.remainder(points - start, side)
        # the remainder of a point just below `low` rounds to the whole side
        inside = torch.where(inside >= high, start, inside)
        return torch.where(finite, inside, points)


@dataclass
class _Fits:
    """The fits of one step, where the next state's cloud is brought into the box before its fit."""

    box: Boxed
    refit: Refit
    _ahead: list[tuple[Cloud, Cloud]] = field(default_factory=list)

    def __call__(self, x: Cloud, clock: Clock) -> Fit:
        return self.refit(x, clock)

    def ahead(self, x: Cloud, dt: float) -> Fit:
        inside = self.inside(x)
        self._ahead = [(x, inside)]
        fit = self.refit.ahead(inside, dt)
        # another object where particles were moved: the integrator keeps velocities under a fit
        return fit if inside is x else replace(fit)

    def inside(self, cloud: Cloud) -> Cloud:
        """The cloud in the box: the very one if no particle is outside."""
        for given, made in self._ahead:
            if given is cloud:
                return made
        points = self.box.wrapped(cloud.points)
        if torch.equal(points, cloud.points):
            return cloud
        return Cloud(points, log_mass=cloud.log_mass)


def _listed(end: End) -> list[float]:
    return [float(end)] if isinstance(end, int | float) else list(end)
