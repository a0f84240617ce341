"""The field of a flow, against closed forms: what the tones and arrows hold."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

import particleflow as pf
from particleflow.plotting import field
from particleflow.plotting.style import DARK

L = 0.6
KERNEL = pf.kernels.Gaussian(L)
FLOW = pf.mmd_flow(KERNEL)
RATIO = pf.mono_flow(pf.estimators.KDE(KERNEL))


def cloud(n, d=2, *, seed=0, scale=1.0, shift=0.0):
    made = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * made + shift


@functools.cache
def run(d=2):
    """A real MMD flow of two small clouds, N != M; nobody changes it."""
    start, target = cloud(9, d, scale=0.3), cloud(14, d, seed=1, shift=0.7)
    return pf.simulate(FLOW, start, target, steps=6, dt=0.2, save=pf.SaveAt(every=2))


@functools.cache
def seen(d=2):
    """The same run, which has recorded witness and velocities."""
    save = pf.SaveAt(every=2, witness=True, velocity=True)
    start, target = cloud(9, d, scale=0.3), cloud(14, d, seed=1, shift=0.7)
    return pf.simulate(FLOW, start, target, steps=6, dt=0.2, save=save)


def kernel(z, points):
    """k(z_i, p_j) and z_i - p_j."""
    away = z[:, None] - points
    return np.exp(-(away**2).sum(-1) / (2 * L**2)), away


def witness(z, x, y):
    """mean_j k(y_j, z) - mean_i k(x_i, z)."""
    return kernel(z, y)[0].mean(1) - kernel(z, x)[0].mean(1)


def gradient(z, x, y):
    def mean(points):
        k, away = kernel(z, points)
        return -(k[..., None] * away / L**2).mean(1)

    return mean(y) - mean(x)


def pixels_of(image):
    """The places of an image's pixels, and their values, as (Q, 2) and (Q,)."""
    values = np.asarray(image.get_array())
    left, right, bottom, top = image.get_extent()
    height, width = values.shape
    x = left + (np.arange(width) + 0.5) / width * (right - left)
    y = bottom + (np.arange(height) + 0.5) / height * (top - bottom)
    assert image.origin == "lower"
    return np.stack([side.ravel() for side in np.meshgrid(x, y)], axis=1), values.ravel()


def arrows_of(ax):
    (quiver,) = [artist for artist in ax.collections if isinstance(artist, Quiver)]
    return np.array(quiver.get_offsets()), np.stack([quiver.U, quiver.V], axis=1)


@pytest.mark.parametrize(("at", "record"), [(-1, 3), (1, 1), (0.4, 1), (0.5, 1), (0.0, 0)])
def test_the_tones_are_the_witness_of_the_recorded_clouds(at, record):
    """The mean difference of kernels, at the pixels, of the cloud at a record or before a time."""
    path = run()
    ax = field(path, flow=FLOW, at=at).axes[0]
    z, values = pixels_of(ax.images[0])
    expected = witness(z, path.particles[record].numpy(), path.target.numpy())
    np.testing.assert_allclose(values, expected, atol=1e-6)
    low, high = ax.images[0].get_clim()
    assert low == -high
    assert ax.texts[0].get_text().startswith(f"step {2 * record} ")


def test_the_arrows_are_the_velocity():
    """They point along grad w, and their lengths are as those of grad w below the longest ones."""
    path = run()
    z, moved = arrows_of(field(path, flow=FLOW, at=0).axes[0])
    expected = gradient(z, path.particles[0].numpy(), path.target.numpy())
    speed, length = np.linalg.norm(expected, axis=1), np.linalg.norm(moved, axis=1)
    cosines = (moved * expected).sum(1) / (speed * length)
    assert cosines.min() > 1 - 1e-6
    shorter = length < 0.999 * length.max()
    assert 0.9 < shorter.mean() < 1
    ratio = length[shorter] / speed[shorter]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert speed[~shorter].min() >= speed[shorter].max()


