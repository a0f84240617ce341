"""Logarithms of sums on a mesh: bulk and tails against log-sum-exp in float64. `max_pairs=1`
refuses any exact sum.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from particleflow.kernels import IMQ, Gaussian, Matern52
from particleflow.pairwise import Compiled, Mesh
from particleflow.pairwise.mesh import spacing, tails
from particleflow.pairwise.mesh.lattice import Box


def cloud(n: int, d: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)


def errors(
    backend: Mesh, kernel: Gaussian, x: torch.Tensor, w: torch.Tensor, z: torch.Tensor
) -> tuple[float, float]:
    """Of the logarithm, and of its gradient relative to max |grad k| / max k + |gradient|."""
    log, slope = backend.sources(kernel, x).field(w).log(z)
    want, want_slope = Compiled().sources(kernel, x.double()).field(w.double()).log(z.double())
    unit = math.exp(-0.5) / kernel.bandwidth
    assert log.dtype == slope.dtype == x.dtype
    return float((log.double() - want).abs().max()), float(
        ((slope.double() - want_slope).norm(dim=1) / (unit + want_slope.norm(dim=1))).max()
    )


@pytest.mark.parametrize(("d", "farthest", "depth"), [(1, 11, 250), (2, 8, 80)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_tails_are_right_without_exact_sums(
    d: int, farthest: float, depth: float, dtype: torch.dtype
) -> None:
    """Rows whose sums are down to e^-depth of the peak, among many that are not."""
    kernel, x = Gaussian(0.3), cloud(30_000, d, 1, dtype)
    far = cloud(2000, d, 2, dtype)
    z = torch.cat(
        [
            cloud(4000, d, 3, dtype),
            far
            / far.norm(dim=1, keepdim=True)
            * torch.linspace(3, farthest, 2000, dtype=dtype)[:, None],
        ]
    )
    w = (
        torch.rand(len(x), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(
            dtype
        )
        + 0.1
    )
    lowest = Mesh().sources(kernel, x).field(w).log(z)[0].min() - w.sum().log()
    assert lowest < -depth
    log_error, slope_error = errors(Mesh(max_pairs=1), kernel, x, w, z)
    # the number itself is rounded to the points' dtype
    assert log_error < 2e-6 + 300 * torch.finfo(dtype).eps
    assert slope_error < 4e-6


def test_particles_alone_at_the_edge_need_no_exact_sums() -> None:
    """A flow's particles in their own density, float32: the mesh resolves what one of them adds."""
    x = cloud(300_000, 2, 4)
    w = torch.full((len(x),), 1 / len(x))
    # nothing is exact, nor is anything made for tails: own rows are few
    log, slope = Mesh(max_pairs=1).sources(Gaussian(0.4), x).field(w).log(x)
    edge = log.argsort()[:300]
    want, want_slope = (
        Compiled().sources(Gaussian(0.4), x.double()).field(w.double()).log(x[edge].double())
    )
    assert want.min() < math.log(20 / len(x))
    torch.testing.assert_close(log[edge].double(), want, rtol=0, atol=2e-6)
    torch.testing.assert_close(slope[edge].double(), want_slope, rtol=0, atol=5e-6 / 0.4)


