"""The plan of a particle mesh: window and spacing whose a-priori error keeps a promise.

The mesh replaces k(z - x) by sum_m c_m X_m(x)* Z_m(z) over the modes it resolves, where X_m(x) = e^{i omega_m . x} prod_j (1 + a_j) and a_j is the
defect of the window on axis j at that frequency and place (`window.defects`). The error of a pair is at most

    sum_m |c_m| (prod_j (1 + alpha_j)^2 - 1)  +  the modes left out  +  images or bend  +  rounding,

with the slopes' defects for the gradient; since prod_j (1 + alpha_j)^2 <= sum_j (1 + alpha_j)^{2 d} / d, sums over one axis are enough
(`modes.Line`). For the Gaussian the mesh's kernel is a product over axes: its error is computed, at all places and distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from particleflow.kernels import Gaussian, Kernel
from particleflow.pairwise import modes
from particleflow.pairwise.window import Window, fitted

Array: TypeAlias = np.ndarray

# Taps and terms of the windows in each element, most first, and what rounding adds to the error of value and of gradient: the latter times the
# kernel's unit of length over the spacing.
WINDOWS = {"float32": ((8, 4), (6, 4), (4, 3)), "float64": ((16, 9), (12, 7), (8, 5))}
ROUNDING = {"float32": (4e-7, 2e-7), "float64": (1e-14, 1e-14)}
# A window with fewer taps is taken as long as its spacing is at least this part of the widest window's.
FINER = 0.6
# Spacings looked at are 2^(-k / STEPS) of the kernel's unit of length, k up to FINEST.
STEPS = 16
FINEST, FINEST_GAUSSIAN = 9 * STEPS, 3 * STEPS
# Of the promise: what images and bends may add, in all.
IMAGES = 0.05


@dataclass(frozen=True, eq=False)
class Plan:
    """A window, the mesh's element and spacing, the kernel made periodic, and bounds of the error relative to max |k| and max |grad k|."""

    kernel: Kernel
    d: int
    window: Window
    element: str
    spacing: float
    periodic: modes.Periodic
    value_error: float
    grad_error: float
    # the code's tables, by the dtype of the particles
    stencils: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> float:
        return modes.scale(self.kernel)


@lru_cache(maxsize=256)
def plan(kernel: Any, d: int, atol: float) -> Plan | None:
    """The cheapest plan whose bounds are at most atol; None where the spacing would be below 2^(-FINEST / STEPS): not smooth enough."""
    unit, bandwidth = modes.unscaled(kernel)
    found = _plan(unit, d, atol)
    if found is None:
        return None
    spacing, tol = found.spacing * bandwidth, IMAGES * atol / (2 * d)
    return Plan(kernel, d, found.window, found.element, spacing, modes.periodic(kernel, spacing, tol), found.value_error, found.grad_error)


@lru_cache(maxsize=256)
def _plan(kernel: Any, d: int, atol: float) -> Plan | None:
    for element in ("float32", "float64"):
        best, finest = None, FINEST_GAUSSIAN if isinstance(kernel, Gaussian) else FINEST
        for taps, terms in WINDOWS[element]:
            found = _widest(kernel, d, atol, element, taps, terms, finest)
            if found is None:
                break
            finest = finest if best else round(STEPS * math.log2(modes.scale(kernel) / (FINER * found.spacing)))
            best = found
        if best:
            return best
    return None


def _widest(kernel: Any, d: int, atol: float, element: str, taps: int, terms: int, finest: int) -> Plan | None:
    """The plan with the widest spacing, down to 2^(-finest / STEPS), that keeps the promise with these taps: the errors grow with it."""
    sharp = isinstance(kernel, Gaussian)
    low, high, best = 0, finest + 1, None
    rounding, images = ROUNDING[element], IMAGES * atol
    while low < high:
        middle = (low + high) // 2
        spacing = 2.0 ** (-middle / STEPS)
        length = spacing * modes.scale(kernel)
        chosen = _window(kernel, length, taps, terms)
        value, grad = computed(kernel.bandwidth, d, length, chosen) if sharp else bounded(kernel, d, length, chosen)
        value, grad = value + rounding[0] + images, grad + rounding[1] / spacing + images
        if max(value, grad) <= atol:
            best = Plan(kernel, d, chosen, element, length, modes.periodic(kernel, length, images / (2 * d)), value, grad)
            high = middle
        else:
            low = middle + 1
    return best


def _window(kernel: Any, spacing: float, taps: int, terms: int) -> Window:
    line, unit = modes.line(kernel)
    return fitted(taps, terms, line.omega * (spacing / unit), line.mass)


