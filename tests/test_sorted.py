"""Sums on the line by sorting: exact, against a plain double loop's worth of numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conformance import check_backend, formulas

from particleflow import kernels
from particleflow.pairwise import Dense
from particleflow.pairwise.exact.sorted import Sorted, form_of
from particleflow.testing.sums import exact_sums

ON_THE_LINE = [kernels.Energy(), kernels.Laplace(0.7), kernels.Matern32(0.7), kernels.Matern52(0.7)]
names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=names)
@pytest.mark.parametrize("kernel", ON_THE_LINE, ids=names)
def test_sorting_keeps_the_contract(kernel: kernels.Kernel, dtype: torch.dtype) -> None:
    check_backend(Sorted(), kernel, 1, dtype)


@pytest.mark.parametrize("kernel", ON_THE_LINE, ids=names)
def test_the_form_of_a_kernel_is_the_kernel(kernel: kernels.Kernel) -> None:
    """P(t) e^{-t} and its derivatives, against formulas in the distance."""
    form = form_of(kernel)
    assert form is not None
    r = np.linspace(0.01, 4, 50)
    t = form.rate * r
    for p, want in zip(
        (np.array(form.value), form.slope, form.bend), formulas(kernel), strict=True
    ):
        got = sum(c * t**n for n, c in enumerate(p)) * np.exp(-form.decay * t)
        np.testing.assert_allclose(got, want(r), rtol=1e-13, atol=1e-13)


def hard_points(n: int, seed: int) -> torch.Tensor:
    """Clusters from 1e-9 to 1e3 wide, far from each other, with repeated points."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 10 ** rng.uniform(-9, 3, size=n) + rng.choice(
        [-300.0, 0.0, 5.0, 1e4], size=n
    )
    x[rng.integers(n, size=n // 5)] = x[rng.integers(n, size=n // 5)]
    return torch.from_numpy(x[:, None])


@pytest.mark.parametrize("kernel", ON_THE_LINE, ids=names)
def test_sums_are_exact_for_hard_clouds(kernel: kernels.Kernel) -> None:
    """To 1e-13 of the sum of the terms' absolute values, row by row: nothing is lost to large
    prefix sums.
    """
    x, rng = hard_points(1500, 0), np.random.default_rng(1)
    z = torch.cat([hard_points(700, 2), x[:300]])
    w = torch.from_numpy(rng.normal(size=(1500, 2)) * 10 ** rng.uniform(-3, 3, size=(1500, 1)))
    field, want = Sorted().sources(kernel, x).field(w), exact_sums(kernel, z, x, w)
    value, grad = field.value_and_grad(z)
    for got, truth, scale in (
        (value, want.value, want.value_scale),
        (grad[..., 0], want.grad[..., 0], want.grad_scale),
        (field.value(z), want.value, want.value_scale),
        (field.grad(z)[..., 0], want.grad[..., 0], want.grad_scale),
    ):
        assert (
            np.abs(got.numpy() - truth) <= 1e-13 * scale + 1e-150
        ).all()  # the scale of a force is a root of squares, which underflow
    apart = z[:700][~torch.isin(z[:700, 0], x[:, 0])]
    want = exact_sums(kernel, apart, x, w)
    assert (
        np.abs(field.laplacian(apart).numpy() - want.laplacian)
        <= 1e-13 * want.laplacian_scale + 1e-150
    ).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 15, 16, 17, 101])
def test_every_number_of_sources_fills_its_rows(n: int) -> None:
    """The recursion runs in about sqrt(N) rows, the last of them padded."""
    x, z, w = (
        hard_points(n, 3),
        hard_points(9, 4),
        torch.linspace(-1, 2, n, dtype=torch.float64)[:, None],
    )
    want = exact_sums(kernels.Matern52(0.7), z, x, w)
    got = Sorted().sources(kernels.Matern52(0.7), x).field(w).value(z).numpy()
    assert (np.abs(got - want.value) <= 1e-13 * want.value_scale + 1e-300).all()


@pytest.mark.parametrize("kernel", ON_THE_LINE, ids=names)
def test_the_laplacian_at_a_source_is_that_of_dense(kernel: kernels.Kernel) -> None:
    """A kink's curvature is cut off at a distance of 1e-15 bandwidths in both."""
    x = torch.tensor([[0.3], [0.3], [-1.0]], dtype=torch.float64)
    w = torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64)
    got, want = (
        backend.sources(kernel, x).field(w).laplacian(x) for backend in (Sorted(), Dense())
    )
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-14)


def test_queries_that_are_the_sources_are_not_sorted_again() -> None:
    """The same bits as from a copy, in any order, prepared or not; a target's moments are kept."""
    x, w = (
        hard_points(200, 5),
        torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    sources = Sorted().sources(kernels.Laplace(0.7), x)
    field = sources.field(w)
    own = field.value(x)
    assert torch.equal(own, field.value(x.clone()))
    assert torch.equal(own, field.value(sources.prepare(x)))
    assert torch.equal(own.flip(0), field.value(x.flip(0)))
    w.mul_(2)
    assert torch.equal(own, field.value(x)), "weights are copied"
    assert torch.equal(2 * own, sources.field(w).value(x)), (
        "changed weights must not meet old moments"
    )


def test_log_is_finite_thousands_of_bandwidths_away() -> None:
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    log, grad = (
        Sorted()
        .sources(kernels.Laplace(1e-3), x)
        .field(torch.tensor([0.5, 2.0], dtype=torch.float64))
        .log(x + 7.0)
    )
    np.testing.assert_allclose(log.numpy(), [np.log(2.0) - 6e3, np.log(2.0) - 7e3], rtol=1e-13)
    np.testing.assert_allclose(grad.numpy(), [[-1e3], [-1e3]], rtol=1e-13)


def test_what_cannot_be_sorted_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"`points` must be \(N, 1\) to be sorted, got \(3, 2\): use Fourier or Compiled",
    ):
        Sorted().sources(kernels.Energy(), torch.zeros(3, 2))
    with pytest.raises(
        TypeError,
        match=(
            "`kernel` must be Laplace, Matern32, Matern52 or Energy to be summed by sorting, got"
            " Gaussian"
        ),
    ):
        Sorted().sources(kernels.Gaussian(1.0), torch.zeros(3, 1))


def test_it_tells_that_it_is_exact() -> None:
    field = Sorted().sources(kernels.Energy(), torch.zeros(3, 1)).field(torch.ones(3))
    assert field.promise(torch.zeros(2, 1)) is None
    assert field.explain(torch.zeros(2, 1)) == {
        "backend": "Fourier",
        "why": "asked for; in d = 1 this kernel is summed by sorting, exactly",
    }
