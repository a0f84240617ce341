"""`compare` with many seeds, tuning or sweeps: a study, and the files that it leaves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from particleflow import plotting
from particleflow._refusals import Argument, Refusal, RefusedValueError
from particleflow._threads import processors
from particleflow._words import shown
from particleflow.cli import folder, idle, sweeps
from particleflow.cli.contenders import OF_RUN, Make, contenders
from particleflow.cli.defaults import MOST_JOBS
from particleflow.cli.draws import Drawn
from particleflow.cli.options import BY_NAME, OPTIONS
from particleflow.cli.outputs import make_file
from particleflow.cli.paths import CONFIG
from particleflow.cli.report import COMPLETED, ENDED_BADLY, Outcome, listed, shared
from particleflow.cli.standings import standings
from particleflow.cli.task import Task, task
from particleflow.cli.toml import Settings, given
from particleflow.stopping import Stop
from particleflow.streams import Printed
from particleflow.study import Contender, Range, Result, Study
from particleflow.study.contender import DT
from particleflow.study.readings import UNSOUND
from particleflow.study.store import opened
from particleflow.trajectory import Trajectory

# The folder of a study's rows, within that of its results.
ROWS = "study"


@dataclass(frozen=True)
class Comparison:
    """A study made from settings; `task` is that of its first seed, with the settings to repeat."""

    task: Task
    study: Study
    jobs: int

    def claim(self, out: Path) -> None:
        """Refuse a folder whose finished runs belong to another study.

        Raises
        ------
        RefusedValueError
            They do.
        """
        try:
            opened(out / ROWS).claim(self.study.claims())
        except Refusal as error:
            raise error.renamed({"folder": Argument("out")}) from None


def comparison(settings: Settings, names: list[str]) -> Comparison:
    """The study that the settings ask for.

    Raises
    ------
    ValueError, TypeError, OSError
        A setting, a file, a part or a contender cannot be used.
    """
    swept = sweeps.swept(settings)
    sizes = {name: max(swept[name]) for name in sweeps.SIZES if name in swept}
    # metrics are chosen for the largest clouds
    asked = {name: value for name, value in settings.items() if name not in sweeps.IDLE} | sizes
    first = task(asked, names, spare=True)
    steps = {plan.steps for plan in first.plans.values()}
    if len(steps) > 1:
        told = ", ".join(f"{name} {plan.steps}" for name, plan in first.plans.items())
        raise RefusedValueError(
            "steps",
            "must be the same for all flows of a comparison over seeds or values",
            told,
            "give it once, for all",
        )
    name = Path(str(first.settings["target"])).stem
    whole = Drawn(
        name,
        first.start,
        first.problem.law,
        particles=len(first.x0),
        targets=len(first.y),
        bandwidth=first.settings.get("bandwidth"),
        steps=steps.pop(),
        first=first.seed,
    )
    tasks = [
        replace(
            whole,
            name=sweeps.named(name, sizes),
            particles=sizes.get("n", whole.particles),
            targets=sizes.get("m", whole.targets),
        )
        for sizes in sweeps.problems(swept)
    ]
    study = Study(
        tasks,
        contenders(first, asked, swept, tasks[0].draw(0)),
        seeds=given(settings.get("seeds"), 1),
        tuning=given(settings.get("tune"), 0),
        metrics=first.metrics,
    )
    jobs = given(settings.get("jobs"), min(processors(), MOST_JOBS))
    return Comparison(replace(first, settings=_repeating(first, asked, study)), study, jobs)


def _repeating(first: Task, asked: Settings, study: Study) -> Settings:
    """The settings that repeat a study: what was given, or chosen from the target.

    dt is chosen for each run, and other defaults may depend on the values of sweeps.
    """
    swept = sweeps.swept(asked)
    chosen = {
        **{name: first.settings.get(name) for name in first.settings if name not in sweeps.IDLE},
        **{
            option.name: asked.get(option.name)
            for option in OPTIONS
            if option.flows and option.name not in idle.OF_KERNEL
        },
        "seeds": study.seeds,
        "tune": study.tuning or None,
        "sweep": asked.get("sweep"),
        "jobs": asked.get("jobs"),
        "steps": asked.get("steps") or (None if _own_steps(first, asked) else study.tasks[0].steps),
    }
    mine = {
        flow: {
            **{
                name: value
                for name, value in first.settings[flow].items()
                if _kept(name) and name not in swept
            },
            **asked.get(flow, {}),
        }
        for flow in first.plans
    }
    mine = {flow: table for flow, table in mine.items() if table}
    return {
        option.name: chosen[option.name]
        for option in OPTIONS
        if chosen.get(option.name) is not None
    } | mine


def _kept(name: str) -> bool:
    """Is it written for a flow though it was not given? Not what each contender or run chooses."""
    if name in idle.OF_KERNEL:
        return True
    return BY_NAME[name].default is None and name not in ("steps", "integrator", "anneal", *OF_RUN)


def _own_steps(first: Task, asked: Settings) -> bool:
    return any("steps" in asked.get(name, {}) for name in first.plans)


def heading(planned: Comparison) -> str:
    """The choices of a study, before it begins."""
    study, s = planned.study, planned.task.settings
    last = planned.task.seed + study.seeds - 1
    facts = shared(planned.task)
    facts["seed"] = f"{planned.task.seed}" + (f" to {last}" if study.seeds > 1 else "")
    for name, values in sweeps.swept(s).items():
        facts[name] = ", ".join(sweeps.short(value) for value in values)
    facts["steps"] = str(study.tasks[0].steps)
    for one in study.contenders:
        facts[one.name] = ", ".join(
            filter(None, [_choices(one, study.tuning), *_stepping(one, s["kernel"])])
        )
    return listed(facts, planned.task.notes)


def _choices(one: Contender, trials: int) -> str:
    """The settings of a contender, or those that are tried."""
    if not trials:
        return ", ".join(
            f"{name} {sweeps.short(value)}" for name, value in one.default.items() if name != DT
        )
    told = [
        f"{name} {part.low:.3g} to {part.high:.3g}{' times the chosen' if name == DT else ''}"
        for name, part in one.tunable.items()
        if isinstance(part, Range)
    ]
    return f"{trials} trials of {', '.join(told)}" if told else ""


def _stepping(one: Contender, kernel: str) -> list[str]:
    """How the runs of a contender step, and their kernel where it is not that of all."""
    assert isinstance(one.make, Make)
    names = [name for name in ("integrator", "anneal", "kernel") if name not in one.parameters]
    table = {name: one.make.table[name] for name in names if name in one.make.table}
    if table.get("kernel") == kernel:
        del table["kernel"]
    return [f"{name} {sweeps.short(value)}" for name, value in table.items()]


def run(planned: Comparison, out: Path, *, repeat: str, stop: Stop, streams: Printed) -> int:
    """Run what is not finished yet, write, report; returns the exit code.

    A signal keeps what is finished.
    """
    result = planned.study.run(jobs=planned.jobs, folder=out / ROWS, progress=sys.stderr.isatty())
    outcome = Outcome(interrupted=result.interrupted)
    with stop.held():
        _save(result, out, outcome)
        _pages(planned, result, out, outcome, repeat=repeat, stop=stop)
        streams.results = shown(f"{out}{os.sep}")
        columns = shutil.get_terminal_size().columns if streams.out.isatty() else None
        streams.out.styled(standings(result, columns))
        for name, why in outcome.failures.items():
            streams.out.write(f"{name}: {why}\n")
        if result.interrupted:
            streams.out.write(f"stopped by {stop.said}: the same command goes on from here\n")
        files = [out / CONFIG, *outcome.files]
        told = "  ".join(file.name for file in files)
        streams.out.write(f"\nin {streams.results}:  {told}\n")
    if outcome.interrupted or stop.signal:
        return stop.code
    return ENDED_BADLY if outcome.failures or _unsound(result) else COMPLETED


def _unsound(result: Result) -> bool:
    """Did a run not complete? Trials may fail: that is what they find out."""
    return any(row["status"] in UNSOUND and row["role"] != "trial" for row in result.rows)


def _save(result: Result, out: Path, outcome: Outcome) -> None:
    """Write the rows and the table."""
    try:
        outcome.files += result.save(out)
    except OSError as error:
        outcome.failures["results.json"] = f"could not be written: {error.strerror}"


def _pages(
    planned: Comparison, result: Result, out: Path, outcome: Outcome, *, repeat: str, stop: Stop
) -> None:
    """Write the curves, the players of the first seed, the report. A signal leaves out the rest.

    Each size of the clouds that is swept has a player.
    """
    settings, players = planned.task.settings, dict[str, str]()
    pages: dict[str, Callable[[Path], object]] = {
        "curves.png": lambda file: result.curves(file, against="steps"),
    }
    for one, name in zip(result.tasks, folder.players_of(settings), strict=True):
        if paths := result.trajectories(one):
            players[one] = name
            title = f"{one}, seed {planned.task.seed}"
            pages[name] = partial(_player, paths, title, repeat)
    title = f"Flows on {Path(str(settings['target'])).stem}"
    pages["report.html"] = lambda file: result.report(
        file, players=players, title=title, command=repeat
    )
    for name, draw in pages.items() if result.rows else ():
        if not make_file(outcome, out / name, draw, stop, held=False):
            break


def _player(paths: dict[str, Trajectory], title: str, repeat: str, file: Path) -> object:
    return plotting.player(paths, file, title=title, python=repeat)
