"""Sums of a kernel's near part over sources closer than its radius, in machine code: tiles of
queries, polynomials of the distance.

Sources and queries are sorted into tiles (`neighbours/tiled.py`), so that any density, duplicates
and far outliers will do. Differences of coordinates are taken in double precision; what follows is
float32 where that does (`Plan.element`): a force keeps its direction however close the points are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from particleflow.kernels.contract import COINCIDENT
from particleflow.pairwise.codegen.processor import Processor, compiled
from particleflow.pairwise.codegen.vector import INDEX, Emit, Vector, fma, keep_stack_aligned
from particleflow.pairwise.neighbours.tiled import Batch, Neighbours, Tiled
from particleflow.pairwise.periodic.split import Split
from particleflow.pairwise.terms import What

# Queries in one vector; queries that share a list of sources; sources summed in the element's
# precision before they go into doubles; blocks of queries that a thread takes.
LANES, BLOCK, CHUNK, JOB = 8, 32, 64, 256
# Nearer than the kernel's cut-off (kernels/contract.py) counts as here: the force is the difference
# times a finite number. The square of that distance in radii has to be a number of the element: up
# to so many units of length, or radii, float32 will do.
LARGEST_FLOAT32 = 3e3


@dataclass(frozen=True)
class Plan:
    """One compiled function. `terms`: of each polynomial; `element`: of all but coordinates."""

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
    """near(z, x, w, ends, coefficients, out, blocks, Q): adds to out (components, Q).

    z (d, Q), x (n, d) float64 in units of the radius, w (n,) in the element's type; block b, of
    BLOCK queries, meets the sources from ends[b - 1] to ends[b]. coefficients: of each polynomial
    in y = 2 r - 1, lowest power first (value; -slope; value, -slope; second derivative, slope),
    then for the laplacian (d - 1) / radius and what a coincident source gives; last, the squared
    distance below which a source is coincident.
    """
    return compiled(_Near(plan).module, "near", plan.processor, pointers=6, integers=2)


class _Near:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.module = plan, ir.Module("near")
        scalar = ir.FloatType() if plan.element == "float32" else ir.DoubleType()
        wide, data, index = ir.DoubleType().as_pointer(), scalar.as_pointer(), INDEX.as_pointer()
        near = ir.Function(
            self.module,
            ir.FunctionType(ir.VoidType(), [wide, wide, data, index, data, wide, INDEX, INDEX]),
            "near",
        )
        keep_stack_aligned(near)
        self.z, self.x, self.w, self.ends, self.coefficients, self.out, blocks, self.Q = near.args
        self.builder = b = ir.IRBuilder(near.append_basic_block("entry"))
        start = b.append_basic_block("start")
        self.wide = Emit(b, "float64", LANES)
        self.e = Emit(
            b,
            plan.element,
            LANES,
            rsqrt_estimate=plan.processor.rsqrt_estimate if plan.element == "float32" else None,
        )
        b.branch(start)
        b.position_at_end(start)
        before = self.e.builder.alloca(INDEX)
        b.store(ir.Constant(INDEX, 0), before)
        with self.e.loop(0, blocks) as block:
            first, last = b.load(before), b.load(b.gep(self.ends, [block]))
            low = b.mul(block, ir.Constant(INDEX, BLOCK))
            with self.e.loop(low, b.add(low, ir.Constant(INDEX, BLOCK)), LANES) as row:
                self._tile(first, last, row)
            b.store(last, before)
        b.ret_void()

    def _tile(self, first: Any, last: Any, row: Any) -> None:
        b, d = self.builder, self.plan.d
        z = [
            self.wide.load(self.z, b.add(b.mul(self.Q, ir.Constant(INDEX, k)), row))
            for k in range(d)
        ]
        components = self.plan.what.components(d)
        with self.e.loop(first, last, CHUNK) as begin:
            end = b.add(begin, ir.Constant(INDEX, CHUNK))
            end = b.select(b.icmp_signed("<", end, last), end, last)
            sums = [self.e.variable(0.0) for _ in range(components)]
            with self.e.loop(begin, end) as j:
                u, q = self._differences(j, z)
                # Half of the sources or more are near to no query of the vector.
                inside = b.bitcast(
                    b.fcmp_ordered("<", q.value, self.e.lift(1.0)), ir.IntType(LANES)
                )
                with b.if_then(b.icmp_unsigned("!=", inside, ir.Constant(ir.IntType(LANES), 0))):
                    for total, (factor, term) in zip(sums, self._terms(j, u, q), strict=True):
                        total.set(fma(factor, term, total.get()))
            for component, total in enumerate(sums):
                place = b.add(b.mul(self.Q, ir.Constant(INDEX, component)), row)
                self.wide.store(
                    self.wide.load(self.out, place) + self.wide.widened(total.get()),
                    self.out,
                    place,
                )

    def _differences(self, j: Any, z: list[Vector]) -> tuple[list[Vector], Vector]:
        """x_j - z, in the element's precision once it is taken, and its square."""
        b, d = self.builder, self.plan.d
        x = [
            self.wide.broadcast(
                self.x, b.add(b.mul(j, ir.Constant(INDEX, d)), ir.Constant(INDEX, k))
            )
            for k in range(d)
        ]
        u = [self._narrowed(x_k - z_k) for x_k, z_k in zip(x, z, strict=True)]
        q = u[0] * u[0]
        for u_k in u[1:]:
            q = fma(u_k, u_k, q)
        return u, q

    def _terms(self, j: Any, u: list[Vector], q: Vector) -> Iterator[tuple[Vector, Vector]]:
        """Each component's term, as a product of two."""
        plan, e = self.plan, self.e
        closest = e.broadcast(
            self.coefficients,
            plan.polynomials * plan.terms + (2 if plan.what is What.LAPLACIAN else 0),
        )
        inverse = q.at_least(closest).rsqrt()
        y = fma(q * inverse, 2.0, -1.0)
        weight = q.where("<", 1.0, e.broadcast(self.w, j), 0.0)
        first = self._polynomial(0, y)
        if plan.what in (What.VALUE, What.BOTH):
            yield first, weight
        if plan.what in (What.GRAD, What.BOTH):
            force = (first if plan.what is What.GRAD else self._polynomial(1, y)) * (
                inverse * weight
            )
            for u_k in u:
                yield force, u_k
        if plan.what is What.LAPLACIAN:
            across, coincident = (
                e.broadcast(self.coefficients, 2 * plan.terms + k) for k in range(2)
            )
            apart = fma(self._polynomial(1, y) * inverse, across, first)
            yield q.where(">", closest, apart, coincident), weight

    def _polynomial(self, which: int, y: Vector) -> Vector:
        """Even and odd powers apart: two chains of operations, of half the length."""
        e, terms = self.e, self.plan.terms
        c = [e.broadcast(self.coefficients, which * terms + k) for k in range(terms)]
        s = y * y
        even, odd = c[terms - 2], c[terms - 1]
        for k in range(terms - 4, -1, -2):
            even, odd = fma(even, s, c[k]), fma(odd, s, c[k + 1])
        return fma(odd, y, even)

    def _narrowed(self, u: Vector) -> Vector:
        return (
            u
            if self.plan.element == "float64"
            else Vector(self.e, self.builder.fptrunc(u.value, self.e.type))
        )


