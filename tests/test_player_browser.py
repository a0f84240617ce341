"""The player in a browser: what is on the screen is what the trajectory says."""

from __future__ import annotations

import itertools
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import browser
import numpy as np
import pytest
import torch
from PIL import Image
from seen import normal as cloud

import particleflow as pf
from particleflow.plotting import player

pytestmark = pytest.mark.browser

READY = "window.player && player.ready"
G = pf.kernels.Gaussian(0.8)
N, M, STEPS = 12, 17, 20


def run(bandwidth=0.8, steps=STEPS, n=N, m=M, d=2, **others):
    return pf.simulate(
        pf.mmd_flow(pf.kernels.Gaussian(bandwidth)),
        0.3 * cloud(n, d, seed=0),
        cloud(m, d, seed=1),
        steps=steps,
        dt=0.3,
        **{"save": pf.SaveAt(every=2), "metrics": {"W2": pf.metrics.W2()}} | others,
    )


@pytest.fixture(scope="module")
def two():
    return {"narrow": run(0.5), "wide": run(1.5)}


@pytest.fixture
def file(two, tmp_path):
    return player(two, tmp_path / "two.html", title="Two flows", python="import particleflow")


def opened(pages, file, **others):
    return pages.open(file, READY, **others)


def positions(page, k=0):
    """The positions (N, d) of a flow that the page has now, and their pixels (N, 2)."""
    now, flat, c = page.evaluate(
        f"[Array.from(player.flows[{k}].now), Array.from(player.flows[{k}].flat),"
        f" player.flows[{k}].C]"
    )
    return middle(page) + np.reshape(now, (-1, c)), np.reshape(flat, (-1, 2))


def middle(page):
    """The middle of the picture, from which the page measures coordinates."""
    facts = page.evaluate("JSON.parse(document.getElementById('facts').textContent)")
    return np.array(facts["middle"], float)


def pixels(page, k=0):
    """The picture (H, W, 3) of a panel, at one pixel for a CSS pixel."""
    shot = page.locator("#panels canvas").nth(k).screenshot()
    return np.asarray(Image.open(BytesIO(shot)).convert("RGB")).astype(int)


def at_step(page, step):
    """Move the slider to where the flows are at a step."""
    page.evaluate("player.view.pace = 'steps'")
    slider = page.locator("#scrub")
    slider.fill(str(step / STEPS))
    page.evaluate("player.draw()")


def pixel_of(page, points, i=0, panel=0):
    """Where a panel has the i-th of some points, an expression of the page."""
    return page.evaluate(
        "(() => { const out = [0, 0];"
        f" player.panels[{panel}].seen.to({points}, {i}, out, 0); return out; }})()"
    )


def grid_step(page):
    return page.evaluate("JSON.parse(document.getElementById('facts').textContent).step")


# ------------------------------------------------------------------ particles and time


