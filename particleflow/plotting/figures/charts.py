"""Curves of metrics and energies over the steps, with the floors of distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.plotting.drawing.panels import fitting, quiet, sheet
from particleflow.plotting.drawing.sheets import (
    DPI,
    FONT,
    HEAD,
    given_axes,
    heading,
    picture,
    texts_of,
    words,
    written,
)
from particleflow.plotting.figures.ends import LEADING, LETTER, Ends
from particleflow.plotting.figures.series import Chart, Group, charts, grouped
from particleflow.plotting.scenes.ticks import Ticks, logarithmic
from particleflow.plotting.style import Theme, readable, stroke, theme
from particleflow.stopping import undisturbed
from particleflow.trajectory import Trajectory

# Width and height of a panel, in inches.
PANEL = (3.3, 2.3)
# Margins of the sheet and gap between panels, in inches, without the names at the ends of lines.
MARGINS = (0.75, 0.2, 0.6, 0.25)
GAP = (0.75, 0.75)
# The name of the line under a distance.
FLOOR = "floor: two fresh samples"
# Places at which curves are looked at to find a free one for this name.
DENSE = 400
# Ratio of floors up to which they are one line: they are estimates from few points.
ALIKE = 1.02
# Places along the floor at which its name may begin.
STARTS = 9
# Columns of the sheet.
COLUMNS = 3


def curves(
    paths: Trajectory | Mapping[str, Trajectory | Sequence[Trajectory]],
    file: str | Path | None = None,
    *,
    metrics: Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    title: str = "",
    dark: bool = False,
    size: float | None = None,
    dpi: int = DPI,
) -> Figure:
    """Draw each metric, and each flow's own divergence estimate, against the number of steps.

    There is one panel for each metric and one curve for each name, in any dimension. Several runs
    of one name, e.g. of several seeds, are a median in a band from the 10 % to the 90 % quantile.
    The abscissa is the step, not the time, since each flow has its own time unit. The axis is named
    by the metric's label, or by its key in `Trajectory.metrics`. The axis is logarithmic where the
    values span more than a decade and at least nine tenths of them are positive; the others,
    rounding about zero, are then left out. A cross marks where a run ended early, with its status.

    Energies of different flows are different functionals. They are shown over their values at the
    start where these are positive, and as they are otherwise; the axis says which.

    A thin dashed line is the floor of W2, W1 or sliced W2: the distance of two fresh samples of the
    target of these sizes (`metrics.floor`), for clouds of at most 1000 points.

    Parameters
    ----------
    paths : Trajectory, or mapping of name to Trajectory or to several of them
        The runs; a name stands at the end of its line.
    file : str or Path, optional
        Where to write it, .png .pdf .svg ...; returned unwritten otherwise.
    metrics : sequence of str, optional
        The panels: keys of `Trajectory.metrics`, and "energy". All by default.
    ax : Axes, or several, optional
        Draw into these axes of your own figure, one for each panel.
    title : str
        Stands above the picture.
    dark : bool
        A dark ground, for slides.
    size : float, optional
        Width of the figure, in inches. By default a panel is 3.3 inches wide.
    dpi : int
        Pixels per inch.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it. With `ax` it is the figure of these axes.

    Raises
    ------
    TypeError
        `paths` is no Trajectory and no mapping to them, or an option has another type.
    ValueError
        There is no run, the runs have different dimensions, no run has one of `metrics`, `file` has
        an unknown suffix, or `ax` has not as many axes as there are panels.
    OSError
        The file cannot be written, or its folder does not exist.

    Cost: about 0.1 s, and up to 0.5 s for the floor of a distance between clouds of 1000 points.

    >>> x0 = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> y = pf.samplers.Rings().sample(40, seed=1)
    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(0.2))
    >>> path = pf.simulate(flow, x0, y, steps=20, metrics={"W2": pf.metrics.W2()})
    >>> figure = pf.plotting.curves({"MMD flow": path}, "curves.svg")
    >>> [panel.get_ylabel() for panel in figure.axes]
    ['W2 (root)', 'energy']
    """
    groups = grouped(paths)
    path = None if file is None else picture(file)
    shown = charts(groups, metrics)
    cells = None if ax is None else given_axes(ax)
    if cells is not None and len(cells) != len(shown):
        keys = ", ".join(shown)
        remedy = f"pass {len(shown)} axes for {keys}, or choose some with `metrics`"
        raise RefusedValueError("ax", "must be one for each panel", f"{len(cells)} axes", remedy)
    title, kept = words(title, "title"), texts_of(cells)
    look = theme(_checks.flag(dark, "dark"))
    _checks.count(dpi, "dpi")
    if size is not None and cells is not None:
        remedy = "leave it out: `ax` belongs to a figure that has a size"
        raise RefusedValueError("size", "cannot be used with `ax`", _checks.said(size), remedy)
    wide = None if size is None else _checks.positive(size, "size")
    if cells is None:
        said = [_said(name, runs) for name, runs in groups.items()]
        cells = _sheet(len(shown), said, title, look, wide, dpi)
    elif title:
        heading(cells[0], title, look, 6.0)
    for ax, chart in zip(cells, shown.values(), strict=True):
        _draw(ax, groups, chart, look)
    whole = cells[0].get_figure(root=True)
    assert isinstance(whole, Figure)
    return written(whole, path, dpi, kept)


@undisturbed()
def _sheet(
    count: int, names: list[str], title: str, theme: Theme, wide: float | None, dpi: int
) -> list[Axes]:
    """The axes of a figure of its own, with room for names at the ends of lines."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    room = Ends.room(names, 0.85 * FONT)
    left, right, bottom, top = MARGINS
    top += HEAD * bool(title)
    across, down = GAP
    width, height = PANEL
    fixed = left + right + room + (columns - 1) * (across + room)
    if wide is not None:
        width = (wide - fixed) / columns
        if width < 1:
            remedy = f"pass {fixed + columns:.1f} or more, or choose some with `metrics`"
            raise RefusedValueError("size", f"must hold {columns} panels", f"{wide:g}", remedy)
    figure = sheet(
        rows,
        columns,
        (width, height),
        (left, right + room, bottom, top),
        (across + room, down),
        dpi,
        theme.ground,
    )
    for ax in figure.axes[count:]:
        ax.remove()
    if title:
        heading(figure.axes[0], title, theme, 6.0)
    return list(figure.axes)


