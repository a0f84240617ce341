"""Weighted logistic regression with an L2 penalty, by Newton's method with a duality gap.

It minimises over w (D,) and b, with t_i = +-1 and sum_i s_i = 1,

    J = sum_i s_i log(1 + exp(-t_i (phi_i . w + b))) + lam / 2 |w|^2

Any alpha in [0, 1]^n with sum_i s_i t_i alpha_i = 0 gives a lower bound of the minimum:

    sum_i s_i H(alpha_i) - |sum_i s_i t_i alpha_i phi_i|^2 / (2 lam)

where H(alpha) = -alpha log alpha - (1 - alpha) log(1 - alpha).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from particleflow.estimators.line_search import lengths, low_enough
from particleflow.memo import cached_property

# The least ridge, as a share of a bound of the largest eigenvalue.
DEFINITE = 2**9 * torch.finfo(torch.float64).eps
# The decrement below which Newton's full step is taken without a search.
QUADRATIC = 1e-3
# The step that is taken where the search finds none that is longer.
SHORTEST = 2.0**-34
# Added to the intercept's curvature, which vanishes where all scores are saturated.
FLOOR = 1e-14


@dataclass(frozen=True, eq=False)
class Regression:
    """One problem: features phi (n, D), signs t (n,), both of which occur, and shares s (n,).

    The shares have the sum 1.
    """

    features: Float[Tensor, "n D"]
    signs: Float[Tensor, "n"]
    shares: Float[Tensor, "n"]

    def scores(self, u: Float[Tensor, "D1"]) -> Float[Tensor, "n"]:
        """phi . w + b, u = (w, b)."""
        return self.features @ u[:-1] + u[-1]

    @cached_property
    def least_lam(self) -> float:
        """The least lam with which Newton's matrix is definite in float64.

        It is 1e-13 times sum_i s_i |phi_i|^2 / 4, a bound of that matrix's eigenvalues.
        """
        return DEFINITE * float(self.shares @ self.features.square().sum(1)) / 4

    def loss(self, scores: Float[Tensor, "n"]) -> float:
        """sum_i s_i log(1 + exp(-t_i score_i))."""
        return float(self.shares @ softplus(-self.signs * scores, threshold=math.inf))

    def value(self, u: Float[Tensor, "D1"], lam: float) -> float:
        """J."""
        return self.loss(self.scores(u)) + 0.5 * lam * float(u[:-1] @ u[:-1])

    def gap(self, u: Float[Tensor, "D1"], lam: float) -> float:
        """J(u) minus a lower bound of min J, so that |w - w*| <= sqrt(2 gap / lam).

        The bound is taken at alpha = sigmoid(-t d), with the heavier class scaled down.
        """
        alpha = torch.sigmoid(-self.signs * self.scores(u))
        sums = [float((self.shares * alpha)[self.signs == sign].sum()) for sign in (-1.0, 1.0)]
        low = min(sums)
        for sign, total in zip((-1.0, 1.0), sums, strict=True):
            alpha = torch.where(
                self.signs == sign, alpha * (low / total if total > 0 else 1.0), alpha
            )
        entropy = -torch.xlogy(alpha, alpha) - torch.xlogy(1 - alpha, 1 - alpha)
        image = (self.shares * self.signs * alpha) @ self.features
        return self.value(u, lam) - (
            float(self.shares @ entropy) - 0.5 * float(image @ image) / lam
        )


@dataclass(frozen=True, eq=False)
class Minimum:
    """u = (w, b), the last decrement sqrt(g . H^{-1} g), and Newton's iterations."""

    u: Float[Tensor, "D1"]
    decrement: float
    iterations: int


def minimise(
    problem: Regression, lam: float, start: Float[Tensor, "D1"], rtol: float, max_iterations: int
) -> Minimum:
    """Newton's method from `start`, until the decrement is at most rtol. Cost O(n D^2) a step."""
    u, decrement = start, math.inf
    ridge = torch.full_like(u, lam)
    ridge[-1] = 0.0
    for k in range(max_iterations + 1):
        scores = problem.scores(u)
        chance = torch.sigmoid(-problem.signs * scores)
        pull = -problem.shares * problem.signs * chance
        gradient = torch.cat([pull @ problem.features, pull.sum()[None]]) + ridge * u
        bend = problem.shares * chance * (1 - chance)
        weighted = bend[:, None] * problem.features
        edge = weighted.sum(0)
        hessian = torch.cat(
            [
                torch.cat([problem.features.T @ weighted, edge[:, None]], 1),
                torch.cat([edge, bend.sum()[None] + FLOOR])[None],
            ]
        )
        hessian.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(hessian)
        step = -torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        squared = -float(gradient @ step)
        if bool(failed.any()) or not math.isfinite(squared):
            return Minimum(u, decrement, k)
        decrement = math.sqrt(max(squared, 0.0))
        if decrement <= rtol or k == max_iterations:
            return Minimum(u, decrement, k)
        length = _searched(problem, lam, u, step, -squared) if decrement > QUADRATIC else 1.0
        u = u + length * step
    raise AssertionError


def _searched(
    problem: Regression, lam: float, u: Float[Tensor, "D1"], step: Float[Tensor, "D1"], slope: float
) -> float:
    """The first of 1, 1/2, 1/4 ... of the step that lowers J enough, or the shortest."""
    value = problem.value(u, lam)
    for length in lengths(SHORTEST):
        if low_enough(problem.value(u + length * step, lam), value, slope, length):
            return length
    return SHORTEST
