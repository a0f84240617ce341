"""The reference is complete: each public name tells its equation, parameters, results, errors, cost
and source, and shows lines that run.
"""

from __future__ import annotations

import builtins
import dataclasses
import doctest
import importlib
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import inventory
import pytest
import torch

import particleflow as pf

PAGES = sorted((Path(__file__).parent.parent / "docs" / "api").glob("*.rst"))
# The headings of a docstring, underlined.
HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.M)


def found(path: str) -> Any:
    """The object of a dotted path."""
    parts = path.split(".")
    for k in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            value = getattr(value, part)
        return value
    raise LookupError(path)


def listed() -> dict[str, Any]:
    """Each object of the reference, by the path under which its page is written."""
    objects: dict[str, Any] = {}
    for page in PAGES:
        module = "particleflow"
        table = False
        for line in page.read_text(encoding="utf-8").splitlines():
            directive = re.match(r"\.\. (currentmodule|auto\w+)::\s*(\S*)", line)
            if directive and directive[1] in ("currentmodule", "automodule"):
                module = directive[2]
            elif directive and directive[1] in ("autoclass", "autofunction", "autoexception"):
                name = directive[2]
                path = name if name.startswith("particleflow.") else f"{module}.{name}"
                objects[path] = found(path)
            elif directive:
                table = directive[1] == "autosummary"
            elif table and re.match(r"   ~?[\w.]+$", line):
                name = line.strip().lstrip("~")
                path = name if name.startswith("particleflow.") else f"{module}.{name}"
                objects[path] = found(path)
            elif line and not line.startswith(" "):
                table = False
    return objects


LISTED = listed()
# The same object under two names, pf.Euler and pf.integrators.Euler, is asked once.
OBJECTS = {id(value): (path, value) for path, value in reversed(LISTED.items())}
EACH = [
    pytest.param(path, value, id=path.removeprefix("particleflow."))
    for path, value in OBJECTS.values()
]
each_object = pytest.mark.parametrize(("path", "value"), EACH)


def text(value: Any) -> str:
    """Its own docstring; "" where a dataclass wrote its signature there."""
    doc = inspect.cleandoc(
        value.__dict__.get("__doc__") or "" if inspect.isclass(value) else value.__doc__ or ""
    )
    return "" if re.fullmatch(rf"{value.__name__}\([^\n]*\)", doc) else doc


def sections(value: Any) -> dict[str, str]:
    """The parts of a docstring under their headings; "" is what comes before the first."""
    parts = HEADING.split(text(value))
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> list[str]:
    """The names that a section explains: its lines without indent, "a, b : type" being two."""
    heads = []
    for line in section.splitlines():
        if not line or line.startswith(" "):
            continue
        if heads and re.match(r"(Cost|Source|Note|See|\.\.|>>>|\.\.\.)", line):
            break
        heads.append(line)
    return [name.strip().lstrip("*") for head in heads for name in head.split(" : ")[0].split(",")]


def is_contract(value: Any) -> bool:
    return bool(getattr(value, "_is_protocol", False)) or inspect.isabstract(value)


def is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def arguments(value: Any) -> list[str]:
    """What a caller may pass."""
    if dataclasses.is_dataclass(value):
        return [f.name for f in dataclasses.fields(value) if f.init and f.name[0] != "_"]
    taken = inspect.signature(value).parameters
    return [name for name in taken if not name.startswith("_")]


def is_record(value: Any) -> bool:
    """Whether users read it and do not make it: it has Attributes in the place of Parameters."""
    return (
        inspect.isclass(value)
        and "Attributes" in sections(value)
        and "Parameters" not in sections(value)
    )


@each_object
def test_it_begins_with_a_sentence(path: str, value: Any) -> None:
    summary = text(value).split("\n\n")[0]
    assert re.match(r"[^\s].*[.:]", summary, re.S), (
        f"{path} has no docstring that begins with a sentence"
    )


@each_object
def test_its_parameters_are_explained(path: str, value: Any) -> None:
    if is_error(value) or is_contract(value):
        return
    told = entries(sections(value).get("Attributes" if is_record(value) else "Parameters", ""))
    missing = [name for name in arguments(value) if name not in told]
    assert not missing, f"{path} does not explain {missing}"
    if not is_record(value):
        unknown = [name for name in told if name not in arguments(value)]
        assert not unknown or "kwargs" in str(inspect.signature(value)), (
            f"{path} explains {unknown}, which it does not take"
        )


@each_object
def test_its_result_is_told(path: str, value: Any) -> None:
    if inspect.isclass(value) or typing.get_type_hints(value).get("return") is type(None):
        return
    assert sections(value).keys() & {"Returns", "Yields"}, f"{path} has no Returns"


@each_object
def test_its_errors_are_told_and_exist(path: str, value: Any) -> None:
    told = entries(sections(value).get("Raises", ""))
    if not (is_error(value) or is_contract(value) or is_record(value)) and arguments(value):
        assert told or path in inventory.NEVER_RAISES, f"{path} has no Raises"
    for name in told:
        error = getattr(builtins, name, None) or (found(name) if "." in name else None)
        assert isinstance(error, type), f"{path} raises {name}, which does not exist"
        assert issubclass(error, BaseException), f"{path} raises {name}, which is no exception"


PARTS = {
    "equation": (r"\.\. math::|:math:`", inventory.WITHOUT_EQUATION),
    "cost": (r"^Cost: ", inventory.WITHOUT_COST),
    "source": (r"^Source: ", inventory.WITHOUT_SOURCE),
    "example": (r"^>>> ", inventory.WITHOUT_EXAMPLE),
}


@pytest.mark.parametrize("part", PARTS)
@each_object
def test_it_has_each_part(path: str, value: Any, part: str) -> None:
    pattern, without = PARTS[part]
    has = re.search(pattern, text(value), re.M)
    if is_error(value) or is_contract(value) or is_record(value):
        return
    excused = path in without
    assert bool(has) != excused, (
        f"{path} has no {part}" if not excused else f"{path} has one: excuse it no more"
    )


def test_each_excuse_is_for_a_name_of_the_reference() -> None:
    paths = {path for path, _ in OBJECTS.values()}
    for without in (*(names for _, names in PARTS.values()), inventory.NEVER_RAISES):
        assert without.keys() <= paths
        assert all(without.values())


@each_object
def test_its_example_runs(
    path: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = text(value)
    assert "doctest: +SKIP" not in example, f"{path} shows lines that are not run"
    run = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    names = {"pf": pf, "torch": torch}
    told: list[str] = []
    run.run(doctest.DocTestParser().get_doctest(example, names, path, None, 0), out=told.append)
    assert not run.failures, "".join(told)


@pytest.mark.parametrize(
    "module", sorted({path.rpartition(".")[0] for path in LISTED if path.count(".") > 1})
)
def test_every_public_name_of_a_module_is_in_the_reference(module: str) -> None:
    names = getattr(importlib.import_module(module), "__all__", [])
    paths = {id(value) for value in LISTED.values()}
    assert [
        name
        for name in names
        if id(found(f"{module}.{name}")) not in paths
        and not inspect.ismodule(found(f"{module}.{name}"))
    ] == []
