"""What kernels' compiled formulas (`kernels.facts.Profile`) are made of: one vector of pairs.

Points are scaled, u = length x / bandwidth, so that kernels decay as 2^-exponent; q = |u_z -
u_x|^2.
"""

from __future__ import annotations

from particleflow.kernels.contract import COINCIDENT
from particleflow.kernels.facts import LN2
from particleflow.memo import cached_property
from particleflow.pairwise.codegen.vector import Vector


class Pair:
    """A vector of pairs: q, and what several formulas need of it. `d` is a number or a vector."""

    def __init__(
        self, q: Vector, d: Vector | float, length: float, decay: Vector | None = None
    ) -> None:
        self.q, self.d = q, d
        # Nearer points count as coincident where there is a kink, as in `kernels.contract`.
        self.cut = (COINCIDENT * length) ** 2
        self._decay = decay

    @cached_property
    def r(self) -> Vector:
        return self.q.root(self.cut)

    @cached_property
    def inverse(self) -> Vector:
        """1 / r, finite at r = 0: the force there is 0 times this."""
        return self.q.at_least(self.cut).rsqrt()

    @cached_property
    def a(self) -> Vector:
        """The argument of a Matern kernel's exponential."""
        return self.r * LN2

    @cached_property
    def multiquadric(self) -> Vector:
        return (self.q + 1.0).rsqrt()

    @property
    def decay(self) -> Vector:
        """2^-exponent, given by the caller, who may have shifted the exponent."""
        assert self._decay is not None
        return self._decay
