"""What is common to the fields of all backends: parts that add, weight vectors, the logarithm of several parts, the audit.

A backend writes its sources only: `sums(what, w, z)` for w (N, K), and `log_sum(w, z)` for w (N,) where it has a logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks, _fork
from particleflow.kernels import Kernel
from particleflow.kernels.radial import PositiveKernel
from particleflow.pairwise.base import Queries
from particleflow.pairwise.promise import Audit, Promise, compared


class What(Enum):
    """Which sum is wanted. The last axis of the answer: the value, the gradient's coordinates, both in this order, the laplacian."""

    VALUE = "value"
    GRAD = "gradient"
    BOTH = "value and gradient"
    LAPLACIAN = "laplacian"

    def components(self, d: int) -> int:
        return {What.GRAD: d, What.BOTH: 1 + d}.get(self, 1)


@runtime_checkable
class SummedSources(Protocol):
    """Sources of one kernel that know how to sum; all tensors in the dtype and on the device of `points`."""

    @property
    def kernel(self) -> Kernel: ...
    @property
    def points(self) -> Tensor: ...

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        """w (N, K), z (Q, d): (Q, K, what.components(d))."""
        ...

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """w (N,) >= 0: the logarithm (Q,), -inf where the sum is empty, and its gradient (Q, d), zero there; NaN where z is not finite."""
        ...


# Bandwidths up to here, and down to the inverse, have squares in float32, which meshes may be in whatever the points are.
WIDEST = 1e15


def checked_points(points: Tensor, kernel: Kernel) -> Tensor:
    """`points` themselves, if they are (N, d) and the kernel's bandwidth is a length that can be computed with."""
    _fork.tell()
    _checks.points(points, "points")
    bandwidth = getattr(kernel, "bandwidth", 1.0)
    if isinstance(bandwidth, float) and not 1 / WIDEST <= bandwidth <= WIDEST:
        raise ValueError(f"`bandwidth` must be between {1 / WIDEST:g} and {WIDEST:g} for sums, got {bandwidth:g}: take another unit of length")
    return points


def checked_weights(w: Tensor, points: Tensor) -> Tensor:
    """`w` (N,) or (N, K) in the dtype of `points` (N, d)."""
    if not isinstance(w, Tensor) or w.is_complex():
        raise TypeError(f"`w` must be a tensor of real numbers, got {w.dtype if isinstance(w, Tensor) else type(w).__name__}")
    if w.shape[:1] != points.shape[:1] or w.ndim not in (1, 2):
        raise ValueError(f"`w` must be (N,) or (N, K) with N = {len(points)}, got {tuple(w.shape)}")
    return w.to(points.dtype)


def points_of(z: Tensor | Queries) -> Tensor:
    return z if isinstance(z, Tensor) else z.points


def checked_queries(z: Tensor, points: Tensor) -> Tensor:
    """`z` itself, if it is (Q, d) like the sources `points`: machine code reads what it is told to, and nothing else must come to it."""
    _checks.points(z, "z")
    if z.shape[1] != points.shape[1]:
        raise ValueError(f"`z` must have the {points.shape[1]} coordinates of the sources, got shape {tuple(z.shape)}")
    return z


def at_numbers(answer: Tensor, z: Tensor) -> Tensor:
    """The answer (Q, ...) of queries z (Q, d), NaN where one is not finite: no backend has a sum there, not even one whose kernel ends at 0."""
    if z.device.type == "cpu" and (not len(z) or _checks.all_finite(z)):
        return answer
    return masked(answer, z)


def masked(answer: Tensor, z: Tensor) -> Tensor:
    """The same without a look at z, which would wait for a device."""
    return answer.masked_fill(~torch.isfinite(z).all(1).view(-1, *(1 for _ in answer.shape[1:])), torch.nan)


