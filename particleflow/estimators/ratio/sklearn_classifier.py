"""Any scikit-learn classifier as an estimator of the density ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit, SmoothRatio, mean_descent
from particleflow.estimators.ratio.calibration import Calibration, calibrated
from particleflow.estimators.ratio.sklearn_gradient import LinearInFeatures, linear_in_features
from particleflow.estimators.ratio.sklearn_model import (
    Scores,
    Training,
    check_model,
    classifier_of,
    made,
    scores_of,
    weight_parameter,
)
from particleflow.subsets import lasting_order, some_rows

# Points that are evaluated at once.
ROWS = 2**14
# Particles whose gradients are computed, to refuse a model that has no slope anywhere.
PROBED = 64


@dataclass(frozen=True, eq=False)
class SklearnWitness:
    """log r = calibration(d(z)) + offset, cut to +- clip, in float64; d a fitted model's scores.

    `steps` (d,) are the steps of central differences, where there is no closed form.
    """

    scores: Scores = field(repr=False)
    closed_form: LinearInFeatures | None = field(repr=False)
    calibration: Calibration
    offset: float
    clip: float
    steps: np.ndarray = field(repr=False)
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        points = z.detach().cpu().double().numpy()
        value, grad = np.full(len(points), np.nan), np.full(points.shape, np.nan)
        known = np.flatnonzero(np.isfinite(points).all(1))
        for start in range(0, len(known), ROWS):
            rows = known[start : start + ROWS]
            value[rows], grad[rows] = self._at(points[rows])
        return torch.from_numpy(value).to(z), torch.from_numpy(grad).to(z)

    def _at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.closed_form is not None:
            score, slope = self.closed_form.value_and_grad(z)
            return self._cut(score), self.calibration.slope * slope
        grad = np.empty_like(z)
        for k, step in enumerate(self.steps):
            above, below = z.copy(), z.copy()
            above[:, k] += step
            below[:, k] -= step
            grad[:, k] = (self._cut(self.scores(above)) - self._cut(self.scores(below))) / (
                above[:, k] - below[:, k]
            )
        return self._cut(self.scores(z)), grad

    def _cut(self, score: np.ndarray) -> np.ndarray:
        return np.clip(self.calibration(score) + self.offset, -self.clip, self.clip)


@dataclass(frozen=True)
class SklearnClassifier(SmoothRatio):
    r"""Read the log ratio off any scikit-learn classifier of the target's points (1) and the
    particles (0).

    .. math::

        \log r(z) = \log \frac{P(1 \mid z)}{P(0 \mid z)} - \log \text{prior odds}
            + \log \frac{\text{mass of } y}{\text{mass of } x}

    The model is trained anew at each fit. The classes weigh the same, by `sample_weight`, which
    carries the clouds' masses too. A model that takes no sample_weight is corrected by log(N / M),
    and refuses masses that differ.

    Log odds are read from `decision_function` where `predict_proba` says the same (logistic models,
    discriminant analysis). Else they come from the probabilities, which lose digits as they come
    near 0 and 1. A model without probabilities (LinearSVC, RidgeClassifier, Perceptron ...) is
    calibrated: log odds a d + b, by Platt's method on out-of-fold scores (`calibration`).

    The gradient is exact where the scores are linear in known features (`sklearn_gradient`): a
    linear model or an MLPClassifier, alone or after StandardScaler, PolynomialFeatures, PCA,
    RBFSampler, Nystroem ... Else it is taken by central differences. These cost 2 d evaluations of
    the model at all queries. Their errors are about 1e-9 of the slope where log r is smooth and the
    probabilities keep their digits. `Fit.report` tells which.

    `Fit.value` is the plug-in KL(current || target) = -mean_i log r(x_i), and the velocity is not
    its gradient. N and M may differ.

    Parameters
    ----------
    model : scikit-learn classifier, optional
        A clone of it is trained. Each `random_state` that is None is set from the run's seed, the
        same at each fit. None: StandardScaler, 100 Nystroem features of a Gaussian kernel of
        bandwidth sqrt(d / 2) deviations, LogisticRegression(C=10).
    calibrate : bool, optional
        None: calibrate a model that has no probabilities. True: calibrate any model, such as one
        whose probabilities are too sure. False: the scores d count as log odds.
    folds : int
        The number of folds of the calibration, which trains folds + 1 models; refused with
        calibrate=False.
    clip : float
        log r is cut to +- clip. Beyond, the gradient by central differences is 0.
    step : float
        The step of the central differences, in standard deviations of the pooled points.
    accept_unconverged : bool
        True: go on where scikit-learn warns that its solver did not converge, such as an
        MLPClassifier that is trained for a number of epochs. Else `converged` is False.

    Raises
    ------
    TypeError
        `model` is not a classifier.
    ValueError
        The model has class weights or priors of its own, or cannot weight the masses. Or its ratio
        has no slope at any particle: trees, nearest neighbours, isotonic calibration, probabilities
        that are 0 or 1 to the last digit. `folds` are given with
        calibrate=False. A cloud has no two different points, which a calibration needs.

    Cost: that of training the model on N + M points, folds + 1 times where it is calibrated. Q
    queries cost one evaluation of the model at Q points with a closed form of the gradient, else 2
    d + 1.

    Source: Sugiyama, Suzuki and Kanamori (2012), chapter 4; Platt (1999).

    Three of four particles are at 0, and half of the target: r is 2/3 there, and 2 at 5. A line
    through both log ratios has the slope log(3) / 5.

    >>> from sklearn.linear_model import LogisticRegression
    >>> line = pf.estimators.SklearnClassifier(LogisticRegression(C=1e6))
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(line, x, y)
    >>> fit.report["gradient"]
    'closed form'
    >>> log_r, grad = fit.witness.value_and_grad(torch.tensor(y))
    >>> log_r.exp().round(decimals=2), grad[0].round(decimals=2)
    (tensor([0.6700, 2.0000]), tensor([0.2200]))
    """

    model: Any = None
    calibrate: bool | None = field(default=None, kw_only=True)
    folds: int = field(default=5, kw_only=True)
    clip: float = field(default=40.0, kw_only=True)
    step: float = field(default=6e-6, kw_only=True)
    accept_unconverged: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folds", _checks.count(self.folds, "folds", least=2))
        object.__setattr__(self, "clip", _checks.positive(self.clip, "clip"))
        object.__setattr__(self, "step", _checks.positive(self.step, "step"))
        if self.calibrate is not None:
            _checks.flag(self.calibrate, "calibrate")
        _checks.flag(self.accept_unconverged, "accept_unconverged")
        if self.calibrate is False and self.folds != type(self).folds:
            raise ValueError(
                f"`folds` belong to the calibration, got {self.folds} with calibrate=False:"
                " leave one of them out"
            )
        if self.model is not None:
            check_model(self.model)

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        orders = {
            f"order_{name}": lasting_order(cloud, memory.get(f"order_{name}"))
            for name, cloud in (("x", x), ("y", y))
        }
        rows, labels, weights = _training_set(x, y, *orders.values())
        model = made(self.model, len(rows), clock.draws)
        parameter = weight_parameter(model)
        masses_differ = any(
            float(weights[labels == k].std()) > 1e-12 * float(weights[labels == k].mean())
            for k in (0, 1)
        )
        if parameter is None and masses_differ:
            raise ValueError(
                "`model` must take sample_weight for clouds with masses, got"
                f" {type(model).__name__}, whose fit takes none: use one that does"
                " (LogisticRegression, MLPClassifier, GaussianNB ...), or give all points the same"
                " mass"
            )
        trained = Training(parameter, rows, labels, weights)
        fitted, finished = trained.fit(model, np.arange(len(rows)))
        scores, has_odds = scores_of(fitted, rows)
        calibration = Calibration(1.0, 0.0)
        prior = 0.0 if parameter is not None else math.log(labels.sum() / (1 - labels).sum())
        if self.calibrate or (self.calibrate is None and not has_odds):
            seed = clock.draws.child_seed("folds", 0) % 2**32
            calibration, prior = calibrated(trained, model, self.folds, seed, self.clip), 0.0
        closed_form = linear_in_features(fitted, rows, scores(rows))
        spread = rows.std(0)
        witness = SklearnWitness(
            scores,
            closed_form,
            calibration,
            float(torch.log(y.mass.sum() / x.mass.sum())) - prior,
            self.clip,
            self.step * np.where(spread > 0, spread, 1.0),
        )
        if closed_form is None:
            _refuse_steps(witness, x.points, fitted)
        return Fit(
            witness,
            orders,
            self._report(fitted, witness, finished),
            objective=partial(mean_descent, witness, x),
        )

    def _report(self, fitted: Any, witness: SklearnWitness, finished: bool) -> dict[str, Any]:
        gradient = (
            "closed form"
            if witness.closed_form is not None
            else f"central differences, {2 * len(witness.steps)} evaluations of the model"
        )
        slope, shift = witness.calibration.slope, witness.calibration.shift
        report: dict[str, Any] = {
            "model": type(classifier_of(fitted)).__name__,
            "gradient": gradient,
            "slope": slope,
            "shift": shift,
        }
        if finished or self.accept_unconverged:
            return report | {"finished": finished}
        return report | {
            "converged": False,
            "remedy": (
                "raise the model's max_iter, scale its inputs, or pass accept_unconverged=True"
            ),
        }


def _training_set(
    x: Cloud, y: Cloud, x_order: Tensor, y_order: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, d), labels (n,), and weights (n,) of mean 1, half of their sum for each class.

    Points without mass are left out. The rows come in the orders given, since models draw rows by
    number (for folds, batches, trees, landmarks).
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for cloud, order in ((x, x_order), (y, y_order)):
        points, mass = (
            t.detach()[order].cpu().double().numpy() for t in (cloud.points, cloud.mass)
        )
        parts.append((points[mass > 0], mass[mass > 0] / mass.sum()))
    n = sum(len(points) for points, _ in parts)
    labels = np.repeat([0, 1], [len(points) for points, _ in parts])
    return (
        np.concatenate([points for points, _ in parts]),
        labels,
        np.concatenate([0.5 * n * share for _, share in parts]),
    )


def _refuse_steps(witness: SklearnWitness, points: Tensor, fitted: Any) -> None:
    """Refuse a ratio that differs from particle to particle, but has no slope at any of them."""
    value, grad = witness.value_and_grad(points[some_rows(len(points), PROBED)])
    differs, saturated = bool((value != value[0]).any()), bool((value.abs() == witness.clip).all())
    if not bool(grad.any()) and (differs or saturated):
        raise ValueError(
            f"`model` must have a ratio with slopes, got {type(classifier_of(fitted)).__name__},"
            f" whose gradient is 0 at all {len(value)} particles: trees, nearest neighbours and"
            " isotonic calibration are constant between jumps, and saturated probabilities are"
            " constant too: use a smooth model (logistic, MLP, Gaussian process), calibrate=True"
            " or a stronger regularisation"
        )
