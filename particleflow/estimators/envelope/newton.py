"""The inner solver of KALE and of the Moreau envelopes: inexact Newton in u = f'(g), safeguarded,
certified by its duality gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.envelope.dual import Dual, Point
from particleflow.estimators.envelope.linear import solve_system

ARMIJO = 1e-4
# Where nothing is known to start from, lam comes down from where |h| is at most FIRST, CONTINUATION
# at a time, loosely on the way.
FIRST, CONTINUATION, LOOSE = 100.0, 30.0, 1e-1
# Rounding of D, relative to it and to |mu_x|^2 / lam: where differences drown in that, the gap's
# own decrease counts.
ROUNDING = 1e-13, 1e-14
# Linear systems are solved to this share of their right-hand side, or to as much as Newton's method
# can use.
COARSE = 3e-2
# A full step of a small residual that lowers the gap less than SLOW shows that the rough products
# are too rough.
SLOW = 0.1


@dataclass(frozen=True)
class Solution:
    """u, the weights a = q (f*)'(u) of the witness, D, the duality gap, `error` >= |h - h*| / |h|;
    iterations, products by K, how it ended.

    All without KALE's factor 1 + lam. `trouble` is "" where the error is small enough, else what
    prevents it.
    """

    u: Float[Tensor, "M"]
    a: Float[Tensor, "M"]
    value: float
    gap: float
    error: float
    iterations: int
    products: int
    trouble: str

    @property
    def converged(self) -> bool:
        return not self.trouble


def solve(
    dual: Dual, lam: float, *, start: Float[Tensor, "M"] | None, rtol: float, max_iterations: int
) -> Solution:
    """Minimise D until `error` <= rtol, or as near to that as the errors of the sums allow.

    Each iteration solves (I + K W / lam) s = t for the step s of u, W = q (f*)''(u), t = h - u. A
    residual r of the linear system leaves a gap of sum_j W_j r_j^2 / 2, so that it is solved no
    further than the gap wanted, nor than the quadratic convergence can use.

    `start` warm-starts; without one, or with one that is worse than u = 0, lam comes down to its
    value in a few stages.
    """
    run = Run(dual, max_iterations)
    zero = dual.at_zero(lam)
    point = zero if start is None else dual.at(start, lam)
    if not point.value <= zero.value:
        point = zero
    if point is zero:
        steepest = float(zero.residual.abs().max()) / FIRST
        stages = math.ceil(math.log(steepest, CONTINUATION)) if 1 < steepest < math.inf else 0
        for k in range(stages, 0, -1):
            point = run.minimise(point, lam * CONTINUATION**k, LOOSE)
    point = run.minimise(point, lam, rtol)
    trouble = run.trouble
    return Solution(
        point.u,
        point.a,
        point.value,
        point.gap,
        dual.error(point, lam),
        run.iterations,
        run.products,
        trouble,
    )


class Run:
    """One solve: what it has used so far, and what it has learned about its linear systems."""

    def __init__(self, dual: Dual, max_iterations: int) -> None:
        self.dual, self.max_iterations = dual, max_iterations
        self.iterations, self.products, self.trouble = 0, 1, ""
        self.exact = self.direct = False

    def minimise(self, point: Point, lam: float, rtol: float, gap: float = 0.0) -> Point:
        """From `point` on, found at any lam, to an error of rtol or to a gap."""
        dual = self.dual
        point = dual.with_image(point.u, point.a, point.image, lam)
        for _ in range(self.max_iterations):
            enough = max(gap, dual.enough(point, lam, rtol))
            if point.gap <= enough:
                self.trouble = ""
                return point
            self.iterations += 1
            after = self._step(point, lam, enough)
            if after is None:
                self.trouble = (
                    "no step lowers the dual any more"
                    if math.isfinite(point.value)
                    else "the dual is not finite"
                )
                return point
            point = after
        self.trouble = (
            ""
            if point.gap <= max(gap, dual.enough(point, lam, rtol))
            else f"{self.max_iterations} iterations do not suffice"
        )
        return point

    def _step(self, point: Point, lam: float, enough: float) -> Point | None:
        w, t = self.dual.mass * self.dual.divergence.ratio_slope(point.u), point.residual
        size = math.sqrt(float((w * t) @ t))
        spread = size / math.sqrt(max(float(w.sum()), 1e-300))
        tolerance = max(0.3 * math.sqrt(2 * enough), min(COARSE, spread) * size)
        solved = solve_system(
            self.dual.gram, w, lam, t, tolerance=tolerance, exact=self.exact, direct=self.direct
        )
        self.products += solved.products
        self.direct = solved.direct
        after, length = self._along(point, lam, solved.step, slope=float((w * t) @ solved.step))
        if length == 1.0 and after.gap > max(enough, SLOW * point.gap) and spread < COARSE:
            self.exact = True
        if length == 0.0:
            if self.exact or self.dual.gram.matrix is not None:
                return None
            self.exact = True
            return point
        return after

    def _along(
        self, point: Point, lam: float, step: Tensor, *, slope: float
    ) -> tuple[Point, float]:
        """The first of 1, 1/2, 1/4 ... of the step that lowers D by a fair share of its slope, or
        halves a small gap; 0 when none does.
        """
        length, rounding = (
            1.0,
            ROUNDING[0] * abs(point.value) + ROUNDING[1] * self.dual.energy / lam,
        )
        while length > 1e-8:
            after = self.dual.at(self.dual.moved(point.u, length * step, lam), lam)
            self.products += 1
            lower = after.value <= point.value - ARMIJO * length * slope
            level = (
                after.value <= point.value + rounding
                and math.isfinite(after.gap)
                and after.gap <= 0.5 * point.gap
            )
            if math.isfinite(after.value) and (lower or level):
                return after, length
            length /= 2
        return point, 0.0
