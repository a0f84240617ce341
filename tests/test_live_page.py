"""The live window's page in a browser: it draws, steers, paints, and says what is refused."""

from __future__ import annotations

import os
import threading

import browser
import pytest

from benchmarks import live
from particleflow.cli.live import Records
from particleflow.live import Server, Session

pytestmark = pytest.mark.browser

READY = "window.live && live.ready && live.drawn > 2"
# The mean colour of the picture changes with every step.
PICTURE = "document.getElementById('cloud').toDataURL()"
# Chromium's words for a connection to a program that has ended, in whatever phase the end met it.
CUT = (
    "CONNECTION_ABORTED",
    "CONNECTION_CLOSED",
    "CONNECTION_REFUSED",
    "CONNECTION_RESET",
    "CONTENT_LENGTH_MISMATCH",
    "EMPTY_RESPONSE",
    "SOCKET_NOT_CONNECTED",
)


@pytest.fixture
def served():
    """An MMD flow of 60 particles to the rings, on its page."""
    maker = Records({"n": 60, "m": 80})
    session = Session(maker, maker.first)
    server = Server(session)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    session.start()
    serving.start()
    yield server
    server.shutdown()
    server.server_close()
    serving.join(10)
    session.close()


@pytest.fixture
def page(served, pages):
    return pages.open(served.address, READY)


def facts(page):
    return page.evaluate("live.facts")


def paused(page, served):
    """Wait until the flow rests and the page shows its last frame, which comes after the facts."""
    browser.wait(page, "!live.facts.running")
    browser.wait(page, f"live.frame.step === {served.session._state.clock.step}")


def forgive(pages, *words):
    """Forget what the browser itself says in its console of answers that the test provokes."""
    pages.faults[:] = [fault for fault in pages.faults if not any(w in fault for w in words)]


def slide(page, name, tick):
    """Move a slider as a finger does."""
    page.evaluate(
        f"""const box = document.querySelector('input[name={name}]');
        box.value = {tick};
        box.dispatchEvent(new Event('input'));
        box.dispatchEvent(new Event('change'));"""
    )


def test_it_draws_and_goes_on(page):
    before = page.evaluate(PICTURE)
    step = page.evaluate("live.frame.step")
    browser.wait(page, f"live.frame.step > {step + 5}")
    assert page.evaluate(PICTURE) != before
    assert page.evaluate("live.frame.points.length") == 120
    assert page.text_content("h1") == "mmd to rings"
    assert float(page.text_content("#at")) > step


def test_particles_are_drawn_where_they_are(page, served):
    """The pixels of a particle have a colour of the wheel, and their corner has none."""
    page.click("#run")
    paused(page, served)
    page.wait_for_timeout(100)
    coloured = """(() => {
        const canvas = document.getElementById('cloud');
        const { clientWidth: w, clientHeight: h } = canvas;
        const copy = new OffscreenCanvas(canvas.width, canvas.height), ratio = canvas.width / w;
        const pen = copy.getContext('2d', { willReadFrequently: true });
        pen.drawImage(canvas, 0, 0);
        let hits = 0;
        for (let i = 0; i < live.frame.count; i++) {
          const at = onScreen([live.frame.points[2 * i], live.frame.points[2 * i + 1]], w, h);
          const [x, y] = at.map((v) => Math.round(ratio * v));
          const rgb = pen.getImageData(x, y, 1, 1).data.slice(0, 3);
          hits += Math.max(...rgb) - Math.min(...rgb) > 30;
        }
        return hits;
    })()"""
    assert page.evaluate(coloured) == 60


def test_a_slider_is_answered(page, served):
    slide(page, "bandwidth", 800)
    low, high = next(
        (control["low"], control["high"])
        for control in facts(page)["controls"]
        if control["name"] == "bandwidth"
    )
    wanted = float(f"{low * (high / low) ** 0.8:.3g}")
    browser.wait(page, f"live.facts.settings.bandwidth === {wanted}")
    assert served.session.facts["settings"]["bandwidth"] == wanted
    assert "bandwidth" not in facts(page)["chosen"]
    label = page.locator("label", has=page.locator("input[name=bandwidth]"))
    assert float(label.locator("output").text_content()) == wanted
    label.get_by_role("button").click()
    browser.wait(page, "live.facts.chosen.includes('bandwidth')")


def test_every_kind_of_control_reaches_the_flow(page, served):
    page.select_option("select[name=flow]", "mono")
    browser.wait(page, "live.facts.settings.flow === 'mono'")
    page.select_option("select[name=mobility]", "vanilla")
    browser.wait(page, "live.facts.settings.shift === 0")
    slide(page, "shift", 700)
    browser.wait(page, "live.facts.settings.shift === 2")
    slide(page, "n", 0)
    browser.wait(page, "live.frame.count === 20")
    slide(page, "speed", 1000)
    browser.wait(page, "live.facts.settings.speed === 1000")
    page.select_option("select[name=target]", "moons")
    browser.wait(page, "live.facts.settings.target === 'moons'")
    assert page.text_content("h1") == "mono to moons"
    browser.wait(page, "scene === live.facts.scene && target.length === 160")


