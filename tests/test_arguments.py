"""An argument acts or is refused: for every parameter of every public class and function, two
values of it that must make a difference.

A parameter that is not listed fails. Say how it acts: two values, and what else must be given for
them to matter. What is compared is what `see` makes of the result: values, bits of a file, a
warning. Where the second value is `Refused`, it is an error that names the argument.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acts import ACTS, SWITCHED_OFF
from seen import (
    Elsewhere,
    Fresh,
    Later,
    Refused,
    Warned,
    bits,
)
from test_public_api import documented

from particleflow.clouds import as_cloud, as_clouds
from particleflow.mobilities.base import check_increasing
from particleflow.schedules import as_schedule

# Made by the library for its users to read, and protocols to write classes to: what their fields
# mean is tested where they are made.
MADE = {
    "integrators.Course",
    "transport.Divergence",
    "AutoFlow",
    "Fit",
    "Runs",
    "State",
    "Summary",
    "Trajectory",
    "estimators.Fit",
    "estimators.FieldWitness",
    "integrators.Snapshot",
    "integrators.UnconvergedError",
    "integrators.State",
    "metrics.Floor",
    "metrics.TwoSample",
    "pairwise.Audit",
    "pairwise.Promise",
    "study.Interval",
    "study.Problem",
    "study.Result",
}
# Called by the modules of the package for what users pass.
WITHIN = {
    "clouds.as_cloud": as_cloud,
    "clouds.as_clouds": as_clouds,
    "mobilities.check_increasing": check_increasing,
    "schedules.as_schedule": as_schedule,
}
WITH_METHODS = (
    "Trajectory",
    "Runs",
    "Flow",
    "SaveAt",
    "Cloud",
    "Draws",
    "Replay",
    "samplers.Rings",
    "samplers.Minibatch",
    "scikit.RatioClassifier",
)


def walked() -> dict[str, Any]:
    """Every public class and function with parameters of its own, and methods, by name."""
    public = documented()
    own = {
        name: value
        for name, value in public.items()
        if not getattr(value, "_is_protocol", False) and name not in MADE
    }
    own = {
        name: value for name, value in own.items() if not name.startswith("testing.")
    }  # they are tested by what they refuse
    aliases = {
        name
        for name in own
        if "." in name
        and any(value is own[name] for other, value in own.items() if "." not in other)
    }
    for name in WITH_METHODS:
        methods = inspect.getmembers(
            public[name], lambda member: inspect.isfunction(member) or inspect.ismethod(member)
        )
        own |= {
            f"{name}.{method}": value
            for method, value in methods
            if not method.startswith("_") and value.__module__.startswith("particleflow")
        }
    own |= WITHIN
    return {name: value for name, value in own.items() if name not in aliases and parameters(value)}


def parameters(value: Any) -> list[str]:
    return [name for name in inspect.signature(value).parameters if name != "self"]


def cases() -> list[tuple[str, str]]:
    return [(name, parameter) for name, acts in ACTS.items() for parameter in acts.pairs]


def test_every_parameter_says_how_it_acts() -> None:
    missing = {
        name: sorted(set(parameters(value)) - set(ACTS[name].pairs if name in ACTS else ()))
        for name, value in walked().items()
    }
    missing = {name: names for name, names in missing.items() if names}
    assert not missing, f"say how these act, two values each, in ACTS: {missing}"
    known = walked()
    gone = {
        name: sorted(set(acts.pairs) - set(parameters(known[name]))) if name in known else "all"
        for name, acts in ACTS.items()
    }
    assert not {name: names for name, names in gone.items() if names}


def made(value: Any, folder: Path) -> Any:
    """An argument, made where it is to be made for each call."""
    if isinstance(value, Later):
        value = value.make(folder)
    return np.random.default_rng(value.seed) if isinstance(value, Fresh) else value


def seen_of(name: str, changed: dict[str, Any], folder: Path) -> Any:
    """The bits of what comes of a call with the usual arguments, some of them changed."""
    acts = ACTS[name]
    given = {key: made(one, folder) for key, one in {**acts.given, **changed}.items()}
    unnamed = given.pop("unnamed", ())
    bound = given.pop("self", None)
    see = given.pop("see", acts.see)
    return bits(
        see(
            walked_once()[name](
                *([bound] if bound is not None else []),
                *([given.pop("points")] if unnamed else []),
                *unnamed,
                **given,
            )
        )
    )


USUAL: dict[str, Any] = {}
SAME = "{}: the same values give another result, so that a difference tells nothing"


def usual(name: str, folder: Path) -> Any:
    """What comes of the usual arguments alone: the same twice, computed for all parameters."""
    if name not in USUAL:
        USUAL[name] = seen_of(name, {}, folder)
        assert seen_of(name, {}, folder) == USUAL[name], SAME.format(name)
    return USUAL[name]


def is_usual(name: str, one: Any, parameter: str) -> bool:
    """Whether a parameter has this value already: among the usual arguments, or by default."""
    default = inspect.signature(walked_once()[name]).parameters[parameter].default
    value = ACTS[name].given.get(parameter, default)
    plain = isinstance(one, str | int | float | tuple) and type(one) is type(value)
    return value is one or (plain and bool(value == one))


@pytest.mark.parametrize(("name", "parameter"), cases(), ids=[".".join(case) for case in cases()])
def test_a_parameter_acts(name: str, parameter: str, tmp_path: Path, unchecked: None) -> None:
    acts = ACTS[name]
    if isinstance(acts.pairs[parameter], Elsewhere):
        assert acts.pairs[parameter].found(), f"there is no test {acts.pairs[parameter].words}"
        return
    one, other, *more = acts.pairs[parameter]

    def seen(value: Any) -> Any:
        return seen_of(name, {**(more[0] if more else {}), parameter: value}, tmp_path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(one, Refused):
            with pytest.raises((ValueError, TypeError, RuntimeError), match=one.words):
                seen(one.value)
        elif not more and is_usual(name, one, parameter):
            first = usual(name, tmp_path)
        else:
            first = seen(one)
            if not isinstance(other, Refused | Warned):
                assert seen(one) == first, SAME.format(name)
        if isinstance(other, Refused):
            with pytest.raises((ValueError, TypeError, RuntimeError), match=other.words):
                seen(other.value)
            return
    if isinstance(other, Warned):
        with pytest.warns(RuntimeWarning, match=other.words):
            seen(other.value)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert seen(other) != first, (
            f"`{parameter}` of {name} does nothing: {one!r} and {other!r} give the same"
        )


walked_once = cache(walked)


@pytest.mark.parametrize(
    ("make", "given", "words"),
    SWITCHED_OFF,
    ids=[f"{make.__name__}-{words.split()[0]}" for make, _, words in SWITCHED_OFF],
)
def test_what_another_argument_switches_off_is_refused(
    make: Callable[..., Any], given: dict[str, Any], words: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make(**given)
