"""Snapshots with options: what each one changes in the artists, and what is refused."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

import particleflow as pf
from particleflow.plotting import snapshots
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.marks import Trails
from particleflow.plotting.drawing.shades import HAZE, Shades
from particleflow.plotting.scenes.density import blended
from particleflow.plotting.scenes.records import CROWD, travelled
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.views import Perspective
from particleflow.plotting.style import DARK, LIGHT, SEQUENTIAL, begun, toned

KERNEL = pf.kernels.Gaussian(0.5)


def cloud(n, d=2, *, seed=0, scale=1.0, shift=0.0):
    made = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * made + shift


@functools.cache
def run(*, n=23, m=31, d=2, velocity=False):
    """A real MMD flow, N != M. The same arguments give the same object: nobody changes it."""
    start, target = cloud(n, d, scale=0.3), cloud(m, d, seed=1, shift=0.5)
    save = pf.SaveAt(every=1, velocity=velocity)
    return pf.simulate(pf.mmd_flow(KERNEL), start, target, steps=12, dt=0.1, save=save)


def particles(ax):
    """The discs of the particles: those on top."""
    discs = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
    return max(discs, key=lambda artist: artist.get_zorder())


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def test_color_start_is_that_of_the_first_record_at_every_moment():
    path = run()
    figure = snapshots(path, color="start", records=[0, 6, -1])
    expected = begun(path.particles[0].numpy())
    for ax in figure.axes:
        np.testing.assert_allclose(particles(ax).get_facecolor()[:, :3], expected)
    assert len(np.unique(expected, axis=0)) == 23


def test_color_speed_is_on_a_logarithmic_scale_up_to_the_fastest():
    path = run(velocity=True)
    speeds = path.velocity[[0, 6]].norm(dim=2).numpy()
    fastest = np.quantile(speeds, 0.99)
    shown = snapshots(path, color="speed", records=[0, 6])
    for ax, speed in zip(shown.axes[:2], speeds, strict=True):
        tones = np.clip(1 + np.log10(np.maximum(speed / fastest, 1e-2)) / 2, 0, 1)
        expected = toned(tones, SEQUENTIAL)
        np.testing.assert_allclose(particles(ax).get_facecolor()[:, :3], expected, atol=1e-12)
    said = [text.get_text() for text in shown.texts]
    assert f"{fastest:.2g}" in said
    scene = Scene.of({"": run()}, [5, 12])
    moves = run().particles.diff(dim=0).numpy() / 0.1
    np.testing.assert_allclose(scene.velocities("", 5), moves[5])
    np.testing.assert_allclose(scene.velocities("", 12), moves[11])


def test_color_mass_shows_masses_over_their_mean():
    mass = torch.linspace(0.5, 1.5, 23, dtype=torch.float64)
    path = replace(run(), log_mass=(mass / 23).log().expand(13, 23))
    axes = snapshots(path, color="mass", records=[0]).axes
    found = particles(axes[0]).get_facecolor()[:, :3]
    np.testing.assert_allclose(found, toned(mass.numpy() / 3, SEQUENTIAL), atol=1e-12)


def test_a_crowd_has_the_mean_colour_of_its_points():
    """Two halves far apart: each pixel has the colour of the half it lies in."""
    left, right = cloud(CROWD, scale=0.1, shift=-1.0), cloud(CROWD, seed=1, scale=0.1, shift=1.0)
    points = torch.cat([left, right]).numpy()
    red_blue = np.repeat([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], CROWD, axis=0)
    low, high = np.array([-2.0, -2.0]), np.array([2.0, 2.0])
    found = blended(points, red_blue, low, high, (80, 100))
    np.testing.assert_allclose(found[60, 25], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[20, 75], [0, 0, 1], atol=1e-6)
    path = replace(run(), particles=torch.cat([left, right])[None].expand(13, -1, -1))
    plain, mixed = (
        np.asarray(snapshots(path, color=color, records=[0]).axes[0].images[-1].get_array())
        for color in ("flow", "start")
    )
    np.testing.assert_array_equal(plain[..., 3], mixed[..., 3])
    dense = mixed[..., 3] > 200
    assert np.ptp(mixed[dense][:, :3].astype(int), axis=0).max() > 60


def test_trails_go_back_by_a_share_of_the_path():
    path = run()
    gone = travelled(path)
    for share in (0.3, 1.0, True):
        ax = snapshots(path, trails=share, records=[-1]).axes[0]
        (trails,) = [artist for artist in ax.get_children() if isinstance(artist, Trails)]
        places = np.concatenate([line.vertices for line, _ in trails.strokes])
        first = path.particles[np.searchsorted(gone, gone[-1] - float(share))].numpy()
        earliest = trails.strokes[0][0].vertices.reshape(23, -1, 2)[:, 0]
        np.testing.assert_array_equal(earliest, first)
        assert any(np.allclose(path.particles[-1, 0].numpy(), place) for place in places)
    plain = snapshots(path, records=[-1]).axes[0]
    assert not [artist for artist in plain.get_children() if isinstance(artist, Trails)]


def test_arrows_are_velocities_on_one_scale():
    path = run(velocity=True)
    axes = snapshots(path, arrows=True, records=[0, 12]).axes
    quivers = [a for ax in axes for a in ax.collections if isinstance(a, Quiver)]
    for quiver, record in zip(quivers, (0, 12), strict=True):
        np.testing.assert_allclose(quiver.get_offsets(), path.particles[record].numpy())
        moved = np.stack([quiver.U, quiver.V], axis=1)
        np.testing.assert_allclose(moved, path.velocity[record].numpy(), rtol=1e-6, atol=1e-12)
    assert quivers[0].scale == quivers[1].scale


def test_axes_are_two_coordinates():
    path = run(d=4)
    ax = snapshots(path, axes=(3, 1), records=[0]).axes[0]
    np.testing.assert_allclose(particles(ax).get_offsets(), path.particles[0][:, [3, 1]].numpy())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x4", "x2")


def test_limits_and_what_lies_outside_of_them():
    path = run()
    ax = snapshots(path, xlim=(-0.1, 0.2), ylim=(-3, 3), records=[0]).axes[0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.1, 0.2), (-3, 3))
    x = path.particles[0, :, 0]
    outside = int(((x < -0.1) | (x > 0.2)).sum())
    assert f"{outside} of 23 outside" in [text.get_text() for text in ax.texts]
    line = snapshots(run(d=1), xlim=(-1, 1), records=[0]).axes
    assert line[0].get_xlim() == (-1, 1)


def test_dark_size_dpi_and_title():
    figure = snapshots(run(), dark=True, size=6.5, dpi=90, title="MMD flow", records=[0, -1])
    assert figure.get_figwidth() == pytest.approx(6.5)
    image = drawn(figure)
    assert image.shape[1] == 585
    ground = np.round(255 * np.array(to_rgb(DARK.ground)))
    assert (np.abs(image - ground).max(-1) < 3).mean() > 0.7
    (title,) = [text for text in figure.texts if text.get_text() == "MMD flow"]
    assert to_hex(title.get_color()) == DARK.ink.lower()
    assert to_hex(particles(figure.axes[0]).get_facecolor()[0]) == DARK.runs[0].lower()


def test_axes_of_a_users_figure():
    path = run()
    own = Figure(figsize=(8, 4))
    cells = own.subplots(2, 3)
    assert snapshots({"a": path, "b": path}, ax=cells, records=[0, 5, -1], title="Here") is own
    for k, ax in enumerate(cells.ravel()):
        expected = path.particles[[0, 5, 12][k % 3]].numpy()
        np.testing.assert_allclose(particles(ax).get_offsets(), expected)
    assert "Here" in [text.get_text() for text in cells[0, 0].texts]
    alone = Figure().subplots()
    snapshots(path, ax=alone)
    np.testing.assert_allclose(particles(alone).get_offsets(), path.particles[-1].numpy())


def test_space_time_holds_every_path_and_the_densities():
    path = run(d=1)
    figure = snapshots(path, color="start", records=[0, 6, 12])
    space, side = figure.axes[3:]
    (lines,) = [a for a in space.collections if isinstance(a, LineCollection)]
    segments = np.array(lines.get_segments())
    assert segments.shape == (23, 13, 2)
    np.testing.assert_allclose(segments[..., 1], path.particles[..., 0].T.numpy())
    np.testing.assert_allclose(segments[0, :, 0], travelled(path))
    np.testing.assert_allclose(lines.get_colors()[:, :3], begun(path.particles[0].numpy()))
    assert [text.get_text() for text in space.get_xticklabels()][::-1] == ["0", "6", "12"]
    assert space.get_ylim() == side.get_ylim() == figure.axes[0].get_xlim()
    target, last = side.patches
    for shape, points in ((target, path.target), (last, path.particles[-1])):
        values, edges, _ = shape.get_data()
        expected = np.histogram(points[:, 0].numpy(), edges)[0] / len(points) / np.diff(edges)
        np.testing.assert_allclose(values, expected)
    speeds = snapshots(run(d=1, velocity=True), color="speed").axes[-2]
    assert len(speeds.collections[0].get_segments()) == 23 * 12


def test_perspective_against_a_pinhole_camera():
    """Rays from the eye through the picture's plane, which goes through the middle of the box."""
    view = Perspective(np.array([-1.0, -2, 0]), np.array([3.0, 1, 2]), azimuth=25, elevation=40)
    middle = (view.low + view.high) / 2
    right, up, back = view.frame.T
    np.testing.assert_allclose(view.frame.T @ view.frame, np.eye(3), atol=1e-12)
    assert up[2] > 0
    assert right[2] == 0
    eye = middle + 4 * view.radius * back
    points = cloud(50, 3, seed=3).numpy()
    for point, seen in zip(points, view.seen(points), strict=True):
        share = ((middle - eye) @ back) / ((point - eye) @ back)
        hit = eye + share * (point - eye) - middle
        np.testing.assert_allclose(seen, [hit @ right, hit @ up], atol=1e-12)
    near, far = middle + back, middle - back
    assert view.depth(np.array([near, far])).tolist() == sorted(view.depth(np.array([near, far])))
    np.testing.assert_allclose(view.turned(360).seen(points), view.seen(points), atol=1e-12)


