"""Landmarks of a cloud: points whose kernel functions span, nearly, those of all points. Randomly pivoted Cholesky.

With the kernel matrix K_LL of the landmarks L, khat(z, x) = k(z, L) K_LL^-1 k(L, x) is the best approximation of k in their span, and
r(z) = k(z, z) - khat(z, z) >= 0 tells how well a point is spanned. The next landmark is drawn with a probability proportional to |w| r: neither
duplicates nor only the rim, and heavy points early (Chen, Epperly, Tropp and Webber 2023, algorithm 2.1),
many at a time (Epperly, Tropp and Webber 2024, algorithm 2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.pairwise.dense import kernel_matrix

CANDIDATES = 4096  # landmarks are drawn from so many of the points
HEAVIEST = 256  # of them those of the largest weights
BATCH = 64  # drawn at a time
SPANNED = 1e-10  # a point with r below this share of k(0) is no use as a landmark


class Landmarks:
    """Drawn from points (N, d) with weights |w| (N,), None: all alike, as many as are asked for; a smaller set begins a larger one. Float64.

    Deterministic: the draws have a fixed seed. Cost of m landmarks O(n m^2), n = min(N, 4096).
    """

    def __init__(self, kernel: Kernel, points: Tensor, weights: Tensor | None) -> None:
        self._generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(points), generator=self._generator).to(points.device)
        if weights is not None and len(points) > CANDIDATES:
            heavy = weights.topk(HEAVIEST).indices
            chosen = torch.cat([heavy, chosen[~torch.isin(chosen, heavy)]])
        self.chosen = chosen = chosen[:CANDIDATES]
        self._weights = None if weights is None else weights[chosen]
        self.kernel, self.candidates = kernel, points[chosen].double()
        self.peak = float(kernel.profile(self.candidates.new_zeros(1)))
        self._residual = self.candidates.new_full((len(chosen),), self.peak)  # r of the candidates
        self._factor = self.candidates.new_empty((0, len(chosen)))  # F (m, n): khat of the candidates is F^T F
        self._pivots = torch.empty(0, dtype=torch.long, device=points.device)
        self._root = self.candidates.new_empty((0, 0))

    def first(self, rank: int) -> tuple[Tensor, Tensor]:
        """The first m landmarks (m, d) and the lower triangular root (m, m) of K_LL; m < rank where fewer span all candidates."""
        while len(self._pivots) < rank and self._open():
            self._draw()
        m = min(rank, len(self._pivots))
        if len(self._root) < m:
            everything = self.candidates[self._pivots]
            matrix = kernel_matrix(self.kernel, everything, everything)
            matrix.diagonal().add_(1e-2 * SPANNED * self.peak)
            self._root = torch.linalg.cholesky(matrix)
        return self.candidates[self._pivots[:m]], self._root[:m, :m]

    def _open(self) -> bool:
        """Is a point of some weight left that is not spanned?"""
        left = self._residual if self._weights is None else self._residual * (self._weights > SPANNED * self._weights.max())
        return float(left.max()) > SPANNED * self.peak

    def residual(self, m: int) -> Tensor:
        """r of the candidates for the first m landmarks."""
        return (self.peak - self._factor[:m].square().sum(0)).clamp_min(0.0)

    def _draw(self) -> None:
        """Propose a batch with probabilities |w| r, keep each with what the ones kept before it leave of its r; then update F and r."""
        shares = (self._residual if self._weights is None else self._residual * self._weights).cpu().cumsum(0)
        proposed = torch.searchsorted(shares, torch.rand(BATCH, generator=self._generator, dtype=torch.float64) * shares[-1])
        proposed = proposed.clamp_max(len(shares) - 1).to(self._residual.device)
        points, factor = self.candidates[proposed], self._factor[:, proposed]
        left = (kernel_matrix(self.kernel, points, points) - factor.T @ factor).cpu()
        chance = torch.rand(BATCH, generator=self._generator, dtype=torch.float64) * left.diagonal()
        kept = []
        for j in range(BATCH):
            if float(left[j, j]) > max(float(chance[j]), SPANNED * self.peak):
                kept.append(j)
                left -= torch.outer(left[:, j], left[j] / left[j, j])
        pivots = proposed[kept]
        rows = kernel_matrix(self.kernel, self.candidates[pivots], self.candidates) - self._factor[:, pivots].T @ self._factor
        root = torch.linalg.cholesky(rows[:, pivots])
        rows = torch.linalg.solve_triangular(root, rows, upper=False)
        self._residual = (self._residual - rows.square().sum(0)).clamp_min(0.0)
        self._residual[pivots] = 0.0
        self._factor = torch.cat([self._factor, rows])
        self._pivots = torch.cat([self._pivots, pivots])
