"""Estimators of the log ratio beside its closed form: the error on Gaussians as samples grow."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import particleflow as pf
from benchmarks import environment, report
from particleflow import estimators
from particleflow.estimators import Estimator
from particleflow.kernels import Gaussian, Scott, default_bandwidth
from particleflow.samplers import Gaussian as Normal

HERE = Path(__file__).parent
MARKS = ("<!-- ratios: begin -->", "<!-- ratios: end -->")
SIZES = (100, 1000, 10_000, 100_000)
QUERIES = 1000

# target p, particles q
PROBLEMS = {
    "line": (Normal(mean=[0.0], cov=[[1.0]]), Normal(mean=[1.0], cov=[[1.44]])),
    "plane": (Normal(mean=[0.0, 0.0], cov=[[1.0, 0.8], [0.8, 0.89]]), Normal(mean=[1.0, 1.0], cov=[[1.0, 0.0], [0.0, 1.0]])),
}
# name: largest n, and the estimator for a target and its sample; all by their defaults, where they have them
ESTIMATORS = {
    "known p, fitted q": (100_000, lambda p, y: estimators.ClosedForm(p, estimators.Moments())),
    "KDE": (100_000, lambda p, y: estimators.KDE()),
    "KDE(Scott())": (100_000, lambda p, y: estimators.KDE(Scott())),
    "KALE": (100_000, lambda p, y: estimators.KALE(Gaussian(2 * default_bandwidth(y)), lam=1e-2)),
    "KernelLogistic": (100_000, lambda p, y: estimators.KernelLogistic()),
    "ULSIF": (100_000, lambda p, y: estimators.ULSIF()),
    "RuLSIF": (100_000, lambda p, y: estimators.RuLSIF()),
    "KLIEP": (100_000, lambda p, y: estimators.KLIEP()),
    "Classifier": (100_000, lambda p, y: estimators.Classifier()),
    "SklearnClassifier": (100_000, lambda p, y: estimators.SklearnClassifier()),
}


def error(problem: str, name: str, n: int, seed: int) -> tuple[float, float]:
    """Root mean square of the error of log r over fresh points, half of each law, and the processor's seconds of the fit."""
    p, q = PROBLEMS[problem]
    x, y = q.sample(n, seed=4 * seed), p.sample(n + n // 10, seed=4 * seed + 1)
    z = torch.cat([q.sample(QUERIES // 2, seed=4 * seed + 2), p.sample(QUERIES // 2, seed=4 * seed + 3)])
    estimator: Estimator = ESTIMATORS[name][1](p, y)
    began = time.process_time()
    witness = pf.fit(estimator, x, y, seed=seed).witness
    seconds = time.process_time() - began
    wrong = witness.value_and_grad(z)[0] - (p.log_density(z) - q.log_density(z))
    return float(wrong.square().mean().sqrt()), seconds


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    sizes = SIZES[:2] if options.quick else SIZES
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    with environment.workers(options.jobs, 1) as pool:
        for problem in PROBLEMS:
            for name in options.estimators:
                row: dict[str, Any] = {"problem": problem, "estimator": name}
                for n in sizes:
                    if n > ESTIMATORS[name][0]:
                        row[f"n = {n}"] = "-"
                        continue
                    asked = [pool.submit(error, problem, name, n, seed) for seed in range(options.seeds)]
                    found = [each.result() for each in asked]
                    row |= {f"n = {n}": report.spread([e for e, _ in found], 2), "fit, s": f"{min(s for _, s in found):.2g}"}
                    row.setdefault("runs", []).append({"n": n, "errors": [e for e, _ in found], "seconds": [s for _, s in found]})
                rows.append(row)
                print(f"{problem}, {name}: {row[f'n = {sizes[-1]}']} ({time.perf_counter() - began:.0f} s)", flush=True)
    shown = ["problem", "estimator", *(f"n = {n}" for n in sizes), "fit, s"]
    text = (
        f"Root mean square of the error of log r over {QUERIES} fresh points, half of each law; {options.seeds} seed(s): the median,\n"
        "and the range in brackets. n particles and 1.1 n target points. The last column is the fit at the largest n.\n\n"
    ) + report.table(shown, [[row[key] for key in shown] for row in rows])
    print("\n" + text)
    name = "ratios-quick" if options.quick else "ratios"
    paths = report.save(options.out, name, {"suite": "ratios", "seeds": options.seeds, "rows": rows}, text, rows)
    print("\nwritten: " + ", ".join(os.path.relpath(path) for path in paths))
    if options.record:
        report.insert(HERE / "README.md", text, marks=MARKS)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks ratios", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="n = 100 and 1000, one seed")
    parser.add_argument("--seeds", type=int, default=3, help="pairs of samples (3)")
    parser.add_argument("--estimators", type=partial(report.names, known=ESTIMATORS), default=list(ESTIMATORS), metavar="A,B", help="some (all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, of one thread each (1)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the files (default benchmarks/results)")
    parser.add_argument("--record", action="store_true", help="also put the table into benchmarks/README.md")
    options = parser.parse_args(argv)
    if options.quick:
        options.seeds = 1
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
