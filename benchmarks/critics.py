"""The comparison of trained witnesses at one budget.

It has classifiers of four losses with and without a gradient penalty, WGAN critics, and KALE flow.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.study.environment import describe

from . import environment, options, report, tasks
from .contenders import LAM

# The tasks on which the classifier is held against KALE flow.
TASKS = ("rings", "gaussians", "digits")
# The seed on which dt is chosen, used for nothing else.
TUNING_SEED = 10_000
# Values of dt that are tried, the same for all methods, in units of the flow's time.
GRID = (0.0001, 0.00025, 0.0006, 0.0015, 0.004, 0.01, 0.025, 0.06, 0.15, 0.4)
# The dt with which the search starts.
FIRST = 0.004
# Number of steps of a run.
STEPS = 250
# Number of seeds of a method.
SEEDS = 5
# The network, Adam and its steps, the same for all that is trained.
BUDGET: Mapping[str, Any] = {
    "width": 64,
    "depth": 2,
    "steps": 5,
    "first_steps": 300,
    "learning_rate": 3e-3,
}
RECORDS = 5
Cells = dict[tuple[str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]]
"""Task and method -> runs, and the runs that chose their dt."""


@dataclass(frozen=True)
class Method:
    title: str
    make: Callable[[float], pf.Flow]
    trained: bool = True


def _kale(bandwidth: float) -> pf.Flow:
    return pf.kale_flow(pf.kernels.Gaussian(bandwidth), lam=LAM)


def _classifier(loss: pf.losses.Loss, penalty: float) -> Callable[[float], pf.Flow]:
    return lambda _: pf.mono_flow(
        pf.estimators.Classifier(loss=loss, gradient_penalty=penalty, **BUDGET)
    )


LOSSES: dict[str, tuple[str, pf.losses.Loss]] = {
    "bce": ("BCE", pf.losses.BCE()),
    "lsgan": ("LSGAN(0, 1)", pf.losses.LSGAN()),
    "hellinger": ("squared Hellinger", pf.losses.SquaredHellinger()),
    "nwj": ("NWJ", pf.losses.NWJ()),
}
METHODS = {
    f"{name}{end}": Method(f"classifier, {title}{more}", _classifier(loss, penalty))
    for name, (title, loss) in LOSSES.items()
    for end, more, penalty in (("", "", 0.0), ("-gp", ", penalty .1", 0.1))
} | {
    "wgan-gp": Method(
        "WGAN-GP, weight 10", lambda _: pf.wgan_flow(pf.estimators.GradientPenaltyCritic(**BUDGET))
    ),
    "wgan-clip": Method(
        "WGAN, weights clipped at .1",
        lambda _: pf.wgan_flow(pf.estimators.WeightClippingCritic(**BUDGET)),
    ),
    "lipschitz": Method(
        "critic, 1-Lipschitz by construction",
        lambda _: pf.wgan_flow(pf.estimators.LipschitzCritic(**BUDGET)),
    ),
    "kale": Method(f"KALE flow, lam = {LAM:g}", _kale, trained=False),
}
CRITICS = ("wgan-gp", "wgan-clip", "lipschitz")
PARTS = {
    "whistleblowers": [("rings", name) for name in METHODS],
    "beside-kale": [(task, name) for task in TASKS for name in ("bce-gp", "kale")],
}


def measure(task: str, method: str, seed: int, steps: int, dt: float) -> dict[str, Any]:
    """Make one run and measure W2 to the sample that the flow saw and to a held-out one.

    For a critic also its estimate of W1 over the exact W1, at the first and the last record.
    """
    problem = tasks.task(task, **tasks.LARGER).draw(seed)
    dtype = "float32" if METHODS[method].trained else "float64"
    x0, target, held_out = (
        (t.float() if METHODS[method].trained else t)
        for t in (problem.x0, problem.target, problem.held_out)
    )
    flow = METHODS[method].make(problem.bandwidth)
    metrics: dict[str, Callable[[Cloud, Cloud], float]] = {
        "W2": pf.metrics.W2(),
        "W1": pf.metrics.W1(),
    }
    row = {"task": task, "method": method, "seed": seed, "dt": dt, "dtype": dtype}
    began = time.process_time()
    try:
        path = pf.simulate(
            flow,
            x0,
            target,
            steps=steps,
            dt=dt,
            seed=seed,
            save=pf.SaveAt(every=max(1, steps // RECORDS)),
            metrics=metrics,
        )
    except ValueError as error:
        nothing = dict.fromkeys(("W2", "W2_start", "W2_held_out"), math.nan) | dict.fromkeys(
            ("ratio_first", "ratio_last")
        )
        return (
            row
            | nothing
            | {
                "status": "not started",
                "message": str(error),
                "steps": 0,
                "cpu_seconds": time.process_time() - began,
            }
        )
    ratios = (
        [
            float(value) / float(distance)
            for value, distance in zip(path.energy, path.metrics["W1"], strict=True)
        ]
        if method in CRITICS
        else []
    )
    return row | {
        "status": path.status,
        "message": path.message,
        "W2": float(path.metrics["W2"][-1]),
        "W2_start": float(path.metrics["W2"][0]),
        "W2_held_out": pf.metrics.W2()(path.particles[-1], held_out),
        "steps": int(path.steps[-1]),
        "ratio_first": ratios[0] if ratios else None,
        "ratio_last": ratios[-1] if ratios else None,
        "cpu_seconds": time.process_time() - began,
    }


def rank(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Return a key that puts the best run first.

    First come the runs that completed nearer to the target than they began, by their final W2. Then
    come the others, the smallest dt first.
    """
    arrives = row["status"] == "completed" and row["W2"] < row["W2_start"]
    return not arrives, float(row["W2"] if arrives else row["dt"])


