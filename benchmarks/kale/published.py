"""The published inner solver of KALE: Newton's method in the dual weights with an explicit inverse.

Source: Glaser et al. 2021.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def newton(
    matrix: Tensor, mu: Tensor, lam: float, *, residual: float, most: int = 50
) -> tuple[Tensor, int]:
    """Minimise sum_j a_j log(M a_j) - a_j + (a'K a / 2 - mu'a) / lam over a > 0.

    The start is a = 1 / M. The end is max |log(M a) - h| <= residual. Steps are halved until a > 0
    and the objective falls. K is (M, M), and mu (M,) is mu_x at the targets. The result is log(M a)
    and the number of inverses.
    """
    size = len(mu)
    a = torch.full_like(mu, 1 / size)
    for inverses in range(most):
        gradient = (size * a).log() + (matrix @ a - mu) / lam
        if float(gradient.abs().max()) <= residual:
            return (size * a).log(), inverses
        step = torch.linalg.inv(torch.diag(1 / a) + matrix / lam) @ gradient
        length, before = 1.0, _objective(matrix, mu, lam, a)
        while (
            not _objective(matrix, mu, lam, a - length * step)
            <= before - 1e-4 * length * float(gradient @ step) + 1e-12
            and length > 1e-12
        ):
            length /= 2
        a = a - length * step
    return (size * a).log(), most


def _objective(matrix: Tensor, mu: Tensor, lam: float, a: Tensor) -> float:
    if not bool((a > 0).all()):
        return math.inf
    return float((a * (len(a) * a).log() - a).sum() + a @ (matrix @ a / 2 - mu) / lam)
