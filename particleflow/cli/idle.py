"""Refusal of options that nothing in a run would use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from particleflow._refusals import Argument, RefusedValueError
from particleflow.cli.names import FLOWS
from particleflow.cli.options import BY_NAME, OPTIONS
from particleflow.cli.parts import METRICS
from particleflow.cli.records import Record
from particleflow.cli.toml import Settings, given, of_flow


def refuse_unused(asked: Settings, settings: Settings, flows: Sequence[str]) -> None:
    """Refuse a flag that none of these flows takes, and one that would change nothing."""
    for option in OPTIONS:
        if option.flows and asked.get(option.name) is not None and not {*flows} & {*option.flows}:
            wanted = f"is an option of {', '.join(option.flows)}"
            raise RefusedValueError(
                option.name, wanted, f"the flows {', '.join(flows)}", "leave it out"
            )
    measured = settings.get("metrics") or ["mmd2"]
    for name in ("kernel", "bandwidth"):
        used = any("kernel" in needs(settings, flow) for flow in flows)
        if (
            name in asked
            and not used
            and not any("kernel" in METRICS[m].arguments for m in measured)
        ):
            raise RefusedValueError(
                name,
                f"is for the kernel, which neither the flows {', '.join(flows)} nor the metrics"
                f" {', '.join(measured)} use",
                remedy="leave it out",
            )
    if "beta_half" in asked and of_flow(settings, "mmd-noise", "beta") == 0:
        raise RefusedValueError(
            "beta_half",
            (Argument("beta_half"), " is of the noise, and ", Argument("beta"), " is 0"),
            remedy="leave it out",
        )


def refuse_spare(settings: Settings, flow: str, flows: Sequence[str]) -> None:
    """Refuse an option of a flow that does not act with its ratio, mobility or critic."""
    taken = {name for record in chosen(settings, flow).values() for name in record.options}
    for option, record in chosen(settings, flow).items():
        members = (BY_NAME[option].names or {}).values()
        for name in dict.fromkeys(name for member in members for name in member.options):
            value = of_flow(settings, flow, name)
            if (
                name in taken
                or value == BY_NAME[name].nothing
                or not meant(settings, flow, flows, name)
            ):
                continue
            *some, last = (member.name for member in members if name in member.options)
            takers = f"{', '.join(some)} or {last}" if some else last
            raise RefusedValueError(
                name,
                f"is for the {option} {takers}, and the {option} is {record.name}",
                remedy="leave it out",
            )


def chosen(settings: Settings, flow: str) -> dict[str, Record]:
    """The records chosen for a flow's own options, by option."""
    found: dict[str, Record] = {}
    for name in FLOWS[flow].options:
        option = BY_NAME[name]
        if option.names is not None:
            found[name] = option.names[given(of_flow(settings, flow, name), option.default)]
    return found


def acting(settings: Settings, flow: str) -> set[str]:
    """The options that act in a flow with the ratio, mobility or critic chosen for it."""
    parts = chosen(settings, flow)
    taken = {name for record in parts.values() for name in record.options}
    members = [member for option in parts for member in (BY_NAME[option].names or {}).values()]
    spare = {name for member in members for name in member.options} - taken
    return {*FLOWS[flow].takes} - spare


def needs(settings: Settings, flow: str) -> set[str]:
    """The arguments of a flow and of the records chosen for it."""
    records: Iterable[Record] = (FLOWS[flow], *chosen(settings, flow).values())
    return {name for record in records for name in record.arguments}


def meant(settings: Settings, flow: str, flows: Sequence[str], option: str) -> bool:
    """Was the option given for this flow?

    It was if it is in the flow's own table, or given for all and no other flow of the run takes it.
    """
    others = {*flows} & {*BY_NAME[option].flows} - {flow}
    return option in settings.get(flow, {}) or (settings.get(option) is not None and not others)
