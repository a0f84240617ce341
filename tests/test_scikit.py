"""Ratio estimators as scikit-learn classifiers: its own checks, and that the odds are those of the ratio."""

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
from particleflow.estimators import KALE, KDE, MMD, KernelLogistic
from particleflow.kernels import Gaussian, Scott
from particleflow.scikit import RatioClassifier

X = np.concatenate([np.random.default_rng(0).standard_normal((40, 2)) + 1, np.random.default_rng(1).standard_normal((60, 2))])
LABELS = np.repeat(["current", "target"], [40, 60])
Z = np.random.default_rng(2).standard_normal((7, 2))
CHECKED = [RatioClassifier(KernelLogistic(Gaussian(1.0), lam=1e-2)), RatioClassifier(KDE(Gaussian(1.0)))]


@parametrize_with_checks(CHECKED)
def test_scikit_learn_s_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([RatioClassifier()])
def test_scikit_learn_s_own_checks_of_the_default(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", [KDE(Scott()), KernelLogistic(), KALE(Gaussian(1.0), lam=0.1)], ids=lambda e: type(e).__name__)
def test_the_odds_are_the_ratio_times_the_prior(estimator: Any) -> None:
    model = RatioClassifier(estimator, seed=3).fit(X, LABELS)
    value, grad = pf.fit(estimator, X[:40], X[40:], seed=3).witness.value_and_grad(torch.from_numpy(Z))
    assert np.array_equal(model.log_ratio(Z), value)
    assert np.array_equal(model.gradient(Z), grad)
    odds = value.numpy() + math.log(60 / 40)
    assert model.decision_function(Z) == pytest.approx(odds, rel=1e-14)
    assert model.predict_proba(Z)[:, 1] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-12)
    assert model.predict_proba(Z).sum(1) == pytest.approx(1, rel=1e-14)
    assert list(model.predict(Z)) == ["target" if each > 0 else "current" for each in odds]
    assert model.score(X, LABELS) > 0.65


def test_parameters_of_the_estimator_are_parameters() -> None:
    model = RatioClassifier(KernelLogistic(Gaussian(1.0), lam=0.1))
    copy = clone(model).set_params(estimator__lam=0.5, seed=2)
    assert (copy.estimator.lam, copy.seed, model.estimator.lam) == (0.5, 2, 0.1)
    assert copy.get_params()["estimator__kernel"] == Gaussian(1.0)
    search = GridSearchCV(make_pipeline(StandardScaler(), model), {"ratioclassifier__estimator__lam": [1e-3, 1e2]}, cv=3, scoring="neg_log_loss")
    assert search.fit(X, LABELS).best_params_ == {"ratioclassifier__estimator__lam": 1e-3}
    with pytest.raises(ValueError, match=r"`estimator` must have the parameter 'gamma', got KernelLogistic\(.*: known are \['features', 'kernel'"):
        model.set_params(estimator__gamma=1)
    with pytest.raises(ValueError, match="`lam` must be > 0"):
        model.set_params(estimator__lam=-1)


def test_what_is_no_ratio_of_two_samples_is_refused() -> None:
    for wrong in (MMD(Gaussian(1.0)), KDE, 3):
        with pytest.raises(TypeError, match=r"`estimator` must estimate a log ratio from two samples, got .*: e\.g\. pf\.estimators\.KernelLogistic"):
            RatioClassifier(wrong).fit(X, LABELS)
