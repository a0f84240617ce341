"""What every backend of a sum over pairs must satisfy, whatever its method: `check_backend(backend, kernel, d, dtype)`.

The truth is a plain double loop's worth of numpy in float64, from formulas in the distance r (the package's own are in s = r^2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from jaxtyping import config as jaxtyping_config
from torch import Tensor

from particleflow import kernels
from particleflow.pairwise import PairwiseSum

SMOOTH = [kernels.Gaussian(0.7), kernels.Matern32(0.7), kernels.Matern52(0.7), kernels.IMQ(0.7)]
KINKED = [kernels.Laplace(0.7), kernels.Energy()]
KERNELS = [*SMOOTH, *KINKED]
POSITIVE = [kernel for kernel in KERNELS if not isinstance(kernel, kernels.Energy)]

Formula = Callable[[np.ndarray], np.ndarray]


def formulas(kernel: kernels.Kernel) -> tuple[Formula, Formula, Formula]:
    """k, k' and k'' as functions of the distance r > 0."""
    l = getattr(kernel, "bandwidth", 1.0)
    b, c = math.sqrt(3) / l, math.sqrt(5) / l
    match kernel:
        case kernels.Gaussian():
            k = lambda r: np.exp(-(r**2) / (2 * l**2))
            return k, lambda r: -r / l**2 * k(r), lambda r: (r**2 / l**4 - 1 / l**2) * k(r)
        case kernels.Laplace():
            return (lambda r: np.exp(-r / l)), (lambda r: -np.exp(-r / l) / l), (lambda r: np.exp(-r / l) / l**2)
        case kernels.Matern32():
            e = lambda r: np.exp(-b * r)
            return (lambda r: (1 + b * r) * e(r)), (lambda r: -(b**2) * r * e(r)), (lambda r: (b * r - 1) * b**2 * e(r))
        case kernels.Matern52():
            e = lambda r: np.exp(-c * r)
            return (
                lambda r: (1 + c * r + (c * r) ** 2 / 3) * e(r),
                lambda r: -(c**2) * r * (1 + c * r) / 3 * e(r),
                lambda r: c**2 / 3 * ((c * r) ** 2 - c * r - 1) * e(r),
            )
        case kernels.IMQ():
            q = lambda r: 1 + r**2 / l**2
            return (lambda r: q(r) ** -0.5), (lambda r: -r / l**2 * q(r) ** -1.5), (lambda r: (2 * r**2 / l**2 - 1) / l**2 * q(r) ** -2.5)
        case kernels.Energy():
            return (lambda r: -r), (lambda r: -np.ones_like(r)), np.zeros_like
    raise AssertionError(f"no formula for {kernel}")


