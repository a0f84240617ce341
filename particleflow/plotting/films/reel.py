"""A reel: the sheet of panels of a film, and its pixels at each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from particleflow._refusals import RefusedValueError
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.panels import (
    CAPTION,
    TALLEST,
    Panel,
    above,
    fitting,
    literal,
    sheet,
)
from particleflow.plotting.drawing.pictures import Pictures
from particleflow.plotting.films.gif import DISCS, SHADES, Frame
from particleflow.plotting.films.insets import ROOM, Distance, Inset
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.views import Plane
from particleflow.plotting.style import colour, readable
from particleflow.stopping import undisturbed
from particleflow.trajectory import Trajectory

# Size of the text, in points.
FONT = 10.5
# Size of the title, in points.
LARGE = 16.0
# Width of a panel, in inches, for 1, 2, 3 or 4 panels in a row.
WIDTHS = (5.2, 4.0, 3.2, 2.75)
# Least width of a panel, in inches: below it there is text on other text.
NARROWEST = 2.2
# Distance between two panels of a row, and room below a panel that is not in the last row, in
# inches.
BETWEEN = (0.15, 0.25)
# Empty margin around everything, in inches.
EDGE = 0.15
# Room for the numbers at the ticks, at the left and at the bottom, in inches.
NUMBERS = (0.35, 0.2)
# Room for the label of an axis, in inches.
LABEL = 0.2
# Room for a panel's caption, and for its name, in inches.
CAPTIONED, NAMED = 0.2, 0.25
# Room for the title, in inches.
TITLED = 0.45
# Most pixels of a side: more than that no browser and few players show.
MOST_PIXELS = 8192


@dataclass(frozen=True)
class Format:
    """The picture around the panels.

    Attributes
    ----------
    title : str
        Above all panels; may be empty.
    size : (width, height) in inches, or None
        Of the whole picture. By default each panel has the width that is usual for their number,
        and without a height the panels have the shape of the axes.
    dpi : pixels per inch.
    clear : bool
        A ground that is not drawn.
    """

    title: str = ""
    size: tuple[float, float | None] | None = None
    dpi: int = 200
    clear: bool = False


class Reel:
    """The panels of a film, and the pixels of each of its frames.

    The background is drawn once, then only what moves. The pixels are valid until the next frame is
    drawn.

    Raises
    ------
    RefusedValueError
        The picture has too many pixels, or too little room for its panels.
    """

    @undisturbed()
    def __init__(
        self,
        scene: Scene,
        looks: Mapping[str, Look],
        form: Format = Format(),
        *,
        distances: Mapping[str, Distance] | None = None,
        orbit: float = 0.0,
    ) -> None:
        """`orbit`: degrees by which the eye goes round during the film (d = 3)."""
        self.scene, self.orbit, known = scene, orbit, distances or {}
        look = next(iter(looks.values()))
        self.theme = look.theme
        self.finish = DISCS if math.isnan(scene.level) and scene.density is None else SHADES
        figure, columns = _figure(scene, form, look, strip=bool(known))
        self.panels: list[Panel | Pictures] = []
        self.insets: list[Inset] = []
        head = CAPTION + 1.7 * FONT + 72 * ROOM * bool(known)
        for k, (name, ax) in enumerate(zip(scene.paths, figure.axes, strict=True)):
            outer = (k % columns == 0, k + columns >= len(scene.paths))
            hue, width = colour(k, self.theme), ax.get_window_extent().width / form.dpi
            kind = Pictures if looks[name].as_images else Panel
            self.panels.append(kind(ax, scene, name, hue, size=FONT, outer=outer, look=looks[name]))
            size, ink = fitting(name, 1.25 * FONT, width), readable(hue, self.theme.ground)
            above(ax, head, name, size, ink).set_fontweight("bold")
        if form.title:
            first = self.panels[0].ax
            place = first.get_position()
            width = figure.get_figwidth() * (1 - 2 * place.x0) + EDGE
            size = fitting(
                form.title, LARGE, max(width, first.get_window_extent().width / form.dpi)
            )
            lift = 72 * (_head(scene, strip=bool(known)) + 0.14)
            above(first, lift, form.title, size, self.theme.ink).set_fontweight("bold")
        for panel in self.panels:
            if panel.name in known:
                mine = known[panel.name]
                spans = [other.span for other in known.values() if other.name == mine.name]
                span = min(low for low, _ in spans), max(high for _, high in spans)
                self.insets.append(
                    Inset(panel.ax, mine, panel.colour, self.theme, size=FONT, span=span)
                )
        assert isinstance(figure.canvas, FigureCanvasAgg)
        self.figure, self.canvas = figure, figure.canvas
        if form.clear:
            for ground in (figure.patch, *(ax.patch for ax in figure.axes)):
                ground.set_alpha(0)
        for artist in self.moving():
            artist.set_animated(True)
        literal(part for part in figure.findobj(Text) if isinstance(part, Text))
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def __len__(self) -> int:
        return len(self.scene.steps)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.canvas.get_width_height()

    @property
    def colours(self) -> list[str]:
        """The colours of the film's parts, as hex codes."""
        theme = self.theme
        return [theme.ground, theme.target, theme.spine, theme.faint, theme.ink, *theme.runs]

    def frame(self, k: int) -> Frame:
        """Return the pixels of the k-th frame."""
        scene = self.scene
        if self.orbit:
            scene = scene.turned(self.orbit * k / max(1, len(self) - 1))
        for inset in self.insets:
            inset.show(k)
        return self._pixels(scene, scene.steps[k])

    def frame_of(self, run: Trajectory) -> Frame:
        """Return the pixels of one record of a single run, drawn on this film's axes and tones."""
        (panel,) = self.panels
        return self._pixels(replace(self.scene, paths={panel.name: run}), int(run.steps[0]))

    def moving(self) -> Iterator[Artist]:
        """Yield what is drawn anew in each frame."""
        for part in (*self.panels, *self.insets):
            yield from part.moving

    @undisturbed()
    def _pixels(self, scene: Scene, step: float) -> Frame:
        self.canvas.restore_region(self.background)
        for panel in self.panels:
            panel.scene = scene
            panel.show(step)
        renderer = self.canvas.get_renderer()
        for artist in self.moving():
            artist.draw(renderer)
        pixels: Frame = np.asarray(self.canvas.buffer_rgba()).view(np.uint32)[..., 0]
        return pixels


