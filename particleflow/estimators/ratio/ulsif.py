"""Least-squares fits of the density ratio: uLSIF, and of the relative ratio: RuLSIF."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit, FlowDefaults
from particleflow.estimators.ratio.kernel_ratio import (
    IN_FLOW,
    KernelRatioWitness,
    Sample,
    bandwidth_of,
    candidates,
    kernel_ratio,
    normalised,
    positive_kernel,
    tiles,
)
from particleflow.estimators.ratio.nonnegative import Minimum, least_ridge, nonnegative_minimum
from particleflow.kernels import Bandwidth, Kernel
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.pairwise.base import check_backend
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.subsets import places

LAM_IN_FLOW = 1e-2
LARGEST = 10.0  # lam tried, then sqrt(10) times smaller each time
LEFT_OUT = 2048  # places of each cloud that are left out, one at a time, to score lam and bandwidth
PATIENCE = 2  # of lam, or of bandwidths, in a row that are worse: no smaller ones are tried
RTOL = 1e-8

Scored: TypeAlias = tuple[Tensor, Tensor]
"""k(points, c) of the points left out (n, P) and their shares (n,)."""


@dataclass(frozen=True)
class _LeastSquares(FlowDefaults):
    kernel: Kernel | Bandwidth | None = None
    lam: float | None = field(default=None, kw_only=True)
    centres: int = field(default=100, kw_only=True)
    rounded: bool = field(default=False, kw_only=True)
    pairwise: PairwiseSum = field(default=Auto(), kw_only=True)
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.kernel is not None:
            object.__setattr__(self, "kernel", positive_kernel(self.kernel))
        if self.lam is not None:
            object.__setattr__(
                self,
                "lam",
                _checks.positive(
                    self.lam, "lam", remedy="it is the ridge; None chooses it from the data"
                ),
            )
        object.__setattr__(self, "centres", _checks.count(self.centres, "centres"))
        _checks.flag(self.rounded, "rounded")
        check_backend(self.pairwise)

    def in_flow(self) -> _LeastSquares:
        """The same estimator; where they are not given, with the bandwidth `default_bandwidth` of
        the target, and lam = 1e-2.
        """
        return replace(
            self,
            kernel=IN_FLOW if self.kernel is None else self.kernel,
            lam=LAM_IN_FLOW if self.lam is None else self.lam,
        )

    @property
    @abstractmethod
    def _alpha(self) -> float:
        """The target's share in the law under which r is squared."""

    @abstractmethod
    def _witness(
        self, ratio: KernelRatioWitness, log_scale: float
    ) -> KernelRatioWitness | RelativeWitness:
        """log r from the log of the fitted ratio of the normalised clouds."""

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        (points, a, log_x), (target, b, log_y) = normalised(x), normalised(y)
        centres = places(y, self.centres)[0]
        kernels = candidates(self.kernel, y, memory)
        lams = ridges(a, b) if self.lam is None else (self.lam,)
        if self.lam is None and "lam" in memory:
            lams = (float(memory["lam"]),)
        report: dict[str, Any] = {}
        kernel, lam = kernels[0], lams[0]
        if len(kernels) * len(lams) > 1:
            parts = places(x, LEFT_OUT), places(y, LEFT_OUT)
            kernel, lam, report["score"] = self._choose(
                kernels, lams, (points, a), (target, b), centres, parts
            )
        h, matrix = (
            part.cpu() for part in _system(kernel, (points, a), (target, b), centres, self._alpha)
        )
        remembered = {"lam": torch.tensor(lam, dtype=torch.float64, device="cpu")}
        lam = max(lam, least_ridge(matrix, h))
        start = memory.get("theta")
        solved = self._solve(h, matrix, lam, None if start is None else start.cpu())
        theta = solved.theta
        if not self.rounded:
            gap = float(solved.slope.square().sum()) / (2 * lam)
            report.update(
                converged=gap <= RTOL**2 * float(h @ theta) / 2,
                gap=gap,
                iterations=solved.iterations,
            )
        ratio = kernel_ratio(kernel, centres, theta.log().to(centres), self.pairwise)
        remembered["theta"] = theta
        if not isinstance(self.kernel, Kernel):
            report["bandwidth"] = bandwidth = bandwidth_of(kernel)
            remembered["bandwidth"] = torch.tensor(bandwidth, dtype=torch.float64, device="cpu")
        report.update(lam=lam, centres=len(centres), **ratio.field.explain(x.points.double()))
        chi2 = float(2 * (h @ theta) - theta @ matrix @ theta) - 1
        return Fit(
            self._witness(ratio, log_y - log_x),
            memory=remembered,
            report=report,
            objective=lambda: chi2,
        )

    def _choose(
        self,
        kernels: Sequence[Kernel],
        lams: Sequence[float],
        x: Sample,
        y: Sample,
        centres: Tensor,
        parts: tuple[Sample, Sample],
    ) -> tuple[Kernel, float, float]:
        """The kernel and lam of the least leave-one-out score, and the score; `parts` are what is
        left out of x and of y.
        """
        for name, (points, _) in (("x", x), ("y", y)):
            if len(points) < 2:
                raise ValueError(
                    f"`{name}` must hold two places with mass, one to be left out, got"
                    f" {len(points)}: pass kernel= and lam= yourself"
                )
        (some_x, a), (some_y, b) = parts
        best, since, start = (math.inf, kernels[0], lams[0]), 0, 0
        for kernel in kernels:
            h, matrix = (part.cpu() for part in _system(kernel, x, y, centres, self._alpha))
            at_x, at_y = (kernel_matrix(kernel, some, centres).cpu() for some in (some_x, some_y))
            least = least_ridge(matrix, h)
            allowed = [max(lam, least) for lam in lams]
            scores = self._scores((h, matrix), (at_x, a.cpu()), (at_y, b.cpu()), allowed, start)
            k = min(scores, key=scores.__getitem__)
            best, since = (
                ((scores[k], kernel, allowed[k]), 0) if scores[k] < best[0] else (best, since + 1)
            )
            if since == PATIENCE:
                break
            start = max(0, k - PATIENCE)
        return best[1], best[2], best[0]

    def _scores(
        self, system: tuple[Tensor, Tensor], x: Scored, y: Scored, lams: Sequence[float], start: int
    ) -> dict[int, float]:
        """Of lams[k]: from k = start on until PATIENCE in a row are worse, and from there up while
        that is better still.
        """
        (h, matrix), (at_x, a), (at_y, b) = system, x, y
        scores: dict[int, float] = {}
        best, theta = start, None
        for k in (*range(start, len(lams)), *reversed(range(start))):
            if k > best + PATIENCE or k < best - 1:
                continue
            theta = self._solve(h, matrix, lams[k], theta).theta
            used = torch.full_like(theta, True, dtype=torch.bool) if self.rounded else theta > 0
            scores[k] = leave_one_out(
                (h[used], matrix[used][:, used]),
                (at_x[:, used], a),
                (at_y[:, used], b),
                self._alpha,
                lams[k],
            )
            best = min(scores, key=scores.__getitem__)
        return scores

    def _solve(self, h: Tensor, matrix: Tensor, lam: float, start: Tensor | None) -> Minimum:
        """theta, by either rule."""
        ridged = matrix + lam * torch.eye(len(h), dtype=h.dtype, device=h.device)
        if start is None or self.rounded or len(start) != len(h):
            start = torch.cholesky_solve(h[:, None], torch.linalg.cholesky(ridged))[:, 0].clamp_min(
                0.0
            )
        return (
            nonnegative_minimum(ridged, h, start=start)
            if not self.rounded
            else Minimum(start, ridged @ start - h, 0)
        )


