"""Least-squares weights of the kernel model, and the choice of bandwidth and ridge for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.ratio.kernel_ratio import Sample, tiles
from particleflow.estimators.ratio.nonnegative import Minimum, least_ridge, nonnegative_minimum
from particleflow.kernels import Kernel
from particleflow.pairwise.exact.dense import kernel_matrix

# The largest lam that is tried; each further one is sqrt(10) times smaller.
LARGEST = 10.0
# Lams, or bandwidths, in a row that may score worse before the search stops.
PATIENCE = 2

# k(points, c) of the points left out (n, P) and their shares (n,).
Scored: TypeAlias = tuple[Tensor, Tensor]
# h (L,) and H (L, L).
System: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LeastSquares:
    """min over theta of theta' (H + lam I) theta / 2 - h' theta, at any kernel and lam.

    Parameters
    ----------
    alpha : float
        The target's share of m = alpha p + (1 - alpha) q, the distribution over which H is a mean.
    rounded : bool
        True: theta = max(0, (H + lam I)^-1 h). False: the minimum over theta >= 0.
    """

    alpha: float
    rounded: bool

    def of_target(self, kernel: Kernel, y: Sample, centres: Float[Tensor, "L d"]) -> System:
        """The target's part of the system, h = E_p k and alpha E_p k k', k = k(., c)."""
        points, share = y
        h, matrix = centres.new_zeros(len(centres)), centres.new_zeros(len(centres), len(centres))
        for rows, k in tiles(kernel, points, centres):
            h += share[rows] @ k
            if self.alpha:
                matrix += self.alpha * (k * share[rows, None]).T @ k
        return h, matrix

    def system(
        self, kernel: Kernel, x: Sample, of_target: System, centres: Float[Tensor, "L d"]
    ) -> System:
        """h = E_p k and H = E_m k k', k = k(., c), on the CPU."""
        (points, share), (h, matrix) = x, of_target
        for rows, k in tiles(kernel, points, centres):
            matrix = matrix + (1 - self.alpha) * (k * share[rows, None]).T @ k
        return h.cpu(), matrix.cpu()

    def solve(
        self,
        h: Float[Tensor, "L"],
        matrix: Float[Tensor, "L L"],
        lam: float,
        start: Float[Tensor, "L"] | None,
    ) -> Minimum:
        """theta, from `start` where it has the right length."""
        ridged = matrix + lam * torch.eye(len(h), dtype=h.dtype, device=h.device)
        if start is None or self.rounded or len(start) != len(h):
            factor = torch.linalg.cholesky(ridged)
            start = torch.cholesky_solve(h[:, None], factor)[:, 0].clamp_min(0.0)
        if self.rounded:
            return Minimum(start, ridged @ start - h, 0)
        return nonnegative_minimum(ridged, h, start=start)

    def choose(
        self,
        kernels: Sequence[Kernel],
        lams: Sequence[float],
        x: Sample,
        y: Sample,
        centres: Float[Tensor, "L d"],
        parts: tuple[Sample, Sample],
    ) -> tuple[Kernel, float, float]:
        """The kernel and lam of the least leave-one-out score, and the score.

        All of x and y make H and h. `parts` are the points of x and of y that are left out, one at
        a time.
        """
        for name, (points, _) in (("x", x), ("y", y)):
            if len(points) < 2:
                raise ValueError(
                    f"`{name}` must hold two places with mass, one to be left out, got"
                    f" {len(points)}: pass kernel= and lam= yourself"
                )
        (some_x, a), (some_y, b) = parts
        best, since, start = (math.inf, kernels[0], lams[0]), 0, 0
        for kernel in kernels:
            h, matrix = self.system(kernel, x, self.of_target(kernel, y, centres), centres)
            at_x, at_y = (kernel_matrix(kernel, some, centres).cpu() for some in (some_x, some_y))
            least = least_ridge(matrix, h)
            allowed = [max(lam, least) for lam in lams]
            scores = self._scores((h, matrix), (at_x, a.cpu()), (at_y, b.cpu()), allowed, start)
            k = min(scores, key=scores.__getitem__)
            if scores[k] < best[0]:
                best, since = (scores[k], kernel, allowed[k]), 0
            else:
                since += 1
            if since == PATIENCE:
                break
            start = max(0, k - PATIENCE)
        score, kernel, lam = best
        return kernel, lam, score

    def _scores(
        self, system: System, x: Scored, y: Scored, lams: Sequence[float], start: int
    ) -> dict[int, float]:
        """The scores of lams[k], by k.

        k rises from `start` until PATIENCE scores in a row are worse. Then k falls from `start`,
        while the score falls further.
        """
        (h, matrix), (at_x, a), (at_y, b) = system, x, y
        scores: dict[int, float] = {}
        best, theta = start, None
        for k in (*range(start, len(lams)), *reversed(range(start))):
            if k > best + PATIENCE or k < best - 1:
                continue
            theta = self.solve(h, matrix, lams[k], theta).theta
            used = torch.full_like(theta, True, dtype=torch.bool) if self.rounded else theta > 0
            scores[k] = leave_one_out(
                (h[used], matrix[used][:, used]),
                (at_x[:, used], a),
                (at_y[:, used], b),
                self.alpha,
                lams[k],
            )
            best = min(scores, key=scores.__getitem__)
        return scores