@undisturbed()
def _draw(ax: Axes, groups: Mapping[str, Group], chart: Chart, theme: Theme) -> None:
    quiet(ax, 0.85 * FONT, theme)
    ax.spines[["top", "right"]].set_visible(False)
    ends = Ends(ax, 0.85 * FONT, theme)
    steps = np.concatenate([one.steps for one in chart.series.values()])
    if len(steps):
        span = float(steps.min()), float(steps.max())
        ax.set_xlim(*(span if span[0] < span[1] else np.add(span, (-0.5, 0.5))))
    for k, (name, runs) in enumerate(groups.items()):
        if name in chart.series:
            _curve(ax, name, runs, chart, k, theme, ends)
    if len(np.unique(steps)) == 1:
        ax.set_xticks(np.unique(steps))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10], min_n_ticks=3))
    label = chart.label
    values = chart.values[np.isfinite(chart.values)]
    _floors(ax, chart, list(groups), theme)
    if not len(values):
        style: dict[str, Any] = {"ha": "center", "color": theme.faint, "fontsize": FONT}
        ax.text(0.5, 0.5, "nothing was recorded", transform=ax.transAxes, **style)
        ax.set(xticks=[], yticks=[])
    elif chart.log:
        ax.set_yscale("log")
        ticks, marks = logarithmic(*ax.get_ylim())
        ax.set_yticks(ticks, marks)
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], min_n_ticks=3))
        label = Ticks.between(*ax.get_ylim()).on(ax.yaxis).said(label)
    _floor_name(ax, chart, theme)
    reports = [run.report for group in groups.values() for run in group]
    dts = {report.get("dt") for report in reports}
    unit = (
        f"dt = {dts.pop():g}" if len(dts) == 1 and None not in dts else "each flow has its own dt"
    )
    if any("lengths" in report for report in reports):
        unit = "of different lengths"
    ax.set_xlabel(
        f"{Ticks.between(*ax.get_xlim()).on(ax.xaxis).said('step')} ({unit})",
        fontsize=0.9 * FONT,
        color=theme.faint,
    )
    height = ax.get_window_extent().height / ax.figure.dpi
    ax.set_ylabel(label, fontsize=fitting(label, FONT, height), color=theme.ink)
    ends.write()


