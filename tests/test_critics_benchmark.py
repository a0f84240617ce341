"""The benchmark of trained witnesses at tiny sizes: every method runs, the best dt is chosen, the tables say what was measured. Nothing is judged."""

from __future__ import annotations

import math

import pytest

from benchmarks import critics

# A benchmark measures the code as users run it.
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize("method", critics.METHODS)
def test_every_method_runs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(critics.BUDGET, "first_steps", 3)
    row = critics.measure("rings", method, 0, 2, 0.004)
    assert row["status"] == "completed"
    assert row["steps"] == 2
    assert all(math.isfinite(row[name]) and row[name] > 0 for name in ("W2", "W2_held_out", "cpu_seconds"))
    assert (row["ratio_first"] is None) == (method not in critics.CRITICS)


def row(task: str, method: str, **more: object) -> dict[str, object]:
    fixed = {"dt": 0.01, "status": "completed", "W2": 0.2, "W2_held_out": 0.3, "ratio_first": 0.5, "ratio_last": 0.25}
    return {"task": task, "method": method, **fixed, **more}


def test_the_best_dt_is_that_of_a_run_that_completed() -> None:
    rows = [row("rings", "kale", dt=0.1, W2=0.01, status="diverged"), row("rings", "kale", dt=0.2, W2=0.3), row("rings", "kale", dt=0.4, W2=0.2)]
    assert critics.best(rows) == 0.4
    with pytest.raises(RuntimeError, match=r"no dt of .* suits kale on rings: diverged"):
        critics.best(rows[:1])


def test_the_tables_compare_medians() -> None:
    runs = [row(task, method, W2=0.1 * (k + 1)) for task, method in critics.PAIRS for k in range(3)]
    runs += [row("digits", "kale", W2=0.01)] * 4
    text = critics.render(runs, 7)
    assert all(method.title in text for method in critics.METHODS.values())
    assert "7 steps, 3 seeds" in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith(("| gaussians", "| digits"))}
    assert "1.00  | yes" in lines["gaussians"]
    assert "20.00 | NO" in lines["digits"]
