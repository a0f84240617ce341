"""Witnesses that are neural networks, trained by Adam and warm from fit to fit.

- `network`: a torch module as a function of one vector of weights.
- `batches`: minibatches of two clouds.
- `training`: Adam, and the memory from which a run goes on bit for bit.
- `classifier`: log r by any loss of `particleflow.losses` (Nowozin, Cseke and Tomioka 2016).
- `critic`: (nearly) 1-Lipschitz potentials (Arjovsky, Chintala and Bottou 2017; Gulrajani et al.
  2017; Anil, Lucas and Grosse 2019).
- `c_transform`: a potential with its c-transform as partner (Mallasto et al. 2019).
"""

from particleflow.estimators.trained.c_transform import TrainedCTransformCritic
from particleflow.estimators.trained.classifier import Classifier
from particleflow.estimators.trained.critic import (
    GradientPenaltyCritic,
    LipschitzCritic,
    WeightClippingCritic,
)

__all__ = [
    "Classifier",
    "GradientPenaltyCritic",
    "LipschitzCritic",
    "TrainedCTransformCritic",
    "WeightClippingCritic",
]
