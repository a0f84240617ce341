"""Renewals: particles that are placed anew after a step, so that they serve again.

The number of particles and the total mass stay. Particles that are not placed anew keep their rows,
so that whatever follows a particle by its row follows it on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from particleflow import _checks, _words
from particleflow._typing import Points
from particleflow.clouds import Clock, Cloud
from particleflow.strays import nearest

__all__ = ["Rebirth", "Renewal", "Resampling"]

__getattr__, __dir__ = _words.suggesting(__name__)

# Which rows were placed anew.
Renewed: TypeAlias = Bool[Tensor, "N"]
# The share of N of the effective number of particles below which it is common to resample.
HALF = 0.5
# The spread of new particles about their source, in distances from there to the next place. It is
# below 1, so that no structure is blurred, and not far below: copies that stay together are one.
SPREAD = 0.3


class Renewal(ABC):
    """Places some particles anew after a step. Declared by inheriting.

    Attributes
    ----------
    name : str
        What happens to these particles, such as "resampled": the name in a trajectory's report.
    """

    name: ClassVar[str]

    @abstractmethod
    def renewed(self, x: Cloud, y: Cloud | None, clock: Clock) -> tuple[Cloud, Renewed] | None:
        """The new cloud, and which rows were placed anew; None where nothing is to be done.

        `clock` is that at the beginning of the step, its draws are the only source of chance.
        """


@dataclass(frozen=True)
class Resampling(Renewal):
    """Systematic resampling where (sum m)^2 / sum m^2 < below N: equal masses afterwards.

    That number is the effective number of particles. A particle of mass m_i is kept
    floor or ceil of N m_i / sum m times; the mean over draws is exact. The first copy keeps its
    row, further ones take rows of particles that are not kept.

    Parameters
    ----------
    below : float
        0 < below < 1.
    jitter : float
        Further copies are spread about the first with this standard deviation, in distances from
        there to the nearest other place. 0: copies coincide, and part only under noise.

    Source: Kitagawa (1996); Douc, Cappe and Moulines (2005).
    """

    below: float = HALF
    jitter: float = SPREAD
    name: ClassVar[str] = "resampled"

    def __post_init__(self) -> None:
        below = _checks.positive(self.below, "resample", remedy="e.g. 0.5, a share of N")
        if not below < 1:
            raise ValueError(
                f"`resample` must be a share of N below 1, got {below:g}: e.g. 0.5, or None for no"
                " resampling"
            )
        object.__setattr__(self, "below", below)
        object.__setattr__(self, "jitter", _jitter(self.jitter))

    def renewed(self, x: Cloud, y: Cloud | None, clock: Clock) -> tuple[Cloud, Renewed] | None:
        n = len(x)
        if x.log_mass is None or effective(x) >= self.below * n:
            return None
        counts = torch.bincount(_systematic(x.log_mass, n, "resampling", clock), minlength=n)
        rows = torch.arange(n, device=counts.device)
        anew = counts == 0
        sources = rows.repeat_interleave((counts - 1).clamp_min(0))
        points = _placed(x.points, anew, sources, ~anew, self.jitter, "resampling", clock)
        equal = x.log_mass.logsumexp(0) - math.log(n)
        return Cloud(points, log_mass=equal.expand(n).clone()), anew


@dataclass(frozen=True)
class Rebirth(Renewal):
    """Particles farther than `beyond` from every target point are placed at other particles.

    These are drawn in proportion to their masses (systematic resampling). Each particle keeps its
    own mass. Where all particles are that far, none is placed anew.

    Parameters
    ----------
    beyond : float
        A distance > 0, in the unit of the coordinates.
    jitter : float
        As for `Resampling`.
    """

    beyond: float
    jitter: float = SPREAD
    name: ClassVar[str] = "reborn"

    def __post_init__(self) -> None:
        object.__setattr__(self, "beyond", _checks.positive(self.beyond, "beyond"))
        object.__setattr__(self, "jitter", _jitter(self.jitter))

    def renewed(self, x: Cloud, y: Cloud | None, clock: Clock) -> tuple[Cloud, Renewed] | None:
        assert y is not None
        far = nearest(x.points, y.points) > self.beyond
        count = int(far.sum())
        if count in (0, len(x)):
            return None
        near = (x.mass.log() if x.log_mass is None else x.log_mass).masked_fill(far, -math.inf)
        if not bool(near.logsumexp(0) > -math.inf):
            return None
        sources = _systematic(near, count, "rebirth", clock)
        points = _placed(x.points, far, sources, ~far, self.jitter, "rebirth", clock)
        return Cloud(points, log_mass=x.log_mass), far


def check_renewals(renewals: Any) -> None:
    if not isinstance(renewals, tuple) or not all(isinstance(each, Renewal) for each in renewals):
        raise TypeError(
            f"`renewals` must be a tuple of renewals, got {_checks.came(renewals)}: e.g."
            " (pf.renewals.Resampling(),)"
        )


def effective(x: Cloud) -> float:
    """The effective number of particles (sum m)^2 / sum m^2, between 1 and N."""
    if x.log_mass is None:
        return float(len(x))
    share = x.log_mass.double().softmax(0)
    return 1 / float(share @ share)


def _systematic(
    log_mass: Float[Tensor, "N"], count: int, stream: str, clock: Clock
) -> Int[Tensor, "n"]:
    """`count` row numbers in rising order: row i floor or ceil of count m_i / sum m times."""
    first = np.random.default_rng(clock.draws.child_seed(stream, clock.step)).random()
    levels = log_mass.double().softmax(0).cumsum(0)
    marks = (torch.arange(count, dtype=levels.dtype, device=levels.device) + first) / count
    found = torch.searchsorted(levels, marks * levels[-1], right=True)
    return found.clamp_max(int(torch.nonzero(log_mass > -math.inf)[-1, 0]))


def _placed(
    points: Points,
    anew: Renewed,
    sources: Int[Tensor, "n"],
    kept: Renewed,
    jitter: float,
    stream: str,
    clock: Clock,
) -> Points:
    """The points with the rows `anew` at `sources`, spread by `jitter`."""
    placed = points.clone()
    places = points[sources]
    if jitter and len(sources):
        drawn = clock.draws.normal(stream, clock.step, points)[anew]
        spacing = nearest(places, points[kept].unique(dim=0), other=True)
        spacing = torch.where(spacing.isinf(), 0, spacing)
        places = places + (jitter / math.sqrt(points.shape[1])) * spacing[:, None] * drawn
    placed[anew] = places
    return placed


def _jitter(jitter: float) -> float:
    return _checks.non_negative(jitter, "jitter", remedy="0 puts copies into one place")
