"""A figure as a piece of SVG within a page, which follows the page's font and colours."""

from __future__ import annotations

import re
from io import StringIO
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from particleflow.plotting.style import LIGHT
from particleflow.stopping import undisturbed

# The page's variables in the place of the colours of the light theme.
VARIABLES = {
    LIGHT.ink.lower(): "var(--ink)",
    LIGHT.faint.lower(): "var(--quiet)",
    LIGHT.spine.lower(): "var(--line)",
}
# The opacity of pale areas and marks, which are hard to see on a dark ground.
PALE = re.compile(r"fill-opacity: (0\.[0-4]\d*)")
# Attributes that hold coordinates, which are rounded to hundredths of a point.
COORDINATES = ("d", "x", "y", "width", "height", "transform")


@undisturbed()
def svg(figure: Figure, prefix: str, label: str) -> str:
    """The figure, drawn in the light theme, as an <svg> element.

    Its texts are texts, in the font of the page; `label` tells in words what it shows. The ids
    begin with `prefix`, which must differ from those of other figures of the page. Ink, quiet text
    and thin lines take the page's variables --ink, --quiet, --line; pale areas are --shade times
    as opaque.
    """
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        made = StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(made.getvalue())
    for part in root.iter():
        part.tag = part.tag.partition("}")[2]
        for unwanted in [child for child in part if child.tag.endswith(("}metadata", "}style"))]:
            part.remove(unwanted)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', made.getvalue()))
    for part in root.iter():
        part.attrib = {name: _rewritten(name, part.attrib[name], prefix) for name in part.attrib}
        if part.get("id", "").removeprefix(prefix) not in used:
            part.attrib.pop("id", None)
        for name in [name for name in part.attrib if name.startswith("{")]:
            part.attrib[name.partition("}")[2]] = part.attrib.pop(name)
        part.tail = None
        if part.tag != "text":
            part.text = None
    for group in root.iter("g"):
        styles = {part.get("style", "") for part in group}
        if {part.tag for part in group} == {"use"} and len(styles) == 1:
            # many equal marks: their style is written once
            group.set("style", styles.pop())
            for part in group:
                part.attrib.pop("style", None)
    root.attrib = {"role": "img", "aria-label": label, "viewBox": root.attrib["viewBox"]}
    return ElementTree.tostring(root, encoding="unicode")


def _rewritten(name: str, value: str, prefix: str) -> str:
    """The value of an attribute within the page."""
    if name == "id":
        return prefix + value
    if name in COORDINATES:
        short = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}", value)
        return " ".join(short.split())
    if name == "style":
        value = re.sub(r"font-family:[^;]*;? ?", "", value)
        value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, variable)
        return PALE.sub(r"fill-opacity: calc(\1 * var(--shade, 1))", value)
    return re.sub(r"(^|url\()#", rf"\1#{prefix}", value)
