"""The particle mesh: its contract, promise and geometry, what it keeps and what it refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from conformance import SMOOTH, check_backend

from particleflow import kernels
from particleflow.kernels import IMQ, Gaussian, Matern52
from particleflow.pairwise import Dense, Mesh
from particleflow.pairwise.mesh import spacing
from particleflow.pairwise.mesh.backend import MeshField
from particleflow.pairwise.periodic import modes

GAUSSIAN = kernels.Gaussian(0.7)
FLOATS = (torch.float32, torch.float64)
# Matern32, whose second derivative has a kink, is asked for less.
RTOL = {kernels.Matern32: 1e-3}
names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)

# Compiling what each case needs takes longest: one of each kind by default.
CASES = [
    (GAUSSIAN, 2, torch.float32),
    (IMQ(0.7), 1, torch.float32),
]
OTHERS = [(k, d, t) for k in SMOOTH for d in (1, 2, 3) for t in FLOATS if (k, d, t) not in CASES]


def cloud(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)


def errors(
    backend: Mesh, kernel: kernels.Kernel, x: torch.Tensor, z: torch.Tensor, w: torch.Tensor
) -> tuple[float, float]:
    """Errors of value and gradient over what was promised."""
    audit = backend.sources(kernel, x).field(w).audit(z, rows=len(z))
    assert audit.promise is not None, "the mesh went exact"
    assert audit.promise.grad <= backend.absolute * audit.grad_scale * (1 + 1e-12)
    return audit.value_error / audit.promise.value, audit.grad_error / audit.promise.grad


def keeps_the_contract(kernel: Any, d: int, dtype: torch.dtype) -> None:
    # 47 points get a mesh of some 2e6 nodes at most, which is coarse in space
    rtol = 1e-2 if (type(kernel), d) == (kernels.Matern52, 3) else RTOL.get(type(kernel), 1e-5)
    x = cloud(47, d, dtype=dtype)
    report = Mesh(rtol).sources(kernel, x).field(torch.ones(47, dtype=dtype)).explain(x)
    assert report["backend"] == "Mesh" or (type(kernel), d) == (kernels.Matern32, 3), report
    check_backend(Mesh(rtol), kernel, d, dtype, rtol=2 * rtol)


@pytest.mark.parametrize(("kernel", "d", "dtype"), CASES, ids=names)
def test_the_mesh_keeps_the_contract(kernel: Any, d: int, dtype: torch.dtype) -> None:
    keeps_the_contract(kernel, d, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "d", "dtype"), OTHERS, ids=names)
def test_the_mesh_keeps_the_contract_of_all_kernels(
    kernel: Any, d: int, dtype: torch.dtype
) -> None:
    keeps_the_contract(kernel, d, dtype)


@pytest.mark.parametrize("rtol", [1e-3, 1e-5, pytest.param(1e-8, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kernel", "d"),
    [
        (kernels.Gaussian(0.3), 1),
        (kernels.Gaussian(0.3), 2),
        (kernels.Gaussian(0.5), 3),
        (IMQ(0.5), 2),
    ],
)
def test_the_promise_holds(kernel: kernels.Kernel, d: int, rtol: float) -> None:
    x, z = cloud(300, d), cloud(200, d, seed=1)
    w = cloud(300, 1, seed=2)[:, 0]
    assert max(errors(Mesh(rtol=rtol), kernel, x, z, w)) <= 1


@pytest.mark.parametrize("extent", [1e-3, 0.5, 3.0])
@pytest.mark.parametrize(
    ("kernel", "d", "rtol"),
    [
        (IMQ(1.0), 1, 1e-8),
        (IMQ(1.0), 2, 1e-4),
        (Matern52(1.0), 1, 1e-4),
        (Matern52(1.0), 2, 1e-4),
        (GAUSSIAN, 2, 1e-5),
    ],
)
def test_the_promise_is_sharp_for_a_single_source(
    kernel: Any, d: int, rtol: float, extent: float
) -> None:
    """The error of a pair, at the worst places in their cells: nothing cancels, so that a bound
    that is too small shows.
    """
    z = torch.from_numpy(np.random.default_rng([7, d]).uniform(-extent, extent, (400, d)))
    for source in (z[:1], z[5:6]):
        audit = (
            Mesh(rtol)
            .sources(kernel, source.clone())
            .field(torch.ones(1, dtype=torch.float64))
            .audit(z, rows=400)
        )
        assert audit.promise is not None
        assert 1 <= audit.promise.value / audit.value_error <= 30
        assert 1 <= audit.promise.grad / audit.grad_error <= 30


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
    sums = [
        backend.sources(GAUSSIAN, x).field(w) + backend.sources(GAUSSIAN, y).field(v)
        for backend in (Mesh(rtol=1e-5), Dense())
    ]
    for got, want in zip(*(field.value_and_grad(z) for field in sums), strict=True):
        assert got.shape == want.shape
        assert (
            float((got - want).abs().max())
            <= 1e-5 * float(w.abs().sum(0).max() + v.abs().sum(0).max()) / 0.7
        )


def test_queries_far_outside_are_right() -> None:
    x, z = cloud(300, 2), torch.cat([cloud(50, 2, seed=1), 1e4 + cloud(20, 2, seed=2)])
    field = Mesh().sources(kernels.Gaussian(0.3), x).field(torch.ones(300, dtype=torch.float64))
    assert field.audit(z, rows=70).kept
    assert torch.equal(field.grad(z)[50:], torch.zeros(20, 2, dtype=torch.float64))


def test_the_logarithm_is_right_in_the_tails() -> None:
    x, z = cloud(300, 2), torch.cat([cloud(50, 2, seed=1), 30 + cloud(20, 2, seed=2)])
    w = torch.full((300,), 1 / 300, dtype=torch.float64)
    (log, grad), (want, want_grad) = (
        backend.sources(GAUSSIAN, x).field(w).log(z) for backend in (Mesh(), Dense())
    )
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


@pytest.mark.parametrize("d", [1, 2, 3])
def test_far_particles_are_summed_exactly(d: int) -> None:
    """A cloud with a few points 1e5 bandwidths away, each elsewhere: no mesh holds all, and nothing
    is lost.
    """
    x, z = cloud(5000, d), cloud(90, d, seed=1)
    x[::1700] += 3e4 * torch.arange(1.0, 4.0, dtype=torch.float64)[:, None]
    z[7] = x[1700] + 0.1
    kernel, w = kernels.Gaussian(0.3), cloud(5000, 1, seed=2)[:, 0]
    field = Mesh().sources(kernel, x).field(w)
    assert field.explain(z)["backend"] == "Mesh"
    assert field.audit(z, rows=90).kept
    alone = w[1700] * math.exp(-d * 0.01 / 0.18)
    assert abs(float(field.value(z)[7] - alone)) < 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e140])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_queries_that_are_not_finite_or_huge(d: int, bad: float) -> None:
    x, z = cloud(300, d), cloud(70, d, seed=1)
    field = Mesh().sources(GAUSSIAN, x).field(torch.ones(300, dtype=torch.float64))
    clean = field.value_and_grad(z)
    z[3, d - 1] = bad
    for got, want in zip(field.value_and_grad(z), clean, strict=True):
        torch.testing.assert_close(got[4:], want[4:], rtol=0, atol=3e-3)
        assert got[3].isnan().all() if not math.isfinite(bad) else not got[3].any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_sources_that_are_not_finite_spoil_the_sum(bad: float) -> None:
    """As they do in an exact sum, and memory is not touched beyond the mesh."""
    x, z = cloud(300, 2), cloud(70, 2, seed=1)
    x[5, 1] = bad
    value, grad = (
        Mesh().sources(GAUSSIAN, x).field(torch.ones(300, dtype=torch.float64)).value_and_grad(z)
    )
    assert value.isnan().all()
    assert grad.isnan().all()


def test_a_mesh_that_is_too_large_is_not_made() -> None:
    x, z = cloud(300, 2), cloud(70, 2, seed=1)
    w = torch.ones(300, dtype=torch.float64)
    kernel = kernels.IMQ(0.05)
    field = Mesh(max_cells=1000).sources(kernel, x).field(w)
    with pytest.warns(
        RuntimeWarning, match="sums IMQ\\(bandwidth=0.05\\) exactly: .*`max_cells` = 1000"
    ):
        grad = field.grad(z)
    torch.testing.assert_close(
        grad, Dense().sources(kernel, x).field(w).grad(z), rtol=1e-12, atol=1e-12
    )
    assert field.promise(z) is None
    assert field.explain(z)["backend"] == "Compiled"
    assert "max_cells" in field.explain(z)["why"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_are_summed_where_a_mesh_would_be_too_large(dtype: torch.dtype) -> None:
    x, y, z = (cloud(n, 2, seed=n).to(dtype) for n in (300, 410, 70))
    v, w = (cloud(len(points), 1, seed=k)[:, 0].to(dtype) for k, points in enumerate((x, y)))
    kernel = kernels.Gaussian(0.05)
    field = Mesh(max_cells=1000).sources(kernel, x).field(v) + Mesh(max_cells=1000).sources(
        kernel, y
    ).field(w)
    told, audit = field.explain(z), field.audit(z)
    assert told["backend"] == "Culled"
    assert "max_cells" in told["why"]
    assert audit.kept
    assert 0 < audit.promise.grad <= 1e-5 * audit.grad_scale
    log, slope = Mesh(max_cells=1000).sources(kernel, x).field(v.abs()).log(z)
    exact, exact_slope = Dense().sources(kernel, x.double()).field(v.double().abs()).log(z.double())
    torch.testing.assert_close(log.double(), exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-4, atol=1e-3)


def test_what_is_kept_of_a_target_changes_no_bits() -> None:
    """A target's mesh serves many steps: as if it had been made for each."""
    y, w, v = cloud(900, 2), cloud(900, 1, seed=3)[:, 0], cloud(500, 1, seed=4)[:, 0]
    target = Mesh().sources(GAUSSIAN, y).field(w)
    for step in range(3):
        x = cloud(500, 2, seed=5) + 0.4 * step
        again = Mesh().sources(GAUSSIAN, y).field(w)
        kept, fresh = (part + Mesh().sources(GAUSSIAN, x).field(v) for part in (target, again))
        assert isinstance(kept, MeshField)
        assert torch.equal(kept.grad(x), fresh.grad(x))
    assert len(target.kept[0]) == 1


