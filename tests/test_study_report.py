"""The report of a study and its curves: their numbers are those of the results, and they can be
read by anybody, anywhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest

import particleflow as pf
from particleflow.plotting.figures.inline import svg
from particleflow.plotting.figures.multiples import Dots, Line, Multiple, multiples, single
from particleflow.plotting.style import LIGHT, contrast, stroke
from particleflow.study import (
    Choice,
    Contender,
    Interval,
    Problem,
    Range,
    Result,
    Setup,
    Study,
    Task,
)
from particleflow.study.drawing import GROUPS, panels, sensitivity, speeds
from particleflow.study.readings import band
from particleflow.study.report import heat
from particleflow.study.report.truth import HEIGHT, WIDTH, statements, strip

# A name that would run as a script, or break a formula of matplotlib, where it is not escaped.
HOSTILE = "<script>window.broken = 1</script> $_{"
SPEED = [
    {"backend": backend, "d": d, "N": n, "ms": scale * n**power}
    for backend, scale, power in (("Dense", 1e-5, 2.0), (HOSTILE, 1e-3, 1.0))
    for d in (2, 10)
    for n in (1000, 10_000)
]
TRUTH = [
    {
        "name": "the stated end",
        "words": "KALE flow ends at the published value.",
        "source": "Glaser et al. 2021",
        "number": 3.66,
        "low": 3.5,
        "high": 3.8,
        "seeds": 4,
        "values": [3.6, 3.65, 3.7, 3.9],
        "verdict": "holds",
        "note": "",
        "command": "python -m benchmarks truth --rows end",
    },
    {
        "name": HOSTILE,
        "low": 1e-4,
        "high": 1e-1,
        "values": [1e-9, 1e-2, math.inf, None],
        "verdict": "fails",
        "note": HOSTILE,
    },
]


def built(problem: Problem, *, scale: float = 1.0, noise: float = 0.0) -> Setup:
    """A flow whose dt is given: to suggest one would take most of the time."""
    kernel = pf.kernels.Gaussian(scale * problem.bandwidth)
    return Setup(pf.mmd_flow(kernel, noise=noise), dt=0.1)


def fails(problem: Problem, scale: float) -> Setup:
    if problem.seed == 1:
        raise ArithmeticError(f"no flow here: {HOSTILE}")
    return built(problem, scale=scale)


@pytest.fixture(scope="module")
def result() -> Result:
    """A real study: two tasks, three flows, one of which fails on one seed."""
    start = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.01)
    sizes = {"particles": 24, "targets": 32, "steps": 4}
    tasks = [
        Task("rings", start, pf.samplers.Rings(), **sizes),
        Task(HOSTILE, start, pf.samplers.Gaussian(dim=2), **sizes),
    ]
    contenders = [
        Contender("mmd", built),
        Contender(
            "noisy",
            lambda problem, noise, on: built(problem, noise=noise if on else 0.0),
            {"noise": Range(0.0, 0.2, default=0.1, linear=True), "on": Choice([True, False], True)},
        ),
        Contender(f"fails {HOSTILE}", fails, {"scale": Range(0.5, 2.0, default=1.0)}),
    ]
    return Study(tasks, contenders, seeds=3, tuning=2).run(progress=False)


@pytest.fixture(scope="module")
def written(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.report(
        tmp_path_factory.mktemp("report") / "report.html",
        truth=TRUTH,
        speed=SPEED,
        players={"rings": "players/rings.html"},
        title=HOSTILE,
        command=f"python {HOSTILE}",
    )


class Page(HTMLParser):
    """The tables of a page, as lists of rows of cells' texts, by the label of their boxes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.label, self.inside, self.open = "", False, False
        self.ids: list[str] = []
        self.uses: list[str] = []
        self.tags: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags[tag] += 1
        self.ids += [given["id"] or ""] if "id" in given else []
        self.uses += re.findall(r"url\(#([^)]+)\)", " ".join(filter(None, given.values())))
        if tag == "use":
            self.uses.append((given["href"] or "").removeprefix("#"))
        if given.get("role") == "region":
            self.label = given["aria-label"] or ""
            self.tables[self.label] = []
        if tag == "tr":
            self.tables[self.label].append([])
        if tag in ("td", "th"):
            self.tables[self.label][-1].append("")
            self.open = True
        elif tag in ("small", "br") and self.open:
            self.tables[self.label][-1][-1] += "|"

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th", "table")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.tables[self.label][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def shown(result: Result, task: str, name: str, role: str, **how: Any) -> str:
    """What a cell must say, from the results."""
    found = result.interval(task, name, role, **how)
    if math.isinf(found.median):
        return "∞|failed"
    star = "*" if name in result.best(task, role, **how) else ""
    middle, low, high = (
        f"{v:.3g}".replace("inf", "∞") for v in (found.median, found.low, found.high)
    )
    return f"{middle}{star}|{low} to {high}"


