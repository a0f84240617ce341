"""Radial kernels k(z, y) = profile(s) of s = |z - y|^2.

With slope = d profile / ds and curvature = d^2 profile / ds^2,

    grad_z k = 2 slope(s) (z - y),        laplacian_z k = 4 s curvature(s) + 2 d slope(s).

One unit of length everywhere, `bandwidth`. Where the profile has a kink at s = 0 (Laplace, Energy) the slope is cut off at a distance of
1e-15 bandwidths and the curvature is zero there: the force between coincident points is exactly zero, as symmetry asks, and nothing is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks

COINCIDENT = 1e-15

S = TypeVar("S", bound="_Scaled")


@runtime_checkable
class Kernel(Protocol):
    """What a sum over pairs needs of a kernel. Each method maps s = |z - y|^2, of any shape, elementwise."""

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

    `with_bandwidth` is the declaration; an attribute named `bandwidth` alone declares nothing. Two kernels of one family and one bandwidth must be
    equal and hash alike, as frozen dataclasses do. Then `Auto`, `Mesh` and `Fourier` may sum the kernel fast. Every other kernel is summed exactly.
    """

    @property
    def bandwidth(self) -> float: ...
    def with_bandwidth(self, bandwidth: float) -> ScaledKernel:
        """The member of the family with another bandwidth."""
        ...


