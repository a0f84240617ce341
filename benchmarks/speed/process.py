"""Measurements of a whole process: memory, the first use of a backend, and a flow end to end."""

from __future__ import annotations

import gc
import importlib
import operator
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

import particleflow as pf
from particleflow import pairwise
from particleflow.kernels import Kernel
from particleflow.pairwise import PairwiseSum

from .. import environment
from ..timing import family_seconds, forget_peak, peak_resident, resident
from .problem import draw, step
from .rows import BANDWIDTH, measured

# Number of particles of the small problem that loads all code before memory is measured.
WARM = 10_000

# A backend whose memory or first use is measured: class, options, dimension.
Case = tuple[str, dict[str, Any], int]
LARGE: tuple[Case, ...] = (
    ("Mesh", {"rtol": 1e-5}, 2),
    ("Mesh", {"rtol": 1e-4}, 3),
    ("Fourier", {"rtol": 1e-6}, 2),
    ("Auto", {"rtol": 1e-5}, 2),
)
COMPILED: tuple[Case, ...] = (
    ("Compiled", {}, 2),
    ("Compiled", {}, 10),
    ("Mesh", {"rtol": 1e-5}, 2),
    ("Mesh", {"rtol": 1e-4}, 3),
    ("Culled", {"rtol": 1e-5}, 2),
    ("Fourier", {"rtol": 1e-6}, 2),
    ("Nystroem", {"rtol": 1e-2}, 10),
)
# This case is compiled by the system's compiler, hence not held against the goal.
BY_COMPILER: Case = ("KeOps", {}, 2)


def made(case: Case) -> PairwiseSum:
    name, options, _ = case
    backend: PairwiseSum = getattr(pairwise, name)(**options)
    return backend


def titled(case: Case) -> str:
    return f"{case[0]} d = {case[2]}"


def memory(n: int) -> dict[str, Any]:
    """Measure the largest growth of a process in a step, its clouds included.

    The base is a process that has imported and run all it needs on a small problem.
    """
    peaks = {}
    for case in LARGE:
        with environment.workers(1, 1) as pool:
            peaks[titled(case)] = pool.submit(growth, case, n).result()
    note = ", ".join(f"{name}: {bytes_ / 1e6:.0f} MB" for name, bytes_ in peaks.items())
    return measured({"gigabytes": max(peaks.values()) / 1e9}, note)


def growth(case: Case, n: int) -> int:
    backend, d = made(case), case[2]
    small = draw(min(n, WARM), d, bandwidth=BANDWIDTH)
    take = step(backend, small)
    for k in range(2):
        take(small.particles(k))
    gc.collect()
    rest = resident()
    problem = draw(n, d, bandwidth=BANDWIDTH)
    forget_peak()
    take = step(backend, problem)
    for k in range(2):
        take(problem.particles(k))
    return peak_resident() - rest


def first_use(n: int) -> dict[str, Any]:
    """Measure the work of the first step over that of the second, without the import of libraries.

    The first process finds no compiled code, the next one does.
    """
    seconds: dict[str, list[float]] = {}
    for case in (*COMPILED, BY_COMPILER):
        with tempfile.TemporaryDirectory() as folder, _environment({"XDG_CACHE_HOME": folder}):
            for _ in range(2):
                with environment.workers(1, 1) as pool:
                    seconds.setdefault(titled(case), []).append(
                        pool.submit(first_over_second, case, n).result()
                    )
    ours = [seconds[titled(case)] for case in COMPILED]
    note = ", ".join(
        f"{name}: {empty:.2g} s, then {cached:.2g} s" for name, (empty, cached) in seconds.items()
    )
    return measured(
        {"empty": max(empty for empty, _ in ours), "cached": max(cached for _, cached in ours)},
        note,
    )


def first_over_second(case: Case, n: int) -> float:
    for library in ("llvmlite.binding", "scipy.fft", "scipy.spatial", "finufft"):
        importlib.import_module(library)
    problem, backend = draw(n, case[2], bandwidth=BANDWIDTH), made(case)
    taken = []
    for k in range(2):
        began = family_seconds()
        step(backend, problem)(problem.particles(k))
        taken.append(family_seconds() - began)
    return taken[0] - taken[1]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def flow(n: int, steps: int, backend: PairwiseSum | None = None) -> dict[str, Any]:
    """Measure the share of time that `simulate` of an MMD flow spends outside of the sums."""
    problem = draw(n, bandwidth=BANDWIDTH)
    sums = TimedSum(made(LARGE[0]) if backend is None else backend)
    pf.simulate(
        pf.mmd_flow(problem.kernel, pairwise=sums),
        problem.start[:1000],
        problem.target[:1001],
        steps=2,
        dt=0.1,
    )
    sums.watch.parts.clear()
    began = time.process_time()
    path = pf.simulate(
        pf.mmd_flow(problem.kernel, pairwise=sums),
        problem.start,
        problem.target,
        steps=steps,
        dt=0.1,
    )
    total = time.process_time() - began
    if path.status != "completed":
        raise RuntimeError(f"the run ended early: {path.message}")
    parts = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in sums.watch.parts.items())
    note = f"{total:.3g} s in all, {1e3 * total / steps:.3g} ms a step; in sums: {parts}"
    return measured({"share": 1 - sums.watch.seconds / total, "seconds": total}, note)


@dataclass
class Watch:
    """A sum of the time of calls, by name."""

    parts: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.process_time()
        try:
            return call(*arguments)
        finally:
            self.parts[call.__name__] = (
                self.parts.get(call.__name__, 0.0) + time.process_time() - began
            )


@dataclass(frozen=True)
class TimedSum:
    """A backend whose work is on a watch."""

    inner: PairwiseSum
    watch: Watch = field(default_factory=Watch, compare=False)

    def sources(self, kernel: Kernel, points: Tensor) -> TimedSources:
        return TimedSources(self.watch(self.inner.sources, kernel, points), self.watch)


@dataclass(frozen=True, eq=False)
class TimedSources:
    inner: Any
    watch: Watch

    @property
    def points(self) -> Tensor:
        points: Tensor = self.inner.points
        return points

    def field(self, w: Tensor) -> TimedField:
        return TimedField(self.watch(self.inner.field, w), self.watch)

    def prepare(self, z: Tensor) -> Any:
        return self.watch(self.inner.prepare, z)


@dataclass(frozen=True, eq=False)
class TimedField:
    inner: Any
    watch: Watch

    def value(self, z: Any) -> Any:
        return self.watch(self.inner.value, z)

    def grad(self, z: Any) -> Any:
        return self.watch(self.inner.grad, z)

    def value_and_grad(self, z: Any) -> Any:
        return self.watch(self.inner.value_and_grad, z)

    def laplacian(self, z: Any) -> Any:
        return self.watch(self.inner.laplacian, z)

    def log(self, z: Any) -> Any:
        return self.watch(self.inner.log, z)

    def explain(self, z: Any) -> Any:
        # explain plans the sum, so that the sum need not plan again.
        return self.watch(self.inner.explain, z)

    def promise(self, z: Any) -> Any:
        return self.inner.promise(z)

    def reduce(self) -> TimedField:
        return TimedField(self.watch(self.inner.reduce), self.watch)

    def __add__(self, other: TimedField) -> TimedField:
        return TimedField(self.watch(operator.add, self.inner, other.inner), self.watch)
