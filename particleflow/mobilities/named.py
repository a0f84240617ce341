"""Rescalings h of the log density ratio d = log r, r = target / current.

A MonoFlow moves particles with v = h'(d) grad d. Each h belongs to an f-divergence D_f = int q
f(p/q), with

    h = r f' - f + const,        r^2 f'' = h'                                      (Yi, Zhu and Liu 2023)

so that the Wasserstein gradient flow of D_f is the MonoFlow of h. Here `h` is h, `slope` h',
`curvature` h'' (of d) and `f` is f (of r).

h must increase: only h' > 0 everywhere lets particles climb the ratio wherever they are. An `LSGAN`
coding or a `custom` h that does not increase is refused, with the place where it fails.

On a witness that is a potential, not a log ratio (MMD, Langevin), only a constant slope has a
meaning: `Unit` and `Linear`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from particleflow import _autograd, _checks, _words
from particleflow.divergences import Divergence

__getattr__ = _words.suggesting(__name__)

# An entropy is asked for ratios between e^-300 and e^300, so that products with its second
# derivative are numbers.
FARTHEST = 300.0
# h' is looked at for |d| <= 80 (ratios up to 5e34), every 0.01, and near 0; beyond 10 a slope of 0
# may be that of a rounded h that saturates.
WIDEST = 80.0
SPACING = 0.01
FLAT_BEYOND = 10.0
# Central differences: steps of the cube and the fourth root of the rounding, times max(1, |d|).
STEP = 6e-6
WIDE_STEP = 1e-4


@runtime_checkable
class Mobility(Protocol):
    """h and its derivatives, elementwise in d = log r."""

    def h(self, d: Tensor) -> Tensor: ...
    def slope(self, d: Tensor) -> Tensor: ...
    def curvature(self, d: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Linear:
    """h(d) = factor d: the flow of factor KL(current || target), factor = 1 being the "logit" trick
    of GANs.

    f(r) = -factor log r.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _checks.positive(self.factor, "factor"))

    def h(self, d: Tensor) -> Tensor:
        return self.factor * d

    def slope(self, d: Tensor) -> Tensor:
        return torch.full_like(d, self.factor)

    def curvature(self, d: Tensor) -> Tensor:
        return torch.zeros_like(d)

    def f(self, r: Tensor) -> Tensor:
        return -self.factor * torch.log(r)


@dataclass(frozen=True, init=False)
class Unit(Linear):
    """h(d) = d: on a log ratio the reverse KL flow ("logit"); on a potential, plain ascent."""

    def __init__(self) -> None:
        super().__init__(1.0)


