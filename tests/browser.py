"""Pages in headless Chromium, driven by playwright, for the tests with the marker `browser`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.browser import PATIENCE, chromium, missing, wait

__all__ = ["Pages", "chromium", "missing", "overlaps", "poor_contrasts", "wait"]

# What a reader sees of a page.
LOOKS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


class Pages:
    """The pages of one test. They must make no error and no request elsewhere: `faults`."""

    def __init__(self, running: Any) -> None:
        self.browser = running
        self.contexts: list[Any] = []
        self.faults: list[str] = []

    def close(self) -> None:
        for context in self.contexts:
            context.close()

    def open(
        self,
        address: Path | str,
        ready: str,
        *,
        size: tuple[int, int] = (1280, 800),
        dark: bool = False,
        still: bool = True,
        touch: bool = False,
        fragment: str = "",
    ) -> Any:
        """Open a file or an address, and wait until `ready` is true in the page.

        `still` asks for reduced motion, so that nothing plays by itself.
        """
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if still else "no-preference",
            has_touch=touch,
            accept_downloads=True,
        )
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        begins = address.as_uri() if isinstance(address, Path) else address
        home = ("file:", "data:", "blob:") if isinstance(address, Path) else (begins.split("?")[0],)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(home)
                else self.faults.append(f"request: {request.url}")
            ),
        )
        page.goto(begins + fragment)
        wait(page, ready)
        return page

    def _heard(self, kind: str, text: str) -> None:
        # how slow the drawing without a graphics card is, is no fault of the page
        if kind in ("error", "warning") and "GL Driver Message" not in text:
            self.faults.append(f"{kind}: {text}")


def poor_contrasts(page: Any) -> list[list[Any]]:
    """The pieces of text whose contrast with their ground is below 4.5: [text, ratio]."""
    return [each for each in page.evaluate(f"{LOOKS}; contrasts()") if each[1] < 4.5]


def overlaps(page: Any) -> list[tuple[str, str]]:
    """The pairs of parts that lie over each other by more than a pixel in both directions."""
    boxes, found = page.evaluate(f"{LOOKS}; boxes()"), []
    for k, (name, left, top, right, bottom) in enumerate(boxes):
        for other, l, t, r, b in boxes[:k]:
            if min(right, r) - max(left, l) > 1 and min(bottom, b) - max(top, t) > 1:
                found.append((name, other))
    return found
