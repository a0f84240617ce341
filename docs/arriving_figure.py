"""Draw docs/_static/arriving.png and print the table of the page on flows that arrive.

Run it from the root: python -m docs.arriving_figure.
"""

import math
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from particleflow.benchmarks.distributions import Outliers, StudentT

import particleflow as pf
from particleflow.metrics import W2, floor

Gaussian, Mixture = pf.samplers.Gaussian, pf.samplers.Mixture
INK, GREY, RED, BLUE = "#22223b", "#b9b9c6", "#c8553d", "#2a6f97"
N, M = 150, 200
ring = Mixture(
    [
        Gaussian(mean=(4 * math.cos(k * math.pi / 4), 4 * math.sin(k * math.pi / 4)), std=0.2)
        for k in range(8)
    ]
)
TASKS = {
    "from afar": (Gaussian(mean=(5.0, 0.0), std=0.5), Gaussian(dim=2)),
    "far modes": (Gaussian(mean=(4.0, 0.0), std=0.2), ring),
    "heavy tails": (Gaussian(dim=2, std=0.5), StudentT(dim=2, freedom=2.0)),
    "outliers at 30": (Gaussian(dim=2, std=0.5), Outliers(distance=30.0)),
}


def fixed(y):
    return pf.mmd_flow(pf.kernels.Gaussian(pf.kernels.default_bandwidth(y)))


plt.rcParams.update({"font.size": 11, "text.color": INK, "axes.edgecolor": GREY})
figure, panels = plt.subplots(2, len(TASKS), figsize=(12.5, 6.6), layout="constrained")
print("task: start, one bandwidth, auto (W2 to the target); floor; steps and seconds of auto")
for column, (name, (start, target)) in zip(panels.T, TASKS.items(), strict=True):
    x, y = start.sample(N, seed=1), target.sample(M, seed=2)
    plain = pf.simulate(fixed(y), x, y, steps=400)
    auto = pf.simulate(pf.auto_flow(x, y), x, y)
    w2 = W2()
    ends = [w2(points, y) for points in (x, plain.particles[-1], auto.particles[-1])]
    least = floor(w2, y, N).value
    print(
        name,
        *(f"{end:.2f}" for end in ends),
        f"{least:.2f}",
        int(auto.steps[-1]),
        f"{auto.report['seconds']:.1f} s",
    )
    for panel, path, colour in zip(column, (plain, auto), (RED, BLUE), strict=True):
        for k in range(0, N, 3):
            panel.plot(*path.particles[:, k].T, color=colour, alpha=0.15, lw=0.7, zorder=1)
        panel.scatter(*y.T, s=9, color=GREY, lw=0, zorder=2)
        panel.scatter(*path.particles[-1].T, s=9, color=colour, lw=0, zorder=3)
        both = [y, x, auto.particles[-1]]
        low = [min(float(c[:, i].min()) for c in both) for i in (0, 1)]
        high = [max(float(c[:, i].max()) for c in both) for i in (0, 1)]
        half = 0.55 * max(h - l for h, l in zip(high, low, strict=True))
        middle = [(h + l) / 2 for h, l in zip(high, low, strict=True)]
        panel.set(
            xlim=(middle[0] - half, middle[0] + half),
            ylim=(middle[1] - half, middle[1] + half),
            xticks=[],
            yticks=[],
            aspect="equal",
        )
    column[0].set_title(
        f"{name}\nW2 {ends[0]:.2f} to {ends[1]:.2f}, floor {least:.2f}", fontsize=11
    )
    column[1].set_title(f"W2 {ends[0]:.2f} to {ends[2]:.2f}", fontsize=11)
panels[0, 0].set_ylabel("MMD flow, one bandwidth", color=RED)
panels[1, 0].set_ylabel("auto_flow", color=BLUE)
figure.savefig(Path(__file__).parent / "_static/arriving.png", dpi=110)
