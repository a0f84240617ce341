"""Flags of the command line: which of them nothing would use, and messages in their words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from particleflow.catalogue import FLOWS
from particleflow.config import BY_NAME, OPTIONS, RTOL, Option, Settings, of_flow
from particleflow.synonyms import as_flags


def unused(settings: Settings, flows: Iterable[str]) -> Option | None:
    """An option that was given but belongs to none of these flows."""
    chosen = set(flows)
    return next(
        (
            o
            for o in OPTIONS
            if o.flows and not chosen & set(o.flows) and settings.get(o.name) is not None
        ),
        None,
    )


def idle(flags: Settings, settings: Settings, flows: Iterable[str]) -> str | None:
    """What is wrong with a flag that nothing in this run would use; None where each acts."""
    chosen = list(flows)
    summing = [
        f
        for f in chosen
        if f in RTOL and not (f == "mono" and of_flow(settings, f, "ratio") == "classifier")
    ]
    measured = settings.get("metrics") or ["mmd2"]
    unused_kernel = [name for name in ("kernel", "bandwidth") if name in flags]
    if unused_kernel and not summing and not {"mmd", "mmd2"} & set(measured):
        flag = BY_NAME[unused_kernel[0]].flag
        return (
            f"{flag} is for the kernel, which neither the flows {', '.join(chosen)} nor the metrics"
            f" {', '.join(measured)} use: leave it out"
        )
    if "beta_half" in flags and of_flow(settings, "mmd-noise", "beta") == 0:
        return "--beta-half is of the noise, and --beta is 0: leave it out"
    return None


def in_the_users_words(message: str, flags: Settings, file: Settings, path: str | None) -> str:
    """A message about `settings` (in backticks) as one about flags, or about the keys of the file
    where they were given.
    """

    def said(match: re.Match[str]) -> str:
        name = match[1]
        if name not in BY_NAME:
            return match[0]
        if name not in flags and name in file:
            return f"`{name}` in {path}"
        table = next(
            (flow for flow in FLOWS if name not in flags and name in file.get(flow, {})), None
        )
        return BY_NAME[name].flag if table is None else f"`{name}` in [{table}] of {path}"

    return re.sub(r"`(\w+)`", said, as_flags(message))
