"""The page of a report: what it shows, and the writing of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from particleflow import _checks
from particleflow.plotting.figures.inline import svg
from particleflow.plotting.figures.multiples import Multiple, single
from particleflow.plotting.scenes.records import writable
from particleflow.plotting.scenes.records import write as write_file
from particleflow.plotting.style import DARK, LIGHT, Theme, stroke
from particleflow.study.cell import held_out
from particleflow.study.drawing import ALONG, FLOOR, panels, sensitivity, speeds
from particleflow.study.progress import duration
from particleflow.study.readings import UNSOUND, flat
from particleflow.study.report import heat, truth
from particleflow.study.rows import Rows

# Width and height of a panel, in inches; the same where there are at most so many panels.
PANEL = (2.8, 2.05)
WIDE = (4.4, 2.9)
FEW = 3
# Entries of the environment that the banner does not show as versions.
MACHINE = ("date", "system", "processor", "processors", "threads", "command")
# Columns of numbers of the rows of a task.
NUMBERS = ("steps", "time", "seconds", "fits")
# The colours of links, of what is good and of what is not, on a light and on a dark ground.
ACCENTS = {False: ("#0B63A5", "#00684A", "#A63A00"), True: ("#6FB7EE", "#4FD1A5", "#F9A876")}
# The grounds of code and heads of tables.
GROUNDS = {False: "#F4F5F7", True: "#171C24"}


def write(
    result: Rows,
    file: str | Path,
    statements: Sequence[Mapping[str, Any]] | None,
    speed: Sequence[Mapping[str, Any]] | None,
    players: Mapping[str, str] | None,
    title: str,
    command: str,
) -> Path:
    """Write the page; see `Result.report`."""
    path = writable(file, (".html", ".htm"), "pass e.g. 'report.html'")
    _checks.text(title, "title", remedy="e.g. 'Comparison of flows'")
    _checks.text(command, "command", remedy="e.g. 'python -m benchmarks'")
    text = page(result, statements, speed, players or {}, title, command)
    write_file(path, text.encode("utf-8"))
    return path


def page(
    result: Rows,
    statements: Sequence[Mapping[str, Any]] | None,
    speed: Sequence[Mapping[str, Any]] | None,
    players: Mapping[str, str],
    title: str,
    command: str,
) -> str:
    """The text of the page."""
    from jinja2 import Environment, StrictUndefined

    here = files("particleflow.study.report")
    template, style = (
        here.joinpath(name).read_text(encoding="utf-8") for name in ("template.html", "report.css")
    )
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = truth.statements(statements or [])
    environment = result.environment
    return made.from_string(template).render(
        title=title,
        style=f"{colours()}\n{style}",
        command=command,
        environment=environment,
        versions={name: said for name, said in environment.items() if name not in MACHINE},
        interrupted=result.interrupted,
        result=result,
        study=result.study,
        tuned=result.role == "tuned",
        best=heat.sentence(result),
        wins=heat.wins(result),
        truth=shown,
        sections=truth.sections(shown),
        strip=(truth.WIDTH, truth.HEIGHT, truth.TOP, truth.BOTTOM),
        equal=[(name, heat.at_equal(result, name)) for name in ("steps", "seconds", "fits")],
        worst=heat.WORST,
        tones=range(heat.TONES),
        roles=heat.compared(
            result, [("default", "default", False), ("tuned", "tuned", False)], result.tasks
        ),
        sides=heat.compared(
            result,
            [("never seen", result.role, False), ("seen", result.role, True)],
            result.tasks,
        ),
        floor=FLOOR,
        key_entries=[{"name": name, **_stroke(k)} for k, name in enumerate(result.contenders)],
        curves=[
            (ALONG[against], _panels(panels(result, against, result.tasks, result.role), against))
            for against in ("seconds", "steps")
        ],
        few=FEW,
        differences=heat.differences(result),
        sensitivity=_sensitivity(result),
        players=players,
        speed=_speed(speed),
        rows=_rows(result),
        failures=_failures(result),
        spent=duration(result.spent),
    )


def colours() -> str:
    """The colours of the page as variables of its style sheet, light and dark."""
    light, dark = (_variables(theme) for theme in (LIGHT, DARK))
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        + "\n".join(
            f".t{k} {{ background: var(--tone{k}); color: var(--text{k}); }}"
            for k in range(heat.TONES)
        )
    )


def _variables(theme: Theme) -> str:
    key, good, bad = ACCENTS[theme.dark]
    named = {
        "ground": theme.ground,
        "ink": theme.ink,
        "quiet": theme.faint,
        "line": theme.spine,
        "panel": GROUNDS[theme.dark],
        "key": key,
        "good": good,
        "bad": bad,
        "shade": "2" if theme.dark else "1",
    }
    for k, (ground, text) in enumerate(heat.tones(theme.dark)):
        named |= {f"tone{k}": ground, f"text{k}": text}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def _stroke(k: int) -> dict[str, str]:
    """The colour and the dashes of the k-th contender in the key."""
    hue, dashes = stroke(k)
    width = 2.5
    broken = "" if dashes == "-" else " ".join(f"{width * part:g}" for part in dashes[1])
    return {"colour": "var(--ink)" if hue == LIGHT.ink else hue, "dashes": broken}


def _panels(drawn: Sequence[Multiple], prefix: str) -> list[dict[str, str]]:
    """Each panel's title and picture."""
    from markupsafe import Markup

    size = WIDE if len(drawn) <= FEW else PANEL
    return [
        {
            "title": one.title,
            "picture": Markup(svg(single(one, size), f"{prefix}{k}-", f"{one.title}: {one.along}")),
        }
        for k, one in enumerate(drawn)
    ]


