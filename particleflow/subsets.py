"""Choices of points from a cloud that are the same in whatever order its rows come.

A bandwidth, a time step or the centres of a kernel sum are chosen from the points, not from their
row numbers. So the rows are first put into an order of their own:

1. The points are sorted by their coordinates. Repeats of a point are one place, whose mass is the
   sum of theirs.
2. From more than `most` places a part is drawn. The places are sorted along the first principal
   axis and cut into `most` parts of equal mass. From each part one place is drawn with a fixed
   seed.
3. The places drawn are shuffled with a fixed seed. A fold, or the first few, then do not depend on
   where the points lie.

Guarantees. A permutation of the rows changes no bit. Repeats and weights give the same places, up
to the rounding of masses. A translation, a rotation, a reflection or another scale moves the drawn
places along with the points, up to rounding. A place may be exchanged for a neighbour that is as
near to it along the axis as rounding. Any places may be exchanged where rounding decides the axis
itself (a square grid). The draw is then another of the same kind, and a median distance chosen from
it differs by about 2 %. The same holds for float32 and float64 copies.

The parts of equal mass serve clusters, which a plain draw does not: two clusters of 1000 points
keep their shares exactly. The median distance of all pairs depends on these shares when it lies
between the distance within a cluster and the distance between both.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from particleflow.clouds import Cloud

# The seed of all draws here; fixed, so that a choice depends on the points alone.
SEED = 0


def places(
    cloud: Cloud, most: int | None = None
) -> tuple[Float[Tensor, "P d"], Float[Tensor, "P"]]:
    """The distinct points of a cloud that have mass, and their shares of it, which sum to 1.

    Both are float64, on the cloud's device. At most `most` places are drawn, if it is given. A
    place of more than 1 / most of the mass is drawn several times, and its share tells how often.
    Cost O(N log N), and O(N d^2) where places are drawn.
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
    """At most `most` points of a cloud that have mass, with its total mass.

    Repeats of a point may be among them. Each row has the same chance.
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
    """All of `count` rows, or `most` of them drawn with a fixed seed, in rising order.

    They serve a look at the points, from which nothing is chosen.
    """
    return slice(None) if count <= most else _drawn(count, most).copy()


@lru_cache(maxsize=64)
def _drawn(count: int, most: int) -> Int[np.ndarray, "n"]:
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def ranked(points: Float[np.ndarray, "N d"], *shares: float) -> Float[np.ndarray, "S d"]:
    """For each coordinate the values below which these shares of the rows lie, (S, d).

    Each value is that of a row. NaNs are last. Cost O(N d): all rows are read.
    """
    rows = [min(int(share * len(points)), len(points) - 1) for share in shares]
    return np.partition(np.ascontiguousarray(points.T), sorted(set(rows)))[:, rows].T


def in_own_order(cloud: Cloud) -> Int[np.ndarray, "N"]:
    """The numbers of the rows that have mass, sorted by their coordinates."""
    rows = _by_coordinates(*_numbers(cloud))
    return rows if cloud.log_mass is None else np.flatnonzero((cloud.mass > 0).cpu().numpy())[rows]


def lasting_order(cloud: Cloud, kept: Tensor | None) -> Int[Tensor, "N"]:
    """All row numbers in an order of the points' own, shuffled with a fixed seed.

    `kept`, an earlier answer, is returned where it has as many rows. An estimator keeps it in its
    memory. Its draws by number then depend on the points of its first fit, not on the order of
    their rows. A number is the same particle from one step to the next.
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
    """The points that have mass and their masses (1 each if none are given), in float64.

    Zero has no sign.
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
    """One level in each of `most` equal parts of [0, 1].

    The levels are the same from both ends: an axis has no direction.
    """
    inside = np.random.default_rng(SEED).random(most)
    inside = np.where(np.arange(most) < most // 2, inside, 1 - inside[::-1])
    if most % 2:
        inside[most // 2] = 0.5
    return (np.arange(most) + inside) / most


def _shuffled(count: int) -> np.ndarray:
    return np.random.default_rng(SEED).permutation(count)
