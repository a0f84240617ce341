"""Draw docs/_static/wgan.png, what W1 between batches rewards, in some two minutes.

Run it from the root: python -m docs.wgan_figure.
"""

import math
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

import particleflow as pf
from benchmarks.transport.rows import critics, descend, digits, minima

ROOT = Path(__file__).parents[1]
INK, RED, BLUE, GREY = "#22223b", "#c8553d", "#2c7da0", "#b8b8c4"
SHOWN = 8

plt.rcParams.update(
    {
        "font.size": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "text.color": INK,
    }
)
figure = plt.figure(figsize=(12, 8.2), layout="constrained")
grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.05))

plane = figure.add_subplot(grid[0, 0])
law = pf.samplers.Gaussian(dim=2)
start = law.sample(16, seed=1)
end, _ = descend(critics(1.0)["c-transform"], start, law, steps=2500, step=0.3, seed=0)
angle = np.linspace(0, 2 * math.pi, 200)
for radius in (1, 2):
    plane.plot(radius * np.cos(angle), radius * np.sin(angle), color=GREY, lw=1, zorder=0)
for points, colour, label in (
    (start, GREY, "a sample of the target, at the start"),
    (end, RED, "2500 fresh batches later"),
):
    plane.scatter(*points.T, s=45, color=colour, label=label, edgecolor="white", lw=0.5)
plane.set(
    title="16 particles climb the perfect critic of batches",
    aspect="equal",
    xlim=(-3.4, 3.4),
    ylim=(-2.7, 3.1),
    xticks=[],
    yticks=[],
)
plane.spines[:].set_visible(False)
plane.legend(frameon=False, fontsize=10, loc="upper left", borderaxespad=0)

ratio = figure.add_subplot(grid[0, 1])
dims = [2, 4, 8, 16, 32, 64, 128, 256]
found = [minima(dim, n=64, repeats=1000 if dim < 8 else 40, sample=12_800, seed=0) for dim in dims]
for name, colour, label in (("means", INK, "the mean, 64 times"), ("medians", RED, "64 k-medians")):
    ratio.semilogx(
        dims, [row[name] for row in found], "o-", base=2, color=colour, lw=2, label=label
    )
ratio.axhline(1, color=BLUE, lw=2)
ratio.text(256, 1.03, "64 real samples", color=BLUE, ha="right")
ratio.set(
    title="$W_1$ to a batch of 64 from N(0, I)",
    xlabel="dimension",
    ylabel="relative to a real batch",
    ylim=(0.6, 2.8),
    xticks=dims,
)
ratio.set_xticklabels([str(dim) for dim in dims])
ratio.legend(frameon=False)

below = grid[1, :].subgridspec(1, 3)
data, spot, unit = digits(0, 64)
rows = [("64 digits", data.sample(64, seed=998))]
for name, title in (("c-transform", "perfect critic of batches"), ("WGAN-GP", "WGAN-GP")):
    rows.append(
        (title, descend(critics(unit)[name], spot, data, steps=600, step=0.1 * unit, seed=0)[0])
    )
spread = float(data.points.var(0).sum())
for k, (title, points) in enumerate(rows):
    axes = figure.add_subplot(below[k])
    tiles = torch.nn.functional.pad(points.reshape(SHOWN, SHOWN, 8, 8), (1, 1, 1, 1)).clamp(0, 1)
    axes.imshow(
        tiles.permute(0, 2, 1, 3).reshape(10 * SHOWN, 10 * SHOWN), cmap="gray_r", vmin=0, vmax=1
    )
    near = np.mean([pf.metrics.W1()(points, data.sample(64, seed=5000 + r)) for r in range(20)])
    axes.set_title(
        f"{title}\n$W_1$ to a batch {near:.2f}, variance {float(points.var(0).sum()) / spread:.2f}",
        fontsize=12,
    )
    axes.set_axis_off()
figure.savefig(Path(__file__).parent / "_static" / "wgan.png", dpi=90)
