"""What to try after a run that took all its steps and did not arrive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from particleflow.advice import Advice, Change
from particleflow.kernels.reach import BEYOND
from particleflow.metrics.told import told
from particleflow.nearness import Nearness
from particleflow.strays import Strays

# The share of the distance to the target below which particles have hardly moved.
HARDLY = 0.1
# The factor of a change of dt or of the bandwidth: large enough to see an effect.
FACTOR = 2.0
# The recommended flow, whose bandwidth falls.
AUTO = Change("flow", "auto", "pf.auto_flow(x0, y)")
# How often the injected noise halves in a run; 8 times leave 0.4 % of it.
HALVINGS = 8


@dataclass(frozen=True)
class Traits:
    """What advice needs to know of a flow; plain data, which a trajectory's report holds.

    Attributes
    ----------
    kernel : bool
        The witness is built from one kernel, beyond whose length it feels nothing.
    positive : bool
        The kernel can serve a density estimate.
    ratio : bool
        The witness estimates a log ratio.
    noise : bool
        Noise is injected.
    random : bool
        Particles move at random: noise, diffusion, a network in training, minibatches.
    fixed : bool
        The target stays the same.
    annealed : bool
        The bandwidth changes in the run.
    bandwidth : float or None
        That of the last fit, or of the kernel.
    reach : float or None
        The distance at which the kernel has fallen to exp(-4.5) = 1 %; None for a power law and
        for a kernel that declares no tail.
    """

    kernel: bool = False
    positive: bool = False
    ratio: bool = False
    noise: bool = False
    random: bool = False
    fixed: bool = False
    annealed: bool = False
    bandwidth: float | None = None
    reach: float | None = None


@dataclass(frozen=True)
class Ended:
    """The end of a run that did not arrive.

    Attributes
    ----------
    near : Nearness
    strays : Strays or None
    moved : float
        How far the particles moved, root mean square.
    scale : float
        The standard deviation of the target, by coordinate.
    dt : float
    steps : int
    particles : int
    again : tuple of str
        Metrics that a run that goes on measures only if they are passed again.
    """

    near: Nearness
    strays: Strays | None
    moved: float
    scale: float
    dt: float
    steps: int
    particles: int
    again: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        near: Nearness,
        strays: Strays | None,
        records: Float[Tensor, "T N d"],
        target: Float[Tensor, "M d"] | None,
        report: Mapping[str, Any],
        steps: int,
    ) -> Ended:
        """From a run's records; without a fixed target the scale is that of the last one."""
        measured = report.get("metrics", {})
        first, last = records[0].double(), records[-1].double()
        aim = last if target is None else target.double()
        return cls(
            near,
            strays,
            moved=float((last - first).square().sum(1).mean().sqrt()),
            scale=float(aim.var(0, unbiased=False).mean().sqrt()),
            dt=float(report.get("dt", 1.0)),
            steps=steps,
            particles=len(last),
            again=tuple(name for name in measured if name not in told(measured)),
        )

    def advice(self, traits: Traits) -> Advice:
        """What was seen, and what to change.

        Particles that were still coming nearer need more steps. The others need a bandwidth that
        falls, or a witness that reaches farther (noise, or a log ratio), or a finer one (a smaller
        bandwidth), or smaller steps where they hop about the target.
        """
        if self.near.falling:
            return Advice("W2 was still falling", (self._more_steps,))
        width, near = traits.bandwidth, self.near
        if (
            self._lost
            and not traits.annealed
            and width
            and traits.reach is not None
            and near.last > traits.reach
        ):
            far = f"the target is {near.last / width:.3g} bandwidths away"
            return Advice(f"the kernel is too short ({far})", self._reaching(traits))
        if traits.annealed:
            return Advice(self._seen, self._annealing(traits))
        if self.moved < HARDLY * near.first:
            return Advice("the particles have hardly moved", (self._more_steps,))
        if traits.kernel:
            return Advice(self._seen, self._reaching(traits))
        if traits.ratio and not traits.random and width is not None:
            return Advice(self._seen, (AUTO, _bandwidth(width / FACTOR)))
        # what moves at random is slow to show a trend: more steps may still bring it nearer
        more = (self._more_steps,) if traits.random else ()
        return Advice(self._seen, (*more, self._smaller_dt))

    @property
    def _lost(self) -> bool:
        """Are most particles strays?"""
        return self.strays is not None and 2 * self.strays.count > self.strays.compared

    def _reaching(self, traits: Traits) -> tuple[Change, ...]:
        """Changes that let particles feel the target from farther."""
        every, width = max(1, self.steps // HALVINGS), traits.bandwidth or 0.0
        code = f"noise=pf.schedules.Geometric({self.scale:.2g}, ratio=0.5, every={every})"
        noise = Change("noise", None, code)
        # noise beta makes a kernel of length sqrt(bandwidth^2 + beta^2) of the average force
        reached = traits.reach is None or self.near.last < BEYOND * math.hypot(width, self.scale)
        mono = Change("flow", "mono", "pf.mono_flow(pf.estimators.KDE(kernel))")
        found = [
            *([AUTO] if traits.fixed else []),
            *([noise] if reached and not traits.noise else []),
            *([mono] if traits.positive else []),
        ]
        return tuple(found) or (_bandwidth(max(FACTOR * width, self.near.last / BEYOND)),)

    def _annealing(self, traits: Traits) -> tuple[Change, ...]:
        """Changes to a run whose bandwidth fell: it ended too coarse, or fell too fast."""
        width = traits.bandwidth
        if width is not None and width > self.scale:
            return (_bandwidth(width / FACTOR),)
        if traits.fixed and not (traits.kernel and traits.reach is None):
            return (AUTO,)
        steps = 2 * self.steps
        return (Change("steps", steps, f"pf.auto_flow(x0, y, steps={steps})"),)

    @property
    def _seen(self) -> str:
        """Where the particles are that are in the wrong place."""
        if self.strays is None or self.strays.count:
            return self.strays.said(self.particles) if self.strays else "W2 falls no more"
        if self.near.last > self.strays.distance:
            return "all particles are near the target, too many at some parts of it"
        return "all particles are near the target, and blurred"

    @property
    def _more_steps(self) -> Change:
        again = ", metrics=metrics" if self.again else ""
        code = f"pf.simulate(flow, path, steps={self.steps}{again})"
        return Change("steps", 2 * self.steps, code)

    @property
    def _smaller_dt(self) -> Change:
        dt = f"{self.dt / FACTOR**2:.2g}"
        return Change("dt", float(dt), f"dt = {dt}")


def _bandwidth(length: float) -> Change:
    return Change("bandwidth", float(f"{length:.2g}"), f"a bandwidth of {length:.2g}")
