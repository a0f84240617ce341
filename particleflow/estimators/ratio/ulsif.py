"""Least-squares fits of the density ratio: uLSIF, and of the relative ratio: RuLSIF."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import (
    CurvedWitness,
    Fit,
    FlowDefaults,
    OneKernel,
    SmoothRatio,
    remembered,
)
from particleflow.estimators.ratio.kernel_ratio import (
    IN_FLOW,
    Aim,
    KernelRatioWitness,
    candidates,
    chosen_bandwidth,
    kernel_ratio,
    normalised,
    positive_kernel,
)
from particleflow.estimators.ratio.least_squares import LeastSquares, System, ridges
from particleflow.estimators.ratio.nonnegative import least_ridge
from particleflow.kept import Kept
from particleflow.kernels import Bandwidth, Kernel
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.pairwise.base import check_backend
from particleflow.subsets import places

# The ridge in a flow, in units of H.
LAM_IN_FLOW = 1e-2
# Places of each cloud that are left out, one at a time, to score lam and bandwidth.
LEFT_OUT = 2048
# The relative error of theta, in the norm of the objective, at which a fit has converged.
RTOL = 1e-8


@dataclass(frozen=True)
class _KernelLeastSquares(SmoothRatio, OneKernel, FlowDefaults):
    """The part that ULSIF and RuLSIF share."""

    kernel: Kernel | Bandwidth | None = None
    lam: float | None = field(default=None, kw_only=True)
    centres: int = field(default=100, kw_only=True)
    rounded: bool = field(default=False, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(), kw_only=True)
    _aim: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)
    _system: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", positive_kernel(self.kernel))
        if self.lam is not None:
            remedy = "it is the ridge; None chooses it from the data"
            object.__setattr__(self, "lam", _checks.positive(self.lam, "lam", remedy=remedy))
        object.__setattr__(self, "centres", _checks.count(self.centres, "centres"))
        _checks.flag(self.rounded, "rounded")
        check_backend(self.pairwise)

    def in_flow(self) -> _KernelLeastSquares:
        """The same estimator, with `default_bandwidth` and lam = 1e-2 where none are given."""
        return replace(
            self,
            kernel=IN_FLOW if self.kernel is None else self.kernel,
            lam=LAM_IN_FLOW if self.lam is None else self.lam,
        )

    @property
    @abstractmethod
    def _alpha(self) -> float:
        """The target's share in the distribution m under which r is squared."""

    @abstractmethod
    def _witness(
        self, ratio: KernelRatioWitness, log_scale: float
    ) -> KernelRatioWitness | RelativeWitness:
        """log r, from the fitted ratio of the normalised clouds and log(mass y / mass x)."""

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        points, a, log_x = normalised(x)
        aim: Aim = self._aim.get(y, lambda: Aim.of(y, self.centres))
        centres = aim.centres
        kernels = candidates(self.kernel, y, memory)
        lams = ridges(a, aim.sample[1]) if self.lam is None else (self.lam,)
        if self.lam is None and "lam" in memory:
            lams = (float(memory["lam"]),)
        report: dict[str, Any] = {}
        kernel, lam = kernels[0], lams[0]
        problem = LeastSquares(self._alpha, self.rounded)
        if len(kernels) * len(lams) > 1:
            parts = places(x, LEFT_OUT), places(y, LEFT_OUT)
            kernel, lam, report["score"] = problem.choose(
                kernels, lams, (points, a), aim.sample, centres, parts
            )
        of_target: System = self._system.get(
            y, lambda: problem.of_target(kernel, aim.sample, centres), of=kernel
        )
        h, matrix = problem.system(kernel, (points, a), of_target, centres)
        chosen = {"lam": lam, **chosen_bandwidth(self.kernel, kernel)}
        lam = max(lam, least_ridge(matrix, h))
        start = memory.get("theta")
        solved = problem.solve(h, matrix, lam, None if start is None else start.cpu())
        theta = solved.theta
        if not self.rounded:
            gap = float(solved.slope.square().sum()) / (2 * lam)
            report |= {
                "converged": gap <= RTOL**2 * float(h @ theta) / 2,
                "gap": gap,
                "iterations": solved.iterations,
            }
        ratio = kernel_ratio(kernel, centres, theta.log().to(centres), self.pairwise)
        report |= {**chosen, "lam": lam, "centres": len(centres)}
        chi2 = float(2 * (h @ theta) - theta @ matrix @ theta) - 1
        return Fit(
            self._witness(ratio, aim.log_mass - log_x),
            {**{name: remembered(value) for name, value in chosen.items()}, "theta": theta},
            {**report, **ratio.field.explain(x.points.double())},
            objective=lambda: chi2,
        )


