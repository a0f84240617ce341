"""The contracts of a radial kernel k(z, y) = profile(s), s = |z - y|^2.

With slope = d profile / ds and curvature = d^2 profile / ds^2,

    grad_z k = 2 slope(s) (z - y),        laplacian_z k = 4 s curvature(s) + 2 d slope(s).

One unit of length everywhere, `bandwidth`. Where the profile has a kink at s = 0 (Laplace, Energy)
the slope is cut off at a distance of 1e-15 bandwidths and the curvature is zero there: the force
between coincident points is exactly zero, as symmetry asks, and nothing is NaN.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

# Distance in bandwidths (without a bandwidth: in the points' unit) below which two points count as
# one where there is a kink. Its fourth power is still a number of float64.
COINCIDENT = 1e-15


@runtime_checkable
class Kernel(Protocol):
    """What a sum over pairs needs of a kernel. Each method maps s = |z - y|^2, of any shape,
    elementwise.
    """

    def profile(self, s: Tensor) -> Tensor: ...
    def slope(self, s: Tensor) -> Tensor: ...
    def curvature(self, s: Tensor) -> Tensor: ...


@runtime_checkable
class PositiveKernel(Kernel, Protocol):
    """A kernel with k > 0: the logarithm of a sum of it exists."""

    def log_profile(self, s: Tensor) -> Tensor: ...
    def log_slope(self, s: Tensor) -> Tensor: ...


@runtime_checkable
class ScaledKernel(Kernel, Protocol):
    """A kernel that declares its unit of length: k_l(s) = k_1(s / l^2), l = `bandwidth`.

    `with_bandwidth` is the declaration; an attribute named `bandwidth` alone declares nothing. Two
    kernels of one family and one bandwidth must be equal and hash alike, as frozen dataclasses do.
    Then `Auto`, `Mesh` and `Fourier` may sum the kernel fast. Every other kernel is summed exactly.
    """

    @property
    def bandwidth(self) -> float: ...
    def with_bandwidth(self, bandwidth: float) -> ScaledKernel:
        """The member of the family with another bandwidth."""
        ...


@runtime_checkable
class KnownKink(Kernel, Protocol):
    """A kernel that declares whether k has a kink where two points meet, as exp(-r) and -r have, r
    = |z - y|: particles hop over each other there.

    Where it has one, a rise of a flow's energy by less than a twentieth of its first value is no
    instability. An undeclared kernel counts as smooth.
    """

    @property
    def kinked_at_zero(self) -> bool: ...


@runtime_checkable
class KnownSpectrum(Kernel, Protocol):
    """A kernel that knows its Fourier transform, int k(x) e^{-i omega x} dx in R^d, of omega2 =
    |omega|^2.
    """

    def spectrum(self, omega2: Tensor, d: int) -> Tensor: ...


@runtime_checkable
class KnownLaplacian(Kernel, Protocol):
    """A kernel that knows its laplacian in d dimensions, where 4 s curvature + 2 d slope would
    cancel, or leave the numbers of float32.
    """

    def laplacian(self, s: Tensor, d: int) -> Tensor: ...
