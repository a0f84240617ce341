"""The list of the built-in kernels, each of which states its facts in its own file."""

from __future__ import annotations

from particleflow.kernels.cauchy import Cauchy
from particleflow.kernels.contract import Kernel
from particleflow.kernels.energy import Energy
from particleflow.kernels.gaussian import Gaussian
from particleflow.kernels.imq import IMQ
from particleflow.kernels.laplace import Laplace
from particleflow.kernels.matern import Matern32, Matern52

__all__ = ["IMQ", "Cauchy", "Energy", "Gaussian", "Laplace", "Matern32", "Matern52"]

# The built-in kernels, in the order in which messages and `particleflow list` name them.
BUILT_IN: tuple[type[Kernel], ...] = (Gaussian, Laplace, Matern32, Matern52, IMQ, Cauchy, Energy)
