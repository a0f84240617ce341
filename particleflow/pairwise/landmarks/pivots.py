"""Draw landmarks of a cloud by randomly pivoted Cholesky.

Landmarks are points whose kernel functions nearly span the kernel functions of all points.
With the kernel matrix K_LL of the landmarks L, khat(z, x) = k(z, L) K_LL^-1 k(L, x) is the best
approximation of k in their span, and r(z) = k(z, z) - khat(z, z) >= 0 tells how well a point is
spanned. The next landmark is drawn with a probability proportional to |w| r: neither duplicates nor
only the rim, and heavy points early (Chen, Epperly, Tropp and Webber 2023, algorithm 2.1), many at
a time (Epperly, Tropp and Webber 2024, algorithm 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.memo import Memo
from particleflow.pairwise.exact.dense import kernel_matrix

# Number of points that landmarks are drawn from.
CANDIDATES = 4096
# Number of candidates that are the points of the largest weights.
HEAVIEST = 256
# Number of pivots proposed at a time.
BATCH = 64
# Least r of a useful landmark, relative to k(0).
SPANNED = 1e-10


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pivots in the order of their draws, as places among the candidates, and the residual.

    `residual` (n,): r of the candidates; `factor` F (m, n): khat of the candidates is F^T F;
    `chance`: the generator's state; `ends`: the number of pivots after each draw.
    """

    pivots: Tensor
    residual: Tensor
    factor: Tensor
    chance: Tensor
    ends: tuple[int, ...] = (0,)


class Landmarks:
    """Landmarks drawn on demand from points (N, d) with weights |w| (N,), in float64.

    Weights None are all equal. A smaller set begins a larger one. The draws have a fixed seed, and
    an answer depends on the rank only, not on earlier calls. Threads may share this object: each
    call reads the drawn pivots once, and replaces them at once. m landmarks cost O(n m^2),
    n = min(N, 4096).
    """

    def __init__(self, kernel: Kernel, points: Tensor, weights: Tensor | None) -> None:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(points), generator=generator, device="cpu").to(points.device)
        if weights is not None and len(points) > CANDIDATES:
            heavy = weights.topk(HEAVIEST).indices
            chosen = torch.cat([heavy, chosen[~torch.isin(chosen, heavy)]])
        self.chosen = chosen = chosen[:CANDIDATES]
        self._weights = None if weights is None else weights[chosen]
        self.kernel, self.candidates = kernel, points[chosen].double()
        self.peak = float(kernel.profile(self.candidates.new_zeros(1)))
        self._drawn = Drawn(
            torch.empty(0, dtype=torch.long, device=points.device),
            self.candidates.new_full((len(chosen),), self.peak),
            self.candidates.new_empty((0, len(chosen))),
            generator.get_state(),
        )
        self._roots: Memo[Tensor] = Memo(2)

    def first(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the first m landmarks (m, d) and the lower triangular root (m, m) of K_LL.

        m is below `rank` where fewer landmarks span all candidates.
        """
        drawn = self._at_least(rank)
        # Only the draws that `rank` needs count, however many pivots are drawn already.
        end = next((end for end in drawn.ends if end >= rank), drawn.ends[-1])
        everything = self.candidates[drawn.pivots[:end]]
        root = self._roots.get(len(everything), lambda: self._root(everything))
        m = min(rank, len(everything))
        return everything[:m], root[:m, :m]

    def _at_least(self, rank: int) -> Drawn:
        drawn = self._drawn
        while len(drawn.pivots) < rank and self._open(drawn):
            self._drawn = drawn = self._more(drawn)
        return drawn

    def _root(self, landmarks: Tensor) -> Tensor:
        matrix = kernel_matrix(self.kernel, landmarks, landmarks)
        matrix.diagonal().add_(1e-2 * SPANNED * self.peak)
        return torch.linalg.cholesky(matrix)

    def _open(self, drawn: Drawn) -> bool:
        """Do the pivots leave a point of some weight that they do not span?"""
        left = (
            drawn.residual
            if self._weights is None
            else drawn.residual * (self._weights > SPANNED * self._weights.max())
        )
        return float(left.max()) > SPANNED * self.peak

    def residual(self, m: int) -> Tensor:
        """Return r of the candidates for the first m landmarks."""
        factor = self._at_least(m).factor
        return (self.peak - factor[:m].square().sum(0)).clamp_min(0.0)

    def _more(self, drawn: Drawn) -> Drawn:
        """Propose a batch with probabilities |w| r, thin it, and update F and r.

        Each proposal is kept with the share of its r that earlier kept proposals leave.
        """
        generator = torch.Generator()
        generator.set_state(drawn.chance)
        uniform = partial(torch.rand, BATCH, generator=generator, dtype=torch.float64, device="cpu")
        shares = (
            (drawn.residual if self._weights is None else drawn.residual * self._weights)
            .cpu()
            .cumsum(0)
        )
        proposed = torch.searchsorted(shares, uniform() * shares[-1])
        proposed = proposed.clamp_max(len(shares) - 1).to(drawn.residual.device)
        points, factor = self.candidates[proposed], drawn.factor[:, proposed]
        left = (kernel_matrix(self.kernel, points, points) - factor.T @ factor).cpu()
        chance = uniform() * left.diagonal()
        kept = []
        for j in range(BATCH):
            if float(left[j, j]) > max(float(chance[j]), SPANNED * self.peak):
                kept.append(j)
                left -= torch.outer(left[:, j], left[j] / left[j, j])
        pivots = proposed[kept]
        rows = (
            kernel_matrix(self.kernel, self.candidates[pivots], self.candidates)
            - drawn.factor[:, pivots].T @ drawn.factor
        )
        root = torch.linalg.cholesky(rows[:, pivots])
        rows = torch.linalg.solve_triangular(root, rows, upper=False)
        residual = (drawn.residual - rows.square().sum(0)).clamp_min(0.0)
        residual[pivots] = 0.0
        both = torch.cat([drawn.pivots, pivots])
        return Drawn(
            both,
            residual,
            torch.cat([drawn.factor, rows]),
            generator.get_state(),
            (*drawn.ends, len(both)),
        )
