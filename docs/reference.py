"""What the API reference lists, and what the page of each name shows.

The pages of docs/api name each object once, in a table (`autosummary`). The build writes a page an
object into docs/api/generated; `reference_pages.py` and the templates ask this file what is on it.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import typing
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
# Methods that the engine calls: no page shows them.
INTERNAL = {"absolute", "check_inside", "check_tolerances"}
# Functions without an underscore that are linked wherever a docstring names them. The others are
# English words, such as `fit`: they are linked where they are written with their module.
LINKED = {"iterate", "langevin", "simulate"}


# ---------------------------------------------------------------- what is listed


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


@functools.cache
def pages() -> dict[str, str]:
    """The page, without its ending, that lists each object: by the object's path."""
    listed: dict[str, str] = {}
    for page in sorted((DOCS / "api").glob("*.rst")):
        module, table = "particleflow", False
        for line in page.read_text(encoding="utf-8").splitlines():
            directive = re.match(r"\.\. ([\w:]+)::\s*(\S*)", line)
            name = re.match(r"   ~?([\w.]+)$", line)
            if directive:
                table = directive[1] == "autosummary"
                if directive[1] in ("currentmodule", "automodule"):
                    module = directive[2]
            elif table and name:
                full = name[1].startswith("particleflow.")
                path = name[1] if full else f"{module}.{name[1]}"
                if path in listed:
                    raise ValueError(f"{path} is listed in {listed[path]} and in {page.stem}")
                listed[path] = page.stem
            elif line and not line.startswith(" "):
                table = False
    return listed


@functools.cache
def objects() -> dict[str, Any]:
    """Each object of the reference by the path under which it is written."""
    return {path: found(path) for path in pages()}


@functools.cache
def _path_by_id() -> dict[int, str]:
    return {id(value): path for path, value in objects().items()}


def path_of(value: Any) -> str | None:
    """The path under which an object is written."""
    path = _path_by_id().get(id(value))
    return path if path and objects()[path] is value else None


@functools.cache
def file_names() -> dict[str, str]:
    """The names of the files of `Floor` and `floor`, which some disks take for one."""
    small = [path.lower() for path in pages()]
    return {
        path: f"{path}-function"
        for path in pages()
        if small.count(path.lower()) > 1 and path.rpartition(".")[2].islower()
    }


def called(path: str) -> str:
    """The name as users write it."""
    return f"pf.{path.removeprefix('particleflow.')}"


def also_called(path: str) -> list[str]:
    """The other public names of an object: `pf.Euler` is `pf.integrators.Euler`."""
    import particleflow as pf

    name = path.rpartition(".")[2]
    rooms = [pf, *(getattr(pf, module) for module in pf.__all__)]
    names = [
        called(f"{room.__name__}.{name}")
        for room in rooms
        if inspect.ismodule(room)
        and name in room.__all__
        and getattr(room, name) is objects()[path]
    ]
    return [each for each in names if each != called(path)]


def meant(target: str, module: str) -> str | None:
    """The path of the object that a docstring of `module` means by a name, with what follows.

    `pf.Euler`, `Euler`, `particleflow.integrators.Euler` and `Trajectory.transport` are known.
    """
    target = re.sub(r"^pf\.", "particleflow.", target.removesuffix("()"))
    if not all(part.isidentifier() for part in target.split(".")):
        return None
    head, _, rest = target.partition(".")
    if head != "particleflow":
        inside = [
            path
            for path in pages()
            if path.rpartition(".")[2] == head
            and (head[:1].isupper() or "_" in head or head in LINKED)
        ]
        room = module.split(".")[1:2]
        same = [path for path in inside if path.split(".")[1:2] == room]
        if len(same or inside) != 1:
            return None
        path = (same or inside)[0]
        return f"{path}.{rest}" if rest else path
    parts = target.split(".")
    for k in range(len(parts), 1, -1):
        try:
            path = path_of(found(".".join(parts[:k])))
        except (AttributeError, LookupError):
            continue
        if path:
            return ".".join([path, *parts[k:]])
    return None