def near_sums(
    split: Split, tol: float, what: What, w: np.ndarray, sources: Tiled, queries: Tiled
) -> np.ndarray:
    """(Q, K, components) in float64, for w (N, K) in the order of the sources' tiles; queries in
    the order of theirs.

    `tol`: relative to the peaks of the near part, times sum |w|.
    """
    d = sources.points.shape[1]
    radii = split.radius / split.unit
    element = (
        "float32"
        if tol >= 2**-23 and what is not What.LAPLACIAN and radii <= LARGEST_FLOAT32
        else "float64"
    )
    # of the laplacian: where there is no kink the last polynomial holds its second term too
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
    job = _Job(
        function(Plan(what, d, len(value), element, Processor.here())),
        np.concatenate(coefficients).astype(element),
        what.components(d),
    )
    out = np.zeros((len(queries.points), w.shape[1], what.components(d)))
    near = Neighbours(
        sources, queries, BLOCK, np.full(-(-len(queries.points) // BLOCK), split.radius)
    )
    parts = [
        near.batches(w, 1 / split.radius, np.dtype(np.float64), k, min(k + JOB, len(near)))
        for k in range(0, len(near), JOB)
    ]
    threads = min(torch.get_num_threads(), len(parts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(job, parts, [out] * len(parts)))
    else:
        for part in parts:
            job(part, out)
    return out


@dataclass(frozen=True)
class _Job:
    call: Callable[..., None]
    coefficients: np.ndarray
    components: int

    def __call__(self, part: Iterator[Batch], out: np.ndarray) -> None:
        for batch in part:
            if not len(batch.x):
                continue
            blocks, rows = len(batch.ends), len(batch.z)
            z = np.zeros((batch.z.shape[1], blocks * BLOCK))
            z[:, :rows] = batch.z.T
            for column in range(batch.w.shape[1]):
                w = np.ascontiguousarray(batch.w[:, column], dtype=self.coefficients.dtype)
                sums = np.zeros((self.components, blocks * BLOCK))
                arrays = (z, batch.x, w, batch.ends, self.coefficients, sums)
                self.call(*(array.ctypes.data for array in arrays), blocks, blocks * BLOCK)
                out[batch.first : batch.last, column] = sums[:, :rows].T