def compact(cell: str) -> str:
    return cell.replace(" *", "*")


@pytest.mark.parametrize("against", ["steps", "seconds", "fits"])
def test_cells_at_equal_amounts_are_the_numbers_of_the_results(
    result: Result, page: Page, against: str
) -> None:
    head, *lines = page.tables[f"At equal {against}"]
    assert head == ["task", against, *result.contenders]
    assert [line[0] for line in lines] == result.tasks
    for task, line in zip(result.tasks, lines, strict=True):
        amount = 4.0 if against == "steps" else result.equal(task, against)
        assert float(line[1]) == pytest.approx(amount, rel=5e-3)
        assert [compact(cell) for cell in line[2:]] == [
            shown(result, task, name, "tuned", at=(against, amount)) for name in result.contenders
        ]


@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        ("Default beside tuned", {"default": ("default", False), "tuned": ("tuned", False)}),
        (
            "Points never seen beside points seen",
            {"never seen": ("tuned", False), "seen": ("tuned", True)},
        ),
    ],
)
def test_pairs_of_lines_are_the_numbers_of_the_results(
    result: Result, page: Page, table: str, kinds: Mapping[str, tuple[str, bool]]
) -> None:
    lines = page.tables[table][1:]
    assert len(lines) == 4
    for k, task in enumerate(result.tasks):
        for (said, (role, seen)), line in zip(kinds.items(), lines[2 * k :], strict=False):
            cells = line[1:] if said in ("default", "never seen") else line
            assert cells[0] == said
            assert [compact(cell) for cell in cells[1:]] == [
                shown(result, task, name, role, seen=seen) for name in result.contenders
            ]


def test_differences_are_those_to_the_best_of_the_same_seeds(result: Result, page: Page) -> None:
    for task, line in zip(result.tasks, page.tables["Differences to the best"][1:], strict=True):
        best = result.best(task)
        for name, cell in zip(result.contenders, line[1:], strict=True):
            if name == best[0]:
                assert cell == "best"
                continue
            gap = result.difference(task, name, best[0])
            said = compact(cell).replace("\N{MINUS SIGN}", "-").split("|")
            middle, low, high = (round(v, 3) + 0.0 for v in (gap.median, gap.low, gap.high))
            assert said[0] == f"{middle:+.3g}".replace("inf", "∞") + "*" * (name in best)
            ends = f"{low:.2g} to {high:.2g}".replace("inf", "∞")
            assert said[1] == ("failed" if gap.median == math.inf else ends)


def test_an_end_of_an_interval_may_be_minus_infinity() -> None:
    """The best flow failed on a seed on which another one did not."""
    gap = Interval(-0.5, -math.inf, 0.25, 3)
    assert heat.cell_of_difference(gap, best=True) == {
        "text": "\N{MINUS SIGN}0.5",
        "span": "\N{MINUS SIGN}∞ to 0.25",
        "kind": "same",
    }


def test_a_small_difference_has_no_exponent() -> None:
    gap = Interval(-1.43e-5, -0.0543, 0.0004, 3)
    found = heat.cell_of_difference(gap, best=True)
    assert (found["text"], found["span"]) == ("+0", "\N{MINUS SIGN}0.054 to 0")


