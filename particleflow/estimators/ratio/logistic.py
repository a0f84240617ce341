"""Kernel logistic regression: the log ratio as a linear function of a kernel's features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import Argument, RefusedValueError
from particleflow._typing import Gradients, Memory, Points, Queries, Values
from particleflow.clouds import Clock, Cloud, Randomness
from particleflow.estimators.base import (
    CurvedWitness,
    Fit,
    FlowDefaults,
    OneKernel,
    SmoothRatio,
    mean_descent,
    remembered,
)
from particleflow.estimators.ratio.kernel_ratio import chosen_bandwidth
from particleflow.estimators.ratio.logistic_solver import Minimum, Regression, minimise
from particleflow.kernels import (
    Bandwidth,
    FeatureMap,
    Gaussian,
    Kernel,
    Landmarks,
    Median,
    median_distance,
)
from particleflow.kernels.bandwidth import is_rule, read_off
from particleflow.kernels.declared import as_kernel_or_rule
from particleflow.kernels.explicit import CurvedMap
from particleflow.subsets import lasting_order, places

# Queries that are evaluated at once.
BLOCK = 2**14
# Penalties that are tried: 1e-1 ... 1e-6, per mean of the loss.
LAMS = tuple(10.0 ** -(k / 2) for k in range(2, 13))
# The penalty in a flow.
LAM_IN_FLOW = 1e-2
# Bandwidths that are tried, in median distances of both clouds.
WIDTHS = (0.25, 0.5, 1.0, 2.0)
# The most places of each cloud in cross-validation.
MOST_POINTS = 1000
# The folds of cross-validation.
FOLDS = 4
# The decrement that is small enough in cross-validation.
LOOSE = 1e-4


@runtime_checkable
class Features(Protocol):
    """A choice of features for a kernel on two clouds."""

    def map(
        self, kernel: Kernel, x: Points, y: Float[Tensor, "M d"], draws: Randomness
    ) -> FeatureMap: ...


@dataclass(frozen=True)
class LogisticWitness(CurvedWitness):
    """log r = features(z) . w + b, computed in float64, block by block."""

    map: FeatureMap
    weights: Float[Tensor, "D"]
    intercept: float
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        value, grad = torch.empty_like(z[:, 0]), torch.empty_like(z)
        for start in range(0, len(z), BLOCK):
            rows = z[start : start + BLOCK].double()
            value[start : start + BLOCK] = self.map.features(rows) @ self.weights + self.intercept
            grad[start : start + BLOCK] = self.map.gradient(rows, self.weights)
        return value, grad

    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        if not isinstance(self.map, CurvedMap):
            raise TypeError(
                f"`features` must know a Hessian, got {type(self.map).__name__}: take Landmarks()"
                " or RandomWaves()"
            )
        return torch.cat([self.map.hessian(rows.double(), self.weights) for rows in z.split(BLOCK)])


@dataclass(frozen=True)
class KernelLogistic(SmoothRatio, OneKernel, FlowDefaults):
    r"""Fit the log ratio by logistic regression of the target against the particles, on kernel
    features.

    .. math::

        \min_{\theta, \theta_0}\; \frac12 \sum_j b_j \log(1 + e^{-d(y_j)})
            + \frac12 \sum_i a_i \log(1 + e^{d(x_i)})
            + \frac\lambda2 \lVert \theta \rVert^2

    .. math::

        \log r(z) = d(z) = \phi(z)^T \theta + \theta_0, \qquad
        \phi(z)^T \phi(z') \approx k(z, z')

    a and b are the shares of the clouds' masses. The classes weigh the same whatever N and M, so
    that d is log r, with no prior to subtract. The logarithm of mass(y) / mass(x) is added.
    scikit-learn's LogisticRegression(C=1 / lam) with these sample weights is the same problem.
    Newton's method solves it, warm from the last weights.

    The first fit chooses the parts not given, keeps them in memory and reports them: a Gaussian
    kernel 0.25 to 2 times the median distance of both clouds wide, and lam from 1e-1 to 1e-6. The
    least loss on four folds of at most 1000 places of each cloud wins. Where these are not all
    places, lam is then multiplied by their share of all.

    In a `Flow`, the defaults are the median distance of both clouds and lam = 1e-2. Where
    clouds do not overlap, any function that separates them does well on left-out points. The
    steepest function does best, whatever its slope is between the clouds. A kernel as wide as both
    clouds has a slope there, and a large lam keeps it: as lam grows, the witness tends to the
    witness of MMD divided by 4 lam.

    `Fit.report` has `gap`, with |theta - theta*| <= sqrt(2 gap / lam), `decrement`, `iterations`,
    `lam` and `kernel`. `Fit.value` is the plug-in KL(current || target) = -mean_i log r(x_i), and
    the velocity is not its gradient. With kernel and lam given, clouds of any size serve; N and M
    may differ.

    Parameters
    ----------
    kernel : Kernel, Bandwidth or None
        A rule of `particleflow.kernels`: a Gaussian whose bandwidth the rule reads off both clouds,
        with half of the mass each, at the first fit. None: a Gaussian whose bandwidth is chosen.
    lam : float, optional
        The weight of the penalty. The loss is a mean, so 1 / lam counts samples. It is raised to
        some 1e-14 (`Regression.least_lam`) where float64 needs that; the report tells the one used.
    features : Landmarks or RandomWaves
        Of `particleflow.kernels`, or anything with map(kernel, x, y, draws).
    rtol : float
        Newton's decrement at which it has converged.
    max_iterations : int
        Newton iterations. When they do not suffice, `converged` is False.

    Raises
    ------
    TypeError
        `kernel` or `features` is of another type.
    ValueError
        `lam` or `rtol` is not > 0, or `max_iterations` < 1. At a fit: a part is to be chosen and a
        cloud has a single place.

    Cost: with D features, O((N + M) D^2) for an iteration, memory O((N + M) D), a query O(D (D +
    d)).

    Source: Sugiyama, Suzuki and Kanamori (2012), chapter 4; Zhu and Hastie (2005).

    Three of four particles are at 0, and half of the target: r is 2/3 there, and 2 at 5.

    >>> logistic = pf.estimators.KernelLogistic(pf.kernels.Gaussian(1.0), lam=1e-6)
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(logistic, x, y)
    >>> fit.witness.value_and_grad(torch.tensor(y))[0].exp()
    tensor([0.6667, 2.0000])
    """

    kernel: Kernel | Bandwidth | None = None
    lam: float | None = field(default=None, kw_only=True)
    features: Features = field(default=Landmarks(), kw_only=True)
    rtol: float = field(default=1e-10, kw_only=True)
    max_iterations: int = field(default=100, kw_only=True)

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", as_kernel_or_rule(self.kernel))
        if self.lam is not None:
            remedy = "it is the weight of the penalty; leave it out to have it chosen"
            object.__setattr__(self, "lam", _checks.positive(self.lam, "lam", remedy=remedy))
        if isinstance(self.features, type) or not isinstance(self.features, Features):
            raise TypeError(
                f"`features` must have map(kernel, x, y, draws), got {self.features!r}: e.g."
                " pf.kernels.Landmarks(100)"
            )
        object.__setattr__(self, "rtol", _checks.positive(self.rtol, "rtol"))
        object.__setattr__(
            self, "max_iterations", _checks.count(self.max_iterations, "max_iterations")
        )

    def in_flow(self) -> KernelLogistic:
        """The same estimator, with the median distance and lam = 1e-2 where none are given."""
        return replace(
            self,
            kernel=Median() if self.kernel is None else self.kernel,
            lam=LAM_IN_FLOW if self.lam is None else self.lam,
        )

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        current, target = _with_mass(x.double()), _with_mass(y.double())
        kernel, lam = self._chosen(current, target, clock.draws, memory)
        order = lasting_order(x, memory.get("order"))
        features = self.features.map(
            kernel, _with_mass(_rows(x.double(), order)).points, target.points, clock.draws
        )
        problem = regression(features, current, target)
        kept = {**self._kept(kernel, lam), "order": order}
        lam = max(lam, problem.least_lam)
        found = self._solve(problem, lam, memory.get("weights"))
        gap = problem.gap(found.u, lam)
        ratio = float(torch.log(target.mass.sum() / current.mass.sum()))
        witness = LogisticWitness(features, found.u[:-1], float(found.u[-1]) + ratio)
        report: dict[str, object] = {
            "converged": found.decrement <= self.rtol,
            "gap": gap,
            "decrement": found.decrement,
            "iterations": found.iterations,
            "lam": lam,
            "kernel": repr(kernel),
        }
        if not report["converged"]:
            report["remedy"] = "raise lam or max_iterations"
        return Fit(
            witness,
            {**kept, "weights": found.u},
            report,
            objective=partial(mean_descent, witness, x),
        )

    def _solve(self, problem: Regression, lam: float, start: Tensor | None) -> Minimum:
        """The minimum, from `start` where that is better than zero."""
        best = zero = problem.features.new_zeros(problem.features.shape[1] + 1)
        if start is not None and start.shape == zero.shape:
            start = start.to(zero)
            if problem.value(start, lam) < problem.value(zero, lam):
                best = start
        return minimise(problem, lam, best, self.rtol, self.max_iterations)

    def _kept(self, kernel: Kernel, lam: float) -> Memory:
        """The chosen kernel and lam, for the memory."""
        chosen = chosen_bandwidth(self.kernel, kernel)
        if self.lam is None:
            chosen["lam"] = lam
        return {name: remembered(value) for name, value in chosen.items()}

    def _chosen(
        self, x: Cloud, y: Cloud, draws: Randomness, memory: Memory
    ) -> tuple[Kernel, float]:
        """Kernel and lam: given, kept, or chosen by the least loss on left-out points."""
        kernel = self.kernel if isinstance(self.kernel, Kernel) else None
        if kernel is None and "bandwidth" in memory:
            kernel = Gaussian(float(memory["bandwidth"]))
        elif is_rule(self.kernel):
            kernel = Gaussian(read_off("`x` and `y`", partial(self.kernel.of, _both(x, y))))
        lam = float(memory["lam"]) if self.lam is None and "lam" in memory else self.lam
        if kernel is not None and lam is not None:
            return kernel, lam
        n = sum(len(places(cloud)[0]) for cloud in (x, y))
        x, y = _part(x), _part(y)
        if min(len(x), len(y)) < 2:
            told = " are chosen from two places of each cloud or more"
            both = Argument("lam"), " and ", Argument("kernel"), told
            raise RefusedValueError("lam", both, f"{len(x)} and {len(y)}", "pass both")
        if kernel is None:
            scale = read_off("`x` and `y`", partial(median_distance, _both(x, y)))
        kernels = [Gaussian(scale * width) for width in WIDTHS] if kernel is None else [kernel]
        lams = LAMS if lam is None else (lam,)
        losses: dict[tuple[Kernel, float], float] = {}
        for kernel in kernels:
            losses |= {
                (kernel, lam): loss
                for lam, loss in zip(lams, self._left_out(kernel, lams, x, y, draws), strict=True)
            }
        best, chosen = min(losses, key=losses.__getitem__)
        return best, chosen * (len(x) + len(y)) / n if lam is None else chosen

    def _left_out(
        self, kernel: Kernel, lams: tuple[float, ...], x: Cloud, y: Cloud, draws: Randomness
    ) -> list[float]:
        """For each lam, the sum over the folds of the loss there of a fit to the other folds."""
        totals = [0.0] * len(lams)
        folds = min(FOLDS, len(x), len(y))
        for fold in range(folds):
            (x_in, x_out), (y_in, y_out) = _split(x, fold, folds), _split(y, fold, folds)
            features = self.features.map(kernel, x_in.points, y_in.points, draws)
            seen, unseen = regression(features, x_in, y_in), regression(features, x_out, y_out)
            u = seen.features.new_zeros(seen.features.shape[1] + 1)
            for k, lam in enumerate(lams):
                u = minimise(seen, max(lam, seen.least_lam), u, LOOSE, self.max_iterations).u
                totals[k] += unseen.loss(unseen.scores(u))
        return totals


def regression(features: FeatureMap, x: Cloud, y: Cloud) -> Regression:
    """Target points (t = 1) against current ones (t = -1), with half of the weight each."""
    points = torch.cat([x.points, y.points])
    signs = torch.cat([torch.full_like(x.mass, -1.0), torch.ones_like(y.mass)])
    return Regression(
        features.features(points),
        signs,
        0.5 * torch.cat([x.mass / x.mass.sum(), y.mass / y.mass.sum()]),
    )


def _both(x: Cloud, y: Cloud) -> Cloud:
    """The points of both clouds, with half of the mass each."""
    shares = [0.5 * cloud.mass / cloud.mass.sum() for cloud in (x, y)]
    return Cloud(torch.cat([x.points, y.points]), mass=torch.cat(shares))


def _with_mass(cloud: Cloud) -> Cloud:
    """The points that have mass."""
    if cloud.log_mass is None or bool((cloud.mass > 0).all()):
        return cloud
    return _rows(cloud, torch.nonzero(cloud.mass > 0)[:, 0])


def _part(cloud: Cloud) -> Cloud:
    """At most MOST_POINTS places, so that a point's repeats are left out with it."""
    points, share = places(cloud, MOST_POINTS)
    return Cloud(points, mass=share)


def _split(cloud: Cloud, fold: int, folds: int) -> tuple[Cloud, Cloud]:
    """The points outside a fold, and those in it: every folds-th one."""
    held_out = torch.arange(len(cloud), device="cpu") % folds == fold
    return _rows(cloud, torch.nonzero(~held_out)[:, 0]), _rows(cloud, torch.nonzero(held_out)[:, 0])


def _rows(cloud: Cloud, rows: Tensor) -> Cloud:
    rows = rows.to(cloud.points.device)
    return replace(
        cloud,
        points=cloud.points[rows],
        log_mass=None if cloud.log_mass is None else cloud.log_mass[rows],
    )
