"""Weighted logistic regression with an L2 penalty, by Newton's method, and the duality gap that
certifies it.

    minimise over w (D,), b      J = sum_i s_i log(1 + exp(-t_i (phi_i . w + b))) + lam / 2 |w|^2,        t_i = +-1, sum_i s_i = 1

With any alpha in [0, 1]^n, sum_i s_i t_i alpha_i = 0, a lower bound of the minimum is

    sum_i s_i H(alpha_i) - |sum_i s_i t_i alpha_i phi_i|^2 / (2 lam),        H(alpha) = -alpha log alpha - (1 - alpha) log(1 - alpha).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from particleflow.memo import cached_property

ARMIJO = 1e-4
DEFINITE = 2**9 * torch.finfo(torch.float64).eps
QUADRATIC = 1e-3  # decrements below it: Newton's full step, unsearched


@dataclass(frozen=True, eq=False)
class Regression:
    """features (n, D), signs t (n,), shares s (n,) with sum 1, both signs present."""

    features: Float[Tensor, "n D"]
    signs: Float[Tensor, "n"]
    shares: Float[Tensor, "n"]

    def scores(self, u: Float[Tensor, "D1"]) -> Float[Tensor, "n"]:
        """phi . w + b, u = (w, b)."""
        return self.features @ u[:-1] + u[-1]

    @cached_property
    def least_lam(self) -> float:
        """Below it Newton's matrix is not definite in float64: a part 1e-13 of sum_i s_i |phi_i|^2
        / 4, which bounds its eigenvalues.
        """
        return DEFINITE * float(self.shares @ self.features.square().sum(1)) / 4

    def loss(self, scores: Float[Tensor, "n"]) -> float:
        return float(self.shares @ softplus(-self.signs * scores, threshold=math.inf))

    def value(self, u: Float[Tensor, "D1"], lam: float) -> float:
        return self.loss(self.scores(u)) + 0.5 * lam * float(u[:-1] @ u[:-1])

    def gap(self, u: Float[Tensor, "D1"], lam: float) -> float:
        """J(u) less the bound by alpha = sigmoid(-t d), the heavier class scaled down: >= min J
        distance, and |w - w*| <= sqrt(2 gap / lam).
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
    """u = (w, b), the decrement sqrt(g . H^{-1} g) of the last gradient seen, and Newton's
    iterations.
    """

    u: Float[Tensor, "D1"]
    decrement: float
    iterations: int


def minimise(
    problem: Regression, lam: float, start: Float[Tensor, "D1"], rtol: float, max_iterations: int
) -> Minimum:
    """Newton's method from `start` until the decrement is at most rtol. Cost O(n D^2) an iteration."""
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
        # a floor for the intercept's curvature: all scores may be saturated
        hessian = torch.cat(
            [
                torch.cat([problem.features.T @ weighted, edge[:, None]], 1),
                torch.cat([edge, bend.sum()[None] + 1e-14])[None],
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
        value, length = problem.value(u, lam), 1.0
        while (
            decrement > QUADRATIC
            and length > 1e-10
            and problem.value(u + length * step, lam) > value - ARMIJO * length * squared
        ):
            length /= 2
        u = u + length * step
    raise AssertionError
