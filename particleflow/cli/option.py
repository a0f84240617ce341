"""One option: a flag of the command line and a key of a TOML file; and the groups of the help.

This file imports only the standard library, so that `particleflow --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from particleflow.cli.names import FLOWS
from particleflow.cli.records import Record

Kind = Literal["text", "whole", "number", "numbers", "names", "lines", "switch"]


@dataclass(frozen=True)
class Tuned:
    """The values that tuning tries: from `low` to `high`, on a logarithmic scale unless `linear`.

    `relative`: they are multiples of the value that is given, or chosen from the data.
    """

    low: float
    high: float
    linear: bool = False
    relative: bool = False


@dataclass(frozen=True)
class Option:
    """One setting: a flag of the command line and a key of a TOML file.

    A value is one of `names`, or a path with one of the endings in `files`. A number is greater
    than `above`, at least `least` and at most `most`. A refusal ends with `remedy`, or with `lower`
    for a number above `most`. `nothing` is a value that may be given where the option does not act.
    `tuned` are the values that tuning tries. A flag of the kind "lines" may be given several times.
    """

    name: str
    kind: Kind
    group: str
    help: str
    metavar: str = ""
    names: Mapping[str, Record] | None = None
    files: tuple[str, ...] = ()
    above: float | None = None
    least: float | None = None
    most: float | None = None
    remedy: str = "leave it out for the default"
    lower: str = ""
    default: str | float | None = None
    nothing: float | None = None
    tuned: Tuned | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def flows(self) -> list[str]:
        """The flows that take it; empty for an option of the whole run."""
        return [flow.name for flow in FLOWS.values() if self.name in flow.takes]


# The groups of options in the help.
WHAT = "what to run"
PROBLEM = "the problem"
FLOW = "the flows"
STUDY = "many runs"
OUTPUT = "results"
WINDOW = "the page"
