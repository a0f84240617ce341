"""The figure of the page on the architecture: python docs/developers_figure.py writes
docs/_static/architecture.png.
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HERE = Path(__file__).parent

INK, GREY, BLUE, PAPER, RED = "#22223b", "#8d8da1", "#014f86", "#eef3f7", "#c8553d"


def box(
    axes: Axes, x: float, y: float, title: str, text: str, width: float = 2.2, height: float = 1.3
) -> None:
    """A part of the package around (x, y): its name, and what it does."""
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0,rounding_size=.12",
            fc=PAPER,
            ec=BLUE,
            lw=1.4,
        )
    )
    axes.text(
        x,
        y + height / 2 - 0.27,
        title,
        ha="center",
        va="center",
        color=BLUE,
        fontsize=13,
        weight="bold",
    )
    axes.text(
        x, y - 0.2, text, ha="center", va="center", color=INK, fontsize=10.5, linespacing=1.35
    )


Point = tuple[float, float]


def arrow(
    axes: Axes, start: Point, end: Point, text: str = "", at: Point = (0, 0), **style: object
) -> None:
    """Data that goes from one part to another, and its name at a shift `at` from the middle."""
    look: dict[str, object] = {"color": INK, "lw": 1.5, "shrinkA": 2, "shrinkB": 2, **style}
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>,head_length=7,head_width=3.5", **look)
    )
    middle = (start[0] + end[0]) / 2 + at[0], (start[1] + end[1]) / 2 + at[1]
    axes.text(
        *middle, text, ha="center", va="center", color=look["color"], fontsize=10.5, linespacing=1.3
    )


figure, axes = plt.subplots(figsize=(13, 7), layout="constrained")
axes.set(xlim=(-2.0, 14.4), ylim=(-1.1, 6.7), aspect="equal")
axes.axis("off")

axes.add_patch(
    FancyBboxPatch(
        (2.55, 0.55),
        8.1,
        5.7,
        boxstyle="round,pad=0,rounding_size=.2",
        fc="none",
        ec=GREY,
        lw=1.2,
        ls=(0, (5, 3)),
    )
)
axes.text(
    2.8,
    5.9,
    "engine: the state at step n becomes the state at step n + 1",
    color=GREY,
    fontsize=11.5,
    va="center",
)

box(axes, -0.7, 4.5, "samplers", "points of files,\npictures, shapes")
box(axes, 4.0, 4.5, "estimators", "fit(x, y)")
box(axes, 8.9, 4.5, "flows", "mobility, noise:\n$v = h'(w)\\,\\nabla w$")
box(axes, 8.9, 1.6, "integrators", "$x + \\Delta t\\,v$\n(+ Brownian step)")
box(axes, 4.0, 1.6, "pairwise", "sums $\\Sigma_i\\, w_i\\,k(z, x_i)$\nand their gradients")
box(axes, -0.7, 1.6, "kernels", "$k$ as a function\nof $s = |z - x|^2$")
box(axes, 12.9, 4.5, "trajectory", "records, status,\nverdict, files")
box(axes, 12.9, 1.6, "metrics, plotting", "distances, pictures,\nfilms", width=2.5)

arrow(axes, (0.4, 4.5), (2.9, 4.5), "clouds\n$x$ (N, d), $y$ (M, d)", (-0.25, 0.42))
arrow(axes, (5.1, 4.5), (7.8, 4.5), "Fit: witness $w$,\nmemory, report", (0, 0.42))
arrow(axes, (8.9, 3.85), (8.9, 2.25), "$v$ (N, d)", (0.55, 0))
arrow(axes, (7.8, 1.95), (4.85, 3.85), "new cloud $x$,\nto be fitted anew", (1.0, 0.42), color=RED)
arrow(axes, (3.7, 3.85), (3.7, 2.25), "weights", (-0.5, 0))
arrow(axes, (4.1, 2.25), (4.1, 3.85), "sums", (0.4, -0.3))
arrow(axes, (0.4, 1.6), (2.9, 1.6), "profiles", (-0.25, 0.22))
arrow(axes, (10.0, 4.5), (11.8, 4.5), "states", (0.35, 0.22))
arrow(axes, (12.9, 3.85), (12.9, 2.25))

words = (
    "command line: names and numbers (config) become these objects (build), are run (runs), and"
    " leave a folder of files."
)
axes.text(-1.8, -0.2, words, color=INK, fontsize=11)
words = (
    "Imports go one way: a module imports only those that stand before it in tests/test_layers.py."
)
axes.text(-1.8, -0.75, words, color=GREY, fontsize=11)
figure.savefig(HERE / "_static" / "architecture.png", dpi=100)
