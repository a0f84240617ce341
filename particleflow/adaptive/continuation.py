"""The bandwidth that falls from the distance of the clouds to the scale of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.adaptive.pairs import Pairs, scale_of
from particleflow.clouds import Clock, Cloud

# The most places of each cloud whose distances are read; their quantile is then right within some
# percent, and a run begins with O(DRAWN^2) distances.
DRAWN = 300
# The share of pairs that the first bandwidth reaches. The farthest pairs may be outliers.
REACHED = 0.9


@dataclass(frozen=True)
class Continuation:
    r"""Let the bandwidth l fall geometrically in the first part of a run, then stay.

    .. math::

        \ell_n = \text{start} \left( \frac{\text{end}}{\text{start}}
            \right)^{\min(1,\, (n - n_0) / (\text{share} \cdot \text{steps}))}

    `start` is the 0.9 quantile of |x_i - y_j| at the first fit, at step n_0. A kernel that wide
    pulls the whole cloud. `end` is `default_bandwidth` of the target at the first fit, a kernel
    that resolves the target. `start` is at least `end`. Both are kept in the fit's memory, so that
    a run resumes bit for bit; a run that goes on with another number of steps keeps them too. With
    another `start` or `end` of your own, the fall begins anew at the step where the run goes on.

    The quantile is that of at most 300 drawn places of each cloud. Repeats of a point are one
    place, and the order of the rows changes nothing. A target that moves is read at the first fit
    alone: pass `end` where its scale changes.

    The longest stable dt falls with l, for MMD like l^2. `Flow.suggest_dt` at the start suits the
    first bandwidth only. So `simulate` takes `Paced` steps where no dt is given. A run that ends
    before `end` is reached says so.

    Parameters
    ----------
    steps : int
        The steps of the run.
    share : float
        The share of the steps in which l falls, 0 < share <= 1.
    start, end : float, optional
        Bandwidths of your own, > 0, in the units of the coordinates.

    Raises
    ------
    TypeError
        An argument is no number, or `steps` no whole number.
    ValueError
        `steps` < 1, `share` is not in (0, 1], `start` or `end` is not > 0. At the first fit: there
        is no target, or `end` is not given and the target's points are in one place.

    Cost: at the first fit a sort of both clouds and 300^2 distances, afterwards nothing.

    Source: Blake and Zisserman (1987), Visual Reconstruction, for the continuation from coarse to
    fine.

    From 4 to 1 in 60 of 100 steps: halfway the bandwidth is their geometric mean.

    >>> rule, memory = pf.Continuation(100, start=4.0, end=1.0), {}
    >>> x, y = pf.Cloud([[0.0]]), pf.Cloud([[2.0], [2.0]])
    >>> for step in (0, 30, 60, 100):
    ...     length, memory = rule.at(x, y, pf.Clock(step=step), memory)
    ...     print(step, length)
    0 4.0
    30 2.0
    60 1.0
    100 1.0
    """

    steps: int
    share: float = field(default=0.6, kw_only=True)
    start: float | None = field(default=None, kw_only=True)
    end: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        remedy = "pass the number of steps of the run"
        object.__setattr__(self, "steps", _checks.count(self.steps, "steps", remedy=remedy))
        remedy = "it is the share of the steps in which the bandwidth falls, e.g. 0.6"
        object.__setattr__(self, "share", _checks.positive(self.share, "share", remedy=remedy))
        if self.share > 1:
            raise ValueError(f"`share` must be <= 1, got {self.share:g}: {remedy}")
        for name in ("start", "end"):
            if getattr(self, name) is not None:
                remedy = "pass a bandwidth, or leave it out"
                given = _checks.positive(getattr(self, name), name, remedy=remedy)
                object.__setattr__(self, name, given)

    def at(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> tuple[float, Memory]:
        """The bandwidth at a fit, and the memory for the next one: start, end and first step."""
        ends = memory.get("ends")
        if ends is None or self._others(ends):
            start, end = self._ends(x, y)
            ends = torch.tensor([start, end, clock.step], dtype=torch.float64, device="cpu")
        start, end, _ = ends.tolist()
        way = self._way(clock, ends)
        # the ends themselves, without the rounding of powers
        length = end if way == 1 else start * (end / start) ** way
        return length, {"ends": ends}

    def unfinished(self, clock: Clock, memory: Memory) -> str:
        """The bandwidth that a run has ended with before the last one, and the remedy; empty at
        the end.
        """
        ends = memory.get("ends")
        if ends is None or self._way(clock, ends) == 1:
            return ""
        (_, end, began), length = ends.tolist(), self.at(Cloud([[0.0]]), None, clock, memory)[0]
        return (
            f"the bandwidth has come down to {length:.3g}, not to {end:.3g}: take"
            f" {math.ceil(self.share * self.steps)} steps or more, or plan for"
            f" steps={clock.step - int(began)}"
        )

    def _others(self, ends: Tensor) -> bool:
        """Are `start` or `end` given, and not those of the memory? The run goes on anew then."""
        pairs = zip((self.start, self.end), ends.tolist()[:2], strict=True)
        return any(given is not None and given != kept for given, kept in pairs)

    def _way(self, clock: Clock, ends: Tensor) -> float:
        """The share of the way from start to end, 0 to 1."""
        return min(1.0, max(0.0, clock.step - float(ends[2])) / (self.share * self.steps))

    def _ends(self, x: Cloud, y: Cloud | None) -> tuple[float, float]:
        if self.start is not None and self.end is not None:
            return self.start, self.end
        if y is None:
            raise ValueError(
                "`bandwidth` Continuation reads the clouds' distance, got no target: pass start="
                " and end="
            )
        end = scale_of(y) if self.end is None else self.end
        if end is None:
            raise ValueError(
                f"`end` must be given for a target without a scale, got {len(y)} points in one"
                " place: pass Continuation(..., end=0.1)"
            )
        if self.start is not None:
            return self.start, end
        return max(Pairs.drawn(x, y, DRAWN).quantile(REACHED), end), end