@dataclass(frozen=True)
class Exponential:
    """h(d) = e^{alpha d}: alpha = 1 maximum likelihood (KL(target || current)), 2 chi^2(target ||
    current), 1/2 twice the squared Hellinger distance.

    f(r) = (r^alpha - 1 - alpha (r - 1)) / (alpha - 1), and r log r for alpha = 1.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        remedy = "a monotone h needs alpha > 0; for alpha -> 0 use Unit()"
        object.__setattr__(self, "alpha", _checks.positive(self.alpha, "alpha", remedy=remedy))

    def h(self, d: Tensor) -> Tensor:
        return torch.exp(self.alpha * d)

    def slope(self, d: Tensor) -> Tensor:
        return self.alpha * torch.exp(self.alpha * d)

    def curvature(self, d: Tensor) -> Tensor:
        return self.alpha**2 * torch.exp(self.alpha * d)

    def f(self, r: Tensor) -> Tensor:
        if self.alpha == 1:
            return torch.xlogy(r, r)
        return (r**self.alpha - 1 - self.alpha * (r - 1)) / (self.alpha - 1)


@dataclass(frozen=True)
class Vanilla:
    """h(d) = softplus(d + shift): the vanilla GAN loss; shift > 0 is the shift trick that keeps the
    slope alive far away.

    shift = 0 is 2 JS; with c = e^shift the divergence is (1 + c) times the skewed Jensen-Shannon
    divergence of weight c / (1 + c): f(r) = c r log r - (1 + c r) log((1 + c r) / (1 + c)).
    """

    shift: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", _checks.real(self.shift, "shift"))

    def h(self, d: Tensor) -> Tensor:
        return -logsigmoid(-d - self.shift)  # torch's softplus drops e^-d beyond 20

    def slope(self, d: Tensor) -> Tensor:
        return torch.sigmoid(d + self.shift)

    def curvature(self, d: Tensor) -> Tensor:
        return torch.sigmoid(d + self.shift) * torch.sigmoid(-d - self.shift)

    def f(self, r: Tensor) -> Tensor:
        c = math.exp(self.shift)
        return c * torch.xlogy(r, r) - (1 + c * r) * torch.log((1 + c * r) / (1 + c))


@dataclass(frozen=True)
class NonSaturating:
    """h(d) = log sigmoid(d): the non-saturating GAN loss, KL(current || target) - 2 JS.

    f(r) = -log r - r log r + (1 + r) log((1 + r) / 2).
    """

    def h(self, d: Tensor) -> Tensor:
        return logsigmoid(d)

    def slope(self, d: Tensor) -> Tensor:
        return torch.sigmoid(-d)

    def curvature(self, d: Tensor) -> Tensor:
        return -torch.sigmoid(d) * torch.sigmoid(-d)

    def f(self, r: Tensor) -> Tensor:
        return -torch.log(r) - torch.xlogy(r, r) + (1 + r) * torch.log((1 + r) / 2)


@dataclass(frozen=True)
class Arcsinh:
    """h(d) = arcsinh d: tames large ratios on both sides; no standard divergence.

    f(r) = r int_0^{log r} arcsinh(u) e^{-u} du, here by Gauss-Legendre quadrature of 64 nodes
    (1e-14 for |log r| <= 5).
    """

    def h(self, d: Tensor) -> Tensor:
        return torch.asinh(d)

    def slope(self, d: Tensor) -> Tensor:
        return torch.rsqrt(1 + d**2)

    def curvature(self, d: Tensor) -> Tensor:
        return -d * (1 + d**2) ** -1.5

    def f(self, r: Tensor) -> Tensor:
        nodes, weights = (
            torch.as_tensor(a, dtype=r.dtype, device=r.device)
            for a in np.polynomial.legendre.leggauss(64)
        )
        half = 0.5 * torch.log(r)[..., None]
        u = half * (1 + nodes)
        return r * (half * weights * torch.asinh(u) * torch.exp(-u)).sum(-1)


@dataclass(frozen=True)
class LSGAN:
    """h(d) = -(D - aim)^2 / 2, D = (fake + real r) / (1 + r): what a generator that wants the label
    c = aim does with the best least-squares critic of the labels a = fake, b = real.

    h' = (c - D) (b - a) r / (1 + r)^2. It is positive everywhere where c does not lie on a's side
    of b; in the coding (0, 1, 1) it is r / (1 + r)^3: increasing, but slow. In the coding (-1, 1,
    0) the sign flips at r = 1: no MonoFlow.

    Raises
    ------
    ValueError
        If h is not increasing. `allow_nonmonotone=True` makes a warning of it.
    """

    fake: float = 0.0
    real: float = 1.0
    aim: float = 1.0
    allow_nonmonotone: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("fake", "real", "aim"):
            object.__setattr__(self, name, _checks.real(getattr(self, name), name))
        _checks.flag(self.allow_nonmonotone, "allow_nonmonotone")
        a, b, c = self.fake, self.real, self.aim
        if a == b:
            raise ValueError(
                f"`fake` and `real` must differ, got {a:g} twice: equal labels tell nothing apart;"
                " take LSGAN(0, 1, 1)"
            )
        if (c - b) * (b - a) < 0:
            inside = (c - a) * (b - a) > 0
            where = (
                f"h' < 0 for d > {math.log((c - a) / (b - c)):.3g}"
                if inside
                else "h' < 0 for every d"
            )
            _not_increasing(
                f"`aim` must be {'>=' if b > a else '<='} {b:g}, the label `real`, got {c:g}:"
                f" {where}",
                self.allow_nonmonotone,
            )

    def h(self, d: Tensor) -> Tensor:
        return -0.5 * self._missing(d) ** 2

    def slope(self, d: Tensor) -> Tensor:
        return (self.real - self.fake) * self._missing(d) * torch.sigmoid(d) * torch.sigmoid(-d)

    def curvature(self, d: Tensor) -> Tensor:
        up, down, width = torch.sigmoid(d), torch.sigmoid(-d), self.real - self.fake
        return width * up * down * ((down - up) * self._missing(d) - width * up * down)

    def f(self, r: Tensor) -> Tensor:
        """f(1) = f'(1) = 0."""
        width, short = self.real - self.fake, self.aim - self.real
        log, rest = r * torch.log((1 + r) / (2 * r)), r - 1
        # r int_1^r h(s) / s^2 ds of the powers of 1 / (1 + s) in h, less h(1) (r - 1)
        first, second = rest + log, rest + 2 * log + r * rest / (2 * (1 + r))
        return 0.5 * (width * short * (rest - 2 * first) + width**2 * (rest / 4 - second))

    def _missing(self, d: Tensor) -> Tensor:
        """c - D, from the nearer of the two labels."""
        width = self.real - self.fake
        return (self.aim - self.real) + width * torch.sigmoid(-d)


