"""Trained witnesses beside each other: classifiers with and without a gradient penalty, WGAN critics, and KALE flow, at one budget."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import particleflow as pf
from benchmarks import environment, report
from benchmarks.compare import TUNING_SEED
from benchmarks.methods import LAM
from benchmarks.tasks import TASKS

HERE = Path(__file__).parent
MARKS = ("<!-- critics: begin -->", "<!-- critics: end -->")
# The budget: the same network, Adam and steps for all that is trained, and one grid of dt for all.
GRID = (0.004, 0.01, 0.025, 0.06)
STEPS, SEEDS = 250, 5
BUDGET: Mapping[str, Any] = {"width": 64, "depth": 2, "steps": 5, "first_steps": 300, "learning_rate": 3e-3}
RECORDS = 5


@dataclass(frozen=True)
class Method:
    title: str
    make: Callable[[float], pf.Flow]
    trained: bool = True


def _kale(bandwidth: float) -> pf.Flow:
    return pf.kale_flow(pf.kernels.Gaussian(bandwidth), lam=LAM)


METHODS = {
    "bce": Method("classifier (BCE), logit MonoFlow", lambda _: pf.mono_flow(pf.estimators.Classifier(**BUDGET))),
    "bce-gp": Method("the same, gradient penalty .1", lambda _: pf.mono_flow(pf.estimators.Classifier(gradient_penalty=0.1, **BUDGET))),
    "wgan-gp": Method("WGAN-GP, weight 10", lambda _: pf.wgan_flow(pf.estimators.GradientPenaltyCritic(**BUDGET))),
    "wgan-clip": Method("WGAN, weights clipped at .1", lambda _: pf.wgan_flow(pf.estimators.WeightClippingCritic(**BUDGET))),
    "lipschitz": Method("critic, 1-Lipschitz by construction", lambda _: pf.wgan_flow(pf.estimators.LipschitzCritic(**BUDGET))),
    "kale": Method(f"KALE flow, lam = {LAM:g}", _kale, trained=False),
}
CRITICS = ("wgan-gp", "wgan-clip", "lipschitz")
# The whistleblowers' task has all methods; on the others the classifier is set beside KALE flow.
PAIRS = [("rings", name) for name in METHODS] + [(task, name) for task in ("gaussians", "digits") for name in ("bce-gp", "kale")]


def measure(task: str, method: str, seed: int, steps: int, dt: float) -> dict[str, Any]:
    """One run: W2 to the sample that the flow saw and to another, and what it took for W1, over W1."""
    problem = TASKS[task].draw(seed)
    dtype = "float32" if METHODS[method].trained else "float64"
    x0, target, held_out = ((t.float() if METHODS[method].trained else t) for t in (problem.x0, problem.target, problem.held_out))
    flow = METHODS[method].make(TASKS[task].bandwidth)
    metrics = {"W2": pf.metrics.W2(), "W1": pf.metrics.W1()}
    began = time.process_time()
    path = pf.simulate(flow, x0, target, steps=steps, dt=dt, seed=seed, save=pf.SaveAt(every=max(1, steps // RECORDS)), metrics=metrics)
    ratios = [float(value) / float(distance) for value, distance in zip(path.energy, path.metrics["W1"], strict=True)] if method in CRITICS else []
    return {
        "task": task, "method": method, "seed": seed, "dt": dt, "dtype": dtype, "status": path.status, "message": path.message,
        "W2": float(path.metrics["W2"][-1]), "W2_held_out": pf.metrics.W2()(path.particles[-1], held_out), "steps": int(path.steps[-1]),
        "ratio_first": ratios[0] if ratios else None, "ratio_last": ratios[-1] if ratios else None, "cpu_seconds": time.process_time() - began,
    }  # fmt: skip


def best(rows: Sequence[dict[str, Any]]) -> float:
    """The dt of the run that completed and ended nearest to the target."""
    sound = [row for row in rows if row["status"] == "completed"]
    if not sound:
        raise RuntimeError(f"no dt of {GRID} suits {rows[0]['method']} on {rows[0]['task']}: {', '.join(row['status'] for row in rows)}")
    return float(min(sound, key=lambda row: row["W2"])["dt"])


def render(runs: Sequence[dict[str, Any]], steps: int) -> str:
    """Three tables: all methods on one task, the estimates of W1, and the classifier beside KALE flow."""
    groups = {pair: [run for run in runs if (run["task"], run["method"]) == pair] for pair in PAIRS}
    groups = {pair: rows for pair, rows in groups.items() if rows}
    text = []
    first = [(name, rows) for (task, name), rows in groups.items() if task == "rings"]
    if first:
        lines = [[METHODS[name].title, f"{rows[0]['dt']:g}", _spread(rows, "W2"), _spread(rows, "W2_held_out"), _ended(rows)] for name, rows in first]
        lead = f"Whistleblowers: three rings, {steps} steps, {len(first[0][1])} seeds, median (range)."
        text.append(lead + "\n\n" + report.table(["flow", "dt", "final W2", "held out", "status"], lines))
        columns = ("ratio_first", "ratio_last", "W2")
        lines = [[METHODS[name].title, *(_spread(rows, column) for column in columns)] for name, rows in first if name in CRITICS]
        headings = ["critic", "at the start", "at the end", "final W2"]
        text.append("Estimate / EMD of the critics in these runs:\n\n" + report.table(headings, lines))
    lines = []
    for task in TASKS:
        ours, theirs = groups.get((task, "bce-gp")), groups.get((task, "kale"))
        if ours and theirs:
            ratio = statistics.median(run["W2"] for run in ours) / statistics.median(run["W2"] for run in theirs)
            held = statistics.median(run["W2_held_out"] for run in ours) / statistics.median(run["W2_held_out"] for run in theirs)
            dts = f"{ours[0]['dt']:g}, {theirs[0]['dt']:g}"
            lines.append([task, dts, _spread(ours, "W2"), _spread(theirs, "W2"), f"{ratio:.2f}", "yes" if ratio <= 1.5 else "NO", f"{held:.2f}"])
    if lines:
        dts = ", ".join(map(str, GRID))
        lead = f"Classifier MonoFlow (logit, MLP, gradient penalty .1) beside KALE flow, {steps} steps, each at its best dt of {dts}:"
        headings = ["task", "dt", "final W2, classifier", "final W2, KALE", "ratio", "<= 1.5", "ratio, held out"]
        text.append(lead + "\n\n" + report.table(headings, lines))
    return "\n\n".join(text)


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    began = time.perf_counter()
    pairs = [pair for pair in PAIRS if pair[0] in options.tasks]
    with environment.workers(options.jobs, 1) as pool:
        tuning = [pool.submit(measure, task, name, TUNING_SEED, options.steps, dt) for task, name in pairs for dt in GRID]
        grid = [future.result() for future in tuning]
        chosen = {pair: best([row for row in grid if (row["task"], row["method"]) == pair]) for pair in pairs}
        print(f"dt chosen ({time.perf_counter() - began:.0f} s)", flush=True)
        work = [pool.submit(measure, *pair, seed, options.steps, chosen[pair]) for pair in pairs for seed in range(options.seeds)]
        runs = [future.result() for future in work]
        where = pool.submit(environment.describe).result()
    seconds = sum(row["cpu_seconds"] for row in [*grid, *runs])
    text = render(runs, options.steps) + f"\n\n{where['date']}, one thread a run, {seconds:.0f} s of work in all."
    if options.quick:
        text = "**Quick: a few steps. Do the runs work? These are no results.**\n\n" + text
    print("\n" + text)
    record = {"suite": "critics", "quick": options.quick, "budget": dict(BUDGET), "environment": where, "runs": runs, "grid": grid}
    paths = report.save(options.out, "critics-quick" if options.quick else "critics", record, text, runs)
    if options.record:
        report.insert(HERE / "README.md", text, marks=MARKS)
    print("\nwritten: " + ", ".join(os.path.relpath(path) for path in paths))
    return 0


def _spread(rows: Sequence[dict[str, Any]], name: str) -> str:
    return report.spread([row[name] for row in rows])


def _ended(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(sorted({row["status"] for row in rows}))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks critics", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="10 steps, one seed")
    parser.add_argument("--steps", type=int, help=f"of each flow ({STEPS})")
    parser.add_argument("--seeds", type=int, help=f"({SEEDS})")
    parser.add_argument("--tasks", type=partial(report.names, known=TASKS), default=list(TASKS), metavar="A,B", help=f"of {', '.join(TASKS)} (all)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--record", action="store_true", help="write the section of README.md")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the files (default benchmarks/results)")
    options = parser.parse_args(argv)
    options.steps = options.steps or (10 if options.quick else STEPS)
    options.seeds = options.seeds or (1 if options.quick else SEEDS)
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
