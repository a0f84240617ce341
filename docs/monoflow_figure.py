"""Draw docs/_static/monoflow_slopes.png, the figure of the page on MonoFlow.

Run it from the root: python -m docs.monoflow_figure.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

import particleflow as pf
from benchmarks.mobilities.flows import CASES, run
from particleflow.plotting.style import LIGHT, readable, stroke

HERE = Path(__file__).parent
INK, GREY, TARGET = LIGHT.ink, LIGHT.faint, LIGHT.target
MOBILITIES = (
    "logit",
    "shifted vanilla, C = 5",
    "arcsinh",
    "non-saturating",
    "vanilla (JS)",
    "h' = 8 r^2 / (1 + r)^3",
    "LSGAN (0, 1, 1)",
    "LSGAN (-1, 1, 0)",
)
STROKES = {name: stroke(k) for k, name in enumerate(MOBILITIES)}
LABELS = {
    "shifted vanilla, C = 5": "vanilla shifted by 5",
    "vanilla (JS)": "vanilla",
    "h' = 8 r^2 / (1 + r)^3": "$8 r^2 / (1 + r)^3$",
    "LSGAN (0, 1, 1)": "LSGAN $(0, 1, 1)$",
    "LSGAN (-1, 1, 0)": "LSGAN $(-1, 1, 0)$",
}
NAIVE = [name for name in CASES if name.startswith("naive")]
ORDER = [*MOBILITIES, *NAIVE]

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
    1, 2, figsize=(12.5, 5.2), layout="constrained", gridspec_kw={"wspace": 0.06}
)

d = torch.linspace(-9, 9, 1801, dtype=torch.float64)
for name, (colour, dashes) in STROKES.items():
    slope = CASES[name].make().slope(d)
    left.plot(d, slope.where(slope > 0, torch.nan), color=colour, ls=dashes, lw=2.4)
    left.plot(d, (-slope).where(slope < 0, torch.nan), color=colour, ls=dashes, lw=1.2)
left.set(yscale="log", xlim=(-9, 9), ylim=(1e-4, 9), xlabel="$d = \\log r$", ylabel="slope $h'(d)$")
left.set_title("how fast: the slope", loc="left", pad=12)
left.text(
    -8.8,
    3.4,
    "$r \\ll 1$: too many particles here,\nthey must leave",
    color=GREY,
    fontsize=10.5,
    va="center",
)
left.text(
    8.8,
    3.4,
    "$r \\gg 1$: too few particles here,\nothers must come",
    color=GREY,
    fontsize=10.5,
    va="center",
    ha="right",
)
left.text(
    0.35,
    5e-3,
    "$h' < 0$",
    color=readable(STROKES[MOBILITIES[-1]].colour, LIGHT.ground),
    fontsize=12,
)

for name in ORDER:
    path = run(name, 0, 1000, pf.SaveAt(every=5))
    means = path.particles.mean(1).norm(dim=1).numpy()
    colour, dashes = STROKES.get(name, (TARGET, "-"))
    right.plot(path.times, means, color=colour, ls=dashes, lw=2.4 if name in STROKES else 1.4)
    print(f"{name}: {means[-1]:.2g}")
right.set(
    yscale="log",
    xlim=(0, 20),
    ylim=(1e-5, 3),
    xlabel="$t$",
    ylabel="from the cloud's mean to the target's",
)
right.set_title("how far they get", loc="left", pad=12)
handles = [
    plt.Line2D([], [], color=colour, ls=dashes, lw=2.4, label=LABELS.get(name, name))
    for name, (colour, dashes) in STROKES.items()
]
handles.append(plt.Line2D([], [], color=TARGET, lw=1.4, label="naive descent of $f$"))
figure.legend(
    handles=handles,
    loc="outside lower center",
    ncols=5,
    frameon=False,
    fontsize=10.5,
    handlelength=3,
)
figure.savefig(HERE / "_static" / "monoflow_slopes.png", dpi=110)