def bounded(kernel: Any, d: int, spacing: float, chosen: Window) -> tuple[float, float]:
    """Bounds of the errors of value and gradient, relative to max |k| and max |grad k|, by sums of absolute values."""
    line, unit = modes.line(kernel)
    spacing /= unit
    inside = line.omega <= math.pi / spacing
    omega, mass, across = line.omega[inside], line.mass[inside], line.across[inside]
    kappa, alpha, alpha_slope = chosen.defects
    a, slope = np.interp(omega * spacing, kappa, alpha), np.interp(omega * spacing, kappa, alpha_slope) / spacing
    power = (1 + a) ** (2 * d)
    value = float((mass * (power - 1)).sum())
    grad = float(((omega * mass + math.sqrt(d - 1) * across) * (power - 1) + d * mass * slope * power).sum()) / line.steepest
    # a kernel that is bent is sampled: what is beyond the last mode is folded back
    folded = 1.0 if hasattr(kernel, "spectrum") else 2.0
    value_tail, grad_tail = line.tail(d, math.pi / spacing)
    return value + folded * value_tail, grad + folded * grad_tail


def computed(bandwidth: float, d: int, spacing: float, chosen: Window, *, places: int = 17) -> tuple[float, float]:
    """The largest errors for the Gaussian, over places of both points in their cells and distances up to 6 bandwidths.

    On one axis g~(z, x) = sum_m c_m Z_m(z) X_m(x)* deviates from g by at most e(r), its derivative by e'(r), at distance r; in d axes

        value: prod (g_j + e_j) - prod g_j,      gradient, component i: (|g'_i| + e'_i) prod_{j != i} (g_j + e_j) - |g'_i| prod_{j != i} g_j.
    """
    h, reach = spacing / bandwidth, 6.0
    # images at 9 bandwidths and more are below 1e-15
    n = 2 * math.ceil((reach + 9) / h / 2)
    m = np.arange(-(n // 2) + 1, n // 2)
    kappa = 2 * math.pi / n * m
    c = math.sqrt(2 * math.pi) / (n * h) * np.exp(-0.5 * (kappa / h) ** 2)
    # the edges of a cell among them, where pieces of the window meet
    t = np.linspace(-0.5, 0.5, places)
    weights, slopes = chosen.weights(t)
    nodes = np.arange(chosen.taps) - (chosen.taps - 1) / 2
    waves = np.exp(1j * np.outer(kappa, nodes)) / chosen.transform(np.abs(kappa))[:, None]
    x, dx = waves @ weights.T, waves @ slopes.T / h
    cells = np.arange(math.ceil(reach / h) + 1)
    # (distance in cells, place of z, place of x); waves of nodes count from the middle of a cell
    shifts = c * np.exp(1j * np.outer(cells, kappa))
    pairs = (x.T[:, None] * x.T.conj()[None]).reshape(places**2, n - 1)
    sloped = (dx.T[:, None] * x.T.conj()[None]).reshape(places**2, n - 1)
    value, slope = ((shifts @ waves.T).real.reshape(len(cells), places, places) for waves in (pairs, sloped))
    r = h * (cells[:, None, None] + t[:, None] - t[None, :])
    g = np.exp(-0.5 * r**2)
    edges = np.linspace(0, reach, 49)
    bins = np.clip(np.searchsorted(edges, np.abs(r).ravel(), side="right") - 1, 0, len(edges) - 2)
    e, de = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    np.maximum.at(e, bins, np.abs(value - g).ravel())
    np.maximum.at(de, bins, np.abs(slope + r * g).ravel())
    # the largest in each bin
    top, steepest = np.exp(-0.5 * edges[:-1] ** 2), np.clip(1, edges[:-1], edges[1:])
    steep = steepest * np.exp(-0.5 * np.maximum(edges[:-1], np.minimum(edges[1:], 1.0)) ** 2)
    return _product_errors(d, top, e, steep, de)


def _product_errors(d: int, g: Array, e: Array, slope: Array, slope_error: Array) -> tuple[float, float]:
    axes = [tuple(slice(None) if k == j else None for k in range(d)) for j in range(d)]
    plain, wrong = np.ones((1,) * d), np.ones((1,) * d)
    for axis in axes:
        plain, wrong = plain * g[axis], wrong * (g + e)[axis]
    squares = np.zeros((1,) * d)
    for i, axis in enumerate(axes):
        others, others_wrong = np.ones((1,) * d), np.ones((1,) * d)
        for j, other in enumerate(axes):
            if j != i:
                others, others_wrong = others * g[other], others_wrong * (g + e)[other]
        squares = squares + ((slope + slope_error)[axis] * others_wrong - slope[axis] * others) ** 2
    return float((wrong - plain).max()), float(np.sqrt(squares.max())) * math.exp(0.5)
