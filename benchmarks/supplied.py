"""Tasks and contenders from a user's file, anywhere on the disk: `--with my_flow.py`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from particleflow.study import Contender, Task

# The name of the module that a file becomes; no other module has a name like it.
MODULE = "_benchmarks_with_{}"


@dataclass(frozen=True)
class Supplied:
    """What a file defines."""

    tasks: tuple[Task, ...] = ()
    contenders: tuple[Contender, ...] = ()


def supplied(text: str) -> Supplied:
    """Read a file that defines `tasks`, `contenders`, or both: lists.

    Raises
    ------
    argparse.ArgumentTypeError
        There is no such file, it raises, it defines neither list, or a list holds something else.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise argparse.ArgumentTypeError(
            f"must be a Python file, got {text!r}, which is no file: pass the path of one"
        )
    module = _loaded(path, text)
    lists = {"tasks": (Task, "a Task"), "contenders": (Contender, "a Contender")}
    if not any(hasattr(module, name) for name in lists):
        raise argparse.ArgumentTypeError(
            f"must define a list `tasks` or `contenders`, got {text!r}, which has neither: e.g."
            ' contenders = [Contender("mine", make)]'
        )
    found = {}
    for name, (kind, said) in lists.items():
        listed = getattr(module, name, [])
        if not isinstance(listed, list | tuple) or not all(isinstance(one, kind) for one in listed):
            raise argparse.ArgumentTypeError(
                f"must have {said} of particleflow.study in each place of `{name}`, got"
                f" {listed!r} in {text!r}: e.g. {name} = [{kind.__name__}(...)]"
            )
        found[name] = tuple(listed)
    return Supplied(**found)


def refuse_known(mine: Supplied, tasks: Collection[str], contenders: Collection[str]) -> None:
    """Refuse names that the suite has already.

    Raises
    ------
    argparse.ArgumentTypeError
        A task or a contender of the file has such a name.
    """
    for what, ours, theirs in (
        ("task", tasks, mine.tasks),
        ("contender", contenders, mine.contenders),
    ):
        for one in theirs:
            if one.name in ours:
                raise argparse.ArgumentTypeError(
                    f"must have names of its own, got a {what} {one.name!r}, which the suite has:"
                    f" call it e.g. 'my-{one.name}'"
                )


def _loaded(path: Path, text: str) -> ModuleType:
    """Run the file as a module that nobody can import.

    Other processes then get its functions and classes by value.
    """
    name = MODULE.format(path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up while they are made
    sys.modules[name] = module
    # what it imports from its own folder, other processes import too
    sys.path.append(str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1]
        raise argparse.ArgumentTypeError(
            f"must be a Python file that runs, got {type(error).__name__} in line {line} of"
            f" {text!r}: {error}: run it with python first"
        ) from error
    finally:
        del sys.modules[name]
    return module
