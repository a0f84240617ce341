"""The benchmark of sums over pairs, and of films, against goals.

The numbers are ratios within one run of one thread, from interleaved repetitions and medians of the
processor's time. Clouds are y ~ N(0, I) and x ~ N((0.5, 0.3, 0, ...), I), N = M, float32 unless
said. All particles are in another place at every repetition. A step is the velocity of an MMD flow
at all particles: N (N + M) pairs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from particleflow.study.environment import describe

from .. import environment, options, report
from ..goals import Goal
from ..timing import NotMeasuredError
from .goals import GOALS, ROWS

# Libraries whose versions are recorded.
LIBRARIES = ("llvmlite", "finufft", "pykeops", "matplotlib", "imageio-ffmpeg")
MARKS = ("<!-- speed: begin -->", "<!-- speed: end -->")


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    if args.list:
        for name, row in ROWS.items():
            print(f"row   {name:11} {(row.run.__doc__ or '').splitlines()[0]}")
        return 0
    record, text = speed(args)
    print()
    print(text)
    lines = [
        {key: line[key] for key in ("row", "what", "goal", "value", "reached")}
        for line in record["table"]
    ]
    report.save(args.out, "speed-quick" if args.quick else "speed", record, text, lines)
    if args.record:
        report.insert(text, marks=MARKS)
    return 1 if any("failed" in row for row in record["rows"].values()) else 0


def speed(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return all measurements for the JSON file, and the text of the tables."""
    load = environment.load()
    print(f"load of the machine at the start: {load}", flush=True)
    began = time.perf_counter()
    earlier = json.loads((args.out / "speed.json").read_text()) if args.again else {"rows": {}}
    rows = dict(earlier["rows"])
    with environment.until_stopped(rows) as until:
        for k, name in enumerate(args.rows, 1):
            rows[name] = measure(name, quick=args.quick)
            told = rows[name].get("failed") or rows[name].get("missing") or rows[name]["note"]
            print(
                f"[{k:2}/{len(args.rows)}] {name}: {told} ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    args.record &= not until.stopped
    with environment.workers(1, 1) as pool:
        where = pool.submit(describe).result()
    where |= {
        "load_before": load,
        "seconds": round(time.perf_counter() - began, 1),
        **{name: _version(name) for name in LIBRARIES},
    }
    rows = {name: rows[name] for name in ROWS if name in rows}
    if args.again:
        where["earlier"] = earlier["command"]
    table = [_line(goal, rows[goal.row]) for goal in GOALS if goal.row in rows]
    record = {
        "suite": "speed",
        "command": args.command,
        "quick": args.quick,
        "environment": where,
        "table": table,
        "rows": rows,
    }
    return _plain(record), render(record)


def measure(name: str, *, quick: bool) -> dict[str, Any]:
    """Measure one row in a fresh process: numbers, note and times.

    A row may also be `missing` or `failed`, with the reason.
    """
    row = ROWS[name]
    with environment.workers(1, row.threads) as pool:
        try:
            return pool.submit(row.run, **(row.quick if quick else row.full)).result()
        except (NotMeasuredError, ImportError) as error:
            return {"missing": f"not measured ({error})"}
        except Exception as error:  # one row that fails must not lose the others
            return {"failed": f"failed: {error!r}"}


def _line(goal: Goal, row: Mapping[str, Any]) -> dict[str, Any]:
    value = row.get("numbers", {}).get(goal.number)
    failed = "failed" if "failed" in row else None
    obtained = row.get("missing") or failed or ("-" if value is None else goal.form.format(value))
    return {
        "row": goal.row,
        "what": goal.what,
        "goal": goal.text,
        "value": value,
        "obtained": obtained,
        "reached": goal.reached(value),
    }


def render(record: Mapping[str, Any]) -> str:
    """Return the tables in Markdown."""
    where, quick = record["environment"], record["quick"]
    words = (
        {True: "(yes)", False: "(no)", None: "-"}
        if quick
        else {True: "yes", False: "NO", None: "-"}
    )
    lines = [
        f"`{record['command']}`, {where['date']}: {where['seconds']:.0f} s."
        + (f" The other rows are of `{where['earlier']}`." if "earlier" in where else ""),
        (
            f"{where['processor']}, {where['processors']} processors, one thread unless said, load"
            f" at the start {where['load_before']};"
        ),
        ", ".join(
            f"{name} {where[name]}" for name in ("python", "particleflow", "torch", *LIBRARIES)
        )
        + ".",
    ]
    if quick:
        lines += [
            "**Quick: smaller sizes and few repetitions. The goals are those of the full sizes,"
            " which the words in the table name.**"
        ]
    table = [
        [line["row"], line["what"], line["goal"], line["obtained"], words[line["reached"]]]
        for line in record["table"]
    ]
    lines += ["", report.table(["row", "what", "goal", "obtained", "reached"], table), ""]
    lines += [
        f"- {name}: {row.get('note') or row.get('missing') or row['failed']}"
        for name, row in record["rows"].items()
    ]
    for name, row in record["rows"].items():
        lines += ["", f"{name}: {row['legend']}", "", row["table"]] if "table" in row else []
    return "\n".join(lines)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "missing"


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: numbers that are not finite by their names."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("speed", __doc__)
    parser.add_argument("--list", action="store_true", help="print the rows, and stop")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, few repetitions")
    parser.add_argument(
        "--rows",
        type=options.names(ROWS),
        default=list(ROWS),
        metavar="A,B",
        help=f"of {', '.join(ROWS)} (all)",
    )
    parser.add_argument(
        "--again", action="store_true", help="keep the other rows of the run that OUT holds"
    )
    args = parser.parse_args(argv)
    chosen = [] if args.rows == list(ROWS) else [f"--rows {','.join(args.rows)}"]
    if args.again and (args.quick or not (args.out / "speed.json").is_file()):
        parser.error(
            f"--again goes on from a full run in {args.out}/speed.json, and not with --quick:"
            " leave it out"
        )
    flags = [
        *(["--quick"] if args.quick else []),
        *chosen,
        *(["--again"] if args.again else []),
    ]
    args.command = " ".join(["python -m benchmarks speed", *flags])
    return args
