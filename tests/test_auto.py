"""Auto: what it picks, that it says so, and that nothing is lost when a backend is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from conformance import KERNELS, check_backend

import particleflow as pf
from particleflow import kernels
from particleflow.pairwise import Auto, Compiled, Dense, Fourier, Mesh

KERNEL = kernels.Gaussian(0.2)
names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)


def cloud(n: int, d: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d))).to(dtype)


# Many dimensions for one kernel: their code takes half a second for each.
SMALL = [
    pytest.param(kernel, d, dtype, marks=pytest.mark.slow if d == 10 and k else ())
    for k, kernel in enumerate(KERNELS)
    for d, dtype in (
        (1, torch.float64),
        (2, torch.float32),
        (3, torch.float64),
        (10, torch.float64),
    )
]


@pytest.mark.parametrize(("kernel", "d", "dtype"), SMALL, ids=names)
def test_small_problems_are_exact(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Auto(), kernel, d, dtype)


def test_small_problems_have_the_bits_of_the_exact_backend() -> None:
    x, z = cloud(500), cloud(300, seed=1)
    w = torch.ones(500)
    assert torch.equal(
        Auto().sources(KERNEL, x).field(w).grad(z), Compiled().sources(KERNEL, x).field(w).grad(z)
    )


def test_the_choice_is_told_with_its_reason_and_promise() -> None:
    x, z = cloud(60000), cloud(50000, seed=1)
    field = Auto(rtol=1e-5).sources(KERNEL, x).field(torch.full((60000,), 1 / 60000))
    told = field.explain(z)
    assert told["backend"] == "Mesh"
    assert "Compiled" in told["why"]
    audit = field.audit(z, rows=50)
    assert audit.promise == field.promise(z)
    assert 0 < audit.grad_error <= audit.promise.grad <= 1e-5 * audit.grad_scale
    assert field.explain(z[:5])["backend"] == "Compiled"
    assert field.promise(z[:5]) is None
    assert field.audit(z[:5]).kept is None, "nothing was promised, so nothing was kept"


def test_a_tight_tolerance_is_kept() -> None:
    x = cloud(20000, dtype=torch.float64)
    field = (
        Auto(rtol=1e-10)
        .sources(KERNEL, x)
        .field(torch.full((20000,), 1 / 20000, dtype=torch.float64))
    )
    audit = field.audit(x, rows=20)
    assert audit.kept
    assert audit.grad_error <= 1e-10 * audit.grad_scale


def test_parts_and_columns_go_through_the_chosen_backend() -> None:
    x, y, z = cloud(30000), cloud(20000, seed=1), cloud(25000, seed=2)
    weights = lambda n: torch.stack([torch.full((n,), 1 / n), torch.linspace(-1, 1, n) / n], dim=1)
    total = Auto().sources(KERNEL, x).field(weights(30000)) + Auto().sources(KERNEL, y).field(
        weights(20000)
    )
    value, grad = total.value_and_grad(z)
    assert total.explain(z)["backend"] == "Mesh"
    rows = torch.arange(0, 25000, 500)
    exact = Dense().sources(KERNEL, x.double()).field(weights(30000).double()) + Dense().sources(
        KERNEL, y.double()
    ).field(weights(20000).double())
    want, want_grad = exact.value_and_grad(z[rows].double())
    assert float((value[rows] - want).abs().max()) <= 2e-5
    assert float((grad[rows] - want_grad).norm(dim=-1).max()) <= 2e-5 / 0.2


def test_the_choice_is_repeatable() -> None:
    x, z = cloud(20000), cloud(15000, seed=1)
    first, second = (Auto().sources(KERNEL, x).field(torch.ones(20000)).grad(z) for _ in range(2))
    assert torch.equal(first, second)


def test_what_was_made_of_a_part_is_kept() -> None:
    """The target's grid outlives the step: adding a new cloud's field leaves it where it was."""
    x, y = cloud(40000), cloud(30000, seed=1)
    target = Auto().sources(KERNEL, y).field(torch.ones(30000))
    (target + Auto().sources(KERNEL, x).field(-torch.ones(40000))).grad(x)
    (made,) = target.kept[0]._made.values()
    (target + Auto().sources(KERNEL, x + 0.01).field(-torch.ones(40000))).grad(x)
    assert list(target.kept[0]._made.values()) == [made]


def test_prepared_queries_follow_the_choice() -> None:
    x, z = cloud(40000), cloud(30000, seed=1)
    sources = Auto().sources(KERNEL, x)
    queries = sources.prepare(z)
    field = sources.field(torch.full((40000,), 1 / 40000))
    assert torch.equal(field.grad(queries), field.grad(z))


def test_an_exact_sum_that_would_freeze_is_refused() -> None:
    x = cloud(30000, d=10)
    field = Auto(max_pairs=1e8).sources(KERNEL, x).field(torch.ones(30000))
    with pytest.raises(ValueError, match=r"`max_pairs`.*9e\+08 pairs.*Nystroem"):
        field.grad(x)


def test_a_run_reports_its_backends() -> None:
    x, y = cloud(20000), cloud(15000, seed=1)
    path = pf.simulate(pf.mmd_flow(KERNEL), x, y, steps=2, dt=0.1)
    assert list(path.report["backends"]) == ["Mesh"]
    assert 0 < path.report["promise"]["grad"] < 1e-3
    fit = pf.fit(pf.estimators.MMD(KERNEL), x, y)
    assert fit.report["backend"] == "Mesh"


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [("rtol", 0.0, "`rtol` must be > 0"), ("max_pairs", -1, "`max_pairs` must be > 0")],
)
def test_bad_settings_are_refused(keyword: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Auto(**{keyword: value})


WITHOUT = """
import sys, warnings
sys.modules[{name!r}] = None
import torch
from particleflow.pairwise import Auto
from particleflow.kernels import Gaussian
x = torch.randn(3000, {d})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        field = Auto(rtol={rtol}).sources(Gaussian({bandwidth}), x).field(torch.ones(3000))
        field.grad(x)