@dataclass(frozen=True)
class Sums:
    """The truth: value (Q, K), grad (Q, K, d), laplacian (Q, K), and the sums of the absolute values of their terms, which scale rounding."""

    value: np.ndarray
    grad: np.ndarray
    laplacian: np.ndarray
    value_scale: np.ndarray
    grad_scale: np.ndarray
    laplacian_scale: np.ndarray
    kernel: np.ndarray
    force: np.ndarray

    def log(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.log(self.kernel @ w), np.einsum("qnd,n->qd", self.force, w) / (self.kernel @ w)[:, None]


def naive(kernel: kernels.Kernel, z: Tensor, x: Tensor, w: Tensor) -> Sums:
    """sum_i w_i k(z, x_i) and derivatives; w (N, K). Coincident pairs exert no force; their laplacian is d k''(0)."""
    z64, x64, w64 = (t.double().numpy() for t in (z, x, w))
    k, dk, ddk = formulas(kernel)
    d = z64.shape[1]
    difference = z64[:, None, :] - x64[None, :, :]
    r = np.sqrt((difference**2).sum(-1))
    apart = np.where(r == 0, 1.0, r)
    value = k(r)
    force = np.where(r == 0, 0.0, dk(apart) / apart)[..., None] * difference
    bend, pull = ddk(r), np.where(r == 0, ddk(np.zeros_like(r)), dk(apart) / apart)
    return Sums(
        value=value @ w64,
        grad=np.einsum("qnd,nk->qkd", force, w64),
        laplacian=(bend + (d - 1) * pull) @ w64,
        value_scale=np.abs(value) @ np.abs(w64),
        grad_scale=np.linalg.norm(force, axis=-1) @ np.abs(w64),
        # the terms 4 s curvature and 2 d slope, whose difference loses digits
        laplacian_scale=(np.abs(bend) + d * np.abs(pull)) @ np.abs(w64),
        kernel=value,
        force=force,
    )


@dataclass(frozen=True)
class Case:
    """One backend, kernel, dimension and dtype.

    Errors are relative to the sum of the absolute values of a row's terms: what rounding allows where terms cancel. A backend that
    approximates passes `peak=True`: relative to the largest such row, and its own `rtol`.
    """

    backend: PairwiseSum
    kernel: kernels.Kernel
    d: int
    dtype: torch.dtype
    rtol: float
    peak: bool
    logarithm: bool

    def points(self, n: int, seed: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(scale * np.random.default_rng([seed, self.d]).standard_normal((n, self.d))).to(self.dtype)

    def weights(self, n: int, k: int, seed: int) -> Tensor:
        """Of both signs, some zero."""
        w = np.random.default_rng([seed, k]).standard_normal((n, k))
        w[:: max(2, n // 5)] = 0.0
        return torch.from_numpy(w).to(self.dtype)

    def close(self, got: Tensor, want: np.ndarray, scale: np.ndarray, what: str) -> None:
        assert got.dtype == self.dtype, f"{what}: dtype {got.dtype}"
        assert tuple(got.shape) == want.shape, f"{what}: shape {tuple(got.shape)}, not {want.shape}"
        allowed = self.rtol * (scale.max() if self.peak else scale)
        error = np.abs(got.double().numpy() - want)
        error, allowed = np.broadcast_arrays(error, allowed)
        # what lies below the smallest normal number of the dtype cannot be resolved
        worst = (error - allowed - 1e3 * torch.finfo(self.dtype).tiny).max()
        assert worst <= 0, f"{what}: error {error.max():.3g} over {allowed.max():.3g} for {self}"

    def compare(self, z: Tensor, x: Tensor, w: Tensor, what: str, *, laplacian: bool = True, kernel: kernels.Kernel | None = None) -> None:
        """Every sum against the truth; w (N, K)."""
        kernel = kernel or self.kernel
        want = naive(kernel, z, x, w)
        field = self.backend.sources(kernel, x).field(w)
        value, grad = field.value_and_grad(z)
        self.close(field.value(z), want.value, want.value_scale, f"{what}: value")
        self.close(field.grad(z), want.grad, want.grad_scale[..., None], f"{what}: grad")
        self.close(value, want.value, want.value_scale, f"{what}: value of value_and_grad")
        self.close(grad, want.grad, want.grad_scale[..., None], f"{what}: grad of value_and_grad")
        if laplacian:
            self.close(field.laplacian(z), want.laplacian, want.laplacian_scale, f"{what}: laplacian")


def check_backend(
    backend: PairwiseSum,
    kernel: kernels.Kernel,
    d: int,
    dtype: torch.dtype,
    *,
    rtol: float | None = None,
    peak: bool = False,
    logarithm: bool | None = None,
) -> None:
    """All of the contract of `particleflow.pairwise`.

    The default rtol is that of rounding, 1e-12 or 1e-5; `logarithm=False`: the backend has no log.
    """
    default = 1e-12 if dtype == torch.float64 else 1e-5
    if logarithm is None:
        logarithm = kernel in POSITIVE
    case = Case(backend, kernel, d, dtype, rtol or default, peak, logarithm)
    # The run-time checks of shapes and types (conftest.py) take half of the time, and say the same of every kernel.
    jaxtyping_config.update("jaxtyping_disable", not isinstance(kernel, kernels.Gaussian))
    try:
        for check in CHECKS:
            check(case)
    finally:
        jaxtyping_config.update("jaxtyping_disable", False)


def check_sums(case: Case) -> None:
    case.compare(case.points(31, 1), case.points(47, 0), case.weights(47, 1, 2), "Q != N")
    case.compare(case.points(47, 1), case.points(31, 0), case.weights(31, 3, 2), "K = 3")
    case.compare(case.points(5, 1), case.points(1, 0), case.weights(1, 2, 3) + 1, "N = 1")
    case.compare(case.points(1, 1), case.points(6, 0), case.weights(6, 1, 3), "Q = 1")


def check_one_weight_vector(case: Case) -> None:
    """w (N,) gives (Q,) and (Q, d): the only column of w (N, 1)."""
    z, x, w = case.points(9, 1), case.points(14, 0), case.weights(14, 1, 2)
    want = naive(case.kernel, z, x, w)
    field = case.backend.sources(case.kernel, x).field(w[:, 0])
    value, grad = field.value_and_grad(z)
    case.close(value, want.value[:, 0], want.value_scale[:, 0], "w (N,): value")
    case.close(grad, want.grad[:, 0], want.grad_scale, "w (N,): grad")
    case.close(field.laplacian(z), want.laplacian[:, 0], want.laplacian_scale[:, 0], "w (N,): laplacian")


def check_coincident(case: Case) -> None:
    """Duplicate sources, and queries that lie on them: no NaN, no force between points that coincide."""
    x = case.points(20, 0)
    x = torch.cat([x, x[:7], x[:2]])
    z = torch.cat([x[:9], case.points(4, 1)])
    case.compare(z, x, case.weights(len(x), 2, 3), "coincident", laplacian=case.kernel in SMOOTH)
    alone = case.backend.sources(case.kernel, x[:1]).field(x.new_ones(1))
    if case.peak:
        steepest = np.abs(formulas(case.kernel)[1](np.linspace(1e-3, 10.0, 1000)))
        case.close(alone.grad(x[:1]), np.zeros((1, case.d)), steepest, "the force of a point on itself")
    else:
        assert torch.equal(alone.grad(x[:1]), torch.zeros_like(x[:1])), "the force of a point on itself must be exactly zero"
    assert not alone.laplacian(x[:1]).isnan().any(), "the laplacian at a source must not be NaN"


def check_layout(case: Case) -> None:
    """Transposed, strided and expanded input gives what its copy gives, and is left alone."""
    x, z, w = case.points(24, 0), case.points(11, 1), case.weights(24, 3, 2)
    strided = torch.empty(48, case.d, dtype=case.dtype)[::2].copy_(x)
    transposed = z.T.contiguous().T
    columns = w.T.contiguous().T
    kept = strided.clone(), transposed.clone(), columns.clone()
    case.compare(transposed, strided, columns, "strided")
    case.compare(z[:1].expand(6, -1), x, w[:, :1].expand(-1, 2), "expanded")
    assert all(torch.equal(a, b) for a, b in zip((strided, transposed, columns), kept, strict=True)), "the input was changed"


def check_places_and_scales(case: Case) -> None:
    """A cloud at 1e6 from the origin, and extents of 1e-3 and 1e3, the bandwidth following where there is one."""
    case.compare(case.points(17, 1) + 1e6, case.points(23, 0) + 1e6, case.weights(23, 1, 2), "offset 1e6", laplacian=case.kernel in SMOOTH)
    for extent in (1e-3, 1e3):
        scaled = type(case.kernel)(case.kernel.bandwidth * extent) if hasattr(case.kernel, "bandwidth") else case.kernel
        case.compare(case.points(17, 1, extent), case.points(23, 0, extent), case.weights(23, 1, 2), f"extent {extent}", kernel=scaled)


def check_nan_queries(case: Case) -> None:
    """A NaN query gives a NaN row and leaves the others alone."""
    x, z, w = case.points(24, 0), case.points(11, 1), case.weights(24, 1, 2)[:, 0]
    field = case.backend.sources(case.kernel, x).field(w)
    broken = z.clone()
    broken[3, -1] = math.nan
    broken[8] = math.nan
    good = torch.ones(11, dtype=torch.bool)
    good[[3, 8]] = False
    for name in ("value", "grad", "laplacian"):
        clean, got = getattr(field, name)(z), getattr(field, name)(broken)
        assert got[~good].isnan().reshape(2, -1).any(1).all(), f"{name}: a NaN query must give a NaN row"
        case.close(got[good], clean[good].double().numpy(), clean.abs().max().double().numpy(), f"{name} beside NaN queries")


def check_addition(case: Case) -> None:
    """Fields of one kernel add, whatever their sources and numbers of points; a field reduces to itself on one machine."""
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    w, v = case.weights(19, 1, 3), case.weights(8, 1, 4)
    total = case.backend.sources(case.kernel, x).field(w) + case.backend.sources(case.kernel, y).field(v)
    want = naive(case.kernel, z, torch.cat([x, y]), torch.cat([w, v]))
    for field, what in ((total, "sum"), (total.reduce(), "reduced sum")):
        value, grad = field.value_and_grad(z)
        case.close(field.value(z), want.value, want.value_scale, f"{what}: value")
        case.close(value, want.value, want.value_scale, f"{what}: value of value_and_grad")
        case.close(grad, want.grad, want.grad_scale[..., None], f"{what}: grad")
        case.close(field.laplacian(z), want.laplacian, want.laplacian_scale, f"{what}: laplacian")


def check_prepared(case: Case) -> None:
    """Prepared queries give what the points give, for a field of the same sources, another's, and their sum."""
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    sources = case.backend.sources(case.kernel, x)
    queries = sources.prepare(z)
    assert torch.equal(queries.points, z)
    own = sources.field(case.weights(19, 2, 3))
    others = case.backend.sources(case.kernel, y).field(case.weights(8, 2, 4))
    for field, what in ((own, "own"), (others, "another's"), (own + others, "sum")):
        for name in ("value", "grad", "laplacian"):
            plain = getattr(field, name)(z).double().numpy()
            case.close(getattr(field, name)(queries), plain, np.abs(plain).max(), f"prepared queries, {what} field: {name}")


def check_repeatable(case: Case) -> None:
    """The same input gives the same bits, from the same field and from a new one."""
    z, x, w = case.points(31, 1), case.points(47, 0), case.weights(47, 2, 2)
    field, again = (case.backend.sources(case.kernel, x).field(w) for _ in range(2))
    for name in ("value", "grad", "laplacian"):
        first = getattr(field, name)(z)
        assert torch.equal(first, getattr(field, name)(z)), f"{name} of one field is not repeatable"
        assert torch.equal(first, getattr(again, name)(z)), f"{name} of a new field is not repeatable"


def check_log(case: Case) -> None:
    """Logarithm and its gradient: against the sums nearby, against log-sum-exp where the sums underflow, with zero weights, K vectors, two parts."""
    if not case.logarithm:
        return
    z, x, y = case.points(13, 2), case.points(19, 0), case.points(8, 1)
    w, v = case.weights(19, 2, 3).abs(), case.weights(8, 2, 4).abs()
    field = case.backend.sources(case.kernel, x).field(w) + case.backend.sources(case.kernel, y).field(v)
    value, grad = field.log(z)
    both = naive(case.kernel, z, torch.cat([x, y]), torch.cat([w, v]))
    for k in range(2):
        want, want_grad = both.log(torch.cat([w, v])[:, k].double().numpy())
        scale = both.grad_scale[:, k] / both.value[:, k]
        case.close(value[:, k], want, 1 + np.abs(want), "log")
        case.close(grad[:, k], want_grad, scale[:, None], "log: gradient")
    far = z + 60.0
    value, grad = case.backend.sources(case.kernel, x).field(w[:, 0]).log(far)
    want, want_grad = _far_log(case.kernel, far, x, w[:, 0])
    case.close(value, want, 1 + np.abs(want), "log far away")
    case.close(grad, want_grad, np.abs(want_grad).max(1, keepdims=True), "log far away: gradient")
    nothing, no_grad = case.backend.sources(case.kernel, x).field(torch.zeros_like(w[:, 0])).log(z)
    assert (nothing == -math.inf).all(), "the log of an empty sum must be -inf"
    assert torch.equal(no_grad, torch.zeros_like(z)), "the log of an empty sum has no force"
    broken = z.clone()
    broken[5] = math.nan
    value, grad = field.log(broken)
    assert value[5].isnan().all(), "a NaN query must give a NaN log"
    assert grad[5].isnan().all(), "a NaN query must give a NaN gradient of the log"
    assert not value[:5].isnan().any(), "a NaN query must leave the other rows alone"


def check_refusals(case: Case) -> None:
    """Weights of the wrong length, and the logarithm of negative ones."""
    x, z = case.points(9, 0), case.points(4, 1)
    sources = case.backend.sources(case.kernel, x)
    for shape in ((8,), (9, 2, 1)):
        with pytest.raises(ValueError, match=re.escape(f"`w` must be (N,) or (N, K) with N = 9, got {shape}")):
            sources.field(x.new_ones(shape))
    if case.logarithm:
        negative = x.new_ones(9)
        negative[4] = -1e-3
        field = sources.field(negative)
        with pytest.raises(ValueError, match="`w` must be >= 0 for the logarithm of a sum"):
            field.log(z)
    elif isinstance(case.kernel, kernels.Energy):
        field = sources.field(x.new_ones(9))
        with pytest.raises(TypeError, match="`kernel` must be positive for the logarithm of a sum"):
            field.log(z)


def _far_log(kernel: kernels.Kernel, z: Tensor, x: Tensor, w: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """log sum_i w_i k and its gradient by log-sum-exp in numpy, from log k and (log k)' in r."""
    l = kernel.bandwidth
    a = {kernels.Matern32: math.sqrt(3) / l, kernels.Matern52: math.sqrt(5) / l}.get(type(kernel), 1 / l)
    log_k: Formula
    slope: Formula
    match kernel:
        case kernels.Gaussian():
            log_k, slope = (lambda r: -(r**2) / (2 * l**2)), (lambda r: -r / l**2)
        case kernels.Laplace():
            log_k, slope = (lambda r: -a * r), (lambda r: -a + 0 * r)
        case kernels.Matern32():
            log_k, slope = (lambda r: np.log1p(a * r) - a * r), (lambda r: a / (1 + a * r) - a)
        case kernels.Matern52():
            q = lambda r: 1 + a * r + (a * r) ** 2 / 3
            log_k, slope = (lambda r: np.log(q(r)) - a * r), (lambda r: (a + 2 * a**2 * r / 3) / q(r) - a)
        case _:
            log_k, slope = (lambda r: -0.5 * np.log1p(r**2 / l**2)), (lambda r: -r / (l**2 + r**2))
    difference = z.double().numpy()[:, None] - x.double().numpy()[None]
    r = np.linalg.norm(difference, axis=-1)
    with np.errstate(divide="ignore"):
        exponent = log_k(r) + np.log(w.double().numpy())
    top = exponent.max(1, keepdims=True)
    share = np.exp(exponent - top)
    total = share.sum(1, keepdims=True)
    return (top + np.log(total))[:, 0], ((share * slope(r) / r)[..., None] * difference).sum(1) / total


CHECKS = (
    check_sums,
    check_one_weight_vector,
    check_coincident,
    check_layout,
    check_places_and_scales,
    check_nan_queries,
    check_addition,
    check_prepared,
    check_repeatable,
    check_log,
    check_refusals,
)
