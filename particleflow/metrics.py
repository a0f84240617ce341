"""How far the particles are from the target: `metric(x, y) -> float`, symmetric in its arguments.

| metric | quantity | exact | cost |
|---|---|---|---|
| `MMD2`, `MMD` | squared MMD and its root | yes | O((N + M)^2 d) |
| `EnergyDistance` | squared | yes | O((N + M)^2 d) |
| `W2`, `W1` | distance (root for W2) | d = 1, or <= `max_points` points | about O(N M (N + M)) |
| `SlicedW2` | root of the mean square | on fixed directions | O(projections (N + M) log(N + M)) |

x and y are `Cloud`s, whose masses count, or plain (n, d) tensors or arrays of equally heavy points.
A tensor leads: what is none (a list, a numpy array) follows the dtype and device of the other.
`label` names the quantity for an axis, and `label_of(x, y)` says in addition how many points were
drawn where not all are compared. `floor(metric, y, n)` is the value that a fresh sample of the
target would have.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks, _words
from particleflow.clouds import Cloud, Kept, as_clouds
from particleflow.kernels import Energy, FeatureKernel, Kernel
from particleflow.kernels.explicit import as_summable
from particleflow.pairwise import Auto, Field, PairwiseSum
from particleflow.pairwise.base import check_backend
from particleflow.pairwise.explicit import sources_of
from particleflow.subsets import in_own_order

__getattr__ = _words.suggesting(__name__)

# Pairs (direction, quantile level) worked on at once by the sliced distance: 32 MiB for each
# float64 array.
LEVELS_AT_ONCE = 2**22
# A floor is the mean over this many random splits of the target.
SPLITS = 8


@runtime_checkable
class Metric(Protocol):
    """What a recorded curve needs; a plain callable (x, y) -> float is one without a label."""

    @property
    def label(self) -> str: ...
    def __call__(self, x: Any, y: Any) -> float: ...


@runtime_checkable
class Subsampling(Metric, Protocol):
    """A metric that compares a part of large clouds, and says so in the label of two clouds."""

    def label_of(self, x: Any, y: Any) -> str: ...


class BetweenClouds(ABC):
    """A metric that takes checked clouds of one space as they are, and writes to neither.

    A run passes its own clouds to `between`; any other metric gets copies. Declared by inheriting.
    """

    @abstractmethod
    def between(self, x: Cloud, y: Cloud) -> float: ...

    def __call__(self, x: Any, y: Any) -> float:
        return self.between(*as_clouds(x, y))


def value_between(metric: Callable[[Cloud, Cloud], Any], x: Cloud, y: Cloud) -> Any:
    """metric(x, y): of the clouds themselves for `BetweenClouds`, of copies for any other metric.

    A subclass with a `__call__` of its own gets copies too, and so do points that a graph holds.
    """
    ours = isinstance(metric, BetweenClouds) and not x.points.requires_grad
    if ours and type(metric).__call__ is BetweenClouds.__call__:
        return metric.between(x, y)
    return metric(x.copy(), y.copy())


def label_of(metric: Callable[[Any, Any], float], name: str, x: Cloud, y: Cloud) -> str:
    """The label of a metric's values between x and y; `name` where it has none."""
    if isinstance(metric, Subsampling):
        return metric.label_of(x, y)
    return metric.label if isinstance(metric, Metric) else name


@dataclass(frozen=True)
class Floor:
    """What a metric cannot be expected to fall below: its value between two fresh samples of the
    target, and that value's standard deviation.
    """

    value: float
    spread: float


