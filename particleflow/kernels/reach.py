"""The reach of a kernel: the distance beyond which a particle feels next to nothing of a point."""

from __future__ import annotations

from particleflow.kernels.contract import ScaledKernel
from particleflow.kernels.declared import tail_of
from particleflow.kernels.facts import ExponentialTail, GaussianTail

# The bandwidths at which a Gaussian has fallen to exp(-4.5) = 1 %.
BEYOND = 3.0


def reach_of(kernel: object) -> float | None:
    """The distance at which the kernel has fallen to exp(-4.5) = 1 %.

    The polynomial of an exponential tail is left out. None for a power law and for a kernel that
    declares no tail.
    """
    tail = tail_of(kernel)
    if not isinstance(kernel, ScaledKernel):
        return None
    if isinstance(tail, GaussianTail):
        return BEYOND * kernel.bandwidth
    if isinstance(tail, ExponentialTail) and tail.decay:
        return BEYOND**2 / 2 * kernel.bandwidth / tail.rate
    return None
