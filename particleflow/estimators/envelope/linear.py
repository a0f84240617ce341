"""The linear systems of Newton's method, (I + K W / lam) s = t, W diagonal.

`solve_system` takes conjugate gradients, or a Cholesky factor where that is quicker. `Direct`,
`LowRank` and `Products` each solve one W for several right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.envelope.gram import Gram, WholeGram

# A Cholesky factor costs as much as FEW + M / PER_POINT products by the whole matrix.
FEW = 20
# Points for each further product in that cost.
PER_POINT = 20
# Points up to which the factor is always quicker.
DIRECT = 64
# The most products where there is no whole matrix. They are enough for a descent direction.
MOST = 1000
# A point is passive where M such points would change h by less than this share of their residual.
# The step of a passive point takes up the residual that is left there.
PASSIVE = 0.1
# The residual at which `Products` stops, as a share of the right-hand side.
INEXACT = 1e-3


@dataclass(frozen=True, eq=False)
class Solved:
    """The step s (M,) and how it was found.

    Attributes
    ----------
    products : int
        Products by K that it took.
    done : bool
        Whether |t - (I + K W / lam) s| is small enough.
    direct : bool
        Whether a Cholesky factor made it.
    """

    step: Float[Tensor, "M"]
    products: int
    done: bool
    direct: bool = False


def solve_system(
    gram: Gram,
    w: Float[Tensor, "M"],
    lam: float,
    t: Float[Tensor, "M"],
    *,
    tolerance: float,
    exact: bool,
    direct: bool,
    repeats: bool,
) -> Solved:
    """s with (sum_j W_j r_j^2)^{1/2} <= tolerance, r = t - (I + K W / lam) s.

    Parameters
    ----------
    w : (M,) >= 0
        The diagonal of W.
    exact : bool
        Whether products are exact rather than rough.
    direct : bool
        Whether to take a Cholesky factor at once, where the matrix is kept.
    repeats : bool
        Whether systems of the same w and lam come again: then their factor is kept with the matrix.
    """
    size = len(t)
    if gram.matrix is None:
        return _conjugate_gradients(gram, w, lam, t, tolerance, MOST, exact)
    kept = _kept(gram, w, lam) if repeats else None
    if kept is None and not direct and size > DIRECT:
        found = _conjugate_gradients(gram, w, lam, t, tolerance, FEW + size // PER_POINT, exact)
        if found.done:
            return found
    system = kept or Direct.of(gram.matrix, w, lam)
    if system is None:
        return Solved(torch.zeros_like(t), 0, False, direct=True)
    # s = t - K R eta, R^2 = W, (lam I + R K R) eta = R t
    step = t - gram.matrix @ (system.root * system.eta(system.root * t))
    return Solved(step, 1, True, direct=True)


def _conjugate_gradients(
    gram: Gram,
    w: Float[Tensor, "M"],
    lam: float,
    t: Float[Tensor, "M"],
    tolerance: float,
    most: int,
    exact: bool,
) -> Solved:
    """Conjugate gradients in the inner product of W, for which I + K W / lam is self-adjoint."""
    step, residual, direction = torch.zeros_like(t), t.clone(), t.clone()
    squared, enough = float((w * t) @ t), tolerance**2
    products = 0
    while squared > enough and products < most:
        weighted = w * direction
        image = gram.times(weighted) if exact else gram.roughly(weighted, lam)
        image = torch.add(direction, image, alpha=1 / lam)
        products += 1
        curvature = float(weighted @ image)
        if not curvature > 0:
            break
        length = squared / curvature
        step.add_(direction, alpha=length)
        residual.sub_(image, alpha=length)
        squared, before = float((w * residual) @ residual), squared
        direction.mul_(squared / before).add_(residual)
    passive = w * (len(w) * gram.peak / lam) <= PASSIVE
    return Solved(step + residual * passive, products, squared <= enough)


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


def _kept(gram: WholeGram, w: Float[Tensor, "M"], lam: float) -> Direct | None:
    """The factor of the last system that was said to come again; another one is made anew."""
    key = lam, w.cpu().numpy().tobytes()
    found: Direct | None = gram.factors.get(key, lambda: Direct.of(gram.matrix, w, lam))
    return found


@dataclass(frozen=True, eq=False)
class LowRank:
    """s = r - L (lam I + L' W L)^-1 L' W r, where K = L L'."""

    columns: Float[Tensor, "P rank"]
    w: Float[Tensor, "P"]
    factor: Float[Tensor, "rank rank"]

    @classmethod
    def of(
        cls, columns: Float[Tensor, "P rank"], w: Float[Tensor, "P"], lam: float
    ) -> LowRank | None:
        system = columns.T @ (w[:, None] * columns)
        system.diagonal().add_(lam)
        factor, failed = torch.linalg.cholesky_ex(system)
        return None if bool(failed.any()) else cls(columns, w, factor)

    def solve(self, r: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
        right = self.columns.T @ (self.w * r)
        return r - self.columns @ torch.cholesky_solve(right[:, None], self.factor)[:, 0]


@dataclass(frozen=True, eq=False)
class Products:
    """s by conjugate gradients."""

    gram: Gram
    w: Float[Tensor, "P"]
    lam: float

    def solve(self, r: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
        size = float((self.w * r) @ r) ** 0.5
        return _conjugate_gradients(self.gram, self.w, self.lam, r, INEXACT * size, MOST, True).step


System: TypeAlias = Direct | LowRank | Products
