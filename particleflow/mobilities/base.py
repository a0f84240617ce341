"""The contract of a mobility, and the check that its h increases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from particleflow import _checks

# The largest |d| at which h' is checked: ratios up to 5e34.
WIDEST = 80.0
# The step in d between the values that are checked; near 0 they are closer.
SPACING = 0.01
# The |d| beyond which a slope of 0 is accepted: an h that saturates may have it by rounding.
FLAT_BEYOND = 10.0


@runtime_checkable
class Mobility(Protocol):
    r"""A rescaling h of the log ratio, and its derivatives.

    .. math::

        v(z) = h'\left( d(z) \right) \nabla d(z) , \qquad d = \log r = \log \frac{p}{q} .

    `h`, `slope` (:math:`h'`) and `curvature` (:math:`h''`) map a tensor of log ratios (Q,)
    elementwise, in its dtype and on its device. :math:`h' > 0` is asked for every d; a class of
    yours whose h decreases somewhere is refused when a flow is made (see `KnownShape`). A constant
    may be added to h.
    """

    def h(self, d: Tensor) -> Tensor:
        """h(d), elementwise in the log ratio d; a constant may be added."""

    def slope(self, d: Tensor) -> Tensor:
        r""":math:`h'(d) > 0`, elementwise."""

    def curvature(self, d: Tensor) -> Tensor:
        r""":math:`h''(d)`, elementwise."""


@runtime_checkable
class KnownShape(Mobility, Protocol):
    """A mobility that declares whether its h may decrease.

    `allow_nonmonotone` True: a flow with it warns and runs. Undeclared or False, an h that
    decreases somewhere is refused (ValueError).
    """

    @property
    def allow_nonmonotone(self) -> bool: ...


def check_increasing(mobility: Mobility) -> None:
    r"""Refuse a user's class whose h does not increase, unless it declares that it may.

    .. math::

        h'(d) > 0 \quad \text{for all } \left| d \right| \le 80 .

    The slope is looked at in steps of 0.01, and closer near 0. Beyond |d| = 10 it may be 0, by
    rounding. The classes of this package are checked when they are made, and pass. A flow calls it.

    Parameters
    ----------
    mobility : Mobility
        Any mobility; a `KnownShape` with `allow_nonmonotone` gets a warning in place of the error.

    Raises
    ------
    TypeError
        `allow_nonmonotone` is no bool.
    ValueError
        :math:`h'` is negative or NaN somewhere, or 0 for some |d| <= 10; or `slope` is not
        elementwise.

    Cost: one call of `slope` at 16000 log ratios.

    Source: Yi, Zhu and Liu (2023) for :math:`h' > 0`.
    """
    if type(mobility).__module__.rpartition(".")[0] != __package__:
        allowed = isinstance(mobility, KnownShape) and mobility.allow_nonmonotone
        refuse_unless_increasing(
            mobility,
            f"`mobility` {type(mobility).__name__}",
            _checks.flag(allowed, "allow_nonmonotone"),
        )


def refuse_unless_increasing(mobility: Mobility, what: str, allowed: bool) -> None:
    """Refuse, or warn of if `allowed`, an h' that is not positive for |d| <= WIDEST."""
    near = torch.logspace(-12, -2, 101, dtype=torch.float64, device="cpu")
    even = torch.linspace(0, WIDEST, round(WIDEST / SPACING) + 1, dtype=torch.float64, device="cpu")
    half = torch.cat([even, near]).unique()
    d = torch.cat([-half[1:].flip(0), half])
    slope = called(mobility.slope, d, "slope").detach()
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
        refuse_or_warn(
            f"{what} must have h'(d) > 0 for every log ratio d, got h' ="
            f" {float(slope[failing][worst]):.3g} at d = {float(where[worst]):.3g}, and h' <= 0 or"
            f" NaN at {reach}",
            allowed,
        )


def refuse_or_warn(reason: str, allowed: bool) -> None:
    """Refuse an h that does not increase, or warn of it if `allowed`."""
    if not _checks.flag(allowed, "allow_nonmonotone"):
        raise ValueError(
            f"{reason}. Where h' < 0 particles move down the ratio, away from the target, and where"
            " h' = 0 they stop: take an increasing h, or pass allow_nonmonotone=True (a class of"
            " your own: have it as an attribute) to run it all the same"
        )
    _checks.warn(f"{reason}: the flow need not approach the target", UserWarning)


def called(function: Callable[[Tensor], Any], d: Tensor, name: str) -> Tensor:
    """function(d) as a tensor like d. Another shape is refused in the name of `name`."""
    value = torch.as_tensor(function(d), dtype=d.dtype, device=d.device)
    if value.shape != d.shape:
        raise ValueError(
            f"`{name}` must map log ratios {tuple(d.shape)} to as many values, got"
            f" {tuple(value.shape)}: make it elementwise"
        )
    return value
