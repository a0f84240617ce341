"""The comparison of flows on the tasks of the suite, and with published numbers.

Every flow gets the same start and the same target sample, seed by seed. It runs with its default
settings, and with the best of as many trials as every other flow has. Equal steps, equal seconds
and equal numbers of fits are all shown.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from particleflow._files import replace_text
from particleflow._threads import processors
from particleflow.study import Contender, Result, Study, Task
from particleflow.study.environment import describe
from particleflow.study.progress import duration, say
from particleflow.study.store import filename, opened
from particleflow.study.work import Work, perform

from .. import options, report, tasks
from ..contenders import CONTENDERS
from ..supplied import Supplied, refuse_known, supplied
from . import modes, published, tables

# Number of characters at the end of a row's file name that a player's does not have.
DIGEST = 9
# Number of seeds of the comparison.
SEEDS = 10
# Number of trials of each contender on each task.
TRIALS = 4
# The tasks of a quick run: of two and ten dimensions, near and far.
QUICK_TASKS = ("rings", "far", "digits10", "outliers")
# Number of steps of a quick run.
QUICK_STEPS = 60
# Number of seeds of a quick run.
QUICK_SEEDS = 2
# Number of trials of a quick run.
QUICK_TRIALS = 2
# Number of seeds of the runs between far modes.
MODES_SEEDS = 3
# Seconds of all these runs on one processor, roughly.
MODES_SECONDS = 170.0
# The contenders that are sent between far modes: the flows of `auto_flow`, those with one
# bandwidth, a network, and exact transport.
MODES = (
    "auto",
    "mmd",
    "kale",
    "kde-mono",
    "mmd-fixed",
    "mmd-noise",
    "drmmd",
    "classifier-mono",
    "exact-w1",
)


def main(argv: Sequence[str]) -> int:
    return run(parsed(argv))


def run(args: argparse.Namespace) -> int:
    """Run the comparison with parsed options; return the exit code."""
    if args.list:
        for name in args.known_tasks:
            print(f"task      {name:15} {args.known_tasks[name]}")
        for name, one in args.known_contenders.items():
            print(f"contender {name:15} {one.title}")
        return 0
    if args.full:
        say(_estimate())
    result = study_of(args).run(jobs=args.jobs, folder=args.out / "study")
    text = tables.render(result, args.command) if tables.shown(result) else ""
    if result.interrupted:
        told = f"Stopped after {len(result.rows)} runs. The same command goes on from there."
        text = f"{told}\n\n{text}".rstrip()
    elif args.full:
        text += _full(args)
    if args.quick:
        text = "**Quick: few steps. Do the runs work? These are no results.**\n\n" + text
    print(f"\n{text}")
    paths = written(result, args.out, args.command, quick=args.quick)
    replace_text(args.out / "results.md", text + "\n")
    print("\nwritten: " + ", ".join(options.shown(path) for path in paths))
    return 0


def study_of(args: argparse.Namespace) -> Study:
    """The comparison that the options ask for, made once: it measures what its runs cost."""
    if args.study is None:
        args.study = Study(
            [_task(name, args) for name in args.tasks],
            [args.known_contenders[name] for name in args.contenders],
            seeds=args.seeds,
            tuning=args.tune,
        )
    study: Study = args.study
    return study


def expected(args: argparse.Namespace) -> float:
    """Roughly the seconds of the processor that all runs take, those of --full too."""
    return study_of(args).expected() + (full_seconds() if args.full else 0.0)


def full_seconds() -> float:
    """Seconds of the processor that the published runs and those between far modes take."""
    return sum(run.seconds for run in published.RUNS.values()) + MODES_SECONDS


def written(result: Result, out: Path, command: str, *, quick: bool = False) -> list[Path]:
    """Write results.json, results.csv, results.md, the players and the report; return the paths.

    The report has the statements and the speeds that other suites have left in the same folder.
    """
    paths = [*result.save(out), *result.players(out / "players")]
    if tables.shown(result):
        files = {path.stem: f"players/{path.name}" for path in paths if path.suffix == ".html"}
        stems = {name: filename([name])[:-DIGEST] for name in result.tasks}
        players = {name: files[stem] for name, stem in stems.items() if stem in files}
        paths.append(
            result.report(
                out / "report.html",
                truth=_beside(out, "truth", quick).get("statements"),
                speed=_beside(out, "speed", quick).get("rows", {}).get("lines", {}).get("lines"),
                players=players,
                command=command,
            )
        )
    return paths


def _beside(out: Path, suite: str, quick: bool) -> dict[str, Any]:
    """What another suite has left in the folder; nothing where it has not run."""
    file = out / f"{suite}{'-quick' * quick}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _task(name: str, args: argparse.Namespace) -> Task:
    if name not in tasks.TASKS:
        return next(one for one in args.supplied.tasks if one.name == name)
    return tasks.task(name, steps=QUICK_STEPS if args.quick else tasks.STEPS)


def _estimate() -> str:
    """How long the runs of --full take that are not the comparison's."""
    seconds = sum(run.seconds for run in published.RUNS.values())
    lines = [
        f"{len(published.RUNS)} published runs: about {duration(seconds)} of one processor",
        *(f"  {run.title}: {duration(run.seconds)}" for run in published.RUNS.values()),
        f"far modes, {len(MODES)} contenders at {len(modes.DISTANCES)} distances: about"
        f" {duration(MODES_SECONDS)}",
    ]
    return "\n".join(lines)


