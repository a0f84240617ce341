"""The speed of sums over pairs beside goals: ratios within one run, one thread, interleaved
repetitions, medians of the processor's time.

Clouds y ~ N(0, I), x ~ N((.5, .3, 0, ...), I), N = M, float32 unless said; all particles in another
place at every repetition. A step is the velocity of an MMD flow at all particles: N (N + M) pairs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import environment, promise_problems, report, speed_grid, speed_process, speed_rows
from benchmarks.timing import NotMeasuredError

HERE = Path(__file__).parent
LIBRARIES = ("llvmlite", "finufft", "pykeops")
MARKS = ("<!-- speed: begin -->", "<!-- speed: end -->")


@dataclass(frozen=True)
class Row:
    """One measurement: a function, run in a process of its own, with its full and its quick size."""

    run: Callable[..., dict[str, Any]]
    full: Mapping[str, Any]
    quick: Mapping[str, Any]
    threads: int = 1


ROWS = {
    "exact": Row(speed_rows.exact, {"n": 10_000, "rounds": 5}, {"n": 2000, "rounds": 3}),
    "mesh": Row(
        speed_rows.mesh,
        {"n": 10**6, "reference": 10_000, "rounds": 7},
        {"n": 10**5, "reference": 3000, "rounds": 3},
    ),
    "tenfold": Row(speed_rows.mesh_tenfold, {"n": 10**6, "rounds": 5}, {"n": 10**5, "rounds": 3}),
    "space": Row(
        speed_rows.mesh_in_space,
        {"n": 10**6, "reference": 10_000, "rounds": 5},
        {"n": 10**5, "reference": 3000, "rounds": 3},
    ),
    "mono": Row(speed_rows.mono, {"n": 10**6, "rounds": 7}, {"n": 10**5, "rounds": 3}),
    "small": Row(speed_rows.small_bandwidth, {"n": 10**5, "rounds": 5}, {"n": 20_000, "rounds": 3}),
    "nystroem": Row(
        speed_rows.nystroem,
        {"n": 10**5, "queries": 5000, "rounds": 5},
        {"n": 20_000, "queries": 1000, "rounds": 3},
    ),
    "auto": Row(
        speed_grid.grid,
        {
            "sizes": [10**k for k in range(2, 7)],
            "dims": [1, 2, 3, 10],
            "bandwidths": [0.005, 0.1, 2.0],
            "cap": 5.0,
            "rounds": 3,
        },
        {"sizes": [100, 3000], "dims": [2, 5], "bandwidths": [0.02, 0.5], "cap": 2.0, "rounds": 3},
    ),
    "threads": Row(
        speed_rows.threads,
        {"n_exact": 10_000, "n_mesh": 10**6, "rounds": 7},
        {"n_exact": 3000, "n_mesh": 10**5, "rounds": 3},
        2,
    ),
    "memory": Row(speed_process.memory, {"n": 10**6}, {"n": 10**5}),
    "promise": Row(promise_problems.measure, {"count": 100}, {"count": 9, "most": 1000}),
    "flow": Row(speed_process.flow, {"n": 10**6, "steps": 100}, {"n": 10**5, "steps": 20}),
    "first": Row(speed_process.first_use, {"n": 3000}, {"n": 3000}),
    "gpu": Row(speed_rows.gpu, {"n": 10**5, "rounds": 5}, {"n": 10**4, "rounds": 3}),
}


@dataclass(frozen=True)
class Goal:
    """A line of the table: a number of a row, and what it should be at least or at most."""

    row: str
    number: str
    what: str
    form: str
    least: float | None = None
    most: float | None = None

    @property
    def text(self) -> str:
        if self.least is not None:
            # At least 35 times as fast is at most 1/35 of the time.
            return f"{'<=' if self.form.startswith('1/') else '>='} {self.form.format(self.least)}"
        return f"<= {self.form.format(self.most)}" if self.most is not None else "reported"

    def reached(self, value: float | None) -> bool | None:
        if value is None or (self.least is None and self.most is None):
            return None
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


# {:.3g} and the like; "1/..." is a share of the other's time, kept as its inverse.
GOALS = (
    Goal(
        "exact",
        "over_broadcast",
        "exact gradient, d = 2, N = M = 1e4, against broadcast autograd as in the published codes",
        "{:.3g}x",
        least=150,
    ),
    Goal(
        "exact",
        "over_keops",
        "the same against KeOps, one fused formula with its default CPU flags",
        "{:.3g}x",
        least=18,
    ),
    Goal("exact", "error", "its relative error against float64", "{:.2g}", most=2e-6),
    Goal(
        "exact",
        "over_keops64",
        "the same in float64 against KeOps in float64",
        "{:.3g}x",
        least=4.5,
    ),
    Goal("exact", "error64", "its relative error (against 80 bits)", "{:.2g}", most=1e-13),
    Goal(
        "exact",
        "log",
        "log-sum-exp and its gradient against the plain gradient",
        "{:.3g}x",
        most=1.6,
    ),
    Goal(
        "mesh",
        "kept",
        "1e6 particles and targets, bandwidth .2, rtol 1e-5, target kept, against that KeOps step"
        " at 1e4",
        "1/{:.3g}",
        least=35,
    ),
    Goal("mesh", "fresh", "the same, both clouds spread", "1/{:.3g}", least=25),
    Goal("tenfold", "growth", "1e7 against 1e6", "{:.3g}x", most=13),
    Goal(
        "space",
        "kept",
        "1e6 in d = 3, bandwidth .2, rtol 1e-4, target kept, against that KeOps step",
        "1/{:.3g}",
        least=10,
    ),
    Goal(
        "mono",
        "over_mmd",
        "MonoFlow with KDE against MMD flow, a step at 1e6 particles and targets, d = 2,"
        " bandwidth .2",
        "{:.3g}x",
        most=3,
    ),
    Goal("mono", "default", "the same of KDE(), with its default bandwidth in a flow", "{:.3g}x"),
    Goal(
        "mono",
        "error",
        "the error of its log ratio, against exact sums in float64, tails first",
        "{:.2g}",
        most=1e-5,
    ),
    Goal(
        "small",
        "over_fourier",
        "d = 2, 1e5, bandwidth .01: Auto against Fourier",
        "1/{:.3g}",
        least=4,
    ),
    Goal("nystroem", "over_exact", "d = 10, 1e5: Nystroem against exact", "1/{:.3g}", least=20),
    Goal("nystroem", "error", "its relative error", "{:.2g}", most=1e-2),
    Goal(
        "auto",
        "worst",
        "Auto against the best fixed choice, the worst of a grid (N to 1e6, d 1 to 10, bandwidth"
        " .005 to 2)",
        "{:.3g}x",
        most=1.5,
    ),
    Goal(
        "threads",
        "exact",
        "both cores against one, exact (on the clock; an idle machine)",
        "{:.3g}x",
        least=1.6,
    ),
    Goal(
        "threads",
        "mesh",
        "both cores against one, mesh (on the clock; an idle machine)",
        "{:.3g}x",
        least=1.6,
    ),
    Goal(
        "memory",
        "gigabytes",
        "peak memory of a step at 1e6 over the process at rest",
        "{:.3g} GB",
        most=1,
    ),
    Goal(
        "promise",
        "kept",
        "promise >= true error, random problems: the least share kept by a backend",
        "{:.0%}",
        least=1,
    ),
    Goal(
        "promise", "slack", "median of promise / truth, the largest of a backend", "{:.3g}", most=30
    ),
    Goal(
        "promise",
        "fallbacks",
        "share of exact fallbacks, of all backends on all problems that they take",
        "{:.0%}",
        most=0.1,
    ),
    Goal(
        "flow",
        "share",
        "simulate, MMD flow, 1e6 particles, 100 steps: everything but the sums",
        "{:.1%}",
        most=0.15,
    ),
    Goal(
        "first",
        "empty",
        "first use of a backend in a new process, nothing compiled yet",
        "{:.2g} s",
        most=2,
    ),
    Goal("first", "cached", "the same once compiled code is on the disk", "{:.2g} s", most=2),
    Goal("gpu", "milliseconds", "exact step at 1e5 on a CUDA device", "{:.3g} ms"),
)


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    if options.list:
        for name, row in ROWS.items():
            print(f"row   {name:11} {(row.run.__doc__ or '').splitlines()[0]}")
        return 0
    record, text = speed(options)
    print()
    print(text)
    lines = [
        {key: line[key] for key in ("row", "what", "goal", "value", "reached")}
        for line in record["table"]
    ]
    paths = report.save(
        options.out, "speed-quick" if options.quick else "speed", record, text, lines
    )
    if options.record:
        report.insert(HERE / "README.md", text, marks=MARKS)
    print("\nwritten: " + ", ".join(os.path.relpath(path) for path in paths))
    return 1 if any("failed" in row for row in record["rows"].values()) else 0


def speed(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Everything measured, for the JSON file, and the text of the tables."""
    load = environment.load()
    print(f"load of the machine at the start: {load}", flush=True)
    began = time.perf_counter()
    earlier = (
        json.loads((options.out / "speed.json").read_text()) if options.again else {"rows": {}}
    )
    rows = dict(earlier["rows"])
    with environment.until_stopped(rows) as until:
        for k, name in enumerate(options.rows, 1):
            rows[name] = measure(name, quick=options.quick)
            told = rows[name].get("failed") or rows[name].get("missing") or rows[name]["note"]
            print(
                f"[{k:2}/{len(options.rows)}] {name}: {told} ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    options.record &= not until.stopped
    with environment.workers(1, 1) as pool:
        where = pool.submit(environment.describe).result()
    where |= {
        "load_before": load,
        "seconds": round(time.perf_counter() - began, 1),
        **{name: _version(name) for name in LIBRARIES},
    }
    rows = {name: rows[name] for name in ROWS if name in rows}
    if options.again:
        where["earlier"] = earlier["command"]
    table = [_line(goal, rows[goal.row]) for goal in GOALS if goal.row in rows]
    record = {
        "suite": "speed",
        "command": options.command,
        "quick": options.quick,
        "environment": where,
        "table": table,
        "rows": rows,
    }
    return _plain(record), render(record)


def measure(name: str, *, quick: bool) -> dict[str, Any]:
    """One row, in a fresh process: numbers, note and times; or why it is `missing`, or has
    `failed`.
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
    """The tables, in Markdown."""
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
    """What JSON can hold: numbers that are not finite by their names."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks speed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--list", action="store_true", help="print the rows, and stop")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, few repetitions")
    parser.add_argument(
        "--rows",
        type=partial(report.names, known=ROWS),
        default=list(ROWS),
        metavar="A,B",
        help=f"of {', '.join(ROWS)} (all)",
    )
    parser.add_argument(
        "--out",
        type=report.folder,
        default=HERE / "results",
        help="folder of the files (default benchmarks/results)",
    )
    parser.add_argument(
        "--again", action="store_true", help="keep the other rows of the run that OUT holds"
    )
    parser.add_argument(
        "--record", action="store_true", help="also put the tables into benchmarks/README.md"
    )
    options = parser.parse_args(argv)
    chosen = [] if options.rows == list(ROWS) else [f"--rows {','.join(options.rows)}"]
    if options.again and (options.quick or not (options.out / "speed.json").is_file()):
        parser.error(
            f"--again goes on from a full run in {options.out}/speed.json, and not with --quick:"
            " leave it out"
        )
    flags = [
        *(["--quick"] if options.quick else []),
        *chosen,
        *(["--again"] if options.again else []),
    ]
    options.command = " ".join(["python -m benchmarks speed", *flags])
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