@dataclass(frozen=True)
class _Scaled:
    bandwidth: float = cast("float", None)  # refused below, by name

    def with_bandwidth(self: S, bandwidth: float) -> S:
        """The same kernel with another bandwidth."""
        return replace(self, bandwidth=bandwidth)

    def __post_init__(self) -> None:
        remedy = "pass a length, e.g. particleflow.kernels.default_bandwidth(target)"
        if self.bandwidth is None:
            raise TypeError(f"`bandwidth` must be a number for {type(self).__name__}, got nothing: {remedy}")
        object.__setattr__(self, "bandwidth", _checks.positive(self.bandwidth, "bandwidth", remedy=remedy))
        if not 1e-100 <= self.bandwidth <= 1e100:
            raise ValueError(f"`bandwidth` must have a square, got {self.bandwidth:g}: take another unit of length")

    def _distance(self, s: Tensor) -> Tensor:
        """|z - y| / bandwidth, never quite zero."""
        return s.clamp_min((COINCIDENT * self.bandwidth) ** 2).sqrt() / self.bandwidth


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

    def log_profile(self, s: Tensor) -> Tensor:
        return s * (-0.5 / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return torch.full_like(s, -0.5 / self.bandwidth**2)

    def spectrum(self, omega2: Tensor, d: int) -> Tensor:
        """int k(x) e^{-i omega x} dx = (2 pi)^{d/2} bandwidth^d exp(-bandwidth^2 omega^2 / 2)."""
        return (2 * math.pi) ** (d / 2) * self.bandwidth**d * torch.exp(-0.5 * self.bandwidth**2 * omega2)

    def smoothed(self, beta: float, d: int) -> tuple[float, Gaussian]:
        """E k(z + beta u, y), u ~ N(0, I_d), is factor * kernel: returns (factor, kernel).

        factor = (l^2 / (l^2 + beta^2))^{d/2}, bandwidth sqrt(l^2 + beta^2): what noise injection does to the witness on average
        (Arbel et al. 2019).
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
    """Inverse multiquadric: k = (1 + |z - y|^2 / bandwidth^2)^{-1/2}. Heavy tails: it pulls over long distances."""

    def profile(self, s: Tensor) -> Tensor:
        return self._q(s).rsqrt()

    def slope(self, s: Tensor) -> Tensor:
        return -0.5 / self.bandwidth**2 * self._q(s) ** -1.5

    def curvature(self, s: Tensor) -> Tensor:
        return 0.75 / self.bandwidth**4 * self._q(s) ** -2.5

    def log_profile(self, s: Tensor) -> Tensor:
        return -0.5 * torch.log1p(s / self.bandwidth**2)

    def log_slope(self, s: Tensor) -> Tensor:
        return -0.5 / (self.bandwidth**2 * self._q(s))

    def _q(self, s: Tensor) -> Tensor:
        return 1 + s / self.bandwidth**2


@dataclass(frozen=True)
class Energy:
    """k = -|z - y|, conditionally positive definite: MMD^2 is the energy distance (2 E|X-Y| - E|X-X'| - E|Y-Y'|). It has no bandwidth.

    Particles that coincide feel no force from each other and never separate: start them distinct.
    """

    def profile(self, s: Tensor) -> Tensor:
        return -s.sqrt()

    def slope(self, s: Tensor) -> Tensor:
        return -0.5 * s.clamp_min(COINCIDENT**2).rsqrt()

    def curvature(self, s: Tensor) -> Tensor:
        return (0.25 * s.clamp_min(COINCIDENT**2) ** -1.5).masked_fill(s <= COINCIDENT**2, 0.0)


@dataclass(frozen=True)
class Radial:
    """Your own kernel from one line, k = of(s), s = |z - y|^2: `Radial(lambda s: 1 / (1 + s) ** 2)`.

    Slope and curvature come from automatic differentiation of `of` in s (not through pairs), so `of` must be smooth at s = 0. With a `bandwidth`
    k = of(s / bandwidth^2), which declares the kernel's scale: many points are then summed fast (see `ScaledKernel`), else exactly.
    """

    of: Callable[[Tensor], Tensor]
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if self.bandwidth is not None:
            object.__setattr__(self, "bandwidth", _checks.positive(self.bandwidth, "bandwidth", remedy="pass a length, or leave it out"))

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
        with torch.enable_grad():
            leaf = s.detach().requires_grad_(True)
            value = self.of(leaf)
            for k in range(order):
                if not value.requires_grad:
                    return torch.zeros_like(s)
                (value,) = torch.autograd.grad(value.sum(), leaf, create_graph=k + 1 < order)
        return value.detach()


BUILT_IN = frozenset({Gaussian, Laplace, Matern32, Matern52, IMQ, Energy})


def is_built_in(kernel: Any) -> bool:
    """One of this module's own closed forms. A subclass is not: it may have changed anything that its parent states."""
    return type(kernel) in BUILT_IN


def bandwidth_of(kernel: Any) -> float | None:
    """The bandwidth that a kernel has declared, None where it has none (`Energy`) or has declared nothing (see `ScaledKernel`)."""
    if is_built_in(kernel):
        return None if type(kernel) is Energy else kernel.bandwidth
    return float(kernel.bandwidth) if _declares(kernel) else None


def has_facts(kernel: Any) -> bool:
    """May fast sums be planned for it? For built-in kernels and for those that declare their scale."""
    return is_built_in(kernel) or _declares(kernel)


def has_spectrum(kernel: Any) -> bool:
    """Does `kernel.spectrum(omega2, d)` give its Fourier transform? For built-in kernels: a user's method of that name may mean something else."""
    return is_built_in(kernel) and type(kernel) not in (IMQ, Energy)


def _declares(kernel: Any) -> bool:
    """Is it a `ScaledKernel` of its own making, and a value, so that plans made for one can serve its equals?"""
    if isinstance(kernel, tuple(BUILT_IN)) or not isinstance(kernel, ScaledKernel) or isinstance(kernel, type):
        return False
    bandwidth = kernel.bandwidth
    if isinstance(bandwidth, bool) or not isinstance(bandwidth, float | int) or not 0 < bandwidth < math.inf:
        return False
    try:
        return (kernel.with_bandwidth(bandwidth) == kernel) is True and _is_family(cast("Hashable", kernel))
    except TypeError:  # it has no hash
        return False


@lru_cache(maxsize=256)
def _is_family(kernel: Any) -> bool:
    """Refuse a kernel whose `with_bandwidth` is not k_l(s) = k_1(s / l^2), as seen at some distances."""
    s = torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0], dtype=torch.float64) ** 2
    unit = kernel.with_bandwidth(1.0).profile(s)
    for bandwidth in (kernel.bandwidth, 0.3, 7.0):
        scaled = kernel.with_bandwidth(bandwidth).profile(s * bandwidth**2)
        if not torch.allclose(scaled, unit, rtol=1e-6, atol=1e-9 * float(unit.abs().max())):
            raise ValueError(
                f"`kernel` must be k_1(s / bandwidth^2) where it has a method with_bandwidth, got {kernel}, whose values at bandwidths 1 and "
                f"{bandwidth:g} differ: remove with_bandwidth (sums are exact then), or scale every length of the kernel by the bandwidth"
            )
    return True


