"""Particles that are pictures, such as digits: a mosaic in the place of a panel."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.panels import CAPTION, above, captioned, quiet
from particleflow.plotting.scenes.scene import Scene

# Pictures along each side of a mosaic.
SIDE = 6
# Share of the target's entries that are darker than black, and lighter than white.
CUT = 0.01


class Pictures:
    """The first particles of a run as pictures; `show(step)` draws them. See `panels.Panel`."""

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
        look: Look,
    ) -> None:
        assert look.as_images is not None
        self.ax, self.scene, self.name, self.colour = ax, scene, name, colour
        self.shape = look.as_images
        theme, run = look.theme, scene.paths[name]
        quiet(ax, 0.85 * size, theme)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        self.side = min(SIDE, math.ceil(math.sqrt(run.particles.shape[1])))
        aim = (run.particles[-1] if run.target is None else run.target).detach().cpu().double()
        low, high = np.quantile(aim.numpy(), [CUT, 1 - CUT])
        shades = [_paper(look), theme.ink]
        tones = LinearSegmentedColormap.from_list("ink", shades, bad=theme.ground)
        blank = np.full(self._mosaic(scene.cloud(name, scene.steps[0])).shape, np.nan)
        self.image = ax.imshow(blank, cmap=tones, vmin=low, vmax=high if high > low else low + 1)
        self.caption = above(ax, CAPTION, "", captioned(ax, scene, name, size), theme.faint)
        self.remarks = ax.text(
            0.97, 0.03, "", transform=ax.transAxes, fontsize=0.85 * size, color=colour, ha="right"
        )
        self.moving = (self.image, self.caption, self.remarks)

    def show(self, step: float) -> None:
        """Draw the particles at a step."""
        self.image.set_data(self._mosaic(self.scene.cloud(self.name, step)))
        self.caption.set_text(self.scene.moment(self.name, step))

    def show_target(self) -> None:
        """Draw points of the target in their place."""
        target = self.scene.paths[self.name].target
        if target is not None:
            self.image.set_data(self._mosaic(target.detach().cpu().double().numpy()))
            self.caption.set_text("target")

    def _mosaic(self, points: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "H W"]:
        """Return the first pictures, one pixel apart."""
        height, width = self.shape
        some = points[: self.side**2]
        sheet = np.full((self.side**2, height + 1, width + 1), np.nan)
        sheet[: len(some), :height, :width] = some.reshape(-1, height, width)
        rows = sheet.reshape(self.side, self.side, height + 1, width + 1).transpose(0, 2, 1, 3)
        return rows.reshape(self.side * (height + 1), -1)[:-1, :-1]


def _paper(look: Look) -> str:
    """The colour of a picture's lowest tone, a little apart from the ground."""
    return "#1A212B" if look.dark else "#F1F3F5"
