"""The benchmark of W1 between batches: which points it rewards.

It shows false minima, the collapse of the flow, and critics that estimate W1 worse with better
samples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from .. import environment, options, report
from .rows import CRITICS, REAL, collapse, minima, samples

MARKS = ("<!-- transport: begin -->", "<!-- transport: end -->")
# Stated ratio of repeated means, by dimension.
MEANS = {2: 2.68, 16: 1.005, 32: 0.888, 256: 0.760}
# Stated E W1 at the end, E W1 of real batches, and range of the variance, by number of particles.
COLLAPSE = {16: (0.626, 0.799, (0.63, 0.73)), 64: (0.374, 0.473, (0.84, 0.89))}
# Number of batches for the means of a run, by its number of particles: their error is 0.002.
BATCHES = {16: 3000, 64: 1000}


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    began = time.perf_counter()
    seeds, shrink = (1, 10) if args.quick else (args.seeds, 1)
    parts, rows = [], []
    with environment.until_stopped(rows) as until, environment.workers(args.jobs, 1) as pool:
        for name in args.rows:
            text, found = PARTS[name](pool, seeds, shrink)
            parts.append(text)
            rows += [{"part": name, **row} for row in found]
            print(f"\n{text}\n({time.perf_counter() - began:.0f} s)", flush=True)
    text = "\n\n".join(parts)
    if args.quick:
        text = "**Quick: a tenth of the repetitions and steps, one seed.**\n\n" + text
    name = "transport-quick" if args.quick else "transport"
    report.save(
        args.out, name, {"suite": "transport", "quick": args.quick, "rows": rows}, text, rows
    )
    if args.record and not until.stopped:
        report.insert(text, marks=MARKS)
    return 0


def _minima(pool: Executor, seeds: int, shrink: int) -> tuple[str, list[dict[str, Any]]]:
    repeats = {dim: (1000 if dim == 2 else 100) // shrink for dim in MEANS}
    found = {
        dim: pool.submit(minima, dim, n=64, repeats=repeats[dim], sample=12_800, seed=0)
        for dim in MEANS
    }
    rows = [{"dim": dim, "stated": MEANS[dim], **future.result()} for dim, future in found.items()]
    headings = [
        "d",
        "E W1 of real batches",
        "repeated means / real",
        "stated",
        "k-medians / real",
        "variance of the k-medians",
    ]
    cells = [
        [r["dim"], *(f"{r[key]:.4g}" for key in ("real", "means", "stated", "medians", "variance"))]
        for r in rows
    ]
    return f"64 points against a batch of 64 from N(0, I):\n\n{report.table(headings, cells)}", rows


def _collapse(pool: Executor, seeds: int, shrink: int) -> tuple[str, list[dict[str, Any]]]:
    found = {
        n: [
            pool.submit(collapse, n, steps=2500 // shrink, repeats=BATCHES[n] // shrink, seed=seed)
            for seed in range(seeds)
        ]
        for n in COLLAPSE
    }
    rows = [
        {"n": n, "seed": seed, **future.result()}
        for n, futures in found.items()
        for seed, future in enumerate(futures)
    ]
    headings = [
        "n",
        "E W1 to a batch",
        "stated",
        "E W1 of real batches",
        "stated",
        "variance",
        "stated",
    ]
    cells = []
    for n, (end, real, (low, high)) in COLLAPSE.items():
        end_now, real_now, variance = (
            report.spread([r[key] for r in rows if r["n"] == n])
            for key in ("end", "real", "variance")
        )
        cells.append([n, end_now, end, real_now, real, variance, f"{low}-{high}"])
    intro = (
        "n particles from N(0, I) in the plane that climb the perfect critic of fresh batches of"
        f" the same distribution, {seeds} seed(s):"
    )
    return f"{intro}\n\n{report.table(headings, cells)}", rows


def _digits(pool: Executor, seeds: int, shrink: int) -> tuple[str, list[dict[str, Any]]]:
    found = {
        name: [
            pool.submit(samples, name, n=64, steps=600 // shrink, seed=seed)
            for seed in range(seeds)
        ]
        for name in (*CRITICS, REAL)
    }
    rows: list[dict[str, Any]] = [
        {"critic": name, "seed": seed, **future.result()}
        for name, futures in found.items()
        for seed, future in enumerate(futures)
    ]
    headings = [
        "critic",
        "its estimate / exact W1",
        "E W1 to a batch / of real batches",
        "variance / real",
        "energy distance (squared), held out",
    ]
    cells = []
    for name in found:
        values = [
            report.spread([r[key] for r in rows if r["critic"] == name])
            for key in ("estimate", "batch", "variance", "energy")
        ]
        cells.append([name, "-" if name == REAL else values[0], *values[1:]])
    intro = (
        f"64 particles towards fresh batches of 64 digits (8 x 8 pixels), {600 // shrink} steps,"
        f" {seeds} seed(s):"
    )
    return f"{intro}\n\n{report.table(headings, cells)}", rows


PARTS = {"minima": _minima, "collapse": _collapse, "digits": _digits}


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("transport", __doc__, jobs=1)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the repetitions and steps, one seed"
    )
    parser.add_argument("--seeds", type=options.positive, default=3, help="runs of each flow (3)")
    parser.add_argument(
        "--rows",
        type=options.names(PARTS),
        default=list(PARTS),
        metavar="A,B",
        help=f"of {', '.join(PARTS)} (all)",
    )
    return parser.parse_args(argv)
