"""Every backend against sums in extended precision, on random problems that nobody chose
(differential.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from differential import ALL, case, check
from torch import Tensor

from particleflow.kernels import IMQ, Gaussian, Laplace, Matern32, Matern52, Radial
from particleflow.kernels.features import Landmarks, RandomWaves
from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, KeOps, Mesh, Nystroem
from particleflow.pairwise.inputs import COPIED

GRIDS = (1, 2, 3)
# The backend, its kernels, and dimensions: all, and those of the fast tests, which make little
# machine code.
BACKENDS: dict[str, tuple[Any, tuple[Any, ...], tuple[int, ...], tuple[int, ...]]] = {
    "dense": (Dense(), (*ALL, Radial), tuple(range(1, 11)), tuple(range(1, 11))),
    "compiled": (Compiled(), ALL, tuple(range(1, 11)), (10,)),
    "mesh": (Mesh(), (Gaussian, Matern32, Matern52, IMQ, Radial), GRIDS, (2,)),
    "fourier": (Fourier(), (*ALL, Radial), GRIDS, GRIDS),
    "culled": (Culled(), (Gaussian, Laplace, Matern32, Matern52), (1, 2, 3, 5), (2,)),
    "nystroem": (Nystroem(), (Gaussian, Matern32, Matern52, IMQ), tuple(range(1, 11)), (10,)),
    "auto": (Auto(), (*ALL, Radial), tuple(range(1, 11)), (2,)),
}
each_backend = pytest.mark.parametrize("name", BACKENDS)
pytestmark = pytest.mark.filterwarnings("ignore:.*sums .* exactly:RuntimeWarning")
CHUNKS, EACH = 10, 200


@pytest.fixture(autouse=True)
def _as_a_user_runs_it() -> Iterator[None]:
    """Without the run-time checks of types, which would take most of the time."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@each_backend
def test_sums_are_those_of_the_formulas(name: str) -> None:
    backend, kinds, _, dims = BACKENDS[name]
    for seed in range(24):
        # every other kernel: each has code and tables of its own to be made
        check(backend, case(10**6 + seed, kinds[1::2], dims, most=40), centred=name != "dense")


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_two_thousand_sums_are_those_of_the_formulas(name: str, chunk: int) -> None:
    backend, kinds, dims, _ = BACKENDS[name]
    for seed in range(EACH * chunk, EACH * (chunk + 1)):
        check(
            backend, case(seed, kinds, dims, most=60 if seed % 5 else 400), centred=name != "dense"
        )


@pytest.mark.slow
@pytest.mark.keops
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_two_thousand_sums_by_keops_are_those_of_the_formulas(chunk: int) -> None:
    """In two coordinates and for two kernels: every formula takes ten seconds to compile."""
    for seed in range(EACH * chunk, EACH * (chunk + 1)):
        check(KeOps(), case(seed, (Laplace, Matern32), (2,), most=60, columns=(0, 1, 3)))


def test_a_wrong_sum_is_seen() -> None:
    """The check fails on a bandwidth off by 1e-5, on a column not quite zero and on a NaN."""

    class Wrong:
        def __init__(self, spoil: Callable[[Tensor], Tensor]) -> None:
            self.spoil = spoil

        def sources(self, kernel: Any, points: Tensor) -> Any:
            return Spoilt(Dense().sources(kernel, points), self.spoil)

    class Spoilt:
        def __init__(self, inner: Any, spoil: Any) -> None:
            self.inner, self.spoil = inner, spoil

        def field(self, w: Tensor) -> Any:
            return Spoilt(self.inner.field(w), self.spoil)

        def __getattr__(self, name: str) -> Any:
            if name in ("value", "grad"):
                return lambda z: self.spoil(getattr(self.inner, name)(z))
            return getattr(self.inner, name)

    problem = case(3, (Gaussian,), (2,))
    check(Wrong(lambda t: t), problem)
    for spoil in (
        lambda t: t * (1 + 1e-4),
        lambda t: t + 1e-20 * (t == 0),
        lambda t: t * torch.nan,
    ):
        for seed in range(40):
            try:
                check(Wrong(spoil), case(seed, (Gaussian,), (2,)), centred=False)
            except AssertionError:
                break
        else:
            raise AssertionError("nothing was seen")


