"""The verdict on a run that took all its steps: whether it came nearer to the target."""

from __future__ import annotations

from dataclasses import asdict, replace

from particleflow.arrival import Nearness, doubtful, nearness
from particleflow.clouds import Cloud
from particleflow.estimators.base import KernelEnergy
from particleflow.flows import Flow
from particleflow.kernels import FeatureKernel
from particleflow.trajectory import Trajectory

# The share of the distance to the target below which particles have hardly moved. At this share
# the advice is more steps, not a smaller dt.
HARDLY = 0.1


def judged(path: Trajectory, flow: Flow, y: Cloud | None, *, fixed: bool) -> Trajectory:
    """`_judged`, or the trajectory unchanged where no distance can be computed.

    A failed comparison must not lose the run.
    """
    try:
        return _judged(path, flow, y, fixed)
    except (Exception, KeyboardInterrupt) as error:  # e.g. POT is missing, or Ctrl-C
        return replace(
            path, report={**path.report, "comparable": False, "incomparable": repr(error)}
        )


def _judged(path: Trajectory, flow: Flow, y: Cloud | None, fixed: bool) -> Trajectory:
    """The trajectory with the distances behind its `verdict`.

    The message of a run that ended no nearer than it began says "stalled" and what to try.
    Particles that are features of a model (`FeatureKernel`) are not compared with the target's:
    other features may make the same model.
    """
    if y is None or (
        isinstance(flow.estimator, KernelEnergy)
        and isinstance(flow.estimator.kernel, FeatureKernel)
    ):
        return replace(path, report={**path.report, "comparable": False})
    start, end = path.cloud(0), path.state.x
    if fixed and not doubtful(start, end, y):
        return path
    found = nearness(start, end, y)
    stalled = found.verdict == "stalled"
    message = (
        "stalled:"
        f" {path.message or _advice(flow, start, end, len(y), found, float(path.report['dt']))}"
        if stalled
        else path.message
    )
    return replace(path, report={**path.report, "nearness": asdict(found)}, message=message)


def _advice(flow: Flow, start: Cloud, end: Cloud, aims: int, found: Nearness, dt: float) -> str:
    numbers = (
        f"W2 to the target went from {found.first:.3g} to {found.last:.3g}, of two fresh samples"
        " it is "
    )
    numbers += f"{found.floor:.2g}{found.drawn(len(end), aims)}"
    moved = float(((end.points - start.points) ** 2).sum(1).double().mean().sqrt())
    if moved < HARDLY * found.first:
        return (
            f"{numbers}; the particles have hardly moved: take more steps, raise the bandwidth if"
            " the clouds are far apart, or inject noise"
        )
    random = " or less noise" if flow.noise is not None or flow.diffusion is not None else ""
    return (
        f"{numbers}; the particles move without coming nearer: try dt = {dt / 4:.2g}{random}, or"
        " another bandwidth"
    )
