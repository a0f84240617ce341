"""`check_backend`: the built-in ones pass, and one with a broken clause is refused, with that
clause in the message.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from refusals import refused
from torch import Tensor

from particleflow import kernels, pairwise
from particleflow.pairwise import Dense, Promise
from particleflow.pairwise.exact.sorted import Sorted
from particleflow.testing import check_backend

pytestmark = pytest.mark.usefixtures("unchecked")
NUMBERS = itertools.count()
GAUSSIAN, LAPLACE = kernels.Gaussian(0.7), kernels.Laplace(0.7)


@pytest.mark.parametrize(
    "backend",
    [
        Dense(),
        Dense(max_bytes=12000),
        pairwise.Auto(),
        pairwise.Compiled(),
        pairwise.Fourier(),
        pairwise.Mesh(1e-3),
        pairwise.Culled(),
        pairwise.Nystroem(rank=64),
    ],
    ids=lambda backend: repr(backend)[:30],
)
def test_backends(backend: Any) -> None:
    """In one case; the tests of each have more kernels, dimensions and dtypes."""
    exact = isinstance(backend, Dense | pairwise.Auto | pairwise.Compiled)
    check_backend(backend, rtol=None if exact else 2e-3)


def test_sorting() -> None:
    check_backend(Sorted(), LAPLACE, dim=1)


# ---------------------------------------------------------------- one broken clause each


class Plain:
    """A whole backend, whose parts are changed below: one matrix of all pairs."""

    def __init__(self, **changed: Any) -> None:
        self.field = type("Field", (PlainField,), changed)

    def __repr__(self) -> str:
        return "Plain()"

    def sources(self, kernel: Any, points: Tensor) -> Any:
        return PlainSources(self, kernel, points.detach().clone())


class PlainSources:
    def __init__(self, backend: Any, kernel: Any, points: Tensor) -> None:
        self.backend, self.kernel, self.points = backend, kernel, points

    def field(self, w: Tensor) -> Any:
        if w.ndim not in (1, 2) or len(w) != len(self.points):
            raise ValueError(f"`w` must be (N,) or (N, K), got {tuple(w.shape)}")
        return self.backend.field([(self, w.detach().clone())])

    def prepare(self, z: Tensor) -> Any:
        return PlainQueries(z.detach().clone())


class PlainQueries:
    def __init__(self, points: Tensor) -> None:
        self.points = points


class PlainField:
    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __add__(self, other: Any) -> Any:
        return type(self)(self.parts + other.parts)

    def reduce(self) -> Any:
        return self

    def summed(self, term: Callable[..., Tensor], z: Any) -> Tensor:
        """sum_i w_i term, (Q, ...) or (Q, K, ...); each column of w is scaled to at most one."""
        z = z.detach() if isinstance(z, Tensor) else z.points
        total = 0.0
        for sources, w in self.parts:
            size = w.abs().amax(0).clamp_min(torch.finfo(w.dtype).tiny)
            difference = z[:, None] - sources.points
            values = term(sources.kernel, difference, (difference**2).sum(2))
            sums = torch.tensordot(values, w / size, dims=([1], [0]))
            if values.ndim == 3:
                sums, size = (sums.movedim(1, -1), size[:, None]) if w.ndim == 2 else (sums, size)
            total = total + sums * size
        lost = ~torch.isfinite(z).all(1)
        return total.masked_fill(lost.reshape(-1, *[1] * (total.ndim - 1)), math.nan)

    def value(self, z: Any) -> Tensor:
        return self.summed(lambda kernel, difference, s: kernel.profile(s), z)

    def grad(self, z: Any) -> Tensor:
        return self.summed(
            lambda kernel, difference, s: 2 * kernel.slope(s)[..., None] * difference, z
        )

    def value_and_grad(self, z: Any) -> tuple[Tensor, Tensor]:
        return self.value(z), self.grad(z)

    def laplacian(self, z: Any) -> Tensor:
        d = self.parts[0][0].points.shape[1]
        return self.summed(
            lambda kernel, difference, s: 4 * s * kernel.curvature(s) + 2 * d * kernel.slope(s), z
        )

    def log(self, z: Any) -> Any:
        if any(bool((w < 0).any()) for _, w in self.parts):
            raise ValueError("`w` must be >= 0 for the logarithm of a sum")
        if not isinstance(self.parts[0][0].kernel, kernels.contract.PositiveKernel):
            raise TypeError("`kernel` must have a logarithm")
        exact = [
            Dense().sources(sources.kernel, sources.points).field(w) for sources, w in self.parts
        ]
        return sum(exact[1:], exact[0]).log(z)

    def explain(self, z: Any) -> Any:
        return {"backend": "Plain", "why": "asked for"}

    def promise(self, z: Any) -> Any:
        return None


def _sources(change: Callable[[Any], Any]) -> Any:
    """A backend whose sources are changed before they are handed out."""

    class Changed(Plain):
        def sources(self, kernel: Any, points: Tensor) -> Any:
            return change(super().sources(kernel, points))

    return Changed()


def _shared(share: str) -> Any:
    """A backend that keeps the caller's points or weights in the place of copies."""

    class Sharing(PlainSources):
        def field(self, w: Tensor) -> Any:
            return self.backend.field([(self, w.detach() if share == "w" else w.detach().clone())])

    class Backend(Plain):
        def sources(self, kernel: Any, points: Tensor) -> Any:
            return Sharing(
                self, kernel, points.detach() if share == "points" else points.detach().clone()
            )

    return Backend()


