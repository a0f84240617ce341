"""Words for messages: corrections of misspelt names, and text that is safe to print.

This file imports only the standard library: the command line refuses a misspelt name before it
imports anything slow.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

# The least length of a common beginning, in letters, that suggests a name: 2 fit too many names.
BEGINNING = 3
# The least share of equal letters at which a name is suggested.
ALIKE = 0.7
# What a first letter in the same case is worth, as a share of equal letters.
CASE = 0.1
# Modules whose libraries take seconds to import.
SLOW = {"plotting", "scikit"}
# Characters that control a terminal, or that reverse the direction of the text after them.
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(text: str, keep: str = "") -> str:
    """The text with control characters escaped as Python writes them: \\n, \\x1b.

    Characters in `keep` stay. Without `keep` the text takes one line.
    """
    return _COMMANDS.sub(
        lambda one: one[0] if one[0] in keep else one[0].encode("unicode_escape").decode(), text
    )


def nearest(word: str, known: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name: `; did you mean 'kale'?`, or nothing."""
    return did_you_mean(closest(word, known, synonyms))


def did_you_mean(guess: str) -> str:
    """The question after a wrong name; empty without a guess."""
    return f"; did you mean '{guess}'?" if guess else ""


def closest(word: str, known: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str:
    """The known name that an unknown one probably means; empty where no guess is likely.

    Four guesses are tried in this order:

    1. a synonym;
    2. a known name with at most one wrong letter in three;
    3. a synonym with at most one wrong letter in four;
    4. a known name with the same beginning.
    """
    said, names = _plain(word), list(known)
    if synonyms and said in synonyms:
        return synonyms[said]
    slips = {name: _slips(said, _plain(name)) for name in names}
    near = [
        name
        for name in names
        if slips[name] <= len(said.strip("-")) // 3
        or (slips[name] == 1 and said[:1] == _plain(name)[:1])
    ]
    if near:
        return min(near, key=lambda name: slips[name])
    others = [other for other in synonyms or () if _slips(said, other) <= len(said) // 4]
    if synonyms and others:
        return synonyms[others[0]]
    begun = [
        name
        for name in names
        if min(len(said.strip("-")), len(name.strip("-"))) >= BEGINNING
        and _begins(said, _plain(name))
    ]
    return begun[0] if begun else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "-").replace(" ", "-")


def _begins(one: str, other: str) -> bool:
    """Does one name begin with the other, or end with it after a hyphen?"""
    short, long = sorted((one, other), key=len)
    return long.startswith(short) or long.endswith("-" + short.strip("-"))


def _slips(one: str, other: str) -> int:
    """The edit distance of two words.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours.
    """
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one):
        row = [i + 1]
        for j, another in enumerate(other):
            cost = min(rows[i][j] + (letter != another), rows[i][j + 1] + 1, row[j] + 1)
            if i and j and (letter, one[i - 1]) == (other[j - 1], another):
                cost = min(cost, rows[i - 1][j - 1] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]


def nearest_file(name: str, known: Iterable[str]) -> str:
    """As `nearest`, for file names: only the parts before the endings are compared."""
    stems = {file.rpartition(".")[0].lower(): file for file in known}
    return _meant(
        [
            stems[stem]
            for stem in difflib.get_close_matches(name.rpartition(".")[0].lower(), list(stems), n=1)
        ]
    )


def suggesting(module: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A public module's `__getattr__` and `__dir__`.

    The error of the first suggests the nearest name, or another module's. The second lists the
    names of `__all__`: what the module imports is not shown.
    """

    def unknown(name: str) -> Any:
        raise unknown_name(module, name)

    def offered() -> list[str]:
        return sorted(vars(sys.modules[module])["__all__"])

    return unknown, offered


def unknown_attribute(value: Any, name: str) -> Any:
    """The `__getattr__` of a class: its error suggests the nearest attribute.

    Python calls it where an attribute is missing, and also where a property of that name raised
    AttributeError: the property's own error is raised again then.
    """
    if name.startswith("_") or hasattr(type(value), name):
        return object.__getattribute__(value, name)
    told = f"'{type(value).__name__}' object has no attribute '{name}'"
    known = [each for each in dir(value) if not each.startswith("_")]
    # without obj=: Python would add its own guess
    raise AttributeError(f"{told}{nearest(name, known)}", name=name)


def unknown_name(module: str, name: str) -> AttributeError:
    told = f"module '{module}' has no attribute '{name}'"
    if name.startswith("_"):  # asked for by programs that look at modules, such as inspect
        return AttributeError(told, name=name)
    package = module.partition(".")[0]
    # hasattr ends here too: only a name that looks like a class is worth seconds of imports
    if name[:1].isupper():
        for room in set(vars(sys.modules[package])["_MODULES"]) - SLOW:
            importlib.import_module(f"{package}.{room}")
    rooms = [
        room
        for room in list(sys.modules)
        if room.startswith(f"{package}.")
        and room.count(".") == 1
        and not room.startswith(f"{package}._")
    ]
    elsewhere = [room for room in rooms if room != module and name in _public(room)]
    meant = _most_like(name, _public(module))
    if elsewhere and meant.lower() != name.lower():
        meant = f"{min(elsewhere, key=lambda room: (not _offers(room), room))}.{name}"
    return AttributeError(f"{told}{_meant([meant] if meant else [])}", name=name)


def _most_like(name: str, known: Iterable[str]) -> str:
    """The known name that is most like the word, or nothing.

    Letters count in either case. Between `Fit` and `fit` the first letter of the word decides.
    """
    likeness = {
        each: difflib.SequenceMatcher(None, each.lower(), name.lower()).ratio() for each in known
    }
    near = [each for each in likeness if likeness[each] >= ALIKE]
    return max(
        near,
        key=lambda each: likeness[each] + CASE * (each[:1].isupper() == name[:1].isupper()),
        default="",
    )


def _offers(room: str) -> bool:
    return "__all__" in vars(sys.modules[room])


def _public(module: str) -> list[str]:
    """The names that a module offers: its __all__, or what it defines without an underscore."""
    names = vars(sys.modules[module])
    own = [
        name for name, value in names.items() if not name.startswith("_") and _home(value) == module
    ]
    return list(names.get("__all__", own))


def _home(value: Any) -> Any:
    """The module in which a class or a function is written."""
    return value.__module__ if isinstance(value, type | FunctionType) else None


def _meant(matches: Sequence[str]) -> str:
    return did_you_mean(matches[0]) if matches else ""


def number(count: int, noun: str) -> str:
    """The count with its noun: "1 step", "2 steps"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def last_known(values: Iterable[float]) -> float:
    """The last value that is a number; NaN where none is."""
    known = [float(value) for value in values if math.isfinite(value)]
    return known[-1] if known else math.nan


def called(name: str, report: Mapping[str, Any]) -> str:
    """A metric's name in a table, with the number of points drawn where a run's report has it."""
    _, _, drawn = report.get("labels", {}).get(name, name).rpartition(", of ")
    return f"{name} (of {drawn})" if drawn.endswith(" drawn") else name