def test_space_is_seen_in_perspective_with_near_points_on_top():
    path = run(d=3)
    ax = snapshots(path, records=[0]).axes[0]
    scene = Scene.of({"": path}, [0])
    depth = scene.depth("", 0)
    order = np.argsort(-depth)
    points = particles(ax)
    np.testing.assert_allclose(points.get_offsets(), scene.particles("", 0)[order])
    assert np.all(np.diff(points.get_sizes()) >= 0)
    tones = np.linalg.norm(points.get_facecolor()[:, :3] - 1, axis=1)
    assert np.all(np.diff(tones) >= -1e-12)
    assert not ax.get_xticks().size
    for cloud_ in (path.particles[0], path.target):
        places = scene.view.seen(cloud_.numpy())
        assert (places > scene.low).all()
        assert (places < scene.high).all()


@pytest.mark.parametrize("orbit", [90, -40, 360])
def test_an_orbit_stays_in_the_picture_and_fills_it(orbit):
    stretched = torch.tensor([6.0, 1.0, 1.0], dtype=torch.float64)
    path = run(d=3)
    path = replace(path, particles=path.particles * stretched, target=path.target * stretched)
    scene, seen = Scene.of({"": path}, [0, 12], orbit=orbit), []
    for degrees in np.linspace(0, orbit, 38):
        view = scene.view.turned(degrees)
        seen += [view.seen(scene.cloud("", step)) for step in (0, 12)]
        seen += [view.seen(path.target.numpy()), view.ends]
    places = np.concatenate(seen)
    assert ((places >= scene.low) & (places <= scene.high)).all()
    # the picture is as wide as what is seen on the way, beside its margin
    used = (places.max(0) - places.min(0)) / (scene.high - scene.low)
    assert used.max() > 0.9


