"""How far a kernel reaches: the distance beyond which it, its gradient and its laplacian stay below
a share of their peaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from particleflow.pairwise.terms import What
from particleflow.subsets import some_rows

SAMPLES = 512  # of a kernel, per bandwidth
FARTHEST = 80  # bandwidths
ROWS = 4096
SLACK = 1.001  # for what lies between two samples
SAMPLED = 96, 512  # queries and sources whose distances tell how many pairs are near


@dataclass(frozen=True)
class Reach:
    """Distances within which pairs are summed, in bandwidths.

    Value and gradient take the pairs within `near`, the laplacian those within `laplacian`. At
    `band` the kernel has fallen to 0.03 of what it is at `near`, at `far` to 1e-6. table (n, 3)
    bounds k, |grad k| and |grad grad k| at all distances of at least sqrt(i / scale), in this unit.
    """

    near: float
    laplacian: float
    band: float
    far: float
    table: np.ndarray
    scale: float

    def of(self, what: What) -> float:
        return self.laplacian if what is What.LAPLACIAN else self.near


@lru_cache(maxsize=64)
def reach_of(kind: type, tolerance: float, d: int) -> Reach:
    """Of the kernels kind(bandwidth), which fall exponentially."""
    r = torch.arange(FARTHEST * SAMPLES + 1, dtype=torch.float64, device="cpu") / SAMPLES
    value, force, bend, laplacian = _above(kind, r, d)
    # Of the laplacian, which has a pole where there is a kink, the size half a bandwidth away
    near = max(_first(value, tolerance * value[0]), _first(force, tolerance * force[0])) / SAMPLES
    wide = _first(laplacian, tolerance * laplacian[SAMPLES // 2]) / SAMPLES
    at_near = value[int(near * SAMPLES)]
    band, far = (_first(value, share * at_near) / SAMPLES for share in (0.03, 1e-6))
    scale = ROWS / far**2
    rows = (np.sqrt(np.arange(ROWS) / scale) * SAMPLES).astype(int)
    return Reach(near, wide, band, far, SLACK * np.stack([value, force, bend], axis=1)[rows], scale)


def sampled_distances(
    sources: Sequence[torch.Tensor],
    queries: torch.Tensor,
    *,
    counts: tuple[int, int] = SAMPLED,
) -> torch.Tensor:
    """Distances in float64 between some of the queries and some of the sources.

    `counts`: queries and sources at most, before the latter are shared out among the clouds.
    """
    of_queries, of_sources = counts
    n = sum(len(points) for points in sources)
    some = torch.cat([thinned(points, max(1, of_sources * len(points) // n)) for points in sources])
    return torch.cdist(
        thinned(queries, of_queries), some, compute_mode="donot_use_mm_for_euclid_dist"
    )


def share_within(distances: torch.Tensor, radius: float) -> float:
    """The share of the pairs that are closer than `radius`."""
    return float((distances < radius).double().mean())


def thinned(points: torch.Tensor, most: int) -> torch.Tensor:
    """At most `most` rows, drawn with a fixed seed: they only tell what a sum costs."""
    return points[some_rows(len(points), most)].double()


def _above(kind: type, r: torch.Tensor, d: int) -> tuple[np.ndarray, ...]:
    """The largest |k|, |grad k|, |grad grad k| and |laplacian k| at distances of r or more, of unit
    bandwidth.
    """
    kernel = kind(1.0)
    s = r.clamp_min(1e-4) ** 2  # next to a kink, where the second derivative has no bound
    slope, curvature = kernel.slope(s), kernel.curvature(s)
    along = 4 * s * curvature + 2 * slope
    sizes = (
        kernel.profile(r**2),
        2 * s.sqrt() * slope,
        torch.maximum(along.abs(), (2 * slope).abs()),
        4 * s * curvature + 2 * d * slope,
    )
    return tuple(np.maximum.accumulate(size.abs().numpy()[::-1])[::-1] for size in sizes)


def _first(falling: np.ndarray, bound: float) -> int:
    """Index of the first number that is at most `bound`, the last index if none is."""
    return min(int(np.searchsorted(-falling, -bound)), len(falling) - 1)
