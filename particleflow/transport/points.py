"""Points moved along a finished run, forward and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._typing import Memory, Points
from particleflow.clouds import as_cloud
from particleflow.integrators import Optimiser
from particleflow.recipe import Leg
from particleflow.trajectory import Trajectory
from particleflow.transport.inverse import inverted
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
        for step in back(path, record):
            points = undone(step, points)
        return points
    wanted, found = {int(step) for step in path.steps}, [points]
    for step, after in on(path, record, points):
        points = after
        if records and step.move.state.clock.step + 1 in wanted:
            found.append(points)
    return torch.stack(found) if records else points


def points_of(path: Trajectory, z: Any) -> Points:
    """The points of an argument `z`, checked, like the particles."""
    particles = recipe_of(path).legs[0].start.x.points
    points = as_cloud(z, "z", like=particles).points
    _checks.same_space(particles, points, "particles", "z")
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
            kept = here.start.stepper
            memories = [_kept(memory, kept) for memory in memories] or [{} for _ in chunks]
            leg = here
        moved = [
            step.moved(part, memory, k)
            for k, (part, memory) in enumerate(zip(chunks, memories, strict=True))
        ]
        points, memories = torch.cat([part for part, _ in moved]), [later for _, later in moved]
        yield step, points


def back(path: Trajectory, record: int) -> Iterator[Step]:
    """Each step of the run, the last one first."""
    for leg, move in steps_back(path, record):
        yield Step(leg, move)


def undone(step: Step, points: Points) -> Points:
    """The points before a step. Refused where it has no inverse."""
    found = []
    for part in points.split(rows(points)):
        z, lost = inverted(lambda at: step.moved(at, {})[0], part)
        if bool(lost.any()):
            clock = step.move.state.clock
            raise RefusedValueError(
                "z",
                f"must be reached by step {clock.step}, from t = {clock.t:g}",
                f"{int(lost.sum())} of {len(part)} points for which no origin was found",
                "make the run with a smaller dt; where a kernel has a kink, a step may have no"
                " inverse",
            )
        found.append(z)
    return torch.cat(found)


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


def _kept(memory: Memory, kept: Memory) -> Memory:
    """The memory of other points in a run that goes on: what the run itself has kept."""
    return {name: value for name, value in memory.items() if name in kept}
