"""The inverse of a map z -> T(z) near the identity, for many points at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow._typing import Points

# The most evaluations for a step: the quasi-Newton method takes 6 to 10 in a usual run.
MOST = 200
# The parts in which a step is undone where it cannot be undone at once.
PARTS = 16
# The residual that counts as rounding, in units of the last place of the largest coordinate.
PLACES = 8
# The residual that is accepted where it falls no more, in units of the points' extent: sums over
# pairs with a tolerance leave one.
ACCEPTED = 1e-6
# The number of evaluations without progress after which a point is given up.
PATIENCE = 20
# The least share of |s|^2 that an update divides by: a smaller one would blow up the matrix.
LEAST = 0.05


def inverted(step: Callable[[Points], Points], y: Points) -> tuple[Points, Bool[Tensor, "Q"]]:
    """z with step(z) = y, and the rows where none was found.

    Broyden's method starts from z = y. Where it fails, z is followed from y along the solutions of
    z + c (step(z) - z) = y for c from 0 to 1. Where the step is not one to one, z is one of the
    points that lead to y.
    """
    z, lost = _broyden(step, y, y)
    if bool(lost.any()):
        aim = y[lost]
        at = aim
        for part in range(1, PARTS + 1):
            at, missed = _broyden(partial(_partly, step, part / PARTS), aim, at)
        z[lost], lost[lost.clone()] = at, missed
    return z, lost


def _partly(step: Callable[[Points], Points], share: float, z: Points) -> Points:
    return z + share * (step(z) - z)


def _broyden(
    step: Callable[[Points], Points], y: Points, start: Points
) -> tuple[Points, Bool[Tensor, "Q"]]:
    """As `inverted`, by Broyden's method from `start`.

    With the residual r = step(z) - y and an approximation H (d, d) of the inverse derivative,
    which is I at first,

        s = -H r,    z <- z + s,    H <- H + (s - H u) s' H / (s' H u),    u = the change of r.

    A point whose residual grows starts again from its best place with H = I. Only the points that
    have not converged are evaluated. Memory O(Q d^2).

    Source: Broyden (1965), Mathematics of Computation 19.
    """
    limit = torch.finfo(y.dtype)
    small = PLACES * limit.eps * float(y.abs().max()) + limit.tiny
    best, r = start.clone(), step(start) - y
    least = r.norm(dim=1)
    rows = (~(least <= small)).nonzero()[:, 0]
    z, r = best[rows], r[rows]
    inverse = _units(z)
    stale = torch.zeros(len(rows), device=y.device)
    for _ in range(MOST):
        if not len(rows):
            break
        s = -_times(inverse, r)
        z = z + s
        after = step(z) - y[rows]
        size, before = after.norm(dim=1), least[rows]
        better, lost = size < before, ~(size < 4 * before)  # a NaN is lost
        best[rows[better]], least[rows[better]] = z[better], size[better]
        stale = torch.where(better, 0.0, stale + 1)
        change = _times(inverse, after - r)
        along = (s * change).sum(1)
        safe = (along.abs() > LEAST * s.square().sum(1)) & ~lost
        update = ((s - change) / along[:, None])[:, :, None] * (s[:, None] @ inverse)
        inverse = torch.where(safe[:, None, None], inverse + update, inverse)
        r = after
        if bool(lost.any()):
            again = rows[lost]
            z[lost], inverse[lost] = best[again], _units(z[lost])
            r[lost] = step(z[lost]) - y[again]
        going = (least[rows] > small) & (stale < PATIENCE)
        rows, z, r, inverse, stale = (part[going] for part in (rows, z, r, inverse, stale))
    side = float((y.amax(0) - y.amin(0)).max()) or float(y.abs().max())
    return best, ~(least <= max(small, ACCEPTED * side))


def _units(z: Points) -> Float[Tensor, "Q d d"]:
    return torch.eye(z.shape[1], dtype=z.dtype, device=z.device).expand(len(z), -1, -1).clone()


def _times(matrix: Float[Tensor, "Q d d"], vector: Points) -> Points:
    return (matrix @ vector[:, :, None])[:, :, 0]
