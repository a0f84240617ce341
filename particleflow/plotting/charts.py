"""Curves of metrics and energies over the steps, with the floors of distances."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.plotting.ends import Ends
from particleflow.plotting.floors import floor_of
from particleflow.plotting.panels import fitting, quiet, sheet
from particleflow.plotting.records import named
from particleflow.plotting.sheets import (
    DPI,
    FONT,
    HEAD,
    given_axes,
    heading,
    picture,
    words,
    written,
)
from particleflow.plotting.style import Theme, readable, stroke, theme
from particleflow.plotting.ticks import Ticks, logarithmic, power
from particleflow.trajectory import Trajectory

# Least ratio of the values of a curve at which its axis is logarithmic.
DECADE = 10.0
# Least share of positive values of a curve on a logarithmic axis; the others are rounding.
MOSTLY = 0.9
# Quantiles of several runs between which the band lies.
BAND = (0.1, 0.9)
# Width and height of a panel, in inches.
PANEL = (3.3, 2.3)
# Margins of the sheet and gap between panels, in inches, without the names at the ends of lines.
MARGINS = (0.75, 0.2, 0.6, 0.25)
GAP = (0.85, 0.75)
# Columns of the sheet.
COLUMNS = 3

Group: TypeAlias = Sequence[Trajectory]


def curves(
    paths: Trajectory | Mapping[str, Trajectory | Sequence[Trajectory]],
    file: str | Path | None = None,
    *,
    metrics: Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    title: str = "",
    dark: bool = False,
    size: float | None = None,
    dpi: int = DPI,
) -> Figure:
    """Draw each metric, and each flow's own divergence estimate, against the number of steps.

    There is one panel for each metric and one curve for each name. Several runs of one name, e.g.
    of several seeds, are a median in a band from the 10 % to the 90 % quantile. The abscissa is the
    step, not the time, since each flow has its own time unit. The axis is named by the metric's
    label, or by its key in `Trajectory.metrics`. The axis is logarithmic where the values span more
    than a decade and at least nine tenths of them are positive; the others, rounding about zero,
    are then left out. A cross marks where a run ended early, with its status.

    Energies of different flows are different functionals. They are shown over their values at the
    start where these are positive, and as they are otherwise; the axis says which.

    A thin dashed line is the floor of W2, W1 or sliced W2: the distance of two fresh samples of the
    target of these sizes (`metrics.floor`), for clouds of at most 1000 points.

    Parameters
    ----------
    paths : Trajectory, or mapping of name to Trajectory or to several of them
    file : str or Path, optional
        Where to write it, .png .pdf .svg ...; returned unwritten otherwise.
    metrics : sequence of str
        The panels: keys of `Trajectory.metrics`, and "energy". All by default.
    ax : Axes, or a sequence of Axes
        Draw into these axes of your own figure, one for each panel.
    title : str
        Stands above the picture.
    dark : bool
        A dark ground, for slides.
    size : float
        Width of the figure, in inches. By default a panel is 3.3 inches wide.
    dpi : int
        Pixels per inch.

    Raises
    ------
    TypeError, ValueError
        No runs, runs in different spaces, a metric that no run has, an unknown kind of file, as
        many axes as there are not panels.
    OSError
        The file cannot be written.
    """
    groups = _grouped(paths)
    path = None if file is None else picture(file)
    charts = _charts(groups, metrics)
    cells = None if ax is None else given_axes(ax)
    if cells is not None and len(cells) != len(charts):
        keys = ", ".join(charts)
        remedy = f"pass {len(charts)} axes for {keys}, or choose some with `metrics`"
        raise RefusedValueError("ax", "must be one for each panel", f"{len(cells)} axes", remedy)
    words(title, "title")
    look = theme(_checks.flag(dark, "dark"))
    _checks.count(dpi, "dpi")
    if size is not None and cells is not None:
        remedy = "leave it out: `ax` belongs to a figure that has a size"
        raise RefusedValueError("size", "cannot be used with `ax`", _checks.said(size), remedy)
    wide = None if size is None else _checks.positive(size, "size")
    if cells is None:
        cells = _sheet(len(charts), list(groups), title, look, wide, dpi)
    elif title:
        heading(cells[0], title, look, 6.0)
    for ax, chart in zip(cells, charts.values(), strict=True):
        _draw(ax, groups, chart, look)
    whole = cells[0].get_figure(root=True)
    assert isinstance(whole, Figure)
    return written(whole, path, dpi)


@dataclass(frozen=True)
class Series:
    """The values of one name's runs: their median and quantiles at the steps."""

    steps: Float[np.ndarray, "T"]
    middle: Float[np.ndarray, "T"]
    low: Float[np.ndarray, "T"]
    high: Float[np.ndarray, "T"]

    @classmethod
    def of(cls, runs: Group, values: Sequence[Float[np.ndarray, "_"]]) -> Series:
        """Return the values at all recorded steps, between the records of a run by linear
        interpolation.
        """
        known = [
            (run.steps.cpu().numpy()[np.isfinite(v)], v[np.isfinite(v)])
            for run, v in zip(runs, values, strict=True)
        ]
        steps = np.unique(np.concatenate([at for at, _ in known])).astype(np.float64)
        rows = np.array(
            [
                np.interp(steps, at, v, np.nan, np.nan) if len(at) else np.full(len(steps), np.nan)
                for at, v in known
            ]
        )
        if len(rows) == 1:
            return cls(steps, rows[0], rows[0], rows[0])
        quantiles = [np.nanquantile(rows, share, axis=0) for share in (0.5, *BAND)]
        return cls(steps, *quantiles)


