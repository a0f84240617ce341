"""Chooses the window and the spacing of a particle mesh, so that its error keeps a promise.

With modes omega_m = 2 pi m / L and coefficients c_m (`periodic/modes.py`), the mesh replaces

    k(z - x)   by   sum_m c_m X_m(x)* Z_m(z)   over the modes that it resolves,
    X_m(x) = e^{i omega_m . x} prod_j (1 + delta_j),   Z_m likewise,

where delta_j is the defect of the window on axis j, at that frequency and at the place of x in its
cell (`Window.defects`; |delta_j| <= alpha_j). The error of one pair of points is then at most

    sum_m |c_m| (prod_j (1 + alpha_j)^2 - 1)     the window's defects, for the value;
    + sum |c_m| over the modes left out          the spacing h resolves |omega_j| <= pi / h only;
    + images, or the bend                        the kernel is made periodic (`periodic.modes`);
    + rounding                                   of the mesh's element, float32 or float64.

The bound of the gradient also has the defect alpha' of the window's slope; that of the laplacian
has |omega_m|^2. Since
prod_j (1 + alpha_j)^2 <= sum_j (1 + alpha_j)^{2 d} / d, sums over one axis are enough
(`modes.SpectrumLine`). For the Gaussian the first two lines are not bounded but computed, at all
places and distances (`pair_errors.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from particleflow.kernels import Kernel
from particleflow.kernels.declared import has_spectrum, is_gaussian
from particleflow.memo import Memo, cached
from particleflow.pairwise.mesh.pair_errors import GaussianErrors, gaussian_errors
from particleflow.pairwise.mesh.window import Window, fitted
from particleflow.pairwise.periodic import modes

if TYPE_CHECKING:
    from particleflow.pairwise.mesh.gridding import Stencil

Array: TypeAlias = np.ndarray

# (taps, terms) of the windows for each element of the mesh, the most taps first. A term is an even
# and an odd power of t in each tap's polynomial.
WINDOWS = {"float32": ((8, 4), (6, 4), (4, 3)), "float64": ((16, 9), (12, 7), (8, 5))}
# Rounding of value and gradient, by element, relative to the kernel's peaks; measured. The
# gradient's number holds at a spacing of one length scale, and grows as 1 / spacing.
ROUNDING = {"float32": (6e-7, 3e-7), "float64": (1e-14, 1e-14)}
# A window with fewer taps needs more nodes. It is taken if its spacing is at least this part of the
# spacing that the window with the most taps allows.
FINER = 0.6
# Spacings are 2^(-k / STEPS) length scales, k = 0, 1, ...: neighbours differ by 4 %.
STEPS = 16
# The largest k: a spacing of 2^-9 length scales.
FINEST = 9 * STEPS
# The largest k for the Gaussian, which needs no finer spacing than 2^-3 bandwidths.
FINEST_GAUSSIAN = 3 * STEPS
# The part of the promise that images and the bend may take.
IMAGES = 0.01
# The part of IMAGES that a bend may take of the error of the value. A bend makes a kernel periodic
# by another continuation beyond a radius (`periodic.modes`). Its frequencies beyond those of the
# mesh are small, and derivatives make them larger: gradient and laplacian may take all of IMAGES.
BENT = 0.1
# For a logarithm: the error that images add, relative to the largest sum.
LOGARITHM_IMAGES = 1e-16
# For a logarithm: rounding of Fourier transforms in double precision, relative to the largest sum.
TRANSFORMED = 2e-15


@dataclass(frozen=True, eq=False)
class Plan:
    """How a mesh sums a kernel, and bounds of the error for one pair of points.

    `element`: the dtype of the mesh. `spacing`: the distance h of neighbouring nodes. The error has
    three parts: `errors` of the window and of the modes left out, `rounding`, and `images`. Each
    part has numbers for the value, the gradient and the laplacian, relative to max |k|,
    max |grad k| and the largest laplacian. (`rounding` has none for the laplacian.) `pair_errors`:
    for a Gaussian, the errors by distance.
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
    pair_errors: GaussianErrors | None
    # Fourier transforms in double precision whatever the element: rounding is then relative to the
    # potential at the nodes around a query, however far it is below the peak
    double_transforms: bool = False
    # (box, weights on nodes of each part) -> potential on the nodes: instead of Fourier transforms
    convolve: Callable[..., Array] | None = None
    # tables of the compiled code, by the dtype of the particles
    stencils: Memo[Stencil] = field(default_factory=Memo)

    @property
    def unit(self) -> float:
        """The kernel's length scale."""
        return modes.length_scale(self.kernel)

    @property
    def value_error(self) -> float:
        return self.errors[0] + self.rounding[0] + self.images[0]

    @property
    def grad_error(self) -> float:
        return self.errors[1] + self.rounding[1] + self.images[1]

    @property
    def laplacian_error(self) -> float:
        return self.errors[2] + self.rounding[1] + self.images[2]


@cached(256)
def plan(kernel: Kernel, d: int, atol: float, laplacian: bool = False) -> Plan | None:
    """The cheapest plan found whose errors are at most atol; None where none is found.

    With `laplacian`, the error of the laplacian counts too.
    """
    if laplacian:
        plain = plan(kernel, d, atol)
        if plain is None or plain.laplacian_error <= atol:
            return plain
    unit, bandwidth = modes.at_unit_bandwidth(kernel)
    found = _plan(unit, d, atol, laplacian)
    return None if found is None else _scaled(found, kernel, bandwidth)


