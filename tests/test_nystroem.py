"""Landmarks: the contract, accuracy, promise, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conformance import KINKED, SMOOTH, check_backend

from particleflow import kernels
from particleflow.pairwise import Dense, Nystroem

names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)


def cloud(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d)))


SLOW = pytest.mark.slow
CASES = [
    (4, torch.float32),
    *(
        pytest.param(*case, marks=SLOW)
        for case in (
            (1, torch.float64),
            (2, torch.float32),
            (3, torch.float64),
            (10, torch.float64),
        )
    ),
]


@pytest.mark.parametrize(("d", "dtype"), CASES, ids=names)
@pytest.mark.parametrize("kernel", SMOOTH, ids=names)
def test_nystroem_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Nystroem(rtol=1e-6), kernel, d, dtype, rtol=1e-5)


@pytest.mark.parametrize(
    ("d", "dtype"), [pytest.param(4, torch.float64, marks=SLOW), (10, torch.float32)], ids=names
)
@pytest.mark.parametrize("kernel", SMOOTH, ids=names)
def test_landmarks_that_span_all_points_keep_the_contract(
    kernel: kernels.Kernel, d: int, dtype: torch.dtype
) -> None:
    """With a rank given nothing is summed over the points."""
    check_backend(Nystroem(rank=64), kernel, d, dtype, rtol=1e-4)


@pytest.mark.parametrize(
    "kernel", [kernels.Gaussian(4.5), kernels.Matern52(6.0), kernels.IMQ(6.0)], ids=names
)
@pytest.mark.parametrize("d", [5, 10])
def test_the_promise_holds(kernel: kernels.Kernel, d: int) -> None:
    x, z = cloud(3000, d), cloud(1200, d, seed=1) + 0.5
    field = (
        Nystroem(rtol=1e-2)
        .sources(kernel, x)
        .field(torch.full((3000,), 1 / 3000, dtype=torch.float64))
    )
    audit = field.audit(z, rows=1200)
    assert audit.promise is not None
    assert audit.kept
    assert audit.promise.grad <= 30 * audit.grad_error
    assert audit.grad_error <= 1e-2 * audit.grad_scale


@pytest.mark.slow
def test_a_source_that_outweighs_all_others_is_met() -> None:
    """It stands alone, and no query drawn at random is near it."""
    x, w = cloud(6000, 6), torch.full((6000,), 1 / 6000, dtype=torch.float64)
    x[4321], w[4321] = 50.0, 0.3
    field = Nystroem(rtol=1e-2).sources(kernels.Gaussian(3.0), x).field(w)
    assert "landmarks" in field.explain(x)["why"]
    audit = field.audit(x, rows=6000)
    assert audit.kept
    assert audit.value_error <= 1e-2 * audit.value_scale


def test_a_given_rank_stands_and_more_landmarks_are_better() -> None:
    x, z, w = (
        cloud(2000, 8),
        cloud(300, 8, seed=1),
        torch.full((2000,), 1 / 2000, dtype=torch.float64),
    )
    errors = []
    for m in (64, 512):
        field = Nystroem(rank=m).sources(kernels.Gaussian(4.0), x).field(w)
        assert field.explain(z)["why"] == f"asked for; {m} landmarks"
        errors.append(field.audit(z, rows=300).grad_error)
    assert errors[1] < 0.5 * errors[0]


def test_a_rank_too_low_is_told_by_the_promise() -> None:
    x, w = cloud(2000, 8), torch.full((2000,), 1 / 2000, dtype=torch.float64)
    audit = Nystroem(rank=4).sources(kernels.Gaussian(3.0), x).field(w).audit(x, rows=2000)
    assert audit.kept
    assert audit.promise is not None
    assert audit.promise.grad > 1e-2 * audit.grad_scale


def test_all_points_as_landmarks_are_exact() -> None:
    x, z, w = cloud(60, 5), cloud(40, 5, seed=1), cloud(60, 2, seed=2)
    got, want = (
        backend.sources(kernels.Gaussian(3.0), x).field(w).grad(z)
        for backend in (Nystroem(rtol=1e-6), Dense())
    )
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_the_same_input_gives_the_same_bits() -> None:
    x, z = cloud(1500, 6), cloud(200, 6, seed=1)
    first, second = (
        Nystroem()
        .sources(kernels.Gaussian(3.0), x)
        .field(torch.ones(1500, dtype=torch.float64))
        .grad(z)
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_weights_of_zero_sum_to_nothing() -> None:
    x, z = cloud(2000, 5), cloud(30, 5, seed=1)
    field = (
        Nystroem().sources(kernels.Gaussian(3.0), x).field(torch.zeros(2000, dtype=torch.float64))
    )
    assert torch.equal(field.grad(z), torch.zeros_like(z))
    assert torch.equal(field.log(z)[0], torch.full((30,), -torch.inf, dtype=torch.float64))


def test_sums_that_turn_out_exact_are_refused_where_they_take_too_long() -> None:
    x, w = cloud(300, 8), torch.ones(300, dtype=torch.float64)
    with pytest.raises(
        ValueError,
        match=(
            r"`max_pairs` is 1e\+03, but the sum is exact .* raise rtol, widen the bandwidth, or"
            r" give rank="
        ),
    ):
        Nystroem(rtol=1e-8, max_pairs=1e3).sources(kernels.Gaussian(0.3), x).field(w).grad(x)


def test_points_must_be_finite() -> None:
    x = cloud(10, 5)
    x[3, 2] = torch.nan
    with pytest.raises(ValueError, match="`points` must be finite for landmarks"):
        Nystroem().sources(kernels.Gaussian(1.0), x)


@pytest.mark.parametrize("kernel", KINKED, ids=names)
def test_kinks_are_refused(kernel: kernels.Kernel) -> None:
    with pytest.raises(
        TypeError,
        match="`kernel` must be Gaussian, Matern32, Matern52, IMQ or Cauchy for landmarks",
    ):
        Nystroem().sources(kernel, cloud(5, 5))
