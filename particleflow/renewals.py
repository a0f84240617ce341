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
        """The new cloud, and which rows (N,) were placed anew; None where nothing is to be done.

        `x` is the cloud after the step, `y` the target, which is None where the flow has none.
        `clock` is that at the beginning of the step, its draws are the only source of chance. N,
        the total mass and the rows that are not placed anew stay.
        """


@dataclass(frozen=True)
class Resampling(Renewal):
    r"""Copy particles of much mass onto those of little, where few carry the cloud.

    .. math::

        \frac{(\sum_i m_i)^2}{\sum_i m_i^2} < \text{below} \cdot N

    The left side is the effective number of particles. Where it is that small, a particle of mass
    m_i is kept floor or ceil of N m_i / sum m times (systematic resampling), and all masses are
    equal afterwards. The mean over draws is exact, and the total mass stays. The first copy keeps
    its row, further ones take rows of particles that are not kept.

    Parameters
    ----------
    below : float
        0 < below < 1.
    jitter : float
        Further copies are spread about the first with this standard deviation, in distances from
        there to the nearest other place. 0: copies coincide, and part only under noise.

    Raises
    ------
    TypeError
        `below` or `jitter` is no number.
    ValueError
        `below` is not in (0, 1), where the message calls it `resample`, or `jitter` is negative.

    Cost: O(N), and O(N^2 d) for the spread of the copies.

    Source: Kitagawa (1996); Douc, Cappe and Moulines (2005).

    The first of four particles has 0.97 of the mass, so that 1.06 particles are effective:

    >>> x = pf.Cloud([[0.0], [1.0], [2.0], [3.0]], mass=[0.97, 0.01, 0.01, 0.01])
    >>> resampling = pf.renewals.Resampling(jitter=0.0)
    >>> cloud, anew = resampling.renewed(x, None, pf.Clock())
    >>> cloud.points.T
    tensor([[0., 0., 0., 0.]], dtype=torch.float64)
    >>> cloud.mass
    tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
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
    r"""Place particles that are too far from the target at other particles.

    .. math::

        \min_j \lVert x_i - y_j \rVert > \text{beyond}

    The particles at which these are placed are drawn in proportion to their masses (systematic
    resampling). Each particle keeps its own mass and its row. Where all particles are that far,
    none is placed anew.

    Parameters
    ----------
    beyond : float
        A distance > 0, in the unit of the coordinates.
    jitter : float
        The new ones are spread about their place with this standard deviation, in distances from
        there to the nearest other place. 0: they coincide with it, and part only under noise.

    Raises
    ------
    TypeError
        `beyond` or `jitter` is no number.
    ValueError
        `beyond` is not > 0, or `jitter` is negative.

    Cost: O(N M d) a step for the distances.

    The third particle is 49 away from the target:

    >>> rebirth = pf.renewals.Rebirth(3.0, jitter=0.0)
    >>> x, y = pf.Cloud([[0.0], [0.0], [50.0]]), pf.Cloud([[0.0], [1.0]])
    >>> cloud, anew = rebirth.renewed(x, y, pf.Clock())
    >>> cloud.points.T, anew
    (tensor([[0., 0., 0.]], dtype=torch.float64), tensor([False, False,  True]))
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
