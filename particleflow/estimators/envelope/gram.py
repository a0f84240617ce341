"""The matrix K = k(y_i, y_j) of a target's points as a map v -> K v: kept whole where that is
quicker, else through a sum over pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.estimators.envelope.cholesky import partial_cholesky
from particleflow.kernels import Kernel
from particleflow.memo import cached_property
from particleflow.pairwise import Auto, PairwiseSum, Queries, Sources
from particleflow.pairwise.base import Promise
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.pairwise.promise import peaks

# A whole matrix is quicker than any fast sum up to SMALL points, and than an exact sum up to LARGE,
# where it takes 128 MiB.
SMALL, LARGE = 512, 4096
# Rounding of one product, per unit of sum |v| max |k|.
ROUNDING = 8 * torch.finfo(torch.float64).eps
# Rough products are as accurate as ROUGH lam, within the digits of float32 sums and of any use.
ROUGH, FINEST, COARSEST = 1e-2, 5e-7, 1e-3
# Numbers in a partial factor whose products are quicker than any fast sum's, and its columns.
FACTOR, COLUMNS, LEAST = 10**6, 256, 32


@dataclass(frozen=True, eq=False)
class WholeGram:
    """All pairs: M^2 numbers, M^2 operations a product.

    Parameters
    ----------
    matrix : (M, M) float64
        K.
    cloud : Cloud
        The points y, float64, with their masses.
    """

    matrix: Float[Tensor, "M M"]
    cloud: Cloud

    @property
    def queries(self) -> Tensor:
        """y."""
        return self.cloud.points

    @cached_property
    def error(self) -> float:
        """A bound of |error of (K v)_i| / sum_j |v_j|."""
        return ROUNDING * self.peak

    @cached_property
    def peak(self) -> float:
        """max |k|."""
        return float(self.matrix.diagonal().abs().max())

    @cached_property
    def of_mass(self) -> Float[Tensor, "M"]:
        """K q."""
        return self.times(self.cloud.mass)

    def times(self, v: Float[Tensor, "M"]) -> Float[Tensor, "M"]:
        """K v."""
        return self.matrix @ v

    def roughly(self, v: Float[Tensor, "M"], lam: float) -> Float[Tensor, "M"]:
        return self.matrix @ v


@dataclass(frozen=True, eq=False)
class SummedGram:
    """Through `pairwise`, with all that depends on the points alone kept. `queries`: y, prepared;
    `lasting`: whether a factor pays; `rough`: what makes rough products.
    """

    kernel: Kernel
    cloud: Cloud
    pairwise: PairwiseSum
    sources: Sources
    queries: Queries
    promise: Promise | None
    lasting: bool
    rough: dict[float, Tensor | tuple[Sources, Queries]] = field(default_factory=dict)
    matrix: ClassVar[None] = None

    @cached_property
    def error(self) -> float:
        promised = (
            0.0 if self.promise is None else self.promise.value / float(self.cloud.mass.sum())
        )
        return promised + ROUNDING * self.peak

    @cached_property
    def peak(self) -> float:
        return peaks(self.kernel, 1.0)[0]

    @cached_property
    def of_mass(self) -> Float[Tensor, "M"]:
        return self.times(self.cloud.mass)

    def times(self, v: Float[Tensor, "M"]) -> Float[Tensor, "M"]:
        return self.sources.field(v).value(self.queries)

    def roughly(self, v: Float[Tensor, "M"], lam: float) -> Float[Tensor, "M"]:
        """K v in float32, to about lam sum |v| / 100 where that is possible: for iterations that
        are corrected afterwards.
        """
        rtol = min(COARSEST, ROUGH * lam / self.peak)
        if rtol < FINEST:
            return self.times(v)
        rtol = 10.0 ** round(math.log10(rtol))
        if rtol not in self.rough:
            self.rough[rtol] = self._rough(rtol)
        kept = self.rough[rtol]
        if isinstance(kept, Tensor):
            return (kept @ (v.float() @ kept)).double()
        sources, queries = kept
        return sources.field(v.float()).value(queries).double()

    def _rough(self, rtol: float) -> Tensor | tuple[Sources, Queries]:
        """A partial Cholesky factor where it is small, else sources and queries of a fast sum."""
        most = min(COLUMNS, FACTOR // len(self.cloud)) if self.lasting else 0
        factor = (
            partial_cholesky(
                self.kernel, self.cloud.points, self.cloud.mass, rtol * self.peak, most
            )
            if most >= LEAST
            else None
        )
        if factor is not None:
            return factor.float()
        sources = self._coarser(rtol).sources(self.kernel, self.cloud.points.float())
        return sources, sources.prepare(sources.points)

    def _coarser(self, rtol: float) -> PairwiseSum:
        return (
            Auto(rtol=max(rtol, self.pairwise.rtol), max_pairs=self.pairwise.max_pairs)
            if isinstance(self.pairwise, Auto)
            else Auto(rtol=rtol)
        )


Gram: TypeAlias = WholeGram | SummedGram


def gram_of(kernel: Kernel, cloud: Cloud, pairwise: PairwiseSum, *, lasting: bool = True) -> Gram:
    """K at the points of a cloud, in float64, through `pairwise` or whole; `lasting` where the
    points come back, and preparations pay.
    """
    cloud = cloud.double()
    if len(cloud) <= SMALL:
        return WholeGram(kernel_matrix(kernel, cloud.points, cloud.points), cloud)
    sources = pairwise.sources(kernel, cloud.points)
    queries = sources.prepare(cloud.points)
    promise: Promise | None = sources.field(cloud.mass).promise(queries)
    if promise is None and len(cloud) <= LARGE:
        return WholeGram(kernel_matrix(kernel, cloud.points, cloud.points), cloud)
    return SummedGram(kernel, cloud, pairwise, sources, queries, promise, lasting)
