"""Sums over near pairs: the contract, what tiles and ranges must hold, the promise where clouds are
unkind, the logarithm everywhere, threads.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from conformance import KINKED, SMOOTH, check_backend
from torch import Tensor

from particleflow import kernels
from particleflow.pairwise import Dense
from particleflow.pairwise.neighbours import backend as culled
from particleflow.pairwise.neighbours.backend import Culled
from particleflow.pairwise.neighbours.reach import reach_of
from particleflow.pairwise.neighbours.tiled import TILE, Neighbours, Tiled
from particleflow.pairwise.promise import scales
from particleflow.testing.sums import exact_sums

SHORT = [*SMOOTH[:3], KINKED[0]]
names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)

CLOUDS = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "clusters": lambda rng, n, d: (
        rng.normal(size=(9, d))[rng.integers(9, size=n)] + 1e-3 * rng.normal(size=(n, d))
    ),
    "outliers": lambda rng, n, d: np.concatenate(
        [rng.normal(size=(n - 3, d)), [np.full(d, 1e6), np.full(d, -1e4), np.full(d, 1e6 + 1)]]
    ),
    "heavy tails": lambda rng, n, d: rng.standard_t(1.0, size=(n, d)),
    "duplicates": lambda rng, n, d: rng.normal(size=(max(1, n // 50), d))[
        rng.integers(max(1, n // 50), size=n)
    ],
    "lattice": lambda rng, n, d: rng.integers(-8, 9, size=(n, d)) / 8.0,
    "line": lambda rng, n, d: rng.normal(size=(n, 1)) * np.ones(d),
    "point": lambda rng, n, d: np.zeros((n, d)),
}
clouds = pytest.mark.parametrize("cloud", CLOUDS)


def draw(cloud: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    return CLOUDS[cloud](np.random.default_rng([seed, n, d]), n, d)


def tensors(*arrays: np.ndarray, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(a)).to(dtype) for a in arrays]


# All dimensions for one kernel, the plane for each.
CONTRACTS = [
    pytest.param(
        kernel,
        d,
        dtype,
        marks=() if kernel == SHORT[0] or (d, dtype) == (2, torch.float32) else pytest.mark.slow,
    )
    for kernel in SHORT
    for d, dtype in (
        (1, torch.float64),
        (2, torch.float32),
        (2, torch.float64),
        (3, torch.float64),
        (10, torch.float32),
    )
]


@pytest.mark.parametrize(("kernel", "d", "dtype"), CONTRACTS, ids=names)
def test_culled_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Culled(rtol=1e-6), kernel, d, dtype, rtol=1e-5)


@clouds
@pytest.mark.parametrize(
    ("n", "d"), [(1, 2), (16, 1), (17, 3), (1000, 1), (5003, 2), (2999, 3), (700, 7)]
)
def test_tiles_are_a_permutation_with_tight_boxes(cloud: str, n: int, d: int) -> None:
    x = draw(cloud, max(n, 4), d)[:n]
    tiled = Tiled.of(x)
    np.testing.assert_array_equal(tiled.points, x[tiled.order])
    np.testing.assert_array_equal(np.sort(tiled.order), np.arange(n))
    for block in (TILE, 2 * TILE, 4 * TILE):
        low, high = tiled.boxes(block)
        for b in range(-(-n // block)):
            rows = tiled.points[b * block : (b + 1) * block]
            np.testing.assert_array_equal((low[b], high[b]), (rows.min(0), rows.max(0)))
    tree, (low, high) = tiled.tree, tiled.boxes(TILE)
    for i, (first, last, right) in enumerate(tree.spans):
        np.testing.assert_array_equal(
            (tree.boxes.low[i], tree.boxes.high[i]),
            (low[first:last].min(0), high[first:last].max(0)),
        )
        if right:
            children = tree.spans[[i + 1, right]]
            assert [children[0][0], children[0][1], children[1][1]] == [first, children[1][0], last]
    w = np.linspace(-1, 1, n)
    np.testing.assert_allclose(tiled.masses(w)[0], np.abs(w).sum())


def test_tiles_of_an_even_cloud_are_small_squares() -> None:
    """1e4 points in a square: ideal tiles have sides of .04. One far outlier changes nothing, nor
    does a block of four tiles straddle.
    """
    x = np.random.default_rng(0).uniform(size=(10000, 2))
    for far in (False, True):
        if far:
            x[17] = 1e7
        tiled = Tiled.of(x)
        for block, ideal in ((TILE, 0.04), (4 * TILE, 0.08)):
            low, high = tiled.boxes(block)
            side = np.sort((high - low).max(1))
            assert np.median(side) < 1.5 * ideal
            assert side[-3 if far else -1] < 4 * ideal


@clouds
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_near_source_is_missed_and_far_ones_are_left_out(
    cloud: str, d: int, dtype: type
) -> None:
    x, z = draw(cloud, 1500, d).astype(dtype), draw(cloud, 700, d, seed=1).astype(dtype)
    reach, w = 0.1, np.arange(1500.0)[:, None]
    sources, queries = Tiled.of(x), Tiled.of(z)
    near = Neighbours(sources, queries, 2 * TILE, np.full(22, reach))
    apart = np.linalg.norm(z[queries.order].astype(float)[:, None] - x.astype(float)[None], axis=-1)
    met, rows = 0, 0
    for first, last in ((0, 9), (9, 22)):
        for batch in near.batches(w[sources.order], 2.0, np.dtype(dtype), first, last):
            assert batch.first == rows
            rows, start = batch.last, 0
            for b, end in enumerate(batch.ends):
                own = slice(
                    batch.first + b * near.block,
                    min(batch.last, batch.first + (b + 1) * near.block),
                )
                found = batch.w[start:end, 0].astype(int)
                assert len(set(found)) == len(found)
                assert np.isin(np.flatnonzero((apart[own] <= reach).any(0)), found).all()
                # coordinates are twice those about one centre
                centre = x[found].astype(float) - batch.x[start:end] / 2.0
                size = np.abs(batch.x[start:end]).max(initial=0) + np.abs(batch.z).max()
                assert np.abs(centre - centre[:1]).max(initial=0) <= 4 * np.finfo(dtype).eps * (
                    size + np.abs(x[found]).max(initial=0)
                )
                start, met = end, met + len(found)
    assert rows == 700
    if cloud in ("normal", "outliers", "heavy tails") and d < 3:
        assert met < 0.5 * 22 * 1500


@clouds
def test_the_promise_holds_and_is_sharp(cloud: str) -> None:
    slack = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        d, dtype = int(rng.integers(1, 4)), [torch.float32, torch.float64][seed % 2]
        kernel = [
            kernels.Gaussian,
            kernels.Matern32,
            kernels.Gaussian,
            kernels.Laplace,
            kernels.Matern52,
            kernels.Gaussian,
        ][seed]
        k = kernel(10 ** rng.uniform(-2.5, 0))
        rtol = 10 ** rng.uniform(-6, -3)
        x, z, w = tensors(
            draw(cloud, 900, d, seed),
            draw(cloud, 700, d, seed + 9),
            rng.exponential(size=(900, 2)) / 900,
            dtype=dtype,
        )
        field = Culled(rtol=rtol).sources(k, x).field(w)
        value, grad = field.value_and_grad(z)
        exact_value, exact_grad = (
            Dense().sources(k, x.double()).field(w.double()).value_and_grad(z.double())
        )
        errors = [
            float((value - exact_value).abs().max()),
            float((grad - exact_grad).norm(dim=-1).max()),
        ]
        promise, sizes = field.promise(z), scales(field, z)
        for error, promised, size in zip(errors, (promise.value, promise.grad), sizes, strict=True):
            assert error <= promised <= rtol * size
            slack.append(
                promised / max(error, torch.finfo(dtype).eps * size)
            )  # no bound is sharp where all vanishes
    assert statistics.median(slack) <= 30


@pytest.mark.parametrize(
    "kernel", [kernels.Gaussian, kernels.Laplace, kernels.Matern32, kernels.Matern52]
)
def test_reach_and_its_table_bound_the_kernel(kernel: type) -> None:
    for tolerance in (1e-2, 1e-5, 1e-12):
        reach = reach_of(kernel, tolerance, 2)
        k = kernel(1.0)
        r = torch.linspace(1e-3, 70, 40001, dtype=torch.float64)
        value, force = k.profile(r**2), (2 * r * k.slope(r**2)).abs()
        bend = torch.maximum(
            (4 * r**2 * k.curvature(r**2) + 2 * k.slope(r**2)).abs(), (2 * k.slope(r**2)).abs()
        )
        beyond = r >= reach.near
        assert value[beyond].max() <= tolerance
        assert force[beyond].max() <= tolerance * force.max()
        just = (r < 0.95 * reach.near) & (r > 0.9 * reach.near)
        assert (value[just] > tolerance).all() or (force[just] > tolerance * force.max()).all()
        row = (r**2 * reach.scale).long().clamp_max(len(reach.table) - 1).numpy()
        for size, column in zip((value, force, bend), reach.table.T, strict=True):
            assert (column[row] >= size.numpy() * (r <= reach.far).numpy()).all()
            assert (
                column[row]
                <= 1.1 * size.numpy()
                + 1.1 * (r < 4).numpy() * column[0]
                + 1e-3 * column[0] * (r > reach.far).numpy()
            ).all()


@clouds
@pytest.mark.parametrize(
    "kernel", [kernels.Gaussian, kernels.Laplace, kernels.Matern32, kernels.Matern52]
)
def test_the_logarithm_is_right_in_every_row(cloud: str, kernel: type) -> None:
    """Queries lie near, far and very far from all sources; at small bandwidths, too."""
    rng = np.random.default_rng(3)
    x, z = draw(cloud, 600, 2), draw(cloud, 200, 2, seed=1)
    z[:40] += 30 * rng.normal(size=(40, 2))
    x, z, w = tensors(x, z, rng.exponential(size=600) * (rng.random(600) < 0.7))
    k = kernel(0.03)
    value, grad = Culled(rtol=1e-6).sources(k, x).field(w).log(z)
    want, want_grad = Dense().sources(k, x).field(w).log(z)
    error = (value - want).abs() / (1 + 1e-5 * want.abs())
    assert float(error.max()) <= 1e-6
    assert (
        float(((grad - want_grad).norm(dim=1) / (1 / k.bandwidth + want_grad.norm(dim=1))).max())
        <= 1e-5
    )


def test_a_logarithm_leaves_most_pairs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z, w = tensors(draw("normal", 6000, 2), draw("normal", 3000, 2, seed=1), np.ones(6000))
    met = []
    batches = Neighbours.batches

    def counted(self, *arguments):
        for batch in batches(self, *arguments):
            met.append(len(batch.x) * self.block)
            yield batch

    monkeypatch.setattr(Neighbours, "batches", counted)
    Culled().sources(kernels.Gaussian(0.02), x).field(w).log(z)
    assert 0 < sum(met) < 0.2 * 6000 * 3000


def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(culled, "JOB", 3)
    x, z, w = tensors(
        draw("clusters", 1700, 2),
        draw("normal", 900, 2),
        np.linspace(-1, 2, 1700),
        dtype=torch.float32,
    )
    field = Culled().sources(kernels.Gaussian(0.1), x).field(w)
    positive = Culled().sources(kernels.Gaussian(0.1), x).field(w.abs())
    before = torch.get_num_threads()
    answers = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        try:
            answers.append((*field.value_and_grad(z), field.laplacian(z), *positive.log(z)))
        finally:
            torch.set_num_threads(before)
    for other in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answers[0], other, strict=True))


def test_sources_as_queries_are_not_sorted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tensors(draw("normal", 300, 2), draw("normal", 200, 2, seed=1))
    backend = Culled()
    field = backend.sources(kernels.Gaussian(0.1), y).field(y.new_ones(200)) + backend.sources(
        kernels.Gaussian(0.1), x
    ).field(x.new_ones(300))
    want = field.grad(x + 0)
    monkeypatch.setattr(Tiled, "of", lambda points: pytest.fail("sorted again"))
    assert torch.equal(field.grad(x.clone()), want)
    x += 1e-9
    with pytest.raises(pytest.fail.Exception):
        field.grad(x)


def test_a_change_of_the_points_after_the_sorting_changes_nothing() -> None:
    x, z = tensors(draw("normal", 300, 2), draw("normal", 200, 2, seed=1))
    field = Culled().sources(kernels.Gaussian(0.1), x).field(x.new_ones(300))
    want = field.value(z)
    x.zero_()
    assert torch.equal(field.value(z), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e15])
def test_extreme_extents_are_survived(size: float, dtype: torch.dtype) -> None:
    x, z = tensors(size * draw("normal", 200, 2), size * draw("normal", 90, 2, seed=1), dtype=dtype)
    kernel = kernels.Gaussian(0.5)
    got = Culled().sources(kernel, x).field(x.new_ones(200)).value(z)
    want = exact_sums(kernel, z, x, x.new_ones(200, 1)).value[:, 0]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
@pytest.mark.parametrize("kernel", [kernels.Gaussian(0.1), kernels.Laplace(0.1)], ids=names)
def test_a_cloud_far_from_the_origin_keeps_every_digit(
    kernel: kernels.Kernel, dtype: torch.dtype
) -> None:
    """Coordinates are multiples of 2^-4 (2^-20 in float64): moved by 2^16 (2^20) they stay so, and
    all differences are the same.
    """
    grain, away = (2.0**4, 2.0**16) if dtype == torch.float32 else (2.0**20, 2.0**20)
    x, z, w = tensors(
        draw("normal", 900, 2),
        draw("normal", 300, 2, seed=1),
        np.linspace(-1, 2, 1800).reshape(900, 2),
        dtype=dtype,
    )
    x, z = (x * grain).round() / grain, (z * grain).round() / grain
    here, there = (Culled().sources(kernel, x + shift).field(w) for shift in (0.0, away))
    assert torch.equal((z + away) - away, z)
    for a, b in zip(here.value_and_grad(z), there.value_and_grad(z + away), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
def test_one_source_and_one_query(dtype: torch.dtype) -> None:
    x, w = torch.tensor([[3.0, -1.0]], dtype=dtype), torch.tensor([[2.0, -1.0]], dtype=dtype)
    field = Culled().sources(kernels.Gaussian(0.1), x).field(w)
    value, grad = field.value_and_grad(x + torch.tensor([[0.1, 0.0]], dtype=dtype))
    np.testing.assert_allclose(value.numpy(), math.exp(-0.5) * w.numpy(), rtol=1e-5)
    np.testing.assert_allclose(grad[..., 0].numpy(), -10 * math.exp(-0.5) * w.numpy(), rtol=1e-5)
    far = x + torch.full_like(x, 7.0)
    assert not field.value(far).any()
    log, force = Culled().sources(kernels.Gaussian(0.1), x).field(w[:, 0]).log(far)
    np.testing.assert_allclose(log.numpy(), math.log(2) - 4900, rtol=1e-6)
    np.testing.assert_allclose(force.numpy(), [[-700.0, -700.0]], rtol=1e-5)


def test_infinite_queries_and_weights_do_no_harm() -> None:
    x, z = tensors(draw("normal", 200, 2), draw("normal", 90, 2, seed=1))
    z[7, 0], z[80, 1] = math.inf, -math.inf
    field = Culled().sources(kernels.Gaussian(0.5), x).field(x.new_ones(200))
    value = field.value(z)
    assert value.isnan().nonzero()[:, 0].tolist() == [7, 80]
    everything = torch.full((5, 2), math.nan, dtype=torch.float64)
    assert field.grad(everything).isnan().all()
    w = x.new_ones(200)
    w[3] = math.nan
    assert Culled().sources(kernels.Gaussian(0.5), x).field(w).value(z).isnan().all()


def test_tight_tolerances_are_met_in_float64() -> None:
    """In float32 too: the rounding of its sums would be larger."""
    x, z, w = tensors(
        draw("normal", 800, 2), draw("normal", 300, 2, seed=1), np.ones(800), dtype=torch.float32
    )
    want = Dense().sources(kernels.Gaussian(0.2), x.double()).field(w.double()).value(z.double())
    errors = [
        float(
            (Culled(rtol=t).sources(kernels.Gaussian(0.2), x).field(w).value(z) / want - 1)
            .abs()
            .max()
        )
        for t in (1e-9, 6e-6)
    ]
    assert errors[0] <= 0.6 * torch.finfo(torch.float32).eps < 2 * errors[1]


@pytest.mark.parametrize(
    "kernel",
    [kernels.IMQ(1.0), kernels.Energy(), kernels.Radial(lambda s: torch.exp(-s))],
    ids=names,
)
def test_kernels_of_long_or_unknown_reach_are_refused(kernel: kernels.Kernel) -> None:
    with pytest.raises(
        TypeError,
        match=(
            r"`kernel` must be Gaussian, Laplace, Matern32 or Matern52 for Culled\(\), got"
            r" .*Compiled\(\), or with Dense\(\)"
        ),
    ):
        Culled().sources(kernel, torch.zeros(3, 2))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="`points` must be finite for Culled"):
        Culled().sources(kernels.Gaussian(1.0), torch.tensor([[0.0, math.nan]]))
    with pytest.raises(ValueError, match="`rtol` must be > 0, got 0"):
        Culled(rtol=0)
    with pytest.raises(ValueError, match="`atol` must be > 0, got -1"):
        Culled(atol=-1)
