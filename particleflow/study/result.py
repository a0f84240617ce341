"""The results of a study, which show, draw and save themselves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from particleflow import _checks
from particleflow._files import replace_text
from particleflow._words import unknown_attribute
from particleflow.study.readings import AGAINST, flat
from particleflow.study.rows import Rows
from particleflow.study.tables import aligned, csv_text
from particleflow.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The version of results.json.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Result(Rows):
    """The rows of a study, which show, draw and save themselves.

    `Study.run` and `Result.load` make it; printed, it is its `table`. Methods that take `role` mean
    "default", the untuned settings, "tuned", or "trial"; left out, it is "tuned" where there was
    tuning.

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
    folder : Path or None
        Where the rows lie, and with them the trajectories that were kept.
    """

    folder: Path | None = None
    _temporary: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    if not TYPE_CHECKING:  # to mypy any name would be an attribute
        __getattr__ = unknown_attribute

    def __repr__(self) -> str:
        failed = sum(row["status"] == "failed" for row in self.rows)
        told = f", {failed} failed" if failed else ""
        return (
            f"Result({len(self.rows)} runs: {len(self.contenders)} contenders on"
            f" {len(self.tasks)} tasks, {self.study['seeds']} seeds{told}; .table() shows them)"
        )

    def __str__(self) -> str:
        return self.table()

    def table(self, *, role: str | None = None, markdown: bool = False) -> str:
        """Tabulate the metric to points never seen, over its floor: a line a task, a column a
        contender.

        Each entry is the median over seeds of the values at the task's last step, with its
        bootstrap interval of 95 %. * marks the best of a task and those that cannot be told from
        it.

        Parameters
        ----------
        role : str, optional
            "default" or "tuned"; by default "tuned" where there was tuning.
        markdown : bool
            Write a table in Markdown instead of aligned columns.

        Returns
        -------
        str
            The table, of several lines.
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
        """A flat dict for each run: settings and metrics, at the start and the end, in entries of
        their own.
        """
        return [flat(row) for row in self.rows]

    def frame(self) -> Any:
        """The records as a pandas DataFrame, a row a run.

        Returns
        -------
        pandas.DataFrame
            As `records`.

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
        """Draw the metric to points never seen, over its floor: a panel a task, a curve a
        contender.

        The curve is the median over seeds, the band reaches from the 10 % to the 90 % quantile,
        both on a logarithmic scale. A line at 1 is the floor. Failed runs count as infinite.

        Parameters
        ----------
        file : str or Path, optional
            Where to write it, .png .pdf .svg ...; returned unwritten otherwise.
        against : str
            "steps", "time" (of the flow), "seconds" (of the processor) or "fits".
        tasks : sequence of str, optional
            Names of tasks; by default all.
        role : str, optional
            "default" or "tuned"; by default "tuned" where there was tuning.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, written or not.

        Raises
        ------
        ValueError
            `against` is another word, `tasks` names none of the study, or `file` has an unknown
            suffix.
        TypeError
            `tasks` is not several, or `file` no path.
        OSError
            The file cannot be written.
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
        truth : list of dict, optional
            Statements: name, words, source, number (as stated), low, high (the stated range; None
            for an open end), seeds, values (one for each seed), verdict, note, command, section.
            Those whose verdict is "holds" count as reproduced. Sections are folded where all hold.
        speed : list of dict, optional
            Measured times: backend, d, N, ms (a step).
        players : mapping of task to path, optional
            Links, relative to the page.
        title : str
            The heading of the page.
        command : str
            What made these results, for the banner.

        Returns
        -------
        Path
            The file that was written.

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

        Parameters
        ----------
        folder : str or Path
            Made if it is missing. The pages are <folder>/<task>.html.

        Returns
        -------
        list of Path
            The pages that were written. Tasks without a kept trajectory are left out.

        Raises
        ------
        TypeError
            `folder` is no path.
        OSError
            A page cannot be written.
        """
        from particleflow.plotting import player
        from particleflow.study.store import filename

        place = _checks.path(folder, "folder", "out/players")
        place.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
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
        """Read the trajectories of a task that were kept, by contender: those of the first seed.

        Parameters
        ----------
        task : str
            The name of a task.
        role : str, optional
            "default" or "tuned"; by default "tuned" where there was tuning.

        Returns
        -------
        dict of name to Trajectory
            Contenders without one are left out: `players` was False, the folder is gone, or this
            result was read from another place than the folder of the run.
        """
        found = {}
        for row in self.rows:
            kept = row.get("trajectory")
            if kept and self.folder and (row["task"], row["role"]) == (task, role or self.role):
                file = self.folder / "rows" / kept
                if file.exists():
                    found[row["contender"]] = Trajectory.load(file)
        return found

    def save(self, folder: str | Path) -> list[Path]:
        """Write results.json (all of it), results.csv (a line a run) and results.md (the table).

        Trajectories stay in the folder of the run.

        Parameters
        ----------
        folder : str or Path
            Made if it is missing.

        Returns
        -------
        list of Path
            The three files.

        Raises
        ------
        TypeError
            `folder` is no path.
        OSError
            A file cannot be written.
        """
        place = _checks.path(folder, "folder", "out/study")
        place.mkdir(parents=True, exist_ok=True)
        files = {
            "results.json": _text(self.record()),
            "results.csv": csv_text(self.records()),
            "results.md": self.table(markdown=True) + "\n",
        }
        for name, text in files.items():
            replace_text(place / name, text)
        return [place / name for name in files]

    def record(self) -> dict[str, Any]:
        """All of it, for JSON; of trials the ends of their curves only."""
        return {
            "format": FORMAT,
            "study": dict(self.study),
            "environment": dict(self.environment),
            "interrupted": self.interrupted,
            "rows": [_brief(row) for row in self.rows],
        }

    @classmethod
    def load(cls, file: str | Path) -> Result:
        """Read a results.json that `save` wrote.

        Parameters
        ----------
        file : str or Path
            The file results.json.

        Returns
        -------
        Result
            With the rows of the one that was saved; of trials the ends of their curves only.

        Raises
        ------
        ValueError
            It is another file.
        OSError
            It cannot be read.
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


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for JSON: without a traceback, and of a trial the ends of its curve."""
    kept = {name: value for name, value in row.items() if name != "traceback"}
    if row["role"] == "trial" and "curve" in row:
        ends = {name: [values[0], values[-1]] for name, values in row["curve"].items()}
        kept["curve"] = ends
    return kept


def _text(record: Mapping[str, Any]) -> str:
    """JSON with a line for each row."""
    head = {name: value for name, value in record.items() if name != "rows"}
    rows = [json.dumps(row, separators=(",", ":"), allow_nan=False) for row in record["rows"]]
    return json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n' + ",\n".join(rows) + "\n]}\n"
