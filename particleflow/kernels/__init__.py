"""Kernels: radial ones, the choice of their bandwidth, and kernels of explicit features."""

from particleflow._words import suggesting
from particleflow.kernels.bandwidth import (
    Bandwidth,
    CrossValidated,
    Median,
    Scott,
    default_bandwidth,
    median_distance,
)
from particleflow.kernels.built_in import *  # noqa: F403 - kernels are listed there alone
from particleflow.kernels.built_in import __all__ as _built_in
from particleflow.kernels.contract import Kernel, ScaledKernel
from particleflow.kernels.declared import as_kernel
from particleflow.kernels.explicit import FeatureKernel, FeatureMap
from particleflow.kernels.features import Landmarks, RandomWaves
from particleflow.kernels.neurons import Erf, Neurons, ReLU, Tanh
from particleflow.kernels.periodic import Periodic
from particleflow.kernels.radial import Radial

__all__ = [
    *_built_in,
    "Bandwidth",
    "CrossValidated",
    "Erf",
    "FeatureKernel",
    "FeatureMap",
    "Kernel",
    "Landmarks",
    "Median",
    "Neurons",
    "Periodic",
    "Radial",
    "RandomWaves",
    "ReLU",
    "ScaledKernel",
    "Scott",
    "Tanh",
    "as_kernel",
    "default_bandwidth",
    "median_distance",
]

__getattr__, __dir__ = suggesting(__name__)
