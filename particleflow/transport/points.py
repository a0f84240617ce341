"""Points moved along a finished run, forward and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Memory, Points
from particleflow.clouds import as_cloud
from particleflow.estimators.base import ByRow
from particleflow.integrators import Optimiser, State
from particleflow.integrators.boxes import Boxed
from particleflow.recipe import Leg
from particleflow.trajectory import Trajectory
from particleflow.transport.replay import backward as steps_back
from particleflow.transport.replay import forward as steps_on
from particleflow.transport.replay import recipe_of
from particleflow.transport.step import Step, scheme_of

# Numbers of a step's derivatives (Q, d, d) that are held in memory at once: 32 MiB in float64.
NUMBERS = 2**22


def transport(path: Trajectory, z: Any, *, record: int, backward: bool, records: bool) -> Tensor:
    """See `Trajectory.transport`."""
    _checks.flag(backward, "backward")
    _checks.flag(records, "records")
    points = points_of(path, z)
    if records and (backward or record != -1):
        raise RefusedValueError(
            "records", "are all of a run, forward", "`backward` or `record` beside it", "leave one"
        )
    if backward:
        check_inverse(path)
        found, origin = torch.full_like(points, torch.nan), Origin(points)
        for _ in back(path, record, origin):
            pass
        origin.tell(len(points), record)
        found[origin.rows] = origin.z
        return found
    wanted, seen = {int(step) for step in path.steps}, [points]
    for step, after in on(path, record, points):
        points = after
        if records and step.move.state.clock.step + 1 in wanted:
            seen.append(points)
    return torch.stack(seen) if records else points


def points_of(path: Trajectory, z: Any) -> Points:
    """The points of an argument `z`, checked, like the particles."""
    legs = recipe_of(path).legs
    particles = legs[0].start.x.points
    points = as_cloud(z, "z", like=particles).points
    _checks.same_space(particles, points, "particles", "z")
    for leg in legs:
        if isinstance(leg.flow.estimator, ByRow) and len(points) != len(particles):
            raise RefusedValueError(
                "z",
                "must have a point for each particle, of its class, where the flow has classes",
                f"{len(points)} points for {len(particles)} particles",
                "move the points of one class in a run of this class alone",
            )
        if isinstance(leg.integrator, Boxed):
            leg.integrator.check_inside(points, "z")
    return points


def on(path: Trajectory, record: int, points: Points) -> Iterator[tuple[Step, Points]]:
    """Each step of the run, with the points after it."""
    memories: list[Memory] = []
    leg: Leg | None = None
    for here, move in steps_on(path, record):
        step = Step(here, move)
        whole = points.shape == move.state.x.points.shape  # to see the noise of the run
        chunks = [points] if whole else points.split(rows(points))
        if here is not leg:
            memories = [_kept(memory, move.state) for memory in memories] or [{} for _ in chunks]
            leg = here
        moved = [
            step.moved(part, memory, k)
            for k, (part, memory) in enumerate(zip(chunks, memories, strict=True))
        ]
        points, memories = torch.cat([part for part, _ in moved]), [later for _, later in moved]
        yield step, points


class Origin:
    """Points on their way back, without those for which a step had no origin.

    Attributes
    ----------
    z : (Q, d) tensor
    rows : (Q,) tensor
        Their places among the points from which the way began.
    """

    def __init__(self, points: Points) -> None:
        self.z, self.rows = points, torch.arange(len(points), device=points.device)

    def keep(self, kept: Bool[Tensor, "Q"]) -> None:
        self.z, self.rows = self.z[kept], self.rows[kept]

    def tell(self, n: int, record: int) -> None:
        """Warn of the points that were lost, of n; refused where none is left."""
        lost = n - len(self.rows)
        if not lost:
            return
        told = (
            "has no origin that was found, or steps that fold space",
            f"{lost} of {n} points",
            f"at record {record} the run leads to them from nowhere, or from several places: make"
            " it with a smaller dt; where a kernel has a kink, a step may have no inverse",
        )
        if lost == n:
            raise RefusedValueError("z", *told)
        _checks.warn("`z` {}: {} are NaN; {}".format(*told))


def back(path: Trajectory, record: int, origin: Origin) -> Iterator[Step]:
    """Each step of the run, the last one first, with `origin` before it."""
    for leg, move in steps_back(path, record):
        step = Step(leg, move)
        parts = origin.z.split(rows(origin.z)) if len(origin.z) else ()
        found = [step.origins(part) for part in parts]
        if found:
            origin.z = torch.cat([z for z, _ in found])
            origin.keep(~torch.cat([lost for _, lost in found]))
        yield step


def check_inverse(path: Trajectory) -> None:
    """Refuse a run whose steps have no inverse: a random one, or one with a memory."""
    for leg in recipe_of(path).legs:
        flow = leg.flow
        for name, part in {"noise": flow.noise, "diffusion": flow.diffusion}.items():
            if part is not None:
                raise RefusedValueError(
                    "flow",
                    "must not be random to go backward",
                    f"{name}={part}",
                    "random steps have no inverse; transport forward",
                )
        if isinstance(scheme_of(leg.integrator), Optimiser):
            raise RefusedValueError(
                "integrator",
                "must have no memory of each point to go backward",
                leg.integrator,
                "a point's end does not tell its speed there; make the run with pf.Euler()",
            )


def rows(points: Points) -> int:
    """How many points are moved at once."""
    return max(1, NUMBERS // points.shape[1] ** 2)


def _kept(memory: Memory, state: State) -> Memory:
    """The memory of other points in a run that goes on: what the run has kept at its `state`."""
    return {name: value for name, value in memory.items() if name in state.stepper}
