"""The weight lam of a penalty: a number, a schedule of the clock, or `Decreasing`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock
from particleflow.estimators.base import Fit
from particleflow.schedules import Constant, Decreasing, Schedule

Penalty: TypeAlias = float | Schedule | Decreasing


def as_penalty(lam: Any, remedy: str) -> Penalty:
    """lam, checked: a number and a `Constant` become a float, all else stays as it is."""
    if isinstance(lam, type):
        raise TypeError(
            "`lam` must be a number, a schedule or a callable of the clock, got the class"
            f" {lam.__name__}: pass what it makes"
        )
    if isinstance(lam, Decreasing) or (callable(lam) and not isinstance(lam, Constant)):
        return lam
    return _checks.positive(lam.value if isinstance(lam, Constant) else lam, "lam", remedy=remedy)


def penalty_at(lam: Penalty, clock: Clock, memory: Memory) -> float:
    """lam at `clock`, for a fit that starts from `memory`."""
    if isinstance(lam, float):
        return lam
    if isinstance(lam, Decreasing):
        return lam.at(memory)
    remedy = f"{lam!r} gave it at step {clock.step}, t = {clock.t:g}; keep it above 0 there"
    return _checks.positive(lam(clock), "lam", remedy=remedy)


def remembering(fit: Fit, lam: Penalty, memory: Memory) -> Fit:
    """The fit, with lam's own past in its memory where lam is `Decreasing`."""
    if not isinstance(lam, Decreasing):
        return fit
    assert fit.value is not None
    return replace(fit, memory={**fit.memory, **lam.after(memory, fit.value)})
