"""Sum exactly over pairs on the line by sorting, at a cost of O((N + Q) log N).

The kernels are a polynomial times an exponential of the distance. With t = rate |z - x|, they are
k = P(t) e^{-t} (Laplace, Matern) or k = P(t) (Energy). The sources on one side of a point z have
the moments

    A_p(z) = sum_{x_i < z} w_i (rate (z - x_i))^p e^{-rate (z - x_i)}.

For Energy the exponentials are 1. Let z move to the next source or to a query, by `gap`. With
g = rate * gap the moments become

    A_p <- e^{-g} sum_j C(p, j) g^{p-j} A_j.

These terms have one sign where the weights have one. No difference of large prefix sums is taken.
So the rounding is as small as the sum of the terms' absolute values allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.polynomial import polynomial
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.contract import COINCIDENT
from particleflow.kernels.declared import bandwidth_of, exponential_tail, names_of, stated
from particleflow.kernels.facts import Array, ExponentialTail
from particleflow.memo import Memo, Same, cached_property
from particleflow.pairwise.base import Queries
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import checked_weights, kept_queries, points_of
from particleflow.pairwise.terms import What

# Number of queries at a time: their moments stay in the processor's cache.
CHUNK = 2**14


@dataclass(frozen=True)
class Form:
    """A kernel on the line, k = P(t) e^{-decay t}, t = rate r.

    `value` holds the coefficients of P. `slope` and `bend` hold the polynomials of k' and k'' in r.
    """

    rate: float
    decay: float
    value: tuple[float, ...]

    @cached_property
    def slope(self) -> Array:
        return self._derivative(np.array(self.value))

    @cached_property
    def bend(self) -> Array:
        return self._derivative(self.slope)

    @property
    def bend_at_zero(self) -> float:
        """k''(0) as kernels/contract.py has it: a kink is cut off at a distance of 1e-15 / rate."""
        kink = float(self.slope[0])
        return (
            kink * (self.rate if self.decay else 1.0) / COINCIDENT if kink else float(self.bend[0])
        )

    def _derivative(self, p: Array) -> Array:
        return np.asarray(
            self.rate * (np.append(polynomial.polyder(p), 0.0)[: len(p)] - self.decay * p)
        )


def form_of(kernel: Kernel) -> Form | None:
    """Return a kernel's form on the line, or None where sorting does not help."""
    tail = exponential_tail(kernel)
    if tail is None:
        return None
    return Form(tail.rate / (bandwidth_of(kernel) or 1.0), float(tail.decay), tail.coefficients)


def _sorts(kind: type) -> bool:
    facts = stated(kind)
    return facts is not None and isinstance(facts.tail, ExponentialTail)


@dataclass(frozen=True)
class Sorted:
    """Exact sums in d = 1 for Energy, Laplace, Matern32 and Matern52: O((N + Q) log N).

    The sums are in float64 for any dtype of the points. The same input gives the same bits for any
    number of threads.

    Raises
    ------
    ValueError
        d > 1.
    TypeError
        The kernel is another one.
    """

    def sources(self, kernel: Kernel, points: Tensor) -> SortedSources:
        form = form_of(kernel)
        if points.shape[1] != 1:
            raise ValueError(
                f"`points` must be (N, 1) to be sorted, got {tuple(points.shape)}: use Fourier or"
                " Compiled"
            )
        if form is None:
            raise TypeError(
                f"`kernel` must be {names_of(_sorts)} to be summed by sorting,"
                f" got {kernel}: use Fourier or Compiled"
            )
        return SortedSources(kernel, points, form)


@dataclass(frozen=True)
class SortedQueries:
    """Query points and the order that sorts them."""

    points: Tensor

    @cached_property
    def order(self) -> tuple[np.ndarray, Array]:
        return _in_order(self.points)