def test_particles_as_images():
    path = run(d=6, n=5)
    figure = snapshots(path, as_images=(2, 3), records=[0, -1])
    first, last, target = (np.asarray(ax.images[0].get_array()) for ax in figure.axes)
    np.testing.assert_allclose(first[:2, :3], path.particles[0, 0].reshape(2, 3).numpy())
    np.testing.assert_allclose(last[:2, 4:7], path.particles[-1, 1].reshape(2, 3).numpy())
    np.testing.assert_allclose(last[3:5, :3], path.particles[-1, 3].reshape(2, 3).numpy())
    np.testing.assert_allclose(target[3:5, 4:7], path.target[4].reshape(2, 3).numpy())
    assert figure.axes[2].texts[0].get_text() == "target"


def test_a_known_density_is_drawn_as_the_target():
    gaussian = pf.samplers.Gaussian(dim=1, std=0.5)
    path = pf.simulate(pf.langevin(gaussian), cloud(23, 1), steps=6, dt=0.01)
    unnormalised = lambda z: -2.0 * (z**2).sum(1) + 7.0
    for density in (gaussian, unnormalised):
        ax = snapshots(path, density=density, records=[-1]).axes[0]
        (area,) = ax.collections
        x, p = area.get_paths()[0].vertices.T
        upper = p > 0
        expected = np.exp(-2 * x**2) / np.sqrt(0.5 * np.pi)
        np.testing.assert_allclose(p[upper], expected[upper], rtol=1e-3, atol=1e-6)
    plane = pf.samplers.Gaussian(dim=2, mean=(0.5, 0.0), std=0.3)
    ax = snapshots(run(), density=plane, xlim=(-1, 2), ylim=(-1, 1), records=[0]).axes[0]
    opacity = np.asarray(ax.images[0].get_array())[..., 3].astype(float)
    row, column = np.unravel_index(opacity.argmax(), opacity.shape)
    height, width = opacity.shape
    mass = opacity / opacity.sum()
    assert abs((mass.sum(0) @ np.arange(width)) / width - 0.5) < 0.01
    assert abs((mass.sum(1) @ np.arange(height)) / height - 0.5) < 0.01
    assert abs(row / height - 0.5) < 0.1
    assert abs(column / width - 0.5) < 0.1


