"""Names at the right ends of lines, moved apart where they would overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from particleflow.plotting.style import Theme

# Height of a line of text beside its size.
LEADING = 1.25
# Distance from the panel's edge to the names, in points.
AWAY = 10.0
# Width of a letter beside its height.
LETTER = 0.6
# Most inches that names may take; longer ones are made smaller.
ROOM = 1.7


class Ends:
    """The names of the lines of one panel; `write` draws them when all lines are there."""

    def __init__(self, ax: Axes, size: float, theme: Theme) -> None:
        self.ax, self.size, self.theme = ax, size, theme
        self.names: list[tuple[str, float, float, str]] = []

    @classmethod
    def room(cls, names: Sequence[str], size: float) -> float:
        """Return the inches that names at the ends of lines take."""
        longest = max(map(len, names))
        return min(ROOM, (AWAY + LETTER * size * longest) / 72) if longest else 0.0

    def add(self, name: str, x: float, y: float, colour: str) -> None:
        if name:
            self.names.append((name, x, y, colour))

    def write(self) -> None:
        """Draw the names beside the right edge, with a thin line to each end that is not there."""
        if not self.names:
            return
        ax = self.ax
        box, dpi = ax.get_window_extent(), ax.figure.dpi
        points = 72 / dpi
        ends = ax.transData.transform([(x, y) for _, x, y, _ in self.names])
        ends = (ends - (box.x0, box.y0)) * points
        height, width = box.height * points, box.width * points
        size = min(self.size, height / (LEADING * len(self.names)))
        wanted = np.clip(ends[:, 1], 0, height)
        levels = spread(wanted, LEADING * size, 0.4 * size, height - 0.4 * size)
        for (name, _, _, colour), end, level in zip(self.names, ends, levels, strict=True):
            fits = 72 * ROOM / (LETTER * max(1, len(name)))
            ax.annotate(
                name,
                (1.0, level / height),
                (AWAY, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=min(size, fits),
                color=colour,
                va="center",
                annotation_clip=False,
            )
            if abs(end[1] - level) > 1 or end[0] < width - 1:
                at = np.array([(end[0], np.clip(end[1], 0, height)), (width + 0.8 * AWAY, level)])
                x, y = (at / (width, height)).T
                style: dict[str, Any] = {
                    "color": colour,
                    "linewidth": 0.6,
                    "alpha": 0.7,
                    "clip_on": False,
                }
                ax.add_line(Line2D(x, y, transform=ax.transAxes, label="_name", **style))


def spread(
    wanted: Float[np.ndarray, "n"], gap: float, low: float, high: float
) -> Float[np.ndarray, "n"]:
    """Return places near the wanted ones, in their order, at least `gap` apart, in [low, high].

    The sum of squared moves is least: places that would overlap form blocks, centred on their
    members' mean.
    """
    order = wanted.argsort(kind="stable")
    blocks: list[list[float]] = []  # first place and number of members
    sums: list[float] = []  # of wanted places less the offset within the block
    for place in wanted[order]:
        blocks.append([place, 1])
        sums.append(place)
        while len(blocks) > 1 and blocks[-2][0] + gap * blocks[-2][1] > blocks[-1][0]:
            (_, more), (_, many) = blocks.pop(-1), blocks[-1]
            total = sums.pop(-1) - gap * many * more + sums[-1]
            sums[-1] = total
            blocks[-1] = [total / (many + more), many + more]
    rows = [first + gap * k for first, many in blocks for k in range(int(many))]
    count = len(rows)
    least = low + gap * np.arange(count)
    most = high - gap * np.arange(count)[::-1]
    found = np.empty(count)
    found[order] = np.maximum(np.minimum(rows, most), least)
    return found
