"""The bytes of one moment: what the page draws between two orders."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# The head of a frame, little-endian. Whole numbers: of the frame, of the facts, of the scene, the
# step, the particles, a zero. Then float64: t, rms speed, value of the fit, dt, seconds of a step.
# live.js reads the same.
HEAD = struct.Struct("<6I5d")
# Distance of a box from zero, in its sides, from which on float32 has too few digits for a picture.
FAR = 1e3


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


def packed(number: int, moment: Moment, points: Tensor, origin: Tensor) -> bytes:
    """The head, and the particles (N, 2) as float32, measured from an origin (2,)."""
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
    return head + plain(points, origin)


def plain(points: Tensor, origin: Tensor) -> bytes:
    """Points (N, 2) from an origin, as little-endian float32, a pair after the other."""
    near = (points - origin).detach().cpu().numpy()
    return np.ascontiguousarray(near, dtype="<f4").tobytes()


def origin(low: Tensor, high: Tensor) -> Tensor:
    """The point (2,) from which float32 holds a picture between two corners finely enough.

    It is zero, or for a box far from zero its middle.
    """
    far = max(float(low.abs().max()), float(high.abs().max())) > FAR * float((high - low).max())
    return (low + high) / 2 if far else torch.zeros_like(low)
