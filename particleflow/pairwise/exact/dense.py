"""Sum exactly in plain torch, tile by tile, on any device and for any kernel.

The memory is bounded. These sums are the reference for every other backend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow.kernels import Kernel
from particleflow.kernels.declared import (
    bandwidth_of,
    has_kink,
    has_laplacian,
    is_built_in,
    is_positive,
)
from particleflow.pairwise.base import Queries
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import (
    at_numbers,
    checked_weights,
    held_points,
    kept_queries,
    points_of,
)
from particleflow.pairwise.terms import What

# Most (Q, N) arrays in memory at once for a tile (the logarithm with Matern52): s, the exponent, a
# difference, a product, and the temporaries of the kernel's slope.
ARRAYS_PER_TILE = 8
# Largest coordinate in float32, in the points' unit, for kernels with a laplacian of their own:
# squares and the kernel's derivatives still fit.
FAR = 1e9
# Largest coordinate in float32, in the points' unit, for other kernels, whose derivatives may take
# powers on the way.
FAR_UNKNOWN = 1e3
# Least bandwidth in float32, in the points' unit: a laplacian's pole, cut off at a distance of
# 1e-15 bandwidths, still fits.
FINE = 1e-3


def squared_distances(z: Tensor, points: Tensor) -> Tensor:
    """Return |z_q - x_n|^2, shape (Q, N), by differences.

    The formula |z|^2 + |x|^2 - 2 z.x would lose half of the digits.
    """
    s = (z[:, 0, None] - points[None, :, 0]).square_()
    for k in range(1, points.shape[1]):
        s += (z[:, k, None] - points[None, :, k]).square_()
    return s


def kernel_matrix(kernel: Kernel, z: Tensor, points: Tensor) -> Tensor:
    """Return k(z_q, x_n), shape (Q, N)."""
    with Supplied("kernel", kernel):
        return kernel.profile(squared_distances(z, points))


@dataclass(frozen=True)
class Dense:
    r"""Exact sums by torch's operations, tile by tile, for any kernel on any device.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) ,
        \qquad
        \nabla S(z) = \sum_{i=1}^{N} 2 w_i\, \varphi'(|z - x_i|^2)\, (z - x_i) .

    The distances are sums of squared differences, which keep their digits. The logarithm is taken
    with a running maximum, so that nothing underflows. The errors are rounding only: `Dense` is the
    reference for every other backend. The same input gives the same bits for a fixed number of
    threads. On the CPU `Compiled` is faster for built-in kernels.

    Parameters
    ----------
    max_bytes : int
        Bound on the working memory beyond input and output, in bytes. A tile has at least one pair.
        `log` keeps a second copy of its output. Tiles much larger than the processor's cache gain
        nothing.

    Raises
    ------
    TypeError
        `max_bytes` is no integer.
    ValueError
        `max_bytes` is below 1.

    Cost: O(Q N d), working memory at most `max_bytes`.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sources = pf.pairwise.Dense().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.ones(2))
    >>> field.value_and_grad(torch.zeros(1, 1))  # 1 + e^-1/2, and e^-1/2
    (tensor([1.6065]), tensor([[0.6065]]))
    """

    max_bytes: int = 8 * 2**20

    def __post_init__(self) -> None:
        _checks.count(self.max_bytes, "max_bytes")

    def sources(self, kernel: Kernel, points: Tensor) -> DenseSources:
        return DenseSources(kernel, held_points(points, kernel), self.max_bytes)


@dataclass(frozen=True)
class DenseQueries:
    """Query points and their kernel matrix (Q, N) against one set of sources.

    `matrix` is None where the matrix does not fit the memory bound.
    """

    points: Tensor
    sources: DenseSources
    matrix: Tensor | None


@dataclass(frozen=True, eq=False)
class DenseSources:
    kernel: Kernel
    points: Tensor
    max_bytes: int

    def field(self, w: Tensor) -> SumField:
        return SumField(((self, checked_weights(w, self.points)),))

    def prepare(self, z: Tensor) -> DenseQueries:
        z = kept_queries(z, self.points)
        fits = len(z) * len(self.points) * z.element_size() * ARRAYS_PER_TILE <= self.max_bytes
        return DenseQueries(z, self, kernel_matrix(self.kernel, z, self.points) if fits else None)

    @cached_property
    def _double(self) -> DenseSources:
        return DenseSources(self.kernel, self.points.double(), self.max_bytes)

    def _extreme(self, z: Tensor) -> bool:
        """Do squared distances leave the range of float32?

        Only the CPU checks: other devices would have to be waited for.
        """
        if self.points.dtype != torch.float32 or z.device.type != "cpu":
            return False
        kinked = is_built_in(self.kernel) and has_kink(self.kernel)
        fine = kinked and (bandwidth_of(self.kernel) or 1.0) < FINE
        far = FAR if has_laplacian(self.kernel) else FAR_UNKNOWN
        return fine or max(_largest(z), _largest(self.points)) > far

    def tiles(self, z: Tensor) -> Iterator[tuple[slice, slice]]:
        """Yield row (query) and column (source) slices, all columns of a row in sequence."""
        pairs = max(1, self.max_bytes // (ARRAYS_PER_TILE * z.element_size()))
        columns = min(len(self.points), max(1, int(pairs**0.5)))
        rows = max(1, pairs // columns)
        for i in range(0, len(z), rows):
            for j in range(0, len(self.points), columns):
                yield slice(i, i + rows), slice(j, j + columns)

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        if (
            what is What.VALUE
            and isinstance(z, DenseQueries)
            and z.sources is self
            and z.matrix is not None
        ):
            return at_numbers((z.matrix @ w)[..., None], z.points)
        points = points_of(z)
        if self._extreme(points):
            return self._double.sums(what, w.double(), points.double()).to(self.points.dtype)
        total = points.new_zeros((len(points), w.shape[1], what.components(points.shape[1])))
        for rows, columns in self.tiles(points):
            here, x = points[rows], self.points[columns]
            with Supplied("kernel", self.kernel):
                total[rows] += _TERMS[what](
                    self.kernel, squared_distances(here, x), here, x, w[columns]
                )
        return at_numbers(total, points)

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Return the logarithm (Q,) and its gradient (Q, d) in one pass over column tiles.

        The pass keeps a running maximum, and the sum and gradient relative to that maximum.
        """
        kernel, points = self.kernel, points_of(z)
        if self._extreme(points):
            log, grad = self._double.log_sum(w.double(), points.double())
            return log.to(self.points.dtype), grad.to(self.points.dtype)
        assert is_positive(kernel)
        top = points.new_full((len(points),), -torch.inf)
        total = torch.zeros_like(top)
        force = torch.zeros_like(points)
        log_w = w.log()
        for rows, columns in self.tiles(points):
            x, here = self.points[columns], points[rows]
            s = squared_distances(here, x)
            with Supplied("kernel", kernel):
                exponent = kernel.log_profile(s).add_(log_w[columns])
            new_top = torch.maximum(top[rows], exponent.amax(1))
            # A row with only zero weights so far keeps top = -inf: any finite reference is right.
            reference = torch.where(new_top.isinf(), torch.zeros_like(new_top), new_top)
            share = exponent.sub_(reference[:, None]).exp_()
            scale = (top[rows] - reference).exp()
            total[rows] = total[rows] * scale + share.sum(1)
            with Supplied("kernel", kernel):
                share *= kernel.log_slope(s).mul_(2)
            pull = torch.stack(
                [(share * (here[:, k, None] - x[None, :, k])).sum(1) for k in range(x.shape[1])],
                dim=1,
            )
            force[rows] = force[rows] * scale[:, None] + pull
            top[rows] = new_top
        empty = total == 0
        log, grad = (
            top + total.log().masked_fill(empty, 0),
            force / total.masked_fill(empty, 1)[:, None],
        )
        return at_numbers(log, points), at_numbers(grad, points)