@dataclass(frozen=True)
class ULSIF(_KernelLeastSquares):
    r"""Fit the ratio target / current by least squares: unconstrained least-squares importance
    fitting.

    .. math::

        \min_{\theta \ge 0}\; \frac12 \theta^T H \theta - h^T \theta
            + \frac\lambda2 \lVert \theta \rVert^2, \qquad
        r = \sum_{l=1}^{L} \theta_l\, k(\cdot, c_l)

    .. math::

        H = \sum_i a_i\, k(x_i, c)\, k(x_i, c)^T, \qquad
        h = \sum_j b_j\, k(y_j, c)

    a and b are the shares of the clouds' masses. The witness is log r. Without the ridge the
    objective is -J, where J = E_p r - E_q r^2 / 2 is that of `losses.ULSIF`; -J is E_q (r - p /
    q)^2 / 2 but for a constant. The centres c (L, d) are `centres` of the target's places, drawn
    with a fixed seed. Since theta >= 0, log r and its gradient are finite everywhere.

    An active set solves the programme. The report certifies it: F(theta) - F* <= |g|^2 / (2 lam) =
    `gap`, where g is the slope on the positive entries and its negative part on the others.
    `converged` says gap <= 1e-16 |F|.

    The first fit chooses the parts not given, keeps them in memory and reports them: a Gaussian's
    bandwidth among 2^-3 .. 2 median distances of the target, and lam among 1 / min(N, M) .. 10. The
    least leave-one-out score wins (`least_squares.leave_one_out`). At most 2048 places of each
    cloud are left out, a point together with its repeats. The search goes from wide and smooth to
    narrow and rough until two in a row are worse.

    In a `Flow`, the defaults are `default_bandwidth` of the target and lam = 1e-2. Where clouds
    hardly overlap, many ratios tell them apart. A score of left-out points prefers the smoothest of
    these ratios, which is flat between the parts of a target or rises away from them.

    r resolves no more than its L kernels do: with more points the error of log r falls until the
    distance between the centres limits it. Where chi^2 is large or infinite, hardly any point of q
    lies where r^2 is large, and r is noisy: take `RuLSIF` there.

    `Fit.value` is 2 J - 1, an estimate of chi^2(p || q) of the normalised clouds; the velocity is
    not its gradient. With kernel and lam given, clouds of any size serve; N and M may differ.

    Parameters
    ----------
    kernel : Kernel, Bandwidth or None
        Positive: Gaussian, Laplace, Matern32, Matern52, IMQ or Cauchy. A rule of
        `particleflow.kernels`: a Gaussian whose bandwidth the rule reads off the target at the
        first fit. None: a Gaussian whose bandwidth is chosen.
    lam : float, optional
        The ridge, > 0, in units of H, whose diagonal is at most k(0)^2. It is raised to 1e-13 of
        H's largest row sum, where float64 needs that; the report tells the one used.
    centres : int
        L, the most centres.
    rounded : bool
        True: the published rule max(0, (H + lam I)^-1 h), one linear system and no optimum.
    pairwise : PairwiseSum
        The backend of the sums at the queries. `Auto()`: errors of at most 1e-5.

    Raises
    ------
    TypeError
        `kernel` is not positive, or an argument is of another type.
    ValueError
        `lam` is not > 0, or `centres` < 1. At a fit: a part is to be chosen and a cloud, `x` or
        `y`, has a single place, or most points of `y` coincide.

    Cost: O((N + M) L (L + d)) a fit. The first takes some ten times that, and O(2048 L^2) for each
    of some 40 scores. A query costs O(L d).

    Source: Kanamori, Hido and Sugiyama (2009).

    Three of four particles are at 0, and half of the target: r is 2/3 there, and 2 at 5. The value
    is chi^2(p || q) = 1/3.

    >>> ulsif = pf.estimators.ULSIF(pf.kernels.Gaussian(1.0), lam=1e-6)
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(ulsif, x, y)
    >>> fit.witness.value_and_grad(torch.tensor(y))[0].exp()
    tensor([0.6667, 2.0000])
    >>> round(fit.value, 4)
    0.3333
    """

    _alpha: ClassVar[float] = 0.0

    def _witness(self, ratio: KernelRatioWitness, log_scale: float) -> KernelRatioWitness:
        return replace(ratio, shift=ratio.shift + log_scale)


