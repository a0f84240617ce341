"""Kernels of explicit features, k(z, y) = features(z) . features(y): their sums go through the
features and never through pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from particleflow.kernels.contract import Kernel
from particleflow.kernels.declared import as_kernel


@runtime_checkable
class FeatureMap(Protocol):
    """z (Q, d) -> features (Q, D), and the gradient in z (Q, d) of features(z) @ c, c (D,)."""

    def features(self, z: Tensor) -> Tensor: ...
    def gradient(self, z: Tensor, c: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FeatureKernel:
    """k(z, y) = sum_f features_f(z) features_f(y): positive semidefinite, of rank D at most.

    For what needs sums over clouds only: `pf.mmd_flow`, `MMD` and the metrics of that name, at O((N
    + M) D) features a step.

    Parameters
    ----------
    map : FeatureMap
        Such as `Neurons`: an MMD flow with it is the training of a two-layer network.
    """

    map: FeatureMap

    def __post_init__(self) -> None:
        if isinstance(self.map, type) or not isinstance(self.map, FeatureMap):
            what = (
                f"the class {self.map.__name__}"
                if isinstance(self.map, type)
                else type(self.map).__name__
            )
            raise TypeError(
                f"`map` must have features(z) and gradient(z, c), got {what}: e.g."
                " pf.kernels.Neurons(data)"
            )


def as_summable(
    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor],
) -> Kernel | FeatureKernel:
    """As `as_kernel`, but a `FeatureKernel` stays, too."""
    return kernel if isinstance(kernel, FeatureKernel) else as_kernel(kernel)
