"""What is common to the fields of all backends: parts that add, weight vectors, the logarithm of several parts, the audit.

A backend writes its sources only: `sums(what, w, z)` for w (N, K), and `log_sum(w, z)` for w (N,) where it has a logarithm.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks, _fork
from particleflow.kernels import Energy, Kernel, Laplace
from particleflow.kernels.declared import bandwidth_of, is_positive
from particleflow.memo import cached_property
from particleflow.pairwise.base import Audit, Promise, Queries
from particleflow.pairwise.promise import compared


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


# Numbers up to which a tensor is copied; the attributes of what is owned (for a view its name, its version when it was taken, and some of its
# numbers then), and of weights.
COPIED, TAKEN, SAMPLE, LARGEST = 2**17, "taken", "sample", "largest of each column"
# Numbers of a view that are looked at again, spread over it: 5 us, where all would take a hundredth of a sum on a mesh.
SAMPLED = 512
# Weights between these, and columns whose largest differ by less than this factor, are summed as they are. Bits (binary digits) of room that are
# left above the weights: for slopes of up to 1e15 and some terms.
LEVEL, LEVEL_COLUMNS, SLOPE_BITS = (1e-12, 1e12), 100.0, 54
# Bandwidths up to here, and down to the inverse, have squares in float32, which meshes may be in whatever the points are.
WIDEST = 1e15
# Coordinates up to here have squares, and sums of squares, in float64. float32 holds none beyond: backends sum its far points in float64.
FARTHEST = 1e150
# The least size of a cloud, for kernels with a kink, in their unit of length: for slopes, which end at a distance of 1e-15 (kernels/radial.py), and
# for values, whose distances must have squares.
SLOPED, SQUARED = 1e-9, {torch.float32: 1e-15, torch.float64: 1e-150}


def checked_points(points: Tensor, kernel: object, *, ranged: bool = True) -> Tensor:
    """`points`, owned, if they are (N, d) and the kernel's bandwidth is a length that can be computed with.

    `ranged`: False where the backend refuses what is too large itself, by `refuse_far`, since it looks at the corners of its points anyway.
    """
    _fork.tell()
    _checks.points(points, "points")
    bandwidth = bandwidth_of(kernel)
    if bandwidth is not None and not 1 / WIDEST <= bandwidth <= WIDEST:
        raise ValueError(f"`bandwidth` must be between {1 / WIDEST:g} and {WIDEST:g} for sums, got {bandwidth:g}: take another unit of length")
    return owned(within(points, "points") if ranged else points, "points")


def within(points: Tensor, name: str) -> Tensor:
    """`points` themselves, if no finite coordinate is too large for its square. On a device nobody waits for the answer."""
    if points.dtype == torch.float64 and points.device.type == "cpu":
        low, high = (float(end) for end in points.detach().aminmax())
        refuse_far(points, name, low, high)
    return points


def refuse_far(points: Tensor, name: str, low: float, high: float) -> None:
    """Refuse points whose least and largest coordinates are these, if one has no square. A NaN passes through both, and hides what is beside it."""
    if low >= -FARTHEST and high <= FARTHEST:
        return
    far = points[torch.isfinite(points) & (points.abs() > FARTHEST)]
    if len(far):
        raise _checks.OutOfRangeError(
            f"`{name}` must be between {-FARTHEST:g} and {FARTHEST:g} for sums, got {float(far[0]):.3g}, whose square is no number: take another "
            "unit of length, or leave such points out"
        )


def sized(kernel: object, clouds: list[Tensor], what: What) -> None:
    """Refuse points, of sources and queries, that lie so near each other that a kernel with a kink would take them for one."""
    if not isinstance(kernel, Energy | Laplace) or clouds[0].device.type != "cpu":
        return
    unit = bandwidth_of(kernel) or 1.0
    least = SQUARED[clouds[0].dtype] if what is What.VALUE else SLOPED * unit
    largest = 0.0
    for cloud in clouds:
        largest = max(largest, *(abs(float(end)) for end in cloud.detach().aminmax()))
        if not largest < least:  # a NaN too
            return
    if largest > 0:
        why = "values, whose distances need squares," if what is What.VALUE else f"slopes, which end at distances of {1e-15 * unit:g},"
        raise ValueError(
            f"`points` and `z` must have some coordinate of {least:g} or more for {why} of {kernel}, got {largest:.3g} at most: take another unit of "
            "length"
        )


def owned(given: Tensor, name: str) -> Tensor:
    """A detached copy; of a large tensor, whose copy would take a tenth of a sum on a mesh, a view: `unchanged` refuses it once it was changed.

    What numpy writes into the memory of a large tensor is seen where it meets one of `SAMPLED` numbers. What is owned already stays: backends hand
    it on to others.
    """
    if TAKEN in vars(given):
        return given
    own = given.detach() if given.requires_grad else given
    if given.numel() <= COPIED or not given.is_contiguous() or given.is_inference():
        own = own.clone(memory_format=torch.contiguous_format)
        vars(own)[TAKEN] = "", 0
    else:
        own = given.detach()
        vars(own)[TAKEN] = name, own._version
        if own.device.type == "cpu":
            vars(own)[SAMPLE] = _sample(own).clone()
    return own


def unchanged(own: Tensor) -> None:
    """Refuse a view whose memory was written to."""
    name, version = vars(own).get(TAKEN, ("", 0))
    if name and (own._version != version or (SAMPLE in vars(own) and not torch.equal(_sample(own), vars(own)[SAMPLE]))):
        raise RuntimeError(
            f"`{name}` was changed in place after sums were made of it: make the sources and the field again, or pass a copy, e.g. {name}.clone()"
        )


def _sample(own: Tensor) -> Tensor:
    """Some of the numbers, as bits, of each coordinate alike."""
    step = own.numel() // SAMPLED
    while math.gcd(step, own.shape[-1]) > 1:
        step += 1
    return own.view(torch.int64 if own.dtype == torch.float64 else torch.int32).view(-1)[::step]


def held_points(points: Tensor, kernel: object) -> Tensor:
    """The same, of a backend that sums on any device that holds numbers."""
    copied = checked_points(points, kernel)
    if copied.device.type == "meta":
        raise TypeError("`points` must hold numbers, got a tensor on the meta device: pass one that does")
    return copied


def checked_weights(w: Tensor, points: Tensor) -> Tensor:
    """`w`, owned, if it is (N,) or (N, K), in the dtype of `points` (N, d)."""
    if not isinstance(w, Tensor) or w.is_complex():
        raise TypeError(f"`w` must be a tensor of real numbers, got {w.dtype if isinstance(w, Tensor) else type(w).__name__}")
    if w.layout != torch.strided:
        raise TypeError(f"`w` must be a dense tensor, got one of layout {w.layout}: pass its numbers, e.g. w.to_dense()")
    if w.device != points.device:
        raise ValueError(f"`w` must be on the device of the points, {points.device}, got {w.device}: move it with w.to(points.device)")
    if w.shape[:1] != points.shape[:1] or w.ndim not in (1, 2):
        raise ValueError(f"`w` must be (N,) or (N, K) with N = {len(points)}, got {tuple(w.shape)}")
    return owned(w.detach().to(points.dtype), "w") if w.dtype != points.dtype else owned(w, "w")


def points_of(z: Tensor | Queries) -> Tensor:
    return z if isinstance(z, Tensor) else z.points


def checked_queries(z: Tensor, points: Tensor) -> Tensor:
    """`z` itself, if it is (Q, d) like the sources `points`: machine code reads what it is told to, and nothing else must come to it."""
    _checks.points(z, "z")
    if z.shape[1] != points.shape[1]:
        raise ValueError(f"`z` must have the {points.shape[1]} coordinates of the sources, got shape {tuple(z.shape)}")
    if z.device != points.device:
        raise ValueError(f"`z` must be on the device of the sources, {points.device}, got {z.device}: move it with z.to({str(points.device)!r})")
    return z


def kept_queries(z: Tensor, points: Tensor) -> Tensor:
    """What `prepare` keeps of queries z: the sources' `points` where these are the queries, else a detached copy."""
    checked_queries(z, points)
    return points if copied_from(z, points) else owned(within(z, "z"), "z")


