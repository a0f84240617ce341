"""A study: contenders on tasks, at equal budgets, each with its default and with tuned settings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from particleflow import _checks
from particleflow._files import alone
from particleflow._threads import processors, threads
from particleflow.clouds import Cloud
from particleflow.memo import cached_property
from particleflow.metrics import W2
from particleflow.study import digests, environment
from particleflow.study.cell import Cell, measure
from particleflow.study.contender import Choice, Contender
from particleflow.study.costs import Costs, costs_of
from particleflow.study.progress import duration, say
from particleflow.study.result import Result
from particleflow.study.store import Store, digest, opened
from particleflow.study.task import Task
from particleflow.study.tuning import DEFAULT_TRIAL, FIRST_SEED, best, trials
from particleflow.study.work import Done, Work, perform

# The roles of runs, in the order of rows.
ROLES = ("default", "tuned", "trial")


@dataclass(frozen=True)
class Study:
    r"""A comparison of contenders on tasks, at equal budgets, over several seeds.

    .. math::

        \begin{aligned}
        \text{value} &= \frac{\text{metric}(x_{\text{end}}, y_{\text{held out}})}
                             {\text{floor}} \\
        \text{floor} &= \text{mean over seeds of metric}(y_{\text{fresh}}, y)
        \end{aligned}

    A flow is judged by target points that it never saw: a value of 1 is that of fresh samples. What
    is the same for all contenders of a task:

    - The start, the target that is seen, the held-out points and the fresh ones, seed by seed. So
      differences are paired.
    - The number of steps, and the kernel scale `problem.bandwidth` that they are given.
    - With `tuning` > 0 the number of trials: points of a Sobol sequence in each contender's own
      ranges, and its default beside. Trials run on seeds that are used for nothing else. The trial
      of the least median distance to held-out points is chosen, of those that completed on every
      seed.

    The time step is not the same: each flow suggests its own. Nor are seconds and fits of equal
    steps: read values at equal seconds or fits with `Result.equal` and `Result.values`, and take
    `seconds` for quick flows. A run that fails, diverges or is unstable counts as infinite, not as
    missing.

    Parameters
    ----------
    tasks : sequence of Task
        Their names must differ.
    contenders : sequence of Contender
        Their names must differ.
    seeds : int
        The number of seeds 0, 1, ... of the comparison, >= 1.
    tuning : int
        The number of trials of each contender on each task; 0 for none. Powers of 2 are spread
        best. More trials continue a search: the first ones stay.
    tuning_seeds : int
        The number of seeds that each trial runs on, >= 1.
    seconds : float, optional
        A run takes the task's steps, and further ones until it has used so many seconds of the
        processor (20 times the steps at most). Contenders can then be compared at equal seconds
        where a quick one takes more steps.
    metrics : mapping of name to metric
        The first one ranks. By default W2 (the root).
    players : bool
        Keep the trajectories of the first seed for `Result.players`.

    Raises
    ------
    TypeError
        `tasks`, `contenders` or `metrics` holds something else, a number is none, or `metrics` is
        empty.
    ValueError
        `tasks` or `contenders` is empty or has a name twice. `seeds` or `tuning_seeds` is < 1,
        `tuning` < 0, or `seconds` is not > 0.

    Cost: tasks x contenders x (2 seeds + tuning_seeds (tuning + 1)) runs, without tuning tasks x
    contenders x seeds; `expected` tells the seconds.

    Source: Sobol (1967) for the trials; Efron and Tibshirani (1993), chapter 13, for the intervals.

    >>> from particleflow.study import Contender, Range, Study, Task
    >>> start, target = (pf.samplers.Gaussian(mean=[m]) for m in (-2.0, 2.0))
    >>> task = Task("blob", start, target, particles=20, targets=30, steps=10)
    >>> def mmd(problem, width):
    ...     return pf.mmd_flow(pf.kernels.Gaussian(width * problem.bandwidth))
    >>> contender = Contender("mmd", mmd, {"width": Range(0.2, 5.0, default=1.0)})
    >>> result = Study([task], [contender], seeds=2).run(progress=False)
    >>> [row["status"] for row in result.rows]
    ['completed', 'completed']
    >>> found = result.interval("blob", "mmd", "default")
    >>> bool(found.median > 1)  # 1 is that of fresh samples
    True
    """

    tasks: Sequence[Task]
    contenders: Sequence[Contender]
    seeds: int = 10
    tuning: int = 0
    tuning_seeds: int = 1
    seconds: float | None = None
    metrics: Mapping[str, Callable[[Cloud, Cloud], float]] = field(
        default_factory=lambda: {"W2": W2()}
    )
    players: bool = True

    def __post_init__(self) -> None:
        for name, kind, example in (
            ("tasks", Task, "Task('rings', start, target)"),
            ("contenders", Contender, "Contender('mmd', make)"),
        ):
            several = _checks.several(getattr(self, name), name, remedy=f"e.g. [{example}]")
            if not several:
                raise ValueError(f"`{name}` must not be empty, got []: pass e.g. [{example}]")
            for one in several:
                if not isinstance(one, kind):
                    raise TypeError(
                        f"`{name}` must hold a {kind.__name__} each, got {_checks.said(one)}: e.g."
                        f" {example}"
                    )
            names = [one.name for one in several]
            if double := [one for one in names if names.count(one) > 1]:
                raise ValueError(
                    f"`{name}` must have different names, got {double[0]!r} twice: rename one"
                )
        _checks.count(self.seeds, "seeds")
        _checks.count(self.tuning, "tuning", least=0)
        _checks.count(self.tuning_seeds, "tuning_seeds")
        if self.seconds is not None:
            _checks.positive(self.seconds, "seconds")
        if not isinstance(self.metrics, Mapping) or not self.metrics:
            raise TypeError(
                f"`metrics` must map names to metrics, got {_checks.said(self.metrics)}: e.g."
                " {'W2': pf.metrics.W2()}"
            )

    def run(
        self, *, jobs: int = 1, folder: str | Path | None = None, progress: bool = True
    ) -> Result:
        """Run what is not in the folder yet, and return the results.

        The folder holds `study.json` (digests of what the rows depend on), a file `rows/<run>.json`
        for each run, written whole as soon as the run ends, and `rows/<run>.npz` for each
        trajectory that is kept. A study that was stopped, or killed, goes on from there: a run
        whose row is there is not run again, not even where its status is "failed" (remove its file
        for that). A run that was cut short begins anew. The study may have more or fewer seeds,
        trials, tasks or contenders then. Everything else must be as it was: each task and contender
        by its name, `metrics`, `seconds`, `tuning_seeds` and the version of particleflow. The code
        of `make` counts and what it closes over, code that it calls elsewhere does not.

        Parameters
        ----------
        jobs : int
            Processes at a time, of one thread each. 1: in this process.
        folder : str or Path, optional
            Made if it is missing. Without a folder rows are kept in a temporary one, as long as the
            result lives.
        progress : bool
            Say on stderr what is to be done and how long it takes.

        Returns
        -------
        Result
            After Ctrl-C it holds what is finished, and `interrupted` is True.

        Raises
        ------
        TypeError
            `jobs` is no integer, `progress` neither True nor False, `folder` no path, or a
            contender's `make` returns no flow. Nothing is run then.
        ValueError
            `jobs` is < 1. Or the folder cannot be written to, is in use by another run, or holds
            the results of another study. Nothing is run then.
        Exception
            Whatever a contender's `make` raises on its first problem. A run that fails later is a
            row with the status "failed".
        """
        _checks.count(jobs, "jobs")
        _checks.flag(progress, "progress")
        temporary = None if folder is not None else tempfile.TemporaryDirectory()
        store = opened(folder if temporary is None else temporary.name)
        with alone(store.folder, "folder"):
            store.claim(self.claims())
            done, chosen = self._performed(store, self._costs, jobs, progress)
        return Result(
            study=self._described(),
            environment=environment.describe(),
            rows=self._rows(done, chosen),
            folder=store.folder,
            interrupted=done.interrupted,
            _temporary=temporary,
        )

    def _performed(
        self, store: Store, costs: Costs, jobs: int, progress: bool
    ) -> tuple[Done, dict[tuple[str, str], int]]:
        """All rows, and the numbers of the trials that are the best."""
        pairs = [(task, contender) for task in self.tasks for contender in self.contenders]
        searches = {
            (task.name, contender.name): self._trials(contender) for task, contender in pairs
        }

        def works(cells: Iterable[Cell]) -> list[Work]:
            return [self._work(cell, store, costs) for cell in cells]

        first = works(
            cell
            for task, contender in pairs
            for cell in [
                *self._cells(task, contender, "default", contender.default),
                *self._trial_cells(task, contender, searches[task.name, contender.name]),
            ]
        )
        if progress:
            self._announce(first, store, jobs, costs)
        done = perform(first, store, jobs=jobs, progress=progress)
        chosen: dict[tuple[str, str], int] = {}
        if self.tuning and not done.interrupted:
            metric = next(iter(self.metrics))
            for pair in searches:
                rows = [row for key, row in done.rows.items() if key[:3] == (*pair, "trial")]
                number = best(rows, metric)
                if number is not None:
                    chosen[pair] = number
            second = works(
                cell
                for task, contender in pairs
                if chosen.get((task.name, contender.name), DEFAULT_TRIAL) != DEFAULT_TRIAL
                for cell in self._cells(
                    task,
                    contender,
                    "tuned",
                    searches[task.name, contender.name][chosen[task.name, contender.name]],
                    chosen[task.name, contender.name],
                )
            )
            more = perform(second, store, jobs=jobs, progress=progress)
            done = Done({**done.rows, **more.rows}, more.interrupted)
        return done, chosen

    def _trials(self, contender: Contender) -> dict[int, Mapping[str, Any]]:
        """The settings that are tried, by number; the default's among them."""
        if not self.tuning:
            return {}
        return {DEFAULT_TRIAL: contender.default, **dict(enumerate(trials(contender, self.tuning)))}

    def _cells(
        self,
        task: Task,
        contender: Contender,
        role: str,
        settings: Mapping[str, Any],
        trial: int | None = None,
    ) -> list[Cell]:
        """The runs of the comparison with these settings, one for each seed."""
        return [
            Cell(
                task,
                contender,
                role,
                seed,
                settings,
                trial,
                self.seconds,
                self.players and not seed,
            )
            for seed in range(self.seeds)
        ]

    def _trial_cells(
        self, task: Task, contender: Contender, search: Mapping[int, Mapping[str, Any]]
    ) -> list[Cell]:
        return [
            Cell(task, contender, "trial", FIRST_SEED + seed, settings, number, self.seconds)
            for number, settings in search.items()
            for seed in range(self.tuning_seeds)
        ]

    def _work(self, cell: Cell, store: Store, costs: Costs) -> Work:
        trajectory = store.path(cell.key).with_suffix(".npz")
        cost = costs[cell.task.name, cell.contender.name]
        seconds = max(cost.of(cell.role), cell.seconds or 0.0)
        run = partial(measure, cell, self.metrics, trajectory)
        return Work(cell.key, run, cell.facts, seconds)

    @cached_property
    def _costs(self) -> Costs:
        with threads(1):  # as runs have: the time of the processor counts all threads
            return costs_of(self.tasks, self.contenders, self.metrics)

    def expected(self) -> float:
        """Estimate the seconds of the processor that all runs take.

        Each contender takes 15 steps on the first task, twice, to measure it. Other tasks are taken
        to cost more by the number of their pairs of points.

        Returns
        -------
        float
            Seconds, rough; divide them by the number of `jobs`.

        Raises
        ------
        Exception
            Whatever a contender's `make` raises.
        """
        runs = {"default": self.seeds}
        if self.tuning:
            runs |= {"tuned": self.seeds, "trial": self.tuning_seeds * (self.tuning + 1)}
        costs = self._costs.values()
        return sum(
            count * max(cost.of(role), self.seconds or 0.0)
            for cost in costs
            for role, count in runs.items()
        )

    def _announce(
        self,
        works: Sequence[Work],
        store: Store,
        jobs: int,
        costs: Costs,
    ) -> None:
        """Say what is to be done; the runs of the best trials come after the others."""
        left = [work for work in works if store.read(work.key) is None]
        tuned_runs = self.seeds * sum(cost.of("tuned") for cost in costs.values())
        later = tuned_runs if self.tuning and left else 0.0
        seconds = (sum(work.seconds for work in left) + later) / min(jobs, processors())
        tuned = f", {self.tuning + 1} trials each" if self.tuning else ""
        done = f", {len(works) - len(left)} of them done" if len(left) < len(works) else ""
        say(
            f"{len(works)} runs{done}: {len(self.contenders)} contenders on {len(self.tasks)}"
            f" tasks, {self.seeds} seeds{tuned}; about {duration(seconds)} in {jobs} processes"
        )

    def claims(self) -> dict[str, dict[str, str]]:
        """What the rows depend on: digests by kind and name; a folder whose digests differ is
        refused.
        """
        return {
            "task": {task.name: digests.of_task(task) for task in self.tasks},
            "contender": {one.name: digests.of_contender(one) for one in self.contenders},
            "option": {
                "metrics": digests.of_metrics(self.metrics),
                "seconds": digest(self.seconds),
                "tuning_seeds": digest(self.tuning_seeds),
                "version of particleflow": digest(environment.describe([])["particleflow"]),
            },
        }

    def _described(self) -> dict[str, Any]:
        """The study in words and numbers that JSON can hold."""
        return {
            "tasks": [
                {
                    "name": task.name,
                    "title": task.title,
                    "start": digests.said(task.start),
                    "target": digests.said(task.target),
                    "dim": task.target.dim,
                    "particles": task.particles,
                    "targets": task.targets,
                    "bandwidth": task.bandwidth,
                    "steps": task.steps,
                    "as_images": task.as_images,
                }
                for task in self.tasks
            ],
            "contenders": [
                {
                    "name": one.name,
                    "title": one.title,
                    "parameters": {
                        name: {
                            "kind": "choice" if isinstance(part, Choice) else "range",
                            **{key: _plain(value) for key, value in vars(part).items()},
                        }
                        for name, part in one.tunable.items()
                    },
                }
                for one in self.contenders
            ],
            "seeds": self.seeds,
            "tuning": self.tuning,
            "tuning_seeds": self.tuning_seeds,
            "seconds": self.seconds,
            "metrics": list(self.metrics),
        }

    def _rows(self, done: Done, chosen: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
        """The rows by task, contender, role and seed.

        Where the default is the best trial, its rows are those of the tuned contender, too.
        """
        order = {
            (task.name, one.name): k
            for k, (task, one) in enumerate(
                (task, one) for task in self.tasks for one in self.contenders
            )
        }
        rows = list(done.rows.values())
        rows += [
            {**row, "role": "tuned", "trial": DEFAULT_TRIAL}
            for row in done.rows.values()
            if row["role"] == "default"
            and chosen.get((row["task"], row["contender"])) == DEFAULT_TRIAL
        ]
        return sorted(
            rows,
            key=lambda row: (
                order[row["task"], row["contender"]],
                ROLES.index(row["role"]),
                -2 if row["trial"] is None else row["trial"],
                row["seed"],
            ),
        )


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
