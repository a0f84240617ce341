"""The maximum-likelihood fit of the kernel model: KLIEP."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit, FlowDefaults, OneKernel, SmoothRatio, remembered
from particleflow.estimators.ratio.kernel_ratio import (
    IN_FLOW,
    Aim,
    Sample,
    candidates,
    chosen_bandwidth,
    kernel_ratio,
    log_kernel_matrix,
    normalised,
    positive_kernel,
)
from particleflow.estimators.ratio.mixture import Mixture, mixture_weights
from particleflow.kept import Kept
from particleflow.kernels import Bandwidth, Kernel
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.pairwise.base import check_backend
from particleflow.subsets import places

# Places of each cloud that the choice of the bandwidth looks at.
SCORED = 2048


@dataclass(frozen=True)
class KLIEP(SmoothRatio, OneKernel, FlowDefaults):
    r"""Fit the ratio target / current of largest likelihood: KL importance estimation.

    .. math::

        \max_{\theta \ge 0}\; \sum_j b_j \log r(y_j)
        \quad \text{under} \quad \sum_i a_i\, r(x_i) = 1, \qquad
        r = \sum_{l=1}^{L} \theta_l\, k(\cdot, c_l)

    a and b are the shares of the clouds' masses. The witness is log r. The centres c (L, d) are
    `centres` of the target's places, drawn with a fixed seed. Since theta >= 0, log r and its
    gradient are finite everywhere.

    With theta_l = alpha_l / g_l, g_l = sum_i a_i k(x_i, c_l), alpha lies on the simplex. It is the
    vector of weights of a mixture, found by Newton's method with an active set
    (`mixture.mixture_weights`). The report certifies it: the largest likelihood exceeds the one
    found by `gap` at most. g is kept as a logarithm, so that any distance between the clouds is
    allowed.

    Without a kernel, the bandwidth of a Gaussian is chosen at the first fit, kept in memory and
    reported. Candidates are 2^-3 .. 2 median distances of the target. The score is
    sum_j b_j log r(y_j) - sum_i a_i r(x_i) + 1. It is a mean over the folds, each of which is held
    out in turn: a fifth of at most 2048 places of each cloud, where a point goes with its repeats.
    (The paper holds out the target alone: a ratio that explodes beyond the particles then wins.) In
    a `Flow` the bandwidth is `default_bandwidth` of the target, since the score prefers wide
    kernels where the clouds hardly overlap.

    `Fit.value` is sum_j b_j log r(y_j), an estimate of KL(p || q) of the normalised clouds; the
    velocity is not its gradient. With a kernel, clouds of any size serve; N and M may differ.

    Parameters
    ----------
    kernel : Kernel, Bandwidth or None
        Positive: Gaussian, Laplace, Matern32, Matern52, IMQ or Cauchy. A rule of
        `particleflow.kernels`: a Gaussian whose bandwidth the rule reads off the target at the
        first fit. None: a Gaussian whose bandwidth is chosen.
    centres : int
        L, the most centres.
    folds : int
        The number of folds of the cross-validation, at least 2; refused beside a `kernel`.
    max_iterations : int
        Newton iterations. When they do not suffice, `converged` is False.
    pairwise : PairwiseSum
        The backend of the sums at the queries. `Auto()`: errors of at most 1e-5.

    Raises
    ------
    TypeError
        `kernel` is not positive, or an argument is of another type.
    ValueError
        `folds` are given beside a kernel, or a count is too small. At a fit: the bandwidth is to be
        chosen and a cloud, `x` or `y`, has a single place, or most points of `y` coincide.

    Cost: O(M L^2) for each of some ten Newton iterations, and O(N L d). A query costs O(L d).

    Source: Sugiyama, Suzuki, Nakajima, Kashima, von Buenau and Kawanabe (2008).

    Three of four particles are at 0, and half of the target: r is 2/3 there, and 2 at 5. The value
    is KL(p || q) = log(4/3) / 2.

    >>> kliep = pf.estimators.KLIEP(pf.kernels.Gaussian(1.0))
    >>> x, y = [[0.0], [0.0], [0.0], [5.0]], [[0.0], [5.0]]
    >>> fit = pf.fit(kliep, x, y)
    >>> fit.witness.value_and_grad(torch.tensor(y))[0].exp()
    tensor([0.6667, 2.0000])
    >>> round(fit.value, 4)
    0.1438
    """

    kernel: Kernel | Bandwidth | None = None
    centres: int = field(default=100, kw_only=True)
    folds: int = field(default=5, kw_only=True)
    max_iterations: int = field(default=100, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(), kw_only=True)
    _aim: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", positive_kernel(self.kernel))
        object.__setattr__(self, "centres", _checks.count(self.centres, "centres"))
        object.__setattr__(self, "folds", _checks.count(self.folds, "folds", least=2))
        if self.kernel is not None and self.folds != type(self).folds:
            raise ValueError(
                f"`folds` choose a bandwidth, got {self.folds} with kernel={self.kernel}: leave one"
                " of them out"
            )
        object.__setattr__(
            self, "max_iterations", _checks.count(self.max_iterations, "max_iterations")
        )
        check_backend(self.pairwise)

    def in_flow(self) -> KLIEP:
        """The same estimator, with `default_bandwidth` of the target where there is no kernel."""
        return replace(self, kernel=IN_FLOW) if self.kernel is None else self

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        points, a, log_x = normalised(x)
        aim: Aim = self._aim.get(y, lambda: Aim.of(y, self.centres))
        centres = aim.centres
        kernels = candidates(self.kernel, y, memory)
        report: dict[str, Any] = {}
        kernel, warm = kernels[0], memory.get("alpha")
        if len(kernels) > 1:
            report["score"], kernel, warm = self._choose(
                kernels, places(x, SCORED), places(y, SCORED), centres
            )
        start = warm.to(centres) if warm is not None and len(warm) == len(centres) else None
        log_g, found, likelihood = self._solve(kernel, (points, a), aim.sample, centres, start)
        ratio = kernel_ratio(
            kernel, centres, found.alpha.log() - log_g + (aim.log_mass - log_x), self.pairwise
        )
        chosen = chosen_bandwidth(self.kernel, kernel)
        report |= {
            **chosen,
            "converged": found.converged,
            "gap": found.gap,
            "iterations": found.iterations,
            "centres": len(centres),
            **ratio.field.explain(x.points.double()),
        }
        kept = {name: remembered(value) for name, value in chosen.items()}
        return Fit(ratio, {**kept, "alpha": found.alpha}, report, objective=lambda: likelihood)

    def _solve(
        self,
        kernel: Kernel,
        x: Sample,
        y: Sample,
        centres: Float[Tensor, "L d"],
        start: Tensor | None,
    ) -> tuple[Tensor, Mixture, float]:
        """log g (L,), the mixture and its likelihood, from the weights `start`."""
        points, a = x
        log_g = self.pairwise.sources(kernel, points).field(a).log(centres)[0]
        exponents = log_kernel_matrix(kernel, y[0], centres) - log_g
        largest = exponents.amax(1, keepdim=True)
        values = (exponents - largest).exp_()
        found = mixture_weights(values, y[1], start=start, max_iterations=self.max_iterations)
        return log_g, found, float(y[1] @ (largest[:, 0] + (values @ found.alpha).log()))

    def _choose(
        self, kernels: list[Kernel], x: Sample, y: Sample, centres: Tensor
    ) -> tuple[float, Kernel, Tensor]:
        """The largest score, its kernel, and its weights on a part of the points."""
        for name, (points, _) in (("x", x), ("y", y)):
            if len(points) < 2:
                raise ValueError(
                    f"`{name}` must hold two places with mass, one to be held out, got"
                    f" {len(points)}: pass kernel= yourself"
                )
        scored: list[tuple[float, Kernel, Tensor]] = []
        alpha = None
        for kernel in kernels:
            score, alpha = self._score(kernel, x, y, centres, alpha)
            scored.append((score, kernel, alpha))
        return max(scored, key=itemgetter(0))

    def _score(
        self, kernel: Kernel, x: Sample, y: Sample, centres: Tensor, alpha: Tensor | None
    ) -> tuple[float, Tensor]:
        """The mean score E_p log r - E_q r + 1 on held-out points, and the last fold's weights.

        The score is a lower bound of KL(p || q), the objective of `losses.KLIEP`. Newton's method
        starts from alpha, then from the weights of the fold before.
        """
        folds = min(self.folds, len(x[0]), len(y[0]))
        score = 0.0
        if alpha is None:
            alpha = centres.new_full((len(centres),), 1 / len(centres))
        for fold in range(folds):
            (in_x, out_x), (in_y, out_y) = (_split(sample, fold, folds) for sample in (x, y))
            log_g, found, _ = self._solve(kernel, in_x, in_y, centres, alpha)
            alpha, log_theta = found.alpha, found.alpha.log() - log_g
            log_r_x, log_r_y = (
                torch.logsumexp(log_kernel_matrix(kernel, points, centres) + log_theta, 1)
                for points, _ in (out_x, out_y)
            )
            score += float(out_y[1] @ log_r_y - out_x[1] @ log_r_x.exp()) + 1
        return score / folds, alpha


def _split(sample: Sample, fold: int, folds: int) -> tuple[Sample, Sample]:
    """The points outside a fold and those in it, every folds-th one; shares of sum one each."""
    points, share = sample
    out = torch.arange(len(points), device=points.device) % folds == fold
    kept, held = share[~out], share[out]
    return (points[~out], kept / kept.sum()), (points[out], held / held.sum())
