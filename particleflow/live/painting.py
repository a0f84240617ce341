"""A target painted with the mouse: points spread along strokes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Points

# The most points of all strokes; a minute of painting has some 5000.
MOST_POINTS = 20_000
# The largest coordinate, in units of the plane: far beyond every target, and safe to square.
FARTHEST = 1e6
# The width of a stroke, a standard deviation, as a share of the painting's longest side.
WIDTH = 0.008
# The remedy for what is no painting.
REMEDY = "send [[[x, y], ...], ...], a list of points for each stroke, e.g. [[[0, 0], [1, 0.5]]]"


def strokes(value: Any) -> list[np.ndarray]:
    """Strokes from the lists of a JSON text, each a (K, 2) array, K >= 1.

    Raises
    ------
    RefusedValueError, RefusedTypeError
        Not lists of pairs of finite numbers, an empty painting, more than 20000 points, or a
        coordinate beyond 1e6.
    """
    if not isinstance(value, list) or not value:
        raise RefusedValueError("strokes", "must be a list of strokes", _checks.said(value), REMEDY)
    for stroke in value:
        if not isinstance(stroke, list) or not stroke:
            raise RefusedValueError(
                "strokes", "must hold lists of points", _checks.said(stroke), REMEDY
            )
    count = sum(len(stroke) for stroke in value)
    if count > MOST_POINTS:
        raise RefusedValueError(
            "strokes", f"must have at most {MOST_POINTS} points", count, "paint less"
        )
    return [np.array([_point(point) for point in stroke]) for stroke in value]


def _point(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 2:
        raise RefusedValueError("strokes", "must hold points [x, y]", _checks.said(value), REMEDY)
    return [_coordinate(number) for number in value]


def _coordinate(value: Any) -> float:
    small = isinstance(value, int | float) and not isinstance(value, bool)
    if not small or not abs(value) <= FARTHEST:
        raise RefusedValueError(
            "strokes",
            f"must hold finite numbers of at most {FARTHEST:g}",
            _checks.said(value),
            REMEDY,
        )
    return float(value)


def spread(painted: Sequence[np.ndarray], count: int, *, seed: int = 0) -> Points:
    """`count` points at equal distances along the strokes, blurred to their width: (count, 2).

    A stroke without length, a dot, counts as long as it is wide.
    """
    corners = np.concatenate(painted)
    side = float((corners.max(0) - corners.min(0)).max()) or 1.0
    starts, steps, lengths = [], [], []
    for stroke in painted:
        for begin, end in pairwise(stroke) if len(stroke) > 1 else [(stroke[0], stroke[0])]:
            starts.append(begin)
            steps.append(end - begin)
            lengths.append(math.dist(begin, end) or WIDTH * side)
    ends = np.cumsum(lengths)
    along = (np.arange(count) + 0.5) / count * ends[-1]
    piece = np.minimum(np.searchsorted(ends, along, side="right"), len(ends) - 1)
    share = 1 - (ends[piece] - along) / np.array(lengths)[piece]
    points = np.array(starts)[piece] + share[:, None] * np.array(steps)[piece]
    blur = np.random.default_rng(seed).standard_normal(points.shape)
    return torch.from_numpy(points + WIDTH * side * blur)
