"""Sums and largest values over the fits of a run, for its report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from particleflow._typing import Memory
from particleflow.clouds import Clock
from particleflow.integrators import State
from particleflow.memories import Remembered
from particleflow.pairwise.base import Promise


class Statistics:
    """Sums and largest values over the fits of a run. What it holds is replaced, never changed."""

    def __init__(self) -> None:
        self.fits = self.iterations = 0
        self.gap: float | None = None
        self.backends: dict[str, str] = {}
        self.promise = Promise(0.0, 0.0)
        self.lengths: tuple[float, float] | None = None
        self._before: Clock | None = None
        self.renewals: dict[str, dict[str, int]] = {}
        self.stragglers: dict[str, int] = {}

    def add(self, state: State) -> None:
        self.fits += 1
        self._add_length(state)
        for name, rows in state.renewed.items():
            count = self.renewals.get(name, {"times": 0, "particles": 0})
            more = {
                "times": count["times"] + 1,
                "particles": count["particles"] + int(rows.sum()),
            }
            self.renewals = self.renewals | {name: more}
        far = state.fit.reported("stragglers")
        if far is not None:
            self.stragglers = {
                "first": self.stragglers.get("first", int(far)),
                "last": int(far),
                "most": max(int(far), self.stragglers.get("most", 0)),
            }
        self.iterations += int(state.fit.reported("iterations") or 0)
        gap = state.fit.reported("gap")
        if gap is not None:
            self.gap = max(self.gap or 0.0, gap)
        backend = state.fit.report.get("backend")
        if backend is not None and str(backend) not in self.backends:
            why = str(state.fit.report.get("why", ""))
            self.backends = self.backends | {str(backend): why}

    def _add_length(self, state: State) -> None:
        """Keep the least and the largest length of steps that an integrator has chosen."""
        before, self._before = self._before, state.clock
        if before is None or before.step + 1 != state.clock.step or "dt" not in state.stepper:
            return
        used = state.clock.t - before.t
        least, largest = self.lengths or (used, used)
        self.lengths = min(least, used), max(largest, used)

    def promised(self, state: State, *, ended: bool) -> None:
        """Keep the largest error bound of the first and last states and of steps 1, 16, 256 ...

        Each bound costs about as much as a step.
        """
        step = state.clock.step
        if step and not ended and 16 ** round(math.log(step, 16)) != step:
            return
        made = state.fit.promise
        if made is not None:
            self.promise = Promise(
                max(self.promise.value, made.value), max(self.promise.grad, made.grad)
            )

    def remembered(self) -> Remembered:
        facts = {
            "fits": self.fits,
            "iterations": self.iterations,
            "gap": self.gap,
            "backends": dict(self.backends),
            "promise": [self.promise.value, self.promise.grad],
            "lengths": None if self.lengths is None else list(self.lengths),
            "before": None if self._before is None else [self._before.t, self._before.step],
            "renewals": {name: dict(count) for name, count in self.renewals.items()},
            "stragglers": dict(self.stragglers),
        }
        return Remembered({}, facts)

    def recall(self, tensors: Memory, facts: Mapping[str, Any]) -> None:
        self.fits, self.iterations, self.gap = facts["fits"], facts["iterations"], facts["gap"]
        self.promise = Promise(*facts["promise"])
        self._before = None if facts["before"] is None else Clock(*facts["before"])
        self.lengths = None if facts["lengths"] is None else tuple(facts["lengths"])
        self.backends, self.stragglers = dict(facts["backends"]), dict(facts["stragglers"])
        self.renewals = {name: dict(count) for name, count in facts["renewals"].items()}

    def summary(self) -> dict[str, Any]:
        solver = {} if self.gap is None else {"iterations": self.iterations, "worst_gap": self.gap}
        sums = (
            {
                "backends": self.backends,
                "promise": {"value": self.promise.value, "grad": self.promise.grad},
            }
            if self.backends
            else {}
        )
        lengths = {} if self.lengths is None else {"lengths": list(self.lengths)}
        renewals = {"renewals": self.renewals} if self.renewals else {}
        stragglers = {"stragglers": self.stragglers} if self.stragglers else {}
        return {"fits": self.fits} | lengths | solver | sums | renewals | stragglers
