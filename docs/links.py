"""Links of built pages that lead nowhere within them: a missing file, or a missing anchor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Scripts and pictures hold text that looks like a link.
UNREAD = re.compile(r"<(script|svg|style)\b.*?</\1>", re.S)
PLACE = re.compile(r'\s(?:id|name)="([^"]*)"')
LINK = re.compile(r'\s(?:href|src)="([^"]*)"')


def broken(folder: Path) -> Iterator[tuple[str, str]]:
    """(page, link) of each link in the pages of a folder to a place in it that there is not."""
    pages = {
        page.resolve(): UNREAD.sub("", page.read_text(encoding="utf-8"))
        for page in sorted(folder.rglob("*.html"))
        if "_static" not in page.relative_to(folder).parts
    }
    places = {page: set(PLACE.findall(text)) for page, text in pages.items()}
    for page, text in pages.items():
        for link in dict.fromkeys(LINK.findall(text)):
            parts = urlsplit(unescape(link))
            if parts.scheme or parts.netloc:
                continue
            aim = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not aim.exists() or (anchor and aim in places and anchor not in places[aim]):
                yield page.relative_to(folder.resolve()).as_posix(), link
