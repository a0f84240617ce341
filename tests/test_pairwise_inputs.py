"""What sums over pairs refuse: points, queries and weights that are none, of every backend, before
anything is summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.kernels import Gaussian
from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, Mesh, Nystroem

BACKENDS = [Auto(), Compiled(), Culled(), Dense(), Fourier(), Mesh(), Nystroem()]
KERNEL = Gaussian(0.5)


@pytest.fixture(autouse=True)
def _as_a_user_runs_it() -> Iterator[None]:
    """Without the run-time checks of types, which would refuse some of it first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


X, Z, W = (
    torch.randn(30, 2, generator=torch.Generator().manual_seed(0)),
    torch.zeros(7, 2),
    torch.ones(30),
)
each_backend = pytest.mark.parametrize(
    "backend", BACKENDS, ids=lambda backend: type(backend).__name__
)

BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "one axis": (
        torch.zeros(30),
        ValueError,
        r"must be \(n, d\), one row a point, got shape \(30,\): one coordinate per point is",
    ),
    "three axes": (
        torch.zeros(3, 5, 2),
        ValueError,
        r"must be \(n, d\), one row a point, got shape \(3, 5, 2\)",
    ),
    "no points": (
        torch.zeros(0, 2),
        ValueError,
        r"must hold at least one point of at least one coordinate, got shape \(0, 2\)",
    ),
    "no coordinates": (
        torch.zeros(30, 0),
        ValueError,
        r"must hold at least one point of at least one coordinate, got shape \(30, 0\)",
    ),
    "whole numbers": (
        torch.zeros(30, 2, dtype=torch.int64),
        TypeError,
        "must be float32 or float64, got torch.int64: convert it with",
    ),
    "half precision": (
        torch.zeros(30, 2, dtype=torch.float16),
        TypeError,
        "must be float32 or float64, got torch.float16: convert it with",
    ),
    "a list": (
        [[0.0, 1.0]],
        TypeError,
        r"must be an \(n, d\) tensor, got list: convert it with torch.as_tensor",
    ),
}
each_bad = pytest.mark.parametrize(("value", "error", "told"), BAD.values(), ids=BAD.keys())


def takers(backend: Any) -> list[Callable[[Any], Any]]:
    """All that takes queries."""
    sources = backend.sources(KERNEL, X)
    field = sources.field(W)
    return [
        sources.prepare,
        field.value,
        field.grad,
        field.value_and_grad,
        field.laplacian,
        field.log,
        field.promise,
        field.explain,
        field.audit,
    ]


@each_backend
@each_bad
def test_sources_must_be_points(
    backend: Any, value: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=f"`points` {told}"):
        backend.sources(KERNEL, value)


@each_backend
@each_bad
def test_queries_must_be_points(
    backend: Any, value: Any, error: type[Exception], told: str
) -> None:
    for sum_of in takers(backend):
        with pytest.raises(error, match=f"`z` {told}"):
            sum_of(value)


@each_backend
@pytest.mark.parametrize("width", [1, 3])
def test_queries_of_another_width_are_refused(backend: Any, width: int) -> None:
    for sum_of in takers(backend):
        with pytest.raises(
            ValueError,
            match=rf"`z` must have the 2 coordinates of the sources, got shape \(7, {width}\)",
        ):
            sum_of(torch.zeros(7, width))


@each_backend
@pytest.mark.parametrize("w", [torch.ones(29), torch.ones(30, 2, 2), torch.ones(())])
def test_weights_of_another_length_are_refused(backend: Any, w: Tensor) -> None:
    with pytest.raises(ValueError, match=r"`w` must be \(N,\) or \(N, K\) with N = 30, got"):
        backend.sources(KERNEL, X).field(w)


@each_backend
@pytest.mark.parametrize("w", [torch.ones(30, dtype=torch.complex64), [1.0] * 30])
def test_weights_must_be_real_tensors(backend: Any, w: Any) -> None:
    with pytest.raises(TypeError, match="`w` must be a tensor of real numbers, got"):
        backend.sources(KERNEL, X).field(w)


@pytest.mark.parametrize(
    ("pairwise", "told"), [("mesh", "'mesh'"), (Mesh, "the class Mesh"), (None, "None")]
)
def test_what_is_no_backend_is_refused_where_a_flow_is_made(pairwise: Any, told: str) -> None:
    for make in (
        lambda: pf.mmd_flow(KERNEL, pairwise=pairwise),
        lambda: pf.kale_flow(KERNEL, lam=0.1, pairwise=pairwise),
        lambda: pf.estimators.KDE(KERNEL, pairwise=pairwise),
        lambda: pf.metrics.MMD2(KERNEL, pairwise=pairwise),
    ):
        with pytest.raises(
            TypeError, match=f"`pairwise` must be a backend such as pf.pairwise.Auto.*, got {told}"
        ):
            make()
