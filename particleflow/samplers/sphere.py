"""A sampler of points on the unit sphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from particleflow import _checks
from particleflow.samplers.base import Seeded


@dataclass(frozen=True, kw_only=True)
class Sphere(Seeded):
    r"""The uniform distribution on the unit sphere of :math:`\mathbb{R}^d`.

    .. math::

        x = \frac{u}{\left| u \right|}, \qquad u \sim N(0, I_d)

    Student-teacher problems take their inputs from it (Chizat and Bach 2018; Arbel, Korba, Salim
    and Gretton 2019). In d = 1 it is the two points -1 and 1. It has no density with respect to
    volume.

    Parameters
    ----------
    dim : int
        d >= 1, the dimension of the space around the sphere.

    Raises
    ------
    TypeError
        `dim` is no integer.
    ValueError
        `dim` is < 1.

    Cost: O(n d) a sample.

    Source: Muller (1959), Communications of the ACM 2.

    >>> pf.samplers.Sphere(dim=3).sample(2).norm(dim=1).round(decimals=12)
    tensor([1., 1.], dtype=torch.float64)
    """

    dim: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", _checks.count(self.dim, "dim"))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.standard_normal((n, self.dim))
        return points / np.linalg.norm(points, axis=1, keepdims=True)
