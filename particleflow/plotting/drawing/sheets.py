"""What all pictures share: their file, their title, and the key to their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from particleflow import _checks
from particleflow._refusals import RefusedTypeError
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.panels import above, affordable, literal, titled
from particleflow.plotting.drawing.shades import DECADES, HEAVY
from particleflow.plotting.scenes.records import in_one_line, writable, write
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.style import SEQUENTIAL, Theme, toned
from particleflow.stopping import undisturbed

# Pixels per inch.
DPI = 160
# Size of the text, in points.
FONT = 10.0
# Height of the row of title and key, in inches.
HEAD = 0.34
# Width and height of the key's tones, in inches.
KEY = (1.1, 0.09)
# Width of the key with its words, and the margin at the right of a title, in inches.
KEYED = 2.9
EDGE = 0.1


def words(value: Any, name: str) -> str:
    """A text, in one line."""
    if not isinstance(value, str):
        raise RefusedTypeError(name, "must be a text", _checks.said(value), "pass e.g. 'MMD flow'")
    return in_one_line(value)


def picture(file: str | Path) -> Path:
    """The path of a picture; refuse one that cannot be written."""
    kinds = [f".{kind}" for kind in FigureCanvasAgg.get_supported_filetypes()]
    return writable(file, kinds, "pass e.g. 'flow.png'")


def texts_of(cells: Sequence[Axes] | None) -> dict[Text, str]:
    """The texts that stand in the figure of the user's axes."""
    figure = cells[0].get_figure(root=True) if cells else None
    return {} if figure is None else {text: text.get_text() for text in _texts(figure)}


def _texts(figure: Figure) -> list[Text]:
    return [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]


@undisturbed()
def written(
    figure: Figure,
    path: Path | None,
    dpi: float | None = None,
    kept: Mapping[Text, str] | None = None,
) -> Figure:
    """Write the figure where there is a path, and return it.

    All texts but the user's own, `kept`, are drawn as they are, without formulas.
    """
    own = kept or {}
    literal(text for text in _texts(figure) if own.get(text) != text.get_text())
    if path is not None:
        if dpi is not None:
            affordable((figure.get_figwidth(), figure.get_figheight()), dpi)
        made = BytesIO()  # on a full disk some picture writers hide the cause, others the failure
        resolution = "figure" if dpi is None else dpi
        figure.savefig(made, format=path.suffix[1:].lower(), dpi=resolution)
        write(path, made.getvalue())
    return figure


def given_axes(ax: Any) -> list[Axes]:
    """The user's axes, row by row."""
    flat = np.array(ax, dtype=object).ravel().tolist()
    if not flat or not all(isinstance(one, Axes) for one in flat):
        remedy = "pass axes of matplotlib, e.g. ax=plt.gca(), or several"
        raise RefusedTypeError("ax", "must be Axes, or several", _checks.said(ax), remedy)
    return flat


@undisturbed()
def heading(ax: Axes, title: str, theme: Theme, points: float) -> None:
    """Write a title `points` points above the top left corner of axes."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    room = figure.get_figwidth() - ax.get_window_extent().x0 / figure.dpi - EDGE
    said, size = titled(title, 1.35 * FONT, room)
    above(ax, points, said, size, theme.ink).set(fontweight="bold", va="bottom")


def headed(title: str, look: Look) -> float:
    """Return the height of the row above the panels, in inches; 0 where it is empty."""
    return HEAD if title or look.color in ("speed", "mass") else 0.0


def head(figure: Figure, title: str, scene: Scene, look: Look, left: float) -> None:
    """Draw the title, `left` inches from the edge, and the key to the colours at the right."""
    width, height = figure.get_size_inches()
    middle = 1 - (0.1 + HEAD / 2) / height
    if title:
        keyed = look.color in ("speed", "mass")
        said, size = titled(title, 1.35 * FONT, width - left - EDGE - KEYED * keyed)
        figure.text(
            left / width,
            middle,
            said,
            va="center",
            fontsize=size,
            fontweight="bold",
            color=look.theme.ink,
        )
    if look.color not in ("speed", "mass"):
        return
    ends = "0", f"{HEAVY:g} × the mean"
    if look.color == "speed":
        fastest = list(scene.fastest.values())
        if len(fastest) == 1:
            ends = f"{fastest[0] / 10**DECADES:.1g}", f"{fastest[0]:.2g}"
        else:
            ends = f"{100 / 10**DECADES:g} %", "the run's fastest"
    wide, high = KEY

    def text(x: float, said: str) -> Text:
        style: dict[str, Any] = {"fontsize": 0.9 * FONT, "color": look.theme.faint}
        return figure.text(x, middle, said, ha="right", va="center", **style)

    last = text(1 - 0.15 / width, ends[1])
    end = last.get_window_extent().x0 / figure.bbox.width - 0.06 / width
    start = end - wide / width
    ax = figure.add_axes((start, middle - high / height / 2, wide / width, high / height))
    ax.imshow(toned(np.linspace(0, 1, 128), SEQUENTIAL)[None], aspect="auto")
    ax.set_axis_off()
    text(start - 0.06 / width, f"{look.color}  {ends[0]}")