def test_noise_and_mobility_act_as_in_the_velocity_without_noise():
    path = run()
    noisy = pf.mmd_flow(KERNEL, noise=0.5)
    plain = arrows_of(field(path, flow=FLOW, at=1).axes[0])[1]
    np.testing.assert_allclose(arrows_of(field(path, flow=noisy, at=1).axes[0])[1], plain)
    ax = field(path, flow=RATIO, at=1, what="velocity").axes[0]
    z, speed = pixels_of(ax.images[0])
    fit = pf.fit(RATIO.estimator, path.particles[1], path.target)
    expected = fit.witness.value_and_grad(torch.from_numpy(z))[1].norm(dim=1).numpy()
    np.testing.assert_allclose(speed, expected, rtol=1e-5, atol=1e-8)
    assert ax.images[0].get_clim()[0] >= 0


def test_a_log_ratio_is_that_of_the_kernel_densities():
    path = run()
    z, values = pixels_of(field(path, flow=RATIO, at=2, what="log ratio").axes[0].images[0])
    x, y = path.particles[2].numpy(), path.target.numpy()
    fitted = pf.fit(RATIO.estimator, path.particles[2], path.target)
    np.testing.assert_allclose(
        values, fitted.witness.value_and_grad(torch.from_numpy(z))[0].numpy(), rtol=1e-5, atol=1e-6
    )
    centre = np.linalg.norm(z - (x.mean(0) + y.mean(0)) / 2, axis=1) < 0.3
    plain = np.log(kernel(z, y)[0].mean(1) / kernel(z, x)[0].mean(1))
    assert np.corrcoef(values[centre], plain[centre])[0, 1] > 0.99


def test_a_log_density_is_shown_in_tones_of_one_sign():
    gaussian = pf.samplers.Gaussian(dim=2)
    flow = pf.langevin(gaussian)
    path = pf.simulate(flow, cloud(9), steps=4, dt=0.01)
    image = field(path, flow=flow).axes[0].images[0]
    z, values = pixels_of(image)
    expected = gaussian.log_density(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert image.get_clim()[1] <= 0


@pytest.mark.parametrize("what", ["witness", "velocity"])
def test_on_a_line_the_field_is_a_curve(what):
    path = run(1)
    ax = field(path, flow=FLOW, at=0, what=what).axes[0]
    x, y = path.particles[0].numpy(), path.target.numpy()
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    z = np.asarray(curve.get_xdata())[:, None]
    expected = witness(z, x, y) if what == "witness" else gradient(z, x, y)[:, 0]
    np.testing.assert_allclose(curve.get_ydata(), expected, atol=1e-6)
    at, moved = arrows_of(ax)
    slope = gradient(at[:, :1], x, y)[:, 0]
    assert (np.sign(moved[:, 0]) == np.sign(slope)).all()
    assert not moved[:, 1].any()
    assert ax.get_ylabel() == ("witness w" if what == "witness" else "velocity v")


def test_options_act():
    path = run()
    figure = field(
        path, flow=FLOW, title="Here", xlim=(-1, 2), ylim=(0, 1.5), dark=True, size=4.0, dpi=90
    )
    ax = figure.axes[0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 2), (0, 1.5))
    assert figure.get_figwidth() == pytest.approx(4.0)
    assert figure.dpi == 90
    assert to_hex(figure.get_facecolor()) == DARK.ground.lower()
    assert "Here" in [text.get_text() for text in ax.texts]
    bare = field(path, flow=FLOW, arrows=False, points=False).axes[0]
    full = field(path, flow=FLOW).axes[0]
    assert len(full.collections) == len(bare.collections) + 3
    own = Figure(figsize=(5, 5))
    cell = own.subplots()
    assert field(path, flow=FLOW, ax=cell) is own
    assert len(cell.images) == 1


