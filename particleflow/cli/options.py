"""What the command line knows: the names it understands, its options, and the TOML files that hold
them.

Only the standard library is imported here, so that `particleflow --help` and `particleflow list`
answer at once. `build` turns what is read here into objects.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from particleflow._refusals import RefusedValueError
from particleflow._files import at_home, replace_text
from particleflow._words import nearest
from particleflow.catalogue import (
    CRITICS,
    FLOWS,
    INTEGRATORS,
    KERNELS,
    METRICS,
    MOBILITIES,
    PICTURES,
    POINT_FILES,
    RATIOS,
    STARTS,
    TARGETS,
)
from particleflow.synonyms import NAMES, OTHER_FLAGS

Settings = dict[str, Any]
"""Option name -> value; None where nobody has said anything. Below the name of a flow: the settings
of that flow alone.
"""

# What is taken where nothing is said.
DEFAULT_FLOWS = ("mmd", "mmd-noise", "kale", "mono")
PARTICLES, SAMPLES, ROWS = 240, 300, 1000
STEPS, RECORDS = 400, 50
# Up to so many points a second thread gains nothing, and where the cores are busy it makes a step
# many times slower. Sums in another number of threads have other last bits: the number is part of
# what a run is repeated from.
ONE_THREAD = 1000
# Exact W2 takes seconds a record at 2000 points, and memory that grows with the square: so many are
# measured unasked, and so many at most.
EXACT_UNASKED, EXACT_AT_MOST = 2000, 5000
# The sliced distance takes up to 200 directions, fewer where that makes more sorted numbers a
# record, but this many.
DIRECTIONS, SORTED = 32, 4e6
# More points than any machine holds: a slip.
LARGEST = 10**13
# More steps than anybody waits for (`engine.MOST_STEPS`).
LONGEST = 10**10
# What the recorded particles of all flows may take, in bytes; more records than fit are not made.
RECORDED = 2**30
LAM = 0.1
# Relative error of sums over pairs. KALE solves for its witness with them, to a smaller tolerance.
RTOL = {"mmd": 1e-5, "mmd-noise": 1e-5, "kale": 1e-10, "mono": 1e-5}
# The start in units of the target's standard deviation: how wide, and how far along the longest
# axis from the mean.
WIDTH, BESIDE = 0.35, 0.7
# What lies farther from the target's median than so many times this share of its points do is left
# out of that deviation and of that axis.
FAR, BULK = 6.0, 0.9
# Where more than the rest of the points lie so many kernel lengths beyond such a start, it is as
# wide as the target instead.
BEYOND = 7.0
# Noise injection starts with one of those units and halves so many times in a run.
HALVINGS = 8

# So begins the header of every config.toml that is written here.
MARK = "particleflow-sim "

Kind = Literal["text", "whole", "number", "numbers", "names", "switch"]
WANTED = {
    "text": "text",
    "whole": "a whole number",
    "number": "a number",
    "numbers": "a number or a list of numbers",
    "names": "a list of names",
    "switch": "true or false",
}


# How numbers may be written, for a message.
WRITTEN = {"whole": "400 or 4e2", "number": "0.01 or 1e-2", "numbers": "0,-0.3"}
# Characters of a text that a message repeats, and digits of a whole number.
LONG, DIGITS = 40, 15


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Option:
    """One setting: a flag of the command line and a key of a TOML file.

    `names` are what it may be, `files` the endings of paths that it may be instead. `flows` are
    those that it belongs to. A number is greater than `above`, at least `least` and at most `most`;
    `remedy` ends the message where it is not, or `lower` where it is more than `most`.
    """

    name: str
    kind: Kind
    group: str
    help: str
    metavar: str = ""
    names: Mapping[str, str] | None = None
    files: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()
    above: float | None = None
    least: float | None = None
    most: float | None = None
    remedy: str = "leave it out for the default"
    lower: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


ALL = tuple(FLOWS)
WHAT, PROBLEM, FLOW, OUTPUT = "what to run", "the problem", "the flows", "results"
OPTIONS = (
    Option("flow", "text", WHAT, "the flow", "NAME", FLOWS),
    Option(
        "flows",
        "names",
        WHAT,
        f"the flows, separated by commas (default: {','.join(DEFAULT_FLOWS)})",
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
        f"number of particles (default: {PARTICLES}; of a start from a file: its rows)",
        "N",
        least=1,
        most=LARGEST,
    ),
    Option(
        "m",
        "whole",
        PROBLEM,
        f"number of target samples (default: {SAMPLES}; of a file of points: its rows, at most"
        f" {ROWS})",
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
    Option("kernel", "text", FLOW, "the kernel (default: gaussian)", "NAME", KERNELS),
    Option(
        "bandwidth",
        "number",
        FLOW,
        "its length (default: in the plane a quarter of the target's median distance)",
        "L",
        above=0,
        remedy="leave it out to have one chosen",
    ),
    Option(
        "steps",
        "whole",
        FLOW,
        f"number of steps (default: {STEPS})",
        "STEPS",
        flows=ALL,
        least=1,
        most=LONGEST,
        lower="raise --dt",
    ),
    Option(
        "dt",
        "number",
        FLOW,
        "time step (default: each flow's own, from its fastest rate)",
        "DT",
        flows=ALL,
        above=0,
        remedy="leave it out to have one chosen",
    ),
    Option(
        "integrator",
        "text",
        FLOW,
        "how to step (default: euler; of langevin: euler-maruyama)",
        "NAME",
        INTEGRATORS,
        flows=ALL,
    ),
    Option(
        "rtol",
        "number",
        FLOW,
        f"relative accuracy of sums over pairs (default: {RTOL['mmd']:g}; of kale"
        f" {RTOL['kale']:g})",
        "RTOL",
        flows=tuple(RTOL),
        above=0,
        most=0.1,
    ),
    Option(
        "lam",
        "number",
        FLOW,
        "kale, mono with --ratio kale: the penalty; large: MMD, small: KL-like, stiff (default:"
        f" {LAM})",
        "LAM",
        flows=("kale", "mono"),
        above=0,
    ),
    Option(
        "beta",
        "number",
        FLOW,
        "mmd-noise: noise at first (default: the target's deviation)",
        "BETA",
        flows=("mmd-noise",),
        least=0,
    ),
    Option(
        "beta_half",
        "number",
        FLOW,
        f"mmd-noise: steps that halve it (default: --steps / {HALVINGS})",
        "STEPS",
        flows=("mmd-noise",),
        above=0,
    ),
    Option(
        "ratio",
        "text",
        FLOW,
        "mono: the estimator of the ratio (default: kde)",
        "NAME",
        RATIOS,
        flows=("mono",),
    ),
    Option(
        "mobility",
        "text",
        FLOW,
        "mono: h of the log ratio (default: logit)",
        "NAME",
        MOBILITIES,
        flows=("mono",),
    ),
    Option(
        "shift",
        "number",
        FLOW,
        "mono with --mobility vanilla: the shift C (default: 0)",
        "C",
        flows=("mono",),
    ),
    Option(
        "critic", "text", FLOW, "w1: the potential (default: exact)", "NAME", CRITICS, flows=("w1",)
    ),
    Option(
        "first_steps",
        "whole",
        FLOW,
        "mono with --ratio classifier, w1 with a network: steps of Adam before the first step"
        " (default: 1000)",
        "STEPS",
        flows=("mono", "w1"),
        least=1,
        most=LONGEST,
    ),
    Option(
        "temperature",
        "number",
        FLOW,
        "langevin: of the Brownian motion (default: 1)",
        "T",
        flows=("langevin",),
        least=0,
    ),
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
    Option("gif", "switch", OUTPUT, "make the film; --no-gif saves some seconds (default: yes)"),
)
BY_NAME = {option.name: option for option in OPTIONS}
OF_COMMAND = {"run": "flow", "compare": "flows"}


class SettingError(ValueError):
    """Input that the command line cannot use; the message is for the user."""


def options_of(command: str) -> tuple[Option, ...]:
    """The options of `run` or of `compare`."""
    other = {name for c, name in OF_COMMAND.items() if c != command}
    return tuple(option for option in OPTIONS if option.name not in other)


def from_text(option: Option, text: str) -> Any:
    """The value that a flag's text stands for."""
    if option.kind in ("names", "numbers"):
        parts = [part.strip() for part in text.split(",")]
        return checked(
            option,
            parts if option.kind == "names" else [_number(option, part) for part in parts],
            option.flag,
        )
    return checked(option, text if option.kind == "text" else _number(option, text), option.flag)


