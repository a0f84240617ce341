"""
Your picture, your kernel
=========================

A picture is a distribution: dark pixels are likely. A kernel can be one line of
your own; nothing is registered anywhere.
"""

from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt

import particleflow as pf

# any dark shape on a light ground; this one is drawn here
file = Path(mkdtemp()) / "cat.png"
figure, ax = plt.subplots(figsize=(3, 3))
ax.text(0.5, 0.5, "∇", fontsize=170, ha="center", va="center")
ax.axis("off")
figure.savefig(file, dpi=60)
plt.close(figure)

target = pf.samplers.FromImage(file).sample(1000, seed=0)
x0 = pf.samplers.Gaussian(
    dim=2, mean=tuple(target.mean(0).tolist()), std=0.05
).sample(700, seed=1)

# s is the squared distance |x - y|²
flow = pf.mmd_flow(lambda s: 1 / (1 + 400 * s) + 1 / (1 + 4 * s))
path = pf.simulate(flow, x0, target, steps=200, metrics={"W2": pf.metrics.W2()})
print(path.summary())
path.plot(color="start")

# %%
# The player, as a notebook shows it.

path
