"""The convex program of a regularised f-divergence whose densities meet bounds: its costs, and the
duality gap that certifies a solution.

    D(g) = sum_j q_j f(g_j) + c sum_i m_i b_i + |mu_x - sum_j q_j g_j k(y_j, .) - sum_i m_i b_i k(x_i, .)|^2 / (2 lam)   over g, b >= 0   (1)

c = lim f(g) / g, the recession constant: where it is finite mass may leave the target's points, at
that cost, for the particles' own; the dual then has the constraint h <= c at all points. Where it
is infinite there is no b. Total variation, |g - 1| / 2, is a density 0 <= g <= 1 of cost (1 - g) /
2 and another one, of cost c, at the same points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.divergences import Divergence, TotalVariation
from particleflow.estimators.envelope.dual import ROUNDING, SHARE, SMALL_RESIDUAL
from particleflow.estimators.envelope.gram import Gram
from particleflow.memo import cached_property

# A density below it weighs nothing, and the square of its inverse is a number still.
LEAST = 1e-140


@dataclass(frozen=True, eq=False)
class Certificate:
    """D, its gap, a bound of |h - h*| / |h|, and what of that the errors of the sums explain."""

    value: float
    gap: float
    error: float
    floor: float


@dataclass(frozen=True, eq=False)
class Program:
    """(1), as n densities g at P <= n points: those of cost f at y first, then (total variation)
    those of cost c at y, then b at x.

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
        return isinstance(self.divergence, TotalVariation)

    @cached_property
    def steep(self) -> bool:
        """f'(0) = -inf: no bound below is met at y."""
        return not self.doubled and math.isinf(float(self.divergence.slope(self.mu.new_zeros(1))))

    @cached_property
    def mass(self) -> Float[Tensor, "n"]:
        return self.spread(self.gram.cloud.mass)

    def spread(self, v: Float[Tensor, "P"]) -> Float[Tensor, "n"]:
        """A function of the points, for each density."""
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
        first = (
            torch.full_like(g[: self.size], -0.5)
            if self.doubled
            else self.divergence.slope(g[: self.size])
        )
        return torch.cat([first, g.new_full((len(g) - self.size,), self.divergence.recession)])

    def curvature(self, g: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        first = (
            torch.zeros_like(g[: self.size])
            if self.doubled
            else self.divergence.curvature(g[: self.size])
        )
        return torch.cat([first, g.new_zeros(len(g) - self.size)])

    def moved(self, g: Float[Tensor, "n"], step: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """g + step; where f is steep at 0 densities fall by a step of f'(g) instead, which does not
        carry them below.
        """
        if not self.steep:
            return g + step
        first, down = g[: self.size], step[: self.size].clamp(max=0)
        fallen = self.divergence.ratio(
            self.divergence.slope(first) + self.divergence.curvature(first) * down
        ).clamp(min=LEAST)
        return torch.cat(
            [torch.where(down < 0, fallen, first + step[: self.size]), (g + step)[self.size :]]
        )

    def certify(
        self, g: Float[Tensor, "n"], r: Float[Tensor, "n"], h: Float[Tensor, "P"], lam: float
    ) -> Certificate:
        """The gap at g (r = 1 - g) and theta h, theta <= 1 such that theta h <= c: by parts none of
        which is negative.

        sum_j q_j (f(g_j) + f*(theta h_j) - theta g_j h_j) + sum_i m_i b_i (c - theta h_i) + lam (1
        - theta)^2 |h|^2 / 2.
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
        """What an error of h up to `size` makes of f(g) + f*(h) - g h at its least: size times the
        change of (f*)', where that jumps or is steep.

        No more than 1 + g of that change counts.
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
            return r / 2, torch.where(h < -0.5, g * (-0.5 - h), r * (0.5 + h))
        cost = self.divergence.f(g)
        t = h - self.divergence.slope(g)
        # as in `Dual`: f(g) + f*(h) - g h by the trapezium rule where the difference has no digits
        near = t * (self.divergence.ratio(h) - g) / 2
        far = cost + self.divergence.conjugate(h) - g * h
        return cost, torch.where(t.abs() < SMALL_RESIDUAL, near, far).clamp(min=0)
