"""Sum a kernel's near part over sources closer than its radius, in machine code.

The near part is a polynomial of the distance. Sources and queries are sorted into tiles
(`neighbours/tiled.py`), so that any density, duplicates and far outliers are allowed. Differences
of coordinates are taken in double precision: a force keeps its direction however close the points
are. The rest is computed in float32 where its precision suffices (`Plan.element`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from particleflow.kernels.contract import COINCIDENT
from particleflow.pairwise.codegen.arrays import Array
from particleflow.pairwise.codegen.entry import machine_code
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.codegen.values import Kind, Value, fma, select, squared_norm
from particleflow.pairwise.neighbours.tiled import Batch, Neighbours, Tiled
from particleflow.pairwise.periodic.split import Split
from particleflow.pairwise.terms import What
from particleflow.pairwise.threads import together

# Queries in one vector.
LANES = 8
# Queries that share a list of sources.
BLOCK = 32
# Sources summed in the element's precision before they go into doubles.
CHUNK = 64
# Blocks of queries in one job of a thread.
JOB = 256
# Largest radius, in units of length, for float32: the squared cut-off in radii must be a float32.
# A source nearer than the kernel's cut-off (COINCIDENT) counts as coincident: its force is the
# difference times a finite number.
LARGEST_FLOAT32 = 3e3


@dataclass(frozen=True)
class Plan:
    """The facts of a compiled function.

    `terms` counts the terms of each polynomial. All numbers but coordinates are of `element`.
    """

    what: What
    d: int
    terms: int
    element: str
    processor: Processor

    @property
    def polynomials(self) -> int:
        return 1 if self.what in (What.VALUE, What.GRAD) else 2


@cache
def function(plan: Plan) -> Callable[..., None]:
    """The function near(z, x, w, ends, coefficients, out, blocks, Q), which adds to out.

    out is (components, Q). z (d, Q) and x (n, d) are float64 in units of the radius. w (n,) is of
    the plan's element. Block b, of BLOCK queries, meets the sources from ends[b - 1] to ends[b].

    coefficients holds, in this order: each polynomial in y = 2 r - 1, lowest power first (value;
    -slope; value, -slope; second derivative, slope); for the laplacian (d - 1) / radius and the
    term of a coincident source; the squared distance below which a source is coincident.
    """
    data = plan.element
    addresses = ["float64", "float64", data, "int64", data, "float64"]
    return machine_code(partial(_near, plan), [*addresses, int, int], plan.processor)


@staged
def _near(
    plan: Plan,
    z: Array,
    x: Array,
    w: Array,
    ends: Array,
    coefficients: Array,
    out: Array,
    blocks: int,
    Q: int,
) -> None:
    lanes, wide = Kind(plan.element, LANES), Kind("float64", LANES)
    queries, sources, sums = z.shaped(plan.d, Q), x.shaped(None, plan.d), out.shaped(None, Q)
    near = _Terms(plan, coefficients, w)
    first = 0
    for block in range(blocks):
        last = ends[block]
        for row in range(block * BLOCK, (block + 1) * BLOCK, LANES):
            here = [queries.load((k, row), LANES) for k in range(plan.d)]
            for begin in range(first, last, CHUNK):
                totals = [lanes(0.0)] * plan.what.components(plan.d)
                for j in range(begin, min(begin + CHUNK, last)):
                    places = [sources.all_lanes((j, k), LANES) for k in range(plan.d)]
                    # The difference is narrowed, not the coordinates.
                    u = [lanes(x_k - z_k) for x_k, z_k in zip(places, here, strict=True)]
                    q = squared_norm(u)
                    # Half of the sources or more are near none of the vector's queries.
                    if (q < 1.0).any():
                        added = zip(totals, near.terms(j, u, q), strict=True)
                        totals = [fma(factor, term, total) for total, (factor, term) in added]
                for component, total in enumerate(totals):
                    before = sums.load((component, row), LANES)
                    sums.store((component, row), before + wide(total))
        first = last


@dataclass(frozen=True)
class _Terms:
    """The terms that a source adds to each component."""

    plan: Plan
    coefficients: Array
    weights: Array

    def terms(self, j: int, u: list[Value], q: Value) -> Iterator[tuple[Value, Value]]:
        """Each component's term, as a product of two factors."""
        what, extra = self.plan.what, self.plan.polynomials * self.plan.terms
        closest = self._coefficient(extra + (2 if what is What.LAPLACIAN else 0))
        inverse = q.at_least(closest).rsqrt()
        y = fma(q * inverse, 2.0, -1.0)
        weight = select(q < 1.0, self.weights.all_lanes(j, LANES), 0.0)
        first = self._polynomial(0, y)
        if what in (What.VALUE, What.BOTH):
            yield first, weight
        if what in (What.GRAD, What.BOTH):
            slope = first if what is What.GRAD else self._polynomial(1, y)
            force = slope * (inverse * weight)
            for u_k in u:
                yield force, u_k
        if what is What.LAPLACIAN:
            across, coincident = (self._coefficient(extra + k) for k in range(2))
            apart = fma(self._polynomial(1, y) * inverse, across, first)
            yield select(q > closest, apart, coincident), weight

    def _polynomial(self, which: int, y: Value) -> Value:
        """A polynomial by even and odd powers: two chains of operations of half the length."""
        terms = self.plan.terms
        c = [self._coefficient(which * terms + k) for k in range(terms)]
        s = y * y
        even, odd = c[terms - 2], c[terms - 1]
        for k in range(terms - 4, -1, -2):
            even, odd = fma(even, s, c[k]), fma(odd, s, c[k + 1])
        return fma(odd, y, even)

    def _coefficient(self, k: int) -> Value:
        return self.coefficients.all_lanes(k, LANES)


