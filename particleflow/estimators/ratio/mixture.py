"""The weights of a mixture of known functions, by maximum likelihood: a convex programme on the
simplex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter

from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.ratio.nonnegative import nonnegative_minimum

GAP = 1e-14  # what rounding leaves of it
ACCEPTED = 1e-10  # a gap that counts as converged
# of Newton's matrix, in units of its largest diagonal entry: it changes the steps, not where they
# end
RIDGE = 1e-12
ARMIJO = 1e-4


@dataclass(frozen=True)
class Mixture:
    """alpha (L,) on the simplex, the gap: the largest likelihood is at most so much larger; Newton
    iterations.
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
    """Maximise sum_j b_j log (A alpha)_j over the simplex; A >= 0 (M, L), each row of largest entry
    one, b of sum one.

    It is the minimum of F = sum alpha - sum_j b_j log (A alpha)_j over alpha >= 0, whose Newton
    steps are quadratic programmes over the positive orthant (Kim, Carbonetto, Stephens and Anitescu
    2020). With G = A' (b / A alpha) concavity bounds the likelihood that is missing by log max_l
    G_l, the gap. Cost O(M L^2) an iteration.
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
            return min(before, now, key=attrgetter("gap"))  # what is left is rounding
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
    """alpha + t step of sum one, t the first of 1, 1/2, 1/4 ... that lowers F enough; None where
    rounding leaves none.
    """
    before = float(_loss(values @ alpha, share) + alpha.sum())
    t = 1.0
    while t > 1e-12:
        trial = (alpha + t * step).clamp_min(0.0)
        if float(
            _loss(values @ trial, share) + trial.sum()
        ) <= before + ARMIJO * t * descent + 1e-15 * abs(before):
            return trial / trial.sum()
        t /= 2
    return None


def _loss(mixed: Tensor, share: Tensor) -> Tensor:
    """-sum_j b_j log (A alpha)_j, infinite where an entry is zero."""
    return -(share @ mixed.log())
