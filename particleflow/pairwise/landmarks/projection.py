"""Project a weighted set of points onto landmarks, and measure the error.

    f = sum_i w_i k(x_i, .)  ~  P f = sum_j c_j k(L_j, .),        c = K_LL^-1 K_Lx w,
    g = f - P f = sum_i w_i r(x_i, .).

r is the part of the kernel that the landmarks do not span. A bound from the norm of g would hold
everywhere, but it would be far too large: for points far from each other 1/N sum_i r(x_i, .) has
the norm N^-1/2, but no value above 1/N. So g is compared with exact sums at probes. Points drawn at
random meet the error that many sources make together. The sources with the largest |w_i| r(x_i)
meet the error that single ones make, where r(x_i, .) is largest and where it is steepest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of
from particleflow.memo import cached_property
from particleflow.pairwise.exact.fallback import ExactSources
from particleflow.pairwise.landmarks.pivots import Landmarks
from particleflow.pairwise.promise import peaks
from particleflow.pairwise.terms import What

# Number of probes drawn at random.
ROWS = 256
# Number of sources probed because of their |w| r.
WORST = 64
# Most points that are all probed.
ALL = 1024
# Ratio of the promise to the largest error at the probes, where not all points are probed.
MARGIN = 4.0

# A function of points (n, d): the projection's values and gradients (n, K, 1 + d).
Sum = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Projection:
    """Landmarks (m, d) with weights c (m, K), in float64.

    `root` (m, m) is the lower triangular root of K_LL. `moments` (m, K) is K_Lx w.
    """

    landmarks: Tensor
    root: Tensor
    c: Tensor
    moments: Tensor


@dataclass(frozen=True)
class Errors:
    """Errors at probes, (K,) each.

    `value` and `grad` (2-norm) are the largest errors, with the rounding of a sum of parts.
    `mean_error` and `mean_grad` are the root mean squares of the gradient's error and the gradient.
    """

    value: Tensor
    grad: Tensor
    mean_error: Tensor
    mean_grad: Tensor


@dataclass(frozen=True, eq=False)
class Embedding:
    """f of points (N, d) and weights w (N, K). `exact` sums over the points in float64."""

    kernel: Kernel
    points: Tensor
    w: Tensor
    landmarks: Landmarks
    exact: ExactSources

    @cached_property
    def mass(self) -> Tensor:
        """sum |w| (K,)."""
        return self.w.abs().sum(0)

    @cached_property
    def peaks(self) -> tuple[float, float]:
        """max k, max |grad k|."""
        return peaks(self.kernel, 1.0)

    def projected(self, rank: int, fewer: Projection | None = None) -> Projection:
        """Project onto the first `rank` landmarks, or onto all useful landmarks.

        `fewer` is a projection onto the first of these landmarks, whose moments are known.
        """
        landmarks, root = self.landmarks.first(rank)
        known = 0 if fewer is None else len(fewer.landmarks)
        moments = [] if fewer is None else [fewer.moments]
        if known < len(landmarks):
            moments.append(self.exact.sums(What.VALUE, self.w, landmarks[known:])[..., 0])
        both = torch.cat(moments)
        return Projection(landmarks, root, torch.cholesky_solve(both, root), both)

    def errors(self, approximate: Sum, points: Tensor, known: Tensor | None = None) -> Errors:
        """Return the projection's errors at points (n, d). `known` holds exact sums, if any."""
        truth = self.exact.sums(What.BOTH, self.w, points.double()) if known is None else known
        lost, truth = (approximate(points).double() - truth).nan_to_num(0.0), truth.nan_to_num(0.0)
        slips, forces = lost[..., 1:].square().sum(-1), truth[..., 1:].square().sum(-1)
        # Parts are added in the working precision. No probe of a single part sees this rounding.
        last = 4 * torch.finfo(points.dtype).eps
        return Errors(
            lost[..., 0].abs().amax(0) + last * truth[..., 0].abs().amax(0),
            slips.amax(0).sqrt() + last * forces.amax(0).sqrt(),
            slips.mean(0).sqrt(),
            forces.mean(0).sqrt(),
        )

    def common(self, approximate: Sum) -> Errors:
        """Return the errors at points drawn from the sources, the same points for every rank."""
        return self.errors(approximate, self._rows, self._truth)

    def single(self, approximate: Sum, m: int) -> Errors:
        """Return the errors at the sources with the largest |w| r, and one bandwidth off them.

        r belongs to the first m landmarks. The directions off the sources are random.
        """
        chosen = self.landmarks.chosen
        loss = self.w[chosen].abs().amax(1) * self.landmarks.residual(m)
        worst = self.points[chosen[loss.topk(min(WORST, len(chosen))).indices]]
        aside = torch.randn(
            worst.shape, generator=torch.Generator().manual_seed(2), dtype=worst.dtype, device="cpu"
        ).to(worst.device)
        aside = aside / aside.norm(dim=1, keepdim=True) * (bandwidth_of(self.kernel) or 1.0)
        return self.errors(approximate, torch.cat([worst, worst + aside]))

    @cached_property
    def unseen(self) -> float:
        """The largest share of the mass in one source that is no candidate.

        No probe would find the error of such a source if it stood alone.
        """
        if len(self.landmarks.chosen) == len(self.points):
            return 0.0
        others = torch.ones(len(self.points), dtype=torch.bool, device=self.points.device)
        others[self.landmarks.chosen] = False
        return float(
            (
                self.w[others].abs().amax(0) / self.mass.clamp_min(torch.finfo(torch.float64).tiny)
            ).max()
        )

    @cached_property
    def _rows(self) -> Tensor:
        return drawn(self.points)

    @cached_property
    def _truth(self) -> Tensor:
        return self.exact.sums(What.BOTH, self.w, self._rows.double())


def drawn(points: Tensor) -> Tensor:
    """Return the points (n, d) to probe: all of up to `ALL`, else `ROWS` drawn at random."""
    if len(points) <= ALL:
        return points
    return points[
        torch.randperm(len(points), generator=torch.Generator().manual_seed(1), device="cpu")[
            :ROWS
        ].to(points.device)
    ]
