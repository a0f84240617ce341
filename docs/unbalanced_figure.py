"""Draw docs/_static/unbalanced.png, the figure of the page on unbalanced flows.

Run it from the root: python -m docs.unbalanced_figure.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

import particleflow as pf
from benchmarks.truth.unbalanced import flows, shares, wells
from particleflow.plotting.style import LIGHT, stroke

HERE = Path(__file__).parent
NAMES = {"mmd": "MMD flow", "fisher-rao": "with birth and death", "ift": "with force transport"}
STEPS = 300
# Area of a particle of mean mass, in square points.
AREA = 11.0

plt.rcParams.update(
    {
        "font.size": 11,
        "axes.edgecolor": LIGHT.faint,
        "text.color": LIGHT.ink,
        "axes.labelcolor": LIGHT.ink,
        "xtick.color": LIGHT.ink,
        "ytick.color": LIGHT.ink,
    }
)
figure, axes = plt.subplots(
    1, 4, figsize=(13, 3.35), layout="constrained", gridspec_kw={"width_ratios": [1, 1, 1, 1.35]}
)
x, y = wells(0)
*panels, curve = axes
for k, (key, flow) in enumerate(flows(y).items()):
    colour, dashes = stroke(k)
    path = pf.simulate(flow, x, y, steps=STEPS, dt=0.7)
    end = path.state.x
    part = shares(end)
    panel = panels[k]
    panel.scatter(*y.T, s=7, color=LIGHT.target, linewidths=0)
    panel.scatter(*end.points.T, s=AREA * 200 * end.mass, color=colour, alpha=0.75, linewidths=0)
    panel.set(xlim=(-2, 2), ylim=(-2.05, 2.05), aspect="equal", xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    panel.set_title(NAMES[key], fontsize=12)
    for well, (sx, sy) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        panel.text(sx, 1.9 * sy, f"{100 * part[well]:.0f} %", ha="center", va="center")
    off = [100 * float((shares(path.cloud(n)) - 0.25).abs().max()) for n in range(len(path))]
    curve.plot(path.times, np.maximum(off, 1e-2), color=colour, ls=dashes, lw=2, label=NAMES[key])
curve.axhline(3, color=LIGHT.faint, lw=0.8)
curve.set(yscale="log", xlabel="t", ylim=(0.2, 110), xlim=(0, STEPS * 0.7))
curve.set_yticks([0.3, 1, 3, 10, 30, 100], ["0.3", "1", "3", "10", "30", "100"])
curve.minorticks_off()
curve.set_title("largest error of a well's share, points", fontsize=12)
curve.spines[["top", "right"]].set_visible(False)
curve.legend(frameon=False, fontsize=10, loc="upper right")
figure.savefig(HERE / "_static" / "unbalanced.png", dpi=110)
