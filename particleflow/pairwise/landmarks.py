"""Landmarks of a cloud: points whose kernel functions span, nearly, those of all points. Randomly pivoted Cholesky.

With the kernel matrix K_LL of the landmarks L, khat(z, x) = k(z, L) K_LL^-1 k(L, x) is the best approximation of k in their span, and
r(z) = k(z, z) - khat(z, z) >= 0 tells how well a point is spanned. The next landmark is drawn with a probability proportional to r: neither
duplicates nor only the rim (Chen, Epperly, Tropp and Webber 2023, algorithm 2.1), many at a time (Epperly, Tropp and Webber 2024, algorithm 2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.pairwise.dense import kernel_matrix

CANDIDATES = 4096  # landmarks are drawn from so many of the points
BATCH = 64  # drawn at a time
SPANNED = 1e-10  # a point with r below this share of k(0) is no use as a landmark


class Landmarks:
    """Drawn from points (N, d), as many as are asked for; a smaller set is the beginning of a larger one. Float64.

    Deterministic: the draws have a fixed seed. Cost of m landmarks O(n m^2), n = min(N, 4096).
    """

    def __init__(self, kernel: Kernel, points: Tensor) -> None:
        self._generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(points), generator=self._generator)[:CANDIDATES].to(points.device)
        self.kernel, self.candidates = kernel, points[chosen].double()
        self.peak = float(kernel.profile(self.candidates.new_zeros(1)))
        self._residual = self.candidates.new_full((len(chosen),), self.peak)  # r of the candidates
        self._factor = self.candidates.new_empty((0, len(chosen)))  # F (m, n): khat of the candidates is F^T F
        self._pivots = torch.empty(0, dtype=torch.long, device=points.device)
        self._root = self.candidates.new_empty((0, 0))

    def first(self, rank: int) -> tuple[Tensor, Tensor]:
        """The first m landmarks (m, d) and the lower triangular root (m, m) of K_LL; m < rank where fewer span all candidates."""
        while len(self._pivots) < rank and float(self._residual.max()) > SPANNED * self.peak:
            self._draw()
        m = min(rank, len(self._pivots))
        if len(self._root) < m:
            everything = self.candidates[self._pivots]
            matrix = kernel_matrix(self.kernel, everything, everything)
            matrix.diagonal().add_(1e-2 * SPANNED * self.peak)
            self._root = torch.linalg.cholesky(matrix)
        return self.candidates[self._pivots[:m]], self._root[:m, :m]

    def _draw(self) -> None:
        """Propose a batch with probabilities r, keep each with what the ones kept before it leave of its r; then update F and r."""
        shares = self._residual.cpu().cumsum(0)
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