@dataclass(frozen=True)
class Chart:
    """One panel: the label of its axis, and for each name its curve and its floor."""

    label: str
    series: Mapping[str, Series]
    floors: Mapping[str, float | None]

    @property
    def values(self) -> Float[np.ndarray, "V"]:
        """All values on the lines and at the edges of the bands."""
        parts = [part for one in self.series.values() for part in (one.middle, one.low, one.high)]
        return np.concatenate(parts)

    @property
    def log(self) -> bool:
        """Tell whether the axis is logarithmic."""
        values = self.values
        positive = values[values > 0]
        return bool(
            positive.size >= MOSTLY * max(1, len(values))
            and positive.max() > DECADE * positive.min()
        )


def _grouped(paths: Any) -> dict[str, list[Trajectory]]:
    """The runs of each name."""
    if isinstance(paths, Mapping):
        paths = {
            str(name): list(runs) if isinstance(runs, list | tuple) else [runs]
            for name, runs in paths.items()
        }
        if empty := [name for name, runs in paths.items() if not runs]:
            remedy = "leave the name out"
            raise RefusedValueError("paths", "must hold a run for each name", empty, remedy)
        named({f"{name} {k}": run for name, runs in paths.items() for k, run in enumerate(runs)})
        return paths
    return {"": list(named(paths).values())}


def _charts(groups: Mapping[str, Group], metrics: Any) -> dict[str, Chart]:
    """The panels, in order of the runs' metrics, and the energy last."""
    runs = [run for group in groups.values() for run in group]
    labels = {k: v for run in runs for k, v in run.report.get("labels", {}).items()}
    known = list(dict.fromkeys(key for run in runs for key in run.metrics))
    energies = {n: [_array(run.energy) for run in group] for n, group in groups.items()}
    some = any(np.isfinite(e).any() for group in energies.values() for e in group)
    wanted = [*known, *["energy"] * (some or not known)]
    if metrics is not None:
        remedy = f"pass some of {', '.join(dict.fromkeys([*known, 'energy']))}"
        wanted = _checks.several(metrics, "metrics", remedy=remedy)
        if not wanted or not {*wanted} <= {*known, "energy"}:
            raise RefusedValueError("metrics", "must be names of metrics", wanted, remedy)
    made = {}
    for key in wanted:
        if key in known:
            having = {
                n: [run for run in group if key in run.metrics] for n, group in groups.items()
            }
            having = {name: group for name, group in having.items() if group}
            values = {n: [_array(run.metrics[key]) for run in g] for n, g in having.items()}
            label = typeset(labels.get(key, key))
            floors = {name: floor_of(group[0], key) for name, group in having.items()}
        else:
            having, floors = dict(groups), dict.fromkeys(groups)
            label, values = _comparable(groups, energies)
        series = {name: Series.of(having[name], values[name]) for name in having}
        made[key] = Chart(label, series, floors)
    return made


