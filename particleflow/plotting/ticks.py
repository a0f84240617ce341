"""Numbers along an axis that stay short: far from zero they are told from an offset, very large or
small ones in a unit, and the axis says which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axis import Axis

# An axis is told from an offset where it is so many times nearer to its middle than zero is.
FAR = 1e3
# Numbers between these need no unit.
SMALL, LARGE = 1e-2, 1e5


@dataclass(frozen=True)
class Ticks:
    """How the numbers between two ends are written: (number - offset) / unit."""

    offset: float = 0.0
    unit: float = 1.0
    digits: int = 9
    """Of a number, behind the point: what is less is rounding."""

    @classmethod
    def between(cls, low: float, high: float) -> Ticks:
        """A round offset where the ends are far from zero, and a power of ten as unit where what is
        left is large or small.
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
        """Are the numbers written as they are?"""
        return self.offset == 0 and self.unit == 1

    def text(self, value: float) -> str:
        """A number as it stands at the axis."""
        return f"{round((value - self.offset) / self.unit, self.digits) + 0.0:g}".replace(
            "-", "\N{MINUS SIGN}"
        )

    def said(self, name: str) -> str:
        """What the numbers are: `(x - 5.4e6) / 1e-9`."""
        sign = "\N{MINUS SIGN}" if self.offset > 0 else "+"
        shifted = f"{name} {sign} {_short(abs(self.offset))}" if self.offset else name
        if self.unit == 1:
            return shifted
        return (
            f"({shifted}) / {_short(self.unit)}" if self.offset else f"{name} / {_short(self.unit)}"
        )

    def on(self, axis: Axis) -> Ticks:
        """Write the numbers of an axis so."""
        axis.set_major_formatter(lambda value, _: self.text(value))
        return self


def _short(value: float) -> str:
    """All digits in the shorter of two ways: 5400316 or 5.4e6."""
    digits, _, power = f"{value:.14e}".partition("e")
    return min(f"{value:.15g}", f"{digits.rstrip('0').rstrip('.')}e{int(power)}", key=len)