@dataclass(frozen=True)
class ULSIF(_LeastSquares):
    """r(z) = sum_l theta_l k(z, c_l), the least-squares fit of target / current: unconstrained
    least-squares importance fitting.

        min over theta >= 0 of   theta' H theta / 2 - h' theta + lam |theta|^2 / 2
        H = sum_i a_i k(x_i, c) k(x_i, c)',   h = sum_j b_j k(y_j, c)

    the empirical form of E_q (r - p / q)^2 / 2, whose largest -J is `losses.ULSIF`; a, b are the
    shares of the clouds' masses. The centres c (L, d) are `centres` of the target's places, drawn
    with a fixed seed. log r = log sum exp is finite, with its gradient, everywhere: for that theta
    >= 0. The programme is solved by an active set, and certified: F(theta) - F* <= |g|^2 / (2 lam)
    = `gap`, g its slope on the free entries and its negative part on the others; `converged` says
    gap <= 1e-16 |F|.

    What is not given is chosen at the first fit, kept in memory and reported: the bandwidth of a
    Gaussian kernel among 2^-3 .. 2 median distances of the target, lam among 1 / min(N, M) .. 10,
    for the least leave-one-out score (`leave_one_out`), in closed form on the set of positive
    entries, which is held fixed. H and h are those of all points; those left out are at most 2048
    places of each cloud, so that a point's repeats are left out with it. The search goes from wide
    and smooth to narrow and rough until two in a row are worse.

    In a `Flow` what is not given is `default_bandwidth` of the target and lam = 1e-2. Clouds that
    hardly overlap are told apart by many ratios, and a score of left-out points prefers the
    smoothest: its r is flat, or rises away from the target, between the parts of it.

    `Fit.value` is 2 J - 1, an estimate of chi^2(p || q) of the normalised clouds. Cost O((N + M) L
    (L + d)) a fit, the first some ten times that and O(2048 L^2) for each of some 40 scores; O(L d)
    a query.

    It resolves no more than its L kernels do: the error of log r stops falling where their
    distance, not the number of points, limits it. Squares of r that q's points do not show (chi^2
    large or infinite) leave it noisy; `RuLSIF` is for those.

    Parameters
    ----------
    kernel : Kernel, Bandwidth or None
        Positive: Gaussian, Laplace, Matern32, Matern52 or IMQ. Or a rule of `particleflow.kernels`:
        a Gaussian, its bandwidth read off the target at the first fit. None: a Gaussian, its
        bandwidth chosen.
    lam : float, optional
        The ridge, > 0, in units of H, whose diagonal is at most k(0)^2. Raised to 1e-13 of H's
        largest sum of a row, where float64 needs that: the report tells the one used.
    centres : int
    rounded : bool
        The published rule instead, max(0, (H + lam I)^-1 h): one linear system, no optimum.

    Source: Kanamori, Hido and Sugiyama (2009).
    """

    _alpha: ClassVar[float] = 0.0

    def _witness(self, ratio: KernelRatioWitness, log_scale: float) -> KernelRatioWitness:
        return replace(ratio, shift=ratio.shift + log_scale)


