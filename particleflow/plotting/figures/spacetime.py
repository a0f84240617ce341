"""A flow on a line (d = 1): the particles' paths in space and time, between two densities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.panels import CAPTION, above, fitting, histogram, quiet
from particleflow.plotting.drawing.shades import Shades
from particleflow.plotting.scenes.known import on_line
from particleflow.plotting.scenes.records import record_at, travelled
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.ticks import Ticks
from particleflow.subsets import some_rows

# Particles whose paths are drawn.
PATHS = 200
# Least distance of two labels along the time axis, as a share of its length.
LABELS = 0.09


def spacetime(
    ax: Axes, scene: Scene, name: str, colour: str, look: Look, *, size: float, outer: bool
) -> None:
    """Draw the paths of some particles, time to the right.

    Equal lengths to the right are equal lengths of the particles' mean path, so that what happens
    fast is seen. The ticks are the steps of the scene.
    """
    run, theme = scene.paths[name], look.theme
    quiet(ax, 0.85 * size, theme)
    time = _time(scene, name)
    rows = some_rows(run.particles.shape[1], PATHS)
    places = run.particles[:, rows, 0].detach().cpu().double().numpy()
    shades = Shades(scene, name, colour, look)
    colours = [shades.at(scene, int(step)) for step in run.steps.tolist()]
    alpha = float(np.clip(0.9 * (30 / places.shape[1]) ** 0.45, 0.3, 0.9))
    paths = np.stack([np.broadcast_to(time[:, None], places.shape), places], axis=-1)
    jumps = scene.jumps[name]
    anew = np.zeros(places.shape, bool) if jumps is None else jumps[:, rows].cpu().numpy()
    if look.color in ("flow", "start", "class"):
        # a particle that jumped did not travel: its path has a gap before that record
        for k in reversed(np.flatnonzero(anew[1:].any(1)) + 1):
            paths = np.insert(paths, k, np.where(anew[k][:, None], np.nan, paths[k]), axis=0)
        drawn = list(paths.transpose(1, 0, 2))
        hue = colour if colours[0] is None else colours[0][rows]
    else:  # the colour changes along the path
        pieces = np.stack([paths[:-1], paths[1:]], axis=2)
        pieces[anew[1:]] = np.nan
        drawn = list(pieces.reshape(-1, 2, 2))
        hue = np.concatenate([rgb[rows] for rgb in colours[:-1] if rgb is not None])
    lines = LineCollection(drawn, colors=hue, linewidths=0.8, alpha=alpha, zorder=2)
    lines.set_rasterized(len(drawn) > PATHS)
    ax.add_collection(lines, autolim=False)
    for moment in time[[record_at(run, step) for step in scene.steps]]:
        ax.axvline(moment, color=theme.spine, linewidth=0.8, zorder=1)
    ax.set(xlim=(0, 1), ylim=(scene.low[0], scene.high[0]))
    ax.set_xticks(*_marks(scene, name, time))
    ticks = Ticks.between(float(scene.low[0]), float(scene.high[0])).on(ax.yaxis)
    ax.set_ylabel(ticks.said("x"), fontsize=size, color=theme.faint)
    if outer:
        said = "step, in equal shares of the path"
        wide = ax.get_window_extent().width / ax.figure.dpi
        ax.set_xlabel(said, fontsize=fitting(said, size, 1.1 * wide), color=theme.faint)
    else:
        ax.tick_params(labelbottom=True)
    above(ax, CAPTION, "paths", size, theme.faint)


def beside(ax: Axes, scene: Scene, name: str, colour: str, look: Look, *, size: float) -> None:
    """Draw the target's density, filled, and that of the last cloud, turned to the right."""
    theme = look.theme
    quiet(ax, 0.85 * size, theme)
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[], ylim=(scene.low[0], scene.high[0]))
    target, last = scene.target(name), scene.steps[-1]
    edges, peaks = scene.edges, []
    if target is not None:
        aim = histogram(target, scene.target_weights(name), edges)
        ax.stairs(aim, edges, orientation="horizontal", fill=True, color=theme.target, alpha=0.55)
        peaks.append(aim.max())
    if scene.density is not None:
        x, p = on_line(scene.density, *ax.get_ylim())
        ax.fill_betweenx(x, p, color=theme.target, alpha=0.55, linewidth=0)
        peaks.append(p.max())
    end = histogram(scene.particles(name, last), scene.weights(name, last), edges)
    ax.stairs(end, edges, orientation="horizontal", color=colour, linewidth=1.4)
    peaks.append(min(end.max(), 2 * peaks[0]) if peaks else end.max())
    ax.set_xlim(0, 1.1 * (max(peaks) or 1.0))


def _time(scene: Scene, name: str) -> Float[np.ndarray, "T"]:
    """Return the place of each record along the time axis, 0 ... 1."""
    run = scene.paths[name]
    gone = travelled(run)
    if gone[-1] > 0:
        return gone
    steps = run.steps.double().cpu().numpy()
    return (steps - steps[0]) / ((steps[-1] - steps[0]) or 1.0)


def _marks(
    scene: Scene, name: str, time: Float[np.ndarray, "T"]
) -> tuple[Sequence[float], Sequence[str]]:
    """Return the places and the labels of the ticks; the last ones win over those close by."""
    run = scene.paths[name]
    places: list[float] = []
    labels: list[str] = []
    for k in sorted({record_at(run, step) for step in scene.steps}, reverse=True):
        if not places or places[-1] - time[k] >= LABELS:
            places.append(float(time[k]))
            labels.append(str(int(run.steps[k])))
    return places, labels
