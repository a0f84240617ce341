"""The choice of a time step, from the fastest rate at which a flow contracts.

The rate is the size of the most negative eigenvalue of d velocity / d particles. Power iteration
finds it, on finite differences of the velocity of the whole cloud, refitted each time. Three states
are probed, since a flow may be stiffest on arrival: the start x, the target y, and half of each.
Growth, such as a small cloud that bursts apart, limits no step. At most 200 points of each cloud
are probed: the rates do not grow with N.

The differences are tiny where the kernel is smooth. At a kink the velocity jumps by O(1 / N) where
a particle meets a point of the target. The quotient over a tiny distance is then far above the rate
of the whole cloud, and no step is short enough: particles hop over the point by dt times the jump.
There the differences are a quarter of the target's spacing. The rate of the whole cloud is found,
and a jump counts as the rate that would take a particle over this length: hops stay below it.

A network in training and a witness whose gradient jumps (`KnownSmoothness`) have no rates to
measure. There the step moves the particles of the start by a hundredth of the extent (root mean
square), at the cost of one fit. For an estimator that does not declare its smoothness both steps
are computed, and the smaller one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from particleflow._typing import Points
from particleflow.clouds import Clock, Cloud, Draws, FixedTarget, extent
from particleflow.estimators import Estimator, Fit
from particleflow.estimators.base import KernelWitness, fitted, smoothness_of
from particleflow.kernels import ScaledKernel
from particleflow.kernels.bandwidth import spacing
from particleflow.kernels.declared import has_kink
from particleflow.subsets import part

# The number of points of each cloud that are probed: the rates do not grow with N.
PROBED = 200
# Rounds of power iteration; two digits of the rate are wanted.
ROUNDS = 8
# The step in units of 1 / (fastest contraction): a third of Euler's limit of stability. Half of the
# limit leaves no room for a rate that grows on the way.
SHARE = 2 / 3
# The same with diffusion, whose bias grows with dt times the rate.
SHARE_WITH_DIFFUSION = 0.1
# The share of the extent that the particles move in a step (root mean square) without a rate.
STRIDE = 0.01
# The share of the extent that the fastest particle may move in a step.
LEAP = 0.25
# The difference of a quotient at a kink, in spacings of the target or in bandwidths: hops are then
# a few tenths of the spacing at the largest stable step, and steps a half to a third of it.
RESOLVED = 0.25
# The same as a share of the extent, for a target of one place, which has no spacing: hops are then
# below `STRIDE`.
ONE_PLACE = 0.0075

Velocity = Callable[[Cloud, Fit, Clock], Points]


def suggested_dt(
    estimator: Estimator, velocity: Velocity, x: Cloud, y: Cloud | None, *, share: float
) -> float:
    """The longest step that the rates of `velocity` allow, rounded down to two digits.

    Parameters
    ----------
    velocity : callable (cloud, fit, clock) -> (N, d)
        The velocity without noise and reaction.
    share : float
        The step in units of the inverse of the fastest contraction.
    """
    start = part(x, PROBED)
    target = FixedTarget(None if y is None else part(y, PROBED)).cloud
    every = start.points if target is None else torch.cat([start.points, target.points])
    span = extent(every) or 1.0
    smooth, found = smoothness_of(estimator) if estimator.deterministic else False, []
    if not smooth:
        fit = fitted(estimator, start, target, Clock(), {})
        speed = float((velocity(start, fit, Clock()) ** 2).sum(1).mean().sqrt())
        found.append(_ratio(STRIDE * span, speed))
    if smooth is not False:
        states = [start, *_arriving(start, target, extent(every))]
        probes = [_stiffness(estimator, velocity, state, target, span) for state in states]
        rate, speed = (max(column) for column in zip(*probes, strict=True))
        found += [_ratio(share, rate), _ratio(LEAP * span, speed)]
    limits = [limit for limit in found if limit is not None]
    return _two_digits(min(limits)) if limits else 1.0


def _arriving(start: Cloud, target: Cloud | None, span: float) -> list[Cloud]:
    """Two clouds: all particles on the target; every second one there, the others at the start."""
    if target is None:
        return []
    rows = torch.arange(len(start), device=start.points.device)
    arrived = target.points[rows % len(target)]
    # spread a little: points that coincide (repeats of a small target) would move like one
    spread = 1e-3 * span * Draws(0).normal("spread", 0, arrived)
    half = torch.where((rows % 2 == 0)[:, None], arrived, start.points)
    return [Cloud(points + spread) for points in (arrived, half)]


def _stiffness(
    estimator: Estimator, velocity: Velocity, x: Cloud, target: Cloud | None, span: float
) -> tuple[float, float]:
    """The fastest contraction rate at a cloud (0 where all is growth), and the largest speed."""
    clock = Clock()
    memory = fitted(estimator, x, target, clock, {}).memory

    def moving(points: Tensor) -> Tensor:
        moved = replace(x, points=points)
        return velocity(moved, fitted(estimator, moved, target, clock, memory), clock)

    epsilon = _difference(estimator, x, target, span)

    def eigenvalue(shift: float, stream: str) -> tuple[float, float]:
        """Rayleigh quotient and norm of J = d velocity / d particles.

        Both are taken on the dominant direction of J - shift I.
        """
        direction = Draws(0).normal(stream, 0, x.points)
        quotient = size = 0.0
        for _ in range(ROUNDS):
            direction = direction / direction.norm() * math.sqrt(len(x))
            ahead, behind = (moving(x.points + sign * epsilon * direction) for sign in (1, -1))
            image = (ahead - behind) / (2 * epsilon)
            if not bool(torch.isfinite(image).all()):
                break
            quotient = float((direction * image).sum()) / len(x)
            size = float(image.norm()) / math.sqrt(len(x))
            direction = image - shift * direction
            if not float(direction.norm()) > 0:
                break
        return quotient, size

    quotient, size = eigenvalue(0.0, "dominant")
    contraction = size if quotient < 0 else max(0.0, -eigenvalue(size, "shifted")[0])
    return contraction, float(moving(x.points).norm(dim=1).nan_to_num().max())


def _difference(estimator: Estimator, x: Cloud, target: Cloud | None, span: float) -> float:
    """Half the distance over which velocities are subtracted, root mean square of the particles."""
    tiny = span * torch.finfo(x.points.dtype).eps ** (1 / 3)
    if target is None or not isinstance(estimator, KernelWitness):
        return tiny
    kernel = estimator.kernel
    if not has_kink(kernel):
        return tiny
    length = RESOLVED * spacing(target) or ONE_PLACE * span
    if isinstance(kernel, ScaledKernel):
        length = min(length, RESOLVED * kernel.bandwidth)
    return max(length, tiny)


def _ratio(a: float, b: float) -> float | None:
    """a / b, or None where it is not a finite positive number."""
    ratio = a / b if b > 0 and math.isfinite(b) else 0.0
    return ratio if ratio > 0 else None


def _two_digits(value: float) -> float:
    """The value rounded down to two digits: 0.0837 becomes 0.083."""
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / power * (1 + 1e-12)) * power:.1e}")
