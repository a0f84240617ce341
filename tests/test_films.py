"""Films, decoded again: pace, held ends, W2 over its floor, grounds, MP4, and what is refused."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image, ImageSequence

import particleflow as pf
from particleflow import plotting
from particleflow.cli import main
from particleflow.plotting import animate, film
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.figures import inline, multiples
from particleflow.plotting.films import mp4
from particleflow.plotting.films.animation import ORBIT
from particleflow.plotting.films.insets import distance
from particleflow.plotting.films.output import HOLD
from particleflow.plotting.films.reel import Format, Reel
from particleflow.plotting.scenes.pace import PACES, moments
from particleflow.plotting.scenes.records import advance, recorded
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.style import DARK, LIGHT

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

KERNEL = pf.kernels.Gaussian(0.5)
SMALL = {"fps": 10, "seconds": 1.0, "dpi": 60}
BARE = {"trails": False, "inset": False}


def cloud(n, d=2, *, seed=0, scale=1.0, shift=0.0):
    rng = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=rng, dtype=torch.float64) + shift


@functools.cache
def run(*, n=23, m=31, d=2, steps=12, every=3):
    """A real MMD flow whose particles slow down. Nobody changes it."""
    return pf.simulate(
        pf.mmd_flow(KERNEL),
        cloud(n, d, scale=0.3),
        cloud(m, d, seed=1, shift=0.5),
        steps=steps,
        dt=0.5,
        save=pf.SaveAt(every=every),
        metrics={"distance": pf.metrics.W2()},
    )


def jumps(records=5):
    """A run whose particles are drawn anew at each record."""
    fewer = {name: getattr(run(), name)[:records] for name in ("times", "steps", "energy")}
    places = torch.stack([cloud(23, seed=k) for k in range(records)])
    return replace(run(), particles=places, metrics={}, **fewer)


def gif_frames(file, mode="RGB"):
    with Image.open(file) as picture:
        return [np.asarray(f.convert(mode)).astype(int) for f in ImageSequence.Iterator(picture)]


def mp4_frames(file):
    """(what ffmpeg says of the file, its frames)."""
    reader = imageio_ffmpeg.read_frames(f"file:{file}")
    about = next(reader)
    width, height = about["size"]
    shape = (height, width, 3)
    return about, [np.frombuffer(f, np.uint8).reshape(shape).astype(int) for f in reader]


def rgb(colour):
    return np.round(255 * np.array(to_rgb(colour)))


def alike(image, colour, tolerance=24):
    """The share of pixels that have about this colour."""
    return float((np.abs(image[..., :3] - rgb(colour)).max(-1) <= tolerance).mean())


# ---------------------------------------------------------------- pace


def test_frames_are_even_in_the_path_in_the_steps_or_in_the_time():
    path = run()
    stretched = replace(path, times=path.times**2)
    steps = recorded({"": path})
    shares = {
        pace: np.interp(
            moments({"": stretched}, 9, pace), steps, advance({"": stretched}, steps, pace)
        )
        for pace in PACES
    }
    for share in shares.values():
        np.testing.assert_allclose(share, np.linspace(0, 1, 9), atol=1e-9)
    assert moments({"": path}, 9, "steps").tolist() == np.linspace(0, 12, 9).tolist()
    middle = [float(moments({"": stretched}, 9, pace)[4]) for pace in PACES]
    assert middle[0] < 5.5 < middle[1] < 8 < middle[2]


def test_the_middle_frame_has_half_of_the_path_behind_it(tmp_path):
    """Read back from the pixels: where the particles are on average, along their straight path."""
    path = run()
    start, end = cloud(7, scale=0.05), cloud(7, scale=0.05, shift=3.0)
    shares = torch.tensor([0.0, 0.7, 0.9, 1.0, 1.0], dtype=torch.float64)[:, None, None]
    straight = replace(path, particles=start + shares * (end - start), target=None)
    for pace, expected in (("path", 0.5), ("steps", 0.9)):
        file = animate(straight, tmp_path / f"{pace}.gif", **{**SMALL, "fps": 9}, **BARE, pace=pace)
        places = []
        for image in gif_frames(file):
            dark = np.abs(image - rgb(LIGHT.runs[0])).max(-1) < 60
            places.append(np.argwhere(dark[:, : dark.shape[1] - 5]).mean(0)[1])
        assert len(places) == 9
        share = (places[4] - places[0]) / (places[-1] - places[0])
        assert share == pytest.approx(expected, abs=0.06)


def test_several_runs_go_by_the_mean_of_their_shares():
    paths = {"slows down": run(), "late": replace(run(), particles=run().particles.flip(0))}
    steps = recorded(paths)
    each = [advance({"": path}, steps) for path in paths.values()]
    np.testing.assert_allclose(advance(paths, steps), np.mean(each, axis=0), atol=1e-12)


def test_between_two_records_particles_move_on_straight_lines_and_step_and_time_follow():
    path = run()
    scene = Scene.of({"": path}, [0.0, 4.5, 12.0], between=frozenset({""}))
    expected = torch.lerp(path.particles[1], path.particles[2], 0.5).numpy()
    np.testing.assert_allclose(scene.particles("", 4.5), expected, atol=1e-15)
    assert scene.moment("", 4.5) == "step 4 · t = 2"
    assert Scene.of({"": path}, [4.5]).moment("", 4.5) == "step 3 · t = 1.5"
    np.testing.assert_array_equal(
        Scene.of({"": path}, [4.5]).particles("", 4.5), path.particles[1].numpy()
    )


@pytest.mark.parametrize(
    ("unit", "told"), [(1000 / 3, "1000"), (411.6, "1230"), (1e-5, "3e-05"), (1e7, "3e+07")]
)
def test_a_time_has_three_digits_and_an_exponent_only_where_it_is_short(unit, told):
    path = run()
    path = replace(path, times=path.steps.double() * unit)
    assert Scene.of({"": path}, [3.0]).moment("", 3.0) == f"step 3 · t = {told}"


def test_a_brownian_run_beside_a_smooth_one_shows_its_last_record(tmp_path):
    paths = {"flow": run(), "jumps": jumps()}
    file = animate(paths, tmp_path / "both.gif", **SMALL, pace="steps", inset=False)
    left, right = zip(*(np.split(f, [f.shape[1] // 2], 1) for f in gif_frames(file)), strict=True)
    panel = np.s_[40:, 30:-30]
    changes = [
        sum(bool((a[panel] != b[panel]).any()) for a, b in itertools.pairwise(side))
        for side in (left, right)
    ]
    assert changes == [9, 4]


# ---------------------------------------------------------------- what is drawn


def test_a_film_begins_and_ends_with_the_first_and_the_last_record(tmp_path):
    images = gif_frames(animate(run(), tmp_path / "flow.gif", **SMALL, title="From here to there"))
    assert len(images) == 10
    assert (np.abs(images[0] - images[-1]).max(-1) > 100).mean() > 0.01
    top = [image[:24] for image in images]
    assert (np.abs(top[0] - rgb(LIGHT.ink)).max(-1) < 80).sum() > 30
    assert all((row == top[0]).all() for row in top)


def test_w2_stands_over_its_floor_where_it_was_recorded():
    path = run()
    steps = moments({"": path}, 21)
    found = distance(path, steps, between=True)
    assert found is not None
    assert found.name == "W2"
    np.testing.assert_allclose(
        found.values, np.interp(steps, path.steps.numpy(), path.metrics["distance"].numpy())
    )
    assert found.floor == path.summary().floor
    held = distance(path, steps, between=False)
    assert held is not None
    assert set(held.values) <= set(path.metrics["distance"].tolist())
    scene = Scene.of({"": path}, steps.tolist(), between=frozenset({""}))
    reel = Reel(scene, {"": Look()}, distances={"": found})
    reel.frame(10)
    (inset,) = reel.insets
    assert inset.text.get_text() == f"W2 {found.values[10]:#.3g}"
    np.testing.assert_array_equal(inset.line.get_ydata(), found.values[:11])
    words = {text.get_text() for ax in reel.figure.axes for text in ax.texts}
    assert f"floor {found.floor:.2g}" in words
    assert distance(replace(path, metrics={}), steps, between=True) is None


def test_the_inset_is_seen_and_left_out(tmp_path):
    made = {
        name: gif_frames(animate(path, tmp_path / f"{k}.gif", **SMALL, inset=inset))
        for k, (name, path, inset) in enumerate(
            (
                ("with", run(), True),
                ("without", run(), False),
                ("none", replace(run(), metrics={}), True),
            )
        )
    }
    assert len(made["with"][0]) > len(made["without"][0]) == len(made["none"][0])
    head = np.s_[: len(made["with"][0]) - len(made["without"][0]) + 8]
    assert alike(made["with"][-1][head], LIGHT.runs[0], 60) > 0.01
    assert alike(made["without"][-1][head], LIGHT.runs[0], 60) == 0


def test_curves_of_one_distance_have_one_scale():
    paths = {"one": run(), "other": replace(run(), metrics={"w": 0.01 * run().metrics["distance"]})}
    paths["other"].report["labels"]["w"] = "W2 (root)"
    steps = moments(paths, 5)
    found = {name: distance(path, steps, between=True) for name, path in paths.items()}
    reel = Reel(Scene.of(paths, steps.tolist()), dict.fromkeys(paths, Look()), distances=found)
    one, other = (inset.line.axes.get_ylim() for inset in reel.insets)
    assert one == other
    assert one[0] < 0.01 < one[1]


@pytest.mark.parametrize(("dark", "theme"), [(False, LIGHT), (True, DARK)])
def test_the_ground_is_light_or_dark(tmp_path, dark, theme):
    image = gif_frames(animate(run(), tmp_path / "flow.gif", **SMALL, dark=dark))[5]
    assert (image[0, 0] == rgb(theme.ground)).all()
    assert alike(image, theme.ground, 0) > 0.7
    assert alike(image, theme.runs[0], 40) > 1e-3


@pytest.mark.parametrize("dark", [False, True])
def test_a_transparent_ground_is_clear_in_every_frame_and_particles_are_not(tmp_path, dark):
    plain = gif_frames(animate(run(), tmp_path / "plain.gif", **SMALL, dark=dark))
    file = animate(run(), tmp_path / "clear.gif", **SMALL, dark=dark, transparent=True)
    ground = rgb((DARK if dark else LIGHT).ground)
    for clear, opaque in zip(gif_frames(file, "RGBA"), plain, strict=True):
        shown = clear[..., 3] == 255
        assert set(np.unique(clear[..., 3])) == {0, 255}
        drawn = (opaque != ground).any(-1)
        # hardly covered pixels have the ground's colour on an opaque ground
        assert (shown & ~drawn).sum() < 0.02 * drawn.sum()
        # what is hardly covered is thinned out
        assert shown.sum() > 0.45 * drawn.sum()


@pytest.mark.parametrize("dark", [False, True])
def test_a_trail_on_a_clear_ground_has_the_pure_colour_at_a_share_of_its_pixels(tmp_path, dark):
    still = {**SMALL, "inset": False, "dpi": 200, "dark": dark, "trails": 1.0, "transparent": True}
    image = gif_frames(animate(run(m=2), tmp_path / "a.gif", **still), "RGBA")[-1].astype(int)
    seen = image[image[..., 3] == 255][:, :3]
    theme = DARK if dark else LIGHT
    hue, ground = rgb(theme.runs[0]).astype(int), rgb(theme.ground).astype(int)
    # how far each pixel is from the run's colour towards the ground
    mixed = (seen - hue) @ (ground - hue) / ((ground - hue) @ (ground - hue))
    on_line = np.abs(seen - hue - mixed[:, None] * (ground - hue)).max(1) < 12
    assert (on_line & (mixed < 0.05)).sum() > 2000
    assert (on_line & (mixed > 0.2) & (mixed < 0.9)).sum() < 0.02 * (mixed < 0.05).sum()


def test_a_known_density_is_the_target_of_a_film(tmp_path):
    plane = pf.samplers.Gaussian(dim=2, mean=(0.5, 0.0), std=0.3)
    limits = {"xlim": (-1, 2), "ylim": (-1, 1)}
    files = {
        name: animate(
            replace(run(), target=None), tmp_path / f"{name}.gif", **SMALL, **limits, **density
        )
        for name, density in {"with": {"density": plane}, "without": {}}.items()
    }
    with_it, without = (gif_frames(file)[3].astype(int) for file in files.values())
    darker = (without - with_it).clip(0).sum(-1)
    assert (darker > 60).mean() > 0.05
    # it is darkest in the middle, where the density is largest
    rows, columns = np.nonzero(darker == darker.max())
    box = np.nonzero(darker > 20)
    for middle, side in ((rows.mean(), box[0]), (columns.mean(), box[1])):
        assert abs(middle - (side.min() + side.max()) / 2) < 0.15 * np.ptp(side)


def test_particles_have_the_colours_of_their_starts_and_trails_are_left_out(tmp_path):
    images = {
        name: gif_frames(animate(run(), tmp_path / f"{name}.gif", **SMALL, **options))[4]
        for name, options in {
            "flow": BARE,
            "start": {**BARE, "color": "start"},
            "trails": {**BARE, "trails": 1.0},
        }.items()
    }
    blue = {name: alike(image, LIGHT.runs[0], 40) for name, image in images.items()}
    assert blue["flow"] > 1e-3 > 2 * blue["start"]
    drawn = {name: (image != 255).any(-1).sum() for name, image in images.items()}
    assert drawn["trails"] > 1.05 * drawn["flow"]


def test_a_film_in_space_turns():
    path = run(d=3)
    scene = Scene.of({"": path}, [0.0, 6.0, 12.0], orbit=ORBIT)
    still, turning = (Reel(scene, {"": Look()}, orbit=degrees) for degrees in (0.0, ORBIT))
    assert (still.frame(0) == turning.frame(0)).all()
    assert (still.frame(2) != turning.frame(2)).any()
    assert turning.panels[0].scene.view.azimuth - scene.view.azimuth == ORBIT


def test_pictures_are_filmed(tmp_path):
    images = gif_frames(
        animate(run(d=6), tmp_path / "flow.gif", **SMALL, as_images=(2, 3), inset=False)
    )
    assert (images[0] != images[-1]).any()
    assert alike(images[0], LIGHT.target, 4) == 0  # a panel would show the target's points


@pytest.mark.parametrize(
    ("size", "pixels"), [(None, None), ((9.6, 5.4), (960, 540)), (6.0, (600, None))]
)
@pytest.mark.parametrize("count", [1, 3])
def test_the_size_is_that_asked_for_and_every_panel_fits(size, pixels, count):
    paths = {f"run {k}": run() for k in range(count)}
    scene = Scene.of(paths, [0.0, 12.0])
    reel = Reel(
        scene,
        dict.fromkeys(paths, Look()),
        Format("A title", (size, None) if size == 6.0 else size, 100),
    )
    if pixels is not None:
        assert reel.size[0] == pixels[0]
        assert pixels[1] in (None, reel.size[1])
    shapes = [ax.get_position() for ax in reel.figure.axes]
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in shapes)
    widths = {round(box.width * reel.size[0]) for box in shapes}
    assert len(widths) == 1
    assert min(widths) >= 220


# ---------------------------------------------------------------- MP4


def test_an_mp4_has_the_frames_the_size_the_duration_and_the_pixels_of_the_film(tmp_path):
    options = {**SMALL, "dpi": 101, "title": "Odd sides", "dark": True}
    file = animate(run(), tmp_path / "flow.mp4", **options)
    assert list(tmp_path.iterdir()) == [file]
    about, images = mp4_frames(file)
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p(tv, bt709")
    held = [round(10 * seconds) for seconds in HOLD]
    assert len(images) == 10 + sum(held)
    assert about["duration"] == pytest.approx(1.0 + sum(HOLD))
    shown = gif_frames(animate(run(), tmp_path / "flow.gif", **options))
    height, width = shown[0].shape[:2]
    assert about["size"] == (width + width % 2, height + height % 2)
    assert width % 2 or height % 2
    times = [1 + held[0], *[1] * 8, 1 + held[1]]
    for image, expected in zip(
        images, [f for f, n in zip(shown, times) for _ in range(n)], strict=True
    ):
        error = np.abs(image[:height, :width] - expected).max(-1)
        assert error.mean() < 3
        assert np.median(error) <= 1
    assert np.abs(images[0][0, 0] - rgb(DARK.ground)).max() <= 2
    assert np.abs(images[0] - images[-1]).mean() > 0.5


def test_the_index_of_an_mp4_stands_in_front_of_its_frames(tmp_path):
    data = animate(run(), tmp_path / "flow.mp4", **SMALL).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_white_stays_white_in_an_mp4(tmp_path):
    _, images = mp4_frames(animate(run(), tmp_path / "flow.mp4", **SMALL))
    assert all((image[2, 2] >= 254).all() for image in images)


def test_few_frames_of_a_brownian_mp4_last_as_long_as_the_film(tmp_path):
    about, images = mp4_frames(
        animate(jumps(3), tmp_path / "flow.mp4", fps=10, seconds=2.0, dpi=60)
    )
    assert about["duration"] == pytest.approx(2.0 + sum(HOLD))
    shown = 1 + sum(np.abs(b - a).mean() > 0.3 for a, b in itertools.pairwise(images))
    assert shown == 3


def test_a_film_of_states_is_the_same_as_gif_and_mp4(tmp_path):
    flow, x, y = pf.mmd_flow(KERNEL), cloud(37, scale=0.3), cloud(23, seed=1)

    def states():
        return [state for _, state in zip(range(5), pf.iterate(flow, x, y, dt=0.5), strict=False)]

    options = {"target": y, "fps": 10, "dpi": 60, "color": "start", "title": "Five states"}
    shown = gif_frames(film(states(), tmp_path / "flow.gif", **options))
    about, images = mp4_frames(film(iter(states()), tmp_path / "flow.mp4", **options))
    held = [round(10 * seconds) for seconds in HOLD]
    assert len(shown) == 5
    assert len(images) == 5 + sum(held)
    assert about["duration"] == pytest.approx(0.5 + sum(HOLD))
    height, width = shown[0].shape[:2]
    for k, image in enumerate(images):
        expected = shown[int(np.clip(k - held[0], 0, 4))]
        assert np.median(np.abs(image[:height, :width] - expected).max(-1)) <= 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["flow.gif", "flow.mp4"]


def test_a_folder_with_a_colon_and_spaces_holds_an_mp4(tmp_path, monkeypatch):
    (tmp_path / "a: b %d").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(mp4_frames(animate(run(), Path("a: b %d/c.MP4"), **SMALL))[1]) == 30


# ---------------------------------------------------------------- what goes wrong

DRAW = """
import os, sys
from pathlib import Path
from particleflow import Trajectory, plotting
path, file = Trajectory.load(sys.argv[1]), Path(sys.argv[2])
"""


@pytest.fixture
def saved(tmp_path):
    run().save(tmp_path / "run.npz")
    (tmp_path / "films").mkdir()
    return tmp_path / "run.npz", tmp_path / "films" / "flow.mp4"


def test_a_missing_package_is_told_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(Scene, "of", lambda *_, **__: pytest.fail("a scene was made"))
    file, states = tmp_path / "flow.mp4", iter([0, 0])
    for draw in (lambda: run().animate(file), lambda: film(states, file)):
        with pytest.raises(ImportError, match=r"`pip install particleflow-sim\[film\]`") as told:
            draw()
        needed = "`file` ends in .mp4, which needs the package imageio-ffmpeg"
        assert str(told.value).startswith(needed)
    assert list(states) == [0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_what_ffmpeg_says_and_leaves_the_old_film(saved, python):
    saved[1].write_bytes(b"an old film")
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    path.animate(file, seconds=1.0, dpi=60)
except OSError as error:
    print(error)
"""
    done = python.run("-c", DRAW + code, *map(str, saved))
    told = done.stdout
    assert "could not be written: ffmpeg ended with code" in told, done.stderr
    assert "File too large" in told
    assert told.strip().endswith("choose a folder that is writable")
    assert list(saved[1].parent.iterdir()) == [saved[1]]
    assert saved[1].read_bytes() == b"an old film"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the children of a process in /proc")
