"""The benchmark of log ratio estimators: their error on Gaussians as samples grow."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import particleflow as pf
from particleflow import estimators
from particleflow.estimators import Estimator
from particleflow.kernels import CrossValidated, Gaussian, Scott, default_bandwidth
from particleflow.samplers import Gaussian as Normal

from . import environment, options, report

MARKS = ("<!-- ratios: begin -->", "<!-- ratios: end -->")
SIZES = (100, 1000, 10_000, 100_000)
# Number of fresh points from each of the two distributions.
QUERIES = 1000
# Largest |log r| up to which both samples have points: beyond, less than a fiftieth of the points
# come from one of the two distributions.
NEAR = 4.0

# target p, particles q
PROBLEMS = {
    "line": (Normal(mean=[0.0], cov=[[1.0]]), Normal(mean=[1.0], cov=[[1.44]])),
    "mild": (
        Normal(mean=[0.0, 0.0], cov=[[0.8, 0.3], [0.3, 0.6]]),
        Normal(mean=[0.5, 0.5], cov=[[1.0, 0.0], [0.0, 1.0]]),
    ),
    "plane": (
        Normal(mean=[0.0, 0.0], cov=[[1.0, 0.8], [0.8, 0.89]]),
        Normal(mean=[1.0, 1.0], cov=[[1.0, 0.0], [0.0, 1.0]]),
    ),
}
# the estimator for a target and its sample; all by their defaults, where they have them
ESTIMATORS: dict[str, Callable[[Normal, Tensor], Estimator]] = {
    "known p and fitted q": lambda p, y: estimators.ClosedForm(p, estimators.Moments()),
    "KDE": lambda p, y: estimators.KDE(),
    "KDE(CrossValidated())": lambda p, y: estimators.KDE(CrossValidated()),
    "KDE(Scott())": lambda p, y: estimators.KDE(Scott()),
    "KALE(lam=1e-2)": lambda p, y: estimators.KALE(Gaussian(2 * default_bandwidth(y)), lam=1e-2),
    "KALE(lam=.1 n^-1/2)": lambda p, y: estimators.KALE(
        Gaussian(2 * default_bandwidth(y)), lam=0.1 * len(y) ** -0.5
    ),
    "KernelLogistic": lambda p, y: estimators.KernelLogistic(),
    "ULSIF": lambda p, y: estimators.ULSIF(),
    "RuLSIF": lambda p, y: estimators.RuLSIF(),
    "KLIEP": lambda p, y: estimators.KLIEP(),
    "Classifier": lambda p, y: estimators.Classifier(),
    "SklearnClassifier": lambda p, y: estimators.SklearnClassifier(),
}


def error(problem: str, name: str, n: int, seed: int) -> dict[str, float]:
    """Return root mean squares of the error of log r over equally many fresh points of p and q.

    They are over all points, over those of q, over those of p, and over those with |log r| <= NEAR.
    The share of the latter and the processor's seconds of the fit are returned, too.
    """
    p, q = PROBLEMS[problem]
    x, y = q.sample(n, seed=4 * seed), p.sample(n + n // 10, seed=4 * seed + 1)
    z = torch.cat([q.sample(QUERIES, seed=4 * seed + 2), p.sample(QUERIES, seed=4 * seed + 3)])
    estimator: Estimator = ESTIMATORS[name](p, y)
    began = time.process_time()
    witness = pf.fit(estimator, x, y, seed=seed).witness
    seconds = time.process_time() - began
    log_r = p.log_density(z) - q.log_density(z)
    squares, near = (witness.value_and_grad(z)[0] - log_r).square(), log_r.abs() <= NEAR
    parts = {"all": squares, "q": squares[:QUERIES], "p": squares[QUERIES:], "near": squares[near]}
    return {part: float(these.mean().sqrt()) for part, these in parts.items()} | {
        "share": float(near.double().mean()),
        "seconds": seconds,
    }


def rate(sizes: Sequence[int], errors: Sequence[float]) -> float:
    """Return a of the least-squares fit error = c n^-a."""
    slope, _ = statistics.linear_regression(
        [math.log(n) for n in sizes], [math.log(e) for e in errors]
    )
    return -slope


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    sizes = SIZES[:2] if args.quick else SIZES
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    shares: dict[str, float] = {}
    with environment.until_stopped(rows) as until, environment.workers(args.jobs, 1) as pool:
        for problem in PROBLEMS:
            for name in args.estimators:
                runs: list[dict[str, Any]] = []
                for n in sizes:
                    asked = [
                        pool.submit(error, problem, name, n, seed) for seed in range(args.seeds)
                    ]
                    runs.append({"n": n, "seeds": [each.result() for each in asked]})
                rows.append(_row(problem, name, runs))
                shares[problem] = statistics.mean(found["share"] for found in runs[-1]["seeds"])
                print(
                    f"{problem}, {name}: {rows[-1][f'all, n = {sizes[-1]}']}"
                    f" ({time.perf_counter() - began:.0f} s)",
                    flush=True,
                )
    text = _tables(rows, sizes, shares, args.seeds)
    print("\n" + text)
    name = "ratios-quick" if args.quick else "ratios"
    report.save(args.out, name, {"suite": "ratios", "seeds": args.seeds, "rows": rows}, text, rows)
    if args.record and not until.stopped:
        report.insert(text, marks=MARKS)
    return 0


def _row(problem: str, name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians and ranges over seeds, at each n."""
    row: dict[str, Any] = {"problem": problem, "estimator": name, "runs": runs}
    for part in ("near", "all", "q", "p"):
        columns = [[found[part] for found in run["seeds"]] for run in runs]
        row |= {
            f"{part}, n = {run['n']}": report.spread(column, 2)
            for run, column in zip(runs, columns, strict=True)
        }
        medians = [statistics.median(column) for column in columns]
        row[f"{part}, rate"] = f"{rate([run['n'] for run in runs], medians):.2f}"
    return row | {"fit, s": f"{min(found['seconds'] for found in runs[-1]['seeds']):.2g}"}


