"""Large runs with a checkpoint: the time that it takes, and the memory that records do not."""

from __future__ import annotations

import math
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

import particleflow as pf
from particleflow.engine import begin
from particleflow.run_folder import opened
from particleflow.running import Run

# Steps between two checkpoints, and before the first leg: each leg has a checkpoint in its middle,
# which is written by its end.
EVERY = 20
BEFORE = EVERY // 2


def cost(particles: int, steps: int) -> dict[str, float]:
    """The time of MMD flow with a checkpoint every 20 steps, beside that without one.

    Two runs take turns, 20 steps each, and pairs of legs are compared: what else the machine does
    meanwhile meets both alike. `ratio` is the median over all pairs, `least` and `most` are its
    interval (95 %, by ranks). `work` compares the processor's time, of which the thread that writes
    takes a part beside the steps. `once` are the seconds that the folder takes at the start and at
    the end of a run, whatever its length.
    """
    _mmd(particles, EVERY, None, every=EVERY)
    runs, legs, once = dict[bool, Run](), dict[bool, list[tuple[float, float]]](), 0.0
    with ExitStack() as open_files:
        place = Path(open_files.enter_context(tempfile.TemporaryDirectory()))
        for kept in (False, True):
            setting = pf.Checkpoint(place / "run", every=EVERY, seconds=0) if kept else None
            began = time.perf_counter()
            run = runs[kept] = begin(
                *_problem(particles),
                steps=1 + BEFORE + steps,
                dt=0.05,
                save=pf.SaveAt(every=EVERY),
                seed=0,
                integrator=None,
                metrics=None,
                progress=False,
                place=open_files.enter_context(opened(setting)),
            )
            _leg(run, 1)
            once += (1 if kept else -1) * (time.perf_counter() - began)
            legs[kept] = []
            _leg(run, BEFORE)
        for k in range(steps // EVERY):
            for kept in (True, False) if k % 2 else (False, True):
                legs[kept].append(_leg(runs[kept], EVERY))
        began = time.perf_counter()
        runs[True].trajectory()
        once += time.perf_counter() - began
    wall, work = (
        sorted(kept[part] / plain[part] for plain, kept in zip(legs[False], legs[True]))
        for part in (0, 1)
    )
    middle, reach = len(wall) // 2, math.ceil(math.sqrt(len(wall)))
    return {
        "ratio": statistics.median(wall),
        "least": wall[max(0, middle - reach)],
        "most": wall[min(len(wall) - 1, middle + reach)],
        "work": statistics.median(work),
        "once": once,
        "seconds": statistics.median(each for each, _ in legs[False]) / EVERY,
    }


def _leg(run: Run, steps: int) -> tuple[float, float]:
    """Take steps as `Run.go` does: their seconds on the clock and of the processor."""
    began = time.perf_counter(), time.process_time()
    for _ in range(steps):
        run._take(next(run.states))
    return time.perf_counter() - began[0], time.process_time() - began[1]


def memory(particles: int, steps: int, every: int) -> dict[str, float]:
    """The peak of a run's memory over that of the process at rest, in GB, in this process."""
    _mmd(2000, 2, None, every=1)
    rest = _resident()
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        path = _mmd(particles, steps, Path(place) / "run", every=every)
        seconds = time.perf_counter() - began
        peak = _peak()
        size = path.particles.nbytes / 1e9
        assert path.status == "completed", path.message
    return {"peak": peak - rest, "rest": rest, "records": size, "seconds": seconds}


def _mmd(particles: int, steps: int, folder: Path | None, every: int) -> pf.Trajectory:
    return pf.simulate(
        *_problem(particles),
        steps=steps,
        dt=0.05,
        save=pf.SaveAt(every=every),
        checkpoint=None if folder is None else pf.Checkpoint(folder, every=EVERY, seconds=0),
    )


def _problem(particles: int) -> tuple[pf.Flow, Tensor, Tensor]:
    """MMD flow onto rings, in float32 with sums on a mesh; start and target."""
    x = pf.samplers.Gaussian(dim=2, std=0.3).sample(particles, seed=1, dtype=torch.float32)
    y = pf.samplers.Rings().sample(particles, seed=0, dtype=torch.float32)
    return pf.mmd_flow(pf.kernels.Gaussian(0.3), pairwise=pf.pairwise.Mesh()), x, y


def _resident() -> float:
    """The memory of this process now, in GB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e9


def _peak() -> float:
    """The largest memory that this process has had, in GB."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / (1e9 if sys.platform == "darwin" else 1e6 / 1.024)
