"""Words for messages, out of the standard library alone: the command line refuses a slip before anything slow is imported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'kale'?` or nothing: the end of a message about an unknown name."""
    return _meant(difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.4))


def nearest_file(name: str, known: Iterable[str]) -> str:
    """The same of files, by what is before their endings, which are alike for no reason."""
    stems = {file.rpartition(".")[0].lower(): file for file in known}
    return _meant([stems[stem] for stem in difflib.get_close_matches(name.rpartition(".")[0].lower(), list(stems), n=1)])


def unknown_name(module: str, name: str, known: Iterable[str]) -> AttributeError:
    """For a module's `__getattr__`: the error of a name that it does not have, with the nearest one that it has."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.7)
    return AttributeError(f"module '{module}' has no attribute '{name}'{_meant([by_lower[word] for word in near])}", name=name)


def _meant(matches: Sequence[str]) -> str:
    return f"; did you mean '{matches[0]}'?" if matches else ""