def test_the_slider_moves_particles_to_where_the_trajectory_has_them(pages, file, two):
    page = opened(pages, file)
    box = page.evaluate("[player.panels[0].w, player.panels[0].h]")
    facts = page.evaluate("JSON.parse(document.getElementById('facts').textContent)")
    low, high = np.array(facts["low"]), np.array(facts["high"])
    unit = min(box / (high - low))
    for step, (k, path) in itertools.product([0, 6, 20], enumerate(two.values())):
        at_step(page, step)
        now, flat = positions(page, k)
        truth = path.particles[step // 2].numpy()
        assert np.abs(now - truth).max() <= 0.51 * facts["step"]
        # the middle of the box is the middle of the panel, and the second axis points up
        wanted = np.array(box) / 2 + unit * (truth - middle(page) - (low + high) / 2) * [1, -1]
        assert np.abs(flat - wanted).max() < 1


def test_between_two_records_particles_are_on_the_line_between_them(pages, file, two):
    page = opened(pages, file)
    at_step(page, 7)
    truth = two["narrow"].particles[3:5].mean(0).numpy()
    assert np.abs(positions(page)[0] - truth).max() <= 0.51 * grid_step(page)


def test_discs_are_drawn_where_the_particles_are(pages, file):
    page = opened(pages, file)
    page.evaluate("player.view.target = false; player.view.trails = 0; player.draw()")
    at_step(page, 20)
    for k, colour in enumerate(page.evaluate("player.flows.map((flow) => flow.rgb)")):
        seen, (_, flat) = pixels(page, k), positions(page, k)
        for x, y in flat.round().astype(int):
            # a border of one pixel lies around the canvas
            assert np.abs(seen[y + 1, x + 1] - colour).max() < 60


def test_first_and_last_frame_differ(pages, file):
    page = opened(pages, file)
    at_step(page, 0)
    first = pixels(page)
    at_step(page, 20)
    assert (np.abs(first - pixels(page)).max(2) > 40).sum() > 100


def test_paces_tabulate_what_they_say(pages, file, two):
    page = opened(pages, file)
    places = page.evaluate(
        "Object.fromEntries([...document.getElementById('pace').options].map(({ value }) => ["
        "value, player.flows.map((flow) => [0, .25, .5, .75, 1].map((u) => player.placeOf(flow, u,"
        " value)))]))"
    )
    assert set(places) == {"path", "steps", "time", "equal W2"}
    np.testing.assert_allclose(places["steps"], [np.linspace(0, 10, 5)] * 2, atol=1e-6)
    np.testing.assert_allclose(places["time"], [np.linspace(0, 10, 5)] * 2, atol=1e-6)
    # "path": at half of the film the mean path share over the flows is a half
    shares = []
    for path, its in zip(two.values(), places["path"], strict=True):
        length = (path.particles[1:] - path.particles[:-1]).norm(dim=2).mean(1).cumsum(0)
        length = np.concatenate([[0], length / length[-1]])
        shares.append(np.interp(its, np.arange(11), length))
    np.testing.assert_allclose(np.mean(shares, 0), [0, 0.25, 0.5, 0.75, 1], atol=0.01)
    # "equal W2": each where its W2, linear between records, first falls to a level, or at its
    # lowest record; levels are even in log W2 from the highest start to the lowest end
    values = [path.metrics["W2"].numpy() for path in two.values()]
    top, bottom = max(w[0] for w in values), min(w.min() for w in values)
    for w, its in zip(values, places["equal W2"], strict=True):
        for level, place in zip(np.geomspace(top, bottom, 5), its, strict=True):
            k = int(np.ceil(place - 1e-6))
            assert k == 0 or w[:k].min() > level  # it has not been there before
            shown = np.interp(place, np.arange(len(w)), w)
            assert shown == pytest.approx(np.clip(level, w.min(), w[0]), rel=1e-6)


def test_it_plays_by_itself_unless_motion_is_unwanted(pages, file):
    moving = opened(pages, file, still=False)
    browser.wait(moving, "player.view.u > 0.01")
    still = opened(pages, file)
    assert still.evaluate("[player.view.playing, player.view.u]") == [False, 0]


# ------------------------------------------------------------------ pointer and keys


def point_at(page, k, i):
    """Move the pointer onto particle i in the k-th panel."""
    box = page.locator("#panels canvas").nth(k).bounding_box()
    x, y = positions(page, k)[1][i]
    page.mouse.move(box["x"] + 1 + x, box["y"] + 1 + y)
    page.evaluate("player.draw()")


@pytest.mark.parametrize(("k", "i"), [(0, 3), (1, 8)])
def test_a_particle_under_the_pointer_is_shown_in_every_flow(pages, file, two, k, i):
    page = opened(pages, file)
    page.evaluate("player.view.target = false; player.view.trails = 0")
    at_step(page, 20)
    before = [pixels(page, 0), pixels(page, 1)]
    point_at(page, k, i)
    assert page.evaluate("player.view.hover") == i
    told = page.locator("#tip").inner_text()
    assert told.startswith(f"particle {i} ")
    x = list(two.values())[k].particles[-1, i].numpy()
    numbers = told[told.index("(") + 1 : told.index(")")].split(", ")
    np.testing.assert_allclose([float(n) for n in numbers], x, rtol=0.01, atol=1e-3)
    for panel in (0, 1):  # its whole path is drawn in both: ink where it began
        changed = np.abs(pixels(page, panel) - before[panel]).max(2) > 60
        begin = pixel_of(page, f"player.flows[{panel}].positions[0]", i, panel)
        left, top = (round(b) - 3 for b in begin)
        assert changed[top : top + 8, left : left + 8].any()
    page.mouse.move(2, 2)
    page.evaluate("player.draw()")
    assert page.evaluate("player.view.hover") == -1


@pytest.mark.parametrize("pace", ["path", "steps", "time", "equal W2"])
def test_an_arrow_key_goes_to_the_next_record_and_nowhere_else(pages, tmp_path, pace):
    # records that no moment of a hundredth hits, and a flow that slows down at its end
    path = run(0.5, steps=90, save=pf.SaveAt(every=1))
    page = opened(pages, player(path, tmp_path / "p.html"), fragment=f"#u=1&pace={pace}")
    place = lambda: page.evaluate("player.draw(), player.flows[0].place")
    last = place()
    assert last == round(last)
    page.keyboard.press("ArrowLeft")
    assert place() == pytest.approx(last - 1)
    page.keyboard.press("ArrowRight")
    presses = """(key) => [...Array(90)].map(() => {
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      player.draw();
      return player.flows[0].place;
    })"""
    seen = page.evaluate(presses, "ArrowLeft")
    np.testing.assert_allclose(seen, np.maximum(np.arange(last - 1, last - 91, -1), 0), atol=1e-6)
    assert page.evaluate(presses, "ArrowRight")[-1] == pytest.approx(min(last, 90))


@pytest.mark.parametrize("offset", [1e6, 1e8, -3e12])
def test_a_cloud_far_from_the_origin_is_as_sharp_as_one_at_it(pages, tmp_path, offset):
    x, y = 0.3 * cloud(N, 2, seed=0) + offset, cloud(M, 2, seed=1) + offset
    path = pf.simulate(pf.mmd_flow(G), x, y, steps=4, dt=0.3)
    page = opened(pages, player(path, tmp_path / "p.html"), fragment="#u=1")
    page.evaluate("player.draw()")
    now, flat = positions(page)
    rounding = np.spacing(abs(offset))
    assert np.abs(now - path.particles[-1].numpy()).max() <= 0.51 * grid_step(page) + rounding
    assert page.evaluate("player.panels[0].h") > 100
    assert len(np.unique(flat.round(1), axis=0)) > N - 2
    point_at(page, 0, 3)
    told = page.locator("#tip").inner_text()
    numbers = told[told.index("(") + 1 : told.index(")")].split(", ")
    error = np.array(numbers, float) - path.particles[-1, 3].numpy()
    assert np.abs(error).max() < 0.02 + rounding


def test_a_curve_ends_where_its_values_do(pages, tmp_path):
    path = run()
    w2 = path.metrics["W2"].clone()
    w2[6:] = float("nan")
    path = replace(path, metrics={"W2": w2})
    page = opened(pages, player(path, tmp_path / "p.html"), fragment="#u=1&pace=steps")
    canvas = page.locator("#curves canvas").first
    seen = np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
    rgb = page.evaluate("player.flows[0].rgb")
    rows, columns = np.nonzero(np.abs(seen - rgb).max(2) < 60)
    left, right = 44, seen.shape[1] - 92
    end = columns.max()
    assert left + 0.45 * (right - left) < end < left + 0.51 * (right - left)
    assert np.ptp(rows[columns > end - 6]) < 12  # no plunge at the last value, at half of the steps


def test_a_hidden_page_makes_no_error(pages, file, tmp_path):
    holder = tmp_path / "holder.html"
    holder.write_text(f'<iframe src="{file.name}" style="display:none"></iframe>')
    page = pages.open(holder, "document.readyState === 'complete'", still=False)
    inner = page.frames[1]
    browser.wait(inner, "window.player && player.ready")
    inner.evaluate("player.view.playing = false; player.draw()")
    page.evaluate("document.querySelector('iframe').style = 'width: 700px; height: 600px'")
    browser.wait(inner, "player.panels[0].h > 50")


def test_step_and_time_belong_together_between_records(pages, file, two):
    page = opened(pages, file)
    at_step(page, 5.4)
    told = page.locator("#moment").inner_text()
    assert told == "step 5, t = 1.5"


def test_particles_out_of_sight_are_counted(pages, tmp_path):
    path = run()
    x = path.particles.clone()
    x[-1, :3] += 1e3
    page = opened(pages, player(replace(path, particles=x), tmp_path / "p.html"), fragment="#u=1")
    page.evaluate("player.draw()")
    assert f"3 of {N} outside" in page.locator("figcaption").inner_text()


@pytest.mark.parametrize(
    ("lines", "button"),
    [
        ("", None),
        ("import particleflow as pf\npf.simulate()", "Copy Python"),
        ("particleflow compare --target rings --flows mmd,kale", "Copy command"),
    ],
)
def test_the_button_says_what_it_copies(pages, tmp_path, lines, button):
    page = opened(pages, player(run(), tmp_path / "p.html", python=lines))
    shown = page.locator("#python")
    assert shown.is_visible() == (button is not None)
    if button:
        assert shown.inner_text() == button
        page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        shown.click()
        assert page.evaluate("window.copied") == lines


def test_panels_are_level_whatever_their_names(pages, tmp_path):
    runs = {"a": run(), "a name that takes several lines at the width of its panel " * 3: run(1.5)}
    page = opened(pages, player(runs, tmp_path / "p.html"), size=(900, 700))
    tops = page.evaluate("player.panels.map((p) => p.canvas.getBoundingClientRect().top)")
    assert tops[0] == pytest.approx(tops[1], abs=1)


def test_the_box_of_space_stays_within_its_panel(pages, tmp_path):
    page = opened(pages, player(run(d=3), tmp_path / "p.html"))
    corners = """(turn) => { player.view.turn = turn; player.draw();
      const { seen, w, h } = player.panels[0], out = [0, 0];
      return [0, 1, 2, 3, 4, 5, 6, 7].map((k) => {
        seen.to([0, 1, 2].map((c) => ((k >> c) & 1 ? facts.high[c] : facts.low[c])), 0, out, 0);
        return Math.min(out[0], w - out[0], out[1], h - out[1]); }); }"""
    margins = [
        page.evaluate(corners, [turn, lift])
        for turn in np.linspace(0, 6, 13)
        for lift in (-1.5, 0, 0.42, 1.2)
    ]
    assert np.min(margins) >= 5
    assert np.min(margins) < 40  # and fills it


def test_pictures_are_shown_first(pages, tmp_path):
    page = opened(pages, player(run(d=4), tmp_path / "p.html", as_images=(2, 2)))
    assert page.evaluate("player.view.images")
    assert page.locator("#view").input_value() == "pictures"


def test_keys(pages, file):
    page = opened(pages, file)
    view = lambda name: page.evaluate(f"player.view.{name}")
    record = lambda: page.evaluate("player.draw(), player.flows[0].record")
    page.evaluate("player.view.pace = 'steps'")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert record() == 2
    page.keyboard.press("ArrowLeft")
    assert record() == 1
    page.keyboard.press("End")
    assert view("u") == 1
    page.keyboard.press("Shift+ArrowLeft")
    assert view("u") == pytest.approx(0.9)
    page.keyboard.press("Home")
    assert view("u") == 0
    page.keyboard.press(" ")
    assert view("playing") is True
    page.keyboard.press(" ")
    assert view("playing") is False
    page.keyboard.press("2")
    assert page.locator("#panels canvas").count() == 1
    assert page.locator("figcaption b").all_inner_texts() == ["wide"]
    page.keyboard.press("Escape")
    assert page.locator("#panels canvas").count() == 2
    trails = view("trails")
    page.keyboard.press("t")
    assert view("trails") == 0
    page.keyboard.press("t")
    assert view("trails") == trails
    page.keyboard.press("d")
    assert view("dark") is True
    page.keyboard.press("l")
    assert view("loop") is False
    page.keyboard.press("f")
    browser.wait(page, "document.fullscreenElement !== null")
    page.keyboard.press("f")
    browser.wait(page, "document.fullscreenElement === null")


def test_a_lasso_follows_its_group_in_every_flow(pages, file):
    page = opened(pages, file)
    at_step(page, 20)
    _, flat = positions(page)
    box = page.locator("#panels canvas").first.bounding_box()
    middle = np.median(flat[:, 0])
    ends = [(0, 0), (middle, 0), (middle, box["height"]), (0, box["height"]), (0, 0)]
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in ends:
        page.mouse.move(
            box["x"] + min(max(x, 2), box["width"] - 2),
            box["y"] + min(max(y, 2), box["height"] - 2),
        )
    page.mouse.up()
    page.keyboard.up("Shift")
    group = page.evaluate("Array.from(player.view.group)")
    assert group == [int(x < middle) for x in flat[:, 0]]
    page.keyboard.press("Escape")
    assert page.evaluate("player.view.group") is None


def test_wheel_and_drag_zoom_and_move_every_panel(pages, file):
    page = opened(pages, file)
    box = page.locator("#panels canvas").first.bounding_box()

    def under(x, y):
        """The points of both panels' planes under a pixel of the page, in the first panel."""
        page.evaluate("player.draw()")
        # a border of one pixel lies around the canvas
        at = f"{x - box['x'] - 1}, {y - box['y'] - 1}"
        return page.evaluate(f"player.panels.map((panel) => panel.seen.back({at}))")

    x, y = round(box["x"]) + 50, round(box["y"]) + 60
    page.mouse.move(x, y)
    fixed = under(x, y)
    page.mouse.wheel(0, -300)
    browser.wait(page, "player.view.zoom > 1.5")
    np.testing.assert_allclose(under(x, y), fixed, atol=1e-6)
    page.mouse.down()
    page.mouse.move(x + 30, y - 20)
    page.mouse.up()
    np.testing.assert_allclose(under(x + 30, y - 20), fixed, atol=1e-6)


# ------------------------------------------------------------------ fingers


class Fingers:
    """The fingers on a page; each entry of a gesture has the places of all."""

    def __init__(self, page):
        self.page, self.session = page, page.context.new_cdp_session(page)

    def gesture(self, *places):
        for k, points in enumerate(places):
            kind = "touchMove" if k else "touchStart"
            self._send(kind, [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)])
        self._send("touchEnd", [])
        self.page.evaluate("player.draw()")

    def _send(self, kind, points):
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def touched(pages, file, **others):
    """A page on a phone, its fingers and the corner of its first panel."""
    page = opened(pages, file, size=(390, 844), touch=True, **others)
    box = page.locator("#panels canvas").first.bounding_box()
    return page, Fingers(page), (box["x"] + 1, box["y"] + 1)


