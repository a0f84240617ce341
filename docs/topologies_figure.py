"""Weak and strong divergences of two clouds pulled apart: python docs/topologies_figure.py writes
docs/_static/topologies.png.
"""

import math
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

import particleflow as pf

INK, RED, ORANGE, GREEN, BLUES = (
    "#22223b",
    "#c8553d",
    "#e0a458",
    "#4f772d",
    ("#89c2d9", "#2c7da0", "#014f86"),
)
STD, LAMS = 0.2, (0.1, 1.0, 10.0)
kernel = pf.kernels.Gaussian(1.0)
separations = np.linspace(0.02, 6, 150)


def cloud(points: int) -> torch.Tensor:
    """The quantiles of N(0, STD^2) in the middles of equal shares."""
    shares = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    return STD * torch.special.ndtri(shares)[:, None]


def curves(
    x: torch.Tensor, y: torch.Tensor, estimator: pf.estimators.Estimator, slope: float
) -> np.ndarray:
    """Value and mean pull towards the target at each separation, (2, S)."""
    found = []
    for s in separations:
        fit = pf.fit(estimator, x + s, y)
        found.append((fit.value, -slope * float(fit.witness.value_and_grad(x + s)[1].mean())))
    return np.array(found).T


def jensen_shannon() -> np.ndarray:
    """Of N(s, STD^2) and N(0, STD^2), by quadrature; its pull by differences."""
    z = np.linspace(-3, 9, 20001)
    log_p = -(z**2) / (2 * STD**2) - math.log(STD * math.sqrt(2 * math.pi))
    values = []
    for s in separations:
        log_q = -((z - s) ** 2) / (2 * STD**2) - math.log(STD * math.sqrt(2 * math.pi))
        middle = np.logaddexp(log_p, log_q) - math.log(2)
        values.append(
            (np.exp(log_p) * (log_p - middle) + np.exp(log_q) * (log_q - middle)).sum()
            * (z[1] - z[0])
            / 2
        )
    return np.stack([values, np.gradient(values, separations)])


one = np.ones_like(separations)
plt.rcParams.update(
    {
        "font.size": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "text.color": INK,
    }
)
figure, axes = plt.subplots(2, 2, figsize=(12, 8), sharex=True, sharey="row", layout="constrained")
dirac = torch.zeros(1, 1, dtype=torch.float64)
strong = [
    (np.stack([math.log(2) * one, 0 * one]), None),
    (jensen_shannon(), np.stack([separations**2 / (2 * STD**2), separations / STD**2])),
]
clouds = [(dirac, dirac), (cloud(60), cloud(50))]
for column, (x, y), (js, kl) in zip(axes.T, clouds, strong, strict=True):
    mmd = curves(x, y, pf.estimators.MMD(kernel), 1.0)
    w1 = curves(x, y, pf.estimators.CTransformCritic(), 1.0)
    lines = [("JS", js, ORANGE, "-"), ("W1", w1, GREEN, "-"), ("MMD$^2/2$", mmd, INK, "--")]
    for lam, blue in zip(LAMS, BLUES, strict=True):
        lines.append(
            (
                f"KALE, $\\lambda$ = {lam:g}",
                curves(x, y, pf.estimators.KALE(kernel, lam=lam), 1 + lam),
                blue,
                "-",
            )
        )
    if kl is not None:
        lines.insert(0, ("KL", kl, RED, "-"))
    for name, (value, pull), colour, style in lines:
        column[0].plot(separations, value, style, color=colour, lw=2, label=name)
        column[1].plot(separations, np.where(pull > 1e-9, pull, np.nan), style, color=colour, lw=2)
    column[1].set_xlabel("separation, in bandwidths of the kernel")
axes[0, 0].text(3, 400, "KL = $\\infty$", color=RED, ha="center", va="center")
axes[1, 0].text(3, 100, "KL: none is defined", color=RED, ha="center", va="center")
axes[1, 0].text(3, 30, "JS: 0", color=ORANGE, ha="center", va="center")
axes[0, 0].set(title="two Diracs", yscale="log", ylim=(5e-3, 1e3), ylabel="value")
axes[0, 1].set_title(f"two narrow clouds, of deviation {STD:g}")
axes[1, 0].set(yscale="log", ylim=(1e-4, 300), ylabel="pull on the particles")
axes[0, 1].legend(frameon=False, ncols=2, fontsize=10, loc="lower right")
figure.savefig(Path(__file__).parent / "_static" / "topologies.png", dpi=90)