def test_five_thousand_points_are_small_and_faint_discs():
    few, many = (particles(snapshots(run(n=n, m=31), records=[0]).axes[0]) for n in (300, 5000))
    assert many.get_sizes()[0] < few.get_sizes()[0]
    assert many.get_alpha() < few.get_alpha()
    assert many.get_alpha() > 0.3


def test_every_picture_stays_within_its_figure():
    runs = {"a name": run(), "another": run()}
    for figure in (
        snapshots(runs, color="speed", title="A title", trails=0.4, arrows=True),
        snapshots({"line": run(d=1)}, color="start", title="A title"),
        snapshots({"space": run(d=3)}, title="A title"),
        snapshots({"six": run(d=6)}, as_images=(2, 3), title="A title"),
        snapshots(runs, size=5.0, title="A title", dark=True),
    ):
        FigureCanvasAgg(figure).draw()
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


def test_haze_leaves_the_nearest_particle_as_it_is():
    scene = Scene.of({"": run(d=3)}, [0])
    rgb = Shades(scene, "", LIGHT.runs[0], Look()).at(scene, 0)
    depth = scene.depth("", 0)
    pure = np.array(to_rgb(LIGHT.runs[0]))
    np.testing.assert_allclose(rgb - pure, HAZE * depth[:, None] * (1 - pure), atol=1e-12)


def test_a_trajectory_passes_its_options_on(tmp_path):
    path = run()
    options = {
        "records": [0, -1],
        "title": "One",
        "color": "start",
        "trails": 0.3,
        "arrows": True,
        "xlim": (-2.0, 2.0),
        "ylim": (-2.0, 3.0),
        "density": pf.samplers.Gaussian(dim=2),
        "dark": True,
        "size": 5.0,
        "dpi": 90,
    }
    one = drawn(path.plot(tmp_path / "a.png", **options))
    np.testing.assert_array_equal(one, drawn(snapshots(path, **options)))
    cell = Figure().subplots()
    path.plot(ax=cell, axes=(1, 0))
    assert cell.get_xlabel() == "x2"
    images = drawn(run(d=6).plot(as_images=(3, 2)))
    np.testing.assert_array_equal(images, drawn(snapshots(run(d=6), as_images=(3, 2))))