def test_a_tap_shows_a_particle_until_the_next_tap(pages, file):
    page, fingers, (left, top) = touched(pages, file, fragment="#u=1")
    flat = positions(page)[1]
    apart = np.linalg.norm(flat[:, None] - flat, axis=2) + 1e9 * np.eye(N)
    i = int(apart.min(1).argmax())  # the one that is farthest from all others
    fingers.gesture([tuple(np.add(flat[i], (left, top)).tolist())])
    assert page.evaluate("player.view.hover") == i
    assert page.locator("#tip").is_visible()
    assert page.locator("#tip").inner_text().startswith(f"particle {i} ")
    fingers.gesture([(left + 2, top + 2)])
    assert page.evaluate("player.view.hover") == -1
    assert not page.locator("#tip").is_visible()


def test_a_finger_drags_the_slider(pages, file):
    page, fingers, _ = touched(pages, file)
    box = page.locator("#scrub").bounding_box()
    y, ends = box["y"] + box["height"] / 2, (box["x"] + 8, box["x"] + box["width"] / 2)
    fingers.gesture(*([(x, y)] for x in np.linspace(*ends, 6)))
    assert page.evaluate("player.view.u") == pytest.approx(0.5, abs=0.03)


def test_two_fingers_zoom_and_move_the_plane(pages, file):
    page, fingers, (left, top) = touched(pages, file)
    under = lambda x, y: page.evaluate(f"player.panels[0].seen.back({x}, {y})")
    begins = [under(40, 60), under(80, 90)]
    ends = [(30, 70), (120, 137.5)]  # 2.25 times as far apart, in the same direction
    ways = [np.linspace(a, b, 7) for a, b in zip([(40, 60), (80, 90)], ends, strict=True)]
    fingers.gesture(*([(left + x, top + y) for x, y in step] for step in zip(*ways, strict=True)))
    assert page.evaluate("player.view.zoom") == pytest.approx(2.25, rel=0.01)
    # what was under each finger still is
    unit = page.evaluate("player.panels[0].seen.unit")
    for begin, end in zip(begins, ends, strict=True):
        np.testing.assert_allclose(under(*end), begin, atol=2 / unit)