def _tables(
    rows: list[dict[str, Any]], sizes: Sequence[int], shares: Mapping[str, float], seeds: int
) -> str:
    reached = ", ".join(f"{share:.0%} ({name})" for name, share in shares.items())
    both, last = ("problem", "estimator"), sizes[-1]
    near = {
        **{key: key for key in both},
        **{f"n = {n}": f"near, n = {n}" for n in sizes},
        "rate": "near, rate",
        "fit, s": "fit, s",
    }
    everywhere = {
        **{key: key for key in both},
        **{f"n = {n}": f"all, n = {n}" for n in sizes},
        "rate": "all, rate",
    }
    everywhere |= {"of q": f"q, n = {last}", "of p": f"p, n = {last}"}
    parts = [
        (
            f"Root mean square of the error of log r over {2 * QUERIES} fresh points, half of each"
            f" distribution; n particles and 1.1 n target points;\n{seeds} seed(s): the median, and"
            " the range in brackets. `rate` is a of the fit error = c n^-a. `fit, s`: the"
            " processor's seconds of the\nfit at the largest n, the least of the seeds.\n\nOf the"
            f" points where |log r| <= {NEAR:g}, which both samples reach: {reached}.\n"
        ),
        report.table(list(near), [[row[key] for key in near.values()] for row in rows]),
        f"\nOf all points; at n = {last} also of those of q, and of those of p.\n",
        report.table(list(everywhere), [[row[key] for key in everywhere.values()] for row in rows]),
    ]
    return "\n".join(parts)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("ratios", __doc__, jobs=1)
    parser.add_argument("--quick", action="store_true", help="n = 100 and 1000, one seed")
    parser.add_argument("--seeds", type=options.positive, default=3, help="pairs of samples (3)")
    parser.add_argument(
        "--estimators",
        type=options.names(ESTIMATORS),
        default=list(ESTIMATORS),
        metavar="A,B",
        help="some (all)",
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds = 1
    return args