@dataclass(frozen=True, eq=False)
class SumField:
    """z -> sum over parts of sum_i w_i k(z, x_i), each part a set of sources with its weights (N,) or (N, K)."""

    parts: tuple[tuple[Any, Tensor], ...]

    def __add__(self, other: SumField) -> SumField:
        return type(self)(self.parts + other.parts)

    def reduce(self) -> SumField:
        return self

    def value(self, z: Tensor | Queries) -> Tensor:
        return self._sum(What.VALUE, z)[..., 0]

    def grad(self, z: Tensor | Queries) -> Tensor:
        return self._sum(What.GRAD, z)

    def value_and_grad(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        both = self._sum(What.BOTH, z)
        return both[..., 0], both[..., 1:]

    def laplacian(self, z: Tensor | Queries) -> Tensor:
        return self._sum(What.LAPLACIAN, z)[..., 0]

    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        self._check(z)
        for sources, w in self.parts:
            # elsewhere looking would wait for the device: the logarithm of a negative weight is NaN there
            if w.device.type == "cpu" and w.numel() and float(w.min()) < 0:
                raise ValueError("`w` must be >= 0 for the logarithm of a sum, got negative weights: take the log of each sign's sum apart")
            if not isinstance(sources.kernel, PositiveKernel):
                raise TypeError(
                    f"`kernel` must be positive for the logarithm of a sum, got {sources.kernel}: use Gaussian, Laplace, Matern or IMQ"
                )
        columns = [self.log_column(k, z) for k in range(self._columns)]
        if self.parts[0][1].ndim == 1:
            return columns[0]
        return torch.stack([value for value, _ in columns], dim=1), torch.stack([grad for _, grad in columns], dim=1)

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """The a-priori bound of the errors at z. None: exact up to rounding."""
        self._check(z)
        return None

    def explain(self, z: Tensor | Queries) -> Mapping[str, Any]:
        """Which backend sums at z, and why: for a fit's report. As good as free, unlike the promise."""
        self._check(z)
        return {"backend": type(self.parts[0][0]).__name__.removesuffix("Sources"), "why": "asked for"}

    def audit(self, z: Tensor | Queries, *, rows: int = 64, seed: int = 0) -> Audit:
        """Compare with exact float64 sums on `rows` random rows of z. Cost O(rows N d)."""
        self._check(z)
        return compared(self, z, rows=rows, seed=seed)

    def _check(self, z: Any) -> None:
        checked_queries(getattr(z, "points", z), self.parts[0][0].points)

    @property
    def _columns(self) -> int:
        w = self.parts[0][1]
        return 1 if w.ndim == 1 else w.shape[1]

    def _sum(self, what: What, z: Tensor | Queries) -> Tensor:
        """(Q, components), or (Q, K, components) where the weights are (N, K)."""
        self._check(z)
        total = self.sums(what, z)
        return total[:, 0] if self.parts[0][1].ndim == 1 else total

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        """(Q, K, what.components(d)), of queries that have been looked at."""
        (first, w), *others = self.parts
        total: Tensor = first.sums(what, _matrix(w), z)
        for sources, w in others:
            total = total + sources.sums(what, _matrix(w), z)
        return total

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """The logarithm (Q,) of the sum with the k-th weight vector, and its gradient (Q, d)."""
        return merged_logs([sources.log_sum(_matrix(w)[:, k], z) for sources, w in self.parts])


def merged_logs(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """log of a sum of parts, and its gradient, from each part's: log sum_p e^{l_p}, sum_p (share of p) grad l_p."""
    if len(parts) == 1:
        return parts[0]
    logs = torch.stack([log for log, _ in parts])
    total = logs.logsumexp(0)
    empty = total == -torch.inf
    share = (logs - total.masked_fill(empty, 0)).exp()
    return total, sum((share[p][:, None] * grad for p, (_, grad) in enumerate(parts)), torch.zeros_like(parts[0][1]))


def _matrix(w: Tensor) -> Tensor:
    return w if w.ndim == 2 else w[:, None]