def floor(metric: Callable[[Any, Any], float], y: Any, n: int, *, seed: int = 0) -> Floor:
    """The value of `metric` between a fresh sample of n points of the target's distribution and one
    of M points, where only the M points y are known.

    y is split at random into disjoint parts. Where M >= 2 n the parts have n and M - n points (M -
    n is nearly M for few particles), and their distance is the floor. Else parts of M / 2 points
    and of M / 4 points are compared, and the two means are continued to n and M as a power of the
    harmonic size n M / (n + M): samples differ by a power of it, whose exponent lies between -1
    (squared distances) and -1 / max(4, d). Eight splits of either kind, drawn by `seed`. Cost: 16
    values of the metric on at most half of y each.

    >>> from particleflow.metrics import W2, floor
    >>> y = np.random.default_rng(0).standard_normal((400, 2))
    >>> bool(.1 < floor(W2(), y, 300).value < .25)
    True

    Raises
    ------
    ValueError
        y has fewer than 4 points, of which nothing can be split.
    """
    cloud, _ = as_clouds(y, y, "y")
    _checks.count(n, "n")
    seed = _checks.count(seed, "seed", least=0)
    if isinstance(metric, type) or not callable(metric):
        raise TypeError(
            f"`metric` must be a metric, got {_checks.said(metric)}: e.g. pf.metrics.W2()"
        )
    if len(cloud) < 4:
        raise ValueError(
            f"`y` must hold at least 4 points to be split, got {len(cloud)}: there is no floor,"
            " compare with 0"
        )
    whole, rng = len(cloud), np.random.default_rng(seed)

    def between(a: int, b: int) -> tuple[float, float]:
        values = []
        for _ in range(SPLITS):
            rows = torch.from_numpy(rng.permutation(whole)).to(cloud.points.device)
            values.append(
                float(metric(_rows_of(cloud, rows[:a]), _rows_of(cloud, rows[a : a + b])))
            )
        return float(np.mean(values)), float(np.std(values, ddof=1))

    if whole >= 2 * n:
        return Floor(*between(n, whole - n))
    half, quarter = whole // 2, whole // 4
    (coarse, _), (fine, spread) = between(quarter, quarter), between(half, half)
    if not (fine > 0 and coarse > 0):
        return Floor(max(fine, 0.0), spread)
    power = min(1.0, max(1 / max(4, cloud.dim), math.log(coarse / fine) / math.log(half / quarter)))
    shrink = (half / 2 * (n + whole) / (n * whole)) ** power
    return Floor(fine * shrink, spread * shrink)


def _rows_of(cloud: Cloud, rows: Tensor) -> Cloud:
    """Some points, with the masses that they have, of total one."""
    return _normalised(
        Cloud(cloud.points[rows], log_mass=None if cloud.log_mass is None else cloud.log_mass[rows])
    )


@dataclass(frozen=True)
class MMD2(BetweenClouds):
    """Squared maximum mean discrepancy, not its root:

        MMD^2 = sum_ij m_i m_j k(x_i, x_j) + sum_ij n_i n_j k(y_i, y_j) - 2 sum_ij m_i n_j k(x_i,
        y_j).

    The V-statistic: diagonal terms are kept, so it is biased upwards and >= 0 up to rounding
    (Gretton et al. 2012, equation 5, before the root). The MMD flow descends MMD^2 / 2. Masses are
    taken as they are: measures of different total mass are compared too.

    Computed in the dtype of the clouds: in float32 differences below 1e-7 of the largest term are
    rounding. Cost O((N + M)^2 d), by tiles that `pairwise` bounds in memory; the term of an
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
class MMD(BetweenClouds):
    """Maximum mean discrepancy, the root: sqrt(max(0, MMD^2)) of the V-statistic `MMD2` (Gretton et
    al. 2012, equation 5). Cost as `MMD2`.

    The root magnifies rounding: two equal clouds in another order are about 1e-8 apart in float64,
    1e-4 in float32.
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
class EnergyDistance(BetweenClouds):
    """Energy distance, the squared one: 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo
    2013).

    It is MMD^2 of k = -|x - y| as a V-statistic (Sejdinovic et al. 2013), in one dimension 2 int (F
    - G)^2, the square of scipy's `energy_distance`. That kernel is positive definite between equal
    masses only, so both clouds are normalised. Cost as `MMD2`.
    """

    pairwise: PairwiseSum = field(default=Auto(rtol=1e-9), kw_only=True)
    _squared: MMD2 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_squared", MMD2(Energy(), pairwise=self.pairwise))

    @property
    def label(self) -> str:
        return "energy distance (squared)"

    def between(self, x: Cloud, y: Cloud) -> float:
        return self._squared.between(_normalised(x), _normalised(y))


