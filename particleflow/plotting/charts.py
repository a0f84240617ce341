"""Curves of metrics and energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from particleflow.arrival import FEWEST
from particleflow.clouds import Cloud
from particleflow.metrics import W1, W2, SlicedW2, floor
from particleflow.plotting.panels import fitting, quiet, sheet
from particleflow.plotting.records import named
from particleflow.plotting.sheets import DPI, FONT, picture, written
from particleflow.plotting.style import LIGHT, colour
from particleflow.plotting.ticks import Ticks
from particleflow.trajectory import Trajectory

# Least ratio of the values of a curve at which its axis is logarithmic.
DECADE = 10.0
# Least share of positive values of a curve on a logarithmic axis; the others are rounding.
MOSTLY = 0.9
# Distances with a floor, by their labels.
DISTANCES = {metric.label: metric for metric in (W2(), W1(), SlicedW2())}
# Most points of a cloud for which the floor is computed, in some 0.5 s.
MEASURED = 1000


def curves(paths: Trajectory | Mapping[str, Trajectory], file: str | Path | None = None) -> Figure:
    """Draw each metric, and each flow's own divergence estimate, against the number of steps.

    There is one panel for each metric and one curve for each run. The abscissa is the step, not the
    time, since each flow has its own time unit. The axis is named by the metric's label, or by its
    key in `Trajectory.metrics`. The axis is logarithmic where the values span more than a decade
    and at least nine tenths of them are positive; the others, rounding about zero, are then left
    out. A cross marks where a run ended early, with its status.

    A thin dashed line is the floor of W2, W1 or sliced W2: the distance of two fresh samples of the
    target of these sizes (`metrics.floor`), for clouds of at most 1000 points.

    Parameters, errors: see `snapshots`.
    """
    runs = named(paths)
    path = None if file is None else picture(file)
    panels: dict[str, dict[str, Float[np.ndarray, "T"]]] = {}
    for name, run in runs.items():
        for metric, values in run.metrics.items():
            panels.setdefault(metric, {})[name] = values.detach().cpu().double().numpy()
    own = "energy" if len(runs) == 1 else "energy (each flow's own)"
    energies = {name: run.energy.detach().cpu().double().numpy() for name, run in runs.items()}
    if any(np.isfinite(e).any() for e in energies.values()) or not panels:
        panels[own] = energies
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = sheet(
        rows, columns, (3.3, 2.3), (0.75, 0.2, 0.6, 0.55 if any(runs) else 0.2), (0.85, 0.75), DPI
    )
    for ax in figure.axes[len(panels) :]:
        ax.remove()
    labels = {
        metric: label
        for run in runs.values()
        for metric, label in run.report.get("labels", {}).items()
    }
    for ax, (metric, series) in zip(figure.axes, panels.items(), strict=True):
        _curve(
            ax,
            runs,
            labels.get(metric, metric),
            series,
            {name: _floor(runs[name], metric) for name in series},
        )
    if any(runs):
        lines = [
            Line2D([], [], color=colour(k), linewidth=2.2, label=name)
            for k, name in enumerate(runs)
        ]
        beside = max(1, min(len(runs), 2 * columns))
        figure.legend(
            handles=lines,
            loc="upper center",
            ncols=beside,
            frameon=False,
            fontsize=FONT,
            labelcolor=LIGHT.ink,
            handlelength=1.4,
        )
    return written(figure, path)


def _floor(run: Trajectory, metric: str) -> float | None:
    """Return the least distance to the target that can be expected.

    None means that it is not known or takes too long.
    """
    of = DISTANCES.get(run.report.get("labels", {}).get(metric, metric))
    if (
        of is None
        or run.target is None
        or not FEWEST <= len(run.target) <= MEASURED
        or run.particles.shape[1] > MEASURED
    ):
        return None
    try:
        return floor(
            of, Cloud(run.target, log_mass=run.target_log_mass), run.particles.shape[1]
        ).value
    except ImportError:  # POT is missing
        return None


def _curve(
    ax: Axes,
    runs: Mapping[str, Trajectory],
    label: str,
    values: Mapping[str, Float[np.ndarray, "_"]],
    floors: Mapping[str, float | None],
) -> None:
    quiet(ax, 0.85 * FONT)
    ax.spines[["top", "right"]].set_visible(False)
    for k, (name, run) in enumerate(runs.items()):
        if name not in values:
            continue
        steps, curve = run.steps.cpu().numpy(), values[name]
        good = np.isfinite(curve)
        ax.plot(
            steps[good],
            curve[good],
            color=colour(k),
            linewidth=1.6,
            marker="o" if good.sum() == 1 else "",
            markersize=4,
            label=name,
        )
        if run.status != "completed" and good.any():
            end = steps[good][-1], curve[good][-1]
            ax.plot(
                *end,
                marker="X",
                color=colour(k),
                markersize=8,
                markeredgecolor="white",
                linestyle="none",
                zorder=5,
                clip_on=False,
            )
            word = ax.annotate(
                run.status,
                end,
                (7, 3),
                textcoords="offset points",
                fontsize=0.85 * FONT,
                color=colour(k),
            )
            word.set_annotation_clip(False)
    everything = np.concatenate(list(values.values()))
    finite = everything[np.isfinite(everything)]
    _draw_floors(ax, [name for name in runs if name in floors], list(runs), floors)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if not len(finite):
        ax.text(
            0.5,
            0.5,
            "nothing was recorded",
            transform=ax.transAxes,
            ha="center",
            color=LIGHT.faint,
            fontsize=FONT,
        )
        ax.set(xticks=[], yticks=[])
    elif (positive := finite[finite > 0]).size >= MOSTLY * len(
        finite
    ) and positive.max() > DECADE * positive.min():
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
        if positive.max() < DECADE**2 * positive.min():
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    dts = {run.report.get("dt") for run in runs.values()}
    unit = (
        f"dt = {dts.pop():g}" if len(dts) == 1 and None not in dts else "each flow has its own dt"
    )
    ax.set_xlabel(
        f"{Ticks.between(*ax.get_xlim()).on(ax.xaxis).said('step')} ({unit})",
        fontsize=0.9 * FONT,
        color=LIGHT.faint,
    )
    if len(finite) and ax.get_yscale() == "linear":
        label = Ticks.between(*ax.get_ylim()).on(ax.yaxis).said(label)
    ax.set_ylabel(
        label,
        fontsize=fitting(label, FONT, ax.get_window_extent().height / ax.figure.dpi),
        color=LIGHT.ink,
    )


def _draw_floors(
    ax: Axes, names: Sequence[str], runs: Sequence[str], floors: Mapping[str, float | None]
) -> None:
    """Draw a line for each value, grey where all runs share it, with one label for all."""
    known = [(name, value) for name in names if (value := floors[name]) is not None and value > 0]
    shared = len({value for _, value in known}) == 1
    for name, value in known[:1] if shared else known:
        ax.axhline(
            value,
            color=LIGHT.faint if shared else colour(runs.index(name)),
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            zorder=1,
            label="_floor",
        )
    if known:
        top = max(value for _, value in known)
        ax.annotate(
            "floor: two fresh samples",
            (0.02, top),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=0.75 * FONT,
            color=LIGHT.faint,
            ha="left",
            va="bottom",
            zorder=4,
            bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