def _head(scene: Scene, *, strip: bool) -> float:
    """Return the height of what stands above a panel, in inches."""
    return CAPTIONED + NAMED * any(scene.paths) + ROOM * strip


def _figure(scene: Scene, form: Format, look: Look, *, strip: bool) -> tuple[Figure, int]:
    """Return a figure with a panel for each run, and the number of its columns."""
    count, head = len(scene.paths), _head(scene, strip=strip)
    ticks = isinstance(scene.view, Plane) and not look.as_images
    aspect = 1.0 if look.as_images else scene.aspect
    left = EDGE + (NUMBERS[0] + LABEL * bool(scene.labels[1])) * ticks
    bottom = EDGE + (NUMBERS[1] + LABEL * bool(scene.labels[0])) * ticks
    top = EDGE + head + TITLED * bool(form.title)
    gap = BETWEEN[0], BETWEEN[1] + head
    rows = math.ceil(count / len(WIDTHS))
    columns = math.ceil(count / rows)
    width = WIDTHS[columns - 1] * min(1.0, TALLEST / aspect)
    spare = (0.0, 0.0)
    if form.size is not None:
        room = form.size[0] - left - EDGE, (form.size[1] or math.inf) - bottom - top

        def widest(columns: int) -> float:
            rows = math.ceil(count / columns)
            wide = (room[0] - (columns - 1) * gap[0]) / columns
            high = (room[1] - (rows - 1) * gap[1]) / rows
            return min(wide, high / aspect)

        if form.size[1] is not None:
            columns = max(range(1, count + 1), key=widest)
        while form.size[1] is None and columns > 1 and widest(columns) < NARROWEST:
            columns -= 1
        rows, width = math.ceil(count / columns), widest(columns)
        if width < NARROWEST:
            raise RefusedValueError(
                "size",
                f"must leave {NARROWEST} inches for the width of a panel",
                f"{form.size}, which leaves {max(width, 0):.2g}",
                "pass a larger one, e.g. (9.6, 5.4), or leave it out",
            )
        used = (
            columns * width + (columns - 1) * gap[0],
            rows * width * aspect + (rows - 1) * gap[1],
        )
        spare = (room[0] - used[0]) / 2, (room[1] - used[1]) / 2 if form.size[1] else 0.0
    margins = left + spare[0], EDGE + spare[0], bottom + spare[1], top + spare[1]
    figure = sheet(
        rows,
        columns,
        (width, width * aspect),
        margins,
        gap,
        form.dpi,
        look.theme.ground,
        most=MOST_PIXELS,
    )
    for ax in figure.axes[count:]:
        ax.remove()
    return figure, columns
