"""The vectors of a processor: each operation compiled and run, lane by lane, for this processor and
for any other of its architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from particleflow.pairwise.codegen.processor import Processor, compiled
from particleflow.pairwise.codegen.vector import (
    INDEX,
    ConstantTable,
    Emit,
    Vector,
    fma,
    keep_stack_aligned,
    lanes_for,
)

PROCESSORS = [
    pytest.param(Processor.here(), id="here"),
    pytest.param(Processor("", ""), id="portable"),
]
ELEMENTS = ["float32", "float64"]


def run(
    body: Callable[[Emit, Any, Any], None],
    values: np.ndarray,
    processor: Processor,
    lanes: int = 8,
    size: int | None = None,
) -> np.ndarray:
    """`body(emit, input pointer, output pointer)` on an array; the output has `size` elements, else
    as many.
    """
    module = ir.Module("test")
    pointer = (ir.FloatType() if values.dtype == np.float32 else ir.DoubleType()).as_pointer()
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [pointer, pointer, INDEX]), "body"
    )
    keep_stack_aligned(function)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    start = builder.append_basic_block("start")
    builder.branch(start)
    builder.position_at_end(start)
    estimate = processor.rsqrt_estimate if values.dtype == np.float32 else None
    body(Emit(builder, values.dtype.name, lanes, rsqrt_estimate=estimate), *function.args[:2])
    builder.ret_void()
    out = np.full(size or len(values), np.nan, values.dtype)
    compiled(module, "body", processor, pointers=2, integers=1)(
        values.ctypes.data, out.ctypes.data, 0
    )
    return out


def each(
    operation: Callable[[Vector], Vector], values: np.ndarray, processor: Processor, lanes: int = 8
) -> np.ndarray:
    """An operation on every element; as many as lanes fill."""

    def body(e: Emit, source: Any, out: Any) -> None:
        with e.loop(0, len(values), lanes) as i:
            e.store(operation(e.load(source, i)), out, i)

    return run(body, values, processor, lanes)


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(
    ("element", "lowest", "tolerance"), [("float32", 127, 4e-7), ("float64", 1023, 3e-15)]
)
def test_powers_of_two(element: str, lowest: int, tolerance: float, processor: Processor) -> None:
    q = np.concatenate([np.arange(8), np.linspace(0, lowest - 1.5, 4088)]).astype(element)
    got = each(lambda v: v.exp2_minus(), q, processor).astype(np.float64)
    np.testing.assert_array_equal(got[:8], 0.5 ** np.arange(8))
    np.testing.assert_allclose(got, np.exp2(-q.astype(np.float64)), rtol=tolerance)


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(("element", "lowest"), [("float32", 127.0), ("float64", 1023.0)])
def test_powers_of_two_underflow_to_zero(element: str, lowest: float, processor: Processor) -> None:
    """Exactly, so that far pairs are nothing; between the smallest normal number and zero nothing
    is negative or large.
    """
    q = np.array(
        [lowest, lowest + 1e-3, lowest + 300, 1e9, 1e30, np.finfo(element).max, np.inf, lowest],
        element,
    )
    np.testing.assert_array_equal(each(lambda v: v.exp2_minus(), q, processor), 0.0)
    edge = np.linspace(lowest - 1.5, lowest, 64).astype(element)
    got = each(lambda v: v.exp2_minus(), edge, processor)
    assert (got >= 0).all()
    assert (got <= 4 * np.finfo(element).tiny).all()


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(("element", "tolerance"), [("float32", 3e-7), ("float64", 4e-16)])
def test_square_roots(element: str, tolerance: float, processor: Processor) -> None:
    s = np.geomspace(1e-30, 1e30, 4096).astype(element)
    exact = np.sqrt(s.astype(np.float64))
    for lanes in (4, 8, 32):
        np.testing.assert_allclose(
            each(lambda v: v.rsqrt(), s, processor, lanes), 1 / exact, rtol=tolerance
        )
        np.testing.assert_allclose(
            each(lambda v: v.root(1e-30), s, processor, lanes), exact, rtol=tolerance
        )
    np.testing.assert_array_equal(
        each(lambda v: v.root(1e-30), np.zeros(8, element), processor), 0.0
    )


@pytest.mark.parametrize("element", ELEMENTS)
def test_arithmetic_lane_by_lane(element: str) -> None:
    x = np.random.default_rng(0).uniform(0.5, 2, 24).astype(element)
    operations: list[tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = [
        (lambda v: 1.0 + v * 2.0 - v / 4.0 + 3.0 / v, lambda v: 1 + v * 2 - v / 4 + 3 / v),
        (lambda v: 2.0 - v - 0.5, lambda v: 1.5 - v),
        (lambda v: -v * 3.0, lambda v: -3 * v),
        (lambda v: 2.0 * v, lambda v: 2 * v),
        (lambda v: (v * 4.0).floor(), lambda v: np.floor(v * 4)),
        (lambda v: fma(v, v, 1.0), lambda v: v * v + 1),
        (lambda v: v.polynomial([1.0, -2.0, 3.0]), lambda v: 1 - 2 * v + 3 * v**2),
        (lambda v: v.at_least(1.0), lambda v: np.maximum(v, 1)),
        (lambda v: v.at_most(1.0), lambda v: np.minimum(v, 1)),
        (lambda v: v.where(">", 1.0, v, 7.0), lambda v: np.where(v > 1, v, 7)),
        (lambda v: v.sqrt(), np.sqrt),
    ]
    for ours, theirs in operations:
        np.testing.assert_allclose(
            each(ours, x, Processor.here()),
            theirs(x.astype(np.float64)),
            rtol=8 * np.finfo(element).eps,
        )


def test_bounds_keep_nans() -> None:
    x = np.array([np.nan, 1, -1, 0] * 2, np.float32)
    for bounded in (
        lambda v: v.at_least(0.0),
        lambda v: v.at_most(0.0),
        lambda v: v + 1.0,
        lambda v: fma(v, v, v),
    ):
        np.testing.assert_array_equal(np.isnan(each(bounded, x, Processor.here())), np.isnan(x))


@pytest.mark.parametrize("element", ELEMENTS)
def test_lanes_move(element: str) -> None:
    x = np.arange(8).astype(element)

    def body(e: Emit, source: Any, out: Any) -> None:
        v = e.load(source, 0)
        e.store(v.permuted([7, 6, 5, 4, 3, 2, 1, 0]), out, 0)
        e.store(v.permuted([0, 8, 1, 9, 2, 10, 3, 11], v * 10.0), out, 8)
        e.store(e.broadcast(source, 3), out, 16)
        e.store(e.pack([v.lane(k) for k in (5, 5, 0, 0, 1, 1, 2, 2)]), out, 24)
        e.store_scalar(v.total(), out, 32)

    got = run(body, x, Processor.here(), size=33)
    np.testing.assert_array_equal(got[:8], x[::-1])
    np.testing.assert_array_equal(got[8:16], [0, 0, 1, 10, 2, 20, 3, 30])
    np.testing.assert_array_equal(got[16:24], 3)
    np.testing.assert_array_equal(got[24:32], [5, 5, 0, 0, 1, 1, 2, 2])
    assert got[32] == 28


def test_loops_carry_variables_and_numbers_come_from_memory() -> None:
    """sum over i of (i + 0.25) 3, lane by lane, at odd addresses: loads need no alignment."""
    x = np.arange(1 + 8 * 5).astype(np.float32)

    def body(e: Emit, source: Any, out: Any) -> None:
        numbers, total = ConstantTable(e, 4), e.variable(0.0)
        with e.loop(1, len(x), 8) as i, e.numbers_from_memory(numbers):
            total.set((e.load(source, i) + 0.25) * 3.0 + total.get())
        e.store(total.get(), out, 0)

    got = run(body, x, Processor.here(), size=8)
    np.testing.assert_allclose(got, (3 * (x[1:].reshape(5, 8) + 0.25)).sum(0), rtol=1e-6)


def test_float32_widens() -> None:
    x = np.linspace(0, 1, 8, dtype=np.float32)

    def body(e: Emit, source: Any, out: Any) -> None:
        e.like("float64").store(e.like("float64").widened(e.load(source, 0)), out, 0)

    np.testing.assert_array_equal(
        run(body, x, Processor.here(), size=16).view(np.float64), x.astype(np.float64)
    )


def test_lanes_fill_a_register() -> None:
    assert [lanes_for(element, "+sse2,+avx,+fma") for element in ELEMENTS] == [8, 4]
    assert [lanes_for(element, "+sse2,-avx,+avx512x") for element in ELEMENTS] == [4, 2]
    assert Processor("", "").rsqrt_estimate is None
    assert math.log2(lanes_for("float32", Processor.here().features)).is_integer()
