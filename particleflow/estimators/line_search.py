"""Armijo's line search: how long a step is that lowers a function by a fair share of its slope."""

from __future__ import annotations

from collections.abc import Iterator

# The share of the decrease that the slope promises which a step must reach (Nocedal and Wright
# 2006, section 3.1).
ARMIJO = 1e-4


def lengths(shortest: float) -> Iterator[float]:
    """1, 1/2, 1/4 ... as long as they exceed `shortest`."""
    length = 1.0
    while length > shortest:
        yield length
        length /= 2


def low_enough(
    after: float, before: float, slope: float, length: float, *, slack: float = 0.0
) -> bool:
    """Armijo's condition: after <= before + ARMIJO length slope + slack, slope < 0 of a descent."""
    return after <= before + ARMIJO * length * slope + slack
