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
from particleflow.trajectory import Trajectory

# Least ratio of the values of a curve at which its axis is logarithmic.
DECADE = 10.0
# Least share of positive values of a curve on a logarithmic axis; the others are rounding.
MOSTLY = 0.9
# Quantiles of several runs between which the band lies.
BAND = (0.1, 0.9)

Group: TypeAlias = Sequence[Trajectory]


@dataclass(frozen=True)
class Series:
    """The values of one name's runs: their median and quantiles at the steps."""

    steps: Float[np.ndarray, "T"]
    middle: Float[np.ndarray, "T"]
    low: Float[np.ndarray, "T"]
    high: Float[np.ndarray, "T"]

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def of(cls, runs: Group, values: Sequence[Float[np.ndarray, "_"]]) -> Series:
        """Return the values at all recorded steps, between the records of a run by linear
        interpolation.
        """
        known = [
            (run.steps.cpu().numpy()[np.isfinite(v)], v[np.isfinite(v)])
            for run, v in zip(runs, values, strict=True)
        ]
        steps = np.unique(np.concatenate([at for at, _ in known])).astype(np.float64)
        rows = np.array(
            [
                np.interp(steps, at, v, np.nan, np.nan) if len(at) else np.full(len(steps), np.nan)
                for at, v in known
            ]
        )
        if len(rows) == 1:
            return cls(steps, rows[0], rows[0], rows[0])
        quantiles = [np.nanquantile(rows, share, axis=0) for share in (0.5, *BAND)]
        return cls(steps, *quantiles)


@dataclass(frozen=True)
class Chart:
    """One panel: the label of its axis, and for each name its curve and its floor."""

    label: str
    series: Mapping[str, Series]
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
        parts = [part for one in self.series.values() for part in (one.middle, one.low, one.high)]
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
            name: list(runs) if isinstance(runs, list | tuple) else [runs]
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
        series = {name: Series.of(having[name], values[name]) for name in having}
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
