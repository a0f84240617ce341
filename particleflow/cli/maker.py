"""The maker of one flow: values for the options of its records, from settings and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from particleflow import samplers
from particleflow._typing import Points
from particleflow.cli.defaults import STEPS
from particleflow.cli.idle import acting
from particleflow.cli.options import BY_NAME
from particleflow.cli.records import Record
from particleflow.cli.toml import Settings, given, of_flow


@dataclass(frozen=True)
class Problem:
    """The parts that all flows of a run share.

    `target` is the name of `law`, `scale` the target's standard deviation. `steps` are those of
    the flows that are given none.
    """

    settings: Settings
    names: Sequence[str]
    target: str
    law: samplers.Sampler
    scale: float
    x0: Points
    y: Tensor
    steps: int = STEPS


@dataclass
class Maker:
    """Makes one flow; `table` holds the settings that it took, chosen ones included.

    `parts` says how the arguments are made that are no option's value.
    """

    problem: Problem
    name: str
    parts: Mapping[str, Callable[[Maker, Record], Any]]
    table: Settings = field(default_factory=dict)

    def value(self, option: str, default: Any = None, *records: Record) -> Any:
        """The setting of an option.

        The order is: the given value, the default of the first record that has one, `default`, and
        the option's own default.
        """
        if option not in self.table:
            owns = [r.defaults[option] for r in records if option in r.defaults]
            usual = [*owns, default, BY_NAME[option].default]
            first = next(value for value in usual if value is not None)
            self.table[option] = given(of_flow(self.problem.settings, self.name, option), first)
        return self.table[option]

    def part(self, record: Record, argument: str) -> Any:
        """The value of an argument of a record: a part, or the setting of an option."""
        part = self.parts.get(argument)
        return self.value(argument, None, record) if part is None else part(self, record)

    def make(self, record: Record) -> Any:
        """The object that a record stands for."""
        return record.make(partial(self.part, record))

    @property
    def acting(self) -> set[str]:
        """The options that act in the flow."""
        return acting(self.problem.settings, self.name)
