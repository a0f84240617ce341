"""Chooses the way of a Fourier sum: modes, modes and a near field, neighbours alone, or exact sums.

The choice depends on the request and the points, not on earlier calls or measured times. Boxes are
snapped to a coarse scale, so that the modes of a target stay valid while the particles move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from particleflow.clouds import corners
from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, falls_fast
from particleflow.pairwise.fourier.farfield import Demand, Modes, fewest_modes
from particleflow.pairwise.neighbours.reach import sampled_distances, share_within
from particleflow.pairwise.periodic.modes import length_scale, reach
from particleflow.pairwise.periodic.split import WIDEST, kinked, rate
from particleflow.subsets import ranked

# The extents of a box are powers of 2^(1/SNAP).
SNAP = 8
# The centre of a box is a multiple of its extent / PLACES.
PLACES = 16
# The sides of a box are at least the longest / THINNEST.
THINNEST = 64
# Modes that a sum may take for each point: with more, exact sums are faster.
MODES_PER_POINT = 64
# Modes that a sum may take besides, for any number of points: their transforms take milliseconds.
MODES_BESIDES = 2**17
# Seconds for a mode of a transform. Only the ratios of these three matter.
PER_MODE = 0.35e-6
# Seconds for a pair of the near field.
PER_NEAR_PAIR = 10e-9
# Seconds for a pair of an exact sum.
PER_PAIR = 1.5e-9
# Transforms of a sum: of type 1, and of type 2 for the value and the gradient.
TRANSFORMS = 4
# For a kernel without a length of its own: the largest extent of a box, over the extent of the
# middle half of its points. Beyond, differences of these points would lose half of their digits.
STRETCHED = 1e8
# Shares of the points that may be left out of the box and summed exactly, tried in this order.
OUTLIERS = (1e-3, 1e-2, 5e-2)
# A box without outliers is not tried if each side is at least this part of the whole box's.
NO_SMALLER = 0.8
# Reason for exact sums: all points coincide. This is no fault, and exact sums are fast there.
COINCIDENT = "all points coincide"
# Reason for exact sums: the box has no extent that is a number.
ENDLESS = "the points are not finite, or too far apart to subtract"
# Reason not to sum over the box of all points: they are stretched (see `STRETCHED`).
TOO_SPREAD = (
    f"half of the points span less than {1 / STRETCHED:.0e} of the extent of all, and their"
    " differences would lose their digits"
)
# Queries and sources by whose distances the pairs of a near field are counted.
SAMPLED = 128, 2048


# radius -> the share of the pairs of queries and sources that are closer
Share: TypeAlias = Callable[[float], float]


@dataclass(frozen=True)
class Wanted:
    """What a sum asks for: errors of at most `tol`, relative to S_0 and S_1 (`promise.py`).

    `laplacian`: the error of the laplacian, too. `near`: near fields can be summed here.
    """

    kernel: Kernel
    tol: float
    laplacian: bool
    max_modes: int
    near: bool


@dataclass(frozen=True)
class Box:
    """A box: its centre, and its full extent on each axis."""

    centre: tuple[float, ...]
    extents: tuple[float, ...]

    def inside(self, points: Tensor) -> Tensor:
        """(N,) bool: the points that lie in the box; false for NaN."""
        half = points.new_tensor([extent / 2 for extent in self.extents])
        return ((points - points.new_tensor(self.centre)).abs() <= half).all(1)


@dataclass(frozen=True, eq=False)
class Layout:
    """The way of a sum.

    With `modes`, the sum is taken on `box`. Points outside of the box are summed exactly; there are
    none if `whole`. Without modes, for the reason `why`, the sum is taken over the sources within
    the kernel's reach (`culled`), or exactly.
    """

    box: Box
    modes: Modes | None = None
    whole: bool = True
    culled: bool = False
    why: str = ""


def snapped(lowest: Tensor, highest: Tensor, least: float) -> Box:
    """A box around [lowest, highest] that seldom changes when these do.

    Each extent is at least `least`.
    """
    centre, extents = [], []
    spans = (highest - lowest).tolist()
    floor = max(least, max(spans) / THINNEST) or 1.0
    for low, high, span in zip(lowest.tolist(), highest.tolist(), spans, strict=True):
        # room for the centre, which is rounded by half a place at most
        needed = max(span, floor) * PLACES / (PLACES - 1)
        extent = 2.0 ** (math.ceil(SNAP * math.log2(needed)) / SNAP)
        place = extent / PLACES
        centre.append(place * round((low + high) / 2 / place))
        extents.append(extent)
    return Box(tuple(centre), tuple(extents))


def layout(wanted: Wanted, clouds: Sequence[Tensor], z: Tensor) -> Layout:
    """The way of a sum over sources `clouds` at finite queries z, all in float64."""
    kernel = wanted.kernel
    lowest, highest = corners(*clouds, z)
    if not bool((highest - lowest).isfinite().all()):
        return Layout(Box((), ()), why=ENDLESS)
    if bool((lowest == highest).all()):
        return Layout(Box((), ()), why=COINCIDENT)
    least = length_scale(kernel) / 16 if bandwidth_of(kernel) is not None else 0.0
    box = snapped(lowest, highest, least)
    n, q = sum(len(points) for points in clouds), len(z)
    most = min(wanted.max_modes, MODES_PER_POINT * (n + q) + MODES_BESIDES)
    share = _shares(clouds, z) if wanted.near else None
    why = (
        f"no number of modes up to {wanted.max_modes} (nor {MODES_PER_POINT} a point) keeps atol ="
        f" {wanted.tol:.1g}"
    )
    if share is None or not kinked(kernel):
        found = fewest_modes(_demand(wanted, box, 0.0, most))
    elif bandwidth_of(kernel) is None and _stretched(box, clouds, z):
        found, why = None, TOO_SPREAD
    else:
        found = _with_near(wanted, box, most, share, n * q)
    if found is not None:
        return Layout(box, found)
    return _elsewhere(wanted, box, clouds, z, most, share, why)


def _stretched(box: Box, clouds: Sequence[Tensor], z: Tensor) -> bool:
    """Whether the middle half of the points is a tiny part of the box (see `STRETCHED`).

    A near field as wide as the box would then lose the differences of these points.
    """
    low, high = _ranked((*clouds, z), 0.25, 0.75)
    return 0.0 < float((high - low).max()) * STRETCHED < max(box.extents)


def _elsewhere(
    wanted: Wanted,
    box: Box,
    clouds: Sequence[Tensor],
    z: Tensor,
    most: int,
    share: Share | None,
    why: str,
) -> Layout:
    """The way where modes on the box of all points will not do, for the reason `why`.

    It is the cheaper of two: outliers are left out of the box, or the sum is taken within the
    kernel's reach. Where there is neither, sums are exact.
    """
    kernel = wanted.kernel
    n, q = sum(len(points) for points in clouds), len(z)
    choices: list[tuple[float, Layout]] = []
    far = reach(kernel, wanted.tol)
    if share is not None and math.isfinite(far) and falls_fast(type(kernel)):
        choices.append((n * q * share(far) * PER_PAIR, Layout(box, culled=True, why=why)))
    for left_out in OUTLIERS:
        aside = 0.5 * left_out / z.shape[1]
        tails = _ranked((*clouds, z), aside, 1 - aside)
        core = snapped(tails[0], tails[1], box.extents[0] / 2**20)
        if all(a >= NO_SMALLER * b for a, b in zip(core.extents, box.extents, strict=True)):
            continue
        outside = (
            sum(int((~core.inside(points)).sum()) for points in clouds),
            int((~core.inside(z)).sum()),
        )
        cost = (outside[0] * q + outside[1] * n) * PER_PAIR
        if share is not None and kinked(kernel):
            found = _with_near(wanted, core, most, share, n * q)
        else:
            found = fewest_modes(_demand(wanted, core, 0.0, most))
        if found is not None:
            radius = found.demand.radius
            cost += TRANSFORMS * PER_MODE * found.c.numel() + (
                n * q * share(radius) * PER_NEAR_PAIR if share and radius else 0.0
            )
            choices.append((cost, Layout(core, found, whole=False)))
            break
    return min(choices, key=lambda choice: choice[0])[1] if choices else Layout(box, why=why)


def _with_near(wanted: Wanted, box: Box, most: int, share: Share, pairs: int) -> Modes | None:
    """Modes and near field of a kernel with a kink: the cheapest radius whose modes keep `tol`."""
    own = rate(wanted.kernel)
    widest = min(max(box.extents), WIDEST / own if own else math.inf)
    beta = math.log(1 / wanted.tol) + 8
    d = len(box.extents)
    costs = []
    for step in range(2, 30):
        radius = widest * 2 ** (-step / 2)
        count = math.prod(2.5 * extent * beta / (math.pi * radius) for extent in box.extents)
        if count > 8 * most:
            break
        costs.append(
            (TRANSFORMS * PER_MODE * count + pairs * share(radius) * PER_NEAR_PAIR, radius)
        )
    for _, radius in sorted(costs)[: 2 * d]:
        found = fewest_modes(_demand(wanted, box, radius, most))
        if found is not None:
            return found
    return None


def _demand(wanted: Wanted, box: Box, radius: float, most: int) -> Demand:
    return Demand(wanted.kernel, box.extents, wanted.tol, wanted.laplacian, radius, most)


def _shares(clouds: Sequence[Tensor], z: Tensor) -> Share:
    """The share of pairs closer than a radius, from some of the queries and sources."""
    return partial(share_within, sampled_distances(clouds, z, counts=SAMPLED))


def _ranked(clouds: Sequence[Tensor], *shares: float) -> Tensor:
    """(len(shares), d): on each axis, the coordinates below which these shares of points lie."""
    return torch.from_numpy(ranked(torch.cat([*clouds]).detach().cpu().numpy(), *shares)).to(
        clouds[0]
    )
