"""Crowds are shown as densities: the numbers in the pictures, the tones that mean the same in all
of them, films of states as they come.
"""

from __future__ import annotations

import functools
import itertools
import re
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from PIL import Image, ImageSequence

import particleflow as pf
from particleflow.plotting import animate, film, snapshots
from particleflow.plotting.drawing.layers import PARTICLES, TONES, UNDER, _inks
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.films.gif import CLEAR, DISCS, SHADES, Palette, changes
from particleflow.plotting.films.output import HOLD
from particleflow.plotting.films.reel import Reel
from particleflow.plotting.scenes.density import SOFT, density, tone, typical
from particleflow.plotting.scenes.records import CROWD, few, one_record
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.style import LIGHT

COLOURS, TARGET = LIGHT.runs, LIGHT.target
BOX = np.array([-2.0, -1.0]), np.array([2.0, 1.0])
SHAPE = (100, 200)
AREA = 8.0


def cloud(n, d=2, *, seed=0, scale=1.0):
    return scale * torch.randn(
        n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def square(n, side, *, seed=0):
    """Uniform on a square about the origin."""
    return side * (
        torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    )


@functools.cache
def crowd(*, n=CROWD + 1, d=2, steps=3):
    """A real run of more particles than are shown one by one."""
    return pf.simulate(
        pf.langevin(lambda z: -z),
        cloud(n, d, scale=0.5),
        steps=steps,
        dt=0.05,
        save=pf.SaveAt(every=1),
    )


def with_particles(path, particles, **changes):
    fewer = {name: getattr(path, name)[: len(particles)] for name in ("times", "steps", "energy")}
    return replace(path, particles=particles, **fewer, **changes)


def pictures(ax):
    """(target, particles) of one panel, those that are pictures."""
    return ax.get_images()


def middle(image):
    """RGBA of the pixels around the middle of a picture, (P, 4)."""
    pixels = np.asarray(image.get_array()).astype(int)
    height, width = pixels.shape[:2]
    return pixels[9 * height // 20 : 11 * height // 20, 9 * width // 20 : 11 * width // 20].reshape(
        -1, 4
    )


def reel_of(paths, steps):
    return Reel(Scene.of(paths, steps), dict.fromkeys(paths, Look()))


def frames(file):
    with Image.open(file) as film:
        return [
            np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)
        ]


def near(image, colour, tolerance=40):
    """How many pixels have about this colour."""
    return int((np.abs(image - np.round(255 * np.array(to_rgb(colour)))).max(-1) < tolerance).sum())


def test_density_is_that_of_the_law_the_points_are_from():
    """N(0, s^2 I): its variance and that of the narrow Gaussian add where the points are many."""
    spread, pixel = 0.4, (AREA / (SHAPE[0] * SHAPE[1])) ** 0.5
    picture = density(cloud(4_000_000, scale=spread).numpy(), None, *BOX, SHAPE)
    y, x = np.meshgrid(
        -np.linspace(-1, 1, 100, endpoint=False) - 0.01,
        np.linspace(-2, 2, 200, endpoint=False) + 0.01,
        indexing="ij",
    )
    variance = spread**2 + (SOFT * pixel) ** 2
    expected = np.exp(-(x**2 + y**2) / (2 * variance)) / (2 * np.pi * variance)
    inside = np.s_[5:-5, 5:-5]
    assert np.abs(picture - expected)[inside].max() < 0.04 * expected.max()
    assert np.abs(picture - expected)[inside].mean() < 0.004 * expected.max()


def test_thin_haze_is_softened_more_than_what_is_dense_and_none_of_it_is_lost():
    """A line of 1 % of the points keeps its width beside haze of 1 % in which no dot is seen."""
    line = np.stack([np.full(990_000, 1.0), np.linspace(-0.5, 0.5, 990_000)], axis=1)
    haze = square(10_000, 1.0).numpy() - (1.0, 0.0)
    picture = density(np.concatenate([line, haze]), None, *BOX, SHAPE)
    share = AREA / picture.size
    assert picture.sum() * share == pytest.approx(1.0, rel=1e-5)
    profile = picture[50, 140:160]
    assert profile[profile > profile.max() / 2].size == 3  # 2.35 standard deviations of a pixel
    thin = picture[35:65, 35:65] / 0.01
    assert thin.mean() == pytest.approx(1.0, abs=0.05)
    assert (
        thin.std() < 0.1 < (4 * np.pi * SOFT**2 * 1e4 * share) ** -0.5
    )  # what the narrow one would leave of the noise


