"""What KALE and the Moreau envelopes share: from two clouds to the solved dual, its witness and its
report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Cloud
from particleflow.divergences import KL, Divergence, TotalVariation
from particleflow.estimators.base import FieldWitness, Fit
from particleflow.estimators.dual import Dual
from particleflow.estimators.gram import Gram, gram_of
from particleflow.estimators.interior import program_of, solve_program
from particleflow.estimators.newton import Solution, solve
from particleflow.kept import Kept
from particleflow.kernels import Kernel
from particleflow.pairwise import Field, PairwiseSum, Sources
from particleflow.pairwise.exact.fallback import warn_once

# The value is told to be no KL where D / (2 lam) is DOMINATED times the entropy of the weights, and
# these are FAR from equal (else lam is large).
DOMINATED, FAR = 3.0, 0.5
# Iterations of Newton's method where there is another: what it solves takes fewer.
FEW = 50
# Singular mass below this share of each particle's own changes no digit of a velocity that counts.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True, eq=False)
class Reference:
    """What depends on the cloud that densities refer to alone: K at its points, and the sources of
    its part of the witness.
    """

    cloud: Cloud
    gram: Gram
    sources: Sources

    @classmethod
    def of(cls, kernel: Kernel, pairwise: PairwiseSum, cloud: Cloud, lasting: bool) -> Reference:
        cloud = _carried(cloud)
        return cls(
            cloud,
            gram_of(kernel, cloud, pairwise, lasting=lasting),
            pairwise.sources(kernel, cloud.points),
        )


@dataclass(frozen=True)
class Envelope:
    """min over g >= 0 of E_p f(g) + |mu_q - mu_gp|^2 / (2 lam), p the law of `base`, q that of
    another cloud: a smoothed D_f(q || p).

    Parameters
    ----------
    rtol : float
        Bound of the error of the witness, relative in the Hilbert norm.
    """

    kernel: Kernel
    divergence: Divergence
    rtol: float
    max_iterations: int
    pairwise: PairwiseSum

    def fit(
        self,
        moving: Cloud,
        base: Cloud,
        lam: float,
        memory: Memory,
        kept: Kept,
        *,
        factor: float,
        slope: float | None,
        sign: float,
        log_ratio: bool,
    ) -> Fit:
        """The witness sign h, h = (mu_q - sum_j a_j k(y_j, .)) / lam, and `factor` times the value,
        with its energy slope.

        The slope is None where singular mass sits on the particles: h(x_i) <= f'_inf holds there
        alone, so the value sees it move.
        """
        made: Reference = kept.get(
            base,
            lambda: Reference.of(self.kernel, self.pairwise, base, lasting=sign < 0),
            of=self.kernel,
        )
        points, moving = moving.points, _carried(moving)
        here = moving.double()
        doubled = self.pairwise.sources(self.kernel, here.points)
        field: Field = doubled.field(here.mass)
        dual = Dual(
            self.divergence,
            made.gram,
            field.value(made.gram.queries),
            energy=float(here.mean(field.value(here.points))),
        )
        solution, singular, later = self._solve(dual, lam, memory, here, made, field)
        self._warn(dual, solution)
        dtype = moving.points.dtype
        weights: Tensor = (-sign / lam * solution.a).to(dtype)
        others = (
            sign / lam * (moving.mass if singular is None else moving.mass - singular.to(dtype))
        )
        attached = singular is not None and float((singular / here.mass).max()) > NEGLIGIBLE
        sources = (
            doubled
            if here.points is moving.points
            else self.pairwise.sources(self.kernel, moving.points)
        )
        total = made.sources.field(weights) + sources.field(others)
        report = {**total.explain(points), **told(solution, factor)}
        value = factor * solution.value
        witness, bound = FieldWitness(total, log_ratio=log_ratio), partial(total.promise, points)
        return Fit(
            witness,
            later,
            report,
            objective=value,
            bound=bound,
            energy_slope=None if attached else slope,
        )

    def _warn(self, dual: Dual, solution: Solution) -> None:
        """Once, where the value of a KL is little but the distance between two finite samples over
        2 lam.
        """
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
        """The solution, the weights of singular mass at the moving points, where there may be any,
        and what the next solve starts from.

        By Newton's method in u where it converges to what meets no bound, else by the
        interior-point method; after that by this one again, as long as bounds are met.
        """
        inner, finite = memory.get("interior"), math.isfinite(self.divergence.recession)
        at_moving = mu.value(moving.points) if finite else None
        base = made.gram.cloud
        unbounded = not finite and math.isinf(float(self.divergence.slope(dual.mu.new_zeros(1))))
        allowed = self.max_iterations if unbounded else min(self.max_iterations, FEW)

        def newton(start: Tensor | None) -> tuple[Solution, bool]:
            """A solution, and whether it is the one."""
            found = solve(dual, lam, start=start, rtol=self.rtol, max_iterations=allowed)
            if not found.converged or at_moving is None:
                return found, found.converged
            return (
                found,
                self._highest(found, lam, moving, made, at_moving) <= self.divergence.recession,
            )

        smooth = not isinstance(self.divergence, TotalVariation)
        if inner is None and smooth:
            start = memory.get("u")
            if start is not None and start.shape != dual.mu.shape:
                start = None
            solution, done = newton(start)
            if start is not None and not solution.converged:
                solution, done = newton(None)
            if done or unbounded:
                return solution, None, {"u": solution.u}
        clouds, mus = (
            ([base], [dual.mu]) if at_moving is None else ([base, moving], [dual.mu, at_moving])
        )
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


def _carried(cloud: Cloud) -> Cloud:
    """The points whose mass has not underflown: the others weigh nothing in any sum, and 0 times an
    infinite density is no number.
    """
    if cloud.log_mass is None:
        return cloud
    kept = cloud.double().mass > 0
    if bool(kept.all()) or not bool(kept.any()):
        return cloud
    return Cloud(cloud.points[kept], log_mass=cloud.log_mass[kept])


def told(solution: Solution, factor: float) -> dict[str, Any]:
    """The certificate, for a fit's report."""
    return {
        "converged": solution.converged,
        "iterations": solution.iterations,
        "products": solution.products,
        "gap": factor * solution.gap,
        "error": solution.error,
        **(
            {"remedy": f"{solution.trouble}: raise lam, rtol or max_iterations, or lower dt"}
            if solution.trouble
            else {}
        ),
    }
