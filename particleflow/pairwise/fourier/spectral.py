"""The sum itself: modes of the sources, times the kernel's, at the queries; the near field;
outliers exactly; and the bound of all errors.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow.clouds import corners
from particleflow.kernels import Kernel
from particleflow.memo import Memo, Same
from particleflow.pairwise.base import Promise, Queries
from particleflow.pairwise.exact.fallback import exact_sources
from particleflow.pairwise.fourier.farfield import Modes
from particleflow.pairwise.fourier.nearfield import near_sums
from particleflow.pairwise.fourier.nufft import Transform
from particleflow.pairwise.fourier.route import Box, Layout
from particleflow.pairwise.inputs import points_of
from particleflow.pairwise.neighbours.tiled import Tiled
from particleflow.pairwise.promise import peaks
from particleflow.pairwise.terms import What

# Sources spread onto a grid of float32 at a time: more would lose digits as they add up.
CHUNK = 2**17
# Weight vectors are alike up to this power of two.
ALIKE = 3.0
# Rounding to float32, relative; what the near part's polynomials may err by, relative to the
# kernel's peaks and to the tolerance.
FLOAT32, NEAR = 2.0**-24, 0.05


@dataclass(frozen=True, eq=False)
class FourierQueries:
    """Query points, and the transform that has been set up at them."""

    points: Tensor
    made: Memo[Any] = field(default_factory=lambda: Memo(1))


@dataclass(frozen=True, eq=False)
class Spectral:
    """Parts (sources, weights (N,) or (N, K)), with what they keep, summed by one layout."""

    parts: tuple[tuple[Any, Tensor], ...]
    kept: tuple[Memo[Any], ...]
    layout: Layout

    def at(self, what: What, z: Tensor | Queries) -> Tensor:
        """(Q, K, components) in double precision, at finite z."""
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
                    out[inside] += _exactly(
                        sources.kernel, sources.double[stray], w[stray], what, core
                    )
        if len(rest):
            out[~inside] = sum(
                _exactly(sources.kernel, sources.double, w, what, rest) for sources, w in self.parts
            )
        return out

    @property
    def columns(self) -> int:
        w = self.parts[0][1]
        return 1 if w.ndim == 1 else w.shape[1]

    @functools.cached_property
    def _powers(self) -> Tensor | None:
        """Powers of two (K,) that weight vectors are divided by: two make one transform, whose
        errors are relative to the larger. None: all alike.
        """
        if self.columns == 1:
            return None
        highest = torch.stack([w.abs().amax(0) for _, w in self.parts]).amax(0).double()
        powers = highest.log2().floor().nan_to_num(0.0, 0.0, 0.0)
        return powers if float(powers.max() - powers.min()) > ALIKE else None

    def _packed(self) -> list[tuple[Tensor, float]]:
        """The sources' modes, two weight vectors at a time, and what the larger of these is
        multiplied by.
        """
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
        """Of the sources in the box, at points in the box."""
        far = self._far(what, points, z)
        return far + self._near(what, points) if self.modes.demand.radius else far

    def _far(self, what: What, points: Tensor, z: Tensor | Queries) -> Tensor:
        """Two real sums make one complex transform: two weight vectors, or two components of one."""
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
        # components of the gradient came in units that make them as large as the value
        if what in (What.GRAD, What.BOTH):
            out[..., components - d :] /= modes.unit
        return out

    def _factor(self, what: What, component: int) -> Tensor:
        """c_m times 1, i omega_j unit, or -|omega|^2."""
        modes, d = self.modes, len(self.modes.half)
        if what is What.LAPLACIAN:
            return -modes.c * functools.reduce(
                operator.add, (modes.omega(axis) ** 2 for axis in range(d))
            )
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
        made: Memo[Transform] = z.made if isinstance(z, FourierQueries) else Memo(1)
        return made.get(
            self._key, lambda: Transform(2, self._angles(points), self.modes.half, self.modes.tol)
        )

    @property
    def _key(self) -> Any:
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
        """F_m of all parts, two weight vectors at a time as real and imaginary part."""
        parts = [self._modes_of(k) for k in range(len(self.parts))]
        return [functools.reduce(operator.add, columns) for columns in zip(*parts, strict=True)]

    def _modes_of(self, k: int) -> list[Tensor]:
        (sources, w), kept = self.parts[k], self.kept[k]

        def make() -> list[Tensor]:
            points, weights = sources.double, _matrix(w).double()
            if self._powers is not None:
                weights = torch.ldexp(weights, -self._powers)
            if not self.layout.whole:
                inside = self.layout.box.inside(points)
                points, weights = points[inside], weights[inside]
            return self._summed(points, weights)

        powers = None if self._powers is None else tuple(self._powers.tolist())
        found: list[Tensor] = kept.get((self._key, powers, Same(w)), make)
        return found

    def _summed(self, points: Tensor, weights: Tensor) -> list[Tensor]:
        modes = self.modes
        imaginary = torch.zeros_like(weights[:, ::2])
        imaginary[:, : weights.shape[1] // 2] = weights[:, 1::2]
        strengths = torch.complex(weights[:, ::2].contiguous(), imaginary).T
        angles = self._angles(points)
        size = max(1, angles.shape[1] if modes.double else CHUNK)
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
        demand, box = self.modes.demand, self.layout.box
        assert demand.split is not None
        queries: Tiled | None = None
        tiles = []
        for sources, _ in self.parts:
            within = None if self.layout.whole else box
            tiles.append(
                sources.made.get(within, functools.partial(_tiles, sources.double, within))
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
            weights = _matrix(w).double()[inside].numpy()[tiled.order]
            total = total + near_sums(
                demand.split, NEAR * demand.tol, what, weights, tiled, queries
            )
        out = np.empty_like(total)
        out[queries.order] = total
        return torch.from_numpy(out)

    def promise(self, z: Tensor) -> Promise:
        """Bounds of the largest errors, from the modes of these sources: see farfield.py."""
        top, steepest = peaks(self.parts[0][0].kernel, self._extent(z))
        mass = float(
            sum(
                (_matrix(w).abs().double().sum(0) for _, w in self.parts),
                torch.zeros((), dtype=torch.float64, device=z.device),
            ).max()
        )
        single = z.dtype == torch.float32
        modes = self.modes
        spread = math.sqrt(2 * math.log(2 * len(z) * self.columns + 8)) + 1
        highest, sums = self._highest(), self._sums_of_modes()
        bounds, pieces = [], []
        for order, peak in enumerate((top, steepest)):
            tail = min(
                mass * modes.left_out.sup[order],
                highest * (modes.left_out.sup[order] + spread * modes.left_out.rms[order]),
            )
            window = modes.window * min(
                mass * modes.kept.sup[order],
                highest * (modes.kept.sup[order] + spread * modes.kept.rms[order]),
            )
            window += modes.rounding * mass * modes.kept.sup[order + 1]
            other = sums[1] * modes.unit if order == 0 else sums[0] / modes.unit
            window += modes.window * (sums[order] + other) + modes.rounding * sums[order + 1]
            stray = modes.stray[order] * mass * peak
            rounding = FLOAT32 * sums[order] if single else 0.0
            if modes.demand.radius:
                rounding += (
                    (2 * NEAR * modes.demand.tol + (FLOAT32 if single else 0.0)) * mass * peak
                )
            bounds.append(tail + window + stray + rounding)
            pieces.append((tail, window, stray))
        count = " x ".join(str(2 * h + 1) for h in modes.half)
        shares = ", ".join(
            f"{name} {size:.1e}"
            for name, size in zip(
                ("modes left out", "transforms", "images"), pieces[0], strict=True
            )
        )
        near = f", neighbours within {modes.demand.radius:.3g}" if modes.demand.radius else ""
        return Promise(bounds[0], bounds[1], f"{count} modes{near}; of the value: {shares}")

    def _extent(self, z: Tensor) -> float:
        lowest, highest = corners(z, *(sources.points for sources, _ in self.parts))
        return float((highest.double() - lowest.double()).norm())

    def _highest(self) -> float:
        """B: the root mean square of the sources' transform at the highest modes, and no less than
        that of sources scattered at random.
        """
        squared = torch.stack([_matrix(w).double().square().sum(0) for _, w in self.parts])
        scattered = math.sqrt(max(float(squared.sum(0).max()), 0.0))
        highest = scattered
        for packed, times in self._packed():
            squares, count = 0.0, 0
            for axis, half in enumerate(self.modes.half):
                width = max(1, half // 10)
                for edge in (
                    packed.narrow(axis, 0, width),
                    packed.narrow(axis, 2 * half + 1 - width, width),
                ):
                    squares += float(torch.view_as_real(edge.resolve_conj()).square().sum())
                    count += edge.numel()
            highest = max(highest, times * math.sqrt(squares / count))
        return highest

    def _sums_of_modes(self) -> tuple[float, float, float]:
        """sum |c_m F_m| |omega_m|^n for n = 0, 1, 2; the largest over weight vectors."""
        modes = self.modes
        norm = functools.reduce(
            operator.add, (modes.omega(axis) ** 2 for axis in range(len(modes.half)))
        ).sqrt()
        found = []
        for packed, times in self._packed():
            size = packed.abs() * (modes.c.abs() * times)
            found.append([float((size * norm**n).sum()) for n in range(3)])
        first, second, third = (max(column) for column in zip(*found, strict=True))
        return first, second, third


def _tiles(points: Tensor, box: Box | None) -> tuple[Tiled, slice | Tensor]:
    """The points in the box, sorted, and which they are; None: all."""
    inside = slice(None) if box is None else box.inside(points)
    return Tiled.of(points[inside].numpy()), inside


def _exactly(kernel: Kernel, points: Tensor, w: Tensor, what: What, z: Tensor) -> Tensor:
    """(Q, K, components) in double precision."""
    sources: Any = exact_sources(kernel, points)
    total: Tensor = sources.sums(what, _matrix(w).double(), z)
    return total


def _matrix(w: Tensor) -> Tensor:
    return w if w.ndim == 2 else w[:, None]
