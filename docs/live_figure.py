"""The picture of the live window: python docs/live_figure.py writes it to docs/_static."""

import math
from pathlib import Path

from benchmarks import browser
from benchmarks.live import served

# Steps that are taken: some particles are still on their way.
STEPS = 20
# Corners of a heart, as shares of the shorter side of the picture.
HEART = [
    (
        0.35 * math.sin(a) ** 3,
        0.028 * (2 * math.cos(3 * a) + 5 * math.cos(2 * a) - 13 * math.cos(a)),
    )
    for a in (2 * math.pi * k / 60 for k in range(61))
]


def main() -> None:
    """A heart is painted, and MonoFlow is on its way to it."""
    with (
        served("--flow", "mono", "--bandwidth", "0.12") as (address, _),
        browser.chromium() as running,
    ):
        page = running.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        browser.wait(page, "window.live && live.ready && live.drawn > 10")
        page.keyboard.press("p")
        box = page.locator("#cloud").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        points = [(x + box["height"] * a, y + box["height"] * b) for a, b in HEART]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points:
            page.mouse.move(*point)
        page.mouse.up()
        browser.wait(page, "live.facts.settings.target === 'painted'")
        page.keyboard.press("p")
        page.keyboard.press("Space")
        page.keyboard.press("r")
        for _ in range(STEPS):
            page.keyboard.press("ArrowRight")
        browser.wait(page, f"live.frame.step === {STEPS}")
        page.wait_for_timeout(500)
        page.screenshot(path=Path(__file__).parent / "_static" / "live.png")


if __name__ == "__main__":
    main()
