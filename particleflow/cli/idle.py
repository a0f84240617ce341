"""Refusal of options that nothing in a run would use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from particleflow._refusals import Argument, RefusedValueError
from particleflow.cli.defaults import ANNEAL
from particleflow.cli.names import FLOWS
from particleflow.cli.options import BY_NAME, OPTIONS
from particleflow.cli.parts import METRICS, STRAGGLERS
from particleflow.cli.records import Record
from particleflow.cli.toml import Settings, given, of_flow

# Options of the flows that metrics use too.
OF_KERNEL = ("kernel", "bandwidth")
# The integrator whose steps follow the flow.
PACED = "paced"
# What is done with stragglers whose velocity then jumps.
PULLED = "pulled"
# Words for a bandwidth that stays.
CONSTANT = (Argument("anneal"), " is 0: it stays the same with ", Argument("dt"), " too")


def refuse_unused(asked: Settings, settings: Settings, flows: Sequence[str]) -> None:
    """Refuse a flag that none of these flows takes, and one that would change nothing."""
    for option in OPTIONS:
        if (
            option.flows
            and option.name not in OF_KERNEL
            and asked.get(option.name) is not None
            and not {*flows} & {*option.flows}
        ):
            wanted = f"is an option of {', '.join(option.flows)}"
            raise RefusedValueError(
                option.name, wanted, f"the flows {', '.join(flows)}", "leave it out"
            )
    measured = settings.get("metrics") or ["mmd2"]
    for name in OF_KERNEL:
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
    if asked.get("start_bandwidth") is not None and not any(
        share(settings, flow) for flow in flows
    ):
        raise RefusedValueError(
            "start_bandwidth",
            (Argument("start_bandwidth"), " is where a bandwidth falls from, and ", *CONSTANT),
            remedy="leave it out",
        )
    if asked.get("beyond") is not None and not any(stragglers(settings, f).where for f in flows):
        raise RefusedValueError(
            "beyond",
            (Argument("beyond"), " is where stragglers begin, and nobody looks for them"),
            remedy=("leave it out, or add ", Argument("stragglers"), " told"),
        )
    if asked.get("resample") is not None and not any(changing(settings, f) for f in flows):
        raise RefusedValueError(
            "resample",
            (Argument("resample"), " is for masses that change, and these stay the same"),
            remedy=("leave it out, or add ", Argument("birth_death"), " 1"),
        )
    if "beta_half" in asked and of_flow(settings, "mmd-noise", "beta") == 0:
        raise RefusedValueError(
            "beta_half",
            (Argument("beta_half"), " is of the noise, and ", Argument("beta"), " is 0"),
            remedy="leave it out",
        )


def refuse_spare(settings: Settings, flow: str, flows: Sequence[str]) -> None:
    """Refuse an option of a flow that does not act with its ratio, mobility, critic or kernel."""
    taken = acting(settings, flow)
    for option, record in chosen(settings, flow).items():
        members = (BY_NAME[option].names or {}).values()
        for name in dict.fromkeys(name for member in members for name in member.options):
            value = of_flow(settings, flow, name)
            if (
                name in taken
                or value == BY_NAME[name].nothing
                or not meant(settings, flow, flows, name)
                or name in record.options
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
    """The records chosen for a flow's own options, by option; a kernel only where one is used."""
    record = FLOWS[flow]
    found: dict[str, Record] = {}
    for name in record.options:
        option = BY_NAME[name]
        if option.names is not None:
            usual = record.defaults.get(name, option.default)
            found[name] = option.names[given(of_flow(settings, flow, name), usual)]
    if not any("kernel" in part.arguments for part in (record, *found.values())):
        found.pop("kernel", None)
    return found


def acting(settings: Settings, flow: str) -> set[str]:
    """The options that act in a flow with the ratio, mobility, critic or kernel chosen for it."""
    record, parts = FLOWS[flow], chosen(settings, flow)
    taken = {name for part in parts.values() for name in part.options}
    taken |= {"kernel"} if "kernel" in record.arguments else set()
    members = [m for option in record.options for m in (BY_NAME[option].names or {}).values()]
    spare = {name for member in members for name in member.options} - taken
    return {*record.takes} - spare


def stepper(settings: Settings, flow: str) -> str:
    """The integrator of a flow.

    Steps are paced in flows whose kernel may be annealed: no fixed dt suits all bandwidths. Who
    gives dt wants steps of that length, and the velocity of a straggler that is pulled jumps.
    """
    record = FLOWS[flow]
    free = "anneal" in record.options and of_flow(settings, flow, "dt") is None
    free = free and stragglers(settings, flow).name != PULLED
    paced = free and "kernel" in acting(settings, flow)
    usual = record.defaults.get("integrator", PACED if paced else "euler")
    found: str = given(of_flow(settings, flow, "integrator"), usual)
    return found


def stragglers(settings: Settings, flow: str) -> Record:
    """What is done with the stragglers of a flow."""
    return chosen(settings, flow).get("stragglers", STRAGGLERS["none"])


def changing(settings: Settings, flow: str) -> bool:
    """Do the masses of a flow change?"""
    usual = FLOWS[flow].defaults.get("birth_death", 0)
    asked = given(of_flow(settings, flow, "birth_death"), usual)
    return "birth_death" in FLOWS[flow].options and asked > 0


def share(settings: Settings, flow: str) -> float:
    """The share of a flow's steps in which its bandwidth falls; 0 where it stays."""
    if "anneal" not in acting(settings, flow):
        return 0.0
    usual = ANNEAL if stepper(settings, flow) == PACED else 0.0
    found: float = given(of_flow(settings, flow, "anneal"), usual)
    return found


def needs(settings: Settings, flow: str) -> set[str]:
    """The arguments of a flow and of the records chosen for it."""
    records: Iterable[Record] = (FLOWS[flow], *chosen(settings, flow).values())
    return {name for record in records for name in record.arguments}


def meant(settings: Settings, flow: str, flows: Sequence[str], option: str) -> bool:
    """Was the option given for this flow?

    It was if it is in the flow's own table, or given for all and no other flow of the run takes it.
    What is given of the kernel for all is for the metrics too.
    """
    if option in OF_KERNEL:
        return option in settings.get(flow, {})
    others = {*flows} & {*BY_NAME[option].flows} - {flow}
    return option in settings.get(flow, {}) or (settings.get(option) is not None and not others)
