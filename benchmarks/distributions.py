"""Distributions of the tasks that `particleflow.samplers` does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from particleflow.samplers.base import Seeded

# One point in so many is an outlier: 5 %.
EVERY = 20


@dataclass(frozen=True)
class Heart(Seeded):
    """The uniform distribution on the heart (x^2 + y^2 - 1)^3 <= x^2 y^3."""

    @property
    def dim(self) -> int:
        return 2

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        kept = np.empty((0, 2))
        while len(kept) < n:
            points = rng.uniform((-1.2, -1.1), (1.2, 1.3), size=(2 * n, 2))
            x, y = points.T
            kept = np.concatenate([kept, points[(x**2 + y**2 - 1) ** 3 <= x**2 * y**3]])
        return kept[:n]


@dataclass(frozen=True)
class StudentT(Seeded):
    """Student's t distribution in R^dim, z / sqrt(c / freedom).

    z is N(0, I) and c is chi^2 with `freedom` degrees. With 2 degrees of freedom the variance is
    infinite.
    """

    dim: int
    freedom: float

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((n, self.dim))
        return noise / np.sqrt(rng.chisquare(self.freedom, size=(n, 1)) / self.freedom)


@dataclass(frozen=True)
class Outliers(Seeded):
    """N(0, I) in the plane, where each 20th point is moved by `distance` along the first axis.

    The share of the outliers is fixed. Were it drawn, its chance would decide W2: one outlier more
    among 200 points costs a distance of `distance` / sqrt(200).
    """

    distance: float

    @property
    def dim(self) -> int:
        return 2

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.standard_normal((n, 2))
        points[EVERY - 1 :: EVERY, 0] += self.distance
        return points
