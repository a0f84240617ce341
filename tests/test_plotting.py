"""Pictures and films: what the artists and pixels hold, not that a file exists."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

import particleflow as pf
from particleflow.plotting import animate, curves, snapshots
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.films.animation import TRAIL
from particleflow.plotting.films.gif import DISCS, Palette
from particleflow.plotting.films.insets import distance
from particleflow.plotting.films.output import HOLD
from particleflow.plotting.films.reel import Reel
from particleflow.plotting.scenes.pace import steady
from particleflow.plotting.scenes.records import one_record, record_at, recorded, telling, travelled
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.style import LIGHT, colour, readable

COLOURS, TARGET = LIGHT.runs, LIGHT.target
KERNEL = pf.kernels.Gaussian(0.5)


def cloud(n, d=2, *, seed=0, scale=1.0, shift=0.0):
    return (
        scale
        * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        + shift
    )


@functools.cache
def run(*, n=23, m=31, d=2, steps=12, every=1, dt=0.1, seed=0):
    """A real MMD flow, N != M. The same arguments give the same object: nobody changes it."""
    flow, x0, y = (
        pf.mmd_flow(KERNEL),
        cloud(n, d, seed=seed, scale=0.3),
        cloud(m, d, seed=seed + 1, shift=0.5),
    )
    return pf.simulate(
        flow,
        x0,
        y,
        steps=steps,
        dt=dt,
        save=pf.SaveAt(every=every),
        metrics={"W2 (root)": pf.metrics.W2()},
    )


def cut(path, records, status="diverged"):
    """The first records of a run that ended early."""
    fewer = {
        name: getattr(path, name)[:records] for name in ("particles", "times", "steps", "energy")
    }
    return replace(
        path,
        **fewer,
        metrics={name: v[:records] for name, v in path.metrics.items()},
        status=status,
    )


def with_particles(path, particles, **changes):
    """The same run with other particles (T, N, d)."""
    return replace(cut(path, len(particles), path.status), particles=particles, **changes)


def scatters(ax):
    """(target, particles) of one panel; (particles,) where there is no target."""
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def pixels(figure):
    FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def frames(file):
    with Image.open(file) as film:
        return [
            np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)
        ]


def near(image, colour, tolerance=40):
    """How many pixels have about this colour."""
    return int((np.abs(image - np.round(255 * np.array(to_rgb(colour)))).max(-1) < tolerance).sum())


def has_white_edge(image):
    """Nothing touches, and so nothing is cut by, the edge."""
    return all((edge == 255).all() for edge in (image[0], image[-1], image[:, 0], image[:, -1]))


@pytest.fixture(scope="module")
def two():
    return {"MMD": run(), "other start": run(seed=7)}


def test_snapshots_hold_the_records_positions_and_the_target(two):
    figure = snapshots(two, records=[0, 3, -1])
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 2 * 3
    for k, ax in enumerate(figure.axes):
        path, record = list(two.values())[k // 3], [0, 3, 12][k % 3]
        target, particles = scatters(ax)
        np.testing.assert_array_equal(particles.get_offsets(), path.particles[record].numpy())
        np.testing.assert_array_equal(target.get_offsets(), path.target.numpy())
        assert target.get_zorder() < particles.get_zorder()
        assert to_hex(particles.get_facecolor()[0]) == COLOURS[k // 3].lower()
        assert to_hex(target.get_facecolor()[0]) == TARGET.lower()


def test_axes_are_common_equal_and_contain_every_point(two):
    figure = snapshots(two)
    figure.canvas.draw()
    boxes = {(*ax.get_xlim(), *ax.get_ylim()) for ax in figure.axes}
    assert len(boxes) == 1
    left, right, bottom, top = boxes.pop()
    for ax in figure.axes:
        for points in scatters(ax):
            x, y = np.asarray(points.get_offsets()).T
            assert min(x.min() - left, right - x.max(), y.min() - bottom, top - y.max()) > 0
        box = ax.get_window_extent()
        assert box.width / (right - left) == pytest.approx(box.height / (top - bottom), rel=1e-6)


def test_titles_say_step_and_time_and_rows_say_the_name(two):
    figure = snapshots(two, records=[0, 5])
    captions = [ax.texts[0].get_text() for ax in figure.axes]
    assert captions == ["step 0 · t = 0", "step 5 · t = 0.5"] * 2
    assert [text.get_text() for text in figure.texts] == ["MMD", "other start"]
    assert [to_hex(text.get_color()) for text in figure.texts] == [
        readable(c, LIGHT.ground) for c in COLOURS[:2]
    ]


def test_default_columns_are_equally_far_apart_along_the_paths():
    path = run(steps=12)
    # A run that goes 1, 1/2, 1/4 ... a step: by path length its first steps count, by number they
    # would not.
    far = torch.cumsum(torch.tensor([0.0, *(0.5**k for k in range(12))], dtype=torch.float64), 0)
    slowing = with_particles(path, cloud(23).expand(13, 23, 2) + far[:, None, None])
    assert telling({"": slowing}, 5) == [0, 1, 2, 3, 12]
    steady = with_particles(path, cloud(23).expand(13, 23, 2) + torch.arange(13.0)[:, None, None])
    assert telling({"": steady}, 5) == [0, 3, 6, 9, 12]
    still = with_particles(path, cloud(23).expand(13, 23, 2).clone())
    assert telling({"": still}, 5) == [0, 3, 6, 9, 12]
    assert telling({"": run(steps=3)}, 5) == [0, 1, 2, 3]


def test_a_run_without_a_record_at_a_step_shows_its_last_before():
    paths = {"all": run(steps=12), "some": run(steps=12, every=5), "short": cut(run(steps=12), 4)}
    assert recorded(paths) == list(range(13))
    assert [record_at(paths["some"], step) for step in (0, 4, 5, 11, 12)] == [0, 0, 1, 2, 3]
    rows = np.array(snapshots(paths).axes).reshape(3, -1)
    last = [[ax for ax in row if ax.axison][-1] for row in rows]
    assert [ax.texts[0].get_text() for ax in last] == [
        "step 12 · t = 1.2",
        "step 12 · t = 1.2",
        "step 3 · t = 0.3",
    ]
    assert [ax.texts[1].get_text() for ax in last] == ["", "", "diverged"]
    np.testing.assert_array_equal(
        scatters(last[2])[1].get_offsets(), paths["short"].particles[3].numpy()
    )


def test_written_picture_has_the_flow_and_the_target_in_it(tmp_path, two):
    snapshots(two, tmp_path / "flow.png")
    with Image.open(tmp_path / "flow.png") as picture:
        image = np.asarray(picture.convert("RGB")).astype(int)
    assert image.shape[1] >= 800
    assert min(near(image, COLOURS[0]), near(image, COLOURS[1]), near(image, TARGET)) > 500
    assert near(image, COLOURS[2], 10) == 0
    assert has_white_edge(image)


def test_nothing_is_drawn_over_the_edge_of_the_figure(two):
    for figure in (
        snapshots(two),
        curves(two),
        snapshots(two["MMD"]),
        snapshots({"d = 1": run(d=1)}),
        snapshots({"d = 3": run(d=3)}),
    ):
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


def test_one_dimension_is_a_density_over_rugs():
    path = run(d=1)
    ax = snapshots(path, records=[-1]).axes[0]
    target, body, outline = ax.patches
    width = np.diff(body.get_data().edges)
    for shape, points in (
        (target, path.target),
        (body, path.particles[-1]),
        (outline, path.particles[-1]),
    ):
        values, edges, _ = shape.get_data()
        np.testing.assert_allclose(
            values, np.histogram(points[:, 0].numpy(), edges)[0] / len(points) / width
        )
        assert (values * width).sum() == pytest.approx(1.0)
    rugs = [line for line in ax.lines if line.get_marker() == "|"]
    np.testing.assert_array_equal(rugs[0].get_xdata(), path.target[:, 0].numpy())
    np.testing.assert_array_equal(rugs[1].get_xdata(), path.particles[-1, :, 0].numpy())


def test_many_dimensions_are_shown_in_the_plane_of_the_targets_principal_axes():
    path = run(d=4)
    spread = path.target @ torch.diag(torch.tensor([0.1, 1.0, 0.3, 5.0], dtype=torch.float64))
    path = replace(path, target=spread)
    ax = snapshots(path, records=[0]).axes[0]
    centred = spread - spread.mean(0)
    variance, axes = torch.linalg.eigh(centred.T @ centred)
    shown = np.asarray(scatters(ax)[1].get_offsets())
    for k in range(2):
        expected = (path.particles[0] @ axes[:, -1 - k]).numpy()
        np.testing.assert_allclose(np.abs(shown[:, k]), np.abs(expected), rtol=1e-6, atol=1e-9)
    share = 100 * float(variance[-1] / variance.sum())
    assert ax.get_xlabel() == f"PC 1 of the target ({share:.0f} %)"
    assert ax.get_ylabel().startswith("PC 2")


def test_masses_are_the_areas_of_the_markers():
    path = run()
    mass = torch.linspace(0.5, 1.5, 23, dtype=torch.float64) / 23
    weighted = replace(path, log_mass=mass.log().expand(13, 23))
    sizes = scatters(snapshots(weighted, records=[0]).axes[0])[1].get_sizes()
    plain = scatters(snapshots(path, records=[0]).axes[0])[1].get_sizes()
    np.testing.assert_allclose(sizes / plain, (23 * mass).numpy(), rtol=1e-12)


def test_a_weighted_target_is_drawn_with_its_masses():
    """As areas in the plane, as heights on the line; and in the one record of a film."""
    plane, line = run(), run(d=1)
    m = len(plane.target)
    mass = torch.linspace(0.5, 1.5, m, dtype=torch.float64) / m
    sizes = [
        scatters(snapshots(path, records=[0]).axes[0])[0].get_sizes()
        for path in (replace(plane, target_log_mass=mass.log()), plane)
    ]
    np.testing.assert_allclose(sizes[0] / sizes[1], (m * mass).numpy(), rtol=1e-12)
    mass = torch.full((m,), 0.2 / m, dtype=torch.float64)
    mass[line.target[:, 0] > line.target.median()] = 1.8 / m
    values, edges, _ = (
        snapshots(replace(line, target_log_mass=mass.log())).axes[0].patches[0].get_data()
    )
    held = np.histogram(line.target[:, 0].numpy(), edges, weights=mass.numpy())[0]
    np.testing.assert_allclose(values / values.sum(), held / held.sum(), rtol=1e-9)
    state = next(iter(pf.iterate(pf.mmd_flow(KERNEL), plane.particles[0], plane.target, dt=0.1)))
    assert (
        one_record(state, pf.Cloud(plane.target, log_mass=mass.log())).target_log_mass is not None
    )


def test_particles_that_flew_off_are_counted_and_do_not_set_the_axes():
    path = run()
    particles = path.particles.clone()
    particles[-1, :3] = 1e5
    far = snapshots(with_particles(path, particles), records=[0, -1]).axes
    close = snapshots(path, records=[0, -1]).axes
    assert [ax.texts[1].get_text() for ax in far] == ["", "3 of 23 outside"]
    assert far[1].get_xlim()[1] < 2 * close[1].get_xlim()[1]


def reel(paths, steps, *, trails=TRAIL, between=True):
    """The reel of a film of runs at some steps, as `animate` makes it of small smooth runs."""
    scene = Scene.of(paths, steps, between=frozenset(paths) if between else frozenset())
    at = np.array(steps, float)
    known = {name: distance(run, at, between=between) for name, run in paths.items()}
    found = {name: value for name, value in known.items() if value is not None}
    return Reel(scene, dict.fromkeys(paths, Look(trails=trails)), distances=found)


def test_film_has_the_frames_the_durations_and_the_particles(tmp_path, two):
    file = animate(two, tmp_path / "flow.gif", fps=10, seconds=1.0)
    assert list(tmp_path.iterdir()) == [file] == [tmp_path / "flow.gif"]
    with Image.open(file) as film:
        assert film.n_frames == 10
        assert film.info["loop"] == 0
        assert film.size[0] >= 600
        lasts = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert lasts[1:-1] == [100] * 8
    assert sum(lasts) == 1000 * (1.0 + sum(HOLD))
    images = frames(file)
    assert all((a != b).any() for a, b in itertools.pairwise(images))
    for image in images:
        assert has_white_edge(image)
        assert min(near(image, COLOURS[0]), near(image, COLOURS[1]), near(image, TARGET)) > 100


def jumps(*, records=13):
    """A run whose particles are drawn anew at each record."""
    return with_particles(run(), torch.stack([cloud(23, seed=k) for k in range(records)]))


def test_fewer_records_of_a_brownian_motion_make_fewer_frames_of_a_film_as_long(tmp_path):
    path = jumps(records=5)
    with Image.open(animate(path, tmp_path / "flow.gif", fps=20, seconds=2.0)) as film:
        lasts = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert (len(lasts), sum(lasts)) == (5, 1000 * (2.0 + sum(HOLD)))


def test_frames_are_what_a_full_redraw_would_show(tmp_path):
    """Drawing only what moves, a palette of 255 colours and leaving unchanged pixels out lose
    nothing that can be seen.
    """
    path = {"MMD": run()}
    images = frames(animate(path, tmp_path / "flow.gif", fps=13, seconds=1.0, pace="steps"))
    film = reel(path, recorded(path))
    assert len(images) == len(film) == 13
    for k, image in enumerate(images):
        film.frame(k)
        for artist in film.moving():
            artist.set_animated(False)
        error = np.abs(pixels(film.canvas.figure).astype(int) - image)
        for artist in film.moving():
            artist.set_animated(True)
        assert error.mean() < 0.5
        assert (error.max(-1) > 48).mean() < 1e-3


def test_panels_of_a_film_follow_the_records():
    path = run()
    film = reel({"MMD": path}, recorded({"": path}))
    film.frame(7)
    panel = film.panels[0]
    np.testing.assert_array_equal(panel.particles.artist.get_offsets(), path.particles[7].numpy())
    assert panel.caption.get_text() == "step 7 · t = 0.7"


@pytest.mark.parametrize("between", [True, False])
def test_a_trail_is_the_last_share_of_the_path(between):
    path = run()
    film = reel({"MMD": path}, recorded({"": path}), between=between)
    film.frame(7)
    gone = travelled(path)
    first = int(np.searchsorted(gone, gone[7] - TRAIL))
    assert 0 < first < 7
    parts = [part for part, _ in film.panels[0].trails.strokes]
    trails = [part.vertices.reshape(23, -1, 2) for part in parts]
    whole = np.concatenate([trails[0][:, :1], *(part[:, 1:] for part in trails)], axis=1)
    expected = path.particles[first:8].transpose(0, 1).numpy()
    if between:  # it begins where the share is exact
        share = (gone[7] - TRAIL - gone[first - 1]) / (gone[first] - gone[first - 1])
        begin = torch.lerp(path.particles[first - 1], path.particles[first], float(share))
        np.testing.assert_allclose(whole[:, 0], begin.numpy(), atol=1e-12)
        whole = whole[:, 1:]
    np.testing.assert_array_equal(whole, expected)


def test_a_brownian_motion_has_no_direction():
    assert steady(run())
    assert not steady(jumps())
    assert not steady(pf.simulate(pf.langevin(lambda z: -z), cloud(37), steps=40, dt=0.05))


def test_palette_keeps_white_and_the_flows_colours_exactly():
    names = [LIGHT.ground, *COLOURS]
    exact = np.array([[*(round(255 * c) for c in to_rgb(name)), 255] for name in names], np.uint8)
    noise = np.random.default_rng(0).integers(0, 2**32, (50, 50), dtype=np.uint32)
    palette = Palette([noise], names, DISCS)
    found = palette.colours[palette.indices(exact.view(np.uint32)[:, 0])]
    np.testing.assert_array_equal(found, exact[:, :3])
    assert palette.table.max() < 255


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_many_runs_keep_their_order_and_stay_inside(tmp_path, count):
    path = run(steps=1)
    paths = {f"a run with a long name {k}": path for k in range(count)}
    figure = snapshots(paths)
    assert len(figure.axes) == 2 * count
    image = frames(animate(paths, tmp_path / "flow.gif", seconds=0.2, dpi=100))[0]
    assert has_white_edge(image)
    assert all(near(image, colour(k)) > 50 for k in range(count))


@pytest.mark.parametrize("d", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_poor_trajectories_are_drawn(tmp_path, d):
    path = run(d=d, steps=2)
    nan = torch.full_like(path.energy, float("nan"))
    one = with_particles(path, path.particles[:1], metrics={})
    poor = {
        "no numbers": replace(path, energy=nan, metrics={"W2": nan}),
        "infinite": replace(
            path,
            energy=nan + float("inf"),
            metrics={"W2": torch.tensor([1.0, float("inf"), 2.0], dtype=torch.float64)},
        ),
        "no target": replace(path, target=None, metrics={}),
        "one record": one,
        "one particle": with_particles(path, path.particles[:, :1], status="diverged"),
        "no extent": with_particles(
            path,
            torch.zeros(3, 5, d, dtype=torch.float64),
            target=torch.zeros(2, d, dtype=torch.float64),
        ),
        "no extent far away": with_particles(
            path, torch.full((3, 5, d), 1e9, dtype=torch.float64), target=None
        ),
        "nothing": replace(one, energy=nan[:1], target=None),
        "float32": with_particles(path, path.particles.float(), target=path.target.float()),
        "gone": with_particles(
            path,
            path.particles * torch.tensor([1, 1e7, 1e12], dtype=torch.float64)[:, None, None],
            status="diverged",
        ),
    }
    for name, each in poor.items():
        assert pixels(snapshots(each, records=[-1])).min() < 200, name
    for each in (poor, poor["nothing"]):
        assert pixels(curves(each)).min() < 200
        assert len(frames(animate(each, tmp_path / "flow.gif", fps=3, seconds=1.0))) == (
            3 if each is poor else 1
        )


def test_pyplot_is_left_alone(tmp_path, two):
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    snapshots(two, tmp_path / "a.png")
    curves(two, tmp_path / "b.pdf")
    animate(two, tmp_path / "c.gif", fps=5, seconds=1.0)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_methods_of_the_trajectory_draw_the_same(tmp_path):
    path = run()
    figure = path.plot(tmp_path / "a.png", records=[0, -1])
    np.testing.assert_array_equal(pixels(figure), pixels(snapshots(path, records=[0, -1])))
    assert len(frames(path.animate(tmp_path / "a.gif", fps=4, seconds=1.0))) == 4


def test_bad_input_is_refused_with_the_remedy(tmp_path, two):
    path = two["MMD"]
    for text, draw in {
        r"`file` must end in \.gif \.mp4, got 'flow\.mov'.*'flow\.gif'": lambda: animate(
            path, "flow.mov"
        ),
        r"`file` must end in .*\.png.*got 'flow\.xyz'": lambda: snapshots(path, "flow.xyz"),
        r"`fps` must be at most 50 for a \.gif file, got 60": lambda: animate(
            path, "flow.gif", fps=60
        ),
        r"`seconds` must be > 0, got 0": lambda: animate(path, "flow.gif", seconds=0.0),
    }.items():
        with pytest.raises(ValueError, match=text):
            draw()
    for draw in (snapshots, curves, animate):
        suffix = "gif" if draw is animate else "png"
        with pytest.raises(
            FileNotFoundError, match=r"`file` .*nowhere.* folder does not exist: make it"
        ):
            draw(path, tmp_path / "nowhere" / f"flow.{suffix}")
        (tmp_path / f"taken.{suffix}").mkdir(exist_ok=True)
        with pytest.raises(OSError, match=r"`file` .*taken.* could not be written: .*choose"):
            draw(path, tmp_path / f"taken.{suffix}")
        with pytest.raises(
            ValueError, match=r"`paths` must live in one space.*'MMD': 2, 'line': 1.*one by one"
        ):
            draw({"MMD": path, "line": run(d=1)}, tmp_path / f"flow.{suffix}")
        with pytest.raises(ValueError, match=r"`paths` must hold at least one run"):
            draw({}, tmp_path / f"flow.{suffix}")
    for records in ([13], [], [0, -14]):
        with pytest.raises(ValueError, match=r"`records` must be"):
            snapshots(path, records=records)
    assert not list(tmp_path.glob("*.part"))


def test_no_source_imports_pyplot():
    sources = list(Path(pf.plotting.__file__).parent.rglob("*.py"))
    assert len(sources) > 3
    assert not [
        source.name
        for source in sources
        if re.search(r"^\s*(from|import)\b.*\bpyplot\b", source.read_text(), re.MULTILINE)
    ]
