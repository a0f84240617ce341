"""Random problems on which an approximate sum has to keep its promise, and their exact sums.

`problem(seed)` is a function of its seed. The problems do not favour any backend: bandwidths are
drawn without regard to the cloud, and every shape of cloud meets every kernel.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

import particleflow as pf
from particleflow.pairwise import Dense, PairwiseSum
from particleflow.pairwise.exact.sorted import SortedField
from particleflow.pairwise.promise import scales

# Dimensions of the problems for grids and tiles.
PLANE = (1, 2, 3)
# Dimensions of the problems for landmarks.
HIGH = (4, 5, 6, 7, 8, 9, 10, 11, 12)
# Fewest sources of a part.
FEWEST = 200
# Most sources of a part: the exact sums take O(N^2) time.
MOST = 5000
ALL_PAIRS = ("Compiled", "Dense", "KeOps")

Shape = Callable[[np.random.Generator, int, int], np.ndarray]


def _clusters(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    centres = rng.normal(size=(rng.integers(2, 20), d))
    return centres[rng.integers(len(centres), size=n)] + 10 ** rng.uniform(-3, -1) * rng.normal(
        size=(n, d)
    )


def _duplicates(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    few = rng.normal(size=(max(2, n // 20), d))
    return few[rng.integers(len(few), size=n)]


def _outliers(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    points = rng.normal(size=(n, d))
    far = rng.integers(n, size=rng.integers(1, 6))
    away = rng.normal(size=(len(far), d))
    points[far] += 1e3 * away / np.linalg.norm(away, axis=1, keepdims=True)
    return points


def _lattice(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.integers(-8, 9, size=(n, d)) / 8.0


SHAPES: dict[str, Shape] = {
    "uniform": lambda rng, n, d: rng.uniform(size=(n, d)),
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "clusters": _clusters,
    "duplicates": _duplicates,
    "far outliers": _outliers,
    "heavy tails": lambda rng, n, d: rng.standard_t(1.5, size=(n, d)),
    "tiny": lambda rng, n, d: 1e-3 * rng.normal(size=(n, d)),
    "large offset": lambda rng, n, d: rng.normal(size=(n, d)) + 10 ** rng.uniform(1, 6),
    "lattice": _lattice,
}

# The kernels of the problems: one more Gaussian than all the others together.
KERNELS: tuple[Callable[[float], Any], ...] = (
    *[pf.kernels.Gaussian] * 6,
    pf.kernels.Matern32,
    pf.kernels.Matern52,
    pf.kernels.IMQ,
    pf.kernels.Laplace,
    lambda bandwidth: pf.kernels.Energy(),
)


@dataclass(frozen=True, eq=False)
class Problem:
    """Targets (M, d) and particles (N, d) with weights, queries z (Q, d), and the tolerance."""

    seed: int
    shape: str
    kernel: Any
    rtol: float
    parts: tuple[tuple[Tensor, Tensor], ...]
    z: Tensor

    @property
    def title(self) -> str:
        sizes = " + ".join(str(len(points)) for points, _ in self.parts)
        dtype = str(self.z.dtype).removeprefix("torch.")
        size = f"d = {self.z.shape[1]}, {sizes} sources, {len(self.z)} queries"
        return f"{self.seed}: {self.shape}, {size}, {self.kernel}, {dtype}, rtol {self.rtol:.1g}"

    def field(self, backend: PairwiseSum) -> Any:
        target, particles = (
            backend.sources(self.kernel, points).field(w) for points, w in self.parts
        )
        return target + particles

    @cached_property
    def truth(self) -> tuple[Tensor, Tensor]:
        """Return values and gradients at z: differences, exponentials and sums in float64."""
        exact = Problem(
            self.seed,
            self.shape,
            self.kernel,
            self.rtol,
            tuple((x.double(), w.double()) for x, w in self.parts),
            self.z.double(),
        )
        value, grad = exact.field(Dense()).value_and_grad(exact.z)
        return value, grad

    @cached_property
    def scales(self) -> tuple[float, float]:
        """Return sum |w| max |k| and sum |w| max |grad k|."""
        return scales(self.field(Dense()), self.z)


def problem(seed: int, dims: Sequence[int] = PLANE, *, most: int = MOST) -> Problem:
    """Return the random problem of this seed, with up to `most` sources in each part."""
    rng = np.random.default_rng([seed, min(dims)])
    shape = list(SHAPES)[seed % len(SHAPES)]
    d = int(rng.choice(dims))
    n, m = (int(k) for k in rng.choice(np.arange(FEWEST, most + 1), size=2, replace=False))
    bandwidth = 10 ** rng.uniform(-2, math.log10(3))
    if shape == "tiny" and rng.random() < 0.5:
        bandwidth *= 1e-3
    kernel = KERNELS[rng.integers(len(KERNELS))](float(bandwidth))
    # Grids and tiles are asked for 1e-3 to 1e-6, landmarks for 1e-1 to 1e-3, as users do.
    rtol = 10 ** -rng.uniform(3, 6) if min(dims) < min(HIGH) else 10 ** -rng.uniform(1, 3)
    points = SHAPES[shape](rng, n + m, d)
    spread = float(np.median(np.abs(points - np.median(points, axis=0))))
    x, y = points[:n], points[n:]
    if rng.random() < 0.5:
        x = x + spread * rng.normal(size=d)
    z = _queries(rng, x, spread)
    weights = [
        _weights(rng, kind, size, sign)
        for kind in [rng.integers(4)]
        for size, sign in ((m, 1.0), (n, -1.0))
    ]
    if rng.random() < 0.1:
        weights = [
            w[:, None] * rng.normal(size=(1, 3)) + 0.1 / len(w) * rng.normal(size=(len(w), 3))
            for w in weights
        ]
    dtype = torch.float32 if rng.random() < 0.6 else torch.float64
    tensors = [
        torch.from_numpy(np.ascontiguousarray(a)).to(dtype)
        for a in (y, weights[0], x, weights[1], z)
    ]
    return Problem(
        seed,
        shape,
        kernel,
        float(rtol),
        ((tensors[0], tensors[1]), (tensors[2], tensors[3])),
        tensors[4],
    )


def _queries(rng: np.random.Generator, x: np.ndarray, spread: float) -> np.ndarray:
    """Return the particles, three times in five; else points moved by noise, or in a larger box.

    The box is half as large again as the cloud.
    """
    kind = rng.integers(5)
    if kind < 3:
        return x
    if kind == 3:
        return x + spread * rng.normal(size=x.shape)
    low, high = x.min(0), x.max(0)
    return rng.uniform(
        low - 0.25 * (high - low), high + 0.25 * (high - low), size=(len(x) // 2 + 1, x.shape[1])
    )


def _weights(rng: np.random.Generator, kind: int, n: int, sign: float) -> np.ndarray:
    """Return weights of the MMD, of any sign, positive, or with a few that outweigh all others."""
    return (
        np.full(n, sign / n),
        rng.normal(size=n) / n,
        rng.exponential(size=n) / n,
        np.exp(3 * rng.normal(size=n)) * rng.choice([-1.0, 1.0], size=n) / n,
    )[kind]


@dataclass(frozen=True)
class Outcome:
    """The result of a backend on a problem.

    It has the largest true errors over rows, the promise, and whether the backend summed exactly
    instead.
    """

    backend: str
    title: str
    claimed: bool
    fallback: bool = False
    value_error: float = 0.0
    grad_error: float = 0.0
    value_promise: float | None = None
    grad_promise: float | None = None
    excess: float = 0.0  # largest error over rtol |v| + atol S of its row: <= 1 keeps the tolerance
    why: str = ""

    @property
    def kept(self) -> bool:
        """Tell whether promise >= truth, and every row is within the tolerance asked for."""
        if self.excess > 1 or not (
            math.isfinite(self.value_error) and math.isfinite(self.grad_error)
        ):
            return False
        return self.value_promise is None or (
            self.value_error <= self.value_promise and self.grad_error <= (self.grad_promise or 0.0)
        )

    @property
    def slack(self) -> list[float]:
        """Return promise / truth of value and gradient; nothing where the sum was exact."""
        if self.value_promise is None or self.grad_promise is None or self.fallback:
            return []
        pairs = ((self.value_promise, self.value_error), (self.grad_promise, self.grad_error))
        return [promise / error if error > 0 else math.inf for promise, error in pairs]


def examine(backend: PairwiseSum, problem: Problem) -> Outcome:
    """Let `backend` solve the problem, and compare every row with the truth."""
    name = type(backend).__name__
    try:
        field = problem.field(backend)
    except (TypeError, ValueError, NotImplementedError) as error:
        return Outcome(name, problem.title, claimed=False, why=str(error))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, grad = (t.double() for t in field.value_and_grad(problem.z))
        promise, report = field.promise(problem.z), field.explain(problem.z)
    exact_value, exact_grad = problem.truth
    value_error, grad_error = (value - exact_value).abs(), (grad - exact_grad).norm(dim=-1)
    allowed = [
        problem.rtol * (size + scale)
        for size, scale in zip(
            (exact_value.abs(), exact_grad.norm(dim=-1)), problem.scales, strict=True
        )
    ]
    excess = max(
        float((error / room).max())
        for error, room in zip((value_error, grad_error), allowed, strict=True)
    )
    return Outcome(
        name,
        problem.title,
        claimed=True,
        # Sums by sorting on the line are exact, too, but fast.
        fallback=report["backend"] in ALL_PAIRS
        or (promise is None and not isinstance(field, SortedField)),
        value_error=float(value_error.max()),
        grad_error=float(grad_error.max()),
        value_promise=None if promise is None else promise.value,
        grad_promise=None if promise is None else promise.grad,
        excess=excess,
        why=str(report["why"]),
    )


def summary(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return problems claimed, promises kept, share of exact sums, median promise / truth."""
    claimed = [outcome for outcome in outcomes if outcome.claimed]
    slack = [ratio for outcome in claimed for ratio in outcome.slack]
    return {
        "problems": len(claimed),
        "kept": sum(outcome.kept for outcome in claimed),
        "fallbacks": sum(outcome.fallback for outcome in claimed),
        "slack": statistics.median(slack) if slack else None,
        "broken": [outcome.title for outcome in claimed if not outcome.kept],
    }


