"""Radial kernels and the choice of their bandwidth."""

from particleflow.kernels.bandwidth import default_bandwidth, median_distance
from particleflow.kernels.radial import (
    IMQ,
    Energy,
    Gaussian,
    Kernel,
    Laplace,
    Matern32,
    Matern52,
    Radial,
    as_kernel,
)

__all__ = [
    "IMQ",
    "Energy",
    "Gaussian",
    "Kernel",
    "Laplace",
    "Matern32",
    "Matern52",
    "Radial",
    "as_kernel",
    "default_bandwidth",
    "median_distance",
]