def _full(args: argparse.Namespace) -> str:
    """Run the published runs and those between far modes; return their tables."""
    works = [
        Work(
            ("published", name),
            partial(_published, name),
            {"run": name},
            seconds=run.seconds,
        )
        for name, run in published.RUNS.items()
    ]
    store = opened(args.out / "published")
    store.claim({"option": {"version of particleflow": describe([])["particleflow"]}})
    done = perform(works, store, jobs=args.jobs, progress=True)
    failed = {row["run"]: row["message"] for row in done.rows.values() if "values" not in row}
    rows = [row for work in works for row in done.rows.get(work.key, {}).get("values", [])]
    text = "\n\n" + tables.published(rows)
    text += "".join(f"\n\n{name} failed: {message}" for name, message in failed.items())
    record = {"suite": "published", "environment": describe(), "rows": rows}
    report.save(args.out, "published", record, text.strip(), rows)
    if done.interrupted:
        return text
    chosen = [CONTENDERS[name] for name in MODES]
    results = []
    for name, study in modes.studies(chosen, MODES_SEEDS).items():
        results.append(study.run(jobs=args.jobs, folder=args.out / name))
        if results[-1].interrupted:
            return text
    title = (
        f"Share of the particles in the far one of two modes after {modes.STEPS} steps, default"
        " settings; all start in the other one, and .5 is right:"
    )
    return f"{text}\n\n{title}\n\n{modes.table(results)}"


def _published(name: str) -> dict[str, Any]:
    rows = published.measure(name, max(published.RUNS[name].values))
    return {"status": rows[-1]["status"], "values": rows}


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the comparison; bad input ends the program."""
    parser = options.parser("", __doc__, record=False, jobs=min(2, processors()))
    parser.add_argument(
        "--list", action="store_true", help="print the tasks and the contenders, and stop"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick",
        action="store_true",
        help=f"{len(QUICK_TASKS)} tasks, {QUICK_STEPS} steps, {QUICK_SEEDS} seeds: a minute or two",
    )
    size.add_argument(
        "--full",
        action="store_true",
        help="also the longest statements, the published runs, and the mass between far modes",
    )
    parser.add_argument("--tasks", type=_words, metavar="A,B", help="(default: all)")
    parser.add_argument("--contenders", type=_words, metavar="A,B", help="(default: all)")
    parser.add_argument(
        "--seeds", type=options.positive, help=f"how many: 0, 1, ... (default {SEEDS})"
    )
    parser.add_argument(
        "--tune",
        type=options.whole,
        metavar="TRIALS",
        help=f"settings that each contender tries on each task, 0 for none (default {TRIALS})",
    )
    parser.add_argument(
        "--with",
        dest="supplied",
        type=supplied,
        default=Supplied(),
        metavar="FILE.py",
        help="a file that defines lists `tasks` or `contenders` of particleflow.study",
    )
    args = parser.parse_args(argv)
    args.study = None
    quick = args.quick
    args.seeds = args.seeds or (QUICK_SEEDS if quick else SEEDS)
    args.tune = (QUICK_TRIALS if quick else TRIALS) if args.tune is None else args.tune
    try:
        refuse_known(args.supplied, tasks.TASKS, CONTENDERS)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --with: {error}")
    args.known_tasks = {name: tasks.title(name) for name in tasks.TASKS} | {
        one.name: one.title for one in args.supplied.tasks
    }
    mine = {one.name: one for one in args.supplied.contenders}
    args.known_contenders: dict[str, Contender] = CONTENDERS | mine
    own = [one.name for one in args.supplied.tasks]
    usual = [*(QUICK_TASKS if quick else tasks.TASKS), *own]
    args.tasks = _chosen(parser, "tasks", args.tasks, args.known_tasks, usual)
    args.contenders = _chosen(
        parser, "contenders", args.contenders, args.known_contenders, list(args.known_contenders)
    )
    args.command = f"{options.PROGRAM} {shlex.join(_repeatable(argv))}".rstrip()
    return args


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(text.split(",")))


def _chosen(
    parser: argparse.ArgumentParser,
    option: str,
    given: list[str] | None,
    known: Mapping[str, Any],
    usual: Sequence[str],
) -> list[str]:
    """The names that were given, or the usual ones; an unknown name is refused."""
    if given is None:
        return list(usual)
    try:
        return options.names(known)(",".join(given))
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --{option}: {error}")


def _repeatable(argv: Sequence[str]) -> list[str]:
    """Return the options without --out, and without the folder of the file of --with."""
    kept: list[str] = []
    before = ""
    for argument in argv:
        option, equals, value = argument.partition("=")
        if before == "--with":
            kept.append(Path(argument).name)
        elif option == "--with" and equals:
            kept.append(f"--with={Path(value).name}")
        elif "--out" not in (before, option):
            kept.append(argument)
        before = argument
    return kept