def copied_from(z: Tensor, points: Tensor) -> bool:
    """Are the queries z the sources' own `points`?"""
    if z is points:
        return True
    if z.shape != points.shape or z.dtype != points.dtype:
        return False
    if vars(points).get(TAKEN, ("",))[0]:
        return z.data_ptr() == points.data_ptr() and z.is_contiguous()
    return z.device.type == "cpu" and torch.equal(z, points)


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

    # Fields are made of weights of every size: of 1e30 beside 1e-30, their products with a kernel's slope would leave the numbers of float32, and
    # what one column loses by rounding would be more than all of another. `levelled` brings each column near 1, by a power of two, exactly.

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
            # elsewhere looking would wait for the device: the logarithm of a negative weight is NaN there
            if w.device.type == "cpu" and w.numel() and float(w.min()) < 0:
                raise ValueError("`w` must be >= 0 for the logarithm of a sum, got negative weights: take the log of each sign's sum apart")
            if not is_positive(sources.kernel):
                raise TypeError(
                    f"`kernel` must be positive for the logarithm of a sum, got {sources.kernel}: use Gaussian, Laplace, Matern or IMQ"
                )
        level, powers = self.levelled
        columns = [level.log_column(k, z) for k in range(self._columns)]
        if powers is not None:
            columns = [(value + math.log(2) * power, grad) for (value, grad), power in zip(columns, powers.tolist(), strict=True)]
        if self.parts[0][1].ndim == 1:
            return columns[0]
        return torch.stack([value for value, _ in columns], dim=1), torch.stack([grad for _, grad in columns], dim=1)

    def promise(self, z: Tensor | Queries) -> Promise | None:
        """The a-priori bound of the errors at z. None: exact up to rounding."""
        self._seen(z)
        return None

    def explain(self, z: Tensor | Queries) -> Mapping[str, Any]:
        """Which backend sums at z, and why: for a fit's report. As good as free, unlike the promise."""
        self._seen(z)
        return {"backend": type(self.parts[0][0]).__name__.removesuffix("Sources"), "why": "asked for"}

    def audit(self, z: Tensor | Queries, *, rows: int = 64, seed: int = 0) -> Audit:
        """Compare with exact float64 sums on `rows` random rows of z. Cost O(rows N d)."""
        self._seen(z)
        return compared(self, z, rows=rows, seed=seed)

    def _check(self, z: Any) -> None:
        # a tensor first: one of a user's own class may have an attribute `points`
        checked_queries(points_of(z) if isinstance(z, Tensor | Queries) else z, self.parts[0][0].points)
        for sources, w in self.parts:
            unchanged(sources.points)
            unchanged(w)

    @property
    def _columns(self) -> int:
        w = self.parts[0][1]
        return 1 if w.ndim == 1 else w.shape[1]

    def _seen(self, z: Tensor | Queries, what: What | None = None) -> Tensor | Queries:
        """Queries that have been looked at, detached; the sources' own tensor where they are a part's points, so that backends know them by it."""
        self._check(z)
        if what is not None:
            sized(self.parts[0][0].kernel, [points_of(z), *(sources.points for sources, _ in self.parts)], what)
        if not isinstance(z, Tensor):
            return z
        own = next((sources.points for sources, _ in self.parts if copied_from(z, sources.points)), None)
        return self._ranged(z).detach() if own is None else own

    def _ranged(self, z: Tensor) -> Tensor:
        """Queries that are no part's points, if none is too large."""
        return within(z, "z")

    @property
    def levelled(self) -> tuple[SumField, Tensor | None]:
        """A field that is safe to sum, and the powers of two (K,) float64 that its columns are to be multiplied by; None: this field, as it is."""
        return self._levelled or (self, None)

    @cached_property
    def _levelled(self) -> tuple[SumField, Tensor] | None:
        powers = _powers([w for _, w in self.parts])
        if powers is None:
            return None
        fields: list[SumField] = [
            sources.field(torch.ldexp(w, (-powers if w.ndim == 2 else -powers[0]).to(w.dtype))) for sources, w in self.parts
        ]
        return functools.reduce(operator.add, fields), powers

    @cached_property
    def _idle(self) -> Tensor | None:
        """The columns (n,) of no weight at all: what others leave in them by rounding is taken out. None: all weigh."""
        if self.parts[0][1].device.type != "cpu":
            return None
        tops = zip(*(_largest(w) for _, w in self.parts), strict=True)
        idle = [column for column, top in enumerate(tops) if not any(top)]
        return torch.tensor(idle) if idle else None

    def _sum(self, what: What, z: Tensor | Queries) -> Tensor:
        """(Q, components), or (Q, K, components) where the weights are (N, K)."""
        z = self._seen(z, what)
        level, powers = self.levelled
        total = level.sums(what, z)
        if powers is not None:
            total = torch.ldexp(total, powers.to(total.dtype)[:, None])
        if total.shape[1] > 1 and self._idle is not None:
            total[:, self._idle] *= 0.0
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


