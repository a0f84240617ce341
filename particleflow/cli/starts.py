"""Where a Gaussian start is put that is chosen from the target, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from particleflow import kernels
from particleflow.config import BESIDE, BEYOND, BULK, FAR, WIDTH, Settings, of_flow


def in_order(y: Tensor) -> Tensor:
    """The rows in the order of their numbers: sums over them have the same bits however they came."""
    return y[np.lexsort(y.numpy().T)]


def place(y: Tensor, scale: float) -> tuple[Tensor, float]:
    """Mean (d,) and standard deviation of a start that is chosen.

    Small and beside the target's mean, so that the flow is seen. As wide as the target where its
    parts lie many kernel lengths apart: particles that begin in one of them would never feel the
    others.
    """
    mean, std = beside(y, scale)
    try:
        length = kernels.default_bandwidth(y)
    except ValueError:  # most points coincide
        return mean, std
    beyond = (y - mean).norm(dim=1) - (math.sqrt(y.shape[1]) + 2) * std > BEYOND * length
    return (
        (y.mean(0), float(_longest_axis(y).norm()))
        if float(beyond.double().mean()) > 1 - BULK
        else (mean, std)
    )


def beside(y: Tensor, scale: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of a small start beside the target's mean, along its longest
    axis.
    """
    return y.mean(0) + BESIDE * _longest_axis(y), WIDTH * scale


def notes(
    settings: Settings, names: Sequence[str], y: Tensor, bulk: Tensor, scale: float
) -> list[str]:
    """What is to be said of a start that is chosen from the target."""
    gaussian = (settings.get("start") or "auto") in ("auto", "gaussian")
    placed, sized = (gaussian and settings.get(key) is None for key in ("start_mean", "start_std"))
    noise = "mmd-noise" in names and of_flow(settings, "mmd-noise", "beta") is None
    said = []
    left = len(y) - len(bulk)
    if left and (placed or sized or noise):
        chosen = " and ".join(["start"] * (placed or sized) + ["beta"] * noise)
        said.append(
            f"{chosen}: chosen without {left} of {len(y)} target points, outliers: they lie more"
            f" than {FAR:g} times farther from the median than {100 * BULK:g} % of the points"
        )
    if placed and sized and place(bulk, scale)[1] > beside(bulk, scale)[1]:
        said.append("start: as wide as the target, whose parts lie many kernel lengths apart")
    return said


def _longest_axis(y: Tensor) -> Tensor:
    """One standard deviation along the first principal axis, its largest entry positive: (d,)."""
    centred = y - y.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(y))
    axis = axes[:, -1] * variances[-1].clamp_min(0).sqrt()
    largest = (axis.abs() >= (1 - 1e-9) * axis.abs().max()).nonzero()[
        0, 0
    ]  # the first of equal ones, whatever rounding says
    return axis * (-1.0 if axis[largest] < 0 else 1.0)
