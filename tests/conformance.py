"""The kernels that the contract of sums is run on (`particleflow.testing.check_backend`), and their
formulas in the distance r.

The package's own are in s = r^2: these are the answers that they are tested against.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import config as jaxtyping_config

from particleflow import kernels, testing
from particleflow.pairwise import PairwiseSum
from particleflow.testing.backend_case import ROUNDING, Case
from particleflow.testing.contract import Contract

SMOOTH = [
    kernels.Gaussian(0.7),
    kernels.Matern32(0.7),
    kernels.Matern52(0.7),
    kernels.IMQ(0.7),
    kernels.Cauchy(0.7),
]
KINKED = [kernels.Laplace(0.7), kernels.Energy()]
KERNELS = [*SMOOTH, *KINKED]
POSITIVE = [kernel for kernel in KERNELS if not isinstance(kernel, kernels.Energy)]

Formula = Callable[[np.ndarray], np.ndarray]


def formulas(kernel: kernels.Kernel) -> tuple[Formula, Formula, Formula]:
    """k, k' and k'' as functions of the distance r > 0."""
    l = getattr(kernel, "bandwidth", 1.0)
    b, c = math.sqrt(3) / l, math.sqrt(5) / l
    match kernel:
        case kernels.Gaussian():
            k = lambda r: np.exp(-(r**2) / (2 * l**2))
            return k, lambda r: -r / l**2 * k(r), lambda r: (r**2 / l**4 - 1 / l**2) * k(r)
        case kernels.Laplace():
            return (
                (lambda r: np.exp(-r / l)),
                (lambda r: -np.exp(-r / l) / l),
                (lambda r: np.exp(-r / l) / l**2),
            )
        case kernels.Matern32():
            e = lambda r: np.exp(-b * r)
            return (
                (lambda r: (1 + b * r) * e(r)),
                (lambda r: -(b**2) * r * e(r)),
                (lambda r: (b * r - 1) * b**2 * e(r)),
            )
        case kernels.Matern52():
            e = lambda r: np.exp(-c * r)
            return (
                lambda r: (1 + c * r + (c * r) ** 2 / 3) * e(r),
                lambda r: -(c**2) * r * (1 + c * r) / 3 * e(r),
                lambda r: c**2 / 3 * ((c * r) ** 2 - c * r - 1) * e(r),
            )
        case kernels.Cauchy():
            return (
                (lambda r: 1 / (1 + (r / l) ** 2)),
                (lambda r: -2 * r / l**2 / (1 + (r / l) ** 2) ** 2),
                (lambda r: (6 * (r / l) ** 2 - 2) / l**2 / (1 + (r / l) ** 2) ** 3),
            )
        case kernels.IMQ():
            q = lambda r: 1 + r**2 / l**2
            return (
                (lambda r: q(r) ** -0.5),
                (lambda r: -r / l**2 * q(r) ** -1.5),
                (lambda r: (2 * r**2 / l**2 - 1) / l**2 * q(r) ** -2.5),
            )
        case kernels.Energy():
            return (lambda r: -r), (lambda r: -np.ones_like(r)), np.zeros_like
    raise AssertionError(f"no formula for {kernel}")


def case(
    backend: PairwiseSum, kernel: kernels.Kernel, d: int, dtype: torch.dtype = torch.float64
) -> Case:
    """For one check alone, with the errors that rounding allows."""
    return Case(
        Contract("a sum over pairs", backend),
        backend,
        kernel,
        d,
        dtype,
        ROUNDING[dtype],
        approximates=False,
    )


def check_backend(
    backend: PairwiseSum,
    kernel: kernels.Kernel,
    d: int,
    dtype: torch.dtype,
    *,
    rtol: float | None = None,
) -> None:
    """The package's check. The run-time checks of shapes and types (conftest.py) take half of the
    time, and say the same of every kernel.
    """
    jaxtyping_config.update("jaxtyping_disable", not isinstance(kernel, kernels.Gaussian))
    try:
        testing.check_backend(backend, kernel, d, dtype, rtol=rtol)
    finally:
        jaxtyping_config.update("jaxtyping_disable", False)
