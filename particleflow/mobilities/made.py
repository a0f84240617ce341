"""Mobilities that are made: from a divergence, or from any h."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from particleflow import _autograd, _checks
from particleflow.divergences import Divergence
from particleflow.mobilities.base import called, refuse_unless_increasing

# An entropy is asked for ratios between e^-300 and e^300, so that products with its second
# derivative are numbers.
FARTHEST = 300.0
# Steps of central differences, in units of max(1, |d|): the cube root of the rounding for h', the
# fourth root for h''.
STEP = 6e-6
WIDE_STEP = 1e-4


@dataclass(frozen=True)
class Induced:
    r"""The mobility whose MonoFlow is the Wasserstein gradient flow of a given divergence.

    .. math::

        D(q \,\|\, p) = \int p\; e\left( \frac{q}{p} \right) ,
        \qquad
        h(d) = -e'(g) , \qquad h'(d) = g\, e''(g) , \qquad g = e^{-d} .

    e is an entropy of `pf.divergences`, and :math:`g = q / p = 1 / r`. So
    :math:`f(r) = r\, e(1 / r)` and :math:`h' = r^2 f''(r)`. :math:`h''` comes from automatic
    differentiation of :math:`h'`. Beyond |d| = 300, h goes on along its tangent. All is computed in
    float64, whatever the dtype of d. `from_divergence` makes it.

    Parameters
    ----------
    divergence : Divergence
        The entropy e, such as ``pf.divergences.JensenShannon()``.
    allow_nonmonotone : bool
        True: an h that does not increase is run with a warning.

    Raises
    ------
    TypeError
        `divergence` is no entropy, or `allow_nonmonotone` no bool.
    ValueError
        h does not increase, since e is not strictly convex (`TotalVariation`).

    Cost: O(1) a particle.

    Source: Yi, Zhu and Liu (2023).

    >>> mobility = pf.mobilities.Induced(pf.divergences.ReverseKL())
    >>> mobility.slope(torch.log(torch.tensor([0.5, 1.0, 3.0])))  # r
    tensor([0.5000, 1.0000, 3.0000])
    """

    divergence: Divergence
    allow_nonmonotone: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.divergence, type) or not isinstance(self.divergence, Divergence):
            raise TypeError(
                f"`divergence` must be an entropy, got {_checks.kind(self.divergence)}: e.g."
                " pf.divergences.JensenShannon()"
            )
        _checks.flag(self.allow_nonmonotone, "allow_nonmonotone")
        refuse_unless_increasing(self, f"`divergence` {self.divergence}", self.allow_nonmonotone)

    def h(self, d: Tensor) -> Tensor:
        held = d.double().clamp(-FARTHEST, FARTHEST)
        return (-self.divergence.slope(torch.exp(-held)) + self._slope(held) * (d - held)).to(
            d.dtype
        )

    def slope(self, d: Tensor) -> Tensor:
        return self._slope(d.double().clamp(-FARTHEST, FARTHEST)).to(d.dtype)

    def curvature(self, d: Tensor) -> Tensor:
        return (
            derivative(self._slope, d.double().clamp(-FARTHEST, FARTHEST))
            .where(d.abs() <= FARTHEST, 0.0)
            .to(d.dtype)
        )

    def f(self, r: Tensor) -> Tensor:
        """f(r) = r e(1 / r), elementwise in r > 0."""
        return r * self.divergence.f(1 / r)

    def _slope(self, d: Tensor) -> Tensor:
        g = torch.exp(-d)
        return g * self.divergence.curvature(g)


def from_divergence(divergence: Divergence, *, allow_nonmonotone: bool = False) -> Induced:
    r"""The mobility of the gradient flow of a divergence of `pf.divergences`.

    .. math::

        h'(d) = g\, e''(g) , \qquad g = e^{-d} = \frac{q}{p} ,

    for the entropy e. Up to a constant in h, KL() gives `Unit`, ReverseKL() `Exponential(1)`,
    Tsallis(1/2) `Exponential(1/2)`, and JensenShannon() half of `Vanilla`.

    Parameters
    ----------
    divergence : Divergence
        The entropy e of :math:`D(q \,\|\, p) = \int p\, e(q / p)`.
    allow_nonmonotone : bool
        True: an h that does not increase is run with a warning.

    Returns
    -------
    Induced
        The mobility, which knows h, its derivatives and f.

    Raises
    ------
    TypeError
        `divergence` is no entropy, or `allow_nonmonotone` no bool.
    ValueError
        h does not increase (`TotalVariation`).

    Cost: about 16000 values of the entropy, once, for the check that h increases.

    Source: Yi, Zhu and Liu (2023).

    >>> mobility = pf.mobilities.from_divergence(pf.divergences.JensenShannon())
    >>> mobility.slope(torch.tensor([0.0]))  # half of sigma(0)
    tensor([0.2500])
    """
    return Induced(divergence, allow_nonmonotone=allow_nonmonotone)


@dataclass(frozen=True)
class Custom:
    r"""The mobility of a user's h, with derivatives that are given or made.

    .. math::

        v(z) = h'(d)\, \nabla d , \qquad d = \log r(z) , \qquad h' > 0 .

    Derivatives that are not given come from automatic differentiation where h is made of torch's
    functions. Else (numpy's functions, say) they come from central differences in float64. Their
    errors are about 1e-10 of h in :math:`h'` and 1e-7 in :math:`h''`.

    :math:`h' > 0` is checked for |d| <= 80, at steps of 0.01 and closer near 0. A dip that is
    narrower escapes. Beyond |d| = 10 a slope of 0 passes, as h may saturate to the last digit
    there. `custom` makes it.

    Parameters
    ----------
    function : callable
        h, which maps a tensor of log ratios elementwise.
    first : callable, optional
        :math:`h'`.
    second : callable, optional
        :math:`h''`, which only curvatures of a flow need.
    allow_nonmonotone : bool
        True: an h that does not increase is run with a warning.

    Raises
    ------
    TypeError
        A function is a class or not callable, or `allow_nonmonotone` is no bool.
    ValueError
        :math:`h'` is negative or NaN for some |d| <= 80, or 0 for some |d| <= 10. Later: a function
        gives no value for each log ratio.

    Cost: one call of h for a derivative by differentiation, two or three by differences.

    Source: Yi, Zhu and Liu (2023), who admit any increasing h.

    >>> mobility = pf.mobilities.Custom(torch.atan)
    >>> mobility.slope(torch.tensor([0.0, 2.0]))  # 1 / (1 + d^2)
    tensor([1.0000, 0.2000])
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
        _checks.flag(self.allow_nonmonotone, "allow_nonmonotone")
        refuse_unless_increasing(self, "`h`", self.allow_nonmonotone)

    def h(self, d: Tensor) -> Tensor:
        return called(self.function, d, "h")

    def slope(self, d: Tensor) -> Tensor:
        if self.first is not None:
            return called(self.first, d, "slope")
        return derivative(self.function, d)

    def curvature(self, d: Tensor) -> Tensor:
        if self.second is not None:
            return called(self.second, d, "curvature")
        return (
            derivative(self.function, d, order=2)
            if self.first is None
            else derivative(self.first, d)
        )


def custom(
    h: Callable[[Tensor], Any],
    *,
    slope: Callable[[Tensor], Any] | None = None,
    curvature: Callable[[Tensor], Any] | None = None,
    allow_nonmonotone: bool = False,
) -> Custom:
    r"""A mobility from any increasing h of the log ratio.

    .. math::

        v(z) = h'(d)\, \nabla d , \qquad d = \log r(z) , \qquad h' > 0 .

    Derivatives that are not given are made, and h is checked to increase (see `Custom`). Which
    divergence falls along the flow: that of :math:`f'' = h' / r^2`.

    Parameters
    ----------
    h : callable
        Maps a tensor of log ratios elementwise: functions of torch, or others.
    slope : callable, optional
        :math:`h'`; automatic differentiation or differences otherwise.
    curvature : callable, optional
        :math:`h''`.
    allow_nonmonotone : bool
        True: an h that does not increase is run with a warning.

    Returns
    -------
    Custom
        The mobility.

    Raises
    ------
    TypeError
        `h`, `slope` or `curvature` is a class or not callable, or `allow_nonmonotone` is no bool.
    ValueError
        h does not increase. Later: a function gives no value for each log ratio.

    Cost: one call of h at 16000 log ratios, once, for the check that it increases.

    Source: Yi, Zhu and Liu (2023), who admit any increasing h.

    >>> pf.mobilities.custom(lambda d: torch.atan(d)).slope(torch.tensor([1.0]))
    tensor([0.5000])
    """
    return Custom(h, slope, curvature, allow_nonmonotone=allow_nonmonotone)


def derivative(function: Callable[[Tensor], Any], d: Tensor, order: int = 1) -> Tensor:
    """The elementwise derivative of order 1 or 2.

    By automatic differentiation where the value carries a graph, else by central differences.
    """
    at = _autograd.plain(d).detach().double()
    with _autograd.recording():
        leaf = at.clone().requires_grad_(True)
        try:
            value = function(leaf)
        except (RuntimeError, TypeError):  # numpy takes no tensor that requires a gradient
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
    up, down = (called(function, z, "h") for z in (above, below))
    if order == 1:
        return ((up - down) / (above - below)).to(d.dtype)
    return ((up - 2 * called(function, at, "h") + down) / step**2).to(d.dtype)