def walk(run: Callable[[float], dict[str, Any]]) -> list[dict[str, Any]]:
    """Run GRID from FIRST downhill, until both neighbours of the best dt are known.

    The best run is the first of the list.
    """
    rows: dict[int, dict[str, Any]] = {}
    best = GRID.index(FIRST)
    while True:
        for k in (best, best - 1, best + 1):
            if 0 <= k < len(GRID) and k not in rows:
                rows[k] = run(GRID[k])
        nearest = min(rows, key=lambda k: rank(rows[k]))
        if nearest == best:
            return [rows.pop(best), *rows.values()]
        best = nearest


def cell(
    task: str, method: str, steps: int, seeds: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the runs of all seeds at the chosen dt, and the runs that chose it."""
    tuning = walk(lambda dt: measure(task, method, TUNING_SEED, steps, dt))
    return [measure(task, method, seed, steps, tuning[0]["dt"]) for seed in range(seeds)], tuning


def render(part: str, runs: Sequence[dict[str, Any]], steps: int) -> str:
    """Return the tables of one part.

    They show all methods on one task with the W1 estimates, or the classifier beside KALE flow.
    """
    groups = {
        pair: [run for run in runs if (run["task"], run["method"]) == pair] for pair in PARTS[part]
    }
    return _beside_kale(groups, steps) if part == "beside-kale" else _whistleblowers(groups, steps)


def _whistleblowers(groups: Mapping[tuple[str, str], Sequence[dict[str, Any]]], steps: int) -> str:
    lines = []
    for (_, name), rows in groups.items():
        dt = rows[0]["dt"]
        lines.append(
            [
                METHODS[name].title,
                f"{dt:g}",
                _spread(rows, "W2"),
                _spread(rows, "W2_held_out"),
                _ended(rows),
            ]
        )
    text = f"Whistleblowers: three rings, {steps} steps, {len(rows)} seeds, median (range).\n\n"
    text += report.table(["flow", "dt", "final W2", "held out", "status"], lines)
    columns = ("ratio_first", "ratio_last", "W2")
    lines = [
        [METHODS[name].title, *(_spread(rows, column) for column in columns)]
        for (_, name), rows in groups.items()
        if name in CRITICS
    ]
    return (
        text
        + "\n\nEstimate / EMD of the critics in these runs:\n\n"
        + report.table(["critic", "at the start", "at the end", "final W2"], lines)
    )


def _beside_kale(groups: Mapping[tuple[str, str], Sequence[dict[str, Any]]], steps: int) -> str:
    lines = []
    for task in TASKS:
        ours, theirs = groups[task, "bce-gp"], groups[task, "kale"]
        ratio = statistics.median(run["W2"] for run in ours) / statistics.median(
            run["W2"] for run in theirs
        )
        held = statistics.median(run["W2_held_out"] for run in ours) / statistics.median(
            run["W2_held_out"] for run in theirs
        )
        dts = f"{ours[0]['dt']:g}, {theirs[0]['dt']:g}"
        lines.append(
            [
                task,
                dts,
                _spread(ours, "W2"),
                _spread(theirs, "W2"),
                f"{ratio:.2f}",
                "yes" if ratio <= 1.5 else "NO",
                f"{held:.2f}",
            ]
        )
    lead = (
        f"Classifier MonoFlow (logit, MLP, BCE, gradient penalty .1) beside KALE flow, {steps}"
        " steps, each at its best dt of the grid:"
    )
    headings = [
        "task",
        "dt",
        "final W2, classifier",
        "final W2, KALE",
        "ratio",
        "<= 1.5",
        "ratio, held out",
    ]
    return lead + "\n\n" + report.table(headings, lines)


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    cells: Cells = {}
    with environment.until_stopped(cells) as until, environment.workers(args.jobs, 1) as pool:
        where = pool.submit(describe).result()
        _measure(pool, args, cells)
    for part in args.parts:
        mine = [cells[pair] for pair in PARTS[part] if pair in cells]
        if not mine:
            continue
        whole = len(mine) == len(PARTS[part])
        runs = [run for found, _ in mine for run in found]
        grid = [run for _, tuning in mine for run in tuning]
        text = (
            render(part, runs, args.steps)
            if whole
            else f"Stopped after {len(mine)} of {len(PARTS[part])} cells."
        )
        text += (
            f"\n\n{where['date']}, one thread a run,"
            f" {sum(row['cpu_seconds'] for row in [*grid, *runs]):.0f} s of work in all."
        )
        if args.quick:
            text = "**Quick: a few steps. Do the runs work? These are no results.**\n\n" + text
        print("\n" + text)
        record = {
            "suite": "critics",
            "part": part,
            "quick": args.quick,
            "budget": dict(BUDGET),
            "environment": where,
            "runs": runs,
            "grid": grid,
        }
        report.save(args.out, f"critics-{part}{'-quick' if args.quick else ''}", record, text, runs)
        if args.record and not until.stopped:
            report.insert(
                text,
                marks=(f"<!-- critics, {part}: begin -->", f"<!-- critics, {part}: end -->"),
            )
        return 0


def _measure(pool: Executor, args: argparse.Namespace, found: Cells) -> None:
    """Measure what the parts need, each cell once, into `found`."""
    began = time.perf_counter()
    pairs = dict.fromkeys(pair for part in args.parts for pair in PARTS[part])
    work = {pair: pool.submit(cell, *pair, args.steps, args.seeds) for pair in pairs}
    for (task, name), future in work.items():
        found[task, name] = runs, _ = future.result()
        print(
            f"{task}, {name}: dt = {runs[0]['dt']:g}, W2 {_spread(runs, 'W2')}"
            f" ({time.perf_counter() - began:.0f} s)",
            flush=True,
        )


def _spread(rows: Sequence[dict[str, Any]], name: str) -> str:
    return (
        report.spread([row[name] for row in rows])
        if all(math.isfinite(row[name]) for row in rows)
        else "none"
    )


def _ended(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(sorted({row["status"] for row in rows}))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("critics", __doc__, jobs=2)
    parser.add_argument("--quick", action="store_true", help="10 steps, one seed")
    parser.add_argument("--steps", type=options.positive, help=f"of each flow ({STEPS})")
    parser.add_argument("--seeds", type=options.positive, help=f"({SEEDS})")
    parser.add_argument(
        "--parts",
        type=options.names(PARTS),
        default=list(PARTS),
        metavar="A,B",
        help=f"of {', '.join(PARTS)} (all)",
    )
    parser.add_argument("--jobs", type=options.positive, default=2, help="runs at a time (2)")
    args = parser.parse_args(argv)
    args.steps = args.steps or (10 if args.quick else STEPS)
    args.seeds = args.seeds or (1 if args.quick else SEEDS)
    return args
