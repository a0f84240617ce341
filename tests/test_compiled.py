"""The exact engine: the contract for every kernel, what float32 keeps, ranges, threads, other
processors, faults.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import KERNELS, POSITIVE, SMOOTH, check_backend
from torch import Tensor

from particleflow import kernels
from particleflow.pairwise import Dense
from particleflow.pairwise.codegen.processor import Processor
from particleflow.pairwise.exact.compiled import Compiled, CompiledQueries
from particleflow.pairwise.exact.ranges import Ranges, query_rows, range_logs, range_sums, scaled
from particleflow.pairwise.field import SumField
from particleflow.pairwise.terms import What

ROOT = Path(__file__).parents[1]
GAUSSIAN = kernels.Gaussian(0.7)
OPERATIONS = ("value", "grad", "value_and_grad", "laplacian", "log")
names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)

# Every kernel in the plane, each way of looping over coordinates, both dtypes: the rest of the grid
# is slow.
CASES = [(kernel, 2, torch.float32) for kernel in KERNELS] + [
    (GAUSSIAN, 2, torch.float64),
    (kernels.Matern32(0.7), 2, torch.float64),
]
CASES += [(GAUSSIAN, 1, torch.float32), (GAUSSIAN, 3, torch.float64), (GAUSSIAN, 10, torch.float32)]
CASES += [
    (kernels.Energy(), 1, torch.float64),
    (kernels.Matern52(0.7), 3, torch.float32),
    (kernels.IMQ(0.7), 10, torch.float64),
]
OTHERS = [
    (k, d, t)
    for k in KERNELS
    for d in (1, 2, 3, 10)
    for t in (torch.float32, torch.float64)
    if (k, d, t) not in CASES
]


def cloud(
    n: int, d: int, seed: int, dtype: torch.dtype = torch.float64, shift: float = 0.0
) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d)) + shift).to(
        dtype
    )


def signed(n: int, k: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng([7, n, k]).standard_normal((n, k))).to(dtype)


def results(field: SumField, z: Tensor, operations: tuple[str, ...] = OPERATIONS) -> list[Tensor]:
    """All tensors that the operations give."""
    found = [getattr(field, name)(z) for name in operations]
    return [
        tensor
        for result in found
        for tensor in (result if isinstance(result, tuple) else (result,))
    ]


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize(("kernel", "d", "dtype"), CASES, ids=names)
def test_compiled_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Compiled(), kernel, d, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "d", "dtype"), OTHERS, ids=names)
def test_compiled_keeps_the_contract_everywhere(
    kernel: kernels.Kernel, d: int, dtype: torch.dtype
) -> None:
    check_backend(Compiled(), kernel, d, dtype)


@pytest.mark.parametrize(
    ("processor", "kernel", "d", "dtype"),
    [
        ("", GAUSSIAN, 2, torch.float32),
        ("", kernels.Laplace(0.7), 3, torch.float32),
        ("", kernels.Matern32(0.7), 10, torch.float64),
        ("+avx", kernels.IMQ(0.7), 2, torch.float32),
        ("+avx", GAUSSIAN, 1, torch.float64),
    ],
    ids=names,
)
def test_other_processors_keep_the_contract(
    processor: str,
    kernel: kernels.Kernel,
    d: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A processor without AVX or FMA has shorter vectors.

    It divides where others estimate, and rounds twice where FMA rounds once.
    """
    if processor and not Processor.here().has("avx"):
        pytest.skip("this processor has no AVX")
    if processor:
        monkeypatch.setattr(Processor, "here", staticmethod(lambda: Processor("", processor)))
    check_backend(Compiled(portable=not processor), kernel, d, dtype)


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("kernel", [GAUSSIAN, kernels.Matern32(0.7)], ids=names)
def test_many_tiles_chunks_and_blocks_agree_with_dense(kernel: kernels.Kernel, d: int) -> None:
    """Sources over several chunks, queries over several blocks, neither a multiple of anything;
    one, alike and many weight vectors.
    """
    x, z = cloud(613, d, 0, shift=0.5), cloud(331, d, 1)
    for w in (signed(613), torch.full((613, 1), -0.3, dtype=torch.float64), signed(613, 3)):
        ours, theirs = (backend.sources(kernel, x).field(w) for backend in (Compiled(), Dense()))
        for got, want in zip(
            results(ours, z, OPERATIONS[:4]), results(theirs, z, OPERATIONS[:4]), strict=True
        ):
            assert relative(got, want) <= 1e-13
    ours, theirs = (
        backend.sources(kernel, x).field(signed(613, 2).abs()) for backend in (Compiled(), Dense())
    )
    for got, want in zip(ours.log(z), theirs.log(z), strict=True):
        assert relative(got, want) <= 1e-13


