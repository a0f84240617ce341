"""Small multiples: panels of lines, bands and dots that share one key, for many names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from particleflow.plotting.drawing.panels import fitting, quiet, sheet
from particleflow.plotting.drawing.sheets import DPI, FONT, picture, written
from particleflow.plotting.scenes.ticks import Ticks, logarithmic
from particleflow.plotting.style import LIGHT, Theme, stroke
from particleflow.stopping import undisturbed

# Width and height of a panel, in inches.
PANEL = (2.75, 1.9)
# The same where there are only one or two panels, by their number.
LARGER = {1: (5.6, 3.4), 2: (4.2, 2.7)}
# Opacity of a band, and of one without an upper end.
SHADE = 0.14
OPEN = 0.05
# Margins of the sheet (left, right, bottom, top) and gaps between panels, in inches.
MARGINS = (0.65, 0.15, 0.5, 0.3)
GAP = (0.5, 0.65)
# Most columns of the sheet.
COLUMNS = 4
# Height of a row of the key, and length of its lines, in inches.
ROW = 0.22
SAMPLE = 0.42
# Size of the text beside the panels, in points.
SMALL = 0.85 * FONT
# Share of a logarithmic axis that is left free below and above the values.
FREE = 0.06
# Least distance of two ticks of a logarithmic axis, as a share of it.
NEAREST = 0.1
# Least ratio of the ends of a logarithmic axis.
NARROWEST = 1.6


@dataclass(frozen=True)
class Line:
    """A line, of the colour and dashes that belong to `index`, with a band if it has ends.

    Values that are not finite are left out; a band without an upper end reaches the edge.
    """

    index: int
    x: Float[np.ndarray, "P"]
    y: Float[np.ndarray, "P"]
    low: Float[np.ndarray, "P"] | None = None
    high: Float[np.ndarray, "P"] | None = None
    marker: str = ""


@dataclass(frozen=True)
class Dots:
    """Single values; infinite ones lie at the upper edge as triangles."""

    x: Float[np.ndarray, "P"]
    y: Float[np.ndarray, "P"]


@dataclass(frozen=True)
class Multiple:
    """What one panel shows, in data.

    Attributes
    ----------
    title : stands above the panel.
    along : name of the abscissa.
    lines, dots : what is drawn.
    level : a thin line across, e.g. a floor.
    mark : a thin line upwards, e.g. a default.
    log : whether the axes are logarithmic, x and y.
    words : names of the places 0, 1, ... of the abscissa, where it has no numbers.
    """

    title: str = ""
    along: str = ""
    lines: Sequence[Line] = field(default_factory=list)
    dots: Sequence[Dots] = field(default_factory=list)
    level: float | None = None
    mark: float | None = None
    log: tuple[bool, bool] = (False, True)
    words: Sequence[str] = ()


@undisturbed()
def multiples(
    panels: Sequence[Multiple],
    names: Sequence[str],
    file: str | Path | None = None,
    *,
    label: str = "",
    level: str = "",
    theme: Theme = LIGHT,
    dpi: int = DPI,
) -> Figure:
    """Draw the panels row by row under one key, in which the k-th name has the k-th stroke.

    `label` names the ordinate, `level` the thin line across.

    Raises
    ------
    ValueError
        An unknown kind of file.
    OSError
        The file cannot be written.
    """
    path = None if file is None else picture(file)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    left, right, bottom, top = MARGINS
    size = LARGER.get(len(panels), PANEL)
    inside = columns * size[0] + (columns - 1) * GAP[0]
    entries = [*names, *([level] if level else [])]
    widest = SAMPLE + 0.2 + 0.6 * SMALL * max(map(len, entries)) / 72
    across = max(1, min(len(entries), int(inside / widest)))
    key = -(-len(entries) // across) * ROW + 0.12
    figure = sheet(rows, columns, size, (left, right, bottom, top + key), GAP, dpi, theme.ground)
    _key(figure, entries, len(names), across, inside / across, theme)
    for k, ax in enumerate(figure.axes):
        if k >= len(panels):
            ax.remove()
            continue
        draw(ax, panels[k], theme)
        title = panels[k].title
        ax.set_title(
            title,
            loc="left",
            fontsize=fitting(title, FONT, size[0]),
            color=theme.ink,
            fontweight="bold",
            parse_math=False,
            pad=4,
        )
        if k % columns == 0:
            small = fitting(label, SMALL, size[1])
            ax.set_ylabel(label, fontsize=small, color=theme.faint, parse_math=False)
    return written(figure, path, dpi)


@undisturbed()
def single(panel: Multiple, size: tuple[float, float], theme: Theme = LIGHT) -> Figure:
    """Draw one panel without its title, in a figure of `size` inches."""
    right, bottom, top = 0.17, 0.4, 0.06
    figure = sheet(1, 1, size, (0, 0, 0, 0), (0, 0), 72, theme.ground)
    (ax,) = figure.axes
    draw(ax, panel, theme)
    longest = max(len(label.get_text()) for label in ax.get_yticklabels())
    left = 0.14 + 0.62 * SMALL * longest / 72
    wide, high = size[0] - left - right, size[1] - bottom - top
    ax.set_position((left / size[0], bottom / size[1], wide / size[0], high / size[1]))
    return figure


def draw(ax: Axes, panel: Multiple, theme: Theme = LIGHT) -> None:
    """Draw one panel, without its title."""
    quiet(ax, SMALL, theme)
    ax.spines[["top", "right"]].set_visible(False)
    _limits(ax, panel)
    thin: dict[str, Any] = {"linewidth": 0.9, "zorder": 1}
    if panel.level is not None:
        ax.axhline(panel.level, color=theme.faint, linestyle=(0, (5, 3)), **thin)
    if panel.mark is not None:
        ax.axvline(panel.mark, color=theme.faint, linestyle=(0, (1, 1.5)), **thin)
    for dots in panel.dots:
        _dots(ax, dots, theme)
    for line in panel.lines:
        _line(ax, line, theme)
    ax.set_xlabel(panel.along, fontsize=SMALL, color=theme.faint, parse_math=False, labelpad=2)


def _line(ax: Axes, line: Line, theme: Theme) -> None:
    hue, dashes = stroke(line.index, theme)
    good = np.isfinite(line.y)
    if line.low is not None and line.high is not None:
        edge, closed = ax.get_ylim()[1], np.isfinite(line.high)
        ends = line.low, np.where(closed, line.high, edge)
        style: dict[str, Any] = {"color": hue, "linewidth": 0, "zorder": 1.5}
        for where, alpha in ((closed, SHADE), (~closed & np.isfinite(line.low), OPEN)):
            if where.any():
                ax.fill_between(line.x, *ends, where=where, alpha=alpha, **style)
    style = {"color": hue, "linewidth": 1.5, "linestyle": dashes, "zorder": 3}
    ax.plot(line.x[good], line.y[good], marker=line.marker, markersize=3, **style)


def _dots(ax: Axes, dots: Dots, theme: Theme) -> None:
    hue, edge = theme.runs[0], ax.get_ylim()[1]
    sound = np.isfinite(dots.y)
    style: dict[str, Any] = {"linestyle": "none", "alpha": 0.45, "zorder": 2, "clip_on": False}
    style |= {"markeredgewidth": 0, "markersize": 3.2}
    ax.plot(dots.x[sound], dots.y[sound], marker="o", color=hue, **style)
    lost = dots.x[~sound]
    style |= {"color": theme.runs[1], "markersize": 4.5, "alpha": 0.8}
    ax.plot(lost, np.full(len(lost), edge), marker="^", **style)


def _limits(ax: Axes, panel: Multiple) -> None:
    """The scales, limits and ticks, which follow the finite values."""
    parts: list[Line | Dots] = [*panel.lines, *panel.dots]
    across = [part.x for part in parts]
    up = [part.y for part in parts]
    for line in panel.lines:
        up += [end for end in (line.low, line.high) if end is not None]
    across += [] if panel.mark is None else [np.array([panel.mark])]
    up += [] if panel.level is None else [np.array([panel.level])]
    marked = bool(panel.dots) or any(line.marker for line in panel.lines)
    for axis, limit, values, log, free in (
        (ax.xaxis, ax.set_xlim, across, panel.log[0], FREE * marked),
        (ax.yaxis, ax.set_ylim, up, panel.log[1], FREE),
    ):
        flat = np.concatenate([*values, np.empty(0)])
        flat = flat[np.isfinite(flat) & ((flat > 0) | (not log))]
        low, high = (flat.min(), flat.max()) if len(flat) else (0.5, 2.0)
        if log:
            wide = (max(NARROWEST, high / low) / (high / low)) ** 0.5
            low, high = low / wide, high * wide
            pad = (high / low) ** free
            low, high = low / pad, high * pad
            axis.axes.set(**{f"{axis.axis_name}scale": "log"})
            limit(low, high)
            axis.set_ticks(*_apart(*logarithmic(low, high), low, high))
            axis.set_minor_locator(NullLocator())
        elif axis is ax.xaxis and panel.words:
            limit(-0.5, len(panel.words) - 0.5)
            axis.set_ticks(range(len(panel.words)), list(panel.words))
        else:
            pad = free * (high - low) or 0.5 * (high == low)
            limit(low - pad, high + pad)
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=3))
            Ticks.between(low, high).on(axis)


def _apart(
    ticks: Sequence[float], labels: Sequence[str], low: float, high: float
) -> tuple[list[float], list[str]]:
    """The ticks of a logarithmic axis that are far enough from each other, powers of ten first."""
    kept: dict[float, str] = {}
    whole = np.log(high / low)
    for tick, label in sorted(
        zip(ticks, labels, strict=True), key=lambda pair: (np.log10(pair[0]) % 1 > 1e-9, pair[0])
    ):
        if all(abs(np.log(tick / other)) >= NEAREST * whole for other in kept):
            kept[tick] = label
    return list(kept), list(kept.values())


def _key(
    figure: Figure, entries: Sequence[str], many: int, across: int, step: float, theme: Theme
) -> None:
    """Write the key above the panels: a line and a name for each entry."""
    width, height = figure.get_size_inches()
    for k, name in enumerate(entries):
        row, column = divmod(k, across)
        x, y = MARGINS[0] + column * step, height - 0.12 - (row + 0.5) * ROW
        hue, dashes = stroke(k, theme) if k < many else (theme.faint, (0, (5, 3)))
        ends = [x / width, (x + SAMPLE) / width], [y / height] * 2
        thick = 1.8 if k < many else 0.9
        figure.add_artist(Line2D(*ends, color=hue, linestyle=dashes, linewidth=thick))
        style: dict[str, Any] = {"fontsize": SMALL, "color": theme.ink, "va": "center"}
        figure.text((x + SAMPLE + 0.08) / width, y / height, name, parse_math=False, **style)
