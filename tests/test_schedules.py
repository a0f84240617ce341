"""Schedules of the step or of the time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from particleflow.clouds import Clock
from particleflow.schedules import (
    Constant,
    Cosine,
    Decreasing,
    Geometric,
    GeometricBetween,
    Piecewise,
    Power,
    as_schedule,
    by_step,
    by_time,
)


def at(step: int, t: float = 0.0) -> Clock:
    return Clock(t=t, step=step)


def test_constant() -> None:
    assert [Constant(0.3)(at(n)) for n in (0, 1, 10**6)] == [0.3] * 3


def test_power() -> None:
    schedule = Power(2.0, exponent=0.5, scale=10.0)
    assert schedule(at(0)) == 2.0
    assert schedule(at(30)) == pytest.approx(2.0 / math.sqrt(4.0), rel=1e-15)
    assert Power(2.0, exponent=1.0, scale=0.5, of=by_time)(at(99, t=1.5)) == pytest.approx(
        0.5, rel=1e-15
    )


def test_geometric_falls_in_stairs() -> None:
    """The published noise of MMD flow: 3, halved every 500 steps."""
    schedule = Geometric(3.0, ratio=0.5, every=500)
    assert [schedule(at(n)) for n in (0, 499, 500, 999, 1000, 1500)] == [
        3.0,
        3.0,
        1.5,
        1.5,
        0.75,
        0.375,
    ]


def test_geometric_may_be_smooth() -> None:
    schedule = Geometric(3.0, ratio=0.5, every=2.0, smooth=True, of=by_time)
    assert schedule(at(77, t=1.0)) == pytest.approx(3.0 / math.sqrt(2), rel=1e-15)
    assert Geometric(3.0, every=2.0, of=by_time)(at(77, t=1.9)) == 3.0


def test_geometric_between_two_values_ends_exactly() -> None:
    schedule = GeometricBetween(8.0, 0.1, 4)
    assert [schedule(at(n)) for n in (0, 2, 4, 9)] == [8.0, pytest.approx(0.8**0.5), 0.1, 0.1]
    rising = GeometricBetween(1.0, 4.0, 2.0, of=by_time)
    assert rising(at(99, t=1.0)) == pytest.approx(2.0, rel=1e-15)


def test_cosine_begins_and_ends_flat() -> None:
    schedule = Cosine(3.0, 1.0, 8)
    assert [schedule(at(n)) for n in (0, 4, 8, 80)] == [3.0, pytest.approx(2.0), 1.0, 1.0]
    ends = schedule(at(0)) - schedule(at(1)), schedule(at(7)) - schedule(at(8))
    assert ends[0] == pytest.approx(1 - math.cos(math.pi / 8), rel=1e-12)
    assert ends[1] == pytest.approx(ends[0], rel=1e-12)
    assert Cosine(0.0, 2.0, 4.0, of=by_time)(at(0, t=3.0)) == pytest.approx(1 + math.sqrt(0.5))


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (Cosine, (1.0, 2.0, 0), "`length` must be > 0, got 0: it is the number of steps"),
        (GeometricBetween, (1.0, 0.0, 5), "`final` must be > 0"),
        (GeometricBetween, (-1.0, 1.0, 5), "`initial` must be > 0"),
        (GeometricBetween, (1.0, 1.0, -5), "`length` must be > 0"),
    ],
)
def test_schedules_with_an_end_refuse(kind: Any, arguments: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(*arguments)


def test_piecewise_takes_its_new_value_on_the_boundary() -> None:
    schedule = Piecewise([10, 20], [1.0, 0.5, 0.0])
    assert [schedule(at(n)) for n in (0, 9, 10, 19, 20, 10**6)] == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]
    assert Piecewise([0.5], [1.0, 2.0], of=by_time)(at(9, t=0.4)) == 1.0
    assert Piecewise([], [4.0])(at(3)) == 4.0


def test_decreasing_with_the_square_root_of_the_value() -> None:
    rule = Decreasing(0.5)
    assert rule.next(0.5, 4.0, 1.0) == 0.25
    assert [rule.next(0.5, 2.0, value) for value in (2.0, 3.0, math.inf)] == [
        0.5
    ] * 3  # never above its start
    assert rule.next(0.5, 2.0, 1e-8) == pytest.approx(0.5 * math.sqrt(5e-9), rel=1e-15)
    assert [Decreasing(0.5, least=0.1).next(0.5, 4.0, value) for value in (1.0, 1e-9, 0.0)] == [
        0.25,
        0.1,
        0.1,
    ]


def test_decreasing_stays_positive() -> None:
    """Clouds that coincide, and values that rounding has made negative."""
    rule = Decreasing(0.5)
    assert 0 < rule.next(0.5, 1.0, 0.0) == rule.next(0.5, 1.0, -1e-17) < 1e-6
    assert rule.next(0.5, 0.0, 0.0) == rule.next(0.5, -1e-17, 0.3) == 0.5


def test_decreasing_resumes_from_its_memory() -> None:
    """A run cut anywhere goes on with the same bits: the past is in the memory alone, which saves
    as arrays.
    """
    values = [3.0, 2.5, 2.6, 0.7, 0.3]
    rule, memory, whole = Decreasing(0.2), {}, []
    for value in values:
        whole.append(rule.at(memory))
        memory = rule.after(memory, value)
    assert whole == [0.2, *(0.2 * math.sqrt(value / 3.0) for value in values[:-1])]
    for cut in range(len(values)):
        memory, resumed = {}, []
        for n, value in enumerate(values):
            if n == cut:
                memory = {
                    name: torch.from_numpy(array.numpy().copy()) for name, array in memory.items()
                }
            resumed.append(Decreasing(0.2).at(memory))
            before = {name: array.clone() for name, array in memory.items()}
            memory, passed = rule.after(memory, value), memory
            assert all(torch.equal(passed[name], before[name]) for name in before)
        assert resumed == whole


def test_of_the_step_or_of_the_time() -> None:
    assert by_step(at(7, t=0.3)) == 7.0
    assert by_time(at(7, t=0.3)) == 0.3


@pytest.mark.parametrize(
    "schedule",
    [Constant(1.0), Power(1.0), Geometric(1.0), Piecewise([3], [1.0, 2.0])],
    ids=lambda s: type(s).__name__,
)
def test_noise_schedules_are_called_with_the_fit_too(schedule: Any) -> None:
    assert schedule(at(2), object()) == schedule(at(2))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(math.nan), "`value` must be finite, got nan"),
        (lambda: Power(1.0, scale=0.0), "`scale` must be > 0, got 0"),
        (lambda: Power(math.inf), "`initial` must be finite, got inf"),
        (lambda: Decreasing(0.0), "`start` must be > 0, got 0: it is the first lam"),
        (lambda: Decreasing(math.inf), "`start` must be finite, got inf"),
        (lambda: Decreasing(0.1, least=-1.0), "`least` must be >= 0, got -1"),
        (lambda: Decreasing(0.1, least=0.2), "`least` must be <= `start`, got 0.2 > 0.1"),
        (lambda: Geometric(1.0, ratio=0.0), "`ratio` must be > 0, got 0"),
        (lambda: Geometric(1.0, every=-5.0), "`every` must be > 0, got -5"),
        (
            lambda: Piecewise([1, 2], [1.0, 2.0]),
            "`values` must be one more than `boundaries`, got 2 values and 2 boundaries",
        ),
        (lambda: Piecewise([2, 2], [1.0, 2.0, 3.0]), r"`boundaries` must increase, got \[2, 2\]"),
        (
            lambda: as_schedule(-0.1, "noise"),
            (
                r"`noise` must be >= 0, got -0.1: pass a number, a schedule such as"
                r" pf.schedules.Geometric"
            ),
        ),
    ],
)
def test_bad_schedules_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_numbers_and_callables_are_schedules() -> None:
    mine = lambda clock: 1.0 / (1 + clock.step)
    assert as_schedule(None, "noise") is None
    assert as_schedule(mine, "noise")(Clock(step=3), None) == mine(Clock(step=3))
    both = lambda clock, fit: 1.0
    assert as_schedule(both, "noise") is both
    assert as_schedule(0.25, "noise") == Constant(0.25)