@cached(256)
def logarithm_plan(kernel: Kernel, d: int, atol: float, tol: float) -> Plan | None:
    """The plan of a logarithm: in float32, with errors of at most atol besides rounding.

    None if rounding, relative to the sums nearby, may exceed half of `tol`.
    """
    unit, bandwidth = modes.at_unit_bandwidth(kernel)
    found = _logarithm_plan(unit, d, atol)
    if found is None or 2 * max(_rounding(unit, "float32", found.spacing)) > tol:
        return None
    return _scaled(found, kernel, bandwidth)


@cached(256)
def _plan(kernel: Kernel, d: int, atol: float, laplacian: bool) -> Plan | None:
    unit = modes.length_scale(kernel)
    for element in ("float32", "float64"):
        best, finest = None, _finest(kernel)
        for taps, terms in WINDOWS[element]:
            trial = _Trial(kernel, d, atol, laplacian, element, taps, terms)
            found = trial.widest(finest)
            if found is None:
                break
            if best is None:
                finest = round(STEPS * math.log2(unit / (FINER * found.spacing)))
            best = found
        if best:
            return best
    return None


@cached(256)
def _logarithm_plan(kernel: Kernel, d: int, atol: float) -> Plan | None:
    taps, terms = WINDOWS["float32"][0]
    trial = _Trial(kernel, d, atol, False, "float32", taps, terms, logarithm=True)
    return trial.widest(_finest(kernel))


def _finest(kernel: Kernel) -> int:
    return FINEST_GAUSSIAN if is_gaussian(kernel) else FINEST


def _scaled(found: Plan, kernel: Kernel, bandwidth: float) -> Plan:
    """The plan `found`, made for bandwidth 1, for the same kernel of another bandwidth."""
    spacing = found.spacing * bandwidth
    periodic = modes.periodic(kernel, spacing, found.images[2] / (2 * found.d))
    return replace(found, kernel=kernel, spacing=spacing, periodic=periodic, stencils=Memo())


def _rounding(kernel: Kernel, element: str, spacing: float) -> tuple[float, float]:
    value, grad = ROUNDING[element]
    return value, grad * modes.length_scale(kernel) / spacing


@dataclass(frozen=True)
class _Trial:
    """A window's number of taps and terms, and the promise that its plan is to keep.

    `logarithm`: the plan is one of `logarithm_plan`.
    """

    kernel: Kernel
    d: int
    atol: float
    laplacian: bool
    element: str
    taps: int
    terms: int
    logarithm: bool = False

    def widest(self, finest: int) -> Plan | None:
        """The plan of the widest spacing, at least 2^(-finest / STEPS), found to keep the promise.

        Bisection takes the errors to grow with the spacing. Two things break that rule: rounding
        falls with the spacing, and a window of many taps may fit badly at some spacings. So a wider
        spacing may be missed, but each plan found keeps the promise. Trying all spacings takes ten
        times as long, and changed 2 of 195 plans with tolerances from 1e-5 on.
        """
        low, high, best = 0, finest + 1, None
        while low < high:
            middle = (low + high) // 2
            tried = self.at(2.0 ** (-middle / STEPS) * modes.length_scale(self.kernel))
            laplacian = tried.laplacian_error if self.laplacian else 0.0
            if max(tried.value_error, tried.grad_error, laplacian) <= self.atol:
                best, high = tried, middle
            else:
                low = middle + 1
        return best

    def at(self, spacing: float) -> Plan:
        """The plan with this spacing, and its errors."""
        kernel, d = self.kernel, self.d
        line, bandwidth = modes.spectrum_line(kernel)
        window = fitted(self.taps, self.terms, line.omega * (spacing / bandwidth), line.size)
        errors, pairs = bounded(kernel, d, spacing, window), None
        if is_gaussian(kernel):
            pairs = gaussian_errors(spacing / kernel.bandwidth, window)
            errors = *pairs.worst(d), errors[2]
        rounding = (0.0, 0.0) if self.logarithm else _rounding(kernel, self.element, spacing)
        share = LOGARITHM_IMAGES if self.logarithm else IMAGES * self.atol
        periodic = modes.periodic(kernel, spacing, share / (2 * d))
        images = (BENT * share if periodic.bent else share, share, share)
        return Plan(
            kernel,
            d,
            window,
            self.element,
            spacing,
            periodic,
            errors,
            rounding,
            images,
            pairs,
            self.logarithm,
        )


def bounded(kernel: Kernel, d: int, spacing: float, window: Window) -> tuple[float, float, float]:
    """Bounds of the window's defects and of the modes left out: the first two lines of the head.

    For value, gradient and laplacian, each relative to its largest size.
    """
    line, bandwidth = modes.spectrum_line(kernel)
    h = spacing / bandwidth
    inside = line.omega <= math.pi / h
    every = line.moments(d)
    value, grad, laplacian = (moment[inside] for moment in every)
    kappa, alphas, slope_alphas = window.defects
    omega = line.omega[inside]
    alpha = np.interp(omega * h, kappa, alphas)
    slope_alpha = np.interp(omega * h, kappa, slope_alphas) / h
    power = (1 + alpha) ** (2 * d)
    # a kernel that is bent is sampled: modes beyond the last are folded back
    folded = 1.0 if has_spectrum(kernel) else 2.0
    left_out = [folded * t for t in line.tail(d, math.pi / h)]
    slope = grad * (power - 1) + d * value * slope_alpha * power / line.steepest
    return (
        float((value * (power - 1)).sum()) + left_out[0],
        float(slope.sum()) + left_out[1],
        float((laplacian * (power - 1)).sum() / every[2].sum()) + left_out[2],
    )
