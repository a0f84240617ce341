"""Draw docs/_static/worlds.png, the figure of the page on classes and boxes.

Run it from the root: python -m docs.worlds_figure.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import particleflow as pf
from particleflow.integrators import Paced, Periodic, Reflecting
from particleflow.plotting.scenes.jumps import jumped
from particleflow.plotting.style import LIGHT, stroke

HERE = Path(__file__).parent
SIDE = 0.9


def blobs(means: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n points around each mean, row after row."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(mean, 0.13, (n, 2)) for mean in means])


def draw(
    ax: Axes, path: pf.Trajectory, colours: list[str], title: str, lines: int | None = None
) -> None:
    """The target, paths of `lines` particles, where all started (rings) and where they end."""
    if path.target is not None:
        ax.scatter(*path.target.T, s=9, color=LIGHT.target, linewidths=0, zorder=1)
    places = path.particles.numpy()
    jumps = jumped(path)
    for i, colour in enumerate(colours[:lines]):
        line = places[:, i].copy()
        if jumps is not None:  # the line ends at an edge and begins at the other one
            for k in reversed(np.flatnonzero(jumps[:, i].numpy())):
                line = np.insert(line, k, np.nan, axis=0)
        ax.plot(*line.T, color=colour if lines is None else stroke(i)[0], lw=0.8, alpha=0.55)
    ax.scatter(*places[0].T, s=11, facecolors="none", edgecolors=colours, linewidths=0.8, zorder=3)
    ax.scatter(*places[-1].T, s=11, color=colours, linewidths=0, zorder=4)
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=12, color=LIGHT.ink, pad=10)


def classes(ax: Axes) -> None:
    """Three classes change places: without labels there is nothing to do."""
    angle = 2 * np.pi * np.arange(3) / 3 + np.pi / 2
    spots = SIDE * np.stack([np.cos(angle), np.sin(angle)], 1)
    x0, y = blobs(spots, 30, 0), blobs(spots, 40, 1)
    x_labels, y_labels = np.repeat([0, 1, 2], 30), np.repeat([2, 0, 1], 40)
    flow = pf.labelled(pf.auto_flow(x0, y), x_labels, y_labels)
    path = pf.simulate(flow, x0, y, save=pf.SaveAt(every=2))
    draw(ax, path, [stroke(k)[0] for k in x_labels], "classes: each flows to its own")
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.0, 1.6))


def walls(ax: Axes) -> None:
    """Langevin dynamics of a density whose mode is outside the box."""
    density = pf.samplers.Gaussian(dim=2, mean=(1.35, 0.5), std=0.45)
    x0 = np.random.default_rng(2).normal((0.15, 0.5), 0.05, (150, 2))
    box = Reflecting(pf.EulerMaruyama(), 0.0, 1.0)
    path = pf.simulate(
        pf.langevin(density), x0, t1=0.25, dt=1e-3, integrator=box, save=pf.SaveAt(every=1), seed=1
    )
    draw(ax, path, [stroke(0)[0]] * 150, "walls: Langevin dynamics, reflected", lines=3)
    frame(ax)


def torus(ax: Axes) -> None:
    """The short way leads over the edge."""
    x0, y = (
        np.random.default_rng(seed).normal(at, std, (n, 2)) % 1.0
        for seed, at, std, n in ((3, (0.2, 0.35), 0.05, 30), (4, (0.8, 0.65), 0.1, 90))
    )
    kernel = pf.kernels.Periodic(pf.kernels.Gaussian(0.18), 0.0, 1.0)
    box = Periodic(Paced(), 0.0, 1.0)
    path = pf.simulate(
        pf.mmd_flow(kernel), x0, y, steps=60, integrator=box, save=pf.SaveAt(every=1)
    )
    draw(ax, path, [stroke(0)[0]] * 30, "periodic sides: over the edge")
    frame(ax)


def frame(ax: Axes) -> None:
    ax.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=LIGHT.ink, linewidth=1.1))
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))


torch.set_num_threads(1)
figure, panels = plt.subplots(1, 3, figsize=(11, 4.1), layout="constrained")
for panel, part in zip(panels, (classes, walls, torus), strict=True):
    part(panel)
figure.savefig(HERE / "_static" / "worlds.png", dpi=100, bbox_inches="tight", pad_inches=0.1)
