"""Settings: from flags and a TOML file together, and written back to TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from particleflow._files import at_home, replace_text
from particleflow._refusals import Refusal, RefusedValueError
from particleflow._words import closest, did_you_mean
from particleflow.cli.names import FLOWS
from particleflow.cli.option import STUDY, Option
from particleflow.cli.options import BY_NAME, OF_COMMAND, options_of
from particleflow.cli.paths import home
from particleflow.cli.synonyms import OTHER_FLAGS
from particleflow.cli.values import checked

# Option name -> value; None for a setting left open. A flow's name -> the settings of that flow
# alone.
Settings = dict[str, Any]

# The beginning of the header of every config.toml written here; it marks a folder as a run's.
MARK = "particleflow-sim "
# The remedy for an empty path.
MISSING = "give its path, or leave it out"


def read(path: str, command: str) -> Settings:
    """The settings in a TOML file. Paths in it are relative to its folder.

    Raises
    ------
    RefusedValueError
        The file is missing or not TOML, a key is unknown (the message has the nearest known one),
        or a value has the wrong type (the message names key and file).
    """
    if not path:
        raise RefusedValueError("config", ("--config must be a file",), "''", MISSING)
    try:
        file = at_home(path)
        # some editors write a byte order mark at the beginning
        data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except Refusal as error:  # the home folder of no user
        raise error.renamed({"path": "--config"}) from None
    except OSError as error:
        told = f"--config {path} cannot be read: {error.strerror}"
        raise RefusedValueError("config", (told,)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedValueError("config", (f"--config {path} is not TOML: {error}",)) from None
    options = {option.name: option for option in options_of(command)}
    settings: Settings = {}
    for key, value in data.items():
        where = f"`{key}` in {path}"
        if key in FLOWS:
            if not isinstance(value, dict):
                wanted = f"{where} must be a table of the flow's own settings, [{key}]"
                raise RefusedValueError(key, (wanted,), f"{value!r}")
            mine = {name: options[name] for name in FLOWS[key].takes}
            settings[key] = {
                name: _keyed(mine, name, v, f"`{name}` in [{key}] of {path}")
                for name, v in value.items()
            }
        elif key in BY_NAME and BY_NAME[key].group == STUDY and key not in options:
            raise RefusedValueError(
                key,
                (f"{where} belongs to `particleflow compare`",),
                remedy="use that command, or leave it out",
            )
        elif key in OF_COMMAND.values() and key not in options:
            other = next(c for c, name in OF_COMMAND.items() if name == key)
            raise RefusedValueError(
                key,
                (f"{where} belongs to `particleflow {other}`",),
                remedy=f"use that command, or write `{OF_COMMAND[command]}` instead",
            )
        else:
            settings[key] = _keyed(options, key, value, where, tables=tuple(FLOWS))
    for name in ("target", "start", "out"):
        known = BY_NAME[name].names or ()
        if name in settings and settings[name] not in known:
            settings[name] = str(file.parent / home(settings[name], name))
    return settings


def _keyed(
    options: Mapping[str, Option], key: str, value: Any, where: str, *, tables: tuple[str, ...] = ()
) -> Any:
    if key not in options:
        guess = meant(key, [*options, *tables])
        remedy = did_you_mean(guess) or f"known are {', '.join(options)}"
        raise RefusedValueError(key, (f"{where} is not a setting",), remedy=remedy)
    try:
        return checked(options[key], value)
    except Refusal as error:
        raise error.renamed({key: where}) from None


def merged(flags: Settings, file: Settings) -> Settings:
    """The settings of both; flags win over the file, also over its tables of single flows."""
    given = {name: value for name, value in flags.items() if value is not None}
    tables = {
        flow: {k: v for k, v in table.items() if k not in given}
        for flow, table in file.items()
        if flow in FLOWS
    }
    return {**file, **tables, **given}


def meant(word: str, known: Iterable[str]) -> str:
    """The known option that an unknown one probably means; empty where no guess is likely."""
    names = list(known)
    synonyms = {other: name for other, name in OTHER_FLAGS.items() if name in names}
    return closest(word, names, synonyms)


def of_flow(settings: Settings, flow: str, name: str) -> Any:
    """A setting of one flow: from its own table, else from all flows' settings, else None."""
    return settings.get(flow, {}).get(name, settings.get(name))


def write(settings: Settings, path: Path, header: str) -> None:
    """Write settings that `read` reads back, with `header` as comments."""
    import tomli_w

    comments = "".join(f"# {line}\n" for line in header.splitlines())
    replace_text(path, comments + "\n" + tomli_w.dumps(settings))


def places(asked: Settings, file: Settings, path: str | None) -> dict[str, str]:
    """For messages: where each setting of a file was given. Flags win over the file."""
    tables = {
        name: f"`{name}` in [{flow}] of {path}"
        for flow in reversed(FLOWS)
        for name in file.get(flow, {})
    }
    given = {name: f"`{name}` in {path}" for name in file if name not in FLOWS}
    return {name: place for name, place in (tables | given).items() if name not in asked}


def given(value: Any, default: Any) -> Any:
    """A value, or the default for a setting left open."""
    return default if value is None else value
