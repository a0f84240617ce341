"""A fit, or a recorded witness, seen at the points of a grid; this module draws nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import LinearSegmentedColormap, Normalize
from scipy.interpolate import RegularGridInterpolator

from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import fitted
from particleflow.flows import Flow
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.style import DIVERGING, DIVERGING_DARK, STRENGTH, STRENGTH_DARK, Theme
from particleflow.subsets import some_rows
from particleflow.trajectory import Trajectory

# Points of the grid along the longer side: of the tones and of the arrows.
TONES = 161
ARROWS = 24
# Points of a curve (d = 1).
CURVE = 501
# Largest value that has a tone of its own, beside the largest one at particles and target.
BEYOND = 2.0
# Most particles, and points of the target, that are drawn.
POINTS = 1500
# Most particles whose recorded velocities are drawn.
MOVED = 150
# The shorter side of a witness's values about zero, beside the longer one, from which zero is the
# middle of the tones. A log density, say, has one sign.
BALANCED = 0.02


@dataclass(frozen=True)
class Seen:
    """A fit, seen at the points of grids.

    Attributes
    ----------
    values : (H, W) or (W,)
        The witness, or the speed in the plane, or the velocity on the line, at each point of the
        grid, rows upwards.
    zero : (H, W) or (W,)
        The witness.
    largest : float
        The largest of these at particles and target.
    places, velocities : (Q, d)
        Where there are arrows, and the velocities there.
    grid : the coordinates along each axis.
    """

    values: Float[np.ndarray, "..."]
    zero: Float[np.ndarray, "..."]
    largest: float
    places: Float[np.ndarray, "Q d"]
    velocities: Float[np.ndarray, "Q d"]
    grid: tuple[Float[np.ndarray, "_"], ...]

    @classmethod
    def of(cls, path: Trajectory, flow: Flow, k: int, scene: Scene, what: str) -> Seen:
        clock = Clock(float(path.times[k]), int(path.steps[k]), path.state.clock.draws)
        aim = None
        if path.target is not None:
            aim = Cloud(path.target, log_mass=path.target_log_mass)
        x = path.cloud(k)
        fit = fitted(flow.estimator, x, aim, clock, {})
        still = replace(flow, noise=None, diffusion=None, reaction=None)

        def at(
            z: Float[np.ndarray, "Q d"],
        ) -> tuple[Float[np.ndarray, "Q"], Float[np.ndarray, "Q d"]]:
            queries = torch.as_tensor(z, dtype=x.points.dtype, device=x.points.device)
            w, _ = fit.witness.value_and_grad(queries)
            v, _ = still.velocity(Cloud(queries), fit, clock)
            return _array(w), _array(v)

        def shown(w: Float[np.ndarray, "Q"], v: Float[np.ndarray, "Q d"]) -> Any:
            if what != "velocity":
                return w
            return np.linalg.norm(v, axis=1) if v.shape[1] == 2 else v[:, 0]

        grid = _grid(scene, TONES if scene.flat else CURVE)
        shape = tuple(len(side) for side in reversed(grid))
        w, v = at(_points(grid))
        clouds = [x.points] if aim is None else [x.points, aim.points]
        own = [shown(*at(_array(c[some_rows(len(c), POINTS)]))) for c in clouds]
        near = np.abs(np.concatenate(own))
        largest = float(near[np.isfinite(near)].max(initial=0.0)) or 1.0
        places = _points(_grid(scene, ARROWS, middle=True))
        return cls(
            shown(w, v).reshape(shape), w.reshape(shape), largest, places, at(places)[1], grid
        )

    @classmethod
    def recorded(cls, path: Trajectory, k: int, scene: Scene) -> Seen:
        """The witness that a run has recorded, and the velocities of some particles."""
        assert path.witness is not None
        assert path.witness_axes is not None
        w = _array(path.witness[k])
        grid = tuple(_array(axis) for axis in path.witness_axes.T)
        clouds = [path.particles[k]] if path.target is None else [path.particles[k], path.target]
        at = RegularGridInterpolator(grid, w, bounds_error=False)
        near = np.abs(np.concatenate([at(_array(c[some_rows(len(c), POINTS)])) for c in clouds]))
        largest = float(near[np.isfinite(near)].max(initial=0.0)) or 1.0
        rows = some_rows(path.particles.shape[1], MOVED)
        places = moves = np.empty((0, w.ndim))
        if path.velocity is not None:
            places, moves = _array(path.particles[k][rows]), _array(path.velocity[k][rows])
        return cls(w.T, w.T, largest, places, moves, grid)

    def tones(self, theme: Theme) -> tuple[LinearSegmentedColormap, Normalize]:
        """Return the colours of the values, with zero in the middle where they have both signs."""
        low, high = float(np.nanmin(self.values)), float(np.nanmax(self.values))
        most = BEYOND * self.largest
        low, high = max(low, -most), min(high, most)
        if low < 0 < high and min(-low, high) > BALANCED * max(-low, high):
            most = max(-low, high)
            stops = DIVERGING_DARK if theme.dark else DIVERGING
            return _colours(stops), Normalize(-most, most)
        pale = STRENGTH_DARK if theme.dark else STRENGTH
        return _colours(pale), Normalize(low, high if high > low else low + 1)


def _grid(scene: Scene, count: int, *, middle: bool = False) -> tuple[Float[np.ndarray, "_"], ...]:
    """Coordinates along each axis, `count` along the longest; `middle`: of cells, not of ends."""
    sides = scene.high - scene.low
    made = []
    for low, high, side in zip(scene.low, scene.high, sides, strict=True):
        many = max(2, math.ceil(count * float(side / sides.max())))
        shift = float(side) / many / 2 if middle else 0.0
        made.append(np.linspace(low + shift, high - shift, many))
    return tuple(made)


def _points(grid: tuple[Float[np.ndarray, "_"], ...]) -> Float[np.ndarray, "Q d"]:
    """All points of a grid, the first coordinate fastest."""
    return np.stack([side.ravel() for side in np.meshgrid(*grid)], axis=1)


def _array(tensor: torch.Tensor) -> Float[np.ndarray, "..."]:
    return tensor.detach().cpu().double().numpy()


def _colours(stops: Sequence[str]) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("tones", list(stops))
