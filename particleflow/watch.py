"""Find instability in a run: what is wrong with a state, and what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow._typing import Memory
from particleflow.advice import Advice, Change
from particleflow.clouds import Cloud, FixedTarget, Target, corners, extent
from particleflow.estimators import Fit
from particleflow.estimators.base import energy_of, fitted
from particleflow.flows import Flow
from particleflow.integrators import (
    Corrected,
    Course,
    Integrator,
    Optimiser,
    Snapshot,
    State,
)
from particleflow.integrators.base import chain_of, controller_of
from particleflow.kernels.bandwidth import default_bandwidth, spacing
from particleflow.kernels.declared import has_kink
from particleflow.memories import Remembered, snapshot_from, snapshot_told, under, within

# Particles farther from the middle of the start than this many extents of start and target have
# left for good.
ESCAPE = 1e6
# The margin of the box around start and target, in longest sides of the box.
MARGIN = 1.0
# The further margin for diffusion, in its standard deviations.
TAIL = 3.0
# The share of the mass from which particles count as most of them.
MOST = 0.5
# The relative change of a velocity over a step from which the energy is evaluated. Below 2 the
# energy falls, except for terms of third order in dt. This value leaves a margin for them.
CHANGED = 0.75
# The number of particles whose steps show that change; more would cost time at every step.
TRACKED = 512
# The relative rise of an energy that is no instability where the kernel has a kink: particles that
# meet hop over each other.
HOP = 5e-2
# The relative change of an energy that is rounding, besides EPSILONS.
SHARE = 1e-9
# The relative change of an energy that is rounding, in machine epsilons.
EPSILONS = 1e2
# The bandwidth, in spacings of the target's points, below which it is too small: between two such
# points k = exp(-50), and a particle feels one point at most.
NARROW = 0.1


class Watch(Course):
    """Follows one run and finds its first unstable step.

    A step is unstable if a conservative energy rose, or if most particles left the box.

    The energy is compared at every step where the fit has it at hand (`Fit.known`), else only where
    it may have risen. If D' is the step after D, the energy changes over D by
    -(D.D + D.D') / (2 dt) + O(dt^3), by the trapezium rule. So it has fallen where
    |D' - D| < 3/4 |D|. Where that fails, the energy is evaluated before and after the step. The box
    costs nothing while the least and the largest coordinate lie within it.

    The energy is not compared where the integrator is an `Optimiser`, in whose steps it may rise.
    """

    def __init__(self, flow: Flow, target: Target, dt: float, integrator: Integrator) -> None:
        super().__init__(flow, target, dt, integrator)
        self.step, self.message = 0, ""
        self.advice: Advice | None = None
        self.begun = False

    def begin(self, start: State) -> None:
        """Remember the first state."""
        self._begin_at(start, start.target)
        self._reach = ESCAPE * _scale(self.flow, start, self.first, self.dt)
        if self._conservative and _kinked(self.flow):
            self._hop = HOP * abs(start.fit.value or 0.0)
        self._tracked_before = self._tracked(start.x)

    def _begin_at(self, start: Snapshot, first: Cloud | None) -> None:
        """Note what follows from the particles and the target at the start."""
        self.start, self.first, self.begun = start, first, True
        self._middle = start.x.points.mean(0)
        self._largest_middle = float(self._middle.abs().max())
        chain = chain_of(self.integrator)
        self._conservative = (
            self.flow.conservative
            and isinstance(self.target, FixedTarget)
            and not isinstance(self.integrator, Optimiser)
            and all(each.keeps_energy for each in chain if isinstance(each, Corrected))
        )
        self._previous: State | None = None
        self._hop = 0.0
        self._rows = _tracked_rows(len(start.x)).to(start.x.points.device)
        self._whole = len(self._rows) == len(start.x)
        self._mass = None if start.x.log_mass is None else start.x.mass[self._rows, None]
        self._total = float(len(self._rows) if self._mass is None else self._mass.sum())
        self._least_rise = self._rounding(1.0)
        # of the tracked particles' last step: the step, its mean square, and the dt used
        self._last_step: tuple[Tensor, float, float] | None = None
        self._box = None if self.first is None else _Box.around(start.x.points, self.first.points)
        self._variance = 0.0

    def remembered(self, *, previous: bool = True) -> Remembered:
        """All that later steps ask of earlier ones; the fit before is made again from its state.

        Without `previous` that state is left out: the next step compares no energy with it.
        """
        tensors, last = {"tracked": self._tracked_before}, None
        if self._last_step is not None:
            tensors["step"], *last = self._last_step
        before = None
        if previous and self._previous is not None and not self.message:
            told = snapshot_told(self._previous)
            tensors |= under("before", told.tensors)
            before = told.facts
        facts = {
            "step": self.step,
            "message": self.message,
            "advice": None if self.advice is None else self.advice.kept(),
            "reach": self._reach,
            "hop": self._hop,
            "variance": self._variance,
            "last": last,
            "before": before,
        }
        return Remembered(tensors, facts)

    def recall(
        self, start: Snapshot, first: Cloud | None, tensors: Memory, facts: Mapping[str, Any]
    ) -> None:
        """Go on with what the watch of a run from `start` to the target `first` has remembered."""
        self._begin_at(start, first)
        self.step, self.message = facts["step"], facts["message"]
        self.advice = None if facts["advice"] is None else Advice.of(facts["advice"])
        self._reach, self._hop = facts["reach"], facts["hop"]
        self._variance, self._tracked_before = facts["variance"], tensors["tracked"]
        if facts["last"] is not None:
            self._last_step = (tensors["step"], *facts["last"])
        if facts["before"] is not None:
            held = within("before", tensors)
            before = snapshot_from(held, facts["before"], start.clock.draws)
            y = self.target.at(before.clock)
            fit = fitted(self.flow.estimator, before.x, y, before.clock, before.memory)
            self._previous = State(**vars(before), fit=fit, target=y)

    def trouble(self, state: State, cloud: Cloud, used: float) -> str:
        """Look at the step from `state` to `cloud`, before the fit there.

        Returns what ends the run and what to try, or nothing.
        """
        low, high = (float(end) for end in cloud.points.aminmax())  # both are NaN if one is
        inside = max(abs(low), abs(high)) + self._largest_middle <= self._reach
        lost = "" if inside and cloud.log_mass is None else self._lost(cloud)
        if lost:
            return self._said(lost, state)
        if not self.message:
            self._look_at_energy(state, cloud, used)
            self._look_at_box(state, cloud, used, low, high)
        return ""

    def overflow(self, state: State) -> str:
        """What to try where coordinates left the range of sums within the step from `state`."""
        return self._said("within the step particles are too far away for sums over pairs", state)

    def fitted(self, state: State) -> State:
        """The new state with its status, after the fit at the new cloud."""
        if self._conservative and state.fit.known:
            self.compare(state)
        return replace(state, status="unstable", message=self.message) if self.message else state

    def compare(self, state: State) -> None:
        """Note a rise of the energy over the last step, which led to `state`.

        Reading `fit.value` evaluates the energy where it is not at hand.
        """
        before = self._previous
        if self.message or before is None or before.clock.step + 1 != state.clock.step:
            return  # the states that are compared may be behind those that were made
        if before.fit.value is None or state.fit.value is None:
            return
        a, b = before.fit.value, state.fit.value
        slack = self._rounding(max(abs(a), abs(b))) + self._hop
        if not b > a + slack:
            return
        for fit in (before.fit, state.fit):
            slack += (fit.reported("gap") or 0.0) + (
                2 * fit.promise.value if fit.promise is not None else 0.0
            )
        if b > a + slack:
            cause = (
                f"the energy rose from {a:.4g} by {b - a:.2g} at step {state.clock.step}, which the"
                " exact flow cannot do"
            )
            seen = "the energy rose, which the exact flow cannot do"
            length = self._length(before, state)
            self._unstable(state.clock.step, state.fit, cause, seen, length)

    def _length(self, before: State, after: State) -> float:
        """The length of the step between two states."""
        return after.clock.t - before.clock.t if "dt" in after.stepper else self.dt

    def _unstable(self, step: int, fit: Fit, cause: str, seen: str, used: float) -> None:
        """Note the first unstable step: `cause` for the message, `seen` for the advice."""
        remedy, self.advice = self._tried(fit, seen)
        self.step = step
        self.message = f"{remedy}; {cause}: dt = {used:g} is too large"

    def _tried(self, fit: Fit, seen: str) -> tuple[str, Advice]:
        """What to try, as words of a message and as advice."""
        lost = narrow(fit, self.first)
        if lost is not None:
            return noted(lost), replace(lost, seen=f"{seen}: {lost.seen}")
        controller = controller_of(self.integrator)
        if controller is not None:
            code = controller.remedy
            return f"try {code}", Advice(seen, (Change("integrator", None, code),))
        dt = f"{self._smaller():.2g}"
        return f"try dt = {dt}", Advice(seen, (Change("dt", float(dt), f"dt = {dt}"),))

    def _smaller(self) -> float:
        return min(suggestion(self.flow, self.start.x, self.first), self.dt / 4)

    def _lost(self, x: Cloud) -> str:
        lost = ~torch.isfinite(x.points).all(1)
        if bool(lost.any()):
            return f"{int(lost.sum())} of {len(x)} particles are no longer finite"
        if x.log_mass is not None and bool((x.log_mass.isnan() | x.log_mass.isposinf()).any()):
            return "masses are no longer finite"
        if float((x.points - self._middle).abs().max()) > self._reach:
            return f"particles are {ESCAPE:g} times the start's extent away"
        return ""

    def _said(self, trouble: str, state: State) -> str:
        """What ends the run, and what to try."""
        velocity, _ = self.flow.velocity(state.x, state.fit, state.clock)
        lost = int((~torch.isfinite(velocity).all(1)).sum())
        if lost:  # the cloud is finite, its velocity is not: no dt helps
            told = (
                f"{trouble}: the velocity is not finite at {lost} of them already, so look at the"
                " kernel, score, mobility or noise, not at dt"
            )
            self.advice = Advice(told)
            return told
        remedy, self.advice = self._tried(state.fit, trouble)
        return f"{trouble}: {remedy}"

    def _look_at_energy(self, state: State, cloud: Cloud, used: float) -> None:
        if not self._conservative:
            return
        if not state.fit.known and self._doubtful(cloud, used):
            self.compare(state)
        self._previous = state

    def _doubtful(self, cloud: Cloud, used: float) -> bool:
        """May the energy have risen, by more than rounding, in the step before that to `cloud`?"""
        before, self._tracked_before = self._tracked_before, self._tracked(cloud)
        step = self._tracked_before - before
        flat = step.view(-1)
        square = self._dot(step, flat)
        last, self._last_step = self._last_step, (step, square, used)
        if last is None:
            return False
        last_step, last_square, dt = last
        ratio = dt / used
        changed = last_square - 2 * ratio * self._dot(last_step, flat) + ratio**2 * square
        return changed > CHANGED**2 * last_square and last_square + changed > dt * self._least_rise

    def _tracked(self, cloud: Cloud) -> Tensor:
        return cloud.points if self._whole else cloud.points.index_select(0, self._rows)

    def _dot(self, step: Tensor, flat: Tensor) -> float:
        """The mean over the particles of the scalar product of two steps."""
        weighted = step if self._mass is None else self._mass * step
        return float(weighted.view(-1).dot(flat)) / self._total

    def _rounding(self, energy: float) -> float:
        return (EPSILONS * torch.finfo(self.start.x.points.dtype).eps + SHARE) * max(1.0, energy)

    def _look_at_box(
        self, state: State, cloud: Cloud, used: float, low: float, high: float
    ) -> None:
        if self._box is None:
            return
        if callable(self.flow.diffusion):
            self._variance += used * self.flow.sigma(state.clock) ** 2
        margin = TAIL * math.sqrt(self._variance)
        if self._box.holds(low, high, margin) or self._box.outside(cloud, margin) <= MOST:
            return
        # a target may move
        targets = [target.points for target in (self.first, state.target) if target is not None]
        share = _Box.around(self.start.x.points, *targets).outside(cloud, margin)
        if share > MOST:
            step = state.clock.step + 1
            box = f"the box around start and target, {1 + 2 * MARGIN:g} times as long as these"
            told = f"{share:.0%} of the particles had left the box around start and target"
            cause = f"{share:.0%} of the particles had left {box}, at step {step}"
            self._unstable(step, state.fit, cause, told, used)


class _Box:
    """The box around some clouds, widened on each side by its longest side."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high
        self.ends = float(low.max()), float(high.min())

    @classmethod
    def around(cls, *points: Tensor) -> _Box:
        low, high = corners(*points)
        side = MARGIN * float((high - low).max()) or math.inf
        return cls(low - side, high + side)

    def holds(self, low: float, high: float, margin: float) -> bool:
        """Are all coordinates from `low` to `high` within?"""
        return low >= self.ends[0] - margin and high <= self.ends[1] + margin

    def outside(self, x: Cloud, margin: float) -> float:
        """The share of the mass outside the box."""
        out = ((x.points < self.low - margin) | (x.points > self.high + margin)).any(1)
        return (
            float(out.double().mean())
            if x.log_mass is None
            else float(x.log_mass.double().softmax(0) @ out.double())
        )


def _tracked_rows(n: int) -> Tensor:
    return (
        torch.arange(n, device="cpu")
        if n <= TRACKED
        else torch.from_numpy(np.random.default_rng(0).choice(n, TRACKED, replace=False))
    )


def _kinked(flow: Flow) -> bool:
    energy = energy_of(flow.estimator)
    return energy is not None and has_kink(energy.kernel)


def narrow(fit: Fit, target: Cloud | None) -> Advice | None:
    """What to do about a bandwidth that is too small for any dt to help; None for a good one."""
    bandwidth = fit.reported(
        "bandwidth" if fit.reported("target_bandwidth") is None else "target_bandwidth"
    )
    if bandwidth is None or target is None:
        return None
    space = spacing(target)
    if bandwidth >= NARROW * space:
        return None
    wider = float(f"{default_bandwidth(target):.2g}")
    return Advice(
        f"raise the bandwidth, {bandwidth:.2g}, which is far below {space:.2g}, the spacing of the"
        " target's points: a particle feels one of them at most, and no dt helps",
        (Change("bandwidth", wider, "pf.kernels.default_bandwidth(target)"),),
    )


def noted(advice: Advice) -> str:
    """Advice as a part of a run's message."""
    return "; e.g. ".join([advice.seen, *map(str, advice.changes)])


def suggestion(flow: Flow, x: Cloud, y: Cloud | None) -> float:
    """A dt for a message; infinite where the search for one fails."""
    try:
        return flow.suggest_dt(x, y)
    except Exception:  # a user's part that raises must not hide the run's message
        return math.inf


def _scale(flow: Flow, state: State, target: Cloud | None, dt: float) -> float:
    """The extent of start and target; without a target, that of the start and of the first step."""
    if target is not None:
        return extent(state.x.points, target.points) or math.inf
    sigma = flow.sigma(state.clock)
    speed = float(flow.velocity(state.x, state.fit, state.clock)[0].nan_to_num().abs().max())
    return extent(state.x.points) + dt * speed + math.sqrt(dt) * sigma or math.inf
