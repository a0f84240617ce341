"""Sums over pairs: the contract (`particleflow.testing.check_backend`), and the memory bound of
`Dense`.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conformance import KERNELS, POSITIVE, case, check_backend
from torch.utils._python_dispatch import TorchDispatchMode

from particleflow import kernels
from particleflow.pairwise import (
    Auto,
    Compiled,
    Culled,
    Dense,
    Field,
    Fourier,
    Mesh,
    Nystroem,
    PairwiseSum,
    Queries,
    Sources,
)
from particleflow.pairwise.exact.dense import kernel_matrix
from particleflow.testing.backend_sums import check_log

names = lambda value: (
    type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")
)


@pytest.mark.parametrize(
    ("d", "dtype"),
    [*((d, torch.float64) for d in (1, 2, 3, 10)), (2, torch.float32), (10, torch.float32)],
    ids=names,
)
@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_dense_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Dense(), kernel, d, dtype)


@pytest.mark.parametrize("d", [1, 2, 3, 10])
@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[2], *KERNELS[4:]], ids=names)
def test_many_tiles_keep_the_contract(kernel: kernels.Kernel, d: int) -> None:
    """15 x 16 pairs a tile: rows and columns both end in a partial tile."""
    check_backend(Dense(max_bytes=12000), kernel, d, torch.float64)


@pytest.mark.parametrize("kernel", [kernels.Gaussian(0.7), kernels.Laplace(0.7)], ids=names)
def test_one_pair_at_a_time_is_still_right(kernel: kernels.Kernel) -> None:
    one = case(Dense(max_bytes=1), kernel, 2)
    one.compare(one.points(3, 1), one.points(5, 0), one.weights(5, 2, 2), "one pair a tile")
    check_log(one)


def test_radial_keeps_the_contract() -> None:
    """A user's callable in place of a kernel, by its Gaussian twin."""
    twin = kernels.Gaussian(0.7)
    custom = kernels.Radial(lambda s: torch.exp(s * (-0.5 / 0.7**2)))
    one = case(Dense(), twin, 3)
    z, x, w = one.points(9, 1), one.points(14, 0), one.weights(14, 2, 2)
    for name in ("value", "grad", "laplacian"):
        got, want = (
            getattr(Dense().sources(k, x).field(w), name)(z).numpy() for k in (custom, twin)
        )
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_the_contract_is_told_by_the_protocols() -> None:
    sources = Dense().sources(kernels.Gaussian(1.0), torch.zeros(2, 3))
    assert isinstance(Dense(), PairwiseSum)
    assert isinstance(sources, Sources)
    assert isinstance(sources.field(torch.ones(2)), Field)
    assert isinstance(sources.prepare(torch.zeros(4, 3)), Queries)


def test_far_apart_clouds_keep_their_digits() -> None:
    """|z|^2 + x^2 - 2 z.x would lose everything here: the distance is 1e-7 of the coordinates."""
    x, z = (
        torch.tensor([[1e8, 1e8]], dtype=torch.float64),
        torch.tensor([[1e8 + 10.0, 1e8 - 4.0]], dtype=torch.float64),
    )
    assert kernel_matrix(kernels.Energy(), z, x).item() == pytest.approx(-np.sqrt(116.0), rel=1e-15)


def test_a_bad_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="`max_bytes` must be >= 1, got 0"):
        Dense(max_bytes=0)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors made under it: `live` now, `peak` at most. Storages are counted
    once, and views not at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {tensor.untyped_storage()._cdata for tensor in tensors_in(args)}
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            self._watch(tensor.untyped_storage(), given)
        return out

    def _watch(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        if storage._cdata in self._known or storage._cdata in given:
            return
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)

        def freed() -> None:
            self._known.discard(key)
            self.live -= size

        weakref.finalize(storage, freed)


OPERATIONS: dict[str, Callable[[Field, torch.Tensor], Any]] = {
    "value": lambda field, z: field.value(z),
    "grad": lambda field, z: field.grad(z),
    "value_and_grad": lambda field, z: field.value_and_grad(z),
    "laplacian": lambda field, z: field.laplacian(z),
    "log": lambda field, z: field.log(z),
}


def peak_beyond_output(
    operation: str, kernel: kernels.Kernel, backend: Dense, *, q: int, n: int, d: int, k: int
) -> int:
    rng = np.random.default_rng(0)
    z, x = (
        torch.from_numpy(rng.standard_normal((q, d))),
        torch.from_numpy(rng.standard_normal((n, d))),
    )
    field = backend.sources(kernel, x).field(torch.from_numpy(rng.random((n, k))))
    with LiveBytes() as meter:
        out = OPERATIONS[operation](field, z)
    tensors = out if isinstance(out, tuple) else (out,)
    return meter.peak - sum(
        {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values()
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=names)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_memory_stays_within_the_stated_bound(operation: str, kernel: kernels.Kernel) -> None:
    """Beyond input and output, and a second copy of the output for log. One (Q, N) array alone
    would be 3.7 bounds.
    """
    if operation == "log" and kernel not in POSITIVE:
        pytest.skip("no logarithm")
    q, n, bound = 300, 200, 2**17
    for d, k in ((2, 1), (10, 3)):
        copies = q * k * (1 + d) * 8 if operation == "log" else 0
        peak = peak_beyond_output(operation, kernel, Dense(max_bytes=bound), q=q, n=n, d=d, k=k)
        assert 0.1 * bound < peak <= bound + copies


def test_the_meter_sees_one_large_tile() -> None:
    """The test above can fail: one tile of everything takes several (Q, N) arrays."""
    for operation in OPERATIONS:
        assert (
            peak_beyond_output(
                operation, kernels.Gaussian(0.7), Dense(max_bytes=2**30), q=300, n=200, d=2, k=1
            )
            >= 2 * 300 * 200 * 8
        )


def test_prepared_queries_keep_the_bound_too() -> None:
    """The kernel matrix is kept only where it fits."""
    z, x = torch.zeros(200, 2, dtype=torch.float64), torch.zeros(150, 2, dtype=torch.float64)
    assert Dense().sources(kernels.Gaussian(1.0), x).prepare(z).matrix is not None
    assert Dense(max_bytes=2**17).sources(kernels.Gaussian(1.0), x).prepare(z).matrix is None


@pytest.mark.parametrize(
    "backend", [Dense(), Compiled(), Auto(), Mesh(), Fourier(), Nystroem(), Culled()], ids=repr
)
def test_a_field_is_freed_with_its_last_reference(backend: PairwiseSum) -> None:
    """Not by the garbage collector, which is late: a field holds its points and what was made of
    them, of a million particles in each step.
    """
    rng = np.random.default_rng(0)
    x, z = torch.from_numpy(rng.normal(size=(300, 2))), torch.from_numpy(rng.normal(size=(500, 2)))
    gc.collect()
    gc.disable()
    try:
        field: Any = backend.sources(kernels.Gaussian(0.7), x).field(
            torch.from_numpy(rng.random(300))
        )
        field.value_and_grad(z), field.value(x), field.explain(z), field.promise(z)
        gone = weakref.ref(field)
        del field
        assert gone() is None
    finally:
        gc.enable()