def near_sums(
    split: Split, tol: float, what: What, w: np.ndarray, sources: Tiled, queries: Tiled
) -> np.ndarray:
    """The near sums (Q, K, components) in float64, for weights w (N, K).

    Weights are in the order of the sources' tiles, queries in the order of the queries' tiles. The
    tolerance `tol` is relative to the peaks of the near part times sum |w|.
    """
    d = sources.points.shape[1]
    radii = split.radius / split.unit
    element = (
        "float32"
        if tol >= 2**-23 and what is not What.LAPLACIAN and radii <= LARGEST_FLOAT32
        else "float64"
    )
    # Without a kink `bend` holds the laplacian's second term too.
    smooth = what is What.LAPLACIAN and not split.near_at_zero
    value, slope, bend = split.near(tol, d - 1 if smooth else 0)
    coefficients = {
        What.VALUE: [value],
        What.GRAD: [-slope],
        What.BOTH: [value, -slope],
        What.LAPLACIAN: [
            bend,
            slope,
            np.array([0.0 if smooth else (d - 1) / split.radius, d * split.near_at_zero]),
        ],
    }[what]
    coefficients.append(np.array([(COINCIDENT / radii) ** 2]))
    numbers = np.concatenate(coefficients).astype(element)
    call = function(Plan(what, d, len(value), element, Processor.here()))
    out = np.zeros((len(queries.points), w.shape[1], what.components(d)))
    near = Neighbours(
        sources, queries, BLOCK, np.full(-(-len(queries.points) // BLOCK), split.radius)
    )

    def add(batch: Batch) -> None:
        blocks, rows = len(batch.ends), len(batch.z)
        z = np.zeros((d, blocks * BLOCK))
        z[:, :rows] = batch.z.T
        for column in range(w.shape[1]):
            weights = np.ascontiguousarray(batch.w[:, column], dtype=numbers.dtype)
            sums = np.zeros((what.components(d), blocks * BLOCK))
            arrays = (z, batch.x, weights, batch.ends, numbers, sums)
            call(*(array.ctypes.data for array in arrays), blocks, blocks * BLOCK)
            out[batch.first : batch.last, column] = sums[:, :rows].T

    together(near.tasks(add, w, 1 / split.radius, np.dtype(np.float64), JOB))
    return out
