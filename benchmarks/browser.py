"""Headless Chromium, driven by playwright, for measurements and tests of pages."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program(), args=list(SWITCHES))
        try:
            yield running
        finally:
            running.close()


def wait(page: Any, true: str) -> None:
    """Wait until an expression is true in the page.

    playwright's own wait_for_function evaluates text in the page, which its policy forbids.
    """
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(true):
        assert time.monotonic() < end, f"never true: {true}"
        page.wait_for_timeout(20)
