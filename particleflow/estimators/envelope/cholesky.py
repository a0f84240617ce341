"""A partial Cholesky factor of a kernel matrix, with few columns where k is smooth and wide."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.pairwise.exact.dense import kernel_matrix

# The golden ratio's fractional part: its multiples, modulo 1, fill [0, 1) evenly.
GOLDEN = (5**0.5 - 1) / 2


def partial_cholesky(
    kernel: Kernel,
    points: Float[Tensor, "M d"],
    mass: Float[Tensor, "M"],
    tolerance: float,
    most: int,
) -> Float[Tensor, "M r"] | None:
    """L with sum_i q_i (K - L L')_ii <= tolerance; None if that takes more than `most` columns.

    That sum bounds the norm of Q^{1/2} (K - L L') Q^{1/2}. Each column belongs to a point, drawn
    with a probability proportional to q_i (K - L L')_ii (Chen, Epperly, Tropp and Webber 2023). The
    draws are multiples of the golden ratio, so that the same input gives the same bits. Cost
    O(M r^2).
    """
    left = kernel_matrix(kernel, points[:1], points[:1])[0].expand(len(points)).clone()
    columns = points.new_empty(most, len(points))
    for rank in range(most + 1):
        total = (mass * left).cumsum(0)
        if float(total[-1]) <= tolerance:
            return columns[:rank].T.contiguous()
        pivot = int(torch.searchsorted(total, total[-1] * (rank * GOLDEN % 1)))
        worst = float(left[pivot])
        if rank == most or not 0 < worst < torch.inf:
            return None
        done = columns[:rank]
        column = kernel_matrix(kernel, points, points[pivot, None])[:, 0] - done[:, pivot] @ done
        columns[rank] = column / worst**0.5
        left = (left - columns[rank] ** 2).clamp_min_(0)
    return None
