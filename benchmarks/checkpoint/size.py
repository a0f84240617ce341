"""Large runs with a checkpoint: the time that it takes, and the memory that records do not."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

import particleflow as pf


def cost(particles: int, steps: int, pairs: int) -> dict[str, float]:
    """The time of MMD flow with a checkpoint every 20 steps, beside that without one.

    The runs alternate, and the fastest of each kind are compared: other processes only slow down.
    `work` compares the processor's time, of which the thread that writes takes a part beside the
    steps.
    """
    wall: dict[bool, list[float]] = {False: [], True: []}
    work: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as place:
        for k in range(pairs):
            for kept in (False, True):
                began = time.perf_counter(), time.process_time()
                _mmd(particles, steps, Path(place) / str(k) if kept else None)
                wall[kept].append(time.perf_counter() - began[0])
                work[kept].append(time.process_time() - began[1])
    return {  # the first pair warms up
        "ratio": min(wall[True][1:]) / min(wall[False][1:]),
        "work": min(work[True][1:]) / min(work[False][1:]),
        "seconds": min(wall[False][1:]),
    }


def memory(particles: int, steps: int, every: int) -> dict[str, float]:
    """The peak of a run's memory over that of the process at rest, in GB, in this process."""
    _mmd(2000, 2, None)
    rest = _resident()
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        path = _mmd(particles, steps, Path(place) / "run", every=every)
        seconds = time.perf_counter() - began
        peak = _peak()
        size = path.particles.nbytes / 1e9
        assert path.status == "completed", path.message
    return {"peak": peak - rest, "rest": rest, "records": size, "seconds": seconds}


def _mmd(particles: int, steps: int, folder: Path | None, every: int = 20) -> pf.Trajectory:
    """MMD flow onto rings, in float32 with sums on a mesh."""
    x = pf.samplers.Gaussian(dim=2, std=0.3).sample(particles, seed=1, dtype=torch.float32)
    y = pf.samplers.Rings().sample(particles, seed=0, dtype=torch.float32)
    flow = pf.mmd_flow(pf.kernels.Gaussian(0.3), pairwise=pf.pairwise.Mesh())
    return pf.simulate(
        flow,
        x,
        y,
        steps=steps,
        dt=0.05,
        save=pf.SaveAt(every=every),
        checkpoint=None if folder is None else pf.Checkpoint(folder, every=20, seconds=0),
    )


def _resident() -> float:
    """The memory of this process now, in GB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e9


def _peak() -> float:
    """The largest memory that this process has had, in GB."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / (1e9 if sys.platform == "darwin" else 1e6 / 1.024)