# Kinds of input, one by one.

X, Z = (
    torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 2)))
    for seed, n in ((0, 30), (1, 7))
)
W = torch.linspace(1, 2, 30, dtype=torch.float64)
KERNELS = {"mesh": Gaussian(0.5), "culled": Laplace(0.5), "nystroem": Gaussian(0.5)}


def answers(field: Any, z: Any) -> list[Tensor]:
    return [
        field.value(z),
        field.grad(z),
        *field.value_and_grad(z),
        field.laplacian(z),
        *field.log(z),
    ]


@each_backend
def test_points_that_are_moved_afterwards_change_no_sum(name: str) -> None:
    """Sources, weights and prepared queries are copies; memory that is shared with numpy is no
    exception.
    """
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    x, w, z = X.numpy().copy(), W.numpy().copy(), Z.numpy().copy()
    given = [torch.from_numpy(t) for t in (x, w, z)]
    sources = backend.sources(kernel, given[0])
    field, prepared = sources.field(given[1]), sources.prepare(given[2])
    untouched = backend.sources(kernel, X).field(W)
    want = answers(untouched, Z)
    for array in (x, w, z):
        array += 0.3
    for got, right in zip(answers(field, Z), want, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-12, atol=1e-12)
    for got, right in zip(answers(field, prepared), want, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-9)


@each_backend
def test_queries_that_move_between_two_sums_are_met_where_they_are(name: str) -> None:
    """What a field remembers of its last queries is not taken for others in the same memory."""
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    field = backend.sources(kernel, X).field(W)
    moving = Z.numpy().copy()
    z = torch.from_numpy(moving)
    answers(field, z)
    moving += 40.0
    for got, right in zip(
        answers(field, z), answers(backend.sources(kernel, X).field(W), Z + 40.0), strict=True
    ):
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-9)