@pytest.mark.parametrize(
    ("d", "options", "error", "words"),
    [
        (2, {"color": "red"}, ValueError, r"`color` must be one of 'flow', .* got 'red': pass"),
        (2, {"color": 3}, ValueError, r"`color` must be one of"),
        (
            2,
            {"color": "mass"},
            ValueError,
            r"`color` 'mass' needs a run with masses.*: pass color=",
        ),
        (2, {"trails": 1.5}, ValueError, r"`trails` must be at most 1, got 1.5: pass a share"),
        (2, {"trails": -0.1}, ValueError, r"`trails` must be >= 0"),
        (2, {"trails": "all"}, TypeError, r"`trails` must be a number"),
        (1, {"trails": 0.5}, ValueError, r"`trails` cannot be shown: .* on a line .* leave it out"),
        (1, {"arrows": True}, ValueError, r"`arrows` cannot be shown"),
        (2, {"arrows": 1}, TypeError, r"`arrows` must be True or False"),
        (2, {"axes": (0, 2)}, ValueError, r"`axes` must be two of 2 coordinates, got \(0, 2\)"),
        (4, {"axes": (1, 1)}, ValueError, r"`axes` must be two of 4"),
        (4, {"axes": (1,)}, TypeError, r"`axes` must be two numbers"),
        (4, {"axes": 1}, TypeError, r"`axes` must be several"),
        (1, {"axes": (0, 1)}, ValueError, r"`axes` must be .*: leave it out"),
        (2, {"xlim": (1, 0)}, ValueError, r"`xlim` must increase, got \(1.0, 0.0\): pass"),
        (2, {"ylim": (0, float("inf"))}, ValueError, r"`ylim` must be finite"),
        (1, {"ylim": (0, 1)}, ValueError, r"`ylim` cannot be used: .*: pass xlim"),
        (3, {"xlim": (0, 1)}, ValueError, r"`xlim` cannot be used: .*perspective.*: pass axes="),
        (6, {"as_images": (2, 2)}, ValueError, r"`as_images` must fill d = 6 pixels, got \(2, 2\)"),
        (6, {"as_images": 6}, TypeError, r"`as_images` must be several"),
        (6, {"as_images": (2, 3), "trails": 1}, ValueError, r"`trails` cannot be shown: partic"),
        (6, {"as_images": (2, 3), "color": "start"}, ValueError, r"`color` cannot be shown"),
        (6, {"as_images": (2, 3), "xlim": (0, 1)}, ValueError, r"`xlim` cannot be used"),
        (2, {"density": 3}, TypeError, r"`density` must be a density, got int: pass e.g."),
        (2, {"density": pf.samplers.Gaussian}, TypeError, r"`density` must be .* parentheses"),
        (2, {"density": lambda z: -z}, ValueError, r"`density` must map z .* got \(2, 2\)"),
        (3, {"density": pf.samplers.Gaussian(dim=3)}, ValueError, r"`density` can be shown for d"),
        (2, {"dark": None}, TypeError, r"`dark` must be True or False"),
        (2, {"size": "big"}, TypeError, r"`size` must be a number"),
        (2, {"size": 1.0}, ValueError, r"`size` must hold 5 panels, got 1: pass 4"),
        (2, {"dpi": 0}, ValueError, r"`dpi` must be >= 1"),
        (2, {"title": None}, TypeError, r"`title` must be a text, got None"),
        (2, {"ax": "axes"}, TypeError, r"`ax` must be Axes, or several, got 'axes': pass"),
        (2, {"ax": Figure().subplots(), "records": [0, 1]}, ValueError, r"`ax` must have one .* 2"),
        (2, {"ax": Figure().subplots(), "size": 3.0}, ValueError, r"`size` cannot be used with"),
        (2, {"records": 3}, TypeError, r"`records` must be several"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_options_are_refused(d, options, error, words):
    with pytest.raises(error, match=words):
        snapshots(run(d=d), **options)


@pytest.mark.usefixtures("unchecked")
def test_axes_must_suit_the_runs():
    with pytest.raises(ValueError, match=r"`ax` must have as many axes for each run, got 3 for 2"):
        snapshots({"a": run(), "b": run()}, ax=Figure().subplots(1, 3))
