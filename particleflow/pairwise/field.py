"""Define the field of all backends: adding parts, weight vectors, logarithms and the audit.

A backend writes its sources only: `sums(what, w, z)` for w (N, K), and `log_sum(w, z)` for w (N,)
where the backend has a logarithm.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from particleflow.kernels.declared import is_positive
from particleflow.memo import cached_property
from particleflow.pairwise.base import Audit, Promise, Queries
from particleflow.pairwise.inputs import (
    as_matrix,
    checked_queries,
    copied_from,
    points_of,
    sized,
    unchanged,
    within,
)
from particleflow.pairwise.promise import KernelSources, compared
from particleflow.pairwise.terms import What


@runtime_checkable
class PartSources(KernelSources, Protocol):
    """Sources of a part of a field."""

    def field(self, w: Tensor) -> SumField: ...


@runtime_checkable
class SummedSources(PartSources, Protocol):
    """Sources of one kernel that know how to sum.

    All tensors have the dtype and the device of `points`.
    """

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        """Return the sums (Q, K, what.components(d)) of weights w (N, K) at z (Q, d)."""
        ...

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Return the logarithm (Q,) of the sum of weights w (N,) >= 0, and its gradient (Q, d).

        An empty sum has the logarithm -inf and the gradient zero. Both are NaN where z is not
        finite.
        """
        ...


# Name of the attribute of weights that holds the largest |w| of each column.
LARGEST = "largest of each column"
# Range of |w|, no unit: weights within it are summed without levelling.
LEVEL = (1e-12, 1e12)
# Ratio of the columns' largest |w|: columns below this ratio are summed without levelling.
LEVEL_COLUMNS = 100.0
# Room above the weights, in bits, for slopes of up to 1e15 and some terms.
SLOPE_BITS = 54