def ridges(a: Float[Tensor, "N"], b: Float[Tensor, "M"]) -> list[float]:
    """The lams to try: 10, 10^{1/2}, 1 ... down to 1 / n, n the size of the smaller cloud.

    n = min(1 / sum a^2, 1 / sum b^2), which is the number of points where masses are equal. No
    smaller lam is tried: where q is thin, no left-out point shows how r behaves, and the score
    would prefer the roughest ratio.
    """
    n = 1 / float(torch.maximum(a.square().sum(), b.square().sum()))
    last = math.floor(2 * math.log10(LARGEST * n) + 1e-9)
    return [LARGEST * 10.0 ** (-k / 2) for k in range(last + 1)]


def leave_one_out(
    system: tuple[Float[Tensor, "P"], Float[Tensor, "P P"]],
    x: Scored,
    y: Scored,
    alpha: float,
    lam: float,
) -> float:
    """The leave-one-out estimate of E_m r_a^2 / 2 - E_p r_a, with system = (h, H).

    r_a = theta' k with theta = max(0, (H + lam I)^-1 h). Each point is scored by the fit to all
    other points, whose weights are scaled to the sum one again. The point has a weight w in m,
    which is alpha b_j or (1 - alpha) a_i, and a weight v in p, which is b_j or 0. With
    k = k(point, c) and D = H + lam (1 - w) I, Sherman and Morrison's formula gives theta without
    the point:

        theta = (1 - w) / (1 - v) (u + D^-1 k w k' u / (1 - w k' D^-1 k)),   u = D^-1 (h - v k)

    In the eigenbasis of H that is elementwise. N and M may differ, and weights too. (Kanamori, Hido
    and Sugiyama (2009) leave out pairs (x_i, y_i) of min(N, M).) Cost O(P^2) for each point.
    """
    h, matrix = system
    eigenvalues, basis = torch.linalg.eigh(matrix)
    eigenvalues, h = eigenvalues.clamp_min(0.0), basis.T @ h
    score = 0.0
    for (values, share), in_m, in_p in _roles(x, y, alpha):
        k, w, v = values @ basis, in_m * share[:, None], in_p * share[:, None]
        inverse = 1 / (eigenvalues + lam * (1 - w))
        u, turned = inverse * (h - v * k), inverse * k
        theta = u + turned * (
            w * (k * u).sum(1, keepdim=True) / (1 - w * (k * turned).sum(1, keepdim=True))
        )
        r = (values * (((1 - w) / (1 - v)) * theta @ basis.T).clamp_min(0.0)).sum(1)
        score += float(share @ (in_m * r.square() / 2 - in_p * r) / share.sum())
    return score


def _roles(x: Scored, y: Scored, alpha: float) -> tuple[tuple[Scored, float, float], ...]:
    """Each sample, its share of m = alpha p + (1 - alpha) q, and its share of p."""
    return (x, 1 - alpha, 0.0), (y, alpha, 1.0)
