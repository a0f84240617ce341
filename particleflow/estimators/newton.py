"""The inner solver of KALE: a strictly convex problem over M dual weights, by Newton's method in their logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Newton in u is safe without a line search while e^step is linear to half a per cent; below, decreases drown in rounding.
SMALL_STEP = 0.1
ARMIJO = 1e-4
CONTINUATION = 10.0
LOOSE = 1e-2


@dataclass(frozen=True)
class Dual:
    """min over a > 0 of D(a) = sum_j a_j log(a_j / q_j) - a_j + q_j + | mu_x - sum_j a_j k(y_j, .) |^2 / (2 lam).

    In u = log(a / q) its stationarity is u = h(u) with the witness h = (mu_x - sum_j a_j k(y_j, .)) / lam at the points y.

    Parameters
    ----------
    matrix : (M, M) float64
        K = k(y_i, y_j).
    mu : (M,) float64
        mu_x at y.
    mass : (M,) float64
        q, the target's masses.
    energy : float
        |mu_x|^2 = sum_ii' m_i m_i' k(x_i, x_i').
    """

    matrix: Float[Tensor, "M M"]
    mu: Float[Tensor, "M"]
    mass: Float[Tensor, "M"]
    energy: float

    def value(self, u: Float[Tensor, "M"], lam: float) -> float:
        """D at a = q e^u, free of cancellation at small u."""
        a = self.mass * u.exp()
        entropy = float((self.mass * (u * u.exp() - torch.expm1(u))).sum())
        return entropy + self.squared_residual(a) / (2 * lam)

    def squared_residual(self, a: Float[Tensor, "M"]) -> float:
        """| mu_x - sum_j a_j k(y_j, .) |^2 = lam^2 |h|^2 in the reproducing kernel Hilbert space."""
        return max(0.0, self.energy + float(a @ (self.matrix @ a - 2 * self.mu)))

    def witness(self, u: Float[Tensor, "M"], lam: float) -> Float[Tensor, "M"]:
        """h at y."""
        return (self.mu - self.matrix @ (self.mass * u.exp())) / lam

    def gap(self, u: Float[Tensor, "M"], lam: float) -> float:
        """Dual value at u minus primal value at its witness h: sum_j a_j (e^t - 1 - t), t = h_j - u_j. Zero only at the solution."""
        t = self.witness(u, lam) - u
        series = t**2 / 2 * (1 + t / 3 * (1 + t / 4))
        return float((self.mass * u.exp() * torch.where(t.abs() < 1e-4, series, torch.expm1(t) - t)).sum())


@dataclass(frozen=True)
class Solution:
    """u = log(a / q), the dual value D(u), the duality gap (both without KALE's factor 1 + lam), Newton iterations, whether it converged."""

    u: Float[Tensor, "M"]
    value: float
    gap: float
    iterations: int
    converged: bool


def solve(dual: Dual, lam: float, *, start: Float[Tensor, "M"] | None, rtol: float, max_iterations: int) -> Solution:
    """Minimise D. Each iteration solves (lam I + A^{1/2} K A^{1/2}) eta = lam A^{1/2} (h - u), A = diag(a), by Cholesky: O(M^3 / 3).

    `start` warm-starts; without one (or with one that is worse than u = 0) lam is lowered to its value by factors of ten. It has converged
    when the last correction of h is <= rtol |h| in the Hilbert norm, which bounds the velocity's relative error; Newton being quadratic,
    what remains after that correction is of the order of rtol^2.
    """
    u = torch.zeros_like(dual.mu)
    if start is not None and dual.value(start, lam) <= dual.value(u, lam):
        u, path = start, [lam]
    else:
        path = [lam * CONTINUATION**k for k in range(max(0, math.ceil(-math.log10(lam))), 0, -1)] + [lam]
    iterations = 0
    converged = False
    for stage in path:
        u, used, converged = _newton(dual, stage, u, rtol if stage == lam else LOOSE, max_iterations)
        iterations += used
    return Solution(u, dual.value(u, lam), dual.gap(u, lam), iterations, converged)


def _newton(dual: Dual, lam: float, u: Tensor, rtol: float, max_iterations: int) -> tuple[Tensor, int, bool]:
    for iteration in range(1, max_iterations + 1):
        a = dual.mass * u.exp()
        root = a.sqrt()
        residual = dual.witness(u, lam) - u
        system = (dual.matrix * root).mul_(root[:, None])
        system.diagonal().add_(lam)
        factor, failed = torch.linalg.cholesky_ex(system)
        if bool(failed.any()):
            return u, iteration, False
        eta = torch.cholesky_solve((lam * root * residual)[:, None], factor)[:, 0]
        change = dual.matrix @ (root * eta)
        step = residual - change / lam
        # |change of lam h|^2 against |lam h|^2, both in the Hilbert space; rounding of the latter is what remains where it vanishes.
        correction = float((root * eta) @ change)
        scale = max(dual.squared_residual(a), 1e-15 * dual.energy)
        length = 1.0
        if float(step.abs().max()) > SMALL_STEP:
            length = _line_search(dual, lam, u, step, slope=float(eta @ eta) + correction / lam)
            if length == 0.0:
                return u, iteration, False
        u = u + length * step
        if length == 1.0 and correction <= rtol**2 * scale:
            return u, iteration, True
    return u, max_iterations, False


def _line_search(dual: Dual, lam: float, u: Tensor, step: Tensor, *, slope: float) -> float:
    """The first of 1, 1/2, 1/4 ... that lowers D by a fair share of what its slope promises; 0 when none does."""
    here = dual.value(u, lam)
    length = 1.0
    while length > 1e-12:
        there = dual.value(u + length * step, lam)
        if math.isfinite(there) and there <= here - ARMIJO * length * slope:
            return length
        length /= 2
    return 0.0
