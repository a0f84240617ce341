"""The run of a task's flows, and the files that it writes into the folder."""

from __future__ import annotations

import csv
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from particleflow import plotting
from particleflow._refusals import RefusedValueError
from particleflow._words import number
from particleflow.cli.folder import film_of, results_of, trajectory_of
from particleflow.cli.paths import CHECKPOINT
from particleflow.cli.report import Outcome, measured_names
from particleflow.cli.task import Task
from particleflow.engine import begin
from particleflow.plotting.films.mp4 import ffmpeg
from particleflow.run_folder import opened
from particleflow.saving import SaveAt
from particleflow.stopping import Stop
from particleflow.trajectory import Trajectory

# Points enough that sums over pairs use compiled code, whose import takes a second.
SOME = 200


def warm(task: Task) -> None:
    """Evaluate each metric on a few points before the run.

    Its imports then do not count as the first flow's time, and a missing library is found early.

    Raises
    ------
    RefusedValueError
        A metric or the film lacks its library.
    """
    if film_of(task) == "mp4":
        try:
            ffmpeg()
        except ImportError as error:
            raise RefusedValueError(
                "film",
                "cannot be mp4, which needs the package imageio-ffmpeg",
                remedy=f"{error.__cause__ or error}: install it with"
                " `pip install particleflow-sim[film]`, or use gif",
            ) from None
    for name, metric in task.metrics.items():
        try:
            metric(task.x0[:SOME], task.y[:SOME])
        except ImportError as error:
            lacking = error.__cause__ or error
            raise RefusedValueError(
                "metrics",
                f"cannot hold {name}, whose library is missing",
                remedy=f"{lacking}: install it, or use sliced",
            ) from None


def run(
    task: Task, out: Path, *, single: bool, progress: bool, say: Callable[[str], None], stop: Stop
) -> Outcome:
    """Run every flow of the task, and write each trajectory as soon as it ends.

    A flow that fails does not stop the others. `say` is told which flow begins. A signal ends the
    running flow and leaves out the later ones; all results so far are kept.
    """
    outcome = Outcome()
    for k, (name, plan) in enumerate(task.plans.items(), start=1):
        say(f"{name} ({k} of {len(task.plans)}): {number(plan.steps, 'step')} of {plan.dt:g}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                outcome.paths[name] = _simulated(task, name, out, progress, stop)
            except KeyboardInterrupt:
                outcome.interrupted = True
                outcome.failures[name] = f"stopped by {stop.said}"
            except Exception as error:  # a flow that fails must not stop the others
                outcome.failures[name] = f"{type(error).__name__}: {error}"
        path = outcome.paths.get(name)
        resumed = path.report.get("resumed") if path else None
        if resumed is not None:
            how = "had ended at" if resumed.get("over") else "went on from"
            told = f"{how} step {resumed['step']}", *resumed["notes"]
            outcome.notes += [f"{name}: {line}" for line in told]
        known = path.message if path else ""  # a warning that repeats the message is left out
        outcome.notes += [
            f"{name}: {w.message}" for w in caught if not (known and known in str(w.message))
        ]
        if path is not None:
            outcome.interrupted |= path.status == "interrupted"
            make_file(outcome, out / trajectory_of(name, single), path.save, stop)
        # the signal may have come between the flows, or a library may have swallowed the interrupt
        outcome.interrupted |= stop.signal > 0
        if outcome.interrupted:
            break
    outcome.notes = list(dict.fromkeys(outcome.notes))
    return outcome


def _simulated(task: Task, name: str, out: Path, progress: bool, stop: Stop) -> Trajectory:
    """Run one flow to its end or to a signal; it goes on where its checkpoint in `out` stands.

    A signal ends the steps at once, and waits after them. It raises only if no step was taken.
    """
    plan, run = task.plans[name], None
    kept = out / CHECKPOINT if task.settings.get("checkpoint") else None
    try:
        with stop.held(yes=False), opened(kept, "out") as place:
            run = begin(
                plan.flow,
                task.x0,
                task.y,
                steps=plan.steps,
                dt=plan.dt,
                integrator=plan.integrator,
                save=SaveAt(
                    every=task.every[name],
                    velocity="velocity" in task.record,
                    witness="witness" in task.record,
                ),
                metrics=task.metrics,
                seed=task.seed,
                progress=progress,
                place=place,
            )
            run.go()
    except KeyboardInterrupt as error:
        if run is None:
            raise
        run.stopped(error)
    return run.trajectory()


def write(
    task: Task, outcome: Outcome, out: Path, *, single: bool, repeat: str, stop: Stop
) -> None:
    """Write table, curves, snapshots, player and film of the runs.

    The player offers `repeat`, the command that makes them again.

    Failures are entered in the outcome. A signal leaves out the remaining pictures.
    """
    paths, stopped, film = outcome.paths, stop.signal > 0, film_of(task)
    title = f"{' and '.join(paths)} on {Path(str(task.settings['target'])).stem}"
    makers: list[Callable[[Path], object]] = [
        lambda file: _table(paths, file),
        lambda file: plotting.curves(paths, file),
        lambda file: plotting.snapshots(paths, file),
        lambda file: plotting.player(paths, file, title=title, python=repeat),
        *([lambda file: plotting.animate(paths, file)] if film != "none" else []),
    ]
    names = results_of([], single=single, film=film)
    for k, (name, make) in enumerate(zip(names, makers, strict=False)):
        if k and stop.signal and not stopped:  # a signal came while the table was written
            outcome.interrupted = True
            break
        if paths and not make_file(outcome, out / name, make, stop, held=k == 0):
            break
    outcome.interrupted |= stop.signal > 0


def make_file(
    outcome: Outcome, file: Path, make: Callable[[Path], object], stop: Stop, *, held: bool = True
) -> bool:
    """Write a file, which gets its name once it is complete: no partial file is left.

    Returns False if a signal stopped it. A signal waits while `held`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".unfinished-") as place:
            part = Path(place) / file.name
            with stop.held(yes=held):
                make(part)
            part.replace(file)
        outcome.files.append(file)
    except KeyboardInterrupt:
        outcome.interrupted = True
        outcome.failures[file.name] = f"stopped by {stop.said}"
        return False
    except Exception as error:  # a picture that fails must not lose the others
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        why = (
            cause.strerror or str(cause)
            if isinstance(cause, OSError)
            else f"{type(cause).__name__}: {cause}"
        )
        outcome.failures[file.name] = f"could not be written: {why}"
    return True


def _table(paths: Mapping[str, Trajectory], file: Path) -> None:
    """Write one line for each record of each flow: flow, step, time, the metrics, the energy.

    The numbers read back exactly. The energy is the flow's own.
    """
    names = list(dict.fromkeys(name for path in paths.values() for name in path.metrics))
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["flow", "step", "time", *measured_names(names, paths), "energy"])
        for flow, path in paths.items():
            columns = [path.steps, path.times, *(path.metrics[name] for name in names), path.energy]
            table.writerows(
                [flow, *row] for row in zip(*(column.tolist() for column in columns), strict=True)
            )
