"""The options: what each sets, its values, and the words of the command line for it.

An option is a flag of the command line and a key of a TOML file. This file imports only the
standard library, so that `particleflow --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from particleflow._refusals import Argument, Keyword, Refusal, Sentence
from particleflow.cli.defaults import (
    EXACT_UNASKED,
    LARGEST,
    ONE_THREAD,
    PARTICLES,
    RECORDS,
    ROWS,
    SAMPLES,
    SHOWN,
    processors,
)
from particleflow.cli.flow_options import FLOW_OPTIONS
from particleflow.cli.names import (
    COMPARED,
    FLOWS,
    MOVES,
    PICTURES,
    POINT_FILES,
    STARTS,
    TARGETS,
)
from particleflow.cli.option import OUTPUT, PROBLEM, STUDY, WHAT, WINDOW, Option
from particleflow.cli.parts import (
    FILMS,
    METRICS,
    RECORDED,
)
from particleflow.cli.study_options import STUDY_OPTIONS
from particleflow.cli.synonyms import INSTEAD

# All options, in the order of the help and of config.toml.
OPTIONS = (
    Option("flow", "text", WHAT, "the flow (live: mmd at first)", "NAME", FLOWS),
    Option(
        "flows",
        "names",
        WHAT,
        f"the flows, separated by commas (default: {','.join(COMPARED)})",
        "NAMES",
        FLOWS,
    ),
    Option(
        "target",
        "text",
        WHAT,
        "where to flow to: a name, or a .csv .npy .npz .png .jpg file (default: rings)",
        "TARGET",
        TARGETS,
        POINT_FILES + PICTURES,
    ),
    Option(
        "n",
        "whole",
        PROBLEM,
        f"number of particles (default: {PARTICLES}; of a start from a file: its rows; live:"
        f" {SHOWN})",
        "N",
        least=1,
        most=LARGEST,
    ),
    Option(
        "m",
        "whole",
        PROBLEM,
        f"number of target samples (default: {SAMPLES}; of a file of points: its rows, at most"
        f" {ROWS}; live: {SHOWN})",
        "M",
        least=1,
        most=LARGEST,
    ),
    Option(
        "start",
        "text",
        PROBLEM,
        "where the particles start: auto, gaussian, or as --target a name or a file (default:"
        " auto)",
        "START",
        {**TARGETS, **STARTS},
        POINT_FILES + PICTURES,
    ),
    Option(
        "start_mean",
        "numbers",
        PROBLEM,
        "mean of the start, one number or d of them: 0,-0.3 (default: from the target)",
        "X,Y",
    ),
    Option(
        "start_std",
        "number",
        PROBLEM,
        "standard deviation of the start (default: from the target)",
        "S",
        above=0,
        remedy="for all particles in one place take a small one",
    ),
    Option(
        "pca",
        "whole",
        PROBLEM,
        "keep so many principal components of the target, in the start too; 0 keeps all (default:"
        " 0; digits, iris, wine: 2)",
        "D",
        least=0,
    ),
    Option("key", "text", PROBLEM, "the array of an .npz file that holds several", "NAME"),
    Option(
        "columns",
        "names",
        PROBLEM,
        "the coordinates in files of points, by name or by number from 0 on: x,y or 1,2 (default:"
        " all)",
        "NAMES",
    ),
    Option(
        "bright",
        "switch",
        PROBLEM,
        "spread the points over a picture's bright pixels, not its dark ones (default: no)",
    ),
    Option("seed", "whole", PROBLEM, "of all random numbers (default: 0)", "SEED", least=0),
    Option(
        "threads",
        "whole",
        PROBLEM,
        f"of the processor (default: 1; all where there are more than {ONE_THREAD} points)",
        "COUNT",
        least=1,
        most=processors(),
        lower=f"this machine has {processors()} processors",
    ),
    *FLOW_OPTIONS,
    *STUDY_OPTIONS,
    Option(
        "out",
        "text",
        OUTPUT,
        "folder, made if needed; what an earlier run has left there is replaced (default: out)",
        "FOLDER",
    ),
    Option(
        "metrics",
        "names",
        OUTPUT,
        f"what to measure, separated by commas (default: w2,mmd2; beyond {EXACT_UNASKED} points"
        " sliced,mmd2)",
        "NAMES",
        METRICS,
    ),
    Option(
        "records",
        "whole",
        OUTPUT,
        f"states to record and measure, about; they are equally far apart (default: {RECORDS})",
        "COUNT",
        least=1,
    ),
    Option(
        "record",
        "names",
        OUTPUT,
        "what to record beside the particles, separated by commas: velocity, witness"
        " (default: neither)",
        "NAMES",
        RECORDED,
    ),
    Option(
        "film",
        "text",
        OUTPUT,
        "the film: gif, mp4, which is several times smaller, or none, which saves some seconds"
        " (default: gif)",
        "KIND",
        FILMS,
    ),
    Option(
        "port",
        "whole",
        WINDOW,
        "of the page's address on this machine; 0 takes a free one (default: 0)",
        "PORT",
        least=0,
        most=65535,
        lower="take a smaller one, or leave it out for a free one",
    ),
    Option("browser", "switch", WINDOW, "open the page in the browser (default: yes)"),
)
# The options by name.
BY_NAME = {option.name: option for option in OPTIONS}
# The option that names the flows of a command.
OF_COMMAND = {"run": "flow", "compare": "flows"}
# The groups and options that `live` lacks: of a start, of a run's end, of threads, of results.
NOT_LIVE = (
    STUDY,
    OUTPUT,
    "flows",
    "start",
    "start_mean",
    "start_std",
    "steps",
    "anneal",
    "start_bandwidth",
    "beta_half",
    *MOVES,
    "threads",
)
# The names that `live` lacks: there a bandwidth stays until its slider moves, and masses stay.
LACKING = {"flow": ("auto", "ift"), "integrator": ("paced",)}


def options_of(command: str) -> tuple[Option, ...]:
    """The options of `run`, `compare` or `live`."""
    if command == "live":
        return tuple(
            _live(o) for o in OPTIONS if o.group not in NOT_LIVE and o.name not in NOT_LIVE
        )
    other = {name for c, name in OF_COMMAND.items() if c != command}
    groups = {WINDOW} if command == "compare" else {WINDOW, STUDY}
    return tuple(o for o in OPTIONS if o.group not in groups and o.name not in other)


def _live(option: Option) -> Option:
    """An option as `live` takes it."""
    if option.names is None or option.name not in LACKING:
        return option
    names = {k: v for k, v in option.names.items() if k not in LACKING[option.name]}
    return replace(option, names=names)


def as_flag(word: Argument) -> str:
    """The command line's words for an argument of the library: the flag that sets it."""
    passed = isinstance(word, Keyword)
    if passed and word.name in INSTEAD:
        return INSTEAD[word.name]
    option = BY_NAME.get(word.name)
    if option is None:
        return str(word)
    if not isinstance(word, Keyword) or word.value is None:
        return option.flag
    if word.value is False:
        return f"--no{option.flag[1:]}"
    if word.value is True:
        return option.flag
    return f"{option.flag} {','.join(map(str, word.value))}"


def in_flags(told: object, places: Mapping[str, str] | None = None) -> str:
    """The text of an error or a warning, with flags for arguments, or their `places` in a file."""
    if isinstance(told, Refusal) and places:
        told = told.renamed(places)
    return told.said(as_flag) if isinstance(told, Sentence) else str(told)
