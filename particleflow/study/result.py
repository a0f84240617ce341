"""The results of a study: rows, and what is read off them."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from particleflow import _checks
from particleflow._files import replace_text
from particleflow.study.cell import held_out
from particleflow.study.readings import AGAINST, UNSOUND, flat, reached
from particleflow.study.statistics import Interval, interval, paired
from particleflow.study.tables import aligned, csv_text
from particleflow.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The version of results.json.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """The rows of a study, in words and numbers.

    Attributes
    ----------
    study : dict
        Tasks, contenders with their parameters, seeds, tuning.
    environment : dict
        Machine, versions, date.
    rows : list of dict
        One for each run: task, contender, role ("default", "tuned" or "trial"), seed, settings,
        status, dt; the `floor` (metrics between fresh target points and either target sample); the
        `curve`: lists of steps, time, seconds (of the processor, without metrics), fits, energy,
        each metric to the target seen ("W2") and to points never seen ("W2 held out").
    interrupted : bool
        Ctrl-C left out the rest.
    """

    study: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    folder: Path | None = None
    interrupted: bool = False
    _temporary: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        failed = sum(row["status"] == "failed" for row in self.rows)
        told = f", {failed} failed" if failed else ""
        return (
            f"Result({len(self.rows)} runs: {len(self.contenders)} contenders on"
            f" {len(self.tasks)} tasks, {self.study['seeds']} seeds{told}; .table() shows them)"
        )

    def __str__(self) -> str:
        return self.table()

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

    def of(self, task: str, contender: str, role: str) -> list[Mapping[str, Any]]:
        """The rows of a contender on a task, by seed."""
        return list(self._sorted.get((task, contender, role), ()))

    def steps(self, task: str) -> float:
        """The number of steps of a task."""
        return next(float(one["steps"]) for one in self.study["tasks"] if one["name"] == task)

    def floor(self, task: str, metric: str | None = None) -> float | None:
        """The metric between fresh samples of the target's sizes: its mean over all seeds."""
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
        """The metric over its floor, by seed. A failed, diverged or unstable run is infinite.

        The particles are compared with target points that the flow never saw: fresh samples of the
        target would have 1. With `seen` they are compared with the points that the flow saw, which
        a flow may fit better than fresh samples do. `at` = ("seconds", 0.5) reads the curve there;
        without it the task's last step counts.
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
        """The settings that were tried, and the metric over its floor to points never seen."""
        floor, place = self.floor(task) or 1.0, ("steps", self.steps(task))
        return [
            (row["settings"], reached(row, held_out(self.metric), *place) / floor)
            for row in self.of(task, contender, "trial")
        ]

    def equal(self, task: str, against: str, role: str | None = None) -> float:
        """The most of "steps", "seconds" or "fits" that every contender has used.

        It is the least of their medians; contenders without a sound run do not count.
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
        """The median of `values` over seeds, with its bootstrap interval."""
        return interval([*self.values(task, contender, role, **how).values()])

    def difference(
        self, task: str, one: str, other: str, role: str | None = None, **how: Any
    ) -> Interval:
        """The paired difference of two contenders in `values`, in floors."""
        role = role or self.role
        return paired(self.values(task, one, role, **how), self.values(task, other, role, **how))

    def best(self, task: str, role: str | None = None, **how: Any) -> list[str]:
        """The contender of the least median, and those that cannot be told from it.

        A contender cannot be told from the best where the interval of their paired difference holds
        0. `how` is that of `values`.
        """
        role = role or self.role
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

    def table(self, *, role: str | None = None, markdown: bool = False) -> str:
        """W2 to points never seen, over its floor, at the end: a line a task, a column a contender.

        The medians over seeds, with bootstrap intervals of 95 %. * marks the best of a task and
        those that cannot be told from it.
        """
        role = role or self.role
        heads = ["task", f"floor of {self.metric}", *self.contenders]
        lines = []
        for task in self.tasks:
            best, floor = self.best(task, role), self.floor(task)
            cells = [
                f"{self.interval(task, name, role)}{' *' if name in best else ''}"
                for name in self.contenders
            ]
            lines.append([task, "-" if floor is None else f"{floor:.3g}", *cells])
        return aligned(heads, lines, markdown=markdown)

    def records(self) -> list[dict[str, Any]]:
        """A flat record for each run: settings and metrics in columns of their own."""
        return [flat(row) for row in self.rows]

    def frame(self) -> Any:
        """The records as a pandas DataFrame.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "`frame` needs pandas: pip install pandas, or take .records(), a list of dicts"
            ) from None
        return pandas.DataFrame(self.records())

    def curves(
        self,
        file: str | Path | None = None,
        *,
        against: str = "steps",
        tasks: Sequence[str] | None = None,
        role: str | None = None,
    ) -> Figure:
        """Draw the metric over its floor: a panel a task, the median and a band a contender.

        `against` is "steps", "time", "seconds" or "fits".
        """
        from particleflow.study.drawing import curves

        if against not in AGAINST:
            raise ValueError(
                f"`against` must be one of {', '.join(AGAINST)}, got {_checks.said(against)}:"
                " choose one"
            )
        return curves(self, file, against, tasks, role or self.role)

    def report(
        self,
        file: str | Path = "report.html",
        *,
        truth: Sequence[Mapping[str, Any]] | None = None,
        speed: Sequence[Mapping[str, Any]] | None = None,
        players: Mapping[str, str] | None = None,
        title: str = "Comparison of flows",
        command: str = "",
    ) -> Path:
        """Write all of it as one HTML page, and return its path.

        The page needs no network and no script. It has a banner, the statements with a dot for each
        seed, W2 over its floor at equal steps, seconds and fits, default beside tuned, points seen
        beside points never seen, curves, paired differences, the sensitivity to each parameter,
        links to players, speeds, all rows and the failed runs.

        Parameters
        ----------
        file : str or Path
            Ends in .html.
        truth : list of dict
            Statements: name, words, source, number (as stated), low, high (the stated range; None
            for an open end), seeds, values (one for each seed), verdict, note, command. Those whose
            verdict is "reproduced" count as such.
        speed : list of dict
            Measured times: backend, d, N, ms (a step).
        players : mapping of task to path
            Links, relative to the page.
        title : str
        command : str
            What made these results, for the banner.

        Raises
        ------
        TypeError, ValueError
            `file` ends otherwise; a statement or a speed lacks an entry.
        OSError
            The file cannot be written.
        """
        from particleflow.study.report import write

        return write(self, file, truth, speed, players, title, command)

    def players(self, folder: str | Path) -> list[Path]:
        """Write a player for each task: all contenders in step, from the first seed.

        Returns their paths, <folder>/<task>.html. Tasks without a kept trajectory are left out.
        """
        from particleflow.plotting import player
        from particleflow.study.store import filename

        place = _checks.path(folder, "folder", "out/players")
        place.mkdir(parents=True, exist_ok=True)
        written = []
        for task in self.study["tasks"]:
            paths = self.trajectories(task["name"])
            if paths:
                images = task["as_images"]
                written.append(
                    player(
                        paths,
                        place / f"{filename([task['name']])[:-9]}.html",
                        title=task["title"] or task["name"],
                        as_images=None if images is None else tuple(images),
                    )
                )
        return written

    def trajectories(self, task: str, role: str | None = None) -> dict[str, Trajectory]:
        """The trajectories of a task that were kept, by contender: those of the first seed."""
        found = {}
        for row in self.rows:
            kept = row.get("trajectory")
            if kept and self.folder and (row["task"], row["role"]) == (task, role or self.role):
                file = self.folder / "rows" / kept
                if file.exists():
                    found[row["contender"]] = Trajectory.load(file)
        return found

    def save(self, folder: str | Path) -> list[Path]:
        """Write results.json (all of it), results.csv (a line a run) and results.md (the table)."""
        place = _checks.path(folder, "folder", "out/study")
        place.mkdir(parents=True, exist_ok=True)
        files = {
            "results.json": json.dumps(self.record(), indent=1, allow_nan=False) + "\n",
            "results.csv": csv_text(self.records()),
            "results.md": self.table(markdown=True) + "\n",
        }
        for name, text in files.items():
            replace_text(place / name, text)
        return [place / name for name in files]

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "format": FORMAT,
            "study": dict(self.study),
            "environment": dict(self.environment),
            "interrupted": self.interrupted,
            "rows": [{k: v for k, v in row.items() if k != "traceback"} for row in self.rows],
        }

    @classmethod
    def load(cls, file: str | Path) -> Result:
        """Read a results.json.

        Raises
        ------
        ValueError
            It is another file.
        """
        path = _checks.path(file, "file", "out/study/results.json")
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            if read["format"] != FORMAT:
                raise ValueError(f"its format is {read['format']}")
            return cls(
                study=read["study"],
                environment=read["environment"],
                rows=read["rows"],
                folder=path.parent,
                interrupted=read["interrupted"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`file` must be a results.json of a study, got '{path}': {error}: pass one that"
                " Result.save wrote"
            ) from None

    @cached_property
    def _sorted(self) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
        """The rows by task, contender and role."""
        found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            found.setdefault((row["task"], row["contender"], row["role"]), []).append(row)
        return found
