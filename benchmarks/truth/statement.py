"""A statement: words, a number, the range that the source states, and a verdict over seeds.

The range is that of the source, never one fitted to what was measured. Where a source states a
direction, the range is one-sided, such as a ratio above 1. Where it says "about", the range is a
factor of two to each side. Where it states digits, the range is half of the last digit, and for a
random number three standard errors of the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# The least number of seeds of a statement that something random enters.
LEAST_SEEDS = 10
# The verdicts that are not "holds for n of m".
HOLDS, FAILS = "holds", "fails"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A claim that a simulator can show.

    Parameters
    ----------
    name : str
        Short and unique: `python -m benchmarks truth --only NAME` shows it alone.
    words : str
        One plain sentence.
    source : str
        A paper and its section, or a page of the documentation.
    number : str
        What the number is, with its unit.
    low, high : float or None
        The stated range: low <= value <= high for each seed. None: no bound.
    measure : callable, seed -> value
        A pure function that pickles.
    seconds : float
        Rough cost of one seed on one core, in seconds.
    seeds : int
        At least 10; 1 where nothing is random.
    random : bool
        False: the seed changes nothing.
    note : str
        Why the statement fails, if it does.
    group : str
        Statements of one group measure the same runs, which a process keeps: they are measured
        together. Empty: the statement's own name.
    """

    name: str
    words: str
    source: str
    number: str
    low: float | None = None
    high: float | None = None
    measure: Callable[[int], float]
    seconds: float
    seeds: int = LEAST_SEEDS
    random: bool = True
    note: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError(f"`low` or `high` must be a number in '{self.name}', got None twice")
        if not self.group:
            object.__setattr__(self, "group", self.name)
        if not self.random:
            object.__setattr__(self, "seeds", 1)
        elif self.seeds < LEAST_SEEDS:
            raise ValueError(
                f"`seeds` must be >= {LEAST_SEEDS} in '{self.name}', got {self.seeds}: or pass"
                " random=False"
            )

    @property
    def command(self) -> str:
        """The command that shows this statement alone."""
        return f"python -m benchmarks truth --only {self.name}"

    @property
    def stated(self) -> str:
        """The range in words, such as "0.63 to 0.73" or "at most 1e-10"."""
        if self.low is None or (self.low == 0 and self.high is not None):
            return f"at most {self.high:.6g}"
        if self.high is None:
            return f"at least {self.low:.6g}"
        if self.low == self.high:
            return f"{self.low:.12g}"
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        if half < 9e-4 * abs(middle):
            return f"{middle:.12g} +- {half:.1g}"
        return f"{self.low:.6g} to {self.high:.6g}"

    def within(self, value: float | None) -> bool:
        """Whether a value lies in the range; None, a measurement that failed, does not."""
        return (
            value is not None
            and math.isfinite(value)
            and (self.low is None or self.low <= value)
            and (self.high is None or value <= self.high)
        )

    def verdict(self, values: Sequence[float | None]) -> str:
        """Return "holds", "fails" or "holds for n of m", by the seeds whose value is in the range.

        Raises
        ------
        ValueError
            There is no value.
        """
        if not values:
            raise ValueError("`values` must hold one value a seed, got none: measure a seed")
        inside = sum(map(self.within, values))
        if inside in (0, len(values)):
            return HOLDS if inside else FAILS
        return f"holds for {inside} of {len(values)}"
