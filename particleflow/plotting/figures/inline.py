"""A figure as a piece of SVG within a page, which follows the page's font and colours."""

from __future__ import annotations

import re
from html import escape
from io import StringIO

import matplotlib
from matplotlib.figure import Figure

from particleflow.plotting.style import LIGHT

# The page's variables in the place of the colours of the light theme.
VARIABLES = {
    LIGHT.ink.lower(): "var(--ink)",
    LIGHT.faint.lower(): "var(--quiet)",
    LIGHT.spine.lower(): "var(--line)",
}


def svg(figure: Figure, prefix: str, label: str) -> str:
    """The figure, drawn in the light theme, as an <svg> element.

    Its texts are texts, in the font of the page; `label` tells in words what it shows. The ids
    begin with `prefix`, which must differ from those of other figures of the page. Ink, quiet text
    and thin lines take the page's variables --ink, --quiet, --line.
    """
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        made = StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    text = made.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.S)
    (box,) = re.findall(r'viewBox="([^"]*)"', text[: text.index(">")])
    inside = text[text.index(">") + 1 :]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', inside))
    inside = re.sub(
        r' id="([^"]*)"',
        lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "",
        inside,
    )
    inside = re.sub(r'(href="#|url\(#)', rf"\1{prefix}", inside).replace("xlink:href", "href")
    inside = re.sub(r"font-family: [^;\"]*;?", "", inside)
    inside = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", inside)
    inside = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", inside)
    for colour, variable in VARIABLES.items():
        inside = inside.replace(colour, variable)
    inside = _once(re.sub(r"\s+", " ", inside).replace("> <", "><"))
    return f'<svg role="img" aria-label="{escape(label, quote=True)}" viewBox="{box}">{inside}'


def _once(text: str) -> str:
    """Write the style of many equal marks once, at the group that holds them."""

    def group(found: re.Match[str]) -> str:
        styles = set(re.findall(r'style="([^"]*)"', found[2]))
        if len(styles) != 1:
            return found[0]
        bare = re.sub(r' ?style="[^"]*"', "", found[2])
        return f'<g{found[1]} style="{styles.pop()}">{bare}</g>'

    return re.sub(r"<g([^>]*)>((?:<use [^>]*/>){2,})</g>", group, text)
