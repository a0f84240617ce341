"""An interior-point method for the program (1) of `bounded`, from a start to a certified solution.

The steps are Mehrotra's predictor and corrector (1992), primal and dual (`interior_step`).
Where these fail, careful steps lower one tau after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.envelope.bounded import Certificate, Program
from particleflow.estimators.envelope.interior_step import Iterate, Solver
from particleflow.estimators.envelope.newton import Solution
from particleflow.kernels import Kernel

# Iterations without progress after which the solver stops near the solution.
PATIENCE = 5
# Careful steps without progress after which the solver stops.
STEPS = 25
# The solver has converged where the error is at most this many times the floor, which rounding and
# the errors of the sums set.
REACHED = 10.0
# The largest error that counts as converged because of that floor.
MOST = 1e-2
# A later solve starts where the gap fell below this share of the value: nearer to the bounds it
# would have to turn back.
WARM = 1e-3
# The factor by which tau falls in careful steps.
FALL = 0.1
# tau falls where the gap is at most this many times the gap on the path.
NEAR = 3.0


@dataclass(frozen=True, eq=False)
class Found:
    """The solution at y, and the weights b at x.

    `later` is where a later solve starts. None: at a cold start.
    """

    solution: Solution
    singular: Float[Tensor, "N"]
    later: Float[Tensor, "4 n"] | None


@dataclass(frozen=True, eq=False)
class Progress:
    """The `best` iterate so far, its certificate `found`, and where a `later` solve starts.

    `count`: the iterations made. `exhausted`: whether these were all that are allowed.
    """

    best: Iterate
    found: Certificate
    later: Float[Tensor, "4 n"] | None = None
    count: int = 0
    exhausted: bool = False

    def then(self, other: Progress) -> Progress:
        """The better of two descents, with the iterations of both."""
        better = other if other.found.error < self.found.error else self
        return replace(better, count=self.count + other.count, exhausted=other.exhausted)


def solve_program(
    program: Program,
    kernel: Kernel,
    lam: float,
    start: Float[Tensor, "4 n"] | None,
    *,
    rtol: float,
    max_iterations: int,
) -> Found:
    """Minimise (1) until the certified error is at most rtol, or as small as the sums allow.

    `start`: the `later` of an earlier solve. Cost O(P r^2) for each of some 10 to 20 iterations
    with a factor of K of rank r, O(P^3) without a factor where K is whole.
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
            here = solver.begin() if begin is None else solver.begin_at(begin)
            state = state.then(_descend(solver, here, rtol, max_iterations))
        trouble = _trouble(state, rtol, max_iterations)
        if not trouble:
            break
    else:
        state = state.then(_descend(solver, solver.begin(), rtol, max_iterations, careful=True))
        trouble = _trouble(state, rtol, max_iterations)
    size, best, found = program.size, state.best, state.found
    a = program.weights(best.g)
    u = (program.slope(best.g) - best.z + best.t)[:size]
    solution = Solution(
        u, a[:size], found.value, found.gap, found.error, state.count, solver.products, trouble
    )
    return Found(solution, a[size:], None if solver.free(best) else state.later)


def _descend(
    solver: Solver, here: Iterate, rtol: float, most: int, *, careful: bool = False
) -> Progress:
    """From `here` until the error is small enough, or no further iterate is better than the best.

    `careful` lowers one tau after the other, which is slower and never turns back. `later` is the
    last iterate that is not too near to the bounds.
    """
    program, lam = solver.program, solver.lam
    best, found = here, program.certify(here.g, here.r, here.h, lam)
    later, near = here, found.gap <= WARM * found.value
    tau = solver.mean(here)
    since = count = 0
    patience = STEPS if careful else PATIENCE
    while found.error > max(rtol, found.floor) and since < patience and count < most:
        after = solver.lower(here, tau) if careful else solver.improve(here)
        if after is None:
            break
        here, count = after, count + 1
        now = program.certify(here.g, here.r, here.h, lam)
        if now.error < found.error:
            best, found, since = here, now, 0
        else:
            since += careful or near
        if not near:
            later, near = here, now.gap <= WARM * now.value
        if careful and now.gap <= NEAR * tau * solver.bounds:
            tau *= FALL
    memory = torch.stack([later.g, later.r, later.z, later.t])
    return Progress(best, found, memory, count, count == most)


def _trouble(state: Progress, rtol: float, most: int) -> str:
    """The obstacle to a smaller error, "" where the error is small enough."""
    if state.found.error <= max(rtol, min(REACHED * state.found.floor, MOST)):
        return ""
    return (
        f"{most} iterations do not suffice"
        if state.exhausted
        else f"an error of {state.found.error:.1g} is not lowered any more"
    )
