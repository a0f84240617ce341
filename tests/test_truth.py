"""The benchmark of truth: cheap statements hold, each is complete, the verdict is the seeds'."""

from __future__ import annotations

import csv
import json
import math
import pickle
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.truth import suite
from benchmarks.truth.catalogue import SECTIONS, STATEMENTS
from benchmarks.truth.statement import LEAST_SEEDS, Statement

# A benchmark measures the code as users run it.
pytestmark = pytest.mark.usefixtures("unchecked")

# The cost of one seed up to which a statement is measured here, in seconds.
CHEAP = 0.05
# The statements whose range holds one number that a source gives to its digits, and that number.
DIGITS = {
    "mmd-gaussians-line": 0.9473572753481838,
    "mmd-gaussians-plane": 0.20894480077385524,
    "target-signal-first": 1 / math.sqrt(2 + math.sqrt(2)),
    "target-signal-second": 1.307,
    "target-signal-height": 0.085,
    "strongest-pull": 1 / math.sqrt(2),
    "energy-kernel-t25": 1 - 0.5 + 4 * 0.25**2 / 3,
    "energy-kernel-t50": 1 / 3,
    "energy-kernel-t100": 1 / 6,
    "energy-coincident": 0.25,
    "kale-atoms-large": 0.004892,
    "kale-atoms-small": 0.247090,
    "closed-kl-forward": 1.63814718,
    "closed-kl-reverse": 2.66685282,
    "closed-hellinger": 0.33492978,
    "closed-js": 0.27781972,
    "closed-w2": 1.57797338,
    "shift-trick-0": 1.34e-3,
    "shift-trick-1": 3.64e-3,
    "shift-trick-3": 2.68e-2,
    "shift-trick-5": 0.190,
    "shift-trick-non-saturating": 3.999,
    "shift-trick-logit": 4.0,
    "shift-trick-arcsinh": 0.496,
    "js-saturates": math.log(2),
    "gan-at-rest": -math.log(4),
    "reverse-kl-mean": -0.9235411652898637,
    "reverse-kl-std": 1.1948955682341553,
    "reverse-kl-kl": 0.8669143245981292,
    "reverse-kl-w2": 1.947588079869007,
    "reverse-kl-euler": 1.1976067,
    "w1-falls-at-speed-one": 1.0,
    "false-minimum-means-2d": 2.68,
    "false-minimum-means-16d": 1.005,
    "false-minimum-means-32d": 0.888,
    "false-minimum-means-256d": 0.760,
    "batch-flow-16-w1": 0.626,
    "batch-flow-64-w1": 0.374,
}
# The stated ranges of other statements.
RANGES = {
    "experiment-e-logit": (0.0, 1e-3),
    "experiment-e-shifted": (0.0, 1e-3),
    "experiment-e-arcsinh": (0.0, 1e-3),
    "experiment-e-non-saturating": (0.004, 0.005),
    "experiment-e-js": (0.005, 0.04),
    "experiment-e-lsgan-011": (0.52, 0.63),
    "experiment-e-lsgan-pearson": (1.12, 1.21),
    "experiment-e-pearson": (0.004, 0.06),
    "experiment-e-naive-kl": (1.37, 1.50),
    "experiment-e-naive-chi2": (1.12, 1.25),
    "experiment-e-naive-hellinger": (0.73, 0.82),
    "experiment-e-naive-js": (0.97, 1.12),
    "mmd-stalls-far": (1.0, None),
    "mmd-falls-while-w2-rises": (None, 1.0),
    "noise-cures-the-stall": (None, 1.0),
    "w1-dual-value": (0.0, 1e-6),
    "batch-flow-16-variance": (0.63, 0.73),
    "batch-flow-64-variance": (0.84, 0.89),
    "critic-better-estimate-worse-samples": (None, 1.0),
}


def seventh(seed: int) -> float:
    """A measure that raises at seed 1 and leaves the range at seed 2."""
    if seed == 1:
        raise ZeroDivisionError("no seventh of it")
    return math.inf if seed == 3 else seed / 7


BROKEN = Statement(
    name="broken",
    words="A statement that does not hold.",
    source="this file",
    number="a seventh of the seed",
    low=0.0,
    high=0.2,
    measure=seventh,
    seconds=0.01,
)


def test_the_pages_tell_how_many_statements_there_are() -> None:
    root = Path(__file__).parents[1]
    usual = sum(each.seconds <= suite.FULL_SECONDS for each in STATEMENTS.values())
    readme, page, guide = (
        (root / name).read_text()
        for name in ("README.md", "docs/benchmarks.rst", "benchmarks/README.md")
    )
    assert f"measures {usual} statements" in readme
    assert f"({len(STATEMENTS)} with `--full`)" in readme
    assert f"There are {len(STATEMENTS)} statements" in page
    assert (
        f"{len(STATEMENTS) - usual} statements cost more than {suite.FULL_SECONDS:g} s a seed"
        in page
    )
    assert f"{usual} statements, then" in guide


@pytest.mark.parametrize(
    "name", [name for name, each in STATEMENTS.items() if each.seconds <= CHEAP and not each.note]
)
def test_a_cheap_statement_holds(name: str) -> None:
    row = suite.attempt(name, STATEMENTS[name].measure, 0)
    assert row["error"] is None
    assert STATEMENTS[name].within(row["value"]), (
        f"{row['value']} is not {STATEMENTS[name].stated}: {STATEMENTS[name].words}"
    )


