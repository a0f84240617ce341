"""Where a point of space is seen in a panel: two of its coordinates, or a view in perspective."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

# Azimuth and elevation of the eye, in degrees.
AZIMUTH = -60.0
ELEVATION = 20.0
# Distance of the eye from the middle, in radii of the ball around the points.
DISTANCE = 4.0
# Squares along each side of the grid on the floor.
GRID = 5
# Degrees between two azimuths at which the ends of an orbit are measured: between them points leave
# the measured ends by a hundredth of these.
TURN = 15.0


@dataclass(frozen=True)
class Plane:
    """The coordinates along some directions, the columns of `axes`; None: all coordinates."""

    axes: Float[np.ndarray, "d e"] | None = None

    def seen(self, points: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N e"]:
        return points if self.axes is None else points @ self.axes

    def depth(self, points: Float[np.ndarray, "N d"]) -> None:
        return None


@dataclass(frozen=True)
class Perspective:
    """A central projection of a box in space (d = 3).

    With e the unit vector from the middle of the box to the eye, at a distance D from it, and u, v
    the unit vectors to the right and upwards, a point p, measured from the middle, is seen at

        (<u, p>, <v, p>) D / (D - <e, p>).

    Attributes
    ----------
    low, high : (3,)
        The corners of the box.
    azimuth, elevation : float
        The direction of the eye, in degrees; the third coordinate points upwards.
    """

    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    azimuth: float = AZIMUTH
    elevation: float = ELEVATION

    @property
    def radius(self) -> float:
        """The radius of the ball around the box."""
        return float(np.linalg.norm(self.high - self.low)) / 2

    @property
    def corners(self) -> Float[np.ndarray, "8 3"]:
        return np.array(list(product(*zip(self.low, self.high, strict=True))))

    @property
    def floor(self) -> Float[np.ndarray, "k 2 3"]:
        """The ends of the lines of a grid on the floor of the box."""
        shares = np.linspace(0, 1, GRID + 1)
        ends = [((s, 0, 0), (s, 1, 0)) for s in shares] + [((0, s, 0), (1, s, 0)) for s in shares]
        return self.low + np.array(ends) * (self.high - self.low)

    def fallen(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """The points right below, on the floor of the box."""
        return np.column_stack([points[:, :2], np.full(len(points), self.low[2])])

    @property
    def frame(self) -> Float[np.ndarray, "3 3"]:
        """The unit vectors to the right, upwards and to the eye, as columns."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        eye = (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
        up = (-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e))
        return np.array([(-math.sin(a), math.cos(a), 0.0), up, eye]).T

    def seen(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        across, up, near = ((points - (self.low + self.high) / 2) @ self.frame).T
        distance = DISTANCE * self.radius
        # A point beside the eye or behind it is far outside of the picture.
        shrink = distance / np.maximum(distance - near, 0.05 * distance)
        return np.stack([across * shrink, up * shrink], axis=1)

    def depth(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
        near = (points - (self.low + self.high) / 2) @ self.frame[:, 2]
        return np.clip(0.5 - near / (2 * self.radius), 0, 1)

    def turned(self, degrees: float) -> Perspective:
        """Return the view of an eye that went round by so many degrees."""
        return replace(self, azimuth=self.azimuth + degrees)

    def orbit(self, degrees: float) -> list[Perspective]:
        """Return views of an eye that goes round by so many degrees, both ends included."""
        count = math.ceil(min(abs(degrees), 360.0) / TURN)
        turns = math.copysign(min(abs(degrees), 360.0), degrees)
        return [self.turned(turns * k / max(1, count)) for k in range(count + 1)]

    @property
    def ends(self) -> Float[np.ndarray, "8 2"]:
        """Where the floor's corners are seen."""
        return self.seen(self.fallen(self.corners))


# Maps points (N, d) to their places (N, e) in a panel and to their depths (N,), 0 at the point
# nearest to the eye and 1 at the farthest, None in a plane.
View: TypeAlias = Plane | Perspective


def inside(
    places: Float[np.ndarray, "N e"], low: Float[np.ndarray, "e"], high: Float[np.ndarray, "e"]
) -> Bool[np.ndarray, "N"]:
    """Tell which places lie between two corners."""
    return np.all((places >= low) & (places <= high), axis=1)