def _curve(
    ax: Axes, name: str, runs: Group, chart: Chart, k: int, theme: Theme, ends: Ends
) -> None:
    """Draw the line and the band of one name, and where its runs ended early."""
    one = chart.series[name]
    hue, dashes = stroke(k, theme)
    good = np.isfinite(one.median)
    if len(runs) > 1:
        ax.fill_between(one.steps, one.low, one.high, color=hue, alpha=0.18, linewidth=0, zorder=1)
    ax.plot(
        one.steps[good],
        one.median[good],
        color=hue,
        linewidth=1.7,
        linestyle=dashes,
        marker="o" if good.sum() == 1 else "",
        markersize=4,
        label=name,
        zorder=2,
    )
    if not good.any():
        return
    if any(run.status != "completed" for run in runs):
        end = one.steps[good][-1], one.median[good][-1]
        ax.plot(
            *end,
            marker="X",
            color=hue,
            markersize=8,
            markeredgecolor=theme.ground,
            linestyle="none",
            zorder=5,
            clip_on=False,
        )
    ends.add(
        _said(name, runs), one.steps[good][-1], one.median[good][-1], readable(hue, theme.ground)
    )


def _said(name: str, runs: Group) -> str:
    """What stands at the end of a line: its name, and the status of runs that ended early."""
    early = [run for run in runs if run.status != "completed"]
    many = f"{len(early)} of {len(runs)} " if len(runs) > 1 else ""
    return ": ".join(filter(None, (name, many + early[0].status if early else "")))


def _floors(ax: Axes, chart: Chart, names: list[str], theme: Theme) -> None:
    """Draw a line for each floor; one line, grey, where they cannot be told apart."""
    known = chart.known
    shared = bool(known) and max(known.values()) <= ALIKE * min(known.values())
    for name, value in list(known.items())[: 1 if shared else None]:
        ax.axhline(
            value,
            color=theme.faint if shared else stroke(names.index(name), theme).colour,
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            zorder=1,
            label="_floor",
        )


def _floor_name(ax: Axes, chart: Chart, theme: Theme) -> None:
    """Write what the highest floor is, where fewest points of the curves lie."""
    if not chart.known:
        return
    value = max(chart.known.values())
    points = 72 / ax.figure.dpi
    size = 0.75 * FONT
    wide, high = LETTER * size * len(FLOOR) / points, LEADING * size / points
    box = ax.get_window_extent()
    level = float(ax.transData.transform((0, value))[1])
    steps = np.linspace(*ax.get_xlim(), DENSE)
    lines = [np.interp(steps, one.steps, one.median) for one in chart.series.values() if len(one)]
    at = ax.transData.transform(
        [(x, y) for line in lines for x, y in zip(steps, line, strict=True)]
    )
    crossed = {}
    room = box.width - wide - 8 / points
    for x in box.x0 + 4 / points + np.linspace(0, 1, STARTS) * max(0.0, room):
        for above in (True, False):
            y = level if above else level - high
            inside = (at[:, 0] >= x) & (at[:, 0] <= x + wide) & (at[:, 1] >= y)
            below = not above and y < box.y0  # over the numbers of the axis
            count = int((inside & (at[:, 1] <= y + high)).sum()) + DENSE * below
            crossed[float(x), above] = count
    x, above = min(crossed, key=lambda place: crossed[place])
    ax.annotate(
        FLOOR,
        ((x - box.x0) / box.width, value),
        (0, 2 if above else -2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=size,
        color=theme.faint,
        ha="left",
        va="bottom" if above else "top",
        zorder=4,
    )
