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
    r"""A user's kernel: any smooth function of the squared distance.

    .. math::

        k(z, y) = \varphi(s) ,
        \qquad
        s = \frac{|z - y|^2}{\ell^2} ,
        \qquad
        \nabla_z k = \frac{2}{\ell^2}\, \varphi'(s)\, (z - y) .

    :math:`\varphi` is `of`, and :math:`\ell` the bandwidth, or 1 without one. The derivatives in s
    come from automatic differentiation of `of`, not through pairs. `of` must be smooth at s = 0.
    The kernel is positive definite in every dimension exactly where `of` is a mixture of decaying
    exponentials of s (completely monotone).

    Parameters
    ----------
    of : callable
        Maps s >= 0, a tensor of any shape, elementwise with functions of torch, such as
        `lambda s: 1 / (1 + s) ** 2`.
    bandwidth : float, optional
        The length :math:`\ell`, in units of the coordinates, > 0. It declares the scale, and many
        points are then summed fast (see `ScaledKernel`). Without it s is in squared units of the
        coordinates, and the kernel is summed exactly.

    Raises
    ------
    TypeError
        `of` is no function, or `bandwidth` no number.
    ValueError
        `bandwidth` is not positive and finite, or its square leaves float64.

    Cost: O(d) a pair, and up to two differentiations of `of` at each.

    Source: Schoenberg (1938) for the positive definite ones.

    >>> kernel = pf.kernels.Radial(lambda s: 1 / (1 + s) ** 2, bandwidth=2.0)
    >>> s = torch.tensor([0.0, 4.0])
    >>> kernel.profile(s), kernel.slope(s)  # slope: -2 / (1 + s / 4)^3 / 4
    (tensor([1.0000, 0.2500]), tensor([-0.5000, -0.0625]))
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
        """The same formula in another unit of length."""
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
