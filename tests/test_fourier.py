"""Sums by non-uniform Fourier transforms: the contract, the promise, the near field of kinks, what
is kept, what is missing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conformance import KERNELS, check_backend
from moved import Moved

from benchmarks.speed.promise_problems import SHAPES, examine, problem
from particleflow import kernels
from particleflow.pairwise import Compiled, Fourier
from particleflow.pairwise.fourier.nufft import Transform
from particleflow.pairwise.periodic.split import Split, odd_part
from particleflow.testing.sums import exact_sums

GAUSSIAN, LAPLACE, MATERN = kernels.Gaussian(0.3), kernels.Laplace(0.3), kernels.Matern32(0.3)
# test_promise.py has those below 100.
FIRST_SEED = 1000
FEW, MANY = len(SHAPES), 5 * len(SHAPES)
names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)


def cloud(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)


def weights(n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n]).standard_normal(n))


QUICK = {
    (1, torch.float64): kernels.Gaussian,
    (2, torch.float32): kernels.Gaussian,
    (2, torch.float64): kernels.Energy,
    (3, torch.float64): kernels.Laplace,
}
CONTRACTS = [
    pytest.param(
        kernel,
        d,
        dtype,
        marks=() if isinstance(kernel, quick) else pytest.mark.slow,
        id=f"{names(kernel)}-{d}-{names(dtype)}",
    )
    for kernel in KERNELS
    for (d, dtype), quick in QUICK.items()
]


@pytest.mark.filterwarnings("ignore:Fourier:RuntimeWarning")
@pytest.mark.parametrize(("kernel", "d", "dtype"), CONTRACTS)
def test_fourier_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Fourier(1e-6), kernel, d, dtype, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", [GAUSSIAN, kernels.IMQ(0.7)], ids=names)
def test_cuda_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    pytest.importorskip("cufinufft")
    check_backend(Moved(Fourier(1e-6), "cuda"), kernel, d, dtype, rtol=1e-5)


@pytest.mark.parametrize("problems", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_promise_holds_on_random_problems_and_is_not_idle(d: int, problems: int) -> None:
    outcomes = []
    for seed in range(FIRST_SEED * d, FIRST_SEED * d + problems):
        drawn = problem(seed, (d,), most=400)
        outcomes.append(examine(Fourier(rtol=drawn.rtol), drawn))
    assert all(outcome.claimed for outcome in outcomes)
    assert [outcome for outcome in outcomes if not outcome.kept] == []
    slack = [ratio for outcome in outcomes for ratio in outcome.slack]
    assert len(slack) >= problems // 2, "most sums went another way"
    assert statistics.median(slack) <= 30


@pytest.mark.parametrize("kernel", [LAPLACE, MATERN, kernels.Matern52(0.3)], ids=names)
def test_the_near_and_the_far_part_are_the_kernel(kernel: kernels.Kernel) -> None:
    radius = 0.2
    split = Split(kernel, radius, 24.0)
    value, slope, _ = split.near(1e-14)
    r = np.linspace(0, radius, 200)
    near = np.polynomial.polynomial.polyval(2 * r / radius - 1, value)
    want = kernel.profile(torch.from_numpy(r**2)).numpy()
    np.testing.assert_allclose(split.far(r**2) + near, want, rtol=0, atol=1e-12)
    # at the origin all of the kink is in the near part; at the radius, nothing is left of it
    assert slope[::2].sum() - slope[1::2].sum() == pytest.approx(
        odd_part(kernel, np.zeros(1))[1].item(), abs=1e-10 / radius
    )
    assert abs(near[-1]) < 1e-9
    beyond = np.linspace(1.001 * radius, 4.0, 50) ** 2
    np.testing.assert_array_equal(
        split.far(beyond), kernel.profile(torch.from_numpy(beyond)).numpy()
    )


NEAR_FIELDS = [(LAPLACE, 2), (MATERN, 2), (kernels.Energy(), 2), (kernels.Energy(), 3)]


@pytest.mark.parametrize(("kernel", "d"), NEAR_FIELDS, ids=names)
def test_neighbours_and_modes_give_what_all_pairs_give(kernel: kernels.Kernel, d: int) -> None:
    """In a heap all pairs are near, between heaps none; some queries lie on sources, where there is
    no force.
    """
    heap = 1e-3 * cloud(150, d, 1)
    x = torch.cat([heap, cloud(1000, d, 2), heap[:20], heap + 2])
    z = torch.cat([heap[:40], 1e-3 * cloud(30, d, 3), cloud(100, d, 4)])
    w = weights(len(x), 5)
    field = Fourier(1e-4).sources(kernel, x).field(w)
    promise = field.promise(z)
    assert promise is not None
    assert "neighbours within" in promise.how
    value, grad = field.value_and_grad(z)
    want = exact_sums(kernel, z, x, w[:, None])
    error = (
        np.abs(value.numpy() - want.value[:, 0]).max(),
        np.linalg.norm(grad.numpy() - want.grad[:, 0], axis=1).max(),
    )
    assert 0 < error[0] <= promise.value
    assert 0 < error[1] <= promise.grad


@pytest.mark.parametrize("kernel", [kernels.Matern32(1.0), kernels.Matern52(1.0)], ids=names)
@pytest.mark.parametrize("d", [2, 3])
def test_a_laplacian_beside_a_source_is_that_at_it(kernel: kernels.Kernel, d: int) -> None:
    """A slope that ends at zero over a distance of 1e-12: rounding of the slope may not be divided
    by it.
    """
    x, w = cloud(30, d, 1), weights(30, 2)
    z = x + 1e-12 * cloud(30, d, 3)
    want = Compiled().sources(kernel, x).field(w).laplacian(x)
    torch.testing.assert_close(
        Fourier(1e-4).sources(kernel, x).field(w).laplacian(z),
        want,
        rtol=0,
        atol=1e-4 * float(w.abs().sum()),
    )


@pytest.mark.parametrize(
    "kernel", [kernels.Gaussian(0.5), kernels.Gaussian(0.02), kernels.Matern32(0.5)], ids=str
)
def test_the_same_bits_whichever_thread_asks(kernel: kernels.Kernel) -> None:
    """For 1, 2 and 4 threads of a pool, each with two of torch's; with few modes for the points,
    which are summed in pieces, and with many.
    """
    x, z, w = cloud(140000, 2, 0).clamp(-3, 3), cloud(70000, 2, 1).clamp(-3, 3), weights(140000, 2)

    def summed(_: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.set_num_threads(2)
        return Fourier(1e-4).sources(kernel, x).field(w).value_and_grad(z)

    before = torch.get_num_threads()
    try:
        want = summed(0)
        for workers in (1, 2, 4):
            with ThreadPoolExecutor(workers) as pool:
                for got in pool.map(summed, range(workers)):
                    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("half", [(20, 20), (300, 300)])
def test_several_threads_add_up_in_one_order(half: tuple[int, int]) -> None:
    """Of transforms to modes, which finufft's own threads would add up as they come: the same bits
    for any number.
    """
    rng = np.random.default_rng(0)
    x, c = (
        torch.from_numpy(rng.uniform(-3, 3, (2, 140000))),
        torch.from_numpy(rng.standard_normal(140000)),
    )
    before, answers = torch.get_num_threads(), []
    for threads in (1, 2, 4, 4):
        torch.set_num_threads(threads)
        answers.append(Transform(1, x, half, 1e-7)(c))
    torch.set_num_threads(before)
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("half", [20, 400])
def test_a_transform_of_many_points_is_that_of_each(kind: int, half: int) -> None:
    """In pieces or not: by the sum over some points, of type 1, or at some, of type 2."""
    rng = np.random.default_rng(half)
    x = torch.from_numpy(rng.uniform(-np.pi, np.pi, size=(1, 300001)))
    transform, m = Transform(kind, x, (half,), 1e-9), np.arange(-half, half + 1)
    if kind == 1:
        at = rng.choice(x.shape[1], 50, replace=False)
        c = torch.zeros(x.shape[1], dtype=torch.complex128)
        c[at] = torch.from_numpy(rng.standard_normal(50) + 0j)
        want = np.exp(-1j * np.outer(m, x[0, at].numpy())) @ c[at].numpy()
        np.testing.assert_allclose(transform(c).numpy(), want, rtol=0, atol=1e-7)
        assert len(transform.parts) == 8
    else:
        f = torch.from_numpy(rng.standard_normal(2 * half + 1) + 0j)
        want = np.exp(1j * np.outer(x[0, ::3001].numpy(), m)) @ f.numpy()
        np.testing.assert_allclose(transform(f).numpy()[::3001], want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "d"), [(GAUSSIAN, 2), (kernels.IMQ(0.3), 1), (LAPLACE, 3)], ids=names
)
def test_kept_modes_of_a_target_are_those_of_a_fresh_one(kernel: kernels.Kernel, d: int) -> None:
    y, x, w = cloud(300, d, 0), 0.5 * cloud(200, d, 1), weights(300, 2)
    fourier = Fourier(1e-4)
    target = fourier.sources(kernel, y).field(w)
    minus = -torch.full((200,), 1 / 200, dtype=torch.float64)
    made = []
    for step in range(3):
        moved = x + 1e-3 * step
        particles = fourier.sources(kernel, moved).field(minus)
        got = (target + particles).value_and_grad(moved)
        made.append(list(target.kept[0]._made.values()))
        fresh = (
            fourier.sources(kernel, y).field(w) + fourier.sources(kernel, moved).field(minus)
        ).value_and_grad(moved)
        assert all(torch.equal(a, b) for a, b in zip(got, fresh, strict=True))
    assert len(made[0]) == 1
    assert all(each[0] is made[0][0] for each in made), (
        "the box stays the same, so the modes should have been kept"
    )
    target.kept[0]._made.clear()
    again = (target + particles).value_and_grad(moved)
    assert all(torch.equal(a, b) for a, b in zip(again, got, strict=True))


def test_weights_that_are_changed_afterwards_change_no_sum() -> None:
    x, z, w = cloud(300, 2, 0), cloud(50, 2, 1), weights(300, 2)
    field = Fourier(1e-4).sources(GAUSSIAN, x).field(w)
    before = field.value(z)
    w.mul_(2)
    assert torch.equal(field.value(z), before)
    assert torch.equal(Fourier(1e-4).sources(GAUSSIAN, x).field(w).value(z), 2 * before)


MISSING = """
import sys, warnings
sys.modules["finufft"] = None
import torch
from particleflow.kernels import Gaussian, Laplace
from particleflow.pairwise import Compiled, Auto, Fourier
try:
    Fourier().sources(Gaussian(0.2), torch.randn(30, 2))
