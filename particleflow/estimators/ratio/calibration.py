"""Platt's calibration: log odds a d + b from a classifier's scores d on left-out points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from particleflow.estimators.ratio.sklearn_model import Training


@dataclass(frozen=True)
class Calibration:
    """Log odds from scores d: slope d + shift."""

    slope: float
    shift: float

    def __call__(self, score: np.ndarray) -> np.ndarray:
        return self.slope * score + self.shift


def calibrated(training: Training, model: Any, folds: int, seed: int, clip: float) -> Calibration:
    """The calibration by out-of-fold scores, cut to +- clip.

    `seed` divides the places of each class among the folds. There are no more folds than the
    smaller class has places.
    """
    scores = np.empty(len(training.labels))
    for kept, held_out in splits(training, folds, seed):
        scores[held_out] = training.scores_at(training.fit(model, kept)[0], held_out)
    return platt(np.clip(scores, -clip, clip), training.labels, training.weights)


def splits(training: Training, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows to hold out, fold by fold; repeats of a point stay together."""
    rng, labels = np.random.default_rng(seed), training.labels
    place = [
        np.unique(training.rows[labels == k], axis=0, return_inverse=True)[1].ravel()
        for k in (0, 1)
    ]
    fewest = min(int(numbers.max()) + 1 for numbers in place)
    if fewest < 2:
        raise ValueError(
            f"`calibrate` must have two different points in each cloud, got {fewest}: pass more"
            " points, or calibrate=False"
        )
    count, fold = min(folds, fewest), np.empty(len(labels), int)
    for k, numbers in enumerate(place):
        fold[labels == k] = rng.permutation(int(numbers.max()) + 1)[numbers] % count
    for k in range(count):
        yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def platt(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Calibration:
    """Maximum likelihood of log odds a d + b (Platt 1999).

    The aims are (n+ + 1) / (n+ + 2) and 1 / (n- + 2) instead of 1 and 0, n the weights of the
    classes. a < 0 becomes 0: on points that it has not seen, such a classifier is worse than
    chance.
    """
    from scipy.optimize import minimize

    heavy, light = weights[labels == 1].sum(), weights[labels == 0].sum()
    aims = np.where(labels == 1, (heavy + 1) / (heavy + 2), 1 / (light + 2))
    scale = float(scores.std()) or 1.0
    share = weights / weights.sum()
    found = minimize(
        _cross_entropy,
        np.zeros(2),
        args=(scores / scale, aims, share),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-10},
    )
    slope, shift = float(found.x[0]) / scale, float(found.x[1])
    return (
        Calibration(slope, shift)
        if slope > 0
        else Calibration(0.0, float(np.log(share @ aims / (share @ (1 - aims)))))
    )


def _cross_entropy(
    ab: np.ndarray, scores: np.ndarray, aims: np.ndarray, share: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean of log(1 + e^f) - t f, f = a d + b, and its gradient in (a, b)."""
    f = ab[0] * scores + ab[1]
    excess = share * (1 / (1 + np.exp(-f)) - aims)
    return float(share @ (np.logaddexp(0, f) - aims * f)), np.array([excess @ scores, excess.sum()])
