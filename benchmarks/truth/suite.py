"""The benchmark of truth: what papers and our pages state, measured over ten seeds or more.

Each statement has a number, and the range that its source states for it.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from particleflow._files import alone
from particleflow.study import environment, work
from particleflow.study.digests import of_function
from particleflow.study.progress import duration
from particleflow.study.store import digest, opened
from particleflow.study.work import Work

from .. import options, report
from .catalogue import SECTIONS, STATEMENTS
from .statement import HOLDS, Statement

# Seeds of a statement with --quick.
QUICK_SEEDS = 3
# The cost of one seed up to which a statement takes part in --quick, in seconds.
QUICK_SECONDS = 0.25
# The cost of one seed up to which a statement is measured without --full, in seconds: those
# beyond it, a fifth of all, take two thirds of the time.
FULL_SECONDS = 0.75
Row = dict[str, Any]
Job = tuple[Statement, int]
"""A statement and a seed."""


def main(argv: Sequence[str]) -> int:
    args = parsed(argv)
    if args.list:
        for statement in STATEMENTS.values():
            print(f"truth {statement.name:36} {statement.words}")
        return 0
    chosen = [STATEMENTS[name] for name in args.only]
    jobs = jobs_of(args)
    seconds = expected(jobs) / min(args.jobs, environment.processors())
    print(
        f"{len(chosen)} statements, {len(jobs)} measurements: about {duration(seconds)} in"
        f" {args.jobs} process(es)",
        flush=True,
    )
    rows, stopped = perform(jobs, args.jobs, args.out / "truth")
    outcomes = [outcome(each, rows) for each in chosen if any(r["name"] == each.name for r in rows)]
    text = render(outcomes)
    if args.quick:
        text = (
            f"**Quick: {QUICK_SEEDS} seeds, and only statements that cost at most"
            f" {QUICK_SECONDS:g} s a seed.**\n\n{text}"
        )
    if stopped:
        text = "**Stopped: the statements that were measured.**\n\n" + text
    print("\n" + text)
    record = {
        "suite": "truth",
        "quick": args.quick,
        "environment": environment.describe() | {"threads": 1, "jobs": args.jobs},
        "statements": outcomes,
    }
    name = "truth-quick" if args.quick else "truth-only" if args.chosen else "truth"
    report.save(args.out, name, record, text, rows)
    return int(any(unexplained(found) for found in outcomes))


def jobs_of(args: argparse.Namespace) -> list[Job]:
    """The statements that were chosen, with their seeds."""
    chosen = [STATEMENTS[name] for name in args.only]
    return [(each, seed) for each in chosen for seed in range(seeds_of(each, args.seeds))]


def seeds_of(statement: Statement, asked: int | None) -> int:
    """The number of seeds of a statement; `asked` counts where something is random."""
    return asked if asked is not None and statement.random else statement.seeds


def expected(jobs: Sequence[Job]) -> float:
    """Seconds of work: the runs that statements of one group share are made once."""
    costs: dict[tuple[str, int], float] = {}
    for statement, seed in jobs:
        key = statement.group, seed
        costs[key] = max(costs.get(key, 0.0), statement.seconds)
    return sum(costs.values())


def perform(jobs: Sequence[Job], processes: int, folder: Path) -> tuple[list[Row], bool]:
    """The rows of jobs, and whether a signal stopped them; rows in the folder are not made again.

    Jobs of one group and seed are measured one after the other in one process: they share runs.
    """
    groups: dict[tuple[str, int], list[Job]] = {}
    for statement, seed in jobs:
        groups.setdefault((statement.group, seed), []).append((statement, seed))
    works = [
        Work(
            ("truth", *(each.name for each, _ in group), f"seed {seed}"),
            partial(attempts, [(each.name, each.measure, seed) for each, _ in group]),
            seconds=expected(group),
        )
        for (_, seed), group in groups.items()
    ]
    store = opened(folder)
    with alone(store.folder, "out"):
        store.claim(
            {
                "statement": {each.name: digest(of_function(each.measure)) for each, _ in jobs},
                "option": {"version of particleflow": environment.describe([])["particleflow"]},
            }
        )
        done = work.perform(works, store, jobs=processes, progress=True)
    found = [row for one in works for row in done.rows.get(one.key, {}).get("rows", [])]
    return found, done.interrupted


def attempts(jobs: Sequence[tuple[str, Callable[[int], float], int]]) -> dict[str, list[Row]]:
    """The measurements of one group and seed, as one row of the folder."""
    return {"rows": [attempt(*job) for job in jobs]}


def attempt(name: str, measure: Callable[[int], float], seed: int) -> Row:
    """Measure one seed. A measure that raises, or gives no finite number, is a row with its error.

    Warnings are not shown: what the package warns of is what some statements are about.
    """
    began, value, error = time.process_time(), None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(measure(seed))
        if not math.isfinite(value):
            value, error = None, f"the number is {value}"
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    seconds = time.process_time() - began
    return {"name": name, "seed": seed, "value": value, "seconds": seconds, "error": error}


def outcome(statement: Statement, rows: Sequence[Row]) -> dict[str, Any]:
    """What the rows say of a statement."""
    mine = sorted((row for row in rows if row["name"] == statement.name), key=lambda r: r["seed"])
    values = [row["value"] for row in mine]
    return {
        "section": next((title for title, part in SECTIONS.items() if statement in part), ""),
        "name": statement.name,
        "words": statement.words,
        "source": statement.source,
        "number": statement.number,
        "low": statement.low,
        "high": statement.high,
        "stated": statement.stated,
        "random": statement.random,
        "seeds": [row["seed"] for row in mine],
        "values": values,
        "within": sum(map(statement.within, values)),
        "errors": [row["error"] for row in mine if row["error"]],
        "seconds": sum(row["seconds"] for row in mine),
        "verdict": statement.verdict(values),
        "note": statement.note,
        "command": statement.command,
    }


def unexplained(found: Mapping[str, Any]) -> bool:
    """Whether a statement does not hold for each seed and no note tells why."""
    return found["verdict"] != HOLDS and not found["note"]


def render(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of the sections, and below them what does not hold, with the reasons."""
    headings = ["statement", "number", "stated", "median (range)", "seeds within", "verdict"]
    parts = []
    for title in dict.fromkeys(found["section"] for found in outcomes):
        cells = [
            [
                found["name"],
                found["number"],
                found["stated"],
                _spread(found["values"]),
                f"{found['within']} of {len(found['values'])}",
                found["verdict"],
            ]
            for found in outcomes
            if found["section"] == title
        ]
        parts.append(f"### {title}\n\n{report.table(headings, cells)}")
    failing = [found for found in outcomes if found["verdict"] != HOLDS]
    count = f"{len(outcomes) - len(failing)} of {len(outcomes)} statements hold for every seed."
    parts.append(count)
    parts += [
        f"- **{found['name']}** {found['verdict']}. {found['words']}"
        f" {found['note'] or 'No reason is known.'}"
        + "".join(f" {error}." for error in dict.fromkeys(found["errors"]))
        for found in failing
    ]
    return "\n\n".join(parts)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return report.spread(known, 4) if known else "none"


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the statements; bad input ends the program."""
    parser = options.parser("truth", __doc__, record=False, jobs=2)
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"statements of at most {QUICK_SECONDS:g} s a seed, {QUICK_SEEDS} seeds",
    )
    parser.add_argument(
        "--only", type=options.names(STATEMENTS), metavar="A,B", help="some statements (all)"
    )
    parser.add_argument(
        "--seeds", type=options.positive, help="of each random statement (its own, 10 or more)"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"also statements that cost more than {FULL_SECONDS:g} s a seed",
    )
    parser.add_argument("--list", action="store_true", help="list the statements")
    args = parser.parse_args(argv)
    if args.quick and args.seeds is None:
        args.seeds = QUICK_SEEDS
    args.chosen = args.only is not None
    if args.only is None:
        most = QUICK_SECONDS if args.quick else math.inf if args.full else FULL_SECONDS
        args.only = [name for name, each in STATEMENTS.items() if each.seconds <= most]
    return args
