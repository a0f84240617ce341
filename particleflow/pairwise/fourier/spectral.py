"""The Fourier sum itself, by one layout of `route.py`, and the bound of its errors.

Modes of the sources, F_m = sum_n w_n e^{-i omega_m x_n}, times the kernel's c_m, are summed at the
queries. The near field is added, and points outside of the box are summed exactly.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from particleflow.memo import Memo, Same
from particleflow.pairwise.base import Promise, Queries
from particleflow.pairwise.exact.fallback import exact_values
from particleflow.pairwise.field import PartSources, SumField
from particleflow.pairwise.fourier.farfield import PERIOD, Modes, Sums
from particleflow.pairwise.fourier.nearfield import near_sums
from particleflow.pairwise.fourier.nufft import Transform
from particleflow.pairwise.fourier.route import Box, Layout
from particleflow.pairwise.inputs import as_matrix, points_of
from particleflow.pairwise.neighbours.tiled import Tiled
from particleflow.pairwise.promise import diagonal, peaks
from particleflow.pairwise.terms import What

# The points in a box, sorted, and the index that takes them from all points.
Tiles: TypeAlias = tuple[Tiled, slice | Tensor]
# What a field keeps of a part: its modes (see `Spectral._modes_of`), or its sum over neighbours.
Kept: TypeAlias = list[Tensor] | SumField

# Sources of one transform in float32: the sums of more would lose digits.
SOURCES_TOGETHER = 2**17
# Weight vectors whose largest entries differ by less than this power of two are not scaled before
# two of them share a transform.
ALIKE = 3.0
# Relative rounding to float32.
FLOAT32 = 2.0**-24
# The error of the near field's polynomials, relative to the tolerance and to the kernel's peaks.
NEAR_FIELD = 0.05
# The highest modes by which B is measured: the outer tenth on each axis.
OUTER = 10


@runtime_checkable
class DoubledSources(PartSources, Protocol):
    """Sources of a Fourier field: points, also in float64, and their tiles for a near field."""

    @property
    def double(self) -> Tensor: ...
    @property
    def tiles(self) -> Memo[Tiles]: ...


@dataclass(frozen=True, eq=False)
class FourierQueries:
    """Query points, and the transform that was last set up for them."""

    points: Tensor
    transforms: Memo[Transform] = field(default_factory=lambda: Memo(1))


@dataclass(frozen=True, eq=False)
class Spectral:
    """The sum of parts (sources, weights (N,) or (N, K)) by one layout.

    `kept`: the modes F of each part, packed (see `_modes_of`).
    """

    parts: tuple[tuple[DoubledSources, Tensor], ...]
    kept: tuple[Memo[Kept], ...]
    layout: Layout

    def at(self, what: What, z: Tensor | Queries) -> Tensor:
        """(Q, K, components) in float64, at finite z."""
        points, box = points_of(z).detach().double(), self.layout.box
        if self.layout.whole:
            return self._within(what, points, z)
        inside = box.inside(points)
        core, rest = points[inside], points[~inside]
        out = points.new_empty((len(points), self.columns, what.components(points.shape[1])))
        if len(core):
            out[inside] = self._within(what, core, core)
            for sources, w in self.parts:
                stray = ~box.inside(sources.double)
                if bool(stray.any()):
                    out[inside] += exact_values(
                        sources.kernel, sources.double[stray], w[stray], what, core
                    )
        if len(rest):
            out[~inside] = sum(
                exact_values(sources.kernel, sources.double, w, what, rest)
                for sources, w in self.parts
            )
        return out

    @property
    def columns(self) -> int:
        w = self.parts[0][1]
        return 1 if w.ndim == 1 else w.shape[1]

    @functools.cached_property
    def _powers(self) -> Tensor | None:
        """Exponents (K,): weight vectors are divided by these powers of two. None: all are alike.

        Two vectors share one transform, whose errors are relative to the larger of both.
        """
        if self.columns == 1:
            return None
        highest = torch.stack([w.abs().amax(0) for _, w in self.parts]).amax(0).double()
        powers = highest.log2().floor().nan_to_num(0.0, 0.0, 0.0)
        return powers if float(powers.max() - powers.min()) > ALIKE else None

    def _packed(self) -> list[tuple[Tensor, float]]:
        """The modes F, two weight vectors in each, and the scale of the larger of both."""
        sums = self._modes_of_sources()
        if self._powers is None:
            return [(packed, 1.0) for packed in sums]
        return [
            (packed, 2.0 ** float(pair.max()))
            for packed, pair in zip(sums, self._powers.split(2), strict=True)
        ]

    @property
    def modes(self) -> Modes:
        assert self.layout.modes is not None
        return self.layout.modes

    def _within(self, what: What, points: Tensor, z: Tensor | Queries) -> Tensor:
        """Sums over the sources in the box, at points in the box."""
        far = self._far(what, points, z)
        return far + self._near(what, points) if self.modes.demand.radius else far

    def _far(self, what: What, points: Tensor, z: Tensor | Queries) -> Tensor:
        """Sums over modes: one complex transform for two weight vectors, or for two components."""
        modes, d = self.modes, points.shape[1]
        transform = self._transform_at(points, z)
        sums = self._modes_of_sources()
        components = what.components(d)
        out = points.new_empty((len(points), self.columns, components))
        if self.columns == 1:
            for first in range(0, components, 2):
                pair = range(first, min(first + 2, components))
                factors = [self._factor(what, component) for component in pair]
                packed = transform(
                    sums[0] * (factors[0] if len(factors) == 1 else factors[0] + 1j * factors[1])
                )
                for component, part in zip(pair, (packed.real, packed.imag), strict=False):
                    out[:, 0, component] = part
        else:
            for component in range(components):
                factor = self._factor(what, component)
                for column, packed in enumerate(sums):
                    both = transform(packed * factor)
                    out[:, 2 * column, component] = both.real
                    if 2 * column + 1 < self.columns:
                        out[:, 2 * column + 1, component] = both.imag
        if self._powers is not None:
            out = torch.ldexp(out, self._powers[:, None])
        # in a transform, the gradient is scaled to be as large as the value
        if what in (What.GRAD, What.BOTH):
            out[..., components - d :] /= modes.unit
        return out

    def _factor(self, what: What, component: int) -> Tensor:
        """What F is multiplied by: c_m times 1, times i omega_j unit, or times -|omega|^2."""
        modes = self.modes
        if what is What.LAPLACIAN:
            return -modes.c * modes.omega2
        axis = component - (what is What.BOTH)
        if what is What.VALUE or axis < 0:
            return modes.c
        return 1j * (modes.omega(axis) * modes.unit) * modes.c

    def _angles(self, points: Tensor) -> Tensor:
        """(d, n), in units of period / (2 pi), about the box's centre."""
        box, modes = self.layout.box, self.modes
        scale = points.new_tensor([2 * math.pi / length for length in modes.lengths])
        angles = ((points - points.new_tensor(box.centre)) * scale).T
        return angles.to(torch.float64 if modes.double else torch.float32).contiguous()

    def _transform_at(self, points: Tensor, z: Tensor | Queries) -> Transform:
        kept = z.transforms if isinstance(z, FourierQueries) else Memo[Transform](1)
        return kept.get(
            self._key, lambda: Transform(2, self._angles(points), self.modes.half, self.modes.tol)
        )

    @property
    def _key(self) -> Hashable:
        """What a transform depends on, besides its points."""
        modes, box = self.modes, self.layout.box
        return (
            modes.lengths,
            modes.half,
            modes.tol,
            modes.double,
            box.centre,
            None if self.layout.whole else box.extents,
        )

    def _modes_of_sources(self) -> list[Tensor]:
        """F of all parts together, packed as those of one."""
        parts = [self._modes_of(k) for k in range(len(self.parts))]
        return [functools.reduce(operator.add, columns) for columns in zip(*parts, strict=True)]

    def _modes_of(self, k: int) -> list[Tensor]:
        """F of one part for every two weight vectors: weights w_1 + i w_2 in one transform."""
        (sources, w), kept = self.parts[k], self.kept[k]

        def make() -> list[Tensor]:
            points, weights = sources.double, as_matrix(w).double()
            if self._powers is not None:
                weights = torch.ldexp(weights, -self._powers)
            if not self.layout.whole:
                inside = self.layout.box.inside(points)
                points, weights = points[inside], weights[inside]
            return self._summed(points, weights)

        powers = None if self._powers is None else tuple(self._powers.tolist())
        found = kept.get((self._key, powers, Same(w)), make)
        assert isinstance(found, list)
        return found

    def _summed(self, points: Tensor, weights: Tensor) -> list[Tensor]:
        """F of points (n, d) with weights (n, K), packed."""
        modes = self.modes
        imaginary = torch.zeros_like(weights[:, ::2])
        imaginary[:, : weights.shape[1] // 2] = weights[:, 1::2]
        strengths = torch.complex(weights[:, ::2].contiguous(), imaginary).T
        angles = self._angles(points)
        size = max(1, angles.shape[1] if modes.double else SOURCES_TOGETHER)
        sums = [
            torch.zeros(modes.c.shape, dtype=torch.complex128, device=points.device)
            for _ in strengths
        ]
        for start in range(0, angles.shape[1], size):
            here = slice(start, start + size)
            transform = Transform(1, angles[:, here].contiguous(), modes.half, modes.tol)
            for total, column in zip(sums, strengths, strict=True):
                total += transform(column[here])
        return sums

    def _near(self, what: What, points: Tensor) -> Tensor:
        """The near field of the sources in the box, at points in the box."""
        demand, box = self.modes.demand, self.layout.box
        assert demand.split is not None
        queries: Tiled | None = None
        tiles = []
        for sources, _ in self.parts:
            within = None if self.layout.whole else box
            tiles.append(
                sources.tiles.get(within, functools.partial(_tiles, sources.double, within))
            )
            if (
                queries is None
                and sources.double.shape == points.shape
                and torch.equal(sources.double, points)
            ):
                queries = tiles[-1][0]
        queries = queries or Tiled.of(points.numpy())
        total = np.zeros(())
        for (tiled, inside), (_, w) in zip(tiles, self.parts, strict=True):
            weights = as_matrix(w).double()[inside].numpy()[tiled.order]
            total = total + near_sums(
                demand.split, NEAR_FIELD * demand.tol, what, weights, tiled, queries
            )
        out = np.empty_like(total)
        out[queries.order] = total
        return torch.from_numpy(out)

    def promise(self, z: Tensor) -> Promise:
        """Bounds of the largest errors at z, from the modes of these sources (`farfield.py`)."""
        clouds = [z, *(sources.points for sources, _ in self.parts)]
        peak = peaks(self.parts[0][0].kernel, diagonal(clouds))
        masses = (as_matrix(w).abs().double().sum(0) for _, w in self.parts)
        none = torch.zeros((), dtype=torch.float64, device=z.device)
        mass = float(sum(masses, none).max())
        single, stray = z.dtype == torch.float32, PERIOD * self.modes.demand.tol
        modes, highest, sums = self.modes, self._highest(), self._sums_of_modes()
        # C + 1 of the head of farfield.py: the largest of so many random sums
        largest = math.sqrt(2 * math.log(2 * len(z) * self.columns + 8)) + 1

        def bound(over: Sums, order: int) -> float:
            """T of the head of farfield.py, of the value (order 0) or of the gradient (1)."""
            scattered = highest * (over.sup[order] + largest * over.rms[order])
            return min(mass * over.sup[order], scattered)

        def shares(order: int) -> tuple[float, float, float]:
            """Errors of the modes left out, of the transforms, and of images and bends."""
            other = sums[1] * modes.unit if order == 0 else sums[0] / modes.unit
            transforms = modes.window * bound(modes.kept, order)
            transforms += modes.rounding * mass * modes.kept.sup[order + 1]
            transforms += modes.window * (sums[order] + other) + modes.rounding * sums[order + 1]
            return bound(modes.left_out, order), transforms, stray * mass * peak[order]

        def rounding(order: int) -> float:
            """Rounding to the dtype of the points, and the near field's polynomials."""
            far = FLOAT32 * sums[order] if single else 0.0
            if not modes.demand.radius:
                return far
            near = 2 * NEAR_FIELD * modes.demand.tol + (FLOAT32 if single else 0.0)
            return far + near * mass * peak[order]

        value, grad = (sum(shares(order)) + rounding(order) for order in (0, 1))
        count = " x ".join(str(2 * h + 1) for h in modes.half)
        near = f", neighbours within {modes.demand.radius:.3g}" if modes.demand.radius else ""
        names = "modes left out", "transforms", "images"
        parts = ", ".join(f"{name} {size:.1e}" for name, size in zip(names, shares(0), strict=True))
        return Promise(value, grad, f"{count} modes{near}; of the value: {parts}")

    def _highest(self) -> float:
        """B of the head of farfield.py, and no less than for sources that are scattered."""
        squared = torch.stack([as_matrix(w).double().square().sum(0) for _, w in self.parts])
        scattered = math.sqrt(max(float(squared.sum(0).max()), 0.0))
        highest = scattered
        for packed, times in self._packed():
            squares, count = 0.0, 0
            for axis, half in enumerate(self.modes.half):
                width = max(1, half // OUTER)
                for edge in (
                    packed.narrow(axis, 0, width),
                    packed.narrow(axis, 2 * half + 1 - width, width),
                ):
                    squares += float(torch.view_as_real(edge.resolve_conj()).square().sum())
                    count += edge.numel()
            highest = max(highest, times * math.sqrt(squares / count))
        return highest

    def _sums_of_modes(self) -> tuple[float, float, float]:
        """sum |c_m F_m| |omega_m|^n for n = 0, 1, 2, each the largest over weight vectors."""
        modes = self.modes
        norm = modes.omega2.sqrt()
        found = []
        for packed, times in self._packed():
            size = packed.abs() * (modes.c.abs() * times)
            found.append([float((size * norm**n).sum()) for n in range(3)])
        first, second, third = (max(column) for column in zip(*found, strict=True))
        return first, second, third


def _tiles(points: Tensor, box: Box | None) -> Tiles:
    """The points in the box (None: all), sorted into tiles, and the index that takes them."""
    inside = slice(None) if box is None else box.inside(points)
    return Tiled.of(points[inside].numpy()), inside
