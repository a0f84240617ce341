"""Studies as settings: what they ask for, the values of sweeps, and refusals before any work.

This file imports only the standard library: a sweep that cannot be is refused at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from particleflow._refusals import Argument, Refusal, RefusedValueError
from particleflow._words import did_you_mean
from particleflow.cli import toml
from particleflow.cli.idle import acting
from particleflow.cli.options import BY_NAME, OPTIONS
from particleflow.cli.toml import Settings, given
from particleflow.cli.values import from_text

# Swept options that make a problem of their own for each value.
SIZES = ("n", "m")
# Options that every run of a study shares.
SHARED = ("steps",)
# Options that do nothing in a study: it makes no film, and records at places of its own.
IDLE = ("threads", "records", "record", "film")

# The value of each swept option of one contender.
Values = dict[str, Any]


def many(settings: Settings) -> bool:
    """Do the settings ask for a study?"""
    one = given(settings.get("seeds"), 1) == 1
    return bool(not one or settings.get("tune") or settings.get("sweep"))


def swept(settings: Settings) -> dict[str, list[Any]]:
    """The values of each swept option; words come first, since other options depend on them.

    Raises
    ------
    RefusedValueError
        A sweep is not NAME=V1,V2,..., or a name or a value cannot be used.
    """
    found: dict[str, list[Any]] = {}
    for text in settings.get("sweep") or []:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not name or not values.strip():
            raise RefusedValueError(
                "sweep", "must be NAME=V1,V2,...", f"'{text}'", "write it as in lam=0.01,0.1,1"
            )
        _refuse_name(name)
        if name in found:
            raise RefusedValueError(
                "sweep", f"must name {name} once", f"'{text}' too", "give all its values in one"
            )
        try:
            parts = [from_text(BY_NAME[name], part.strip()) for part in values.split(",")]
        except Refusal as error:
            raise error.renamed({name: f"{name} in --sweep"}) from None
        if len(set(parts)) < len(parts):
            raise RefusedValueError(
                "sweep", f"must give each value of {name} once", f"'{text}'", "leave one out"
            )
        found[name] = parts
    return dict(sorted(found.items(), key=lambda item: BY_NAME[item[0]].names is None))


def _refuse_name(name: str) -> None:
    """Refuse a name that no flow could be swept over."""
    known = [
        option.name
        for option in OPTIONS
        if (option.flows or option.name in SIZES) and option.name not in SHARED
    ]
    if name in known:
        return
    if name in BY_NAME:
        raise RefusedValueError(
            "sweep",
            "must be over an option of the flows, or n or m",
            name,
            f"run a comparison for each {name}",
        )
    guess = toml.meant(name, known)
    raise RefusedValueError(
        "sweep",
        "must be over an option of the flows, or n or m",
        f"'{name}'",
        did_you_mean(guess) or f"known are {', '.join(known)}",
    )


def contenders(
    settings: Settings, flow: str, sweeps: dict[str, list[Any]]
) -> list[tuple[str, Values]]:
    """The names and the swept values of a flow: the grid of all sweeps that act in it."""
    grid: list[Values] = [{}]
    for name, values in sweeps.items():
        if name not in SIZES:
            grid = [
                {**chosen, **one}
                for chosen in grid
                for one in (
                    [{name: value} for value in values]
                    if acts(settings, flow, chosen, name)
                    else [{}]
                )
            ]
    return [(named(flow, chosen), chosen) for chosen in grid]


def problems(sweeps: dict[str, list[Any]]) -> list[Values]:
    """The numbers of particles and target points that are swept: a grid."""
    sizes = {name: sweeps[name] for name in SIZES if name in sweeps}
    return [dict(zip(sizes, values, strict=True)) for values in product(*sizes.values())]


def acts(settings: Settings, flow: str, chosen: Values, option: str) -> bool:
    """Does an option change the flow, with the values chosen so far?"""
    return option in acting({**settings, flow: {**settings.get(flow, {}), **chosen}}, flow)


def named(begin: str, chosen: Values) -> str:
    """The name of a contender or a task, with the swept values: "kale lam=0.01"."""
    return " ".join([begin, *(f"{name}={short(value)}" for name, value in chosen.items())])


def refuse(asked: Settings, settings: Settings, flows: Sequence[str]) -> None:
    """Refuse a study that contradicts itself, and flags that would do nothing.

    `asked` are the flags.
    """
    if not many(settings):
        if asked.get("jobs") is not None:
            raise RefusedValueError(
                "jobs",
                (Argument("jobs"), " is for many runs, and this is one of each flow"),
                remedy=("leave it out, or add ", Argument("seeds")),
            )
        return
    for name in IDLE:
        if asked.get(name) not in (None, False):
            raise RefusedValueError(
                name,
                (
                    Argument(name),
                    " has no meaning with ",
                    Argument("seeds"),
                    ", ",
                    Argument("tune"),
                    " or ",
                    Argument("sweep"),
                ),
                remedy=("take ", Argument("jobs")) if name == "threads" else "leave it out",
            )
    sweeps = swept(settings)
    for name in sweeps:
        if asked.get(name) is not None:
            raise RefusedValueError(
                name,
                (Argument(name), f" cannot be given beside the sweep of {name}"),
                remedy="leave it out, or add its value to the sweep",
            )
        if name not in SIZES and not any(
            name in chosen for flow in flows for _, chosen in contenders(settings, flow, sweeps)
        ):
            raise RefusedValueError(
                "sweep",
                f"must be over an option that acts in one of the flows {', '.join(flows)}",
                name,
                "leave it out, or name other flows",
            )
        if settings.get("tune") and BY_NAME[name].tuned:
            raise RefusedValueError(
                "sweep",
                (
                    Argument("sweep"),
                    f" cannot be over {name}, which ",
                    Argument("tune"),
                    " chooses",
                ),
                remedy="leave one of them out",
            )


def short(value: Any) -> str:
    """A value as in names and tables."""
    return f"{value:g}" if isinstance(value, float) else str(value)