@pytest.mark.parametrize(("taps", "element"), [(6, "float32"), (8, "float64")])
def test_a_window_interpolates_the_waves_that_it_was_made_for(taps: int, element: str) -> None:
    """sum_m phi(u - m) e^{i kappa m} = phi_hat(kappa) e^{i kappa u}, and phi_hat is the transform
    of phi, by quadrature.
    """
    plan = spacing.plan(kernels.Gaussian(1.0), 2, 1e-6 if element == "float64" else 1e-4)
    assert plan is not None
    window = plan.window
    nodes, weights = np.polynomial.legendre.leggauss(40)
    kappa = np.linspace(0, 1.5, 7)
    phi, slope = window.weights(nodes / 2)
    places = np.arange(window.taps)[:, None] - (window.taps - 1) / 2 - nodes / 2
    for k in kappa:
        hat = float((0.5 * weights * phi.T * np.cos(k * places)).sum())
        assert abs(hat - float(window.transform(np.array([k]))[0])) < 1e-12
        wave = (phi.T * np.exp(1j * k * places)).sum(0)
        assert np.abs(wave / hat - 1).max() < 1e-4
        ahead = (slope.T * np.exp(1j * k * places)).sum(0)
        assert np.abs(ahead / hat - 1j * k).max() < 1e-3
    step = 1e-6
    ahead, behind = (window.weights(nodes / 2 + shift)[0] for shift in (step, -step))
    np.testing.assert_allclose((ahead - behind) / (2 * step), slope, atol=1e-8)


