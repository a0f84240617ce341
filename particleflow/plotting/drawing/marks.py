"""What is drawn beside the particles: the paths behind them, and arrows for their velocities."""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.path import Path
from matplotlib.quiver import Quiver

from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.views import Perspective
from particleflow.plotting.style import Theme
from particleflow.subsets import some_rows

# Pieces of a trail, each fainter than the next one.
PIECES = 3
# Opacity of a trail beside that of its particle.
FAINTER = 0.55
# Width of a trail, in points.
WIDTH = 0.8
# Levels of a channel that tell the colours of trails apart.
TINTS = 4
# Particles with a shadow, and its area in square points.
SHADOWS = 1000
SHADOW = 5.0
# Particles with an arrow.
ARROWS = 90
# Length of the fastest particle's arrow, in widths of the panel.
LONGEST = 0.13


RGBA: TypeAlias = tuple[float, float, float, float]


class Trails(Artist):
    """The paths behind the particles, which fade out.

    All pieces of one age and colour are one path: a path for each particle takes ten times as long.
    """

    def __init__(self, ax: Axes, colour: str, alpha: float) -> None:
        super().__init__()
        self.set_zorder(2)
        self.alpha = FAINTER * alpha
        self.pure = to_rgb(colour)
        self.strokes: list[tuple[Path, RGBA]] = []
        ax.add_artist(self)

    def show(
        self,
        paths: Float[np.ndarray, "n T 2"],
        colours: Float[np.ndarray, "n 3"] | None = None,
    ) -> None:
        length = paths.shape[1]
        cuts = np.unique(np.linspace(0, length - 1, PIECES + 1).round().astype(int))
        self.strokes = [
            (_joined(some[:, first : last + 1]), (r, g, b, self.alpha * (k + 1) / (len(cuts) - 1)))
            for k, (first, last) in enumerate(itertools.pairwise(cuts))
            for some, (r, g, b) in self._groups(paths, colours)
        ]

    def _groups(
        self, paths: Float[np.ndarray, "n T 2"], colours: Float[np.ndarray, "n 3"] | None
    ) -> list[tuple[Float[np.ndarray, "g T 2"], tuple[float, ...]]]:
        """Return the paths of each colour; alike colours become their mean."""
        if colours is None:
            return [(paths, self.pure)]
        whole = (np.clip(colours, 0, 1) * TINTS).round().astype(int) @ (
            1,
            TINTS + 1,
            (TINTS + 1) ** 2,
        )
        groups = [np.flatnonzero(whole == tint) for tint in np.unique(whole)]
        return [(paths[rows], tuple(colours[rows].mean(0).clip(0, 1))) for rows in groups]

    def draw(self, renderer: RendererBase) -> None:
        if not self.get_visible():
            return
        box = self.get_clip_box()
        for path, colour in self.strokes:
            pen = renderer.new_gc()
            pen.set_clip_rectangle(box)
            pen.set_linewidth(WIDTH)
            pen.set_foreground(colour, isRGBA=True)
            renderer.draw_path(pen, path, self.get_transform())
            pen.restore()


def _joined(paths: Float[np.ndarray, "n T 2"]) -> Path:
    """Return one path with a gap after each of its parts."""
    codes = np.full(paths.shape[:2], Path.LINETO, Path.code_type)
    codes[:, 0] = Path.MOVETO
    return Path(paths.reshape(-1, 2), codes.ravel())


class Floor:
    """The floor under a view in perspective: a grid, and the shadows of some particles."""

    def __init__(self, ax: Axes, count: int, theme: Theme) -> None:
        self.rows = some_rows(count, SHADOWS)
        self.grid = LineCollection([], colors=theme.spine, linewidths=0.6, alpha=0.8, zorder=0)
        ax.add_collection(self.grid, autolim=False)
        shadow: dict[str, Any] = {
            "color": theme.spine,
            "linewidths": 0,
            "alpha": 0.7,
            "zorder": 0.5,
        }
        self.shadows = ax.scatter([], [], s=SHADOW, **shadow)
        self.artists = [self.grid, self.shadows]

    def show(self, view: Perspective, points: Float[np.ndarray, "N 3"]) -> None:
        self.grid.set_segments([view.seen(line) for line in view.floor])
        self.shadows.set_offsets(view.seen(view.fallen(points[self.rows])))


class Arrows:
    """Velocities of some particles, on one scale in all panels of a run."""

    def __init__(self, ax: Axes, scene: Scene, name: str, colour: str) -> None:
        self.name = name
        self.rows = some_rows(scene.paths[name].particles.shape[1], ARROWS)
        longest = LONGEST * float(scene.high[0] - scene.low[0])
        count = len(scene.start(name)[self.rows])
        self.artist = Quiver(
            ax,
            *np.zeros((4, count)),
            color=colour,
            alpha=0.75,
            angles="xy",
            scale_units="xy",
            scale=scene.fastest[name] / longest,
            width=0.004,
            headwidth=4.5,
            headlength=5,
            headaxislength=4.5,
            zorder=4,
        )
        ax.add_collection(self.artist, autolim=False)

    def show(self, scene: Scene, step: float) -> None:
        points = scene.particles(self.name, step)[self.rows]
        moved = scene.along(self.name, step)[self.rows]
        self.artist.set_offsets(points)
        self.artist.X, self.artist.Y = points.T
        self.artist.XY = points
        self.artist.set_UVC(*moved.T)
