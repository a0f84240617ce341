"""What an approximate backend promises, and the audit that checks it.

With the scales S_0 = sum_i |w_i| max |k| and S_1 = sum_i |w_i| max |grad k|, every row keeps

    |error of value| <= rtol |value| + atol S_0,
    |error of grad|  <= rtol |grad|  + atol S_1        (2-norm).

Before a sum is taken only atol S_0 and atol S_1 are known. So a backend plans for errors of at most
atol S_0 and atol S_1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.clouds import corners
from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of, has_facts
from particleflow.memo import cached
from particleflow.pairwise.base import Audit, Field, Queries

# Pairs whose differences an audit holds in memory at once: 8 MiB for each coordinate.
PAIRS = 2**20


class Tolerances:
    """The tolerances rtol and atol of an approximate backend."""

    rtol: float
    atol: float | None

    @property
    def absolute(self) -> float:
        """`atol`, or `rtol` where it is not given."""
        return self.rtol if self.atol is None else self.atol

    def check_tolerances(self) -> None:
        _checks.positive(self.rtol, "rtol")
        if self.atol is not None:
            _checks.positive(self.atol, "atol")


@runtime_checkable
class KernelSources(Protocol):
    """Sources that tell their points and their kernel."""

    @property
    def points(self) -> Tensor: ...
    @property
    def kernel(self) -> Kernel: ...


@runtime_checkable
class PartedField(Field, Protocol):
    """A field that tells its parts: sources, and their weights (N,) or (N, K)."""

    @property
    def parts(self) -> Sequence[tuple[KernelSources, Tensor]]: ...


def compared(field: PartedField, z: Tensor | Queries, *, rows: int, seed: int) -> Audit:
    """`field` at random rows of z against exact sums in float64.

    The field is evaluated at all of z, as in a step, since some backends adapt to their queries.
    """
    points = z if isinstance(z, Tensor) else z.points
    rows = min(_checks.count(rows, "rows"), len(points))
    chosen = torch.randperm(
        len(points), generator=torch.Generator().manual_seed(seed), device="cpu"
    )[:rows].to(points.device)
    value, grad = (t[chosen].double() for t in field.value_and_grad(z))
    exact_value, exact_grad = torch.zeros_like(value), torch.zeros_like(grad)
    for sources, w in field.parts:
        for some in torch.arange(len(w), device=w.device).split(max(1, PAIRS // rows)):
            added_value, added_grad = _exact(
                sources.kernel,
                points[chosen].double(),
                sources.points[some].double(),
                w[some].double(),
            )
            exact_value += added_value
            exact_grad += added_grad
    value_scale, grad_scale = scales(field, points)
    return Audit(
        rows,
        float((value - exact_value).abs().max()),
        float((grad - exact_grad).norm(dim=-1).max()),
        value_scale,
        grad_scale,
        field.promise(z),
    )


def _exact(kernel: Kernel, z: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """sum_i w_i k(z, x_i), (Q,) or (Q, K), and its gradient in z, (Q, d) or (Q, K, d)."""
    apart = z[:, None] - x
    s = (apart**2).sum(-1)
    return kernel.profile(s) @ w, torch.einsum("qn,qnd,n...->q...d", 2 * kernel.slope(s), apart, w)


def scales(field: PartedField, z: Tensor) -> tuple[float, float]:
    """S_0 and S_1, the largest over weight vectors."""
    kernel = field.parts[0][0].kernel
    # peaks() needs no extent where the kernel has a bandwidth
    extent = (
        1.0
        if bandwidth_of(kernel) is not None
        else diagonal([z, *(sources.points for sources, _ in field.parts)])
    )
    top, steepest = peaks(kernel, extent)
    mass = sum(
        (w.abs().sum(0, dtype=torch.float64) for _, w in field.parts),
        torch.zeros((), dtype=torch.float64, device=z.device),
    )
    return float(mass.max()) * top, float(mass.max()) * steepest


def diagonal(clouds: Sequence[Tensor]) -> float:
    """The diagonal of the box around all points, computed in float64."""
    lowest, highest = corners(*clouds)
    return float((highest.double() - lowest.double()).norm())


def peaks(kernel: Kernel, extent: float) -> tuple[float, float]:
    """max |k| and max |grad k| at all distances; without a bandwidth, at those up to `extent`."""
    bandwidth = bandwidth_of(kernel)
    far = extent if bandwidth is None else 1e2 * bandwidth
    # only kernels with declared facts are sure to be values, by which a cache can know them
    return _known_peaks(kernel, far) if has_facts(kernel) else _peaks(kernel, far)


def _peaks(kernel: Kernel, extent: float) -> tuple[float, float]:
    r = torch.logspace(-7, 0, 20000, dtype=torch.float64, device="cpu") * (extent or 1.0)
    r = torch.cat([r.new_zeros(1), r])
    s = r**2
    # where a formula overflows, the kernel is far from its peak
    value, slope = (t.nan_to_num(0.0) for t in (kernel.profile(s), 2 * r * kernel.slope(s)))
    return float(value.abs().max()), float(slope.abs().max())


_known_peaks = cached(256)(_peaks)