def test_a_plan_refuses_what_no_mesh_resolves() -> None:
    assert spacing.plan(kernels.Matern32(1.0), 3, 1e-6) is None
    assert spacing.plan(GAUSSIAN, 2, 1e-20) is None
    found = spacing.plan(GAUSSIAN, 2, 1e-5)
    assert found is not None
    assert max(found.value_error, found.grad_error) <= 1e-5
    rough, finer = (spacing.plan(Matern52(0.7), 1, 1e-3, laplacian) for laplacian in (False, True))
    assert rough is not None
    assert finer is not None
    assert finer.laplacian_error <= 1e-3 < rough.laplacian_error


def test_the_tail_of_a_matern_kernel_decays_as_its_smoothness_tells() -> None:
    """Spectra of omega^-2n summed over a line beyond omega: twice as far, 2^(1 - 2n); n = 2 for
    Matern-3/2, 3 for Matern-5/2.
    """
    for kernel, power in ((kernels.Matern32(1.0), 3), (Matern52(1.0), 5)):
        line, _ = modes.spectrum_line(kernel)
        tails = [line.tail(1, cut)[0] for cut in (40.0, 80.0)]
        assert abs(math.log2(tails[0] / tails[1]) - power) < 0.1


@dataclass(frozen=True)
class Bump:
    """(1 + s / l^2)^-2, which declares its scale."""

    bandwidth: float = 1.0

    def with_bandwidth(self, bandwidth: float) -> Bump:
        return Bump(bandwidth)

    def profile(self, s: torch.Tensor) -> torch.Tensor:
        return (1 + s / self.bandwidth**2).pow(-2.0)

    def slope(self, s: torch.Tensor) -> torch.Tensor:
        return -2 / self.bandwidth**2 * (1 + s / self.bandwidth**2).pow(-3.0)

    def curvature(self, s: torch.Tensor) -> torch.Tensor:
        return 6 / self.bandwidth**4 * (1 + s / self.bandwidth**2).pow(-4.0)


