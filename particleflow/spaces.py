"""The space in which particles are compared with the target: within classes, around a torus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from particleflow.clouds import Cloud
from particleflow.estimators.labelled import Labelled
from particleflow.flows import Flow
from particleflow.integrators import Integrator
from particleflow.integrators.base import periods
from particleflow.metrics import W2
from particleflow.metrics.transport import AROUND
from particleflow.strays import Strays, joined

Rows = Int[np.ndarray, "n"]
# The words of distances between particles and target points of one class.
WITHIN = "within classes"


@dataclass(frozen=True)
class Group:
    """Particles and target points that are compared with each other alone.

    `share` is that of the particles' mass. Rows are None where all belong to the group.
    """

    share: float
    particles: Rows | None = None
    targets: Int[np.ndarray, "m"] | None = None


@dataclass(frozen=True)
class Space:
    """What distances between particles and target mean in a run.

    Attributes
    ----------
    lengths : tuple of float, or None
        The period of each axis, infinite for an axis without one; None without any.
    classes : tuple of (rows, rows)
        The rows of the particles and of the target points of each class; a class whose target rows
        are None has the whole target. Empty without classes.
    """

    lengths: tuple[float, ...] | None = None
    classes: tuple[tuple[Rows, Int[np.ndarray, "m"] | None], ...] = ()

    @classmethod
    def of(cls, flow: Flow, integrator: Integrator, dim: int) -> Space:
        classes = flow.estimator.classes if isinstance(flow.estimator, Labelled) else ()
        return replace(cls.around(periods(integrator, dim)), classes=classes)

    @classmethod
    def around(cls, ends: Sequence[Sequence[float] | None]) -> Space:
        """Without classes, from the two ends of each axis, or None for an axis without a period."""
        lengths = tuple(math.inf if end is None else end[1] - end[0] for end in ends)
        return cls(lengths if any(map(math.isfinite, lengths)) else None)

    @property
    def plain(self) -> bool:
        """Are all particles compared with the whole target, by Euclidean distances?"""
        return self.lengths is None and not self.classes

    @property
    def said(self) -> str:
        """Where W2 is taken, in words: "within classes", "around the box"; empty if plain."""
        words = {WITHIN: bool(self.classes), AROUND: self.lengths is not None}
        return " and ".join(word for word, holds in words.items() if holds)

    @property
    def metric(self) -> W2:
        return W2(periods=self.lengths)

    def groups(self, x: Cloud) -> list[Group]:
        """The groups of a run with these particles."""
        if not self.classes:
            return [Group(1.0)]
        mass = (x.mass / x.mass.sum()).double().cpu().numpy()
        return [Group(float(mass[rows].sum()), rows, targets) for rows, targets in self.classes]

    def distance(self, shares: Sequence[float], distances: Sequence[float]) -> float:
        """W2 over groups, between which no mass moves: the root of the mean square."""
        if len(shares) == 1:
            return distances[0]
        return math.sqrt(sum(p * w * w for p, w in zip(shares, distances, strict=True)))

    def strays(self, x: Cloud, y: Cloud, floor: float) -> Strays | None:
        """The strays of each group, together."""
        return joined(
            [(rows_of(x, group.particles), rows_of(y, group.targets)) for group in self.groups(x)],
            floor,
            self.lengths,
        )


PLAIN = Space()


def rows_of(cloud: Cloud, numbers: Rows | None) -> Cloud:
    """Some points of a cloud with their masses, or all of them."""
    if numbers is None:
        return cloud
    rows = torch.from_numpy(numbers).to(cloud.points.device)
    return Cloud(
        cloud.points[rows], log_mass=None if cloud.log_mass is None else cloud.log_mass[rows]
    )
