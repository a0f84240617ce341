"""The Hessians of weighted kernel sums and of their logarithms, exact, in float64.

With s = |z - x|^2 and delta = z - x, a radial kernel k(s) has

    Hess_z k = 4 k''(s) delta delta' + 2 k'(s) I.

They serve the densities of flows, which are asked for at few points. No backend approximates them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _autograd
from particleflow._supplied import Supplied
from particleflow._typing import Queries
from particleflow.kernels import Kernel
from particleflow.kernels.declared import has_kink, is_positive
from particleflow.pairwise.base import Field
from particleflow.pairwise.exact.dense import squared_distances
from particleflow.pairwise.promise import PartedField

# Differences z - x, in numbers, that are held in memory at once: 8 MiB.
NUMBERS = 2**20


def hessian(field: Field, z: Queries) -> Float[Tensor, "Q d d"]:
    """Hess of sum_i w_i k(z, x_i), (Q, d, d). Cost O(Q N d^2).

    Raises
    ------
    TypeError
        The kernel has a kink, or the field is no sum over pairs.
    """
    kernel, points, weights = _pairs(field)
    parts = []
    for rows in _chunks(z, points):
        s = squared_distances(rows, points)
        with Supplied("kernel", kernel):
            slope, curvature = kernel.slope(s), kernel.curvature(s)
        parts.append(_summed(rows, points, 4 * weights * curvature, 2 * weights * slope))
    return torch.cat(parts)


def log_hessian(field: Field, z: Queries) -> Float[Tensor, "Q d d"]:
    """Hess of log f, f = sum_i w_i k(z, x_i) with w >= 0 and k > 0, (Q, d, d).

    With the shares p_i = w_i k(z, x_i) / f and l = log k,

        Hess log f = sum_i p_i (4 (l'' + l'^2) delta_i delta_i' + 2 l' I) - g g',
        g = sum_i 2 p_i l' delta_i.

    It is finite however far z is from the points. l'' is the derivative of `log_slope`, by
    automatic differentiation in s. Cost O(Q N d^2).
    """
    kernel, points, weights = _pairs(field)
    if not is_positive(kernel):
        raise TypeError(f"`kernel` must be positive for the logarithm of a sum, got {kernel}")
    parts = []
    for rows in _chunks(z, points):
        s = squared_distances(rows, points)
        with Supplied("kernel", kernel):
            share = (weights.log() + kernel.log_profile(s)).softmax(1)
            # At s = 0 the slope of a Matern kernel has no derivative; times s it vanishes there.
            slope, curvature = _derived(kernel.log_slope, s.clamp_min(torch.finfo(s.dtype).tiny))
        pull = 2 * share * slope
        grad = rows * pull.sum(1, keepdim=True) - pull @ points
        curved = _summed(rows, points, 4 * share * (curvature + slope**2), pull)
        parts.append(curved - grad[:, :, None] * grad[:, None, :])
    return torch.cat(parts)


def _pairs(field: Field) -> tuple[Kernel, Float[Tensor, "N d"], Float[Tensor, "N"]]:
    """The kernel, all points and all weights of a field, in float64."""
    if not isinstance(field, PartedField):
        raise TypeError(
            f"`kernel` must have sums over pairs for a Hessian, got {type(field).__name__}:"
            " explicit features tell their gradients only"
        )
    kernel = field.parts[0][0].kernel
    if has_kink(kernel):
        raise TypeError(
            f"`kernel` must be smooth for a Hessian, got {kernel}, which has a kink where points"
            " meet: take Gaussian, Matern32, Matern52, IMQ or Cauchy"
        )
    points = torch.cat([sources.points.double() for sources, _ in field.parts])
    return kernel, points, torch.cat([w.double() for _, w in field.parts])


def _chunks(z: Queries, points: Tensor) -> Iterator[Tensor]:
    return iter(z.double().split(max(1, NUMBERS // max(1, points.numel()))))


def _summed(z: Tensor, points: Tensor, outer: Tensor, unit: Tensor) -> Tensor:
    """sum_i outer_i delta_i delta_i' + unit_i I, (Q, d, d), from outer and unit (Q, N)."""
    delta = z[:, None] - points
    found = (delta * outer[:, :, None]).transpose(1, 2) @ delta
    found.diagonal(dim1=1, dim2=2).add_(unit.sum(1, keepdim=True))
    return found


def _derived(function: object, s: Tensor) -> tuple[Tensor, Tensor]:
    """function(s) and its derivative, elementwise; 0 where it does not depend on s."""
    assert callable(function)
    with _autograd.recording():
        leaf = _autograd.leaf(s)
        value = function(leaf)
        if not value.requires_grad:
            return value.detach(), torch.zeros_like(s)
        (derivative,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), derivative
