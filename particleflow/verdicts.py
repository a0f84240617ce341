"""The verdict on a run that took all its steps: whether it came nearer to the target."""

from __future__ import annotations

from dataclasses import asdict, replace

from particleflow.clouds import Cloud
from particleflow.estimators.base import energy_of
from particleflow.flows import Flow
from particleflow.integrators import State
from particleflow.kernels import FeatureKernel, ScaledKernel
from particleflow.kernels.contract import PositiveKernel
from particleflow.kernels.reach import reach_of
from particleflow.nearness import Nearness, doubtful, nearness_of_run
from particleflow.remedies import Traits
from particleflow.spaces import PLAIN, Space
from particleflow.trajectory import Trajectory


def judged(
    path: Trajectory, flow: Flow, y: Cloud | None, *, fixed: bool, space: Space = PLAIN
) -> Trajectory:
    """`_judged`, or the trajectory unchanged where no distance can be computed.

    A failed comparison must not lose the run.
    """
    try:
        return _judged(path, flow, y, fixed, space)
    except (Exception, KeyboardInterrupt) as error:  # e.g. POT is missing, or Ctrl-C
        return replace(
            path, report={**path.report, "comparable": False, "incomparable": repr(error)}
        )


def _judged(path: Trajectory, flow: Flow, y: Cloud | None, fixed: bool, space: Space) -> Trajectory:
    """The trajectory with the distances behind its `verdict`.

    The message of a run that ended no nearer than it began says "stalled" or "farther", and what
    to try.
    Particles that are features of a model (`FeatureKernel`) are not compared with the target's:
    other features may make the same model.
    """
    energy = energy_of(flow.estimator)
    kernel = None if energy is None else energy.kernel
    if y is None or (isinstance(kernel, FeatureKernel) and not kernel.in_space):
        return replace(path, report={**path.report, "comparable": False})
    # sliced distances know no classes and no torus
    if fixed and space.plain and not doubtful(path.cloud(0), path.state.x, y):
        return path
    random = bool(path.report["traits"]["random"])
    found = nearness_of_run(path.cloud, path.times, y, random=random, space=space)
    far = space.strays(path.state.x, y, found.floor)
    report = {**path.report, "nearness": asdict(found)}
    report |= {} if far is None else {"strays": asdict(far)}
    path = replace(path, report=report)
    if found.fell or found.verdict == "arrived":
        return path
    told = (
        path.message
        or f"{_numbers(found, space.said, len(path.state.x), len(y))}; {path.summary().advice[0]}"
    )
    return replace(path, message=f"{found.verdict}: {told}")


def _numbers(found: Nearness, where: str, *clouds: int) -> str:
    return (
        f"W2 to the target{f' {where}' if where else ''} went from {found.first:.3g} to"
        f" {found.last:.3g}, of two fresh samples it is {found.floor:.2g}{found.drawn(*clouds)}"
    )


def traits(flow: Flow, end: State, *, fixed: bool) -> Traits:
    """What advice on a run needs to know of its flow."""
    try:
        return _traits(flow, end, fixed)
    except Exception:  # a user's part that raises must not lose the run
        return Traits()


def _traits(flow: Flow, end: State, fixed: bool) -> Traits:
    estimator, width = flow.estimator, end.fit.reported("bandwidth")
    energy = energy_of(estimator)
    kernel = None if energy is None else energy.kernel
    if isinstance(kernel, ScaledKernel):
        width = float(kernel.bandwidth) if width is None else width
        kernel = kernel.with_bandwidth(width)
    moving = end.target is not None and not fixed
    noise, diffusion = flow.noise is not None, flow.diffusion is not None
    return Traits(
        kernel=energy is not None,
        # without a kernel the estimator takes a Gaussian
        positive=isinstance(kernel, PositiveKernel) or (energy is not None and kernel is None),
        ratio=estimator.log_ratio,
        noise=noise,
        fixed=end.target is not None and fixed,
        annealed=flow.annealed,
        random=moving or noise or diffusion or not estimator.deterministic,
        bandwidth=width,
        reach=reach_of(kernel),
    )