def test_a_kernel_of_ones_own() -> None:
    bump = Bump()
    x, z = cloud(300, 2), cloud(80, 2, seed=1)
    assert max(errors(Mesh(rtol=1e-4), bump, x, z, cloud(300, 1, seed=2)[:, 0])) <= 1


@pytest.mark.parametrize("kernel", [kernels.Laplace(0.5), kernels.Energy()])
def test_kinks_are_refused(kernel: kernels.Kernel) -> None:
    with pytest.raises(TypeError, match="`kernel` must be smooth at zero for Mesh"):
        Mesh().sources(kernel, cloud(5, 2))


def test_more_than_three_coordinates_are_refused() -> None:
    with pytest.raises(
        ValueError, match="`points` must have 1, 2 or 3 coordinates for Mesh, got 4"
    ):
        Mesh().sources(GAUSSIAN, cloud(5, 4))


def test_a_sum_that_would_freeze_is_refused() -> None:
    x = cloud(2000, 3)
    field = (
        Mesh(max_cells=1000, max_pairs=1e5)
        .sources(kernels.Gaussian(0.5), x)
        .field(torch.ones(2000, dtype=torch.float64))
    )
    with pytest.raises(ValueError, match="max_pairs"):
        field.grad(x)


@pytest.mark.parametrize("kernel", [Gaussian(0.1), Matern52(0.1)], ids=["Gaussian", "Matern52"])
@pytest.mark.parametrize("start", [0.0, 2.2])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_queries_beyond_reach_do_not_meet_the_images_of_the_sources(
    kernel: Any, start: float, side: float
) -> None:
    """On one side only, some of them or all."""
    x = torch.rand(300, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = side * (start + torch.linspace(0, 6, 5001, dtype=torch.float64)[:, None])
    found, want = (
        backend.sources(kernel, side * x).field(torch.ones(300, dtype=torch.float64)).value(z)
        for backend in (Mesh(1e-3), Dense())
    )
    assert (found - want).abs().max() < 1e-3 * want.max() + 1e-3


def test_the_last_mode_of_an_even_mesh_brings_no_noise() -> None:
    """The window of Matern 3/2 at rtol = 1e-4 vanishes there: 1e-12 of its largest, whose square
    was divided by.
    """
    even = 0
    for n in range(100, 106):
        x, z = cloud(n, 1, dtype=torch.float32), cloud(40, 1, seed=n, dtype=torch.float32)
        field = Mesh(1e-4).sources(kernels.Matern32(0.5), x).field(torch.ones(n))
        audit = field.audit(z, rows=40)
        even += int(field.explain(z)["why"].split()[0]) % 2 == 0
        assert audit.kept, (n, audit)
    assert even > 2
