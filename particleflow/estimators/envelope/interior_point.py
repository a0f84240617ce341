"""An interior-point method for the program (1) of `Program`: Mehrotra's predictor and corrector
(1992), primal and dual.

Each density g >= 0 has a multiplier z >= 0, and one with r = 1 - g >= 0 a second one, t >= 0. At an
optimum

    h = f'(g) - z + t,    g z = 0,    r t = 0,    h = (mu_x - K a) / lam                                                                  (2)

and Newton's method is applied to (2) with a small tau > 0 in place of 0. g, r, z and t are numbers
of their own: each keeps all its digits where it vanishes. The linear system is that of `linear`,
with W^-1 = f''(g) + z / g + t / r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.divergences import Divergence
from particleflow.estimators.envelope.cholesky import partial_cholesky
from particleflow.estimators.envelope.gram import LARGE, SMALL, Gram, WholeGram, gram_of
from particleflow.estimators.envelope.newton import Solution
from particleflow.estimators.envelope.bounded import Certificate, Program
from particleflow.estimators.envelope.linear import Direct, LowRank, Products, System
from particleflow.kernels import Kernel
from particleflow.pairwise import PairwiseSum
from particleflow.pairwise.exact.dense import kernel_matrix

# The share of the way to the nearest bound that a step may go.
NEARLY = 0.995
# Where a cold start's densities that are not of cost f begin, their multipliers at least (also
# relative to |h|).
HALF, LEAST, SHARE = 0.5, 0.5, 0.1
# Larger W / lam would make K W / lam no better than singular.
LARGEST = 1e12
# Columns and numbers of a factor of K, and how much of K it may leave out.
COLUMNS, NUMBERS, LEFT = 1024, 2 * 10**7, 1e-13
# Near the solution so many iterations without progress are the last; it has converged where
# rounding explains 1 / REACHED of its error, up to MOST.
PATIENCE, REACHED, MOST = 5, 10.0, 1e-2
# Where f'' is below this share of f''(1) Newton's method in u fails.
FLAT = 0.1
# A later solve starts where the gap fell below this share of the value: nearer to the bounds it
# would have to turn back.
WARM = 1e-3
# It starts with products g z of this share of the gap's mean part at least: smaller ones, from fit
# to fit, would end at 0, where no step leads away.
CENTRED = 1e-2

# Careful steps: what is left of tau after one of nearly full length (its root where that is less,
# down to a bound), how far g z may be off it, the share of a step below which none is tried, the
# rise at its end relative to the fall at its begin, and how many without progress are the last.
FALL, NEAR = 0.1, 3.0
OFF, SHORTEST, ALLOWED, STEPS = 1e3, 1e-8, 0.1, 25


@dataclass(frozen=True, eq=False)
class Iterate:
    """g, r, z, t (n,), and h (P,). r = 1 and t = 0 where g has no bound above, z = 0 where it meets
    none below.
    """

    g: Float[Tensor, "n"]
    r: Float[Tensor, "n"]
    z: Float[Tensor, "n"]
    t: Float[Tensor, "n"]
    h: Float[Tensor, "P"]


@dataclass(frozen=True, eq=False)
class Step:
    """What is added to g, z, t."""

    g: Float[Tensor, "n"]
    z: Float[Tensor, "n"]
    t: Float[Tensor, "n"]


@dataclass(frozen=True, eq=False)
class Found:
    """The solution at y, the weights b at x, and where to start a later solve, if not from nothing."""

    solution: Solution
    singular: Float[Tensor, "N"]
    later: Float[Tensor, "4 n"] | None


@dataclass(frozen=True, eq=False)
class Progress:
    """The best iterate so far and its certificate, where to start later, the iterations made, and
    whether these were all that were allowed.
    """

    best: Iterate
    found: Certificate
    later: Float[Tensor, "4 n"] | None = None
    count: int = 0
    exhausted: bool = False

    def then(self, other: Progress) -> Progress:
        """After another descent: the better one of both, the iterations of both."""
        better = other if other.found.error < self.found.error else self
        return replace(better, count=self.count + other.count, exhausted=other.exhausted)


def program_of(
    divergence: Divergence,
    clouds: list[Cloud],
    mu: list[Tensor],
    energy: float,
    kernel: Kernel,
    pairwise: PairwiseSum,
) -> Program:
    """Of the clouds y and, where the recession constant is finite, x, with mu_x at both."""
    points, mass = (
        torch.cat([getattr(cloud, name) for cloud in clouds]) for name in ("points", "mass")
    )
    everywhere = Cloud(points, log_mass=mass.log())
    if len(points) <= LARGE:
        gram: Gram = WholeGram(kernel_matrix(kernel, points, points), everywhere)
    else:
        gram = gram_of(kernel, everywhere, pairwise, lasting=False)
    return Program(divergence, gram, torch.cat(mu), energy, len(clouds[0]))


def solve_program(
    program: Program,
    kernel: Kernel,
    lam: float,
    start: Float[Tensor, "4 n"] | None,
    *,
    rtol: float,
    max_iterations: int,
) -> Found:
    """Until the certified error is at most rtol, or as small as the sums' errors let it be.

    Cost of each of some 10 to 20 iterations O(P r^2) with a factor of K of rank r, O(P^3) without
    one where K is whole.
    """
    solver = Solver(program, kernel, lam)
    here = solver.unmoved()
    state = Progress(here, program.certify(here.g, here.r, here.h, lam))
    fits = (
        start is not None and start.shape == (4, len(program.mass)) and bool(start.isfinite().all())
    )
    starts = [start] if fits else []
    for begin in (*starts, None):
        if state.found.error > max(rtol, state.found.floor):
            state = state.then(
                _descend(
                    solver,
                    solver.begin() if begin is None else solver.begin_at(begin),
                    rtol,
                    max_iterations,
                )
            )
        trouble = _trouble(state, rtol, max_iterations)
        if not trouble:
            break
    else:
        state = state.then(_descend_carefully(solver, solver.begin(), rtol, max_iterations))
        trouble = _trouble(state, rtol, max_iterations)
    size, best, found = program.size, state.best, state.found
    a = program.weights(best.g)
    u = (program.slope(best.g) - best.z + best.t)[:size]
    later = None if solver.free(best) else state.later
    return Found(
        Solution(
            u, a[:size], found.value, found.gap, found.error, state.count, solver.products, trouble
        ),
        a[size:],
        later,
    )


def _descend(solver: Solver, here: Iterate, rtol: float, most: int) -> Progress:
    """From `here`, until it is good enough or its own best is not bettered any more; `later` is the
    last iterate that is not too near, or `here`.
    """
    program, lam = solver.program, solver.lam
    best, found = here, program.certify(here.g, here.r, here.h, lam)
    later, near = here, found.gap <= WARM * found.value
    since = count = 0
    while found.error > max(rtol, found.floor) and since < PATIENCE and count < most:
        after = solver.improve(here)
        if after is None:
            break
        here, count = after, count + 1
        now = program.certify(here.g, here.r, here.h, lam)
        best, found, since = (
            (here, now, 0) if now.error < found.error else (best, found, since + near)
        )
        if not near:
            later, near = here, now.gap <= WARM * now.value
    return Progress(
        best, found, torch.stack([later.g, later.r, later.z, later.t]), count, count == most
    )


def _descend_carefully(solver: Solver, here: Iterate, rtol: float, most: int) -> Progress:
    """As `_descend`, one tau after the other: slower, and it turns back nowhere."""
    program, lam = solver.program, solver.lam
    best, found = here, program.certify(here.g, here.r, here.h, lam)
    later, near = here, found.gap <= WARM * found.value
    tau = solver.mean(here)
    since = count = 0
    while found.error > max(rtol, found.floor) and since < STEPS and count < most:
        moved = solver.lower(here, tau)
        if moved is None:
            break
        here, count = moved, count + 1
        now = program.certify(here.g, here.r, here.h, lam)
        best, found, since = (here, now, 0) if now.error < found.error else (best, found, since + 1)
        if not near:
            later, near = here, now.gap <= WARM * now.value
        if now.gap <= NEAR * tau * solver.bounds:
            tau *= FALL
    return Progress(
        best, found, torch.stack([later.g, later.r, later.z, later.t]), count, count == most
    )


def _trouble(state: Progress, rtol: float, most: int) -> str:
    if state.found.error <= max(rtol, min(REACHED * state.found.floor, MOST)):
        return ""
    return (
        f"{most} iterations do not suffice"
        if state.exhausted
        else f"an error of {state.found.error:.1g} is not lowered any more"
    )


class Solver:
    """One solve: products so far, and the factor of K, if there is one."""

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
        """g = 1 and no other mass: what total variation leaves as it is where |h| <= 1/2."""
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
        program = self.program
        g = torch.full_like(program.mass, HALF)
        if not program.doubled:
            g[: program.size] = 1.0
        h = self._image(g)
        least = max(LEAST, SHARE * float(h.abs().max()))
        z = (program.slope(g) - program.spread(h)).clamp(min=least) * self.low
        return Iterate(g, torch.where(self.high, 1 - g, 1.0), z, least * self.high.double(), h)

    def begin_at(self, start: Float[Tensor, "4 n"]) -> Iterate:
        """Where an earlier solve was, its products g z and r t lifted to a share of what its gap
        has come to be: centred, it need not turn back.
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
        """Whether all densities at y are on the side of the open interval, all others on that of 0:
        a problem for Newton's method in u.

        Not where f'' nearly vanishes at small densities (powers above 2): u hardly tells these
        apart.
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
        """One predictor, which tells how small tau may be, and one corrector; None where they lead
        nowhere.
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
        """Of all g z and r t."""
        return self._products(here.g, here.r, here.z, here.t) / self.bounds

    def lower(self, here: Iterate, tau: float) -> Iterate | None:
        """Newton's step for g z = r t = tau, as far as it lowers D - tau sum q (log g + log r),
        which is convex.

        The slope of that at the end tells: values would drown in rounding. z and t go as far as
        their own bounds let them.
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
            after = replace(
                here, g=g, r=torch.where(self.high, here.r - length * step.g, 1.0), h=self._image(g)
            )
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
        """The slope of D - tau sum q (log g + log r) along a way."""
        slope = (
            self.program.slope(here.g)
            - self.program.spread(here.h)
            - self.low * tau / here.g
            + self.high * tau / here.r
        )
        return float((self.program.mass * slope) @ way)

    def _inverse(self, here: Iterate) -> Float[Tensor, "n"]:
        """q / (f''(g) + z / g + t / r)."""
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
        fastest = max(
            float(
                torch.where(self.low, torch.maximum(-step.g / here.g, -step.z / here.z), 0.0).max()
            ),
            float(
                torch.where(self.high, torch.maximum(step.g / here.r, -step.t / here.t), 0.0).max()
            ),
        )
        return 1.0 if fastest <= share else share / fastest

    def _system(self, w: Float[Tensor, "P"]) -> System | None:
        gram = self.program.gram
        if self.factor is not None:
            return LowRank.of(self.factor, w, self.lam)
        return (
            Products(gram, w, self.lam)
            if gram.matrix is None
            else Direct.of(gram.matrix, w, self.lam)
        )


def _lifted(
    v: Float[Tensor, "n"], w: Float[Tensor, "n"], where: Bool[Tensor, "n"], least: float
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """v and w, there as little larger as makes v w >= least."""
    root = math.sqrt(least)
    up, beside = (
        torch.maximum(v, least / w.clamp(min=root)),
        torch.maximum(w, least / v.clamp(min=root)),
    )
    return torch.where(where, up, v), torch.where(where, beside, w)