def _sensitivity(result: Rows) -> list[dict[str, str]]:
    """A panel for each parameter of each contender that was tried."""
    from dataclasses import replace

    drawn = []
    for contender in result.study["contenders"]:
        for name, part in contender["parameters"].items():
            one = sensitivity(result, contender["name"], name, part)
            if one.dots and len(one.dots[0].x):
                drawn.append(replace(one, title=f"{contender['name']}: {name}"))
    return _panels(drawn, "trial")


def _speed(rows: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """The figures of speeds and their key.

    Raises
    ------
    TypeError, ValueError
        A row is no mapping, or lacks an entry.
    """
    example = "{'backend': 'Dense', 'd': 2, 'N': 1000, 'ms': 3.2}"
    found = [] if rows is None else _checks.several(rows, "speed", remedy=f"e.g. [{example}]")
    for row in found:
        if not isinstance(row, Mapping):
            raise TypeError(f"`speed` must hold mappings, got {_checks.said(row)}: e.g. {example}")
        if missing := [name for name in ("backend", "d", "N", "ms") if name not in row]:
            raise ValueError(
                f"`speed` must have {missing[0]!r} in each row, got {', '.join(row)}: e.g.{example}"
            )
    backends = list(dict.fromkeys(row["backend"] for row in found))
    return {
        "key": [{"name": name, **_stroke(k)} for k, name in enumerate(backends)],
        "panels": _panels(speeds(found, backends), "speed"),
    }


def _rows(result: Rows) -> list[dict[str, Any]]:
    """The rows of each task, in words."""
    metric = result.metric
    columns = [*NUMBERS, f"{metric} start", metric, f"{held_out(metric)} start", held_out(metric)]
    found = []
    for task in result.tasks:
        lines = []
        for row in result.made:
            if row["task"] == task:
                plain = flat(row)
                settings = ", ".join(f"{k}={_said(v)}" for k, v in row["settings"].items())
                trial = row["role"] == "trial"
                role = f"trial {row['trial']}" if trial else row["role"]
                numbers = [_said(plain.get(name)) for name in columns]
                begin = [row["contender"], role, row["seed"], row.get("status", "")]
                lines.append([*begin, *numbers, settings])
        found.append({"task": task, "lines": lines})
    heads = ["contender", "role", "seed", "status", *columns, "settings"]
    return [{"heads": heads, **one} for one in found]


def _failures(result: Rows) -> list[dict[str, Any]]:
    """The runs without a sound end, equal ones together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in result.made:
        if row["status"] in UNSOUND:
            kind = (row["task"], row["contender"], row["role"], row["status"], row["message"])
            trial = row["role"] == "trial"
            found.setdefault(kind, []).append(str(row["trial"] if trial else row["seed"]))
    names = ("task", "contender", "role", "status", "message")
    return [
        {**dict(zip(names, kind, strict=True)), "which": ", ".join(which), "count": len(which)}
        for kind, which in found.items()
    ]


def _said(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
