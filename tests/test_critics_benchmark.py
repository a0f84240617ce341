"""The benchmark of trained witnesses at tiny sizes: every method runs, the best dt is chosen, the
tables say what was measured. Nothing is judged.
"""

from __future__ import annotations

import math

import pytest

import particleflow as pf
from benchmarks import critics

# A benchmark measures the code as users run it.
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize("method", critics.METHODS)
def test_every_method_runs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(critics.BUDGET, "first_steps", 3)
    row = critics.measure("rings", method, 0, 2, 0.004)
    assert row["status"] == "completed"
    assert row["steps"] == 2
    assert all(
        math.isfinite(row[name]) and row[name] > 0 for name in ("W2", "W2_held_out", "cpu_seconds")
    )
    assert (row["ratio_first"] is None) == (method not in critics.CRITICS)


def row(task: str, method: str, **more: object) -> dict[str, object]:
    fixed = {
        "dt": 0.01,
        "status": "completed",
        "W2": 0.2,
        "W2_start": 0.8,
        "W2_held_out": 0.3,
        "steps": 7,
        "ratio_first": 0.5,
        "ratio_last": 0.25,
    }
    return {"task": task, "method": method, **fixed, **more}


@pytest.mark.parametrize("best", critics.GRID)
def test_the_walk_ends_where_both_neighbours_are_worse(best: float) -> None:
    seen = []

    def run(dt: float) -> dict[str, object]:
        seen.append(dt)
        return row("rings", "kale", dt=dt, W2=0.1 + 0.05 * abs(math.log(dt / best)))

    rows = critics.walk(run)
    assert rows[0]["dt"] == best
    assert len(rows) == len(seen) == len(set(seen))
    k = critics.GRID.index(best)
    assert {critics.GRID[j] for j in (k - 1, k + 1) if 0 <= j < len(critics.GRID)} <= set(seen)


def test_the_walk_goes_down_past_runs_that_do_not_get_nearer() -> None:
    """They diverge, or complete farther away than they began, and the next smaller dt may look
    worse still.
    """

    def run(dt: float) -> dict[str, object]:
        ends = {
            0.0006: ("completed", 1.9),
            0.0015: ("not converged", 0.1),
            0.00025: ("completed", 0.7),
            0.0001: ("completed", 0.75),
        }
        status, end = ends.get(dt, ("completed", 90.0))
        return row("rings", "hellinger", dt=dt, status=status, W2=end)

    assert critics.walk(run)[0]["dt"] == 0.00025
    assert (
        critics.walk(
            lambda dt: row("rings", "nwj", dt=dt, status="not started", W2=math.nan, steps=0)
        )[0]["dt"]
        == critics.GRID[0]
    )


def test_the_tables_compare_medians() -> None:
    runs = [
        row(task, method, W2=0.1 * (k + 1))
        for part in critics.PARTS.values()
        for task, method in part
        for k in range(3)
    ]
    runs += [row("digits", "kale", W2=0.01)] * 4
    text = critics.render("whistleblowers", runs, 7)
    assert all(method.title in text for method in critics.METHODS.values())
    assert "7 steps" in text
    text = critics.render("beside-kale", runs, 7)
    lines = {
        line.split("|")[1].strip(): line
        for line in text.splitlines()
        if line.startswith(("| gaussians", "| digits"))
    }
    assert "1.00  | yes" in lines["gaussians"]
    assert "20.00 | NO" in lines["digits"]


def test_a_run_that_cannot_start_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(critics.BUDGET, "learning_rate", 1e9)
    monkeypatch.setitem(
        critics.METHODS, "nwj", critics.Method("", critics._classifier(pf.losses.NWJ(), 0.0))
    )
    found = critics.measure("rings", "nwj", 0, 2, 0.004)
    assert found["status"] == "not started"
    assert critics._spread([found], "W2") == "none"
