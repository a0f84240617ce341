"""Layers that show a cloud in the plane: a disc for each point, or a picture of the density."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.path import Path

from particleflow.plotting.scenes.density import blended, density, tone, typical
from particleflow.plotting.scenes.known import on_plane
from particleflow.plotting.scenes.records import crowded
from particleflow.plotting.scenes.scene import Scene

# Share of a panel that the discs of one cloud may cover, so that they do not hide each other.
COVER = 0.09
# Least and largest diameter of a disc, in points.
DIAMETER = (1.35, 6.0)
# A 24-gon, which looks like a disc: the extents of Bezier curves take longer than drawing them.
DISC = Path.unit_regular_polygon(24)
# Most points that a PDF holds as vector graphics; larger clouds are pixels.
VECTORS = 5000
# Number of tones of a picture: more cannot be told apart, and make films larger.
TONES = 64
# Diameter of a disc in a view in perspective at the near and the far end, beside that in a plane.
PERSPECTIVE = (1.5, 0.75)
# Stops (tone, mixed-in share of black if < 0 or white if > 0, opacity): thin parts light and clear,
# dense parts dark, so that a picture reads without its hue.
PARTICLES = (
    (0.0, 0.35, 0.0),
    (0.25, 0.2, 0.6),
    (0.5, 0.0, 0.95),
    (0.8, -0.45, 1.0),
    (1.0, -0.75, 1.0),
)
# Stops of the tones of a cloud that lies under another: one hue, less opaque.
UNDER = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.6), (1.0, 0.0, 0.9))


Stops = tuple[tuple[float, float, float], ...]


class Discs:
    """A disc for each point, with an area proportional to its mass.

    Discs are smaller and fainter where there are more of them.
    """

    def __init__(self, ax: Axes, count: int, colour: str, *, under: bool) -> None:
        box = ax.get_window_extent()
        points = 72 / ax.figure.dpi
        diameter = np.sqrt(COVER * box.width * box.height * points**2 / count)
        self.size = float(np.clip(diameter, *DIAMETER)) ** 2 * (1.5 if under else 1.0)
        self.alpha = float(np.clip(0.85 * (600 / count) ** 0.35, 0.22, 0.85)) * (
            0.75 if under else 1.0
        )
        zorder = 1 if under else 3
        self.artist = ax.scatter(
            [],
            [],
            s=self.size,
            marker=DISC,
            color=colour,
            alpha=self.alpha,
            linewidths=0,
            zorder=zorder,
        )
        self.artist.set_rasterized(count > VECTORS)

    def show(
        self,
        points: Float[np.ndarray, "N 2"],
        weights: Float[np.ndarray, "N"] | None = None,
        colours: Float[np.ndarray, "N 3"] | None = None,
        depth: Float[np.ndarray, "N"] | None = None,
    ) -> None:
        """Draw points; those far away (`depth`) are smaller and lie under those near by."""
        order = slice(None) if depth is None else np.argsort(-depth)
        self.artist.set_offsets(points[order])
        if weights is not None or depth is not None:
            areas = np.ones(len(points)) if weights is None else np.clip(weights, 0, 25)
            shrunk = 1.0 if depth is None else np.interp(depth, (0, 1), PERSPECTIVE) ** 2
            self.artist.set_sizes((self.size * areas * shrunk)[order])
        if colours is not None:
            self.artist.set_facecolor(np.clip(colours, 0, 1)[order])
            self.artist.set_alpha(self.alpha)


class Shade:
    """The density at each pixel of the panel, in tones of one colour.

    A tone means the same density in all panels and frames of a scene.
    """

    alpha = 1.0

    def __init__(
        self, ax: Axes, scene: Scene, colour: str, *, under: bool, dark: bool = False
    ) -> None:
        self.scene = scene
        self.stops = _turned(UNDER if under else PARTICLES, dark)
        self.inks = _inks(colour, self.stops)
        box = ax.get_window_extent()
        self.shape = (round(box.height), round(box.width))
        (left, bottom), (right, top) = scene.low, scene.high
        self.artist = AxesImage(
            ax, extent=(left, right, bottom, top), origin="upper", zorder=1 if under else 3
        )
        self.artist.set_data(np.zeros((*self.shape, 4), np.uint8))
        self.artist.set_clip_path(ax.patch)
        ax.add_image(self.artist)

    def show(
        self,
        points: Float[np.ndarray, "N 2"],
        weights: Float[np.ndarray, "N"] | None = None,
        colours: Float[np.ndarray, "N 3"] | None = None,
        depth: Float[np.ndarray, "N"] | None = None,
    ) -> None:
        """Draw the density; `colours` give each pixel the mean colour of the points around it."""
        low, high = self.scene.low, self.scene.high
        tones = tone(density(points, weights, low, high, self.shape), self.scene.level)
        tones = (tones * TONES).astype(np.intp)
        if colours is None:
            self.artist.set_data(self.inks[tones])
            return
        pure = blended(points, colours, low, high, self.shape)
        self.artist.set_data(_mixed(pure, self.stops, tones))


def ground(ax: Axes, scene: Scene, colour: str, *, dark: bool) -> None:
    """Draw the density of a target that is known, in the tones of a target's crowd."""
    if scene.density is None:
        return
    box = ax.get_window_extent()
    shape = (round(box.height), round(box.width))
    picture = on_plane(scene.density, scene.low, scene.high, shape).astype(np.float32)
    tones = (tone(picture, typical(picture) or 1.0) * TONES).astype(np.intp)
    (left, bottom), (right, top) = scene.low, scene.high
    image = AxesImage(ax, extent=(left, right, bottom, top), origin="upper", zorder=0.5)
    image.set_data(_inks(colour, _turned(UNDER, dark))[tones])
    image.set_clip_path(ax.patch)
    ax.add_image(image)


def layer(
    ax: Axes, scene: Scene, count: int, colour: str, *, under: bool = False, dark: bool = False
) -> Discs | Shade:
    """Return the layer for a cloud of `count` points; `under`: the cloud lies under another."""
    return (
        Shade(ax, scene, colour, under=under, dark=dark)
        if crowded(count)
        else Discs(ax, count, colour, under=under)
    )


def _turned(stops: Stops, dark: bool) -> Stops:
    """Return the stops for a dark ground, on which dense parts are light."""
    return tuple((at, -share if dark else share, opacity) for at, share, opacity in stops)


def _inks(colour: str, stops: Stops) -> UInt8[np.ndarray, "T 4"]:
    """Return the colour of each tone, with its opacity."""
    pure = np.broadcast_to(np.array(to_rgb(colour)), (TONES, 3))
    return _mixed(pure, stops, np.arange(TONES))


def _mixed(
    pure: Float[np.ndarray, "*S 3"], stops: Stops, tones: Int[np.ndarray, "*S"]
) -> UInt8[np.ndarray, "*S 4"]:
    """Return pure colours as light or dark, and as opaque, as their tones are."""
    at = (np.arange(TONES) + 0.5) / TONES
    at[0] = 0  # a density of zero stays transparent
    ends = [stop for stop, _, _ in stops]
    shares = np.interp(at, ends, [share for _, share, _ in stops])[tones][..., None]
    opacity = np.interp(at, ends, [opaque for _, _, opaque in stops])[tones][..., None]
    rgb = np.where(shares > 0, pure + shares * (1 - pure), pure * (1 + shares))
    return (255 * np.concatenate([rgb, opacity], axis=-1)).round().astype(np.uint8)
