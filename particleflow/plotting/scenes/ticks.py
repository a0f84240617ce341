"""Short numbers along an axis, by an offset and a unit that the axis names.

Numbers far from zero are written from an offset. Very large or small numbers are written in a unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator

# Least distance of an axis from zero, in its half lengths, at which numbers are written from an
# offset.
FAR = 1e3
# Numbers below this need a unit.
SMALL = 1e-2
# Numbers from here on need a unit.
LARGE = 1e5
# Numbers from here on are written without a power of ten along a logarithmic axis.
SMALLEST = 1e-3
# Least and largest number of ticks of a logarithmic axis.
FEWEST = 3
MOST = 6
# Digits and signs as superscripts.
RAISED = str.maketrans("-0123456789", "\N{SUPERSCRIPT MINUS}⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Ticks:
    """The way to write numbers between two ends: (number - offset) / unit."""

    offset: float = 0.0
    unit: float = 1.0
    digits: int = 9
    """Number of decimals; further decimals are rounding."""

    @classmethod
    def between(cls, low: float, high: float) -> Ticks:
        """Choose offset and unit for the numbers between two ends.

        The offset is round where the ends are far from zero. The unit is a power of ten where the
        remaining numbers are large or small.
        """
        width, most = high - low, max(abs(low), abs(high))
        offset = 0.0
        if most > FAR * width > 0:
            step = 10.0 ** math.ceil(math.log10(width))
            offset = round((low + high) / 2 / step) * step
        left = max(abs(low - offset), abs(high - offset))
        unit = 1.0 if SMALL <= left < LARGE or left == 0 else 10.0 ** math.floor(math.log10(left))
        return cls(offset, unit, 4 - math.floor(math.log10(width / unit)) if width > 0 else 9)

    @property
    def plain(self) -> bool:
        """Tell whether the numbers are written as they are."""
        return self.offset == 0 and self.unit == 1

    def text(self, value: float) -> str:
        """Return a number as it stands at the axis."""
        return f"{round((value - self.offset) / self.unit, self.digits) + 0.0:g}".replace(
            "-", "\N{MINUS SIGN}"
        )

    def said(self, name: str) -> str:
        """Return what the numbers are: `(x - 5.4e6) / 1e-9`."""
        sign = "\N{MINUS SIGN}" if self.offset > 0 else "+"
        shifted = f"{name} {sign} {_short(abs(self.offset))}" if self.offset else name
        if self.unit == 1:
            return shifted
        return (
            f"({shifted}) / {_short(self.unit)}" if self.offset else f"{name} / {_short(self.unit)}"
        )

    def on(self, axis: Axis) -> Ticks:
        """Write the numbers of an axis in this way."""
        axis.set_major_formatter(lambda value, _: self.text(value))
        return self


def logarithmic(low: float, high: float) -> tuple[list[float], list[str]]:
    """Return at least three ticks of a logarithmic axis between two ends, and their labels.

    They are powers of ten, or those with 3, with 2 and 5, or with all digits between them. Round
    numbers at equal distances serve ends that are too near to each other for these.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, -(-(last - first) // MOST))
    for digits in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        powers = range(-(-first // every) * every, last + 1, every)
        found = [d * 10.0**k for k in powers for d in digits]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) >= FEWEST:
            break
    else:
        found = [
            tick
            for tick in MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=3).tick_values(low, high)
            if low <= tick <= high
        ]
    plain = found[0] >= SMALLEST and found[-1] < LARGE
    return found, [f"{tick:g}" if plain else _scientific(tick) for tick in found]


def power(exponent: int) -> str:
    """Return an exponent as a superscript: ⁻³."""
    return str(exponent).translate(RAISED)


def _scientific(value: float) -> str:
    digits, _, exponent = f"{value:.3e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return ("" if digits == "1" else f"{digits}·") + "10" + power(int(exponent))


def _short(value: float) -> str:
    """Return all digits in the shorter of two ways: 5400316 or 5.4e6."""
    digits, _, power = f"{value:.14e}".partition("e")
    return min(f"{value:.15g}", f"{digits.rstrip('0').rstrip('.')}e{int(power)}", key=len)
