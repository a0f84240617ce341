"""The values of curves: metrics and energies of runs, of several seeds, and floors of distances."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.plotting.scenes.floors import floor_of
from particleflow.plotting.scenes.records import in_lines, named
from particleflow.plotting.scenes.ticks import power
from particleflow.runs import Band, Runs
from particleflow.trajectory import Trajectory

# Least ratio of the values of a curve at which its axis is logarithmic.
DECADE = 10.0
# Least share of positive values of a curve on a logarithmic axis; the others are rounding.
MOSTLY = 0.9

Group: TypeAlias = Sequence[Trajectory]


@dataclass(frozen=True)
class Chart:
    """One panel: the label of its axis, and for each name its curve and its floor."""

    label: str
    series: Mapping[str, Band]
    floors: Mapping[str, float | None]

    @property
    def known(self) -> dict[str, float]:
        """The floors that are known, by name."""
        return {
            name: value for name, value in self.floors.items() if value is not None and value > 0
        }

    @property
    def values(self) -> Float[np.ndarray, "V"]:
        """All values on the lines and at the edges of the bands."""
        parts = [part for one in self.series.values() for part in (one.median, one.low, one.high)]
        return np.concatenate(parts)

    @property
    def log(self) -> bool:
        """Tell whether the axis is logarithmic."""
        values = self.values
        positive = values[values > 0]
        return bool(
            positive.size >= MOSTLY * max(1, len(values))
            and positive.max() > DECADE * positive.min()
        )


def grouped(paths: Any) -> dict[str, list[Trajectory]]:
    """The runs of each name."""
    if isinstance(paths, Mapping):
        paths = {
            name: list(runs) if isinstance(runs, list | tuple | Runs) else [runs]
            for name, runs in in_lines(paths).items()
        }
        if empty := [name for name, runs in paths.items() if not runs]:
            remedy = "leave the name out"
            raise RefusedValueError("paths", "must hold a run for each name", empty, remedy)
        each = {
            name if len(runs) == 1 else f"{name}, run {k}": run
            for name, runs in paths.items()
            for k, run in enumerate(runs)
        }
        named(each)
        return paths
    return {"": list(named(paths).values())}


def charts(groups: Mapping[str, Group], metrics: Any) -> dict[str, Chart]:
    """The panels, in order of the runs' metrics, and the energy last."""
    runs = [run for group in groups.values() for run in group]
    labels = {k: v for run in runs for k, v in run.report.get("labels", {}).items()}
    known = list(dict.fromkeys(key for run in runs for key in run.metrics))
    energies = {n: [_array(run.energy) for run in group] for n, group in groups.items()}
    some = any(np.isfinite(e).any() for group in energies.values() for e in group)
    wanted = [*known, *["energy"] * (some or not known)]
    if metrics is not None:
        remedy = f"pass some of {', '.join(dict.fromkeys([*known, 'energy']))}"
        wanted = _checks.several(metrics, "metrics", remedy=remedy)
        if not wanted or not {*wanted} <= {*known, "energy"}:
            raise RefusedValueError("metrics", "must be names of metrics", wanted, remedy)
    made = {}
    for key in wanted:
        if key in known:
            having = {
                n: [run for run in group if key in run.metrics] for n, group in groups.items()
            }
            having = {name: group for name, group in having.items() if group}
            values = {n: [_array(run.metrics[key]) for run in g] for n, g in having.items()}
            label = typeset(labels.get(key, key))
            floors = {name: floor_of(group[0], key) for name, group in having.items()}
        else:
            having, floors = {n: list(group) for n, group in groups.items()}, dict.fromkeys(groups)
            label, values = _comparable(groups, energies)
        series = {name: Band.of(having[name], values[name]) for name in having}
        made[key] = Chart(label, series, floors)
    return made


def _comparable(
    groups: Mapping[str, Group], energies: Mapping[str, list[Float[np.ndarray, "_"]]]
) -> tuple[str, dict[str, list[Float[np.ndarray, "_"]]]]:
    """Energies that may stand on one axis, and its label."""
    flows = {run.report.get("flow") for group in groups.values() for run in group}
    if len(flows) == 1:
        return "energy", dict(energies)
    starts = {n: [e[np.isfinite(e)][:1] for e in group] for n, group in energies.items()}
    if all((start > 0).all() for group in starts.values() for start in group):
        scaled = {
            n: [e / start if len(start) else e for e, start in zip(group, starts[n], strict=True)]
            for n, group in energies.items()
        }
        return "own energy / start", scaled
    return "energy (each flow's own)", dict(energies)


def typeset(label: str) -> str:
    """Write powers with a superscript: MMD² for MMD^2."""
    return re.sub(r"\^(-?\d+)", lambda found: power(int(found.group(1))), label)


def _array(tensor: Any) -> Float[np.ndarray, "_"]:
    return tensor.detach().cpu().double().numpy()
