"""From two clouds to a solved envelope: its witness, its value and its report.

KALE, the Moreau envelopes and the de-regularised MMD are all fitted by `Envelope`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.divergences import KL, Divergence, PiecewiseLinear
from particleflow.estimators.base import FieldWitness, Fit
from particleflow.estimators.envelope.bounded import program_of
from particleflow.estimators.envelope.dual import Dual
from particleflow.estimators.envelope.gram import Gram, gram_of
from particleflow.estimators.envelope.interior_point import solve_program
from particleflow.estimators.envelope.newton import Solution, solve
from particleflow.kept import Kept
from particleflow.kernels import Kernel
from particleflow.pairwise import Field, PairwiseSum, Sources
from particleflow.pairwise.exact.fallback import warn_once

# The squared distance's part of the value, in entropies of the weights, above which a warning says
# that the value does not approximate KL.
DOMINATED = 3.0
# The entropy of the weights below which there is no such warning: they are then nearly equal, as
# for a large lam.
FAR = 0.5
# The most Newton iterations where the interior-point method can follow: a problem that Newton's
# method solves takes fewer.
FEW = 50
# Singular mass below this share of each particle's own changes no digit of a velocity that counts.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True, eq=False)
class Reference:
    """The base cloud's own parts: K at its points, and the sources of its sums."""

    cloud: Cloud
    gram: Gram
    sources: Sources

    @classmethod
    def of(cls, kernel: Kernel, pairwise: PairwiseSum, cloud: Cloud, lasting: bool) -> Reference:
        cloud = _with_mass(cloud)
        return cls(
            cloud,
            gram_of(kernel, cloud, pairwise, lasting=lasting),
            pairwise.sources(kernel, cloud.points),
        )


