"""Distributions with closed forms, clouds drawn from a seed, and quadrature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import particleflow as pf
from particleflow.samplers.base import Sampler

# The pairs of the MonoFlow notebooks (Yi, Zhu and Liu 2023): target p, particles q.
LINE = (
    pf.samplers.Gaussian(dim=1, mean=1.0, std=1.5),
    pf.samplers.Gaussian(dim=1, mean=-2.0, std=0.5),
)
PLANE = (
    pf.samplers.Gaussian(mean=[0.0, 0.0], cov=[[1.0, 0.8], [0.8, 0.89]]),
    pf.samplers.Gaussian(mean=[1.0, 1.0], cov=[[1.0, 0.0], [0.0, 1.0]]),
)


def draw(law: Sampler, n: int, seed: int, part: str) -> Tensor:
    """n points (n, d) of a distribution; parts of other names are independent."""
    return law.sample(n, seed=pf.Draws(seed).child_seed(part, 0))


def normals(n: int, dim: int, seed: int, part: str, *, mean: float = 0.0) -> Tensor:
    """n points (n, d) of N((mean, ..., mean), I)."""
    return draw(pf.samplers.Gaussian(dim=dim, mean=mean), n, seed, part)


def weighted(points: Tensor, seed: int, part: str) -> pf.Cloud:
    """The points with random masses of sum one."""
    rng = np.random.default_rng(pf.Draws(seed).child_seed(part, 1))
    return pf.Cloud(points, mass=torch.from_numpy(rng.dirichlet(np.full(len(points), 3.0))))


def gram(kernel: pf.kernels.Gaussian | pf.kernels.Laplace, a: Tensor, b: Tensor) -> Tensor:
    """The matrix k(a_i, b_j)."""
    return kernel.profile((a[:, None] - b).square().sum(-1))


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest error of an entry, relative to the largest entry expected."""
    return float((found - expected).abs().max() / expected.abs().max())


def moments(law: pf.samplers.Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """The mean (d,) and the covariance (d, d)."""
    deviation = np.broadcast_to(np.asarray(law.std if law.cov is None else 1.0), law.dim)
    cov = np.diag(deviation**2) if law.cov is None else np.array(law.cov)
    return np.broadcast_to(np.asarray(law.mean), law.dim), cov


def hermite(law: pf.samplers.Gaussian, nodes: int) -> pf.Cloud:
    """The Gaussian as a weighted cloud of nodes^d points: E of smooth functions to rounding."""
    abscissae, weights = np.polynomial.hermite_e.hermegauss(nodes)
    mean, cov = moments(law)
    white = np.stack(np.meshgrid(*[abscissae] * law.dim, indexing="ij"), -1).reshape(-1, law.dim)
    shares = np.meshgrid(*[weights / weights.sum()] * law.dim, indexing="ij")
    mass = np.prod(shares, axis=0).ravel()
    return pf.Cloud(
        torch.from_numpy(mean + white @ np.linalg.cholesky(cov).T), mass=torch.from_numpy(mass)
    )


@dataclass(frozen=True)
class Grid:
    """Log densities of p and q on a grid, and its cell: integrals by the trapezoidal rule."""

    log_p: Tensor
    log_q: Tensor
    cell: float

    def integral(self, values: Tensor) -> float:
        return self.cell * float(values.sum())


def grid(p: pf.samplers.Gaussian, q: pf.samplers.Gaussian) -> Grid:
    """A grid over twelve deviations around both, where the rule is exact to rounding."""
    nodes = {1: 20001, 2: 701}[p.dim]
    (mean_p, cov_p), (mean_q, cov_q) = moments(p), moments(q)
    deviation = np.sqrt(np.maximum(np.diag(cov_p), np.diag(cov_q)))
    low = np.minimum(mean_p, mean_q) - 12 * deviation
    high = np.maximum(mean_p, mean_q) + 12 * deviation
    axes = [
        torch.linspace(a, b, nodes, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    z = torch.cartesian_prod(*axes).reshape(-1, p.dim)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    return Grid(p.log_density(z), q.log_density(z), cell)


def flow_moments(
    target: pf.samplers.Gaussian, mean: np.ndarray, cov: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance at t of the flow of KL(q || p) from N(mean, cov) to a Gaussian.

    m = mu + E (m0 - mu), S = P + E (S0 - P) E', E = exp(-t P^-1).
    """
    from scipy.linalg import expm

    mu, p = moments(target)
    decay = expm(-t * np.linalg.inv(p))
    return mu + decay @ (mean - mu), p + decay @ (cov - p) @ decay.T


def two_points(mean: float, std: float) -> Tensor:
    """The smallest cloud (2, 1) with these moments."""
    return torch.tensor([[mean - std], [mean + std]], dtype=torch.float64)