def _powers(weights: list[Tensor]) -> Tensor | None:
    """p (K,) with the weights of all parts, (N,) or (N, K) each, near 2^p; None where they are near 1 already, or no numbers."""
    if weights[0].device.type != "cpu":
        return None  # looking would wait for the device
    tops = [max(column) for column in zip(*map(_largest, weights), strict=True)]
    most = max(tops, default=0.0)
    least = min(filter(None, tops), default=0.0)
    if not most or not math.isfinite(sum(tops)) or (LEVEL[0] < least and most < min(LEVEL[1], LEVEL_COLUMNS * least)):
        return None
    weights = [_matrix(w) for w in weights]
    highest = torch.stack([w.abs().amax(0) for w in weights]).amax(0).double()
    limit = torch.finfo(weights[0].dtype)
    # the smallest keep their digits, as far as the largest leave room for a kernel's slope
    lowest = torch.stack([w.abs().double().masked_fill(w == 0, torch.inf).amin(0) for w in weights]).amin(0)
    top, bottom = highest.clamp_min(limit.tiny).log2().floor(), lowest.clamp_max(limit.max).log2().floor()
    room = math.floor(math.log2(limit.max)) - SLOPE_BITS
    powers = torch.minimum(top, torch.maximum(bottom - math.log2(limit.tiny), top - room))
    return powers.masked_fill(highest == 0, 0.0)


def _largest(w: Tensor) -> list[float]:
    """max |w| of each column of own weights, looked at once."""
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


def _matrix(w: Tensor) -> Tensor:
    return w if w.ndim == 2 else w[:, None]
