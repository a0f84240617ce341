"""The weight lam of a penalty: a number, a schedule of the clock, or `Decreasing`, which follows
the fits so far.
"""

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
    """A positive number, `Constant` among them, becomes a float; `Decreasing` and callables of the
    clock stay.
    """
    if isinstance(lam, type):
        raise TypeError(
            "`lam` must be a number, a schedule or a callable of the clock, got the class"
            f" {lam.__name__}: pass what it makes"
        )
    if isinstance(lam, Decreasing) or (callable(lam) and not isinstance(lam, Constant)):
        return lam
    return _checks.positive(lam.value if isinstance(lam, Constant) else lam, "lam", remedy=remedy)


def penalty_at(lam: Penalty, clock: Clock, memory: Memory) -> float:
    """lam of the fit at `clock` that starts from `memory`."""
    if isinstance(lam, float):
        return lam
    if isinstance(lam, Decreasing):
        return lam.at(memory)
    remedy = f"{lam!r} gave it at step {clock.step}, t = {clock.t:g}; keep it above 0 there"
    return _checks.positive(lam(clock), "lam", remedy=remedy)


def remembering(fit: Fit, lam: Penalty, memory: Memory) -> Fit:
    """The fit with what its memory has to hold of lam's own past: nothing but for `Decreasing`."""
    if not isinstance(lam, Decreasing):
        return fit
    assert fit.value is not None
    return replace(fit, memory={**fit.memory, **lam.after(memory, fit.value)})
