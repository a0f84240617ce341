"""Words for messages, out of the standard library alone: the command line refuses a slip before anything slow is imported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'kale'?` or nothing: the end of a message about an unknown name."""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.4)
    return f"; did you mean '{match[0]}'?" if match else ""
