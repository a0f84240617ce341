"""Pictures on a dark page: those that stand on a light ground are turned over by particleflow.css.

Nothing has to be drawn for it: a figure is drawn once, on white. A picture with a dark border, and
one with the class `as-is` (a photograph), stays what it is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

# The class that the style sheet knows.
CLASS = "light-ground"
# The mean of red, green and blue, of 255, above which a ground is light.
LIGHT = 180


@cache
def light_ground(path: Path) -> bool:
    """Whether most of a picture's border is light. Transparent pixels count as light."""
    with Image.open(path) as picture:
        over = picture.convert("RGBA")
        paper = Image.new("RGBA", over.size, "white")
        pixels = np.asarray(Image.alpha_composite(paper, over).convert("RGB")).mean(2)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(np.median(border) > LIGHT)


def mark(app: Sphinx, page: nodes.document, name: str) -> None:
    """Give the pictures of a page that stand on a light ground their class."""
    for node in page.findall(lambda node: "uri" in getattr(node, "attributes", ())):
        path = Path(app.srcdir) / node["uri"].lstrip("/")
        if path.suffix not in (".png", ".gif", ".jpg") or not path.is_file():
            continue
        if "as-is" not in node["classes"] and light_ground(path):
            node["classes"].append(CLASS)
            if node.get("class"):  # sphinx-gallery's own node for a picture: a list of one text
                node["class"] = [f"{node['class'][0]} {CLASS}"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
