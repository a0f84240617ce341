"""Sums over pairs by plain numpy in float64, the truth for backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import has_laplacian


@dataclass(frozen=True)
class Sums:
    """Sums value (Q, K), grad (Q, K, d) and laplacian (Q, K), and the scales of their rounding.

    A scale is the sum of the absolute values of the terms. `matrix` is k(z_q, x_n). `force` is its
    gradient in z_q, (Q, N, d).
    """

    value: np.ndarray
    grad: np.ndarray
    laplacian: np.ndarray
    value_scale: np.ndarray
    grad_scale: np.ndarray
    laplacian_scale: np.ndarray
    matrix: np.ndarray
    force: np.ndarray

    def log(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithm (Q,) and its gradient (Q, d) for weights w (N,) >= 0.

        The sum must not underflow.
        """
        total = self.matrix @ w
        return np.log(total), np.einsum("qnd,n->qd", self.force, w) / total[:, None]


def exact_sums(kernel: Kernel, z: Tensor, x: Tensor, w: Tensor) -> Sums:
    """Return sum_i w_i k(z, x_i) and its derivatives; w (N, K).

    Coincident pairs exert no force. Their laplacian is 2 d slope(0).
    """
    z64, x64, w64 = (t.detach().double().cpu().numpy() for t in (z, x, w))
    d = z64.shape[1]
    difference = z64[:, None, :] - x64[None, :, :]
    s = torch.from_numpy((difference**2).sum(-1))
    value, slope = kernel.profile(s).numpy(), kernel.slope(s).numpy()
    bend, pull = (4 * s * kernel.curvature(s)).numpy(), 2 * slope
    force = 2 * slope[..., None] * difference
    return Sums(
        value=value @ w64,
        grad=np.einsum("qnd,nk->qkd", force, w64),
        laplacian=(kernel.laplacian(s, d).numpy() if has_laplacian(kernel) else bend + d * pull)
        @ w64,
        value_scale=np.abs(value) @ np.abs(w64),
        grad_scale=np.linalg.norm(force, axis=-1) @ np.abs(w64),
        # The difference of the terms 4 s curvature and 2 d slope loses digits.
        laplacian_scale=(np.abs(bend) + d * np.abs(pull)) @ np.abs(w64),
        matrix=value,
        force=force,
    )


def exact_logs(kernel: Any, z: Tensor, x: Tensor, w: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return log sum_i w_i k(z, x_i), (Q,), and its gradient (Q, d), for w (N,) >= 0."""
    z64, x64, w64 = (t.detach().double().cpu().numpy() for t in (z, x, w))
    difference = z64[:, None, :] - x64[None, :, :]
    s = torch.from_numpy((difference**2).sum(-1))
    with np.errstate(divide="ignore"):
        exponent = kernel.log_profile(s).numpy() + np.log(w64)
    top = exponent.max(1, keepdims=True)
    share = np.exp(exponent - top)
    total = share.sum(1, keepdims=True)
    force = 2 * kernel.log_slope(s).numpy()[..., None] * difference
    return (top + np.log(total))[:, 0], (share[..., None] * force).sum(1) / total
