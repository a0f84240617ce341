"""Define the contracts of a radial kernel k(z, y) = profile(s), s = |z - y|^2.

With slope = d profile / ds and curvature = d^2 profile / ds^2,

    grad_z k = 2 slope(s) (z - y),        laplacian_z k = 4 s curvature(s) + 2 d slope(s).

`bandwidth` is the one unit of length. Some profiles have a kink at s = 0 (Laplace, Energy). Their
slope is cut off at a distance of 1e-15 bandwidths, and their curvature is zero below it. The force
between coincident points is then exactly zero, as symmetry asks, and nothing is NaN.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

# Points nearer than this count as one at a kink; in bandwidths, or without one in the points' unit.
# The fourth power of this distance is still a number of float64.
COINCIDENT = 1e-15


@runtime_checkable
class Kernel(Protocol):
    r"""A radial kernel as sums over pairs need it.

    .. math::

        k(z, y) = \varphi(s) , \qquad s = \left| z - y \right|^2 ,

    .. math::

        \nabla_z k = 2 \varphi'(s)\, (z - y) ,
        \qquad
        \Delta_z k = 4 s\, \varphi''(s) + 2 d\, \varphi'(s) .

    `profile` is :math:`\varphi`, `slope` its derivative in s (not in the distance) and `curvature`
    the second. Each maps a tensor s >= 0 of torch elementwise; s may have any shape, in float32 or
    float64. Arrays of numpy do not serve. `profile` and `slope` must be finite at every s, s = 0
    too. `pf.testing.check_kernel` tries a kernel of your own.
    """

    def profile(self, s: Tensor) -> Tensor:
        r""":math:`\varphi(s)`, elementwise in s = |z - y|^2."""

    def slope(self, s: Tensor) -> Tensor:
        r""":math:`\varphi'(s)`, the derivative in s, elementwise."""

    def curvature(self, s: Tensor) -> Tensor:
        r""":math:`\varphi''(s)`, elementwise."""


@runtime_checkable
class PositiveKernel(Kernel, Protocol):
    r"""A kernel with k > 0, so that the logarithm of its sum exists.

    `log_profile` is :math:`\log \varphi(s)`, and `log_slope` its derivative in s. They stay finite
    where `profile` underflows.
    """

    def log_profile(self, s: Tensor) -> Tensor: ...
    def log_slope(self, s: Tensor) -> Tensor: ...


@runtime_checkable
class ScaledKernel(Kernel, Protocol):
    r"""A kernel that declares its unit of length.

    .. math::

        k_{\ell}(s) = k_1\left( \frac{s}{\ell^2} \right) , \qquad \ell = \text{bandwidth} .

    The method `with_bandwidth` is the declaration; an attribute `bandwidth` alone declares nothing.
    Two kernels of one family and one bandwidth must be equal and hash alike, as frozen dataclasses
    do. `Auto`, `Mesh` and `Fourier` may then sum the kernel fast. Every other kernel is summed
    exactly. A declaration that is false at the distances tried is refused (ValueError).
    """

    @property
    def bandwidth(self) -> float:
        """The unit of length, > 0, in units of the coordinates."""

    def with_bandwidth(self, bandwidth: float) -> ScaledKernel:
        """The member of the family with another bandwidth, in units of the coordinates."""
        ...


@runtime_checkable
class KnownKink(Kernel, Protocol):
    """A kernel that declares whether k has a kink where two points meet.

    exp(-r) and -r have a kink, r = |z - y|. Particles hop over each other at a kink. With a kink, a
    rise of a flow's energy by less than 0.05 of the first energy is no instability. A kernel that
    declares nothing counts as smooth.
    """

    @property
    def kinked_at_zero(self) -> bool: ...


@runtime_checkable
class KnownSpectrum(Kernel, Protocol):
    """A kernel that knows its Fourier transform int k(x) e^{-i omega x} dx in R^d.

    `spectrum` is a function of omega2 = |omega|^2.
    """

    def spectrum(self, omega2: Tensor, d: int) -> Tensor: ...


@runtime_checkable
class KnownLaplacian(Kernel, Protocol):
    """A kernel that knows its laplacian in d dimensions.

    The sum 4 s curvature + 2 d slope may cancel, or leave the range of float32.
    """

    def laplacian(self, s: Tensor, d: int) -> Tensor: ...
