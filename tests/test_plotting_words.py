"""The words and sizes of pictures: names and titles of users, too many pixels, files in the way."""

from __future__ import annotations

import functools
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from seen import normal as cloud

import particleflow as pf
from particleflow.plotting import animate, curves, field, film, player, snapshots

KERNEL = pf.kernels.Gaussian(0.5)
FLOW = pf.mmd_flow(KERNEL)
# Texts that are a wrong formula, a right one, and one with an escaped sign.
DOLLARS = (r"costs $\frac", "from $a$ to $b$", r"a \$ and $x$")
LONG = "a title that says at great length what the picture below it shows " * 3


@functools.cache
def run(steps=8, n=12):
    return pf.simulate(
        FLOW,
        0.3 * cloud(n, 2, seed=0),
        cloud(17, 2, seed=1),
        steps=steps,
        dt=0.1,
        metrics={"W2": pf.metrics.W2()},
    )


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure.canvas.get_renderer()


def said(figure):
    return [text for text in figure.findobj(Text) if text.get_text()]


PICTURES = {
    "snapshots": lambda name, title, **how: snapshots({name: run()}, title=title, **how),
    "curves": lambda name, title, **how: curves({name: run()}, title=title, **how),
    "field": lambda name, title, **how: field(run(), flow=FLOW, title=title, **how),
}


@pytest.mark.parametrize("text", DOLLARS)
@pytest.mark.parametrize("kind", PICTURES)
def test_a_dollar_sign_is_a_dollar_sign(kind, text):
    figure = PICTURES[kind](text, text)
    drawn(figure)
    assert any(one.get_text() == text for one in said(figure))
    assert not any(one.get_parse_math() for one in said(figure))


def test_a_film_takes_names_as_they_are(tmp_path):
    runs = {DOLLARS[0]: run(), DOLLARS[1]: run()}
    file = animate(runs, tmp_path / "a.gif", title=DOLLARS[2], seconds=0.2, dpi=60)
    assert file.stat().st_size > 1000


def test_formulas_that_users_wrote_into_their_own_figure_stay_formulas():
    figure, (ax, other) = plt.subplots(1, 2)
    other.set_title("$x$")
    ax.set_title("$y$", loc="right")
    snapshots({"$n$": run()}, ax=ax, title="$t$")
    formulas = {text.get_text(): text.get_parse_math() for text in said(figure)}
    assert formulas["$x$"]
    assert formulas["$y$"]
    assert not formulas["$t$"]
    plt.close(figure)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_long_title_ends_within_the_picture(kind):
    figure = PICTURES[kind]("mmd", LONG)
    renderer = drawn(figure)
    (title,) = [text for text in said(figure) if text.get_text().replace("\n", " ") == LONG]
    box = title.get_window_extent(renderer)
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    others = [one for ax in figure.axes for one in (*ax.texts, ax.xaxis.label, ax.yaxis.label)]
    boxes = [one.get_window_extent(renderer) for one in others if one is not title]
    assert not any(box.overlaps(other) for other in boxes)


@pytest.mark.parametrize("kind", ["snapshots", "curves"])
def test_a_name_has_one_line(kind):
    figure = PICTURES[kind]("two\nlines", "a title\nof two lines")
    texts = [text.get_text() for text in said(figure)]
    assert "two lines" in texts
    assert "a title of two lines" in texts
    both = {"a\nb": run(), "a b": run()}
    assert {"a\nb", "a b"} <= {text.get_text() for text in said(snapshots(both))}


