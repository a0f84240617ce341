"""The speed of single backends.

Each function is run in a fresh process of one thread. It returns numbers, a note and the times
behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators import Fit
from particleflow.kernels import default_bandwidth
from particleflow.pairwise import Compiled

from ..timing import NotMeasuredError, Times, Trial, idle, interleaved
from .keops_baseline import Broadcast, FusedKeOps
from .problem import Problem, Step, draw, relative_error, step

# Bandwidth of the kernel, in deviations of the clouds.
BANDWIDTH = 0.2
RTOL = 1e-5


def measured(
    numbers: Mapping[str, float | None], note: str, times: Mapping[str, Times] | None = None
) -> dict[str, Any]:
    return {
        "numbers": dict(numbers),
        "note": note,
        "times": {name: t.record() for name, t in (times or {}).items()},
    }


def exact(n: int, rounds: int) -> dict[str, Any]:
    """Time the exact gradient against autograd and KeOps, and the cost of the logarithm."""

    problem = draw(n, bandwidth=BANDWIDTH)
    double = problem.to(torch.float64)
    ours, ours64 = step(Compiled(), problem), step(Compiled(), double)
    trials = {
        "broadcast": Trial(problem.inputs, Broadcast(problem), warm=(problem.start[:100],)),
        "keops": Trial(problem.inputs, FusedKeOps(problem)),
        "compiled": Trial(problem.inputs, ours),
        "log": Trial(problem.inputs, Logarithms(ours)),
        "keops64": Trial(double.inputs, FusedKeOps(double)),
        "compiled64": Trial(double.inputs, ours64),
    }
    times = interleaved(trials, rounds=rounds)
    x = problem.particles(1)
    numbers = {
        "over_broadcast": times["broadcast"].work / times["compiled"].work,
        "over_keops": times["keops"].work / times["compiled"].work,
        "error": relative_error(ours(x), problem, x),
        "over_keops64": times["keops64"].work / times["compiled64"].work,
        "error64": relative_error(ours64(x.double()), double, x.double()),
        "log": times["log"].work / times["compiled"].work,
    }
    rate = 2 * n * n / times["compiled"].work
    return measured(numbers, f"{_shown(times)}; {rate:.3g} pairs/s in float32", times)


def mesh(n: int, reference: int, rounds: int) -> dict[str, Any]:
    """Time the mesh in the plane against KeOps on `reference` particles.

    The targets' field is kept in one case and not in the other.
    """
    from particleflow.pairwise.mesh.backend import Mesh

    small, large = draw(reference, bandwidth=BANDWIDTH), draw(n, bandwidth=BANDWIDTH)
    ours = fast(step(Mesh(rtol=RTOL), large))
    trials = {
        "keops": Trial(small.inputs, FusedKeOps(small)),
        "kept": Trial(large.inputs, ours),
        "fresh": Trial(large.fresh_inputs, ours.fresh),
    }
    times = interleaved(trials, rounds=rounds)
    numbers = {name: times["keops"].work / times[name].work for name in ("kept", "fresh")}
    return measured(numbers, f"{_shown(times)}; {_audited(ours)}", times)


def mesh_tenfold(n: int, rounds: int) -> dict[str, Any]:
    """Time the mesh on ten times as many particles and targets."""
    from particleflow.pairwise.mesh.backend import Mesh

    problems = {f"{size:.0e}": draw(size, bandwidth=BANDWIDTH) for size in (n, 10 * n)}
    steps = {name: fast(step(Mesh(rtol=RTOL), problem)) for name, problem in problems.items()}
    times = interleaved(
        {name: Trial(problem.inputs, steps[name]) for name, problem in problems.items()},
        rounds=rounds,
    )
    less, more = times.values()
    return measured({"growth": more.work / less.work}, _shown(times), times)


def mesh_in_space(n: int, reference: int, rounds: int) -> dict[str, Any]:
    """Time the mesh in d = 3 against KeOps on `reference` particles of the plane."""
    from particleflow.pairwise.mesh.backend import Mesh

    small, large = draw(reference, bandwidth=BANDWIDTH), draw(n, 3, bandwidth=BANDWIDTH)
    ours = fast(step(Mesh(rtol=1e-4), large))
    times = interleaved(
        {"keops": Trial(small.inputs, FusedKeOps(small)), "kept": Trial(large.inputs, ours)},
        rounds=rounds,
    )
    return measured(
        {"kept": times["keops"].work / times["kept"].work},
        f"{_shown(times)}; {_audited(ours)}",
        times,
    )


def small_bandwidth(n: int, rounds: int) -> dict[str, Any]:
    """Time the choice of `Auto` at bandwidth 0.01 against Fourier sums of the same tolerance.

    The result is the worse of float32 and float64.
    """
    from particleflow.pairwise.auto import Auto
    from particleflow.pairwise.fourier.backend import Fourier

    single = draw(n, bandwidth=0.01)
    trials, chosen = {}, []
    for name, problem in (("float32", single), ("float64", single.to(torch.float64))):
        auto = step(Auto(rtol=RTOL), problem)
        trials |= {
            f"auto {name}": Trial(problem.inputs, auto),
            f"fourier {name}": Trial(problem.inputs, step(Fourier(rtol=RTOL), problem)),
        }
        x = problem.particles(1)
        chosen.append(f"{name}: {auto.field(x).explain(x)['backend']}, {_audited(auto)}")
    times = interleaved(trials, rounds=rounds)
    ratio = min(
        times[f"fourier {name}"].work / times[f"auto {name}"].work
        for name in ("float32", "float64")
    )
    return measured({"over_fourier": ratio}, f"{_shown(times)}; {'; '.join(chosen)}", times)


def nystroem(n: int, queries: int, rounds: int) -> dict[str, Any]:
    """Time landmarks in d = 10 against the exact sum.

    The exact sum is measured on `queries` of the queries and scaled.
    """
    from particleflow.pairwise.landmarks.backend import Nystroem

    bandwidth = default_bandwidth(draw(2000, 10, bandwidth=1.0).target)
    problem = draw(n, 10, bandwidth=bandwidth)
    ours, truth = step(Nystroem(rtol=1e-2), problem), step(Compiled(), problem)
    trials = {
        "nystroem": Trial(problem.inputs, ours),
        f"exact, {queries} queries": Trial(problem.inputs, Part(truth, queries)),
    }
    times = interleaved(trials, rounds=rounds)
    fast, part = times.values()
    x = problem.particles(1)
    numbers = {
        "over_exact": part.work * n / queries / fast.work,
        "error": relative_error(ours(x), problem, x, rows=64),
    }
    return measured(
        numbers,
        f"bandwidth {bandwidth:.3g}; {_shown(times)}, scaled to {n}; backend"
        f" {ours.field(x).explain(x)['backend']}",
        times,
    )


def mono(n: int, rounds: int) -> dict[str, Any]:
    """Time the step of a MonoFlow between density estimates against that of an MMD flow.

    A step is fit and velocity, as in a flow.
    """
    problem = draw(n, bandwidth=BANDWIDTH)
    flows = (
        pf.mmd_flow(problem.kernel),
        pf.mono_flow(pf.estimators.KDE(problem.kernel)),
        pf.mono_flow(pf.estimators.KDE()),
    )
    mmd, ratio, default = (FlowStep(flow, problem) for flow in flows)
    times = interleaved(
        {
            name: Trial(problem.inputs, each)
            for name, each in (("mmd", mmd), ("kde", ratio), ("KDE()", default))
        },
        rounds=rounds,
    )
    x = problem.particles(1)
    value, slope = ratio.fit(x).witness.value_and_grad(x)
    # The rows are the thinnest, where a logarithm is hardest, and some of all.
    rows = torch.cat([value.argsort()[:32], value.argsort()[-32:], torch.arange(0, n, n // 32)])
    true, true_slope = log_ratio(problem, x, x[rows])
    error = float((value[rows].double() - true).abs().max())
    slope_error = (
        float((slope[rows].double() - true_slope).norm(dim=1).max()) * problem.kernel.bandwidth
    )
    bandwidth = float(default.memory["bandwidth"])
    seen = (
        f"log r from {value.min():.3g} to {value.max():.3g}, wrong by {error:.2g}, its gradient by"
        f" {slope_error:.2g} / bandwidth"
    )
    note = f"{_shown(times)} at its bandwidth {bandwidth:.2g}; {seen}"
    ratios = {
        name: times[trial].work / times["mmd"].work
        for name, trial in (("over_mmd", "kde"), ("default", "KDE()"))
    }
    return measured(ratios | {"error": error}, note, times)


def threads(n_exact: int, n_mesh: int, rounds: int) -> dict[str, Any]:
    """Time two threads against one, on the clock: the only row that needs an idle machine."""
    from particleflow.pairwise.mesh.backend import Mesh

    free = idle()
    trials = {}
    for name, backend, n in (("exact", Compiled(), n_exact), ("mesh", Mesh(rtol=RTOL), n_mesh)):
        problem = draw(n, bandwidth=BANDWIDTH)
        trials |= {
            f"{name} {count}": Trial(problem.inputs, Threaded(step(backend, problem), count))
            for count in (1, 2)
        }
    times = interleaved(trials, rounds=rounds)
    numbers = {
        name: times[f"{name} 1"].waited / times[f"{name} 2"].waited for name in ("exact", "mesh")
    }
    shown = ", ".join(f"{name}: {1e3 * t.waited:.3g} ms" for name, t in times.items())
    known = "" if free is None else f"; {100 * free:.0f} % of the processors' time was free before"
    return measured(numbers, shown + known, times)


def gpu(n: int, rounds: int) -> dict[str, Any]:
    """Time the exact step on a CUDA device."""
    if not torch.cuda.is_available():
        raise NotMeasuredError("no CUDA device")
    from particleflow.pairwise.exact.keops import KeOps

    problem = draw(n, bandwidth=BANDWIDTH).to("cuda")
    times = interleaved(
        {"keops": Trial(problem.inputs, Synchronised(step(KeOps(), problem)))}, rounds=rounds
    )
    waited = times["keops"].waited
    note = (
        f"{torch.cuda.get_device_name()}: {1e3 * waited:.3g} ms a step, N = M = {n},"
        f" {2 * n * n / waited:.3g} pairs/s"
    )
    return measured({"milliseconds": 1e3 * waited}, note, times)


def fast(ours: Step) -> Step:
    """Refuse to time exact sums in the name of a backend that fell back to them."""
    x, name = ours.problem.particles(0), type(ours.backend).__name__
    told = ours.field(x).explain(x)
    if told["backend"] != name:
        raise RuntimeError(f"{name} summed by {told['backend']}: {told['why']}")
    return ours


@dataclass(frozen=True, eq=False)
class FlowStep:
    """The velocity of a flow at all particles.

    The target is one object, as in a run. The memory of a fit is kept.
    """

    flow: pf.Flow
    problem: Problem
    target: Cloud = field(init=False)
    memory: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", Cloud(self.problem.target))

    def fit(self, x: Tensor) -> Fit:
        fit = self.flow.estimator.fit(Cloud(x), self.target, Clock(), self.memory)
        self.memory.update(fit.memory)
        return fit

    def __call__(self, x: Tensor) -> Tensor:
        velocity: Tensor = self.flow.velocity(Cloud(x), self.fit(x), Clock())[0]
        return velocity


def log_ratio(problem: Problem, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log ratio of the density estimates of target and particles x, and its gradient.

    Both are exact sums in float64.
    """
    logs = [
        Compiled()
        .sources(problem.kernel, cloud.double())
        .field(torch.full((len(cloud),), 1 / len(cloud), dtype=torch.float64))
        .log(z.double())
        for cloud in (problem.target, x)
    ]
    return logs[0][0] - logs[1][0], logs[0][1] - logs[1][1]


