"""The floor of a recorded distance: its value between two fresh samples of the target."""

from __future__ import annotations

from particleflow.clouds import Cloud
from particleflow.metrics import W1, W2, SlicedW2, floor
from particleflow.metrics.transport import labelled
from particleflow.nearness import FEWEST
from particleflow.trajectory import Trajectory

# Distances with a floor, by their labels.
DISTANCES = {metric.label: metric for metric in (W2(), SlicedW2(), W1())}
# Most points of a cloud for which the floor is computed, in some 0.5 s.
MEASURED = 1000


def label_of(run: Trajectory, metric: str) -> str:
    """Return the label of a recorded metric; its key where it has none."""
    return str(run.report.get("labels", {}).get(metric, metric))


def floor_of(run: Trajectory, metric: str) -> float | None:
    """Return the least distance to the target that can be expected.

    W2 of clouds that the run's summary compares whole has the summary's floor: it is an estimate,
    and is made once. None means that it is not known or takes too long.
    """
    label = label_of(run, metric)
    # a W2 of other clouds or by other distances has another floor
    own = labelled(W2.label, run.report.get("compared", ""))
    found = run.nearness if label == own else None
    sizes = run.particles.shape[1], 0 if run.target is None else len(run.target)
    if found is not None and found.floor and not found.part_of(*sizes):
        return found.floor
    of = DISTANCES.get(label)
    if of is None or run.target is None or len(run.target) < FEWEST or max(sizes) > MEASURED:
        return None
    try:
        return floor(
            of, Cloud(run.target, log_mass=run.target_log_mass), run.particles.shape[1]
        ).value
    except ImportError:  # POT is missing
        return None
