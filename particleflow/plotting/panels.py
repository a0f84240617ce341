"""Drawing: colours, the sheet of panels, and a panel that shows one run at any step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from particleflow.plotting.layers import layer
from particleflow.plotting.records import few
from particleflow.plotting.scene import Scene
from particleflow.plotting.ticks import Ticks

# Okabe and Ito's palette, darkest first, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#882255", "#44AA99")
# Colour of a target.
TARGET = "#A9AFB8"
# Colour of the spines.
SPINE = "#C9CDD3"
# Colour of secondary text.
FAINT = "#6B7280"
# Colour of text.
INK = "#1F2430"

# Most points of a cloud with tails: more tails hide the points.
TAILED = 2000
# Largest height over width of a panel; a taller panel is made narrower than the sheet allows.
TALLEST = 1.15
# Number of earlier positions in a particle's tail.
TAIL = 6


Pair: TypeAlias = tuple[float, float]


def colour(k: int) -> str:
    """Return the colour of the k-th run, the same in pictures, films and curves."""
    return COLOURS[k % len(COLOURS)]


def sheet(
    rows: int,
    columns: int,
    panel: Pair,
    margins: tuple[float, float, float, float],
    gap: Pair,
    dpi: int,
) -> Figure:
    """Return a white figure with rows x columns axes of exactly `panel` inches.

    The margins are left, right, bottom and top. pyplot does not know the figure.
    """
    (width, height), (left, right, bottom, top), (across, down) = panel, margins, gap
    size = (
        left + right + columns * width + (columns - 1) * across,
        bottom + top + rows * height + (rows - 1) * down,
    )
    figure = Figure(figsize=size, dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * (width + across), bottom + (rows - 1 - row) * (height + down)
            figure.add_axes((x / size[0], y / size[1], width / size[0], height / size[1]))
    return figure


def fitting(name: str, size: float, inches: float) -> float:
    """Return a font size, at most `size` points, at which a bold name fits into `inches`."""
    return min(size, 72 * inches / (0.66 * max(1, len(name))))


def quiet(ax: Axes, size: float) -> None:
    """Draw thin spines, few ticks and small grey numbers."""
    ax.set_facecolor("white")
    for spine in ax.spines.values():
        spine.set(color=SPINE, linewidth=0.8)
    ax.tick_params(
        which="both", length=2.5, width=0.8, color=SPINE, labelcolor=FAINT, labelsize=size
    )
    ax.tick_params(which="minor", length=0)


def above(ax: Axes, points: float, text: str, size: float, colour: str) -> Text:
    """Write text `points` points above the top left corner."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    lifted = ax.transAxes + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)
    return ax.text(0, 1, text, transform=lifted, fontsize=size, color=colour)


