"""The particle mesh: the contract, its promise, its geometry, what it keeps, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conformance import Case, check_nan_queries, check_repeatable

from particleflow import kernels
from particleflow.pairwise import Dense, Mesh

GAUSSIAN = kernels.Gaussian(0.7)
CHECKED = (check_nan_queries, check_repeatable)


def cloud(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)


def errors(backend: Mesh, kernel: kernels.Kernel, x: torch.Tensor, z: torch.Tensor, w: torch.Tensor) -> tuple[float, float]:
    """Errors of value and gradient over what was promised."""
    audit = backend.sources(kernel, x).field(w).audit(z, rows=len(z))
    assert audit.promise is not None, "the mesh went exact"
    assert audit.promise.grad <= backend.absolute * audit.grad_scale * (1 + 1e-12)
    return audit.value_error / audit.promise.value, audit.grad_error / audit.promise.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_nan_queries_and_repetition(d: int, dtype: torch.dtype) -> None:
    for check in CHECKED:
        check(Case(Mesh(rtol=1e-5), GAUSSIAN, d, dtype, 2e-5, peak=True, logarithm=True))


@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize(("kernel", "d"), [(kernels.Gaussian(0.3), 1), (kernels.Gaussian(0.3), 2), (kernels.Gaussian(0.5), 3), (kernels.IMQ(0.5), 2)])
def test_the_promise_holds(kernel: kernels.Kernel, d: int, rtol: float) -> None:
    x, z = cloud(300, d), cloud(200, d, seed=1)
    w = cloud(300, 1, seed=2)[:, 0]
    assert max(errors(Mesh(rtol=rtol), kernel, x, z, w)) <= 1


@pytest.mark.parametrize("place", ["duplicates", "at 1e6", "on nodes", "extent 1e-3"])
def test_the_promise_holds_in_odd_places(place: str) -> None:
    x, z, kernel = cloud(300, 2), cloud(200, 2, seed=1), kernels.Gaussian(0.3)
    match place:
        case "duplicates":
            x = x[:10].repeat(30, 1)
        case "at 1e6":
            x, z = x + 1e6, z + 1e6
        case "on nodes":
            x, z = (x * 10).round() / 10, (z * 10).round() / 10
        case "extent 1e-3":
            x, z, kernel = x * 1e-3, z * 1e-3, kernels.Gaussian(0.3e-3)
    assert max(errors(Mesh(rtol=1e-5), kernel, x, z, torch.ones(300, dtype=torch.float64))) <= 1


def test_several_weights_and_parts() -> None:
    x, y, z = cloud(300, 2), cloud(170, 2, seed=1), cloud(90, 2, seed=2)
    w, v = cloud(300, 3, seed=3), cloud(170, 3, seed=4)
    sums = [backend.sources(GAUSSIAN, x).field(w) + backend.sources(GAUSSIAN, y).field(v) for backend in (Mesh(rtol=1e-5), Dense())]
    for got, want in zip(*(field.value_and_grad(z) for field in sums), strict=True):
        assert got.shape == want.shape
        assert float((got - want).abs().max()) <= 1e-5 * float(w.abs().sum(0).max() + v.abs().sum(0).max()) / 0.7


def test_queries_far_outside_are_right() -> None:
    x, z = cloud(300, 2), torch.cat([cloud(50, 2, seed=1), 1e4 + cloud(20, 2, seed=2)])
    field = Mesh().sources(kernels.Gaussian(0.3), x).field(torch.ones(300, dtype=torch.float64))
    assert field.audit(z, rows=70).kept
    assert torch.equal(field.grad(z)[50:], torch.zeros(20, 2, dtype=torch.float64))


def test_the_logarithm_is_right_in_the_tails() -> None:
    x, z = cloud(300, 2), torch.cat([cloud(50, 2, seed=1), 30 + cloud(20, 2, seed=2)])
    w = torch.full((300,), 1 / 300, dtype=torch.float64)
    (log, grad), (want, want_grad) = (backend.sources(GAUSSIAN, x).field(w).log(z) for backend in (Mesh(), Dense()))
    torch.testing.assert_close(log, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad, want_grad, rtol=1e-4, atol=1e-3)


def test_the_bits_do_not_depend_on_the_threads() -> None:
    x, z = cloud(30000, 2, dtype=torch.float32), cloud(20000, 2, seed=1, dtype=torch.float32)
    answers = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            answers.append(Mesh().sources(GAUSSIAN, x).field(torch.ones(30000)).grad(z))
    finally:
        torch.set_num_threads(1)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.parametrize("kernel", [kernels.Laplace(0.5), kernels.Energy()])
def test_kinks_are_refused(kernel: kernels.Kernel) -> None:
    with pytest.raises(TypeError, match="`kernel` must be smooth at zero for Mesh"):
        Mesh().sources(kernel, cloud(5, 2))


def test_more_than_three_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match="`points` must have 1, 2 or 3 coordinates for Mesh, got 4"):
        Mesh().sources(GAUSSIAN, cloud(5, 4))


def test_a_sum_that_would_freeze_is_refused() -> None:
    x = cloud(2000, 3)
    field = Mesh(max_cells=1000, max_pairs=1e5).sources(kernels.Gaussian(0.01), x).field(torch.ones(2000, dtype=torch.float64))
    with pytest.raises(ValueError, match="max_pairs"):
        field.grad(x)
