"""Witnesses that a c-transform carries from the target's points to all of space.

Both critics of optimal transport have them: `transport` solves for the numbers at the points,
`trained` learns them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow._typing import Gradients, Queries, Values
from particleflow.clouds import Cloud

# Bytes of distances that are worked on at once.
CHUNK = 2**26

# The order of the cost |z - y|^order / order.
Order: TypeAlias = Literal[1, 2]


@dataclass(frozen=True)
class CTransformWitness:
    r"""Carry numbers v at the target's points to all of space by a c-transform.

    .. math::

        w(z) = \max_j \bigl( v_j - c(z, y_j) \bigr), \qquad
        c(z, y) = \lVert z - y \rVert^n / n

    -w is the c-transform of v over the points y. With the order n = 1, w is 1-Lipschitz for any v,
    and grad w is the unit vector to the y_j that wins (0 at y_j itself). With the order 2, grad w
    is the way y_j - z to it. w is a potential.

    Parameters
    ----------
    y : (M, d) tensor
        The points, float64.
    v : (M,) tensor
        The numbers, float64, in the unit of the cost.
    order : 1 or 2
        The exponent n of the cost.

    Cost: O(Q M d) for Q queries, in blocks of 64 MiB.

    Source: Peyre and Cuturi (2019), the c-transform; Mallasto, Montufar and Gerolin (2019), as a
    critic.

    From 1 the point 0 wins, from 3 the point 4:

    >>> from particleflow.estimators.c_transform import CTransformWitness
    >>> y = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
    >>> w = CTransformWitness(y, torch.tensor([0.0, 1.0], dtype=torch.float64))
    >>> w.value_and_grad(torch.tensor([[1.0], [3.0]]))
    (tensor([-1.,  0.]), tensor([[-1.],
            [ 1.]]))
    """

    y: Float[Tensor, "M d"]
    v: Float[Tensor, "M"]
    order: Order = 1
    log_ratio: ClassVar[bool] = False

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        parts = [self._of(part) for part in z.double().split(rows(len(self.y)))]
        value, grad = (torch.cat(part) for part in zip(*parts, strict=True))
        return value.to(z.dtype), grad.to(z.dtype)

    def _of(self, z: Queries) -> tuple[Values, Gradients]:
        value, winner = (self.v - costs(z, self.y, self.order)).max(1)
        way = self.y[winner] - z
        return value, unit(way) if self.order == 1 else way


@dataclass(frozen=True)
class SoftTransportWitness:
    r"""Carry numbers v at the target's points to all of space by a smoothed c-transform.

    .. math::

        w(z) = \varepsilon \log \sum_j b_j\,
            e^{(v_j - c(z, y_j)) / \varepsilon}

    The cost is that of `CTransformWitness`, whose w it tends to as epsilon falls. With the order 1,
    w is smooth except at the y_j, and grad w is a mean of unit vectors, hence no longer than 1.

    Parameters
    ----------
    y : (M, d) tensor
        The points, float64.
    v : (M,) tensor
        The numbers, float64, in the unit of the cost.
    log_b : (M,) tensor
        The logarithms of the shares b of the points, of sum one.
    regularisation : float
        epsilon > 0, in the unit of the cost.
    order : 1 or 2
        That of the cost.

    Cost: O(Q M d) for Q queries, in blocks of 64 MiB.

    Source: Cuturi (2013); Peyre and Cuturi (2019), section 4.4.

    In the middle of two equal points the pulls cancel, and w = -c:

    >>> from particleflow.estimators.c_transform import SoftTransportWitness
    >>> y = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
    >>> half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    >>> w = SoftTransportWitness(y, torch.zeros_like(half), half.log(), 1.0)
    >>> w.value_and_grad(torch.tensor([[2.0]]))
    (tensor([-2.]), tensor([[0.]]))
    """

    y: Float[Tensor, "M d"]
    v: Float[Tensor, "M"]
    log_b: Float[Tensor, "M"]
    regularisation: float
    order: Order = 1
    log_ratio: ClassVar[bool] = False

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        parts = [self._of(part) for part in z.double().split(rows(len(self.y)))]
        value, grad = (torch.cat(part) for part in zip(*parts, strict=True))
        return value.to(z.dtype), grad.to(z.dtype)

    def _of(self, z: Queries) -> tuple[Values, Gradients]:
        reach = distances(z, self.y)
        cost = reach if self.order == 1 else reach**2 / 2
        exponent = self.log_b + (self.v - cost) / self.regularisation
        weight = exponent.softmax(1)
        if self.order == 1:
            weight = torch.where(reach > 0, weight / reach, 0)
        return (
            self.regularisation * exponent.logsumexp(1),
            weight @ self.y - weight.sum(1, keepdim=True) * z,
        )


def distances(a: Float[Tensor, "A d"], b: Float[Tensor, "B d"]) -> Float[Tensor, "A B"]:
    """|a_i - b_j| from differences, so that it is exactly 0 where points coincide."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def costs(a: Float[Tensor, "A d"], b: Float[Tensor, "B d"], order: Order) -> Float[Tensor, "A B"]:
    """|a_i - b_j|^order / order."""
    return distances(a, b) if order == 1 else distances(a, b) ** 2 / 2


def heavy(cloud: Cloud) -> Cloud:
    """The points that have mass, in float64, with shares of it that add up to one."""
    points = cloud.points.double()
    share = cloud.double().mass if cloud.log_mass is None else cloud.log_mass.double().softmax(0)
    kept = share > 0
    share = share[kept] / share[kept].sum()
    return Cloud(points[kept], log_mass=share.log())


def unit(vectors: Queries) -> Gradients:
    """vectors / |vectors|, 0 where they are 0."""
    length = vectors.norm(dim=1, keepdim=True)
    return torch.where(length > 0, vectors / length, 0)


def rows(columns: int) -> int:
    """The number of rows of distances in a chunk of CHUNK bytes."""
    return max(1, CHUNK // (8 * columns))
