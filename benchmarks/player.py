"""The player's page: its bytes, the time to write it, and the time of a frame in a browser.

A frame is drawn by a script, whose time is taken in headless Chromium without a graphics card.
Times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import particleflow as pf

from . import browser, options, report
from .contenders import CONTENDERS
from .goals import Goal
from .tasks import LARGER, task

# The flows of the comparison, on three rings.
FLOWS = ("mmd", "mmd-noise", "kale", "kde-mono")
# Frames that are timed.
FRAMES = 60

GOALS = (
    Goal("flows", "kilobytes", "four flows x 240 particles x 51 records", "{:.0f} kB", most=200),
    Goal("flows", "seconds", "the same, written", "{:.2f} s", most=0.3),
    Goal("particles", "kilobytes", "5000 particles x 100 records", "{:.0f} kB", most=1500),
    Goal("particles", "seconds", "the same, written", "{:.2f} s", most=1.5),
    Goal("particles", "milliseconds", "the same, script time of a frame", "{:.1f} ms", most=8),
    Goal("crowd", "kilobytes", "2e5 particles x 100 records", "{:.0f} kB", most=8000),
    Goal("crowd", "seconds", "the same, written", "{:.1f} s"),
    Goal("crowd", "points", "the same, particles drawn by WebGL2", "{:.0f}"),
    Goal("crowd", "milliseconds", "the same, script time of a frame", "{:.1f} ms"),
)


def flows(steps: int, records: int) -> dict[str, pf.Trajectory]:
    """The four flows to three rings."""
    problem = task("rings", steps=steps, **LARGER).draw(0)
    return {
        name: pf.simulate(
            CONTENDERS[name].build(problem, CONTENDERS[name].default).flow,
            problem.x0,
            problem.target,
            steps=steps,
            seed=0,
            save=pf.SaveAt(every=steps // records),
            metrics={"W2": pf.metrics.W2()},
        )
        for name in FLOWS
    }


def cloud(count: int, steps: int) -> dict[str, pf.Trajectory]:
    """One flow of many particles to three rings, every step recorded."""
    x0 = 0.3 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    target = pf.samplers.Rings().sample(min(count, 5000), seed=1).float()
    flow = pf.mmd_flow(pf.kernels.Gaussian(0.3))
    return {"mmd": pf.simulate(flow, x0, target, steps=steps, dt=0.1, save=pf.SaveAt(every=1))}


def measure(paths: Mapping[str, pf.Trajectory], folder: Path) -> dict[str, float]:
    """Bytes, seconds of the second writing, and a frame's script time where there is a browser."""
    file, seconds = folder / "player.html", 0.0
    for _ in range(2):
        began = time.perf_counter()
        pf.plotting.player(paths, file)
        seconds = time.perf_counter() - began
    found = {"kilobytes": file.stat().st_size / 1000, "seconds": seconds}
    return found if browser.missing() else found | _frames(file)


def _frames(file: Path) -> dict[str, float]:
    with browser.chromium() as running:
        page = running.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.goto(file.as_uri())
        browser.wait(page, "window.player && player.ready")
        times = page.evaluate(
            f"""Array.from({{ length: {FRAMES} }}, (_, k) => {{
                player.view.u = k / {FRAMES};
                player.draw();
                return player.milliseconds;
            }})"""
        )
        points = page.evaluate("player.flows.reduce((sum, flow) => sum + flow.N, 0)")
        return {"milliseconds": statistics.median(times), "points": points}


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    steps = 50 if args.quick else 500
    made = {
        "flows": lambda: flows(steps, 50),
        "particles": lambda: cloud(5000, 9 if args.quick else 99),
        "crowd": lambda: cloud(200_000, 3 if args.quick else 99),
    }
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in made.items():
            rows[name] = measure(make(), Path(folder))
            print(f"{name}: " + ", ".join(f"{key} {v:.3g}" for key, v in rows[name].items()))
    text = report.against(GOALS, rows)
    if browser.missing():
        text = f"no browser: {browser.missing()}\n\n{text}"
    if args.quick:
        text = f"{text}\n\nA tenth of the records: the goals are for all."
    report.finish(args, "player", text, rows)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("player", __doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records")
    return parser.parse_args(argv)
