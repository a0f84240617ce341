"""What is drawn beside the particles: the paths behind them, and arrows for their velocities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.quiver import Quiver

from particleflow.plotting.scene import Scene
from particleflow.plotting.style import Theme
from particleflow.plotting.views import Perspective
from particleflow.subsets import some_rows

# Pieces of a trail, each fainter than the next one.
PIECES = 5
# Opacity of a trail beside that of its particle.
FAINTER = 0.55
# Particles with a shadow, and its area in square points.
SHADOWS = 1000
SHADOW = 5.0
# Particles with an arrow.
ARROWS = 90
# Length of the fastest particle's arrow, in widths of the panel.
LONGEST = 0.13


class Trails:
    """The paths behind the particles, which fade out."""

    def __init__(self, ax: Axes, colour: str, alpha: float) -> None:
        self.artist = LineCollection([], colors=colour, linewidths=0.8, zorder=2)
        self.alpha = FAINTER * alpha
        self.pure = self.artist.get_colors()[0][:3]
        ax.add_collection(self.artist, autolim=False)

    def show(
        self,
        paths: Float[np.ndarray, "n T 2"],
        colours: Float[np.ndarray, "n 3"] | None = None,
    ) -> None:
        count, length, _ = paths.shape
        cuts = np.unique(np.linspace(0, length - 1, PIECES + 1).round().astype(int))
        pieces = [paths[:, a : b + 1] for a, b in pairwise(cuts)]
        rgb = np.broadcast_to(self.pure if colours is None else colours, (count, 3))
        shown = [
            np.column_stack([rgb, np.full(count, self.alpha * (k + 1) / len(pieces))])
            for k in range(len(pieces))
        ]
        self.artist.set_segments([path for piece in pieces for path in piece])
        if pieces:
            self.artist.set_colors(np.concatenate(shown))


class Floor:
    """The floor under a view in perspective: a grid, and the shadows of some particles."""

    def __init__(self, ax: Axes, count: int, theme: Theme) -> None:
        self.rows = some_rows(count, SHADOWS)
        self.grid = LineCollection([], colors=theme.spine, linewidths=0.6, alpha=0.8, zorder=0)
        ax.add_collection(self.grid, autolim=False)
        shadow = {"color": theme.spine, "linewidths": 0, "alpha": 0.7, "zorder": 0.5}
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

    def show(self, scene: Scene, step: int) -> None:
        points = scene.particles(self.name, step)[self.rows]
        moved = scene.along(self.name, step)[self.rows]
        self.artist.set_offsets(points)
        self.artist.X, self.artist.Y = points.T
        self.artist.XY = points
        self.artist.set_UVC(*moved.T)
