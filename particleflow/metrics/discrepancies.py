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
    r"""Squared maximum mean discrepancy of two clouds: the square, not its root.

    .. math::

        \begin{aligned}
        \text{MMD}^2 = &\sum_{i,i'} m_i m_{i'} k(x_i, x_{i'}) \\
            &+ \sum_{j,j'} n_j n_{j'} k(y_j, y_{j'}) \\
            &- 2 \sum_{i,j} m_i n_j k(x_i, y_j)
        \end{aligned}

    :math:`m_i` are the masses of x, :math:`n_j` those of y: 1/N and 1/M for plain points. Masses
    are taken as they are, so measures of different total mass are compared too. The sum is the
    V-statistic: it keeps the terms i = i' and j = j'. It is therefore >= 0 up to rounding, and
    biased upwards as an estimate between distributions. The MMD flow of the same kernel descends
    MMD^2 / 2.

    It is computed in the dtype of the clouds and added up in float64. In float32, differences below
    1e-7 of the largest term are rounding.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of s = |x - y|^2
        The kernel k. Its bandwidth sets the distances at which clouds are told apart.
    pairwise : PairwiseSum
        The backend of the sums over pairs. By default `Auto(rtol=1e-9)`, whose fast sums are good
        to 1e-9: MMD^2 is a small difference of large sums.

    Raises
    ------
    TypeError
        `kernel` is no kernel and no callable, or `pairwise` is no backend. A call: a cloud is not
        numeric, or the dtypes of two tensors differ.
    ValueError
        A call: a cloud is not (N, d), is empty or not finite, or the dimensions differ.

    Cost: O((N + M)^2 d) by exact sums, in tiles of bounded memory; less where `Auto` finds a fast
    one. The term of an unchanged y is kept from the last call: this saves O(M^2 d) and changes no
    bit.

    Source: Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), equation 5, before the root.

    >>> mmd2 = pf.metrics.MMD2(pf.kernels.Gaussian(1.0))
    >>> x, y = [[0.0]], [[1.0], [1.0]]
    >>> round(mmd2(x, y), 6)  # 2 - 2 exp(-1/2): copies of a point are one point
    0.786939
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
    r"""Maximum mean discrepancy of two clouds: the root of `MMD2`.

    .. math::

        \text{MMD} = \left\lVert \sum_i m_i k(x_i, \cdot)
            - \sum_j n_j k(y_j, \cdot) \right\rVert_H

    It is computed as the root of max(0, MMD^2). It is a distance between measures where the kernel
    is characteristic, as the Gaussian is. Masses count as in `MMD2`. The root magnifies rounding:
    two equal clouds whose rows are in another order are about 1e-8 apart in float64, 1e-4 in
    float32.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of s = |x - y|^2
        The kernel k. Its bandwidth is in units of the coordinates.
    pairwise : PairwiseSum
        The backend of the sums over pairs. By default `Auto(rtol=1e-9)`.

    Raises
    ------
    TypeError
        `kernel` is no kernel and no callable, or `pairwise` is no backend. A call: as `MMD2`.
    ValueError
        A call: as `MMD2`.

    Cost: O((N + M)^2 d), as `MMD2`.

    Source: Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), equation 5.

    >>> mmd = pf.metrics.MMD(pf.kernels.Gaussian(1.0))
    >>> round(mmd([[0.0]], [[1.0], [1.0]]) ** 2, 6)  # 2 - 2 exp(-1/2)
    0.786939
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
    r"""Energy distance of two clouds, the squared one.

    .. math::

        2\,\mathbb{E} \left| X - Y \right|
            - \mathbb{E} \left| X - X' \right| - \mathbb{E} \left| Y - Y' \right|

    X and X' are drawn from x by mass, Y and Y' from y. It is MMD^2 of the kernel
    k(a, b) = -|a - b| as a V-statistic. In one dimension it is
    :math:`2 \int (F - G)^2` of the distribution functions, the square of scipy's `energy_distance`.
    The kernel is positive definite between equal masses only, so both clouds are normalised: total
    masses that differ are not compared. Its unit is that of the coordinates. It has no bandwidth to
    choose, and no distance at which it saturates.

    Parameters
    ----------
    pairwise : PairwiseSum
        The backend of the sums over pairs. By default `Auto(rtol=1e-9)`.

    Raises
    ------
    TypeError
        `pairwise` is no backend. A call: as `MMD2`.
    ValueError
        A call: as `MMD2`.

    Cost: O((N + M)^2 d) by exact sums, as `MMD2`; O((N + M) log(N + M)) in d = 1.

    Source: Szekely and Rizzo (2013); as an MMD^2, Sejdinovic, Sriperumbudur, Gretton and Fukumizu
    (2013).

    >>> pf.metrics.EnergyDistance()([[0.0]], [[1.0], [3.0]])  # 2 * 2 - 0 - 1
    3.0
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
