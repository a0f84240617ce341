"""Draw docs/_static/kale_between.png, the figure of the page on KALE."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from scipy.optimize import nnls

import particleflow as pf
from particleflow.clouds import Clock, Cloud

INK, GREY, RED, BLUE = "#22223b", "#8d8da1", "#c8553d", "#2a6f97"
MAP = plt.get_cmap("viridis")
kernel = pf.kernels.Matern32(1.0)
(a, s), (b, r) = (-1.0, 0.6), (0.8, 0.9)  # q = N(a, s^2), p = N(b, r^2), both on the same atoms
atoms = torch.linspace(-3.2, 3.2, 81, dtype=torch.float64)


def law(mean: float, deviation: float) -> Cloud:
    """The Gaussian's masses on the atoms."""
    log = -((atoms - mean) ** 2) / (2 * deviation**2)
    return Cloud(atoms[:, None], log_mass=log - log.logsumexp(0))


def fitted(x: Cloud, y: Cloud, lam: float, memory=None):
    fit = pf.estimators.KALE(kernel, lam=lam).fit(x, y, Clock(), memory or {})
    assert fit.report["converged"], (lam, fit.report)
    return fit


x, y = law(a, s), law(b, r)
kl = float((x.mass * (x.log_mass - y.log_mass)).sum())
mmd = pf.estimators.MMD(kernel).fit(x, y, Clock(), {})
lams = np.logspace(4, -6, 101)
z = torch.linspace(-3.0, 2.6, 400, dtype=torch.float64)[:, None]
values, fields, memory = [], [], {}
for lam in lams:
    fit = fitted(x, y, lam, memory)
    memory = fit.memory
    values.append(fit.value)
    fields.append((1 + lam) * fit.witness.value_and_grad(z)[1][:, 0].numpy())
mmd_field = mmd.witness.value_and_grad(z)[1][:, 0].numpy()
kl_field = ((z[:, 0] - a) / s**2 - (z[:, 0] - b) / r**2).numpy()  # -(log q / p)'

draws = np.random.default_rng(0)
x2, y2 = (
    Cloud(torch.from_numpy(draws.normal(a, s, (120, 1)))),
    Cloud(torch.from_numpy(draws.normal(b, r, (100, 1)))),
)
few = lams[lams > 1e-5]
samples, memory = [], {}
for lam in few:
    fit = fitted(x2, y2, lam, memory)
    memory = fit.memory
    samples.append(fit.value)
gram = lambda u, v: kernel.profile((u - v.T) ** 2).numpy()
root = np.linalg.cholesky(gram(y2.points, y2.points) + 1e-13 * np.eye(len(y2)))
mu = gram(y2.points, x2.points).mean(1)
residual = (
    nnls(root.T, np.linalg.solve(root, mu))[1] ** 2
)  # | K^{1/2} a - K^{-1/2} mu |^2 = D - |mu_x|^2 + |K^{-1/2} mu|^2
far = residual + gram(x2.points, x2.points).mean() - np.sum(np.linalg.solve(root, mu) ** 2)
print(
    f"KL {kl:.5f}, KALE at {lams[-1]:.0e} {values[-1]:.5f}; MMD^2/2 {mmd.value:.6f}, at"
    f" {lams[0]:.0e} {values[0]:.6f}"
)
print(f"D/2 {far / 2:.4g}, lam KALE at {few[-1]:.0e} {few[-1] * samples[-1]:.4g}")

plt.rcParams.update(
    {
        "font.size": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "text.color": INK,
    }
)
plt.rcParams.update(
    {"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "mathtext.fontset": "cm"}
)
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12.5, 5.0), layout="constrained", gridspec_kw={"wspace": 0.06}
)

norm = LogNorm(lams[-1], lams[0])
left.set(
    xscale="log", yscale="log", xlim=(lams[-1] / 1.3, lams[0]), ylim=(0.15, 12), xlabel="$\\lambda$"
)
left.axhline(kl, color=RED, lw=1.2, ls=(0, (5, 3)))
left.axhline(mmd.value, color=BLUE, lw=1.2, ls=(0, (5, 3)))
left.text(lams[0], kl * 1.06, "KL$(q\\,\\|\\,p)$", color=RED, ha="right", va="bottom")
left.text(lams[-1] * 1.2, mmd.value * 1.06, "MMD$^2/2$", color=BLUE, ha="left", va="bottom")
points = np.stack([lams, values], 1)
left.add_collection(
    LineCollection(
        np.stack([points[:-1], points[1:]], 1),
        array=lams[1:],
        norm=norm,
        cmap=MAP,
        lw=4,
        capstyle="round",
    )
)
left.plot(few, samples, color=GREY, lw=2)
left.plot(lams, np.where(lams < 1.2e-3, far / (2 * lams), np.nan), color=GREY, lw=1.2, ls=":")
left.text(
    3e-3,
    6.2,
    "two samples, of 120 and\n100 points: towards $D/(2\\lambda)$",
    color=GREY,
    va="center",
    ha="left",
    fontsize=11,
)
left.text(1.5e-6, 1.78, "the same atoms", color=INK, va="center", ha="left", fontsize=11)
left.set_title("KALE$(q\\,\\|\\,p)$", loc="left", pad=12)
left.set_yticks([0.2, 0.5, 1, 2, 5, 10], ["0.2", "0.5", "1", "2", "5", "10"])
left.minorticks_off()

for lam, field in list(zip(lams, fields, strict=True))[::4]:
    right.plot(z[:, 0], field, color=MAP(norm(lam)), lw=1.3)
right.plot(z[:, 0], kl_field, color=RED, lw=1.6, ls=(0, (5, 3)))
right.plot(z[:, 0], mmd_field, color=BLUE, lw=1.6, ls=(0, (5, 3)))
right.text(-1.15, 4.1, "$\\lambda \\to 0$: $-\\nabla \\log (q / p)$", color=RED, ha="center")
right.text(-0.1, -0.75, "$\\lambda \\to \\infty$: MMD flow", color=BLUE, ha="center")
for cloud, colour in ((x, INK), (y, GREY)):
    right.fill_between(
        atoms,
        -3.4,
        -3.4 + 1.3 * cloud.mass.numpy() / float(cloud.mass.max()),
        color=colour,
        alpha=0.18,
        lw=0,
    )
right.text(a - 0.75, -2.9, "$q$", ha="right")
right.text(b + 0.95, -2.75, "$p$", ha="left")
right.set(xlim=(-3.0, 2.6), ylim=(-3.4, 6.6), xlabel="$z$")
right.set_title("velocity $v(z)$ of the flow of $q$", loc="left", pad=12)
bar = figure.colorbar(plt.cm.ScalarMappable(norm, MAP), ax=right, aspect=30, pad=0.02)
bar.ax.set_title("$\\lambda$", pad=10)
bar.outline.set_visible(False)
figure.savefig(Path(__file__).parent / "_static" / "kale_between.png", dpi=110)
