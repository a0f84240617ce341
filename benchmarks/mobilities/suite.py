"""Which rescalings of the ratio reach the target: final |mean| of MonoFlows, naive descents and
LSGAN codings beside the stated ranges.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import environment, report
from benchmarks.mobility_flows import CASES, PARTICLES, final_mean

HERE = Path(__file__).parent
MARKS = ("<!-- mobilities: begin -->", "<!-- mobilities: end -->")


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    with environment.until_stopped(rows) as until, environment.workers(options.jobs, 1) as pool:
        asked = {
            name: [
                pool.submit(final_mean, name, seed, options.steps) for seed in range(options.seeds)
            ]
            for name in options.flows
        }
        for name, futures in asked.items():
            rows.append(_row(name, [future.result() for future in futures]))
            print(
                f"{name}: {rows[-1]['final mean, norm']} ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    shown = ["flow", "climbs r", "stated", "final mean, norm", "median inside"]
    text = (
        f"{PARTICLES} particles, {options.steps} steps to t = 20, {options.seeds} seed(s): the"
        " median, and the range in brackets.\n\n"
    )
    text += report.table(shown, [[row[key] for key in shown] for row in rows])
    print("\n" + text)
    record = {"suite": "mobilities", "steps": options.steps, "seeds": options.seeds, "rows": rows}
    paths = report.save(options.out, "mobilities", record, text, rows)
    print("\nwritten: " + ", ".join(os.path.relpath(path) for path in paths))
    if options.record and not until.stopped:
        report.insert(HERE / "README.md", text, marks=MARKS)
    return 0


def _row(name: str, ends: list[float]) -> dict[str, Any]:
    case = CASES[name]
    stated, inside = "-", "-"
    if case.low is not None and case.high is not None:
        stated, inside = (
            f"{case.low:g}-{case.high:g}",
            "yes" if case.low <= statistics.median(ends) <= case.high else "NO",
        )
    return {
        "flow": name,
        "climbs r": "yes" if case.climbs else "no",
        "stated": stated,
        "final mean, norm": report.spread(ends),
        "median inside": inside,
        "ends": ends,
    }


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks mobilities", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="one seed, 500 steps")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each flow (5)")
    parser.add_argument("--steps", type=int, default=2000, help="steps to t = 20 (2000)")
    parser.add_argument(
        "--flows",
        type=partial(report.names, known=CASES),
        default=list(CASES),
        metavar="A,B",
        help="some of them (all)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes at a time, of one thread each (1)"
    )
    parser.add_argument(
        "--out",
        type=report.folder,
        default=HERE / "results",
        help="folder of the files (default benchmarks/results)",
    )
    parser.add_argument(
        "--record", action="store_true", help="also put the table into benchmarks/README.md"
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.seeds, options.steps = 1, 500
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
