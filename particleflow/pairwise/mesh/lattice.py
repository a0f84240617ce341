"""Where the nodes of a particle mesh lie, and the potential on them.

Nodes are the integer multiples of the spacing h. So the weights of a set of points on nodes depend
on these points alone: they are kept, and fit into any larger box. A box of nodes is made periodic
by adding as many nodes as the kernel reaches. The potential, sum_i w_i k(z - x_i) at the nodes z,
is then a product of Fourier coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from particleflow._libraries import Later
from particleflow.kernels.declared import is_gaussian
from particleflow.pairwise.mesh.spacing import Plan
from particleflow.pairwise.periodic.modes import (
    mode_numbers,
    on_axis,
    outer_product,
    squared_frequencies,
)

fft = Later("scipy.fft")

Array: TypeAlias = np.ndarray

# Boxes grow towards queries by a multiple of this number of nodes: one box then serves the queries
# of most steps.
SNAP = 8
# Nodes on a line that are more than any mesh may have. More are not counted: a coordinate in units
# of h has no digits left for them.
UNCOUNTED = 2**50
# Multipliers that are kept.
KEPT = 8
# Nodes of the largest mesh whose multiplier is kept: 16 MB in float64.
KEPT_NODES = 2**21


@dataclass(frozen=True)
class Box:
    """The nodes origin[j] ... origin[j] + shape[j] - 1 on each axis j, as multiples of h."""

    origin: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def end(self) -> tuple[int, ...]:
        return tuple(o + n for o, n in zip(self.origin, self.shape, strict=True))

    @classmethod
    def between(cls, origin: Sequence[int], end: Sequence[int]) -> Box:
        return cls(tuple(origin), tuple(e - o for o, e in zip(origin, end, strict=True)))

    def slices(self, inner: Box) -> tuple[slice, ...]:
        """The entries of the box `inner` in an array over this box."""
        return tuple(
            slice(i - o, i - o + n)
            for o, i, n in zip(self.origin, inner.origin, inner.shape, strict=True)
        )


def around(plan: Plan, lowest: Array, highest: Array) -> Box:
    """All nodes that points between two corners meet, and one more on each side for rounding."""
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
    """The box of the sources, and of those queries that lie within the kernel's reach of it.

    Its ends are snapped outwards by `SNAP`. Queries beyond the reach read the nodes between the box
    and its period. There the potential of the sources' images must be zero: for that, the box
    begins a whole reach before the sources.
    """
    if queries is None:
        return sources
    origin, end, within_reach = [], [], True
    far = plan.periodic.reach / plan.spacing
    for low, high, first, last in zip(
        sources.origin, sources.end, queries.origin, queries.end, strict=True
    ):
        beyond = math.isfinite(far) and last > high + math.ceil(far)
        if math.isfinite(far):
            first, last = max(first, low - math.ceil(far)), min(last, high + math.ceil(far))
        within_reach = within_reach and first < last
        first = low - math.ceil(far) if beyond else first
        origin.append(low if first >= low else low - SNAP * -(-(low - first) // SNAP))
        end.append(high if last <= high else high + SNAP * -(-(last - high) // SNAP))
    # no query is within reach: the box need not grow beyond the sources
    return Box.between(origin, end if within_reach else sources.end)


def periodic_shape(plan: Plan, box: Box) -> tuple[int, ...]:
    """Nodes of one period on each axis: the next number that a Fourier transform does fast.

    The box itself for a plan without Fourier transforms.
    """
    if plan.convolve is not None:
        return box.shape
    # the largest difference of two points: without the nodes that the window adds
    extents = [max(n - plan.window.taps - 1, 1) * plan.spacing for n in box.shape]
    least = [math.ceil(length / plan.spacing) for length in plan.periodic.least(extents)]
    needed = [max(n, m) for n, m in zip(box.shape, least, strict=True)]
    return tuple(n if n >= UNCOUNTED else fft.next_fast_len(n, real=True) for n in needed)


def potential(
    plan: Plan,
    box: Box,
    shape: tuple[int, ...],
    parts: Sequence[tuple[Box, Array]],
    laplacian: bool,
    threads: int,
) -> Array:
    """The potential on the nodes of one period, or its laplacian; `parts`: weights on nodes.

    The potential is divided by the window's spectrum twice, for the spreading and for the
    interpolation that follows. Transforms are in double precision (`_precision`): their rounding is
    relative to the largest coefficient, the small ones count as well.
    """
    if plan.convolve is not None:
        return plan.convolve(box, parts)
    total: Array = np.zeros(shape, _precision(plan))
    for inner, mesh in parts:
        total[box.slices(inner)] += mesh
    spectrum = fft.rfftn(total, workers=threads, overwrite_x=True)
    del total
    for factor in multiplier(plan, shape):
        spectrum *= factor
    if laplacian:
        spectrum *= -squared_frequencies([plan.spacing * n for n in shape], shape)
    return np.asarray(
        fft.irfftn(spectrum, shape, workers=threads, overwrite_x=True, norm="forward")
    )


def _precision(plan: Plan) -> type:
    """Double, but for a float32 mesh in d = 3, where time and memory count most."""
    single = plan.element == "float32" and plan.d == 3 and not plan.double_transforms
    return np.float32 if single else np.float64


def multiplier(plan: Plan, shape: tuple[int, ...]) -> list[Array]:
    """c_m / phi_hat^2 as a list of factors, to be broadcast over the modes of a real FFT."""
    return (
        _kept_multiplier(plan, shape)
        if math.prod(shape) <= KEPT_NODES
        else _multiplier(plan, shape)
    )


@lru_cache(maxsize=KEPT)
def _kept_multiplier(plan: Plan, shape: tuple[int, ...]) -> list[Array]:
    return _multiplier(plan, shape)


def _multiplier(plan: Plan, shape: tuple[int, ...]) -> list[Array]:
    lengths = [plan.spacing * n for n in shape]
    if not is_gaussian(plan.kernel):
        whole = plan.periodic.coefficients(lengths, shape)
        for axis, n in enumerate(shape):
            whole *= on_axis(_window_factor(plan, n, axis == plan.d - 1), axis, plan.d)
        return [whole.astype(_precision(plan), copy=False)]
    axes = []
    for axis, (length, n) in enumerate(zip(lengths, shape, strict=True)):
        last = axis == plan.d - 1
        l = plan.kernel.bandwidth
        spectrum = np.exp(-0.5 * (l * 2 * math.pi / length * mode_numbers(n, half=last)) ** 2)
        axes.append(
            _window_factor(plan, n, last) * (math.sqrt(2 * math.pi) * l / length * spectrum)
        )
    if plan.d <= 2:
        return [outer_product(axes)]
    # the first axis apart: the product of the others is small
    others = outer_product(axes[1:])[None]
    return [factor.astype(_precision(plan)) for factor in (others, on_axis(axes[0], 0, plan.d))]


def _window_factor(plan: Plan, n: int, half: bool) -> Array:
    """1 / phi_hat^2 on an axis of n nodes."""
    factor: Array = (
        plan.window.transform(2 * math.pi / n * np.abs(mode_numbers(n, half=half))) ** -2.0
    )
    if n % 2 == 0:
        # the mode n / 2 is neither sine nor cosine, and phi_hat may be 0 there: the plan counts it
        # as left out
        factor[n // 2] = 0.0
    return factor
