"""The field that moves the particles: arrows of the velocity over tones of the witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.estimators.base import missing_target
from particleflow.flows import Flow
from particleflow.plotting.drawing.look import Look, framed
from particleflow.plotting.drawing.panels import CAPTION, TALLEST, above, fitting, quiet, sheet
from particleflow.plotting.drawing.sheets import (
    DPI,
    FONT,
    heading,
    picture,
    texts_of,
    words,
    written,
)
from particleflow.plotting.figures.seen import ARROWS, BEYOND, POINTS, Seen
from particleflow.plotting.scenes.records import named
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.ticks import Ticks
from particleflow.plotting.style import DIVERGING, DIVERGING_DARK, Theme
from particleflow.stopping import undisturbed
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

# What the tones may show.
SHOWN = ("witness", "log ratio", "velocity")
# Share of the arrows that are as long as the longest one.
LONGEST = 0.04
# Height of the rows of arrows and points under a curve, beside that of the curve (d = 1).
ROWS = 0.24
# Width of the picture, in inches.
WIDTH = 5.6
# Inches at the right for the key to the tones.
KEY = 0.95


def field(
    path: Trajectory,
    file: str | Path | None = None,
    *,
    flow: Flow | None = None,
    at: int | float = -1,
    what: str = "witness",
    arrows: bool = True,
    points: bool = True,
    ax: Axes | None = None,
    title: str = "",
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    dark: bool = False,
    size: float | None = None,
    dpi: int = DPI,
) -> Figure:
    r"""Draw what moves the particles at one record: the witness w and the velocity v, in d <= 2.

    .. math::

        v(z) = \text{slope}(w(z)) \, \nabla w(z)

    The estimator of `flow` is fitted anew to the recorded particles and the recorded target, as in
    the run; an estimator that is trained begins anew. Then w and v are evaluated on a grid, without
    noise injection and diffusion.

    - d = 2: tones and arrows. The tones have zero in their middle where w has both signs; they end
      at twice the largest |w| at particles and target. The thin line is w = 0.
    - d = 1: the curve of w, or of v, above arrows and the particles.

    Without `flow`, the witness is read where the run has recorded it, with `SaveAt(witness=True)`:
    on a grid of 64 x 64 points, in d = 1 of 256. Arrows are then the velocities of some particles,
    if the run has recorded these too, with `SaveAt(velocity=True)`.

    Parameters
    ----------
    path : Trajectory
        A run in d <= 2.
    file : str or Path, optional
        Where to write it, .png .pdf .svg ...; returned unwritten otherwise.
    flow : Flow, optional
        The flow that made the run: a trajectory does not hold its flow. It may be left out where
        the witness was recorded and is shown.
    at : int or float
        An int is the index of a record, -1 the last. A float is a time: the last record at or
        before it.
    what : str
        "witness": w. "log ratio": the same, of an estimator of log(target / current). "velocity":
        the speed |v| in the plane, v on the line.
    arrows : bool
        Draw v as arrows, as long as |v|, at most as the fastest but 4 %.
    points : bool
        Draw the particles (full) and the target (hollow), at most 1500 of each.
    ax : Axes, optional
        Draw into these axes of your own figure.
    title : str
        Stands above the picture.
    xlim, ylim : (low, high), optional
        Limits of the axes, in units of the coordinates; `xlim` alone where d = 1.
    dark : bool
        A dark ground, for slides.
    size : float, optional
        Width of the figure, in inches; a tall picture is narrower. Default: 5.6.
    dpi : int
        Pixels per inch.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it. With `ax` it is the figure of these axes.

    Raises
    ------
    TypeError
        `path` is no Trajectory or `flow` no Flow, `flow` is missing where nothing was recorded, or
        an option has another type.
    ValueError
        d > 2, or a record or time outside of the run. Or `what` is another word, or "log ratio" of
        a flow whose witness is a potential. Or the flow needs a target that the run does not have,
        or an option has another value.
    OSError
        The file cannot be written, or its folder does not exist.

    Cost: one fit and a field at up to 161 x 161 + 24 x 24 points: about 0.2 s for an MMD flow of
    1000 particles, 0.3 s for 20000.

    >>> x0 = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> y = pf.samplers.Rings().sample(40, seed=1)
    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(0.2))
    >>> path = pf.simulate(flow, x0, y, steps=20)
    >>> figure = pf.plotting.field(path, "field.png", flow=flow, at=0)
    >>> figure.axes[0].child_axes[0].get_ylabel()  # the key to the tones
    'witness w'
    """
    _refused(path, flow, what, ax, size)
    runs = named(path)
    place = None if file is None else picture(file)
    k = _record(path, at)
    if flow is None:
        _refuse_unless_recorded(path, k, what)
    _checks.flag(arrows, "arrows"), _checks.flag(points, "points")
    title, kept = words(title, "title"), texts_of(None if ax is None else [ax])
    look = Look.asked(runs, dark=dark)
    frame = framed(runs, look, xlim=xlim, ylim=ylim)
    _checks.count(dpi, "dpi")
    d = path.particles.shape[2]
    wide = WIDTH if size is None else _checks.positive(size, "size")
    scene = Scene.of(runs, [int(path.steps[k])], **frame)
    seen = Seen.recorded(path, k, scene) if flow is None else Seen.of(path, flow, k, scene, what)
    if ax is None:
        margins = (
            0.45 + 0.3 * (d == 1),
            KEY if d == 2 else 0.2,
            0.32 + 0.23 * (d == 1),
            0.36 + 0.34 * bool(title),
        )
        inner = wide - margins[0] - margins[1]
        aspect = scene.aspect
        across = inner * min(1.0, TALLEST / aspect)
        figure = sheet(1, 1, (across, across * aspect), margins, (0, 0), dpi, look.theme.ground)
        ax = figure.axes[0]
    (_plane if d == 2 else _line)(ax, scene, seen, look.theme, what, arrows, points)
    above(ax, CAPTION, scene.moment("", int(path.steps[k])), FONT, look.theme.faint)
    if title:
        heading(ax, title, look.theme, 8.0 + 1.3 * FONT)
    whole = ax.get_figure(root=True)
    assert isinstance(whole, Figure)
    return written(whole, place, dpi, kept)


@undisturbed()
def _plane(
    ax: Axes, scene: Scene, seen: Seen, theme: Theme, what: str, arrows: bool, points: bool
) -> None:
    quiet(ax, 0.85 * FONT, theme)
    ax.set(xlim=(scene.low[0], scene.high[0]), ylim=(scene.low[1], scene.high[1]))
    ax.set_aspect("equal")
    for axis, low, high in zip((ax.xaxis, ax.yaxis), scene.low, scene.high, strict=True):
        Ticks.between(float(low), float(high)).on(axis)
    cmap, norm = seen.tones(theme)
    x, y = seen.grid
    half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    ax.imshow(
        seen.values,
        cmap=cmap,
        norm=norm,
        extent=extent,
        origin="lower",
        interpolation="bilinear",
        aspect="equal",
        zorder=0,
    )
    if what != "velocity" and norm.vmin is not None and norm.vmin < 0 < float(norm.vmax or 0):
        ax.contour(x, y, seen.zero, levels=[0.0], colors=[theme.faint], linewidths=0.7, zorder=1)
    if points:
        _clouds(ax, scene, theme)
    if arrows and len(seen.places):
        _quiver(ax, scene, seen, theme)
    _key(ax, seen, cmap, norm, _named(what, plane=True), theme)
    ax.set(xlim=(scene.low[0], scene.high[0]), ylim=(scene.low[1], scene.high[1]))


@undisturbed()
def _line(
    ax: Axes, scene: Scene, seen: Seen, theme: Theme, what: str, arrows: bool, points: bool
) -> None:
    quiet(ax, 0.85 * FONT, theme)
    (x,) = seen.grid
    values = seen.values
    most = min(float(np.nanmax(np.abs(values))), BEYOND * seen.largest) or 1.0
    low = min(0.0, max(float(np.nanmin(values)), -most)) - 0.1 * most
    high = max(0.0, min(float(np.nanmax(values)), most)) + 0.1 * most
    values = np.where((values >= low) & (values <= high), values, np.nan)
    bottom = low - ROWS * (high - low) * (points or arrows)
    ax.set(xlim=(scene.low[0], scene.high[0]), ylim=(bottom, high))
    stops = DIVERGING_DARK if theme.dark else DIVERGING
    for positive, hue in ((False, stops[1]), (True, stops[3])):
        where = values > 0 if positive else values < 0
        ax.fill_between(x, 0, values, where=where, color=hue, alpha=0.55, linewidth=0, zorder=1)
    ax.axhline(0, color=theme.faint, linewidth=0.8, zorder=2)
    ax.plot(x, values, color=theme.ink, linewidth=1.5, zorder=3)
    height = high - bottom
    if points:
        for cloud, level, hue in _rows(scene, theme):
            at = np.full(len(cloud), bottom + level * height)
            ax.plot(cloud, at, "|", color=hue, alpha=0.5, markersize=6, markeredgewidth=0.8)
    if arrows and len(seen.places):
        places, speeds = seen.places[:, 0], seen.velocities[:, 0]
        longest = float(np.quantile(np.abs(speeds), 1 - LONGEST)) or 1.0
        reach = 0.9 * float(scene.high[0] - scene.low[0]) / ARROWS
        moved = np.clip(speeds / longest, -1, 1) * reach
        row = np.full(len(places), bottom + 0.17 * height)
        style: dict[str, Any] = {
            "angles": "xy",
            "scale_units": "xy",
            "scale": 1,
            "width": 0.004,
            "zorder": 4,
        }
        style |= {"pivot": "middle", "headwidth": 4, "headlength": 4, "headaxislength": 3.6}
        ax.quiver(places, row, moved, np.zeros_like(moved), color=theme.ink, **style)
    ticks = Ticks.between(float(scene.low[0]), float(scene.high[0])).on(ax.xaxis)
    ax.set_xlabel(ticks.said("x"), fontsize=FONT, color=theme.faint)
    ticks = Ticks.between(low, high).on(ax.yaxis)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])
    ticks.on(ax.yaxis)
    ax.set_ylabel(ticks.said(_named(what, plane=False)), fontsize=FONT, color=theme.ink)


def _rows(scene: Scene, theme: Theme) -> list[tuple[Float[np.ndarray, "n"], float, str]]:
    """Coordinates, height and colour of the marks of particles and target (d = 1)."""
    (step,) = scene.steps
    clouds = [(scene.particles("", step), 0.11, theme.runs[0])]
    target = scene.target("")
    if target is not None:
        clouds.append((target, 0.05, theme.target))
    return [(c[some_rows(len(c), POINTS), 0], level, hue) for c, level, hue in clouds]


def _clouds(ax: Axes, scene: Scene, theme: Theme) -> None:
    """Draw the target as hollow and the particles as full discs."""
    (step,) = scene.steps
    target = scene.target("")
    if target is not None:
        some = target[some_rows(len(target), POINTS)]
        ax.scatter(
            some[:, 0],
            some[:, 1],
            s=9,
            facecolors="none",
            edgecolors=theme.faint,
            linewidths=0.6,
            zorder=2,
        )
    particles = scene.particles("", step)
    some = particles[some_rows(len(particles), POINTS)]
    ax.scatter(
        some[:, 0],
        some[:, 1],
        s=10,
        color=theme.ink,
        edgecolors=theme.ground,
        linewidths=0.4,
        zorder=4,
    )


def _quiver(ax: Axes, scene: Scene, seen: Seen, theme: Theme) -> None:
    speeds = np.linalg.norm(seen.velocities, axis=1)
    finite = speeds[np.isfinite(speeds)]
    longest = (float(np.quantile(finite, 1 - LONGEST)) if len(finite) else 0.0) or 1.0
    shrink = 1 / np.maximum(speeds, longest)
    cell = float((scene.high - scene.low).max()) / ARROWS
    ax.quiver(
        *seen.places.T,
        *(1.05 * cell * shrink[:, None] * seen.velocities).T,
        angles="xy",
        scale_units="xy",
        scale=1,
        pivot="middle",
        color=theme.ink,
        alpha=0.6,
        width=0.0028,
        headwidth=4.5,
        headlength=5,
        headaxislength=4.5,
        zorder=3,
    )


def _key(
    ax: Axes,
    seen: Seen,
    cmap: LinearSegmentedColormap,
    norm: Normalize,
    label: str,
    theme: Theme,
) -> None:
    """Draw the key to the tones at the right, with pointed ends where values are beyond them."""
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    over, under = np.nanmax(seen.values) > high, np.nanmin(seen.values) < low
    extend = {(0, 0): "neither", (1, 0): "max", (0, 1): "min", (1, 1): "both"}
    inset = ax.inset_axes((1.03, 0.0, 0.028, 1.0))
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(
        ScalarMappable(norm, cmap), cax=inset, extend=extend[int(over), int(under)], extendfrac=0.03
    )
    bar.outline.set_edgecolor(theme.spine)
    bar.outline.set_linewidth(0.8)
    inset.tick_params(
        length=2.5, width=0.8, color=theme.spine, labelcolor=theme.faint, labelsize=0.85 * FONT
    )
    said = Ticks.between(low, high).on(inset.yaxis).said(label)
    height = ax.get_window_extent().height / ax.figure.dpi
    inset.set_ylabel(said, fontsize=fitting(said, FONT, height), color=theme.ink)


def _named(what: str, *, plane: bool) -> str:
    if what == "velocity":
        return "speed |v|" if plane else "velocity v"
    return "log(target / current)" if what == "log ratio" else "witness w"


def _refused(path: Any, flow: Any, what: Any, ax: Any, size: Any) -> None:
    """Refuse what cannot be drawn."""
    if not isinstance(path, Trajectory):
        remedy = "pass what pf.simulate returns; several runs go into axes of one figure, with `ax`"
        raise RefusedTypeError("path", "must be a Trajectory", _checks.kind(path), remedy)
    d = path.particles.shape[2]
    if d > 2:
        wanted, remedy = "must be a run in d <= 2", "use snapshots(path, arrows=True, axes=(0, 1))"
        raise RefusedValueError("path", wanted, f"d = {d}", remedy)
    if flow is not None and not isinstance(flow, Flow):
        remedy = "pass the flow that made the run, e.g. pf.mmd_flow(kernel)"
        raise RefusedTypeError("flow", "must be a Flow", _checks.came(flow), remedy)
    kinds = ", ".join(f"'{kind}'" for kind in SHOWN)
    if not isinstance(what, str) or what not in SHOWN:
        remedy = "pass e.g. what='witness'"
        raise RefusedValueError("what", f"must be one of {kinds}", _checks.said(what), remedy)
    if flow is not None and what == "log ratio" and not flow.estimator.log_ratio:
        name = type(flow.estimator).__name__
        remedy = "pass what='witness'"
        raise RefusedValueError("what", "must be 'witness' for a potential", f"{name}'s", remedy)
    if flow is not None and flow.estimator.needs_target and path.target is None:
        raise missing_target(flow.estimator, "path.target")
    if ax is not None and not isinstance(ax, Axes):
        remedy = "pass axes of matplotlib, e.g. ax=plt.gca()"
        raise RefusedTypeError("ax", "must be Axes", _checks.said(ax), remedy)
    if ax is not None and size is not None:
        remedy = "leave it out: `ax` belongs to a figure that has a size"
        raise RefusedValueError("size", "cannot be used with `ax`", _checks.said(size), remedy)


def _refuse_unless_recorded(path: Trajectory, k: int, what: str) -> None:
    """What is shown without a flow must have been recorded."""
    remedy = "pass the flow that made the run, e.g. flow=pf.mmd_flow(kernel)"
    if what != "witness":
        wanted = f"is needed to show the {what}: a run records the witness alone"
        raise RefusedTypeError("flow", wanted, "None", remedy)
    if path.witness is None or not bool(path.witness[k].isfinite().all()):
        wanted = "is needed where the run has not recorded its witness"
        record = "or record it, with save=pf.SaveAt(witness=True)"
        raise RefusedTypeError("flow", wanted, f"None at record {k}", f"{remedy}, {record}")


def _record(path: Trajectory, at: Any) -> int:
    """The index of the record at an index or a time."""
    remedy = "pass the index of a record, e.g. -1, or a time as a float, e.g. 0.5"
    if isinstance(at, float | np.floating):
        time = _checks.real(at, "at", remedy=remedy)
        times = path.times.cpu().numpy()
        if not times[0] <= time <= times[-1] * (1 + 1e-12):
            ends = f"{times[0]:g} and {times[-1]:g}"
            raise RefusedValueError("at", f"must be a time between {ends}", f"{time:g}", remedy)
        return int(np.searchsorted(times, time * (1 + 1e-12), side="right")) - 1
    index = _checks.count(at, "at", least=-len(path), remedy=remedy)
    if index >= len(path):
        wanted = f"must be an index of the {len(path)} records"
        raise RefusedValueError("at", wanted, index, remedy)
    return index % len(path)
