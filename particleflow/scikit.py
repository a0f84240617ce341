"""Estimators of log ratios as scikit-learn classifiers.

Importing this module imports scikit-learn; `import particleflow` does not.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from particleflow import _words
from particleflow.clouds import Cloud
from particleflow.engine import fit as fit_once
from particleflow.estimators import Estimator, KernelLogistic

__all__ = ["RatioClassifier"]

__getattr__, __dir__ = _words.suggesting(__name__)


class RatioClassifier(ClassifierMixin, BaseEstimator):
    r"""A scikit-learn classifier from any estimator of a log ratio.

    .. math::

        \begin{aligned}
        \text{decision}(z) &= \log r(z) + \log \frac{W_2}{W_1},
            \qquad r = \frac{p_2}{p_1} \\
        P(\text{second} \mid z) &= \frac{1}{1 + \exp(-\text{decision}(z))}
        \end{aligned}

    The second class (in sorted order) is the target, the first class the current cloud. :math:`W_1`
    and :math:`W_2` are the sums of the classes' sample weights, or their counts: a weight of 2
    counts as two copies, a weight of 0 as none. The classifier works in pipelines and searches. The
    fields of `estimator` are parameters of their own, `estimator__lam` and so on: so a search with
    cross-validation chooses an estimator's regularisation or bandwidth. It computes in float64.

    Parameters
    ----------
    estimator : Estimator, optional
        Of a log ratio, such as `KDE`, `KernelLogistic` or `KALE`. None: `KernelLogistic()`.
    seed : int
        The seed of the estimator's random numbers.

    Attributes
    ----------
    classes_ : (2,) array
        The labels of the first and the second class.
    log_prior_ : float
        log(W_2 / W_1).
    witness_ : Witness
        The fitted log ratio, log r.
    report_ : mapping
        The choices made from the data, and how the fit went.
    n_features_in_ : int
        The number of columns of X.

    Raises
    ------
    TypeError
        In `fit`: `estimator` estimates no log ratio from two samples.
    ValueError
        In `fit`: there are not two classes, X or y is refused by scikit-learn, or `sample_weight`
        is not (n,), negative or all zero. In `set_params`: there is no such parameter.
    sklearn.exceptions.NotFittedError
        A prediction before `fit`.

    Cost: one fit of the estimator, and one evaluation of its witness for each prediction: O(Q n d)
    for `KDE` with Q queries.

    Source: Sugiyama, Suzuki and Kanamori (2012), chapter 4, which goes the other way, from a
    classifier to a ratio.

    >>> from particleflow.scikit import RatioClassifier
    >>> X = torch.cat([
    ...     pf.samplers.Gaussian(mean=[-1.0]).sample(300, seed=0),
    ...     pf.samplers.Gaussian(mean=[1.0]).sample(200, seed=1),
    ... ]).numpy()
    >>> y = ["a"] * 300 + ["b"] * 200
    >>> found = RatioClassifier(pf.estimators.KDE()).fit(X, y)
    >>> round(found.log_prior_, 4)  # log(200 / 300)
    -0.4055
    >>> bool(abs(found.log_ratio([[0.5]])[0] - 1.0) < 0.3)  # 2 z at z = 0.5
    True
    >>> bool(found.score(X, y) > 0.8)
    True
    """

    def __init__(self, estimator: Any = None, *, seed: Any = 0) -> None:
        self.estimator = estimator
        self.seed = seed

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RatioClassifier:
        """Fit the log ratio to samples of two classes.

        Parameters
        ----------
        X : (n, d) array
            The samples; converted to float64.
        y : (n,) array
            Labels of two classes.
        sample_weight : (n,) array, optional
            Weights >= 0; rows of weight 0 are left out.

        Returns
        -------
        RatioClassifier
            Itself. `estimator` is copied and does not change.

        Raises
        ------
        TypeError
            `estimator` estimates no log ratio from two samples.
        ValueError
            There are not two classes, X or y is not finite or of another shape, or `sample_weight`
            is not (n,), negative or all zero.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        if sample_weight is not None:
            sample_weight = _weights(sample_weight, len(X))
            X, y, sample_weight = (part[sample_weight > 0] for part in (X, y, sample_weight))
        X = np.array(X, order="C")
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind != "binary":
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "`y` must have two classes for a ratio, got one class,"
                f" {self.classes_.tolist()[0]!r}: pass samples of two classes"
            )
        estimator = KernelLogistic() if self.estimator is None else self.estimator
        if (
            isinstance(estimator, type)
            or not isinstance(estimator, Estimator)
            or not (estimator.log_ratio and estimator.needs_target)
        ):
            raise TypeError(
                f"`estimator` must estimate a log ratio from two samples, got {estimator!r}: e.g."
                " pf.estimators.KernelLogistic()"
            )
        clouds = [
            _cloud(X[labels == k], None if sample_weight is None else sample_weight[labels == k])
            for k in (0, 1)
        ]
        # a copy: an estimator keeps what it has computed, and a parameter must not change
        found = fit_once(copy.deepcopy(estimator), *clouds, seed=self.seed)
        self.witness_, self.report_ = found.witness, dict(found.report)
        first, second = np.bincount(labels, sample_weight)
        self.log_prior_ = float(np.log(second / first))
        return self

    def log_ratio(self, X: Any) -> np.ndarray:
        """log r at X (n, d), without the prior odds, shape (n,); NotFittedError before `fit`."""
        return self._witness(X)[0]

    def gradient(self, X: Any) -> np.ndarray:
        """The gradient of log r at X (n, d), shape (n, d), in 1 / unit of the coordinates."""
        return self._witness(X)[1]

    def decision_function(self, X: Any) -> np.ndarray:
        """The log odds of the second class at X (n, d): log r + log(W_2 / W_1), shape (n,)."""
        return self.log_ratio(X) + self.log_prior_

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the first and the second class at X (n, d), shape (n, 2)."""
        odds = torch.from_numpy(self.decision_function(X))
        return torch.sigmoid(torch.stack([-odds, odds], 1)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The likelier class at X (n, d), shape (n,), of the labels in `classes_`."""
        # the decision function first: it refuses a classifier that is not fitted
        second = (self.decision_function(X) > 0).astype(int)
        classes: np.ndarray = self.classes_[second]
        return classes

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """`estimator`, `seed` and, if deep, the estimator's fields as estimator__name."""
        params: dict[str, Any] = {"estimator": self.estimator, "seed": self.seed}
        return params | {
            f"estimator__{name}": getattr(self.estimator, name)
            for name in (self._fields() if deep else ())
        }

    def set_params(self, **params: Any) -> RatioClassifier:
        """Set parameters, as in scikit-learn; estimator__name makes a new estimator with that
        field.

        Parameters
        ----------
        **params
            `estimator`, `seed`, or the estimator's fields as estimator__name.

        Returns
        -------
        RatioClassifier
            Itself.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        nested = {
            key.removeprefix("estimator__"): params.pop(key)
            for key in list(params)
            if key.startswith("estimator__")
        }
        super().set_params(**params)
        unknown = sorted(set(nested) - set(self._fields()))
        if unknown:
            raise ValueError(
                f"`estimator` must have the parameter {unknown[0]!r}, got {self.estimator!r}: known"
                f" are {sorted(self._fields())}"
            )
        if nested:
            self.estimator = dataclasses.replace(self.estimator, **nested)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _fields(self) -> list[str]:
        if (
            self.estimator is None
            or isinstance(self.estimator, type)
            or not dataclasses.is_dataclass(self.estimator)
        ):
            return []
        return [field.name for field in dataclasses.fields(self.estimator) if field.init]

    def _witness(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        value, grad = self.witness_.value_and_grad(torch.from_numpy(np.array(X, order="C")))
        return value.numpy(), grad.numpy()


def _weights(value: Any, n: int) -> np.ndarray:
    """Checked sample weights (n,): none below 0, not all 0."""
    weights: np.ndarray = check_array(
        value, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.shape != (n,):
        raise ValueError(
            f"`sample_weight` must be ({n},) like `y`, got shape {weights.shape}: pass a weight for"
            " each row of `X`"
        )
    if weights.min() < 0:
        raise ValueError(
            f"`sample_weight` must be >= 0, got {weights.min():g}: leave the row out, or weigh it"
            " by 0"
        )
    if not weights.max() > 0:
        raise ValueError(
            f"`sample_weight` must have a weight > 0, got {n} that are zero: leave it out to weigh"
            " all rows alike"
        )
    return weights


def _cloud(rows: np.ndarray, weights: np.ndarray | None) -> Cloud:
    """A cloud of total mass 1."""
    return Cloud(
        torch.from_numpy(rows),
        log_mass=None if weights is None else torch.from_numpy(np.log(weights / weights.sum())),
    )