@dataclass(frozen=True)
class Envelope:
    """min over g >= 0 of E_p f(g) + |mu_q - mu_gp|^2 / (2 lam), a smoothed D_f(q || p).

    Parameters
    ----------
    rtol : float
        Bound of the error of the witness, relative in the Hilbert norm.
    max_iterations : int
        The most iterations of Newton's method at each lam on the way, and of the interior-point
        method.
    """

    kernel: Kernel
    divergence: Divergence
    rtol: float
    max_iterations: int
    pairwise: PairwiseSum

    def fit(
        self,
        x: Cloud,
        y: Cloud,
        lam: float,
        memory: Memory,
        kept: Kept,
        *,
        factor: float = 1.0,
        reverse: bool = False,
        log_ratio: bool = False,
        repeats: bool = False,
    ) -> Fit:
        """The witness -h of D_f(q || p), q of x and p of y, and `factor` times the value.

        h = (mu_q - sum_j a_j k(y_j, .)) / lam. With `reverse`, the witness +h of D_f(p || q), whose
        weights a are on the particles. The energy slope is `factor`. It is None in reverse, and
        where singular mass sits on the particles: such mass moves along with them. `repeats`: see
        `Dual`.
        """
        moving, base, sign = (y, x, 1.0) if reverse else (x, y, -1.0)
        made: Reference = kept.get(
            base,
            lambda: Reference.of(self.kernel, self.pairwise, base, lasting=not reverse),
            of=self.kernel,
        )
        points, moving = moving.points, _with_mass(moving)
        here = moving.double()
        doubled = self.pairwise.sources(self.kernel, here.points)
        mu: Field = doubled.field(here.mass)
        dual = Dual(
            self.divergence,
            made.gram,
            mu.value(made.gram.queries),
            energy=float(here.mean(mu.value(here.points))),
            repeats=repeats,
        )
        solution, singular, later = self._solve(dual, lam, memory, here, made, mu)
        self._warn(dual, solution)
        dtype = moving.points.dtype
        weights: Tensor = (-sign / lam * solution.a).to(dtype)
        rest = moving.mass if singular is None else moving.mass - singular.to(dtype)
        sources = (
            doubled
            if here.points is moving.points
            else self.pairwise.sources(self.kernel, moving.points)
        )
        total = made.sources.field(weights) + sources.field(sign / lam * rest)
        attached = singular is not None and float((singular / here.mass).max()) > NEGLIGIBLE
        return Fit(
            FieldWitness(total, log_ratio=log_ratio),
            later,
            {**total.explain(points), **_certificate(solution, factor)},
            objective=factor * solution.value,
            bound=partial(total.promise, points),
            energy_slope=None if reverse or attached else factor,
        )

    def _warn(self, dual: Dual, solution: Solution) -> None:
        """Warn once where the value of a KL is mostly the distance of two finite samples."""
        if not (isinstance(self.divergence, KL) and solution.converged):
            return
        entropy = float(solution.a @ solution.u - dual.mass @ self.divergence.conjugate(solution.u))
        if entropy > FAR and solution.value > (1 + DOMINATED) * entropy:
            warn_once(
                "`lam` is so small for these samples that the value of KALE no longer approximates"
                " KL: two finite samples with different points are singular, and what is left"
                " between their embeddings, D / (2 lam), grows without bound (the flow stays well"
                " defined). Raise `lam` or the bandwidth, or take more points"
            )

    def _solve(
        self, dual: Dual, lam: float, memory: Memory, moving: Cloud, made: Reference, mu: Field
    ) -> tuple[Solution, Tensor | None, Memory]:
        """The solution, the singular mass at the moving points, and the memory of the next solve.

        Newton's method in u is tried first. Where it fails, or its solution breaks a bound, the
        interior-point method follows. Later solves then begin with the interior-point method, as
        long as its solutions meet bounds.
        """
        finite = math.isfinite(self.divergence.recession)
        at_moving = mu.value(moving.points) if finite else None
        steep = math.isinf(float(self.divergence.slope(dual.mu.new_zeros(1))))
        unbounded = steep and not finite
        allowed = self.max_iterations if unbounded else min(self.max_iterations, FEW)

        def newton(start: Tensor | None) -> tuple[Solution, bool]:
            """The result of Newton's method, and whether it solves the problem."""
            found = solve(dual, lam, start=start, rtol=self.rtol, max_iterations=allowed)
            if not found.converged or at_moving is None:
                return found, found.converged
            highest = self._highest(found, lam, moving, made, at_moving)
            return found, highest <= self.divergence.recession

        inner, smooth = memory.get("interior"), not isinstance(self.divergence, PiecewiseLinear)
        if inner is None and smooth:
            start = memory.get("u")
            if start is not None and start.shape != dual.mu.shape:
                start = None
            solution, done = newton(start)
            if start is not None and not solution.converged:
                solution, done = newton(None)
            if done or unbounded:
                return solution, None, {"u": solution.u}
        clouds, mus = [made.gram.cloud], [dual.mu]
        if at_moving is not None:
            clouds, mus = [*clouds, moving], [*mus, at_moving]
        program = program_of(self.divergence, clouds, mus, dual.energy, self.kernel, self.pairwise)
        found = solve_program(
            program, self.kernel, lam, inner, rtol=self.rtol, max_iterations=self.max_iterations
        )
        if inner is not None and smooth and not found.solution.converged:
            solution, done = newton(None)
            if done:
                return solution, None, {"u": solution.u}
        later = {} if found.later is None else {"interior": found.later}
        return found.solution, found.singular if finite else None, {"u": found.solution.u, **later}

    def _highest(
        self, solution: Solution, lam: float, moving: Cloud, made: Reference, at_moving: Tensor
    ) -> float:
        """max_i h(x_i)."""
        target = self.pairwise.sources(self.kernel, made.gram.cloud.points).field(solution.a)
        return float((at_moving - target.value(moving.points)).max()) / lam


def _with_mass(cloud: Cloud) -> Cloud:
    """The points whose mass has not underflown.

    The others weigh nothing in any sum, and 0 times an infinite density is no number.
    """
    if cloud.log_mass is None:
        return cloud
    there = cloud.double().mass > 0
    if bool(there.all()) or not bool(there.any()):
        return cloud
    return Cloud(cloud.points[there], log_mass=cloud.log_mass[there])


def _certificate(solution: Solution, factor: float) -> dict[str, Any]:
    """The course of the solve, for a fit's report."""
    report: dict[str, Any] = {
        "converged": solution.converged,
        "iterations": solution.iterations,
        "products": solution.products,
        "gap": factor * solution.gap,
        "error": solution.error,
    }
    if solution.trouble:
        report["remedy"] = f"{solution.trouble}: raise lam, rtol or max_iterations, or lower dt"
    return report