@each_backend
def test_inference_tensors_are_summed(name: str) -> None:
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    want = answers(backend.sources(kernel, X).field(W), Z)
    with torch.inference_mode():
        x, w, z = X.clone(), W.clone(), Z.clone()
        within = answers(backend.sources(kernel, x).field(w), z)
    for got, beyond, right in zip(
        within, answers(backend.sources(kernel, x).field(w), z), want, strict=True
    ):
        torch.testing.assert_close(got, right, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(beyond, right, rtol=1e-12, atol=1e-12)


@each_backend
@pytest.mark.parametrize(
    "w",
    [
        torch.ones(30, dtype=torch.bool),
        torch.ones(30, dtype=torch.int64),
        torch.ones(30, dtype=torch.bfloat16),
    ],
)
def test_weights_of_other_real_types_are_converted(name: str, w: Tensor) -> None:
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    field = backend.sources(kernel, X)
    assert torch.equal(field.field(w).grad(Z), field.field(w.double()).grad(Z))


@each_backend
def test_weights_that_hold_no_numbers_are_refused(name: str) -> None:
    sources = BACKENDS[name][0].sources(KERNELS.get(name, Laplace(0.5)), X)
    with pytest.raises(
        TypeError,
        match=r"`w` must be a dense tensor, got one of layout torch\.sparse_coo: pass its numbers",
    ):
        sources.field(W.to_sparse())
    with pytest.raises(
        ValueError, match="`w` must be on the device of the points, cpu, got meta: move it"
    ):
        sources.field(W.to("meta"))
    with pytest.raises(
        ValueError, match="`z` must be on the device of the sources, cpu, got meta: move it"
    ):
        sources.field(W).value(Z.to("meta"))


@each_backend
def test_points_that_hold_no_numbers_are_refused(name: str) -> None:
    with pytest.raises(
        (TypeError, ValueError),
        match=(
            r"`points` must (hold numbers, got a tensor on the meta|be on the CPU for .*, got meta)"
        ),
    ):
        BACKENDS[name][0].sources(KERNELS.get(name, Laplace(0.5)), X.to("meta"))


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_column_beside_a_large_one_is_summed_as_alone(
    name: str, dtype: torch.dtype
) -> None:
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    sources, z = backend.sources(kernel, X.to(dtype)), Z.to(dtype)
    w = torch.stack([1e30 * W, 1e-30 * W, 0 * W, W], 1).to(dtype)
    together = sources.field(w)
    for k, scale in enumerate((1e30, 1e-30, 1.0, 1.0)):
        alone = sources.field(w[:, k])
        rtol = 10 * getattr(backend, "rtol", 0.0) + 1e-5
        torch.testing.assert_close(
            together.value(z)[:, k] / scale, alone.value(z) / scale, rtol=rtol, atol=rtol
        )
        torch.testing.assert_close(
            together.grad(z)[:, k] / scale, alone.grad(z) / scale, rtol=rtol, atol=60 * rtol
        )
    assert not together.value(z)[:, 2].any()
    assert not together.grad(z)[:, 2].any()


@each_backend
@pytest.mark.filterwarnings("error")
def test_inputs_that_require_grad_bring_no_warning(name: str) -> None:
    x, w, z = (t.clone().requires_grad_(True) for t in (X, W, Z))
    answers(BACKENDS[name][0].sources(KERNELS.get(name, Laplace(0.5)), x).field(w), z)


def test_sums_of_explicit_features_are_free_of_autograd_and_of_later_changes() -> None:
    from particleflow.clouds import Draws
    from particleflow.kernels.explicit import FeatureKernel
    from particleflow.pairwise.explicit import sources_of

    for features in (RandomWaves(20), Landmarks(10)):
        kernel = FeatureKernel(features.map(Gaussian(0.5), X, X, Draws(0)))
        x = X.clone().requires_grad_(True)
        sources = sources_of(kernel, x, Auto())
        w = W.clone().requires_grad_(True)
        field = sources.field(w)
        z = Z.clone().requires_grad_(True)
        value, grad = field.value_and_grad(z)
        assert not value.requires_grad
        assert not grad.requires_grad
        with torch.no_grad():
            x += 1
        torch.testing.assert_close(sources.field(w).value(z), value)


@each_backend
def test_a_large_tensor_that_is_changed_afterwards_is_refused(name: str) -> None:
    """It is not copied: a copy would take a tenth of a sum on a mesh."""
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    n = COPIED // 2 + 1
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((n, 2)))
    w, z = torch.from_numpy(rng.standard_normal(2 * n)), torch.zeros(3, 2, dtype=torch.float64)
    field = backend.sources(kernel, x).field(w[:n])
    x.add_(1)
    with pytest.raises(
        RuntimeError,
        match=(
            r"`points` was changed in place after sums were made of it: make the sources and the"
            r" field again, or"
        ),
    ):
        field.value(z)
    field = backend.sources(kernel, X.repeat(2 * n // 30 + 1, 1)[: 2 * n]).field(w)
    w.mul_(2)
    with pytest.raises(RuntimeError, match="`w` was changed in place"):
        field.grad(z)


@each_backend
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_large_array_that_numpy_moves_afterwards_is_refused(
    name: str, d: int, dtype: torch.dtype
) -> None:
    """torch counts no version of it: some numbers are looked at. Any one coordinate alone; NaNs are
    equal to themselves.
    """
    backend, kernel = BACKENDS[name][0], KERNELS.get(name, Laplace(0.5))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((COPIED + 7, d))).to(dtype)
    w, z = torch.ones(COPIED + 7, dtype=dtype), torch.zeros(3, d, dtype=dtype)
    w[0] = torch.nan
    for k in range(d):
        sources = backend.sources(kernel, x)
        x.numpy()[:, k] += 0.1
        with pytest.raises(
            RuntimeError, match=r"`points` was changed in place after sums were made of it"
        ):
            sources.field(w).explain(z)
    field = backend.sources(kernel, x).field(w)
    w.numpy()[::-1] = np.arange(len(w))
    with pytest.raises(RuntimeError, match="`w` was changed in place"):
        field.grad(z)