def test_two_fingers_zoom_and_turn_space(pages, tmp_path):
    page, fingers, (left, top) = touched(pages, player(run(d=3), tmp_path / "a.html"))
    turn = page.evaluate("player.view.turn")
    way = np.linspace(0, 60, 7)
    fingers.gesture(*([(left + 100 + x, top + 80), (left + 160 + x, top + 80)] for x in way))
    turned = page.evaluate("player.view.turn")
    assert turned[0] - turn[0] == pytest.approx(60 / 150, rel=0.02)
    assert turned[1] == pytest.approx(turn[1], abs=1e-6)
    fingers.gesture(*([(left + 100 - x, top + 80), (left + 160 + x, top + 80)] for x in way))
    assert page.evaluate("player.view.zoom") == pytest.approx(3, rel=0.02)


def test_one_finger_scrolls_a_page_of_many_panels_and_moves_a_picture_that_is_zoomed(
    pages, two, tmp_path
):
    file = player({f"flow {k}": two["wide"] for k in range(5)}, tmp_path / "a.html")
    page, fingers, (left, top) = touched(pages, file)
    centre = page.evaluate("player.view.centre")
    swipe = [[(left + 150, top + 250 - 20 * k)] for k in range(10)]
    fingers.gesture(*swipe)
    browser.wait(page, "scrollY > 60")
    assert page.evaluate("player.view.hover") == -1
    page.wait_for_timeout(500)  # the page glides on
    page.evaluate("scrollTo(0, 0); player.view.zoom = 2; player.draw()")
    centre = page.evaluate("player.view.centre")
    fingers.gesture(*swipe)
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("player.view.centre")[1] < centre[1]


