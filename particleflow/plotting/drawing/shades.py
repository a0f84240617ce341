"""The colour of each particle: of its run, by its start, its speed, its mass or its class."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb

from particleflow.plotting.drawing.look import Look
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.style import SEQUENTIAL, Theme, begun, toned

# Decades of speed below the run's fastest that have tones of their own.
DECADES = 2
# The mass, in means, that has the last colour.
HEAVY = 3.0
# Share of the ground that is mixed into the colour of the farthest points of a view in perspective.
HAZE = 0.5


class Shades:
    """The colours of one run's particles at any step."""

    def __init__(self, scene: Scene, name: str, colour: str, look: Look) -> None:
        self.name, self.look = name, look
        self.pure = np.array(to_rgb(colour))
        self.ground = np.array(to_rgb(look.theme.ground))
        self.still = None
        if look.color == "start":
            self.still = begun(scene.start(name), look.theme)
        elif look.classes is not None:
            palette = np.array([to_rgb(pair[look.dark]) for pair in look.classes.colours])
            self.still = palette[look.classes.of]

    def at(self, scene: Scene, step: float) -> Float[np.ndarray, "N 3"] | None:
        """Return the colours at a step; None where all particles have that of the run."""
        name = self.name
        rgb = self.still
        if self.look.color == "speed":
            speed = np.linalg.norm(scene.velocities(name, step), axis=1) / scene.fastest[name]
            decades = np.log10(np.maximum(np.nan_to_num(speed), 10.0**-DECADES))
            rgb = toned(np.clip(1 + decades / DECADES, 0, 1), SEQUENTIAL)
        elif self.look.color == "mass":
            mass = scene.weights(name, step)
            assert mass is not None
            rgb = toned(np.clip(mass / HEAVY, 0, 1), SEQUENTIAL)
        depth = scene.depth(name, step)
        if depth is None:
            return rgb
        pure = self.pure if rgb is None else rgb
        return pure + HAZE * depth[:, None] * (self.ground - pure)


def hazy(theme: Theme, depth: Float[np.ndarray, "M"]) -> Float[np.ndarray, "M 3"]:
    """Return the target's colour, nearer to the ground's where points are farther away."""
    pure, ground = np.array(to_rgb(theme.target)), np.array(to_rgb(theme.ground))
    return pure + HAZE * depth[:, None] * (ground - pure)
