"""What the gallery shows of an example: pictures of pyplot, and those that a block ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

# The order of the examples on the gallery's page.
ORDER = (
    "four_flows",
    "far_start",
    "noise",
    "kale_between",
    "two_samples",
    "certificate",
    "mobilities",
    "naive_descent",
    "shift",
    "classes",
    "four_wells",
    "density",
    "langevin_twin",
    "ratio_maps",
    "perfect_critic",
    "neurons",
    "million",
    "your_picture",
    "survive",
)

# The picture that stands for an example, where it is not the first one.
STANDING = {"far_start": 2, "kale_between": 2, "noise": 2, "langevin_twin": 1, "mobilities": 2}
# Width over height of a thumbnail; of a wider picture its right end is shown, where flows end.
SHAPE = 1.45
# The pixels of a thumbnail's longest side.
PIXELS = 480


def thumbnails(app: Sphinx) -> None:
    """Make the thumbnails of the gallery from parts that can be seen when they are small."""
    folder = Path(app.srcdir) / "gallery" / "images"
    for name in ORDER:
        with Image.open(folder / f"sphx_glr_{name}_{STANDING.get(name, 1):03d}.png") as picture:
            width, height = picture.size
            part = picture.crop((max(0, round(width - SHAPE * height)), 0, width, height))
            part.thumbnail((PIXELS, PIXELS))
            part.convert("RGB").save(folder / "thumb" / f"sphx_glr_{name}_thumb.png")


def pictures(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """The pictures of a block of code, as reStructuredText.

    The figures of particleflow are unknown to pyplot: the value of the last line is looked at.
    """
    drawn: str = matplotlib_scraper(block, variables, settings)
    last = variables["example_globals"].get("___")
    if not isinstance(last, Figure):
        return drawn
    path = next(variables["image_path_iterator"])
    last.savefig(path, dpi=110)
    variables["example_globals"]["___"] = None
    return drawn + str(figure_rst([path], settings["src_dir"]))


class InOrder:
    """The sort key of an example's file: its place in `ORDER`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, file: str) -> int:
        return ORDER.index(file.removesuffix(".py"))