# ---------------------------------------------------------------- what a class shows


def is_contract(value: Any) -> bool:
    """Whether others write the class: a protocol, or an abstract class."""
    return bool(getattr(value, "_is_protocol", False)) or inspect.isabstract(value)


def is_record(value: Any) -> bool:
    """Whether users read it and do not make it: its docstring has Attributes and no Parameters."""
    headings = re.findall(r"^ *(\w+)\n *-{3,}$", value.__doc__ or "", re.M)
    return inspect.isclass(value) and "Attributes" in headings and "Parameters" not in headings


def _own(cls: type) -> dict[str, Any]:
    """The public methods and properties that a class itself defines."""
    fields = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    return {
        name: value
        for name, value in vars(cls).items()
        if (not name.startswith("_") or name == "__call__")
        and name not in fields | INTERNAL
        and (
            inspect.isfunction(value)
            or isinstance(value, property | classmethod | staticmethod | functools.cached_property)
        )
    }


def _told(value: Any) -> bool:
    """Whether a method or a property has a docstring of its own."""
    for name in ("__func__", "fget", "func"):
        value = getattr(value, name, None) or value
    return bool(value.__doc__)


def members(path: str) -> list[str]:
    """The methods and properties that the page of a class tells.

    All of a contract's own; of another class those that have a docstring. What it has from a class
    with a page of its own is told there.
    """
    cls = objects()[path]
    shown = [name for name, value in _own(cls).items() if is_contract(cls) or _told(value)]
    for base in cls.__mro__[1:]:
        if path_of(base) or not base.__module__.startswith("particleflow"):
            continue
        shown += [
            name
            for name, value in _own(base).items()
            if name not in shown and _told(value) and getattr(cls, name, None) is not None
        ]
    return shown


def elsewhere(path: str) -> dict[str, list[str]]:
    """The other methods and properties of a class, by the class whose page tells them."""
    cls, known = objects()[path], set(members(path))
    bases = [base for base in cls.__mro__[1:] if path_of(base)]
    room = [
        value
        for other, value in objects().items()
        if inspect.isclass(value)
        and is_contract(value)
        and value is not cls
        and pages()[other] == pages()[path]
        and _own(value).keys() - INTERNAL <= set(dir(cls))
    ]
    others: dict[str, list[str]] = {}
    for base in [*bases, *room]:
        base_path = path_of(base)
        assert base_path
        for name in members(base_path):
            if name not in known and hasattr(cls, name):
                known.add(name)
                others.setdefault(base_path, []).append(name)
    return others


# ---------------------------------------------------------------- where it is used


def _accessed(tree: ast.AST) -> set[str]:
    """The dotted paths below `particleflow` that a program reads."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {
                each.asname or each.name: f"{node.module}.{each.name}" for each in node.names
            }
    paths = set()
    for node in ast.walk(tree):
        names: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            names.insert(0, part.attr)
            part = part.value
        if isinstance(part, ast.Name) and part.id in imported:
            paths.add(".".join([imported[part.id], *names]))
    return {path for path in paths if path.startswith("particleflow.")}


def _returned(value: Any) -> Any:
    """The class of what a function returns."""
    return typing.get_type_hints(value).get("return") if inspect.isfunction(value) else None


@functools.cache
def examples() -> dict[str, list[str]]:
    """The examples of the gallery that use each object, by the object's path.

    A name is used where it is written, and the class of a result where its function is called:
    each run is a `Trajectory`.
    """
    used: dict[str, list[str]] = {}
    for file in sorted((DOCS / "examples").glob("*.py")):
        for path in _accessed(ast.parse(file.read_text(encoding="utf-8"))):
            try:
                value = found(path)
            except (AttributeError, LookupError):
                continue
            for each in (value, _returned(value)):
                known = path_of(each)
                if known and file.stem not in used.setdefault(known, []):
                    used[known].append(file.stem)
    return {path: sorted(names) for path, names in used.items()}