@dataclass(frozen=True, eq=False)
class RelativeWitness:
    """log r = g(s), s = log r_a the log of a relative ratio: g(s) = s + log(1 - alpha) - log(1 -
    alpha e^s) up to alpha e^s = ceiling.

    Beyond, where r_a hardly tells r or is no ratio at all (r_a < 1 / alpha), g goes on along its
    tangent, of slope 1 / (1 - ceiling): finite, and increasing in r_a, everywhere.
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


@dataclass(frozen=True)
class RuLSIF(_LeastSquares):
    """r_a(z) = sum_l theta_l k(z, c_l), the least-squares fit of the relative ratio p / m, m =
    alpha p + (1 - alpha) q, as in `ULSIF`, with

        H = alpha sum_j b_j k(y_j, c) k(y_j, c)' + (1 - alpha) sum_i a_i k(x_i, c) k(x_i, c)'

    r_a < 1 / alpha is bounded where p / q is not, and easier to learn. The witness is log r of the
    plain ratio r = (1 - alpha) r_a / (1 - alpha r_a); beyond alpha r_a = `ceiling` it goes on along
    its tangent (`RelativeWitness`).

    `Fit.value` is 2 J - 1, an estimate of chi^2(p || m), twice the relative Pearson divergence of
    the paper. alpha = 0 is `ULSIF`.

    Parameters
    ----------
    kernel, lam, centres, rounded
        As in `ULSIF`.
    alpha : float
        The target's share of m, 0 <= alpha < 1.
    ceiling : float
        In (0, 1).

    Source: Yamada, Suzuki, Kanamori, Hachiya and Sugiyama (2011).
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


