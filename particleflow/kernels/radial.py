"""Radial kernels k(z, y) = profile(s) of s = |z - y|^2.

With slope = d profile / ds and curvature = d^2 profile / ds^2,

    grad_z k = 2 slope(s) (z - y),        laplacian_z k = 4 s curvature(s) + 2 d slope(s).

One unit of length everywhere, `bandwidth`. Where the profile has a kink at s = 0 (Laplace, Energy)
the slope is cut off at a distance of 1e-15 bandwidths and the curvature is zero there: the force
between coincident points is exactly zero, as symmetry asks, and nothing is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from particleflow import _autograd, _checks
from particleflow._refusals import RefusedValueError

COINCIDENT = 1e-15
# Squared distances in bandwidths at which every exponential is zero.
UNREACHED = 1e8

S = TypeVar("S", bound="_Scaled")


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
class KnownLaplacian(Kernel, Protocol):
    """A kernel that knows its laplacian in d dimensions, where 4 s curvature + 2 d slope would
    cancel, or leave the numbers of float32.
    """

    def laplacian(self, s: Tensor, d: int) -> Tensor: ...


def _squarable(bandwidth: float, remedy: str) -> float:
    """A length whose powers up to the fourth are numbers, or nearly."""
    number = _checks.positive(bandwidth, "bandwidth", remedy=remedy)
    if not 1e-100 <= number <= 1e100:
        remedy = "take another unit of length"
        raise RefusedValueError("bandwidth", "must have a square", f"{number:g}", remedy)
    return number


@dataclass(frozen=True)
class _Scaled:
    bandwidth: float = cast("float", None)  # refused below, by name

    def with_bandwidth(self: S, bandwidth: float) -> S:
        """The same kernel with another bandwidth."""
        return replace(self, bandwidth=bandwidth)

    def __post_init__(self) -> None:
        remedy = "pass a length, e.g. particleflow.kernels.default_bandwidth(target)"
        if self.bandwidth is None:
            raise TypeError(
                f"`bandwidth` must be a number for {type(self).__name__}, got nothing: {remedy}"
            )
        object.__setattr__(self, "bandwidth", _squarable(self.bandwidth, remedy))

    def _distance(self, s: Tensor) -> Tensor:
        """|z - y| / bandwidth, never quite zero, and with a square."""
        largest = torch.finfo(s.dtype).max
        return (
            s.clamp(
                (COINCIDENT * self.bandwidth) ** 2,
                min(largest, (largest**0.47 * self.bandwidth) ** 2),
            ).sqrt()
            / self.bandwidth
        )

    def _squared(self, s: Tensor) -> Tensor:
        """s / bandwidth^2, no further than exponentials reach."""
        return (s / self.bandwidth**2).clamp_max(UNREACHED)


@dataclass(frozen=True)
class Gaussian(_Scaled):
    """k = exp(-|z - y|^2 / (2 bandwidth^2)), also called RBF or squared exponential.

    The literature's other units: `from_denominator`, `from_variance`, `from_gamma`.

    >>> round(Gaussian.from_denominator(0.1).bandwidth ** 2, 12)
    0.05
    """

    @classmethod
    def from_denominator(cls, sigma: float) -> Gaussian:
        """exp(-|z - y|^2 / sigma): bandwidth = sqrt(sigma / 2)."""
        return cls(math.sqrt(_checks.positive(sigma, "sigma") / 2))

    @classmethod
    def from_variance(cls, variance: float) -> Gaussian:
        """exp(-|z - y|^2 / (2 variance)): bandwidth = sqrt(variance)."""
        return cls(math.sqrt(_checks.positive(variance, "variance")))

    @classmethod
    def from_gamma(cls, gamma: float) -> Gaussian:
        """exp(-gamma |z - y|^2), scikit-learn's unit: bandwidth = 1 / sqrt(2 gamma)."""
        return cls(1 / math.sqrt(2 * _checks.positive(gamma, "gamma")))

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp_()

    def slope(self, s: Tensor) -> Tensor:
        return self.profile(s).mul_(-0.5 / self.bandwidth**2)

    def curvature(self, s: Tensor) -> Tensor:
        return self.profile(s).mul_(0.25 / self.bandwidth**4)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        q = self._squared(s)
        return torch.exp(-0.5 * q) * (q - d) / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        return s * (-0.5 / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return torch.full_like(s, -0.5 / self.bandwidth**2)

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        """int k(x) e^{-i omega x} dx = (2 pi)^{d/2} bandwidth^d exp(-bandwidth^2 omega^2 / 2)."""
        return (
            (2 * math.pi) ** (d / 2)
            * self.bandwidth**d
            * torch.exp(-0.5 * self.bandwidth**2 * omega2)
        )

    def smoothed(self, beta: float, d: int) -> tuple[float, Gaussian]:
        """E k(z + beta u, y), u ~ N(0, I_d), is factor * kernel: returns (factor, kernel).

        factor = (l^2 / (l^2 + beta^2))^{d/2}, bandwidth sqrt(l^2 + beta^2): what noise injection
        does to the witness on average (Arbel et al. 2019).
        """
        total = self.bandwidth**2 + beta**2
        return (self.bandwidth**2 / total) ** (d / 2), Gaussian(math.sqrt(total))


@dataclass(frozen=True)
class Laplace(_Scaled):
    """k = exp(-|z - y| / bandwidth)."""

    def profile(self, s: Tensor) -> Tensor:
        return torch.exp(-self._distance(s))

    def slope(self, s: Tensor) -> Tensor:
        return self.profile(s) * self.log_slope(s)

    def curvature(self, s: Tensor) -> Tensor:
        r = self._distance(s)
        bend = torch.exp(-r) * (1 + r) / (4 * self.bandwidth**4 * r**3)
        return bend.masked_fill(s <= (COINCIDENT * self.bandwidth) ** 2, 0.0)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        r = self._distance(s)
        apart = 1 - (d - 1) / r
        return (
            torch.exp(-r)
            * apart.where(s > (COINCIDENT * self.bandwidth) ** 2, -d / r)
            / self.bandwidth**2
        )

    def log_profile(self, s: Tensor) -> Tensor:
        return -self._distance(s)

    def log_slope(self, s: Tensor) -> Tensor:
        return -0.5 / (self.bandwidth**2 * self._distance(s))

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        return _matern_spectrum(0.5, self.bandwidth, omega2, d)


@dataclass(frozen=True)
class Matern32(_Scaled):
    """k = (1 + a) exp(-a), a = sqrt(3) |z - y| / bandwidth."""

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp()

    def slope(self, s: Tensor) -> Tensor:
        return -1.5 / self.bandwidth**2 * torch.exp(-self._a(s))

    def curvature(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return 2.25 / self.bandwidth**4 * torch.exp(-a) / a

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        a = self._a(s)
        return 3 * torch.exp(-a) * (a - d) / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return torch.log1p(a) - a

    def log_slope(self, s: Tensor) -> Tensor:
        return -1.5 / (self.bandwidth**2 * (1 + self._a(s)))

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        return _matern_spectrum(1.5, self.bandwidth, omega2, d)

    def _a(self, s: Tensor) -> Tensor:
        return math.sqrt(3) * self._distance(s)


@dataclass(frozen=True)
class Matern52(_Scaled):
    """k = (1 + a + a^2 / 3) exp(-a), a = sqrt(5) |z - y| / bandwidth."""

    def profile(self, s: Tensor) -> Tensor:
        return self.log_profile(s).exp()

    def slope(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return -5 / (6 * self.bandwidth**2) * (1 + a) * torch.exp(-a)

    def curvature(self, s: Tensor) -> Tensor:
        return 25 / (12 * self.bandwidth**4) * torch.exp(-self._a(s))

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        a = self._a(s)
        return 5 / 3 * torch.exp(-a) * (a**2 - d * (1 + a)) / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return torch.log1p(a + a**2 / 3) - a

    def log_slope(self, s: Tensor) -> Tensor:
        a = self._a(s)
        return -5 / (6 * self.bandwidth**2) * (1 + a) / (1 + a + a**2 / 3)

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        return _matern_spectrum(2.5, self.bandwidth, omega2, d)

    def _a(self, s: Tensor) -> Tensor:
        return math.sqrt(5) * self._distance(s)


@dataclass(frozen=True)
class IMQ(_Scaled):
    """Inverse multiquadric: k = (1 + |z - y|^2 / bandwidth^2)^{-1/2}. Heavy tails: it pulls over
    long distances.
    """

    def profile(self, s: Tensor) -> Tensor:
        return self._q(s).rsqrt()

    def slope(self, s: Tensor) -> Tensor:
        return -0.5 / self.bandwidth**2 * self._q(s) ** -1.5

    def curvature(self, s: Tensor) -> Tensor:
        return 0.75 / self.bandwidth**4 * self._q(s) ** -2.5

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        q = self._q(s)
        return (3 - d - 3 / q) * q**-1.5 / self.bandwidth**2

    def log_profile(self, s: Tensor) -> Tensor:
        return -0.5 * torch.log1p(s / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return -0.5 / (self.bandwidth**2 * self._q(s))

    def _q(self, s: Tensor) -> Tensor:
        return 1 + s / self.bandwidth**2


@dataclass(frozen=True)
class Energy:
    """k = -|z - y|, conditionally positive definite: MMD^2 is the energy distance (2 E|X-Y| -
    E|X-X'| - E|Y-Y'|). It has no bandwidth.

    Particles that coincide feel no force from each other and never separate: start them distinct.
    """

    def profile(self, s: Tensor) -> Tensor:
        return -s.sqrt()

    def slope(self, s: Tensor) -> Tensor:
        return -0.5 * s.clamp_min(COINCIDENT**2).rsqrt()

    def curvature(self, s: Tensor) -> Tensor:
        return (0.25 * s.clamp_min(COINCIDENT**2) ** -1.5).masked_fill(s <= COINCIDENT**2, 0.0)

    def laplacian(self, s: Tensor, d: int) -> Tensor:
        inverse = s.clamp_min(COINCIDENT**2).rsqrt()
        return inverse * torch.where(s > COINCIDENT**2, 1.0 - d, -1.0 * d)


@dataclass(frozen=True)
class Radial:
    """Your own kernel from one line, k = of(s), s = |z - y|^2: `Radial(lambda s: 1 / (1 + s) **
    2)`.

    Slope and curvature come from automatic differentiation of `of` in s (not through pairs), so
    `of` must be smooth at s = 0. With a `bandwidth` k = of(s / bandwidth^2), which declares the
    kernel's scale: many points are then summed fast (see `ScaledKernel`), else exactly.
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
                self, "bandwidth", _squarable(self.bandwidth, "pass a length, or leave it out")
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


def _matern_spectrum(nu: float, bandwidth: float, omega2: Tensor, d: int) -> Tensor:
    """Rasmussen and Williams (2006), equation 4.15."""
    a = 2 * nu / bandwidth**2
    log_constant = (
        d * math.log(2)
        + 0.5 * d * math.log(math.pi)
        + math.lgamma(nu + d / 2)
        - math.lgamma(nu)
        + nu * math.log(a)
    )
    return math.exp(log_constant) * (a + omega2) ** -(nu + d / 2)
