"""The flows beside each other on three tasks, and beside public numbers.

Every flow gets the same start, the same target sample, the same kernel and the same number of Euler
steps; its dt is its own: `flow.suggest_dt`, or, with --dt-grid, the best of several multiples of it
on a seed that is used for nothing else.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks import environment, published, report
from benchmarks.measure import Job, measure
from benchmarks.methods import METHODS
from benchmarks.tasks import TASKS

HERE = Path(__file__).parent
TUNING_SEED = 10_000
GRID = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SLOW_START = 60  # steps' worth of work that suggest_dt and the first fit take
STARTING = 5.0  # seconds until the workers are up

STEPS, SEEDS, PUBLISHED = 1000, 3, 5000
QUICK_STEPS, QUICK_SEEDS = 60, 1


def calibrate(flow: str, task: str) -> float:
    """Seconds of this process a step takes, roughly."""
    row = measure(Job(task, flow, TUNING_SEED, 6, dt=1e-4))
    return float(row["cpu_ms_per_step"]) / 1e3


def tune(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the runs of one flow on one task with several dt, the sound one (completed, no energy
    rose) that ended nearest to the target.
    """
    sound = [row for row in rows if row["status"] == "completed" and not row["energy_rose"]]
    if not sound:
        raise RuntimeError(
            f"no dt of the grid suits {rows[0]['flow']} on {rows[0]['task']}:"
            f" {', '.join(_status(row) for row in rows)}"
        )
    return min(sound, key=lambda row: row["W2"])


class Crew:
    """Hands work to the pool and says how far it is: a bar on a terminal, else a line each."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool
        self.stopped = False

    def run(
        self, work: Sequence[tuple[Callable[..., Any], tuple[Any, ...], str]], what: str
    ) -> list[Any]:
        """Results in the order of `work`: (function, arguments, label) each; the first are started
        first. None of what a signal has stopped.
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
    options = _options(argv)
    if options.list:
        for kind, named in (("task", TASKS), ("flow", METHODS)):
            for name, thing in named.items():
                print(f"{kind:5} {name:11} {thing.title}")
        return 0
    with environment.workers(options.jobs, options.threads) as pool:
        record, runs, text = compare(options, pool)
    print()
    print(text)
    paths = report.save(options.out, options.name, record, text, runs)
    if options.record:
        report.insert(HERE / "README.md", text)
    print("\nwritten: " + ", ".join(os.path.relpath(path) for path in paths))
    return 0 if all(run["status"] == "completed" for run in runs) else 1