def as_kernel(kernel: Kernel | Callable[[Tensor], Tensor]) -> Kernel:
    """A kernel stays; a callable of s = |z - y|^2 becomes `Radial`. What is not built in is tried at some distances.

    Raises
    ------
    TypeError
        No kernel and no function of s; a function whose answers are no tensor like s.
    ValueError
        Not finite at some s >= 0; `slope` is not the derivative of `profile` in s.
    """
    if isinstance(kernel, type) or not (isinstance(kernel, Kernel) or callable(kernel)):
        what = f"the class {kernel.__name__} without its arguments" if isinstance(kernel, type) else f"{type(kernel).__name__} {kernel!r:.80}"
        raise TypeError(f"`kernel` must be a kernel such as pf.kernels.Gaussian(bandwidth=0.2) or a callable of the squared distance, got {what}")
    made = kernel if isinstance(kernel, Kernel) else Radial(kernel)
    if not is_built_in(made):
        _try(made, kernel)
    return made


def _try(kernel: Kernel, given: Any) -> None:
    """Refuse what cannot be a kernel, by its answers at some s."""
    s = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(-6, 4, 41, dtype=torch.float64)])
    remedy = "pass a function of s = |x - y|^2 alone that maps a tensor elementwise, e.g. lambda s: torch.exp(-s / 2)"
    answers = {}
    for name in ("profile", "slope"):
        method = getattr(kernel, name)
        try:
            answer, alone = method(s), method(s[20:21])
        except Exception as error:
            raise TypeError(f"`kernel` must map squared distances s to numbers, got {given!r:.80}, which fails: {error}: {remedy}") from error
        if not isinstance(answer, Tensor) or answer.shape != s.shape or not torch.allclose(answer[20:21], alone, equal_nan=True):
            what = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
            raise TypeError(f"`kernel` must map s elementwise, got {given!r:.80}, which makes {what} of shape {tuple(s.shape)}: {remedy}")
        lost = ~torch.isfinite(answer)
        if bool(lost.any()):
            at = int(lost.nonzero()[0, 0])
            found = f"whose {name} is {float(answer[at])} at s = {float(s[at]):.2g}"
            raise ValueError(f"`kernel` must be finite at every s >= 0, got {given!r:.80}, {found}: smooth it, as in s + 1e-6")
        answers[name] = answer.double()
    step = 1e-4 * s[1:]
    measured = (kernel.profile(s[1:] + step) - kernel.profile(s[1:] - step)).double() / (2 * step)
    slope, top = answers["slope"][1:], float(answers["profile"].abs().max())
    wrong = (measured - slope).abs() > 0.05 * torch.maximum(measured.abs(), slope.abs()) + 1e-8 * top / s[1:]
    if int(wrong.sum()) > 3:  # a few may lie beside a kink
        at = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"`kernel.slope` must be d profile / ds, s = |x - y|^2, got {float(slope[at]):.4g} at s = {float(s[1 + at]):.2g}, where profile "
            f"changes by {float(measured[at]):.4g}: differentiate in s, not in the distance, or pass pf.kernels.Radial(lambda s: ...)"
        )


def _matern_spectrum(nu: float, bandwidth: float, omega2: Tensor, d: int) -> Tensor:
    """Rasmussen and Williams (2006), equation 4.15."""
    a = 2 * nu / bandwidth**2
    log_constant = d * math.log(2) + 0.5 * d * math.log(math.pi) + math.lgamma(nu + d / 2) - math.lgamma(nu) + nu * math.log(a)
    return math.exp(log_constant) * (a + omega2) ** -(nu + d / 2)
