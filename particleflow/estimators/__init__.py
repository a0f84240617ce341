"""Estimators: from two clouds to a witness that the particles climb."""

from particleflow._words import suggesting
from particleflow.estimators.base import Estimator, FieldWitness, Fit, Witness
from particleflow.estimators.classifier import Classifier
from particleflow.estimators.closed_form import ClosedForm, Moments
from particleflow.estimators.critic import (
    GradientPenaltyCritic,
    LipschitzCritic,
    WeightClippingCritic,
)
from particleflow.estimators.kale import KALE
from particleflow.estimators.kde import KDE
from particleflow.estimators.kliep import KLIEP
from particleflow.estimators.logistic import KernelLogistic
from particleflow.estimators.mmd import MMD
from particleflow.estimators.moreau import DrMMD, Moreau
from particleflow.estimators.sklearn_classifier import SklearnClassifier
from particleflow.estimators.transport import CTransformCritic
from particleflow.estimators.ulsif import ULSIF, RuLSIF

__all__ = [
    "KALE",
    "KDE",
    "KLIEP",
    "MMD",
    "ULSIF",
    "CTransformCritic",
    "Classifier",
    "ClosedForm",
    "DrMMD",
    "Estimator",
    "FieldWitness",
    "Fit",
    "GradientPenaltyCritic",
    "KernelLogistic",
    "LipschitzCritic",
    "Moments",
    "Moreau",
    "RuLSIF",
    "SklearnClassifier",
    "WeightClippingCritic",
    "Witness",
]

__getattr__ = suggesting(__name__)
