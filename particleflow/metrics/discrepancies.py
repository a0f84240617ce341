"""Metrics from kernels: MMD^2, its root, and the energy distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.kept import Kept
from particleflow.kernels import Energy, FeatureKernel, Kernel
from particleflow.kernels.explicit import as_summable
from particleflow.metrics.base import OfClouds, normalised
from particleflow.pairwise import Auto, Field, PairwiseSum
from particleflow.pairwise.base import check_backend
from particleflow.pairwise.explicit import sources_of


@dataclass(frozen=True)
class MMD2(OfClouds):
    """Squared maximum mean discrepancy, not its root.

        MMD^2 = sum_ij m_i m_j k(x_i, x_j) + sum_ij n_i n_j k(y_i, y_j)
                - 2 sum_ij m_i n_j k(x_i, y_j)

    This is the V-statistic: diagonal terms are kept, so it is biased upwards and >= 0 up to
    rounding (Gretton et al. 2012, equation 5, before the root). The MMD flow descends MMD^2 / 2.
    Masses are taken as they are: measures of different total mass are compared too.

    It is computed in the dtype of the clouds: in float32 differences below 1e-7 of the largest term
    are rounding. Cost O((N + M)^2 d), by tiles that `pairwise` bounds in memory. The term of an
    unchanged y is kept from the last call, which saves O(M^2 d) and changes no bit.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of s = |x - y|^2
    pairwise : PairwiseSum
        The backend of the sums.
    """

    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor]
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-9), kw_only=True)
    _target: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_summable(self.kernel))
        check_backend(self.pairwise)

    @property
    def label(self) -> str:
        return "MMD^2"

    def between(self, x: Cloud, y: Cloud) -> float:
        potential, yy = self._target.get(y, lambda: self._self(y))
        return self._self(x)[1] + yy - 2 * _integral(potential, x)

    def _self(self, cloud: Cloud) -> tuple[Field, float]:
        """The cloud's potential z -> sum_i m_i k(z, x_i), and its integral against the cloud."""
        potential = sources_of(as_summable(self.kernel), cloud.points, self.pairwise).field(
            cloud.mass
        )
        return potential, _integral(potential, cloud)


@dataclass(frozen=True)
class MMD(OfClouds):
    """Maximum mean discrepancy, the root: sqrt(max(0, MMD^2)).

    MMD^2 is the V-statistic `MMD2` (Gretton et al. 2012, equation 5). Cost as `MMD2`. The root
    magnifies rounding: two equal clouds in another order are about 1e-8 apart in float64, 1e-4 in
    float32.
    """

    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor]
    pairwise: PairwiseSum = field(default=Auto(rtol=1e-9), kw_only=True)
    _squared: MMD2 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_summable(self.kernel))
        check_backend(self.pairwise)
        object.__setattr__(self, "_squared", MMD2(self.kernel, pairwise=self.pairwise))

    @property
    def label(self) -> str:
        return "MMD (root)"

    def between(self, x: Cloud, y: Cloud) -> float:
        return math.sqrt(max(0.0, self._squared.between(x, y)))


@dataclass(frozen=True)
class EnergyDistance(OfClouds):
    """Energy distance, the squared one: 2 E|X - Y| - E|X - X'| - E|Y - Y'|.

    Source: Szekely and Rizzo 2013. It is MMD^2 of k = -|x - y| as a V-statistic (Sejdinovic et al.
    2013). In one dimension it is 2 int (F - G)^2, the square of scipy's `energy_distance`. That
    kernel is positive definite between equal masses only, so both clouds are normalised. Cost as
    `MMD2`.
    """

    pairwise: PairwiseSum = field(default=Auto(rtol=1e-9), kw_only=True)
    _squared: MMD2 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_squared", MMD2(Energy(), pairwise=self.pairwise))

    @property
    def label(self) -> str:
        return "energy distance (squared)"

    def between(self, x: Cloud, y: Cloud) -> float:
        return self._squared.between(normalised(x), normalised(y))


def _integral(potential: Field, cloud: Cloud) -> float:
    """sum_i m_i potential(x_i), added up in float64."""
    return float(cloud.mass.double() @ potential.value(cloud.points).double())
