"""The permutation test of MMD^2: do two samples come from one distribution?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._supplied import Supplied
from particleflow._typing import Points
from particleflow.clouds import Cloud, as_clouds
from particleflow.kernels import FeatureKernel, Gaussian, Kernel, ScaledKernel, median_distance
from particleflow.kernels.bandwidth import read_off
from particleflow.kernels.explicit import as_summable
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.subsets import in_own_order

# Most points of both clouds that are compared. Their Gram matrix takes 128 MB.
MOST = 4000
# Rows of the Gram matrix that are computed at once, to bound the memory of a kernel's own steps.
ROWS = 250
# Permutations whose statistics are computed by one product of matrices.
BLOCK = 250
# p-values up to this one are called different in words, as is usual.
LEVEL = 0.05
# Rounding of a statistic, as a share of the largest entry of the Gram matrix. Closer ones are tied.
ROUNDING = 1e-12
# Relative differences of masses up to which they count as equal: the rounding of float32.
EQUAL = 1e-5


@dataclass(frozen=True)
class TwoSample:
    """The answer of `two_sample`; printed, it is one line.

    Attributes
    ----------
    statistic : float
        MMD^2 of the points compared, the V-statistic of `MMD2`.
    p_value : float
        (1 + number of permutations with at least this MMD^2) / (1 + permutations).
    bandwidth : float or None
        That of the kernel, in units of the coordinates; None for a kernel without one.
    n : int
        The size of the cloud x.
    m : int
        The size of the cloud y.
    permutations : int
        The number of permutations that were drawn.
    compared : (int, int)
        The points of x and of y that were compared. They are fewer than (n, m) for large clouds.
    """

    statistic: float
    p_value: float
    bandwidth: float | None
    n: int
    m: int
    permutations: int
    compared: tuple[int, int]

    def __str__(self) -> str:
        verdict = "different" if self.p_value <= LEVEL else "no difference seen"
        drawn = (
            ""
            if self.compared == (self.n, self.m)
            else f", {self.compared[0]} of {self.n} and {self.compared[1]} of {self.m} points drawn"
        )
        return (
            f"{verdict}: MMD^2 {self.statistic:.2g}, p = {self.p_value:.2g}"
            f" ({self.permutations} permutations{drawn})"
        )


def two_sample(
    x: Any,
    y: Any,
    *,
    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> TwoSample:
    r"""Test whether two clouds are samples of one distribution: have these clouds moved?

    .. math::

        p = \frac{1 + \#\{\text{permuted } \text{MMD}^2 \ge \text{MMD}^2\}}
                 {1 + \text{permutations}}

    The statistic is MMD^2 between x and y (`MMD2`). It is compared with its values after random
    permutations of the pooled points, the first n of which stand for x. For samples of one
    distribution :math:`P(p \le a) \le a` for every level a, at any sizes n and m, over random
    points and seeds.

    The points of a cloud must be independent. Particles of an interacting flow are nearer to the
    target than a sample is, so a large p says no more than "not told apart". The V-statistic is
    taken since it is what an MMD flow descends, and >= 0. Its bias is in the permuted values too,
    so it does not change the level. The order of the rows does not matter, nor does the order of x
    and y. It is computed in float64.

    Parameters
    ----------
    x, y : (n, d) and (m, d) tensor, array or Cloud
        The samples. Clouds must have equal masses, since a permutation exchanges points.
    kernel : Kernel, FeatureKernel, or callable of s = |x - y|^2, optional
        By default Gaussian with the median distance of the pooled points. A smaller bandwidth sees
        finer structure, and shifts less well. It must not be chosen by comparing x with y: the test
        would find what was looked for.
    permutations : int
        Their number, >= 1. The least p is 1 / (1 + permutations).
    seed : int
        The source of all random numbers, >= 0.

    Returns
    -------
    TwoSample
        `statistic` is MMD^2 and `p_value` is p. Printed, it is a line, which says "different" up to
        p = 0.05.

    Raises
    ------
    TypeError
        x or y is not numeric, the dtypes of two tensors differ, `kernel` is no kernel and no
        callable, or `permutations` or `seed` is no integer.
    ValueError
        Masses are unequal, or all points are in one place and no kernel is given. Or x or y is not
        (n, d), empty or not finite, or their dimensions differ. Or the kernel has values that are
        not finite, `permutations` is < 1, or `seed` < 0.

    Cost: O((n + m)^2 permutations), by products of matrices: on one core 0.1 s for 500 points in
    all, 5 s for 4000. Of more than 4000 a part is drawn: at least 2000 of each cloud, or all that
    it has.

    Source: Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), equation 5; p as in Phipson and
    Smyth (2010).

    >>> x = pf.samplers.Gaussian(dim=2).sample(80, seed=0)
    >>> y = pf.samplers.Gaussian(dim=2).sample(100, seed=1)
    >>> print(pf.metrics.two_sample(x, y + 1))
    different: MMD^2 0.21, p = 0.001 (999 permutations)
    >>> bool(pf.metrics.two_sample(x, y).p_value > 0.05)
    True
    """
    clouds = as_clouds(x, y)
    permutations = _checks.count(permutations, "permutations")
    seed = _checks.count(seed, "seed", least=0)
    if kernel is not None:
        kernel = as_summable(kernel)
    first, second = (_equal_masses(cloud, name) for cloud, name in zip(clouds, "xy", strict=True))
    swapped = _key(second) < _key(first)
    rng = np.random.default_rng(seed)
    # the same cloud is drawn from first whichever came as x
    few, many = (second, first) if swapped else (first, second)
    few, many = _drawn(few, len(many), rng), _drawn(many, len(few), rng)
    points = torch.cat([few, many])
    # the permutations are of rows in an order of their own, not in that of the caller
    order = in_own_order(Cloud(points))
    points = points[torch.from_numpy(order).to(points.device)]
    if kernel is None:
        kernel = Gaussian(read_off("`x` and `y`", lambda: median_distance(points)))
    gram = _gram(kernel, points, clouds[0].points.dtype)
    statistic = float(_statistics(gram, order[None] < len(few))[0])
    if not math.isfinite(statistic):
        raise RefusedValueError(
            "kernel", "must have finite values", f"MMD^2 = {statistic}", "pass another kernel"
        )
    least = statistic - ROUNDING * float(gram.abs().max())
    above = 0
    for start in range(0, permutations, BLOCK):
        labels = np.zeros((min(BLOCK, permutations - start), len(points)), dtype=bool)
        labels[:, : len(few)] = True
        above += int((_statistics(gram, rng.permuted(labels, axis=1)) >= least).sum())
    return TwoSample(
        statistic=statistic,
        p_value=(1 + above) / (1 + permutations),
        bandwidth=float(kernel.bandwidth) if isinstance(kernel, ScaledKernel) else None,
        n=len(first),
        m=len(second),
        permutations=permutations,
        compared=(len(many), len(few)) if swapped else (len(few), len(many)),
    )


def _equal_masses(cloud: Cloud, name: str) -> Points:
    """The points of a cloud of equal masses, in float64."""
    mass = cloud.mass.double()
    if float(mass.max()) > (1 + EQUAL) * float(mass.min()):
        raise RefusedValueError(
            name,
            "must have equal masses, since a permutation exchanges points",
            _checks.said(cloud),
            f"pass {name}.points if the masses do not matter",
        )
    return cloud.points.double()


def _key(points: Points) -> tuple[int, bytes]:
    """What puts two clouds in an order that does not depend on which of them came first."""
    rows = torch.from_numpy(in_own_order(Cloud(points))).to(points.device)
    return len(points), points[rows].cpu().numpy().tobytes()


def _drawn(points: Points, others: int, rng: np.random.Generator) -> Float[Tensor, "S d"]:
    """The points of a cloud that are compared with `others` points of the other cloud."""
    most = max(MOST // 2, MOST - others)
    if len(points) <= most:
        return points
    rows = rng.choice(in_own_order(Cloud(points)), most, replace=False)
    return points[torch.from_numpy(rows).to(points.device)]


def _gram(
    kernel: Kernel | FeatureKernel, points: Points, dtype: torch.dtype
) -> Float[Tensor, "N N"]:
    """k(x_i, x_j) of all pairs; features are computed in the `dtype` that the clouds came in."""
    if isinstance(kernel, FeatureKernel):
        with Supplied("kernel", kernel):
            features = kernel.map.features(points.to(dtype)).double()
        return features @ features.T
    gram = points.new_empty((len(points), len(points)))
    for rows in torch.arange(len(points), device="cpu").split(ROWS):
        gram[rows] = kernel_matrix(kernel, points[rows], points)
    return gram


def _statistics(gram: Float[Tensor, "N N"], labels: Bool[np.ndarray, "B N"]) -> Float[Tensor, "B"]:
    """MMD^2 between the points that have a label and the others, for each row of labels."""
    one = int(labels[0].sum())
    signs = torch.from_numpy(np.where(labels.T, 1 / one, -1 / (labels.shape[1] - one)))
    signs = signs.to(gram.device)
    return (signs * (gram @ signs)).sum(0)