@pytest.mark.parametrize("metrics", [{}, {"W2": 0}])
@pytest.mark.parametrize("status", ["unstable", "not converged"])
def test_the_status_at_the_end_of_a_line_is_not_cut_off(status, metrics):
    ended = replace(run(), status=status)
    for paths in (ended, {"mmd": ended}, {"a": run(), "b": [ended, run()]}):
        figure = curves(paths, metrics=list(metrics) or None)
        renderer = drawn(figure)
        boxes = [ax.get_window_extent() for ax in figure.axes]
        for ax in figure.axes:
            for text in ax.texts:
                if status not in text.get_text():
                    continue
                box = text.get_window_extent(renderer)
                assert box.x1 <= figure.bbox.x1
                assert not any(box.overlaps(other) for other in boxes)
                labels = [other.yaxis.label.get_window_extent(renderer) for other in figure.axes]
                assert not any(box.overlaps(other) for other in labels)


def test_one_record_is_one_tick():
    path = run()
    first = {name: values[:1] for name, values in path.metrics.items()}
    parts = {name: getattr(path, name)[:1] for name in ("particles", "times", "steps", "energy")}
    figure = curves(replace(path, **parts, metrics=first))
    assert all(list(ax.get_xticks()) == [0] for ax in figure.axes)


def test_floors_that_cannot_be_told_apart_are_one_line():
    runs = {name: run(n=n) for name, n in (("a", 12), ("b", 12), ("c", 13))}
    floors = {name: path.nearness.floor for name, path in runs.items()}
    count = lambda paths: sum(
        line.get_label() == "_floor" for line in curves(paths, metrics=["W2"]).axes[0].lines
    )
    assert count({name: runs[name] for name in "ab"}) == 1
    assert floors["a"] != floors["c"]
    alike = max(floors.values()) <= 1.02 * min(floors.values())
    assert count(runs) == (1 if alike else 3)


def test_a_run_that_has_ended_is_not_drawn_again():
    figure = snapshots({"long": run(8), "short": run(4)}, records=[0, 4, 6, 8])
    seen = [[t.get_text() for t in ax.texts if "step" in t.get_text()] for ax in figure.axes]
    steps = [texts[0].split(" · ")[0] if texts else None for texts in seen]
    assert steps == [*(f"step {k}" for k in (0, 4, 6, 8)), "step 0", "step 4", None, None]
    # the numbers of a column stand under its last panel
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in figure.axes[2:6]] == [
        True,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_too_many_pixels_are_refused(kind, tmp_path):
    for how in ({"dpi": 100_000}, {"size": 1e7}, {"dpi": 20, "size": 1e7}):
        (name,) = {"dpi", "size"} & {*how} if len(how) == 1 else ["size"]
        with pytest.raises(ValueError, match=rf"`{name}` must give at most 16384 pixels a side"):
            PICTURES[kind]("mmd", "", file=tmp_path / "a.png", **how)
    figure, ax = plt.subplots()
    if kind == "field":
        with pytest.raises(ValueError, match=r"`dpi` must give at most .*: pass at most \d+"):
            PICTURES[kind]("mmd", "", file=tmp_path / "a.png", ax=ax, dpi=100_000)
    plt.close(figure)
    assert list(tmp_path.iterdir()) == []


# Writers with an option that they refuse too, after they have looked at the file.
WRITERS = {
    "npz": lambda file: run().save(file),
    "html": lambda file: player(run(), file, as_images=(7, 7)),
    "gif": lambda file: animate(run(), file, dpi=0),
    "mp4": lambda file: film(iter(()), file, dpi=0),
    "png": lambda file: snapshots(run(), file, dpi=0),
    "svg": lambda file: curves(run(), file, dpi=0),
    "pdf": lambda file: field(run(), file, flow=FLOW, dpi=0),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_in_the_place_of_a_file_is_seen_at_once(kind, tmp_path):
    file = tmp_path / f"d.{kind}"
    file.mkdir()
    with pytest.raises(OSError, match=r"' could not be written: it is a folder: choose another"):
        WRITERS[kind](file)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "npz"])
def test_a_folder_that_takes_no_file_is_seen_at_once(kind, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", "/proc/self/fd"):  # even an administrator cannot write there
        with pytest.raises(OSError, match=r"could not be written: .*: choose a folder that is"):
            WRITERS[kind](f"{folder}/a.{kind}")