@dataclass(frozen=True)
class Induced:
    """The mobility whose MonoFlow is the Wasserstein gradient flow of a divergence D(q || p) = E_p
    e(g), e its entropy, g = q / p = 1 / r = e^{-d}.

    In the terms of this module f(r) = r e(1 / r), hence h = -e'(g), h' = r^2 f''(r) = g e''(g), and
    h'' by automatic differentiation of h'. Beyond |d| = 300 h goes on along its tangent. In float64
    inside, whatever the dtype of d.

    Raises
    ------
    ValueError
        If h is not increasing, that is where e is not strictly convex: `TotalVariation`.
        `allow_nonmonotone=True` makes a warning of it.
    """

    divergence: Divergence
    allow_nonmonotone: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.divergence, type) or not isinstance(self.divergence, Divergence):
            raise TypeError(
                f"`divergence` must be an entropy, got {_checks.kind(self.divergence)}: e.g."
                " pf.divergences.JensenShannon()"
            )
        _refuse_unless_increasing(self, f"`divergence` {self.divergence}", self.allow_nonmonotone)

    def h(self, d: Tensor) -> Tensor:
        held = d.double().clamp(-FARTHEST, FARTHEST)
        return (-self.divergence.slope(torch.exp(-held)) + self._slope(held) * (d - held)).to(
            d.dtype
        )

    def slope(self, d: Tensor) -> Tensor:
        return self._slope(d.double().clamp(-FARTHEST, FARTHEST)).to(d.dtype)

    def curvature(self, d: Tensor) -> Tensor:
        return (
            _derivative(self._slope, d.double().clamp(-FARTHEST, FARTHEST))
            .where(d.abs() <= FARTHEST, 0.0)
            .to(d.dtype)
        )

    def f(self, r: Tensor) -> Tensor:
        return r * self.divergence.f(1 / r)

    def _slope(self, d: Tensor) -> Tensor:
        g = torch.exp(-d)
        return g * self.divergence.curvature(g)


def from_divergence(divergence: Divergence, *, allow_nonmonotone: bool = False) -> Induced:
    """The mobility of the gradient flow of a divergence of `pf.divergences`: KL() gives `Unit`,
    ReverseKL() `Exponential(1)`, Tsallis(1/2) `Exponential(1/2)`, JensenShannon() half of
    `Vanilla`, each up to a constant in h.
    """
    return Induced(divergence, allow_nonmonotone=allow_nonmonotone)


@dataclass(frozen=True)
class Custom:
    """A user's h of d = log r, elementwise, with h' and h'' where they are given.

    Derivatives that are not given come by automatic differentiation where h is made of torch's
    functions. Else (numpy's, of d.numpy(), say) by central differences in float64, with errors of
    about 1e-10 of h in h', 1e-7 in h''; each then costs two or three calls of h.

    That h' > 0 is looked at for |d| <= 80, at steps of 0.01 and closer to 0: a dip that is narrower
    escapes. Beyond |d| = 10 a slope of 0 passes, as h may saturate to the last digit there.

    Raises
    ------
    ValueError
        If h' is negative, NaN, or 0 there. `allow_nonmonotone=True` makes a warning of it.
    """

    function: Callable[[Tensor], Any]
    first: Callable[[Tensor], Any] | None = None
    second: Callable[[Tensor], Any] | None = None
    allow_nonmonotone: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for name, given in (
            ("h", self.function),
            ("slope", self.first),
            ("curvature", self.second),
        ):
            if (isinstance(given, type) or not callable(given)) and (
                given is not None or name == "h"
            ):
                raise TypeError(
                    f"`{name}` must be a callable of the log ratio d, got {_checks.kind(given)}:"
                    " e.g. lambda d: torch.atan(d)"
                )
        _refuse_unless_increasing(self, "`h`", self.allow_nonmonotone)

    def h(self, d: Tensor) -> Tensor:
        return _called(self.function, d, "h")

    def slope(self, d: Tensor) -> Tensor:
        if self.first is not None:
            return _called(self.first, d, "slope")
        return _derivative(self.function, d)

    def curvature(self, d: Tensor) -> Tensor:
        if self.second is not None:
            return _called(self.second, d, "curvature")
        return (
            _derivative(self.function, d, order=2)
            if self.first is None
            else _derivative(self.first, d)
        )


