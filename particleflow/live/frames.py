"""The bytes of one moment: what the page draws between two orders."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from torch import Tensor

# The head of a frame, little-endian. Whole numbers: of the frame, of the facts, of the scene, the
# step, the particles, a zero. Then float64: t, rms speed, value of the fit, dt, seconds of a step.
# live.js reads the same.
HEAD = struct.Struct("<6I5d")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The numbers of one moment; NaN where there is none."""

    facts: int
    scene: int
    step: int
    t: float
    speed: float
    value: float
    dt: float
    seconds: float


def packed(number: int, moment: Moment, points: Tensor) -> bytes:
    """The head, and the particles (N, 2) as float32."""
    head = HEAD.pack(
        number,
        moment.facts,
        moment.scene,
        moment.step,
        len(points),
        0,
        moment.t,
        moment.speed,
        moment.value,
        moment.dt,
        moment.seconds,
    )
    return head + plain(points)


def plain(points: Tensor) -> bytes:
    """Points (N, 2) as little-endian float32, a pair after the other."""
    return np.ascontiguousarray(points.detach().cpu().numpy(), dtype="<f4").tobytes()
