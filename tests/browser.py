"""Pages in headless Chromium, driven by playwright, for the tests with the marker `browser`."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

# The names that Chromium's and Chrome's packages give the program.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, for tests that run as root; nothing that asks the network by itself.
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
# Milliseconds in which a page must answer, on a machine that is busy.
PATIENCE = 20_000


def program() -> str | None:
    """The path of the installed browser."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing() -> str:
    """What the tests lack; empty where they can run."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    return "" if program() else f"no browser, none of {', '.join(PROGRAMS)}"


class Pages:
    """A browser. Pages that it opened must end without an error and without a request elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[str] = []

    def __enter__(self) -> Pages:
        from playwright.sync_api import sync_playwright

        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(
            executable_path=program(), args=list(SWITCHES)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.browser.close()
        self.playwright.stop()
        if error is None:
            assert not self.faults, self.faults

    def open(
        self,
        address: Path | str,
        ready: str,
        *,
        size: tuple[int, int] = (1280, 800),
        dark: bool = False,
        still: bool = True,
        fragment: str = "",
    ) -> Any:
        """Open a file or an address, and wait until `ready` is true in the page.

        `still` asks for reduced motion, so that nothing plays by itself.
        """
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if still else "no-preference",
            accept_downloads=True,
        )
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
        page.wait_for_function(ready)
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")


# Everything that is seen and can be used, or says something, as boxes: [name, left, top, right,
# bottom]. Labels and their inputs are one box.
BOXES = r"""() => [...document.querySelectorAll("h1, button, label, canvas, figcaption, summary, td, #moment")]
  .filter((e) => e.checkVisibility() && !e.closest("label button"))
  .map((e) => { const b = e.getBoundingClientRect(); return [e.id || e.textContent.slice(0, 20), b.left, b.top, b.right, b.bottom]; })
  .filter(([, l, t, r, b]) => r - l > 1 && b - t > 1)"""

# The contrast of each piece of text with what is behind it, by WCAG 2: [text, ratio].
CONTRASTS = r"""() => {
  const rgb = (css) => (css.match(/[\d.]+/g) || []).map(Number);
  const lightness = (c) => [0, 1, 2].reduce((sum, k) => { const v = c[k] / 255; return sum + [0.2126, 0.7152, 0.0722][k] * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && !["SCRIPT", "STYLE", "OPTION"].includes(e.tagName))
    .map((e) => { const [a, b] = [lightness(rgb(getComputedStyle(e).color)), lightness(behind(e))].sort((x, y) => y - x); return [e.textContent.slice(0, 30), (a + 0.05) / (b + 0.05)]; });
}"""


def overlaps(boxes: list[list[Any]]) -> list[tuple[str, str]]:
    """The pairs of boxes that lie over each other by more than a pixel in both directions."""
    found = []
    for k, (name, left, top, right, bottom) in enumerate(boxes):
        for other, l, t, r, b in boxes[:k]:
            if min(right, r) - max(left, l) > 1 and min(bottom, b) - max(top, t) > 1:
                found.append((str(name), str(other)))
    return found
