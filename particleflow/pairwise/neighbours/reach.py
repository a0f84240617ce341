"""Find a kernel's reach: the distance beyond which the kernel stays below a share of its peak.

Its gradient and its laplacian have such distances too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from particleflow.memo import cached
from particleflow.pairwise.terms import What
from particleflow.subsets import some_rows

# Samples of a kernel per bandwidth.
SAMPLES = 512
# Largest sampled distance, in bandwidths.
FARTHEST = 80
# Rows of the table of bounds.
ROWS = 4096
# Factor of the bounds, for distances between two samples.
SLACK = 1.001
# Queries and sources, at most, whose distances tell the share of near pairs.
SAMPLED = 96, 512


@dataclass(frozen=True)
class Reach:
    """Distances within which pairs are summed, in bandwidths.

    Value and gradient take the pairs within `near`, the laplacian the pairs within `laplacian`. The
    kernel falls to 0.03 of its value at `near` at `band`, and to 1e-6 of it at `far`. Row i of
    table (n, 3) bounds k, |grad k| and |grad grad k| at all distances of at least sqrt(i / scale)
    bandwidths.
    """

    near: float
    laplacian: float
    band: float
    far: float
    table: np.ndarray
    scale: float

    def of(self, what: What) -> float:
        return self.laplacian if what is What.LAPLACIAN else self.near


@cached(64)
def reach_of(kind: type, tolerance: float, d: int) -> Reach:
    """The reach of the kernels kind(bandwidth), which fall exponentially."""
    r = torch.arange(FARTHEST * SAMPLES + 1, dtype=torch.float64, device="cpu") / SAMPLES
    value, force, bend, laplacian = _above(kind, r, d)
    # The laplacian has a pole where there is a kink: its peak is taken half a bandwidth away.
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

    `counts` limits the queries and the sources. The clouds share the limit of the sources.
    """
    of_queries, of_sources = counts
    n = sum(len(points) for points in sources)
    some = torch.cat([thinned(points, max(1, of_sources * len(points) // n)) for points in sources])
    return torch.cdist(
        thinned(queries, of_queries), some, compute_mode="donot_use_mm_for_euclid_dist"
    )


def share_within(distances: torch.Tensor, radius: float) -> float:
    """The share of the pairs closer than `radius`."""
    return float((distances < radius).double().mean())


def thinned(points: torch.Tensor, most: int) -> torch.Tensor:
    """At most `most` rows, drawn with a fixed seed, to tell what a sum costs."""
    return points[some_rows(len(points), most)].double()


def _above(kind: type, r: torch.Tensor, d: int) -> tuple[np.ndarray, ...]:
    """The largest |k|, |grad k|, |grad grad k| and |laplacian k| at distances of r or more.

    The bandwidth is 1.
    """
    kernel = kind(1.0)
    s = r.clamp_min(1e-4) ** 2  # Next to a kink the second derivative has no bound.
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
    """Index of the first number of at most `bound`, or the last index if there is none."""
    return min(int(np.searchsorted(-falling, -bound)), len(falling) - 1)