@dataclass(frozen=True, eq=False)
class SumField:
    """The function z -> sum over parts of sum_i w_i k(z, x_i).

    Each part is a set of sources with its weights (N,) or (N, K).
    """

    parts: tuple[tuple[PartSources, Tensor], ...]

    def __add__(self, other: SumField) -> SumField:
        return type(self)(self.parts + other.parts)

    def reduce(self) -> SumField:
        return self

    # Weights may be 1e30 beside 1e-30. Their products with a kernel's slope would leave the range
    # of float32, and the rounding error of one column would exceed another column. `levelled`
    # brings each column near 1 by a power of two, without rounding.

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
        z = self._seen(z, What.GRAD)
        for sources, w in self.parts:
            # Only the CPU looks: other devices would have to be waited for, and a negative weight's
            # logarithm is NaN there.
            if w.device.type == "cpu" and w.numel() and float(w.min()) < 0:
                raise ValueError(
                    "`w` must be >= 0 for the logarithm of a sum, got negative weights: take the"
                    " log of each sign's sum apart"
                )
            if not is_positive(sources.kernel):
                raise TypeError(
                    f"`kernel` must be positive for the logarithm of a sum, got {sources.kernel}:"
                    " use Gaussian, Laplace, Matern or IMQ"
                )
        level, powers = self.levelled
        columns = [level.log_column(k, z) for k in range(self._columns)]
        if powers is not None:
            columns = [
                (value + math.log(2) * power, grad)
                for (value, grad), power in zip(columns, powers.tolist(), strict=True)
            ]
        if self.parts[0][1].ndim == 1:
            return columns[0]
        return torch.stack([value for value, _ in columns], dim=1), torch.stack(
            [grad for _, grad in columns], dim=1
        )

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """Return the a-priori bound of the errors at z, or None for sums exact up to rounding."""
        self._seen(z)
        return None

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        """Tell which backend sums at z, and why, for a fit's report.

        This costs next to nothing, unlike the promise.
        """
        self._seen(z)
        return {
            "backend": type(self.parts[0][0]).__name__.removesuffix("Sources"),
            "why": "asked for",
        }

    def audit(self, z: Tensor | Queries, *, rows: int = 64, seed: int = 0) -> Audit:
        """Compare with exact float64 sums on `rows` random rows of z. Cost O(rows N d)."""
        self._seen(z)
        return compared(self, z, rows=rows, seed=seed)

    def _check(self, z: object) -> None:
        # Tensors are asked first: a tensor of a user's class may have an attribute `points`.
        checked_queries(
            points_of(z) if isinstance(z, Tensor | Queries) else z, self.parts[0][0].points
        )
        for sources, w in self.parts:
            unchanged(sources.points)
            unchanged(w)

    @property
    def _columns(self) -> int:
        w = self.parts[0][1]
        return 1 if w.ndim == 1 else w.shape[1]

    def _seen(self, z: Tensor | Queries, what: What | None = None) -> Tensor | Queries:
        """Return the checked queries, detached.

        Queries that are a part's points become that part's own tensor, by which backends recognise
        them.
        """
        self._check(z)
        if what is not None:
            sized(
                self.parts[0][0].kernel,
                [points_of(z), *(sources.points for sources, _ in self.parts)],
                what,
            )
        if not isinstance(z, Tensor):
            return z
        own = next(
            (sources.points for sources, _ in self.parts if copied_from(z, sources.points)), None
        )
        return self._ranged(z.detach()) if own is None else own

    def _ranged(self, z: Tensor) -> Tensor:
        """Return queries that are no part's points, and refuse coordinates that are too large."""
        return within(z, "z")

    @property
    def levelled(self) -> tuple[SumField, Tensor | None]:
        """A field that is safe to sum, and exponents p (K,) float64: column k times 2^p_k.

        The field is this one, with None for the exponents, where no levelling is needed.
        """
        return self._levelled or (self, None)

    @cached_property
    def _levelled(self) -> tuple[SumField, Tensor] | None:
        powers = _powers([w for _, w in self.parts])
        if powers is None:
            return None
        fields = [
            sources.field(torch.ldexp(w, (-powers if w.ndim == 2 else -powers[0]).to(w.dtype)))
            for sources, w in self.parts
        ]
        return functools.reduce(operator.add, fields), powers

    @cached_property
    def _idle(self) -> Tensor | None:
        """The columns (n,) whose weights are all zero, or None without any.

        `_sum` clears the rounding errors that other columns leave in them.
        """
        if self.parts[0][1].device.type != "cpu":
            return None
        tops = zip(*(_largest(w) for _, w in self.parts), strict=True)
        idle = [column for column, top in enumerate(tops) if not any(top)]
        return torch.tensor(idle) if idle else None

    def _sum(self, what: What, z: Tensor | Queries) -> Tensor:
        """Return sums (Q, components), or (Q, K, components) for weights (N, K)."""
        z = self._seen(z, what)
        level, powers = self.levelled
        total = level.sums(what, z)
        if powers is not None:
            total = torch.ldexp(total, powers.to(total.dtype)[:, None])
        if total.shape[1] > 1 and self._idle is not None:
            total[:, self._idle] *= 0.0
        return total[:, 0] if self.parts[0][1].ndim == 1 else total

    @property
    def _summed(self) -> tuple[tuple[SummedSources, Tensor], ...]:
        """The parts. A field whose sources cannot sum has `sums` and `log` of its own."""
        return cast("tuple[tuple[SummedSources, Tensor], ...]", self.parts)

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        """Return sums (Q, K, what.components(d)) at checked queries."""
        (first, w), *others = self._summed
        total = first.sums(what, as_matrix(w), z)
        for sources, w in others:
            total = total + sources.sums(what, as_matrix(w), z)
        return total

    def log_column(self, k: int, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Return the logarithm (Q,) of the k-th weight vector's sum, and its gradient (Q, d)."""
        return merged_logs([sources.log_sum(as_matrix(w)[:, k], z) for sources, w in self._summed])


def merged_logs(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the logarithm of a sum of parts, and its gradient, from each part's l_p and grad l_p.

    The logarithm is log sum_p e^{l_p}. The gradient is sum_p (share of p) grad l_p.
    """
    if len(parts) == 1:
        return parts[0]
    logs = torch.stack([log for log, _ in parts])
    total = logs.logsumexp(0)
    empty = total == -torch.inf
    share = (logs - total.masked_fill(empty, 0)).exp()
    return total, sum(
        (share[p][:, None] * grad for p, (_, grad) in enumerate(parts)),
        torch.zeros_like(parts[0][1]),
    )


def _powers(weights: list[Tensor]) -> Tensor | None:
    """Return p (K,) such that the weights of all parts, (N,) or (N, K) each, are near 2^p.

    The answer is None where the weights are near 1 already, or not finite.
    """
    if weights[0].device.type != "cpu":
        return None  # looking would wait for the device
    tops = [max(column) for column in zip(*map(_largest, weights), strict=True)]
    most = max(tops, default=0.0)
    least = min(filter(None, tops), default=0.0)
    if (
        not most
        or not math.isfinite(sum(tops))
        or (LEVEL[0] < least and most < min(LEVEL[1], LEVEL_COLUMNS * least))
    ):
        return None
    weights = [as_matrix(w) for w in weights]
    highest = torch.stack([w.abs().amax(0) for w in weights]).amax(0).double()
    limit = torch.finfo(weights[0].dtype)
    # The smallest weights keep their digits as far as the largest leave room for a kernel's slope.
    lowest = torch.stack(
        [w.abs().double().masked_fill(w == 0, torch.inf).amin(0) for w in weights]
    ).amin(0)
    top, bottom = (
        highest.clamp_min(limit.tiny).log2().floor(),
        lowest.clamp_max(limit.max).log2().floor(),
    )
    room = math.floor(math.log2(limit.max)) - SLOPE_BITS
    powers = torch.minimum(top, torch.maximum(bottom - math.log2(limit.tiny), top - room))
    return powers.masked_fill(highest == 0, 0.0)


def _largest(w: Tensor) -> list[float]:
    """Return max |w| of each column of owned weights, computed once."""
    found: list[float] | None = vars(w).get(LARGEST)
    if found is None:
        if w.ndim == 1:
            low, high = w.aminmax()
            found = [max(float(high), -float(low))]
        else:
            low, high = w.aminmax(dim=0)
            found = torch.maximum(high, -low).tolist()
        vars(w)[LARGEST] = found
    return found
