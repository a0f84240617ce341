"""The benchmark of two-layer regression as an MMD flow, with noise injection and without.

The validation risks of the students are compared pair by pair.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import particleflow as pf
from particleflow.clouds import Clock
from particleflow.kernels import FeatureKernel, Neurons, ReLU, Tanh

from . import environment, options, report

MARKS = ("<!-- regression: begin -->", "<!-- regression: end -->")
# Dimension of the inputs.
INPUTS = 5
# Number of training data.
TRAINING = 200
# Number of validation data.
VALIDATION = 1000
STUDENTS = 40


@dataclass(frozen=True)
class Problem:
    """Student and teacher over inputs that are uniform on the sphere.

    Both clouds of neurons are Gaussian.
    """

    neurons: Callable[..., Neurons]
    teachers: int
    spread: float  # of the teacher's parameters; the student's is 1
    dt: float


@dataclass(frozen=True)
class Fading:
    """The beta of noise injection: linear from `initial` to 0 at four fifths of the steps."""

    initial: float
    steps: int

    def __call__(self, clock: Clock) -> float:
        return self.initial * max(0.0, 1 - clock.step / (0.8 * self.steps))


PROBLEMS = {
    "one neuron": Problem(partial(Neurons, activation=Tanh(), output_weight=False), 1, 3.0, 3.0),
    "three neurons": Problem(partial(Neurons, activation=Tanh(), output_weight=False), 3, 3.0, 3.0),
    "output weights": Problem(partial(Neurons, activation=ReLU()), 3, 2.0, 0.1),
}


def risks(name: str, seed: int, beta: float, steps: int) -> tuple[float, float, float]:
    """Return the validation risk at the start, and both risks (training, validation) at the end.

    beta = 0 is plain flow. Pairs share data, teacher and start.
    """
    problem, sphere = PROBLEMS[name], pf.samplers.Sphere(dim=INPUTS)
    seen, unseen = (
        problem.neurons(sphere.sample(n, seed=100 * k + seed))
        for k, n in ((1, TRAINING), (2, VALIDATION))
    )
    teacher = pf.samplers.Gaussian(dim=seen.dim, std=problem.spread).sample(
        problem.teachers, seed=seed
    )
    student = pf.samplers.Gaussian(dim=seen.dim).sample(STUDENTS, seed=50 + seed)
    flow = pf.mmd_flow(FeatureKernel(seen), noise=Fading(beta, steps) if beta else None)
    path = pf.simulate(
        flow, student, teacher, steps=steps, dt=problem.dt, save=pf.SaveAt(steps=[0]), seed=seed
    )
    if path.status != "completed":
        raise RuntimeError(f"{name}, seed {seed}: {path.status}: {path.message}")
    validation, training = (pf.metrics.MMD2(FeatureKernel(neurons)) for neurons in (unseen, seen))
    end = path.particles[-1]
    return validation(student, teacher), training(end, teacher), validation(end, teacher)


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    with environment.until_stopped(rows) as until, environment.workers(args.jobs, 1) as pool:
        for name in args.problems:
            asked = [
                [pool.submit(risks, name, seed, beta, args.steps) for beta in (0.0, args.beta)]
                for seed in range(args.seeds)
            ]
            rows.append(_row(name, [(plain.result(), noisy.result()) for plain, noisy in asked]))
            print(
                f"{name}: {rows[-1]['noise / plain']} ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    shown = [
        "teacher",
        "at the start",
        "plain",
        "noise",
        "noise / plain",
        "geometric mean",
        "seeds won",
    ]
    text = (
        f"Validation risk (mean square on {VALIDATION} fresh inputs) of {STUDENTS} neurons after"
        f" {args.steps} steps, noise fading from\nbeta = {args.beta:g}; {args.seeds}"
        " seed(s): the median, and the range in brackets.\n\n"
        + report.table(shown, [[row[key] for key in shown] for row in rows])
    )
    print("\n" + text)
    record = {
        "suite": "regression",
        "steps": args.steps,
        "seeds": args.seeds,
        "beta": args.beta,
        "rows": rows,
    }
    report.save(args.out, "regression", record, text, rows)
    if args.record and not until.stopped:
        report.insert(text, marks=MARKS)
    return 0


def _row(
    name: str, pairs: list[tuple[tuple[float, float, float], tuple[float, float, float]]]
) -> dict[str, Any]:
    ratios = [noisy[2] / plain[2] for plain, noisy in pairs]
    return {
        "teacher": name,
        "at the start": report.spread([plain[0] for plain, _ in pairs], 2),
        "plain": report.spread([plain[2] for plain, _ in pairs], 2),
        "noise": report.spread([noisy[2] for _, noisy in pairs], 2),
        "noise / plain": report.spread(ratios, 2),
        "geometric mean": f"{math.exp(statistics.fmean(map(math.log, ratios))):.2g}",
        "seeds won": f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)}",
        "pairs": pairs,
    }


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("regression", __doc__, jobs=1)
    parser.add_argument("--quick", action="store_true", help="two seeds, 200 steps")
    parser.add_argument(
        "--seeds", type=options.positive, default=5, help="pairs of runs of each problem (5)"
    )
    parser.add_argument(
        "--steps", type=options.positive, default=2000, help="steps of a run (2000)"
    )
    parser.add_argument("--beta", type=float, default=1.0, help="noise at the start (1)")
    parser.add_argument(
        "--problems",
        type=options.names(PROBLEMS),
        default=list(PROBLEMS),
        metavar="A,B",
        help="some of them (all)",
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.steps = 2, 200
    return args