def test_many_blocks_are_shared_out() -> None:
    """More blocks of queries than a call takes at once."""
    x, z, w = cloud(9, 2, 0), cloud(5000, 2, 1), signed(9)
    for got, want in zip(
        *(
            backend.sources(GAUSSIAN, x).field(w).value_and_grad(z)
            for backend in (Compiled(), Dense())
        ),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_errors_of_float32_and_float64(kernel: kernels.Kernel) -> None:
    """Clouds that do not cancel: 2e-6 and 1e-13 of the gradient, against float64 with differences
    from Dense.
    """
    x, y, z = cloud(700, 2, 0), cloud(800, 2, 1, shift=1.0), cloud(350, 2, 2)
    points, w = (
        torch.cat([x, y]),
        torch.cat([torch.full((700,), -1 / 700), torch.full((800,), 1 / 800)]).double(),
    )
    exact = (
        Dense()
        .sources(kernel, points.float().double())
        .field(w.float().double())
        .grad(z.float().double())
    )
    assert (
        relative(Compiled().sources(kernel, points.float()).field(w.float()).grad(z.float()), exact)
        <= 2e-6
    )
    assert (
        relative(
            Compiled()
            .sources(kernel, points.float().double())
            .field(w.float().double())
            .grad(z.float().double()),
            exact,
        )
        <= 1e-13
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
def test_far_pairs_are_exactly_nothing(dtype: torch.dtype) -> None:
    """Underflow gives 0, not NaN and not a last digit; the logarithm goes on."""
    x, z = cloud(50, 2, 0, dtype), cloud(20, 2, 1, dtype) + 1e4
    field = Compiled().sources(kernels.Gaussian(0.1), x).field(signed(50, 1, dtype)[:, 0].abs())
    for result in results(field, z, OPERATIONS[:4]):
        assert torch.equal(result, torch.zeros_like(result))
    log, grad = field.log(z)
    nearest = (z[:, None] - x[None]).double().norm(dim=-1).min(1).values
    torch.testing.assert_close(log.double(), -(nearest**2) / (2 * 0.1**2), rtol=1e-4, atol=0)
    torch.testing.assert_close(grad.double().norm(dim=1), nearest / 0.1**2, rtol=1e-3, atol=0)


@pytest.mark.parametrize("direction", [1, -1], ids=["nearer and nearer", "farther and farther"])
def test_logarithms_find_their_largest_term_anywhere(direction: int) -> None:
    """The running maximum changes in every chunk, or never again; a first chunk of zero weights has
    none.
    """
    order = (
        torch.arange(500, dtype=torch.float64).flip(0)
        if direction == 1
        else torch.arange(500, dtype=torch.float64)
    )
    x = order[:, None] * torch.tensor([[0.2, -0.1]], dtype=torch.float64) + cloud(500, 2, 0)
    z, w = cloud(37, 2, 1), signed(500)[:, 0].abs()
    w[:70] = 0.0
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        for got, want in zip(
            Compiled().sources(GAUSSIAN, x.to(dtype)).field(w.to(dtype)).log(z.to(dtype)),
            Dense().sources(GAUSSIAN, x).field(w).log(z),
            strict=True,
        ):
            assert relative(got, want) <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
def test_logarithms_of_tiny_and_huge_weights(dtype: torch.dtype) -> None:
    x, z = cloud(40, 2, 0, dtype), cloud(9, 2, 1, dtype)
    w = torch.logspace(-30, 30, 40, dtype=dtype)
    for kernel in POSITIVE:
        for got, want in zip(
            Compiled().sources(kernel, x).field(w).log(z),
            Dense().sources(kernel, x.double()).field(w.double()).log(z.double()),
            strict=True,
        ):
            assert relative(got, want) <= (1e-5 if dtype == torch.float32 else 1e-13), kernel


@pytest.mark.parametrize("kernel", [GAUSSIAN, kernels.Energy(), kernels.IMQ(0.7)], ids=names)
def test_what_is_not_finite_is_seen(kernel: kernels.Kernel) -> None:
    """A NaN query makes a row of NaN; a source or weight that is NaN or infinite makes NaNs of all
    rows, as in every sum over it.
    """
    x, z, w = cloud(70, 2, 0), cloud(40, 2, 1), signed(70)[:, 0]
    operations = OPERATIONS[:4] if isinstance(kernel, kernels.Energy) else OPERATIONS
    broken = z.clone()
    broken[5, 0] = math.nan
    clean = results(Compiled().sources(kernel, x).field(w.abs()), z, operations)
    for got, want in zip(
        results(Compiled().sources(kernel, x).field(w.abs()), broken, operations),
        clean,
        strict=True,
    ):
        assert got[5].isnan().all()
        assert torch.equal(got[6:], want[6:])
    for value in (math.nan, math.inf):
        bad_x, bad_w = x.clone(), w.abs()
        bad_x[3, 1], bad_w[66] = value, value
        for field in (
            Compiled().sources(kernel, bad_x).field(w.abs()),
            Compiled().sources(kernel, x).field(bad_w),
        ):
            assert all(result.isnan().all() for result in results(field, z, operations))


@pytest.mark.parametrize(
    "bits", [0x7FC00000, 0xFFC00000 - 2**32, 0x7FFFFFFF, 0x7FC001AA, 0xFFC000FF - 2**32], ids=hex
)
def test_every_nan_is_seen(bits: int) -> None:
    """Whatever its sign and payload, which the code takes for an exponent."""
    x, z = cloud(30, 2, 0, torch.float32), cloud(11, 2, 1, torch.float32)
    z[4, 1] = torch.tensor([bits], dtype=torch.int32).view(torch.float32)[0]
    for kernel in (GAUSSIAN, kernels.Matern52(0.7)):
        for result in results(Compiled().sources(kernel, x).field(x[:, 0].abs()), z):
            assert result[4].isnan().all()
            assert not result[5:].isnan().any()


@pytest.mark.parametrize("d", [2, 6])
def test_the_same_bits_for_any_number_of_threads(d: int) -> None:
    x, z, w = (
        cloud(4100, d, 0, torch.float32),
        cloud(1307, d, 1, torch.float32),
        signed(4100, 1, torch.float32)[:, 0].abs(),
    )
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(Compiled().sources(GAUSSIAN, x).field(w), z, ("grad", "log")))
    finally:
        torch.set_num_threads(1)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    ("kernel", "d", "k"), [(GAUSSIAN, 2, 1), (GAUSSIAN, 5, 2), (kernels.IMQ(0.7), 3, 1)], ids=names
)
def test_ranges_of_sources(kernel: kernels.Kernel, d: int, k: int) -> None:
    """Each block of queries meets its own ranges: several, one, an empty one, none."""
    x, z, w = cloud(500, d, 0), cloud(200, d, 1), signed(500, k)
    lists = [[(3, 90), (200, 491)], [(0, 500)], [], [(7, 7), (499, 500)]]
    ptr = np.cumsum([0, *(len(some) for some in lists)])
    ranges = Ranges(
        ptr,
        np.array([a for some in lists for a, _ in some]),
        np.array([b for some in lists for _, b in some]),
        64,
    )
    centre = x.mean(0)
    places = scaled(kernel, x, centre), query_rows(scaled(kernel, z, centre))
    both = range_sums(kernel, What.BOTH, w, *places, ranges)
    logs, slopes = range_logs(kernel, w[:, 0].abs(), *places, ranges)
    for block, some in enumerate(lists):
        rows = slice(64 * block, min(64 * (block + 1), 200))
        chosen = torch.cat([torch.arange(a, b) for a, b in some] or [torch.arange(0)])
        if not len(chosen):
            assert (both[rows] == 0).all()
            assert (logs[rows] == -math.inf).all()
            assert (slopes[rows] == 0).all()
            continue
        value, grad = Dense().sources(kernel, x[chosen]).field(w[chosen]).value_and_grad(z[rows])
        np.testing.assert_allclose(both[rows, :, 0], value.numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(both[rows, :, 1:], grad.numpy(), rtol=1e-11, atol=1e-12)
        log, slope = Dense().sources(kernel, x[chosen]).field(w[chosen, 0].abs()).log(z[rows])
        np.testing.assert_allclose(logs[rows], log.numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(slopes[rows], slope.numpy(), rtol=1e-11, atol=1e-12)


def test_prepared_queries_keep_what_helps() -> None:
    """The matrix where it is small; coordinates in the code's order always, for these sources
    alone.
    """
    x, w = cloud(30, 2, 0), signed(30)[:, 0]
    sources = Compiled().sources(GAUSSIAN, x)
    few, many = (
        sources.prepare(cloud(20, 2, 1)),
        Compiled().sources(GAUSSIAN, cloud(3000, 2, 0)).prepare(cloud(2000, 2, 1)),
    )
    assert few.matrix is not None
    assert few.matrix.shape == (20, 30)
    assert many.matrix is None
    field, other = sources.field(w), Compiled().sources(GAUSSIAN, x + 1.0).field(w)
    torch.testing.assert_close(field.value(few), field.value(few.points), rtol=1e-13, atol=1e-14)
    assert torch.equal(field.grad(few), field.grad(few.points))
    assert torch.equal(other.grad(few), other.grad(few.points))
    assert isinstance(few, CompiledQueries)


def test_coincident_laplacians_of_kinked_kernels_match_dense() -> None:
    """Without the curvature, and the slope cut off, as kernels.contract says."""
    x = cloud(12, 2, 0)
    for kernel in KERNELS:
        if kernel not in SMOOTH:
            w = signed(12)[:, 0]
            ours, theirs = (
                backend.sources(kernel, x).field(w).laplacian(x)
                for backend in (Compiled(), Dense())
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_what_cannot_be_compiled_is_refused() -> None:
    custom = kernels.Radial(lambda s: 1 / (1 + s))
    with pytest.raises(
        TypeError,
        match=re.escape(
            "`kernel` must be one of Gaussian, Laplace, Matern32, Matern52, IMQ, Cauchy, Energy for"
            " Compiled(), got"
        ),
    ):
        Compiled().sources(custom, cloud(3, 2, 0))
    with pytest.raises(
        ValueError,
        match=re.escape(
            "`points` must be on the CPU for Compiled(), got meta: use KeOps() or Dense()"
        ),
    ):
        Compiled().sources(GAUSSIAN, cloud(3, 2, 0).to("meta"))


SUM = """
import torch
from particleflow import kernels
from particleflow.pairwise.exact.compiled import Compiled
x = torch.arange(20.0).reshape(10, 2)
print(float(Compiled().sources(kernels.Gaussian(1.0), x).field(torch.ones(10)).value(x[:1])))
"""
MISSING = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "llvmlite":
            raise ImportError("No module named 'llvmlite'")
from particleflow.pairwise.exact.compiled import Compiled
print([name for name in ("llvmlite",) if name in sys.modules])
sys.meta_path.insert(0, Missing())
try:
    Compiled()
except ImportError as error:
    print(error)
"""


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_processes_compile_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    """No cache: a home that cannot be written to, or is not there, is not noticed."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    environment = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    both = [python(SUM, **environment) for _ in range(2)]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert float(out) == pytest.approx(1 + math.exp(-4), rel=1e-6)
    assert not list(home.iterdir())


def test_llvmlite_may_be_missing_until_it_is_asked_for() -> None:
    out, err = python(MISSING).communicate()
    assert out.splitlines()[0] == "[]", err
    assert out.splitlines()[1].startswith(
        "`Compiled` needs the package llvmlite, which cannot be imported ("
    )
    assert (
        "install it with `pip install llvmlite`, or take particleflow.pairwise.Auto"
        in out.splitlines()[1]
    )
