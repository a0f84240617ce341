"""Give the built-in kernels a bandwidth, and distances in bandwidths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels.contract import COINCIDENT

# Squared distance at which every exponential is zero, in squared bandwidths.
UNREACHED = 1e8

S = TypeVar("S", bound="Scaled")


def squarable(bandwidth: float, remedy: str) -> float:
    """Return a length between 1e-100 and 1e100, and refuse any other.

    Raises
    ------
    ValueError
        `bandwidth` is not positive, or its square is not safely a number of float64.
    """
    number = _checks.positive(bandwidth, "bandwidth", remedy=remedy)
    if not 1e-100 <= number <= 1e100:
        raise ValueError(
            f"`bandwidth` must have a square, got {number:g}: take another unit of length"
        )
    return number


@dataclass(frozen=True)
class Scaled:
    """A kernel with a length, `bandwidth`: k_l(s) = k_1(s / l^2). A subclass adds its profile."""

    bandwidth: float = cast("float", None)  # None is refused below, by name

    def with_bandwidth(self: S, bandwidth: float) -> S:
        """The same kernel with another bandwidth, in units of the coordinates."""
        return replace(self, bandwidth=bandwidth)

    def __post_init__(self) -> None:
        remedy = "pass a length, e.g. particleflow.kernels.default_bandwidth(target)"
        if self.bandwidth is None:
            raise TypeError(
                f"`bandwidth` must be a number for {type(self).__name__}, got nothing: {remedy}"
            )
        object.__setattr__(self, "bandwidth", squarable(self.bandwidth, remedy))

    def _distance(self, s: Tensor) -> Tensor:
        """Return |z - y| / bandwidth, clamped to be positive and to have a finite square."""
        largest = torch.finfo(s.dtype).max
        return (
            s.clamp(
                (COINCIDENT * self.bandwidth) ** 2,
                min(largest, (largest**0.47 * self.bandwidth) ** 2),
            ).sqrt()
            / self.bandwidth
        )

    def _squared(self, s: Tensor) -> Tensor:
        """Return s / bandwidth^2, clamped at `UNREACHED`."""
        return (s / self.bandwidth**2).clamp_max(UNREACHED)
