"""Exact transport distances: W2 (the root) and W1."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow.clouds import Cloud, as_clouds
from particleflow.metrics.base import OfClouds, normalised
from particleflow.metrics.sliced import quantile_costs
from particleflow.strays import squares_around
from particleflow.subsets import in_own_order

# What labels say of a distance on a torus.
AROUND = "around the box"


def _lengths(periods: Any) -> tuple[float, ...]:
    """The periods of the axes; of one number it is the period of all."""
    given = periods.tolist() if isinstance(periods, (Tensor, np.ndarray)) else periods
    given = given if isinstance(given, (tuple, list)) else (given,)
    found = tuple(
        math.inf if length == math.inf else _checks.real(length, "periods") for length in given
    )
    if not found or min(found) <= 0:
        raise ValueError(
            f"`periods` must be lengths > 0, got {periods!r:.80}: pass the sides of the box, and"
            " inf for an axis without a period"
        )
    return found


def labelled(label: str, where: str) -> str:
    """The label of a distance that is taken there, such as "W2 (root), around the box"."""
    return ", ".join(filter(None, (label, where)))


@dataclass(frozen=True, kw_only=True)
class _Transport(OfClouds):
    periods: Any = None
    max_points: int = 5000
    max_iterations: int = 10_000_000
    seed: int = 0
    label: ClassVar[str]
    _told: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _checks.count(self.max_points, "max_points")
        _checks.count(self.max_iterations, "max_iterations")
        _checks.count(self.seed, "seed", least=0)
        if self.periods is not None:
            object.__setattr__(self, "periods", _lengths(self.periods))

    def _drawn(self, x: Cloud, y: Cloud) -> str:
        """ "of 5000 drawn" where a cloud has more points than are compared, else nothing."""
        return (
            f"of {self.max_points} drawn"
            if self._programme(x) and max(len(x), len(y)) > self.max_points
            else ""
        )

    def _programme(self, x: Cloud) -> bool:
        """Is it a linear programme, and not a matter of sorting?"""
        return x.dim > 1 or self.periods is not None

    def label_of(self, x: Any, y: Any) -> str:
        """The label; with periods or beyond `max_points` it says so."""
        both = isinstance(x, Cloud) and isinstance(y, Cloud)
        drawn = self._drawn(x, y) if both else self._drawn(*as_clouds(x, y))
        around = "" if self.periods is None else AROUND
        return labelled(labelled(self.label, around), drawn)

    def _cost(self, x: Cloud, y: Cloud, power: int) -> float:
        """min over couplings P of sum_ij P_ij |x_i - y_j|^power, in float64."""
        x, y = normalised(x.double()), normalised(y.double())
        if not self._programme(x):
            return float(quantile_costs(x.points.T, x, y.points.T, y, power)[0])
        drawn = self._drawn(x, y)
        if drawn and not self._told:
            self._told.append(drawn)
            _checks.warn(
                f"W{power} between {len(x)} and {len(y)} points is {drawn}, and larger than that of"
                f" all points: raise max_points = {self.max_points} (about max_points^3 / 2e10"
                " seconds), or use SlicedW2(), which takes all points"
            )
        return self._linear_program(*self._thinned(x), *self._thinned(y), power)

    def _thinned(self, cloud: Cloud) -> tuple[np.ndarray, np.ndarray]:
        """Points and weights of a cloud; a cloud of more than `max_points` points is subsampled.

        Point i is drawn about max_points * m_i times, by systematic sampling in a random order of
        the points' own.
        """
        points, weights = cloud.points.cpu().numpy(), cloud.mass.cpu().numpy()
        if len(points) > self.max_points:
            generator = np.random.default_rng(self.seed)
            order = generator.permutation(in_own_order(cloud))
            steps = np.cumsum(weights[order])
            ladder = (generator.random() + np.arange(self.max_points)) / self.max_points * steps[-1]
            rungs = np.searchsorted(steps, ladder, side="right").clip(max=len(order) - 1)
            rows, counts = np.unique(order[rungs], return_counts=True)
            points, weights = points[rows], counts / self.max_points
        return points, weights

    def _linear_program(
        self, x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray, power: int
    ) -> float:
        try:
            import ot
        except ImportError as error:
            raise ImportError(
                "exact W1 and W2 in d > 1 need POT, which cannot be imported: pip install POT, or"
                " use SlicedW2()"
            ) from error
        cost = self._distances(x, y, "sqeuclidean" if power == 2 else "euclidean")
        scale = cost.max()
        if scale == 0:
            return 0.0
        with _checks.warnings_caught("ignore"):  # the warning below says the same
            value, log = ot.emd2(a, b, cost / scale, numItermax=self.max_iterations, log=True)
        if log["warning"] is not None:
            _checks.warn(
                f"W{power} of {len(x)} and {len(y)} points was not solved in max_iterations ="
                f" {self.max_iterations} and is recorded as nan ({log['warning']}): raise"
                " max_iterations=, lower max_points=, or use SlicedW2()"
            )
            return math.nan
        return max(0.0, float(value)) * float(scale)

    def _distances(self, x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
        from scipy.spatial.distance import cdist

        if self.periods is None:
            found: np.ndarray = cdist(x, y, kind)
            return found
        lengths = self.periods * x.shape[1] if len(self.periods) == 1 else self.periods
        if len(lengths) != x.shape[1]:
            raise ValueError(
                f"`periods` must be one number, or one for each of the {x.shape[1]} axes, got"
                f" {len(lengths)}: pass inf for an axis without a period"
            )
        square = squares_around(torch.from_numpy(x), torch.from_numpy(y), lengths).numpy()
        return square if kind == "sqeuclidean" else np.sqrt(square)


@dataclass(frozen=True, kw_only=True)
class W2(_Transport):
    r"""2-Wasserstein distance of two clouds, the root.

    .. math::

        W_2 = \left( \min_{P} \sum_{i,j} P_{ij} \left| x_i - y_j \right|^2 \right)^{1/2},
        \qquad \sum_j P_{ij} = m_i, \quad \sum_i P_{ij} = n_j, \quad P_{ij} \ge 0

    P runs over the couplings of the two clouds. Its unit is that of the coordinates. The distance
    is exact, in float64: in d = 1 by sorting, for any number of points, in d > 1 by POT's network
    simplex. Both clouds are normalised: total masses that differ are not compared.

    In d > 1 a cloud of more than `max_points` points is replaced by a random subsample of that
    size. It is drawn by mass with a fixed seed, the same one in every call. The value is then exact
    for the subsamples, and biased upwards. `label_of` and the labels in a trajectory's report then
    say "of 5000 drawn", and the first such call of each object gives a RuntimeWarning. `SlicedW2`
    takes all points.

    On a torus differences of coordinates wrap: with the period L_k of axis k

    .. math::

        \left| x - y \right|^2 = \sum_k
            \min_{n \in \mathbb{Z}} \left( x_k - y_k + n L_k \right)^2

    It is then a linear programme in d = 1 too.

    Parameters
    ----------
    periods : float, or one for each axis, or None
        The lengths > 0 after which axes repeat; inf for an axis that does not.
    max_points : int
        Points of either cloud that are compared in d > 1. 5000 take about 7 s a value.
    max_iterations : int
        Pivots of the simplex. If they do not suffice the value is nan, with a RuntimeWarning: never
        a wrong number.
    seed : int
        The seed of the subsample, >= 0.

    Raises
    ------
    ImportError
        A call: POT is missing, in d > 1.
    TypeError
        `max_points`, `max_iterations` or `seed` is no integer. A call: a cloud is not numeric, or
        the dtypes of two tensors differ.
    ValueError
        `max_points` or `max_iterations` is < 1, `seed` < 0, or a period is not > 0. A call: a cloud
        is not (N, d), is empty or not finite, or the dimensions differ, also from the periods.

    Cost: about O(N M (N + M)) in d > 1: in the plane 0.2 s at 1000 points, 7 s at 5000. Memory: a
    few times 8 N M bytes. O((N + M) log(N + M)) in d = 1.

    Source: Peyre and Cuturi (2019), equation 2.11; remark 2.30 for d = 1.

    >>> w2 = pf.metrics.W2()
    >>> w2([[0.0, 0.0]], [[3.0, 4.0], [3.0, 4.0]])  # to two copies of a point
    5.0
    >>> round(w2([[0.0]], [[1.0], [-1.0], [2.0]]) ** 2, 9)  # (1 + 1 + 4) / 3
    2.0
    >>> round(pf.metrics.W2(periods=1.0)([[0.1, 0.5]], [[0.9, 0.5]]), 9)  # around the edge
    0.2
    """

    label: ClassVar[str] = "W2 (root)"

    def between(self, x: Cloud, y: Cloud) -> float:
        return math.sqrt(self._cost(x, y, 2))


@dataclass(frozen=True, kw_only=True)
class W1(_Transport):
    r"""1-Wasserstein (Kantorovich, earth mover's) distance of two clouds.

    .. math::

        W_1 = \min_{P} \sum_{i,j} P_{ij} \left| x_i - y_j \right|

    P runs over the couplings of the two clouds, as in `W2`, and there is no root. The norm is
    Euclidean, and the unit that of the coordinates. Method, subsample, normalisation and label are
    those of `W2`: exact in d = 1 for any number of points, and in d > 1 up to `max_points` points.

    Parameters
    ----------
    periods : float, or one for each axis, or None
        The lengths > 0 after which axes repeat, as in `W2`.
    max_points : int
        Points of either cloud that are compared in d > 1; of a larger cloud a subsample is drawn.
    max_iterations : int
        Pivots of the simplex. If they do not suffice the value is nan, with a RuntimeWarning.
    seed : int
        The seed of the subsample, >= 0.

    Raises
    ------
    ImportError
        A call: POT is missing, in d > 1.
    TypeError
        `max_points`, `max_iterations` or `seed` is no integer. A call: as `W2`.
    ValueError
        `max_points` or `max_iterations` is < 1, or `seed` < 0. A call: as `W2`.

    Cost: about O(N M (N + M)) in d > 1, O((N + M) log(N + M)) in d = 1, as `W2`.

    Source: Peyre and Cuturi (2019), equation 2.11; remark 2.30 for d = 1.

    >>> w1 = pf.metrics.W1()
    >>> w1([[0.0], [1.0]], [[0.5], [3.0], [4.0]])  # all move right: 2.5 - 0.5
    2.0
    """

    label: ClassVar[str] = "W1"

    def between(self, x: Cloud, y: Cloud) -> float:
        return self._cost(x, y, 1)
