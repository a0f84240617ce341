"""A target whose density is known: its log density, asked of users and seen on a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.samplers.base import Density
from particleflow.trajectory import Trajectory

# Maps points (Q, d) to their log density (Q,), up to a constant.
LogDensity: TypeAlias = Callable[[Tensor], Tensor]

# Points on a line from which the constant of a density is computed.
FINE = 4001
# Distance from the picture, in its widths, within which a density on a line is integrated.
BEYOND = 2.0


def asked(value: Any, runs: Mapping[str, Trajectory]) -> LogDensity | None:
    """The log density that users pass, tried at two points; None where there is none.

    Raises
    ------
    TypeError, ValueError
        It is no density, returns something else, or the runs are in d > 2.
    """
    if value is None:
        return None
    remedy = "pass e.g. pf.samplers.Gaussian(dim=2), or lambda z: -0.5 * (z**2).sum(1)"
    log = value.log_density if isinstance(value, Density) else value
    if isinstance(value, type) or not callable(log):
        raise RefusedTypeError("density", "must be a density", _checks.came(value), remedy)
    run = next(iter(runs.values()))
    if run.particles.shape[2] > 2:
        d = f"d = {run.particles.shape[2]}"
        raise RefusedValueError("density", "can be shown for d <= 2", d, "leave it out")
    some = run.particles[0, [0, -1]].detach().cpu().double()
    found: Any = log(some)
    shape = tuple(found.shape) if isinstance(found, Tensor) else _checks.kind(found)
    if shape != (2,):
        raise RefusedValueError("density", "must map z (Q, d) to log p (Q,)", shape, remedy)
    return log


def on_line(
    log: LogDensity, low: float, high: float
) -> tuple[Float[np.ndarray, "X"], Float[np.ndarray, "X"]]:
    """Return points between two ends, and the density there, whose integral is 1."""
    wide = np.linspace(low - BEYOND * (high - low), high + BEYOND * (high - low), FINE)
    values = _values(log, wide[:, None])
    total = np.trapezoid(values, wide) or 1.0
    inside = (wide >= low) & (wide <= high)
    return wide[inside], values[inside] / total


def on_plane(
    log: LogDensity,
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "H W"]:
    """Return the density at H x W pixels, the uppermost row first; their sum is 1."""
    height, width = shape
    x = low[0] + (np.arange(width) + 0.5) / width * (high[0] - low[0])
    y = high[1] - (np.arange(height) + 0.5) / height * (high[1] - low[1])
    values = _values(log, np.stack([side.ravel() for side in np.meshgrid(x, y)], axis=1))
    return values.reshape(shape) / (values.sum() or 1.0)


def _values(log: LogDensity, points: Float[np.ndarray, "Q d"]) -> Float[np.ndarray, "Q"]:
    """Return the density over its largest value."""
    values = log(torch.from_numpy(points)).detach().cpu().double().numpy()
    finite = values[np.isfinite(values)]
    return np.exp(np.nan_to_num(values, nan=-np.inf) - (finite.max() if len(finite) else 0.0))
