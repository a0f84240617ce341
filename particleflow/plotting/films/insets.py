"""The distance to the target in the head of a film's panel: a small curve over its floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from particleflow.plotting.drawing.panels import CAPTION, above
from particleflow.plotting.scenes.floors import DISTANCES, floor_of, label_of
from particleflow.plotting.style import Theme, readable
from particleflow.trajectory import Trajectory

# Least ratio of the values of a curve at which its axis is logarithmic.
WIDE = 3.0
# Height of the curve, in inches.
HEIGHT = 0.34
# Room for the curve between caption and name, in inches.
ROOM = 0.42
# Margin below and above the curve, a share of its height.
MARGIN = 0.1


@dataclass(frozen=True)
class Distance:
    """A distance to the target at the moments of a film.

    Attributes
    ----------
    name : its label, without words in brackets.
    values : (F,), nan where it is not known.
    floor : float or None
        Its value between two fresh samples of the target.
    """

    name: str
    values: Float[np.ndarray, "F"]
    floor: float | None

    @property
    def span(self) -> tuple[float, float]:
        """The least and the largest of the values and the floor."""
        shown = [*self.values, *([self.floor] if self.floor else [])]
        return float(min(shown)), float(max(shown))


def distance(run: Trajectory, moments: Float[np.ndarray, "F"], *, between: bool) -> Distance | None:
    """Return W2, or else sliced W2 or W1, at the moments of a film; None where none is recorded.

    `between` two records the values are interpolated; otherwise the last one before is shown.
    """
    recorded = {label_of(run, metric).partition(", ")[0]: metric for metric in run.metrics}
    label = next((label for label in DISTANCES if label in recorded), None)
    if label is None:
        return None
    name, steps = label.partition(" (")[0], run.steps.cpu().numpy()
    values = run.metrics[recorded[label]].detach().cpu().double().numpy()
    good = np.isfinite(values)
    if not good.any():
        return None
    steps, values = steps[good], values[good]
    if not between:
        held = np.clip(np.searchsorted(steps, moments, side="right") - 1, 0, None)
        return Distance(name, values[held], floor_of(run, recorded[label]))
    return Distance(name, np.interp(moments, steps, values), floor_of(run, recorded[label]))


class Inset:
    """A small curve above a panel, as wide as that, with the floor as a dashed line.

    The whole curve is drawn once, faintly. `show(k)` draws the part up to the k-th frame, and
    writes the value beside the panel's caption.
    """

    moving: tuple[Artist, ...]

    def __init__(
        self,
        panel: Axes,
        distance: Distance,
        colour: str,
        theme: Theme,
        *,
        size: float,
        span: tuple[float, float],
    ) -> None:
        """`span`: the least and the largest value that the ordinate shows."""
        figure = panel.get_figure(root=True)
        assert figure is not None
        high, box = figure.get_figheight(), panel.get_position()
        low = box.y1 + (CAPTION + 1.35 * size) / 72 / high
        ax = figure.add_axes((box.x0, low, box.width, HEIGHT / high))
        ax.set_axis_off()
        self.name, self.values = distance.name, distance.values
        frames = np.arange(len(self.values))
        ax.set_xlim(0, max(1, frames[-1]))
        _spanned(ax, *span)
        ax.plot(frames, self.values, color=colour, alpha=0.35, linewidth=1.1, clip_on=False)
        (self.line,) = ax.plot([], [], color=colour, linewidth=2.0, clip_on=False)
        (self.point,) = ax.plot([], [], color=colour, marker="o", markersize=5, clip_on=False)
        if distance.floor:
            ax.axhline(distance.floor, color=theme.faint, linewidth=0.8, linestyle=(0, (4, 3)))
            ax.annotate(
                f"floor {distance.floor:.2g}",
                (0, distance.floor),
                (0, 1.5),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                fontsize=0.75 * size,
                color=theme.faint,
            )
        self.text = above(panel, CAPTION, "", size, readable(colour, theme.ground))
        self.text.set(x=1, horizontalalignment="right")
        self.moving = (self.line, self.point, self.text)

    def show(self, k: int) -> None:
        """Draw the curve up to the k-th frame."""
        self.line.set_data(np.arange(k + 1), self.values[: k + 1])
        self.point.set_data([k], [self.values[k]])
        self.text.set_text(f"{self.name} {self.values[k]:#.3g}")


def _spanned(ax: Axes, low: float, high: float) -> None:
    """Set the limits of the ordinate, logarithmic where they are far apart."""
    if low > 0 and high > WIDE * low:
        ax.set_yscale("log")
        margin = (high / low) ** MARGIN
        ax.set_ylim(low / margin, high * margin)
    else:
        margin = MARGIN * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