@dataclass(frozen=True, eq=False)
class RelativeWitness(CurvedWitness):
    """log r = g(log r_a), r_a a relative ratio.

        g(s) = s + log(1 - alpha) - log(1 - alpha e^s)    up to alpha e^s = ceiling

    Beyond, r_a hardly determines r, or exceeds 1 / alpha, which no relative ratio does. There g
    goes on along its tangent, of slope 1 / (1 - ceiling). So g is finite and increases everywhere.
    """

    relative: KernelRatioWitness
    alpha: float
    ceiling: float
    shift: float
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        s, grad = self.relative.value_and_grad(z.double())
        if self.alpha > 0:
            last = math.log(self.ceiling / self.alpha)
            slope = 1 / (1 - self.alpha * s.clamp_max(last).exp())
            s, grad = (
                s.clamp_max(last) + slope.log() + (s - last).clamp_min(0.0) / (1 - self.ceiling),
                slope[:, None] * grad,
            )
        return (s + math.log1p(-self.alpha) + self.shift).to(z.dtype), grad.to(z.dtype)

    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        """g' Hess s + g'' grad s grad s', g' = 1 / (1 - alpha e^s), g'' = g' (g' - 1); 0 beyond."""
        curved = self.relative.hessian(z)
        if self.alpha == 0:
            return curved
        s, grad = self.relative.value_and_grad(z.double())
        last = math.log(self.ceiling / self.alpha)
        slope = 1 / (1 - self.alpha * s.clamp_max(last).exp())
        bend = torch.where(s < last, slope * (slope - 1), 0.0)
        outer = grad[:, :, None] * grad[:, None, :]
        return slope[:, None, None] * curved + bend[:, None, None] * outer


@dataclass(frozen=True)
class RuLSIF(_KernelLeastSquares):
    r"""Fit the relative ratio r_a = p / m by least squares, which is bounded where p / q is not.

    .. math::

        m = \alpha p + (1 - \alpha) q, \qquad
        r_\alpha = \sum_l \theta_l\, k(\cdot, c_l)

    .. math::

        H = \alpha \sum_j b_j\, k(y_j, c)\, k(y_j, c)^T
            + (1 - \alpha) \sum_i a_i\, k(x_i, c)\, k(x_i, c)^T

    All else is as in `ULSIF`. :math:`r_\alpha < 1 / \alpha` is easier to learn than p / q. The
    witness is log r of the plain ratio

    .. math::

        r = \frac{(1 - \alpha)\, r_\alpha}{1 - \alpha\, r_\alpha}

    Beyond alpha r_a = `ceiling` it goes on along its tangent (`RelativeWitness`). `Fit.value` is 2
    J - 1, an estimate of chi^2(p || m), twice the relative Pearson divergence of the paper; the
    velocity is not its gradient. alpha = 0 is `ULSIF`. With kernel and lam given, clouds of any
    size serve; N and M may differ.

    Parameters
    ----------
    kernel : Kernel, Bandwidth or None
        Positive, or a rule for a Gaussian's bandwidth, or None to have that chosen, as in `ULSIF`.
    lam : float, optional
        The ridge, > 0, in units of H. None: chosen, and 1e-2 in a `Flow`.
    centres : int
        L, the most centres.
    rounded : bool
        True: the published rule max(0, (H + lam I)^-1 h), no optimum.
    pairwise : PairwiseSum
        The backend of the sums at the queries. `Auto()`: errors of at most 1e-5.
    alpha : float
        The target's share of m, 0 <= alpha < 1.
    ceiling : float
        The alpha r_a from which log r goes on along its tangent, 0 < ceiling < 1.

    Raises
    ------
    TypeError
        `kernel` is not positive, or an argument is of another type.
    ValueError
        `alpha` is not in [0, 1), `ceiling` not in (0, 1), `lam` not > 0, or `centres` < 1. At a
        fit: a part is to be chosen and a cloud, `x` or `y`, has a single place.

    Cost: as `ULSIF`.

    Source: Yamada, Suzuki, Kanamori, Hachiya and Sugiyama (2011).

    With alpha = 1/2 and these masses, (0.75, 0.25) of q and (0.5, 0.5) of p, chi^2(p || m) is 1/15:

    >>> k = pf.kernels.Gaussian(1.0)
    >>> rulsif = pf.estimators.RuLSIF(k, lam=1e-6, alpha=0.5)
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(rulsif, x, y)
    >>> round(15 * fit.value, 4)
    1.0
    >>> fit.witness.value_and_grad(torch.tensor(y))[0].exp()  # p / q
    tensor([0.6667, 2.0000])
    """

    alpha: float = field(default=0.1, kw_only=True)
    ceiling: float = field(default=0.95, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "alpha", _checks.non_negative(self.alpha, "alpha"))
        object.__setattr__(self, "ceiling", _checks.positive(self.ceiling, "ceiling"))
        for name, remedy in (
            ("alpha", "it is the target's share of the mixture, e.g. 0.1"),
            ("ceiling", "it cuts alpha r_a, e.g. 0.95"),
        ):
            if getattr(self, name) >= 1:
                raise ValueError(f"`{name}` must be < 1, got {getattr(self, name):g}: {remedy}")

    @property
    def _alpha(self) -> float:
        return self.alpha

    def _witness(self, ratio: KernelRatioWitness, log_scale: float) -> RelativeWitness:
        return RelativeWitness(ratio, self.alpha, self.ceiling, log_scale)
