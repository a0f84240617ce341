"""The matrix K = k(y_i, y_j) of a cloud as a map v -> K v: whole, or by sums over pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.estimators.envelope.cholesky import partial_cholesky
from particleflow.kernels import Kernel
from particleflow.memo import Memo, cached_property
from particleflow.pairwise import Auto, PairwiseSum, Queries, Sources
from particleflow.pairwise.base import Promise
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.pairwise.promise import peaks

# Points up to which a whole matrix is quicker than any fast sum.
SMALL = 512
# Points up to which a whole matrix is quicker than an exact sum. It then takes 128 MiB.
LARGE = 4096
# A bound of the rounding of one product, per unit of sum_j |v_j| max |k|.
ROUNDING = 8 * torch.finfo(torch.float64).eps
# The error of a rough product, as a share of lam: small enough for a linear solver to use.
ROUGH = 1e-2
# Least relative error of rough products: float32 sums are no more exact.
FINEST = 5e-7
# Largest relative error of rough products: rougher ones would be of no use.
COARSEST = 1e-3
# Numbers of a partial factor up to which it is quicker than any fast sum.
FACTOR = 10**6
# Columns of a partial factor up to which it is quicker than any fast sum.
COLUMNS = 256
# Columns below which no partial factor is tried.
LEAST = 32


@dataclass(frozen=True, eq=False)
class WholeGram:
    """K as M^2 numbers. A product takes M^2 operations.

    Parameters
    ----------
    matrix : (M, M) float64
        K.
    cloud : Cloud
        The points y, float64, with their masses q.
    factors : Memo
        The factor of the last linear system with this matrix that comes again (`linear.Direct`).
    """

    matrix: Float[Tensor, "M M"]
    cloud: Cloud
    factors: Memo[Any] = field(default_factory=partial(Memo, 1), init=False, repr=False)

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
        """K v, here as precise as `times`."""
        return self.matrix @ v


@dataclass(frozen=True, eq=False)
class SummedGram:
    """K as a sum over pairs, in O(M) memory. What depends on the points alone is kept.

    Parameters
    ----------
    sources, queries
        y, prepared for sums by `pairwise`.
    promise : Promise or None
        Bounds of the errors of K q, where the sums are approximate.
    lasting : bool
        Whether the points come back, so that a factor of K pays.
    rough : dict
        A factor of K, or sources and queries in float32, by the relative error of their products.

    It has the properties and methods of `WholeGram`.
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
        """K v in float32, with an error of about lam sum_j |v_j| / 100 if float32 allows it."""
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
        """A partial Cholesky factor where it has few columns, else the points in float32."""
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
    """K at the points of a cloud, in float64: whole where that is quicker, else through `pairwise`.

    `lasting`: whether the points come back, so that preparations pay.
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
