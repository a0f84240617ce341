"""The arguments of a run, checked and converted before any work is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow.automatic import AutoFlow
from particleflow.clouds import (
    Clock,
    Cloud,
    Draws,
    FixedTarget,
    Randomness,
    Target,
    as_cloud,
    as_clouds,
)
from particleflow.estimators import Estimator
from particleflow.estimators.base import ByRow, missing_target
from particleflow.flows import Flow
from particleflow.integrators import Corrected, Euler, EulerMaruyama, Integrator, Paced, Snapshot
from particleflow.integrators.base import controller_of, periods
from particleflow.metrics import Metric
from particleflow.reactions import Reaction
from particleflow.recording import value_of
from particleflow.samplers import Minibatch
from particleflow.samplers.base import Sampler
from particleflow.spaces import Space
from particleflow.trajectory import Trajectory

# The relative difference up to which two total masses count as equal. It is that of float32 sums
# over large clouds, with a margin.
SAME_TOTAL = 1e-3

Metrics = Mapping[str, Callable[[Cloud, Cloud], float]]


def prepare(
    flow: Flow,
    x0: Any,
    target: Any,
    integrator: Integrator | None,
    seed: int | None,
    draws: Randomness | None,
    *,
    free: bool = False,
) -> tuple[Snapshot, Target, Cloud | None, Integrator]:
    """The start, the target, the target's cloud at the start, and the integrator.

    Everything is checked and converted before any work is done. `free`: the time step is left to
    the integrator.
    """
    if not isinstance(flow, Flow):
        raise TypeError(
            f"`flow` must be a Flow, got {type(flow).__name__}: e.g."
            " pf.mmd_flow(pf.kernels.Gaussian(0.2))"
        )
    if seed is not None and draws is not None:
        raise ValueError(f"pass `seed` or `draws`, not both, got seed={seed} and draws={draws!r}")
    if draws is not None and (isinstance(draws, type) or not isinstance(draws, Randomness)):
        what = _checks.said(draws)
        raise TypeError(
            "`draws` must have normal(stream, step, like) and child_seed(stream, step), got"
            f" {what}: pass pf.Replay(arrays), or seed=0"
        )
    draws = draws if seed is None else Draws(seed)
    earlier = x0.state if isinstance(x0, Trajectory) else x0 if isinstance(x0, Snapshot) else None
    if isinstance(x0, Trajectory):
        if target is None and x0.target is not None:
            target = Cloud(x0.target, log_mass=x0.target_log_mass)
        if integrator is None and x0.report["integrator"] != repr(
            integrator_of(flow, None, free=free)
        ):
            raise ValueError(
                f"`integrator` must be given to go on: the run used {x0.report['integrator']}, got"
                " None: pass integrator="
            )
    integrator = integrator_of(flow, integrator, free=free)
    clock = Clock() if earlier is None else earlier.clock
    clock = replace(clock, draws=draws or clock.draws)
    given = x0 if earlier is None else earlier.x
    cloud, aim, first = clouds_of(given, target, "x0", "target", clock)
    require_target(flow.estimator, aim, "target")
    if isinstance(flow.estimator, ByRow) and not isinstance(aim, FixedTarget):
        raise ValueError(
            f"`target` must be fixed for {type(flow.estimator).__name__}, got {target!r:.80}: its"
            " rows change, and their classes with them; pass points"
        )
    controller = controller_of(integrator)
    if controller is not None:
        controller.check(flow, aim)
    if flow.reaction is None or isinstance(flow.reaction, Reaction):
        keeps = "no `reaction` that changes masses" if flow.reaction is None else "a constant total"
        _compare_totals(cloud, aim, f"the flow has {keeps}")
    if isinstance(flow, AutoFlow) and earlier is None:
        cloud = flow.begun(cloud, clock.draws)
    if isinstance(integrator, Corrected):
        integrator.check(flow, cloud, aim)
    start = Snapshot(clock=clock, x=cloud) if earlier is None else replace(earlier, clock=clock)
    return start, aim, first, integrator


def integrator_of(flow: Flow, integrator: Integrator | None, *, free: bool = False) -> Integrator:
    """The integrator, checked; the flow's own one for None.

    A flow whose bandwidth changes needs steps of changing length: `Paced` where they are `free`.
    """
    if integrator is None:
        if flow.diffusion is not None:
            return EulerMaruyama()
        return Paced() if free and flow.annealed and flow.noise is None else Euler()
    if isinstance(integrator, type) or not isinstance(integrator, Integrator):
        raise TypeError(
            f"`integrator` must be an integrator, got {integrator!r}: e.g. pf.Heun() (with its"
            " parentheses)"
        )
    if flow.diffusion is not None and not integrator.stochastic:
        raise ValueError(
            f"`integrator` must add the flow's diffusion, got {type(integrator).__name__}: use"
            " pf.EulerMaruyama()"
        )
    if integrator.stages > 1 and not flow.estimator.deterministic:
        raise ValueError(
            f"`integrator` must have one stage for {type(flow.estimator).__name__}, got"
            f" {type(integrator).__name__}: its fit is not a deterministic function of the clouds,"
            " so that each stage would see another one, and the order would be lost: use pf.Euler()"
        )
    return integrator


def clouds_of(
    x: Any, y: Any, x_name: str, y_name: str, clock: Clock
) -> tuple[Cloud, Target, Cloud | None]:
    """The start, the target, and the cloud that the target gives at `clock`.

    The clouds are copies of one dtype, device and dimension. A cloud converted from a list or an
    array takes the dtype and device of the one that came as a tensor.
    """
    for value, name in ((x, x_name), (y, y_name)):
        if isinstance(value, type):
            raise TypeError(
                f"`{name}` must be points, got the class {value.__name__}: pass what it makes"
            )
        if isinstance(value, Sampler) and (name == x_name or not _changes(value)):
            made = f"{type(value).__name__}(...)"
            fresh = (
                f", or a fresh batch at every step, {name}=Minibatch({made}, 300)"
                if name == "target"
                else ""
            )
            told = f"draw some, {name}={made}.sample(300, seed=0){fresh}"
            raise TypeError(
                f"`{name}` must be points, got the sampler {_checks.said(value, most=200)}: {told}"
            )
    if y is None:
        return as_cloud(x, x_name), FixedTarget(None), None
    if not _changes(y):
        start, target = as_clouds(x, y, x_name, y_name)
        fixed = FixedTarget(target)
        return start, fixed, fixed.cloud
    if isinstance(y, Minibatch) and y.dtype is None:
        points = as_cloud(x, x_name).points
        y = replace(y, dtype=points.dtype, device=points.device if y.device is None else y.device)
    aim = ChangingTarget(y, y_name)
    sample = aim.at(clock)
    start = as_cloud(x, x_name, like=None if sample is None else sample.points)
    if sample is not None:
        _checks.same_space(start.points, sample.points, x_name, y_name)
    return start, aim, sample


def _changes(y: Any) -> bool:
    """Is `y` a `Target`? Whatever numpy reads as points is not: a table's `at` reads one cell."""
    if isinstance(y, Tensor | Cloud | Sequence | np.ndarray) or not (
        isinstance(y, Target) and callable(y.at)
    ):
        return False
    try:
        return np.asarray(y).ndim == 0
    except ValueError:  # rows of different lengths
        return False