# ------------------------------------------------------------------ the page


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_nothing_overlaps_and_text_has_contrast(pages, file, size, dark):
    page = opened(pages, file, size=size, dark=dark)
    page.locator("#about summary").click()
    page.locator("#energies summary").click()
    page.wait_for_timeout(100)
    assert browser.overlaps(page) == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size[0]
    assert browser.poor_contrasts(page) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark


@pytest.mark.parametrize(
    ("count", "width", "columns"),
    [(2, 390, 2), (4, 390, 2), (5, 390, 1), (2, 320, 1), (4, 700, 2), (4, 1280, 4), (6, 1280, 3)],
)
def test_panels_stand_in_as_many_columns_as_can_be_read(pages, tmp_path, count, width, columns):
    flows = {f"flow {k}": run(0.5 + k / 4, steps=2) for k in range(count)}
    page = opened(pages, player(flows, tmp_path / "a.html"), size=(width, 844))
    tops = [canvas.bounding_box()["y"] for canvas in page.locator("#panels canvas").all()]
    assert tops.count(tops[0]) == columns
    assert browser.overlaps(page) == []


def test_the_address_has_the_view_and_brings_it_back(pages, file):
    page = opened(pages, file, fragment="#u=.35&colour=start&dark=true&over=true&pace=time")
    assert page.evaluate("['u', 'colour', 'dark', 'over', 'pace'].map((k) => player.view[k])") == [
        0.35,
        "start",
        True,
        True,
        "time",
    ]
    assert page.locator("#panels canvas").count() == 1
    page.keyboard.press("ArrowRight")
    again = page.evaluate("location.hash")
    assert "colour=start" in again
    assert "u=0.4" in again
    # what makes no sense is left alone
    page = opened(pages, file, fragment="#u=abc&colour=nothing&pace=&alone=99&axes=7,8&zoom=-1")
    assert page.evaluate("['u', 'colour', 'pace', 'alone', 'zoom'].map((k) => player.view[k])") == [
        0,
        "flow",
        "path",
        -1,
        1,
    ]


