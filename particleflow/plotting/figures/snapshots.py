"""Snapshots of runs, for papers and talks: runs as rows and moments as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.plotting.drawing.look import Look, framed
from particleflow.plotting.drawing.panels import TALLEST, Panel, fitting, sheet
from particleflow.plotting.drawing.pictures import Pictures
from particleflow.plotting.drawing.sheets import (
    DPI,
    FONT,
    given_axes,
    head,
    headed,
    heading,
    picture,
    texts_of,
    words,
    written,
)
from particleflow.plotting.figures.spacetime import beside, spacetime
from particleflow.plotting.scenes.known import LogDensity
from particleflow.plotting.scenes.records import named, recorded, telling
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.views import Perspective
from particleflow.plotting.style import colour, readable
from particleflow.samplers.base import Density
from particleflow.stopping import undisturbed
from particleflow.trajectory import Trajectory

# Number of moments that are shown by default.
COLUMNS = 5
# Least and largest width of a panel, in inches, and the width that all panels share.
WIDTHS = (1.9, 3.2)
SHARED = 10.5
# Least width of a panel that `size` may ask for, in inches.
NARROWEST = 0.6
# Width of the picture in space and time, with the densities at its side, in panels.
BESIDE = 2.1
# Height over width of a panel of a flow on a line, and its width beside that of others.
TALL = 0.95
NARROWER = 0.7
# Width of these densities, in panels.
DENSITY = 0.4


def snapshots(
    paths: Trajectory | Mapping[str, Trajectory],
    file: str | Path | None = None,
    *,
    records: Sequence[int] | None = None,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    title: str = "",
    color: Any = "flow",
    trails: float | bool = False,
    arrows: bool = False,
    axes: tuple[int, int] | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    density: Density | LogDensity | None = None,
    as_images: tuple[int, int] | None = None,
    dark: bool = False,
    size: float | None = None,
    dpi: int = DPI,
) -> Figure:
    """Draw runs as rows and moments as columns, on common axes of equal scale.

    Each run's target lies underneath, in grey. What is drawn depends on the dimension:

    - d = 1: the paths in space and time, beside the densities of target and last cloud, and
      histograms over rugs.
    - d = 2: the particles.
    - d = 3: a view in perspective; points far away are smaller and fainter.
    - d > 3: the plane of the first two principal axes of the target (of the last particles without
      one). The axes tell their shares of the variance.

    A cloud of more than 20000 points is shown as a density. Its tones mean the same in all panels,
    and the middle tone is the density of the target. Its axes leave out the outermost thousandth on
    each side. Particles farther from target and starts than the extent of both are counted, not
    shown. Marker areas are proportional to the masses of an unbalanced flow.

    Parameters
    ----------
    paths : Trajectory or mapping of name to Trajectory
        Runs in one dimension; a name stands beside its row.
    file : str or Path, optional
        Where to write it, .png .pdf .svg ...; returned unwritten otherwise.
    records : sequence of int, optional
        Columns, as indices (negative ones count from the end) into the steps at which anything was
        recorded. A run without a record at such a step shows its last one before; a run that ended
        has no further panels. Default: five, equally far apart along the particles' paths.
    ax : Axes, or several, optional
        Draw into these axes of your own figure, row by row: one for each run and moment. A single
        one shows the last record by default.
    title : str
        Stands above the picture.
    color : str, or (N,) labels
        "flow": each run has a colour. "start": each particle has the colour of the place where it
        began, the hue by the direction from the middle of the cloud and the lightness by the
        distance. "speed": |v| on a logarithmic scale, recorded with `SaveAt(velocity=True)`, or
        else the move to the next record over its time. "mass": the masses of an unbalanced flow.
        Labels, whole numbers or texts, of at most 32 classes: the class of each particle, in the
        colours of the player.
    trails : float or bool
        Share of the path, 0 to 1, that is drawn behind each particle (of at most 2000, d > 1). True
        is 1.
    arrows : bool
        Velocities of at most 90 particles, on one scale in all panels of a run (d > 1).
    axes : (i, j), optional
        Show coordinates i and j of points in d > 1, counted from 0.
    xlim, ylim : (low, high), optional
        Limits of the axes, in units of the coordinates; `xlim` alone where d = 1, with `axes` where
        d = 3.
    density : density or callable, optional
        A target whose density p is known, as Langevin flows have it: what has `log_density`, such
        as a sampler, or a function from z (Q, d) to log p (Q,), up to a constant. It is drawn in
        grey (d <= 2).
    as_images : (height, width), optional
        Show the first 36 particles as pictures, height * width = d, beside points of the target.
    dark : bool
        A dark ground, for slides.
    size : float, optional
        Width of the figure, in inches. Default: up to 12, by the number of columns.
    dpi : int
        Pixels per inch.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it; pyplot does not know it, so it needs no `close`. With `ax` it is the
        figure of these axes.

    Raises
    ------
    TypeError
        `paths` is no Trajectory and no mapping to them, or an option has another type.
    ValueError
        There is no run, the runs have different dimensions, a record does not exist, or `file` has
        an unknown suffix. Or an option has another value, or does not act on these runs: trails and
        arrows in d = 1, color="mass" of equal masses, limits in perspective, a density in d > 2.
    OSError
        The file cannot be written, or its folder does not exist.

    Cost: about 0.2 s for five panels of 1000 particles as a PNG, 0.5 s for five of a million.

    >>> x0 = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> y = pf.samplers.Rings().sample(40, seed=1)
    >>> path = pf.simulate(pf.mmd_flow(pf.kernels.Gaussian(0.2)), x0, y, steps=20)
    >>> figure = pf.plotting.snapshots(
    ...     {"MMD flow": path}, "flow.png", records=[0, 10, -1], trails=0.2
    ... )
    >>> len(figure.axes)  # a panel for each moment
    3
    """
    runs = named(paths)
    path = None if file is None else picture(file)
    look = Look.asked(
        runs, color=color, trails=trails, arrows=arrows, dark=dark, as_images=as_images
    )
    frame = framed(runs, look, axes=axes, xlim=xlim, ylim=ylim, density=density)
    cells = None if ax is None else _given(ax, len(runs))
    title, kept = words(title, "title"), texts_of(cells)
    _checks.count(dpi, "dpi")
    wide = None if size is None else _wide(size, cells)
    columns = COLUMNS if cells is None else len(cells) // len(runs)
    steps = _moments(runs, records, columns, fixed=cells is not None)
    scene = Scene.of(runs, steps, **frame)
    if cells is not None:
        _fill(cells, scene, look, corner=True)
        if title:
            heading(cells[0], title, look.theme, 8.0 + 1.3 * FONT)
        whole = cells[0].get_figure(root=True)
        assert isinstance(whole, Figure)
        return written(whole, path, dpi, kept)
    return written(_sheet(scene, look, title, wide, dpi), path)


@undisturbed()
def _sheet(scene: Scene, look: Look, title: str, wide: float | None, dpi: int) -> Figure:
    """Return a figure of its own with all panels."""
    runs, theme = scene.paths, look.theme
    columns = len(scene.steps) + bool(look.as_images and _aims(runs))
    aspect = 1.0 if look.as_images else scene.aspect if scene.flat else TALL
    space = not isinstance(scene.view, Perspective) and not look.as_images
    label = 0.1 + 0.3 * any(runs)
    left = label + (0.35 * scene.flat + 0.25 * bool(scene.labels[1])) * space
    gap, right = 0.12, 0.15
    line = (0.6, BESIDE) if not scene.flat else (0.0, 0.0)
    width = max(WIDTHS[0], min(WIDTHS[1], SHARED / columns)) * min(1.0, TALLEST / aspect)
    width *= 1.0 if scene.flat else NARROWER
    if wide is not None:
        width = (wide - left - line[0] - right - (columns - 1) * gap) / (columns + line[1])
        if width < NARROWEST:
            least = wide + (NARROWEST - width) * (columns + line[1])
            remedy = f"pass {least:.1f} or more, or fewer records"
            raise RefusedValueError("size", f"must hold {columns} panels", f"{wide:g}", remedy)
    bottom = (0.32 + 0.23 * bool(scene.labels[0])) if space else 0.12
    top = headed(title, look)
    start = left + line[0] + line[1] * width
    figure = sheet(
        len(runs),
        columns,
        (width, width * aspect),
        (start, right, bottom, 0.36 + top),
        (gap, 0.36 + (0.25 if not scene.flat else 0.0)),
        dpi,
        theme.ground,
    )
    cells = list(figure.axes)
    if top:
        head(figure, title, scene, look, left if space else label)
    _fill(cells, scene, look, corner=False)
    for row, name in enumerate(runs):
        box = cells[row * columns].get_position()
        if not scene.flat:
            _line(figure, scene, name, row, look, left, width, box)
        figure.text(
            0.13 / figure.get_figwidth(),
            (box.y0 + box.y1) / 2,
            name,
            rotation=90,
            va="center",
            ha="center",
            fontsize=fitting(name, 1.2 * FONT, width * aspect),
            fontweight="bold",
            color=readable(colour(row, theme), theme.ground),
        )
    return figure


def _line(
    figure: Figure,
    scene: Scene,
    name: str,
    row: int,
    look: Look,
    left: float,
    width: float,
    box: Bbox,
) -> None:
    """Draw one run in space and time at the left of its histograms."""
    across = figure.get_figwidth()
    hue, last = colour(row, look.theme), row == len(scene.paths) - 1
    main = (BESIDE - DENSITY) * width
    inches = ((left + 0.35, main), (left + 0.35 + main, DENSITY * width))
    one, other = (
        figure.add_axes((start / across, box.y0, size / across, box.height))
        for start, size in inches
    )
    spacetime(one, scene, name, hue, look, size=FONT, outer=last)
    beside(other, scene, name, hue, look, size=FONT)


@undisturbed()
def _fill(cells: Sequence[Axes], scene: Scene, look: Look, *, corner: bool) -> None:
    """Draw all panels; `corner`: the axes are the user's, and the first one has no neighbours."""
    columns = len(cells) // len(scene.paths)
    ends = [int(run.steps[-1]) for run in scene.paths.values()]
    shown = [  # a run that ended has no further panels
        [k == 0 or k >= len(scene.steps) or scene.steps[k - 1] < end for k in range(columns)]
        for end in ends
    ]
    for row, name in enumerate(scene.paths):
        for column, ax in enumerate(cells[row * columns : (row + 1) * columns]):
            if not shown[row][column]:
                ax.set_axis_off()
                continue
            outer = (column == 0, not any(below[column] for below in shown[row + 1 :]))
            hue = colour(row, look.theme)
            panel = Pictures if look.as_images else Panel
            made = panel(ax, scene, name, hue, size=FONT, outer=outer, look=look)
            if column < len(scene.steps):
                made.show(scene.steps[column])
            elif isinstance(made, Pictures):
                made.show_target()


