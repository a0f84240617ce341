"""Exact sums in plain torch, tile by tile: any device, any kernel, bounded memory. The reference for every other backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.kernels.radial import PositiveKernel
from particleflow.pairwise.base import Domain, Queries

# (Q, N) arrays alive at once while a tile is worked on, at most (the logarithm with Matern52): s, the exponent, a difference, a product, and
# the temporaries of the kernel's slope.
ARRAYS_PER_TILE = 8


def squared_distances(z: Tensor, points: Tensor) -> Tensor:
    """|z_q - x_n|^2, shape (Q, N), by differences: |z|^2 + |x|^2 - 2 z.x would lose half of the digits."""
    s = (z[:, 0, None] - points[None, :, 0]).square_()
    for k in range(1, points.shape[1]):
        s += (z[:, k, None] - points[None, :, k]).square_()
    return s


def kernel_matrix(kernel: Kernel, z: Tensor, points: Tensor) -> Tensor:
    """k(z_q, x_n), shape (Q, N)."""
    return kernel.profile(squared_distances(z, points))


@dataclass(frozen=True)
class Dense:
    """Exact sums with chunked torch operations. Cost O(Q N d), working memory at most `max_bytes`.

    Same input, same bits, for a fixed number of threads.

    Parameters
    ----------
    max_bytes : int
        Bound on the working memory beyond input and output (at least one pair is always worked on; `log` keeps a second copy of its output).
        Tiles much larger than the processor's cache gain nothing.
    """

    max_bytes: int = 8 * 2**20

    def __post_init__(self) -> None:
        _checks.count(self.max_bytes, "max_bytes")

    def sources(self, kernel: Kernel, points: Tensor, domain: Domain | None = None) -> DenseSources:
        return DenseSources(kernel, points, self.max_bytes)


@dataclass(frozen=True)
class DenseQueries:
    """Query points and, where it fits the memory bound, their kernel matrix (Q, N) against one set of sources."""

    points: Tensor
    sources: DenseSources
    matrix: Tensor | None


@dataclass(frozen=True, eq=False)
class DenseSources:
    kernel: Kernel
    points: Tensor
    max_bytes: int

    def field(self, w: Tensor) -> DenseField:
        if w.shape[:1] != self.points.shape[:1] or w.ndim not in (1, 2):
            raise ValueError(f"`w` must be (N,) or (N, K) with N = {len(self.points)}, got {tuple(w.shape)}")
        return DenseField(((self, w.to(self.points.dtype)),))

    def prepare(self, z: Tensor) -> DenseQueries:
        fits = len(z) * len(self.points) * z.element_size() * ARRAYS_PER_TILE <= self.max_bytes
        return DenseQueries(z, self, kernel_matrix(self.kernel, z, self.points) if fits else None)

    def tiles(self, z: Tensor) -> Iterator[tuple[slice, slice]]:
        """Row (query) and column (source) slices, a row's columns one after the other."""
        pairs = max(1, self.max_bytes // (ARRAYS_PER_TILE * z.element_size()))
        columns = min(len(self.points), max(1, int(pairs**0.5)))
        rows = max(1, pairs // columns)
        for i in range(0, len(z), rows):
            for j in range(0, len(self.points), columns):
                yield slice(i, i + rows), slice(j, j + columns)


@dataclass(frozen=True, eq=False)
class DenseField:
    parts: tuple[tuple[DenseSources, Tensor], ...]

    def __add__(self, other: DenseField) -> DenseField:
        return DenseField(self.parts + other.parts)

    def reduce(self) -> DenseField:
        return self

    def value(self, z: Tensor | Queries) -> Tensor:
        return self._sum(z, 0, self._values)

    def grad(self, z: Tensor | Queries) -> Tensor:
        return self._sum(z, _points(z).shape[1], self._gradients)

    def value_and_grad(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        d = _points(z).shape[1]
        both = self._sum(z, 1 + d, self._values_and_gradients)
        return both[..., 0], both[..., 1:]

    def laplacian(self, z: Tensor | Queries) -> Tensor:
        d = _points(z).shape[1]
        return self._sum(z, 0, lambda kernel, s, z, x, w: (4 * s * kernel.curvature(s) + 2 * d * kernel.slope(s)) @ w)

    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        weights = [w for _, w in self.parts]
        if any(bool((w < 0).any()) for w in weights):
            raise ValueError("`w` must be >= 0 for the logarithm of a sum, got negative weights: take the log of each sign's sum apart")
        if weights[0].ndim == 2:
            columns = [DenseField(tuple((sources, w[:, k]) for sources, w in self.parts)).log(z) for k in range(weights[0].shape[1])]
            return torch.stack([value for value, _ in columns], dim=1), torch.stack([grad for _, grad in columns], dim=1)
        return self._log_sum_exp(_points(z))

    @staticmethod
    def _values(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
        return kernel.profile(s) @ w

    @staticmethod
    def _gradients(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
        return _pull(kernel.slope(s), z, x, w)

    @staticmethod
    def _values_and_gradients(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
        profile = kernel.profile(s)
        # A positive kernel's slope without a second exponential.
        slope = kernel.log_slope(s).mul_(profile) if isinstance(kernel, PositiveKernel) else kernel.slope(s)
        return torch.cat([(profile @ w)[..., None], _pull(slope, z, x, w)], dim=-1)

    def _sum(self, z: Tensor | Queries, components: int, term: Callable[[Kernel, Tensor, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Add term(kernel, s, z tile, x tile, w tile) over all tiles and parts; `components` is the length of its last axis, 0 for none."""
        points = _points(z)
        weights = self.parts[0][1]
        total = points.new_zeros((len(points), *weights.shape[1:], *([components] if components else [])))
        for sources, w in self.parts:
            if term is self._values and isinstance(z, DenseQueries) and z.sources is sources and z.matrix is not None:
                total += z.matrix @ w
                continue
            for rows, columns in sources.tiles(points):
                x = sources.points[columns]
                total[rows] += term(sources.kernel, squared_distances(points[rows], x), points[rows], x, w[columns])
        return total

    def _log_sum_exp(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Online over column tiles: running maximum, sum and gradient relative to that maximum."""
        top = z.new_full((len(z),), -torch.inf)
        total = torch.zeros_like(top)
        force = torch.zeros_like(z)
        for sources, w in self.parts:
            kernel = sources.kernel
            if not isinstance(kernel, PositiveKernel):
                raise TypeError(f"`kernel` must be positive for the logarithm of a sum, got {kernel}: use Gaussian, Laplace, Matern or IMQ")
            log_w = w.log()
            for rows, columns in sources.tiles(z):
                x, here = sources.points[columns], z[rows]
                s = squared_distances(here, x)
                exponent = kernel.log_profile(s).add_(log_w[columns])
                new_top = torch.maximum(top[rows], exponent.amax(1))
                # A row that has met only zero weights keeps top = -inf: any finite reference will do for it.
                reference = torch.where(new_top.isinf(), torch.zeros_like(new_top), new_top)
                share = exponent.sub_(reference[:, None]).exp_()
                scale = (top[rows] - reference).exp()
                total[rows] = total[rows] * scale + share.sum(1)
                share *= kernel.log_slope(s).mul_(2)
                pull = torch.stack([(share * (here[:, k, None] - x[None, :, k])).sum(1) for k in range(x.shape[1])], dim=1)
                force[rows] = force[rows] * scale[:, None] + pull
                top[rows] = new_top
        empty = total == 0
        return top + total.log().masked_fill(empty, 0), force / total.masked_fill(empty, 1)[:, None]


def _pull(slope: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """sum_n w_n 2 slope_qn (z_q - x_n), shape (Q, d) or (Q, K, d). Writes into `slope`."""
    slope = slope.mul_(2)
    return torch.stack([(slope * (z[:, k, None] - x[None, :, k])) @ w for k in range(x.shape[1])], dim=-1)


def _points(z: Tensor | Queries) -> Tensor:
    return z if isinstance(z, Tensor) else z.points