def test_a_frame_is_saved_as_a_picture(pages, file):
    page = opened(pages, file)
    with page.expect_download() as download:
        page.locator("#picture").click()
    picture = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)
    assert picture.shape[1] > 1000
    for colour in page.evaluate("player.flows.map((flow) => flow.rgb)"):
        assert (np.abs(picture - colour).max(2) < 40).sum() > 50


def saved_vector(page):
    """The SVG of the present frame."""
    with page.expect_download() as download:
        page.locator("#vector").click()
    return ElementTree.parse(download.value.path()).getroot()


def parts_of(svg, name):
    return list(svg.iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def test_a_frame_is_saved_as_circles_lines_and_letters(pages, file):
    page = opened(pages, file, fragment="#trails=0.5&dark=true")
    at_step(page, 20)
    svg = saved_vector(page)
    assert parts_of(svg, "image") == []
    # each panel is a group that begins at the panel's corner, with target and particles as circles
    moved = [group for group in parts_of(svg, "g") if "clip-path" in group.attrib]
    boxes = page.evaluate(
        "[...player.panels, ...player.charts].filter(({ canvas }) => canvas.checkVisibility())"
        ".map(({ w, h }) => [w, h])"
    )
    assert len(moved) == len(boxes) > 2
    for k, group in enumerate(moved[:2]):
        circles = [[float(c.get(name)) for name in ("cx", "cy")] for c in parts_of(group, "circle")]
        assert len(circles) == M + N
        np.testing.assert_allclose(circles[M:], positions(page, k)[1], atol=0.006)
        colours = [g.get("fill") for g in parts_of(group, "g") if parts_of(g, "circle")]
        rgb = page.evaluate(f"player.flows[{k}].rgb")
        assert colours[-1] == f"rgb({','.join(map(str, rgb))})"
        # a trail ends where its particle is
        paths = " ".join(p.get("d") for p in parts_of(group, "path"))
        x, y = positions(page, k)[1][3]
        assert f"L{round(float(x), 2):g} {round(float(y), 2):g}" in paths
    said = [text.text for text in parts_of(svg, "text")]
    assert said[0] == "Two flows"
    assert said[1] == page.locator("#moment").inner_text()
    assert sum(text.startswith(("narrow: W2", "wide: W2")) for text in said) == 2
    assert {"x", "y", "fresh samples", "speeds of the particles"} <= set(said)
    # no part sticks out of the sheet
    width, height = (float(svg.get(side)) for side in ("width", "height"))
    for group, (w, h) in zip(moved, boxes, strict=True):
        x, y = map(float, re.findall(r"[\d.]+", group.get("transform")))
        assert 0 <= x <= x + w <= width + 1
        assert 0 <= y <= y + h <= height + 1


def test_a_crowd_and_a_heat_map_are_pictures_within_the_vector_frame(pages, tmp_path):
    path = run(n=6000, steps=4, metrics={}, save=pf.SaveAt(every=2, witness=True))
    page = opened(pages, player(path, tmp_path / "a.html", title="a < b"), fragment="#heat=true")
    svg = saved_vector(page)
    assert len(parts_of(svg, "image")) == 2
    assert len(parts_of(svg, "circle")) < 100
    assert parts_of(svg, "title")[0].text == "a < b"


def test_a_title_card_stands_before_a_talk(pages, file):
    page = opened(pages, file, still=False, fragment="#card=true")
    card = page.locator("#card")
    said = card.inner_text()
    assert all(
        word in said for word in ("Two flows", "narrow", "wide", "12 particles", "17 points")
    )
    assert page.evaluate("player.view.playing") is False
    assert browser.poor_contrasts(page) == []
    page.keyboard.press(" ")
    assert card.is_visible() is False
    assert page.evaluate("player.view.playing") is True
    page.keyboard.press("c")
    assert card.is_visible() is True
    assert "card=true" in page.evaluate("location.hash")
    card.click()
    assert card.is_visible() is False


def test_the_command_that_made_it_is_copied(pages, file):
    page = opened(pages, file)
    page.evaluate("window.prompt = (_, text) => { window.asked = text; }")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator("#python").click()
    browser.wait(page, "window.asked")
    assert page.evaluate("window.asked") == "import particleflow"


# ------------------------------------------------------------------ colours and fields


def test_the_heat_map_has_the_sign_of_the_witness(pages, tmp_path):
    path = run(save=pf.SaveAt(every=2, witness=True))
    page = opened(pages, player(path, tmp_path / "a.html"), fragment="#heat=true&target=false")
    page.evaluate("player.view.trails = 0")
    at_step(page, 0)
    seen = pixels(page)
    axes, witness = path.witness_axes.numpy(), path.witness[0].numpy()
    _, flat = positions(page)
    checked = 0
    for i in range(4, 64, 6):
        for j in range(4, 64, 6):
            x, y = pixel_of(page, f"[{axes[i, 0]}, {axes[j, 1]}]")
            inside = 15 < x < seen.shape[1] - 15 and 25 < y < seen.shape[0] - 25
            near = (np.abs(flat - [x, y]).max(1) < 8).any()
            if inside and not near and abs(witness[i, j]) > 0.1 * np.abs(witness).max():
                red, _, blue = seen[round(y) + 1, round(x) + 1]
                assert (red > blue) == (witness[i, j] > 0)  # red above 0, blue below
                checked += 1
    assert checked > 10


def test_particles_are_coloured_by_speed_mass_and_witness(pages, tmp_path):
    heavy = pf.Cloud(0.3 * cloud(N, 2, seed=0), mass=np.linspace(0.1, 1.9, N) / N)
    path = pf.simulate(
        pf.mmd_flow(G),
        heavy,
        cloud(M, 2, seed=1),
        steps=STEPS,
        dt=0.3,
        save=pf.SaveAt(every=2, velocity=True, witness=True),
    )
    page = opened(pages, player(path, tmp_path / "a.html"))
    shades = lambda name: np.array(
        page.evaluate(
            f"player.view.colour = '{name}', player.draw(), Array.from(player.flows[0].shades)"
        )
    )
    options = page.locator("#colour option").all_inner_texts()
    assert options == ["flow", "start", "speed", "mass", "witness"]
    assert shades("mass").tolist() == [int(32 * m / 2) for m in np.linspace(0.1, 1.9, N)]
    speed = path.velocity[0].norm(dim=1).numpy()
    assert np.corrcoef(shades("speed"), np.sqrt(speed))[0, 1] > 0.95
    page.keyboard.press("End")
    fit = pf.fit(pf.estimators.MMD(G), path.cloud(-1), path.target)
    witness = fit.witness.value_and_grad(path.particles[-1])[0].numpy()
    expected = np.sign(witness) * np.sqrt(np.abs(witness) / np.quantile(path.witness.abs(), 0.98))
    assert len(set(shades("witness"))) > 3
    assert np.abs(shades("witness") - 16 * (1 + expected)).max() < 2.5


def test_particles_are_coloured_by_their_labels(pages, tmp_path):
    labels = [f"class {k % 3}" for k in range(N)]
    page = opened(
        pages,
        player({"a": run(0.5), "b": run()}, tmp_path / "a.html", labels=labels),
        fragment="#colour=label&target=false&trails=0&u=1",
    )
    assert page.locator("#legend span").all_inner_texts() == ["class 0", "class 1", "class 2"]
    names = page.evaluate("facts.label_colours.map(([light]) => light)")
    seen, (_, flat) = pixels(page), positions(page)
    for i, (x, y) in enumerate(flat.round().astype(int)):
        colour = [int(names[i % 3][k : k + 2], 16) for k in (1, 3, 5)]
        assert np.abs(seen[y + 1, x + 1] - colour).max() < 60
    page.locator("#colour").select_option("flow")
    page.evaluate("player.draw()")
    assert page.locator("#legend").is_visible() is False


def test_arrows_are_thinned_in_a_dense_cloud(pages, tmp_path):
    path = run(n=100, save=pf.SaveAt(every=2, velocity=True))
    dense = replace(path, particles=1e-3 * path.particles)
    widths = []
    for k, each in enumerate((path, dense)):
        page = opened(
            pages, player(each, tmp_path / f"{k}.html"), fragment="#target=false&arrows=true"
        )
        svg = saved_vector(page)
        (drawn,) = [g for g in parts_of(svg, "g") if g.get("stroke") == "rgb(27,32,40)"]
        widths.append(parts_of(drawn, "path")[0].get("d").count("M") // 3)
    assert widths[1] <= 4
    assert 30 < widths[0] < 100


def test_arrows_point_along_the_recorded_velocity(pages, tmp_path):
    path = run(n=1, save=pf.SaveAt(every=2, velocity=True))
    page = opened(pages, player(path, tmp_path / "a.html"), fragment="#target=false")
    page.evaluate("player.view.trails = 0")
    at_step(page, 0)
    before = pixels(page)
    page.evaluate("player.view.arrows = true; player.draw()")
    rows, columns = np.nonzero(np.abs(pixels(page) - before).max(2) > 60)
    (x, y), v = positions(page)[1][0], path.velocity[0, 0].numpy()
    drawn = np.array([columns.mean() - 1 - x, -(rows.mean() - 1 - y)])
    assert drawn @ v / np.linalg.norm(drawn) / np.linalg.norm(v) > 0.95


# ------------------------------------------------------------------ other spaces


def test_one_dimension_is_space_against_time(pages, tmp_path):
    path = run(d=1)
    page = opened(pages, player(path, tmp_path / "a.html"))
    at_step(page, 20)
    now, flat = positions(page)
    assert np.abs(now - path.particles[-1].numpy()).max() <= 0.51 * grid_step(page)
    assert len(set(flat[:, 0].round(6))) == 1  # all at the same moment
    order = np.argsort(path.particles[-1, :, 0].numpy())
    assert (np.diff(flat[order, 1]) <= 1e-3).all()  # larger x is higher up


def test_three_dimensions_turn(pages, tmp_path):
    page = opened(pages, player(run(d=3), tmp_path / "a.html"))
    assert page.evaluate("player.view.space") is True
    before = positions(page)[1]
    box = page.locator("#panels canvas").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 120)
    page.mouse.up()
    page.evaluate("player.draw()")
    assert np.abs(positions(page)[1] - before).max() > 5
    assert page.locator("#view option").all_inner_texts() == ["space", "side by side"]


def test_any_pair_of_principal_axes_is_shown(pages, tmp_path):
    page = opened(pages, player(run(d=5), tmp_path / "a.html"))
    page.locator("#across").select_option("2")
    page.locator("#up").select_option("0")
    page.evaluate("player.draw()")
    now, flat = positions(page)
    assert np.corrcoef(now[:, 2], flat[:, 0])[0, 1] > 0.9999
    assert np.corrcoef(now[:, 0], flat[:, 1])[0, 1] < -0.9999


def test_pictures_are_large_enough_to_be_read(pages, tmp_path):
    path = run(n=100, m=60, d=64, steps=2)
    flows = {f"flow {k}": path for k in range(4)}
    file = player(flows, tmp_path / "a.html", as_images=(8, 8))
    for size in ((1280, 800), (390, 844)):
        page = opened(pages, file, size=size, fragment="#images=true&u=1")
        svg = saved_vector(page)
        image, w = parts_of(svg, "image")[0], page.evaluate("player.panels[0].w")
        sheet = Image.open(BytesIO(b64decode(image.get("href").split(",")[1])))
        # pixels of the page for a picture of 8 x 8
        assert 8 * float(image.get("width")) / sheet.width > 35
        assert float(image.get("width")) > 0.7 * w


def test_particles_are_shown_as_pictures(pages, tmp_path):
    path = run(n=4, m=6, d=6)
    particles = path.particles.clone()
    particles[-1] = torch.tensor([[-9.0, 9, -9, 9, -9, 9]]).double()  # columns of ink and none
    path = replace(path, particles=particles)
    page = opened(
        pages, player(path, tmp_path / "a.html", as_images=(3, 2)), fragment="#images=true&u=1"
    )
    seen = pixels(page)[..., 0]
    assert np.isin(seen[5:-5, 5:-5], [0, 255]).mean() > 0.97
    # of each picture, the left half is empty and the right half is ink
    ink = (seen == 0).mean(0)
    assert (ink > 0.5).sum() > 20


def test_a_crowd_is_drawn_by_webgl_as_on_the_canvas(pages, tmp_path):
    path = run(n=6000, steps=4, metrics={})
    page = opened(pages, player(path, tmp_path / "a.html"), fragment="#target=false&u=1")
    page.evaluate("player.view.trails = 0; player.draw()")
    fast = pixels(page)
    assert page.evaluate("player.webgl") is True
    page.evaluate("player.webgl = false; player.draw()")
    slow = pixels(page)
    white = lambda picture: (picture.min(2) > 240).mean()
    assert white(fast) == pytest.approx(white(slow), abs=0.02)
    assert np.abs(fast - slow).mean() < 8