def measure(count: int, most: int = MOST) -> dict[str, Any]:
    """Try every approximate backend on the problems of its dimensions."""
    from particleflow.pairwise.fourier.backend import Fourier
    from particleflow.pairwise.landmarks.backend import Nystroem
    from particleflow.pairwise.mesh.backend import Mesh
    from particleflow.pairwise.neighbours.backend import Culled

    outcomes: dict[str, list[Outcome]] = {}
    for dims, backends in ((PLANE, (Mesh, Fourier, Culled)), (HIGH, (Nystroem,))):
        for seed in range(count):
            # Only one problem is kept at a time, since it holds its exact sums.
            drawn = problem(seed, dims, most=most)
            for backend in backends:
                outcomes.setdefault(backend.__name__, []).append(
                    examine(backend(rtol=drawn.rtol), drawn)
                )
    told = {name: summary(each) for name, each in outcomes.items()}
    slack = [of["slack"] for of in told.values() if of["slack"] is not None]
    numbers = {
        "kept": min(of["kept"] / of["problems"] for of in told.values()),
        "slack": max(slack) if slack else None,
        "fallbacks": (
            sum(of["fallbacks"] for of in told.values())
            / sum(of["problems"] for of in told.values())
        ),
    }
    note = "; ".join(
        f"{name}: {of['kept']} of {of['problems']} kept, {of['fallbacks']} exact fallbacks, promise"
        f" / truth {of['slack'] or math.nan:.3g}"
        for name, of in told.items()
    )
    return {
        "numbers": numbers,
        "note": note,
        "backends": told,
        "outcomes": {name: [vars(one) for one in each] for name, each in outcomes.items()},
    }
