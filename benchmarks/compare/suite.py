"""The comparison of the flows on three tasks, and with published numbers.

Every flow gets the same start, the same target sample, the same kernel and the same number of Euler
steps. Each flow has its own dt: `flow.suggest_dt`, or, with --dt-grid, the best of several
multiples of it on a seed that is used for nothing else.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from .. import environment, options, report
from ..tasks import TASKS
from . import published
from .measure import GRID, Job, measure, status
from .methods import METHODS
from .tables import render

# The seed on which dt is chosen, used for nothing else.
TUNING_SEED = 10_000
# Work of suggest_dt and the first fit, in steps.
SLOW_START = 60
# Seconds until the workers are up.
STARTING = 5.0

# Number of steps of a run.
STEPS = 1000
# Number of seeds of a flow on a task.
SEEDS = 3
# Most steps of a published run.
PUBLISHED = 5000
# Number of steps of a quick run.
QUICK_STEPS = 60
# Number of seeds of a quick run.
QUICK_SEEDS = 1


def calibrate(flow: str, task: str) -> float:
    """Return roughly the seconds of this process that a step takes."""
    row = measure(Job(task, flow, TUNING_SEED, 6, dt=1e-4))
    return float(row["cpu_ms_per_step"]) / 1e3


def tune(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the best of the runs of one flow on one task with several dt.

    It is the run that ended nearest to the target among those that completed with no rise of
    energy.
    """
    sound = [row for row in rows if row["status"] == "completed" and not row["energy_rose"]]
    if not sound:
        raise RuntimeError(
            f"no dt of the grid suits {rows[0]['flow']} on {rows[0]['task']}:"
            f" {', '.join(status(row) for row in rows)}"
        )
    return min(sound, key=lambda row: row["W2"])


class Crew:
    """A pool of workers and its progress: a bar on a terminal, lines elsewhere."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool
        self.stopped = False

    def run(
        self, work: Sequence[tuple[Callable[..., Any], tuple[Any, ...], str]], what: str
    ) -> list[Any]:
        """Return results in the order of `work`, whose entries are (function, arguments, label).

        The first entries start first. An entry that a signal has stopped has no result.
        """
        from tqdm import tqdm

        labels: dict[Future[Any], str] = {
            self.pool.submit(function, *arguments): label for function, arguments, label in work
        }
        began = time.perf_counter()
        results: dict[Future[Any], Any] = {}
        with (
            environment.until_stopped(results) as until,
            tqdm(total=len(work), desc=what, unit="run", disable=None) as bar,
        ):
            for done, future in enumerate(as_completed(labels), 1):
                results[future] = future.result()
                bar.update()
                if bar.disable:
                    print(
                        f"[{done:3}/{len(work)}] {labels[future]}"
                        f" ({time.perf_counter() - began:.0f} s)",
                        flush=True,
                    )
                else:
                    bar.set_postfix_str(labels[future])
        self.stopped = until.stopped
        if self.stopped:
            environment.end(self.pool)
        return [results.get(future) for future in labels]


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    if args.list:
        for kind, named in (("task", TASKS), ("flow", METHODS)):
            for name, thing in named.items():
                print(f"{kind:5} {name:11} {thing.title}")
        return 0
    with environment.workers(args.jobs, args.threads) as pool:
        record, runs, text = compare(args, pool)
    print()
    print(text)
    report.save(args.out, args.name, record, text, runs)
    if args.record:
        report.insert(text)
    return 0 if all(run["status"] == "completed" for run in runs) else 1


def compare(
    args: argparse.Namespace, pool: ProcessPoolExecutor
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Return the record for the JSON file, a row a run, and the text of the tables."""
    crew = Crew(pool)
    began = time.perf_counter()
    load = environment.load()
    described = pool.submit(environment.describe)
    costs = dict(
        zip(
            args.flows,
            pool.map(calibrate, args.flows, [args.tasks[0]] * len(args.flows)),
            strict=True,
        )
    )
    # The most expensive flows start first, so that no worker is left with a long run at the end.
    flows = sorted(args.flows, key=lambda flow: -costs[flow])
    pairs = [(task, flow) for flow in flows for task in args.tasks]
    repeats = [
        (published.measure, (flow, args.published), f"published {flow}")
        for flow in flows
        if flow in published.RUNS
    ]
    _announce(args, costs, len(repeats))

    grid: list[dict[str, Any]] = []
    chosen: dict[tuple[str, str], float | None] = dict.fromkeys(pairs)
    if args.dt_grid:
        jobs = [
            Job(task, flow, TUNING_SEED, args.steps, factor)
            for task, flow in pairs
            for factor in GRID
        ]
        tried = crew.run(
            [
                (measure, (job,), f"{job.flow} on {job.task}, {job.factor:g} x suggest_dt")
                for job in jobs
            ],
            "choosing dt",
        )
        grid = [row for row in tried if row is not None]
        chosen = (
            {}
            if crew.stopped
            else {
                pair: tune([row for row in grid if (row["task"], row["flow"]) == pair])["dt"]
                for pair in pairs
            }
        )
    jobs = [
        Job(task, flow, seed, args.steps, dt=chosen[task, flow])
        for task, flow in pairs
        if chosen
        for seed in range(args.seeds)
    ]
    work = [
        *repeats,
        *((measure, (job,), f"{job.flow} on {job.task}, seed {job.seed}") for job in jobs),
    ]
    results = [None] * len(work) if crew.stopped else crew.run(work, "runs")
    repeated = [rows for rows in results[: len(repeats)] if rows is not None]
    public = [row for rows in repeated for row in rows]
    order = {
        (task, flow): k
        for k, (task, flow) in enumerate((task, flow) for task in args.tasks for flow in args.flows)
    }
    runs = sorted(
        (row for row in results[len(repeats) :] if row is not None),
        key=lambda row: (order[row["task"], row["flow"]], row["seed"]),
    )

    where = described.result()
    seconds = sum(row["cpu_seconds"] for row in [*runs, *grid, *(rows[0] for rows in repeated)])
    where |= {
        "jobs": args.jobs,
        "load_before": load,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(seconds, 1),
    }
    record = {
        "suite": "compare",
        "command": args.command,
        "environment": where,
        "dt": (
            f"the best final W2 among multiples of suggest_dt on seed {TUNING_SEED}"
            if args.dt_grid
            else "flow.suggest_dt"
        ),
        "tasks": {name: TASKS[name].title for name in args.tasks},
        "flows": {name: METHODS[name].title for name in args.flows},
        "runs": runs,
        "grid": grid,
        "published": public,
    }
    if crew.stopped:
        args.record = False
        done = {
            kind: list(dict.fromkeys(run[kind[:-1]] for run in runs)) for kind in ("tasks", "flows")
        }
        record |= {
            kind: {name: record[kind][name] for name in names} for kind, names in done.items()
        }
        tables = f"\n\n{render(record)}" if runs else ""
        return record, runs, f"Stopped after {len(runs)} of {len(jobs)} runs.{tables}"
    return record, runs, render(record)


