"""The live window: frames a second that its page shows in a browser, while the flow runs.

The program and headless Chromium run side by side; the program's sums take one thread. Each number
is the median over seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import browser, environment, options, report
from .goals import Goal

# Flow, particles and samples of each row.
ROWS = {"mmd": ("mmd", 2000), "kde": ("mono", 2000), "kale": ("kale", 1000)}
# Frames a second at least; a film has as many.
FILM = 25
# Seconds after which a flow begins anew, so that it does not arrive.
ANEW = 5

GOALS = (
    Goal("mmd", "rate", "MMD flow, 2000 particles and samples: frames a second", "{:.0f}", FILM),
    Goal("kde", "rate", "MonoFlow with KDE, the same", "{:.0f}", FILM),
    Goal("kale", "rate", "KALE flow, 1000 particles and samples", "{:.0f}", FILM),
    *(
        Goal(name, "busy", f"{name}: the program's share of a core", "{:.0%}")
        for name in ("mmd", "kde", "kale")
    ),
)


def frames(flow: str, n: int, seconds: int) -> dict[str, float]:
    """Serve a flow of n particles and samples, and watch its page."""
    with (
        served("--flow", flow, "--n", str(n), "--m", str(n)) as (address, process),
        browser.chromium() as running,
    ):
        page = running.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        browser.wait(page, "window.live && live.ready && live.drawn > 10")
        return watched(page, process.pid, seconds)


def watched(page: Any, process: int, seconds: int) -> dict[str, float]:
    """Frames shown in each of some seconds, their median, and the program's work meanwhile."""
    rates = []
    began, work = time.perf_counter(), _work(process)
    for second in range(seconds):
        if second % ANEW == 0:
            page.keyboard.press("r")
        before = page.evaluate("[live.drawn, performance.now()]")
        page.wait_for_timeout(1000)
        after = page.evaluate("[live.drawn, performance.now()]")
        rates.append(1000 * (after[0] - before[0]) / (after[1] - before[1]))
    return {
        "rate": statistics.median(rates),
        "least": min(rates),
        "busy": (_work(process) - work) / (time.perf_counter() - began),
        "milliseconds": page.evaluate("1000 * live.frame.seconds"),
    }


@contextmanager
def served(*flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The page's address and the program that serves it."""
    command = [sys.executable, "-m", "particleflow", "live", "--no-browser", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the program has printed no address"
            yield found.group(), process
        finally:
            process.send_signal(signal.SIGINT)


def _work(process: int) -> float:
    """Seconds that a process has worked, where the system tells it; else NaN."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
    except OSError:
        return float("nan")
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    if browser.missing():
        print(f"nothing can be measured: {browser.missing()}", file=sys.stderr)
        return 2
    rows: dict[str, dict[str, float]] = {}
    load = environment.load()
    for name, (flow, n) in ROWS.items():
        rows[name] = frames(flow, n, 2 if args.quick else 10)
        print(
            f"{name}: " + ", ".join(f"{key} {v:.3g}" for key, v in rows[name].items()), flush=True
        )
    text = report.against(GOALS, rows)
    text = f"{text}\n\nMean number of runnable processes in the minute before: {load}."
    report.finish(args, "live", text, rows, load=load)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("live", __doc__)
    parser.add_argument("--quick", action="store_true", help="two seconds in the place of ten")
    return parser.parse_args(argv)
