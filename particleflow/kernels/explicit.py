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
    r"""A map from points to features, and the gradient of their combinations.

    .. math::

        z \in \mathbb{R}^d \mapsto \varphi(z) \in \mathbb{R}^D ,
        \qquad
        \nabla_z \left( \varphi(z) \cdot c \right) .

    For z (Q, d), `features` gives (Q, D). For z (Q, d) and c (D,), `gradient` gives the gradient of
    features(z) @ c in z, (Q, d). Both keep the dtype and the device of z.
    """

    def features(self, z: Tensor) -> Tensor:
        """The features (Q, D) at points z (Q, d)."""

    def gradient(self, z: Tensor, c: Tensor) -> Tensor:
        """The gradient of features(z) @ c in z, (Q, d), for c (D,)."""


@runtime_checkable
class CurvedMap(FeatureMap, Protocol):
    """A feature map that knows the Hessian of features(z) @ c in z, (Q, d, d), for c (D,)."""

    def hessian(self, z: Tensor, c: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FeatureKernel:
    r"""The kernel of explicit features, whose sums need no pairs.

    .. math::

        k(z, y) = \sum_{f=1}^{D} \varphi_f(z)\, \varphi_f(y) ,
        \qquad
        \nabla_z k = \sum_{f=1}^{D} \varphi_f(y)\, \nabla \varphi_f(z) .

    The kernel is positive semidefinite, of rank D at most. It serves where only sums over clouds
    are needed: in `pf.mmd_flow`, `MMD` and the metrics of that name. It is no function of a
    distance, so that backends of `pf.pairwise` are not used.

    Parameters
    ----------
    map : FeatureMap
        Gives features (Q, D) and the gradient of their combinations, such as `Neurons`: an MMD flow
        with it is the training of a two-layer network.

    Attributes
    ----------
    in_space : bool
        Whether the points are those of a space, in which particles can be compared with the
        target's. False where they are the parameters of a model, as neurons are.

    Raises
    ------
    TypeError
        `map` is a class, or has no `features` and `gradient`.

    Cost: O((N + M) D) a step, beside the features themselves.

    Source: Aronszajn (1950) for kernels as inner products.

    >>> kernel = pf.kernels.FeatureKernel(pf.kernels.Neurons([[1.0], [2.0]]))
    >>> student = torch.tensor([[1.0, 0.0, 1.0]])  # f(x) = x
    >>> teacher = torch.tensor([[1.0, 0.0, 3.0], [1.0, 0.0, 1.0]])  # f(x) = 2 x
    >>> risk = pf.metrics.MMD2(kernel)(student, teacher)
    >>> round(risk, 4)  # the mean of x^2 over the data 1 and 2
    2.5
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
