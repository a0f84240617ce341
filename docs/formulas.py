"""Formulas of the pages: LaTeX becomes MathML at the build, with places where lines may break.

math-core converts, with the spaces of LaTeX. Browsers break a line inside of MathML nowhere
(Chromium) or anywhere (Firefox): a formula is cut here into pieces that stay whole.
"""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

CONVERTER = LatexToMathML(fancy_error=False)
RELATIONS = frozenset("=≠<>≤≥≪≫≈∼≃≡∝→⟶↦∈≔⇒⟹⇔⟺")
BINARY = frozenset("+−±")
OPEN, CLOSE, BARS = frozenset("([{⟨⌊⌈"), frozenset(")]}⟩⌋⌉"), frozenset("|‖∣∥")
# Letters of a formula in a text below which it stays on one line.
SHORT = 14
# The narrowest space, in em, that separates two formulas on one line.
QUAD = 1.0
# Signs above a term that Chromium draws beside it, and what to draw instead.
ABOVE = {"\u0332": "\u203e", "\u20d7": "\u2192"}

log = logging.getLogger(__name__)


def mathml(latex: str, display: bool = False) -> str:
    """The MathML of a formula, as pieces between which a line may break.

    Raises ValueError where LaTeX is not understood.
    """
    try:
        text = CONVERTER.convert_with_local_state(environment(latex), displaystyle=display)
    except LatexError as error:
        place, _, fault = str(error).partition(": ")
        raise ValueError(f"{fault} At character {place} of the formula: {latex}") from None
    root = ElementTree.fromstring(text.replace("&ApplyFunction;", "\u2061"))
    mend_primes(root)
    for sign in root.iter("mo"):
        sign.text = ABOVE.get(sign.text or "", sign.text)
    long = display or len("".join(root.itertext())) >= SHORT
    parts = pieces(list(root), before=display) if long else [list(root)]
    if not display:
        return "".join(map(written, parts))
    return "".join(
        # a space, where the line may break, as wide as the one of LaTeX
        f'<span style="word-spacing: {next(group)[0].get("width")}"> </span>'
        if gap
        else f'<span class="part">{"".join(written(part, True) for part in group)}</span>'
        for gap, group in groupby(parts, lambda part: wide(part[0]))
    )


def environment(latex: str) -> str:
    """LaTeX with the environment that several lines need."""
    outside = re.sub(r"\\begin{(\w+\*?)}.*?\\end{\1}", "", latex, flags=re.DOTALL)
    if re.search(r"\\\\|(?<!\\)&", outside):
        return rf"\begin{{aligned}}{latex}\end{{aligned}}"
    if re.search(r"\n\s*\n", latex.strip()):
        lines = r"\\".join(re.split(r"\n\s*\n", latex.strip()))
        return rf"\begin{{gathered}}{lines}\end{{gathered}}"
    return latex


def mend_primes(root: Element) -> None:
    """Set primes on the line: the sign itself is raised, and raised twice it flies off."""
    for parent in root.iter():
        for at, child in enumerate(parent):
            if child.tag == "msup" and child[1].tag == "mo" and child[1].text in "′″‴⁗":
                base, prime = child
                prime.attrib.update(lspace="0", rspace="0", form="postfix")
                row = Element("mrow")
                row.extend((base, prime))
                parent[at] = row


def pieces(row: list[Element], before: bool) -> list[list[Element]]:
    """A row cut at its relations, sums and wide spaces that stand outside of brackets.

    `before` begins a piece with the operator, as displayed formulas do; else it ends one.
    """
    cut: list[list[Element]] = [[]]
    depth = bars = 0
    for at, each in enumerate(row):
        sign = operator(each)
        depth += (sign in OPEN) - (sign in CLOSE)
        bars += sign in BARS and depth == 0
        whole = depth == 0 and bars % 2 == 0
        if whole and wide(each):
            cut += [[each], []]
        elif whole and at and breaks(each):
            each.set("form", "infix")  # it may stand first or last in its piece
            if before:
                cut.append([each])
            else:
                cut[-1].append(each)
                cut.append([])
        else:
            cut[-1].append(each)
    return [part for part in cut if part] if depth == 0 and bars % 2 == 0 else [row]


def operator(element: Element) -> str:
    """The sign of an operator, also where it has an exponent or limits; else empty."""
    while element.tag in ("msup", "msub", "msubsup") or primed(element):
        element = element[0]
    return (element.text or "") if element.tag == "mo" else ""


def primed(element: Element) -> bool:
    """Whether it is a term and its prime, as `mend_primes` leaves them."""
    return element.tag == "mrow" and len(element) == 2 and element[1].text in set("′″‴⁗")


def breaks(element: Element) -> bool:
    """Whether a line may break at an operator. A sign such as that of -1 has no space around."""
    sign = element.text if element.tag == "mo" else None
    return sign in RELATIONS or (sign in BINARY and element.get("lspace") != "0")


def wide(element: Element) -> bool:
    return element.tag == "mspace" and float(element.get("width", "0em")[:-2]) >= QUAD


def written(part: list[Element], display: bool = False) -> str:
    root = Element("math", {"displaystyle": "true"} if display else {})
    root.extend(part)
    return ElementTree.tostring(root, encoding="unicode")


def converted(self: HTML5Translator, node: nodes.math | nodes.math_block) -> str:
    """The MathML of a node. One that is not understood is a warning, which ends `make docs`."""
    try:
        return mathml(node.astext(), display=isinstance(node, nodes.math_block))
    except ValueError as error:
        log.warning("%s", error, location=node, type="formula")
        return f"<code>{self.encode(node.astext())}</code>"


def inline_math(self: HTML5Translator, node: nodes.math) -> None:
    parts = re.split("(?<=</math>)(?=<math)", converted(self, node))
    parts[0] = node.get("before", "") + parts[0]
    parts[-1] += node.get("after", "")
    self.body.append("".join(f'<span class="whole">{part}</span>' for part in parts))
    raise nodes.SkipNode


def hold(app: Sphinx, page: nodes.document, name: str) -> None:
    """Keep brackets and punctuation around a formula on its line: browsers would part them."""
    for node in page.findall(nodes.math):
        place = node.parent.index(node)
        around = node.parent.children
        if place and isinstance(around[place - 1], nodes.Text):
            text = str(around[place - 1])
            kept = text.rstrip("([")
            node["before"] = text[len(kept) :]
            around[place - 1] = nodes.Text(kept)
        if place + 1 < len(around) and isinstance(around[place + 1], nodes.Text):
            text = str(around[place + 1])
            kept = text.lstrip(".,;:!?)]")
            node["after"] = text[: len(text) - len(kept)]
            around[place + 1] = nodes.Text(kept)


def join(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put each formula of a docstring on one line: what escapes bars in text looks at lines."""
    text = re.sub(
        ":math:`[^`]+`", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), "\n".join(lines)
    )
    lines[:] = text.split("\n")


def display_math(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(f'<div class="formula">{converted(self, node)}</div>')
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", join, priority=300)  # before bars are escaped
    app.connect("doctree-resolved", hold)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
