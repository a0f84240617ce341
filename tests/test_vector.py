"""The vectors of a processor: each operation compiled and run, lane by lane, for this processor and
for any other of its architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from particleflow.pairwise.codegen.arrays import Array, NumbersInMemory, memory
from particleflow.pairwise.codegen.entry import machine_code
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.codegen.staging import staged
from particleflow.pairwise.codegen.values import WHOLE, Kind, Value, fma, select

PROCESSORS = [
    pytest.param(Processor.here(), id="here"),
    pytest.param(Processor("", ""), id="portable"),
]
ELEMENTS = ["float32", "float64"]


def run(
    body: Callable[[Array, Array], None],
    values: np.ndarray,
    processor: Processor,
    size: int | None = None,
    element: str | None = None,
) -> np.ndarray:
    """`body(input, output)` on an array; the output has `size` elements, else as many, of the
    input's type unless another is given.
    """
    out = np.full(size or len(values), 77, element or values.dtype)
    code = machine_code(body, [values.dtype.name, out.dtype.name], processor)
    code(values.ctypes.data, out.ctypes.data)
    return out


def each(
    operation: Callable[[Value], Value], values: np.ndarray, processor: Processor, lanes: int = 8
) -> np.ndarray:
    """An operation on every element; as many as lanes fill."""

    @staged
    def body(source: Array, out: Array) -> None:
        for i in range(WHOLE(len(values)), 0, -lanes):
            out.store(i - lanes, operation(source.load(i - lanes, lanes)))

    return run(body, values, processor)


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
        (lambda v: select(v > 1.0, v, 7.0), lambda v: np.where(v > 1, v, 7)),
        (
            lambda v: select((v > 1.0) & ~(v >= 1.5), 3.0, v),
            lambda v: np.where((v > 1) & (v < 1.5), 3, v),
        ),
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

    def body(source: Array, out: Array) -> None:
        v = source.load(0, 8)
        out.store(0, v.permuted([7, 6, 5, 4, 3, 2, 1, 0]))
        out.store(8, v.permuted([0, 8, 1, 9, 2, 10, 3, 11], v * 10.0))
        out.store(16, source.all_lanes(3, 8))
        out[24] = v.lane(5)
        out[25] = v.folded()
        out[26] = select((v > 6.0).any(), source[2], 0.0)
        out[27] = select((v > 7.0).any(), source[2], 0.0)

    got = run(body, x, Processor.here(), size=28)
    np.testing.assert_array_equal(got[:8], x[::-1])
    np.testing.assert_array_equal(got[8:16], [0, 0, 1, 10, 2, 20, 3, 30])
    np.testing.assert_array_equal(got[16:24], 3)
    np.testing.assert_array_equal(got[24:], [5, 28, 2, 0])


def test_loops_carry_variables_and_numbers_come_from_memory() -> None:
    """sum over i of (i + 0.25) 3, lane by lane, at odd addresses: loads need no alignment."""
    x = np.arange(1 + 8 * 5).astype(np.float32)

    @staged
    def body(source: Array, out: Array) -> None:
        lanes = Kind("float32", 8)
        numbers = NumbersInMemory(lanes, 4)
        total = lanes(0.0)
        for i in range(WHOLE(1), len(x), 8):
            with numbers.read():
                total = (source.load(i, 8) + 0.25) * 3.0 + total
        out.store(0, total)

    got = run(body, x, Processor.here(), size=8)
    np.testing.assert_allclose(got, (3 * (x[1:].reshape(5, 8) + 0.25)).sum(0), rtol=1e-6)


def test_memory_of_the_code_holds_what_was_stored() -> None:
    x = np.arange(16).astype(np.float32)

    @staged
    def body(source: Array, out: Array) -> None:
        room = memory("float32", 16).shaped(2, 8)
        for i in range(WHOLE(2)):
            room.store((1 - i, 0), source.load(i * 8, 8))
        out.store(0, room.load((0, 0), 8))
        out.store(8, room[1:].load((0, 0), 8))

    np.testing.assert_array_equal(run(body, x, Processor.here()), np.roll(x, 8))


def test_elements_convert() -> None:
    x = np.linspace(-3.75, 4, 8, dtype=np.float32)
    for element in ("float64", "int32", "float32"):

        def body(source: Array, out: Array) -> None:
            out.store(0, Kind(element, 8)(source.load(0, 8)))  # noqa: B023

        got = run(body, x, Processor.here(), element=element)
        np.testing.assert_array_equal(got, x.astype(element))


def test_kinds_that_do_not_mix_are_refused() -> None:
    def body(source: Array, out: Array) -> None:
        source.load(0, 8) + Kind("float64", 8)(1.0)

    with pytest.raises(TypeError, match="do not mix: convert one of them"):
        run(body, np.zeros(8, np.float32), Processor.here())


def test_lanes_fill_a_register() -> None:
    for features, lanes in (("+sse2,+avx,+fma", [8, 4]), ("+sse2,-avx,+avx512x", [4, 2])):
        assert [Processor("", features).lanes(element) for element in ELEMENTS] == lanes
    assert Processor("", "").rsqrt_estimate is None
    assert math.log2(Processor.here().lanes("float32")).is_integer()