@dataclass(frozen=True, eq=False)
class Logarithms:
    """The logarithms and gradients of both clouds' densities, as a flow of their ratio needs.

    They take as many pairs as the step.
    """

    step: Step

    def __call__(self, x: Tensor) -> Tensor:
        particles = self.step.backend.sources(self.step.problem.kernel, x).field(
            x.new_full((len(x),), 1 / len(x))
        )
        (value, grad), (current, current_grad) = self.step.kept.log(x), particles.log(x)
        return torch.cat([(value - current)[:, None], grad - current_grad], dim=1)


@dataclass(frozen=True, eq=False)
class Part:
    """The step of the first particles only, under the forces of all."""

    step: Step
    queries: int

    def __call__(self, x: Tensor) -> Tensor:
        velocity: Tensor = self.step.field(x).grad(x[: self.queries])
        return velocity


@dataclass(frozen=True, eq=False)
class Threaded:
    step: Step
    threads: int

    def __call__(self, x: Tensor) -> Tensor:
        torch.set_num_threads(self.threads)
        return self.step(x)


@dataclass(frozen=True, eq=False)
class Synchronised:
    """A step that waits until the device is done."""

    step: Step

    def __call__(self, x: Tensor) -> Tensor:
        velocity = self.step(x)
        torch.cuda.synchronize()
        return velocity


def _audited(ours: Step) -> str:
    """Return a note on the error of a fast sum and on its promise."""
    x = ours.problem.particles(1)
    audit = ours.field(x).audit(x, rows=32)
    promised = (
        "" if audit.promise is None else f", promised {audit.promise.grad / audit.grad_scale:.2g}"
    )
    return (
        f"error {audit.grad_error / audit.grad_scale:.2g} of sum |w| max |grad"
        f" k|{promised}{': NOT KEPT' if audit.kept is False else ''}"
    )


def _shown(times: Mapping[str, Times]) -> str:
    return ", ".join(f"{name} {1e3 * t.work:.3g} ms" for name, t in times.items())