def _aims(runs: Mapping[str, Trajectory]) -> bool:
    return any(run.target is not None for run in runs.values())


def _wide(size: Any, cells: Sequence[Axes] | None) -> float:
    if cells is not None:
        remedy = "leave it out: `ax` belongs to a figure that has a size"
        raise RefusedValueError("size", "cannot be used with `ax`", _checks.said(size), remedy)
    return _checks.positive(size, "size", remedy="pass the width of the figure in inches, e.g. 8.0")


def _given(ax: Any, rows: int) -> list[Axes]:
    """The user's axes, row by row."""
    flat = given_axes(ax)
    if len(flat) % rows:
        came, remedy = f"{len(flat)} for {rows} runs", "pass one for each run and moment"
        raise RefusedValueError("ax", "must have as many axes for each run", came, remedy)
    return flat


def _moments(
    runs: Mapping[str, Trajectory], records: Any, columns: int, *, fixed: bool
) -> list[int]:
    """The steps that are shown."""
    steps = recorded(runs)
    if records is None:
        chosen = telling(runs, columns) if columns > 1 else steps[-1:]
    else:
        chosen = [steps[k] for k in _indices(records, len(steps))]
    if fixed and len(chosen) != columns:
        came = f"{len(chosen)} moments for {columns} axes a run"
        remedy = "pass as many records as axes, each once"
        raise RefusedValueError("ax", "must have one of the axes for each moment", came, remedy)
    return chosen


def _indices(records: Any, count: int) -> list[int]:
    remedy = f"there are {count} records"
    some = _checks.several(records, "records", remedy="pass indices, e.g. [0, -1]")
    found = [_checks.count(k, "records", least=-count, remedy=remedy) for k in some]
    if not found or max(found) >= count:
        raise ValueError(
            f"`records` must be indices of the {count} records, {-count} to {count - 1}, got"
            f" {list(records)}: leave it out to get five"
        )
    return sorted({k % count for k in found})
