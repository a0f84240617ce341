"""Drawing: the sheet of panels, and a panel that shows one run at any step."""

from __future__ import annotations

from collections.abc import Iterable
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

from particleflow._refusals import RefusedValueError
from particleflow.plotting.drawing.layers import ground, layer
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.marks import Arrows, Floor, Trails
from particleflow.plotting.drawing.shades import Shades, hazy
from particleflow.plotting.notebook import Picture
from particleflow.plotting.scenes.known import on_line
from particleflow.plotting.scenes.records import few
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.ticks import Ticks
from particleflow.plotting.scenes.views import Perspective
from particleflow.plotting.style import LIGHT, Theme

# Largest height over width of a panel; a taller panel is made narrower than the sheet allows.
TALLEST = 1.15
# Width of a letter beside its size, on average.
LETTER = 0.56
# Distance of a panel's caption from the panel, in points.
CAPTION = 5.0
# Share of its size below which a title takes two lines.
SMALL = 0.72
# Most pixels of a side of a figure: its picture then takes a gigabyte.
MOST_PIXELS = 16_384
# Fewest pixels per inch at which text can be read.
COARSEST = 30

Pair: TypeAlias = tuple[float, float]


def sheet(
    rows: int,
    columns: int,
    panel: Pair,
    margins: tuple[float, float, float, float],
    gap: Pair,
    dpi: int,
    ground: str = LIGHT.ground,
    *,
    most: int = MOST_PIXELS,
) -> Figure:
    """Return a figure with rows x columns axes of exactly `panel` inches.

    The margins are left, right, bottom and top.

    Raises
    ------
    RefusedValueError
        The picture has more than `most` pixels a side.
    """
    (width, height), (left, right, bottom, top), (across, down) = panel, margins, gap
    size = (
        left + right + columns * width + (columns - 1) * across,
        bottom + top + rows * height + (rows - 1) * down,
    )
    affordable(size, dpi, most)
    figure = Picture(figsize=size, dpi=dpi, facecolor=ground)
    FigureCanvasAgg(figure)
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * (width + across), bottom + (rows - 1 - row) * (height + down)
            figure.add_axes((x / size[0], y / size[1], width / size[0], height / size[1]))
    return figure


def affordable(inches: Pair, dpi: float, most: int = MOST_PIXELS) -> None:
    """Refuse a picture with more than `most` pixels a side, before anything is drawn."""
    longest = max(inches)
    if longest * dpi <= most + 0.5:
        return
    least = int(most / longest)
    wanted, gives = f"must give at most {most} pixels a side", round(longest * dpi)
    if least < COARSEST:
        came = f"{longest:.4g} inches, which give {gives} at {dpi:g} dpi"
        remedy = f"pass at most {most / dpi:.3g}, or a smaller dpi"
        raise RefusedValueError("size", wanted, came, remedy)
    remedy = f"pass at most {least}, or a smaller size"
    raise RefusedValueError("dpi", wanted, f"{dpi:g}, which gives {gives}", remedy)


def literal(texts: Iterable[Text]) -> None:
    """Draw texts as they are: names and titles are the user's, and a $ begins no formula."""
    for text in texts:
        text.set_parse_math(False)


def fitting(name: str, size: float, inches: float) -> float:
    """Return a font size, at most `size` points, at which a bold name fits into `inches`."""
    return min(size, 72 * inches / (0.66 * max(1, len(name))))


def titled(title: str, size: float, inches: float) -> tuple[str, float]:
    """Return a title that fits into `inches`, and its size; in two lines where one is small."""
    whole, words = fitting(title, size, inches), title.split(" ")
    if whole >= SMALL * size or len(words) == 1:
        return title, whole
    pairs = [(" ".join(words[:k]), " ".join(words[k:])) for k in range(1, len(words))]
    lines = min(pairs, key=lambda pair: max(map(len, pair)))
    return "\n".join(lines), fitting(max(lines, key=len), SMALL * size, inches)


def quiet(ax: Axes, size: float, theme: Theme = LIGHT) -> None:
    """Draw thin spines, few ticks and small grey numbers."""
    ax.set_facecolor(theme.ground)
    for spine in ax.spines.values():
        spine.set(color=theme.spine, linewidth=0.8)
    ax.tick_params(
        which="both",
        length=2.5,
        width=0.8,
        color=theme.spine,
        labelcolor=theme.faint,
        labelsize=size,
    )
    ax.tick_params(which="minor", length=0)