class Panel:
    """One run in one pair of axes: target, particles, tails and caption.

    The target is drawn once. `show(step)` draws the rest. `moving` holds the artists that `show`
    changes.
    """

    moving: tuple[Artist, ...]

    def __init__(
        self,
        ax: Axes,
        scene: Scene,
        name: str,
        colour: str,
        *,
        size: float,
        outer: tuple[bool, bool],
        tail: bool = False,
    ) -> None:
        self.ax, self.scene, self.name, self.colour = ax, scene, name, colour
        quiet(ax, 0.85 * size)
        ax.set_xlim(scene.low[0], scene.high[0])
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        for axis, low, high in zip((ax.xaxis, ax.yaxis), scene.low, scene.high, strict=False):
            Ticks.between(float(low), float(high)).on(axis)
        left, bottom = outer
        wide, high = (inches / ax.figure.dpi for inches in ax.get_window_extent().size)
        ax.tick_params(labelleft=left and scene.flat, labelbottom=bottom, left=scene.flat)
        ax.set_xlabel(
            scene.labels[0] if bottom else "",
            fontsize=fitting(scene.labels[0], size, wide),
            color=FAINT,
        )
        ax.set_ylabel(
            scene.labels[1] if left else "",
            fontsize=fitting(scene.labels[1], size, high),
            color=FAINT,
        )
        self.caption = above(ax, 5.0, "", size, FAINT)
        self.remarks = ax.text(
            0.97,
            0.03,
            "",
            transform=ax.transAxes,
            fontsize=0.85 * size,
            color=FAINT,
            ha="right",
            zorder=5,
        )
        self.remarks.set_bbox(
            {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
        )
        moving = self._open_plane(tail) if scene.flat else self._open_line()
        self.moving = (*moving, self.caption, self.remarks)

    def show(self, step: int, earlier: Sequence[int] = ()) -> None:
        """Draw the particles at a step, with tails through their positions at earlier steps."""
        points, weights = self.scene.particles(self.name, step), self.scene.weights(self.name, step)
        self.caption.set_text(self.scene.moment(self.name, step))
        self.remarks.set_text(self.scene.remarks(self.name, step))
        if self.scene.flat:
            self._show_plane(points, weights, earlier)
        else:
            self._show_line(points, weights)

    def _open_plane(self, tail: bool) -> tuple[Artist, ...]:
        self.ax.set_ylim(self.scene.low[1], self.scene.high[1])
        self.ax.set_aspect("equal")
        target = self.scene.target(self.name)
        if target is not None:
            layer(self.ax, self.scene, len(target), TARGET, under=True).show(
                target, self.scene.target_weights(self.name)
            )
        count = len(self.scene.particles(self.name, self.scene.steps[0]))
        self.particles = layer(self.ax, self.scene, count, self.colour)
        self.tails = self.ax.add_line(
            Line2D(
                [], [], color=self.colour, alpha=0.4 * self.particles.alpha, linewidth=0.7, zorder=2
            )
        )
        self.tail = tail and count <= TAILED and self.scene.smooth(self.name)
        return self.tails, self.particles.artist

    def _show_plane(
        self,
        points: Float[np.ndarray, "N 2"],
        weights: Float[np.ndarray, "N"] | None,
        earlier: Sequence[int],
    ) -> None:
        self.particles.show(points, weights)
        if self.tail:
            past = np.stack(
                [
                    *(self.scene.particles(self.name, step) for step in earlier),
                    points,
                    np.full_like(points, np.nan),
                ],
                axis=1,
            )
            self.tails.set_data(
                *past.reshape(-1, 2).T
            )  # one line with gaps is a hundred times faster than a line each

    def _open_line(self) -> tuple[Artist, ...]:
        """Prepare a histogram over rugs (d = 1).

        A histogram that rises by half above the target's peak, or above its own last peak, is cut
        off.
        """
        edges, last = self.scene.edges, self.scene.steps[-1]
        target = self.scene.target(self.name)
        peaks = [
            _density(
                self.scene.particles(self.name, last), self.scene.weights(self.name, last), edges
            ).max()
        ]
        if target is not None:
            density = _density(target, self.scene.target_weights(self.name), edges)
            self.ax.stairs(density, edges, fill=True, color=TARGET, alpha=0.55, zorder=1)
            peaks = [density.max(), min(peaks[0], 2 * density.max())]
        top = 1.4 * (max(peaks) or 1.0)
        self.ax.set_ylim(-0.16 * top, top)
        self.ax.axhline(0, color=SPINE, linewidth=0.8, zorder=1)
        self.ax.set_yticks([])
        if target is not None:
            self._rug(target, -0.115 * top, TARGET)
        nothing = np.zeros(len(edges) - 1)
        self.body = self.ax.stairs(
            nothing, edges, fill=True, color=self.colour, alpha=0.35, zorder=2
        )
        self.outline = self.ax.stairs(nothing, edges, color=self.colour, linewidth=1.4, zorder=3)
        self.rug = self._rug(self.scene.particles(self.name, last), -0.045 * top, self.colour)
        return self.body, self.outline, self.rug

    def _show_line(
        self, points: Float[np.ndarray, "N 1"], weights: Float[np.ndarray, "N"] | None
    ) -> None:
        density = _density(points, weights, self.scene.edges)
        self.body.set_data(density)
        self.outline.set_data(density)
        self.rug.set_xdata(points[few(len(points)), 0])

    def _rug(self, points: Float[np.ndarray, "N 1"], level: float, colour: str) -> Line2D:
        points = points[few(len(points))]
        alpha = float(np.clip(100 / len(points), 0.03, 0.6))
        height = 0.035 * self.ax.get_window_extent().height * 72 / self.ax.figure.dpi
        x, y = points[:, 0], np.full(len(points), level)
        rug = Line2D(
            x,
            y,
            color=colour,
            alpha=alpha,
            zorder=3,
            linestyle="none",
            marker="|",
            markersize=height,
            markeredgewidth=0.8,
        )
        return self.ax.add_line(rug)


def _density(
    points: Float[np.ndarray, "N 1"],
    weights: Float[np.ndarray, "N"] | None,
    edges: Float[np.ndarray, "B"],
) -> Float[np.ndarray, "b"]:
    """Return counts / (all points * width of a bin); points outside lower the integral."""
    count = np.histogram(points[:, 0], len(edges) - 1, (edges[0], edges[-1]), weights=weights)[0]
    return count / (len(points) * (edges[1] - edges[0]))
