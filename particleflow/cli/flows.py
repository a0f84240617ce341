"""Flows and their integrators, made from records and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from particleflow import _checks, flows, integrators, kernels, samplers, schedules
from particleflow._refusals import RefusedValueError
from particleflow._typing import Points
from particleflow.cli.defaults import HALVINGS
from particleflow.cli.idle import refuse_spare
from particleflow.cli.names import FLOWS, TARGETS
from particleflow.cli.options import BY_NAME
from particleflow.cli.parts import CRITICS, INTEGRATORS, MOBILITIES, RATIOS
from particleflow.cli.records import Record
from particleflow.cli.starts import short
from particleflow.cli.toml import Settings, given, of_flow
from particleflow.clouds import FixedTarget
from particleflow.pairwise import Auto


@dataclass(frozen=True)
class Plan:
    """One flow with its steps, dt and integrator."""

    flow: flows.Flow
    steps: int
    dt: float
    integrator: integrators.Integrator


@dataclass(frozen=True)
class Problem:
    """The parts that all flows of a run share.

    `target` is the name of `law`, `scale` the target's standard deviation.
    """

    settings: Settings
    names: Sequence[str]
    target: str
    law: samplers.Sampler
    kernel: kernels.Kernel
    scale: float
    x0: Points
    y: Tensor


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


def _noise(maker: Maker, record: Record) -> schedules.Schedule:
    beta = _checks.non_negative(maker.value("beta", short(maker.problem.scale)), "beta")
    half = maker.value("beta_half", maker.value("steps") / HALVINGS)
    half = _checks.positive(half, "beta_half")
    maker.table |= {"beta": beta, "beta_half": half}
    return schedules.Geometric(beta, ratio=0.5, every=half, smooth=True)


def _density(maker: Maker, record: Record) -> samplers.Sampler:
    known = [target.name for target in TARGETS.values() if target.density]
    if maker.problem.target not in known:
        raise RefusedValueError(
            "target",
            f"must have a known density for {maker.name}, one of {', '.join(known)}",
            maker.problem.target,
            "choose another flow",
        )
    return maker.problem.law


# Arguments of a flow, its ratio, mobility or critic that are no option's value: how each is made.
PARTS: Mapping[str, Callable[[Maker, Record], Any]] = {
    "kernel": lambda maker, _: maker.problem.kernel,
    "pairwise": lambda maker, record: Auto(rtol=maker.value("rtol", None, record)),
    "estimator": lambda maker, _: maker.make(RATIOS[maker.value("ratio")]),
    "mobility": lambda maker, _: maker.make(MOBILITIES[maker.value("mobility")]),
    "critic": lambda maker, _: maker.make(CRITICS[maker.value("critic")]),
    "noise": _noise,
    "target": _density,
}


def plan(
    problem: Problem,
    name: str,
    parts: Mapping[str, Callable[[Maker, Record], Any]] = PARTS,
) -> tuple[Plan, Settings]:
    """One flow with its steps, and its table of settings."""
    record, maker = FLOWS[name], Maker(problem, name, parts)
    steps = _checks.count(maker.value("steps"), "steps")
    stepper = maker.value("integrator", None, record)
    if record.brownian and stepper != record.defaults["integrator"]:
        raise RefusedValueError(
            "integrator",
            f"must be {record.defaults['integrator']} for {name}, which has Brownian motion",
            stepper,
            "leave it out",
        )
    refuse_spare(problem.settings, name, problem.names)
    flow: flows.Flow = maker.make(record)
    for option in record.options:
        if BY_NAME[option].nothing is not None:  # the table holds it even where it does not act
            maker.value(option)
    integrator = INTEGRATORS[stepper].make()
    if integrator.stages > 1 and not flow.estimator.deterministic:
        raise RefusedValueError(
            "integrator",
            f"must be euler for the network of {name}, which is trained from step to step",
            stepper,
            "leave it out",
        )
    if isinstance(integrator, integrators.Controller):
        integrator.check(flow, FixedTarget(None))
    dt = of_flow(problem.settings, name, "dt")
    maker.table["dt"] = (
        integrators.suggested_dt(integrator, flow, problem.x0, problem.y)
        if dt is None
        else _checks.positive(dt, "dt", remedy=BY_NAME["dt"].remedy)
    )
    table = {option: maker.table[option] for option in record.takes if option in maker.table}
    return Plan(flow, steps, table["dt"], integrator), table
