"""What is read off the rows of a study: a metric at a place of its curve, and curves over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

# What contenders may be compared at equal amounts of.
AGAINST = ("steps", "time", "seconds", "fits")
# Statuses of a run whose last particles are no answer.
UNSOUND = ("failed", "diverged", "unstable")
# Number of places at which curves against seconds or time are compared.
PLACES = 40
# Quantiles of the seeds between which a band lies.
BAND = (0.1, 0.9)
# A number in the place of infinity, which quantiles can be taken of.
LARGE = 1e300


@dataclass(frozen=True)
class Band:
    """The median of a contender's curves over seeds, and the quantiles of 10 and 90 %."""

    places: Float[np.ndarray, "P"]
    middle: Float[np.ndarray, "P"]
    low: Float[np.ndarray, "P"]
    high: Float[np.ndarray, "P"]


def read(curve: Mapping[str, Any], name: str, against: str, place: float) -> float | None:
    """The value of a curve at a place, between records by linear interpolation.

    Beyond its end it is the last value: the run had stopped.
    """
    at, values = _known(curve, name, against)
    return float(np.interp(place, at, values)) if len(at) else None


def reached(row: Mapping[str, Any], name: str, against: str, place: float) -> float:
    """The value of a run's curve at a place. It is infinite for an unsound run."""
    if row["status"] in UNSOUND:
        return math.inf
    value = read(row["curve"], name, against, place)
    return math.inf if value is None else value


def band(rows: Sequence[Mapping[str, Any]], name: str, against: str) -> Band | None:
    """The curves of a contender over its seeds, between records by linear interpolation.

    Against steps and fits they are read where the runs were recorded, against seconds and time at
    places of equal ratios. An unsound run is infinite at all places. None without a sound run.
    """
    found = [_known(row["curve"], name, against) for row in rows if row["status"] not in UNSOUND]
    curves = [(at, values) for at, values in found if len(at)]
    if not curves:
        return None
    places = np.unique(np.concatenate([at for at, _ in curves]))
    if against in ("seconds", "time"):
        positive = places[places > 0]
        if not len(positive):
            return None
        places = np.unique(np.geomspace(positive[0], positive[-1], PLACES))
    values = np.full((len(rows), len(places)), LARGE)
    for k, (at, value) in enumerate(curves):
        values[k] = np.interp(places, at, value)
    low, middle, high = np.quantile(values, (BAND[0], 0.5, BAND[1]), axis=0)
    finite = [np.where(part > LARGE / 1e20, np.inf, part) for part in (middle, low, high)]
    return Band(places, *finite)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without nested values: settings, and metrics at the start and the end."""
    found = {
        name: row.get(name)
        for name in ("task", "contender", "role", "trial", "seed", "status", "message", "dt")
    }
    curve = row.get("curve") or {}
    found |= {name: (curve.get(name) or [None])[-1] for name in AGAINST}
    for name, values in curve.items():
        if name not in (*AGAINST, "energy"):
            found |= {f"{name} start": values[0], name: values[-1]}
    return found | {f"setting {name}": value for name, value in row["settings"].items()}


def _known(curve: Mapping[str, Any], name: str, against: str) -> tuple[np.ndarray, np.ndarray]:
    """The places and values of a curve that are finite."""
    points = [
        (at, value)
        for at, value in zip(curve[against], curve[name], strict=True)
        if at is not None and value is not None
    ]
    both = np.array(points, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
