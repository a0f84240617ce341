"""Minibatches of two clouds, drawn by mass from a generator of their own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from particleflow._typing import Points
from particleflow.clouds import Cloud


@dataclass(frozen=True)
class Batch:
    """Standardised points of both clouds with their shares of the mass.

    `between`: points between the clouds, where a penalty asks for them.
    """

    x: Points
    x_weights: Float[Tensor, "N"]
    y: Float[Tensor, "M d"]
    y_weights: Float[Tensor, "M"]
    between: Float[Tensor, "B d"] | None


@dataclass(frozen=True)
class Batches:
    """Minibatches of two clouds: `size` points of each, drawn by mass with replacement.

    A cloud that is not larger is taken whole. Points between are (1 - t) x_i + t y_j, with i and j
    drawn by mass and t uniform (Gulrajani et al. 2017), `size` of them or fewer. Rows are drawn by
    their place in `x_order` and `y_order`.
    """

    x: Cloud
    y: Cloud
    x_order: Int[Tensor, "N"]
    y_order: Int[Tensor, "M"]
    size: int
    between: bool
    generator: torch.Generator

    def draw(self) -> Batch:
        x, x_weights = self._part(self.x, self.x_order)
        y, y_weights = self._part(self.y, self.y_order)
        return Batch(x, x_weights, y, y_weights, self._between() if self.between else None)

    def _part(self, cloud: Cloud, order: Tensor) -> tuple[Tensor, Tensor]:
        if len(cloud) <= self.size:
            return cloud.points[order], cloud.mass[order]
        total = 1.0 if cloud.log_mass is None else float(cloud.mass.sum())
        drawn = cloud.points[self._rows(cloud, order, self.size)]
        return drawn, drawn.new_full((self.size,), total / self.size)

    def _between(self) -> Tensor:
        n = min(self.size, max(len(self.x), len(self.y)))
        x = self.x.points[self._rows(self.x, self.x_order, n)]
        y = self.y.points[self._rows(self.y, self.y_order, n)]
        t = torch.rand((n, 1), generator=self.generator, dtype=x.dtype, device="cpu")
        return torch.lerp(x, y, t.to(x.device))

    def _rows(self, cloud: Cloud, order: Tensor, n: int) -> Int[Tensor, "n"]:
        """n row numbers, each drawn with the probability of its mass."""
        if cloud.log_mass is None:
            drawn = torch.randint(len(cloud), (n,), generator=self.generator, device="cpu")
            return order[drawn.to(cloud.points.device)]
        edges = cloud.mass[order].double().cumsum(0)
        level = torch.rand(n, generator=self.generator, dtype=torch.float64, device="cpu")
        level = level.to(edges.device) * edges[-1]
        return order[torch.searchsorted(edges, level, right=True).clamp_(max=len(cloud) - 1)]
