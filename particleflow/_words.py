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


def _meant(matches: Sequence[str]) -> str:
    return f"; did you mean '{matches[0]}'?" if matches else ""
