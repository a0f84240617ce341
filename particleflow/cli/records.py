"""Records of names: what each name stands for, and where that lives.

A record also says what fills its call, and which options it takes. Nothing is imported before a
record is made into an object: `particleflow list` answers at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

# The options that every flow takes.
STEPPING = ("steps", "dt", "integrator")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a name.

    `where` is the module and the attribute that makes the object. It is called with `arguments`,
    which are parts and options, and with the `fixed` ones. `options` act only where the name is
    chosen. `defaults` replace the options' own.
    """

    name: str
    line: str
    where: str = ""
    arguments: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """The class or function that makes the object, imported now."""
        module, _, attribute = self.where.partition(":")
        made: Any = importlib.import_module(module)
        for name in attribute.split("."):
            made = getattr(made, name)
        return made

    def make(self, give: Callable[[str], Any] | None = None) -> Any:
        """The object; `give` returns the value of each argument."""
        given = {} if give is None else {name: give(name) for name in self.arguments}
        return self.load()(**given, **self.fixed)


@dataclass(frozen=True, kw_only=True)
class Flow(Record):
    """A flow; its settings are written in the order of its options.

    `positive`: its kernel must be positive definite. `brownian`: it has Brownian motion.
    """

    positive: bool = False
    brownian: bool = False

    @property
    def takes(self) -> tuple[str, ...]:
        """The options of this flow."""
        return (*STEPPING, *self.options)


@dataclass(frozen=True, kw_only=True)
class Target(Record):
    """A target; `density` says that its density is known."""

    density: bool = False


@dataclass(frozen=True, kw_only=True)
class Kernel(Record):
    """A kernel; `positive` says that it is positive definite."""

    positive: bool = True


@dataclass(frozen=True, kw_only=True)
class Metric(Record):
    """A metric; `label` is its name in tables and pictures."""

    label: str


R = TypeVar("R", bound=Record)


def table(*records: R) -> dict[str, R]:
    """The records by their names."""
    return {record.name: record for record in records}