def test_statements_that_hold_for_some_seeds_are_named_apart(
    result: Result, tmp_path: Path
) -> None:
    """They are neither reproduced nor refuted."""
    partly = TRUTH[0] | {"name": "now and then", "verdict": "holds for 3 of 4"}
    text = result.report(tmp_path / "report.html", truth=[*TRUTH, partly]).read_text("utf-8")
    assert "<b>1 of 3</b> statements reproduced for every seed" in text
    (refuted,) = re.findall(r"Not reproduced: (.*?)</p>", text)
    assert "#statement-2" in refuted
    assert "#statement-3" not in refuted
    (named,) = re.findall(r"<summary>1 reproduced in part</summary><p>(.*?)</p>", text)
    assert named.startswith('<a href="#statement-3">now and then</a> (holds for 3 of 4)')


def test_flows_and_tasks_are_told(result: Result, page: Page) -> None:
    told = {line[0]: line[1] for line in page.tables["Flows and tasks"]}
    for one in result.study["contenders"]:
        assert told[one["name"]] == (one["title"] or "no description")
    for one in result.study["tasks"]:
        assert f"{one['particles']} particles, {one['targets']} target points" in told[one["name"]]


def test_every_run_is_on_the_page(result: Result, page: Page) -> None:
    for task in result.tasks:
        head, *lines = page.tables[f"Runs of {task}"]
        rows = [row for row in result.rows if row["task"] == task]
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            told = dict(zip(head, line, strict=True))
            assert (told["contender"], told["seed"]) == (row["contender"], str(row["seed"]))
            assert told["status"] == row["status"]
            if "curve" in row:
                assert told["W2 held out"] == f"{row['curve']['W2 held out'][-1]:.4g}"
                assert told["steps"] == str(row["curve"]["steps"][-1])


def test_differences_are_read_where_the_values_are(result: Result) -> None:
    """At another place, and to the points seen."""
    for how in ({"at": ("steps", 1.0)}, {"seen": True}):
        one, other = (result.values("rings", name, "tuned", **how) for name in ("mmd", "noisy"))
        gaps = [one[seed] - other[seed] for seed in one]
        found = result.difference("rings", "mmd", "noisy", **how)
        assert found.median == pytest.approx(float(np.median(gaps)))
        assert found.median != result.difference("rings", "mmd", "noisy").median


def test_failed_runs_are_listed_with_their_message(result: Result, page: Page) -> None:
    lines = page.tables["Runs without a sound end"][1:]
    failed = [row for row in result.rows if row["status"] == "failed"]
    assert len(failed) >= 2
    assert sum(len(line[3].split(", ")) for line in lines) == len(failed)
    assert all("no flow here" in line[5] for line in lines)


def test_statements_are_counted_and_those_that_fail_are_named(written: Path, page: Page) -> None:
    text = written.read_text(encoding="utf-8")
    assert "<b>1 of 2</b> statements reproduced" in text
    (named,) = re.findall(r"Not reproduced: (.*?)</p>", text)
    assert HOSTILE in unescape(named)
    assert "#statement-2" in named
    first, second = page.tables["Statements"][1:]
    assert "measured 3.67 (3.6 to 3.9)" in first[1].replace("|", " ")
    assert "3 of 4 within" in first[1]
    assert "1 of 4 within" in second[1]
    assert (first[-1], second[-1]) == ("✓holds", "✗fails")


def test_nothing_that_users_write_is_markup(written: Path, page: Page) -> None:
    text = written.read_text(encoding="utf-8")
    assert page.tags["script"] == 0
    # within titles, cells, the figures and the keys, escaped once
    assert text.count("&lt;script&gt;window.broken") > 10
    assert "&amp;lt;" not in text


def test_ids_of_figures_differ_and_are_all_used(page: Page) -> None:
    assert not [name for name, count in Counter(page.ids).items() if count > 1]
    assert set(page.uses) <= set(page.ids)
    assert len(page.uses) > 50


