"""Read and train a scikit-learn classifier: its scores, sample weights and random states.

scikit-learn's own contract is that a classifier has predict_proba, decision_function or both, so
that `hasattr` asks for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from particleflow import _checks
from particleflow.clouds import Randomness

# The largest difference from the log odds at which a decision function is taken for their closed
# form.
SAME = 2e-5
# Log odds beyond which 1 - p has lost half of its digits.
SURE = 20.0
# Parameters by which a model weights its classes.
PRIORS = ("class_weight", "priors", "class_prior")

Scores = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Odds:
    """log P(1 | z) - log P(0 | z) of a model's probabilities; infinite where one is 0."""

    model: Any

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            logs = (
                self.model.predict_log_proba(z)
                if hasattr(self.model, "predict_log_proba")
                else np.log(self.model.predict_proba(z))
            )
        return np.asarray(logs[:, 1] - logs[:, 0], dtype=np.float64)


def scores_of(fitted: Any, rows: np.ndarray) -> tuple[Scores, bool]:
    """A model's scores, and whether they are log odds.

    They are the decision function where the probabilities agree with it, or where there are none.
    Else they are the log odds of the probabilities.
    """
    if not hasattr(fitted, "predict_proba"):
        return fitted.decision_function, False
    odds = _Odds(fitted)
    if hasattr(fitted, "decision_function"):
        decision, said = fitted.decision_function(rows), odds(rows)
        sure = np.abs(said) > SURE
        if np.abs(decision - said)[~sure].max(initial=0.0) <= SAME and bool(
            (np.sign(decision) == np.sign(said))[sure].all()
        ):
            return fitted.decision_function, True
    return odds, True


@dataclass(frozen=True)
class Training:
    """Rows (n, d), labels (1 for the target's) and weights of mean 1, half of them for each class.

    `parameter`: the name by which a model takes the weights; None: it takes none.
    """

    parameter: str | None
    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def fit(self, model: Any, chosen: np.ndarray) -> tuple[Any, bool]:
        """A clone trained on the chosen rows, and whether its solver converged."""
        from sklearn.base import clone
        from sklearn.exceptions import ConvergenceWarning

        options = {} if self.parameter is None else {self.parameter: self.weights[chosen]}
        with _checks.warnings_caught("always") as caught:
            fitted = clone(model).fit(self.rows[chosen], self.labels[chosen], **options)
        others = [
            warning for warning in caught if not issubclass(warning.category, ConvergenceWarning)
        ]
        for warning in others:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        return fitted, len(others) == len(caught)

    def scores_at(self, fitted: Any, chosen: np.ndarray) -> np.ndarray:
        return scores_of(fitted, self.rows)[0](self.rows[chosen])


def made(model: Any, n: int, draws: Randomness) -> Any:
    """A clone of the model, with every random_state that is None set.

    None: the default model for n points.
    """
    from sklearn.base import clone

    made = _default(n) if model is None else clone(model)
    free = [
        name
        for name, value in made.get_params().items()
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    return made.set_params(
        **{name: draws.child_seed(f"sklearn {name}", 0) % 2**32 for name in free}
    )


def _default(n: int) -> Any:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(),
        Nystroem(n_components=min(100, n)),
        LogisticRegression(C=10.0, tol=1e-6, max_iter=2000),
    )


def check_model(model: Any) -> None:
    """Refuse a model that is no classifier, and a classifier with its own class weights."""
    if isinstance(model, type) or not all(
        hasattr(model, name) for name in ("fit", "get_params", "set_params")
    ):
        raise TypeError(
            f"`model` must be a scikit-learn classifier, got {_checks.came(model)}: e.g."
            " sklearn.linear_model.LogisticRegression()"
        )
    if not (hasattr(model, "predict_proba") or hasattr(model, "decision_function")):
        raise TypeError(
            f"`model` must have predict_proba or decision_function, got {type(model).__name__}:"
            " take a classifier that has one"
        )
    for name, value in model.get_params().items():
        if name.rpartition("__")[2] in PRIORS and value is not None:
            raise ValueError(
                f"`model` must leave the classes' weights to this estimator, got {name}={value!r}:"
                f" they are chosen so that its log odds are log r, drop {name}"
            )


def classifier_of(model: Any) -> Any:
    """The last step of a pipeline, or the model itself."""
    from sklearn.pipeline import Pipeline

    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def weight_parameter(model: Any) -> str | None:
    """The name by which fit takes sample weights, step__sample_weight of a pipeline; or None."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    prefix = ""
    while isinstance(model, Pipeline):
        name, model = model.steps[-1]
        prefix += f"{name}__"
    return f"{prefix}sample_weight" if has_fit_parameter(model, "sample_weight") else None
