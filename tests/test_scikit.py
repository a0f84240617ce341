"""Ratio estimators as scikit-learn classifiers: its own checks, and that the odds are those of the
ratio.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.estimators import (
    KALE,
    KDE,
    KLIEP,
    MMD,
    ULSIF,
    Classifier,
    KernelLogistic,
    RuLSIF,
    SklearnClassifier,
)
from particleflow.kernels import Gaussian, Scott
from particleflow.scikit import RatioClassifier

X = np.concatenate(
    [
        np.random.default_rng(0).standard_normal((40, 2)) + 1,
        np.random.default_rng(1).standard_normal((60, 2)),
    ]
)
LABELS = np.repeat(["current", "target"], [40, 60])
Z = np.random.default_rng(2).standard_normal((7, 2))
CHECKED = [
    RatioClassifier(KernelLogistic(Gaussian(1.0), lam=1e-2)),
    RatioClassifier(KDE(Gaussian(1.0))),
]


@parametrize_with_checks(CHECKED)
def test_scikit_learn_s_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


OTHERS = [
    RatioClassifier(KALE(Gaussian(1.0), lam=0.1)),
    RatioClassifier(KLIEP(Gaussian(1.0))),
    RatioClassifier(Classifier(first_steps=60, width=16)),
]


@pytest.mark.slow
@parametrize_with_checks(OTHERS)
def test_scikit_learn_s_own_checks_of_other_ratios(estimator: Any, check: Any) -> None:
    check(estimator)


# A point that is there twice is two centres, or two candidates for a landmark; one of twice the
# weight is one.
CENTRES = {
    "check_sample_weight_equivalence_on_dense_data": "a repeated point is a centre for each time"
}
CENTRED = [RatioClassifier(RuLSIF(Gaussian(1.0), lam=0.1)), RatioClassifier(SklearnClassifier())]


@pytest.mark.slow
@parametrize_with_checks(CENTRED, expected_failed_checks=lambda _: CENTRES)
def test_scikit_learn_s_own_checks_of_ratios_with_centres(estimator: Any, check: Any) -> None:
    check(estimator)


# Not of rows and weights alike: its folds are of rows.
CHOSEN = {
    "check_sample_weight_equivalence_on_dense_data": (
        "kernel and lam are chosen by folds of rows, whatever they weigh"
    )
}


@pytest.mark.slow
@parametrize_with_checks([RatioClassifier()], expected_failed_checks=lambda _: CHOSEN)
def test_scikit_learn_s_own_checks_of_the_default(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "estimator",
    [KDE(Scott()), KernelLogistic(), KALE(Gaussian(1.0), lam=0.1)],
    ids=lambda e: type(e).__name__,
)
def test_the_odds_are_the_ratio_times_the_prior(estimator: Any) -> None:
    model = RatioClassifier(estimator, seed=3).fit(X, LABELS)
    value, grad = pf.fit(estimator, X[:40], X[40:], seed=3).witness.value_and_grad(
        torch.from_numpy(Z)
    )
    assert np.array_equal(model.log_ratio(Z), value)
    assert np.array_equal(model.gradient(Z), grad)
    odds = value.numpy() + math.log(60 / 40)
    assert model.decision_function(Z) == pytest.approx(odds, rel=1e-14)
    assert model.predict_proba(Z)[:, 1] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-12)
    assert model.predict_proba(Z).sum(1) == pytest.approx(1, rel=1e-14)
    assert list(model.predict(Z)) == ["target" if each > 0 else "current" for each in odds]
    assert model.score(X, LABELS) > 0.65


@pytest.mark.parametrize(
    "estimator",
    [
        KDE(Gaussian(0.7)),
        KernelLogistic(Gaussian(1.0), lam=0.1),
        KALE(Gaussian(1.0), lam=0.1),
        ULSIF(Gaussian(1.0), lam=0.1),
        Classifier(first_steps=30),
    ],
    ids=lambda e: type(e).__name__,
)
def test_weights_are_masses_and_their_sums_the_prior(estimator: Any) -> None:
    weights = np.random.default_rng(3).exponential(size=100)
    weights[[2, 57, 58]] = 0
    model = RatioClassifier(estimator, seed=3).fit(X, LABELS, weights)
    clouds = []
    for name in ("current", "target"):
        there = (name == LABELS) & (weights > 0)
        clouds.append(
            Cloud(
                torch.from_numpy(X[there]),
                log_mass=torch.from_numpy(np.log(weights[there] / weights[name == LABELS].sum())),
            )
        )
    assert np.array_equal(
        model.log_ratio(Z),
        pf.fit(estimator, *clouds, seed=3).witness.value_and_grad(torch.from_numpy(Z))[0],
    )
    odds = math.log(weights[LABELS == "target"].sum() / weights[LABELS == "current"].sum())
    assert model.decision_function(Z) == pytest.approx(model.log_ratio(Z) + odds, rel=1e-14)
    assert (
        np.abs(
            model.log_ratio(Z) - RatioClassifier(estimator, seed=3).fit(X, LABELS).log_ratio(Z)
        ).max()
        > 1e-2
    )


def test_two_copies_are_a_weight_of_two() -> None:
    times = np.random.default_rng(4).integers(0, 3, 100)
    estimator = KALE(Gaussian(1.0), lam=0.1)
    copies = RatioClassifier(estimator).fit(X.repeat(times, 0), LABELS.repeat(times))
    assert RatioClassifier(estimator).fit(X, LABELS, 7.0 * times).predict_proba(Z) == pytest.approx(
        copies.predict_proba(Z), rel=1e-9
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            np.ones(99),
            (
                r"`sample_weight` must be \(100,\) like `y`, got shape \(99,\): pass a weight for"
                r" each row of `X`"
            ),
        ),
        (np.ones((100, 1)), r"`sample_weight` must be \(100,\) like `y`, got shape \(100, 1\)"),
        (
            np.linspace(-1, 1, 100),
            "`sample_weight` must be >= 0, got -1: leave the row out, or weigh it by 0",
        ),
        (np.zeros(100), "`sample_weight` must have a weight > 0, got 100 that are zero"),
        (
            np.repeat([0.0, 1.0], [40, 60]),
            "`y` must have two classes for a ratio, got one class, 'target'",
        ),
        (np.full(100, np.nan), "sample_weight contains NaN"),
    ],
)
def test_weights_that_are_none_are_refused(weights: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RatioClassifier(KDE(Gaussian(1.0))).fit(X, LABELS, sample_weight=weights)


def test_parameters_of_the_estimator_are_parameters() -> None:
    model = RatioClassifier(KernelLogistic(Gaussian(1.0), lam=0.1))
    copy = clone(model).set_params(estimator__lam=0.5, seed=2)
    assert (copy.estimator.lam, copy.seed, model.estimator.lam) == (0.5, 2, 0.1)
    assert copy.get_params()["estimator__kernel"] == Gaussian(1.0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), model),
        {"ratioclassifier__estimator__lam": [1e-3, 1e2]},
        cv=3,
        scoring="neg_log_loss",
    )
    assert search.fit(X, LABELS).best_params_ == {"ratioclassifier__estimator__lam": 1e-3}
    with pytest.raises(
        ValueError,
        match=(
            r"`estimator` must have the parameter 'gamma', got KernelLogistic\(.*: known are"
            r" \['features', 'kernel'"
        ),
    ):
        model.set_params(estimator__gamma=1)
    with pytest.raises(ValueError, match="`lam` must be > 0"):
        model.set_params(estimator__lam=-1)


def test_what_is_no_ratio_of_two_samples_is_refused() -> None:
    for wrong in (MMD(Gaussian(1.0)), KDE, 3):
        with pytest.raises(
            TypeError,
            match=(
                r"`estimator` must estimate a log ratio from two samples, got .*: e\.g\."
                r" pf\.estimators\.KernelLogistic"
            ),
        ):
            RatioClassifier(wrong).fit(X, LABELS)
