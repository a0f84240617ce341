"""Newton's method for the dual problem in u = f'(g), certified by the duality gap.

Linear systems are solved inexactly, and a line search safeguards each step. No density may meet a
bound: that is `interior_point`'s case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.envelope.dual import Dual, Point
from particleflow.estimators.envelope.linear import solve_system
from particleflow.estimators.line_search import lengths, low_enough

# The largest |h| at the lam where a cold start begins.
FIRST = 100.0
# The factor by which a cold start divides lam from stage to stage.
CONTINUATION = 30.0
# The error that is small enough for the stages before the last.
LOOSE = 1e-1
# Rounding of D, as a share of |D|. Below it the decrease of the gap counts, not that of D.
ROUNDING_OF_VALUE = 1e-13
# Rounding of D, as a share of |mu_x|^2 / lam.
ROUNDING_OF_ENERGY = 1e-14
# The largest residual of a linear system, as a share of its right-hand side.
COARSE = 3e-2
# The least residual of a linear system, as a share of the residual that leaves the wanted gap.
FINE = 0.3
# The least sum of weights, where all of them underflow.
TINY = 1e-300
# Rough products are too rough where a full step from a small residual leaves more than this share
# of the gap.
SLOW = 0.1
# Iterations after which a gap that rounding explains is small enough; a warm fit takes 2 to 5.
PATIENCE = 30
# The shortest step that the line search tries, as a share of the full step.
SHORTEST = 1e-8


@dataclass(frozen=True)
class Solution:
    """The solution u and its certificate, without KALE's factor 1 + lam.

    Attributes
    ----------
    a : (M,)
        The weights q (f*)'(u) of the witness.
    value, gap : float
        D and its duality gap.
    error : float
        A bound of |h - h*| / |h|.
    iterations, products : int
        Newton iterations, and products by K.
    trouble : str
        "" where the error is small enough, else what prevents that.
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
    residual r of that system leaves a gap of sum_j W_j r_j^2 / 2. So the system is solved only as
    far as the wanted gap asks for, or as quadratic convergence can use.

    u begins at `start`. Where there is none, or it is worse than u = 0, u begins at 0 with a larger
    lam, which falls to its value in a few stages.
    """
    run = Run(dual, max_iterations)
    point = None if start is None else dual.at(start, lam)
    if point is None or not point.value <= dual.value_at_zero(lam):
        point = dual.at_zero(lam)
        steepest = float(point.residual.abs().max()) / FIRST
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
    """One solve: its iterations and products so far, and what it has learned about its systems.

    `exact`: rough products have proved too rough. `direct`: a Cholesky factor has proved quicker.
    """

    def __init__(self, dual: Dual, max_iterations: int) -> None:
        self.dual, self.max_iterations = dual, max_iterations
        self.iterations, self.products, self.trouble = 0, 1, ""
        self.exact = self.direct = False

    def minimise(self, point: Point, lam: float, rtol: float) -> Point:
        """The solution at lam, to an error of rtol, with a certified gap.

        `point`, where it starts, may belong to another lam. `trouble` says what prevents that
        error, and is "" where nothing does.
        """
        dual = self.dual
        point = dual.with_image(point.u, point.a, point.image, lam)
        for taken in range(self.max_iterations):
            enough = dual.enough(point, lam, rtol)
            if taken >= PATIENCE:
                enough = max(enough, dual.rounding(point, lam))
            if point.gap <= enough:
                point = dual.certified(point)
                if point.gap <= enough:
                    self.trouble = ""
                    return point
            self.iterations += 1
            after = self._step(point, lam, enough)
            if after is None:
                point = dual.certified(point)
                if not math.isfinite(point.value):
                    self.trouble = "the dual is not finite"
                elif point.gap <= dual.rounding(point, lam):
                    self.trouble = ""
                else:
                    self.trouble = "no step lowers the dual any more"
                return point
            point = after
        point = dual.certified(point)
        reached = point.gap <= dual.enough(point, lam, rtol)
        self.trouble = "" if reached else f"{self.max_iterations} iterations do not suffice"
        return point

    def _step(self, point: Point, lam: float, enough: float) -> Point | None:
        """The next point; `point` itself where exact products are to be tried; None if stuck."""
        w, t = self.dual.mass * self.dual.divergence.ratio_slope(point.u), point.residual
        size = math.sqrt(float((w * t) @ t))
        # the root mean square of t with the weights W: it measures the error of Newton's model
        spread = size / math.sqrt(max(float(w.sum()), TINY))
        # The residual of the linear system adds tolerance^2 / 2 to the gap.
        tolerance = max(FINE * math.sqrt(2 * enough), min(COARSE, spread) * size)
        solved = solve_system(
            self.dual.gram,
            w,
            lam,
            t,
            tolerance=tolerance,
            exact=self.exact,
            direct=self.direct,
            repeats=self.dual.repeats,
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
        """The first of 1, 1/2, 1/4 ... of the step that lowers D enough; length 0 if none does.

        Near the solution, where rounding hides the decrease of D, halving the gap is enough.
        """
        energy = self.dual.energy / lam
        rounding = ROUNDING_OF_VALUE * abs(point.value) + ROUNDING_OF_ENERGY * energy
        for length in lengths(SHORTEST):
            after = self.dual.at(self.dual.moved(point.u, length * step, lam), lam)
            self.products += 1
            lower = low_enough(after.value, point.value, -slope, length)
            level = (
                after.value <= point.value + rounding
                and math.isfinite(after.gap)
                and after.gap <= 0.5 * point.gap
            )
            if math.isfinite(after.value) and (lower or level):
                return after, length
        return point, 0.0