@dataclass(frozen=True)
class ChangingTarget:
    """A user's target, passed as the argument `name`: its answer is checked at every step."""

    of: Target
    name: str

    def at(self, clock: Clock) -> Cloud | None:
        with Supplied(self.name, self.of):
            made: Any = self.of.at(clock)
        if made is not None and not isinstance(made, Cloud):
            what = f"{type(made).__name__} from {type(self.of).__name__}.at"
            raise TypeError(
                f"`{self.name}` must give a Cloud, or None, for each clock, got {what}: return"
                " pf.Cloud(points), or pass points"
            )
        return made


def _compare_totals(x: Cloud, target: Target, why: str) -> None:
    """Warn of total masses that differ where the flow keeps the total: it cannot arrive."""
    aim = target.cloud if isinstance(target, FixedTarget) else None
    drawn = isinstance(target, ChangingTarget) and isinstance(target.of, Minibatch)
    of_x, of_y = float(x.mass.sum()), 1.0 if aim is None else float(aim.mass.sum())
    if (aim is None and not drawn) or abs(of_x - of_y) <= SAME_TOTAL * max(of_x, of_y):
        return
    _checks.warn(
        f"`x0` has a total mass of {of_x:.4g} and `target` of {of_y:.4g}, and {why}: the target"
        " cannot be reached; divide each cloud's masses by their sum, Cloud(points, mass=m /"
        " m.sum())"
    )


def require_target(estimator: Estimator, target: Target, name: str) -> None:
    if estimator.needs_target and isinstance(target, FixedTarget) and target.cloud is None:
        raise missing_target(estimator, name)


def began(x0: Any) -> float:
    """The time at which a run from `x0` begins."""
    snapshot = x0.state if isinstance(x0, Trajectory) else x0
    return snapshot.clock.t if isinstance(snapshot, Snapshot) else 0.0


