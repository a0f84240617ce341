"""docs/formulas.py: the spaces of MathML, where lines may break, and what is refused."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("math_core", reason="math-core is not installed: pip install '.[docs]'")
pytest.importorskip("sphinx", reason="sphinx is not installed: pip install '.[docs]'")
formulas = importlib.import_module("formulas")
DOCS = Path(__file__).parents[1] / "docs"


def texts(latex: str, display: bool = False) -> list[str]:
    """The letters of each piece of a formula."""
    tree = ElementTree.fromstring(f"<p>{formulas.mathml(latex, display)}</p>")
    return ["".join(math.itertext()) for math in tree.iter("math")]


def operators(latex: str) -> list[tuple[str, dict[str, str]]]:
    tree = ElementTree.fromstring(f"<p>{formulas.mathml(latex)}</p>")
    return [(mo.text or "", mo.attrib) for mo in tree.iter("mo")]


def test_a_sign_has_no_space_and_a_difference_has():
    assert operators("w = -h")[1] == ("−", {"lspace": "0", "rspace": "0"})
    assert operators("a - b")[0] == ("−", {})  # the browser's own spaces


def test_bars_do_not_stretch_and_stand_close():
    for latex in (r"S = |a - b|^2", r"\|a - b\|^2", r"\lVert a - b \rVert^2"):
        bars = [how for sign, how in operators(latex) if sign in "|‖"]
        assert len(bars) == 2
        assert all(how["stretchy"] == "false" for how in bars)
    assert operators("-|a|^2")[0] == ("−", {"lspace": "0", "rspace": "0"})


def test_limits_of_sums_stand_below_in_displays():
    assert "<munder>" in formulas.mathml(r"\sum_i a_i", display=True)
    assert "<munder>" in formulas.mathml(r"\max_{a > 0} a", display=True)


@pytest.mark.parametrize("latex", ["h'", "f''(r)"])
def test_primes_stand_on_the_line(latex):
    made = formulas.mathml(latex)
    assert "<msup>" not in made
    assert re.search(r'<mo [^>]*rspace="0"[^>]*>[′″]</mo>', made)


def test_lines_and_arrows_above_a_term_lie_above_it():
    assert operators(r"\overline{ab}")[0][0] == "\u203e"
    assert operators(r"\vec{a}")[0][0] == "\u2192"


def test_a_full_stop_belongs_to_the_formula():
    assert texts("a = b .", display=True)[-1].endswith("b.")


# ------------------------------------------------------------------ where lines may break


def test_a_display_begins_its_lines_with_the_operator():
    assert texts(r"F = a + b \le c", display=True) == ["F", "=a", "+b", "≤c"]


def test_a_long_formula_in_a_text_ends_its_lines_with_the_operator():
    assert texts(r"\varphi(x) = \psi(y) + \chi(z)") == ["φ(x)=", "ψ(y)+", "χ(z)"]
    assert texts("a = b") == ["a=b"]


@pytest.mark.parametrize(
    "latex",
    [
        r"f(a + b, c + d, e + f)",
        r"|a + b + c + d + e|",
        r"\left( a + b + c + d + e \right)^2",
        r"\{ a + b + c + d = e \}",
        r"(a + b + c + d + e",  # nothing is cut where brackets do not match
    ],
)
def test_brackets_are_never_cut(latex):
    assert len(texts(latex, display=True)) == 1


def test_a_cut_operator_keeps_its_spaces():
    made = ElementTree.fromstring(f"<p>{formulas.mathml('a + b = -c', display=True)}</p>")
    firsts = [next(math.iter("mo")).attrib for math in made.iter("math") if len(math) > 1]
    assert all(how["form"] == "infix" for how in firsts)
    assert len(firsts) == 2


def test_formulas_with_a_wide_space_between_get_a_line_each():
    made = formulas.mathml(r"a = b , \qquad c = d", display=True)
    assert made.count('class="part"') == 2
    assert '<span style="word-spacing: 2em"> </span>' in made


def test_a_prime_after_a_bracket_lets_lines_break():
    assert texts(r"h = a, \qquad g = (f^*)'(s)", display=True)[-1].startswith("=")


def test_lines_and_columns_need_no_environment():
    assert formulas.mathml(r"a &= b \\ c &= d", display=True).count("<mtr>") == 2
    assert formulas.mathml("a\n\nb", display=True).count("<mtr>") == 2
    assert formulas.mathml(r"\begin{cases} a & b \\ c & d \end{cases}", True).count("<mtr>") == 2


def test_a_formula_of_a_docstring_that_goes_on_in_the_next_line_is_one_line():
    lines = ["The distance :math:`|x -", "    y|^2`, and |a| `b`", "end"]
    formulas.join(None, "function", "f", None, None, lines)
    assert lines == ["The distance :math:`|x - y|^2`, and |a| `b`", "end"]


# ------------------------------------------------------------------ what is understood


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{1}{N} \sum_{i=1}^N \nabla w(x_i), \quad \mathbb{E}\, \mathcal{N}(0, I)",
        r"\lVert a \rVert \lvert b \rvert \operatorname{diag}(a) \operatorname*{arg\,min}_x",
        r"\begin{aligned} a &= b \\ c &= -d \end{aligned}",
        r"f = \begin{cases} 1 & \text{if } x > 0, \\ 0 & \text{else} \end{cases}",
        r"\hat{x} \tilde{y} \bar{z} \dot{w} \mathbf{1} \boldsymbol{\theta} \overline{ab}",
        r"\bigl\| x \bigr\| \binom{n}{k} \begin{pmatrix} a & b \\ c & d \end{pmatrix}",
    ],
)
def test_what_pages_and_docstrings_write_is_understood(latex):
    assert "\\" not in formulas.mathml(latex, display=True)


def test_an_unknown_command_is_refused_by_name():
    with pytest.raises(ValueError, match=r'Unknown command "\\foo".*: a \\foo'):
        formulas.mathml(r"a \foo")


def test_an_unknown_command_ends_the_build_with_page_and_line(tmp_path, capsys):
    from sphinx.cmd.build import main

    (tmp_path / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(DOCS)!r})\n"
        "extensions = ['formulas']; html_math_renderer = 'mathml'; html_theme = 'basic'\n"
    )
    (tmp_path / "index.rst").write_text(
        "Page\n====\n\nGood (:math:`a = b`), here.\n\n.. math::\n   :label: one\n\n   c\n\n"
        "Bad :math:`\\foo`.\n"
    )
    said = main(["-b", "html", "-W", "-q", "-E", str(tmp_path), str(tmp_path / "out")])
    assert said != 0
    assert re.search(r'index\.rst:11: .*Unknown command "\\foo"', capsys.readouterr().err)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    # brackets and a comma stay on the line of their formula; a number stands beside its own
    assert re.search(r'Good <span class="whole">\(<math>.*</math>\),</span> here', page)
    assert re.search(
        r'<div class="math" id="equation-one">\s*<div class="formula">.*?</div>'
        r'<span class="eqno">\(1\)',
        page,
    )
