"""Pack trajectories for the page of the player: arrays as small integers, in one gzip.

A position is a whole number of steps from the middle of the picture, of which 4096 (of a crowd
1024) are the longest side. The page computes with distances from this middle, in float32: far from
the origin the coordinates themselves would have too few digits.

A series over records is stored as its second differences in time, q_k - 2 q_{k-1} + q_{k-2}:
particles of a flow go on as they went, so these are small. Signs are folded into the lowest bit
(zigzag), and low and high bytes are stored apart, so that gzip finds the zeros.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int

Array = Float[np.ndarray, "..."]

# Steps along the longest side of the picture: four to a pixel of a panel 1000 pixels wide.
STEPS = 4096
# The same for a crowd, whose points are of one pixel.
STEPS_OF_CROWD = 1024
# Of gzip: beyond it the page shrinks by a few per cent and takes twice the time to write.
LEVEL = 6


class Block(TypedDict):
    """Where an array lies among the bytes, and how it is read back."""

    at: int
    shape: list[int]
    bytes: int


@dataclass
class Bytes:
    """The arrays of a page, one after the other."""

    parts: list[bytes] = field(default_factory=list)
    length: int = 0

    def series(self, values: Int[np.ndarray, "T N C"]) -> Block:
        """Add whole numbers that change little from record to record; int16."""
        q = np.clip(values, -(2**15) + 1, 2**15 - 1).astype(np.int32)
        change = np.diff(q, n=1, axis=0, prepend=np.zeros_like(q[:1]))
        change[2:] -= change[1:-1].copy()
        change = ((change + 2**15) % 2**16 - 2**15).astype(np.int32)
        folded = ((change << 1) ^ (change >> 31)).astype(np.uint16)
        # coordinate by coordinate, so that alike numbers are neighbours
        planes = np.moveaxis(folded, 2, 0)
        return self._add(
            (planes & 255).astype(np.uint8).tobytes() + (planes >> 8).astype(np.uint8).tobytes(),
            q.shape,
            2,
        )

    def pictures(self, values: Int[np.ndarray, "T ..."]) -> Block:
        """Add numbers from 0 to 255 that change little from record to record; uint8."""
        q = values.astype(np.uint8)
        change = q.copy()
        change[1:] -= q[:-1]
        return self._add(change.tobytes(), q.shape, 1)

    def text(self) -> str:
        """All of them, in letters."""
        return base64.b64encode(gzip.compress(b"".join(self.parts), LEVEL, mtime=0)).decode()

    def _add(self, data: bytes, shape: tuple[int, ...], size: int) -> Block:
        block = Block(at=self.length, shape=list(shape), bytes=size)
        self.parts.append(data)
        self.length += len(data)
        return block


@dataclass(frozen=True)
class Grid:
    """Positions as whole numbers: `middle` (C,) is 0, and one is `step` long."""

    middle: Float[np.ndarray, "C"]
    step: float

    @classmethod
    def over(
        cls, low: Float[np.ndarray, "C"], high: Float[np.ndarray, "C"], steps: int = STEPS
    ) -> Grid:
        """The grid of which `steps` cover the longest side of a box."""
        return cls((low + high) / 2, float((high - low).max()) / steps or 1.0)

    def whole(self, points: Float[np.ndarray, "*any C"]) -> Int[np.ndarray, "*any C"]:
        """The nearest whole numbers; what is not finite goes far away."""
        scaled = np.nan_to_num((points - self.middle) / self.step, nan=2.0**15)
        return np.rint(np.clip(scaled, -(2.0**15) + 1, 2.0**15 - 1)).astype(np.int32)


def plain(value: object) -> object:
    """A value as JSON holds it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (bool, str, int)) or value is None:
        return value
    if isinstance(value, float):
        # twelve digits: times late in a run still differ
        return float(f"{value:.12g}") if math.isfinite(value) else None
    return str(value)
