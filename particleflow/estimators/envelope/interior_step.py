"""One step of the interior-point method for the program (1) of `bounded`.

Each density g >= 0 has a multiplier z >= 0. A density with r = 1 - g >= 0 has a second one, t >= 0.
At an optimum

    h = f'(g) - z + t,    g z = 0,    r t = 0,    h = (mu_x - K a) / lam                         (2)

Newton's method is applied to (2) with a small tau > 0 in place of 0. Each of g, r, z and t is
stored on its own, so that it keeps all its digits where it is nearly 0. The linear system is the
one of `linear`, with W^-1 = f''(g) + z / g + t / r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow.estimators.envelope.bounded import Program
from particleflow.estimators.envelope.cholesky import partial_cholesky
from particleflow.estimators.envelope.gram import SMALL
from particleflow.estimators.envelope.linear import Direct, LowRank, Products, System
from particleflow.kernels import Kernel

# The share of the way to the nearest bound that a step may go.
NEARLY = 0.995
# The densities at a cold start, except those of cost f, which are 1.
HALF = 0.5
# The least multiplier at a cold start.
LEAST = 0.5
# The least multiplier at a cold start, as a share of max |h|, where that is more than LEAST.
SHARE = 0.1
# The largest W / lam: beyond, K W / lam would be singular in float64.
LARGEST = 1e12
# The most columns of a factor of K.
COLUMNS = 1024
# The most numbers of a factor of K.
NUMBERS = 2 * 10**7
# The share of max |k| that a factor of K may leave out.
LEFT = 1e-13
# The least f'' at a density, as a share of f''(1), with which Newton's method in u works.
FLAT = 0.1
# The least product g z where a later solve starts, as a share of the gap over the mass of all
# bounds. Without it such products would shrink from fit to fit and end at 0, which no step leaves.
CENTRED = 1e-2
# The largest factor between g z and tau in careful steps.
OFF = 1e3
# The shortest length of a careful step that is tried.
SHORTEST = 1e-8
# The largest rise at the end of a careful step, as a share of the fall at its beginning.
ALLOWED = 0.1


@dataclass(frozen=True, eq=False)
class Iterate:
    """g, r, z, t (n,) and h (P,).

    r = 1 and t = 0 where g has no bound above; z = 0 where g has none below.
    """

    g: Float[Tensor, "n"]
    r: Float[Tensor, "n"]
    z: Float[Tensor, "n"]
    t: Float[Tensor, "n"]
    h: Float[Tensor, "P"]


@dataclass(frozen=True, eq=False)
class Step:
    """The changes of g, z and t in a step. r changes by -g."""

    g: Float[Tensor, "n"]
    z: Float[Tensor, "n"]
    t: Float[Tensor, "n"]


class Solver:
    """The data that the steps of one solve share.

    Attributes
    ----------
    products : int
        Products by K so far.
    low, high : (n,) bool
        Which densities have the bound 0, and which the bound 1.
    bounds : float
        The mass of all bounds, sum q (low + high).
    factor : (P, rank) or None
        A partial Cholesky factor of K, where it has few columns.
    """

    def __init__(self, program: Program, kernel: Kernel, lam: float) -> None:
        self.program, self.lam, self.products = program, lam, 0
        gram, n, size = program.gram, len(program.mass), program.size
        points = gram.cloud.points
        at_first = torch.arange(n, device="cpu") < size
        self.low: Bool[Tensor, "n"] = ~at_first | (not program.steep)
        self.high: Bool[Tensor, "n"] = at_first & program.doubled
        self.bounds = float(
            self.program.mass @ self.low.double() + self.program.mass @ self.high.double()
        )
        self.factor: Tensor | None = None
        if len(points) > SMALL:
            most = min(COLUMNS, NUMBERS // len(points), len(points) // 4)
            self.factor = partial_cholesky(kernel, points, gram.cloud.mass, LEFT * gram.peak, most)

    def unmoved(self) -> Iterate:
        """g = 1 and no other mass: the solution for a piecewise linear f where |h| <= c."""
        g = torch.zeros_like(self.program.mass)
        g[: self.program.size] = 1.0
        h = self._image(g)
        slack = self.program.slope(g) - self.program.spread(h)
        return Iterate(
            g,
            1 - self.high.double(),
            slack.clamp(min=0) * self.low,
            (-slack).clamp(min=0) * self.high,
            h,
        )

    def begin(self) -> Iterate:
        """The point where a cold start begins."""
        program = self.program
        g = torch.full_like(program.mass, HALF)
        if not program.doubled:
            g[: program.size] = 1.0
        h = self._image(g)
        least = max(LEAST, SHARE * float(h.abs().max()))
        z = (program.slope(g) - program.spread(h)).clamp(min=least) * self.low
        return Iterate(g, torch.where(self.high, 1 - g, 1.0), z, least * self.high.double(), h)

    def begin_at(self, start: Float[Tensor, "4 n"]) -> Iterate:
        """The point of an earlier solve, with g z and r t raised to at least a share of its gap.

        From such a point, which is not too near to any bound, the solver need not turn back.
        """
        g, r, z, t = start.unbind()
        here = Iterate(g, r, z, t, self._image(g))
        least = min(
            CENTRED * self.program.certify(g, r, here.h, self.lam).gap / self.bounds, HALF**2
        )
        low, high = self.low & (g * z < least), self.high & (r * t < least)
        if not bool((low | high).any()):
            return here
        (g, z), (r, t) = _lifted(g, z, low, least), _lifted(r, t, high, least)
        g = torch.where(self.high & (r < g), 1 - r, g)
        return Iterate(g, torch.where(self.high & (r >= g), 1 - g, r), z, t, self._image(g))

    def free(self, here: Iterate) -> bool:
        """Whether Newton's method can solve the problem: no bound is met at y, and all are at x.

        It cannot where f'' nearly vanishes at small densities (powers above 2), since u hardly
        tells such densities apart.
        """
        met, size = here.g < here.z, self.program.size
        if self.program.doubled or bool(met[:size].any()) or not bool(met[size:].all()):
            return False
        curvature, one = (
            self.program.divergence.curvature(g)
            for g in (here.g[:size].clamp(max=1), here.g.new_ones(1))
        )
        return bool((curvature > FLAT * one).all())

    def _image(self, g: Float[Tensor, "n"]) -> Float[Tensor, "P"]:
        """h."""
        self.products += 1
        return (self.program.mu - self.program.gram.times(self.program.weights(g))) / self.lam

    def improve(self, here: Iterate) -> Iterate | None:
        """One step of Mehrotra's method; None where it leads nowhere.

        A predictor tells how small tau may be, and a corrector aims there.
        """
        program, zero = self.program, torch.zeros_like(here.g)
        w = self._inverse(here)
        system = self._system(program.fold(w))
        if system is None:
            return None
        step = self._direction(here, w, system, 0.0, zero, zero)
        gap = self._products(here.g, here.r, here.z, here.t)
        if gap > 0:
            s = self._length(here, step, 1.0)
            left = self._products(
                here.g + s * step.g, here.r - s * step.g, here.z + s * step.z, here.t + s * step.t
            )
            tau = min(max(left / gap, 0.0), 1.0) ** 3 * gap / self.bounds
            step = self._direction(here, w, system, tau, step.g * step.z, -step.g * step.t)
        s = self._length(here, step, NEARLY)
        g = program.moved(here.g, s * step.g)
        r = torch.where(self.high, here.r - s * step.g, 1.0)
        after = Iterate(g, r, here.z + s * step.z, here.t + s * step.t, self._image(g))
        return after if bool(after.h.isfinite().all()) else None

    def mean(self, here: Iterate) -> float:
        """The mean of all products g z and r t, weighted by mass."""
        return self._products(here.g, here.r, here.z, here.t) / self.bounds

    def lower(self, here: Iterate, tau: float) -> Iterate | None:
        """Newton's step for g z = r t = tau, as far as it lowers D - tau sum q (log g + log r).

        That function is convex. Its slope at the end of the step decides whether the step is short
        enough, since differences of its values would be rounding. z and t go as far as their own
        bounds allow. None where no step is found.
        """
        zero = torch.zeros_like(here.g)
        w = self._inverse(here)
        system = self._system(self.program.fold(w))
        if system is None:
            return None
        step = self._direction(here, w, system, tau, zero, zero)
        length = self._length(here, replace(step, z=zero, t=zero), NEARLY)
        while length > SHORTEST:
            g = self.program.moved(here.g, length * step.g)
            r = torch.where(self.high, here.r - length * step.g, 1.0)
            after = replace(here, g=g, r=r, h=self._image(g))
            way = g - here.g
            if self._rise(after, tau, way) <= ALLOWED * abs(self._rise(here, tau, way)):
                s = self._length(here, replace(step, g=zero), NEARLY)
                z, t = here.z + s * step.z, here.t + s * step.t
                z, t = (
                    torch.minimum(torch.maximum(v, tau / (OFF * of)), OFF * tau / of)
                    for v, of in ((z, g), (t, after.r))
                )
                return replace(after, z=z * self.low, t=t * self.high)
            length /= 4
        return None

    def _rise(self, here: Iterate, tau: float, way: Float[Tensor, "n"]) -> float:
        """The slope of D - tau sum q (log g + log r) along `way`."""
        slope = (
            self.program.slope(here.g)
            - self.program.spread(here.h)
            - self.low * tau / here.g
            + self.high * tau / here.r
        )
        return float((self.program.mass * slope) @ way)

    def _inverse(self, here: Iterate) -> Float[Tensor, "n"]:
        """W (n,) = q / (f''(g) + z / g + t / r)."""
        inverse = self.program.curvature(here.g) + here.z / here.g + here.t / here.r
        return self.program.mass / inverse.clamp(min=self.program.mass / (LARGEST * self.lam))

    def _products(
        self,
        g: Float[Tensor, "n"],
        r: Float[Tensor, "n"],
        z: Float[Tensor, "n"],
        t: Float[Tensor, "n"],
    ) -> float:
        """sum q (g z + r t)."""
        return float(self.program.mass @ (g * z + r * t))

    def _direction(
        self,
        here: Iterate,
        w: Float[Tensor, "n"],
        system: System,
        tau: float,
        of_z: Float[Tensor, "n"],
        of_t: Float[Tensor, "n"],
    ) -> Step:
        """Newton's step for g z = tau - of_z and r t = tau - of_t."""
        program = self.program
        to_z, to_t = torch.where(self.low, tau - of_z, 0.0), torch.where(self.high, tau - of_t, 0.0)
        wanted = program.spread(here.h) - program.slope(here.g) + to_z / here.g - to_t / here.r
        right = program.fold(w * wanted) / program.fold(w)
        step = w / program.mass * (wanted + program.spread(system.solve(right) - right))
        return Step(
            step,
            (to_z - here.z * (here.g + step)) / here.g,
            (to_t - here.t * (here.r - step)) / here.r,
        )

    def _length(self, here: Iterate, step: Step, share: float) -> float:
        """The longest step, at most 1, that goes at most `share` of the way to any bound."""
        down = torch.maximum(-step.g / here.g, -step.z / here.z)
        up = torch.maximum(step.g / here.r, -step.t / here.t)
        fastest = max(
            float(torch.where(self.low, down, 0.0).max()),
            float(torch.where(self.high, up, 0.0).max()),
        )
        return 1.0 if fastest <= share else share / fastest

    def _system(self, w: Float[Tensor, "P"]) -> System | None:
        """I + K W / lam; None where rounding leaves no positive definite matrix."""
        gram = self.program.gram
        if self.factor is not None:
            return LowRank.of(self.factor, w, self.lam)
        if gram.matrix is None:
            return Products(gram, w, self.lam)
        return Direct.of(gram.matrix, w, self.lam)


def _lifted(
    v: Float[Tensor, "n"], w: Float[Tensor, "n"], where: Bool[Tensor, "n"], least: float
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """v and w, which are enlarged where `where` holds, just enough for v w >= least."""
    root = math.sqrt(least)
    larger_v = torch.maximum(v, least / w.clamp(min=root))
    larger_w = torch.maximum(w, least / v.clamp(min=root))
    return torch.where(where, larger_v, v), torch.where(where, larger_w, w)
