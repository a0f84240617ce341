"""Values and gradients, in closed form, of scikit-learn models that are linear in known features.

    f(z) = features(z) @ coef + intercept,    grad f(z) = J(z)^T coef

J (D, d) is the Jacobian of the features at z. J^T is applied from the last transformer of a
pipeline back to the first. Known transformers are StandardScaler, MinMaxScaler, MaxAbsScaler,
RobustScaler, PCA, PolynomialFeatures, RBFSampler, Nystroem (rbf), FeatureUnion and Pipeline of
them, None and "passthrough". The features of an MLPClassifier are the output of its last hidden
layer. Read like that, its log odds do not saturate where its probabilities do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from particleflow.estimators.ratio.sklearn_model import SURE

# The largest difference between scores and f, as a share of the largest score.
SAME = 1e-6


@dataclass(frozen=True)
class LinearInFeatures:
    """Fitted transformers, first to last, and the coefficients (D,) of their features."""

    steps: tuple[Any, ...]
    coef: np.ndarray
    intercept: float

    def value_and_grad(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f (Q,) and grad f (Q, d) at z (Q, d).

        Cost: the features, and d times as much for polynomials.
        """
        stages = _stages(self.steps, z)
        pulled = np.broadcast_to(self.coef, stages[-1].shape)
        for step, stage in zip(reversed(self.steps), reversed(stages[:-1]), strict=True):
            pulled = _pull(step, stage, pulled)
        return stages[-1] @ self.coef + self.intercept, pulled


@dataclass(frozen=True)
class Layer:
    """s(z W + b), a hidden layer of an MLPClassifier, as a transformer.

    Weights W (d, D), biases b (D,), and the activation s by scikit-learn's name.
    """

    weights: np.ndarray
    biases: np.ndarray
    activation: str

    def transform(self, z: np.ndarray) -> np.ndarray:
        fed = z @ self.weights + self.biases
        match self.activation:
            case "tanh":
                return np.tanh(fed)
            case "logistic":
                return np.asarray(0.5 + 0.5 * np.tanh(0.5 * fed))
            case "relu":
                return np.maximum(fed, 0.0)
        return np.asarray(fed)

    def pull(self, z: np.ndarray, g: np.ndarray) -> np.ndarray:
        """J(z_q)^T g_q."""
        sent = self.transform(z)
        slopes = {
            "tanh": 1 - sent**2,
            "logistic": sent * (1 - sent),
            "relu": (sent > 0).astype(np.float64),
        }
        return np.asarray((g * slopes.get(self.activation, 1.0)) @ self.weights.T)


def linear_in_features(model: Any, z: np.ndarray, said: np.ndarray) -> LinearInFeatures | None:
    """The closed form of a fitted model's scores, `said` (Q,) at z (Q, d).

    None where there is none, or where it differs from these scores.
    """
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline

    steps: list[Any] = []
    while isinstance(model := getattr(model, "best_estimator_", model), Pipeline):
        steps += [step for _, step in model.steps[:-1]]
        model = model.steps[-1][1]
    if not all(map(_is_known, steps)):
        return None
    if isinstance(model, MLPClassifier):
        hidden = zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True)
        steps += [Layer(weights, biases, model.activation) for weights, biases in hidden]
        coef, intercept = np.ravel(model.coefs_[-1]), np.ravel(model.intercepts_[-1])
    else:
        coef, intercept = (
            np.ravel(getattr(model, "coef_", np.empty(0))),
            np.ravel(getattr(model, "intercept_", 0.0)),
        )
    features = _stages(steps, z)[-1]
    if len(intercept) != 1 or coef.shape != features.shape[1:]:
        return None
    found = LinearInFeatures(tuple(steps), coef.astype(np.float64), float(intercept[0]))
    # elsewhere the logarithm of a probability near one has lost its digits
    sharp = np.abs(said) <= SURE
    off = np.abs(features @ found.coef + found.intercept - said)[sharp]
    return found if off.max(initial=0.0) <= SAME * np.abs(said[sharp]).max(initial=0.0) else None