def _announce(args: argparse.Namespace, costs: dict[str, float], repeats: int) -> None:
    each = len(args.tasks) * (args.seeds + (len(GRID) if args.dt_grid else 0))
    work = sum(each * (args.steps + SLOW_START) * cost for cost in costs.values())
    work += sum(args.published * cost for flow, cost in costs.items() if flow in published.RUNS)
    seconds = STARTING + work / min(args.jobs, environment.processors())
    crew = (
        f"{args.jobs} at a time, {args.threads} thread(s) each on {environment.processors()}"
        " processors"
    )
    print(
        f"{each * len(costs) + repeats} runs, {crew}: about {seconds:.0f} s if nothing else runs"
        " here",
        flush=True,
    )


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("", __doc__)
    parser.add_argument(
        "--list", action="store_true", help="print the tasks and the flows, and stop"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_STEPS} steps, {QUICK_SEEDS} seed, public numbers at the start only",
    )
    parser.add_argument("--steps", type=options.positive, help=f"of every flow (default {STEPS})")
    parser.add_argument(
        "--seeds", type=options.positive, help=f"how many: 0, 1, ... (default {SEEDS})"
    )
    parser.add_argument(
        "--tasks",
        type=options.names(TASKS),
        default=list(TASKS),
        metavar="A,B",
        help=f"of {', '.join(TASKS)} (all)",
    )
    parser.add_argument(
        "--flows",
        type=options.names(METHODS),
        default=list(METHODS),
        metavar="A,B",
        help=f"of {', '.join(METHODS)} (all)",
    )
    parser.add_argument(
        "--dt-grid",
        action="store_true",
        help="choose each dt among multiples of the suggested one (slow)",
    )
    parser.add_argument(
        "--published",
        type=int,
        choices=(0, 5000, 10_000, 15_000),
        help=f"repeat the public runs up to this step (default {PUBLISHED})",
    )
    parser.add_argument(
        "--jobs",
        type=options.positive,
        default=min(2, environment.processors()),
        help="runs at a time (default %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=options.positive,
        default=1,
        help="threads of each run (default %(default)s)",
    )
    parser.add_argument("--name", help="NAME.json, .md and .csv (default compare, compare-quick)")
    args = parser.parse_args(argv)
    quick = args.quick
    args.steps = args.steps or (QUICK_STEPS if quick else STEPS)
    args.seeds = args.seeds or (QUICK_SEEDS if quick else SEEDS)
    args.published = args.published if args.published is not None else (0 if quick else PUBLISHED)
    args.name = args.name or ("compare-quick" if quick else "compare")
    args.command = " ".join(["python -m benchmarks", *_repeatable(argv)])
    return args


def _repeatable(argv: Sequence[str]) -> list[str]:
    """Return the options without the one that names a place."""
    kept, skip = [], False
    for argument in argv:
        place = argument == "--out"
        if not (skip or place or argument.startswith("--out=")):
            kept.append(argument)
        skip = place
    return kept