def test_nothing_is_drawn_over_the_edge_of_the_figure(tmp_path):
    for path in (run(), run(1)):
        figure = field(path, tmp_path / "field.png", flow=FLOW, title="A long title of a field")
        FigureCanvasAgg(figure).draw()
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
    assert (tmp_path / "field.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"flow": None},
            TypeError,
            r"`flow` is needed where .* pass the flow that made",
        ),
        ({"flow": pf.estimators.KDE()}, TypeError, r"`flow` must be a Flow, got KDE"),
        (
            {"what": "speed"},
            ValueError,
            r"`what` must be one of 'witness', 'log ratio', 'velocity'",
        ),
        ({"what": "log ratio"}, ValueError, r"`what` must be 'witness' for a potential, got MMD's"),
        ({"at": 4}, ValueError, r"`at` must be an index of the 4 records, got 4"),
        ({"at": -5}, ValueError, r"`at` must be >= -4"),
        (
            {"at": 1.7},
            ValueError,
            r"`at` must be a time between 0 and 1.2, got 1.7: pass the index",
        ),
        ({"at": "last"}, TypeError, r"`at` must be an integer, got 'last'"),
        ({"arrows": 1}, TypeError, r"`arrows` must be True or False"),
        ({"points": None}, TypeError, r"`points` must be True or False"),
        ({"title": 1}, TypeError, r"`title` must be a text"),
        ({"ax": 1}, TypeError, r"`ax` must be Axes"),
        ({"xlim": (2, 1)}, ValueError, r"`xlim` must increase, got \(2.0, 1.0\)"),
        ({"ylim": 3}, TypeError, r"`ylim` must be several"),
        ({"dark": "yes"}, TypeError, r"`dark` must be True or False"),
        ({"size": 0}, ValueError, r"`size` must be > 0"),
        ({"size": 3, "ax": Figure().subplots()}, ValueError, r"`size` cannot be used with `ax`"),
        ({"dpi": 1.5}, TypeError, r"`dpi` must be an integer"),
        ({"file": "a.xyz"}, ValueError, r"`file` must end in"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        field(run(), **{"flow": FLOW, **options})


@pytest.mark.usefixtures("unchecked")
def test_bad_runs_are_refused():
    with pytest.raises(TypeError, match=r"`path` must be a Trajectory, got dict: pass what"):
        field({"a": run()}, flow=FLOW)
    with pytest.raises(ValueError, match=r"`path` must be a run in d <= 2, got d = 3: use snap"):
        field(run(3), flow=FLOW)
    with pytest.raises(ValueError, match=r"`path.target` must be .* for MMD, got None"):
        field(replace(run(), target=None), flow=FLOW)
    with pytest.raises(ValueError, match=r"`ylim` cannot be used: the points lie on a line"):
        field(run(1), flow=FLOW, ylim=(0, 1))


# ------------------------------------------------------------------ without a flow


def test_a_recorded_witness_needs_no_flow():
    path = seen()
    ax = field(path, at=1).axes[0]
    z, values = pixels_of(ax.images[0])
    x, y = path.particles[1].numpy(), path.target.numpy()
    np.testing.assert_allclose(values, witness(z, x, y), atol=1e-12)
    # arrows are the recorded velocities, where the particles are
    at, moved = arrows_of(ax)
    np.testing.assert_allclose(at, x)
    cosines = (moved * path.velocity[1].numpy()).sum(1)
    lengths = np.linalg.norm(moved, axis=1) * path.velocity[1].norm(dim=1).numpy()
    np.testing.assert_allclose(cosines, lengths, rtol=1e-6)
    alone = field(replace(path, velocity=None), at=1).axes[0]
    assert not [one for one in alone.collections if isinstance(one, Quiver)]


def test_a_recorded_witness_on_the_line_is_its_curve():
    path = seen(1)
    ax = field(path, at=0).axes[0]
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    x, w = curve.get_data()
    z, y = path.particles[0].numpy(), path.target.numpy()
    shown = np.isfinite(w)
    np.testing.assert_allclose(w[shown], witness(x[:, None], z, y)[shown], atol=1e-12)
    assert shown.mean() > 0.9


def test_what_was_not_recorded_is_refused_with_the_remedy():
    lost = seen().witness.clone()
    lost[2] = torch.nan
    for call, words in {
        (lambda: field(run())): r"`flow` is needed where .* got None at record 3: pass the flow"
        r" .*SaveAt\(witness=True\)",
        (lambda: field(replace(seen(), witness=lost), at=2)): "got None at record 2",
        (lambda: field(seen(), what="velocity")): "`flow` is needed to show the velocity",
    }.items():
        with pytest.raises(TypeError, match=words):
            call()
