"""The weights of a mixture of known functions by maximum likelihood, a convex programme."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter

from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.line_search import lengths, low_enough
from particleflow.estimators.ratio.nonnegative import nonnegative_minimum

# The gap that rounding leaves: no step makes it smaller.
GAP = 1e-14
# The gap that counts as converged.
ACCEPTED = 1e-10
# The ridge of Newton's matrix, in units of its largest diagonal entry. It changes the steps, not
# where they end.
RIDGE = 1e-12
# The shortest step that is tried, as a share of the full one.
SHORTEST = 1e-12
# The rounding of F, as a share of it.
ROUNDING = 1e-15


@dataclass(frozen=True)
class Mixture:
    """alpha (L,) on the simplex, and Newton iterations.

    The largest likelihood exceeds alpha's likelihood by `gap` at most.
    """

    alpha: Float[Tensor, "L"]
    gap: float
    iterations: int

    @property
    def converged(self) -> bool:
        return self.gap <= ACCEPTED


def mixture_weights(
    values: Float[Tensor, "M L"],
    share: Float[Tensor, "M"],
    *,
    start: Float[Tensor, "L"] | None,
    max_iterations: int,
) -> Mixture:
    """Maximise sum_j b_j log (A alpha)_j over the simplex, A = `values`, b = `share`.

    A >= 0 has rows of largest entry one, and b has the sum one. The solution minimises F = sum
    alpha - sum_j b_j log (A alpha)_j over alpha >= 0. Newton's steps for F are quadratic programmes
    over the positive orthant (Kim, Carbonetto, Stephens and Anitescu 2020). With
    G = A' (b / A alpha) the likelihood that is missing is at most log max_l G_l, the gap. Cost
    O(M L^2) an iteration.
    """
    alpha = values.new_full((values.shape[1],), 1 / values.shape[1])
    if start is not None and float(_loss(values @ start, share)) < float(
        _loss(values @ alpha, share)
    ):
        alpha = start
    before: Mixture | None = None
    while True:
        mixed = values @ alpha
        pull = values.T @ (share / mixed)
        now = Mixture(
            alpha,
            max(0.0, math.log(float(pull.max()))),
            0 if before is None else before.iterations + 1,
        )
        if before is not None and before.converged and now.gap >= before.gap / 2:
            return min(before, now, key=attrgetter("gap"))  # The gap is rounding.
        if now.gap <= GAP or now.iterations == max_iterations:
            return now
        scaled = values * (share.sqrt() / mixed)[:, None]
        matrix = (scaled.T @ scaled).cpu()
        ridge = RIDGE * float(matrix.diagonal().max())
        matrix.diagonal().add_(ridge)
        step = (
            nonnegative_minimum(
                matrix, (2 * pull - 1).cpu() + ridge * alpha.cpu(), start=alpha.cpu()
            ).theta.to(alpha)
            - alpha
        )
        moved = _searched(values, share, alpha, step, descent=float((1 - pull) @ step))
        if moved is None:
            return now
        alpha, before = moved, now


def _searched(
    values: Tensor, share: Tensor, alpha: Tensor, step: Tensor, *, descent: float
) -> Tensor | None:
    """alpha + t step, of sum one, t the first of 1, 1/2, 1/4 ... that lowers F enough; or None."""
    before = float(_loss(values @ alpha, share) + alpha.sum())
    for t in lengths(SHORTEST):
        trial = (alpha + t * step).clamp_min(0.0)
        after = float(_loss(values @ trial, share) + trial.sum())
        if low_enough(after, before, descent, t, slack=ROUNDING * abs(before)):
            return trial / trial.sum()
    return None


def _loss(mixed: Tensor, share: Tensor) -> Tensor:
    """-sum_j b_j log (A alpha)_j, infinite where an entry is zero."""
    return -(share @ mixed.log())
