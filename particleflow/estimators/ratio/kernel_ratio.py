"""The kernel model of a density ratio, r(z) = sum_l theta_l k(z, c_l), theta >= 0.

`ULSIF`, `RuLSIF` and `KLIEP` share it. The centres c_l are some of the target's points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Cloud
from particleflow.estimators.base import CurvedWitness
from particleflow.kernels import Bandwidth, Gaussian, Kernel, Median, median_distance
from particleflow.kernels.bandwidth import is_rule, read_off
from particleflow.kernels.declared import (
    as_kernel_or_rule,
    is_positive,
    names_of,
    positive_kind,
)
from particleflow.pairwise import Field, PairwiseSum
from particleflow.pairwise.exact.dense import kernel_matrix, squared_distances
from particleflow.pairwise.hessian import log_hessian
from particleflow.subsets import places

# The rule for a bandwidth in a flow: `default_bandwidth` of the target.
IN_FLOW = Median(None)
# Bandwidths that are tried, in median distances of the target. The widest come first: of equal
# scores the smoother ratio wins.
FACTORS = tuple(2.0 ** (k / 2) for k in range(2, -7, -1))
# Entries of a kernel matrix that are worked on at once: 4 MiB.
ENTRIES = 2**19

# Points (N, d) and their shares (N,), of sum one.
Sample: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class KernelRatioWitness(CurvedWitness):
    """log r = shift + log sum_l theta_l k(., c_l) and its gradient, by log-sum-exp in float64.

    Both are finite however far z is from the centres, where the nearest one takes over.
    """

    field: Field = field(repr=False)
    shift: float
    log_ratio: ClassVar[bool] = True

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        value, grad = self.field.log(z.double())
        return (value + self.shift).to(z.dtype), grad.to(z.dtype)

    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        return log_hessian(self.field, z)


def kernel_ratio(
    kernel: Kernel,
    centres: Float[Tensor, "L d"],
    log_theta: Float[Tensor, "L"],
    pairwise: PairwiseSum,
) -> KernelRatioWitness:
    """The witness of r = sum_l theta_l k(., c_l), from log theta of any size; -inf leaves c_l out.

    Weights that are too small for a number, relative to the largest, are held at the smallest.
    """
    shift = float(log_theta.max())
    there = log_theta > -math.inf
    weights = (log_theta[there] - shift).clamp_min(math.log(torch.finfo(torch.float64).tiny)).exp()
    return KernelRatioWitness(pairwise.sources(kernel, centres[there]).field(weights), shift)


def positive_kernel(kernel: Kernel | Bandwidth) -> Kernel | Bandwidth:
    """A kernel that is positive, or a rule for a bandwidth; anything else is refused."""
    kernel = as_kernel_or_rule(kernel)
    if not (is_rule(kernel) or is_positive(kernel)):
        raise TypeError(
            f"`kernel` must be positive to model a ratio, got {kernel}: use"
            f" {names_of(positive_kind)}"
        )
    return kernel


def normalised(cloud: Cloud) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N"], float]:
    """The points that have mass, their shares of the mass, and the logarithm of the total mass."""
    return *places(cloud), float(cloud.mass.double().sum().log())


@dataclass(frozen=True, eq=False)
class Aim:
    """What the fits of a run need of their target, made once.

    Attributes
    ----------
    sample : (M, d), (M,)
        The places that have mass, and their shares of it.
    log_mass : float
        The logarithm of the total mass.
    centres : (L, d)
        The centres c_l of the kernel model, some of the places.
    """

    sample: Sample
    log_mass: float
    centres: Float[Tensor, "L d"]

    @classmethod
    def of(cls, cloud: Cloud, centres: int) -> Aim:
        points, share, log_mass = normalised(cloud)
        return cls((points, share), log_mass, places(cloud, centres)[0])


def tiles(
    kernel: Kernel, points: Float[Tensor, "N d"], centres: Float[Tensor, "L d"]
) -> Iterator[tuple[slice, Tensor]]:
    """k(points, centres) (N, L), some rows at a time, with their places."""
    step = max(1, ENTRIES // len(centres))
    for start in range(0, len(points), step):
        rows = slice(start, start + step)
        yield rows, kernel_matrix(kernel, points[rows], centres)


def log_kernel_matrix(
    kernel: Kernel, points: Float[Tensor, "N d"], centres: Float[Tensor, "L d"]
) -> Float[Tensor, "N L"]:
    """log k(points, centres) (N, L)."""
    assert is_positive(kernel)
    return kernel.log_profile(squared_distances(points, centres))


def candidates(kernel: Kernel | Bandwidth | None, target: Cloud, memory: Memory) -> list[Kernel]:
    """The kernels to choose from.

    There is one where it is given, was chosen before, or comes from a rule. Else they are Gaussians
    whose bandwidths lie around the target's median distance.
    """
    if isinstance(kernel, Kernel):
        return [kernel]
    if "bandwidth" in memory:
        return [Gaussian(float(memory["bandwidth"]))]
    if kernel is not None:
        return [Gaussian(read_off("`y`", partial(kernel.of, target)))]
    length = read_off("`y`", partial(median_distance, target))
    return [Gaussian(length * factor) for factor in FACTORS]


def chosen_bandwidth(given: Kernel | Bandwidth | None, kernel: Kernel) -> dict[str, float]:
    """The bandwidth of a Gaussian that was chosen; nothing where the kernel was given."""
    if isinstance(given, Kernel):
        return {}
    assert isinstance(kernel, Gaussian)
    return {"bandwidth": kernel.bandwidth}
