"""The problem of the speed benchmark: a step of an MMD flow, and its true value.

    v(x_i) = 1/M sum_j grad k(x_i, y_j) - 1/N sum_j grad k(x_i, x_j),        N = M,

with a Gaussian kernel, y ~ N(0, I) and x ~ N((0.5, 0.3, 0, ...), I). The clouds have unit size and
do not cancel. The particles are in another place at every repetition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Gaussian
from particleflow.pairwise import PairwiseSum

# Multiple of `direction` that the particles move from one repetition to the next.
PACE = 1e-3
SHIFT = (0.5, 0.3)


@dataclass(frozen=True, eq=False)
class Problem:
    """Particles (N, d) that move along `direction`, targets (N, d), and the kernel."""

    start: Tensor
    direction: Tensor
    target: Tensor
    kernel: Gaussian

    def particles(self, k: int) -> Tensor:
        """Return the particles of repetition k, in memory of their own."""
        return self.start + (PACE * k) * self.direction

    def inputs(self, k: int) -> tuple[Tensor]:
        return (self.particles(k),)

    def fresh_inputs(self, k: int) -> tuple[Tensor, Tensor]:
        """Return particles and targets that both moved, so that nothing can have been kept."""
        return self.particles(k), self.target + (PACE * k) * self.direction

    def to(self, where: torch.dtype | str) -> Problem:
        """Return the same numbers in another dtype or on another device."""
        return Problem(
            self.start.to(where), self.direction.to(where), self.target.to(where), self.kernel
        )

    def target_field(self, backend: PairwiseSum) -> Any:
        return _field(backend, self.kernel, self.target, 1.0)


def draw(n: int, d: int = 2, *, bandwidth: float, dtype: torch.dtype = torch.float32) -> Problem:
    rng = np.random.default_rng([n, d])
    start, direction, target = (
        torch.from_numpy(rng.standard_normal((n, d), dtype=np.float32)).to(dtype) for _ in range(3)
    )
    start[:, : len(SHIFT)] += torch.tensor(SHIFT[:d], dtype=dtype)
    return Problem(start, direction, target, Gaussian(bandwidth))


@dataclass(frozen=True, eq=False)
class Step:
    """The step by one backend.

    The targets' field is kept from step to step, as the MMD estimator keeps it.
    """

    backend: PairwiseSum
    problem: Problem
    kept: Any

    def field(self, x: Tensor) -> Any:
        return self.kept + _field(self.backend, self.problem.kernel, x, -1.0)

    def __call__(self, x: Tensor) -> Tensor:
        velocity: Tensor = self.field(x).grad(x)
        return velocity

    def fresh(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the same velocity with nothing kept."""
        kernel = self.problem.kernel
        velocity: Tensor = (
            _field(self.backend, kernel, y, 1.0) + _field(self.backend, kernel, x, -1.0)
        ).grad(x)
        return velocity


def step(backend: PairwiseSum, problem: Problem) -> Step:
    return Step(backend, problem, problem.target_field(backend))


def _field(backend: PairwiseSum, kernel: Gaussian, points: Tensor, mass: float) -> Any:
    return backend.sources(kernel, points).field(
        points.new_full((len(points),), mass / len(points))
    )


def relative_error(
    velocity: Tensor, problem: Problem, x: Tensor, *, rows: int = 256, seed: int = 0
) -> float:
    """Return |v - truth| / |truth| over random rows, in the Euclidean norm.

    The truth is computed in numpy's long double from the numbers that the backend was given.
    """
    chosen = np.random.default_rng(seed).permutation(len(x))[:rows]
    z = x.numpy()[chosen].astype(np.longdouble)
    truth = np.zeros_like(z)
    for points, mass in ((problem.target, 1.0), (x, -1.0)):
        # Blocks of sources, so that (rows, block) arrays fit the memory.
        for block in np.array_split(points.numpy().astype(np.longdouble), 1 + len(points) // 4096):
            difference = z[:, None, :] - block[None, :, :]
            weight = np.exp(
                -(difference**2).sum(-1) / (2 * np.longdouble(problem.kernel.bandwidth) ** 2)
            )
            truth -= (
                mass
                / len(points)
                / np.longdouble(problem.kernel.bandwidth) ** 2
                * (weight[..., None] * difference).sum(1)
            )
    error = velocity.numpy()[chosen].astype(np.longdouble) - truth
    return float(np.linalg.norm(error.astype(float)) / np.linalg.norm(truth.astype(float)))
