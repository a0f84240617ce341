"""Masses that change, and stragglers: the options of flows that are made from flows."""

from __future__ import annotations

from typing import Any

from particleflow import _checks, flows, kernels
from particleflow import moves as made
from particleflow._refusals import Argument, Refusal, RefusedValueError
from particleflow.cli import idle
from particleflow.cli.maker import Maker
from particleflow.cli.names import FLOWS
from particleflow.cli.toml import of_flow
from particleflow.kernels.reach import reach_of


def rate(maker: Maker) -> float:
    """The rate of a flow whose masses always change."""
    asked = maker.value("birth_death", None, FLOWS[maker.name])
    return _checks.positive(asked, "birth_death", remedy="leave it out, or take --flow mmd")


def resample(maker: Maker) -> float | None:
    """The share of N below which particles are resampled; None: never."""
    return maker.value("resample") or None


def unbalanced(flow: flows.Flow, maker: Maker) -> flows.Flow:
    """The flow with birth and death at the rate that was asked for."""
    if "birth_death" not in maker.acting or "rate" in FLOWS[maker.name].arguments:
        return flow
    asked = of_flow(maker.problem.settings, maker.name, "birth_death")
    if asked is not None:
        maker.table["birth_death"] = asked
    return made.unbalanced(flow, asked, resample=resample(maker)) if asked else flow


def watched(flow: flows.Flow, maker: Maker) -> flows.Flow:
    """The flow with what is done with its stragglers."""
    record = idle.stragglers(maker.problem.settings, maker.name)
    if not record.where:
        return flow
    maker.table |= {"stragglers": record.name, "beyond": _beyond(maker)}
    parts: dict[str, Any] = {
        "flow": flow,
        "beyond": maker.table["beyond"],
        "pull": kernels.Energy(),
    }
    try:
        found: flows.Flow = record.make(parts.__getitem__)
    except Refusal as error:
        raise error.renamed({"pull": Argument("stragglers")}) from None
    return found


def _beyond(maker: Maker) -> float:
    """The distance beyond which a particle is a straggler: the reach of the last kernel."""
    asked: float | None = of_flow(maker.problem.settings, maker.name, "beyond")
    if asked is not None:
        return asked
    records = idle.chosen(maker.problem.settings, maker.name)
    kernel = maker.part(records["kernel"], "kernel") if "kernel" in records else None
    found = reach_of(kernel)
    if found is None:
        has = "no kernel" if kernel is None else f"the kernel {records['kernel'].name}"
        raise RefusedValueError(
            "beyond",
            f"must be given for {maker.name} with {has}, which states no reach",
            remedy="give a distance to the nearest target point",
        )
    return found
