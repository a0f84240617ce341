"""Published runs, repeated: the official KALE flow notebooks, and de-regularised MMD flow.

Starts and targets of the notebooks are the published draws, float32: published_start.npz (three
rings, whose target has 80 equally spaced points a ring), published_gaussians.npz (four Gaussians)
and published_shapes.npz (2000 dark pixels each of a heart and of a spiral). The draw of the
DrMMD run is not public; ours is another one of the same distributions.

Sources: Glaser, Arbel and Gretton 2021, and github.com/pierreglaser/kale-flow; Chen, Mustafi,
Glaser, Korba, Gretton and Sriperumbudur 2024.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import particleflow as pf

if TYPE_CHECKING:
    from torch import Tensor

# The distance from the rings at which the poster's figure 3 counts a particle as left behind.
RADIUS = 0.1
# The regularisation of DrMMD.
DRMMD_LAM = 1e-3


@dataclass(frozen=True)
class Run:
    """A published run.

    `values` maps a number of steps to the divergence (MMD^2/2, KALE) or to W1, to the digits that
    were printed. `behind` maps a number of steps to the particles that the poster's figure 3 shows
    more than 0.1 from the rings. `seconds` is what it takes, roughly.
    """

    title: str
    quantity: str
    clouds: Callable[[], tuple[Tensor, Tensor]]
    make: Callable[[], pf.Flow]
    dt: float
    values: dict[int, float]
    seconds: float
    same_start: bool = True
    behind: Mapping[int, int] = field(default_factory=dict)

    def checkpoints(self, most: int) -> list[int]:
        return [step for step in self.values if step <= most]


def _read(name: str) -> dict[str, Tensor]:
    import numpy as np
    import torch

    with np.load(Path(__file__).with_name(f"published_{name}.npz"), allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key].astype(np.float64)) for key in file}


def rings() -> tuple[Tensor, Tensor]:
    """The published start of the three rings, and the target."""
    start = _read("start")["x0"]
    return start, pf.samplers.Rings(spaced=True).sample(len(start))


def gaussians() -> tuple[Tensor, Tensor]:
    """The published start and target of the four Gaussians."""
    both = _read("gaussians")
    return both["x0"], both["y"]


def shapes() -> tuple[Tensor, Tensor]:
    """The published points of the heart, and of the spiral."""
    both = _read("shapes")
    return both["x0"], both["y"]


def many_rings() -> tuple[Tensor, Tensor]:
    """300 particles and 300 points of three rings."""
    start = pf.samplers.Gaussian(dim=2, mean=(0.0, -0.3), std=0.01).sample(300, seed=0)
    return start, pf.samplers.Rings(spaced=True).sample(300)


def _mmd(denominator: float) -> Callable[[], pf.Flow]:
    return lambda: pf.mmd_flow(pf.kernels.Gaussian.from_denominator(denominator))


def _kale(denominator: float, lam: float, noise: float | None = None) -> Callable[[], pf.Flow]:
    return lambda: pf.kale_flow(
        pf.kernels.Gaussian.from_denominator(denominator), lam=lam, noise=noise
    )


def _drmmd() -> pf.Flow:
    estimator = pf.estimators.DrMMD(pf.kernels.Gaussian(0.15), lam=DRMMD_LAM)
    return pf.Flow(estimator, mobility=pf.mobilities.Linear(1.0 + DRMMD_LAM))


RUNS = {
    "mmd": Run(
        "three rings, MMD flow",
        "MMD^2 / 2",
        rings,
        _mmd(0.1),
        1e-3,
        {0: 3.87e-1, 5000: 6.33e-3, 10_000: 1.94e-3, 15_000: 7.94e-4},
        6.0,
        behind={5000: 62, 10_000: 33, 15_000: 23},
    ),
    "kale": Run(
        "three rings, KALE flow",
        "KALE, lam = 1e-3",
        rings,
        _kale(0.1, 1e-3),
        1e-4,
        {0: 3.66, 5000: 1.04e-1, 10_000: 2.83e-2, 15_000: 8.86e-3},
        48.0,
        behind={5000: 1, 10_000: 0},
    ),
    "gaussians-mmd": Run(
        "four Gaussians, MMD flow",
        "MMD^2 / 2",
        gaussians,
        _mmd(0.5),
        1e-3,
        {0: 2.78e-1, 5000: 6.00e-2, 15_000: 2.90e-2, 30_000: 2.03e-2, 45_000: 1.48e-2},
        16.0,
    ),
    "gaussians-kale": Run(
        "four Gaussians, KALE flow",
        "KALE, lam = .1",
        gaussians,
        _kale(0.5, 0.1),
        1e-3,
        {0: 1.12, 5000: 1.25e-1, 15_000: 3.21e-2, 30_000: 1.04e-2, 45_000: 6.55e-3},
        100.0,
    ),
    "gaussians-kale-noise": Run(
        "four Gaussians, KALE flow, noise .3",
        "KALE, lam = .1",
        gaussians,
        _kale(0.5, 0.1, noise=0.3),
        1e-3,
        {0: 1.12, 5000: 1.12e-1, 15_000: 2.37e-2, 30_000: 8.02e-3, 45_000: 5.03e-3},
        100.0,
    ),
    "shapes-kale": Run(
        "heart to spiral, KALE flow",
        "KALE, lam = 1e-3",
        shapes,
        _kale(0.01, 1e-3),
        1e-3,
        {0: 2.27, 10: 3.89e-1, 30: 3.26e-1, 60: 2.76e-1, 90: 2.37e-1},
        4.0,
    ),
    "drmmd": Run(
        "three rings, DrMMD flow, lam = 1e-3, bandwidth .15",
        "W1",
        many_rings,
        _drmmd,
        0.1 * DRMMD_LAM,
        {0: 0.690, 1000: 0.410, 5000: 0.202, 10_000: 0.083},
        42.0,
        same_start=False,
    ),
}


def measure(name: str, most: int) -> list[dict[str, Any]]:
    """Return one row for each published number of a run, up to step `most`."""
    run = RUNS[name]
    steps = run.checkpoints(most)
    x0, target = run.clouds()
    w1 = pf.metrics.W1()
    began = time.process_time()
    behind = pf.metrics.LeftBehind(RADIUS)
    found: dict[int, float | None] = {}
    counts: dict[int, int] = {}
    status = "running"
    for state in pf.iterate(run.make(), x0, target, dt=run.dt):
        status = state.status
        if state.ended:
            break
        if state.clock.step in steps:
            wanted = w1(state.x, target) if run.quantity == "W1" else state.fit.value
            found[state.clock.step] = None if wanted is None else float(wanted)
            if state.clock.step in run.behind:
                counts[state.clock.step] = round(len(x0) * behind(state.x, target))
        if state.clock.step >= steps[-1]:
            status = "completed"
            break
    seconds = time.process_time() - began
    return [
        {
            "run": name,
            "title": run.title,
            "quantity": run.quantity,
            "dt": run.dt,
            "step": step,
            "published": run.values[step],
            "ours": found.get(step),
            "behind_published": run.behind.get(step),
            "behind": counts.get(step),
            "same_start": run.same_start,
            "status": status,
            "cpu_seconds": seconds,
        }
        for step in steps
    ]