print(field.explain(x)["backend"], len(caught), *[str(w.message) for w in caught])
"""


@pytest.mark.parametrize(("name", "rtol", "bandwidth", "d"), [("llvmlite", 1e-5, 0.2, 10)])
def test_a_missing_library_is_named_once_and_done_without(
    name: str, rtol: float, bandwidth: float, d: int
) -> None:
    code = WITHOUT.format(name=name, rtol=rtol, bandwidth=bandwidth, d=d)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("Dense 1 ")
    assert "pip install llvmlite" in out.stdout


NAMED = """
import sys, warnings
sys.modules["llvmlite"] = None
import torch
from particleflow.pairwise import Auto, Compiled, Culled, Fourier, Mesh, Nystroem
from particleflow.kernels import Gaussian, Laplace
x, w = torch.randn(40000, 2), torch.ones(40000)
for backend in (Compiled, Culled, Mesh):
    try:
        backend().sources(Gaussian(0.2), x)
    except ImportError as error:
        print(error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for backend, kernel in (
        (Fourier(), Laplace(0.3)),
        (Fourier(1e-3), Gaussian(1e-6)),
        (Nystroem(), Gaussian(5.0)),
        (Auto(), Laplace(0.3)),
    ):
        print(backend.sources(kernel, x[:3000]).field(w[:3000]).grad(x[:20]).shape)
    print(Auto().sources(Laplace(0.3), x).field(w).explain(x)["backend"])
print([str(each.message).split(" ")[0] for each in caught])
"""


def test_without_llvmlite_what_is_asked_for_by_name_says_so_and_the_others_sum() -> None:
    """Those that need it for a part of their sums, too: neighbours are then summed with all others,
    exactly.
    """
    out = subprocess.run(
        [sys.executable, "-c", NAMED], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name, line in zip(("Compiled", "Culled", "Mesh"), out, strict=False):
        assert line.startswith(f"`{name}` needs the package llvmlite, which cannot be imported (")
        assert "pip install llvmlite" in line
    assert out[3:8] == [*["torch.Size([20, 2])"] * 4, "Dense"]
    assert out[8].count("'sums'") == 1


def test_importing_particleflow_imports_no_heavy_backend() -> None:
    code = (
        "import sys, particleflow, particleflow.pairwise as p; p.Auto(), p.Mesh(), p.Fourier(),"
        " p.KeOps(); print([m for m in ('llvmlite', 'finufft', 'pykeops') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_named_backends_are_the_ones_that_sum() -> None:
    x = cloud(300)
    for backend in (Dense(), Compiled(), Mesh(), Fourier()):
        told = backend.sources(KERNEL, x).field(torch.ones(300)).explain(x)
        assert told["backend"] == type(backend).__name__