def _number(option: Option, text: str) -> float:
    try:
        number = (
            int(text)
            if option.kind == "whole" and re.fullmatch(r"[-+]?\d+", text.strip())
            else float(text)
        )
    except ValueError:
        shown = text if len(text) <= LONG else f"{text[:LONG]}..."
        raise SettingError(
            f"{option.flag} must be {WANTED[option.kind]}, got '{shown}': write it as in"
            f" {WRITTEN[option.kind]}"
        ) from None
    if isinstance(number, float) and math.isinf(number) and re.search(r"\d", text):
        raise SettingError(
            f"{option.flag} must be {WANTED[option.kind]} that a computer can hold, got '{text}':"
            " take one below 1e308"
        )
    return number


def checked(option: Option, value: Any, where: str) -> Any:
    """`value` in the option's type, its names known, its numbers in range; `where` says where it
    was given.
    """
    right = {
        "text": isinstance(value, str),
        "whole": _is(value, int) or (isinstance(value, float) and value.is_integer()),  # 1e6
        "number": _is(value, int, float),
        "numbers": (
            _is(value, int, float)
            or (isinstance(value, list) and bool(value) and all(_is(v, int, float) for v in value))
        ),
        "names": isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value),
        "switch": isinstance(value, bool),
    }
    if not right[option.kind]:
        remedy = f": write it as in {WRITTEN[option.kind]}" if option.kind in WRITTEN else ""
        raise SettingError(f"{where} must be {WANTED[option.kind]}, got {value!r}{remedy}")
    if isinstance(value, str) and "\0" in value:
        raise SettingError(
            f"{where} must be a name without null characters, got {value!r}: leave them out"
        )
    if value == "" or (isinstance(value, list) and "" in value):
        raise SettingError(f"{where} must not be empty, got {value!r}: give one, or leave it out")
    if option.kind in ("number", "whole"):
        value = float(value) if option.kind == "number" else int(value)
        _in_range(option, value, where)
    if option.kind == "numbers":
        value = [float(v) for v in value] if isinstance(value, list) else [float(value)]
        for number in value:
            _in_range(option, number, where)
    for name in [] if option.names is None else value if option.kind == "names" else [value]:
        _known(option, name, where)
    if option.kind == "names" and len(set(value)) < len(value):
        raise SettingError(f"{where} must name each once, got {','.join(value)}")
    return value