def ridges(a: Float[Tensor, "N"], b: Float[Tensor, "M"]) -> list[float]:
    """10, 10^{1/2}, 1 ... down to 1 / n, n = min(1 / sum a^2, 1 / sum b^2), the clouds' sizes.

    Not less: where q is thin no left-out point would show what r does, and the score prefers the
    roughest.
    """
    n = 1 / float(torch.maximum(a.square().sum(), b.square().sum()))
    return [
        LARGEST * 10.0 ** (-k / 2)
        for k in range(math.floor(2 * math.log10(LARGEST * n) + 1e-9) + 1)
    ]


def leave_one_out(
    system: tuple[Float[Tensor, "P"], Float[Tensor, "P P"]],
    x: Scored,
    y: Scored,
    alpha: float,
    lam: float,
) -> float:
    """The leave-one-out estimate of E_m r_a^2 / 2 - E_p r_a, r_a = theta' k, theta = max(0, (H +
    lam I)^-1 h), system = h, H.

    Each point is scored by the fit to all others, whose weights are scaled to one again. Without a
    point of weight w in m (alpha b_j or (1 - alpha) a_i) and v in p (b_j or 0), with D = H + lam (1
    - w) I and k = k(point, c), Sherman and Morrison's formula leaves, before rounding,

        theta = (1 - w) / (1 - v) (u + D^-1 k w k' u / (1 - w k' D^-1 k)),   u = D^-1 (h - v k)

    which in the eigenbasis of H is elementwise. So N and M may differ, and weights too. (Kanamori,
    Hido and Sugiyama leave out pairs (x_i, y_i) of min(N, M).) Cost O(P^2) for each left-out point.
    """
    h, matrix = system
    eigenvalues, basis = torch.linalg.eigh(matrix)
    eigenvalues, h = eigenvalues.clamp_min(0.0), basis.T @ h
    score = 0.0
    for (values, share), in_m, in_p in ((x, 1 - alpha, 0.0), (y, alpha, 1.0)):
        k, w, v = values @ basis, in_m * share[:, None], in_p * share[:, None]
        inverse = 1 / (eigenvalues + lam * (1 - w))
        u, turned = inverse * (h - v * k), inverse * k
        theta = u + turned * (
            w * (k * u).sum(1, keepdim=True) / (1 - w * (k * turned).sum(1, keepdim=True))
        )
        r = (values * (((1 - w) / (1 - v)) * theta @ basis.T).clamp_min(0.0)).sum(1)
        score += float(share @ (in_m * r.square() / 2 - in_p * r) / share.sum())
    return score


def _system(
    kernel: Kernel, x: Sample, y: Sample, centres: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """h (L,) and H (L, L)."""
    h, matrix = centres.new_zeros(len(centres)), centres.new_zeros(len(centres), len(centres))
    for (points, share), in_m, in_p in ((x, 1 - alpha, 0.0), (y, alpha, 1.0)):
        for rows, k in tiles(kernel, points, centres):
            if in_p:
                h += share[rows] @ k
            if in_m:
                matrix += in_m * (k * share[rows, None]).T @ k
    return h, matrix
