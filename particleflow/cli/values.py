"""The values of options, from a flag's text or a TOML file, checked for type and range."""

from __future__ import annotations

import math
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from particleflow._refusals import RefusedValueError
from particleflow._words import nearest
from particleflow.cli.option import Option
from particleflow.cli.synonyms import NAMES

# The type of a value, in words for messages.
WANTED = {
    "text": "text",
    "whole": "a whole number",
    "number": "a number",
    "numbers": "a number or a list of numbers",
    "names": "a list of names",
    "lines": "a list of texts",
    "switch": "true or false",
}
# Examples of numbers, for messages.
WRITTEN = {"whole": "400 or 4e2", "number": "0.01 or 1e-2", "numbers": "0,-0.3"}
# The most characters of a text that a message repeats, so that it fits a line.
LONG = 40
# The most digits of a whole number that a message repeats, so that it can be read.
DIGITS = 15


def from_text(option: Option, text: Any) -> Any:
    """The value of a flag's text; a flag of lines has a list of them."""
    if option.kind in ("text", "lines"):
        return checked(option, text)
    if option.kind == "names":
        return checked(option, [part.strip() for part in text.split(",")])
    if option.kind == "numbers":
        return checked(option, [_number(option, part.strip()) for part in text.split(",")])
    return checked(option, _number(option, text))


def _number(option: Option, text: str) -> float:
    wanted = f"must be {WANTED[option.kind]}"
    try:
        whole = option.kind == "whole" and re.fullmatch(r"[-+]?\d+", text.strip())
        number = int(text) if whole else float(text)
    except ValueError:
        shown = text if len(text) <= LONG else f"{text[:LONG]}..."
        remedy = f"write it as in {WRITTEN[option.kind]}"
        raise RefusedValueError(option.name, wanted, f"'{shown}'", remedy) from None
    if isinstance(number, float) and math.isinf(number) and re.search(r"\d", text):
        raise RefusedValueError(
            option.name,
            f"{wanted} that a computer can hold",
            f"'{text}'",
            "take one below 1e308",
        )
    return number


def checked(option: Option, value: Any) -> Any:
    """`value` in the option's type, its names known, its numbers in range."""
    if not _of_kind(option.kind, value):
        remedy = f"write it as in {WRITTEN[option.kind]}" if option.kind in WRITTEN else ""
        raise RefusedValueError(option.name, f"must be {WANTED[option.kind]}", f"{value!r}", remedy)
    if isinstance(value, str) and "\0" in value:
        raise RefusedValueError(
            option.name,
            "must be a name without null characters",
            f"{value!r}",
            "leave them out",
        )
    if value == "" or (isinstance(value, list) and "" in value):
        raise RefusedValueError(
            option.name, "must not be empty", f"{value!r}", "give one, or leave it out"
        )
    if option.kind in ("number", "whole"):
        value = float(value) if option.kind == "number" else int(value)
        _in_range(option, value)
    if option.kind == "numbers":
        value = [float(v) for v in value] if isinstance(value, list) else [float(value)]
        for number in value:
            _in_range(option, number)
    for name in [] if option.names is None else value if option.kind == "names" else [value]:
        _known(option, name)
    if option.kind == "names" and len(set(value)) < len(value):
        raise RefusedValueError(option.name, "must name each once", ",".join(value))
    return value


def _of_kind(kind: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    members = value if isinstance(value, list) else []
    return {
        "text": isinstance(value, str),
        "whole": number and (isinstance(value, int) or value.is_integer()),  # 1e6 is a float
        "number": number,
        "numbers": number or (bool(members) and all(_of_kind("number", v) for v in members)),
        "names": bool(members) and all(isinstance(v, str) for v in members),
        "lines": bool(members) and all(isinstance(v, str) for v in members),
        "switch": isinstance(value, bool),
    }[kind]


def _in_range(option: Option, value: float) -> None:
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
        raise RefusedValueError(option.name, f"must be {wrong[0]}", got, remedy)


def _known(option: Option, name: str) -> None:
    names = [known for known in option.names or () if " " not in known]
    if name in names:
        return
    one = f"must be one of {', '.join(names)}"
    if option.files and (Path(name).suffix or "/" in name or "\\" in name or os.path.exists(name)):
        if Path(name).suffix.lower() not in option.files:
            wanted = f"{one}, or a file that ends in {' '.join(option.files)}"
            raise RefusedValueError(option.name, wanted, f"'{name}'")
        return
    also = f", or a file ({' '.join(option.files)})" if option.files else ""
    guess = nearest(name, names, NAMES.get("flow" if option.name == "flows" else option.name))
    raise RefusedValueError(option.name, one + also, f"'{name}'", guess)