def test_a_film_that_is_stopped_leaves_nothing_and_no_ffmpeg(saved, python):
    """Ctrl-C reaches the whole group of processes, as in a terminal."""
    code = """
import signal
os.setsid()
signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a job of a shell
path.animate(file, seconds=20.0, fps=50)
"""
    made = python.start("-c", DRAW + code, *map(str, saved))
    folder = saved[1].parent
    children = Path(f"/proc/{made.pid}/task/{made.pid}/children")
    until = time.monotonic() + 60
    encoders: list[str] = []
    while not encoders and time.monotonic() < until:
        time.sleep(0.02)
        encoders = children.read_text().split() if list(folder.iterdir()) else []
    (part,) = folder.iterdir()
    assert part.suffix == ".part"
    os.killpg(made.pid, signal.SIGINT)
    try:
        _, wrong = made.communicate(timeout=60)
    finally:
        made.kill()
    assert "KeyboardInterrupt" in wrong
    assert list(folder.iterdir()) == []
    assert not any(Path(f"/proc/{encoder}").exists() for encoder in encoders)


def interrupted(draw, wanted):
    """Draw, and press Ctrl-C at the first call of Python for which `wanted` is true."""

    def watch(frame, event, _):
        if event == "call" and wanted(frame.f_code):
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    def watched():
        sys.setprofile(watch)
        draw()

    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            watched()
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGINT, earlier)


