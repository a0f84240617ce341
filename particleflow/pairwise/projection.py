"""A weighted set of points projected onto landmarks, and a bound of what the projection loses.

    f = sum_i w_i k(x_i, .)  ~  P f = sum_j c_j k(L_j, .),        c = K_LL^-1 K_Lx w,        g = f - P f.

g is orthogonal to what the landmarks span, so that |g|^2 = <g, f> = sum_i w_i g(x_i), and by Cauchy and Schwarz, with r of `Landmarks`,

    |g(z)| <= |g| sqrt(r(z)) <= |g| sqrt(k(0)),        |grad g(z)| <= |g| sqrt(-2 profile'(0)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.pairwise.dense import kernel_matrix
from particleflow.pairwise.field import What
from particleflow.pairwise.landmarks import Landmarks
from particleflow.pairwise.promise import peaks

ROWS = 256
STANDARD_ERRORS = 3.0
BLOCK = 2**20  # entries of a kernel matrix at a time


@dataclass(frozen=True)
class Projection:
    """Landmarks (m, d), the lower triangular root (m, m) of K_LL, and the weights c (m, K). Float64."""

    landmarks: Tensor
    root: Tensor
    c: Tensor

    def span(self, kernel: Kernel, z: Tensor) -> float:
        """max over z (Q, d) of r(z). Cost O(Q m^2)."""
        most = 0.0
        for rows in z.double().split(max(1, BLOCK // len(self.landmarks))):
            share = torch.linalg.solve_triangular(self.root, kernel_matrix(kernel, self.landmarks, rows), upper=False)
            peak = kernel.profile(rows.new_zeros(1))
            most = max(most, float((peak - share.square().sum(0)).nan_to_num(0.0).max()))
        return most


@dataclass(frozen=True, eq=False)
class Embedding:
    """f of the points (N, d) and weights w (N, K); `exact` sums over the points in float64."""

    kernel: Kernel
    points: Tensor
    w: Tensor
    landmarks: Landmarks
    exact: Any
    _moments: list[Tensor] = field(default_factory=list)
    _norms: dict[int, Tensor] = field(default_factory=dict)

    @cached_property
    def mass(self) -> Tensor:
        """sum |w| (K,)."""
        return self.w.abs().sum(0)

    @cached_property
    def gain(self) -> tuple[float, float]:
        """Bounds of |g(z)| / |g| and |grad g(z)| / |g|."""
        zero = torch.zeros(1, dtype=torch.float64)
        return math.sqrt(float(self.kernel.profile(zero))), math.sqrt(-2 * float(self.kernel.slope(zero)))

    @cached_property
    def peaks(self) -> tuple[float, float]:
        """max k, max |grad k|."""
        return peaks(self.kernel, 1.0)

    def projected(self, rank: int) -> Projection:
        """Onto the first `rank` landmarks, or all that are worth having."""
        landmarks, root = self.landmarks.first(rank)
        known = sum(len(part) for part in self._moments)
        if known < len(landmarks):
            self._moments.append(self.exact.sums(What.VALUE, self.w, landmarks[known:])[..., 0])
        moments = torch.cat(self._moments)[: len(landmarks)]
        return Projection(landmarks, root, torch.cholesky_solve(moments, root))

    def norm(self, projection: Projection) -> Tensor:
        """|g| (K,): the estimate from `ROWS` drawn points plus three standard errors of its square; exact where all points can be taken."""
        m = len(projection.landmarks)
        if m not in self._norms:
            rows, share, values = self._rows
            lost = values - torch.cat([kernel_matrix(self.kernel, z, projection.landmarks) @ projection.c for z in rows.split(max(1, BLOCK // m))])
            terms = share * lost
            square = terms.mean(0)
            if len(rows) < len(self.points):
                square = square + STANDARD_ERRORS * terms.std(0) / math.sqrt(len(rows))
            self._norms[m] = square.clamp_min(0.0).sqrt()
        return self._norms[m]

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Points (n, d), factors (n, K) and f (n, K): |g|^2 is the mean of factor * g over the points, drawn in proportion to |w|."""
        if len(self.points) <= 4 * ROWS:
            rows, share = self.points, self.w * len(self.points)
        else:
            chance = (self.w.abs() / self.mass.clamp_min(torch.finfo(torch.float64).tiny)).sum(1)
            chance = chance + 1e-9 * chance.mean()  # no row is impossible, nor all of them
            edges = chance.cpu().cumsum(0)
            draws = torch.rand(ROWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * edges[-1]
            drawn = torch.searchsorted(edges, draws).clamp_max(len(edges) - 1).to(self.points.device)
            rows, share = self.points[drawn], self.w[drawn] / (chance[drawn] / float(edges[-1]))[:, None]
        return rows, share, self.exact.sums(What.VALUE, self.w, rows)[..., 0]
