"""`KeOps`: its formulas against the kernels, the contract (`particleflow.testing.check_backend`),
on CUDA too.

Compiled formulas are kept under .pytest_cache: only the first run on a machine waits for the
compiler.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import KERNELS, check_backend
from moved import Moved
from torch.utils._python_dispatch import TorchDispatchMode

from particleflow import kernels
from particleflow.kernels.declared import facts_of, stated
from particleflow.pairwise import Dense
from particleflow.pairwise.exact import keops as module
from particleflow.pairwise.exact.keops import KeOps, unavailable, written

names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)
GAUSSIAN, LAPLACE, MATERN52 = (
    next(k for k in KERNELS if type(k) is t)
    for t in (kernels.Gaussian, kernels.Laplace, kernels.Matern52)
)


@pytest.fixture(scope="module", autouse=True)
def _cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    cache = getattr(request.config, "cache", None)
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(
        cache.mkdir("keops") if cache else tmp_path_factory.mktemp("keops")
    )
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


def in_torch(text: str, s: torch.Tensor) -> torch.Tensor:
    """A formula's text, a function of s = |z - x|^2 only, by torch's functions in the place of
    KeOps', which rounds ratios of integers.
    """
    assert "/" not in text, "an integer ratio is a float32 in KeOps"
    tiny = torch.finfo(s.dtype).tiny
    language = {
        "Exp": torch.exp,
        "Log": torch.log,
        "Sqrt": torch.sqrt,
        "Inv": lambda a: 1 / a,
        "Square": torch.square,
        "IntCst": lambda n: torch.tensor(float(n)).to(s),
        "IntInv": lambda n: float(np.float32(1 / n)),
        "Rsqrt": lambda a: torch.where(a == 0, 0.0, a.clamp_min(tiny).rsqrt()),
        "SqDist": lambda z, x: s,
        "z": None,
        "x": None,
    }
    return torch.as_tensor(eval(text, language), dtype=s.dtype).expand(s.shape)


@pytest.mark.parametrize("d", [1, 3, 100])
@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_the_formulas_are_the_kernels(kernel: kernels.Kernel, d: int) -> None:
    """k, its gradient's factor, its laplacian and their logarithms, at all distances and at none;
    no compiler needed.
    """
    facts = facts_of(kernel)
    assert facts is not None
    formula = facts.keops
    unit = formula.unit * getattr(kernel, "bandwidth", 1.0)
    s = torch.cat([torch.zeros(1), torch.logspace(-6, 2.5, 50)]).double()
    terms = {
        name: in_torch(written(formula, "{" + name + "}", d), s)
        for name in ("common", "profile", "pull", "bend")
    }
    there = s * unit**2
    close = lambda got, want: np.testing.assert_allclose(
        got.numpy(), want.numpy(), rtol=1e-8, atol=1e-300
    )
    close(terms["common"] * terms["profile"], kernel.profile(there))
    close(terms["common"] * terms["pull"], -2 * kernel.slope(there) * unit**2)
    want = (4 * there * kernel.curvature(there) + 2 * d * kernel.slope(there)) * unit**2
    scale = (4 * there * kernel.curvature(there)).abs() * unit**2 + (
        2 * d * kernel.slope(there)
    ).abs() * unit**2
    assert ((terms["common"] * terms["bend"] - want).abs() <= 1e-8 * scale).all()
    if formula.log:
        np.testing.assert_allclose(
            in_torch(written(formula, "{log}", d), s),
            kernel.log_profile(there),
            rtol=1e-8,
            atol=1e-14,
        )
        close(
            in_torch(written(formula, "{log_pull}", d), s), -2 * kernel.log_slope(there) * unit**2
        )


def test_every_kernel_with_a_logarithm_has_its_formula() -> None:
    assert {type(kernel) for kernel in KERNELS} == set(kernels.built_in.BUILT_IN)
    for kind in kernels.built_in.BUILT_IN:
        facts = stated(kind)
        assert facts is not None
        assert bool(facts.keops.log) == (kind is not kernels.Energy)


def test_a_kernel_of_the_user_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=r"`kernel` must be one of Gaussian, .* for KeOps\(\), got Radial: use Dense\(\)",
    ):
        KeOps().sources(kernels.Radial(torch.exp), torch.zeros(2, 2))


def test_another_device_is_refused() -> None:
    with pytest.raises(
        RuntimeError,
        match=(
            r"KeOps\(\) cannot be used here: pykeops sums on the CPU and on CUDA devices, not on"
            r" meta"
        ),
    ):
        KeOps().sources(GAUSSIAN, torch.zeros(2, 2, device="meta"))


def test_a_bad_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match="`timeout` must be > 0, got 0"):
        KeOps(timeout=0)


@pytest.fixture
def asked_anew():
    """What was found out about pykeops is forgotten, before and after."""
    module.keops_probe.trouble.cache_clear()
    yield
    module.keops_probe.trouble.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pykeops", None)
    why = "pykeops is not installed: pip install 'particleflow-sim[keops]'"
    assert unavailable() == why
    with pytest.raises(ImportError, match=re.escape(f"KeOps() cannot be used here: {why}")):
        KeOps().sources(GAUSSIAN, torch.zeros(2, 2))


@pytest.mark.keops
@pytest.mark.usefixtures("asked_anew")
def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    why = (
        "pykeops needs a C++ compiler and there is no g++ on PATH: install it (Debian, Ubuntu: apt"
        " install g++), or name another one in CXX"
    )
    assert unavailable() == why
    with pytest.raises(RuntimeError, match=re.escape(f"KeOps() cannot be used here: {why}")):
        KeOps().sources(GAUSSIAN, torch.zeros(2, 2))


@pytest.mark.keops
def test_a_trial_that_hangs_is_ended() -> None:
    told = (
        r"KeOps\(\) cannot be used here: a trial of pykeops did not finish in 0.05 s \(compiler"
        r" .*\): allow more with KeOps\(timeout=...\)"
    )
    with pytest.raises(RuntimeError, match=told):
        KeOps(timeout=0.05).sources(GAUSSIAN, torch.zeros(2, 2))


@pytest.mark.keops
@pytest.mark.slow
def test_a_compiler_that_vanishes_after_the_trial_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    field = KeOps().sources(GAUSSIAN, torch.zeros(2, 57)).field(torch.ones(2))
    monkeypatch.setenv("PATH", str(tmp_path))
    told = (
        r"pykeops could not compile a formula for Gaussian\(bandwidth=0.7\), torch.float64 \(No"
        r" module named .*\): use Dense\(\), or see that a C"
    )
    with pytest.raises(RuntimeError, match=told):
        field.value(torch.zeros(3, 57))


def problem(
    n: int, queries: int, d: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(7)
    return tuple(
        torch.from_numpy(rng.normal(size=size)).to(dtype) for size in ((queries, d), (n, d), (n,))
    )


def both(
    backend: Any, kernel: kernels.Kernel, x: torch.Tensor, w: torch.Tensor, z: torch.Tensor
) -> torch.Tensor:
    """Value and gradient, (Q, 1 + d)."""
    value, grad = backend.sources(kernel, x).field(w).value_and_grad(z)
    return torch.cat([value[:, None], grad], dim=1)


@pytest.mark.keops
@pytest.mark.slow
@pytest.mark.parametrize(("place", "size"), [(0.0, 1.0), (1e6, 64.0)], ids=["at home", "far away"])
def test_many_float32_sources_keep_their_digits(place: float, size: float) -> None:
    """Errors relative to the sums of the absolute values of the terms, against float64 sums of what
    float32 holds.
    """
    z, x, w = problem(20_001, 300, 2, torch.float32)
    z, x, kernel = z * size + place, x * size + place, kernels.Gaussian(0.2 * size)
    got = both(KeOps(), kernel, x, w, z)
    truth = both(Dense(), kernel, x.double(), w.double(), z.double())
    scale = (
        Dense()
        .sources(kernel, x.double())
        .field(w.double().abs())
        .value(z.double())[:, None]
        .repeat(1, 3)
    )
    scale[:, 1:] /= kernel.bandwidth
    assert ((got - truth).abs() <= 1e-7 * scale).all()


@pytest.mark.keops
def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    z, x, w = problem(3001, 500, 2, torch.float32)
    one = both(KeOps(), GAUSSIAN, x, w, z)
    torch.set_num_threads(2)
    try:
        two = both(KeOps(), GAUSSIAN, x, w, z)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one, two)


class ScalarReads(TorchDispatchMode):
    """Counts floats that are read off tensors: on a device each would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += (
            func is torch.ops.aten._local_scalar_dense.default and args[0].is_floating_point()
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.keops
def test_a_step_reads_nothing_off_its_tensors_and_a_new_bandwidth_compiles_nothing() -> None:
    z, x, w = problem(50, 20, 2, torch.float32)
    KeOps().sources(kernels.Gaussian(0.2), x).field(w).value_and_grad(z)
    compiled = set(module._compiled)
    with ScalarReads() as reads:
        sources = KeOps().sources(kernels.Gaussian(3), x)
        queries = sources.prepare(z)
        sources.field(w).value_and_grad(queries)
    # the ends of the weights, which are looked at on the CPU alone
    assert reads.count == 2
    assert module._compiled == compiled


@pytest.mark.keops
def test_a_step_is_told_by_its_backend() -> None:
    z, x, w = problem(50, 20, 2, torch.float32)
    field = KeOps().sources(GAUSSIAN, x).field(w)
    assert field.explain(z) == {"backend": "KeOps", "why": "asked for"}
    assert field.promise(z) is None


CASES = [
    (GAUSSIAN, 2, torch.float32),
    (LAPLACE, 1, torch.float64),
    (kernels.Matern32(0.7), 3, torch.float32),
    (MATERN52, 2, torch.float64),
    (kernels.IMQ(0.7), 10, torch.float32),
    (kernels.Energy(), 3, torch.float64),
]


# nine formulas for each, which take six seconds each to compile; the other tests of this file
# compile some of them
@pytest.mark.slow
@pytest.mark.keops
@pytest.mark.parametrize(("kernel", "d", "dtype"), CASES, ids=names)
def test_keops_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(KeOps(), kernel, d, dtype)


@pytest.mark.slow
@pytest.mark.keops
@pytest.mark.parametrize("d", [128])
def test_high_dimensions_pass_in_silence(
    d: int, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    z, x, w = problem(40, 30, d, torch.float64)
    value, grad = KeOps().sources(kernels.Laplace(10.0), x).field(w).value_and_grad(z)
    want, want_grad = Dense().sources(kernels.Laplace(10.0), x).field(w).value_and_grad(z)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(grad, want_grad, rtol=1e-10, atol=1e-13)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.slow
@pytest.mark.keops
def test_many_weight_vectors_share_a_formula() -> None:
    """K = 37 by groups of 16, padded."""
    z, x, _ = problem(40, 30, 1, torch.float64)
    w = torch.from_numpy(np.random.default_rng(3).normal(size=(40, 37)))
    value = KeOps().sources(GAUSSIAN, x).field(w).value(z)
    np.testing.assert_allclose(
        value, Dense().sources(GAUSSIAN, x).field(w).value(z), rtol=1e-12, atol=1e-13
    )


@pytest.mark.slow
@pytest.mark.keops
def test_the_baseline_of_the_benchmark_is_plain_pykeops() -> None:
    """The same step as by `Dense`, with pykeops' own flags and folder; not where pykeops was
    imported with others.
    """
    code = """
import sys
from pathlib import Path
import torch
from benchmarks.speed.keops_baseline import Broadcast, FusedKeOps, plain_pykeops
from benchmarks.speed.problem import draw, step
from particleflow.pairwise import Dense
problem = draw(300, 3, bandwidth=0.7, dtype=torch.float64)
x = problem.particles(1)
want = step(Dense(), problem)(x)
for got in (Broadcast(problem, max_bytes=10**6)(x), FusedKeOps(problem)(x)):
    assert (got - want).abs().max() < 1e-12 * want.abs().max()
from pykeops.config import pykeops_base
assert "-march" not in pykeops_base.get_cpp_flags()
assert Path(pykeops_base.get_build_folder()).parent == Path(plain_pykeops().name)
"""
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_moving_changes_nothing() -> None:
    check_backend(Moved(Dense(), "cpu"), GAUSSIAN, 2, torch.float64)


@pytest.mark.gpu
@pytest.mark.keops
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
@pytest.mark.parametrize("d", [1, 2, 3, 10])
@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_cuda_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Moved(KeOps(), "cuda"), kernel, d, dtype)


@pytest.mark.gpu
@pytest.mark.keops
@pytest.mark.parametrize("what", ["value", "grad", "value_and_grad", "laplacian"])
def test_nothing_waits_for_the_device_in_a_step(what: str) -> None:
    z, x, w = (t.cuda() for t in problem(50, 20, 2, torch.float32))
    getattr(KeOps().sources(GAUSSIAN, x).field(w), what)(z)
    torch.cuda.set_sync_debug_mode("error")
    try:
        getattr(KeOps().sources(GAUSSIAN, x).field(w), what)(z)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.keops
def test_a_stream_of_its_own_sees_its_own_points() -> None:
    z, x, w = (t.cuda() for t in problem(5000, 3000, 3, torch.float32))
    want = KeOps().sources(GAUSSIAN, x).field(w).value(z)
    with torch.cuda.stream(torch.cuda.Stream()):
        got = KeOps().sources(GAUSSIAN, x * 1).field(w * 1).value(z * 1)
    assert torch.equal(got, want)
