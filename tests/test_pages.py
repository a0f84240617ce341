"""Pages as they are read: no line of code is cut, no formula leaves the page, no picture shines.

What needs the built pages looks into docs/_build/html. It is skipped where `make docs` has not run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUILT = DOCS / "_build" / "html"
# The columns that are seen on a screen of 1280 pixels.
COLUMNS = 84
# The pages of the reference that are opened, those with the widest lines; all of them are many.
OPENED = 16

sys.path.insert(0, str(DOCS))

# ------------------------------------------------------------------ columns


def literal(lines: list[str], languages: str) -> Iterator[tuple[int, str]]:
    """The lines of the code blocks of reStructuredText, with their numbers."""
    block, margin = -1, 0
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if block >= 0 and line.strip() and indent <= block:
            block = -1
        if block < 0 and re.match(rf"\s*\.\. code-block:: ({languages})\s*$", line):
            block, margin = indent, 0
        elif block >= 0 and line.strip():
            margin = margin or indent
            yield number, line[margin:].rstrip()


def fenced(lines: list[str]) -> Iterator[tuple[int, str]]:
    """The lines of the code blocks of Markdown that name their language, with their numbers."""
    language = ""
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            language = "" if language else line[3:] or "text"
        elif language not in ("", "text"):
            yield number, line


def code_lines() -> Iterator[tuple[str, int, str]]:
    """All lines of code that pages show: file, number, text.

    Not what is printed, nor commands at a prompt: the style sheet wraps them on a wide screen.
    """
    pages = [page for page in DOCS.rglob("*.rst") if "_build" not in page.parts]
    for page in sorted(page for page in pages if "gallery" not in page.parts):
        lines = page.read_text(encoding="utf-8").splitlines()
        for number, line in literal(lines, "python|bash|toml|rst|c"):
            yield str(page.relative_to(ROOT)), number, line
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    yield from (("README.md", number, line) for number, line in fenced(readme))
    for page in sorted((DOCS / "examples").glob("*.py")):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if not line.startswith("#"):
                yield str(page.relative_to(ROOT)), number, line


def test_no_line_of_code_is_wider_than_a_page():
    wide = [
        f"{file}:{number}: {len(line)} columns: {line}"
        for file, number, line in code_lines()
        if len(line) > COLUMNS
    ]
    assert not wide, "\n".join(wide)


def test_a_wide_line_is_noticed():
    page = ["Text.", "", ".. code-block:: python", "", "   x = 1", "", "   " + "y" * 85, "", "End."]
    assert [(number, len(line)) for number, line in literal(page, "python")] == [(5, 5), (7, 85)]
    assert [*fenced(["```python", "x", "```", "text", "```", "out", "```"])] == [(2, "x")]


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize(
    ("mode", "colour", "light"),
    [
        ("RGB", (255, 255, 255), True),
        ("RGB", (19, 20, 22), False),
        ("RGBA", (0, 0, 0, 0), True),  # nothing: ink is drawn on paper
        ("L", 250, True),
    ],
)
def test_the_ground_of_a_picture_is_that_of_its_border(tmp_path, mode, colour, light):
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install '.[docs]'")
    from grounds import light_ground

    picture = Image.new(mode, (40, 30), colour)
    picture.paste(Image.new(mode, (20, 20), 128 if mode == "L" else (200, 90, 30)), (10, 5))
    picture.save(tmp_path / "a.png")
    assert light_ground(tmp_path / "a.png") is light


@pytest.fixture(scope="module")
def built() -> list[Path]:
    """The pages that `make docs` has built, of the reference only those with the widest lines."""
    pages = sorted(BUILT.glob("*.html")) + sorted(BUILT.glob("[!_]*/**/*.html"))
    pages = [page for page in pages if "sidebar-drawer" in page.read_text(encoding="utf-8")]
    if not pages:
        pytest.skip("the pages are not built: make docs")
    return pages


def chosen(pages: list[Path]) -> list[Path]:
    reference = [page for page in pages if page.relative_to(BUILT).parts[0] == "api"]
    reference.sort(key=widest, reverse=True)
    left_out = set(reference[OPENED:])
    return [page for page in pages if page not in left_out and "genindex" not in page.name]


def widest(page: Path) -> int:
    """The length of the longest formula and of the longest line of code, without their tags."""
    text = page.read_text(encoding="utf-8")
    plain = lambda found: [re.sub("<[^>]*>", "", each) for each in found]
    formulas = plain(re.findall(r'<div class="formula">.*?</div>', text, re.S))
    code = "\n".join(plain(re.findall(r"<pre>.*?</pre>", text, re.S))).splitlines()
    return max(map(len, formulas), default=0) + max(map(len, code), default=0)


def test_every_picture_on_a_light_ground_is_turned_over_on_dark_pages(built):
    from grounds import CLASS, light_ground

    shining, turned = [], 0
    for page in built:
        for tag in re.findall(r"<img [^>]*>", page.read_text(encoding="utf-8")):
            source = re.search(r'src="([^"]*)"', tag)
            path = (page.parent / source[1]).resolve()
            if "_images" not in path.parts or "as-is" in tag:
                continue
            turned += CLASS in tag
            if light_ground(path) is not (CLASS in tag):
                shining.append(f"{page.relative_to(BUILT)}: {tag}")
    assert not shining, "\n".join(shining)
    assert turned > 10


# ------------------------------------------------------------------ widths

# What is wrong on a page: [what, which element, pixels].
FAULTS = """async () => {
  await document.fonts.ready;
  document.documentElement.scrollWidth;  // what moves aside at this width begins to, and ends
  document.getAnimations().forEach((moving) => moving.finish());
  const out = [], width = document.documentElement.clientWidth, desk = width > 1000;
  const said = (e) => (e.textContent || e.src || '').trim().slice(0, 70);
  const name = (e) => `${e.tagName} ${e.className} ${said(e)}`;
  const scrolls = (e) => {
    for (let box = e.parentElement; box && box !== document.body; box = box.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(box).overflowX)) return box;
    return null;
  };
  const whole = document.documentElement.scrollWidth;
  if (whole > width) out.push(['the page scrolls sideways', 'html', whole]);
  for (const e of document.querySelectorAll('article :is(math, pre, img, table, p, dt, iframe)')) {
    const { width: wide, right } = e.getBoundingClientRect(), box = scrolls(e);
    if (wide && !box && right > width + 1) out.push(['leaves the page', name(e), right]);
  }
  for (const e of document.querySelectorAll('article :is(pre, .formula)')) {
    if (e.checkVisibility() && desk && e.scrollWidth > e.clientWidth + 1)
      out.push(['is cut', name(e), e.scrollWidth - e.clientWidth]);
    if (e.getBoundingClientRect().right > width + 1) out.push(['leaves the page', name(e), 0]);
  }
  for (const e of document.querySelectorAll('div.math > .eqno')) {
    const number = e.getBoundingClientRect();
    const formula = e.parentElement.querySelector('.formula').getBoundingClientRect();
    if (number.left < formula.right - 1 || number.right > width)
      out.push(['stands over its formula', name(e), formula.right - number.left]);
  }
  return out;
}"""


@pytest.mark.browser
@pytest.mark.parametrize(
    "part", [pytest.param("chosen"), pytest.param("all", marks=pytest.mark.slow)]
)
def test_nothing_leaves_a_page(chromium, built, part):
    faults = []
    context = chromium.new_context(java_script_enabled=False, color_scheme="dark")
    context.route("**/*.js", lambda route: route.abort())
    page = context.new_page()
    try:
        for path in chosen(built) if part == "chosen" else built:
            page.goto(path.as_uri())
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 800})
                faults += [
                    f"{path.relative_to(BUILT)} at {width}: {fault}"
                    for fault in page.evaluate(FAULTS)
                ]
    finally:
        context.close()
    assert not faults, "\n".join(faults)


@pytest.mark.browser
def test_a_figure_is_turned_over_on_a_dark_page_alone(chromium, built):
    path = BUILT / "kale.html"
    for dark in (False, True):
        context = chromium.new_context(color_scheme="dark" if dark else "light")
        page = context.new_page()
        page.goto(path.as_uri())
        look = "(e) => getComputedStyle(e).filter"
        filters = page.locator("article img.light-ground").evaluate_all(f"(all) => all.map({look})")
        assert filters
        assert all((filter != "none") is dark for filter in filters)
        context.close()
