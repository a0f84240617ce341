"""The benchmark of KALE's inner solver against goals.

It compares with the published solver, lets the clouds grow, and takes a lam where the published
code aborts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from .. import environment, options, report
from ..goals import Goal, Row
from . import rows as measured_rows

ROWS = {
    "small": Row(
        measured_rows.solves,
        {"n": 300, "lams": [1e-2, 1.0], "rounds": 7},
        {"n": 200, "lams": [1e-2, 1.0], "rounds": 3},
    ),
    "large": Row(
        measured_rows.solves,
        {"n": 3000, "lams": [1e-2, 1.0], "rounds": 7},
        {"n": 1000, "lams": [1e-2, 1.0], "rounds": 3},
    ),
    "million": Row(
        measured_rows.million,
        {"n": 10**6, "tenth": 10**5, "reference": 3000, "lam": 1e-2, "rounds": 3},
        {"n": 10**5, "tenth": 10**4, "reference": 1000, "lam": 1e-2, "rounds": 2},
    ),
    "iterations": Row(
        measured_rows.iterations,
        {"sizes": [10**3, 10**4, 10**5, 10**6], "lam": 1e-2},
        {"sizes": [10**3, 10**4], "lam": 1e-2},
    ),
    "rings": Row(
        measured_rows.rings,
        {"steps": 1000, "lam": 1e-4, "dt": 1e-5},
        {"steps": 20, "lam": 1e-4, "dt": 1e-5},
    ),
}
GOALS = (
    Goal(
        "small",
        "0.01",
        "one solve, N = M = 300, lam = 1e-2, residual 1e-6, against explicit-inverse Newton",
        "{:.3g}x",
        least=5,
    ),
    Goal("small", "1", "the same at lam = 1", "{:.3g}x", least=5),
    Goal(
        "large",
        "0.01",
        "one solve, N = M = 3000, lam = 1e-2, residual 1e-6, against explicit-inverse Newton",
        "{:.3g}x",
        least=500,
    ),
    Goal("large", "1", "the same at lam = 1", "{:.3g}x", least=1500),
    Goal(
        "large",
        "residual",
        "the residual that ours has reached",
        "{:.2g}",
        most=measured_rows.RESIDUAL,
    ),
    Goal(
        "million",
        "warm",
        "one warm step, N = M = 1e6, d = 2, lam = 1e-2, against the published solve at 3000",
        "1/{:.3g}",
        least=6,
    ),
    Goal("million", "growth", "from 1e5 to 1e6", "{:.3g}x", most=13),
    Goal(
        "iterations",
        "ratio",
        "products of a solve, most over least, N = 1e3 to 1e6",
        "{:.3g}x",
        most=2,
    ),
    Goal(
        "rings",
        "steps",
        "three rings, lam = 1e-4: steps completed, each certified",
        "{:.0f}",
        least=1000,
    ),
    Goal("rings", "gap", "the worst duality gap, relative to the value", "{:.2g}", most=1e-9),
)


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    began = time.perf_counter()
    rows: dict[str, dict[str, Any]] = {}
    with environment.until_stopped(rows):
        for name in args.rows:
            row = ROWS[name]
            with environment.workers(1, row.threads) as pool:
                rows[name] = pool.submit(
                    row.run, **(row.quick if args.quick else row.full)
                ).result()
            print(f"{name}: {rows[name]['note']} ({time.perf_counter() - began:.0f} s)", flush=True)
    lines = []
    for goal in GOALS:
        if goal.row in rows:
            value = rows[goal.row]["numbers"][goal.number]
            reached = {True: "yes", False: "NO", None: "-"}[goal.reached(value)]
            lines.append(
                {
                    "row": goal.row,
                    "what": goal.what,
                    "goal": goal.text,
                    "obtained": goal.form.format(value),
                    "reached": reached,
                }
            )
    text = report.table(list(lines[0]), [list(line.values()) for line in lines])
    if args.quick:
        text = (
            "**Quick: smaller sizes. The goals are those of the full sizes, which the words in the"
            " table name.**\n\n" + text
        )
    print("\n" + text)
    report.save(
        args.out,
        "kale-quick" if args.quick else "kale",
        {"suite": "kale", "quick": args.quick, "rows": rows},
        text,
        lines,
    )
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("kale", __doc__, record=False)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, few repetitions")
    parser.add_argument(
        "--rows",
        type=options.names(ROWS),
        default=list(ROWS),
        metavar="A,B",
        help=f"of {', '.join(ROWS)} (all)",
    )
    return parser.parse_args(argv)
