"""Every source that pages and docstrings cite by author and year is in the bibliography."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted((ROOT / "docs").glob("*.rst")),
    *sorted((ROOT / "docs" / "api").glob("*.rst")),
    *sorted((ROOT / "docs" / "developers").rglob("*.rst")),
    *sorted((ROOT / "docs" / "examples").glob("*.py")),
    *sorted((ROOT / "particleflow").rglob("*.py")),
]
# Surnames, joined by commas, "and" and "et al.", and a year, with or without a bracket.
NAME = r"(?:(?:von|van|de|den|af) )*[A-Z][a-z][\w'-]+"
CITATION = re.compile(
    rf"({NAME})((?:(?:, | and |, and ){NAME})*(?: et al\.)?),? \(?((?:19|20)\d\d)\)?"
)
# Words with a capital and a number that are no authors.
OTHER = {"Beyond", "NeurIPS", "November", "Particles", "Press", "Where", "Xiv"}


def plain(text: str) -> str:
    """The text in one line and without accents; "oe" and "ue" stand for umlauts."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()))
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return re.sub(r"Soederlind", "Soderlind", bare)


def cited(text: str) -> set[tuple[str, str]]:
    """(first author, year) of each citation."""
    found = {(m[1].split()[-1], m[3]) for m in CITATION.finditer(plain(text))}
    return {(name, year) for name, year in found if name not in OTHER}


def entries() -> list[str]:
    page = (ROOT / "docs" / "bibliography.rst").read_text(encoding="utf-8")
    # a backslash keeps an initial from being the number of a list
    return [plain(entry).removeprefix("\\") for entry in re.split(r"^\* ", page, flags=re.M)[1:]]


@pytest.mark.parametrize("folder", ["docs", "particleflow"])
def test_sources_are_in_the_bibliography(folder: str) -> None:
    pages = [page for page in PAGES if page.relative_to(ROOT).parts[0] == folder]
    known = [(entry.split("(")[0], entry) for entry in entries()]
    missing = {
        (page.name, name, year)
        for page in pages
        if page.name != "bibliography.rst"
        for name, year in cited(page.read_text(encoding="utf-8"))
        if not any(re.search(rf"\b{name}\b", who) and f"({year})" in entry for who, entry in known)
    }
    assert not missing


def test_entries_have_one_style_and_order() -> None:
    listed = entries()
    assert len(listed) > 60
    for entry in listed:
        assert re.match(r"[A-Z][^*]* \((19|20)\d\d\)\. \*[^*]+\*", entry), entry
    assert cited("x (Arbel, Korba, Salim and Gretton\n 2019), Polyak (1964)") == {
        ("Arbel", "2019"),
        ("Polyak", "1964"),
    }
