"""Strays: particles that are farther from every target point than the target's own spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow._words import number
from particleflow.clouds import Cloud
from particleflow.subsets import part, places

# The multiple of the target's spacing beyond which a particle is a stray. Of 240 fresh samples of
# a target of 300 points, about one or none is that far: rings, moons, Gaussians in d = 1, 2 and 5.
FAR = 2.0
# The share of the target's mass whose nearest neighbour is at most the spacing away: nearly all,
# and yet not led by a few outliers.
NEARLY_ALL = 0.99
# The most points of each cloud that are compared; 5e7 distances in the plane take 0.5 s.
MOST = 5000
# The most differences of coordinates between two clouds, about a second.
DIFFERENCES = 5e8
# Rows of distances that are held at once; 512 times MOST distances take 20 MB.
ROWS = 512


@dataclass(frozen=True)
class Strays:
    """Particles farther than `distance` from every point of the target.

    Attributes
    ----------
    count : int
    distance : float
        r = max(2 s, floor). s is the spacing of the target: 99 % of its mass have another target
        point within s. `floor` is W2 of two fresh samples: transport moves each particle by about
        that much even between these.
    compared : int
        Particles that were looked at.
    drawn : int
        The target points that were drawn, of more; 0 where all were looked at.
    """

    count: int
    distance: float
    compared: int
    drawn: int = 0

    def said(self, particles: int) -> str:
        """The strays of a cloud of this many particles, as a clause."""
        drawn = " drawn" * (self.compared < particles)
        of = f"of {number(self.compared, f'{drawn} particle'.strip())}"
        verb = "are" if self.count > 1 else "is"
        aim = f" ({self.drawn} of its points drawn)" if self.drawn else ""
        return (
            f"{self.count or 'none'} {of} {verb} more than {self.distance:.2g} from the target{aim}"
        )


def strays(x: Cloud, y: Cloud, floor: float = 0.0) -> Strays | None:
    """The strays among the particles x; None where the target y is one place, without a spacing.

    A fresh point of the target's distribution is farther than s from y with a probability of about
    1 %, for it is exchangeable with the points of y. It is farther than 2 s far more rarely.
    Particles and target points without mass do not count. Beyond 5000 points (fewer above d = 20)
    a part of the cloud is drawn, with a fixed seed. Cost O((N + M) M d) for these: about 0.5 s at
    5000 points in the plane, and at most about 2 s.

    >>> line = Cloud(torch.arange(20.0)[:, None])
    >>> strays(Cloud([[3.5], [20.5], [-9.0]]), line)
    Strays(count=1, distance=2.0, compared=3, drawn=0)
    """
    return joined([(x, y)], floor)


def joined(
    groups: Sequence[tuple[Cloud, Cloud]], floor: float, lengths: Sequence[float] | None = None
) -> Strays | None:
    """The strays of several groups, each with its own part of the target.

    r is the largest of the groups; a target of one place has none, and takes that of the others.
    `lengths` are the periods of the axes.
    """
    parts = []
    for x, y in groups:
        most = min(MOST, math.isqrt(int(DIFFERENCES / x.dim)))
        target, share = places(y, most)
        particles = part(x, most).points.to(target)
        drawn = len(target) if len(y) > most else 0
        spacing = _spacing(target, share, lengths) if len(target) > 1 else 0.0
        parts.append((particles, target, spacing, drawn))
    if all(len(target) < 2 for _, target, _, _ in parts):
        return None
    distance = max(FAR * max(spacing for _, _, spacing, _ in parts), floor)
    count = sum(int((nearest(x, y, lengths=lengths) > distance).sum()) for x, y, _, _ in parts)
    compared = sum(len(particles) for particles, _, _, _ in parts)
    return Strays(count, distance, compared, sum(drawn for _, _, _, drawn in parts))


def _spacing(points: Tensor, share: Tensor, lengths: Sequence[float] | None) -> float:
    """The distance within which `NEARLY_ALL` of the mass have another place."""
    values, order = nearest(points, points, other=True, lengths=lengths).sort()
    mass = share[order].cumsum(0)
    return float(values[int(torch.searchsorted(mass, NEARLY_ALL * mass[-1]))])


def nearest(
    points: Float[Tensor, "P d"],
    others: Float[Tensor, "R d"],
    *,
    other: bool = False,
    lengths: Sequence[float] | None = None,
) -> Float[Tensor, "P"]:
    """The distance of each point to the nearest of `others`; with `other` to one elsewhere.

    It is infinite where there is none. `lengths` are the periods of the axes. Cost O(P R d).
    """
    found = []
    for rows in points.split(ROWS):
        distances = (
            torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")
            if lengths is None
            else squares_around(rows, others, lengths).sqrt()
        )
        if other:
            distances = distances.masked_fill_(distances == 0, math.inf)
        found.append(distances.amin(1))
    return torch.cat(found)


def squares_around(
    points: Float[Tensor, "P d"], others: Float[Tensor, "R d"], lengths: Sequence[float]
) -> Float[Tensor, "P R"]:
    """Squared distances where axis k repeats after lengths[k], which may be infinite."""
    square = points.new_zeros(len(points), len(others))
    for k, length in enumerate(lengths):
        difference = (points[:, k, None] - others[None, :, k]).abs()
        if math.isfinite(length):
            rest = difference % length
            difference = torch.minimum(rest, length - rest)
        square += difference**2
    return square