@dataclass(frozen=True, kw_only=True)
class _Transport(BetweenClouds):
    max_points: int = 5000
    max_iterations: int = 10_000_000
    seed: int = 0
    label: ClassVar[str]
    _told: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _checks.count(self.max_points, "max_points")
        _checks.count(self.max_iterations, "max_iterations")
        _checks.count(self.seed, "seed", least=0)

    def _drawn(self, x: Cloud, y: Cloud) -> str:
        """ "of 5000 drawn" where a cloud has more points than are compared, else nothing."""
        return (
            f"of {self.max_points} drawn"
            if x.dim > 1 and max(len(x), len(y)) > self.max_points
            else ""
        )

    def label_of(self, x: Any, y: Any) -> str:
        """The label; beyond `max_points` with the number of points drawn."""
        return ", ".join(filter(None, (self.label, self._drawn(*as_clouds(x, y)))))

    def _cost(self, x: Cloud, y: Cloud, power: int) -> float:
        """min over couplings P of sum_ij P_ij |x_i - y_j|^power, in float64."""
        x, y = (_normalised(cloud.double()) for cloud in (x, y))
        if x.dim == 1:
            return float(_quantile_costs(x.points.T, x, y.points.T, y, power)[0])
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
        """Points and weights; a larger cloud as `max_points` draws (systematic, in a random order
        of the points' own): max_points * m_i of each.
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
        from scipy.spatial.distance import cdist

        cost = cdist(x, y, "sqeuclidean" if power == 2 else "euclidean")
        scale = cost.max()
        if scale == 0:
            return 0.0
        with _checks.warnings_caught("ignore"):  # POT's own words for what is said below
            value, log = ot.emd2(a, b, cost / scale, numItermax=self.max_iterations, log=True)
        if log["warning"] is not None:
            _checks.warn(
                f"W{power} of {len(x)} and {len(y)} points was not solved in max_iterations ="
                f" {self.max_iterations} and is recorded as nan ({log['warning']}): raise"
                " max_iterations=, lower max_points=, or use SlicedW2()"
            )
            return math.nan
        return max(0.0, float(value)) * float(scale)


@dataclass(frozen=True, kw_only=True)
class W2(_Transport):
    """2-Wasserstein distance, the root: W2 = (min_P sum_ij P_ij |x_i - y_j|^2)^{1/2} over couplings
    P of the two clouds.

    Exact, in float64: by sorting in d = 1 for any number of points (Peyre and Cuturi 2019, remark
    2.30), else by POT's network simplex (equation 2.11). In d > 1 a cloud of more than `max_points`
    points is replaced by a random subsample of that size, drawn by mass with a fixed seed, the same
    one in every call: the value is then exact for the subsamples, and biased upwards. `label_of`
    says "of 5000 drawn" there, as do the labels in a trajectory's report, and the first such call
    of each object warns. Both clouds are normalised: total masses that differ are not compared.

    Cost about O(N M (N + M)): in the plane .2 s at 1000 points, 7 s at 5000. Memory 8 N M bytes a
    few times over.

    Parameters
    ----------
    max_points : int
        Of either cloud that are compared in d > 1.
    max_iterations : int
        Pivots of the simplex. If they do not suffice the value is nan, with a RuntimeWarning: never
        a wrong number.
    seed : int
        Of the subsample.

    Raises
    ------
    ImportError
        In d > 1, when POT is missing.
    """

    label: ClassVar[str] = "W2 (root)"

    def between(self, x: Cloud, y: Cloud) -> float:
        return math.sqrt(self._cost(x, y, 2))


@dataclass(frozen=True, kw_only=True)
class W1(_Transport):
    """1-Wasserstein (Kantorovich, earth mover's) distance: W1 = min_P sum_ij P_ij |x_i - y_j|,
    Euclidean norm, no root.

    Parameters, method, subsample, cost and errors are those of `W2`.
    """

    label: ClassVar[str] = "W1"

    def between(self, x: Cloud, y: Cloud) -> float:
        return self._cost(x, y, 1)


@dataclass(frozen=True, kw_only=True)
class SlicedW2(BetweenClouds):
    """Sliced 2-Wasserstein distance, the root: (mean over directions theta of W2^2(theta.x,
    theta.y))^{1/2} (Bonneel et al. 2015).

    Each one-dimensional W2^2 is exact, by quantiles, in float64; any N, M and masses (both
    normalised). SlicedW2 <= W2, and a translation by c gives about |c| / sqrt(d). The directions
    are fixed by the seed, so that a curve over time is smooth. In d = 1 it is W2. Cost
    O(projections (N + M) log(N + M)), no limit on the size; memory is bounded by the clouds and
    blocks of directions.
    """

    projections: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.count(self.projections, "projections")
        _checks.count(self.seed, "seed", least=0)

    @property
    def label(self) -> str:
        return "sliced W2 (root)"

    def directions(self, d: int) -> Float[Tensor, "L d"]:
        """Unit vectors, uniform on the sphere, shape (projections, d), float64; the one direction
        there is in d = 1.
        """
        if d == 1:
            return torch.ones(1, 1, dtype=torch.float64, device="cpu")
        normal = torch.from_numpy(
            np.random.default_rng(self.seed).standard_normal((self.projections, d))
        )
        return normal / normal.norm(dim=1, keepdim=True)

    def between(self, x: Cloud, y: Cloud) -> float:
        x, y = (_normalised(cloud.double()) for cloud in (x, y))
        directions = self.directions(x.dim).to(x.points.device)
        blocks = directions.split(max(1, LEVELS_AT_ONCE // (len(x) + len(y))))
        total = sum(
            float(_quantile_costs(block @ x.points.T, x, block @ y.points.T, y, 2).sum())
            for block in blocks
        )
        return math.sqrt(total / len(directions))


def _quantile_costs(
    u: Float[Tensor, "L N"], x: Cloud, v: Float[Tensor, "L M"], y: Cloud, power: int
) -> Float[Tensor, "L"]:
    """int_0^1 |F_u^{-1} - F_v^{-1}|^power for each row, u with the masses of x and v with those of
    y.

    The quantile functions are steps, constant between the merged levels of the two cumulated
    masses.
    """
    u, levels_u = _quantiles(u, x)
    v, levels_v = _quantiles(v, y)
    levels, order = torch.cat([levels_u, levels_v], dim=1).sort(dim=1, stable=True)
    from_u = (order < u.shape[1]).long()
    # Of the levels that end before an interval does, i belong to u and j to v: there the quantiles
    # are u_i and v_j.
    i = from_u.cumsum(1) - from_u
    j = torch.arange(levels.shape[1], device=levels.device) - i
    gap = u.gather(1, i.clamp_max(u.shape[1] - 1)) - v.gather(1, j.clamp_max(v.shape[1] - 1))
    widths = levels.diff(dim=1, prepend=torch.zeros_like(levels[:, :1]))
    return (widths * gap.abs() ** power).sum(1)


def _quantiles(
    u: Float[Tensor, "L N"], cloud: Cloud
) -> tuple[Float[Tensor, "L N"], Float[Tensor, "L N"]]:
    """Each row sorted, and the cumulated mass at the end of each step: the last is exactly one."""
    values, order = u.sort(dim=1)
    if cloud.log_mass is None:
        return values, (
            torch.arange(1, len(cloud) + 1, dtype=u.dtype, device=u.device) / len(cloud)
        ).expand_as(u)
    levels = cloud.mass[order].cumsum(1)
    return values, levels / levels[:, -1:]


def _normalised(cloud: Cloud) -> Cloud:
    return (
        cloud
        if cloud.log_mass is None
        else Cloud(cloud.points, log_mass=cloud.log_mass.log_softmax(0))
    )


def _integral(potential: Field, cloud: Cloud) -> float:
    """sum_i m_i potential(x_i), added up in float64."""
    return float(cloud.mass.double() @ potential.value(cloud.points).double())
