"""The summary of a run: how it ended, how near it came to the target, and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from particleflow._words import last_known, number, unknown_attribute
from particleflow.advice import Advice
from particleflow.metrics import W2
from particleflow.metrics.transport import labelled
from particleflow.nearness import FEWEST, Nearness
from particleflow.spaces import WITHIN
from particleflow.strays import Strays


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended, in words (`str`) and numbers; `Trajectory.summary` makes it.

    Attributes
    ----------
    verdict : str
        For a run that took all its steps, with W2 between particles and target, the floor, and the
        bound of `Trajectory.nearness`, tried in this order:

        - "arrived": w2_end <= bound, a permutation test of level 5 %: a fresh sample of the
          target's distribution does no better. The bound is at most the floor and three standard
          deviations (at least 1.1 floor).
        - "farther": w2_end > 1.001 w2_start. A thousandth is below the digits that are shown.
        - "on its way": W2 was still falling. The pace is the fall in as long a run again, at the
          rate of the last tenth: 10 (W2 at 9/10 of the run - w2_end). Either pace > w2_end - bound:
          as many steps again would arrive at this pace. Or pace > (w2_start - w2_end) / 2, where
          the run took off a twentieth of w2_start at least: it has not slowed down. Flows do slow
          down: of 146 measured runs the 39 that met the first condition arrived within four times
          the steps, and of the others 9 did.
        - "stalled": none of these.

        Where particles move at random (noise, diffusion, a network, minibatches), a change of W2
        below two standard deviations of W2 between fresh samples counts as none, and the pace is
        that of the last half. A run that did not complete has its status as its verdict:
        "unstable", "diverged", "not converged", "interrupted" or "failed". So has a run that
        cannot be compared with a target: "completed".
    w2_start : float or None
        W2 (the root) to the target at the first record, in units of the coordinates. None without a
        target.
    w2_end : float or None
        The same at the last record.
    floor : float or None
        W2 of two fresh samples of the target of these sizes. It is estimated by splitting the
        target's own points (`metrics.floor`). None for fewer than 4 points, which cannot be split.
    bound : float or None
        The W2 at which a run counts as arrived, where it arrived above the floor.
    drawn : int
        The points of each cloud that were drawn for W2 and the floor; 0 where all were compared.
        Both are larger for a part than for all points.
    particles : int
        The number N of particles.
    strays : int or None
        Particles farther than `stray_distance` from every target point. At most 5000 particles and
        5000 target points are looked at.
    stray_distance : float or None
        r = max(2 s, floor), where 99 % of the target's mass have another target point within s.
    strays_said : str
        The strays in words, with the number of particles looked at.
    compared : str
        Where W2 is taken: "within classes", "around the box"; empty for all particles and plain
        distances.
    steps : int
        The number of the last step.
    time : float
        The flow's time there.
    dt : float or None
        The time step of the run; that of the first step where lengths are chosen.
    lengths : (float, float) or None
        The least and the largest length of a step, where the integrator chooses them.
    seconds : float or None
        The time that the steps took, in seconds.
    stopped : str
        Why the run ended before its last step, by its `stop`.
    unstable_from : int or None
        The first unstable step.
    metrics : tuple of (label, first value, last value)
        The last value that is a number: a run may go on without a metric.
    notes : tuple of str
        What the flow saw of its stragglers, how often it placed particles anew, and from where a
        run went on that is kept in a folder.
    message : str
        The message of the trajectory, for a run whose status is not "completed".
    advice : tuple of Advice
        What was seen, and what to change, a sentence each. `str(advice)` names Python's code.
    """

    verdict: str
    w2_start: float | None = None
    w2_end: float | None = None
    floor: float | None = None
    bound: float | None = None
    drawn: int = 0
    particles: int
    strays: int | None = None
    stray_distance: float | None = None
    strays_said: str = ""
    compared: str = ""
    steps: int
    time: float
    dt: float | None = None
    lengths: tuple[float, float] | None = None
    seconds: float | None = None
    stopped: str = ""
    unstable_from: int | None = None
    metrics: tuple[tuple[str, float, float], ...] = ()
    notes: tuple[str, ...] = ()
    message: str = ""
    advice: tuple[Advice, ...] = ()

    if not TYPE_CHECKING:  # to mypy any name would be an attribute
        __getattr__ = unknown_attribute

    @classmethod
    def of(
        cls,
        verdict: str,
        near: Nearness | None,
        far: Strays | None,
        *,
        sizes: tuple[int, int],
        end: tuple[int, float],
        report: Mapping[str, Any],
        metrics: Mapping[str, Float[Tensor, "T"]],
        message: str,
        advice: tuple[Advice, ...],
    ) -> Summary:
        """From what a run has left.

        `sizes` are the numbers of particles and of target points (0 if unknown), `end` is the last
        step and its time.
        """
        labels, (particles, aims), (steps, time) = report.get("labels", {}), sizes, end
        return cls(
            verdict=verdict,
            w2_start=None if near is None else near.first,
            w2_end=None if near is None else near.last,
            floor=None if near is None or 0 < aims < FEWEST else near.floor,
            bound=near.bound if near and verdict == "arrived" and near.last > near.floor else None,
            drawn=0 if near is None else near.part_of(particles, aims),
            particles=particles,
            strays=None if far is None else far.count,
            stray_distance=None if far is None else far.distance,
            strays_said="" if far is None else far.said(particles),
            compared=report.get("compared", ""),
            steps=steps,
            time=time,
            dt=report.get("dt"),
            lengths=tuple(report["lengths"]) if "lengths" in report else None,
            seconds=report.get("seconds"),
            stopped=report.get("stopped", ""),
            unstable_from=report.get("unstable_from"),
            metrics=tuple(
                (labels.get(name, name), float(v[0]), last_known(v.tolist()))
                for name, v in metrics.items()
                if len(v)
            ),
            notes=_notes(report),
            message=message,
            advice=advice,
        )

    def __str__(self) -> str:
        at = f", from step {self.unstable_from} on" if self.unstable_from is not None else ""
        dt = "" if self.dt is None else f" of dt = {self.dt:g}"
        if self.lengths is not None:
            least, largest = self.lengths
            dt = f" of dt = {least:.3g} to {largest:.3g}"
        seconds = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        lines = [
            f"{self.verdict}{at}: {number(self.steps, 'step')}{dt} to t = {self.time:g}{seconds}"
        ]
        if self.stopped:
            lines.append(f"stopped: {self.stopped}")
        if self.w2_start is None or self.w2_end is None:
            reason = (
                "the target's points, or the classes, are not kept here"
                if WITHIN in self.compared
                else "there are no target points to compare"
            )
            lines.append(f"W2 to the target is not known: {reason}")
        else:
            floor = "no floor: too few target points" if self.floor is None else self.floor_said
            if self.bound is not None:
                floor = f"{floor}, arrived up to {self.bound:.3g}"
            drawn = f", of {self.drawn} drawn" if self.drawn else ""
            w2 = f"W2 to the target{f' {self.compared}' if self.compared else ''}"
            lines.append(f"{w2} {self.w2_start:.3g} -> {self.w2_end:.3g} ({floor}{drawn})")
        told = [f"{label} {first:.3g} -> {last:.3g}" for label, first, last in self.metrics]
        # a recorded W2 of all points says what the line above says
        label = labelled(W2.label, self.compared)
        same = f"{label} {self.w2_start:.3g} -> {self.w2_end:.3g}" if self.w2_start else ""
        lines += [line for line in told if line != same]
        if self.strays is not None:
            lines.append(self.strays_said)
        lines += self.notes
        said = [str(advice).removeprefix(f"{self.strays_said}: ") for advice in self.advice]
        return "\n".join([*lines, *([self.message] if self.message else said)])

    @property
    def floor_said(self) -> str:
        """The floor in words: "floor 0.095"; empty without one."""
        return "" if self.floor is None else f"floor {self.floor:.2g}"


def _notes(report: Mapping[str, Any]) -> tuple[str, ...]:
    found, far = [], report.get("stragglers")
    if far is not None:
        first = number(far["first"], "particle")
        found.append(f"beyond reach: {first} at the start, {far['last']} at the end")
    found += [
        f"{name}: {number(count['times'], 'time')}, {number(count['particles'], 'particle')}"
        for name, count in report.get("renewals", {}).items()
    ]
    resumed = report.get("resumed")
    if resumed is not None:
        how = "had ended at" if resumed.get("over") else "went on from"
        found += [f"{how} step {resumed['step']}, kept in {resumed['folder']}"]
        found += resumed["notes"]
    return tuple(found)