def compare(
    options: argparse.Namespace, pool: ProcessPoolExecutor
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Everything measured: the record for the JSON file, one row a run, and the text of the tables."""
    crew = Crew(pool)
    began = time.perf_counter()
    load = environment.load()
    described = pool.submit(environment.describe)
    costs = dict(
        zip(
            options.flows,
            pool.map(calibrate, options.flows, [options.tasks[0]] * len(options.flows)),
            strict=True,
        )
    )
    # The dearest first, so that no worker is left with a long run at the end.
    flows = sorted(options.flows, key=lambda flow: -costs[flow])
    pairs = [(task, flow) for flow in flows for task in options.tasks]
    repeats = [
        (published.measure, (flow, options.published), f"published {flow}")
        for flow in flows
        if flow in published.RUNS
    ]
    _announce(options, costs, len(repeats))

    grid: list[dict[str, Any]] = []
    chosen: dict[tuple[str, str], float | None] = dict.fromkeys(pairs)
    if options.dt_grid:
        jobs = [
            Job(task, flow, TUNING_SEED, options.steps, factor)
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
        Job(task, flow, seed, options.steps, dt=chosen[task, flow])
        for task, flow in pairs
        if chosen
        for seed in range(options.seeds)
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
        for k, (task, flow) in enumerate(
            (task, flow) for task in options.tasks for flow in options.flows
        )
    }
    runs = sorted(
        (row for row in results[len(repeats) :] if row is not None),
        key=lambda row: (order[row["task"], row["flow"]], row["seed"]),
    )

    where = described.result()
    seconds = sum(row["cpu_seconds"] for row in [*runs, *grid, *(rows[0] for rows in repeated)])
    where |= {
        "jobs": options.jobs,
        "load_before": load,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(seconds, 1),
    }
    record = {
        "suite": "compare",
        "command": options.command,
        "environment": where,
        "dt": (
            f"the best final W2 among multiples of suggest_dt on seed {TUNING_SEED}"
            if options.dt_grid
            else "flow.suggest_dt"
        ),
        "tasks": {name: TASKS[name].title for name in options.tasks},
        "flows": {name: METHODS[name].title for name in options.flows},
        "runs": runs,
        "grid": grid,
        "published": public,
    }
    if crew.stopped:
        options.record = False
        done = {
            kind: list(dict.fromkeys(run[kind[:-1]] for run in runs)) for kind in ("tasks", "flows")
        }
        record |= {
            kind: {name: record[kind][name] for name in names} for kind, names in done.items()
        }
        return (
            record,
            runs,
            f"Stopped after {len(runs)} of {len(jobs)} runs.\n\n{render(record) if runs else ''}".rstrip(),
        )
    return record, runs, render(record)


def render(record: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    where, runs = record["environment"], record["runs"]
    pairs = [(task, flow) for task in record["tasks"] for flow in record["flows"]]
    groups = {pair: [run for run in runs if (run["task"], run["flow"]) == pair] for pair in pairs}
    busy = statistics.median(
        [run["ms_per_step"] / run["cpu_ms_per_step"] for run in runs if run["ms_per_step"]]
        or [math.nan]
    )
    first, seeds = runs[0], len({run["seed"] for run in runs})
    lines = [
        (
            f"`{record['command']}`, {where['date']}: {where['seconds']:.0f} s, of which"
            f" {where['cpu_seconds'] / where['jobs']:.0f} s of work."
        ),
        (
            f"{where['processor']}, {where['processors']} processors, {where['jobs']} runs at a"
            f" time of {where['threads']} thread(s) each;"
        ),
        (
            f"Python {where['python']}, particleflow {where['particleflow']}, torch"
            f" {where['torch']}, POT {where['POT']}. dt: {record['dt']}."
        ),
        (
            f"N = {first['particles']}, M = {first['targets']}, {seeds} seed(s): the median, and"
            " the range in brackets."
        ),
    ]
    if busy > 1.25:
        lines += [
            f"Other programs ran on these processors: a step took {busy:.1f} times its work."
            " Compare the CPU times."
        ]
    lines += ["", report.table(_TASK_HEADINGS, [_task_row(name, runs) for name in record["tasks"]])]
    lines += [
        "",
        report.table(_HEADINGS, [_row(task, flow, rows) for (task, flow), rows in groups.items()]),
    ]
    if record["grid"]:
        lines += [
            "",
            (
                "W2 at the end with multiples of the suggested dt (! where an energy rose, and how"
                " a run ended early):"
            ),
            "",
        ]
        lines += [
            report.table(
                ["task", "flow", "suggested", *(f"x {factor:g}" for factor in GRID)],
                _grid_rows(record["grid"]),
            )
        ]
    if record["published"]:
        lines += [
            "",
            (
                "Public numbers (official notebooks; three rings, N = M = 240, the published start)"
                " beside ours:"
            ),
            "",
        ]
        lines += [
            report.table(
                ["run", "dt", "step", "published", "ours", "difference"],
                [_public_row(row) for row in record["published"]],
            )
        ]
    return "\n".join(lines)


_TASK_HEADINGS = (
    "task",
    "bandwidth",
    "W2 at the start",
    "MMD^2 at the start",
    "W2 target to held-out",
    "MMD^2 target to held-out",
)
_HEADINGS = (
    "task",
    "flow",
    "W2",
    "W2 held-out",
    "MMD^2",
    "MMD^2 held-out",
    "ms/step",
    "CPU ms/step",
    "steps",
    "dt",
    "t",
    "status",
)


def _task_row(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    once = list({run["seed"]: run for run in runs if run["task"] == name}.values())
    columns = ("W2_start", "MMD2_start", "W2_target_held_out", "MMD2_target_held_out")
    return [
        name,
        f"{once[0]['bandwidth']:.3g}",
        *(report.spread([run[column] for run in once]) for column in columns),
    ]


def _row(task: str, flow: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    def of(column: str, digits: int = 3) -> str:
        values = [row[column] for row in rows if row[column] is not None]
        return report.spread(values, digits) if values else "-"

    numbers = [of(column) for column in ("W2", "W2_held_out", "MMD2", "MMD2_held_out")]
    times = [of("ms_per_step"), of("cpu_ms_per_step"), of("steps", 6), of("dt"), of("t")]
    return [task, flow, *numbers, *times, ", ".join(dict.fromkeys(_status(row) for row in rows))]


def _status(row: dict[str, Any]) -> str:
    if row["status"] == "unstable":
        return (
            "completed, but the energy rose"
            if row["energy_rose"]
            else "completed, but most particles left"
        )
    if row["status"] != "completed":
        return f"seed {row['seed']} {row['status']} at step {row['curve'][-1]['step']}"
    return "completed, but the energy rose" if row["energy_rose"] else "completed"


def _grid_rows(grid: Sequence[dict[str, Any]]) -> list[list[str]]:
    pairs = dict.fromkeys((row["task"], row["flow"]) for row in grid)
    rows = []
    for pair in pairs:
        mine = [row for row in grid if (row["task"], row["flow"]) == pair]
        cells = [
            (
                f"{row['W2']:.3g}{'!' if row['energy_rose'] else ''}"
                if row["status"] == "completed"
                else row["status"]
            )
            for row in mine
        ]
        rows.append([*pair, f"{mine[0]['dt'] / mine[0]['factor']:.3g}", *cells])
    return rows


def _public_row(row: dict[str, Any]) -> list[str]:
    ours, theirs = row["ours"], row["published"]
    facts = [
        f"{row['flow']}: {row['quantity']}",
        f"{row['dt']:g}",
        str(row["step"]),
        f"{theirs:.3g}",
    ]
    return (
        [*facts, row["status"], "-"]
        if ours is None
        else [*facts, f"{ours:.4g}", f"{round(100 * (ours / theirs - 1), 1) + 0:+.1f} %"]
    )


def _announce(options: argparse.Namespace, costs: dict[str, float], repeats: int) -> None:
    each = len(options.tasks) * (options.seeds + (len(GRID) if options.dt_grid else 0))
    work = sum(each * (options.steps + SLOW_START) * cost for cost in costs.values())
    work += sum(options.published * cost for flow, cost in costs.items() if flow in published.RUNS)
    seconds = STARTING + work / min(options.jobs, environment.processors())
    crew = (
        f"{options.jobs} at a time, {options.threads} thread(s) each on {environment.processors()}"
        " processors"
    )
    print(
        f"{each * len(costs) + repeats} runs, {crew}: about {seconds:.0f} s if nothing else runs"
        " here",
        flush=True,
    )


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--list", action="store_true", help="print the tasks and the flows, and stop"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_STEPS} steps, {QUICK_SEEDS} seed, public numbers at the start only",
    )
    parser.add_argument("--steps", type=_positive, help=f"of every flow (default {STEPS})")
    parser.add_argument("--seeds", type=_positive, help=f"how many: 0, 1, ... (default {SEEDS})")
    parser.add_argument(
        "--tasks",
        type=_names(TASKS),
        default=list(TASKS),
        metavar="A,B",
        help=f"of {', '.join(TASKS)} (all)",
    )
    parser.add_argument(
        "--flows",
        type=_names(METHODS),
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
        type=_positive,
        default=min(2, environment.processors()),
        help="runs at a time (default %(default)s)",
    )
    parser.add_argument(
        "--threads", type=_positive, default=1, help="threads of each run (default %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=report.folder,
        default=HERE / "results",
        help="folder of the files (default benchmarks/results)",
    )
    parser.add_argument("--name", help="NAME.json, .md and .csv (default compare, compare-quick)")
    parser.add_argument(
        "--record", action="store_true", help="also put the tables into benchmarks/README.md"
    )
    options = parser.parse_args(argv)
    quick = options.quick
    options.steps = options.steps or (QUICK_STEPS if quick else STEPS)
    options.seeds = options.seeds or (QUICK_SEEDS if quick else SEEDS)
    options.published = (
        options.published if options.published is not None else (0 if quick else PUBLISHED)
    )
    options.name = options.name or ("compare-quick" if quick else "compare")
    options.command = " ".join(["python -m benchmarks", *_repeatable(argv)])
    return options


def _repeatable(argv: Sequence[str]) -> list[str]:
    """The options without the one that names a place."""
    kept, skip = [], False
    for argument in argv:
        place = argument == "--out"
        if not (skip or place or argument.startswith("--out=")):
            kept.append(argument)
        skip = place
    return kept


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got '{text}'")
    return int(text)


def _names(known: Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(known)}, got '{unknown[0]}'")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
