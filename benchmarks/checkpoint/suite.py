"""Runs with a checkpoint: killed at random and gone on with, their time and their memory.

Processes are killed by SIGKILL while they step and write. Each kill is followed by a run from the
last committed state to the end, which is compared bit for bit with the run that was never stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .. import environment, options, report
from ..goals import Goal
from . import kills, size

# Kills of each estimator's run; 200 in all.
KILLS, QUICK_KILLS = 50, 3
# Steps of a run that is killed.
STEPS = 40
# Particles and steps of the two runs whose times are compared.
COST = {"particles": 100_000, "steps": 8000}
QUICK_COST = {"particles": 100_000, "steps": 400}
# Particles and steps of the run whose memory is measured, and steps between its records.
MEMORY = {"particles": 1_000_000, "steps": 1000, "every": 10}
QUICK_MEMORY = {"particles": 100_000, "steps": 100, "every": 10}


def goals(quick: bool) -> tuple[Goal, ...]:
    """The lines of the table."""
    count = len(kills.FLOWS) * (QUICK_KILLS if quick else KILLS)
    cost, large = (QUICK_COST, QUICK_MEMORY) if quick else (COST, MEMORY)
    return (
        Goal("kills", "kills", "random SIGKILLs over four estimators", "{:.0f}", count),
        Goal("kills", "lost", "committed states that were lost", "{:.0f}", None, 0),
        Goal("kills", "equal", "runs equal to the straight one, bit for bit", "{:.0f}", count),
        Goal(
            "cost",
            "ratio",
            f"time with a checkpoint every 20 steps, {cost['particles']:.0e} particles, MMD flow",
            "{:.3f}x",
            None,
            1.05,
        ),
        Goal("cost", "least", "its interval (95 %): from", "{:.3f}x"),
        Goal("cost", "most", "to", "{:.3f}x"),
        Goal("cost", "work", "the same, of the processor, writing beside the steps", "{:.3f}x"),
        Goal("cost", "once", "seconds at the start and the end of a run", "{:.2f}"),
        Goal(
            "memory",
            "peak",
            f"{large['particles']:.0e} particles, {large['steps']} steps, records every 10:"
            " GB over the process at rest",
            "{:.2f}",
            None,
            1.0,
        ),
        Goal("memory", "records", "GB of its records", "{:.2f}"),
    )


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    if args.cost:
        with environment.workers(1, args.cost) as pool:
            cost = pool.submit(size.cost, **(QUICK_COST if args.quick else COST)).result()
        print(", ".join(f"{name} {value:.4g}" for name, value in cost.items()), flush=True)
        return 0
    load = environment.load()
    with environment.workers(1, 1) as pool:
        # first of all, in a process that has done nothing else
        large = pool.submit(size.memory, **(QUICK_MEMORY if args.quick else MEMORY)).result()
        print(", ".join(f"{name} {value:.3g}" for name, value in large.items()), flush=True)
    with environment.workers(1, 1) as pool:
        cost = pool.submit(size.cost, **(QUICK_COST if args.quick else COST)).result()
        print(", ".join(f"{name} {value:.3g}" for name, value in cost.items()), flush=True)
        found = {}
        for name in kills.FLOWS:
            found[name] = pool.submit(_killed, name, QUICK_KILLS if args.quick else KILLS).result()
            told = ", ".join(f"{key} {value}" for key, value in found[name].items())
            print(f"{name}: {told}", flush=True)
    whole = {key: sum(one[key] for one in found.values()) for key in ("kills", "lost", "equal")}
    rows = {"kills": whole, "cost": cost, "memory": large}
    text = report.against(goals(args.quick), rows)
    text = f"{text}\n\nMean number of runnable processes in the minute before: {load}."
    report.finish(args, "checkpoint", text, {**rows, **found}, load=load)
    return int(whole["lost"] > 0 or whole["equal"] < whole["kills"])


def _killed(name: str, count: int) -> dict[str, int]:
    """Kill the run of an estimator so many times, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        return asdict(kills.killed(name, count, STEPS, Path(place)))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("checkpoint", __doc__)
    parser.add_argument("--quick", action="store_true", help="12 kills, and small runs")
    parser.add_argument(
        "--cost",
        type=options.positive,
        metavar="THREADS",
        help="only the time that checkpoints take, of runs with so many threads",
    )
    return parser.parse_args(argv)
