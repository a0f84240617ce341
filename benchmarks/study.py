"""The machinery of studies: what it costs over bare `simulate` calls, and what a kill costs.

Both ways make the same runs in the same two processes, by turns: the clouds are drawn, dt is
suggested, W2 to both target samples is taken at 10 records.
"""

from __future__ import annotations

import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import particleflow as pf
from particleflow.study import Contender, Problem, Study, Task
from particleflow.study.cell import RECORDS

from . import options, report
from .goals import Goal

# Processes at a time.
JOBS = 2
# The program that is killed; the tests kill it, too.
PROGRAM = Path(__file__).parents[1] / "tests" / "study_program.py"
# Most seconds after its first new row at which a study is killed.
LATEST = 1.5

GOALS = (
    Goal("overhead", "share", "wall time over bare simulate calls, 2 jobs", "{:.1%}", most=0.05),
    Goal("kills", "lost", "finished rows lost or made twice, 20 kills", "{:.0f}", most=0),
)


def kale(problem: Problem) -> pf.Flow:
    return pf.kale_flow(pf.kernels.Gaussian(problem.bandwidth), lam=1e-2)


def mmd(problem: Problem) -> pf.Flow:
    return pf.mmd_flow(pf.kernels.Gaussian(problem.bandwidth))


def task(steps: int) -> Task:
    start = pf.samplers.Gaussian(dim=2, mean=(0.0, -0.3), std=0.01)
    return Task("rings", start, pf.samplers.Rings(), steps=steps)


def bare(make: Any, steps: int, seed: int) -> float:
    """A run by `simulate` alone."""
    problem = task(steps).draw(seed)
    w2 = pf.metrics.W2()
    path = pf.simulate(
        make(problem),
        problem.x0,
        problem.target,
        steps=steps,
        save=pf.SaveAt(every=max(1, steps // RECORDS)),
        metrics={"W2": w2, "W2 held out": lambda x, _: w2(x, problem.held_out)},
        seed=seed,
    )
    return float(path.metrics["W2"][-1])


def overhead(steps: int, seeds: int, rounds: int) -> dict[str, Any]:
    """The share of time that a study takes more than the same calls of `simulate`."""
    from joblib import Parallel, delayed, parallel_config

    study = Study(
        [task(steps)], [Contender("mmd", mmd), Contender("kale", kale)], seeds=seeds, players=False
    )
    calls = [(make, steps, seed) for make in (kale, mmd) for seed in range(seeds)]
    times: dict[str, list[float]] = {"bare": [], "study": []}
    for k in range(rounds + 1):
        began = time.perf_counter()
        with parallel_config(backend="loky", inner_max_num_threads=1):
            Parallel(n_jobs=JOBS, batch_size=1)(delayed(bare)(*call) for call in calls)
        middle = time.perf_counter()
        study.run(jobs=JOBS, progress=False)
        if k:  # the first round imports and compiles
            times["bare"].append(middle - began)
            times["study"].append(time.perf_counter() - middle)
    ratios = [s / b for s, b in zip(times["study"], times["bare"], strict=True)]
    return {
        "share": statistics.median(ratios) - 1,
        "runs": len(calls),
        **{f"{name}_seconds": statistics.median(values) for name, values in times.items()},
        "shares": [ratio - 1 for ratio in ratios],
    }


def kills(count: int) -> dict[str, Any]:
    """Kill a study at random moments, and run it again: how many finished rows are lost."""
    rng, lost, finished = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            # after a few kills a study is complete: another one begins
            folder = Path(place) / f"study {number // 3}"
            known = _files(folder)
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(folder)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=PROGRAM.parents[1],
            )
            while process.poll() is None and len(_files(folder)) <= len(known):
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, LATEST))
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.5)  # its processes end
            now = _files(folder)
            lost += sum(now.get(name) != stamp for name, stamp in known.items())
            finished += len(now) - len(known)
    return {"lost": lost, "kills": count, "finished": finished}


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    files = {file.name: file.stat() for file in (folder / "rows").glob("*.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in files.items()}


def main(argv: Sequence[str]) -> int:
    parser = options.parser("study", __doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, three kills")
    args = parser.parse_args(argv)
    sizes = (100, 4, 1) if args.quick else (500, 12, 5)
    rows = {"overhead": overhead(*sizes), "kills": kills(3 if args.quick else 20)}
    report.finish(args, "study", report.against(GOALS, rows), rows)
    return 0