def _largest(points: Tensor) -> float:
    """Return the largest |coordinate| of those that are finite."""
    ends = [abs(float(end)) for end in points.aminmax()]
    return (
        max(ends)
        if all(math.isfinite(end) for end in ends)
        else float(points.nan_to_num(0.0, 0.0, 0.0).abs().max())
    )


# Each function below returns a tile's contribution (Q, K, components) to a sum, from the kernel,
# s (Q, N), z (Q, d), x (N, d) and w (N, K).


def _values(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    return (kernel.profile(s) @ w)[..., None]


def _gradients(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    return _pull(kernel.slope(s), z, x, w)


def _values_and_gradients(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    profile = kernel.profile(s)
    # A positive kernel's slope needs no second exponential.
    slope = kernel.log_slope(s).mul_(profile) if is_positive(kernel) else kernel.slope(s)
    return torch.cat([(profile @ w)[..., None], _pull(slope, z, x, w)], dim=-1)


def _laplacians(kernel: Kernel, s: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    d = z.shape[1]
    bend = (
        kernel.laplacian(s, d)
        if has_laplacian(kernel)
        else 4 * s * kernel.curvature(s) + 2 * d * kernel.slope(s)
    )
    return (bend @ w)[..., None]


_TERMS = {
    What.VALUE: _values,
    What.GRAD: _gradients,
    What.BOTH: _values_and_gradients,
    What.LAPLACIAN: _laplacians,
}


def _pull(slope: Tensor, z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """Return sum_n w_n 2 slope_qn (z_q - x_n), shape (Q, K, d), and overwrite `slope`."""
    slope = slope.mul_(2)
    return torch.stack(
        [(slope * (z[:, k, None] - x[None, :, k])) @ w for k in range(x.shape[1])], dim=-1
    )
