"""Kernels of explicit features, k(z, y) = features(z) . features(y).

Their sums go through the features and never through pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from particleflow.kernels.contract import Kernel
from particleflow.kernels.declared import as_kernel


@runtime_checkable
class FeatureMap(Protocol):
    """A map from z (Q, d) to features (Q, D).

    Its `gradient` is that of features(z) @ c in z, (Q, d), for c (D,).
    """

    def features(self, z: Tensor) -> Tensor: ...
    def gradient(self, z: Tensor, c: Tensor) -> Tensor: ...


@runtime_checkable
class CurvedMap(FeatureMap, Protocol):
    """A feature map that knows the Hessian of features(z) @ c in z, (Q, d, d), for c (D,)."""

    def hessian(self, z: Tensor, c: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FeatureKernel:
    """The kernel k(z, y) = sum_f features_f(z) features_f(y).

    It is positive semidefinite, of rank D at most. It serves where only sums over clouds are
    needed: in `pf.mmd_flow`, `MMD` and the metrics of that name. A step takes O((N + M) D)
    operations.

    Parameters
    ----------
    map : FeatureMap
        Such as `Neurons`: an MMD flow with it is the training of a two-layer network.

    Attributes
    ----------
    in_space : bool
        Are the points those of a space, in which particles can be compared with the target's? False
        where they are the parameters of a model, as neurons are.
    """

    map: FeatureMap
    in_space: ClassVar[bool] = False

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
    """Convert to a kernel as `as_kernel` does, but keep a `FeatureKernel`."""
    return kernel if isinstance(kernel, FeatureKernel) else as_kernel(kernel)