def _comparable(
    groups: Mapping[str, Group], energies: Mapping[str, list[Float[np.ndarray, "_"]]]
) -> tuple[str, Mapping[str, list[Float[np.ndarray, "_"]]]]:
    """Energies that may stand on one axis, and its label."""
    flows = {run.report.get("flow") for group in groups.values() for run in group}
    if len(flows) == 1:
        return "energy", energies
    starts = {n: [e[np.isfinite(e)][:1] for e in group] for n, group in energies.items()}
    if all((start > 0).all() for group in starts.values() for start in group):
        scaled = {
            n: [e / start if len(start) else e for e, start in zip(group, starts[n], strict=True)]
            for n, group in energies.items()
        }
        return "each flow's own energy / start", scaled
    return "energy (each flow's own)", energies


def typeset(label: str) -> str:
    """Write powers with a superscript: MMD² for MMD^2."""
    return re.sub(r"\^(-?\d+)", lambda found: power(int(found.group(1))), label)


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


def _draw(ax: Axes, groups: Mapping[str, Group], chart: Chart, theme: Theme) -> None:
    quiet(ax, 0.85 * FONT, theme)
    ax.spines[["top", "right"]].set_visible(False)
    ends = Ends(ax, 0.85 * FONT, theme)
    for k, (name, runs) in enumerate(groups.items()):
        if name in chart.series:
            _curve(ax, name, runs, chart, k, theme, ends)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10], min_n_ticks=3))
    label = chart.label
    values = chart.values[np.isfinite(chart.values)]
    _floors(ax, chart, list(groups), theme)
    if not len(values):
        style = {"ha": "center", "color": theme.faint, "fontsize": FONT}
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
    dts = {run.report.get("dt") for group in groups.values() for run in group}
    unit = (
        f"dt = {dts.pop():g}" if len(dts) == 1 and None not in dts else "each flow has its own dt"
    )
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
    good = np.isfinite(one.middle)
    if len(runs) > 1:
        ax.fill_between(one.steps, one.low, one.high, color=hue, alpha=0.18, linewidth=0, zorder=1)
    ax.plot(
        one.steps[good],
        one.middle[good],
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
    said = name
    early = [run for run in runs if run.status != "completed"]
    if early:
        end = one.steps[good][-1], one.middle[good][-1]
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
        many = f"{len(early)} of {len(runs)} " if len(runs) > 1 else ""
        said = ": ".join(filter(None, (name, many + early[0].status)))
    ends.add(said, one.steps[good][-1], one.middle[good][-1], readable(hue, theme.ground))


def _floors(ax: Axes, chart: Chart, names: list[str], theme: Theme) -> None:
    """Draw a line for each floor, grey where all names share it, with one label for all."""
    known = {n: value for n, value in chart.floors.items() if value is not None and value > 0}
    shared = len({*known.values()}) == 1
    for name, value in list(known.items())[: 1 if shared else None]:
        ax.axhline(
            value,
            color=theme.faint if shared else stroke(names.index(name), theme).colour,
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            zorder=1,
            label="_floor",
        )
    if known:
        ax.annotate(
            "floor: two fresh samples",
            (0.02, max(known.values())),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=0.75 * FONT,
            color=theme.faint,
            ha="left",
            va="bottom",
            zorder=4,
            bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def _array(tensor: Any) -> Float[np.ndarray, "_"]:
    return tensor.detach().cpu().double().numpy()
