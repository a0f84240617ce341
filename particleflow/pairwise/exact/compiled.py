"""Sum exactly on the CPU with the machine code of `tiles`, in as many threads as torch has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._libraries import library
from particleflow.kernels import Kernel
from particleflow.kernels.built_in import BUILT_IN
from particleflow.kernels.declared import stated
from particleflow.memo import cached_property
from particleflow.pairwise.base import Queries
from particleflow.pairwise.exact.dense import ARRAYS_PER_TILE, kernel_matrix
from particleflow.pairwise.exact.ranges import Ranges, query_rows, range_logs, range_sums, scaled
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import (
    at_numbers,
    checked_points,
    checked_weights,
    kept_queries,
    points_of,
    require_cpu,
)
from particleflow.pairwise.terms import What
from particleflow.subsets import ranked

# Largest scaled coordinate in float32, no unit: squares and the kernel's derivatives still fit.
FAR = 1e9
# Working memory of a prepared kernel matrix, in bytes.
MATRIX_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Compiled:
    r"""Exact sums on the CPU by machine code that is made at run time.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) , \qquad \nabla S(z) .

    llvmlite makes the code, and no compiler is needed. It sums every built-in kernel, not a
    `Radial` or another kernel of yours. The errors come from rounding of the coordinates (relative
    to the sources' centre) and of the terms: 1e-6 of the sum of the terms' absolute values in
    float32, 1e-14 in float64. The same input gives the same bits for any number of threads
    (``torch.get_num_threads()``). The first use of a kernel, sum and dtype takes 0.1 s for its
    code.

    Parameters
    ----------
    portable : bool
        Make code that any processor of this architecture runs (no AVX, no FMA). The bits are then
        the same on all these processors, at a third of the speed.

    Raises
    ------
    ImportError
        llvmlite is missing or broken.
    TypeError
        `portable` is no bool. Later, from `sources`: the kernel is not built in.
    ValueError
        Later, from `sources`: the points are not on the CPU.

    Cost: O(Q N d), about 1 ns a pair in float32 and d = 1 on one core; memory O(Q d K + N d) for K
    weight vectors.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sources = pf.pairwise.Compiled().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.ones(2))
    >>> field.value(torch.zeros(1, 1))  # 1 + e^-1/2
    tensor([1.6065])
    """

    portable: bool = False

    def __post_init__(self) -> None:
        library("llvmlite.binding", "Compiled")
        _checks.flag(self.portable, "portable")

    def sources(self, kernel: Kernel, points: Tensor) -> CompiledSources:
        points = checked_points(points, kernel)
        check_kernel(kernel)
        require_cpu(points, "Compiled()")
        return CompiledSources(kernel, points, self.portable)


@dataclass(frozen=True)
class CompiledQueries:
    """Query points in the layout of the compiled code, for one set of sources.

    `matrix` is their kernel matrix (Q, N) where it is small.
    """

    points: Tensor
    sources: CompiledSources
    rows: np.ndarray
    matrix: Tensor | None


@dataclass(frozen=True, eq=False)
class CompiledSources:
    kernel: Kernel
    points: Tensor
    portable: bool

    def field(self, w: Tensor) -> SumField:
        return SumField(((self, checked_weights(w, self.points)),))

    def prepare(self, z: Tensor) -> CompiledQueries:
        z = kept_queries(z, self.points)
        small = len(z) * len(self.points) * z.element_size() * ARRAYS_PER_TILE <= MATRIX_BYTES
        return CompiledQueries(
            z, self, self._rows(z), kernel_matrix(self.kernel, z, self.points) if small else None
        )

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        if (
            what is What.VALUE
            and isinstance(z, CompiledQueries)
            and z.sources is self
            and z.matrix is not None
        ):
            return at_numbers((z.matrix @ w)[..., None], z.points)
        rows, count = self._rows(z), points_of(z).shape[0]
        if self._extreme(rows):
            return self._double.sums(what, w.double(), points_of(z).double()).to(self.points.dtype)
        ranges = Ranges.all_pairs(count, self.points.shape[0])
        total = range_sums(self.kernel, what, w, self._scaled, rows, ranges, portable=self.portable)
        return self._answer(total[:count], w, points_of(z))

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        rows, count = self._rows(z), len(points_of(z))
        if self._extreme(rows):
            fine = self._double.log_sum(w.double(), points_of(z).double())
            return fine[0].to(self.points.dtype), fine[1].to(self.points.dtype)
        ranges = Ranges.all_pairs(count, len(self.points))
        log, grad = range_logs(self.kernel, w, self._scaled, rows, ranges, portable=self.portable)
        return self._answer(log[:count], w, points_of(z)), self._answer(
            grad[:count], w, points_of(z)
        )

    @cached_property
    def _centre(self) -> np.ndarray:
        """The median of the sources, subtracted from all coordinates in float64.

        float32 then keeps its digits for a cloud far from the origin, or with a few far points.
        """
        return ranked(self.points.detach().numpy(), 0.5)[0].astype(np.float64)

    @cached_property
    def _scaled(self) -> np.ndarray:
        return scaled(self.kernel, self.points, self._centre)

    @cached_property
    def _double(self) -> CompiledSources:
        return CompiledSources(self.kernel, self.points.double(), self.portable)

    @cached_property
    def _farthest(self) -> float:
        return _largest(self._scaled)

    def _extreme(self, rows: np.ndarray) -> bool:
        """Do squares of scaled coordinates leave the range of float32?"""
        if rows.dtype != np.float32:
            return False
        # A NaN hides the other coordinates: the answer is then True, which costs time only.
        return not max(_largest(rows), self._farthest) <= FAR

    def _rows(self, z: Tensor | Queries) -> np.ndarray:
        if isinstance(z, CompiledQueries) and z.sources is self:
            return z.rows
        if z is self.points:
            return query_rows(self._scaled)
        return query_rows(scaled(self.kernel, points_of(z).to(self.points.dtype), self._centre))

    def _answer(self, rows: np.ndarray, w: Tensor, z: Tensor) -> Tensor:
        """Return the answer in the dtype of the points, with NaNs where they belong.

        The code loses NaNs: a source or a weight that is not finite makes all rows NaN here.
        """
        answer = rows.astype(self._scaled.dtype, order="C")
        if not (math.isfinite(self._farthest) and np.isfinite(w.detach().numpy()).all()):
            answer.fill(np.nan)
        return at_numbers(torch.from_numpy(answer), z)


def _largest(coordinates: np.ndarray) -> float:
    low, high = torch.from_numpy(coordinates).aminmax()
    return max(float(high), -float(low))


def has_code(kind: type[Kernel]) -> bool:
    """Does machine code exist for kernels of this class?"""
    return stated(kind) is not None


def check_kernel(kernel: Kernel) -> None:
    """Refuse a kernel without machine code."""
    if not has_code(type(kernel)):
        names = ", ".join(known.__name__ for known in BUILT_IN)
        raise TypeError(
            f"`kernel` must be one of {names} for Compiled(), got {kernel}: sum with Dense()"
        )
