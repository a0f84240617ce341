"""The dual problem of a regularised f-divergence, and the duality gap that certifies a solution.

    D(g) = sum_j q_j f(g_j) + |mu_x - sum_j q_j g_j k(y_j, .)|^2 / (2 lam)                       (1)
    P(h) = sum_i m_i h(x_i) - sum_j q_j f*(h(y_j)) - lam/2 |h|^2                                 (2)

D is minimised over densities g >= 0 of the target's points, P is maximised over the Hilbert space
of k. min D = max P. At the optimum h = (mu_x - sum_j q_j g_j k(y_j, .)) / lam, and
g_j = (f*)'(h(y_j)), an estimate of current / target at y_j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.envelope.gram import Gram
from particleflow.memo import cached_property

# |t| below which f*(u + t) - f*(u) - g t is taken as an integral: the difference would lose
# eps / t^2 of it to rounding.
SMALL_RESIDUAL = 1e-4
# Growth of a weight in one step, as a share of it, that needs no safeguard.
SHORT = 0.1
# A bound of the rounding of u, as a share of |u|.
ROUNDING = 4 * torch.finfo(torch.float64).eps
# The share of the sums' own error that the solver may add.
SHARE = 0.1


@runtime_checkable
class Entropy(Protocol):
    """The parts of f in the solver: f', f*, (f*)' and (f*)'' (`particleflow.divergences`)."""

    def slope(self, g: Tensor) -> Tensor: ...
    def conjugate(self, s: Tensor) -> Tensor: ...
    def ratio(self, s: Tensor) -> Tensor: ...
    def ratio_slope(self, s: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Point:
    """The state of the solver.

    u (M,), the weights a = q (f*)'(u), image = K a, the residual t = h - u at y, value = D, gap =
    D - P, and norm2 = lam^2 |h|^2.
    """

    u: Float[Tensor, "M"]
    a: Float[Tensor, "M"]
    image: Float[Tensor, "M"]
    residual: Float[Tensor, "M"]
    value: float
    gap: float
    norm2: float


@dataclass(frozen=True, eq=False)
class Dual:
    """Problem (1) in the variable u = f'(g), with g = (f*)'(u) and the weights a = q g of h.

    Let h_u = (mu_x - sum_j a_j k(y_j, .)) / lam be the witness of the weights a at u. Then u is a
    solution where u_j = h_u(y_j).

    Parameters
    ----------
    divergence : Divergence, or another `Entropy`
    gram : Gram
        K at the target's points, with their masses q.
    mu : (M,) float64
        mu_x = sum_i m_i k(x_i, .) at y.
    energy : float
        |mu_x|^2 = sum_ii' m_i m_i' k(x_i, x_i').
    least : float
        The least value of |mu_x - sum_j a_j k(y_j, .)|^2, which rounding could make negative. -inf
        where mu holds a linear cost too: then the expression is no square.
    repeats : bool
        Whether f is quadratic, and later problems have the same points and lam: then the linear
        system of each of them is the same.
    """

    divergence: Entropy
    gram: Gram
    mu: Float[Tensor, "M"]
    energy: float
    least: float = 0.0
    repeats: bool = False

    @cached_property
    def mass(self) -> Float[Tensor, "M"]:
        return self.gram.cloud.mass

    def at(self, u: Float[Tensor, "M"], lam: float) -> Point:
        """The point at u. Cost: one product by K."""
        a = self.mass * self.divergence.ratio(u)
        return self.with_image(u, a, self.gram.times(a), lam)

    def at_zero(self, lam: float) -> Point:
        """The point at u = 0, where a = q. Costs a product only once for each target."""
        return self.with_image(torch.zeros_like(self.mu), self.mass, self.gram.of_mass, lam)

    def value_at_zero(self, lam: float) -> float:
        """D at u = 0, where f(1) = 0: |mu_x - sum_j q_j k(y_j, .)|^2 / (2 lam)."""
        return self._norm2(self.mass, self.gram.of_mass) / (2 * lam)

    def with_image(
        self, u: Float[Tensor, "M"], a: Float[Tensor, "M"], image: Float[Tensor, "M"], lam: float
    ) -> Point:
        """The point at u, where a and image = K a are known."""
        residual = (self.mu - image) / lam - u
        norm2 = self._norm2(a, image)
        # f(g) = u g - f*(u), which at small u loses no more than eps u
        conjugate = self.divergence.conjugate(u)
        entropy = float(a @ u) - float(self.mass @ conjugate)
        return Point(
            u,
            a,
            image,
            residual,
            entropy + norm2 / (2 * lam),
            self._gap(u, a, conjugate, residual),
            norm2,
        )

    def _norm2(self, a: Float[Tensor, "M"], image: Float[Tensor, "M"]) -> float:
        """|mu_x - sum_j a_j k(y_j, .)|^2 = lam^2 |h|^2, image = K a."""
        return max(self.energy + float(a @ (image - 2 * self.mu)), self.least)

    def _gap(
        self,
        u: Float[Tensor, "M"],
        a: Float[Tensor, "M"],
        conjugate: Float[Tensor, "M"],
        t: Float[Tensor, "M"],
    ) -> float:
        """D - P at the witness of a, >= 0.

        sum_j q_j (f(g_j) + f*(h_j) - g_j h_j) = sum_j q_j (f*(u_j + t_j) - f*(u_j) - g_j t_j)

        Small residuals t take the trapezium rule, whose relative error is |t| / 6 for KL.
        """
        h = u + t
        near = t * (self.mass * self.divergence.ratio(h) - a) / 2
        large = t.abs() >= SMALL_RESIDUAL
        if not bool(large.any()):
            return float(near.sum())
        far = self.mass * (self.divergence.conjugate(h) - conjugate) - a * t
        return float(torch.where(large, far, near).sum())

    def certified(self, point: Point) -> Point:
        """The point with an upper bound of D - P for its gap."""
        t = point.residual
        middle, end = (self.mass * self.divergence.ratio(point.u + s) for s in (t / 2, t))
        missing = small_gap(t, point.a, middle, end) - t * (end - point.a) / 2
        small = t.abs() < SMALL_RESIDUAL
        return replace(point, gap=point.gap + float(torch.where(small, missing, 0.0).sum()))

    def moved(
        self, u: Float[Tensor, "M"], step: Float[Tensor, "M"], lam: float
    ) -> Float[Tensor, "M"]:
        """u + step, but no weight that matters to h grows faster than linearly in the step.

        Where (f*)' is steep, u + step itself would overshoot by far.
        """
        ratio = self.divergence.ratio(u)
        linear = ratio + self.divergence.ratio_slope(u) * step
        cap = self.divergence.slope(torch.maximum(linear, lam / (self.gram.peak * self.mass)))
        long = linear > (1 + SHORT) * ratio
        straight = u + step
        return torch.where(long & (cap < straight), cap, straight)

    def error(self, point: Point, lam: float) -> float:
        """A bound of |h - h*| / |h| in the Hilbert norm, h* the solution.

        P is lam-strongly concave, so lam/2 |h - h*|^2 <= gap. Where |h| itself is rounding, the
        error is relative to that rounding.
        """
        scale = max(point.norm2, 1e-15 * self.energy)
        return 0.0 if scale == 0 else math.sqrt(2 * lam * max(point.gap, 0.0) / scale)

    def enough(self, point: Point, lam: float, rtol: float) -> float:
        """The gap at which to stop: it leaves an error of rtol, or what the sums' errors cause."""
        scale = max(point.norm2, 1e-15 * self.energy)
        uncertain = (
            SHARE * self.gram.error * float(point.a.abs().sum() + self.mass.sum()) / lam
            + ROUNDING * point.u.abs()
        )
        floor = 0.5 * float((self.mass * self.divergence.ratio_slope(point.u)) @ uncertain**2)
        return max(rtol**2 * scale / (2 * lam), floor)

    def rounding(self, point: Point, lam: float) -> float:
        """The gap that rounding of K a may leave, where h is a small difference of large sums.

        The rounding of a sum of M terms grows like sqrt(M), as of independent errors.
        """
        lost = ROUNDING * math.sqrt(len(point.a)) * point.image.abs() / lam
        return 0.5 * float((self.mass * self.divergence.ratio_slope(point.u)) @ lost**2)


def small_gap(
    t: Float[Tensor, "M"],
    start: Float[Tensor, "M"],
    middle: Float[Tensor, "M"],
    end: Float[Tensor, "M"],
) -> Float[Tensor, "M"]:
    """An upper bound of f*(u + t) - f*(u) - t (f*)'(u), the integral of (f*)' - (f*)'(u).

    `start`, `middle` and `end` are (f*)' at u, u + t / 2 and u + t. Where (f*)' is convex or
    concave, the trapezium rule and the midpoint rule err to opposite sides, and the larger of them
    is a bound. Where g becomes 0, (f*)' may be neither. It still increases, so that twice the
    trapezium rule is a bound.
    """
    trapezium = t * (end - start) / 2
    larger = torch.maximum(trapezium, t * (middle - start))
    return torch.where((start == 0) | (end == 0), 2 * trapezium, larger)
