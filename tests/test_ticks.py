"""Pictures of coordinates far from zero, very small and very large: no text is on another or cut
off, and the axis says what its numbers are.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from particleflow import Trajectory, kernels, metrics, mmd_flow, plotting, simulate
from particleflow.cli import report
from particleflow.cli.task import task as task_of
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.films.insets import distance
from particleflow.plotting.films.reel import Format, Reel
from particleflow.plotting.scenes.scene import Scene
from particleflow.plotting.scenes.ticks import Ticks

PLACES = {
    "origin": (0.0, 1.0),
    "5.4e6": (5.4e6, 1.0),
    "5400316.2": (5_400_316.2, 3.0),
    "minus 5e6": (-5e6, 0.1),
    "1e12": (1e12, 1.0),
    "1e-9": (0.0, 1e-9),
    "1e9": (0.0, 1e9),
    "a thousand": (1000.0, 0.01),
    "small and far": (7e-3, 1e-9),
}
MIXED = [5.4e6, 0.3, 1e-3]


def path_of(d, offset, scale) -> Trajectory:
    rng = torch.Generator().manual_seed(0)
    shift = torch.as_tensor(offset, dtype=torch.float64)
    x = scale * (0.3 * torch.randn(30, d, generator=rng, dtype=torch.float64) + 0.5) + shift
    y = scale * torch.randn(41, d, generator=rng, dtype=torch.float64) + shift
    flow = mmd_flow(kernels.Gaussian(0.5 * scale))
    return simulate(flow, x, y, steps=4, dt=0.6 * scale**2, metrics={"W2": metrics.W2()})


def boxes(figure):
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = {
        id(text): text for text in figure.findobj(Text) if text.get_text() and text.get_visible()
    }
    hidden = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond = [
                *axis.get_minor_ticks(),
                *(tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high),
            ]
            hidden |= {id(label) for tick in beyond for label in (tick.label1, tick.label2)}
            assert axis.get_offset_text().get_text() == ""
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for k, text in texts.items()
        if k not in hidden
    ]


def check(figure):
    found = boxes(figure)
    whole = figure.bbox
    for word, box in found:
        assert (
            min(box.x0 - whole.x0, whole.x1 - box.x1, box.y0 - whole.y0, whole.y1 - box.y1) > -1
        ), f"{word!r} leaves the figure"
    for (one, a), (two, b) in itertools.combinations(found, 2):
        across, along = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or along <= 1, f"{one!r} is on {two!r}"


CASES = [(name, d) for name in (*PLACES, "mixed") for d in (1, 2, 3)]
QUICK = {("5.4e6", 2), ("1e-9", 1), ("mixed", 3)}


@pytest.mark.parametrize(
    ("name", "d"),
    [pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in CASES],
)
def test_no_text_is_on_another_or_cut_off(name, d):
    offset, scale = PLACES.get(name, (MIXED[:d], 1.0))
    path = path_of(d, offset, scale)
    check(plotting.snapshots({"mmd": path, "kale": path}))
    check(plotting.snapshots(path))
    check(plotting.curves({"mmd": path, "kale": path}))
    both, steps = {"mmd": path, "kale": path}, path.steps.tolist()
    found = distance(path, np.array(steps, float), between=True)
    film = Reel(
        Scene.of(both, steps),
        dict.fromkeys(both, Look()),
        Format(title="Two flows"),
        distances={} if found is None else dict.fromkeys(both, found),
    )
    for artist in film.moving():
        artist.set_animated(False)
    film.frame(0)
    check(film.panels[0].ax.figure)


@pytest.mark.parametrize("name", PLACES)
def test_numbers_and_the_name_of_the_axis_give_the_coordinate(name):
    offset, scale = PLACES[name]
    low, high = offset - 2 * scale, offset + 3 * scale
    ticks = Ticks.between(low, high)
    said = ticks.said("x").replace("\N{MINUS SIGN}", "-")
    for value in np.linspace(low, high, 6):
        written = float(ticks.text(value).replace("\N{MINUS SIGN}", "-"))
        assert eval(said, {"x": value}) == pytest.approx(written, abs=2e-4 * scale / ticks.unit)
        assert len(ticks.text(value)) <= 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("5.4e6", "x - 5.4e6"),
        ("1e12", "x - 1e12"),
        ("1e-9", "x / 1e-9"),
        ("origin", "x"),
        ("minus 5e6", "x + 5e6"),
    ],
)
def test_the_axis_is_named_shortly(name, said):
    offset, scale = PLACES[name]
    assert (
        Ticks.between(offset - scale, offset + scale).said("x").replace("\N{MINUS SIGN}", "-")
        == said
    )


def test_a_heading_shows_a_few_of_many_means(tmp_path):
    np.save(tmp_path / "wide.npy", np.random.default_rng(0).normal(size=(310, 300)))
    heading = report.heading(
        task_of({"target": str(tmp_path / "wide.npy"), "dt": 1e-3, "steps": 1, "n": 11}, ["mmd"])
    )
    assert "... (300 in all)), " in heading
    assert max(map(len, heading.splitlines())) < 200