def test_density_puts_points_where_they_are_the_uppermost_row_first():
    points = np.repeat([[-1.5, 0.75], [1.0, -0.5]], [30_000, 10_000], axis=0)
    picture = density(points, None, *BOX, SHAPE)
    row, column = np.unravel_index(picture.argmax(), SHAPE)
    assert (row, column) == (12, 25)
    assert picture[:50].sum() / picture.sum() == pytest.approx(0.75, rel=1e-5)
    assert picture.sum() * AREA / picture.size == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(
        density(points.astype(np.float32), None, *BOX, SHAPE), picture, rtol=1e-6
    )


def test_density_weighs_points_and_misses_those_outside():
    points = np.repeat(
        [[-1.0, 0.0], [1.0, 0.0], [9.0, 0.0], [np.nan, 0.0], [0.0, -np.inf], [1e300, 0.0]],
        1000,
        axis=0,
    )
    picture = density(points, np.repeat([3.0, 1.0, 0.5, 0.5, 0.5, 0.5], 1000), *BOX, SHAPE)
    share = AREA / picture.size
    assert picture[:, :100].sum() * share == pytest.approx(3 / 6, rel=1e-4)
    assert picture[:, 100:].sum() * share == pytest.approx(1 / 6, rel=1e-4)


def test_fewer_points_are_softened_more():
    """So that a picture of 20001 points is a density and not its dots."""
    middle = np.s_[30:70, 80:120]
    errors = [
        density(square(n, 2.0).numpy(), None, *BOX, SHAPE)[middle] * 4 - 1
        for n in (20_001, 2_000_000)
    ]
    raw = (AREA / (SHAPE[0] * SHAPE[1]) * 20_001 / 4) ** -0.5  # Poisson, pixel by pixel
    assert raw > 0.7
    assert max(error.std() for error in errors) < 0.3


def test_tones_are_logarithmic_about_the_level():
    densities = np.array([[0.0, 0.01, 0.5, 1.0, 2.0, 100.0]], dtype=np.float32)
    tones = tone(3 * densities, 3.0)[0]
    assert tones[0] == 0
    assert tones[3] == 0.5
    assert (np.diff(tones) > 0).all()
    assert tones[-1] < 1
    np.testing.assert_allclose(
        tones[1] + tones[5], 1.0, rtol=1e-6
    )  # a logistic curve is odd about its middle
    assert tones[1] * TONES > 1  # a hundredth of the level shows


def test_typical_density_is_the_one_that_half_of_the_points_exceed():
    picture = np.zeros((10, 20), dtype=np.float32)
    picture[:2, :2] = 5.0  # 20 of 50
    picture[5:, :4] = 1.5  # 30 of 50
    assert typical(picture) == 1.5
    picture[:2, :2] = 10.0
    assert typical(picture) == 10.0
    assert typical(0 * picture) == 0


@pytest.mark.parametrize(
    ("n", "m", "shown"),
    [(CROWD, CROWD, 0), (CROWD + 1, CROWD, 1), (31, CROWD + 1, 1), (CROWD + 1, CROWD + 2, 2)],
)
def test_each_cloud_is_a_picture_just_where_it_is_a_crowd(n, m, shown):
    path = with_particles(crowd(), cloud(n, seed=1)[None], target=cloud(m, seed=2))
    ax = snapshots(path).axes[0]
    discs = [len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)]
    assert len(pictures(ax)) == shown
    assert discs == [count for count in (m, n) if count <= CROWD]
    orders = [artist.get_zorder() for artist in (*pictures(ax), *ax.collections)]
    assert sorted(orders) == [1, 3]