def _with(sources: Any, **changed: Any) -> Any:
    vars(sources).update(changed)
    return sources


def _large_shared(sources: Any) -> Any:
    """Large weights are not copied, and nobody looks whether they were changed."""
    field = sources.field
    return _with(
        sources,
        field=lambda w: sources.backend.field([(sources, w)]) if w.numel() > 2**17 else field(w),
    )


def _levelless(self: Any, z: Any) -> Tensor:
    """The products with w^2 / w leave the numbers of the dtype."""
    return torch.stack(
        [
            self.parts[0][1].square().sum() * 0 + column
            for column in PlainField.value(self, z).unbind(0)
        ]
    )


def _counting(self: Any, z: Any) -> Tensor:
    answer = PlainField.value(self, z)
    self.calls = getattr(self, "calls", 0) + (len(answer) == 31)
    return answer * (1 + 1e-14 * self.calls)


def _of_the_object(self: Any, z: Any) -> Tensor:
    number = vars(self).setdefault("number", next(NUMBERS)) % 50
    return PlainField.value(self, z) * (1 + 4e-16 * number)


def _with_log(change: Callable[[Tensor, Tensor], Any]) -> Any:
    return Plain(log=lambda self, z: change(*PlainField.log(self, z)))


def _in_place(self: Any, z: Any) -> Tensor:
    answer = PlainField.laplacian(self, z)
    if isinstance(z, Tensor) and z.stride(0) == 1 and not z.requires_grad:
        z.mul_(2.0)
    return answer


def _graph(self: Any, z: Any) -> Tensor:
    answer = PlainField.value(self, z)
    return answer + 0 * z.sum() if isinstance(z, Tensor) and z.requires_grad else answer


def _parts(self: Any, other: Any) -> Any:
    return type(self)(self.parts)


def _first_of_prepared(self: Any, z: Any) -> Tensor:
    return PlainField.value(self, z) if isinstance(z, Tensor) else PlainField.value(self, z) * 1.001


def _nan_when_alone(self: Any, z: Any) -> Tensor:
    answer = PlainField.laplacian(self, z)
    return (
        answer * math.nan
        if len(self.parts[0][1]) == 1 and len(answer) == 1 and self.parts[0][1].ndim == 1
        else answer
    )


def _scaled_alone(name: str) -> Callable[..., Tensor]:
    """Wrong for weights (N,) alone."""
    return lambda self, z: (
        getattr(PlainField, name)(self, z) * (1.001 if self.parts[0][1].ndim == 1 else 1.0)
    )


def _own_force(self: Any, z: Any) -> Tensor:
    return PlainField.grad(self, z) + (
        1e-16 if len(self.parts[0][1]) == 1 and self.parts[0][1].ndim == 1 else 0.0
    )


