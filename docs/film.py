"""The films and the player of the README and of the pages "Films", "Player" and "Going large":
python docs/film.py [first] [player] [film] [million] writes them to docs/_static.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import particleflow as pf

STATIC = Path(__file__).parent / "_static"


def first() -> None:
    """The first lines of the README, and what they draw."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    lines = readme.split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(lines.split("path.animate")[0], scope)
    scope["path"].animate(STATIC / "first.gif", color="start", seconds=4.0, dpi=110)


def player() -> None:
    """Four flows to three rings in one page, with their velocities and witnesses."""
    target = pf.samplers.Rings().sample(300, seed=0)
    x0 = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(240, seed=1)
    kernel = pf.kernels.Gaussian(0.2)
    flows = {
        "MMD flow": pf.mmd_flow(kernel),
        "with noise": pf.mmd_flow(kernel, noise=pf.schedules.Geometric(0.5, every=60, smooth=True)),
        "KALE flow": pf.kale_flow(kernel, lam=0.03),
        "MonoFlow": pf.mono_flow(pf.estimators.KDE(kernel)),
    }
    save = pf.SaveAt(every=12, velocity=True, witness=True)
    paths = {
        name: pf.simulate(
            flow, x0, target, steps=600, seed=2, save=save, metrics={"W2": pf.metrics.W2()}
        )
        for name, flow in flows.items()
    }
    pf.plotting.player(paths, STATIC / "player.html", title="Four flows to three rings")


def film() -> None:
    """Two flows on a dark ground, coloured by where the particles began."""
    target = pf.samplers.Rings().sample(300, seed=0)
    x0 = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.2).sample(240, seed=1)
    kernel = pf.kernels.Gaussian(0.2)
    flows = {"MMD flow": pf.mmd_flow(kernel), "MonoFlow": pf.mono_flow(pf.estimators.KDE(kernel))}
    metrics = {"W2": pf.metrics.W2()}
    paths = {
        name: pf.simulate(flow, x0, target, steps=600, metrics=metrics)
        for name, flow in flows.items()
    }
    file = STATIC / "film.gif"
    look = {"color": "start", "dark": True, "trails": 0.25}
    pf.plotting.animate(paths, file, fps=16, seconds=4.5, dpi=90, **look)


def attractor(n: int) -> torch.Tensor:
    """Points of de Jong's strange attractor x' = sin(1.4 y) - cos(-2.3 x), y' = sin(2.4 x) -
    cos(-2.1 y), (n, 2) in float32.
    """
    points = torch.rand(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(60):
        x, y = points.T
        points = torch.stack(
            [torch.sin(1.4 * y) - torch.cos(2.3 * x), torch.sin(2.4 * x) - torch.cos(2.1 * y)],
            dim=1,
        )
    return points.float()


def narrowing(
    x0: torch.Tensor, target: torch.Tensor, *, bandwidths: int, each: int
) -> Iterator[pf.State]:
    """The states of an MMD flow whose bandwidth shrinks from 0.6 to 0.02, the coarse before the
    fine: a kernel moves what is of its own size.
    """
    last: Any = x0
    for stage, share in enumerate(np.linspace(0, 1, bandwidths)):
        # The finer, the denser the filaments, and the stiffer the flow; slow at first, since the
        # cloud bursts apart.
        flow, dt = (
            pf.mmd_flow(pf.kernels.Gaussian(0.6 * 30**-share)),
            1.5 * 10**-share * min(1, (stage + 1) / 4),
        )
        for state in itertools.islice(
            pf.iterate(flow, last, target, dt=dt), min(stage, 1), each + 1
        ):
            yield (last := state)


def million() -> None:
    """A million particles to a million points of a strange attractor: a film, of which no state is
    kept.
    """
    target = attractor(1_000_000)
    sphere = torch.nn.functional.normalize(
        pf.samplers.Gaussian(dim=4).sample(1_000_000, seed=1, dtype=torch.float32)
    )
    x0 = 0.3 * sphere[:, :2] + torch.tensor(
        [-0.2, -0.3]
    )  # uniform on a disc: the first two coordinates of a sphere in four dimensions
    shown = {round(320 * (k / 49) ** 1.5) for k in range(50)}  # it is fast in the beginning
    states = narrowing(x0, target, bandwidths=32, each=10)
    pf.plotting.film(
        (state for state in states if state.clock.step in shown),
        STATIC / "million.gif",
        target=target,
        fps=12,
        dpi=100,
    )


MADE = {"first": first, "player": player, "film": film, "million": million}
for name in sys.argv[1:] or MADE:
    MADE[name]()
