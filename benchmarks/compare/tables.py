"""Tables and sentences of a comparison, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from particleflow.study import Interval, Result
from particleflow.study.progress import duration
from particleflow.study.tables import aligned

# What the numbers of all tables are.
LEAD = (
    "Numbers are W2 (the root) over its floor, which is the W2 of fresh samples: 1 is as near as a"
    " sample of the target comes. Medians over seeds, with bootstrap intervals of 95 %. Unless a"
    ' column says "seen", W2 is taken to target points that the flow never saw. * marks the best'
    " of a task, and those that cannot be told from it by paired differences."
)


def render(result: Result, command: str) -> str:
    """Return all tables of a comparison, and what follows from them."""
    where, study = result.environment, result.study
    tuned = (
        f"tuned settings: the best of {study['tuning'] + 1} trials on seeds of their own"
        if study["tuning"]
        else "no tuning"
    )
    head = (
        f"`{command}`, {where['date']}: {study['seeds']} seeds, {tuned}.\n{where['processor']},"
        f" {where['processors']} processors; Python {where['python']}, particleflow"
        f" {where['particleflow']}, torch {where['torch']}, POT {where['POT']}."
        f" {duration(result.spent)} of the processor in all."
    )
    parts = [head, LEAD]
    if not result.interrupted:
        parts.append(verdict(result))
    parts += [overview(result, role) for role in roles(result)]
    parts += [of_task(result, task) for task in result.study["tasks"]]
    if ended := _ended(result):
        parts.append(ended)
    return "\n\n".join(parts)


def shown(result: Result) -> bool:
    """Whether there is anything to show: a run with default settings."""
    return any(row["role"] == "default" for row in result.rows)


def roles(result: Result) -> list[str]:
    """The roles that were run: "default", and "tuned" where there was tuning."""
    return list(dict.fromkeys(["default", result.role]))


def overview(result: Result, role: str) -> str:
    """Medians: a line a task, a column a contender."""
    lines = []
    for task in result.tasks:
        best = result.best(task, role)
        lines.append(
            [
                task,
                *(
                    _short(result.interval(task, name, role)) + ("*" if name in best else "")
                    for name in result.contenders
                ),
            ]
        )
    return f"After equal steps, {role} settings:\n\n" + aligned(
        ["task", *result.contenders], lines, markdown=True
    )


def of_task(result: Result, task: Mapping[str, Any]) -> str:
    """A task: a line a contender; default beside tuned, seen beside unseen, equal amounts."""
    name, role = task["name"], result.role
    amounts = {against: result.equal(name, against) for against in ("seconds", "fits")}
    floor, best = result.floor(name), result.best(name)
    heads = ["flow", *roles(result), f"{role}, seen"]
    heads += [f"at {_number(amount)} {against}" for against, amount in amounts.items()]
    heads += ["seconds", f"{role} settings"]
    lines = []
    for contender in result.contenders:
        cells = [_cell(result.interval(name, contender, one)) for one in roles(result)]
        cells.append(_cell(result.interval(name, contender, role, seen=True)))
        cells += [
            _cell(result.interval(name, contender, role, at=(against, amount)))
            if math.isfinite(amount)
            else "-"
            for against, amount in amounts.items()
        ]
        rows = result.of(name, contender, role)
        ends = [row["curve"]["seconds"][-1] for row in rows if "curve" in row]
        spent = f"{sorted(ends)[len(ends) // 2]:.2g}" if ends else "-"
        star = " *" if contender in best else ""
        lines.append([f"{contender}{star}", *cells, spent, _settings(rows)])
    told = f"{name}{f': {words}' if (words := task['title']) else ''}"
    told += f", N = {task['particles']}, M = {task['targets']}"
    near = "" if floor is None else f", floor {floor:.3g}"
    return f"**{told}{near}**, {task['steps']} steps:\n\n{aligned(heads, lines, markdown=True)}"


def verdict(result: Result) -> str:
    """Whether one contender outperforms the others consistently, with intervals."""
    if result.study["seeds"] == 1:
        return "One seed has no intervals: which flow is better is not said."
    return "\n".join(_verdict(result, role) for role in roles(result))


def _verdict(result: Result, role: str) -> str:
    tasks = result.tasks
    best = {task: result.best(task, role) for task in tasks}
    wins = {name: [task for task in tasks if name in best[task]] for name in result.contenders}
    everywhere = [name for name in wins if len(wins[name]) == len(tasks)]
    alone = {name: sum(best[task] == [name] for task in tasks) for name in wins}
    kind = f"{role} settings, {len(tasks)} tasks, {result.study['seeds']} seeds"
    if len(wins) == 1:
        return f"With one contender there is nothing to compare ({kind})."
    if everywhere:
        first = max(everywhere, key=lambda name: alone[name])
        always = alone[first] == len(tasks)
        said = "does not hold here" if always else "is not shown here"
        return (
            f"That no single loss consistently outperforms the others {said} ({kind}): {first} is"
            f" among the best on every task, and alone in front on {alone[first]}."
        )
    first = max(wins, key=lambda name: (len(wins[name]), alone[name]))
    lines = [
        f"No single loss consistently outperforms the others ({kind}): no contender is among the"
        f" best on all tasks. {first} is on most, {len(wins[first])}."
    ]
    for name in sorted(wins, key=lambda name: -len(wins[name])):
        lines.append(f"- {name}: {len(wins[name])} of {len(tasks)}{_beaten(result, name, role)}")
    return "\n".join(lines)


def _beaten(result: Result, name: str, role: str) -> str:
    """Where a contender is farthest behind the best, and by how much."""
    behind: list[tuple[float, str]] = []
    for task in result.tasks:
        best = result.best(task, role)
        if not best or name in best:
            continue
        by = result.difference(task, name, best[0], role)
        told = (
            f"; farthest behind on {task}: {by} floors behind {best[0]}"
            if math.isfinite(by.median)
            else f"; on {task} most of its runs have no sound end"
        )
        behind.append((by.median, told))
    return max(behind)[1] if behind else ""


def _ended(result: Result) -> str:
    """The runs of the comparison that did not complete, counted."""
    counted: dict[str, int] = {}
    for row in result.rows:
        if row["role"] != "trial" and row["status"] != "completed":
            told = f"{row['contender']} on {row['task']}, {row['role']}: {row['status']}"
            counted[told] = counted.get(told, 0) + 1
    if not counted:
        return ""
    lines = [f"- {told} ({count} seeds)" for told, count in counted.items()]
    return "Runs that did not complete; they count as worse than all others:\n\n" + "\n".join(lines)


def published(rows: Sequence[Mapping[str, Any]]) -> str:
    """Published numbers beside ours."""
    lines = []
    for row in rows:
        ours, theirs = row["ours"], row["published"]
        lines.append(
            [
                f"{row['title']}: {row['quantity']}" + ("" if row["same_start"] else " (own draw)"),
                f"{row['dt']:g}",
                str(row["step"]),
                f"{theirs:.3g}",
                row["status"] if ours is None else f"{ours:.4g}",
                "-" if ours is None else f"{round(100 * (ours / theirs - 1), 1) + 0:+.1f} %",
            ]
        )
    heads = ["run", "dt", "step", "published", "ours", "difference"]
    text = "Published numbers beside ours:\n\n" + aligned(heads, lines, markdown=True)
    counted = [
        [row["title"], str(row["step"]), str(row["behind_published"]), str(row["behind"])]
        for row in rows
        if row["behind"] is not None
    ]
    if counted:
        text += "\n\nParticles of 240 that are more than 0.1 from the rings, by the poster:\n\n"
        text += aligned(["run", "step", "published", "ours"], counted, markdown=True)
    return text


def _short(found: Interval) -> str:
    return _number(found.median) if found.count else "-"


def _cell(found: Interval) -> str:
    return "no sound end" if found.count and math.isinf(found.median) else str(found)


def _number(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:.3g}"


def _settings(rows: Sequence[Mapping[str, Any]]) -> str:
    settings = rows[0]["settings"] if rows else {}
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
    )
