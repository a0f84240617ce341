"""Which way a Fourier sum goes: modes on one box, with a near field or without, the near field
alone, or exact sums. A function of the points.

Boxes are snapped to a coarse scale, so that a target's modes stay valid while the particles move,
and depend on nothing but the points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from particleflow.clouds import corners
from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, falls_fast
from particleflow.pairwise.fourier.farfield import Demand, Modes, modes
from particleflow.pairwise.neighbours.reach import thinned
from particleflow.pairwise.periodic.modes import reach, scale
from particleflow.pairwise.periodic.split import WIDEST, kinked, rate
from particleflow.subsets import ranked

# A box's extents are powers of 2^(1/SNAP); its centre lies on a lattice of 1/PLACES of them.
SNAP, PLACES = 8, 16
# Modes worth their while, per point and at least, whatever the limit.
MODES_PER_POINT, FEW_MODES = 64, 2**17
# Seconds: a mode of a transform, a pair of the near field, an exact pair. Only their ratios matter.
PER_MODE, PER_NEAR_PAIR, PER_PAIR = 0.35e-6, 10e-9, 1.5e-9
TRANSFORMS = 4
# Extents of a box over those of the middle half of its points, at most, for a kernel that has no
# length of its own.
STRETCHED = 1e8
# Shares of the points that may be left out of the box, and summed exactly.
OUTLIERS = (1e-3, 1e-2, 5e-2)
# Why sums of coinciding points are exact: no fault, and no slower.
COINCIDENT = "all points coincide"
ENDLESS = "the points are not finite, or too far apart to subtract"
# Distances are looked at between this many queries and sources.
SAMPLED_QUERIES, SAMPLED_SOURCES = 128, 2048


@dataclass(frozen=True)
class Wanted:
    """Errors relative to the scales S_0 and S_1 at most `tol`; the laplacian's too where it is
    asked for.
    """

    kernel: Kernel
    tol: float
    laplacian: bool
    float32: bool
    max_modes: int
    near: bool


@dataclass(frozen=True)
class Box:
    """Centre and full extents."""

    centre: tuple[float, ...]
    extents: tuple[float, ...]

    def inside(self, points: Tensor) -> Tensor:
        """Which rows lie in the box; false for NaN."""
        half = points.new_tensor([extent / 2 for extent in self.extents])
        return ((points - points.new_tensor(self.centre)).abs() <= half).all(1)


@dataclass(frozen=True, eq=False)
class Layout:
    """`modes` on `box`; outside of it (`whole` false) sums are exact. Without: sums within the
    kernel's reach (`culled`), or exact; and `why`.
    """

    box: Box
    modes: Modes | None = None
    whole: bool = True
    culled: bool = False
    why: str = ""


def snapped(lowest: Tensor, highest: Tensor, least: float) -> Box:
    """A box around [lowest, highest], of extents at least `least` each, that seldom changes when
    these do.
    """
    centre, extents = [], []
    spans = (highest - lowest).tolist()
    floor = max(least, max(spans) / 64) or 1.0
    for low, high, span in zip(lowest.tolist(), highest.tolist(), spans, strict=True):
        # the centre moves by half a place at most, to either side
        needed = max(span, floor) * PLACES / (PLACES - 1)
        extent = 2.0 ** (math.ceil(SNAP * math.log2(needed)) / SNAP)
        place = extent / PLACES
        centre.append(place * round((low + high) / 2 / place))
        extents.append(extent)
    return Box(tuple(centre), tuple(extents))


def layout(wanted: Wanted, clouds: Sequence[Tensor], z: Tensor) -> Layout:
    """For sources `clouds` and finite queries z, all double."""
    kernel = wanted.kernel
    lowest, highest = corners(*clouds, z)
    if not bool((highest - lowest).isfinite().all()):
        return Layout(Box((), ()), why=ENDLESS)
    if bool((lowest == highest).all()):
        return Layout(Box((), ()), why=COINCIDENT)
    least = scale(kernel) / 16 if bandwidth_of(kernel) is not None else 0.0
    box = snapped(lowest, highest, least)
    n, q = sum(len(points) for points in clouds), len(z)
    most = min(wanted.max_modes, MODES_PER_POINT * (n + q) + FEW_MODES)
    share = _Shares(clouds, z) if wanted.near else None
    if not (wanted.near and kinked(kernel)):
        found = modes(_demand(wanted, box, 0.0, most))
        if found is not None:
            return Layout(box, found)
    elif share is not None and not (bandwidth_of(kernel) is None and _stretched(box, clouds, z)):
        found = _with_near(wanted, box, most, share, n * q)
        if found is not None:
            return Layout(box, found)
    return _elsewhere(wanted, box, clouds, z, most, share)


def _stretched(box: Box, clouds: Sequence[Tensor], z: Tensor) -> bool:
    """Whether the middle half of the points is so small a part of the box that its near field, as
    wide as the box, would lose their differences.
    """
    low, high = _ranked((*clouds, z), 0.25, 0.75)
    return 0.0 < float((high - low).max()) * STRETCHED < max(box.extents)


def _elsewhere(
    wanted: Wanted, box: Box, clouds: Sequence[Tensor], z: Tensor, most: int, share: _Shares | None
) -> Layout:
    """Where one box takes too many modes: leave out outliers, or sum all within reach; whichever is
    cheaper.
    """
    kernel = wanted.kernel
    n, q = sum(len(points) for points in clouds), len(z)
    why = (
        f"no number of modes up to {wanted.max_modes} (nor {MODES_PER_POINT} a point) keeps atol ="
        f" {wanted.tol:.1g}"
    )
    choices: list[tuple[float, Layout]] = []
    far = reach(kernel, wanted.tol)
    if share is not None and math.isfinite(far) and falls_fast(type(kernel)):
        choices.append((n * q * share(far) * PER_PAIR, Layout(box, culled=True, why=why)))
    for left_out in OUTLIERS:
        tails = _ranked((*clouds, z), 0.5 * left_out / z.shape[1], 1 - 0.5 * left_out / z.shape[1])
        core = snapped(tails[0], tails[1], box.extents[0] / 2**20)
        if all(a >= 0.8 * b for a, b in zip(core.extents, box.extents, strict=True)):
            continue
        outside = (
            sum(int((~core.inside(points)).sum()) for points in clouds),
            int((~core.inside(z)).sum()),
        )
        cost = (outside[0] * q + outside[1] * n) * PER_PAIR
        if share is not None and kinked(kernel):
            found = _with_near(wanted, core, most, share, n * q)
        else:
            found = modes(_demand(wanted, core, 0.0, most))
        if found is not None:
            radius = found.demand.radius
            cost += TRANSFORMS * PER_MODE * found.c.numel() + (
                n * q * share(radius) * PER_NEAR_PAIR if share and radius else 0.0
            )
            choices.append((cost, Layout(core, found, whole=False)))
            break
    return min(choices, key=lambda choice: choice[0])[1] if choices else Layout(box, why=why)


def _with_near(wanted: Wanted, box: Box, most: int, share: _Shares, pairs: int) -> Modes | None:
    """Modes and the radius of the near field for a kernel with a kink, by their cost."""
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
        found = modes(_demand(wanted, box, radius, most))
        if found is not None:
            return found
    return None


def _demand(wanted: Wanted, box: Box, radius: float, most: int) -> Demand:
    return Demand(
        wanted.kernel, box.extents, wanted.tol, wanted.laplacian, radius, wanted.float32, most
    )


class _Shares:
    """The share of the pairs of queries and sources that are closer than a radius, from some of
    them.
    """

    def __init__(self, clouds: Sequence[Tensor], z: Tensor) -> None:
        total = sum(len(points) for points in clouds)
        some = torch.cat(
            [thinned(points, max(1, SAMPLED_SOURCES * len(points) // total)) for points in clouds]
        )
        self._distances = torch.cdist(
            thinned(z, SAMPLED_QUERIES), some, compute_mode="donot_use_mm_for_euclid_dist"
        )

    def __call__(self, radius: float) -> float:
        return float((self._distances < radius).double().mean())


def _ranked(clouds: Sequence[Tensor], *shares: float) -> Tensor:
    return torch.from_numpy(ranked(torch.cat([*clouds]).detach().cpu().numpy(), *shares)).to(
        clouds[0]
    )
