"""The plan of a particle mesh: window and spacing whose a-priori error keeps a promise.

The mesh replaces k(z - x) by sum_m c_m X_m(x)* Z_m(z) over the modes it resolves, where X_m(x) =
e^{i omega_m . x} prod_j (1 + a_j) and a_j is the defect of the window on axis j at that frequency
and place (`Window.defects`). The error of a pair is at most

    sum_m |c_m| (prod_j (1 + alpha_j)^2 - 1)  +  the modes left out  +  images or bend  +  rounding,

with the slopes' defects for the gradient and |omega_m|^2 for the laplacian; since prod_j (1 +
alpha_j)^2 <= sum_j (1 + alpha_j)^{2 d} / d, sums over one axis are enough (`modes.Line`). For the
Gaussian the mesh's kernel is a product over axes: its error is computed, at all places and
distances.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from particleflow.kernels import Kernel
from particleflow.kernels.declared import has_spectrum, is_gaussian
from particleflow.memo import Memo
from particleflow.pairwise.mesh.pair_errors import FARTHEST
from particleflow.pairwise.mesh.window import Window, fitted
from particleflow.pairwise.periodic import modes

Array: TypeAlias = np.ndarray
# On one axis: |g|, its error, |g'| and its error.
Axis: TypeAlias = tuple[Array, Array, Array, Array]

# Taps and terms of the windows in each element, most first, and what rounding adds to the error of
# value and of gradient: the latter times the kernel's unit of length over the spacing.
WINDOWS = {"float32": ((8, 4), (6, 4), (4, 3)), "float64": ((16, 9), (12, 7), (8, 5))}
ROUNDING = {"float32": (6e-7, 3e-7), "float64": (1e-14, 1e-14)}
# A window with fewer taps is taken as long as its spacing is at least this part of the widest
# window's.
FINER = 0.6
# Spacings looked at are 2^(-k / STEPS) of the kernel's unit of length, k up to FINEST.
STEPS = 16
FINEST, FINEST_GAUSSIAN = 9 * STEPS, 3 * STEPS
# Of the promise: what images and bends may add, in all.
IMAGES = 0.01
# For a logarithm, what images and what Fourier transforms in double precision add, relative to the
# largest sum.
FINE_IMAGES, TRANSFORMED = 1e-16, 2e-15
# Of that, what bends add to values.
BENT = 0.1
# The Gaussian's error is looked at up to this distance, in bins, in bandwidths; images from 9
# bandwidths further on are below 1e-15.
BINS = 48


@dataclass(frozen=True, eq=False)
class Envelope:
    """For the Gaussian of bandwidth 1, on one axis, at distances between `edges`: the most that the
    mesh's kernel and its derivative are wrong by.
    """

    edges: Array
    value: Array
    slope: Array

    def at(self, nearest: Array, farthest: Array, d: int) -> tuple[Array, Array]:
        """Errors of value and gradient, relative to the kernel's peaks, at differences in (nearest,
        farthest) on each axis: (B, ..., B) each.
        """
        return product_errors([self.within(nearest, farthest)] * d)

    def levels(self, nearest: Array, d: int) -> Array:
        """The kernel at differences of at least `nearest` on each axis."""
        each = np.exp(-0.5 * nearest**2)
        return np.asarray(
            math.prod(
                (each.reshape([-1 if k == j else 1 for k in range(d)]) for j in range(d)),
                start=np.ones(()),
            )
        )

    def within(self, nearest: Array, farthest: Array) -> Axis:
        """The largest |g|, its error, |g'| and its error, over distances from `nearest` to
        `farthest`.
        """
        steep = np.clip(1.0, nearest, farthest)
        first = np.searchsorted(self.edges, nearest, side="right") - 1
        last = np.searchsorted(self.edges, farthest, side="left")
        errors = [
            np.array([e[a:b].max(initial=0.0) for a, b in zip(first, last, strict=True)])
            for e in (self.value, self.slope)
        ]
        return np.exp(-0.5 * nearest**2), errors[0], steep * np.exp(-0.5 * steep**2), errors[1]


@dataclass(frozen=True, eq=False)
class Plan:
    """A window, the mesh's element and spacing, the kernel made periodic; and bounds relative to
    max |k|, max |grad k| and the largest laplacian: `errors` of the mesh, to which come `rounding`
    (of value and gradient) and `images` (of each).
    """

    kernel: Kernel
    d: int
    window: Window
    element: str
    spacing: float
    periodic: modes.Periodic
    errors: tuple[float, float, float]
    rounding: tuple[float, float]
    images: tuple[float, float, float]
    envelope: Envelope | None
    # transforms in double precision whatever the element: all rounding is then relative to the
    # potential nearby
    fine: bool = False
    # (box, parts) -> nodes in the place of Fourier transforms
    convolve: Callable[..., Array] | None = None
    # the code's tables, by the dtype of the particles
    stencils: Memo[Any] = field(default_factory=Memo)

    @property
    def unit(self) -> float:
        return modes.scale(self.kernel)

    @property
    def value_error(self) -> float:
        return self.errors[0] + self.rounding[0] + self.images[0]

    @property
    def grad_error(self) -> float:
        return self.errors[1] + self.rounding[1] + self.images[1]

    @property
    def laplacian_error(self) -> float:
        return self.errors[2] + self.rounding[1] + self.images[2]


@lru_cache(maxsize=256)
def plan(kernel: Any, d: int, atol: float, laplacian: bool = False) -> Plan | None:
    """The cheapest plan whose bounds are at most atol, the laplacian's too if that is wanted; None
    for a kernel that is not smooth enough.
    """
    if laplacian:
        plain = plan(kernel, d, atol)
        if plain is None or plain.laplacian_error <= atol:
            return plain
    unit, bandwidth = modes.unscaled(kernel)
    found = _plan(unit, d, atol, laplacian)
    return None if found is None else _scaled(found, kernel, bandwidth)


@lru_cache(maxsize=256)
def fine_plan(kernel: Any, d: int, atol: float, rounding: float) -> Plan | None:
    """The widest spacing in float32 whose errors are at most atol but for rounding, and this,
    relative to the sums nearby, half of `rounding`.
    """
    unit, bandwidth = modes.unscaled(kernel)
    found = _fine_plan(unit, d, atol)
    if found is None or 2 * max(_rounding(unit, "float32", found.spacing)) > rounding:
        return None
    return _scaled(found, kernel, bandwidth)


@lru_cache(maxsize=256)
def _fine_plan(kernel: Any, d: int, atol: float) -> Plan | None:
    taps, terms = WINDOWS["float32"][0]
    return _widest(
        kernel,
        d,
        atol,
        False,
        "float32",
        taps,
        terms,
        FINEST_GAUSSIAN if is_gaussian(kernel) else FINEST,
        fine=True,
    )


def _scaled(found: Plan, kernel: Any, bandwidth: float) -> Plan:
    """The plan of the same kernel of another bandwidth."""
    spacing = found.spacing * bandwidth
    return replace(
        found,
        kernel=kernel,
        spacing=spacing,
        periodic=modes.periodic(kernel, spacing, found.images[2] / (2 * found.d)),
        stencils=Memo(),
    )


def _rounding(kernel: Any, element: str, spacing: float) -> tuple[float, float]:
    value, grad = ROUNDING[element]
    return value, grad * modes.scale(kernel) / spacing


@lru_cache(maxsize=256)
def _plan(kernel: Any, d: int, atol: float, laplacian: bool) -> Plan | None:
    for element in ("float32", "float64"):
        best, finest = None, FINEST_GAUSSIAN if is_gaussian(kernel) else FINEST
        for taps, terms in WINDOWS[element]:
            found = _widest(kernel, d, atol, laplacian, element, taps, terms, finest)
            if found is None:
                break
            finest = (
                finest
                if best
                else round(STEPS * math.log2(modes.scale(kernel) / (FINER * found.spacing)))
            )
            best = found
        if best:
            return best
    return None


def _widest(
    kernel: Any,
    d: int,
    atol: float,
    laplacian: bool,
    element: str,
    taps: int,
    terms: int,
    finest: int,
    *,
    fine: bool = False,
) -> Plan | None:
    """The plan with the widest spacing, down to 2^(-finest / STEPS), that keeps the promise with
    these taps: the errors grow with it.
    """
    low, high, best = 0, finest + 1, None
    line, unit = modes.line(kernel)
    images = FINE_IMAGES if fine else IMAGES * atol
    while low < high:
        middle = (low + high) // 2
        length = 2.0 ** (-middle / STEPS) * modes.scale(kernel)
        chosen = fitted(taps, terms, line.omega * (length / unit), line.mass)
        errors, envelope = bounded(kernel, d, length, chosen), None
        if is_gaussian(kernel):
            envelope = computed(length / kernel.bandwidth, chosen)
            value, grad = product_errors(
                [envelope.within(envelope.edges[:-1], envelope.edges[1:])] * d
            )
            errors = float(value.max()), float(grad.max()), errors[2]
        rounding = (0.0, 0.0) if fine else _rounding(kernel, element, length)
        periodic = modes.periodic(kernel, length, images / (2 * d))
        # a bend's frequencies beyond the mesh's are the kernel's times e^{-beta}: derivatives raise
        # them
        around = (BENT * images, images, images) if periodic.bent else (images, images, images)
        tried = Plan(
            kernel, d, chosen, element, length, periodic, errors, rounding, around, envelope, fine
        )
        if (
            max(tried.value_error, tried.grad_error, tried.laplacian_error if laplacian else 0.0)
            <= atol
        ):
            best, high = tried, middle
        else:
            low = middle + 1
    return best


def bounded(kernel: Any, d: int, spacing: float, chosen: Window) -> tuple[float, float, float]:
    """Bounds of the errors of value, gradient and laplacian, relative to the largest, by sums of
    absolute values.
    """
    line, unit = modes.line(kernel)
    spacing /= unit
    inside = line.omega <= math.pi / spacing
    every = line.moments(d)
    value, grad, laplacian = (moment[inside] for moment in every)
    kappa, alpha, alpha_slope = chosen.defects
    omega = line.omega[inside]
    a, slope = (
        np.interp(omega * spacing, kappa, alpha),
        np.interp(omega * spacing, kappa, alpha_slope) / spacing,
    )
    power = (1 + a) ** (2 * d)
    # a kernel that is bent is sampled: what is beyond the last mode is folded back
    folded = 1.0 if has_spectrum(kernel) else 2.0
    tails = [folded * t for t in line.tail(d, math.pi / spacing)]
    return (
        float((value * (power - 1)).sum()) + tails[0],
        float((grad * (power - 1) + d * value * slope * power / line.steepest).sum()) + tails[1],
        float((laplacian * (power - 1)).sum() / every[2].sum()) + tails[2],
    )


def computed(h: float, chosen: Window, *, places: int = 17) -> Envelope:
    """The errors of g~(z, x) = sum_m c_m Z_m(z) X_m(x)* and of its derivative in z, on one axis,
    bandwidth 1, at all places of both in cells of h.
    """
    n = 2 * math.ceil((FARTHEST + 9) / h / 2)
    m = np.arange(-(n // 2) + 1, n // 2)
    kappa = 2 * math.pi / n * m
    c = math.sqrt(2 * math.pi) / (n * h) * np.exp(-0.5 * (kappa / h) ** 2)
    # the edges of a cell among them, where pieces of the window meet
    t = np.linspace(-0.5, 0.5, places)
    weights, slopes = chosen.weights(t)
    nodes = np.arange(chosen.taps) - (chosen.taps - 1) / 2
    waves = np.exp(1j * np.outer(kappa, nodes)) / chosen.transform(np.abs(kappa))[:, None]
    x, dx = waves @ weights.T, waves @ slopes.T / h
    cells = np.arange(math.ceil(FARTHEST / h) + 1)
    # (distance in cells, place of z, place of x); waves of nodes count from the middle of a cell
    shifts = c * np.exp(1j * np.outer(cells, kappa))
    pairs = (x.T[:, None] * x.T.conj()[None]).reshape(places**2, n - 1)
    sloped = (dx.T[:, None] * x.T.conj()[None]).reshape(places**2, n - 1)
    value, slope = (
        (shifts @ waves.T).real.reshape(len(cells), places, places) for waves in (pairs, sloped)
    )
    r = h * (cells[:, None, None] + t[:, None] - t[None, :])
    g = np.exp(-0.5 * r**2)
    edges = np.linspace(0, FARTHEST, BINS + 1)
    bins = np.clip(np.searchsorted(edges, np.abs(r).ravel(), side="right") - 1, 0, BINS - 1)
    e, de = np.zeros(BINS), np.zeros(BINS)
    np.maximum.at(e, bins, np.abs(value - g).ravel())
    np.maximum.at(de, bins, np.abs(slope + r * g).ravel())
    return Envelope(edges, e, de)


def product_errors(axes: list[Axis]) -> tuple[Array, Array]:
    """The errors of value and gradient, relative to 1 and to the largest slope, for every
    combination of distances, one an axis:

    value: prod (g_j + e_j) - prod g_j,      gradient, component i: (|g'_i| + e'_i) prod_{j != i} (g_j + e_j) - |g'_i| prod_{j != i} g_j.
    """
    d = len(axes)
    spread = [
        [a.reshape([-1 if k == j else 1 for k in range(d)]) for a in axis]
        for j, axis in enumerate(axes)
    ]
    right = math.prod((axis[0] for axis in spread), start=np.ones(()))
    wrong = math.prod((axis[0] + axis[1] for axis in spread), start=np.ones(()))
    squares = np.zeros(())
    for i, (_, _, slope, slope_error) in enumerate(spread):
        others = [axis for j, axis in enumerate(spread) if j != i]
        plain = math.prod((axis[0] for axis in others), start=np.ones(()))
        off = math.prod((axis[0] + axis[1] for axis in others), start=np.ones(()))
        squares = squares + ((slope + slope_error) * off - slope * plain) ** 2
    return np.asarray(wrong - right), np.asarray(np.sqrt(squares) * math.exp(0.5))