@dataclass(frozen=True, eq=False)
class SortedSources:
    kernel: Kernel
    points: Tensor
    form: Form
    # The moments for the weights met last: a target's are asked for in every step.
    _lines: Memo[Line] = field(default_factory=lambda: Memo(1), repr=False)

    def field(self, w: Tensor) -> SortedField:
        return SortedField(((self, checked_weights(w, self.points)),))

    def prepare(self, z: Tensor) -> SortedQueries:
        return SortedQueries(kept_queries(z, self.points))

    @cached_property
    def order(self) -> tuple[np.ndarray, Array]:
        return _in_order(self.points)

    @cached_property
    def _finite(self) -> bool:
        return bool(np.isfinite(self.order[1][[0, -1]]).all())

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        points = points_of(z)
        order, queries, broken = self._queries(z)
        line = self._line(w)
        out = np.empty((len(queries), w.shape[1], what.components(1)))
        for start in range(0, len(queries), CHUNK):
            here = slice(start, start + CHUNK)
            for component, part in enumerate(line.at(queries[here], what)):
                out[order[here], :, component] = part
        out[order[broken]] = np.nan
        if not self._finite:
            out.fill(np.nan)
        return torch.from_numpy(out).to(points)

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Return the logarithm (Q,) and its gradient (Q, 1) from moments of positive weights.

        The distance to the next source is an exponent, and so cannot underflow.
        """
        points = points_of(z)
        order, queries, broken = self._queries(z)
        places, x = self.order
        weights = _numpy(w)[places]
        live = weights > 0
        value, grad = np.full(len(queries), -np.inf), np.zeros(len(queries))
        if live.any():
            value, grad = line_of(self.form, x[live], weights[live, None]).log_at(queries)
        value[broken] = grad[broken] = np.nan
        if not self._finite:
            value[:] = grad[:] = np.nan
        log, pull = np.empty_like(value), np.empty_like(grad)
        log[order], pull[order] = value, grad
        return torch.from_numpy(log).to(points), torch.from_numpy(pull[:, None]).to(points)

    def _queries(self, z: Tensor | Queries) -> tuple[np.ndarray, Array, np.ndarray]:
        """Return the sorting order, the sorted queries, and a mask of those not finite.

        Queries that are not finite are set to zero.
        """
        if isinstance(z, SortedQueries):
            order, queries = z.order
        else:
            order, queries = self.order if z is self.points else _in_order(points_of(z))
        broken = ~np.isfinite(queries)
        return order, np.where(broken, 0.0, queries) if broken.any() else queries, broken

    def _line(self, w: Tensor) -> Line:
        places, x = self.order
        return self._lines.get(Same(w), lambda: line_of(self.form, x, _numpy(w)[places]))


@dataclass(frozen=True, eq=False)
class SortedField(SumField):
    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        self._check(z)
        return {
            "backend": "Fourier",
            "why": "asked for; in d = 1 this kernel is summed by sorting, exactly",
        }


@dataclass(frozen=True, eq=False)
class Line:
    """Sorted distinct sources, with the moments on both sides of each.

    `left` (p, N + 1, K): the moments at source n - 1 of itself and all before it, in place n;
    `right`: at source n of itself and all after it. `w` (N + 1, K). Zeros stand where there is no
    source.
    """

    form: Form
    x: Array
    w: Array
    left: Array
    right: Array

    def at(self, z: Array, what: What) -> list[Array]:
        """Return value, gradient or laplacian (Q, K) at queries, or value and gradient."""
        form = self.form
        (_, left), (_, right), here = self._sides(z, form.decay)
        if what is What.LAPLACIAN:
            # Points that coincide have 2 d slope(0), as in kernels/contract.py, with its cut-off.
            return [_dot(form.bend, left) + _dot(form.bend, right) + form.bend_at_zero * here]
        parts = []
        if what is not What.GRAD:
            value = np.array(form.value)
            parts.append(_dot(value, left) + _dot(value, right) + form.value[0] * here)
        if what is not What.VALUE:
            parts.append(_dot(form.slope, left) - _dot(form.slope, right))
        return parts

    def log_at(self, z: Array) -> tuple[Array, Array]:
        """Return the logarithm of the sum and its gradient, (Q,) each, for weights (N, 1) > 0."""
        form = self.form
        *sides, here = self._sides(z, 0.0)
        logs, slopes = [_log(form.value[0] * here[:, 0])], [np.zeros(len(z))]
        for (gap, moments), sign in zip(sides, (1.0, -1.0), strict=True):
            sums = _dot(np.array(form.value), moments)[:, 0]
            logs.append(_log(sums) - form.decay * gap[:, 0])
            slopes.append(sign * _dot(form.slope, moments)[:, 0] / np.where(sums > 0, sums, 1.0))
        total = np.logaddexp.reduce(logs)
        return total, sum(
            (np.exp(log - total) * slope for log, slope in zip(logs, slopes, strict=True)),
            np.zeros(len(z)),
        )

    def _sides(
        self, z: Array, decay: float
    ) -> tuple[tuple[Array, Array], tuple[Array, Array], Array]:
        """Return a pair for the left, a pair for the right, and the weight at z itself.

        A pair is the distance (Q, 1) to the next source, in units of 1 / rate, and the moments at
        z.
        """
        rate = self.form.rate
        place = np.searchsorted(self.x, z)
        met = self.x.take(place, mode="clip") == z
        here = (
            np.where(met[:, None], self.w.take(place, axis=0), 0.0)
            if met.any()
            else np.zeros((len(z), self.w.shape[1]))
        )
        # beyond the first and the last source all moments are zero, whatever the distance
        before = rate * np.maximum(z - self.x.take(place - 1, mode="clip"), 0.0)[:, None]
        left = _moved(self.left.take(place, axis=1), before, decay)
        place = place + met
        after = rate * np.maximum(self.x.take(place, mode="clip") - z, 0.0)[:, None]
        return (before, left), (after, _moved(self.right.take(place, axis=1), after, decay)), here


def line_of(form: Form, x: Array, w: Array) -> Line:
    """Return the moments for sorted x (N,) and w (N, K), with equal sources merged first."""
    first = np.flatnonzero(np.diff(x, prepend=-np.inf) > 0)
    if len(first) < len(x):
        x, w = x[first], np.add.reduceat(w, first, axis=0)
    gaps = form.rate * np.diff(x)
    nothing = np.zeros((len(form.value), 1, w.shape[1]))
    left = np.concatenate([nothing, _scan(form, gaps, w)], axis=1)
    right = np.concatenate([_scan(form, gaps[::-1], w[::-1])[:, ::-1], nothing], axis=1)
    return Line(form, x, np.concatenate([w, nothing[0]]), left, right)


def _scan(form: Form, gaps: Array, w: Array) -> Array:
    """Return A_p (p, N, K) at each source, over itself and all sources before it."""
    n, k = w.shape
    if not form.decay:
        mass = np.cumsum(w, axis=0)
        return np.stack(
            [mass, np.concatenate([np.zeros((1, k)), np.cumsum(gaps[:, None] * mass[:-1], axis=0)])]
        )
    # About sqrt(N) rows: a step goes through all of them at once; then each hands on to the next.
    # The last is padded: no weight, no gap.
    steps = max(1, math.isqrt(n))
    rows = -(-n // steps)
    weight, gap = np.zeros((rows * steps, k)), np.zeros((rows * steps, 1))
    weight[:n], gap[1:n, 0] = w, gaps
    weight = np.ascontiguousarray(weight.reshape(rows, steps, k).swapaxes(0, 1))
    gap = np.ascontiguousarray(gap.reshape(rows, steps, 1).swapaxes(0, 1))
    moments = np.zeros((len(form.value), steps, rows, k))
    moments[0] = weight
    shrink = np.exp(-gap)
    for step in range(1, steps):
        moments[:, step] += _moved(moments[:, step - 1], gap[step], form.decay, shrink[step])
    reach = np.cumsum(gap, axis=0)
    handed = np.zeros((len(form.value), rows, k))
    for row in range(1, rows):
        # to the first place of this row, less its own gap, which `reach` holds
        handed[:, row] = (
            moments[:, -1, row - 1]
            + _moved(handed[:, row - 1, None], reach[-1, row - 1], form.decay)[:, 0]
        )
    moments += _moved(handed[:, None], reach, form.decay)
    return np.asarray(moments.swapaxes(1, 2).reshape(len(form.value), rows * steps, k)[:, :n])


def _moved(moments: Array, gap: Array, decay: float, shrink: Array | None = None) -> Array:
    """Moments about a point `gap` (in units of 1 / rate) further on: e^{-decay gap} sum_j C(p, j)
    gap^{p-j} A_j.
    """
    moved = moments
    if len(moments) > 1:
        moved = np.empty(np.broadcast_shapes(moments.shape, (1, *gap.shape)))
        moved[0] = moments[0]
        moved[1] = moments[1] + gap * moments[0]
    if len(moments) > 2:
        moved[2] = moments[2] + gap * (2 * moments[1] + gap * moments[0])
    if decay:
        return np.asarray(moved * (np.exp(-gap) if shrink is None else shrink))
    return moved


def _dot(coefficients: Array, moments: Array) -> Array:
    return np.asarray(
        sum(
            (c * moment for c, moment in zip(coefficients, moments, strict=True) if c),
            0.0 * moments[0],
        )
    )


def _log(sums: Array) -> Array:
    return np.where(sums > 0, np.log(np.where(sums > 0, sums, 1.0)), -np.inf)


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().double().numpy())


def _in_order(points: Tensor) -> tuple[np.ndarray, Array]:
    values = _numpy(points)[:, 0]
    order = np.argsort(values)
    return order, values[order]
