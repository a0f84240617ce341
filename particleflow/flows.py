"""A flow: an estimator's witness, a mobility, and what moves particles besides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Points, Values
from particleflow.clouds import Clock, Cloud, Draws, as_cloud, as_clouds
from particleflow.estimators import KALE, MMD, ClosedForm, Estimator, Fit
from particleflow.estimators.closed_form import LogDensityOrScore
from particleflow.kernels import Kernel, as_kernel
from particleflow.mobilities import Linear, Mobility, Unit
from particleflow.pairwise import Dense, PairwiseSum
from particleflow.samplers.base import Density
from particleflow.schedules import Constant, Schedule, as_schedule

# suggest_dt: points probed, rounds of power iteration, and the share of 1 / (largest rate) that a step may take.
PROBED = 300
ROUNDS = 8
SHARE = 0.5
SHARE_WITH_DIFFUSION = 0.1


@dataclass(frozen=True)
class Flow:
    """dx = slope(w(z)) grad w(z) dt + sigma dW,  z = x + beta u,  u ~ N(0, I):  particles climb the witness w of `estimator`.

    Parameters
    ----------
    estimator : Estimator
        Fitted to (particles, target) as the particles move; gives w.
    mobility : Mobility
        slope = h' of the log ratio w. Where w is a potential only a constant slope is meaningful: `Unit`, `Linear`.
    noise : float, schedule or callable (clock, fit) -> float
        beta, a standard deviation: noise injection. It moves the point at which the witness is queried, not the particle.
    diffusion : float, schedule or callable (clock) -> float
        sigma, of the Brownian motion that moves the particle. Needs `EulerMaruyama`.
    reaction : callable (Q,) -> (Q,), optional
        d log mass / dt of the witness's values: unbalanced flows.
    """

    estimator: Estimator
    mobility: Mobility = Unit()
    noise: Schedule | float | None = None
    diffusion: Schedule | float | None = None
    reaction: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", as_schedule(self.noise, "noise"))
        object.__setattr__(self, "diffusion", as_schedule(self.diffusion, "diffusion"))
        if not isinstance(self.estimator, Estimator):
            raise TypeError(
                f"`estimator` must be an estimator, got {type(self.estimator).__name__}: e.g. pf.estimators.KDE(pf.kernels.Gaussian(0.2))"
            )
        if not isinstance(self.mobility, Mobility):
            raise TypeError(f"`mobility` must have h, slope and curvature, got {type(self.mobility).__name__}: e.g. pf.mobilities.Vanilla()")
        if not self.estimator.log_ratio and not isinstance(self.mobility, Linear):
            raise ValueError(
                f"`mobility` must be Unit() or Linear() for {type(self.estimator).__name__}, got {self.mobility}: its witness is a potential, "
                "not a log ratio, so there is no log r to rescale: use an estimator of a ratio (KDE, KALE, ClosedForm with current=)"
            )

    @property
    def conservative(self) -> bool:
        """True where v = -N dE/dx for the energy E = `energy(fit, x)`, so that small steps can only lower it."""
        free = self.noise is None and self.diffusion is None and self.reaction is None
        return free and isinstance(self.mobility, Linear) and self.mobility.factor == self.estimator.energy_slope

    def energy(self, fit: Fit, x: Cloud) -> float:
        """E at the particles that `fit` was made on.

        Raises
        ------
        ValueError
            If the flow is not conservative.
        """
        if not self.conservative or fit.value is None:
            raise ValueError(f"`flow` must be conservative to have an energy, got {self}: read fit.value, which need not decrease")
        return fit.value

    def velocity(self, x: Cloud, fit: Fit, clock: Clock) -> tuple[Points, Values | None]:
        """v (N, d) and d log mass / dt (N,), or None, of the particles x under `fit`."""
        z = x.points
        if callable(self.noise):
            beta = self.noise(clock, fit)
            if beta:
                z = z + beta * clock.draws.normal("noise", clock.step, z)
        value, grad = fit.witness.value_and_grad(z)
        velocity = self.mobility.slope(value)[:, None] * grad
        return velocity, None if self.reaction is None else self.reaction(value)

    def suggest_dt(self, x: Any, y: Any = None) -> float:
        """A time step for explicit schemes, from the fastest rate of the linearised flow.

        The rate is the largest eigenvalue (by power iteration on finite differences of the velocity of the whole cloud, refitted each time)
        at three states: the start x, the target y, and half of each, since a flow may be stiffest on arrival. The step is half of its inverse
        (Euler is stable up to twice the inverse), a tenth where there is diffusion (its bias grows with dt times the rate); it moves no
        particle by more than a quarter of the extent; and it is rounded down to 1, 2 or 5 times a power of ten. Works on at most 300 points
        of each cloud: the rates do not grow with N. Cost: some 50 fits of that size.

        Parameters
        ----------
        x, y : (N, d), (M, d) points or Cloud; y None where the flow has no target.
        """
        cloud, aim = (as_cloud(x, "x"), None) if y is None else as_clouds(x, y)
        start = _probe(cloud.points)
        states = [start]
        target = None
        if aim is not None:
            target = Cloud(_probe(aim.points))
            arrived = target.points[torch.arange(len(start), device=start.device) % len(target)]
            half = torch.where((torch.arange(len(start), device=start.device) % 2 == 0)[:, None], arrived, start)
            states += [arrived, half]
        every = torch.cat(states)
        extent = float((every.amax(0) - every.amin(0)).max()) or 1.0
        bare = replace(self, noise=None, reaction=None)
        draws = Draws(0)
        fastest, speed = 0.0, 0.0
        for k, state in enumerate(states):
            # Spread points that coincide (repeats of a small target), or the rates between them are those of one point.
            state = state + 1e-3 * extent * draws.normal("spread", k, state) if k else state
            rate, v = bare._fastest_rate(state, target, extent, draws)
            fastest, speed = max(fastest, rate), max(speed, v)
        share = SHARE if self.diffusion is None else SHARE_WITH_DIFFUSION
        limits = [share / fastest] if fastest > 0 else []
        limits += [0.25 * extent / speed] if speed > 0 else []
        return _round_down(min(limits)) if limits and math.isfinite(min(limits)) and min(limits) > 0 else 1.0

    def _fastest_rate(self, points: Tensor, target: Cloud | None, extent: float, draws: Draws) -> tuple[float, float]:
        """Largest |eigenvalue| of d velocity / d particles, and the largest speed, at a cloud."""
        clock = Clock()
        memory = self.estimator.fit(Cloud(points), target, clock, {}).memory

        def velocity(moved: Tensor) -> Tensor:
            x = Cloud(moved)
            return self.velocity(x, self.estimator.fit(x, target, clock, memory), clock)[0]

        speed = float(velocity(points).norm(dim=1).max())
        epsilon = extent * torch.finfo(points.dtype).eps ** (1 / 3)
        direction = draws.normal("direction", 0, points)
        rate = 0.0
        for _ in range(ROUNDS):
            direction = direction / direction.norm() * math.sqrt(len(points))
            image = (velocity(points + epsilon * direction) - velocity(points - epsilon * direction)) / (2 * epsilon)
            found = float(image.norm() / direction.norm())
            if not math.isfinite(found) or found == 0:
                break
            rate, direction = max(rate, found), image
        return rate, speed if math.isfinite(speed) else 0.0


def mmd_flow(
    kernel: Kernel | Callable[[Tensor], Tensor], *, noise: Schedule | float | None = None, pairwise: PairwiseSum = Dense()
) -> Flow:
    """The Wasserstein gradient flow of MMD^2/2 (Arbel, Korba, Salim and Gretton 2019), with `noise` injection if wanted.

    v(z) = grad w(z), w = mean_j k(y_j, .) - mean_i k(x_i, .). Without noise it stalls where the clouds are several bandwidths apart.
    """
    return Flow(MMD(as_kernel(kernel), pairwise=pairwise), noise=noise)


def kale_flow(
    kernel: Kernel | Callable[[Tensor], Tensor], *, lam: float, noise: Schedule | float | None = None, pairwise: PairwiseSum = Dense()
) -> Flow:
    """The Wasserstein gradient flow of KALE (Glaser, Arbel and Gretton 2021): v = (1 + lam) grad w, w = -h.

    lam goes from MMD flow (large) towards the flow of KL (small). It is stiff: about (1 + lam) / lam faster than MMD flow.
    """
    estimator = KALE(as_kernel(kernel), lam=lam, pairwise=pairwise)
    return Flow(estimator, mobility=Linear(estimator.energy_slope), noise=noise)


def mono_flow(estimator: Estimator, mobility: Mobility = Unit(), *, noise: Schedule | float | None = None) -> Flow:
    """MonoFlow (Yi, Zhu and Liu 2023): v = h'(log r) grad log r, log r from any ratio estimator, h any of `mobilities`."""
    return Flow(estimator, mobility=mobility, noise=noise)


def langevin(target: Density | LogDensityOrScore, *, temperature: float = 1.0) -> Flow:
    """dX = grad log p(X) dt + sqrt(2 temperature) dW: no target sample, only a density or a score (see `ClosedForm`)."""
    sigma = math.sqrt(2 * _checks.non_negative(temperature, "temperature"))
    return Flow(ClosedForm(target), diffusion=Constant(sigma))


def _probe(points: Tensor) -> Tensor:
    return points[:: math.ceil(len(points) / PROBED)]


def _round_down(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    step = next(m for m in (5, 2, 1) if m * power <= value * (1 + 1e-12))
    return float(f"{step * power:.0e}")
