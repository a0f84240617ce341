"""Draw docs/_static/transport.png, the figure of the page on new points and densities.

Run it from the root: python -m docs.transport_figure.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

import particleflow as pf

INK, GREY, RED = "#22223b", "#b9b9c6", "#c8553d"
N, M = 180, 200
NODES = 121

law = pf.samplers.Gaussian(mean=(0.5, 0.25), std=0.5)
x, y = law.sample(N, seed=1), pf.samplers.Moons(noise=0.08).sample(M, seed=2)
flow = pf.mono_flow(pf.estimators.KDE(pf.kernels.Gaussian(0.25)))
path = pf.simulate(flow, x, y, steps=80, dt=0.01, save=pf.SaveAt(steps=[0, 20, 80]))
fresh = law.sample(N, seed=3)
moved = path.transport(fresh, records=True)

low, high = (-1.9, -1.35), (2.7, 1.75)
axes = [torch.linspace(a, b, NODES, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
z = torch.cartesian_prod(*axes)
cell = float((axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0]))

plt.rcParams.update({"font.size": 11, "text.color": INK, "axes.edgecolor": GREY})
figure, panels = plt.subplots(1, 3, figsize=(12.5, 3.3), layout="constrained")
for record, panel in enumerate(panels):
    q = path.log_density(z, start=law, record=record).exp().view(NODES, NODES)
    print(f"record {record}: integral {cell * float(q.nansum()):.4f}, NaN {int(q.isnan().sum())}")
    panel.imshow(
        q.T.sqrt(),
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        cmap="Blues",
        vmin=0,
        interpolation="bilinear",
    )
    panel.scatter(*path.particles[record].T, s=6, color=INK, lw=0)
    panel.scatter(*moved[record].T, s=9, facecolor="none", edgecolor=RED, lw=0.7)
    panel.set(xticks=[], yticks=[], xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    panel.set_title(f"t = {float(path.times[record]):.2g}", fontsize=11)
figure.savefig(Path(__file__).parent / "_static/transport.png", dpi=110)
