"""Staged functions: the same function run by Python is what the machine code has to agree with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest

from particleflow.pairwise.codegen.entry import Elements
from particleflow.pairwise.codegen.staging import staged

Floats = Annotated[np.ndarray, Elements("float64", 1)]
Rows = Annotated[np.ndarray, Elements("float64", 2)]
Cube = Annotated[np.ndarray, Elements("float64", 3)]
Integers = Annotated[np.ndarray, Elements("int64", 1)]
Short = Annotated[np.ndarray, Elements("int32", 1)]
Small = Annotated[np.ndarray, Elements("uint16", 1)]
Flags = Annotated[np.ndarray, Elements("bool", 1)]

NUMBERS = [0.0, -0.0, 1.5, -2.5, 7.0, 1e300, -1e-310, math.inf, -math.inf, math.nan]
WHOLE = [0, 1, -1, 7, -7, 12, 2**40, -(2**40) - 1]
OFFSET = 3


class Part(NamedTuple):
    values: Rows
    scale: float


class Whole(NamedTuple):
    first: Part
    count: int


@staged
def compare(a: float, b: float) -> int:
    code = 0
    if a < b:
        code += 1
    if a <= b:
        code += 2
    if a == b:
        code += 4
    if a != b:
        code += 8
    if a > b or (not a >= b and b == b):
        code += 16
    return code + (32 if a > 1 and b > 1 else 64)


@staged
def ends_of(a: float, b: float) -> tuple[float, float, float]:
    return min(a, b), max(a, b), abs(-a)


@staged
def arithmetic(a: int, b: int) -> tuple[int, int, int, int, int]:
    return a + b * OFFSET, (a - b) >> 1, -a, min(a, b), max(a, b)


@staged
def quotient(a: int, b: int) -> tuple[int, float]:
    return a // b, a / b


@staged
def functions(a: float) -> tuple[float, float]:
    return math.sqrt(a), math.log1p(a)


@staged
def truncated(a: float) -> int:
    return int(a)


@staged
def early(n: int, flag: bool) -> int:
    """Results from several places, with what is known while the code is written among them."""
    for k in range(n):
        if flag and k == 3:
            return 100 * k
        if k * k > 50:
            return k
    return -1


@staged
def steps(n: int, stop: int, hits: Integers) -> int:
    """Loops that are unrolled, that rise, that fall, that go on and that end early."""
    total = 0
    for k in range(stop, n):
        if k == 4:
            continue
        hits[k] += 1
        total += k + 10
    for j in range(n - 1, -1, -2):
        for i in range(n):
            if i > j:
                break
            total += i * j
    for k in range(3):
        for step in (1, 2):
            total += k * step
    waiting = n
    while waiting:
        waiting -= 1
        if waiting == 2:
            break
        total *= 2
    return total


@staged
def _scaled(part: Part, row: int) -> float:
    s = 0.0
    for k in range(part.values.shape[1]):
        s += part.values[row, k] * part.scale
    return s


@staged
def moved(
    whole: Whole,
    cube: Cube,
    floats: Floats,
    short: Short,
    small: Small,
    flags: Flags,
    second: bool,
) -> tuple[float, int]:
    n, d = whole.first.values.shape
    plane, rest = cube[1], floats[2:]
    row = plane[2] if second else cube[0, 1]
    total = 0.0
    for i in range(len(rest)):
        rest[i], floats[0] = floats[0] + i, rest[i]
    for k in range(len(row)):
        row[k] = low = high = row[k] * 2
        total += low - high / 3
    for i in range(len(short)):
        short[i], small[i] = small[i] - 7, short[i] if flags[i] else i
        flags[i] = not flags[i]
    for i in range(n):
        total += _scaled(whole.first, i)
    first, last = (1, n) if second else (0, whole.count)
    pair = (total, first)
    return pair[0] + (floats[last - 1] if last else 1), d + last - first


def plain(function: Any) -> Callable[..., Any]:
    """What was decorated, run by Python."""
    python: Callable[..., Any] = function.__wrapped__
    return python


def same(function: Any, *arguments: Any) -> None:
    np.testing.assert_array_equal(function(*arguments), plain(function)(*arguments))


def test_numbers_are_those_of_python() -> None:
    for a in NUMBERS:
        for b in NUMBERS:
            same(compare, a, b)
            got, expected = ends_of(a, b), plain(ends_of)(a, b)
            alike = np.array(got).tobytes() == np.array(expected).tobytes()
            assert alike or math.isnan(a) or math.isnan(b)
            np.testing.assert_array_equal(got, expected)
        if a >= 0:
            np.testing.assert_allclose(functions(a), plain(functions)(a), rtol=1e-15)
        if math.isfinite(a) and abs(a) < 2**63:
            same(truncated, a)
    for i in WHOLE:
        for j in WHOLE:
            same(arithmetic, i, j)
            if j:
                same(quotient, i, j)


def test_where_python_raises() -> None:
    assert [quotient(7, 0), quotient(-7, 0)] == [(7, math.inf), (-7, -math.inf)]
    assert [truncated(a) for a in (math.nan, math.inf, -1e300)] == [0, 2**63 - 1, -(2**63)]
    assert math.isnan(functions(-2.0)[0])


@pytest.mark.parametrize(("n", "stop"), [(0, 0), (1, 0), (7, 3), (12, 0), (5, 9)])
def test_loops_go_as_in_python(n: int, stop: int) -> None:
    ours, theirs = np.zeros(12, np.int64), np.zeros(12, np.int64)
    assert steps(n, stop, ours) == plain(steps)(n, stop, theirs)
    np.testing.assert_array_equal(ours, theirs)
    for flag in (True, False):
        same(early, n, flag)


@pytest.mark.parametrize("second", [True, False])
def test_arrays_and_tuples_change_as_in_python(
    second: bool,
) -> None:
    made = []
    for run in (moved, plain(moved)):
        rng = np.random.default_rng(3)
        arrays = (
            rng.standard_normal((2, 3, 4)),
            rng.standard_normal(6),
            rng.integers(0, 9, 5, np.int32),
            rng.integers(20, 60000, 5, np.uint16),
            rng.random(5) < 0.5,
        )
        result = run(Whole(Part(rng.standard_normal((5, 3)), 0.3), 4), *arrays, second)
        made.append((result, arrays))
    assert made[0][0] == made[1][0]
    for ours, theirs in zip(made[0][1], made[1][1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("argument", "got"),
    [
        (np.zeros(3), r"float64 \(3,\)"),
        (np.zeros((3, 3), np.float32), "float32"),
        (np.zeros((3, 4))[:, ::2], "strides"),
        (np.zeros((3, 4), order="F"), "strides"),
        ([[1.0]], r"\[\[1.0\]\]"),
    ],
    ids=["one axis", "float32", "every other column", "Fortran's order", "a list"],
)
def test_wrong_arrays_are_refused(argument: Any, got: str) -> None:
    wanted = r"`part\.values` must be a C-contiguous float64 array with 2 axes, got .*"
    with pytest.raises(TypeError, match=wanted + "(" + got + ")"):
        _scaled(Part(argument, 1.0), 0)


def test_wrong_scalars_are_refused() -> None:
    with pytest.raises(TypeError, match=r"`a` must be int, got 1\.5"):
        arithmetic(1.5, 2)
    with pytest.raises(TypeError, match="`a` must be float, got True"):
        truncated(True)
    with pytest.raises(TypeError, match="takes 2 arguments, got 1"):
        arithmetic(1)
    with pytest.raises(TypeError, match="`part` must be a tuple of 2"):
        _scaled(3, 0)


def retyped(a: float) -> float:
    b = 1
    b = a
    return b


def unassigned(a: float) -> float:
    a = c + a  # noqa: F821
    c = a
    c = c + 1
    return c


def endless(a: float) -> float:
    if a > 1:
        return a
    return None


def chained(a: float) -> bool:
    return 0 < a < 1


def condition(a: float) -> int:
    return 1 if a else 2


def called(a: float) -> float:
    return math.cosh(a)


def counted(a: int) -> int:
    for k in range(a):
        k += 1
    return k


def unrolled(a: int) -> int:
    for k in (1, 2):
        if a > k:
            break
    return a


def chosen(a: float) -> int:
    word = "small"
    if a > 1:
        word = "large"
    return len(word)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (retyped, "its first value sets its kind"),
        (unassigned, "`c` is used before it is assigned"),
        (endless, "does not fit what was there first"),
        (chained, "belongs in a @staged function"),
        (condition, "is not a condition"),
        (called, "cannot steer how it is written"),
        (counted, "loop counters and assigned too"),
        (unrolled, "this one is unrolled"),
        (chosen, "only numbers and arrays change"),
    ],
)
def test_what_cannot_be_compiled_is_refused(function: Any, why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        staged(function)(1)


def test_parameters_need_known_types() -> None:
    def bare(a):
        return a

    def dictionary(a: dict) -> None:
        return None

    for function, message in (
        (bare, r"\['a', 'return'\] need annotations"),
        (dictionary, "cannot compile for the annotation"),
    ):
        with pytest.raises(TypeError, match=message):
            staged(function)(1)