def checked_metrics(metrics: Metrics | None) -> Metrics:
    """The metrics by name; each must be a callable of two clouds."""
    metrics = {} if metrics is None else metrics
    if not isinstance(metrics, Mapping) or not all(
        callable(metric) and not isinstance(metric, type) for metric in metrics.values()
    ):
        raise TypeError(
            f"`metrics` must map names to metrics, got {metrics!r}: e.g. {{'W2': pf.metrics.W2()}}"
        )
    taken = [
        name
        for name in metrics
        if not isinstance(name, str) or name in Trajectory.__dataclass_fields__
    ]
    if taken:
        raise ValueError(
            f"`metrics` must have names that a trajectory has no other use for, got {taken[0]!r}:"
            " rename it"
        )
    for name, metric in metrics.items():
        if not _takes_two(metric):
            what = f"{type(metric).__name__} {metric!r:.80}"
            raise TypeError(
                f"`metrics` '{name}' must take two clouds, the particles and the target, got"
                f" {what}: pass e.g. lambda x, y: 1.0"
            )
    return metrics


def comparable(metrics: Metrics, target: Cloud | None, earlier: Trajectory | None = None) -> None:
    """Refuse metrics without a target, and metrics that change within a continued run.

    A name means one metric throughout a run. A metric that is not passed again is warned about.
    """
    if metrics and target is None:
        raise ValueError(
            f"`metrics` {sorted(metrics)} compare with a target, got target=None: pass samples of"
            " the target too"
        )
    if earlier is not None:
        was = earlier.report["metrics"]
        for name, metric in metrics.items():
            if isinstance(metric, Metric) and was.get(name, repr(metric)) != repr(metric):
                raise ValueError(
                    f"`metrics` '{name}' was {was[name]} until here, got {metric!r}: pass the same,"
                    " or choose another name"
                )
        dropped = [name for name in earlier.metrics if name not in metrics]
        if dropped:
            _checks.warn(
                f"`metrics` {dropped} of the run that goes on were not passed again: they are NaN"
                f" from step {earlier.state.clock.step} on; pass metrics= to go on with them"
            )


def _takes_two(metric: Callable[..., Any]) -> bool:
    """Can `metric` be called with two arguments? True where its signature is unknown."""
    try:
        inspect.signature(metric).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def target_named(target: Target) -> str:
    """A report's words for a `Minibatch` target; empty for other targets.

    The trajectory keeps no points of such a target. A user's own target has a repr that may differ
    from run to run.
    """
    return repr(target) if isinstance(target, Minibatch) else ""


def parts_told(flow: Flow, integrator: Integrator, metrics: Metrics, d: int) -> dict[str, Any]:
    """The reprs of a run's parts, the periods of d axes, and what W2 means, for its report.

    They are made before the first step: a repr that raises must not lose the run.
    """
    told: dict[str, Any] = {
        "integrator": repr(integrator),
        "flow": repr(flow),
        "metrics": {name: repr(metric) for name, metric in metrics.items()},
    }
    found, said = periods(integrator, d), Space.of(flow, integrator, d).said
    told |= {"periods": found} if any(found) else {}
    return told | ({"compared": said} if said else {})


def same_target(earlier: Trajectory, target: Target) -> bool:
    """Does a continued run keep its target, as far as it can be told?"""
    aim = target.cloud if isinstance(target, FixedTarget) else None
    if aim is None or earlier.target is None:
        return (aim is None) == (earlier.target is None) and earlier.report.get(
            "target", ""
        ) == target_named(target)
    was = Cloud(earlier.target, log_mass=earlier.target_log_mass)
    return torch.equal(was.points, aim.points.to(was.points)) and torch.equal(
        was.mass, aim.mass.to(was.mass)
    )


def measured(earlier: Trajectory, metrics: Metrics, target: Cloud | None) -> Trajectory:
    """An earlier trajectory with the metrics that it lacks, evaluated at its records.

    They are NaN, with a warning, where the earlier run had another target.
    """
    new = {name: metric for name, metric in metrics.items() if name not in earlier.metrics}
    if not new or target is None:
        return earlier
    same = earlier.target is not None and torch.equal(earlier.target, target.points)
    if not same:
        cause = "the run that goes on had another target, or a changing one"
        _checks.warn(
            f"`metrics` {list(new)} are NaN up to step {earlier.state.clock.step}: {cause}"
        )
        return earlier
    clouds = [earlier.cloud(k) for k in range(len(earlier))]
    values = {
        name: [value_of(metric, name, cloud, target) for cloud in clouds]
        for name, metric in new.items()
    }
    added = {
        name: torch.tensor(column, dtype=torch.float64, device="cpu")
        for name, column in values.items()
    }
    return replace(earlier, metrics={**earlier.metrics, **added})
