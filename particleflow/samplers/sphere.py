"""A sampler of points on the unit sphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from particleflow import _checks
from particleflow.samplers.base import Seeded


@dataclass(frozen=True, kw_only=True)
class Sphere(Seeded):
    """The uniform distribution on |x| = 1 in R^dim: the directions of Gaussian points.

    Student-teacher problems take their inputs from it (Chizat and Bach 2018; Arbel et al. 2019).

    >>> Sphere(dim=3).sample(2).norm(dim=1).round(decimals=12)
    tensor([1., 1.], dtype=torch.float64)
    """

    dim: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", _checks.count(self.dim, "dim"))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.standard_normal((n, self.dim))
        return points / np.linalg.norm(points, axis=1, keepdims=True)
