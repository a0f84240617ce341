"""Estimators: from two clouds to a witness that the particles climb.

- `base`: the contract. An estimator's `fit` returns a `Fit`, which holds the witness.
- `mmd`: the difference of two kernel mean embeddings, the simplest witness.
- `closed_form`: densities that are known; nothing is estimated.
- `envelope/`: KALE and other kernel-regularised divergences, by one convex solver.
- `ratio/`: log density ratios, from densities, least squares, likelihood or classification.
- `trained/`: neural networks, trained on a ratio loss or as a critic.
- `transport`: the critic that optimal transport solves instead of training one.
- `c_transform`: the witnesses of both critics whose value is that of a dual problem.
- `annealed`: an estimator with a kernel, whose bandwidth changes in a run.
- `labelled`: any of these, within each class of particles.
- `stragglers`: any of these, with an eye on particles beyond its reach.

No family imports another. Each folder's docstring tells its files in reading order.
"""

from particleflow._words import suggesting
from particleflow.estimators.annealed import Annealed, BandwidthRule
from particleflow.estimators.base import Estimator, FieldWitness, Fit, Witness
from particleflow.estimators.closed_form import ClosedForm, Moments
from particleflow.estimators.envelope import KALE, DrMMD, Moreau
from particleflow.estimators.labelled import Labelled
from particleflow.estimators.mmd import MMD
from particleflow.estimators.ratio import (
    KDE,
    KLIEP,
    ULSIF,
    KernelLogistic,
    RuLSIF,
    SklearnClassifier,
)
from particleflow.estimators.stragglers import Stragglers
from particleflow.estimators.trained import (
    Classifier,
    GradientPenaltyCritic,
    LipschitzCritic,
    TrainedCTransformCritic,
    WeightClippingCritic,
)
from particleflow.estimators.transport import CTransformCritic

__all__ = [
    "KALE",
    "KDE",
    "KLIEP",
    "MMD",
    "ULSIF",
    "Annealed",
    "BandwidthRule",
    "CTransformCritic",
    "Classifier",
    "ClosedForm",
    "DrMMD",
    "Estimator",
    "FieldWitness",
    "Fit",
    "GradientPenaltyCritic",
    "KernelLogistic",
    "Labelled",
    "LipschitzCritic",
    "Moments",
    "Moreau",
    "RuLSIF",
    "SklearnClassifier",
    "Stragglers",
    "TrainedCTransformCritic",
    "WeightClippingCritic",
    "Witness",
]

__getattr__, __dir__ = suggesting(__name__)
