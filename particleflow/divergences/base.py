"""The contract of an entropy, and the mark of those with a kink."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Divergence(Protocol):
    r"""An entropy f of an f-divergence, and its conjugate, elementwise.

    .. math::

        D_f(q \,\|\, p) = \mathbb{E}_p\, f(g) , \qquad g = \frac{q}{p} \ge 0 ,
        \qquad
        f^*(s) = \sup_{g \ge 0}\, s g - f(g) .

    `f`, `slope` (:math:`f'`) and `curvature` (:math:`f''`) take g >= 0; `conjugate`, `ratio` (the
    maximiser :math:`g = (f^*)'(s)`) and `ratio_slope` (:math:`(f^*)''`) take any s. f is convex
    with :math:`f(1) = f'(1) = 0`. `slope` and `ratio` are inverse to each other, and
    :math:`f(g) + f^*(f'(g)) = g f'(g)`. Where nothing is attained, `conjugate` and `ratio` are inf.

    Attributes
    ----------
    recession : float
        lim f(g) / g for g -> infinity: the price of mass where the target has none.
    nonnegative : bool
        Whether the supremum of the conjugate is over g >= 0.
    """

    @property
    def recession(self) -> float:
        """lim f(g) / g for g to infinity, which may be infinite."""

    @property
    def nonnegative(self) -> bool:
        """Whether the supremum of the conjugate is over g >= 0."""

    def f(self, g: Tensor) -> Tensor:
        """f(g), elementwise in g >= 0."""

    def slope(self, g: Tensor) -> Tensor:
        r""":math:`f'(g)`, elementwise in g >= 0."""

    def curvature(self, g: Tensor) -> Tensor:
        r""":math:`f''(g)`, elementwise in g >= 0."""

    def conjugate(self, s: Tensor) -> Tensor:
        r""":math:`f^*(s) = \sup_{g \ge 0} s g - f(g)`, elementwise in s."""

    def ratio(self, s: Tensor) -> Tensor:
        """The maximiser :math:`g = (f^*)'(s)`, elementwise in s."""

    def ratio_slope(self, s: Tensor) -> Tensor:
        """:math:`(f^*)''(s)`, elementwise in s."""


class PiecewiseLinear:
    r"""A mark of entropies with a kink, which Newton's method cannot solve.

    .. math::

        f(g) = c\, \left| g - 1 \right| , \qquad c = \lim_{g \to \infty} \frac{f(g)}{g} .

    An entropy declares it by inheriting. :math:`f'` jumps at g = 1, so that estimators take an
    interior-point method in its place.

    >>> isinstance(pf.divergences.TotalVariation(), pf.divergences.PiecewiseLinear)
    True
    """