def test_ctrl_c_while_a_picture_is_drawn_is_no_other_error(tmp_path):
    """matplotlib's C++ takes an exception of Python, while it converts a box, for a wrong box."""
    scene = Scene.of({"mmd": run()}, [3.0, 6.0])
    reel = Reel(scene, {"mmd": Look()}, Format(dpi=40))
    line = multiples.Multiple(lines=[multiples.Line(0, np.arange(3.0), np.ones(3))])
    pictures = [
        lambda: reel.frame(1),
        lambda: Reel(scene, {"mmd": Look()}, Format(dpi=40)),
        lambda: run().plot(tmp_path / "flow.png", records=[0, 2], dpi=40),
        lambda: plotting.curves(run(), tmp_path / "curves.svg"),
        lambda: plotting.field(run(), tmp_path / "field.pdf", flow=pf.mmd_flow(KERNEL), dpi=40),
        lambda: inline.svg(multiples.single(line, (3.0, 2.0)), "a", "a line"),
    ]
    for draw in pictures:
        interrupted(draw, lambda code: code.co_name == "__array__")
    for last in range(0, 600, 67):
        calls = itertools.count()
        interrupted(pictures[0], lambda _, calls=calls, last=last: next(calls) == last)


def test_an_error_of_the_states_is_the_users_own_and_leaves_nothing(tmp_path):
    def broken():
        yield from (
            s
            for _, s in zip(
                range(3), pf.iterate(pf.mmd_flow(KERNEL), cloud(5), cloud(7), dt=0.1), strict=False
            )
        )
        raise OSError("the reader of my states failed")

    for kind in ("gif", "mp4"):
        with pytest.raises(OSError, match=r"^the reader of my states failed$"):
            film(broken(), tmp_path / f"flow.{kind}", dpi=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_film_that_cannot_take_its_place_says_so(tmp_path, kind):
    (tmp_path / f"taken.{kind}").mkdir()
    with pytest.raises(OSError, match=r"`file` .*taken.* could not be written: .*: choose"):
        animate(run(), tmp_path / f"taken.{kind}", **SMALL)
    assert [file.name for file in tmp_path.iterdir()] == [f"taken.{kind}"]


REFUSED = {
    r"`file` must end in \.gif \.mp4, got 'flow\.mov': pass": {"file": "flow.mov"},
    r"`fps` must be at most 50 for a \.gif file, got 51: browsers": {"fps": 51},
    r"`fps` must be at most 120 for a \.mp4 file, got 121: ": {"file": "flow.mp4", "fps": 121},
    r"`seconds` must be > 0, got 0": {"seconds": 0.0},
    r"`seconds` must be at most 1800, got 2000": {"seconds": 2000.0},
    r"`pace` must be one of 'path', 'steps', 'time', got 'w2': leave it out": {"pace": "w2"},
    r"`title` must be a text, got 3": {"title": 3},
    r"`color` must be one of 'flow', .*, got 'red': pass e\.g\. color='start'": {"color": "red"},
    r"`color` 'mass' needs a run with masses, got equal ones": {"color": "mass"},
    r"`trails` must be at most 1, got 2: pass a share": {"trails": 2.0},
    r"`inset` must be True or False, got 1": {"inset": 1},
    r"`dark` must be True or False, got 'yes'": {"dark": "yes"},
    r"`transparent` cannot be True for an \.mp4 file, whose pixels are all opaque, got flow\.mp4:"
    r" write a \.gif": {"file": "flow.mp4", "transparent": True},
    r"`axes` must be two of 2 coordinates, got \(0, 2\)": {"axes": (0, 2)},
    r"`xlim` must increase, got \(1\.0, 0\.0\)": {"xlim": (1, 0)},
    r"`as_images` must fill d = 2 pixels, got \(8, 8\)": {"as_images": (8, 8)},
    r"`orbit` needs points in perspective \(d = 3\), got 90: leave it out": {"orbit": 90},
    r"`size` must be one or two numbers, got \(1, 2, 3\): pass inches": {"size": (1, 2, 3)},
    r"`size` must leave 2\.2 inches for the width of a panel, got \(3\.0, 2\.0\)": {
        "size": (3.0, 2.0)
    },
    r"`dpi` must be >= 50, got 10": {"dpi": 10},
    r"`dpi` must give at most 8192 pixels a side, got 3000, which gives \d+: pass at most 1\d{3}": {
        "dpi": 3000
    },
}


@pytest.mark.parametrize("told", REFUSED)
def test_bad_input_is_refused_before_anything_is_drawn(tmp_path, monkeypatch, unchecked, told):
    def never(*_):
        raise AssertionError("a frame was drawn")

    monkeypatch.setattr(Reel, "frame", never)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=told):
        animate(run(), **{"file": "flow.gif", **REFUSED[told]})
    assert list(tmp_path.iterdir()) == []


