"""Which points a choice from the data looks at: the same ones in whatever order the rows come.

A bandwidth, a time step or the centres of a kernel sum are chosen from the points, not from their
numbers. So the rows are first put into an order of their own:

1. The points are sorted by their coordinates. Repeats of a point are one place, whose mass is the
   sum of theirs.
2. Of more than `most` places a part is drawn: sorted along the first principal axis they are cut
   into `most` parts of equal mass, and of each part one place is drawn with a fixed seed.
3. What is left is shuffled with a fixed seed, so that neither a fold nor the first few have
   anything to do with where the points lie.

What is guaranteed. A permutation of the rows changes no bit. Repeats and weights give the same, up
to the rounding of masses. A translation, a rotation, a reflection or another scale moves the drawn
places along with the points, up to rounding. A place whose neighbour along the axis is as near as
rounding may be exchanged for that neighbour. So may all places where rounding decides the axis
itself (a square grid). The draw is then another of the same kind, and a median distance chosen from
it differs by some 2 %. The same holds for float32 and float64 copies.

Parts of equal mass along the axis, and not a plain draw: two clusters of 1000 points keep their
shares exactly, on which the median distance of all pairs depends when it lies between that within a
cluster and that between both.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from particleflow.clouds import Cloud

SEED = 0


def places(
    cloud: Cloud, most: int | None = None
) -> tuple[Float[Tensor, "P d"], Float[Tensor, "P"]]:
    """Distinct points of a cloud that have mass, and their shares of it, which sum to one: float64,
    on the cloud's device. At most `most`, if given.

    A place of more than 1 / most of the mass is drawn several times, which its share tells. Cost
    O(N log N), and O(N d^2) where places are drawn.
    """
    points, mass = _numbers(cloud)
    order = _by_coordinates(points, mass)
    points, mass = points[order], mass[order]
    first = np.concatenate([[True], (points[1:] != points[:-1]).any(1)])
    points, share = points[first], np.add.reduceat(mass, np.flatnonzero(first))
    share = share / share.sum()
    if most is not None and len(points) > most:
        along = _along_the_axis(points, share)
        levels = np.cumsum(share[along])
        drawn, counts = np.unique(
            np.searchsorted(levels, _levels(most) * levels[-1], side="right").clip(
                max=len(along) - 1
            ),
            return_counts=True,
        )
        points, share = points[along[drawn]], counts / most
    shuffled = _shuffled(len(points))
    device = cloud.points.device
    return torch.from_numpy(points[shuffled]).to(device), torch.from_numpy(share[shuffled]).to(
        device
    )


def part(cloud: Cloud, most: int) -> Cloud:
    """At most `most` of a cloud's points that have mass, repeats among them, of the same total
    mass. Each row has the same chance.
    """
    points, mass = _numbers(cloud)
    rows = _by_coordinates(points, mass)
    if len(rows) > most:
        along = _along_the_axis(points[rows], np.full(len(rows), 1 / len(rows)))
        rows = rows[along[np.unique((_levels(most) * len(rows)).astype(int))]]
    there = (
        torch.arange(len(cloud), device="cpu")
        if cloud.log_mass is None
        else torch.nonzero(cloud.mass.cpu() > 0)[:, 0]
    )
    chosen = there[torch.from_numpy(rows[_shuffled(len(rows))])].to(cloud.points.device)
    if cloud.log_mass is None:
        return Cloud(cloud.points[chosen])
    log_mass = cloud.log_mass[chosen]
    return Cloud(
        cloud.points[chosen],
        log_mass=log_mass - log_mass.logsumexp(0) + cloud.log_mass.logsumexp(0),
    )


@lru_cache(maxsize=64)
def some_rows(count: int, most: int) -> slice | Int[np.ndarray, "n"]:
    """All of `count` rows, or `most` of them drawn with a fixed seed, in rising order: for a look
    at points, from which nothing is chosen.
    """
    return slice(None) if count <= most else _drawn(count, most).copy()


@lru_cache(maxsize=64)
def _drawn(count: int, most: int) -> Int[np.ndarray, "n"]:
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def ranked(points: Float[np.ndarray, "N d"], *shares: float) -> Float[np.ndarray, "S d"]:
    """Of each coordinate the numbers that these shares of the rows lie below, none of them between
    two rows. Of all rows: O(N d). NaNs are last.
    """
    rows = [min(int(share * len(points)), len(points) - 1) for share in shares]
    return np.partition(np.ascontiguousarray(points.T), sorted(set(rows)))[:, rows].T


def in_own_order(cloud: Cloud) -> Int[np.ndarray, "N"]:
    """Numbers of the rows that have mass, sorted by their coordinates."""
    rows = _by_coordinates(*_numbers(cloud))
    return rows if cloud.log_mass is None else np.flatnonzero((cloud.mass > 0).cpu().numpy())[rows]


def lasting_order(cloud: Cloud, kept: Tensor | None) -> Int[Tensor, "N"]:
    """All row numbers in an order of the points' own, shuffled with a fixed seed; `kept`, an
    earlier answer, where it has as many rows.

    An estimator keeps it in its memory. What it draws by number then depends on the points of its
    first fit and not on the order of their rows, and is the same particle from one step to the
    next.
    """
    if kept is not None and len(kept) == len(cloud):
        return kept.to(cloud.points.device)
    points = cloud.points.detach().cpu().double().numpy() + 0.0
    mass = (
        np.ones(len(points))
        if cloud.log_mass is None
        else cloud.mass.detach().cpu().double().numpy()
    )
    return torch.from_numpy(_by_coordinates(points, mass)[_shuffled(len(points))]).to(
        cloud.points.device
    )


def _numbers(cloud: Cloud) -> tuple[np.ndarray, np.ndarray]:
    """Points that have mass and their masses, 1 each where none are given, in float64. Zero has no
    sign.
    """
    points = cloud.points.detach().cpu().double().numpy() + 0.0
    if cloud.log_mass is None:
        return points, np.ones(len(points))
    mass = cloud.mass.detach().cpu().double().numpy()
    return points[mass > 0], mass[mass > 0]


def _by_coordinates(points: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Row numbers, sorted by the first coordinate, then the second and so on, at last by mass."""
    order = points[:, 0].argsort(kind="stable")
    same = np.diff(points[order, 0]) == 0
    tied = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    rows = order[tied]
    if len(rows):
        order[tied] = rows[np.lexsort([mass[rows], *points[rows].T[::-1]])]
    return order


def _along_the_axis(points: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Row numbers in the order of the projections on the first principal axis."""
    centred = points - share @ points
    _, axes = np.linalg.eigh((centred * share[:, None]).T @ centred)
    return (centred @ axes[:, -1]).argsort(kind="stable")


def _levels(most: int) -> np.ndarray:
    """One level in each of `most` equal parts of [0, 1], the same from both ends: an axis has no
    direction.
    """
    inside = np.random.default_rng(SEED).random(most)
    inside = np.where(np.arange(most) < most // 2, inside, 1 - inside[::-1])
    if most % 2:
        inside[most // 2] = 0.5
    return (np.arange(most) + inside) / most


def _shuffled(count: int) -> np.ndarray:
    return np.random.default_rng(SEED).permutation(count)
