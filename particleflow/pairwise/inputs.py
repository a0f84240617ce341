"""Check the points, weights and queries of a sum, and copy or watch them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from particleflow import _checks, _fork
from particleflow._refusals import RefusedValueError
from particleflow.kernels.declared import bandwidth_of, has_kink, is_built_in
from particleflow.pairwise.base import Queries
from particleflow.pairwise.terms import What

# Largest tensor that is copied, in numbers; a larger tensor is watched.
COPIED = 2**17
# Name of an owned tensor's attribute that holds, for a view, its name and its version when taken.
TAKEN = "taken"
# Name of a view's attribute that holds some of its numbers when it was taken.
SAMPLE = "sample"
# Name of an owned tensor's attribute that holds its least and largest coordinate.
ENDS = "ends"
# Numbers of a view that are compared again, spread over it. They take 5 us; all numbers would take
# 0.01 of a sum on a mesh.
SAMPLED = 512
# Widest bandwidth, in the points' unit; the narrowest is its inverse. Both have squares in float32,
# which meshes may use for points of any dtype.
WIDEST = 1e15
# Largest coordinate, in the points' unit: its squares, and their sums, are numbers of float64.
# Backends sum far points of float32 in float64.
FARTHEST = 1e150
# Least size of a cloud for slopes at a kink, in bandwidths: slopes end at a distance of 1e-15
# bandwidths (kernels/contract.py).
SLOPED = 1e-9
# Least size of a cloud for values at a kink, in the points' unit: distances must have squares.
SQUARED = {torch.float32: 1e-15, torch.float64: 1e-150}


def checked_points(points: Tensor, kernel: object, *, ranged: bool = True) -> Tensor:
    """Return `points` (N, d), owned, and refuse a bandwidth outside 1e-15 ... 1e15.

    `ranged` is False for a backend that calls `refuse_far` itself, because that backend computes
    the corners of its points anyway.
    """
    _fork.tell()
    _checks.points(points, "points")
    bandwidth = bandwidth_of(kernel)
    if bandwidth is not None and not 1 / WIDEST <= bandwidth <= WIDEST:
        wanted = f"must be between {1 / WIDEST:g} and {WIDEST:g} for sums"
        remedy = "take another unit of length"
        raise RefusedValueError("bandwidth", wanted, f"{bandwidth:g}", remedy)
    own = owned(points, "points")
    return within(own, "points") if ranged else own


def within(points: Tensor, name: str) -> Tensor:
    """Return owned `points`, and refuse finite coordinates too large for their square.

    Only float64 points on the CPU are checked: other devices would have to be waited for.
    """
    if points.dtype == torch.float64 and points.device.type == "cpu" and ENDS not in vars(points):
        low, high = points.aminmax()
        ends = float(low), float(high)
        refuse_far(points, name, *ends)
        vars(points)[ENDS] = ends
    return points


def refuse_far(points: Tensor, name: str, low: float, high: float) -> None:
    """Refuse points whose least coordinate `low` or largest coordinate `high` has no square.

    A NaN makes both NaN. The points are then searched.
    """
    if low >= -FARTHEST and high <= FARTHEST:
        return
    far = points[torch.isfinite(points) & (points.abs() > FARTHEST)]
    if len(far):
        raise _checks.OutOfRangeError(
            f"`{name}` must be between {-FARTHEST:g} and {FARTHEST:g} for sums, got"
            f" {float(far[0]):.3g}, whose square is no number: take another unit of length, or"
            " leave such points out"
        )


def sized(kernel: object, clouds: list[Tensor], what: What) -> None:
    """Refuse sources and queries so near each other that a kernel's kink would merge them."""
    if clouds[0].device.type != "cpu" or not (is_built_in(kernel) and has_kink(kernel)):
        return
    unit = bandwidth_of(kernel) or 1.0
    least = SQUARED[clouds[0].dtype] if what is What.VALUE else SLOPED * unit
    largest = 0.0
    for cloud in clouds:
        largest = max(largest, *(abs(float(end)) for end in cloud.detach().aminmax()))
        if not largest < least:  # a NaN too
            return
    if largest > 0:
        why = (
            "values, whose distances need squares,"
            if what is What.VALUE
            else f"slopes, which end at distances of {1e-15 * unit:g},"
        )
        raise ValueError(
            f"`points` and `z` must have some coordinate of {least:g} or more for {why} of"
            f" {kernel}, got {largest:.3g} at most: take another unit of length"
        )


