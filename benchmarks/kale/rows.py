"""The rows of the KALE benchmark: functions of their sizes that return numbers and a note."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.divergences import KL
from particleflow.estimators import KALE
from particleflow.estimators.envelope.dual import Dual
from particleflow.estimators.envelope.gram import gram_of
from particleflow.estimators.envelope.newton import Solution, solve
from particleflow.pairwise import Auto
from particleflow.pairwise.exact.dense import kernel_matrix

from ..speed.problem import Problem, draw
from ..tasks import LARGER, task
from ..timing import Trial, interleaved
from . import published

# Bandwidth of the kernel, in deviations of the clouds.
BANDWIDTH = 0.5
# The largest |u - h| at which the published solver stops.
RESIDUAL = 1e-6
# Relative error of h that brings our solver to the same residual.
RTOL = 3e-6
# Accuracy of the sums of a flow with a million particles.
SUMS = 1e-7
# Accuracy of the velocity of that flow.
VELOCITY = 1e-5


def solves(n: int, lams: list[float], rounds: int) -> dict[str, Any]:
    """Time a solve from a = 1 / M to a residual of 1e-6 against the published Newton's method.

    Both solvers are given K and mu_x.
    """
    problem = draw(n, bandwidth=BANDWIDTH, dtype=torch.float64)
    dual = _prepared(problem, Auto(rtol=1e-10))
    matrix = kernel_matrix(problem.kernel, problem.target, problem.target)
    numbers, notes, worst = {}, [], 0.0
    for lam in lams:
        ours = interleaved({"ours": Trial(lambda k: (), partial(_cold, dual, lam))}, rounds=rounds)[
            "ours"
        ].work
        seconds, inverses = min(
            _published(matrix, dual.mu, lam) for _ in range(rounds if n <= 1000 else 1)
        )
        found = _cold(dual, lam)
        worst = max(worst, float(dual.at(found.u, lam).residual.abs().max()))
        numbers[f"{lam:g}"] = seconds / ours
        notes.append(
            f"lam = {lam:g}: {1e3 * ours:.3g} ms ({found.iterations} iterations, {found.products}"
            f" products) against {seconds:.3g} s ({inverses} inverses)"
        )
    return {"numbers": {**numbers, "residual": worst}, "note": "; ".join(notes)}


def million(n: int, tenth: int, reference: int, lam: float, rounds: int) -> dict[str, Any]:
    """Time a warm step of a KALE flow against the published solve at `reference`, and its growth.

    A step is fit and velocity after all particles moved by 0.001.
    """
    times, notes = {}, []
    for size in (tenth, n):
        problem = draw(size, bandwidth=BANDWIDTH, dtype=torch.float64)
        estimator = KALE(problem.kernel, lam=lam, rtol=VELOCITY, pairwise=Auto(rtol=SUMS))
        step = _Step(estimator, Cloud(problem.target), problem)
        trial = Trial(problem.inputs, step)
        times[size] = interleaved({"step": trial}, rounds=rounds)["step"].work
        assert step.report["converged"], step.report
        notes.append(
            f"{size:.0e}: {times[size]:.3g} s, {step.report['iterations']} iterations,"
            f" {step.report['products']} products"
        )
    small = draw(reference, bandwidth=BANDWIDTH, dtype=torch.float64)
    matrix = kernel_matrix(small.kernel, small.target, small.target)
    seconds, _ = _published(matrix, _prepared(small, Auto(rtol=1e-10)).mu, lam)
    return {
        "numbers": {"warm": seconds / times[n], "growth": times[n] / times[tenth]},
        "note": "; ".join(notes) + f"; the published solve at {reference} {seconds:.3g} s",
    }


def iterations(sizes: list[int], lam: float) -> dict[str, Any]:
    """Count the products by K of a cold solve, as N = M grows."""
    products = []
    for n in sizes:
        products.append(
            _cold(
                _prepared(draw(n, bandwidth=BANDWIDTH, dtype=torch.float64), Auto(rtol=1e-10)), lam
            ).products
        )
    counts = ", ".join(f"{n:.0e}: {count}" for n, count in zip(sizes, products, strict=True))
    return {
        "numbers": {"ratio": max(products) / min(products)},
        "note": f"products at lam = {lam:g}: {counts}",
    }


def rings(steps: int, lam: float, dt: float) -> dict[str, Any]:
    """Certify every step on the three rings at a lam where the published code aborts."""
    problem = task("rings", **LARGER).draw(0)
    flow = pf.kale_flow(pf.kernels.Gaussian(problem.bandwidth), lam=lam)
    began = time.process_time()
    path = pf.simulate(
        flow,
        problem.x0,
        problem.target,
        steps=steps,
        dt=dt,
        save=pf.SaveAt(every=max(1, steps // 10)),
    )
    seconds = time.process_time() - began
    first, last = float(path.energy[0]), float(path.energy[-1])
    return {
        "numbers": {"steps": float(path.steps[-1]), "gap": path.report["worst_gap"] / last},
        "note": (
            f"{path.status}, KALE {first:.4g} -> {last:.4g}, {1e3 * seconds / steps:.3g} ms a step,"
            f" {path.message or 'no complaint'}"
        ),
    }


def _prepared(problem: Problem, backend: Auto) -> Dual:
    """Return a solver's input: K of the target, prepared for products, K q, and mu_x."""
    x = problem.particles(0)
    gram = gram_of(problem.kernel, Cloud(problem.target), backend)
    field = backend.sources(problem.kernel, x).field(x.new_full((len(x),), 1 / len(x)))
    dual = Dual(KL(), gram, field.value(gram.queries), float(field.value(x).mean()))
    dual.at_zero(1.0)
    return dual


def _cold(dual: Dual, lam: float) -> Solution:
    return solve(dual, lam, start=None, rtol=RTOL, max_iterations=50)


def _published(matrix: Tensor, mu: Tensor, lam: float) -> tuple[float, int]:
    """Return seconds and the number of inverses."""
    began = time.process_time()
    _, inverses = published.newton(matrix, mu, lam, residual=RESIDUAL)
    return time.process_time() - began, inverses


class _Step:
    """The velocity at each new place, with a fit that starts from the last one."""

    def __init__(self, estimator: KALE, target: Cloud, problem: Problem) -> None:
        self.estimator, self.target = estimator, target
        self.memory: dict[str, Tensor] = {}
        self.report: dict[str, Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        fit = self.estimator.fit(Cloud(x), self.target, Clock(), self.memory)
        self.memory, self.report = dict(fit.memory), dict(fit.report)
        velocity: Tensor = fit.witness.value_and_grad(x)[1]
        return velocity
