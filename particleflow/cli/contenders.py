"""The flows of the command line as contenders of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from particleflow import samplers
from particleflow.cli import sweeps
from particleflow.cli.flows import Plan, plan
from particleflow.cli.idle import acting
from particleflow.cli.maker import Problem as Parts
from particleflow.cli.names import FLOWS
from particleflow.cli.option import Option
from particleflow.cli.options import BY_NAME
from particleflow.cli.scales import usual
from particleflow.cli.sweeps import Values
from particleflow.cli.task import Task
from particleflow.cli.toml import Settings, of_flow
from particleflow.integrators import Controller
from particleflow.study import Choice, Contender, Problem, Range, Setup

# Options that each run of a study chooses from its own clouds.
OF_RUN = ("dt", "start_bandwidth")


@dataclass(frozen=True)
class Make:
    """Builds a flow for a problem of a study, as its record says.

    `table` holds the flow's settings, `target` and `law` name and distribution of the target,
    `scale` the target's standard deviation, from which the noise is chosen.
    """

    flow: str
    table: Mapping[str, Any]
    target: str
    law: samplers.Sampler
    scale: float

    def __call__(self, problem: Problem, **values: Any) -> Setup:
        its, _ = self.plan(problem, values)
        return Setup(its.flow, its.dt, its.integrator)

    def plan(self, problem: Problem, values: Mapping[str, Any]) -> tuple[Plan, Settings]:
        """The flow with its dt, and its settings; `values` replace those of the table."""
        whole = {name: round(v) for name, v in values.items() if BY_NAME[name].kind == "whole"}
        parts = Parts(
            {self.flow: {**self.table, "steps": problem.steps, **values, **whole}},
            [self.flow],
            self.target,
            self.law,
            self.scale,
            problem.x0,
            problem.target,
        )
        return plan(parts, self.flow)


def contenders(
    task: Task, settings: Settings, swept: dict[str, list[Any]], problem: Problem
) -> list[Contender]:
    """The contenders of a study: each flow, once for each value of the sweeps that act in it.

    `settings` are those that were given. Each is built for `problem`, and refused if it cannot be.
    """
    return [
        _contender(task, settings, flow, name, chosen, problem)
        for flow in task.plans
        for name, chosen in sweeps.contenders(settings, flow, swept)
    ]


def _contender(
    task: Task, settings: Settings, flow: str, name: str, chosen: Values, problem: Problem
) -> Contender:
    parts = task.problem
    mine = {**settings, flow: {**settings.get(flow, {}), **chosen}}
    acts = acting(mine, flow)
    table = {
        option: value
        for option in FLOWS[flow].takes
        if option in acts and (value := of_flow(mine, flow, option)) is not None
    }
    if "bandwidth" in acts and "bandwidth" not in table:
        table["bandwidth"] = usual(task.y)
    makes = Make(flow, table, parts.target, parts.law, parts.scale)
    its, used = makes.plan(problem, {})
    # all values are fixed, given or not; these are chosen for each run unless they are given
    left = {"steps", *({*OF_RUN} - {*table})}
    makes = replace(makes, table={o: v for o, v in used.items() if o in acts - left})
    ranges = {
        option: _range(BY_NAME[option], value)
        for option, value in used.items()
        if option in acts - {"dt", *chosen} and _varies(BY_NAME[option], value)
    }
    # the length of the first step alone has no effect on the others
    free = "dt" in chosen or isinstance(its.integrator, Controller)
    stepping = None if free else _range(BY_NAME["dt"], 1.0)
    fixed = {option: Choice([v], v) for option, v in chosen.items() if option != "dt"}
    return Contender(name, makes, {**ranges, **fixed}, FLOWS[flow].line, stepping)


def _varies(option: Option, value: Any) -> bool:
    """Is there anything to tune? Not where a multiple of 0 would be tried."""
    return option.tuned is not None and not (option.tuned.relative and value == 0)


def _range(option: Option, value: float) -> Range:
    """The values that tuning tries for an option whose value is this by default."""
    assert option.tuned is not None
    unit = value if option.tuned.relative else 1.0
    return Range(option.tuned.low * unit, option.tuned.high * unit, value, option.tuned.linear)