def test_each_statement_is_complete() -> None:
    for statement in STATEMENTS.values():
        assert statement.words.endswith("."), statement.name
        assert statement.source, statement.name
        assert statement.number, statement.name
        assert statement.seconds > 0, statement.name
        assert statement.seeds >= LEAST_SEEDS or not statement.random, statement.name
        assert statement.name.replace("-", "").replace(".", "").isalnum(), statement.name
        assert pickle.loads(pickle.dumps(statement)).name == statement.name


def test_names_and_words_are_unique() -> None:
    every = [statement for part in SECTIONS.values() for statement in part]
    assert len({statement.name for statement in every}) == len(every)
    assert len({(statement.words, statement.number) for statement in every}) == len(every)


@pytest.mark.parametrize("name", DIGITS)
def test_no_number_has_vanished(name: str) -> None:
    statement = STATEMENTS[name]
    assert statement.low is not None
    assert statement.high is not None
    assert statement.within(DIGITS[name])
    assert statement.high - statement.low <= 0.13 * abs(DIGITS[name])


@pytest.mark.parametrize("name", RANGES)
def test_no_range_has_changed(name: str) -> None:
    assert (STATEMENTS[name].low, STATEMENTS[name].high) == RANGES[name]


def test_the_verdict_counts_seeds() -> None:
    assert BROKEN.verdict([0.0, 0.1, 0.2]) == "holds"
    assert BROKEN.verdict([0.1, 0.3, None, math.nan]) == "holds for 1 of 4"
    assert BROKEN.verdict([0.3, -0.1, None]) == "fails"
    with pytest.raises(ValueError, match="`values` must hold one value a seed, got none"):
        BROKEN.verdict([])


def test_a_range_in_words() -> None:
    def stated(low: float | None, high: float | None) -> str:
        return Statement(
            name="range",
            words=".",
            source=".",
            number=".",
            low=low,
            high=high,
            measure=seventh,
            seconds=1.0,
        ).stated

    assert stated(0.63, 0.73) == "0.63 to 0.73"
    assert stated(None, 1.0) == stated(0.0, 1.0) == "at most 1"
    assert stated(1.0, None) == "at least 1"
    assert stated(1.0, 1.0) == "1"
    assert stated(0.247090 - 5e-7, 0.247090 + 5e-7) == "0.24709 +- 5e-07"
    with pytest.raises(ValueError, match="`low` or `high` must be a number in 'range'"):
        stated(None, None)


def test_few_seeds_are_refused() -> None:
    parts = {"words": ".", "source": ".", "number": ".", "measure": seventh, "seconds": 1.0}
    with pytest.raises(ValueError, match="`seeds` must be >= 10 in 'few', got 3"):
        Statement(name="few", low=0.0, seeds=3, **parts)
    assert Statement(name="few", low=0.0, random=False, **parts).seeds == 1


def test_a_broken_statement_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises at one seed, is not finite at another and out of range at a third."""
    monkeypatch.setitem(STATEMENTS, "broken", BROKEN)
    argv = ["truth", "--only", "broken", "--seeds", "4", "--jobs", "1", "--out", str(tmp_path)]
    assert main(argv) == 1
    printed = capsys.readouterr().out
    assert "holds for 1 of 4" in printed
    assert "ZeroDivisionError: no seventh of it" in printed
    (found,) = json.loads((tmp_path / "truth-only.json").read_text())["statements"]
    assert found["values"] == [0.0, None, 2 / 7, None]
    assert found["errors"] == ["ZeroDivisionError: no seventh of it", "the number is inf"]
    assert found["verdict"] == "holds for 1 of 4"
    assert suite.unexplained(found)
    assert not suite.unexplained(found | {"note": "It is broken on purpose."})


def test_the_command_writes_what_others_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["mobility-logit", "lsgan-sign", "kale-large-lam"]
    argv = ["truth", "--only", ",".join(names), "--seeds", "2", "--jobs", "1"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "truth-only.json").read_text())
    assert [found["name"] for found in record["statements"]] == names
    keys = ("name", "words", "source", "number", "low", "high", "seeds", "values", "verdict")
    for found, seeds in zip(record["statements"], ([0, 1], [0], [0, 1]), strict=True):
        statement = STATEMENTS[found["name"]]
        assert {*keys, "note", "command", "section"} <= set(found)
        assert found["seeds"] == seeds
        assert found["values"] == [statement.measure(seed) for seed in seeds]
        assert found["verdict"] == "holds"
        assert found["command"] == f"python -m benchmarks truth --only {found['name']}"
        assert found["section"] in SECTIONS
    with (tmp_path / "truth-only.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["name"], int(line["seed"])) for line in lines] == [
        ("mobility-logit", 0),
        ("mobility-logit", 1),
        ("lsgan-sign", 0),
        ("kale-large-lam", 0),
        ("kale-large-lam", 1),
    ]
    assert (tmp_path / "truth-only.md").read_text().strip() in printed
    assert "3 of 3 statements hold for every seed" in printed


def test_the_list_names_each_statement(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["truth", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in STATEMENTS)


def test_runs_that_statements_share_are_paid_once() -> None:
    pair = [STATEMENTS[name] for name in ("mmd-stalls-far", "noise-cures-the-stall")]
    assert pair[0].group == pair[1].group
    costs = [each.seconds for each in pair]
    assert suite.expected([(each, seed) for each in pair for seed in (0, 1)]) == 2 * max(costs)
    assert suite.expected([(BROKEN, seed) for seed in (0, 1, 2)]) == pytest.approx(0.03)
