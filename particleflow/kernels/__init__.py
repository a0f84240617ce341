"""Radial kernels and the choice of their bandwidth; kernels of explicit features."""

from particleflow._words import suggesting
from particleflow.kernels.bandwidth import (
    Bandwidth,
    CrossValidated,
    Median,
    Scott,
    default_bandwidth,
    median_distance,
)
from particleflow.kernels.declared import as_kernel
from particleflow.kernels.explicit import FeatureKernel, FeatureMap
from particleflow.kernels.features import Landmarks, RandomWaves
from particleflow.kernels.neurons import Erf, Neurons, ReLU, Tanh
from particleflow.kernels.radial import (
    IMQ,
    Energy,
    Gaussian,
    Kernel,
    Laplace,
    Matern32,
    Matern52,
    Radial,
    ScaledKernel,
)

__all__ = [
    "IMQ",
    "Bandwidth",
    "CrossValidated",
    "Energy",
    "Erf",
    "FeatureKernel",
    "FeatureMap",
    "Gaussian",
    "Kernel",
    "Landmarks",
    "Laplace",
    "Matern32",
    "Matern52",
    "Median",
    "Neurons",
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

__getattr__ = suggesting(__name__)