def _is_known(step: Any) -> bool:
    from sklearn.decomposition import PCA
    from sklearn.kernel_approximation import Nystroem, RBFSampler
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import (
        MaxAbsScaler,
        MinMaxScaler,
        PolynomialFeatures,
        RobustScaler,
        StandardScaler,
    )

    match step:
        case Pipeline():
            return all(_is_known(inner) for _, inner in step.steps)
        case FeatureUnion():
            return step.transformer_weights is None and all(
                inner != "drop" and _is_known(inner) for _, inner in step.transformer_list
            )
        case Nystroem():
            return step.kernel == "rbf"
        case MinMaxScaler() | MaxAbsScaler():
            return not getattr(step, "clip", False)
        case (
            None
            | "passthrough"
            | StandardScaler()
            | RobustScaler()
            | PCA()
            | PolynomialFeatures()
            | RBFSampler()
        ):
            return True
    return False


def _stages(steps: Any, z: np.ndarray) -> list[np.ndarray]:
    """z, and the output of each step. The last one is the features."""
    stages = [z]
    for step in steps:
        stages.append(_features(step, stages[-1]))
    return stages


def _features(step: Any, z: np.ndarray) -> np.ndarray:
    features: np.ndarray = z if _passes(step) else step.transform(z)
    return features


def _passes(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _pull(step: Any, z: np.ndarray, g: np.ndarray) -> np.ndarray:
    """J(z_q)^T g_q of one step, (Q, d), from z (Q, d) and g (Q, D)."""
    from sklearn.decomposition import PCA
    from sklearn.kernel_approximation import Nystroem, RBFSampler
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures

    if _passes(step):
        return g
    match step:
        case Layer():
            return step.pull(z, g)
        case Pipeline():
            inner = [each for _, each in step.steps]
            for each, stage in zip(reversed(inner), reversed(_stages(inner[:-1], z)), strict=True):
                g = _pull(each, stage, g)
            return g
        case FeatureUnion():
            return _pull_union(step, z, g)
        case MinMaxScaler():
            return np.asarray(g * step.scale_)
        case PCA():
            return np.asarray(
                (g / np.sqrt(step.explained_variance_) if step.whiten else g) @ step.components_
            )
        case PolynomialFeatures():
            return _pull_powers(step.powers_, z, g)
        case RBFSampler():
            waves = z @ step.random_weights_ + step.random_offset_
            return np.asarray(
                -math.sqrt(2.0 / step.random_weights_.shape[1])
                * (g * np.sin(waves))
                @ step.random_weights_.T
            )
        case Nystroem():
            return _pull_landmarks(step, z, g)
        case _:  # The other scalers' divisor is None where they do not scale.
            return np.asarray(g if step.scale_ is None else g / step.scale_)


def _pull_union(union: Any, z: np.ndarray, g: np.ndarray) -> np.ndarray:
    pulled, start = np.zeros_like(z), 0
    for _, step in union.transformer_list:
        end = start + _features(step, z[:1]).shape[1]
        pulled += _pull(step, z, g[:, start:end])
        start = end
    return pulled


def _pull_powers(powers: np.ndarray, z: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Features prod_k z_k^{P_fk}, P (D, d): d / dz_k takes one power of z_k away."""
    pulled = np.empty_like(z)
    for k in range(z.shape[1]):
        has = powers[:, k] > 0
        lowered = powers[has].copy()
        lowered[:, k] -= 1
        pulled[:, k] = (g[:, has] * powers[has, k] * np.prod(z[:, None, :] ** lowered, axis=2)).sum(
            1
        )
    return pulled


def _pull_landmarks(step: Any, z: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Features k(z, L) B^T, k = exp(-gamma |z - l|^2): dk / dz = -2 gamma k (z - l)."""
    from sklearn.metrics.pairwise import rbf_kernel

    gamma = 1.0 / z.shape[1] if step.gamma is None else step.gamma
    share = (g @ step.normalization_) * rbf_kernel(z, step.components_, gamma=gamma)
    return np.asarray(-2.0 * gamma * (share.sum(1, keepdims=True) * z - share @ step.components_))