except ImportError as error:
    print(error)
Fourier().sources(Laplace(0.2), torch.randn(30, 1)).field(torch.ones(30)).grad(torch.randn(20, 1))
x = torch.randn(3000, 2, dtype=torch.float64)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        Auto(rtol=1e-8).sources(Laplace(0.2), x).field(
            torch.ones(3000, dtype=torch.float64)
        ).grad(x)
print(len(caught), *[str(w.message) for w in caught])
"""


def test_without_finufft_fourier_says_so_and_auto_goes_on() -> None:
    """On the line kernels with a kink are sorted, and need no transform."""
    out = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out[0].startswith("`Fourier` needs the package finufft, which cannot be imported")
    assert "pip install finufft" in out[0]
    assert "or take particleflow.pairwise.Auto" in out[0]
    assert out[1].startswith("1 sums over pairs do without finufft, and are slower")


def test_more_than_three_coordinates_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match="`points` must have 1, 2 or 3 coordinates for Fourier, got 4: use Compiled",
    ):
        Fourier().sources(GAUSSIAN, cloud(9, 4, 0))


def test_what_cannot_be_kept_is_summed_exactly_with_one_warning_or_refused() -> None:
    x, z, w = cloud(500, 3, 0), cloud(300, 3, 1), weights(500, 2)
    kernel = kernels.IMQ(0.011)
    with pytest.raises(
        ValueError,
        match=r"1\.5e\+05 pairs of points, more than `max_pairs` = 1\.0e\+05: raise `rtol`",
    ):
        Fourier(1e-9, max_pairs=1e5).sources(kernel, x).field(w).value(z)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            value = Fourier(1e-9).sources(kernel, x).field(w).value(z)
    assert [str(each.message).split(":")[0] for each in caught] == [
        f"Fourier(rtol=1e-09) sums {kernel} exactly"
    ]
    want = exact_sums(kernel, z, x, w[:, None])
    np.testing.assert_allclose(
        value.numpy(), want.value[:, 0], rtol=0, atol=1e-13 * want.value_scale.max()
    )


def test_points_in_a_tiny_part_of_their_box_are_summed_exactly_for_that_reason() -> None:
    """The near field of a box of 1e10 would lose the digits of differences of about 1."""
    x, z = cloud(60, 2, 0), cloud(31, 2, 1)
    x[:12] *= 1e10
    field = Fourier().sources(kernels.Energy(), x).field(weights(60, 2))
    told = field.explain(z)
    assert told["backend"] == "Compiled"
    assert told["why"].startswith("half of the points span less than 1e-08 of the extent of all")
