"""The linear systems of Newton's method, (I + K W / lam) s = t with W diagonal: conjugate
gradients, or Cholesky where they are slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow.estimators.envelope.gram import Gram

# Products by a whole matrix that cost as much as its Cholesky factor: FEW + M / PER_POINT. Up to
# DIRECT points the factor is always quicker.
FEW, PER_POINT, DIRECT = 20, 20, 64
# Without a whole matrix there is nothing else: then so many products, and what has been reached is
# a descent direction all the same.
MOST = 1000
# Points whose weights together change h by less than this share of their own residual follow h at
# once.
PASSIVE = 0.1
# Where a system is to be solved without knowing how well, this share of the right-hand side is
# left.
INEXACT = 1e-3


@dataclass(frozen=True, eq=False)
class Solved:
    """s (M,), the products by K that it took, whether |t - (I + K W / lam) s| is small enough, and
    whether Cholesky made it.
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
) -> Solved:
    """Until the residual r = t - (I + K W / lam) s has (sum_j W_j r_j^2)^{1/2} <= tolerance.

    Parameters
    ----------
    w : (M,) >= 0
        The diagonal of W.
    exact : bool
        By exact products rather than by rough ones.
    direct : bool
        By Cholesky at once, where the matrix is kept.
    """
    size = len(t)
    if gram.matrix is None:
        return _conjugate_gradients(gram, w, lam, t, tolerance, MOST, exact)
    if not direct and size > DIRECT:
        found = _conjugate_gradients(gram, w, lam, t, tolerance, FEW + size // PER_POINT, exact)
        if found.done:
            return found
    return _cholesky(gram.matrix, w, lam, t)


def _conjugate_gradients(
    gram: Gram,
    w: Float[Tensor, "M"],
    lam: float,
    t: Float[Tensor, "M"],
    tolerance: float,
    most: int,
    exact: bool,
) -> Solved:
    """In the inner product of W, in which I + K W / lam is self-adjoint and at least the identity."""
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


def _cholesky(
    matrix: Float[Tensor, "M M"], w: Float[Tensor, "M"], lam: float, t: Float[Tensor, "M"]
) -> Solved:
    """s = t - K R eta / lam with R^2 = W, (lam I + R K R) eta = lam R t, by a factor: M^3 / 3
    operations.
    """
    root = w.sqrt()
    system = (matrix * root).mul_(root[:, None])
    system.diagonal().add_(lam)
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed.any()):
        return Solved(torch.zeros_like(t), 0, False, direct=True)
    eta = torch.cholesky_solve((root * t)[:, None], factor)[:, 0]
    return Solved(t - matrix @ (root * eta), 1, True, direct=True)


@dataclass(frozen=True, eq=False)
class Direct:
    """s = eta / R with R^2 = W, (lam I + R K R) eta = lam R r: precise relative to s even where W
    is so large that s nearly vanishes.
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
        return (
            torch.cholesky_solve((self.lam * self.root * r)[:, None], self.factor)[:, 0] / self.root
        )


@dataclass(frozen=True, eq=False)
class LowRank:
    """s = r - L (lam I + L' W L)^-1 L' W r for K = L L', L (P, rank)."""

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
        return (
            r
            - self.columns
            @ torch.cholesky_solve((self.columns.T @ (self.w * r))[:, None], self.factor)[:, 0]
        )


@dataclass(frozen=True, eq=False)
class Products:
    """By conjugate gradients."""

    gram: Gram
    w: Float[Tensor, "P"]
    lam: float

    def solve(self, r: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
        size = float((self.w * r) @ r) ** 0.5
        return _conjugate_gradients(self.gram, self.w, self.lam, r, INEXACT * size, MOST, True).step


# One W, several right-hand sides.
System: TypeAlias = Direct | LowRank | Products