def test_rows_and_nodes_give_the_same_tails() -> None:
    kernel, y, z = (
        Gaussian(0.5),
        cloud(700, 2, 5, torch.float64),
        3 + cloud(40, 2, 6, torch.float64),
    )
    _, plan = tails.plans(kernel, 2, 1e-5)[1]
    field = Mesh().sources(kernel, y).field(torch.ones(700, dtype=torch.float64))
    box, nodes = field.spread(plan, 0, 0)
    some = Box(tuple(o - 3 for o in box.origin), tuple(n + 60 for n in box.shape))
    whole = plan.convolve(some, [(box, nodes)])
    index = [(0, 0), (5, 200), (some.shape[0] - 1, some.shape[1] - 1)]
    places = plan.spacing * (np.array(index) + some.origin)
    rows = tails.at_rows(plan, places, [(box, nodes)])
    np.testing.assert_allclose([whole[place] for place in index], rows[:, 0], rtol=1e-12)
    at = tails.at_rows(plan, z.numpy(), [(box, nodes)])
    value, grad = (
        Compiled().sources(kernel, y).field(torch.ones(700, dtype=torch.float64)).value_and_grad(z)
    )
    np.testing.assert_allclose(at[:, 0], value.numpy(), rtol=1e-7)
    np.testing.assert_allclose(at[:, 1:], grad.numpy(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("tol", [1e-5, 1e-8])
def test_the_error_between_nodes_is_relative_to_the_kernel_where_it_is(tol: float) -> None:
    """Interpolated in both points, at all distances up to the plan's reach: value 2e-8, slope 1e-7
    (1 + r); beyond, relative to the value there.
    """
    bound = 1.0 if tol >= 1e-6 else 2.0**-10
    for log_least, plan in tails.plans(Gaussian(1.0), 1, tol):
        reach, t = math.sqrt(-2 * log_least), np.linspace(-0.5, 0.5, 11)
        value, slope = plan.window.weights(t)
        nodes = (np.arange(tails.TAPS) - (tails.TAPS - 1) / 2) * plan.spacing
        for r in np.linspace(-1.2, 1.2, 61) * reach:
            top, away = 0.5 * min(abs(r), reach) ** 2, r + (t[:, None] - t) * plan.spacing
            between, kernel = (np.exp(top - 0.5 * a**2) for a in (r + nodes[:, None] - nodes, away))
            scale = np.maximum(kernel, 0.0 if abs(r) <= reach else 1.0)
            assert (np.abs(value @ between @ value.T - kernel) / scale).max() < 3e-8 * bound
            error = np.abs(slope @ between @ value.T / plan.spacing + away * kernel) / scale
            assert error.max() < 1.5e-7 * bound * (1 + reach)


def test_weights_too_unlike_for_tails_are_summed_exactly() -> None:
    x, z = (
        cloud(3000, 2, 7, torch.float64),
        torch.cat([cloud(50, 2, 8, torch.float64), 5 + cloud(20, 2, 9, torch.float64)]),
    )
    w = torch.logspace(-14, 0, 3000, dtype=torch.float64)
    kernel = Gaussian(0.3)
    assert max(errors(Mesh(), kernel, x, w, z)) < 1e-6
    with pytest.raises(ValueError, match="rows of a logarithm below its error"):
        Mesh(max_pairs=1).sources(kernel, x).field(w).log(z)


def test_sums_of_nothing_and_queries_that_are_no_numbers() -> None:
    x, z = cloud(900, 2, 10), cloud(300, 2, 11)
    z[7, 1], z[8, 0] = math.nan, 1e30
    log, slope = Mesh(max_pairs=1).sources(Gaussian(0.5), x).field(torch.zeros(900)).log(z)
    assert torch.equal(log.isnan(), torch.arange(300) == 7)
    assert (log[torch.arange(300) != 7] == -math.inf).all()
    assert (slope[torch.arange(300) != 7] == 0).all()
    log, slope = Mesh().sources(Gaussian(0.5), x).field(torch.ones(900)).log(z)
    assert torch.equal(log.isnan(), torch.arange(300) == 7)
    assert log[8] < -1e37


def test_two_parts_and_several_columns() -> None:
    kernel, x, y, z = (
        Gaussian(0.4),
        cloud(5000, 2, 12),
        2 + cloud(7000, 2, 13),
        torch.cat([cloud(2000, 2, 14), 6 + cloud(1500, 2, 15)]),
    )
    v, w = torch.rand(5000, 2) + 0.5, torch.rand(7000, 2) + 0.5
    make = lambda backend, to: (
        backend.sources(kernel, to(x)).field(to(v)) + backend.sources(kernel, to(y)).field(to(w))
    )
    log, slope = make(Mesh(max_pairs=1), lambda t: t).log(z)
    want, want_slope = make(Compiled(), lambda t: t.double()).log(z.double())
    torch.testing.assert_close(log.double(), want, rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(slope.double(), want_slope, rtol=4e-6, atol=4e-6 / 0.4)


def test_the_bits_do_not_depend_on_the_threads() -> None:
    kernel, x = Gaussian(0.2), cloud(60_000, 2, 16)
    z = torch.cat([cloud(30_000, 2, 17), 5 + cloud(5000, 2, 18)])
    before, answers = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            answers.append(Mesh().sources(kernel, x).field(torch.ones(60_000)).log(z))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(answers[0][0], answers[1][0])
    assert torch.equal(answers[0][1], answers[1][1])


def test_a_plan_of_a_logarithm_leaves_out_rounding_and_is_refused_where_it_counts() -> None:
    plan = spacing.logarithm_plan(Gaussian(0.7), 2, 1e-10, 1e-5)
    assert plan is not None
    assert plan.element == "float32"
    assert max(plan.value_error, plan.grad_error) <= 1e-10
    assert spacing.logarithm_plan(Gaussian(0.7), 2, 1e-10, 1e-6) is None
    assert spacing.logarithm_plan(Matern52(0.7), 2, 1e-10, 1e-5) is None


@pytest.mark.filterwarnings("ignore:.*sums IMQ.* exactly")
def test_queries_too_far_apart_for_any_mesh_of_a_long_ranged_kernel_are_not_left_out() -> None:
    """No mesh of `max_cells` holds them: all sums are exact, rather than 0."""
    x, z = cloud(50, 3, 19, torch.float64), 300 * cloud(200, 3, 20, torch.float64)
    field, exact = (
        backend.sources(IMQ(1.0), x).field(torch.ones(50, dtype=torch.float64))
        for backend in (Mesh(max_cells=2**21), Compiled())
    )
    torch.testing.assert_close(field.value(z), exact.value(z), rtol=1e-12, atol=0)
    torch.testing.assert_close(field.log(z)[0], exact.log(z)[0], rtol=1e-12, atol=0)


def test_an_outlier_takes_no_digits_from_other_particles_coordinates() -> None:
    """float32, one particle 1e7 bandwidths away: rows on the mesh, beside particles that are summed
    apart, and rows that are summed exactly.
    """
    x, z = cloud(500, 2, 21), torch.cat([1.5 * cloud(300, 2, 22), 5 + cloud(60, 2, 23)])
    x[0] = torch.tensor([1e6, -6e5])
    w = torch.logspace(-9, 0, 500)[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    kernel = Gaussian(0.1)
    log, _ = Mesh().sources(kernel, x).field(w).log(z)
    want, _ = Compiled().sources(kernel, x.double()).field(w.double()).log(z.double())
    assert want.min() < -500
    assert ((log.double() - want).abs() <= 1e-5 + 1e-7 * want.abs()).all()
