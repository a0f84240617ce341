"""Colours, line styles and themes of all pictures, films and pages.

The colours of runs are those of Okabe and Ito (2008). Their yellow cannot be read on white: it is a
brown there, and lighter on a dark ground. Two runs differ by a colour that people with protanopia
and deuteranopia can tell apart (CIEDE2000 >= 15), or else by the style of their lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_hex, to_rgb

# Least contrast of text with its ground, the ratio of WCAG 2 for text of ordinary size.
CONTRAST = 4.5


@dataclass(frozen=True)
class Theme:
    """The colours of a picture that do not depend on the runs, as hex codes.

    Attributes
    ----------
    ground : the paper.
    ink : titles and names.
    faint : secondary text, such as the numbers at the ticks.
    target : the points of a target.
    spine : the frames of panels and thin lines.
    runs : the colours of runs, in order.
    """

    ground: str
    ink: str
    faint: str
    target: str
    spine: str
    runs: tuple[str, ...]

    @property
    def dark(self) -> bool:
        return luminance(self.ground) < 0.2


# Blue, vermillion, bluish green, reddish purple, orange and sky blue of Okabe and Ito.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LIGHT = Theme("#FFFFFF", "#1F2430", "#5F6774", "#B4BAC3", "#C9CDD3", (*HUES, "#1F2430", "#733626"))
DARK = Theme("#0E1218", "#EEF1F5", "#A7B0BD", "#5B6573", "#353D49", (*HUES, "#EEF1F5", "#FFFF66"))

# Dashes of lines in units of their width, as matplotlib takes them; "-" is a solid line.
Dashes = Literal["-"] | tuple[float, tuple[float, ...]]
DASHES: tuple[Dashes, ...] = (
    "-",
    (0, (4.5, 1.6)),
    (0, (1.1, 1.3)),
    (0, (6, 1.4, 1.1, 1.4)),
    (0, (2.4, 1.2)),
    (0, (6, 1.2, 1.1, 1.2, 1.1, 1.2)),
)
# The row of `DASHES` that each hue takes first: purple is near to blue, orange to vermillion.
FIRST = (0, 0, 0, 1, 1, 0, 0, 0)

# The tones of a quantity: viridis without its ends, which vanish on a dark or a light ground.
SEQUENTIAL = ("#46327E", "#365C8D", "#277F8E", "#1FA187", "#4AC16D", "#A0DA39")
# The tones of a quantity about zero: negative, zero and positive, as dark at both ends.
DIVERGING = ("#0B5A8C", "#6FAFD2", "#F4F4F2", "#EE9A6A", "#A63A00")
# The same tones on a dark ground.
DIVERGING_DARK = ("#74C3F0", "#2B7096", "#171C24", "#A9531F", "#F9A876")
# The tones of a quantity without a sign, from the ground on, and on a dark ground.
STRENGTH = ("#FFFFFF", "#B9DAEC", "#6CB0D8", "#2B7FB4")
STRENGTH_DARK = ("#0E1218", "#173B54", "#2A6F9A", "#5FB0E0")
# Hues of one lightness around the circle: the direction in which a particle began.
WHEEL = (
    "#D26A8C",
    "#CF7340",
    "#A88A1C",
    "#5F9F4A",
    "#00A68A",
    "#009FC0",
    "#6B8BD6",
    "#AC75BF",
    "#D26A8C",
)
# Share of the ink that is mixed into the colours of the innermost start positions.
MIDDLE = 0.45


class Stroke(NamedTuple):
    """The colour and the dashes of a line."""

    colour: str
    dashes: Dashes


def theme(dark: bool) -> Theme:
    """Return the colours on a dark or a light ground."""
    return DARK if dark else LIGHT


def colour(k: int, theme: Theme = LIGHT) -> str:
    """Return the colour of the k-th run, the same in pictures, films, curves and pages."""
    return theme.runs[k % len(theme.runs)]


def stroke(k: int, theme: Theme = LIGHT) -> Stroke:
    """Return colour and dashes of the k-th line; they repeat after 24 lines."""
    turn, hue = divmod(k, len(theme.runs))
    return Stroke(colour(k, theme), DASHES[(FIRST[hue] + 2 * turn) % len(DASHES)])


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, 0 ... 1 (WCAG 2)."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 ... 21 (WCAG 2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def readable(colour: str, ground: str) -> str:
    """Return the colour for text: darkened, or lightened, until its contrast is at least 4.5."""
    end = 0.0 if luminance(ground) > 0.2 else 1.0
    pure = np.array(to_rgb(colour))
    for share in np.linspace(0, 1, 41):
        mixed = to_hex(pure + share * (end - pure))
        if contrast(mixed, ground) >= CONTRAST:
            break
    return mixed


def toned(values: Float[np.ndarray, "..."], stops: tuple[str, ...]) -> Float[np.ndarray, "... 3"]:
    """Return the colours of values in [0, 1], linear between equally spaced stops."""
    at = np.linspace(0, 1, len(stops))
    channels = np.array([to_rgb(stop) for stop in stops]).T
    return np.stack([np.interp(values, at, channel) for channel in channels], axis=-1)


def begun(points: Float[np.ndarray, "N e"], theme: Theme = LIGHT) -> Float[np.ndarray, "N 3"]:
    """Return a colour for each start position.

    On a line: the rank, from violet to yellow-green. In the plane: the hue is the direction from
    the middle of the cloud, and the lightness is the rank of the distance to it.
    """
    if points.shape[1] == 1:
        return toned(_ranks(points[:, 0]), SEQUENTIAL)
    x, y = (points[:, :2] - points[:, :2].mean(0)).T
    hue = toned(np.arctan2(y, x) / (2 * np.pi) + 0.5, WHEEL)
    inner = MIDDLE * (1 - _ranks(np.hypot(x, y)))[:, None]
    return hue + inner * (np.array(to_rgb(theme.ink)) - hue)


def _ranks(values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    return values.argsort(kind="stable").argsort() / max(1, len(values) - 1)
