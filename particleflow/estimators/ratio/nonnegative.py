"""Quadratic programmes over theta >= 0, by an active set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Slopes below this share of the largest entry of q are rounding.
ROUNDING = 1e-14
# The least ridge, as a share of a bound of the largest eigenvalue.
DEFINITE = 2**9 * torch.finfo(torch.float64).eps
# The least ridge, as a share of q'q: q' (matrix + ridge I)^-1 q is then a number.
SQUARABLE = 1e-290
# Rounds of block pivoting in a row that may not lessen the number of wrong entries.
PATIENCE = 3


@dataclass(frozen=True)
class Minimum:
    """theta (L,), and the part of the slope Q theta - q that is 0 at the minimum.

    It is the slope itself where theta_l > 0, and its negative part elsewhere.
    """

    theta: Float[Tensor, "L"]
    slope: Float[Tensor, "L"]
    iterations: int


def least_ridge(matrix: Float[Tensor, "L L"], q: Float[Tensor, "L"]) -> float:
    """The least ridge with which a semidefinite matrix >= 0 is definite in float64.

    It is DEFINITE times the largest row sum, which bounds the largest eigenvalue.
    """
    return max(DEFINITE * float(matrix.sum(1).max()), SQUARABLE * float(q @ q))


def nonnegative_minimum(
    matrix: Float[Tensor, "L L"], q: Float[Tensor, "L"], *, start: Float[Tensor, "L"]
) -> Minimum:
    """Minimise theta' Q theta / 2 - q' theta over theta >= 0, Q positive definite; `start` >= 0.

    Block pivoting exchanges all wrong entries at once (Portugal, Júdice and Vicente 1994; Kim and
    Park 2011) and finds the set of positive entries in a few solves, or nearly so. From there it is
    Lawson and Hanson's method (1974, chapter 23) on the normal equations (Bro and de Jong 1997).
    The equations are solved on the set of positive entries. Where that makes some entries
    negative, the step ends at the first zero, and that entry leaves the set. Then the entry of the
    steepest descent joins it. Each solve lowers the objective, so that no set comes twice. Cost
    O(L^3) for each solve.
    """
    least = ROUNDING * float(q.abs().max())
    theta, iterations = _pivoted(matrix, q, start, least)
    free = theta > 0
    refused = torch.zeros_like(free)
    joined, most = -1, iterations + 10 * len(q)
    while iterations < most:
        iterations += 1
        while bool(free.any()):
            wanted = _solved(matrix, q, free)
            blocked = free & (wanted <= 0)
            if not bool(blocked.any()):
                theta = wanted
                break
            shares = theta[blocked] / (theta[blocked] - wanted[blocked])
            theta = theta + float(shares.min()) * (wanted - theta)
            leaves = blocked.nonzero()[shares <= shares.min(), 0]
            theta[leaves], free[leaves] = 0.0, False
        if joined >= 0 and not bool(free[joined]):
            refused[joined] = True  # its slope was rounding
        else:
            refused.zero_()
        descent = q - matrix @ theta
        descent[free | refused] = -torch.inf
        joined = int(descent.argmax())
        if not float(descent[joined]) > least:
            break
        free[joined] = True
    slope = matrix @ theta - q
    return Minimum(theta, torch.where(theta > 0, slope, slope.clamp_max(0.0)), iterations)


def _pivoted(
    matrix: Float[Tensor, "L L"], q: Float[Tensor, "L"], start: Float[Tensor, "L"], least: float
) -> tuple[Float[Tensor, "L"], int]:
    """A theta >= 0 whose positive entries are nearly those of the minimum, and the solves it took.

    An entry is wrong where it is free and negative, or zero with a descent above `least`. All of
    them change sides, until there are none or their number stays for `PATIENCE` rounds.
    """
    free, fewest, since, rounds = start > 0, len(q) + 1, 0, 0
    while True:
        rounds += 1
        theta = _solved(matrix, q, free)
        wrong = torch.where(free, theta < 0, q - matrix @ theta > least)
        count = int(wrong.count_nonzero())
        since = 0 if count < fewest else since + 1
        fewest = min(count, fewest)
        if not count or since == PATIENCE:
            return theta.clamp_min(0.0), rounds
        free = free ^ wrong


def _solved(
    matrix: Float[Tensor, "L L"], q: Float[Tensor, "L"], free: Bool[Tensor, "L"]
) -> Float[Tensor, "L"]:
    """The minimum over the theta that are 0 where they are not free."""
    theta = torch.zeros_like(q)
    rows = free.nonzero()[:, 0]
    root = torch.linalg.cholesky(matrix[rows][:, rows])
    theta[rows] = torch.cholesky_solve(q[rows, None], root)[:, 0]
    return theta