def above(ax: Axes, points: float, text: str, size: float, colour: str) -> Text:
    """Write text `points` points above the top left corner."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    lifted = ax.transAxes + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)
    return ax.text(0, 1, text, transform=lifted, fontsize=size, color=colour)


def captioned(ax: Axes, scene: Scene, name: str, size: float) -> float:
    """Return a font size, at most `size` points, at which every caption fits above a panel."""
    longest = max(len(scene.moment(name, step)) for step in scene.steps)
    return min(size, 72 * ax.get_window_extent().width / ax.figure.dpi / (LETTER * longest))


class Panel:
    """One run in one pair of axes: target, particles, trails, arrows and caption.

    The target is drawn once. `show(step)` draws the rest. `moving` holds the artists that `show`
    changes. Another `scene` may be set between two steps, e.g. one with a turned view.
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
        look: Look = Look(),
    ) -> None:
        self.ax, self.scene, self.name, self.colour, self.look = ax, scene, name, colour, look
        self.shades = Shades(scene, name, colour, look)
        theme = look.theme
        small = captioned(ax, scene, name, size)
        quiet(ax, 0.85 * small, theme)
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
            color=theme.faint,
        )
        ax.set_ylabel(
            scene.labels[1] if left else "",
            fontsize=fitting(scene.labels[1], size, high),
            color=theme.faint,
        )
        self.caption = above(ax, CAPTION, "", small, theme.faint)
        self.remarks = ax.text(
            0.97,
            0.03,
            "",
            transform=ax.transAxes,
            fontsize=0.85 * size,
            color=theme.faint,
            ha="right",
            zorder=5,
        )
        self.remarks.set_bbox(
            {"facecolor": theme.ground, "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
        )
        moving = self._open_plane() if scene.flat else self._open_line()
        self.moving = (*moving, self.caption, self.remarks)

    def show(self, step: float) -> None:
        """Draw the particles at a step, with their trails and arrows."""
        points, weights = self.scene.particles(self.name, step), self.scene.weights(self.name, step)
        self.caption.set_text(self.scene.moment(self.name, step))
        self.remarks.set_text(self.scene.remarks(self.name, step))
        if self.scene.flat:
            self._show_plane(step, points, weights)
        else:
            self._show_line(points, weights)

    def _open_plane(self) -> tuple[Artist, ...]:
        ax, scene, theme = self.ax, self.scene, self.look.theme
        ax.set_ylim(scene.low[1], scene.high[1])
        ax.set_aspect("equal")
        self.target = scene.target(self.name)
        moving: list[Artist] = []
        count = scene.paths[self.name].particles.shape[1]
        self.floor = None
        if isinstance(scene.view, Perspective):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            self.floor = Floor(ax, count, theme)
            moving += self.floor.artists
        ground(ax, scene, theme.target, dark=theme.dark)
        if self.target is not None:
            many = len(self.target)
            self.aim = layer(ax, scene, many, theme.target, under=True, dark=theme.dark)
            moving += [self.aim.artist] * (self.floor is not None)
            self._show_target()
        self.particles = layer(ax, scene, count, self.colour, dark=theme.dark)
        self.trails, self.arrows = None, None
        if self.look.trails:
            self.trails = Trails(ax, self.colour, self.particles.alpha)
            moving.append(self.trails)
        moving.append(self.particles.artist)
        if self.look.arrows:
            self.arrows = Arrows(ax, scene, self.name, theme.ink)
            moving.append(self.arrows.artist)
        return tuple(moving)

    def _show_target(self) -> None:
        """Draw the target; again where the view was turned."""
        scene, name = self.scene, self.name
        points, depth = scene.target(name), scene.target_depth(name)
        assert points is not None
        colours = None if depth is None else hazy(self.look.theme, depth)
        self.aim.show(points, scene.target_weights(name), colours, depth)

    def _show_plane(
        self, step: float, points: Float[np.ndarray, "N 2"], weights: Float[np.ndarray, "N"] | None
    ) -> None:
        scene, name = self.scene, self.name
        if isinstance(scene.view, Perspective) and self.floor is not None:
            self.floor.show(scene.view, scene.cloud(name, step))
            if self.target is not None:
                self._show_target()
        colours = self.shades.at(scene, step)
        self.particles.show(points, weights, colours, scene.depth(name, step))
        if self.trails is not None:
            some = None if colours is None else colours[scene.tailed(name)]
            self.trails.show(scene.trail(name, step, self.look.trails), some)
        if self.arrows is not None:
            self.arrows.show(scene, step)

    def _open_line(self) -> tuple[Artist, ...]:
        """Prepare a histogram over rugs (d = 1).

        A histogram that rises by half above the target's peak, or above its own last peak, is cut
        off.
        """
        edges, last = self.scene.edges, self.scene.steps[-1]
        target, hue = self.scene.target(self.name), self.look.theme.target
        cloud, weights = self.scene.particles(self.name, last), self.scene.weights(self.name, last)
        peak, aims = histogram(cloud, weights, edges).max(), []
        if target is not None:
            aim = histogram(target, self.scene.target_weights(self.name), edges)
            self.ax.stairs(aim, edges, fill=True, color=hue, alpha=0.55, zorder=1)
            aims.append(aim.max())
        if self.scene.density is not None:
            x, p = on_line(self.scene.density, *self.ax.get_xlim())
            self.ax.fill_between(x, p, color=hue, alpha=0.55, linewidth=0, zorder=1)
            aims.append(p.max())
        top = 1.4 * (max(*aims, min(peak, 2 * max(aims))) if aims else peak or 1.0)
        self.ax.set_ylim(-0.16 * top, top)
        self.ax.axhline(0, color=self.look.theme.spine, linewidth=0.8, zorder=1)
        self.ax.set_yticks([])
        if target is not None:
            self._rug(target, -0.115 * top, hue)
        nothing = np.zeros(len(edges) - 1)
        self.body = self.ax.stairs(
            nothing, edges, fill=True, color=self.colour, alpha=0.35, zorder=2
        )
        self.outline = self.ax.stairs(nothing, edges, color=self.colour, linewidth=1.4, zorder=3)
        self.rug = self._rug(cloud, -0.045 * top, self.colour)
        return self.body, self.outline, self.rug

    def _show_line(
        self, points: Float[np.ndarray, "N 1"], weights: Float[np.ndarray, "N"] | None
    ) -> None:
        density = histogram(points, weights, self.scene.edges)
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


def histogram(
    points: Float[np.ndarray, "N 1"],
    weights: Float[np.ndarray, "N"] | None,
    edges: Float[np.ndarray, "B"],
) -> Float[np.ndarray, "b"]:
    """Return counts / (all points * width of a bin); points outside lower the integral."""
    count = np.histogram(points[:, 0], len(edges) - 1, (edges[0], edges[-1]), weights=weights)[0]
    return count / (len(points) * (edges[1] - edges[0]))
