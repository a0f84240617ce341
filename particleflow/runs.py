"""What several runs of one flow leave: a sequence of trajectories, and bands of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import numpy as np
from jaxtyping import Float

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow._words import unknown_attribute
from particleflow.trajectory import Trajectory

# Quantiles of several runs between which their band lies.
QUANTILES = (0.1, 0.9)


@dataclass(frozen=True)
class Band:
    """The values of several runs at the steps: their median, a low and a high quantile.

    `Runs.band` makes it, and `plotting.curves` draws it. `len(band)` is T.

    Attributes
    ----------
    steps : (T,) array
        The steps at which any run was recorded, sorted.
    median : (T,) array
        The median of the runs that are known there.
    low : (T,) array
        The lower quantile, by default 0.1.
    high : (T,) array
        The upper quantile, by default 0.9.
    """

    steps: Float[np.ndarray, "T"]
    median: Float[np.ndarray, "T"]
    low: Float[np.ndarray, "T"]
    high: Float[np.ndarray, "T"]

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def of(
        cls,
        runs: Sequence[Trajectory],
        values: Sequence[Float[np.ndarray, "_"]],
        quantiles: tuple[float, float] = QUANTILES,
    ) -> Band:
        """The band of values, one row for each run, at all recorded steps.

        Between the records of a run its values are interpolated linearly. Values that are not
        finite are left out. After its last record a run does not count.

        Parameters
        ----------
        runs : sequence of Trajectory
            The runs, whose `steps` are those of the values.
        values : sequence of arrays
            One value for each record of each run.
        quantiles : (float, float)
            The lower and the upper one, from 0 to 1.

        Returns
        -------
        Band
            All three columns are equal for a single run.
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
        return cls(steps, *(np.nanquantile(rows, q, axis=0) for q in (0.5, *quantiles)))


@dataclass(frozen=True, repr=False, eq=False)
class Runs(Sequence[Trajectory]):
    """The trajectories of several seeds: a sequence, in the order of their seeds.

    `simulate_many` makes it. `runs[0]` is a Trajectory, `runs[:3]` a tuple of them, and `len(runs)`
    their number. `plotting.curves({"mmd": runs})` draws their medians in bands.

    Attributes
    ----------
    trajectories : tuple of Trajectory
        The finished runs.
    seeds : tuple of int
        The seed of each trajectory.
    failures : mapping of seed to str
        The error of each seed whose run raised. A run that ended early, but after its first step,
        is not among them: its trajectory says so by its `status`.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))
    >>> pf.simulate_many(drift, [[8.0], [4.0]], seeds=3, steps=2, dt=0.5)
    Runs(3 seeds: 3 completed)
    """

    trajectories: tuple[Trajectory, ...]
    seeds: tuple[int, ...]
    failures: Mapping[int, str] = field(default_factory=dict)

    if not TYPE_CHECKING:  # to mypy any name would be an attribute
        __getattr__ = unknown_attribute

    def __len__(self) -> int:
        return len(self.trajectories)

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Trajectory, ...]: ...
    def __getitem__(self, index: int | slice) -> Trajectory | tuple[Trajectory, ...]:
        return self.trajectories[index]

    def __repr__(self) -> str:
        asked = len(self) + len(self.failures)
        of = f" of {asked}" if self.failures else ""
        ends = ", ".join(
            f"{name} {band.median[0]:.4g} -> {band.median[-1]:.4g}"
            for name in self.trajectories[0].metrics
            if len(band := self.band(name))
        )
        states = [run.status for run in self]
        told = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states))
        return f"Runs({len(self)}{of} seeds: {told}{ends and '; medians: ' + ends})"

    def band(self, name: str, *, quantiles: tuple[float, float] = QUANTILES) -> Band:
        """The median of a metric over the seeds, and two quantiles, at the recorded steps.

        Parameters
        ----------
        name : str
            A key of `Trajectory.metrics`, or "energy".
        quantiles : (float, float)
            The lower and the upper one, 0 <= low <= high <= 1.

        Returns
        -------
        Band
            (T,) arrays; between the records of a run its values are interpolated linearly.

        Raises
        ------
        ValueError
            `name` is no metric of the first run; `quantiles` are not two numbers in order.
        TypeError
            `quantiles` are no numbers.
        """
        known = [*self.trajectories[0].metrics, "energy"]
        if not isinstance(name, str) or name not in known:
            remedy = f"pass one of {', '.join(known)}"
            raise RefusedValueError("name", "must be a metric", _checks.said(name), remedy)
        ends = _checks.several(quantiles, "quantiles", remedy="pass two, e.g. (0.1, 0.9)")
        ends = [_checks.real(end, "quantiles") for end in ends]
        if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= 1:
            raise RefusedValueError(
                "quantiles", "must be two, 0 <= low <= high <= 1", ends, "pass e.g. (0.1, 0.9)"
            )
        values = [run.energy if name == "energy" else run.metrics[name] for run in self]
        return Band.of(self, [v.double().cpu().numpy() for v in values], (ends[0], ends[1]))