def owned(given: Tensor, name: str) -> Tensor:
    """Return a detached copy of a small tensor, and a watched view of a large one.

    A copy of a large tensor would take 0.1 of a sum on a mesh. `unchanged` refuses a view whose
    memory was written to. It sees numpy's writes only at the `SAMPLED` numbers. An owned tensor is
    returned as it is, because backends hand it on to other backends.
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
    if name and (
        own._version != version
        or (SAMPLE in vars(own) and not torch.equal(_sample(own), vars(own)[SAMPLE]))
    ):
        raise RuntimeError(
            f"`{name}` was changed in place after sums were made of it: make the sources and the"
            f" field again, or pass a copy, e.g. {name}.clone()"
        )


def _sample(own: Tensor) -> Tensor:
    """Return some of the numbers, as bits, equally many of each coordinate."""
    step = own.numel() // SAMPLED
    while math.gcd(step, own.shape[-1]) > 1:
        step += 1
    return own.view(torch.int64 if own.dtype == torch.float64 else torch.int32).view(-1)[::step]


def held_points(points: Tensor, kernel: object) -> Tensor:
    """Return `checked_points`, and refuse points on the meta device, which holds no numbers."""
    copied = checked_points(points, kernel)
    if copied.device.type == "meta":
        raise TypeError(
            "`points` must hold numbers, got a tensor on the meta device: pass one that does"
        )
    return copied


def require_cpu(points: Tensor, backend: str) -> None:
    if points.device.type != "cpu":
        raise ValueError(
            f"`points` must be on the CPU for {backend}, got {points.device}: use KeOps() or"
            " Dense()"
        )


def require_finite(points: Tensor, backend: str) -> None:
    if not bool(points.isfinite().all()):
        raise ValueError(
            f"`points` must be finite for {backend}, got NaN or infinite coordinates: drop those"
            " rows"
        )


def require_few_coordinates(points: Tensor, backend: str) -> None:
    if points.shape[1] > 3:
        raise ValueError(
            f"`points` must have 1, 2 or 3 coordinates for {backend}, got {points.shape[1]}: use"
            " Compiled, which is exact, or Nystroem"
        )


def checked_weights(w: Tensor, points: Tensor) -> Tensor:
    """Return weights `w` (N,) or (N, K), owned, in the dtype of `points` (N, d)."""
    if not isinstance(w, Tensor) or w.is_complex():
        raise TypeError(
            "`w` must be a tensor of real numbers, got"
            f" {w.dtype if isinstance(w, Tensor) else type(w).__name__}"
        )
    if w.layout != torch.strided:
        raise TypeError(
            f"`w` must be a dense tensor, got one of layout {w.layout}: pass its numbers, e.g."
            " w.to_dense()"
        )
    if w.device != points.device:
        raise ValueError(
            f"`w` must be on the device of the points, {points.device}, got {w.device}: move it"
            " with w.to(points.device)"
        )
    if w.shape[:1] != points.shape[:1] or w.ndim not in (1, 2):
        raise ValueError(f"`w` must be (N,) or (N, K) with N = {len(points)}, got {tuple(w.shape)}")
    return owned(w.detach().to(points.dtype), "w") if w.dtype != points.dtype else owned(w, "w")


def as_matrix(w: Tensor) -> Tensor:
    """Return weights (N,) or (N, K) as (N, K)."""
    return w if w.ndim == 2 else w[:, None]


def points_of(z: Tensor | Queries) -> Tensor:
    return z if isinstance(z, Tensor) else z.points


def checked_queries(z: object, points: Tensor) -> Tensor:
    """Return `z` (Q, d), and refuse queries unlike the sources `points`.

    Machine code checks nothing itself.
    """
    z = _checks.points(z, "z")
    if z.shape[1] != points.shape[1]:
        raise ValueError(
            f"`z` must have the {points.shape[1]} coordinates of the sources, got shape"
            f" {tuple(z.shape)}"
        )
    if z.device != points.device:
        raise ValueError(
            f"`z` must be on the device of the sources, {points.device}, got {z.device}: move it"
            f" with z.to({str(points.device)!r})"
        )
    return z


def kept_queries(z: Tensor, points: Tensor) -> Tensor:
    """Return the queries that `prepare` keeps: the sources' `points` if equal, else `owned(z)`."""
    checked_queries(z, points)
    return points if copied_from(z, points) else within(owned(z, "z"), "z")


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
    """Return the answer (Q, ...) of queries z (Q, d), with NaN where a query is not finite.

    No backend has a sum there, not even for a kernel that falls to 0.
    """
    if z.device.type == "cpu" and (not len(z) or _all_finite(z)):
        return answer
    return masked(answer, z)


def _all_finite(points: Tensor) -> bool:
    ends = vars(points).get(ENDS)
    return (
        _checks.all_finite(points)
        if ends is None
        else math.isfinite(ends[0]) and math.isfinite(ends[1])
    )


def masked(answer: Tensor, z: Tensor) -> Tensor:
    """Return the answer as `at_numbers` does, without a check of z that would wait for a device."""
    return answer.masked_fill(
        ~torch.isfinite(z).all(1).view(-1, *(1 for _ in answer.shape[1:])), torch.nan
    )
