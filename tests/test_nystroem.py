"""Landmarks: accuracy, promise, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from particleflow import kernels
from particleflow.pairwise import Dense, Nystroem


def cloud(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d)))


@pytest.mark.parametrize("kernel", [kernels.Gaussian(4.5), kernels.Matern52(6.0), kernels.IMQ(6.0)])
@pytest.mark.parametrize("d", [5, 10])
def test_the_promise_holds(kernel: kernels.Kernel, d: int) -> None:
    x, z = cloud(3000, d), cloud(400, d, seed=1) + 0.5
    field = Nystroem(rtol=1e-2).sources(kernel, x).field(torch.full((3000,), 1 / 3000, dtype=torch.float64))
    audit = field.audit(z, rows=400)
    assert audit.promise is not None
    assert audit.kept
    assert audit.grad_error <= 1e-2 * audit.grad_scale


def test_a_given_rank_stands_and_more_landmarks_are_better() -> None:
    x, z, w = cloud(2000, 8), cloud(300, 8, seed=1), torch.full((2000,), 1 / 2000, dtype=torch.float64)
    errors = [Nystroem(rank=m).sources(kernels.Gaussian(4.0), x).field(w).audit(z, rows=300).grad_error for m in (64, 512)]
    assert errors[1] < 0.5 * errors[0]


def test_all_points_as_landmarks_are_exact() -> None:
    x, z, w = cloud(60, 5), cloud(40, 5, seed=1), cloud(60, 2, seed=2)
    got, want = (backend.sources(kernels.Gaussian(3.0), x).field(w).grad(z) for backend in (Nystroem(rtol=1e-6), Dense()))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_the_same_input_gives_the_same_bits() -> None:
    x, z = cloud(1500, 6), cloud(200, 6, seed=1)
    first, second = (Nystroem().sources(kernels.Gaussian(3.0), x).field(torch.ones(1500, dtype=torch.float64)).grad(z) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("kernel", [kernels.Laplace(1.0), kernels.Energy()])
def test_kinks_are_refused(kernel: kernels.Kernel) -> None:
    with pytest.raises(TypeError, match="`kernel` must be Gaussian, Matern32, Matern52 or IMQ for landmarks"):
        Nystroem().sources(kernel, cloud(5, 5))