def test_a_tone_means_the_same_density_in_every_panel_and_frame():
    sides, n = (2.0, 1.0, 0.5), 300_000
    squares = [square(n, side, seed=k) for k, side in enumerate(sides)]
    target = square(50_000, 2.0, seed=5)
    paths = {
        "one": with_particles(crowd(), torch.stack(squares), target=target),
        "two": with_particles(crowd(), squares[1][None], target=target),
    }
    figure = snapshots(paths, records=[0, 1, 2])
    level = Scene.of(paths, [0, 1, 2]).level
    assert level == pytest.approx(1 / 4, rel=0.1)
    reel = reel_of(paths, [0, 1, 2])
    shown = []
    for k, ax in enumerate(figure.axes):
        if not ax.axison:  # the second run has one record
            continue
        side, colour = (*sides, 1.0, 1.0, 1.0)[k], COLOURS[k // 3]
        inks = _inks(colour, PARTICLES)
        wanted = int(tone(np.array([[side**-2]], dtype=np.float32), level)[0, 0] * TONES)
        reel.frame(k % 3)
        for artist in (pictures(ax)[-1], reel.panels[k // 3].particles.artist):
            found = np.abs(inks[None].astype(int) - middle(artist)[:, None]).sum(-1).argmin(1)
            assert np.median(found) == pytest.approx(wanted, abs=1)
            shown.append(np.median(found))
    assert len({round(tone) for tone in shown}) >= 3


def test_tones_grow_darker_and_more_opaque_for_every_colour():
    """Read without the hue, on white as in grey: the colour-blind see the same order."""
    for colour, stops in [*((c, PARTICLES) for c in COLOURS), (TARGET, UNDER)]:
        inks = _inks(colour, stops).astype(float)
        opacity = inks[:, 3:] / 255
        luminance = (opacity * inks[:, :3] + (1 - opacity) * 255) @ (0.2126, 0.7152, 0.0722)
        assert inks[0, 3] == 0
        assert (np.diff(opacity[:, 0]) >= 0).all()
        assert (np.diff(luminance) < 0).all()


def test_a_picture_covers_its_axes_pixel_by_pixel():
    ax = snapshots(crowd()).axes[0]
    (image,) = pictures(ax)
    box = ax.get_window_extent()
    assert image.get_array().shape == (round(box.height), round(box.width), 4)
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (*ax.get_xlim(), *ax.get_ylim())


def test_stragglers_do_not_set_the_axes_of_a_crowd_and_are_told_where_many():
    n = 100_000
    target = cloud(n, seed=2)
    calm = with_particles(crowd(), cloud(n, seed=1)[None].expand(2, -1, -1), target=target)
    points = calm.particles.clone()
    points[1, :20] += 5.0
    few_far = snapshots(with_particles(calm, points), records=[0, 1]).axes
    points[1, : n // 20] += 100.0
    many_far = snapshots(with_particles(calm, points), records=[0, 1]).axes
    width = np.diff(snapshots(calm).axes[0].get_xlim())
    for axes in (few_far, many_far):
        np.testing.assert_allclose(np.diff(axes[1].get_xlim()), width, rtol=0.02)
    assert [ax.texts[1].get_text() for ax in few_far] == ["", ""]
    assert many_far[0].texts[1].get_text() == ""
    (share,) = re.fullmatch(r"([\d.]+) % outside", many_far[1].texts[1].get_text()).groups()
    assert float(share) == pytest.approx(5, abs=0.6)


def test_masses_of_a_crowd_are_its_density():
    n = 2 * CROWD
    points = torch.cat([square(n // 2, 1.0) - 1.0, square(n // 2, 1.0) + 1.0])
    mass = torch.cat([torch.full((n // 2,), 0.2), torch.full((n // 2,), 1.8)]).double() / n
    path = with_particles(crowd(), points[None], log_mass=mass.log()[None])
    picture = pictures(snapshots(path).axes[0])[0].get_array()[..., 3].astype(float)
    half = picture.shape[1] // 2
    plain = (
        pictures(snapshots(with_particles(crowd(), points[None])).axes[0])[0]
        .get_array()[..., 3]
        .astype(float)
    )
    assert picture[:, half:].sum() > 1.3 * picture[:, :half].sum()
    assert plain[:, half:].sum() == pytest.approx(plain[:, :half].sum(), rel=0.1)


def test_a_crowd_on_the_line_is_a_finer_histogram_of_all_its_points_over_a_rug_of_some():
    path = with_particles(
        crowd(d=1), cloud(8 * CROWD, 1, seed=1)[None], target=cloud(CROWD + 7, 1, seed=2)
    )
    ax = snapshots(path).axes[0]
    target, body, _ = ax.patches
    for shape, points in ((target, path.target), (body, path.particles[-1])):
        values, edges, _ = shape.get_data()
        assert len(values) > 80
        np.testing.assert_allclose(
            values, np.histogram(points[:, 0].numpy(), edges)[0] / len(points) / np.diff(edges)
        )
    rugs = [line.get_xdata() for line in ax.lines if line.get_marker() == "|"]
    assert [len(rug) for rug in rugs] == [CROWD, CROWD]
    assert set(rugs[1]) <= set(path.particles[-1, :, 0].tolist())


def test_a_crowd_in_four_dimensions_is_the_density_in_the_plane_of_the_targets_axes():
    scales = torch.tensor([0.1, 3.0, 1.0, 0.1], dtype=torch.float64)
    target = cloud(5000, 4, seed=2) * scales
    path = with_particles(crowd(d=4), (cloud(CROWD + 1, 4, seed=1) * scales)[None], target=target)
    ax = snapshots(path).axes[0]
    (image,) = pictures(ax)
    scene = Scene.of({"": path}, [0])
    np.testing.assert_allclose(np.abs(scene.view.axes), [[0, 0], [1, 0], [0, 1], [0, 0]], atol=0.1)
    plain = with_particles(
        crowd(),
        (path.particles @ torch.from_numpy(scene.view.axes)),
        target=target @ torch.from_numpy(scene.view.axes),
    )
    (same,) = pictures(snapshots(plain).axes[0])
    np.testing.assert_array_equal(image.get_array(), same.get_array())


def test_a_crowd_is_measured_by_the_same_points_each_time():
    assert few(CROWD) == slice(None)
    chosen = few(CROWD + 5)
    assert len(np.unique(chosen)) == CROWD
    few.cache_clear()
    np.testing.assert_array_equal(few(CROWD + 5), chosen)


def test_a_crowd_is_animated(tmp_path):
    images = frames(
        animate({"first": crowd(), "second": crowd()}, tmp_path / "flow.gif", fps=4, seconds=1.0)
    )
    assert len(images) == 4
    for image in images:
        for colour in COLOURS[:2]:
            assert near(image, colour) > 500


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_a_crowd_is_written(tmp_path, kind):
    snapshots(crowd(), tmp_path / f"flow.{kind}", records=[-1])
    assert 3_000 < (tmp_path / f"flow.{kind}").stat().st_size < 2_000_000


def test_a_crowd_without_extent_is_drawn():
    path = with_particles(crowd(), torch.zeros(1, CROWD + 1, 2, dtype=torch.float64))
    for each in (
        path,
        with_particles(path, path.particles, target=torch.zeros(3, 2, dtype=torch.float64)),
    ):
        assert (pictures(snapshots(each).axes[0])[-1].get_array()[..., 3] > 0).any()


# ---------------------------------------------------------------- films of states as they come


def states(count):
    flow = pf.mmd_flow(pf.kernels.Gaussian(0.5))
    return itertools.islice(
        pf.iterate(flow, cloud(37, scale=0.3), cloud(23, seed=1), dt=0.1), 0, count, 2
    )


def test_a_film_of_states_has_a_frame_for_each(tmp_path):
    file = film(states(9), tmp_path / "flow.gif", target=cloud(23, seed=1), fps=10)
    assert list(tmp_path.iterdir()) == [file] == [tmp_path / "flow.gif"]
    with Image.open(file) as picture:
        lasts = [frame.info["duration"] for frame in ImageSequence.Iterator(picture)]
    assert lasts == [100 + 1000 * HOLD[0], 100, 100, 100, 100 + 1000 * HOLD[1]]
    for image in frames(file):
        assert min(near(image, COLOURS[0]), near(image, TARGET)) > 100


def test_a_film_of_a_crowd_leaves_out_changes_that_nobody_sees_and_adds_up_to_none_that_one_does():
    """Sixty frames that each change by less than the slack: what is shown never lags by more, and
    most pixels are not written again.
    """
    ramp = np.linspace(0, 200, 60)[:, None, None, None] + np.linspace(0, 40, 30 * 40).reshape(
        1, 30, 40, 1
    ) * np.ones(3)
    opaque = np.full((*ramp.shape[:3], 1), 255)
    moments = np.concatenate([ramp, opaque], axis=3).astype(np.uint8).view(np.uint32)[..., 0]
    for finish in (SHADES, DISCS):
        palette = Palette(moments, [LIGHT.ground], finish)
        colours = palette.colours.astype(int)
        wanted = [palette.indices(moment) for moment in moments]
        written, shown = 0, wanted[0].copy()
        for indices, frame in zip(wanted, changes(moments, palette), strict=True):
            shown = np.where(frame == CLEAR, shown, frame)
            written += (frame != CLEAR).mean()
            assert np.abs(colours[shown] - colours[indices]).max() <= finish.slack
        assert written < (25 if finish.slack else 61)
    assert reel_of({"": crowd()}, [0, 1]).finish == SHADES
    assert reel_of({"": with_particles(crowd(), cloud(37)[None])}, [0]).finish == DISCS


def test_a_film_of_states_shows_what_a_film_of_their_trajectory_shows():
    path = crowd()
    reel, other = (reel_of({"": path}, [0, 1, 2, 3]) for _ in range(2))
    for k, state in zip(
        range(4), pf.iterate(pf.langevin(lambda z: -z), path.particles[0], dt=0.05), strict=False
    ):
        np.testing.assert_array_equal(path.particles[k], state.x.points)
        shown = reel.frame(k).copy()
        np.testing.assert_array_equal(other.frame_of(one_record(state, None)), shown)


def test_a_film_of_states_ends_with_the_run_and_says_how(tmp_path):
    *_, last = ends = list(pf.iterate(pf.langevin(lambda z: z * 1e8), cloud(5), dt=1.0))
    assert last.status == "diverged"
    reel = reel_of({"": one_record(ends[0], None)}, [0])
    reel.frame_of(one_record(last, None))
    assert reel.panels[0].remarks.get_text().startswith("diverged")
    assert len(frames(film(iter(ends), tmp_path / "flow.gif"))) == len(ends)


def test_a_film_of_states_keeps_none_of_them(tmp_path):
    seen = []

    def watched():
        for state in states(7):
            seen.append(weakref.ref(state))
            yield state
            del state
            # the one before, which a run that watches its energy looks back to
            assert sum(ref() is not None for ref in seen) <= 2

    film(watched(), tmp_path / "flow.gif")
    assert len(seen) == 4


def test_a_film_of_no_states_is_refused(tmp_path):
    path = tmp_path / "flow.gif"
    for error, text, draw in (
        (
            ValueError,
            r"`states` must hold at least one state, got none: pass e\.g\. itertools",
            lambda: film(iter(()), path),
        ),
        (
            TypeError,
            r"`states` must be states of one run, got int: pass what pf\.iterate yields",
            lambda: film([1, 2], path),
        ),
        (
            ValueError,
            r"`file` must end in \.gif \.mp4, got 'flow\.mov'",
            lambda: film(states(3), "flow.mov"),
        ),
        (
            ValueError,
            r"`fps` must be at most 50 for a \.gif file, got 60",
            lambda: film(states(3), path, fps=60),
        ),
        (
            ValueError,
            r"`target` must have the dimension of the states, 2, got 3",
            lambda: film(states(3), path, target=cloud(5, 3)),
        ),
        (
            FileNotFoundError,
            r"`file` .* folder does not exist",
            lambda: film(states(3), tmp_path / "nowhere" / "flow.gif"),
        ),
    ):
        with pytest.raises(error, match=text):
            draw()
    assert list(tmp_path.iterdir()) == []
