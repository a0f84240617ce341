"""Two clouds as some of their places, with the distances between them.

Repeats of a point are one place with their total mass, so that neither repeats nor the order of the
rows change what a rule reads off (`particleflow.subsets`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.clouds import Cloud
from particleflow.kernels import default_bandwidth
from particleflow.kernels.bandwidth import ScaleError
from particleflow.memo import cached_property
from particleflow.subsets import places


@dataclass(frozen=True, eq=False)
class Pairs:
    """Places x (P, d) and y (Q, d) of two clouds and their shares of the masses, of sum 1.

    All are float64. Their origin is the mean of y.
    """

    x: Float[Tensor, "P d"]
    of_x: Float[Tensor, "P"]
    y: Float[Tensor, "Q d"]
    of_y: Float[Tensor, "Q"]

    @classmethod
    def drawn(cls, x: Cloud, y: Cloud, most: int) -> Pairs:
        """At most `most` places of each cloud. Cost O((N + M) (log(N + M) + d^2))."""
        (a, of_a), (b, of_b) = places(x, most), places(y, most)
        middle = of_b @ b
        return cls(a - middle, of_a, b - middle, of_b)

    @cached_property
    def squares(self) -> Float[Tensor, "P Q"]:
        """The squared distances |x_i - y_j|^2."""
        return torch.cdist(self.x, self.y, compute_mode="donot_use_mm_for_euclid_dist").square()

    @cached_property
    def farthest(self) -> float:
        """The largest distance between a place of x and a place of y."""
        return float(self.squares.max().sqrt())

    def quantile(self, share: float) -> float:
        """The distance below which this share of the pairs lies, each pair with weight m_i m_j."""
        distances, order = self.squares.sqrt().flatten().sort()
        weights = torch.outer(self.of_x, self.of_y).flatten()[order].cumsum(0)
        # a rounding of the sums must not move the quantile to the next distance
        level = share * float(weights[-1]) * (1 - 1e-12)
        return float(distances[min(int(torch.searchsorted(weights, level)), len(distances) - 1)])


def scale_of(y: Cloud) -> float | None:
    """`default_bandwidth` of a target; None where its points, all or most, are in one place."""
    try:
        return default_bandwidth(y)
    except ScaleError:
        return None