def test_a_film_of_states_has_no_speeds(tmp_path):
    states = pf.iterate(pf.mmd_flow(KERNEL), cloud(5), cloud(7), dt=0.1)
    with pytest.raises(ValueError, match=r"`color` must be one of 'flow', 'start', 'mass' in a"):
        film(states, tmp_path / "flow.gif", color="speed")


def test_a_trajectory_hands_every_option_on(tmp_path):
    options = {**SMALL, "title": "One", "dark": True, "pace": "steps", "trails": False, "size": 4.0}
    one = animate(run(), tmp_path / "one.gif", **options).read_bytes()
    assert run().animate(tmp_path / "two.gif", **options).read_bytes() == one


# ---------------------------------------------------------------- the command line

SHORT = ["--n", "11", "--m", "17", "--steps", "3", "--dt", "1e-3", "--metrics", "w2"]


def test_the_command_line_makes_an_mp4_and_repeats_it(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", "--flow", "mmd", *SHORT, "--film", "mp4", "--out", str(out)]) == 0
    assert "flow.mp4" in capsys.readouterr().out
    assert 'film = "mp4"' in (out / "config.toml").read_text()
    first = (out / "flow.mp4").read_bytes()
    again = tmp_path / "again"
    assert main(["run", "--config", str(out / "config.toml"), "--out", str(again)]) == 0
    assert (again / "flow.mp4").read_bytes() == first
    assert main(["run", "--flow", "mmd", *SHORT, "--film", "none", "--out", str(out)]) == 0
    assert not list(out.glob("flow.*"))
    assert 'film = "none"' in (out / "config.toml").read_text()


def test_the_command_line_refuses_another_kind_and_a_missing_package(tmp_path, capsys, monkeypatch):
    call = ["run", "--flow", "mmd", *SHORT, "--out", str(tmp_path / "out")]
    assert main([*call, "--film", "mov"]) == 2
    assert "--film must be one of gif, mp4, none, got 'mov'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert main([*call, "--film", "mp4"]) == 2
    told = capsys.readouterr().err
    assert "--film cannot be mp4, which needs the package imageio-ffmpeg: " in told
    assert "install it with `pip install particleflow-sim[film]`, or use gif" in told
    assert not list((tmp_path / "out").glob("*"))


def test_ffmpeg_is_found():
    assert Path(mp4.ffmpeg()).exists()
