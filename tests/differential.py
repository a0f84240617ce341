"""Random sums over pairs, and their values by the formulas in the kernels' docstrings, in extended
precision: nothing of the package sums here.

`case(seed, kinds)` draws a problem that no one chose: kernel, dimension, dtype, strides, weights of
every size and sign, offsets, repeated points, queries on sources, beside them and far away. `Truth`
holds the sums and what an exact backend may err by.

An exact backend rounds the coordinates, the terms and their sum. With eps the unit of its dtype and
delta the error of a difference of coordinates,

    |error| <= SAFETY (eps sum |w| (|term| + |r dterm/dr|)
                       + sum |w| |change of the term over delta|) + what underflows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow import kernels

Array = np.ndarray
WIDE = np.longdouble
# Units of rounding that an exact sum may err by: sums of 256 terms one after the other, a few
# operations a term.
SAFETY = 64.0
# Below this distance, in bandwidths, a slope is cut off (kernels/contract.py).
COINCIDENT = WIDE("1e-15")

SCALED = (kernels.Gaussian, kernels.Laplace, kernels.Matern32, kernels.Matern52, kernels.IMQ)
ALL = (*SCALED, kernels.Energy)


def smooth_one(s: Tensor) -> Tensor:
    """1 / (1 + s)^2, a kernel that is not built in."""
    return 1 / (1 + s) ** 2


def length_of(kernel: Any) -> float:
    """The unit of length of a kernel: 1 where it has none."""
    return getattr(kernel, "bandwidth", None) or 1.0


@dataclass(frozen=True)
class Case:
    """A problem as a caller would pose it."""

    seed: int
    kernel: Any
    points: Tensor
    weights: Tensor
    queries: Tensor
    told: str

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.kernel}, {self.told}"


def case(
    seed: int,
    kinds: tuple[Any, ...],
    dims: tuple[int, ...] = tuple(range(1, 11)),
    most: int = 60,
    columns: tuple[int, ...] = (0, 0, 1, 2, 3, 5),
) -> Case:
    """Of kernels `kinds`, with N and Q below `most`; `columns`: of the weights, 0 for a vector."""
    rng = np.random.default_rng([7, seed])
    kind, d = kinds[rng.integers(len(kinds))], int(rng.choice(dims))
    dtype = torch.float32 if rng.random() < 0.5 else torch.float64
    n, q = (1 if rng.random() < 0.08 else int(rng.integers(2, most)) for _ in range(2))
    unit = float(10.0 ** rng.choice([-6, -3, 0, 0, 0, 3, 6]))
    spread = unit * float(10 ** rng.uniform(-1, 1.2))
    declared = kind is kernels.Radial and seed % 2 == 0
    kernel = (
        kind(unit)
        if kind in SCALED
        else kind()
        if kind is kernels.Energy
        else kind(smooth_one, unit if declared else None)
    )
    if kind not in SCALED and not declared:
        unit, spread = 1.0, float(10 ** rng.uniform(-1, 1.2))
    place = unit * 1e6 * rng.standard_normal(d) if rng.random() < 0.2 else np.zeros(d)
    x, z = spread * rng.standard_normal((n, d)), spread * rng.standard_normal((q, d))
    shape = rng.choice(
        ["plain", "repeated", "on sources", "beside sources", "outlier", "lattice", "same"]
    )
    if shape == "repeated":
        x = x[rng.integers(0, max(1, n // 3), n)]
    elif shape == "lattice":
        x, z = (np.round(2 * t / spread) * spread for t in (x, z))
    elif shape == "outlier":
        x[0] += 300 * spread
        z[-1] -= 1e4 * spread
    x, z = x + place, z + place
    if shape in ("on sources", "beside sources"):
        z = x[rng.integers(0, n, q)]
    points, queries = torch.from_numpy(x).to(dtype), torch.from_numpy(z).to(dtype)
    if shape == "beside sources":
        beside = unit * 10.0 ** rng.uniform(-17, -2) * rng.standard_normal(queries.shape)
        queries = queries + torch.from_numpy(beside).to(dtype)
    if shape == "same":
        queries = points
    far = rng.random() < 0.06
    if far:
        queries = queries.clone()
        queries[0] = float(10.0 ** rng.uniform(5, 30)) * unit
    if rng.random() < 0.08:
        queries = queries.clone()
        queries[rng.integers(len(queries)), rng.integers(d)] = float(
            rng.choice([np.nan, np.inf, -np.inf])
        )
    w, size = _weights(rng, n, int(rng.choice(columns)))
    weights = torch.from_numpy(w).to(torch.float64 if rng.random() < 0.1 else dtype)
    layouts = [
        str(
            rng.choice(
                ["as it is", "strided", "transposed", "expanded"], p=[0.55, 0.15, 0.15, 0.15]
            )
        )
        for _ in range(2)
    ]
    grads = rng.random(3) < 0.2
    same = queries is points
    points, weights = _laid_out(points, layouts[0]), _laid_out(weights, layouts[1])
    points.requires_grad_(bool(grads[0]))
    weights.requires_grad_(bool(grads[1]))
    queries = points if same else queries.requires_grad_(bool(grads[2]))
    told = (
        f"d = {d}, {dtype}, N = {len(points)}, Q = {len(queries)}, spread {spread:.2g},"
        f" {shape}{', far' * far}{', moved' * bool(place.any())}, weights {size}"
        f" {tuple(weights.shape)}, {layouts}, gradients {grads.tolist()}"
    )
    return Case(seed, kernel, points, weights, queries, told)


def _weights(rng: np.random.Generator, n: int, columns: int) -> tuple[Array, str]:
    shape = (n, columns) if columns else (n,)
    size = str(
        rng.choice(
            [
                "normal",
                "equal",
                "positive",
                "huge",
                "tiny",
                "mixed",
                "mixed positive",
                "some zero",
                "unequal columns",
                "zero",
            ]
        )
    )
    w = rng.standard_normal(shape)
    if size == "equal":
        w = np.full(shape, 1 / n)
    elif size in ("positive", "mixed positive"):
        w = np.abs(w)
    if size in ("huge", "tiny"):
        w = w * 10.0 ** ((1 if size == "huge" else -1) * rng.uniform(15, 30))
    elif size.startswith("mixed"):
        w = w * 10.0 ** rng.uniform(-30, 30, shape)
    elif size == "some zero":
        w[rng.random(n) < 0.5] = 0.0
    elif size == "unequal columns" and columns:
        w = w * 10.0 ** rng.uniform(-30, 30, columns)
        w[:, 0] = 0.0
    elif size == "zero":
        w = np.zeros(shape)
    return w, size


def _laid_out(values: Tensor, layout: str) -> Tensor:
    if layout == "strided":
        return torch.empty(2 * len(values), *values.shape[1:], dtype=values.dtype)[::2].copy_(
            values
        )
    if layout == "transposed" and values.ndim == 2:
        return values.T.contiguous().T
    if layout == "expanded":
        return values[:1].clone().expand(values.shape)
    return values.clone()


def profile(kernel: Any, r: Array, d: int) -> dict[str, Array]:
    """k, dk/dr, d2k/dr2, (dk/dr) / r and the laplacian with its derivative in r, of the formulas in
    kernels/contract.py; r in extended precision.
    """
    l = WIDE(length_of(kernel))
    a = r / l
    c = np.maximum(a, COINCIDENT)
    one = np.ones_like(a)
    match kernel:
        case kernels.Gaussian():
            e = np.exp(-a * a / 2)
            k, k1, k2, over = e, -a * e, (a * a - 1) * e, -e
            k3 = a * (3 - a * a) * e
            over1 = a * e
        case kernels.Laplace():
            e = np.exp(-a)
            k, k1, k2, over, k3 = e, -e, e, -e / c, -e
            over1 = e * (1 / c + 1 / c**2)
            k2, k3 = np.where(a <= COINCIDENT, 0, k2), np.where(a <= COINCIDENT, 0, k3)
            # coincident: the convention is 2 d slope, not k'' + (d - 1) slope
        case kernels.Matern32():
            p = np.sqrt(WIDE(3))
            b = p * a
            e = np.exp(-b)
            k, k1, k2, over, k3 = (
                (1 + b) * e,
                -p * b * e,
                3 * (b - 1) * e,
                -3 * e,
                3 * p * (2 - b) * e,
            )
            over1 = 3 * p * e
        case kernels.Matern52():
            p = np.sqrt(WIDE(5))
            b = p * a
            e = np.exp(-b)
            k, over = (1 + b + b * b / 3) * e, -WIDE(5) / 3 * (1 + b) * e
            k1, k2, k3 = (
                over * a,
                WIDE(5) / 3 * (b * b - b - 1) * e,
                WIDE(5) / 3 * p * b * (3 - b) * e,
            )
            over1 = WIDE(5) / 3 * p * b * e
        case kernels.IMQ():
            q = 1 + a * a
            k, over = q ** WIDE(-0.5), -(q ** WIDE(-1.5))
            k1, k2, k3 = (
                over * a,
                (2 * a * a - 1) * q ** WIDE(-2.5),
                3 * a * (3 - 2 * a * a) * q ** WIDE(-3.5),
            )
            over1 = 3 * a * q ** WIDE(-2.5)
        case kernels.Energy():
            k, k1, k2, over, k3, over1 = -a, -one, 0 * a, -1 / c, 0 * a, 1 / c**2
        case _:  # smooth_one
            q = 1 + a * a
            k, over = q ** WIDE(-2), -4 * q ** WIDE(-3)
            k1, k2, k3 = (
                over * a,
                (20 * a * a - 4) * q ** WIDE(-4),
                24 * a * (3 - 5 * a * a) * q ** WIDE(-5),
            )
            over1 = 24 * a * q ** WIDE(-4)
    laplacian = k2 + (d - 1) * over
    if isinstance(kernel, (kernels.Laplace, kernels.Energy)):
        laplacian = np.where(a <= COINCIDENT, d * over, laplacian)
    parts = np.where(laplacian == d * over, np.abs(laplacian), np.abs(k2) + (d - 1) * np.abs(over))
    bend = np.abs(k3) + (d - 1) * np.abs(over1)
    return {
        "k": k, "k1": k1 / l, "k2": k2 / l**2, "over": over / l**2,
        "laplacian": laplacian / l**2, "parts": parts / l**2, "bend": bend / l**3, "a": a,
    }  # fmt: skip


class Truth:
    """Sums (Q, K, ...) at the finite queries, and bounds of the errors of exact backends."""

    def __init__(self, problem: Case, *, centred: bool) -> None:
        dtype = problem.points.dtype
        x, z = (t.detach().double().numpy().astype(WIDE) for t in (problem.points, problem.queries))
        w = problem.weights.detach().to(dtype).double().numpy().astype(WIDE)
        self.w = w if w.ndim == 2 else w[:, None]
        self.good = np.isfinite(z.astype(float)).all(1)
        z = z[self.good]
        self.d = x.shape[1]
        self.kernel, self.largest = problem.kernel, float(torch.finfo(dtype).max)
        self.eps = WIDE(torch.finfo(dtype).eps)
        # of an exponential, which a polynomial multiplies
        self.tiny = 100 * WIDE(torch.finfo(dtype).smallest_normal)
        self.u = z[:, None] - x[None]
        self.r = np.sqrt((self.u**2).sum(-1))
        centre = np.median(x, axis=0)
        size = (
            self.r
            if not centred
            else np.sqrt(((z - centre) ** 2).sum(-1))[:, None]
            + np.sqrt(((x - centre) ** 2).sum(-1))[None]
            + self.r
        )
        # of a difference of coordinates: those are subtracted from the centre in float64 first
        doubles = (np.abs(z).max(1)[:, None] + np.abs(x).max(1)[None]) * centred
        self.delta = self.eps * size + WIDE(2) ** -52 * doubles
        self.p = profile(problem.kernel, self.r, self.d)

    @cached_property
    def mass(self) -> Array:
        return np.abs(self.w).sum(0)

    def _sum(self, pairs: Array) -> Array:
        return pairs @ self.w

    def _size(self, pairs: Array) -> Array:
        return pairs @ np.abs(self.w)

    @cached_property
    def value(self) -> Array:
        return self._sum(self.p["k"])

    @cached_property
    def value_bound(self) -> Array:
        p = self.p
        # an exponential's error is that of its argument
        return SAFETY * (
            self.eps * self._size(np.abs(p["k"]))
            + self._size(np.abs(p["k1"]) * self.delta)
            + self.tiny * (1 + self.mass * self._unit)
        )

    @property
    def _unit(self) -> WIDE:
        return max(WIDE(1), np.abs(self.p["k"]).max(initial=0))

    @cached_property
    def grad(self) -> Array:
        return np.einsum("qn,qnd,nk->qkd", self.p["over"], self.u, self.w)

    @cached_property
    def grad_bound(self) -> Array:
        """Of the 2-norm."""
        p = self.p
        force = np.abs(p["over"]) * self.r
        turn = (
            np.minimum(2 * np.abs(p["k1"]), np.abs(p["over"]) * self.delta)
            + np.abs(p["k2"]) * self.delta
        )
        tiny = self.tiny * (
            1
            + self.mass
            * max(WIDE(1), 1 / self._length)
            * max(WIDE(1), np.abs(self.u).max(initial=0) / self._length)
        )
        return SAFETY * (self.eps * self._size(force) + self._size(turn) + tiny)

    @property
    def _length(self) -> WIDE:
        return WIDE(length_of(self.kernel))

    @cached_property
    def laplacian(self) -> Array:
        return self._sum(self.p["laplacian"])

    @cached_property
    def laplacian_bound(self) -> Array:
        """inf where a distance is below its own error, and the laplacian has a pole."""
        p = self.p
        tiny = self.tiny * (1 + self.mass * max(WIDE(1), self._length**-2))
        bound = SAFETY * (
            self.eps * self._size(p["parts"]) + self._size(p["bend"] * self.delta) + tiny
        )
        if isinstance(self.kernel, (kernels.Laplace, kernels.Energy)):
            lost = (self.delta > 0.01 * self.r) & (self.r > 0)
            bound = np.where(lost.any(1)[:, None], np.inf, bound)
        return bound

    def log(self) -> tuple[Array, Array, Array, Array]:
        """Logarithm (Q, K), its gradient (Q, K, d), and the bounds of both."""
        log_k, over = self._logs
        with np.errstate(divide="ignore", invalid="ignore"):
            exponent = log_k[..., None] + np.log(self.w)[None]
            top = exponent.max(1, keepdims=True)
            some = np.isfinite(top)
            share = np.where(some, np.exp(exponent - np.where(some, top, 0)), 0)
            total = share.sum(1)
            log = np.where(total > 0, top[:, 0] + np.log(np.where(total > 0, total, 1)), -np.inf)
        share = share / np.where(total > 0, total, 1)[:, None]
        pull = over[..., None] * self.u
        grad = np.einsum("qnk,qnd->qkd", share, pull)
        size = np.abs(over) * self.r
        # the exponent's rounding is the logarithm's, and moves the shares
        loss = (
            self.eps
            * (np.abs(log_k)[..., None] + np.abs(np.where(np.isfinite(exponent), exponent, 0)))
            + (size * self.delta)[..., None]
        )
        bound = SAFETY * (
            self.eps * (1 + np.where(np.isfinite(log), np.abs(log), 0)) + (share * loss).sum(1)
        )
        turn = np.minimum(2 * size, np.abs(over) * self.delta) + size**2 * self.delta
        spread = np.linalg.norm(pull[:, :, None] - grad[:, None], axis=-1)
        moved = np.minimum(loss + loss.max(1, keepdims=True), 1)
        grad_bound = SAFETY * (
            self.tiny
            + (share * (self.eps * size + turn)[..., None]).sum(1)
            + (share * spread * moved).sum(1)
        )
        return log, grad, bound, grad_bound

    @cached_property
    def _logs(self) -> tuple[Array, Array]:
        """log k, and its derivative in r over r."""
        l, a = self._length, self.p["a"]
        match self.kernel:
            case kernels.Gaussian():
                return -a * a / 2, -np.ones_like(a) / l**2
            case kernels.Laplace():
                return -a, -1 / np.maximum(a, COINCIDENT) / l**2
            case kernels.Matern32():
                b = np.sqrt(WIDE(3)) * a
                return np.log1p(b) - b, -3 / (1 + b) / l**2
            case kernels.Matern52():
                b = np.sqrt(WIDE(5)) * a
                return (
                    np.log1p(b + b * b / 3) - b,
                    -WIDE(5) / 3 * (1 + b) / (1 + b + b * b / 3) / l**2,
                )
        assert isinstance(self.kernel, kernels.IMQ)
        return -np.log1p(a * a) / 2, -1 / (1 + a * a) / l**2


# How far approximate backends may be off where they promise nothing in figures: the laplacian, and
# the logarithm, in units of their rtol.
LOOSE = 100.0


def check(backend: Any, problem: Case, *, centred: bool = True) -> None:
    """value, grad, both, laplacian, log of a backend at a problem; whether inputs are left alone,
    and answers free of autograd.
    """
    truth = Truth(problem, centred=centred)
    x, w, z = problem.points, problem.weights, problem.queries
    kept = [t.detach().clone() for t in (x, w, z)]
    field = backend.sources(problem.kernel, x).field(w)
    promise = field.promise(z) if truth.good.any() else None
    value, grad, (value_too, grad_too), laplacian = (
        field.value(z),
        field.grad(z),
        field.value_and_grad(z),
        field.laplacian(z),
    )
    answers = [value, grad, value_too, grad_too, laplacian]
    size = truth.value_bound, truth.grad_bound
    if promise is not None:
        size = size[0] + WIDE(promise.value), size[1] + WIDE(promise.grad)
    held = _Held(truth, problem)
    for name, got in (("value", value), ("value of both", value_too)):
        held.close(name, got, truth.value, size[0])
    for name, got in (("grad", grad), ("grad of both", grad_too)):
        held.close(name, got, truth.grad, size[1], vector=True)
    bound = truth.laplacian_bound
    if promise is not None:
        bound = bound + LOOSE * backend.rtol * (
            np.abs(truth.laplacian) + truth.mass * steepest_laplacian(problem.kernel, truth.d)
        )
    held.close("laplacian", laplacian, truth.laplacian, bound)
    if bool((w >= 0).all()) and hasattr(problem.kernel, "log_profile"):
        answers += field.log(z)
        log, log_grad, log_bound, grad_bound = truth.log()
        if promise is not None:
            rtol, length = LOOSE * backend.rtol, truth._length
            log_bound = log_bound + rtol
            grad_bound = grad_bound + rtol * (
                1 / length + np.linalg.norm(log_grad.astype(float), axis=-1)
            )
        held.close("log", answers[-2], log, log_bound)
        held.close("grad of log", answers[-1], log_grad, grad_bound, vector=True)
    assert not any(answer.requires_grad for answer in answers), (
        f"an answer requires grad: {problem}"
    )
    assert all(answer.dtype == x.dtype for answer in answers), (
        f"an answer of another dtype: {problem}"
    )
    for before, after in zip(kept, (x, w, z), strict=True):
        assert torch.equal(before.nan_to_num(3.25), after.detach().nan_to_num(3.25)), (
            f"an input was changed: {problem}"
        )


def steepest_laplacian(kernel: Any, d: int) -> float:
    r = np.geomspace(1e-3, 20, 400).astype(WIDE) * WIDE(length_of(kernel))
    return float(np.abs(profile(kernel, r, d)["laplacian"]).max())


@dataclass(frozen=True)
class _Held:
    truth: Truth
    problem: Case

    def close(
        self, name: str, got: Tensor, want: Array, bound: Array, vector: bool = False
    ) -> None:
        """`bound` (Q, K) of the absolute error, of the 2-norm of a vector (Q, K, d)."""
        answer = got.detach().double().numpy().astype(WIDE)
        alone = self.problem.weights.ndim == 1
        answer = answer[:, None] if alone else answer
        assert answer.shape[1:] == want.shape[1:], (
            f"{name}: shape {tuple(got.shape)}: {self.problem}"
        )
        good = self.truth.good
        assert np.isnan(answer[~good]).all(), (
            f"{name}: a query that is not finite must give NaN: {self.problem}"
        )
        answer, room = answer[good], bound[..., None] if vector else bound
        # too large for the dtype: infinite is right
        over = np.isinf(answer) & (np.sign(answer) * want + room >= self.truth.largest * 0.999)
        with np.errstate(invalid="ignore"):
            error = np.where(over | (answer == want), 0, answer - want)
            size = np.sqrt((error**2).sum(-1)) if vector else np.abs(error)
            wrong = ~(size <= bound)
        empty = (self.truth.mass == 0) & (name not in ("log", "grad of log"))
        wrong |= empty[None, :] & ((answer != 0).any(-1) if vector else answer != 0)
        if wrong.any():
            q, k = np.argwhere(wrong)[0]
            worst = float(
                np.where(
                    wrong & (bound > 0) & ~np.isnan(size), size / np.where(bound > 0, bound, 1), 0
                ).max()
            )
            raise AssertionError(
                f"{name}: {wrong.sum()} of {wrong.size} wrong, the worst by {worst:.3g} bounds; at"
                f" query {q}, column {k}: {answer[q, k]} for {want[q, k]}, allowed"
                f" {float(bound[q, k]):.3g}: {self.problem}"
            )
