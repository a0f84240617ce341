"""Curves of metrics and energies: what the lines hold, the words beside them, the ticks."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import particleflow as pf
from particleflow.plotting import curves
from particleflow.plotting.figures.ends import spread
from particleflow.plotting.scenes.ticks import logarithmic
from particleflow.plotting.style import DARK, LIGHT, contrast, stroke

KERNEL = pf.kernels.Gaussian(0.5)
FLOOR = "floor: two fresh samples"


def cloud(n, d=2, *, seed=0, shift=0.0):
    made = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made + shift


@functools.cache
def run(*, seed=0, dt=0.1, width=0.5):
    """A real MMD flow, N != M. The same arguments give the same object: nobody changes it."""
    return pf.simulate(
        pf.mmd_flow(pf.kernels.Gaussian(width)),
        0.3 * cloud(23, seed=seed),
        cloud(31, seed=1, shift=0.5),
        steps=12,
        dt=dt,
        save=pf.SaveAt(every=1),
        metrics={"W2": pf.metrics.W2()},
    )


def cut(path, records, status="diverged"):
    """The first records of a run that ended early."""
    fewer = {
        name: getattr(path, name)[:records] for name in ("particles", "times", "steps", "energy")
    }
    metrics = {name: v[:records] for name, v in path.metrics.items()}
    return replace(path, **fewer, metrics=metrics, status=status)


def lines(ax):
    """The curves, without floors and without lines that lead to names."""
    return [line for line in ax.lines if not line.get_label().startswith("_")]


def names(ax):
    return [text.get_text() for text in ax.texts if text.get_text() != FLOOR]


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure.canvas.get_renderer()


@pytest.fixture(scope="module")
def two():
    return {"MMD": run(), "other start": run(seed=7)}


def test_curves_hold_the_recorded_numbers_and_name_the_axes(two):
    figure = curves(two)
    assert [ax.get_ylabel() for ax in figure.axes] == ["W2 (root)", "energy"]
    recorded = [[p.metrics["W2"] for p in two.values()], [p.energy for p in two.values()]]
    for ax, values in zip(figure.axes, recorded, strict=True):
        assert len(lines(ax)) == 2
        for k, (line, path, value) in enumerate(zip(lines(ax), two.values(), values, strict=True)):
            np.testing.assert_array_equal(line.get_xdata(), path.steps.numpy())
            np.testing.assert_array_equal(line.get_ydata(), value.numpy())
            assert line.get_color() == LIGHT.runs[k]
        assert ax.get_xlabel() == "step (dt = 0.1)"
        assert names(ax) == ["MMD", "other start"]
    assert "each flow has its own dt" in curves({**two, "finer": run(dt=0.05)}).axes[0].get_xlabel()


def test_curves_are_logarithmic_where_mostly_positive_and_more_than_a_decade():
    decades = torch.logspace(0, -3, 13, dtype=torch.float64)
    negative = torch.linspace(100, -20, 13, dtype=torch.float64)
    narrow = torch.linspace(1, 2, 13, dtype=torch.float64)
    rounding = torch.linspace(100, 0, 13, dtype=torch.float64)
    metrics = {"decades": decades, "negative": negative, "rounding": rounding}
    figure = curves(replace(run(), energy=narrow, metrics=metrics))
    scales = {ax.get_ylabel(): ax.get_yscale() for ax in figure.axes}
    assert scales == {"decades": "log", "negative": "linear", "rounding": "log", "energy": "linear"}


def test_a_cross_marks_where_a_run_ended_early(two):
    for ax in curves({**two, "short": cut(two["MMD"], 5, "not converged")}).axes:
        crosses = [line for line in ax.lines if line.get_marker() == "X"]
        found = [(cross.get_xdata()[0], cross.get_color()) for cross in crosses]
        assert found == [(4, LIGHT.runs[2])]
        assert names(ax) == ["MMD", "other start", "short: not converged"]


def test_powers_are_superscripts():
    path = run()
    squared = replace(path, metrics={"MMD^2": path.energy, "x^-12": path.energy})
    assert [ax.get_ylabel() for ax in curves(squared).axes[:2]] == ["MMD²", "x⁻¹²"]


def test_energies_of_different_flows_are_shown_over_their_starts(two):
    other = run(width=1.0)
    ax = curves({"narrow": run(), "wide": other}, metrics=["energy"]).axes[0]
    assert ax.get_ylabel() == "own energy / start"
    for line, path in zip(lines(ax), (run(), other), strict=True):
        np.testing.assert_allclose(line.get_ydata(), (path.energy / path.energy[0]).numpy())
    below = replace(other, energy=other.energy - 1)
    ax = curves({"narrow": run(), "wide": below}, metrics=["energy"]).axes[0]
    assert ax.get_ylabel() == "energy (each flow's own)"
    np.testing.assert_array_equal(lines(ax)[1].get_ydata(), below.energy.numpy())


def test_several_runs_of_a_name_are_a_median_in_a_band():
    seeds = [run(seed=k) for k in (0, 2, 3, 4, 5)]
    figure = curves({"MMD": seeds, "one": run(seed=7)}, metrics=["W2"])
    ax = figure.axes[0]
    values = np.stack([path.metrics["W2"].numpy() for path in seeds])
    np.testing.assert_allclose(lines(ax)[0].get_ydata(), np.median(values, axis=0))
    np.testing.assert_array_equal(lines(ax)[1].get_ydata(), run(seed=7).metrics["W2"].numpy())
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    low, high = np.quantile(values, [0.1, 0.9], axis=0)
    for step in (0, 5, 12):
        at = corners[corners[:, 0] == step, 1]
        np.testing.assert_allclose([at.min(), at.max()], [low[step], high[step]])


def test_a_band_joins_runs_with_other_records_and_counts_those_that_ended_early():
    whole = run()
    sparse = pf.simulate(
        pf.mmd_flow(KERNEL),
        0.3 * cloud(23, seed=2),
        cloud(31, seed=1, shift=0.5),
        steps=12,
        dt=0.1,
        save=pf.SaveAt(every=6),
        metrics={"W2": pf.metrics.W2()},
    )
    ax = curves({"both": [whole, sparse, cut(whole, 4)]}, metrics=["W2"]).axes[0]
    middle = lines(ax)[0].get_ydata()
    assert len(middle) == 13
    ends = whole.metrics["W2"][12], sparse.metrics["W2"][2]
    assert middle[12] == pytest.approx(float(sum(ends)) / 2)
    between = float(sparse.metrics["W2"][0] * 4 + sparse.metrics["W2"][1] * 2) / 6
    assert middle[2] == pytest.approx(np.median([whole.metrics["W2"][2]] * 2 + [between]))
    assert names(ax) == ["both: 1 of 3 diverged"]


def test_names_stand_at_the_ends_of_their_lines_and_never_overlap():
    """Nine runs that end at the same place."""
    path = run()
    paths = {f"run number {k}": path for k in range(9)} | {"short": cut(path, 3)}
    figure = curves(paths, metrics=["W2"])
    renderer = drawn(figure)
    ax = figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in ax.texts if text.get_text() != FLOOR]
    assert len(boxes) == 10
    for k, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[k + 1 :])
        assert one.x0 > ax.get_window_extent().x1
        assert one.x1 < figure.bbox.x1
    leads = [line for line in ax.lines if line.get_label() == "_name"]
    assert len(leads) >= 9
    alone = curves({"a": path}, metrics=["W2"]).axes[0]
    assert not [line for line in alone.lines if line.get_label() == "_name"]


@pytest.mark.parametrize("seed", range(20))
def test_names_are_moved_least(seed):
    """The places are at least the gap apart, within the ends, in order, and no other such places
    tried at random are nearer in the sum of squares.
    """
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(0, 10, 7)
    found = spread(wanted, 1.0, 0.0, 10.0)
    order = wanted.argsort()
    assert np.diff(found[order]).min() >= 1 - 1e-12
    assert found.min() >= 0
    assert found.max() <= 10
    inside = spread(wanted, 1.0, -100.0, 100.0)
    moved = ((inside - wanted) ** 2).sum()
    for _ in range(200):
        other = inside + 0.1 * rng.normal(size=7)
        other[order] += np.concatenate([[0], np.maximum(0, 1 - np.diff(other[order])).cumsum()])
        assert ((other - wanted) ** 2).sum() >= moved - 1e-12


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2e-9, 7e-8, ["3·10⁻⁹", "10⁻⁸", "3·10⁻⁸"]),
        (0.9, 120, ["1", "10", "100"]),
        (0.09, 0.5, ["0.1", "0.2", "0.5"]),
        (0.03, 1.2, ["0.03", "0.1", "0.3", "1"]),
        (1e-9, 2e-7, ["10⁻⁹", "10⁻⁸", "10⁻⁷"]),
    ],
)
def test_a_logarithmic_axis_has_round_ticks(low, high, expected):
    ticks, labels = logarithmic(low, high)
    assert labels == expected
    assert all(low <= tick <= high for tick in ticks)


def test_no_logarithmic_axis_has_only_two_ticks():
    for low in np.logspace(-8, 8, 23):
        for share in np.logspace(0.02, 20, 60):
            ticks, labels = logarithmic(low, low * share)
            assert 3 <= len(ticks) <= 12, (low, share)
            assert len(set(labels)) == len(labels)


def test_every_axis_of_curves_has_three_ticks_or_more(two):
    figure = curves({**two, "finer": run(dt=0.05)})
    drawn(figure)
    for ax in figure.axes:
        for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            inside = [t for t in axis.get_majorticklocs() if min(ends) <= t <= max(ends)]
            assert len(inside) >= 3


def test_a_distance_is_drawn_above_its_floor() -> None:
    """The distance of two fresh samples of the target: one line for runs of one size, another for
    another size, none for a part of the points.
    """
    y = cloud(90, seed=1, shift=0.5)
    metrics = {
        "far": pf.metrics.W2(),
        "sliced": pf.metrics.SlicedW2(),
        "part": pf.metrics.W1(max_points=20),
        "mmd": pf.metrics.MMD(KERNEL),
    }
    with pytest.warns(RuntimeWarning, match="of 20 drawn"):
        runs = {
            name: pf.simulate(
                pf.mmd_flow(KERNEL), cloud(n, seed=2), y, steps=3, dt=0.1, metrics=metrics
            )
            for name, n in (("a", 40), ("b", 40), ("c", 25))
        }

    def floors(ax):
        found = [line for line in ax.lines if line.get_label() == "_floor"]
        return {float(line.get_ydata()[0]): to_hex(line.get_color()) for line in found}

    expected = runs["a"].summary().floor
    both = [floors(ax) for ax in curves({name: runs[name] for name in ("a", "b")}).axes]
    faint = LIGHT.faint.lower()
    assert both[0] == {expected: faint}
    assert both[1] == {pf.metrics.floor(pf.metrics.SlicedW2(), y, 40).value: faint}
    assert both[2:] == [{}, {}, {}]
    far, _, part, *_ = curves(runs).axes
    assert {*floors(far)} == {runs[name].summary().floor for name in ("a", "c")}
    assert [text.get_text() for text in far.texts if text.get_text() not in runs] == [FLOOR]
    assert far.get_ylim()[0] < expected
    assert part.get_ylabel() == "W1, of 20 drawn"


def test_the_name_of_the_floor_is_where_no_curve_is():
    path = run()
    floor = path.summary().floor
    for values in (np.linspace(1.01, 4, 13), np.linspace(4, 1.01, 13), np.linspace(0.2, 1.2, 13)):
        near = replace(path, metrics={"W2": torch.from_numpy(values * floor)})
        figure = curves({"a": near}, metrics=["W2"])
        renderer, ax = drawn(figure), figure.axes[0]
        (word,) = [text for text in ax.texts if text.get_text() == FLOOR]
        box = word.get_window_extent(renderer)
        steps = np.linspace(0, 12, 300)
        at = ax.transData.transform(
            np.stack([steps, np.interp(steps, *lines(ax)[0].get_data())], 1)
        )
        assert not any(box.contains(x, y) for x, y in at)


def test_options_act(two):
    figure = curves(two, title="Two runs", dark=True, size=7.0, dpi=90, metrics=["energy", "W2"])
    assert figure.get_figwidth() == pytest.approx(7.0)
    assert figure.dpi == 90
    assert to_hex(figure.get_facecolor()) == DARK.ground.lower()
    assert [ax.get_ylabel() for ax in figure.axes] == ["energy", "W2 (root)"]
    (title,) = [text for text in figure.axes[0].texts if text.get_text() == "Two runs"]
    assert to_hex(title.get_color()) == DARK.ink.lower()
    for text in figure.axes[1].texts:
        assert contrast(to_hex(text.get_color()), DARK.ground) >= 4.5
    assert lines(figure.axes[0])[0].get_color() == stroke(0, DARK).colour


def test_lines_of_a_users_figure(two):
    own = Figure(figsize=(6, 3))
    axes = own.subplots(1, 2)
    assert curves(two, ax=axes) is own
    assert [ax.get_ylabel() for ax in axes] == ["W2 (root)", "energy"]
    alone = Figure().subplots()
    curves(two, ax=alone, metrics=["W2"])
    assert len(lines(alone)) == 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"metrics": ["W3"]}, ValueError, r"`metrics` must be .* got \['W3'\]: pass some of W2, e"),
        ({"metrics": []}, ValueError, r"`metrics` must be"),
        ({"metrics": "W2"}, TypeError, r"`metrics` must be several, got 'W2'"),
        ({"ax": Figure().subplots()}, ValueError, r"`ax` must be one for each .* got 1 axes"),
        ({"ax": 3}, TypeError, r"`ax` must be Axes"),
        ({"title": 3}, TypeError, r"`title` must be a text, got 3"),
        ({"dark": 1}, TypeError, r"`dark` must be True or False"),
        ({"size": -1.0}, ValueError, r"`size` must be > 0"),
        ({"size": 1.0}, ValueError, r"`size` must hold 2 panels, got 1: pass"),
        ({"size": 3.0, "ax": Figure().subplots(1, 2)}, ValueError, r"`size` cannot be used with"),
        ({"dpi": 0}, ValueError, r"`dpi` must be >= 1"),
    ],
)
def test_bad_options_are_refused(two, options, error, words):
    with pytest.raises(error, match=words):
        curves(two, **options)


@pytest.mark.usefixtures("unchecked")
def test_bad_groups_are_refused():
    with pytest.raises(ValueError, match=r"`paths` must hold a run for each name, got \['b'\]"):
        curves({"a": run(), "b": []})
    with pytest.raises(TypeError, match=r"`paths` must be a Trajectory"):
        curves({"a": [run(), 3]})
