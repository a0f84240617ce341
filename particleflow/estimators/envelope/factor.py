"""A Cholesky factor of a linear system (I + K W / lam) s = r, kept where the system comes again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Direct:
    """s = eta / R, R^2 = W, (lam I + R K R) eta = lam R r, by a factor of lam I + R K R.

    Each entry of s keeps its digits where W is so large that s nearly vanishes.
    """

    root: Float[Tensor, "P"]
    factor: Float[Tensor, "P P"]
    lam: float

    @classmethod
    def of(cls, matrix: Float[Tensor, "P P"], w: Float[Tensor, "P"], lam: float) -> Direct | None:
        """None where rounding leaves no positive definite matrix."""
        root = w.sqrt()
        system = (matrix * root).mul_(root[:, None])
        system.diagonal().add_(lam)
        factor, failed = torch.linalg.cholesky_ex(system)
        return None if bool(failed.any()) else cls(root, factor, lam)

    def solve(self, r: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
        return self.eta(self.lam * self.root * r) / self.root

    def eta(self, right: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
        """(lam I + R K R)^-1 right."""
        return torch.cholesky_solve(right[:, None], self.factor)[:, 0]


class Repeated:
    """The factor of the last system with one matrix K that was said to come again.

    Dropping it changes nothing but the time. Threads may share it: its entry is read once and
    replaced at once.
    """

    def __init__(self) -> None:
        self._last: tuple[Tensor, float, Direct | None] | None = None

    def system(
        self, matrix: Float[Tensor, "P P"], w: Float[Tensor, "P"], lam: float
    ) -> Direct | None:
        """`Direct.of`, computed once for systems of the same numbers."""
        last = self._last
        if last is None or last[1] != lam or not torch.equal(last[0], w):
            self._last = last = w, lam, Direct.of(matrix, w, lam)
        return last[2]
