"""Sum kernels of explicit features, without pairs of points.

sum_i w_i k(z, x_i) = features(z) . c,    c = sum_i w_i features(x_i).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.explicit import FeatureKernel
from particleflow.pairwise.auto import Auto
from particleflow.pairwise.base import PairwiseSum, Queries, Sources
from particleflow.pairwise.inputs import (
    checked_points,
    checked_queries,
    checked_weights,
    kept_queries,
    points_of,
)

# Most features in memory at once, in numbers: 8 MiB in float64.
NUMBERS = 2**20


def sources_of(kernel: Kernel | FeatureKernel, points: Tensor, pairwise: PairwiseSum) -> Sources:
    """Return the sources of any kernel: through explicit features, else through the backend.

    Raises
    ------
    TypeError
        A kernel of explicit features came with a backend other than `Auto`.
    """
    if not isinstance(kernel, FeatureKernel):
        return pairwise.sources(kernel, points)
    if not isinstance(pairwise, Auto):
        raise TypeError(
            f"`pairwise` must be Auto() for a kernel of explicit features, got {pairwise}: its sums"
            " need no pairs, leave it out"
        )
    return FeatureSources(kernel, checked_points(points, kernel))


@dataclass(frozen=True)
class PlainQueries:
    """Queries without any preparation."""

    points: Tensor


@dataclass(frozen=True, eq=False)
class FeatureSources:
    kernel: FeatureKernel
    points: Tensor

    def field(self, w: Tensor) -> FeatureField:
        """Return the field of weights w (N,) or (N, K)."""
        w = checked_weights(w, self.points)
        rows = _rows(self.kernel, self.points)
        parts = [self.kernel.map.features(self.points[at]).T @ w[at] for at in rows]
        return FeatureField(self.kernel, torch.stack(parts).sum(0).detach(), self.points)

    def prepare(self, z: Tensor) -> PlainQueries:
        return PlainQueries(kept_queries(z, self.points))


@dataclass(frozen=True, eq=False)
class FeatureField:
    """The function z -> features(z) @ coefficients, with coefficients (D,) or (D, K).

    z must be like the sources' `points`. Fields of one kernel add by their coefficients.
    """

    kernel: FeatureKernel
    coefficients: Tensor
    points: Tensor

    def __add__(self, other: FeatureField) -> FeatureField:
        return FeatureField(self.kernel, self.coefficients + other.coefficients, self.points)

    def reduce(self) -> FeatureField:
        return self

    def value(self, z: Tensor | Queries) -> Tensor:
        points = self._seen(z)
        return torch.cat(
            [
                self.kernel.map.features(points[at]) @ self.coefficients
                for at in _rows(self.kernel, points)
            ]
        ).detach()

    def grad(self, z: Tensor | Queries) -> Tensor:
        points = self._seen(z)
        return torch.cat([self._grad(points[at]) for at in _rows(self.kernel, points)]).detach()

    def value_and_grad(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        return self.value(z), self.grad(z)

    def laplacian(self, z: Tensor | Queries) -> NoReturn:
        raise TypeError(
            "`kernel` must be radial for a laplacian, got explicit features, which tell their"
            " gradients only"
        )

    def log(self, z: Tensor | Queries) -> NoReturn:
        raise TypeError(
            "`kernel` must be positive for the logarithm of a sum, got explicit features: use"
            " Gaussian, Laplace, Matern or IMQ"
        )

    def promise(self, z: Tensor | Queries) -> None:
        """Return None: the sums are exact up to rounding."""

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        return {
            "backend": "Features",
            "why": f"{len(self.coefficients)} explicit features, no pairs",
        }

    def _seen(self, z: Tensor | Queries) -> Tensor:
        return checked_queries(points_of(z), self.points).detach()

    def _grad(self, z: Tensor) -> Tensor:
        if self.coefficients.ndim == 1:
            return self.kernel.map.gradient(z, self.coefficients)
        return torch.stack([self.kernel.map.gradient(z, c) for c in self.coefficients.T], dim=1)


def _rows(kernel: FeatureKernel, points: Tensor) -> list[slice]:
    width = kernel.map.features(points[:1]).shape[1]
    step = max(1, NUMBERS // width)
    return [slice(start, start + step) for start in range(0, len(points), step)]
