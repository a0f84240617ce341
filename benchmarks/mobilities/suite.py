"""The benchmark of rescalings of the ratio: final |mean| beside the stated ranges.

The flows are MonoFlows, naive descents and LSGAN codings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from .. import environment, options, report
from .flows import CASES, PARTICLES, final_mean

MARKS = ("<!-- mobilities: begin -->", "<!-- mobilities: end -->")


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    with environment.until_stopped(rows) as until, environment.workers(args.jobs, 1) as pool:
        asked = {
            name: [pool.submit(final_mean, name, seed, args.steps) for seed in range(args.seeds)]
            for name in args.flows
        }
        for name, futures in asked.items():
            rows.append(_row(name, [future.result() for future in futures]))
            print(
                f"{name}: {rows[-1]['final mean, norm']} ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    shown = ["flow", "climbs r", "stated", "final mean, norm", "median inside"]
    text = (
        f"{PARTICLES} particles, {args.steps} steps to t = 20, {args.seeds} seed(s): the"
        " median, and the range in brackets.\n\n"
    )
    text += report.table(shown, [[row[key] for key in shown] for row in rows])
    print("\n" + text)
    record = {"suite": "mobilities", "steps": args.steps, "seeds": args.seeds, "rows": rows}
    report.save(args.out, "mobilities", record, text, rows)
    if args.record and not until.stopped:
        report.insert(text, marks=MARKS)
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
    parser = options.parser("mobilities", __doc__, jobs=1)
    parser.add_argument("--quick", action="store_true", help="one seed, 500 steps")
    parser.add_argument("--seeds", type=options.positive, default=5, help="runs of each flow (5)")
    parser.add_argument(
        "--steps", type=options.positive, default=2000, help="steps to t = 20 (2000)"
    )
    parser.add_argument(
        "--flows",
        type=options.names(CASES),
        default=list(CASES),
        metavar="A,B",
        help="some of them (all)",
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.steps = 1, 500
    return args
