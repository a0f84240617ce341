"""Flows and their integrators, made from records and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from particleflow import _checks, flows, integrators, kernels, samplers, schedules
from particleflow._refusals import RefusedValueError
from particleflow.adaptive import Continuation
from particleflow.automatic import SPREAD, AutoFlow, copies
from particleflow.cli import idle, moves, scales
from particleflow.cli.defaults import HALVINGS
from particleflow.cli.idle import PACED, share
from particleflow.cli.maker import Maker, Problem
from particleflow.cli.names import FLOWS, TARGETS
from particleflow.cli.options import BY_NAME
from particleflow.cli.parts import CRITICS, INTEGRATORS, KERNELS, MOBILITIES, RATIOS
from particleflow.cli.records import Record
from particleflow.cli.starts import short
from particleflow.cli.toml import Settings, of_flow
from particleflow.clouds import FixedTarget, as_cloud
from particleflow.estimators import Annealed, Estimator
from particleflow.estimators.base import smoothness_of
from particleflow.pairwise import Auto


@dataclass(frozen=True)
class Plan:
    """One flow with its steps, dt and integrator."""

    flow: flows.Flow
    steps: int
    dt: float
    integrator: integrators.Integrator


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


def _bandwidth(maker: Maker) -> float:
    chosen = of_flow(maker.problem.settings, maker.name, "bandwidth")
    return maker.value("bandwidth", scales.usual(maker.problem.y) if chosen is None else chosen)


def _kernel(maker: Maker, _: Record) -> kernels.Kernel:
    name = maker.value("kernel", None, FLOWS[maker.name])
    scales.refuse_kernel(maker.name, name)
    made: kernels.Kernel = KERNELS[name].make(lambda _: _bandwidth(maker))
    return made


def _fall(maker: Maker, record: Record) -> Continuation | None:
    """The rule for a bandwidth that falls; None where it stays."""
    if "anneal" not in maker.acting:
        return None
    problem = maker.problem
    part = maker.value("anneal", share(problem.settings, maker.name))
    if not part:
        return None
    last = _bandwidth(maker)
    asked = of_flow(problem.settings, maker.name, "start_bandwidth")
    start = maker.value("start_bandwidth", scales.first(asked, last, problem.x0, problem.y))
    return Continuation(maker.value("steps"), share=part, start=start, end=last)


def _ratio(maker: Maker, record: Record) -> Estimator:
    made: Estimator = maker.make(RATIOS[maker.value("ratio")])
    rule = _fall(maker, record)
    return made if rule is None else Annealed(made, rule)


# Arguments of a flow, its ratio, mobility or critic that are no option's value: how each is made.
PARTS: Mapping[str, Callable[[Maker, Record], Any]] = {
    "kernel": _kernel,
    "bandwidth": _fall,
    "pairwise": lambda maker, record: Auto(rtol=maker.value("rtol", None, record)),
    "estimator": _ratio,
    "mobility": lambda maker, _: maker.make(MOBILITIES[maker.value("mobility")]),
    "critic": lambda maker, _: maker.make(CRITICS[maker.value("critic")]),
    "noise": _noise,
    "target": _density,
    "rate": lambda maker, _: moves.rate(maker),
    "resample": lambda maker, _: moves.resample(maker),
}


def plan(
    problem: Problem,
    name: str,
    parts: Mapping[str, Callable[[Maker, Record], Any]] = PARTS,
) -> tuple[Plan, Settings]:
    """One flow with its steps, and its table of settings."""
    record, maker = FLOWS[name], Maker(problem, name, parts)
    steps = _checks.count(maker.value("steps", problem.steps), "steps")
    stepper = maker.value("integrator", idle.stepper(problem.settings, name))
    if record.brownian and stepper != record.defaults["integrator"]:
        raise RefusedValueError(
            "integrator",
            f"must be {record.defaults['integrator']} for {name}, which has Brownian motion",
            stepper,
            "leave it out",
        )
    idle.refuse_spare(problem.settings, name, problem.names)
    flow: flows.Flow = maker.make(record)
    for option in record.options:
        if BY_NAME[option].nothing is not None:  # the table holds it even where it does not act
            maker.value(option)
    unpulled = moves.unbalanced(_parted(flow, maker), maker)
    flow = moves.watched(unpulled, maker)
    integrator = INTEGRATORS[stepper].make()
    _refuse_pacing(integrator, flow, name)
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
        min(
            integrators.suggested_dt(integrator, each, problem.x0, problem.y)
            for each in {id(each): each for each in (flow, unpulled)}.values()
        )
        if dt is None
        else _checks.positive(dt, "dt", remedy=BY_NAME["dt"].remedy)
    )
    table = {option: maker.table[option] for option in record.takes if option in maker.table}
    return Plan(flow, steps, table["dt"], integrator), table


def _parted(flow: flows.Flow, maker: Maker) -> flows.Flow:
    """The flow; particles that share a place are moved apart where its bandwidth falls."""
    problem = maker.problem
    if not isinstance(flow.estimator, Annealed) or not copies(as_cloud(problem.x0, "start")).any():
        return flow
    mine = {each.name: getattr(flow, each.name) for each in fields(flow)}
    return AutoFlow(**mine, steps=maker.table["steps"], spread=SPREAD * maker.table["bandwidth"])


def _refuse_pacing(integrator: integrators.Integrator, flow: flows.Flow, name: str) -> None:
    """Refuse paced steps where the velocity changes however short they are."""
    noisy = flow.noise is not None or flow.diffusion is not None
    if isinstance(integrator, integrators.Paced) and (
        noisy or smoothness_of(flow.estimator) is False
    ):
        why = "which is noisy" if noisy else "whose witness has kinks or is trained"
        raise RefusedValueError(
            "integrator",
            f"must have steps of one length for {name}, {why}: its velocity changes from step to"
            " step however short they are",
            PACED,
            "leave it out",
        )
