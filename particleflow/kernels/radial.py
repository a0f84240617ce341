"""Make a radial kernel from one formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from particleflow import _autograd, _checks
from particleflow.kernels.scaled import squarable


@dataclass(frozen=True)
class Radial:
    """A user's kernel k = of(s), s = |z - y|^2, such as `Radial(lambda s: 1 / (1 + s) ** 2)`.

    Slope and curvature come from automatic differentiation of `of` in s (not through pairs).
    `of` must therefore be smooth at s = 0. With a `bandwidth`, k = of(s / bandwidth^2): the kernel
    declares its scale, and many points are summed fast (see `ScaledKernel`). Without a `bandwidth`,
    the kernel is summed exactly.
    """

    of: Callable[[Tensor], Tensor]
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        _checks.function(
            self.of,
            "of",
            remedy="pass a function of s = |z - y|^2, e.g. lambda s: torch.exp(-s / 2)",
        )
        if self.bandwidth is not None:
            object.__setattr__(
                self, "bandwidth", squarable(self.bandwidth, "pass a length, or leave it out")
            )

    def with_bandwidth(self, bandwidth: float) -> Radial:
        """Return the same formula in another unit of length."""
        return replace(self, bandwidth=bandwidth)

    def profile(self, s: Tensor) -> Tensor:
        return self.of(s / self._unit)

    def slope(self, s: Tensor) -> Tensor:
        return self._derivatives(s / self._unit, 1) / self._unit

    def curvature(self, s: Tensor) -> Tensor:
        return self._derivatives(s / self._unit, 2) / self._unit**2

    @property
    def _unit(self) -> float:
        return 1.0 if self.bandwidth is None else self.bandwidth**2

    def _derivatives(self, s: Tensor, order: int) -> Tensor:
        with _autograd.recording():
            at = _autograd.leaf(s)
            value = self.of(at)
            for k in range(order):
                if not value.requires_grad:
                    return torch.zeros_like(at)
                (value,) = torch.autograd.grad(value.sum(), at, create_graph=k + 1 < order)
        return value.detach()