def test_buttons_and_keys(page, served):
    page.keyboard.press("Space")
    paused(page, served)
    assert page.text_content("#run") == "Run"
    step = page.evaluate("live.frame.step")
    page.keyboard.press("ArrowRight")
    browser.wait(page, f"live.frame.step === {step + 1}")
    page.click("#step")
    browser.wait(page, f"live.frame.step === {step + 2}")
    page.keyboard.press("r")
    browser.wait(page, "live.frame.step === 0")
    page.keyboard.press("ArrowRight")
    browser.wait(page, "live.frame.step === 1")
    page.click("#restart")
    browser.wait(page, "live.frame.step === 0")
    page.click("#run")
    browser.wait(page, "live.facts.running && live.frame.step > 2")


def test_arrow_keys_belong_to_the_slider_that_has_the_focus(page, served):
    page.click("#run")
    paused(page, served)
    step, dt = page.evaluate("live.frame.step"), facts(page)["settings"]["dt"]
    page.focus("input[name=dt]")
    page.keyboard.press("ArrowRight")
    browser.wait(page, f"live.facts.settings.dt > {dt}")
    assert page.evaluate("live.frame.step") == step


def test_a_refusal_is_said_though_a_warning_was_shown(page, pages, served):
    served.session._note = "a warning of the settings"
    page.evaluate("set({ dt: 0.01 })")
    browser.wait(page, "live.facts.chosen && !live.facts.chosen.includes('dt')")
    served.session._note = "a warning of the settings"
    page.evaluate("order('step')")
    browser.wait(page, "live.facts.message === 'a warning of the settings'")
    page.evaluate("set({ bandwidth: -1 })")
    browser.wait(page, "!document.body.classList.contains('busy') && !sending")
    assert "bandwidth" in page.text_content("#message")
    assert page.is_visible("#message")
    forgive(pages, "400")


def test_a_refusal_is_said_and_the_flow_goes_on(page, pages):
    page.select_option("select[name=flow]", "langevin")
    browser.wait(page, "!document.getElementById('message').hidden")
    assert page.text_content("#message").startswith("target must have a known density")
    assert page.input_value("select[name=flow]") == "mmd"
    step = page.evaluate("live.frame.step")
    browser.wait(page, f"live.frame.step > {step}")
    page.select_option("select[name=flow]", "mmd-noise")
    browser.wait(page, "document.getElementById('message').hidden")
    forgive(pages, "400 (Bad Request)")


def test_a_target_is_painted(page, served):
    page.keyboard.press("p")
    box = page.locator("#cloud").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x + 100, y, steps=20)
    page.mouse.up()
    browser.wait(page, "live.facts.settings.target === 'painted'")
    assert page.text_content("h1") == "mmd to your painting"
    middle, scale = page.evaluate(
        "(({ x, y, scale }) => [[x, y], scale])(view(document.getElementById('cloud').clientWidth,"
        " document.getElementById('cloud').clientHeight))"
    )
    painted = served.session._scene.y
    assert float((painted[:, 0] - middle[0]).abs().max()) == pytest.approx(100 / scale, rel=0.2)
    assert float((painted[:, 1] - middle[1]).abs().max()) < 20 / scale
    page.keyboard.press("p")
    assert page.get_attribute("#paint", "aria-pressed") == "false"
    page.select_option("select[name=target]", "rings")
    browser.wait(page, "live.facts.settings.target === 'rings'")
    page.select_option("select[name=target]", "painted")
    browser.wait(page, "live.facts.settings.target === 'painted'")


def test_the_benchmark_measures_what_its_goals_name(page):
    found = live.watched(page, os.getpid(), 1)
    assert {goal.number for goal in live.GOALS} <= set(found)
    assert all(number > 0 for number in found.values())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_it_can_be_read(served, pages, size, dark):
    page = pages.open(served.address, READY, size=size, dark=dark)
    page.select_option("select[name=flow]", "langevin")
    browser.wait(page, "!document.getElementById('message').hidden")
    assert not browser.poor_contrasts(page)
    assert not browser.overlaps(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    forgive(pages, "400 (Bad Request)")


def test_the_end_of_the_program_is_said(served, pages):
    page = pages.open(served.address, READY)
    served.session.close()
    served.shutdown()
    served.server_close()
    browser.wait(page, "document.getElementById('message').textContent.includes('has ended')")
    forgive(pages, *(f"Failed to load resource: net::ERR_{cut}" for cut in CUT))