def _in_range(option: Option, value: float, where: str) -> None:
    bounds = {
        "finite": isinstance(value, int) or math.isfinite(value),
        f"> {option.above}": option.above is None or value > option.above,
        f">= {option.least}": option.least is None or value >= option.least,
        f"<= {option.most}": option.most is None or value <= option.most,
    }
    wrong = [bound for bound, kept in bounds.items() if not kept]
    if wrong:
        got = (
            f"{value:g}"
            if isinstance(value, float)
            else str(value)
            if abs(value) < 10**DIGITS
            else f"{Decimal(value):.3g}"
        )
        remedy = option.lower if option.lower and wrong[0].startswith("<=") else option.remedy
        raise SettingError(f"{where} must be {wrong[0]}, got {got}: {remedy}")


def _known(option: Option, name: str, where: str) -> None:
    names = [known for known in option.names or () if " " not in known]
    if name in names:
        return
    if option.files and (Path(name).suffix or "/" in name or "\\" in name or os.path.exists(name)):
        if Path(name).suffix.lower() not in option.files:
            raise SettingError(
                f"{where} must be one of {', '.join(names)}, or a file that ends in"
                f" {' '.join(option.files)}, got '{name}'"
            )
        return
    also = f", or a file ({' '.join(option.files)})" if option.files else ""
    guess = nearest(name, names, NAMES.get("flow" if option.name == "flows" else option.name))
    raise SettingError(f"{where} must be one of {', '.join(names)}{also}, got '{name}'{guess}")


