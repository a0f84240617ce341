"""The rows of a study, and the numbers that are read off them: medians, intervals, the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from particleflow import _checks
from particleflow.memo import Memo, cached_property
from particleflow.study.cell import held_out
from particleflow.study.readings import UNSOUND, reached
from particleflow.study.statistics import Interval, interval, paired
from particleflow.study.tuning import DEFAULT_TRIAL


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a study; see `Result`, which also shows and saves them."""

    study: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    interrupted: bool = False

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return [task["name"] for task in self.study["tasks"]]

    @property
    def contenders(self) -> list[str]:
        """The names of the contenders."""
        return [one["name"] for one in self.study["contenders"]]

    @property
    def metric(self) -> str:
        """The name of the metric that ranks."""
        return str(self.study["metrics"][0])

    @property
    def role(self) -> str:
        """The role that ranks: "tuned" where there was tuning, otherwise "default"."""
        return "tuned" if any(row["role"] == "tuned" for row in self.rows) else "default"

    @property
    def made(self) -> list[Mapping[str, Any]]:
        """The rows of all runs; where a default wins, its runs are the tuned ones too."""
        copies = "tuned", DEFAULT_TRIAL
        return [row for row in self.rows if (row["role"], row.get("trial")) != copies]

    @property
    def spent(self) -> float:
        """Seconds of the processor that all runs took."""
        return sum(row.get("cpu_seconds", 0.0) for row in self.made)

    def of(self, task: str, contender: str, role: str) -> list[Mapping[str, Any]]:
        """The rows of a contender on a task in one role, by seed; none where a name is unknown."""
        return list(self._sorted.get((task, contender, role), ()))

    def steps(self, task: str) -> float:
        """The number of steps of a task; ValueError where the study has no such task."""
        if task not in self.tasks:
            raise ValueError(
                f"`task` must be one of {', '.join(self.tasks)}, got {_checks.said(task)}"
            )
        return next(float(one["steps"]) for one in self.study["tasks"] if one["name"] == task)

    def floor(self, task: str, metric: str | None = None) -> float | None:
        """The metric between fresh samples of the target's sizes: its mean over all seeds.

        Parameters
        ----------
        task : str
            The name of a task.
        metric : str, optional
            The name of a metric; by default the one that ranks.

        Returns
        -------
        float or None
            In the metric's unit. None where no run of the task was measured.
        """
        name = metric or self.metric
        values = {
            row["seed"]: row["floor"][name]
            for contender in self.contenders
            for row in self.of(task, contender, "default")
            if "floor" in row
        }
        known = [value for pair in values.values() for value in pair if value is not None]
        return statistics.fmean(known) if known else None

    def values(
        self,
        task: str,
        contender: str,
        role: str,
        *,
        at: tuple[str, float] | None = None,
        seen: bool = False,
        metric: str | None = None,
    ) -> dict[int, float]:
        r"""The metric over its floor, by seed. A failed, diverged or unstable run is infinite.

        .. math::

            \text{values}[\text{seed}] = \frac{\text{metric}(x, y_{\text{held out}})}
                                              {\text{floor}}

        The particles are compared with target points that the flow never saw: fresh samples of the
        target would have 1.

        Parameters
        ----------
        task, contender : str
            Their names.
        role : str
            "default", "tuned" or "trial".
        at : (str, float), optional
            ("seconds", 0.5) reads the curve there, by linear interpolation between records;
            "steps", "time" and "fits" are the other abscissas. Beyond its end a curve keeps its
            last value. Left out, the task's last step counts.
        seen : bool
            Compare with the points that the flow saw instead, which a flow may fit better than
            fresh samples do.
        metric : str, optional
            The name of a metric; by default the one that ranks.

        Returns
        -------
        dict of int to float
            A value for each seed; empty where the contender has no run in this role.

        Raises
        ------
        ValueError
            The study has no such task.
        """
        name = metric or self.metric
        floor = self.floor(task, name) or 1.0
        column = name if seen else held_out(name)
        place = at or ("steps", self.steps(task))
        return {
            row["seed"]: reached(row, column, *place) / floor
            for row in self.of(task, contender, role)
        }

    def trials(self, task: str, contender: str) -> list[tuple[Mapping[str, Any], float]]:
        """The settings that were tried, and the metric over its floor to points never seen, for
        each trial.
        """
        floor, place = self.floor(task) or 1.0, ("steps", self.steps(task))
        return [
            (row["settings"], reached(row, held_out(self.metric), *place) / floor)
            for row in self.of(task, contender, "trial")
        ]

    def equal(self, task: str, against: str, role: str | None = None) -> float:
        """The most of "steps", "time", "seconds" or "fits" that every contender has used on a task.

        It is the least of their medians; contenders without a sound run do not count.

        Parameters
        ----------
        task : str
            The name of a task.
        against : str
            What is to be equal.
        role : str, optional
            "default" or "tuned"; by default "tuned" where there was tuning.

        Returns
        -------
        float
            Pass it on as `at`, e.g. ("seconds", equal). nan where no run was sound.
        """
        ends = []
        for contender in self.contenders:
            used = [
                row["curve"][against][-1]
                for row in self.of(task, contender, role or self.role)
                if row["status"] not in UNSOUND
            ]
            if used:
                ends.append(statistics.median(used))
        return min(ends, default=math.nan)

    def interval(self, task: str, contender: str, role: str, **how: Any) -> Interval:
        """The median of `values` over seeds, with its bootstrap interval.

        Parameters
        ----------
        task, contender, role : str
            As for `values`.
        how
            Further arguments of `values`.

        Returns
        -------
        Interval
            In floors: 1 is that of fresh samples.
        """
        return interval([*self.values(task, contender, role, **how).values()])

    def difference(
        self, task: str, one: str, other: str, role: str | None = None, **how: Any
    ) -> Interval:
        """The median of the paired difference of two contenders in `values`, with its bootstrap
        interval.

        Both had the same start and the same target of each seed, so what a draw does to both does
        not count. Where both failed, the difference is 0.

        Parameters
        ----------
        task, one, other : str
            The difference is `one` - `other`: negative where `one` is nearer to the target.
        role : str, optional
            "default" or "tuned"; by default "tuned" where there was tuning.
        how
            Further arguments of `values`.

        Returns
        -------
        Interval
            In floors.
        """
        role = role or self.role
        return paired(self.values(task, one, role, **how), self.values(task, other, role, **how))

    def best(self, task: str, role: str | None = None, **how: Any) -> list[str]:
        """The contender of the least median, and those that cannot be told from it.

        A contender cannot be told from the best where the interval of their paired difference holds
        0.

        Parameters
        ----------
        task : str
            The name of a task.
        role : str, optional
            "default" or "tuned"; by default "tuned" where there was tuning.
        how
            Further arguments of `values`.

        Returns
        -------
        list of str
            The best first; empty where no contender has a finite median.
        """
        key = task, role or self.role, tuple(sorted(how.items()))
        return list(self._best.get(key, lambda: self._found(task, role or self.role, how)))

    def _found(self, task: str, role: str, how: Mapping[str, Any]) -> list[str]:
        medians = {name: self.interval(task, name, role, **how) for name in self.contenders}
        known = {
            name: found.median
            for name, found in medians.items()
            if found.count and math.isfinite(found.median)
        }
        if not known:
            return []
        first = min(known, key=lambda name: known[name])
        others = [
            name
            for name in known
            if name != first and self.difference(task, name, first, role, **how).low <= 0
        ]
        return [first, *others]

    @cached_property
    def _best(self) -> Memo[list[str]]:
        """What `best` has found: tables, figures and sentences ask for the same."""
        return Memo()

    @cached_property
    def _sorted(self) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
        """The rows by task, contender and role."""
        found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            found.setdefault((row["task"], row["contender"], row["role"]), []).append(row)
        return found
