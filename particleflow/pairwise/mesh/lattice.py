"""Where a particle mesh lies, and the potential on it.

Nodes are the integer multiples of the spacing h: the mesh of a set of points depends on these
points alone, is kept, and fits into any larger box. A box of nodes is made periodic by as much as
the kernel reaches; the potential is then a multiplication of Fourier coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import scipy.fft

from particleflow.kernels.declared import is_gaussian
from particleflow.pairwise.mesh.spacing import Plan

Array: TypeAlias = np.ndarray

# Boxes grow towards queries by so many nodes: the same box serves most queries of a step.
SNAP = 8
# No mesh has so many nodes on a line: beyond, they are not counted, for integers and the digits of
# a coordinate end.
UNCOUNTED = 2**50
# Multipliers that are kept, and their size at most.
KEPT, KEPT_CELLS = 8, 2**21


@dataclass(frozen=True)
class Box:
    """`shape` nodes from `origin` on."""

    origin: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def end(self) -> tuple[int, ...]:
        return tuple(o + n for o, n in zip(self.origin, self.shape, strict=True))

    @classmethod
    def between(cls, origin: Sequence[int], end: Sequence[int]) -> Box:
        return cls(tuple(origin), tuple(e - o for o, e in zip(origin, end, strict=True)))

    def slices(self, inner: Box) -> tuple[slice, ...]:
        """Where `inner` lies in an array of this box."""
        return tuple(
            slice(i - o, i - o + n)
            for o, i, n in zip(self.origin, inner.origin, inner.shape, strict=True)
        )


def around(plan: Plan, lowest: Array, highest: Array) -> Box:
    """All nodes that points between two corners meet, and one more on each side, against rounding."""
    margin = plan.window.taps // 2
    low, high = (np.floor(corner.astype(np.float64) / plan.spacing) for corner in (lowest, highest))
    if not max(np.abs(low).max(), np.abs(high).max()) < UNCOUNTED:
        return Box((-UNCOUNTED,) * plan.d, (2 * UNCOUNTED,) * plan.d)
    return Box.between([int(k) - margin for k in low], [int(k) + margin + 2 for k in high])


def union(boxes: Sequence[Box]) -> Box:
    return Box.between(
        [min(o) for o in zip(*(box.origin for box in boxes), strict=True)],
        [max(e) for e in zip(*(box.end for box in boxes), strict=True)],
    )


def with_queries(plan: Plan, sources: Box, queries: Box | None) -> Box:
    """The box of the sources, and of the queries within the kernel's reach, snapped outwards.

    An array goes on beyond its box, to its period. With queries beyond the box, there is room for
    the kernel's reach before the sources: then all that is read there is further than that from
    their images.
    """
    if queries is None:
        return sources
    origin, end, near = [], [], True
    far = plan.periodic.reach / plan.spacing
    for low, high, first, last in zip(
        sources.origin, sources.end, queries.origin, queries.end, strict=True
    ):
        beyond = math.isfinite(far) and last > high + math.ceil(far)
        if math.isfinite(far):
            first, last = max(first, low - math.ceil(far)), min(last, high + math.ceil(far))
        near = near and first < last
        first = low - math.ceil(far) if beyond else first
        origin.append(low if first >= low else low - SNAP * -(-(low - first) // SNAP))
        end.append(high if last <= high else high + SNAP * -(-(last - high) // SNAP))
    # none within reach: the least box that leaves them out
    return Box.between(origin, end if near else sources.end)


def periodic_shape(plan: Plan, box: Box) -> tuple[int, ...]:
    """Nodes of the periodic box: lengths that transform fast; of the box itself, where nothing is
    transformed.
    """
    if plan.convolve is not None:
        return box.shape
    # differences of points: the nodes but those that a window adds
    extents = [max(n - plan.window.taps - 1, 1) * plan.spacing for n in box.shape]
    least = [math.ceil(length / plan.spacing) for length in plan.periodic.least(extents)]
    needed = [max(n, m) for n, m in zip(box.shape, least, strict=True)]
    return tuple(n if n >= UNCOUNTED else scipy.fft.next_fast_len(n, real=True) for n in needed)


def potential(
    plan: Plan,
    box: Box,
    shape: tuple[int, ...],
    parts: Sequence[tuple[Box, Array]],
    laplacian: bool,
    threads: int,
) -> Array:
    """sum_i w_i k(z - x_i) on the nodes, up to the windows, from each part's sum of weights and
    windows; or its laplacian.

    Transforms in double precision, but for float32 in d = 3: what is rounded here is multiplied by
    the kernel's small coefficients.
    """
    if plan.convolve is not None:
        return plan.convolve(box, parts)
    total: Array = np.zeros(shape, _precision(plan))
    for inner, mesh in parts:
        total[box.slices(inner)] += mesh
    spectrum = scipy.fft.rfftn(total, workers=threads, overwrite_x=True)
    del total
    for factor in multiplier(plan, shape):
        spectrum *= factor
    if laplacian:
        spectrum *= -_squares([plan.spacing * n for n in shape], shape)
    return np.asarray(
        scipy.fft.irfftn(spectrum, shape, workers=threads, overwrite_x=True, norm="forward")
    )


def _precision(plan: Plan) -> type:
    return np.float32 if plan.element == "float32" and plan.d == 3 and not plan.fine else np.float64


def multiplier(plan: Plan, shape: tuple[int, ...]) -> list[Array]:
    """c_m / (window's transform)^2, as factors to be broadcast over the modes of a real transform."""
    return (
        _kept_multiplier(plan, shape)
        if math.prod(shape) <= KEPT_CELLS
        else _multiplier(plan, shape)
    )


@lru_cache(maxsize=KEPT)
def _kept_multiplier(plan: Plan, shape: tuple[int, ...]) -> list[Array]:
    return _multiplier(plan, shape)


def _multiplier(plan: Plan, shape: tuple[int, ...]) -> list[Array]:
    dtype = _precision(plan)
    lengths = [plan.spacing * n for n in shape]
    axes = []
    for axis, n in enumerate(shape):
        m = np.arange(n // 2 + 1) if axis == len(shape) - 1 else np.fft.fftfreq(n, 1 / n)
        factor = plan.window.transform(2 * math.pi / n * np.abs(m)) ** -2.0
        if n % 2 == 0:
            # the last mode is neither sine nor cosine: the plan counts it as lost, and its window
            # may vanish
            factor[n // 2] = 0.0
        if is_gaussian(plan.kernel):
            l, length = plan.kernel.bandwidth, lengths[axis]
            factor *= (
                math.sqrt(2 * math.pi)
                * l
                / length
                * np.exp(-0.5 * (l * 2 * math.pi / length * m) ** 2)
            )
        axes.append(factor.reshape([-1 if k == axis else 1 for k in range(len(shape))]))
    if is_gaussian(plan.kernel):
        # the first axis apart: the others' product is small
        return (
            [math.prod(axes[1:], start=np.ones(())).astype(dtype), axes[0].astype(dtype)]
            if plan.d > 2
            else [math.prod(axes, start=np.ones(()))]
        )
    whole = plan.periodic.coefficients(lengths, shape)
    for factor in axes:
        whole *= factor
    return [whole.astype(dtype, copy=False)]


def _squares(lengths: Sequence[float], shape: tuple[int, ...]) -> Array:
    """|omega|^2 of the modes of a real transform."""
    total = np.zeros(())
    for axis, (length, n) in enumerate(zip(lengths, shape, strict=True)):
        m = np.arange(n // 2 + 1) if axis == len(shape) - 1 else np.fft.fftfreq(n, 1 / n)
        total = total[..., None] + (2 * math.pi / length * m) ** 2
    return total