BROKEN: dict[str, tuple[str, Callable[[], Any]]] = {
    "a class": (r"a backend must have sources\(kernel, points\)", lambda: Dense),
    "an exception": (
        r"sources\(kernel, points\) must work, got ZeroDivisionError",
        lambda: _sources(lambda sources: 1 / 0),
    ),
    "no prepare": (
        "must have points, field and prepare",
        lambda: _sources(lambda sources: type("Own", (), {"field": sources.field, "points": 0})()),
    ),
    "queries without points": (
        r"prepare\(z\) must have points",
        lambda: _sources(lambda sources: _with(sources, prepare=lambda z: 3)),
    ),
    "no laplacian": (
        r"field\(w\) must have log, reduce",
        lambda: _sources(lambda sources: _with(sources, field=lambda w: 3)),
    ),
    "other points": (
        "sources must tell their points",
        lambda: _sources(lambda sources: _with(sources, points=sources.points + 1e-9)),
    ),
    "another value": (
        r"value \(Q != N\) must be the sum of numpy",
        lambda: Plain(value=lambda self, z: PlainField.value(self, z) * (1 + 1e-10)),
    ),
    "another gradient": (
        r"grad \(Q != N\) must be the sum",
        lambda: Plain(grad=lambda self, z: 0.5 * PlainField.grad(self, z)),
    ),
    "another pair": (
        "the gradient of value_and_grad",
        lambda: Plain(value_and_grad=lambda self, z: (self.value(z), -self.grad(z))),
    ),
    "another laplacian": (
        r"laplacian \(Q != N\) must be the sum",
        lambda: Plain(laplacian=lambda self, z: self.value(z)),
    ),
    "one axis less": (
        r"value \(Q != N\) must have the shape",
        lambda: Plain(value=lambda self, z: PlainField.value(self, z).squeeze(-1)),
    ),
    "float64 always": (
        "must have the dtype torch.float32",
        lambda: Plain(value=lambda self, z: PlainField.value(self, z).double()),
    ),
    "another sum of one vector": (
        r"value \(w \(N,\)\) must be the sum",
        lambda: Plain(value=_scaled_alone("value")),
    ),
    "another gradient of one vector": (
        r"grad \(w \(N,\)\) must be the sum",
        lambda: Plain(
            grad=_scaled_alone("grad"),
            value_and_grad=lambda self, z: (PlainField.value(self, z), PlainField.grad(self, z)),
        ),
    ),
    "another laplacian of one vector": (
        r"laplacian \(w \(N,\)\) must be the sum",
        lambda: Plain(laplacian=_scaled_alone("laplacian")),
    ),
    "another value in the pair": (
        r"the value of value_and_grad \(Q != N\) must be the sum",
        lambda: Plain(value_and_grad=lambda self, z: (-self.value(z), self.grad(z))),
    ),
    "a force on itself": (
        "the force of a point on itself must be exactly zero",
        lambda: Plain(grad=_own_force),
    ),
    "a laplacian of NaN": (
        "the laplacian at a source must be a number",
        lambda: Plain(laplacian=_nan_when_alone),
    ),
    "queries in place": ("a sum must not change its input", lambda: Plain(laplacian=_in_place)),
    "a graph": ("must be outside of autograd's graph", lambda: Plain(value=_graph)),
    "the caller's points": (
        "a field must not see what is written to its input later",
        lambda: _shared("points"),
    ),
    "the caller's weights": (
        "a field must not see what is written to its input later",
        lambda: _shared("w"),
    ),
    "the caller's large weights": (
        "a field must not sum large weights that were changed in place",
        lambda: _sources(_large_shared),
    ),
    "products that overflow": (
        r"value \(weights times 2\^900 and 2\^-900\)",
        lambda: Plain(value=_levelless),
    ),
    "a number at infinity": (
        "value must be NaN at a query that is not finite",
        lambda: Plain(value=lambda self, z: PlainField.value(self, z).nan_to_num(0.0)),
    ),
    "NaN everywhere": (
        "value beside queries that are not finite",
        lambda: Plain(
            value=lambda self, z: PlainField.value(self, z) + 0 * PlainField.value(self, z).sum()
        ),
    ),
    "one part of a sum": (r"value \(of a sum of fields\)", lambda: Plain(__add__=_parts)),
    "a part reduced": (
        r"value \(of a reduced sum of fields\)",
        lambda: Plain(reduce=lambda self: type(self)(self.parts[:1])),
    ),
    "other queries": (
        "prepared queries must tell the points that they were made of",
        lambda: _sources(lambda sources: _with(sources, prepare=lambda z: PlainQueries(z + 1e-9))),
    ),
    "another sum of prepared queries": (
        r"value \(prepared queries, own field\)",
        lambda: Plain(value=_first_of_prepared),
    ),
    "a state": (
        "the same input must give the same bits of value, got others when asked again",
        lambda: Plain(value=_counting),
    ),
    "bits of the object": (
        "the same input must give the same bits of value, got others from a new field",
        lambda: Plain(value=_of_the_object),
    ),
    "another logarithm": (
        "log must be the sum of numpy",
        lambda: _with_log(lambda value, grad: (value + 1e-9, grad)),
    ),
    "another gradient of it": (
        "the gradient of log must be the sum",
        lambda: _with_log(lambda value, grad: (value, grad * (1 + 1e-9))),
    ),
    "a gradient of it without columns": (
        "the gradient of log must have the shape",
        lambda: _with_log(lambda value, grad: (value, grad[:, 0])),
    ),
    "a gradient of it that underflows": (
        "the gradient of log far away",
        lambda: _with_log(
            lambda value, grad: (value, grad.masked_fill((value < -1e3)[..., None], 0.0))
        ),
    ),
    "a logarithm that underflows": (
        "log far away, where sums underflow",
        lambda: _with_log(lambda value, grad: (value.exp().log(), grad)),
    ),
    "an empty sum of 0": (
        "the log of an empty sum must be -inf",
        lambda: _with_log(lambda value, grad: (value.clamp_min(-1e4), grad)),
    ),
    "a force of nothing": (
        "the log of an empty sum must have no force",
        lambda: _with_log(
            lambda value, grad: (value, grad + (value == -math.inf)[..., None] * 1.0)
        ),
    ),
    "a logarithm at infinity": (
        "log must be NaN at a query that is not finite",
        lambda: _with_log(lambda value, grad: (value.nan_to_num(0.0, neginf=-math.inf), grad)),
    ),
    "NaN in all logarithms": (
        "a query that is not finite must leave the other rows alone, got NaN in log",
        lambda: _with_log(
            lambda value, grad: (value + 0 * value.sum() if value.isnan().any() else value, grad)
        ),
    ),
    "weights of any shape": (
        "must be refused by a ValueError that names `w`, got no ValueError"
        "|must be refused by a ValueError",
        lambda: _sources(
            lambda sources: _with(
                sources, field=lambda w: sources.backend.field([(sources, w.detach().clone())])
            )
        ),
    ),
    "negative weights": (
        "the logarithm with a negative weight must be refused",
        lambda: Plain(
            log=lambda self, z: PlainField.log(type(self)([(s, w.abs()) for s, w in self.parts]), z)
        ),
    ),
    "no reason": (
        r"explain\(z\) must tell `backend` and `why`",
        lambda: Plain(explain=lambda self, z: {"backend": "Plain"}),
    ),
    "a pair for a promise": (
        r"promise\(z\) must be a Promise or None",
        lambda: Plain(promise=lambda self, z: (1e-3, 1e-3)),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_backends_are_refused(name: str) -> None:
    clause, made = BROKEN[name]
    refused(
        check_backend,
        made(),
        clause,
        dtype=torch.float32 if name == "float64 always" else torch.float64,
    )


def test_a_logarithm_that_a_kernel_has_not_is_refused() -> None:
    refused(
        check_backend,
        Plain(log=PlainField.value),
        "the logarithm of a kernel without log_profile must be refused",
        kernel=kernels.Energy(),
    )


def test_a_force_of_a_point_on_itself_is_refused_of_a_backend_that_approximates() -> None:
    def pushed(self: Any, z: Any) -> Tensor:
        alone = self.parts[0][1].ndim == 1 and len(self.parts[0][1]) == 1
        return PlainField.grad(self, z) + (1.0 if alone else 0.0)

    refused(
        check_backend,
        Plain(grad=pushed),
        "the force of a point on itself must be the sum of numpy",
        rtol=1e-3,
    )


@pytest.mark.parametrize("broken", ["value", "grad"])
def test_a_promise_that_is_not_kept_is_refused(broken: str) -> None:

    def off(self: Any, z: Any) -> Tensor:
        return getattr(PlainField, broken)(self, z) + (1e-5 if len(self.parts[0][1]) > 100 else 0.0)

    changed = {broken: off, "promise": lambda self, z: Promise(1e-6, 1e-6)}
    refused(check_backend, Plain(**changed), f"the promise of {broken} must be kept", rtol=1e-3)


def test_bits_in_threads_are_compared() -> None:
    """A field that writes what it is asked for into itself, and waits: alone it is right."""
    import time

    def kept(self: Any, z: Any) -> Tensor:
        self.last = PlainField.value(self, z)
        if len(self.last) == 31:
            self.asked = getattr(self, "asked", 0) + 1
            time.sleep(0.005)
            self.asked -= 1
        return self.last * (1 + 1e-14 * getattr(self, "asked", 0))

    refused(
        check_backend,
        Plain(value=kept),
        "the same input must give the same bits of value, got others in threads",
    )


@pytest.mark.parametrize(
    "kernel", [GAUSSIAN, LAPLACE, kernels.Energy()], ids=lambda kernel: type(kernel).__name__
)
def test_the_backend_that_is_broken_above_is_whole(kernel: Any) -> None:
    check_backend(Plain(), kernel)
