"""Two published runs, repeated: the three rings of the official KALE flow notebooks.

N = M = 240, k = exp(-d^2 / 0.1), Euler. The start is the published draw of N((0, -0.3), 0.01^2),
float32, in published_start.npz. The target has 80 equally spaced points a ring.

Source: Glaser, Arbel and Gretton 2021.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import particleflow as pf

if TYPE_CHECKING:
    from torch import Tensor

START = Path(__file__).with_name("published_start.npz")


@dataclass(frozen=True)
class Run:
    """A published run.

    `values` maps a number of steps to the divergence (MMD^2/2, KALE), to the digits that were
    printed.
    """

    flow: str
    quantity: str
    dt: float
    values: dict[int, float]

    def make(self) -> pf.Flow:
        kernel = pf.kernels.Gaussian.from_denominator(0.1)
        return pf.mmd_flow(kernel) if self.flow == "mmd" else pf.kale_flow(kernel, lam=1e-3)

    def checkpoints(self, most: int) -> list[int]:
        return [step for step in self.values if step <= most]


RUNS = {
    run.flow: run
    for run in (
        Run(
            "mmd", "MMD^2 / 2", 1e-3, {0: 3.87e-1, 5000: 6.33e-3, 10_000: 1.94e-3, 15_000: 7.94e-4}
        ),
        Run(
            "kale",
            "KALE, lam = 1e-3",
            1e-4,
            {0: 3.66, 5000: 1.04e-1, 10_000: 2.83e-2, 15_000: 8.86e-3},
        ),
    )
}


def clouds() -> tuple[Tensor, Tensor]:
    """Return the published start, and the target."""
    import numpy as np
    import torch

    with np.load(START, allow_pickle=False) as file:
        start = file["x0"].astype(np.float64)
    return torch.from_numpy(start), pf.samplers.Rings(spaced=True).sample(len(start))


def measure(flow: str, most: int) -> list[dict[str, Any]]:
    """Return one row for each published number of a flow, up to step `most`."""
    run = RUNS[flow]
    steps = run.checkpoints(most)
    x0, target = clouds()
    began = time.process_time()
    found: dict[int, float | None] = {}
    status = "running"
    for state in pf.iterate(run.make(), x0, target, dt=run.dt):
        status = state.status
        if state.ended:
            break
        if state.clock.step in steps:
            found[state.clock.step] = state.fit.value
        if state.clock.step >= steps[-1]:
            status = "completed"
            break
    seconds = time.process_time() - began
    return [
        {
            "flow": flow,
            "quantity": run.quantity,
            "dt": run.dt,
            "step": step,
            "published": run.values[step],
            "ours": found.get(step),
            "status": status,
            "cpu_seconds": seconds,
        }
        for step in steps
    ]
