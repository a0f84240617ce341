"""Sums over pairs of what no flow should meet: bandwidths of nothing, coordinates without end,
points that are no numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import particleflow as pf
from particleflow.kernels import IMQ, Energy, Gaussian, Kernel, Laplace, Matern52, Radial
from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, Mesh, Nystroem
from particleflow.pairwise.inputs import FARTHEST, WIDEST
from particleflow.pairwise.mesh import spacing
from particleflow.pairwise.mesh.window import MANY

BACKENDS = [Auto(), Compiled(), Culled(), Dense(), Fourier(), Mesh(), Nystroem()]
FAST = [Fourier(), Mesh()]
names = lambda value: (
    type(value).__name__
    if hasattr(value, "__dataclass_fields__")
    else str(value).removeprefix("torch.")
)
# Kernels that a backend does not sum, and says so.
REFUSED = {Mesh: (Laplace, Energy), Culled: (IMQ, Energy), Nystroem: (Laplace, Energy)}
each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=names)


def cloud(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)


@pytest.mark.filterwarnings("ignore:.*sums .* exactly:RuntimeWarning")
@pytest.mark.parametrize("backend", FAST, ids=names)
@pytest.mark.parametrize("kernel", [Gaussian(1e-12), IMQ(1e-12)], ids=names)
@pytest.mark.parametrize(("d", "extent"), [(1, 1.0), (1, 1e18), (3, 1e18)])
def test_no_grid_is_begun_that_cannot_be_finished(
    backend: Any, kernel: Any, d: int, extent: float
) -> None:
    """A source sees but itself: the sum at it is its weight. No array of 1e12 modes is asked for,
    and no integer ends.
    """
    x, w = extent * cloud(300, d), torch.linspace(1, 2, 300, dtype=torch.float64)
    value, grad = backend.sources(kernel, x).field(w).value_and_grad(x[:20].clone())
    torch.testing.assert_close(value, w[:20], rtol=0, atol=1e-6)
    assert float(grad.abs().max()) * kernel.bandwidth < 1e-6


def test_a_mesh_of_far_more_nodes_than_points_is_not_made() -> None:
    """10^7 nodes in d = 1 for a few hundred points: their neighbours are summed instead, in a
    thousandth of the time.
    """
    x, w = cloud(300, 1), torch.ones(300, dtype=torch.float64)
    field = Mesh().sources(Gaussian(1e-6), x).field(w)
    assert field.explain(x)["backend"] == "Culled"
    assert "or 4096 a point" in field.explain(x)["why"]


def test_transforms_of_a_long_line_are_those_of_its_places() -> None:
    plan = spacing.plan(Gaussian(1.0), 1, 1e-8)
    assert plan is not None
    kappa = np.linspace(0, math.pi, MANY + 1000)
    some = np.r_[0:50, 30000:30050, MANY + 950 : MANY + 1000]
    np.testing.assert_allclose(
        plan.window.transform(kappa)[some], plan.window.transform(kappa[some]), rtol=2e-12
    )


@each_backend
def test_bandwidths_without_squares_are_refused(backend: Any) -> None:
    for bandwidth in (0.1 / WIDEST, 10 * WIDEST):
        with pytest.raises(
            ValueError,
            match=(
                r"`bandwidth` must be between 1e-15 and 1e[+]15 for sums, got .*: take another unit"
                r" of length"
            ),
        ):
            backend.sources(Gaussian(bandwidth), cloud(30, 2))


@pytest.mark.parametrize("bandwidth", [1e-200, 1e200])
def test_kernels_whose_bandwidths_have_no_squares_are_not_made(bandwidth: float) -> None:
    with pytest.raises(
        ValueError, match=r"`bandwidth` must have a square, got .*: take another unit of length"
    ):
        Gaussian(bandwidth)
    with pytest.raises(
        ValueError, match=r"`bandwidth` must have a square, got .*: take another unit of length"
    ):
        Radial(lambda s: 1 / (1 + s), bandwidth)


@each_backend
@pytest.mark.parametrize("far", [1.1 * FARTHEST, -1e200, 1.7e308])
def test_coordinates_without_squares_are_refused(backend: Any, far: float) -> None:
    """In sources and queries, prepared or not, also beside a NaN; before anything is summed."""
    told = (
        r"must be between -1e\+150 and 1e\+150 for sums, got .*, whose square is no number: take"
        r" another unit of length, or leave such points out"
    )
    x, w, z = cloud(30, 2), torch.ones(30, dtype=torch.float64), cloud(9, 2, seed=1)
    kernel = Gaussian(1.0)
    sources = backend.sources(kernel, x)
    field = sources.field(w)
    z[4, 1], z[4, 0] = far, math.nan
    for sum_of in (
        sources.prepare,
        field.value,
        field.grad,
        field.value_and_grad,
        field.laplacian,
        field.log,
        field.promise,
        field.explain,
    ):
        with pytest.raises(ValueError, match="`z` " + told):
            sum_of(z)
    x[7, 0], x[0, 0] = far, math.inf
    with pytest.raises(ValueError, match="`points` " + told):
        backend.sources(kernel, x)


@pytest.mark.filterwarnings("ignore:.*sums .* exactly:RuntimeWarning")
@each_backend
@pytest.mark.parametrize("unit", [1e-6, 1e30, 1e149])
@pytest.mark.parametrize("d", [1, 2])
def test_the_energy_kernel_has_any_unit_of_length(backend: Any, unit: float, d: int) -> None:
    """k(u z, u x) = u k(z, x); its gradient stays."""
    if Energy in REFUSED.get(type(backend), ()):
        pytest.skip("it does not sum this kernel")
    x, z, w = (
        cloud(30, d).clamp(-3, 3),
        cloud(9, d, seed=1).clamp(-3, 3),
        torch.ones(30, dtype=torch.float64),
    )
    plain, field = (
        backend.sources(Energy(), x).field(w),
        backend.sources(Energy(), unit * x).field(w),
    )
    torch.testing.assert_close(field.value(unit * z) / unit, plain.value(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(field.grad(unit * z), plain.grad(z), rtol=1e-4, atol=1e-4)


@each_backend
@pytest.mark.parametrize("kernel", [Energy(), Laplace(1.0), Laplace(1e6)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
def test_clouds_below_the_cut_off_of_a_slope_are_refused(
    backend: Any, kernel: Any, dtype: torch.dtype
) -> None:
    """Their forces would be a part of what they should be. Values are right as long as distances
    have squares.
    """
    if type(kernel) in REFUSED.get(type(backend), ()):
        pytest.skip("it does not sum this kernel")
    unit = getattr(kernel, "bandwidth", 1.0)
    small = 1e-11 * unit
    x, z, w = (
        cloud(30, 2, dtype=dtype),
        cloud(9, 2, seed=1, dtype=dtype),
        torch.ones(30, dtype=dtype),
    )
    field = backend.sources(kernel, small * x).field(w)
    sums = [field.grad, field.value_and_grad, field.laplacian] + [field.log] * (
        not isinstance(kernel, Energy)
    )
    for sum_of in sums:
        with pytest.raises(
            ValueError,
            match=(
                r"`points` and `z` must have some coordinate of .* or more for slopes, .*: take"
                r" another unit of length"
            ),
        ):
            sum_of(small * z)
        sum_of(unit * z)
    if isinstance(kernel, Energy):
        want = (
            -torch.cdist(z.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
            .sum(1)
            .to(dtype)
        )
        torch.testing.assert_close(field.value(small * z) / small, want, rtol=1e-4, atol=0)
        tiny = 1e-160 if dtype == torch.float64 else 1e-20
        with pytest.raises(
            ValueError,
            match=(
                r"`points` and `z` must have some coordinate of .* or more for values, .*: take"
                r" another unit of length"
            ),
        ):
            backend.sources(kernel, tiny * x).field(w).value(tiny * z)
    coincident = backend.sources(kernel, 0 * x).field(w)
    assert not coincident.grad(0 * z).any()


def test_a_stage_beyond_all_numbers_ends_a_run_as_diverged() -> None:
    x, y = cloud(12, 2), cloud(15, 2, seed=1)
    path = pf.simulate(pf.mmd_flow(Gaussian(1.0)), x, y, steps=3, dt=1e200, integrator=pf.Heun())
    assert path.status == "diverged"
    assert (
        "step 1 with dt = 1e+200: within the step particles are too far away for sums over pairs:"
        " try dt = " in path.message
    )


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("kind", [Gaussian, Matern52, IMQ])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
def test_any_unit_of_length_gives_the_same_sums(
    backend: Any, kind: Any, dtype: torch.dtype
) -> None:
    """Bandwidths at both ends of what is taken: the value as at 1, the gradient by the unit."""
    if isinstance(backend, Culled) and kind is IMQ:
        pytest.skip("its reach has no end")
    x, z, w = (
        cloud(300, 2, dtype=dtype),
        cloud(70, 2, seed=1, dtype=dtype),
        torch.full((300,), 1 / 300, dtype=dtype),
    )
    plain = backend.sources(kind(1.0), x).field(w)
    for unit in (1 / WIDEST, WIDEST):
        field = backend.sources(kind(unit), x * unit).field(w)
        torch.testing.assert_close(field.value(z * unit), plain.value(z), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(field.grad(z * unit) * unit, plain.grad(z), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(field.log(z * unit)[0], plain.log(z)[0], rtol=1e-3, atol=1e-2)
        if dtype == torch.float64:
            torch.testing.assert_close(
                field.laplacian(z * unit) * unit * unit, plain.laplacian(z), rtol=1e-2, atol=5e-2
            )


@pytest.mark.filterwarnings("ignore:Fourier.*sums .* exactly:RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kernel", [Gaussian(0.5), Laplace(0.5), IMQ(0.5), Energy()], ids=names)
@pytest.mark.parametrize("d", [1, 2])
def test_a_source_that_is_no_number_spoils_a_fourier_sum(
    d: int, kernel: Kernel, bad: float
) -> None:
    x, z, w = cloud(300, d), cloud(70, d, seed=1), torch.ones(300, dtype=torch.float64)
    x[7, 0] = bad
    field = Fourier().sources(kernel, x).field(w)
    assert field.value(z).isnan().all()
    assert field.grad(z).isnan().all()
    assert field.promise(z) is None
    if not isinstance(kernel, Energy):
        assert all(part.isnan().all() for part in field.log(z))


@each_backend
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_queries_none_of_which_is_a_number(backend: Any, bad: float) -> None:
    field = backend.sources(Gaussian(0.5), cloud(300, 2)).field(
        torch.ones(300, dtype=torch.float64)
    )
    z = torch.full((5, 2), bad, dtype=torch.float64)
    assert field.grad(z).isnan().all()
    assert {"backend", "why"} <= set(field.explain(z))
    field.promise(z)


@pytest.mark.filterwarnings("ignore:.*sums .* exactly:RuntimeWarning")
@each_backend
@pytest.mark.parametrize("kernel", [Gaussian(0.5), IMQ(0.5), Laplace(0.5), Energy()], ids=names)
@pytest.mark.parametrize("d", [1, 2])
def test_a_query_that_is_not_finite_has_no_sum_and_spoils_no_other(
    backend: Any, kernel: Kernel, d: int
) -> None:
    """NaN, whatever the kernel's limit at infinity, prepared or not; value, gradient, laplacian and
    logarithm.
    """
    x, w, z = cloud(300, d), torch.linspace(1, 2, 300, dtype=torch.float64), cloud(9, d, seed=1)
    plain = z.clone()
    z[1, 0], z[4], z[7, -1] = math.inf, -math.inf, math.nan
    good = torch.isfinite(z).all(1)
    if type(kernel) in REFUSED.get(type(backend), ()):
        with pytest.raises(TypeError, match="`kernel` must be"):
            backend.sources(kernel, x)
        return
    sources = backend.sources(kernel, x)
    field = sources.field(w)
    sums = [
        field.value,
        field.grad,
        field.laplacian,
        lambda z: torch.column_stack(field.value_and_grad(z)),
    ]
    if not isinstance(kernel, Energy):
        sums.append(lambda z: torch.column_stack(field.log(z)))
    for summed in sums:
        for queries in (z, sources.prepare(z)):
            answer = summed(queries)
            assert answer[~good].isnan().all()
            torch.testing.assert_close(answer[good], summed(plain)[good], rtol=1e-9, atol=1e-9)
