"""Pace: the moments of a film, so that its frames are evenly far apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.plotting.scenes.records import advance, recorded, telling
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

# What a film's frames may be even in.
PACES = ("path", "steps", "time")
# Least cosine, on average, between a particle's moves before and after a record, of a motion that
# has a direction. That of Brownian motion is 0.
ALONG = 0.3
# Particles whose moves are looked at.
WATCHED = 1000
# A moment as near to a whole step, in steps, is that step.
NEAR = 1e-6


def paced(value: Any) -> str:
    """Return the name of a pace."""
    if not isinstance(value, str) or value not in PACES:
        names = ", ".join(map(repr, PACES))
        raise RefusedValueError(
            "pace", f"must be one of {names}", _checks.said(value), "leave it out for 'path'"
        )
    return value


def steady(run: Trajectory) -> bool:
    """Tell whether most particles keep their direction of motion; Brownian particles do not."""
    some = run.particles[:, some_rows(run.particles.shape[1], WATCHED)].detach().cpu().double()
    moves = np.diff(some.numpy(), axis=0)
    moves /= np.abs(moves).max(initial=0.0) or 1.0
    lengths = np.linalg.norm(moves, axis=2)
    return bool((moves[1:] * moves[:-1]).sum() >= ALONG * (lengths[1:] * lengths[:-1]).sum())


def moments(
    runs: Mapping[str, Trajectory], count: int, pace: str = "path", *, between: bool = True
) -> Float[np.ndarray, "F"]:
    """Return the steps at which `count` frames are taken, the first and last record included.

    They are even in `pace`, which `advance` measures, and may lie between two records. Not
    `between`: at recorded steps only, all of them where there are fewer than `count`.
    """
    steps = recorded(runs)
    if not between or len(steps) == 1:
        return np.array(telling(runs, count, pace), dtype=float)
    found = np.interp(np.linspace(0, 1, count), advance(runs, steps, pace), steps)
    found[-1] = steps[-1] if count > 1 else steps[0]
    whole = found.round()
    return np.where(np.abs(found - whole) <= NEAR, whole, found)