def _is(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def read(path: str, command: str) -> Settings:
    """The settings in a TOML file. Paths in it are relative to its folder.

    Raises
    ------
    SettingError
        Not there, not TOML, an unknown key (with the nearest known one), a value of the wrong type
        (key and file are named).
    """
    if not path:
        raise SettingError("--config must be a file, got '': give its path, or leave it out")
    try:
        file = at_home(path)
        data = tomllib.loads(
            file.read_text(encoding="utf-8-sig")
        )  # some editors write a mark at its beginning
    except OSError as error:
        raise SettingError(f"--config {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"--config {path} is not TOML: {error}") from None
    except ValueError as error:  # nobody's home
        raise SettingError(str(error).replace("`path`", "--config")) from None
    options = {option.name: option for option in options_of(command)}
    settings: Settings = {}
    for key, value in data.items():
        where = f"`{key}` in {path}"
        if key in FLOWS:
            if not isinstance(value, dict):
                raise SettingError(
                    f"{where} must be a table of the flow's own settings, [{key}], got {value!r}"
                )
            mine = {name: option for name, option in options.items() if key in option.flows}
            settings[key] = {
                name: _keyed(mine, name, v, f"`{name}` in [{key}] of {path}")
                for name, v in value.items()
            }
        elif key in BY_NAME and key not in options:
            other = next(c for c, name in OF_COMMAND.items() if name == key)
            raise SettingError(
                f"{where} belongs to `particleflow {other}`: use that command, or write"
                f" `{OF_COMMAND[command]}` instead"
            )
        else:
            settings[key] = _keyed(options, key, value, where, tables=tuple(FLOWS))
    for name in ("target", "start", "out"):
        if name in settings and (
            name == "out" or settings[name] not in (BY_NAME[name].names or ())
        ):
            settings[name] = str(file.parent / home(settings[name], name))
    return settings


def _keyed(
    options: Mapping[str, Option], key: str, value: Any, where: str, *, tables: tuple[str, ...] = ()
) -> Any:
    if key not in options:
        raise SettingError(
            f"{where} is not a"
            f" setting{meant(key, [*options, *tables]) or ': known are ' + ', '.join(options)}"
        )
    return checked(options[key], value, where)


def merged(flags: Settings, file: Settings) -> Settings:
    """Flags win over the file, also over its tables of single flows."""
    given = {name: value for name, value in flags.items() if value is not None}
    tables = {
        flow: {k: v for k, v in table.items() if k not in given}
        for flow, table in file.items()
        if flow in FLOWS
    }
    return {**file, **tables, **given}


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a message about an option that nobody knows."""
    names = list(known)
    synonyms = {other: name for other, name in OTHER_FLAGS.items() if name in names}
    return nearest(word, names, synonyms)


def of_flow(settings: Settings, flow: str, name: str) -> Any:
    """A setting of one flow: its own table's, else everybody's, else None."""
    return settings.get(flow, {}).get(name, settings.get(name))


def write(settings: Settings, path: Path, header: str) -> None:
    """Write settings that `read` reads back, with `header` as comments."""
    import tomli_w

    comments = "".join(f"# {line}\n" for line in header.splitlines())
    replace_text(path, comments + "\n" + tomli_w.dumps(settings))


def home(path: str, setting: str) -> Path:
    """The path that was given for a setting, a leading ~ replaced."""
    try:
        return at_home(path)
    except ValueError as error:
        raise SettingError(str(error).replace("`path`", f"`{setting}`")) from None


def absolute(path: str, setting: str) -> str:
    """The whole path of a file, which config.toml is to hold: TOML is UTF-8.

    Raises
    ------
    SettingError
        The name of the file, or of a folder above it, is no UTF-8, or begins with the home of
        nobody.
    """
    try:
        whole = str(home(path, setting).resolve())
    except RuntimeError:
        raise RefusedValueError(
            setting,
            "must be a file that exists",
            f"{path}, a link that leads nowhere",
            "name the file itself",
        ) from None
    except OSError as error:
        raise RefusedValueError(
            setting, "must be a file that exists", path, f"{error.strerror}: choose another"
        ) from None
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        said = whole.encode("utf-8", "backslashreplace").decode()
        raise RefusedValueError(
            setting,
            "must have a name in UTF-8, which config.toml can hold",
            said,
            "rename or link it",
        ) from None
    return whole
