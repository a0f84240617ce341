"""Divergences with a finite recession constant c = lim f(g) / g: mass may leave the target's points, at the cost c, for the particles' own.

    min over g, b >= 0 of sum_j q_j f(g_j) + c sum_i b_i + |mu_x - sum_j q_j g_j k(y_j, .) - sum_i b_i k(x_i, .)|^2 / (2 lam)                   (1)

Its dual has the constraint h <= c at all points. An interior-point method: -tau log b_i is added for tau -> 0, and the solver of the smooth case
follows; the gap of (1) itself, at the weights found and at theta h, theta <= 1 such that theta h <= c, certifies what comes out. Total variation,
|g - 1| / 2, is a mass 0 <= g <= 1 (two more barriers) and a singular one at y as well.

u is kept relative to where f or the constraint has its edge (mu is shifted by lam times as much): its digits are those of a weight tau / (c - h).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.divergences import Divergence, TotalVariation
from particleflow.estimators.dual import Dual
from particleflow.estimators.gram import gram_of
from particleflow.estimators.newton import Run, Solution
from particleflow.kernels import Kernel
from particleflow.pairwise import PairwiseSum

# tau from FIRST c down by SMALLER to LAST times the error of h; each problem is solved to a gap of SHARE tau.
FIRST, SMALLER, LAST, SHARE = 1e-1, 0.1, 10.0, 0.1
# What rtol is raised to, as double precision reaches little more; and what still counts as converged where rounding ends it earlier.
AIM, REACHED = 1e-5, 1e-4


@dataclass(frozen=True)
class Barrier:
    """f(g) = -tau log g for the singular mass, u = s - c < 0: g = -tau / u."""

    tau: float

    def slope(self, g: Tensor) -> Tensor:
        return -self.tau / g

    def conjugate(self, s: Tensor) -> Tensor:
        return torch.where(s < 0, self.tau * (torch.log(self.tau / s.abs()) - 1), math.inf)

    def ratio(self, s: Tensor) -> Tensor:
        return torch.where(s < 0, self.tau / s.abs(), math.inf)

    def ratio_slope(self, s: Tensor) -> Tensor:
        return torch.where(s < 0, self.tau / s**2, math.inf)


@dataclass(frozen=True)
class Clipped:
    """f(g) = -tau (log g + log(1 - g)), for u = s + 1/2: total variation below g = 1."""

    tau: float

    def slope(self, g: Tensor) -> Tensor:
        return torch.where(g < 1, self.tau / (1 - g) - self.tau / g, math.inf)

    def conjugate(self, s: Tensor) -> Tensor:
        g, rest = self.ratio(s), self.ratio(-s)
        return s * g + self.tau * (torch.log(g) + torch.log(rest))

    def ratio(self, s: Tensor) -> Tensor:
        """2 tau / (2 tau - s + (s^2 + 4 tau^2)^{1/2}); 1 - ratio(s) = ratio(-s)."""
        root = torch.sqrt(s**2 + 4 * self.tau**2)
        return 2 * self.tau / (2 * self.tau + torch.where(s > 0, 4 * self.tau**2 / (s + root), root - s))

    def ratio_slope(self, s: Tensor) -> Tensor:
        return 1 / (self.tau * (self.ratio(s) ** -2 + self.ratio(-s) ** -2))


@dataclass(frozen=True)
class Joined:
    """One entropy for the first `size` points, a barrier for the rest."""

    first: Divergence | Clipped
    rest: Barrier
    size: int

    def slack(self, u: Tensor) -> Tensor:
        """The least distance of each weight to a barrier; 0 where it has none."""
        first, rest = u[: self.size], self.rest.ratio(u[self.size :])
        clipped = isinstance(self.first, Clipped)
        return torch.cat([torch.minimum(self.first.ratio(first), self.first.ratio(-first)) if clipped else torch.zeros_like(first), rest])

    def slope(self, g: Tensor) -> Tensor:
        return torch.cat([self.first.slope(g[: self.size]), self.rest.slope(g[self.size :])])

    def conjugate(self, s: Tensor) -> Tensor:
        return torch.cat([self.first.conjugate(s[: self.size]), self.rest.conjugate(s[self.size :])])

    def ratio(self, s: Tensor) -> Tensor:
        return torch.cat([self.first.ratio(s[: self.size]), self.rest.ratio(s[self.size :])])

    def ratio_slope(self, s: Tensor) -> Tensor:
        return torch.cat([self.first.ratio_slope(s[: self.size]), self.rest.ratio_slope(s[self.size :])])


@dataclass(frozen=True, eq=False)
class Problem:
    """(1): the two clouds, mu_x at y and at x, and |mu_x|^2."""

    divergence: Divergence
    moving: Cloud
    base: Cloud
    mu: tuple[Float[Tensor, "M"], Float[Tensor, "N"]]
    energy: float

    @property
    def unsmooth(self) -> bool:
        return isinstance(self.divergence, TotalVariation)


def solve_singular(
    problem: Problem, kernel: Kernel, pairwise: PairwiseSum, lam: float, start: Float[Tensor, "M"], *, rtol: float, max_iterations: int
) -> tuple[Solution, Float[Tensor, "N"]]:
    """The solution, its u and weights those at y, and the weights b (N,) at x.

    Parameters
    ----------
    start : (M,)
        u at y, in the domain of f*; not used for total variation.
    """
    x, y, c = problem.moving, problem.base, problem.divergence.recession
    at_y, at_x = problem.mu
    clouds, mus = ([y, y, x], [at_y, at_y, at_x]) if problem.unsmooth else ([y, x], [at_y, at_x])
    everywhere = Cloud(torch.cat([cloud.points for cloud in clouds]), torch.cat([cloud.mass for cloud in clouds]).log())
    gram = gram_of(kernel, everywhere, pairwise, lasting=False)
    mu, size = torch.cat(mus), len(y)
    edge = torch.cat([mu.new_full((size,), -0.5 if problem.unsmooth else 0.0), mu.new_full((len(mu) - size,), c)])
    first, tau = problem.divergence, FIRST * c
    u = torch.cat([mu.new_zeros(size) if problem.unsmooth else start, mu.new_full((len(mu) - size,), -c)])
    iterations, products, best = 0, 0, None
    # below it the slacks tau / b drown in the rounding of h
    last = LAST * gram.error / lam
    while best is None or tau >= last:
        entropy = Joined(Clipped(tau) if problem.unsmooth else first, Barrier(tau), size)
        run = Run(Dual(entropy, gram, mu - lam * edge, problem.energy, least=-math.inf), max_iterations)
        run.direct = True
        point = run.minimise(run.dual.at(u, lam), lam, 0.0, gap=SHARE * tau * float(everywhere.mass.sum()))
        iterations, products = iterations + run.iterations, products + run.products
        found = _certified(problem, lam, point.u[:size] + edge[:size], point.a, point.image, mu)
        if best is not None and not found[0].error < best[0].error:
            break
        best, u = found, point.u
        if found[0].error <= max(rtol, AIM) or run.trouble:
            break
        tau *= SMALLER
        # Weights stay where they are the larger of weight and slack, whose product is tau, else slacks.
        inside = entropy.slack(u) > (u / c).abs()
        u = torch.where(inside, SMALLER * u, u)
    assert best is not None
    solution, b = best
    trouble = "" if solution.error <= max(rtol, REACHED) else f"the barriers of the recession constant reach {solution.error:.1g}"
    return replace(solution, iterations=iterations, products=products, trouble=trouble), b


def _certified(
    problem: Problem, lam: float, u: Tensor, a: Tensor, image: Tensor, mu: Tensor
) -> tuple[Solution, Float[Tensor, "N"]]:
    """The value of (1) and its gap, from all weights a and K a at all points."""
    size, mass, c = len(problem.base), problem.base.mass, problem.divergence.recession
    h = (mu - image) / lam
    b = a[-len(problem.moving) :]
    at_y = a[:size] + a[size : 2 * size] if problem.unsmooth else a[:size]
    norm2 = max(problem.energy + float(a @ (image - 2 * mu)), 0.0)
    value = float(mass @ problem.divergence.f(at_y / mass)) + c * float(b.sum()) + norm2 / (2 * lam)
    theta = min(1.0, c / float(h.max())) if float(h.max()) > 0 else 1.0
    conjugate = problem.divergence.conjugate((theta * h[:size]).clamp(max=math.nextafter(c, 0.0)))
    primal = theta * (problem.energy - float(a @ mu)) / lam - float(mass @ conjugate) - theta**2 * norm2 / (2 * lam)
    gap = max(value - primal, 0.0)
    error = math.sqrt(2 * lam * gap / norm2) + 1 - theta if norm2 > 0 else 0.0
    return Solution(u, at_y, value, gap, error, 0, 0, ""), b