def custom(
    h: Callable[[Tensor], Any],
    *,
    slope: Callable[[Tensor], Any] | None = None,
    curvature: Callable[[Tensor], Any] | None = None,
    allow_nonmonotone: bool = False,
) -> Custom:
    """A mobility from a callable h of d = log r, elementwise: derivatives that are not given are
    made, and that h increases is checked, see `Custom`.

    >>> custom(lambda d: torch.atan(d)).slope(torch.tensor([1.0]))
    tensor([0.5000])
    """
    return Custom(h, slope, curvature, allow_nonmonotone=allow_nonmonotone)


def check_increasing(mobility: Mobility) -> None:
    """Refuse (ValueError) a user's own class whose h does not increase, unless it has
    `allow_nonmonotone = True`. Those here look when made.
    """
    if type(mobility).__module__ != __name__:
        allowed = getattr(mobility, "allow_nonmonotone", False)  # the one fact that may be left out
        _refuse_unless_increasing(
            mobility,
            f"`mobility` {type(mobility).__name__}",
            _checks.flag(allowed, "allow_nonmonotone"),
        )


def _refuse_unless_increasing(mobility: Mobility, what: str, allowed: bool) -> None:
    near = torch.logspace(-12, -2, 101, dtype=torch.float64, device="cpu")
    even = torch.linspace(0, WIDEST, round(WIDEST / SPACING) + 1, dtype=torch.float64, device="cpu")
    half = torch.cat([even, near]).unique()
    d = torch.cat([-half[1:].flip(0), half])
    slope = _called(mobility.slope, d, "slope").detach()
    failing = slope.isnan() | (slope < 0) | ((slope == 0) & (d.abs() <= FLAT_BEYOND))
    if failing.any():
        where = d[failing]
        worst = int(
            slope[failing].nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf).argmin()
        )
        reach = (
            f"{int(failing.sum())} of {len(d)} values of d looked at, between"
            f" {float(where.min()):.3g} and {float(where.max()):.3g}"
        )
        _not_increasing(
            f"{what} must have h'(d) > 0 for every log ratio d, got h' ="
            f" {float(slope[failing][worst]):.3g} at d = {float(where[worst]):.3g}, and h' <= 0 or"
            f" NaN at {reach}",
            allowed,
        )


def _not_increasing(reason: str, allowed: bool) -> None:
    if not _checks.flag(allowed, "allow_nonmonotone"):
        raise ValueError(
            f"{reason}. Where h' < 0 particles move down the ratio, away from the target, and where"
            " h' = 0 they stop: take an increasing h, or pass allow_nonmonotone=True (a class of"
            " your own: have it as an attribute) to run it all the same"
        )
    _checks.warn(f"{reason}: the flow need not approach the target", UserWarning)


def _called(function: Callable[[Tensor], Any], d: Tensor, name: str) -> Tensor:
    value = torch.as_tensor(function(d), dtype=d.dtype, device=d.device)
    if value.shape != d.shape:
        raise ValueError(
            f"`{name}` must map log ratios {tuple(d.shape)} to as many values, got"
            f" {tuple(value.shape)}: make it elementwise"
        )
    return value


def _derivative(function: Callable[[Tensor], Any], d: Tensor, order: int = 1) -> Tensor:
    """Of order 1 or 2, elementwise: by automatic differentiation where the value carries a graph,
    else by central differences.
    """
    at = _autograd.plain(d).detach().double()
    with _autograd.recording():
        leaf = at.clone().requires_grad_(True)
        try:
            value = function(leaf)
        except (
            RuntimeError,
            TypeError,
        ):  # numpy's functions take no tensor that requires a gradient
            value = None
        if isinstance(value, Tensor) and value.requires_grad:
            for _ in range(order):
                value = (
                    torch.autograd.grad(value.sum(), leaf, create_graph=True)[0]
                    if value.requires_grad
                    else torch.zeros_like(at)
                )
            return value.detach().to(d.dtype)
    step = (STEP if order == 1 else WIDE_STEP) * at.abs().clamp(min=1)
    above, below = at + step, at - step
    up, down = (_called(function, z, "h") for z in (above, below))
    if order == 1:
        return ((up - down) / (above - below)).to(d.dtype)
    return ((up - 2 * _called(function, at, "h") + down) / step**2).to(d.dtype)
