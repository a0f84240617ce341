"""The convex program of a regularised f-divergence whose densities meet bounds.

    D(g, b) = sum_j q_j f(g_j) + c sum_i m_i b_i
              + |mu_x - sum_j q_j g_j k(y_j, .) - sum_i m_i b_i k(x_i, .)|^2 / (2 lam)           (1)

over g, b >= 0. c = lim f(g) / g is the recession constant. Where c is finite, mass may leave the
target's points for the particles' own, at the cost c. The dual then has the constraint h <= c at
all points. Where c is infinite there is no b.

A piecewise linear f, c |g - 1|, becomes two densities at the same points: one in [0, 1] of cost
c (1 - g), and one of cost c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.divergences import Divergence, PiecewiseLinear
from particleflow.estimators.envelope.dual import ROUNDING, SHARE, SMALL_RESIDUAL, small_gap
from particleflow.estimators.envelope.gram import LARGE, Gram, WholeGram, gram_of
from particleflow.kernels import Kernel
from particleflow.memo import cached_property
from particleflow.pairwise import PairwiseSum
from particleflow.pairwise.exact.dense import kernel_matrix

# The least density: smaller ones weigh nothing, and the square of its inverse is still a number.
LEAST = 1e-140
# The growth of f'' along a step beyond which f' is far from linear there.
GROWTH = 2.0


@dataclass(frozen=True, eq=False)
class Certificate:
    """The quality of an iterate.

    Attributes
    ----------
    value, gap : float
        D and its duality gap.
    error : float
        A bound of |h - h*| / |h|.
    floor : float
        The `error` that the errors of the sums leave, however long the solver runs.
    """

    value: float
    gap: float
    error: float
    floor: float


@dataclass(frozen=True, eq=False)
class Program:
    """Problem (1), as one vector of n densities g at P <= n points.

    The densities stand in this order: those of cost f at y; those of cost c at y, for a piecewise
    linear f alone; the densities b at x.

    Parameters
    ----------
    gram : Gram
        K at the points, with the masses q at y and m at x.
    mu : (P,)
        mu_x at the points.
    energy : float
        |mu_x|^2.
    size : int
        M, the number of points y.
    """

    divergence: Divergence
    gram: Gram
    mu: Float[Tensor, "P"]
    energy: float
    size: int

    @cached_property
    def doubled(self) -> bool:
        """Whether f is piecewise linear, so that there are two densities at each y."""
        return isinstance(self.divergence, PiecewiseLinear)

    @cached_property
    def steep(self) -> bool:
        """Whether f'(0) = -inf, so that no density at y is 0."""
        return not self.doubled and math.isinf(float(self.divergence.slope(self.mu.new_zeros(1))))

    @cached_property
    def mass(self) -> Float[Tensor, "n"]:
        """q at y, and m at x, for each density."""
        return self.spread(self.gram.cloud.mass)

    def spread(self, v: Float[Tensor, "P"]) -> Float[Tensor, "n"]:
        """From values at the points to values for each density."""
        return torch.cat([v[: self.size], v]) if self.doubled else v

    def fold(self, v: Float[Tensor, "n"]) -> Float[Tensor, "P"]:
        """The sums over the densities at each point."""
        if not self.doubled:
            return v
        return torch.cat([v[: self.size] + v[self.size : 2 * self.size], v[2 * self.size :]])

    def weights(self, g: Float[Tensor, "n"]) -> Float[Tensor, "P"]:
        """a = q g."""
        return self.fold(self.mass * g)

    def slope(self, g: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The derivative of the cost of each density."""
        first, c = g[: self.size], self.divergence.recession
        slope = torch.full_like(first, -c) if self.doubled else self.divergence.slope(first)
        return torch.cat([slope, g.new_full((len(g) - self.size,), c)])

    def curvature(self, g: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The second derivative of the cost of each density."""
        first = g[: self.size]
        curvature = torch.zeros_like(first) if self.doubled else self.divergence.curvature(first)
        return torch.cat([curvature, g.new_zeros(len(g) - self.size)])

    def moved(self, g: Float[Tensor, "n"], step: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """g + step, but a step of f'(g) where f' is far from linear along the step.

        Where f is steep at 0, densities fall so, and stay above 0. Where f'' is small at small
        densities (powers above 2), densities rise so above 1. g + step would overshoot by far.
        """
        if self.doubled:
            return g + step
        if not self.steep:
            return torch.cat([self._risen(g[: self.size], step), (g + step)[self.size :]])
        first, down = g[: self.size], step[: self.size].clamp(max=0)
        fallen = self.divergence.ratio(
            self.divergence.slope(first) + self.divergence.curvature(first) * down
        ).clamp(min=LEAST)
        return torch.cat(
            [torch.where(down < 0, fallen, first + step[: self.size]), (g + step)[self.size :]]
        )

    def _risen(self, first: Float[Tensor, "M"], step: Float[Tensor, "n"]) -> Float[Tensor, "M"]:
        """The densities at y after the step. Above 1 they rise by a step of f'(g) where f'' grows.

        A multiplier can hold a density near 0, where f'' = 0, so that the linear model says nothing
        of f' above 1. The step of f' begins at 1 for such a density.
        """
        straight, start = first + step[: self.size], first.clamp(min=1.0)
        here = self.divergence.curvature(start)
        grows = self.divergence.curvature(straight.clamp(min=1.0)) > GROWTH * here
        if not bool(grows.any()):
            return straight
        cap = self.divergence.ratio(self.divergence.slope(start) + here * (straight - start))
        return torch.where(grows, torch.minimum(straight, cap), straight)

    def certify(
        self, g: Float[Tensor, "n"], r: Float[Tensor, "n"], h: Float[Tensor, "P"], lam: float
    ) -> Certificate:
        """The gap at g and theta h, with r = 1 - g, and theta <= 1 such that theta h <= c.

            sum_j q_j (f(g_j) + f*(theta h_j) - theta g_j h_j)
            + sum_i m_i b_i (c - theta h_i) + lam (1 - theta)^2 |h|^2 / 2

        No part of it is negative.
        """
        size, c, a = self.size, self.divergence.recession, self.weights(g)
        norm2 = max(self.energy - float(a @ (self.mu + lam * h)), 0.0)
        above = float(h.max())
        theta = min(1.0, c / above) if above > 0 else 1.0
        mass, first, rest = self.mass[:size], g[:size], (self.mass * g)[size:]
        cost, excess = self._entropy(
            first, r[:size], (theta * h[:size]).clamp(max=math.nextafter(c, 0.0))
        )
        gap = float(mass @ excess)
        value, singular = float(mass @ cost) + norm2 / (2 * lam), float(rest.sum())
        if len(rest):
            gap += float(rest @ (c - theta * self.spread(h)[size:]).clamp(min=0)) + (
                1 - theta
            ) ** 2 * norm2 / (2 * lam)
            value += c * singular
        scale = max(norm2, 1e-15 * self.energy)
        uncertain = self.gram.error * float(a.sum() + self.gram.cloud.mass.sum()) / lam
        rounding = uncertain * (singular + uncertain) + float(
            mass @ self._uncertain(first, h[:size], SHARE * uncertain)
        )
        if scale == 0:
            return Certificate(value, gap, 0.0, 0.0)
        floor = math.sqrt(2 * lam * rounding / scale) + (uncertain / c if len(rest) else 0.0)
        error = math.sqrt(2 * lam * gap / scale) + 1 - theta
        return Certificate(value, gap, math.inf if math.isnan(error) else error, floor)

    def _uncertain(
        self, g: Float[Tensor, "M"], h: Float[Tensor, "M"], size: float
    ) -> Float[Tensor, "M"]:
        """The error of f(g) + f*(h) - g h, near 0, that an error of h up to `size` causes.

        It is that error of h, with rounding, times the change of (f*)' over it, or times 1 + g
        where that is less.
        """
        error = size + ROUNDING * h.abs()
        up, down = (
            (h + s * error).clamp(max=math.nextafter(self.divergence.recession, 0.0))
            for s in (1, -1)
        )
        return error * (self.divergence.ratio(up) - self.divergence.ratio(down)).clamp(max=1 + g)

    def _entropy(
        self, g: Float[Tensor, "M"], r: Float[Tensor, "M"], h: Float[Tensor, "M"]
    ) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
        """The cost of g at y, and cost + f*(h) - g h >= 0."""
        if self.doubled:
            c = self.divergence.recession
            return c * r, torch.where(h < -c, g * (-c - h), r * (c + h))
        cost = self.divergence.f(g)
        t = h - self.divergence.slope(g)
        # as in `Dual`: an upper bound where the difference has no digits
        end = self.divergence.ratio(h)
        near = small_gap(t, g, self.divergence.ratio(h - t / 2), end)
        # t (end - g) is a bound too: f* is convex. It keeps its digits where g is nearly 0, while
        # cost + f* has an error of eps f(0).
        far = torch.minimum(cost + self.divergence.conjugate(h) - g * h, t * (end - g))
        return cost, torch.where(t.abs() < SMALL_RESIDUAL, near, far).clamp(min=0)


def program_of(
    divergence: Divergence,
    clouds: list[Cloud],
    mu: list[Tensor],
    energy: float,
    kernel: Kernel,
    pairwise: PairwiseSum,
) -> Program:
    """The program of the clouds y and, where the recession constant is finite, x; mu_x at both."""
    points = torch.cat([cloud.points for cloud in clouds])
    everywhere = Cloud(points, log_mass=torch.cat([cloud.mass for cloud in clouds]).log())
    if len(points) <= LARGE:
        gram: Gram = WholeGram(kernel_matrix(kernel, points, points), everywhere)
    else:
        gram = gram_of(kernel, everywhere, pairwise, lasting=False)
    return Program(divergence, gram, torch.cat(mu), energy, len(clouds[0]))