def test_the_page_asks_for_nothing(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    # the parts of a page that load something
    assert not re.findall(r"<(?:link|img|iframe|object|embed|base)\b|@import|url\((?!#)", text)
    assert set(re.findall(r'<a href="([^"#][^"]*)"', text)) == {"players/rings.html"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_in_cells_can_be_read_on_every_tone(dark: bool) -> None:
    pairs = heat.tones(dark)
    assert len({ground for ground, _ in pairs}) == heat.TONES
    assert min(contrast(*pair) for pair in pairs) >= 4.5


def test_a_page_without_extras_leaves_their_parts_out(result: Result, tmp_path: Path) -> None:
    rows = [row for row in result.rows if row["role"] == "default"]
    text = replace(result, rows=rows).report(tmp_path / "a.htm").read_text(encoding="utf-8")
    for part in ("truth", "roles", "sensitivity", "players", "speed"):
        assert f'id="{part}"' not in text
    for part in ("comparison", "equal-seconds", "curves", "differences", "rows"):
        assert f'id="{part}"' in text


def test_the_sentence_follows_the_results(result: Result) -> None:
    one = [row for row in result.rows if row["contender"] == "mmd"]
    study = {**result.study, "contenders": result.study["contenders"][:1]}
    alone = replace(result, rows=one, study=study)
    assert heat.sentence(alone) == "mmd is best, or equal to the best, on both tasks."
    nobody = replace(alone, rows=[{**row, "status": "diverged"} for row in one])
    assert heat.sentence(nobody) == "No flow has a sound run."
    # on the second task a flow is a thousand times better
    task = result.tasks[1]
    better = [
        row
        if (row["task"], row["contender"]) != (task, "noisy")
        else {**row, "curve": {**row["curve"], "W2 held out": [1e-3] * len(row["curve"]["W2"])}}
        for row in result.rows
        if row["contender"] in ("mmd", "noisy")
    ]
    worse = [
        row
        if (row["task"], row["contender"]) != ("rings", "noisy")
        else {**row, "curve": {**row["curve"], "W2 held out": [1e3] * len(row["curve"]["W2"])}}
        for row in better
    ]
    both = replace(
        result, rows=worse, study={**result.study, "contenders": result.study["contenders"][:2]}
    )
    assert heat.wins(both) == {"mmd": 1, "noisy": 1}
    assert heat.sentence(both) == (
        "No single flow is best on all tasks. mmd and noisy are most often best, or equal to the"
        " best: on 1 of 2 tasks each."
    )


REFUSED = {
    "`file` must end in": {"file": "report.pdf"},
    "`title` must be text": {"title": 3},
    "`truth` must hold mappings": {"truth": ["a"]},
    "`truth` must have 'low'": {"truth": [{"name": "a", "verdict": "holds"}]},
    "`speed` must have 'ms'": {"speed": [{"backend": "Dense", "d": 2, "N": 10}]},
    "`speed` must hold mappings": {"speed": [3]},
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("message", REFUSED)
def test_mistakes_are_refused_before_a_file_is_written(
    result: Result, tmp_path: Path, message: str
) -> None:
    given = {"file": "report.html", **REFUSED[message]}
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        result.report(tmp_path / given.pop("file"), **given)
    assert not list(tmp_path.iterdir())


# strips of statements


def test_a_range_with_two_ends_is_the_middle_half_of_its_strip() -> None:
    found = strip([3.65, 3.9, 9.0, -1.0], 3.5, 3.8)
    assert not found["log"]
    assert (found["x"], found["wide"]) == (WIDTH / 4, WIDTH / 2)
    assert [dot["inside"] for dot in found["dots"]] == [True, False]
    assert found["dots"][0]["x"] == WIDTH / 2
    assert (found["under"], found["over"]) == (1, 1)
    assert [label["text"] for label in found["labels"]] == ["3.5", "3.8"]


def test_a_range_of_decades_is_logarithmic() -> None:
    found = strip([1e-2], 1e-4, 1.0)
    assert found["log"]
    assert found["dots"][0]["x"] == WIDTH / 2
    assert not strip([-1e-2], 1e-4, 1.0)["log"]


@pytest.mark.parametrize(
    ("values", "low", "high", "inside"),
    [
        ([1e-9, 1e-7], None, 1e-6, [True, True]),
        ([1.0, 3.0], 2.0, None, [False, True]),
        ([1.44, 1.44], 1.44, 1.44, [True, True]),
        ([1.0, 2.0], None, None, [True, True]),
        ([0.0], 0.0, 0.0, [True]),
        ([math.nan, math.inf], 0.0, 1.0, []),
        ([], 0.0, 1.0, []),
    ],
)
def test_strips_of_open_and_single_ranges(
    values: list[float], low: float | None, high: float | None, inside: list[bool]
) -> None:
    found = strip(values, low, high)
    assert [dot["inside"] for dot in found["dots"]] == inside
    assert all(0 <= dot["x"] <= WIDTH and 0 < dot["y"] < HEIGHT for dot in found["dots"])
    assert found["over"] == sum(value == math.inf for value in values)


def test_another_verdict_neither_holds_nor_fails() -> None:
    (row,) = statements([{**TRUTH[0], "verdict": "not run", "values": []}])
    assert (row["good"], row["mark"], row["within"]) == (False, "○", "no values")


# curves


def test_curves_end_at_the_medians_of_the_table(result: Result) -> None:
    for task, panel in zip(
        result.tasks, panels(result, "steps", result.tasks, "tuned"), strict=True
    ):
        assert panel.level == 1
        for line in panel.lines:
            found = result.interval(task, result.contenders[line.index], "tuned")
            assert line.x[-1] == 4
            assert line.y[-1] == pytest.approx(found.median, rel=1e-12)


def test_bands_lie_between_quantiles_and_failed_runs_are_infinite() -> None:
    rows = [
        {
            "status": "completed",
            "curve": {"steps": [0, 4], "seconds": [0.1 * k, 0.4 * k], "W2": [8.0, float(k)]},
        }
        for k in (1, 2, 3, 4)
    ]
    found = band(rows, "W2", "steps")
    assert found is not None
    assert found.places.tolist() == [0, 4]
    assert found.middle.tolist() == [8, 2.5]
    assert found.low[1] == pytest.approx(np.quantile([1, 2, 3, 4], 0.1))
    assert found.high[1] == pytest.approx(np.quantile([1, 2, 3, 4], 0.9))
    apart = band(rows, "W2", "seconds")
    assert apart is not None
    ratios = apart.places[1:] / apart.places[:-1]
    assert ratios == pytest.approx(ratios[0])
    assert (apart.places[0], apart.places[-1]) == pytest.approx((0.1, 1.6))
    lost = band([*rows[:3], {"status": "failed"}], "W2", "steps")
    assert lost is not None
    assert (lost.middle[1], lost.high[1]) == (2.5, math.inf)
    assert band([{"status": "failed"}], "W2", "steps") is None


@pytest.mark.parametrize("against", ["steps", "time", "seconds", "fits"])
def test_curves_are_drawn_and_written(result: Result, tmp_path: Path, against: str) -> None:
    figure = result.curves(tmp_path / "curves.svg", against=against, tasks=["rings"])
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    colours = {line.get_color() for line in ax.lines}
    assert {stroke(k).colour for k in range(2)} <= colours
    said = [text.get_text() for text in figure.texts]
    assert said == [*result.contenders, "floor: two fresh samples"]
    assert (tmp_path / "curves.svg").stat().st_size > 5000


def test_curves_refuse_unknown_tasks(result: Result) -> None:
    with pytest.raises(ValueError, match=r"`tasks` must be of rings, .* got 'ring'"):
        result.curves(tasks=["ring"])
    with pytest.raises(ValueError, match=r"`tasks` must be of .* got \[\]"):
        result.curves(tasks=[])


def test_trials_are_dots_with_their_default(result: Result) -> None:
    parts = result.study["contenders"][1]["parameters"]
    noise = sensitivity(result, "noisy", "noise", parts["noise"])
    values = [value for task in result.tasks for _, value in result.trials(task, "noisy")]
    assert noise.dots[0].y.tolist() == values
    assert len(values) == 2 * 3
    assert (noise.mark, noise.log) == (0.1, (False, True))
    choice = sensitivity(result, "noisy", "on", parts["on"])
    assert choice.words == ["True", "False"]
    assert choice.mark == 0
    dt = sensitivity(result, "noisy", "dt", parts["dt"])
    assert dt.log == (True, True)


def test_medians_of_trials_join_equal_values() -> None:
    study = synthetic()
    part = study.study["contenders"][0]["parameters"]["lam"]
    (line,) = sensitivity(study, FLOWS[0], "lam", part).lines
    assert len(line.x) == GROUPS
    assert (np.diff(line.x) > 0).all()
    few = [row for row in study.rows if row["trial"] in (None, -1, 3)]
    (line,) = sensitivity(replace(study, rows=few), FLOWS[0], "dt", part).lines
    assert len(set(line.x.tolist())) == len(line.x)


def test_ticks_of_a_narrow_axis_do_not_overlap() -> None:
    line = Line(0, np.array([0.79, 3.3]), np.array([0.85, 2.7]))
    figure = single(Multiple(lines=[line], log=(True, True)), (2.8, 2.0))
    figure.canvas.draw()
    (ax,) = figure.axes
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) >= 3
        assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]


def test_speeds_have_a_panel_for_each_dimension() -> None:
    two, ten = speeds(SPEED, ["Dense", HOSTILE])
    assert (two.title, ten.title) == ("d = 2", "d = 10")
    assert two.lines[0].y == pytest.approx([10, 1000])
    assert two.log == (True, True)


def test_no_text_of_many_panels_overlaps() -> None:
    """At 11 names and 13 panels the key lies above the panels and within the figure."""
    x = np.linspace(1, 10, 5)
    lines = [Line(k, x, (1 + k) / x, 0.9 * (1 + k) / x, 1.1 * (1 + k) / x) for k in range(11)]
    names = [f"a rather long name {k}" for k in range(11)]
    shown = [Multiple(f"task {k}", "steps", lines, level=1.0) for k in range(13)]
    figure = multiples(shown, names, label="W2 / floor", level="floor: two fresh samples")
    figure.canvas.draw()
    assert len(figure.axes) == 13
    boxes = [text.get_window_extent() for text in figure.texts]
    assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert max(box.y1 for box in boxes) <= figure.bbox.y1
    below = min(box.y0 for box in boxes)
    assert max(ax.title.get_window_extent().y1 for ax in figure.axes) < below


def test_infinite_values_lie_at_the_upper_edge() -> None:
    dots = Dots(np.array([1.0, 2.0, 3.0]), np.array([2.0, math.inf, 4.0]))
    (ax,) = single(Multiple(dots=[dots]), (3, 2)).axes
    sound, lost = ax.lines
    assert sound.get_ydata().tolist() == [2, 4]
    assert lost.get_ydata().tolist() == [ax.get_ylim()[1]]
    assert lost.get_xdata().tolist() == [2]


def test_a_picture_within_a_page_has_its_colours_and_its_own_ids() -> None:
    line = Line(6, np.array([1.0, 2.0]), np.array([1.0, 3.0]), np.ones(2), np.full(2, 4.0))
    label = 'an id="x" & a number 0.00012345'
    panel = Multiple(along=label, lines=[line], level=1.0)
    one, two = (svg(single(panel, (3, 2)), prefix, label) for prefix in ("a-", "b-"))
    for colour in (LIGHT.ink, LIGHT.faint, LIGHT.spine):
        assert colour.lower() not in one
    assert {"var(--ink)", "var(--quiet)", "var(--line)"} <= set(re.findall(r"var\(--\w+\)", one))
    assert 'an id="x" &amp; a number 0.00012345' in one
    assert "font-family" not in one
    ids = [set(re.findall(r' id="([^"]*)"', text)) - {"x"} for text in (one, two)]
    assert ids[0] & ids[1] == set()
    assert all(name.startswith("a-") for name in ids[0])


# size, and what a browser shows

TASKS = [f"task number {k}" for k in range(13)]
FLOWS = [f"a flow {k}" for k in range(11)]


def synthetic() -> Result:
    """Thirteen tasks, eleven flows, ten seeds, sixteen trials and the default."""
    rng = np.random.default_rng(0)
    steps = np.linspace(0, 500, 17).astype(int).tolist()
    part = {"kind": "range", "low": 0.1, "high": 10.0, "default": 1.0, "linear": False}

    def row(task: str, k: int, role: str, seed: int, trial: int | None) -> dict[str, Any]:
        noise = np.exp(0.05 * rng.normal(size=17))
        values = (0.1 * (1 + k / 5 + 30 * np.exp(-np.linspace(0, 8, 17))) * noise).tolist()
        value = 1.0 if trial in (None, -1) else float(0.1 * 100 ** rng.uniform())
        unsound = k == 9 and rng.uniform() < 0.2
        return {
            "task": task,
            "contender": FLOWS[k],
            "role": role,
            "trial": trial,
            "seed": seed,
            "settings": {"dt": value, "bandwidth": value, "lam": value},
            "status": "unstable" if unsound else "completed",
            "message": "the energy rose" if unsound else "",
            "dt": 0.1,
            "floor": {"W2": [0.1, 0.1]},
            "curve": {
                "steps": steps,
                "time": [0.1 * step for step in steps],
                "seconds": (np.linspace(0.01, 1, 17) * (1 + k) * noise[0]).tolist(),
                "fits": [1 + step for step in steps],
                "energy": values,
                "W2": values,
                "W2 held out": values,
            },
        }

    rows = [
        row(task, k, role, seed, trial)
        for task in TASKS
        for k in range(11)
        for role, seed, trial in (
            *(("default", seed, None) for seed in range(10)),
            *(("tuned", seed, 3) for seed in range(10)),
            *(("trial", 1_000_000, trial) for trial in range(-1, 16)),
        )
    ]
    parameters = {"dt": part, "bandwidth": part, "lam": part}
    return Result(
        study={
            "tasks": [
                {"name": task, "title": "", "steps": 500, "dim": 2, "target": "Rings()"}
                | {"particles": 120, "targets": 160}
                for task in TASKS
            ],
            "contenders": [
                {"name": name, "title": "A flow", "parameters": parameters} for name in FLOWS
            ],
            "seeds": 10,
            "tuning": 16,
            "metrics": ["W2"],
        },
        environment={
            "date": "2026-01-01",
            "system": "Linux x86_64",
            "processor": "a processor",
            "processors": 2,
            "particleflow": "0.1.0",
        },
        rows=rows,
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth = [{**TRUTH[0], "name": f"statement {k}"} for k in range(40)]
    return synthetic().report(tmp_path_factory.mktemp("large") / "report.html", truth=truth)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_a_large_study_has_a_small_page(large: Path) -> None:
    assert large.stat().st_size <= 5_000_000
    assert len(Page(large.read_text(encoding="utf-8")).tables[f"Runs of {TASKS[0]}"]) == 11 * 37 + 1


SIZES = [(1280, 800), (390, 844)]


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["1280", "390"])
@pytest.mark.parametrize("which", ["written", pytest.param("large", marks=pytest.mark.slow)])
def test_the_page_can_be_read(
    pages: browser.Pages,
    request: pytest.FixtureRequest,
    which: str,
    size: tuple[int, int],
    dark: bool,
) -> None:
    """No request, no error (`pages`), no sideways scrolling of the page, contrast, whole tables."""
    page = pages.open(
        request.getfixturevalue(which), "document.readyState === 'complete'", size=size, dark=dark
    )
    if which == "written":  # the rows of the large study would take a minute
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("window.broken") is None
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert not browser.poor_contrasts(page)
    # text of cells stays in its cell
    outside = "[...document.querySelectorAll('.heat td')].filter(c => c.scrollWidth > c.clientWidth"
    assert page.evaluate(f"{outside} + 1).map(c => c.textContent)") == []
    # each panel has a picture of a readable width
    widths = page.evaluate(
        "[...document.querySelectorAll('.panels figure')].map(p => p.clientWidth)"
    )
    assert len(widths) >= 10
    assert min(widths) > 240


def test_sections_of_statements_are_folded_where_all_hold(result: Result, tmp_path: Path) -> None:
    good, bad = ({**one, "section": one["verdict"]} for one in TRUTH[:2])
    page = result.report(tmp_path / "r.html", truth=[good, bad]).read_text()
    assert "<details><summary>holds: 1 of 1</summary>" in page
    assert "<details open><summary>fails: 0 of 1</summary>" in page
    plain = result.report(tmp_path / "p.html", truth=TRUTH).read_text()
    assert plain.count("<summary>") == page.count("<summary>") - 2
